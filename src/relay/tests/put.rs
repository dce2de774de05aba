use super::harness::{Harness, SESSION, body, group};
use crate::id::SessionId;
use crate::log::{Entry, Snapshot};
use crate::relay::Input;
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};
use crate::wire::body::{Notice, RefusalCode, Reply, Request, SubscriptionSpec};
use crate::wire::frame::AckLevel;
use crate::wire::run::RunKind;

fn refusals(harness: &Harness) -> Vec<RefusalCode> {
    let code = |n: &Notice| match n {
        Notice::PutRefused { refusal, .. } => Some(refusal.code),
        Notice::Stream { .. } | Notice::Gap { .. } | Notice::Detached { .. } | Notice::Unordered { .. } => {
            None
        }
    };
    harness.notices.iter().filter_map(code).collect()
}

#[test]
fn p1_a_put_is_answered_when_it_is_durable_and_not_before() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.auto_sync = false;
    h.put(g, &["a", "b"]);
    assert!(h.done.is_empty());
    h.sync();
    assert_eq!(h.done.len(), 1);
    assert_eq!(h.done[0].level, AckLevel::Accepted);
}

#[test]
fn nothing_is_delivered_before_it_is_durable() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.auto_sync = false;
    h.put(g, &["a"]);
    assert!(h.got.is_empty());
    h.sync();
    assert_eq!(h.payloads(), ["a"]);
}

#[test]
fn a_stream_begins_with_genesis_and_sequences_are_dense() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.put(g, &["a", "b"]);
    h.put(g, &["c"]);
    let runs: Vec<_> = h
        .log
        .iter()
        .filter_map(|e| match e {
            Entry::Run(run) => Some((run.run.header.kind, run.run.header.first.0, run.run.header.count)),
            Entry::State(_) => None,
        })
        .collect();
    assert_eq!(runs, [(RunKind::Genesis, 1, 1), (RunKind::Data, 2, 2), (RunKind::Data, 4, 1)]);
}

#[test]
fn f42_a_retry_inserts_once() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.put_with(g, body(&["a", "b"]), Some((7, 1)), AckLevel::Accepted);
    h.put_with(g, body(&["a", "b"]), Some((7, 1)), AckLevel::Accepted);
    h.put_with(g, body(&["b", "c"]), Some((7, 2)), AckLevel::Accepted);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    assert_eq!(h.done.iter().map(|d| d.repeats).collect::<Vec<_>>(), [0, 2, 1]);
}

#[test]
fn a_put_with_repeats_in_its_middle_keeps_both_ends() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100);
    h.put_with(g, body(&["c", "d"]), Some((7, 3)), AckLevel::Accepted);
    h.put_with(g, body(&["a", "b", "c", "d", "e", "f"]), Some((7, 1)), AckLevel::Accepted);
    assert_eq!(h.payloads(), ["c", "d", "a", "b", "e", "f"]);
    assert_eq!(h.done.last().unwrap().repeats, 2);
    assert!(h.books().balanced);
}

#[test]
fn a_repeat_is_not_answered_before_the_first_copy_is_durable() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.auto_sync = false;
    h.put_with(g, body(&["a"]), Some((7, 1)), AckLevel::Accepted);
    h.put_with(g, body(&["a"]), Some((7, 1)), AckLevel::Accepted);
    assert!(h.done.is_empty());
    h.sync();
    assert_eq!(h.done.len(), 2);
}

#[test]
fn a_message_over_the_groups_size_is_refused_with_a_reason() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { max_message_bytes: Some(3), ..GroupSettings::default() });
    let g = h.open("g");
    h.put(g, &["1234"]);
    h.put(g, &["123"]);
    assert_eq!(refusals(&h), [RefusalCode::TooLarge]);
    assert_eq!(h.done.len(), 1);
}

#[test]
fn a_put_that_the_log_cannot_take_at_once_is_refused_with_a_reason() {
    let mut h = Harness::new();
    let g = h.open("g");
    let half = "x".repeat(1 << 19);
    h.put(g, &[&half, &half]);
    assert_eq!(refusals(&h), [RefusalCode::TooLarge]);
    h.put(g, &[&half]);
    assert_eq!(h.done.len(), 1);
    assert_eq!(refusals(&h).len(), 1);
}

#[test]
fn a_put_on_a_handle_that_does_not_exist_is_refused() {
    let mut h = Harness::new();
    h.put(9, &["a"]);
    assert_eq!(refusals(&h), [RefusalCode::NotFound]);
    assert!(h.books().balanced);
}

