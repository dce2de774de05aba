//! Storms in which applications use what groups and subscriptions can be set to.

use super::super::world::{Seen, features};

#[test]
fn s52_filters_times_to_live_failures_seeks_and_subscriptions_that_come_and_go_hold_in_storms() {
    let mut seen = Seen::default();
    for seed in (0..12).chain(100_000_000..100_000_008) {
        seen += features(seed, 500).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    let often = [seen.made, seen.owed, seen.filtered, seen.expired, seen.seeks, seen.leveled];
    assert!(often.iter().all(|count| *count > 20) && seen.removed > 5 && seen.dead > 2, "{seen:?}");
}

/// A message that was rejected came again behind a sync; a gap in which nothing is lost; what was put before came
/// behind what was put later; two that know another thing of a membership in one version; a dead letter that the simulation took for the message;
/// history of an earlier boot behind a later one.
#[test]
fn s52_storms_of_features_that_failed_once_pass() {
    for seed in [94_003_018, 94_007_932, 95_200_511, 96_101_968, 98_101_550, 100_006_851, 110_014_759] {
        features(seed, 500).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}
