//! A cold segment: what is left of older ones, sorted by group.

use bytes::Bytes;
use treecast::id::{GroupNumber, Index};
use treecast::log::memory::MemoryStorage;
use treecast::log::sample::sample_run;
use treecast::log::{DiskLog, Entry, Log, Piece, Snapshot, Urgency};

use super::dumper::{self, Dumped};
use super::files;
use super::scene::recover;

const LAGGARDS: [u32; 2] = [3, 7];

fn commit(log: &DiskLog, entries: Vec<Entry>) {
    log.append(entries, Urgency::Sync).unwrap();
    log.step();
}

/// Fills some segments with runs of ten groups in turn, and releases all but
/// the beginning of two: 3 from index 5 on, 7 from index 9 on.
fn made() -> (MemoryStorage, DiskLog) {
    let sim = MemoryStorage::default();
    let log = recover(&sim, 1).0.start_stepped(Box::new(|_| ())).unwrap();
    for first in (1..=20).step_by(2) {
        commit(&log, (0..10).map(|group| Entry::Run(sample_run(group, first, 2, 700))).collect());
    }
    for group in 0..10 {
        let below = if LAGGARDS.contains(&group) { u64::from(group) + 2 } else { 21 };
        log.release(GroupNumber(group), Index(below));
    }
    for _ in 0..2 {
        commit(&log, vec![Entry::State(Bytes::from_static(&[2]))]);
        log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(log.durable(), Bytes::new())] }).unwrap();
    }
    (0..20).for_each(|_| log.step());
    (sim, log)
}

fn name_of_cold(sim: &MemoryStorage) -> String {
    let is_cold = |name: &String| name.ends_with(".log") && sim.content(name)[6..8] == [2, 0];
    let mut names = sim.names().into_iter().filter(is_cold);
    let name = names.next().expect("a cold segment was made");
    assert_eq!(names.next(), None);
    name
}

#[test]
fn the_engine_writes_a_cold_segment_as_ever() {
    let (sim, _log) = made();
    files::compare("cold-segment.log", &sim.content(&name_of_cold(&sim)));
}

#[test]
fn a_cold_segment_is_read_by_the_document_and_by_the_engine() {
    let (sim, log) = made();
    drop(log);
    sim.put(&name_of_cold(&sim), files::read("cold-segment.log"));
    let log = recover(&sim, 2).0.start_stepped(Box::new(|_| ())).unwrap();
    let blocks = dumper::blocks(&files::read("cold-segment.log"));
    let entries = blocks.into_iter().flat_map(|block| block.entries);
    let mut found: Vec<(u32, u64)> = Vec::new();
    for entry in entries {
        let Dumped::Run { group, first_index, body, .. } = entry else { panic!("only runs are kept") };
        let pieces = log.read(GroupNumber(group), Index(first_index), 1).unwrap();
        let Some(Piece::Run(run)) = pieces.first() else { panic!("{pieces:?}") };
        assert_eq!((run.first_index, &run.run.body[..]), (Index(first_index), &body[..]));
        assert_eq!(*run, sample_run(group, first_index, 2, 700).stored());
        found.push((group, first_index));
    }
    assert!(found.is_sorted(), "by group and index: {found:?}");
    assert_eq!((found.first(), found.iter().find(|run| run.0 == 7)), (Some(&(3, 5)), Some(&(7, 9))));
}
