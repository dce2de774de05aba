//! Subscriptions that move though nobody takes what is left at their old home (R12).

use super::super::world::{World, names};
use super::LINE;
use super::moves::{
    FAULTS, Fault, NEW, OLD, ask_move, go_on, go_on_a_little, network, prepared_as, serving, strike,
};
use crate::id::Index;
use crate::wire::body::{MoveStage, Reply, Request};
use crate::wire::frame::AckKind;
use crate::wire::link::LinkMessage;
use crate::wire::moving::MoveSays;

pub(super) const GROUP: &str = "g";

/// A move of which only what stands before the cut is left, and nobody has taken it for a while.
pub(super) fn unread(is_queue: bool, is_member: bool) -> World {
    let mut world = prepared_as(1, is_member, is_queue);
    world.ask_to_move(1, 0, Some(NEW));
    go_on(&mut world);
    // Behind the cut.
    for node in [1, 0, 2] {
        world.put(node, GROUP, 2);
    }
    world.settle();
    world.wait_ms(crate::limits::MOVE_UNREAD_MS + 100);
    world
}

pub(super) fn move_on(world: &mut World) {
    for _ in 0..8 {
        world.wait_ms(1_000);
        world.settle();
    }
}

#[test]
fn s47_a_backlog_that_nobody_reads_comes_to_the_new_home_in_order() {
    for (is_queue, is_member) in [(false, false), (false, true), (true, false)] {
        let mut world = unread(is_queue, is_member);
        let homes = serving(&world, is_queue);
        assert_eq!(homes, [OLD], "queue: {is_queue}");
        move_on(&mut world);
        assert!(!world.has_moves(), "{}", world.tell_moves(OLD));
        assert_eq!(serving(&world, is_queue), [NEW], "queue: {is_queue}");
        let (group, name) = names(OLD, GROUP, if is_queue { "queue" } else { "s" });
        let Ok(Reply::Subscription(info)) = world.ask(NEW, Request::SubscriptionShow { group, name }) else {
            panic!("it is not there")
        };
        // What has come there before the cut is counted until it is passed over.
        assert!(info.backlog >= 14, "{info:?}");
        world.put(1, GROUP, 1);
        world.finish().unwrap();
    }
}

/// The same with a disk at the new home that is slow.
fn go_on_slowly(world: &mut World, step: usize) {
    if step % 8 != 4 + NEW || step % 64 > 48 {
        go_on_a_little(world, step);
    }
}

/// An unread move with a fault at one of its steps; whether it was over before.
fn run((is_queue, is_slow): (bool, bool), (at, fault): (usize, Fault)) -> bool {
    let what = format!("queue: {is_queue}, slow: {is_slow}, {fault:?} at step {at}");
    let mut world = unread(is_queue, false);
    (0..at).for_each(
        |step| if is_slow { go_on_slowly(&mut world, step) } else { go_on_a_little(&mut world, step) },
    );
    let is_over = !world.has_moves();
    if fault == Fault::NewHomeIsWiped && (is_over || serving(&world, is_queue) != [OLD]) {
        // With its disk the only one may be gone that was owed anything.
        return is_over;
    }
    strike(&mut world, fault);
    for step in 0..100 {
        go_on_a_little(&mut world, step);
        assert!(serving(&world, is_queue).len() < 2, "{what}: it has two homes");
    }
    move_on(&mut world);
    move_on(&mut world);
    assert_eq!(
        serving(&world, is_queue),
        [NEW],
        "{what}: {}",
        world.tell_moves(OLD) + &world.tell_moves(NEW)
    );
    (0..3).for_each(|node| world.put(node, GROUP, 1));
    world.finish().unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    is_over
}

#[test]
fn s47_the_same_whatever_crashes_when() {
    for how in [(false, false), (true, false), (false, true)] {
        for fault in FAULTS {
            let mut at = 0;
            while !run(how, (at, fault)) {
                at += 1;
            }
            assert!((20..2000).contains(&at), "{at} steps");
        }
    }
}

