//! Neighbours compare what they know, also over a link that stays up.

use super::super::node::Node;
use super::super::world::{World, names};
use super::{LINE, puts};
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

/// What it said with a new disk is above what others knew of the one before, so in a version that may be that
/// of its next boot. Whichever that is in when it hears of it, all others know what it says now, also who could
/// not hear it.
#[test]
fn r6_a_boot_counts_more_than_the_one_before_in_a_version_that_both_have_used() {
    for said in 0..24 {
        let (changes, is_parted) = (said / 2, said % 2 == 1);
        let mut world = World::new(1, 3, &LINE);
        world.settle();
        world.restart(0);
        // The first boot of the new disk speaks in versions of the second one of the old disk.
        world.wipe(0);
        world.heal_links();
        world.settle();
        world.crash(0);
        world.settle();
        world.set_link(1, !is_parted);
        world.start(0);
        assert_eq!(world.nodes[0].boot(), 2);
        world.set_link(0, true);
        for cost in 0..changes {
            world.set_cost_at(0, 0, 10 + cost);
        }
        world.settle();
        world.heal_links();
        world.settle();
        assert_eq!(world.differing(), [[0; 2]; 0], "after {changes} changes, {is_parted}");
        assert_eq!(differed(&world), 0, "after {changes} changes, {is_parted}");
    }
}

/// By what it said in the boot before it would have no link that is up.
#[test]
fn r6_who_says_in_another_boot_that_another_link_is_up_gets_at_once_what_is_put_for_it() {
    for changes in 0..12 {
        let mut world = World::new(1, 3, &[(0, 1, 1), (0, 2, 1), (1, 2, 1)]);
        world.settle();
        world.restart(0);
        world.wipe(0);
        world.set_link(0, true);
        world.settle();
        world.subscribe(0, "g", "s");
        world.settle();
        world.crash(0);
        world.settle();
        world.start(0);
        assert_eq!(world.nodes[0].boot(), 2);
        world.set_link(1, true);
        for cost in 0..changes {
            world.set_cost_at(0, 1, 10 + cost);
        }
        world.settle();
        world.put(2, "g", 1);
        world.settle();
        assert_eq!(puts(&world.drain(0, "g", "s")), [1], "at once, after {changes} changes");
    }
}
