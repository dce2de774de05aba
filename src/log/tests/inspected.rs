//! What a look into a log calls damaged: whatever a start would miss, and nothing that a crash leaves.

use super::losses::{file_of, fill, flip, snapshot, start, write};
use super::*;
use crate::log::header::SegmentHeader;

/// A log with a snapshot of entry 30 and 180 entries, after a crash.
fn crashed() -> MemoryStorage {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 30);
    snapshot(&log);
    fill(&log, 30, 180);
    sim
}

fn check(sim: &MemoryStorage) -> (bool, Vec<String>) {
    let report = inspect::check(&*sim.storage()).unwrap();
    (report.is_damaged, report.problems)
}

fn is_damaged(sim: &MemoryStorage, problem: &str) {
    let (is_damaged, problems) = check(sim);
    let is_told = problems.iter().any(|told| told.contains(problem));
    assert!(is_damaged && is_told, "{is_damaged} {problems:?}, and not {problem}");
}

#[test]
fn what_a_crash_leaves_and_what_belongs_to_others_is_no_damage() {
    let sim = crashed();
    assert_eq!(check(&sim), (false, vec![]));
    let other = MemoryStorage::default();
    let opened = Recovery::open(other.storage(), options(), &mut |bytes| bytes.fill(1));
    let log = opened.unwrap().0.start_stepped(Box::new(|_| ())).unwrap();
    fill(&log, 1, 190);
    snapshot(&log);
    drop(log);
    let theirs = sim.copy();
    for name in other.names().into_iter().filter(|name| name.ends_with(".tcs")) {
        theirs.put(&name, other.content(&name));
    }
    theirs.put("segment-000000ac.log", other.content(&file_of(&other, 1)));
    let (is_damaged, problems) = check(&theirs);
    assert_eq!((is_damaged, problems.len()), (false, 2), "{problems:?}");
    let torn = sim.copy();
    flip(&torn, &test_run(1, 179, 1, 900).run.body);
    let (is_damaged, problems) = check(&torn);
    assert!(!is_damaged && problems.len() == 1, "{problems:?}");
    drop(start(&torn));
    let (is_damaged, problems) = check(&torn);
    assert!(!is_damaged && problems.iter().any(|told| told.contains("was cut")), "{problems:?}");
}

#[test]
fn a_log_from_which_no_relay_starts_is_damaged() {
    let sim = crashed();
    flip(&sim, b"state");
    let opened = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(9));
    assert!(opened.is_err());
    is_damaged(&sim, "no start is possible");
}

#[test]
fn a_log_that_lacks_what_was_durable_is_damaged() {
    let sim = crashed();
    let middle = sim.copy();
    middle.delete(&file_of(&sim, 100));
    is_damaged(&middle, "are missing");
    let head = sim.copy();
    write(&head, &file_of(&sim, 179), 0, &[0; 4096]);
    is_damaged(&head, "its head is damaged");
    let nothing = sim.copy();
    write(&nothing, &file_of(&sim, 179), 0, &vec![0; 60 * 1024]);
    is_damaged(&nothing, "neither its header nor its first block");
    let (log, ..) = start(&sim);
    snapshot(&log);
    drop(log);
    let end = sim.copy();
    end.delete(&file_of(&sim, 179));
    is_damaged(&end, "the end of the log is missing");
    // No mark of a start or a stop proves it, and a snapshot does.
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 6);
    snapshot(&log);
    drop(log);
    let name = file_of(&sim, 5);
    let body = test_run(1, 5, 1, 900).run.body;
    let at = sim.content(&name).windows(body.len()).position(|part| part == body).unwrap();
    write(&sim, &name, at - 128 - 96, &[0; 2048]);
    assert!(SegmentHeader::decode(&sim.content(&name)).is_some());
    is_damaged(&sim, "the end of the log is missing: entries from 5 to 5");
}

/// What is read last is another segment by then.
#[test]
fn what_a_running_log_recycles_while_it_is_read_is_no_damage() {
    let sim = MemoryStorage::default();
    let (log, ..) = start(&sim);
    fill(&log, 1, 300);
    snapshot(&log);
    let mut is_first = true;
    let report = inspect::scrub(&*sim.storage(), &mut |_| {
        if std::mem::take(&mut is_first) {
            log.release(crate::id::GroupNumber(1), crate::id::Index(290));
            log.settle_released();
            log.step();
            fill(&log, 300, 600);
        }
    });
    let report = report.unwrap();
    assert!(!report.is_damaged, "{:?}", report.problems);
}
