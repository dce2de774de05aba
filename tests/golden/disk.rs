//! A whole data directory: made again, and opened by today's engine (F52).

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use treecast::id::{GroupNumber, Index};
use treecast::log::memory::MemoryStorage;
use treecast::log::{
    DiskLog, Entry, EntryNumber, Log, Piece, Replayed, RunEntry, Snapshot, Urgency, inspect,
};
use treecast::topology::settings::GroupSettings;
use treecast::wire::body::{GapCause, Notice, Reply, Request, Start, SubscriptionInfo, SubscriptionSpec};
use treecast::wire::run::{Record, Records, RunKind, StoredRun};

use super::dumper::{self, Dumped};
use super::files;
use super::scene::{Scene, recover};
use super::values::{group, records, settings, subscription};

/// The seeds of the boots: what stands for randomness, and the second they begin at.
const BOOTS: [u64; 3] = [1, 2, 3];

fn body(payload: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    Record { payload, ..Record::default() }.encode(&mut body);
    body.freeze()
}

fn handle_of(reply: &Reply) -> u32 {
    let (Reply::GroupHandle { handle, .. } | Reply::SubscriptionHandle { handle, .. }) = reply else {
        panic!("no handle: {reply:?}")
    };
    *handle
}

fn attach(scene: &mut Scene, name: &str, create: Option<SubscriptionSpec>) -> u32 {
    let name = Some(subscription(name));
    handle_of(&scene.ask(Request::Attach { group: group("orders"), name, create }))
}

fn create(scene: &mut Scene, name: &str, spec: SubscriptionSpec) {
    let request = Request::SubscriptionCreate { group: group("orders"), name: subscription(name), spec };
    assert_eq!(scene.ask(request), Reply::Done);
}

/// The first boot: every operation, every kind of record but the seal, a
/// snapshot in the middle, and a clean stop.
fn first_boot(sim: &MemoryStorage) {
    let (mut scene, found) = Scene::open(sim, BOOTS[0]);
    assert!(found.entries.is_empty() && found.opened.clean);
    let orders = Request::GroupCreate { group: group("orders"), settings: settings(), queue: false };
    assert_eq!(scene.ask(orders), Reply::Done);
    let orders = handle_of(&scene.ask(Request::GroupOpen { group: group("orders") }));
    scene.put(orders, Some("till-7"), records());
    // Two are kept; the second is the one in force.
    scene.snapshot();
    let filter = Some("eu/#".to_owned());
    let audit = SubscriptionSpec {
        start: Start::Beginning,
        shared: true,
        filter,
        window: Some(256),
        ..SubscriptionSpec::default()
    };
    create(&mut scene, "audit", audit);
    let billing = attach(&mut scene, "billing", Some(SubscriptionSpec::default()));
    scene.credit(billing, 100);
    scene.put(orders, None, records());
    scene.put(orders, Some("till-7"), body(b"four"));
    // Out of order, so that the cursor has a window: it begins at 5.
    scene.ack(billing, 6, 7);
    assert_eq!(scene.ask(Request::Sync), Reply::Done);
    scene.snapshot();
    // The limit of one message leaves a gap in the cursors.
    let set = GroupSettings { max_count: Some(1), ..GroupSettings::default() };
    assert_eq!(scene.ask(Request::GroupSet { group: group("orders"), settings: set }), Reply::Done);
    assert_eq!(scene.ask(Request::Sync), Reply::Done);
    let jobs = Request::GroupCreate { group: group("jobs"), settings: GroupSettings::default(), queue: true };
    assert_eq!(scene.ask(jobs), Reply::Done);
    scene.ask(Request::GroupOpen { group: group("gone") });
    assert_eq!(scene.ask(Request::GroupRemove { group: group("gone") }), Reply::Done);
    let audit = Request::SubscriptionRemove { group: group("orders"), name: subscription("audit") };
    assert_eq!(scene.ask(audit), Reply::Done);
    scene.log.stop().unwrap();
}

/// The second boot: the seal of the old stream, a new one, and a crash.
fn second_boot(sim: &MemoryStorage) {
    let (mut scene, found) = Scene::open(sim, BOOTS[1]);
    assert!(found.opened.clean);
    let orders = handle_of(&scene.ask(Request::GroupOpen { group: group("orders") }));
    scene.put(orders, None, body(b"five"));
}

/// The directory as today's relay makes it, and its `IDENT` after the clean stop.
fn made() -> (MemoryStorage, Vec<u8>) {
    let sim = MemoryStorage::default();
    first_boot(&sim);
    let clean = sim.content("IDENT");
    second_boot(&sim);
    (sim, clean)
}

/// The directory in `tests/golden/disk`, in memory.
fn golden() -> MemoryStorage {
    let sim = MemoryStorage::default();
    for name in files::list("disk") {
        sim.put(&name, files::read(&format!("disk/{name}")));
    }
    sim
}

