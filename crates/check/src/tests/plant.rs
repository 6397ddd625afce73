//! Each kind of finding, planted: what is found is exactly what was planted, and it is gone after
//! repair where repair promises so.
//!
//! [`every_kind_is_planted`] reads the list of kinds from the source, so that none is forgotten.

use super::image::{
    Built, FILES_START, Image, LogRecord, SMALL, TWO_GROUPS, name_key, node_page, regular,
    write_ring,
};
use super::{run, text};
use crate::{
    ExtentProblem, Finding, FindingKind, FreeExtentProblem, Location, NameProblem, Owner,
    SpaceEditProblem, XattrProblem,
};
use ashlar_device::Device;
use ashlar_format::checksum::name_hash;
use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::inode::{FileKind, InodeFlags, InodeRecord};
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::{BLOCK_BYTES, GROUP_BLOCKS_MIN};
use ashlar_format::log::Edit;
use ashlar_format::name::NameRecord;
use std::collections::BTreeSet;

/// What becomes of the findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Gone after repair.
    Repaired,
    /// Still there after repair, since correcting them would be a guess.
    Stays,
    /// Nothing is wrong.
    Harmless,
}

use Fate::{Harmless, Repaired, Stays};

/// A defect: a volume with it, and all that a check should find.
struct Plant {
    name: &'static str,
    make: fn() -> (Built, Vec<(Location, FindingKind)>),
    fate: Fate,
}

const fn plant(
    name: &'static str,
    fate: Fate,
    make: fn() -> (Built, Vec<(Location, FindingKind)>),
) -> Plant {
    Plant { name, make, fate }
}

/// The sample volume with a change.
fn sample(change: impl FnOnce(&mut Image)) -> Built {
    let mut image = Image::sample(SMALL);
    change(&mut image);
    image.build()
}

fn problem(text: &str) -> String {
    text.to_owned()
}

