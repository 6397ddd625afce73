//! The same requests over both I/O paths, direct and buffered, checked against bytes in memory.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::*;
use crate::{AlignedBuf, MemoryDevice};

type Test = std::result::Result<(), Box<dyn std::error::Error>>;

const SIZE: u64 = 4 << 20;

fn create(size: u64) -> OpenMode {
    OpenMode { create_size: Some(size), ..OpenMode::default() }
}

/// A fresh image on the disk behind the temporary folder, which offers direct I/O on most hosts.
fn image(plain_calls: bool) -> (tempfile::TempDir, FileDevice) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let device = FileDevice::open_with(&folder.path().join("disk.img"), create(SIZE), plain_calls)
        .expect("image opens");
    (folder, device)
}

/// A device that goes through the host's page cache.
fn buffered() -> (tempfile::TempDir, FileDevice) {
    let (folder, mut device) = image(true);
    let path = device.path.clone();
    drop(device.file);
    device.file = File::options().read(true).write(true).open(path).expect("opens again");
    device.memory_align = 1;
    device.batches = false;
    (folder, device)
}

fn every_path(check: impl Fn(&FileDevice) -> Test) -> Test {
    for (name, (_folder, device)) in
        [("ring", image(false)), ("plain", image(true)), ("buffered", buffered())]
    {
        println!("{name}: direct {}, batches {}", device.is_direct(), device.batches);
        check(&device)?;
    }
    Ok(())
}

#[test]
fn scattered_batch_is_read_back() -> Test {
    every_path(|device| {
        let (big, small) = (AlignedBuf::from_slice(&[1; 16384]), AlignedBuf::from_slice(&[2; 512]));
        device.submit(
            &[
                Write { addr: 1 << 20, bytes: &big },
                Write { addr: 512, bytes: &small },
                Write { addr: 1024, bytes: &small },
                Write { addr: (1 << 20) + 16384, bytes: &big[..4096] },
            ],
            Finish::Flush,
        )?;
        let mut back = AlignedBuf::new_zeroed(SIZE as usize);
        device.read_at(0, &mut back)?;
        let expected = |addr: usize| match addr {
            512..1536 => 2,
            0x10_0000..0x10_5000 => 1,
            _ => 0,
        };
        let wrong = back.iter().enumerate().position(|(addr, &byte)| byte != expected(addr));
        assert_eq!(wrong, None);
        Ok(())
    })
}

#[test]
fn random_requests_match_memory() -> Test {
    let seed = 0x5eed_0001;
    every_path(|device| {
        let mut random = fastrand::Rng::with_seed(seed);
        println!("seed {seed}");
        let model = MemoryDevice::new(SIZE);
        let mut memory = AlignedBuf::new_zeroed(1 << 20);
        for _ in 0..150 {
            random.fill(&mut memory);
            let mut writes = Vec::new();
            let mut addr = 0;
            let mut used = 0;
            // Up to 200 writes: more than a ring holds. Odd starts in memory are bounced.
            for _ in 0..random.usize(..200) {
                addr += 512 * [0, 0, 1, random.u64(..60)][random.usize(..4)];
                let length = 512 * random.usize(..9);
                let start = used + if random.u8(..3) == 0 { random.usize(..512) } else { 0 };
                if addr + length as u64 > SIZE || start + length > memory.len() {
                    break;
                }
                writes.push(Write { addr, bytes: &memory[start..start + length] });
                addr += length as u64;
                used = (start + length).next_multiple_of(512);
            }
            random.shuffle(&mut writes);
            let finish = [Finish::Nothing, Finish::Flush][usize::from(random.u8(..8) == 0)];
            device.submit(&writes, finish)?;
            model.submit(&writes, finish)?;
            let zeroes = (512 * random.u64(..4096), 512 * random.u64(..4096));
            if random.u8(..4) == 0 {
                device.write_zeroes(zeroes.0, zeroes.1)?;
                model.write_zeroes(zeroes.0, zeroes.1)?;
            }
            check_reads(device, &model, &mut random)?;
        }
        Ok(())
    })
}

/// Reads random pieces in one batch from both devices.
fn check_reads(device: &FileDevice, model: &MemoryDevice, random: &mut fastrand::Rng) -> Test {
    let count = random.usize(1..8);
    let mut memory = AlignedBuf::new_zeroed(count * 32768);
    let mut expected = Vec::new();
    let mut reads = Vec::new();
    for piece in memory.chunks_mut(32768) {
        let (start, length) = (random.usize(..2) * random.usize(..512), 512 * random.usize(..60));
        let addr = 512 * random.u64(..(SIZE - 32768) / 512);
        let mut bytes = vec![0; length];
        model.read_at(addr, &mut bytes)?;
        expected.push(bytes);
        reads.push(Read { addr, buf: &mut piece[start..start + length] });
    }
    device.read_batch(&mut reads)?;
    for (read, expected) in reads.iter().zip(&expected) {
        assert!(*read.buf == expected[..], "read of {} at {}", expected.len(), read.addr);
    }
    Ok(())
}

