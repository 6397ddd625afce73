//! Sweeps of atomic files: after a cut each of them is exactly one committed image, size included,
//! and images that were committed together are together.
//!
//! ```text
//!   program   write, truncate, punch, stage ... commit one, commit several, abort, go plain again
//!   versions  all files' contents, one more for each commit, in the order of the log
//!   judge     what recovery finds is one of the versions between the last that was acknowledged
//!             and the last that the call in flight could have made
//! ```
//! Files go from atomic to plain and back, so that overwrites in place come right after commits;
//! other files come and go, so that freed blocks are reused with no commit following.

use crate::crash::CrashStates;
use crate::device::SimDevice;
use crate::image::Image;
use crate::sweep::{SweepOptions, SweepReport, VOLUME_BYTES, check_clean, cut_again};
use ashlar_core::{
    Caller, FallocateMode, File, Ino, MountOptions, NewInode, OpenFlags, Volume, WriteFlags,
};
use ashlar_device::Device;
use fastrand::Rng;
use std::sync::Arc;

/// Atomic files of a program.
const FILES: usize = 3;
/// Bytes that a file may reach.
const FILE_BYTES: usize = 300 << 10;
/// So little that dirty data does not stay in memory.
const CACHE_BYTES: u64 = 512 << 10;
/// A recovery with a checkpoint has many events: fewer of them are cut again than in other sweeps.
const NESTED_LESS_OFTEN: usize = 40;
/// Names that come and go beside the atomic files.
const OTHERS: usize = 4;

type Contents = Vec<Vec<u8>>;

/// What the files are allowed to be.
struct Versions {
    /// All contents after each commit, the empty ones first.
    all: Vec<Contents>,
    /// For each call: how many versions there were when it returned, and the one acknowledged then.
    calls: Vec<(usize, usize)>,
    /// A file whose plain content is undefined while that call is in flight.
    undefined: Vec<Option<usize>>,
}

/// A program in progress.
struct Program {
    volume: Arc<Volume>,
    inodes: Vec<Ino>,
    handles: Vec<Option<Arc<File>>>,
    working: Contents,
    versions: Versions,
    acknowledged: usize,
    stamp: u8,
}

/// Runs the program of one seed and judges what every cut may leave.
///
/// # Errors
/// A sentence that says what is broken.
pub fn sweep_seed(base: &Image, seed: u64, options: &SweepOptions) -> Result<SweepReport, String> {
    let device = SimDevice::new(VOLUME_BYTES, base.clone());
    let device = Arc::new(if options.lying_device { device.lying() } else { device });
    let mut program = Program::start(&device)?;
    let start = device.event_count();
    let mut ends = vec![start];
    let mut random = Rng::with_seed(seed);
    for step in 0..options.steps {
        let undefined =
            program.step(&mut random).map_err(|error| format!("step {step}: {error}"))?;
        program.returned(undefined);
        ends.push(device.event_count());
    }
    // Before anything is closed in good order.
    let history = device.history();
    let Program { versions, inodes, .. } = program;
    let mut states = CrashStates::new(device.base(), &history);
    let mut random = Rng::with_seed(seed ^ 0xa70);
    let mut inner = Rng::with_seed(seed ^ 0x1a7);
    let mut report = SweepReport::default();
    let mut call_before = usize::MAX;
    for cut in start..=history.len() {
        let call = ends.partition_point(|end| *end <= cut) - 1;
        if call != call_before {
            states.judge_anew();
            call_before = call;
        }
        let judge = Judge { versions: &versions, inodes: &inodes, call };
        let mut failure = None;
        states.visit(cut, options.samples, &mut random, |image| {
            if failure.is_some() {
                return;
            }
            let nested = inner.usize(..options.nested_every.max(1) * NESTED_LESS_OFTEN) == 0;
            let result = judge.state(image).and_then(|device| {
                if nested {
                    cut_again(&device, &mut inner, |image| judge.state(image))
                } else {
                    Ok(0)
                }
            });
            match result {
                Ok(count) => report.nested += count,
                Err(reason) => failure = Some(reason),
            }
        });
        if let Some(reason) = failure {
            return Err(format!("cut after event {cut} (step {call}): {reason}"));
        }
    }
    report.states = states.distinct() as u64 + report.nested;
    Ok(report)
}

fn mount(device: &Arc<SimDevice>) -> Result<Arc<Volume>, String> {
    let options =
        MountOptions { background: false, cache_bytes: CACHE_BYTES, ..MountOptions::default() };
    Volume::mount(Arc::clone(device) as Arc<dyn Device>, &options)
        .map_err(|error| format!("mount: {error}"))
}

fn read(volume: &Arc<Volume>, ino: Ino) -> Result<Vec<u8>, String> {
    let file = volume.open(ino, OpenFlags::read_only()).map_err(|error| error.to_string())?;
    let size = file.attr().map_err(|error| error.to_string())?.size;
    let mut bytes = vec![0; usize::try_from(size).map_err(|error| error.to_string())?];
    let count = file.read_at(0, &mut bytes).map_err(|error| error.to_string())?;
    bytes.truncate(count);
    Ok(bytes)
}

