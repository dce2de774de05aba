//! What no neighbour in the tree has and a relay farther away does: it is asked for (R10).

use super::super::storms::storm_with_a_death;
use super::super::world::{World, names};
use crate::limits;
use crate::relay::Rate;
use crate::wire::body::{Reply, Request};

/// The messages of `g` that have been put, in order.
fn all(world: &World) -> Vec<String> {
    world.oracle.payloads_since(0)
}

#[test]
fn s29_what_the_transit_upstream_has_lost_comes_from_a_third_member_while_the_origin_is_down() {
    // r00 puts, r01 passes on, r02 and r03 are members behind it.
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (1, 3, 1)]);
    world.subscribe(2, "g", "s");
    world.subscribe(3, "g", "s");
    world.set_link(1, false);
    world.settle();
    (0..5).for_each(|_| world.put(0, "g", 1));
    world.settle();
    let all = all(&world);
    world.crash(0);
    assert_eq!(world.nodes[1].damage(&[&all[1], &all[2]]), 2);
    world.set_link(1, true);
    world.settle();
    world.rest();
    assert_eq!(world.drain(2, "g", "s"), all);
    assert_eq!(world.drain(3, "g", "s"), all);
}

#[test]
fn s30_what_100_children_lack_is_asked_for_once_and_comes_over_each_link_once() {
    check_children(100);
}

#[test]
#[ignore = "minutes: cargo test --release --lib s30 -- --ignored"]
fn s30_what_200_children_lack_is_asked_for_once_and_comes_over_each_link_once() {
    check_children(200);
}

/// Of three messages a transit with so many members behind it has lost the second.
fn check_children(children: usize) {
    let links: Vec<_> =
        std::iter::once((0, 1, 1)).chain((0..children).map(|child| (1, child + 2, 1))).collect();
    let mut world = World::new(1, children + 2, &links);
    for child in 0..children {
        world.subscribe(child + 2, "g", "s");
    }
    (1..links.len()).for_each(|link| world.set_link(link, false));
    world.settle();
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.settle();
    let all = all(&world);
    // The transit cannot give it, and the origin can.
    assert_eq!(world.nodes[1].damage(&[&all[1]]), 1);
    let before: Vec<u64> = world.nodes.iter().map(|node| node.runs_sent).collect();
    world.nodes.iter_mut().for_each(|node| node.counted = Some((all[1].clone(), 0)));
    world.heal_links();
    world.settle();
    (0..2).for_each(|_| world.rest());
    let mut came = 0;
    for child in 0..children {
        came += usize::from(world.drain(child + 2, "g", "s") == all);
    }
    assert_eq!(came, children);
    assert_eq!(world.nodes[1].pulls_sent, 1, "asked for once towards the origin");
    assert_eq!(world.nodes[0].runs_sent - before[0], 1, "answered once");
    let of_it: Vec<u64> = world.nodes.iter().filter_map(|node| Some(node.counted.as_ref()?.1)).collect();
    assert_eq!(of_it[..2], [1, children as u64], "once over each link");
    assert!(of_it[2..].iter().all(|sent| *sent == 0), "nobody sends it back");
    let asked: u64 = world.nodes[2..].iter().map(|node| node.pulls_sent).sum();
    assert_eq!(asked, children as u64);
    // GENESIS, the first message, the last one too early: at first, when it was asked for again, and
    // when a mark of release came; the one that was pulled, the last.
    let sent = world.nodes[1].runs_sent - before[1];
    assert!(sent <= 7 * children as u64, "{sent} runs over {children} links");
}

