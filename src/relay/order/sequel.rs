//! What is here of one producer's sequence, whatever relays it was put at.

use serde::{Deserialize, Serialize};

use super::super::ranges;
use crate::id::WallTime;

/// What is here of a producer's sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequel {
    /// Everything below is here, or was given up.
    #[serde(rename = "f")]
    pub(super) floor: u64,
    /// What is here above: half-open, sorted, apart from one another.
    #[serde(rename = "r", skip_serializing_if = "Vec::is_empty", default)]
    pub(super) ranges: Vec<(u64, u64)>,
    #[serde(rename = "t")]
    pub(super) last: WallTime,
}

impl Sequel {
    pub(super) fn insert(&mut self, from: u64, to: u64) {
        ranges::add(&mut self.ranges, (from.max(self.floor), to));
        self.raise(self.floor);
    }

    /// Whether this one is here, or was given up.
    pub(super) fn has(&self, sequence: u64) -> bool {
        sequence < self.floor || ranges::has_any(&self.ranges, (sequence, sequence + 1))
    }

    /// Nothing below `floor` is missing any more.
    pub(super) fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some((_, to)) = self.ranges.first().copied().filter(|(from, _)| *from <= self.floor) {
            self.floor = self.floor.max(to);
            self.ranges.remove(0);
        }
    }

    /// What is missing below `sequence`.
    pub(super) fn missing(&self, sequence: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut reached = self.floor;
        for (from, to) in &self.ranges {
            if *from > sequence {
                break;
            }
            missing.push((reached, *from));
            reached = *to;
        }
        if reached < sequence {
            missing.push((reached, sequence));
        }
        missing
    }
}
