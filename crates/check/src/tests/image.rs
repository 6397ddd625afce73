//! Builds small volumes with format functions only, each defect planted where a test wants it.
//!
//! ```text
//!   block 0, 1    superblocks
//!   block 2..514  log
//!   behind it     nodes, in the order of the trees; then file data, as claimed
//! ```

use ashlar_device::{Device, MemoryDevice};
use ashlar_format::checksum::name_hash;
use ashlar_format::extent::{ExtentFlags, ExtentRecord};
use ashlar_format::features::Compat;
use ashlar_format::inode::{FileKind, InodeFlags, InodeRecord, Timestamp};
use ashlar_format::key::{self, TREE_COUNT, TreeId};
use ashlar_format::limits::{BLOCK_BYTES, GROUP_BLOCKS_MIN};
use ashlar_format::log::{DataSums, Edit, RecordHeader, encode_record};
use ashlar_format::name::NameRecord;
use ashlar_format::node::{
    CELL_HEADER_BYTES, HEADER_BYTES, NodePointer, SLOT_BYTES, Stamp, format_empty, seal,
};
use ashlar_format::superblock::{LogTail, Superblock, TreeRoot};
use ashlar_format::{NODE_BLOCKS, NODE_SIZE};
use std::collections::BTreeMap;

pub(crate) const UUID: [u8; 16] = [0xA5; 16];
pub(crate) const SEED: u64 = 77;
pub(crate) const LOG_START: u64 = 2;
pub(crate) const LOG_BLOCKS: u64 = 512;
pub(crate) const DATA_START: u64 = LOG_START + LOG_BLOCKS;
/// First block that [`Image::extent`] is meant to be given: nodes stay below.
pub(crate) const FILES_START: u64 = DATA_START + 1200;
/// A little more than a group, so that there are two.
pub(crate) const TWO_GROUPS: u64 = GROUP_BLOCKS_MIN + 4000;
pub(crate) const SMALL: u64 = 4096;

pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A log record to be appended behind the tail.
#[derive(Debug, Default, Clone)]
pub(crate) struct LogRecord {
    pub(crate) edits: Vec<u8>,
    pub(crate) sums: Vec<u8>,
    pub(crate) checkpoint: u64,
    pub(crate) flushed: u64,
}

impl LogRecord {
    pub(crate) fn edit(mut self, edit: Edit<'_>) -> Self {
        edit.encode(&mut self.edits);
        self
    }

    pub(crate) fn put(self, tree: TreeId, key: &[u8], value: &[u8]) -> Self {
        self.edit(Edit::Put { tree, key, value })
    }

    pub(crate) fn sums_of(mut self, block: u64, bytes: &[u8]) -> Self {
        DataSums::of(block, bytes).encode(&mut self.sums);
        self
    }
}

/// A volume to be.
pub(crate) struct Image {
    pub(crate) trees: [Entries; TREE_COUNT],
    pub(crate) superblock: Superblock,
    /// Entries a leaf, so that few entries make many levels.
    pub(crate) leaf_entries: usize,
    /// Children of an inner node.
    pub(crate) inner_children: usize,
    /// The first cell of every inner node has the empty key, as the format allows, and not only
    /// on the left edge of the tree.
    pub(crate) low_edges: bool,
    /// Runs in use besides what extents say: what `Alloc` edits of the log will take is free.
    pub(crate) used: Vec<(u64, u64)>,
    /// Called with the free tree's entries before it is written.
    pub(crate) change_free: Box<dyn Fn(&mut Entries)>,
    /// Called with the superblock before it is written.
    pub(crate) change_superblock: Box<dyn Fn(&mut Superblock)>,
    pub(crate) log: Vec<LogRecord>,
    /// Position in the log where the chain begins.
    pub(crate) log_position: u64,
}

impl Image {
    /// A root directory and nothing else.
    pub(crate) fn empty(block_count: u64) -> Self {
        let mut image = Self {
            trees: Default::default(),
            superblock: superblock(block_count),
            leaf_entries: 4,
            inner_children: 4,
            low_edges: false,
            used: Vec::new(),
            change_free: Box::new(|_| {}),
            change_superblock: Box::new(|_| {}),
            log: Vec::new(),
            log_position: 0,
        };
        image.inode(1, &directory(1));
        image
    }

