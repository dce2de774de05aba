//! What a subscription has brought along to a new home, and how it goes on from there (R12).

use super::super::world::{World, laden, names};
use super::moves::{NEW, OLD, go_on, go_on_a_little, prepared_as, serving};
use super::remnants::{GROUP, move_on, unread};
use crate::id::SessionId;
use crate::relay::Input;
use crate::sim::storms::Weather;
use crate::wire::body::{Reply, Request, SubscriptionInfo};
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

fn shown(world: &mut World) -> SubscriptionInfo {
    let (group, name) = names(OLD, GROUP, "s");
    match world.ask(NEW, Request::SubscriptionShow { group, name }) {
        Ok(Reply::Subscription(info)) => info,
        other => panic!("{other:?}"),
    }
}

#[test]
fn p11_what_was_brought_along_and_acked_is_told_as_acked_also_after_a_crash() {
    let mut world = brought();
    let before = shown(&mut world);
    assert_eq!((before.backlog, before.out.acked), (14, 0), "{before:?}");
    let (handle, got) = receive(&mut world, NEW, 3);
    world.ack(NEW, handle, (got[0].0, got[2].0 + 1));
    world.ask(NEW, Request::Sync).unwrap();
    let part = shown(&mut world);
    assert_eq!((part.backlog, part.out.acked, part.out.filtered), (11, 3, 0), "{part:?}");
    world.ask(NEW, Request::Detach { handle }).unwrap();
    let (group, name) = names(OLD, GROUP, "s");
    let now = world.now;
    assert_eq!(world.nodes[NEW].drain(now, &group, &name).len(), 11);
    world.collect(NEW);
    move_on(&mut world);
    for step in ["at rest", "after a crash", "after a crash behind a snapshot"] {
        let info = shown(&mut world);
        assert_eq!((info.out.acked, info.backlog, info.out.filtered), (14, 0, 0), "{step}: {info:?}");
        assert_eq!(info.out.lost, 0, "{step}: places that have no record are no damage: {info:?}");
        let group = Some(group.clone());
        let Ok(Reply::Books(books)) = world.ask(NEW, Request::Books { group }) else { panic!("no books") };
        assert!(books.balanced, "{step}: {books:?}");
        assert_eq!(books.held, books.held_own, "{step}: no messages are held: {books:?}");
        if step == "after a crash" {
            let now = world.now;
            world.nodes[NEW].take_snapshot(now);
        }
        world.crash(NEW);
        world.start(NEW);
        world.heal();
    }
}

#[test]
fn r12_who_receives_what_was_brought_along_is_sent_away_before_it_is_handed_over() {
    let mut world = brought();
    // He works on three messages for longer than he may, and asks for no more meanwhile.
    let (handle, got) = receive(&mut world, NEW, 3);
    assert_eq!(got.len(), 3);
    world.ask_to_move(1, 0, Some(1));
    go_on(&mut world);
    world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
    move_on(&mut world);
    assert_eq!(serving(&world, false), [NEW], "what he is at work on is waited for");
    world.wait_ms(crate::limits::ACK_WAIT_MS_DEFAULT);
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

/// Something is put, and must not be answered as consumed; then all of it is taken at a relay, and it must be.
fn is_consumed_when_taken(world: &mut World, (put, node): (u64, usize)) {
    let calm = Weather { puts: 0, ..Weather::CALM };
    let said = world.until_answered(put, &calm, 0);
    assert_eq!(said, None, "nobody has had it");
    let (group, name) = names(OLD, GROUP, "s");
    for _ in 0..4 {
        let now = world.now;
        world.nodes[node].drain(now, &group, &name);
        world.collect(node);
        move_on(world);
    }
    assert_eq!(world.until_answered(put, &calm, 0), Some(AckLevel::Consumed), "all of it was had");
}

#[test]
fn r15_what_a_home_has_said_of_one_name_is_not_taken_for_its_word_about_another() {
    for node in [0, 1] {
        let mut world = prepared_as(1, true, false);
        let (put, payload) = world.put_at_level(node, GROUP, (AckLevel::Consumed, 0));
        world.settle();
        // `t` lives at the new home and has all of it; its home says so.
        assert!(world.drain(NEW, GROUP, "t").contains(&payload));
        move_on(&mut world);
        world.ask_to_move(1, 0, Some(NEW));
        go_on(&mut world);
        world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
        move_on(&mut world);
        assert_eq!(serving(&world, false), [NEW]);
        world.put(node, GROUP, 1);
        world.settle();
        move_on(&mut world);
        world.drain(NEW, GROUP, "t");
        move_on(&mut world);
        is_consumed_when_taken(&mut world, (put, NEW));
    }
}

#[test]
fn r15_a_put_is_consumed_at_a_relay_from_which_its_subscription_has_moved_before() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    let mut world = prepared_as(1, false, false);
    world.ask_to_move(1, 0, Some(NEW));
    for _ in 0..4 {
        go_on(&mut world);
        world.take(0);
    }
    assert_eq!(world.home_now(0), Some(NEW));
    move_on(&mut world);
    // Something is left before the cut, and the put stands behind it.
    world.put(1, GROUP, 1);
    world.settle();
    world.ask_to_move(1, 0, Some(1));
    go_on(&mut world);
    let (put, _) = world.put_at_level(OLD, GROUP, (AckLevel::Consumed, 0));
    world.settle();
    for _ in 0..4 {
        world.take(0);
        go_on(&mut world);
    }
    assert_eq!(world.home_now(0), Some(1), "{}", world.tell_moves(NEW));
    assert_eq!(world.until_answered(put, &calm, 1_000), Some(AckLevel::Consumed));
}

