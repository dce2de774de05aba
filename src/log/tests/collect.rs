//! Collecting: what little is needed of old segments is moved to cold ones.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::header::SegmentHeader;
use super::powercut::read_all;
use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::{Fault, MemoryStorage, Random};
use crate::log::*;

const SEGMENT_BYTES: u64 = 1 << 20;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        tail_bytes: 0,
        collect_age_ms: 0,
        waiting_bytes: 0,
    }
}

fn open(sim: &MemoryStorage) -> (DiskLog, Opened) {
    let (recovery, opened) = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(4)).unwrap();
    recovery.replay(&mut |_, _| ()).unwrap();
    (recovery.start_stepped(Box::new(|_| ())).unwrap(), opened)
}

/// Two snapshots that include everything.
fn cover(log: &DiskLog) {
    for _ in 0..2 {
        let last = log.append(vec![Entry::State(Bytes::from_static(b"cursors"))], Urgency::Sync).unwrap();
        assert!(log.wait_durable(last));
        log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(last, Bytes::from_static(b"state"))] })
            .unwrap();
    }
}

/// Works until nothing is left to do.
fn settle(log: &DiskLog) {
    let mut before = log.space();
    for _ in 0..10_000 {
        log.step();
        log.step();
        let after = log.space();
        if after == before {
            return;
        }
        before = after;
    }
    panic!("it never comes to rest: {before:?}");
}

/// Groups with the runs of each that are still needed.
type Held = BTreeMap<u32, Vec<RunEntry>>;

/// Appends runs of one record to groups in turn, until `bytes` are in the log.
fn fill(log: &DiskLog, groups: u32, record_bytes: usize, bytes: u64) -> Held {
    let mut held = Held::new();
    let rounds = bytes / ((record_bytes as u64 + 160) * u64::from(groups));
    for round in 0..rounds.max(1) {
        let mut last = EntryNumber(0);
        for at in (0..groups).step_by(100) {
            let of_block =
                (at..groups.min(at + 100)).map(|group| test_run(group, 1 + round, 1, record_bytes));
            let entries: Vec<_> = of_block.map(Entry::Run).collect();
            for entry in &entries {
                if let Entry::Run(run) = entry {
                    held.entry(run.group.0).or_default().push(run.clone());
                }
            }
            last = log.append(entries, Urgency::Sync).unwrap();
        }
        assert!(log.wait_durable(last));
    }
    held
}

fn release(log: &DiskLog, held: &mut Held, group: u32, below: u64) {
    log.release(GroupNumber(group), Index(below));
    held.entry(group).or_default().retain(|run| run.stored().end_index().0 > below);
}

fn check(log: &DiskLog, held: &Held) {
    for (group, runs) in held {
        let Some(first) = runs.first() else { continue };
        let found = read_all(log, *group, first.first_index.0);
        let wanted: Vec<_> = runs.iter().map(|run| Piece::Run(run.stored())).collect();
        assert!(found == wanted, "group {group}: {} of {} pieces", found.len(), wanted.len());
    }
}

fn live_bytes(held: &Held) -> u64 {
    held.values().flatten().map(|run| (128 + run.run.body.len()) as u64).sum()
}

fn cold_names(sim: &MemoryStorage) -> Vec<String> {
    let is_cold = |name: &String| {
        let header = name.starts_with("segment").then(|| SegmentHeader::decode(&sim.content(name))).flatten();
        header.is_some_and(|header| header.cold.is_some())
    };
    sim.names().into_iter().filter(is_cold).collect()
}

/// Where the body of a run lies in a file: behind its header, which knows the group.
fn find(content: &[u8], run: &RunEntry) -> Option<usize> {
    let (header, body) = (run.run.header.encode(), &run.run.body);
    let at = content.windows(header.len()).position(|window| window == &header[..])? + header.len() + 8;
    content[at..].starts_with(body).then_some(at)
}

/// What the log may take when nothing is left to do: see the docs of `collect`.
fn bound(live: u64, runs: u64, files: u64) -> u64 {
    let cold = live + 20 * runs + files * 40 * 1024;
    // The segment being filled, the one before it, the one that is written, and the spares.
    2 * cold + 3 * SEGMENT_BYTES + 8 * SEGMENT_BYTES
}

