//! Islands: which relays can share a tree, and who keeps messages for the others.
//!
//! Relays that reach each other through transit relays form an island. A relay
//! that is no transit belongs to the island of its cheapest live link alone,
//! though it may have links into several: as a leaf it can hang in one tree
//! only. Two such relays with nothing but a link between them form an island.
//!
//! For a relay outside, its *custodian* is the transit relay of the island to
//! which its cheapest configured path leads: messages for it are kept there, so
//! they are near when it comes back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::routing::map::{Map, Place};

/// What a relay is, seen from one island.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It can be reached.
    Inside,
    /// It cannot be reached; this relay of the island keeps for it.
    KeptBy(Place),
    /// It cannot be reached, and no configured path leads to it.
    Lost,
}

/// The island of one relay, and what all relays are to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Island {
    standing: Vec<Standing>,
    outside_count: usize,
}

impl Island {
    /// The island of `viewpoint`. Equal for all viewpoints on it. O(m·log m) for
    /// m links; O(m) when nobody is outside.
    #[must_use]
    pub fn of(map: &Map, viewpoint: Place) -> Self {
        let islands = number_islands(map);
        let own = islands[viewpoint.index()];
        let stand = |&island| if island == own { Standing::Inside } else { Standing::Lost };
        let mut standing: Vec<Standing> = islands.iter().map(stand).collect();
        let outside_count = islands.iter().filter(|&&island| island != own).count();
        if outside_count > 0 {
            find_custodians(map, &mut standing);
        }
        Self { standing, outside_count }
    }

    /// What the relay at a place is to this island.
    #[must_use]
    pub fn standing(&self, place: Place) -> Standing {
        self.standing[place.index()]
    }

    /// Whether every relay of the map is inside.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.outside_count == 0
    }
}

const NO_ISLAND: u16 = u16::MAX;

/// The island of each relay, as the place of one of its relays.
fn number_islands(map: &Map) -> Vec<u16> {
    let mut islands = vec![NO_ISLAND; map.relay_count()];
    let mut open = Vec::new();
    for start in map.places().filter(|&place| map.is_transit(place)) {
        if islands[start.index()] != NO_ISLAND {
            continue;
        }
        islands[start.index()] = start.0;
        open.push(start);
        while let Some(place) = open.pop() {
            for neighbour in live_neighbours(map, place).map(|(_, neighbour)| neighbour) {
                if map.is_transit(neighbour) && islands[neighbour.index()] == NO_ISLAND {
                    islands[neighbour.index()] = start.0;
                    open.push(neighbour);
                }
            }
        }
    }
    place_leaves(map, &mut islands);
    islands
}

/// Gives relays that are no transit their islands.
fn place_leaves(map: &Map, islands: &mut [u16]) {
    let leaves = || map.places().filter(|&place| !map.is_transit(place));
    for leaf in leaves() {
        let transit = live_neighbours(map, leaf).filter(|&(_, neighbour)| map.is_transit(neighbour));
        if let Some((_, nearest)) = transit.min() {
            islands[leaf.index()] = islands[nearest.index()];
        }
    }
    // What is left has links to other leaves only: these pair off, cheapest first.
    let mut pairs: Vec<(u32, Place, Place)> = leaves()
        .flat_map(|leaf| live_neighbours(map, leaf).map(move |(cost, other)| (cost, leaf, other)))
        .filter(|(_, leaf, other)| leaf < other && !map.is_transit(*other))
        .collect();
    pairs.sort_unstable();
    for (_, one, other) in pairs {
        if islands[one.index()] == NO_ISLAND && islands[other.index()] == NO_ISLAND {
            islands[one.index()] = one.0;
            islands[other.index()] = one.0;
        }
    }
    for leaf in leaves() {
        if islands[leaf.index()] == NO_ISLAND {
            islands[leaf.index()] = leaf.0;
        }
    }
}

fn live_neighbours(map: &Map, place: Place) -> impl Iterator<Item = (u32, Place)> {
    let live = |end: &&crate::routing::map::End| end.cost != crate::routing::map::UNREACHABLE;
    map.ends(place).iter().filter(live).map(|end| (end.cost, Place(end.to)))
}

