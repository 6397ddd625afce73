//! What the caller of a request is allowed, where its user number does not say it.
//!
//! The kernel checks permissions before it asks us; the exceptions are ioctls that only an
//! administrator may use, and set-id bits when a request does not say whether they must go. Those
//! are rare, so looking into `/proc` is fast enough.
//!
//! A caller outside our pid namespace has process number zero, and on an idmapped mount the user
//! number is unknown: then nothing is allowed.

use std::fs;

use crate::wire::abi::INVALID_ID;

/// A capability, by its bit in the effective set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Capability {
    /// Doing what an owner may.
    Fowner = 3,
    /// Set-id bits survive what would clear them.
    Fsetid = 4,
    /// Changing the immutable and append-only flags.
    LinuxImmutable = 9,
    /// Administration: label, trim, shutdown.
    SysAdmin = 21,
}

/// Whether process `pid`, known as user `uid`, has a capability.
pub(crate) fn has_capability(pid: u32, uid: u32, capability: Capability) -> bool {
    match status_of(pid) {
        Some(status) => effective(&status).is_some_and(|set| set >> capability as u32 & 1 == 1),
        // The process cannot be seen; root has everything unless it gave it up.
        None => uid == 0,
    }
}

/// The user number that process `pid` uses for file access; the request's own if it is known.
pub(crate) fn file_user(pid: u32, uid: u32) -> Option<u32> {
    if uid != INVALID_ID {
        return Some(uid);
    }
    let status = status_of(pid)?;
    // Real, effective, saved, file system.
    field(&status, "Uid:")?.split_whitespace().nth(3)?.parse().ok()
}

fn status_of(pid: u32) -> Option<String> {
    if pid == 0 {
        return None;
    }
    fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn effective(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "CapEff:")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_found() {
        let status = status_of(std::process::id()).unwrap();
        assert!(effective(&status).is_some());
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(file_user(std::process::id(), INVALID_ID), Some(me));
    }

    #[test]
    fn invisible_process_has_only_what_its_user_number_gives() {
        assert!(has_capability(0, 0, Capability::SysAdmin));
        assert!(!has_capability(0, 1000, Capability::SysAdmin));
        assert!(!has_capability(0, INVALID_ID, Capability::SysAdmin));
        assert_eq!(file_user(0, INVALID_ID), None);
    }

    #[test]
    fn bits_of_the_effective_set_are_numbered_from_the_right() {
        assert_eq!(effective("CapInh:\t0\nCapEff:\t0000000000200010\n"), Some(0x20_0010));
    }
}
