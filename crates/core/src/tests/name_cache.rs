//! The name cache says what the names tree says: against models, with many threads, after failures.

use super::*;
use crate::{ErrorKind, FileKind, RenameFlags};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::thread;

const NAMES: usize = 12;

/// Ends the other threads of a test, also when this one fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a thread knows of the names that only it changes.
struct Owner<'a> {
    volume: &'a Volume,
    dirs: [Ino; 2],
    id: usize,
    random: fastrand::Rng,
    model: BTreeMap<(usize, usize), Ino>,
}

impl Owner<'_> {
    fn name(&self, number: usize) -> String {
        format!("name{}-{number}", self.id)
    }

    fn place(&mut self) -> (usize, usize) {
        (self.random.usize(..2), self.random.usize(..NAMES))
    }

    fn found(&self, (dir, number): (usize, usize)) -> Option<Ino> {
        let name = self.name(number);
        let attr = self.volume.lookup(self.dirs[dir], name.as_bytes());
        let kind = self.volume.lookup_kind(self.dirs[dir], name.as_bytes());
        match (attr, kind) {
            (Ok(attr), Ok((ino, FileKind::Regular))) => {
                assert_eq!(attr.ino, ino);
                Some(ino)
            }
            (Err(error), Err(_)) if error.kind == ErrorKind::NotFound => None,
            other => panic!("{other:?}"),
        }
    }

    fn rename(&mut self, from: (usize, usize), to: (usize, usize)) {
        let both = self.model.contains_key(&to) && from != to;
        let exchange = both && self.random.bool();
        let flags = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
        let (name, new_name) = (self.name(from.1), self.name(to.1));
        let (dir, new_dir) = (self.dirs[from.0], self.dirs[to.0]);
        self.volume
            .rename(&Caller::root(), dir, name.as_bytes(), new_dir, new_name.as_bytes(), flags)
            .unwrap();
        let (source, target) = (self.model[&from], self.model.get(&to).copied());
        if Some(source) == target {
            return; // Two names of one file stay both.
        }
        self.model.remove(&from);
        self.model.insert(to, source);
        if let (true, Some(target)) = (exchange, target) {
            self.model.insert(from, target);
        }
    }

    fn step(&mut self) {
        let (at, other) = (self.place(), self.place());
        let (dir, name) = (self.dirs[at.0], self.name(at.1));
        match (self.model.get(&at).copied(), self.random.u8(..4)) {
            (None, 0) if self.model.contains_key(&other) => {
                let ino = self.model[&other];
                self.volume.link(ino, dir, name.as_bytes()).unwrap();
                self.model.insert(at, ino);
            }
            (None, _) => {
                let ino = make(self.volume, dir, &name);
                self.model.insert(at, ino);
            }
            (Some(_), 0) => {
                self.volume.unlink(dir, name.as_bytes()).unwrap();
                self.model.remove(&at);
            }
            (Some(_), 1 | 2) => self.rename(at, other),
            (Some(_), _) => {}
        }
        for place in [at, other] {
            assert_eq!(self.found(place), self.model.get(&place).copied(), "{place:?}");
        }
    }
}

