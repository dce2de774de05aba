//! What a disk may do wrong, by the numbers of the list of faults.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::super::block::BlockHeader;
use super::super::header::SegmentHeader;
use super::powercut::read_all;
use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::{Fault, MemoryStorage, Random};
use crate::log::*;

type Events = Arc<Mutex<Vec<String>>>;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 * 1024,
        reserve_bytes: 0,
        tail_bytes: 0,
        waiting_bytes: 0,
        ..LogOptions::default()
    }
}

fn open(sim: &MemoryStorage) -> Result<(DiskLog, Opened, Events), LogError> {
    let events = Events::default();
    let told = Arc::clone(&events);
    let (recovery, opened) = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(9))?;
    recovery.replay(&mut |_, _| ())?;
    let log =
        recovery.start_stepped(Box::new(move |event| told.lock().unwrap().push(format!("{event:?}"))))?;
    Ok((log, opened, events))
}

/// Appends runs `from..to` of one record each, one commit per run.
fn fill(log: &DiskLog, group: u32, from: u64, to: u64) {
    for at in from..to {
        log.append(vec![Entry::Run(test_run(group, at, 1, 900))], Urgency::Sync).unwrap();
        log.step();
    }
}

fn snapshot(log: &DiskLog) {
    log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(log.durable(), Bytes::from_static(b"s"))] })
        .unwrap();
}

/// Indexes that can be read, and those that are said to be missing.
fn sorted(log: &DiskLog, group: u32) -> (Vec<u64>, Vec<(u64, u64, MissingCause)>) {
    let mut there = Vec::new();
    let mut missing = Vec::new();
    for piece in read_all(log, group, 1) {
        match piece {
            Piece::Run(run) => {
                let first = run.first_index.0;
                assert_eq!(run, test_run(group, first, 1, 900).stored(), "never other bytes");
                there.push(first);
            }
            Piece::Missing { from, to, cause } => missing.push((from.0, to.0, cause)),
        }
    }
    (there, missing)
}

fn segment(sim: &MemoryStorage, at: usize) -> String {
    let names = sim.names();
    let mut used: Vec<_> = names
        .iter()
        .filter(|name| name.ends_with(".log"))
        .filter_map(|name| {
            let header = super::super::header::SegmentHeader::decode(&sim.content(name))?;
            header.in_use.then(|| (header.base, name.clone()))
        })
        .collect();
    used.sort();
    used[at].1.clone()
}

/// Where the bytes of a run start in a file.
fn find(sim: &MemoryStorage, name: &str, group: u32, index: u64) -> usize {
    let content = sim.content(name);
    let body = test_run(group, index, 1, 900).run.body;
    content.windows(body.len()).position(|window| window == body).expect("the run is in the file")
}

fn has_event(events: &Events, what: &str) -> bool {
    events.lock().unwrap().iter().any(|event| event.starts_with(what))
}

#[test]
fn f14_a_missing_or_damaged_footer_is_made_again() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 120);
    drop(log);
    let name = segment(&sim, 0);
    let length = sim.content(&name).len();
    for damage in [length - 100, length - 4096 - 100, length - 2 * 4096 - 100, length - 3 * 4096 - 100] {
        for before in [true, false] {
            let sim = sim.copy();
            if before {
                sim.flip(&name, damage * 8);
            }
            let (log, opened, _) = open(&sim).unwrap();
            assert!(opened.lost.is_empty() && opened.damaged.is_empty());
            if !before {
                // The file behind the running log is the same one.
                let content = sim.content(&name);
                let file = sim.storage().open(&name).unwrap();
                file.write_at(&[std::io::IoSlice::new(&[content[damage] ^ 1])], damage as u64).unwrap();
            }
            assert_eq!(sorted(&log, 1), ((1..120).collect(), vec![]), "damage at {damage}");
        }
    }
}

