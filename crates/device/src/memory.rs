//! A device in memory: for tests, and for file systems that need not outlive the process.

use std::io;

use parking_lot::RwLock;

use crate::{Device, DeviceError, DeviceOp, Finish, Result, Topology, Write};

const SECTOR: u32 = 512;
const DISCARD_PATTERN_MAX: usize = 1 << 20;

/// Bytes in memory. Flushing does nothing: the contents live exactly as long as the value.
#[derive(Debug)]
pub struct MemoryDevice {
    topology: Topology,
    bytes: RwLock<Box<[u8]>>,
}

impl MemoryDevice {
    /// A device of `capacity` zero bytes with 512-byte sectors.
    ///
    /// # Panics
    /// `capacity` is not a multiple of 512 or exceeds the address space.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        let length = usize::try_from(capacity).expect("a memory device fits into memory");
        Self::from_bytes(vec![0; length].into_boxed_slice())
    }

    /// A device that holds `bytes`.
    ///
    /// # Panics
    /// The length is not a multiple of 512.
    #[must_use]
    pub fn from_bytes(bytes: Box<[u8]>) -> Self {
        Self { topology: Topology::new(bytes.len() as u64, SECTOR), bytes: RwLock::new(bytes) }
    }

    /// A copy of all bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Box<[u8]> {
        self.bytes.read().clone()
    }

    fn error(op: DeviceOp, addr: u64, length: u64, source: io::Error) -> DeviceError {
        DeviceError { op, addr, length, device: "memory".into(), source }
    }

    /// The range in memory that a change may touch.
    fn checked(&self, op: DeviceOp, addr: u64, length: u64) -> Result<std::ops::Range<usize>> {
        let checked = match op {
            DeviceOp::Read => self.topology.check_range(addr, length),
            _ => self.topology.check_change(addr, length),
        };
        checked.map_err(|source| Self::error(op, addr, length, source))?;
        // The capacity is a length in memory, and the range lies inside.
        Ok(addr as usize..(addr + length) as usize)
    }
}

impl Device for MemoryDevice {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        let range = self.checked(DeviceOp::Read, addr, buf.len() as u64)?;
        buf.copy_from_slice(&self.bytes.read()[range]);
        Ok(())
    }

    fn submit(&self, writes: &[Write<'_>], _finish: Finish) -> Result<()> {
        for write in writes {
            self.checked(DeviceOp::Write, write.addr, write.bytes.len() as u64)?;
        }
        let mut bytes = self.bytes.write();
        for write in writes {
            let start = write.addr as usize;
            bytes[start..start + write.bytes.len()].copy_from_slice(write.bytes);
        }
        Ok(())
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        let range = self.checked(DeviceOp::Discard, addr, length)?;
        // D4: undefined bytes. A pattern instead of zeroes finds callers that rely on them; a
        // whole device is not worth touching every page of memory for.
        let end = range.end.min(range.start + DISCARD_PATTERN_MAX);
        self.bytes.write()[range.start..end].fill(0xdc);
        Ok(())
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        let range = self.checked(DeviceOp::WriteZeroes, addr, length)?;
        self.bytes.write()[range].fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_is_read_back() -> Result<()> {
        let device = MemoryDevice::new(8192);
        device.submit(
            &[Write { addr: 512, bytes: &[1; 1024] }, Write { addr: 7680, bytes: &[2; 512] }],
            Finish::Flush,
        )?;
        let mut buf = [9; 8192];
        device.read_at(0, &mut buf)?;
        assert!(buf[..512].iter().all(|&b| b == 0));
        assert!(buf[512..1536].iter().all(|&b| b == 1));
        assert!(buf[7680..].iter().all(|&b| b == 2));
        device.write_zeroes(512, 512)?;
        device.read_at(0, &mut buf)?;
        assert!(buf[..1024].iter().all(|&b| b == 0));
        Ok(())
    }

    #[test]
    fn bad_range_changes_nothing() {
        let device = MemoryDevice::new(8192);
        let bad = [Write { addr: 0, bytes: &[1; 512] }, Write { addr: 8192, bytes: &[1; 512] }];
        let error = device.submit(&bad, Finish::Nothing).expect_err("outside");
        assert_eq!((error.op, error.addr, error.errno()), (DeviceOp::Write, 8192, libc::EINVAL));
        assert!(device.to_bytes().iter().all(|&b| b == 0));
        assert_eq!(device.read_at(3, &mut [0; 512]).expect_err("odd").errno(), libc::EINVAL);
        assert_eq!(device.discard(0, 1).expect_err("odd").errno(), libc::EINVAL);
        assert_eq!(device.write_zeroes(8192, 512).expect_err("out").errno(), libc::EINVAL);
    }

    #[test]
    fn empty_requests_succeed() -> Result<()> {
        let device = MemoryDevice::new(512);
        device.read_at(512, &mut [])?;
        device.submit(&[], Finish::Flush)?;
        device.write_at(0, &[])?;
        device.discard(0, 0)?;
        device.write_zeroes(512, 0)
    }
}
