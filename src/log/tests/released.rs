//! What is released is in snapshots and in no entry: it goes when a restart would know of it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::powercut::read_all;
use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::{Fault, MemoryStorage};
use crate::log::*;

const SEGMENT_BYTES: u64 = 64 * 1024;

type Wanted = Arc<Mutex<usize>>;

/// A log without threads, and how often it has asked for a snapshot.
fn open(sim: &MemoryStorage) -> (DiskLog, Wanted) {
    open_with(sim, 0)
}

fn open_with(sim: &MemoryStorage, waiting_bytes: u64) -> (DiskLog, Wanted) {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        tail_bytes: 0,
        collect_age_ms: 0,
        waiting_bytes,
    };
    let (recovery, opened) = Recovery::open(sim.storage(), options, &mut |bytes| bytes.fill(9)).unwrap();
    assert!(opened.lost.is_empty() && opened.damaged.is_empty(), "{opened:?}");
    recovery.replay(&mut |_, _| ()).unwrap();
    let wanted = Wanted::default();
    let told = Arc::clone(&wanted);
    let on_event =
        move |event| *told.lock().unwrap() += usize::from(matches!(event, LogEvent::SnapshotWanted));
    (recovery.start_stepped(Box::new(on_event)).unwrap(), wanted)
}

/// Runs of two groups in turn, that of the second one short; some five segments.
fn fill(log: &DiskLog) {
    for at in 1..=300 {
        let runs = [test_run(1, at, 1, 900), test_run(2, at, 1, 10)];
        log.append(runs.map(Entry::Run).to_vec(), Urgency::Sync).unwrap();
        log.step();
    }
}

/// Two snapshots that include everything, the newer one begun by now.
fn cover(log: &DiskLog) {
    for _ in 0..2 {
        log.append(vec![Entry::State(Bytes::from_static(b"cursors"))], Urgency::Sync).unwrap();
        log.step();
        snapshot(log, log.begin_snapshot()).unwrap();
    }
}

fn snapshot(log: &DiskLog, begun: SnapshotBegun) -> Result<(), LogError> {
    log.snapshot(begun, Snapshot { shards: vec![(log.durable(), Bytes::from_static(b"state"))] })
}

fn release(log: &DiskLog, below: u64) {
    log.release(GroupNumber(1), Index(below));
    log.release(GroupNumber(2), Index(below));
}

fn steps(log: &DiskLog) {
    (0..40).for_each(|_| log.step());
}

/// Messages of both groups that are still on the disk, as who has forgotten what was released sees it.
fn there(sim: &MemoryStorage) -> [usize; 2] {
    let (log, _) = open(&sim.copy());
    [1, 2].map(|group| {
        let pieces = read_all(&log, group, 1);
        pieces.iter().filter(|piece| matches!(piece, Piece::Run(_))).count()
    })
}

/// A log in which everything is included in two snapshots, and nothing released.
fn covered() -> (MemoryStorage, DiskLog, Wanted) {
    let sim = MemoryStorage::default();
    let (log, wanted) = open(&sim);
    fill(&log);
    cover(&log);
    steps(&log);
    (sim, log, wanted)
}

#[test]
fn what_is_released_stays_until_a_snapshot_that_was_begun_afterwards_is_on_disk() {
    let (sim, log, _) = covered();
    let begun = log.begin_snapshot();
    release(&log, 301);
    steps(&log);
    assert_eq!(there(&sim), [300, 300], "no snapshot says it");
    snapshot(&log, begun).unwrap();
    steps(&log);
    assert_eq!(there(&sim), [300, 300], "that one was begun before");
    let begun = log.begin_snapshot();
    steps(&log);
    assert_eq!(there(&sim), [300, 300], "that one is not on disk");
    snapshot(&log, begun).unwrap();
    steps(&log);
    assert_eq!(log.space().segments, 1);
    assert!(there(&sim)[0] < 70, "the last segment is all that is left");
}

