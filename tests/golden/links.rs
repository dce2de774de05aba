//! Frames between relays: encoded again, and decoded.

use bytes::{BufMut, BytesMut};
use treecast::id::{
    GroupName, Index, ProducerId, ProducerSequence, RelayId, Sequence, StorageId, StreamNumber,
    SubscriptionName, WallTime,
};
use treecast::topology::settings::GroupSettings;
use treecast::wire::body::{self, GapCause, Notice, Refusal, RefusalCode, Reply, Request, SubscriptionSpec};
use treecast::wire::circuit::{CircuitFrame, CircuitHead, CircuitId, CircuitSays};
use treecast::wire::frame::{
    Ack, AckKind, Credit, DeliverHead, FrameKind, LinkCopyHead, LinkDeliverHead, LinkRunHead,
};
use treecast::wire::link::{
    Advertised, Ask, AskWhere, Confirmed, Fact, Finished, Forgotten, Full, FullVersion, GroupEntry, GroupId,
    LINK_MAGIC, LinkHello, LinkMessage, LinkState, Membership, NameEntry, Origin, Quotas, Receipt, Released,
    SeenWhy, StreamNamed, StreamSeen, ToldWhere, Version,
};
use treecast::wire::link::{Holds, Pull, Pulled};
use treecast::wire::moving::{
    CopyHead, Done, Keeper, Left, MoveFrame, MoveSays, ProducerDone, StreamAt, StreamPart,
};
use treecast::wire::packed::{LZ4, Packing, pack};
use treecast::wire::run::{Record, RunHeader, RunKind};
use xxhash_rust::xxh3::xxh3_64;

use super::trace;
use super::values::{self, EPOCH, topology};
use super::wire::check_frame;

fn relay(name: &str) -> RelayId {
    RelayId::new(name).unwrap()
}

fn group() -> GroupId {
    GroupId { name: GroupName::new("orders").unwrap(), incarnation: 2 }
}

fn version(counter: u64) -> Version {
    Version { counter, storage: StorageId(*b"0123456789abcdef") }
}

/// A topology that was applied, and a relay that goes by it.
fn topology_facts() -> Vec<Fact> {
    let entry = topology();
    let mut state = LinkState::new(relay("rome"), version((3 << 32) + 2));
    state.topology = Some(entry.head.version);
    vec![Fact::Topology(Box::new(entry)), Fact::LinkState(state)]
}

/// A fact of each kind.
fn facts() -> Vec<Fact> {
    let up = Advertised { neighbour: relay("oslo"), cost: 10, is_up: true };
    let down = Advertised { neighbour: relay("bonn"), cost: 1, is_up: false };
    let name = SubscriptionName::new("billing").unwrap();
    let spec =
        SubscriptionSpec { shared: true, filter: Some("eu/#".to_owned()), ..SubscriptionSpec::default() };
    vec![
        Fact::LinkState(LinkState {
            relay: relay("rome"),
            version: version((3 << 32) + 1),
            transit: false,
            max_children: Some(4),
            catching_up: true,
            is_new: false,
            is_draining: false,
            algorithm: 1,
            links: vec![up, down],
            topology: None,
            boot: None,
        }),
        Fact::Membership(Membership {
            group: group(),
            relay: relay("rome"),
            version: version(7),
            member: true,
        }),
        Fact::Origin(Origin { group: group(), relay: relay("oslo"), version: version(1), active: false }),
        Fact::Group(GroupEntry {
            group: group(),
            version: version(4),
            settings: GroupSettings { ttl_ms: Some(5000), ..GroupSettings::default() },
            home: Some(relay("bonn")),
        }),
        Fact::Removed(GroupId { incarnation: 1, ..group() }),
        Fact::Name(NameEntry {
            group: group(),
            name: name.clone(),
            home: relay("rome"),
            version: version(1),
            spec: Some(spec),
        }),
        Fact::Name(NameEntry { group: group(), name, home: relay("oslo"), version: version(2), spec: None }),
    ]
}

/// A relay that never comes back: a fact that is younger than the others' file.
fn forgotten() -> Fact {
    Fact::Forgotten(Forgotten {
        relay: relay("bonn"),
        version: version(5 << 32),
        by: relay("rome"),
        at: WallTime(1_700_000_000_000_000),
    })
}

