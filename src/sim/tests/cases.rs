//! Cases of the overlay at the sizes and in the times that they are told with.

use super::super::storms::Weather;
use super::super::world::World;
use super::{LINE, puts};
use crate::sim::changing::text_of;
use crate::topology::TopologyVersion;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Answer, Reply};

#[track_caller]
fn version(answer: Answer) -> TopologyVersion {
    match answer {
        Ok(Reply::TopologyApplied(head)) => head.version,
        other => panic!("it is not applied: {other:?}"),
    }
}

#[test]
fn s14_a_second_subscription_begins_at_its_relays_place_while_that_is_a_million_behind() {
    const RUNS: u64 = 2_000;
    const EACH: u64 = 500;
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "first");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(0, false);
    (0..RUNS).for_each(|_| world.put(0, "g", EACH));
    world.settle();
    world.set_link(0, true);
    while world.on_disk(1, "g") < 200 {
        world.arrive_all(1);
    }
    let has = world.on_disk(1, "g") as u64;
    assert!(has < RUNS / 2, "it lags: {has}");
    world.subscribe_unheard(1, "g", "second");
    world.settle();
    let second = puts(&world.drain(1, "g", "second"));
    let expected = (has + 1..=RUNS + 1).flat_map(|put| std::iter::repeat_n(put, EACH as usize));
    assert!(second.iter().copied().eq(expected), "{} from {:?}", second.len(), second.first());
    assert_eq!(world.drain(1, "g", "first").len() as u64, 1 + RUNS * EACH, "nobody is held up");
}

#[test]
fn s3_a_link_that_flaps_for_a_minute_is_planned_for_once_per_pause_at_every_relay() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 1)]);
    (0..4).for_each(|node| world.subscribe(node, "g", "s"));
    world.settle();
    let before: Vec<u64> = world.nodes.iter().map(|node| node.plans()).collect();
    for ms in 0..60_000 {
        if ms % 100 == 0 {
            world.set_link(0, ms % 200 != 0);
        }
        if ms % 50 == 0 {
            world.put(ms / 50 % 4, "g", 1);
        }
        world.pass_with_traffic();
    }
    for (node, before) in world.nodes.iter().zip(before) {
        let plans = node.plans() - before;
        // Ten in the first second, which may be one event, and then one a second.
        assert!((10..=80).contains(&plans), "{} plans in a minute with 600 changes", plans);
    }
    world.set_link(0, true);
    world.finish().unwrap();
}

#[test]
fn s36_a_cheaper_link_carries_what_a_dear_one_carried_and_one_that_is_gone_carries_nothing() {
    let mut world = World::new(1, 3, &LINE);
    (0..3).for_each(|node| world.subscribe(node, "g", "s"));
    world.put(0, "g", 1);
    world.settle();
    let over = |world: &World| [0, 1].map(|wire| world.runs_over(wire));
    version(world.apply(0, &text_of(&[0, 1, 2], &[(0, 1, 2), (1, 2, 5), (0, 2, 1)])));
    world.heal();
    let (before, all) = (over(&world), world.runs_sent());
    (0..5).for_each(|_| {
        world.put(0, "g", 1);
        world.settle();
    });
    let now = over(&world);
    assert_eq!([now[0] - before[0], now[1] - before[1]], [5, 0], "1-2 is the dearest");
    assert_eq!(
        (world.runs_sent() - all, world.runs_over(2) > 0),
        (10, true),
        "the new link has the other half"
    );
    version(world.apply(2, &text_of(&[0, 1, 2], &[(0, 1, 1), (0, 2, 1)])));
    world.heal();
    let before = world.runs_over(1);
    world.put(2, "g", 1);
    world.finish().unwrap();
    assert_eq!(world.runs_over(1), before, "it is gone");
}

#[test]
fn s36_a_cost_that_is_applied_takes_the_tree_off_the_link_that_became_dear() {
    let ring = [(0, 1, 1), (1, 2, 1), (2, 3, 1), (0, 3, 1)];
    let mut world = World::new(1, 4, &ring);
    (0..4).for_each(|node| world.subscribe(node, "g", "s"));
    world.settle();
    for dear in [0, 1, 2, 3, 0] {
        let mut links = ring;
        links[dear].2 = 7;
        version(world.apply(dear, &text_of(&[0, 1, 2, 3], &links)));
        world.heal();
        // What an origin says before its first message goes over the tree too.
        world.put(dear, "g", 1);
        world.settle();
        let before: Vec<u64> = (0..4).map(|wire| world.runs_over(wire)).collect();
        world.put(dear, "g", 1);
        world.settle();
        let carried: Vec<u64> = (0..4).map(|wire| world.runs_over(wire) - before[wire]).collect();
        let expected: Vec<u64> = (0..4).map(|wire| u64::from(wire != dear)).collect();
        assert_eq!(carried, expected, "link {dear} is dear");
    }
    world.finish().unwrap();
}