const PLANTS: &[Plant] = &[
    // ---- superblock ---------------------------------------------------------------------
    plant("damaged superblock copy", Harmless, || {
        let built = sample(|_| {});
        // Generation 9 is in copy 1.
        built.flip_byte(100);
        let kind = FindingKind::SuperblockCopyDamaged { copy: 0, problem: String::new() };
        (built, vec![(Location::volume(), kind)])
    }),
    plant("unknown features", Harmless, || {
        let built = sample(|image| image.change_superblock = Box::new(|it| it.ro_compat = 1 << 40));
        (built, vec![(Location::volume(), FindingKind::UnknownFeatures { ro_compat: 1 << 40 })])
    }),
    plant("next inode number too low", Repaired, || {
        let built = sample(|image| image.superblock.next_ino = 59);
        let kind = FindingKind::NextInodeTooLow { next_ino: 59, highest: 59 };
        (built, vec![(Location::volume(), kind)])
    }),
    // ---- log ----------------------------------------------------------------------------
    plant("record that never finished", Harmless, || {
        let record = LogRecord { flushed: 40, ..LogRecord::default() }.sums_of(2000, &[1; 10]);
        let built = sample(|image| image.log = vec![record]);
        (built, vec![(Location::record(41), FindingKind::RecordDiscarded { behind: 0 })])
    }),
    plant("record whose edits do not decode", Stays, || {
        let record = LogRecord { edits: vec![99], flushed: 40, ..LogRecord::default() };
        let built = sample(|image| image.log = vec![record]);
        let kind = FindingKind::RecordUndecodable { problem: String::new() };
        (built, vec![(Location::record(41), kind)])
    }),
    plant("flushed record damaged", Repaired, || {
        let empty = |flushed| LogRecord { flushed, ..LogRecord::default() };
        let built = sample(|image| image.log = vec![empty(40), empty(41), empty(42)]);
        // Record 41 is damaged; 43 says that 42 was flushed.
        built.flip_byte(super::image::LOG_START * BLOCK_BYTES + 60);
        (built, vec![(Location::volume(), FindingKind::LogCut { flushed: 42, last: 40 })])
    }),
    plant("superblock knows of a flushed record that is gone", Repaired, || {
        let built = sample(|image| image.change_superblock = Box::new(|it| it.flushed_lsn = 41));
        (built, vec![(Location::volume(), FindingKind::LogCut { flushed: 41, last: 40 })])
    }),
    plant("log allocates what is in use", Repaired, || {
        let block = FILES_START;
        let record =
            LogRecord { flushed: 40, ..LogRecord::default() }.edit(Edit::Alloc { block, count: 1 });
        let built = sample(|image| image.log = vec![record]);
        let problem = SpaceEditProblem::AllocOfUsed;
        let edit = FindingKind::SpaceEditWrong { block, count: 1, problem };
        let free = counted_free(&built);
        let count = FindingKind::GroupCountWrong { group: 0, counted: free, recorded: free - 1 };
        (built, vec![(Location::record(41), edit), (Location::tree(TreeId::Free), count)])
    }),
    plant("log frees what is free", Repaired, || {
        let block = FILES_START + 2000;
        let record =
            LogRecord { flushed: 40, ..LogRecord::default() }.edit(Edit::Free { block, count: 3 });
        let built = sample(|image| image.log = vec![record]);
        let problem = SpaceEditProblem::FreeOfFree;
        let edit = FindingKind::SpaceEditWrong { block, count: 3, problem };
        let free = counted_free(&built);
        let count = FindingKind::GroupCountWrong { group: 0, counted: free, recorded: free + 3 };
        (built, vec![(Location::record(41), edit), (Location::tree(TreeId::Free), count)])
    }),
    plant("log frees outside the data area", Repaired, || {
        let record = LogRecord { flushed: 40, ..LogRecord::default() }
            .edit(Edit::Free { block: 5, count: 3 });
        let built = sample(|image| image.log = vec![record]);
        let problem = SpaceEditProblem::Outside;
        let kind = FindingKind::SpaceEditWrong { block: 5, count: 3, problem };
        (built, vec![(Location::record(41), kind)])
    }),
    plant("log edits the free tree entry by entry", Repaired, || {
        let record = LogRecord { flushed: 40, ..LogRecord::default() }.put(
            TreeId::Free,
            &key::group(0),
            &[0; 8],
        );
        let built = sample(|image| image.log = vec![record]);
        let problem = SpaceEditProblem::Direct;
        let kind = FindingKind::SpaceEditWrong { block: 0, count: 0, problem };
        (built, vec![(Location::record(41), kind)])
    }),
    // ---- trees --------------------------------------------------------------------------
    plant("damaged leaf", Stays, || {
        let built = sample(|_| {});
        let leaf = built.level(TreeId::Names, 0)[2].block;
        built.flip_byte(leaf * BLOCK_BYTES + 12000);
        let kind = FindingKind::NodeDamaged { problem: String::new() };
        (built, vec![(Location::node(TreeId::Names, leaf), kind)])
    }),
    plant("damaged inner node", Stays, || {
        let built = sample(|_| {});
        let node = built.level(TreeId::Extents, 1)[0].block;
        built.flip_byte(node * BLOCK_BYTES + 70);
        let kind = FindingKind::NodeDamaged { problem: String::new() };
        (built, vec![(Location::node(TreeId::Extents, node), kind)])
    }),
    plant("pointer outside the volume", Stays, || {
        let built = sample(|image| {
            image.change_superblock = Box::new(|it| {
                let root = it.roots[TreeId::Xattrs as usize].as_mut().unwrap();
                root.pointer.block = u64::MAX - 1;
            });
        });
        let kind = FindingKind::NodeDamaged { problem: String::new() };
        // Its node is not claimed by anything: that is not said, since a tree was not seen.
        (built, vec![(Location::node(TreeId::Xattrs, u64::MAX - 1), kind)])
    }),
    plant("node newer than its superblock", Stays, || {
        let built = sample(|image| {
            image.change_superblock = Box::new(|it| it.generation = 7);
        });
        let node = |tree| {
            let kind = FindingKind::NodeDamaged { problem: String::new() };
            let root = built.superblock.roots[tree as usize].unwrap().pointer.block;
            (Location::node(tree, root), kind)
        };
        let roots = TreeId::ALL.into_iter().filter(|tree| *tree != TreeId::Refs);
        // Of single leaves and of inner nodes alike.
        let found = roots.map(node).collect();
        (built, found)
    }),
    plant("damaged node of the free tree", Repaired, || {
        let built = sample(|_| {});
        let leaf = built.level(TreeId::Free, 0)[0].block;
        built.flip_byte(leaf * BLOCK_BYTES + 12000);
        let kind = FindingKind::NodeDamaged { problem: String::new() };
        (built, vec![(Location::node(TreeId::Free, leaf), kind)])
    }),
    plant("damaged node of the orphans tree", Repaired, || {
        let built = sample(|_| {});
        let leaf = built.level(TreeId::Orphans, 0)[0].block;
        built.flip_byte(leaf * BLOCK_BYTES + 12000);
        let kind = FindingKind::NodeDamaged { problem: String::new() };
        (built, vec![(Location::node(TreeId::Orphans, leaf), kind)])
    }),
    plant("node with two parents", Stays, || {
        let built = sample(|image| {
            image.change_superblock = Box::new(|it| {
                it.roots[TreeId::Xattrs as usize] = it.roots[TreeId::Names as usize];
            });
        });
        let block = built.superblock.roots[TreeId::Names as usize].unwrap().pointer.block;
        (built, vec![(Location::node(TreeId::Xattrs, block), FindingKind::NodeReachedTwice)])
    }),
    plant("leaf with a key of its neighbour", Stays, || {
        let built = misplaced_key();
        let block = built.level(TreeId::Xattrs, 0)[0].block;
        let key = key::xattr(3, b"user.zzz", 0).into();
        (built, vec![(Location::node(TreeId::Xattrs, block), FindingKind::KeyOutsideNode { key })])
    }),
    plant("count of a tree", Repaired, || {
        let built = sample(|image| {
            image.change_superblock = Box::new(|it| {
                it.roots[TreeId::Extents as usize].as_mut().unwrap().count += 5;
            });
        });
        let counted = built.superblock.roots[TreeId::Extents as usize].unwrap().count - 5;
        let kind = FindingKind::TreeCountWrong { counted, recorded: counted + 5 };
        (built, vec![(Location::tree(TreeId::Extents), kind)])
    }),
    plant("inode record that does not decode", Stays, || {
        let built = sample(|image| image.put(TreeId::Inodes, &key::inode(30), &[0; 3]));
        let kind = FindingKind::EntryDamaged { problem: String::new() };
        (built, vec![(Location::entry(TreeId::Inodes, &key::inode(30)), kind)])
    }),
    plant("inode number 0", Stays, || {
        let built = sample(|image| image.inode(0, &regular()));
        let kind = FindingKind::EntryDamaged { problem: String::new() };
        (built, vec![(Location::entry(TreeId::Inodes, &key::inode(0)), kind)])
    }),
    plant("key of the wrong shape", Stays, || {
        let built = sample(|image| image.put(TreeId::Xattrs, b"short", b""));
        let kind = FindingKind::EntryDamaged { problem: String::new() };
        (built, vec![(Location::entry(TreeId::Xattrs, b"short"), kind)])
    }),
    plant("free entry of the wrong shape", Repaired, || {
        let built = sample(|image| {
            image.change_free = Box::new(|free| drop(free.insert(vec![2, 2], vec![])));
        });
        let kind = FindingKind::EntryDamaged { problem: String::new() };
        (built, vec![(Location::entry(TreeId::Free, &[2, 2]), kind)])
    }),
    plant("entry of the refs tree", Repaired, || {
        let built = sample(|image| image.put(TreeId::Refs, &key::shared(FILES_START), &[2; 8]));
        let at = Location::entry(TreeId::Refs, &key::shared(FILES_START));
        (built, vec![(at, FindingKind::RefUnexpected)])
    }),
    // ---- space --------------------------------------------------------------------------
    plant("blocks of two files", Stays, || {
        let built = sample(|image| {
            image.extent(21, 1, FILES_START + 2, 2, ExtentFlags::empty());
            image.settle();
        });
        let first = Owner::Extent { ino: 2, file_block: 0 };
        let second = Owner::Extent { ino: 21, file_block: 1 };
        let kind = FindingKind::OwnedTwice { first, second };
        (built, vec![(Location::blocks(FILES_START + 2, 2), kind)])
    }),
    plant("blocks of a file and of a node", Stays, || {
        let mut image = Image::sample(SMALL);
        let node = image.build().level(TreeId::Inodes, 0)[0].block;
        image.extent(21, 1, node + 3, 1, ExtentFlags::empty());
        image.settle();
        let built = image.build();
        let first = Owner::Node { tree: TreeId::Inodes, block: node };
        let second = Owner::Extent { ino: 21, file_block: 1 };
        let kind = FindingKind::OwnedTwice { first, second };
        (built, vec![(Location::blocks(node + 3, 1), kind)])
    }),
    plant("free blocks in use", Repaired, || {
        let built = sample(|image| {
            image.change_free = Box::new(|free| {
                free.insert(key::free(FILES_START + 21).into(), 1u64.to_le_bytes().into());
                add_to_count(free, 0, 1);
            });
        });
        (built, vec![(Location::blocks(FILES_START + 21, 1), FindingKind::FreeButOwned)])
    }),
    plant("blocks that nobody can use", Repaired, || {
        let built = sample(|image| image.used.push((FILES_START + 2000, 7)));
        (built, vec![(Location::blocks(FILES_START + 2000, 7), FindingKind::Leaked)])
    }),
    plant("empty free extent", Repaired, || {
        free_extent(FILES_START + 1, 0, FreeExtentProblem::Empty)
    }),
    plant("free extent outside the data area", Repaired, || {
        free_extent(SMALL - 2, 3, FreeExtentProblem::Outside)
    }),
    plant("free extent across a group border", Repaired, || {
        let mut image = Image::empty(TWO_GROUPS);
        image.change_free = Box::new(|free| {
            // The extents on both sides of the border become one.
            let second = free.remove(&key::free(GROUP_BLOCKS_MIN)[..]).unwrap();
            let second = u64::from_le_bytes(second[..].try_into().unwrap());
            let mut first = free.last_entry().unwrap();
            let count = u64::from_le_bytes(first.get()[..].try_into().unwrap());
            first.insert((count + second).to_le_bytes().into());
        });
        let built = image.build();
        let start = built.superblock.roots[TreeId::Free as usize].unwrap().pointer.block + 4;
        let kind = FindingKind::FreeExtentWrong { problem: FreeExtentProblem::CrossesGroups };
        (built, vec![(Location::blocks(start, TWO_GROUPS - start), kind)])
    }),
    plant("free extents that overlap", Repaired, || {
        let built = sample(|image| {
            image.change_free = Box::new(|free| {
                free.insert(key::free(SMALL - 5).into(), 5u64.to_le_bytes().into());
            });
        });
        let kind = FindingKind::FreeExtentWrong { problem: FreeExtentProblem::Overlaps };
        (built, vec![(Location::blocks(SMALL - 5, 5), kind)])
    }),
    plant("free extents that touch", Repaired, || {
        let built = sample(|image| {
            image.change_free = Box::new(|free| {
                let mut last = free.last_entry().unwrap();
                let count = u64::from_le_bytes(last.get()[..].try_into().unwrap());
                last.insert((count - 5).to_le_bytes().into());
                free.insert(key::free(SMALL - 5).into(), 5u64.to_le_bytes().into());
            });
        });
        let kind = FindingKind::FreeExtentWrong { problem: FreeExtentProblem::NotMerged };
        (built, vec![(Location::blocks(SMALL - 5, 5), kind)])
    }),
    plant("count of a group", Repaired, || {
        let built = sample(|image| image.change_free = Box::new(|free| add_to_count(free, 0, 4)));
        let counted = counted_free(&built);
        let kind = FindingKind::GroupCountWrong { group: 0, counted, recorded: counted + 4 };
        (built, vec![(Location::tree(TreeId::Free), kind)])
    }),
    plant("count of a group that is not there", Repaired, || {
        let built = sample(|image| {
            image.change_free = Box::new(|free| {
                free.insert(key::group(3).into(), 0u64.to_le_bytes().into());
            });
        });
        let kind = FindingKind::GroupUnknown { group: 3, groups: 1 };
        (built, vec![(Location::tree(TreeId::Free), kind)])
    }),
    // ---- inodes -------------------------------------------------------------------------
    plant("no root", Stays, || {
        let built = sample(|image| {
            image.trees[TreeId::Names as usize].retain(|key, _| key[7] != 1);
            image.trees[TreeId::Names as usize].clear();
            image.trees[TreeId::Inodes as usize].retain(|key, _| key[7] > 59);
            image.trees[TreeId::Extents as usize].clear();
            image.trees[TreeId::Xattrs as usize].clear();
            image.trees[TreeId::Orphans as usize].clear();
        });
        (built, vec![(Location::volume(), FindingKind::RootMissing)])
    }),
    plant("root of the wrong kind", Stays, || {
        let mut image = Image::empty(SMALL);
        image.inode(1, &InodeRecord { kind: FileKind::Fifo, nlink: 0, ..regular() });
        let kind = FindingKind::RootNotDirectory { kind: FileKind::Fifo };
        (image.build(), vec![(Location::inode(1), kind)])
    }),
    plant("count of blocks", Repaired, || {
        let built = sample(|image| image.change(2, |file| file.blocks = 1));
        let kind = FindingKind::BlocksWrong { counted: 9, recorded: 1 };
        (built, vec![(Location::inode(2), kind)])
    }),
    plant("size beyond all offsets", Stays, || {
        let built = sample(|image| image.change(2, |file| file.size = 1 << 63));
        (built, vec![(Location::inode(2), FindingKind::SizeTooLarge { size: 1 << 63 })])
    }),
    plant("content in two places", Stays, || {
        let built = sample(|image| {
            image.extent(4, 0, FILES_START + 2000, 1, ExtentFlags::empty());
            image.settle();
        });
        (built, vec![(Location::inode(4), FindingKind::InlineWithExtents)])
    }),
    plant("directory with extents", Stays, || {
        let built = sample(|image| {
            image.extent(3, 0, FILES_START + 2000, 1, ExtentFlags::empty());
            image.settle();
        });
        let kind = FindingKind::ExtentsOfWrongKind { kind: FileKind::Directory };
        (built, vec![(Location::inode(3), kind)])
    }),
    plant("extent without an inode", Repaired, || {
        let block = FILES_START + 2000;
        let built = sample(|image| {
            image.extent(10, 6, block, 2, ExtentFlags::empty());
            image.extent(1 << 40, 0, block + 5, 1, ExtentFlags::empty());
        });
        let kind = FindingKind::ExtentWithoutInode { file_block: 6, block, count: 2 };
        let last = FindingKind::ExtentWithoutInode { file_block: 0, block: block + 5, count: 1 };
        (built, vec![(Location::inode(10), kind), (Location::inode(1 << 40), last)])
    }),
    plant("extent outside the volume", Stays, || {
        wrong_extent(2, 20, SMALL - 1, 2, ExtentProblem::Outside)
    }),
    plant("extents that overlap in the file", Stays, || {
        wrong_extent(2, 10, FILES_START + 2000, 2, ExtentProblem::Overlaps)
    }),
    plant("extent behind the largest file", Stays, || {
        wrong_extent(2, 1 << 51, FILES_START + 2000, 2, ExtentProblem::TooFar)
    }),
    plant("extent longer than the volume", Stays, || {
        wrong_extent(2, 20, FILES_START, u32::MAX, ExtentProblem::Outside)
    }),
    plant("extent marked shared", Repaired, || {
        let built = sample(|image| image.extent(2, 4, FILES_START + 10, 2, ExtentFlags::SHARED));
        (built, vec![(Location::inode(2), FindingKind::SharedUnexpected { file_block: 4 })])
    }),
    plant("sealed file with a hole", Harmless, || {
        let built = sample(|image| image.change(2, |file| file.flags = InodeFlags::SEALED));
        // Blocks 6 and 7 are a hole.
        (built, vec![(Location::inode(2), FindingKind::SealedMapIncomplete { file_block: 6 })])
    }),
    plant("symbolic link to nowhere", Stays, || {
        let built = sample(|image| {
            image.change(5, |link| {
                link.inline = None;
                link.size = 0;
            });
        });
        (built, vec![(Location::inode(5), FindingKind::SymlinkWithoutTarget)])
    }),
    plant("attribute without an inode", Repaired, || {
        let built = sample(|image| image.xattr(9, b"user.lost", 0, b"x"));
        (built, vec![(Location::xattr(9, b"user.lost"), FindingKind::XattrWithoutInode)])
    }),
    plant("attribute with a gap", Stays, || {
        let built = sample(|image| image.xattr(2, b"user.one", 3, b"x"));
        let problem = XattrProblem::Gap { piece: 3, expected: 2 };
        (built, vec![(Location::xattr(2, b"user.one"), FindingKind::XattrWrong { problem })])
    }),
    plant("orphan without an inode", Repaired, || {
        let built = sample(|image| {
            image.put(TreeId::Orphans, &key::inode(9), &[]);
            image.put(TreeId::Orphans, &key::inode(1 << 30), &[]);
        });
        (
            built,
            vec![
                (Location::inode(9), FindingKind::OrphanWithoutInode),
                (Location::inode(1 << 30), FindingKind::OrphanWithoutInode),
            ],
        )
    }),
    plant("nameless inode that is no orphan", Repaired, || {
        let built = sample(|image| image.delete(TreeId::Orphans, &key::inode(6)));
        (built, vec![(Location::inode(6), FindingKind::OrphanMissing)])
    }),
    // ---- names --------------------------------------------------------------------------
    plant("name of nothing", Repaired, || {
        let built = sample(|image| {
            let record = NameRecord { ino: 99, kind: FileKind::Regular };
            image.put(TreeId::Names, &name_key(3, b"gone"), &record.encode());
            image.change(3, |directory| directory.size += 1);
        });
        (built, vec![(Location::name(3, b"gone"), FindingKind::NameDangling { ino: 99 })])
    }),
    plant("name in a file", Repaired, || {
        let built = sample(|image| {
            image.name(4, b"inside", 2);
        });
        let kind = FindingKind::NameOutsideDirectory { ino: 2 };
        (built, vec![(Location::name(4, b"inside"), kind)])
    }),
    plant("name in a directory that is not there", Repaired, || {
        let built = sample(|image| image.name(11, b"inside", 2));
        let kind = FindingKind::NameOutsideDirectory { ino: 2 };
        (built, vec![(Location::name(11, b"inside"), kind)])
    }),
    plant("name at the wrong hash", Repaired, || {
        let built = sample(|image| {
            image.delete(TreeId::Names, &name_key(3, b"third"));
            let record = NameRecord { ino: 2, kind: FileKind::Regular };
            image.put(TreeId::Names, &key::name(3, 16, b"third"), &record.encode());
        });
        let expected = name_hash(super::image::SEED, b"third");
        let kind = FindingKind::NameHashWrong { recorded: 16, expected };
        (built, vec![(Location::name(3, b"third"), kind)])
    }),
    plant("name at the wrong hash, beside the right one", Stays, || {
        let built = sample(|image| {
            let record = NameRecord { ino: 2, kind: FileKind::Regular };
            image.put(TreeId::Names, &key::name(3, 16, b"third"), &record.encode());
            image.settle();
        });
        let expected = name_hash(super::image::SEED, b"third");
        let kind = FindingKind::NameHashWrong { recorded: 16, expected };
        (built, vec![(Location::name(3, b"third"), kind)])
    }),
    plant("kind of a file in a name", Repaired, || {
        let built = sample(|image| {
            let record = NameRecord { ino: 2, kind: FileKind::Socket };
            image.put(TreeId::Names, &name_key(3, b"third"), &record.encode());
        });
        let (recorded, actual) = (FileKind::Socket, FileKind::Regular);
        let kind = FindingKind::NameKindWrong { ino: 2, recorded, actual };
        (built, vec![(Location::name(3, b"third"), kind)])
    }),
    plant("name with a slash", Stays, || wrong_name(b"a/b", NameProblem::Byte)),
    plant("name that is reserved", Stays, || wrong_name(b"..", NameProblem::Reserved)),
    plant("name that is too long", Stays, || wrong_name(&[b'x'; 256], NameProblem::TooLong)),
    plant("link count of a file", Repaired, || {
        let built = sample(|image| image.change(2, |file| file.nlink = 1));
        let kind = FindingKind::LinkCountWrong { recorded: 1, counted: 3 };
        (built, vec![(Location::inode(2), kind)])
    }),
    plant("link count of a directory", Repaired, || {
        let built = sample(|image| image.change(3, |directory| directory.nlink = 2));
        let kind = FindingKind::LinkCountWrong { recorded: 2, counted: 3 };
        (built, vec![(Location::inode(3), kind)])
    }),
    plant("file that lost its name", Repaired, || {
        let built = sample(|image| {
            image.delete(TreeId::Names, &name_key(3, b"small"));
            image.change(3, |directory| directory.size -= 1);
        });
        (built, vec![(Location::inode(4), FindingKind::Nameless { recorded: 1 })])
    }),
    plant("directory that lost its name", Repaired, || {
        let built = sample(|image| {
            image.delete(TreeId::Names, &name_key(1, b"dir"));
            image.change(1, |root| {
                root.size -= 1;
                root.nlink -= 1;
            });
        });
        (built, vec![(Location::inode(3), FindingKind::Nameless { recorded: 3 })])
    }),
    plant("size of a directory", Repaired, || {
        let built = sample(|image| image.change(8, |directory| directory.size = 41));
        let kind = FindingKind::DirectorySizeWrong { counted: 40, recorded: 41 };
        (built, vec![(Location::inode(8), kind)])
    }),
    plant("parent of a directory", Repaired, || {
        let built = sample(|image| image.change(7, |directory| directory.parent = 8));
        let kind = FindingKind::DirectoryParentWrong { recorded: 8, actual: 3 };
        (built, vec![(Location::inode(7), kind)])
    }),
    plant("parent of the root", Repaired, || {
        let built = sample(|image| image.change(1, |root| root.parent = 3));
        let kind = FindingKind::DirectoryParentWrong { recorded: 3, actual: 1 };
        (built, vec![(Location::inode(1), kind)])
    }),
    plant("directory with two names", Stays, || {
        let built = sample(|image| {
            image.name(1, b"again", 7);
            image.settle();
        });
        let kind = FindingKind::DirectoryNamesWrong { counted: 2, expected: 1 };
        (built, vec![(Location::inode(7), kind)])
    }),
    plant("root with a name", Stays, || {
        let built = sample(|image| {
            image.name(7, b"root", 1);
            image.settle();
        });
        let kind = FindingKind::DirectoryNamesWrong { counted: 1, expected: 0 };
        (built, vec![(Location::inode(1), kind)])
    }),
    plant("directory inside itself", Stays, || {
        // /dir moves into /dir/sub.
        let built = sample(|image| {
            image.delete(TreeId::Names, &name_key(1, b"dir"));
            image.name(7, b"dir", 3);
            image.change(3, |directory| directory.parent = 7);
            image.settle();
        });
        (built, vec![(Location::inode(3), FindingKind::DirectoryCycle)])
    }),
];

