//! Open files by the number that the kernel holds for them.
//!
//! A handle lives from the reply to `OPEN`, `CREATE` or `TMPFILE` until `RELEASE`. Directories
//! need none: reading one is resumed by cookie (see [`crate::ops::dir`]).
//!
//! Handle = `slot << SHARD_BITS | shard`, plus one so that zero never names a file.
//!
//! Invariants
//! (I1) A slot is on its shard's free list exactly when it holds no file.
//! (I2) `writers[ino].count` is the number of handles of `ino` that are open for writing; an inode
//!      with none has no entry. Such an inode has no unwritten pages in the kernel's cache.
//!
//! Locking: each shard's two mutexes are leaves and are never held together.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ashlar_core::{File, Ino};
use parking_lot::Mutex;

use crate::wire::reply::Errno;

const SHARD_BITS: u32 = 3;
const SHARDS: usize = 1 << SHARD_BITS;

/// One open file.
pub(crate) struct OpenFile {
    pub(crate) ino: Ino,
    pub(crate) file: Arc<File>,
    pub(crate) writable: bool,
    /// Opened with `FOPEN_DIRECT_IO`: each write(2) reaches us as it is.
    pub(crate) direct: bool,
    /// The inode's `SYNC` flag: every write is durable before it is answered.
    pub(crate) sync: bool,
    /// Opened with `O_DIRECT`.
    pub(crate) uncached: bool,
    /// What proves to [`crate::ioctl::abi::SYNCV`] that the caller has this file open; zero until it
    /// is asked for.
    pub(crate) token: AtomicU64,
    /// Value of the capability epoch at which this inode was last seen to have no file
    /// capabilities; see [`crate::ops::write`].
    pub(crate) no_capability_at: AtomicU64,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Option<Arc<OpenFile>>>,
    free: Vec<usize>,
}

/// Who writes to an inode.
#[derive(Default)]
struct Writers {
    count: u32,
    /// Data was lost because the volume is full, and no write(2) has been told.
    full: bool,
    /// Changes of an atomic file were lost on the way here: what is here is not what a program
    /// wrote, and must not be committed.
    spoiled: bool,
}

/// All open files.
#[derive(Default)]
pub(crate) struct Handles {
    shards: [Mutex<Shard>; SHARDS],
    writers: [Mutex<HashMap<Ino, Writers>>; SHARDS],
    /// Handles by their tokens.
    tokens: Mutex<HashMap<u64, u64>>,
    /// Spreads new handles over the shards.
    next: AtomicUsize,
}

impl Handles {
    /// Registers an open file and returns its number.
    pub(crate) fn insert(&self, open: OpenFile) -> u64 {
        if open.writable {
            self.writers_of(open.ino).lock().entry(open.ino).or_default().count += 1;
        }
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let open = Some(Arc::new(open));
        let slot = {
            let mut guard = self.shards[shard].lock();
            match guard.free.pop() {
                Some(slot) => {
                    guard.slots[slot] = open;
                    slot
                }
                None => {
                    guard.slots.push(open);
                    guard.slots.len() - 1
                }
            }
        };
        (((slot as u64) << SHARD_BITS) | shard as u64) + 1
    }

