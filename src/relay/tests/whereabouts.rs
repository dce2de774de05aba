//! Where a message is, and what became of it in each subscription of one relay.

use bytes::BytesMut;

use super::harness::{Harness, body, group, sub};
use crate::id::{Index, RelayId, Sequence};
use crate::limits;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{
    Answer, Fate, GapCause, MessageName, Over, RefusalCode, RelayTrace, Reply, Request, Sighting,
    SubscriptionSpec,
};
use crate::wire::frame::{AckKind, AckLevel};
use crate::wire::link::{AskWhere, LinkMessage};
use crate::wire::run::Record;

/// A message of `g`, put in the first boot.
fn name(sequence: u64) -> MessageName {
    let origin = RelayId::new("r").unwrap();
    MessageName { group: group("g"), origin, boot: 1, nonce: 1, sequence: Sequence(sequence) }
}

fn ask(h: &mut Harness, message: MessageName) -> Answer {
    h.request(Request::Where { message, local: false, within_ms: None })
}

fn trace(h: &mut Harness, sequence: u64) -> RelayTrace {
    match ask(h, name(sequence)) {
        Ok(Reply::Where(mut found)) => found.relays.remove(0),
        other => panic!("{other:?}"),
    }
}

fn fate(h: &mut Harness, subscription: &str, sequence: u64) -> Fate {
    let trace = trace(h, sequence);
    let said = trace.subscriptions.iter().find(|said| said.name == sub(subscription));
    said.unwrap_or_else(|| panic!("{trace:?}")).fate.clone()
}

fn put_on(h: &mut Harness, subject: &str) {
    let handle = h.open("g");
    let mut records = BytesMut::new();
    Record { subject: Some(subject), payload: b"p", ..Record::default() }.encode(&mut records);
    h.put_with(handle, records.freeze(), None, AckLevel::Accepted);
}

/// A relay with subscription `s` of `g`, which has messages 2 to 5: the first record is the stream's own.
fn with_four() -> Harness {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let g = h.open("g");
    h.put(g, &["a", "b"]);
    h.put(g, &["c", "d"]);
    h
}

#[test]
fn a_message_that_waits_says_how_many_wait_before_it() {
    let mut h = with_four();
    assert_eq!(fate(&mut h, "s", 2), Fate::Pending { ahead: 0 });
    assert_eq!(fate(&mut h, "s", 5), Fate::Pending { ahead: 3 });
    let held = trace(&mut h, 5);
    assert_eq!(held.sighting, Sighting::Held { index: Index(5) });
    let arrived = held.arrived.unwrap();
    assert_eq!((arrived.over, arrived.from, arrived.to), (Over::Here, h.now.wall, h.now.wall));
    assert_eq!(held.accepted, Some(h.now.wall));
}

#[test]
fn a_message_in_hand_a_nacked_and_an_acked_one_are_told_apart() {
    let mut h = with_four();
    h.subscribe("g", "slow", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 3);
    assert_eq!(fate(&mut h, "s", 4), Fate::InFlight);
    assert_eq!(fate(&mut h, "s", 5), Fate::Pending { ahead: 3 });
    h.ack(s, 2, 3);
    h.say(s, AckKind::Nack, 3, 4, 2000);
    assert!(matches!(fate(&mut h, "s", 2), Fate::Acked | Fate::Done));
    assert_eq!(fate(&mut h, "s", 3), Fate::Again { attempts: 1, due_ms: 2000 });
    h.pass_ms(500);
    assert_eq!(fate(&mut h, "s", 3), Fate::Again { attempts: 1, due_ms: 1500 });
    assert_eq!(fate(&mut h, "s", 5), Fate::Pending { ahead: 2 });
    assert_eq!(fate(&mut h, "slow", 2), Fate::BeforeStart);
}

#[test]
fn what_a_filter_holds_back_and_what_is_too_old_is_said_before_it_is_passed_over() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { ttl_ms: Some(1000), ..GroupSettings::default() });
    h.subscribe("g", "all", SubscriptionSpec::default());
    let eu = SubscriptionSpec { filter: Some("eu/#".to_owned()), ..SubscriptionSpec::default() };
    h.subscribe("g", "eu", eu);
    put_on(&mut h, "us/ny");
    put_on(&mut h, "eu/rome");
    assert_eq!(fate(&mut h, "eu", 2), Fate::Filtered);
    assert_eq!(fate(&mut h, "eu", 3), Fate::Pending { ahead: 1 });
    assert_eq!(fate(&mut h, "all", 2), Fate::Pending { ahead: 0 });
    h.pass_ms(1500);
    assert_eq!(fate(&mut h, "all", 3), Fate::Expired);
}

