use super::harness::{Got, Harness, SESSION, group, sub};
use crate::id::{SessionId, WallTime};
use crate::relay::Input;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Notice, RefusalCode, Reply, Request, Start, SubscriptionSpec};
use crate::wire::frame::{AckKind, AckLevel, Credit};
use crate::wire::run::Record;

fn live(h: &mut Harness, credit: u64) -> (u32, u32) {
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, credit);
    (g, s)
}

#[test]
fn messages_come_in_order_and_once() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 100);
    for i in 0..10 {
        h.put(g, &[&format!("{i}a"), &format!("{i}b")]);
    }
    let last = h.got.last().unwrap().index;
    let expected: Vec<String> = (0..10).flat_map(|i| [format!("{i}a"), format!("{i}b")]).collect();
    assert_eq!(h.payloads(), expected);
    h.ack(s, 1, last + 1);
    assert_eq!(h.info("g", "s").backlog, 0);
    h.pass_ms(60_000);
    assert!(h.got.is_empty());
}

#[test]
fn credit_is_exact_even_inside_a_run() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 2);
    h.put(g, &["a", "b", "c", "d"]);
    assert_eq!(h.payloads(), ["a", "b"]);
    h.credit(s, 3);
    assert_eq!(h.payloads(), ["c"]);
    h.credit(s, 3);
    assert_eq!(h.payloads(), Vec::<String>::new());
}

#[test]
fn f44_a_full_window_pauses_delivery_until_the_floor_moves() {
    let mut h = Harness::new();
    let spec = SubscriptionSpec { window: Some(3), ..SubscriptionSpec::default() };
    h.subscribe("g", "s", spec);
    let (g, s) = live(&mut h, 100);
    h.put(g, &["a", "b", "c", "d", "e"]);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    let first = h.heads[0].first_index.0;
    h.ack(s, first + 1, first + 2);
    assert_eq!(h.payloads(), Vec::<String>::new());
    h.ack(s, first, first + 1);
    assert_eq!(h.payloads(), ["d", "e"]);
    let all = h.info("g", "s");
    assert_eq!(all.inserted, all.backlog + all.out.total());
}

#[test]
fn f43_acks_twice_unknown_and_of_the_future_change_nothing() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 1);
    h.put(g, &["a", "b"]);
    h.ack(s, 1, u64::MAX);
    h.ack(s, 1, 5);
    h.ack(77, 1, 5);
    assert_eq!(h.info("g", "s").backlog, 1);
    h.credit(s, 2);
    assert_eq!(h.payloads(), ["a", "b"]);
}

#[test]
fn an_overdue_ack_means_another_delivery() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 100);
    h.put(g, &["a"]);
    h.pass_ms(29_000);
    assert_eq!(h.got.len(), 1);
    h.pass_ms(2_000);
    assert_eq!(h.got.iter().map(|g| g.attempt).collect::<Vec<_>>(), [1, 2]);
    let index = h.got[0].index;
    h.ack(s, index, index + 1);
    h.pass_ms(60_000);
    assert_eq!(h.got.len(), 2);
}

#[test]
fn progress_begins_the_wait_anew() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 100);
    h.put(g, &["a"]);
    let index = h.got[0].index;
    for _ in 0..5 {
        h.pass_ms(20_000);
        h.say(s, AckKind::Progress, index, index + 1, 0);
    }
    assert_eq!(h.got.len(), 1);
    h.pass_ms(31_000);
    assert_eq!(h.got.len(), 2);
}

#[test]
fn a_nack_is_delivered_again_after_its_delay_and_others_do_not_wait() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 100);
    h.put(g, &["a", "b"]);
    let index = h.got[0].index;
    h.say(s, AckKind::Nack, index, index + 1, 5_000);
    h.put(g, &["c"]);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    assert_eq!(h.info("g", "s").parked, 1);
    h.pass_ms(6_000);
    assert_eq!(h.got, [Got { handle: s, index, attempt: 2, payload: "a".into() }]);
    h.say(s, AckKind::Nack, index, index + 1, 0);
    assert_eq!(h.got.last().unwrap().attempt, 3);
}

