use super::harness::{Harness, body, group, sub};
use crate::id::{GroupNumber, Index, WallTime};
use crate::log::{EntryNumber, Snapshot};
use crate::relay::Input;
use crate::relay::cursor::Cursor;
use crate::relay::group::{Group, own_open};
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};
use crate::wire::body::{GapCause, Notice, Reply, Request, Start, SubscriptionSpec};
use crate::wire::frame::AckLevel;

fn gaps(h: &Harness) -> Vec<(u64, u64, GapCause)> {
    h.gaps().into_iter().map(|(from, to, cause)| (from.0, to.0, cause)).collect()
}

/// A group with these settings, and its handle.
fn with(settings: GroupSettings) -> (Harness, u32) {
    let mut h = Harness::new();
    h.set("g", settings);
    let g = h.open("g");
    (h, g)
}

/// The same, with a subscription that nobody receives from.
fn with_a_backlog(settings: GroupSettings) -> (Harness, u32) {
    let (mut h, g) = with(settings);
    h.subscribe("g", "s", SubscriptionSpec::default());
    (h, g)
}

/// One subscription may hold back so many messages.
fn quota(count: u64, subscription_policy: SubscriptionPolicy) -> GroupSettings {
    GroupSettings { subscription_quota_count: Some(count), subscription_policy, ..GroupSettings::default() }
}

/// All that a subscription is given now.
fn receive(h: &mut Harness) -> Vec<String> {
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.payloads()
}

#[test]
fn the_log_is_let_go_behind_durable_cursors_only() {
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["a", "b"]);
    h.auto_sync = false;
    h.ack(s, 1, 100);
    h.pass_ms(2_000);
    assert!(h.released.is_empty(), "{:?}", h.released);
    h.sync();
    assert_eq!(h.released.values().copied().collect::<Vec<_>>(), [4]);
}

#[test]
fn one_slow_subscription_keeps_the_log() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.subscribe("g", "slow", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["a", "b"]);
    h.ack(s, 1, 100);
    h.pass_ms(5_000);
    assert!(h.released.values().all(|below| *below <= 2), "{:?}", h.released);
    let slow = h.attach("g", "slow");
    h.got.clear();
    h.credit(slow, 10);
    assert_eq!(h.payloads(), ["a", "b"]);
}

#[test]
fn f46_drop_oldest_leaves_a_gap_in_order() {
    let (mut h, g) = with_a_backlog(quota(2, SubscriptionPolicy::DropOldest));
    for i in 0..6 {
        h.put(g, &[&format!("{i}")]);
    }
    h.pass_ms(2_000);
    assert_eq!(receive(&mut h), ["4", "5"]);
    assert_eq!(gaps(&h), [(1, 6, GapCause::SubscriptionQuota)]);
    let out = h.info("g", "s").out;
    assert_eq!((out.evicted, out.passed), (4, 1), "0 to 3, and the beginning of the stream");
    assert!(h.books().balanced);
}

#[test]
fn a_gap_is_told_again_until_it_is_acked_even_after_a_crash() {
    let (mut h, g) = with_a_backlog(GroupSettings { max_count: Some(1), ..GroupSettings::default() });
    h.put(g, &["a"]);
    h.put(g, &["b"]);
    h.pass_ms(3_000);
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(gaps(&h), [(1, 3, GapCause::Retention)]);
    h.ack(s, 1, 3);
    h.pass_ms(3_000);
    h.notices.clear();
    h.request(Request::Detach { handle: s }).unwrap();
    h.attach("g", "s");
    assert_eq!(gaps(&h), []);
}

