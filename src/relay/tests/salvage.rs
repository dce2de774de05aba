//! Restarts from a log that has lost entries which were durable.

use super::harness::{Harness, group, sub};
use super::links::Theirs;
use crate::log::{Entry, Snapshot};
use crate::wire::body::{Reply, Request, Start, SubscriptionSpec};
use crate::wire::link::{Fact, LinkMessage};
use crate::wire::run::RunKind;

/// The place of the run that holds `payload`.
fn run_with(h: &Harness, payload: &str) -> usize {
    let holds = |entry: &Entry| match entry {
        Entry::Run(run) => run.run.body.windows(payload.len()).any(|part| part == payload.as_bytes()),
        Entry::State(_) => false,
    };
    h.log.iter().position(holds).expect("it was put")
}

fn warnings(h: &mut Harness) -> Vec<String> {
    match h.request(Request::Status) {
        Ok(Reply::Status(status)) => status.warnings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn f25_a_hole_in_the_middle_is_a_gap_and_everything_behind_it_comes() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.attach("g", "s");
    for payload in ["first", "second", "third"] {
        h.put(g, &[payload]);
    }
    h.lost.insert(run_with(&h, "second"));
    h.crash(&Snapshot::default());
    assert_eq!(warnings(&mut h), ["the log has lost 1 entries to damage, with 1 messages or more"]);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["first", "third"]);
    assert!(!h.notices.is_empty(), "the subscription is told");
    assert_eq!(h.info("g", "s").out.lost, 1);
    let g = h.open("g");
    h.put(g, &["fourth"]);
    assert_eq!(h.payloads(), ["fourth"]);
    assert!(h.books().balanced);
}

#[test]
fn f25_a_hole_at_the_end_is_a_gap_too() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.attach("g", "s");
    for payload in ["first", "second", "third"] {
        h.put(g, &[payload]);
    }
    // The snapshot knows of more than the log has.
    let snapshot = h.snapshot();
    h.lost.extend([run_with(&h, "second"), run_with(&h, "third")]);
    h.crash(&snapshot);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["first"]);
    assert_eq!(h.info("g", "s").out.lost, 2);
    let g = h.open("g");
    h.put(g, &["fourth"]);
    assert_eq!(h.payloads(), ["fourth"]);
    assert!(h.books().balanced);
}

#[test]
fn indexes_that_a_cursor_has_passed_are_never_given_again() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.put(g, &["kept"]);
    h.put(g, &["acked"; 6]);
    let end = h.got.last().unwrap().index + 1;
    h.ack(s, 1, end);
    h.pass_ms(2_000);
    h.lost.insert(run_with(&h, "acked"));
    h.crash(&Snapshot::default());
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.put(g, &["new"]);
    assert_eq!(h.payloads(), ["new"], "without care it would stand where something acked stood");
    assert!(h.books().balanced);
}

#[test]
fn messages_of_a_group_whose_beginning_is_lost_are_kept_under_a_new_name() {
    let mut h = Harness::new();
    h.open("other");
    let g = h.open("g");
    h.attach("g", "s");
    let creation = h.log.len() - 2;
    h.put(g, &["orphan"]);
    h.lost.insert(creation);
    h.crash(&Snapshot::default());
    let spec = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
    h.pass_ms(10_000);
    h.subscribe("recovered/group-2", "finder", spec);
    let finder = h.attach("recovered/group-2", "finder");
    h.credit(finder, 10);
    assert_eq!(h.payloads(), ["orphan"]);
    // The number of the lost group is not given to another one.
    let again = h.open("g");
    h.put(again, &["mine"]);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), Vec::<String>::new(), "a subscription made after the put");
    h.crash(&Snapshot::default());
    assert!(h.books().balanced);
}

#[test]
fn a_stream_whose_beginning_is_lost_goes_on() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.attach("g", "s");
    let before = h.log.len();
    h.put(g, &["a"]);
    h.put(g, &["b"]);
    // The entry that opened the stream, and the record that begins it.
    h.lost.extend([before, before + 1]);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a", "b"]);
    let g = h.open("g");
    h.put(g, &["c"]);
    assert_eq!(h.payloads(), ["c"]);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
}

#[test]
fn without_a_known_loss_an_entry_that_does_not_fit_stops_the_start() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.put(g, &["a"]);
    h.put(g, &["b"]);
    let place = run_with(&h, "a");
    h.log.remove(place);
    h.durable -= 1;
    let restarted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| h.crash(&Snapshot::default())));
    assert!(restarted.is_err());
}

/// That this relay is owed a stream stands in a record of it, and that is lost.
#[test]
fn f25_what_stands_behind_a_lost_genesis_of_another_origin_is_delivered() {
    let mut theirs = Theirs::begin(1);
    ["a", "b"].into_iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.hear(theirs.name());
    theirs.send(&mut h, 0..3);
    let is_genesis =
        |entry: &Entry| matches!(entry, Entry::Run(run) if run.run.header.kind == RunKind::Genesis);
    let genesis = h.log.iter().position(is_genesis).expect("it has come");
    h.lost.insert(genesis);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a", "b"]);
    // And what comes from now on.
    theirs.put("c");
    h.meet(Vec::new());
    h.hear(theirs.name());
    theirs.send(&mut h, 3..4);
    assert_eq!(h.payloads(), ["c"]);
}

/// Others know of it, as they would if the whole disk were lost.
#[test]
fn r3_a_subscription_of_which_the_log_has_lost_the_making_is_made_again_and_not_disowned() {
    // All that was written of it, and each entry alone.
    let entries = made_entries().len();
    assert!(entries >= 3, "{entries}");
    comes_again(&|_| true);
    (0..entries).for_each(|at| comes_again(&|entry| entry == at));
}

/// The places in the log of what is written of a subscription that is made.
fn made_entries() -> std::ops::Range<usize> {
    let mut h = Harness::linked();
    h.open("g");
    let before = h.log.len();
    h.subscribe("g", "s", SubscriptionSpec::default());
    before..h.log.len()
}

fn comes_again(is_lost: &dyn Fn(usize) -> bool) {
    let mut h = Harness::linked();
    h.open("g");
    let before = h.log.len();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let made = (before..h.log.len()).filter(|place| is_lost(place - before));
    let mut told = Vec::new();
    for message in &h.said {
        let LinkMessage::Facts(facts) = message else { continue };
        told.extend(facts.iter().filter(|f| matches!(f, Fact::Membership(_) | Fact::Name(_))).cloned());
    }
    assert!(told.len() >= 2, "{told:?}");
    h.lost.extend(made);
    h.crash(&Snapshot::default());
    h.said.clear();
    h.meet(told);
    let show = Request::SubscriptionShow { group: group("g"), name: sub("s") };
    assert!(matches!(h.request(show), Ok(Reply::Subscription(_))), "it lives here, as others know");
    for message in &h.said {
        let LinkMessage::Facts(facts) = message else { continue };
        let is_gone = |fact: &Fact| {
            matches!(fact, Fact::Name(entry) if entry.spec.is_none())
                || matches!(fact, Fact::Membership(membership) if !membership.member)
        };
        assert!(!facts.iter().any(is_gone), "{facts:?}");
    }
}
