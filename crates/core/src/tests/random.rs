//! Random operations, compared with the same on a plain model in memory, with remounts in between.
//!
//! The model knows nothing of blocks, logs or caches: files are bytes, directories are maps. Every
//! operation must succeed or fail on both sides with the same errno, and now and then everything
//! that can be seen is compared. At each unmount the checker goes over the device.
//!
//! `ASHLAR_SEED=n` replays one seed, `ASHLAR_ROUNDS=n` runs more of them.

use super::*;
use crate::{FallocateMode, FileKind, RenameFlags, SetAttr, XattrMode};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const OPERATIONS: usize = 1500;
/// No file is larger.
const SIZE_MAX: u64 = 400_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Directory { entries: BTreeMap<String, u64>, parent: u64 },
    Symlink(Vec<u8>),
}

#[derive(Debug, Clone)]
struct Node {
    content: Content,
    nlink: u32,
    mode: u16,
    xattrs: BTreeMap<String, Vec<u8>>,
    handles: u32,
}

type Outcome = Result<(), i32>;

/// The model: nodes by the inode numbers that the volume gave them.
#[derive(Debug, Default)]
struct Model {
    nodes: BTreeMap<u64, Node>,
}

impl Model {
    fn entries(&mut self, dir: u64) -> Result<&mut BTreeMap<String, u64>, i32> {
        match self.nodes.get_mut(&dir).map(|node| &mut node.content) {
            Some(Content::Directory { entries, .. }) => Ok(entries),
            Some(_) => Err(libc::ENOTDIR),
            None => Err(libc::ESTALE),
        }
    }

    fn is_dir(&self, ino: u64) -> bool {
        matches!(self.nodes[&ino].content, Content::Directory { .. })
    }

    fn find(&mut self, dir: u64, name: &str) -> Result<u64, i32> {
        self.entries(dir)?.get(name).copied().ok_or(libc::ENOENT)
    }

    fn bytes(&mut self, ino: u64) -> &mut Vec<u8> {
        match &mut self.nodes.get_mut(&ino).expect("file").content {
            Content::File(bytes) => bytes,
            other => panic!("{other:?} is no file"),
        }
    }

    fn count_subdirectory(&mut self, dir: u64, by: i32) {
        let node = self.nodes.get_mut(&dir).expect("directory");
        node.nlink = node.nlink.checked_add_signed(by).expect("links");
    }

    fn drop_name(&mut self, ino: u64) {
        let is_dir = self.is_dir(ino);
        let node = self.nodes.get_mut(&ino).expect("node");
        node.nlink = if is_dir { 0 } else { node.nlink - 1 };
        self.drop_unused(ino);
    }

    fn drop_unused(&mut self, ino: u64) {
        if self.nodes.get(&ino).is_some_and(|node| node.nlink == 0 && node.handles == 0) {
            self.nodes.remove(&ino);
        }
    }

    fn add(&mut self, dir: u64, name: &str, ino: u64, content: Content, mode: u16) {
        let is_dir = matches!(content, Content::Directory { .. });
        let nlink = if is_dir { 2 } else { 1 };
        let node = Node { content, nlink, mode, xattrs: BTreeMap::new(), handles: 0 };
        self.nodes.insert(ino, node);
        self.entries(dir).expect("directory").insert(name.into(), ino);
        if is_dir {
            self.count_subdirectory(dir, 1);
        }
    }

    fn unlink(&mut self, dir: u64, name: &str) -> Outcome {
        let ino = self.find(dir, name)?;
        if self.is_dir(ino) {
            return Err(libc::EISDIR);
        }
        self.entries(dir)?.remove(name);
        self.drop_name(ino);
        Ok(())
    }

    fn rmdir(&mut self, dir: u64, name: &str) -> Outcome {
        let ino = self.find(dir, name)?;
        if !self.entries(ino)?.is_empty() {
            return Err(libc::ENOTEMPTY);
        }
        self.entries(dir)?.remove(name);
        self.count_subdirectory(dir, -1);
        self.drop_name(ino);
        Ok(())
    }

