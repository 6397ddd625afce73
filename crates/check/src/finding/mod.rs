//! What a check has to say: how bad, where, what, and what can be done.
//!
//! [`FindingKind`] names each violated invariant with its values; severity and remedy follow from
//! it and from where it was seen.

mod kind;
mod location;
mod problem;

pub use kind::FindingKind;
pub use location::Location;
pub use problem::{
    ExtentProblem, FreeExtentProblem, NameProblem, Owner, SpaceEditProblem, XattrProblem,
};

use crate::print::Escaped;
use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Unusual, but nothing is lost and nothing will go wrong by it.
    Warning,
    /// An invariant is violated: the volume must be repaired before it is written again.
    Error,
    /// Part of the volume cannot be read; what lies behind it was not checked.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        })
    }
}

/// Something a check has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub at: Location,
    /// What.
    pub kind: FindingKind,
    /// Repair removes it without guessing.
    pub repairable: bool,
    /// Inodes that it speaks of, with a path of each that has one.
    pub paths: Vec<(u64, Box<[u8]>)>,
}

impl Finding {
    /// Severity and remedy follow from kind and place.
    #[must_use]
    pub fn new(at: Location, kind: FindingKind) -> Self {
        let severity = kind.severity();
        let repairable = kind.is_repairable(at.tree);
        Self { severity, at, kind, repairable, paths: Vec::new() }
    }

    /// Inodes that it speaks of.
    pub(crate) fn inodes(&self) -> Vec<u64> {
        let owner = |owner: &Owner| match owner {
            Owner::Extent { ino, .. } => Some(*ino),
            Owner::Fixed | Owner::Node { .. } => None,
        };
        let mut inos: Vec<u64> = self.at.ino.into_iter().collect();
        match &self.kind {
            FindingKind::OwnedTwice { first, second } => {
                inos.extend([owner(first), owner(second)].into_iter().flatten());
            }
            FindingKind::NameOutsideDirectory { ino } | FindingKind::NameKindWrong { ino, .. } => {
                inos.push(*ino);
            }
            _ => {}
        }
        inos.dedup();
        inos
    }

    /// Why nothing can be corrected where this was found, if so: what is missing would be taken
    /// for what never was.
    pub(crate) fn obstacle(&self) -> Option<&'static str> {
        match &self.kind {
            FindingKind::NodeDamaged { .. }
            | FindingKind::NodeReachedTwice
            | FindingKind::KeyOutsideNode { .. }
                if !self.repairable =>
            {
                Some("a tree is damaged")
            }
            FindingKind::EntryDamaged { .. } if !self.repairable => Some("an entry is damaged"),
            FindingKind::RecordUndecodable { .. } => Some("a log record cannot be replayed"),
            FindingKind::RootMissing | FindingKind::RootNotDirectory { .. } => {
                Some("there is no root directory")
            }
            FindingKind::UnknownFeatures { .. } => Some("the volume has unknown features"),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity, self.at, self.kind)?;
        for (ino, path) in &self.paths {
            write!(f, " (inode {ino} is {})", Escaped(path))?;
        }
        match self.kind.remedy(self.repairable) {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_format::key::TreeId;

    #[test]
    fn message_says_where_what_and_what_to_do() {
        let kind = FindingKind::LinkCountWrong { recorded: 3, counted: 2 };
        let finding = Finding::new(Location::inode(12), kind);
        assert_eq!(
            finding.to_string(),
            "error: inode 12: its link count is 3, it should be 2; repair corrects it"
        );
        let kind = FindingKind::NodeDamaged { problem: "checksum".into() };
        let free = Finding::new(Location::node(TreeId::Free, 40), kind.clone());
        let names = Finding::new(Location::node(TreeId::Names, 40), kind);
        assert!(free.repairable && !names.repairable);
        assert!(names.to_string().contains("names tree node at block 40"));
    }
}
