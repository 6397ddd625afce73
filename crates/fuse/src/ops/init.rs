//! `INIT`: agrees with the kernel on version, features and sizes.
//!
//! | feature | why we want it |
//! |---|---|
//! | `WRITEBACK_CACHE` | the page cache gathers small writes; the kernel keeps size and times |
//! | `ATOMIC_O_TRUNC` | one `OPEN` instead of `OPEN` and `SETATTR` |
//! | `PARALLEL_DIROPS` | lookups and listings of one directory at once |
//! | `DO_READDIRPLUS`, `READDIRPLUS_AUTO` | `ls -l` without a `LOOKUP` per name |
//! | `POSIX_ACL` | the kernel checks ACLs; core keeps mode and ACL consistent |
//! | `DONT_MASK` | default ACLs decide before the umask does |
//! | `HANDLE_KILLPRIV_V2` | without it every write costs a `GETXATTR` of the capability |
//! | `EXPORT_SUPPORT` | file handles survive the kernel's cache (NFS, `open_by_handle_at`) |
//! | `EXPLICIT_INVAL_DATA` | nobody else changes our files: cached pages stay valid |
//! | `NO_OPENDIR_SUPPORT` | directories need no handle: two requests less per listing |
//! | `ALLOW_IDMAP` | idmapped mounts; the kernel asks for `default_permissions`, which we use |
//!
//! Not asked for: splice (a read into our aligned buffer is one copy too), locks (there is one
//! kernel: its own serve), DAX windows (virtiofs only), interrupts (see [`super`]).

use crate::error::{Error, Result};
use crate::wire::abi::{InitFlags, InitIn, InitOut, NEWEST_MINOR, OLDEST_MINOR, VERSION_MAJOR};
use crate::wire::channel::MAX_TRANSFER;

/// What both sides agreed on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreement {
    pub(crate) minor: u32,
    pub(crate) flags: InitFlags,
}

/// Read-ahead and write-back requests that may be under way at once: enough to keep every worker
/// busy while the next requests queue up.
const MAX_BACKGROUND: u16 = 64;
/// From how many on the kernel calls us congested.
const CONGESTION_THRESHOLD: u16 = 48;

const WANTED: InitFlags = InitFlags::ASYNC_READ
    .union(InitFlags::ATOMIC_O_TRUNC)
    .union(InitFlags::EXPORT_SUPPORT)
    .union(InitFlags::BIG_WRITES)
    .union(InitFlags::DONT_MASK)
    .union(InitFlags::HAS_IOCTL_DIR)
    .union(InitFlags::DO_READDIRPLUS)
    .union(InitFlags::READDIRPLUS_AUTO)
    .union(InitFlags::ASYNC_DIO)
    .union(InitFlags::WRITEBACK_CACHE)
    .union(InitFlags::PARALLEL_DIROPS)
    .union(InitFlags::POSIX_ACL)
    .union(InitFlags::ABORT_ERROR)
    .union(InitFlags::MAX_PAGES)
    .union(InitFlags::CACHE_SYMLINKS)
    .union(InitFlags::NO_OPENDIR_SUPPORT)
    .union(InitFlags::EXPLICIT_INVAL_DATA)
    .union(InitFlags::HANDLE_KILLPRIV_V2)
    .union(InitFlags::SETXATTR_EXT)
    .union(InitFlags::INIT_EXT)
    .union(InitFlags::CREATE_SUPP_GROUP)
    .union(InitFlags::DIRECT_IO_ALLOW_MMAP)
    .union(InitFlags::ALLOW_IDMAP);

/// Answers the kernel's offer. `ask_always` gives up what would let the kernel answer for us or
/// hide who is asking, for mounts on which we have to check the caller ourselves.
///
/// # Errors
/// [`Error::Protocol`] when the kernel is too old.
pub(crate) fn agree(offer: &InitIn, ask_always: bool) -> Result<(Agreement, InitOut)> {
    if offer.major < VERSION_MAJOR || (offer.major == VERSION_MAJOR && offer.minor < OLDEST_MINOR) {
        return Err(Error::Protocol {
            reason: format!(
                "this kernel speaks version {}.{}, we need {VERSION_MAJOR}.{OLDEST_MINOR} \
                 (Linux 5.4) or newer",
                offer.major, offer.minor
            ),
        });
    }
    let mut offered = InitFlags::from_bits_retain(u64::from(offer.flags));
    if offered.contains(InitFlags::INIT_EXT) {
        offered |= InitFlags::from_bits_retain(u64::from(offer.flags2) << 32);
    }
    let mut flags = offered & WANTED;
    if ask_always {
        flags -= InitFlags::ALLOW_IDMAP | InitFlags::NO_OPENDIR_SUPPORT;
    }
    let agreement = Agreement { minor: offer.minor.min(NEWEST_MINOR), flags };
    let answer = InitOut {
        major: VERSION_MAJOR,
        minor: agreement.minor,
        max_readahead: u32::MAX,
        flags: flags.bits() as u32,
        flags2: (flags.bits() >> 32) as u32,
        max_background: MAX_BACKGROUND,
        congestion_threshold: CONGESTION_THRESHOLD,
        max_write: MAX_TRANSFER as u32,
        time_gran: 1,
        max_pages: (MAX_TRANSFER / 4096) as u16,
        ..InitOut::default()
    };
    Ok((agreement, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(minor: u32, flags: InitFlags) -> InitIn {
        InitIn {
            major: 7,
            minor,
            flags: flags.bits() as u32,
            flags2: (flags.bits() >> 32) as u32,
            ..InitIn::default()
        }
    }

    #[test]
    fn only_what_is_offered_and_wanted_is_agreed_on() {
        let offered = InitFlags::INIT_EXT
            | InitFlags::WRITEBACK_CACHE
            | InitFlags::OVER_IO_URING
            | InitFlags::ALLOW_IDMAP
            | InitFlags::from_bits_retain(1 << 63);
        let (agreement, answer) = agree(&offer(99, offered), false).unwrap();
        let expected = InitFlags::INIT_EXT | InitFlags::WRITEBACK_CACHE | InitFlags::ALLOW_IDMAP;
        assert_eq!(agreement.flags, expected);
        assert_eq!(agreement.minor, NEWEST_MINOR);
        assert_eq!((answer.flags, answer.flags2), ((1 << 30) | (1 << 16), 1 << 8));
    }

    #[test]
    fn second_flag_word_counts_only_with_the_extension() {
        let (agreement, answer) = agree(&offer(36, InitFlags::ALLOW_IDMAP), false).unwrap();
        assert_eq!(agreement.flags, InitFlags::empty());
        assert_eq!((agreement.minor, answer.flags2), (36, 0));
    }

    #[test]
    fn checking_callers_ourselves_needs_to_be_asked_and_told_who() {
        let offered = InitFlags::INIT_EXT | InitFlags::ALLOW_IDMAP | InitFlags::NO_OPENDIR_SUPPORT;
        let (agreement, _) = agree(&offer(45, offered), true).unwrap();
        assert_eq!(agreement.flags, InitFlags::INIT_EXT);
    }

    #[test]
    fn kernel_older_than_we_serve_is_refused() {
        let error = agree(&offer(30, InitFlags::empty()), false).unwrap_err().to_string();
        assert!(error.contains("7.30"), "{error}");
    }
}
