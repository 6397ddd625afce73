//! Both superblock copies.

use crate::error::Result;
use crate::print::{Escaped, Pointer, Uuid};
use crate::volume::read_copies;
use ashlar_device::Device;
use ashlar_format::key::TreeId;
use ashlar_format::superblock::Superblock;
use std::io::Write;

pub(super) fn dump(device: &dyn Device, out: &mut dyn Write) -> Result<()> {
    let copies = read_copies(device)?;
    let newest = copies.iter().flatten().map(|copy| copy.generation).max();
    for (number, copy) in copies.iter().enumerate() {
        match copy {
            Ok(superblock) => {
                let counts = Some(superblock.generation) == newest;
                writeln!(out, "copy {number}{}", if counts { " (this one counts)" } else { "" })?;
                show(superblock, out)?;
            }
            Err(damage) => writeln!(out, "copy {number}: DAMAGED: {}", damage.problem)?,
        }
    }
    Ok(())
}

fn show(superblock: &Superblock, out: &mut dyn Write) -> Result<()> {
    let Superblock { generation, block_count, group_blocks, log_start, log_blocks, .. } =
        superblock;
    writeln!(out, "  uuid          {}", Uuid(&superblock.uuid))?;
    writeln!(out, "  label         {}", Escaped(superblock.label.as_bytes()))?;
    writeln!(
        out,
        "  features      compat {:#x} ro_compat {:#x} incompat {:#x}",
        superblock.compat.bits(),
        superblock.ro_compat,
        superblock.incompat
    )?;
    writeln!(out, "  generation    {generation}")?;
    writeln!(out, "  blocks        {block_count} in groups of {group_blocks}")?;
    writeln!(out, "  log           {log_blocks} blocks at {log_start}")?;
    writeln!(
        out,
        "  tail          position {} lsn {} checksum {:#010x}",
        superblock.tail.position, superblock.tail.lsn, superblock.tail.checksum
    )?;
    writeln!(out, "  flushed lsn   {}", superblock.flushed_lsn)?;
    writeln!(out, "  state         {}", if superblock.clean { "clean" } else { "in use" })?;
    writeln!(out, "  next inode    {}", superblock.next_ino)?;
    writeln!(out, "  hash seed     {:#018x}", superblock.hash_seed)?;
    writeln!(out, "  created       {}", superblock.created)?;
    for (tree, root) in TreeId::ALL.iter().zip(&superblock.roots) {
        match root {
            Some(root) => writeln!(
                out,
                "  {:13} level {} entries {} {}",
                tree.name(),
                root.level,
                root.count,
                Pointer(root.pointer)
            )?,
            None => writeln!(out, "  {:13} empty", tree.name())?,
        }
    }
    Ok(())
}
