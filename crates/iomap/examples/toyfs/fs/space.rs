//! Which blocks of the volume are in use.

use iomap::{Error, ErrorKind, Result};

use super::{BLOCK, ToyFs};

/// Which blocks are in use, how often; how many more are promised.
#[derive(Debug)]
pub(super) struct Space {
    references: Vec<u32>,
    used: u64,
    promised: u64,
    cursor: usize,
}

impl Space {
    pub(super) fn new(blocks: usize) -> Self {
        Self { references: vec![0; blocks], used: 0, promised: 0, cursor: 0 }
    }
}

impl ToyFs {
    pub(crate) fn used_blocks(&self) -> u64 {
        self.space.lock().used
    }

    pub(crate) fn promised_blocks(&self) -> u64 {
        self.space.lock().promised
    }

    /// One more file uses the block.
    pub(super) fn share(&self, addr: u64) {
        self.space.lock().references[(addr / BLOCK) as usize] += 1;
    }

    pub(super) fn is_shared(&self, addr: u64) -> bool {
        self.space.lock().references[(addr / BLOCK) as usize] > 1
    }

    pub(super) fn promise(&self) -> Result<()> {
        let mut space = self.space.lock();
        if space.used + space.promised >= space.references.len() as u64 {
            return Err(Error::new("toyfs", ErrorKind::NoSpace));
        }
        space.promised += 1;
        Ok(())
    }

    pub(super) fn unpromise(&self) {
        self.space.lock().promised -= 1;
    }

    /// Takes a block, for which a promise was made before.
    pub(super) fn allocate(&self) -> u64 {
        let mut space = self.space.lock();
        space.promised -= 1;
        let count = space.references.len();
        while space.references[space.cursor] != 0 {
            space.cursor = (space.cursor + 1) % count;
        }
        let block = space.cursor;
        space.references[block] = 1;
        space.used += 1;
        block as u64 * BLOCK
    }

    pub(super) fn free(&self, addr: u64) {
        let mut space = self.space.lock();
        let count = &mut space.references[(addr / BLOCK) as usize];
        *count -= 1;
        if *count == 0 {
            space.used -= 1;
        }
    }
}
