mod brought;
mod budget;
mod cases;
mod changes;
mod circuits;
mod compare;
mod copies;
mod crashes;
mod damage;
mod dead;
mod drain;
mod drained;
mod exhaustive;
mod features;
mod finished;
mod fitting;
mod flaps;
mod forget;
mod hostile;
mod islands;
mod levels;
mod live;
mod lives;
mod lost;
mod made_again;
mod members;
mod mixed;
mod moves;
mod names;
mod on_its_way;
mod origins;
mod planned;
mod producers;
mod pulls;
mod quotas;
mod refused;
mod remnants;
mod restored;
mod scenarios;
mod soon;
mod steady;
mod third;
mod trace;
mod twins;
mod views;

use super::storms::{Weather, movers, storm};
use super::world::{World, features, laden, lives, mixed, twins};
use crate::wire::body::{RefusalCode, Reply, SubscribeLevel};
use crate::wire::frame::AckLevel;

const LINE: [(usize, usize, u32); 2] = [(0, 1, 1), (1, 2, 1)];

#[test]
fn a_put_anywhere_reaches_every_subscription_over_three_relays() {
    let mut world = World::new(1, 3, &LINE);
    for node in 0..3 {
        world.subscribe(node, "g", &format!("s{node}"));
    }
    for node in 0..3 {
        world.put(node, "g", 2);
    }
    world.finish().unwrap();
    assert_eq!(world.oracle.count_answered(), 3);
}

#[test]
fn p6_each_link_carries_each_message_once() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 9)]);
    for node in 0..4 {
        world.subscribe(node, "g", "s");
    }
    world.put(0, "g", 1);
    world.settle();
    let before = world.runs_sent();
    for _ in 0..10 {
        world.put(0, "g", 1);
        world.settle();
    }
    assert_eq!(world.runs_sent() - before, 10 * 3, "ten messages over the three links of the tree");
    world.finish().unwrap();
}

/// The numbers of the puts, in the order in which their messages came.
fn puts(got: &[String]) -> Vec<u64> {
    got.iter().map(|payload| payload.split('/').nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn s12_a_subscription_made_in_a_partition_begins_where_the_other_side_learns_of_it() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "old");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.subscribe_unheard(2, "g", "new");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, true);
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(puts(&world.drain(1, "g", "old")), [1, 2, 3]);
    assert_eq!(puts(&world.drain(2, "g", "new")), [3], "what was put before its mark is not for it");
}

#[test]
fn s11_what_is_on_its_way_when_a_subscription_is_made_is_not_for_it() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "first");
    // Far away, and nothing has arrived yet.
    world.put(0, "g", 1);
    world.subscribe_unheard(1, "g", "later");
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(puts(&world.drain(2, "g", "first")), [1, 2]);
    assert_eq!(puts(&world.drain(1, "g", "later")), [2]);
}

#[test]
fn s14_a_second_subscription_begins_at_its_relays_own_place() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "first");
    world.put(0, "g", 2);
    world.settle();
    world.subscribe(1, "g", "second");
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(puts(&world.drain(1, "g", "first")), [1, 1, 2]);
    assert_eq!(puts(&world.drain(1, "g", "second")), [2]);
}

#[test]
fn s8_a_member_that_is_down_gets_everything_later_though_all_others_restarted_meanwhile() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.crash(2);
    for _ in 0..3 {
        world.put(0, "g", 1);
        world.settle();
        for node in [0, 1] {
            world.crash(node);
            world.start(node);
        }
        world.heal_links();
        world.settle();
        // Forty minutes each time.
        for _ in 0..40 {
            world.wait_ms(60_000);
            world.settle();
        }
    }
    world.finish().unwrap();
    assert_eq!(world.oracle.count_answered(), 4);
}

#[test]
fn i8_what_a_member_lacks_is_held_however_long_it_is_away_and_let_go_when_it_has_it() {
    let mut world = World::new(1, 3, &LINE);
    for node in 0..3 {
        world.subscribe(node, "g", "s");
    }
    world.crash(2);
    for _ in 0..5 {
        world.put(0, "g", 1);
        world.settle();
    }
    for node in [0, 1] {
        // Acked here, and still owed there.
        assert_eq!(world.drain(node, "g", "s").len(), 5);
    }
    world.rest();
    assert!(world.nodes[0].held_runs() >= 5, "the origin keeps what one member lacks");
    world.heal();
    assert_eq!(world.drain(2, "g", "s").len(), 5);
    world.rest();
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
}