/// A search over configured links from all transit relays inside at once. Of
/// equally near custodians the one with the lowest place is taken.
fn find_custodians(map: &Map, standing: &mut [Standing]) {
    let mut heap = BinaryHeap::new();
    for inside in map.places().filter(|&place| standing[place.index()] == Standing::Inside) {
        if map.is_transit(inside) {
            heap.push(Reverse((0_u64, inside, inside)));
        }
    }
    let mut is_done = vec![false; standing.len()];
    while let Some(Reverse((distance, custodian, place))) = heap.pop() {
        if is_done[place.index()] {
            continue;
        }
        is_done[place.index()] = true;
        if standing[place.index()] == Standing::Lost {
            standing[place.index()] = Standing::KeptBy(custodian);
        }
        if !map.is_transit(place) {
            continue;
        }
        for (next, cost) in map.configured(place) {
            if standing[next.index()] == Standing::Lost {
                heap.push(Reverse((distance + u64::from(cost), custodian, next)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RelayId;
    use crate::routing::linkstate::{Advertised, LinkState, Version};

    /// A map of links `one-other:cost`, `!` before one that is down; relays whose
    /// names begin with `l` are leaves.
    fn map(links: &str) -> Map {
        let mut states: Vec<LinkState> = Vec::new();
        let mut add = |from: &str, to: &str, cost: u32, is_up: bool| {
            let relay = RelayId::new(from).unwrap();
            let at = states.iter().position(|state| state.relay == relay).unwrap_or_else(|| {
                let mut state = LinkState::new(relay, Version::default());
                state.transit = !from.starts_with('l');
                states.push(state);
                states.len() - 1
            });
            states[at].links.push(Advertised { neighbour: RelayId::new(to).unwrap(), cost, is_up });
        };
        for link in links.split_whitespace() {
            let (names, cost) = link.split_once(':').unwrap();
            let (one, other) = names.trim_start_matches('!').split_once('-').unwrap();
            let (cost, is_up) = (cost.parse().unwrap(), !names.starts_with('!'));
            add(one, other, cost, is_up);
            add(other, one, cost, is_up);
        }
        Map::new(&states, []).unwrap()
    }

    fn at(map: &Map, name: &str) -> Place {
        map.place(&RelayId::new(name).unwrap()).unwrap()
    }

    fn inside(map: &Map, viewpoint: &str) -> String {
        let island = Island::of(map, at(map, viewpoint));
        let inside = map.places().filter(|&place| island.standing(place) == Standing::Inside);
        inside.map(|place| map.relay(place).as_str()).collect()
    }

    #[test]
    fn an_island_is_the_same_from_all_its_relays() {
        let map = map("a-b:1 b-c:1 !c-d:1 d-e:1");
        assert_eq!(inside(&map, "a"), "abc");
        assert_eq!(inside(&map, "c"), "abc");
        assert_eq!(inside(&map, "e"), "de");
    }

    #[test]
    fn a_leaf_between_islands_belongs_to_the_nearer_one() {
        let map = map("a-l1:5 l1-b:4 b-c:1");
        assert_eq!(inside(&map, "a"), "a");
        assert_eq!(inside(&map, "l1"), "bcl1");
        assert_eq!(inside(&map, "b"), "bcl1");
    }

    #[test]
    fn leaves_without_a_transit_relay_pair_off() {
        let map = map("l1-l2:2 l2-l3:1 l3-l4:2");
        assert_eq!(inside(&map, "l2"), "l2l3");
        assert_eq!(inside(&map, "l1"), "l1");
    }

    #[test]
    fn the_custodian_is_where_the_cheapest_configured_path_leads() {
        // z hangs at y, y at b (cost 3) or at c (cost 4); a leaf keeps for nobody.
        let map = map("a-b:1 b-c:1 c-l1:1 !y-b:3 !y-c:4 !y-l1:1 y-z:1 q-r:1");
        let island = Island::of(&map, at(&map, "a"));
        assert_eq!(island.standing(at(&map, "l1")), Standing::Inside);
        assert_eq!(island.standing(at(&map, "y")), Standing::KeptBy(at(&map, "b")));
        assert_eq!(island.standing(at(&map, "z")), Standing::KeptBy(at(&map, "b")));
        assert_eq!(island.standing(at(&map, "q")), Standing::Lost);
        assert!(!island.is_everything());
    }
}
