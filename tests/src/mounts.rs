//! Mounted file systems for tests: Ashlar through the `ashlar` command, XFS and ext4 on loop
//! devices. Each unmounts when dropped and takes its image with it.

use crate::programs::{run, run_ok};
use crate::sys;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for a mount to appear or go.
const PATIENCE: Duration = Duration::from_secs(30);
/// Size of images, sparse on the host.
const IMAGE_BYTES: u64 = 2 << 30;

/// The `ashlar` command: what `ASHLAR_BIN` names, else built now.
pub fn ashlar_command() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("ASHLAR_BIN") {
            return given.into();
        }
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.parent().expect("the package lies in the workspace");
        run_ok(Command::new(env!("CARGO")).current_dir(root).args([
            "build",
            "--quiet",
            "--package",
            "ashlar-cli",
        ]));
        // target/debug/deps/<this test>
        let test = std::env::current_exe().expect("a process knows its program");
        test.ancestors().nth(2).expect("tests lie in target/*/deps").join("ashlar")
    })
}

/// A folder of its own for an image and the place where it is mounted.
fn folder(label: &str) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::Builder::new()
        .prefix(&format!("ashlar-{label}-"))
        .tempdir()
        .expect("the temporary folder is writable");
    // The mount table shows paths without links.
    let path = folder.path().canonicalize().expect("the folder is there");
    // Other users come by: they may enter, and see what the mount lets them see.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, open).expect("the folder is ours");
    let (image, mount) = (path.join("image"), path.join("mount"));
    std::fs::create_dir(&mount).expect("a new folder can be made");
    (folder, image, mount)
}

fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Unmounts. A child that another thread is starting holds our files until its exec, so that a mount
/// may be busy for a moment that is not its own.
///
/// # Panics
/// When it stays busy, or umount(8) fails otherwise; the mount is taken away all the same.
fn unmount_when_idle(mount: &Path) {
    let start = Instant::now();
    loop {
        let output = run(Command::new("umount").arg(mount));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            return;
        }
        if !said.contains("busy") || start.elapsed() > PATIENCE {
            run(Command::new("umount").arg("-l").arg(mount));
            panic!("umount {}: {said}", mount.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An Ashlar volume, mounted through FUSE.
#[derive(Debug)]
pub struct Ashlar {
    image: PathBuf,
    mount: PathBuf,
    server: Option<Child>,
    options: String,
    // Dropped last: it removes the image.
    _folder: TempDir,
}

impl Ashlar {
    /// Makes a volume and mounts it.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn create(label: &str) -> Self {
        Self::create_with(label, "")
    }

    /// Makes a volume and mounts it with `-o options`.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn create_with(label: &str, options: &str) -> Self {
        Self::create_sized(label, IMAGE_BYTES, options)
    }

    /// Makes a volume of `bytes` and mounts it with `-o options`.
    ///
    /// # Panics
    /// When the command fails.
    #[must_use]
    pub fn create_sized(label: &str, bytes: u64, options: &str) -> Self {
        let (folder, image, mount) = folder(label);
        let size = bytes.to_string();
        let mut mkfs = Command::new(ashlar_command());
        run_ok(mkfs.args(["mkfs", "--quiet", "--size", &size]).arg(&image));
        let options = options.to_owned();
        let mut volume = Self { image, mount, server: None, options, _folder: folder };
        volume.mount();
        volume
    }

    /// Where the volume is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// The image file.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// What the servers of this volume said.
    fn log(&self) -> PathBuf {
        self.image.with_extension("log")
    }

    /// Process identifier of the server.
    ///
    /// # Panics
    /// When the volume is not mounted.
    #[must_use]
    pub fn server(&self) -> u32 {
        self.server.as_ref().expect("the volume is mounted").id()
    }

    /// Options of the next mount.
    pub fn set_options(&mut self, options: &str) {
        options.clone_into(&mut self.options);
    }

    /// Mounts the volume; returns how long that took.
    ///
    /// # Panics
    /// When the server ends, or the mount does not appear.
    pub fn mount(&mut self) -> Duration {
        let start = Instant::now();
        let mut command = Command::new(ashlar_command());
        command.args(["mount", "--foreground"]);
        if !self.options.is_empty() {
            command.arg("-o").arg(&self.options);
        }
        command.arg(&self.image).arg(&self.mount);
        let log = File::options().create(true).append(true).open(self.log());
        command.stderr(log.expect("the folder is writable"));
        let server = sys::tie_to_parent(&mut command).spawn();
        let mut server = server.expect("the ashlar command can be run");
        wait_for("no mount", || {
            let ended = server.try_wait().expect("the server is our child");
            assert!(ended.is_none(), "the server ended: {ended:?}");
            is_mounted(&self.mount)
        });
        self.server = Some(server);
        start.elapsed()
    }

    /// Unmounts in good order and waits for the server to end.
    ///
    /// # Panics
    /// When the server fails.
    pub fn unmount(&mut self) {
        if self.server.is_some() {
            // A failure here leaves the server to be cleared away when this is dropped.
            unmount_when_idle(&self.mount);
        }
        let Some(mut server) = self.server.take() else { return };
        let mut status = None;
        wait_for("the server runs on", || {
            status = server.try_wait().expect("the server is our child");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "the server ended: {status:?}");
    }

    /// Unmounts a volume that has been stopped; how its server ends says that it was.
    ///
    /// # Panics
    /// When it cannot be unmounted, or the server runs on.
    pub fn unmount_stopped(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        unmount_when_idle(&self.mount);
        wait_for("the server runs on", || {
            server.try_wait().expect("the server is our child").is_some()
        });
    }

    /// Kills the server as a crash would, and clears the dead mount away.
    ///
    /// # Panics
    /// When the mount does not go.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        server.kill().expect("the server is our child");
        server.wait().expect("the server is our child");
        wait_for("the dead mount stays", || {
            !is_mounted(&self.mount)
                || run(Command::new("umount").arg("-l").arg(&self.mount)).status.success()
        });
    }

    /// Sends the server a signal that makes it unmount, and waits for its end.
    ///
    /// # Panics
    /// When the server fails, or leaves the mount behind.
    pub fn stop(&mut self, signal: i32) {
        let Some(mut server) = self.server.take() else { return };
        sys::kill(server.id(), signal).expect("the server is our child");
        let mut status = None;
        wait_for("the server runs on", || {
            status = server.try_wait().expect("the server is our child");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "the server ended: {status:?}");
        assert!(!is_mounted(&self.mount), "the mount is still there");
    }

    /// Checks the unmounted volume.
    ///
    /// # Panics
    /// When the check finds anything.
    pub fn check(&self) {
        run_ok(Command::new(ashlar_command()).args(["fsck", "-n"]).arg(&self.image));
    }
}

impl Drop for Ashlar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            eprintln!("the server said:\n{log}");
            // The test has failed already; leave nothing behind, whatever state this is in.
            if let Some(mut server) = self.server.take() {
                run(Command::new("umount").arg("-l").arg(&self.mount));
                // A server that has gone already is as good as a killed one.
                let _ = server.kill();
                let _ = server.wait();
            }
        } else if self.server.is_some() {
            self.unmount();
            self.check();
        }
    }
}

