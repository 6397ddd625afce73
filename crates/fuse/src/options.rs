//! The `-o` options of a mount.
//!
//! Options are applied from left to right, as mount(8) does; a later one overrides. What only
//! `fstab` or systemd cares about is ignored; what we do not know is an error that names it.

use ashlar_core::AtomicClose;
use rustix::mount::MountFlags;

use crate::error::{Error, Result};

/// How a volume is mounted.
///
/// Permission bits and ACLs are always checked by the kernel (`default_permissions`). A mount
/// made by root is open to all users, as mounts of other file systems are; one made by an
/// ordinary user is theirs alone unless `allow_other` says otherwise, and never honours set-id
/// bits or device nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct MountOptions {
    /// Nothing is written, not even the log.
    pub read_only: bool,
    /// When reading updates access times.
    pub atime: Atime,
    /// Flags for mount(2) besides read-only and access times.
    pub(crate) kernel: MountFlags,
    /// Who may enter the mount; `None`: all users if root mounts, else the mounting user.
    pub access: Option<Access>,
    /// Source shown in the mount table instead of the image's path.
    pub fsname: Option<String>,
    /// What follows `fuse.` in the type shown in the mount table.
    pub subtype: String,
    /// Upper limit of one read request in bytes.
    pub max_read: Option<u32>,
    /// Have the kernel unmount when this process dies, through `fusermount3`.
    pub auto_unmount: bool,
    /// Every file that is opened for writing is atomic, and its last close does this.
    pub atomic: Option<AtomicClose>,
    /// Worker threads; `None`: one per CPU, at least four and at most eight.
    pub threads: Option<usize>,
    /// Unmount on SIGINT and SIGTERM.
    pub handle_signals: bool,
}

/// When a read changes a file's access time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Atime {
    /// When it is older than the last change, or than a day.
    #[default]
    Relative,
    /// Always.
    Strict,
    /// Never.
    Never,
}

/// Who may enter a mount at all; file modes apply to them as ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// The mounting user.
    Owner,
    /// The mounting user and root.
    OwnerAndRoot,
    /// All users.
    All,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            read_only: false,
            atime: Atime::default(),
            kernel: MountFlags::empty(),
            access: None,
            fsname: None,
            subtype: "ashlar".to_owned(),
            max_read: None,
            auto_unmount: false,
            atomic: None,
            threads: None,
            handle_signals: true,
        }
    }
}

impl MountOptions {
    /// Parses a comma-separated list, as it follows `-o`.
    ///
    /// # Errors
    /// [`Error::Option`] names the first option that is not known or has a bad value.
    ///
    /// ```
    /// let options = ashlar_fuse::MountOptions::parse("ro,noatime,nofail")?;
    /// assert!(options.read_only);
    /// assert!(ashlar_fuse::MountOptions::parse("rw,uid=1000").is_err());
    /// # Ok::<(), ashlar_fuse::Error>(())
    /// ```
    pub fn parse(list: &str) -> Result<MountOptions> {
        let mut options = MountOptions::default();
        options.apply(list)?;
        Ok(options)
    }

