//! Opening: what the path is, whose it is, and what it can do.
//!
//! Order of the steps, each of which may refuse: kind of file, open, lock, grow, capacity, direct
//! I/O by a real read, preferences from the kernel's tables. Nothing is changed before the lock is
//! held.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, IoSliceMut, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, OFlags, StatxFlags};

use super::{FileDevice, Kind, ring};
use crate::{AlignedBuf, BUFFER_ALIGN, Topology};

/// Without a word from the host: what every disk since the eighties can do.
const SECTOR_DEFAULT: u32 = 512;

/// How long a lock is waited for: a killed process lets go only when its last I/O is done.
const LOCK_WAIT: Duration = Duration::from_millis(500);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// How to open a [`FileDevice`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// Refuse every change; other read-only openers are let in.
    pub read_only: bool,
    /// Create the image file if it is missing, and grow it (sparse) to this many bytes if it is
    /// smaller. A block device is used as it is.
    pub create_size: Option<u64>,
    /// Do not claim a block device against the kernel's own mounts: for a caller that goes on to
    /// have the kernel claim it, as a `fuseblk` mount does.
    pub leave_to_kernel: bool,
}

pub(super) fn open(path: &Path, mode: OpenMode, plain_calls: bool) -> io::Result<FileDevice> {
    let kind = kind_of(path, mode)?;
    let file = open_file(path, mode, kind)?;
    lock(&file, mode)?;
    if let (Kind::Image, Some(size)) = (kind, mode.create_size)
        && file.metadata()?.len() < size
    {
        file.set_len(size)?;
    }
    let length = length_of(&file, kind)?;
    let limits = direct(path, &file, kind, length)?;
    if limits.is_some() {
        let flags = rustix::fs::fcntl_getfl(&file)? | OFlags::DIRECT;
        rustix::fs::fcntl_setfl(&file, flags)?;
    }
    let limits =
        limits.unwrap_or_else(|| Limits { sector: sector_of(&file, kind), memory_align: 1 });
    let topology = topology_of(&file, kind, mode, length, limits.sector)?;
    let direct = limits.memory_align > 1;
    // Through the host's page cache a ring would hand every write to a worker thread.
    let batches = direct && !plain_calls && ring::is_available();
    tracing::debug!(path = %path.display(), ?kind, ?topology, direct, batches, "device opened");
    Ok(FileDevice {
        file,
        path: path.to_owned(),
        kind,
        topology,
        memory_align: limits.memory_align,
        batches,
    })
}

fn kind_of(path: &Path, mode: OpenMode) -> io::Result<Kind> {
    let of = |kind: FileType| match kind {
        kind if kind.is_file() => Ok(Kind::Image),
        kind if kind.is_block_device() => Ok(Kind::Block),
        kind if kind.is_dir() => {
            let why = "it is a directory; name an image file or a block device";
            Err(io::Error::new(io::ErrorKind::IsADirectory, why))
        }
        _ => Err(invalid("it is neither an image file nor a block device")),
    };
    match path.metadata() {
        Ok(metadata) => of(metadata.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && mode.create_size.is_some() => {
            Ok(Kind::Image)
        }
        Err(error) => Err(error),
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.into())
}

fn busy(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, why)
}

fn open_file(path: &Path, mode: OpenMode, kind: Kind) -> io::Result<File> {
    let claim = kind == Kind::Block && !mode.read_only && !mode.leave_to_kernel;
    OpenOptions::new()
        .read(true)
        .write(!mode.read_only)
        .create(kind == Kind::Image && mode.create_size.is_some() && !mode.read_only)
        .truncate(false)
        .custom_flags(if claim { libc::O_EXCL } else { 0 })
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => busy("the kernel uses the block device: unmount it first"),
            _ => error,
        })
}

