//! Opening volumes for commands that work without a mount.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ashlar::{ErrorKind, Volume};

use crate::failure::{Failure, Result};
use crate::in_use;

/// What a command is going to do with a volume.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Nothing is changed, not even the log.
    Read,
    /// Files are changed.
    Change,
}

/// Opens the volume in `image`.
pub(crate) fn open(image: &Path, purpose: Purpose) -> Result<Volume> {
    let options = Volume::options().read_only(purpose == Purpose::Read).umask(umask());
    let opened = patiently(image, |error: &ashlar::Error| error.errno(), || options.open(image));
    opened.map_err(|error| explain(&error, image))
}

/// How long an image is waited for that somebody holds without having it mounted.
const HELD_WAIT: Duration = Duration::from_secs(8);
/// When it is time to say so.
const HELD_WORD: Duration = Duration::from_secs(1);
const HELD_PAUSE: Duration = Duration::from_millis(20);

/// Opens an image with `open`, again and again for a few seconds while it is held and not mounted:
/// umount(8) returns before the server has closed the volume. What is mounted is refused at once.
///
/// # Errors
/// What `open` said last; `errno` tells its error number.
pub(crate) fn patiently<T, E>(
    image: &Path,
    errno: impl Fn(&E) -> i32,
    mut open: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let start = Instant::now();
    let mut told = false;
    loop {
        let error = match open() {
            Err(error) if matches!(errno(&error), libc::EBUSY | libc::EAGAIN) => error,
            done => return done,
        };
        if start.elapsed() > HELD_WAIT || !matches!(in_use::in_use(image), Ok(None)) {
            return Err(error);
        }
        if !told && start.elapsed() > HELD_WORD {
            eprintln!("ashlar: waiting for another program to let go of {}", image.display());
            told = true;
        }
        sleep(HELD_PAUSE);
    }
}

/// The process's umask. Nothing else runs yet while commands start.
pub(crate) fn umask() -> u16 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    // Nine bits.
    (mask.bits() & 0o777) as u16
}

/// Adds advice for what goes wrong most often.
fn explain(error: &ashlar::Error, image: &Path) -> Failure {
    let failure = Failure::new(error.to_string());
    match error.kind() {
        ErrorKind::NotFound => {
            failure.advise(format!("make it with `ashlar mkfs --size 1G {}`", image.display()))
        }
        ErrorKind::InUse => match in_use::in_use(image) {
            Ok(Some(how)) if how.starts_with("mounted on") => {
                failure.advise(format!("it is {how}: work there, or unmount it first"))
            }
            _ => failure.advise("another program has it open; wait until it has ended"),
        },
        ErrorKind::Damaged => {
            failure.advise(format!("look at the damage with `ashlar fsck -n {}`", image.display()))
        }
        _ => failure,
    }
}

/// Volumes opened by one command, each once however often its image is named.
pub(crate) struct Volumes {
    purpose: Purpose,
    open: Vec<(PathBuf, Volume)>,
}

impl Volumes {
    pub(crate) fn new(purpose: Purpose) -> Volumes {
        Volumes { purpose, open: Vec::new() }
    }

    pub(crate) fn get(&mut self, image: &Path) -> Result<&Volume> {
        let at = match self.open.iter().position(|(path, _)| path == image) {
            Some(at) => at,
            None => {
                self.open.push((image.to_owned(), open(image, self.purpose)?));
                self.open.len() - 1
            }
        };
        Ok(&self.open[at].1)
    }

    /// Closes all; everything is durable when this returns `Ok`.
    pub(crate) fn close(self) -> Result<()> {
        let mut first = Ok(());
        for (image, volume) in self.open {
            let closed = volume.close();
            let closed =
                closed.map_err(|error| Failure::new(format!("{}: {error}", image.display())));
            first = first.and(closed);
        }
        first
    }
}
