//! Inode records: values of the inodes tree, followed by the file's content where that is small.
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0     2  mode            file type and permission bits, as in stat(2)
//!      2     2  layout          1: inline content follows the record
//!      4     4  nlink
//!      8     4  uid
//!     12     4  gid
//!     16     4  rdev            device number, kernel encoding
//!     20     4  generation
//!     24     8  size            bytes; of a directory: number of entries
//!     32     8  blocks          data blocks allocated
//!     40    12  atime           seconds (signed 64), nanoseconds (32)
//!     52    12  mtime
//!     64    12  ctime
//!     76    12  btime           birth
//!     88     4  flags
//!     92     4  project
//!     96     8  parent          of a directory: the inode that ".." names; else 0
//!    104     8  map_generation  raised by each change of the block map, kept where a seal needs it
//!    112    16  reserved        zero
//!    128     -  inline content, `size` bytes
//! ```

use crate::limits::{INLINE_BYTES_MAX, SYMLINK_BYTES_MAX};
use crate::{Corruption, Result};
use bitflags::bitflags;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Named pipe.
    Fifo,
    /// Character device node.
    CharDevice,
    /// Directory.
    Directory,
    /// Block device node.
    BlockDevice,
    /// Regular file.
    Regular,
    /// Symbolic link.
    Symlink,
    /// Socket.
    Socket,
}

impl FileKind {
    /// The file type bits of a mode, shifted down by 12.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Fifo => 1,
            Self::CharDevice => 2,
            Self::Directory => 4,
            Self::BlockDevice => 6,
            Self::Regular => 8,
            Self::Symlink => 10,
            Self::Socket => 12,
        }
    }

    /// The kind with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }
}

bitflags! {
    /// Persistent attributes of an inode.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct InodeFlags: u32 {
        /// Nothing about the file may change.
        const IMMUTABLE = 1;
        /// Written only at the end.
        const APPEND = 1 << 1;
        /// Access times are not kept.
        const NOATIME = 1 << 2;
        /// Every write is durable when it returns.
        const SYNC = 1 << 3;
        /// Left out by dump(8).
        const NODUMP = 1 << 4;
        /// Every change of the directory is durable when it returns.
        const DIRSYNC = 1 << 5;
        /// New entries inherit the project identifier.
        const PROJECT_INHERIT = 1 << 6;
        /// The block map never changes.
        const SEALED = 1 << 16;
        /// All-or-nothing between syncs.
        const ATOMIC = 1 << 17;
        /// With [`Self::ATOMIC`]: the last close commits instead of discarding.
        const ATOMIC_COMMIT_ON_CLOSE = 1 << 18;
    }
}

/// A point in time: seconds since 1970, negative before, and nanoseconds below 10^9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawTime {
    seconds: I64,
    nanoseconds: U32,
}

impl From<Timestamp> for RawTime {
    fn from(time: Timestamp) -> Self {
        Self { seconds: time.seconds.into(), nanoseconds: time.nanoseconds.into() }
    }
}

/// On-disk inode record, without inline content.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInode {
    mode: U16,
    layout: U16,
    nlink: U32,
    uid: U32,
    gid: U32,
    rdev: U32,
    generation: U32,
    size: U64,
    blocks: U64,
    atime: RawTime,
    mtime: RawTime,
    ctime: RawTime,
    btime: RawTime,
    flags: U32,
    project: U32,
    parent: U64,
    map_generation: U64,
    reserved: [u8; 16],
}

/// Bytes of an inode record without inline content.
pub const RECORD_BYTES: usize = size_of::<RawInode>();
const _: () = assert!(RECORD_BYTES == 128);

const LAYOUT_INLINE: u16 = 1;

/// An inode as the inodes tree keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InodeRecord {
    /// Kind of file.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits: 0o7777.
    pub permissions: u16,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u32,
    /// Tells inodes apart that had the same number; numbers are not reused, so always 1.
    pub generation: u32,
    /// Bytes; of a directory, entries.
    pub size: u64,
    /// Data blocks allocated.
    pub blocks: u64,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// Birth.
    pub btime: Timestamp,
    /// Persistent attributes.
    pub flags: InodeFlags,
    /// Project identifier.
    pub project: u32,
    /// Parent of a directory.
    pub parent: u64,
    /// Generation of the block map.
    pub map_generation: u64,
    /// Content kept in the record: `size` bytes of a small file or a symlink's target.
    pub inline: Option<Box<[u8]>>,
}

