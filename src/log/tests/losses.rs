//! What is lost while nobody looks: whole segments, and what a restart would need.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use super::super::header::SegmentHeader;
use super::*;
use crate::id::{GroupNumber, Lsn};
use crate::log::memory::{MemoryStorage, Random};
use crate::wire::run::RunKind;

pub(super) type Events = Arc<Mutex<Vec<String>>>;

pub(super) fn start(sim: &MemoryStorage) -> (DiskLog, Opened, Events) {
    start_with(sim, 0)
}

fn start_with(sim: &MemoryStorage, waiting_bytes: u64) -> (DiskLog, Opened, Events) {
    let events = Events::default();
    let told = Arc::clone(&events);
    let options = LogOptions { tail_bytes: 0, waiting_bytes, ..options() };
    let (recovery, opened) = Recovery::open(sim.storage(), options, &mut |bytes| bytes.fill(9)).unwrap();
    let on_event = Box::new(move |event| told.lock().unwrap().push(format!("{event:?}")));
    (recovery.start_stepped(on_event).unwrap(), opened, events)
}

pub(super) fn fill(log: &DiskLog, from: u64, to: u64) {
    for at in from..to {
        log.append(vec![Entry::Run(test_run(1, at, 1, 900))], Urgency::Sync).unwrap();
        log.step();
    }
}

pub(super) fn snapshot(log: &DiskLog) {
    log.snapshot(
        log.begin_snapshot(),
        Snapshot { shards: vec![(log.durable(), Bytes::from_static(b"state"))] },
    )
    .unwrap();
}

/// The file that holds a run.
pub(super) fn file_of(sim: &MemoryStorage, index: u64) -> String {
    let body = test_run(1, index, 1, 900).run.body;
    let holds = |name: &String| sim.content(name).windows(body.len()).any(|window| window == body);
    sim.names().into_iter().find(holds).expect("a file holds the run")
}

/// Flips a bit of `content` wherever it stands, below a log that may be running.
pub(super) fn flip(sim: &MemoryStorage, content: &[u8]) {
    let place = |name: &String| sim.content(name).windows(content.len()).position(|part| part == content);
    let name = sim.names().into_iter().find(|name| place(name).is_some()).expect("a file holds it");
    let at = place(&name).unwrap();
    write(sim, &name, at, &[content[0] ^ 1]);
}

pub(super) fn write(sim: &MemoryStorage, name: &str, at: usize, bytes: &[u8]) {
    sim.storage().open(name).unwrap().write_at(&[IoSlice::new(bytes)], at as u64).unwrap();
}

fn scrub(log: &DiskLog) {
    let mut reached = Lsn(0);
    while let Some(next) = log.scrub(reached, &mut |_| ()) {
        reached = next;
    }
}

fn count(events: &Events, what: &str) -> usize {
    events.lock().unwrap().iter().filter(|event| event.starts_with(what)).count()
}

/// The ranges that are told as damaged, and how many runs are there.
fn damaged(log: &DiskLog) -> (Vec<(u64, u64)>, usize) {
    let (mut missing, mut runs) = (Vec::new(), 0);
    for piece in read_all(log, 1, 1) {
        match piece {
            Piece::Run(_) => runs += 1,
            Piece::Missing { from, to, cause } => {
                assert_eq!(cause, MissingCause::Damaged);
                missing.push((from.0, to.0));
            }
        }
    }
    (missing, runs)
}

#[test]
fn a_last_segment_that_is_gone_is_told_though_the_snapshot_covers_it() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 100);
    snapshot(&log);
    log.stop().unwrap();
    drop(log);
    let name = file_of(&sim, 99);
    let first = (1..100).find(|at| file_of(&sim, *at) == name).unwrap();
    sim.delete(&name);
    let report = inspect::check(&*sim.storage()).unwrap();
    assert!(report.problems.iter().any(|problem| problem.contains("the end of the log")), "{report:?}");
    let (log, opened, _) = start(&sim);
    assert!(!opened.clean);
    assert_eq!(opened.lost, [(EntryNumber(first), EntryNumber(100))]);
    fill(&log, 100, 103);
    assert_eq!(damaged(&log), (vec![(first, 100)], first as usize + 2));
    drop(log);
    let (log, opened, _) = start(&sim);
    assert!(opened.lost.is_empty(), "it is told once");
    assert_eq!(damaged(&log).0, [(first, 100)], "and stays missing");
}

