//! `cargo xtask`: the project's commands, one subcommand each.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use xtask::{commands, format_docs, packages, tidy, workspace};

/// Project tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Checks the house rules: layers, lengths, links, waypoints, words, tables of the format.
    Tidy,
    /// Compares docs/FORMAT.md with the tables in crates/format.
    FormatDocs {
        /// Rewrites the tables in docs/FORMAT.md instead.
        #[arg(long)]
        write: bool,
    },
    /// Installs the Debian packages that the tests need, if they are not there.
    Setup,
    /// Runs all tests, after `setup`; arguments go to the test runner.
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Runs power-cut simulations; arguments go to the simulator.
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Runs the long forms of the whole-system tests on a release build.
    Soak {
        /// Bounds what repeats itself, for each part.
        #[arg(long)]
        minutes: Option<u64>,
        /// fsx kill stress pjdfstest foreign-fsx tree fio sqlite postgresql git cargo shells;
        /// all of them if none is named.
        parts: Vec<String>,
    },
    /// Runs benchmarks beside their peers; arguments go to the benchmark program.
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

fn main() -> ExitCode {
    let root = workspace::root();
    let outcome = match Args::parse().task {
        Task::Tidy => report(&tidy::run(&root)),
        Task::FormatDocs { write: true } => format_docs::write(&root),
        Task::FormatDocs { write: false } => report(&format_docs::check(&root)),
        Task::Setup => packages::install(),
        Task::Test { rest } => packages::install().and_then(|()| commands::test(&root, &rest)),
        Task::Sim { rest } => commands::sim(&root, &rest),
        Task::Soak { minutes, parts } => {
            packages::install().and_then(|()| commands::soak(&root, minutes, &parts))
        }
        Task::Bench { rest } => packages::install().and_then(|()| commands::bench(&root, &rest)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn report(findings: &[tidy::Finding]) -> Result<(), String> {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(format!("tidy: {count} findings")),
    }
}
