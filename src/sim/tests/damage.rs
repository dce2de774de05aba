//! Damage in the middle of a log: others have what stood there (S51).

use super::super::world::{World, names};
use super::LINE;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Reply, Request, Start, SubscriptionSpec};

/// What a subscription at a relay is given within twenty seconds, and where it stands.
fn given(world: &mut World, node: usize) -> (Vec<String>, Vec<u64>) {
    world.nodes[node].got.clear();
    world.attach(node, "g", "s");
    world.settle();
    (0..2).for_each(|_| world.rest());
    let got = world.nodes[node].got.iter();
    got.map(|got| (got.payload.clone(), got.index)).unzip()
}

/// Members at `r01` and `r02`, whose logs have what was put at `r00` and at `r01`.
fn with_messages() -> (World, Vec<String>) {
    let mut world = World::new(1, 3, &LINE);
    for node in 1..3 {
        world.subscribe(node, "g", "s");
    }
    for from in [0, 0, 1, 0, 1, 1, 0] {
        world.put(from, "g", 1);
        world.settle();
    }
    world.rest();
    assert_eq!(world.nodes[0].held_runs(), 0, "the members have it, and nobody else");
    let all = world.oracle.payloads_since(0);
    (world, all)
}

#[test]
fn s51_what_is_damaged_at_a_member_comes_again_in_its_old_place_and_stays_there() {
    for has_snapshot in [true, false] {
        comes_again_and_stays(has_snapshot);
    }
}

fn comes_again_and_stays(has_snapshot: bool) {
    let (mut world, all) = with_messages();
    let hit = [&*all[1], &*all[2], &*all[4]];
    assert_eq!(world.nodes[2].damage(&hit), 3);
    let (got, places) = given(&mut world, 2);
    assert_eq!((&got, world.nodes[2].gaps), (&all, 0));
    assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{places:?}");
    // It is on the disk by now: nobody is asked after a restart.
    if has_snapshot {
        world.save(2);
    }
    for node in [1, 2] {
        world.crash(node);
    }
    world.start(2);
    let (again, places_again) = given(&mut world, 2);
    assert_eq!((again, places_again), (got, places));
    assert_eq!(world.nodes[2].gaps, 0);
    // And it goes with the rest.
    world.heal();
    for node in 1..3 {
        assert_eq!(world.drain(node, "g", "s"), all);
    }
    (0..3).for_each(|_| world.rest());
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
}

#[test]
fn s51_what_is_damaged_at_its_origin_comes_from_whoever_got_it_from_there() {
    let (mut world, all) = with_messages();
    assert_eq!(world.nodes[1].damage(&[&all[2], &all[5]]), 2);
    let (got, _) = given(&mut world, 1);
    assert_eq!((got, world.nodes[1].gaps), (all, 0));
}

#[test]
fn s51_what_was_put_here_before_anybody_here_wanted_it_comes_again_for_who_begins_with_it() {
    let mut world = World::new(1, 3, &LINE);
    let (group, name) = names(1, "g", "s");
    let settings = GroupSettings { history_count: Some(100), ..GroupSettings::default() };
    let create = Request::GroupCreate { group: group.clone(), settings, queue: false };
    assert_eq!(world.ask(1, create), Ok(Reply::Done));
    world.subscribe(2, "g", "s");
    for _ in 0..4 {
        world.put(1, "g", 1);
        world.settle();
    }
    let all = world.oracle.payloads_since(0);
    assert_eq!(world.nodes[1].damage(&[&all[1], &all[2]]), 2);
    let spec = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
    world.ask_network(1, Request::SubscriptionCreate { group, name, spec }).unwrap().unwrap();
    let (got, _) = given(&mut world, 1);
    assert_eq!((got, world.nodes[1].gaps), (all, 0));
}

#[test]
fn s51_what_nobody_has_any_more_is_told_as_a_gap_and_holds_up_nothing() {
    let (mut world, all) = with_messages();
    for node in 1..3 {
        assert_eq!(world.nodes[node].damage(&[&all[1]]), 1);
    }
    let (got, _) = given(&mut world, 2);
    let rest: Vec<String> = all.iter().filter(|payload| **payload != all[1]).cloned().collect();
    assert_eq!((got, world.nodes[2].gaps), (rest, 1));
}