    fn is_ancestor(&self, above: u64, mut below: u64) -> bool {
        loop {
            if above == below {
                return true;
            }
            match &self.nodes[&below].content {
                Content::Directory { parent, .. } if *parent != below => below = *parent,
                _ => return false,
            }
        }
    }

    fn rename(&mut self, from: (u64, &str), to: (u64, &str), flags: RenameFlags) -> Outcome {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let source = self.find(from.0, from.1)?;
        let target = match self.find(to.0, to.1) {
            Ok(target) => Some(target),
            Err(libc::ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        if flags.contains(RenameFlags::NOREPLACE) && target.is_some() {
            return Err(libc::EEXIST);
        }
        if exchange && target.is_none() {
            return Err(libc::ENOENT);
        }
        if target == Some(source) {
            return Ok(());
        }
        if from.0 != to.0 {
            if self.is_dir(source) && self.is_ancestor(source, to.0) {
                return Err(libc::EINVAL);
            }
            if target.is_some_and(|target| self.is_dir(target) && self.is_ancestor(target, from.0))
            {
                return Err(if exchange { libc::EINVAL } else { libc::ENOTEMPTY });
            }
        }
        if let (Some(target), false) = (target, exchange) {
            match (self.is_dir(source), self.is_dir(target)) {
                (true, false) => return Err(libc::ENOTDIR),
                (false, true) => return Err(libc::EISDIR),
                (true, true) if !self.entries(target)?.is_empty() => return Err(libc::ENOTEMPTY),
                _ => {}
            }
        }
        self.take(from, source);
        if let Some(target) = target {
            self.take(to, target);
        }
        self.put(to, source);
        match target {
            Some(target) if exchange => self.put(from, target),
            Some(target) => self.drop_name(target),
            None => {}
        }
        Ok(())
    }

    fn take(&mut self, at: (u64, &str), ino: u64) {
        self.entries(at.0).expect("directory").remove(at.1);
        if self.is_dir(ino) {
            self.count_subdirectory(at.0, -1);
        }
    }

    fn put(&mut self, at: (u64, &str), ino: u64) {
        self.entries(at.0).expect("directory").insert(at.1.into(), ino);
        if let Content::Directory { parent, .. } =
            &mut self.nodes.get_mut(&ino).expect("node").content
        {
            *parent = at.0;
            self.count_subdirectory(at.0, 1);
        }
    }
}

struct Run {
    rng: fastrand::Rng,
    options: MountOptions,
    volume: Arc<Volume>,
    model: Model,
    handles: Vec<Arc<File>>,
    history: Vec<String>,
}

fn outcome<T>(result: crate::Result<T>) -> Outcome {
    result.map(drop).map_err(|error| error.errno())
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let options = MountOptions {
            kernel_cache: rng.bool(),
            // Sometimes so small that writers throttle and reclaim works.
            cache_bytes: if rng.bool() { 1 << 20 } else { 64 << 20 },
            ..options()
        };
        let volume = Volume::mount(device(64), &options).unwrap();
        let mut model = Model::default();
        let root = Node {
            content: Content::Directory { entries: BTreeMap::new(), parent: 1 },
            nlink: 2,
            mode: 0o755,
            xattrs: BTreeMap::new(),
            handles: 0,
        };
        model.nodes.insert(1, root);
        Self { rng, options, volume, model, handles: Vec::new(), history: Vec::new() }
    }

    fn dir(&mut self) -> u64 {
        let dirs: Vec<u64> = self
            .model
            .nodes
            .iter()
            .filter(|(_, node)| matches!(node.content, Content::Directory { .. }))
            .map(|(ino, _)| *ino)
            .collect();
        dirs[self.rng.usize(..dirs.len())]
    }

    fn name(&mut self) -> String {
        format!("n{}", self.rng.u8(0..12))
    }

    fn named(&mut self) -> (u64, String) {
        let dir = self.dir();
        (dir, self.name())
    }

    fn node(&mut self) -> u64 {
        let inos: Vec<u64> = self.model.nodes.keys().copied().collect();
        inos[self.rng.usize(..inos.len())]
    }

    fn handle(&mut self) -> Option<Arc<File>> {
        if self.handles.is_empty() {
            return None;
        }
        Some(Arc::clone(&self.handles[self.rng.usize(..self.handles.len())]))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = match self.rng.u8(0..5) {
            0 => self.rng.usize(1..200),
            1 => 4096 * self.rng.usize(1..20),
            2 => 65_536 + self.rng.usize(0..2) * self.rng.usize(0..70_000),
            _ => self.rng.usize(1..20_000),
        };
        pattern(self.rng.u8(..), length)
    }

    fn offset(&mut self, size: u64) -> u64 {
        let any = self.rng.u64(0..SIZE_MAX / 2);
        match self.rng.u8(0..4) {
            0 => size.min(SIZE_MAX / 2),
            1 => any & !4095,
            2 => self.rng.u64(0..=size.min(SIZE_MAX / 2)),
            _ => any,
        }
    }

    #[track_caller]
    fn same(&mut self, what: String, volume: Outcome, model: Outcome) {
        self.history.push(what + &format!(" -> {volume:?}"));
        assert_eq!(volume, model, "{:?}", self.history.last());
    }

    fn step(&mut self) {
        match self.rng.u8(0..36) {
            0..=4 => self.create(),
            5 => self.link(),
            6..=7 => self.remove(),
            8..=10 => self.rename(),
            11..=13 => self.open(),
            14..=19 => self.write(),
            20..=21 => self.set_size(),
            22..=24 => self.allocate(),
            25 => self.chmod(),
            26..=27 => self.xattr(),
            28 => self.close(),
            29..=30 => self.read(),
            31..=32 => self.sync_one(),
            33 => self.copy(),
            34 => self.volume.background_step().unwrap(),
            _ => self.volume.sync().unwrap(),
        }
    }

    fn create(&mut self) {
        let (dir, name) = self.named();
        let (new, content) = match self.rng.u8(0..6) {
            0..=1 => {
                let entries = BTreeMap::new();
                (NewInode::directory(0o755), Content::Directory { entries, parent: dir })
            }
            2 => (NewInode::symlink(b"target"), Content::Symlink(b"target".to_vec())),
            _ => (NewInode::file(0o644), Content::File(Vec::new())),
        };
        let made = self.volume.create(&Caller::root(), Ino(dir), name.as_bytes(), &new);
        let unlinked = self.model.nodes[&dir].nlink == 0;
        let exists = self.model.find(dir, &name).is_ok();
        let expected = match (unlinked, exists) {
            (true, _) => Err(libc::ENOENT),
            (_, true) => Err(libc::EEXIST),
            _ => Ok(()),
        };
        if let Ok(attr) = &made {
            self.model.add(dir, &name, attr.ino.0, content, attr.mode);
        }
        self.same(format!("create {dir}/{name} {:?}", new.kind), outcome(made), expected);
    }

    fn link(&mut self) {
        let ino = self.node();
        let (dir, name) = self.named();
        let made = self.volume.link(Ino(ino), Ino(dir), name.as_bytes());
        let expected = if self.model.is_dir(ino) {
            Err(libc::EPERM)
        } else if self.model.nodes[&dir].nlink == 0 {
            Err(libc::ENOENT)
        } else if self.model.find(dir, &name).is_ok() {
            Err(libc::EEXIST)
        } else if self.model.nodes[&ino].nlink == 0 {
            Err(libc::ENOENT)
        } else {
            self.model.entries(dir).unwrap().insert(name.clone(), ino);
            self.model.nodes.get_mut(&ino).unwrap().nlink += 1;
            Ok(())
        };
        self.same(format!("link {ino} as {dir}/{name}"), outcome(made), expected);
    }

    fn remove(&mut self) {
        let (dir, name) = self.named();
        if self.rng.bool() {
            let done = self.volume.unlink(Ino(dir), name.as_bytes());
            let expected = self.model.unlink(dir, &name);
            self.same(format!("unlink {dir}/{name}"), outcome(done), expected);
        } else {
            let done = self.volume.rmdir(Ino(dir), name.as_bytes());
            let expected = self.model.rmdir(dir, &name);
            self.same(format!("rmdir {dir}/{name}"), outcome(done), expected);
        }
    }

    fn rename(&mut self) {
        let (from, to) = (self.named(), self.named());
        let flags = match self.rng.u8(0..5) {
            0 => RenameFlags::EXCHANGE,
            1 => RenameFlags::NOREPLACE,
            _ => RenameFlags::empty(),
        };
        let done = self.volume.rename(
            &Caller::root(),
            Ino(from.0),
            from.1.as_bytes(),
            Ino(to.0),
            to.1.as_bytes(),
            flags,
        );
        let to_removed = self.model.nodes[&to.0].nlink == 0;
        let expected = if to_removed && self.model.find(from.0, &from.1).is_ok() {
            Err(libc::ENOENT)
        } else {
            self.model.rename((from.0, &from.1), (to.0, &to.1), flags)
        };
        self.same(format!("rename {from:?} to {to:?} {flags:?}"), outcome(done), expected);
    }

    fn open(&mut self) {
        let ino = self.node();
        if self.handles.len() > 8 || !matches!(self.model.nodes[&ino].content, Content::File(_)) {
            return;
        }
        let direct = self.rng.u8(0..3) == 0;
        let flags = OpenFlags { direct, ..OpenFlags::read_write() };
        self.handles.push(self.volume.open(Ino(ino), flags).unwrap());
        self.model.nodes.get_mut(&ino).unwrap().handles += 1;
        self.history.push(format!("open {ino} direct {direct}"));
    }

    fn close(&mut self) {
        if self.handles.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.handles.len());
        let file = self.handles.swap_remove(index);
        let ino = file.ino().0;
        self.history.push(format!("close {ino}"));
        drop(file);
        self.model.nodes.get_mut(&ino).unwrap().handles -= 1;
        self.model.drop_unused(ino);
    }

