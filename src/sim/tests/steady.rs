//! What a network says when there is nothing new.

use super::super::storms::Weather;
use super::super::world::{Said, World};
use crate::wire::frame::AckLevel;

/// A network with groups that have members everywhere and messages that all have acked.
fn with_groups(relays: usize, groups: usize) -> World {
    let mut world = World::random(1, relays);
    for group in 0..groups {
        for member in 0..3 {
            world.subscribe((group * 7 + member * 11) % relays, &format!("g{group}"), "s");
        }
        world.put(group % relays, &format!("g{group}"), 1);
    }
    world.finish().unwrap();
    world
}

#[test]
fn neighbours_that_know_the_same_say_a_hash_and_no_facts_when_their_link_comes_up() {
    let mut world = with_groups(12, 40);
    let all = world.nodes[0].facts();
    assert!(all > 200, "{all} facts");
    world.count_said();
    world.set_link(0, false);
    world.settle();
    world.set_link(0, true);
    world.settle();
    let facts: u64 = world.said().map(|said| said.facts).sum();
    let links = world.said().count() as u64;
    // The link is a bridge, or it is not: then both have heard that it was down. Its coming and going
    // is news for everybody.
    assert!(facts <= 4 * links + 20, "{facts} facts for one link that flaps");
    world.finish().unwrap();
}

#[test]
fn neighbours_that_know_a_little_else_say_little_else() {
    let mut world = with_groups(3, 100);
    let all = world.nodes[0].facts();
    // What one side learns while the other is away.
    world.crash(2);
    world.settle();
    world.subscribe(0, "new", "s");
    world.put(0, "new", 1);
    world.settle();
    world.count_said();
    world.start(2);
    world.heal_links();
    world.settle();
    let facts: u64 = world.said().map(|said| said.facts).sum();
    assert!(facts < all / 2, "{facts} facts, of {all}");
    world.subscribe(2, "new", "s");
    world.put(1, "new", 1);
    world.settle();
    assert_eq!(world.drain(2, "new", "s").len(), 1);
}

/// Bytes of pings and pongs that one end of a link sends in a second when no other hello is set.
const PINGS: u64 = 2 * 1000 / 100 * crate::wire::frame::FRAME_HEADER_BYTES as u64;

/// What the busiest direction of any link has said in a second, on the average, and pings.
fn most(world: &mut World, seconds: u64) -> u64 {
    world.count_said();
    for _ in 0..seconds / 10 {
        world.rest();
    }
    world.said().map(|said: Said| said.bytes / seconds).max().unwrap_or(0) + PINGS
}

#[test]
fn an_idle_network_says_less_than_a_kilobyte_per_second_over_any_link() {
    let mut world = with_groups(60, 60);
    let idle = most(&mut world, 60);
    assert!((PINGS..PINGS + 5).contains(&idle), "nothing but pings and a hash from time to time: {idle}");
    // A member is away and is kept for: who keeps something says so from time to time.
    world.crash(30);
    for group in 0..60 {
        world.put(group % 30, &format!("g{group}"), 1);
    }
    world.settle();
    // Its pauses have become long after a minute.
    (0..6).for_each(|_| world.rest());
    let kept = most(&mut world, 60);
    assert!(kept <= 1000, "{kept} bytes per second over one link");
}

#[test]
fn s6_the_last_message_of_a_burst_that_is_lost_with_its_link_comes_with_nothing_behind_it() {
    let mut world = World::new(1, 3, &[(0, 1, 1), (1, 2, 1)]);
    world.subscribe(2, "g", "s");
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.settle();
    world.put(0, "g", 1);
    world.sync(0);
    // It is on its way now, and goes with the link.
    world.set_link(0, false);
    world.set_link(0, true);
    let calm = Weather { puts: 0, ..Weather::CALM };
    (0..2000).for_each(|_| world.step(&calm));
    assert_eq!(world.drain(2, "g", "s").len(), 4);
}

/// What is said in a minute while a relay keeps something for a member that is away, and in the ten seconds in which
/// much is put that all take.
fn said_where(level: AckLevel) -> (u64, u64) {
    let mut world = World::new(1, 3, &[(0, 1, 1), (1, 2, 1)]);
    world.subscribe(2, "g", "s");
    world.put_at_level(0, "g", (level, 0));
    world.settle();
    world.drain(2, "g", "s");
    world.settle();
    world.rest();
    world.count_said();
    for _ in 0..20 {
        world.put(0, "g", 1);
        world.pass_ms(500);
        world.settle();
    }
    let busy = world.said().map(|said: Said| said.messages).sum();
    world.drain(2, "g", "s");
    world.settle();
    world.set_link(1, false);
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    // The pauses have become long.
    (0..12).for_each(|_| world.rest());
    world.count_said();
    (0..6).for_each(|_| world.rest());
    (world.said().map(|said: Said| said.messages).sum(), busy)
}

#[test]
fn who_has_no_subscription_says_no_more_because_a_put_has_waited_before() {
    let (plain, waited) = (said_where(AckLevel::Accepted), said_where(AckLevel::Consumed));
    assert!(waited.0 <= plain.0 + 3, "{waited:?} messages, and {plain:?} where no put has waited");
    assert!(waited.1 <= plain.1 + 3, "{waited:?} messages, and {plain:?} where no put has waited");
}
