//! A thread that sees an empty directory as the root of everything.
#![allow(unsafe_code, reason = "unshare(2) for one thread has no safe interface")]

use std::path::{Path, PathBuf};

/// Runs `test` in a fresh directory; its argument says whether that is also the root directory.
pub(crate) fn confined(test: impl FnOnce(bool) + Send + 'static) {
    // Memory is fast, and the file system there keeps closely to the rules.
    let parent = Some(PathBuf::from("/dev/shm")).filter(|path| path.is_dir());
    let directory = match parent {
        Some(parent) => tempfile::tempdir_in(parent).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let path = directory.path().to_owned();
    let outcome = std::thread::spawn(move || {
        let confined = enter(&path);
        if !confined {
            eprintln!("not root: absolute links and `..` are left out of this run");
        }
        test(confined);
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Gives this thread a root and working directory of its own. The fallback changes the working
/// directory of the whole process, which is why there is only one test in this binary.
fn enter(path: &Path) -> bool {
    // SAFETY: no pointers are passed, and only this thread's root and working directory change.
    let unshared = unsafe { libc::unshare(libc::CLONE_FS) } == 0;
    std::env::set_current_dir(path).unwrap();
    unshared && rustix::process::chroot(path).is_ok()
}