fn counted_free(built: &Built) -> u64 {
    run(&built.device, false).unwrap().1.blocks_free
}

fn add_to_count(free: &mut super::image::Entries, group: u32, add: u64) {
    let count = free.get_mut(&key::group(group)[..]).unwrap();
    let value = u64::from_le_bytes(count[..].try_into().unwrap());
    *count = (value + add).to_le_bytes().into();
}

fn free_extent(
    block: u64,
    count: u64,
    problem: FreeExtentProblem,
) -> (Built, Vec<(Location, FindingKind)>) {
    let built = sample(|image| {
        image.change_free = Box::new(move |free| {
            free.insert(key::free(block).into(), count.to_le_bytes().into());
        });
    });
    (built, vec![(Location::blocks(block, count), FindingKind::FreeExtentWrong { problem })])
}

fn wrong_extent(
    ino: u64,
    file_block: u64,
    block: u64,
    count: u32,
    problem: ExtentProblem,
) -> (Built, Vec<(Location, FindingKind)>) {
    let built = sample(|image| {
        let extent = ExtentRecord { block, count, flags: ExtentFlags::empty() };
        image.put(TreeId::Extents, &key::extent(ino, file_block), &extent.encode());
        image.settle();
    });
    let count = u64::from(count);
    let kind = FindingKind::ExtentWrong { file_block, block, count, problem };
    (built, vec![(Location::inode(ino), kind)])
}