#[test]
fn i8_an_origin_that_restarts_lets_go_what_all_others_had_before() {
    let mut world = World::new(1, 3, &LINE);
    for node in 0..3 {
        world.subscribe(node, "g", "s");
    }
    for _ in 0..5 {
        world.put(0, "g", 1);
        world.settle();
    }
    for node in [1, 2] {
        assert_eq!(world.drain(node, "g", "s").len(), 5);
    }
    // Everybody has heard that everything is released, and only the origin itself still needs it.
    world.rest();
    world.crash(0);
    world.start(0);
    world.heal();
    assert_eq!(world.drain(0, "g", "s").len(), 5);
    world.rest();
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
}

#[test]
fn i8_a_member_that_restarts_too_tells_the_origin_again_what_it_had_before() {
    let mut world = World::new(1, 3, &LINE);
    for node in 0..3 {
        world.subscribe(node, "g", "s");
    }
    world.put(0, "g", 1);
    world.settle();
    for node in [1, 2] {
        assert_eq!(world.drain(node, "g", "s").len(), 1);
    }
    world.rest();
    // It knows from its snapshot that everything is released, and not that the origin has forgotten.
    world.save(2);
    for node in [0, 2] {
        world.crash(node);
    }
    world.heal();
    assert_eq!(world.drain(0, "g", "s").len(), 1);
    world.rest();
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
}

#[test]
fn s3_what_waits_for_a_link_crosses_it_once_when_it_comes_back() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    for node in 0..2 {
        world.subscribe(node, "g", "s");
    }
    for node in 0..2 {
        world.put(node, "g", 1);
    }
    world.settle();
    for round in 0..10 {
        let before = world.runs_sent();
        world.set_link(0, false);
        for node in [0, 1] {
            (0..5).for_each(|_| world.put(node, "g", 1));
        }
        world.settle();
        world.set_link(0, true);
        world.settle();
        assert_eq!(world.runs_sent() - before, 10, "in round {round}");
    }
    world.finish().unwrap();
}

#[test]
fn s3_a_link_that_flaps_loses_and_doubles_nothing() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 3)]);
    for node in 0..4 {
        world.subscribe(node, "g", "s");
    }
    for round in 0..300 {
        world.put(round % 4, "g", 1);
        world.set_link(round % 3, round % 2 == 0);
        for _ in 0..20 {
            world.step(&Weather { puts: 0, ..Weather::CALM });
        }
    }
    world.finish().unwrap();
}

