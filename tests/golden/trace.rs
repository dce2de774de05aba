//! What relays say of a message, for the golden files.

use treecast::id::{Index, RelayId, Sequence, WallTime};
use treecast::wire::body::{
    Arrival, DeadReason, Fate, GapCause, MessageName, Over, OwnKind, ReceiptTrace, RelayTrace, Sighting,
    SilentRelay, SubscriptionTrace, Whereabouts,
};

use super::values::{EPOCH, group, relay, subscription};

fn other() -> RelayId {
    RelayId::new("oslo").unwrap()
}

pub(crate) fn message() -> MessageName {
    MessageName {
        group: group("orders"),
        origin: relay(),
        boot: EPOCH.counter,
        nonce: EPOCH.nonce,
        sequence: Sequence(1042),
    }
}

/// A relay that has it, with a subscription of each fate.
pub(crate) fn held() -> RelayTrace {
    let dead = |reason, to| Fate::DeadLettered { reason, to };
    let fates = [
        Fate::Acked,
        Fate::Done,
        Fate::InFlight,
        Fate::Pending { ahead: 7 },
        Fate::Again { attempts: 2, due_ms: 500 },
        Fate::Filtered,
        Fate::BeforeStart,
        Fate::Repeat,
        Fate::Expired,
        Fate::Dropped(GapCause::Retention),
        dead(DeadReason::MaxDeliver, Some(group("orders/dead"))),
        dead(DeadReason::Rejected, None),
        Fate::Skipped,
        Fate::Unknown,
    ];
    let at = WallTime(1_700_000_000_000_123);
    let fate =
        |(number, fate)| SubscriptionTrace { name: subscription(&format!("s{number}")), fate, gone: false };
    RelayTrace {
        relay: relay(),
        now: WallTime(1_700_000_001_000_000),
        sighting: Sighting::Held { index: Index(17) },
        arrived: Some(Arrival { from: at, to: at, over: Over::Here }),
        accepted: Some(at),
        released: true,
        forgotten_before: Some(WallTime(1_600_000_000_000_000)),
        receipts: vec![ReceiptTrace { member: other(), durable: true, consumed: false }],
        subscriptions: (1..).zip(fates).map(fate).collect(),
        left_off: 2,
        own: None,
    }
}

/// A relay of each kind.
pub(crate) fn whereabouts() -> Whereabouts {
    let sightings = [
        Sighting::NoGroup,
        Sighting::Removed,
        Sighting::NoStream,
        Sighting::NotYet { last: Sequence(1041) },
        Sighting::Unsynced,
        Sighting::Released,
        Sighting::Past,
        Sighting::Damaged,
        Sighting::Unfound,
        Sighting::OwnRecord,
    ];
    let overs = [Over::Link(relay()), Over::Unknown].into_iter().cycle();
    let (from, to) = (WallTime(1_700_000_000_000_456), WallTime(1_700_000_000_000_789));
    let relays = sightings.into_iter().zip(overs).map(|(sighting, over)| RelayTrace {
        relay: other(),
        sighting,
        arrived: Some(Arrival { from, to, over }),
        accepted: None,
        released: false,
        forgotten_before: None,
        receipts: Vec::new(),
        subscriptions: Vec::new(),
        left_off: 0,
        ..held()
    });
    let silent =
        SilentRelay { relay: other(), is_reachable: false, subscriptions: vec![subscription("billing")] };
    Whereabouts {
        message: message(),
        here: relay(),
        relays: [held()].into_iter().chain(relays).collect(),
        unaware: 4,
        silent: vec![silent],
        left_off: 1,
    }
}

/// A record of the relays' own of each kind.
pub(crate) fn own_records() -> Whereabouts {
    let kinds = [OwnKind::Genesis, OwnKind::Mark, OwnKind::Seal, OwnKind::Loss];
    let relays = kinds.map(|kind| RelayTrace {
        sighting: Sighting::OwnRecord,
        receipts: Vec::new(),
        subscriptions: Vec::new(),
        own: Some(kind),
        ..held()
    });
    Whereabouts { relays: relays.into(), silent: Vec::new(), ..whereabouts() }
}
