//! Answers to requests, and how their bytes are put together.
//!
//! An operation returns a [`Reply`] or an [`Errno`]; only this module knows the message's form.
//! Bulk data (what was read, directory entries) lies in the worker's output buffer and is sent
//! from there; everything else is a structure of at most 288 bytes.

use std::io::IoSlice;

use zerocopy::IntoBytes;

use super::abi::{self, OutHeader};

/// A POSIX error number, positive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const EIO: Errno = Errno(libc::EIO);
    pub(crate) const EBADF: Errno = Errno(libc::EBADF);
    pub(crate) const EINVAL: Errno = Errno(libc::EINVAL);
    pub(crate) const ENOENT: Errno = Errno(libc::ENOENT);
    pub(crate) const ENOSPC: Errno = Errno(libc::ENOSPC);
    pub(crate) const ENOSYS: Errno = Errno(libc::ENOSYS);
    pub(crate) const ENOTTY: Errno = Errno(libc::ENOTTY);
    pub(crate) const EOPNOTSUPP: Errno = Errno(libc::EOPNOTSUPP);
    pub(crate) const EPERM: Errno = Errno(libc::EPERM);
    pub(crate) const ERANGE: Errno = Errno(libc::ERANGE);
}

/// A successful answer.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Success with nothing to say.
    Done,
    /// The request takes no answer (`FORGET`), or somebody else will give it.
    Silent,
    Entry(abi::EntryOut),
    Attr(abi::AttrOut),
    Statx(Box<abi::StatxOut>),
    Open(abi::OpenOut),
    Create(abi::CreateOut),
    Write(abi::WriteOut),
    Statfs(abi::Kstatfs),
    XattrSize(abi::GetxattrOut),
    Init(abi::InitOut),
    Bmap(abi::BmapOut),
    Lseek(abi::LseekOut),
    Copied(abi::CopyFileRangeOut),
    /// A link target, an attribute's value, a list of names.
    Bytes(Vec<u8>),
    /// The first so many bytes of the worker's output buffer.
    Output(usize),
    /// An ioctl's result and its outgoing structure.
    Ioctl(abi::IoctlOut, Vec<u8>),
}

impl Reply {
    /// A `WRITE` reply; the count fits, for a request is smaller than 4 GiB.
    pub(crate) fn written(count: usize) -> Reply {
        Reply::Write(abi::WriteOut { size: u32::try_from(count).unwrap_or(u32::MAX), padding: 0 })
    }

    /// The reply's body: one or two pieces that follow the header.
    fn body<'a>(&'a self, output: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let whole: &[u8] = match self {
            Reply::Done | Reply::Silent => &[],
            Reply::Entry(value) => value.as_bytes(),
            Reply::Attr(value) => value.as_bytes(),
            Reply::Statx(value) => value.as_bytes(),
            Reply::Open(value) => value.as_bytes(),
            Reply::Create(value) => value.as_bytes(),
            Reply::Write(value) => value.as_bytes(),
            Reply::Statfs(value) => value.as_bytes(),
            Reply::XattrSize(value) => value.as_bytes(),
            Reply::Init(value) => value.as_bytes(),
            Reply::Bmap(value) => value.as_bytes(),
            Reply::Lseek(value) => value.as_bytes(),
            Reply::Copied(value) => value.as_bytes(),
            Reply::Bytes(value) => value,
            Reply::Output(length) => output.get(..*length).unwrap_or_default(),
            Reply::Ioctl(head, data) => return (head.as_bytes(), data),
        };
        (whole, &[])
    }
}

/// Passes the message that answers request `unique` to `send`, piece by piece.
pub(crate) fn encode<R>(
    unique: u64,
    answer: &Result<Reply, Errno>,
    output: &[u8],
    send: impl FnOnce(&[IoSlice<'_>]) -> R,
) -> R {
    let (error, (first, second)) = match answer {
        Ok(reply) => (0, reply.body(output)),
        Err(errno) => (-errno.0, (&[][..], &[][..])),
    };
    let length = size_of::<OutHeader>() + first.len() + second.len();
    let header = OutHeader { len: length as u32, error, unique };
    let pieces = [header.as_bytes(), first, second].map(IoSlice::new);
    let count = if second.is_empty() { 2 } else { 3 };
    send(pieces.get(..count).unwrap_or(&pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(answer: &Result<Reply, Errno>, output: &[u8]) -> Vec<u8> {
        encode(3, answer, output, |pieces| pieces.iter().flat_map(|piece| piece.to_vec()).collect())
    }

    #[test]
    fn error_is_a_bare_header_with_the_negative_number() {
        let bytes = message(&Err(Errno(libc::EROFS)), b"ignored");
        let expected = OutHeader { len: 16, error: -libc::EROFS, unique: 3 };
        assert_eq!(bytes, expected.as_bytes());
    }

    #[test]
    fn output_reply_sends_only_what_it_counts() {
        let bytes = message(&Ok(Reply::Output(4)), b"data and more");
        assert_eq!(bytes.len(), 20);
        assert_eq!(&bytes[16..], b"data");
    }

    #[test]
    fn ioctl_reply_has_its_head_before_the_data() {
        let head = abi::IoctlOut { result: 1, ..abi::IoctlOut::default() };
        let bytes = message(&Ok(Reply::Ioctl(head, vec![9, 9])), &[]);
        assert_eq!(bytes.len(), 16 + 16 + 2);
        assert_eq!(bytes[..4], 34u32.to_ne_bytes());
    }
}
