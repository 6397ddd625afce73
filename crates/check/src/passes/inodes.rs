//! Second pass: inodes, extents, xattrs and orphans side by side, by inode number.
//!
//! ```text
//!   inodes    1     2           7
//!   extents         2 2 2    5  7        5: an extent without an inode
//!   xattrs    1                 7
//!   orphans                     7
//! ```
//!
//! Where the inodes tree has a hole, nothing is said about what seems to lack its inode.

use super::extents::{self, FileMap};
use super::xattrs::Attribute;
use crate::blocks::BlockSet;
use crate::context::Context;
use crate::finding::{FindingKind, Location};
use crate::stream::Stream;
use crate::table::{Directory, Inode, ROOT_INO, Table};
use ashlar_format::extent::ExtentRecord;
use ashlar_format::inode::{FileKind, InodeFlags, InodeRecord};
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::FILE_BYTES_MAX;

/// Runs of blocks owned twice that are looked into; more are only counted.
pub(crate) const CONFLICTS_MAX: usize = 1000;

/// What the pass found out.
#[derive(Debug, Default)]
pub(crate) struct InodePass {
    pub(crate) table: Table,
    /// Runs that were owned already when an extent claimed them.
    pub(crate) conflicts: Vec<(u64, u64)>,
    /// Conflicts beyond [`CONFLICTS_MAX`].
    pub(crate) more_conflicts: u64,
}

impl InodePass {
    /// Runs the pass; adds the blocks of extents to `owned`.
    pub(crate) fn run(context: &mut Context<'_, '_>, owned: &mut BlockSet) -> Self {
        let mut inodes = context.stream(TreeId::Inodes);
        let mut join = Join {
            extents: context.stream(TreeId::Extents),
            xattrs: context.stream(TreeId::Xattrs),
            orphans: context.stream(TreeId::Orphans),
            attribute: None,
            context,
            owned,
            pass: Self::default(),
        };
        while let Some(ino) = join.number(&mut inodes) {
            join.without_inode(Some(ino));
            join.inode(ino, &inodes);
            inodes.advance(join.context.reporter);
            join.context.tick();
        }
        join.without_inode(None);
        let Join { extents, xattrs, orphans, pass, .. } = join;
        for stream in [&inodes, &extents, &xattrs, &orphans] {
            context.check_count(stream);
        }
        check_refs(context);
        pass.check_next_ino(context);
        pass
    }

    fn check_next_ino(&self, context: &mut Context<'_, '_>) {
        let highest = self.table.inodes.last().map_or(0, |inode| inode.ino);
        let next_ino = context.replay.next_ino;
        if highest >= next_ino {
            let kind = FindingKind::NextInodeTooLow { next_ino, highest };
            context.reporter.add(Location::volume(), kind);
        }
    }
}

/// Nothing is shared in this version, so the refs tree is empty.
fn check_refs(context: &mut Context<'_, '_>) {
    let mut refs = context.stream(TreeId::Refs);
    while let Some((key, _)) = refs.current() {
        context.reporter.add(Location::entry(TreeId::Refs, key), FindingKind::RefUnexpected);
        context.fixes.delete(TreeId::Refs, key);
        refs.advance(context.reporter);
    }
    context.check_count(&refs);
}

/// The streams that run beside the inodes.
struct Join<'j, 'a, 'r> {
    extents: Stream<'a>,
    xattrs: Stream<'a>,
    orphans: Stream<'a>,
    attribute: Option<Attribute>,
    context: &'j mut Context<'a, 'r>,
    owned: &'j mut BlockSet,
    pass: InodePass,
}

impl<'a> Join<'_, 'a, '_> {
    /// Inode number of a stream's entry; entries whose key does not decode are passed over.
    fn number(&mut self, stream: &mut Stream<'a>) -> Option<u64> {
        number(stream, self.context)
    }

