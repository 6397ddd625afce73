//! Flag words of requests and replies.

use bitflags::bitflags;

bitflags! {
    /// Features in `INIT`: bits 32 and up travel in the second word (`flags2`).
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub(crate) struct InitFlags: u64 {
        const ASYNC_READ = 1;
        const ATOMIC_O_TRUNC = 1 << 3;
        const EXPORT_SUPPORT = 1 << 4;
        const BIG_WRITES = 1 << 5;
        const DONT_MASK = 1 << 6;
        const HAS_IOCTL_DIR = 1 << 11;
        const AUTO_INVAL_DATA = 1 << 12;
        const DO_READDIRPLUS = 1 << 13;
        const READDIRPLUS_AUTO = 1 << 14;
        const ASYNC_DIO = 1 << 15;
        const WRITEBACK_CACHE = 1 << 16;
        const PARALLEL_DIROPS = 1 << 18;
        const POSIX_ACL = 1 << 20;
        const ABORT_ERROR = 1 << 21;
        const MAX_PAGES = 1 << 22;
        const CACHE_SYMLINKS = 1 << 23;
        const NO_OPENDIR_SUPPORT = 1 << 24;
        const EXPLICIT_INVAL_DATA = 1 << 25;
        const HANDLE_KILLPRIV_V2 = 1 << 28;
        const SETXATTR_EXT = 1 << 29;
        const INIT_EXT = 1 << 30;
        const CREATE_SUPP_GROUP = 1 << 34;
        const DIRECT_IO_ALLOW_MMAP = 1 << 36;
        const ALLOW_IDMAP = 1 << 40;
        const OVER_IO_URING = 1 << 41;
        const _ = !0;
    }

    /// Which fields of `SETATTR` count.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub(crate) struct SetattrValid: u32 {
        const MODE = 1;
        const UID = 1 << 1;
        const GID = 1 << 2;
        const SIZE = 1 << 3;
        const ATIME = 1 << 4;
        const MTIME = 1 << 5;
        const FH = 1 << 6;
        const ATIME_NOW = 1 << 7;
        const MTIME_NOW = 1 << 8;
        const LOCKOWNER = 1 << 9;
        const CTIME = 1 << 10;
        const KILL_SUIDGID = 1 << 11;
        const _ = !0;
    }

    /// How the kernel shall treat an open file; in the reply to `OPEN` and `CREATE`.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub(crate) struct OpenReply: u32 {
        /// Each read and write reaches us; the page cache serves only mappings.
        const DIRECT_IO = 1;
        /// What was cached before this open is still true.
        const KEEP_CACHE = 1 << 1;
        /// The directory's entries may be cached.
        const CACHE_DIR = 1 << 3;
        /// The kernel need not hold the inode lock over a direct write inside the file.
        const PARALLEL_DIRECT_WRITES = 1 << 6;
    }

    /// Flags of one `WRITE`.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub(crate) struct WriteRequest: u32 {
        /// Write-back from the page cache: the handle is any one open for writing.
        const CACHE = 1;
        const LOCKOWNER = 1 << 1;
        const KILL_SUIDGID = 1 << 2;
        const _ = !0;
    }
}

/// `getattr_in.flags`: the handle counts; so asked before a write and never by stat(2).
pub(crate) const GETATTR_FH: u32 = 1;
/// `open_in.open_flags`: clear set-id bits, the caller truncates without `CAP_FSETID`.
pub(crate) const OPEN_KILL_SUIDGID: u32 = 1;
/// `fsync_in.fsync_flags`: data only.
pub(crate) const FSYNC_DATASYNC: u32 = 1;
/// `setxattr_in.setxattr_flags`: the new ACL's caller may not keep the set-group-id bit.
pub(crate) const SETXATTR_ACL_KILL_SGID: u32 = 1;
/// Extension of a creation: a list of supplementary groups.
pub(crate) const EXT_GROUPS: u32 = 32;