    /// The open file with this number.
    ///
    /// # Errors
    /// `EBADF` if there is none.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<OpenFile>, Errno> {
        let (shard, slot) = place(handle).ok_or(Errno::EBADF)?;
        let guard = self.shards[shard].lock();
        guard.slots.get(slot).and_then(Option::clone).ok_or(Errno::EBADF)
    }

    /// Forgets a handle; the file closes when the last request on it is done.
    ///
    /// # Errors
    /// `EBADF` if there is none.
    pub(crate) fn remove(&self, handle: u64) -> Result<Arc<OpenFile>, Errno> {
        let (shard, slot) = place(handle).ok_or(Errno::EBADF)?;
        let open = {
            let mut guard = self.shards[shard].lock();
            let open = guard.slots.get_mut(slot).and_then(Option::take).ok_or(Errno::EBADF)?;
            guard.free.push(slot);
            open
        };
        let token = open.token.load(Ordering::Relaxed);
        if token != 0 {
            self.tokens.lock().remove(&token);
        }
        if open.writable {
            let mut writers = self.writers_of(open.ino).lock();
            if let Some(of_inode) = writers.get_mut(&open.ino) {
                of_inode.count -= 1;
                if of_inode.count == 0 {
                    writers.remove(&open.ino);
                }
            }
        }
        Ok(open)
    }

    /// Forgets all handles, when the kernel is gone.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            *shard.lock() = Shard::default();
        }
        for writers in &self.writers {
            writers.lock().clear();
        }
        self.tokens.lock().clear();
    }

    /// Whether anyone has the inode open for writing.
    pub(crate) fn has_writer(&self, ino: Ino) -> bool {
        self.writers_of(ino).lock().contains_key(&ino)
    }

    /// Written-back data of the inode found no space.
    pub(crate) fn note_full(&self, ino: Ino) {
        if let Some(writers) = self.writers_of(ino).lock().get_mut(&ino) {
            writers.full = true;
        }
    }

    /// Whether [`Handles::note_full`] was called and no writer has been told.
    pub(crate) fn is_full(&self, ino: Ino) -> bool {
        self.writers_of(ino).lock().get(&ino).is_some_and(|writers| writers.full)
    }

    /// As [`Handles::is_full`]; from now on a writer has been told.
    pub(crate) fn take_full(&self, ino: Ino) -> bool {
        let mut writers = self.writers_of(ino).lock();
        writers.get_mut(&ino).is_some_and(|writers| std::mem::take(&mut writers.full))
    }

    /// Changes of an atomic file were lost.
    pub(crate) fn spoil(&self, ino: Ino) {
        if let Some(writers) = self.writers_of(ino).lock().get_mut(&ino) {
            writers.spoiled = true;
        }
    }

    /// Whether [`Handles::spoil`] was called since somebody opened the file for writing, or since the
    /// changes were given up.
    pub(crate) fn is_spoiled(&self, ino: Ino) -> bool {
        self.writers_of(ino).lock().get(&ino).is_some_and(|writers| writers.spoiled)
    }

    /// The changes were given up, the lost ones with the others.
    pub(crate) fn unspoil(&self, ino: Ino) {
        if let Some(writers) = self.writers_of(ino).lock().get_mut(&ino) {
            writers.spoiled = false;
        }
    }

    /// A handle's token: a number that nobody guesses.
    ///
    /// # Errors
    /// The operating system's, when it has no random numbers.
    pub(crate) fn token(&self, handle: u64, open: &OpenFile) -> std::io::Result<u64> {
        let mut tokens = self.tokens.lock();
        while open.token.load(Ordering::Relaxed) == 0 {
            let token = random()?;
            if token != 0 && !tokens.contains_key(&token) {
                tokens.insert(token, handle);
                open.token.store(token, Ordering::Relaxed);
            }
        }
        Ok(open.token.load(Ordering::Relaxed))
    }

    /// The open file that a token was given for.
    ///
    /// # Errors
    /// `EBADF` if there is none.
    pub(crate) fn with_token(&self, token: u64) -> Result<Arc<OpenFile>, Errno> {
        let handle = self.tokens.lock().get(&token).copied().ok_or(Errno::EBADF)?;
        let open = self.get(handle)?;
        if open.token.load(Ordering::Relaxed) == token { Ok(open) } else { Err(Errno::EBADF) }
    }

    fn writers_of(&self, ino: Ino) -> &Mutex<HashMap<Ino, Writers>> {
        &self.writers[ino.0 as usize % SHARDS]
    }
}

fn random() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Shard and slot of a handle.
fn place(handle: u64) -> Option<(usize, usize)> {
    let number = handle.checked_sub(1)?;
    let shard = (number % SHARDS as u64) as usize;
    Some((shard, usize::try_from(number >> SHARD_BITS).ok()?))
}
