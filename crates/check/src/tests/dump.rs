//! Text of every object.

use super::image::{FILES_START, Image, LogRecord, SMALL};
use crate::{DumpTarget, Error, dump};
use ashlar_format::key::TreeId;
use ashlar_format::log::Edit;

fn shown(image: &Image, target: &DumpTarget) -> String {
    let mut text = Vec::new();
    dump(&image.build().device, target, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|shown| shown.trim() == *line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn superblock_shows_both_copies() {
    let image = Image::sample(SMALL);
    let text = shown(&image, &DumpTarget::Superblock);
    assert_lines(
        &text,
        &[
            "copy 0",
            "copy 1 (this one counts)",
            "uuid          a5a5a5a5-a5a5-a5a5-a5a5-a5a5a5a5a5a5",
            "state         clean",
            "refs          empty",
        ],
    );
}

#[test]
fn log_shows_edits_and_what_becomes_of_them() {
    let mut image = Image::sample(SMALL);
    let block = FILES_START + 1000;
    let record = || LogRecord { flushed: 40, ..LogRecord::default() };
    image.log = vec![
        record().edit(Edit::Alloc { block, count: 1 }),
        LogRecord { checkpoint: 12, ..record() }.edit(Edit::Free { block: 600, count: 4 }),
        record().sums_of(block, &[1; 10]),
    ];
    let text = shown(&image, &DumpTarget::Log);
    assert_lines(
        &text,
        &[
            "record 41 at 0 of 512 bytes, flushed 40, replayed",
            &format!("alloc 1 blocks at {block}"),
            "record 42 at 512 of 512 bytes, flushed 40, passed over: its checkpoint was not \
             reached",
            "record 43 at 1024 of 512 bytes, flushed 40, left out: it never finished",
            &format!("sums of 1 blocks at {block}, 10 bytes of the last"),
        ],
    );
}

#[test]
fn trees_show_decoded_entries() {
    let image = Image::sample(SMALL);
    let inodes = shown(&image, &DumpTarget::Tree(TreeId::Inodes));
    assert_eq!(inodes.lines().count(), 48);
    assert_lines(&inodes, &["inode 2: file mode 0644 links 3 owner 1:2 size 36864 blocks 9"]);
    let extents = shown(&image, &DumpTarget::Tree(TreeId::Extents));
    let line = format!("inode 2 file block 8: 3 blocks at {} unwritten", FILES_START + 20);
    assert_lines(&extents, &[&line]);
    assert!(shown(&image, &DumpTarget::Tree(TreeId::Names)).contains("\"small\": file inode 4"));
    assert!(shown(&image, &DumpTarget::Tree(TreeId::Free)).starts_with("group 0: "));
    assert!(shown(&image, &DumpTarget::Tree(TreeId::Orphans)).starts_with("inode 6: "));
    let xattrs = shown(&image, &DumpTarget::Tree(TreeId::Xattrs));
    assert_lines(&xattrs, &["inode 3 \"user.two\" piece 0: 76616c7565"]);
    assert_eq!(shown(&image, &DumpTarget::Tree(TreeId::Refs)), "");
}

#[test]
fn inode_is_found_by_number_and_by_path() {
    let image = Image::sample(SMALL);
    let by_path = shown(&image, &DumpTarget::Path(b"/dir/sub/../third".to_vec()));
    assert_eq!(by_path, shown(&image, &DumpTarget::Inode(2)));
    assert_lines(
        &by_path,
        &[
            "inode 2: file",
            "path         \"/file\"",
            "path         \"/second\"",
            "path         \"/dir/third\"",
            &format!("extent       4+2 at {}", FILES_START + 10),
        ],
    );
    assert!(by_path.contains("\"user.one\" piece 1: 02020202020202020202"));
    let link = shown(&image, &DumpTarget::Path(b"/link".to_vec()));
    assert_lines(&link, &["target       \"../file\""]);
    assert_lines(&shown(&image, &DumpTarget::Inode(1)), &["path         \"/\"", "parent       1"]);
}

#[test]
fn what_is_not_there_is_said() {
    let device = Image::sample(SMALL).build().device;
    let paths: [&[u8]; 3] = [b"/nothing", b"/file/below", b"/link/x"];
    for path in paths {
        let result = dump(&device, &DumpTarget::Path(path.to_vec()), &mut Vec::new());
        assert!(matches!(result, Err(Error::NotFound { .. })), "{path:?}");
    }
    for target in [DumpTarget::Inode(9), DumpTarget::Node(u64::MAX)] {
        let result = dump(&device, &target, &mut Vec::new());
        assert!(matches!(result, Err(Error::NotFound { .. })), "{target:?}");
    }
}

#[test]
fn nodes_are_shown_with_their_damage() {
    let built = Image::sample(SMALL).build();
    let root = built.superblock.roots[TreeId::Names as usize].unwrap();
    let show = |block: u64| {
        let mut text = Vec::new();
        dump(&built.device, &DumpTarget::Node(block), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let text = show(root.pointer.block);
    assert!(text.contains(&format!("tree names level {}", root.level)), "{text}");
    assert!(show(3).starts_with("no node: magic"));
    built.flip_byte(root.pointer.block * 4096 + 9000);
    assert!(show(root.pointer.block).contains("DAMAGED: checksum"));
    let mut text = Vec::new();
    dump(&built.device, &DumpTarget::Tree(TreeId::Names), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("# fatal: names tree node at block"), "{text}");
}
