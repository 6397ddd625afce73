//! A mounted volume for one test, served by a process of its own.
//!
//! The server must not live in the test's process: a thread that waits for an answer from its own
//! dying process can never be ended. So this test binary starts itself again, told by the
//! environment to run only [`server_process`], as the server.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ashlar_core::{FormatOptions, Volume};
use ashlar_device::{Device, FileDevice, OpenMode};
use ashlar_fuse::{MountOptions, unmount};

/// Bytes of a test volume.
const CAPACITY: u64 = 256 << 20;
/// Set for the server: image, mount point, options, separated by newlines.
const SERVE: &str = "ASHLAR_FUSE_TEST_SERVE";
/// What the server prints when it serves.
const READY: &str = "server is ready";

/// A mount that is taken away, and checked to be closed cleanly, when the test ends.
pub(crate) struct Mount {
    folder: tempfile::TempDir,
    server: Option<Child>,
    /// Who runs the server.
    user: u32,
}

impl Mount {
    /// Formats and mounts; `None` if the environment says that there is no FUSE.
    pub(crate) fn new() -> Option<Mount> {
        Mount::with_options("")
    }

    /// As [`Mount::new`], with `-o` options.
    pub(crate) fn with_options(options: &str) -> Option<Mount> {
        Mount::by_user(0, options)
    }

    /// As [`Mount::with_options`], mounted and served by a user who owns the volume's root.
    pub(crate) fn by_user(user: u32, options: &str) -> Option<Mount> {
        if std::env::var_os("ASHLAR_NO_FUSE").is_some_and(|value| value == "1") {
            return None;
        }
        // Memory rather than a disk, where there is some: these are not tests of the host.
        let shared_memory = Path::new("/dev/shm");
        let folder = if shared_memory.is_dir() {
            tempfile::tempdir_in(shared_memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.expect("temporary directory");
        let mut mount = Mount { folder, server: None, user };
        fs::create_dir(mount.path()).expect("mount point");
        // The lock on the image ends with the device.
        {
            let mode = OpenMode { create_size: Some(CAPACITY), ..OpenMode::default() };
            let device: Arc<dyn Device> =
                Arc::new(FileDevice::open(mount.image(), mode).expect("image"));
            let options = FormatOptions { root_uid: user, ..FormatOptions::default() };
            Volume::format(&device, &options).expect("format");
        }
        for path in [mount.folder.path(), &mount.path(), &mount.image()] {
            std::os::unix::fs::chown(path, Some(user), None).expect("chown");
        }
        mount.start(options);
        Some(mount)
    }

    /// Starts the server and waits until it serves.
    pub(crate) fn start(&mut self, options: &str) {
        let what = format!("{}\n{}\n{options}", self.image().display(), self.path().display());
        let mut server = Command::new(std::env::current_exe().expect("own program"))
            .args(["--exact", "harness::server_process", "--nocapture", "--test-threads=1"])
            .env(SERVE, what)
            .uid(self.user)
            .gid(self.user)
            .stdout(Stdio::piped())
            .spawn()
            .expect("server process");
        let mut lines = BufReader::new(server.stdout.take().expect("pipe")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line.ends_with(READY)));
        // Or its later output would end it with a broken pipe.
        std::thread::spawn(move || lines.for_each(drop));
        self.server = Some(server);
        assert!(ready, "no mount: run as root with /dev/fuse, or set ASHLAR_NO_FUSE=1");
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// The mount point.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    /// A path inside the mount.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Process number of the server.
    pub(crate) fn server(&self) -> u32 {
        self.server.as_ref().expect("a running server").id()
    }

    /// Unmounts and waits for the server's clean end.
    pub(crate) fn stop(&mut self) {
        if self.server.is_some() {
            self.unmount();
            assert!(self.wait(), "the server did not end cleanly");
        }
    }

    /// Unmounts.
    pub(crate) fn unmount(&self) {
        // A child that another test starts holds our files until its exec: busy for a moment.
        let mut tries = 0;
        while let Err(error) = unmount(&self.path()) {
            tries += 1;
            assert!(error.to_string().contains("busy") && tries < 100, "{error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Unmounts and mounts the same image again.
    pub(crate) fn again(&mut self, options: &str) {
        self.stop();
        self.start(options);
    }

    /// Waits for the end of the server; whether it was a clean one.
    pub(crate) fn wait(&mut self) -> bool {
        let mut server = self.server.take().expect("a running server");
        server.wait().expect("server process").success()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return self.stop();
        }
        // The test has failed already; only do not leave things behind.
        let _ = Command::new("umount").args(["-f", "-l"]).arg(self.path()).status();
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Not a test: the server of a [`Mount`], when started as one.
#[test]
fn server_process() {
    let Ok(what) = std::env::var(SERVE) else { return };
    // Do not outlive a test that was killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .expect("prctl");
    let mut parts = what.split('\n');
    let mut next = || parts.next().expect("three parts");
    let (image, mountpoint, options) = (next(), next(), next());
    let options = MountOptions::parse(options).expect("options");
    let mounted = ashlar_fuse::mount(image.as_ref(), mountpoint.as_ref(), &options).expect("mount");
    println!("{READY}");
    mounted.serve().expect("clean end");
}

/// Runs a shell command inside `directory` as a user; its output if it succeeded.
pub(crate) fn shell_as(user: u32, directory: &Path, command: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(directory)
        .uid(user)
        .gid(user)
        .output()
        .expect("sh");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(said + &String::from_utf8_lossy(&output.stderr))
    }
}

/// The error number of a failed call.
pub(crate) fn errno<T: std::fmt::Debug, E: Into<std::io::Error>>(result: Result<T, E>) -> i32 {
    result.map_err(Into::into).expect_err("an error").raw_os_error().expect("an error number")
}

/// Names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("directory")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}
