//! Finding where a file block lives.

use crate::error::Result;
use crate::extent::{Extent, FILE_BLOCKS_MAX, MapState};
use crate::types::Ino;
use crate::volume::Volume;
use ashlar_format::key::{self, TreeId};
use std::ops::ControlFlow;

/// What the tree says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It lies in this extent.
    Extent(Extent),
    /// Nothing is allocated up to `end`.
    Hole {
        /// First block of the next extent.
        end: u64,
    },
}

impl Volume {
    /// The extent of greatest start that is not above `block`, if the file has one.
    ///
    /// # Errors
    /// A node that cannot be read, damage.
    pub(crate) fn extent_floor(&self, ino: Ino, block: u64) -> Result<Option<Extent>> {
        let block_count = self.store.block_count();
        let found = self.store.floor_with(
            TreeId::Extents,
            &key::extent(ino.0, block),
            |key, value| -> Result<Option<Extent>> {
                let (owner, start) = key::decode_extent(key)?;
                if owner != ino.0 {
                    return Ok(None);
                }
                Extent::decode(start, value, block_count).map(Some)
            },
        )?;
        found.unwrap_or(Ok(None)).map_err(|error| error.at(ino))
    }

    /// The extent of smallest start that is not below `block`, if the file has one.
    ///
    /// # Errors
    /// As [`Self::extent_floor`].
    pub(crate) fn extent_ceiling(&self, ino: Ino, block: u64) -> Result<Option<Extent>> {
        // Most questions come from behind the end of the file's last extent.
        match self.extent_floor(ino, u64::MAX)? {
            Some(last) if last.start >= block => {}
            _ => return Ok(None),
        }
        let mut found = Ok(None);
        self.scan_extents(ino, block, &mut |extent| {
            found = extent.map(Some);
            ControlFlow::Break(())
        })?;
        found
    }

    /// Visits the extents of a file that start at or behind `block`.
    ///
    /// # Errors
    /// As [`Self::extent_floor`]; damage in an extent is given to `visit`.
    pub(crate) fn scan_extents(
        &self,
        ino: Ino,
        block: u64,
        visit: &mut dyn FnMut(Result<Extent>) -> ControlFlow<()>,
    ) -> Result<()> {
        let block_count = self.store.block_count();
        self.store.scan(TreeId::Extents, &key::extent(ino.0, block), &mut |key, value| {
            let extent = match key::decode_extent(key) {
                Ok((owner, _)) if owner != ino.0 => return ControlFlow::Break(()),
                Ok((_, start)) => Extent::decode(start, value, block_count),
                Err(corruption) => Err(corruption.into()),
            };
            visit(extent.map_err(|error| error.at(ino)))
        })?;
        Ok(())
    }

    /// Where `block` lives by the tree. `map` is the file's, locked.
    ///
    /// # Errors
    /// As [`Self::extent_floor`].
    pub(crate) fn find_block(&self, ino: Ino, map: &mut MapState, block: u64) -> Result<Found> {
        if let Some(recent) = map.recent
            && (recent.start..recent.end()).contains(&block)
        {
            return Ok(Found::Extent(recent));
        }
        match self.extent_floor(ino, block)? {
            Some(extent) if block < extent.end() => {
                map.recent = Some(extent);
                Ok(Found::Extent(extent))
            }
            _ => {
                let next = self.extent_ceiling(ino, block)?;
                Ok(Found::Hole { end: next.map_or(FILE_BLOCKS_MAX, |extent| extent.start) })
            }
        }
    }
}
