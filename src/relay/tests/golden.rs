//! The state on disk as bytes, kept for ever in `tests/golden/state`: each operation, and a part of
//! a snapshot in which every key stands.
//!
//! A new operation gets its word in [`word`], its value in [`operations`] and, with
//! `TREECAST_GOLDEN=write`, its file; a new key of a snapshot a new part beside the old one.

use std::collections::BTreeMap;

use super::harness::{Harness, body, group, sub};
use crate::id::{
    Epoch, GroupNumber, Index, LinkId, ProducerId, RelayId, Sequence, StorageId, StreamNumber, WallTime,
};
use crate::log::EntryNumber;
use crate::relay::arriving::Arrived;
use crate::relay::forget::Forgot;
use crate::relay::loss::{TailCut, Uncertain};
use crate::relay::merging::{Brought, Merging, Taken};
use crate::relay::moving::{Cut, Moving, Rest};
use crate::relay::remnant::Remnant;
use crate::relay::repair::Annex;
use crate::relay::saved::{Counters, SavedGroup, Shard};
use crate::relay::state::{Accounts, Operation, State, shard_of};
use crate::relay::subscription::{Gap, SubscriptionNumber};
use crate::topology::TopologyVersion;
use crate::topology::settings::{Fifo, GroupSettings, SubscriptionPolicy};
use crate::wire::applied::{TopologyEntry, TopologyHead};
use crate::wire::body::{GapCause, MoveStage, Outcomes, Reply, Request, Start, SubscriptionSpec};
use crate::wire::frame::{AckKind, AckLevel};
use crate::wire::link::{NameEntry, Version};
use crate::wire::moving::{Done, Keeper, Left, ProducerDone, StreamAt, StreamPart};

#[allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "what golden tests share: files, of which the core knows none"
)]
#[path = "../../../tests/golden/files.rs"]
mod files;

const STORAGE: StorageId = StorageId([0x5a; 16]);
const VERSION: Version = Version { counter: 0x1_0003, storage: STORAGE };
const AT: WallTime = WallTime(1_700_000_000_000_000);

fn relay(name: &str) -> RelayId {
    RelayId::new(name).unwrap()
}

fn settings() -> GroupSettings {
    GroupSettings {
        max_age_ms: Some(3_600_000),
        history_count: Some(10),
        ttl_ms: Some(60_000),
        subscription_quota_bytes: Some(1 << 30),
        subscription_policy: SubscriptionPolicy::DropOldest,
        backoff_ms: vec![100, 2_000],
        dead_letter: Some("dead".to_owned()),
        ..GroupSettings::default()
    }
}

fn spec() -> SubscriptionSpec {
    SubscriptionSpec {
        start: Start::Now,
        shared: true,
        filter: Some("eu/#".to_owned()),
        window: Some(256),
        ..SubscriptionSpec::default()
    }
}

