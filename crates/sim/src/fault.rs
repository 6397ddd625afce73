//! A device that fails on purpose, or lies.
//!
//! Every [`Fault`] counts the requests that it applies to, each write of a batch for itself, and
//! strikes from the `nth` on. A batch in which a write fails is done as a disk does it: all others
//! are written, in particular a log record whose data failed, and nothing is flushed.
//!
//! Locking: one mutex around the counters, held for no I/O.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ashlar_device::{Device, DeviceError, DeviceOp, Finish, Result, Topology, Write};
use parking_lot::Mutex;

use crate::device::SimDevice;
use crate::image::SECTOR;

/// Which requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// Reads, those of batches one by one.
    Read,
    /// Writes, those of batches one by one, and writes of zeroes.
    Write,
    /// Flushes, alone or at the end of a batch.
    Flush,
    /// Discards.
    Discard,
}

/// What happens to a request that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It fails with this errno, and is not done.
    Error(i32),
    /// A write is done for the first half of its sectors, and then fails with this errno.
    Torn(i32),
    /// A write, flush or discard is acknowledged, and not done.
    Lost,
    /// A read or write goes to this many bytes further on, or, outside of the device, nowhere.
    Misdirected(i64),
    /// A read answers with one bit flipped; which one, this number and the address decide.
    Rot(u64),
    /// A flush at the end of a batch is done before the batch's writes.
    Early,
}

impl Effect {
    fn applies_to(self, victim: Victim) -> bool {
        match self {
            Effect::Error(_) => true,
            Effect::Torn(_) => victim == Victim::Write,
            Effect::Lost => victim != Victim::Read,
            Effect::Misdirected(_) => matches!(victim, Victim::Read | Victim::Write),
            Effect::Rot(_) => victim == Victim::Read,
            Effect::Early => victim == Victim::Flush,
        }
    }
}

/// What goes wrong, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which requests count.
    pub victim: Victim,
    /// Only requests that touch this range count. Flushes touch everything.
    pub within: Range<u64>,
    /// The first that is struck, counted from 1.
    pub nth: u64,
    /// How many are struck: 1 for a single failure, `u64::MAX` for a device that is broken for
    /// good.
    pub calls: u64,
    /// What happens to them.
    pub effect: Effect,
}

impl Fault {
    /// Every request of the kind suffers `effect`. The fields narrow it down.
    #[must_use]
    pub fn every(victim: Victim, effect: Effect) -> Self {
        Self { victim, within: 0..u64::MAX, nth: 1, calls: u64::MAX, effect }
    }

    /// The planted bug: no flush does anything. A sweep that passes on such a device is worthless.
    #[must_use]
    pub fn drop_flushes() -> Self {
        Self::every(Victim::Flush, Effect::Lost)
    }

    /// Another planted bug: a batch's flush does not wait for the batch.
    #[must_use]
    pub fn flush_early() -> Self {
        Self::every(Victim::Flush, Effect::Early)
    }
}

/// The short form of the commonest fault: the nth request of a kind fails.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Which requests count.
    pub victim: Victim,
    /// The one that fails, counted from 1.
    pub nth: u64,
    /// errno that it fails with.
    pub errno: i32,
    /// All later ones fail, too.
    pub lasting: bool,
}

impl From<Plan> for Fault {
    fn from(plan: Plan) -> Self {
        let Plan { victim, nth, errno, lasting } = plan;
        let calls = if lasting { u64::MAX } else { 1 };
        Self { nth, calls, ..Self::every(victim, Effect::Error(errno)) }
    }
}

/// A fault and what it has seen.
#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: u64,
    struck: u64,
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// Passes requests to `D`, except where a fault strikes.
pub struct FaultDevice<D> {
    inner: D,
    armed: Mutex<Vec<Armed>>,
    /// Told of every flush that was made to fail.
    flush_failed: Option<Hook>,
}

impl<D: fmt::Debug> fmt::Debug for FaultDevice<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, armed, flush_failed: _ } = self;
        f.debug_struct("FaultDevice").field("inner", inner).field("armed", armed).finish()
    }
}

impl FaultDevice<Arc<SimDevice>> {
    /// As [`new`](Self::new); and a flush that is made to fail dooms what was pending on the
    /// simulated device, so that cuts may lose it even after a later flush.
    pub fn over(inner: Arc<SimDevice>, fault: impl Into<Fault>) -> Self {
        let told = Arc::clone(&inner);
        Self { flush_failed: Some(Box::new(move || told.fail_flush())), ..Self::new(inner, fault) }
    }
}

impl<D: Device> FaultDevice<D> {
    /// Wraps a device.
    ///
    /// # Panics
    /// The effect makes no sense for the victim.
    pub fn new(inner: D, fault: impl Into<Fault>) -> Self {
        let device = Self { inner, armed: Mutex::default(), flush_failed: None };
        device.inject(fault);
        device
    }

