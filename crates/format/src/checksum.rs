//! Checksums of metadata and data, and the hash that orders names.

/// CRC-32C (Castagnoli) of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC-32C of `bytes` with the four bytes at `field` taken as zero: how a structure that carries
/// its own checksum is summed.
///
/// `field + 4` must not pass the end of `bytes`.
#[must_use]
pub fn crc32c_without(bytes: &[u8], field: usize) -> u32 {
    let head = crc32c::crc32c(&bytes[..field]);
    let hole = crc32c::crc32c_append(head, &[0; 4]);
    crc32c::crc32c_append(hole, &bytes[field + 4..])
}

/// Position of a name within its directory: XXH3-64 with the volume's seed, cut to the bits that
/// a directory cookie can carry.
///
/// The low [`NAME_HASH_SPARE_BITS`] bits are zero, so that entries with equal hashes can be told
/// apart in a cookie; the top bit is zero since cookies are signed in the kernel. Values below
/// 16 are left to "." and "..".
#[must_use]
pub fn name_hash(seed: u64, name: &[u8]) -> u64 {
    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(name, seed) >> 1;
    let hash = hash & !((1 << NAME_HASH_SPARE_BITS) - 1);
    hash.max(1 << NAME_HASH_SPARE_BITS)
}

/// Low bits of a name hash that are always zero.
pub const NAME_HASH_SPARE_BITS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_without_field_equals_crc_of_zeroed_field() {
        let mut bytes: Vec<u8> = (0..100).collect();
        let sum = crc32c_without(&bytes, 40);
        bytes[40..44].fill(0);
        assert_eq!(sum, crc32c(&bytes));
    }

    #[test]
    fn name_hash_leaves_room_for_cookies() {
        for i in 0..1000u32 {
            let hash = name_hash(7, &i.to_le_bytes());
            assert_eq!(hash & 15, 0);
            assert!((16..1 << 63).contains(&hash));
        }
    }
}
