//! What became of a message in subscriptions that were removed since (R18).

use super::harness::{Harness, group, sub};
use super::whereabouts::trace;
use crate::id::{RelayId, StorageId};
use crate::log::Snapshot;
use crate::relay::memory::tests::DECODED;
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};
use crate::wire::body::{Fate, GapCause, Request, Sighting, Start, SubscriptionSpec};
use crate::wire::link::{Fact, GroupId, LinkMessage, NameEntry, Version};

/// What is said of the message with a sequence, but for those that are there.
fn said(h: &mut Harness, sequence: u64) -> Vec<(String, Fate)> {
    let told = trace(h, sequence).subscriptions.into_iter().filter(|told| told.gone);
    told.map(|told| (told.name.to_string(), told.fate)).collect()
}

fn remove(h: &mut Harness, name: &str) {
    h.request(Request::SubscriptionRemove { group: group("g"), name: sub(name) }).unwrap();
}

/// The log, and a snapshot and what came since, tell the same as the process that has removed it.
fn restarts() -> [fn(&mut Harness); 3] {
    [
        |_| {},
        |h| h.crash(&Snapshot::default()),
        |h| {
            let saved = h.snapshot();
            h.crash(&saved);
        },
    ]
}

#[test]
fn r18_what_a_removed_subscription_got_and_did_not_get_is_told_after_it_is_gone() {
    for restart in restarts() {
        let mut h = Harness::new();
        for name in ["s", "keeps"] {
            h.subscribe("g", name, SubscriptionSpec::default());
        }
        let g = h.open("g");
        h.put(g, &["a", "b"]);
        let s = h.attach("g", "s");
        h.credit(s, 2);
        h.ack(s, 2, 3);
        h.pass_ms(500);
        remove(&mut h, "s");
        h.put(g, &["c"]);
        h.pass_ms(500);
        restart(&mut h);
        let of = |fate| vec![("s".to_owned(), fate)];
        assert_eq!(said(&mut h, 2), of(Fate::Acked));
        assert_eq!(said(&mut h, 3), of(Fate::Skipped));
        assert_eq!(said(&mut h, 4), [], "it was put later");
        h.subscribe("g", "s", SubscriptionSpec::default());
        remove(&mut h, "keeps");
        h.pass_ms(5_000);
        // Nobody is left that it is kept for.
        let let_go = trace(&mut h, 3);
        assert_eq!(let_go.sighting, Sighting::Released);
        let names: Vec<String> = let_go.subscriptions.iter().map(|told| told.name.to_string()).collect();
        assert_eq!(names, ["s", "s", "keeps"], "the one that there is, and those that there were");
    }
}

#[test]
fn r18_a_subscription_that_was_evicted_is_named_with_what_it_did_not_get() {
    for restart in restarts() {
        let mut h = Harness::new();
        let evict = GroupSettings {
            subscription_quota_count: Some(2),
            subscription_policy: SubscriptionPolicy::Evict,
            ..GroupSettings::default()
        };
        h.set("g", evict);
        h.subscribe("g", "s", SubscriptionSpec::default());
        let g = h.open("g");
        for payload in ["a", "b", "c", "d", "e", "f"] {
            h.put(g, &[payload]);
        }
        h.pass_ms(2_000);
        restart(&mut h);
        assert_eq!(said(&mut h, 2), [("s".to_owned(), Fate::Dropped(GapCause::Evicted))]);
    }
}

#[test]
fn p12_what_is_remembered_is_gone_through_once_however_many_subscriptions_are_asked_of() {
    let decoded = |subscriptions: u32| {
        let mut h = Harness::new();
        h.subscribe("g", "keeps", SubscriptionSpec::default());
        let g = h.open("g");
        h.put(g, &["a", "b", "c"]);
        for number in 0..2 * subscriptions {
            let from_first = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
            h.subscribe("g", &format!("s{number}"), from_first);
            if number % 2 == 0 {
                remove(&mut h, &format!("s{number}"));
            }
        }
        let before = DECODED.get();
        let told = trace(&mut h, 2).subscriptions;
        assert_eq!(told.len(), 1 + 2 * subscriptions as usize);
        assert!(told.iter().all(|told| (told.fate == Fate::Skipped) == told.gone), "{told:?}");
        DECODED.get() - before
    };
    // Each that was removed has left one note.
    let (few, many) = (decoded(10), decoded(100));
    assert!(many <= few + 2 * 100, "{few} notes were looked at for 20 subscriptions, {many} for 200");
}

#[test]
fn r18_one_that_was_made_again_and_is_void_since_it_lives_elsewhere_is_asked_for_there() {
    for restart in restarts() {
        let mut h = Harness::apart();
        let entry = |counter, spec| {
            let (home, version) =
                (RelayId::new("r").unwrap(), Version { counter, storage: StorageId([9; 16]) });
            let group = GroupId { name: group("g"), incarnation: 0 };
            Fact::Name(NameEntry { group, name: sub("s"), home, version, spec })
        };
        h.meet(vec![entry(1, Some(SubscriptionSpec::default()))]);
        h.subscribe("g", "stays", SubscriptionSpec::default());
        let g = h.open("g");
        h.put(g, &["a"]);
        let (first, names) = first_message(&mut h);
        assert_eq!(names, ["s", "stays"], "it was made again for the disk that is lost");
        // It had left before, as somebody knows who was away.
        h.hear(LinkMessage::Facts(vec![entry(u64::from(u32::MAX), None)]));
        h.pass_ms(500);
        restart(&mut h);
        let names: Vec<String> =
            trace(&mut h, first).subscriptions.iter().map(|told| told.name.to_string()).collect();
        assert_eq!(names, ["stays"], "it is no one that was removed");
    }
}

/// The sequence of the first message of `g`, and the subscriptions that are told of it.
fn first_message(h: &mut Harness) -> (u64, Vec<String>) {
    (1..20)
        .find_map(|sequence| {
            let told = trace(h, sequence);
            let is_held = matches!(told.sighting, Sighting::Held { .. });
            let names = told.subscriptions.iter().map(|told| told.name.to_string());
            is_held.then(|| (sequence, names.collect()))
        })
        .expect("there is one")
}
