//! Changes to the slotted page of a node: cells in, cells out, and where to cut a full one.
//!
//! Called by [`crate::node`]; the layout itself is [`ashlar_format::node`].
//!
//! Invariants:
//! - I1: cells lie between the heap and the end of the page and do not overlap, slots in front of
//!   the heap; so no change of one cell reaches another.
//! - I2: `used` is the sum of all cells and slots. The rest of the page is free, in one piece
//!   after [`Page::compact`].

use ashlar_format::NODE_SIZE;
use ashlar_format::key::TreeId;
use ashlar_format::node::{
    CELL_HEADER_BYTES, HEADER_BYTES, NodePointer, NodeRef, POINTER_BYTES, SLOT_BYTES, format_empty,
};
use std::cmp::Ordering;
use std::ops::Range;

/// Bytes of a page for cells and their slots.
pub(crate) const CAPACITY: usize = NODE_SIZE - HEADER_BYTES;

const COUNT_AT: usize = 42;
const HEAP_AT: usize = 44;
/// Key bytes compared as one number before the rest: both numbers of the widest fixed-size keys.
const HEAD_BYTES: usize = 16;

/// A page and the bookkeeping that its bytes do not hold.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    bytes: Box<[u8; NODE_SIZE]>,
    used: usize,
    /// Where the next cell of an ascending run would stand: one behind the last insertion.
    run: usize,
}

/// Where a full page is cut to take one more cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Cells from here on move to the right.
    pub(crate) at: usize,
    /// Which half takes the new cell.
    pub(crate) side: Side,
}

