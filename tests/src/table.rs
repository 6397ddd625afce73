//! The conformance table: rows of system calls that must come out on Ashlar as on kernel XFS.
//!
//! A row is accepted to differ only with a reason, and then it must differ: a reason that no
//! longer applies fails the test, so that the list of differences stays true.
//!
//! | environment | effect |
//! |---|---|
//! | `ASHLAR_POSIX=xfs` | plays on XFS only and prints every record |
//! | `ASHLAR_POSIX_ROW=text` | plays only the rows whose name holds `text` |

use crate::mounts::{Ashlar, Xfs};
use crate::stage::Stage;
use crate::sys;
use std::path::Path;

/// A row's play.
pub type Play = Box<dyn Fn(&Stage) + Send + Sync>;

struct Row {
    name: String,
    differs: Option<&'static str>,
    play: Play,
}

/// Rows of one section.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row; `differs` is the reason why its records may not agree.
    pub fn row(&mut self, name: impl Into<String>, differs: Option<&'static str>, play: Play) {
        let name = name.into();
        assert!(self.rows.iter().all(|row| row.name != name), "two rows called {name}");
        self.rows.push(Row { name, differs, play });
    }

    /// Plays every row on both file systems and compares the records.
    ///
    /// # Panics
    /// When records disagree; the message shows both, side by side.
    pub fn check(&self, section: &str) {
        let only_xfs = std::env::var("ASHLAR_POSIX").is_ok_and(|value| value == "xfs");
        let wanted = std::env::var("ASHLAR_POSIX_ROW").unwrap_or_default();
        let xfs = Xfs::create(section);
        let ashlar = (!only_xfs).then(|| Ashlar::create(section));
        let mut failures = Vec::new();
        let mut played = 0;
        for row in self.rows.iter().filter(|row| row.name.contains(&wanted)) {
            let expected = play(row, xfs.path());
            played += 1;
            let Some(ashlar) = &ashlar else {
                println!("{}\n    {}", row.name, expected.join("\n    "));
                continue;
            };
            let seen = play(row, ashlar.path());
            match row.differs {
                None if expected != seen => failures.push(compare(row, &expected, &seen)),
                Some(reason) if expected == seen => {
                    failures.push(format!("{}: no longer differs; drop: {reason}\n", row.name));
                }
                _ => {}
            }
        }
        println!("{section}: {played} rows");
        let count = failures.len();
        assert!(count == 0, "{count} of {played} rows differ\n{}", failures.join("\n"));
    }
}

/// Plays one row in a fresh directory, on a thread with its own working directory and umask.
fn play(row: &Row, mount: &Path) -> Vec<String> {
    let folder: String =
        row.name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    let root = mount.join(folder);
    std::fs::create_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    std::thread::scope(|scope| {
        let actor = scope.spawn(|| {
            sys::own_fs_state().expect("a thread may have its own working directory");
            let stage = Stage::enter(&root);
            stage.umask(0o022);
            (row.play)(&stage);
            stage.into_record()
        });
        actor.join().unwrap_or_else(|_| vec!["the row panicked".into()])
    })
}

fn compare(row: &Row, expected: &[String], seen: &[String]) -> String {
    use std::fmt::Write;
    let mut text = format!("{}\n", row.name);
    for at in 0..expected.len().max(seen.len()) {
        let line = |record: &[String]| record.get(at).cloned().unwrap_or_default();
        let (want, have) = (line(expected), line(seen));
        // Writing to a string cannot fail.
        let _ = if want == have {
            writeln!(text, "      {want}")
        } else {
            writeln!(text, "  xfs {want}\n  ash {have}")
        };
    }
    text
}

/// Rows of a table: name, an optional reason to differ, and statements on the stage.
#[macro_export]
macro_rules! rows {
    ($table:ident, $stage:ident, $($name:literal $(differs $why:literal)? { $($body:tt)* })*) => {
        $($table.row(
            $name,
            None$(.or(Some($why)))?,
            Box::new(|$stage: &$crate::stage::Stage| { $($body)*; }),
        );)*
    };
}