    fn write(&mut self) {
        let Some(file) = self.handle() else { return };
        let ino = file.ino().0;
        let size = self.model.bytes(ino).len() as u64;
        let append = self.rng.u8(0..4) == 0 && size < SIZE_MAX;
        let offset = if append { size } else { self.offset(size) };
        let bytes = self.bytes();
        let flags = WriteFlags { append, dsync: self.rng.u8(0..8) == 0, ..WriteFlags::default() };
        self.history.push(format!("write {ino} at {offset} {} bytes {flags:?}", bytes.len()));
        assert_eq!(file.write_at(offset, &bytes, flags).unwrap(), bytes.len());
        let content = self.model.bytes(ino);
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        content.resize(content.len().max(end), 0);
        content[start..end].copy_from_slice(&bytes);
    }

    fn set_size(&mut self) {
        let Some(file) = self.handle() else { return };
        let ino = file.ino().0;
        let size = self.model.bytes(ino).len() as u64;
        let size = self.offset(size);
        self.history.push(format!("set_len {ino} {size}"));
        file.set_len(size).unwrap();
        self.model.bytes(ino).resize(size as usize, 0);
    }

    fn allocate(&mut self) {
        let Some(file) = self.handle() else { return };
        let ino = file.ino().0;
        let size = self.model.bytes(ino).len();
        let mut offset = self.offset(size as u64) as usize;
        let mut length = self.rng.usize(1..60_000);
        let keep_size = self.rng.bool();
        let mode = match self.rng.u8(0..5) {
            0 => FallocateMode::Allocate { keep_size },
            1 => FallocateMode::PunchHole,
            2 => FallocateMode::ZeroRange { keep_size },
            3 => FallocateMode::CollapseRange,
            _ => FallocateMode::InsertRange,
        };
        if matches!(mode, FallocateMode::CollapseRange | FallocateMode::InsertRange) {
            (offset, length) = (offset & !4095, (length + 4095) & !4095);
        }
        let end = offset + length;
        let result = file.allocate(&Caller::root(), mode, offset as u64, length as u64);
        let content = self.model.bytes(ino);
        let zero = |content: &mut Vec<u8>| {
            let (from, to) = (offset.min(content.len()), end.min(content.len()));
            content[from..to].fill(0);
        };
        let expected = match mode {
            FallocateMode::PunchHole => {
                zero(content);
                Ok(())
            }
            FallocateMode::Allocate { keep_size } | FallocateMode::ZeroRange { keep_size } => {
                if matches!(mode, FallocateMode::ZeroRange { .. }) {
                    zero(content);
                }
                if !keep_size {
                    content.resize(content.len().max(end), 0);
                }
                Ok(())
            }
            FallocateMode::CollapseRange if end >= content.len() => Err(libc::EINVAL),
            FallocateMode::CollapseRange => {
                content.drain(offset..end);
                Ok(())
            }
            FallocateMode::InsertRange if offset >= content.len() => Err(libc::EINVAL),
            FallocateMode::InsertRange => {
                content.splice(offset..offset, vec![0; length]);
                Ok(())
            }
        };
        let what = format!("allocate {ino} {mode:?} {offset}..{end} size {size}");
        self.same(what, outcome(result), expected);
    }

