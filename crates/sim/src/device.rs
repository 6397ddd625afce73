//! A device in memory that remembers every write and every flush.
//!
//! Locking: one mutex around contents and history. A batch takes it twice, once to issue its writes
//! and once to complete them, so that batches of several threads overlap as they do on a disk: a
//! flush does not cover a write that was still running when it started.

use std::sync::Arc;

use ashlar_device::{Device, DeviceError, DeviceOp, Finish, Result, Topology, Write};
use parking_lot::Mutex;

use crate::history::{Event, History, Payload};
use crate::image::{Image, SECTOR};

/// What discarded bytes read as: a pattern, so that relying on them shows.
const DISCARDED: u8 = 0xAB;

/// A discard leaves the pattern in this many bytes of its range, and the old bytes in the rest.
const DISCARDED_MAX: u64 = 1 << 20;

/// Completion of a write that has not completed.
const RUNNING: usize = usize::MAX;

#[derive(Debug)]
struct Inner {
    now: Image,
    history: History,
}

/// A device whose history can be cut anywhere; see [`crash`](crate::crash).
///
/// A device that holds a crash state is one of these again, so a recovery is recorded and can be
/// cut, too.
#[derive(Debug)]
pub struct SimDevice {
    topology: Topology,
    base: Arc<Image>,
    inner: Mutex<Inner>,
    lying: bool,
}

impl SimDevice {
    /// A device that holds `base`, all of it durable.
    ///
    /// # Panics
    /// `capacity` is not a multiple of the sector.
    #[must_use]
    pub fn new(capacity: u64, base: Image) -> Self {
        let base = Arc::new(base);
        Self {
            topology: Topology::new(capacity, SECTOR as u32),
            inner: Mutex::new(Inner {
                now: Image::over(Arc::clone(&base)),
                history: History::default(),
            }),
            base,
            lying: false,
        }
    }

    /// The same device, but its flushes are lies: acknowledged, and nothing became durable. What
    /// every sweep must find out.
    #[must_use]
    pub fn lying(mut self) -> Self {
        self.lying = true;
        self
    }

    /// What it held when it was made.
    #[must_use]
    pub fn base(&self) -> &Arc<Image> {
        &self.base
    }

    /// What it holds now.
    #[must_use]
    pub fn now(&self) -> Image {
        self.inner.lock().now.clone()
    }

    /// Events so far: the position of a cut at this moment.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.inner.lock().history.len()
    }

    /// All events so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.inner.lock().history.clone()
    }

    /// What it held after the first `count` events.
    #[must_use]
    pub fn image_at(&self, count: usize) -> Image {
        self.inner.lock().history.image_at(&self.base, count)
    }

    /// A flush failed somewhere above: no later one covers what is pending now.
    pub fn fail_flush(&self) {
        self.inner.lock().history.events.push(Event::FailedFlush);
    }

    fn check(&self, op: DeviceOp, addr: u64, length: u64) -> Result<()> {
        self.topology.check_range(addr, length).map_err(|source| DeviceError {
            op,
            addr,
            length,
            device: "simulated device".into(),
            source,
        })
    }

    /// Issues writes, lets other threads in, and completes them.
    fn perform(&self, writes: impl Iterator<Item = (u64, Payload)>) {
        let mut inner = self.inner.lock();
        let first = inner.history.len();
        for (addr, payload) in writes {
            payload.apply(&mut inner.now, addr);
            inner.history.events.push(Event::Write { addr, payload, completed: RUNNING });
        }
        let issued = first..inner.history.len();
        drop(inner);
        std::thread::yield_now();
        let mut inner = self.inner.lock();
        let position = inner.history.len();
        for event in &mut inner.history.events[issued] {
            if let Event::Write { completed, .. } = event {
                *completed = position;
            }
        }
    }

    fn perform_flush(&self) {
        let started = self.event_count();
        std::thread::yield_now();
        self.inner.lock().history.events.push(Event::Flush { started });
    }
}

impl Device for SimDevice {
    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn read_at(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        self.check(DeviceOp::Read, addr, buf.len() as u64)?;
        self.inner.lock().now.read(addr, buf);
        Ok(())
    }

