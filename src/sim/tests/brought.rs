//! What a subscription has brought along to a new home, and how it goes on from there (R12).

use super::super::world::{World, laden, names};
use super::moves::{NEW, OLD, go_on, go_on_a_little, prepared_as, serving};
use super::remnants::{GROUP, move_on, unread};
use crate::id::SessionId;
use crate::relay::Input;
use crate::sim::storms::Weather;
use crate::wire::body::Request;
use crate::wire::frame::{AckLevel, Credit};

/// The subscription lives at the new home, and has brought along eight messages; six have come there since.
fn brought() -> World {
    let mut world = unread(false, false);
    move_on(&mut world);
    assert_eq!(serving(&world, false), [NEW]);
    world
}

/// Somebody receives at a relay, and asks for so many messages: the handle, and what comes.
fn receive(world: &mut World, node: usize, total: u64) -> (u32, Vec<(u64, String)>) {
    let (group, name) = names(OLD, GROUP, "s");
    let now = world.now;
    let handle = world.nodes[node].attach(now, &group, &name);
    let credits = vec![Credit { handle, total }];
    world.nodes[node].input(now, Input::Credit { session: SessionId(1), credits });
    world.collect(node);
    world.settle();
    (handle, world.nodes[node].got.drain(..).map(|got| (got.index, got.payload)).collect())
}

#[test]
fn r15_a_put_is_not_consumed_while_it_waits_in_what_was_brought_along() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    for (is_queue, node) in [(false, 0), (false, 1), (false, 2), (true, 1)] {
        let mut world = prepared_as(1, false, is_queue);
        let (put, payload) = world.put_at_level(node, GROUP, (AckLevel::Consumed, 0));
        world.settle();
        world.ask_to_move(1, 0, Some(NEW));
        go_on(&mut world);
        world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
        move_on(&mut world);
        assert_eq!(serving(&world, is_queue), [NEW], "queue: {is_queue}");
        // Something else is put, so that everybody looks again.
        world.put(node, GROUP, 1);
        world.settle();
        move_on(&mut world);
        let said = world.until_answered(put, &calm, 0);
        assert_ne!(said, Some(AckLevel::Consumed), "queue: {is_queue}, put at {node}: nobody has had it");
        let (group, name) = names(OLD, GROUP, if is_queue { "queue" } else { "s" });
        let now = world.now;
        let got = world.nodes[NEW].drain(now, &group, &name);
        assert!(got.contains(&payload), "{got:?}");
        // Part of it is told apart from the rest when that is taken.
        for _ in 0..3 {
            move_on(&mut world);
            let now = world.now;
            world.nodes[NEW].drain(now, &group, &name);
            world.collect(NEW);
        }
        move_on(&mut world);
        let said = world.until_answered(put, &calm, 0);
        assert_eq!(said, Some(AckLevel::Consumed), "queue: {is_queue}, put at {node}: all of it was had");
    }
}

#[test]
fn r12_who_receives_what_was_brought_along_is_sent_away_before_it_is_handed_over() {
    let mut world = brought();
    // He works on three messages, and asks for no more meanwhile.
    let (handle, got) = receive(&mut world, NEW, 3);
    assert_eq!(got.len(), 3);
    world.ask_to_move(1, 0, Some(1));
    go_on(&mut world);
    world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
    let mut step = 0;
    while serving(&world, false) != [1] {
        go_on_a_little(&mut world, step);
        step += 1;
        assert!(step < 5_000, "{}", world.tell_moves(NEW));
    }
    // The old home does not hear that it has come there.
    world.set_link(1, false);
    let mut settled = Vec::new();
    if world.nodes[NEW].detached.is_empty() {
        world.ack(NEW, handle, (got[0].0, got[2].0 + 1));
        world.ask(NEW, Request::Sync).unwrap();
        settled.extend(got.into_iter().map(|(_, payload)| payload));
    }
    world.heal_links();
    move_on(&mut world);
    move_on(&mut world);
    assert!(!world.has_moves(), "{}", world.tell_moves(NEW));
    let (group, name) = names(OLD, GROUP, "s");
    let now = world.now;
    let taken = world.nodes[1].drain(now, &group, &name);
    let again: Vec<&String> = settled.iter().filter(|payload| taken.contains(payload)).collect();
    assert!(again.is_empty(), "a sync has confirmed that these were acked, and they come again: {again:?}");
    assert_eq!(taken.len(), 14, "{taken:?}");
}

#[test]
fn s47_a_part_that_is_taken_while_it_is_copied_does_not_hold_up_the_rest() {
    let mut world = brought();
    world.ask_to_move(1, 0, Some(1));
    go_on(&mut world);
    // Relays 1 and 2: the copy begins, and nobody hears of it.
    world.set_link(1, false);
    world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
    let (handle, got) = receive(&mut world, NEW, u64::MAX);
    assert_eq!(got.len(), 8);
    world.ack(NEW, handle, (got[0].0, got[7].0 + 1));
    world.settle();
    assert_eq!(world.nodes[NEW].detached.len(), 1, "more follows");
    // He does not come again.
    world.heal_links();
    (0..4).for_each(|_| move_on(&mut world));
    assert_eq!(serving(&world, false), [1], "{}", world.tell_moves(NEW));
    let (group, name) = names(OLD, GROUP, "s");
    let now = world.now;
    assert_eq!(world.nodes[1].drain(now, &group, &name).len(), 6);
}

#[test]
fn s47_what_is_copied_anew_after_a_crash_comes_before_what_stands_behind_it() {
    let mut world = brought();
    let (handle, got) = receive(&mut world, NEW, 3);
    assert_eq!(got.len(), 3);
    world.ask_to_move(1, 0, Some(1));
    go_on(&mut world);
    // These acks come to no disk, and all is copied meanwhile.
    world.ack(NEW, handle, (got[0].0, got[2].0 + 1));
    world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
    for step in 0..1_600 {
        // The disk of the old home hangs.
        if step % 8 != 4 + NEW {
            go_on_a_little(&mut world, step);
        }
    }
    world.crash_forgetting(NEW, 0);
    world.start(NEW);
    world.heal_links();
    (0..4).for_each(|_| move_on(&mut world));
    assert_eq!(serving(&world, false), [1], "{}", world.tell_moves(NEW));
    let (group, name) = names(OLD, GROUP, "s");
    let now = world.now;
    let taken = world.nodes[1].drain(now, &group, &name);
    assert_eq!(taken.len(), 14, "{taken:?}");
    world.oracle.check(GROUP, &taken).unwrap();
}

#[test]
fn r15_storms_of_moves_with_what_nobody_has_read_answer_no_put_as_consumed_too_early() {
    let mut consumed = 0;
    for seed in 0..30 {
        consumed += laden(seed, 900).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert!(consumed > 40, "{consumed} puts were consumed");
}