    /// One inode, with all that the other trees say of it.
    fn inode(&mut self, ino: u64, inodes: &Stream<'_>) {
        let Some((key, value)) = inodes.current() else { return };
        let record = match InodeRecord::decode(value) {
            Ok(_) if ino == 0 => Err("inode number 0".to_owned()),
            Ok(record) => Ok(record),
            Err(damage) => Err(damage.problem),
        };
        let map = self.extents_of(ino);
        self.xattrs_of(ino);
        let orphan = self.orphan(ino);
        let (kind, nlink) = match &record {
            Ok(record) => (Some(record.kind), record.nlink),
            Err(_) => (None, 0),
        };
        self.pass.table.inodes.push(Inode { ino, nlink, names: 0, kind, orphan });
        match record {
            Ok(record) => self.check_record(ino, &record, &map),
            Err(problem) => {
                let at = Location::entry(TreeId::Inodes, key);
                self.context.reporter.add(at, FindingKind::EntryDamaged { problem });
            }
        }
    }

    fn check_record(&mut self, ino: u64, record: &InodeRecord, map: &FileMap) {
        let counted = &mut self.context.reporter.report;
        match record.kind {
            FileKind::Regular => counted.files += 1,
            FileKind::Directory => counted.directories += 1,
            _ => counted.others += 1,
        }
        if record.kind == FileKind::Directory {
            self.pass.table.directories.push(Directory {
                ino,
                size: record.size,
                parent: record.parent,
                entries: 0,
                subdirectories: 0,
                removed: 0,
                found_parent: 0,
            });
        }
        let mut found = Vec::new();
        if record.kind != FileKind::Regular && map.extents > 0 {
            found.push(FindingKind::ExtentsOfWrongKind { kind: record.kind });
        }
        if record.kind == FileKind::Symlink && (record.size == 0 || record.inline.is_none()) {
            found.push(FindingKind::SymlinkWithoutTarget);
        }
        if record.kind == FileKind::Regular && record.inline.is_some() && map.extents > 0 {
            found.push(FindingKind::InlineWithExtents);
        }
        if record.size > FILE_BYTES_MAX {
            found.push(FindingKind::SizeTooLarge { size: record.size });
        }
        if ino == ROOT_INO && record.kind != FileKind::Directory {
            found.push(FindingKind::RootNotDirectory { kind: record.kind });
        }
        if self.context.reporter.is_complete(TreeId::Extents) {
            if map.blocks != record.blocks {
                let (counted, recorded) = (map.blocks, record.blocks);
                found.push(FindingKind::BlocksWrong { counted, recorded });
                self.context.fixes.patch(ino, |patch| patch.blocks = Some(counted));
            }
            if record.flags.contains(InodeFlags::SEALED)
                && record.inline.is_none()
                && let Some(file_block) = map.first_incomplete(record.size)
            {
                found.push(FindingKind::SealedMapIncomplete { file_block });
            }
        }
        for kind in found {
            self.context.reporter.add(Location::inode(ino), kind);
        }
    }

    // ---- the other trees ------------------------------------------------------------------

    /// Extents of `ino`, which is the lowest number that the stream may stand at.
    fn extents_of(&mut self, ino: u64) -> FileMap {
        let mut map = FileMap::default();
        while number(&mut self.extents, self.context) == Some(ino) {
            if let Some((file_block, extent)) = self.extent() {
                let in_data = self.claim(&extent);
                if let Some(problem) = map.add(file_block, &extent, in_data) {
                    let (at, kind) = extents::wrong(ino, file_block, &extent, problem);
                    self.context.reporter.add(at, kind);
                }
                if extents::is_shared(&extent) {
                    let kind = FindingKind::SharedUnexpected { file_block };
                    self.context.reporter.add(Location::inode(ino), kind);
                    self.context.fixes.unshare(key::extent(ino, file_block));
                }
            }
            self.extents.advance(self.context.reporter);
        }
        map
    }

    /// The current extent, if its value decodes.
    fn extent(&mut self) -> Option<(u64, ExtentRecord)> {
        let (key, value) = self.extents.current()?;
        let (_, file_block) = key::decode_extent(key).ok()?;
        match ExtentRecord::decode(value) {
            Ok(extent) => Some((file_block, extent)),
            Err(damage) => {
                let at = Location::entry(TreeId::Extents, key);
                self.context.damaged_entry(TreeId::Extents, at, damage.problem);
                None
            }
        }
    }