    /// Adds a fault; it counts from now on. Where several strike one request, the first added wins.
    ///
    /// # Panics
    /// The effect makes no sense for the victim.
    pub fn inject(&self, fault: impl Into<Fault>) {
        let fault = fault.into();
        assert!(fault.effect.applies_to(fault.victim), "{fault:?} cannot happen");
        assert!(fault.nth > 0, "requests count from 1");
        self.armed.lock().push(Armed { fault, seen: 0, struck: 0 });
    }

    /// Takes all faults away; what they did stays.
    pub fn heal(&self) {
        self.armed.lock().clear();
    }

    /// True once a fault has struck.
    pub fn has_struck(&self) -> bool {
        self.armed.lock().iter().any(|armed| armed.struck > 0)
    }

    /// The device below.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Counts one request, and says what happens to it.
    fn strike(&self, victim: Victim, range: Range<u64>) -> Option<Effect> {
        let mut effect = None;
        for armed in self.armed.lock().iter_mut() {
            let Fault { within, nth, calls, .. } = &armed.fault;
            let touches = within.start < range.end && range.start < within.end;
            if armed.fault.victim != victim || !touches {
                continue;
            }
            armed.seen += 1;
            if armed.seen >= *nth && armed.seen - nth < *calls && effect.is_none() {
                armed.struck += 1;
                effect = Some(armed.fault.effect);
            }
        }
        effect
    }