#[test]
fn s29_what_a_relay_has_comes_to_all_that_it_can_reach_though_another_never_comes_back() {
    // In 2540 a relay that had left the tree was the only one that had it.
    for seed in (0..150).chain([2540]) {
        storm_with_a_death(seed, 400).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}

/// Milliseconds until a relay has so many runs with messages on its disk.
fn ms_until_on_disk(world: &mut World, node: usize, runs: usize) -> u64 {
    let begin = world.now.time;
    while world.on_disk(node, "g") < runs {
        world.pass_ms(20);
        world.settle();
        assert!(world.now.time < begin.after_ms(60_000), "it never comes");
    }
    (world.now.time.0 - begin.0) / 1_000_000
}

/// A link that takes about twenty small runs in a second.
fn slow(slow: usize) -> impl Fn(usize) -> Option<Rate> {
    move |wire| (wire == slow).then_some(Rate { bytes_per_second: 4_000, burst_bytes: 300 })
}

/// Of three epochs with so many messages each r02 lacks everything, and r01, which is in no tree, has it
/// all. The origin is down. Gives what it takes until all is on the disk of r02, in milliseconds.
fn pull_three_epochs(puts: usize) -> u64 {
    let mut world = World::with_rates(1, 3, &[(0, 1, 9), (0, 2, 1), (1, 2, 1)], &slow(2));
    (1..3).for_each(|node| world.subscribe(node, "g", "s"));
    (1..3).for_each(|wire| world.set_link(wire, false));
    for _ in 0..3 {
        world.start(0);
        world.set_link(0, true);
        world.settle();
        for _ in 0..puts {
            world.put(0, "g", 1);
            world.settle();
        }
        world.crash(0);
    }
    // Now r01 is in no tree: the origin is down and would be nearest to r02, which lacks everything.
    let (group, name) = names(1, "g", "s");
    assert_eq!(world.ask(1, Request::SubscriptionRemove { group, name }), Ok(Reply::Done));
    world.rest();
    let before = world.nodes[1].runs_sent;
    world.set_link(2, true);
    world.settle();
    let ms = ms_until_on_disk(&mut world, 2, 3 * puts);
    assert_eq!(world.nodes[2].pulls_sent, 3, "one for each epoch");
    // GENESIS and SEAL too; the last epoch has no end yet.
    let runs = 3 * puts as u64 + 3 + 2;
    assert_eq!(world.nodes[1].runs_sent - before, runs, "each crosses the link once");
    let all = all(&world);
    assert_eq!(world.drain(2, "g", "s"), all);
    ms
}

#[test]
fn i10_three_epochs_that_are_pulled_at_once_over_a_link_with_a_rate_come_one_after_the_other() {
    let ms = pull_three_epochs(12);
    // After the patience all of it takes little more than two seconds.
    assert!(ms < limits::PULL_PATIENCE_MS + 2_500, "{ms} ms");
}

#[test]
fn p6_an_answer_that_takes_longer_than_the_wait_is_not_asked_for_again_while_it_comes() {
    let ms = pull_three_epochs(60);
    assert!(ms > 3 * limits::PULL_WAIT_MS, "{ms} ms");
}

#[test]
fn p6_who_waits_for_what_comes_to_a_transit_slowly_does_not_ask_again_while_it_comes() {
    const LOST: usize = 80;
    // r00 puts, r01 passes on and has lost most of it, r02 and r03 are members behind it. The two know
    // of each other.
    let mut world = World::with_rates(1, 4, &[(0, 1, 1), (1, 2, 1), (1, 3, 1), (2, 3, 9)], &slow(0));
    (2..4).for_each(|node| world.subscribe(node, "g", "s"));
    (1..3).for_each(|wire| world.set_link(wire, false));
    world.settle();
    for _ in 0..LOST + 2 {
        world.put(0, "g", 1);
        world.settle();
    }
    ms_until_on_disk(&mut world, 1, LOST + 2);
    world.rest();
    let all = all(&world);
    let lost: Vec<&str> = all[1..=LOST].iter().map(String::as_str).collect();
    assert_eq!(world.nodes[1].damage(&lost), LOST);
    let before = world.nodes[0].runs_sent;
    world.nodes.iter_mut().for_each(|node| node.counted = Some((all[LOST].clone(), 0)));
    world.heal_links();
    world.settle();
    let ms = ms_until_on_disk(&mut world, 2, LOST + 2);
    assert!(ms > limits::PULL_PATIENCE_MS + limits::PULL_WAIT_MS, "{ms} ms");
    world.rest();
    assert_eq!(world.nodes[1].pulls_sent, 1, "asked for once towards the origin");
    assert_eq!(world.nodes[0].runs_sent - before, LOST as u64, "answered once");
    let asked: Vec<u64> = world.nodes[2..].iter().map(|node| node.pulls_sent).collect();
    assert_eq!(asked, [1, 1]);
    let of_it: Vec<u64> = world.nodes.iter().filter_map(|node| Some(node.counted.as_ref()?.1)).collect();
    assert_eq!(of_it, [1, 2, 0, 0], "once over each link");
    (2..4).for_each(|node| assert_eq!(world.drain(node, "g", "s"), all));
}
