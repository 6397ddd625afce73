//! The bytes of a device in 4 KiB pieces that images share until one of them changes a piece.

use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of a piece.
pub const PIECE_BYTES: usize = 4096;

type Piece = Arc<[u8; PIECE_BYTES]>;

/// What a device holds. Pieces never written read as zeros.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pieces: HashMap<u64, Piece>,
}

impl Image {
    /// Fills `buf` from `addr`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) {
        for_each_piece(addr, buf.len(), |number, inside, range| match self.pieces.get(&number) {
            Some(piece) => buf[range.clone()].copy_from_slice(&piece[inside..inside + range.len()]),
            None => buf[range].fill(0),
        });
    }

    /// Puts `bytes` at `addr`.
    pub fn write(&mut self, addr: u64, bytes: &[u8]) {
        for_each_piece(addr, bytes.len(), |number, inside, range| {
            let piece = self.pieces.entry(number).or_insert_with(|| Arc::new([0; PIECE_BYTES]));
            let length = range.len();
            Arc::make_mut(piece)[inside..inside + length].copy_from_slice(&bytes[range]);
        });
    }
}

fn for_each_piece(
    addr: u64,
    length: usize,
    mut act: impl FnMut(u64, usize, std::ops::Range<usize>),
) {
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

    #[test]
    fn copies_do_not_see_later_writes() {
        let mut image = Image::default();
        image.write(4000, &[1; 5000]);
        let copy = image.clone();
        image.write(4090, &[2; 20]);
        let mut buf = [0; 20];
        copy.read(4090, &mut buf);
        assert_eq!(buf, [1; 20]);
        image.read(4090, &mut buf);
        assert_eq!(buf, [2; 20]);
        copy.read(9000, &mut buf);
        assert_eq!(buf, [0; 20]);
    }
}
