//! The engine with all its threads at once: F54, and R17's pins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::MemoryStorage;
use crate::log::*;

const SEGMENT_BYTES: u64 = 64 * 1024;
/// How long readers and collector run against each other, and how long at the most until something
/// was recycled and rewritten.
const RUN_LEAST: Duration = Duration::from_secs(2);
const RUN_MOST: Duration = Duration::from_secs(60);
const GROUPS: u32 = 3;
/// A group that is never released, with one short run in every round.
const LAGGARD: u32 = GROUPS;

/// Reads all of the laggard again and again, while its runs are moved from
/// segments that are read to cold ones, and from those to others.
fn read_again(log: &DiskLog, durable: &AtomicU64, done: &AtomicBool) -> u64 {
    let mut passes = 0;
    loop {
        let is_done = done.load(Ordering::SeqCst);
        let end = durable.load(Ordering::SeqCst);
        let mut at = 1;
        loop {
            let pieces = log.read(GroupNumber(LAGGARD), Index(at), 4000).unwrap();
            for piece in &pieces {
                let Piece::Run(run) = piece else { panic!("nothing is missing: {piece:?} at {at}") };
                assert_eq!(run, &test_run(LAGGARD, at, 2, 20).stored());
                at = run.end_index().0;
            }
            if pieces.is_empty() {
                break;
            }
        }
        assert!(at > end, "what is durable can be read: {at} of {end}");
        passes += 1;
        if is_done {
            return passes;
        }
    }
}

/// Reads along, and checks every byte against what was appended.
fn read_along(log: &DiskLog, group: u32, durable: &AtomicU64, done: &AtomicBool) -> u64 {
    let mut at = 1;
    let mut misses = 0;
    loop {
        let is_done = done.load(Ordering::SeqCst);
        let end = durable.load(Ordering::SeqCst);
        let tail = log.tail(GroupNumber(group), Index(at), 20_000);
        let pieces = match tail {
            Some(pieces) => pieces,
            None => log.read(GroupNumber(group), Index(at), 20_000).unwrap(),
        };
        for piece in &pieces {
            let Piece::Run(run) = piece else { panic!("nothing is missing: {piece:?} at {at}") };
            assert_eq!(run.first_index.0, at);
            assert_eq!(run, &test_run(group, at, 2, 700).stored());
            at = run.end_index().0;
        }
        assert!(!pieces.is_empty() || at > end, "what is durable can be read: {at} of {end}");
        if pieces.is_empty() {
            if is_done {
                return at;
            }
            misses += 1;
            std::thread::yield_now();
        }
        if misses % 3 == 0 {
            log.release(GroupNumber(group), Index(at));
        }
    }
}

/// Whether segments were recycled and rewritten below the readers: more were filled than there are
/// files, of which a busy machine has many, as its readers are far behind.
fn has_moved(storage: &MemoryStorage, log: &DiskLog) -> bool {
    let space = log.space();
    let filled = space.committed_bytes / SEGMENT_BYTES;
    let files = storage.names().len() as u64;
    filled > files + 50 && space.rewritten_segments > 10
}

#[test]
fn f54_readers_never_see_a_recycled_or_rewritten_segment() {
    let storage = MemoryStorage::default();
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        tail_bytes: 3000,
        collect_age_ms: 0,
        waiting_bytes: 0,
    };
    let (recovery, _) = Recovery::open(storage.storage(), options, &mut |bytes| bytes.fill(3)).unwrap();
    let entries_durable = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&entries_durable);
    let log = recovery.start(Box::new(move |event| {
        let is_fine = matches!(event, LogEvent::Durable(_) | LogEvent::Room(_) | LogEvent::SnapshotWanted);
        assert!(is_fine, "{event:?}");
        if let LogEvent::Durable(number) = event {
            told.store(number.0, Ordering::SeqCst);
        }
    }));
    let log = log.unwrap();
    let (durable, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut next, mut moved) = (1, false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..GROUPS)
            .map(|group| {
                scope.spawn({
                    let (log, durable, done) = (&log, &durable, &done);
                    move || read_along(log, group, durable, done)
                })
            })
            .collect();
        let again = scope.spawn(|| read_again(&log, &durable, &done));
        // Both must have happened, however busy the machine is, and more often is a better test.
        let (least, most) = (Instant::now() + RUN_LEAST, Instant::now() + RUN_MOST);
        let is_enough = |next: u64| Instant::now() > least && next > 1000 && has_moved(&storage, &log);
        while !moved
            && Instant::now() < most
            && !again.is_finished()
            && readers.iter().all(|reader| !reader.is_finished())
        {
            let runs = (0..GROUPS).map(|group| test_run(group, next, 2, 700));
            let entries = runs.chain([test_run(LAGGARD, next, 2, 20)]).map(Entry::Run).collect();
            let last = log.append(entries, Urgency::Sync).unwrap();
            if next % 7 == 0 {
                assert!(log.wait_durable(last));
                durable.store(next, Ordering::SeqCst);
                let shards = vec![(log.durable(), Bytes::from_static(b"state"))];
                log.snapshot(log.begin_snapshot(), Snapshot { shards }).unwrap();
            }
            next += 2;
            moved = is_enough(next);
        }
        assert!(log.wait_durable(EntryNumber((next - 1) / 2 * u64::from(GROUPS + 1))));
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), next);
        }
        assert!(again.join().unwrap() > 2);
    });
    let space = log.space();
    assert!(next > 1000, "{next} records is no test");
    assert!(moved, "too few segments were recycled and rewritten: {space:?}");
    log.stop().unwrap();
    assert_eq!(entries_durable.load(Ordering::SeqCst), (next - 1) / 2 * u64::from(GROUPS + 1));
}
