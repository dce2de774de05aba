//! Where a message is, and what became of it in each subscription of one relay.

use bytes::BytesMut;

use super::harness::{Harness, body, group, sub};
use super::links::Theirs;
use super::topology::{entry, text};
use crate::id::{GroupNumber, Index, LinkId, RelayId, Sequence, StorageId, WallTime};
use crate::limits;
use crate::log::Snapshot;
use crate::relay::{Input, Now, Relay};
use crate::topology::settings::GroupSettings;
use crate::wire::body::{
    Answer, DeadReason, Fate, GapCause, MessageName, Over, OwnKind, RefusalCode, RelayTrace, Reply, Request,
    Sighting, Start, SubscriptionSpec,
};
use crate::wire::frame::{AckKind, AckLevel};
use crate::wire::link::{
    Advertised, AskWhere, Fact, GroupId, LinkMessage, LinkState, Membership, NameEntry, ToldWhere, Version,
};
use crate::wire::run::{Record, RunKind};

/// A message of `g`, put in the first boot.
fn name(sequence: u64) -> MessageName {
    let origin = RelayId::new("r").unwrap();
    MessageName { group: group("g"), origin, boot: 1, nonce: 1, sequence: Sequence(sequence) }
}

fn ask(h: &mut Harness, message: MessageName) -> Answer {
    h.request(Request::Where { message, local: false, within_ms: None })
}

pub(super) fn trace(h: &mut Harness, sequence: u64) -> RelayTrace {
    match ask(h, name(sequence)) {
        Ok(Reply::Where(mut found)) => found.relays.remove(0),
        other => panic!("{other:?}"),
    }
}

pub(super) fn fate(h: &mut Harness, subscription: &str, sequence: u64) -> Fate {
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
    assert!(fate(&mut h, "s", 2) == Fate::Acked);
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
fn a_hole_longer_than_the_window_is_not_said_to_be_acked_behind_it() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec { window: Some(2), ..SubscriptionSpec::default() });
    let g = h.open("g");
    h.put(g, &["a", "b", "c", "d", "e", "f"]);
    let run = h.log.iter().rposition(|entry| matches!(entry, crate::log::Entry::Run(_))).unwrap();
    h.lost.insert(run);
    h.put(g, &["g"]);
    let s = h.attach("g", "s");
    h.credit(s, 10);
    assert_eq!(h.payloads(), ["g"], "the others are lost");
    for sequence in 2..8 {
        assert_eq!(fate(&mut h, "s", sequence), Fate::Dropped(GapCause::Damaged), "{sequence}");
    }
    h.ack(s, 1, 100);
    h.pass_ms(3_000);
    for sequence in 2..8 {
        assert_eq!(fate(&mut h, "s", sequence), Fate::Dropped(GapCause::Damaged), "{sequence}, later");
    }
}

