//! The error of a device: what was tried, where, and what the host said.

use std::fmt;
use std::io;

/// What every device call returns.
pub type Result<T> = std::result::Result<T, DeviceError>;

/// The call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceOp {
    /// Opening the file or block device, or finding out what it can do.
    Open,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Making completed writes durable.
    Flush,
    /// Giving bytes back to the device.
    Discard,
    /// Writing zeroes without carrying them.
    WriteZeroes,
}

impl fmt::Display for DeviceOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceOp::Open => "open",
            DeviceOp::Read => "read",
            DeviceOp::Write => "write",
            DeviceOp::Flush => "flush",
            DeviceOp::Discard => "discard",
            DeviceOp::WriteZeroes => "write of zeroes",
        })
    }
}

/// A device call failed.
#[derive(Debug, thiserror::Error)]
pub struct DeviceError {
    /// What was tried.
    pub op: DeviceOp,
    /// First byte of the range; 0 for [`DeviceOp::Open`] and [`DeviceOp::Flush`].
    pub addr: u64,
    /// Bytes in the range; 0 for [`DeviceOp::Open`] and [`DeviceOp::Flush`].
    pub length: u64,
    /// The device as the user named it.
    pub device: String,
    /// What the host said.
    pub source: io::Error,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, addr, length, device, source } = self;
        match op {
            DeviceOp::Open => write!(f, "cannot open {device}: {source}"),
            DeviceOp::Flush => write!(f, "flush of {device} failed: {source}"),
            _ => write!(f, "{op} of {length} bytes at byte {addr} of {device} failed: {source}"),
        }
    }
}

impl DeviceError {
    /// The `errno` value that says the same; `EIO` where the host gave none.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(match self.source.kind() {
            io::ErrorKind::InvalidInput => libc::EINVAL,
            io::ErrorKind::NotFound => libc::ENOENT,
            io::ErrorKind::PermissionDenied => libc::EACCES,
            io::ErrorKind::StorageFull => libc::ENOSPC,
            io::ErrorKind::ReadOnlyFilesystem => libc::EROFS,
            io::ErrorKind::ResourceBusy => libc::EBUSY,
            io::ErrorKind::Unsupported => libc::EOPNOTSUPP,
            io::ErrorKind::IsADirectory => libc::EISDIR,
            _ => libc::EIO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_operation_place_and_device() {
        let error = DeviceError {
            op: DeviceOp::Write,
            addr: 8192,
            length: 512,
            device: "disk.img".into(),
            source: io::Error::from_raw_os_error(libc::EIO),
        };
        assert_eq!(
            error.to_string(),
            "write of 512 bytes at byte 8192 of disk.img failed: Input/output error (os error 5)"
        );
        assert_eq!(error.errno(), libc::EIO);
    }

    #[test]
    fn errno_follows_kind_without_os_error() {
        let of = |kind| DeviceError {
            op: DeviceOp::Open,
            addr: 0,
            length: 0,
            device: String::new(),
            source: io::Error::new(kind, "why"),
        };
        assert_eq!(of(io::ErrorKind::InvalidInput).errno(), libc::EINVAL);
        assert_eq!(of(io::ErrorKind::ResourceBusy).errno(), libc::EBUSY);
        assert_eq!(of(io::ErrorKind::Other).errno(), libc::EIO);
    }
}
