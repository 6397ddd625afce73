//! Random programs of file operations, the same for the same seed.
//!
//! Every write is stamped: each 16 bytes say which operation wrote them and where, so that any
//! sector found after a crash can be traced to what put it there.

use fastrand::Rng;

/// Names that the operations use: few, so that they meet.
pub const NAMES: [&str; 10] =
    ["a", "b", "c", "dir", "dir/a", "dir/b", "dir/sub", "dir/sub/a", "other", "other/a"];

/// One step of a program. Paths index [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Creates a regular file.
    Create(usize),
    /// Creates a directory.
    Mkdir(usize),
    /// Creates a symbolic link to "target".
    Symlink(usize),
    /// Writes stamped bytes.
    Write {
        /// File.
        path: usize,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Sets the size.
    Truncate {
        /// File.
        path: usize,
        /// New size, bytes.
        size: u64,
    },
    /// Makes a hole.
    Punch {
        /// File.
        path: usize,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Allocates space, growing the file where it reaches past its end.
    Allocate {
        /// File.
        path: usize,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Renames, replacing what is there.
    Rename(usize, usize),
    /// Swaps two names.
    Exchange(usize, usize),
    /// Adds a name to a file.
    Link(usize, usize),
    /// Removes a name.
    Unlink(usize),
    /// Removes an empty directory.
    Rmdir(usize),
    /// Makes one file durable, and every name change before.
    Fsync(usize),
    /// The same, without times.
    Fdatasync(usize),
    /// Makes everything durable.
    SyncAll,
    /// What background work would do about now.
    Background,
}

/// Draws the next operation.
#[must_use]
pub fn draw(random: &mut Rng) -> Op {
    let path = random.usize(..NAMES.len());
    let other = random.usize(..NAMES.len());
    match random.u8(..40) {
        0..5 => Op::Create(path),
        5..8 => Op::Mkdir(path),
        8 => Op::Symlink(path),
        9..20 => {
            let (offset, length) = draw_range(random);
            Op::Write { path, offset, length }
        }
        20..22 => Op::Truncate { path, size: draw_offset(random) },
        22 => {
            let (offset, length) = draw_range(random);
            Op::Punch { path, offset, length }
        }
        23 => {
            let (offset, length) = draw_range(random);
            Op::Allocate { path, offset, length }
        }
        24..27 => Op::Rename(path, other),
        27 => Op::Exchange(path, other),
        28 => Op::Link(path, other),
        29..31 => Op::Unlink(path),
        31 => Op::Rmdir(path),
        32..36 => Op::Fsync(path),
        36 => Op::Fdatasync(path),
        37 => Op::SyncAll,
        _ => Op::Background,
    }
}

fn draw_offset(random: &mut Rng) -> u64 {
    match random.u8(..4) {
        0 => random.u64(..3000),
        1 => random.u64(..9) * 4096,
        _ => random.u64(..36_000),
    }
}

fn draw_range(random: &mut Rng) -> (u64, u64) {
    let offset = draw_offset(random);
    let length = match random.u8(..4) {
        0 => random.u64(1..200),
        1 => random.u64(1..4) * 4096,
        _ => random.u64(1..12_000),
    };
    (offset, length)
}

/// Fills `bytes`, which go to `offset`, with what operation number `op` writes.
pub fn stamp(op: u64, offset: u64, bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        let at = offset + index as u64;
        let word =
            (op + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (at / 8).wrapping_mul(0xD6E8_FEB8);
        *byte = (word >> ((at % 8) * 8)) as u8 | 1;
    }
}
