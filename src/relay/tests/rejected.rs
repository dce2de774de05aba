//! What was rejected, and a sync that says that this is durable.

use super::harness::{Harness, group, sub};
use super::links::Theirs;
use crate::limits;
use crate::log::{Entry, EntryNumber, Snapshot};
use crate::relay::Input;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Refusal, RefusalCode, Reply, Request, Start, SubscriptionSpec};
use crate::wire::frame::AckKind;

/// More than the failures that are counted.
const WINDOW: u32 = 2 * limits::PARKED_MAX as u32;

/// A relay that has given its receiver these messages of a neighbour at once: they are on no disk here. Its
/// receiver, and where the first one stands.
fn arriving(payloads: &[&str], dead_letter: Option<&str>) -> (Harness, u32, u64) {
    let mut theirs = Theirs::begin(1);
    payloads.iter().for_each(|payload| theirs.put(payload));
    let mut h = Harness::linked();
    h.set("g", GroupSettings { dead_letter: dead_letter.map(str::to_owned), ..GroupSettings::default() });
    for name in ["g", "dead"] {
        h.subscribe(name, "s", SubscriptionSpec { window: Some(WINDOW), ..SubscriptionSpec::default() });
    }
    let s = h.attach("g", "s");
    h.credit(s, WINDOW.into());
    h.hear(theirs.name());
    h.auto_sync = false;
    theirs.send(&mut h, 0..theirs.runs.len());
    let first = h.got[0].index;
    assert_eq!(h.payloads(), payloads);
    (h, s, first)
}

fn reject(h: &mut Harness, s: u32, index: u64) {
    h.say(s, AckKind::Reject, index, index + 1, 0);
}

/// The disk syncs until this is answered.
fn is_answered(h: &mut Harness, request: u64) -> bool {
    (0..5).any(|_| {
        h.sync();
        h.answers.remove(&request).is_some_and(|answer| answer == Ok(Reply::Done))
    })
}

/// What a receiver of each group is given after a crash.
fn after_a_crash(h: &mut Harness) -> [Vec<String>; 2] {
    h.crash(&Snapshot::default());
    (h.auto_sync, h.hold_fetches) = (true, false);
    ["g", "dead"].map(|name| {
        let s = h.attach(name, "s");
        h.credit(s, WINDOW.into());
        h.payloads()
    })
}

#[test]
fn p3_what_was_rejected_before_it_was_on_this_disk_never_comes_again_behind_a_sync() {
    for dead_letter in [Some("dead"), None] {
        let (mut h, s, first) = arriving(&["a", "b"], dead_letter);
        reject(&mut h, s, first);
        let sync = h.ask(Request::Sync);
        assert!(is_answered(&mut h, sync));
        let [again, dead] = after_a_crash(&mut h);
        assert_eq!(again, ["b"], "{dead_letter:?}");
        assert_eq!(dead.len(), usize::from(dead_letter.is_some()));
    }
}

#[test]
fn p3_what_has_failed_as_often_as_it_may_never_comes_again_behind_a_sync() {
    for dead_letter in [Some("dead"), None] {
        for is_on_disk in [false, true] {
            let (mut h, s, first) = arriving(&["a", "b"], dead_letter);
            let settings = GroupSettings {
                max_deliver: Some(1),
                dead_letter: dead_letter.map(str::to_owned),
                ..GroupSettings::default()
            };
            if is_on_disk {
                h.sync();
                h.hold_fetches = true;
            }
            h.ask(Request::GroupSet { group: group("g"), settings });
            h.say(s, AckKind::Nack, first, first + 1, 0);
            let sync = h.ask(Request::Sync);
            if is_on_disk {
                assert!(!is_answered(&mut h, sync), "it is to be read first");
                h.let_fetches_go();
            }
            assert!(is_answered(&mut h, sync));
            let [again, dead] = after_a_crash(&mut h);
            assert_eq!(again, ["b"], "{dead_letter:?}");
            assert_eq!(dead.len(), usize::from(dead_letter.is_some()));
        }
    }
}

