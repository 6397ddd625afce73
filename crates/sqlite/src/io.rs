//! The methods of an open file, as SQLite calls them: C on one side, [`Opened`] on the other.
//!
//! Rules that make this sound, and that the `SAFETY` comments name:
//! * (U1) SQLite gives `xOpen` at least `szOsFile` bytes, aligned for pointers, and passes the same
//!   address to every method until `xClose`, which is the last one. So what `open` puts there is there.
//! * (U2) SQLite calls the methods of one file one at a time.
//! * (U3) Buffers and places for results are valid for the length that comes with them, or for one
//!   value of their type.
//!
//! No panic crosses the border: it becomes `SQLITE_INTERNAL`.

#![allow(unsafe_code, reason = "SQLite's interface is C")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::failure::{Failure, Result};
use crate::ffi;
use crate::lock::Level;
use crate::vfs::Registration;

/// The unit in which SQLite spaces the headers of a journal, bytes.
const SECTOR_BYTES: c_int = 4096;

/// What is true of every file of a volume; see the crate's documentation for why.
const CHARACTERISTICS: c_int = ffi::IOCAP_ATOMIC
    | ffi::IOCAP_SAFE_APPEND
    | ffi::IOCAP_SEQUENTIAL
    | ffi::IOCAP_POWERSAFE_OVERWRITE
    | ffi::IOCAP_BATCH_ATOMIC;

/// Messages that SQLite sends to the file of a database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control<'a> {
    /// The transaction is written; with the super-journal that it belongs to.
    Sync(Option<&'a Path>),
    /// The journal is gone.
    CommitPhaseTwo,
    /// The write-ahead log is copied into the database.
    CheckpointDone,
    BeginAtomic,
    CommitAtomic,
    RollbackAtomic,
}

