//! F5, F6, F7: what is left of a last block whose sectors came to the disk in
//! part, in a new segment and in one that holds blocks of an earlier life.

use bytes::Bytes;

use super::powercut::read_all;
use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::{MemoryStorage, Random};
use crate::log::*;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 * 1024,
        reserve_bytes: 0,
        tail_bytes: 0,
        waiting_bytes: 0,
        ..LogOptions::default()
    }
}

fn open(sim: &MemoryStorage) -> (DiskLog, Opened, Vec<(EntryNumber, Replayed)>) {
    let (recovery, opened) = Recovery::open(sim.storage(), options(), &mut |bytes| bytes.fill(9)).unwrap();
    let mut entries = Vec::new();
    recovery.replay(&mut |number, entry| entries.push((number, entry))).unwrap();
    (recovery.start_stepped(Box::new(|_| ())).unwrap(), opened, entries)
}

fn append(log: &DiskLog, entries: Vec<Entry>) {
    log.append(entries, Urgency::Sync).unwrap();
    log.step();
}

fn run(group: u32, index: u64, bytes: usize) -> Entry {
    Entry::Run(test_run(group, index, 1, bytes))
}

fn state(bytes: usize) -> Entry {
    Entry::State(Bytes::from(vec![7; bytes]))
}

/// What a replay gives for these entries.
fn replays(entries: &[Entry]) -> Vec<(EntryNumber, Replayed)> {
    let replayed = entries.iter().map(Replayed::of);
    (1..).map(EntryNumber).zip(replayed).collect()
}

/// What a reader of a group gets when these entries are there and no others.
fn pieces(entries: &[Entry], group: u32) -> Vec<Piece> {
    let of_group = entries.iter().filter_map(|entry| match entry {
        Entry::Run(run) if run.group.0 == group => Some(Piece::Run(run.stored())),
        Entry::Run(_) | Entry::State(_) => None,
    });
    of_group.collect()
}

/// A log whose last commit, `last`, is written and not synced, with what was
/// committed before it.
fn cut_in_commit(before: usize, last: &[Entry]) -> (MemoryStorage, Vec<Entry>) {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim);
    let mut entries = Vec::new();
    for at in 1..=before as u64 {
        let commit = vec![run(1, at, 600), state(if at == 1 { 600 } else { 30 })];
        append(&log, commit.clone());
        entries.extend(commit);
    }
    log.step();
    sim.cut_after(1);
    append(&log, last.to_vec());
    assert_eq!(log.durable().0, entries.len() as u64);
    (sim, entries)
}

fn sector(sim: &MemoryStorage, (name, sector): &(String, usize)) -> Vec<u8> {
    sim.content(name)[sector * 512..(sector + 1) * 512].to_vec()
}

/// The sectors that are not synced and hold anything new.
fn changed(sim: &MemoryStorage) -> Vec<(String, usize)> {
    let old = sim.crash_with(&[]);
    sim.unsynced().into_iter().filter(|one| sector(sim, one) != sector(&old, one)).collect()
}

/// Opens all states that such a cut may leave; answers how many had the last block.
fn open_all(before: usize, last: &[Entry]) -> (u32, u32) {
    let (sim, durable) = cut_in_commit(before, last);
    let sectors = sim.unsynced();
    assert!((1..=8).contains(&sectors.len()), "{sectors:?}");
    let changed = changed(&sim);
    let mut with = 0;
    let images = 1 << sectors.len();
    for image in 0..images {
        let is_kept = |at: &usize| image >> at & 1 == 1;
        let kept: Vec<_> = (0..sectors.len()).filter(is_kept).map(|at| sectors[at].clone()).collect();
        let is_whole = changed.iter().all(|sector| kept.contains(sector));
        let entries = [&durable[..], if is_whole { last } else { &[] }].concat();
        with += u32::from(is_whole);
        check(&sim.crash_with(&kept), &entries, &format!("sectors {image:b} of {sectors:?}"));
    }
    (with, images)
}

/// Asserts that just these entries are there, that nothing is taken for
/// damage, and that the log goes on.
fn check(sim: &MemoryStorage, entries: &[Entry], what: &str) {
    let (log, opened, replayed) = open(sim);
    assert_eq!(opened.last.0, entries.len() as u64, "{what}");
    assert_eq!((opened.cut, &opened.damaged, &opened.lost), (None, &vec![], &vec![]), "{what}");
    assert_eq!(opened.notes, Vec::<String>::new(), "{what}");
    assert!(replayed == replays(entries), "{what}: {replayed:?}");
    for group in 1..4 {
        assert!(read_all(&log, group, 1) == pieces(entries, group), "{what}: group {group}");
    }
    append(&log, vec![run(9, 1, 5)]);
    drop(log);
    let (log, opened, _) = open(sim);
    assert_eq!((opened.last.0, opened.lost), (entries.len() as u64 + 1, vec![]), "{what}");
    assert!(read_all(&log, 1, 1) == pieces(entries, 1), "{what}");
}

