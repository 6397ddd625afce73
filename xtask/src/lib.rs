//! Project tasks as a library, so that tests run the same code as `cargo xtask`.
//!
//! | module | what lives there |
//! |---|---|
//! | [`tidy`] | the house rules, checked |
//! | [`format_docs`] | tables of `docs/FORMAT.md` from the doc comments of `crates/format` |
//! | [`commands`] | test, sim, soak, bench: what is run and how |
//! | [`packages`] | Debian packages that the tests need |
//! | [`source`] | Rust source with comments and strings blanked out |
//! | [`workspace`] | the files of the repository |

pub mod commands;
pub mod format_docs;
pub mod packages;
pub mod source;
pub mod tidy;
pub mod workspace;