#[test]
fn i6_a_relay_that_knows_no_members_takes_no_puts() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "s");
    // A relay with a new disk, and nobody to ask.
    world.wipe(0);
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(world.oracle.count_answered(), 0);
    assert_eq!(world.nodes[0].refused.len(), 1);
    world.heal_links();
    world.settle();
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(world.oracle.count_answered(), 1);
    assert_eq!(puts(&world.drain(1, "g", "s")), [2]);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut world = World::random(seed, 5);
        world.subscribe(0, "g", "s");
        (0..500).for_each(|_| world.step(&Weather::STORM));
        world.nodes.iter().map(|node| (node.explain("r"), node.runs_sent)).collect::<Vec<_>>()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn calm_weather_loses_nothing() {
    for seed in 0..20 {
        let mut world = World::random(seed, 5);
        for node in 0..5 {
            world.subscribe(node, "g", "s");
        }
        for _ in 0..400 {
            world.step(&Weather::CALM);
        }
        world.finish().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn seeds_that_failed_once_pass() {
    let lines = include_str!("../../tests/seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let mut seen = 0;
    for line in lines {
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (Some(seed), Some(steps)) = (number(), number()) else { panic!("{line}") };
        let run = match words.next().unwrap_or_default() {
            "twins:" => twins(seed, steps as usize).map(drop),
            "mixed:" => mixed(seed, steps as usize).map(drop),
            "laden:" => laden(seed, steps as usize).map(drop),
            "features:" => features(seed, steps as usize).map(drop),
            "lives:" => lives(seed, steps as usize).map(drop),
            _ => storm(seed, steps as usize),
        };
        run.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        seen += 1;
    }
    assert!(seen > 5, "{seen} seeds");
}

#[test]
fn s52_storms_lose_nothing_and_double_nothing() {
    for seed in 0..150 {
        storm(seed, 400).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

#[test]
fn each_origin_has_a_tree_of_its_own_where_the_group_wants_it() {
    let runs = |source: bool| {
        let mut world = World::new(1, 3, &[(0, 1, 10), (1, 2, 10), (0, 2, 11)]);
        if source {
            world.create_source_group("g");
        }
        for node in 0..3 {
            world.subscribe(node, "g", "s");
        }
        // All put, so that each has a tree.
        (0..3).for_each(|node| world.put(node, "g", 1));
        world.settle();
        let before: Vec<u64> = world.nodes.iter().map(|node| node.runs_sent).collect();
        world.put(0, "g", 1);
        world.settle();
        let sent = world.nodes.iter().zip(before).map(|(node, before)| node.runs_sent - before).collect();
        world.finish().unwrap();
        sent
    };
    let (shared, source): (Vec<u64>, Vec<u64>) = (runs(false), runs(true));
    assert_eq!(shared, [1, 1, 0], "along the cheapest tree");
    assert_eq!(source, [2, 0, 0], "along shortest ways");
}

#[test]
fn the_relay_nearest_to_a_member_that_is_away_keeps_for_it() {
    // Nobody else is a member: without the member being away, r01 would only pass on.
    let mut world = World::new(1, 3, &[(0, 1, 1), (1, 2, 1)]);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.settle();
    world.put(0, "g", 5);
    world.settle();
    // The origin is gone, disk and all, before the member comes back.
    world.crash(0);
    world.settle();
    world.set_link(1, true);
    world.settle();
    assert_eq!(world.drain(2, "g", "s").len(), 6);
}

/// Subscribes at one relay while everybody puts, and says whether every message that was put
/// anywhere after the answer comes.
fn starts_exactly(seed: u64, level: SubscribeLevel) -> bool {
    let mut world = World::random(seed, 5);
    world.subscribe(1, "g", "other");
    world.put(2, "g", 1);
    world.put(3, "g", 1);
    // What comes next is not settled: facts, questions and puts are on their way together.
    let weather = Weather { puts: 10, syncs: 15, ..Weather::CALM };
    let answer = world.subscribe_at_level((0, "g", "s"), level, &weather, 20_000);
    assert_eq!(answer, Some(Ok(Reply::Done)));
    let before = world.oracle.puts();
    for node in 0..5 {
        world.put(node, "g", 2);
    }
    world.heal();
    let got = world.drain(0, "g", "s");
    let after = world.oracle.payloads_since(before);
    assert_eq!(after.len(), 10);
    after.iter().all(|payload| got.contains(payload))
}

#[test]
fn s11_what_is_put_anywhere_after_a_subscription_was_answered_reaches_it() {
    for seed in 0..100 {
        assert!(starts_exactly(seed, SubscribeLevel::Reachable), "seed {seed}");
    }
    let local = (0..100).filter(|seed| !starts_exactly(*seed, SubscribeLevel::Local)).count();
    assert!(local > 0, "the test cannot fail: not even a subscription nobody else knows of misses something");
}

#[test]
fn a_strict_subscription_names_who_has_not_confirmed_and_a_reachable_one_does_not_wait_for_him() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
    world.set_link(2, false);
    world.settle();
    let calm = Weather { puts: 0, ..Weather::CALM };
    let reachable = world.subscribe_at_level((0, "g", "a"), SubscribeLevel::Reachable, &calm, 20_000);
    assert_eq!(reachable, Some(Ok(Reply::Done)));
    let strict = world.subscribe_at_level((0, "g", "b"), SubscribeLevel::Strict, &calm, 20_000);
    let Some(Err(refusal)) = strict else { panic!("{strict:?}") };
    assert_eq!(refusal.code, RefusalCode::Deadline);
    assert!(refusal.message.contains("in time: r03;"), "{}", refusal.message);
}

/// Puts one message at a level while all is slow, and takes the origin and its disk away in the
/// moment in which it is answered. Says at how many of four members it comes then.
fn survivors(seed: u64, level: (AckLevel, u16)) -> usize {
    let mut world = World::random(seed, 5);
    for node in 1..5 {
        world.subscribe(node, "g", "s");
    }
    let weather = Weather { puts: 0, syncs: 10, ..Weather::CALM };
    let (put, payload) = world.put_at_level(0, "g", level);
    assert_eq!(world.until_answered(put, &weather, 50_000), Some(level.0), "seed {seed}");
    world.wipe(0);
    for node in 1..5 {
        world.crash(node);
    }
    world.heal();
    world.rest();
    (1..5).filter(|node| world.drain(*node, "g", "s").contains(&payload)).count()
}

#[test]
fn a_put_that_was_answered_as_inserted_or_stored_outlives_its_origin() {
    let mut lost = 0;
    for seed in 0..60 {
        assert_eq!(survivors(seed, (AckLevel::Inserted, 0)), 4, "inserted, seed {seed}");
        assert_eq!(survivors(seed, (AckLevel::Stored, 2)), 4, "stored=2, seed {seed}");
        lost += usize::from(survivors(seed, (AckLevel::Accepted, 0)) < 4);
    }
    assert!(lost > 0, "the test cannot fail: what only the origin had outlives it too");
}

#[test]
fn a_put_is_answered_late_when_a_member_was_away() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.settle();
    let calm = Weather { puts: 0, ..Weather::CALM };
    let (inserted, _) = world.put_at_level(0, "g", (AckLevel::Inserted, 0));
    let (consumed, _) = world.put_at_level(0, "g", (AckLevel::Consumed, 0));
    let (stored, _) = world.put_at_level(0, "g", (AckLevel::Stored, 2));
    assert_eq!(world.until_answered(stored, &calm, 20_000), Some(AckLevel::Stored));
    assert_eq!(world.until_answered(inserted, &calm, 2_000), None);
    world.set_link(1, true);
    assert_eq!(world.until_answered(inserted, &calm, 20_000), Some(AckLevel::Inserted));
    assert_eq!(world.until_answered(consumed, &calm, 2_000), None);
    assert_eq!(world.drain(1, "g", "s").len(), 4);
    assert_eq!(world.until_answered(consumed, &calm, 2_000), None, "one of two has acked");
    assert_eq!(world.drain(2, "g", "s").len(), 4);
    assert_eq!(world.until_answered(consumed, &calm, 20_000), Some(AckLevel::Consumed));
}

#[test]
fn more_copies_than_relays_are_refused_at_once_and_the_message_is_kept() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let calm = Weather { puts: 0, ..Weather::CALM };
    let (four, _) = world.put_at_level(0, "g", (AckLevel::Stored, 4));
    assert_eq!(world.until_answered(four, &calm, 2_000), Some(AckLevel::Accepted));
    let (three, _) = world.put_at_level(0, "g", (AckLevel::Stored, 3));
    assert_eq!(world.until_answered(three, &calm, 20_000), Some(AckLevel::Stored), "the one between counts");
    world.settle();
    assert_eq!(world.drain(2, "g", "s").len(), 3);
}

#[test]
fn s45_a_member_with_a_full_disk_gets_everything_when_there_is_room() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_room(2, false);
    world.put(0, "g", 3);
    world.rest();
    assert_eq!(world.drain(1, "g", "s").len(), 4, "others are not held up");
    world.rest();
    assert!(world.nodes[0].held_runs() > 0, "the origin keeps what a full disk lacks");
    let sent = world.runs_sent();
    world.rest();
    assert_eq!(world.runs_sent(), sent, "nobody sends to a full disk again and again");
    world.set_room(2, true);
    world.settle();
    assert_eq!(world.drain(2, "g", "s").len(), 4);
    world.rest();
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
}

#[test]
fn s18_a_retry_at_another_relay_is_inserted_once_also_when_both_copies_are_on_their_way() {
    // Both origins reach the members over different links.
    let mut world = World::new(1, 4, &[(0, 2, 1), (1, 3, 1), (2, 3, 1)]);
    for node in [2, 3] {
        world.subscribe(node, "g", "s");
    }
    world.put_as(0, "g", 1, &["before"]);
    world.put_as(1, "g", 2, &["and"]);
    world.settle();
    // The link breaks before the answer has come, and nobody knows of the other's copy.
    for wire in [0, 1] {
        world.set_link(wire, false);
    }
    world.settle();
    world.put_as(0, "g", 3, &["a", "b"]);
    world.put_as(1, "g", 3, &["a", "b", "c"]);
    for wire in [0, 1] {
        world.set_link(wire, true);
    }
    world.settle();
    // And again, when everybody knows: nothing new.
    world.put_as(1, "g", 3, &["a", "b"]);
    world.settle();
    // What was decided outlives restarts, with and without a snapshot.
    world.save(3);
    for node in [2, 3] {
        world.crash(node);
    }
    world.heal();
    for node in [2, 3] {
        let mut got = world.drain(node, "g", "s");
        got.sort();
        assert_eq!(got, ["a", "and", "b", "before", "c"], "at relay {node}");
    }
    world.rest();
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
}

#[test]
fn p4_publishers_that_move_in_storms_are_handed_out_in_their_order_or_a_notice_tells() {
    let (mut moved, mut notices) = (0, 0);
    for seed in 0..100 {
        let (of_seed, told) = movers(seed, 400).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        moved += of_seed;
        notices += told;
    }
    assert!(moved > 1_000 && notices > 100, "the test cannot fail: {moved} moved, {notices} notices");
}

#[test]
fn s36_a_cost_that_changes_moves_the_tree_and_loses_nothing() {
    let mut world = World::new(1, 3, &[(0, 1, 10), (1, 2, 10), (0, 2, 15)]);
    world.subscribe(0, "g", "s");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(world.nodes[1].runs_sent, 0, "the direct link is the cheapest way");
    let weather = Weather { puts: 30, ..Weather::CALM };
    for round in 0..10 {
        world.set_cost(2, if round % 2 == 0 { 30 } else { 15 });
        for _ in 0..40 {
            world.step(&weather);
        }
        world.settle();
    }
    world.set_cost(2, 30);
    world.settle();
    let before = world.nodes[1].runs_sent;
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(world.nodes[1].runs_sent, before + 1, "by way of the relay between");
    world.finish().unwrap();
}
