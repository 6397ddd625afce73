//! Atomic files by F2FS's ioctls, which SQLite speaks, and by our own.
//!
//! F2FS's are answered as F2FS answers them, errors and their order included. Commit is fsync(2) by
//! a thread that may call it (see [`crate::inside`]): only the kernel can bring its dirty pages
//! here and hold up writers meanwhile.

use std::io;
use std::sync::Arc;

use ashlar_core::{Caller, File, Ino, InodeFlags, OpenFlags};
use zerocopy::IntoBytes;

use super::{Answer, Call, Outcome, Server, answer};
use crate::credentials::{Capability, file_user, has_capability};
use crate::handles::OpenFile;
use crate::ioctl::abi::{self, Syncv};
use crate::ops::errno;
use crate::wire::channel::Channel;
use crate::wire::reply::Errno;

impl Server {
    pub(super) fn start_atomic(&self, call: Call<'_>) -> Outcome {
        let open = match self.atomic_caller(call) {
            Ok(open) if open.uncached => return Outcome::Now(Err(Errno::EINVAL)),
            Ok(open) => open,
            Err(errno) => return Outcome::Now(Err(errno)),
        };
        Outcome::Later(Box::new(move |server, channel| {
            if !open.file.is_atomic() {
                // What was written before does not belong to the update.
                server.bring_pages(channel, open.ino)?;
            }
            open.file.begin_atomic().map_err(|error| errno(&error))?;
            answer(&[])
        }))
    }

    pub(super) fn commit_atomic(&self, call: Call<'_>) -> Outcome {
        let open = match self.atomic_caller(call) {
            Ok(open) => open,
            Err(errno) => return Outcome::Now(Err(errno)),
        };
        Outcome::Later(Box::new(move |server, channel| {
            let committed = server.sync_through_kernel(channel, &open).and_then(|()| {
                server.check_whole(&open)?;
                open.file.commit_atomic().map_err(|error| errno(&error))
            });
            if committed.is_err() && open.file.is_atomic() {
                server.abort(channel, &open)?;
            }
            committed?;
            answer(&[])
        }))
    }

    pub(super) fn abort_atomic(&self, call: Call<'_>) -> Outcome {
        let open = match self.atomic_caller(call) {
            Ok(open) => open,
            Err(errno) => return Outcome::Now(Err(errno)),
        };
        Outcome::Later(Box::new(move |server, channel| {
            if open.file.is_atomic() {
                server.abort(channel, &open)?;
            }
            answer(&[])
        }))
    }

    /// The open file, if the caller may do atomic updates through it.
    fn atomic_caller(&self, call: Call<'_>) -> Result<Arc<OpenFile>, Errno> {
        let open = self.handles.get(call.arguments.fh)?;
        if !open.writable {
            return Err(Errno::EBADF);
        }
        if !self.is_owner(call)? {
            return Err(Errno(libc::EACCES));
        }
        Ok(open)
    }

    fn is_owner(&self, call: Call<'_>) -> Result<bool, Errno> {
        let attr = self.volume.getattr(call.ino()).map_err(|error| errno(&error))?;
        let (pid, uid) = (call.header.pid, call.header.uid);
        Ok(file_user(pid, uid) == Some(attr.uid) || has_capability(pid, uid, Capability::Fowner))
    }

    /// Has the kernel send its dirty pages of a file; commits nothing.
    fn bring_pages(&self, channel: &Channel, ino: Ino) -> Result<(), Errno> {
        or_else_invalidate(self.inside.write_back(ino), channel, ino)
    }

    fn sync_through_kernel(&self, channel: &Channel, open: &OpenFile) -> Result<(), Errno> {
        or_else_invalidate(self.inside.sync(open.ino), channel, open.ino)
    }

    pub(super) fn io_info(&self, call: Call<'_>) -> Answer {
        // Also for handles that the kernel does without.
        let file =
            self.volume.open(call.ino(), OpenFlags::read_only()).map_err(|error| errno(&error))?;
        let info = file.io_info().map_err(|error| errno(&error))?;
        let out = abi::IoInfo {
            flags: abi::IO_PER_WRITE | abi::IO_ON_SYNC | abi::IO_SYNCV,
            alignment: info.alignment as u16,
            max_files: info.max_files,
            max_bytes: info.max_bytes,
            journaled_bytes: info.journaled_bytes,
            ..abi::IoInfo::default()
        };
        answer(out.as_bytes())
    }

