//! Messages that are delivered as they come from a neighbour: one disk on the way, the origin's.

use std::collections::BTreeSet;

use super::super::world::{World, names};
use super::LINE;
use crate::dice::Dice;
use crate::wire::body::{Reply, Request};

#[test]
fn a_message_waits_for_one_disk_only_however_many_relays_it_passes() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.subscribe(0, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let handle = world.attach(2, "g", "s");
    let here = world.attach(0, "g", "s");
    for (node, handle) in [(2, handle), (0, here)] {
        let last = world.nodes[node].got.drain(..).map(|got| got.index).max().unwrap();
        world.ack(node, handle, (0, last + 1));
    }
    world.settle();
    world.put(0, "g", 2);
    world.arrive_unsynced();
    assert!(world.nodes[2].got.is_empty(), "nothing leaves its origin before it is on disk there");
    assert!(world.nodes[0].got.is_empty(), "and nobody gets it there");
    world.sync(0);
    world.arrive_unsynced();
    assert_eq!(world.nodes[2].got.len(), 2, "the other disks are not waited for");
    assert!(!world.nodes[2].is_synced());
}

/// A home crashes with messages delivered and acked that were not on its disk. They come again,
/// perhaps at other places, and no ack of the time before counts for them.
#[test]
fn what_was_delivered_before_it_was_on_disk_comes_again_after_a_crash_and_nothing_is_skipped() {
    let mut doubled = 0;
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let mut world = World::new(seed, 4, &[(0, 2, 1), (1, 2, 1), (2, 3, 1)]);
        world.subscribe(3, "g", "s");
        for origin in [0, 1] {
            world.put(origin, "g", 1);
        }
        world.settle();
        let mut handle = world.attach(3, "g", "s");
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut acked: Vec<(u64, u64)> = Vec::new();
        for _ in 0..30 {
            let origin = dice.below(2) as usize;
            world.put(origin, "g", 1 + dice.below(3));
            world.sync(origin);
            for _ in 0..dice.below(8) {
                world.arrive_some(&mut dice);
            }
            if dice.below(4) == 0 {
                world.sync(2);
            }
            for got in std::mem::take(&mut world.nodes[3].got) {
                doubled += usize::from(!seen.insert(got.payload));
                if dice.below(3) > 0 {
                    acked.push((got.index, got.index + 1));
                    world.ack(3, handle, (got.index, got.index + 1));
                }
            }
            if dice.below(5) == 0 {
                world.sync(3);
            }
            if dice.below(8) == 0 {
                world.crash(3);
                world.start(3);
                world.heal_links();
                handle = world.attach_quietly(3, "g", "s");
                // As the client library does: what was acked before is said again.
                for range in &acked {
                    world.ack(3, handle, *range);
                }
                world.credit(3, handle);
            }
        }
        world.settle();
        world.rest();
        for got in std::mem::take(&mut world.nodes[3].got) {
            doubled += usize::from(!seen.insert(got.payload));
        }
        let all = world.oracle.payloads_since(0);
        let missing: Vec<&String> = all.iter().filter(|payload| !seen.contains(*payload)).collect();
        assert!(missing.is_empty(), "seed {seed}: {missing:?} never came");
    }
    assert!(doubled > 0, "nothing was ever lost with a crash and delivered again: this tests nothing");
}

/// What was delivered and not on the disk is elsewhere after a crash: an ack of it that is said late, when
/// another message has its index, must not count. The client tells by where the group ended when its home started.
#[test]
fn p2_a_home_that_has_crashed_tells_receivers_from_where_on_places_may_mean_other_messages() {
    let mut world = World::new(1, 3, &[(0, 2, 1), (1, 2, 1)]);
    world.subscribe(2, "g", "s");
    for origin in [0, 1] {
        world.put(origin, "g", 1);
    }
    world.settle();
    let attach = |world: &mut World| {
        let (group, name) = names(2, "g", "s");
        match world.ask(2, Request::Attach { group, name: Some(name), create: None }) {
            Ok(Reply::SubscriptionHandle { handle, begun: Some(begun), .. }) => (handle, begun),
            other => panic!("{other:?}"),
        }
    };
    let (handle, before) = attach(&mut world);
    world.credit(2, handle);
    world.nodes[2].got.clear();
    world.put(0, "g", 1);
    world.sync(0);
    while world.arrive(0, 1) {}
    let old = world.nodes[2].got.pop().expect("it is delivered before it is on this disk");
    world.crash_forgetting(2, 0);
    world.start(2);
    world.set_link(1, true);
    world.settle();
    world.put(1, "g", 1);
    world.settle();
    world.set_link(0, true);
    world.settle();
    let (handle, after) = attach(&mut world);
    world.credit(2, handle);
    let new = world.nodes[2].got.iter().find(|got| got.index == old.index).expect("something is there now");
    assert_ne!(new.payload, old.payload, "or this tests nothing");
    assert_eq!(after.boot, before.boot + 1);
    assert!(
        after.index.0 <= old.index,
        "an ack of {} would be taken for one of {}",
        old.payload,
        new.payload
    );
    let last = world.nodes[2].got.iter().map(|got| got.index).min().expect("something has come");
    assert!(after.index.0 >= last, "and what was on the disk has its place: {after:?}");
}
