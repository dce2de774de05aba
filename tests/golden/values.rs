//! The values that the golden files of the wire were made of.

use bytes::{Bytes, BytesMut};
use treecast::id::{
    Epoch, GroupName, Index, ProducerId, ProducerSequence, RelayId, Sequence, StorageId, StreamNumber,
    SubscriptionName, WallTime,
};
use treecast::log::Space;
use treecast::topology::TopologyVersion;
use treecast::topology::settings::{Fifo, GroupSettings, SubscriptionPolicy, TreeKind};
use treecast::wire::applied::{TopologyEntry, TopologyHead};
use treecast::wire::body::{
    Begun, Books, FileStanding, FullQuota, GapCause, GroupInfo, Location, Missing, MoveInfo, MoveStage,
    Notice, Outcomes, QueueMoves, Refusal, RefusalCode, Reply, Request, Start, Status, StreamInfo,
    SubscriptionInfo, SubscriptionSpec, TopologyInfo, UnorderedCause,
};
use treecast::wire::run::Record;

use super::{network, trace};

pub(crate) const EPOCH: Epoch =
    Epoch { counter: 3, storage: StorageId(*b"0123456789abcdef"), nonce: 0x1122_3344_5566_7788 };

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(crate) fn relay() -> RelayId {
    RelayId::new("rome").unwrap()
}

pub(crate) fn subscription(name: &str) -> SubscriptionName {
    SubscriptionName::new(name).unwrap()
}

/// A record with everything that a record can have, and one with nothing.
pub(crate) fn records() -> Bytes {
    let mut headers = BytesMut::new();
    Record::encode_header(&mut headers, "shop", b"7");
    let mut body = BytesMut::new();
    let full =
        Record { ttl_ms: Some(60_000), subject: Some("eu/rome"), headers: &headers, payload: b"one pizza" };
    full.encode(&mut body);
    Record { payload: b"two", ..Record::default() }.encode(&mut body);
    body.freeze()
}

pub(crate) fn settings() -> GroupSettings {
    GroupSettings {
        max_age_ms: Some(86_400_000),
        max_bytes: Some(1 << 30),
        max_count: Some(1_000_000),
        history_age_ms: Some(3_600_000),
        history_bytes: Some(1 << 20),
        history_count: Some(1000),
        quota_bytes: Some(1 << 29),
        quota_count: Some(500_000),
        subscription_quota_count: Some(100),
        subscription_quota_bytes: Some(1 << 16),
        subscription_policy: SubscriptionPolicy::DropOldest,
        ttl_ms: Some(600_000),
        max_deliver: Some(5),
        backoff_ms: vec![100, 1000, 60_000],
        dead_letter: Some("orders/dead".to_owned()),
        max_message_bytes: Some(1 << 20),
        ack_wait_ms: Some(10_000),
        producer_idle_max_ms: Some(604_800_000),
        tree: TreeKind::Source,
        // Added later, and left out when they are not set.
        fifo: Fifo::Origin,
        producer_hold_ms: None,
    }
}

fn spec() -> SubscriptionSpec {
    SubscriptionSpec {
        start: Start::Time(WallTime(1_700_000_000_000_000)),
        shared: true,
        filter: Some("eu/+/#".to_owned()),
        window: Some(256),
        ..SubscriptionSpec::default()
    }
}

