//! `ashlar umount`: unmounts, and waits until everything is written.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

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
    ashlar_fuse::unmount(&absolute).map_err(|error| Failure::new(error.to_string()))?;
    wait_until_closed(&mount);
    Ok(())
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