/// A half of a cut page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Page {
    /// A page without cells.
    pub(crate) fn empty(tree: TreeId, level: u8) -> Self {
        let mut bytes = zeroed();
        format_empty(&mut bytes, tree, level);
        Self { bytes, used: 0, run: usize::MAX }
    }

    /// Takes over a page that [`NodeRef::verify`] accepted, unless its cells overlap.
    pub(crate) fn from_verified(bytes: Box<[u8; NODE_SIZE]>) -> Option<Self> {
        let mut page = Self { bytes, used: 0, run: usize::MAX };
        let view = page.view();
        let (mut packed, mut lowest) = (true, NODE_SIZE);
        let mut used = 0;
        for index in 0..view.count() {
            let size = view.cell_bytes(index);
            packed &= view.slot(index) + size == lowest;
            lowest = view.slot(index);
            used += size + SLOT_BYTES;
        }
        if !packed && cells_overlap(view) {
            return None;
        }
        page.used = used;
        Some(page)
    }

    /// Read access.
    #[inline]
    pub(crate) fn view(&self) -> NodeRef<'_> {
        NodeRef::new(&self.bytes)
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.view().count()
    }

    #[inline]
    pub(crate) fn level(&self) -> u8 {
        self.view().level()
    }

    #[inline]
    pub(crate) fn key(&self, index: usize) -> &[u8] {
        self.view().key(index)
    }

    #[inline]
    pub(crate) fn value(&self, index: usize) -> &[u8] {
        self.view().value(index)
    }

    /// Number of the tree, as written.
    pub(crate) fn tree_code(&self) -> u8 {
        self.bytes[40]
    }

    /// Bytes of all cells and slots.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// First cell whose key is not below `key`, as [`NodeRef::search`] does, but comparing the
    /// first bytes as numbers: most keys differ there.
    #[inline]
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let wanted = head(key);
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = usize::midpoint(low, high);
            let found = self.head(middle);
            if found < wanted {
                low = middle + 1;
            } else if found > wanted {
                high = middle;
            } else {
                match self.key(middle).cmp(key) {
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                    Ordering::Equal => return Ok(middle),
                }
            }
        }
        Err(low)
    }

    /// First bytes of the key of cell `index`, as [`head`] has them.
    #[inline]
    fn head(&self, index: usize) -> Head {
        let at = self.view().slot(index);
        let Some(cell) = self.bytes[at..].first_chunk::<{ CELL_HEADER_BYTES + HEAD_BYTES }>()
        else {
            return head(self.key(index));
        };
        let length = u32::from(u16::from_le_bytes([cell[0], cell[1]]));
        let [_, _, _, _, bytes @ ..] = *cell;
        let (first, second) = halves(bytes);
        // What stands behind a shorter key is its value.
        match length {
            16.. => (first, second),
            8..16 => (first, second & !(u64::MAX >> (8 * (length - 8)))),
            _ => (first & !(u64::MAX >> (8 * length)), 0),
        }
    }

    /// Inserts a cell at `index`; false, and nothing changed, when there is no room.
    pub(crate) fn insert(&mut self, index: usize, key: &[u8], value: &[u8]) -> bool {
        let size = CELL_HEADER_BYTES + key.len() + value.len();
        if self.used + size + SLOT_BYTES > CAPACITY {
            return false;
        }
        let count = self.count();
        let slots_end = HEADER_BYTES + count * SLOT_BYTES;
        if self.view().heap() < slots_end + SLOT_BYTES + size {
            self.compact();
        }
        let at = self.view().heap() - size;
        let cell = &mut self.bytes[at..at + size];
        cell[..2].copy_from_slice(&to_u16(key.len()).to_le_bytes());
        cell[2..4].copy_from_slice(&to_u16(value.len()).to_le_bytes());
        cell[CELL_HEADER_BYTES..CELL_HEADER_BYTES + key.len()].copy_from_slice(key);
        cell[CELL_HEADER_BYTES + key.len()..].copy_from_slice(value);
        let slot = HEADER_BYTES + index * SLOT_BYTES;
        self.bytes.copy_within(slot..slots_end, slot + SLOT_BYTES);
        self.put_u16(slot, at);
        self.put_u16(COUNT_AT, count + 1);
        self.put_u16(HEAP_AT, at);
        self.used += size + SLOT_BYTES;
        self.run = index + 1;
        true
    }

    /// Gives cell `index`, whose key is `key`, another value; false, and nothing changed, when
    /// there is no room.
    pub(crate) fn replace(&mut self, index: usize, key: &[u8], value: &[u8]) -> bool {
        let old = self.value(index).len();
        if self.used - old + value.len() > CAPACITY {
            return false;
        }
        if value.len() <= old {
            let at = self.view().slot(index);
            let start = at + CELL_HEADER_BYTES + key.len();
            self.bytes[start..start + value.len()].copy_from_slice(value);
            self.put_u16(at + 2, value.len());
            self.used -= old - value.len();
            return true;
        }
        let run = self.run;
        self.remove(index);
        let inserted = self.insert(index, key, value);
        self.run = run;
        inserted
    }

    /// Gives cell `index` another key that keeps its place; false, and nothing changed, when there
    /// is no room.
    pub(crate) fn rekey(&mut self, index: usize, key: &[u8]) -> bool {
        if self.used - self.key(index).len() + key.len() > CAPACITY {
            return false;
        }
        let value = self.value(index).to_vec();
        self.remove(index);
        self.insert(index, key, &value)
    }

    /// Puts a child's address into cell `index`.
    pub(crate) fn set_pointer(&mut self, index: usize, pointer: &NodePointer) {
        set_pointer(&mut self.bytes, index, pointer);
    }

    /// Removes cell `index`.
    pub(crate) fn remove(&mut self, index: usize) {
        let view = self.view();
        let (at, size, heap) = (view.slot(index), view.cell_bytes(index), view.heap());
        let count = view.count() - 1;
        let slot = HEADER_BYTES + index * SLOT_BYTES;
        let slots_end = HEADER_BYTES + (count + 1) * SLOT_BYTES;
        self.bytes.copy_within(slot + SLOT_BYTES..slots_end, slot);
        self.put_u16(COUNT_AT, count);
        if count == 0 {
            self.put_u16(HEAP_AT, NODE_SIZE);
        } else if at == heap {
            self.put_u16(HEAP_AT, at + size);
        }
        self.used -= size + SLOT_BYTES;
        self.run = usize::MAX;
    }

    /// Where to cut so that a cell of `key` and `value` bytes can go in at `index`.
    ///
    /// A cell that continues an ascending run is cut off at its own place: the left half keeps
    /// everything below it, so that sequential loads leave full pages behind. Otherwise the cut
    /// halves the bytes.
    pub(crate) fn cut(&self, index: usize, key: usize, value: usize) -> Cut {
        let size = CELL_HEADER_BYTES + key + value + SLOT_BYTES;
        let count = self.count();
        if index == count {
            return Cut { at: count, side: Side::Right };
        }
        if index == self.run {
            let left = self.bytes_of(0..index);
            // When it does not fit on the left, what is on the right is smaller than the cell.
            let side = if left + size <= CAPACITY { Side::Left } else { Side::Right };
            return Cut { at: index, side };
        }
        self.cut_in_half(index, size)
    }

    /// Both halves fit: neither is larger than half of all bytes plus one cell, and a page holds
    /// three of the largest cells.
    fn cut_in_half(&self, index: usize, size: usize) -> Cut {
        let total = self.used + size;
        let mut left = 0;
        for at in 0..self.count() {
            if at == index {
                if 2 * left + size > total && left > 0 {
                    return Cut { at, side: Side::Right };
                }
                left += size;
            }
            let next = self.bytes_of(at..at + 1);
            if 2 * left + next > total && left > 0 {
                // Taking it as well would leave the halves further apart than leaving it.
                let side = if index <= at { Side::Left } else { Side::Right };
                return Cut { at, side };
            }
            left += next;
        }
        Cut { at: self.count(), side: Side::Right }
    }

    fn bytes_of(&self, cells: Range<usize>) -> usize {
        let view = self.view();
        cells.map(|index| view.cell_bytes(index) + SLOT_BYTES).sum()
    }

    /// Moves cells from `at` on into a page of their own.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self { bytes: zeroed(), used: 0, run: usize::MAX };
        right.bytes[..HEADER_BYTES].copy_from_slice(&self.bytes[..HEADER_BYTES]);
        right.put_u16(COUNT_AT, 0);
        right.put_u16(HEAP_AT, NODE_SIZE);
        right.append(self, at..self.count());
        self.put_u16(COUNT_AT, at);
        self.used -= right.used;
        self.run = usize::MAX;
        if at == 0 {
            self.put_u16(HEAP_AT, NODE_SIZE);
        }
        right
    }

    /// Appends cells of `other`, for which there must be room.
    pub(crate) fn append(&mut self, other: &Self, cells: Range<usize>) {
        for index in cells {
            let (key, value) = (other.key(index), other.value(index));
            let fits = self.insert(self.count(), key, value);
            assert!(fits, "cells that were counted fit");
        }
        self.run = usize::MAX;
    }

    /// Gathers the free bytes in one piece.
    fn compact(&mut self) {
        let mut fresh = zeroed();
        self.pack_into(&mut fresh);
        self.bytes = fresh;
    }

    /// Writes the page into zeroed `target`, cells packed in key order: nothing of removed cells
    /// gets there.
    pub(crate) fn pack_into(&self, target: &mut [u8; NODE_SIZE]) {
        target[..HEADER_BYTES].copy_from_slice(&self.bytes[..HEADER_BYTES]);
        let view = self.view();
        let mut heap = NODE_SIZE;
        for index in 0..view.count() {
            let (at, size) = (view.slot(index), view.cell_bytes(index));
            heap -= size;
            target[heap..heap + size].copy_from_slice(&self.bytes[at..at + size]);
            let slot = HEADER_BYTES + index * SLOT_BYTES;
            target[slot..slot + SLOT_BYTES].copy_from_slice(&to_u16(heap).to_le_bytes());
        }
        target[HEAP_AT..HEAP_AT + 2].copy_from_slice(&to_u16(heap).to_le_bytes());
    }

    /// What of I1 and I2 does not hold; `None` when all is well.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        let view = self.view();
        if HEADER_BYTES + view.count() * SLOT_BYTES > view.heap() || view.heap() > NODE_SIZE {
            return Some("slots and heap overlap");
        }
        if self.bytes_of(0..view.count()) != self.used {
            return Some("the count of used bytes is wrong");
        }
        cells_overlap(view).then_some("cells overlap")
    }

    fn put_u16(&mut self, at: usize, value: usize) {
        self.bytes[at..at + 2].copy_from_slice(&to_u16(value).to_le_bytes());
    }
}

