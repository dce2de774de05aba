//! Who is owed what when memberships and relays come and go, by the numbers of the cases.

use super::super::storms::Weather;
use super::super::world::{World, names};
use super::{LINE, puts};
use crate::id::LinkId;
use crate::log::Entry;
use crate::wire::body::{Answer, Reply, Request, Start, SubscribeLevel, SubscriptionSpec};

fn unsubscribe(world: &mut World, node: usize, group: &str, name: &str) {
    let (group, name) = names(node, group, name);
    assert_eq!(world.ask(node, Request::SubscriptionRemove { group, name }), Ok(Reply::Done));
}

fn held(world: &World) -> usize {
    world.nodes.iter().map(|node| node.held_runs()).sum()
}

#[test]
fn s9_an_origin_that_boots_while_a_member_is_down_learns_of_it_from_a_neighbour() {
    let mut world = World::new(1, 3, &LINE);
    world.crash(0);
    world.subscribe(2, "g", "s");
    world.crash(2);
    // It has never met the member.
    world.start(0);
    world.set_link(0, true);
    world.settle();
    world.put(0, "g", 2);
    world.rest();
    assert_eq!(world.oracle.count_answered(), 1);
    assert!(world.nodes[0].held_runs() > 0, "it is owed to a relay that is down");
    world.heal();
    assert_eq!(world.drain(2, "g", "s").len(), 2);
    world.watched().unwrap();
}

#[test]
fn of_a_lost_disk_its_relay_says_that_it_takes_nothing_yet_and_all_others_warn() {
    let mut world = World::new(1, 3, &LINE);
    world.settle();
    world.wipe(1);
    let accepting = |world: &mut World| match world.ask(1, Request::Status) {
        Ok(Reply::Status(status)) => status.accepting,
        other => panic!("{other:?}"),
    };
    let why = accepting(&mut world).unwrap_err();
    assert!(why.contains("does not know yet who is a member"), "{why}");
    (0..2).for_each(|wire| world.set_link(wire, true));
    world.settle();
    assert_eq!(accepting(&mut world), Ok(()));
    for node in [0, 2] {
        let Ok(Reply::Status(status)) = world.ask(node, Request::Status) else { panic!("no status") };
        let warned: Vec<_> = status
            .warnings
            .iter()
            .filter(|said| said.starts_with("r01 has another data directory"))
            .collect();
        assert_eq!(warned.len(), 1, "{:?}", status.warnings);
    }
}

#[test]
fn s13_to_leave_and_to_join_again_before_anybody_hears_of_it_begins_anew() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    unsubscribe(&mut world, 2, "g", "s");
    world.subscribe_unheard(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, true);
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(puts(&world.drain(2, "g", "s")), [3], "nothing from before the new mark, and no gap after it");
    world.rest();
    assert_eq!(held(&world), 0, "and nobody waits for what it is not owed");
}

#[test]
fn s15_who_leaves_while_messages_are_under_way_gets_no_ghosts_when_it_joins_again() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.put(0, "g", 3);
    world.sync(0);
    while world.arrive_at(0, 1) {}
    assert!(world.waiting(1, 1) > 0, "the messages are under way");
    unsubscribe(&mut world, 2, "g", "s");
    world.settle();
    world.rest();
    world.rest();
    assert_eq!(held(&world), 0, "nobody is owed them any more");
    world.subscribe_unheard(2, "g", "s");
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(puts(&world.drain(2, "g", "s")), [3]);
}

#[test]
fn s35_memberships_that_are_heard_late_twice_and_in_any_order_end_as_the_newest() {
    for turn in 0..6 {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(2, "g", "s");
        world.put(0, "g", 1);
        world.settle();
        world.keep_facts_back();
        for _ in 0..2 {
            unsubscribe(&mut world, 2, "g", "s");
            world.subscribe_unheard(2, "g", "s");
        }
        let last_leaves = turn % 2 == 1;
        if last_leaves {
            unsubscribe(&mut world, 2, "g", "s");
        }
        let mut facts = world.take_facts();
        assert!(facts.len() >= 4, "{} facts", facts.len());
        // Backwards or turned round, and everything twice.
        facts.reverse();
        facts.rotate_left(turn / 2);
        for (wire, to, message) in facts.iter().chain(&facts) {
            world.inject(*wire, *to, message.clone());
        }
        world.settle();
        world.put(0, "g", 1);
        world.settle();
        world.rest();
        if last_leaves {
            assert_eq!(held(&world), 0, "turn {turn}: nobody is a member");
        } else {
            assert_eq!(puts(&world.drain(2, "g", "s")), [2], "turn {turn}");
        }
    }
}

