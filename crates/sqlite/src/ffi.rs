//! What of SQLite's C interface is used: structures, numbers, and the functions that SQLite hands to
//! an extension when it loads it.
//!
//! Written out rather than generated: SQLite only ever appends to these structures, and a test
//! compares them with generated ones. `iVersion` says how much of a structure there is; this crate
//! fills in version 1 of the methods of a file and version 2 of those of a VFS.

#![allow(unsafe_code, reason = "SQLite's interface is C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};

/// `sqlite3_file`: what SQLite allocates for an open file starts with this.
#[repr(C)]
pub(crate) struct File {
    pub(crate) methods: *const IoMethods,
}

/// `sqlite3_io_methods`, version 1.
#[repr(C)]
pub(crate) struct IoMethods {
    pub(crate) version: c_int,
    pub(crate) close: unsafe extern "C" fn(*mut File) -> c_int,
    pub(crate) read: unsafe extern "C" fn(*mut File, *mut c_void, c_int, i64) -> c_int,
    pub(crate) write: unsafe extern "C" fn(*mut File, *const c_void, c_int, i64) -> c_int,
    pub(crate) truncate: unsafe extern "C" fn(*mut File, i64) -> c_int,
    pub(crate) sync: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    pub(crate) file_size: unsafe extern "C" fn(*mut File, *mut i64) -> c_int,
    pub(crate) lock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    pub(crate) unlock: unsafe extern "C" fn(*mut File, c_int) -> c_int,
    pub(crate) check_reserved_lock: unsafe extern "C" fn(*mut File, *mut c_int) -> c_int,
    pub(crate) file_control: unsafe extern "C" fn(*mut File, c_int, *mut c_void) -> c_int,
    pub(crate) sector_size: unsafe extern "C" fn(*mut File) -> c_int,
    pub(crate) device_characteristics: unsafe extern "C" fn(*mut File) -> c_int,
}

/// `sqlite3_vfs`, version 2.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Vfs {
    pub(crate) version: c_int,
    pub(crate) file_bytes: c_int,
    pub(crate) path_bytes_max: c_int,
    pub(crate) next: *mut Vfs,
    pub(crate) name: *const c_char,
    pub(crate) app_data: *mut c_void,
    pub(crate) open:
        unsafe extern "C" fn(*mut Vfs, *const c_char, *mut File, c_int, *mut c_int) -> c_int,
    pub(crate) delete: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int) -> c_int,
    pub(crate) access: unsafe extern "C" fn(*mut Vfs, *const c_char, c_int, *mut c_int) -> c_int,
    pub(crate) full_pathname:
        unsafe extern "C" fn(*mut Vfs, *const c_char, c_int, *mut c_char) -> c_int,
    pub(crate) dl_open: unsafe extern "C" fn(*mut Vfs, *const c_char) -> *mut c_void,
    pub(crate) dl_error: unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char),
    pub(crate) dl_sym: unsafe extern "C" fn(*mut Vfs, *mut c_void, *const c_char) -> *mut c_void,
    pub(crate) dl_close: unsafe extern "C" fn(*mut Vfs, *mut c_void),
    pub(crate) randomness: unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char) -> c_int,
    pub(crate) sleep: unsafe extern "C" fn(*mut Vfs, c_int) -> c_int,
    pub(crate) current_time: unsafe extern "C" fn(*mut Vfs, *mut f64) -> c_int,
    pub(crate) last_error: unsafe extern "C" fn(*mut Vfs, c_int, *mut c_char) -> c_int,
    pub(crate) current_time_int64: unsafe extern "C" fn(*mut Vfs, *mut i64) -> c_int,
}

/// Declares numbers of `sqlite3.h`, without their prefix.
macro_rules! numbers {
    ($($name:ident = $value:expr;)*) => { $(pub(crate) const $name: c_int = $value;)* };
}