/// Grown to its old length it would have a hole, and be taken for a spare that is laid out.
#[test]
fn f14_a_footer_that_is_made_again_leaves_a_file_as_short_as_it_was() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 5);
    log.stop().unwrap();
    drop(log);
    let name = segment(&sim, 0);
    let content = sim.content(&name);
    assert!(content.len() < 64 * 1024, "it was cut off behind its footer");
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 5, 7);
    drop(log);
    sim.flip(&name, (content.len() - 100) * 8);
    let (log, ..) = open(&sim).unwrap();
    log.step();
    assert!(sim.content(&name) == content, "{} bytes", sim.content(&name).len());
    assert_eq!(sorted(&log, 1), ((1..7).collect(), vec![]));
}

#[test]
fn f15_a_failed_sync_poisons_the_log() {
    for fault in [Fault::Sync, Fault::Write] {
        let sim = MemoryStorage::default();
        let (log, _, events) = open(&sim).unwrap();
        fill(&log, 1, 1, 3);
        sim.fault(fault);
        log.append(vec![Entry::Run(test_run(1, 3, 1, 900))], Urgency::Sync).unwrap();
        log.step();
        assert!(has_event(&events, "Failed"));
        assert!(!has_event(&events, "Durable(EntryNumber(3))"));
        let again = log.append(vec![Entry::Run(test_run(1, 4, 1, 900))], Urgency::Sync);
        assert!(matches!(&again, Err(LogError::Poisoned { cause: Some(_) })));
        // Whoever meets it tells the reason, not only the one who heard the event.
        let reason = again.unwrap_err().to_string();
        assert!(reason.contains("cannot ") && reason.contains(" fault"), "{reason}");
        assert!(log.stop().is_err());
        assert!(matches!(
            log.snapshot(log.begin_snapshot(), Snapshot::default()),
            Err(LogError::Poisoned { .. })
        ));
    }
}

#[test]
fn f16_the_tail_is_written_again_after_a_failed_sync() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 3);
    sim.fault(Fault::Sync);
    log.append(vec![Entry::Run(test_run(1, 3, 1, 900))], Urgency::Sync).unwrap();
    log.step();
    drop(log);
    // The process starts again and reads what only the system's memory has.
    let (log, opened, _) = open(&sim).unwrap();
    assert_eq!(opened.last, EntryNumber(3));
    drop(log);
    // F4: then the power is cut.
    let (log, opened, _) = open(&sim.crash(&mut Random(0))).unwrap();
    assert_eq!(opened.last, EntryNumber(3));
    assert_eq!(sorted(&log, 1).0, [1, 2, 3]);
}

#[test]
fn f18_a_bad_sector_costs_only_its_run() {
    let sim = MemoryStorage::default();
    let (log, _, events) = open(&sim).unwrap();
    fill(&log, 1, 1, 20);
    let name = segment(&sim, 0);
    let at = find(&sim, &name, 1, 5) as u64;
    sim.set_unreadable(&name, at + 10..at + 11).unwrap();
    let (there, missing) = sorted(&log, 1);
    assert_eq!(there, (1..5).chain(6..20).collect::<Vec<_>>());
    assert_eq!(missing, [(5, 6, MissingCause::Unreadable)]);
    assert!(has_event(&events, "Damaged"));
}

#[test]
fn f18_a_sector_that_cannot_be_read_at_the_start() {
    let (sim, last) = example(false);
    let name = segment(&sim, 0);
    let (length, at) = (sim.content(&name).len(), find(&sim, &name, 1, 5));
    let unreadable = |index| vec![(index, index + 1, MissingCause::Unreadable)];
    let places = [
        ("body", at + 10, unreadable(5)),
        ("block header", at - 200, vec![]),
        ("segment header", 3, vec![]),
        ("page of the footer", length - 5000, vec![]),
        ("trailer", length - 100, vec![]),
    ];
    for (what, place, missing) in places {
        let sim = sim.copy();
        sim.set_unreadable(&name, place as u64..place as u64 + 1).unwrap();
        let (log, opened, _) = open(&sim).unwrap();
        assert_eq!((opened.last.0, opened.torn_bytes), (last, 0), "{what}");
        assert!(opened.lost.is_empty() && opened.notes.is_empty(), "{what}: {opened:?}");
        assert_eq!(sorted(&log, 1).1, missing, "{what}");
        assert_eq!(sorted(&log, 2), ((1..60).collect(), vec![]), "{what}");
    }
}