#[test]
fn a_full_disk_refuses_puts_while_acks_go_on() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["a"]);
    h.input(Input::Room { free: false });
    h.put(g, &["b"]);
    assert_eq!(refusals(&h), [RefusalCode::NoRoom]);
    h.ack(s, 1, 100);
    assert_eq!(h.info("g", "s").backlog, 0);
    h.input(Input::Room { free: true });
    h.put(g, &["c"]);
    assert_eq!(h.payloads(), ["a", "c"]);
}

#[test]
fn r7_the_group_quota_refuses_and_names_the_slowest_subscription() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { quota_count: Some(3), ..GroupSettings::default() });
    let g = h.open("g");
    let fast = h.attach("g", "fast");
    let s = h.attach("g", "slow");
    h.credit(fast, 10);
    h.put(g, &["a"]);
    h.put(g, &["b", "c"]);
    h.ack(fast, 1, 100);
    h.put(g, &["d"]);
    assert_eq!(refusals(&h), [RefusalCode::Quota]);
    let said = h.notices.iter().any(|n| format!("{n:?}").contains("`slow` holds back 3"));
    assert!(said, "{:?}", h.notices);
    h.credit(s, 10);
    h.ack(s, 1, 100);
    h.put(g, &["d"]);
    assert_eq!(h.done.len(), 3);
}

#[test]
fn s34_a_quota_that_refuses_in_one_group_does_not_hold_up_another() {
    let mut h = Harness::new();
    let settings = GroupSettings {
        subscription_quota_count: Some(1),
        subscription_policy: SubscriptionPolicy::Refuse,
        ..GroupSettings::default()
    };
    h.set("full", settings);
    h.subscribe("full", "s", SubscriptionSpec::default());
    let (full, free) = (h.open("full"), h.open("free"));
    for _ in 0..5 {
        h.put(full, &["a"]);
        h.put(free, &["b"]);
    }
    assert!(h.done.len() >= 6, "{:?}", h.done);
    assert!(refusals(&h).len() >= 3);
}

#[test]
fn a_consumed_put_is_answered_when_every_subscription_has_acked_durably() {
    let mut h = Harness::new();
    let g = h.open("g");
    let (a, b) = (h.attach("g", "a"), h.attach("g", "b"));
    h.credit(a, 10);
    h.credit(b, 10);
    h.put_with(g, body(&["x"]), None, AckLevel::Consumed);
    h.ack(a, 1, 100);
    h.pass_ms(2000);
    assert!(h.done.is_empty());
    h.ack(b, 1, 100);
    h.pass_ms(2000);
    assert_eq!(h.done.iter().map(|d| d.level).collect::<Vec<_>>(), [AckLevel::Consumed]);
}

#[test]
fn a_repeat_at_level_consumed_waits_like_the_first_copy() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    let first = h.put_with(g, body(&["x"]), Some((7, 1)), AckLevel::Consumed);
    // The answer is not there yet, the connection is: the publisher asks again.
    let again = h.put_with(g, body(&["x"]), Some((7, 1)), AckLevel::Consumed);
    h.pass_ms(2000);
    assert!(h.done.is_empty(), "nobody has acked: {:?}", h.done);
    h.ack(s, 1, 100);
    h.pass_ms(2000);
    let done: Vec<_> = h.done.iter().map(|d| (d.put, d.repeats, d.level)).collect();
    assert_eq!(done, [(first, 0, AckLevel::Consumed), (again, 1, AckLevel::Consumed)]);
}

#[test]
fn a_put_that_waits_to_be_consumed_is_refused_when_its_group_is_removed() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.attach("g", "s");
    h.put_with(g, body(&["x"]), None, AckLevel::Consumed);
    h.auto_sync = false;
    h.put_with(g, body(&["y"]), None, AckLevel::Consumed);
    h.auto_sync = true;
    assert_eq!(h.request(Request::GroupRemove { group: group("g") }), Ok(Reply::Done));
    assert!(h.done.is_empty(), "{:?}", h.done);
    assert_eq!(refusals(&h), [RefusalCode::Removed, RefusalCode::Removed]);
}

