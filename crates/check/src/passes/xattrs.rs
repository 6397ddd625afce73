//! The pieces of one attribute.

use crate::finding::XattrProblem;
use ashlar_format::limits::{XATTR_NAME_BYTES_MAX, XATTR_PIECE_BYTES, XATTR_VALUE_BYTES_MAX};

/// Pieces of an attribute seen so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) ino: u64,
    pub(crate) name: Box<[u8]>,
    pieces: u16,
    bytes: u64,
    last_bytes: usize,
    /// A problem was reported: one is enough.
    is_wrong: bool,
}

impl Attribute {
    /// An attribute without pieces yet.
    pub(crate) fn new(ino: u64, name: &[u8]) -> Self {
        let name = name.into();
        Self { ino, name, pieces: 0, bytes: 0, last_bytes: XATTR_PIECE_BYTES, is_wrong: false }
    }

    /// True when a piece with this key belongs to it.
    pub(crate) fn is(&self, ino: u64, name: &[u8]) -> bool {
        self.ino == ino && *self.name == *name
    }

    /// Adds the next piece; returns the attribute's first problem.
    pub(crate) fn add(&mut self, piece: u16, bytes: usize) -> Option<XattrProblem> {
        let expected = self.pieces;
        let before = self.last_bytes;
        self.bytes += bytes as u64;
        self.pieces = piece.saturating_add(1);
        self.last_bytes = bytes;
        let problem = if self.name.len() > XATTR_NAME_BYTES_MAX {
            Some(XattrProblem::NameTooLong { bytes: self.name.len() as u64 })
        } else if piece != expected {
            Some(XattrProblem::Gap { piece, expected })
        } else if bytes > XATTR_PIECE_BYTES {
            Some(XattrProblem::PieceLength { piece, bytes: bytes as u64 })
        } else if before != XATTR_PIECE_BYTES {
            // Only the last piece may be short, and `piece` stands behind it.
            Some(XattrProblem::PieceLength { piece: expected - 1, bytes: before as u64 })
        } else if self.bytes > XATTR_VALUE_BYTES_MAX as u64 {
            Some(XattrProblem::TooLong { bytes: self.bytes })
        } else {
            None
        };
        let is_first = problem.is_some() && !self.is_wrong;
        self.is_wrong |= problem.is_some();
        problem.filter(|_| is_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_problem(name: &[u8], pieces: &[(u16, usize)]) -> Option<XattrProblem> {
        let mut attribute = Attribute::new(3, name);
        pieces.iter().find_map(|(piece, bytes)| attribute.add(*piece, *bytes))
    }

    #[test]
    fn whole_values_are_accepted() {
        assert_eq!(first_problem(b"user.a", &[(0, 0)]), None);
        assert_eq!(first_problem(b"user.a", &[(0, 4096), (1, 4096), (2, 7)]), None);
        let most: Vec<_> = (0..16).map(|piece| (piece, 4096)).collect();
        assert_eq!(first_problem(&[b'x'; 255], &most), None);
    }

    #[test]
    fn each_defect_is_named() {
        let gap = |piece, expected| Some(XattrProblem::Gap { piece, expected });
        assert_eq!(first_problem(b"a", &[(1, 5)]), gap(1, 0));
        assert_eq!(first_problem(b"a", &[(0, 4096), (2, 5)]), gap(2, 1));
        let length = |piece, bytes| Some(XattrProblem::PieceLength { piece, bytes });
        assert_eq!(first_problem(b"a", &[(0, 4095), (1, 5)]), length(0, 4095));
        assert_eq!(first_problem(b"a", &[(0, 4097)]), length(0, 4097));
        let mut long: Vec<_> = (0..16).map(|piece| (piece, 4096)).collect();
        long.push((16, 1));
        assert_eq!(first_problem(b"a", &long), Some(XattrProblem::TooLong { bytes: 65537 }));
        let name = first_problem(&[b'x'; 256], &[(0, 1)]);
        assert_eq!(name, Some(XattrProblem::NameTooLong { bytes: 256 }));
    }
}