#[test]
fn f20_a_log_is_opened_on_a_full_disk_and_its_boots_are_counted() {
    let sim = MemoryStorage::default();
    let (log, first, _) = open(&sim).unwrap();
    fill(&log, 1, 1, 4);
    drop(log);
    sim.set_room(Some(1));
    let mut counter = first.epoch.counter;
    for _ in 0..2 {
        let (log, opened, _) = open(&sim).unwrap();
        counter += 1;
        assert_eq!(opened.epoch.counter, counter);
        assert_eq!(sorted(&log, 1).0, [1, 2, 3]);
        assert!(!sim.names().contains(&"IDENT.tmp".to_owned()));
    }
}

#[test]
fn f20_what_was_on_its_way_when_room_ended_waits_for_room() {
    let sim = MemoryStorage::default();
    let waiting = LogOptions { waiting_bytes: 100_000, ..options() };
    let (recovery, _) = Recovery::open(sim.storage(), waiting, &mut |bytes| bytes.fill(9)).unwrap();
    let log = recovery.start_stepped(Box::new(|_| ())).unwrap();
    fill(&log, 1, 1, 3);
    sim.set_room(Some(1));
    let mut next = 3;
    let refused = loop {
        match log.append(vec![Entry::Run(test_run(1, next, 1, 900))], Urgency::Sync) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
        log.step();
    };
    assert!(matches!(refused, LogError::Full { .. }));
    assert!(log.durable().0 + 80 < next, "{} of {next} are durable", log.durable());
    sim.set_room(None);
    for _ in 0..10 {
        log.step();
    }
    assert_eq!(log.durable().0, next - 1);
    assert_eq!(sorted(&log, 1), ((1..next).collect(), vec![]));
}

#[test]
fn f20_one_snapshot_frees_what_was_released_when_there_is_no_other_room() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 2);
    log.snapshot(
        log.begin_snapshot(),
        Snapshot { shards: vec![(log.durable(), Bytes::from_static(&[1; 900]))] },
    )
    .unwrap();
    sim.set_room(Some(4 * 64 * 1024));
    let mut next = 2;
    while log.append(vec![Entry::Run(test_run(1, next, 1, 900))], Urgency::Sync).is_ok() {
        next += 1;
        log.step();
        assert!(next < 1000, "the disk is full");
    }
    log.step();
    log.release(GroupNumber(1), Index(next));
    let number = log.durable();
    log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(number, Bytes::from_static(&[2; 900]))] })
        .unwrap();
    log.step();
    log.append(vec![Entry::Run(test_run(1, next, 1, 900))], Urgency::Sync).unwrap();
}

#[test]
fn f20_a_full_disk_refuses_messages_and_still_takes_state() {
    let sim = MemoryStorage::default();
    let (log, _, events) = open(&sim).unwrap();
    fill(&log, 1, 1, 3);
    sim.set_room(Some(1));
    let mut next = 3;
    let refused = loop {
        match log.append(vec![Entry::Run(test_run(1, next, 1, 900))], Urgency::Sync) {
            Ok(_) => next += 1,
            Err(error) => break error,
        }
        log.step();
        assert!(next < 1000, "the disk is full");
    };
    assert!(matches!(refused, LogError::Full { .. }));
    assert!(has_event(&events, "Room(false)"));
    for _ in 0..10 {
        let number = log.append(vec![Entry::State(Bytes::from_static(&[1; 500]))], Urgency::Sync).unwrap();
        log.step();
        assert_eq!(log.durable(), number, "state still fits");
    }
    // Cursors move on, a snapshot is taken in the room of a spare, and room comes back.
    sim.set_room(Some(256 * 1024 + 8000));
    let number = log.durable();
    for _ in 0..2 {
        log.release(GroupNumber(1), Index(next));
        log.snapshot(
            log.begin_snapshot(),
            Snapshot { shards: vec![(number, Bytes::from_static(&[2; 900]))] },
        )
        .unwrap();
        log.step();
    }
    sim.set_room(None);
    log.step();
    log.step();
    assert!(has_event(&events, "Room(true)"));
    fill(&log, 1, next, next + 5);
    assert_eq!(log.durable().0, number.0 + 5);
}