#[test]
fn f47_the_slowest_of_many_pins_its_own_bytes_only() {
    let sim = MemoryStorage::default();
    let (log, _) = open(&sim);
    let groups = 10_000;
    let mut held = fill(&log, groups, 300, 24 << 20);
    let whole = log.space();
    assert!(whole.segments > 20, "{whole:?}");
    for group in 0..groups {
        let below = if group == 4711 { 2 } else { 1_000_000 };
        release(&log, &mut held, group, below);
    }
    cover(&log);
    settle(&log);
    let space = log.space();
    let (live, runs) = (live_bytes(&held), held[&4711].len() as u64);
    assert!(runs >= 4 && space.cold_segments == 1, "{runs} runs, {space:?}");
    assert!(space.file_bytes <= bound(live, runs, 1), "{space:?} for {live} bytes");
    assert!(space.rewritten_bytes <= 2 * live + 40 * 1024, "{space:?} for {live} bytes");
    let known = space.live_bytes;
    assert!(known >= live && known <= live + SEGMENT_BYTES, "{known} for {live}");
    check(&log, &held);
    drop(log);
    let (log, opened) = open(&sim);
    assert!(opened.damaged.is_empty() && opened.lost.is_empty() && opened.notes.is_empty(), "{opened:?}");
    check(&log, &held);
    release(&log, &mut held, 4711, 1_000_000);
    cover(&log);
    settle(&log);
    assert_eq!((log.space().cold_segments, cold_names(&sim).len()), (0, 0));
}

#[test]
fn the_bound_holds_for_any_share_of_laggards() {
    for laggards in [1, 3, 10, 40, 70, 95] {
        let sim = MemoryStorage::default();
        let (log, _) = open(&sim);
        let mut held = fill(&log, 100, 1200, 12 << 20);
        for group in laggards..100 {
            release(&log, &mut held, group, u64::from(90 + group % 9));
        }
        cover(&log);
        settle(&log);
        let space = log.space();
        let (live, runs) = (live_bytes(&held), held.values().map(Vec::len).sum::<usize>() as u64);
        let files = u64::from(space.segments);
        assert!(space.file_bytes <= bound(live, runs, files), "{laggards}: {space:?} for {live} bytes");
        assert!(space.rewritten_bytes <= 13 << 20, "{laggards}: {space:?}: rewritten again and again");
        check(&log, &held);
    }
}

#[test]
fn a_laggard_lies_in_one_piece_afterwards() {
    let sim = MemoryStorage::default();
    let (log, _) = open(&sim);
    let mut held = fill(&log, 50, 2000, 16 << 20);
    for group in 2..50 {
        release(&log, &mut held, group, 1_000_000);
    }
    cover(&log);
    settle(&log);
    assert_eq!(log.space().cold_segments, 1, "{:?}", log.space());
    let content = sim.content(&cold_names(&sim)[0]);
    for group in 0..2 {
        let of_group = &held[&group];
        // The newest lie in the segment that is being filled.
        let places: Vec<_> = of_group.iter().filter_map(|run| find(&content, run)).collect();
        assert!(places.len() > of_group.len() / 2);
        assert!(places.is_sorted(), "in order");
        let span = places[places.len() - 1] - places[0];
        let bytes = (places.len() - 1) * (128 + of_group[0].run.body.len());
        assert!(span <= bytes + bytes / 50, "{span} for {bytes}");
    }
}

/// A log that is about to collect, and what it holds.
fn ripe() -> (MemoryStorage, Held, BTreeMap<u32, u64>) {
    let sim = MemoryStorage::default();
    let (log, _) = open(&sim);
    let mut held = fill(&log, 10, 3000, 5 << 20);
    cover(&log);
    drop(log);
    let released: BTreeMap<_, _> = (0..10).map(|group| (group, if group == 3 { 7 } else { 150 })).collect();
    for (group, below) in &released {
        held.entry(*group).or_default().retain(|run| run.stored().end_index().0 > *below);
    }
    (sim, held, released)
}

