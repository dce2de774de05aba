//! The name database: settings, queues and subscriptions are known everywhere (R3, R11, R12).

use super::super::world::{World, names};
use super::LINE;
use crate::id::{GroupName, Index};
use crate::limits;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Location, RefusalCode, Reply, Request, Start, SubscriptionSpec};

fn located(world: &mut World, node: usize, name: &str, prefix: bool) -> Vec<(String, String, String)> {
    let answer = world.ask(node, Request::Locate { group: name.to_owned(), prefix, after: None });
    let Ok(Reply::Located(locations)) = answer else { panic!("{answer:?}") };
    let told = |at: Location| {
        let subscription = at.subscription.map(|name| name.to_string()).unwrap_or_default();
        (at.group.to_string(), subscription, at.home.to_string())
    };
    locations.into_iter().map(told).collect()
}

fn triple(group: &str, subscription: &str, home: &str) -> (String, String, String) {
    (group.to_owned(), subscription.to_owned(), home.to_owned())
}

#[test]
fn every_relay_knows_where_queues_and_subscriptions_live() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(0, "news/a", "x");
    world.subscribe(2, "news/a", "x");
    world.subscribe(2, "news/b", "y");
    let create = Request::GroupCreate {
        group: "jobs".parse().unwrap(),
        settings: GroupSettings::default(),
        queue: true,
    };
    assert_eq!(world.ask(0, create), Ok(Reply::Done));
    world.settle();
    for node in 0..3 {
        let both = [triple("news/a", "x-r00", "r00"), triple("news/a", "x-r02", "r02")];
        let news = [&both[..], &[triple("news/b", "y-r02", "r02")]].concat();
        assert_eq!(located(&mut world, node, "news", true), news);
        assert_eq!(located(&mut world, node, "jobs", false), [triple("jobs", "", "r00")]);
    }
    // What is put elsewhere travels to the home; whoever asks elsewhere is led there.
    world.put(2, "jobs", 3);
    world.settle();
    let (group, name) = ("jobs".parse().unwrap(), "mine".parse().unwrap());
    let elsewhere =
        world.ask_network(2, Request::SubscriptionCreate { group, name, spec: SubscriptionSpec::default() });
    let Some(Err(refusal)) = elsewhere else { panic!("{elsewhere:?}") };
    assert!(refusal.code == RefusalCode::Invalid && refusal.message.contains("is a queue"), "{refusal:?}");
    assert_eq!(world.drain(0, "jobs", "queue").len(), 3);
    // A name that is gone is gone everywhere, also for a relay that was away.
    world.crash(2);
    let (group, name) = ("news/a".parse().unwrap(), "x-r00".parse().unwrap());
    assert_eq!(world.ask(0, Request::SubscriptionRemove { group, name }), Ok(Reply::Done));
    world.heal();
    for node in 0..3 {
        assert_eq!(located(&mut world, node, "news/a", false), [triple("news/a", "x-r02", "r02")]);
    }
}

#[test]
fn settings_are_those_that_were_set_last_at_every_relay_also_after_restarts() {
    let mut world = World::new(1, 3, &LINE);
    let set = |ttl_ms| Request::GroupSet {
        group: "g".parse().unwrap(),
        settings: GroupSettings { ttl_ms, ..GroupSettings::default() },
    };
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(world.ask(0, set(Some(1000))), Ok(Reply::Done));
    world.settle();
    world.crash(2);
    assert_eq!(world.ask(1, set(Some(2000))), Ok(Reply::Done));
    world.heal();
    world.crash(0);
    world.heal();
    for node in 0..3 {
        let answer = world.ask(node, Request::GroupShow { group: "g".parse().unwrap() });
        let Ok(Reply::Group(info)) = answer else { panic!("{answer:?}") };
        assert_eq!(info.settings.ttl_ms, Some(2000), "at relay {node}");
    }
}

