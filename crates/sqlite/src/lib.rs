//! SQLite on an Ashlar volume: durable commits with one flush each, without a journal on disk, a mount
//! or root. A loadable extension that registers the VFS `ashlar`; see `docs/SQLITE.md`.

mod commit;
mod database;
mod entry;
mod failure;
mod ffi;
mod io;
mod journal;
mod lock;
mod names;
mod open;
mod plain;
mod vfs;
mod volumes;

pub use entry::{auto_init, sqlite3_ashlarsqlite_init};
pub use volumes::{Provided, provide};
