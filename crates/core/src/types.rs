//! The vocabulary of the interface: what callers say and what they get to see.

use crate::clock::Timestamp;
use bitflags::bitflags;
use smallvec::SmallVec;

pub use ashlar_format::inode::{FileKind, InodeFlags};

/// Inode number: names a file of a volume for the volume's whole life; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory.
    pub const ROOT: Self = Self(1);
}

impl std::fmt::Display for Ino {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What stat(2) tells, and a little more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// Tells inodes apart that had the same number.
    pub generation: u32,
    /// Kind of file.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits: 0o7777.
    pub mode: u16,
    /// Hard links; of a directory, 2 and one for each subdirectory.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, in the kernel's 32-bit encoding.
    pub rdev: u64,
    /// Bytes; of a directory, entries.
    pub size: u64,
    /// Space taken, in units of 512 bytes, what is promised but not yet allocated included.
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
}

/// Who asks. Permission bits are checked above this crate; here it decides who owns what is
/// created and which set-id bits stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups, those that matter.
    pub groups: SmallVec<[u32; 8]>,
    /// May set the set-group-id bit for groups that it is not in (`CAP_FSETID`).
    pub capable_fsetid: bool,
    /// Permission bits to leave out of what it creates, unless a default ACL rules.
    pub umask: u32,
    /// Root, or as good as.
    pub privileged: bool,
}

impl Caller {
    /// The superuser, with an empty umask.
    #[must_use]
    pub fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: SmallVec::new(),
            capable_fsetid: true,
            umask: 0,
            privileged: true,
        }
    }

    /// Whether it may leave the set-group-id bit on a file of `gid`.
    pub(crate) fn may_keep_sgid(&self, gid: u32) -> bool {
        self.capable_fsetid || self.gid == gid || self.groups.contains(&gid)
    }
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The volume's clock.
    Now,
    /// This one.
    At(Timestamp),
}

/// Attributes to change; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// Permission, set-id and sticky bits; other bits are ignored.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length of a regular file.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of content.
    pub mtime: Option<SetTime>,
    /// Last change of anything; the volume's clock where not given.
    pub ctime: Option<Timestamp>,
    /// Birth.
    pub btime: Option<Timestamp>,
    /// Clear the set-user-id bit, and the set-group-id bit of what its group may execute.
    pub kill_suid_gid: bool,
}

/// What is to be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewInode<'a> {
    /// Kind.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits, before the umask.
    pub mode: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Target of a symbolic link, 1 to 4095 bytes.
    pub symlink_target: &'a [u8],
}

impl NewInode<'_> {
    /// A regular file.
    #[must_use]
    pub fn file(mode: u32) -> Self {
        Self { kind: FileKind::Regular, mode, rdev: 0, symlink_target: &[] }
    }

    /// A directory.
    #[must_use]
    pub fn directory(mode: u32) -> Self {
        Self { kind: FileKind::Directory, mode, rdev: 0, symlink_target: &[] }
    }
}

impl<'a> NewInode<'a> {
    /// A symbolic link.
    #[must_use]
    pub fn symlink(target: &'a [u8]) -> Self {
        Self { kind: FileKind::Symlink, mode: 0o777, rdev: 0, symlink_target: target }
    }
}

bitflags! {
    /// How to rename.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// Fail when the new name exists.
        const NOREPLACE = 1;
        /// Both exist and change places.
        const EXCHANGE = 1 << 1;
        /// Leave a whiteout (character device 0:0) under the old name.
        const WHITEOUT = 1 << 2;
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// What it names.
    pub ino: Ino,
    /// Kind of that.
    pub kind: FileKind,
    /// The name.
    pub name: Vec<u8>,
    /// Where to go on behind this entry: 1 for ".", 2 for "..", at least 16 and below 2^63 for
    /// others.
    pub cookie: u64,
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, each with its own name")]
pub struct OpenFlags {
    /// Contents may be read.
    pub read: bool,
    /// Contents may be changed.
    pub write: bool,
    /// Writes go to the end, wherever the caller says.
    pub append: bool,
    /// Each write is durable when it returns, with all attributes.
    pub sync: bool,
    /// Each write is durable when it returns, with the attributes needed to read it back.
    pub dsync: bool,
    /// Bypass the page cache where alignment allows.
    pub direct: bool,
    /// Cut the file to no bytes.
    pub truncate: bool,
    /// What is written is committed all at once, by a sync, or discarded by the last close.
    #[doc(alias = "O_ATOMIC")]
    pub atomic: bool,
}

/// What the last close of an atomic file does with changes that no sync committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicClose {
    /// They are gone.
    Discard,
    /// They are committed.
    Commit,
}