#[test]
fn a_nack_of_more_messages_than_are_counted_is_delayed_all_the_same() {
    let mut h = Harness::new();
    let g = h.open("g");
    let window = Some(5000);
    h.subscribe("g", "s", SubscriptionSpec { window, ..SubscriptionSpec::default() });
    let s = h.attach("g", "s");
    h.credit(s, 1_000_000);
    h.put(g, &vec!["x"; 2000]);
    assert_eq!(h.payloads().len(), 2000);
    let first = h.info("g", "s").floor.0;
    h.say(s, AckKind::Nack, 1, 5000, 10_000);
    h.pass_ms(9_000);
    assert_eq!(h.payloads().len(), 0, "the delay has not passed");
    assert_eq!(h.info("g", "s").parked, 2000);
    h.ack(s, first + 1500, first + 1600);
    h.pass_ms(2_000);
    assert_eq!(h.payloads().len(), 1900, "all but those that were acked after all");
    h.ack(s, 1, 5000);
    assert_eq!((h.info("g", "s").backlog, h.info("g", "s").parked), (0, 0));
}

#[test]
fn after_too_many_deliveries_a_message_goes_to_the_dead_letter_group_with_the_reason() {
    let mut h = Harness::new();
    let settings = GroupSettings {
        max_deliver: Some(2),
        backoff_ms: vec![10, 20],
        dead_letter: Some("dead".into()),
        ..GroupSettings::default()
    };
    h.set("g", settings);
    let (g, s) = live(&mut h, 100);
    let d = h.attach("dead", "d");
    h.credit(d, 10);
    h.put(g, &["bad", "good"]);
    let index = h.got[0].index;
    h.say(s, AckKind::Nack, index, index + 1, 0);
    h.pass_ms(15);
    h.say(s, AckKind::Nack, index, index + 1, 0);
    let dead: Vec<_> = h.got.iter().filter(|g| g.handle == d).collect();
    assert_eq!(dead.len(), 1, "{:?}", h.got);
    assert_eq!(dead[0].payload, "bad");
    assert_eq!(h.got.iter().filter(|g| g.handle == s && g.payload == "bad").count(), 2);
    assert_eq!(h.info("g", "s").out.dead_lettered, 1);
    assert!(h.books().balanced);
}

#[test]
fn a_rejected_message_is_dead_at_once() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { dead_letter: Some("dead".into()), ..GroupSettings::default() });
    let (g, s) = live(&mut h, 100);
    h.put(g, &["bad"]);
    let index = h.got[0].index;
    h.say(s, AckKind::Reject, index, index + 1, 0);
    assert_eq!(h.info("g", "s").out.dead_lettered, 1);
    assert_eq!(h.info("g", "s").backlog, 0);
}

#[test]
fn what_a_lost_session_had_comes_again() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 100);
    h.put(g, &["a", "b", "c"]);
    let first = h.got[0].index;
    h.ack(s, first + 1, first + 2);
    h.input(Input::SessionClosed { session: SESSION });
    h.input(Input::SessionOpened { session: SESSION });
    h.got.clear();
    let s = h.attach("g", "s");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["a", "c"]);
}

#[test]
fn competing_receivers_share_one_backlog_and_inherit_from_the_dead() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec { shared: true, ..SubscriptionSpec::default() });
    let g = h.open("g");
    let (one, two) = (h.attach("g", "s"), h.attach("g", "s"));
    h.credit(one, 5);
    h.credit(two, 5);
    for i in 0..8 {
        h.put(g, &[&format!("{i}")]);
    }
    let mut all: Vec<String> = h.got.iter().map(|g| g.payload.clone()).collect();
    all.sort();
    assert_eq!(all, (0..8).map(|i| i.to_string()).collect::<Vec<_>>());
    assert!(h.got.iter().any(|g| g.handle == one) && h.got.iter().any(|g| g.handle == two));
    let orphaned: Vec<String> = h.got.iter().filter(|g| g.handle == one).map(|g| g.payload.clone()).collect();
    h.got.clear();
    assert_eq!(h.request(Request::Detach { handle: one }), Ok(Reply::Done));
    h.credit(two, 100);
    assert_eq!(h.payloads(), orphaned);
}

#[test]
fn an_exclusive_subscription_goes_to_the_newest_receiver() {
    let mut h = Harness::new();
    let (g, _) = live(&mut h, 100);
    let other = SessionId(2);
    h.input(Input::SessionOpened { session: other });
    let attach = Request::Attach { group: group("g"), name: Some(sub("s")), create: None };
    h.input(Input::Request { session: other, request: 900, body: Box::new(attach) });
    let told = h
        .notices
        .iter()
        .any(|n| matches!(n, Notice::Detached { refusal, .. } if refusal.code == RefusalCode::Exists));
    assert!(told);
    h.put(g, &["a"]);
    assert!(h.got.is_empty());
}