fn wrong_name(name: &'static [u8], problem: NameProblem) -> (Built, Vec<(Location, FindingKind)>) {
    let built = sample(|image| {
        image.name(3, name, 2);
        image.settle();
    });
    (built, vec![(Location::name(3, name), FindingKind::NameWrong { problem })])
}

/// The first of two xattr leaves ends with a key that belongs into the second.
fn misplaced_key() -> Built {
    let mut image = Image::sample(SMALL);
    image.leaf_entries = 2;
    let built = image.build();
    let leaf = built.level(TreeId::Xattrs, 0)[0];
    let entries: Vec<(Vec<u8>, Vec<u8>)> = image.trees[TreeId::Xattrs as usize]
        .iter()
        .take(2)
        .map(|(key, value)| (key.clone(), value.clone()))
        .chain([(key::xattr(3, b"user.zzz", 0), b"x".to_vec())])
        .collect();
    let (page, pointer) = node_page(TreeId::Xattrs, 0, &entries, leaf.block, leaf.generation);
    built.device.write_at(leaf.block * BLOCK_BYTES, &page[..]).unwrap();
    let root = built.superblock.roots[TreeId::Xattrs as usize].unwrap();
    let second = built.level(TreeId::Xattrs, 0)[1];
    let lower = image.trees[TreeId::Xattrs as usize].keys().nth(2).unwrap().clone();
    let cells = [(Vec::new(), pointer), (lower, second)].map(|(k, p)| (k, p.encode().to_vec()));
    let (page, pointer) = node_page(TreeId::Xattrs, 1, &cells, root.pointer.block, 9);
    built.device.write_at(root.pointer.block * BLOCK_BYTES, &page[..]).unwrap();
    let mut superblock = built.superblock.clone();
    let root = superblock.roots[TreeId::Xattrs as usize].as_mut().unwrap();
    root.pointer = pointer;
    root.count += 1;
    let addr = superblock.copy_block() * BLOCK_BYTES;
    built.device.write_at(addr, &superblock.encode()).unwrap();
    built
}