/// An open file, whatever it is.
pub(crate) trait Opened: Send {
    /// Reads from `offset` on; fewer bytes than asked for only at the end.
    fn read(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize>;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    fn truncate(&mut self, size: u64) -> Result<()>;
    fn sync(&mut self) -> Result<()>;
    fn size(&mut self) -> Result<u64>;

    /// What the handle has of the lock.
    fn level(&self) -> Level {
        Level::None
    }

    fn lock(&mut self, _level: Level) -> Result<()> {
        Ok(())
    }

    fn unlock(&mut self, _level: Level) -> Result<()> {
        Ok(())
    }

    /// Whether any handle is at RESERVED or above.
    fn is_reserved(&self) -> bool {
        false
    }

    /// Returns whether the message means something to this file.
    fn control(&mut self, _request: Control<'_>) -> Result<bool> {
        Ok(false)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// What lies in SQLite's memory for an open file.
#[repr(C)]
pub(crate) struct Slot {
    base: ffi::File,
    registration: &'static Registration,
    file: Option<Box<dyn Opened>>,
}

impl Slot {
    /// Puts an open file into SQLite's memory.
    ///
    /// # Safety
    /// `place` is what SQLite gave to `xOpen` (U1), and nothing is in it yet.
    pub(crate) unsafe fn put(
        place: *mut ffi::File,
        registration: &'static Registration,
        file: Box<dyn Opened>,
    ) {
        let slot = Self { base: ffi::File { methods: &METHODS }, registration, file: Some(file) };
        // SAFETY: the caller's promise; `szOsFile` is at least the size of a slot.
        unsafe { place.cast::<Self>().write(slot) }
    }
}

static METHODS: ffi::IoMethods = ffi::IoMethods {
    version: 1,
    close,
    read,
    write,
    truncate,
    sync,
    file_size,
    lock,
    unlock,
    check_reserved_lock,
    file_control,
    sector_size,
    device_characteristics,
};

/// Runs what SQLite asked for; a failure goes to the log, and its number to SQLite.
pub(crate) fn guard(registration: &Registration, act: impl FnOnce() -> Result<c_int>) -> c_int {
    let failure = match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(code)) => return code,
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new(ffi::INTERNAL, libc::EIO, "a bug in the file system"),
    };
    failure.remember();
    if failure.has_words() {
        registration.api.log(failure.code, &failure.to_string());
    }
    failure.code
}

/// As [`guard`], for a method of a file.
///
/// # Safety
/// `file` comes from SQLite, in a call of one of [`METHODS`].
unsafe fn with(
    file: *mut ffi::File,
    act: impl FnOnce(&mut dyn Opened, &Registration) -> Result<c_int>,
) -> c_int {
    // SAFETY: U1, U2: a slot is there, and nobody else has it.
    let slot = unsafe { &mut *file.cast::<Slot>() };
    let registration = slot.registration;
    guard(registration, || match &mut slot.file {
        Some(file) => act(file.as_mut(), registration),
        None => Ok(ffi::INTERNAL),
    })
}

unsafe extern "C" fn close(file: *mut ffi::File) -> c_int {
    // SAFETY: U1, U2.
    let slot = unsafe { &mut *file.cast::<Slot>() };
    guard(slot.registration, || match slot.file.take() {
        Some(file) => file.close().map(|()| ffi::OK),
        None => Ok(ffi::OK),
    })
}

unsafe extern "C" fn read(
    file: *mut ffi::File,
    buf: *mut c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: U3: `count` bytes at `buf`; SQLite does not promise that they are initialized.
    let buf = unsafe {
        let count = usize::try_from(count).unwrap_or(0);
        buf.cast::<u8>().write_bytes(0, count);
        std::slice::from_raw_parts_mut(buf.cast::<u8>(), count)
    };
    // SAFETY: called by SQLite.
    unsafe {
        with(file, |file, _| {
            let found = file.read(offset.cast_unsigned(), buf)?;
            // The rest is zero, as SQLite requires.
            Ok(if found < buf.len() { ffi::IOERR_SHORT_READ } else { ffi::OK })
        })
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::File,
    bytes: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: U3.
    let bytes = unsafe {
        std::slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(count).unwrap_or(0))
    };
    // SAFETY: called by SQLite.
    unsafe { with(file, |file, _| file.write(offset.cast_unsigned(), bytes).map(|()| ffi::OK)) }
}

unsafe extern "C" fn truncate(file: *mut ffi::File, size: i64) -> c_int {
    // SAFETY: called by SQLite.
    unsafe { with(file, |file, _| file.truncate(size.cast_unsigned()).map(|()| ffi::OK)) }
}

unsafe extern "C" fn sync(file: *mut ffi::File, _flags: c_int) -> c_int {
    // SAFETY: called by SQLite.
    unsafe { with(file, |file, _| file.sync().map(|()| ffi::OK)) }
}

unsafe extern "C" fn file_size(file: *mut ffi::File, size: *mut i64) -> c_int {
    // SAFETY: called by SQLite; U3.
    unsafe {
        with(file, |file, _| {
            size.write(file.size()?.cast_signed());
            Ok(ffi::OK)
        })
    }
}

unsafe extern "C" fn lock(file: *mut ffi::File, level: c_int) -> c_int {
    // SAFETY: called by SQLite.
    unsafe { with(file, |file, _| file.lock(Level::from_number(level)).map(|()| ffi::OK)) }
}

unsafe extern "C" fn unlock(file: *mut ffi::File, level: c_int) -> c_int {
    // SAFETY: called by SQLite.
    unsafe { with(file, |file, _| file.unlock(Level::from_number(level)).map(|()| ffi::OK)) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::File, reserved: *mut c_int) -> c_int {
    // SAFETY: called by SQLite; U3.
    unsafe {
        with(file, |file, _| {
            reserved.write(c_int::from(file.is_reserved()));
            Ok(ffi::OK)
        })
    }
}

unsafe extern "C" fn file_control(file: *mut ffi::File, op: c_int, arg: *mut c_void) -> c_int {
    // SAFETY: called by SQLite; what `arg` points to is what the number of the message says (U3).
    unsafe {
        with(file, |file, registration| {
            let request = match op {
                ffi::FCNTL_LOCKSTATE => {
                    arg.cast::<c_int>().write(file.level().number());
                    return Ok(ffi::OK);
                }
                ffi::FCNTL_VFSNAME => {
                    let name = registration.api.allocate(crate::vfs::NAME);
                    arg.cast::<*mut c_char>().write(name);
                    return Ok(ffi::OK);
                }
                // Space is not taken in advance.
                ffi::FCNTL_SIZE_HINT => return Ok(ffi::OK),
                ffi::FCNTL_SYNC if arg.is_null() => Control::Sync(None),
                ffi::FCNTL_SYNC => Control::Sync(Some(path_of(arg.cast::<c_char>()))),
                ffi::FCNTL_COMMIT_PHASETWO => Control::CommitPhaseTwo,
                ffi::FCNTL_CKPT_DONE => Control::CheckpointDone,
                ffi::FCNTL_BEGIN_ATOMIC_WRITE => Control::BeginAtomic,
                ffi::FCNTL_COMMIT_ATOMIC_WRITE => Control::CommitAtomic,
                ffi::FCNTL_ROLLBACK_ATOMIC_WRITE => Control::RollbackAtomic,
                _ => return Ok(ffi::NOTFOUND),
            };
            let known = file.control(request)?;
            Ok(if known { ffi::OK } else { ffi::NOTFOUND })
        })
    }
}

unsafe extern "C" fn sector_size(_file: *mut ffi::File) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn device_characteristics(_file: *mut ffi::File) -> c_int {
    CHARACTERISTICS
}

/// A path that SQLite passes.
///
/// # Safety
/// `name` is a string that lives as long as the result is used.
pub(crate) unsafe fn path_of<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    Path::new(OsStr::from_bytes(bytes))
}
