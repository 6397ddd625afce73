//! The same program under the names that mount(8), fsck(8) and mkfs(8) look for.
//!
//! | name | called by | exit codes |
//! |---|---|---|
//! | `mount.fuse.ashlar`, `mount.ashlar` | `mount -t fuse.ashlar`, an fstab line | of mount(8) |
//! | `umount.fuse.ashlar`, `umount.fuseblk.ashlar` | umount(8) | of umount(8) |
//! | `fsck.ashlar`, `fsck.fuse.ashlar` | fsck(8), at boot | of fsck(8) |
//! | `mkfs.ashlar` | mkfs(8) | 0, 1 |
//!
//! All are links to the one program; what it is called decides.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ashlar_fuse::MountOptions;
use clap::Parser;

use crate::cmd::{fsck, mkfs, mount, umount};
use crate::failure::{EXIT_FAILURE, Failure, Result};
use crate::logging;

/// Exit codes of mount(8) and its helpers.
const MOUNT_USAGE: u8 = 1;
const MOUNT_FAILURE: u8 = 32;

/// What we were called as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    Mount,
    Umount,
    Mkfs,
    Fsck,
}

/// Which dialect the program's name asks for; `None` for our own.
pub(crate) fn dialect(arguments: &[OsString]) -> Option<Dialect> {
    let name = Path::new(arguments.first()?).file_name()?.to_str()?;
    let (verb, kind) = name.split_once('.')?;
    if !matches!(kind, "ashlar" | "fuse.ashlar" | "fuseblk.ashlar") {
        return None;
    }
    match verb {
        "mount" => Some(Dialect::Mount),
        "umount" => Some(Dialect::Umount),
        "mkfs" => Some(Dialect::Mkfs),
        "fsck" => Some(Dialect::Fsck),
        _ => None,
    }
}

impl Dialect {
    /// The name in messages.
    pub(crate) fn program(self) -> String {
        match self {
            Dialect::Mount => "mount.ashlar",
            Dialect::Umount => "umount.ashlar",
            Dialect::Mkfs => "mkfs.ashlar",
            Dialect::Fsck => "fsck.ashlar",
        }
        .to_owned()
    }

    /// Does what was asked for; `arguments` come behind the program's name.
    pub(crate) fn run(self, arguments: &[OsString]) -> Result<u8> {
        match self {
            Dialect::Mount => run_mount(arguments),
            Dialect::Umount => run_umount(arguments),
            Dialect::Mkfs => run_mkfs(arguments),
            Dialect::Fsck => run_fsck(arguments),
        }
    }
}

/// `mount.ashlar SOURCE DIRECTORY [-sfnv] [-N namespace] [-o options] [-t type]`
#[derive(Debug, Default, Eq, PartialEq)]
struct HelperArguments {
    /// Source and directory; only the directory for umount.
    places: Vec<PathBuf>,
    options: Vec<String>,
    /// Options that are not known are left out instead of refused.
    sloppy: bool,
    /// Everything but the mount itself.
    fake: bool,
}

fn parse_helper(arguments: &[OsString]) -> Result<HelperArguments> {
    let mut parsed = HelperArguments::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        let Some(letters) = bytes.strip_prefix(b"-").filter(|letters| !letters.is_empty()) else {
            parsed.places.push(PathBuf::from(argument));
            continue;
        };
        for (at, letter) in letters.iter().enumerate() {
            match letter {
                b's' => parsed.sloppy = true,
                b'f' => parsed.fake = true,
                // No mtab to write, nothing more to say; for umount: lazy and forced are ours to
                // refuse below, remounting read-only on failure is not done.
                b'n' | b'v' | b'r' => {}
                b'l' => return Err(Failure::new("lazy unmounting is done by `umount -i -l`")),
                b'o' | b't' | b'N' => {
                    let attached = OsStr::from_bytes(&letters[at + 1..]);
                    let value = if attached.is_empty() {
                        rest.next().map(OsString::as_os_str)
                    } else {
                        Some(attached)
                    };
                    take_value(&mut parsed, *letter, value)?;
                    break;
                }
                _ => {
                    let option = argument.display();
                    return Err(Failure::new(format!("option {option} is not known")));
                }
            }
        }
    }
    Ok(parsed)
}

