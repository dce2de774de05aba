//! Tests of the engine as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::conformance::{conformance, test_run};
use super::*;

mod collect;
mod damage;
mod decode;
mod faults;
mod inspected;
mod losses;
mod model;
mod powercut;
mod released;
mod scrub;
mod shuttled;
mod soon;
mod threads;
mod torn;
mod versions;

use memory::MemoryStorage;
use powercut::read_all;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 * 1024,
        reserve_bytes: 0,
        tail_bytes: 1024,
        waiting_bytes: 0,
        ..LogOptions::default()
    }
}

fn open(sim: &MemoryStorage) -> (DiskLog, Opened, Vec<(EntryNumber, Replayed)>) {
    let mut replayed = Vec::new();
    let (log, opened) =
        DiskLog::open(sim.storage(), options(), Box::new(|_| ()), &mut |n, entry| replayed.push((n, entry)))
            .unwrap();
    (log, opened, replayed)
}

#[test]
fn what_was_appended_is_read_back_after_a_restart_and_after_a_crash() {
    let storage = MemoryStorage::default();
    let (mut log, _, _) = open(&storage);
    let mut expected = Vec::new();
    let mut number = 0;
    let mut next = BTreeMap::new();
    for round in 0..6 {
        for at in 0..50_u32 {
            let group = 1 + at % 3;
            let first = next.entry(group).or_insert(1);
            let entry = test_run(group, *first, 2, 300);
            *first += 2;
            expected.push(entry.clone());
            let state = Entry::State(Bytes::from(format!("state {number}")));
            let last = log.append(vec![Entry::Run(entry), state], Urgency::Sync).unwrap();
            number += 2;
            assert_eq!(last, EntryNumber(number));
        }
        assert!(log.wait_durable(EntryNumber(number)));
        for group in 1..4 {
            let wanted: Vec<_> =
                expected.iter().filter(|e| e.group.0 == group).map(|e| Piece::Run(e.stored())).collect();
            assert!(read_all(&log, group, 1) == wanted, "round {round} group {group}");
        }
        if round % 2 == 0 {
            log.stop().unwrap();
        }
        drop(log);
        let (again, opened, replayed) = open(&storage);
        assert_eq!(opened.last, EntryNumber(number));
        assert_eq!(opened.clean, round % 2 == 0);
        assert_eq!(opened.torn_bytes, 0);
        assert!(opened.damaged.is_empty() && opened.lost.is_empty() && opened.notes.is_empty(), "{opened:?}");
        let numbers: Vec<_> = replayed.iter().map(|(n, _)| n.0).collect();
        assert_eq!(numbers, (1..=number).collect::<Vec<_>>());
        log = again;
    }
}

#[test]
fn the_log_in_memory_conforms() {
    conformance(&mut |on_event| Box::new(MemoryLog::new(on_event)));
}

#[test]
fn the_engine_conforms() {
    conformance(&mut |on_event| {
        let (log, _) =
            DiskLog::open(MemoryStorage::default().storage(), options(), on_event, &mut |_, _| ()).unwrap();
        Box::new(log)
    });
}

#[test]
fn the_engine_conforms_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    conformance(&mut |on_event| {
        number += 1;
        let path = directory.path().join(number.to_string());
        let storage = Arc::new(disk::DiskStorage::open(&path).unwrap());
        let (log, _) = DiskLog::open(storage, options(), on_event, &mut |_, _| ()).unwrap();
        Box::new(log)
    });
}