    pub(super) fn get_atomic(&self, call: Call<'_>) -> Answer {
        let flags = self.volume.getattr(call.ino()).map_err(|error| errno(&error))?.flags;
        let mut bits = 0;
        if flags.contains(InodeFlags::ATOMIC) {
            bits |= abi::ATOMIC_ON;
        }
        if flags.contains(InodeFlags::ATOMIC_COMMIT_ON_CLOSE) {
            bits |= abi::ATOMIC_COMMIT_ON_CLOSE;
        }
        answer(&bits.to_ne_bytes())
    }

    pub(super) fn set_atomic(&self, call: Call<'_>) -> Answer {
        let wanted = match call.argument::<u32>()? {
            0 => InodeFlags::empty(),
            abi::ATOMIC_ON => InodeFlags::ATOMIC,
            bits if bits == abi::ATOMIC_ON | abi::ATOMIC_COMMIT_ON_CLOSE => {
                InodeFlags::ATOMIC | InodeFlags::ATOMIC_COMMIT_ON_CLOSE
            }
            _ => return Err(Errno::EINVAL),
        };
        if !self.is_owner(call)? {
            return Err(Errno::EPERM);
        }
        let all = InodeFlags::ATOMIC | InodeFlags::ATOMIC_COMMIT_ON_CLOSE;
        let flags = self.volume.getattr(call.ino()).map_err(|error| errno(&error))?.flags;
        self.volume
            .set_flags(&Caller::root(), call.ino(), (flags - all) | wanted)
            .map_err(|error| errno(&error))?;
        answer(&[])
    }

    pub(super) fn get_token(&self, call: Call<'_>) -> Answer {
        let open = self.handles.get(call.arguments.fh)?;
        let token = self.handles.token(call.arguments.fh, &open).map_err(|_| Errno::EIO)?;
        answer(&token.to_ne_bytes())
    }

    pub(super) fn syncv(&self, call: Call<'_>) -> Outcome {
        let (open, written_back) = match self.files_of(call) {
            Ok(found) => found,
            Err(errno) => return Outcome::Now(Err(errno)),
        };
        Outcome::Later(Box::new(move |server, channel| {
            for open in open.iter().filter(|_| !written_back) {
                server.bring_pages(channel, open.ino)?;
            }
            open.iter().try_for_each(|open| server.check_whole(open))?;
            let files: Vec<&File> = open.iter().map(|open| &*open.file).collect();
            server.volume.sync_files(&files).map_err(|error| errno(&error))?;
            answer(&[])
        }))
    }

    /// The files that the argument names, and whether the kernel has nothing dirty of them.
    fn files_of(&self, call: Call<'_>) -> Result<(Vec<Arc<OpenFile>>, bool), Errno> {
        let wanted: Syncv = call.argument()?;
        if wanted.flags & !abi::SYNCV_WRITTEN_BACK != 0 || wanted.count == 0 {
            return Err(Errno::EINVAL);
        }
        let tokens = wanted.tokens.get(..wanted.count as usize).ok_or(Errno(libc::E2BIG))?;
        let open = tokens.iter().map(|token| self.handles.with_token(*token));
        let mut open: Vec<_> = open.collect::<Result<_, _>>()?;
        if open.iter().any(|open| !open.file.is_atomic()) {
            return Err(Errno::EINVAL);
        }
        open.sort_by_key(|open| open.ino);
        open.dedup_by_key(|open| open.ino);
        Ok((open, wanted.flags & abi::SYNCV_WRITTEN_BACK != 0))
    }
}

/// When the file cannot be opened from inside, the kernel is told to forget it: that brings its
/// dirty pages, too. Errors of writing them are those of the call.
fn or_else_invalidate(done: io::Result<()>, channel: &Channel, ino: Ino) -> Result<(), Errno> {
    match done.map_err(|error| error.raw_os_error()) {
        Ok(()) => Ok(()),
        Err(Some(number @ (libc::EIO | libc::ENOSPC | libc::EFBIG | libc::EDQUOT))) => {
            Err(Errno(number))
        }
        Err(number) => {
            tracing::debug!(?number, %ino, "the mount cannot be reached from inside");
            match channel.invalidate(ino.0, 0) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                Err(error) => Err(Errno(error.raw_os_error())),
            }
        }
    }
}