#[test]
fn bad_range_is_refused_before_any_write() -> Test {
    every_path(|device| {
        let good = Write { addr: 0, bytes: &[7; 512] };
        for bad in [
            Write { addr: 100, bytes: &[7; 512] },
            Write { addr: 512, bytes: &[7; 100] },
            Write { addr: SIZE, bytes: &[7; 512] },
            Write { addr: u64::MAX - 511, bytes: &[7; 1024] },
        ] {
            let error = device.submit(&[good, bad], Finish::Flush).expect_err("refused");
            assert_eq!((error.op, error.errno()), (DeviceOp::Write, libc::EINVAL));
            assert_eq!((error.addr, error.length), (bad.addr, bad.bytes.len() as u64));
        }
        let mut back = [1; 512];
        device.read_at(0, &mut back)?;
        assert_eq!(back, [0; 512]);
        for error in [
            device.read_at(SIZE - 512, &mut [0; 1024]).expect_err("outside"),
            device.discard(SIZE, 4096).expect_err("outside"),
            device.write_zeroes(1, 512).expect_err("odd"),
        ] {
            assert_eq!(error.errno(), libc::EINVAL);
        }
        Ok(())
    })
}

#[test]
fn empty_requests_succeed() -> Test {
    every_path(|device| {
        device.read_at(SIZE, &mut [])?;
        device.read_batch(&mut [])?;
        device.submit(&[], Finish::Nothing)?;
        device.submit(&[Write { addr: 512, bytes: &[] }], Finish::Flush)?;
        device.flush()?;
        device.discard(0, 0)?;
        device.write_zeroes(SIZE, 0)?;
        Ok(())
    })
}

#[test]
fn threads_do_not_disturb_each_other() -> Test {
    every_path(|device| {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    let base = thread * (SIZE / 4);
                    for round in 1..40_u8 {
                        let bytes = AlignedBuf::from_slice(&[round * 4 + thread as u8; 4096]);
                        let writes: Vec<_> = (0..9)
                            .map(|i| Write { addr: base + i * 8192, bytes: &bytes })
                            .collect();
                        let finish = [Finish::Nothing, Finish::Flush][usize::from(round % 8 == 0)];
                        device.submit(&writes, finish).expect("writes");
                        let mut back = AlignedBuf::new_zeroed(9 * 8192);
                        let mut reads: Vec<_> = (0..)
                            .zip(back.chunks_mut(8192))
                            .map(|(i, piece)| Read {
                                addr: base + i * 8192,
                                buf: &mut piece[..4096],
                            })
                            .collect();
                        device.read_batch(&mut reads).expect("reads");
                        assert!(back.chunks(8192).all(|piece| piece[..4096] == *bytes));
                    }
                });
            }
        });
        Ok(())
    })
}

#[test]
fn failing_part_is_named() -> Test {
    every_path(|device| {
        // Reads far into an image that was cut behind our back.
        device.write_at(0, &[1; 512])?;
        File::options().write(true).open(&device.path)?.set_len(8192)?;
        let (mut a, mut b) = ([0; 512], [0; 4096]);
        let error = device
            .read_batch(&mut [Read { addr: 0, buf: &mut a }, Read { addr: 1 << 20, buf: &mut b }])
            .expect_err("nothing there");
        assert_eq!((error.op, error.addr, error.length), (DeviceOp::Read, 1 << 20, 4096));
        assert!(error.to_string().contains("shorter"), "{error}");
        assert_eq!(error.errno(), libc::EIO);
        Ok(())
    })
}

#[test]
fn failing_write_is_an_error_of_the_batch() {
    // A descriptor without write permission makes the host refuse every write.
    for plain_calls in [false, true] {
        let (_folder, mut device) = image(plain_calls);
        device.file = File::open(&device.path).expect("opens");
        let bytes = AlignedBuf::new_zeroed(512);
        let error = device
            .submit(
                &[Write { addr: 4096, bytes: &bytes }, Write { addr: 0, bytes: &bytes }],
                Finish::Flush,
            )
            .expect_err("read-only descriptor");
        assert_eq!((error.op, error.addr, error.errno()), (DeviceOp::Write, 0, libc::EBADF));
    }
}

