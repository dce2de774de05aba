//! Total orders of relays: what decides between equal choices.
//!
//! Were ties always broken the same way, all trees would crowd onto the same
//! links. So there are [`SPREADS`] orders, each by a hash of the relay's name,
//! and a group takes one by a hash of its own name. Their number is small so that
//! groups with the same members still share one tree in most cases.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::id::GroupName;
use crate::routing::map::{Map, Place};

/// How many orders there are.
pub const SPREADS: u8 = 4;

/// Which of the orders a group takes, below [`SPREADS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spread(u8);

impl Spread {
    /// The order that a group takes: the same at every relay.
    #[must_use]
    pub fn of(group: &GroupName) -> Self {
        Self::of_hash(xxh3_64(group.as_str().as_bytes()))
    }

    /// The order that a group of this hash takes.
    #[must_use]
    pub fn of_hash(hash: u64) -> Self {
        Self((hash % u64::from(SPREADS)) as u8)
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }
}

/// All orders of the relays of one map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Order by order: where each relay stands in it.
    ranks: Vec<u16>,
    relay_count: usize,
}

impl Orders {
    pub(crate) fn new(map: &Map) -> Self {
        let relay_count = map.relay_count();
        let mut ranks = vec![0; relay_count * usize::from(SPREADS)];
        for (spread, ranks) in ranks.chunks_exact_mut(relay_count.max(1)).enumerate() {
            let hash = |place: Place| xxh3_64_with_seed(map.relay(place).as_str().as_bytes(), spread as u64);
            let mut order: Vec<(u64, Place)> = map.places().map(|place| (hash(place), place)).collect();
            order.sort_unstable();
            for (rank, (_, place)) in order.into_iter().enumerate() {
                ranks[place.index()] = Place::at(rank).0;
            }
        }
        Self { ranks, relay_count }
    }

    /// The ranks of all relays in one order.
    pub(crate) fn of(&self, spread: Spread) -> &[u16] {
        let at = usize::from(spread.0) * self.relay_count;
        &self.ranks[at..at + self.relay_count]
    }
}
