//! Decodes the bytes of one request, checking every length before it is used.
//!
//! Nothing in a request is trusted to be there: a short buffer, a missing NUL or a count larger
//! than the bytes that follow is a [`Malformed`], never a panic. Structures are copied out of the
//! buffer (at most 88 bytes); names, values and write data stay where they are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::abi::{self, InHeader, Opcode};

/// A request that does not have the form its opcode demands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed request (opcode {opcode}): {what}")]
pub(crate) struct Malformed {
    pub(crate) opcode: u32,
    pub(crate) what: &'static str,
}

/// One request: who asks, about which inode, and for what.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) header: InHeader,
    pub(crate) operation: Operation<'a>,
}

/// What is asked for, with those of its arguments that matter here.
#[derive(Debug)]
pub(crate) enum Operation<'a> {
    Lookup {
        name: &'a [u8],
    },
    Forget {
        count: u64,
    },
    BatchForget(ForgetList<'a>),
    Getattr(abi::GetattrIn),
    Statx,
    Setattr(abi::SetattrIn),
    Readlink,
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
        groups: Groups<'a>,
    },
    Mknod {
        arguments: abi::MknodIn,
        name: &'a [u8],
        groups: Groups<'a>,
    },
    Mkdir {
        arguments: abi::MkdirIn,
        name: &'a [u8],
        groups: Groups<'a>,
    },
    Unlink {
        name: &'a [u8],
    },
    Rmdir {
        name: &'a [u8],
    },
    Rename {
        new_dir: u64,
        flags: u32,
        name: &'a [u8],
        new_name: &'a [u8],
    },
    Link {
        ino: u64,
        new_name: &'a [u8],
    },
    Open(abi::OpenIn),
    Read(abi::ReadIn),
    Write {
        arguments: abi::WriteIn,
        data: &'a [u8],
    },
    Statfs,
    Release(abi::ReleaseIn),
    Fsync(abi::FsyncIn),
    Setxattr {
        flags: u32,
        ext_flags: u32,
        name: &'a [u8],
        value: &'a [u8],
    },
    Getxattr {
        size: u32,
        name: &'a [u8],
    },
    Listxattr {
        size: u32,
    },
    Removexattr {
        name: &'a [u8],
    },
    Flush,
    Init(abi::InitIn),
    Opendir,
    Readdir(abi::ReadIn),
    Readdirplus(abi::ReadIn),
    Releasedir,
    Fsyncdir,
    Access,
    Create {
        arguments: abi::CreateIn,
        name: &'a [u8],
        groups: Groups<'a>,
    },
    Tmpfile {
        arguments: abi::CreateIn,
        groups: Groups<'a>,
    },
    Interrupt,
    Bmap(abi::BmapIn),
    Destroy,
    Ioctl {
        arguments: abi::IoctlIn,
        data: &'a [u8],
    },
    Fallocate(abi::FallocateIn),
    Lseek(abi::LseekIn),
    CopyFileRange {
        arguments: abi::CopyFileRangeIn,
        wide: bool,
    },
    Syncfs,
    /// Known or not, an operation this server leaves to the kernel (locks, poll, DAX windows).
    Unsupported,
}

/// The inodes of a `BATCH_FORGET`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForgetList<'a>(&'a [u8]);

impl ForgetList<'_> {
    /// The pairs of inode and count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = abi::ForgetOne> {
        self.0
            .chunks_exact(size_of::<abi::ForgetOne>())
            .filter_map(|bytes| abi::ForgetOne::read_from_bytes(bytes).ok())
    }
}

/// Supplementary groups of a creation's caller, as far as they matter: the kernel sends the
/// parent's group when the caller is in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Groups<'a>(&'a [u8]);

impl Groups<'_> {
    /// The group numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.chunks_exact(4).filter_map(|bytes| u32::read_from_bytes(bytes).ok())
    }
}

/// Reads the header alone, so that even a malformed request can be answered.
pub(crate) fn header(bytes: &[u8]) -> Option<InHeader> {
    InHeader::read_from_prefix(bytes).ok().map(|(header, _)| header)
}

