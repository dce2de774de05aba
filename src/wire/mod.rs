//! What travels between relays and between a relay and its applications.

pub mod run;