/// I9: whoever does not know its handle yet would not know what a gap is about.
#[test]
fn a_gap_is_not_told_before_the_receiver_has_shown_that_it_knows_its_handle() {
    for asks in ["credit", "poll"] {
        let (mut h, g) = with_a_backlog(GroupSettings { max_count: Some(1), ..GroupSettings::default() });
        h.put(g, &["a"]);
        h.put(g, &["b"]);
        h.pass_ms(3_000);
        h.notices.clear();
        h.auto_sync = false;
        h.put(g, &["c"]);
        let first = h.log.len();
        h.put(g, &["d"]);
        let attach = Request::Attach { group: group("g"), name: Some(sub("s")), create: None };
        let attached = h.ask(attach);
        h.durable = first;
        h.input(Input::Durable { through: EntryNumber(first as u64) });
        assert!(!h.answers.contains_key(&attached), "what stands before it is not durable");
        assert_eq!(gaps(&h), []);
        h.sync();
        let Some(Ok(Reply::SubscriptionHandle { handle, .. })) = h.answers.remove(&attached) else {
            panic!("{:?}", h.answers)
        };
        assert_eq!(gaps(&h), []);
        match asks {
            "credit" => h.credit(handle, 10),
            _ => assert!(h.request(Request::Poll { handle, messages: 10 }).is_ok()),
        }
        assert_eq!(gaps(&h).len(), 1, "{asks}");
    }
}

#[test]
fn a_gap_is_told_to_one_receiver_and_again_to_another_when_that_one_leaves() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { max_count: Some(1), ..GroupSettings::default() });
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec { shared: true, ..SubscriptionSpec::default() });
    h.put(g, &["a"]);
    h.put(g, &["b"]);
    h.pass_ms(3_000);
    let [one, two, three] = [(); 3].map(|()| h.attach("g", "s"));
    h.credit(two, 1);
    assert_eq!(gaps(&h).len(), 1);
    h.credit(one, 1);
    h.credit(three, 1);
    assert_eq!(h.request(Request::Detach { handle: one }), Ok(Reply::Done));
    h.credit(three, 2);
    assert_eq!(gaps(&h).len(), 1, "the one that has it is still there");
    assert_eq!(h.request(Request::Detach { handle: two }), Ok(Reply::Done));
    assert_eq!(gaps(&h).len(), 2);
    assert!(matches!(h.notices.last(), Some(Notice::Gap { handle, .. }) if *handle == three));
}

#[test]
fn evict_removes_the_subscription_and_tells_its_receiver() {
    let (mut h, g) = with(quota(2, SubscriptionPolicy::Evict));
    h.attach("g", "s");
    for i in 0..6 {
        h.put(g, &[&format!("{i}")]);
    }
    h.pass_ms(2_000);
    assert!(h.notices.iter().any(|n| matches!(n, Notice::Detached { .. })));
    assert!(h.request(Request::SubscriptionShow { group: group("g"), name: sub("s") }).is_err());
    assert!(h.books().balanced);
}

/// R7: the owner is told, however late it comes, and whatever happened meanwhile.
#[test]
fn f46_an_evicted_subscription_is_told_what_it_missed_when_it_is_made_again() {
    for (restart, snapshot) in [(false, false), (true, false), (true, true)] {
        let (mut h, g) = with_a_backlog(quota(2, SubscriptionPolicy::Evict));
        h.subscribe("g", "other", SubscriptionSpec::default());
        for i in 0..6 {
            h.put(g, &[&format!("{i}")]);
        }
        h.pass_ms(2_000);
        assert!(h.request(Request::SubscriptionShow { group: group("g"), name: sub("s") }).is_err());
        assert!(h.books().balanced && h.books().out.evicted >= 12, "{:?}", h.books());
        if restart {
            let saved = if snapshot { h.snapshot() } else { Snapshot::default() };
            h.crash(&saved);
        }
        let s = h.attach("g", "s");
        h.credit(s, 10);
        let told = gaps(&h);
        let [(from, to, GapCause::Evicted)] = told[..] else { panic!("{told:?}") };
        assert!(from <= 2 && to >= 8, "all six messages: {told:?}");
        h.ack(s, from, to);
        h.notices.clear();
        h.pass_ms(2_000);
        let again = h.attach("g", "s");
        h.credit(again, 10);
        assert_eq!(gaps(&h), [], "once it was acked it is not told again");
    }
}

#[test]
fn history_is_kept_for_those_who_come_later() {
    let (mut h, g) = with(GroupSettings { history_count: Some(3), ..GroupSettings::default() });
    for i in 0..10 {
        h.put(g, &[&format!("{i}")]);
    }
    h.pass_ms(5_000);
    assert_eq!(h.released.values().copied().collect::<Vec<_>>(), [9]);
}