/// The name of the golden file of an operation.
fn word(operation: &Operation) -> &'static str {
    match operation {
        Operation::GroupCreated { .. } => "group-created",
        Operation::GroupSet { planned: Some(_), .. } => "group-planned",
        Operation::GroupSet { .. } => "group-set",
        Operation::GroupRemoved { brought: None, .. } => "group-removed",
        Operation::GroupRemoved { .. } => "remnant-removed",
        Operation::StreamOpened { .. } => "stream-opened",
        Operation::SubscriptionCreated { remade: Some(_), .. } => "subscription-remade",
        Operation::SubscriptionCreated { replays: true, .. } => "subscription-replays",
        Operation::SubscriptionCreated { .. } => "subscription-created",
        Operation::SubscriptionRemoved { elsewhere: true, .. } => "subscription-void",
        Operation::SubscriptionRemoved { evicted: None, .. } => "subscription-removed",
        Operation::SubscriptionRemoved { .. } => "subscription-evicted",
        Operation::MemberSet { .. } => "member-set",
        Operation::OriginSet { .. } => "origin-set",
        Operation::GroupEntrySet { home: None, .. } => "group-entry-set",
        Operation::GroupEntrySet { .. } => "queue-entry-set",
        Operation::NameSet { spec: Some(_), .. } => "name-set",
        Operation::NameSet { .. } => "name-set-gone",
        Operation::NameRemoved { .. } => "name-removed",
        Operation::StreamMoved { owed: false, .. } => "stream-moved",
        Operation::StreamMoved { .. } => "stream-moved-owed",
        Operation::GroupRemade { .. } => "group-remade",
        Operation::EpochsFinished { .. } => "epochs-finished",
        Operation::TableLearned => "table-learned",
        Operation::TailCut { entries: None, .. } => "tail-cut-unknown",
        Operation::TailCut { .. } => "tail-cut",
        Operation::RelayForgotten { is_back: true, .. } => "relay-forgotten-back",
        Operation::RelayForgotten { .. } => "relay-forgotten",
        Operation::AnnexBegun { .. } => "annex-begun",
        Operation::StorageRenewed { .. } => "storage-renewed",
        Operation::StreamForgiven { .. } => "stream-forgiven",
        Operation::LinkNamed { .. } => "link-named",
        Operation::TopologySet { entry } if entry.head.restores.is_some() => "topology-restored",
        Operation::TopologySet { .. } => "topology-set",
        Operation::SubscriptionMoving { merge: true, .. } => "subscription-merges",
        Operation::SubscriptionMerging { merging: None, .. } => "subscription-merging-not",
        Operation::SubscriptionMerging { .. } => "subscription-merging",
        Operation::SubscriptionMerged { taken, .. } if !taken.acked.is_empty() => "subscription-merged-acked",
        Operation::SubscriptionMerged { .. } => "subscription-merged",
        Operation::SubscriptionMoving { rest: Some(_), .. } => "subscription-cut-rest",
        Operation::SubscriptionMoving { to: None, .. } => "subscription-stays",
        Operation::SubscriptionMoving { lost: Some(_), .. } => "subscription-cut-lost",
        Operation::SubscriptionMoving { cut: Some(_), .. } => "subscription-cut",
        Operation::SubscriptionMoving { .. } => "subscription-moving",
        Operation::SubscriptionArriving { queue: true, .. } => "subscription-arriving-queue",
        Operation::SubscriptionArriving { .. } => "subscription-arriving",
        Operation::QueueHome { .. } => "queue-home",
        Operation::RemnantBegun { .. } => "remnant-begun",
        Operation::RemnantPasses { .. } => "remnant-passes",
        Operation::RemnantOpened { .. } => "remnant-opened",
        Operation::SubscriptionArrived { again: Some(_), .. } => "subscription-arrived-again",
        Operation::SubscriptionArrived { at: Some(_), .. } => "subscription-arrived-at",
        Operation::SubscriptionArrived { .. } => "subscription-arrived",
    }
}

fn annex() -> Annex {
    Annex { number: GroupNumber(70_000), from: Index(300), to: Index(400) }
}

fn topology(restores: Option<u64>) -> TopologyEntry {
    let text = "version = 1\n".to_owned();
    let head =
        TopologyHead { version: TopologyVersion::new(300, &text), by: relay("oslo"), at: AT, restores };
    TopologyEntry { head, text }
}

fn forgotten(is_back: bool) -> Operation {
    let (relay, by) = (relay("oslo"), relay("paris"));
    Operation::RelayForgotten { relay, version: VERSION, by, at: AT, is_back }
}

fn of_groups(number: GroupNumber) -> Vec<Operation> {
    let settings = Box::new(settings());
    let stream = StreamNumber(7);
    let epoch = Epoch { counter: 3, storage: STORAGE, nonce: 0x1122_3344_5566_7788 };
    let moved =
        |owed| Operation::StreamMoved { group: number, stream, last: Sequence(40), chain: 0xabcd_ef01, owed };
    let entry = |home| {
        let settings = settings.clone();
        Operation::GroupEntrySet { group: number, version: VERSION, settings, home }
    };
    vec![
        Operation::GroupCreated {
            group: number,
            name: group("orders"),
            incarnation: 2,
            queue: true,
            settings: settings.clone(),
            at: AT,
        },
        Operation::GroupSet { group: number, settings: settings.clone(), planned: None },
        Operation::GroupRemoved { group: number, brought: None },
        Operation::StreamOpened { group: number, stream, origin: relay("oslo"), epoch },
        entry(None),
        entry(Some(relay("oslo"))),
        moved(false),
        moved(true),
        Operation::GroupRemade { group: number },
        Operation::NameRemoved { name: group("orders"), incarnation: 2 },
        Operation::TableLearned,
        Operation::TailCut { boot: 4, at: AT, entries: None, groups: None },
        Operation::TailCut { boot: 4, at: AT, entries: Some(9), groups: Some(vec![(number, 300)]) },
        forgotten(false),
        Operation::LinkNamed { link: LinkId(300), neighbour: relay("oslo"), at: AT },
        Operation::AnnexBegun { group: number, annex: annex() },
        Operation::StorageRenewed { storage: STORAGE },
        Operation::StreamForgiven { group: number, stream, to: Sequence(300) },
        Operation::TopologySet { entry: Box::new(topology(None)) },
        Operation::TopologySet { entry: Box::new(topology(Some(299))) },
        forgotten(true),
        Operation::GroupSet {
            group: number,
            settings: settings.clone(),
            planned: Some(0x1234_5678_9abc_def0),
        },
    ]
}