/// Puts a child's address into cell `index` of an inner node's page.
pub(crate) fn set_pointer(bytes: &mut [u8; NODE_SIZE], index: usize, pointer: &NodePointer) {
    let view = NodeRef::new(bytes);
    let start = view.slot(index) + CELL_HEADER_BYTES + view.key(index).len();
    bytes[start..start + POINTER_BYTES].copy_from_slice(&pointer.encode());
}

/// A zeroed page, made on the heap.
pub(crate) fn zeroed() -> Box<[u8; NODE_SIZE]> {
    let bytes = vec![0; NODE_SIZE].into_boxed_slice();
    bytes.try_into().unwrap_or_else(|_| unreachable!("the length is NODE_SIZE"))
}

/// First bytes of a key as two numbers: compared one after the other they sort as the bytes do.
type Head = (u64, u64);

/// First bytes of a key. A shorter key counts as followed by zeros, so equal heads say nothing yet.
#[inline]
fn head(key: &[u8]) -> Head {
    if let Some(bytes) = key.first_chunk::<HEAD_BYTES>() {
        return halves(*bytes);
    }
    let mut bytes = [0; HEAD_BYTES];
    bytes[..key.len()].copy_from_slice(key);
    halves(bytes)
}

#[inline]
fn halves(bytes: [u8; HEAD_BYTES]) -> Head {
    let number = u128::from_be_bytes(bytes);
    ((number >> 64) as u64, number as u64)
}

