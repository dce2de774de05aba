use super::world::{Weather, World, storm};

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
        storm(seed, steps as usize).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
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
