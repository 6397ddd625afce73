//! Where SQLite enters: `.load`, `sqlite3_load_extension`, `sqlite3_auto_extension`.

#![allow(unsafe_code, reason = "SQLite's interface is C")]

use std::ffi::{c_char, c_int, c_void};
use std::panic::catch_unwind;

use crate::ffi::{self, Api};
use crate::vfs;

/// Registers the VFS `ashlar`. SQLite derives this name from the file's, `libashlar_sqlite.so`.
///
/// A program that links this crate passes it to `sqlite3_auto_extension` before it opens its first
/// connection.
///
/// # Safety
/// For SQLite to call, with its table of functions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_ashlarsqlite_init(
    _connection: *mut c_void,
    _message: *mut *mut c_char,
    api: *const c_void,
) -> c_int {
    let register = || {
        // SAFETY: the caller's promise.
        let Some(api) = (unsafe { Api::new(api) }) else { return ffi::INTERNAL };
        match vfs::register(api) {
            // Volumes have threads: this library cannot be unloaded.
            Ok(()) => ffi::OK_LOAD_PERMANENTLY,
            Err(code) => code,
        }
    };
    catch_unwind(register).unwrap_or(ffi::INTERNAL)
}