#[test]
fn p3_of_more_that_was_rejected_than_failures_are_counted_nothing_comes_again_behind_a_sync() {
    let payloads: Vec<String> = (0..limits::PARKED_MAX + 100).map(|number| number.to_string()).collect();
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    for dead_letter in [Some("dead"), None] {
        let (mut h, s, first) = arriving(&payloads, dead_letter);
        h.say(s, AckKind::Reject, first, first + payloads.len() as u64 - 1, 0);
        let sync = h.ask(Request::Sync);
        assert!(is_answered(&mut h, sync), "it is buried as it comes on the disk");
        let [again, dead] = after_a_crash(&mut h);
        let (last, rejected) = payloads.split_last().unwrap();
        assert_eq!(again, [*last], "{dead_letter:?}");
        let buried = if dead_letter.is_some() { rejected } else { &[] };
        assert_eq!(dead, buried);
    }
}

#[test]
fn p3_a_sync_waits_until_what_was_rejected_before_it_is_read() {
    let (mut h, s, first) = arriving(&["a", "b"], Some("dead"));
    h.sync();
    h.hold_fetches = true;
    reject(&mut h, s, first);
    let sync = h.ask(Request::Sync);
    assert!(!is_answered(&mut h, sync), "it is nowhere but in memory that it was rejected");
    h.let_fetches_go();
    assert!(is_answered(&mut h, sync));
    assert_eq!(after_a_crash(&mut h), [["b"], ["a"]]);
}

#[test]
fn a_sync_does_not_wait_for_what_is_rejected_behind_it() {
    let (mut h, s, first) = arriving(&["a", "b"], Some("dead"));
    reject(&mut h, s, first);
    let sync = h.ask(Request::Sync);
    reject(&mut h, s, first + 1);
    // The disk has all but "b", and then it has that too and is slow to give it back.
    h.durable = h.log.iter().rposition(|entry| matches!(entry, Entry::Run(_))).unwrap();
    h.input(Input::Durable { through: EntryNumber(h.durable as u64) });
    h.hold_fetches = true;
    assert!(is_answered(&mut h, sync));
    assert_eq!(after_a_crash(&mut h), [["b"], ["a"]]);
}

#[test]
fn what_was_rejected_by_somebody_who_has_left_is_buried_when_it_can_be_read() {
    let (mut h, s, first) = arriving(&["a", "b"], Some("dead"));
    reject(&mut h, s, first);
    h.ask(Request::Detach { handle: s });
    let sync = h.ask(Request::Sync);
    assert!(is_answered(&mut h, sync));
    assert_eq!(after_a_crash(&mut h), [["b"], ["a"]]);
}

#[test]
fn a_sync_does_not_wait_for_what_was_rejected_before_a_seek_or_of_what_is_gone() {
    let (g, s) = (group("g"), sub("s"));
    let seek = Request::SubscriptionSeek { group: g.clone(), name: s.clone(), start: Start::Now };
    let remove = Request::SubscriptionRemove { group: g.clone(), name: s };
    for other in [seek, remove, Request::GroupRemove { group: g }] {
        let (mut h, s, first) = arriving(&["a", "b"], Some("dead"));
        h.sync();
        h.hold_fetches = true;
        reject(&mut h, s, first);
        let sync = h.ask(Request::Sync);
        h.ask(other.clone());
        assert!(is_answered(&mut h, sync), "{other:?}");
    }
}

#[test]
fn a_sync_does_not_wait_for_what_others_have_rejected() {
    let (mut h, s, first) = arriving(&["a", "b"], Some("dead"));
    h.sync();
    h.hold_fetches = true;
    reject(&mut h, s, first);
    let (session, request) = (crate::id::SessionId(2), u64::MAX);
    h.input(Input::SessionOpened { session });
    h.input(Input::Request { session, request, body: Box::new(Request::Sync) });
    assert!(is_answered(&mut h, request));
}

#[test]
fn a_sync_is_told_of_what_was_rejected_when_the_subscription_goes_on_elsewhere_before_it_is_buried() {
    for asks_before in [true, false] {
        let (mut h, s, first) = arriving(&["a"], Some("dead"));
        h.sync();
        h.hold_fetches = true;
        reject(&mut h, s, first);
        let asked = asks_before.then(|| h.ask(Request::Sync));
        let key = h.relay.known_subscription(&group("g"), &sub("s")).unwrap();
        let goes = Refusal::new(RefusalCode::NotReady, "it goes to another relay");
        h.relay.dismiss_receivers(key, &goes);
        let sync = asked.unwrap_or_else(|| h.ask(Request::Sync));
        h.input(Input::Tick);
        h.sync();
        let answer = h.answers.remove(&sync);
        assert!(matches!(answer, Some(Err(refusal)) if refusal.code == RefusalCode::NotReady));
        let next = h.ask(Request::Sync);
        assert!(is_answered(&mut h, next), "it was told once");
    }
}
