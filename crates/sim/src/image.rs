//! The bytes of a device in 4 KiB pieces, copied on write and layered, with a running digest.
//!
//! Thousands of crash states share one durable image: each is a thin layer over it. Two images hold
//! the same bytes exactly when their digests agree (128 bits; collisions are not a concern), and
//! the digest costs two sector hashes for each sector written.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Bytes of a piece.
pub const PIECE_BYTES: usize = 4096;

/// The unit that a power cut cannot tear, and the grain of the digest.
pub const SECTOR: usize = 512;

type Piece = Arc<[u8; PIECE_BYTES]>;

/// What a device holds. Bytes never written read as zeroes.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// What shows through where this layer has no piece.
    under: Option<Arc<Image>>,
    pieces: HashMap<u64, Piece>,
    /// Exclusive or of all sectors' digests, those of the layers below included.
    digest: u128,
}

impl Image {
    /// An empty layer over `under`.
    #[must_use]
    pub fn over(under: Arc<Image>) -> Self {
        let digest = under.digest;
        Self { under: Some(under), pieces: HashMap::new(), digest }
    }

    /// Fills `buf` from `addr`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) {
        for_each_piece(addr, buf.len(), |number, inside, range| match self.piece(number) {
            Some(piece) => buf[range.clone()].copy_from_slice(&piece[inside..inside + range.len()]),
            None => buf[range].fill(0),
        });
    }

    /// Puts `bytes` at `addr`; both in whole sectors.
    ///
    /// # Panics
    /// A sector is cut.
    pub fn write(&mut self, addr: u64, bytes: &[u8]) {
        assert_whole_sectors(addr, bytes.len() as u64);
        for_each_piece(addr, bytes.len(), |number, inside, range| {
            self.change(number, inside, &bytes[range]);
        });
    }

    /// Sets `length` bytes from `addr` on to `byte`; both in whole sectors.
    ///
    /// # Panics
    /// A sector is cut.
    pub fn fill(&mut self, addr: u64, length: u64, byte: u8) {
        assert_whole_sectors(addr, length);
        let bytes = [byte; PIECE_BYTES];
        for_each_piece(addr, length as usize, |number, inside, range| {
            // Large sparse ranges stay sparse.
            if byte != 0 || self.piece(number).is_some() {
                self.change(number, inside, &bytes[..range.len()]);
            }
        });
    }

    /// Stands for the contents: equal for equal bytes, whatever the layers and the order of writes.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest
    }

    fn piece(&self, number: u64) -> Option<&[u8; PIECE_BYTES]> {
        let mut layer = self;
        loop {
            if let Some(piece) = layer.pieces.get(&number) {
                return Some(piece);
            }
            layer = layer.under.as_deref()?;
        }
    }

    /// Puts one sector whose effect on the digest is known already.
    pub(crate) fn put_sector(&mut self, addr: u64, bytes: &[u8; SECTOR], change: u128) {
        let inside = (addr % PIECE_BYTES as u64) as usize;
        self.piece_mut(addr / PIECE_BYTES as u64)[inside..inside + SECTOR].copy_from_slice(bytes);
        self.digest ^= change;
    }

    /// Replaces bytes of one piece, from `inside` on.
    fn change(&mut self, number: u64, inside: usize, bytes: &[u8]) {
        let addr = number * PIECE_BYTES as u64 + inside as u64;
        let old = &mut self.piece_mut(number)[inside..inside + bytes.len()];
        let change = digest_at(addr, old) ^ digest_at(addr, bytes);
        old.copy_from_slice(bytes);
        self.digest ^= change;
    }

    /// This layer's own copy of a piece.
    fn piece_mut(&mut self, number: u64) -> &mut [u8; PIECE_BYTES] {
        let Self { under, pieces, .. } = self;
        let below = || {
            let piece = under.as_deref().and_then(|image| image.piece(number));
            Arc::new(piece.copied().unwrap_or([0; PIECE_BYTES]))
        };
        Arc::make_mut(pieces.entry(number).or_insert_with(below))
    }
}

/// What `bytes` at `addr` contribute to an image's digest. Zeroes contribute nothing, so that
/// written zeroes equal bytes never written.
#[must_use]
pub(crate) fn digest_at(addr: u64, bytes: &[u8]) -> u128 {
    (addr..)
        .step_by(SECTOR)
        .zip(bytes.chunks(SECTOR))
        .filter(|(_, sector)| **sector != [0; SECTOR])
        .fold(0, |digest, (addr, sector)| digest ^ xxh3_128_with_seed(sector, addr))
}

fn assert_whole_sectors(addr: u64, length: u64) {
    let sector = SECTOR as u64;
    assert!(addr.is_multiple_of(sector) && length.is_multiple_of(sector), "{length} at {addr}");
}

fn for_each_piece(addr: u64, length: usize, mut act: impl FnMut(u64, usize, Range<usize>)) {
    let mut done = 0;
    while done < length {
        let at = addr + done as u64;
        let inside = (at % PIECE_BYTES as u64) as usize;
        let part = (PIECE_BYTES - inside).min(length - done);
        act(at / PIECE_BYTES as u64, inside, done..done + part);
        done += part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(image: &Image, addr: u64, length: usize) -> Vec<u8> {
        let mut buf = vec![0; length];
        image.read(addr, &mut buf);
        buf
    }

    #[test]
    fn copies_do_not_see_later_writes() {
        let mut image = Image::default();
        image.write(3584, &[1; 5120]);
        let copy = image.clone();
        image.write(4096, &[2; 512]);
        assert_eq!(bytes(&copy, 4090, 20), [1; 20]);
        assert_eq!(bytes(&image, 4096, 20), [2; 20]);
        assert_eq!(bytes(&copy, 9000, 20), [0; 20]);
    }

    #[test]
    fn layer_shows_what_is_below_and_does_not_change_it() {
        let mut image = Image::default();
        image.write(0, &[1; 4096]);
        let below = Arc::new(image);
        let mut layer = Image::over(Arc::clone(&below));
        assert_eq!(layer.digest(), below.digest());
        layer.write(512, &[2; 512]);
        layer.fill(8192, 512, 3);
        assert_eq!(bytes(&layer, 0, 2048)[500..524], [[1; 12], [2; 12]].concat());
        assert_eq!(bytes(&layer, 8192, 1024), [[3; 512], [0; 512]].concat());
        assert_eq!(bytes(&below, 0, 4096), [1; 4096]);
        assert_eq!(bytes(&below, 8192, 512), [0; 512]);
    }

    #[test]
    fn digest_follows_bytes_not_history() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut image = Image::default();
        for round in 0..300 {
            let addr = 512 * random.u64(..64);
            let length = 512 * random.usize(..24);
            let byte = random.u8(..3);
            if random.bool() {
                image.write(addr, &vec![byte; length]);
            } else {
                image.fill(addr, length as u64, byte);
            }
            if round % 50 == 0 {
                image = Image::over(Arc::new(image));
            }
            let mut again = Image::default();
            again.write(0, &bytes(&image, 0, 1 << 16));
            assert_eq!(image.digest(), again.digest());
        }
        image.fill(0, 1 << 16, 0);
        assert_eq!(image.digest(), Image::default().digest());
    }

    #[test]
    fn same_bytes_elsewhere_have_another_digest() {
        let (mut one, mut two) = (Image::default(), Image::default());
        one.write(0, &[1; 512]);
        two.write(512, &[1; 512]);
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn zeroes_over_nothing_take_no_memory() {
        let mut image = Image::default();
        image.fill(0, 1 << 32, 0);
        assert!(image.pieces.is_empty());
    }
}