/// Messages about what is missing.
pub(crate) fn pulls() -> Vec<(&'static str, LinkMessage)> {
    let pull = Pull {
        id: 5,
        group: group(),
        origin: relay("rome"),
        epoch: EPOCH,
        from: Sequence(901),
        to: Sequence(1000),
        toward: relay("rome"),
        path: vec![relay("oslo"), relay("bonn")],
        hops: 2,
        anyway: false,
    };
    let pulled = Pulled { id: 5, is_here: true, to: Sequence(1000), released: Sequence(900) };
    let holds = Holds {
        group: group(),
        origin: relay("rome"),
        epoch: EPOCH,
        last: Sequence(1000),
        by: relay("bonn"),
        to: relay("oslo"),
        hops: 3,
    };
    vec![
        ("pull", LinkMessage::Pull(pull)),
        ("pulled", LinkMessage::Pulled(pulled)),
        ("holds", LinkMessage::Holds(vec![holds])),
        ("digest", LinkMessage::Digest(0x1122_3344_5566_7788)),
        ("buckets", LinkMessage::Buckets(vec![0x1122_3344_5566_7788, 7, 0])),
    ]
}

/// One thing of each kind that is said over a circuit.
fn circuits() -> Vec<(&'static str, LinkMessage)> {
    let circuit = CircuitId { opener: relay("oslo"), boot: 0x1122_3344_5566_7788, number: 9 };
    let says = |is_back, says| {
        let head =
            CircuitHead { circuit: circuit.clone(), home: relay("rome"), is_back, sequence: 5, hops: 3 };
        LinkMessage::Circuit(Box::new(CircuitFrame { head, says }))
    };
    let (there, back) = (|said| says(false, said), |said| says(true, said));
    let kinds = [AckKind::Ack, AckKind::Nack, AckKind::Progress, AckKind::Reject];
    let ack = |kind| Ack { handle: 0, kind, from: Index(3), to: Index(7), delay_ms: 20 };
    let refusal = Refusal::new(RefusalCode::NotReady, "try again");
    let detached = Notice::Detached { handle: 0, refusal: refusal.clone() };
    let polled = Box::new(Ok(Reply::Polled { messages: 2 }));
    vec![
        ("circuit-request", there(CircuitSays::Request { request: 1, body: Box::new(Request::Sync) })),
        ("circuit-acks", there(CircuitSays::Acks(kinds.into_iter().map(ack).collect()))),
        ("circuit-credit", there(CircuitSays::Credit(Credit { handle: 0, total: 256 }))),
        ("circuit-written", there(CircuitSays::Written(70_000))),
        ("circuit-answer", back(CircuitSays::Answer { request: 1, answer: polled })),
        ("circuit-notice", back(CircuitSays::Notice(Box::new(detached)))),
        ("circuit-ping", there(CircuitSays::Ping)),
        ("circuit-pong", back(CircuitSays::Pong)),
        ("circuit-end", back(CircuitSays::End(Some(refusal)))),
    ]
}

/// The links of a relay that takes nothing new.
fn drained() -> (&'static str, LinkMessage) {
    let leaving = LinkState { is_draining: true, ..LinkState::new(relay("rome"), version(2)) };
    ("facts-draining", LinkMessage::Facts(vec![Fact::LinkState(leaving)]))
}

fn left() -> Left {
    Left {
        part: u32::MAX,
        floor: Index(305),
        to: Index(1000),
        done: vec![(Index(307), Index(309))],
        gaps: vec![(Index(300), Index(302), GapCause::Retention)],
        lost: vec![(Index(400), Index(410), GapCause::Damaged)],
    }
}

