//! Attributes of a file, as a path or an open file gives them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ashlar_core::{Attr, FileKind, Timestamp};

/// Attributes of a file, directory, symbolic link or special file.
#[derive(Clone, Debug)]
pub struct Metadata(Attr);

impl Metadata {
    pub(crate) fn new(attr: Attr) -> Metadata {
        Metadata(attr)
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.0.kind
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.kind == FileKind::Regular
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.0.kind == FileKind::Directory
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.0.kind == FileKind::Symlink
    }

    /// Size in bytes: of a symbolic link, the length of its target; of a directory, nothing to
    /// rely on.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "std::fs::Metadata has this name alone")]
    pub fn len(&self) -> u64 {
        self.0.size
    }

    /// Space taken on the volume, in units of 512 bytes.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.0.blocks
    }

    /// Permission, set-id and sticky bits: `0o7777` at most.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.0.mode
    }

    /// Inode number; never used again on this volume.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.0.ino.0
    }

    /// Number of names.
    #[must_use]
    pub fn nlink(&self) -> u32 {
        self.0.nlink
    }

    /// Owner's user number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// Group number.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.0.gid
    }

    /// Major and minor number of a device file.
    #[must_use]
    pub fn device(&self) -> Option<(u32, u32)> {
        if !matches!(self.0.kind, FileKind::CharDevice | FileKind::BlockDevice) {
            return None;
        }
        let number = self.0.rdev;
        let major = (number >> 8) & 0xfff;
        let minor = (number & 0xff) | ((number >> 12) & 0xfff00);
        Some((major as u32, minor as u32))
    }

    /// When it was last read, as far as the volume keeps track.
    #[must_use]
    pub fn accessed(&self) -> SystemTime {
        system_time(self.0.atime)
    }

    /// When its content last changed.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        system_time(self.0.mtime)
    }

    /// When its content or attributes last changed.
    #[must_use]
    #[doc(alias = "ctime")]
    pub fn changed(&self) -> SystemTime {
        system_time(self.0.ctime)
    }

    /// When it was made.
    #[must_use]
    #[doc(alias = "btime")]
    pub fn created(&self) -> SystemTime {
        system_time(self.0.btime)
    }
}

/// Times before 1970 count nanoseconds forward too.
fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    let nanoseconds = Duration::from_nanos(u64::from(time.nanoseconds));
    // Both have 64-bit seconds, so only a damaged time can be out of range.
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp { seconds: seconds(after), nanoseconds: after.subsec_nanos() },
        Err(error) => {
            let before = error.duration();
            match before.subsec_nanos() {
                0 => Timestamp { seconds: -seconds(before), nanoseconds: 0 },
                part => {
                    Timestamp { seconds: -seconds(before) - 1, nanoseconds: 1_000_000_000 - part }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_there_and_back() {
        for (seconds, nanoseconds) in [(0, 0), (1, 999_999_999), (-1, 0), (-1, 1), (-7, 500)] {
            let time = Timestamp { seconds, nanoseconds };
            let back = timestamp(system_time(time));
            assert_eq!((back.seconds, back.nanoseconds), (seconds, nanoseconds));
        }
    }
}
