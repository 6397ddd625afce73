//! stand-in
#![allow(unsafe_code, missing_docs)]
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
pub struct AlignedBuf {
    ptr: std::ptr::NonNull<u8>,
    len: usize,
}
// SAFETY: owns its bytes.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuf {}
impl AlignedBuf {
    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len.max(1), 4096).expect("length fits")
    }
    pub fn new_zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: size is not zero.
        let ptr = unsafe { alloc_zeroed(layout) };
        Self { ptr: std::ptr::NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout)), len }
    }
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut b = Self::new_zeroed(bytes.len());
        b.copy_from_slice(bytes);
        b
    }
}
impl Drop for AlignedBuf {
    // SAFETY: same layout as allocated.
    fn drop(&mut self) {
        unsafe { dealloc(self.ptr.as_ptr(), Self::layout(self.len)) }
    }
}
impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        Self::from_slice(self)
    }
}
impl Deref for AlignedBuf {
    type Target = [u8];
    // SAFETY: len bytes are initialised.
    fn deref(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}
impl DerefMut for AlignedBuf {
    // SAFETY: as above, unique.
    fn deref_mut(&mut self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}
impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({})", self.len)
    }
}
