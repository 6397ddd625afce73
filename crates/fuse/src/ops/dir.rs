//! OPENDIR, READDIR, READDIRPLUS, RELEASEDIR.
//!
//! A listing keeps no state between requests: the cookie of the last entry says where to go on.
//! So directories have no handles, and where the kernel can do without them (`NO_OPENDIR`) it
//! does not even ask; it then caches the entries until it changes the directory itself.
//!
//! One record: `[EntryOut, only in READDIRPLUS][Dirent][name][zeros to a multiple of 8]`.

use std::ops::ControlFlow;

use ashlar_core::{DirEntry, FileKind, Ino};
use zerocopy::IntoBytes;

use super::{Answer, Server, errno};
use crate::wire::abi::{Dirent, EntryOut, InHeader, InitFlags, OpenOut, OpenReply, ReadIn};
use crate::wire::channel::OutputBuffer;
use crate::wire::reply::{Errno, Reply};

impl Server {
    pub(super) fn opendir(&self) -> Answer {
        if self.agreement.flags.contains(InitFlags::NO_OPENDIR_SUPPORT) {
            // Not an error: "open directories without asking, and cache them".
            return Err(Errno::ENOSYS);
        }
        let flags = OpenReply::CACHE_DIR | OpenReply::KEEP_CACHE;
        Ok(Reply::Open(OpenOut { fh: 0, open_flags: flags.bits(), padding: 0 }))
    }

    pub(super) fn readdir(
        &self,
        header: &InHeader,
        arguments: &ReadIn,
        output: &mut OutputBuffer,
    ) -> Answer {
        let mut page = Page::new(output.first_mut(arguments.size as usize), 0);
        self.volume
            .read_dir(Ino(header.nodeid), arguments.offset, &mut |entry| page.push(entry))
            .map_err(|error| errno(&error))?;
        Ok(Reply::Output(page.used))
    }

    /// As READDIR, with the attributes of each entry and a reference to its inode.
    pub(super) fn readdirplus(
        &self,
        header: &InHeader,
        arguments: &ReadIn,
        output: &mut OutputBuffer,
    ) -> Answer {
        let head = size_of::<EntryOut>();
        let mut page = Page::new(output.first_mut(arguments.size as usize), head);
        let mut found = Vec::new();
        self.volume
            .read_dir(Ino(header.nodeid), arguments.offset, &mut |entry| {
                let at = page.used;
                let flow = page.push(entry);
                if flow.is_continue() && entry.name != b"." && entry.name != b".." {
                    found.push((at, entry.ino));
                }
                flow
            })
            .map_err(|error| errno(&error))?;
        // Attributes are read when the directory is not being walked any more. An entry without
        // them (removed in the meantime, or damaged) is looked up by the kernel if needed.
        for (at, ino) in found {
            if let Ok(attr) = self.volume.getattr(ino)
                && let Some(place) = page.bytes.get_mut(at..at + head)
            {
                place.copy_from_slice(self.entry(&attr).as_bytes());
            }
        }
        Ok(Reply::Output(page.used))
    }
}

/// The records of one reply, as many as fit.
struct Page<'a> {
    bytes: &'a mut [u8],
    used: usize,
    /// Bytes left empty before each `Dirent`.
    head: usize,
}

impl<'a> Page<'a> {
    fn new(bytes: &'a mut [u8], head: usize) -> Page<'a> {
        Page { bytes, used: 0, head }
    }

    /// Adds an entry; breaks off when it does not fit any more.
    fn push(&mut self, entry: &DirEntry) -> ControlFlow<()> {
        let dirent = Dirent {
            ino: entry.ino.0,
            off: entry.cookie,
            namelen: entry.name.len() as u32,
            kind: kind_number(entry.kind),
        };
        let name_at = self.head + size_of::<Dirent>();
        let length = (name_at + entry.name.len()).next_multiple_of(8);
        let Some(record) = self.bytes.get_mut(self.used..self.used + length) else {
            return ControlFlow::Break(());
        };
        record.fill(0);
        let (_, rest) = record.split_at_mut(self.head);
        let (fixed, name) = rest.split_at_mut(size_of::<Dirent>());
        fixed.copy_from_slice(dirent.as_bytes());
        for (to, from) in name.iter_mut().zip(&entry.name) {
            *to = *from;
        }
        self.used += length;
        ControlFlow::Continue(())
    }
}

/// The `d_type` of readdir(3).
fn kind_number(kind: FileKind) -> u32 {
    let number = match kind {
        FileKind::Regular => libc::DT_REG,
        FileKind::Directory => libc::DT_DIR,
        FileKind::Symlink => libc::DT_LNK,
        FileKind::Fifo => libc::DT_FIFO,
        FileKind::Socket => libc::DT_SOCK,
        FileKind::CharDevice => libc::DT_CHR,
        FileKind::BlockDevice => libc::DT_BLK,
    };
    u32::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8]) -> DirEntry {
        DirEntry { ino: Ino(9), kind: FileKind::Regular, name: name.to_vec(), cookie: 77 }
    }

    #[test]
    fn record_is_padded_and_old_bytes_in_the_buffer_are_cleared() {
        let mut bytes = [0xff; 64];
        let mut page = Page::new(&mut bytes, 0);
        assert!(page.push(&entry(b"abc")).is_continue());
        assert_eq!(page.used, 32);
        assert_eq!(&bytes[24..32], b"abc\0\0\0\0\0");
        assert_eq!(bytes[16..20], 3u32.to_ne_bytes());
        assert_eq!(bytes[20..24], 8u32.to_ne_bytes());
    }

    #[test]
    fn entry_that_does_not_fit_breaks_off_and_leaves_no_trace() {
        let mut bytes = [0xff; 63];
        let mut page = Page::new(&mut bytes, 0);
        assert!(page.push(&entry(b"12345678")).is_continue());
        assert!(page.push(&entry(b"12345678")).is_break());
        assert_eq!(page.used, 32);
        assert_eq!(bytes[32..], [0xff; 31]);
    }
}
