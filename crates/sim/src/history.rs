//! What happened to a device, event by event, and what of it a cut must leave.
//!
//! Events are numbered from 0; "a cut at *k*" is a power cut after the first *k* events. A write is
//! *issued* by its event and *completed* at a later position: the same call may be running in
//! another thread while a flush is. A flush covers the writes that had completed when it started,
//! nothing else. A write that a completed flush covers is *durable*; all others are *pending*.
//!
//! A failed flush dooms the writes that were pending: the host may have dropped them for good, so
//! no later flush covers them. They stay pending until something durable is written over them.

use std::sync::Arc;

use crate::image::{Image, SECTOR};

/// What a write carries.
#[derive(Debug, Clone)]
pub enum Payload {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// One byte, repeated: zeroes, or what a discard leaves.
    Fill {
        /// The byte.
        byte: u8,
        /// How many of it; whole sectors.
        length: u64,
    },
}

impl Payload {
    /// Bytes written.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Fill { length, .. } => *length,
        }
    }

    /// The payload's bytes from `from` on, as many as `buf` holds.
    pub(crate) fn copy_to(&self, from: usize, buf: &mut [u8]) {
        match self {
            Payload::Bytes(bytes) => buf.copy_from_slice(&bytes[from..from + buf.len()]),
            Payload::Fill { byte, .. } => buf.fill(*byte),
        }
    }

    /// Writes all of it to `image`.
    pub(crate) fn apply(&self, image: &mut Image, addr: u64) {
        match self {
            Payload::Bytes(bytes) => image.write(addr, bytes),
            Payload::Fill { byte, length } => image.fill(addr, *length, *byte),
        }
    }
}

/// One thing that happened to a device.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes were written, zeroed or discarded.
    Write {
        /// Where.
        addr: u64,
        /// What.
        payload: Payload,
        /// The number of events when the call returned; `usize::MAX` while it runs.
        completed: usize,
    },
    /// Everything completed before position `started` became durable.
    Flush {
        /// The number of events when the flush started.
        started: usize,
    },
    /// A flush failed: what was pending may never become durable.
    FailedFlush,
}

/// Everything that happened to a device since it held its base image.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub(crate) events: Vec<Event>,
}

impl History {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// All events in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What a device over `base` holds after the first `count` events, with nothing lost.
    #[must_use]
    pub fn image_at(&self, base: &Arc<Image>, count: usize) -> Image {
        let mut image = Image::over(Arc::clone(base));
        for event in &self.events[..count] {
            if let Event::Write { addr, payload, .. } = event {
                payload.apply(&mut image, *addr);
            }
        }
        image
    }

    /// The cuts with the most pending writes: right before each flush, and at the end. Every state
    /// that any cut may leave is among those of the next of these.
    #[must_use]
    pub fn cuts_before_flushes(&self) -> Vec<usize> {
        let flushes = self.events.iter().enumerate().filter_map(|(position, event)| match event {
            Event::Flush { .. } => Some(position),
            Event::Write { .. } | Event::FailedFlush => None,
        });
        let mut cuts: Vec<_> = flushes.chain([self.len()]).collect();
        cuts.dedup();
        cuts
    }
}

/// A write that a cut may lose.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// The number of its event.
    pub(crate) event: usize,
    pub(crate) addr: u64,
    pub(crate) payload: Payload,
    completed: usize,
    doomed: bool,
    /// Sectors of it that something durable was written over; empty when there are none.
    replaced: Vec<bool>,
}

impl Pending {
    /// Whether the sector with this number in the write may be found after a cut.
    pub(crate) fn may_be_found(&self, sector: usize) -> bool {
        !self.replaced.get(sector).copied().unwrap_or(false)
    }

    fn end(&self) -> u64 {
        self.addr + self.payload.length()
    }

    /// A durable write of `addr..end` was issued later: what it covers of this one is gone.
    fn replace(&mut self, addr: u64, end: u64) {
        let (from, to) = (addr.max(self.addr), end.min(self.end()));
        if from < to {
            let sector = |at: u64| ((at - self.addr) / SECTOR as u64) as usize;
            self.replaced.resize(sector(self.end()), false);
            self.replaced[sector(from)..sector(to)].fill(true);
        }
    }
}

/// Walks a history forwards and knows what is durable and what is pending.
#[derive(Debug, Clone)]
pub(crate) struct Walk<'h> {
    history: &'h History,
    position: usize,
    durable: Arc<Image>,
    pending: Vec<Pending>,
}

impl<'h> Walk<'h> {
    pub(crate) fn new(base: Arc<Image>, history: &'h History) -> Self {
        Self { history, position: 0, durable: base, pending: Vec::new() }
    }

    pub(crate) fn durable(&self) -> &Arc<Image> {
        &self.durable
    }

    pub(crate) fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Goes on to the cut at `position`.
    ///
    /// # Panics
    /// The cut is behind, or past the end of the history.
    pub(crate) fn advance(&mut self, position: usize) {
        assert!(position >= self.position, "cuts go forwards");
        let events = self.history.events[..position].iter().enumerate().skip(self.position);
        for (number, event) in events {
            match event {
                Event::Write { addr, payload, completed } => self.pending.push(Pending {
                    event: number,
                    addr: *addr,
                    payload: payload.clone(),
                    completed: *completed,
                    doomed: false,
                    replaced: Vec::new(),
                }),
                Event::Flush { started } => self.flush(*started),
                Event::FailedFlush => self.pending.iter_mut().for_each(|write| write.doomed = true),
            }
        }
        self.position = position;
    }

    fn flush(&mut self, started: usize) {
        let is_covered = |write: &Pending| !write.doomed && write.completed <= started;
        let (covered, mut left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(is_covered);
        let durable = Arc::make_mut(&mut self.durable);
        for write in covered {
            write.payload.apply(durable, write.addr);
            // Two writes that ran at the same time have no order; one that had completed has.
            let earlier = |other: &&mut Pending| other.completed <= write.event;
            left.iter_mut()
                .filter(earlier)
                .for_each(|other| other.replace(write.addr, write.end()));
        }
        left.retain(|write| write.replaced.is_empty() || write.replaced.contains(&false));
        self.pending = left;
    }
}
