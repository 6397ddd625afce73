//! Verifies that data which records make reachable is really there: rule *sums*.

use crate::error::Result;
use crate::geometry::Geometry;
use ashlar_device::{AlignedBuf, Device};
use ashlar_format::BLOCK_SIZE;
use ashlar_format::checksum::crc32c;
use ashlar_format::limits::BLOCK_BYTES;
use ashlar_format::log::DataSums;

/// Blocks read at once.
const PIECE_BLOCKS: usize = 256;

/// True when the device holds the bytes that the sums were taken of.
pub(super) fn data_matches(
    device: &dyn Device,
    geometry: &Geometry,
    groups: &[DataSums],
    verified_bytes: &mut u64,
) -> Result<bool> {
    let mut buf = AlignedBuf::new_zeroed(0);
    for group in groups {
        if !geometry.holds(group.block, group.sums.len() as u64) {
            return Ok(false);
        }
        let last = group.sums.len() - 1;
        for (piece, sums) in group.sums.chunks(PIECE_BLOCKS).enumerate() {
            let first = piece * PIECE_BLOCKS;
            let bytes = sums.len() * BLOCK_SIZE;
            if buf.len() != bytes {
                buf = AlignedBuf::new_zeroed(bytes);
            }
            device.read_at((group.block + first as u64) * BLOCK_BYTES, &mut buf)?;
            *verified_bytes += bytes as u64;
            for (index, (sum, block)) in sums.iter().zip(buf.chunks(BLOCK_SIZE)).enumerate() {
                let covered =
                    if first + index == last { group.last_bytes as usize } else { BLOCK_SIZE };
                if crc32c(&block[..covered]) != *sum {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}
