//! Storms in which applications use what groups and subscriptions can be set to.

use super::super::world::{Seen, features};

#[test]
fn s52_filters_times_to_live_failures_seeks_and_subscriptions_that_come_and_go_hold_in_storms() {
    let mut seen = Seen::default();
    for seed in 0..16 {
        seen += features(seed, 500).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    let often = [seen.made, seen.owed, seen.filtered, seen.expired, seen.seeks, seen.leveled];
    assert!(often.iter().all(|count| *count > 20) && seen.removed > 5 && seen.dead > 2, "{seen:?}");
}