/// What atomic updates of a file are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(alias = "F_IOINFO")]
pub struct IoInfo {
    /// Bytes that writes need not cut, but had better not.
    pub alignment: u32,
    /// Bytes of single blocks that one commit can certainly hold; what lies together may be more.
    pub max_bytes: u64,
    /// Runs of up to so many bytes are journaled: the file's blocks stay where they are.
    pub journaled_bytes: u64,
    /// Files that one commit can join.
    pub max_files: u32,
}

impl OpenFlags {
    /// For reading only.
    #[must_use]
    pub fn read_only() -> Self {
        Self { read: true, ..Self::default() }
    }

    /// For reading and writing.
    #[must_use]
    pub fn read_write() -> Self {
        Self { read: true, write: true, ..Self::default() }
    }
}

/// How to do one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, each with its own name")]
pub struct WriteFlags {
    /// As [`OpenFlags::dsync`], for this write.
    pub dsync: bool,
    /// As [`OpenFlags::sync`], for this write.
    pub sync: bool,
    /// As [`OpenFlags::append`], for this write.
    pub append: bool,
    /// As [`OpenFlags::direct`], for this write.
    pub direct: bool,
    /// Clear set-id bits as [`SetAttr::kill_suid_gid`] does.
    pub kill_suid_gid: bool,
    /// Written back from a cache of the caller, which dealt with times and flags when the data
    /// entered it: of the inode nothing but content and size changes.
    pub cached: bool,
}

/// Whether an extended attribute must or must not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Either.
    Either,
    /// It must not exist yet.
    Create,
    /// It must exist.
    Replace,
}

/// What [`File::allocate`](crate::File::allocate) does to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallocateMode {
    /// Allocates what is not allocated; contents stay.
    Allocate {
        /// The size stays, even where the range passes it.
        keep_size: bool,
    },
    /// Frees whole blocks and zeroes the rest of the range; the size stays.
    PunchHole,
    /// The range is allocated and reads as zeros.
    ZeroRange {
        /// The size stays, even where the range passes it.
        keep_size: bool,
    },
    /// Takes the range out of the file: what is behind it moves down.
    CollapseRange,
    /// Makes room: what is behind the offset moves up, the range is a hole.
    InsertRange,
}

/// How a range of a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentState {
    /// On the device; without an address it is kept in the inode.
    Written,
    /// Allocated, reads as zeros.
    Unwritten,
    /// Nothing is allocated.
    Hole,
    /// Accepted, but not allocated yet.
    Delalloc,
}

/// One extent of a file, all in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtentReport {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// First byte on the device.
    pub addr: Option<u64>,
    /// State.
    pub state: ExtentState,
    /// The file has no extent behind this one.
    pub last: bool,
}

/// Space of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statfs {
    /// Blocks that files and trees may use.
    pub blocks: u64,
    /// Blocks not in use.
    pub free: u64,
    /// Blocks that can still be had.
    pub available: u64,
    /// Inodes in use.
    pub files: u64,
    /// Inodes that can still be had, about.
    pub files_free: u64,
    /// Bytes of a block.
    pub block_size: u32,
    /// Longest name, bytes.
    pub name_max: u32,
}

/// What a volume says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Identity.
    pub uuid: [u8; 16],
    /// Name.
    pub label: String,
    /// Blocks of the whole volume.
    pub block_count: u64,
    /// Bytes of a block.
    pub block_size: u32,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// Nothing may be changed.
    pub read_only: bool,
    /// What recovery found at mount.
    pub recovery: ashlar_store::RecoveryReport,
}

/// How much is kept when a volume is stopped at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Everything accepted so far is made durable first.
    FlushLogAndData,
    /// What is in the log is made durable first; cached data is lost.
    FlushLog,
    /// As if the power failed.
    NoFlush,
}
