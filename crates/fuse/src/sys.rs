//! The few system calls that `rustix` has no safe form of.
//!
//! | function | why it is sound |
//! |---|---|
//! | [`clone_fuse_device`] | the kernel reads one `u32` that outlives the call |
//! | [`StopSignals`] | the handler only writes to an eventfd, which is async-signal-safe |
//! | [`write_back_pages`], [`leave_descriptors`], [`truncate`] | numbers, a path that lives |
#![allow(unsafe_code)] // These system calls have no safe form.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::ioctl::{Setter, opcode};

/// Binds a freshly opened `/dev/fuse` descriptor to the connection of a mounted one.
///
/// # Errors
/// The operating system's.
pub(crate) fn clone_fuse_device(
    fresh: impl AsFd,
    mounted: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    const CLONE: u32 = opcode::read::<u32>(229, 0);
    // SAFETY: FUSE_DEV_IOC_CLONE reads a u32 at the address it is given, and nothing else.
    unsafe {
        let mounted = u32::try_from(mounted.as_raw_fd()).unwrap_or(u32::MAX);
        rustix::ioctl::ioctl(fresh, Setter::<CLONE, u32>::new(mounted))
    }
}

/// Has the kernel write the dirty pages of a file, and waits for that; not for the device.
///
/// # Errors
/// The operating system's.
pub(crate) fn write_back_pages(file: &File) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the kernel is given numbers only.
    let result = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, all) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread a descriptor table of its own, with standard input, output and error
/// only. The thread must use no descriptor that it does not open itself from here on.
///
/// # Errors
/// The operating system's.
pub(crate) fn leave_descriptors() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    let flags = libc::CLOSE_RANGE_UNSHARE;
    // SAFETY: the kernel is given numbers only; descriptors of other threads stay open, since the
    // table is copied first.
    let result = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// truncate(2).
///
/// # Errors
/// The operating system's.
pub(crate) fn truncate(path: &Path, size: u64) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let size = libc::off_t::try_from(size).map_err(io::Error::other)?;
    // SAFETY: the kernel reads a string that outlives the call.
    let result = unsafe { libc::truncate(path.as_ptr(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The eventfd that the signal handler writes to; negative while none is installed.
static STOP_EVENT: AtomicI32 = AtomicI32::new(-1);

/// SIGINT and SIGTERM turned into an eventfd, until dropped.
///
/// A handler serves here rather than a blocked signal and a waiting thread: threads of the volume
/// are already running, with signals unblocked, when a session starts.
pub(crate) struct StopSignals {
    event: OwnedFd,
    previous: [(i32, libc::sigaction); 2],
}

impl StopSignals {
    /// Installs the handlers. Only one session of a process can have them.
    ///
    /// # Errors
    /// The operating system's, or `EBUSY` if another session has them.
    pub(crate) fn install() -> io::Result<StopSignals> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let raw = event.as_raw_fd();
        if STOP_EVENT.compare_exchange(-1, raw, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let previous = [libc::SIGINT, libc::SIGTERM].map(|signal| (signal, set_handler(signal)));
        Ok(StopSignals { event, previous })
    }

    /// Readable once a signal has come.
    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        for (signal, action) in &self.previous {
            // SAFETY: `action` is what sigaction itself returned for this signal.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
        STOP_EVENT.store(-1, Ordering::SeqCst);
    }
}

/// Installs [`on_signal`] and returns what was there before.
fn set_handler(signal: i32) -> libc::sigaction {
    // SAFETY: an all-zero sigaction is a valid value (default action, empty mask), and the
    // handler it is given has the signature the kernel calls and is async-signal-safe.
    unsafe {
        let mut previous: libc::sigaction = std::mem::zeroed();
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, &raw mut previous);
        previous
    }
}

/// Tells the session; must not do anything that is not async-signal-safe.
extern "C" fn on_signal(_signal: i32) {
    let event = STOP_EVENT.load(Ordering::SeqCst);
    if event >= 0 {
        let one: u64 = 1;
        // SAFETY: write(2) is async-signal-safe, reads 8 bytes of a live u64, and the descriptor
        // stays open until the handlers are removed. Its errno is saved around the call.
        unsafe {
            let errno = *libc::__errno_location();
            libc::write(event, (&raw const one).cast(), size_of::<u64>());
            *libc::__errno_location() = errno;
        }
    }
}
