//! The files of the repository, as tidy reads them.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold nothing written by people.
const SKIPPED_FOLDERS: [&str; 3] = ["target", ".git", "node_modules"];

/// A text file of the repository.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Path below the root, with forward slashes.
    pub path: String,
    /// Content.
    pub text: String,
}

/// The repository this program was built from.
#[must_use]
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// All text files below `root`, sorted by path.
///
/// Files that are not UTF-8 (images) are left out, and so is what cannot be read: a file that
/// disappears while tidy runs is not its business.
#[must_use]
pub fn files(root: &Path) -> Vec<SourceFile> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if !SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped) {
                    folders.push(path);
                }
            } else if kind.is_file()
                && !name.to_string_lossy().ends_with(".img")
                && let Ok(text) = fs::read_to_string(&path)
                && let Ok(below) = path.strip_prefix(root)
            {
                found.push(SourceFile { path: below.to_string_lossy().into_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