    fn chmod(&mut self) {
        let ino = self.node();
        let mode = self.rng.u32(0..0o1000);
        let change = SetAttr { mode: Some(mode), ..SetAttr::default() };
        self.volume.setattr(&Caller::root(), Ino(ino), &change).unwrap();
        let node = self.model.nodes.get_mut(&ino).unwrap();
        if !matches!(node.content, Content::Symlink(_)) {
            node.mode = mode as u16;
        }
        self.history.push(format!("chmod {ino} {mode:o}"));
    }

    fn xattr(&mut self) {
        let ino = self.node();
        let name = format!("trusted.x{}", self.rng.u8(0..3));
        if self.rng.u8(0..3) == 0 {
            let done = self.volume.removexattr(&Caller::root(), Ino(ino), name.as_bytes());
            let found = self.model.nodes.get_mut(&ino).unwrap().xattrs.remove(&name);
            let expected = found.map(drop).ok_or(libc::ENODATA);
            return self.same(format!("removexattr {ino} {name}"), outcome(done), expected);
        }
        let length = self.rng.usize(0..10_000);
        let value = pattern(self.rng.u8(..), length);
        let mode = XattrMode::Either;
        let done = self.volume.setxattr(&Caller::root(), Ino(ino), name.as_bytes(), &value, mode);
        self.model.nodes.get_mut(&ino).unwrap().xattrs.insert(name.clone(), value);
        self.same(format!("setxattr {ino} {name} {length}"), outcome(done), Ok(()));
    }