/// The blocks of the golden segments, in order, each with what it was made of.
fn golden_blocks(sim: &MemoryStorage) -> Vec<(u64, Vec<Entry>)> {
    let mut all = BTreeMap::new();
    inspect::dump(&*sim.storage(), &mut |number, replayed| {
        all.insert(number.unwrap().0, replayed);
    })
    .unwrap();
    let log = recover(&sim.copy(), BOOTS[2]).0.start_stepped(Box::new(|_| ())).unwrap();
    let entry = |replayed: &Replayed| match replayed {
        Replayed::State(body) => Entry::State(body.clone()),
        Replayed::Run { group, first_index, .. } => Entry::Run(run_entry(&log, *group, *first_index)),
    };
    let segments = sim.names().into_iter().filter(|name| name.ends_with(".log"));
    let mut blocks: Vec<_> = segments.flat_map(|name| dumper::blocks(&sim.content(&name))).collect();
    blocks.sort_by_key(|block| block.first);
    let numbers = |block: &dumper::Block| block.first..block.first + block.entries.len() as u64;
    blocks.iter().map(|block| (block.first, numbers(block).map(|n| entry(&all[&n])).collect())).collect()
}

fn run_entry(log: &DiskLog, group: GroupNumber, first_index: Index) -> RunEntry {
    let pieces = log.read(group, first_index, 1).unwrap();
    let Some(Piece::Run(stored)) = pieces.into_iter().next() else {
        panic!("group {group} has no run at {first_index}")
    };
    let StoredRun { stream, first_index, arrived, age_ms, link, run } = stored;
    RunEntry { group, stream, first_index, arrived, age_ms, link, run }
}

/// Snapshots as they are in the golden directory, by the last entry that each includes.
fn golden_snapshots(sim: &MemoryStorage) -> BTreeMap<EntryNumber, Snapshot> {
    let sim = sim.copy();
    let mut found = BTreeMap::new();
    while let Some(newest) = sim.names().into_iter().rfind(|name| name.ends_with(".tcs")) {
        let (_, opened) = recover(&sim.copy(), BOOTS[2]);
        let covers = opened.snapshot.shards.iter().map(|(number, _)| *number).min().unwrap();
        found.insert(covers, opened.snapshot);
        sim.delete(&newest);
    }
    found
}

#[test]
fn the_engine_writes_the_directory_as_ever() {
    if files::may_write("disk") {
        let (sim, clean) = made();
        files::compare("ident-clean.bin", &clean);
        sim.names().iter().for_each(|name| files::compare(&format!("disk/{name}"), &sim.content(name)));
    }
    let golden = golden();
    let blocks = golden_blocks(&golden);
    let snapshots = golden_snapshots(&golden);
    assert_eq!(snapshots.len(), 2);
    let second = golden.content("segment-00000002.log");
    let boots = [0, dumper::blocks(&second)[0].first, u64::MAX];
    let sim = MemoryStorage::default();
    for (boot, range) in boots.windows(2).enumerate() {
        let log = recover(&sim, BOOTS[boot]).0.start_stepped(Box::new(|_| ())).unwrap();
        let of_boot = blocks.iter().filter(|(first, _)| (range[0]..range[1]).contains(first));
        for (_, entries) in of_boot {
            let last = log.append(entries.clone(), Urgency::Sync).unwrap();
            log.step();
            if let Some(snapshot) = snapshots.get(&last) {
                log.snapshot(log.begin_snapshot(), snapshot.clone()).unwrap();
            }
        }
        if boot == 0 {
            log.stop().unwrap();
            files::compare("ident-clean.bin", &sim.content("IDENT"));
        }
    }
    for name in sim.names() {
        files::compare(&format!("disk/{name}"), &sim.content(&name));
    }
    assert_eq!(files::list("disk"), sim.names(), "a file more or less");
}

/// State and own records, as bytes: what the relay's core decides the form of.
fn bodies(sim: &MemoryStorage) -> BTreeSet<Vec<u8>> {
    let mut bodies = BTreeSet::new();
    inspect::dump(&*sim.storage(), &mut |_, replayed| {
        let (Replayed::State(body) | Replayed::Run { body, .. }) = replayed;
        bodies.insert(body.to_vec());
    })
    .unwrap();
    bodies
}

/// What the relay decides in another way than when the directory was made, in the same form: what it wrote
/// then, and what it writes now.
fn decided_anew() -> [(Vec<u8>, Vec<u8>); 1] {
    // The cursors of two subscriptions when six records and one were dropped. Two of the six are the relay's
    // own: they counted as evicted (the fourth of the outcomes), and are passed over (the second).
    let cursors = |filtered, evicted| {
        let one = [1, 1, 7, 1, 0, 0, 0, filtered, 0, evicted, 0, 0, 0, 0, 1, 1, 7, 1];
        let other = [1, 2, 7, 5, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 5, 7, 1];
        [&[2][..], &one, &other].concat()
    };
    [(cursors(0, 6), cursors(2, 4))]
}

