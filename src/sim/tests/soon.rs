//! What neighbours send is synced soon, and at once when somebody waits for it.

use super::super::storms::Weather;
use super::super::world::{World, names};
use super::LINE;
use crate::id::{ProducerId, ProducerSequence};
use crate::limits;
use crate::relay::Input;
use crate::wire::body::{Reply, Request};
use crate::wire::frame::AckLevel;

/// Everything arrives, and disks sync what somebody waits for. No time passes.
fn go_on(world: &mut World) {
    for _ in 0..10 {
        world.arrive_unsynced();
        (0..world.nodes.len()).for_each(|node| world.sync_if_due(node));
    }
}

/// A line with a subscription at its end, at which somebody receives if `attached`. All is on disk.
fn line(attached: bool) -> (World, u32) {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let handle = if attached { world.attach(2, "g", "s") } else { 0 };
    world.pass_ms(1_000);
    world.settle();
    world.nodes[2].got.clear();
    (world, handle)
}

fn is_held(world: &World, node: usize) -> bool {
    !world.nodes[node].is_synced() && !world.nodes[node].is_due(world.now)
}

fn answered(world: &mut World, number: u64) -> Option<AckLevel> {
    world.until_answered(number, &Weather { puts: 0, ..Weather::CALM }, 0)
}

#[test]
fn what_neighbours_send_is_delivered_at_once_and_synced_soon() {
    let (mut world, _) = line(true);
    for put in 1..=3 {
        world.put(0, "g", 1);
        go_on(&mut world);
        assert!(world.nodes[0].is_synced(), "its publisher waits");
        assert_eq!(world.nodes[2].got.len(), put, "the other disks are not waited for");
        assert!(is_held(&world, 1) && is_held(&world, 2), "nobody waits for them");
    }
    world.pass_ms(limits::SOON_MS - 1);
    go_on(&mut world);
    assert!(is_held(&world, 1) && is_held(&world, 2), "it gathers for so long");
    world.pass_ms(1);
    go_on(&mut world);
    assert!(world.nodes.iter().all(super::super::node::Node::is_synced));
}

/// Receipts are gathered for a millisecond when somebody waits for them; what they tell of is held for longer.
#[test]
fn a_put_that_waits_for_other_disks_waits_for_nothing_else() {
    for level in [(AckLevel::Stored, 2), (AckLevel::Stored, 3), (AckLevel::Inserted, 0)] {
        let (mut world, _) = line(false);
        let (number, _) = world.put_at_level(0, "g", level);
        (1..limits::SOON_MS).for_each(|_| {
            go_on(&mut world);
            world.pass_ms(1);
        });
        assert_eq!(answered(&mut world, number), Some(level.0), "{level:?}");
    }
}

/// It repeats one that nobody waits for, which is held.
#[test]
fn a_put_that_begins_to_wait_for_other_disks_has_them_sync_what_is_held() {
    let (mut world, _) = line(false);
    let handle = world.nodes[0].open(world.now, &"g".parse().unwrap());
    let producer = Some((ProducerId(7), ProducerSequence(1)));
    for (number, level) in [(1_000_001, AckLevel::Accepted), (1_000_002, AckLevel::Inserted)] {
        let put = (handle, number);
        world.nodes[0].put_as(world.now, put, &["x".to_owned()], (level, 0), producer);
        // What it says goes to the wires with this.
        world.sync(0);
        go_on(&mut world);
        let is_first = level == AckLevel::Accepted;
        assert_eq!(is_held(&world, 1) && is_held(&world, 2), is_first, "{level:?}");
    }
    (1..limits::SOON_MS).for_each(|_| {
        world.pass_ms(1);
        go_on(&mut world);
    });
    assert_eq!(answered(&mut world, 1_000_002), Some(AckLevel::Inserted));
}

/// Of what comes while it has not taken what came before it must read; what is not on the disk is not there.
#[test]
fn who_takes_one_message_at_a_time_waits_for_no_more_than_the_disk() {
    let (mut world, _) = line(false);
    let handle = world.attach_quietly(2, "g", "s");
    world.nodes[2].credit_up_to(world.now, handle, 1);
    go_on(&mut world);
    assert_eq!(world.nodes[2].got.len(), 1, "what it had before");
    for _ in 0..5 {
        world.put(0, "g", 1);
        go_on(&mut world);
    }
    assert!(is_held(&world, 2), "who takes nothing waits for nothing");
    for total in 2..=6 {
        world.nodes[2].credit_up_to(world.now, handle, total);
        go_on(&mut world);
        assert_eq!(world.nodes[2].got.len() as u64, total, "without a pause");
    }
}

#[test]
fn who_asks_for_what_is_there_gets_also_what_is_not_on_the_disk_yet() {
    let (mut world, _) = line(false);
    world.drain(2, "g", "s");
    world.settle();
    world.put(0, "g", 1);
    go_on(&mut world);
    assert!(is_held(&world, 2));
    let (group, name) = names(2, "g", "s");
    let attach = world.nodes[2].begin(world.now, Request::Attach { group, name: Some(name), create: None });
    go_on(&mut world);
    let Some(Ok(Reply::SubscriptionHandle { handle, .. })) = world.nodes[2].take_answer(attach) else {
        panic!("it is answered when what stands before is on the disk, which is at once")
    };
    world.put(0, "g", 1);
    // Nobody has said yet how much is wanted: it is given to nobody.
    go_on(&mut world);
    let poll = world.nodes[2].begin(world.now, Request::Poll { handle, messages: 10 });
    go_on(&mut world);
    assert_eq!(world.nodes[2].got.len(), 2);
    assert!(world.nodes[2].take_answer(poll).is_some(), "and then is told that there is no more");
}

