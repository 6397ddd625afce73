//! Whole-system tests: what they share.
//!
//! | module | what lives there |
//! |---|---|
//! | [`sys`] | raw system calls (the only unsafe code) |
//! | [`mounts`] | Ashlar, served by the `ashlar` command; XFS and ext4 on loop devices |
//! | [`stage`] | a directory in which calls are made and recorded |
//! | [`table`] | the conformance table: rows played on both |
//! | [`programs`] | running real programs, with their output kept for the failure |

pub mod mounts;
pub mod programs;
pub mod stage;
pub mod sys;
pub mod table;
