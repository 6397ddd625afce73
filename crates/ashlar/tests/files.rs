//! Open files: reading, writing, space, positions.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use ashlar::{ErrorKind, ExtentState, File, FileTimes, KeepSize, OpenOptions, Volume};

fn volume() -> Volume {
    Volume::in_memory(64 << 20).unwrap()
}

fn file(volume: &Volume) -> File {
    volume.open("file", OpenOptions::new().read(true).write(true).create(true)).unwrap()
}

#[test]
fn gap_behind_the_end_reads_as_zeros() {
    let volume = volume();
    let file = file(&volume);
    file.write_at(10_000, b"end").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 10_003);
    let content = file.read_to_end(0).unwrap();
    assert!(content[..10_000].iter().all(|byte| *byte == 0));
    assert_eq!(&content[10_000..], b"end");
    let mut buf = [1; 8];
    assert_eq!(file.read_at(10_001, &mut buf).unwrap(), 2);
    assert_eq!(file.read_at(10_003, &mut buf).unwrap(), 0);
    assert_eq!(file.read_at(u64::MAX / 2, &mut buf).unwrap(), 0);
    assert_eq!(file.read_to_end(20_000).unwrap(), b"");
}

#[test]
fn access_mode_is_kept_to() {
    let volume = volume();
    volume.write("file", "text").unwrap();
    let reader = volume.open("file", OpenOptions::new().read(true)).unwrap();
    let refused = |error: ashlar::Error| (error.kind(), error.errno());
    let bad = (ErrorKind::WrongAccessMode, libc::EBADF);
    assert_eq!(refused(reader.write_at(0, b"x").unwrap_err()), bad);
    assert_eq!(refused(reader.append(b"x").unwrap_err()), bad);
    assert_eq!(refused(reader.punch_hole(0..4).unwrap_err()), bad);
    let writer = volume.open("file", OpenOptions::new().write(true)).unwrap();
    assert_eq!(refused(writer.read_at(0, &mut [0; 4]).unwrap_err()), bad);
    assert_eq!(volume.read("file").unwrap(), b"text");
}

#[test]
fn contradicting_options_are_refused() {
    let volume = volume();
    let new = OpenOptions::new;
    for options in [
        new(),
        new().read(true).create(true),
        new().read(true).truncate(true),
        new().append(true).truncate(true),
    ] {
        let error = volume.open("file", options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{options:?}");
    }
    assert!(!volume.exists("file").unwrap());
}

#[test]
fn appending_ignores_offsets() {
    let volume = volume();
    let log = volume.open("log", OpenOptions::new().append(true).create(true)).unwrap();
    log.append(b"one ").unwrap();
    log.write_at(0, b"two ").unwrap();
    let mut cursor = log.cursor();
    cursor.write_all(b"three").unwrap();
    assert_eq!(cursor.position(), 13);
    assert_eq!(volume.read("log").unwrap(), b"one two three");
}

#[test]
fn content_lives_on_while_open() {
    let volume = volume();
    let file = file(&volume);
    file.write_at(0, &vec![5; 100_000]).unwrap();
    volume.remove_file("file").unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    assert_eq!(file.read_to_end(0).unwrap(), vec![5; 100_000]);
    file.write_at(100_000, b"more").unwrap();
    file.sync().unwrap();
    let free = volume.stat().free_bytes;
    let clone = file.clone();
    drop(file);
    assert_eq!(clone.read_to_end(100_000).unwrap(), b"more");
    drop(clone);
    // In the background, and not before the removal is durable.
    let start = Instant::now();
    while volume.stat().free_bytes <= free {
        volume.sync().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "the space does not come back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn cursor_reads_writes_and_seeks() {
    let volume = volume();
    let file = file(&volume);
    let mut writer = BufWriter::new(file.cursor());
    for number in 0..10_000 {
        writeln!(writer, "line {number}").unwrap();
    }
    writer.flush().unwrap();
    let mut text = String::new();
    BufReader::new(file.cursor()).read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 10_000);
    let mut cursor = file.cursor();
    assert_eq!(cursor.seek(SeekFrom::End(-5)).unwrap(), text.len() as u64 - 5);
    let mut tail = String::new();
    cursor.read_to_string(&mut tail).unwrap();
    assert_eq!(tail, "9999\n");
    assert!(cursor.seek(SeekFrom::Current(-1_000_000)).is_err());
    assert_eq!(cursor.position(), text.len() as u64);
}

#[test]
fn io_error_carries_kind_and_path() {
    let volume = volume();
    let error: std::io::Error = volume.read("missing").unwrap_err().into();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing"), "{error}");
    let inner = error.get_ref().unwrap().downcast_ref::<ashlar::Error>().unwrap();
    assert_eq!(inner.errno(), libc::ENOENT);
}

#[test]
fn holes_and_data_are_found() {
    let volume = volume();
    let file = file(&volume);
    file.write_at(1 << 20, &vec![1; 8192]).unwrap();
    file.set_len(4 << 20).unwrap();
    assert_eq!(file.seek_data(0).unwrap(), Some(1 << 20));
    assert_eq!(file.seek_hole(1 << 20).unwrap(), Some((1 << 20) + 8192));
    assert_eq!(file.seek_data((1 << 20) + 8192).unwrap(), None);
    assert_eq!(file.seek_hole(0).unwrap(), Some(0));
    assert_eq!(file.seek_hole(4 << 20).unwrap(), None);
    file.sync().unwrap();
    let extents = file.extents(0..4 << 20).unwrap();
    assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), 8192);
    assert!(extents.iter().all(|extent| extent.state == ExtentState::Written));
    assert_eq!(extents[0].offset, 1 << 20);
    assert!(extents[0].addr.is_some());
}

