//! A relay that is emptied may go, and nobody misses anything (S48).

use super::super::world::World;
use crate::wire::body::{Draining, RefusalCode, Reply, Request};

fn ask(world: &mut World, node: usize, abandon: bool) -> Draining {
    let Ok(Reply::Draining(state)) = world.ask(node, Request::RelayDrain { abandon }) else {
        panic!("refused")
    };
    *state
}

fn losses(world: &World) -> usize {
    world.nodes.iter().map(super::super::node::Node::losses).sum()
}

/// A ring with two members.
fn ring() -> World {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 1)]);
    for node in [0, 1] {
        world.subscribe(node, "g", "s");
    }
    world.put(2, "g", 2);
    world.settle();
    world
}

#[test]
fn s48_a_relay_that_was_drained_goes_and_no_loss_is_written() {
    let mut world = ring();
    // One member is away and lacks something of it.
    for wire in [0, 1] {
        world.set_link(wire, false);
    }
    world.settle();
    world.put(2, "g", 1);
    world.rest();
    let state = ask(&mut world, 2, false);
    assert_eq!((state.begun, state.may_go, state.home_count), (true, false, 0));
    world.rest();
    let state = ask(&mut world, 2, false);
    assert_eq!(state.waits[0].members.iter().map(|member| member.as_str()).collect::<Vec<_>>(), ["r01"]);
    // It takes nothing more, and says where to go.
    let answered = world.oracle.count_answered();
    world.put(2, "g", 1);
    world.settle();
    assert_eq!(world.oracle.count_answered(), answered);
    let subscribe = Request::SubscriptionCreate {
        group: "g".parse().unwrap(),
        name: "late".parse().unwrap(),
        spec: Default::default(),
    };
    let refusal = world.ask(2, subscribe).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.message.contains("like r03")),
        (RefusalCode::NotReady, true),
        "{refusal}"
    );
    world.rest();
    assert!(!ask(&mut world, 2, false).may_go, "the member is still away");
    for wire in [0, 1] {
        world.set_link(wire, true);
    }
    world.rest();
    let state = ask(&mut world, 2, false);
    assert!(state.may_go, "{state:?}");
    world.lose(2);
    world.settle();
    world.forget(3, 2).unwrap();
    world.put(0, "g", 1);
    world.settle();
    for node in [0, 1] {
        assert_eq!(super::puts(&world.drain(node, "g", "s")), [1, 1, 2, 4], "at relay {node}");
    }
    world.rest();
    assert_eq!((losses(&world), world.nodes[0].gaps + world.nodes[1].gaps), (0, 0));
    let left: Vec<usize> = world.nodes.iter().map(|node| node.streams()[0]).collect();
    assert_eq!(left, [1, 1, 0, 0], "the streams of the one that went are forgotten");
}

#[test]
fn s48_a_relay_at_which_subscriptions_live_is_not_drained_before_they_have_left() {
    let mut world = ring();
    let queue =
        Request::GroupCreate { group: "jobs".parse().unwrap(), settings: Default::default(), queue: true };
    world.ask(1, queue).unwrap();
    let state = ask(&mut world, 1, false);
    assert_eq!((state.begun, state.may_go), (false, false));
    let homes: Vec<(&str, u64)> = state.homes.iter().map(|home| (home.name.as_str(), home.backlog)).collect();
    assert_eq!(homes, [("s-r01", 2), ("queue", 0)]);
    // Nothing has begun.
    world.put(1, "g", 1);
    world.settle();
    assert_eq!(world.drain(1, "g", "s").len(), 3);
    assert!(ask(&mut world, 1, true).begun);
    world.rest();
    let state = ask(&mut world, 1, true);
    assert!(state.may_go, "{state:?}");
    world.lose(1);
    world.settle();
    world.forget(0, 1).unwrap();
    world.settle();
    assert_eq!(world.drain(0, "g", "s").len(), 3, "what was put there is everywhere");
    world.rest();
    assert_eq!(losses(&world), 0);
    assert!(world.nodes.iter().all(|node| !node.is_up() || node.held_runs() == 0));
}

#[test]
fn s48_what_only_the_drained_relay_keeps_of_an_origin_that_is_gone_holds_it_up() {
    // The drained one stands between the origin and the member.
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
    world.subscribe(3, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.settle();
    world.put(0, "g", 2);
    world.settle();
    world.lose(0);
    world.settle();
    let state = ask(&mut world, 1, false);
    assert_eq!((state.may_go, state.kept_count, state.kept[0].origin.as_str()), (false, 1, "r00"));
    world.set_link(1, true);
    world.rest();
    assert!(!ask(&mut world, 1, false).may_go, "nobody says that it is released");
    world.forget(3, 0).unwrap();
    world.rest();
    world.rest();
    let state = ask(&mut world, 1, false);
    assert!(state.may_go, "{state:?}");
    assert_eq!(super::puts(&world.drain(3, "g", "s")), [1, 2, 2]);
}

#[test]
fn s48_a_drained_relay_that_starts_again_takes_messages_again() {
    let mut world = ring();
    ask(&mut world, 2, false);
    world.rest();
    assert!(ask(&mut world, 2, false).may_go);
    world.save(2);
    world.restart(2);
    world.put(2, "g", 1);
    world.settle();
    for node in [0, 1] {
        assert_eq!(super::puts(&world.drain(node, "g", "s")), [1, 1, 2]);
    }
    world.rest();
    assert_eq!(losses(&world), 0);
    assert!(world.nodes.iter().all(|node| node.held_runs() == 0));
}
