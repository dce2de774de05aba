//! A relay that is emptied may go, and nobody misses anything (S48).

use super::super::world::{World, name_of, names};
use super::LINE;
use crate::wire::body::{Draining, RefusalCode, Reply, Request};
use crate::wire::circuit::{CircuitFrame, CircuitHead, CircuitId, CircuitSays};
use crate::wire::frame::AckLevel;
use crate::wire::link::LinkMessage;

fn ask(world: &mut World, node: usize, abandon: bool) -> Draining {
    let Ok(Reply::Draining(state)) = world.ask(node, Request::RelayDrain { abandon }) else {
        panic!("refused")
    };
    *state
}

/// Relays that are said to be drained, as one of them knows it.
fn drained(world: &mut World, node: usize) -> Vec<String> {
    let request = Request::RelayList { after: None, limit: u32::MAX };
    let Ok(Reply::Relays(found)) = world.ask(node, request) else { panic!("refused") };
    found.into_iter().filter(|relay| relay.draining).map(|relay| relay.relay.to_string()).collect()
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
    assert_eq!([2, 3].map(|node| drained(&mut world, node)), [["r02"], ["r02"]], "told here and elsewhere");
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
fn s48_a_relay_whose_subscriptions_are_moving_says_where_they_go() {
    let mut world = ring();
    world.set_link(0, false);
    world.settle();
    // The new home cannot be reached, so the move does not end.
    world.crash(3);
    world.ask_to_move(1, 1, Some(3));
    let state = ask(&mut world, 1, false);
    let homes: Vec<(&str, Option<&str>)> = state
        .homes
        .iter()
        .map(|home| (home.name.as_str(), home.moves_to.as_ref().map(|to| to.as_str())))
        .collect();
    assert_eq!((state.begun, homes), (false, vec![("s-r01", Some("r03"))]));
}

/// Who is to keep it would be gone, and its home would wait for that for ever.
#[test]
fn s48_a_relay_to_which_a_subscription_is_on_its_way_is_not_drained() {
    let mut world = ring();
    // Nobody knows what that relay has put: the move waits for it.
    world.crash(2);
    world.settle();
    world.ask_to_move(0, 1, Some(3));
    (0..10).for_each(|_| {
        world.wait_ms(120);
        world.settle();
    });
    assert!(world.has_moves(), "it waits for who is away");
    let state = ask(&mut world, 3, false);
    let comes: Vec<&str> =
        state.homes.iter().filter_map(|home| Some(home.comes_from.as_ref()?.as_str())).collect();
    assert_eq!((state.begun, comes), (false, vec!["r01"]), "{state:?}");
    let refusal = world.ask(3, Request::RelayDrain { abandon: true }).unwrap_err();
    assert!(
        refusal.code == RefusalCode::NotReady && refusal.message.contains("on its way from relay r01"),
        "{refusal:?}"
    );
    let (group, name) = names(1, "g", "s");
    world.ask(1, Request::SubscriptionMove { group, name, to: None }).unwrap();
    world.wait_ms(500);
    world.settle();
    assert!(ask(&mut world, 3, true).begun);
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

/// The relays that are being drained, as each says itself.
fn draining(world: &mut World) -> Vec<usize> {
    let is_draining = |world: &mut World, node: usize| match world.ask(node, Request::Status) {
        Ok(Reply::Status(status)) => status.accepting.is_err_and(|why| why.contains("being drained")),
        other => panic!("{other:?}"),
    };
    (0..world.nodes.len()).filter(|node| world.nodes[*node].is_up() && is_draining(world, *node)).collect()
}

/// A line of three, with a subscription at the first.
fn line() -> World {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(0, "g", "s");
    world.put(2, "g", 2);
    world.settle();
    world
}

#[test]
fn s48_nothing_moves_to_a_relay_that_is_being_drained() {
    let mut world = line();
    assert!(ask(&mut world, 2, false).begun);
    world.settle();
    let (group, name) = names(0, "g", "s");
    let to = Some("r02".parse().unwrap());
    let answer = world.ask(0, Request::SubscriptionMove { group, name, to });
    assert!(
        answer.as_ref().is_err_and(|refusal| refusal.code == RefusalCode::NotReady
            && refusal.message.contains("r02 is being drained")),
        "{answer:?}"
    );
    assert!(!world.has_moves());
}

#[test]
fn s48_a_relay_is_drained_by_its_name_from_two_links_away() {
    let mut world = line();
    world.subscribe(2, "g", "t");
    let state = world.ask_to_drain(0, 2, false).unwrap();
    assert_eq!((state.relay.as_str(), state.begun, state.home_count), ("r02", false, 1));
    assert_eq!(draining(&mut world), [] as [usize; 0], "subscriptions live there");
    world.drain(2, "g", "t");
    let state = world.ask_to_drain(0, 2, true).unwrap();
    assert_eq!((state.begun, state.home_count), (true, 0));
    assert_eq!(draining(&mut world), [2]);
    world.rest();
    let (there, here) = (ask(&mut world, 2, false), world.ask_to_drain(0, 2, false).unwrap());
    assert!(here.may_go, "{here:?}");
    // Who asks there is no application that is to go.
    assert_eq!(
        (there, here.sessions),
        (Draining { sessions: 0, ..here.clone() }, 1),
        "both are told the same"
    );
    world.lose(2);
    world.settle();
    world.forget(0, 2).unwrap();
    world.rest();
    assert_eq!(super::puts(&world.drain(0, "g", "s")), [1, 1]);
    assert_eq!((losses(&world), world.nodes[0].gaps), (0, 0));
}

#[test]
fn s48_a_name_that_is_unknown_forgotten_or_out_of_reach_drains_nobody() {
    let mut world = line();
    let unknown = Request::RelayDrainNamed { relay: "r20".parse().unwrap(), abandon: true };
    let refusal = world.ask(0, unknown).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NotFound);
    assert_eq!(refusal.message, "no relay `r20` is known at r00; did you mean \"r00\"?");
    world.set_link(1, false);
    world.settle();
    let refusal = world.ask_to_drain(0, 2, true).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NotReady);
    assert_eq!(refusal.message, "relay r02 cannot be reached from here now");
    world.forget(0, 2).unwrap();
    world.settle();
    let refusal = world.ask_to_drain(1, 2, true).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Removed, "{refusal}");
    assert_eq!(draining(&mut world), [] as [usize; 0]);
    // By its own name it is the asked one.
    assert!(world.ask_to_drain(1, 1, false).unwrap().begun);
    assert_eq!(draining(&mut world), [1]);
}

