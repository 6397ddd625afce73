//! Reads requests from and writes replies to `/dev/fuse`.
//!
//! Every worker has a [`Channel`] of its own, cloned from the first: the kernel then keeps a
//! queue of unanswered requests per channel, so workers do not contend for one lock. A request
//! must be answered on the channel it came from.
//!
//! The kernel copies a request as one run of bytes. [`RequestBuffer`] starts it 80 bytes (request
//! header and `WRITE` arguments) before a page boundary, so that a `WRITE` payload lands on it:
//!
//! ```text
//!   0                4016      4056      4096                        4096 + max_write
//!   |    unused      | InHeader| WriteIn | payload, page-aligned ...  |
//! ```

use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno as OsError;
use zerocopy::IntoBytes;

use super::abi::{self, InHeader, OutHeader, WriteIn};
use super::reply::{Errno, Reply, encode};
use crate::sys;

/// Largest payload of one `WRITE` and answer to one `READ`: 256 pages, the most that an
/// unprivileged setting of the kernel allows.
pub(crate) const MAX_TRANSFER: usize = 1 << 20;
/// What payloads are aligned to, enough for direct I/O on any device.
const PAGE: usize = 4096;
/// Where a request starts, counted from a page boundary.
const REQUEST_START: usize = PAGE - size_of::<InHeader>() - size_of::<WriteIn>();

/// What a read of the device brought.
pub(crate) enum Received<'a> {
    /// The bytes of one request.
    Request(&'a [u8]),
    /// The file system is unmounted, or its connection was aborted.
    Closed,
}

/// One descriptor of the FUSE device, bound to a mounted connection.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    device: Arc<OwnedFd>,
}

impl Channel {
    /// A channel on the descriptor that was given to mount(2) or came from `fusermount3`.
    pub(crate) fn new(device: OwnedFd) -> Channel {
        Channel { device: Arc::new(device) }
    }

    /// A second channel of the same connection, with its own queue.
    ///
    /// # Errors
    /// The operating system's, when `/dev/fuse` cannot be opened or cloned.
    pub(crate) fn split(&self) -> rustix::io::Result<Channel> {
        let device = open_device()?;
        sys::clone_fuse_device(&device, self.device.as_fd())?;
        Ok(Channel::new(device))
    }

    /// Waits for the next request.
    ///
    /// # Errors
    /// The operating system's; interruptions and requests withdrawn in the meantime are retried.
    pub(crate) fn receive<'a>(
        &self,
        buffer: &'a mut RequestBuffer,
    ) -> rustix::io::Result<Received<'a>> {
        let length = loop {
            match rustix::io::read(&*self.device, buffer.space()) {
                Ok(length) => break length,
                // ENOENT: the request was withdrawn while it was being copied.
                Err(OsError::INTR | OsError::AGAIN | OsError::NOENT) => {}
                Err(OsError::NODEV | OsError::CONNABORTED) => return Ok(Received::Closed),
                Err(error) => return Err(error),
            }
        };
        Ok(Received::Request(buffer.filled(length)))
    }

    /// Answers request `unique`.
    ///
    /// # Errors
    /// `ENOENT` when nobody waits for the answer any more; what the answer promised (a lookup
    /// count, an open handle) is then the caller's to take back.
    pub(crate) fn reply(
        &self,
        unique: u64,
        answer: &Result<Reply, Errno>,
        output: &[u8],
    ) -> rustix::io::Result<()> {
        if matches!(answer, Ok(Reply::Silent)) {
            return Ok(());
        }
        encode(unique, answer, output, |pieces| self.send(pieces))
    }

    /// Makes the kernel write back and drop the cached pages of `ino` from `offset` on.
    ///
    /// The call returns when the dirty pages have been written: through other workers, so it
    /// must not be made by one.
    ///
    /// # Errors
    /// `ENOENT` when the kernel does not know the inode, which is as good as success.
    pub(crate) fn invalidate(&self, ino: u64, offset: i64) -> rustix::io::Result<()> {
        let body = abi::NotifyInvalInodeOut { ino, off: offset, len: 0 };
        let header = OutHeader {
            len: (size_of::<OutHeader>() + size_of_val(&body)) as u32,
            error: abi::NOTIFY_INVAL_INODE,
            unique: 0,
        };
        self.send(&[IoSlice::new(header.as_bytes()), IoSlice::new(body.as_bytes())])
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> rustix::io::Result<()> {
        loop {
            match rustix::io::writev(&*self.device, pieces) {
                Err(OsError::INTR) => {}
                result => return result.map(drop),
            }
        }
    }
}

/// Opens the FUSE device.
///
/// # Errors
/// The operating system's: the module may be missing, or permission.
pub(crate) fn open_device() -> rustix::io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Page-aligned memory, zeroed.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Aligned {
        let bytes = vec![0; length + PAGE];
        let start = (bytes.as_ptr() as usize).wrapping_neg() % PAGE;
        Aligned { bytes, start, length }
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes
            .get(self.start..self.start + self.length)
            .and_then(|all| all.get(range))
            .unwrap_or_default()
    }

    fn slice_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.bytes
            .get_mut(self.start..self.start + self.length)
            .and_then(|all| all.get_mut(range))
            .unwrap_or_default()
    }
}

/// Where one worker's requests are read into.
pub(crate) struct RequestBuffer(Aligned);

impl RequestBuffer {
    /// Room for the largest request.
    pub(crate) fn new() -> RequestBuffer {
        RequestBuffer(Aligned::new(PAGE + MAX_TRANSFER))
    }

    fn space(&mut self) -> &mut [u8] {
        self.0.slice_mut(REQUEST_START..PAGE + MAX_TRANSFER)
    }

    fn filled(&self, length: usize) -> &[u8] {
        self.0.slice(REQUEST_START..REQUEST_START + length)
    }
}

/// Where one worker's bulk answers are built, page-aligned so that a read needs no copy.
pub(crate) struct OutputBuffer(Aligned);

impl OutputBuffer {
    /// Room for the largest answer.
    pub(crate) fn new() -> OutputBuffer {
        OutputBuffer(Aligned::new(MAX_TRANSFER))
    }

    /// The first `length` bytes, or as many as there are.
    pub(crate) fn first_mut(&mut self, length: usize) -> &mut [u8] {
        self.0.slice_mut(0..length.min(MAX_TRANSFER))
    }

    /// The whole buffer.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.slice(0..MAX_TRANSFER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_payload_lands_on_a_page_boundary() {
        for _ in 0..8 {
            let mut buffer = RequestBuffer::new();
            let space = buffer.space();
            assert_eq!(space.len(), 80 + MAX_TRANSFER);
            assert_eq!((space.as_ptr() as usize + 80) % PAGE, 0);
            assert_eq!(space.as_ptr() as usize % 8, 0);
            assert_eq!(buffer.filled(80).len(), 80);
        }
    }

    #[test]
    fn output_is_aligned_and_never_longer_than_asked() {
        let mut output = OutputBuffer::new();
        assert_eq!(output.first_mut(10).len(), 10);
        assert_eq!(output.first_mut(usize::MAX).len(), MAX_TRANSFER);
        assert_eq!(output.bytes().as_ptr() as usize % PAGE, 0);
    }
}
