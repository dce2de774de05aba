//! Live messages beside a backlog over links with a rate (P10), in simulated time.

use std::collections::BTreeMap;

use super::super::world::World;
use super::LINE;
use crate::relay::Rate;

const RATE: Rate = Rate { bytes_per_second: 1_000_000, burst_bytes: 64 * 1024 };

/// Runs of the backlog, and the bytes of each.
const OLD: u64 = 96;
const OLD_BYTES: usize = 32 * 1024;

/// Every how many milliseconds a live message of how many bytes is put.
const LIVE_MS: u64 = 10;
const LIVE_BYTES: usize = 2_000;

/// Three relays in a line; the last one was away while a backlog was put for it.
fn returning() -> World {
    let mut world = World::with_rates(1, 3, &LINE, &|wire| (wire == 1).then_some(RATE));
    world.subscribe(2, "old", "s");
    world.subscribe(2, "live", "s");
    world.subscribe(1, "live", "s");
    world.set_link(1, false);
    for number in 1..=OLD {
        world.put_as(0, "old", number, &[&"o".repeat(OLD_BYTES)]);
    }
    world.settle();
    world
}

/// Lets a millisecond pass, in which all that has been sent arrives and all disks sync.
fn pass_ms(world: &mut World) {
    world.arrive_unsynced();
    for node in 0..3 {
        world.sync(node);
    }
    world.arrive_unsynced();
    world.arrive_all(1);
}

/// Notes what a relay has got of the live messages, by their number.
fn take(world: &mut World, node: usize, at: u64, got: &mut BTreeMap<u64, u64>) {
    for message in std::mem::take(&mut world.nodes[node].got) {
        if let Some(number) = message.payload.strip_prefix("live/") {
            let number = number.trim_end_matches('.').parse().unwrap();
            assert!(got.insert(number, at).is_none(), "{number} came twice");
        }
    }
}

/// The relay comes back, and a live message is put every [`LIVE_MS`]: when each of them has come
/// to the returning relay and to the one before it, and how long the backlog took.
fn catch_up(world: &mut World) -> ([BTreeMap<u64, u64>; 2], u64) {
    let handles = [1, 2].map(|node| (node, world.attach(node, "live", "s")));
    let old = world.attach(2, "old", "s");
    let mut got = [BTreeMap::new(), BTreeMap::new()];
    let (mut taken, mut drained) = (0, None);
    world.set_link(1, true);
    for at in 0..12_000 {
        if at % LIVE_MS == 0 {
            let payload = format!("live/{at}{}", ".".repeat(LIVE_BYTES));
            world.put_as(0, "live", at / LIVE_MS + 1, &[&payload]);
        }
        pass_ms(world);
        let came = world.nodes[2].got.iter().filter(|got| got.handle == old);
        let (came, last) = came.fold((0, 0), |(n, last), got| (n + 1, got.index.max(last)));
        taken += came;
        if came > 0 {
            world.ack(2, old, (0, last + 1));
        }
        for (place, (node, handle)) in handles.iter().enumerate() {
            let last =
                world.nodes[*node].got.iter().filter(|got| got.handle == *handle).map(|got| got.index).max();
            take(world, *node, at, &mut got[place]);
            if let Some(last) = last {
                world.ack(*node, *handle, (0, last + 1));
            }
        }
        if taken == OLD && drained.is_none() {
            drained = Some(at);
        }
        if drained.is_some_and(|drained| at > drained + 200) {
            break;
        }
    }
    (got, drained.expect("the backlog never came"))
}

#[test]
fn p10_s7_live_messages_do_not_wait_for_a_returning_relay_and_its_backlog_has_what_they_leave() {
    let mut world = returning();
    let (got, drained) = catch_up(&mut world);
    for (node, got) in [1, 2].into_iter().zip(&got) {
        let waits: Vec<u64> = got.iter().map(|(put, came)| came - put).collect();
        let put_before = drained.saturating_sub(50) / LIVE_MS;
        assert!(waits.len() as u64 >= put_before, "{} live messages at {node}", waits.len());
        let longest = waits.iter().max().unwrap();
        // The group has a backlog of its own at first, of what was put while the trees were made.
        let later = waits.iter().skip(30).max().unwrap();
        assert!(*later <= 2 && *longest <= 300, "relay {node}: {later} ms, {longest} ms at first");
    }
    let live = got[1].len() as u64 * (LIVE_BYTES as u64 + 100);
    let left = RATE.bytes_per_second * drained / 1000 - live;
    let backlog = OLD * OLD_BYTES as u64;
    assert!(backlog * 100 >= left * 90, "{backlog} bytes in {drained} ms: {left} were left");
}

#[test]
fn p10_a_backlog_is_the_same_run_after_run() {
    let run = || {
        let mut world = returning();
        catch_up(&mut world)
    };
    assert_eq!(run(), run());
}