    /// Writes all of `writes` but those that are struck; the error of the first that failed.
    fn write_survivors(&self, writes: &[Write<'_>], flush: Option<Option<Effect>>) -> Result<()> {
        let mut survivors = Vec::with_capacity(writes.len());
        let mut first_error = None;
        for write in writes {
            let length = write.bytes.len() as u64;
            let mut failed = |errno| {
                first_error.get_or_insert(error(DeviceOp::Write, write.addr, length, errno));
            };
            match self.strike(Victim::Write, write.addr..write.addr + length) {
                None | Some(Effect::Rot(_) | Effect::Early) => survivors.push(*write),
                Some(Effect::Error(errno)) => failed(errno),
                Some(Effect::Torn(errno)) => {
                    let bytes = &write.bytes[..first_half(length) as usize];
                    survivors.push(Write { addr: write.addr, bytes });
                    failed(errno);
                }
                Some(Effect::Lost) => {}
                Some(Effect::Misdirected(by)) => {
                    if let Some(addr) = self.moved(write.addr, by, length) {
                        survivors.push(Write { addr, bytes: write.bytes });
                    }
                }
            }
        }
        match (first_error, flush) {
            (Some(error), _) => self.inner.submit(&survivors, Finish::Nothing).and(Err(error)),
            (None, None) => self.inner.submit(&survivors, Finish::Nothing),
            (None, Some(effect)) => self.flush_survivors(&survivors, effect),
        }
    }

    fn flush_survivors(&self, writes: &[Write<'_>], effect: Option<Effect>) -> Result<()> {
        match effect {
            Some(Effect::Error(errno)) => {
                self.inner.submit(writes, Finish::Nothing)?;
                self.flush_failed.iter().for_each(|hook| hook());
                Err(error(DeviceOp::Flush, 0, 0, errno))
            }
            Some(Effect::Lost) => self.inner.submit(writes, Finish::Nothing),
            Some(Effect::Early) => {
                self.inner.flush()?;
                self.inner.submit(writes, Finish::Nothing)
            }
            None | Some(Effect::Torn(_) | Effect::Misdirected(_) | Effect::Rot(_)) => {
                self.inner.submit(writes, Finish::Flush)
            }
        }
    }

    /// Where a request goes that is misdirected, if that is on the device.
    fn moved(&self, addr: u64, by: i64, length: u64) -> Option<u64> {
        let addr = addr.checked_add_signed(by)?;
        self.topology().check_range(addr, length).is_ok().then_some(addr)
    }

    fn read_elsewhere(&self, addr: u64, by: i64, buf: &mut [u8]) -> Result<()> {
        match self.moved(addr, by, buf.len() as u64) {
            Some(addr) => self.inner.read_at(addr, buf),
            None => {
                buf.fill(0);
                Ok(())
            }
        }
    }
}

fn error(op: DeviceOp, addr: u64, length: u64, errno: i32) -> DeviceError {
    let source = io::Error::from_raw_os_error(errno);
    DeviceError { op, addr, length, device: "failing device".into(), source }
}

/// Half of the sectors, rounded down.
fn first_half(length: u64) -> u64 {
    let sector = SECTOR as u64;
    length / sector / 2 * sector
}

/// Flips one bit of `buf`.
fn rot(buf: &mut [u8], addr: u64, number: u64) {
    if !buf.is_empty() {
        let mut random = fastrand::Rng::with_seed(number ^ addr.rotate_left(32));
        buf[random.usize(..buf.len())] ^= 1 << random.u8(..8);
    }
}

impl<D: Device> Device for FaultDevice<D> {
    fn topology(&self) -> &Topology {
        self.inner.topology()
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        let length = buf.len() as u64;
        match self.strike(Victim::Read, addr..addr.saturating_add(length)) {
            Some(Effect::Error(errno)) => Err(error(DeviceOp::Read, addr, length, errno)),
            Some(Effect::Misdirected(by)) => self.read_elsewhere(addr, by, buf),
            Some(Effect::Rot(number)) => {
                self.inner.read_at(addr, buf)?;
                rot(buf, addr, number);
                Ok(())
            }
            None | Some(Effect::Torn(_) | Effect::Lost | Effect::Early) => {
                self.inner.read_at(addr, buf)
            }
        }
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()> {
        for Write { addr, bytes } in writes {
            let length = bytes.len() as u64;
            self.topology().check_range(*addr, length).map_err(|source| DeviceError {
                source,
                ..error(DeviceOp::Write, *addr, length, 0)
            })?;
        }
        let flush = match finish {
            Finish::Nothing => None,
            Finish::Flush => Some(self.strike(Victim::Flush, 0..u64::MAX)),
        };
        self.write_survivors(writes, flush)
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        match self.strike(Victim::Discard, addr..addr.saturating_add(length)) {
            Some(Effect::Error(errno)) => Err(error(DeviceOp::Discard, addr, length, errno)),
            Some(Effect::Lost) => Ok(()),
            _ => self.inner.discard(addr, length),
        }
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        let failed = |errno| Err(error(DeviceOp::WriteZeroes, addr, length, errno));
        match self.strike(Victim::Write, addr..addr.saturating_add(length)) {
            Some(Effect::Error(errno)) => failed(errno),
            Some(Effect::Torn(errno)) => {
                self.inner.write_zeroes(addr, first_half(length))?;
                failed(errno)
            }
            Some(Effect::Lost) => Ok(()),
            Some(Effect::Misdirected(by)) => match self.moved(addr, by, length) {
                Some(addr) => self.inner.write_zeroes(addr, length),
                None => Ok(()),
            },
            None | Some(Effect::Rot(_) | Effect::Early) => self.inner.write_zeroes(addr, length),
        }
    }

    fn block_device_path(&self) -> Option<&Path> {
        self.inner.block_device_path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crash::{Budget, CrashStates};
    use crate::image::Image;
    use ashlar_device::Read;

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    fn over(fault: impl Into<Fault>) -> FaultDevice<Arc<SimDevice>> {
        FaultDevice::over(Arc::new(SimDevice::new(1 << 20, Image::default())), fault)
    }

    fn glance(device: &impl Device, count: usize) -> Vec<u8> {
        let mut buf = vec![0; count * SECTOR];
        device.read_at(0, &mut buf).expect("reads");
        buf.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    /// The first sectors of all states that a cut now may leave.
    fn states(device: &SimDevice, count: usize) -> Vec<Vec<u8>> {
        let history = device.history();
        let mut states = CrashStates::new(device.base(), &history);
        let budget = Budget { exhaustive: u64::MAX, samples: 0 };
        let mut random = fastrand::Rng::with_seed(0);
        let mut states: Vec<_> = states
            .at(history.len(), budget, &mut random)
            .map(|state| glance(&SimDevice::new(1 << 20, state.image), count))
            .collect();
        states.sort();
        states
    }

    #[test]
    fn nth_write_fails_and_the_others_of_its_batch_are_written() -> Result<()> {
        let device = over(Plan { victim: Victim::Write, nth: 2, errno: ENOSPC, lasting: false });
        let batch = [0, 1, 2].map(|index| Write { addr: index * 512, bytes: &[7; 512] });
        let error = device.submit(&batch, Finish::Flush).expect_err("struck");
        assert_eq!((error.op, error.addr, error.errno()), (DeviceOp::Write, 512, ENOSPC));
        assert_eq!(glance(device.inner(), 3), [7, 0, 7]);
        // Nothing was flushed.
        assert_eq!(states(device.inner(), 3).len(), 4);
        device.submit(&batch, Finish::Flush)?;
        assert_eq!(states(device.inner(), 3), [[7, 7, 7]]);
        Ok(())
    }

    #[test]
    fn fault_lasts_as_long_as_it_says() {
        let fault = Fault { nth: 2, calls: 2, ..Fault::every(Victim::Read, Effect::Error(EIO)) };
        let device = over(fault);
        let mut buf = [0; 512];
        let results: Vec<_> = (0..5).map(|_| device.read_at(0, &mut buf).is_ok()).collect();
        assert_eq!(results, [true, false, false, true, true]);
        let device = over(Plan { victim: Victim::Read, nth: 3, errno: EIO, lasting: true });
        assert!(!device.has_struck());
        let (mut a, mut b) = ([0; 512], [0; 512]);
        let mut batch = [Read { addr: 0, buf: &mut a }, Read { addr: 0, buf: &mut b }];
        assert!(device.read_batch(&mut batch).is_ok());
        assert!(device.read_batch(&mut batch).is_err());
        assert!(device.read_at(0, &mut buf).is_err());
        assert!(device.has_struck());
        device.heal();
        assert!(device.read_at(0, &mut buf).is_ok());
    }

    #[test]
    fn fault_strikes_within_its_range_only() {
        let fault = Fault { within: 4096..8192, ..Fault::every(Victim::Write, Effect::Error(EIO)) };
        let device = over(fault);
        assert!(device.write_at(0, &[1; 4096]).is_ok());
        assert!(device.write_at(8192, &[1; 512]).is_ok());
        assert!(device.write_zeroes(8192, 512).is_ok());
        assert!(device.write_at(3584, &[1; 1024]).is_err());
        assert!(device.write_zeroes(7680, 512).is_err());
    }

    #[test]
    fn failed_flush_dooms_what_was_pending() -> Result<()> {
        let device = over(Plan { victim: Victim::Flush, nth: 1, errno: EIO, lasting: false });
        let write = Write { addr: 0, bytes: &[1; 512] };
        let error = device.submit(&[write], Finish::Flush).expect_err("struck");
        assert_eq!((error.op, error.errno()), (DeviceOp::Flush, EIO));
        device.write_at(512, &[2; 512])?;
        device.flush()?;
        assert_eq!(states(device.inner(), 2), [[0, 2], [1, 2]]);
        Ok(())
    }

    #[test]
    fn lost_requests_are_acknowledged() -> Result<()> {
        let device = over(Fault { nth: 2, calls: 1, ..Fault::every(Victim::Write, Effect::Lost) });
        device.write_at(0, &[1; 512])?;
        device.write_at(512, &[1; 512])?;
        device.write_at(1024, &[1; 512])?;
        assert_eq!(glance(&device, 3), [1, 0, 1]);
        device.inject(Fault::every(Victim::Discard, Effect::Lost));
        device.discard(0, 512)?;
        assert_eq!(glance(&device, 1), [1]);
        Ok(())
    }

    #[test]
    fn dropped_and_early_flushes_leave_writes_pending() -> Result<()> {
        for fault in [Fault::drop_flushes(), Fault::flush_early()] {
            let device = over(fault);
            device.submit(&[Write { addr: 0, bytes: &[1; 512] }], Finish::Flush)?;
            assert_eq!(states(device.inner(), 1), [[0], [1]]);
        }
        Ok(())
    }

    #[test]
    fn misdirected_write_lands_elsewhere() -> Result<()> {
        let device = over(Fault::every(Victim::Write, Effect::Misdirected(-512)));
        device.write_at(1024, &[1; 512])?;
        // Outside of the device: lost.
        device.write_at(0, &[2; 512])?;
        assert_eq!(glance(&device, 3), [0, 1, 0]);
        device.heal();
        device.inject(Fault::every(Victim::Read, Effect::Misdirected(512)));
        assert_eq!(glance(&device, 2), [1, 0]);
        Ok(())
    }

    #[test]
    fn torn_write_leaves_its_first_half() {
        let device = over(Fault::every(Victim::Write, Effect::Torn(EIO)));
        assert_eq!(device.write_at(0, &[1; 2048]).expect_err("struck").errno(), EIO);
        assert_eq!(glance(&device, 4), [1, 1, 0, 0]);
        device.heal();
        device.write_at(0, &[1; 2048]).expect("healed");
        device.inject(Fault::every(Victim::Write, Effect::Torn(EIO)));
        assert!(device.write_zeroes(0, 2048).is_err());
        assert_eq!(glance(&device, 4), [0, 0, 1, 1]);
    }

    #[test]
    fn rot_flips_one_bit_and_the_same_each_time() -> Result<()> {
        let device = over(Fault::every(Victim::Read, Effect::Rot(3)));
        let (mut once, mut twice) = ([0_u8; 4096], [0_u8; 4096]);
        device.read_at(4096, &mut once)?;
        device.read_at(4096, &mut twice)?;
        assert_eq!(once.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        assert_eq!(once, twice);
        device.heal();
        device.read_at(4096, &mut once)?;
        assert_eq!(once, [0; 4096]);
        Ok(())
    }

    #[test]
    #[should_panic(expected = "cannot happen")]
    fn senseless_fault_is_refused() {
        let _device = over(Fault::every(Victim::Flush, Effect::Rot(0)));
    }
}
