//! Dead letters.

use super::harness::{Harness, group};
use crate::log::{Entry, Snapshot};
use crate::relay::Input;
use crate::topology::settings::{Fifo, GroupSettings};
use crate::wire::body::{RefusalCode, Reply, Request, Start, SubscriptionSpec};
use crate::wire::frame::{AckKind, AckLevel};
use crate::wire::run::{Record, Records, RunKind};

fn with_dead_letters() -> (Harness, u32, u32) {
    let mut h = Harness::new();
    h.set("g", GroupSettings { dead_letter: Some("dead".into()), ..GroupSettings::default() });
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 1_000);
    (h, g, s)
}

/// What the dead-letter group holds, in order.
fn dead(h: &mut Harness) -> Vec<String> {
    let start = Start::Beginning;
    h.subscribe("dead", "all", SubscriptionSpec { start, ..SubscriptionSpec::default() });
    h.got.clear();
    let all = h.attach("dead", "all");
    h.credit(all, 1_000);
    h.payloads()
}

/// The group keeps what nobody has read yet.
fn keep_dead(h: &mut Harness) {
    h.subscribe("dead", "kept", SubscriptionSpec::default());
}

#[test]
fn all_that_die_together_are_buried_in_order() {
    let (mut h, g, s) = with_dead_letters();
    keep_dead(&mut h);
    for _ in 0..2 {
        h.got.clear();
        h.put(g, &["a", "b", "c", "d"]);
        let first = h.got[0].index;
        h.say(s, AckKind::Reject, first, first + 4, 0);
    }
    assert_eq!(dead(&mut h), ["a", "b", "c", "d", "a", "b", "c", "d"]);
    assert!(h.books().balanced);
}

#[test]
fn messages_that_die_in_any_order_are_all_buried() {
    let (mut h, g, s) = with_dead_letters();
    keep_dead(&mut h);
    let texts: Vec<String> = (0..400).map(|i| format!("{i:03}")).collect();
    h.put(g, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let first = h.got[0].index;
    // Every second one, from behind, then the others: as many gaps as there can be.
    for i in (0..400).rev().step_by(2).chain((0..400).step_by(2)) {
        h.say(s, AckKind::Reject, first + i, first + i + 1, 0);
    }
    let mut found = dead(&mut h);
    found.sort();
    assert_eq!(found, texts);
}

#[test]
fn p3_what_is_rejected_behind_what_waits_for_a_receiver_is_buried_at_once() {
    let (mut h, g, _) = with_dead_letters();
    keep_dead(&mut h);
    let s = h.attach("g", "s");
    h.credit(s, 3);
    h.put(g, &["a", "b", "c"]);
    let first = h.got[0].index;
    // What comes first is to be delivered again, and he has asked for no more.
    h.say(s, AckKind::Nack, first, first + 1, 0);
    h.say(s, AckKind::Reject, first + 1, first + 2, 0);
    assert_eq!(h.request(Request::Sync), Ok(Reply::Done));
    h.crash(&Snapshot::default());
    h.got.clear();
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a", "c"], "its end was confirmed");
    assert_eq!(dead(&mut h), ["b"]);
}

#[test]
fn a_crash_between_burial_and_cursor_buries_once() {
    let (mut h, g, s) = with_dead_letters();
    keep_dead(&mut h);
    h.put(g, &["a", "b"]);
    let first = h.got[0].index;
    h.say(s, AckKind::Reject, first, first + 2, 0);
    h.crash(&Snapshot::default());
    h.got.clear();
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["a", "b"], "the cursor was not written");
    h.say(s, AckKind::Reject, first, first + 2, 0);
    assert_eq!(dead(&mut h), ["a", "b"]);
}

