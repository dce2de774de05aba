//! A last block that was cut and may have been durable (F26, R17).

use super::harness::Harness;
use crate::id::GroupNumber;
use crate::log::{Entry, Snapshot};
use crate::relay::loss::Loss;
use crate::wire::body::{self, GapCause, Notice, Reply, Request, Start, SubscriptionSpec};
use crate::wire::run::RunKind;

fn uncertain(h: &Harness) -> Vec<(u64, u64)> {
    let gap = |notice: &Notice| match notice {
        Notice::Gap { from, to, cause: GapCause::Uncertain, .. } => Some((from.0, to.0)),
        Notice::Gap { .. } | Notice::Stream { .. } | Notice::PutRefused { .. } | Notice::Detached { .. } => {
            None
        }
    };
    h.notices.iter().filter_map(gap).collect()
}

fn warnings(h: &mut Harness) -> Vec<String> {
    match h.request(Request::Status) {
        Ok(Reply::Status(status)) => {
            status.warnings.into_iter().filter(|w| w.contains("uncertain")).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The LOSS records of a group, with the index of each.
fn losses(h: &Harness, group: u32) -> Vec<(u64, Loss)> {
    let loss = |entry: &Entry| match entry {
        Entry::Run(run) if run.group.0 == group && run.run.header.kind == RunKind::Loss => {
            Some((run.first_index.0, body::decode(&run.run.body).unwrap()))
        }
        Entry::Run(_) | Entry::State(_) => None,
    };
    h.log.iter().filter_map(loss).collect()
}

fn receive(h: &mut Harness, group: &str) -> u32 {
    let handle = h.attach(group, "s");
    h.credit(handle, 100);
    handle
}

/// Two groups with a subscription each; the last entry of the log is a put into `a`.
fn two_groups() -> Harness {
    let mut h = Harness::new();
    for name in ["a", "b"] {
        let group = h.open(name);
        h.attach(name, "s");
        h.put(group, &["kept"]);
    }
    let a = h.open("a");
    h.put(a, &["perhaps lost", "this too"]);
    h
}

#[test]
fn f26_a_cut_block_leaves_a_record_that_subscribers_get_as_a_gap_in_its_place() {
    let mut h = two_groups();
    h.crash_cutting(&Snapshot::default(), 1, Some(vec![(GroupNumber(1), 2)]));
    let a = h.open("a");
    h.put(a, &["after"]);
    receive(&mut h, "a");
    receive(&mut h, "b");
    assert_eq!(h.payloads(), ["kept", "after", "kept"]);
    let told = losses(&h, 1);
    assert_eq!(told.len(), 1);
    let (index, loss) = &told[0];
    assert_eq!(
        (loss.messages, loss.after.map(|(epoch, last)| (epoch.counter, last.0))),
        (Some(2), Some((1, 2)))
    );
    assert_eq!(uncertain(&h), [(*index, index + 1)], "group b had nothing in it");
    assert_eq!(losses(&h, 2), []);
    assert!(h.books().balanced);
    let said = warnings(&mut h);
    assert!(
        said.len() == 1 && said[0].contains("boot 2") && said[0].contains("1 entries, 2 messages"),
        "{said:?}"
    );
}

#[test]
fn f26_the_record_outlives_restarts_until_the_gap_is_acked() {
    let mut h = two_groups();
    h.crash_cutting(&Snapshot::default(), 1, Some(vec![(GroupNumber(1), 2)]));
    h.crash(&Snapshot::default());
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    assert_eq!(losses(&h, 1).len(), 1, "it is said once");
    assert_eq!(warnings(&mut h).len(), 1, "and stays in the status");
    let s = receive(&mut h, "a");
    let gap = uncertain(&h);
    assert_eq!(gap.len(), 1);
    h.ack(s, 1, gap[0].1);
    h.pass_ms(2_000);
    h.crash(&snapshot);
    receive(&mut h, "a");
    assert_eq!(uncertain(&h), [], "it was acked");
    h.pass_ms(40 * 24 * 3600 * 1000);
    assert!(warnings(&mut h).is_empty());
}

#[test]
fn f26_what_a_crash_takes_of_the_records_is_said_again_and_nothing_twice() {
    for durable in 0..9 {
        let mut h = two_groups();
        h.auto_sync = false;
        h.crash_cutting(&Snapshot::default(), 0, None);
        h.settle();
        let is_noted = durable > 0;
        h.durable = (h.durable + durable).min(h.log.len());
        h.auto_sync = true;
        if is_noted {
            h.crash(&Snapshot::default());
        } else {
            // Without a block behind it the cut is found again.
            h.crash_cutting(&Snapshot::default(), 0, None);
        }
        check_told_once(&mut h, &format!("{durable} entries were durable"));
    }
}

#[test]
fn f26_parts_of_a_snapshot_that_know_of_a_cut_are_not_told_again() {
    for part in 0..3 {
        let mut h = two_groups();
        h.crash_cutting(&Snapshot::default(), 0, None);
        h.settle();
        let snapshot = h.snapshot_of(part);
        h.crash(&snapshot);
        check_told_once(&mut h, &format!("part {part} is new"));
    }
}

fn check_told_once(h: &mut Harness, what: &str) {
    receive(h, "a");
    receive(h, "b");
    assert_eq!((losses(h, 1).len(), losses(h, 2).len()), (1, 1), "{what}");
    assert_eq!((uncertain(h).len(), warnings(h).len()), (2, 1), "{what}");
    assert!(h.books().balanced);
}

#[test]
fn f26_where_nobody_knows_what_a_cut_block_had_every_group_is_told() {
    let mut h = two_groups();
    h.open("unused");
    let spec = SubscriptionSpec { start: Start::Now, ..SubscriptionSpec::default() };
    h.subscribe("unused", "s", spec);
    h.crash_cutting(&Snapshot::default(), 0, None);
    for group in 1..=3 {
        let told = losses(&h, group);
        assert!(told.len() == 1 && told[0].1.messages.is_none(), "{told:?}");
    }
    assert_eq!(losses(&h, 3)[0].1.after, None, "it has no stream");
    receive(&mut h, "unused");
    assert_eq!(uncertain(&h).len(), 1);
    // A subscription that begins now was promised nothing of it.
    h.notices.clear();
    let late = h.attach("a", "late");
    h.credit(late, 10);
    assert_eq!(uncertain(&h), []);
}
