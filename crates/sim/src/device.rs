//! A device in memory that remembers every write and every flush.

use crate::image::Image;
use ashlar_device::{Device, DeviceError, DeviceOp, Finish, Result, Topology, Write};
use parking_lot::Mutex;
use std::sync::Arc;

/// What discarded bytes read as: a pattern, so that relying on them shows.
const DISCARDED: u8 = 0xAB;

/// One thing that happened to a device.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// Where.
        addr: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// Everything before became durable.
    Flush,
}

#[derive(Debug)]
struct Inner {
    now: Image,
    history: Vec<Event>,
}

/// See the module. `lying` makes it a device that acknowledges flushes and does nothing: what a
/// sweep must catch.
#[derive(Debug)]
pub struct SimDevice {
    topology: Topology,
    base: Image,
    inner: Mutex<Inner>,
    lying: bool,
}

impl SimDevice {
    /// A device that holds `base`, all of it durable.
    #[must_use]
    pub fn new(capacity: u64, base: Image) -> Self {
        Self {
            topology: Topology::new(capacity, 512),
            inner: Mutex::new(Inner { now: base.clone(), history: Vec::new() }),
            base,
            lying: false,
        }
    }

    /// The same device, but its flushes are lies.
    #[must_use]
    pub fn lying(mut self) -> Self {
        self.lying = true;
        self
    }

    /// What it held when it was made.
    #[must_use]
    pub fn base(&self) -> &Image {
        &self.base
    }

    /// What it holds now.
    #[must_use]
    pub fn now(&self) -> Image {
        self.inner.lock().now.clone()
    }

    /// Events so far.
    #[must_use]
    pub fn event_count(&self) -> usize {
        self.inner.lock().history.len()
    }

    /// All events so far.
    #[must_use]
    pub fn history(&self) -> Vec<Event> {
        self.inner.lock().history.clone()
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
        let mut inner = self.inner.lock();
        for write in writes {
            inner.now.write(write.addr, write.bytes);
            inner.history.push(Event::Write { addr: write.addr, bytes: write.bytes.into() });
        }
        if finish == Finish::Flush && !self.lying {
            inner.history.push(Event::Flush);
        }
        Ok(())
    }

    fn discard(&self, addr: u64, length: u64) -> Result<()> {
        self.write_at(addr, &vec![DISCARDED; length as usize])
    }

    fn write_zeroes(&self, addr: u64, length: u64) -> Result<()> {
        self.write_at(addr, &vec![0; length as usize])
    }
}
