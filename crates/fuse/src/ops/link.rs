//! Operations that change names: creation, links, removal, renaming; and READLINK.
//!
//! Creation happens under the caller's umask and the directory's default ACL, which core weighs
//! (`DONT_MASK`). Whether a set-group-id bit may stay on a new file depends on the caller's
//! groups, of which the kernel tells us the one that matters (`CREATE_SUPP_GROUP`).

use ashlar_core::{Attr, Caller, FileKind, Ino, NewInode, RenameFlags};

use super::attr::kind_of_mode;
use super::{Answer, Server, errno};
use crate::credentials::{self, Capability};
use crate::wire::abi::{CreateIn, CreateOut, InHeader};
use crate::wire::reply::{Errno, Reply};
use crate::wire::request::{Groups, Operation};

impl Server {
    /// Runs one of the name-changing operations, durably if the mount asks for that.
    pub(super) fn change_names(&self, header: &InHeader, operation: &Operation<'_>) -> Answer {
        let answer = self.change_names_in_memory(header, operation)?;
        if self.policy.sync_names
            && let Err(errno) = self.sync_volume()
        {
            let done = Ok(answer);
            self.take_back(&done);
            return Err(errno);
        }
        Ok(answer)
    }

    fn change_names_in_memory(&self, header: &InHeader, operation: &Operation<'_>) -> Answer {
        let dir = Ino(header.nodeid);
        match *operation {
            Operation::Symlink { name, target, groups } => {
                let new = NewInode {
                    kind: FileKind::Symlink,
                    mode: 0o777,
                    rdev: 0,
                    symlink_target: target,
                };
                self.make(&caller(header, 0, 0, groups), dir, name, &new)
            }
            Operation::Mknod { arguments, name, groups } => {
                let kind = kind_of_mode(arguments.mode).ok_or(Errno::EINVAL)?;
                let mode = arguments.mode & 0o7777;
                let rdev = u64::from(arguments.rdev);
                let new = NewInode { kind, mode, rdev, symlink_target: &[] };
                self.make(&caller(header, mode, arguments.umask, groups), dir, name, &new)
            }
            Operation::Mkdir { arguments, name, groups } => {
                let mode = arguments.mode & 0o7777;
                let new =
                    NewInode { kind: FileKind::Directory, mode, rdev: 0, symlink_target: &[] };
                self.make(&caller(header, 0, arguments.umask, groups), dir, name, &new)
            }
            Operation::Create { arguments, name, groups } => {
                self.create(header, &arguments, name, groups)
            }
            Operation::Tmpfile { arguments, groups } => self.tmpfile(header, &arguments, groups),
            Operation::Link { ino, new_name } => {
                let attr =
                    self.volume.link(Ino(ino), dir, new_name).map_err(|error| errno(&error))?;
                Ok(Reply::Entry(self.entry(&attr)))
            }
            Operation::Unlink { name } => done(self.volume.unlink(dir, name)),
            Operation::Rmdir { name } => done(self.volume.rmdir(dir, name)),
            Operation::Rename { new_dir, flags, name, new_name } => {
                let flags = rename_flags(flags)?;
                // A whiteout left behind belongs to the caller.
                let caller = caller(header, 0, 0, Groups::default());
                done(self.volume.rename(&caller, dir, name, Ino(new_dir), new_name, flags))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Creates something that is not opened at the same time.
    fn make(&self, caller: &Caller, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Answer {
        let attr = self.volume.create(caller, dir, name, new).map_err(|error| errno(&error))?;
        Ok(Reply::Entry(self.entry(&attr)))
    }

    /// CREATE: a new regular file, opened.
    fn create(
        &self,
        header: &InHeader,
        arguments: &CreateIn,
        name: &[u8],
        groups: Groups<'_>,
    ) -> Answer {
        let mode = arguments.mode & 0o7777;
        let caller = caller(header, mode, arguments.umask, groups);
        let new = NewInode { kind: FileKind::Regular, mode, rdev: 0, symlink_target: &[] };
        let attr = self
            .volume
            .create(&caller, Ino(header.nodeid), name, &new)
            .map_err(|error| errno(&error))?;
        self.open_new(&attr, arguments.flags)
    }

    /// TMPFILE: a regular file without a name, which `LINK` may give it later.
    fn tmpfile(&self, header: &InHeader, arguments: &CreateIn, groups: Groups<'_>) -> Answer {
        let mode = arguments.mode & 0o7777;
        let caller = caller(header, mode, arguments.umask, groups);
        let attr = self
            .volume
            .create_unnamed(&caller, Ino(header.nodeid), mode)
            .map_err(|error| errno(&error))?;
        self.open_new(&attr, arguments.flags)
    }

    fn open_new(&self, attr: &Attr, flags: u32) -> Answer {
        // In this order: a handle keeps a file without a name alive.
        let open = self.open_file(attr, flags)?;
        let entry = self.entry(attr);
        Ok(Reply::Create(CreateOut { entry, open }))
    }

    pub(super) fn readlink(&self, ino: Ino) -> Answer {
        let target = self.volume.readlink(ino).map_err(|error| errno(&error))?;
        Ok(Reply::Bytes(target))
    }
}

fn done(result: Result<(), ashlar_core::Error>) -> Answer {
    match result {
        Ok(()) => Ok(Reply::Done),
        Err(error) => Err(errno(&error)),
    }
}

/// Who creates. `mode` matters for its set-group-id bit only: just then is it worth asking
/// whether the caller may set it.
fn caller(header: &InHeader, mode: u32, umask: u32, groups: Groups<'_>) -> Caller {
    let privileged = header.uid == 0;
    let capable_fsetid = mode & libc::S_ISGID == 0
        || credentials::has_capability(header.pid, header.uid, Capability::Fsetid);
    Caller {
        uid: header.uid,
        gid: header.gid,
        groups: groups.iter().collect(),
        capable_fsetid,
        umask,
        privileged,
    }
}

/// Translates renameat2(2)'s flags.
fn rename_flags(bits: u32) -> Result<RenameFlags, Errno> {
    let known = [
        (libc::RENAME_NOREPLACE, RenameFlags::NOREPLACE),
        (libc::RENAME_EXCHANGE, RenameFlags::EXCHANGE),
        (libc::RENAME_WHITEOUT, RenameFlags::WHITEOUT),
    ];
    let mut flags = RenameFlags::empty();
    let mut rest = bits;
    for (bit, flag) in known {
        if rest & bit != 0 {
            flags |= flag;
            rest &= !bit;
        }
    }
    if rest == 0 { Ok(flags) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_rename_flag_is_refused() {
        assert_eq!(rename_flags(0), Ok(RenameFlags::empty()));
        assert_eq!(rename_flags(5), Ok(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT));
        assert_eq!(rename_flags(8), Err(Errno::EINVAL));
    }
}
