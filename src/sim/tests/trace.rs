//! Where messages are said to be, against where they are.

use super::super::storms::Weather;
use super::super::world::World;
use super::LINE;
use crate::wire::body::{Fate, Over, RelayTrace, Sighting, Whereabouts};

fn of<'f>(found: &'f Whereabouts, relay: &str) -> &'f RelayTrace {
    let trace = found.relays.iter().find(|trace| trace.relay.as_str() == relay);
    trace.unwrap_or_else(|| panic!("{relay} has not answered: {found:?}"))
}

fn from(trace: &RelayTrace) -> &str {
    match trace.arrived.as_ref().map(|arrived| &arrived.over) {
        Some(Over::Link(neighbour)) => neighbour.as_str(),
        Some(Over::Here) => "here",
        other => panic!("it came over {other:?}"),
    }
}

fn fate<'t>(trace: &'t RelayTrace, name: &str) -> &'t Fate {
    let said = trace.subscriptions.iter().find(|subscription| subscription.name.as_str() == name);
    &said.unwrap_or_else(|| panic!("no subscription {name}: {trace:?}")).fate
}

/// A message at r00 for subscriptions at r01 and r02, that everybody has and nobody has taken.
fn on_a_line() -> World {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 2);
    world.settle();
    // Receipts are gathered for a moment before they are said.
    world.rest();
    world
}

#[test]
fn every_relay_of_a_line_tells_the_same_way_and_every_fate() {
    let mut world = on_a_line();
    // The subscription at r01, so that the oracle knows of it too.
    world.take(0);
    let name = world.name_of_message(1, 1).unwrap();
    for asked in 0..3 {
        let found = world.whereabouts(asked, name.clone(), false);
        assert_eq!((found.relays.len(), found.silent.len(), found.unaware), (3, 0, 0));
        assert_eq!(from(of(&found, "r01")), "r00");
        assert_eq!(from(of(&found, "r02")), "r01");
        assert_eq!(*fate(of(&found, "r02"), "s-r02"), Fate::Pending { ahead: 1 });
        assert_eq!(*fate(of(&found, "r01"), "s-r01"), Fate::Acked);
        assert!(of(&found, "r00").receipts.iter().all(|receipt| receipt.durable));
        world.check_where(asked).unwrap();
    }
}

#[test]
fn only_the_asked_relay_answers_when_nothing_else_is_wanted() {
    let mut world = on_a_line();
    let name = world.name_of_message(1, 0).unwrap();
    let found = world.whereabouts(2, name, true);
    assert_eq!((found.relays.len(), found.silent.len()), (1, 0));
    assert_eq!(from(of(&found, "r02")), "r01");
}

#[test]
fn a_relay_that_is_away_is_named_with_its_subscriptions_and_its_last_receipt() {
    let mut world = on_a_line();
    world.crash(2);
    world.put(0, "g", 1);
    world.settle();
    for (put, has_it) in [(1, true), (2, false)] {
        let name = world.name_of_message(put, 0).unwrap();
        let found = world.whereabouts(1, name, false);
        let away = &found.silent[0];
        assert_eq!((away.relay.as_str(), away.is_reachable), ("r02", false));
        assert_eq!(away.subscriptions.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["s-r02"]);
        let receipts = &of(&found, "r00").receipts;
        let told = receipts.iter().find(|receipt| receipt.member.as_str() == "r02").unwrap();
        assert_eq!((told.durable, told.consumed), (has_it, false));
    }
}

#[test]
fn who_hears_nothing_is_answered_in_time_all_the_same() {
    let mut world = on_a_line();
    let name = world.name_of_message(1, 0).unwrap();
    // Nothing tells r00 that the one behind r01 says nothing any more.
    world.deafen(1);
    let found = world.whereabouts(0, name, false);
    let silent: Vec<(&str, bool)> =
        found.silent.iter().map(|silent| (silent.relay.as_str(), silent.is_reachable)).collect();
    assert_eq!(silent, [("r02", true)]);
    assert_eq!(from(of(&found, "r01")), "r00");
}

