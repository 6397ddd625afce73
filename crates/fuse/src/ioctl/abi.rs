//! Numbers and structures of the ioctls that a mounted volume answers.
//!
//! Integers are in the machine's byte order, as usual for ioctls. Layouts never change; a new
//! layout gets a new number.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Ashlar's own ioctls: the group letter.
pub const MAGIC: u8 = 0xa5;

/// Takes a range out of a file; what follows moves down. In: [`Range`].
///
/// Offset and length are multiples of the block size, and the range ends before the file does.
/// The kernel keeps its own idea of the file's size: call ftruncate(2) with the new size after.
pub const COLLAPSE_RANGE: u32 = number(WRITE, MAGIC, 1, size_of::<Range>());
/// Puts a hole into a file; what was there moves up. In: [`Range`]. See [`COLLAPSE_RANGE`].
pub const INSERT_RANGE: u32 = number(WRITE, MAGIC, 2, size_of::<Range>());
/// Lists extents of a file, holes left out. In and out: [`Extents`].
pub const GET_EXTENTS: u32 = number(READ | WRITE, MAGIC, 3, size_of::<Extents>());

/// What atomic updates of the file are bound to. Out: [`IoInfo`].
pub const IO_INFO: u32 = number(READ, MAGIC, 4, size_of::<IoInfo>());
/// Whether the file is atomic for all who open it. Out: a `u32` of `ATOMIC_*`.
pub const GET_ATOMIC: u32 = number(READ, MAGIC, 5, 4);
/// Makes the file atomic for all who open it from now on; new files inherit it from their
/// directory. In: a `u32` of `ATOMIC_*`. For the owner, and with `CAP_FOWNER`.
pub const SET_ATOMIC: u32 = number(WRITE, MAGIC, 6, 4);
/// Gives up what was written to an atomic file since the last commit, as [`F2FS_ABORT`].
pub const ABORT: u32 = number(NONE, MAGIC, 7, 0);
/// A number that proves to [`SYNCV`] that the caller has the file open. Out: a `u64`.
pub const GET_TOKEN: u32 = number(READ, MAGIC, 8, 8);
/// Commits several atomic files together. In: [`Syncv`]. On any of them, or any other file of the
/// mount.
pub const SYNCV: u32 = number(WRITE, MAGIC, 9, size_of::<Syncv>());

/// `F2FS_IOC_START_ATOMIC_WRITE`: the file is atomic through this descriptor from here on. Errors:
/// `EBADF` if not open for writing, `EACCES` if not the owner, `EINVAL` with `O_DIRECT`.
pub const F2FS_START: u32 = number(NONE, 0xf5, 1, 0);
/// `F2FS_IOC_COMMIT_ATOMIC_WRITE`: commits durably and ends what was started; a plain sync where
/// nothing was. When it fails, the changes are given up.
pub const F2FS_COMMIT: u32 = number(NONE, 0xf5, 2, 0);
/// `F2FS_IOC_START_VOLATILE_WRITE`: `EOPNOTSUPP`, as F2FS says.
pub const F2FS_START_VOLATILE: u32 = number(NONE, 0xf5, 3, 0);
/// `F2FS_IOC_RELEASE_VOLATILE_WRITE`: `EOPNOTSUPP`, as F2FS says.
pub const F2FS_RELEASE_VOLATILE: u32 = number(NONE, 0xf5, 4, 0);
/// `F2FS_IOC_ABORT_ATOMIC_WRITE`: gives the changes up, and ends what was started.
pub const F2FS_ABORT: u32 = number(NONE, 0xf5, 5, 0);
/// `F2FS_IOC_GET_FEATURES`. Out: a `u32`, [`F2FS_FEATURE_ATOMIC_WRITE`].
pub const F2FS_GET_FEATURES: u32 = number(READ, 0xf5, 12, 4);
/// The feature that SQLite looks for.
pub const F2FS_FEATURE_ATOMIC_WRITE: u32 = 4;

/// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS` and their 32-bit forms (lsattr, chattr).
pub const GET_FLAGS: u32 = number(READ, b'f', 1, 8);
/// See [`GET_FLAGS`].
pub const SET_FLAGS: u32 = number(WRITE, b'f', 2, 8);
/// See [`GET_FLAGS`].
pub const GET_FLAGS_32: u32 = number(READ, b'f', 1, 4);
/// See [`GET_FLAGS`].
pub const SET_FLAGS_32: u32 = number(WRITE, b'f', 2, 4);
/// `FS_IOC_GETVERSION`: the inode's generation.
pub const GET_VERSION: u32 = number(READ, b'v', 1, 8);
/// See [`GET_VERSION`].
pub const GET_VERSION_32: u32 = number(READ, b'v', 1, 4);
/// `FS_IOC_FSGETXATTR`: flags and project, as [`FileAttributes`].
pub const GET_FILE_ATTRIBUTES: u32 = number(READ, b'X', 31, size_of::<FileAttributes>());
/// `FS_IOC_FSSETXATTR`.
pub const SET_FILE_ATTRIBUTES: u32 = number(WRITE, b'X', 32, size_of::<FileAttributes>());
/// `FITRIM`: tell the device which blocks are free. In and out: [`TrimRange`].
pub const TRIM: u32 = number(READ | WRITE, b'X', 121, size_of::<TrimRange>());
/// `FS_IOC_SHUTDOWN`: stop the file system as if the machine had failed. In: a `u32`, one of
/// `SHUTDOWN_*`, although the number says "out".
pub const SHUTDOWN: u32 = number(READ, b'X', 125, 4);
/// `FS_IOC_GETFSLABEL`.
pub const GET_LABEL: u32 = number(READ, 0x94, 49, LABEL_SIZE);
/// `FS_IOC_SETFSLABEL`.
pub const SET_LABEL: u32 = number(WRITE, 0x94, 50, LABEL_SIZE);

