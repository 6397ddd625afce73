//! Goal: the rules of the commit protocol are enough, and each is needed.
//! Method: every program of a few steps, cut at every moment in every way, with all rules in force;
//! then with one of them left out, which must be found out. Long random programs do the same where
//! exhaustion ends.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use ashlar_sim::model::explore::{explore, wander};
use ashlar_sim::model::programs::{all, without};
use ashlar_sim::model::{Rule, Rules};

fn explore_all(steps: usize) {
    for program in all(Rules::ALL) {
        match explore(&program.start, &program.bounds(steps)) {
            Ok(report) => {
                println!("{}, {steps} steps: {report:?}", program.name);
                assert!(!report.stopped, "{}: not everything was explored", program.name);
            }
            Err(found) => panic!("{}: {found}", program.name),
        }
    }
}

#[test]
fn rules_are_enough_for_every_program_of_three_steps() {
    explore_all(3);
}

/// The long form: `cargo test -p ashlar-sim --profile sweep --test model -- --ignored`.
#[test]
#[ignore = "minutes; run by command"]
fn rules_are_enough_for_every_program_of_four_steps() {
    explore_all(4);
}

#[test]
fn rules_are_enough_for_long_programs() {
    for program in all(Rules::ALL) {
        for seed in 0..1500 {
            if let Err(found) = wander(&program.start, &program.ops, seed, 60) {
                panic!("{}, seed {seed}: {found}", program.name);
            }
        }
    }
}

#[test]
fn every_rule_is_needed() {
    for rule in Rule::ALL {
        let (program, steps) = without(rule);
        match explore(&program.start, &program.bounds(steps)) {
            Ok(report) => panic!("{rule:?} is not missed within {steps} steps: {report:?}"),
            Err(found) => println!("without {rule:?}: {found}"),
        }
    }
}