#[test]
fn p11_what_was_put_into_a_group_that_is_gone_stays_in_the_books() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { max_message_bytes: Some(100), ..GroupSettings::default() });
    let g = h.open("g");
    h.put(g, &["a", "b"]);
    h.put(g, &[&"x".repeat(200)]);
    h.auto_sync = false;
    h.put(g, &["c"]);
    let removed = h.ask(Request::GroupRemove { group: group("g") });
    let told = |h: &mut Harness| {
        let books = h.books();
        (books.put, books.accepted, books.unsynced, books.refused, books.balanced)
    };
    let refused = vec![(RefusalCode::TooLarge, 1)];
    assert_eq!(told(&mut h), (4, 2, 1, refused.clone(), true));
    h.sync();
    assert_eq!(h.answers.remove(&removed), Some(Ok(Reply::Done)));
    assert_eq!(told(&mut h), (4, 3, 0, refused, true));
}

#[test]
fn a_put_with_repeats_between_is_answered_with_its_first_new_sequence() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.put_with(g, body(&["b"]), Some((7, 2)), AckLevel::Accepted);
    h.put_with(g, body(&["a", "b", "c"]), Some((7, 1)), AckLevel::Accepted);
    // Genesis is 1, `b` is 2, so `a` is 3 and `c` is 4.
    let done: Vec<_> = h.done.iter().map(|d| (d.first.0, d.repeats)).collect();
    assert_eq!(done, [(2, 0), (3, 1)]);
}

#[test]
fn s42_a_put_to_a_group_without_subscriptions_is_accepted_and_let_go() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.put_with(g, body(&["x"]), None, AckLevel::Consumed);
    assert_eq!(h.done.len(), 1);
    h.pass_ms(3000);
    assert_eq!(h.released.values().copied().collect::<Vec<_>>(), [3]);
}

#[test]
fn a_session_that_is_gone_leaves_no_trace() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.input(Input::SessionClosed { session: SESSION });
    h.input(Input::SessionOpened { session: SESSION });
    h.put(g, &["a"]);
    assert_eq!(refusals(&h), [RefusalCode::NotFound]);
    h.input(Input::SessionClosed { session: SessionId(77) });
}

#[test]
fn removing_a_group_lets_everything_go_and_a_new_one_is_empty() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.put(g, &["old"]);
    assert_eq!(h.request(Request::GroupRemove { group: group("g") }), Ok(Reply::Done));
    assert_eq!(h.released.get(&1), Some(&u64::MAX));
    h.put(g, &["late"]);
    assert_eq!(refusals(&h), [RefusalCode::NotFound]);
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["new"]);
    assert_eq!(h.payloads(), ["new"]);
    assert!(h.books().balanced);
    // R11: nobody takes what is left of one for a part of the other.
    let lives = |h: &Harness| h.relay.groups.iter().map(|group| group.incarnation).collect::<Vec<_>>();
    assert_eq!(lives(&h), [1]);
    assert_eq!(h.request(Request::GroupRemove { group: group("g") }), Ok(Reply::Done));
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    h.open("g");
    assert_eq!(lives(&h), [2]);
}

#[test]
fn a_quota_of_messages_counts_messages_and_refuses_when_it_is_reached() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { quota_count: Some(3), ..GroupSettings::default() });
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec::default());
    assert_eq!(h.info("g", "s").backlog, 0);
    // A put is taken whole or not at all.
    h.put(g, &["1", "2", "3", "4"]);
    assert_eq!(refusals(&h), [RefusalCode::Quota]);
    let Some(Notice::PutRefused { refusal, .. }) = h.notices.first() else { panic!() };
    assert!(refusal.message.contains("put fewer at a time"), "that does not pass: {}", refusal.message);
    h.put(g, &["1"]);
    h.put(g, &["2"]);
    h.put(g, &["3"]);
    for with_snapshot in [true, false] {
        assert_eq!(h.info("g", "s").backlog, 3, "the relay's own records are no messages");
        let g = h.open("g");
        h.notices.clear();
        h.put(g, &["4"]);
        assert_eq!(refusals(&h), [RefusalCode::Quota]);
        let Some(Notice::PutRefused { refusal, .. }) = h.notices.first() else { panic!() };
        assert!(refusal.message.contains("holds 3 messages of its quota of 3"), "{}", refusal.message);
        let snapshot = if with_snapshot { h.snapshot() } else { Snapshot::default() };
        h.crash(&snapshot);
    }
}

#[test]
fn a_quota_of_bytes_takes_a_put_whole_or_not_at_all() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { quota_bytes: Some(2_000), ..GroupSettings::default() });
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec::default());
    let text = "x".repeat(500);
    h.put(g, &[&text, &text, &text, &text, &text]);
    assert_eq!(refusals(&h), [RefusalCode::Quota], "what it holds is no reason, what it brings is");
    h.put(g, &[&text, &text]);
    assert_eq!(h.done.len(), 1);
    h.put(g, &[&text, &text]);
    assert_eq!(refusals(&h), [RefusalCode::Quota, RefusalCode::Quota]);
    assert!(h.books().balanced);
}