/// A log with three sealed segments and a snapshot, stopped or not.
fn example(clean: bool) -> (MemoryStorage, u64) {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 60);
    fill(&log, 2, 1, 60);
    log.append(vec![Entry::State(Bytes::from_static(b"state"))], Urgency::Sync).unwrap();
    log.step();
    log.snapshot(
        log.begin_snapshot(),
        Snapshot { shards: vec![(EntryNumber(30), Bytes::from_static(b"shard"))] },
    )
    .unwrap();
    if clean {
        log.stop().unwrap();
    }
    (sim, 119)
}

#[test]
fn f25_damage_in_the_middle_is_quarantined_and_not_cut() {
    let (sim, last) = example(false);
    let name = segment(&sim, 0);
    let at = find(&sim, &name, 1, 10);
    sim.flip(&name, (at + 20) * 8);
    let (log, opened, events) = open(&sim).unwrap();
    assert_eq!(opened.last.0, last);
    assert_eq!(opened.torn_bytes, 0);
    let (there, missing) = sorted(&log, 1);
    assert_eq!(there.len(), 58);
    assert_eq!(missing, [(10, 11, MissingCause::Damaged)]);
    assert!(has_event(&events, "Damaged"));
}

#[test]
fn f25_a_damaged_block_header_in_the_last_segment_is_proven_by_the_block_behind() {
    let (sim, last) = example(false);
    let body = test_run(2, 58, 1, 900).run.body;
    let holds = |name: &String| sim.content(name).windows(body.len()).any(|window| window == body);
    let name = sim.names().into_iter().find(holds).unwrap();
    let at = find(&sim, &name, 2, 58) - 128 - 96;
    sim.flip(&name, at * 8);
    let (log, opened, _) = open(&sim).unwrap();
    assert_eq!((opened.last.0, opened.torn_bytes), (last, 0));
    assert_eq!(sorted(&log, 2), ((1..60).collect(), vec![]), "heads tell what the header does not");
}

#[test]
fn f26_a_flip_in_the_last_block_is_cut_and_told() {
    for clean in [false, true] {
        let sim = MemoryStorage::default();
        let (log, ..) = open(&sim).unwrap();
        fill(&log, 1, 1, 6);
        if clean {
            log.stop().unwrap();
        }
        drop(log);
        let name = segment(&sim, 0);
        let at = find(&sim, &name, 1, 5);
        sim.flip(&name, (at + 20) * 8);
        let (log, opened, _) = open(&sim).unwrap();
        let (there, missing) = sorted(&log, 1);
        assert_eq!(there, [1, 2, 3, 4]);
        assert!(!opened.clean || clean);
        if clean {
            assert_eq!((opened.last.0, opened.torn_bytes), (5, 0), "the mark proves it");
            assert_eq!(missing, [(5, 6, MissingCause::Damaged)]);
        } else {
            assert_eq!(opened.last.0, 4);
            assert!(opened.torn_bytes > 0, "it is told");
        }
    }
}

#[test]
fn f27_files_that_do_not_belong_here_are_left_alone_and_named() {
    let other = MemoryStorage::default();
    let opened = Recovery::open(other.storage(), options(), &mut |bytes| bytes.fill(1));
    let log = opened.unwrap().0.start_stepped(Box::new(|_| ())).unwrap();
    fill(&log, 1, 1, 5);
    let (sim, last) = example(false);
    let strange = [
        ("segment-000000aa.log", vec![0xAB; 70_000], 1),
        ("segment-000000ac.log", other.content(&segment(&other, 0)), 1),
        ("holiday.jpg", vec![1; 100], 0),
    ];
    for (name, content, notes) in strange {
        let sim = sim.copy();
        sim.put(name, content.clone());
        let (log, opened, _) = open(&sim).unwrap();
        assert_eq!(opened.notes.iter().filter(|note| note.starts_with(name)).count(), notes, "{opened:?}");
        assert_eq!((opened.last.0, opened.torn_bytes), (last, 0));
        for group in 1..3 {
            assert_eq!(sorted(&log, group), ((1..60).collect(), vec![]));
        }
        assert_eq!(sim.content(name), content);
    }
}

