//! Sizes and maxima of the format; units in the names, relations checked at compile time.

/// Allocation unit and unit of file data, bytes.
pub const BLOCK_SIZE: usize = 4096;
/// [`BLOCK_SIZE`] as a byte quantity.
pub const BLOCK_BYTES: u64 = BLOCK_SIZE as u64;
/// log2 of [`BLOCK_SIZE`].
pub const BLOCK_SHIFT: u32 = 12;
/// B+tree node, bytes. Four blocks: fan-out above 100 for inode and extent keys, so that a
/// million files need three levels, while a torn node still costs only one 16 KiB write.
pub const NODE_SIZE: usize = 16384;
/// B+tree node, blocks.
pub const NODE_BLOCKS: u64 = (NODE_SIZE / BLOCK_SIZE) as u64;

/// Blocks that hold the two superblock copies; the log starts behind them.
pub const SUPERBLOCK_BLOCKS: u64 = 2;
/// Smallest volume, bytes.
pub const VOLUME_BYTES_MIN: u64 = 16 << 20;
/// Largest volume, blocks (64 EiB would not fit the kernel's signed byte offsets; 4 EiB do).
pub const VOLUME_BLOCKS_MAX: u64 = 1 << 50;

/// Smallest log, bytes.
pub const LOG_BYTES_MIN: u64 = 2 << 20;
/// Largest log, bytes: bounds the time of recovery, which reads all of it in the worst case.
pub const LOG_BYTES_MAX: u64 = 32 << 20;
/// Largest log record, bytes, padding included. A quarter of the smallest log, so that a
/// checkpoint and the record that waits for it always fit.
pub const RECORD_BYTES_MAX: u32 = 512 << 10;

/// Smallest allocation group, blocks (128 MiB).
pub const GROUP_BLOCKS_MIN: u64 = 1 << 15;
/// Most allocation groups on a volume: bounds what mount has to read.
pub const GROUP_COUNT_MAX: u64 = 1024;

/// Longest key of any tree, bytes: directory, hash and the longest name, and a few to spare.
pub const KEY_BYTES_MAX: usize = 288;
/// Longest value of any tree, bytes: an inode record with the longest symlink target inside.
pub const VALUE_BYTES_MAX: usize = 4608;

/// Longest file name, bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest symlink target, bytes (`PATH_MAX` less its terminating zero).
pub const SYMLINK_BYTES_MAX: usize = 4095;
/// Longest attribute name, bytes, prefix included.
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// Longest attribute value, bytes.
pub const XATTR_VALUE_BYTES_MAX: usize = 65536;
/// Attribute values are cut into pieces of this many bytes, one tree entry each.
pub const XATTR_PIECE_BYTES: usize = 4096;
/// Longest file content kept inside the inode record, bytes. Half a block: below it the
/// record costs less log and less node space than a block of its own.
pub const INLINE_BYTES_MAX: usize = 2048;
/// Largest file size and offset, bytes (`loff_t`).
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;
/// Longest extent, blocks: its length in bytes still fits 43 bits and its count fits 32.
pub const EXTENT_BLOCKS_MAX: u64 = 1 << 31;
/// Volume label, bytes of UTF-8.
pub const LABEL_BYTES_MAX: usize = 64;
/// Most hard links to one file.
pub const LINK_COUNT_MAX: u32 = 1 << 31;

const _: () = assert!(NODE_SIZE.is_multiple_of(BLOCK_SIZE) && BLOCK_SIZE == 1 << BLOCK_SHIFT);
const _: () = assert!(KEY_BYTES_MAX >= 16 + NAME_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX >= 8 + XATTR_NAME_BYTES_MAX + 3);
const _: () = assert!(VALUE_BYTES_MAX >= crate::inode::RECORD_BYTES + SYMLINK_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX >= XATTR_PIECE_BYTES);
const _: () = assert!(RECORD_BYTES_MAX as u64 * 4 <= LOG_BYTES_MIN);
// Three of the largest cells fit a node, so that a split always leaves two valid halves.
const _: () = assert!(
    crate::node::HEADER_BYTES + 3 * (crate::node::SLOT_BYTES + crate::node::CELL_BYTES_MAX)
        <= NODE_SIZE
);
