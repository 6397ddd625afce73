//! Ioctls on the volume as a whole; those that change it take `CAP_SYS_ADMIN`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ashlar_core::ShutdownMode;
use zerocopy::IntoBytes;

use super::{Answer, Call, Outcome, Server, answer};
use crate::credentials::{Capability, has_capability};
use crate::ioctl::abi::{self, TrimRange};
use crate::ops::errno;
use crate::wire::channel::Channel;
use crate::wire::reply::Errno;

impl Server {
    pub(super) fn get_label(&self) -> Answer {
        let mut bytes = [0; abi::LABEL_SIZE];
        for (to, from) in
            bytes.iter_mut().take(abi::LABEL_SIZE - 1).zip(self.volume.label().bytes())
        {
            *to = from;
        }
        answer(&bytes)
    }

    pub(super) fn set_label(&self, call: Call<'_>) -> Answer {
        administrator(call)?;
        let end = call.data.iter().position(|&byte| byte == 0).ok_or(Errno::EINVAL)?;
        let label = call.data.get(..end).unwrap_or_default();
        let label = std::str::from_utf8(label).map_err(|_| Errno::EINVAL)?;
        self.volume.set_label(label).map_err(|error| errno(&error))?;
        answer(&[])
    }

    /// Takes as long as the device does, so it is done off the workers.
    pub(super) fn trim(&self, call: Call<'_>) -> Outcome {
        let wanted = match administrator(call).and_then(|()| call.argument::<TrimRange>()) {
            Ok(wanted) => wanted,
            Err(errno) => return Outcome::Now(Err(errno)),
        };
        Outcome::Later(Box::new(move |server, _| {
            let end = wanted.start.saturating_add(wanted.length);
            let trimmed = server
                .volume
                .trim(wanted.start..end, wanted.min_length)
                .map_err(|error| errno(&error))?;
            answer(TrimRange { length: trimmed, ..wanted }.as_bytes())
        }))
    }

    /// Has the kernel write back everything first, if the mode keeps everything, and forget it
    /// afterwards: what it still knew would be answered as if nothing had happened. Both need
    /// workers.
    pub(super) fn shutdown(&self, call: Call<'_>) -> Outcome {
        let mode = match administrator(call).and_then(|()| shutdown_mode(call)) {
            Ok(mode) => mode,
            Err(errno) => return Outcome::Now(Err(errno)),
        };
        tracing::warn!(?mode, pid = call.header.pid, "shutdown asked for by ioctl");
        Outcome::Later(Box::new(move |server, channel| {
            if mode == ShutdownMode::FlushLogAndData {
                invalidate_all(server, channel);
            }
            let stopped = server.volume.shutdown(mode);
            invalidate_all(server, channel);
            stopped.map_err(|error| errno(&error))?;
            answer(&[])
        }))
    }
}

/// Makes the kernel write back and drop what it has cached of all inodes.
fn invalidate_all(server: &Server, channel: &Channel) {
    for ino in server.volume.remembered() {
        if let Err(error) = channel.invalidate(ino.0, 0) {
            tracing::debug!(%error, %ino, "not in the kernel's cache");
        }
    }
}

fn administrator(call: Call<'_>) -> Result<(), Errno> {
    if has_capability(call.header.pid, call.header.uid, Capability::SysAdmin) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// The mode, from the caller's memory: the ioctl's number says that its argument only goes out,
/// so the kernel does not bring it.
fn shutdown_mode(call: Call<'_>) -> Result<ShutdownMode, Errno> {
    let mut bytes = [0; 4];
    let memory = File::open(format!("/proc/{}/mem", call.header.pid));
    memory
        .and_then(|memory| memory.read_exact_at(&mut bytes, call.arguments.arg))
        .map_err(|_| Errno(libc::EFAULT))?;
    match u32::from_ne_bytes(bytes) {
        abi::SHUTDOWN_DEFAULT => Ok(ShutdownMode::FlushLogAndData),
        abi::SHUTDOWN_FLUSH_LOG => Ok(ShutdownMode::FlushLog),
        abi::SHUTDOWN_NO_FLUSH => Ok(ShutdownMode::NoFlush),
        _ => Err(Errno::EINVAL),
    }
}