/// The client library relies on nothing else: its tests play this order.
#[test]
fn a_receiver_may_be_told_that_it_was_taken_over_before_its_attach_is_answered() {
    let mut h = Harness::new();
    let (g, _) = live(&mut h, 100);
    h.auto_sync = false;
    h.put(g, &["a"]);
    h.notices.clear();
    let attach = || Request::Attach { group: group("g"), name: Some(sub("s")), create: None };
    let (first, second) = (h.ask(attach()), h.ask(attach()));
    let told: Vec<u32> = h
        .notices
        .iter()
        .filter_map(|n| if let Notice::Detached { handle, .. } = n { Some(*handle) } else { None })
        .collect();
    assert!(h.answers.is_empty(), "the put is not durable");
    h.sync();
    let mut handle = |request| match h.answers.remove(&request) {
        Some(Ok(Reply::SubscriptionHandle { handle, .. })) => handle,
        other => panic!("{other:?}"),
    };
    assert_eq!(told.last(), Some(&handle(first)));
    assert!(!told.contains(&handle(second)));
}

/// What the application says before it has heard that its handle is gone is about what was there.
#[test]
fn an_ack_for_a_receiver_that_is_gone_is_not_taken_for_one_of_the_next() {
    for removes in [false, true] {
        let mut h = Harness::new();
        h.subscribe("other", "t", SubscriptionSpec::default());
        let elsewhere = h.open("other");
        h.put(elsewhere, &["a", "b", "c"]);
        let before = h.attach("other", "t");
        h.credit(before, 3);
        assert_eq!(h.request(Request::Detach { handle: before }), Ok(Reply::Done));
        let (g, mine) = live(&mut h, 100);
        h.put(g, &["x"]);
        h.got.clear();
        // Somebody takes it over, or removes it, while this session asks for another one.
        let other = SessionId(2);
        h.input(Input::SessionOpened { session: other });
        let (in_group, name) = (group("g"), sub("s"));
        let body = match removes {
            true => Request::SubscriptionRemove { group: in_group, name },
            false => Request::Attach { group: in_group, name: Some(name), create: None },
        };
        h.input(Input::Request { session: other, request: 900, body: Box::new(body) });
        let next = h.attach("other", "t");
        h.ack(mine, 0, 10);
        h.credit(next, 100);
        assert_eq!(h.payloads(), ["a", "b", "c"], "removed: {removes}");
    }
}

#[test]
fn a_poll_is_answered_at_once_with_what_is_there() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let g = h.open("g");
    let s = h.attach("g", "s");
    assert_eq!(h.request(Request::Poll { handle: s, messages: 5 }), Ok(Reply::Polled { messages: 0 }));
    h.put(g, &["a", "b", "c"]);
    assert_eq!(h.request(Request::Poll { handle: s, messages: 2 }), Ok(Reply::Polled { messages: 2 }));
    assert_eq!(h.request(Request::Poll { handle: s, messages: 2 }), Ok(Reply::Polled { messages: 1 }));
    assert_eq!(h.payloads(), ["a", "b", "c"]);
}

#[test]
fn a_poll_is_answered_though_its_receiver_goes_while_the_disk_works() {
    let poll = |h: &mut Harness, request, handle| {
        let body = Box::new(Request::Poll { handle, messages: 5 });
        h.input(Input::Request { session: SESSION, request, body });
        assert!(!h.answers.contains_key(&request), "the backlog was not read yet");
    };
    let mut h = Harness::new();
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.put(g, &["a"]);
    h.hold_fetches = true;
    poll(&mut h, 901, s);
    assert_eq!(h.request(Request::Detach { handle: s }), Ok(Reply::Done));
    let s = h.attach("g", "s");
    poll(&mut h, 902, s);
    let s = h.attach("g", "s");
    poll(&mut h, 903, s);
    let remove = Request::SubscriptionRemove { group: group("g"), name: sub("s") };
    assert_eq!(h.request(remove), Ok(Reply::Done));
    for request in 901..=903 {
        assert_eq!(h.answers.get(&request), Some(&Ok(Reply::Polled { messages: 0 })), "{request}");
    }
}