    fn read(&mut self) {
        let Some(file) = self.handle() else { return };
        let ino = file.ino().0;
        let size = self.model.bytes(ino).len() as u64;
        let offset = self.offset(size);
        let mut buf = vec![0xee; self.rng.usize(1..100_000)];
        let count = file.read_at(offset, &mut buf).unwrap();
        let content = self.model.bytes(ino);
        let from = (offset as usize).min(content.len());
        let to = (from + buf.len()).min(content.len());
        assert_eq!(count, to - from, "read {ino} at {offset}");
        assert!(buf[..count] == content[from..to], "read {ino} at {offset} of {size}");
    }

    fn sync_one(&mut self) {
        let Some(file) = self.handle() else { return };
        let data_only = self.rng.bool();
        self.history.push(format!("fsync {} {data_only}", file.ino()));
        file.fsync(data_only).unwrap();
    }

    fn copy(&mut self) {
        let (Some(from), Some(to)) = (self.handle(), self.handle()) else { return };
        if from.ino() == to.ino() {
            return;
        }
        let size = self.model.bytes(from.ino().0).len() as u64;
        let (offset, target) = (self.offset(size), self.offset(size));
        let length = self.rng.u64(1..50_000);
        self.history.push(format!(
            "copy {} at {offset} to {} at {target}, {length}",
            from.ino(),
            to.ino()
        ));
        let copied = from.copy_range(offset, &to, target, length).unwrap() as usize;
        let content = self.model.bytes(from.ino().0);
        let start = (offset as usize).min(content.len());
        let piece = content[start..(start + length as usize).min(content.len())].to_vec();
        assert_eq!(copied, piece.len());
        if !piece.is_empty() {
            let content = self.model.bytes(to.ino().0);
            let end = target as usize + piece.len();
            content.resize(content.len().max(end), 0);
            content[target as usize..end].copy_from_slice(&piece);
        }
    }