#[test]
fn s48_who_asks_for_another_relay_is_told_when_the_way_is_lost_and_may_ask_again() {
    for is_there in [false, true] {
        let mut world = line();
        let body = Request::RelayDrainNamed { relay: "r02".parse().unwrap(), abandon: true };
        let now = world.now;
        let request = world.nodes[0].begin(now, body);
        world.collect(0);
        // The question is with r01, or has come to r02, and its answer has not.
        world.arrive(0, 1);
        if is_there {
            world.arrive(1, 1);
        }
        world.set_link(1, false);
        world.settle();
        world.wait_ms(crate::limits::CIRCUIT_PING_MS);
        let refusal = world.nodes[0].take_answer(request).unwrap().unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NotReady, "{refusal}");
        assert_eq!(draining(&mut world), if is_there { vec![2] } else { vec![] });
        world.set_link(1, true);
        world.rest();
        assert!(world.ask_to_drain(0, 2, false).unwrap().begun);
        world.rest();
        let state = world.ask_to_drain(0, 2, false).unwrap();
        assert!(state.may_go, "{state:?}");
        assert_eq!(draining(&mut world), [2], "and nobody else");
    }
}

#[test]
fn s48_a_relay_that_is_drained_by_name_and_starts_again_keeps_what_was_made_since() {
    let mut world = line();
    assert!(world.ask_to_drain(0, 2, true).unwrap().begun);
    world.rest();
    world.restart(2);
    world.subscribe(2, "g", "new");
    // Who waits for it asks without a word of what is to be abandoned.
    let state = world.ask_to_drain(0, 2, false).unwrap();
    assert_eq!((state.begun, state.home_count), (false, 1));
    assert_eq!(draining(&mut world), [] as [usize; 0]);
}

#[test]
fn s48_a_relay_that_is_led_to_by_mistake_is_not_drained() {
    let mut world = line();
    let circuit = CircuitId { opener: "r00".parse().unwrap(), boot: 1, number: 1 };
    let request = |home: usize, body: Request| {
        let home = name_of(home).parse().unwrap();
        let head = CircuitHead { circuit: circuit.clone(), home, is_back: false, sequence: 0, hops: 9 };
        let says = CircuitSays::Request { request: 0, body: Box::new(body) };
        LinkMessage::Circuit(Box::new(CircuitFrame { head, says }))
    };
    // A neighbour that speaks for r00 names one relay outside and another one inside, or sends it to
    // one that it is not for.
    let named = Request::RelayDrainNamed { relay: "r02".parse().unwrap(), abandon: true };
    world.inject(0, 1, request(1, named.clone()));
    world.arrive_all(9);
    world.inject(0, 1, request(7, Request::RelayDrain { abandon: true }));
    world.arrive_all(9);
    assert_eq!(draining(&mut world), [] as [usize; 0]);
    world.settle();
}

#[test]
fn s48_a_put_that_is_tried_again_at_a_relay_that_is_drained_begins_no_stream() {
    let mut world = ring();
    let put = |world: &mut World, number: u64, level: AckLevel| {
        world.put_first(2, "g", number, (level, 0));
        world.collect(2);
        world.settle();
    };
    put(&mut world, 1_000_001, AckLevel::Accepted);
    assert!(ask(&mut world, 2, false).begun);
    world.settle();
    // The publisher has not heard that, and comes again.
    put(&mut world, 1_000_002, AckLevel::Consumed);
    world.watched().unwrap();
    for node in [0, 1] {
        world.drain(node, "g", "s");
    }
    world.settle();
    (0..3).for_each(|_| world.rest());
    world.watched().unwrap();
    let state = ask(&mut world, 2, false);
    assert!(state.may_go, "{state:?}");
}
