//! Where SQLite enters: `.load`, `sqlite3_load_extension`, `sqlite3_auto_extension`.

#![allow(unsafe_code, reason = "SQLite's interface is C")]

use std::ffi::{c_char, c_int, c_void};
use std::panic::catch_unwind;

use crate::ffi::{self, Api};
use crate::vfs;

/// Registers the VFS `ashlar`. SQLite derives this name from the file's, `libashlar_sqlite.so`.
///
/// # Safety
/// For SQLite to call, with its table of functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_ashlarsqlite_init(
    _connection: *mut c_void,
    _message: *mut *mut c_char,
    api: *const c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { register(api) } {
        // Volumes have threads: this library cannot be unloaded.
        ffi::OK => ffi::OK_LOAD_PERMANENTLY,
        code => code,
    }
}

/// Registers the VFS `ashlar` in a program that links this crate: hand it to
/// `sqlite3_auto_extension`, and open any connection, before the first one that uses a volume.
///
/// # Safety
/// For SQLite to call, with its table of functions.
pub unsafe extern "C" fn auto_init(
    _connection: *mut c_void,
    _message: *mut *mut c_char,
    api: *const c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { register(api) }
}

/// # Safety
/// `api` is SQLite's table of functions.
unsafe fn register(api: *const c_void) -> c_int {
    let register = || {
        // SAFETY: the caller's promise.
        let Some(api) = (unsafe { Api::new(api) }) else { return ffi::INTERNAL };
        vfs::register(api).err().unwrap_or(ffi::OK)
    };
    catch_unwind(register).unwrap_or(ffi::INTERNAL)
}
