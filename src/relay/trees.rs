//! The tree of a group: which neighbours a relay passes its messages on to.
//!
//! Shortest paths (Dijkstra 1959) from the first wanted relay to all others, cut down to those
//! that lead to a wanted one. A function of its inputs alone, with ties broken by names, so that
//! relays with equal maps agree on every tree. Safety never depends on that.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::RelayId;
use crate::wire::link::LinkState;

type States = BTreeMap<RelayId, LinkState>;

/// The neighbours of `me` in the tree that joins `wanted`, in order of their names.
pub(super) fn neighbours(states: &States, wanted: &[RelayId], me: &RelayId) -> Vec<RelayId> {
    let mut left: BTreeSet<&RelayId> = wanted.iter().collect();
    let mut found = BTreeSet::new();
    // One tree for each island: those that cannot be reached from the first have one of their own.
    while let Some(root) = left.pop_first() {
        let parents = shortest(states, root);
        let reached: Vec<&RelayId> =
            left.iter().copied().filter(|relay| parents.contains_key(*relay)).collect();
        for relay in reached {
            left.remove(relay);
            let mut at = relay;
            while let Some(Some(parent)) = parents.get(at) {
                if at == me {
                    found.insert((*parent).clone());
                }
                if *parent == me {
                    found.insert(at.clone());
                }
                at = parent;
            }
        }
    }
    found.into_iter().collect()
}

/// For every relay that can be reached the neighbour that the shortest way to it begins with.
pub(super) fn first_steps(states: &States, me: &RelayId) -> BTreeMap<RelayId, RelayId> {
    let parents = shortest(states, me);
    let mut steps: BTreeMap<RelayId, RelayId> = BTreeMap::new();
    for relay in parents.keys().copied().filter(|relay| *relay != me) {
        let mut at = relay;
        while let Some(Some(parent)) = parents.get(at) {
            if *parent == me {
                steps.insert(relay.clone(), at.clone());
                break;
            }
            at = parent;
        }
    }
    steps
}

/// The cost of the link between two relays, if both say that it is up: the larger one.
fn cost(states: &States, from: &RelayId, to: &RelayId) -> Option<u64> {
    let one = |from: &RelayId, to: &RelayId| {
        let state = states.get(from)?;
        state.links.iter().filter(|(name, _)| name == to).map(|(_, cost)| u64::from(*cost)).min()
    };
    Some(one(from, to)?.max(one(to, from)?))
}

/// For every relay that can be reached from `root` the one before it on the way there. Relays
/// that pass nothing on are ends of ways only.
fn shortest<'a>(states: &'a States, root: &'a RelayId) -> BTreeMap<&'a RelayId, Option<&'a RelayId>> {
    let mut parents: BTreeMap<&RelayId, Option<&RelayId>> = BTreeMap::new();
    let mut open: BTreeSet<(u64, &RelayId, Option<&RelayId>)> = BTreeSet::from([(0, root, None)]);
    while let Some((distance, relay, parent)) = open.pop_first() {
        if parents.contains_key(relay) {
            continue;
        }
        parents.insert(relay, parent);
        let Some(state) = states.get(relay).filter(|state| state.transit || relay == root) else { continue };
        for (next, _) in &state.links {
            if !parents.contains_key(next)
                && let Some(cost) = cost(states, relay, next)
            {
                open.insert((distance + cost, next, Some(relay)));
            }
        }
    }
    parents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::link::Version;

    fn states(links: &[(&str, &str, u32)]) -> States {
        let mut states = States::new();
        for (a, b, cost) in links {
            for (from, to) in [(a, b), (b, a)] {
                let relay = RelayId::new(from).unwrap();
                let state = states.entry(relay.clone()).or_insert_with(|| LinkState {
                    relay,
                    version: (1, Version::default()),
                    links: Vec::new(),
                    transit: true,
                });
                state.links.push((RelayId::new(to).unwrap(), *cost));
            }
        }
        states
    }

    fn names(names: &[&str]) -> Vec<RelayId> {
        names.iter().map(|name| RelayId::new(name).unwrap()).collect()
    }

    fn of(states: &States, wanted: &[&str], me: &str) -> Vec<String> {
        let me = RelayId::new(me).unwrap();
        neighbours(states, &names(wanted), &me).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_joins_what_is_wanted_and_nothing_else() {
        let map = states(&[("a", "b", 1), ("b", "c", 1), ("c", "d", 1), ("b", "x", 1)]);
        assert_eq!(of(&map, &["a", "c"], "b"), ["a", "c"]);
        assert_eq!(of(&map, &["a", "c"], "c"), ["b"]);
        assert_eq!(of(&map, &["a", "c"], "x"), Vec::<String>::new());
    }

    #[test]
    fn a_ring_is_cut_at_its_dearest_place() {
        let map = states(&[("a", "b", 1), ("b", "c", 1), ("c", "d", 1), ("d", "a", 9)]);
        let all = ["a", "b", "c", "d"];
        let degree: usize = all.iter().map(|me| of(&map, &all, me).len()).sum();
        assert_eq!(degree, 6, "a tree of four has three links");
        assert_eq!(of(&map, &all, "d"), ["c"]);
    }

    #[test]
    fn a_link_counts_when_both_ends_say_so() {
        let mut map = states(&[("a", "b", 1), ("b", "c", 1), ("a", "c", 9)]);
        map.get_mut(&RelayId::new("b").unwrap()).unwrap().links.retain(|(name, _)| name.as_str() != "c");
        assert_eq!(of(&map, &["a", "c"], "a"), ["c"]);
    }

    #[test]
    fn islands_have_trees_of_their_own() {
        let map = states(&[("a", "b", 1), ("c", "d", 1)]);
        assert_eq!(of(&map, &["a", "b", "c", "d"], "d"), ["c"]);
    }
}