#[test]
fn a_segment_in_the_middle_that_is_gone_is_damage_though_the_snapshot_covers_it() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 180);
    snapshot(&log);
    log.stop().unwrap();
    drop(log);
    let name = file_of(&sim, 80);
    let of_file: Vec<_> = (1..180).filter(|at| file_of(&sim, *at) == name).collect();
    let (first, end) = (of_file[0], of_file.last().unwrap() + 1);
    assert!(first > 1 && end < 180);
    sim.delete(&name);
    let (log, ..) = start(&sim);
    assert_eq!(damaged(&log), (vec![(first, end)], 179 - of_file.len()));
    log.release(GroupNumber(1), Index(end));
    let pieces = read_all(&log, 1, 1);
    let cause = MissingCause::Released;
    assert_eq!(pieces[0], Piece::Missing { from: Index(1), to: Index(end), cause }, "let go on purpose");
}

#[test]
fn a_log_of_which_everything_was_let_go_has_a_whole_end() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 180);
    snapshot(&log);
    log.stop().unwrap();
    drop(log);
    for _ in 0..3 {
        let (log, opened, _) = start(&sim);
        assert!(opened.clean && opened.lost.is_empty(), "{opened:?}");
        log.release(GroupNumber(1), Index(180));
        snapshot(&log);
        (0..5).for_each(|_| log.step());
        assert_eq!(log.space().segments, 1, "the one with the last block stays");
        log.stop().unwrap();
    }
}

#[test]
fn on_a_full_disk_the_last_block_does_not_stay_in_the_way() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 30);
    snapshot(&log);
    log.stop().unwrap();
    drop(log);
    let last = file_of(&sim, 29);
    for name in sim.names() {
        if name.ends_with(".log") && name != last {
            sim.delete(&name);
        }
    }
    let used: usize = sim.names().iter().map(|name| sim.content(name).len()).sum();
    sim.set_room(Some(used as u64 + 20_000));
    // As at a relay: what is appended may wait for room.
    let (log, ..) = start_with(&sim, 100_000);
    log.step();
    log.release(GroupNumber(1), Index(30));
    (0..3).for_each(|_| log.step());
    let number = log.append(vec![Entry::State(Bytes::from_static(b"ack"))], Urgency::Sync).unwrap();
    (0..3).for_each(|_| log.step());
    assert_eq!(log.durable(), number, "there is room in the place of what nobody needs");
}

/// A log on an empty disk that goes on until the power is cut; how many of its runs are durable.
fn write_until_cut(sim: &MemoryStorage) -> u64 {
    let options = LogOptions { tail_bytes: 0, ..options() };
    let opened = Recovery::open(sim.storage(), options, &mut |bytes| bytes.fill(9));
    let Ok(log) = opened.and_then(|(recovery, _)| recovery.start_stepped(Box::new(|_| ()))) else { return 0 };
    for at in 1..=30 {
        if log.append(vec![Entry::Run(test_run(1, at, 1, 5_000))], Urgency::Sync).is_err() {
            break;
        }
        log.step();
    }
    log.durable().0
}

/// It is created, filled, given a header and then its name, the directory is synced: after a cut at
/// each of these steps, of the first segment and of later ones, the log opens with all that was durable.
#[test]
fn f08_f09_a_cut_at_each_step_of_making_a_segment_loses_nothing() {
    let mut cuts = 0;
    loop {
        cuts += 1;
        let sim = MemoryStorage::default();
        sim.cut_after(cuts);
        let durable = write_until_cut(&sim);
        for seed in 0..8 {
            let (log, opened, _) = start(&sim.crash(&mut Random(seed)));
            let (missing, runs) = damaged(&log);
            let what = format!("cut {cuts}, seed {seed}: {runs} of {durable} runs, {opened:?}");
            assert!(missing.is_empty() && opened.lost.is_empty() && opened.cut.is_none(), "{what}");
            assert!(opened.notes.is_empty(), "nothing half made has a name: {what}");
            assert!(runs as u64 >= durable, "{what}");
            fill(&log, runs as u64 + 1, runs as u64 + 3);
            assert_eq!(damaged(&log), (vec![], runs + 2), "it goes on: {what}");
        }
        if !sim.is_cut() {
            assert_eq!(durable, 30);
            break;
        }
    }
    assert!(cuts > 60, "{cuts} cuts");
}