/// Locks the open file, which lasts until the last I/O on it is done, or says who may hold it.
fn lock(file: &File, mode: OpenMode) -> io::Result<()> {
    let operation = if mode.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    let mut waited = Duration::ZERO;
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if waited < LOCK_WAIT => {
                std::thread::sleep(LOCK_POLL);
                waited += LOCK_POLL;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(busy(
                    "another process holds it: it is mounted or being checked on this machine",
                ));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn length_of(mut file: &File, kind: Kind) -> io::Result<u64> {
    match kind {
        Kind::Image => Ok(file.metadata()?.len()),
        Kind::Block => file.seek(SeekFrom::End(0)),
    }
}

/// What direct I/O asks for.
#[derive(Debug, Clone, Copy)]
struct Limits {
    sector: u32,
    memory_align: usize,
}

/// The limits of direct I/O on the file, proved by a read; `None` where the host has none.
fn direct(path: &Path, file: &File, kind: Kind, length: u64) -> io::Result<Option<Limits>> {
    // A second descriptor: whether a file takes O_DIRECT shows only when it is opened so.
    let Ok(probe) = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path) else {
        return Ok(None);
    };
    let (mine, other) = (file.metadata()?, probe.metadata()?);
    if (mine.dev(), mine.ino()) != (other.dev(), other.ino()) {
        return Err(busy("it was replaced while it was being opened: try again"));
    }
    let candidates = match stated_limits(&probe, kind) {
        Stated::Limits(limits) => vec![limits],
        Stated::NoDirect => return Ok(None),
        // Memory as strict as the sector: what all hosts accepted before they could be asked.
        Stated::Silent => [SECTOR_DEFAULT, 4096]
            .map(|sector| Limits { sector, memory_align: sector as usize })
            .to_vec(),
    };
    let works = |limits: &Limits| {
        let bytes = limits.sector as usize;
        let mut buffer = AlignedBuf::new_zeroed(bytes);
        let read = rustix::io::preadv(&probe, &mut [IoSliceMut::new(&mut buffer)], 0);
        limits.memory_align <= BUFFER_ALIGN
            && u64::from(limits.sector) <= length
            && read == Ok(bytes)
    };
    Ok(candidates.into_iter().find(works))
}

/// What the host says about direct I/O.
enum Stated {
    Limits(Limits),
    NoDirect,
    Silent,
}

fn stated_limits(file: &File, kind: Kind) -> Stated {
    if kind == Kind::Block {
        let sector = sector_of(file, kind);
        return Stated::Limits(Limits { sector, memory_align: sector as usize });
    }
    const DIO_ALIGN: StatxFlags = StatxFlags::from_bits_retain(0x2000);
    let Ok(stat) = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, DIO_ALIGN) else {
        return Stated::Silent;
    };
    if stat.stx_mask & DIO_ALIGN.bits() == 0 {
        return Stated::Silent;
    }
    if stat.stx_dio_offset_align == 0 {
        return Stated::NoDirect;
    }
    let sector = stat.stx_dio_offset_align.max(SECTOR_DEFAULT);
    // Above 1, so that direct and buffered devices can be told apart.
    Stated::Limits(Limits { sector, memory_align: stat.stx_dio_mem_align.max(2) as usize })
}

fn sector_of(file: &File, kind: Kind) -> u32 {
    match kind {
        Kind::Block => rustix::fs::ioctl_blksszget(file).unwrap_or(SECTOR_DEFAULT),
        Kind::Image => SECTOR_DEFAULT,
    }
}

fn topology_of(
    file: &File,
    kind: Kind,
    mode: OpenMode,
    length: u64,
    sector: u32,
) -> io::Result<Topology> {
    if sector < 512 || !sector.is_power_of_two() {
        return Err(invalid(format!("its sectors of {sector} bytes are not supported")));
    }
    let capacity = length - length % u64::from(sector);
    if capacity == 0 {
        return Err(invalid(format!(
            "its {length} bytes hold no sector of {sector}; create it with a size"
        )));
    }
    let metadata = file.metadata()?;
    let queue = Queue::of(match kind {
        Kind::Image => metadata.dev(),
        Kind::Block => metadata.rdev(),
    });
    let preferred = match kind {
        Kind::Image => metadata.blksize(),
        Kind::Block => queue.number("optimal_io_size").unwrap_or(0),
    };
    Ok(Topology {
        optimal_io: u32::try_from(preferred).unwrap_or(0).max(4096).max(sector),
        discard: match kind {
            Kind::Image => true,
            Kind::Block => queue.number("discard_max_bytes").is_some_and(|bytes| bytes > 0),
        },
        rotational: queue.number("rotational") == Some(1),
        read_only: mode.read_only,
        ..Topology::new(capacity, sector)
    })
}

/// The kernel's table of a disk's properties.
struct Queue(PathBuf);

impl Queue {
    fn of(device: u64) -> Self {
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let disk = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        // A partition's queue is its disk's.
        let own = disk.join("queue");
        Queue(if own.exists() { own } else { disk.join("../queue") })
    }

    fn number(&self, name: &str) -> Option<u64> {
        std::fs::read_to_string(self.0.join(name)).ok()?.trim().parse().ok()
    }
}