#[test]
fn a_message_that_no_quota_would_ever_take_is_too_large() {
    let own = GroupSettings {
        subscription_quota_bytes: Some(1_000),
        subscription_policy: SubscriptionPolicy::Refuse,
        ..GroupSettings::default()
    };
    let of_group = GroupSettings { quota_bytes: Some(1_000), ..GroupSettings::default() };
    for settings in [own, of_group] {
        let mut h = Harness::new();
        h.set("g", settings);
        let g = h.open("g");
        h.subscribe("g", "s", SubscriptionSpec::default());
        let (half, whole) = ("x".repeat(500), "x".repeat(1_001));
        h.put(g, &[&whole]);
        assert_eq!(refusals(&h), [RefusalCode::TooLarge], "trying again would never help");
        h.put(g, &[&half]);
        h.put(g, &[&half]);
        assert_eq!(refusals(&h), [RefusalCode::TooLarge, RefusalCode::Quota], "later it fits");
        assert!(h.books().balanced);
    }
}

#[test]
fn a_quota_of_each_subscription_takes_a_put_whole_or_not_at_all() {
    for quota in [(Some(3), None), (None, Some(1_000))] {
        let mut h = Harness::new();
        let settings = GroupSettings {
            subscription_quota_count: quota.0,
            subscription_quota_bytes: quota.1,
            subscription_policy: SubscriptionPolicy::Refuse,
            ..GroupSettings::default()
        };
        h.set("g", settings);
        h.subscribe("g", "s", SubscriptionSpec::default());
        let g = h.open("g");
        let text = "x".repeat(200);
        h.put(g, &[&text, &text, &text, &text, &text]);
        assert_eq!(refusals(&h), [RefusalCode::Quota], "{quota:?}");
        h.put(g, &[&text, &text]);
        assert_eq!(h.done.len(), 1, "{quota:?}");
        h.put(g, &[&text, &text, &text]);
        assert_eq!(refusals(&h), [RefusalCode::Quota, RefusalCode::Quota], "{quota:?}");
    }
}

#[test]
fn a_transient_producer_that_was_away_for_too_long_is_told_so() {
    let mut h = Harness::new();
    let g = h.open("g");
    let put = |h: &mut Harness, age_seconds| {
        let records = body(&["a"]);
        let head = crate::wire::frame::PutHead {
            put: u64::from(age_seconds) + 1,
            producer: Some((crate::id::ProducerId(7), crate::id::ProducerSequence(1))),
            lowest_unanswered: crate::id::ProducerSequence(1),
            body_hash: xxhash_rust::xxh3::xxh3_64(&records),
            level: AckLevel::Accepted,
            copies: 0,
            transient: true,
            age_seconds,
        };
        let summary = crate::wire::run::BodySummary::of(&records).unwrap();
        h.input(Input::Put { session: SESSION, handle: g, head, summary, records });
    };
    put(&mut h, 0);
    h.pass_ms(900_000);
    put(&mut h, 900);
    assert_eq!(refusals(&h), [RefusalCode::ProducerForgotten], "it may have been taken: it is not again");
}

/// Who puts: a producer that may come back, or one that ends with its process.
fn put_of(h: &mut Harness, group: u32, producer: crate::id::ProducerId, age_seconds: u32) {
    let records = body(&["a"]);
    let head = crate::wire::frame::PutHead {
        put: producer.0 as u64,
        producer: Some((producer, crate::id::ProducerSequence(1))),
        lowest_unanswered: crate::id::ProducerSequence(1),
        body_hash: xxhash_rust::xxh3::xxh3_64(&records),
        level: AckLevel::Accepted,
        copies: 0,
        transient: producer.is_passing(),
        age_seconds,
    };
    let summary = crate::wire::run::BodySummary::of(&records).unwrap();
    h.input(Input::Put { session: SESSION, handle: group, head, summary, records });
}

