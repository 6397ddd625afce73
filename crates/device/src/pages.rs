//! Memory for buffers of one page: cut from large pieces, so that neither the allocator nor the
//! kernel is asked for each.
//!
//! An allocator that aligns to a page spends two pages on one, and every page touched for the
//! first time is a fault of its own. Here 512 pages come as one piece of 2 MiB that the kernel is
//! asked to back with one huge page. Pieces are never given back: what the largest number of
//! buffers at one time took stays for the next ones.
//!
//! Invariants (the `unsafe` blocks cite them):
//! * **P1** a pointer in `FREE` is the start of a page in a live piece, and nobody else has it;
//! * **P2** a page taken belongs to the taker until it is given back, once.

// Raw memory is the point of this module; its callers see owned pages only.
#![allow(unsafe_code)]

use parking_lot::Mutex;
use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ptr::NonNull;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
const PIECE_BYTES: usize = 2 << 20;

/// Start of a page. Plain memory has no thread affinity.
struct Page(NonNull<u8>);

// SAFETY: P1, P2: a page is owned by whoever holds this value.
unsafe impl Send for Page {}

static FREE: Mutex<Vec<Page>> = Mutex::new(Vec::new());

/// A zeroed page.
pub(crate) fn take() -> NonNull<u8> {
    let page = {
        let mut free = FREE.lock();
        if free.is_empty() {
            add_piece(&mut free);
        }
        free.pop().map_or_else(|| unreachable!("a piece was just added"), |page| page.0)
    };
    // SAFETY: P2, the page is this caller's alone, and PAGE_BYTES long.
    unsafe { page.as_ptr().write_bytes(0, PAGE_BYTES) };
    page
}

/// Gives a page back.
///
/// # Safety
/// `page` came from [`take`] and is not used any more.
pub(crate) unsafe fn give(page: NonNull<u8>) {
    FREE.lock().push(Page(page));
}

fn add_piece(free: &mut Vec<Page>) {
    let layout = Layout::from_size_align(PIECE_BYTES, PIECE_BYTES).expect("both are powers of two");
    // SAFETY: the size is not zero.
    let start = unsafe { alloc(layout) };
    let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
    // Advice: where it is not taken, pages come one by one.
    // SAFETY: the range is this piece, and the advice changes no contents.
    unsafe { libc::madvise(start.as_ptr().cast(), PIECE_BYTES, libc::MADV_HUGEPAGE) };
    // The lowest address is taken first.
    free.extend((0..PIECE_BYTES / PAGE_BYTES).rev().map(|index| {
        // SAFETY: the offset stays inside the piece.
        Page(unsafe { start.add(index * PAGE_BYTES) })
    }));
}
