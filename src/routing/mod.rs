//! Where messages go: the map of the network, shortest paths over it, and the
//! multicast tree of every group. Pure functions of what relays advertise.
//!
//! Every relay computes every tree for itself, so equal inputs must give equal
//! trees: costs are integers, every tie is broken by a total order, nothing
//! depends on the order in which things were learned, and no tree depends on
//! the one before it. There is no clock, no randomness and no iteration in
//! hash order here. Safety never depends on a tree: a relay with an old map
//! costs a duplicate on a link, never a message.
//!
//! | module | what it holds |
//! |---|---|
//! | [`linkstate`] | what one relay advertises, and which of two states is newer |
//! | [`map`] | all relays and links: what is up, and what is configured |
//! | [`shortest`] | distances between all relays, kept up to date link by link |
//! | [`island`] | who can be reached from where, and who keeps for those who cannot |
//! | [`order`] | what decides between equal choices |
//! | [`tree`] | the tree of one set of relays |
//! | [`table`] | the trees of all groups, recomputed where a change matters |
//! | [`digest`] | one number for all inputs of the trees, for neighbours to compare |
//!
//! The relay core calls this; it knows of nothing but names, limits and the
//! operator's topology.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod affected;
mod bucket;
mod detour;
pub mod digest;
mod grow;
pub mod island;
pub mod linkstate;
pub mod map;
mod marks;
mod median;
mod only;
pub mod order;
pub mod shortest;
mod slot;
pub mod table;
pub mod tree;
mod waiting;
mod walk;
mod wanted;

pub use digest::Digest;
pub use island::{Island, Standing};
pub use linkstate::{Advertised, LinkState, Version};
pub(crate) use map::bare_cost;
pub use map::{LinkChange, Map, MapError, Place};
pub use order::Spread;
pub use shortest::Distances;
pub use table::{GroupWant, Table};
pub use tree::{Algorithm, CutOff, Edge, OverCap, Shape, Tree};