numbers! {
    OK = 0;
    INTERNAL = 2;
    BUSY = 5;
    NOMEM = 7;
    READONLY = 8;
    IOERR = 10;
    NOTFOUND = 12;
    FULL = 13;
    CANTOPEN = 14;
    OK_LOAD_PERMANENTLY = OK | (1 << 8);
    IOERR_READ = IOERR | (1 << 8);
    IOERR_SHORT_READ = IOERR | (2 << 8);
    IOERR_WRITE = IOERR | (3 << 8);
    IOERR_FSYNC = IOERR | (4 << 8);
    IOERR_TRUNCATE = IOERR | (6 << 8);
    IOERR_FSTAT = IOERR | (7 << 8);
    IOERR_DELETE = IOERR | (10 << 8);
    IOERR_CLOSE = IOERR | (16 << 8);
    IOERR_DELETE_NOENT = IOERR | (23 << 8);
    IOERR_BEGIN_ATOMIC = IOERR | (29 << 8);
    IOERR_COMMIT_ATOMIC = IOERR | (30 << 8);
    IOERR_ROLLBACK_ATOMIC = IOERR | (31 << 8);

    OPEN_READONLY = 0x1;
    OPEN_READWRITE = 0x2;
    OPEN_CREATE = 0x4;
    OPEN_EXCLUSIVE = 0x10;
    OPEN_MAIN_DB = 0x100;
    OPEN_MAIN_JOURNAL = 0x800;
    OPEN_SUPER_JOURNAL = 0x4000;
    OPEN_WAL = 0x8_0000;

    ACCESS_READWRITE = 1;

    FCNTL_LOCKSTATE = 1;
    FCNTL_SIZE_HINT = 5;
    FCNTL_VFSNAME = 12;
    FCNTL_SYNC = 21;
    FCNTL_COMMIT_PHASETWO = 22;
    FCNTL_BEGIN_ATOMIC_WRITE = 31;
    FCNTL_COMMIT_ATOMIC_WRITE = 32;
    FCNTL_ROLLBACK_ATOMIC_WRITE = 33;
    FCNTL_CKPT_DONE = 37;

    IOCAP_ATOMIC = 0x1;
    IOCAP_SAFE_APPEND = 0x200;
    IOCAP_SEQUENTIAL = 0x400;
    IOCAP_POWERSAFE_OVERWRITE = 0x1000;
    IOCAP_BATCH_ATOMIC = 0x4000;
}

/// Places in `sqlite3_api_routines`, counted in pointers.
mod place {
    pub(super) const MPRINTF: usize = 69;
    pub(super) const VFS_FIND: usize = 141;
    pub(super) const VFS_REGISTER: usize = 142;
    pub(super) const LOG: usize = 167;
    pub(super) const URI_PARAMETER: usize = 189;
}

type Mprintf = unsafe extern "C" fn(*const c_char, ...) -> *mut c_char;
type VfsFind = unsafe extern "C" fn(*const c_char) -> *mut Vfs;
type VfsRegister = unsafe extern "C" fn(*mut Vfs, c_int) -> c_int;
type Log = unsafe extern "C" fn(c_int, *const c_char, ...);
type UriParameter = unsafe extern "C" fn(*const c_char, *const c_char) -> *const c_char;

/// Functions of the SQLite that loaded this extension. A process can hold several SQLites.
pub(crate) struct Api {
    mprintf: Mprintf,
    vfs_find: VfsFind,
    vfs_register: VfsRegister,
    log: Log,
    uri_parameter: UriParameter,
}

impl Api {
    /// Takes them from the table that SQLite hands to an extension; `None` if it has none.
    ///
    /// # Safety
    /// `table` is null or points to SQLite's `sqlite3_api_routines`.
    pub(crate) unsafe fn new(table: *const c_void) -> Option<Self> {
        if table.is_null() {
            return None;
        }
        // SAFETY: the table is a row of function pointers; all of these have been in it since 3.7.16,
        // older than any SQLite that can load an extension built today. Their types are those of
        // `sqlite3ext.h`, where a null pointer stands for a function that was left out.
        unsafe {
            let entry = |place: usize| table.cast::<*const c_void>().add(place).read();
            let places = [
                place::MPRINTF,
                place::VFS_FIND,
                place::VFS_REGISTER,
                place::LOG,
                place::URI_PARAMETER,
            ];
            if places.iter().any(|place| entry(*place).is_null()) {
                return None;
            }
            Some(Self {
                mprintf: std::mem::transmute::<*const c_void, Mprintf>(entry(place::MPRINTF)),
                vfs_find: std::mem::transmute::<*const c_void, VfsFind>(entry(place::VFS_FIND)),
                vfs_register: std::mem::transmute::<*const c_void, VfsRegister>(entry(
                    place::VFS_REGISTER,
                )),
                log: std::mem::transmute::<*const c_void, Log>(entry(place::LOG)),
                uri_parameter: std::mem::transmute::<*const c_void, UriParameter>(entry(
                    place::URI_PARAMETER,
                )),
            })
        }
    }

    /// The VFS of a name, or the default one; null if there is none.
    pub(crate) fn vfs_find(&self, name: Option<&CStr>) -> *mut Vfs {
        // SAFETY: a null name asks for the default.
        unsafe { (self.vfs_find)(name.map_or(std::ptr::null(), CStr::as_ptr)) }
    }

    /// Makes a VFS known, not as the default one.
    pub(crate) fn vfs_register(&self, vfs: &'static mut Vfs) -> c_int {
        // SAFETY: the structure is complete and lives for ever, as SQLite requires.
        unsafe { (self.vfs_register)(vfs, 0) }
    }