#[test]
fn r1_a_producer_makes_no_room_for_those_that_end_with_their_process_after_a_restart_either() {
    for is_restarted in [false, true] {
        let mut h = Harness::new();
        let mut g = h.open("g");
        let named = crate::id::ProducerId::from_name("till-7");
        put_of(&mut h, g, named, 0);
        h.pass_ms(1_000);
        for id in 0..=crate::limits::PRODUCERS_MAX as u128 {
            put_of(&mut h, g, crate::id::ProducerId::passing(id), 0);
        }
        if is_restarted {
            h.crash(&Snapshot::default());
            g = h.open("g");
        }
        put_of(&mut h, g, named, 60);
        assert!(refusals(&h).is_empty(), "restarted: {is_restarted}: {:?}", refusals(&h));
        assert_eq!(h.done.last().map(|done| done.repeats), Some(1), "it was taken before");
    }
}

#[test]
fn a_gap_too_many_is_refused_and_none_is_forgotten() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 1_000);
    for i in 0..=crate::limits::PRODUCER_RANGES_MAX as u64 {
        h.put_with(g, body(&[&i.to_string()]), Some((7, 10 + 2 * i)), AckLevel::Accepted);
    }
    assert_eq!(refusals(&h), [RefusalCode::Limit]);
    h.got.clear();
    h.put_with(g, body(&["late"]), Some((7, 11)), AckLevel::Accepted);
    assert_eq!(h.payloads(), ["late"], "a message that fills a gap is no repeat");
}

#[test]
fn a_retry_of_a_producer_that_made_room_for_others_is_refused() {
    let mut h = Harness::new();
    let g = h.open("g");
    for id in 1..=crate::limits::PRODUCERS_MAX as u128 + 1 {
        h.put_with(g, body(&["x"]), Some((id, 1)), AckLevel::Accepted);
    }
    h.pass_ms(5_000);
    let records = body(&["x"]);
    let head = crate::wire::frame::PutHead {
        put: 99_999,
        producer: Some((crate::id::ProducerId(1), crate::id::ProducerSequence(1))),
        lowest_unanswered: crate::id::ProducerSequence(1),
        body_hash: xxhash_rust::xxh3::xxh3_64(&records),
        level: AckLevel::Accepted,
        copies: 0,
        transient: false,
        age_seconds: 6,
    };
    let summary = crate::wire::run::BodySummary::of(&records).unwrap();
    h.input(Input::Put { session: SESSION, handle: g, head, summary, records });
    assert_eq!(refusals(&h), [RefusalCode::ProducerForgotten]);
}

#[test]
fn a_session_that_ends_waits_for_nothing_any_more() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let other = SessionId(2);
    h.input(Input::SessionOpened { session: other });
    let open = Request::GroupOpen { group: group("g") };
    h.input(Input::Request { session: other, request: 77, body: Box::new(open) });
    let Some(Ok(Reply::GroupHandle { handle, .. })) = h.answers.remove(&77) else { panic!() };
    let records = body(&["a"]);
    let head = crate::wire::frame::PutHead {
        put: 1,
        producer: None,
        lowest_unanswered: crate::id::ProducerSequence(0),
        body_hash: xxhash_rust::xxh3::xxh3_64(&records),
        level: AckLevel::Consumed,
        copies: 0,
        transient: false,
        age_seconds: 0,
    };
    let summary = crate::wire::run::BodySummary::of(&records).unwrap();
    h.input(Input::Put { session: other, handle, head, summary, records });
    let g = h.open("g");
    h.put_with(g, body(&["b"]), None, AckLevel::Accepted);
    let mine = [h.put_with(g, body(&["c"]), None, AckLevel::Consumed)];
    h.done.clear();
    h.input(Input::SessionClosed { session: other });
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.ack(s, 1, 100);
    h.pass_ms(5_000);
    let done: Vec<u64> = h.done.iter().map(|done| done.put).collect();
    assert_eq!(done, mine, "nobody is left to be told of the other");
}

#[test]
fn a_repeat_at_level_consumed_waits_until_the_ack_is_on_disk() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let g = h.open("g");
    h.put_with(g, body(&["a"]), Some((7, 1)), AckLevel::Accepted);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.auto_sync = false;
    h.ack(s, 1, 100);
    h.done.clear();
    h.put_with(g, body(&["a"]), Some((7, 1)), AckLevel::Consumed);
    assert!(h.done.is_empty(), "acked, and not on disk");
    h.sync();
    assert_eq!(h.done.len(), 1);
}

