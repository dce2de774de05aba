//! A backup that is put back, while others have gone on (R4).

use super::super::world::World;
use super::{LINE, puts};
use crate::log::Entry;
use crate::wire::body::{Reply, Request};
use crate::wire::run::RunKind;

fn warned(world: &World, node: usize) -> bool {
    world.nodes[node].warnings().iter().any(|warning| warning.contains("older image of itself"))
}

#[test]
fn s21_an_origin_that_is_put_back_uses_no_sequence_again_and_goes_on() {
    for was_restarted in [false, true] {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(1, "g", "s");
        world.subscribe(2, "g", "s");
        (0..2).for_each(|_| world.put(0, "g", 1));
        world.settle();
        let image = world.nodes[0].image();
        if was_restarted {
            world.crash(0);
            world.heal();
        }
        (0..3).for_each(|_| world.put(0, "g", 1));
        world.settle();
        world.put_back(0, &image);
        world.heal();
        assert!(warned(&world, 0));
        (0..2).for_each(|_| world.put(0, "g", 1));
        world.settle();
        // And again in later boots: nothing waits for an end that nobody will write.
        world.crash(0);
        world.heal();
        world.put(0, "g", 1);
        world.heal();
        for node in [1, 2] {
            assert_eq!(puts(&world.drain(node, "g", "s")), [1, 2, 3, 4, 5, 6, 7, 8], "at {node}");
        }
        world.rest();
        assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
        let warnings = world.nodes[0].warnings().len();
        assert_eq!(warnings, 0, "told once: {:?}", world.nodes[0].warnings());
    }
}

#[test]
fn s21_an_origin_that_is_put_back_is_found_out_though_it_has_put_nothing_since() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let image = world.nodes[0].image();
    for _ in 0..2 {
        world.restart(0);
    }
    world.put_back(0, &image);
    world.heal();
    assert!(warned(&world, 0), "others know of a later boot");
    world.put(0, "g", 1);
    world.heal();
    assert_eq!(puts(&world.drain(1, "g", "s")), [1, 2]);
}

/// An origin has put five messages, which all members have, and forgets the last three of them:
/// it is killed, and its disk had not written what it had called synced.
fn with_a_disk_that_lied() -> World {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.subscribe(2, "g", "s");
    for _ in 0..5 {
        world.put(0, "g", 1);
        world.settle();
    }
    assert_eq!([0, 1, 2].map(|node| world.on_disk(node, "g")), [5; 3]);
    world.crash_forgetting(0, 3);
    world.start(0);
    assert_eq!(world.on_disk(0, "g"), 2);
    world
}

#[test]
fn s20_an_origin_whose_disk_forgets_what_was_sent_gives_no_number_twice() {
    for put_alone in [0, 2] {
        let mut world = with_a_disk_that_lied();
        (0..put_alone).for_each(|_| world.put(0, "g", 1));
        world.settle();
        world.heal_links();
        world.settle();
        assert!(warned(&world, 0), "others have what it has put");
        (0..2).for_each(|_| world.put(0, "g", 1));
        world.settle();
        let last = 7 + put_alone;
        for node in [1, 2] {
            let got = puts(&world.drain(node, "g", "s"));
            assert_eq!(got, [1, 2, 3, 4, 5, last - 1, last], "at {node}: what is put now waits for nothing");
        }
        // What was put alone stands behind an end of the first epoch that others cannot take: they look
        // for another one before they go on without it.
        (0..2).for_each(|_| world.rest());
        for node in [1, 2] {
            let got = puts(&world.drain(node, "g", "s"));
            assert_eq!(got, (6..6 + put_alone).collect::<Vec<_>>(), "at {node}, {put_alone} put alone");
        }
        (0..3).for_each(|_| world.rest());
        assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
        if put_alone == 0 {
            world.watched().unwrap();
        } else {
            // That end is all that has a number twice, and nobody else has it.
            let wrong = world.watched().unwrap_err();
            assert!(wrong.starts_with("I2: r00 has another record"), "{wrong}");
        }
    }
}

#[test]
fn s20_an_origin_that_has_found_out_what_it_lacks_knows_it_after_a_crash_too() {
    let mut world = with_a_disk_that_lied();
    world.set_link(0, true);
    for _ in 0..200 {
        if warned(&world, 0) {
            break;
        }
        world.arrive_at(0, 1);
        world.arrive_at(0, 0);
        world.wait_ms(1);
    }
    assert!(warned(&world, 0));
    assert_eq!(
        world.nodes[0].log().0.iter().filter(|entry| is_message(entry)).count(),
        2,
        "nothing has come"
    );
    world.sync(0);
    world.crash(0);
    world.start(0);
    // It writes nothing into streams of which others have more, not even their ends.
    world.put(0, "g", 1);
    world.settle();
    world.heal();
    for node in [1, 2] {
        assert_eq!(puts(&world.drain(node, "g", "s")), [1, 2, 3, 4, 5, 6], "at {node}");
    }
    (0..3).for_each(|_| world.rest());
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
    world.watched().unwrap();
}

