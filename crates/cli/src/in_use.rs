//! Whether the machine already uses a device or image: mounted, swapped on, or under another.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mount {
    /// Where the mount is.
    pub(crate) target: PathBuf,
    /// Type, such as `fuse.ashlar`.
    pub(crate) kind: String,
    /// What is mounted.
    pub(crate) source: PathBuf,
    /// `major:minor` of what is mounted.
    device: String,
}

impl Mount {
    /// Whether a server of ours is behind it.
    pub(crate) fn is_ashlar(&self) -> bool {
        matches!(self.kind.as_str(), "fuse.ashlar" | "fuseblk.ashlar")
    }
}

/// All mounts that this process sees, in mount order.
pub(crate) fn mounts() -> io::Result<Vec<Mount>> {
    Ok(fs::read("/proc/self/mountinfo")?.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// The topmost mount exactly at `directory`, which must be canonical.
pub(crate) fn mount_at(directory: &Path) -> io::Result<Option<Mount>> {
    Ok(mounts()?.into_iter().rfind(|mount| mount.target == directory))
}

/// Says how `path` is in use, or `None` if nobody seems to use it.
///
/// # Errors
/// `path` cannot be examined.
pub(crate) fn in_use(path: &Path) -> io::Result<Option<String>> {
    let path = path.canonicalize()?;
    let metadata = path.metadata()?;
    for mount in mounts()? {
        if is_source(&mount, &path, &metadata) {
            return Ok(Some(format!("mounted on {}", mount.target.display())));
        }
    }
    if is_swap(&path, &metadata) {
        return Ok(Some("in use as swap space".to_owned()));
    }
    if metadata.file_type().is_block_device() {
        // The kernel refuses a second exclusive opener: file systems, RAID, LVM and the like.
        let exclusive = File::options().read(true).custom_flags(libc::O_EXCL).open(&path);
        if let Err(error) = exclusive
            && error.raw_os_error() == Some(libc::EBUSY)
        {
            return Ok(Some("in use by the kernel (mounted, or part of RAID or LVM)".to_owned()));
        }
    }
    Ok(None)
}

fn is_source(mount: &Mount, path: &Path, metadata: &Metadata) -> bool {
    if mount.source == path {
        return true;
    }
    let number = metadata.rdev();
    metadata.file_type().is_block_device()
        && mount.device == format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number))
}

fn is_swap(path: &Path, metadata: &Metadata) -> bool {
    // Without the list nothing can be said; the exclusive open still guards block devices.
    let Ok(list) = fs::read("/proc/swaps") else { return false };
    list.split(|byte| *byte == b'\n').skip(1).any(|line| {
        let field = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let swap = unescaped(field);
        swap == path
            || swap
                .metadata()
                .is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
    })
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = String::from_utf8_lossy(fields.nth(2)?).into_owned();
    let target = unescaped(fields.nth(1)?);
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescaped(fields.next()?);
    Some(Mount { target, kind, source, device })
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_line_is_parsed_with_escapes_and_optional_fields() {
        let line =
            b"36 35 0:98 / /mnt/a\\040b rw,noatime master:1 shared:2 - fuse.ashlar /d\\134x rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.target, Path::new("/mnt/a b"));
        assert_eq!(mount.kind, "fuse.ashlar");
        assert_eq!(mount.source, Path::new("/d\\x"));
        assert_eq!(mount.device, "0:98");
        assert!(mount.is_ashlar());
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"36 35 98:0 / /mnt rw"), None);
    }

    #[test]
    fn fresh_file_is_not_in_use() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(in_use(file.path()).unwrap(), None);
        assert!(in_use(Path::new("/nonexistent/file")).is_err());
    }

    #[test]
    fn something_is_mounted_at_the_root() {
        assert!(mount_at(Path::new("/")).unwrap().is_some());
        assert!(mount_at(Path::new("/nonexistent")).unwrap().is_none());
    }
}