#[test]
fn ranges_are_punched_zeroed_taken_out_and_put_in() {
    let volume = volume();
    let file = file(&volume);
    let block = |byte: u8| vec![byte; 4096];
    for (at, byte) in (b'a'..=b'f').enumerate() {
        file.write_at(at as u64 * 4096, &block(byte)).unwrap();
    }
    let picture = || -> String {
        let content = file.read_to_end(0).unwrap();
        content
            .chunks(4096)
            .map(|block| if block[0] == 0 { '.' } else { char::from(block[0]) })
            .collect()
    };
    assert_eq!(picture(), "abcdef");
    file.punch_hole(4096..8192).unwrap();
    assert_eq!(picture(), "a.cdef");
    file.zero_range(8192..12288, KeepSize::Yes).unwrap();
    assert_eq!(picture(), "a..def");
    file.collapse_range(4096..12288).unwrap();
    assert_eq!(picture(), "adef");
    file.insert_range(4096..12288).unwrap();
    assert_eq!(picture(), "a..def");
    file.allocate(24576..32768, KeepSize::No).unwrap();
    assert_eq!(picture(), "a..def..");
    file.allocate(32768..65536, KeepSize::Yes).unwrap();
    assert_eq!(picture(), "a..def..");
    for range in [0..4095, 0..1 << 20] {
        assert_eq!(file.collapse_range(range).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let inverted = std::ops::Range { start: 8192, end: 4096 };
    for range in [4096..4096, inverted] {
        let error = file.punch_hole(range).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    file.sync().unwrap();
    assert_eq!(picture(), "a..def..");
}

#[test]
fn attributes_change_through_an_open_file() {
    let volume = volume();
    let file = file(&volume);
    file.set_permissions(0o4711).unwrap();
    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
    file.set_times(FileTimes::new().modified(then)).unwrap();
    let metadata = volume.metadata("file").unwrap();
    assert_eq!((metadata.mode(), metadata.modified()), (0o4711, then));
}

#[test]
fn directory_can_be_opened_and_synced() {
    let volume = volume();
    volume.create_dir("dir").unwrap();
    let dir = volume.open("dir", OpenOptions::new().read(true)).unwrap();
    assert!(dir.metadata().unwrap().is_dir());
    dir.sync().unwrap();
    assert_eq!(dir.read_at(0, &mut [0; 4]).unwrap_err().errno(), libc::EISDIR);
    let error = volume.open("dir", OpenOptions::new().write(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IsADirectory);
}

#[test]
fn large_file_comes_back_whole() {
    let volume = volume();
    let mut random = fastrand::Rng::with_seed(1);
    let content: Vec<u8> = (0..20 << 20).map(|_| random.u8(..)).collect();
    volume.write("large", &content).unwrap();
    assert!(volume.read("large").unwrap() == content);
    volume.sync().unwrap();
    assert!(volume.read("large").unwrap() == content);
}
