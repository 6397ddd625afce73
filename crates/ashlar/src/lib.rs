//! Ashlar in your program: a crash-safe file system in one file or on one block device, without a
//! mount and without root.
//!
//! # The first program
//!
//! ```
//! # fn main() -> ashlar::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # std::env::set_current_dir(&directory).unwrap();
//! let volume = ashlar::Volume::create("disk.img", 64 << 20)?;
//! volume.write("hello.txt", "Hello, world\n")?;
//! volume.sync()?;
//! print!("{}", volume.read_to_string("hello.txt")?);
//! volume.close()
//! # }
//! ```
//!
//! The image is a volume like any other: mount it, check it, or copy files out of it with the
//! `ashlar` command.
//!
//! # Where to look
//!
//! | type | what it does |
//! |---|---|
//! | [`Volume`] | whole files, directories, names, attributes, by path; what is durable when |
//! | [`VolumeOptions`] | makes and opens volumes: size, label, read-only, owner |
//! | [`OpenOptions`], [`File`] | open files: reading and writing anywhere, space, durability |
//! | [`FileCursor`] | an open file with a position, for [`std::io`] |
//! | [`ReadDir`], [`DirEntry`] | what a directory holds |
//! | [`AtomicLimits`], [`AtomicClose`] | what all-or-nothing updates are bound to, and how they end |
//! | [`Metadata`], [`FileTimes`] | attributes |
//! | [`Error`], [`ErrorKind`] | what went wrong, for people and for programs |
//!
//! # Paths
//!
//! Every path starts at the volume's root, with or without a leading slash. Symbolic links are
//! followed inside the volume, at most 40 on a way; `..` of the root is the root; a trailing slash
//! asks for a directory. Names have at most 255 bytes, paths 4095. The errors are those of Linux,
//! number by number.
//!
//! # Durability
//!
//! Nothing that is acknowledged as durable is lost, whatever a crash or a power cut leaves behind;
//! a change of names or attributes is never seen in part. See [`Volume`] and [`File::sync`].

mod dir;
mod error;
mod file;
mod metadata;
mod volume;
mod walk;

pub use ashlar_core::{AtomicClose, ExtentState, FileKind, RenameFlags, XattrMode};
pub use dir::{DirEntry, ReadDir};
pub use error::{Error, ErrorKind, Result};
pub use file::{AtomicLimits, File, FileCursor, FileExtent, KeepSize};
pub use metadata::Metadata;
pub use volume::{FileTimes, OpenOptions, SpecialFile, Volume, VolumeOptions, VolumeStat};
pub use walk::{PATH_BYTES_MAX, SYMLINKS_MAX};