    /// Something of everything, and nothing wrong.
    ///
    /// ```text
    ///   1 /          2 /file (3 names, 3 extents)   3 /dir        4 /dir/small (inline)
    ///   5 /link      6 orphan                        7 /dir/sub    20..60 /many/fNN
    /// ```
    pub(crate) fn sample(block_count: u64) -> Self {
        let mut image = Self::empty(block_count);
        image.inode(2, &InodeRecord { size: 9 * BLOCK_BYTES, ..regular() });
        image.name(1, b"file", 2);
        image.name(1, b"second", 2);
        image.extent(2, 0, FILES_START, 4, ExtentFlags::empty());
        image.extent(2, 4, FILES_START + 10, 2, ExtentFlags::empty());
        image.extent(2, 8, FILES_START + 20, 3, ExtentFlags::UNWRITTEN);
        image.inode(3, &directory(1));
        image.name(1, b"dir", 3);
        let inline = Some(Box::from(&b"small"[..]));
        image.inode(4, &InodeRecord { size: 5, inline, ..regular() });
        image.name(3, b"small", 4);
        image.name(3, b"third", 2);
        let inline = Some(Box::from(&b"../file"[..]));
        image.inode(5, &InodeRecord { kind: FileKind::Symlink, size: 7, inline, ..regular() });
        image.name(1, b"link", 5);
        image.inode(6, &regular());
        image.extent(6, 0, FILES_START + 30, 1, ExtentFlags::empty());
        image.put(TreeId::Orphans, &key::inode(6), &[]);
        image.inode(7, &directory(3));
        image.name(3, b"sub", 7);
        image.xattr(2, b"user.one", 0, &[1; 4096]);
        image.xattr(2, b"user.one", 1, &[2; 10]);
        image.xattr(3, b"user.two", 0, b"value");
        image.inode(8, &directory(1));
        image.name(1, b"many", 8);
        for ino in 20..60 {
            image.inode(ino, &InodeRecord { size: 100, ..regular() });
            image.name(8, format!("f{ino}").as_bytes(), ino);
            image.extent(ino, 0, FILES_START + 40 + ino, 1, ExtentFlags::empty());
        }
        // Its truncation is to be finished.
        image.put(TreeId::Orphans, &key::inode(20), &[]);
        image.settle();
        image
    }

    // ---- entries --------------------------------------------------------------------------

