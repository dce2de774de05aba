//! Messages that could not be delivered, at several relays.

use super::super::world::World;
use crate::id::Index;
use crate::topology::settings::GroupSettings;
use crate::wire::body::Request;
use crate::wire::frame::AckKind;

/// Each has its first subscription, and the same message at the same place.
#[test]
fn dead_letters_of_two_homes_are_not_taken_for_repeats_of_one_another() {
    let mut world = World::new(1, 3, &[(0, 1, 1), (1, 2, 1)]);
    for node in [0, 2] {
        world.subscribe(node, "jobs", "s");
    }
    world.subscribe(1, "dead", "d");
    let settings = GroupSettings { dead_letter: Some("dead".to_owned()), ..GroupSettings::default() };
    world.ask(0, Request::GroupSet { group: "jobs".parse().unwrap(), settings }).unwrap();
    world.settle();
    world.put(1, "jobs", 1);
    world.settle();
    let mut places = Vec::new();
    for node in [0, 2] {
        let handle = world.attach(node, "jobs", "s");
        world.settle();
        let got = world.nodes[node].got.pop().expect("it has come");
        let (first, now) = (Index(got.index), world.now);
        places.push(got.index);
        world.nodes[node].settle_as(now, handle, (first, first.after(1)), AckKind::Reject);
        world.collect(node);
        world.settle();
    }
    assert_eq!(places[0], places[1], "or this tests nothing");
    assert_eq!(world.drain(1, "dead", "d").len(), 2);
}
