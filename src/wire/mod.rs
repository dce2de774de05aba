//! What travels between relays and between a relay and its applications.

pub mod applied;
pub mod body;
pub mod circuit;
pub mod frame;
mod full;
pub mod link;
pub mod moving;
pub mod packed;
mod pull;
pub mod run;