#[test]
fn a_snapshot_that_could_not_be_written_frees_nothing() {
    let (sim, log, _) = covered();
    release(&log, 301);
    for _ in 0..3 {
        sim.fault(Fault::Write);
        assert!(snapshot(&log, log.begin_snapshot()).is_err());
        steps(&log);
        assert_eq!(there(&sim), [300, 300]);
    }
    snapshot(&log, log.begin_snapshot()).unwrap();
    steps(&log);
    assert_eq!(log.space().segments, 1);
}

#[test]
fn after_a_start_what_follows_from_the_disk_may_go_and_nothing_more() {
    let (sim, log, _) = covered();
    release(&log, 301);
    drop(log);
    let (log, _) = open(&sim);
    release(&log, 150);
    steps(&log);
    assert_eq!(there(&sim), [300, 300], "it was not said that this follows from the disk");
    log.settle_released();
    release(&log, 301);
    steps(&log);
    let [first, second] = there(&sim);
    assert!((151..=220).contains(&first) && (151..=220).contains(&second), "{first} and {second}");
}

/// A cold segment has what a restart would take for needed.
#[test]
fn what_is_moved_to_a_cold_segment_is_what_a_restart_would_ask_for() {
    let (sim, log, _) = covered();
    log.release(GroupNumber(1), Index(301));
    log.release(GroupNumber(2), Index(20));
    steps(&log);
    assert_eq!((log.space().rewritten_segments, there(&sim)), (0, [300, 300]));
    let begun = log.begin_snapshot();
    log.release(GroupNumber(2), Index(200));
    snapshot(&log, begun).unwrap();
    steps(&log);
    assert!(log.space().cold_segments > 0 && log.space().rewritten_segments >= 3, "{:?}", log.space());
    let [first, second] = there(&sim);
    assert!(first < 140 && second == 281, "{first} and {second}");
}

#[test]
fn a_snapshot_is_asked_for_once_when_it_would_free_a_segment() {
    let (_sim, log, wanted) = covered();
    assert_eq!(*wanted.lock().unwrap(), 0);
    release(&log, 10);
    steps(&log);
    assert_eq!(*wanted.lock().unwrap(), 0, "it frees no segment");
    release(&log, 301);
    steps(&log);
    assert_eq!(*wanted.lock().unwrap(), 1);
    let begun = log.begin_snapshot();
    steps(&log);
    snapshot(&log, begun).unwrap();
    steps(&log);
    assert_eq!((*wanted.lock().unwrap(), log.space().segments), (1, 1), "it has come");
}

/// None would come by itself, and a file of any length stays for ever.
#[test]
fn a_snapshot_is_asked_for_when_nothing_is_appended_any_more_though_it_frees_little() {
    let (_sim, log, wanted) = covered();
    log.release(GroupNumber(1), Index(301));
    log.release(GroupNumber(2), Index(200));
    snapshot(&log, log.begin_snapshot()).unwrap();
    steps(&log);
    assert!(*wanted.lock().unwrap() == 0 && log.space().cold_segments > 0, "{:?}", log.space());
    release(&log, 301);
    log.step();
    assert_eq!(*wanted.lock().unwrap(), 0, "it is a small one");
    steps(&log);
    assert_eq!(*wanted.lock().unwrap(), 1);
    snapshot(&log, log.begin_snapshot()).unwrap();
    steps(&log);
    assert_eq!((*wanted.lock().unwrap(), log.space().segments), (1, 1));
}

/// Though no segment is free as a whole: what another one needs little of would be moved.
#[test]
fn a_snapshot_is_asked_for_when_a_laggard_has_a_little_in_each_segment() {
    let (_sim, log, wanted) = covered();
    log.release(GroupNumber(1), Index(301));
    steps(&log);
    assert_eq!((*wanted.lock().unwrap(), log.space().rewritten_segments), (1, 0));
    snapshot(&log, log.begin_snapshot()).unwrap();
    steps(&log);
    assert!(log.space().rewritten_segments >= 3, "{:?}", log.space());
    assert_eq!(*wanted.lock().unwrap(), 1, "nothing waits any more");
}

