//! Puts that wait for copies on the disks of several relays, some of which are away.

use super::LINE;
use crate::sim::storms::Weather;
use crate::sim::world::World;
use crate::wire::frame::AckLevel;

const CALM: Weather = Weather { puts: 0, ..Weather::CALM };

/// A line of three: puts at one end, a subscription at the other.
fn line() -> World {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world
}

/// R15: only more copies than there can be are answered at once.
#[test]
fn r15_a_copy_at_a_relay_that_is_cut_off_is_waited_for() {
    for cut in [0, 1] {
        let mut world = line();
        world.set_link(cut, false);
        world.settle();
        let (stored, _) = world.put_at_level(0, "g", (AckLevel::Stored, 3));
        assert_eq!(world.until_answered(stored, &CALM, 5_000), None, "the link {cut} may come back");
        world.set_link(cut, true);
        assert_eq!(world.until_answered(stored, &CALM, 20_000), Some(AckLevel::Stored));
    }
}

#[test]
fn r15_more_copies_than_relays_are_refused_at_once_also_while_one_is_cut_off() {
    let mut world = line();
    world.set_link(1, false);
    world.settle();
    let (stored, _) = world.put_at_level(0, "g", (AckLevel::Stored, 4));
    assert_eq!(world.until_answered(stored, &CALM, 2_000), Some(AckLevel::Accepted));
}

/// Nobody waits for a relay that is back and does not carry the group.
#[test]
fn r15_a_put_is_answered_when_those_that_were_cut_off_are_back_and_are_too_few() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.settle();
    let (stored, _) = world.put_at_level(0, "g", (AckLevel::Stored, 3));
    assert_eq!(world.until_answered(stored, &CALM, 5_000), None);
    world.set_link(1, true);
    assert_eq!(world.until_answered(stored, &CALM, 20_000), Some(AckLevel::Accepted));
}

/// P1: who comes to the group behind a put never has it, and is no copy; the put is answered when nobody else
/// may come to have it.
#[test]
fn r15_who_came_to_the_group_behind_a_put_is_no_copy_of_it() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    let handle = world.attach(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.settle();
    world.put_first(0, "g", 1_000_001, (AckLevel::Stored, 3));
    assert_eq!(world.until_answered(1_000_001, &CALM, 5_000), None, "who is cut off may have it yet");
    world.ack(1, handle, (0, 1000));
    world.subscribe(2, "g", "late");
    world.settle();
    (0..5).for_each(|_| world.rest());
    world.set_link(1, true);
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    (0..5).for_each(|_| world.rest());
    assert_eq!(world.on_disk(2, "g"), 1, "what was put behind it");
    assert_eq!(world.until_answered(1_000_001, &CALM, 20_000), Some(AckLevel::Accepted));
    // The same when it is tried again, and again after a start.
    for number in [1_000_002, 1_000_003] {
        world.put_first(0, "g", number, (AckLevel::Stored, 3));
        world.settle();
        (0..5).for_each(|_| world.rest());
        assert_ne!(world.until_answered(number, &CALM, 0), Some(AckLevel::Stored), "{number}");
        world.put_first(0, "g", 2 * number, (AckLevel::Stored, 2));
        assert_eq!(world.until_answered(2 * number, &CALM, 20_000), Some(AckLevel::Stored), "{number}");
        world.crash(0);
        world.start(0);
        world.set_link(0, true);
        world.settle();
    }
}

/// The same of a put that nobody was owed, when the first member comes.
#[test]
fn r15_the_first_member_that_comes_behind_a_put_is_no_copy_of_it() {
    let mut world = World::new(1, 3, &LINE);
    world.put(0, "g", 1);
    world.settle();
    for link in [0, 1] {
        world.set_link(link, false);
    }
    world.settle();
    let (stored, _) = world.put_at_level(0, "g", (AckLevel::Stored, 2));
    assert_eq!(world.until_answered(stored, &CALM, 5_000), None);
    world.subscribe(2, "g", "late");
    world.settle();
    for link in [0, 1] {
        world.set_link(link, true);
    }
    world.put(0, "g", 1);
    world.settle();
    (0..5).for_each(|_| world.rest());
    assert_eq!((world.on_disk(1, "g"), world.on_disk(2, "g")), (1, 1));
    assert_eq!(world.until_answered(stored, &CALM, 20_000), Some(AckLevel::Accepted));
}
