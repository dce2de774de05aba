//! Producers that move between relays, in a group with `fifo = "producer"`: what is handed out when.
//! To a relay it is all the same which streams the runs came in, so most of these put them here.

use proptest::prelude::*;

use super::harness::{Harness, body, group, sub};
use super::links::Theirs;
use crate::id::{Index, ProducerId, ProducerSequence, SessionId, Time, WallTime};
use crate::limits;
use crate::log::Snapshot;
use crate::relay::Input;
use crate::relay::order::{Arrival, Order, Span};
use crate::relay::stream::Draft;
use crate::topology::settings::{Fifo, GroupSettings, SubscriptionPolicy};
use crate::wire::body::{
    Fate, GapCause, Missing, Notice, OrderInfo, Reply, Request, Start, SubscriptionSpec, UnorderedCause,
};
use crate::wire::frame::{AckKind, AckLevel, Credit};
use crate::wire::run::RunKind;

const HOLD_MS: u64 = 1_000;

fn by_producer() -> GroupSettings {
    GroupSettings { fifo: Fifo::Producer, producer_hold_ms: Some(HOLD_MS), ..GroupSettings::default() }
}

/// A relay with a subscription `s` of the group `g`, and the handle for puts.
fn relay_with(settings: GroupSettings, spec: SubscriptionSpec) -> (Harness, u32) {
    let mut h = Harness::new();
    h.set("g", settings);
    h.subscribe("g", "s", spec);
    let g = h.open("g");
    (h, g)
}

/// The same, and somebody receives.
fn receiving(settings: GroupSettings) -> (Harness, u32, u32) {
    let (mut h, g) = relay_with(settings, SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 1_000_000);
    (h, g, s)
}

/// Producer `id` has put its message `sequence`.
fn put(h: &mut Harness, g: u32, id: u128, sequence: u64) {
    let payload = format!("{id}.{sequence}");
    h.put_with(g, body(&[&payload]), Some((id, sequence)), AckLevel::Accepted);
}

fn put_all(h: &mut Harness, g: u32, sequences: &[u64]) {
    sequences.iter().for_each(|sequence| put(h, g, 7, *sequence));
}

/// Which indexes, what is missing, and why.
type Told = (u64, u64, Option<(u64, u64)>, UnorderedCause);

fn told(h: &Harness) -> Vec<Told> {
    let told = |notice: &Notice| match notice {
        Notice::Unordered { from, to, missing, cause, .. } => {
            let missing = missing.map(|Missing { from, to, .. }| (from.0, to.0));
            Some((from.0, to.0, missing, *cause))
        }
        Notice::Stream { .. } | Notice::PutRefused { .. } | Notice::Gap { .. } | Notice::Detached { .. } => {
            None
        }
    };
    h.notices.iter().filter_map(told).collect()
}

