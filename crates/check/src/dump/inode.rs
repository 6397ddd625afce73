//! An inode with all that belongs to it, and the way from a path to its inode.

use super::View;
use crate::error::{Error, Result};
use crate::lookup;
use crate::print::{Bytes, Escaped, ExtentState, Time, kind_name};
use crate::table::ROOT_INO;
use ashlar_format::checksum::name_hash;
use ashlar_format::extent::ExtentRecord;
use ashlar_format::inode::{FileKind, InodeRecord};
use ashlar_format::key::{self, TreeId};
use ashlar_format::name::NameRecord;
use std::collections::BTreeMap;
use std::io::Write;

/// Components of a path shown at most: a cycle of directories has no end.
const PATH_DEPTH_MAX: usize = 4096;

/// Finds the inode that an absolute path leads to.
pub(super) fn resolve(view: &View<'_>, path: &[u8]) -> Result<u64> {
    let mut ino = ROOT_INO;
    for name in path.split(|byte| *byte == b'/') {
        ino = match name {
            b"" | b"." => ino,
            b".." => record(view, ino)?.parent,
            _ => child(view, ino, name)?
                .ok_or_else(|| Error::NotFound { what: format!("path {}", Escaped(path)) })?,
        };
    }
    Ok(ino)
}

fn child(view: &View<'_>, dir: u64, name: &[u8]) -> Result<Option<u64>> {
    let hash = name_hash(view.volume.superblock.hash_seed, name);
    let key = key::name(dir, hash, name);
    let overlay = &view.replay.overlays[TreeId::Names as usize];
    let value = lookup::get(view.volume, overlay, TreeId::Names, &key)?;
    Ok(value.map(|value| NameRecord::decode(&value)).transpose()?.map(|record| record.ino))
}

fn record(view: &View<'_>, ino: u64) -> Result<InodeRecord> {
    let overlay = &view.replay.overlays[TreeId::Inodes as usize];
    let value = lookup::get(view.volume, overlay, TreeId::Inodes, &key::inode(ino))?
        .ok_or_else(|| Error::NotFound { what: format!("inode {ino}") })?;
    Ok(InodeRecord::decode(&value)?)
}

pub(super) fn dump(view: &View<'_>, ino: u64, out: &mut dyn Write) -> Result<()> {
    let record = record(view, ino)?;
    writeln!(out, "inode {ino}: {}", kind_name(record.kind))?;
    for path in paths(view, ino, out)? {
        writeln!(out, "  path         {}", Escaped(&path))?;
    }
    show(&record, out)?;
    extents(view, ino, out)?;
    attributes(view, ino, out)
}

fn show(record: &InodeRecord, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "  permissions  {:04o}", record.permissions)?;
    writeln!(out, "  links        {}", record.nlink)?;
    writeln!(out, "  owner        {}:{}", record.uid, record.gid)?;
    writeln!(out, "  size         {}", record.size)?;
    writeln!(out, "  blocks       {}", record.blocks)?;
    if record.rdev != 0 {
        writeln!(out, "  device       {:#x}", record.rdev)?;
    }
    writeln!(out, "  atime        {}", Time(record.atime))?;
    writeln!(out, "  mtime        {}", Time(record.mtime))?;
    writeln!(out, "  ctime        {}", Time(record.ctime))?;
    writeln!(out, "  btime        {}", Time(record.btime))?;
    writeln!(out, "  flags        {:?}", record.flags)?;
    writeln!(out, "  project      {}", record.project)?;
    if record.kind == FileKind::Directory {
        writeln!(out, "  parent       {}", record.parent)?;
    }
    writeln!(out, "  generation   {} map {}", record.generation, record.map_generation)?;
    match (&record.inline, record.kind) {
        (Some(target), FileKind::Symlink) => writeln!(out, "  target       {}", Escaped(target))?,
        (Some(content), _) => writeln!(out, "  inline       {}", Bytes(content))?,
        (None, _) => {}
    }
    Ok(())
}

fn extents(view: &View<'_>, ino: u64, out: &mut dyn Write) -> Result<()> {
    view.for_each(TreeId::Extents, out, &mut |key, value, out| {
        if let Ok((owner, file_block)) = key::decode_extent(key)
            && owner == ino
        {
            match ExtentRecord::decode(value) {
                Ok(extent) => {
                    let (block, count) = (extent.block, extent.count);
                    let state = ExtentState(extent.flags);
                    writeln!(out, "  extent       {file_block}+{count} at {block}{state}")?;
                }
                Err(damage) => writeln!(out, "  extent       DAMAGED: {}", damage.problem)?,
            }
        }
        Ok(())
    })
}

fn attributes(view: &View<'_>, ino: u64, out: &mut dyn Write) -> Result<()> {
    view.for_each(TreeId::Xattrs, out, &mut |key, value, out| {
        if let Ok((owner, name, piece)) = key::decode_xattr(key)
            && owner == ino
        {
            writeln!(out, "  attribute    {} piece {piece}: {}", Escaped(name), Bytes(value))?;
        }
        Ok(())
    })
}

/// All paths of an inode, by one walk over the names.
fn paths(view: &View<'_>, ino: u64, out: &mut dyn Write) -> Result<Vec<Vec<u8>>> {
    let mut own = Vec::new();
    let mut directories: BTreeMap<u64, (u64, Vec<u8>)> = BTreeMap::new();
    view.for_each(TreeId::Names, out, &mut |key, value, _| {
        if let (Ok((dir, _, name)), Ok(record)) = (key::decode_name(key), NameRecord::decode(value))
        {
            if record.ino == ino {
                own.push((dir, name.to_vec()));
            }
            if record.kind == FileKind::Directory {
                directories.entry(record.ino).or_insert_with(|| (dir, name.to_vec()));
            }
        }
        Ok(())
    })?;
    if ino == ROOT_INO {
        return Ok(vec![b"/".to_vec()]);
    }
    Ok(own.into_iter().map(|(dir, name)| join(&directories, dir, name)).collect())
}

/// Puts the names of the directories in front; `?` where there is no way up.
fn join(directories: &BTreeMap<u64, (u64, Vec<u8>)>, dir: u64, name: Vec<u8>) -> Vec<u8> {
    let mut names = vec![name];
    let mut at = dir;
    while at != ROOT_INO {
        let Some((parent, name)) = directories.get(&at).filter(|_| names.len() < PATH_DEPTH_MAX)
        else {
            names.push(b"?".to_vec());
            break;
        };
        names.push(name.clone());
        at = *parent;
    }
    names.iter().rev().fold(Vec::new(), |mut path, name| {
        path.push(b'/');
        path.extend_from_slice(name);
        path
    })
}