#[test]
fn stream_ascends_even_over_leaves_that_do_not() {
    let built = misplaced_key();
    let volume = crate::volume::Volume::open(&built.device).unwrap();
    let mut ignore = |_: &Finding| {};
    let mut reporter = crate::report::Reporter::new(&mut ignore);
    let (refused, nothing) = Default::default();
    let mut stream =
        crate::stream::Stream::new(&volume, TreeId::Xattrs, &refused, &nothing, &mut reporter);
    let mut keys = Vec::new();
    while let Some((key, _)) = stream.current() {
        keys.push(key.to_vec());
        stream.advance(&mut reporter);
    }
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    assert_eq!(keys.len(), 3);
}

/// Texts of damage are not compared: the format's decoders have tests of their own.
fn without_texts(kind: &FindingKind) -> FindingKind {
    match kind.clone() {
        FindingKind::NodeDamaged { .. } => FindingKind::NodeDamaged { problem: problem("") },
        FindingKind::EntryDamaged { .. } => FindingKind::EntryDamaged { problem: problem("") },
        FindingKind::RecordUndecodable { .. } => {
            FindingKind::RecordUndecodable { problem: problem("") }
        }
        FindingKind::SuperblockCopyDamaged { copy, .. } => {
            FindingKind::SuperblockCopyDamaged { copy, problem: problem("") }
        }
        kind => kind,
    }
}

