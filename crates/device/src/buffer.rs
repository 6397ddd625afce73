//! A heap buffer whose start is aligned for direct I/O.
//!
//! Invariants (the `unsafe` blocks below cite them):
//! * **B1** `start` came from [`pages`] if `length` is one page, else from the global allocator with
//!   exactly `layout(length)`; it is given back to the same place, once, in `drop`.
//! * **B2** All `length` bytes are initialised from allocation on (`alloc_zeroed`) and belong to
//!   this value alone, so they follow the borrow of `self`.

// The standard library has no aligned byte vector; this module wraps the allocator safely.
#![allow(unsafe_code)]

use crate::pages;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Alignment of an [`AlignedBuf`]: what every device known today accepts for direct I/O.
pub const BUFFER_ALIGN: usize = 4096;

/// Owned bytes whose start is a multiple of [`BUFFER_ALIGN`]; any length, also 0.
///
/// Devices read and write such memory without a copy.
pub struct AlignedBuf {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: B2, the bytes are owned, and plain bytes have no thread affinity.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; `&AlignedBuf` gives only `&[u8]`.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Allocates `length` zero bytes.
    ///
    /// # Panics
    /// `length` rounded up to the alignment exceeds `isize::MAX`.
    #[must_use]
    pub fn new_zeroed(length: usize) -> Self {
        if length == pages::PAGE_BYTES {
            return Self { start: pages::take(), length };
        }
        let layout = layout(length);
        // SAFETY: `layout` never has size 0.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Self { start, length }
    }

    /// Allocates a copy of `bytes`.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut buffer = Self::new_zeroed(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

fn layout(length: usize) -> Layout {
    Layout::from_size_align(length.max(1), BUFFER_ALIGN).expect("no buffer exceeds isize::MAX")
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.length == pages::PAGE_BYTES {
            // SAFETY: B1.
            unsafe { pages::give(self.start) };
            return;
        }
        // SAFETY: B1.
        unsafe { dealloc(self.start.as_ptr(), layout(self.length)) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: B2; `start` is never null and aligned for bytes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: B2; `&mut self` makes the borrow unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        Self::from_slice(self)
    }
}

impl Default for AlignedBuf {
    fn default() -> Self {
        Self::new_zeroed(0)
    }
}

impl PartialEq for AlignedBuf {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for AlignedBuf {}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_is_aligned_for_every_length() {
        for length in [0, 1, 511, 512, 4095, 4096, 4097, 1 << 20] {
            let buffer = AlignedBuf::new_zeroed(length);
            assert_eq!(buffer.len(), length);
            assert!(buffer.as_ptr().addr().is_multiple_of(BUFFER_ALIGN));
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn clone_is_independent() {
        let mut buffer = AlignedBuf::from_slice(&[1, 2, 3]);
        let copy = buffer.clone();
        buffer[0] = 9;
        assert_eq!(*copy, [1, 2, 3]);
        assert_eq!(*buffer, [9, 2, 3]);
        assert_ne!(copy, buffer);
    }

    #[test]
    fn buffer_moves_between_threads() {
        let buffer = AlignedBuf::from_slice(&[5; 100]);
        let sum = std::thread::spawn(move || buffer.iter().map(|&b| u32::from(b)).sum::<u32>());
        assert_eq!(sum.join().expect("no panic"), 500);
    }
}