#[test]
fn f05_f07_every_subset_of_the_last_block() {
    let commits = [
        (3, vec![run(1, 4, 3700)]),
        (3, (4..8).map(|at| run(1, at, 800)).collect()),
        (3, vec![run(2, 1, 300), state(700), run(1, 4, 500), run(3, 1, 5)]),
        (5, vec![state(1), run(1, 6, 100)]),
        // With the header of its segment.
        (0, vec![run(1, 1, 900), state(800), run(2, 1, 900)]),
    ];
    for (before, last) in commits {
        let (with, images) = open_all(before, &last);
        assert!(with >= 1 && with < images, "{with} of {images} images had the block");
    }
}

const OLD: u32 = 1;
const FILLER: u32 = 2;
const NEW: u32 = 3;

/// How many of the old runs are still in a file.
fn stale(sim: &MemoryStorage, name: &str) -> usize {
    let content = sim.content(name);
    let is_there = |at: &u64| {
        let body = test_run(OLD, *at, 1, 900).run.body;
        content.windows(body.len()).any(|window| window == body)
    };
    (1..=100).filter(is_there).count()
}

/// A log that fills a recycled segment and is cut in the commit of `last`, with
/// the new entries that are durable. Old blocks are as long as new ones, so one
/// of them stands where the block of `last` belongs.
fn cut_in_recycled(last: &[Entry]) -> (MemoryStorage, Vec<Entry>) {
    let sim = MemoryStorage::default();
    let (log, ..) = open(&sim);
    (1..=100).for_each(|at| append(&log, vec![run(OLD, at, 900)]));
    let old = sim.names().into_iter().filter(|name| name.ends_with(".log") && stale(&sim, name) > 0);
    let old: Vec<_> = old.collect();
    // Fills up the segment in which the last old one is.
    (1..=30).for_each(|at| append(&log, vec![run(FILLER, at, 900)]));
    for group in [OLD, FILLER] {
        log.release(GroupNumber(group), Index(101));
    }
    for _ in 0..2 {
        append(&log, vec![state(1)]);
        log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(log.durable(), Bytes::new())] }).unwrap();
    }
    log.step();
    let new: Vec<_> = (1..=45).map(|at| run(NEW, at, 900)).collect();
    new.iter().for_each(|entry| append(&log, vec![entry.clone()]));
    sim.cut_after(1);
    append(&log, last.to_vec());
    let name = &sim.unsynced()[0].0;
    assert!(old.contains(name) && stale(&sim, name) > 5, "{name} of {old:?} holds {}", stale(&sim, name));
    (sim, new)
}

#[test]
fn f06_stale_blocks_behind_a_torn_one() {
    let lasts = [
        vec![run(NEW, 46, 900)],
        vec![run(NEW, 46, 3000)],
        (46..51).map(|at| run(NEW, at, 900)).collect(),
        vec![run(NEW, 46, 10)],
    ];
    let mut random = Random(6);
    let mut whole = 0;
    for (kind, last) in lasts.into_iter().enumerate() {
        let (sim, new) = cut_in_recycled(&last);
        let changed = changed(&sim);
        for at in 0..50 {
            let image = sim.crash(&mut random);
            let is_whole = changed.iter().all(|one| sector(&image, one) == sector(&sim, one));
            whole += u32::from(is_whole);
            let new = [&new[..], if is_whole { &last } else { &[] }].concat();
            check_recycled(&image, &new, &format!("image {at} of kind {kind}"));
        }
    }
    assert!((20..150).contains(&whole), "{whole} of 200 images had the block");
}

fn check_recycled(sim: &MemoryStorage, new: &[Entry], what: &str) {
    // Before the new ones: old ones, what fills up, two changes of state.
    let first = 132 + new.len() as u64;
    for end in first..first + 2 {
        let (log, opened, replayed) = open(sim);
        assert_eq!(opened.last.0, end, "{what}");
        assert_eq!((&opened.damaged, &opened.lost, &opened.notes), (&vec![], &vec![], &vec![]), "{what}");
        // Behind a header, old bytes look like new ones that were damaged.
        assert!(opened.cut.as_ref().is_none_or(|cut| cut.from.0 == end + 1), "{what}: {opened:?}");
        let numbers: Vec<_> = replayed.iter().map(|(number, _)| number.0).collect();
        assert!(numbers.is_sorted() && numbers.last() == Some(&end), "{what}: {numbers:?}");
        assert!(read_all(&log, NEW, 1) == pieces(new, NEW), "{what}");
        let is_run = |piece: &Piece| matches!(piece, Piece::Run(_));
        assert!(!read_all(&log, OLD, 1).iter().any(is_run), "{what}");
        append(&log, vec![state(1)]);
    }
}
