//! stand-in
#![allow(missing_docs)]
use crate::*;
use parking_lot::RwLock;
#[derive(Debug)]
pub struct MemoryDevice {
    topology: Topology,
    bytes: RwLock<Vec<u8>>,
}
impl MemoryDevice {
    pub fn new(capacity: u64) -> Self {
        Self {
            topology: Topology { capacity, sector: 512, optimal_io: 4096, discard: true },
            bytes: RwLock::new(vec![0; capacity as usize]),
        }
    }
}
fn bad(op: DeviceOp, addr: u64, length: u64) -> DeviceError {
    DeviceError {
        op,
        addr,
        length,
        device: "memory".into(),
        source: std::io::Error::from_raw_os_error(libc::EINVAL),
    }
}
impl Device for MemoryDevice {
    fn topology(&self) -> &Topology {
        &self.topology
    }
    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        let b = self.bytes.read();
        let s = b
            .get(addr as usize..addr as usize + buf.len())
            .ok_or_else(|| bad(DeviceOp::Read, addr, buf.len() as u64))?;
        buf.copy_from_slice(s);
        Ok(())
    }
    fn submit(&self, writes: &[Write<'_>], _f: Finish) -> Result<()> {
        let mut b = self.bytes.write();
        for w in writes {
            let n = w.bytes.len();
            b.get_mut(w.addr as usize..w.addr as usize + n)
                .ok_or_else(|| bad(DeviceOp::Write, w.addr, n as u64))?
                .copy_from_slice(w.bytes);
        }
        Ok(())
    }
    fn discard(&self, _a: u64, _l: u64) -> Result<()> {
        Ok(())
    }
    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        self.write_at(addr, &vec![0; length as usize])
    }
}
