//! F5, F6, F7: what is left of a last block whose sectors came to the disk in
//! part, in a new segment and in one that holds blocks of an earlier life.

use bytes::Bytes;

use super::powercut::read_all;
use crate::log::conformance::test_run;
use crate::log::memory::MemoryStorage;
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
    let replayed = entries.iter().map(|entry| match entry {
        Entry::State(bytes) => Replayed::State(bytes.clone()),
        Entry::Run(run) => Replayed::Run {
            group: run.group,
            stream: run.stream,
            first_index: run.first_index,
            arrived: run.arrived,
            header: run.run.header,
            body: Bytes::new(),
        },
    });
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

/// Opens all states that such a cut may leave; answers how many had the last block.
fn open_all(before: usize, last: &[Entry]) -> (u32, u32) {
    let (sim, durable) = cut_in_commit(before, last);
    let sectors = sim.unsynced();
    assert!((1..=8).contains(&sectors.len()), "{sectors:?}");
    let old = sim.crash_with(&[]);
    let part = |sim: &MemoryStorage, (name, sector): &(String, usize)| {
        sim.content(name)[sector * 512..(sector + 1) * 512].to_vec()
    };
    let is_changed: Vec<_> = sectors.iter().map(|one| part(&sim, one) != part(&old, one)).collect();
    let mut with = 0;
    let images = 1 << sectors.len();
    for image in 0..images {
        let is_kept = |at: usize| image >> at & 1 == 1;
        let kept: Vec<_> =
            (0..sectors.len()).filter(|at| is_kept(*at)).map(|at| sectors[at].clone()).collect();
        let is_whole = (0..sectors.len()).all(|at| is_kept(at) || !is_changed[at]);
        let entries = [&durable[..], if is_whole { last } else { &[] }].concat();
        with += u32::from(is_whole);
        check(&sim.crash_with(&kept), &entries, &format!("{before} blocks, sectors {image:b} of {last:?}"));
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
