//! Holes of which the log knows nothing: it has lost what stood at their other end too.

use super::harness::Harness;
use crate::id::{GroupNumber, Index};
use crate::log::{Entry, Snapshot};
use crate::relay::Input;
use crate::wire::body::{GapCause, Notice};

/// The index of the first record of the last run.
fn last_run(h: &Harness) -> Index {
    let first = |entry: &Entry| match entry {
        Entry::Run(run) => Some(run.first_index),
        Entry::State(_) => None,
    };
    h.log.iter().rev().find_map(first).expect("something was put")
}

fn gaps(h: &Harness) -> Vec<(Index, Index, GapCause)> {
    let gap = |notice: &Notice| match notice {
        Notice::Gap { from, to, cause, .. } => Some((*from, *to, *cause)),
        Notice::Stream { .. }
        | Notice::PutRefused { .. }
        | Notice::Detached { .. }
        | Notice::Unordered { .. } => None,
    };
    h.notices.iter().filter_map(gap).collect()
}

#[test]
fn nothing_is_a_gap_up_to_what_was_durable_when_it_was_asked_for() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.put(g, &["a", "b"]);
    h.hold_fetches = true;
    h.credit(s, 10);
    h.put(g, &["c"]);
    h.hold_fetches = false;
    h.input(Input::Fetched { group: GroupNumber(1), from: Index(1), pieces: Vec::new() });
    assert_eq!(h.payloads(), ["c"], "it came while the disk worked");
    assert_eq!(gaps(&h), [(Index(1), last_run(&h), GapCause::Damaged)]);
    h.ack(s, 1, 100);
    let info = h.info("g", "s");
    assert_eq!((info.backlog, info.out.acked), (0, 1));
}

#[test]
fn a_read_that_begins_too_late_is_not_asked_for_again() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.put(g, &["a"]);
    h.lost.insert(h.log.len() - 1);
    h.put(g, &["b"]);
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["b"]);
    assert_eq!(gaps(&h).len(), 1);
    assert_eq!(gaps(&h)[0].1, last_run(&h));
}

#[test]
fn a_hole_longer_than_any_window_does_not_keep_the_relay_from_starting() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.put(g, &["a"]);
    h.credit(s, 1);
    assert_eq!(h.payloads(), ["a"]);
    // "a" is not acked, and what stands behind it is lost.
    let first = h.log.len();
    for _ in 0..3 {
        h.put(g, &vec![""; 60_000]);
    }
    let lost: Vec<usize> = (first..h.log.len()).filter(|at| matches!(h.log[*at], Entry::Run(_))).collect();
    h.lost.extend(lost);
    h.put(g, &["b"]);
    h.credit(s, 10);
    h.pass_ms(2_000);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    let a = h.got.iter().find(|got| got.payload == "a").unwrap().index;
    h.ack(s, a, a + 1);
    assert!(h.got.iter().any(|got| got.payload == "b"));
}