fn order_info(h: &mut Harness) -> Option<OrderInfo> {
    match h.request(Request::GroupShow { group: group("g") }) {
        Ok(Reply::Group(info)) => info.order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn p4_what_comes_before_its_turn_waits_for_what_its_producer_put_before() {
    let (mut h, g, _) = receiving(by_producer());
    put_all(&mut h, g, &[1, 4, 3]);
    put(&mut h, g, 8, 1);
    assert_eq!(h.payloads(), ["7.1", "8.1"], "others do not wait");
    assert_eq!((h.info("g", "s").aside, order_info(&mut h).unwrap().held), (2, 2));
    put_all(&mut h, g, &[2, 5]);
    assert_eq!(h.payloads(), ["7.2", "7.3", "7.4", "7.5"]);
    assert_eq!(told(&h), []);
    assert_eq!((h.info("g", "s").aside, order_info(&mut h).unwrap().held), (0, 0));
}

#[test]
fn without_the_setting_nothing_waits_and_nothing_is_remembered() {
    let (mut h, g, _) = receiving(GroupSettings::default());
    put_all(&mut h, g, &[1, 4, 3, 2]);
    assert_eq!(h.payloads(), ["7.1", "7.4", "7.3", "7.2"]);
    assert_eq!(order_info(&mut h), None);
}

#[test]
fn r1_what_is_missing_is_waited_for_no_longer_than_the_group_says_and_a_late_one_is_delivered() {
    let (mut h, g, _) = receiving(by_producer());
    put_all(&mut h, g, &[1, 4, 5]);
    h.pass_ms(HOLD_MS - 1);
    assert_eq!(h.payloads(), ["7.1"]);
    put_all(&mut h, g, &[7]);
    h.pass_ms(1);
    let first = h.got[0].index;
    assert_eq!(h.payloads(), ["7.4", "7.5"], "7 has its own time");
    assert_eq!(told(&h), [(first, first + 2, Some((2, 4)), UnorderedCause::Waited)]);
    assert_eq!(order_info(&mut h), Some(OrderInfo { held: 1, given_up: 2 }));
    put_all(&mut h, g, &[3, 2]);
    assert_eq!(h.payloads(), ["7.3", "7.2"], "late, and nobody waits for them any more");
    put_all(&mut h, g, &[6]);
    assert_eq!(h.payloads(), ["7.6", "7.7"]);
    assert_eq!(told(&h).len(), 1);
}

#[test]
fn each_gap_that_is_given_up_is_told_before_what_follows_it() {
    let (mut h, g, _) = receiving(by_producer());
    // 7 has waited longest; 3 and 5 are handed out before it all the same.
    put_all(&mut h, g, &[7, 5]);
    h.pass_ms(HOLD_MS / 2);
    put_all(&mut h, g, &[3]);
    h.pass_ms(HOLD_MS / 2);
    assert_eq!(h.payloads(), ["7.3", "7.5", "7.7"]);
    let missing: Vec<_> = told(&h).into_iter().map(|(_, _, missing, _)| missing.unwrap()).collect();
    assert_eq!(missing, [(1, 3), (4, 5), (6, 7)]);
}

#[test]
fn an_ack_does_not_count_for_what_is_set_aside_within_it() {
    let (mut h, g, s) = receiving(by_producer());
    put_all(&mut h, g, &[1, 3]);
    put(&mut h, g, 8, 1);
    let last = h.got.last().unwrap().index;
    h.ack(s, 0, last + 1);
    assert_eq!(h.info("g", "s").out.acked, 2);
    assert!(h.books().balanced);
    h.got.clear();
    put_all(&mut h, g, &[2]);
    assert_eq!(h.payloads(), ["7.2", "7.3"]);
    h.ack(s, 0, last + 2);
    assert_eq!((h.info("g", "s").out.acked, h.info("g", "s").backlog), (4, 0));
    assert!(h.books().balanced);
}

#[test]
fn a_nack_or_reject_of_what_is_set_aside_does_nothing() {
    let (mut h, g, s) = receiving(GroupSettings { max_deliver: Some(1), ..by_producer() });
    put_all(&mut h, g, &[1, 3]);
    let first = h.got[0].index;
    h.say(s, AckKind::Reject, first + 1, first + 2, 0);
    h.say(s, AckKind::Nack, first + 1, first + 2, 0);
    put_all(&mut h, g, &[2]);
    assert_eq!(h.payloads(), ["7.1", "7.2", "7.3"]);
}

#[test]
fn one_that_is_behind_is_handed_the_same_order_from_the_log() {
    let (mut h, g) = relay_with(by_producer(), SubscriptionSpec::default());
    put_all(&mut h, g, &[5, 1, 4]);
    put(&mut h, g, 8, 2);
    put_all(&mut h, g, &[3, 2, 6]);
    put(&mut h, g, 8, 1);
    h.pass_ms(10 * HOLD_MS);
    let s = h.attach("g", "s");
    h.credit(s, 3);
    assert_eq!(h.payloads(), ["7.1", "7.2", "7.3"], "as much as there is credit for");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["7.4", "7.5", "7.6", "8.1", "8.2"]);
    assert_eq!(told(&h), []);
}

#[test]
fn receivers_that_compete_are_handed_a_producers_messages_in_its_order() {
    let spec = SubscriptionSpec { shared: true, ..SubscriptionSpec::default() };
    let (mut h, g) = relay_with(by_producer(), spec);
    let a = h.attach("g", "s");
    let b = h.attach("g", "s");
    h.credit(a, 100);
    h.credit(b, 100);
    put_all(&mut h, g, &[1, 3, 5, 4, 2, 6]);
    let by: std::collections::BTreeSet<u32> = h.got.iter().map(|got| got.handle).collect();
    assert_eq!(by.len(), 2, "both have some");
    assert_eq!(h.payloads(), ["7.1", "7.2", "7.3", "7.4", "7.5", "7.6"]);
}

#[test]
fn when_the_receiver_leaves_what_was_set_aside_is_still_not_delivered() {
    let (mut h, g, s) = receiving(by_producer());
    put_all(&mut h, g, &[1, 3]);
    assert_eq!(h.request(Request::Detach { handle: s }), Ok(Reply::Done));
    assert_eq!(h.payloads(), ["7.1"]);
    let s = h.attach("g", "s");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["7.1"], "once more, since it was not acked");
    put_all(&mut h, g, &[2]);
    assert_eq!(h.payloads(), ["7.2", "7.3"]);
    assert!(h.heads.last().unwrap().attempt == 1, "it was never delivered before");
}