/// One request of each kind; of those with kinds inside, several.
pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let (orders, billing) = (|| group("orders"), || subscription("billing"));
    let seek =
        |start| Request::SubscriptionSeek { group: group("orders"), name: subscription("billing"), start };
    let by_producer =
        GroupSettings { fifo: Fifo::Producer, producer_hold_ms: Some(2_000), ..GroupSettings::default() };
    let evict = GroupSettings { subscription_policy: SubscriptionPolicy::Evict, ..GroupSettings::default() };
    vec![
        ("group-open", Request::GroupOpen { group: orders() }),
        ("group-create", Request::GroupCreate { group: orders(), settings: settings(), queue: false }),
        ("group-set", Request::GroupSet { group: orders(), settings: evict }),
        ("group-list", Request::GroupList { prefix: "or".to_owned(), after: Some(orders()), limit: 100 }),
        ("group-show", Request::GroupShow { group: orders() }),
        ("group-remove", Request::GroupRemove { group: orders() }),
        (
            "subscription-create",
            Request::SubscriptionCreate { group: orders(), name: billing(), spec: spec() },
        ),
        ("subscription-list", Request::SubscriptionList { group: orders(), after: None, limit: 100 }),
        ("subscription-show", Request::SubscriptionShow { group: orders(), name: billing() }),
        ("subscription-seek-now", seek(Start::Now)),
        ("subscription-seek-beginning", seek(Start::Beginning)),
        ("subscription-seek-index", seek(Start::Index(Index(17)))),
        ("subscription-remove", Request::SubscriptionRemove { group: orders(), name: billing() }),
        (
            "attach",
            Request::Attach {
                group: orders(),
                name: Some(billing()),
                create: Some(SubscriptionSpec::default()),
            },
        ),
        ("attach-queue", Request::Attach { group: group("jobs"), name: None, create: None }),
        ("detach", Request::Detach { handle: 1 }),
        ("poll", Request::Poll { handle: 1, messages: 10 }),
        ("sync", Request::Sync),
        ("locate", locate("orders", false, None)),
        ("status", Request::Status),
        ("books", Request::Books { group: None }),
        ("link-list", Request::LinkList { after: Some(relay()), limit: 100 }),
        ("relay-list", Request::RelayList { after: None, limit: 100 }),
        ("group-tree", Request::GroupTree { group: orders(), origin: Some(relay()), from: 500, limit: 100 }),
        ("locate-prefix", locate("orders", true, None)),
        ("relay-drain", Request::RelayDrain { abandon: true }),
        ("relay-forget", Request::RelayForget { relay: relay(), confirmed: true }),
        ("where", Request::Where { message: trace::message(), local: false, within_ms: None }),
        ("where-local", Request::Where { message: trace::message(), local: true, within_ms: Some(500) }),
        ("topology-show", Request::TopologyShow { version: Some(3), hash: None }),
        (
            "topology-apply",
            Request::TopologyApply {
                text: topology().text,
                base: Some(topology().head.version),
                restores: Some(2),
            },
        ),
        ("topology-join", Request::TopologyJoin { relay: relay(), storage: EPOCH.storage }),
        ("topology-tell", Request::TopologyTell { entry: Box::new(topology()) }),
        (
            "subscription-move",
            Request::SubscriptionMove { group: orders(), name: billing(), to: Some(relay()) },
        ),
        ("subscription-move-not", Request::SubscriptionMove { group: orders(), name: billing(), to: None }),
        ("group-set-fifo", Request::GroupSet { group: orders(), settings: by_producer }),
        ("relay-drain-named", Request::RelayDrainNamed { relay: relay(), abandon: true }),
        ("locate-behind", locate("", true, Some(location()))),
        ("topology-show-overtaken", Request::TopologyShow { version: Some(3), hash: Some(0x0f3a_9c21) }),
    ]
}

fn outcomes() -> Outcomes {
    Outcomes {
        acked: 1,
        filtered: 2,
        expired: 3,
        evicted: 4,
        dead_lettered: 5,
        skipped: 6,
        lost: 7,
        passed: 0,
        moved: 0,
    }
}

fn group_info() -> GroupInfo {
    let stream = StreamInfo {
        number: StreamNumber(4),
        origin: relay(),
        epoch: EPOCH,
        last: Sequence(40),
        sealed: true,
    };
    GroupInfo {
        name: group("orders"),
        queue: false,
        settings: GroupSettings::default(),
        low: Index(5),
        next: Index(42),
        messages: 36,
        bytes: 9000,
        subscriptions: 2,
        streams: vec![stream],
        order: None,
        elsewhere: 0,
        moves: None,
        full: Vec::new(),
    }
}

fn full_group() -> GroupInfo {
    let full = |name, is_of_group| FullQuota { home: relay(), subscription: subscription(name), is_of_group };
    GroupInfo { full: vec![full("billing", false), full("audit", true)], ..group_info() }
}

fn queues_that_move() -> Vec<GroupInfo> {
    let queue = GroupInfo { queue: true, ..group_info() };
    let moves = |to, from| Some(Box::new(QueueMoves { to, from }));
    let goes = GroupInfo { moves: moves(Some(relay()), None), ..queue.clone() };
    vec![goes, GroupInfo { moves: moves(None, Some(relay())), ..queue }]
}

fn subscription_info() -> SubscriptionInfo {
    SubscriptionInfo {
        group: group("orders"),
        name: subscription("billing"),
        home: relay(),
        shared: false,
        filter: Some("eu/#".to_owned()),
        floor: Index(10),
        next: Index(20),
        backlog: 30,
        in_flight: 4,
        parked: 1,
        receivers: 1,
        window: 1024,
        inserted: 58,
        out: outcomes(),
        aside: 0,
        moving: None,
        comes_from: None,
        also_at: Box::default(),
    }
}

fn status() -> Status {
    Status {
        relay: relay(),
        version: "0.1.0".to_owned(),
        storage: EPOCH.storage,
        boot: EPOCH.counter,
        uptime_ms: 1234,
        accepting: Ok(()),
        warnings: vec!["a warning".to_owned()],
        groups: 1,
        subscriptions: 2,
        sessions: 3,
        space: Space {
            segment_bytes: 0,
            reserve_bytes: 0,
            file_bytes: 4,
            live_bytes: 5,
            free_bytes: 6,
            segments: 7,
            spare_segments: 8,
            has_priority: true,
            commits: 9,
            committed_bytes: 10,
            cold_segments: 13,
            rewritten_segments: 14,
            rewritten_bytes: 15,
        },
        resident_bytes: 11,
        cpu_us: 12,
        network: None,
    }
}

