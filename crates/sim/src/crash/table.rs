//! The sectors that pending writes cover, and what each of them may hold.

use std::sync::Arc;

use crate::history::Pending;
use crate::image::{Image, SECTOR, digest_at};

/// What a sector holds: 0 for the durable bytes, else one more than the index of a pending write.
pub(super) type Winner = u32;

/// For each sector of the table its winner.
pub(super) type Choice = Vec<Winner>;

/// All sectors that may differ from the durable image.
#[derive(Debug)]
pub(super) struct Table {
    /// Their addresses, ascending.
    sectors: Vec<u64>,
    /// Digests of the durable bytes.
    durable: Vec<u128>,
    /// One row for each pending write, in the order of issue.
    rows: Vec<Row>,
}

/// A pending write. Its sectors are consecutive in the table, since the table holds all of them.
#[derive(Debug)]
struct Row {
    first: usize,
    /// For each of its sectors the digest, where a cut may leave it.
    digests: Vec<Option<u128>>,
}

impl Table {
    pub(super) fn new(durable: &Image, pending: &[Pending]) -> Self {
        let sectors_of =
            |write: &Pending| (write.addr..write.addr + write.payload.length()).step_by(SECTOR);
        let mut sectors: Vec<_> = pending.iter().flat_map(sectors_of).collect();
        sectors.sort_unstable();
        sectors.dedup();
        let mut buf = [0; SECTOR];
        let durable = sectors
            .iter()
            .map(|addr| {
                durable.read(*addr, &mut buf);
                digest_at(*addr, &buf)
            })
            .collect();
        let rows = pending
            .iter()
            .map(|write| Row {
                first: sectors.partition_point(|addr| *addr < write.addr),
                digests: sectors_of(write)
                    .enumerate()
                    .map(|(number, addr)| {
                        write.payload.copy_to(number * SECTOR, &mut buf);
                        write.may_be_found(number).then(|| digest_at(addr, &buf))
                    })
                    .collect(),
            })
            .collect();
        Self { sectors, durable, rows }
    }

    /// Pending writes.
    pub(super) fn writes(&self) -> usize {
        self.rows.len()
    }

    /// Sectors of one pending write.
    pub(super) fn write_sectors(&self, write: usize) -> usize {
        self.rows[write].digests.len()
    }

    /// The choice that leaves all durable bytes.
    pub(super) fn nothing(&self) -> Choice {
        vec![0; self.sectors.len()]
    }

    /// Puts those sectors of `write` into `choice` for which `keep` is true.
    pub(super) fn put(
        &self,
        choice: &mut Choice,
        write: usize,
        mut keep: impl FnMut(usize) -> bool,
    ) {
        let row = &self.rows[write];
        for (number, digest) in row.digests.iter().enumerate() {
            if digest.is_some() && keep(number) {
                choice[row.first + number] = write as Winner + 1;
            }
        }
    }

    /// For each sector the winners that differ in their bytes.
    pub(super) fn options(&self) -> Vec<Vec<Winner>> {
        let mut options: Vec<Vec<Winner>> = vec![vec![0]; self.sectors.len()];
        for (write, row) in self.rows.iter().enumerate() {
            for (number, digest) in row.digests.iter().enumerate() {
                let sector = row.first + number;
                let known = |winner: &Winner| self.digest(sector, *winner) == *digest;
                if digest.is_some() && !options[sector].iter().any(known) {
                    options[sector].push(write as Winner + 1);
                }
            }
        }
        options
    }

    /// What the choice changes in the digest of the durable image.
    pub(super) fn difference(&self, choice: &Choice) -> u128 {
        choice.iter().enumerate().filter(|(_, winner)| **winner != 0).fold(
            0,
            |difference, (sector, winner)| {
                difference ^ self.durable[sector] ^ self.digest(sector, *winner).unwrap_or(0)
            },
        )
    }

    /// The image that the choice leaves.
    pub(super) fn image(
        &self,
        choice: &Choice,
        durable: &Arc<Image>,
        pending: &[Pending],
    ) -> Image {
        let mut image = Image::over(Arc::clone(durable));
        let mut buf = [0; SECTOR];
        for (sector, winner) in choice.iter().enumerate() {
            if *winner == 0 {
                continue;
            }
            let change = self.durable[sector] ^ self.digest(sector, *winner).unwrap_or(0);
            if change != 0 {
                let write = *winner as usize - 1;
                let number = sector - self.rows[write].first;
                pending[write].payload.copy_to(number * SECTOR, &mut buf);
                image.put_sector(self.sectors[sector], &buf, change);
            }
        }
        image
    }

    /// For each pending write its event, and how many of its sectors the choice leaves.
    pub(super) fn summary(
        &self,
        choice: &Choice,
        pending: &[Pending],
    ) -> Vec<(usize, usize, usize)> {
        let mut found = vec![0; self.rows.len()];
        for winner in choice.iter().filter(|winner| **winner != 0) {
            found[*winner as usize - 1] += 1;
        }
        let sectors = self.rows.iter().map(|row| row.digests.len());
        let events = pending.iter().map(|write| write.event);
        events.zip(found).zip(sectors).map(|((event, found), all)| (event, found, all)).collect()
    }

    fn digest(&self, sector: usize, winner: Winner) -> Option<u128> {
        match winner.checked_sub(1) {
            None => Some(self.durable[sector]),
            Some(write) => {
                let row = &self.rows[write as usize];
                row.digests[sector - row.first]
            }
        }
    }
}