/// What a crash has taken back is rejected again when somebody receives again, which may be much later.
#[test]
fn a_crash_between_burial_and_cursor_buries_once_also_when_it_comes_again_late() {
    let (mut h, g, s) = with_dead_letters();
    keep_dead(&mut h);
    h.put(g, &["a", "b"]);
    let first = h.got[0].index;
    h.say(s, AckKind::Reject, first, first + 1, 0);
    h.crash(&Snapshot::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.say(s, AckKind::Reject, first + 1, first + 2, 0);
    h.pass_ms(30 * 60 * 1000);
    h.credit(s, 1_000);
    h.say(s, AckKind::Reject, first, first + 1, 0);
    assert_eq!(dead(&mut h), ["a", "b"]);
}

#[test]
fn after_a_seek_back_a_message_may_die_again() {
    let (mut h, g, s) = with_dead_letters();
    keep_dead(&mut h);
    h.subscribe("g", "keeps", SubscriptionSpec::default());
    h.put(g, &["a"]);
    let first = h.got[0].index;
    h.say(s, AckKind::Reject, first, first + 1, 0);
    let seek = Request::SubscriptionSeek {
        group: group("g"),
        name: super::harness::sub("s"),
        start: Start::Beginning,
    };
    h.request(seek).unwrap();
    h.say(s, AckKind::Reject, first, first + 1, 0);
    assert_eq!(dead(&mut h), ["a", "a"]);
}

/// The last message that was put anywhere, with its headers as text.
fn last_message(h: &Harness) -> (Option<u64>, Vec<(String, String)>) {
    let data = h.log.iter().rev().find_map(|entry| match entry {
        Entry::Run(run) if run.run.header.kind == RunKind::Data => Some(run.run.body.clone()),
        Entry::Run(_) | Entry::State(_) => None,
    });
    let body = data.unwrap();
    let record = Records::new(&body).next().unwrap().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = record.headers().map(|(key, value)| (key.to_owned(), text(value))).collect();
    (record.ttl_ms, headers)
}

#[test]
fn a_dead_letter_says_what_it_was_and_why_it_died() {
    for (kind, reason, attempts) in [(AckKind::Reject, "rejected", "1"), (AckKind::Nack, "max-deliver", "3")]
    {
        let mut h = Harness::new();
        let settings = GroupSettings {
            dead_letter: Some("dead".into()),
            max_deliver: Some(3),
            ..GroupSettings::default()
        };
        h.set("g", settings);
        let g = h.open("g");
        let s = h.attach("g", "s");
        h.credit(s, 1_000);
        keep_dead(&mut h);
        h.put(g, &["before"]);
        let mut headers = bytes::BytesMut::new();
        Record::encode_header(&mut headers, "own", b"kept");
        let mut body = bytes::BytesMut::new();
        Record { payload: b"bad", ttl_ms: Some(60_000), headers: &headers, ..Record::default() }
            .encode(&mut body);
        h.put_with(g, body.freeze(), None, AckLevel::Accepted);
        let index = h.got[1].index;
        for _ in 0..attempts.parse().unwrap() {
            h.say(s, kind, index, index + 1, 0);
        }
        let (ttl_ms, headers) = last_message(&h);
        assert_eq!(ttl_ms, None, "what nobody could use does not vanish as well");
        let headers: Vec<_> = headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        // The first of the stream is the relay's own, the second the message before.
        let wanted = [
            ("own", "kept"),
            ("treecast-dead-reason", reason),
            ("treecast-dead-group", "g"),
            ("treecast-dead-subscription", "s"),
            ("treecast-dead-attempts", attempts),
            ("treecast-dead-sequence", "3"),
            ("treecast-dead-id", &format!("r@1.{:016x}:g:3", 1)),
        ];
        assert_eq!(headers, wanted);
    }
}

#[test]
fn the_reasons_fit_beside_headers_of_any_length() {
    let (mut h, g, s) = with_dead_letters();
    keep_dead(&mut h);
    let mut headers = bytes::BytesMut::new();
    Record::encode_header(&mut headers, "big", &vec![7; 65_500]);
    let mut body = bytes::BytesMut::new();
    Record { payload: b"bad", headers: &headers, ..Record::default() }.encode(&mut body);
    h.put_with(g, body.freeze(), None, AckLevel::Accepted);
    let first = h.got[0].index;
    h.say(s, AckKind::Reject, first, first + 1, 0);
    assert_eq!(dead(&mut h), ["bad"]);
    let last = h.log.iter().rev().find_map(|entry| match entry {
        Entry::Run(run) if run.run.header.kind == RunKind::Data => Some(run.run.body.clone()),
        Entry::Run(_) | Entry::State(_) => None,
    });
    let body = last.unwrap();
    let record = Records::new(&body).next().unwrap().unwrap();
    let text = String::from_utf8_lossy(record.headers);
    assert!(text.contains("treecast-dead-reason") && text.contains("treecast-dead-headers-dropped-bytes"));
}

#[test]
fn a_full_disk_takes_no_dead_letters_and_keeps_the_dead() {
    let (mut h, g, s) = with_dead_letters();
    keep_dead(&mut h);
    h.put(g, &["a", "b"]);
    let first = h.got[0].index;
    h.got.clear();
    h.input(Input::Room { free: false });
    let before = h.log.len();
    h.say(s, AckKind::Reject, first, first + 1, 0);
    h.pass_ms(5_000);
    let is_data = |entry: &Entry| matches!(entry, Entry::Run(run) if run.run.header.kind == RunKind::Data);
    assert!(!h.log[before..].iter().any(is_data));
    assert_eq!(h.info("g", "s").out.dead_lettered, 0);
    h.input(Input::Room { free: true });
    h.pass_ms(2_000);
    assert_eq!(h.info("g", "s").out.dead_lettered, 1);
    assert_eq!(dead(&mut h), ["a"]);
}

#[test]
fn dead_letters_that_would_come_back_are_refused() {
    let (mut h, _, _) = with_dead_letters();
    for (name, target) in [("dead", "g"), ("g", "g"), ("dead", "dead")] {
        h.open(name);
        let settings = GroupSettings { dead_letter: Some(target.into()), ..GroupSettings::default() };
        let refused = h.request(Request::GroupSet { group: group(name), settings });
        assert_eq!(refused.unwrap_err().code, RefusalCode::Invalid, "{name} -> {target}");
    }
    // One that is made later may close the circle too.
    let create = |h: &mut Harness, name, target: &str| {
        let settings = GroupSettings { dead_letter: Some(target.into()), ..GroupSettings::default() };
        h.request(Request::GroupCreate { group: group(name), settings, queue: false })
    };
    create(&mut h, "one", "two").unwrap();
    create(&mut h, "two", "three").unwrap();
    assert_eq!(create(&mut h, "three", "one").unwrap_err().code, RefusalCode::Invalid);
    create(&mut h, "three", "four").unwrap();
}

#[test]
fn messages_that_expire_while_they_wait_leave_nothing_behind() {
    let mut h = Harness::new();
    let settings = GroupSettings {
        dead_letter: Some("dead".into()),
        max_deliver: Some(2),
        backoff_ms: vec![5_000],
        ttl_ms: Some(2_000),
        ..GroupSettings::default()
    };
    h.set("g", settings);
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100_000);
    for _ in 0..2 {
        h.got.clear();
        let many = vec!["x"; 1_000];
        h.put(g, &many);
        let first = h.got[0].index;
        h.say(s, AckKind::Nack, first, first + 1_000, 0);
        h.pass_ms(10_000);
    }
    assert_eq!(h.info("g", "s").out.expired, 2_000);
    h.got.clear();
    // Failures are counted still, so a message that always fails dies.
    let mut body = bytes::BytesMut::new();
    Record { payload: b"bad", ttl_ms: Some(60_000), ..Record::default() }.encode(&mut body);
    h.put_with(g, body.freeze(), None, AckLevel::Accepted);
    let index = h.got[0].index;
    for _ in 0..2 {
        h.say(s, AckKind::Nack, index, index + 1, 0);
        h.pass_ms(6_000);
    }
    assert_eq!(h.info("g", "s").out.dead_lettered, 1);
}