#[test]
fn s6_the_last_message_of_a_burst_comes_within_the_bound_after_its_link_is_back() {
    let mut world = World::new(1, 3, &[(0, 1, 1), (1, 2, 1)]);
    world.subscribe(2, "g", "s");
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.settle();
    for lost in [0, 1] {
        world.put(0, "g", 1);
        world.sync(0);
        if lost == 1 {
            while world.arrive_at(0, 1) {}
        }
        let has = world.on_disk(2, "g");
        world.set_link(lost, false);
        world.wait_ms(50);
        world.set_link(lost, true);
        (0..200).for_each(|_| world.pass_with_traffic());
        assert_eq!(world.on_disk(2, "g"), has + 1, "200 ms after link {lost} was back");
    }
    assert_eq!(world.drain(2, "g", "s").len(), 5);
}

#[test]
fn s44_a_clock_that_is_an_hour_wrong_anywhere_on_the_way_expires_nothing_sooner_or_later() {
    for (node, seconds) in [(0, 3_600), (0, -3_600), (1, 3_600), (1, -3_600), (2, 3_600), (2, -3_600)] {
        let mut world = World::new(1, 3, &LINE);
        let settings = GroupSettings { ttl_ms: Some(600_000), ..GroupSettings::default() };
        world.nodes[0].create_group(world.now, &"g".parse().unwrap(), settings);
        world.collect(0);
        world.settle();
        world.subscribe(2, "g", "s");
        world.jump_clock(node, seconds);
        world.put(0, "g", 1);
        world.settle();
        world.wait_ms(300_000);
        world.settle();
        assert_eq!(world.drain(2, "g", "s").len(), 1, "five of ten minutes: {node}, {seconds}");
        // Half of its time it waits for a link: that counts, by the clock of who keeps it.
        world.set_link(1, false);
        world.settle();
        world.put(0, "g", 1);
        world.settle();
        world.wait_ms(400_000);
        world.set_link(1, true);
        world.settle();
        world.wait_ms(400_000);
        assert!(world.drain(2, "g", "s").is_empty(), "thirteen of ten minutes: {node}, {seconds}");
    }
}

#[test]
fn s52_storms_on_real_maps_lose_nothing_and_double_nothing() {
    for name in ["abilene", "geant", "cloud"] {
        let path = format!("{}/topologies/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let topology = crate::topology::Topology::parse("map.toml", &text).unwrap().topology;
        let states = crate::routing::LinkState::of_topology(&topology, 10);
        let place = |name: &crate::id::RelayId| states.iter().position(|state| state.relay == *name).unwrap();
        let mut links: Vec<(usize, usize, u32)> = Vec::new();
        for (one, state) in states.iter().enumerate() {
            for link in &state.links {
                let other = place(&link.neighbour);
                if one < other {
                    links.push((one, other, link.cost));
                }
            }
        }
        for seed in 0..5 {
            let mut world = World::new(seed, states.len(), &links);
            (0..6).for_each(|i| world.subscribe(i * 5 % states.len(), "g", &format!("s{i}")));
            (0..600).for_each(|_| world.step(&Weather::STORM));
            world.finish().unwrap_or_else(|what| panic!("{name}, seed {seed}: {what}"));
        }
    }
}

#[test]
fn s8_a_member_that_is_down_for_two_hours_gets_everything_that_any_relay_took_meanwhile() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (1, 3, 1)]);
    [2, 3].into_iter().for_each(|node| world.subscribe(node, "g", "s"));
    world.put(0, "g", 1);
    world.settle();
    world.crash(2);
    for minute in 0..120 {
        world.put([0, 1, 3][minute % 3], "g", 1);
        world.settle();
        world.wait_ms(60_000);
        world.settle();
    }
    assert_eq!(world.oracle.count_answered(), 121);
    let sent: Vec<u64> = [0, 2].map(|wire| world.runs_over(wire)).into();
    world.heal();
    assert_eq!(world.drain(2, "g", "s").len(), 121);
    assert_eq!([0, 2].map(|wire| world.runs_over(wire)).to_vec(), sent, "all of it is at its custodian");
    world.watched().unwrap();
}
