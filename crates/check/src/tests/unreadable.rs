//! Sectors that the device cannot read: what lies there is named, the rest is checked.

use super::image::{Image, SMALL};
use super::{run, text};
use crate::{Error, FindingKind, Location};
use ashlar_device::{Device, DeviceError, DeviceOp, Finish, MemoryDevice, Topology, Write};
use ashlar_format::key::TreeId;
use ashlar_format::limits::BLOCK_BYTES;
use std::ops::Range;

/// A device with a range that gives EIO.
#[derive(Debug)]
struct Scratched {
    device: MemoryDevice,
    bad: Range<u64>,
}

impl Device for Scratched {
    fn topology(&self) -> &Topology {
        self.device.topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> ashlar_device::Result<()> {
        let length = buf.len() as u64;
        if addr < self.bad.end && self.bad.start < addr + length {
            let source = std::io::Error::from_raw_os_error(5);
            let device = "scratched".to_owned();
            return Err(DeviceError { op: DeviceOp::Read, addr, length, device, source });
        }
        self.device.read_at(addr, buf)
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> ashlar_device::Result<()> {
        self.device.submit(writes, finish)
    }

    fn discard(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.device.discard(addr, length)
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> ashlar_device::Result<()> {
        self.device.write_zeroes(addr, length)
    }
}

fn scratched(block: u64, sector: u64) -> Scratched {
    let start = block * BLOCK_BYTES + sector * 512;
    Scratched { device: Image::sample(SMALL).build().device, bad: start..start + 512 }
}

#[test]
fn one_bad_sector_costs_one_node() {
    let built = Image::sample(SMALL).build();
    for tree in [TreeId::Inodes, TreeId::Names, TreeId::Extents] {
        for leaf in built.level(tree, 0) {
            let device = scratched(leaf.block, 13);
            let (findings, report) = run(&device, true).unwrap();
            assert_eq!(report.fatal, 1, "{:?}", text(&findings));
            let fatal = findings.iter().find(|it| it.kind.severity() == crate::Severity::Fatal);
            let fatal = fatal.unwrap();
            assert_eq!(fatal.at, Location::node(tree, leaf.block));
            let FindingKind::NodeDamaged { problem } = &fatal.kind else { panic!("{fatal}") };
            assert!(problem.contains("scratched failed"), "{problem}");
            assert!(report.repair_refused.is_some());
        }
    }
}

#[test]
fn bad_sector_in_a_tree_that_follows_from_others_is_repaired_around() {
    let built = Image::sample(SMALL).build();
    let root = built.superblock.roots[TreeId::Free as usize].unwrap().pointer.block;
    let device = scratched(root, 0);
    assert_eq!(run(&device, true).unwrap().1.exit_code(), 1);
    let (findings, _) = run(&device, false).unwrap();
    assert_eq!(text(&findings), [""; 0]);
}

#[test]
fn other_superblock_copy_stands_in_for_one_that_cannot_be_read() {
    let (findings, report) = run(&scratched(0, 0), false).unwrap();
    let [finding] = findings.as_slice() else { panic!("{:?}", text(&findings)) };
    assert!(matches!(finding.kind, FindingKind::SuperblockCopyDamaged { copy: 0, .. }));
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn unreadable_log_ends_the_check() {
    let result = run(&scratched(2, 0), false);
    assert!(matches!(result, Err(Error::Device(_))), "{result:?}");
}