fn summary(findings: &[Finding]) -> Vec<(Location, FindingKind)> {
    findings.iter().map(|it| (it.at.clone(), without_texts(&it.kind))).collect()
}

#[test]
fn planted_defect_is_found_and_nothing_else() {
    let mut failed = Vec::new();
    for plant in PLANTS {
        let (built, expected) = (plant.make)();
        let (findings, report) = run(&built.device, false).unwrap();
        let sorted = |mut found: Vec<(Location, FindingKind)>| {
            found.sort_by_key(|found| format!("{found:?}"));
            found
        };
        if sorted(summary(&findings)) != sorted(expected.clone()) {
            let expected = expected.into_iter().map(|(at, kind)| Finding::new(at, kind));
            let expected: Vec<_> = expected.collect();
            failed.push((plant.name, text(&findings), text(&expected)));
            continue;
        }
        let exit_code = if plant.fate == Harmless { 0 } else { 4 };
        assert_eq!(report.exit_code(), exit_code, "{}", plant.name);
        let repairable = |finding: &Finding| finding.repairable;
        match plant.fate {
            Repaired => assert!(findings.iter().all(repairable), "{}", plant.name),
            Stays => {}
            Harmless => assert_eq!(report.errors + report.fatal, 0, "{}", plant.name),
        }
    }
    assert!(failed.is_empty(), "found, expected: {failed:#?}");
}