    pub(crate) fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        self.trees[tree as usize].insert(key.to_vec(), value.to_vec());
    }

    pub(crate) fn delete(&mut self, tree: TreeId, key: &[u8]) {
        self.trees[tree as usize].remove(key).expect("the entry is there");
    }

    pub(crate) fn inode(&mut self, ino: u64, record: &InodeRecord) {
        self.put(TreeId::Inodes, &key::inode(ino), &record.encode());
    }

    pub(crate) fn record(&self, ino: u64) -> InodeRecord {
        let value = &self.trees[TreeId::Inodes as usize][&key::inode(ino)[..]];
        InodeRecord::decode(value).expect("a record made here")
    }

    pub(crate) fn change(&mut self, ino: u64, change: impl FnOnce(&mut InodeRecord)) {
        let mut record = self.record(ino);
        change(&mut record);
        self.inode(ino, &record);
    }

    /// Adds a name; the kind is that of the inode, which must be there.
    pub(crate) fn name(&mut self, dir: u64, name: &[u8], ino: u64) {
        let record = NameRecord { ino, kind: self.record(ino).kind };
        self.put(TreeId::Names, &name_key(dir, name), &record.encode());
    }

    pub(crate) fn extent(
        &mut self,
        ino: u64,
        file_block: u64,
        block: u64,
        count: u32,
        flags: ExtentFlags,
    ) {
        let record = ExtentRecord { block, count, flags };
        self.put(TreeId::Extents, &key::extent(ino, file_block), &record.encode());
    }

    pub(crate) fn xattr(&mut self, ino: u64, name: &[u8], piece: u16, value: &[u8]) {
        self.put(TreeId::Xattrs, &key::xattr(ino, name, piece), value);
    }

    /// Sets every count that follows from others: links, sizes of directories, blocks, and the
    /// next inode number. What a test plants afterwards stays.
    pub(crate) fn settle(&mut self) {
        let inos: Vec<u64> = self.trees[TreeId::Inodes as usize]
            .keys()
            .map(|key| key::decode_number(TreeId::Inodes, key).expect("an inode key"))
            .collect();
        let names: Vec<(u64, NameRecord)> = self.trees[TreeId::Names as usize]
            .iter()
            .map(|(key, value)| {
                let (dir, ..) = key::decode_name(key).expect("a name key");
                (dir, NameRecord::decode(value).expect("a name record"))
            })
            .collect();
        for ino in &inos {
            let mut record = self.record(*ino);
            record.blocks = self.trees[TreeId::Extents as usize]
                .iter()
                .filter(|(key, _)| key.starts_with(&ino.to_be_bytes()))
                .map(|(_, value)| u64::from(ExtentRecord::decode(value).expect("extent").count))
                .sum();
            if record.kind == FileKind::Directory {
                let own = || names.iter().filter(|(dir, _)| dir == ino);
                record.size = own().count() as u64;
                let below = own().filter(|(_, name)| name.kind == FileKind::Directory).count();
                record.nlink = 2 + below as u32;
            } else {
                record.nlink = names.iter().filter(|(_, name)| name.ino == *ino).count() as u32;
            }
            self.inode(*ino, &record);
        }
        self.superblock.next_ino = inos.last().map_or(2, |ino| ino + 1);
    }

    // ---- writing --------------------------------------------------------------------------

    /// Writes the volume.
    pub(crate) fn build(&self) -> Built {
        let device = MemoryDevice::new(self.superblock.block_count * BLOCK_BYTES);
        let mut builder = Builder { image: self, device: &device, next: DATA_START };
        let mut superblock = self.superblock.clone();
        let mut nodes = Vec::new();
        for tree in TreeId::ALL {
            if tree != TreeId::Free {
                let entries = &self.trees[tree as usize];
                superblock.roots[tree as usize] = builder.tree(tree, entries, &mut nodes);
            }
        }
        // The free tree's own nodes take blocks, but hardly change the number of entries.
        let free_start = builder.next;
        let mut free_nodes = 0;
        let mut rounds = 0;
        let free = loop {
            rounds += 1;
            assert!(rounds < 10, "nodes reach into the files");
            let free = self.free_entries(free_start + free_nodes * NODE_BLOCKS);
            let needed = self.nodes_for(free.len());
            if needed == free_nodes {
                break free;
            }
            free_nodes = needed;
        };
        superblock.roots[TreeId::Free as usize] = builder.tree(TreeId::Free, &free, &mut nodes);
        assert_eq!(builder.next, free_start + free_nodes * NODE_BLOCKS);
        assert!(builder.next <= FILES_START, "nodes up to block {}", builder.next);
        let chain_end = self.write_log(&device, &mut superblock);
        (self.change_superblock)(&mut superblock);
        let older = Superblock { generation: superblock.generation - 1, ..superblock.clone() };
        for copy in [&older, &superblock] {
            let bytes = copy.encode();
            device.write_at(copy.copy_block() * BLOCK_BYTES, &bytes).expect("in range");
        }
        Built { device, superblock, nodes, chain_end }
    }

    /// Nodes of a tree with so many entries.
    fn nodes_for(&self, entries: usize) -> u64 {
        let mut level = entries.div_ceil(self.leaf_entries);
        let mut nodes = level;
        while level > 1 {
            level = level.div_ceil(self.inner_children);
            nodes += level;
        }
        nodes as u64
    }

    /// Free extents and counts for a volume whose nodes end at `nodes_end`.
    fn free_entries(&self, nodes_end: u64) -> Entries {
        let mut used = vec![(0, nodes_end)];
        used.extend(&self.used);
        for value in self.trees[TreeId::Extents as usize].values() {
            if let Ok(extent) = ExtentRecord::decode(value)
                && extent.block + u64::from(extent.count) <= self.superblock.block_count
            {
                used.push((extent.block, u64::from(extent.count)));
            }
        }
        let is_used =
            |block: u64| used.iter().any(|(start, n)| (*start..start + n).contains(&block));
        let mut entries = Entries::new();
        let mut run: Option<u64> = None;
        let end = self.superblock.block_count;
        let group_blocks = self.superblock.group_blocks;
        let mut free_in_group = 0;
        let borders: Vec<u64> = used.iter().flat_map(|(start, n)| [*start, start + n]).collect();
        for block in 0..=end {
            let at_border = block == end || block % group_blocks == 0;
            // Nothing changes between the ends of runs: skip the long middle.
            let changes = at_border || borders.contains(&block);
            if !changes {
                continue;
            }
            if let Some(start) = run.take() {
                entries.insert(key::free(start).into(), (block - start).to_le_bytes().into());
                free_in_group += block - start;
            }
            if at_border && block > 0 {
                let group = ((block - 1) / group_blocks) as u32;
                entries.insert(key::group(group).into(), u64::to_le_bytes(free_in_group).into());
                free_in_group = 0;
            }
            if block < end && !is_used(block) {
                run = Some(block);
            }
        }
        merge_free(&mut entries, group_blocks);
        (self.change_free)(&mut entries);
        entries
    }

    fn write_log(&self, device: &MemoryDevice, superblock: &mut Superblock) -> LogTail {
        superblock.tail.position = self.log_position;
        let mut end = superblock.tail;
        for record in &self.log {
            let header = RecordHeader {
                lsn: end.lsn + 1,
                flushed_lsn: record.flushed,
                position: end.position,
                previous_checksum: end.checksum,
                checkpoint: record.checkpoint,
                sector: 512,
                unfinished: false,
            };
            let (bytes, checksum) = encode_record(&header, &UUID, &record.edits, &record.sums, &[]);
            write_ring(device, end.position, &bytes);
            let position = end.position + bytes.len() as u64;
            end = LogTail { position, lsn: header.lsn, checksum };
        }
        superblock.clean = self.log.is_empty();
        end
    }
}

