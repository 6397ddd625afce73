//! Recognises what must not be overwritten: other file systems, partition tables, volumes.
//!
//! Own tables of magic numbers, because the answer has to be the same wherever the command
//! runs. A false alarm costs a `--force`; a miss costs somebody's data, so two-byte magics count.

mod signatures;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use signatures::{SIGNATURES, Signature};

/// Bytes from the start that hold every signature at a fixed place.
const HEAD_BYTES: usize = 256 << 10;
/// Bytes from the end: the second copies of GPT and RAID.
const TAIL_BYTES: u64 = 128 << 10;

/// Names what lies on `file`, `size` bytes long; the most telling signature first.
///
/// # Errors
/// A failing read.
pub(crate) fn probe(file: &File, size: u64) -> io::Result<Option<&'static str>> {
    let head = read(file, 0, size.min(HEAD_BYTES as u64))?;
    for signature in SIGNATURES {
        if matches(signature, &head) {
            return Ok(Some(signature.name));
        }
    }
    if has_zfs_uberblock(&head) {
        return Ok(Some("a ZFS pool member"));
    }
    let tail_start = size.saturating_sub(TAIL_BYTES);
    let tail = read(file, tail_start, size - tail_start)?;
    if backup_gpt(&tail) {
        return Ok(Some("a GPT partition table (its copy at the end)"));
    }
    if raid_at_end(&tail) {
        return Ok(Some("a Linux RAID member"));
    }
    if has_boot_signature(&head) {
        return Ok(Some("a boot sector or MBR partition table"));
    }
    Ok(None)
}

/// Whether the file holds a byte other than zero. Holes are skipped without reading them.
///
/// # Errors
/// A failing read.
pub(crate) fn has_data(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    let mut buf = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < size {
        match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(data) => offset = data,
            // Only a hole is left.
            Err(rustix::io::Errno::NXIO) => return Ok(false),
            // A file system that cannot tell: read everything.
            Err(_) => {}
        }
        let count = file.read_at(&mut buf, offset)?;
        if count == 0 {
            break;
        }
        if buf[..count].iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
        offset += count as u64;
    }
    Ok(false)
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn matches(signature: &Signature, head: &[u8]) -> bool {
    let end = signature.offset + signature.magic.len();
    head.get(signature.offset..end) == Some(signature.magic)
}

/// A label holds a ring of uberblocks, 1 KiB or more apart, in its second half.
fn has_zfs_uberblock(head: &[u8]) -> bool {
    const MAGIC: u64 = 0x00ba_b10c;
    let ring = head.get(128 << 10..).unwrap_or_default();
    ring.chunks_exact(1024).any(|slot| {
        let Some(Ok(word)) = slot.get(..8).map(<[u8; 8]>::try_from) else { return false };
        u64::from_le_bytes(word) == MAGIC || u64::from_be_bytes(word) == MAGIC
    })
}

/// The last sector, of 512 or 4096 bytes, is a GPT header.
fn backup_gpt(tail: &[u8]) -> bool {
    [512, 4096].iter().any(|sector| {
        let start = tail.len().checked_sub(*sector);
        start.and_then(|start| tail.get(start..start + 8)) == Some(b"EFI PART")
    })
}

/// Versions 0.90 and 1.0 put their block at a 4 KiB boundary near the end.
fn raid_at_end(tail: &[u8]) -> bool {
    const MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
    let misfit = tail.len() % 4096;
    tail.get(misfit..).unwrap_or_default().chunks_exact(4096).any(|block| block[..4] == MAGIC)
}

fn has_boot_signature(head: &[u8]) -> bool {
    head.get(510..512) == Some(&[0x55, 0xaa])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probed(size: u64, patches: &[(u64, &[u8])]) -> Option<&'static str> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (offset, bytes) in patches {
            file.write_all_at(bytes, *offset).unwrap();
        }
        probe(&file, size).unwrap()
    }

    #[test]
    fn blank_or_tiny_file_is_nothing() {
        assert_eq!(probed(0, &[]), None);
        assert_eq!(probed(100, &[]), None);
        assert_eq!(probed(8 << 20, &[]), None);
    }

    #[test]
    fn each_signature_is_found_at_its_place() {
        for signature in SIGNATURES {
            let found = probed(1 << 20, &[(signature.offset as u64, signature.magic)]);
            assert!(found.is_some(), "{}", signature.name);
        }
    }

    #[test]
    fn last_possible_places_are_looked_at() {
        let size = (64 << 20) - 512;
        assert_eq!(
            probed(size, &[(size - 512, b"EFI PART")]).map(|name| &name[..5]),
            Some("a GPT")
        );
        let raid = 0xa92b_4efc_u32.to_le_bytes();
        let place = (size & !0xffff) - 0x10000;
        assert_eq!(probed(64 << 20, &[(place, &raid)]), Some("a Linux RAID member"));
        let uberblock = 0x00ba_b10c_u64.to_be_bytes();
        assert_eq!(probed(size, &[((256 << 10) - 1024, &uberblock)]), Some("a ZFS pool member"));
    }

    #[test]
    fn file_system_is_named_before_the_boot_sector_it_may_hold() {
        let found = probed(1 << 20, &[(0x1fe, &[0x55, 0xaa]), (0x52, b"FAT32   ")]);
        assert_eq!(found, Some("a FAT file system"));
    }

    #[test]
    fn zeros_and_holes_are_no_data() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(16 << 20).unwrap();
        file.write_all_at(&[0; 8192], 1 << 20).unwrap();
        assert!(!has_data(&file).unwrap());
        file.write_all_at(b"x", 9 << 20).unwrap();
        assert!(has_data(&file).unwrap());
    }
}
