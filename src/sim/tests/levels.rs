//! Put levels of producers that try again (R15).

use super::super::storms::Weather;
use super::super::world::World;
use crate::id::{ProducerId, ProducerSequence};
use crate::wire::frame::AckLevel;

/// Puts the first message of a producer, once more or for the first time, as the put of this number.
fn put(world: &mut World, number: u64, level: (AckLevel, u16)) {
    world.put_first(0, "g", number, level);
    go_on(world);
}

/// All goes on for a second, but for the disk of the member.
fn go_on(world: &mut World) {
    for _ in 0..100 {
        world.arrive_unsynced();
        world.sync(0);
        world.wait_ms(10);
    }
}

/// A repeat waits for its level as the put that it repeats does, also after a restart, when it is not
/// remembered who has what.
#[test]
fn r15_a_put_that_is_tried_again_after_a_restart_waits_for_its_level() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    for level in [(AckLevel::Inserted, 0), (AckLevel::Stored, 2)] {
        let mut world = World::new(1, 2, &[(0, 1, 1)]);
        world.subscribe(1, "g", "s");
        world.put(0, "g", 1);
        world.settle();
        put(&mut world, 1_000_001, level);
        world.crash(0);
        world.start(0);
        world.set_link(0, true);
        go_on(&mut world);
        put(&mut world, 1_000_002, level);
        assert_eq!(world.until_answered(1_000_002, &calm, 0), None, "{level:?}: the member's disk lacks it");
        world.settle();
        assert_eq!(world.until_answered(1_000_002, &calm, 20_000), Some(level.0));
    }
}

/// Whoever hears that a message is consumed relies on it: an ack that a crash takes would bring it again.
#[test]
fn r15_a_put_waits_for_consumed_until_the_ack_is_on_the_disk() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "s");
    let handle = world.attach(1, "g", "s");
    let (number, _) = world.put_at_level(0, "g", (AckLevel::Consumed, 0));
    world.settle();
    world.ack(1, handle, (0, 1000));
    go_on(&mut world);
    assert_eq!(world.until_answered(number, &calm, 0), None, "the ack is on no disk");
    world.settle();
    assert_eq!(world.until_answered(number, &calm, 20_000), Some(AckLevel::Consumed));
}

/// Puts the first message of a producer at relay 1, to be consumed.
fn put_again(world: &mut World, number: u64) {
    world.put_first(1, "g", number, (AckLevel::Consumed, 0));
    world.collect(1);
    world.settle();
}

/// A put that is tried again may stand in an epoch that is finished since all have it, and forgotten: who has
/// acked it nobody remembers.
#[test]
fn r15_a_put_that_is_tried_again_is_not_consumed_because_its_epoch_is_finished() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    for is_late in [false, true] {
        let mut world = World::new(1, 2, &[(0, 1, 1)]);
        world.subscribe(0, "g", "s");
        world.settle();
        put_again(&mut world, 1_000_001);
        world.restart(1);
        world.heal_links();
        if is_late {
            // The epoch before is sealed behind it, and everybody has that.
            world.put(1, "g", 1);
            world.settle();
            world.wait_ms(1_000);
            world.settle();
        }
        put_again(&mut world, 1_000_002);
        world.wait_ms(1_000);
        world.settle();
        let said = world.until_answered(1_000_002, &calm, 100);
        let case = format!("late: {is_late}");
        assert_ne!(said, Some(AckLevel::Consumed), "{case}: nobody has acked it");
        world.take(0);
        world.settle();
        for _ in 0..3 {
            world.wait_ms(1_000);
            world.settle();
        }
        let said = world.until_answered(1_000_002, &calm, 100);
        assert_eq!(said, Some(AckLevel::Consumed), "{case}");
    }
}

/// What it stands in is written in this boot, whatever is finished behind it.
#[test]
fn r15_a_put_of_this_boot_that_is_tried_again_is_consumed_though_the_epoch_before_is_finished() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(0, "g", "s");
    world.put(1, "g", 1);
    world.settle();
    world.restart(1);
    world.heal_links();
    put_again(&mut world, 1_000_001);
    world.wait_ms(1_000);
    world.settle();
    put_again(&mut world, 1_000_002);
    assert_eq!(world.until_answered(1_000_002, &calm, 0), None, "nobody has acked it");
    world.take(0);
    world.settle();
    for _ in 0..3 {
        world.wait_ms(1_000);
        world.settle();
    }
    assert_eq!(world.until_answered(1_000_002, &calm, 100), Some(AckLevel::Consumed));
}