#[test]
fn a_poll_does_not_wait_for_what_is_set_aside() {
    let (mut h, g) = relay_with(by_producer(), SubscriptionSpec::default());
    let s = h.attach("g", "s");
    put_all(&mut h, g, &[2]);
    let poll = Request::Poll { handle: s, messages: 5 };
    assert_eq!(h.request(poll.clone()), Ok(Reply::Polled { messages: 0 }));
    put_all(&mut h, g, &[1]);
    assert_eq!(h.request(poll), Ok(Reply::Polled { messages: 2 }));
    assert_eq!(h.payloads(), ["7.1", "7.2"]);
}

#[test]
fn what_no_filter_lets_through_is_waited_for_and_told_of_all_the_same() {
    use crate::wire::run::Record;
    use bytes::BytesMut;
    let with_subject = |subject: &str, payload: &str| {
        let mut body = BytesMut::new();
        Record { subject: Some(subject), payload: payload.as_bytes(), ..Record::default() }.encode(&mut body);
        body.freeze()
    };
    let spec = SubscriptionSpec { filter: Some("a".to_owned()), ..SubscriptionSpec::default() };
    let (mut h, g) = relay_with(by_producer(), spec);
    let s = h.attach("g", "s");
    h.credit(s, 100);
    for (subject, sequence) in [("a", 1), ("a", 3)] {
        let payload = sequence.to_string();
        h.put_with(g, with_subject(subject, &payload), Some((7, sequence)), AckLevel::Accepted);
    }
    assert_eq!(h.payloads(), ["1"], "nobody knows yet that 2 is not for it");
    h.put_with(g, with_subject("b", "2"), Some((7, 2)), AckLevel::Accepted);
    assert_eq!(h.payloads(), ["3"]);
    // What follows a gap is one run, of which the first is not let through.
    let mut both = BytesMut::from(&with_subject("b", "5")[..]);
    both.extend_from_slice(&with_subject("a", "6"));
    h.put_with(g, both.freeze(), Some((7, 5)), AckLevel::Accepted);
    h.pass_ms(HOLD_MS);
    assert_eq!(h.payloads(), ["6"]);
    assert_eq!(told(&h).len(), 1, "though the first behind the gap was not delivered");
    assert!(h.books().balanced);
}

#[test]
fn time_to_live_goes_on_while_a_message_is_set_aside() {
    let (mut h, g, _) = receiving(GroupSettings { ttl_ms: Some(HOLD_MS / 2), ..by_producer() });
    put_all(&mut h, g, &[2]);
    h.pass_ms(HOLD_MS);
    put_all(&mut h, g, &[3]);
    assert_eq!(h.payloads(), ["7.3"]);
    assert_eq!(h.info("g", "s").out.expired, 1);
    assert!(h.books().balanced);
}

#[test]
fn p9_quotas_and_retention_drop_what_is_set_aside_like_anything_else() {
    let patient = || GroupSettings { producer_hold_ms: Some(10 * HOLD_MS), ..by_producer() };
    let dropping = GroupSettings {
        subscription_quota_count: Some(2),
        subscription_policy: SubscriptionPolicy::DropOldest,
        ..patient()
    };
    for settings in [dropping, GroupSettings { max_count: Some(2), ..patient() }] {
        let (mut h, g, s) = receiving(settings);
        put_all(&mut h, g, &[2, 3]);
        for sequence in 1..=4 {
            put(&mut h, g, 8, sequence);
        }
        h.pass_ms(2 * HOLD_MS);
        let has_gap = |h: &Harness| {
            h.notices.iter().any(|notice| {
                matches!(notice, Notice::Gap { cause: GapCause::SubscriptionQuota | GapCause::Retention, .. })
            })
        };
        h.credit(s, 1_000_000);
        put_all(&mut h, g, &[1, 4]);
        h.pass_ms(20 * HOLD_MS);
        assert!(has_gap(&h), "{:?}", h.notices);
        let of_seven: Vec<String> = h.payloads().into_iter().filter(|p| p.starts_with('7')).collect();
        assert_eq!(of_seven, ["7.1", "7.4"], "2 and 3 were dropped");
        assert!(h.books().balanced);
        assert_eq!(h.info("g", "s").aside, 0);
    }
}

