//! Neighbours compare what they know, also over a link that stays up.

use super::super::node::Node;
use super::super::world::{World, names};
use super::LINE;
use crate::limits;
use crate::wire::body::SubscribeLevel;

/// How often a relay has found a neighbour to know something else.
fn differed(world: &World) -> u64 {
    world.nodes.iter().map(Node::differed).sum()
}

#[test]
fn news_that_got_lost_over_a_link_that_is_up_is_told_after_all() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "before", "s");
    world.settle();
    assert!(world.differing().is_empty());
    world.keep_facts_back();
    world.put(0, "g", 1);
    world.put(2, "h", 1);
    world.settle();
    let lost = world.take_facts();
    assert!(!lost.is_empty());
    assert_eq!(world.differing(), [[0, 1], [1, 2]]);

    world.pass_ms(limits::COMPARE_MS + limits::COMPARE_QUIET_MS);
    world.settle();
    // What the one in the middle learns at its next turn goes on as news.
    assert!(world.differing().is_empty());
    assert!(differed(&world) > 0);
    let warned =
        |node: usize| world.nodes[node].warnings().iter().any(|text| text.contains("something else"));
    assert!((0..3).any(warned));
}

#[test]
fn neighbours_that_know_the_same_say_a_hash_and_no_more_whatever_is_on_its_way() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    for round in 0..40 {
        // Told at all times: some of it is on its way while hashes are.
        world.put(round % 3, &format!("g{round}"), 1);
        world.pass_ms(3_700);
    }
    world.settle();
    assert_eq!(differed(&world), 0);
    // Until nobody is an origin any more.
    world.pass_ms(600_000);
    world.settle();
    world.count_said();
    for _ in 0..10 {
        world.pass_ms(limits::COMPARE_MS);
        world.settle();
    }
    assert_eq!((differed(&world), world.differing()), (0, Vec::new()));
    for said in world.said() {
        assert_eq!((said.facts, said.messages), (0, 10), "a hash each time: {said:?}");
        assert!(said.bytes < 10 * 50, "{said:?}");
    }
}

#[test]
fn what_waits_for_the_disk_is_no_difference() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(0, "g", "a");
    world.settle();
    world.pass_ms(limits::COMPARE_QUIET_MS + 1_000);
    world.settle();
    // The second of its group: no membership changes with it.
    let (group, name) = names(0, "g", "b");
    world.nodes[0].begin_subscribe(world.now, &group, &name, SubscribeLevel::Local);
    world.collect(0);
    // Its disk takes its time, and the neighbours compare.
    world.pass_ms(limits::COMPARE_MS);
    world.arrive_unsynced();
    assert_eq!(differed(&world), 0);
    world.settle();
    assert!(world.differing().is_empty());
}
