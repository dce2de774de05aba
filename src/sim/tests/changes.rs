//! Networks whose topology is changed while they run (S36).

use crate::sim::changing::text_of;
use crate::sim::storms::{Weather, changes};
use crate::sim::world::World;
use crate::topology::TopologyVersion;
use crate::wire::body::{Answer, RefusalCode, Reply, Request};

const LINE: [(usize, usize, u32); 2] = [(0, 1, 1), (1, 2, 1)];

#[track_caller]
fn version(answer: Answer) -> TopologyVersion {
    match answer {
        Ok(Reply::TopologyApplied(head)) => head.version,
        other => panic!("it is not applied: {other:?}"),
    }
}

#[track_caller]
fn refusal(answer: Answer) -> (RefusalCode, String) {
    let refusal = answer.expect_err("it is refused");
    (refusal.code, refusal.message)
}

/// Everybody subscribes, and somebody puts.
fn world(relays: usize, links: &[(usize, usize, u32)]) -> World {
    let mut world = World::new(1, relays, links);
    for node in 0..relays {
        world.subscribe(node, "g", "s");
    }
    world.put(0, "g", 2);
    world
}

#[test]
fn s36_a_link_that_makes_a_cheaper_tree_takes_over_and_one_that_is_gone_carries_nothing_more() {
    let mut world = world(3, &LINE);
    let text = text_of(&[0, 1, 2], &[(0, 1, 9), (1, 2, 9), (0, 2, 1)]);
    assert_eq!(version(world.apply(0, &text)).counter, 1);
    world.settle();
    world.heal_links();
    world.settle();
    assert_eq!(world.nodes[0].links().len(), 2);
    world.put(2, "g", 2);
    world.settle();
    let text = text_of(&[0, 1, 2], &[(0, 1, 1), (0, 2, 1)]);
    assert_eq!(version(world.apply(2, &text)).counter, 2);
    world.settle();
    assert_eq!(world.nodes[1].links().len(), 1, "the link between the second and the third is gone");
    world.put(2, "g", 2);
    world.finish().unwrap();
}

#[test]
fn s36_a_cost_that_makes_the_tree_flip_loses_nothing() {
    let ring = [(0, 1, 1), (1, 2, 1), (2, 3, 1), (0, 3, 1)];
    let mut world = world(4, &ring);
    for (turn, dear) in [0, 1, 2, 3, 0].into_iter().enumerate() {
        let mut links = ring;
        links[dear].2 = 9;
        version(world.apply(turn % 4, &text_of(&[0, 1, 2, 3], &links)));
        world.put(dear, "g", 3);
        for _ in 0..50 {
            world.step(&Weather::CALM);
        }
    }
    world.finish().unwrap();
}

#[test]
fn s36_a_relay_that_is_left_out_stays_a_member_and_has_everything_when_it_is_back() {
    let mut world = world(3, &LINE);
    let first = version(world.apply(0, &text_of(&[0, 1, 2], &LINE)));
    world.settle();
    version(world.apply(0, &text_of(&[0, 1], &[(0, 1, 1)])));
    world.settle();
    assert!(world.nodes[2].links().is_empty(), "it has heard of it before its link ended");
    world.put(0, "g", 3);
    world.put(2, "g", 1);
    world.settle();
    let base = world.topology_at(0).kept.first().map(|head| head.version);
    assert!(base > Some(first));
    version(world.apply_on(0, &text_of(&[0, 1, 2], &LINE), base));
    world.finish().unwrap();
}