#[test]
fn a_seek_forgets_what_is_set_aside_and_comes_to_it_again() {
    let (mut h, g, s) = receiving(GroupSettings { history_count: Some(100), ..by_producer() });
    put_all(&mut h, g, &[1, 3]);
    let seek = |start| Request::SubscriptionSeek { group: group("g"), name: sub("s"), start };
    assert_eq!(h.request(seek(Start::Beginning)), Ok(Reply::Done));
    put_all(&mut h, g, &[2]);
    assert_eq!(h.payloads(), ["7.1", "7.1", "7.2", "7.3"]);
    assert_eq!(h.info("g", "s").aside, 0);
    h.ack(s, 0, 100);
    // Everything again, from the log: in the same order.
    assert_eq!(h.request(seek(Start::Beginning)), Ok(Reply::Done));
    assert_eq!(h.payloads(), ["7.1", "7.2", "7.3"]);
    // Behind all of it nothing is left that waited.
    put_all(&mut h, g, &[5]);
    assert_eq!(h.request(seek(Start::Now)), Ok(Reply::Done));
    put_all(&mut h, g, &[4]);
    assert_eq!(h.payloads(), ["7.4"]);
    assert!(h.books().balanced);
}

#[test]
fn a_restart_makes_the_order_again_from_the_log_with_and_without_a_snapshot() {
    for saves in [false, true] {
        let (mut h, g, _) = receiving(by_producer());
        put_all(&mut h, g, &[1, 5, 3]);
        let snapshot = if saves { h.snapshot() } else { Snapshot::default() };
        put_all(&mut h, g, &[4]);
        h.pass_ms(HOLD_MS / 2);
        h.crash(&snapshot);
        let s = h.attach("g", "s");
        h.credit(s, 100);
        assert_eq!(h.payloads(), ["7.1"], "saved: {saves}");
        let g = h.open("g");
        put_all(&mut h, g, &[2]);
        assert_eq!(h.payloads(), ["7.2", "7.3", "7.4", "7.5"], "saved: {saves}");
        assert_eq!(told(&h), []);
    }
}

#[test]
fn a_restart_does_not_begin_the_wait_anew() {
    for saves in [false, true] {
        let (mut h, g, _) = receiving(by_producer());
        put_all(&mut h, g, &[1, 3]);
        h.pass_ms(HOLD_MS - 100);
        let snapshot = if saves { h.snapshot() } else { Snapshot::default() };
        h.crash(&snapshot);
        let s = h.attach("g", "s");
        h.credit(s, 100);
        h.pass_ms(99);
        assert_eq!(h.payloads(), ["7.1"]);
        h.pass_ms(1);
        assert_eq!(h.payloads(), ["7.3"]);
        // What was given up before a crash is not waited for after it.
        let g = h.open("g");
        h.crash(&snapshot);
        let s = h.attach("g", "s");
        h.credit(s, 100);
        h.pass_ms(0);
        assert_eq!(h.payloads(), ["7.1", "7.3"], "saved: {saves}, {g}");
        let g = h.open("g");
        put_all(&mut h, g, &[4, 2]);
        assert_eq!(h.payloads(), ["7.4", "7.2"]);
        // Nor did it come in time, whoever looks later.
        let held = order_info(&mut h);
        assert_eq!(held, Some(OrderInfo { held: 0, given_up: 1 }));
        h.crash(&snapshot);
        assert_eq!(order_info(&mut h), held, "saved: {saves}");
    }
}

#[test]
fn what_waited_for_messages_that_were_acked_before_a_crash_is_handed_out_after_it() {
    let (mut h, g, s) = receiving(by_producer());
    put_all(&mut h, g, &[1, 3, 2]);
    let [one, two, three] = [0, 1, 2].map(|at: usize| h.got[at].index);
    assert_eq!(h.payloads(), ["7.1", "7.2", "7.3"]);
    assert!(three < two);
    h.ack(s, one, one + 1);
    h.ack(s, two, two + 1);
    assert_eq!(h.request(Request::Sync), Ok(Reply::Done));
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["7.3"], "nothing else is left that would move it");
}

