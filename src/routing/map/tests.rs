use super::*;
use crate::routing::linkstate::{Advertised, Version};

fn id(name: &str) -> RelayId {
    RelayId::new(name).unwrap()
}

/// A relay and its ends of links, each `name:cost`, with `!` before one that is down.
fn state(relay: &str, links: &str) -> LinkState {
    let mut state = LinkState::new(id(relay), Version::default());
    for link in links.split_whitespace() {
        let (name, cost) = link.split_once(':').unwrap();
        let neighbour = id(name.trim_start_matches('!'));
        let is_up = !name.starts_with('!');
        state.links.push(Advertised { neighbour, cost: cost.parse().unwrap(), is_up });
    }
    state
}

fn map(states: &[LinkState]) -> Map {
    Map::new(states, []).unwrap()
}

fn cost(map: &Map, one: &str, other: &str) -> Option<u32> {
    map.live_cost(map.place(&id(one)).unwrap(), map.place(&id(other)).unwrap())
}

#[test]
fn a_link_is_live_when_both_ends_say_so_and_costs_the_larger_cost() {
    let map = map(&[state("a", "b:3 c:1 d:4"), state("b", "a:5"), state("c", "!a:1"), state("d", "")]);
    assert_eq!(cost(&map, "a", "b"), Some(5));
    assert_eq!(cost(&map, "b", "a"), Some(5));
    assert_eq!(cost(&map, "a", "c"), None);
    assert_eq!(cost(&map, "a", "d"), None);
    let configured: Vec<u32> = map.links().map(|link| link.configured).collect();
    assert_eq!(configured, [5, 1, 4]);
}

#[test]
fn of_parallel_links_the_cheapest_that_is_up_counts() {
    let map = map(&[state("a", "b:9 !b:1 b:4"), state("b", "a:2 a:7")]);
    assert_eq!(cost(&map, "a", "b"), Some(4));
    assert_eq!(map.links().count(), 1);
}

#[test]
fn odd_values_have_a_meaning() {
    let mut odd = state("a", "a:1 b:0");
    odd.max_children = Some(0);
    let map = map(&[odd, state("b", "a:4000000000")]);
    assert_eq!(cost(&map, "a", "b"), Some(COST_MAX));
    assert_eq!(map.links().count(), 1);
    assert_eq!(map.traits(Place(0)).max_children, Some(1));
}

#[test]
fn a_relay_that_is_only_named_is_on_the_map_without_live_links() {
    let member = id("z");
    let map = Map::new(&[state("a", "b:1")], [&member]).unwrap();
    assert_eq!(map.relays(), [id("a"), id("b"), id("z")]);
    assert_eq!(cost(&map, "a", "b"), None);
}

#[test]
fn a_relay_that_catches_up_makes_its_links_dear() {
    let mut behind = state("b", "a:1 c:1");
    behind.catching_up = true;
    let map = map(&[state("a", "b:1"), behind, state("c", "b:1")]);
    assert_eq!(cost(&map, "a", "b"), Some(1 + CATCHING_UP_COST));
}

#[test]
fn the_order_of_states_and_links_does_not_matter() {
    let states = [state("a", "b:1 c:2"), state("b", "c:7 a:1"), state("c", "a:2 b:7")];
    let mut turned = states.to_vec();
    turned.reverse();
    turned.iter_mut().for_each(|state| state.links.reverse());
    assert_eq!(map(&states), map(&turned));
}

#[test]
fn of_two_states_of_one_relay_the_newer_counts() {
    let mut newer = state("a", "b:5");
    newer.version.counter = 1;
    let states = [state("a", "b:9"), newer.clone(), state("b", "a:1")];
    assert_eq!(cost(&map(&states), "a", "b"), Some(5));
}

#[test]
fn changes_name_the_links_that_differ() {
    let old = map(&[state("a", "b:1 c:2"), state("b", "a:1"), state("c", "a:2")]);
    let new = map(&[state("a", "!b:1 c:2"), state("b", "a:1"), state("c", "a:2")]);
    let change = LinkChange { between: [Place(0), Place(1)], before: Some(1), after: None };
    assert_eq!(old.changes_to(&new), Some(vec![change]));
    let mut changed = old.clone();
    changed.set_live(change.between, change.after);
    assert_eq!(changed, new);
    let other = map(&[state("a", "b:1"), state("b", "a:1")]);
    assert_eq!(old.changes_to(&other), None);
}

#[test]
fn a_map_of_too_many_relays_is_refused() {
    let names: Vec<RelayId> = (0..=limits::MAP_RELAYS_MAX).map(|n| id(&format!("r{n}"))).collect();
    let found = names.len();
    assert_eq!(Map::new([], &names), Err(MapError::TooManyRelays { found, max: limits::MAP_RELAYS_MAX }));
    assert!(Map::new([], &names[1..]).is_ok());
}