#[test]
fn short_transfer_is_finished() -> Test {
    every_path(|device| {
        let bytes: Vec<_> = (0..8192_u32).map(|i| (i / 512) as u8 + 1).collect();
        let bytes = AlignedBuf::from_slice(&bytes);
        let plan = WritePlan::new(
            &[
                Write { addr: 0, bytes: &bytes[..1024] },
                Write { addr: 1024, bytes: &bytes[1024..] },
            ],
            device.memory_align,
        );
        // As if a ring had written 1536 bytes, and as if it had been interrupted.
        for (outcome, untouched) in [(Some(1536), 1536), (Some(-libc::EINTR), 0)] {
            device.write_zeroes(0, 8192)?;
            for run in &mut plan.runs() {
                plain::finish_write(&device.file, run, outcome)?;
            }
            let mut back = AlignedBuf::new_zeroed(8192);
            device.read_at(0, &mut back)?;
            assert!(back[..untouched].iter().all(|&byte| byte == 0));
            assert!(back[untouched..] == bytes[untouched..]);
        }
        let error = plain::finish_write(&device.file, &mut plan.runs()[0], Some(-libc::EIO));
        assert_eq!(error.expect_err("fails").raw_os_error(), Some(libc::EIO));
        Ok(())
    })
}

#[test]
fn discard_frees_host_blocks_and_keeps_neighbours() -> Test {
    use std::os::unix::fs::MetadataExt;
    every_path(|device| {
        for addr in (0..SIZE).step_by(1 << 20) {
            device.write_at(addr, &vec![5; 1 << 20])?;
        }
        device.flush()?;
        let before = device.file.metadata()?.blocks();
        device.discard(1 << 20, 2 << 20)?;
        device.flush()?;
        let after = device.file.metadata()?.blocks();
        assert!(after < before || before == 0, "{before} blocks before, {after} after");
        // Less than a host block: nothing to free, nothing changed.
        device.discard(512, 1024)?;
        let mut back = vec![0; 1 << 20];
        for addr in [0, 3 << 20] {
            device.read_at(addr, &mut back)?;
            assert!(back.iter().all(|&byte| byte == 5));
        }
        Ok(())
    })
}

#[test]
fn zeroes_replace_bytes() -> Test {
    every_path(|device| {
        device.write_at(0, &[5; 16384])?;
        device.write_zeroes(512, 8192)?;
        space::for_each_zero_write(12288, 1024, |write| device.write(&[write]))?;
        let mut back = [1; 16384];
        device.read_at(0, &mut back)?;
        let expected = |at: usize| {
            if (512..8704).contains(&at) || (12288..13312).contains(&at) { 0 } else { 5 }
        };
        assert_eq!(back.iter().enumerate().position(|(at, &byte)| byte != expected(at)), None);
        Ok(())
    })
}

#[test]
fn second_writer_is_refused_by_name() -> Test {
    let (_folder, device) = image(false);
    let read_only = OpenMode { read_only: true, ..OpenMode::default() };
    for mode in [OpenMode::default(), read_only] {
        let error = FileDevice::open(device.path(), mode).expect_err("locked");
        assert_eq!((error.op, error.errno()), (DeviceOp::Open, libc::EBUSY));
        let message = error.to_string();
        assert!(message.contains("disk.img") && message.contains("mounted"), "{message}");
    }
    let path = device.path.clone();
    drop(device);
    let reader = FileDevice::open(&path, read_only)?;
    let second = FileDevice::open(&path, read_only)?;
    drop(reader);
    assert_eq!(
        FileDevice::open(&path, OpenMode::default()).expect_err("read locked").errno(),
        libc::EBUSY
    );
    drop(second);
    FileDevice::open(&path, OpenMode::default())?;
    Ok(())
}

#[test]
fn lock_that_is_let_go_soon_is_waited_for() -> Test {
    let (_folder, device) = image(false);
    let path = device.path.clone();
    let holder = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(device);
    });
    FileDevice::open(&path, OpenMode::default())?;
    holder.join().expect("no panic");
    Ok(())
}

#[test]
fn refused_grow_leaves_locked_image_alone() -> Test {
    let (_folder, device) = image(false);
    FileDevice::open(device.path(), create(2 * SIZE)).expect_err("locked");
    assert_eq!(device.file.metadata()?.len(), SIZE);
    Ok(())
}

