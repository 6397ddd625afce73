//! Tests that break what they test: rules of the log are taken out of force.

mod power_cut;