#[test]
fn repair_removes_what_it_says_and_nothing_else() {
    for plant in PLANTS {
        let (built, _) = (plant.make)();
        let before = run(&built.device, false).unwrap().0;
        let (_, report) = run(&built.device, true).unwrap();
        let (after, _) = run(&built.device, false).unwrap();
        match plant.fate {
            Repaired => {
                assert_eq!(text(&after), [""; 0], "{}", plant.name);
                assert_eq!(report.exit_code(), 1, "{}", plant.name);
                assert_eq!(report.repair_refused, None, "{}", plant.name);
            }
            Stays => {
                let left = before.iter().filter(|it| !it.repairable).map(|it| &it.kind);
                for kind in left {
                    assert!(after.iter().any(|it| it.kind == *kind), "{}: {kind}", plant.name);
                }
                assert_eq!(report.exit_code(), 4, "{}", plant.name);
            }
            Harmless => assert_eq!(report.exit_code(), 0, "{}", plant.name),
        }
    }
}

#[test]
fn every_kind_is_planted() {
    let source = include_str!("../finding/kind.rs");
    let list = source.split("pub enum FindingKind {").nth(1).unwrap();
    let list = list.split("\n}\n").next().unwrap();
    let variants: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(|line| line.split([' ', ',', '{']).next().unwrap())
        .collect();
    assert!(variants.len() > 40, "{variants:?}");
    let planted: BTreeSet<String> = PLANTS
        .iter()
        .flat_map(|plant| (plant.make)().1)
        .map(|(_, kind)| format!("{kind:?}").split([' ', '{']).next().unwrap().to_owned())
        .collect();
    let missing: Vec<_> = variants.iter().filter(|name| !planted.contains(**name)).collect();
    assert!(missing.is_empty(), "kinds without a plant: {missing:?}");
}