#[test]
fn the_window_counts_what_was_delivered_and_others_go_on_past_what_is_set_aside() {
    let spec = SubscriptionSpec { window: Some(2), ..SubscriptionSpec::default() };
    let (mut h, g) = relay_with(by_producer(), spec);
    let s = h.attach("g", "s");
    h.credit(s, 1_000);
    put_all(&mut h, g, &[2, 3, 4]);
    for sequence in 1..=20 {
        put(&mut h, g, 8, sequence);
        let [got] = &h.got[..] else { panic!("{sequence}: {:?}", h.got) };
        let index = got.index;
        assert_eq!(h.payloads(), [format!("8.{sequence}")]);
        h.ack(s, index, index + 1);
    }
    put_all(&mut h, g, &[1]);
    put(&mut h, g, 8, 21);
    assert_eq!(h.payloads(), ["7.1", "7.2"], "the window is full");
    for more in [&["7.3", "7.4"][..], &["8.21"][..]] {
        h.ack(s, 0, 1_000);
        assert_eq!(h.payloads(), more);
    }
}

#[test]
fn at_the_windows_greatest_reach_the_oldest_is_handed_out_with_a_notice() {
    let (mut h, g, s) = receiving(by_producer());
    put_all(&mut h, g, &[2]);
    let payloads = vec!["8"; 1024];
    let mut sequence = 1;
    for _ in 0..70 {
        h.put_with(g, body(&payloads), Some((8, sequence)), AckLevel::Accepted);
        sequence += 1024;
        while let Some(last) = h.got.iter().map(|got| got.index).max() {
            h.got.retain(|got| got.payload.starts_with('7'));
            h.ack(s, 0, last + 1);
            if h.got.iter().all(|got| got.payload.starts_with('7')) {
                break;
            }
        }
    }
    assert_eq!(h.payloads(), ["7.2"]);
    let [(from, to, None, UnorderedCause::Bound)] = told(&h)[..] else { panic!("{:?}", told(&h)) };
    assert_eq!(to - from, 1);
    assert_eq!(h.info("g", "s").aside, 0);
    assert!(h.books().balanced);
    put_all(&mut h, g, &[1, 3]);
    assert_eq!(h.payloads(), ["7.1", "7.3"]);
}

#[test]
fn what_a_receiver_does_not_ack_hands_out_nothing_before_its_turn() {
    let (mut h, g, s) = receiving(by_producer());
    put(&mut h, g, 9, 1);
    let kept = h.got[0].index;
    put_all(&mut h, g, &[2]);
    let payloads = vec!["8"; 1024];
    for batch in 0..70 {
        h.put_with(g, body(&payloads), Some((8, 1 + batch * 1024)), AckLevel::Accepted);
        let last = h.got.iter().map(|got| got.index).max().unwrap();
        h.ack(s, kept + 1, last + 1);
    }
    assert_eq!((told(&h), h.info("g", "s").aside), (vec![], 1));
    h.got.clear();
    h.ack(s, kept, kept + 1);
    assert_eq!(told(&h)[0].3, UnorderedCause::Bound, "now it alone keeps all from going on");
    assert!(h.payloads().contains(&"7.2".to_owned()));
}

#[test]
fn p12_no_more_waits_than_is_remembered_and_what_goes_on_is_told() {
    let (mut h, g, _) = receiving(by_producer());
    let most = limits::EARLY_RUNS_MAX as u64;
    // Gaps of one, in the sequences of many producers.
    let put_early = |h: &mut Harness, ids: u128, count: u64| {
        for n in 0..count {
            put(h, g, ids + u128::from(n / 32), 2 * (n % 32 + 1));
        }
    };
    put_early(&mut h, 100, most + 1);
    assert_eq!(order_info(&mut h).unwrap().held, most);
    let [(_, _, Some((1, 2)), UnorderedCause::Bound)] = told(&h)[..] else { panic!("{:?}", told(&h)) };
    assert_eq!(h.got.iter().filter(|got| got.payload == "100.2").count(), 1);
    // As many more: of the first ones only the place is remembered, and who comes to it is told.
    put_early(&mut h, 1_000, 2 * most + 1);
    h.notices.clear();
    h.got.clear();
    let late = h.attach("g", "late");
    let seek = Request::SubscriptionSeek { group: group("g"), name: sub("late"), start: Start::Beginning };
    assert_eq!(h.request(seek), Ok(Reply::Done));
    h.credit(late, 100_000);
    let (_, to, missing, cause) = told(&h)[0];
    assert_eq!((missing, cause), (None, UnorderedCause::Bound));
    assert!(to > h.got[0].index);
    let again = told(&h).iter().filter(|(_, _, missing, _)| missing.is_none()).count();
    assert_eq!(again, 1, "told once");
}

