//! Name records: values of the names tree.
//!
//! ```text
//! OFFSET  SIZE  FIELD
//!      0     8  ino
//!      8     1  kind    as in the file type bits of a mode, shifted down by 12
//! ```

use crate::inode::FileKind;
use crate::{Corruption, Result};

/// Bytes of a name record.
pub const RECORD_BYTES: usize = 9;

/// What a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameRecord {
    /// Inode number.
    pub ino: u64,
    /// Kind of that inode, so that reading a directory needs no inode.
    pub kind: FileKind,
}

impl NameRecord {
    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.ino.to_le_bytes());
        bytes[8] = self.kind.code();
        bytes
    }

    /// Decodes a value of the names tree.
    ///
    /// # Errors
    /// [`Corruption`] when the length or the kind is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = |problem: String| Corruption::new("name record", 0, problem);
        let bytes: &[u8; RECORD_BYTES] =
            bytes.try_into().map_err(|_| bad(format!("{} bytes long", bytes.len())))?;
        let [ino @ .., kind] = bytes;
        let kind =
            FileKind::from_code(*kind).ok_or_else(|| bad(format!("unknown file kind {kind}")))?;
        Ok(Self { ino: u64::from_le_bytes(*ino), kind })
    }
}
