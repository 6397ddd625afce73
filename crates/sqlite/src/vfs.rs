//! The methods of the VFS, as SQLite calls them, and its registration.
//!
//! What has no place on a volume goes to the default VFS of the host: temporary files, paths that
//! end outside of any volume, time, randomness, loading of extensions.
//!
//! Rules that make this sound, beside those of [`crate::io`]:
//! * (U4) SQLite passes the structure that was registered, which is never freed.
//! * (U5) The host's VFS is never taken away; it is called with its own structure and with arguments
//!   that SQLite made for a VFS.

#![allow(unsafe_code, reason = "SQLite's interface is C")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;

use crate::failure::{Failure, Result};
use crate::ffi::{self, Api, Vfs};
use crate::io::{Slot, guard, path_of};
use crate::names::Name;
use crate::open::{self, Request};

/// As in `?vfs=ashlar`.
pub(crate) const NAME: &CStr = c"ashlar";
/// Longest path, volume and file together.
const PATH_BYTES_MAX: c_int = 4096;

/// A registered VFS.
pub(crate) struct Registration {
    pub(crate) api: Api,
    /// The host's.
    base: *mut Vfs,
}

/// Makes the VFS known to the SQLite that handed out `api`.
///
/// # Errors
/// SQLite's number: it has no VFS for the host, or no memory.
pub(crate) fn register(api: Api) -> std::result::Result<(), c_int> {
    if !api.vfs_find(Some(NAME)).is_null() {
        return Ok(());
    }
    let base = api.vfs_find(None);
    if base.is_null() {
        return Err(ffi::INTERNAL);
    }
    // SAFETY: U5.
    let base_bytes = unsafe { (*base).file_bytes };
    let registration: &'static Registration = Box::leak(Box::new(Registration { api, base }));
    let own_bytes = c_int::try_from(size_of::<Slot>()).unwrap_or(c_int::MAX);
    let vfs = Vfs {
        version: 2,
        file_bytes: own_bytes.max(base_bytes),
        path_bytes_max: PATH_BYTES_MAX,
        next: std::ptr::null_mut(),
        name: NAME.as_ptr(),
        app_data: std::ptr::from_ref(registration).cast_mut().cast(),
        open,
        delete,
        access,
        full_pathname,
        dl_open,
        dl_error,
        dl_sym,
        dl_close,
        randomness,
        sleep,
        current_time,
        last_error,
        current_time_int64,
    };
    match registration.api.vfs_register(Box::leak(Box::new(vfs))) {
        ffi::OK => Ok(()),
        code => Err(code),
    }
}

/// # Safety
/// `vfs` comes from SQLite, in a call of a method of the VFS.
unsafe fn registration(vfs: *mut Vfs) -> &'static Registration {
    // SAFETY: U4.
    unsafe { &*(*vfs).app_data.cast::<Registration>() }
}

unsafe extern "C" fn open(
    vfs: *mut Vfs,
    name: *const c_char,
    file: *mut ffi::File,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: called by SQLite; U1, U3.
    let (registration, request) = unsafe {
        // An open that fails leaves nothing to close.
        (*file).methods = std::ptr::null();
        let registration = registration(vfs);
        let request = (!name.is_null() && open::is_for_volumes(flags)).then(|| Request {
            path: path_of(name),
            flags,
            create: (flags & ffi::OPEN_MAIN_DB != 0)
                .then(|| registration.api.uri_parameter(name, c"create"))
                .flatten(),
        });
        (registration, request)
    };
    let opened = || match request.map(|request| open::open(&request)).transpose()?.flatten() {
        Some((opened, flags)) => {
            // SAFETY: U1, U3; the place for the flags may be missing.
            unsafe {
                Slot::put(file, registration, opened);
                if !flags_out.is_null() {
                    flags_out.write(flags);
                }
            }
            Ok(ffi::OK)
        }
        // SAFETY: U5.
        None => Ok(unsafe {
            ((*registration.base).open)(registration.base, name, file, flags, flags_out)
        }),
    };
    guard(registration, opened)
}

unsafe extern "C" fn delete(vfs: *mut Vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: called by SQLite.
    let (registration, path) = unsafe { (registration(vfs), path_of(name)) };
    guard(registration, || match open::delete(path, sync != 0)? {
        true => Ok(ffi::OK),
        // SAFETY: U5.
        false => Ok(unsafe { ((*registration.base).delete)(registration.base, name, sync) }),
    })
}

unsafe extern "C" fn access(
    vfs: *mut Vfs,
    name: *const c_char,
    flags: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: called by SQLite.
    let (registration, path) = unsafe { (registration(vfs), path_of(name)) };
    guard(registration, || match open::access(path, flags)? {
        Some(can) => {
            // SAFETY: U3.
            unsafe { found.write(c_int::from(can)) };
            Ok(ffi::OK)
        }
        // SAFETY: U5.
        None => Ok(unsafe { ((*registration.base).access)(registration.base, name, flags, found) }),
    })
}

unsafe extern "C" fn full_pathname(
    vfs: *mut Vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: called by SQLite.
    let (registration, path) = unsafe { (registration(vfs), path_of(name)) };
    guard(registration, || {
        let resolved = full_name(path)?;
        let Some(resolved) = resolved else {
            // SAFETY: U5.
            return Ok(unsafe {
                ((*registration.base).full_pathname)(registration.base, name, room, out)
            });
        };
        let full = resolved.full();
        let bytes = full.as_os_str().as_bytes();
        if bytes.len() >= usize::try_from(room).unwrap_or(0) {
            return Err(Failure::new(ffi::CANTOPEN, libc::ENAMETOOLONG, "the path is too long"));
        }
        // SAFETY: U3: there are `room` bytes.
        unsafe {
            out.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            out.add(bytes.len()).write(0);
        }
        Ok(ffi::OK)
    })
}

/// The path of a file in a volume; `None` if it is one of the host.
fn full_name(path: &std::path::Path) -> Result<Option<Name>> {
    let name = crate::volumes::name_of(path)?;
    Ok((!name.is_on_host()).then_some(name))
}

unsafe extern "C" fn last_error(_vfs: *mut Vfs, _room: c_int, _out: *mut c_char) -> c_int {
    Failure::last_errno()
}

/// Methods that are the host's.
macro_rules! forward {
    ($($name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => { $(
        unsafe extern "C" fn $name(vfs: *mut Vfs, $($argument: $kind),*) $(-> $result)? {
            // SAFETY: called by SQLite; U5.
            unsafe {
                let base = registration(vfs).base;
                ((*base).$name)(base, $($argument),*)
            }
        }
    )* };
}

forward! {
    dl_open(path: *const c_char) -> *mut c_void;
    dl_error(room: c_int, out: *mut c_char);
    dl_sym(library: *mut c_void, symbol: *const c_char) -> *mut c_void;
    dl_close(library: *mut c_void);
    randomness(count: c_int, out: *mut c_char) -> c_int;
    sleep(microseconds: c_int) -> c_int;
    current_time(days: *mut f64) -> c_int;
    current_time_int64(milliseconds: *mut i64) -> c_int;
}
