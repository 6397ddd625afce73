//! System calls as safe functions: integers in, `Result<number, errno>` out.
//!
//! Tests need the kernel's own answers, also to calls that no sensible program makes, so these
//! wrappers check nothing and translate nothing.
//!
//! Soundness: [`call`] hands the kernel only integers and pointers into slices that are borrowed
//! for the length of the call. Each wrapper passes the length of exactly that slice, or a buffer
//! at least as large as the structure that the call fills.

// System calls with raw arguments are what this module is for.
#![allow(unsafe_code)]

use std::ffi::CString;

/// The kernel's answer: a number, or an errno.
pub type Answer = Result<i64, i32>;

/// Argument of a system call.
pub enum Arg<'a> {
    /// A number, a descriptor, a set of flags.
    Int(i64),
    /// Bytes that the kernel reads.
    In(&'a [u8]),
    /// Bytes that the kernel writes.
    Out(&'a mut [u8]),
}

/// Makes a system call.
pub fn call(number: libc::c_long, args: &mut [Arg<'_>]) -> Answer {
    let mut raw = [0i64; 6];
    for (slot, arg) in raw.iter_mut().zip(args.iter_mut()) {
        *slot = match arg {
            Arg::Int(value) => *value,
            Arg::In(bytes) => bytes.as_ptr() as i64,
            Arg::Out(bytes) => bytes.as_mut_ptr() as i64,
        };
    }
    // SAFETY: pointers come from live slices of sufficient length (module header); a wrong
    // number makes the kernel answer with an errno.
    let result = unsafe { libc::syscall(number, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) };
    if result >= 0 { Ok(result) } else { Err(last_errno()) }
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// A path for the kernel. Test paths hold no zero byte.
#[must_use]
pub fn path(text: &str) -> Vec<u8> {
    CString::new(text).expect("paths in tests hold no zero byte").into_bytes_with_nul()
}

/// Name of an errno, as in errno(3).
#[must_use]
pub fn errno_name(errno: i32) -> String {
    const NAMES: [(i32, &str); 44] = [
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::E2BIG, "E2BIG"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::EXDEV, "EXDEV"),
        (libc::ENODEV, "ENODEV"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENOTTY, "ENOTTY"),
        (libc::ETXTBSY, "ETXTBSY"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::EROFS, "EROFS"),
        (libc::EMLINK, "EMLINK"),
        (libc::EPIPE, "EPIPE"),
        (libc::EDOM, "EDOM"),
        (libc::ERANGE, "ERANGE"),
        (libc::EDEADLK, "EDEADLK"),
        (libc::ENAMETOOLONG, "ENAMETOOLONG"),
        (libc::ENOLCK, "ENOLCK"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOTEMPTY, "ENOTEMPTY"),
        (libc::ELOOP, "ELOOP"),
        (libc::ENODATA, "ENODATA"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ESTALE, "ESTALE"),
        (libc::EUCLEAN, "EUCLEAN"),
        (libc::EDQUOT, "EDQUOT"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::ECONNABORTED, "ECONNABORTED"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
    ];
    let name = NAMES.iter().find(|(code, _)| *code == errno).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("errno {errno}"))
}

/// What statx(2) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statx {
    raw: [u8; 256],
}

impl Statx {
    fn u32_at(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.raw[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }

    fn u64_at(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.raw[at..at + 8]);
        u64::from_ne_bytes(bytes)
    }

    /// Which fields are filled.
    #[must_use]
    pub fn mask(&self) -> u32 {
        self.u32_at(0)
    }

    /// Inode attributes such as immutable.
    #[must_use]
    pub fn attributes(&self) -> u64 {
        self.u64_at(8)
    }

    /// Hard links.
    #[must_use]
    pub fn nlink(&self) -> u32 {
        self.u32_at(16)
    }

    /// Owner.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.u32_at(20)
    }

    /// Group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.u32_at(24)
    }

    /// Type and permissions.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.u32_at(28) & 0xffff
    }

    /// Inode number.
    #[must_use]
    pub fn ino(&self) -> u64 {
        self.u64_at(32)
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.u64_at(40)
    }

    /// Space, in units of 512 bytes.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.u64_at(48)
    }

    fn time(&self, at: usize) -> (i64, u32) {
        (self.u64_at(at).cast_signed(), self.u32_at(at + 8))
    }

    /// Last access.
    #[must_use]
    pub fn atime(&self) -> (i64, u32) {
        self.time(64)
    }

    /// Birth.
    #[must_use]
    pub fn btime(&self) -> (i64, u32) {
        self.time(80)
    }

    /// Last change of the inode.
    #[must_use]
    pub fn ctime(&self) -> (i64, u32) {
        self.time(96)
    }

    /// Last change of content.
    #[must_use]
    pub fn mtime(&self) -> (i64, u32) {
        self.time(112)
    }

    /// Device of a device node.
    #[must_use]
    pub fn rdev(&self) -> (u32, u32) {
        (self.u32_at(128), self.u32_at(132))
    }
}