#[test]
fn read_only_device_refuses_changes() -> Test {
    let (_folder, device) = image(false);
    device.write_at(0, &[3; 512])?;
    let path = device.path.clone();
    drop(device);
    let device = FileDevice::open(&path, OpenMode { read_only: true, ..OpenMode::default() })?;
    assert!(device.topology().read_only);
    let mut back = [0; 512];
    device.read_at(0, &mut back)?;
    assert_eq!(back, [3; 512]);
    for error in [
        device.write_at(0, &[4; 512]).expect_err("read-only"),
        device.discard(0, 4096).expect_err("read-only"),
        device.write_zeroes(0, 512).expect_err("read-only"),
    ] {
        assert_eq!(error.errno(), libc::EROFS);
    }
    Ok(())
}

#[test]
fn impossible_paths_are_explained() -> Test {
    let folder = tempfile::tempdir()?;
    let open = |path: &Path| FileDevice::open(path, OpenMode::default()).expect_err("impossible");
    let error = open(folder.path());
    assert_eq!(error.errno(), libc::EISDIR);
    assert!(error.to_string().contains("directory"), "{error}");
    assert_eq!(open(&folder.path().join("missing")).errno(), libc::ENOENT);
    assert_eq!(open(Path::new("/dev/null")).errno(), libc::EINVAL);
    let small = folder.path().join("small");
    std::fs::write(&small, [0; 100])?;
    let error = open(&small);
    assert_eq!(error.errno(), libc::EINVAL);
    assert!(error.to_string().contains("100 bytes"), "{error}");
    Ok(())
}

#[test]
fn image_is_created_sparse_and_grows() -> Test {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("new.img");
    let device = FileDevice::open(&path, create(1 << 30))?;
    assert_eq!(device.topology().capacity, 1 << 30);
    assert!(device.file.metadata()?.blocks() < 2048);
    device.write_at(0, &[1; 512])?;
    drop(device);
    // Smaller than it is: kept.
    let device = FileDevice::open(&path, create(1 << 20))?;
    assert_eq!(device.topology().capacity, 1 << 30);
    drop(device);
    let device = FileDevice::open(&path, create(2 << 30))?;
    assert_eq!(device.topology().capacity, 2 << 30);
    let mut back = [0; 512];
    device.read_at(0, &mut back)?;
    assert_eq!(back, [1; 512]);
    Ok(())
}

#[test]
fn odd_tail_of_image_is_left_out() -> Test {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("odd.img");
    std::fs::write(&path, vec![1; 20000])?;
    let device = FileDevice::open(&path, OpenMode::default())?;
    let topology = device.topology();
    assert_eq!(topology.capacity, 20000 - 20000 % u64::from(topology.sector));
    device.read_at(topology.capacity - 512, &mut [0; 512])?;
    Ok(())
}

#[test]
fn memory_file_system_works_with_or_without_direct_io() -> Test {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        println!("no /dev/shm on this host: nothing to test");
        return Ok(());
    }
    let folder = tempfile::tempdir_in(shm)?;
    let device = FileDevice::open(folder.path().join("disk.img"), create(SIZE))?;
    println!("direct {}", device.is_direct());
    device.submit(
        &[Write { addr: 0, bytes: &[1; 512] }, Write { addr: 8192, bytes: &[2; 4096] }],
        Finish::Flush,
    )?;
    let mut back = [0; 16384];
    device.read_at(0, &mut back)?;
    assert!(back[..512].iter().all(|&byte| byte == 1));
    assert!(back[8192..12288].iter().all(|&byte| byte == 2));
    Ok(())
}

#[test]
fn host_sees_flushed_bytes() -> Test {
    every_path(|device| {
        device.submit(&[Write { addr: 4096, bytes: &[9; 4096] }], Finish::Flush)?;
        let mut back = [0; 4096];
        File::open(&device.path)?.read_exact_at(&mut back, 4096)?;
        assert_eq!(back, [9; 4096]);
        Ok(())
    })
}

#[test]
fn device_is_shared_behind_its_trait() -> Test {
    let (_folder, device) = image(false);
    let device: Arc<dyn Device> = Arc::new(device);
    device.write_at(0, &[1; 512])?;
    assert_eq!(device.block_device_path(), None);
    let mut back = [0; 512];
    Arc::clone(&device).read_at(0, &mut back)?;
    assert_eq!(back, [1; 512]);
    Ok(())
}

#[test]
fn environment_keeps_to_plain_calls() -> Test {
    const NAME: &str = "file::tests::environment_keeps_to_plain_calls";
    if std::env::var_os("ASHLAR_IO").is_some_and(|value| value == "sync") {
        let folder = tempfile::tempdir()?;
        assert!(!FileDevice::open(folder.path().join("disk.img"), create(SIZE))?.batches);
        return Ok(());
    }
    let child = std::process::Command::new(std::env::current_exe()?)
        .args(["--exact", NAME])
        .env("ASHLAR_IO", "sync")
        .output()?;
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
    Ok(())
}