fn reopen(sim: &MemoryStorage, released: &BTreeMap<u32, u64>) -> DiskLog {
    let (log, opened) = open(sim);
    assert!(opened.damaged.is_empty() && opened.lost.is_empty() && opened.notes.is_empty(), "{opened:?}");
    for (group, below) in released {
        log.release(GroupNumber(*group), Index(*below));
    }
    log.settle_released();
    log
}

#[test]
fn f12_f13_a_power_cut_at_any_step_of_collecting_loses_nothing_and_doubles_nothing() {
    let (start, held, released) = ripe();
    let whole = start.copy();
    let log = reopen(&whole, &released);
    let before = whole.ops();
    settle(&log);
    assert!(log.space().rewritten_segments >= 3, "{:?}", log.space());
    let ops = whole.ops() - before;
    drop(log);
    let mut random = Random(12);
    let mut beside = 0;
    for cut_at in 1..=ops {
        let sim = start.copy();
        let log = reopen(&sim, &released);
        sim.cut_after(cut_at);
        for _ in 0..60 {
            log.step();
        }
        assert!(sim.is_cut());
        drop(log);
        for _ in 0..3 {
            let image = sim.crash(&mut random);
            beside += usize::from(!cold_names(&image).is_empty());
            let log = reopen(&image, &released);
            check(&log, &held);
            settle(&log);
            check(&log, &held);
            drop(log);
            // Again, as if the machine had come up and gone down at once.
            let twice = image.crash(&mut random);
            let log = reopen(&twice, &released);
            check(&log, &held);
            settle(&log);
            let space = log.space();
            assert!(space.segments <= 4, "{cut_at}: {space:?}");
            let files = twice.names().iter().filter(|name| name.starts_with("segment")).count();
            assert_eq!(files as u32, space.segments + space.spare_segments, "{:?}", twice.names());
        }
    }
    assert!(beside > 10, "cold segments were never found beside others");
}

/// The process is killed between the cold segment's name and the sync of the directory, and the
/// power goes while the next start works.
#[test]
fn f11_f12_what_a_cold_segment_replaces_stays_until_its_name_is_durable() {
    let (start, held, released) = ripe();
    let whole = start.copy();
    let log = reopen(&whole, &released);
    let before = whole.ops();
    settle(&log);
    let ops = whole.ops() - before;
    drop(log);
    let has_cold = |sim: &MemoryStorage| cold_names(sim).iter().any(|name| name.ends_with(".log"));
    let mut found = 0;
    for cut_at in 1..=ops {
        let sim = start.copy();
        let log = reopen(&sim, &released);
        sim.cut_after(cut_at);
        for _ in 0..60 {
            log.step();
        }
        drop(log);
        let killed = sim.copy();
        if !has_cold(&killed) || has_cold(&killed.crash_with(&[])) {
            continue;
        }
        found += 1;
        for power in 1..200 {
            let image = killed.copy();
            image.cut_after(power);
            let is_open = Recovery::open(image.storage(), options(), &mut |bytes| bytes.fill(4)).is_ok();
            let log = reopen(&image.crash_with(&[]), &released);
            check(&log, &held);
            if is_open {
                break;
            }
        }
    }
    assert!(found > 0, "no cold segment had a name that was not durable");
}

#[test]
fn f14_the_footer_and_the_header_of_a_cold_segment_may_be_damaged() {
    let (sim, held, released) = ripe();
    let log = reopen(&sim, &released);
    settle(&log);
    drop(log);
    let name = cold_names(&sim).pop().unwrap();
    let length = sim.content(&name).len();
    for damage in
        [20, 100, length - 100, length - 4096 - 100, length - 2 * 4096 - 100, length - 3 * 4096 - 100]
    {
        let sim = sim.copy();
        sim.flip(&name, damage * 8);
        let log = reopen(&sim, &released);
        check(&log, &held);
        settle(&log);
        check(&log, &held);
    }
    let gone = sim.copy();
    gone.flip(&name, 20 * 8);
    gone.flip(&name, (512 + 20) * 8);
    let (log, opened) = open(&gone);
    assert_eq!(opened.notes.len(), 1, "{opened:?}");
    let first = held[&3][0].first_index.0;
    let pieces = read_all(&log, 3, first);
    assert!(matches!(
        pieces[0],
        Piece::Missing { cause: MissingCause::Released | MissingCause::Damaged, .. }
    ));
}

