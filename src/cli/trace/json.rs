//! Where a message is, for programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{before, fate, human, own_words, receipt, sighting};
use crate::cli::message::gap_words;
use crate::client::MessageId;
use crate::id::RelayId;
use crate::wire::body::{
    DeadReason, Fate, Over, ReceiptTrace, RelayTrace, Sighting, SilentRelay, SubscriptionTrace, Whereabouts,
};

pub(super) fn to_json(id: &MessageId, found: &Whereabouts, after: &BTreeMap<RelayId, i128>) -> Value {
    let silent = |silent: &SilentRelay| {
        json!({
            "relay": silent.relay,
            "reachable": silent.is_reachable,
            "receipt": receipt(found, &silent.relay).map(receipt_json),
            "subscriptions": silent.subscriptions,
        })
    };
    json!({
        "id": id.to_string(),
        "asked": found.here,
        "accepted": found.relays.iter().find_map(|trace| trace.accepted).map(human::timestamp),
        "relays": found.relays.iter().map(|trace| trace_json(trace, after)).collect::<Vec<_>>(),
        "silent": found.silent.iter().map(silent).collect::<Vec<_>>(),
        "unaware": found.unaware,
        "left_off": found.left_off,
    })
}

fn receipt_json(receipt: &ReceiptTrace) -> Value {
    json!({ "relay": receipt.member, "durable": receipt.durable, "consumed": receipt.consumed })
}

fn trace_json(trace: &RelayTrace, after: &BTreeMap<RelayId, i128>) -> Value {
    let arrived = trace.arrived.as_ref();
    let index = if let Sighting::Held { index } = trace.sighting { Some(index) } else { None };
    let last = if let Sighting::NotYet { last } = trace.sighting { Some(last) } else { None };
    let subscription = |said: &SubscriptionTrace| {
        let mut value = fate_json(&said.fate);
        value.insert("name".to_owned(), json!(said.name));
        if said.gone {
            value.insert("removed".to_owned(), json!(true));
        }
        Value::Object(value)
    };
    json!({
        "relay": trace.relay,
        "state": sighting(&trace.sighting).0,
        "record": trace.own.map(|own| own_words(own).0),
        "index": index,
        "ends_at": last,
        "from": before(trace),
        "put_here": arrived.map(|arrived| arrived.over == Over::Here),
        "arrived": arrived.map(|arrived| human::timestamp(arrived.from)),
        "arrived_by": arrived.map(|arrived| human::timestamp(arrived.to)),
        "after_us": after.get(&trace.relay).and_then(|us| i64::try_from(*us).ok()),
        "released": trace.released,
        "forgotten_before": trace.forgotten_before.map(human::timestamp),
        "clock": human::timestamp(trace.now),
        "receipts": trace.receipts.iter().map(receipt_json).collect::<Vec<_>>(),
        "subscriptions": trace.subscriptions.iter().map(subscription).collect::<Vec<_>>(),
        "left_off": trace.left_off,
    })
}

fn fate_json(of: &Fate) -> Map<String, Value> {
    let mut value = Map::new();
    let mut add = |key: &str, found: Value| {
        value.insert(key.to_owned(), found);
    };
    add("fate", json!(fate(of).0));
    match of {
        Fate::Pending { ahead } => add("ahead", json!(ahead)),
        Fate::Again { attempts, due_ms } => {
            add("attempts", json!(attempts));
            add("due_ms", json!(due_ms));
        }
        Fate::Dropped(cause) => add("cause", json!(gap_words(*cause).0)),
        Fate::DeadLettered { reason, to } => {
            let reason = match reason {
                DeadReason::MaxDeliver => "max-deliver",
                DeadReason::Rejected => "rejected",
            };
            add("reason", json!(reason));
            add("to", json!(to));
        }
        Fate::Acked
        | Fate::Done
        | Fate::InFlight
        | Fate::Filtered
        | Fate::BeforeStart
        | Fate::Repeat
        | Fate::Expired
        | Fate::Skipped
        | Fate::Aside
        | Fate::Unknown => {}
    }
    value
}