/// A kernel file system on a loop device.
#[derive(Debug)]
pub struct Loop {
    mount: PathBuf,
    _folder: TempDir,
}

/// Kernel XFS, the oracle of the conformance table.
pub type Xfs = Loop;

impl Loop {
    /// Makes and mounts XFS.
    ///
    /// # Panics
    /// When mkfs or mount fails.
    #[must_use]
    pub fn create(label: &str) -> Self {
        Self::with(label, &["mkfs.xfs", "-q", "-f"])
    }

    /// Makes and mounts ext4.
    ///
    /// # Panics
    /// When mkfs or mount fails.
    #[must_use]
    pub fn ext4(label: &str) -> Self {
        Self::with(label, &["mkfs.ext4", "-q", "-F"])
    }

    fn with(label: &str, mkfs: &[&str]) -> Self {
        let (folder, image, mount) = folder(label);
        let file = File::create(&image).expect("a new file can be made");
        file.set_len(IMAGE_BYTES).expect("a sparse file may be this large");
        run_ok(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
        // Loop devices are made one after another: two mounts at once may both want the same.
        let lock = std::env::temp_dir().join("ashlar-tests-loop.lock");
        run_ok(
            Command::new("flock").arg(lock).args(["mount", "-o", "loop"]).args([&image, &mount]),
        );
        Self { mount, _folder: folder }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A failing test may still hold files open.
            run(Command::new("umount").arg("-l").arg(&self.mount));
        } else {
            unmount_when_idle(&self.mount);
        }
    }
}

/// Calls `test` with a fresh Ashlar mount, which is checked afterwards.
///
/// With `ASHLAR_TESTS_ON=xfs` it runs on kernel XFS instead, to tell whether a failure is the
/// test's own.
pub fn on_ashlar(label: &str, test: impl FnOnce(&Path)) {
    if std::env::var("ASHLAR_TESTS_ON").is_ok_and(|value| value == "xfs") {
        test(Xfs::create(label).path());
    } else {
        test(Ashlar::create(label).path());
    }
}
