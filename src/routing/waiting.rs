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

    /// Looks at some relays of the tree; `row` is the one of the relay that waits. `is_open` says that
    /// all of them have room.
    #[inline]
    pub(crate) fn consider(
        &mut self,
        row: &[u32],
        tree: Offered<'_>,
        range: Range<usize>,
        weight: u64,
        is_open: bool,
    ) {
        // The two least keys with where they are found, without a branch.
        let (mut least, mut second) = (u64::MAX, u64::MAX);
        for (node, at) in tree.nodes[range.clone()].iter().zip(range.start as u64..) {
            let key = u64::from(node.distance) + weight * u64::from(row[node.place().index()]);
            let one = key << 16 | at;
            second = second.min(one.max(least));
            least = least.min(one);
        }
        let key = least >> 16;
        // From here on no way is a way.
        let is_plain = is_open && key < u64::from(UNREACHABLE) && key != second >> 16;
        if !is_plain || key == self.key {
            self.weigh(row, tree, range, weight);
        } else if key < self.key {
            self.key = key;
            self.from = least as u16;
            self.distance = row[tree.nodes[usize::from(self.from)].place().index()];
        }
    }

    /// The same, step by step: what counts of equal keys, and who has room.
    fn weigh(&mut self, row: &[u32], tree: Offered<'_>, range: Range<usize>, weight: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn what_is_found_without_branches_is_what_is_found_step_by_step() {
        let mut dice = Dice::new(1);
        let mut pick = |below: usize| dice.below(below as u64) as u32;
        for _ in 0..20_000 {
            // Few lengths, so that many keys are equal; some too large to be kept in few bits.
            let scale = [1, 1 << 30][pick(2) as usize];
            let count = 1 + pick(12) as usize;
            let row: Vec<u32> =
                (0..count).map(|_| [(1 + pick(3)) * scale, UNREACHABLE][usize::from(pick(8) == 0)]).collect();
            let nodes: Vec<Node> =
                (0..count).map(|at| Node::new(Place::at(at), 0, pick(4) * scale)).collect();
            let ranks: Vec<u16> = (0..count).map(|at| (at * 5 % 13) as u16).collect();
            let is_open = pick(2) == 0;
            let room: Vec<u32> = (0..count).map(|_| u32::from(is_open) + pick(2)).collect();
            let tree = Offered { nodes: &nodes, room: &room, ranks: &ranks };
            let weight = [1, 4][pick(2) as usize];
            let (mut one, mut other) = (Waiting::new(Place(0)), Waiting::new(Place(0)));
            let middle = pick(count + 1) as usize;
            for range in [0..middle, middle..count] {
                one.consider(&row, tree, range.clone(), weight, is_open);
                other.weigh(&row, tree, range, weight);
                assert_eq!((one.key, one.from, one.distance), (other.key, other.from, other.distance));
            }
        }
    }
}