#[test]
fn two_records_at_one_place_are_told_apart_by_their_chain() {
    // A record with the right number but another past is not replayed.
    let mut image = Image::sample(SMALL);
    let put = |size| {
        let root = InodeRecord { size, ..image.record(1) };
        LogRecord { flushed: 40, ..LogRecord::default() }.put(
            TreeId::Inodes,
            &key::inode(1),
            &root.encode(),
        )
    };
    let record = put(77);
    image.log = vec![record];
    let built = image.build();
    assert_eq!(run(&built.device, false).unwrap().1.exit_code(), 4);
    let mut superblock = built.superblock.clone();
    superblock.tail.checksum ^= 1;
    let addr = superblock.copy_block() * BLOCK_BYTES;
    built.device.write_at(addr, &superblock.encode()).unwrap();
    assert_eq!(run(&built.device, false).unwrap().1.exit_code(), 0);
    write_ring(&built.device, 0, &[0; 512]);
    assert_eq!(run(&built.device, false).unwrap().1.exit_code(), 0);
}

#[test]
fn finding_names_the_paths_of_what_it_speaks_of() {
    let built = sample(|image| {
        image.extent(21, 1, FILES_START + 2, 2, ExtentFlags::empty());
        image.settle();
        image.change(7, |directory| directory.parent = 8);
        image.change(6, |nameless| nameless.blocks = 8);
    });
    let mut shown = text(&run(&built.device, false).unwrap().0);
    shown.sort();
    let [twice, nameless, parent] = shown.as_slice() else { panic!("{shown:#?}") };
    assert!(twice.contains("(inode 2 is \"/file\") (inode 21 is \"/many/f21\")"), "{twice}");
    assert!(parent.contains("(inode 7 is \"/dir/sub\")"), "{parent}");
    assert!(!nameless.contains(" is \""), "{nameless}");
}
