//! What we send.

use super::wire_struct;

wire_struct! {
    /// Before each reply; `error` is zero or a negative errno.
    OutHeader: 16 {
        0 => len: u32,
        4 => error: i32,
        8 => unique: u64,
    }

    Attr: 88 {
        0 => ino: u64,
        8 => size: u64,
        16 => blocks: u64,
        24 => atime: i64,
        32 => mtime: i64,
        40 => ctime: i64,
        48 => atimensec: u32,
        52 => mtimensec: u32,
        56 => ctimensec: u32,
        60 => mode: u32,
        64 => nlink: u32,
        68 => uid: u32,
        72 => gid: u32,
        76 => rdev: u32,
        80 => blksize: u32,
        84 => flags: u32,
    }

    /// A name and what it leads to; `nodeid` zero says that the name does not exist.
    EntryOut: 128 {
        0 => nodeid: u64,
        8 => generation: u64,
        16 => entry_valid: u64,
        24 => attr_valid: u64,
        32 => entry_valid_nsec: u32,
        36 => attr_valid_nsec: u32,
        40 => attr: Attr,
    }

    AttrOut: 104 {
        0 => attr_valid: u64,
        8 => attr_valid_nsec: u32,
        12 => dummy: u32,
        16 => attr: Attr,
    }

    StatxTime: 16 {
        0 => seconds: i64,
        8 => nanoseconds: u32,
        12 => reserved: i32,
    }

    Statx: 256 {
        0 => mask: u32,
        4 => blksize: u32,
        8 => attributes: u64,
        16 => nlink: u32,
        20 => uid: u32,
        24 => gid: u32,
        28 => mode: u16,
        30 => spare0: u16,
        32 => ino: u64,
        40 => size: u64,
        48 => blocks: u64,
        56 => attributes_mask: u64,
        64 => atime: StatxTime,
        80 => btime: StatxTime,
        96 => ctime: StatxTime,
        112 => mtime: StatxTime,
        128 => rdev_major: u32,
        132 => rdev_minor: u32,
        136 => dev_major: u32,
        140 => dev_minor: u32,
        144 => spare2: [u64; 14],
    }

    StatxOut: 288 {
        0 => attr_valid: u64,
        8 => attr_valid_nsec: u32,
        12 => flags: u32,
        16 => spare: [u64; 2],
        32 => stat: Statx,
    }

    OpenOut: 16 {
        0 => fh: u64,
        8 => open_flags: u32,
        12 => padding: u32,
    }

    /// Reply to `CREATE` and `TMPFILE`.
    CreateOut: 144 {
        0 => entry: EntryOut,
        128 => open: OpenOut,
    }

    WriteOut: 8 {
        0 => size: u32,
        4 => padding: u32,
    }

    /// Reply to `STATFS`.
    Kstatfs: 80 {
        0 => blocks: u64,
        8 => bfree: u64,
        16 => bavail: u64,
        24 => files: u64,
        32 => ffree: u64,
        40 => bsize: u32,
        44 => namelen: u32,
        48 => frsize: u32,
        52 => padding: u32,
        56 => spare: [u32; 6],
    }

    /// Reply to a `GETXATTR` or `LISTXATTR` that asks for the size.
    GetxattrOut: 8 {
        0 => size: u32,
        4 => padding: u32,
    }

    InitOut: 64 {
        0 => major: u32,
        4 => minor: u32,
        8 => max_readahead: u32,
        12 => flags: u32,
        16 => max_background: u16,
        18 => congestion_threshold: u16,
        20 => max_write: u32,
        24 => time_gran: u32,
        28 => max_pages: u16,
        30 => map_alignment: u16,
        32 => flags2: u32,
        36 => max_stack_depth: u32,
        40 => request_timeout: u16,
        42 => unused: [u16; 11],
    }

    BmapOut: 8 {
        0 => block: u64,
    }

    IoctlOut: 16 {
        0 => result: i32,
        4 => flags: u32,
        8 => in_iovs: u32,
        12 => out_iovs: u32,
    }

    LseekOut: 8 {
        0 => offset: u64,
    }

    CopyFileRangeOut: 8 {
        0 => bytes_copied: u64,
    }

    /// Before each name in a `READDIR` reply; the record is padded to 8 bytes.
    Dirent: 24 {
        0 => ino: u64,
        8 => off: u64,
        16 => namelen: u32,
        20 => kind: u32,
    }

    /// Body of the notification that drops an inode's cached pages; `len` zero: to the end.
    NotifyInvalInodeOut: 24 {
        0 => ino: u64,
        8 => off: i64,
        16 => len: i64,
    }
}