#[test]
fn s38_both_sides_of_a_bridge_that_is_down_for_ten_minutes_go_on_and_agree_afterwards() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
    (0..4).for_each(|node| world.subscribe(node, "g", "s"));
    world.settle();
    world.set_link(1, false);
    for _ in 0..600 {
        world.wait_ms(1_000);
        (0..4).for_each(|node| world.put(node, "g", 1));
        world.settle();
    }
    assert_eq!(world.oracle.count_answered(), 2_400, "every put is answered");
    world.set_link(1, true);
    let before = world.runs_over(1);
    world.settle();
    assert!((2_400..2_410).contains(&(world.runs_over(1) - before)), "each message crosses the bridge once");
    world.finish().unwrap();
}

#[test]
fn s39_a_relay_that_only_passes_on_and_that_all_depends_on_crashes_under_load() {
    let mut lost = 0;
    for seed in 0..40 {
        let mut world = World::new(seed, 4, &[(0, 1, 1), (1, 2, 1), (1, 3, 1)]);
        [0, 2, 3].into_iter().for_each(|node| world.subscribe(node, "g", "s"));
        let load = Weather { puts: 0, ..Weather::CALM };
        let mut under_way = 0;
        for round in 0..120 {
            // Everybody but the one in the middle, which is neither a member nor an origin.
            world.put([0, 2, 3][round % 3], "g", 1);
            (0..4).for_each(|_| world.step(&load));
            if round % 30 == 20 {
                let (log, durable) = world.nodes[1].log();
                under_way += log[durable..].iter().filter(|entry| matches!(entry, Entry::Run(_))).count();
                world.crash(1);
            }
            if round % 30 == 29 {
                world.start(1);
                world.heal_links();
            }
        }
        lost += usize::from(under_way > 0);
        let is_own = |entry: &Entry| matches!(entry, Entry::Run(run) if run.link == LinkId(0));
        assert!(!world.nodes[1].log().0.iter().any(is_own), "it only passes on");
        world.finish().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert!(lost > 20, "in {lost} of 40 runs it had passed something on that its disk did not have");
}

/// Asks for a subscription that all that can be reached are to know of; nothing has arrived anywhere.
fn begin_subscribe(world: &mut World, node: usize, level: SubscribeLevel) -> u64 {
    let (group, name) = names(node, "g", "s");
    let request = world.nodes[node].begin_subscribe(world.now, &group, &name, level);
    world.collect(node);
    request
}

fn until_answered(world: &mut World, node: usize, request: u64) -> Option<Answer> {
    let calm = Weather { puts: 0, ..Weather::CALM };
    (0..20_000).find_map(|_| {
        world.step(&calm);
        world.nodes[node].take_answer(request)
    })
}

#[test]
fn p5_who_can_be_reached_no_more_while_a_subscription_is_confirmed_is_waited_for_no_longer() {
    for (level, is_done) in [(SubscribeLevel::Reachable, true), (SubscribeLevel::Strict, false)] {
        let mut world = World::new(1, 3, &LINE);
        let request = begin_subscribe(&mut world, 0, level);
        world.set_link(1, false);
        let begun = world.now.time.0;
        let answer = until_answered(&mut world, 0, request).expect("an answer");
        assert_eq!(answer.is_ok(), is_done, "{level:?}: {answer:?}");
        let took_ms = (world.now.time.0 - begun) / 1_000_000;
        assert!(!is_done || took_ms < 2_000, "it has waited for {took_ms} ms");
    }
}

#[test]
fn p5_what_was_confirmed_of_a_membership_before_says_nothing_of_the_next_one() {
    let mut world = World::new(1, 3, &LINE);
    let request = begin_subscribe(&mut world, 0, SubscribeLevel::Strict);
    assert_eq!(until_answered(&mut world, 0, request), Some(Ok(Reply::Done)));
    unsubscribe(&mut world, 0, "g", "s");
    world.settle();
    let request = begin_subscribe(&mut world, 0, SubscribeLevel::Strict);
    world.sync(0);
    assert_eq!(world.nodes[0].take_answer(request), None, "nobody has heard of it");
    // Who has not heard of it owes nothing.
    world.put(2, "g", 1);
    world.settle();
    assert_eq!(until_answered(&mut world, 0, request), Some(Ok(Reply::Done)));
    world.put(2, "g", 1);
    world.settle();
    assert_eq!(puts(&world.drain(0, "g", "s")), [2]);
}

#[test]
fn s45_others_go_round_a_relay_whose_disk_is_full() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 3, 1), (0, 2, 9), (2, 3, 9)]);
    world.subscribe(3, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(world.drain(3, "g", "s").len(), 1);
    world.set_room(1, false);
    world.put(0, "g", 2);
    world.settle();
    world.pass_ms(2_000);
    world.settle();
    assert_eq!(world.drain(3, "g", "s").len(), 2, "there is another way");
    // Where there is room again it is a way like any other.
    world.set_room(1, true);
    world.pass_ms(20_000);
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(world.drain(3, "g", "s").len(), 1);
    world.watched().unwrap();
}