/// The value of `-o`; a type (`-t`) is known already, and a namespace (`-N`) was entered.
fn take_value(parsed: &mut HelperArguments, letter: u8, value: Option<&OsStr>) -> Result<()> {
    let missing = || Failure::new(format!("option -{} needs a value", char::from(letter)));
    let value = value.ok_or_else(missing)?;
    if letter == b'o' {
        let text = value.to_str().ok_or_else(|| Failure::new("options are not UTF-8"))?;
        parsed.options.push(text.to_owned());
    }
    Ok(())
}

fn run_mount(arguments: &[OsString]) -> Result<u8> {
    let usage = |failure: Failure| failure.with_code(MOUNT_USAGE);
    let parsed = parse_helper(arguments).map_err(usage)?;
    let [image, directory] = &parsed.places[..] else {
        let words = "usage: mount.ashlar SOURCE DIRECTORY [-sfnv] [-o OPTIONS]";
        return Err(usage(Failure::new(words)));
    };
    let options = mount_options(&parsed).map_err(usage)?;
    if parsed.fake {
        return Ok(0);
    }
    let request = mount::Request { image, directory, options, create: None, log: None };
    mount::in_background(&request).map_err(|failure| failure.with_code(MOUNT_FAILURE))?;
    Ok(0)
}

fn mount_options(parsed: &HelperArguments) -> Result<MountOptions> {
    let mut options = MountOptions::default();
    for option in parsed.options.iter().flat_map(|list| list.split(',')) {
        match options.apply(option) {
            Err(error) if !parsed.sloppy => return Err(Failure::new(error.to_string())),
            _ => {}
        }
    }
    Ok(options)
}

fn run_umount(arguments: &[OsString]) -> Result<u8> {
    logging::start("warn");
    let parsed = parse_helper(arguments).map_err(|failure| failure.with_code(MOUNT_USAGE))?;
    let [directory] = &parsed.places[..] else {
        return Err(Failure::new("usage: umount.ashlar DIRECTORY").with_code(MOUNT_USAGE));
    };
    if parsed.fake {
        // For umount, -f is to force.
        let words = "forcing is done by `umount -i -f`, which loses what is not written yet";
        return Err(Failure::new(words).with_code(MOUNT_USAGE));
    }
    umount::unmount(directory).map_err(|failure| failure.with_code(MOUNT_FAILURE))?;
    Ok(0)
}

