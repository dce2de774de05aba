//! When what nobody waits for is synced, and how the committing thread stands to others meanwhile.

use std::time::{Duration, Instant};

use crate::limits;
use crate::log::conformance::test_run;
use crate::log::memory::MemoryStorage;
use crate::log::queue::Queue;
use crate::log::*;

fn run_entry(at: u64) -> Vec<Entry> {
    vec![Entry::Run(test_run(1, at, 1, 900))]
}

fn log() -> DiskLog {
    let storage = MemoryStorage::default();
    let options = LogOptions { segment_bytes: 1 << 20, reserve_bytes: 0, ..LogOptions::default() };
    let (recovery, _) = Recovery::open(storage.storage(), options, &mut |bytes| bytes.fill(3)).unwrap();
    recovery.start(Box::new(|_| {})).unwrap()
}

/// How long a committer waits at the least in ten tries: others may use the machine.
fn shortest_wait(entries_bytes: u64, urgency: Urgency) -> Duration {
    let waits = (0..10).map(|_| {
        let queue = Queue::new(EntryNumber(0));
        queue.push(run_entry(1), entries_bytes, urgency);
        let begun = Instant::now();
        assert!(queue.wait());
        begun.elapsed()
    });
    waits.min().unwrap()
}

#[test]
fn what_is_to_be_synced_soon_gathers_for_so_long_or_until_it_is_so_much() {
    let gathers = Duration::from_millis(limits::SOON_MS);
    assert!(shortest_wait(900, Urgency::Soon) >= gathers);
    assert!(shortest_wait(limits::SOON_BYTES_MAX - 1, Urgency::Soon) >= gathers);
    assert!(shortest_wait(limits::SOON_BYTES_MAX, Urgency::Soon) < gathers);
    assert!(shortest_wait(900, Urgency::Sync) < gathers);
    assert!(shortest_wait(limits::SOON_BYTES_MAX, Urgency::Ride) > 5 * gathers);
}

#[test]
fn what_comes_all_the_time_to_be_synced_soon_has_few_commits_and_is_durable_by_itself() {
    let log = log();
    let begun = Instant::now();
    for at in 1..=300 {
        log.append(run_entry(at), Urgency::Soon).unwrap();
        std::thread::sleep(Duration::from_micros(500));
    }
    let rounds = begun.elapsed().as_millis() as u64 / limits::SOON_MS;
    assert!(log.wait_durable(EntryNumber(300)));
    let commits = log.space().commits;
    assert!((1..=rounds + 2).contains(&commits), "{commits} commits in {rounds} times as long");
    // Long after the last of them it still is.
    std::thread::sleep(Duration::from_millis(100));
    let last = log.append(run_entry(301), Urgency::Soon).unwrap();
    let begun = Instant::now();
    assert!(log.wait_durable(last));
    assert!(begun.elapsed() < Duration::from_millis(150), "{:?}: it has ridden along", begun.elapsed());
}

#[test]
fn more_urgent_entries_and_whoever_hurries_take_it_along_at_once() {
    let log = log();
    let mut shortest = [Duration::MAX; 2];
    for round in 0..20 {
        let begun = Instant::now();
        let soon = log.append(run_entry(2 * round + 1), Urgency::Soon).unwrap();
        if round % 2 == 0 {
            log.append(run_entry(2 * round + 2), Urgency::Sync).unwrap();
        } else {
            log.append(run_entry(2 * round + 2), Urgency::Soon).unwrap();
            log.hurry();
        }
        assert!(log.wait_durable(soon));
        let shortest = &mut shortest[round as usize % 2];
        *shortest = begun.elapsed().min(*shortest);
    }
    let gathers = Duration::from_millis(limits::SOON_MS);
    assert!(shortest.iter().all(|wait| *wait < gathers), "{shortest:?}");
}

/// The nice value of the thread that takes from a queue.
fn nice() -> i32 {
    rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap()
}

#[test]
fn the_committer_goes_first_only_for_what_somebody_waits_for() {
    let queue = Queue::new(EntryNumber(0));
    let before = nice();
    if !queue.priority().begin() {
        eprintln!("skipped: no thread may go first here");
        return;
    }
    let first = nice();
    assert!(first < before);
    for urgency in [Urgency::Soon, Urgency::Ride] {
        queue.push(run_entry(1), 900, urgency);
        assert_eq!(nice(), first, "nothing has changed yet");
        queue.take(u64::MAX);
        assert_eq!(nice(), before, "{urgency:?}");
        // While that is committed somebody comes who waits.
        queue.push(run_entry(2), 900, Urgency::Sync);
        assert_eq!(nice(), first);
        queue.take(u64::MAX);
        assert_eq!(nice(), first, "it is committed");
    }
    queue.push(run_entry(3), 900, Urgency::Soon);
    queue.take(u64::MAX);
    queue.push(run_entry(4), 900, Urgency::Soon);
    assert_eq!(nice(), before);
    queue.hurry();
    assert_eq!(nice(), first, "somebody hurries");
    queue.push(run_entry(5), 900, Urgency::Soon);
    queue.take(u64::MAX);
    assert_eq!(nice(), first, "they are committed together");
    queue.push(run_entry(6), 900, Urgency::Soon);
    queue.take(u64::MAX);
    assert_eq!(nice(), before);
    queue.hurry();
    assert_eq!(nice(), first, "somebody waits for what is being committed, which is all there is");
}

#[test]
fn what_has_gathered_behind_a_commit_or_was_left_by_one_gathers_no_longer() {
    let gathers = Duration::from_millis(limits::SOON_MS);
    for is_left in [true, false] {
        let waits = (0..10).map(|_| {
            let queue = Queue::new(EntryNumber(0));
            let entries: Vec<Entry> = (1..=4).flat_map(run_entry).collect();
            let bytes = entries.iter().map(crate::log::committer::entry_bytes).sum();
            queue.push(entries, bytes, Urgency::Soon);
            assert!(queue.wait());
            queue.take(if is_left { 1_000 } else { u64::MAX });
            if !is_left {
                queue.push(run_entry(5), 900, Urgency::Soon);
                // The disk.
                std::thread::sleep(2 * gathers);
            }
            let begun = Instant::now();
            assert!(queue.wait());
            begun.elapsed()
        });
        assert!(waits.min().unwrap() < gathers, "left by a commit: {is_left}");
    }
}
