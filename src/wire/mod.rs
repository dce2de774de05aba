//! What travels between relays and between a relay and its applications.

pub mod body;
pub mod frame;
pub mod link;
mod pull;
pub mod run;