/// One thing of each kind that is said of a move.
fn moves() -> Vec<(&'static str, LinkMessage)> {
    let says = |says| {
        LinkMessage::Move(Box::new(MoveFrame {
            from: relay("oslo"),
            to: relay("rome"),
            hops: 3,
            group: group(),
            name: SubscriptionName::new("billing").unwrap(),
            token: 0x1122_3344_5566_7788,
            says,
        }))
    };
    let streams = || vec![StreamAt { origin: relay("bonn"), epoch: EPOCH, last: Sequence(1000) }];
    let storage = EPOCH.storage;
    let keeper = Keeper { storage, from: Index(900) };
    let done = Done {
        streams: streams(),
        finished: vec![(relay("bonn"), storage, 2)],
        producers: vec![ProducerDone { producer: ProducerId(77), floor: 300, ranges: vec![(301, 400)] }],
        ..Done::default()
    };
    let spec = SubscriptionSpec { shared: true, window: Some(256), ..SubscriptionSpec::default() };
    let prepare = |spec, queue, void| says(MoveSays::Prepare { spec, queue, void, merge: false });
    vec![
        ("move-prepare", prepare(spec.clone(), false, None)),
        ("move-prepare-queue", prepare(spec.clone(), true, None)),
        ("move-prepare-void", prepare(spec, true, Some(version(9)))),
        (
            "move-prepared",
            says(MoveSays::Prepared { keeper, version: version(9), streams: streams(), own: Vec::new() }),
        ),
        ("move-refused", says(MoveSays::Refused(Refusal::new(RefusalCode::Exists, "it has one")))),
        ("move-ask", says(MoveSays::Ask { member: relay("rome"), version: version(9) })),
        (
            "move-held",
            says(MoveSays::Held { storage, version: version(9), links: version(4), streams: streams() }),
        ),
        (
            "move-handover",
            says(MoveSays::Handover {
                keeper,
                version: version(7),
                done: Box::new(done.clone()),
                left: Vec::new(),
            }),
        ),
        (
            "move-handover-left",
            says(MoveSays::Handover {
                keeper,
                version: version(7),
                done: Box::new(done),
                left: vec![left()],
            }),
        ),
        ("move-copy", says(MoveSays::Copy { part: u32::MAX, from: Index(300) })),
        ("move-copied", says(MoveSays::Copied { part: u32::MAX, through: Index(420) })),
        ("move-taken", says(MoveSays::Taken)),
        ("move-void", says(MoveSays::Void)),
    ]
    .into_iter()
    .chain(joined().map(|(name, said)| (name, says(said))))
    .collect()
}