/// Decodes one request as read from the device. `setxattr_ext` is what INIT agreed on.
///
/// # Errors
/// [`Malformed`] if the bytes do not form the request that their opcode announces.
pub(crate) fn decode(bytes: &[u8], setxattr_ext: bool) -> Result<Request<'_>, Malformed> {
    let short = Malformed { opcode: 0, what: "shorter than its header" };
    let (header, body) = InHeader::read_from_prefix(bytes).map_err(|_| short)?;
    let fail = |what| Malformed { opcode: header.opcode, what };
    if header.len as usize != bytes.len() {
        return Err(fail("its length differs from what was read"));
    }
    let extensions = usize::from(header.total_extlen) * 8;
    let Some(body_len) = body.len().checked_sub(extensions) else {
        return Err(fail("its extensions are longer than it"));
    };
    let (body, extensions) = body.split_at(body_len);
    let arguments = Arguments { opcode: header.opcode, rest: body, extensions };
    let Some(opcode) = Opcode::from_number(header.opcode) else {
        return Ok(Request { header, operation: Operation::Unsupported });
    };
    let operation = match opcode {
        Opcode::Lookup
        | Opcode::Symlink
        | Opcode::Mknod
        | Opcode::Mkdir
        | Opcode::Unlink
        | Opcode::Rmdir
        | Opcode::Rename
        | Opcode::Rename2
        | Opcode::Link
        | Opcode::Create
        | Opcode::Tmpfile => decode_namespace(opcode, arguments),
        Opcode::Setxattr | Opcode::Getxattr | Opcode::Listxattr | Opcode::Removexattr => {
            decode_xattr(opcode, arguments, setxattr_ext)
        }
        _ => decode_inode(opcode, arguments),
    }?;
    Ok(Request { header, operation })
}

/// Operations on names.
fn decode_namespace<'a>(
    opcode: Opcode,
    mut arguments: Arguments<'a>,
) -> Result<Operation<'a>, Malformed> {
    let args = &mut arguments;
    Ok(match opcode {
        Opcode::Lookup => Operation::Lookup { name: args.name()? },
        Opcode::Symlink => {
            let (name, target) = (args.name()?, args.name()?);
            Operation::Symlink { name, target, groups: args.groups()? }
        }
        Opcode::Mknod => {
            Operation::Mknod { arguments: args.take()?, name: args.name()?, groups: args.groups()? }
        }
        Opcode::Mkdir => {
            Operation::Mkdir { arguments: args.take()?, name: args.name()?, groups: args.groups()? }
        }
        Opcode::Unlink => Operation::Unlink { name: args.name()? },
        Opcode::Rmdir => Operation::Rmdir { name: args.name()? },
        Opcode::Rename => {
            let abi::RenameIn { newdir } = args.take()?;
            let (name, new_name) = (args.name()?, args.name()?);
            Operation::Rename { new_dir: newdir, flags: 0, name, new_name }
        }
        Opcode::Rename2 => {
            let abi::Rename2In { newdir, flags, .. } = args.take()?;
            let (name, new_name) = (args.name()?, args.name()?);
            Operation::Rename { new_dir: newdir, flags, name, new_name }
        }
        Opcode::Link => {
            let abi::LinkIn { oldnodeid } = args.take()?;
            Operation::Link { ino: oldnodeid, new_name: args.name()? }
        }
        Opcode::Create => Operation::Create {
            arguments: args.take()?,
            name: args.name()?,
            groups: args.groups()?,
        },
        // The name that follows is the kernel's placeholder and means nothing.
        Opcode::Tmpfile => Operation::Tmpfile { arguments: args.take()?, groups: args.groups()? },
        _ => Operation::Unsupported,
    })
}

/// Operations on extended attributes.
fn decode_xattr<'a>(
    opcode: Opcode,
    mut args: Arguments<'a>,
    setxattr_ext: bool,
) -> Result<Operation<'a>, Malformed> {
    Ok(match opcode {
        Opcode::Setxattr => {
            let (size, flags, ext_flags) = if setxattr_ext {
                let head: abi::SetxattrIn = args.take()?;
                (head.size, head.flags, head.setxattr_flags)
            } else {
                let head: abi::SetxattrInShort = args.take()?;
                (head.size, head.flags, 0)
            };
            let name = args.name()?;
            Operation::Setxattr { flags, ext_flags, name, value: args.bytes(size)? }
        }
        Opcode::Getxattr => {
            let abi::GetxattrIn { size, .. } = args.take()?;
            Operation::Getxattr { size, name: args.name()? }
        }
        Opcode::Listxattr => {
            let abi::GetxattrIn { size, .. } = args.take()?;
            Operation::Listxattr { size }
        }
        Opcode::Removexattr => Operation::Removexattr { name: args.name()? },
        _ => Operation::Unsupported,
    })
}