#[test]
fn a_group_that_takes_dead_letters_does_not_keep_the_order_of_producers() {
    let (mut h, ..) = with_dead_letters();
    let by_producer = || GroupSettings { fifo: Fifo::Producer, ..GroupSettings::default() };
    let refused = |h: &mut Harness, body| {
        let refusal = h.request(body).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Invalid, "{refusal}");
        refusal.message
    };
    let create = Request::GroupCreate { group: group("dead"), settings: by_producer(), queue: false };
    assert!(refused(&mut h, create).starts_with("`dead` takes the dead letters of `g`"));
    h.set("dead", GroupSettings::default());
    let set = Request::GroupSet { group: group("dead"), settings: by_producer() };
    assert!(refused(&mut h, set).contains("leave it at origin"));
    h.set("ordered", by_producer());
    let settings = GroupSettings { dead_letter: Some("ordered".into()), ..GroupSettings::default() };
    let why = refused(&mut h, Request::GroupSet { group: group("g"), settings: settings.clone() });
    assert!(why.starts_with("`ordered` cannot take the dead letters of `g`"), "{why}");
    // As soon as nothing goes there it may.
    h.request(Request::GroupSet { group: group("g"), settings: GroupSettings::default() }).unwrap();
    h.request(Request::GroupSet { group: group("dead"), settings: by_producer() }).unwrap();
    h.request(Request::GroupSet { group: group("ordered"), settings: GroupSettings::default() }).unwrap();
    h.request(Request::GroupSet { group: group("g"), settings }).unwrap();
}
