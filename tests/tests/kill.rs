//! Goal: a server that is killed at any moment loses nothing that fsync promised, comes back
//! within a second, and leaves a volume that `ashlar fsck` finds clean.
//!
//! Method: writers work on files of their own and remember what was acknowledged; the server gets
//! SIGKILL amid that; the volume is mounted again and everything acknowledged is looked for. Many
//! rounds on one volume, so that recovery works on what recovery left.
//!
//! What the kernel's cache holds dies with the mount, so this is a test of the log and of its
//! replay; lost and reordered device writes are the simulator's business (docs/CRASH.md).

use ashlar_tests::mounts::Ashlar;
use ashlar_tests::programs::{soak, soak_time};
use fastrand::Rng;
use std::fs::{self, File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WRITERS: u64 = 3;
const BLOCK: usize = 4096;
const BLOCKS: u64 = 16;
/// Longest time that mounting may take, recovery included.
const MOUNT_MAX: Duration = Duration::from_secs(1);

/// What one writer was promised.
#[derive(Debug, Clone, Default)]
struct Promised {
    /// Bytes of the appended file.
    appended: u64,
    /// Version of the file that is replaced by rename.
    replaced: u64,
    /// Version of each block of the file that is overwritten in place, as promised and as begun.
    overwritten: Vec<(u64, u64)>,
    /// Files that exist: `n<lowest>` up to, not including, `n<highest>`.
    names: (u64, u64),
    /// As above, where a creation or removal had begun.
    begun: (u64, u64),
}

/// Byte `at` of the appended file.
fn appended_byte(writer: u64, at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9) >> 7) as u8 ^ writer as u8
}

/// Content of version `version`: its number, again and again.
fn content(version: u64, length: usize) -> Vec<u8> {
    version.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// The version that `bytes` hold all through, if there is one.
fn version_of(bytes: &[u8]) -> Option<u64> {
    let version = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == content(version, bytes.len())).then_some(version)
}

/// Works in `folder` until told to stop or the mount dies; returns what was promised by then.
fn work(folder: &Path, writer: u64, mut have: Promised, stop: &AtomicBool, seed: u64) -> Promised {
    let mut random = Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let step = match random.u32(..4) {
            0 => append(folder, writer, &mut have, &mut random),
            1 => replace(folder, &mut have, &mut random),
            2 => overwrite(folder, &mut have, &mut random),
            _ => make_and_remove(folder, &mut have, &mut random),
        };
        if step.is_err() {
            break;
        }
    }
    have
}

fn append(folder: &Path, writer: u64, have: &mut Promised, random: &mut Rng) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(folder.join("appended"))?;
    // A killed server may have left more than was promised; it is ours to cut.
    file.set_len(have.appended)?;
    let end = have.appended + random.u64(1..20_000);
    let bytes: Vec<u8> = (have.appended..end).map(|at| appended_byte(writer, at)).collect();
    for part in bytes.chunks(random.usize(1..9000)) {
        std::io::Write::write_all(&mut (&file), part)?;
    }
    file.sync_data()?;
    have.appended = end;
    Ok(())
}

fn replace(folder: &Path, have: &mut Promised, random: &mut Rng) -> Result<()> {
    let version = have.replaced + 1;
    let new = folder.join("new");
    let file = File::create(&new)?;
    file.write_all_at(&content(version, random.usize(8..50_000)), 0)?;
    file.sync_all()?;
    fs::rename(&new, folder.join("replaced"))?;
    File::open(folder)?.sync_all()?;
    have.replaced = version;
    Ok(())
}

fn overwrite(folder: &Path, have: &mut Promised, random: &mut Rng) -> Result<()> {
    let path = folder.join("overwritten");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    if have.overwritten.is_empty() {
        file.write_all_at(&content(1, BLOCK * BLOCKS as usize), 0)?;
        file.sync_all()?;
        have.overwritten = vec![(1, 1); BLOCKS as usize];
    }
    let mut touched = Vec::new();
    for _ in 0..random.usize(1..5) {
        let block = random.usize(..BLOCKS as usize);
        have.overwritten[block].1 += 1;
        let offset = (block * BLOCK) as u64;
        file.write_all_at(&content(have.overwritten[block].1, BLOCK), offset)?;
        touched.push(block);
    }
    file.sync_data()?;
    for block in touched {
        have.overwritten[block].0 = have.overwritten[block].1;
    }
    Ok(())
}