#[test]
fn a_filter_passes_over_what_is_not_wanted() {
    let mut h = Harness::new();
    let spec = SubscriptionSpec { filter: Some("a/+".into()), ..SubscriptionSpec::default() };
    h.subscribe("g", "s", spec);
    let (g, s) = live(&mut h, 100);
    let mut records = bytes::BytesMut::new();
    for subject in ["a/1", "b/1", "a/2", "a/2/3", "a/3"] {
        Record { subject: Some(subject), payload: subject.as_bytes(), ..Record::default() }
            .encode(&mut records);
    }
    h.put_with(g, records.freeze(), None, AckLevel::Accepted);
    assert_eq!(h.payloads(), ["a/1", "a/2", "a/3"]);
    h.ack(s, 1, 100);
    let info = h.info("g", "s");
    // The relay's own record, which begins the stream, is passed over whatever the filter is.
    assert_eq!((info.backlog, info.out.acked, info.out.filtered, info.out.passed), (0, 3, 2, 1));
    h.request(Request::Sync).unwrap();
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    assert_eq!(h.info("g", "s").out, info.out, "a snapshot keeps them apart");
}

#[test]
fn r14_what_is_past_its_time_to_live_is_not_delivered() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let g = h.open("g");
    let mut records = bytes::BytesMut::new();
    Record { ttl_ms: Some(1_000), payload: b"short", ..Record::default() }.encode(&mut records);
    Record { ttl_ms: Some(9_000), payload: b"long", ..Record::default() }.encode(&mut records);
    h.put_with(g, records.freeze(), None, AckLevel::Accepted);
    h.pass_ms(2_000);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["long"]);
    assert_eq!(h.info("g", "s").out.expired, 1);
}

#[test]
fn s44_a_clock_that_goes_back_expires_nothing() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { ttl_ms: Some(1_000), ..GroupSettings::default() });
    h.subscribe("g", "s", SubscriptionSpec::default());
    let g = h.open("g");
    h.put(g, &["a"]);
    h.now.wall.0 -= 900_000_000;
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a"]);
}

#[test]
fn a_subscription_starts_where_it_was_told() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { history_count: Some(100), ..GroupSettings::default() });
    let g = h.open("g");
    h.put(g, &["a"]);
    h.pass_ms(10_000);
    let middle = h.now.wall;
    h.put(g, &["b"]);
    let spec = |start| SubscriptionSpec { start, ..SubscriptionSpec::default() };
    h.subscribe("g", "beginning", spec(Start::Beginning));
    h.subscribe("g", "time", spec(Start::Time(middle)));
    h.subscribe("g", "now", spec(Start::Now));
    h.put(g, &["c"]);
    for (name, expected) in [("beginning", vec!["a", "b", "c"]), ("time", vec!["b", "c"]), ("now", vec!["c"])]
    {
        let s = h.attach("g", name);
        h.credit(s, 10);
        assert_eq!(h.payloads(), expected, "{name}");
    }
    assert!(h.books().balanced);
}

#[test]
fn p05_a_start_by_time_gets_what_arrived_then_or_later_and_nothing_else() {
    // Few runs, of which every one has its sample, and more than there are samples.
    for runs in [5, 300] {
        let mut h = Harness::new();
        h.set("g", GroupSettings { history_count: Some(10_000), ..GroupSettings::default() });
        let g = h.open("g");
        // Before there is anything: nothing of its own stands behind the last message.
        let sought = h.attach("g", "sought");
        let mut all = Vec::new();
        for run in 0..runs {
            // Two come at the same moment.
            for payload in [format!("{run} one"), format!("{run} two")] {
                h.put(g, &[&payload]);
                all.push((h.now.wall, payload));
            }
            h.pass_ms(1 + run % 3);
        }
        h.credit(sought, 1_000_000);
        h.payloads();
        let moments: Vec<u64> =
            all.iter().rev().map(|(at, _)| at.0).step_by(2 * (runs as usize / 5)).collect();
        for time in moments.into_iter().flat_map(|at| [at - 1, at, at + 1]).map(WallTime) {
            let wanted: Vec<_> = all.iter().filter(|(at, _)| *at >= time).map(|(_, p)| p.clone()).collect();
            let start = Start::Time(time);
            let name = format!("s{}", time.0);
            h.subscribe("g", &name, SubscriptionSpec { start: start.clone(), ..SubscriptionSpec::default() });
            let request = Request::SubscriptionSeek { group: group("g"), name: sub("sought"), start };
            assert_eq!(h.request(request), Ok(Reply::Done));
            assert_eq!(h.payloads(), wanted, "sought at {time:?} of {runs}");
            let s = h.attach("g", &name);
            h.credit(s, 10_000);
            assert_eq!(h.payloads(), wanted, "from {time:?} of {runs}");
        }
    }
}