fn of_members(group: GroupNumber) -> Vec<Operation> {
    let (subscription, relay) = (SubscriptionNumber(5), relay("oslo"));
    let removed = |evicted| Operation::SubscriptionRemoved { group, subscription, evicted, elsewhere: false };
    let named = |spec| {
        let (name, home) = (sub("billing"), relay.clone());
        Operation::NameSet { group, name, home, version: VERSION, spec }
    };
    vec![
        Operation::SubscriptionCreated {
            group,
            subscription,
            name: sub("billing"),
            shared: true,
            filter: Some("eu/#".to_owned()),
            window: 256,
            start: Index(1000),
            not_before: AT,
            remade: None,
            replays: false,
        },
        Operation::SubscriptionCreated {
            group,
            subscription,
            name: sub("billing"),
            shared: true,
            filter: None,
            window: 256,
            start: Index(1000),
            not_before: AT,
            remade: Some(VERSION),
            replays: false,
        },
        Operation::SubscriptionCreated {
            group,
            subscription,
            name: sub("billing"),
            shared: false,
            filter: None,
            window: 256,
            start: Index(1),
            not_before: WallTime(0),
            remade: None,
            replays: true,
        },
        Operation::EpochsFinished { group, origin: relay.clone(), storage: STORAGE, through: 300 },
        removed(None),
        removed(Some(Index(900))),
        Operation::MemberSet { group, relay: relay.clone(), version: VERSION, member: true },
        Operation::OriginSet { group, relay: relay.clone(), version: VERSION, active: true },
        named(Some(spec())),
        named(None),
    ]
}

const KEEPER: Keeper = Keeper { storage: STORAGE, from: Index(900) };

