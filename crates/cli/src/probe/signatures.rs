//! Magic numbers at fixed offsets from the start of a device.

/// Bytes that give something away.
pub(super) struct Signature {
    /// What they belong to, as a message names it.
    pub(super) name: &'static str,
    /// Where they are.
    pub(super) offset: usize,
    /// What they are.
    pub(super) magic: &'static [u8],
}

const fn at(offset: usize, magic: &'static [u8], name: &'static str) -> Signature {
    Signature { name, offset, magic }
}

/// First match wins: a file system before the partition table whose place it may share.
pub(super) const SIGNATURES: &[Signature] = &[
    at(0, &ashlar_format::superblock::MAGIC, "an Ashlar volume"),
    at(4096, &ashlar_format::superblock::MAGIC, "an Ashlar volume (its second superblock)"),
    at(0, b"XFSB", "an XFS file system"),
    at(0x10040, b"_BHRfS_M", "a Btrfs file system"),
    at(0x400, &[0x10, 0x20, 0xf5, 0xf2], "an F2FS file system"),
    at(0x438, &[0x53, 0xef], "an ext2, ext3 or ext4 file system"),
    at(0x52, b"FAT32   ", "a FAT file system"),
    at(0x36, b"FAT12   ", "a FAT file system"),
    at(0x36, b"FAT16   ", "a FAT file system"),
    at(0x36, b"FAT     ", "a FAT file system"),
    at(3, b"EXFAT   ", "an exFAT file system"),
    at(3, b"NTFS    ", "an NTFS file system"),
    at(3, b"-FVE-FS-", "a BitLocker volume"),
    at(0x8001, b"CD001", "an ISO 9660 file system"),
    at(0x8001, b"BEA01", "a UDF file system"),
    at(0, b"hsqs", "a SquashFS image"),
    at(0, b"sqsh", "a SquashFS image"),
    at(0x400, &[0xe2, 0xe1, 0xf5, 0xe0], "an EROFS image"),
    at(0, &[0x45, 0x3d, 0xcd, 0x28], "a cramfs image"),
    at(32, b"NXSB", "an APFS container"),
    at(0x400, b"H+", "an HFS+ file system"),
    at(0x400, b"HX", "an HFS+ file system"),
    at(0x8000, b"JFS1", "a JFS file system"),
    at(0x406, &[0x34, 0x34], "a NILFS2 file system"),
    at(0x10034, b"ReIsEr", "a ReiserFS file system"),
    at(0x10000, &[0x01, 0x16, 0x19, 0x70], "a GFS2 file system"),
    // bcache and older bcachefs share one identifier, newer bcachefs has another.
    at(4120, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca], "a bcache or bcachefs device"),
    at(4120, &[0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9], "a bcachefs file system"),
    at(0, b"LUKS\xba\xbe", "a LUKS encrypted volume"),
    at(0, b"LABELONE", "an LVM physical volume"),
    at(512, b"LABELONE", "an LVM physical volume"),
    at(1024, b"LABELONE", "an LVM physical volume"),
    at(1536, b"LABELONE", "an LVM physical volume"),
    at(0, &[0xfc, 0x4e, 0x2b, 0xa9], "a Linux RAID member"),
    at(4096, &[0xfc, 0x4e, 0x2b, 0xa9], "a Linux RAID member"),
    // The swap magic ends the first page, whose size depends on the machine.
    at(4096 - 10, b"SWAPSPACE2", "swap space"),
    at(4096 - 10, b"SWAP-SPACE", "swap space"),
    at(8192 - 10, b"SWAPSPACE2", "swap space"),
    at(16384 - 10, b"SWAPSPACE2", "swap space"),
    at(65536 - 10, b"SWAPSPACE2", "swap space"),
    at(512, b"EFI PART", "a GPT partition table"),
    at(4096, b"EFI PART", "a GPT partition table"),
];