#[test]
fn p05_a_start_by_a_time_before_all_that_is_kept_is_one_at_its_beginning() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { history_count: Some(3), ..GroupSettings::default() });
    let g = h.open("g");
    for payload in ["a", "b", "c", "d", "e", "f"] {
        h.put(g, &[payload]);
        h.pass_ms(10);
    }
    h.pass_ms(60_000);
    let start = |start| SubscriptionSpec { start, ..SubscriptionSpec::default() };
    h.subscribe("g", "beginning", start(Start::Beginning));
    h.subscribe("g", "time", start(Start::Time(WallTime(1))));
    for name in ["beginning", "time"] {
        let s = h.attach("g", name);
        h.credit(s, 10);
        assert_eq!(h.payloads(), ["d", "e", "f"], "{name}");
    }
}

#[test]
fn a_seek_goes_back_and_forth_and_the_books_still_balance() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { history_count: Some(100), ..GroupSettings::default() });
    let (g, s) = live(&mut h, 100);
    h.put(g, &["a", "b", "c", "d"]);
    let first = h.got[0].index;
    h.ack(s, first, first + 1);
    h.ack(s, first + 2, first + 3);
    h.payloads();
    let seek = |start| Request::SubscriptionSeek { group: group("g"), name: sub("s"), start };
    assert_eq!(h.request(seek(Start::Beginning)), Ok(Reply::Done));
    assert_eq!(h.payloads(), ["a", "b", "c", "d"]);
    assert!(h.books().balanced, "{:?}", h.books());
    assert_eq!(h.request(seek(Start::Now)), Ok(Reply::Done));
    let info = h.info("g", "s");
    assert_eq!((info.backlog, info.out.skipped), (0, 4), "the relay's own record is passed over: {info:?}");
    assert!(h.books().balanced, "{:?}", h.books());
}

#[test]
fn after_a_seek_nothing_comes_for_what_was_on_its_way_before() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 100);
    h.subscribe("g", "keeps", SubscriptionSpec::default());
    h.put(g, &["a", "b", "c"]);
    let first = h.got[0].index;
    h.say(s, AckKind::Nack, first + 1, first + 2, 25_000);
    h.pass_ms(20_000);
    h.payloads();
    let seek = |start| Request::SubscriptionSeek { group: group("g"), name: sub("s"), start };
    assert_eq!(h.request(seek(Start::Index(crate::id::Index(first)))), Ok(Reply::Done));
    assert_eq!(h.got.iter().map(|got| got.attempt).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!((h.info("g", "s").in_flight, h.info("g", "s").parked), (3, 0));
    h.payloads();
    // Past the wait for the old ack and the old delay, before the wait for the new acks.
    h.pass_ms(25_000);
    assert_eq!(h.payloads(), Vec::<String>::new());
    h.pass_ms(6_000);
    assert_eq!(h.payloads(), ["a", "b", "c"], "nobody has acked them");
    assert!(h.books().balanced);
}

#[test]
fn subscriptions_on_one_slow_connection_take_turns() {
    const SUBSCRIPTIONS: usize = 12;
    const MESSAGES: usize = 600;
    let mut h = Harness::new();
    let g = h.open("g");
    h.runs_per_read = MESSAGES;
    let handles: Vec<u32> = (0..SUBSCRIPTIONS).map(|i| h.attach("g", &format!("s{i}"))).collect();
    let payload = "x".repeat(64 * 1024);
    for _ in 0..MESSAGES {
        h.put(g, &[&payload]);
    }
    h.auto_write = false;
    for handle in &handles {
        h.credit(*handle, MESSAGES as u64);
    }
    // What fits into the connection is written, and written, and what comes is acked at once.
    let mut rounds = 0;
    let mut counts = vec![0_usize; SUBSCRIPTIONS];
    while counts.iter().sum::<usize>() < SUBSCRIPTIONS * MESSAGES {
        for got in std::mem::take(&mut h.got) {
            let place = handles.iter().position(|handle| *handle == got.handle).unwrap();
            counts[place] += 1;
            h.ack(got.handle, got.index, got.index + 1);
        }
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        // A turn of 64 fills the connection. At first one has read ahead of the others, then all alternate.
        assert!(most - least <= 6 * 64, "after {rounds} rounds: {counts:?}");
        h.input(Input::Written { session: SESSION, total: u64::MAX });
        rounds += 1;
        assert!(rounds < 10_000, "{counts:?}");
    }
}

