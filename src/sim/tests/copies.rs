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