/// Joins free extents that touch inside a group.
fn merge_free(entries: &mut Entries, group_blocks: u64) {
    let extents: Vec<(u64, u64)> = entries
        .iter()
        .filter_map(|(key, value)| match key::decode_free(key) {
            Ok(key::FreeKey::Extent(block)) => Some((block, key::decode_free_value(value).ok()?)),
            _ => None,
        })
        .collect();
    let mut open: Option<(u64, u64)> = None;
    for (block, count) in extents {
        entries.remove(&key::free(block)[..]);
        open = match open {
            Some((start, length)) if start + length == block && block % group_blocks != 0 => {
                Some((start, length + count))
            }
            Some((start, length)) => {
                entries.insert(key::free(start).into(), length.to_le_bytes().into());
                Some((block, count))
            }
            None => Some((block, count)),
        };
    }
    if let Some((start, length)) = open {
        entries.insert(key::free(start).into(), length.to_le_bytes().into());
    }
}

/// Writes log bytes, around the ring's end.
pub(crate) fn write_ring(device: &dyn Device, position: u64, bytes: &[u8]) {
    for (index, sector) in bytes.chunks(512).enumerate() {
        let offset = (position + index as u64 * 512) % (LOG_BLOCKS * BLOCK_BYTES);
        device.write_at(LOG_START * BLOCK_BYTES + offset, sector).expect("in range");
    }
}

/// A written volume.
pub(crate) struct Built {
    pub(crate) device: MemoryDevice,
    pub(crate) superblock: Superblock,
    /// Tree, level and pointer of every node.
    pub(crate) nodes: Vec<(TreeId, u8, NodePointer)>,
    /// Where the log ends.
    pub(crate) chain_end: LogTail,
}

impl Built {
    /// Nodes of a tree at a level.
    pub(crate) fn level(&self, tree: TreeId, level: u8) -> Vec<NodePointer> {
        let nodes = self.nodes.iter().filter(|node| (node.0, node.1) == (tree, level));
        nodes.map(|node| node.2).collect()
    }

    pub(crate) fn flip_byte(&self, addr: u64) {
        let sector = addr / 512 * 512;
        let mut bytes = [0; 512];
        self.device.read_at(sector, &mut bytes).expect("in range");
        bytes[(addr - sector) as usize] ^= 0x40;
        self.device.write_at(sector, &bytes).expect("in range");
    }
}

struct Builder<'a> {
    image: &'a Image,
    device: &'a MemoryDevice,
    next: u64,
}

