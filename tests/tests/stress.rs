//! Goal: programs that try to break file systems break nothing that kernel XFS withstands.
//!
//! | judge | what it does | where |
//! |---|---|---|
//! | stress-ng | every kind of call, by many processes at once | in every test run, briefly |
//! | pjdfstest | what POSIX says of names, modes, times and links | `cargo xtask soak` |
//! | fsx | random operations on a file, as in `fsx.rs`, by somebody else | `cargo xtask soak` |
//!
//! `cargo xtask soak` installs the last two with `cargo install`.

use ashlar_tests::mounts::{Ashlar, Xfs};
use ashlar_tests::programs::{run, run_ok, script, soak, soak_time};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Those that found something once, and those that change names or data in unusual ways.
const BRIEFLY: [&str; 12] = [
    "revio",
    "dentry",
    "dirmany",
    "rename",
    "fpunch",
    "fallocate",
    "copy-file",
    "link",
    "xattr",
    "iomix",
    "utime",
    "handle",
];
/// These look elsewhere than at the file system in question.
const ELSEWHERE: [&str; 3] = ["bind-mount", "binderfs", "procfs"];

/// Runs one stressor in `mount`; what it complained about, if it failed.
fn stress(mount: &Path, name: &str, seconds: u32) -> Result<(), String> {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", "300", "stress-ng", "--verify", "--temp-path"]).arg(mount);
    command.args([&format!("--{name}"), "2", "--timeout", &seconds.to_string()]);
    let output = run(&mut command);
    // What it leaves behind is its own affair, unless it cannot be removed.
    script(mount, "find . -mindepth 1 -delete");
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&said)))
}

fn stressors() -> Vec<String> {
    if !soak() {
        return BRIEFLY.map(str::to_owned).to_vec();
    }
    let output = run(Command::new("stress-ng").args(["--class", "filesystem?"]));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let (_, names) = said.split_once("stressors:").expect("stress-ng lists the class");
    let names = names.split_whitespace().map(str::to_owned);
    let more = ["aio", "aiol", "seek", "readahead", "revio"].map(str::to_owned);
    names.filter(|name| !ELSEWHERE.contains(&name.as_str())).chain(more).collect()
}

#[test]
fn stressors_fail_only_where_they_fail_on_xfs() {
    let seconds = if soak() { 10 } else { 1 };
    let volume = Ashlar::create("stress");
    let start = Instant::now();
    for name in stressors().iter().take_while(|_| start.elapsed() < soak_time()) {
        let Err(failure) = stress(volume.path(), name, seconds) else { continue };
        let xfs = Xfs::create("stress-oracle");
        assert!(stress(xfs.path(), name, seconds).is_err(), "and not on XFS: {failure}");
        println!("fails on XFS too: {failure}");
    }
}

/// Where `cargo xtask soak` put a judge.
fn judge(name: &str) -> PathBuf {
    let folder = std::env::var_os("ASHLAR_JUDGES").expect("run it with `cargo xtask soak`");
    Path::new(&folder).join("bin").join(name)
}

const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

#[test]
#[ignore = "needs the program pjdfstest, which `cargo xtask soak` installs"]
fn pjdfstest_passes_as_on_xfs() {
    let program = judge("pjdfstest");
    let tested = |mount: &Path| {
        let settings = mount.parent().expect("it is mounted in a folder").join("pjdfstest.toml");
        std::fs::write(&settings, PJDFSTEST).expect("the folder is writable");
        let said = run_ok(Command::new(&program).arg("-c").arg(&settings).arg("-p").arg(mount));
        let summary = said.lines().find(|line| line.starts_with("Summary: "));
        summary.expect("it ends with a summary").to_owned()
    };
    let ours = tested(Ashlar::create("pjdfstest").path());
    println!("{ours}");
    assert_eq!(ours, tested(Xfs::create("pjdfstest-oracle").path()));
}

/// Size of file, largest operation, weight of mapped operations.
const FSX: [(u32, u32, u32); 4] =
    [(262_144, 65_536, 10), (262_144, 65_536, 0), (65_536, 6000, 10), (2_097_152, 262_144, 6)];

#[test]
#[ignore = "needs the program fsx, which `cargo xtask soak` installs"]
fn foreign_fsx_finds_the_right_bytes() {
    let volume = Ashlar::create("foreign-fsx");
    let start = Instant::now();
    for (seed, (size, largest, mapped)) in FSX.into_iter().enumerate() {
        if start.elapsed() > soak_time() {
            break;
        }
        let settings = format!(
            "flen = {size}\n[opsize]\nmin = 1\nmax = {largest}\n[weights]\n\
             close_open = 1\nread = 10\nwrite = 10\nmapread = {mapped}\nmapwrite = {mapped}\n\
             invalidate = 1\ntruncate = 3\n\
             fsync = 0.2\nfdatasync = 0.2\nposix_fallocate = 2\npunch_hole = 3\nsendfile = 2\n\
             posix_fadvise = 2\ncopy_file_range = 3\n"
        );
        let folder = volume.path().parent().expect("it is mounted in a folder");
        std::fs::write(folder.join("fsx.toml"), settings).expect("the folder is writable");
        let seed = seed.to_string();
        let mut command = Command::new(judge("fsx"));
        command.current_dir(folder).args(["-q", "-f", "fsx.toml", "-N", "100000", "-S", &seed]);
        run_ok(command.arg(volume.path().join("file")));
        println!("100000 operations, seed {seed}, files up to {size} bytes");
    }
}
