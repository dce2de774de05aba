//! Origins that have nothing to say leave their group's tree, and come back with their next message (R5).

use super::super::world::World;
use crate::wire::body::{Reply, Request};

/// The relays of a group's tree, and which of them are origins, as the relay in place 1 knows it.
fn tree(world: &mut World, group: &str) -> (Vec<String>, Vec<String>) {
    let ask = Request::GroupTree { group: group.parse().unwrap(), origin: None, from: 0, limit: 100 };
    let Ok(Reply::GroupTree(tree)) = world.ask(1, ask) else { panic!("no tree") };
    let name = |node: &crate::wire::body::TreeNode| node.relay.to_string();
    let origins = tree.nodes.iter().filter(|node| node.origin).map(name).collect();
    let mut relays: Vec<String> = tree.nodes.iter().map(name).collect();
    relays.sort();
    (relays, origins)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Two members, and an origin behind one that only passes on.
fn line() -> World {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
    world.subscribe(0, "g", "s");
    world.subscribe(1, "g", "s");
    world.put(3, "g", 1);
    world.settle();
    world
}

#[test]
fn r5_an_origin_that_has_nothing_to_say_leaves_the_tree_and_comes_back_with_its_next_message() {
    let mut world = line();
    assert_eq!(tree(&mut world, "g"), (names(&["r00", "r01", "r02", "r03"]), names(&["r03"])));
    world.rest_for_long();
    assert_eq!(tree(&mut world, "g"), (names(&["r00", "r01"]), vec![]));
    for round in 0..3 {
        world.put(3, "g", 1);
        world.settle();
        assert_eq!(tree(&mut world, "g").1, names(&["r03"]), "in round {round}");
        for node in [0, 1] {
            assert_eq!(world.drain(node, "g", "s").len(), if round == 0 { 2 } else { 1 });
        }
        world.rest_for_long();
        assert_eq!(tree(&mut world, "g").0.len(), 2);
        assert!(world.nodes.iter().all(|node| node.held_runs() == 0));
    }
}

#[test]
fn r5_an_origin_stays_one_while_a_member_lacks_something_or_something_comes() {
    let mut world = line();
    world.crash(0);
    world.settle();
    world.put(3, "g", 1);
    world.rest_for_long();
    assert_eq!(tree(&mut world, "g").1, names(&["r03"]), "a member is away");
    // It forgets what it knew of receipts.
    world.restart(3);
    world.rest_for_long();
    assert_eq!(
        tree(&mut world, "g").1,
        names(&["r03"]),
        "a member is away, and it does not know who has what"
    );
    world.heal();
    for _ in 0..8 {
        world.put(3, "g", 1);
        world.settle();
        world.pass_ms(crate::limits::ORIGIN_QUIET_MS / 4);
    }
    assert_eq!(tree(&mut world, "g").1, names(&["r03"]), "there is always something");
    assert_eq!(world.drain(0, "g", "s").len(), 10);
    world.rest_for_long();
    assert_eq!(tree(&mut world, "g").1, names(&[]));
}

#[test]
fn r5_a_subscription_made_while_the_origin_was_quiet_begins_with_its_next_message() {
    let mut world = line();
    world.rest_for_long();
    let sent = world.runs_sent();
    world.subscribe(2, "g", "new");
    let (group, name) = super::super::world::names(0, "g", "s");
    world.ask(0, Request::SubscriptionRemove { group, name }).unwrap();
    world.rest_for_long();
    assert_eq!(world.runs_sent(), sent, "nobody is told of it by a stream that is quiet");
    world.put(3, "g", 1);
    world.settle();
    assert_eq!(super::puts(&world.drain(2, "g", "new")), [2]);
    assert_eq!(super::puts(&world.drain(1, "g", "s")), [1, 2]);
    world.rest();
    assert!(world.nodes.iter().all(|node| node.held_runs() == 0), "who has left is owed nothing");
    // And it was noted: after a restart too it is owed by the stream itself.
    world.put(3, "g", 1);
    world.settle();
    world.save(3);
    world.restart(3);
    world.put(3, "g", 1);
    world.settle();
    assert_eq!(super::puts(&world.drain(2, "g", "new")), [3, 4]);
}

#[test]
fn r5_a_quiet_origin_that_starts_again_stays_quiet_and_forgets_nothing() {
    let mut world = line();
    world.rest_for_long();
    for snapshot in [false, true] {
        if snapshot {
            world.save(3);
        }
        world.restart(3);
        assert_eq!(tree(&mut world, "g").1, names(&[]), "with a snapshot: {snapshot}");
    }
    world.put(3, "g", 1);
    world.settle();
    assert_eq!(world.drain(1, "g", "s").len(), 2);
}

#[test]
fn r5_a_put_that_waits_makes_an_origin_that_is_heard_of_again() {
    let mut world = line();
    world.rest_for_long();
    world.restart(3);
    let calm = super::Weather { puts: 0, ..super::Weather::CALM };
    let (put, _) = world.put_at_level(3, "g", (super::AckLevel::Consumed, 0));
    assert_eq!(world.until_answered(put, &calm, 3_000), None);
    world.rest_for_long();
    assert_eq!(tree(&mut world, "g").1, names(&["r03"]), "the put waits for acks");
    for node in [0, 1] {
        assert_eq!(world.drain(node, "g", "s").len(), 2);
    }
    assert_eq!(world.until_answered(put, &calm, 20_000), Some(super::AckLevel::Consumed));
    world.rest_for_long();
    assert_eq!(tree(&mut world, "g").1, names(&[]));
}

#[test]
fn r5_who_left_and_joined_again_while_the_origin_was_quiet_gets_its_next_message() {
    let mut world = line();
    world.rest_for_long();
    let (group, name) = super::super::world::names(0, "g", "s");
    world.ask(0, Request::SubscriptionRemove { group, name }).unwrap();
    world.settle();
    world.subscribe_again(0, "g", "s");
    world.put(3, "g", 1);
    world.settle();
    assert_eq!(super::puts(&world.drain(0, "g", "s")), [2]);
}

/// What everybody has may be overwritten on its disk, and that everybody has it stands in snapshots only.
#[test]
fn a_new_member_does_not_wait_for_one_that_is_away_when_the_origin_has_started_again() {
    for saves in [false, true] {
        let mut world = World::new(1, 3, &[(0, 1, 1), (0, 2, 1)]);
        world.subscribe(1, "g", "s");
        world.crash(1);
        (0..3).for_each(|_| world.put(0, "g", 1));
        world.settle();
        world.save(0);
        // The member takes what was kept for it, and all of it is let go.
        world.start(1);
        world.heal_links();
        world.settle();
        world.rest();
        assert_eq!(world.nodes[0].held_runs(), 0);
        if saves {
            world.save(0);
        }
        world.crash(1);
        world.crash(0);
        world.start(0);
        world.heal_links();
        world.settle();
        world.subscribe(2, "g", "t");
        world.put(0, "g", 1);
        world.settle();
        (0..3).for_each(|_| world.rest());
        assert_eq!(world.drain(2, "g", "t").len(), 1, "{}", world.nodes[2].explain("?"));
        let Ok(Reply::Status(status)) = world.ask(0, Request::Status) else { panic!("no status") };
        assert!(!status.warnings.iter().any(|text| text.contains("damaged here")), "{:?}", status.warnings);
    }
}

/// A start that knows no member lets all go, and the next one may know one: it takes for held what its
/// snapshot does.
#[test]
fn what_a_start_lets_go_since_it_knows_no_member_stays_for_the_next_one() {
    let mut world = World::new(1, 3, &[(0, 1, 1), (0, 2, 1)]);
    world.subscribe(0, "g", "s");
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.settle();
    world.save(0);
    world.take_all();
    world.settle();
    world.restart(0);
    assert_eq!(world.nodes[0].held_runs(), 0, "all of it is let go");
    world.subscribe(1, "g", "s");
    world.settle();
    world.crash(1);
    world.restart(0);
    world.subscribe(2, "g", "t");
    world.put(0, "g", 1);
    world.settle();
    (0..3).for_each(|_| world.rest());
    assert_eq!(world.drain(2, "g", "t").len(), 1, "{}", world.nodes[2].explain("?"));
}
