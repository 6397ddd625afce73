//! A file system in a few hundred lines, to show what the library asks for and what it gives.
//!
//! `fs` is the file system: fixed 4 KiB blocks in a table per file, delayed allocation, unwritten
//! and shared blocks, small files inline. It keeps nothing across a restart. The library's tests
//! use it, too.

mod fs;

use std::sync::Arc;

use ashlar_device::MemoryDevice;
use fs::{Through, ToyFs};

fn main() -> iomap::Result<()> {
    let fs = ToyFs::new(Arc::new(MemoryDevice::new(16 << 20)), 4 << 20);
    let file = fs.create();
    file.write(Through::Cache, 0, b"a small file lives in its inode")?;
    file.fsync()?;
    println!("small: {} blocks in use", fs.used_blocks());

    file.write(Through::Cache, 1 << 20, &[7; 100_000])?;
    println!("written: {} bytes dirty, {} blocks used", fs.pool.dirty_bytes(), fs.used_blocks());
    file.fsync()?;
    println!("synced: {} bytes dirty, {} blocks used", fs.pool.dirty_bytes(), fs.used_blocks());

    let copy = fs.clone_file(&file)?;
    println!("cloned: {} blocks used", fs.used_blocks());
    copy.write(Through::Device, 1 << 20, &[8; 4096])?;
    println!("copy changed: {} blocks used", fs.used_blocks());

    println!("first data past 4096: {}", file.seek_data(4096)?);
    for extent in file.extents() {
        println!("{:?}", extent?);
    }
    let mut back = [0; 5];
    file.read(Through::Cache, (1 << 20) + 99_998, &mut back)?;
    println!("last bytes: {back:?}");
    Ok(())
}