#[test]
fn f30_an_old_snapshot_is_refused_when_only_runs_are_left_of_what_came_after() {
    let (sim, _, released) = ripe();
    let snapshots = |sim: &MemoryStorage| {
        sim.names().into_iter().filter(|name| name.ends_with(".tcs")).collect::<Vec<_>>()
    };
    let old = snapshots(&sim).remove(0);
    let backup = sim.content(&old);
    let log = reopen(&sim, &released);
    fill(&log, 2, 3000, 3 << 20);
    for group in 0..2 {
        log.release(GroupNumber(group), Index(if group == 0 { 300 } else { 1000 }));
    }
    cover(&log);
    settle(&log);
    drop(log);
    let last = |name: &String| SegmentHeader::decode(&sim.content(name)).unwrap().cold.unwrap().last_entry;
    let covered = u64::from_str_radix(&old[9..25], 16).unwrap();
    assert!(cold_names(&sim).iter().any(|name| last(name).0 > covered), "cold segments hold later entries");
    for name in snapshots(&sim) {
        sim.delete(&name);
    }
    sim.put(&old, backup);
    let refused = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(4));
    assert!(matches!(refused, Err(LogError::Format { .. })), "{:?}", refused.map(|(_, opened)| opened));
}

#[test]
fn f18_damage_is_not_passed_over() {
    let (sim, mut held, released) = ripe();
    let run = held[&3][2].clone();
    let names = sim.names().into_iter().filter(|name| name.starts_with("segment"));
    let (name, at) =
        names.filter_map(|name| Some((name.clone(), find(&sim.content(&name), &run)?))).next().unwrap();
    sim.flip(&name, (at + 50) * 8);
    let (log, _) = open(&sim);
    for (group, below) in &released {
        log.release(GroupNumber(*group), Index(*below));
    }
    log.settle_released();
    settle(&log);
    let index = run.first_index.0;
    let pieces = read_all(&log, 3, index);
    let missing = Piece::Missing { from: Index(index), to: Index(index + 1), cause: MissingCause::Damaged };
    assert_eq!(pieces[0], missing);
    assert!(sim.names().contains(&name), "it stays as it is");
    held.entry(3).or_default().retain(|run| run.first_index.0 > index);
    check(&log, &held);
}

#[test]
fn f15_f20_what_the_disk_refuses_is_tried_again_and_a_failed_sync_is_not() {
    let (start, held, released) = ripe();
    let sim = start.copy();
    let log = reopen(&sim, &released);
    log.step();
    for _ in 0..4 {
        sim.fault(Fault::Write);
        log.step();
        check(&log, &held);
    }
    sim.fault(Fault::Write);
    settle(&log);
    settle(&log);
    assert!(log.space().rewritten_segments >= 3, "{:?}", log.space());
    check(&log, &held);
    drop(log);
    let log = reopen(&sim, &released);
    check(&log, &held);

    let log = reopen(&start, &released);
    log.step();
    start.fault(Fault::Sync);
    log.step();
    assert!(matches!(log.read(GroupNumber(3), Index(7), 1), Err(LogError::Poisoned { .. })));
    drop(log);
    let log = reopen(&start.crash(&mut Random(0)), &released);
    check(&log, &held);
}

#[test]
fn f20_a_full_disk_gains_room_by_collecting() {
    let (sim, held, released) = ripe();
    let log = reopen(&sim, &released);
    let used: u64 = sim.names().iter().map(|name| sim.content(name).len() as u64).sum();
    let before = log.space();
    sim.set_room(Some(used + SEGMENT_BYTES + SEGMENT_BYTES / 8));
    settle(&log);
    let space = log.space();
    assert!(space.rewritten_segments >= 3, "{space:?}");
    assert!(space.free_bytes >= 3 * SEGMENT_BYTES, "{before:?} before, {space:?} after");
    check(&log, &held);
}
