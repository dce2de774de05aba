//! P10: a group that is busy when a neighbour comes to it, beside the backlogs of others.

use std::collections::VecDeque;

use super::harness::Harness;
use super::turns::{RATE, Sent, beside, bytes_of, compare, names, put, put_many, written};
use crate::limits;
use crate::wire::link::SeenWhy;

/// A neighbour that has three backlogs of 8 MB, and comes to a group that has `kib` already.
fn beside_backlogs(kib: usize) -> (Harness, Sent) {
    let groups = ["busy", "old0", "old1", "old2"];
    let mut h = beside(Some(RATE), &names(&groups));
    h.runs_per_read = usize::MAX;
    for old in &groups[1..] {
        put_many(&mut h, old, 250, 32);
        compare(&mut h, old, SeenWhy::Answers);
    }
    put_many(&mut h, "busy", kib / 4, 4);
    let mut sent = Sent::default();
    sent.take(&mut h);
    compare(&mut h, "busy", SeenWhy::Answers);
    (h, sent)
}

/// Puts so many KiB every 10 ms. Bytes of the busy group and of all, and how many ms ago the last was put that was
/// sent.
fn run(h: &mut Harness, sent: &mut Sent, (before, kib): (usize, usize), ms: u64) -> (u64, u64, u64) {
    let mut waits: VecDeque<Option<u64>> = (0..before).map(|_| None).collect();
    let (mut busy, mut all, mut late) = (0, 0, 0);
    for at in 0..ms {
        if at % 10 == 0 {
            put(h, "busy", kib);
            waits.push_back(Some(at));
        }
        h.pass_ms(1);
        written(h);
        let runs = sent.take(h);
        for (_, bytes) in runs.iter().filter(|(name, _)| name == "busy") {
            (busy, late) = (busy + bytes, waits.pop_front().unwrap().map_or(ms, |put_at| at - put_at));
        }
        all += runs.iter().map(|(_, bytes)| bytes).sum::<u64>();
    }
    assert_eq!(bytes_of(&sent.take(h), "busy"), 0);
    (busy, all, late)
}

#[test]
fn p10_a_group_that_was_busy_when_a_neighbour_came_is_live_when_that_has_what_stood_there() {
    // With half of the link until then, more than 4 MiB have come meanwhile in the last case.
    for (kib, seconds) in [(4, 10), (100, 10), (600, 10), (4_000, 40)] {
        let (mut h, mut sent) = beside_backlogs(kib);
        // Six tenths of the link.
        let (busy, _, late) = run(&mut h, &mut sent, (kib / 4, 6), seconds * 1_000);
        assert!(busy > seconds * 550_000, "{kib} KiB: {busy} bytes of what is live");
        assert!(late < 100, "{kib} KiB stood there, and it is {late} ms behind");
    }
}

#[test]
fn p10_one_group_with_something_new_behind_much_has_half_of_what_the_backlogs_have() {
    let (mut h, mut sent) = beside_backlogs(6_000);
    let (busy, all, _) = run(&mut h, &mut sent, (1_500, 1), 8_000);
    let percent = busy * 100 / all;
    assert!((45..=55).contains(&percent), "it had {busy} of {all} bytes: {percent} %");
}

/// It is too slow for what is live: the group has its half until the link has worked off what it has come to lack.
#[test]
fn p10_what_has_fallen_far_behind_is_a_backlog_until_that_is_through() {
    let (mut h, mut sent) = beside_backlogs(4);
    let (_, _, late) = run(&mut h, &mut sent, (1, 1), 1_000);
    assert!(late < 100, "it is live, and {late} ms behind");
    // Nothing is written meanwhile.
    let mebibytes = limits::LINK_LIVE_LAG_BYTES_MAX as usize / (1024 * 1024) + 1;
    put_many(&mut h, "busy", 16 * mebibytes, 64);
    let on_the_way = bytes_of(&sent.take(&mut h), "busy");
    let before = 16 * mebibytes - on_the_way as usize / (64 * 1024);
    let (busy, all, _) = run(&mut h, &mut sent, (before, 1), 6_000);
    let percent = busy * 100 / all;
    assert!((40..=55).contains(&percent), "it had {busy} of {all} bytes: {percent} %");
}