/// What the program did up to a cut.
#[derive(Clone, Copy)]
struct Judge<'a> {
    versions: &'a Versions,
    inodes: &'a [Ino],
    /// Calls that had returned.
    call: usize,
}

impl Judge<'_> {
    /// Recovers a state and compares what it finds with the versions that are allowed. Returns the
    /// device, with the history of its recovery and of a checkpoint that writes everything home.
    fn state(&self, image: Image) -> Result<Arc<SimDevice>, String> {
        let device = Arc::new(SimDevice::new(VOLUME_BYTES, image));
        check_clean(&*device, "before recovery")?;
        let volume = mount(&device)?;
        self.compare(&volume)?;
        // Writes a checkpoint.
        volume.set_label("recovered").map_err(|error| error.to_string())?;
        self.compare(&volume).map_err(|reason| format!("after a checkpoint: {reason}"))?;
        // As a power cut.
        drop(volume);
        check_clean(&*device, "after recovery")?;
        Ok(device)
    }

    fn compare(&self, volume: &Arc<Volume>) -> Result<(), String> {
        let found: Contents =
            self.inodes.iter().map(|ino| read(volume, *ino)).collect::<Result<_, _>>()?;
        let Versions { all, calls, undefined } = self.versions;
        let next = self.call + 1;
        let (_, floor) = calls[self.call];
        let ceiling = calls.get(next).map_or(all.len(), |(count, _)| *count);
        let undefined = undefined.get(next).copied().flatten();
        let allowed = &all[floor..ceiling];
        let matches = |version: &Contents| {
            let mut files = version.iter().zip(&found).enumerate();
            files.all(|(at, (allowed, found))| undefined == Some(at) || allowed == found)
        };
        if allowed.iter().any(matches) { Ok(()) } else { Err(difference(allowed, &found)) }
    }
}

/// Says how what was found differs from what was allowed.
fn difference(allowed: &[Contents], found: &Contents) -> String {
    let mut words = format!("not one of {} allowed versions:", allowed.len());
    for (file, found) in found.iter().enumerate() {
        let lengths: Vec<usize> = allowed.iter().map(|version| version[file].len()).collect();
        let first = allowed.last().and_then(|version| {
            version[file].iter().zip(found).position(|(allowed, found)| allowed != found)
        });
        words += &format!(
            " file {file}: {} bytes, allowed {lengths:?}, first difference from the last \
             {first:?};",
            found.len()
        );
    }
    words
}

impl Program {
    fn start(device: &Arc<SimDevice>) -> Result<Self, String> {
        let volume = mount(device)?;
        let make = |number: usize| {
            let name = format!("atomic{number}");
            let new = NewInode::file(0o644);
            volume.create(&Caller::root(), Ino::ROOT, name.as_bytes(), &new)
        };
        let made = (0..FILES).map(make).collect::<Result<Vec<_>, _>>();
        let inodes = made.map_err(|error| error.to_string())?.iter().map(|attr| attr.ino).collect();
        volume.sync().map_err(|error| error.to_string())?;
        let empty = vec![Vec::new(); FILES];
        Ok(Self {
            volume,
            inodes,
            handles: vec![None; FILES],
            working: empty.clone(),
            versions: Versions { all: vec![empty], calls: vec![(1, 0)], undefined: vec![None] },
            acknowledged: 0,
            stamp: 0,
        })
    }

    fn returned(&mut self, undefined: Option<usize>) {
        self.versions.calls.push((self.versions.all.len(), self.acknowledged));
        self.versions.undefined.push(undefined);
    }

    fn committed(&self) -> &Contents {
        &self.versions.all[self.versions.all.len() - 1]
    }

    /// Files are as they were written: one more version, which is not acknowledged yet.
    fn commit(&mut self, files: &[usize]) {
        let mut next = self.committed().clone();
        for file in files {
            next[*file].clone_from(&self.working[*file]);
        }
        if next != *self.committed() {
            self.versions.all.push(next);
        }
    }

    fn acknowledge(&mut self) {
        self.acknowledged = self.versions.all.len() - 1;
    }

    fn step(&mut self, random: &mut Rng) -> ashlar_core::Result<Option<usize>> {
        let at = random.usize(..FILES);
        let Some(file) = self.handles[at].clone() else {
            return self.step_plain(random, at);
        };
        match random.u32(..24) {
            0..=9 => self.write(random, at, &file)?,
            10..=11 => self.reshape(random, at, &file)?,
            12..=15 => {
                file.fsync(random.bool())?;
                self.commit(&[at]);
                self.acknowledge();
            }
            16..=18 => self.commit_several()?,
            19 => self.sync_volume()?,
            20 => {
                file.abort_atomic()?;
                self.handles[at] = None;
                self.working[at] = self.committed()[at].clone();
            }
            21 => {
                drop(file);
                self.handles[at] = None;
                self.working[at] = self.committed()[at].clone();
            }
            _ => self.others(random)?,
        }
        Ok(None)
    }

