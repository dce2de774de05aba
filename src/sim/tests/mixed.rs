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