fn is_message(entry: &Entry) -> bool {
    matches!(entry, Entry::Run(run) if run.run.header.kind == RunKind::Data)
}

#[test]
fn s22_a_member_that_is_put_back_gets_again_what_others_have() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "slow");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let image = world.nodes[2].image();
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.settle();
    assert_eq!(puts(&world.drain(2, "g", "s")), [1, 2, 3, 4]);
    world.rest();
    world.put_back(2, &image);
    world.heal();
    world.put(0, "g", 1);
    world.heal();
    assert!(warned(&world, 2));
    // What it had acked after the image it gets again.
    assert_eq!(puts(&world.drain(2, "g", "s")), [1, 2, 3, 4, 5]);
}

#[test]
fn s22_a_member_that_is_put_back_is_told_of_what_nobody_has_any_more() {
    for is_something_new in [false, true] {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(2, "g", "s");
        world.put(0, "g", 1);
        world.settle();
        let image = world.nodes[2].image();
        (0..3).for_each(|_| world.put(0, "g", 1));
        world.settle();
        assert_eq!(puts(&world.drain(2, "g", "s")), [1, 2, 3, 4]);
        world.rest();
        assert_eq!(world.nodes[1].held_runs() + world.nodes[0].held_runs(), 0, "let go everywhere");
        world.put_back(2, &image);
        world.heal();
        if is_something_new {
            world.put(0, "g", 1);
            world.heal();
        }
        assert!(warned(&world, 2));
        let gaps = world.nodes[2].gaps;
        let got = puts(&world.drain(2, "g", "s"));
        assert_eq!(got, if is_something_new { vec![1, 5] } else { vec![1] });
        assert!(world.nodes[2].gaps > gaps, "it is told that something is lost");
        // A start that follows knows that it was told.
        world.crash(2);
        world.heal();
        assert!(!warned(&world, 2));
    }
}

#[test]
fn a_relay_that_was_not_put_back_keeps_its_storage_whatever_crashes() {
    for seed in 0..60 {
        let mut world = super::super::storms::stormy(seed, 300).unwrap();
        world.heal();
        for node in 0..world.nodes.len() {
            assert!(!warned(&world, node), "seed {seed}: {:?}", world.nodes[node].warnings());
        }
    }
}

#[test]
fn r4_what_is_put_before_and_after_a_relay_finds_out_that_it_was_put_back_has_different_names() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let image = world.nodes[0].image();
    world.restart(0);
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.settle();
    world.put_back(0, &image);
    // It takes some before it meets anybody.
    let handle = |world: &mut World| match world.ask(0, Request::GroupOpen { group: "g".parse().unwrap() }) {
        Ok(Reply::GroupHandle { nonce, .. }) => nonce,
        other => panic!("{other:?}"),
    };
    assert_eq!(handle(&mut world), None);
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.heal();
    assert!(warned(&world, 0));
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.heal();
    let told = handle(&mut world);
    let Ok(Reply::Group(info)) = world.ask(1, Request::GroupShow { group: "g".parse().unwrap() }) else {
        panic!("it is there")
    };
    let mine = info.streams.iter().filter(|stream| stream.origin.as_str() == "r00");
    let mut names: Vec<(u64, u64)> = mine.map(|stream| (stream.epoch.counter, stream.epoch.nonce)).collect();
    let streams = names.len();
    assert!(names.iter().any(|(_, nonce)| Some(*nonce) == told), "{names:?}, {told:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), streams, "{names:?}");
}

/// Links are on no disk: whoever has started since knows nothing of later boots by them.
#[test]
fn r4_an_origin_that_is_put_back_is_found_out_when_nobody_knows_its_links() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let image = world.nodes[0].image();
    for _ in 0..3 {
        world.restart(0);
        world.put(0, "g", 1);
        world.rest();
    }
    assert_eq!(world.drain(1, "g", "s").len(), 4);
    world.rest();
    world.restart(0);
    world.rest_for_long();
    (0..3).for_each(|node| world.crash(node));
    (1..3).for_each(|node| world.start(node));
    world.put_back(0, &image);
    world.heal();
    assert!(warned(&world, 0), "{:?}", world.nodes[0].warnings());
    world.put(0, "g", 1);
    world.heal();
    assert_eq!(puts(&world.drain(1, "g", "s")), [5]);
}

