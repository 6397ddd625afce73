//! Goal: a file system that breaks a rule gets [`ErrorKind::Contract`], in release builds too, and
//! every `begin` that succeeded is ended exactly once.
//!
//! Method: scripted answers, one breach at a time.

mod common;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use ashlar_device::Device;
use common::toyfs::{BLOCK, Through};
use common::{TestDevice, toy};
use iomap::{
    CachePool, Error, ErrorKind, Host, Ioend, MapMods, MapReply, MapRequest, Mapping, MappingFlags,
    MappingIter, MappingKind, MappingOps, Outcome, PageCache, Purpose, Result, WritebackControl,
    WritebackOps, buffered_read, buffered_write, direct_read, direct_write, writepages,
};

/// Answers every request with the same words.
struct Scripted {
    reply: MapReply,
    valid: bool,
    begun: Cell<u32>,
    ended: RefCell<Vec<Outcome>>,
}

impl Scripted {
    fn new(reply: impl Into<MapReply>) -> Self {
        Self { reply: reply.into(), valid: true, begun: Cell::new(0), ended: RefCell::default() }
    }

    fn balanced(&self) -> bool {
        self.begun.get() as usize == self.ended.borrow().len()
    }
}

impl MappingOps for Scripted {
    fn begin(&self, _request: &MapRequest) -> Result<MapReply> {
        self.begun.set(self.begun.get() + 1);
        Ok(self.reply.clone())
    }

    fn end(&self, _request: &MapRequest, _mapping: &Mapping, outcome: Outcome) -> Result<()> {
        self.ended.borrow_mut().push(outcome);
        Ok(())
    }

    fn is_valid(&self, _mapping: &Mapping) -> bool {
        self.valid
    }
}

impl WritebackOps for Scripted {
    fn map_blocks(&self, _offset: u64, _length: u64) -> Result<Mapping> {
        Ok(self.reply.mapping.clone())
    }