#[test]
fn s47_who_comes_back_while_it_is_copied_is_served_at_the_old_home() {
    for steps in 0..400 {
        let mut world = unread(false, false);
        (0..steps).for_each(|step| go_on_a_little(&mut world, step));
        if serving(&world, false) != [OLD] {
            assert!(steps > 10, "{steps} steps");
            return;
        }
        let handle = world.attach(OLD, GROUP, "s");
        world.settle();
        let got = world.nodes[OLD].got.len();
        if got == 0 {
            // It was handed over in the meantime.
            continue;
        }
        assert_eq!(got, 8, "{steps}");
        // As long as he waits for more.
        move_on(&mut world);
        assert_eq!(serving(&world, false), [OLD], "{steps}");
        // Some of it is taken, and then nobody comes any more.
        let first = world.nodes[OLD].got[2].index;
        world.ack(OLD, handle, (first, first + 3));
        world.nodes[OLD].got.clear();
        world.crash(OLD);
        world.start(OLD);
        world.heal_links();
        move_on(&mut world);
        move_on(&mut world);
        assert_eq!(serving(&world, false), [NEW], "{steps}");
        world.finish().unwrap_or_else(|wrong| panic!("{steps}: {wrong}"));
    }
    panic!("it does not come to its new home");
}

/// Who is at work on a message is waited for, and does not do it again at the new home.
#[test]
fn s47_what_a_receiver_is_at_work_on_for_long_is_not_delivered_again_at_the_new_home() {
    for is_queue in [false, true] {
        let mut world = prepared_as(1, false, is_queue);
        let name = if is_queue { "queue" } else { "s" };
        let handle = world.attach_quietly(OLD, GROUP, name);
        let now = world.now;
        world.nodes[OLD].credit_up_to(now, handle, 1);
        world.collect(OLD);
        world.read(OLD);
        let index = Index(world.nodes[OLD].got[0].index);
        world.ask_to_move(1, 0, Some(NEW));
        for done in 1..=3 {
            // Ten seconds of work on each: ack_wait is 30.
            move_on(&mut world);
            world.wait_ms(2_000);
            world.settle();
            let got = &world.nodes[OLD].got;
            assert_eq!((got.len(), serving(&world, is_queue)), (1, vec![OLD]), "queue: {is_queue}, {done}");
            if done == 3 {
                break;
            }
            let range = (index, index.after(1));
            world.nodes[OLD].settle_as(world.now, handle, range, AckKind::Progress);
        }
        // Its ack asks for the next one: that is the new home's.
        world.nodes[OLD].ack(world.now, handle, (index, index.after(1)));
        world.nodes[OLD].credit_up_to(world.now, handle, 2);
        world.collect(OLD);
        move_on(&mut world);
        assert_eq!((world.nodes[OLD].got.len(), serving(&world, is_queue)), (1, vec![NEW]));
        let (group, name) = names(OLD, GROUP, name);
        let rest = world.nodes[NEW].drain(world.now, &group, &name);
        assert!(rest.len() == 7 && !rest.contains(&world.nodes[OLD].got[0].payload), "{rest:?}");
    }
}

#[test]
fn s47_a_move_that_is_given_up_while_it_is_copied_leaves_nothing_behind() {
    for steps in 0..200 {
        let mut world = unread(false, false);
        (0..steps).for_each(|step| go_on_a_little(&mut world, step));
        let Ok(None) = ask_move(&mut world, 1, None) else {
            assert!(steps > 10, "{steps} steps");
            return;
        };
        go_on(&mut world);
        if world.has_moves() || serving(&world, false) != [OLD] {
            // It had come there.
            move_on(&mut world);
            assert_eq!(serving(&world, false), [NEW], "{steps}");
        }
        world.put(0, GROUP, 1);
        world.settle();
        world.finish().unwrap_or_else(|wrong| panic!("{steps}: {wrong}"));
    }
    panic!("it can always be given up");
}