/// What it says is above what the disk before has said, which was started more often.
#[test]
fn r4_a_relay_with_a_new_disk_is_not_taken_for_one_that_was_put_back() {
    for is_restarted in [false, true] {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(1, "g", "s");
        (0..3).for_each(|_| world.restart(0));
        world.wipe(0);
        world.heal_links();
        world.settle();
        if is_restarted {
            world.crash(0);
        } else {
            // Nobody hears that this end is down before it is up again.
            world.set_link(0, false);
            world.settle();
        }
        world.heal();
        assert!(!warned(&world, 0), "{is_restarted}: {:?}", world.nodes[0].warnings());
        world.put(0, "g", 1);
        world.heal();
        assert_eq!(puts(&world.drain(1, "g", "s")), [1]);
        assert_eq!(world.nodes[1].gaps, 0);
    }
}

/// R3: others would take it for what this disk has, and for gone when it has it not.
#[test]
fn r3_a_subscription_that_was_made_again_is_told_to_nobody_before_it_is_durable() {
    let mut world = World::new(1, 3, &[(0, 1, 1), (0, 2, 1), (1, 2, 1)]);
    world.subscribe(0, "g", "s");
    world.settle();
    world.wipe(0);
    // The first neighbour tells what the lost disk had; it is made again, and not synced.
    world.set_link(0, true);
    world.arrive_unsynced();
    // The second one compares.
    world.set_link(1, true);
    world.arrive_unsynced();
    world.crash_forgetting(0, 0);
    world.heal();
    assert_eq!(world.serving(0), [0], "others knew it, so it is made again");
}

#[test]
fn r4_a_relay_that_has_lost_its_disk_is_not_taken_for_one_that_was_put_back_then_or_later() {
    for links in [&LINE[..], &[(0, 1, 1), (1, 2, 1), (0, 2, 9)][..]] {
        let mut world = World::new(1, 3, links);
        world.subscribe(2, "g", "s");
        // The disk that is lost was started from more often than the new one will be.
        (0..4).for_each(|_| world.restart(2));
        world.put(0, "g", 1);
        world.settle();
        world.wipe(2);
        world.heal();
        assert!(!warned(&world, 2), "wiped: {:?}", world.nodes[2].warnings());
        world.drain(2, "g", "s");
        world.rest();
        for start in 0..4 {
            let (storage, gaps) = (world.nodes[2].storage(), world.nodes[2].gaps);
            world.restart(2);
            world.heal();
            world.put(0, "g", 1);
            world.heal();
            assert!(!warned(&world, 2), "start {start}: {:?}", world.nodes[2].warnings());
            assert_eq!(world.nodes[2].storage(), storage, "start {start}");
            assert_eq!(world.drain(2, "g", "s").len(), 1, "start {start}");
            assert_eq!(world.nodes[2].gaps, gaps, "start {start}: nothing is missing");
        }
    }
}

/// What is released stands in snapshots alone: a relay that crashes has again what it had let go, and does not know
/// that nobody needs it.
#[test]
fn r3_what_nobody_kept_does_not_come_again_with_the_start_of_a_relay_that_had_let_it_go() {
    let scenes =
        [(2, 0), (2, 1), (0, 0), (0, 1)].into_iter().flat_map(|scene| [(scene, false), (scene, true)]);
    for ((wiped, first), puts_both) in scenes {
        let mut world = World::new(1, 3, &LINE);
        (0..3).for_each(|node| world.subscribe(node, "g", "s"));
        world.put(0, "g", 9);
        if puts_both {
            world.put(1, "g", 9);
        }
        world.settle();
        world.take_all();
        world.rest();
        assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0, "all is let go");
        world.wipe(wiped);
        world.heal();
        for _ in 0..40 {
            world.wait_ms(100);
            world.settle();
        }
        assert_eq!(world.drain(wiped, "g", "s"), [""; 0]);
        world.sync(1);
        world.crash(1);
        world.start(1);
        for wire in [first, 1 - first] {
            world.set_link(wire, true);
            world.settle();
            world.wait_ms(100);
            world.settle();
        }
        // Nothing else happens that would let go what is released.
        for _ in 0..40 {
            world.wait_ms(20);
            world.settle();
        }
        world.rest();
        assert_eq!(world.drain(wiped, "g", "s"), [""; 0], "relay {wiped} wiped, link {first} up first");
    }
}
