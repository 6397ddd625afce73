//! Goal: the calls of POSIX and Linux come out on Ashlar as on kernel XFS.
//!
//! Method: a table of short plays. Each is played in a fresh directory on XFS (the oracle) and on
//! an Ashlar mount; every call's outcome and what can be observed afterwards are recorded, and
//! the records must agree. Accepted differences carry their reason in the row.
//!
//! One section is one test, and one file system of each kind.

// A row is a list of calls; semicolons and short functions would not make the table clearer.
#![allow(clippy::semicolon_if_nothing_returned, clippy::too_many_lines)]

mod attributes;
mod data;
mod handles;
mod locks;
mod names;
mod open;
mod permissions;
mod rename;
mod space;
mod times;
mod xattrs;

use ashlar_tests::table::Table;

/// Plays the rows that `fill` adds.
fn section(name: &str, fill: fn(&mut Table)) {
    let mut table = Table::default();
    fill(&mut table);
    table.check(name);
}

#[test]
fn open_and_create() {
    section("open", open::rows);
}

#[test]
fn names_links_and_directories() {
    section("names", names::rows);
}

#[test]
fn rename_matrix() {
    section("rename", rename::rows);
}

#[test]
fn reading_writing_and_mapping() {
    section("data", data::rows);
}

#[test]
fn holes_truncation_and_allocation() {
    section("space", space::rows);
}

#[test]
fn owners_modes_and_flags() {
    section("attributes", attributes::rows);
}

#[test]
fn permissions_of_other_users() {
    section("permissions", permissions::rows);
}

#[test]
fn timestamps() {
    section("times", times::rows);
}

#[test]
fn extended_attributes_and_acls() {
    section("xattrs", xattrs::rows);
}

#[test]
fn locks_of_files() {
    section("locks", locks::rows);
}

#[test]
fn handles_and_unlinked_files() {
    section("handles", handles::rows);
}
