//! Storms of moves beside everything else that an operator does to a network.

use super::super::world::mixed;

#[test]
fn s52_storms_in_which_homes_move_while_relays_are_forgotten_and_wiped_and_weeks_pass_lose_nothing() {
    let mut twins = 0;
    for seed in 0..30 {
        twins += mixed(seed, 900).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    assert!(twins > 10, "{twins} names had two homes");
}

/// An origin forgot with a crash what it had released, and a member with a new disk held that for released, or
/// had never heard of it.
#[test]
fn s52_storms_of_all_kinds_that_failed_once_pass() {
    for seed in [41_000_037, 41_000_103, 41_000_157, 41_000_223] {
        mixed(seed, 900).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}