#[test]
fn s47_what_was_brought_along_goes_on_with_the_next_move_and_the_next() {
    for is_queue in [false, true] {
        let mut world = unread(is_queue, false);
        move_on(&mut world);
        for to in [1, OLD, NEW, 1] {
            for node in [0, 1, 2] {
                world.put(node, GROUP, 2);
            }
            world.settle();
            world.ask_to_move(to, 0, Some(to));
            move_on(&mut world);
            move_on(&mut world);
            assert!(!world.has_moves(), "{}", world.tell_moves(OLD) + &world.tell_moves(NEW));
            assert_eq!(serving(&world, is_queue), [to], "queue: {is_queue}");
            // A start on the way changes nothing.
            world.save(to);
            world.settle();
            world.restart(to);
            move_on(&mut world);
        }
        world.finish().unwrap_or_else(|wrong| panic!("queue: {is_queue}: {wrong}"));
    }
}

#[test]
fn s47_a_relay_whose_subscriptions_nobody_reads_is_drained_when_they_have_moved() {
    let mut world = network(3, &LINE);
    world.subscribe(OLD, GROUP, "s");
    world.put(1, GROUP, 3);
    world.settle();
    world.ask_to_move(1, 0, Some(NEW));
    go_on(&mut world);
    let moving = ask_move(&mut world, 1, Some("r02")).unwrap().unwrap();
    assert_eq!(moving.stage, MoveStage::Consuming);
    let state = world.ask_to_drain(1, OLD, false).unwrap();
    assert!(!state.may_go && state.home_count == 1, "{state:?}");
    move_on(&mut world);
    let state = world.ask_to_drain(1, OLD, false).unwrap();
    assert!(state.begun && state.home_count == 0, "{state:?}");
}

#[test]
fn s47_what_is_damaged_at_the_old_home_is_told_there_where_it_would_have_come() {
    let mut world = prepared_as(1, false, false);
    world.ask_to_move(1, 0, Some(NEW));
    go_on(&mut world);
    let lost: usize = world.nodes.iter_mut().map(|node| node.damage(&["r00/000001/00"])).sum();
    assert!(lost > 0);
    for node in [1, 0, 2] {
        world.put(node, GROUP, 2);
    }
    world.settle();
    move_on(&mut world);
    // It is asked for elsewhere first.
    (0..4).for_each(|_| move_on(&mut world));
    assert_eq!(serving(&world, false), [NEW], "{}", world.tell_moves(OLD));
    let (group, name) = names(OLD, GROUP, "s");
    let now = world.now;
    let mut got = world.nodes[NEW].drain(now, &group, &name);
    // What is damaged there as well stands in what the old home is done with: nobody waits for it.
    assert_eq!((got.len(), world.nodes[NEW].gaps), (12, 1), "{got:?}");
    (0..4).for_each(|_| move_on(&mut world));
    let now = world.now;
    got.extend(world.nodes[NEW].drain(now, &group, &name));
    assert_eq!(got.len(), 12, "{got:?}");
}

#[test]
fn s47_what_is_damaged_of_what_was_brought_along_is_told_where_it_would_have_come() {
    let all = |is_damaged: bool| {
        let mut world = unread(false, false);
        move_on(&mut world);
        assert_eq!(serving(&world, false), [NEW], "{}", world.tell_moves(OLD));
        if is_damaged {
            // The copy, and what came here by itself.
            assert!(world.nodes[NEW].damage(&["r00/000001/00"]) > 0);
        }
        let (group, name) = names(OLD, GROUP, "s");
        let now = world.now;
        let got = world.nodes[NEW].drain(now, &group, &name);
        (got, world.nodes[NEW].gaps)
    };
    let (mut whole, gaps) = all(false);
    assert_eq!(gaps, 0);
    whole.retain(|payload| !payload.starts_with("r00/000001/"));
    assert_eq!(all(true), (whole, 1));
}

