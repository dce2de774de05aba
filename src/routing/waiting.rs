//! The relays that are to join a tree, and the best place that each has found so far.

use std::ops::Range;

use crate::routing::grow::OFF;
use crate::routing::map::{Place, UNREACHABLE};
use crate::routing::tree::Node;

/// A relay that is not on the tree yet, and the best place to join it to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) key: u64,
    pub(crate) distance: u32,
    pub(crate) place: Place,
    pub(crate) from: u16,
}

/// The tree as it is when a relay looks for a place in it.
#[derive(Clone, Copy)]
pub(crate) struct Offered<'g> {
    pub(crate) nodes: &'g [Node],
    pub(crate) room: &'g [u32],
    pub(crate) ranks: &'g [u16],
}

impl Waiting {
    pub(crate) fn new(place: Place) -> Self {
        Self { key: NO_KEY, distance: UNREACHABLE, place, from: OFF }
    }

    /// Looks at some relays of the tree; `row` is the one of the relay that waits.
    pub(crate) fn consider(&mut self, row: &[u32], tree: Offered<'_>, range: Range<usize>, weight: u64) {
        let Offered { nodes, room, ranks } = tree;
        let rank = |at: u16| ranks[nodes[usize::from(at)].place().index()];
        for (node, at) in nodes[range.clone()].iter().zip(range) {
            let distance = row[node.place().index()];
            let key = u64::from(node.distance) + weight * u64::from(distance);
            if key > self.key || distance == UNREACHABLE || room[at] == 0 {
                continue;
            }
            let at = at as u16;
            let is_better = key < self.key
                || distance < self.distance
                || (distance == self.distance && rank(at) < rank(self.from));
            if is_better {
                (self.key, self.distance, self.from) = (key, distance, at);
            }
        }
    }
}

pub(crate) const NO_KEY: u64 = u64::MAX;
