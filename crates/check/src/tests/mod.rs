//! Tests of the whole check over volumes built by [`image`].
//!
//! | module | what it shows |
//! |---|---|
//! | [`clean`] | sound volumes are sound, whatever is in the log |
//! | [`plant`] | each kind of finding is found where it was planted, and repaired if it can be |
//! | [`random`] | flipped bytes end in findings, never in a panic or a hang |
//! | [`repair`] | what repair writes, and what a cut in its middle leaves |
//! | [`unreadable`] | what a failing device leaves to be said |
//! | [`dump`] | text of every object |

mod clean;
mod dump;
pub(crate) mod image;
mod plant;
mod random;
mod repair;
mod unreadable;

use crate::{CheckOptions, Finding, Report, Result, check};
use ashlar_device::Device;

/// Findings and report of a check.
fn run(device: &dyn Device, repair: bool) -> Result<(Vec<Finding>, Report)> {
    let mut findings = Vec::new();
    let mut keep = |finding: &Finding| findings.push(finding.clone());
    let mut progress = |_| {};
    let options = CheckOptions { repair, on_finding: &mut keep, on_progress: &mut progress };
    let report = check(device, options)?;
    Ok((findings, report))
}

/// Findings as text, for messages of assertions.
fn text(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}