/// What is said of two homes of one name that are made one.
fn joined() -> [(&'static str, MoveSays); 3] {
    let part =
        |from, to| StreamPart { origin: relay("bonn"), epoch: EPOCH, from: Sequence(from), to: Sequence(to) };
    let done =
        Done { parts: vec![part(300, 310), part(312, 400)], owed: vec![part(300, 1001)], ..Done::default() };
    let keeper = Keeper { storage: EPOCH.storage, from: Index(900) };
    let spec = SubscriptionSpec { shared: true, window: Some(256), ..SubscriptionSpec::default() };
    let at = |last| StreamAt { origin: relay("bonn"), epoch: EPOCH, last: Sequence(last) };
    [
        ("move-prepare-merge", MoveSays::Prepare { spec, queue: false, void: None, merge: true }),
        (
            "move-prepared-merge",
            MoveSays::Prepared { keeper, version: version(9), streams: vec![at(1000)], own: vec![at(499)] },
        ),
        (
            "move-handover-merge",
            MoveSays::Handover { keeper, version: version(7), done: Box::new(done), left: vec![left()] },
        ),
    ]
}

fn far() -> StreamSeen {
    StreamSeen {
        origin: relay("rome"),
        epoch: EPOCH,
        seen: Sequence(1000),
        released: Sequence(900),
        wanted: Sequence(950),
    }
}

fn receipt() -> Receipt {
    Receipt {
        group: group(),
        origin: relay("rome"),
        epoch: EPOCH,
        member: relay("oslo"),
        storage: StorageId(*b"fedcba9876543210"),
        durable: Sequence(1000),
        consumed: Sequence(999),
        hops: 3,
        full: None,
        released: None,
        brought: None,
        began: None,
    }
}

fn released() -> Released {
    Released {
        group: group(),
        origin: relay("rome"),
        epoch: EPOCH,
        released: Sequence(900),
        wanted: Sequence(0),
        to: Some(relay("oslo")),
        hops: 3,
        heard: None,
    }
}

/// Quotas that are used up at a home, and an origin that has heard of it.
fn fulls() -> Vec<(&'static str, LinkMessage)> {
    let version = FullVersion { boot: 7, change: 2 };
    let full = |full: Full| LinkMessage::Receipts(vec![Receipt { full: Some(Box::new(full)), ..receipt() }]);
    let name = |name| SubscriptionName::new(name).unwrap();
    let quotas = Quotas {
        count: Some(1_000_000),
        bytes: Some(1 << 30),
        subscription_count: Some(1000),
        subscription_bytes: Some(1 << 20),
    };
    let used_up = Full {
        version,
        quotas,
        subscriptions: vec![name("billing"), name("audit")],
        left_off: 3,
        group: Some(name("audit")),
    };
    let has_room = Full {
        version: FullVersion { change: 3, ..version },
        quotas: Quotas { count: Some(1_000_000), ..Quotas::default() },
        ..Full::default()
    };
    let heard = Released { heard: Some(version), ..released() };
    vec![
        ("receipts-full", full(used_up)),
        ("receipts-full-ended", full(has_room)),
        ("released-heard", LinkMessage::Released(vec![heard])),
    ]
}

/// One message of each kind, by the name of its file.
pub(crate) fn messages() -> Vec<(&'static str, LinkMessage)> {
    let named = StreamNamed {
        number: StreamNumber(4),
        group: group(),
        origin: relay("rome"),
        epoch: EPOCH,
        base: Sequence(901),
        chain: 0x1122_3344_5566_7788,
        released: Sequence(900),
    };
    let finished = Finished {
        group: group(),
        origin: relay("rome"),
        storage: EPOCH.storage,
        through: 6,
        to: None,
        hops: 0,
    };
    let newcomer = LinkState { is_new: true, ..LinkState::new(relay("rome"), version(1)) };
    // Of a program that computes trees in a second way.
    let newer = LinkState { algorithm: 2, ..LinkState::new(relay("rome"), version(9)) };
    let seen = |why| LinkMessage::Seen { group: group(), streams: vec![far()], why };
    let (home, asked) = (relay("rome"), vec![relay("bonn"), relay("oslo")]);
    let ask = Ask { group: group(), home: home.clone(), version: version(7), to: asked, hops: 3 };
    let confirmed = Confirmed { group: group(), home, version: version(7), by: relay("bonn"), hops: 2 };
    let (asker, to) = (relay("bonn"), vec![relay("rome"), relay("oslo")]);
    let message = trace::message();
    let ask_where = AskWhere { question: 5, asker: asker.clone(), message, to, hops: 3 };
    let told_where = ToldWhere { question: 5, asker, trace: Box::new(trace::held()), hops: 2 };
    let mut all = vec![
        ("facts", LinkMessage::Facts(facts())),
        ("facts-topology", LinkMessage::Facts(topology_facts())),
        ("facts-end", LinkMessage::FactsEnd),
        ("facts-newcomer", LinkMessage::Facts(vec![Fact::LinkState(newcomer)])),
        ("seen-asks", seen(SeenWhy::Asks)),
        ("seen-answers", seen(SeenWhy::Answers)),
        ("seen-lacks", seen(SeenWhy::Lacks)),
        ("stream", LinkMessage::Stream(named)),
        ("receipts", LinkMessage::Receipts(vec![receipt()])),
        ("released", LinkMessage::Released(vec![released()])),
        ("ask", LinkMessage::Ask(ask)),
        ("confirmed", LinkMessage::Confirmed(confirmed)),
        ("facts-forgotten", LinkMessage::Facts(vec![forgotten()])),
        ("finished", LinkMessage::Finished(vec![finished])),
        ("facts-algorithm", LinkMessage::Facts(vec![Fact::LinkState(newer)])),
        ("ask-where", LinkMessage::AskWhere(ask_where)),
        ("told-where", LinkMessage::ToldWhere(told_where)),
    ];
    all.extend(circuits().into_iter().chain(moves()).chain([drained()]).chain(fulls()));
    let to_one_that_forgot = Receipt { released: Some(Sequence(900)), ..receipt() };
    all.push(("receipts-released", LinkMessage::Receipts(vec![to_one_that_forgot])));
    // Above what the disk before has said in its third boot.
    let of_new_disk = LinkState { boot: Some(1), ..LinkState::new(relay("rome"), version((3 << 32) + 2)) };
    all.push(("facts-boot", LinkMessage::Facts(vec![Fact::LinkState(of_new_disk)])));
    // What has come to it was done with there, and waits for nobody.
    let of_new_home = Receipt { brought: Some(12), ..receipt() };
    all.push(("receipts-brought", LinkMessage::Receipts(vec![of_new_home])));
    let of_newcomer = Receipt { began: Some(Sequence(700)), ..receipt() };
    all.push(("receipts-began", LinkMessage::Receipts(vec![of_newcomer])));
    all
}

/// What the file's name begins with: a message without a golden file does not compile here.
fn family(message: &LinkMessage) -> &'static str {
    match message {
        LinkMessage::Pull(_) => "pull",
        LinkMessage::Pulled(_) => "pulled",
        LinkMessage::Holds(_) => "holds",
        LinkMessage::Digest(_) => "digest",
        LinkMessage::Buckets(_) => "buckets",
        LinkMessage::Facts(_) => "facts",
        LinkMessage::FactsEnd => "facts-end",
        LinkMessage::Seen { .. } => "seen",
        LinkMessage::Stream(_) => "stream",
        LinkMessage::Receipts(_) => "receipts",
        LinkMessage::Released(_) => "released",
        LinkMessage::Ask(_) => "ask",
        LinkMessage::Confirmed(_) => "confirmed",
        LinkMessage::Finished(_) => "finished",
        LinkMessage::AskWhere(_) => "ask-where",
        LinkMessage::ToldWhere(_) => "told-where",
        LinkMessage::Circuit(frame) => match frame.says {
            CircuitSays::Request { .. } => "circuit-request",
            CircuitSays::Acks(_) => "circuit-acks",
            CircuitSays::Credit(_) => "circuit-credit",
            CircuitSays::Written(_) => "circuit-written",
            CircuitSays::Answer { .. } => "circuit-answer",
            CircuitSays::Notice(_) => "circuit-notice",
            CircuitSays::Ping => "circuit-ping",
            CircuitSays::Pong => "circuit-pong",
            CircuitSays::End(_) => "circuit-end",
        },
        LinkMessage::Move(frame) => match &frame.says {
            MoveSays::Prepare { merge: true, .. } => "move-prepare-merge",
            MoveSays::Prepare { void: Some(_), .. } => "move-prepare-void",
            MoveSays::Prepare { queue: true, .. } => "move-prepare-queue",
            MoveSays::Prepare { .. } => "move-prepare",
            MoveSays::Prepared { own, .. } if !own.is_empty() => "move-prepared-merge",
            MoveSays::Prepared { .. } => "move-prepared",
            MoveSays::Refused(_) => "move-refused",
            MoveSays::Ask { .. } => "move-ask",
            MoveSays::Held { .. } => "move-held",
            MoveSays::Handover { done, .. } if !done.owed.is_empty() => "move-handover-merge",
            MoveSays::Handover { left, .. } if !left.is_empty() => "move-handover-left",
            MoveSays::Handover { .. } => "move-handover",
            MoveSays::Copy { .. } => "move-copy",
            MoveSays::Copied { .. } => "move-copied",
            MoveSays::Taken => "move-taken",
            MoveSays::Void => "move-void",
        },
        LinkMessage::Run { .. } | LinkMessage::Deliver { .. } | LinkMessage::Copy { .. } => {
            unreachable!("it has a frame of its own")
        }
    }
}