#[test]
fn what_a_connection_does_not_take_waits_in_the_log() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 0);
    let payload = "x".repeat(64 * 1024);
    for _ in 0..200 {
        h.put(g, &[&payload]);
    }
    h.auto_write = false;
    h.credit(s, 200);
    let most = crate::limits::SESSION_OUT_BYTES_MAX / payload.len() + 1;
    assert!(h.got.len() <= most, "{} messages are on their way, {most} may be", h.got.len());
    let before = h.got.len();
    h.pass_ms(10_000);
    assert_eq!(h.got.len(), before);
    h.input(Input::Written { session: SESSION, total: u64::MAX });
    assert!(h.got.len() > before && h.got.len() <= 2 * most, "{before}, then {}", h.got.len());
}

/// Everything that a receiver can say, of every index that there may be.
fn say_all(h: &mut Harness, handle: u32) {
    for kind in [AckKind::Ack, AckKind::Nack, AckKind::Reject, AckKind::Progress] {
        h.say(handle, kind, 1, u64::MAX, 0);
        h.say(handle, kind, 3, 2, 5);
    }
    h.credit(handle, 1_000);
}

#[test]
fn f43_what_is_said_after_a_detach_changes_nothing() {
    let mut h = Harness::new();
    let (g, s) = live(&mut h, 100);
    h.put(g, &["a", "b", "c"]);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    assert_eq!(h.request(Request::Detach { handle: s }), Ok(Reply::Done));
    let before = h.info("g", "s");
    say_all(&mut h, s);
    h.pass_ms(60_000);
    assert_eq!(h.info("g", "s"), before);
    assert_eq!((before.backlog, h.payloads().len()), (3, 0));
    let s = h.attach("g", "s");
    h.credit(s, 100);
    assert_eq!(h.payloads(), ["a", "b", "c"]);
    assert!(h.books().balanced);
}

#[test]
fn f43_a_handle_of_a_removed_subscription_says_nothing_of_the_new_one() {
    let mut h = Harness::new();
    let (g, old) = live(&mut h, 100);
    h.put(g, &["a", "b", "c"]);
    h.payloads();
    let remove = Request::SubscriptionRemove { group: group("g"), name: sub("s") };
    assert_eq!(h.request(remove), Ok(Reply::Done));
    h.subscribe("g", "s", SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() });
    h.put(g, &["d", "e"]);
    let before = h.info("g", "s");
    say_all(&mut h, old);
    h.pass_ms(60_000);
    assert_eq!(h.info("g", "s"), before);
    let held = before.backlog;
    assert!(held >= 2, "{before:?}");
    // Nor when there is a receiver again: its handle is another one.
    let new = h.attach("g", "s");
    assert_ne!(new, old);
    h.credit(new, 100);
    assert_eq!(h.payloads().len() as u64, held);
    say_all(&mut h, old);
    assert_eq!(h.info("g", "s").backlog, held);
    h.ack(new, 1, 100);
    assert_eq!(h.info("g", "s").backlog, 0);
    assert!(h.books().balanced);
}

#[test]
fn a_competitor_that_reads_again_does_not_wait_for_one_that_reads_nothing() {
    let payload = "x".repeat(64 * 1024);
    for reads in [SessionId(2), SessionId(3)] {
        let mut h = Harness::new();
        h.subscribe("g", "s", SubscriptionSpec { shared: true, ..SubscriptionSpec::default() });
        let g = h.open("g");
        h.auto_write = false;
        for session in [SessionId(2), SessionId(3)] {
            h.input(Input::SessionOpened { session });
            let body = Request::Attach { group: group("g"), name: Some(sub("s")), create: None };
            let request = 900 + session.0;
            h.input(Input::Request { session, request, body: Box::new(body) });
            let Some(Ok(Reply::SubscriptionHandle { handle, .. })) = h.answers.remove(&request) else {
                panic!()
            };
            h.input(Input::Credit { session, credits: vec![Credit { handle, total: 1_000 }] });
        }
        for _ in 0..200 {
            h.put(g, &[&payload]);
        }
        let before = h.got.len();
        assert!(before < 200, "both are full");
        h.input(Input::Written { session: reads, total: u64::MAX });
        assert!(h.got.len() > before, "session {} has read all and is given nothing", reads.0);
    }
}