#[test]
fn f27_snapshots_that_do_not_belong_here_cost_none_of_ours() {
    let other = MemoryStorage::default();
    let opened = Recovery::open(other.storage(), options(), &mut |bytes| bytes.fill(1));
    let log = opened.unwrap().0.start_stepped(Box::new(|_| ())).unwrap();
    for round in 0..2 {
        fill(&log, 1, 1 + round * 10, 11 + round * 10);
        snapshot(&log);
    }
    drop(log);
    let theirs: Vec<_> = other.names().into_iter().filter(|name| name.ends_with(".tcs")).collect();
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 5);
    snapshot(&log);
    drop(log);
    for name in &theirs {
        sim.put(name, other.content(name));
    }
    // Below theirs, between them, behind them.
    for end in [8, 15, 25, 30] {
        let (log, opened, _) = open(&sim).expect("our own snapshot is still there");
        let last = opened.last.0;
        assert_eq!(opened.snapshot.shards[0].0, EntryNumber(last), "{opened:?}");
        assert_eq!(sorted(&log, 1), ((1..=last).collect(), vec![]));
        fill(&log, 1, last + 1, end);
        snapshot(&log);
    }
    for name in &theirs {
        assert!(sim.content(name) == other.content(name), "{name} is left alone");
    }
    let ours = sim.names().into_iter().filter(|name| name.ends_with(".tcs") && !theirs.contains(name));
    assert_eq!(ours.count(), 2);
}

/// A newest snapshot that is damaged does not count as the older one of the two that are kept.
#[test]
fn f30_a_snapshot_that_is_damaged_does_not_take_the_place_of_one_that_is_whole() {
    for is_found_by_check in [true, false] {
        let sim = MemoryStorage::default();
        let (log, ..) = open(&sim).unwrap();
        fill(&log, 1, 1, 5);
        snapshot(&log);
        fill(&log, 1, 5, 8);
        snapshot(&log);
        let newest =
            |sim: &MemoryStorage| sim.names().into_iter().rfind(|name| name.ends_with(".tcs")).unwrap();
        let damage = |sim: &MemoryStorage| {
            let file = sim.storage().open(&newest(sim)).unwrap();
            file.write_at(&[std::io::IoSlice::new(&[0; 8])], 40).unwrap();
        };
        damage(&sim);
        let log = if is_found_by_check {
            log.scrub(crate::id::Lsn(0), &mut |_| ());
            log
        } else {
            drop(log);
            open(&sim).unwrap().0
        };
        fill(&log, 1, 8, 10);
        snapshot(&log);
        drop(log);
        damage(&sim);
        let (log, opened, _) = open(&sim).expect("the one of entry 4 is still there");
        assert_eq!(opened.snapshot.shards[0].0, EntryNumber(4), "{opened:?}");
        assert_eq!(sorted(&log, 1), ((1..10).collect(), vec![]));
    }
}

#[test]
fn f28_a_misdirected_write_is_not_taken_for_a_block() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 5);
    sim.fault(Fault::Misdirect(1024));
    fill(&log, 1, 5, 7);
    let (there, missing) = sorted(&log, 1);
    assert_eq!((&there, &missing), (&vec![1, 2, 3, 4, 6], &vec![(5, 6, MissingCause::Damaged)]));
    drop(log);
    let (log, opened, _) = open(&sim).unwrap();
    assert_eq!((opened.last, opened.lost), (EntryNumber(6), vec![(EntryNumber(5), EntryNumber(6))]));
    assert_eq!(sorted(&log, 1), (there, missing));
}

