//! Which of two topologies is newer.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The version of an applied topology: two texts of one counter are told apart by their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopologyVersion {
    /// Raised by one each time that a file is applied: 1, 2, 3, …; 0 for what a relay was started with.
    pub counter: u64,
    /// XXH3 of the text.
    pub hash: u64,
}

impl TopologyVersion {
    /// The version of a text.
    #[must_use]
    pub fn new(counter: u64, text: &str) -> Self {
        Self { counter, hash: xxh3_64(text.as_bytes()) }
    }
}

/// The counter, and as much of the hash as tells two of one counter apart: `5-0f3a9c21`.
impl fmt::Display for TopologyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.counter, self.hash >> 32)
    }
}