/// Or a cut would leave it with a log that ends before what it says.
#[test]
fn f10_a_snapshot_is_not_in_place_before_what_it_includes_is_durable() {
    let mut cuts = 0;
    loop {
        cuts += 1;
        let sim = MemoryStorage::default();
        let (log, ..) = start(&sim);
        fill(&log, 1, 3);
        snapshot(&log);
        let last = log.append(vec![Entry::Run(test_run(1, 3, 1, 900))], Urgency::Sync).unwrap();
        let newer = Snapshot { shards: vec![(last, Bytes::from_static(b"newer"))] };
        sim.cut_after(cuts);
        let written = log.snapshot(log.begin_snapshot(), newer.clone());
        for seed in 0..8 {
            let (_, opened, _) = start(&sim.crash(&mut Random(seed)));
            assert!(opened.last >= EntryNumber(2) && opened.lost.is_empty(), "cut {cuts}: {opened:?}");
            let has_newer = opened.snapshot == newer;
            assert!(opened.last == last || !has_newer, "cut {cuts}: {opened:?}");
            assert!(has_newer || written.is_err(), "cut {cuts}: {opened:?}");
        }
        if !sim.is_cut() {
            break;
        }
    }
    assert!(cuts > 4, "{cuts} cuts");
}

#[test]
fn a_block_that_a_snapshot_proves_durable_is_lost_and_not_torn() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 6);
    snapshot(&log);
    drop(log);
    flip(&sim, &test_run(1, 5, 1, 900).run.body);
    let (log, opened, _) = start(&sim);
    assert_eq!((opened.last.0, opened.torn_bytes, opened.cut), (5, 0, None));
    assert_eq!(opened.damaged, [(GroupNumber(1), Index(5), Index(6))]);
    assert_eq!(damaged(&log), (vec![(5, 6)], 4));
}

#[test]
fn f26_a_cut_block_that_has_all_its_sectors_is_uncertain_and_a_torn_one_is_not() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 6);
    drop(log);
    let body = test_run(1, 5, 1, 900).run.body;
    let name = file_of(&sim, 5);
    let at = sim.content(&name).windows(body.len()).position(|part| part == body).unwrap();
    let flipped = sim.copy();
    flip(&flipped, &body);
    let (_, opened, _) = start(&flipped);
    let messages = Some(vec![(GroupNumber(1), 1)]);
    assert_eq!(opened.cut, Some(Cut { from: EntryNumber(5), entries: Some(1), messages }));
    assert!(opened.torn_bytes > 0 && opened.last == EntryNumber(4) && !opened.clean);
    // A sector that was never written.
    let sector = (at + 300).next_multiple_of(512);
    write(&sim, &name, sector, &[0; 512]);
    let (_, opened, _) = start(&sim);
    assert_eq!((opened.cut, opened.last), (None, EntryNumber(4)));
    assert!(opened.torn_bytes > 0);
}

/// A log whose last block has runs of two groups, a relay's own record and a change of state; where
/// that block starts.
fn mixed() -> (MemoryStorage, String, usize) {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 4);
    let body = test_run(1, 4, 2, 900).run.body;
    let state = Entry::State(Bytes::from_static(b"a cursor"));
    let mut mark = test_run(2, 4, 1, 30);
    mark.run.header.kind = RunKind::Mark;
    let runs = [test_run(1, 4, 2, 900), test_run(2, 1, 3, 900), test_run(1, 6, 1, 900), mark];
    log.append(runs.into_iter().map(Entry::Run).chain([state]).collect(), Urgency::Sync).unwrap();
    log.step();
    drop(log);
    let holds = |name: &String| sim.content(name).windows(body.len()).position(|part| part == body);
    let (name, at) = sim.names().into_iter().find_map(|name| Some((name.clone(), holds(&name)?))).unwrap();
    (sim, name, at - 128 - 96)
}

fn cut_of(sim: &MemoryStorage, name: &str, at: usize) -> Option<Cut> {
    let flipped = sim.copy();
    flipped.flip(name, at * 8 + at % 8);
    let (_, opened, _) = start(&flipped);
    assert_eq!(opened.last, EntryNumber(3), "byte {at} is cut");
    opened.cut
}

#[test]
fn f26_the_heads_of_a_cut_block_name_the_groups_that_may_have_lost_messages() {
    let (sim, name, at) = mixed();
    let messages = Some(vec![(GroupNumber(1), 3), (GroupNumber(2), 3)]);
    let body = at + 96 + 128 + 1000;
    let known = Cut { from: EntryNumber(4), entries: Some(5), messages };
    assert_eq!(cut_of(&sim, &name, body), Some(known.clone()), "a body");
    let head = at + 96 + 40;
    assert_eq!(cut_of(&sim, &name, head), Some(Cut { messages: None, ..known }), "a head");
}

