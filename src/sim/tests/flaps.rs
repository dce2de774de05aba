//! A link that comes and goes five times a second.

use super::super::world::World;
use super::LINE;
use crate::dice::Dice;

/// A minute of puts at both ends of a line of three, while its first link is cut every 200 ms and
/// is back `gone_ms` later. Gives how many copies of each message that had to take it were sent.
fn copies_over_a_flapping_link(seed: u64, gone_ms: u64) -> f64 {
    let mut dice = Dice::new(seed);
    let mut world = World::new(seed, 3, &LINE);
    (0..3).for_each(|node| world.subscribe(node, "g", "s"));
    [0, 2].into_iter().for_each(|node| world.put(node, "g", 1));
    world.settle();
    let (before, puts) = (world.runs_over(0), world.oracle.puts());
    for ms in 0..60_000 {
        if dice.below(10) == 0 {
            world.put(2 * dice.below(2) as usize, "g", 1);
        }
        match ms % 200 {
            0 => world.set_link(0, false),
            at if at == gone_ms => world.set_link(0, true),
            _ => {}
        }
        world.pass_with_traffic();
    }
    world.set_link(0, true);
    world.settle();
    let copies = (world.runs_over(0) - before) as f64 / (world.oracle.puts() - puts) as f64;
    world.finish().unwrap();
    copies
}

#[test]
fn s3_a_link_that_flaps_for_a_minute_carries_each_message_about_once() {
    for gone_ms in [20, 180] {
        let copies = copies_over_a_flapping_link(gone_ms, gone_ms);
        assert!((1.0..=1.05).contains(&copies), "{copies} of each when it is back after {gone_ms} ms");
    }
}
