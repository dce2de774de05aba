//! A backup that is put back, while others have gone on (R4).

use super::super::world::World;
use super::{LINE, puts};

fn warned(world: &World, node: usize) -> bool {
    world.nodes[node].warnings().iter().any(|warning| warning.contains("older image of itself"))
}

#[test]
fn s21_an_origin_that_is_put_back_uses_no_sequence_again_and_goes_on() {
    for was_restarted in [false, true] {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(1, "g", "s");
        world.subscribe(2, "g", "s");
        (0..2).for_each(|_| world.put(0, "g", 1));
        world.settle();
        let image = world.nodes[0].image();
        if was_restarted {
            world.crash(0);
            world.heal();
        }
        (0..3).for_each(|_| world.put(0, "g", 1));
        world.settle();
        world.put_back(0, &image);
        world.heal();
        assert!(warned(&world, 0));
        (0..2).for_each(|_| world.put(0, "g", 1));
        world.settle();
        // And again in later boots: nothing waits for an end that nobody will write.
        world.crash(0);
        world.heal();
        world.put(0, "g", 1);
        world.heal();
        for node in [1, 2] {
            assert_eq!(puts(&world.drain(node, "g", "s")), [1, 2, 3, 4, 5, 6, 7, 8], "at {node}");
        }
        world.rest();
        assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0);
        let warnings = world.nodes[0].warnings().len();
        assert_eq!(warnings, 0, "told once: {:?}", world.nodes[0].warnings());
    }
}

#[test]
fn s22_a_member_that_is_put_back_gets_again_what_others_have() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "slow");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let image = world.nodes[2].image();
    (0..3).for_each(|_| world.put(0, "g", 1));
    world.settle();
    assert_eq!(puts(&world.drain(2, "g", "s")), [1, 2, 3, 4]);
    world.rest();
    world.put_back(2, &image);
    world.heal();
    world.put(0, "g", 1);
    world.heal();
    assert!(warned(&world, 2));
    // What it had acked after the image it gets again.
    assert_eq!(puts(&world.drain(2, "g", "s")), [1, 2, 3, 4, 5]);
}

#[test]
fn s22_a_member_that_is_put_back_is_told_of_what_nobody_has_any_more() {
    for is_something_new in [false, true] {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(2, "g", "s");
        world.put(0, "g", 1);
        world.settle();
        let image = world.nodes[2].image();
        (0..3).for_each(|_| world.put(0, "g", 1));
        world.settle();
        assert_eq!(puts(&world.drain(2, "g", "s")), [1, 2, 3, 4]);
        world.rest();
        assert_eq!(world.nodes[1].held_runs() + world.nodes[0].held_runs(), 0, "let go everywhere");
        world.put_back(2, &image);
        world.heal();
        if is_something_new {
            world.put(0, "g", 1);
            world.heal();
        }
        assert!(warned(&world, 2));
        let gaps = world.nodes[2].gaps;
        let got = puts(&world.drain(2, "g", "s"));
        assert_eq!(got, if is_something_new { vec![1, 5] } else { vec![1] });
        assert!(world.nodes[2].gaps > gaps, "it is told that something is lost");
        // A start that follows knows that it was told.
        world.crash(2);
        world.heal();
        assert!(!warned(&world, 2));
    }
}

#[test]
fn a_relay_that_was_not_put_back_keeps_its_storage_whatever_crashes() {
    for seed in 0..60 {
        let mut world = super::super::storms::stormy(seed, 300).unwrap();
        world.heal();
        for node in 0..world.nodes.len() {
            assert!(!warned(&world, node), "seed {seed}: {:?}", world.nodes[node].warnings());
        }
    }
}