fn cells_overlap(view: NodeRef<'_>) -> bool {
    let mut cells: Vec<(usize, usize)> =
        (0..view.count()).map(|index| (view.slot(index), view.cell_bytes(index))).collect();
    cells.sort_unstable();
    let inside = cells.first().is_none_or(|&(at, _)| at >= view.heap());
    let apart = cells.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
    let ends = cells.last().is_none_or(|&(at, size)| at + size <= NODE_SIZE);
    !(inside && apart && ends)
}

/// Offsets and lengths inside a page: at most `NODE_SIZE`.
#[inline]
fn to_u16(value: usize) -> u16 {
    const _: () = assert!(NODE_SIZE <= u16::MAX as usize);
    debug_assert!(value <= NODE_SIZE);
    value as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_format::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
    use fastrand::Rng;

    type Cells = Vec<(Vec<u8>, Vec<u8>)>;

    fn cells_of(page: &Page) -> Cells {
        let cells = 0..page.count();
        cells.map(|index| (page.key(index).to_vec(), page.value(index).to_vec())).collect()
    }

    fn random_cell(rng: &mut Rng) -> (Vec<u8>, Vec<u8>) {
        let key_bytes = if rng.u8(..8) == 0 { KEY_BYTES_MAX } else { rng.usize(..24) };
        let value_bytes = match rng.u8(..8) {
            0 => VALUE_BYTES_MAX,
            1 => rng.usize(..VALUE_BYTES_MAX),
            _ => rng.usize(..100),
        };
        let key = (0..key_bytes).map(|_| rng.u8(..4)).collect();
        (key, vec![rng.u8(..); value_bytes])
    }

    /// Inserts random cells until one does not fit; returns the place and the cell.
    fn fill(page: &mut Page, rng: &mut Rng) -> (usize, (Vec<u8>, Vec<u8>)) {
        loop {
            let (key, value) = random_cell(rng);
            if let Err(index) = page.search(&key)
                && !page.insert(index, &key, &value)
            {
                return (index, (key, value));
            }
        }
    }

    #[test]
    fn page_equals_a_sorted_list_over_random_changes() {
        for seed in 0..60 {
            println!("seed {seed}");
            let mut rng = Rng::with_seed(seed);
            let mut page = Page::empty(TreeId::Names, 0);
            let mut model: Cells = Vec::new();
            for _ in 0..600 {
                let (key, value) = random_cell(&mut rng);
                let place = model.binary_search_by(|(other, _)| other.cmp(&key));
                assert_eq!(page.search(&key), place);
                assert_eq!(page.view().search(&key), place);
                match place {
                    Ok(index) if rng.bool() => {
                        page.remove(index);
                        model.remove(index);
                    }
                    Ok(index) => {
                        let room = CAPACITY - page.used() + model[index].1.len() >= value.len();
                        assert_eq!(page.replace(index, &key, &value), room);
                        if room {
                            model[index].1 = value;
                        }
                    }
                    Err(index) => {
                        let size = CELL_HEADER_BYTES + SLOT_BYTES + key.len() + value.len();
                        let room = page.used() + size <= CAPACITY;
                        assert_eq!(page.insert(index, &key, &value), room);
                        if room {
                            model.insert(index, (key, value));
                        } else {
                            let victim = rng.usize(..model.len());
                            page.remove(victim);
                            model.remove(victim);
                        }
                    }
                }
                assert_eq!(page.defect(), None);
            }
            assert_eq!(cells_of(&page), model);
        }
    }

    #[test]
    fn cut_leaves_room_for_the_cell_and_halves_near_each_other() {
        for seed in 0..2000 {
            println!("seed {seed}");
            let mut rng = Rng::with_seed(seed);
            let mut left = Page::empty(TreeId::Names, 0);
            let (index, (key, value)) = fill(&mut left, &mut rng);
            let mut expected = cells_of(&left);
            expected.insert(index, (key.clone(), value.clone()));
            let ascending = index == left.count() || index == left.run;
            let cut = left.cut(index, key.len(), value.len());
            let mut right = left.split_off(cut.at);
            let fits = match cut.side {
                Side::Left => left.insert(index, &key, &value),
                Side::Right => right.insert(index - cut.at, &key, &value),
            };
            assert!(fits && left.count() > 0 && right.count() > 0);
            assert_eq!((left.defect(), right.defect()), (None, None));
            let cells = [cells_of(&left), cells_of(&right)].concat();
            assert_eq!(cells, expected);
            let largest = CELL_HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX + SLOT_BYTES;
            assert!(ascending || left.used().abs_diff(right.used()) <= largest);
        }
    }

    #[test]
    fn ascending_run_in_the_middle_leaves_a_full_page() {
        let mut page = Page::empty(TreeId::Extents, 0);
        assert!(page.insert(0, &[9], &[0; 100]));
        let mut number = 0_u32;
        while page.insert(page.count() - 1, &number.to_be_bytes(), &[0; 24]) {
            number += 1;
        }
        let index = page.count() - 1;
        let cut = page.cut(index, 4, 24);
        assert_eq!(cut, Cut { at: index, side: Side::Left });
    }

    #[test]
    fn packed_page_holds_nothing_of_removed_cells() {
        let mut page = Page::empty(TreeId::Names, 0);
        for (index, key) in [b"a", b"b", b"c"].into_iter().enumerate() {
            assert!(page.insert(index, key, b"secret"));
        }
        page.remove(1);
        assert!(page.replace(1, b"c", b"-"));
        let mut packed = zeroed();
        page.pack_into(&mut packed);
        let secrets = packed.windows(6).filter(|window| *window == b"secret").count();
        assert_eq!(secrets, 1);
        let packed = Page::from_verified(packed).unwrap();
        assert_eq!(cells_of(&packed), cells_of(&page));
        assert_eq!(packed.used(), page.used());
    }

    #[test]
    fn overlapping_cells_are_refused() {
        let mut page = Page::empty(TreeId::Names, 0);
        // The value of the lower cell looks like a cell with an ascending key.
        assert!(page.insert(0, b"a", &[1, 0, 0, 0, b'b']));
        let inside = page.view().slot(0) + CELL_HEADER_BYTES + 1;
        page.put_u16(HEADER_BYTES + SLOT_BYTES, inside);
        page.put_u16(COUNT_AT, 2);
        assert_eq!((page.key(1), page.value(1)), (&b"b"[..], &b""[..]));
        assert!(Page::from_verified(page.bytes.clone()).is_none());
    }
}