#[test]
fn a_removed_group_stays_removed_and_a_new_one_of_its_name_has_nothing_of_it() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(0, "g", "s");
    world.subscribe(2, "g", "s");
    world.put(1, "g", 2);
    world.settle();
    // One is away while the group is removed, with the old life on its disk.
    world.crash(2);
    world.put(1, "g", 1);
    assert_eq!(world.ask(1, Request::GroupRemove { group: "g".parse().unwrap() }), Ok(Reply::Done));
    world.settle();
    world.put(1, "g", 1);
    world.heal();
    let (group, name) = names(2, "g", "s");
    let answer = world.ask(2, Request::SubscriptionShow { group, name });
    assert!(answer.is_err(), "{answer:?}");
    world.subscribe_again(2, "g", "s");
    world.put(0, "g", 2);
    world.settle();
    assert_eq!(world.drain(2, "g", "s").len(), 2, "only what was put after it was made again");
}

#[test]
fn r3_a_home_that_lost_its_disk_has_its_subscriptions_again_and_what_others_keep_for_them() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.subscribe(0, "g", "other");
    world.put(0, "g", 3);
    world.settle();
    world.rest();
    world.crash(2);
    world.put(0, "g", 4);
    world.put(1, "g", 1);
    world.settle();
    world.rest();
    world.wipe(2);
    world.heal();
    world.put(0, "g", 2);
    world.settle();
    let got = world.drain(2, "g", "s");
    assert_eq!(got.len(), 7, "what was put while it was away, and after: {got:?}");
    assert!(world.nodes[2].warnings().iter().any(|warning| warning.contains("lost a disk")));
    assert_eq!(world.nodes[2].gaps, 1, "what only the lost disk had is told");
    // It is a member as before: what nobody has is not released over its head.
    world.rest();
    assert_eq!(world.drain(0, "g", "other").len(), 10);
    world.rest();
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
}

#[test]
fn r9_an_origin_that_lost_its_disk_goes_on_in_a_new_stream() {
    for wiped in [0, 1] {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(2, "g", "s");
        world.subscribe(1, "g", "s");
        world.put(wiped, "g", 2);
        world.settle();
        world.wipe(wiped);
        world.heal();
        world.put(wiped, "g", 3);
        world.settle();
        world.rest();
        assert_eq!(world.drain(2, "g", "s").len(), 5, "relay {wiped} lost its disk");
    }
}

#[test]
fn r9_a_lost_disk_is_told_to_all_members_and_what_it_had_put_is_let_go_in_the_end() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.subscribe(2, "g", "s");
    for _ in 0..3 {
        world.put(0, "g", 1);
        world.settle();
    }
    // One of the members is away, so the last ones are not released when the disk is lost.
    world.rest();
    world.set_link(1, false);
    world.settle();
    world.put(0, "g", 3);
    world.settle();
    world.wipe(0);
    world.set_link(0, true);
    world.settle();
    world.set_link(1, true);
    world.settle();
    assert_eq!(world.drain(1, "g", "s").len(), 6);
    assert_eq!(world.drain(2, "g", "s").len(), 6, "what the lost disk had passed on");
    assert!(world.nodes[1].gaps > 0 && world.nodes[2].gaps > 0, "that more may be lost is told");
    world.rest();
    let held: Vec<usize> = world.nodes.iter().map(|node| node.held_runs()).collect();
    assert_eq!(held, [0, 0, 0], "nobody is owed anything");
    // It writes on in a stream of its own: what it puts now follows on nothing of before.
    world.put(0, "g", 2);
    world.settle();
    assert_eq!(world.drain(2, "g", "s").len(), 2);
}

#[test]
fn i2_a_relay_that_lost_its_disk_writes_nothing_in_the_streams_that_were_on_it() {
    // The origin is between both members; each has another end of its stream.
    let mut world = World::new(1, 3, &[(0, 1, 1), (0, 2, 1)]);
    world.subscribe(1, "g", "s");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(0, false);
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    world.wipe(0);
    world.settle();
    // It meets first the one that has less, and puts.
    world.set_link(0, true);
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, true);
    world.settle();
    world.rest();
    for node in [1, 2] {
        assert_eq!(world.drain(node, "g", "s").len(), 3, "at relay {node}");
    }
}

