//! All orders of what may happen in small networks, with the real core in every relay (I1 to I10).
//!
//! A state is a whole network; what may happen next is in [`Small::choices`]. Every state is looked
//! at by the watch, and from every one in which nothing is on its way all relays start, all links
//! heal, and every subscription must get what it is owed, once, and nothing may stay on any disk.
//! The search ends by itself: what may happen without end (crashes, breaks, time) is counted.

use std::time::{Duration, Instant};

use stateright::{Checker, Model, Property};

use super::super::world::World;
use super::super::world::choices::{Budget, Choice, Small};
use super::LINE;

const HOLDS: &str = "every invariant holds";
const RESTS: &str = "a rest with everything put and done";

/// A network at rest, and what may happen to it.
struct Network(Small);

impl Model for Network {
    type State = Small;
    type Action = Choice;

    fn init_states(&self) -> Vec<Small> {
        vec![self.0.clone()]
    }

    fn actions(&self, state: &Small, actions: &mut Vec<Choice>) {
        actions.extend(state.choices());
    }

    fn next_state(&self, state: &Small, choice: Choice) -> Option<Small> {
        Some(state.after(choice))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(HOLDS, |_, state: &Small| state.wrong().is_none()),
            Property::sometimes(RESTS, |_, state: &Small| {
                state.is_quiet() && state.left().puts.iter().all(|left| *left == 0)
            }),
        ]
    }
}

/// A network of so many relays, in which these have a subscription, and what may happen to it.
fn network(links: &[(usize, usize, u32)], relays: usize, members: &[usize], left: Budget) -> Network {
    let mut world = World::new(1, relays, links);
    members.iter().for_each(|node| world.subscribe(*node, "g", "s"));
    // Every relay that puts has its stream, and all know of it.
    for node in (0..relays).filter(|node| left.puts[*node] > 0) {
        world.put(node, "g", 1);
        world.settle();
    }
    Network(Small::new(world, left))
}

/// Searches everything, says how much that was, and what is wrong. `seconds`: what was searched
/// until then is all; 0: until the end.
fn search(name: &str, network: Network, seconds: u64) {
    let begun = Instant::now();
    let builder = network.checker().threads(2);
    let checker = match seconds {
        0 => builder.spawn_dfs().join(),
        seconds => builder.timeout(Duration::from_secs(seconds)).spawn_dfs().join(),
    };
    let (states, steps, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    let took = begun.elapsed().as_secs_f64();
    let end = if seconds > 0 && took >= seconds as f64 { "not to the end" } else { "all of them" };
    eprintln!("{name}: {states} states, {steps} steps, at most {depth} deep, {took:.1} s, {end}");
    if let Some(path) = checker.discovery(HOLDS) {
        let wrong = path.last_state().wrong().unwrap_or_default().to_owned();
        panic!("{name}: {wrong}\nafter {:?}", path.into_actions());
    }
    assert!(checker.discovery(RESTS).is_some(), "{name}: nothing was searched");
}

const PAIR: [(usize, usize, u32); 1] = [(0, 1, 1)];
const RING: [(usize, usize, u32); 3] = [(0, 1, 1), (1, 2, 1), (2, 0, 3)];
const DIAMOND: [(usize, usize, u32); 4] = [(0, 1, 1), (0, 2, 1), (1, 3, 1), (2, 3, 2)];

#[test]
fn a_message_and_a_link_that_breaks_in_all_orders() {
    let left = Budget { puts: vec![1, 0], breaks: vec![1], rests: 1, ..Budget::default() };
    search("pair, a break", network(&PAIR, 2, &[1], left), 0);
}

#[test]
fn a_message_and_a_member_that_crashes_in_all_orders() {
    let left = Budget { puts: vec![1, 0], crashes: vec![0, 1], rests: 1, ..Budget::default() };
    search("pair, the member crashes", network(&PAIR, 2, &[1], left), 0);
}

#[test]
fn two_messages_and_an_origin_that_crashes_in_all_orders() {
    let left = Budget { puts: vec![2, 0], crashes: vec![1, 0], ..Budget::default() };
    search("pair, the origin crashes", network(&PAIR, 2, &[1], left), 0);
}

#[test]
fn a_message_over_a_transit_whose_links_break_in_all_orders() {
    let left = Budget { puts: vec![1, 0, 0], breaks: vec![0, 1], ..Budget::default() };
    search("line, a break", network(&LINE, 3, &[2], left), 0);
}

/// What takes minutes, each for at most `TREECAST_SEARCH_SECONDS`, 600 if not set.
#[test]
#[ignore = "minutes, in a release build: see docs/long-runs.md"]
fn larger_networks_in_all_orders() {
    let seconds = std::env::var("TREECAST_SEARCH_SECONDS").map_or(600, |word| word.parse().unwrap());
    let one = Budget::default();
    let pair = Budget { puts: vec![2, 0], crashes: vec![1, 1], breaks: vec![1], rests: 1, ..one.clone() };
    search("pair, both crash, a break", network(&PAIR, 2, &[1], pair), seconds);
    let slow = Budget { puts: vec![1, 0], breaks: vec![1], slow: true, ..one.clone() };
    search("pair, a break, slow messages", network(&PAIR, 2, &[1], slow), seconds);
    let both = Budget { puts: vec![1, 1], crashes: vec![1, 0], breaks: vec![1], ..one.clone() };
    search("pair, both put, one crashes, a break", network(&PAIR, 2, &[0, 1], both), seconds);
    let saves = Budget { puts: vec![1, 0], crashes: vec![1, 1], saves: 1, rests: 1, ..one.clone() };
    search("pair, both crash, a snapshot", network(&PAIR, 2, &[1], saves), seconds);
    let full = Budget { puts: vec![2, 0, 0], crashes: vec![1, 0, 0], fills: vec![0, 0, 1], ..one.clone() };
    search("line, the origin crashes, the member is full", network(&LINE, 3, &[2], full), seconds);
    let transit = Budget { puts: vec![1, 0, 0], crashes: vec![0, 1, 0], rests: 1, ..one.clone() };
    search("line, the transit crashes", network(&LINE, 3, &[2], transit), seconds);
    let ring = Budget { puts: vec![1, 0, 0], breaks: vec![1, 1, 0], rests: 1, ..one.clone() };
    search("ring, two breaks", network(&RING, 3, &[1, 2], ring), seconds);
    let diamond = Budget { puts: vec![1, 0, 0, 0], breaks: vec![0, 0, 1, 0], rests: 1, ..one };
    search("diamond, a break", network(&DIAMOND, 4, &[1, 2, 3], diamond), seconds);
}
