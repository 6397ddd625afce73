//! Image files and block devices of the host.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Device, DeviceError, DeviceOp, Finish, Result, Topology, Write};

/// How to open a [`FileDevice`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Refuse every change; other read-only openers are let in.
    pub read_only: bool,
    /// Create the image file if it is missing, and grow it (sparse) to this many bytes if it is
    /// smaller. Not for block devices.
    pub create_size: Option<u64>,
}

/// An image file or a block device.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    path: PathBuf,
    topology: Topology,
}

impl FileDevice {
    /// Opens `path`.
    ///
    /// # Errors
    /// The host's error.
    pub fn open(path: impl AsRef<Path>, mode: OpenMode) -> Result<Self> {
        let path = path.as_ref();
        let open = || -> io::Result<Self> {
            let file = OpenOptions::new()
                .read(true)
                .write(!mode.read_only)
                .create(mode.create_size.is_some())
                .truncate(false)
                .open(path)?;
            if let Some(size) = mode.create_size
                && file.metadata()?.len() < size
            {
                file.set_len(size)?;
            }
            let capacity = file.metadata()?.len() / 512 * 512;
            let topology = Topology { read_only: mode.read_only, ..Topology::new(capacity, 512) };
            Ok(Self { file, path: path.to_owned(), topology })
        };
        open().map_err(|source| DeviceError {
            op: DeviceOp::Open,
            addr: 0,
            length: 0,
            device: path.display().to_string(),
            source,
        })
    }

    fn error(&self, op: DeviceOp, addr: u64, length: u64, source: io::Error) -> DeviceError {
        DeviceError { op, addr, length, device: self.path.display().to_string(), source }
    }
}

impl Device for FileDevice {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        let length = buf.len() as u64;
        self.topology
            .check_range(addr, length)
            .and_then(|()| self.file.read_exact_at(buf, addr))
            .map_err(|source| self.error(DeviceOp::Read, addr, length, source))
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()> {
        for Write { addr, bytes } in writes {
            self.topology
                .check_change(*addr, bytes.len() as u64)
                .and_then(|()| self.file.write_all_at(bytes, *addr))
                .map_err(|source| self.error(DeviceOp::Write, *addr, bytes.len() as u64, source))?;
        }
        match finish {
            Finish::Nothing => Ok(()),
            Finish::Flush => {
                self.file.sync_data().map_err(|source| self.error(DeviceOp::Flush, 0, 0, source))
            }
        }
    }

    fn discard(&self, _addr: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        self.write_at(addr, &vec![0; length as usize])
    }
}
