//! `ashlar umount`: unmounts, and waits until everything is written.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ashlar_device::{FileDevice, OpenMode};

use crate::failure::{Failure, Result};
use crate::in_use::{self, Mount};

/// Unmount a volume and wait until it is closed.
///
/// When this returns, everything is written, the server has ended, and the image can be copied,
/// checked or mounted again. umount(8) returns a moment earlier for image files.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Directories where volumes are mounted
    #[arg(required = true)]
    pub(crate) directories: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  ashlar umount /mnt
  fuser -vm /mnt               who keeps it busy?";

/// How long a busy mount is given to become idle.
const BUSY_WAIT: Duration = Duration::from_millis(300);
const BUSY_PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for directory in &arguments.directories {
        unmount(directory)?;
    }
    Ok(())
}

/// Unmounts one volume and waits for its server.
pub(crate) fn unmount(directory: &Path) -> Result<()> {
    // A mount whose server has died cannot be examined, but its name is in the mount table.
    let absolute = directory.canonicalize().or_else(|_| std::path::absolute(directory));
    let absolute = absolute.map_err(|error| Failure::host("examine", directory, &error))?;
    let mount = in_use::mount_at(&absolute)
        .map_err(|error| Failure::host("read", Path::new("/proc/self/mountinfo"), &error))?;
    let Some(mount) = mount else {
        return Err(Failure::new(format!("nothing is mounted on {}", directory.display()))
            .advise("`findmnt -t fuse.ashlar,fuseblk.ashlar` lists mounted volumes"));
    };
    if !mount.is_ashlar() {
        let what = format!("{} holds no Ashlar volume but {}", directory.display(), mount.kind);
        return Err(Failure::new(what).advise("use umount(8)"));
    }
    take_out(&absolute).map_err(|error| Failure::new(error.to_string()))?;
    wait_until_closed(&mount);
    Ok(())
}

/// Unmounts. A mount can be busy for a moment without anybody using it: its own server looks at
/// it when it starts, and so do desktops that notice it.
fn take_out(directory: &Path) -> Result<(), ashlar_fuse::Error> {
    let start = Instant::now();
    loop {
        match ashlar_fuse::unmount(directory) {
            Err(error) if is_busy(&error) && start.elapsed() < BUSY_WAIT => sleep(BUSY_PAUSE),
            done => return done,
        }
    }
}

fn is_busy(error: &ashlar_fuse::Error) -> bool {
    match error {
        ashlar_fuse::Error::Unmount { source, .. } => source.raw_os_error() == Some(libc::EBUSY),
        ashlar_fuse::Error::Helper { reason } => reason.contains("busy"),
        _ => false,
    }
}

/// The server holds a lock on its image until it has closed the volume.
fn wait_until_closed(mount: &Mount) {
    // With `-o fsname=` the table does not say what was mounted.
    if !mount.source.is_absolute() {
        return;
    }
    let mut pause = PAUSE_MIN;
    let mode = OpenMode { read_only: true, ..OpenMode::default() };
    while let Err(error) = FileDevice::open(&mount.source, mode)
        && matches!(error.errno(), libc::EBUSY | libc::EAGAIN)
    {
        sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