#[test]
fn what_relays_say_to_one_another_is_as_ever() {
    let hello = LinkHello {
        magic: LINK_MAGIC.to_owned(),
        version: 1,
        relay: relay("bonn"),
        epoch: EPOCH,
        to: relay("rome"),
        hello_ms: 100,
        takes: Vec::new(),
    };
    let body = check_frame("link-hello", FrameKind::LinkHello, 0, &body::encode(&hello));
    assert_eq!(body::decode::<LinkHello>(&body).unwrap(), hello);
    let hello = LinkHello { takes: vec![LZ4.to_owned()], ..hello };
    let body = check_frame("link-hello-takes", FrameKind::LinkHello, 0, &body::encode(&hello));
    assert_eq!(body::decode::<LinkHello>(&body).unwrap(), hello);
    for (name, message) in messages().into_iter().chain(pulls()) {
        assert!(name.starts_with(family(&message)), "{name}");
        let body = check_frame(&format!("link-{name}"), FrameKind::Link, 0, &message.encode());
        assert_eq!(LinkMessage::decode(&body).unwrap(), message, "{name}");
    }
}

#[test]
fn a_run_on_a_link_is_as_ever() {
    let records = values::records();
    let header = RunHeader {
        kind: RunKind::Data,
        has_ttl: true,
        has_subject: true,
        count: 2,
        body_bytes: u32::try_from(records.len()).unwrap(),
        first: Sequence(901),
        body_hash: xxh3_64(&records),
        chain: 0x1122_3344_5566_7788,
        accepted: WallTime(1_700_000_000_000_000),
        producer: None,
    };
    let head = LinkRunHead { age_ms: 12, packing: Packing::Plain, header };
    let mut bytes = BytesMut::new();
    head.encode(&mut bytes);
    bytes.put_slice(&records);
    let body = check_frame("link-run", FrameKind::LinkRun, 4, &bytes);
    assert_eq!(LinkRunHead::decode(body).unwrap(), (head, records));
}

