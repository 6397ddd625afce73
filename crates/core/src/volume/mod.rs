//! An open volume.
#![allow(unused_variables, missing_docs, clippy::todo, clippy::missing_errors_doc, clippy::needless_pass_by_value)]

mod options;

use crate::error::Result;
use crate::types::*;
use crate::file::File;
use ashlar_device::Device;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

pub use options::{Atime, FormatOptions, MountOptions};

/// A mounted volume.
#[derive(Debug)]
pub struct Volume {}

/// Keeps an inode alive.
#[derive(Debug)]
pub struct Hold {}

impl Volume {
    pub fn format(device: &Arc<dyn Device>, options: &FormatOptions) -> Result<()> { todo!() }
    pub fn mount(device: Arc<dyn Device>, options: &MountOptions) -> Result<Arc<Self>> { todo!() }
    pub fn unmount(&self) -> Result<()> { todo!() }
    pub fn sync(&self) -> Result<()> { todo!() }
    pub fn background_step(&self) -> Result<()> { todo!() }
    pub fn statfs(&self) -> Statfs { todo!() }
    pub fn info(&self) -> VolumeInfo { todo!() }
    pub fn label(&self) -> String { todo!() }
    pub fn set_label(&self, label: &str) -> Result<()> { todo!() }
    pub fn trim(&self, range: Range<u64>, min_length: u64) -> Result<u64> { todo!() }
    pub fn shutdown(&self, mode: ShutdownMode) -> Result<()> { todo!() }
    pub fn is_read_only(&self) -> bool { todo!() }
    pub fn force_read_only(&self, cause: String) { todo!() }
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Attr> { todo!() }
    pub fn create(&self, caller: &Caller, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Attr> { todo!() }
    pub fn create_unnamed(&self, caller: &Caller, dir: Ino, mode: u32) -> Result<Attr> { todo!() }
    pub fn link(&self, ino: Ino, new_dir: Ino, new_name: &[u8]) -> Result<Attr> { todo!() }
    pub fn unlink(&self, dir: Ino, name: &[u8]) -> Result<()> { todo!() }
    pub fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<()> { todo!() }
    pub fn rename(&self, caller: &Caller, dir: Ino, name: &[u8], new_dir: Ino, new_name: &[u8], flags: RenameFlags) -> Result<()> { todo!() }
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> { todo!() }
    pub fn read_dir(&self, dir: Ino, cookie: u64, emit: &mut dyn FnMut(&DirEntry) -> ControlFlow<()>) -> Result<()> { todo!() }
    pub fn getattr(&self, ino: Ino) -> Result<Attr> { todo!() }
    pub fn setattr(&self, caller: &Caller, ino: Ino, change: &SetAttr) -> Result<Attr> { todo!() }
    pub fn set_flags(&self, caller: &Caller, ino: Ino, flags: InodeFlags) -> Result<()> { todo!() }
    pub fn project(&self, ino: Ino) -> Result<u32> { todo!() }
    pub fn set_project(&self, caller: &Caller, ino: Ino, project: u32) -> Result<()> { todo!() }
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> { todo!() }
    pub fn setxattr(&self, caller: &Caller, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> { todo!() }
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> { todo!() }
    pub fn removexattr(&self, caller: &Caller, ino: Ino, name: &[u8]) -> Result<()> { todo!() }
    pub fn hold(self: &Arc<Self>, ino: Ino) -> Result<Hold> { todo!() }
    pub fn remember(&self, ino: Ino) { todo!() }
    pub fn forget(&self, ino: Ino, count: u64) { todo!() }
    pub fn open(self: &Arc<Self>, ino: Ino, flags: OpenFlags) -> Result<Arc<File>> { todo!() }
}
