//! Debian packages that the tests and benchmarks need, installed where they are missing.
//!
//! A machine counts as ready when every program below is found; then nothing is asked of the
//! package manager, so that tests run offline and without privileges that they do not need.

use std::path::Path;
use std::process::Command;

/// A program that some test runs, and the package that brings it.
const NEEDED: [(&str, &str); 19] = [
    ("fusermount3", "fuse3"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("fuse2fs", "fuse2fs"),
    ("fio", "fio"),
    ("getfattr", "attr"),
    ("setfacl", "acl"),
    ("strace", "strace"),
    ("sqlite3", "sqlite3"),
    ("stress-ng", "stress-ng"),
    ("git", "git"),
    ("tar", "tar"),
    ("diff", "diffutils"),
    ("cc", "gcc"),
    ("losetup", "mount"),
    ("flock", "util-linux"),
    ("python3", "python3"),
    ("setcap", "libcap2-bin"),
    ("pg_ctl", "postgresql"),
];

/// Where programs live that are not on everybody's search path.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/bin"];

/// Installs what is missing.
///
/// # Errors
/// A message that names the packages, when they cannot be installed.
pub fn install() -> Result<(), String> {
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(program, _)| !found(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&missing);
    for arguments in [vec!["update"], install] {
        let status = apt_get().args(&arguments).status();
        if !status.is_ok_and(|status| status.success()) {
            let packages = missing.join(" ");
            return Err(format!("cannot install {packages}; install them by hand and try again"));
        }
    }
    Ok(())
}

fn apt_get() -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    let mut command = Command::new(if root { "apt-get" } else { "sudo" });
    if !root {
        command.arg("apt-get");
    }
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("--quiet");
    command
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    on_path || FOLDERS.iter().any(|folder| Path::new(folder).join(program).is_file()) || {
        // PostgreSQL keeps its programs in a folder of its version.
        program == "pg_ctl"
            && std::fs::read_dir("/usr/lib/postgresql").is_ok_and(|mut entries| {
                entries
                    .any(|entry| entry.is_ok_and(|entry| entry.path().join("bin/pg_ctl").is_file()))
            })
    }
}