/// Operations on an inode, an open file, or the whole volume.
fn decode_inode<'a>(opcode: Opcode, mut args: Arguments<'a>) -> Result<Operation<'a>, Malformed> {
    Ok(match opcode {
        Opcode::Forget => Operation::Forget { count: args.take::<abi::ForgetIn>()?.nlookup },
        Opcode::BatchForget => {
            let abi::BatchForgetIn { count, .. } = args.take()?;
            let size = count.checked_mul(size_of::<abi::ForgetOne>() as u32);
            let size = size.ok_or_else(|| args.malformed("its count overflows"))?;
            Operation::BatchForget(ForgetList(args.bytes(size)?))
        }
        Opcode::Getattr => Operation::Getattr(args.take()?),
        Opcode::Statx => Operation::Statx,
        Opcode::Setattr => Operation::Setattr(args.take()?),
        Opcode::Readlink => Operation::Readlink,
        Opcode::Open => Operation::Open(args.take()?),
        Opcode::Read => Operation::Read(args.take()?),
        Opcode::Write => {
            let arguments: abi::WriteIn = args.take()?;
            Operation::Write { arguments, data: args.bytes(arguments.size)? }
        }
        Opcode::Statfs => Operation::Statfs,
        Opcode::Release => Operation::Release(args.take()?),
        Opcode::Fsync => Operation::Fsync(args.take()?),
        Opcode::Flush => Operation::Flush,
        Opcode::Init => Operation::Init(args.init()?),
        Opcode::Opendir => Operation::Opendir,
        Opcode::Readdir => Operation::Readdir(args.take()?),
        Opcode::Readdirplus => Operation::Readdirplus(args.take()?),
        Opcode::Releasedir => Operation::Releasedir,
        Opcode::Fsyncdir => Operation::Fsyncdir,
        Opcode::Access => Operation::Access,
        Opcode::Interrupt => Operation::Interrupt,
        Opcode::Bmap => Operation::Bmap(args.take()?),
        Opcode::Destroy => Operation::Destroy,
        Opcode::Ioctl => {
            let arguments: abi::IoctlIn = args.take()?;
            Operation::Ioctl { arguments, data: args.bytes(arguments.in_size)? }
        }
        Opcode::Fallocate => Operation::Fallocate(args.take()?),
        Opcode::Lseek => Operation::Lseek(args.take()?),
        Opcode::CopyFileRange => Operation::CopyFileRange { arguments: args.take()?, wide: false },
        Opcode::CopyFileRange64 => Operation::CopyFileRange { arguments: args.take()?, wide: true },
        Opcode::Syncfs => Operation::Syncfs,
        _ => Operation::Unsupported,
    })
}

/// What is left of a request's arguments.
struct Arguments<'a> {
    opcode: u32,
    rest: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Arguments<'a> {
    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { opcode: self.opcode, what }
    }

    /// The next structure.
    fn take<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, Malformed> {
        let failed = self.malformed("its arguments are cut short");
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| failed)?;
        self.rest = rest;
        Ok(value)
    }

    /// The next string, without its NUL.
    fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let Some(end) = self.rest.iter().position(|&byte| byte == 0) else {
            return Err(self.malformed("a name does not end"));
        };
        let name = self.rest.get(..end).unwrap_or_default();
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Ok(name)
    }

    /// The next `size` bytes.
    fn bytes(&mut self, size: u32) -> Result<&'a [u8], Malformed> {
        let failed = self.malformed("its data is cut short");
        let (bytes, rest) = self.rest.split_at_checked(size as usize).ok_or(failed)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// INIT's arguments, whose length depends on the kernel's age.
    fn init(&mut self) -> Result<abi::InitIn, Malformed> {
        if self.rest.len() >= size_of::<abi::InitIn>() {
            return self.take();
        }
        let short: abi::InitInShort = self.take()?;
        let mut init = abi::InitIn::default();
        // The short form is a prefix of the long one.
        if let Some(prefix) = init.as_mut_bytes().get_mut(..size_of::<abi::InitInShort>()) {
            prefix.copy_from_slice(short.as_bytes());
        }
        Ok(init)
    }

    /// The supplementary groups among the extensions; none if there is no such extension.
    fn groups(&mut self) -> Result<Groups<'a>, Malformed> {
        let mut rest = self.extensions;
        while !rest.is_empty() {
            let failed = self.malformed("an extension is cut short");
            let (head, body) = abi::ExtHeader::read_from_prefix(rest).map_err(|_| failed)?;
            let length = (head.size as usize).checked_sub(size_of::<abi::ExtHeader>());
            let body = length.and_then(|length| body.get(..length)).ok_or(failed)?;
            if head.kind == abi::EXT_GROUPS {
                let (count, groups) = u32::read_from_prefix(body).map_err(|_| failed)?;
                let bytes = (count as usize).checked_mul(4).ok_or(failed)?;
                return groups.get(..bytes).map(Groups).ok_or(failed);
            }
            rest = rest.get((head.size as usize).next_multiple_of(8)..).unwrap_or_default();
        }
        Ok(Groups::default())
    }
}

#[cfg(test)]
mod tests;