    /// Takes ownership of an extent's blocks; false when they are not there to be owned.
    fn claim(&mut self, extent: &ExtentRecord) -> bool {
        let (block, count) = (extent.block, u64::from(extent.count));
        if !self.context.volume.holds(block, count) {
            return false;
        }
        if self.owned.insert(block, count) > 0 {
            if self.pass.conflicts.len() < CONFLICTS_MAX {
                self.pass.conflicts.push((block, count));
            } else {
                self.pass.more_conflicts += 1;
            }
        }
        true
    }

    fn xattrs_of(&mut self, ino: u64) {
        while number(&mut self.xattrs, self.context) == Some(ino) {
            if let Some((key, value)) = self.xattrs.current()
                && let Ok((_, name, piece)) = key::decode_xattr(key)
            {
                let attribute = match self.attribute.take() {
                    Some(attribute) if attribute.is(ino, name) => attribute,
                    _ => Attribute::new(ino, name),
                };
                let attribute = self.attribute.insert(attribute);
                if let Some(problem) = attribute.add(piece, value.len()) {
                    let at = Location::xattr(ino, name);
                    self.context.reporter.add(at, FindingKind::XattrWrong { problem });
                }
            }
            self.xattrs.advance(self.context.reporter);
        }
    }

    fn orphan(&mut self, ino: u64) -> bool {
        let is_orphan = number(&mut self.orphans, self.context) == Some(ino);
        if is_orphan {
            self.context.reporter.report.orphans += 1;
            self.orphans.advance(self.context.reporter);
        }
        is_orphan
    }

    // ---- what has no inode ----------------------------------------------------------------

    /// Passes over what the other trees hold below inode `next`, or all that is left.
    fn without_inode(&mut self, next: Option<u64>) {
        let below = |ino: &u64| next.is_none_or(|next| *ino < next);
        let certain = self.context.reporter.is_complete(TreeId::Inodes);
        while let Some(found) = number(&mut self.extents, self.context).filter(below) {
            if let Some((file_block, extent)) = self.extent() {
                self.claim(&extent);
                if certain {
                    let (block, count) = (extent.block, u64::from(extent.count));
                    let kind = FindingKind::ExtentWithoutInode { file_block, block, count };
                    self.context.reporter.add(Location::inode(found), kind);
                    let key = key::extent(found, file_block);
                    self.context.fixes.delete(TreeId::Extents, &key);
                }
            }
            self.extents.advance(self.context.reporter);
        }
        while let Some(found) = number(&mut self.xattrs, self.context).filter(below) {
            if certain
                && let Some((key, _)) = self.xattrs.current()
                && let Ok((_, name, _)) = key::decode_xattr(key)
            {
                let at = Location::xattr(found, name);
                self.context.reporter.add(at, FindingKind::XattrWithoutInode);
                self.context.fixes.delete(TreeId::Xattrs, key);
            }
            self.xattrs.advance(self.context.reporter);
        }
        while let Some(found) = number(&mut self.orphans, self.context).filter(below) {
            if certain {
                let at = Location::inode(found);
                self.context.reporter.add(at, FindingKind::OrphanWithoutInode);
                self.context.fixes.delete(TreeId::Orphans, &key::inode(found));
            }
            self.orphans.advance(self.context.reporter);
        }
    }
}

/// Inode number of a stream's entry; entries whose key does not decode are reported and passed.
fn number(stream: &mut Stream<'_>, context: &mut Context<'_, '_>) -> Option<u64> {
    loop {
        let tree = stream.tree();
        let (key, _) = stream.current()?;
        let decoded = match tree {
            TreeId::Extents => key::decode_extent(key).map(|(ino, _)| ino),
            TreeId::Xattrs => key::decode_xattr(key).map(|(ino, ..)| ino),
            _ => key::decode_number(tree, key),
        };
        match decoded {
            Ok(ino) => return Some(ino),
            Err(damage) => {
                context.damaged_entry(tree, Location::entry(tree, key), damage.problem);
                stream.advance(context.reporter);
            }
        }
    }
}