#[test]
fn one_that_failed_is_asked_for_again() {
    let (sim, log, wanted) = covered();
    release(&log, 301);
    steps(&log);
    sim.fault(Fault::Write);
    assert!(snapshot(&log, log.begin_snapshot()).is_err());
    steps(&log);
    assert_eq!(*wanted.lock().unwrap(), 2);
}

/// Appends until it is refused; what is durable then.
fn fill_up(sim: &MemoryStorage, log: &DiskLog) -> EntryNumber {
    sim.set_room(Some(1));
    for _ in 0..1000 {
        if log.append(vec![Entry::State(Bytes::from_static(&[1; 900]))], Urgency::Sync).is_err() {
            log.step();
            return log.durable();
        }
        log.step();
    }
    panic!("the disk is full");
}

/// A snapshot comes first as long as one can be written; it gets the room of a spare if need be.
#[test]
fn f20_on_a_full_disk_what_is_released_goes_at_once_only_when_no_snapshot_can_be_written() {
    let (sim, log, _) = covered();
    fill_up(&sim, &log);
    release(&log, 301);
    steps(&log);
    let space = log.space();
    assert!(space.segments >= 5 && space.spare_segments == 0, "{space:?}");
    assert!(snapshot(&log, log.begin_snapshot()).is_err(), "there is no room");
    steps(&log);
    assert!(log.space().segments < space.segments, "{space:?} before, {:?} behind", log.space());
    log.append(vec![Entry::State(Bytes::from_static(&[1; 900]))], Urgency::Sync).unwrap();
}

/// What is to be durable before a snapshot waits for room itself.
#[test]
fn f20_on_a_full_disk_what_is_released_goes_at_once_when_nothing_becomes_durable_any_more() {
    let sim = MemoryStorage::default();
    let (log, _) = open_with(&sim, 200_000);
    fill(&log);
    cover(&log);
    steps(&log);
    let durable = fill_up(&sim, &log);
    let last = log.append(vec![], Urgency::Sync).unwrap();
    assert!(last > durable, "something waits for room");
    release(&log, 301);
    steps(&log);
    assert!(log.durable() > durable, "{:?}", log.space());
}

/// The room of one is enough for a snapshot, which lets the others go without a promise that is broken.
#[test]
fn f20_on_a_full_disk_no_more_goes_at_once_than_is_needed_to_go_on() {
    let (sim, log, _) = covered();
    fill_up(&sim, &log);
    release(&log, 301);
    steps(&log);
    let before = log.space().segments;
    assert!(before >= 7, "{before}");
    assert!(snapshot(&log, log.begin_snapshot()).is_err(), "there is no room");
    steps(&log);
    assert_eq!(log.space().segments, before - 2, "as many as spares are kept");
    let used: usize = sim.names().iter().map(|name| sim.content(name).len()).sum();
    sim.set_room(Some(used as u64));
    snapshot(&log, log.begin_snapshot()).unwrap();
    steps(&log);
    assert!(log.space().segments < before - 3, "{:?}", log.space());
}

/// A snapshot needs no commit of a log to which nothing was appended since its start.
#[test]
fn f20_a_start_on_a_full_disk_lets_nothing_go_before_a_snapshot_was_tried() {
    let (sim, log, _) = covered();
    fill_up(&sim, &log);
    drop(log);
    let (log, wanted) = open(&sim);
    log.settle_released();
    release(&log, 301);
    let before = log.space();
    assert_eq!(before.spare_segments, 0, "{before:?}");
    steps(&log);
    assert_eq!((log.space().segments, *wanted.lock().unwrap()), (before.segments, 1), "{before:?}");
}
