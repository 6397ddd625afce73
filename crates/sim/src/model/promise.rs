//! What the user was told, and so may expect after a cut.
//!
//! * Commits survive in order, each whole or not at all: the states in which the files may be
//!   found are the one that was acknowledged last, and those of the commits since.
//! * Each cell of an overwrite in place that was not flushed shows its old or its new value.
//! * What a recovery showed is acknowledged from then on.

use super::disk::Stamp;

/// Contents of a file, and whether it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Content {
    /// Cells up to the end.
    pub cells: Vec<Stamp>,
    /// The seal.
    pub sealed: bool,
}

/// All files.
pub type State = Vec<Content>;

/// A cell of an overwrite that is not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Soft {
    /// File.
    pub file: usize,
    /// Cell of the file.
    pub position: usize,
    /// What the last commit put there.
    pub old: Stamp,
    /// What was written over it.
    pub new: Stamp,
}

/// Everything that may be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The acknowledged state, and that of each commit since.
    pub states: Vec<State>,
    /// The state as it is read now.
    pub latest: State,
    /// Overwrites not flushed.
    pub soft: Vec<Soft>,
}

impl Promise {
    /// This state, and no other.
    #[must_use]
    pub fn of(state: State) -> Self {
        Self { states: vec![state.clone()], latest: state, soft: Vec::new() }
    }

    /// Files as a commit left them. Cells that it did not write keep what commits put there:
    /// overwrites that are not flushed stay uncertain.
    pub fn commit(&mut self, state: State) {
        let before = &self.latest;
        let base = self.states.last().unwrap_or(before);
        let mut committed = state.clone();
        for soft in &self.soft {
            let cell = |state: &State| state[soft.file].cells.get(soft.position).copied();
            if cell(&state) == cell(before)
                && let Some(old) = cell(base)
                && let Some(kept) = committed[soft.file].cells.get_mut(soft.position)
            {
                *kept = old;
            }
        }
        self.states.push(committed);
        self.latest = state;
    }

    /// A cell is overwritten in place.
    pub fn overwrite(&mut self, file: usize, position: usize, new: Stamp) {
        let committed = self.states.last().unwrap_or(&self.latest);
        let old = committed[file].cells[position];
        self.soft.push(Soft { file, position, old, new });
        self.latest[file].cells[position] = new;
    }

    /// A flush acknowledged everything.
    pub fn acknowledge(&mut self) {
        *self = Self::of(std::mem::take(&mut self.latest));
    }

    /// True when `found` is allowed.
    #[must_use]
    pub fn allows(&self, found: &State) -> bool {
        self.states.iter().any(|state| self.fits(state, found))
    }

    fn fits(&self, state: &State, found: &State) -> bool {
        state.iter().zip(found).enumerate().all(|(file, (content, seen))| {
            content.sealed == seen.sealed
                && content.cells.len() == seen.cells.len()
                && content.cells.iter().zip(&seen.cells).enumerate().all(
                    |(position, (old, new))| {
                        old == new
                            || self.soft.contains(&Soft { file, position, old: *old, new: *new })
                    },
                )
        })
    }
}
