//! What the kernel sends.

use super::wire_struct;

wire_struct! {
    /// Before each request.
    InHeader: 40 {
        0 => len: u32,
        4 => opcode: u32,
        8 => unique: u64,
        16 => nodeid: u64,
        24 => uid: u32,
        28 => gid: u32,
        32 => pid: u32,
        /// Length of the extensions at the request's end, in units of 8 bytes.
        36 => total_extlen: u16,
        38 => padding: u16,
    }

    ForgetIn: 8 {
        0 => nlookup: u64,
    }

    ForgetOne: 16 {
        0 => nodeid: u64,
        8 => nlookup: u64,
    }

    BatchForgetIn: 8 {
        0 => count: u32,
        4 => dummy: u32,
    }

    GetattrIn: 16 {
        0 => flags: u32,
        4 => dummy: u32,
        8 => fh: u64,
    }

    MknodIn: 16 {
        0 => mode: u32,
        4 => rdev: u32,
        8 => umask: u32,
        12 => padding: u32,
    }

    MkdirIn: 8 {
        0 => mode: u32,
        4 => umask: u32,
    }

    RenameIn: 8 {
        0 => newdir: u64,
    }

    Rename2In: 16 {
        0 => newdir: u64,
        8 => flags: u32,
        12 => padding: u32,
    }

    LinkIn: 8 {
        0 => oldnodeid: u64,
    }

    SetattrIn: 88 {
        0 => valid: u32,
        4 => padding: u32,
        8 => fh: u64,
        16 => size: u64,
        24 => lock_owner: u64,
        32 => atime: i64,
        40 => mtime: i64,
        48 => ctime: i64,
        56 => atimensec: u32,
        60 => mtimensec: u32,
        64 => ctimensec: u32,
        68 => mode: u32,
        72 => unused4: u32,
        76 => uid: u32,
        80 => gid: u32,
        84 => unused5: u32,
    }

    /// `OPEN` and `OPENDIR`.
    OpenIn: 8 {
        0 => flags: u32,
        4 => open_flags: u32,
    }

    /// `CREATE` and `TMPFILE`.
    CreateIn: 16 {
        0 => flags: u32,
        4 => mode: u32,
        8 => umask: u32,
        12 => open_flags: u32,
    }

    /// `RELEASE` and `RELEASEDIR`.
    ReleaseIn: 24 {
        0 => fh: u64,
        8 => flags: u32,
        12 => release_flags: u32,
        16 => lock_owner: u64,
    }

    /// `READ`, `READDIR` and `READDIRPLUS`.
    ReadIn: 40 {
        0 => fh: u64,
        8 => offset: u64,
        16 => size: u32,
        20 => read_flags: u32,
        24 => lock_owner: u64,
        32 => flags: u32,
        36 => padding: u32,
    }

    WriteIn: 40 {
        0 => fh: u64,
        8 => offset: u64,
        16 => size: u32,
        20 => write_flags: u32,
        24 => lock_owner: u64,
        32 => flags: u32,
        36 => padding: u32,
    }

    /// `FSYNC` and `FSYNCDIR`.
    FsyncIn: 16 {
        0 => fh: u64,
        8 => fsync_flags: u32,
        12 => padding: u32,
    }

    /// `SETXATTR` before `SETXATTR_EXT` was agreed on.
    SetxattrInShort: 8 {
        0 => size: u32,
        4 => flags: u32,
    }

    SetxattrIn: 16 {
        0 => size: u32,
        4 => flags: u32,
        8 => setxattr_flags: u32,
        12 => padding: u32,
    }

    /// `GETXATTR` and `LISTXATTR`.
    GetxattrIn: 8 {
        0 => size: u32,
        4 => padding: u32,
    }

    /// `INIT`; kernels before 7.36 send the first 16 bytes.
    InitIn: 64 {
        0 => major: u32,
        4 => minor: u32,
        8 => max_readahead: u32,
        12 => flags: u32,
        16 => flags2: u32,
        20 => unused: [u32; 11],
    }

    InitInShort: 16 {
        0 => major: u32,
        4 => minor: u32,
        8 => max_readahead: u32,
        12 => flags: u32,
    }

    BmapIn: 16 {
        0 => block: u64,
        8 => blocksize: u32,
        12 => padding: u32,
    }

    IoctlIn: 32 {
        0 => fh: u64,
        8 => flags: u32,
        12 => cmd: u32,
        16 => arg: u64,
        24 => in_size: u32,
        28 => out_size: u32,
    }

    FallocateIn: 32 {
        0 => fh: u64,
        8 => offset: u64,
        16 => length: u64,
        24 => mode: u32,
        28 => padding: u32,
    }

    LseekIn: 24 {
        0 => fh: u64,
        8 => offset: u64,
        16 => whence: u32,
        20 => padding: u32,
    }

    CopyFileRangeIn: 56 {
        0 => fh_in: u64,
        8 => off_in: u64,
        16 => nodeid_out: u64,
        24 => fh_out: u64,
        32 => off_out: u64,
        40 => len: u64,
        48 => flags: u64,
    }

    /// Before each extension at the end of a creation; `size` includes this header.
    ExtHeader: 8 {
        0 => size: u32,
        4 => kind: u32,
    }
}
