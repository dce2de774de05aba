//! What clients say that they should not, or say at a bad moment.

use super::harness::{Harness, SESSION, group, sub};
use crate::id::Index;
use crate::limits;
use crate::log::Snapshot;
use crate::relay::Input;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{GapCause, Notice, RefusalCode, Reply, Request, Start, SubscriptionSpec};
use crate::wire::frame::{Ack, AckKind};

fn gaps(h: &mut Harness) -> Vec<(u64, u64, GapCause)> {
    let gap = |n: Notice| match n {
        Notice::Gap { from, to, cause, .. } => Some((from.0, to.0, cause)),
        Notice::Stream { .. }
        | Notice::PutRefused { .. }
        | Notice::Detached { .. }
        | Notice::Unordered { .. } => None,
    };
    std::mem::take(&mut h.notices).into_iter().filter_map(gap).collect()
}

/// A backlog longer than any window.
fn long_backlog(h: &mut Harness) -> u64 {
    h.subscribe("g", "s", SubscriptionSpec::default());
    let g = h.open("g");
    let many = vec!["x"; 60_000];
    for _ in 0..4 {
        h.put(g, &many);
    }
    4 * 60_000
}

#[test]
fn an_ack_far_ahead_after_a_restart_leaves_a_cursor_that_can_be_read_again() {
    for with_snapshot in [false, true] {
        let mut h = Harness::new();
        let messages = long_backlog(&mut h);
        h.crash(&Snapshot::default());
        let s = h.attach("g", "s");
        h.ack(s, 2 + 150_000, 2 + 150_001);
        h.ack(s, 2 + 60_000, 2 + 60_001);
        h.pass_ms(2_000);
        let snapshot = if with_snapshot { h.snapshot() } else { Snapshot::default() };
        h.crash(&snapshot);
        // The one within the largest window counts, the other could not have been delivered.
        assert_eq!(h.info("g", "s").backlog, messages - 1);
    }
}

#[test]
fn acks_that_are_said_again_after_a_restart_count_however_many() {
    let mut h = Harness::new();
    let messages = long_backlog(&mut h);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.ack(s, 1, 2 + 150_000);
    assert_eq!(h.info("g", "s").backlog, messages - 150_000);
}

#[test]
fn a_gap_that_is_acked_before_it_is_told_again_hides_no_later_gap() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { max_count: Some(1), ..GroupSettings::default() });
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.put(g, &["a"]);
    h.put(g, &["b"]);
    h.pass_ms(3_000);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    // The client remembers the gap from before the crash and acks it before it takes anything.
    h.ack(s, 1, 3);
    h.credit(s, 1);
    assert_eq!(gaps(&mut h), []);
    let g = h.open("g");
    h.put(g, &["c", "d", "e"]);
    h.pass_ms(3_000);
    h.credit(s, 10);
    assert_eq!(gaps(&mut h).len(), 1, "a later gap is told");
}

#[test]
fn only_what_is_in_hand_can_be_nacked() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.put(g, &["a", "b", "c"]);
    h.credit(s, 1);
    let index = h.got[0].index;
    for delay in 1..3_000 {
        h.say(s, AckKind::Nack, index, index + 100, delay);
    }
    assert_eq!(h.info("g", "s").parked, 1, "the first nack counts, for the one message that was delivered");
    h.got.clear();
    h.credit(s, 4);
    h.pass_ms(10);
    let attempts: Vec<_> = h.got.iter().map(|got| (got.payload.as_str(), got.attempt)).collect();
    assert_eq!(attempts, [("b", 1), ("c", 1), ("a", 2)]);
}

#[test]
fn nobody_can_make_a_message_wait_for_ever() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.put(g, &["a"]);
    h.credit(s, 10);
    let index = h.got[0].index;
    h.say(s, AckKind::Nack, index, index + 1, u64::MAX);
    h.got.clear();
    h.pass_ms(limits::NACK_DELAY_MS_MAX);
    assert_eq!(h.payloads(), ["a"]);
}