#[test]
fn a_relay_that_missed_the_change_of_all_its_neighbours_finds_the_new_ones() {
    let mut world = world(4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
    world.settle();
    world.crash(3);
    version(world.apply(0, &text_of(&[0, 1, 2, 3], &[(0, 1, 1), (1, 2, 1), (0, 3, 1)])));
    world.put(0, "g", 2);
    world.settle();
    world.start(3);
    world.finish().unwrap();
    assert_eq!(world.nodes[3].links().len(), 1);
    assert!(world.nodes[3].link_to(&world.nodes[0].name.clone()).is_some());
}

#[test]
fn of_two_that_are_applied_at_once_one_wins_everywhere_and_the_other_is_told() {
    let mut world = world(3, &LINE);
    let one = text_of(&[0, 1, 2], &[(0, 1, 1), (1, 2, 5)]);
    let other = text_of(&[0, 1, 2], &[(0, 1, 5), (1, 2, 1)]);
    let (first, second) = (version(world.apply(0, &one)), version(world.apply(2, &other)));
    assert_eq!((first.counter, second.counter), (1, 1), "neither has heard of the other");
    world.finish().unwrap();
    let (winner, loser) = if first > second { (first, 2) } else { (second, 0) };
    for node in 0..3 {
        assert_eq!(world.topology_at(node).taken, Some(winner));
    }
    let warnings = world.nodes[loser].warnings().join("\n");
    assert!(warnings.contains("overtaken"), "{warnings}");
}

#[test]
fn of_two_that_say_the_same_and_were_applied_at_once_one_is_in_force_everywhere() {
    let mut world = world(3, &LINE);
    world.set_link(1, false);
    let text = text_of(&[0, 1, 2], &LINE);
    let (first, second) = (version(world.apply(0, &text)), version(world.apply(2, &text)));
    assert_eq!(first, second, "they differ in who applied them only");
    world.finish().unwrap();
}

#[test]
fn what_was_seen_of_an_older_one_is_no_base_and_nothing_changes() {
    let mut world = world(3, &LINE);
    let first = version(world.apply(0, &text_of(&[0, 1, 2], &LINE)));
    world.settle();
    let cheap = text_of(&[0, 1, 2], &[(0, 1, 2), (1, 2, 1)]);
    let (code, message) = refusal(world.apply_on(2, &cheap, None));
    assert_eq!(code, RefusalCode::Exists, "{message}");
    assert!(message.contains("applied at r00"), "{message}");
    assert_eq!(world.topology_at(2).taken, Some(first));
    version(world.apply_on(2, &cheap, Some(first)));
    world.finish().unwrap();
}

#[test]
fn what_cannot_be_used_is_refused_with_the_reason() {
    let mut world = world(3, &LINE);
    for (text, why) in [
        (text_of(&[1, 2], &[(1, 2, 1)]), "r00 is not in it"),
        (text_of(&[0, 1, 2], &[(0, 1, 1), (1, 9, 1)]), "cannot be used"),
        ("version = 1\n[relay.r00]\naddress = 5".to_owned(), "cannot be used"),
        ("#".repeat(crate::limits::TOPOLOGY_BYTES_MAX + 1), "can be applied"),
    ] {
        let (_, message) = refusal(world.apply(0, &text));
        assert!(message.contains(why), "{message}");
    }
    assert_eq!(world.topology_at(0).kept, []);
    world.finish().unwrap();
}

#[test]
fn an_applied_topology_is_on_every_disk_and_the_last_few_with_it() {
    let mut world = world(3, &LINE);
    let kept = crate::limits::TOPOLOGIES_KEPT as u64;
    for cost in 1..=kept as u32 + 3 {
        version(world.apply(0, &text_of(&[0, 1, 2], &[(0, 1, cost), (1, 2, 1)])));
        world.settle();
        if cost == 5 {
            world.save(1);
        }
    }
    for node in 0..3 {
        world.crash(node);
        world.start(node);
        let kept_there = world.topology_at(node).kept;
        let counters: Vec<u64> = kept_there.iter().map(|head| head.version.counter).collect();
        assert_eq!(counters, (4..=kept + 3).rev().collect::<Vec<_>>());
    }
    world.finish().unwrap();
}

/// A relay that was alone, with messages of its own, becomes the first of a network.
#[test]
fn a_relay_that_was_alone_brings_what_it_has_into_the_network() {
    let mut world = World::new(1, 2, &[]);
    world.subscribe(0, "g", "s");
    world.put(0, "g", 2);
    world.settle();
    version(world.apply(0, &text_of(&[0, 1], &[(0, 1, 1)])));
    world.heal();
    world.put(1, "g", 2);
    world.finish().unwrap();
}

#[test]
fn s36_storms_in_networks_that_are_changed_all_the_while_break_no_promise() {
    for seed in 0..60 {
        changes(seed, 300).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

/// Puts a megabyte at the first of two relays, and says after how many milliseconds it is at the other.
fn ms_for_a_megabyte(world: &mut World, first: u64) -> u64 {
    const PUTS: u64 = 32;
    let wanted = world.nodes[1].held_runs() as u64 + PUTS;
    for number in first..first + PUTS {
        world.put_as(0, "g", number, &[&format!("{number}{}", ".".repeat(32 * 1024))]);
    }
    let begun = world.now.time.0;
    while (world.nodes[1].held_runs() as u64) < wanted {
        (0..2).for_each(|node| world.sync(node));
        world.arrive_unsynced();
        world.pass_ms(1);
        assert!(world.now.time.0 - begun < 60_000_000_000, "it never comes");
    }
    (world.now.time.0 - begun) / 1_000_000
}

#[test]
fn s36_a_rate_that_is_set_changed_or_taken_away_holds_at_once_and_the_link_stays_up() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "s");
    let link = |world: &mut World| match world.ask(0, Request::LinkList { after: None, limit: 1 }) {
        Ok(Reply::Links(links)) => (links[0].link, links[0].downs, links[0].is_up),
        other => panic!("no link: {other:?}"),
    };
    let before = link(&mut world);
    let text = text_of(&[0, 1], &[(0, 1, 1)]);
    let mut first = 1;
    for (rate, least, most) in [
        ("", 0, 50),
        ("rate = \"100kB/s\"", 8_000, 12_000),
        ("rate = \"1MB/s\"", 700, 1_300),
        ("", 0, 50),
        ("rate = \"200kB/s\"", 4_000, 6_000),
    ] {
        version(world.apply(0, &format!("{text}{rate}\n")));
        world.settle();
        // What was sent before is paid for by then.
        world.pass_ms(1_000);
        let ms = ms_for_a_megabyte(&mut world, first);
        assert!((least..=most).contains(&ms), "{rate}: a megabyte took {ms} ms");
        first += 100;
    }
    assert_eq!(link(&mut world), before);
    world.watched().unwrap();
}

#[test]
fn s36_a_relay_that_is_left_out_is_named_until_it_is_forgotten_and_holds_nothing_back_then() {
    let mut world = world(3, &LINE);
    version(world.apply(0, &text_of(&[0, 1], &[(0, 1, 1)])));
    world.settle();
    let warnings = |world: &mut World| match world.ask(0, Request::Status) {
        Ok(Reply::Status(status)) => status.warnings.join("\n"),
        other => panic!("no status: {other:?}"),
    };
    let said = warnings(&mut world);
    assert!(said.contains("in the topology no more") && said.contains("r02"), "{said}");
    world.lose(2);
    world.forget(0, 2).unwrap();
    world.oracle.forget("r02", false);
    world.settle();
    let said = warnings(&mut world);
    assert!(!said.contains("r02"), "{said}");
    world.put(1, "g", 2);
    world.finish().unwrap();
}

/// By its number it is known over which link a message came (R18).
#[test]
fn s36_a_link_that_is_gone_and_comes_again_has_its_number_and_a_new_one_never_gets_it() {
    let mut world = world(4, &[(0, 1, 1), (1, 2, 1), (1, 3, 1)]);
    world.settle();
    let number = |world: &World, other: usize| {
        let name = world.nodes[other].name.clone();
        world.nodes[1].link_to(&name)
    };
    let before = [0, 2, 3].map(|other| number(&world, other));
    version(world.apply(0, &text_of(&[0, 1, 2, 3], &[(0, 1, 1), (0, 2, 1), (0, 3, 1)])));
    world.heal();
    assert_eq!([0, 2, 3].map(|other| number(&world, other)), [before[0], None, None]);
    world.restart(1);
    // The other way round: the greater number is asked for first.
    version(world.apply(0, &text_of(&[0, 1, 2, 3], &[(0, 1, 1), (1, 3, 1), (0, 2, 1)])));
    world.heal();
    assert_eq!([0, 2, 3].map(|other| number(&world, other)), [before[0], None, before[2]]);
    version(world.apply(0, &text_of(&[0, 1, 2, 3], &[(0, 1, 1), (1, 3, 1), (1, 2, 1)])));
    world.heal();
    assert_eq!([0, 2, 3].map(|other| number(&world, other)), before);
    world.finish().unwrap();
}

/// In the file the last of a line gets the name of a fourth relay. The last one was cut off, with a
/// backlog, and with something that nobody else has.
#[test]
fn s36_the_disk_of_a_relay_that_is_renamed_is_refused_and_has_everything_under_its_own_name() {
    for saves in [false, true] {
        let mut world = World::new(1, 4, &LINE);
        world.lose(3);
        [0, 2].into_iter().for_each(|node| world.subscribe(node, "g", "s"));
        [(0, 2), (2, 1)].into_iter().for_each(|(node, messages)| world.put(node, "g", messages));
        world.settle();
        version(world.apply(0, &text_of(&[0, 1, 2], &LINE)));
        world.settle();
        world.set_link(1, false);
        [(0, 1), (2, 1)].into_iter().for_each(|(node, messages)| world.put(node, "g", messages));
        world.settle();
        let renamed = [(0, 1, 1), (1, 3, 1)];
        version(world.apply(0, &text_of(&[0, 1, 3], &renamed)));
        world.settle();
        if saves {
            world.save(2);
        }
        let new = world.nodes[3].name.clone();
        let why = world.nodes[2].refuses(&new).expect("it is another relay's disk");
        assert!(why.contains("is that of relay r02") && why.contains("started from as r03"), "{why}");
        assert_eq!(world.nodes[2].refuses(&"r02".parse().unwrap()), None);
        // With a disk of its own the new one is a relay like any other.
        assert_eq!(world.nodes[3].refuses(&new), None);
        world.bring_back(3);
        world.heal();
        world.subscribe(3, "h", "s");
        for group in ["g", "h"] {
            [0, 3].into_iter().for_each(|node| world.put(node, group, 1));
        }
        world.settle();
        assert_eq!(world.on_disk(3, "h"), 2, "what was put since");
        let Ok(Reply::Status(status)) = world.ask(0, Request::Status) else { panic!("no status") };
        let said = status.warnings.join("\n");
        assert!(said.contains("in the topology no more") && said.contains("r02"), "{said}");
        // The other one still has its disk, and has its name again.
        world.restart(2);
        version(world.apply(1, &text_of(&[0, 1, 2, 3], &[(0, 1, 1), (1, 3, 1), (1, 2, 1)])));
        world.finish().unwrap();
    }
}

#[test]
fn s36_groups_are_as_the_one_says_that_wins_of_two_that_were_applied_at_once() {
    for first_wins in [true, false] {
        let mut world = World::new(1, 3, &LINE);
        world.set_link(1, false);
        world.settle();
        let text = |hours: u64, note: u64| {
            format!("{}[group.h]\nttl = \"{hours}h\"\n# {note}\n", text_of(&[0, 1, 2], &LINE))
        };
        let version_of = |text: &str| TopologyVersion::new(1, text);
        let other = text(2, 0);
        let wins = |one: &String| (version_of(one) > version_of(&other)) == first_wins;
        let one = (0..).map(|note| text(1, note)).find(wins).unwrap();
        version(world.apply(0, &one));
        version(world.apply(2, &other));
        world.settle();
        world.set_link(1, true);
        world.rest();
        let (hours, winner) = if first_wins { (1, &one) } else { (2, &other) };
        for node in 0..3 {
            assert_eq!(world.topology_at(node).taken, Some(version_of(winner)));
            match world.ask(node, Request::GroupShow { group: "h".parse().unwrap() }) {
                Ok(Reply::Group(info)) => {
                    assert_eq!(info.settings.ttl_ms, Some(hours * 3_600_000), "{first_wins}, {node}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