/// `mkfs.ashlar [-L label] [-U uuid] [-f] [-n] [-q] [-b 4096] DEVICE [SIZE]`
#[derive(Debug, Parser)]
#[command(name = "mkfs.ashlar", version, disable_version_flag = true)]
struct MkfsArguments {
    #[command(flatten)]
    own: mkfs::Arguments,
    /// Block size in bytes; only 4096 can be had
    #[arg(short = 'b', value_name = "BYTES", value_parser = ["4096"])]
    block_size: Option<String>,
    /// Size of the volume
    #[arg(value_name = "SIZE", conflicts_with = "size")]
    blocks: Option<crate::size::Size>,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

fn run_mkfs(arguments: &[OsString]) -> Result<u8> {
    logging::start("warn");
    let MkfsArguments { mut own, blocks, .. } =
        parse_or_exit("mkfs.ashlar", arguments, EXIT_FAILURE);
    own.size = own.size.or(blocks);
    mkfs::run(&own).map_err(|failure| failure.with_code(EXIT_FAILURE))?;
    Ok(0)
}

/// `fsck.ashlar [-anpyfrvV] [-C FD] DEVICE`
#[derive(Debug, Parser)]
#[command(name = "fsck.ashlar", version, disable_version_flag = true)]
struct FsckArguments {
    #[command(flatten)]
    own: fsck::Arguments,
    /// Accepted for fsck(8): nothing is asked
    #[arg(short = 'r', hide = true)]
    interactive: bool,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

fn run_fsck(arguments: &[OsString]) -> Result<u8> {
    logging::start("warn");
    let arguments = split_progress_descriptor(arguments);
    let parsed: FsckArguments = parse_or_exit("fsck.ashlar", &arguments, fsck::EXIT_USAGE);
    fsck::run(&parsed.own)
}

/// Parses, or ends the process as clap does but with the exit code that the caller expects.
fn parse_or_exit<P: Parser>(program: &str, arguments: &[OsString], usage: u8) -> P {
    let words = std::iter::once(OsString::from(program)).chain(arguments.iter().cloned());
    P::try_parse_from(words).unwrap_or_else(|error| {
        // If even this cannot be printed, the exit code is all there is.
        let _ = error.print();
        std::process::exit(if error.use_stderr() { i32::from(usage) } else { 0 });
    })
}

/// fsck(8) attaches a descriptor to `-C`, which elsewhere is a plain switch.
pub(crate) fn split_progress_descriptor(arguments: &[OsString]) -> Vec<OsString> {
    let mut split = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let digits = argument.as_bytes().strip_prefix(b"-C").unwrap_or_default();
        if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
            split.push("--progress-descriptor".into());
            split.push(OsStr::from_bytes(digits).to_owned());
        } else {
            split.push(argument.clone());
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[test]
    fn name_decides_the_dialect() {
        let of = |name: &str| dialect(&words(&[name]));
        assert_eq!(of("/sbin/mount.fuse.ashlar"), Some(Dialect::Mount));
        assert_eq!(of("mount.ashlar"), Some(Dialect::Mount));
        assert_eq!(of("umount.fuseblk.ashlar"), Some(Dialect::Umount));
        assert_eq!(of("fsck.ashlar"), Some(Dialect::Fsck));
        assert_eq!(of("mkfs.ashlar"), Some(Dialect::Mkfs));
        assert_eq!(of("ashlar"), None);
        assert_eq!(of("mount.ext4"), None);
        assert_eq!(dialect(&[]), None);
    }

    #[test]
    fn mount_helper_understands_mount() {
        let parsed =
            parse_helper(&words(&["a.img", "/mnt", "-sv", "-o", "ro,x=y", "-nortc"])).unwrap();
        assert_eq!(parsed.places, [Path::new("a.img"), Path::new("/mnt")]);
        assert!(parsed.sloppy && !parsed.fake);
        assert_eq!(parsed.options, ["ro,x=y", "rtc"]);
        assert!(parse_helper(&words(&["-o"])).is_err());
        assert!(parse_helper(&words(&["-z"])).is_err());
        let typed = parse_helper(&words(&["a", "b", "-t", "fuse.ashlar", "-N", "5"])).unwrap();
        assert_eq!(typed.places.len(), 2);
    }

    #[test]
    fn sloppy_leaves_out_what_is_not_known() {
        let mut parsed = parse_helper(&words(&["a", "b", "-o", "ro,frobnicate"])).unwrap();
        assert!(mount_options(&parsed).is_err());
        parsed.sloppy = true;
        assert!(mount_options(&parsed).unwrap().read_only);
    }

    #[test]
    fn descriptor_is_split_from_its_letter() {
        let split = split_progress_descriptor(&words(&["fsck", "-C3", "-C", "-Cx", "img"]));
        assert_eq!(split, words(&["fsck", "--progress-descriptor", "3", "-C", "-Cx", "img"]));
    }

    #[test]
    fn parsers_are_consistent() {
        use clap::CommandFactory;
        MkfsArguments::command().debug_assert();
        FsckArguments::command().debug_assert();
    }
}
