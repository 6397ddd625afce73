//! Every single read of an operation fails once: the entries must be as before the operation, or
//! as after it, and the tree sound.

use crate::simulated::Disk;
use ashlar_btree::{Error, Obsolete, Tree};
use ashlar_format::key::TreeId;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn entries(tree: &Tree, disk: &Disk) -> Entries {
    let mut entries = Entries::new();
    tree.for_each_from(disk, &[], &mut |key, value| {
        entries.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    entries
}

/// A tree of three levels, at home, none of it cached.
fn fixture(rng: &mut Rng) -> (Disk, Tree, Entries) {
    let disk = Disk::new(0);
    let mut tree = Tree::empty(TreeId::Xattrs);
    let mut model = Entries::new();
    while model.len() < 800 {
        let mut key = vec![1; 250];
        key[200..].fill_with(|| rng.u8(..));
        let value = vec![rng.u8(..); 1500 + rng.usize(..3000)];
        tree.put(&disk, &mut Obsolete::new(), &key, &value).unwrap();
        model.insert(key, value);
    }
    let root = tree.write_home(&mut |_, page| Ok(disk.write(page, 1, false))).unwrap();
    assert!(root.unwrap().level >= 2);
    (disk, Tree::from_root(TreeId::Xattrs, root), model)
}

/// Runs `act` with read 0 failing, then read 1, ... until it gets through.
fn with_each_read_failing(
    disk: &Disk,
    mut act: impl FnMut() -> Result<(), Error>,
    mut failed: impl FnMut(),
) {
    for failing in 0.. {
        disk.fail_in(Some(failing));
        let result = act();
        disk.fail_in(None);
        match result {
            Ok(()) => break,
            Err(Error::Io(_)) => failed(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn put_with_any_read_failing_changes_nothing() {
    let mut rng = Rng::with_seed(3);
    let (disk, clean, mut model) = fixture(&mut rng);
    let mut failures = 0;
    for key in model.clone().into_keys().step_by(40) {
        let mut tree = clean.clone();
        let key = [&key[..], b"more"].concat();
        let mut obsolete = Obsolete::new();
        for failing in 0.. {
            disk.fail_in(Some(failing));
            let result = tree.put(&disk, &mut obsolete, &key, &[5; 4000]);
            disk.fail_in(None);
            match result {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, Error::Io(_)), "{error}"),
            }
            failures += 1;
            assert_eq!(entries(&tree, &disk), model);
            tree.verify(&disk).unwrap();
        }
        let old = model.insert(key.clone(), vec![5; 4000]);
        assert_eq!(entries(&tree, &disk), model);
        tree.verify(&disk).unwrap();
        assert!(old.is_none());
        model.remove(&key);
    }
    assert!(failures >= 40);
}

#[test]
fn delete_with_any_read_failing_is_whole_or_nothing() {
    let mut rng = Rng::with_seed(4);
    let (disk, clean, model) = fixture(&mut rng);
    // Each key in turn from one tree, so that nodes run empty and merge while reads fail.
    let mut tree = clean.clone();
    let mut left = model.clone();
    let mut obsolete = Obsolete::new();
    for (round, key) in model.keys().enumerate() {
        for failing in 0.. {
            disk.fail_in(Some(failing));
            let result = tree.delete(&disk, &mut obsolete, key);
            disk.fail_in(None);
            match result {
                Ok(deleted) => {
                    assert!(deleted);
                    break;
                }
                Err(error) => assert!(matches!(error, Error::Io(_)), "{error}"),
            }
            if round % 40 == 0 {
                assert_eq!(entries(&tree, &disk), left);
            }
        }
        left.remove(key);
        if round % 40 == 0 {
            assert_eq!(entries(&tree, &disk), left);
            tree.verify(&disk).unwrap();
        }
    }
    assert_eq!(tree.count(), 0);
}

#[test]
fn reads_with_any_read_failing_can_be_repeated() {
    let mut rng = Rng::with_seed(5);
    let (disk, tree, model) = fixture(&mut rng);
    let mut failures = 0;
    for (key, value) in model.iter().step_by(50) {
        let get = || {
            assert_eq!(tree.get(&disk, key)?.as_ref(), Some(value));
            assert_eq!(tree.floor(&disk, key)?, Some((key.clone(), value.clone())));
            Ok(())
        };
        with_each_read_failing(&disk, get, || failures += 1);
    }
    assert!(failures > 80);
}

#[test]
fn range_goes_on_behind_a_read_that_failed() {
    let mut rng = Rng::with_seed(6);
    let (disk, tree, model) = fixture(&mut rng);
    let mut range = tree.range(&disk, &[]).unwrap();
    let mut failures = 0;
    let mut seen = Entries::new();
    for call in 0.. {
        disk.fail_in(Some(call % 2));
        match range.next_entry() {
            Ok(None) => break,
            Ok(Some((key, value))) => drop(seen.insert(key.to_vec(), value.to_vec())),
            Err(Error::Io(_)) => failures += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(failures > 100);
    assert_eq!(seen, model);
}
