//! Joining a relay when the shortest ways lead through relays of the tree that
//! take no more children.
//!
//! Rare, so it is a plain search (Dijkstra 1959) from the relay outwards, over
//! relays that are not on the tree yet, to the relay of the tree with the least key.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::routing::grow::{Grower, OFF, World};
use crate::routing::map::{Place, UNREACHABLE};
use crate::routing::walk::OnWay;

impl Grower {
    /// Finds a way round all that is full, by the key of all joins; leaves it in
    /// `self.path` and returns where on the tree it begins. O(m·log m).
    pub(crate) fn detour(&mut self, world: World<'_>, to: Place, ranks: &[u16]) -> Option<u16> {
        let mut before: BTreeMap<Place, Place> = BTreeMap::new();
        let mut heap = BinaryHeap::from([Reverse((0_u64, ranks[to.index()], to, to))]);
        let mut best: Option<(u64, u64, u16, Place)> = None;
        while let Some(Reverse((distance, rank, place, previous))) = heap.pop() {
            if before.contains_key(&place) {
                continue;
            }
            before.insert(place, previous);
            let at = self.at[place.index()];
            if at != OFF {
                if self.room[usize::from(at)] > 0 {
                    let key = u64::from(self.nodes[usize::from(at)].distance) + self.weight * distance;
                    let choice = (key, distance, rank, place);
                    best = Some(best.map_or(choice, |best| best.min(choice)));
                }
                continue;
            }
            if place != to && !world.map.is_transit(place) {
                continue;
            }
            for end in world.map.ends(place).iter().filter(|end| end.cost != UNREACHABLE) {
                let next = Place(end.to);
                heap.push(Reverse((distance + u64::from(end.cost), ranks[next.index()], next, place)));
            }
        }
        let (_, _, _, start) = best?;
        self.path.clear();
        let mut place = start;
        let mut way = 0_u32;
        while place != to {
            let next = before[&place];
            way = way.saturating_add(world.map.live_cost(place, next).unwrap_or(UNREACHABLE));
            self.path.push(OnWay { place: next, way });
            place = next;
        }
        Some(self.at[start.index()])
    }

    /// Finds the best way although its start has as many children as it wants: a
    /// cap must not cut a relay off. Relays that are no transit stay leaves.
    pub(crate) fn past_cap(&mut self, world: World<'_>, to: Place, ranks: &[u16]) -> Option<u16> {
        let row = world.distances.row(to);
        let open = self.nodes.iter().filter(|node| {
            let place = node.place();
            world.map.is_transit(place) && row[place.index()] != UNREACHABLE
        });
        let key = |node: &&crate::routing::tree::Node| {
            let distance = row[node.place().index()];
            let key = u64::from(node.distance) + self.weight * u64::from(distance);
            (key, distance, ranks[node.place().index()])
        };
        let start = open.min_by_key(key)?.place();
        let at = self.at[start.index()];
        Some(self.walk(world, to, at, ranks))
    }
}