/// Nobody says before the disk has it that it is safe: neither who makes it nor who is asked.
#[test]
fn p5_a_subscription_is_answered_when_it_is_on_its_own_disk_and_on_those_of_others() {
    for slow in [0, 1] {
        let mut world = World::new(1, 2, &[(0, 1, 1)]);
        let request = begin_subscribe(&mut world, 0, SubscribeLevel::Reachable);
        for _ in 0..50 {
            world.arrive_unsynced();
            world.sync(1 - slow);
            world.wait_ms(10);
        }
        assert_eq!(world.nodes[0].take_answer(request), None, "the disk of {slow} lacks it");
        assert_eq!(until_answered(&mut world, 0, request), Some(Ok(Reply::Done)));
    }
}

/// Who hears that a relay is no member any more lets go what it was owed: it is said when it is on the disk. A relay
/// removes its last subscription, and makes it again if it is to; perhaps a link flaps, and a crash takes all back.
fn check_that_a_crash_makes_no_older_image(makes_again: bool, flaps: bool) {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 2);
    world.settle();
    // The last messages are on the other disk, and not on this one.
    world.put(0, "g", 1);
    world.sync(0);
    world.arrive_unsynced();
    let (group, name) = names(1, "g", "s");
    let remove = Request::SubscriptionRemove { group: group.clone(), name: name.clone() };
    world.nodes[1].begin(world.now, remove);
    if makes_again {
        let (group, name) = (group.clone(), name.clone());
        let create = Request::SubscriptionCreate { group, name, spec: SubscriptionSpec::default() };
        world.nodes[1].begin(world.now, create);
    }
    world.collect(1);
    if flaps {
        world.set_link(0, false);
        world.set_link(0, true);
    }
    world.arrive_unsynced();
    world.sync(0);
    world.arrive_unsynced();
    world.crash_keeping(1, 0);
    world.start(1);
    world.heal();
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    let now = world.now;
    assert_eq!(world.nodes[1].drain(now, &group, &name).len(), 4, "it is owed everything");
    world.collect(1);
    assert_eq!(world.nodes[1].warnings(), [] as [String; 0]);
    world.check_gaps().unwrap();
}

#[test]
fn r4_a_relay_whose_crash_takes_back_that_it_is_no_member_is_one_and_is_no_older_image() {
    [false, true].into_iter().for_each(|flaps| check_that_a_crash_makes_no_older_image(false, flaps));
}

#[test]
fn r4_a_relay_whose_crash_takes_back_that_it_is_a_member_anew_is_no_older_image() {
    [false, true].into_iter().for_each(|flaps| check_that_a_crash_makes_no_older_image(true, flaps));
}

