//! Fixes where the log ends, before any block is reused.
//!
//! Rule *recovery-proof*, as a mount keeps it: what was judged never to have finished must not come
//! back after a cut, so its place in the chain is taken by a record that says "flushed up to here".
//!
//! That record carries an edit that changes nothing: without it, it could be the very record whose
//! place it takes, and what lies behind that one would chain on again.
//!
//! ```text
//!   41 empty, lost    42 there       the log ends with 40
//!   41 empty, again   42 there       the same checksum: 42 is back
//! ```

use crate::error::{Error, Result};
use crate::log::Strays;
use crate::volume::Volume;
use ashlar_device::{AlignedBuf, Finish, Write};
use ashlar_format::key::{self, TreeId};
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::log::{Edit, RecordHeader, encode_record};
use ashlar_format::superblock::LogTail;

/// Writes the proof record behind `end`; returns the tail of a checkpoint that contains the log.
///
/// # Errors
/// [`Error::LogFull`] when there is no room, device failures.
pub(super) fn fix(volume: &Volume<'_>, end: LogTail, strays: Strays) -> Result<LogTail> {
    let superblock = &volume.superblock;
    let sector = volume.device.topology().sector;
    let position =
        end.position.checked_next_multiple_of(u64::from(sector)).ok_or(Error::LogFull)?;
    let header = RecordHeader {
        lsn: end.lsn.checked_add(1).ok_or(Error::LogFull)?,
        flushed_lsn: end.lsn,
        position,
        previous_checksum: end.checksum,
        checkpoint: 0,
        sector,
        unfinished: false,
    };
    let mut edits = Vec::new();
    // There is no inode 0, and nothing else logs this.
    Edit::Delete { tree: TreeId::Orphans, key: &key::inode(0) }.encode(&mut edits);
    let (bytes, checksum) = encode_record(&header, &superblock.uuid, &edits, &[], &[]);
    let behind = position.checked_add(bytes.len() as u64).ok_or(Error::LogFull)?;
    if behind.saturating_sub(superblock.tail.position) > volume.log_bytes() {
        return Err(Error::LogFull);
    }
    // What was read back may not be on stable media yet: see recovery.
    volume.device.flush()?;
    let buf = AlignedBuf::from_slice(&bytes);
    // One sector, and the log's size is a multiple of it: the record does not wrap.
    let addr = superblock.log_start * BLOCK_BYTES + position % volume.log_bytes();
    volume.device.submit(&[Write { addr, bytes: &buf }], Finish::Flush)?;
    // Numbers of records that are out of reach are passed over, so that none seems missing.
    let lsn = header.lsn.max(strays.lsn).max(superblock.flushed_lsn);
    Ok(LogTail { position: behind, lsn, checksum })
}