fn done() -> Done {
    let epoch = Epoch { counter: 3, storage: STORAGE, nonce: 0x1122_3344_5566_7788 };
    Done {
        streams: vec![StreamAt { origin: relay("oslo"), epoch, last: Sequence(400) }],
        finished: vec![(relay("oslo"), STORAGE, 2)],
        producers: vec![ProducerDone { producer: ProducerId(77), floor: 300, ranges: vec![(301, 400)] }],
        ..Done::default()
    }
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

fn of_moves(group: GroupNumber) -> Vec<Operation> {
    let (subscription, token) = (SubscriptionNumber(5), 0x1122_3344_5566_7788);
    let moving = |to, cut| {
        let (lost, rest, merge) = (None, None, false);
        Operation::SubscriptionMoving { group, subscription, to, token, cut, lost, rest, merge }
    };
    vec![
        moving(None, None),
        moving(Some(relay("oslo")), None),
        moving(Some(relay("oslo")), Some(Box::new(Cut { at: Index(1000), keeper: KEEPER, done: done() }))),
        Operation::SubscriptionArriving {
            group,
            subscription,
            name: sub("billing"),
            shared: true,
            filter: Some("eu/#".to_owned()),
            window: 256,
            start: Index(1000),
            from: relay("rome"),
            token,
            queue: false,
        },
        Operation::SubscriptionArriving {
            group,
            subscription,
            name: sub("queue"),
            shared: true,
            filter: None,
            window: 1024,
            start: Index(1000),
            from: relay("rome"),
            token,
            queue: true,
        },
        Operation::SubscriptionArrived { group, subscription, done: Box::new(done()), at: None, again: None },
        Operation::SubscriptionArrived {
            group,
            subscription,
            done: Box::new(done()),
            at: Some(AT),
            again: None,
        },
        Operation::SubscriptionMoving {
            group,
            subscription,
            to: Some(relay("oslo")),
            token,
            cut: Some(Box::new(Cut { at: Index(1000), keeper: KEEPER, done: done() })),
            lost: Some(VERSION),
            rest: None,
            merge: false,
        },
        Operation::QueueHome { group, here: true },
    ]
}

fn of_remnants(group: GroupNumber) -> Vec<Operation> {
    let (subscription, token) = (SubscriptionNumber(5), 0x1122_3344_5566_7788);
    vec![
        Operation::SubscriptionMoving {
            group,
            subscription,
            to: Some(relay("oslo")),
            token,
            cut: Some(Box::new(Cut { at: Index(1000), keeper: KEEPER, done: done() })),
            lost: None,
            rest: Some(Box::new(Rest {
                lost: vec![(7, vec![(Index(20), Index(30), GapCause::Damaged)])],
                done: None,
            })),
            merge: false,
        },
        Operation::RemnantBegun {
            group,
            of: (GroupNumber(4), subscription),
            part: u32::MAX,
            name: crate::relay::tests::golden::group("orders"),
            incarnation: 2,
            settings: Box::new(settings()),
            subscription: SubscriptionNumber(6),
            subscription_name: sub("billing"),
            shared: true,
            filter: Some("eu/#".to_owned()),
            window: 256,
            from: Index(300),
            at: AT,
        },
        Operation::RemnantPasses { group, from: Index(310), to: Index(312) },
        Operation::RemnantOpened { group, left: Box::new(left()) },
    ]
}

fn of_merges(group: GroupNumber) -> Vec<Operation> {
    let (subscription, token) = (SubscriptionNumber(5), 0x1122_3344_5566_7788);
    let epoch = Epoch { counter: 3, storage: STORAGE, nonce: 0x1122_3344_5566_7788 };
    let part = |from, to| StreamPart { origin: relay("oslo"), epoch, from: Sequence(from), to: Sequence(to) };
    let done = Done { parts: vec![part(300, 310)], owed: vec![part(300, 401)], ..Done::default() };
    let merging = Merging { from: relay("oslo"), token, is_alike: true, said_at: None };
    let brought = Brought { remnant: GroupNumber(301), left: left(), own: vec![part(350, u64::MAX)] };
    let acked = Vec::new();
    let (parts, brought) = (vec![part(350, 360)], vec![brought]);
    let taken = Taken { from: relay("oslo"), token, parts, brought, acked, at: AT };
    let acked = vec![part(300, 310)];
    let of_third = Taken { acked, ..taken.clone() };
    vec![
        Operation::SubscriptionMoving {
            group,
            subscription,
            to: Some(relay("oslo")),
            token,
            cut: Some(Box::new(Cut { at: Index(1000), keeper: KEEPER, done: self::done() })),
            lost: None,
            rest: Some(Box::new(Rest { lost: Vec::new(), done: Some(Box::new(done)) })),
            merge: true,
        },
        Operation::SubscriptionMerging { group, subscription, merging: Some(Box::new(merging)) },
        Operation::SubscriptionMerging { group, subscription, merging: None },
        Operation::SubscriptionMerged { group, subscription, taken: Box::new(taken) },
        Operation::SubscriptionMerged { group, subscription, taken: Box::new(of_third) },
    ]
}

fn operations() -> Vec<Operation> {
    let number = GroupNumber(300);
    let moves = of_moves(number).into_iter().chain(of_remnants(number)).chain(of_merges(number));
    let subscription = SubscriptionNumber(5);
    let void = Operation::SubscriptionRemoved { group: number, subscription, evicted: None, elsewhere: true };
    let brought = Accounts { group: GroupNumber(2), subscription, out: outcomes() };
    let served = Operation::GroupRemoved { group: number, brought: Some(Box::new(brought)) };
    let done = Box::new(done());
    let (at, again) = (Some(AT), Some(Index(2000)));
    let goes_back = Operation::SubscriptionArrived { group: number, subscription, done, at, again };
    let groups = of_groups(number).into_iter().chain(of_members(number));
    groups.chain(moves).chain([void, served, goes_back]).collect()
}

fn outcomes() -> Outcomes {
    let (acked, filtered, expired, evicted) = (1, 2, 3, 4);
    Outcomes {
        acked,
        filtered,
        expired,
        evicted,
        dead_lettered: 5,
        skipped: 6,
        lost: 7,
        passed: 300,
        ..Outcomes::default()
    }
}

#[test]
fn f52_operations_are_written_as_ever_and_read_again() {
    let mut words = Vec::new();
    for operation in operations() {
        let name = format!("state/{}.bin", word(&operation));
        files::compare(&name, &operation.encode());
        let State::Operation(read) = State::decode(files::read(&name).into()).unwrap() else {
            panic!("{name} is no operation");
        };
        assert_eq!(*read, operation, "{name}");
        words.push(name);
    }
    words.sort();
    words.dedup();
    assert_eq!(words.len(), operations().len(), "a file is not that of two");
}

/// A group with everything that a group can have; where nothing brings it about here, it is put there.
fn full(h: &mut Harness) -> SavedGroup {
    h.set("orders", GroupSettings { history_count: Some(1000), ..settings() });
    let orders = h.open("orders");
    h.subscribe("orders", "billing", spec());
    let s = h.attach("orders", "billing");
    h.credit(s, 3);
    for put in 0..5 {
        h.put_with(orders, body(&["one", "two"]), Some((77, 1 + 4 * put)), AckLevel::Accepted);
    }
    h.say(s, AckKind::Ack, 5, 6, 0);
    let seek =
        Request::SubscriptionSeek { group: group("orders"), name: sub("billing"), start: Start::Beginning };
    h.request(seek).unwrap();
    let group =
        h.relay.groups.iter_mut().find(|known| known.name == super::harness::group("orders")).unwrap();
    group.incarnation = 2;
    group.queue = false;
    group.low = Index(2);
    group.membership = 9;
    group.member_since = 8;
    group.repeats = vec![(Index(3), Index(4)), (Index(300), Index(70_000))];
    group.traffic().evicted = vec![(sub("slow"), Index(4))];
    group.traffic().uncertain = Some(Uncertain { messages: Some(300) });
    group.spread().parts.set_member(&relay("oslo"), VERSION, true);
    group.spread().parts.set_origin(&relay("paris"), VERSION, false);
    group.spread().names.is_remade = true;
    (group.spread().names.version, group.spread().names.home) = (VERSION, Some(relay("oslo")));
    let id = group.id();
    for (name, spec) in [("elsewhere", Some(spec())), ("gone", None)] {
        let (name, home) = (sub(name), relay("oslo"));
        group.set_name(&NameEntry { group: id.clone(), name, home, version: VERSION, spec });
    }
    let marks = BTreeMap::from([(relay("oslo"), (Sequence(1), 3))]);
    let stream = group.streams.first_mut().unwrap();
    (stream.marks, stream.released, stream.sealed) = (marks, Sequence(4), true);
    group.subscriptions.iter_mut().for_each(|subscription| subscription.replays = true);
    SavedGroup::of(group)
}

fn part() -> Shard {
    let mut h = Harness::linked();
    let full = full(&mut h);
    h.open("empty");
    let empty = h.relay.groups.iter().find(|known| known.name == group("empty")).unwrap();
    let cut = |entries, messages| TailCut { boot: 4, at: AT, entries, messages };
    Shard {
        counters: Counters { groups: 70_000, streams: 300, subscriptions: 5 },
        has_table: true,
        groups: vec![full, SavedGroup::of(empty)],
        removed: vec![(group("gone"), GroupNumber(64), 3)],
        cuts: vec![cut(Some(9), Some(300)), cut(None, None)],
        forgotten: vec![(
            relay("lima"),
            Forgot { version: VERSION, by: relay("paris"), at: AT, is_back: false },
        )],
        links: vec![(AT, LinkId(300), relay("oslo"))],
        forgotten_before: Some(AT),
        renewed: Some(STORAGE),
        topologies: Vec::new(),
        tells_starts: false,
    }
}

/// What has come to snapshots since.
fn later_part() -> Shard {
    Shard { topologies: vec![topology(None), topology(Some(299))], ..Shard::default() }
}

/// All keys in golden bytes, with the ways to them.
fn all_keys(golden: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    keys(&ciborium::from_reader(golden).unwrap(), "", &mut found);
    found
}

/// The keys of all maps in a part, with those of the map around them.
fn keys(value: &ciborium::Value, path: &str, found: &mut Vec<String>) {
    if let Some(map) = value.as_map() {
        for (key, value) in map {
            let path = format!("{path}/{}", key.as_text().unwrap_or("*"));
            keys(value, &path, found);
            found.push(path);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        keys(value, path, found);
    }
}

#[test]
fn f52_a_part_of_a_snapshot_with_every_key_is_read_and_written_as_ever() {
    const NAME: &str = "state/snapshot-part.bin";
    if files::may_write(NAME) {
        files::compare(NAME, &part().encode());
    }
    let golden = files::read(NAME);
    let found = all_keys(&golden);
    for key in [
        "counters",
        "has_table",
        "groups",
        "removed",
        "cuts",
        "forgotten",
        "links",
        "forgotten_before",
        "renewed",
    ] {
        assert!(found.contains(&format!("/{key}")), "no golden {key}");
    }
    for key in "g n v q t c i l s m y d k a p u e b o w j h z".split(' ') {
        assert!(found.contains(&format!("/groups/{key}")), "no golden {key}: {found:?}");
    }
    for key in "u/n u/s u/f u/w u/x u/c s/n s/o s/e s/l s/c s/i s/s s/m s/r s/x z/messages".split(' ') {
        assert!(found.contains(&format!("/groups/{key}")), "no golden {key}: {found:?}");
    }

    let shard = Shard::decode(&golden).unwrap();
    let Shard { counters, removed, cuts, .. } = &shard;
    assert_eq!((counters.groups, counters.streams, counters.subscriptions), (70_000, 300, 5));
    assert_eq!((removed.len(), cuts.len(), cuts[0].messages), (1, 2, Some(300)));
    // What is read is all that there is: written again it is the same.
    let mut again = Shard::decode(&golden).unwrap();
    let groups: Vec<_> = shard.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    again.groups = groups.iter().map(SavedGroup::of).collect();
    assert_eq!(again.encode(), golden);
    let orders = &groups[0];
    assert_eq!((orders.membership, orders.member_since, orders.low), (9, 8, Index(2)));
    assert_eq!(orders.repeats, [(Index(3), Index(4)), (Index(300), Index(70_000))]);
    assert_eq!(orders.traffic.as_ref().unwrap().uncertain, Some(Uncertain { messages: Some(300) }));
    assert_eq!(orders.spread.as_ref().unwrap().names.home, Some(relay("oslo")));
    assert!(orders.subscriptions[0].replays && orders.subscriptions[0].shared);
}

#[test]
fn f52_what_has_come_to_parts_of_snapshots_is_read_and_written_as_ever() {
    const NAME: &str = "state/snapshot-part-topologies.bin";
    files::compare(NAME, &later_part().encode());
    let read = Shard::decode(&files::read(NAME)).unwrap();
    assert_eq!(read.topologies, later_part().topologies);
}

/// A group in which messages wait for earlier ones of their producers, of each kind one.
fn ordered_part() -> Shard {
    let mut h = Harness::linked();
    let by_producer = GroupSettings { fifo: Fifo::Producer, ..GroupSettings::default() };
    h.set("moves", by_producer);
    h.subscribe("moves", "s", SubscriptionSpec::default());
    let moves = h.open("moves");
    let put = |h: &mut Harness, sequences: &[u64]| {
        for sequence in sequences {
            h.put_with(moves, body(&["x"]), Some((77, *sequence)), AckLevel::Accepted);
        }
    };
    // 3 waited in vain, 6 until 5 was there; 9 still waits.
    put(&mut h, &[1, 3]);
    h.pass_ms(crate::limits::PRODUCER_HOLD_MS_DEFAULT);
    put(&mut h, &[4, 6, 5]);
    h.lowest_unanswered = 7;
    put(&mut h, &[9]);
    let group = h.relay.groups.iter().find(|known| known.name == group("moves")).unwrap();
    Shard { groups: vec![SavedGroup::of(group)], ..Shard::default() }
}

#[test]
fn f52_the_order_of_producers_in_a_snapshot_is_read_and_written_as_ever() {
    // A program before this one did not say where a producer had put nothing yet.
    const BEFORE: &str = "state/snapshot-part-order.bin";
    const NAME: &str = "state/snapshot-part-producers.bin";
    files::compare(NAME, &ordered_part().encode());
    let golden = files::read(NAME);
    let found = all_keys(&golden);
    let before = all_keys(&files::read(BEFORE));
    let is_new = |key: &&String| !before.contains(key);
    assert!(
        found.iter().filter(is_new).all(|key| key.starts_with("/groups/p/table/*/put_from")),
        "{found:?}"
    );
    for key in "p/*/f p/*/r p/*/t e/*/e e/*/p e/*/f e/*/t e/*/a e/*/s e/*/s/u f g".split(' ') {
        assert!(found.contains(&format!("/groups/fifo/{key}")), "no golden {key}: {found:?}");
    }
    assert!(found.contains(&"/groups/p/table/*/passed".to_owned()), "{found:?}");
    for name in [BEFORE, NAME] {
        let shard = Shard::decode(&files::read(name)).unwrap();
        let again: Vec<_> = shard.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
        let order = again[0].order.as_ref().unwrap();
        assert_eq!((order.held(), order.given_up()), (1, 1), "{name}");
    }
}

#[test]
fn f52_what_became_of_messages_in_a_snapshot_is_read_and_written_as_ever() {
    const NAME: &str = "state/snapshot-part-accounts.bin";
    let mut part = remnant_part();
    let mut groups: Vec<_> = part.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    let subscription = &mut groups[0].subscriptions[0];
    assert!(subscription.filter.is_some(), "what was passed over is told apart in a snapshot only with one");
    (subscription.out, subscription.brought) = (outcomes(), Some(Box::new(outcomes())));
    groups.iter_mut().find_map(|group| group.remnant.as_mut()).unwrap().first = Index(5);
    part.groups = groups.iter().map(SavedGroup::of).collect();
    files::compare(NAME, &part.encode());
    let golden = files::read(NAME);
    let found = all_keys(&golden);
    for key in ["u/p", "u/o/passed", "brought/n"] {
        assert!(found.contains(&format!("/groups/{key}")), "no golden {key}: {found:?}");
    }
    let read = Shard::decode(&golden).unwrap().groups.into_iter().next().unwrap().restore().unwrap();
    let read = &read.subscriptions[0];
    assert_eq!((read.out, read.brought.as_deref()), (outcomes(), Some(&outcomes())));
}

/// The golden part in which one subscription leaves, and others come: its keys `m` and `a`.
fn moves_part() -> Shard {
    let mut part = Shard::decode(&files::read("state/snapshot-part.bin")).unwrap();
    let mut groups: Vec<_> = part.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    let orders = &mut groups[0];
    let cut = || Cut { at: Index(1000), keeper: KEEPER, done: done() };
    let token = 0x1122_3344_5566_7788;
    let arrived = |done| Arrived { done, ..Arrived::new(relay("rome"), token, false) };
    let pattern = orders.subscriptions.remove(0);
    let kinds = [
        ("leaves", Some(Moving::new(relay("oslo"), token, None)), None),
        ("is-cut", Some(Moving::new(relay("oslo"), token, Some(cut()))), None),
        ("comes", None, Some(arrived(None))),
        ("has-come", None, Some(arrived(Some(done())))),
        ("goes-on", Some(Moving::new(relay("oslo"), token, Some(cut()))), Some(arrived(Some(done())))),
    ];
    for (number, (name, moving, arrived)) in (5..).zip(kinds) {
        let mut made = pattern.clone();
        (made.number, made.name) = (SubscriptionNumber(number), sub(name));
        (made.moving, made.arrived) = (moving.map(Box::new), arrived.map(Box::new));
        orders.subscriptions.push(made);
    }
    part.groups = groups.iter().map(SavedGroup::of).collect();
    part
}

#[test]
fn f52_moves_in_a_part_of_a_snapshot_are_read_and_written_as_ever() {
    const NAME: &str = "state/snapshot-part-moves.bin";
    files::compare(NAME, &moves_part().encode());
    let golden = files::read(NAME);
    let found = all_keys(&golden);
    for key in "m/to m/token m/cut m/cut/at m/cut/keeper m/cut/done a/from a/token a/done".split(' ') {
        assert!(found.contains(&format!("/groups/u/{key}")), "no golden {key}: {found:?}");
    }
    let mut again = Shard::decode(&golden).unwrap();
    let groups: Vec<_> = again.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    let read: Vec<_> = groups[0]
        .subscriptions
        .iter()
        .map(|s| {
            let cut = s.moving.as_ref().map(|m| (m.to.clone(), m.token, m.cut.clone()));
            (s.name.to_string(), cut, s.arrived.as_ref().map(|a| (a.from.clone(), a.token, a.done.clone())))
        })
        .collect();
    let cut = Some(Cut { at: Index(1000), keeper: KEEPER, done: done() });
    let (token, to, from) = (0x1122_3344_5566_7788, relay("oslo"), relay("rome"));
    let goes = |cut: Option<Cut>| Some((to.clone(), token, cut));
    let comes = |done: Option<Done>| Some((from.clone(), token, done));
    assert_eq!(
        read,
        [
            ("leaves".to_owned(), goes(None), None),
            ("is-cut".to_owned(), goes(cut.clone()), None),
            ("comes".to_owned(), None, comes(None)),
            ("has-come".to_owned(), None, comes(Some(done()))),
            ("goes-on".to_owned(), goes(cut), comes(Some(done()))),
        ]
    );
    again.groups = groups.iter().map(SavedGroup::of).collect();
    assert_eq!(again.encode(), golden);
}

/// The golden part with a subscription of each kind that is made one with another.
fn merges_part() -> Shard {
    let mut part = Shard::decode(&files::read("state/snapshot-part.bin")).unwrap();
    let mut groups: Vec<_> = part.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    let (token, orders) = (0x1122_3344_5566_7788, &mut groups[0]);
    orders.streams[0].began = Sequence(300);
    let pattern = orders.subscriptions.remove(0);
    let merging = Merging { from: relay("oslo"), token, is_alike: true, said_at: None };
    let moving = Moving { merge: true, ..Moving::new(relay("oslo"), token, None) };
    let kinds = [("stays", None, Some(merging)), ("closes", Some(moving), None)];
    for (number, (name, moving, merging)) in (5..).zip(kinds) {
        let mut made = pattern.clone();
        (made.number, made.name) = (SubscriptionNumber(number), sub(name));
        (made.moving, made.merging) = (moving.map(Box::new), merging.map(Box::new));
        made.before = Some(vec![(orders.streams[0].number, Sequence(299))]);
        orders.subscriptions.push(made);
    }
    part.groups = groups.iter().map(SavedGroup::of).collect();
    Shard { tells_starts: true, ..part }
}

#[test]
fn f52_homes_that_are_made_one_in_a_part_of_a_snapshot_are_read_and_written_as_ever() {
    const NAME: &str = "state/snapshot-part-merges.bin";
    files::compare(NAME, &merges_part().encode());
    let golden = files::read(NAME);
    let found = all_keys(&golden);
    for key in "u/j u/j/from u/j/token u/j/is_alike u/m/merge u/b s/b".split(' ') {
        assert!(found.contains(&format!("/groups/{key}")), "no golden {key}: {found:?}");
    }
    assert!(found.contains(&"/tells_starts".to_owned()));
    let mut again = Shard::decode(&golden).unwrap();
    let groups: Vec<_> = again.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    again.groups = groups.iter().map(SavedGroup::of).collect();
    assert_eq!(again.encode(), golden);
}

/// The golden part, and what its subscription has brought along.
fn remnant_part() -> Shard {
    let mut part = Shard::decode(&files::read("state/snapshot-part.bin")).unwrap();
    let mut groups: Vec<_> = part.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    let mut made = groups[0].clone();
    let number = GroupNumber(made.number.0 + crate::relay::SHARDS);
    let gap = Gap { from: Index(3), to: Index(4), cause: GapCause::Damaged };
    made.remnant = Some(Box::new(Remnant {
        group: made.number,
        subscription: made.subscriptions[0].number,
        part: 70_000,
        from: Index(2),
        first: Index(0),
        is_open: true,
        lost: vec![gap],
        own: Vec::new(),
    }));
    (made.number, made.subscriptions[0].number) = (number, SubscriptionNumber(70));
    made.subscriptions.truncate(1);
    groups.push(made);
    part.groups = groups.iter().map(SavedGroup::of).collect();
    part
}

#[test]
fn f52_what_a_subscription_has_brought_along_is_read_and_written_as_ever() {
    const NAME: &str = "state/snapshot-part-remnant.bin";
    files::compare(NAME, &remnant_part().encode());
    let golden = files::read(NAME);
    let found = all_keys(&golden);
    for key in "g s p f o l l/from l/to l/cause".split(' ') {
        assert!(found.contains(&format!("/groups/brought/{key}")), "no golden {key}: {found:?}");
    }
    let mut again = Shard::decode(&golden).unwrap();
    let groups: Vec<_> = again.groups.into_iter().map(|saved| saved.restore().unwrap()).collect();
    again.groups = groups.iter().map(SavedGroup::of).collect();
    assert_eq!(again.encode(), golden);
}

/// A relay that was started from a golden part.
fn started_from(name: &str) -> Harness {
    let golden = files::read(name);
    let mut h = Harness::apart();
    let mut snapshot = h.snapshot();
    for (at, shard) in (0..).zip(&mut snapshot.shards) {
        *shard = (EntryNumber(0), Shard::default().encode());
        if at == shard_of(GroupNumber(1)) {
            shard.1 = golden.clone().into();
        }
    }
    h.crash(&snapshot);
    assert_eq!(h.relay.groups.iter().count(), 2);
    h
}

#[test]
fn f52_a_relay_starts_from_the_golden_part_with_moves() {
    let mut h = started_from("state/snapshot-part-moves.bin");
    let list = Request::SubscriptionList { group: group("orders"), after: None, limit: 10 };
    let Ok(Reply::Subscriptions(all)) = h.request(list) else { panic!("no list") };
    let found: Vec<_> = all
        .iter()
        .map(|s| (s.name.as_str(), s.moving.as_ref().map(|m| m.stage), s.comes_from.is_some()))
        .collect();
    let (prepares, consumes) = (Some(MoveStage::Preparing), Some(MoveStage::Consuming));
    assert_eq!(
        found,
        [
            ("comes", None, true),
            ("goes-on", consumes, false),
            ("has-come", None, false),
            ("is-cut", consumes, false),
            ("leaves", prepares, false)
        ]
    );
}

/// What an older program has not noted is not known later either.
#[test]
fn f52_where_a_subscription_of_an_older_program_began_stays_unknown_in_later_snapshots() {
    const NAME: &str = "state/snapshot-part-later.bin";
    let mut h = started_from("state/snapshot-part.bin");
    let begins = |h: &Harness| {
        let all = h.relay.groups.iter().flat_map(|group| &group.subscriptions);
        all.map(|subscription| subscription.before.clone()).collect::<Vec<_>>()
    };
    assert_eq!(begins(&h), [None]);
    let snapshot = h.snapshot();
    let part = &snapshot.shards[shard_of(GroupNumber(1)) as usize].1;
    files::compare(NAME, part);
    let found = all_keys(&files::read(NAME));
    assert!(
        ["/groups/u/k", "/tells_starts"].iter().all(|key| found.contains(&(*key).to_owned())),
        "{found:?}"
    );
    h.crash(&snapshot);
    assert_eq!(begins(&h), [None]);
}

/// Old bytes are also what a relay of today starts from.
#[test]
fn f52_a_relay_starts_from_the_golden_part() {
    let mut h = started_from("state/snapshot-part.bin");
    let info = h.info("orders", "billing");
    assert!(info.shared && info.window == 256, "{info:?}");
}
