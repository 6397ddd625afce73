//! File systems to measure: Ashlar mounts, kernel file systems on loop devices, fuse2fs.
//!
//! Every image is written in full before it is used, so that no contender pays for space that the
//! host has to find; loop devices go past the host's cache, as Ashlar's image does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ashlar,
    Ext4,
    Xfs,
    Fuse2fs,
}

impl Kind {
    /// As shown in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ashlar => "ashlar",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Fuse2fs => "fuse2fs",
        }
    }
}

/// A mounted file system, with its image; both go when it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    image: PathBuf,
    mount: PathBuf,
    loop_device: Option<String>,
    server: Option<Child>,
}

impl Peer {
    /// Makes and mounts a file system of `bytes` in `folder`.
    pub(crate) fn create(folder: &Path, kind: Kind, bytes: u64) -> Self {
        let folder = folder.canonicalize().expect("the folder is there");
        let image = folder.join(format!("{}.img", kind.name()));
        let mount = folder.join(format!("{}.mnt", kind.name()));
        fs::create_dir_all(&mount).expect("a mount point can be made");
        // An earlier run may have been stopped.
        let _ = fs::remove_file(&image);
        let mut peer = Self { kind, image, mount, loop_device: None, server: None };
        peer.make(bytes);
        peer.mount();
        peer
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// Process identifier of its server.
    pub(crate) fn server(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    fn make(&mut self, bytes: u64) {
        if self.kind == Kind::Ashlar {
            let size = bytes.to_string();
            run(Command::new(ashlar())
                .args(["mkfs", "--quiet", "--prealloc", "--size", &size])
                .arg(&self.image));
            return;
        }
        let zeros = vec![0; 1 << 20];
        let mut file = fs::File::create(&self.image).expect("an image can be made");
        for _ in 0..bytes.div_ceil(1 << 20) {
            std::io::Write::write_all(&mut file, &zeros).expect("there is space for images");
        }
        file.sync_all().expect("an image can be synced");
        let mkfs: &[&str] = match self.kind {
            Kind::Xfs => &["mkfs.xfs", "-q", "-f", "-K"],
            // Lazily initialised tables would be written while something is measured.
            _ => &["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0"],
        };
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&self.image));
    }

    fn mount(&mut self) {
        match self.kind {
            Kind::Ashlar => {
                let mut command = Command::new(ashlar());
                command.args(["mount", "--foreground"]).arg(&self.image).arg(&self.mount);
                self.serve(command);
            }
            Kind::Fuse2fs => {
                let mut command = Command::new("fuse2fs");
                command.args(["-f", "-o", "fakeroot"]).arg(&self.image).arg(&self.mount);
                self.serve(command);
            }
            Kind::Ext4 | Kind::Xfs => {
                let show = ["--find", "--show", "--direct-io=on"];
                let device = run(Command::new("losetup").args(show).arg(&self.image));
                run(Command::new("mount").arg(device.trim()).arg(&self.mount));
                self.loop_device = Some(device.trim().to_owned());
            }
        }
    }

    fn serve(&mut self, mut command: Command) {
        let log = fs::File::create(self.image.with_extension("log")).expect("a log can be made");
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.server = Some(server.expect("the server can be started"));
        let start = Instant::now();
        while !is_mounted(&self.mount) {
            assert!(start.elapsed() < Duration::from_secs(30), "{:?} does not mount", self.kind);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn unmount(&mut self) {
        run(Command::new("umount").arg(&self.mount));
        if let Some(mut server) = self.server.take() {
            server.wait().expect("the server is our child");
        }
        if let Some(device) = self.loop_device.take() {
            run(Command::new("losetup").args(["--detach", &device]));
        }
    }

    /// Forgets everything cached, by mounting anew.
    pub(crate) fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// Makes everything on it durable.
    pub(crate) fn sync(&self) {
        let root = fs::File::open(&self.mount).expect("a mount point can be opened");
        rustix::fs::syncfs(&root).expect("a mount can be synced");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.unmount();
        // What stays behind is in the folder for images, which is temporary.
        let _ = fs::remove_file(&self.image);
    }
}

fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

/// The release build of the command, beside this program.
pub(crate) fn ashlar() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its program");
    own.with_file_name("ashlar")
}

/// Runs a command that must succeed; returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