#[test]
fn a_history_of_so_many_messages_does_not_count_the_relays_own_records() {
    let (mut h, g) = with(GroupSettings { history_count: Some(3), ..GroupSettings::default() });
    h.put(g, &["a", "b"]);
    // The relay becomes a member: a mark between the messages.
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.put(g, &["c"]);
    h.pass_ms(5_000);
    let start = Start::Beginning;
    h.subscribe("g", "later", SubscriptionSpec { start, ..SubscriptionSpec::default() });
    let later = h.attach("g", "later");
    h.credit(later, 10);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
}

#[test]
fn a_limit_of_so_many_messages_does_not_count_the_relays_own_records() {
    let (mut h, g) = with_a_backlog(GroupSettings { max_count: Some(3), ..GroupSettings::default() });
    h.put(g, &["a", "b"]);
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    // In a stream of its own, with the end of the other before it.
    let g = h.open("g");
    h.put(g, &["c"]);
    h.pass_ms(5_000);
    assert_eq!(receive(&mut h), ["a", "b", "c"]);
    assert_eq!(gaps(&h), []);
}

#[test]
fn a_subscription_may_hold_back_so_many_messages_and_the_relays_own_records_beside() {
    let (mut h, g) = with_a_backlog(quota(3, SubscriptionPolicy::DropOldest));
    h.put(g, &["lost", "a", "b"]);
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    let g = h.open("g");
    h.put(g, &["c"]);
    h.pass_ms(5_000);
    assert_eq!(receive(&mut h), ["a", "b", "c"]);
    let out = h.info("g", "s").out;
    assert_eq!((out.evicted, out.passed), (1, 3), "the lost one; the beginnings of two streams, and an end");
}

/// In what a subscription has brought along: of a run that comes next one record is not for it, and places
/// before that run have none.
#[test]
fn the_relays_own_records_are_counted_in_whatever_order_they_are_noted() {
    let mut made = Group::new(GroupNumber(1), group("g"), 0, WallTime(0));
    made.next = Index(9);
    for (first, count) in [(1, 1), (6, 1), (3, 2)] {
        made.mark(Index(first), count);
    }
    let counted = |from, to| own_open(&made.marks, &Cursor::new(Index(1)), (Index(from), Index(to)));
    assert_eq!([counted(0, 9), counted(2, 6), counted(5, 9), counted(7, 9), counted(9, 2)], [4, 2, 1, 0, 0]);
    assert_eq!([made.messages_from(Index(1)), made.messages_from(Index(4))], [4, 3]);
}

#[test]
fn old_messages_go_when_the_group_says_so() {
    let (mut h, g) = with_a_backlog(GroupSettings { max_age_ms: Some(60_000), ..GroupSettings::default() });
    h.put(g, &["old"]);
    h.pass_ms(50_000);
    h.put(g, &["young"]);
    h.pass_ms(30_000);
    assert_eq!(receive(&mut h), ["young"]);
    assert_eq!(gaps(&h).len(), 1);
}

#[test]
fn f49_a_removed_subscription_keeps_nothing_and_a_new_one_starts_now() {
    let mut h = Harness::new();
    let g = h.open("g");
    h.subscribe("g", "s", SubscriptionSpec::default());
    h.put(g, &["old"]);
    let remove = Request::SubscriptionRemove { group: group("g"), name: sub("s") };
    assert_eq!(h.request(remove), Ok(Reply::Done));
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.put(g, &["new"]);
    assert_eq!(h.payloads(), ["new"]);
    assert!(h.books().balanced);
}

#[test]
fn a_removed_subscription_lets_its_backlog_go_and_no_put_waits_for_it() {
    for others_ack in [true, false] {
        let mut h = Harness::new();
        let g = h.open("g");
        h.subscribe("g", "removed", SubscriptionSpec::default());
        let s = h.attach("g", "s");
        h.credit(s, 10);
        h.put_with(g, body(&["a", "b"]), None, AckLevel::Consumed);
        if others_ack {
            h.ack(s, 1, 100);
            assert_eq!(h.request(Request::Sync), Ok(Reply::Done));
        }
        assert!(h.done.is_empty() && h.released.values().all(|below| *below <= 2));
        let remove = Request::SubscriptionRemove { group: group("g"), name: sub("removed") };
        assert_eq!(h.request(remove), Ok(Reply::Done));
        assert_eq!(h.done.len(), usize::from(others_ack), "the other has acked: {others_ack}");
        let is_gone = h.released.values().any(|below| *below >= 4);
        assert_eq!(is_gone, others_ack, "{:?}", h.released);
        assert!(h.books().balanced);
    }
}