/// Bytes of a label's buffer, with its NUL.
pub const LABEL_SIZE: usize = 256;
/// Extents in one answer of [`GET_EXTENTS`]: half of what an ioctl number can announce.
pub const EXTENTS_MAX: usize = 254;

/// Write everything, then stop.
pub const SHUTDOWN_DEFAULT: u32 = 0;
/// Write the log, then stop.
pub const SHUTDOWN_FLUSH_LOG: u32 = 1;
/// Stop at once.
pub const SHUTDOWN_NO_FLUSH: u32 = 2;

/// Part of a file, in bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// One extent of a file.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawExtent {
    /// First byte in the file.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// First byte on the device, [`NO_ADDRESS`] if it has none.
    pub addr: u64,
    /// `EXTENT_*`.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// The extent has no place of its own on the device: not yet, or it is kept in the inode.
pub const NO_ADDRESS: u64 = u64::MAX;
/// Allocated, reads as zeros.
pub const EXTENT_UNWRITTEN: u32 = 1;
/// Space is promised, its place is decided at write-back.
pub const EXTENT_DELALLOC: u32 = 2;
/// Nothing follows in the file.
pub const EXTENT_LAST: u32 = 4;

/// Argument of [`GET_EXTENTS`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Extents {
    /// In: the range to look at.
    pub range: Range,
    /// Out: how many of `list` count. If the last is not [`EXTENT_LAST`], ask again behind it.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
    /// Zero.
    pub reserved2: u64,
    /// Out: the extents, by offset.
    pub list: [RawExtent; EXTENTS_MAX],
}

/// The file is atomic.
pub const ATOMIC_ON: u32 = 1;
/// The last close commits; without this, it discards.
pub const ATOMIC_COMMIT_ON_CLOSE: u32 = 2;

/// Each write with `O_SYNC` or `O_DSYNC` is committed, alone.
pub const IO_PER_WRITE: u16 = 1;
/// fsync(2), fdatasync(2) and msync(2) commit what was written before.
pub const IO_ON_SYNC: u16 = 2;
/// [`SYNCV`] commits several files.
pub const IO_SYNCV: u16 = 4;

/// What atomic updates are bound to.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoInfo {
    /// `IO_*`.
    pub flags: u16,
    /// Updates need not be aligned; those that are, to this many bytes, are cheaper.
    pub alignment: u16,
    /// Files that one [`SYNCV`] can join.
    pub max_files: u32,
    /// Bytes that one commit holds for certain, however scattered.
    pub max_bytes: u64,
    /// Commits of up to so many bytes leave the file's blocks where they are.
    pub journaled_bytes: u64,
    /// Zero.
    pub reserved: [u64; 13],
}

/// Tokens in one [`SYNCV`].
pub const SYNCV_MAX: usize = 1024;
/// The caller has had the kernel write the dirty pages of all files, with `sync_file_range`.
pub const SYNCV_WRITTEN_BACK: u32 = 1;

/// Argument of [`SYNCV`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Syncv {
    /// How many of `tokens` count; `E2BIG` above [`SYNCV_MAX`].
    pub count: u32,
    /// `SYNCV_*`.
    pub flags: u32,
    /// From [`GET_TOKEN`]; a file that is named twice counts once.
    pub tokens: [u64; SYNCV_MAX],
}

/// `struct fsxattr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileAttributes {
    /// `FS_XFLAG_*`.
    pub xflags: u32,
    /// Allocation hint: zero, we take none.
    pub extsize: u32,
    /// Number of extents; out only.
    pub nextents: u32,
    /// Project number.
    pub projid: u32,
    /// Allocation hint for copies: zero.
    pub cowextsize: u32,
    /// Zero.
    pub pad: [u32; 2],
}

/// `struct fstrim_range`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrimRange {
    /// First byte of the device.
    pub start: u64,
    /// Number of bytes; out: how many were trimmed.
    pub length: u64,
    /// Free runs shorter than this are left alone.
    pub min_length: u64,
}

const NONE: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;

/// An ioctl's number: direction as the caller sees it, group, number, size of the argument.
const fn number(direction: u32, group: u8, number: u8, size: usize) -> u32 {
    assert!(size < 1 << 14);
    (direction << 30) | ((size as u32) << 16) | ((group as u32) << 8) | number as u32
}

const _: () = {
    assert!(size_of::<RawExtent>() == 32);
    assert!(size_of::<Extents>() == 32 + 32 * EXTENTS_MAX);
    assert!(size_of::<FileAttributes>() == 28);
    // As the kernel's headers have them.
    assert!(GET_FLAGS == 0x8008_6601 && SET_FLAGS == 0x4008_6602);
    assert!(GET_VERSION == 0x8008_7601);
    assert!(GET_FILE_ATTRIBUTES == 0x801c_581f && SET_FILE_ATTRIBUTES == 0x401c_5820);
    assert!(TRIM == 0xc018_5879 && SHUTDOWN == 0x8004_587d);
    assert!(size_of::<IoInfo>() == 128 && size_of::<Syncv>() == 8 + 8 * SYNCV_MAX);
    assert!(F2FS_START == 0xf501 && F2FS_COMMIT == 0xf502 && F2FS_ABORT == 0xf505);
    assert!(F2FS_GET_FEATURES == 0x8004_f50c);
    assert!(GET_LABEL == 0x8100_9431 && SET_LABEL == 0x4100_9432);
};