#[test]
fn r15_a_put_that_is_tried_again_is_answered_when_what_was_brought_along_is_taken() {
    let mut world = prepared_as(1, false, false);
    let put = |world: &mut World, number: u64| {
        world.put_first(1, GROUP, number, (AckLevel::Consumed, 0));
        world.collect(1);
        world.settle();
    };
    put(&mut world, 1_000_001);
    world.restart(1);
    world.heal_links();
    move_on(&mut world);
    put(&mut world, 1_000_002);
    world.ask_to_move(1, 0, Some(NEW));
    go_on(&mut world);
    world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
    move_on(&mut world);
    assert_eq!(serving(&world, false), [NEW]);
    is_consumed_when_taken(&mut world, (1_000_002, NEW));
}

/// Nothing else is put: what was brought along is taken, and whoever waits for that hears it.
#[test]
fn r15_a_put_is_consumed_when_what_was_brought_along_is_taken_though_nothing_else_is_put() {
    let links = [(0, 1, 10), (1, 2, 10), (2, 3, 10), (3, 4, 10), (4, 0, 100)];
    for (home, new, is_whole) in [(4, 0, true), (4, 3, true), (2, 0, true), (3, 1, true), (4, 0, false)] {
        let mut world = World::new(1, 5, &links);
        world.let_homes_move();
        world.subscribe(home, GROUP, "s");
        world.put(1, GROUP, 1);
        world.settle();
        let (put, payload) = world.put_at_level(1, GROUP, (AckLevel::Consumed, 0));
        world.settle();
        world.ask_to_move(1, 0, Some(new));
        world.settle();
        world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
        (0..4).for_each(|_| world.rest());
        assert_eq!(world.home_now(0), Some(new), "{}", world.tell_moves(home));
        let calm = Weather { puts: 0, ..Weather::CALM };
        assert_eq!(world.until_answered(put, &calm, 0), None, "nobody has had it");
        let (group, name) = names(home, GROUP, "s");
        let now = world.now;
        if is_whole {
            assert!(world.nodes[new].drain(now, &group, &name).contains(&payload));
        } else {
            // He asks for what there is, and comes for no more.
            let handle = world.nodes[new].attach(now, &group, &name);
            let credits = vec![Credit { handle, total: 2 }];
            world.nodes[new].input(now, Input::Credit { session: SessionId(1), credits });
            world.collect(new);
            world.settle();
            let got: Vec<u64> = world.nodes[new].got.drain(..).map(|got| got.index).collect();
            world.ack(new, handle, (got[0], got[1] + 1));
            world.settle();
        }
        world.collect(new);
        (0..2).for_each(|_| world.rest());
        let said = world.until_answered(put, &calm, 0);
        assert_eq!(
            said,
            Some(AckLevel::Consumed),
            "from {home} to {new}: {}",
            world.nodes[1].explain(&payload)
        );
    }
}

#[test]
fn r15_storms_of_moves_with_what_nobody_has_read_answer_no_put_as_consumed_too_early() {
    let mut consumed = 0;
    for seed in 0..30 {
        consumed += laden(seed, 900).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert!(consumed > 40, "{consumed} puts were consumed");
}