impl Builder<'_> {
    fn tree(
        &mut self,
        tree: TreeId,
        entries: &Entries,
        nodes: &mut Vec<(TreeId, u8, NodePointer)>,
    ) -> Option<TreeRoot> {
        let mut cells: Vec<(Vec<u8>, Vec<u8>)> =
            entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        if cells.is_empty() {
            return None;
        }
        for level in 0.. {
            let per_node =
                if level == 0 { self.image.leaf_entries } else { self.image.inner_children };
            let mut above = Vec::new();
            for (index, group) in cells.chunks(per_node).enumerate() {
                let mut group = group.to_vec();
                let lowest = group[0].0.clone();
                if level > 0 && self.image.low_edges {
                    group[0].0.clear();
                }
                let pointer = self.node(tree, level, &group);
                nodes.push((tree, level, pointer));
                let lower = if index == 0 { Vec::new() } else { lowest };
                above.push((lower, pointer.encode().to_vec()));
            }
            if let [(_, only)] = above.as_slice() {
                let pointer = NodePointer::decode(only).expect("a pointer made here");
                return Some(TreeRoot { pointer, level, count: entries.len() as u64 });
            }
            cells = above;
        }
        None
    }

    fn node(&mut self, tree: TreeId, level: u8, cells: &[(Vec<u8>, Vec<u8>)]) -> NodePointer {
        let block = self.next;
        self.next += NODE_BLOCKS;
        let generation = self.image.superblock.generation;
        let (page, pointer) = node_page(tree, level, cells, block, generation);
        self.device.write_at(block * BLOCK_BYTES, &page[..]).expect("in range");
        pointer
    }
}

/// A sealed node with these cells.
pub(crate) fn node_page(
    tree: TreeId,
    level: u8,
    cells: &[(Vec<u8>, Vec<u8>)],
    block: u64,
    generation: u64,
) -> (Box<[u8; NODE_SIZE]>, NodePointer) {
    let mut page = Box::new([0; NODE_SIZE]);
    format_empty(&mut page, tree, level);
    let mut heap = NODE_SIZE;
    for (index, (key, value)) in cells.iter().enumerate() {
        heap -= CELL_HEADER_BYTES + key.len() + value.len();
        page[heap..heap + 2].copy_from_slice(&(key.len() as u16).to_le_bytes());
        page[heap + 2..heap + 4].copy_from_slice(&(value.len() as u16).to_le_bytes());
        page[heap + 4..][..key.len()].copy_from_slice(key);
        page[heap + 4 + key.len()..][..value.len()].copy_from_slice(value);
        let slot = HEADER_BYTES + index * SLOT_BYTES;
        page[slot..slot + 2].copy_from_slice(&(heap as u16).to_le_bytes());
    }
    page[42..44].copy_from_slice(&(cells.len() as u16).to_le_bytes());
    page[44..46].copy_from_slice(&(heap as u16).to_le_bytes());
    let pointer = seal(&mut page, &Stamp { uuid: &UUID, block, generation });
    (page, pointer)
}

pub(crate) fn name_key(dir: u64, name: &[u8]) -> Vec<u8> {
    key::name(dir, name_hash(SEED, name), name)
}

pub(crate) fn regular() -> InodeRecord {
    let time = Timestamp { seconds: 1000, nanoseconds: 5 };
    InodeRecord {
        kind: FileKind::Regular,
        permissions: 0o644,
        nlink: 0,
        uid: 1,
        gid: 2,
        rdev: 0,
        generation: 1,
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        flags: InodeFlags::empty(),
        project: 0,
        parent: 0,
        map_generation: 0,
        inline: None,
    }
}

pub(crate) fn directory(parent: u64) -> InodeRecord {
    InodeRecord { kind: FileKind::Directory, nlink: 2, parent, ..regular() }
}

fn superblock(block_count: u64) -> Superblock {
    Superblock {
        uuid: UUID,
        label: "test".into(),
        compat: Compat::empty(),
        ro_compat: 0,
        incompat: 0,
        generation: 9,
        block_count,
        group_blocks: GROUP_BLOCKS_MIN,
        log_start: LOG_START,
        log_blocks: LOG_BLOCKS,
        tail: LogTail { position: 0, lsn: 40, checksum: 7 },
        clean: true,
        flushed_lsn: 40,
        next_ino: 2,
        hash_seed: SEED,
        created: 12345,
        roots: [None; TREE_COUNT],
    }
}