#[test]
fn a_producer_with_more_gaps_than_are_remembered_goes_on_behind_the_first() {
    let mut h = Harness::linked();
    h.set("g", by_producer());
    h.subscribe("g", "s", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 1000);
    let mut theirs = Theirs::begin(1);
    let gaps = limits::PRODUCER_RANGES_MAX as u64 + 1;
    for gap in 1..=gaps {
        theirs.append(Draft {
            producer: Some((ProducerId(7), ProducerSequence(2 * gap))),
            ..Draft::control(RunKind::Data, body(&[&format!("7.{}", 2 * gap)]))
        });
    }
    h.hear(theirs.name());
    theirs.send(&mut h, 0..gaps as usize + 1);
    assert_eq!(h.payloads(), ["7.2"]);
    let [(_, _, Some((1, 2)), UnorderedCause::Bound)] = told(&h)[..] else { panic!("{:?}", told(&h)) };
}

#[test]
fn what_two_origins_bring_is_one_sequence_and_a_repeat_fills_no_gap_twice() {
    let mut h = Harness::linked();
    h.set("g", by_producer());
    h.subscribe("g", "s", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 100);
    let g = h.open("g");
    let mut theirs = Theirs::begin(1);
    let mut theirs_puts = |first, payloads: &[&str]| {
        theirs.append(Draft {
            producer: Some((ProducerId(7), ProducerSequence(first))),
            count: payloads.len() as u32,
            ..Draft::control(RunKind::Data, body(payloads))
        });
    };
    theirs_puts(1, &["7.1", "7.2"]);
    theirs_puts(3, &["7.3"]);
    // It moves here, tries 3 again since it has no answer, and goes on.
    put_all(&mut h, g, &[3, 4, 5]);
    assert_eq!(h.payloads(), Vec::<String>::new());
    h.hear(theirs.name());
    theirs.send(&mut h, 0..3);
    assert_eq!(h.payloads(), ["7.1", "7.2", "7.3", "7.4", "7.5"]);
    assert_eq!(told(&h), []);
    assert!(h.books().balanced);
}

#[test]
fn where_nobody_else_takes_puts_what_has_an_answer_is_not_waited_for() {
    let (mut h, g, _) = receiving(by_producer());
    put_all(&mut h, g, &[1]);
    // 2 was refused; 3 says that everything below it has an answer.
    h.lowest_unanswered = 3;
    put_all(&mut h, g, &[3, 4]);
    assert_eq!(h.payloads(), ["7.1", "7.3", "7.4"]);
    // 5 is still tried.
    h.lowest_unanswered = 5;
    put_all(&mut h, g, &[6]);
    assert_eq!(h.payloads(), Vec::<String>::new());
    put_all(&mut h, g, &[5]);
    assert_eq!((h.payloads(), told(&h)), (vec!["7.5".to_owned(), "7.6".to_owned()], vec![]));
    // With others it may be on its way from there.
    let mut h = Harness::linked();
    h.set("g", by_producer());
    h.subscribe("g", "s", SubscriptionSpec::default());
    let (s, g) = (h.attach("g", "s"), h.open("g"));
    h.credit(s, 100);
    let theirs = Theirs::begin(1);
    h.hear(theirs.name());
    theirs.send(&mut h, 0..1);
    h.lowest_unanswered = 3;
    put_all(&mut h, g, &[3]);
    assert_eq!(h.payloads(), Vec::<String>::new());
}