fn make_and_remove(folder: &Path, have: &mut Promised, random: &mut Rng) -> Result<()> {
    let add = random.u64(..6);
    let remove = random.u64(..=have.names.1 - have.names.0);
    have.begun = (have.names.0 + remove, have.names.1 + add);
    for name in have.names.1..have.begun.1 {
        File::create(folder.join(format!("n{name}")))?;
    }
    for name in have.names.0..have.begun.0 {
        fs::remove_file(folder.join(format!("n{name}")))?;
    }
    File::open(folder)?.sync_all()?;
    have.names = have.begun;
    Ok(())
}

/// Looks for everything promised.
fn verify(folder: &Path, writer: u64, have: &mut Promised) {
    let at = |name: &str| folder.join(name);
    let appended = fs::read(at("appended")).unwrap_or_default();
    assert!(appended.len() as u64 >= have.appended, "{} appended, {have:?}", appended.len());
    let wrong = (0..have.appended).find(|at| appended[*at as usize] != appended_byte(writer, *at));
    assert_eq!(wrong, None, "appended byte differs, {have:?}");

    if have.replaced > 0 {
        let bytes = fs::read(at("replaced")).expect("the replaced file is there");
        let version = version_of(&bytes);
        let allowed = [Some(have.replaced), Some(have.replaced + 1)];
        assert!(allowed.contains(&version), "replaced file holds {version:?}, {have:?}");
        have.replaced = version.unwrap_or_default();
    }
    if !have.overwritten.is_empty() {
        let bytes = fs::read(at("overwritten")).expect("the overwritten file is there");
        for (block, (bytes, (promised, begun))) in
            bytes.chunks(BLOCK).zip(&mut have.overwritten).enumerate()
        {
            let version = version_of(bytes);
            let allowed = (*promised..=*begun).contains(&version.unwrap_or_default());
            // A block whose overwrite had begun may be mixed; a settled one may not.
            let settled = promised == begun;
            assert!(allowed || (!settled && version.is_none()), "block {block}: {version:?}");
            *promised = version.unwrap_or(*promised);
            *begun = (*begun).max(*promised);
        }
    }
    for name in have.begun.0..have.names.1 {
        assert!(at(&format!("n{name}")).exists(), "n{name} is gone, {have:?}");
    }
    for name in (have.names.0.saturating_sub(8)..have.names.0).chain(have.begun.1..have.begun.1 + 8)
    {
        assert!(!at(&format!("n{name}")).exists(), "n{name} is there, {have:?}");
    }
    // Whatever was under way when the server died is now either way; settle it.
    for name in (have.names.0..have.begun.0).chain(have.names.1..have.begun.1) {
        // It may or may not be there; both are allowed.
        let _ = fs::remove_file(at(&format!("n{name}")));
    }
    have.names = (have.begun.0, have.names.1.max(have.begun.0));
    have.begun = have.names;
    File::open(folder).and_then(|folder| folder.sync_all()).expect("the folder can be synced");
}

#[test]
fn killed_server_loses_nothing_that_was_synced() {
    let rounds = if soak() { 50 } else { 5 };
    let seed = std::env::var("ASHLAR_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("ASHLAR_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut volume = Ashlar::create("kill");
    let folders: Vec<_> =
        (0..WRITERS).map(|writer| volume.path().join(format!("writer{writer}"))).collect();
    for folder in &folders {
        fs::create_dir(folder).expect("a new folder can be made");
    }
    File::open(volume.path()).and_then(|root| root.sync_all()).expect("the root can be synced");
    let mut promised = vec![Promised::default(); WRITERS as usize];
    let start = Instant::now();
    for round in (0..rounds).take_while(|_| start.elapsed() < soak_time()) {
        let stop = AtomicBool::new(false);
        let life = Duration::from_millis(random.u64(20..600));
        promised = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .zip(&folders)
                .zip(promised)
                .map(|((writer, folder), have)| {
                    let (stop, seed) = (&stop, random.u64(..));
                    scope.spawn(move || work(folder, writer, have, stop, seed))
                })
                .collect();
            std::thread::sleep(life);
            volume.kill();
            stop.store(true, Ordering::Relaxed);
            let joined = writers.into_iter().map(|writer| writer.join().expect("no panic"));
            joined.collect()
        });
        let took = volume.mount();
        println!("round {round}: killed after {life:?}, mounted in {took:?}");
        assert!(took < MOUNT_MAX, "mounting took {took:?}");
        for ((writer, folder), have) in (0..WRITERS).zip(&folders).zip(&mut promised) {
            verify(folder, writer, have);
        }
        if round % 2 == 1 {
            volume.unmount();
            volume.check();
            volume.mount();
        }
    }
}