#[test]
fn f29_a_lost_write_is_found_by_the_chain() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 5);
    sim.fault(Fault::LoseWrite);
    fill(&log, 1, 5, 8);
    drop(log);
    let (log, opened, _) = open(&sim).unwrap();
    assert_eq!(opened.lost, [(EntryNumber(5), EntryNumber(6))]);
    assert_eq!(opened.last, EntryNumber(7));
    assert_eq!(sorted(&log, 1), (vec![1, 2, 3, 4, 6, 7], vec![(5, 6, MissingCause::Damaged)]));
}

/// A block that is whole, has the right number and stands in the right place, and is not the one
/// that was written there: the next one knows.
#[test]
fn f29_a_block_of_another_history_is_found_by_the_chain() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    fill(&log, 1, 1, 5);
    drop(log);
    let other = sim.copy();
    for (sim, group, to) in [(&sim, 1, 8), (&other, 2, 6)] {
        let (log, ..) = open(sim).unwrap();
        fill(&log, group, 5, to);
    }
    let begins_at_5 = |name: &String| {
        let header = SegmentHeader::decode(&sim.content(name)).filter(|header| header.in_use);
        header.is_some_and(|header| header.base_entry == EntryNumber(5))
    };
    let name = sim.names().into_iter().filter(|name| name.starts_with("segment")).find(begins_at_5).unwrap();
    let (mut content, theirs) = (sim.content(&name), other.content(&name));
    let epoch = SegmentHeader::decode(&content).unwrap().epoch;
    let block = BlockHeader::decode(&theirs[512..], epoch, 512).unwrap();
    let block = 512..usize::try_from(block.end()).unwrap();
    content[block.clone()].copy_from_slice(&theirs[block]);
    sim.put(&name, content);
    let (log, ..) = open(&sim).unwrap();
    // What is whole behind it is there, and what it stands in the place of is told, not passed over.
    assert_eq!(sorted(&log, 1), (vec![1, 2, 3, 4, 6, 7], vec![(5, 6, MissingCause::Damaged)]));
}

#[test]
fn f30_an_old_or_missing_snapshot_is_refused_when_entries_are_gone() {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim).unwrap();
    let mut old = None;
    for round in 0..4 {
        fill(&log, 1, 1 + round * 60, 61 + round * 60);
        log.release(GroupNumber(1), Index(61 + round * 60));
        log.snapshot(
            log.begin_snapshot(),
            Snapshot { shards: vec![(log.durable(), Bytes::from_static(b"s"))] },
        )
        .unwrap();
        let names = sim.names();
        let newest = names.iter().rfind(|name| name.ends_with(".tcs")).unwrap().clone();
        old.get_or_insert_with(|| (newest.clone(), sim.content(&newest)));
        log.step();
    }
    assert!(log.space().segments < 4, "segments were recycled: {:?}", log.space());
    drop(log);
    let snapshots = |sim: &MemoryStorage| {
        sim.names().into_iter().filter(|name| name.ends_with(".tcs")).collect::<Vec<_>>()
    };
    assert_eq!(snapshots(&sim).len(), 2);
    // The older of the two is as good.
    let one = sim.copy();
    one.flip(&snapshots(&sim)[1], 300);
    let (_, opened, _) = open(&one).unwrap();
    assert_eq!(opened.notes.len(), 1);
    // Without any, and with one from a backup: refused.
    for restored in [None, old] {
        let sim = sim.copy();
        for name in snapshots(&sim) {
            sim.delete(&name);
        }
        if let Some((name, content)) = restored {
            sim.put(&name, content);
        }
        assert!(matches!(open(&sim), Err(LogError::Format { .. })));
    }
}

#[test]
fn f31_a_directory_in_use_is_refused() {
    let sim = MemoryStorage::default();
    let (_log, ..) = open(&sim).unwrap();
    assert!(matches!(open(&sim), Err(LogError::Locked { holder }) if holder == "4711"));
}

#[test]
fn f55_a_clean_stop_is_known() {
    let (sim, last) = example(true);
    let (log, opened, _) = open(&sim).unwrap();
    assert!(opened.clean);
    assert_eq!(opened.last.0, last);
    let report = inspect::check(&*sim.storage()).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    drop(log);
}