    fn remount(&mut self) {
        while !self.handles.is_empty() {
            self.close();
        }
        self.history.push("remount".into());
        self.volume = remount(&self.volume, &self.options);
    }

    /// Compares everything that can be seen.
    fn compare(&self) {
        for (&ino, node) in &self.model.nodes {
            let attr = self.volume.getattr(Ino(ino)).unwrap();
            assert_eq!((attr.nlink, attr.mode), (node.nlink, node.mode), "inode {ino}");
            let mut names = self.volume.listxattr(Ino(ino)).unwrap();
            names.pop();
            let count = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).count();
            assert_eq!(count, node.xattrs.len(), "attributes of {ino}");
            for (name, value) in &node.xattrs {
                assert!(&self.volume.getxattr(Ino(ino), name.as_bytes()).unwrap() == value);
            }
            match &node.content {
                Content::Symlink(target) => {
                    assert_eq!(&self.volume.readlink(Ino(ino)).unwrap(), target);
                }
                Content::File(bytes) => self.compare_file(ino, node, bytes),
                Content::Directory { entries, parent } if node.nlink > 0 => {
                    assert_eq!(self.volume.lookup(Ino(ino), b"..").unwrap().ino.0, *parent);
                    assert_eq!(attr.size, entries.len() as u64, "size of {ino}");
                    let mut found = BTreeMap::new();
                    self.volume
                        .read_dir(Ino(ino), 2, &mut |entry| {
                            let name = String::from_utf8(entry.name.clone()).unwrap();
                            assert_eq!(found.insert(name, entry.ino.0), None);
                            ControlFlow::Continue(())
                        })
                        .unwrap();
                    assert_eq!(&found, entries, "entries of {ino}");
                }
                Content::Directory { .. } => {}
            }
        }
    }

    fn compare_file(&self, ino: u64, node: &Node, bytes: &[u8]) {
        let held = self.handles.iter().find(|file| file.ino().0 == ino).cloned();
        assert!(held.is_some() || node.nlink > 0);
        let file = held.unwrap_or_else(|| open(&self.volume, Ino(ino)));
        let found = read_all(&file);
        assert_eq!(found.len(), bytes.len(), "size of {ino}");
        let differs = found.iter().zip(bytes).position(|(a, b)| a != b);
        assert_eq!(differs, None, "content of {ino}");
        let attr = file.attr().unwrap();
        assert_eq!((attr.kind, attr.size), (FileKind::Regular, bytes.len() as u64));
    }
}

/// Prints what led to a failure.
struct OnPanic<'a>(&'a std::cell::RefCell<Run>, u64);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("ASHLAR_SEED={}", self.1);
            if let Ok(run) = self.0.try_borrow() {
                let from = run.history.len().saturating_sub(40);
                eprintln!("{}", run.history[from..].join("\n"));
            }
        }
    }
}

fn run(seed: u64) {
    let run = std::cell::RefCell::new(Run::new(seed));
    let _report = OnPanic(&run, seed);
    for step in 1..=OPERATIONS {
        run.borrow_mut().step();
        if step % 100 == 0 {
            run.borrow().compare();
        }
        if step % 500 == 0 {
            run.borrow_mut().remount();
            run.borrow().compare();
        }
    }
    while !run.borrow().handles.is_empty() {
        run.borrow_mut().close();
    }
}

#[test]
fn random_operations_equal_those_of_a_model() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("ASHLAR_SEED") {
        return run(seed);
    }
    for _ in 0..number("ASHLAR_ROUNDS").unwrap_or(6) {
        run(fastrand::u64(..));
    }
}
