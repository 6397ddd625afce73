//! Goal: a block device of the host behaves like an image file, and is claimed against its other
//! users. Method: a loop device over a sparse file; where the host lets us have none, the tests say
//! so and pass.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use ashlar_device::{AlignedBuf, Device, FileDevice, Finish, OpenMode, Write};

type Test = Result<(), Box<dyn std::error::Error>>;

const SIZE: u64 = 16 << 20;

/// A loop device that goes away with the value.
struct Loop {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Loop {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let image = folder.path().join("loop.img");
        File::create(&image).ok()?.set_len(SIZE).ok()?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&image).output();
        match output {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8_lossy(&output.stdout).trim().into();
                Some(Self { path, _folder: folder })
            }
            other => {
                println!("no loop device on this host, nothing to test: {other:?}");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let status = Command::new("losetup").arg("--detach").arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "{} stays", self.path.display());
    }
}

#[test]
fn block_device_is_written_and_read() -> Test {
    let Some(disk) = Loop::new() else { return Ok(()) };
    // A size is no reason to refuse a device that exists.
    let mode = OpenMode { create_size: Some(1 << 40), ..OpenMode::default() };
    let device = FileDevice::open(&disk.path, mode)?;
    assert_eq!(device.topology().capacity, SIZE);
    assert_eq!(device.block_device_path(), Some(disk.path.as_path()));
    assert!(device.is_direct());
    println!("{:?}", device.topology());
    let bytes = AlignedBuf::from_slice(&[5; 65536]);
    device.submit(
        &[
            Write { addr: 0, bytes: &bytes },
            Write { addr: 1 << 20, bytes: &bytes[..512] },
            Write { addr: SIZE - 65536, bytes: &bytes },
        ],
        Finish::Flush,
    )?;
    let mut back = AlignedBuf::new_zeroed(65536);
    for addr in [0, SIZE - 65536] {
        back.fill(0);
        device.read_at(addr, &mut back)?;
        assert_eq!(back, bytes);
    }
    device.write_zeroes(0, 32768)?;
    device.read_at(0, &mut back)?;
    assert!(back[..32768].iter().all(|&byte| byte == 0));
    assert!(back[32768..] == bytes[32768..]);
    device.discard(SIZE - 65536, 65536)?;
    device.flush()?;
    assert!(device.read_at(SIZE, &mut back[..512]).is_err());
    Ok(())
}

#[test]
fn block_device_is_claimed() -> Test {
    let Some(disk) = Loop::new() else { return Ok(()) };
    let open = |mode| FileDevice::open(&disk.path, mode);
    let device = open(OpenMode::default())?;
    assert_eq!(open(OpenMode::default()).expect_err("claimed").errno(), libc::EBUSY);
    drop(device);
    let device = open(OpenMode { leave_to_kernel: true, ..OpenMode::default() })?;
    // Not claimed, but locked.
    let error = open(OpenMode { leave_to_kernel: true, ..OpenMode::default() });
    assert_eq!(error.expect_err("locked").errno(), libc::EBUSY);
    drop(device);
    open(OpenMode::default())?;
    Ok(())
}

#[test]
fn mounted_block_device_is_refused() -> Test {
    let Some(disk) = Loop::new() else { return Ok(()) };
    let mount_point = tempfile::tempdir()?;
    let ran = |program: &str, arguments: &[&Path]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !ran("mkfs.ext4", &[Path::new("-q"), &disk.path])
        || !ran("mount", &[&disk.path, mount_point.path()])
    {
        println!("cannot mount on this host: nothing to test");
        return Ok(());
    }
    let refused = FileDevice::open(&disk.path, OpenMode::default());
    assert!(ran("umount", &[mount_point.path()]));
    let error = refused.expect_err("mounted");
    assert_eq!(error.errno(), libc::EBUSY);
    assert!(error.to_string().contains("unmount"), "{error}");
    FileDevice::open(&disk.path, OpenMode::default())?;
    Ok(())
}