/// What an origin that is away has put may be released to nobody; who has acked all has consumed it.
#[test]
fn r15_a_put_is_consumed_though_another_origin_is_away_that_has_not_heard_who_has_what() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    let mut world = World::new(1, 3, &[(0, 1, 1), (1, 2, 1)]);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.put(2, "g", 1);
    world.settle();
    assert_eq!(world.drain(1, "g", "s").len(), 2);
    world.rest();
    // It is on the member's disk, and its origin dies before it hears that.
    world.put(2, "g", 1);
    world.sync(2);
    while world.arrive_at(1, 0) {}
    world.sync(1);
    world.crash(2);
    world.settle();
    let (number, _) = world.put_at_level(0, "g", (AckLevel::Consumed, 0));
    world.settle();
    assert_eq!(world.drain(1, "g", "s").len(), 2);
    world.settle();
    assert_eq!(world.until_answered(number, &calm, 20_000), Some(AckLevel::Consumed));
}

/// Whoever takes it for a repeat has heard nothing of who has it: that is told to its origin.
#[test]
fn r15_a_put_that_is_tried_again_at_another_relay_is_not_said_to_be_where_it_is_not() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    for level in [(AckLevel::Inserted, 0), (AckLevel::Stored, 3), (AckLevel::Consumed, 0)] {
        let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (1, 3, 1)]);
        for node in [2, 3] {
            world.subscribe(node, "g", "s");
        }
        world.put(0, "g", 1);
        world.settle();
        // Both members are cut off; the relay between keeps for them.
        for wire in [1, 2] {
            world.set_link(wire, false);
        }
        world.settle();
        world.put_as(0, "g", 1, &["x"]);
        world.settle();
        assert_eq!(world.on_disk(1, "g"), 2, "it is there");
        // The answer is lost, and the publisher tries there.
        let now = world.now;
        let handle = world.nodes[1].open(now, &"g".parse().expect("a name"));
        let producer = Some((ProducerId(7), ProducerSequence(1)));
        world.nodes[1].put_as(now, (handle, 1_000_002), &["x".to_owned()], level, producer);
        world.collect(1);
        world.settle();
        let answered = world.until_answered(1_000_002, &calm, 0);
        assert_ne!(answered, Some(level.0), "the members have nothing of it");
        for wire in [1, 2] {
            world.set_link(wire, true);
        }
        world.settle();
        // What subscriptions are done with is told to the relay that took it first, and to nobody else.
        let reached = if level.0 == AckLevel::Consumed { AckLevel::Accepted } else { level.0 };
        (0..5).for_each(|_| world.rest());
        assert_eq!(world.until_answered(1_000_002, &calm, 0), Some(reached));
    }
}

/// There it is known of the members alone that they have it: more copies than these are not waited for.
#[test]
fn r15_a_put_that_is_tried_again_at_another_relay_waits_for_no_more_copies_than_can_be_known() {
    let calm = Weather { puts: 0, ..Weather::CALM };
    for (copies, reached) in [(2, AckLevel::Stored), (3, AckLevel::Accepted), (4, AckLevel::Accepted)] {
        let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
        world.subscribe(3, "g", "s");
        world.put_as(0, "g", 1, &["x"]);
        world.settle();
        let now = world.now;
        let handle = world.nodes[2].open(now, &"g".parse().expect("a name"));
        let producer = Some((ProducerId(7), ProducerSequence(1)));
        let again = (handle, 1_000_002);
        world.nodes[2].put_as(now, again, &["x".to_owned()], (AckLevel::Stored, copies), producer);
        world.collect(2);
        (0..5).for_each(|_| world.rest());
        assert_eq!(world.until_answered(again.1, &calm, 0), Some(reached), "stored={copies}");
    }
}