#[test]
fn i6_two_relays_that_lose_their_disks_at_once_take_nothing_in_before_they_know_who_is_a_member() {
    for is_back in [true, false] {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(2, "g", "s");
        world.put(0, "g", 1);
        world.settle();
        world.rest();
        world.set_link(1, false);
        world.settle();
        for node in [0, 1] {
            world.wipe(node);
        }
        world.set_link(0, true);
        world.arrive_all(500);
        // They have met, and know that there is somebody else.
        world.put(0, "g", 1);
        world.arrive_all(500);
        assert_eq!(world.oracle.count_answered(), 1, "nobody knows whom it is owed");
        let Ok(Reply::Status(status)) = world.ask(0, Request::Status) else { panic!("no status") };
        let why = status.accepting.unwrap_err();
        assert!(why.ends_with("it waits for r02, and goes on without after 5 seconds"), "{why}");
        if is_back {
            world.set_link(1, true);
            world.settle();
            world.put(0, "g", 1);
            world.settle();
            assert_eq!(world.drain(2, "g", "s").len(), world.oracle.count_answered());
        } else {
            // Who is missing may never come back.
            world.pass_ms(limits::NEWCOMER_WAIT_MS);
        }
        let before = world.oracle.count_answered();
        world.put(0, "g", 1);
        world.settle();
        assert_eq!(world.oracle.count_answered(), before + 1);
    }
}

#[test]
fn i6_a_network_that_begins_waits_for_nobody_when_all_its_relays_are_there() {
    let mut world = World::new(1, 3, &LINE);
    world.arrive_all(100);
    for node in 0..3 {
        world.put(node, "g", 1);
    }
    world.arrive_all(100);
    assert_eq!(world.oracle.count_answered(), 3);
}

/// Three in a line, of which the first retains five messages that nobody is owed.
fn with_history() -> World {
    let mut world = World::new(1, 3, &LINE);
    let settings = GroupSettings { history_count: Some(10), ..GroupSettings::default() };
    let set = Request::GroupCreate { group: "h".parse().unwrap(), settings, queue: false };
    assert_eq!(world.ask(0, set), Ok(Reply::Done));
    world.settle();
    world.put(0, "h", 5);
    world.settle();
    world
}

#[test]
fn p5_the_first_subscription_of_a_relay_that_begins_with_what_there_is_has_what_others_retain() {
    for start in [Start::Beginning, Start::Index(Index(1)), Start::Now] {
        let mut world = with_history();
        let (group, name) = names(2, "h", "s");
        let spec = SubscriptionSpec { start: start.clone(), ..SubscriptionSpec::default() };
        let create = Request::SubscriptionCreate { group, name, spec };
        assert_eq!(world.ask_network(2, create), Some(Ok(Reply::Done)));
        world.settle();
        let retained = if start == Start::Now { 0 } else { 5 };
        // Also when it is read again from the log.
        world.crash(2);
        world.heal();
        world.put(0, "h", 1);
        world.settle();
        assert_eq!(world.drain(2, "h", "s").len(), retained + 1, "{start:?}");
    }
}

#[test]
fn p5_a_seek_to_the_beginning_has_what_was_put_before_its_relay_was_a_member() {
    let mut world = with_history();
    for (subscription, start) in [("all", Start::Beginning), ("s", Start::Now)] {
        let (group, name) = names(2, "h", subscription);
        let spec = SubscriptionSpec { start, ..SubscriptionSpec::default() };
        let create = Request::SubscriptionCreate { group, name, spec };
        assert_eq!(world.ask_network(2, create), Some(Ok(Reply::Done)));
        world.settle();
    }
    assert_eq!(world.drain(2, "h", "s").len(), 0);
    let (group, name) = names(2, "h", "s");
    let seek = Request::SubscriptionSeek { group, name, start: Start::Beginning };
    assert_eq!(world.ask(2, seek), Ok(Reply::Done));
    world.crash(2);
    world.heal();
    assert_eq!(world.drain(2, "h", "s").len(), 5);
}