#[test]
fn the_setting_can_be_taken_back_and_made_shorter_while_messages_wait() {
    let (mut h, g, _) = receiving(by_producer());
    put_all(&mut h, g, &[1, 3]);
    h.set("g", GroupSettings { producer_hold_ms: Some(100), ..by_producer() });
    h.pass_ms(100);
    assert_eq!(h.payloads(), ["7.1", "7.3"]);
    put_all(&mut h, g, &[5]);
    assert_eq!(h.payloads(), Vec::<String>::new());
    h.set("g", GroupSettings::default());
    assert_eq!(h.payloads(), ["7.5"]);
    // What was there when the order begins is not waited for.
    put_all(&mut h, g, &[9]);
    h.set("g", by_producer());
    put_all(&mut h, g, &[10]);
    assert_eq!(h.payloads(), ["7.9", "7.10"]);
    put_all(&mut h, g, &[12]);
    assert_eq!(h.payloads(), Vec::<String>::new());
    put_all(&mut h, g, &[4]);
    assert_eq!(h.payloads(), ["7.4"], "what comes from before then is handed out at once");
}

#[test]
fn a_producer_that_is_not_known_is_waited_for_once() {
    let (mut h, g, _) = receiving(by_producer());
    put_all(&mut h, g, &[1_000_000]);
    assert_eq!(h.payloads(), Vec::<String>::new());
    h.pass_ms(HOLD_MS);
    put_all(&mut h, g, &[1_000_001]);
    assert_eq!(h.payloads(), ["7.1000000", "7.1000001"]);
}

#[test]
fn segments_are_kept_for_what_is_set_aside_and_notes_go_with_them() {
    let (mut h, g, s) = receiving(by_producer());
    put_all(&mut h, g, &[1, 3]);
    put(&mut h, g, 8, 1);
    let held = h.info("g", "s").floor;
    h.ack(s, 0, 100);
    h.pass_ms(100);
    assert!(h.info("g", "s").floor.0 > held.0 && h.info("g", "s").backlog == 1);
    let released = h.released.get(&1).copied().unwrap_or_default();
    put_all(&mut h, g, &[2]);
    h.ack(s, 0, 100);
    h.pass_ms(5_000);
    assert!(h.released[&1] > released);
    let number = h.relay.groups.number(&group("g")).unwrap();
    let order = h.relay.groups.get(number).unwrap().order.as_ref().unwrap();
    assert!(order.next_early(Index(0)).is_none(), "{order:?}");
}

/// One thing that happens to the relay of the model.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put(usize),
    Ack,
    Reattach,
    Pass(u64),
    Crash,
    Save,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..64).prop_map(Step::Put),
        2 => Just(Step::Ack),
        1 => Just(Step::Reattach),
        2 => (1u64..400).prop_map(Step::Pass),
        1 => Just(Step::Crash),
        1 => Just(Step::Save),
    ]
}

/// Three producers whose messages come in any order: whatever happens each message is handed out,
/// and behind those before it unless a notice says otherwise.
struct Model {
    h: Harness,
    snapshot: Snapshot,
    g: u32,
    s: u32,
    left: Vec<(u128, u64)>,
    /// Handed out by anybody so far.
    seen: std::collections::BTreeSet<(u128, u64)>,
    /// What was said not to be waited for.
    excused: std::collections::BTreeSet<(u128, u64)>,
}

impl Model {
    fn new() -> Self {
        let (h, g, s) = receiving(by_producer());
        let left = (1..=3).flat_map(|id| (1..=12).map(move |sequence| (id, sequence))).collect();
        let (seen, excused) = Default::default();
        Self { h, snapshot: Snapshot::default(), g, s, left, seen, excused }
    }

    fn attach(&mut self) {
        self.g = self.h.open("g");
        self.s = self.h.attach("g", "s");
        self.h.credit(self.s, 1_000_000);
    }

    fn step(&mut self, step: Step) {
        match step {
            // Mostly one of the next few, so that most gaps are filled in time.
            Step::Put(pick) if !self.left.is_empty() => {
                let (id, sequence) = self.left.remove(pick % self.left.len());
                put(&mut self.h, self.g, id, sequence);
            }
            Step::Put(_) => {}
            Step::Ack => {
                let last = self.h.got.iter().map(|got| got.index).max().unwrap_or(0);
                self.h.ack(self.s, 0, last + 1);
            }
            Step::Reattach => {
                self.check();
                self.h.request(Request::Detach { handle: self.s }).unwrap();
                self.attach();
            }
            Step::Pass(ms) => self.h.pass_ms(ms),
            Step::Save => self.snapshot = self.h.snapshot(),
            Step::Crash => {
                self.check();
                let snapshot = std::mem::take(&mut self.snapshot);
                self.h.crash(&snapshot);
                self.snapshot = snapshot;
                self.attach();
            }
        }
        self.check();
        assert!(self.h.books().balanced);
    }