#[test]
fn a_message_that_a_limit_has_dropped_says_which() {
    let mut h = with_four();
    h.set("g", GroupSettings { max_count: Some(2), ..GroupSettings::default() });
    assert_eq!(fate(&mut h, "s", 4), Fate::Pending { ahead: 0 });
    let mut h = with_four();
    h.subscribe("g", "keeps", SubscriptionSpec::default());
    let keep = GroupSettings {
        subscription_quota_count: Some(2),
        subscription_policy: crate::topology::settings::SubscriptionPolicy::DropOldest,
        history_count: Some(100),
        ..GroupSettings::default()
    };
    h.set("g", keep);
    assert_eq!(fate(&mut h, "s", 2), Fate::Dropped(GapCause::SubscriptionQuota));
}

#[test]
fn what_is_no_message_is_said_to_be_none() {
    let mut h = with_four();
    assert_eq!(trace(&mut h, 1).sighting, Sighting::OwnRecord);
    assert_eq!(trace(&mut h, 1).subscriptions, []);
    assert_eq!(trace(&mut h, 6).sighting, Sighting::NotYet { last: Sequence(5) });
    assert_eq!(trace(&mut h, u64::MAX).sighting, Sighting::NotYet { last: Sequence(5) });
    let sighting = |h: &mut Harness, message| match ask(h, message) {
        Ok(Reply::Where(found)) => found.relays[0].sighting,
        other => panic!("{other:?}"),
    };
    assert_eq!(sighting(&mut h, MessageName { nonce: 2, ..name(2) }), Sighting::NoStream);
    assert_eq!(sighting(&mut h, MessageName { group: group("h"), ..name(2) }), Sighting::NoGroup);
    h.request(Request::GroupRemove { group: group("g") }).unwrap();
    assert_eq!(sighting(&mut h, name(2)), Sighting::Removed);
    assert_eq!(ask(&mut h, name(0)).unwrap_err().code, RefusalCode::Invalid);
}

#[test]
fn what_is_not_on_disk_yet_is_said_not_to_be() {
    let mut h = with_four();
    let g = h.open("g");
    h.auto_sync = false;
    h.put(g, &["e"]);
    assert_eq!(trace(&mut h, 6).sighting, Sighting::Unsynced);
    h.sync();
    assert_eq!(trace(&mut h, 6).sighting, Sighting::Held { index: Index(6) });
}

#[test]
fn questions_are_bounded_and_go_with_their_session() {
    let mut h = with_four();
    h.hold_fetches = true;
    let question = || Request::Where { message: name(2), local: true, within_ms: None };
    for _ in 0..limits::QUESTIONS_MAX {
        h.ask(question());
    }
    assert_eq!(h.request(question()).unwrap_err().code, RefusalCode::Limit);
    h.input(super::super::Input::SessionClosed { session: super::harness::SESSION });
    h.input(super::super::Input::SessionOpened { session: super::harness::SESSION });
    h.pass_ms(limits::WHERE_MS_MAX + 1000);
    h.hold_fetches = false;
    let g = h.open("g");
    h.put(g, &["e"]);
    assert_eq!(trace(&mut h, 6).sighting, Sighting::Held { index: Index(6) });
}

#[test]
fn an_answer_that_the_disk_does_not_give_is_not_waited_for() {
    let mut h = with_four();
    h.hold_fetches = true;
    let request = h.ask(Request::Where { message: name(2), local: false, within_ms: Some(300) });
    h.pass_ms(299);
    assert!(!h.answers.contains_key(&request));
    h.pass_ms(2);
    let Some(Ok(Reply::Where(found))) = h.answers.remove(&request) else { panic!("no answer") };
    assert_eq!((found.relays.len(), found.silent.len()), (0, 1));
    assert_eq!(found.silent[0].relay.as_str(), "r");
}

#[test]
fn subscriptions_that_do_not_fit_into_an_answer_are_counted() {
    let mut h = Harness::new();
    let g = h.open("g");
    for number in 0..1000 {
        h.subscribe("g", &format!("{}{number}", "s".repeat(200)), SubscriptionSpec::default());
    }
    h.put_with(g, body(&["a"]), None, AckLevel::Accepted);
    let trace = trace(&mut h, 2);
    assert!(trace.left_off > 0);
    assert_eq!(trace.subscriptions.len() + trace.left_off as usize, 1000);
    let answer: Answer = Ok(Reply::Where(Box::new(crate::wire::body::Whereabouts {
        message: name(2),
        here: trace.relay.clone(),
        relays: vec![trace; 16],
        unaware: 0,
        silent: Vec::new(),
        left_off: 0,
    })));
    assert!(crate::wire::body::encode(&answer).len() < limits::CONTROL_BYTES_MAX);
}

#[test]
fn a_neighbour_that_asks_for_others_and_for_itself_is_told_nothing() {
    let mut h = Harness::linked();
    let stranger = RelayId::new("stranger").unwrap();
    for (asker, to) in [(stranger.clone(), vec![stranger]), (RelayId::new("r").unwrap(), Vec::new())] {
        h.said.clear();
        h.hear(LinkMessage::AskWhere(AskWhere { question: 1, asker, message: name(1), to, hops: 9 }));
        assert_eq!(h.said, []);
    }
}
