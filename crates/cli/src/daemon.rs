//! Going into the background once the volume is usable.
//!
//! ```text
//!   parent ── fork ──▶ waits on the pipe ───────── reads the verdict ──▶ exits with it
//!                │                                   ▲
//!              child ── setsid, open, mount ── verdict ── stdio to null or log ──▶ serves
//! ```
//!
//! The fork comes before any thread: a child has only the thread that forked, and locks that
//! others held would stay locked. Until the verdict the child still has the parent's standard
//! error, so that what it logs is seen.
//!
//! The one unsafe call is fork(2), sound because the process has a single thread: `/proc/self`
//! is asked to be sure.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::process::{Pid, WaitOptions};

use crate::failure::{Failure, Result};

/// The child's verdict that all is well; anything else is an exit code, and a message follows.
const READY: u8 = 0;

/// Which of the two we are after the fork.
pub(crate) enum Side {
    /// The verdict is in: exit.
    Parent,
    /// Do the work and say when it is usable.
    Child(Verdict),
}

/// The child's end of the pipe.
pub(crate) struct Verdict(File);

/// Forks. In the parent this returns when the child has given its verdict, or has died.
///
/// # Errors
/// In the parent: what the child failed with.
pub(crate) fn fork() -> Result<Side> {
    let system = |what: &str, error: io::Error| Failure::new(format!("cannot {what}: {error}"));
    if thread_count() != Some(1) {
        return Err(Failure::new("cannot go into the background with threads running"));
    }
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| system("create a pipe", error.into()))?;
    // SAFETY: fork(2) takes no pointers; with a single thread, checked above, the child may use
    // everything that the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(system("fork", io::Error::last_os_error())),
        0 => {
            drop(reader);
            // Fails only for the leader of a process group, which a new process is not.
            let _ = rustix::process::setsid();
            Ok(Side::Child(Verdict(File::from(writer))))
        }
        child => {
            drop(writer);
            await_verdict(reader, child).map(|()| Side::Parent)
        }
    }
}

/// Threads of this process, by the kernel.
fn thread_count() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

fn await_verdict(reader: OwnedFd, child: i32) -> Result<()> {
    let mut verdict = Vec::new();
    File::from(reader)
        .read_to_end(&mut verdict)
        .map_err(|error| Failure::new(format!("cannot hear from the server: {error}")))?;
    match verdict.split_first() {
        Some((&READY, _)) => Ok(()),
        Some((&code, message)) => {
            Err(Failure::new(String::from_utf8_lossy(message)).with_code(code))
        }
        None => Err(Failure::new(format!("the server ended at once ({})", how_it_ended(child)))
            .advise("run it with --foreground, and with ASHLAR_LOG=debug, to see why")),
    }
}

fn how_it_ended(child: i32) -> String {
    let status = Pid::from_raw(child)
        .and_then(|pid| rustix::process::waitpid(Some(pid), WaitOptions::empty()).ok().flatten());
    match status {
        Some((_, status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => "unknown".to_owned(),
        },
        None => "unknown".to_owned(),
    }
}

impl Verdict {
    /// The volume is usable: lets the parent go and leaves the terminal. Standard error goes to
    /// `log`, or nowhere.
    ///
    /// # Errors
    /// The log cannot be opened; the verdict was not given then.
    pub(crate) fn ready(mut self, log: Option<&Path>) -> Result<()> {
        let (null, log) = open_outputs(log)?;
        let redirect = || -> rustix::io::Result<()> {
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(log.as_ref().unwrap_or(&null))
        };
        redirect().map_err(|error| Failure::new(format!("cannot redirect output: {error}")))?;
        // A mount must not keep another file system busy.
        let _ = std::env::set_current_dir("/");
        // If the parent was killed there is nobody to tell, and the mount is there all the same.
        let _ = self.0.write_all(&[READY]);
        Ok(())
    }

    /// It will not become usable: the parent prints why and exits with the failure's code.
    pub(crate) fn failed(mut self, failure: &Failure) {
        let mut message = vec![failure.code().max(1)];
        message.extend_from_slice(failure.to_string().as_bytes());
        // As in `ready`.
        let _ = self.0.write_all(&message);
    }
}

fn open_outputs(log: Option<&Path>) -> Result<(File, Option<File>)> {
    let null = Path::new("/dev/null");
    let open_null = File::options().read(true).write(true).open(null);
    let null = open_null.map_err(|error| Failure::host("open", null, &error))?;
    let log = log.map(|path| {
        let file = File::options().append(true).create(true).open(path);
        file.map_err(|error| Failure::host("open the log", path, &error))
    });
    Ok((null, log.transpose()?))
}