    /// Tells whoever listens (`.log stderr` in the shell) why a call failed.
    pub(crate) fn log(&self, code: c_int, text: &str) {
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the format takes one string, and it gets one.
        unsafe { (self.log)(code, c"ashlar: %s".as_ptr(), text.as_ptr()) }
    }

    /// A string in SQLite's own memory, which SQLite frees.
    pub(crate) fn allocate(&self, text: &CStr) -> *mut c_char {
        // SAFETY: as above.
        unsafe { (self.mprintf)(c"%s".as_ptr(), text.as_ptr()) }
    }

    /// The value of a parameter of the URI by which a database is opened.
    ///
    /// # Safety
    /// `name` came from SQLite as the name of a database in a call of `xOpen`: SQLite keeps the
    /// parameters in the memory around it.
    pub(crate) unsafe fn uri_parameter(&self, name: *const c_char, key: &CStr) -> Option<String> {
        // SAFETY: the caller's promise; the value is a string that lives as long as the name.
        unsafe {
            let value = (self.uri_parameter)(name, key.as_ptr());
            (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use rusqlite::ffi as generated;

    use super::*;

    /// Compares offsets of fields.
    macro_rules! same {
        ($own:ty, $other:ty; $($field:ident $name:ident)*) => {
            $(assert_eq!(offset_of!($own, $field), offset_of!($other, $name), stringify!($name));)*
        };
    }

    #[test]
    fn structures_lie_in_memory_as_sqlite_has_them() {
        same!(File, generated::sqlite3_file; methods pMethods);
        same!(IoMethods, generated::sqlite3_io_methods; version iVersion close xClose read xRead
            write xWrite truncate xTruncate sync xSync file_size xFileSize lock xLock
            unlock xUnlock check_reserved_lock xCheckReservedLock file_control xFileControl
            sector_size xSectorSize device_characteristics xDeviceCharacteristics);
        same!(Vfs, generated::sqlite3_vfs; version iVersion file_bytes szOsFile
            path_bytes_max mxPathname next pNext name zName app_data pAppData open xOpen
            delete xDelete access xAccess full_pathname xFullPathname dl_open xDlOpen
            dl_error xDlError dl_sym xDlSym dl_close xDlClose randomness xRandomness
            sleep xSleep current_time xCurrentTime last_error xGetLastError
            current_time_int64 xCurrentTimeInt64);
    }

    #[test]
    fn numbers_are_those_of_sqlite() {
        macro_rules! equal {
            ($($name:ident $full:ident)*) => {
                $(assert_eq!($name, generated::$full, stringify!($full));)*
            };
        }
        equal! {
            IOERR_SHORT_READ SQLITE_IOERR_SHORT_READ
            IOERR_FSYNC SQLITE_IOERR_FSYNC
            IOERR_DELETE_NOENT SQLITE_IOERR_DELETE_NOENT
            IOERR_BEGIN_ATOMIC SQLITE_IOERR_BEGIN_ATOMIC
            IOERR_COMMIT_ATOMIC SQLITE_IOERR_COMMIT_ATOMIC
            IOERR_ROLLBACK_ATOMIC SQLITE_IOERR_ROLLBACK_ATOMIC
            IOERR_CLOSE SQLITE_IOERR_CLOSE
            OPEN_SUPER_JOURNAL SQLITE_OPEN_SUPER_JOURNAL
            OPEN_MAIN_JOURNAL SQLITE_OPEN_MAIN_JOURNAL
            OPEN_WAL SQLITE_OPEN_WAL
            FCNTL_SYNC SQLITE_FCNTL_SYNC
            FCNTL_COMMIT_PHASETWO SQLITE_FCNTL_COMMIT_PHASETWO
            FCNTL_CKPT_DONE SQLITE_FCNTL_CKPT_DONE
            FCNTL_BEGIN_ATOMIC_WRITE SQLITE_FCNTL_BEGIN_ATOMIC_WRITE
            FCNTL_COMMIT_ATOMIC_WRITE SQLITE_FCNTL_COMMIT_ATOMIC_WRITE
            FCNTL_ROLLBACK_ATOMIC_WRITE SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE
            FCNTL_VFSNAME SQLITE_FCNTL_VFSNAME
            FCNTL_LOCKSTATE SQLITE_FCNTL_LOCKSTATE
            IOCAP_ATOMIC SQLITE_IOCAP_ATOMIC
            IOCAP_SAFE_APPEND SQLITE_IOCAP_SAFE_APPEND
            IOCAP_SEQUENTIAL SQLITE_IOCAP_SEQUENTIAL
            IOCAP_POWERSAFE_OVERWRITE SQLITE_IOCAP_POWERSAFE_OVERWRITE
            IOCAP_BATCH_ATOMIC SQLITE_IOCAP_BATCH_ATOMIC
        }
    }
}