#[test]
fn a_message_among_thousands_is_found_after_restarts() {
    let mut world = World::new(3, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "s");
    for _ in 0..600 {
        world.put(0, "g", 3);
        world.put(1, "g", 2);
    }
    world.settle();
    for node in [0, 1] {
        world.crash(node);
        world.start(node);
    }
    world.heal();
    for _ in 0..50 {
        world.check_where(0).unwrap();
    }
    let name = world.name_of_message(900, 1).unwrap();
    let found = world.whereabouts(0, name, false);
    assert!(matches!(of(&found, "r01").sighting, Sighting::Held { .. }), "{found:?}");
}

#[test]
fn what_is_said_of_messages_is_so_in_any_weather() {
    for seed in 0..40 {
        let mut world = World::random(seed, 5);
        for node in [0, 2, 4] {
            world.subscribe(node, "g", "s");
        }
        for step in 0..400 {
            world.step(&Weather::STORM);
            if step % 10 == 0 {
                world.check_where(step / 10 % 5).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
            }
        }
        world.heal();
        for node in 0..5 {
            world.check_where(node).unwrap_or_else(|wrong| panic!("seed {seed}, at rest: {wrong}"));
        }
    }
}

#[test]
fn of_a_member_that_came_later_and_is_away_it_is_not_said_that_it_has_what_was_put_before() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.rest();
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.rest();
    world.crash(2);
    world.settle();
    for (put, has_it) in [(1, false), (2, true)] {
        let name = world.name_of_message(put, 0).unwrap();
        let found = world.whereabouts(1, name, false);
        let told = of(&found, "r00").receipts.iter().find(|receipt| receipt.member.as_str() == "r02");
        assert_eq!(told.is_some_and(|told| told.durable), has_it, "put {put}: {told:?}");
    }
}

/// It has no map then, and knows its neighbours, the members and the relays of its file.
#[test]
fn a_relay_that_is_cut_off_since_its_start_names_those_that_it_could_not_ask() {
    let mut world = on_a_line();
    let name = world.name_of_message(1, 0).unwrap();
    world.crash(1);
    world.restart(0);
    let found = world.whereabouts(0, name.clone(), false);
    let silent = |found: &Whereabouts| -> Vec<(String, bool)> {
        found.silent.iter().map(|silent| (silent.relay.to_string(), silent.is_reachable)).collect()
    };
    assert_eq!(silent(&found), [("r01".to_owned(), false), ("r02".to_owned(), false)]);
    assert_eq!(silent(&world.whereabouts(0, name, true)), [], "nobody else was to be asked");
}

/// What was brought along is not told as acked before anybody has had it, nor as put before the subscription.
#[test]
fn r18_of_what_a_subscription_has_brought_along_nothing_is_said_that_is_not_so() {
    for new in [1, 2] {
        let mut world = World::new(1, 3, &LINE);
        world.let_homes_move();
        world.subscribe(0, "g", "s");
        world.put(1, "g", 2);
        world.settle();
        let message = world.name_of_message(1, 1).unwrap();
        world.ask_to_move(1, 0, Some(new));
        world.settle();
        let found = world.whereabouts(1, message.clone(), false);
        let said: Vec<_> = found.relays.iter().flat_map(|trace| &trace.subscriptions).collect();
        assert_eq!(said.len(), 1, "it is told of where it is served: {said:?}");
        world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
        (0..4).for_each(|_| world.rest());
        assert_eq!(world.home_now(0), Some(new), "{}", world.tell_moves(0));
        let said = |world: &mut World| {
            let found = world.whereabouts(1, message.clone(), false);
            fate(of(&found, &format!("r0{new}")), "s-r00").clone()
        };
        assert_eq!(said(&mut world), Fate::Unknown, "at {new}: nobody has had it");
        world.take(0);
        world.settle();
        let taken = said(&mut world);
        assert!([Fate::Acked, Fate::Unknown].contains(&taken), "at {new}: {taken:?}");
    }
}
