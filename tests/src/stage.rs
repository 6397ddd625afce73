//! A directory in which a row of the conformance table plays, and the record of what it saw.
//!
//! Every call is recorded with its outcome; a failed call does not end the row, so that what
//! follows is compared too. Records hold nothing that two sound file systems may choose freely:
//! no inode numbers, no absolute times, no order of directory entries.

use crate::sys::{self, Answer, Arg, Mapping, Statx, call, path};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The descriptor of the working directory.
const AT_FDCWD: i64 = libc::AT_FDCWD as i64;
/// Longer than the kernel's coarsest clock tick, so that two times can be told apart.
const TICK: Duration = Duration::from_millis(12);
/// Longest data that is recorded as it is.
const SHOWN_BYTES: usize = 64;

/// An open descriptor, or a failed one: calls on that answer EBADF.
#[derive(Debug)]
pub struct Fd(i64);

impl Fd {
    /// The number, negative if the open failed.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if self.0 >= 0 {
            // A row that cares about the outcome closes by itself.
            let _ = call(libc::SYS_close, &mut [Arg::Int(self.0)]);
        }
    }
}

/// Where one row plays.
#[derive(Debug)]
pub struct Stage {
    root: PathBuf,
    record: RefCell<Vec<String>>,
}

fn name_of(base: &str, args: &[&dyn Display]) -> String {
    let args: Vec<String> = args.iter().map(|arg| shorten(&arg.to_string())).collect();
    format!("{base}({})", args.join(", "))
}

fn shorten(text: &str) -> String {
    if text.len() <= 40 { text.to_owned() } else { format!("{}…[{}]", &text[..12], text.len()) }
}

/// Bytes for the record: text where it is short, length and sum where it is not.
fn show(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_BYTES {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let sum = bytes.iter().fold(0u64, |sum, byte| {
        sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(*byte) + 1)
    });
    format!("{} bytes, sum {sum:016x}", bytes.len())
}

fn int(value: impl Into<i64>) -> Arg<'static> {
    Arg::Int(value.into())
}

/// The bytes of two `iovec`s that halve `buffer`, which must outlive the call.
fn vector(buffer: &mut [u8]) -> Vec<u8> {
    let (first, second) = buffer.split_at_mut(buffer.len() / 2);
    let words =
        [first.as_mut_ptr() as usize, first.len(), second.as_mut_ptr() as usize, second.len()];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn vectored(number: libc::c_long, fd: &Fd, vector: &[u8], offset: i64, flags: i32) -> Answer {
    // The kernel takes an offset in two words and looks at the low one alone on 64 bits.
    let mut args = [Arg::Int(fd.0), Arg::In(vector), int(2), Arg::Int(offset), int(0), int(flags)];
    call(number, &mut args)
}

fn kind_name(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "dir",
        libc::S_IFLNK => "symlink",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        libc::S_IFCHR => "char",
        libc::S_IFBLK => "block",
        _ => "unknown",
    }
}

impl Stage {
    /// Plays in `root`, which becomes the calling thread's working directory.
    ///
    /// # Panics
    /// When the directory cannot be entered: the row could not mean anything.
    #[must_use]
    pub fn enter(root: &Path) -> Self {
        let bytes = path(&root.to_string_lossy());
        let entered = call(libc::SYS_chdir, &mut [Arg::In(&bytes)]);
        assert_eq!(entered, Ok(0), "chdir {}", root.display());
        Self { root: root.to_path_buf(), record: RefCell::default() }
    }

    /// What was recorded.
    #[must_use]
    pub fn into_record(self) -> Vec<String> {
        self.record.into_inner()
    }

    /// Adds an observation.
    pub fn note(&self, what: impl Display, outcome: impl Display) {
        let root = self.root.to_string_lossy();
        let line = format!("{what} = {outcome}").replace(&*root, "$ROOT");
        self.record.borrow_mut().push(line);
    }

    fn outcome(&self, what: impl Display, answer: Answer) -> Answer {
        match answer {
            Ok(value) => self.note(what, value),
            Err(errno) => self.note(what, sys::errno_name(errno)),
        }
        answer
    }

