//! What a tree costs at the least: exactly for few relays, a lower bound for many.
//!
//! Neither knows that a relay may be no transit or may cap its children: what they
//! give is never above the cost of a tree that heeds both.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::routing::{Distances, Map, Place};

const FAR: u64 = u64::MAX / 4;

/// The cost of the cheapest tree for `terminals`, which all reach each other
/// (Dreyfus and Wagner 1971). Time and memory grow threefold and twofold with
/// each of them, and with the square of the relays.
#[must_use]
pub fn exact(map: &Map, distances: &Distances, terminals: &[Place]) -> u64 {
    let Some((&last, first)) = terminals.split_last() else { return 0 };
    let places: Vec<Place> = map.places().collect();
    let distance = |one, other| distances.between(one, other).map_or(FAR, u64::from);
    let full = 1_usize << first.len();
    // For each set of `first` and each relay: the cheapest tree for both.
    let mut best = vec![vec![FAR; places.len()]; full];
    for (bit, &terminal) in first.iter().enumerate() {
        for &place in &places {
            best[1 << bit][place.index()] = distance(terminal, place);
        }
    }
    for set in 1..full {
        if set.is_power_of_two() {
            continue;
        }
        let mut joined = vec![FAR; places.len()];
        let mut part = (set - 1) & set;
        while part > 0 {
            for &place in &places {
                let sum = best[part][place.index()].saturating_add(best[set ^ part][place.index()]);
                joined[place.index()] = joined[place.index()].min(sum);
            }
            part = (part - 1) & set;
        }
        for &place in &places {
            let ways = places.iter().map(|&from| joined[from.index()].saturating_add(distance(from, place)));
            best[set][place.index()] = ways.min().unwrap_or(FAR);
        }
    }
    if full == 1 { 0 } else { best[full - 1][last.index()] }
}

/// A lower bound on the cost of any tree for `terminals`, which all reach each
/// other: dual ascent (Wong 1984).
#[must_use]
pub fn lower_bound(map: &Map, terminals: &[Place]) -> u64 {
    let Some((&root, rest)) = terminals.split_first() else { return 0 };
    let mut ascent = Ascent::new(map);
    let mut bound = 0;
    // The terminal with the fewest relays behind it is next, as Wong advises. What
    // is behind one only grows, so the size it had last time is never too large.
    let mut open: BinaryHeap<Reverse<(usize, Place)>> =
        rest.iter().map(|&place| Reverse((1, place))).collect();
    while let Some(Reverse((size, terminal))) = open.pop() {
        let behind = ascent.behind(terminal);
        if behind > size {
            open.push(Reverse((behind, terminal)));
        } else if !ascent.is_in[root.index()] {
            let Some(raised) = ascent.raise() else { return bound };
            bound += raised;
            open.push(Reverse((size, terminal)));
        }
    }
    bound
}

/// One direction of a link, and what is left of its cost.
struct Arc {
    from: usize,
    left: u64,
}

struct Ascent {
    /// The arcs into each relay.
    into: Vec<Vec<Arc>>,
    /// The relays from which the last terminal is reached by arcs that are used up.
    is_in: Vec<bool>,
    open: Vec<usize>,
}

impl Ascent {
    fn new(map: &Map) -> Self {
        let mut into: Vec<Vec<Arc>> = map.places().map(|_| Vec::new()).collect();
        for link in map.links() {
            if let Some(cost) = link.live {
                let [one, other] = link.between.map(Place::index);
                into[one].push(Arc { from: other, left: u64::from(cost) });
                into[other].push(Arc { from: one, left: u64::from(cost) });
            }
        }
        Self { is_in: vec![false; into.len()], into, open: Vec::new() }
    }

    /// Finds the relays behind a terminal, itself among them; how many they are.
    fn behind(&mut self, terminal: Place) -> usize {
        self.is_in.fill(false);
        self.is_in[terminal.index()] = true;
        self.open.push(terminal.index());
        let mut count = 0;
        while let Some(at) = self.open.pop() {
            count += 1;
            for arc in self.into[at].iter().filter(|arc| arc.left == 0) {
                if !self.is_in[arc.from] {
                    self.is_in[arc.from] = true;
                    self.open.push(arc.from);
                }
            }
        }
        count
    }

    /// Takes from all arcs into what is behind the last terminal what the least of
    /// them has left; how much that was. None when there is no such arc.
    fn raise(&mut self) -> Option<u64> {
        let Self { into, is_in, .. } = self;
        let enters = |arc: &Arc| !is_in[arc.from];
        let inside = || is_in.iter().enumerate().filter(|(_, is_in)| **is_in).map(|(at, _)| at);
        let least = inside().flat_map(|at| &into[at]).filter(|arc| enters(arc)).map(|arc| arc.left).min()?;
        for at in inside() {
            into[at].iter_mut().filter(|arc| enters(arc)).for_each(|arc| arc.left -= least);
        }
        Some(least)
    }
}
