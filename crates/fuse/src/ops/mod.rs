//! What the kernel asks for, answered from the volume: one file per group of operations.
//!
//! | file | operations |
//! |---|---|
//! | [`init`] | INIT |
//! | [`lookup`] | LOOKUP FORGET BATCH_FORGET |
//! | [`attr`] [`statx`] | GETATTR SETATTR STATX |
//! | [`link`] | CREATE TMPFILE MKNOD MKDIR SYMLINK READLINK LINK UNLINK RMDIR RENAME RENAME2 |
//! | [`open`] | OPEN RELEASE |
//! | [`atomic`] | what the kernel must forget of atomic files, and when |
//! | [`dir`] | OPENDIR READDIR READDIRPLUS RELEASEDIR |
//! | [`read`] [`write`] [`seek`] [`copy`] | READ WRITE LSEEK COPY_FILE_RANGE |
//! | [`fsync`] | FSYNC FSYNCDIR SYNCFS |
//! | [`space`] | STATFS FALLOCATE BMAP |
//! | [`xattr`] | SETXATTR GETXATTR LISTXATTR REMOVEXATTR |
//! | [`ioctl`] | IOCTL |
//!
//! A node number is the inode number. Each reply that gives the kernel an inode counts one
//! reference to it ([`ashlar_core::Volume::remember`]), which `FORGET` takes back.
//!
//! Answered `ENOSYS`, upon which the kernel stops asking:
//! - `FLUSH`: close has nothing to do here, the kernel writes its cache back by itself;
//! - `ACCESS`: never sent with `default_permissions`; `POLL`: files are always ready;
//! - `INTERRUPT`: no operation can be stopped half-way, and none waits for another program;
//! - locks: the kernel's own, for nobody else has the volume.
//!
//! Who may do what is decided by the kernel (`default_permissions`, POSIX ACLs) before it asks us.
//! What it does not know, immutable and append-only files, is core's to enforce.

pub(crate) mod atomic;
pub(crate) mod attr;
pub(crate) mod copy;
pub(crate) mod dir;
pub(crate) mod fsync;
pub(crate) mod init;
pub(crate) mod ioctl;
pub(crate) mod link;
pub(crate) mod lookup;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod seek;
pub(crate) mod space;
pub(crate) mod statx;
pub(crate) mod write;
pub(crate) mod xattr;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ashlar_core::{Attr, FileKind, Ino, Volume};
use parking_lot::Mutex;

use crate::handles::Handles;
use crate::inside::Inside;
use crate::wire::abi::{self, InHeader, SetattrValid};
use crate::wire::channel::{Channel, OutputBuffer};
use crate::wire::reply::{Errno, Reply};
use crate::wire::request::{Operation, Request};
use atomic::Settling;
use init::Agreement;

/// Result of one operation.
pub(crate) type Answer = Result<Reply, Errno>;

/// Work that would hold up a worker, or has to wait for one; done by a thread of its own, which
/// sends the answer.
pub(crate) type Work = Box<dyn FnOnce(&Server, &Channel) -> Answer + Send>;

/// What a worker is to do after an operation.
pub(crate) enum Outcome {
    Now(Answer),
    Later(Work),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Outcome {
        Outcome::Now(answer)
    }
}

/// The file system that a session serves.
pub(crate) struct Server {
    pub(crate) volume: Arc<Volume>,
    pub(crate) handles: Handles,
    pub(crate) agreement: Agreement,
    pub(crate) policy: Policy,
    pub(crate) inside: Inside,
    /// Files whose changes were given up.
    pub(crate) settling: Settling,
    /// Raised when an inode may have got file capabilities; see [`write`].
    pub(crate) capability_epoch: AtomicU64,
    /// How the volume was closed, if the kernel asked for that (DESTROY).
    destroyed: Mutex<Option<Result<(), ashlar_core::Error>>>,
}