#[test]
fn what_is_no_message_is_said_to_be_none() {
    let mut h = with_four();
    assert_eq!(trace(&mut h, 1).sighting, Sighting::OwnRecord);
    assert_eq!(trace(&mut h, 1).own, Some(OwnKind::Genesis));
    assert_eq!(trace(&mut h, 2).own, None);
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
fn r11_a_message_of_a_group_that_was_removed_is_not_taken_for_one_of_the_group_in_its_place() {
    let mut h = Harness::new();
    for payload in ["old", "new"] {
        h.subscribe("g", "s", SubscriptionSpec::default());
        let g = h.open("g");
        h.put(g, &[payload]);
        if payload == "old" {
            assert_eq!(trace(&mut h, 2).sighting, Sighting::Held { index: Index(2) });
            h.request(Request::GroupRemove { group: group("g") }).unwrap();
        }
    }
    assert_eq!(trace(&mut h, 2).sighting, Sighting::NoStream, "that one was removed with its group");
    // Whoever puts is told under which name.
    match h.request(Request::GroupOpen { group: group("g") }) {
        Ok(Reply::GroupHandle { nonce, .. }) => assert!(nonce.is_some_and(|nonce| nonce != 1)),
        other => panic!("{other:?}"),
    }
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
fn p12_relays_that_are_away_with_many_subscriptions_do_not_keep_the_answer_from_being_told() {
    let mut h = Harness::linked();
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let id = || GroupId { name: group("g"), incarnation: 0 };
    for number in 0..100 {
        let relay = RelayId::new(&format!("away-{number}")).unwrap();
        let member = Membership { group: id(), relay: relay.clone(), version, member: true };
        let mut facts = vec![Fact::Membership(member)];
        facts.extend((0..64).map(|s| {
            let (name, spec) = (sub(&format!("{}{s}", "s".repeat(200))), Some(SubscriptionSpec::default()));
            Fact::Name(NameEntry { group: id(), name, home: relay.clone(), version, spec })
        }));
        h.hear(LinkMessage::Facts(facts));
    }
    h.pass_ms(2_000);
    let request = h.ask(Request::Where { message: name(2), local: false, within_ms: Some(300) });
    h.pass_ms(400);
    let answer = h.answers.remove(&request).expect("its time is over");
    let Ok(Reply::Where(found)) = &answer else { panic!("{answer:?}") };
    assert!(found.silent.len() >= 100, "{} are named", found.silent.len());
    let bytes = crate::wire::body::encode(&answer).len();
    assert!(bytes <= limits::CONTROL_BYTES_MAX, "{bytes} bytes: nobody is told them");
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

/// What `o` says of itself: links to this relay and to `p`, and what that one says.
fn neighbourhood() -> LinkMessage {
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let state = |relay: &str, ends: &[&str]| {
        let link = |end: &&str| Advertised { neighbour: RelayId::new(end).unwrap(), cost: 1, is_up: true };
        let mut state = LinkState::new(RelayId::new(relay).unwrap(), version);
        state.links = ends.iter().map(link).collect();
        Fact::LinkState(state)
    };
    LinkMessage::Facts(vec![state("o", &["r", "p"]), state("p", &["o"])])
}

#[test]
fn each_relay_that_was_asked_is_heard_once_and_nobody_else() {
    let mut h = Harness::linked();
    h.hear(neighbourhood());
    h.pass_ms(2_000);
    let g = h.open("g");
    h.put(g, &["a"]);
    let local = Request::Where { message: name(2), local: true, within_ms: None };
    let Ok(Reply::Where(mut own)) = h.request(local) else { panic!("no answer") };
    let own = own.relays.remove(0);
    h.said.clear();
    let request = h.ask(Request::Where { message: name(2), local: false, within_ms: Some(5_000) });
    let asked = h.said.iter().find_map(|said| {
        if let LinkMessage::AskWhere(ask) = said { Some((ask.question, ask.to.clone())) } else { None }
    });
    let (question, asked) = asked.expect("the others are asked");
    assert_eq!(asked.iter().map(RelayId::as_str).collect::<Vec<_>>(), ["o", "p"]);
    let told = |relay: &str, last: u64| {
        let trace = RelayTrace {
            relay: RelayId::new(relay).unwrap(),
            sighting: Sighting::NotYet { last: Sequence(last) },
            ..own.clone()
        };
        let asker = RelayId::new("r").unwrap();
        LinkMessage::ToldWhere(ToldWhere { question, asker, trace: Box::new(trace), hops: 9 })
    };
    for (relay, last) in [("stranger", 1), ("o", 2), ("o", 3), ("r", 4)] {
        h.hear(told(relay, last));
        assert!(!h.answers.contains_key(&request), "p has not answered");
    }
    h.hear(told("p", 5));
    let Some(Ok(Reply::Where(found))) = h.answers.remove(&request) else { panic!("no answer") };
    let said: Vec<(&str, Sighting)> =
        found.relays.iter().map(|trace| (trace.relay.as_str(), trace.sighting)).collect();
    let not_yet = |last| Sighting::NotYet { last: Sequence(last) };
    assert_eq!(said, [("r", own.sighting), ("o", not_yet(2)), ("p", not_yet(5))]);
    assert_eq!(found.silent, []);
    // It is over: what comes now is for nobody.
    h.hear(told("p", 6));
    assert!(h.answers.is_empty());
}

/// A relay whose subscriptions have each done something else with message 2 of `g`, of which
/// nothing is left on the disk.
fn with_every_fate() -> Harness {
    let mut h = Harness::new();
    h.set("g", GroupSettings { max_deliver: Some(1), ..GroupSettings::default() });
    let eu = SubscriptionSpec { filter: Some("eu/#".to_owned()), ..SubscriptionSpec::default() };
    h.subscribe("g", "acked", SubscriptionSpec::default());
    h.subscribe("g", "filtered", eu);
    h.subscribe("g", "rejected", SubscriptionSpec::default());
    h.subscribe("g", "tired", SubscriptionSpec::default());
    h.subscribe("g", "moved", SubscriptionSpec::default());
    h.subscribe("g", "twice", SubscriptionSpec::default());
    h.subscribe("g", "dropped", SubscriptionSpec::default());
    put_on(&mut h, "us/ny");
    h.subscribe("g", "late", SubscriptionSpec::default());
    for name in ["acked", "filtered", "rejected", "tired"] {
        let handle = h.attach("g", name);
        h.credit(handle, 10);
        match name {
            "rejected" => h.say(handle, AckKind::Reject, 2, 3, 0),
            "tired" => h.say(handle, AckKind::Nack, 2, 3, 0),
            _ => h.ack(handle, 1, 3),
        }
    }
    let seek = |name: &str, start| Request::SubscriptionSeek { group: group("g"), name: sub(name), start };
    h.request(seek("moved", Start::Now)).unwrap();
    // Skipped first, and then taken all the same.
    h.request(seek("twice", Start::Now)).unwrap();
    h.request(seek("twice", Start::Index(Index(1)))).unwrap();
    let twice = h.attach("g", "twice");
    h.credit(twice, 10);
    h.ack(twice, 1, 3);
    h.set("g", GroupSettings { max_count: Some(1), max_deliver: Some(1), ..GroupSettings::default() });
    put_on(&mut h, "us/ny");
    h.pass_ms(3000);
    h
}

/// What became of message 2 of `g` in the relay of [`with_every_fate`].
fn check_every_fate(h: &mut Harness, when: &str) {
    let trace = trace(h, 2);
    assert_eq!(trace.sighting, Sighting::Released, "{when}");
    assert_eq!(trace.arrived.as_ref().map(|arrived| &arrived.over), Some(&Over::Here), "{when}");
    let dead = |reason| Fate::DeadLettered { reason, to: None };
    let expected = [
        ("acked", Fate::Acked),
        ("filtered", Fate::Filtered),
        ("rejected", dead(DeadReason::Rejected)),
        ("tired", dead(DeadReason::MaxDeliver)),
        ("moved", Fate::Skipped),
        ("twice", Fate::Acked),
        ("dropped", Fate::Dropped(GapCause::Retention)),
        ("late", Fate::BeforeStart),
    ];
    let found: Vec<(&str, Fate)> =
        trace.subscriptions.iter().map(|said| (said.name.as_str(), said.fate.clone())).collect();
    assert_eq!(found, expected, "{when}");
}

#[test]
fn what_became_of_a_message_is_known_when_it_was_let_go() {
    let mut h = with_every_fate();
    check_every_fate(&mut h, "at once");
    // The stream's own first record is no message that somebody could have acked.
    let own = trace(&mut h, 1);
    assert_eq!(own.sighting, Sighting::Past);
    assert!(own.subscriptions.iter().all(|said| said.fate == Fate::Unknown), "{own:?}");
}

#[test]
fn what_became_of_a_message_is_known_after_crashes() {
    let mut h = with_every_fate();
    h.crash(&Snapshot::default());
    check_every_fate(&mut h, "after a crash without a snapshot");
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    check_every_fate(&mut h, "after a crash with one");
    // A new boot seals the stream that it was in, and forgets it.
    put_on(&mut h, "us/ny");
    put_on(&mut h, "us/ny");
    h.pass_ms(3000);
    check_every_fate(&mut h, "when its stream is forgotten");
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    check_every_fate(&mut h, "when its stream is forgotten, after a crash");
}

#[test]
fn a_dead_letter_is_said_to_be_where_it_went_and_not_where_later_ones_go() {
    let mut h = Harness::new();
    h.subscribe("g", "s", SubscriptionSpec::default());
    put_on(&mut h, "us/ny");
    let s = h.attach("g", "s");
    h.credit(s, 10);
    h.say(s, AckKind::Reject, 2, 3, 0);
    let dropped = Fate::DeadLettered { reason: DeadReason::Rejected, to: None };
    assert_eq!(fate(&mut h, "s", 2), dropped);
    h.set("g", GroupSettings { dead_letter: Some("dead".to_owned()), ..GroupSettings::default() });
    assert_eq!(fate(&mut h, "s", 2), dropped, "it was dropped, and is in no group");
    // The cursor is written by then.
    h.pass_ms(3_000);
    h.crash(&Snapshot::default());
    assert_eq!(fate(&mut h, "s", 2), dropped, "after a start too");
}

#[test]
fn a_snapshot_between_two_acks_forgets_nothing_that_was_passed_over() {
    let mut h = Harness::new();
    let eu = SubscriptionSpec { filter: Some("eu/#".to_owned()), ..SubscriptionSpec::default() };
    h.subscribe("g", "eu", eu);
    let eu = h.attach("g", "eu");
    h.credit(eu, 10);
    put_on(&mut h, "us/ny");
    // The cursor has moved, and is not written.
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    assert_eq!(fate(&mut h, "eu", 2), Fate::Filtered);
}

#[test]
fn what_is_older_than_a_day_is_forgotten_and_said_to_be() {
    let mut h = with_every_fate();
    assert_eq!(trace(&mut h, 2).forgotten_before, None);
    h.pass_ms(limits::TRACE_RETENTION_MS - 60_000);
    check_every_fate(&mut h, "in a day");
    h.pass_ms(3_700_000);
    let forgotten = trace(&mut h, 2);
    assert_eq!((forgotten.sighting, forgotten.arrived), (Sighting::Past, None));
    assert!(forgotten.forgotten_before.is_some_and(|before| before < h.now.wall));
}

/// A topology in which the relay has no links, and remembers for so long.
fn remembering(counter: u64, trace_retention: &str) -> Input {
    let setting = format!("[relay.r]\ntrace_retention = \"{trace_retention}\"\n");
    Input::Topology { entry: Box::new(entry(counter, text(&[]).replace("[relay.r]\n", &setting))) }
}

#[test]
fn r18_what_became_of_a_message_is_remembered_for_as_long_as_the_relay_is_set_to() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let mut h = with_every_fate();
    h.input(remembering(1, "7d"));
    h.pass_ms(6 * DAY_MS);
    put_on(&mut h, "us/ny");
    h.pass_ms(3_000);
    check_every_fate(&mut h, "in six days");
    h.crash(&Snapshot::default());
    put_on(&mut h, "us/ny");
    h.pass_ms(3_000);
    check_every_fate(&mut h, "in six days, and after a start");
    h.pass_ms(DAY_MS + 3_600_000);
    put_on(&mut h, "us/ny");
    h.pass_ms(3_000);
    assert_eq!(trace(&mut h, 2).sighting, Sighting::Past, "in seven");
    // Less holds at once, for what is known already too.
    let mut h = with_every_fate();
    h.pass_ms(3 * 3_600_000);
    check_every_fate(&mut h, "in three hours");
    h.input(remembering(1, "1h"));
    put_on(&mut h, "us/ny");
    h.pass_ms(3_000);
    let forgotten = trace(&mut h, 2);
    assert_eq!(forgotten.sighting, Sighting::Past);
    assert!(forgotten.forgotten_before.is_some_and(|before| before < h.now.wall));
}

#[test]
fn a_log_that_has_lost_something_makes_no_acks_of_what_it_cannot_know() {
    let mut h = with_every_fate();
    let last_run = h.log.iter().rposition(|entry| matches!(entry, crate::log::Entry::Run(_))).unwrap();
    h.lost.insert(last_run);
    h.crash(&Snapshot::default());
    let lost = trace(&mut h, 2);
    assert_eq!((lost.sighting, lost.forgotten_before), (Sighting::Past, Some(h.now.wall)));
    assert!(lost.subscriptions.iter().all(|said| said.fate != Fate::Acked), "{lost:?}");
}

#[test]
fn a_link_that_leads_to_another_neighbour_after_a_restart_is_told_from_before() {
    let mut h = Harness::linked();
    h.subscribe("g", "s", SubscriptionSpec::default());
    let mut theirs = Theirs::begin(1);
    theirs.put("a");
    h.hear(theirs.name());
    theirs.send(&mut h, 0..2);
    let name = MessageName { origin: RelayId::new("o").unwrap(), ..name(2) };
    let over = |h: &mut Harness| match ask(h, name.clone()) {
        Ok(Reply::Where(found)) => found.relays[0].arrived.as_ref().map(|arrived| arrived.over.clone()),
        other => panic!("{other:?}"),
    };
    let o = Some(Over::Link(RelayId::new("o").unwrap()));
    assert_eq!(over(&mut h), o);
    h.pass_ms(1000);
    h.relink("p");
    h.crash(&Snapshot::default());
    h.input(super::super::Input::LinkUp { link: super::harness::LINK, losses: true });
    assert_eq!(over(&mut h), o, "it came before the link led to p");
}

#[test]
fn notes_take_a_bounded_amount_of_memory_and_the_oldest_make_way() {
    let mut h = Harness::new();
    for number in 0..50 {
        let g = h.open(&format!("g{number}"));
        h.put(g, &["a"]);
    }
    let wall = |run: u64| WallTime(2_000_000_000 + run * 5000);
    let mut header = None;
    for run in 0..1_000_000u64 {
        let Relay { groups, traces, .. } = &mut h.relay;
        let group = groups.get_mut(GroupNumber(1 + (run % 50) as u32)).unwrap();
        let stream = group.streams[0].number;
        let header = header.get_or_insert_with(|| stream_header(&h.log));
        (header.kind, header.first, header.count) = (RunKind::Data, Sequence(10 + run), 1);
        traces.note_run(group, (stream, LinkId(0)), (Index(10 + run), wall(run)), header);
        if run % 1000 == 0 {
            h.relay.forget_traces(Now { wall: wall(run), ..h.now });
            assert!(h.relay.traces.bytes() <= limits::TRACES_BYTES_MAX);
        }
    }
    let forgotten = h.relay.traces.forgotten_before.unwrap();
    assert!(wall(100_000) < forgotten && forgotten < wall(700_000), "{forgotten}");
    let memory = h.relay.groups.get(GroupNumber(1)).unwrap().memory.as_deref().unwrap();
    let stream = h.relay.groups.get(GroupNumber(1)).unwrap().streams[0].number;
    assert!(memory.place(stream, Sequence(10)).is_none());
    assert!(memory.place(stream, Sequence(10 + 999_950)).is_some());
    // What is counted is what is there.
    let counted = h.relay.traces.bytes();
    h.relay.count_traces();
    let there = h.relay.traces.bytes();
    assert_eq!(counted, there);
}

/// The header of some run.
fn stream_header(log: &[crate::log::Entry]) -> crate::wire::run::RunHeader {
    let header = log.iter().find_map(|entry| match entry {
        crate::log::Entry::Run(run) => Some(run.run.header),
        crate::log::Entry::State(_) => None,
    });
    header.unwrap()
}

#[test]
fn a_message_that_was_acked_in_time_stays_so_when_the_one_before_it_expires() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { ttl_ms: Some(1000), ..GroupSettings::default() });
    h.subscribe("g", "s", SubscriptionSpec::default());
    let s = h.attach("g", "s");
    h.credit(s, 10);
    let g = h.open("g");
    h.put(g, &["a", "b"]);
    h.ack(s, 3, 4);
    h.say(s, AckKind::Nack, 2, 3, 2000);
    h.pass_ms(2500);
    assert_eq!(fate(&mut h, "s", 2), Fate::Expired);
    assert_eq!(fate(&mut h, "s", 3), Fate::Acked);
}
