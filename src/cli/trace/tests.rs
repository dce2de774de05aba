use super::super::tests::captured_context;
use super::super::{Output, exit::Exit};
use super::*;
use crate::id::{Index, Sequence, SubscriptionName};
use crate::wire::body::{Arrival, GapCause, OwnKind, SubscriptionTrace};
use serde_json::{Value, json};

fn relay(name: &str) -> RelayId {
    RelayId::new(name).unwrap()
}

/// What a relay knows of a message that came over `from`, so many microseconds after it was put.
fn trace(name: &str, from: Option<&str>, us: u64, fates: Vec<(&str, Fate)>) -> RelayTrace {
    let at = WallTime(1_767_225_600_000_000 + us);
    let over = from.map_or(Over::Here, |from| Over::Link(relay(from)));
    let subscription = |(name, fate): (&str, Fate)| SubscriptionTrace {
        name: SubscriptionName::new(name).unwrap(),
        fate,
        gone: false,
    };
    RelayTrace {
        relay: relay(name),
        now: at,
        sighting: Sighting::Held { index: Index(7) },
        arrived: Some(Arrival { from: at, to: at, over }),
        accepted: Some(WallTime(1_767_225_600_000_000)),
        released: false,
        forgotten_before: None,
        receipts: Vec::new(),
        subscriptions: fates.into_iter().map(subscription).collect(),
        left_off: 0,
        own: None,
    }
}

/// From north over hub to east and west; south cannot be reached.
fn found() -> Whereabouts {
    let receipt = ReceiptTrace { member: relay("south"), durable: true, consumed: false };
    let fates = vec![
        ("audit", Fate::Pending { ahead: 12 }),
        ("billing", Fate::Acked),
        ("web", Fate::Dropped(GapCause::Retention)),
    ];
    Whereabouts {
        message: MessageName {
            group: "orders".parse().unwrap(),
            origin: relay("north"),
            boot: 3,
            nonce: 0xf1a2,
            sequence: Sequence(42),
        },
        here: relay("east"),
        relays: vec![
            trace("east", Some("hub"), 900, vec![("mail", Fate::Filtered)]),
            RelayTrace { sighting: Sighting::Released, ..trace("hub", Some("north"), 200, Vec::new()) },
            RelayTrace { receipts: vec![receipt], ..trace("north", None, 0, Vec::new()) },
            // Its clock is behind.
            trace("west", Some("hub"), 150, fates),
        ],
        unaware: 2,
        silent: vec![SilentRelay {
            relay: relay("south"),
            is_reachable: false,
            subscriptions: vec!["cold".parse().unwrap()],
        }],
        left_off: 0,
    }
}

fn shown(found: Whereabouts, output: Output) -> String {
    let mut found = found;
    let after = in_order(&mut found);
    let id: MessageId = "north@3.000000000000f1a2:orders:42".parse().unwrap();
    let bytes = captured_context(output, |context| {
        match output {
            Output::Json => context.out.json(&to_json(&id, &found, &after))?,
            Output::Text | Output::Dot => tell(&id, &found, &after, context).unwrap(),
        }
        Ok(())
    });
    String::from_utf8(bytes).unwrap()
}

#[test]
fn hops_stand_in_the_order_of_the_way_with_the_differences_of_their_times() {
    let expected = "\
message   north@3.000000000000f1a2:orders:42
accepted  2026-01-01T00:00:00.000000Z

RELAY  FROM      ARRIVED                        AFTER  STATE
north  put here  2026-01-01T00:00:00.000000Z           on disk
hub    north     2026-01-01T00:00:00.000200Z  +200 µs  had it, and let it go
west   hub       2026-01-01T00:00:00.000150Z   -50 µs  on disk
east   hub       2026-01-01T00:00:00.000900Z  +700 µs  on disk
south  -         -                                     cannot be reached; its receipt says: on disk

RELAY  SUBSCRIPTION  FATE
west   audit         pending, 12 before it
west   billing       delivered and acked
west   web           dropped by the group's limits
east   mail          not let through by its filter
south  cold          not known; it is in its backlog, or was
";
    assert_eq!(shown(found(), Output::Text), expected);
}

