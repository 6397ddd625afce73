//! Turns a path into a place: a directory's inode number and a last name.
//!
//! The rules are those of the kernel's path walk (path_resolution(7)): every path starts at the
//! volume's root, with or without a leading slash; symbolic links in the middle are followed; a
//! trailing slash asks for a directory; `..` in the root is the root.
//!
//! Invariants
//! (I1) `dir` is a directory that existed when it was looked up.
//! (I2) A path without symbolic links is walked without allocating: names are slices of it.
//!
//! Nothing is locked. What another thread renames or removes meanwhile is seen before or after;
//! an inode that vanishes between two steps gives `ENOENT`.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use ashlar_core::{Attr, FileKind, Ino, Volume};

use crate::error::{Cause, errno};

/// Longest path in bytes (the kernel's `PATH_MAX` without its terminating zero).
pub const PATH_BYTES_MAX: usize = 4095;
/// Most symbolic links that one walk follows.
pub const SYMLINKS_MAX: u32 = 40;

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    /// The directory that holds the last component.
    pub(crate) dir: Ino,
    /// The last component.
    pub(crate) last: Last<'p>,
    /// The path ends in a slash: only a directory will do.
    pub(crate) slash: bool,
}

/// The last component of a path.
#[derive(Debug)]
pub(crate) enum Last<'p> {
    /// A name that can be created, removed or renamed.
    Name(Cow<'p, [u8]>),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// There is none: the root itself.
    Root,
}

/// Whether a symbolic link at the very end is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Follow {
    Yes,
    No,
}

/// The place that `path` names, without looking its last component up.
pub(crate) fn place<'p>(volume: &Volume, path: &'p Path) -> Result<Place<'p>, Cause> {
    let mut walk = Walk::new(volume, path)?;
    let name = walk.go_to_last()?;
    Ok(walk.into_place(name))
}

/// The inode that `path` names.
pub(crate) fn find(volume: &Volume, path: &Path, follow: Follow) -> Result<Attr, Cause> {
    let mut walk = Walk::new(volume, path)?;
    loop {
        let Some(name) = walk.go_to_last()? else { return Ok(volume.getattr(walk.dir)?) };
        let attr = walk.lookup(&name)?;
        if let Some(attr) = walk.accept(attr, &name, follow)? {
            return Ok(attr);
        }
    }
}

/// The place of a file that is to be opened, and created if it is missing (`None`).
///
/// A name with a slash behind it is `EISDIR`, whatever is there: only a directory could be made
/// with it.
pub(crate) fn find_to_create<'p>(
    volume: &Volume,
    path: &'p Path,
    follow: Follow,
) -> Result<(Place<'p>, Option<Attr>), Cause> {
    let mut walk = Walk::new(volume, path)?;
    loop {
        let last = walk.go_to_last()?;
        let Some(name) = last.clone() else {
            let attr = volume.getattr(walk.dir)?;
            return Ok((walk.into_place(last), Some(attr)));
        };
        let dots = matches!(&walk.path[name.clone()], b"." | b"..");
        if name.end < walk.path.len() && !dots {
            return Err(errno::EISDIR.into());
        }
        let attr = match walk.lookup(&name) {
            Ok(attr) => attr,
            Err(cause) if cause.errno() == errno::ENOENT => {
                return Ok((walk.into_place(last), None));
            }
            Err(cause) => return Err(cause),
        };
        if let Some(attr) = walk.accept(attr, &name, follow)? {
            return Ok((walk.into_place(last), Some(attr)));
        }
    }
}

/// Refuses what no kernel would even get to see. An operation on two paths asks for both first.
pub(crate) fn check_bytes(path: &Path) -> Result<(), Cause> {
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Cause::Rule(errno::EINVAL, "the path contains a zero byte"));
    }
    Ok(())
}

/// A walk under way: what is left of the path, from the directory reached.
struct Walk<'v, 'p> {
    volume: &'v Volume,
    dir: Ino,
    /// The path, or what a symbolic link made of it.
    path: Cow<'p, [u8]>,
    /// Bytes of `path` already walked.
    walked: usize,
    symlinks: u32,
}

impl<'v, 'p> Walk<'v, 'p> {
    fn new(volume: &'v Volume, path: &'p Path) -> Result<Walk<'v, 'p>, Cause> {
        check_bytes(path)?;
        let path = path.as_os_str().as_encoded_bytes();
        if path.is_empty() {
            return Err(Cause::Rule(errno::ENOENT, "the path is empty"));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(Cause::Rule(errno::ENAMETOOLONG, "the path is longer than 4095 bytes"));
        }
        Ok(Walk { volume, dir: Ino::ROOT, path: Cow::Borrowed(path), walked: 0, symlinks: 0 })
    }

    /// Enters every directory on the way and returns the last component, if there is one.
    fn go_to_last(&mut self) -> Result<Option<Range<usize>>, Cause> {
        loop {
            let Some(name) = self.next_name() else { return Ok(None) };
            if self.path[name.end..].iter().all(|byte| *byte == b'/') {
                return Ok(Some(name));
            }
            match self.volume.lookup_kind(self.dir, &self.path[name.clone()])? {
                (ino, FileKind::Directory) => self.dir = ino,
                (ino, FileKind::Symlink) => self.follow(ino, &name)?,
                _ => return Err(errno::ENOTDIR.into()),
            }
        }
    }

    fn next_name(&mut self) -> Option<Range<usize>> {
        let rest = &self.path[self.walked..];
        let start = self.walked + rest.iter().position(|byte| *byte != b'/')?;
        let rest = &self.path[start..];
        let end = start + rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        self.walked = end;
        Some(start..end)
    }

    fn lookup(&self, name: &Range<usize>) -> Result<Attr, Cause> {
        Ok(self.volume.lookup(self.dir, &self.path[name.clone()])?)
    }

    /// Takes what the last component names, or goes on behind a symbolic link (`None`).
    fn accept(
        &mut self,
        attr: Attr,
        name: &Range<usize>,
        follow: Follow,
    ) -> Result<Option<Attr>, Cause> {
        let slash = name.end < self.path.len();
        match attr.kind {
            FileKind::Symlink if slash || follow == Follow::Yes => {
                self.follow(attr.ino, name)?;
                Ok(None)
            }
            FileKind::Directory => Ok(Some(attr)),
            _ if slash => Err(errno::ENOTDIR.into()),
            _ => Ok(Some(attr)),
        }
    }

    /// Puts a symbolic link's target in the place of its name.
    fn follow(&mut self, link: Ino, name: &Range<usize>) -> Result<(), Cause> {
        self.symlinks += 1;
        if self.symlinks > SYMLINKS_MAX {
            return Err(errno::ELOOP.into());
        }
        let mut path = self.volume.readlink(link)?;
        if path.starts_with(b"/") {
            self.dir = Ino::ROOT;
        }
        path.extend_from_slice(&self.path[name.end..]);
        self.path = Cow::Owned(path);
        self.walked = 0;
        Ok(())
    }

    fn into_place(self, name: Option<Range<usize>>) -> Place<'p> {
        let Some(name) = name else {
            return Place { dir: self.dir, last: Last::Root, slash: true };
        };
        let slash = name.end < self.path.len();
        let last = match &self.path[name.clone()] {
            b"." => Last::Dot,
            b".." => Last::DotDot,
            _ => Last::Name(match self.path {
                Cow::Borrowed(path) => Cow::Borrowed(&path[name]),
                Cow::Owned(path) => Cow::Owned(path[name].to_vec()),
            }),
        };
        Place { dir: self.dir, last, slash }
    }
}
