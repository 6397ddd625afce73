//! OPEN and RELEASE.
//!
//! Every file is opened readable, whatever the program asked for: with the write-back cache the
//! kernel reads a page through any handle to fill it up around a small write. It also places
//! appended data itself; only for append-only files, which do without its cache, core must know.

use std::sync::atomic::AtomicU64;

use ashlar_core::{Attr, Caller, Ino, InodeFlags, OpenFlags, SetAttr};

use super::{Answer, Outcome, Server, errno};
use crate::handles::OpenFile;
use crate::wire::abi::{InHeader, OPEN_KILL_SUIDGID, OpenIn, OpenOut, OpenReply, ReleaseIn};
use crate::wire::reply::{Errno, Reply};

impl Server {
    pub(super) fn open(&self, header: &InHeader, arguments: &OpenIn) -> Outcome {
        let ino = Ino(header.nodeid);
        if !self.may_be_given_up(ino) || self.inside.is_caller(header) {
            return self.open_now(ino, arguments).into();
        }
        let arguments = *arguments;
        Outcome::Later(Box::new(move |server, channel| {
            server.wait_until_settled(channel, ino);
            server.open_now(ino, &arguments)
        }))
    }

    fn open_now(&self, ino: Ino, arguments: &OpenIn) -> Answer {
        let attr = self.volume.getattr(ino).map_err(|error| errno(&error))?;
        let open = self.open_file(&attr, arguments.flags)?;
        if has(arguments.flags, libc::O_TRUNC) {
            self.after_truncation(ino, arguments.open_flags).inspect_err(|_| {
                // It was just inserted: it is there.
                let _ = self.handles.remove(open.fh);
            })?;
        }
        Ok(Reply::Open(open))
    }

    /// What truncation by open does to set-id bits and capabilities.
    fn after_truncation(&self, ino: Ino, open_flags: u32) -> Result<(), Errno> {
        if open_flags & OPEN_KILL_SUIDGID != 0 {
            let change = SetAttr { kill_suid_gid: true, ..SetAttr::default() };
            self.volume.setattr(&Caller::root(), ino, &change).map_err(|error| errno(&error))?;
        }
        self.drop_capability(ino)
    }

    /// Opens a file as open(2)'s `flags` say and registers it.
    pub(super) fn open_file(&self, attr: &Attr, flags: u32) -> Result<OpenOut, Errno> {
        let writable = flags as i32 & libc::O_ACCMODE != libc::O_RDONLY;
        let append_only = attr.flags.contains(InodeFlags::APPEND);
        let sync = attr.flags.contains(InodeFlags::SYNC);
        // The cache gathers writes into pages: neither "each write is durable" nor "nothing but
        // appending" could be seen in what it sends, so such files do without it.
        let direct = writable && (append_only || sync);
        let wanted = OpenFlags {
            read: true,
            write: writable,
            append: append_only && has(flags, libc::O_APPEND),
            truncate: has(flags, libc::O_TRUNC),
            ..OpenFlags::default()
        };
        let file = self.volume.open(attr.ino, wanted).map_err(|error| errno(&error))?;
        let fh = self.handles.insert(OpenFile {
            ino: attr.ino,
            file,
            writable,
            direct,
            sync,
            uncached: has(flags, libc::O_DIRECT),
            token: AtomicU64::new(0),
            no_capability_at: AtomicU64::new(0),
        });
        let reply = if direct {
            OpenReply::DIRECT_IO | OpenReply::PARALLEL_DIRECT_WRITES
        } else {
            OpenReply::KEEP_CACHE
        };
        Ok(OpenOut { fh, open_flags: reply.bits(), padding: 0 })
    }

    pub(super) fn release(&self, arguments: &ReleaseIn) -> Outcome {
        match self.handles.get(arguments.fh) {
            Ok(open) if open.file.is_atomic() => self.release_atomic(arguments.fh, &open),
            _ => self.handles.remove(arguments.fh).map(|_| Reply::Done).into(),
        }
    }
}

fn has(flags: u32, bit: i32) -> bool {
    flags as i32 & bit != 0
}
