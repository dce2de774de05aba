//! Tests of choosing.

use super::*;

const SEGMENT: u64 = 1 << 20;

fn terms() -> Terms {
    Terms {
        segment_bytes: SEGMENT,
        slice_bytes: SEGMENT / 4,
        age_ms: 1000,
        is_pressed: false,
        room: u64::MAX,
    }
}

/// A full segment of which so many bytes, in runs of a kilobyte of one group, are live.
fn segment(live: u64, age_ms: u64) -> Option<Candidate> {
    let live = Live { bytes: live, runs: live / 1000, groups: u64::from(live > 0) };
    Some(Candidate { size: SEGMENT, blocks: SEGMENT - 50_000, live, age_ms })
}

#[test]
fn what_would_not_gain_half_stays() {
    assert_eq!(terms().choose(&[segment(SEGMENT / 2, 5000)]), None);
    assert_eq!(terms().choose(&[segment(SEGMENT / 3, 5000)]), Some(0..1));
    let pressed = Terms { is_pressed: true, ..terms() };
    assert_eq!(pressed.choose(&[segment(SEGMENT / 4 * 3, 0)]), Some(0..1), "an eighth is enough now");
    assert_eq!(pressed.choose(&[segment(SEGMENT / 20 * 19, 0)]), None);
}

#[test]
fn what_is_being_released_is_left_to_go_by_itself() {
    assert_eq!(terms().choose(&[segment(1000, 999)]), None);
    assert_eq!(terms().choose(&[segment(1000, 1000)]), Some(0..1));
    assert_eq!(terms().choose(&[segment(0, 5000)]), None, "nothing to copy: it is recycled whole");
}

#[test]
fn the_emptier_and_the_older_one_goes_first() {
    let by_use = [segment(SEGMENT / 3, 2000), None, segment(SEGMENT / 9, 2000)];
    assert_eq!(terms().choose(&by_use), Some(2..3));
    let by_age = [segment(SEGMENT / 3, 90_000), None, segment(SEGMENT / 9, 2000)];
    assert_eq!(terms().choose(&by_age), Some(0..1));
}

#[test]
fn neighbours_go_along_until_one_segment_is_full() {
    let all = vec![segment(SEGMENT / 10, 2000); 20];
    let chosen = terms().choose(&all).unwrap();
    assert!((8..=9).contains(&chosen.len()), "{chosen:?}");
    let around = [segment(SEGMENT, 2000), segment(9000, 2000), segment(0, 2000), segment(8000, 2000), None];
    assert_eq!(terms().choose(&around), Some(1..4));
}

#[test]
fn nothing_is_joined_over_one_that_must_stay() {
    let all = [segment(5000, 2000), segment(5000, 2000), None, segment(4000, 2000), segment(4000, 2000)];
    assert_eq!(terms().choose(&all), Some(3..5));
}

#[test]
fn what_does_not_fit_on_the_disk_is_not_begun() {
    let all = [segment(SEGMENT / 3, 9000), None, segment(1000, 2000)];
    assert_eq!(Terms { room: 40_000, ..terms() }.choose(&all), Some(2..3));
    assert_eq!(Terms { room: 10_000, ..terms() }.choose(&all), None);
}

#[test]
fn small_files_are_joined_when_they_are_many() {
    let small = |size| segment(9000, 2000).map(|one| Candidate { size, blocks: size, ..one });
    let few = vec![small(30_000); SMALL_MAX - 1];
    assert_eq!(terms().choose(&few), None);
    let mut many = vec![segment(SEGMENT, 2000)];
    many.extend(vec![small(30_000); SMALL_MAX]);
    assert_eq!(terms().choose(&many), Some(1..1 + SMALL_MAX));
}
