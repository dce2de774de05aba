//! Holes of which the log knows nothing: it has lost what stood at their other end too.

use super::harness::{Harness, group, sub};
use super::links::Theirs;
use crate::id::{GroupNumber, Index, Sequence};
use crate::log::{Entry, Snapshot};
use crate::relay::Input;
use crate::wire::body::{GapCause, Reply, Request, Start, SubscriptionSpec};

/// The index of the first record of the last run.
fn last_run(h: &Harness) -> Index {
    let first = |entry: &Entry| match entry {
        Entry::Run(run) => Some(run.first_index),
        Entry::State(_) => None,
    };
    h.log.iter().rev().find_map(first).expect("something was put")
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
    assert_eq!(h.gaps(), [(Index(1), last_run(&h), GapCause::Damaged)]);
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
    assert_eq!(h.gaps().len(), 1);
    assert_eq!(h.gaps()[0].1, last_run(&h));
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

#[test]
fn what_is_read_again_elsewhere_and_let_go_meanwhile_keeps_nobody_waiting() {
    let mut theirs = Theirs::begin(1);
    ["a", "b", "c"].into_iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(theirs.name());
    theirs.send(&mut h, 0..4);
    let is_b = |entry: &Entry| matches!(entry, Entry::Run(run) if run.run.header.first == Sequence(3));
    let b = h.log.iter().position(is_b).expect("it has come");
    h.lost.insert(b);
    let s = h.attach("g", "s");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["a"], "the next one is asked for");
    // It comes again and is on the disk; that is read when the disk gets to it.
    h.hold_fetches = true;
    theirs.send(&mut h, 2..3);
    let g = h.relay.number_of(&group("g")).unwrap();
    h.input(Input::Fetched { group: g, from: Index(3), pieces: Vec::new() });
    let seek = Request::SubscriptionSeek { group: group("g"), name: sub("s"), start: Start::Now };
    assert_eq!(h.request(seek), Ok(Reply::Done));
    h.pass_ms(2_000);
    // The annex has the next number.
    h.input(Input::Fetched { group: GroupNumber(g.0 + 1), from: Index(3), pieces: Vec::new() });
    h.hold_fetches = false;
    theirs.put("d");
    theirs.send(&mut h, 4..5);
    assert_eq!(h.payloads(), ["d"]);
}

/// It has come and is on no disk yet when a receiver is ready for it. The disk is read before that changes, and
/// what was read is heard of behind it.
#[test]
fn what_becomes_durable_while_it_is_read_for_is_delivered() {
    let mut theirs = Theirs::begin(1);
    ["a", "b", "c"].into_iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(theirs.name());
    theirs.send(&mut h, 0..1);
    let s = h.attach("g", "s");
    h.credit(s, 1);
    h.auto_sync = false;
    theirs.send(&mut h, 1..4);
    assert_eq!(h.payloads(), ["a"], "it is given before it is on this disk");
    h.hold_fetches = true;
    h.credit(s, 3);
    assert_eq!(h.payloads(), ["b"], "the next one is to be read");
    let c = Index(h.heads.last().unwrap().first_index.0 + 1);
    h.sync();
    let g = h.relay.number_of(&group("g")).unwrap();
    h.input(Input::Fetched { group: g, from: c, pieces: Vec::new() });
    h.let_fetches_go();
    assert_eq!(h.payloads(), ["c"]);
}