    fn submit(&self, _ioends: &[Ioend<'_>]) -> Result<()> {
        Ok(())
    }

    fn discard_range(&self, _range: Range<u64>) {}
}

fn request(purpose: Purpose, mods: MapMods) -> MapRequest {
    MapRequest { offset: 8192, length: 8192, purpose, mods }
}

fn mapped(offset: u64, length: u64, addr: u64) -> Mapping {
    Mapping::new(offset, length, MappingKind::Mapped { addr })
}

/// The rule that the loop says was broken.
fn breach(reply: impl Into<MapReply>, purpose: Purpose, mods: MapMods) -> Option<&'static str> {
    let ops = Scripted::new(reply);
    let mut iter =
        MappingIter::new("test", &ops, request(purpose, mods)).with_block_size(BLOCK as u32);
    let result = iter.next_mapping();
    drop(iter);
    assert!(ops.balanced(), "I1: also a refused answer is ended");
    match result.map_err(|error| error.kind) {
        Ok(true) => None,
        Err(ErrorKind::Contract(rule)) => Some(&rule[..2]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_rule_of_the_contract_is_checked() {
    let read = |reply: Mapping| breach(reply, Purpose::Read, MapMods::empty());
    assert_eq!(read(mapped(8192, 8192, 0)), None, "exactly what was asked");
    assert_eq!(read(mapped(0, 1 << 40, 0)), None, "more is fine");
    assert_eq!(read(mapped(8192, 0, 0)), Some("C1"), "empty");
    assert_eq!(read(Mapping::new(8192, u64::MAX, MappingKind::Hole)), Some("C1"), "overflow");
    assert_eq!(read(mapped(4096, 4096, 0)), Some("C2"), "before");
    assert_eq!(read(mapped(12288, 4096, 0)), Some("C2"), "behind");
    let inline = |bytes: &[u8]| Mapping::new(8192, 100, MappingKind::Inline(bytes.into()));
    assert_eq!(read(inline(&[0; 100])), None);
    assert_eq!(read(inline(&[0; 101])), Some("C5"));
    assert_eq!(read(mapped(8192, 8192, u64::MAX - 4095)), Some("C6"), "address overflow");
    assert_eq!(read(mapped(8192, 8192, 512)), Some("C6"), "address");
    assert_eq!(read(mapped(8000, 8192, 0)), Some("C6"), "offset");
    assert_eq!(read(mapped(8192, 8000, 0)), Some("C6"), "length");
}

#[test]
fn hole_is_no_answer_where_space_is_needed() {
    let hole = || Mapping::new(8192, 8192, MappingKind::Hole);
    for (purpose, rule) in [
        (Purpose::Read, None),
        (Purpose::Zero, None),
        (Purpose::Report, None),
        (Purpose::Write, Some("C3")),
        (Purpose::Fault, Some("C3")),
        (Purpose::Unshare, Some("C3")),
    ] {
        assert_eq!(breach(hole(), purpose, MapMods::empty()), rule, "{purpose:?}");
    }
}

#[test]
fn source_must_be_readable_and_is_for_the_page_cache() {
    let with = |source: Mapping| MapReply { mapping: mapped(8192, 8192, 0), source: Some(source) };
    let write = |source| breach(with(source), Purpose::Write, MapMods::empty());
    assert_eq!(write(mapped(8192, 4096, 0)), None);
    assert_eq!(write(Mapping::new(8192, 4096, MappingKind::Hole)), None, "old contents are zeros");
    assert_eq!(write(Mapping::new(8192, 4096, MappingKind::Delalloc)), Some("C4"));
    assert_eq!(write(mapped(0, 4096, 0)), Some("C2"), "a source covers the first byte, too");
    let direct = breach(with(mapped(8192, 4096, 0)), Purpose::Write, MapMods::DIRECT);
    assert_eq!(direct, Some("C4"));
}

#[test]
fn range_past_the_largest_offset_is_refused_before_begin() {
    let ops = Scripted::new(mapped(0, 4096, 0));
    let request =
        MapRequest { offset: i64::MAX as u64, ..request(Purpose::Read, MapMods::empty()) };
    let error = MappingIter::new("test", &ops, request).next_mapping().expect_err("refused");
    assert!(matches!(error.kind, ErrorKind::InvalidArgument(_)));
    assert_eq!(ops.begun.get(), 0);
}

#[test]
fn round_without_progress_ends_the_loop() {
    let ops = Scripted::new(mapped(0, 1 << 20, 0));
    let mut iter = MappingIter::new("test", &ops, request(Purpose::Read, MapMods::empty()));
    assert!(iter.next_mapping().expect("begin"));
    assert!(!iter.next_mapping().expect("I3"));
    assert_eq!(ops.ended.borrow().as_slice(), [Outcome::default()]);
}

#[test]
fn mapping_that_is_never_valid_ends_in_an_error() {
    let mut ops = Scripted::new(mapped(0, 1 << 20, 0));
    ops.valid = false;
    let host = Bare::new();
    let error = buffered_write(&ops, &host, 0, &[1; 4096]).expect_err("never valid");
    assert!(matches!(error.kind, ErrorKind::Contract(_)), "{error}");
    assert!(ops.balanced());
    assert!(!host.cache.is_dirty());
}

#[test]
fn error_in_the_middle_ends_the_round_with_what_was_done() {
    // The mapping covers the first block only and the second begin fails.
    struct Once(Scripted);
    impl MappingOps for Once {
        fn begin(&self, request: &MapRequest) -> Result<MapReply> {
            if request.offset > 0 {
                return Err(Error::file_system("second begin"));
            }
            self.0.begin(request)
        }
        fn end(&self, request: &MapRequest, mapping: &Mapping, outcome: Outcome) -> Result<()> {
            self.0.end(request, mapping, outcome)
        }
    }
    let new = Mapping::new(0, 4096, MappingKind::Delalloc).with_flags(MappingFlags::NEW);
    let ops = Once(Scripted::new(new));
    let host = Bare::new();
    assert_eq!(buffered_write(&ops, &host, 0, &[1; 6000]).expect("short"), 4096);
    assert_eq!(
        ops.0.ended.borrow().as_slice(),
        [Outcome { written: 4096, stale: false, size_changed: true }]
    );
    assert_eq!(host.size(), 4096);
    let error = buffered_write(&ops, &host, 4096, &[1; 10]).expect_err("nothing done");
    assert_eq!(error.to_string(), "file system: second begin", "passed through unchanged");
}

/// Writeback rules W1 to W5: the range fails, the error is kept, the dirty bits are cleared.
#[test]
fn answers_of_map_blocks_are_checked() {
    let kind = |kind| Mapping::new(0, 4096, kind);
    for (rule, mapping) in [
        ("W1", kind(MappingKind::Hole)),
        ("W1", kind(MappingKind::Delalloc)),
        ("W1", kind(MappingKind::Inline([0; 10].into()))),
        ("W2", mapped(0, 0, 0)),
        ("W2", mapped(4096, 4096, 0)),
        ("W3", mapped(0, 8192, 0)),
        ("W4", mapped(0, 4096, u64::MAX - 4094)),
        ("W5", mapped(0, 4096, 100)),
        ("W5", mapped(0, 4000, 0)),
    ] {
        let host = Bare::new();
        let dirtying = Scripted::new(Mapping::new(0, 4096, MappingKind::Delalloc));
        buffered_write(&dirtying, &host, 0, &[1; 4096]).expect("write");
        let ops = Scripted::new(mapping);
        let error = writepages(&ops, &host, 0..u64::MAX, &WritebackControl::default())
            .expect_err("refused");
        let ErrorKind::Writeback(cause) = error.kind else { panic!("{error}") };
        let ErrorKind::Contract(broken) = cause.kind else { panic!("{cause}") };
        assert_eq!(&broken[..2], rule);
        assert!(!host.cache.is_dirty());
        assert!(host.cache.check_error(&mut iomap::ErrorCursor::default()).is_err());
    }
}

/// Direct I/O takes what it cannot do to the page cache.
#[test]
fn direct_io_on_inline_and_promised_ranges_asks_for_the_page_cache() {
    let promised = Mapping::new(0, 4096, MappingKind::Delalloc);
    let inline = Mapping::new(0, 4096, MappingKind::Inline([5; 100].into()));
    let host = Bare::new();
    host.set_size(100);
    for mapping in [promised.clone(), inline.clone()] {
        let ops = Scripted::new(mapping);
        let error = direct_write(&ops, &host, 0, &[1; 4096]).expect_err("refused");
        assert!(error.needs_buffered(), "{error}");
        assert!(ops.balanced());
    }
    let error = direct_read(&Scripted::new(promised), &host, 0, &mut [0; 100]).expect_err("no");
    assert!(error.needs_buffered(), "{error}");
    let mut buf = [0; 100];
    assert_eq!(direct_read(&Scripted::new(inline), &host, 0, &mut buf).expect("read"), 100);
    assert_eq!(buf, [5; 100]);
}

#[test]
fn host_and_cache_must_agree_on_the_block_size() {
    struct Liar(Bare);
    impl Host for Liar {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn set_size(&self, size: u64) {
            self.0.set_size(size);
        }
        fn block_size(&self) -> u32 {
            512
        }
        fn cache(&self) -> &PageCache {
            self.0.cache()
        }
        fn device(&self) -> &dyn Device {
            self.0.device()
        }
    }
    let (host, ops) = (Liar(Bare::new()), Scripted::new(mapped(0, 4096, 0)));
    let error = buffered_read(&ops, &host, 0, &mut [0; 10]).expect_err("refused");
    assert!(matches!(error.kind, ErrorKind::Contract(_)));
}

#[test]
fn toy_file_system_keeps_the_contract_when_space_runs_out() {
    let (_device, fs) = toy(8 * BLOCK as usize, 1 << 20);
    let file = fs.create();
    let written = file.write(Through::Cache, 0, &[1; 64 * 1024]).expect("short write");
    assert_eq!(written as u64, 8 * BLOCK, "what there is space for");
    let error = file.write(Through::Cache, 8 * BLOCK, &[1]).expect_err("full");
    assert!(matches!(error.kind, ErrorKind::NoSpace));
    file.fsync().expect("promises are kept");
    drop(file);
    common::assert_empty(&fs);
}

/// A host without a file system.
struct Bare {
    cache: PageCache,
    size: AtomicU64,
    device: std::sync::Arc<TestDevice>,
}

impl Bare {
    fn new() -> Self {
        Self {
            cache: PageCache::new(&CachePool::new(1 << 20), BLOCK as u32),
            size: AtomicU64::new(0),
            device: TestDevice::new(1 << 20),
        }
    }
}

impl Host for Bare {
    fn size(&self) -> u64 {
        self.size.load(SeqCst)
    }
    fn set_size(&self, size: u64) {
        self.size.store(size, SeqCst);
    }
    fn block_size(&self) -> u32 {
        BLOCK as u32
    }
    fn cache(&self) -> &PageCache {
        &self.cache
    }
    fn device(&self) -> &dyn Device {
        &*self.device
    }
}