/// What the mount options mean for the operations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    /// Names become durable before their change is answered (`sync`, `dirsync`).
    pub(crate) sync_names: bool,
    /// Attributes become durable before their change is answered (`sync`).
    pub(crate) sync_attributes: bool,
    /// Users other than root and this one are turned away (`allow_root`).
    pub(crate) only_root_and: Option<u32>,
}

impl Server {
    /// A server whose kernel side has been agreed on.
    pub(crate) fn new(
        volume: Arc<Volume>,
        agreement: Agreement,
        policy: Policy,
        mountpoint: PathBuf,
    ) -> Server {
        Server {
            volume,
            handles: Handles::default(),
            agreement,
            policy,
            inside: Inside::new(mountpoint),
            settling: Settling::default(),
            capability_epoch: AtomicU64::new(1),
            destroyed: Mutex::new(None),
        }
    }

    /// Seconds for which the kernel may keep names and attributes without asking again: nobody
    /// but the kernel changes them, so as good as for ever, unless we have to see each caller.
    pub(crate) fn validity(&self) -> u64 {
        const ONE_YEAR: u64 = 365 * 24 * 3600;
        if self.policy.only_root_and.is_some() { 0 } else { ONE_YEAR }
    }

    /// The same for an inode's attributes. While somebody writes to a file the kernel does not
    /// know how many blocks it takes; it asks again after the file is closed.
    pub(crate) fn attr_validity(&self, attr: &Attr) -> u64 {
        let is_written = attr.kind == FileKind::Regular && self.handles.has_writer(attr.ino);
        if is_written { self.validity().min(1) } else { self.validity() }
    }

    /// Does what the request asks for.
    pub(crate) fn dispatch(&self, request: &Request<'_>, output: &mut OutputBuffer) -> Outcome {
        let header = &request.header;
        if let Err(errno) = self.check_caller(request) {
            return Outcome::Now(Err(errno));
        }
        match &request.operation {
            Operation::Read(arguments) => self.read(arguments, output).into(),
            Operation::Write { arguments, data } => self.write(arguments, data).into(),
            Operation::Open(arguments) => self.open(header, arguments),
            Operation::Release(arguments) => self.release(arguments),
            Operation::Lseek(arguments) => self.lseek(header, arguments),
            Operation::Ioctl { arguments, data } => self.ioctl(header, arguments, data),
            Operation::Readdir(arguments) => self.readdir(header, arguments, output).into(),
            Operation::Readdirplus(arguments) => self.readdirplus(header, arguments, output).into(),
            operation @ (Operation::Symlink { .. }
            | Operation::Mknod { .. }
            | Operation::Mkdir { .. }
            | Operation::Unlink { .. }
            | Operation::Rmdir { .. }
            | Operation::Rename { .. }
            | Operation::Link { .. }
            | Operation::Create { .. }
            | Operation::Tmpfile { .. }) => self.change_names(header, operation).into(),
            operation => self.dispatch_inode(header, operation).into(),
        }
    }

