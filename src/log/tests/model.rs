//! The engine against the log in memory: whatever is appended, released, read,
//! collected, restarted or cut, both give the same, and in the end nothing that
//! was released takes room.
//!
//! Group 3 is the laggard: short runs, and released as seldom as can be.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::powercut::read_all;
use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::{MemoryStorage, Random};
use crate::log::*;

#[derive(Clone, Debug)]
enum Action {
    Append(Vec<(u32, u32, usize)>),
    Gap(u32, u64),
    Release(u32, u64),
    /// All but the laggard are released, and two snapshots are taken.
    Turn,
    Snapshot,
    Restart {
        clean: bool,
    },
    Crash(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let run = prop_oneof![
        4 => (0..3_u32, 1..9_u32, 0..3000_usize),
        1 => (Just(3_u32), 1..3_u32, 0..60_usize),
    ];
    prop_oneof![
        8 => prop::collection::vec(run, 1..6).prop_map(Action::Append),
        1 => (0..3_u32, 1..100_u64).prop_map(|(group, by)| Action::Gap(group, by)),
        2 => (0..3_u32, 0..20_u64).prop_map(|(group, behind)| Action::Release(group, behind)),
        1 => (Just(3_u32), 0..400_u64).prop_map(|(group, behind)| Action::Release(group, behind)),
        1 => Just(Action::Turn),
        1 => Just(Action::Snapshot),
        1 => any::<bool>().prop_map(|clean| Action::Restart { clean }),
        1 => any::<u64>().prop_map(Action::Crash),
    ]
}

fn open(storage: &MemoryStorage) -> DiskLog {
    let options = LogOptions {
        segment_bytes: 64 * 1024,
        reserve_bytes: 0,
        tail_bytes: 8192,
        collect_age_ms: 0,
        waiting_bytes: 0,
    };
    let (recovery, opened) = Recovery::open(storage.storage(), options, &mut |bytes| bytes.fill(5)).unwrap();
    assert!(opened.lost.is_empty() && opened.damaged.is_empty() && opened.notes.is_empty());
    recovery.start_stepped(Box::new(|_| ())).unwrap()
}

struct Pair {
    storage: MemoryStorage,
    log: Option<DiskLog>,
    model: MemoryLog,
    next: BTreeMap<u32, u64>,
    released: BTreeMap<u32, u64>,
    /// Segments that were replaced by cold ones.
    rewritten: u64,
}

impl Pair {
    fn log(&self) -> &DiskLog {
        self.log.as_ref().unwrap()
    }

    fn reopen(&mut self, storage: MemoryStorage) {
        self.log = None;
        self.storage = storage;
        self.log = Some(open(&self.storage));
        for (group, below) in &self.released {
            self.log().release(GroupNumber(*group), Index(*below));
        }
        self.log().settle_released();
    }

    fn append(&self, entries: Vec<Entry>) {
        self.model.append(entries.clone(), Urgency::Sync).unwrap();
        let last = self.log().append(entries, Urgency::Sync).unwrap();
        assert!(self.log().wait_durable(last));
    }

    fn release(&mut self, group: u32, behind: u64) {
        let below = self.next.get(&group).copied().unwrap_or(1).saturating_sub(behind);
        let released = self.released.entry(group).or_default();
        *released = below.max(*released);
        self.model.release(GroupNumber(group), Index(below));
        self.log().release(GroupNumber(group), Index(below));
    }

    fn snapshot(&self) {
        let shards = vec![(self.log().durable(), bytes::Bytes::new())];
        self.log().snapshot(self.log().begin_snapshot(), Snapshot { shards }).unwrap();
    }

    /// Whatever was done: what is released in the end takes no room.
    fn check_leaks(&mut self) {
        self.act(Action::Turn);
        self.release(3, 0);
        self.snapshot();
        for _ in 0..3 {
            self.log().step();
        }
        let space = self.log().space();
        assert!(space.segments <= 1, "{space:?}");
        let files = self.storage.names().iter().filter(|name| name.contains("segment")).count();
        assert_eq!(files as u32, space.segments + space.spare_segments, "{:?}", self.storage.names());
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Append(runs) => {
                let mut entries = Vec::new();
                for (group, count, bytes) in runs {
                    let next = self.next.entry(group).or_insert(1);
                    entries.push(Entry::Run(test_run(group, *next, count, bytes)));
                    *next += u64::from(count);
                }
                self.append(entries);
            }
            Action::Gap(group, by) => *self.next.entry(group).or_insert(1) += by,
            Action::Release(group, behind) => self.release(group, behind),
            Action::Turn => {
                for group in 0..3 {
                    self.release(group, 0);
                }
                self.snapshot();
                self.append(vec![Entry::State(bytes::Bytes::new())]);
                self.snapshot();
            }
            Action::Snapshot => self.snapshot(),
            Action::Restart { clean } => {
                if clean {
                    self.log().stop().unwrap();
                }
                self.reopen(self.storage.clone());
            }
            Action::Crash(seed) => self.reopen(self.storage.crash(&mut Random(seed))),
        }
        for _ in 0..2 {
            let before = self.log().space().rewritten_segments;
            self.log().step();
            self.rewritten += self.log().space().rewritten_segments - before;
        }
    }

    fn check(&self) {
        for group in 0..4 {
            let released = self.released.get(&group).copied().unwrap_or(0);
            for from in [released, released + 5, released + 50] {
                let found = read_all(self.log(), group, from);
                let wanted = read_all(&self.model, group, from);
                let runs = |pieces: &[Piece]| {
                    let is_run = |piece: &&Piece| matches!(piece, Piece::Run(_));
                    pieces.iter().filter(is_run).cloned().collect::<Vec<_>>()
                };
                assert!(runs(&found) == runs(&wanted), "group {group} from {from}");
                if let Some(tail) = self.log().tail(GroupNumber(group), Index(from), usize::MAX) {
                    assert!(tail == runs(&wanted), "tail of group {group} from {from}");
                }
            }
        }
    }
}

#[test]
fn the_engine_does_what_the_model_does() {
    let config = ProptestConfig { cases: 40, ..ProptestConfig::default() };
    let rewritten = Cell::new(0);
    let judged = TestRunner::new(config).run(&prop::collection::vec(action(), 1..100), |actions| {
        let storage = MemoryStorage::default();
        let log = Some(open(&storage));
        let model = MemoryLog::new(Box::new(|_| ()));
        let (next, released) = (BTreeMap::new(), BTreeMap::new());
        let mut pair = Pair { storage, log, model, next, released, rewritten: 0 };
        for action in actions {
            pair.act(action);
            pair.check();
        }
        pair.check_leaks();
        rewritten.set(rewritten.get() + pair.rewritten);
        Ok(())
    });
    judged.unwrap_or_else(|error| panic!("{error}"));
    assert!(rewritten.get() > 20, "only {} segments were rewritten", rewritten.get());
}