/// Each thread sees its own changes at once, while others look at the same names all the time.
#[test]
fn lookups_agree_with_models_while_names_come_and_go() {
    let volume = volume();
    let dirs = [make_dir(&volume, Ino::ROOT, "one"), make_dir(&volume, Ino::ROOT, "two")];
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let owners: Vec<_> = (0..2)
            .map(|id| {
                let random = fastrand::Rng::with_seed(id as u64);
                let mut owner = Owner { volume: &volume, dirs, id, random, model: BTreeMap::new() };
                scope.spawn(move || {
                    for _ in 0..6000 {
                        owner.step();
                    }
                    for place in (0..2).flat_map(|dir| (0..NAMES).map(move |name| (dir, name))) {
                        assert_eq!(owner.found(place), owner.model.get(&place).copied());
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for (dir, id, number) in
                        (0..2 * 2 * NAMES).map(|place| (place % 2, place / 2 % 2, place / 4))
                    {
                        let name = format!("name{id}-{number}");
                        let _either = volume.lookup(dirs[dir], name.as_bytes());
                    }
                }
            });
        }
        let ended: Vec<_> = owners.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    remount(&volume, &options());
}

/// Numbers are never used again, so whoever saw a newer file under a name never sees an older one.
#[test]
fn nobody_sees_an_older_file_after_a_newer_one() {
    let volume = volume();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut newest = Ino(0);
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((ino, _)) = volume.lookup_kind(Ino::ROOT, b"name") {
                        assert!(ino >= newest, "{ino} after {newest}");
                        newest = ino;
                    }
                }
            });
        }
        let _stopped = StopOnDrop(&stop);
        for _ in 0..4000 {
            make(&volume, Ino::ROOT, "name");
            make(&volume, Ino::ROOT, "next");
            let (caller, flags) = (Caller::root(), RenameFlags::empty());
            volume.rename(&caller, Ino::ROOT, b"next", Ino::ROOT, b"name", flags).unwrap();
            volume.unlink(Ino::ROOT, b"name").unwrap();
            assert_eq!(errno(volume.lookup(Ino::ROOT, b"name")), libc::ENOENT);
        }
    });
}

#[test]
fn changes_that_are_refused_leave_names_as_they_were() {
    let volume = volume();
    let caller = Caller::root();
    let (dir, file) = (make_dir(&volume, Ino::ROOT, "dir"), make(&volume, Ino::ROOT, "file"));
    let inside = make(&volume, dir, "inside");
    assert_eq!(errno(volume.rmdir(Ino::ROOT, b"dir")), libc::ENOTEMPTY);
    assert_eq!(errno(volume.unlink(Ino::ROOT, b"dir")), libc::EISDIR);
    let new = NewInode::file(0o644);
    assert_eq!(errno(volume.create(&caller, Ino::ROOT, b"file", &new)), libc::EEXIST);
    let flags = RenameFlags::NOREPLACE;
    let refused = volume.rename(&caller, dir, b"inside", Ino::ROOT, b"file", flags);
    assert_eq!(errno(refused), libc::EEXIST);
    assert_eq!(volume.lookup(Ino::ROOT, b"dir").unwrap().ino, dir);
    assert_eq!(volume.lookup(Ino::ROOT, b"file").unwrap().ino, file);
    assert_eq!(volume.lookup(dir, b"inside").unwrap().ino, inside);
    // A whiteout is a new file under the old name.
    let flags = RenameFlags::WHITEOUT;
    volume.rename(&caller, dir, b"inside", Ino::ROOT, b"file", flags).unwrap();
    assert_eq!(volume.lookup(dir, b"inside").unwrap().kind, FileKind::CharDevice);
    assert_eq!(volume.lookup(Ino::ROOT, b"file").unwrap().ino, inside);
}

/// Names come into a growing cache; one that is too long for it is found, too.
#[test]
fn many_names_are_all_found() {
    let volume = Volume::mount(device(256), &options()).unwrap();
    let dir = make_dir(&volume, Ino::ROOT, "dir");
    let inos: Vec<Ino> =
        (0..20_000).map(|number| make(&volume, dir, &format!("n{number}"))).collect();
    let long = "x".repeat(255);
    let long_ino = make(&volume, dir, &long);
    for _ in 0..2 {
        for (number, ino) in inos.iter().enumerate() {
            let found = volume.lookup_kind(dir, format!("n{number}").as_bytes()).unwrap();
            assert_eq!(found, (*ino, FileKind::Regular));
        }
        assert_eq!(volume.lookup_kind(dir, long.as_bytes()).unwrap().0, long_ino);
    }
    assert!(volume.names.len() > 15_000, "{} names", volume.names.len());
}