#[test]
fn programs_get_one_object_with_all_there_is() {
    let value: Value = serde_json::from_str(&shown(found(), Output::Json)).unwrap();
    assert_eq!(value["id"], "north@3.000000000000f1a2:orders:42");
    let names: Vec<&Value> =
        value["relays"].as_array().unwrap().iter().map(|relay| &relay["relay"]).collect();
    assert_eq!(names, ["north", "hub", "west", "east"]);
    let west = &value["relays"][2];
    assert_eq!((&west["from"], &west["after_us"]), (&json!("hub"), &json!(-50)));
    assert_eq!(west["subscriptions"][0], json!({ "name": "audit", "fate": "pending", "ahead": 12 }));
    assert_eq!(west["subscriptions"][2], json!({ "name": "web", "fate": "dropped", "cause": "retention" }));
    let silent = &value["silent"][0];
    assert_eq!(silent["reachable"], false);
    assert_eq!(silent["receipt"], json!({ "relay": "south", "durable": true, "consumed": false }));
}

#[test]
fn relays_that_name_one_another_are_all_shown() {
    let mut ring = found();
    ring.relays = vec![
        trace("a", Some("b"), 10, Vec::new()),
        trace("b", Some("a"), 20, Vec::new()),
        trace("c", Some("away"), 5, Vec::new()),
    ];
    in_order(&mut ring);
    let names: Vec<&str> = ring.relays.iter().map(|trace| trace.relay.as_str()).collect();
    assert_eq!(names, ["c", "a", "b"]);
}

#[test]
fn a_record_of_the_relays_own_is_told_as_what_it_is() {
    let own = |name: &str, own| RelayTrace {
        sighting: Sighting::OwnRecord,
        own,
        ..trace(name, None, 0, Vec::new())
    };
    // Who has let it go does not know any more that it was none.
    let gone = || RelayTrace { sighting: Sighting::Past, ..trace("west", None, 0, Vec::new()) };
    let relays = vec![own("north", Some(OwnKind::Genesis)), own("old", None), gone()];
    let seen = Whereabouts { relays, silent: Vec::new(), ..found() };
    let missing = judge(&seen).unwrap_err();
    assert_eq!(missing.exit(), Exit::NothingThere);
    assert_eq!(
        missing.to_string(),
        "sequence 42 of that stream is a record of the relays' own and no message: a GENESIS, \
         which says who was a member when the stream began"
    );
    let text = shown(seen.clone(), Output::Text);
    assert!(text.starts_with("record   north@3.000000000000f1a2:orders:42\nwritten  2026-"), "{text}");
    let has = |name: &str, state: &str| {
        assert!(text.lines().any(|line| line.starts_with(name) && line.ends_with(state)), "{state}: {text}");
    };
    has("north", "no message: the relays' own record GENESIS");
    has("old", "no message: a record of the relays' own");
    has("west", "had it, or needed it no more; which is forgotten");
    let value: Value = serde_json::from_str(&shown(seen, Output::Json)).unwrap();
    let first = &value["relays"][0];
    assert_eq!((&first["state"], &first["record"]), (&json!("own-record"), &json!("genesis")));
}

#[test]
fn a_message_that_nobody_has_had_is_missing() {
    let mut none = found();
    assert!(judge(&none).is_ok());
    for sighting in [Sighting::NoGroup, Sighting::NotYet { last: Sequence(9) }, Sighting::OwnRecord] {
        none.relays = vec![RelayTrace { sighting, ..trace("north", None, 0, Vec::new()) }];
        assert_eq!(judge(&none).unwrap_err().exit(), Exit::NothingThere);
    }
}

#[test]
fn what_a_subscription_that_is_gone_has_not_acked_is_told_apart_from_what_it_has() {
    let mut found = found();
    let mut west = trace("west", Some("hub"), 150, Vec::new());
    let gone = [("late", Fate::Dropped(GapCause::Evicted)), ("old", Fate::Skipped), ("done", Fate::Acked)];
    west.subscriptions = gone
        .into_iter()
        .map(|(name, fate)| SubscriptionTrace { name: name.parse().unwrap(), fate, gone: true })
        .collect();
    found.relays = vec![west];
    found.silent.clear();
    let text = shown(found.clone(), Output::Text);
    for line in [
        "west   late          not acked: the subscription was over its quota and was removed\n",
        "west   old           not acked: the subscription was removed, or moved past it\n",
        "west   done          delivered and acked; the subscription was removed since\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let value: Value = serde_json::from_str(&shown(found, Output::Json)).unwrap();
    let told = &value["relays"][0]["subscriptions"][0];
    assert_eq!(*told, json!({ "name": "late", "fate": "dropped", "cause": "evicted", "removed": true }));
}
