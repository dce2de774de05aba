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

/// Whether a number is left out where it is written: absent means 0.
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}
