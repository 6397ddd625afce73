//! An open file.
#![allow(unused_variables, missing_docs, clippy::todo, clippy::missing_errors_doc, clippy::needless_pass_by_value)]
use crate::error::Result;
use crate::types::*;
use std::ops::Range;

/// One open handle.
#[derive(Debug)]
pub struct File {}

impl File {
    pub fn ino(&self) -> Ino { todo!() }
    pub fn attr(&self) -> Result<Attr> { todo!() }
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> { todo!() }
    pub fn write_at(&self, offset: u64, bytes: &[u8], flags: WriteFlags) -> Result<usize> { todo!() }
    pub fn fsync(&self, data_only: bool) -> Result<()> { todo!() }
    pub fn allocate(&self, caller: &Caller, mode: FallocateMode, offset: u64, length: u64) -> Result<()> { todo!() }
    pub fn set_len(&self, size: u64) -> Result<()> { todo!() }
    pub fn seek_data(&self, offset: u64) -> Result<u64> { todo!() }
    pub fn seek_hole(&self, offset: u64) -> Result<u64> { todo!() }
    pub fn extents(&self, range: Range<u64>) -> Result<Vec<ExtentReport>> { todo!() }
    pub fn copy_range(&self, offset: u64, to: &File, to_offset: u64, length: u64) -> Result<u64> { todo!() }
    pub fn bmap(&self, file_block: u64) -> Result<Option<u64>> { todo!() }
}