/// Who removes its last subscription and makes another one at once is a member since then, also for its next boot.
#[test]
fn p5_a_relay_that_makes_a_subscription_before_the_last_one_is_gone_owes_it_what_comes_behind_also_after_a_start()
 {
    for said in [0, 7] {
        let mut world = World::new(1, 2, &[(0, 1, 1)]);
        world.subscribe(1, "g", "s");
        world.put(0, "g", 1);
        world.settle();
        // Others may know a higher version of it by then.
        (0..said).for_each(|_| {
            world.crash(1);
            world.start(1);
            world.heal();
            world.settle();
        });
        let (group, name) = names(1, "g", "s");
        world.nodes[1]
            .begin(world.now, Request::SubscriptionRemove { group: group.clone(), name: name.clone() });
        let spec = SubscriptionSpec { start: Start::Now, ..SubscriptionSpec::default() };
        world.nodes[1]
            .begin(world.now, Request::SubscriptionCreate { group: group.clone(), name: name.clone(), spec });
        world.collect(1);
        world.settle();
        world.put(0, "g", 1);
        world.settle();
        world.crash(1);
        world.start(1);
        world.heal();
        world.put(0, "g", 1);
        world.settle();
        let now = world.now;
        assert_eq!(world.nodes[1].drain(now, &group, &name).len(), 2, "both that were put behind it");
    }
}

/// What is answered of a subscription that is made while the last one of before goes holds: others know the
/// membership in which it is made.
#[test]
fn p5_a_subscription_that_is_made_while_the_last_one_goes_is_answered_when_others_know_its_own_membership() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(0, "g", "s");
    world.put(1, "g", 1);
    world.settle();
    let (group, name) = names(0, "g", "s");
    let begin = |world: &mut World, request| {
        let request = world.nodes[0].begin(world.now, request);
        world.collect(0);
        request
    };
    let again = SubscriptionSpec { start: Start::Now, ..SubscriptionSpec::default() };
    let remove = || Request::SubscriptionRemove { group: group.clone(), name: name.clone() };
    let create =
        || Request::SubscriptionCreate { group: group.clone(), name: name.clone(), spec: again.clone() };
    // Twice, so that the first removal that is on the disk is not the last one.
    let requests = [remove(), create(), remove(), create()].map(|request| begin(&mut world, request));
    for _ in 0..3 {
        world.arrive_unsynced();
        world.sync(1);
        world.wait_ms(10);
    }
    assert_eq!(world.nodes[0].take_answer(requests[3]), None, "its own disk has nothing");
    // What was put before others know of it is not owed to it.
    world.put(1, "g", 1);
    world.sync(1);
    assert_eq!(until_answered(&mut world, 0, requests[3]), Some(Ok(Reply::Done)));
    world.put(1, "g", 1);
    world.settle();
    world.crash_keeping(0, 0);
    world.start(0);
    world.heal();
    world.put(1, "g", 1);
    world.settle();
    assert_eq!(puts(&world.drain(0, "g", "s")).last_chunk(), Some(&[3, 4]));
    assert_eq!(world.nodes[0].warnings(), [] as [String; 0]);
}

/// What is said of a membership in one version is one thing, also when a crash takes back that it was said, and
/// when a link comes up before its end is on the disk.
#[test]
fn r6_a_relay_that_says_it_is_no_member_and_crashes_says_in_no_later_boot_something_else_in_that_version() {
    for (said, flaps) in [(0, false), (7, false), (0, true), (7, true)] {
        let mut world = World::new(1, 2, &[(0, 1, 1)]);
        world.subscribe(1, "g", "s");
        // Others may know a higher version of it by then.
        (0..said).for_each(|_| {
            world.crash(1);
            world.start(1);
            world.heal();
            world.settle();
        });
        let (group, name) = names(1, "g", "s");
        world.nodes[1].begin(world.now, Request::SubscriptionRemove { group, name });
        world.collect(1);
        if flaps {
            world.set_link(0, false);
            world.set_link(0, true);
        }
        world.sync(1);
        world.arrive_unsynced();
        world.sync(0);
        // That it was said is not on the disk.
        world.crash_keeping(1, 0);
        world.start(1);
        world.subscribe_unheard(1, "g", "s");
        world.sync(1);
        world.heal();
        world.put(0, "g", 1);
        world.settle();
        assert_eq!(world.drain(1, "g", "s").len(), 1);
    }
}
