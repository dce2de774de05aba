//! Storms in which groups are removed and made again.

use super::super::world::lives;

#[test]
fn r11_a_group_that_is_removed_and_made_again_in_storms_has_nothing_of_its_lives_before() {
    let (mut removed, mut taken) = (0, 0);
    for seed in 0..40 {
        let seen = lives(seed, 500).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        (removed, taken) = (removed + seen.0, taken + seen.1);
    }
    assert!(removed > 40 && taken > 200, "removed {removed} times, {taken} messages were taken");
}