#[test]
fn the_relay_writes_operations_cursors_and_own_records_as_ever() {
    let (mut golden, today) = (bodies(&golden()), bodies(&made().0));
    for (then, now) in decided_anew() {
        assert!(golden.remove(&then) && golden.insert(now), "it is part of the directory");
    }
    let missing: Vec<_> = golden.difference(&today).collect();
    assert!(
        missing.is_empty(),
        "today's relay does not write these bytes any more when it is asked the same: either their form has \
         changed, or what it decides; then keep the directory, to be opened, and make another: {missing:?}"
    );
}

#[test]
fn f52_todays_engine_opens_the_golden_directory_and_reads_every_record() {
    let golden = golden();
    let report = inspect::check(&*golden.storage()).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(report.segments.iter().map(|s| s.has_footer).collect::<Vec<_>>(), [true, false]);

    let mut dumped: Vec<_> = golden.names().into_iter().filter(|name| name.ends_with(".log")).collect();
    dumped.retain(|name| !dumper::blocks(&golden.content(name)).is_empty());
    let by_document = dumped.iter().flat_map(|name| dumper::blocks(&golden.content(name)));
    let by_document: Vec<_> = by_document.flat_map(|block| block.entries).collect();

    let (recovery, opened) = recover(&golden, BOOTS[2]);
    let log = recovery.start_stepped(Box::new(|_| ())).unwrap();
    assert_eq!((opened.epoch.counter, opened.clean, opened.torn_bytes), (3, false, 0));
    assert!(opened.lost.is_empty() && opened.damaged.is_empty() && opened.notes.is_empty(), "{opened:?}");
    assert_eq!(opened.last.0, by_document.len() as u64);
    let mut runs = 0;
    for entry in by_document {
        let Dumped::Run { group, first_index, kind, count, body } = entry else { continue };
        let engine = run_entry(&log, GroupNumber(group), Index(first_index)).run;
        assert_eq!(
            (engine.header.kind as u8, engine.header.count, &engine.body[..]),
            (kind, count, &body[..])
        );
        runs += 1;
    }
    assert_eq!(runs, 8);
}

/// Kinds and payloads of all records of a group that can still be read.
fn contents(scene: &Scene, number: u32) -> Vec<(RunKind, Vec<u8>)> {
    let pieces = scene.log.read(GroupNumber(number), Index(1), usize::MAX).unwrap();
    let runs = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Run(stored) => Some(stored.run),
        Piece::Missing { .. } => None,
    });
    let mut contents = Vec::new();
    for run in runs {
        if run.header.kind == RunKind::Data {
            let records = Records::new(&run.body).map(|record| record.unwrap().payload.to_vec());
            contents.extend(records.map(|payload| (RunKind::Data, payload)));
        } else {
            contents.push((run.header.kind, Vec::new()));
        }
    }
    contents
}

#[test]
fn the_golden_directory_says_what_was_put_into_it() {
    let sim = golden();
    let mut all = Vec::new();
    inspect::dump(&*sim.storage(), &mut |number, replayed| all.push((number.unwrap(), replayed))).unwrap();
    let numbers: Vec<_> = all.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=all.len() as u64).map(EntryNumber).collect::<Vec<_>>());
    let kinds = all.iter().filter_map(|(_, entry)| match entry {
        Replayed::Run { header, .. } => Some(header.kind),
        Replayed::State(_) => None,
    });
    let (data, own) = (RunKind::Data, [RunKind::Genesis, RunKind::Mark, RunKind::Seal]);
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [own[0], data, own[1], data, data, own[2], own[0], data],
        "genesis, mark, seal and data, in this order"
    );

    let (mut scene, _) = Scene::open(&sim, BOOTS[2]);
    assert!(contents(&scene, 1).ends_with(&[
        (RunKind::Data, b"four".to_vec()),
        (RunKind::Seal, Vec::new()),
        (RunKind::Genesis, Vec::new()),
        (RunKind::Data, b"five".to_vec()),
    ]));
    let billing = info(&mut scene, "billing");
    // 5 went by the limit; 6 was acked out of order.
    assert_eq!((billing.floor, billing.out.acked, billing.out.evicted), (Index(7), 1, 1), "{billing:?}");
    assert_eq!(billing.backlog, 2, "the seal and the genesis between them are no messages");
    let handle = attach(&mut scene, "billing", None);
    scene.credit(handle, 10);
    let gap = Notice::Gap { handle, from: Index(5), to: Index(7), cause: GapCause::Retention };
    assert!(scene.notices.contains(&gap), "{:?}", scene.notices);
}

fn info(scene: &mut Scene, name: &str) -> SubscriptionInfo {
    let request = Request::SubscriptionShow { group: group("orders"), name: subscription(name) };
    let Reply::Subscription(info) = scene.ask(request) else { panic!("no subscription {name}") };
    info
}
