//! Shortest paths against another library's, and updates against starting anew.

use petgraph::algo::dijkstra;
use petgraph::graph::{NodeIndex, UnGraph};
use treecast::routing::{Distances, Map, Place};

use crate::common::{Kind, Numbers, random, real};

/// Distances by petgraph, which knows nothing of relays that are no transit: for
/// each source a graph is made without the others' links.
fn oracle(map: &Map, source: Place) -> Vec<Option<u32>> {
    let mut graph = UnGraph::<(), u64>::default();
    let nodes: Vec<NodeIndex> = map.places().map(|_| graph.add_node(())).collect();
    let passes = |place: Place| place == source || map.is_transit(place);
    for link in map.links() {
        let [one, other] = link.between;
        if let Some(cost) = link.live
            && passes(one)
            && passes(other)
        {
            graph.add_edge(nodes[one.index()], nodes[other.index()], u64::from(cost));
        }
    }
    let found = dijkstra(&graph, nodes[source.index()], None, |edge| *edge.weight());
    let through = |place: Place| found.get(&nodes[place.index()]).copied();
    let to = |place: Place| {
        if passes(place) {
            return through(place);
        }
        // A relay that is no transit is only ever the end of a path.
        let links = map.links().filter(|link| link.between.contains(&place));
        let ways = links.filter_map(|link| {
            let before = if link.between[0] == place { link.between[1] } else { link.between[0] };
            Some(through(before).filter(|_| passes(before))? + u64::from(link.live?))
        });
        ways.min()
    };
    map.places().map(|place| to(place).map(|distance| u32::try_from(distance).unwrap())).collect()
}

fn check(map: &Map) {
    let distances = Distances::new(map);
    for source in map.places() {
        for (place, expected) in map.places().zip(oracle(map, source)) {
            assert_eq!(distances.between(source, place), expected, "{source:?} to {place:?}");
            let path = distances.path(map, source, place);
            assert_eq!(path.is_some(), expected.is_some());
            let Some(path) = path else { continue };
            assert_eq!((path[0], path[path.len() - 1]), (source, place));
            let costs = path.windows(2).map(|pair| map.live_cost(pair[0], pair[1]).expect("it is a link"));
            assert_eq!(Some(costs.sum()), expected);
            assert!(path.iter().skip(1).rev().skip(1).all(|&place| map.is_transit(place)));
        }
    }
}

fn kinds() -> [Kind; 4] {
    let plain = Kind { relays: 40, more_links: 60, cost_max: 20, leaf_in: 0, capped_in: 0, down_in: 0 };
    [
        plain,
        Kind { cost_max: 2, leaf_in: 4, ..plain },
        Kind { cost_max: 1_000_000, down_in: 3, ..plain },
        Kind { relays: 2, more_links: 0, leaf_in: 1, ..plain },
    ]
}

#[test]
fn shortest_paths_are_those_of_another_library() {
    real().iter().for_each(|(_, map)| check(map));
    let mut numbers = Numbers(2);
    for kind in kinds() {
        for _ in 0..10 {
            check(&Map::new(&random(kind, &mut numbers), []).unwrap());
        }
    }
}

#[test]
fn a_map_without_relays_or_links_has_distances() {
    check(&Map::new([], []).unwrap());
    check(&Map::new(&random(Kind { relays: 1, more_links: 0, ..kinds()[0] }, &mut Numbers(3)), []).unwrap());
}

#[test]
fn updates_lead_to_what_a_new_start_gives() {
    let mut numbers = Numbers(4);
    for kind in kinds() {
        for _ in 0..5 {
            let mut states = random(kind, &mut numbers);
            let mut map = Map::new(&states, []).unwrap();
            let mut distances = Distances::new(&map);
            for _ in 0..60 {
                let from = numbers.below(states.len());
                if states[from].links.is_empty() {
                    continue;
                }
                let link = numbers.below(states[from].links.len());
                let link = &mut states[from].links[link];
                link.is_up = numbers.below(3) > 0;
                link.cost = 1 + numbers.below(kind.cost_max) as u32;
                let newer = Map::new(&states, []).unwrap();
                let changes = map.changes_to(&newer).expect("only links change");
                assert!(changes.len() < 2, "one link changed");
                map = newer;
                changes.into_iter().for_each(|change| distances.update(&map, change));
                assert!(distances == Distances::new(&map));
            }
        }
    }
}