    fn run(&self, what: String, number: libc::c_long, args: &mut [Arg<'_>]) -> Answer {
        let answer = call(number, args);
        self.outcome(what, answer)
    }

    /// A call whose only argument is one path.
    fn on_path(&self, base: &str, number: libc::c_long, name: &str, rest: &[i64]) -> Answer {
        let bytes = path(name);
        let mut args = vec![Arg::Int(AT_FDCWD), Arg::In(&bytes)];
        args.extend(rest.iter().map(|value| Arg::Int(*value)));
        let shown: Vec<String> = rest.iter().map(|value| format!("{value:#o}")).collect();
        self.run(name_of(base, &[&name, &shown.join(" ")]), number, &mut args)
    }

    /// A call on a descriptor with numbers.
    fn on_fd(&self, base: &str, number: libc::c_long, fd: &Fd, rest: &[i64]) -> Answer {
        let mut args = vec![Arg::Int(fd.0)];
        args.extend(rest.iter().map(|value| Arg::Int(*value)));
        let shown: Vec<String> = rest.iter().map(|value| format!("{value:#x}")).collect();
        self.run(format!("{base}({})", shown.join(", ")), number, &mut args)
    }

    // Preparation: nothing of it is under test, but a failure shows in the record.

    /// A regular file with mode 0644 and this content.
    pub fn file(&self, name: &str, content: &[u8]) {
        let fd = self.open(name, libc::O_CREAT | libc::O_WRONLY, 0o644);
        if !content.is_empty() {
            self.write(&fd, content);
        }
    }

    /// A directory with mode 0755.
    pub fn dir(&self, name: &str) {
        self.mkdir(name, 0o755);
    }

    /// Writes a file back and makes the kernel forget its pages, so that a read asks again.
    pub fn cold(&self, name: &str) {
        let fd = self.ro(name);
        self.fsync(&fd);
        self.fadvise(&fd, libc::POSIX_FADV_DONTNEED);
    }

    /// Waits until a new timestamp differs from an old one.
    pub fn tick(&self) {
        std::thread::sleep(TICK);
    }

    // Opening, reading, writing.

    /// open(2).
    pub fn open(&self, name: &str, flags: i32, mode: u32) -> Fd {
        let bytes = path(name);
        let mut args = [int(libc::AT_FDCWD), Arg::In(&bytes), int(flags), int(mode)];
        let answer = call(libc::SYS_openat, &mut args);
        let _ = self.outcome(
            name_of("open", &[&name, &format!("{flags:#o} {mode:#o}")]),
            answer.map(|_| 0),
        );
        Fd(answer.unwrap_or(-1))
    }

    /// open(2) of what a descriptor refers to, through /proc.
    pub fn reopen(&self, fd: &Fd, flags: i32) -> Fd {
        let bytes = path(&format!("/proc/thread-self/fd/{}", fd.0));
        let mut args = [int(libc::AT_FDCWD), Arg::In(&bytes), int(flags), int(0)];
        let answer = call(libc::SYS_openat, &mut args);
        let _ = self.outcome("reopen()", answer.map(|_| 0));
        Fd(answer.unwrap_or(-1))
    }

    /// openat(2) below another descriptor.
    pub fn openat(&self, dir: &Fd, name: &str, flags: i32, mode: u32) -> Fd {
        let bytes = path(name);
        let mut args = [Arg::Int(dir.0), Arg::In(&bytes), int(flags), int(mode)];
        let answer = call(libc::SYS_openat, &mut args);
        let _ = self.outcome(name_of("openat", &[&name]), answer.map(|_| 0));
        Fd(answer.unwrap_or(-1))
    }

    /// open(2) for reading and writing.
    pub fn rw(&self, name: &str) -> Fd {
        self.open(name, libc::O_RDWR, 0)
    }

    /// open(2) for reading.
    pub fn ro(&self, name: &str) -> Fd {
        self.open(name, libc::O_RDONLY, 0)
    }

    /// close(2).
    pub fn close(&self, fd: Fd) {
        let _ = self.on_fd("close", libc::SYS_close, &fd, &[]);
        std::mem::forget(fd);
    }

    /// read(2) of up to `count` bytes.
    pub fn read(&self, fd: &Fd, count: usize) {
        self.read_call("read", fd, count, |args| call(libc::SYS_read, args));
    }

    /// pread(2).
    pub fn pread(&self, fd: &Fd, count: usize, offset: i64) {
        let mut buffer = vec![0; count];
        let length = int(count.cast_signed() as i64);
        let mut args = [Arg::Int(fd.0), Arg::Out(&mut buffer), length, Arg::Int(offset)];
        let answer = call(libc::SYS_pread64, &mut args);
        self.note_bytes(&format!("pread({count}, {offset})"), answer, &buffer);
    }

    fn read_call(
        &self,
        base: &str,
        fd: &Fd,
        count: usize,
        make: impl Fn(&mut [Arg<'_>]) -> Answer,
    ) {
        let mut buffer = vec![0; count];
        let length = int(count.cast_signed() as i64);
        let answer = make(&mut [Arg::Int(fd.0), Arg::Out(&mut buffer), length]);
        self.note_bytes(&format!("{base}({count})"), answer, &buffer);
    }

    fn note_bytes(&self, what: &str, answer: Answer, buffer: &[u8]) {
        match answer {
            Ok(count) => self.note(what, show(&buffer[..usize::try_from(count).unwrap_or(0)])),
            Err(errno) => self.note(what, sys::errno_name(errno)),
        }
    }

    /// write(2).
    pub fn write(&self, fd: &Fd, bytes: &[u8]) {
        let length = int(bytes.len().cast_signed() as i64);
        let mut args = [Arg::Int(fd.0), Arg::In(bytes), length];
        let _ = self.run(format!("write({})", bytes.len()), libc::SYS_write, &mut args);
    }

    /// pwrite(2).
    pub fn pwrite(&self, fd: &Fd, bytes: &[u8], offset: i64) {
        let length = int(bytes.len().cast_signed() as i64);
        let mut args = [Arg::Int(fd.0), Arg::In(bytes), length, Arg::Int(offset)];
        let what = format!("pwrite({}, {offset})", bytes.len());
        let _ = self.run(what, libc::SYS_pwrite64, &mut args);
    }

    /// preadv2(2) into one buffer; offset -1 is the descriptor's own.
    pub fn preadv2(&self, fd: &Fd, count: usize, offset: i64, flags: i32) {
        let mut buffer = vec![0; count];
        let vector = vector(&mut buffer);
        let what = format!("preadv2({count}, {offset}, {flags:#x})");
        let answer = vectored(libc::SYS_preadv2, fd, &vector, offset, flags);
        self.note_bytes(&what, answer, &buffer);
    }

    /// pwritev2(2) from one buffer; offset -1 is the descriptor's own.
    pub fn pwritev2(&self, fd: &Fd, bytes: &[u8], offset: i64, flags: i32) {
        let mut buffer = bytes.to_vec();
        let vector = vector(&mut buffer);
        let what = format!("pwritev2({}, {offset}, {flags:#x})", bytes.len());
        let _ = self.outcome(what, vectored(libc::SYS_pwritev2, fd, &vector, offset, flags));
    }

    /// lseek(2).
    pub fn seek(&self, fd: &Fd, offset: i64, whence: i32) {
        let _ = self.on_fd("lseek", libc::SYS_lseek, fd, &[offset, whence.into()]);
    }

    /// ftruncate(2).
    pub fn ftruncate(&self, fd: &Fd, size: i64) {
        let _ = self.on_fd("ftruncate", libc::SYS_ftruncate, fd, &[size]);
    }

    /// truncate(2).
    pub fn truncate(&self, name: &str, size: i64) {
        let bytes = path(name);
        let mut args = [Arg::In(&bytes), Arg::Int(size)];
        let _ = self.run(name_of("truncate", &[&name, &size]), libc::SYS_truncate, &mut args);
    }

    /// fallocate(2).
    pub fn fallocate(&self, fd: &Fd, mode: i32, offset: i64, length: i64) {
        let args = [i64::from(mode), offset, length];
        let _ = self.on_fd("fallocate", libc::SYS_fallocate, fd, &args);
    }

    /// fsync(2).
    pub fn fsync(&self, fd: &Fd) {
        let _ = self.on_fd("fsync", libc::SYS_fsync, fd, &[]);
    }

    /// fdatasync(2).
    pub fn fdatasync(&self, fd: &Fd) {
        let _ = self.on_fd("fdatasync", libc::SYS_fdatasync, fd, &[]);
    }

    /// syncfs(2).
    pub fn syncfs(&self, fd: &Fd) {
        let _ = self.on_fd("syncfs", libc::SYS_syncfs, fd, &[]);
    }

    /// sync_file_range(2).
    pub fn sync_file_range(&self, fd: &Fd, offset: i64, length: i64, flags: u32) {
        let args = [offset, length, flags.into()];
        let _ = self.on_fd("sync_file_range", libc::SYS_sync_file_range, fd, &args);
    }

    /// posix_fadvise(2).
    pub fn fadvise(&self, fd: &Fd, advice: i32) {
        let _ = self.on_fd("fadvise", libc::SYS_fadvise64, fd, &[0, 0, advice.into()]);
    }

    /// copy_file_range(2) between explicit offsets.
    pub fn copy(&self, source: &Fd, from: i64, target: &Fd, to: i64, length: i64) {
        let (mut from_bytes, mut to_bytes) = (from.to_ne_bytes(), to.to_ne_bytes());
        let mut args = [
            Arg::Int(source.0),
            Arg::Out(&mut from_bytes),
            Arg::Int(target.0),
            Arg::Out(&mut to_bytes),
            Arg::Int(length),
            int(0),
        ];
        let what = format!("copy_file_range({from}, {to}, {length})");
        let _ = self.run(what, libc::SYS_copy_file_range, &mut args);
    }

    /// sendfile(2) at the source's own offset.
    pub fn sendfile(&self, target: &Fd, source: &Fd, length: i64) {
        let mut args = [Arg::Int(target.0), Arg::Int(source.0), int(0), Arg::Int(length)];
        let _ = self.run(format!("sendfile({length})"), libc::SYS_sendfile, &mut args);
    }

    /// A pipe: reading end, writing end.
    #[must_use]
    pub fn pipe(&self) -> (Fd, Fd) {
        let mut ends = [0; 8];
        let _ = self.run("pipe()".into(), libc::SYS_pipe2, &mut [Arg::Out(&mut ends), int(0)]);
        let end =
            |at: usize| i32::from_ne_bytes([ends[at], ends[at + 1], ends[at + 2], ends[at + 3]]);
        (Fd(end(0).into()), Fd(end(4).into()))
    }

    /// splice(2) at the descriptors' own offsets.
    pub fn splice(&self, source: &Fd, target: &Fd, length: i64) {
        let mut args =
            [Arg::Int(source.0), int(0), Arg::Int(target.0), int(0), Arg::Int(length), int(0)];
        let _ = self.run(format!("splice({length})"), libc::SYS_splice, &mut args);
    }

    /// fcntl(2) with a number.
    pub fn fcntl(&self, fd: &Fd, command: i32, value: i64) {
        let _ = self.on_fd("fcntl", libc::SYS_fcntl, fd, &[command.into(), value]);
    }

    /// dup(2).
    #[must_use]
    pub fn duplicate(&self, fd: &Fd) -> Fd {
        let answer = call(libc::SYS_dup, &mut [Arg::Int(fd.0)]);
        let _ = self.outcome("dup()", answer.map(|_| 0));
        Fd(answer.unwrap_or(-1))
    }

    /// flock(2).
    pub fn flock(&self, fd: &Fd, operation: i32) {
        let _ = self.on_fd("flock", libc::SYS_flock, fd, &[operation.into()]);
    }

    /// A lock of the open file description, or a question about one.
    pub fn lock(&self, fd: &Fd, command: i32, kind: i32, start: i64, length: i64) {
        let mut lock = [0; 32];
        lock[..2].copy_from_slice(&(kind as i16).to_ne_bytes());
        lock[8..16].copy_from_slice(&start.to_ne_bytes());
        lock[16..24].copy_from_slice(&length.to_ne_bytes());
        let mut args = [Arg::Int(fd.0), int(command), Arg::Out(&mut lock)];
        let answer = call(libc::SYS_fcntl, &mut args);
        let found = i16::from_ne_bytes([lock[0], lock[1]]);
        let shown = answer.map(|_| i64::from(found));
        let _ = self.outcome(format!("lock({command}, {kind}, {start}, {length})"), shown);
    }

    /// Reads or sets inode flags as chattr(1) does; `None` reads.
    pub fn inode_flags(&self, fd: &Fd, set: Option<u32>) {
        const GET: i64 = 0x8008_6601;
        const SET: i64 = 0x4008_6602;
        let mut value = [0; 8];
        value[..4].copy_from_slice(&set.unwrap_or(0).to_ne_bytes());
        let request = if set.is_some() { SET } else { GET };
        let mut args = [Arg::Int(fd.0), Arg::Int(request), Arg::Out(&mut value)];
        let answer = call(libc::SYS_ioctl, &mut args);
        let word = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
        // Extents and the like are the file system's own business.
        let shown = answer.map(|_| i64::from(word & 0xff));
        let _ = self.outcome(format!("inode_flags({set:?})"), shown);
    }

    /// An ioctl(2) that takes a buffer.
    pub fn ioctl(&self, fd: &Fd, request: i64) {
        let mut buffer = [0; 4096];
        let mut args = [Arg::Int(fd.0), Arg::Int(request), Arg::Out(&mut buffer)];
        let answer = call(libc::SYS_ioctl, &mut args).map(|_| 0);
        let _ = self.outcome(format!("ioctl({request:#x})"), answer);
    }

    // Names.

    /// mkdir(2).
    pub fn mkdir(&self, name: &str, mode: u32) {
        let _ = self.on_path("mkdir", libc::SYS_mkdirat, name, &[mode.into()]);
    }

    /// mknod(2).
    pub fn mknod(&self, name: &str, mode: u32, device: u64) {
        let device = device.cast_signed();
        let _ = self.on_path("mknod", libc::SYS_mknodat, name, &[mode.into(), device]);
    }

    /// mkfifo(3).
    pub fn mkfifo(&self, name: &str, mode: u32) {
        self.mknod(name, libc::S_IFIFO | mode, 0);
    }

    /// unlink(2).
    pub fn unlink(&self, name: &str) {
        let _ = self.on_path("unlink", libc::SYS_unlinkat, name, &[0]);
    }

    /// rmdir(2).
    pub fn rmdir(&self, name: &str) {
        let _ = self.on_path("rmdir", libc::SYS_unlinkat, name, &[libc::AT_REMOVEDIR.into()]);
    }

    /// symlink(2).
    pub fn symlink(&self, target: &str, name: &str) {
        let (target_bytes, name_bytes) = (path(target), path(name));
        let mut args = [Arg::In(&target_bytes), int(libc::AT_FDCWD), Arg::In(&name_bytes)];
        let _ = self.run(name_of("symlink", &[&target, &name]), libc::SYS_symlinkat, &mut args);
    }

    /// readlink(2).
    pub fn readlink(&self, name: &str) {
        let (bytes, mut buffer) = (path(name), vec![0; 5000]);
        let mut args = [int(libc::AT_FDCWD), Arg::In(&bytes), Arg::Out(&mut buffer), int(5000)];
        let answer = call(libc::SYS_readlinkat, &mut args);
        self.note_bytes(&name_of("readlink", &[&name]), answer, &buffer);
    }

    /// link(2).
    pub fn link(&self, old: &str, new: &str) {
        self.linkat(old, new, 0);
    }

    /// linkat(2).
    pub fn linkat(&self, old: &str, new: &str, flags: i32) {
        let (old_bytes, new_bytes) = (path(old), path(new));
        let cwd = || int(libc::AT_FDCWD);
        let mut args = [cwd(), Arg::In(&old_bytes), cwd(), Arg::In(&new_bytes), int(flags)];
        let what = name_of("link", &[&old, &new, &flags]);
        let _ = self.run(what, libc::SYS_linkat, &mut args);
    }

    /// Gives an open file a name, through /proc as linkat(2) describes.
    pub fn link_fd(&self, fd: &Fd, name: &str) {
        let source = path(&format!("/proc/thread-self/fd/{}", fd.0));
        let target = path(name);
        let flags = int(libc::AT_SYMLINK_FOLLOW);
        let cwd = || int(libc::AT_FDCWD);
        let mut args = [cwd(), Arg::In(&source), cwd(), Arg::In(&target), flags];
        let _ = self.run(name_of("link_fd", &[&name]), libc::SYS_linkat, &mut args);
    }

    /// rename(2).
    pub fn rename(&self, old: &str, new: &str) {
        self.rename2(old, new, 0);
    }

    /// renameat2(2).
    pub fn rename2(&self, old: &str, new: &str, flags: u32) {
        let (old_bytes, new_bytes) = (path(old), path(new));
        let cwd = || int(libc::AT_FDCWD);
        let mut args = [cwd(), Arg::In(&old_bytes), cwd(), Arg::In(&new_bytes), int(flags)];
        let what = name_of("rename", &[&old, &new, &flags]);
        let answer = match call(libc::SYS_renameat2, &mut args) {
            // POSIX allows both for a directory that is not empty.
            Err(libc::EEXIST) if flags & libc::RENAME_NOREPLACE == 0 => Err(libc::ENOTEMPTY),
            answer => answer,
        };
        let _ = self.outcome(what, answer);
    }

    /// All entries of a directory with their types, sorted, "." and ".." included.
    pub fn list(&self, name: &str) {
        let fd = self.open(name, libc::O_RDONLY | libc::O_DIRECTORY, 0);
        let names = self.entries(&fd).into_iter().map(|(name, (kind, _))| format!("{name}:{kind}"));
        let names: Vec<String> = names.collect();
        if names.len() > 20 {
            self.note(format!("list({name})"), show(names.join(" ").as_bytes()));
        } else {
            self.note(format!("list({name})"), names.join(" "));
        }
    }

    /// What getdents64(2) returns from here to the end: name → type, cookie.
    #[must_use]
    pub fn entries(&self, fd: &Fd) -> BTreeMap<String, (u8, i64)> {
        let mut found = BTreeMap::new();
        let mut buffer = vec![0; 32768];
        loop {
            let mut args = [Arg::Int(fd.0), Arg::Out(&mut buffer), int(32768)];
            let length = match call(libc::SYS_getdents64, &mut args) {
                Ok(0) => break,
                Ok(length) => usize::try_from(length).unwrap_or(0),
                Err(errno) => {
                    self.note("getdents64", sys::errno_name(errno));
                    break;
                }
            };
            let mut at = 0;
            while at < length {
                let size = usize::from(u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]));
                let mut cookie = [0; 8];
                cookie.copy_from_slice(&buffer[at + 8..at + 16]);
                let name = buffer[at + 19..at + size].split(|byte| *byte == 0).next();
                let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
                let again =
                    found.insert(name.clone(), (buffer[at + 18], i64::from_ne_bytes(cookie)));
                if again.is_some() {
                    self.note("getdents64", format!("{name} came twice"));
                }
                at += size;
            }
        }
        found
    }

    /// getdents64(2) with a buffer of `size` bytes: whether anything came.
    pub fn getdents(&self, fd: &Fd, size: usize) {
        let mut buffer = vec![0; size];
        let length = int(size.cast_signed() as i64);
        let mut args = [Arg::Int(fd.0), Arg::Out(&mut buffer), length];
        let answer = call(libc::SYS_getdents64, &mut args).map(|count| i64::from(count > 0));
        let _ = self.outcome(format!("getdents64({size})"), answer);
    }

    /// lseek(2) to a cookie, which is the file system's own business and not recorded.
    pub fn seek_quietly(&self, fd: &Fd, cookie: i64) {
        let mut args = [Arg::Int(fd.0), Arg::Int(cookie), int(libc::SEEK_SET)];
        if let Err(errno) = call(libc::SYS_lseek, &mut args) {
            self.note("lseek(cookie)", sys::errno_name(errno));
        }
    }

    /// unlink(2) of a name that may differ between file systems; only a failure is recorded.
    pub fn unlink_quietly(&self, name: &str) {
        let bytes = path(name);
        let mut args = [int(libc::AT_FDCWD), Arg::In(&bytes), int(0)];
        if let Err(errno) = call(libc::SYS_unlinkat, &mut args) {
            self.note("unlink", sys::errno_name(errno));
        }
    }

    /// rename(2), one of many; only a failure is recorded.
    pub fn rename_quietly(&self, old: &str, new: &str) {
        let (old_bytes, new_bytes) = (path(old), path(new));
        let mut args = [Arg::In(&old_bytes), Arg::In(&new_bytes)];
        if let Err(errno) = call(libc::SYS_rename, &mut args) {
            self.note(name_of("rename", &[&old, &new]), sys::errno_name(errno));
        }
    }

    // Attributes.

    /// statx(2), for use by rows; records nothing.
    ///
    /// # Errors
    /// The errno.
    pub fn stat_raw(&self, name: &str) -> Result<Statx, i32> {
        sys::statx(AT_FDCWD, name, libc::AT_SYMLINK_NOFOLLOW)
    }

    /// lstat(2): kind, permissions, links, owner, group, and the size of what is no directory.
    pub fn stat(&self, name: &str) {
        self.note_stat(&name_of("stat", &[&name]), self.stat_raw(name));
    }

    /// fstat(2).
    pub fn fstat(&self, fd: &Fd) {
        self.note_stat("fstat()", sys::statx(fd.0, "", libc::AT_EMPTY_PATH));
    }

    fn note_stat(&self, what: &str, answer: Result<Statx, i32>) {
        match answer {
            Ok(stat) => {
                let (kind, mode) = (kind_name(stat.mode()), stat.mode() & 0o7777);
                // A directory's size is the file system's own business.
                let size = if kind == "dir" { 0 } else { stat.size() };
                let (links, uid, gid) = (stat.nlink(), stat.uid(), stat.gid());
                let (major, minor) = stat.rdev();
                let device = format!("rdev {major}:{minor}");
                self.note(what, format!("{kind} {mode:04o} x{links} {uid}:{gid} {size} {device}"));
            }
            Err(errno) => self.note(what, sys::errno_name(errno)),
        }
    }

    /// True if two names mean one inode.
    pub fn same(&self, one: &str, other: &str) {
        let ino = |name: &str| self.stat_raw(name).map(|stat| stat.ino());
        self.note(name_of("same", &[&one, &other]), ino(one).is_ok() && ino(one) == ino(other));
    }

    /// Whether a file takes any space.
    pub fn has_blocks(&self, name: &str) {
        let shown = match self.stat_raw(name) {
            Ok(stat) => (stat.blocks() > 0).to_string(),
            Err(errno) => sys::errno_name(errno),
        };
        self.note(name_of("has_blocks", &[&name]), shown);
    }

    /// Which times of `name` an act changes: any of `a`, `m`, `c`, `b`.
    pub fn times_changed(&self, name: &str, act: impl FnOnce()) {
        self.tick();
        let before = self.stat_raw(name);
        self.tick();
        act();
        let shown = match (before, self.stat_raw(name)) {
            (Ok(before), Ok(after)) => {
                let pairs = [
                    ('a', before.atime() != after.atime()),
                    ('m', before.mtime() != after.mtime()),
                    ('c', before.ctime() != after.ctime()),
                    ('b', before.btime() != after.btime()),
                ];
                let changed = pairs.iter().filter(|(_, changed)| *changed);
                changed.map(|(letter, _)| *letter).collect::<String>()
            }
            (_, Err(errno)) | (Err(errno), _) => sys::errno_name(errno),
        };
        self.note(name_of("times_changed", &[&name]), shown);
    }

    /// Access and modification time as they are.
    pub fn times(&self, name: &str) {
        let shown = match self.stat_raw(name) {
            Ok(stat) => format!("{:?} {:?}", stat.atime(), stat.mtime()),
            Err(errno) => sys::errno_name(errno),
        };
        self.note(name_of("times", &[&name]), shown);
    }

    /// utimensat(2) with (seconds, nanoseconds) of access and modification.
    pub fn utimens(&self, name: &str, atime: (i64, i64), mtime: (i64, i64), flags: i32) {
        let mut times = [0; 32];
        for (at, value) in [atime.0, atime.1, mtime.0, mtime.1].into_iter().enumerate() {
            times[at * 8..at * 8 + 8].copy_from_slice(&value.to_ne_bytes());
        }
        let bytes = path(name);
        let mut args = [int(libc::AT_FDCWD), Arg::In(&bytes), Arg::In(&times), int(flags)];
        let what = name_of("utimens", &[&name, &format!("{atime:?} {mtime:?}")]);
        let _ = self.run(what, libc::SYS_utimensat, &mut args);
    }

    /// chmod(2).
    pub fn chmod(&self, name: &str, mode: u32) {
        let _ = self.on_path("chmod", libc::SYS_fchmodat, name, &[mode.into()]);
    }

    /// fchmod(2).
    pub fn fchmod(&self, fd: &Fd, mode: u32) {
        let _ = self.on_fd("fchmod", libc::SYS_fchmod, fd, &[mode.into()]);
    }

    /// lchown(2); -1 leaves an owner as it is.
    pub fn chown(&self, name: &str, uid: i32, gid: i32) {
        let flags = libc::AT_SYMLINK_NOFOLLOW;
        let rest = [uid.into(), gid.into(), flags.into()];
        let _ = self.on_path("chown", libc::SYS_fchownat, name, &rest);
    }

    /// faccessat(2) with real ids.
    pub fn access(&self, name: &str, mode: i32) {
        let _ = self.on_path("access", libc::SYS_faccessat, name, &[mode.into()]);
    }

    /// umask(2) of this row.
    pub fn umask(&self, mask: u32) {
        let _ = call(libc::SYS_umask, &mut [int(mask)]);
    }

    /// chdir(2); later names are relative to it.
    pub fn chdir(&self, name: &str) {
        let bytes = path(name);
        let _ = self.run(name_of("chdir", &[&name]), libc::SYS_chdir, &mut [Arg::In(&bytes)]);
    }

    // Extended attributes.

    /// lsetxattr(2).
    pub fn set_xattr(&self, name: &str, key: &str, value: &[u8], flags: i32) {
        let (name_bytes, key_bytes) = (path(name), path(key));
        let length = int(value.len().cast_signed() as i64);
        let mut args =
            [Arg::In(&name_bytes), Arg::In(&key_bytes), Arg::In(value), length, int(flags)];
        let what = name_of("setxattr", &[&name, &key, &value.len(), &flags]);
        let _ = self.run(what, libc::SYS_lsetxattr, &mut args);
    }

    /// lgetxattr(2) with a buffer of `size` bytes; 0 asks for the length.
    pub fn get_xattr(&self, name: &str, key: &str, size: usize) {
        let (name_bytes, key_bytes, mut buffer) = (path(name), path(key), vec![0; size]);
        let length = int(size.cast_signed() as i64);
        let mut args = [Arg::In(&name_bytes), Arg::In(&key_bytes), Arg::Out(&mut buffer), length];
        let answer = call(libc::SYS_lgetxattr, &mut args);
        let what = name_of("getxattr", &[&name, &key, &size]);
        if size == 0 {
            let _ = self.outcome(what, answer);
        } else {
            self.note_bytes(&what, answer, &buffer);
        }
    }

    /// llistxattr(2), sorted.
    pub fn list_xattr(&self, name: &str, size: usize) {
        let (bytes, mut buffer) = (path(name), vec![0; size]);
        let length = int(size.cast_signed() as i64);
        let mut args = [Arg::In(&bytes), Arg::Out(&mut buffer), length];
        let answer = call(libc::SYS_llistxattr, &mut args);
        let what = name_of("listxattr", &[&name, &size]);
        match answer {
            Ok(count) if size > 0 => {
                let text = String::from_utf8_lossy(&buffer[..usize::try_from(count).unwrap_or(0)]);
                let mut keys: Vec<&str> = text.split('\0').filter(|key| !key.is_empty()).collect();
                // XFS shows the ACL a second time, in its own form.
                keys.retain(|key| !key.starts_with("trusted.SGI_ACL_"));
                keys.sort_unstable();
                self.note(what, format!("{keys:?}"));
            }
            _ => drop(self.outcome(what, answer)),
        }
    }

    /// lremovexattr(2).
    pub fn remove_xattr(&self, name: &str, key: &str) {
        let (name_bytes, key_bytes) = (path(name), path(key));
        let mut args = [Arg::In(&name_bytes), Arg::In(&key_bytes)];
        let what = name_of("removexattr", &[&name, &key]);
        let _ = self.run(what, libc::SYS_lremovexattr, &mut args);
    }

    // Memory.

    /// mmap(2) of the first `length` bytes.
    pub fn map(&self, fd: &Fd, length: usize, protection: i32, flags: i32) -> Option<Mapping> {
        let mapping = Mapping::new(fd.0, length, protection, flags);
        let shown = mapping.as_ref().map(|_| 0).map_err(|errno| *errno);
        let _ = self.outcome(format!("mmap({length}, {protection}, {flags})"), shown);
        mapping.ok()
    }

    /// The bytes of a mapping from `at` on.
    pub fn peek(&self, mapping: Option<&Mapping>, at: usize, count: usize) {
        if let Some(mapping) = mapping {
            let bytes: Vec<u8> = (at..at + count).map(|at| mapping.byte(at)).collect();
            self.note(format!("peek({at})"), show(&bytes));
        }
    }

    /// Stores bytes into a mapping from `at` on.
    pub fn poke(&self, mapping: Option<&Mapping>, at: usize, bytes: &[u8]) {
        if let Some(mapping) = mapping {
            for (step, byte) in bytes.iter().enumerate() {
                mapping.set(at + step, *byte);
            }
        }
    }

    /// msync(2) of a whole mapping.
    pub fn msync(&self, mapping: Option<&Mapping>, flags: i32) {
        if let Some(mapping) = mapping {
            let _ = self.outcome(format!("msync({flags})"), mapping.sync(flags));
        }
    }

    // Whole file systems, handles, programs.

    /// statfs(2): block size and longest name, the only fields two file systems share.
    pub fn statfs(&self, name: &str) {
        let (bytes, mut buffer) = (path(name), [0; 128]);
        let answer = call(libc::SYS_statfs, &mut [Arg::In(&bytes), Arg::Out(&mut buffer)]);
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&buffer[at * 8..at * 8 + 8]);
            u64::from_ne_bytes(bytes)
        };
        let sane = word(2) > 0 && word(3) <= word(2) && word(4) <= word(3) && word(6) <= word(5);
        let shown = answer.map(|_| word(8).cast_signed());
        let _ = self.outcome(format!("statfs namelen, bsize {} sane {sane}", word(1)), shown);
    }

    /// name_to_handle_at(2), then open_by_handle_at(2) after `between`.
    pub fn by_handle(&self, name: &str, between: impl FnOnce()) -> Fd {
        let mut handle = [0; 136];
        handle[..4].copy_from_slice(&128u32.to_ne_bytes());
        let (bytes, mut mount) = (path(name), [0; 8]);
        let mut args = [
            int(libc::AT_FDCWD),
            Arg::In(&bytes),
            Arg::Out(&mut handle),
            Arg::Out(&mut mount),
            int(0),
        ];
        let _ = self.run(name_of("handle", &[&name]), libc::SYS_name_to_handle_at, &mut args);
        between();
        let here = self.open(".", libc::O_RDONLY | libc::O_DIRECTORY, 0);
        let mut args = [Arg::Int(here.0), Arg::In(&handle), int(libc::O_RDONLY)];
        let answer = call(libc::SYS_open_by_handle_at, &mut args);
        let _ = self.outcome("open_by_handle()", answer.map(|_| 0));
        Fd(answer.unwrap_or(-1))
    }

    /// Runs a shell command here; records status and output.
    pub fn sh(&self, command: &str) {
        let output =
            Command::new("/bin/sh").arg("-c").arg(command).current_dir(&self.root).output();
        match output {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                let status = output.status.code().unwrap_or(-1);
                self.note(format!("sh({command})"), format!("{status} {:?}", text.trim_end()));
            }
            Err(error) => self.note(format!("sh({command})"), error),
        }
    }

    /// Plays on as another user, in a thread of its own; a failure to switch is recorded.
    pub fn as_user(&self, uid: u32, gid: u32, groups: &[u32], play: impl FnOnce(&Self) + Send) {
        let (root, groups) = (self.root.clone(), groups.to_vec());
        let record = std::thread::scope(|scope| {
            let actor = scope.spawn(move || {
                let own = sys::own_fs_state();
                let stage = Stage::enter(&root);
                let switched = own.and_then(|_| sys::become_user(uid, gid, &groups));
                let _ = stage.outcome(format!("become({uid}, {gid})"), switched);
                play(&stage);
                stage.into_record()
            });
            actor.join()
        });
        match record {
            Ok(lines) => {
                let lines = lines.iter().map(|line| format!("{uid}: {line}"));
                self.record.borrow_mut().extend(lines);
            }
            Err(_) => self.note("as_user", "panicked"),
        }
    }

    /// An ordinary user without groups.
    pub fn as_nobody(&self, play: impl FnOnce(&Self) + Send) {
        self.as_user(1000, 1000, &[], play);
    }
}