#[test]
fn what_nobody_is_owed_is_let_go_under_a_steady_load_too() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.put(g, &["a"]);
    h.auto_sync = false;
    for _ in 0..40 {
        h.put(g, &["x"]);
        // All but the last is durable, at any time.
        h.durable = h.log.len() - 1;
        let through = crate::log::EntryNumber(h.durable as u64);
        h.input(Input::Durable { through });
        h.pass_ms(100);
    }
    assert!(h.released.values().any(|below| *below > 20), "{:?}", h.released);
}

#[test]
fn a_queue_keeps_its_backlog_until_the_queue_goes() {
    let mut h = Harness::new();
    let create =
        Request::GroupCreate { group: group("jobs"), settings: GroupSettings::default(), queue: true };
    h.request(create).unwrap();
    let name = super::harness::sub("queue");
    let refused = h.request(Request::SubscriptionRemove { group: group("jobs"), name });
    assert_eq!(refused.unwrap_err().code, RefusalCode::Invalid);
}

#[test]
fn r1_a_producer_that_was_forgotten_is_not_known_again_after_a_restart() {
    for crashes in [false, true] {
        let mut h = Harness::new();
        let settings = GroupSettings { producer_idle_max_ms: Some(60_000), ..GroupSettings::default() };
        h.set("g", settings);
        h.subscribe("g", "s", SubscriptionSpec::default());
        let mut g = h.open("g");
        for sequence in 1..=3 {
            h.put_with(g, body(&[&format!("1.{sequence}")]), Some((7, sequence)), AckLevel::Accepted);
        }
        h.pass_ms(120_000);
        h.put_with(g, body(&["2.1"]), Some((7, 1)), AckLevel::Accepted);
        if crashes {
            h.crash(&Snapshot::default());
            g = h.open("g");
        }
        h.put_with(g, body(&["2.2"]), Some((7, 2)), AckLevel::Accepted);
        let s = h.attach("g", "s");
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["1.1", "1.2", "1.3", "2.1", "2.2"], "crashes: {crashes}");
    }
}

/// A publisher sends on before it hears that something was refused for the moment.
#[test]
fn p4_what_follows_a_put_that_was_refused_for_the_moment_is_not_taken_before_it() {
    let mut h = Harness::apart();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let handle = h.open("g");
    h.lowest_unanswered = 1;
    h.put_with(handle, body(&["a"]), Some((7, 1)), AckLevel::Accepted);
    assert!(h.notices.iter().any(|n| matches!(n, Notice::PutRefused { .. })), "there is no table yet");
    h.meet(Vec::new());
    // It was on its way already.
    h.put_with(handle, body(&["b"]), Some((7, 2)), AckLevel::Accepted);
    assert_eq!(h.done.len(), 0, "what goes before it is not here");
    // It hears of the refusal, and sends both again.
    h.put_with(handle, body(&["a"]), Some((7, 1)), AckLevel::Accepted);
    h.put_with(handle, body(&["b"]), Some((7, 2)), AckLevel::Accepted);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a", "b"]);
}

#[test]
fn p4_what_was_given_up_holds_back_nothing_and_another_producer_is_not_held_back() {
    let mut h = Harness::apart();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let handle = h.open("g");
    h.lowest_unanswered = 1;
    h.put_with(handle, body(&["a", "b"]), Some((7, 1)), AckLevel::Accepted);
    h.put_with(handle, body(&["c"]), Some((7, 3)), AckLevel::Accepted);
    h.meet(Vec::new());
    h.put_with(handle, body(&["x"]), Some((8, 1)), AckLevel::Accepted);
    // In the same session: each is taken when those before it are there.
    for (payloads, first, taken) in [
        (&["d"][..], 4, false),
        (&["c"], 3, false),
        (&["a", "b"], 1, true),
        (&["d"], 4, false),
        (&["c"], 3, true),
    ] {
        let before = h.done.len();
        h.put_with(handle, body(payloads), Some((7, first)), AckLevel::Accepted);
        assert_eq!(h.done.len() > before, taken, "{payloads:?}");
    }
    // It is not put again.
    h.lowest_unanswered = 5;
    h.put_with(handle, body(&["e"]), Some((7, 5)), AckLevel::Accepted);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["x", "a", "b", "c", "e"]);
}

#[test]
fn p12_a_session_that_was_refused_puts_of_too_many_producers_ends() {
    let mut h = Harness::apart();
    let handle = h.open("g");
    for producer in 0..=crate::limits::SESSION_TURNED_AWAY_MAX as u128 {
        assert_eq!(h.closes, 0);
        h.put_with(handle, body(&["a"]), Some((producer, 1)), AckLevel::Accepted);
    }
    assert_eq!(h.closes, 1);
}
