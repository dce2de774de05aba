//! What can be told of a network from its file alone, before any relay runs: the
//! trees of its groups, pictures of them, what a change would move, and how good
//! the trees are.
//!
//! Pure: files are read and written by the caller. The trees are those that the
//! relays will compute, since it is the same code on the same inputs; only the
//! members of a group, which come and go with subscriptions, are the caller's guess.
//!
//! | module | what it holds |
//! |---|---|
//! | [`forest`] | the trees of groups over all islands of a map |
//! | [`bound`] | what a tree costs at the least |
//! | [`differences`] | how two files differ, line by line |
//! | [`plan`] | what changes from one file to another, and when a relay dies |
//! | [`report`] | the trees of a network against bounds and direct paths |
//! | [`picture`] | what a drawing shows, whatever its form |
//! | [`layout`] | where relays stand on a drawing |
//! | [`labels`] | where its texts stand, so that none covers another |
//! | [`svg`], [`dot`], [`text`] | the forms of a drawing |

mod apart;
pub mod bound;
pub mod differences;
pub mod dot;
pub mod forest;
pub mod labels;
pub mod layout;
pub mod picture;
pub mod plan;
mod plane;
pub mod report;
mod stress;
pub mod svg;
pub mod text;
