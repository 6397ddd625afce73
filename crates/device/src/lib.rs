//! Where bytes live. (API stand-in by the lead until the owner's files land: same names; replace freely.)
#![allow(missing_docs)]
use std::fmt;
mod buffer;
mod memory;
pub use buffer::AlignedBuf;
pub use memory::MemoryDevice;
pub type Result<T> = std::result::Result<T, DeviceError>;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceOp {
    Open,
    Read,
    Write,
    Flush,
    Discard,
    WriteZeroes,
}
#[derive(Debug, thiserror::Error)]
#[error("{op:?} of {length} bytes at {addr} failed on {device}: {source}")]
pub struct DeviceError {
    pub op: DeviceOp,
    pub addr: u64,
    pub length: u64,
    pub device: String,
    pub source: std::io::Error,
}
impl DeviceError {
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(libc::EIO)
    }
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    pub capacity: u64,
    pub sector: u32,
    pub optimal_io: u32,
    pub discard: bool,
}
pub struct Write<'a> {
    pub addr: u64,
    pub bytes: &'a [u8],
}
pub struct Read<'a> {
    pub addr: u64,
    pub buf: &'a mut [u8],
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    Nothing,
    Flush,
}
pub trait Device: Send + Sync + fmt::Debug {
    fn topology(&self) -> &Topology;
    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()>;
    fn read_batch(&self, reads: &mut [Read<'_>]) -> Result<()> {
        for read in reads {
            self.read_at(read.addr, read.buf)?;
        }
        Ok(())
    }
    fn write_at(&self, addr: u64, bytes: &[u8]) -> Result<()> {
        self.submit(&[Write { addr, bytes }], Finish::Nothing)
    }
    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()>;
    fn flush(&self) -> Result<()> {
        self.submit(&[], Finish::Flush)
    }
    fn discard(&self, addr: u64, length: u64) -> Result<()>;
    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()>;
    fn block_device_path(&self) -> Option<&std::path::Path> {
        None
    }
}
