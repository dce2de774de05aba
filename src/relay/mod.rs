//! The relay core: plain data and plain functions that decide; the shell does.
//!
//! One door in, [`Relay::handle`]; one door out, [`Relay::next_effect`]. The
//! core is told the time and reads no clock; payloads pass through it as
//! opaque bytes.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod effect;
mod input;

pub use effect::Effect;
pub use input::{Input, Now};

/// How many parts a relay's state is cut into for snapshots.
pub const SHARDS: u32 = 64;