    fn submit(&self, writes: &[Write<'_>], finish: Finish) -> Result<()> {
        for write in writes {
            self.check(DeviceOp::Write, write.addr, write.bytes.len() as u64)?;
        }
        let writes = writes.iter().filter(|write| !write.bytes.is_empty());
        self.perform(writes.map(|write| (write.addr, Payload::Bytes(write.bytes.into()))));
        if finish == Finish::Flush && !self.lying {
            self.perform_flush();
        }
        Ok(())
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        self.check(DeviceOp::Discard, addr, length)?;
        if length > 0 {
            let length = length.min(DISCARDED_MAX);
            self.perform([(addr, Payload::Fill { byte: DISCARDED, length })].into_iter());
        }
        Ok(())
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        self.check(DeviceOp::WriteZeroes, addr, length)?;
        if length > 0 {
            self.perform([(addr, Payload::Fill { byte: 0, length })].into_iter());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_bytes(image: &Image, count: usize) -> Vec<u8> {
        let mut buf = vec![0; count * SECTOR];
        image.read(0, &mut buf);
        buf.chunks(SECTOR).map(|sector| sector[0]).collect()
    }

    #[test]
    fn history_gives_back_every_moment() -> Result<()> {
        let device = SimDevice::new(1 << 40, Image::default());
        device.write_at(0, &[1; 512])?;
        device.submit(
            &[Write { addr: 512, bytes: &[2; 512] }, Write { addr: 1024, bytes: &[3; 512] }],
            Finish::Flush,
        )?;
        device.write_zeroes(0, 1024)?;
        device.discard(1024, 512)?;
        assert_eq!(device.event_count(), 6);
        let moments =
            [[0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 2, 3], [1, 2, 3], [0, 0, 3], [0, 0, DISCARDED]];
        for (count, expected) in moments.iter().enumerate() {
            assert_eq!(first_bytes(&device.image_at(count), 3), expected, "after {count}");
        }
        assert_eq!(device.image_at(6).digest(), device.now().digest());
        let mut buf = [9; 512];
        device.read_at((1 << 40) - 512, &mut buf)?;
        assert_eq!(buf, [0; 512]);
        Ok(())
    }

    #[test]
    fn bad_ranges_leave_no_event() {
        let device = SimDevice::new(4096, Image::default());
        let good = Write { addr: 0, bytes: &[1; 512] };
        let bad = Write { addr: 4096, bytes: &[1; 512] };
        assert!(device.submit(&[good, bad], Finish::Flush).is_err());
        assert!(device.discard(1, 512).is_err());
        assert!(device.write_zeroes(0, 8192).is_err());
        assert!(device.read_at(4096, &mut [0; 512]).is_err());
        assert_eq!(device.event_count(), 0);
        assert_eq!(device.now().digest(), 0);
    }

    #[test]
    fn only_a_lying_device_forgets_flushes() -> Result<()> {
        let count_flushes = |device: &SimDevice| {
            let is_flush = |event: &&Event| matches!(event, Event::Flush { .. });
            device.history().events().iter().filter(is_flush).count()
        };
        let honest = SimDevice::new(4096, Image::default());
        let lying = SimDevice::new(4096, Image::default()).lying();
        for device in [&honest, &lying] {
            device.submit(&[Write { addr: 0, bytes: &[1; 512] }], Finish::Flush)?;
            device.flush()?;
        }
        assert_eq!((count_flushes(&honest), count_flushes(&lying)), (2, 0));
        Ok(())
    }

    #[test]
    fn calls_of_several_threads_are_all_recorded() {
        let device = SimDevice::new(1 << 20, Image::default());
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let device = &device;
                scope.spawn(move || {
                    for round in 0..50_u64 {
                        let addr = (thread * 50 + round) * 512;
                        let write = Write { addr, bytes: &[thread as u8 + 1; 512] };
                        device.submit(&[write], Finish::Flush).expect("in range");
                    }
                });
            }
        });
        let history = device.history();
        assert_eq!(history.len(), 400);
        for (position, event) in history.events().iter().enumerate() {
            match event {
                Event::Write { completed, .. } => assert!((position + 1..=400).contains(completed)),
                Event::Flush { started } => assert!(*started <= position),
                Event::FailedFlush => panic!("no flush failed"),
            }
        }
    }
}
