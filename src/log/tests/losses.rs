//! What is lost while nobody looks: whole segments, and what a restart would need.

use std::sync::{Arc, Mutex};

use super::*;
use crate::id::GroupNumber;
use crate::log::memory::MemoryStorage;

type Events = Arc<Mutex<Vec<String>>>;

fn start(sim: &MemoryStorage) -> (DiskLog, Opened, Events) {
    let events = Events::default();
    let told = Arc::clone(&events);
    let options = LogOptions { tail_bytes: 0, ..options() };
    let (recovery, opened) = Recovery::open(sim.storage(), options, &mut |bytes| bytes.fill(9)).unwrap();
    let on_event = Box::new(move |event| told.lock().unwrap().push(format!("{event:?}")));
    (recovery.start_stepped(on_event).unwrap(), opened, events)
}

fn fill(log: &DiskLog, from: u64, to: u64) {
    for at in from..to {
        log.append(vec![Entry::Run(test_run(1, at, 1, 900))], Urgency::Sync).unwrap();
        log.step();
    }
}

fn snapshot(log: &DiskLog) {
    log.snapshot(Snapshot { shards: vec![(log.durable(), Bytes::from_static(b"state"))] }).unwrap();
}

/// The file that holds a run.
fn file_of(sim: &MemoryStorage, index: u64) -> String {
    let body = test_run(1, index, 1, 900).run.body;
    let holds = |name: &String| sim.content(name).windows(body.len()).any(|window| window == body);
    sim.names().into_iter().find(holds).expect("a file holds the run")
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