    /// Operations on one inode, one open file or the volume, that answer with a structure.
    fn dispatch_inode(&self, header: &InHeader, operation: &Operation<'_>) -> Answer {
        const SIZE: u32 = SetattrValid::SIZE.bits();
        let ino = Ino(header.nodeid);
        match operation {
            Operation::Lookup { name } if self.inside.is_caller(header) && ino == Ino::ROOT => {
                self.lookup_inside(name)
            }
            Operation::Lookup { name } => self.lookup(ino, name),
            Operation::Forget { count } => self.forget(ino, *count),
            Operation::BatchForget(list) => {
                for one in list.iter() {
                    self.volume.forget(Ino(one.nodeid), one.nlookup);
                }
                Ok(Reply::Silent)
            }
            Operation::Getattr(arguments) => self.getattr(ino, arguments),
            Operation::Setattr(arguments)
                if self.inside.is_caller(header) && arguments.valid & SIZE != 0 =>
            {
                self.size_as_it_is(ino)
            }
            Operation::Setattr(arguments) => self.setattr(ino, arguments),
            Operation::Statx => self.statx(ino),
            Operation::Readlink => self.readlink(ino),
            Operation::Opendir => self.opendir(),
            Operation::Releasedir => Ok(Reply::Done),
            Operation::Fsync(arguments) => self.fsync(arguments),
            Operation::Fsyncdir => self.fsyncdir(),
            Operation::Syncfs => self.syncfs(),
            Operation::Statfs => self.statfs(),
            Operation::Fallocate(arguments) => self.fallocate(header, arguments),
            Operation::Bmap(arguments) => self.bmap(ino, arguments),
            Operation::CopyFileRange { arguments, wide } => {
                self.copy_file_range(header, arguments, *wide)
            }
            Operation::Setxattr { flags, ext_flags, name, value } => {
                self.setxattr(ino, name, value, *flags, *ext_flags)
            }
            Operation::Getxattr { size, name } => self.getxattr(ino, name, *size),
            Operation::Listxattr { size } => self.listxattr(header, *size),
            Operation::Removexattr { name } => self.removexattr(ino, name),
            Operation::Destroy => self.destroy(),
            Operation::Interrupt | Operation::Flush | Operation::Access => Err(Errno::ENOSYS),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// The last request on a `fuseblk` mount: umount(2) returns when it is answered, so the
    /// volume is closed before that. (Plain FUSE mounts do not send it; there the end of the
    /// session closes the volume.)
    fn destroy(&self) -> Answer {
        let result = self.close();
        let answer = match &result {
            Ok(()) => Ok(Reply::Done),
            Err(error) => Err(errno(error)),
        };
        *self.destroyed.lock() = Some(result);
        answer
    }

    /// Closes the volume, once; the end of the session learns what DESTROY met.
    ///
    /// # Errors
    /// What closing the volume said.
    pub(crate) fn close(&self) -> Result<(), ashlar_core::Error> {
        if let Some(result) = self.destroyed.lock().take() {
            return result;
        }
        self.handles.clear();
        self.volume.unmount()
    }

    /// With `allow_root`: turns away everyone but root and the owner when they open or look up.
    fn check_caller(&self, request: &Request<'_>) -> Result<(), Errno> {
        let Some(owner) = self.policy.only_root_and else { return Ok(()) };
        let uid = request.header.uid;
        let on_open_file_or_kernels_own = matches!(
            request.operation,
            Operation::Forget { .. }
                | Operation::BatchForget(_)
                | Operation::Read(_)
                | Operation::Write { .. }
                | Operation::Release(_)
                | Operation::Fsync(_)
                | Operation::Flush
                | Operation::Readdir(_)
                | Operation::Readdirplus(_)
                | Operation::Releasedir
                | Operation::Interrupt
                | Operation::Syncfs
                | Operation::Destroy
        );
        if uid == 0 || uid == owner || on_open_file_or_kernels_own {
            return Ok(());
        }
        Err(Errno(libc::EACCES))
    }

    /// What a reply gave to the kernel comes back when the reply could not be delivered.
    pub(crate) fn take_back(&self, answer: &Answer) {
        let (nodeid, handle) = match answer {
            Ok(Reply::Entry(entry)) => (entry.nodeid, 0),
            Ok(Reply::Open(open)) => (0, open.fh),
            Ok(Reply::Create(abi::CreateOut { entry, open })) => (entry.nodeid, open.fh),
            _ => return,
        };
        if handle != 0 {
            // It was inserted by the same request: it is there.
            let _ = self.handles.remove(handle);
        }
        if nodeid != 0 {
            self.volume.forget(Ino(nodeid), 1);
        }
    }
}

/// The error number for the kernel; damage and failed I/O are also worth a line in the log.
pub(crate) fn errno(error: &ashlar_core::Error) -> Errno {
    let number = error.errno();
    if matches!(number, libc::EIO | libc::EUCLEAN) {
        tracing::error!("{error}");
    } else {
        tracing::debug!(number, "{error}");
    }
    Errno(number)
}