    /// Applies one more list to these options.
    ///
    /// # Errors
    /// As [`MountOptions::parse`].
    pub fn apply(&mut self, list: &str) -> Result<()> {
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            if !(self.apply_flag(name, value) || self.apply_fuse(option, name, value)?) {
                return Err(refusal(option, name));
            }
        }
        Ok(())
    }

    /// Options of any file system. Returns whether this was one.
    fn apply_flag(&mut self, name: &str, value: Option<&str>) -> bool {
        if name.starts_with("x-") || name == "comment" {
            return true;
        }
        if value.is_some() {
            return false;
        }
        match name {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "noatime" => self.atime = Atime::Never,
            "relatime" | "atime" | "nostrictatime" => self.atime = Atime::Relative,
            "strictatime" | "norelatime" => self.atime = Atime::Strict,
            "noexec" => self.kernel |= MountFlags::NOEXEC,
            "exec" => self.kernel -= MountFlags::NOEXEC,
            "nosuid" => self.kernel |= MountFlags::NOSUID,
            "suid" => self.kernel -= MountFlags::NOSUID,
            "nodev" => self.kernel |= MountFlags::NODEV,
            "dev" => self.kernel -= MountFlags::NODEV,
            "nodiratime" => self.kernel |= MountFlags::NODIRATIME,
            "diratime" => self.kernel -= MountFlags::NODIRATIME,
            "sync" => self.kernel |= MountFlags::SYNCHRONOUS,
            "async" => self.kernel -= MountFlags::SYNCHRONOUS,
            "dirsync" => self.kernel |= MountFlags::DIRSYNC,
            // What these let ordinary users mount is restricted, as mount(8) documents.
            "user" | "users" => {
                self.kernel |= MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
            }
            "owner" | "group" => self.kernel |= MountFlags::NOSUID | MountFlags::NODEV,
            "defaults" | "nouser" | "noowner" | "nogroup" | "auto" | "noauto" | "nofail"
            | "_netdev" => {}
            _ => return false,
        }
        true
    }

    /// Options of FUSE file systems. Returns whether this was one.
    fn apply_fuse(&mut self, option: &str, name: &str, value: Option<&str>) -> Result<bool> {
        match (name, value) {
            ("allow_other", None) => self.access = Some(Access::All),
            ("allow_root", None) => self.access = Some(Access::OwnerAndRoot),
            ("default_permissions", None) => {}
            ("auto_unmount", None) => self.auto_unmount = true,
            ("atomic", None | Some("discard")) => self.atomic = Some(AtomicClose::Discard),
            ("atomic", Some("commit")) => self.atomic = Some(AtomicClose::Commit),
            ("noatomic", None) => self.atomic = None,
            ("atomic", Some(_)) => {
                return Err(bad(option, "give discard or commit, or no value for discard"));
            }
            ("fsname", Some(value)) if !value.is_empty() => self.fsname = Some(value.to_owned()),
            ("subtype", Some(value)) if !value.is_empty() && !value.contains('/') => {
                value.clone_into(&mut self.subtype);
            }
            ("max_read", Some(value)) => match value.parse() {
                Ok(bytes) if bytes >= 4096 => self.max_read = Some(bytes),
                _ => return Err(bad(option, "give a number of bytes, at least 4096")),
            },
            ("fsname" | "subtype" | "max_read", _) => {
                return Err(bad(option, "it needs a value, as in name=value"));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Flags for mount(2), all of them.
    pub(crate) fn mount_flags(&self) -> MountFlags {
        let read_only = if self.read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        let atime = match self.atime {
            Atime::Relative => MountFlags::RELATIME,
            Atime::Strict => MountFlags::STRICTATIME,
            Atime::Never => MountFlags::NOATIME,
        };
        self.kernel | read_only | atime
    }
}

fn bad(option: &str, advice: &str) -> Error {
    Error::Option { option: option.to_owned(), advice: advice.to_owned() }
}

/// The error for an option we do not take, with advice where we have some.
fn refusal(option: &str, name: &str) -> Error {
    let advice = match name {
        "remount" => {
            "a mounted volume's server cannot be changed; unmount and mount again (the kernel's \
             own flags, like read-only, change with `mount -i -o remount,...`)"
        }
        "uid" | "gid" | "umask" | "fmask" | "dmask" => {
            "the volume stores owners and modes itself; use chown and chmod"
        }
        _ => "not known; see ashlar-mount(8) for the list",
    };
    bad(option, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_option_overrides_an_earlier_one() {
        let options = MountOptions::parse("ro,noexec,rw,exec,noatime,strictatime").unwrap();
        assert!(!options.read_only);
        assert_eq!(options.kernel, MountFlags::empty());
        assert_eq!(options.atime, Atime::Strict);
        assert_eq!(options.mount_flags(), MountFlags::STRICTATIME);
    }

    #[test]
    fn fstab_words_are_ignored() {
        let list = "defaults,noauto,auto,nofail,_netdev,x-systemd.automount,\
                    x-gvfs-name=a,comment=hello there,nouser,async,default_permissions";
        assert_eq!(MountOptions::parse(list).unwrap(), MountOptions::default());
    }

    #[test]
    fn user_restricts_unless_a_later_option_allows() {
        let flags = MountOptions::parse("user,exec").unwrap().kernel;
        assert_eq!(flags, MountFlags::NOSUID | MountFlags::NODEV);
    }

    #[test]
    fn fuse_options_take_their_values() {
        let options =
            MountOptions::parse("allow_other,fsname=a=b,subtype=x,max_read=65536").unwrap();
        assert_eq!(options.access, Some(Access::All));
        assert_eq!(options.fsname.as_deref(), Some("a=b"));
        assert_eq!(options.subtype, "x");
        assert_eq!(options.max_read, Some(65536));
    }

    #[test]
    fn atomic_says_what_the_last_close_does() {
        let parse = |list| MountOptions::parse(list).unwrap().atomic;
        assert_eq!(parse("rw"), None);
        assert_eq!(parse("atomic"), Some(AtomicClose::Discard));
        assert_eq!(parse("atomic=discard"), Some(AtomicClose::Discard));
        assert_eq!(parse("atomic=commit"), Some(AtomicClose::Commit));
        assert_eq!(parse("atomic,noatomic"), None);
    }

    #[test]
    fn unusable_option_is_named() {
        for bad in [
            "atomic=never",
            "remount",
            "uid=0",
            "frobnicate",
            "max_read=1",
            "max_read",
            "fsname",
            "ro=1",
            "subtype=",
        ] {
            let error = MountOptions::parse(&format!("rw,{bad}")).unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
        let error = MountOptions::parse("remount,ro").unwrap_err().to_string();
        assert!(error.contains("unmount and mount again"), "{error}");
    }
}
