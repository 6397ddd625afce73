//! Ioctls on the volume as a whole; those that change it take `CAP_SYS_ADMIN`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ashlar_core::ShutdownMode;
use zerocopy::IntoBytes;

use super::{Answer, Call, Outcome, Server, answer};
use crate::credentials::{Capability, has_capability};
use crate::ioctl::abi::{self, TrimRange};
use crate::ops::errno;
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

    pub(super) fn shutdown(&self, call: Call<'_>) -> Answer {
        administrator(call)?;
        let mode = match shutdown_argument(call)? {
            abi::SHUTDOWN_DEFAULT => ShutdownMode::FlushLogAndData,
            abi::SHUTDOWN_FLUSH_LOG => ShutdownMode::FlushLog,
            abi::SHUTDOWN_NO_FLUSH => ShutdownMode::NoFlush,
            _ => return Err(Errno::EINVAL),
        };
        tracing::warn!(?mode, pid = call.header.pid, "shutdown asked for by ioctl");
        self.volume.shutdown(mode).map_err(|error| errno(&error))?;
        answer(&[])
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
fn shutdown_argument(call: Call<'_>) -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    let memory = File::open(format!("/proc/{}/mem", call.header.pid));
    memory
        .and_then(|memory| memory.read_exact_at(&mut bytes, call.arguments.arg))
        .map_err(|_| Errno(libc::EFAULT))?;
    Ok(u32::from_ne_bytes(bytes))
}