#[test]
fn a_relay_that_stops_or_has_made_a_snapshot_holds_nothing_back() {
    for stops in [true, false] {
        let (mut world, _) = line(true);
        world.put(0, "g", 1);
        go_on(&mut world);
        assert!(is_held(&world, 1));
        let now = world.now;
        if stops {
            world.nodes[1].input(now, Input::Stop);
        } else {
            world.nodes[1].go_on_with_snapshot(now, crate::relay::SHARDS as usize);
        }
        assert!(world.nodes[1].is_due(now), "{stops}");
    }
}

/// A relay that puts into the group too: what comes behind its own is given to nobody when it comes.
#[test]
fn what_comes_behind_a_message_that_is_not_durable_is_synced_with_it() {
    let (mut world, _) = line(true);
    world.put(0, "g", 1);
    world.sync(0);
    world.put(2, "g", 1);
    world.arrive_unsynced();
    assert!(world.nodes[2].got.is_empty(), "the own one stands before it");
    // As if the disk had begun with that before the other came.
    let own = world.nodes[2].unsynced() - 1;
    let now = world.now;
    world.nodes[2].sync(now, own);
    assert!(world.nodes[2].is_due(now), "somebody waits for the rest");
    go_on(&mut world);
    assert_eq!(world.nodes[2].got.len(), 2);
}

/// What comes while it waits for the disk was not there when it was asked.
#[test]
fn a_poll_takes_what_was_there_and_is_answered_however_much_comes_meanwhile() {
    let (mut world, _) = line(false);
    let handle = world.attach_quietly(2, "g", "s");
    for _ in 0..2 {
        world.put(0, "g", 1);
        go_on(&mut world);
    }
    assert!(is_held(&world, 2));
    let poll = world.nodes[2].begin(world.now, Request::Poll { handle, messages: 1_000 });
    for _ in 0..20 {
        // One more comes while the disk syncs what stood there.
        let before = world.nodes[2].unsynced();
        world.put(0, "g", 1);
        world.sync(0);
        world.arrive_unsynced();
        let now = world.now;
        world.nodes[2].sync(now, before);
    }
    assert!(world.nodes[2].got.len() >= 3, "what it had before, and what was not on the disk");
    assert!(world.nodes[2].take_answer(poll).is_some(), "it has got what was there long ago");
}

/// On a disk that is syncing for somebody already.
#[test]
fn what_comes_while_somebody_is_behind_is_synced_right_behind_what_he_waits_for() {
    let (mut world, _) = line(false);
    let handle = world.attach_quietly(2, "g", "s");
    for _ in 0..2 {
        world.put(0, "g", 1);
        go_on(&mut world);
    }
    world.nodes[2].credit_up_to(world.now, handle, 100);
    assert!(world.nodes[2].is_due(world.now), "it waits for the second");
    world.put(0, "g", 1);
    world.sync(0);
    world.arrive_unsynced();
    assert!(world.nodes[2].is_all_urgent(), "the disk goes on without waiting until the relay has heard");
    go_on(&mut world);
    assert_eq!(world.nodes[2].got.len(), 4);
    // Who is level waits for nothing any more.
    world.put(0, "g", 1);
    go_on(&mut world);
    assert!(is_held(&world, 2));
    assert_eq!(world.nodes[2].got.len(), 5);
}

/// What is put at relay 0 comes to another one behind a message of its own; that one alone is on its disk then.
fn put_behind_own(world: &mut World, node: usize) {
    world.put(0, "g", 1);
    world.sync(0);
    world.put(node, "g", 1);
    world.arrive_unsynced();
    let (own, now) = (world.nodes[node].unsynced() - 1, world.now);
    world.nodes[node].sync(now, own);
}

/// Both ends put: the one that has sent it has it, and nobody else waits.
#[test]
fn what_comes_behind_an_own_message_is_not_hurried_for_the_neighbour_that_sent_it() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    for node in 0..2 {
        world.subscribe(node, "g", &format!("s{node}"));
        world.put(node, "g", 1);
    }
    world.settle();
    world.pass_ms(1_000);
    world.settle();
    put_behind_own(&mut world, 1);
    assert!(is_held(&world, 1));
    go_on(&mut world);
    assert!(is_held(&world, 1), "also when its place in the group has come to there");
    world.pass_ms(limits::SOON_MS);
    go_on(&mut world);
    assert!(world.nodes[1].is_synced());
    // The same of one for which somebody behind this relay waits: it is hurried.
    let (mut world, _) = line(true);
    world.subscribe(0, "g", "s0");
    world.put(1, "g", 1);
    world.settle();
    world.pass_ms(1_000);
    world.settle();
    put_behind_own(&mut world, 1);
    assert!(world.nodes[1].is_due(world.now), "the relay at the end was not given it");
}

#[test]
fn who_receives_and_takes_nothing_hurries_nobody() {
    for takes in [false, true] {
        let (mut world, _) = line(false);
        let handle = world.attach_quietly(2, "g", "s");
        if takes {
            world.nodes[2].credit_up_to(world.now, handle, 100);
            go_on(&mut world);
        }
        put_behind_own(&mut world, 2);
        assert_eq!(world.nodes[2].is_due(world.now), takes);
    }
}

#[test]
fn a_relay_that_is_emptied_holds_nothing_back() {
    let (mut world, _) = line(false);
    world.nodes[1].begin(world.now, Request::RelayDrain { abandon: false });
    world.sync(1);
    world.put(0, "g", 1);
    world.sync(0);
    world.arrive_unsynced();
    assert!(world.nodes[1].unsynced() == 0 || world.nodes[1].is_due(world.now));
    assert!(is_held(&world, 2), "the others do");
}
