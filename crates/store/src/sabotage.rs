//! Rules that a test may break, to see that the power-cut sweep finds it out.
//!
//! Called where the rules are kept. Outside of this crate's own tests [`kept`] is the constant
//! `true`, and nothing of this is left in the program. Numbers and reasons: `docs/CRASH.md`.

/// A rule of `docs/CRASH.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    ProofOverwrite,
    ProofReuse,
    Conditional,
    RecoveryProof,
    Sums,
    HomeCheckpoint,
    RevokeHome,
    FreeRevokes,
    Whole,
}

/// True, except in a test that breaks the rule.
#[cfg(not(test))]
pub(crate) const fn kept(_rule: Rule) -> bool {
    true
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(crate) fn kept(rule: Rule) -> bool {
    BROKEN.get() != Some(rule)
}

/// Breaks a rule on this thread from now on, or keeps all.
#[cfg(test)]
pub(crate) fn breaking(rule: Option<Rule>) {
    BROKEN.set(rule);
}