/// Every code there is.
pub(crate) const CODES: [RefusalCode; 13] = [
    RefusalCode::NotFound,
    RefusalCode::Exists,
    RefusalCode::Invalid,
    RefusalCode::TooLarge,
    RefusalCode::Quota,
    RefusalCode::NoRoom,
    RefusalCode::NotReady,
    RefusalCode::Limit,
    RefusalCode::ProducerForgotten,
    RefusalCode::Removed,
    RefusalCode::NotPermitted,
    RefusalCode::Stopping,
    RefusalCode::Deadline,
];

fn books() -> Books {
    Books {
        put: 100,
        accepted: 8,
        repeats: 2,
        refused: CODES.iter().copied().zip(1..).collect(),
        unsynced: 12,
        inserted: 29,
        held: 1,
        held_own: 0,
        out: outcomes(),
        balanced: true,
        links: Vec::new(),
    }
}

/// With the relays' own records.
fn books_passed() -> Books {
    Books { held_own: 1, inserted: 37, out: Outcomes { passed: 8, ..outcomes() }, ..books() }
}

/// With what has gone to another relay.
fn books_moved() -> Books {
    Books { inserted: 36, out: Outcomes { moved: 7, ..outcomes() }, ..books() }
}

/// One at each step of a move, and one that is kept where it comes.
fn moving() -> Vec<SubscriptionInfo> {
    let to = || RelayId::new("oslo").unwrap();
    let stages = [
        MoveStage::Preparing,
        MoveStage::Asking,
        MoveStage::Gathering,
        MoveStage::Consuming,
        MoveStage::HandingOver,
    ];
    let mut all: Vec<SubscriptionInfo> = stages
        .into_iter()
        .map(|stage| {
            let asks = stage == MoveStage::Asking;
            let waits_for = if asks { vec![RelayId::new("bonn").unwrap()] } else { Vec::new() };
            let refusal =
                (stage == MoveStage::Preparing).then(|| Refusal::new(RefusalCode::Exists, "it has one"));
            let info = MoveInfo { to: to(), stage, waits_for, messages: 7, refusal, merge: false };
            SubscriptionInfo { moving: Some(Box::new(info)), ..subscription_info() }
        })
        .collect();
    all.push(SubscriptionInfo { comes_from: Some(to()), ..subscription_info() });
    all
}

fn locate(group: &str, prefix: bool, after: Option<Location>) -> Request {
    Request::Locate { group: group.to_owned(), prefix, after: after.map(Box::new) }
}

fn location() -> Location {
    Location {
        group: group("orders"),
        subscription: Some(subscription("billing")),
        home: relay(),
        forgotten: false,
        shared: None,
        filter: None,
    }
}

fn subscription_handle(begun: Option<Begun>) -> Reply {
    let name = subscription("billing");
    Reply::SubscriptionHandle { handle: 1, name, created: true, window: 1024, moves: 0, begun }
}

