//! The passes of a check, in order. Each reads every tree that it needs once, front to back.
//!
//! | pass | reads | finds out |
//! |---|---|---|
//! | [`nodes`] | inner nodes of all trees | structure; which blocks nodes own |
//! | [`inodes`] | inodes, extents, xattrs, orphans, refs | records; which blocks files own |
//! | [`names`] | names | links, entries, parents |
//! | [`counts`] | nothing | compares what records say with what was counted |
//! | [`space`] | free | every block is owned once or free |
//! | [`owners`] | inner nodes, extents; only after a conflict | who owns a block twice |

pub(crate) mod counts;
pub(crate) mod extents;
pub(crate) mod inodes;
pub(crate) mod names;
pub(crate) mod nodes;
pub(crate) mod owners;
pub(crate) mod space;
pub(crate) mod xattrs;