#[test]
fn a_competing_receiver_cannot_give_back_what_another_has() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec { shared: true, ..SubscriptionSpec::default() });
    let (one, two) = (h.attach("g", "s"), h.attach("g", "s"));
    h.credit(one, 1);
    h.put(g, &["a"]);
    h.credit(two, 1);
    assert_eq!(h.got[0].handle, one);
    let index = h.got[0].index;
    h.got.clear();
    h.say(two, AckKind::Nack, index, index + 1, 0);
    assert_eq!(h.payloads(), Vec::<String>::new());
    h.say(one, AckKind::Nack, index, index + 1, 0);
    assert_eq!(h.payloads(), ["a"]);
}

#[test]
fn a_million_nacks_of_nothing_cost_nothing() {
    let mut h = Harness::new();
    long_backlog(&mut h);
    h.crash(&Snapshot::default());
    let handle = h.attach("g", "s");
    let nack =
        |i| Ack { handle, kind: AckKind::Nack, from: Index(1), to: Index(u64::MAX), delay_ms: 1_000_000 + i };
    // The first few first: were they of any effect, a million would take for ever.
    for nacks in [0..10, 10..1_000_000_u64] {
        h.input(Input::Ack { session: SESSION, acks: nacks.map(nack).collect() });
        assert_eq!(h.info("g", "s").parked, 0);
    }
}

#[test]
fn a_receiver_can_tell_that_its_subscription_was_moved_meanwhile() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { history_count: Some(100), ..GroupSettings::default() });
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.put(g, &["a", "b"]);
    let moves = |h: &mut Harness| {
        let (group, name) = (group("g"), Some(sub("s")));
        match h.request(Request::Attach { group, name, create: None }) {
            Ok(Reply::SubscriptionHandle { handle, moves, .. }) => (handle, moves),
            other => panic!("{other:?}"),
        }
    };
    let (s, first) = moves(&mut h);
    h.credit(s, 10);
    h.ack(s, 1, 100);
    assert_eq!(moves(&mut h).1, first, "acks move nothing");
    let (group, name) = (group("g"), sub("s"));
    h.request(Request::SubscriptionSeek { group, name, start: Start::Beginning }).unwrap();
    let moved = moves(&mut h).1;
    assert_ne!(moved, first);
    h.put(g, &["c"]);
    let (group, name) = (super::harness::group("g"), sub("s"));
    h.request(Request::SubscriptionSeek { group, name, start: Start::Now }).unwrap();
    let (moved, before) = (moves(&mut h).1, moved);
    assert_ne!(moved, before, "one that goes forth is one too");
    h.crash(&Snapshot::default());
    assert_eq!(moves(&mut h).1, moved, "also after a restart");
}

#[test]
fn a_session_with_all_handles_is_refused_more_and_nothing_is_made_for_it() {
    let mut h = Harness::new();
    h.open("there");
    h.subscribe("there", "s", SubscriptionSpec::default());
    h.relay.sessions.insert(SESSION, crate::relay::session::Session::full());
    let entries = h.log.len();
    let create = Some(SubscriptionSpec::default());
    for (name, subscription) in [("there", "s"), ("there", "new"), ("new", "new")] {
        let (group, name) = (group(name), Some(sub(subscription)));
        let refused = h.request(Request::Attach { group, name, create: create.clone() });
        assert_eq!(refused.unwrap_err().code, RefusalCode::Limit, "{subscription}");
    }
    let refused = h.request(Request::GroupOpen { group: group("new") });
    assert_eq!(refused.unwrap_err().code, RefusalCode::Limit);
    assert_eq!(h.log.len(), entries, "a refusal leaves nothing behind");
    assert!(h.request(Request::GroupShow { group: group("new") }).is_err());
}

#[test]
fn a_seek_right_after_acks_were_written_finds_what_it_was_promised() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["a", "b"]);
    h.auto_sync = false;
    h.ack(s, 1, 100);
    h.pass_ms(2_000);
    // The cursor is written and not durable; what lies behind it is about to be let go.
    let (group, name) = (group("g"), sub("s"));
    let seek = Request::SubscriptionSeek { group, name, start: Start::Beginning };
    h.got.clear();
    h.input(Input::Request { session: SESSION, request: 9_999, body: Box::new(seek) });
    h.auto_sync = true;
    h.sync();
    assert_eq!(h.answers.remove(&9_999), Some(Ok(Reply::Done)));
    assert_eq!(h.payloads(), ["a", "b"]);
    assert_eq!(gaps(&mut h), []);
    assert!(h.released.values().all(|below| *below <= 2), "{:?}", h.released);
}