    /// A step for a file that is not atomic.
    fn step_plain(&mut self, random: &mut Rng, at: usize) -> ashlar_core::Result<Option<usize>> {
        if random.u32(..3) > 0 || self.working[at].is_empty() {
            let flags = OpenFlags { atomic: true, ..OpenFlags::read_write() };
            self.handles[at] = Some(self.volume.open(self.inodes[at], flags)?);
            return Ok(None);
        }
        // Blocks that a commit just wrote are overwritten in place.
        let direct = random.bool();
        let flags = OpenFlags { direct, ..OpenFlags::read_write() };
        let file = self.volume.open(self.inodes[at], flags)?;
        let start = random.usize(..self.working[at].len()) / 4096 * 4096;
        let length = (4096 * random.usize(1..8)).min(self.working[at].len() - start);
        self.put(at, &file, start, length)?;
        file.fsync(true)?;
        self.commit(&[at]);
        self.acknowledge();
        Ok(Some(at))
    }

    fn write(&mut self, random: &mut Rng, at: usize, file: &File) -> ashlar_core::Result<()> {
        let size = self.working[at].len();
        let start = match random.u32(..4) {
            0 => size,
            1 => random.usize(..FILE_BYTES),
            _ => random.usize(..=size) / 4096 * 4096,
        };
        let length = match random.u32(..8) {
            0 => random.usize(1..200 << 10),
            1..=3 => 4096 * random.usize(1..6),
            _ => random.usize(1..9000),
        };
        self.put(at, file, start, length.min(FILE_BYTES.saturating_sub(start)))
    }

    /// Writes bytes that say which write they are of.
    fn put(
        &mut self,
        at: usize,
        file: &File,
        start: usize,
        length: usize,
    ) -> ashlar_core::Result<()> {
        self.stamp = self.stamp % 250 + 1;
        let bytes = vec![self.stamp; length];
        file.write_at(start as u64, &bytes, WriteFlags::default())?;
        let content = &mut self.working[at];
        if content.len() < start + length && length > 0 {
            content.resize(start + length, 0);
        }
        content[start..start + length].fill(self.stamp);
        Ok(())
    }

    fn reshape(&mut self, random: &mut Rng, at: usize, file: &File) -> ashlar_core::Result<()> {
        let content = &mut self.working[at];
        let start = random.usize(..=content.len());
        if random.bool() {
            file.set_len(start as u64)?;
            content.resize(start, 0);
            return Ok(());
        }
        let length = random.usize(1..60_000);
        let keep_size = true;
        let mode = if random.bool() {
            FallocateMode::PunchHole
        } else {
            FallocateMode::ZeroRange { keep_size }
        };
        file.allocate(&Caller::root(), mode, start as u64, length as u64)?;
        let end = content.len().min(start + length);
        content[start..end].fill(0);
        Ok(())
    }

    fn commit_several(&mut self) -> ashlar_core::Result<()> {
        let open: Vec<usize> = (0..FILES).filter(|at| self.handles[*at].is_some()).collect();
        let handles: Vec<Arc<File>> = self.handles.iter().flatten().cloned().collect();
        let files: Vec<&File> = handles.iter().map(|file| &**file).collect();
        self.volume.sync_files(&files)?;
        self.commit(&open);
        self.acknowledge();
        Ok(())
    }

    /// Commits all files, one after the other.
    fn sync_volume(&mut self) -> ashlar_core::Result<()> {
        self.volume.sync()?;
        for at in 0..FILES {
            if self.handles[at].is_some() {
                self.commit(&[at]);
            }
        }
        self.acknowledge();
        Ok(())
    }

    /// Other files come and go, in blocks that may have been these files'.
    fn others(&mut self, random: &mut Rng) -> ashlar_core::Result<()> {
        let name = format!("other{}", random.usize(..OTHERS));
        let caller = Caller::root();
        match random.u32(..6) {
            0..=1 => {
                let new = NewInode::file(0o644);
                let Ok(attr) = self.volume.create(&caller, Ino::ROOT, name.as_bytes(), &new) else {
                    return Ok(());
                };
                let file = self.volume.open(attr.ino, OpenFlags::read_write())?;
                let bytes = vec![0xee; random.usize(1..400_000)];
                file.write_at(0, &bytes, WriteFlags::default())?;
                if random.bool() {
                    file.fsync(true)?;
                }
            }
            2..=3 => {
                // It may not be there.
                let _ = self.volume.unlink(Ino::ROOT, name.as_bytes());
            }
            // Writes a checkpoint.
            4 => self.volume.set_label(&name)?,
            _ => self.volume.background_step()?,
        }
        Ok(())
    }
}
