//! The records of the log, and what a mount makes of each.

use crate::error::Result;
use crate::log::{Chain, data_matches};
use crate::print::EditLine;
use crate::volume::Volume;
use ashlar_format::log::Record;
use std::io::Write;

pub(super) fn dump(volume: &Volume<'_>, out: &mut dyn Write) -> Result<()> {
    let chain = Chain::read(volume)?;
    let tail = volume.superblock.tail;
    writeln!(
        out,
        "tail position {} lsn {} checksum {:#010x}",
        tail.position, tail.lsn, tail.checksum
    )?;
    writeln!(out, "records up to {} are known flushed", chain.proven)?;
    let mut is_over = false;
    for index in 0..chain.len() {
        let (record, _) = chain.record(index)?;
        let fate = fate(volume, &record, chain.proven, &mut is_over)?;
        show(&record, fate, out)?;
    }
    Ok(())
}

/// What a mount does with a record; sets `is_over` at the first that does not count.
fn fate(
    volume: &Volume<'_>,
    record: &Record<'_>,
    proven: u64,
    is_over: &mut bool,
) -> Result<&'static str> {
    let is_sound = match record.sums() {
        Ok(sums) if record.header.lsn > proven => data_matches(volume, &sums)?,
        Ok(_) => true,
        Err(_) => false,
    };
    *is_over |= !is_sound || record.edits().any(|edit| edit.is_err());
    Ok(if *is_over {
        "left out: it never finished"
    } else if record.header.checkpoint > volume.superblock.generation {
        "passed over: its checkpoint was not reached"
    } else {
        "replayed"
    })
}

fn show(record: &Record<'_>, fate: &str, out: &mut dyn Write) -> Result<()> {
    let header = &record.header;
    writeln!(
        out,
        "record {} at {} of {} bytes, flushed {}, {fate}",
        header.lsn, header.position, record.padded_length, header.flushed_lsn
    )?;
    if header.checkpoint != 0 {
        writeln!(out, "  of checkpoint {}", header.checkpoint)?;
    }
    for edit in record.edits() {
        match edit {
            Ok(edit) => writeln!(out, "  {}", EditLine(edit))?,
            Err(damage) => writeln!(out, "  DAMAGED: {}", damage.problem)?,
        }
    }
    match record.sums() {
        Ok(groups) => {
            for group in groups {
                let (count, last) = (group.sums.len(), group.last_bytes);
                let block = group.block;
                writeln!(out, "  sums of {count} blocks at {block}, {last} bytes of the last")?;
            }
        }
        Err(damage) => writeln!(out, "  DAMAGED: {}", damage.problem)?,
    }
    Ok(())
}
