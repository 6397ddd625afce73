//! One writer, readers on snapshots and a checkpoint at the same time: every reader sees exactly
//! what its snapshot held.

use crate::simulated::Disk;
use ashlar_btree::{Obsolete, Tree};
use ashlar_format::key::TreeId;
use ashlar_format::superblock::TreeRoot;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

type Model = BTreeMap<u64, u8>;

fn check(tree: &Tree, disk: &Disk, model: &Model) {
    let mut expected = model.iter();
    tree.for_each_from(disk, &[], &mut |key, value| {
        let (number, byte) = expected.next().unwrap();
        assert_eq!((key, value), (&number.to_be_bytes()[..], &[*byte; 100][..]));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(expected.next().is_none());
}

fn read_snapshots(disk: &Disk, snapshots: &Mutex<Receiver<(Tree, Arc<Model>)>>) {
    loop {
        let next = snapshots.lock().unwrap().recv();
        let Ok((tree, model)) = next else { return };
        check(&tree, disk, &model);
    }
}

#[test]
fn readers_and_checkpoints_see_frozen_trees_while_a_writer_goes_on() {
    let disk = Disk::new(40 * 16640);
    let (to_readers, snapshots) = sync_channel::<(Tree, Arc<Model>)>(4);
    let (to_checkpoint, requests) = sync_channel::<(Tree, Arc<Model>)>(1);
    let (to_writer, finished) = sync_channel::<()>(1);
    let snapshots = Mutex::new(snapshots);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| read_snapshots(&disk, &snapshots));
        }
        let disk = &disk;
        scope.spawn(move || {
            for generation in 1.. {
                let Ok((tree, model)) = requests.recv() else { return };
                let write = &mut |_, page: &mut _| Ok(disk.write(page, generation, false));
                let root: Option<TreeRoot> = tree.write_home(write).unwrap();
                check(&Tree::from_root(TreeId::Inodes, root), disk, &model);
                drop(tree);
                to_writer.send(()).unwrap();
            }
        });
        let mut rng = Rng::with_seed(9);
        let (mut tree, mut model) = (Tree::empty(TreeId::Inodes), Arc::new(Model::new()));
        let (mut obsolete, mut writing) = (Obsolete::new(), false);
        for step in 0..60_000 {
            let (number, byte) = (rng.u64(..4000), rng.u8(..));
            let key = number.to_be_bytes();
            if rng.u8(..3) > 0 {
                tree.put(disk, &mut obsolete, &key, &[byte; 100]).unwrap();
                Arc::make_mut(&mut model).insert(number, byte);
            } else {
                tree.delete(disk, &mut obsolete, &key).unwrap();
                Arc::make_mut(&mut model).remove(&number);
            }
            if step % 100 == 0 {
                let _full = to_readers.try_send((tree.clone(), Arc::clone(&model)));
            }
            if writing && finished.try_recv().is_ok() {
                writing = false;
                tree.unpin(&disk.cache, &mut obsolete);
            }
            if !writing && step % 1000 == 0 {
                writing = true;
                to_checkpoint.send((tree.clone(), Arc::clone(&model))).unwrap();
            }
        }
        check(&tree, disk, &model);
        tree.verify(disk).unwrap();
        drop((to_readers, to_checkpoint));
    });
}