/// What other programs have packed is unpacked, whatever this one would make of it.
#[test]
fn a_packed_run_on_a_link_is_as_ever() {
    let record = Record { payload: b"one pizza, ".repeat(60).leak(), ..Record::default() };
    let mut records = BytesMut::new();
    record.encode(&mut records);
    let records = records.freeze();
    let header = RunHeader {
        kind: RunKind::Data,
        has_ttl: false,
        has_subject: false,
        count: 1,
        body_bytes: u32::try_from(records.len()).unwrap(),
        first: Sequence(903),
        body_hash: xxh3_64(&records),
        chain: 0x1122_3344_5566_7788,
        accepted: WallTime(1_700_000_000_000_000),
        producer: None,
    };
    let head = LinkRunHead { age_ms: 12, packing: Packing::Lz4, header };
    let mut bytes = BytesMut::new();
    head.encode(&mut bytes);
    assert!(pack(&records, &mut bytes));
    let body = check_frame("link-run-lz4", FrameKind::LinkRun, 4, &bytes);
    assert_eq!(LinkRunHead::decode(body).unwrap(), (head, records));
}

#[test]
fn a_delivery_over_a_circuit_is_as_ever() {
    let records = values::records();
    let deliver = DeliverHead {
        first_index: Index(3),
        first: Sequence(901),
        count: 2,
        stream: StreamNumber(4),
        accepted: WallTime(1_700_000_000_000_000),
        records_hash: xxh3_64(&records),
        attempt: 2,
    };
    let circuit = CircuitId { opener: relay("oslo"), boot: 0x1122_3344_5566_7788, number: 9 };
    let head = CircuitHead { circuit, home: relay("rome"), is_back: true, sequence: 6, hops: 3 };
    let head = LinkDeliverHead { head, deliver };
    let mut bytes = BytesMut::new();
    head.encode(&mut bytes);
    bytes.put_slice(&records);
    let body = check_frame("link-deliver", FrameKind::LinkDeliver, 9, &bytes);
    assert_eq!(LinkDeliverHead::decode(9, body.clone()).unwrap(), (head, records));
    for short in 0..body.len().min(80) {
        assert!(LinkDeliverHead::decode(9, body.slice(..short)).is_err(), "{short} bytes");
    }
}

#[test]
fn a_run_that_is_copied_to_another_home_is_as_ever() {
    let records = values::records();
    let header = RunHeader {
        kind: RunKind::Data,
        has_ttl: true,
        has_subject: true,
        count: 2,
        body_bytes: records.len() as u32,
        first: Sequence(901),
        body_hash: xxh3_64(&records),
        chain: 0x1122_3344_5566_7788,
        accepted: WallTime(1_700_000_000_000_000),
        producer: Some((ProducerId(77), ProducerSequence(300))),
    };
    let head = CopyHead {
        from: relay("oslo"),
        to: relay("rome"),
        hops: 3,
        group: group(),
        name: SubscriptionName::new("billing").unwrap(),
        token: 0x1122_3344_5566_7788,
        part: u32::MAX,
        origin: relay("bonn"),
        epoch: EPOCH,
        behind: Index(300),
        first_index: Index(310),
        age_ms: 1500,
        not_owed: vec![(Index(310), Index(311))],
    };
    let head = LinkCopyHead { head, header };
    let mut bytes = BytesMut::new();
    head.encode(&mut bytes);
    bytes.put_slice(&records);
    let body = check_frame("link-copy", FrameKind::LinkCopy, 0, &bytes);
    assert_eq!(LinkCopyHead::decode(body.clone()).unwrap(), (head, records));
    for short in 0..body.len() {
        assert!(LinkCopyHead::decode(body.slice(..short)).is_err(), "{short} bytes");
    }
}