#[test]
fn s47_what_was_acked_in_between_is_not_brought_along() {
    let mut world = prepared_as(1, false, false);
    let handle = world.attach(OLD, GROUP, "s");
    world.settle();
    let got: Vec<(u64, String)> =
        world.nodes[OLD].got.drain(..).map(|got| (got.index, got.payload)).collect();
    assert_eq!(got.len(), 8);
    // The first one, and two in the middle.
    let acked = [0, 3, 4];
    for at in acked {
        world.ack(OLD, handle, (got[at].0, got[at].0 + 1));
    }
    world.ask(OLD, Request::Sync).unwrap();
    world.ask(OLD, Request::Detach { handle }).unwrap();
    world.ask_to_move(1, 0, Some(NEW));
    (0..3).for_each(|_| move_on(&mut world));
    assert_eq!(serving(&world, false), [NEW], "{}", world.tell_moves(OLD));
    world.crash(NEW);
    world.start(NEW);
    world.heal_links();
    world.settle();
    let (group, name) = names(OLD, GROUP, "s");
    let now = world.now;
    let taken = world.nodes[NEW].drain(now, &group, &name);
    let left = got.iter().enumerate().filter(|(at, _)| !acked.contains(at)).map(|(_, (_, payload))| payload);
    assert_eq!(taken.iter().collect::<Vec<_>>(), left.collect::<Vec<_>>());
    let books = world.ask(NEW, Request::Books { group: None });
    let Ok(Reply::Books(books)) = books else { panic!("{books:?}") };
    assert!(books.balanced, "{books:?}");
}

#[test]
fn s47_acks_that_are_lost_with_a_crash_while_it_is_copied_take_nothing_away() {
    for steps in 0..80 {
        let mut world = prepared_as(1, false, false);
        world.ask_to_move(1, 0, Some(NEW));
        go_on(&mut world);
        let handle = world.attach(OLD, GROUP, "s");
        world.settle();
        let (got, payloads): (Vec<u64>, Vec<String>) =
            world.nodes[OLD].got.drain(..).map(|got| (got.index, got.payload)).unzip();
        world.has_taken(0, &payloads);
        // The floor has passed these, and the disk does not know.
        world.ack(OLD, handle, (got[0], got[3]));
        world.nodes[OLD].begin(world.now, Request::Detach { handle });
        for _ in 0..60 {
            world.wait_ms(100);
            for (wire, end) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                world.arrive_at(wire, end);
            }
            (1..3).for_each(|node| world.sync(node));
        }
        (0..steps).for_each(|step| {
            if step % 8 != 4 {
                go_on_a_little(&mut world, step);
            }
        });
        world.crash(OLD);
        world.start(OLD);
        world.heal_links();
        (0..3).for_each(|_| move_on(&mut world));
        assert_eq!(serving(&world, false), [NEW], "{steps}: {}", world.tell_moves(OLD));
        world.finish().unwrap_or_else(|wrong| panic!("{steps}: {wrong}"));
    }
}

#[test]
fn r12_a_new_home_that_loses_its_disk_as_it_takes_the_rest_over_makes_no_two_homes() {
    let mut struck = 0;
    for steps in 0.. {
        let mut world = unread(false, false);
        (0..steps).for_each(|step| go_on_a_little(&mut world, step));
        let is_taken =
            |said: LinkMessage| matches!(said, LinkMessage::Move(frame) if frame.says == MoveSays::Taken);
        if !world.nodes[OLD].has_moves() || world.moves_on(0, 0).into_iter().any(is_taken) {
            break;
        }
        if serving(&world, false) == [OLD] {
            continue;
        }
        struck += 1;
        world.wipe(NEW);
        world.heal_links();
        for step in 0..600 {
            go_on_a_little(&mut world, step);
            let homes = serving(&world, false);
            assert!(homes.len() < 2, "{steps} steps, {step} later: {homes:?}");
        }
        (0..4).for_each(|_| move_on(&mut world));
        assert_eq!(serving(&world, false), [NEW], "{steps}: {}", world.tell_moves(OLD));
        world.finish().unwrap_or_else(|wrong| panic!("{steps}: {wrong}"));
    }
    assert!(struck > 3, "{struck} times");
}