/// One answer of each kind.
pub(crate) fn answers() -> Vec<(&'static str, Result<Reply, Refusal>)> {
    let refusal = Refusal::new(RefusalCode::NotFound, "there is no group or queue `order`");
    let stopping = Status { accepting: Err("the relay is stopping".to_owned()), ..status() };
    vec![
        ("done", Ok(Reply::Done)),
        ("group-handle", Ok(Reply::GroupHandle { handle: 0, message_bytes_max: 16 << 20, nonce: None })),
        ("subscription-handle", Ok(subscription_handle(None))),
        ("groups", Ok(Reply::Groups(vec![group_info()]))),
        ("group", Ok(Reply::Group(Box::new(group_info())))),
        ("subscriptions", Ok(Reply::Subscriptions(vec![subscription_info()]))),
        ("subscription", Ok(Reply::Subscription(subscription_info()))),
        ("polled", Ok(Reply::Polled { messages: 2 })),
        ("located", Ok(Reply::Located(vec![location()]))),
        ("status", Ok(Reply::Status(Box::new(status())))),
        ("status-not-accepting", Ok(Reply::Status(Box::new(stopping)))),
        ("books", Ok(Reply::Books(Box::new(books())))),
        ("refused", Err(refusal)),
        ("status-in-a-network", Ok(Reply::Status(Box::new(network::status(status()))))),
        ("books-with-links", Ok(Reply::Books(Box::new(network::books(books()))))),
        ("links", Ok(Reply::Links(network::links()))),
        ("relays", Ok(Reply::Relays(network::relays()))),
        ("group-tree", Ok(Reply::GroupTree(Box::new(network::tree())))),
        ("forgetting", Ok(Reply::Forgetting(Box::new(super::network::forgetting())))),
        ("draining", Ok(Reply::Draining(Box::new(super::network::draining())))),
        ("where", Ok(Reply::Where(Box::new(trace::whereabouts())))),
        ("topology", Ok(Reply::Topology(Box::new(topology_info())))),
        ("topology-applied", Ok(Reply::TopologyApplied(topology().head))),
        ("subscriptions-moving", Ok(Reply::Subscriptions(moving()))),
        ("groups-moving", Ok(Reply::Groups(queues_that_move()))),
        ("relays-draining", Ok(Reply::Relays(network::leaving()))),
        ("group-handle-renewed", Ok(Reply::GroupHandle { handle: 1, message_bytes_max: 9, nonce: Some(77) })),
        ("group-full", Ok(Reply::Group(Box::new(full_group())))),
        ("group-tree-over-cap", Ok(Reply::GroupTree(Box::new(network::tree_over_cap())))),
        ("draining-moves", Ok(Reply::Draining(Box::new(network::draining_moves())))),
        (
            "subscription-handle-begun",
            Ok(subscription_handle(Some(Begun { boot: 7, index: Index(1 << 32) }))),
        ),
        ("books-passed", Ok(Reply::Books(Box::new(books_passed())))),
        ("draining-closes", Ok(Reply::Draining(Box::new(network::draining_closes())))),
        (
            "located-forgotten",
            Ok(Reply::Located(vec![Location { subscription: None, forgotten: true, ..location() }])),
        ),
        (
            "located-kind",
            Ok(Reply::Located(vec![Location {
                shared: Some(true),
                filter: Some("eu/+/paid".to_owned()),
                ..location()
            }])),
        ),
        ("where-own-record", Ok(Reply::Where(Box::new(trace::own_records())))),
        ("books-moved", Ok(Reply::Books(Box::new(books_moved())))),
        (
            "subscription-two-homes",
            Ok(Reply::Subscription(SubscriptionInfo {
                also_at: Box::new([RelayId::new("bonn").unwrap()]),
                ..subscription_info()
            })),
        ),
    ]
}

/// One notice of each kind; a gap for each cause.
pub(crate) fn notices() -> Vec<(&'static str, Notice)> {
    let gap = |cause| Notice::Gap { handle: 1, from: Index(7), to: Index(9), cause };
    let refusal = |code| Refusal::new(code, "because");
    vec![
        ("stream", Notice::Stream { number: StreamNumber(4), origin: relay(), epoch: EPOCH }),
        ("put-refused", Notice::PutRefused { put: 5, refusal: refusal(RefusalCode::NoRoom) }),
        ("gap-subscription-quota", gap(GapCause::SubscriptionQuota)),
        ("gap-retention", gap(GapCause::Retention)),
        ("gap-damaged", gap(GapCause::Damaged)),
        ("gap-expired", gap(GapCause::Expired)),
        ("gap-evicted", gap(GapCause::Evicted)),
        ("gap-uncertain", gap(GapCause::Uncertain)),
        (
            "unordered-waited",
            Notice::Unordered {
                handle: 1,
                from: Index(7),
                to: Index(9),
                missing: Some(Missing {
                    producer: ProducerId(7),
                    from: ProducerSequence(40),
                    to: ProducerSequence(42),
                }),
                cause: UnorderedCause::Waited,
            },
        ),
        (
            "unordered-bound",
            Notice::Unordered {
                handle: 1,
                from: Index(7),
                to: Index(9),
                missing: None,
                cause: UnorderedCause::Bound,
            },
        ),
        ("detached", Notice::Detached { handle: 1, refusal: refusal(RefusalCode::Removed) }),
        (
            "put-refused-leaving",
            Notice::PutRefused {
                put: 5,
                refusal: Refusal { leaving: true, ..refusal(RefusalCode::NotReady) },
            },
        ),
    ]
}

/// A topology that was applied, and is the text of an earlier one again.
pub(crate) fn topology() -> TopologyEntry {
    let text = "version = 1\n[relay.rome]\naddress = \"127.0.0.1:7411\"\n".to_owned();
    let head = TopologyHead {
        version: TopologyVersion::new(5, &text),
        by: relay(),
        at: WallTime(1_700_000_000_000_000),
        restores: Some(3),
    };
    TopologyEntry { head, text }
}

fn topology_info() -> TopologyInfo {
    let entry = topology();
    TopologyInfo {
        kept: vec![entry.head.clone()],
        taken: Some(entry.head.version),
        file: FileStanding::Differs,
        entry: Some(entry),
    }
}
