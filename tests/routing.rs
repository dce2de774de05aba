//! Routing against oracles: shortest paths, the cheapest trees, and the rule that
//! nothing but its inputs decides a tree.
//!
//! `TREECAST_HISTORIES` is the number of random histories of S41: 300 unless set.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

#[path = "routing/changes.rs"]
mod changes;
#[path = "routing/common.rs"]
mod common;
#[path = "routing/paths.rs"]
mod paths;
#[path = "routing/quality.rs"]
mod quality;
#[path = "routing/trees.rs"]
mod trees;
