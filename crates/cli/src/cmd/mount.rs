//! `ashlar mount`: serves a volume to the kernel, in the background unless told otherwise.

use std::path::{Path, PathBuf};

use ashlar::Volume;
use ashlar_fuse::{MountOptions, Mounted};

use crate::daemon::{self, Side};
use crate::failure::{Failure, Result};
use crate::image::patiently;
use crate::logging;
use crate::size::Size;

/// Mount a volume on a directory.
///
/// Returns when the directory can be used; a server stays in the background until somebody
/// unmounts. As root, the mount is there for all users, and a block device supports swap files
/// and the like. Without root it needs fusermount3 and is the user's own, unless -o allow_other.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Make the volume first, of this size, if the image file is missing
    #[arg(long, value_name = "SIZE")]
    pub(crate) create: Option<Size>,
    /// Mount options, separated by commas; may be given more than once
    #[arg(short, value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    /// Stay in the foreground, and log to standard error
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Where the server in the background logs to. Default: nowhere
    #[arg(long, value_name = "FILE", conflicts_with = "foreground")]
    pub(crate) log: Option<PathBuf>,
    /// Image file or block device
    pub(crate) image: PathBuf,
    /// Directory to mount on
    pub(crate) directory: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  ashlar mount disk.img /mnt
  ashlar mount --create 10G disk.img /mnt    makes the volume if it is not there yet
  ashlar mount -o ro,noexec /dev/vdb /mnt
  ashlar mount -f disk.img /mnt              for a service manager, or to watch
  mount -t fuse.ashlar disk.img /mnt         the same through mount(8)

In /etc/fstab:
  /dev/vdb  /data  fuse.ashlar  defaults,noatime,nofail  0  0

Options: ro rw noatime relatime strictatime noexec nosuid nodev sync dirsync allow_other
allow_root auto_unmount fsname= subtype= max_read= atomic[=discard|commit] noatomic; those of
fstab (defaults, noauto, nofail, _netdev, user, users, owner, x-*, comment=) are accepted.

With atomic, a crash leaves every file as its last fsync committed it, size included. What was not
committed when the last program closes the file is discarded; with atomic=commit it is kept, which
editors, cp and others need that never call fsync.";

/// One mount, wherever the request came from.
pub(crate) struct Request<'a> {
    pub(crate) image: &'a Path,
    pub(crate) directory: &'a Path,
    pub(crate) options: MountOptions,
    pub(crate) create: Option<Size>,
    pub(crate) log: Option<&'a Path>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut options = MountOptions::default();
    for list in &arguments.options {
        options.apply(list).map_err(|error| Failure::usage(error.to_string()))?;
    }
    let request = Request {
        image: &arguments.image,
        directory: &arguments.directory,
        options,
        create: arguments.create,
        log: arguments.log.as_deref(),
    };
    if arguments.foreground {
        logging::start("info");
        return serve(prepare(&request)?);
    }
    in_background(&request)
}

/// Mounts and leaves a server in the background.
///
/// # Errors
/// The volume is not mounted then.
pub(crate) fn in_background(request: &Request<'_>) -> Result<()> {
    let verdict = match daemon::fork()? {
        Side::Parent => return Ok(()),
        Side::Child(verdict) => verdict,
    };
    logging::start(if request.log.is_some() { "info" } else { "warn" });
    let mounted = match prepare(request) {
        Ok(mounted) => mounted,
        Err(failure) => {
            verdict.failed(&failure);
            return Err(Failure::silent(failure.code()));
        }
    };
    // Dropping what is mounted unmounts it.
    verdict.ready(request.log)?;
    let served = serve(mounted);
    if let Err(failure) = &served {
        tracing::error!("{failure}");
    }
    served
}

fn prepare(request: &Request<'_>) -> Result<Mounted> {
    if let Some(Size(bytes)) = request.create
        && !request.image.exists()
    {
        Volume::options().size(bytes).create(request.image)?.close()?;
    }
    let mount = || ashlar_fuse::mount(request.image, request.directory, &request.options);
    patiently(request.image, held, mount).map_err(|error| explain(&error, request.image))
}

/// The error number of an image that cannot be opened; 0 for all else.
fn held(error: &ashlar_fuse::Error) -> i32 {
    match error {
        ashlar_fuse::Error::Open(error) => error.errno(),
        _ => 0,
    }
}

fn serve(mounted: Mounted) -> Result<()> {
    mounted.serve().map_err(|error| Failure::new(error.to_string()))
}

fn explain(error: &ashlar_fuse::Error, image: &Path) -> Failure {
    let failure = match error {
        // The volume does not know what it is called here.
        ashlar_fuse::Error::Volume(error) => {
            Failure::new(format!("cannot mount {}: {error}", image.display()))
        }
        error => Failure::new(error.to_string()),
    };
    if image.exists() {
        return failure;
    }
    failure.advise(format!(
        "make it with `ashlar mkfs --size 1G {0}`, or mount with --create 1G",
        image.display()
    ))
}