/// statx(2) with everything asked for.
pub fn statx(dir: i64, name: &str, flags: i32) -> Result<Statx, i32> {
    let mut raw = [0; 256];
    let mask = i64::from(libc::STATX_BASIC_STATS | libc::STATX_BTIME);
    let name = path(name);
    let mut args = [
        Arg::Int(dir),
        Arg::In(&name),
        Arg::Int(i64::from(flags)),
        Arg::Int(mask),
        Arg::Out(&mut raw),
    ];
    call(libc::SYS_statx, &mut args)?;
    Ok(Statx { raw })
}

/// Pages of a file in memory.
#[derive(Debug)]
pub struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    /// Maps the first `length` bytes of a descriptor.
    ///
    /// # Errors
    /// The errno of mmap(2).
    pub fn new(fd: i64, length: usize, protection: i32, flags: i32) -> Result<Self, i32> {
        let fd = i32::try_from(fd).unwrap_or(-1);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(last_errno());
        }
        Ok(Self { start: start.cast(), length })
    }

    /// The byte at `at`.
    #[must_use]
    pub fn byte(&self, at: usize) -> u8 {
        assert!(at < self.length);
        // SAFETY: inside the mapping; volatile since the file may change under it.
        unsafe { self.start.add(at).read_volatile() }
    }

    /// Stores a byte; the mapping must be writable.
    pub fn set(&self, at: usize, value: u8) {
        assert!(at < self.length);
        // SAFETY: inside the mapping; volatile since others look at the file meanwhile.
        unsafe { self.start.add(at).write_volatile(value) };
    }

    /// msync(2).
    ///
    /// # Errors
    /// The errno.
    pub fn sync(&self, flags: i32) -> Answer {
        // SAFETY: exactly the mapped range.
        let result = unsafe { libc::msync(self.start.cast(), self.length, flags) };
        if result == 0 { Ok(0) } else { Err(last_errno()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapped range, unmapped once.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

/// Gives the calling thread a working directory and a umask of its own.
pub fn own_fs_state() -> Answer {
    call(libc::SYS_unshare, &mut [Arg::Int(i64::from(libc::CLONE_FS))])
}

/// Makes the calling thread, and no other, another user for good; capabilities go with root.
///
/// # Errors
/// The errno of the first call that fails.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Answer {
    let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
    let count = Arg::Int(groups.len().cast_signed() as i64);
    call(libc::SYS_setgroups, &mut [count, Arg::In(&bytes)])?;
    let same = |id: u32| [Arg::Int(id.into()), Arg::Int(id.into()), Arg::Int(id.into())];
    call(libc::SYS_setresgid, &mut same(gid))?;
    call(libc::SYS_setresuid, &mut same(uid))
}

/// Sends the calling process a signal when its parent thread ends. For use between fork and exec.
pub fn die_with_parent() -> Answer {
    let signal = i64::from(libc::SIGKILL);
    call(libc::SYS_prctl, &mut [Arg::Int(i64::from(libc::PR_SET_PDEATHSIG)), Arg::Int(signal)])
}

/// A command that ends with the thread that starts it.
pub fn tie_to_parent(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe {
        command
            .pre_exec(|| die_with_parent().map(|_| ()).map_err(std::io::Error::from_raw_os_error))
    }
}

/// Sends a signal.
pub fn kill(pid: u32, signal: i32) -> Answer {
    call(libc::SYS_kill, &mut [Arg::Int(pid.into()), Arg::Int(signal.into())])
}