    fn check(&mut self) {
        for notice in std::mem::take(&mut self.h.notices) {
            if let Notice::Unordered { missing: Some(Missing { producer, from, to }), .. } = notice {
                self.excused.extend((from.0..to.0).map(|sequence| (producer.0, sequence)));
            }
        }
        for got in &self.h.got {
            let (id, sequence) = got.payload.split_once('.').unwrap();
            let (id, sequence) = (id.parse::<u128>().unwrap(), sequence.parse::<u64>().unwrap());
            for before in 1..sequence {
                let known = (id, before);
                assert!(
                    self.seen.contains(&known) || self.excused.contains(&known),
                    "{id}.{sequence} was handed out before {id}.{before}"
                );
            }
            self.seen.insert((id, sequence));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn p4_whatever_happens_each_message_comes_behind_those_before_it_or_a_notice(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut model = Model::new();
        steps.into_iter().for_each(|step| model.step(step));
        while let Some((id, sequence)) = model.left.pop() {
            put(&mut model.h, model.g, id, sequence);
        }
        model.h.pass_ms(2 * HOLD_MS);
        model.check();
        prop_assert_eq!(model.seen.len(), 36);
        prop_assert_eq!(model.h.info("g", "s").aside, 0);
    }
}

#[test]
fn who_asks_for_a_message_that_is_set_aside_is_told_so() {
    let (mut h, g, _) = receiving(by_producer());
    put_all(&mut h, g, &[1, 3]);
    // The first record is the stream's own.
    assert_eq!(super::whereabouts::fate(&mut h, "s", 3), Fate::Aside);
    put_all(&mut h, g, &[2]);
    assert_eq!(super::whereabouts::fate(&mut h, "s", 3), Fate::InFlight);
}

#[test]
fn a_session_that_competes_and_leaves_gives_back_nothing_that_is_set_aside() {
    let spec = SubscriptionSpec { shared: true, ..SubscriptionSpec::default() };
    let (mut h, g) = relay_with(by_producer(), spec);
    let other = SessionId(77);
    h.input(Input::SessionOpened { session: other });
    let attach = Request::Attach { group: group("g"), name: Some(sub("s")), create: None };
    h.input(Input::Request { session: other, request: 9_000, body: Box::new(attach) });
    let Some(Ok(Reply::SubscriptionHandle { handle, .. })) = h.answers.remove(&9_000) else { panic!() };
    h.input(Input::Credit { session: other, credits: vec![Credit { handle, total: 100 }] });
    put_all(&mut h, g, &[1, 3]);
    h.input(Input::SessionClosed { session: other });
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.got.clear();
    h.pass_ms(1);
    put_all(&mut h, g, &[2]);
    assert_eq!(h.payloads(), ["7.2", "7.3"]);
}

/// Who has put it may have been forgotten between the two, and what waits for its turn not.
#[test]
fn what_comes_twice_before_its_turn_is_given_up_once_and_does_not_keep_the_relay() {
    let mut order = Order::default();
    let span = |index| Span { index: Index(index), count: 1, producer: ProducerId(7), first: 2 };
    let arrival = Arrival { wall: WallTime(0), until: Time(5) };
    order.insert(span(1), arrival);
    order.insert(span(3), arrival);
    assert!(order.expire(Time(5)));
    assert_eq!((order.deadline(), order.held()), (None, 0), "nothing waits any more");
}

/// Two origins, whose clocks are a month behind, have the same message of a producer: it is early twice.
#[test]
fn r1_a_message_that_comes_twice_before_its_turn_stops_no_relay_nor_its_next_start() {
    for restarts in [false, true] {
        let mut h = Harness::linked();
        h.now.wall.0 += 30 * 24 * 3600 * 1_000_000;
        h.set("g", GroupSettings { producer_hold_ms: Some(60_000), ..by_producer() });
        h.subscribe("g", "s", SubscriptionSpec::default());
        for theirs in [Theirs::putting(8, "o", 2), Theirs::putting(9, "x", 2)] {
            h.hear(theirs.name());
            theirs.send(&mut h, 0..2);
            h.pass_ms(2_000);
        }
        if restarts {
            h.crash(&Snapshot::default());
        }
        h.pass_ms(61_000);
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["again"]);
    }
}
