//! A relay that crashes between what it does and what its disk knows of it (S16, S17).

use super::super::world::{World, names};
use super::LINE;
use crate::id::SessionId;
use crate::relay::Input;
use crate::wire::frame::{AckLevel, Credit};

const HOME: usize = 2;

/// Somebody receives all that there is, and nothing of that is on the disk of the home: the handle, and what came.
fn receive(world: &mut World) -> (u32, Vec<(u64, String)>) {
    let (group, name) = names(HOME, "g", "s");
    let now = world.now;
    let handle = world.nodes[HOME].attach(now, &group, &name);
    let credits = vec![Credit { handle, total: u64::MAX }];
    world.nodes[HOME].input(now, Input::Credit { session: SessionId(1), credits });
    world.collect(HOME);
    (handle, world.nodes[HOME].got.drain(..).map(|got| (got.index, got.payload)).collect())
}

/// Four messages, of which two are on the disk of their home for long. It crashes when so many are acked, and its
/// disk has so many entries of what it had not synced.
fn crash((is_synced, acked, kept): (bool, usize, usize)) {
    let case = format!("synced {is_synced}, acked {acked}, kept {kept}");
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(HOME, "g", "s");
    world.put(0, "g", 2);
    world.settle();
    world.put(0, "g", 2);
    world.sync(0);
    world.arrive_unsynced();
    if is_synced {
        world.sync(HOME);
    }
    let (handle, got) = receive(&mut world);
    assert_eq!(got.len(), 4, "{case}: what is on the disk of its origin is delivered");
    if acked > 0 {
        world.ack(HOME, handle, (got[0].0, got[acked - 1].0 + 1));
    }
    world.crash_keeping(HOME, kept);
    world.start(HOME);
    world.heal_links();
    (0..2).for_each(|_| world.rest());
    let held = world.nodes[HOME].held(&"g".parse().unwrap());
    assert!(
        held.iter().all(|one| held.iter().filter(|other| one == *other).count() == 1),
        "{case}: {held:?}"
    );
    let left = world.drain(HOME, "g", "s");
    // No ack was confirmed, so each may come again, and what was not acked has to come.
    let expected: Vec<&String> = got.iter().map(|(_, payload)| payload).collect();
    let from = expected.len() - left.len();
    assert!(from <= acked, "{case}: {left:?}");
    assert_eq!(
        left.iter().collect::<Vec<_>>(),
        expected[from..],
        "{case}: in order, each once, without a hole"
    );
    assert_eq!((world.nodes[HOME].gaps, world.nodes[HOME].losses()), (0, 0), "{case}");
    world.watched().unwrap();
}

#[test]
fn s16_a_home_that_crashes_before_appends_or_acks_are_synced_inserts_nothing_twice_and_misses_nothing() {
    for is_synced in [false, true] {
        for acked in 0..=4 {
            (0..8).for_each(|kept| crash((is_synced, acked, kept)));
        }
    }
}

#[test]
fn s17_an_origin_that_crashes_before_its_publisher_is_answered_has_one_copy_when_that_tries_again() {
    for kept in 0..6 {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(HOME, "g", "s");
        world.settle();
        world.put_first(0, "g", 1_000_001, (AckLevel::Accepted, 0));
        world.crash_keeping(0, kept);
        world.start(0);
        world.heal_links();
        world.put_first(0, "g", 1_000_002, (AckLevel::Accepted, 0));
        world.collect(0);
        world.settle();
        (0..2).for_each(|_| world.rest());
        let calm = crate::sim::storms::Weather { puts: 0, ..crate::sim::storms::Weather::CALM };
        assert_eq!(
            world.until_answered(1_000_001, &calm, 0),
            None,
            "kept {kept}: the first try has no answer"
        );
        assert_eq!(world.until_answered(1_000_002, &calm, 100), Some(AckLevel::Accepted), "kept {kept}");
        assert_eq!(world.drain(HOME, "g", "s"), ["once"], "kept {kept}");
    }
}