#[test]
fn r3_a_membership_that_goes_on_under_a_new_disk_is_owed_what_it_was_also_after_a_restart() {
    let mut world = World::new(1, 3, &LINE);
    // Its membership has a version above the one with which a new disk begins.
    world.subscribe(2, "g", "s");
    let (group, name) = names(2, "g", "s");
    assert_eq!(world.ask(2, Request::SubscriptionRemove { group, name }), Ok(Reply::Done));
    world.settle();
    world.subscribe_again(2, "g", "s");
    world.crash(2);
    world.put(1, "g", 2);
    world.settle();
    world.wipe(2);
    world.heal();
    // It has said its membership again above what others knew, and nothing of it is in a snapshot.
    world.crash(2);
    world.heal();
    world.put(1, "g", 2);
    world.settle();
    assert_eq!(world.drain(2, "g", "s").len(), 4);
}

#[test]
fn r6_settings_that_a_crash_took_back_and_new_ones_are_told_apart() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    let group: GroupName = "g".parse().unwrap();
    let keeps = |count| GroupSettings { history_count: Some(count), ..GroupSettings::default() };
    let set = |count| Request::GroupSet { group: group.clone(), settings: keeps(count) };
    world.nodes[0].create_group(world.now, &group, keeps(1));
    world.collect(0);
    world.settle();
    // Its disk takes its time, and others do not hear of it before.
    world.nodes[0].begin(world.now, set(2));
    world.collect(0);
    world.arrive_unsynced();
    world.crash_forgetting(0, 0);
    world.start(0);
    world.ask(0, set(3)).unwrap();
    world.heal_links();
    world.settle();
    let kept = |world: &mut World, node| match world.ask(node, Request::GroupShow { group: group.clone() }) {
        Ok(Reply::Group(info)) => info.settings.history_count,
        answer => panic!("{answer:?}"),
    };
    assert_eq!([kept(&mut world, 0), kept(&mut world, 1)], [Some(3); 2]);
    assert_eq!(world.differing(), Vec::<[usize; 2]>::new());
}

/// R4: a backup is put back that is a `set` behind, and another one is made before others are met.
#[test]
fn r4_settings_that_were_made_on_an_older_image_are_told_apart_from_those_of_the_disk() {
    for sets_again in [true, false] {
        let mut world = World::new(1, 2, &[(0, 1, 1)]);
        let group: GroupName = "g".parse().unwrap();
        let keeps = |count| GroupSettings { history_count: Some(count), ..GroupSettings::default() };
        let set = |count| Request::GroupSet { group: group.clone(), settings: keeps(count) };
        world.nodes[0].create_group(world.now, &group, keeps(1));
        world.settle();
        let image = world.nodes[0].image();
        world.ask(0, set(2)).unwrap();
        world.settle();
        // It shows by its boots that the image is older.
        (0..2).for_each(|_| world.restart(0));
        world.heal();
        world.put_back(0, &image);
        if sets_again {
            world.ask(0, set(3)).unwrap();
        }
        world.heal_links();
        world.settle();
        let kept =
            |world: &mut World, node| match world.ask(node, Request::GroupShow { group: group.clone() }) {
                Ok(Reply::Group(info)) => info.settings.history_count,
                answer => panic!("{answer:?}"),
            };
        let expected = if sets_again { 3 } else { 2 };
        assert_eq!([kept(&mut world, 0), kept(&mut world, 1)], [Some(expected); 2], "again: {sets_again}");
        assert_eq!(world.differing(), Vec::<[usize; 2]>::new());
    }
}