impl InodeRecord {
    /// The record's bytes, inline content included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let raw = RawInode {
            mode: (u16::from(self.kind.code()) << 12 | self.permissions & 0o7777).into(),
            layout: if self.inline.is_some() { LAYOUT_INLINE } else { 0 }.into(),
            nlink: self.nlink.into(),
            uid: self.uid.into(),
            gid: self.gid.into(),
            rdev: self.rdev.into(),
            generation: self.generation.into(),
            size: self.size.into(),
            blocks: self.blocks.into(),
            atime: self.atime.into(),
            mtime: self.mtime.into(),
            ctime: self.ctime.into(),
            btime: self.btime.into(),
            flags: self.flags.bits().into(),
            project: self.project.into(),
            parent: self.parent.into(),
            map_generation: self.map_generation.into(),
            reserved: [0; 16],
        };
        let inline = self.inline.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(RECORD_BYTES + inline.len());
        bytes.extend_from_slice(raw.as_bytes());
        bytes.extend_from_slice(inline);
        bytes
    }

    /// Decodes a value of the inodes tree.
    ///
    /// # Errors
    /// [`Corruption`] when a length, a kind, a flag or a time cannot be.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = |problem: String| Corruption::new("inode record", 0, problem);
        let (raw, tail) = RawInode::read_from_prefix(bytes)
            .map_err(|_| bad(format!("{} bytes long", bytes.len())))?;
        let mode = raw.mode.get();
        let kind = FileKind::from_code((mode >> 12) as u8)
            .ok_or_else(|| bad(format!("unknown file type in mode {mode:#o}")))?;
        let flags = InodeFlags::from_bits(raw.flags.get())
            .ok_or_else(|| bad(format!("unknown flags {:#x}", raw.flags)))?;
        let size = raw.size.get();
        let inline = decode_inline(raw.layout.get(), kind, size, tail)?;
        Ok(Self {
            kind,
            permissions: mode & 0o7777,
            nlink: raw.nlink.get(),
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            rdev: raw.rdev.get(),
            generation: raw.generation.get(),
            size,
            blocks: raw.blocks.get(),
            atime: decode_time(raw.atime)?,
            mtime: decode_time(raw.mtime)?,
            ctime: decode_time(raw.ctime)?,
            btime: decode_time(raw.btime)?,
            flags,
            project: raw.project.get(),
            parent: raw.parent.get(),
            map_generation: raw.map_generation.get(),
            inline,
        })
    }
}

fn decode_inline(layout: u16, kind: FileKind, size: u64, tail: &[u8]) -> Result<Option<Box<[u8]>>> {
    let bad = |problem: String| Err(Corruption::new("inode record", 0, problem));
    match layout {
        0 if tail.is_empty() => Ok(None),
        LAYOUT_INLINE => {
            let limit = match kind {
                FileKind::Symlink => SYMLINK_BYTES_MAX,
                FileKind::Regular => INLINE_BYTES_MAX,
                _ => return bad(format!("inline content in a {kind:?}")),
            };
            if tail.len() > limit || tail.len() as u64 != size {
                return bad(format!("{} bytes of inline content, size {size}", tail.len()));
            }
            Ok(Some(tail.into()))
        }
        _ => bad(format!("layout {layout} with {} bytes behind the record", tail.len())),
    }
}

fn decode_time(raw: RawTime) -> Result<Timestamp> {
    let nanoseconds = raw.nanoseconds.get();
    if nanoseconds >= 1_000_000_000 {
        let problem = format!("{nanoseconds} nanoseconds in a time");
        return Err(Corruption::new("inode record", 0, problem));
    }
    Ok(Timestamp { seconds: raw.seconds.get(), nanoseconds })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> InodeRecord {
        let time = Timestamp { seconds: -5, nanoseconds: 999_999_999 };
        InodeRecord {
            kind: FileKind::Regular,
            permissions: 0o4755,
            nlink: 2,
            uid: 1000,
            gid: 100,
            rdev: 0,
            generation: 1,
            size: 3,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            flags: InodeFlags::NODUMP,
            project: 9,
            parent: 0,
            map_generation: 4,
            inline: Some(Box::from(&b"abc"[..])),
        }
    }

    #[test]
    fn record_survives_encoding() {
        let record = sample();
        assert_eq!(InodeRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn decode_never_panics_on_cut_or_flipped_bytes() {
        let bytes = sample().encode();
        for cut in 0..bytes.len() {
            let _ = InodeRecord::decode(&bytes[..cut]);
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = InodeRecord::decode(&damaged);
        }
    }

    #[test]
    fn inline_longer_than_size_is_refused() {
        let mut bytes = sample().encode();
        bytes.push(0);
        assert!(InodeRecord::decode(&bytes).is_err());
    }
}