#[test]
fn f26_a_damaged_header_is_not_taken_for_one_that_was_never_written() {
    let (sim, name, at) = mixed();
    let unknown = Cut { from: EntryNumber(4), entries: None, messages: None };
    for byte in 0..96 {
        assert_eq!(cut_of(&sim, &name, at + byte), Some(unknown.clone()), "byte {byte}");
    }
    write(&sim, &name, at, &[0; 512]);
    let (_, opened, _) = start(&sim);
    assert_eq!(opened.cut, None, "its sector is empty");
}

#[test]
fn f26_a_block_that_lacks_one_sector_is_torn_whichever_it_is() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 4);
    let entries = (4..8).map(|at| Entry::Run(test_run(1, at, 1, 900))).collect();
    log.append(entries, Urgency::Sync).unwrap();
    log.step();
    drop(log);
    let name = file_of(&sim, 7);
    let body = test_run(1, 4, 1, 900).run.body;
    let at = sim.content(&name).windows(body.len()).position(|part| part == body).unwrap() - 128 - 96;
    for sector in 0..9 {
        let sim = sim.copy();
        write(&sim, &name, at + sector * 512, &[0; 512]);
        let (_, opened, _) = start(&sim);
        assert_eq!((opened.cut, opened.last), (None, EntryNumber(3)), "sector {sector}");
    }
}

#[test]
fn f26_a_last_segment_whose_head_is_damaged_is_not_passed_over() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 30);
    snapshot(&log);
    fill(&log, 30, 60);
    drop(log);
    let name = file_of(&sim, 59);
    let first = (1..60).find(|at| file_of(&sim, *at) == name).unwrap();
    assert!(first > 30 && first < 58, "the snapshot knows nothing of that segment: {first}");
    write(&sim, &name, 0, &[0; 4096]);
    let (log, opened, _) = start(&sim);
    assert!(!opened.lost.is_empty() || opened.cut.is_some(), "{opened:?}");
    assert!(!opened.clean, "{opened:?}");
    let (missing, runs) = damaged(&log);
    assert_eq!(missing, [(first, missing[0].1)], "what stands behind the bad page is there");
    assert!(missing[0].1 <= first + 4 && runs as u64 == 59 - (missing[0].1 - first));
    fill(&log, 60, 63);
    drop(log);
    let (log, opened, _) = start(&sim);
    assert_eq!((opened.last, opened.cut), (EntryNumber(62), None));
    assert_eq!(damaged(&log), (missing, runs + 3), "and it stays so");
}

#[test]
fn f26_a_file_of_which_nothing_is_whole_is_told_once_after_a_crash() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 30);
    snapshot(&log);
    drop(log);
    let (log, ..) = start(&sim);
    fill(&log, 30, 32);
    drop(log);
    let spare =
        |name: &String| SegmentHeader::decode(&sim.content(name)).is_some_and(|header| !header.in_use);
    let spare = sim.names().into_iter().find(|name| name.starts_with("segment") && spare(name)).unwrap();
    let harmless = sim.copy();
    write(&harmless, &spare, 30, &[1; 8]);
    let (_, opened, _) = start(&harmless);
    assert_eq!((opened.cut, opened.notes.len()), (None, 1), "a spare holds nothing");
    write(&sim, &file_of(&sim, 30), 0, &[0; 16384]);
    let unknown = Cut { from: EntryNumber(30), entries: None, messages: None };
    for _ in 0..2 {
        let (_, opened, _) = start(&sim);
        assert_eq!((opened.last, opened.cut), (EntryNumber(29), Some(unknown.clone())));
        assert_eq!(opened.notes.len(), 1, "{:?}", opened.notes);
    }
    let (log, ..) = start(&sim);
    fill(&log, 30, 31);
    drop(log);
    let (log, opened, _) = start(&sim);
    assert_eq!((opened.last, opened.cut, opened.notes.len()), (EntryNumber(30), None, 1), "it is told once");
    assert_eq!(damaged(&log), (vec![], 30));
}