#[test]
fn a_group_without_new_messages_outgrows_its_history() {
    let (mut h, g) = with(GroupSettings { history_age_ms: Some(1_000), ..GroupSettings::default() });
    h.put(g, &["a"]);
    h.put(g, &["b"]);
    h.pass_ms(5_000);
    assert!(h.released.values().any(|below| *below == 4), "the last one too: {:?}", h.released);
}

#[test]
fn many_long_cursors_are_written_in_parts() {
    let mut h = Harness::new();
    let spec = SubscriptionSpec { window: Some(65_536), ..SubscriptionSpec::default() };
    for i in 0..200 {
        h.subscribe("g", &format!("s{i}"), spec.clone());
    }
    let g = h.open("g");
    let many = vec!["x"; 65_000];
    h.put(g, &many);
    let before = h.log.len();
    for i in 0..200 {
        let s = h.attach("g", &format!("s{i}"));
        h.credit(s, 65_000);
        h.ack(s, 60_000, 64_000);
        h.got.clear();
    }
    h.pass_ms(2_000);
    let lengths: Vec<usize> = h.log[before..]
        .iter()
        .filter_map(|entry| match entry {
            crate::log::Entry::State(bytes) => Some(bytes.len()),
            crate::log::Entry::Run(_) => None,
        })
        .collect();
    assert!(lengths.iter().sum::<usize>() > 1_500_000, "{lengths:?}");
    assert!(lengths.iter().all(|length| *length < 1_100_000), "{lengths:?}");
}

#[test]
fn r7_a_queue_over_its_quota_keeps_its_backlog_whatever_the_policy() {
    let mut h = Harness::new();
    let settings = quota(2, SubscriptionPolicy::Evict);
    h.request(Request::GroupCreate { group: group("q"), settings, queue: true }).unwrap();
    let q = h.open("q");
    for i in 0..6 {
        h.put(q, &[&format!("{i}")]);
    }
    h.pass_ms(2_000);
    h.put(q, &["later"]);
    let attach = Request::Attach { group: group("q"), name: None, create: None };
    let Ok(Reply::SubscriptionHandle { handle, .. }) = h.request(attach) else {
        panic!("nobody can get from it any more")
    };
    h.credit(handle, 10);
    assert!(h.payloads().contains(&"later".to_owned()));
    assert!(h.books().balanced);
}

#[test]
fn what_came_after_a_rest_is_not_deleted_with_what_came_before_it() {
    const HOUR_MS: u64 = 3_600_000;
    let settings = GroupSettings { max_age_ms: Some(HOUR_MS), ..GroupSettings::default() };
    let (mut h, g) = with_a_backlog(settings);
    let large = "x".repeat(10_000);
    (0..300).for_each(|_| h.put(g, &[&large]));
    h.pass_ms(HOUR_MS - 60_000);
    for number in 0..100 {
        h.put(g, &[&format!("young-{number}")]);
    }
    // They are half an hour old, and the others one and a half.
    h.pass_ms(HOUR_MS / 2);
    let s = h.attach("g", "s");
    h.credit(s, 1_000);
    let payloads = h.payloads();
    let young = payloads.iter().filter(|payload| payload.starts_with("young")).count();
    assert_eq!(young, 100, "half as old as they may be");
    assert_eq!(payloads.len(), 100, "the others are too old");
}

#[test]
fn drop_oldest_drops_only_what_is_too_much_when_acks_were_out_of_order() {
    let mut h = Harness::new();
    h.set("g", quota(9, SubscriptionPolicy::DropOldest));
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100);
    for number in 0..20 {
        h.put(g, &[&number.to_string()]);
    }
    let places: Vec<u64> = h.got.iter().map(|got| got.index).collect();
    for place in places.iter().skip(1).step_by(2) {
        h.ack(s, *place, place + 1);
    }
    assert_eq!(h.info("g", "s").backlog, 10);
    h.pass_ms(2_000);
    assert_eq!(h.info("g", "s").backlog, 9, "one was too many");
}