#[test]
fn f26_a_cut_is_found_again_until_something_stands_behind_it() {
    for is_first_of_its_segment in [false, true] {
        let sim = MemoryStorage::default();
        let (log, ..) = start(&sim);
        fill(&log, 1, 5);
        let log = if is_first_of_its_segment {
            drop(log);
            start(&sim).0
        } else {
            log
        };
        fill(&log, 5, 6);
        drop(log);
        flip(&sim, &test_run(1, 5, 1, 900).run.body);
        let (log, opened, _) = start(&sim);
        assert_eq!(opened.cut.map(|cut| cut.from), Some(EntryNumber(5)));
        // The keeper works, and nothing is appended: the address cannot be bound.
        (0..3).for_each(|_| log.step());
        drop(log);
        for is_stopped in [false, true, false] {
            let (log, opened, _) = start(&sim);
            let cut = opened.cut.as_ref().map(|cut| (cut.from, cut.entries));
            assert_eq!(cut, Some((EntryNumber(5), Some(1))), "nobody has noted it: {opened:?}");
            assert!(!opened.clean);
            log.step();
            if is_stopped {
                log.stop().unwrap();
            }
        }
        let (log, ..) = start(&sim);
        fill(&log, 5, 6);
        drop(log);
        let (log, opened, _) = start(&sim);
        assert_eq!((opened.cut, opened.last), (None, EntryNumber(5)), "it is noted by what stands behind it");
        log.stop().unwrap();
        drop(log);
        assert_eq!(start(&sim).1.cut, None);
    }
}

#[test]
fn no_cut_of_power_makes_a_block_uncertain() {
    for seed in 0..200 {
        let sim = MemoryStorage::default();
        let (log, ..) = start(&sim);
        fill(&log, 1, 4);
        let entries = (4..8).map(|at| Entry::Run(test_run(1, at, 1, 900))).collect();
        sim.cut_after(1);
        log.append(entries, Urgency::Sync).unwrap();
        log.step();
        let (_, opened, _) = start(&sim.crash(&mut Random(seed)));
        assert_eq!(opened.cut, None, "seed {seed}");
    }
}

#[test]
fn scrubbing_finds_lost_state_in_time_for_a_snapshot() {
    let sim = MemoryStorage::default();
    let (log, _, events) = start(&sim);
    fill(&log, 1, 4);
    let state = Bytes::from_static(b"a change of the state that no snapshot has");
    log.append(vec![Entry::State(state.clone())], Urgency::Sync).unwrap();
    log.step();
    fill(&log, 4, 6);
    scrub(&log);
    assert_eq!(count(&events, "Lost"), 0);
    flip(&sim, &state);
    scrub(&log);
    let told = events.lock().unwrap().iter().find(|event| event.starts_with("Lost")).cloned();
    assert_eq!(told.unwrap(), "Lost { from: EntryNumber(4), to: EntryNumber(5) }");
    snapshot(&log);
    scrub(&log);
    assert_eq!(count(&events, "Lost"), 1, "the snapshot has it");
    drop(log);
    let (_, opened, _) = start(&sim);
    assert!(opened.lost.is_empty(), "{opened:?}");
}

#[test]
fn scrubbing_makes_a_damaged_footer_again() {
    let sim = MemoryStorage::default();
    let (log, _, events) = start(&sim);
    fill(&log, 1, 120);
    let name = file_of(&sim, 1);
    let length = sim.content(&name).len();
    // The trailer, the fence, the table of groups, the postings.
    for (round, back) in [100, 4096 + 4000, 2 * 4096 + 4000, 3 * 4096 + 4000].into_iter().enumerate() {
        let at = length - back;
        let whole = sim.content(&name);
        write(&sim, &name, at, &[whole[at] ^ 1]);
        scrub(&log);
        assert_eq!(count(&events, "FooterDamaged"), round + 1);
        log.step();
        assert!(sim.content(&name) == whole, "it is as it was");
    }
    scrub(&log);
    assert_eq!(count(&events, "FooterDamaged"), 4);
}

#[test]
fn scrubbing_finds_a_damaged_snapshot() {
    let sim = MemoryStorage::default();
    let (log, _, events) = start(&sim);
    fill(&log, 1, 4);
    snapshot(&log);
    scrub(&log);
    assert_eq!(count(&events, "SnapshotDamaged"), 0);
    flip(&sim, b"state");
    scrub(&log);
    assert_eq!(count(&events, "SnapshotDamaged"), 1);
    snapshot(&log);
    scrub(&log);
    assert_eq!(count(&events, "SnapshotDamaged"), 1, "a new one has taken its place");
}
