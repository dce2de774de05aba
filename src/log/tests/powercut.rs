//! Power cuts: a scripted run is cut at every operation that changes the disk,
//! and every state that may be left is opened again. F3, F4, F5, F6, F7, F8,
//! F9, F10, F11, F12 (recycling), F13, F45 (a lost cursor is one that was not
//! told durable).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::id::{GroupNumber, Index};
use crate::log::conformance::test_run;
use crate::log::memory::{MemoryStorage, Random};
use crate::log::*;

/// Crash states looked at for each cut.
const IMAGES: u64 = 3;

fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 * 1024, reserve_bytes: 0, tail_bytes: 4096, waiting_bytes: 0 }
}

/// What was done to a log, and what it said.
#[derive(Clone, Default)]
struct Model {
    entries: Vec<Entry>,
    next: BTreeMap<u32, u64>,
    released: BTreeMap<u32, u64>,
    /// Snapshots that may be found: the last one that was confirmed, and any later attempt.
    snapshots: Vec<Snapshot>,
    durable: Arc<AtomicU64>,
}

impl Model {
    fn on_event(&self) -> OnEvent {
        let durable = Arc::clone(&self.durable);
        Box::new(move |event| {
            if let LogEvent::Durable(number) = event {
                durable.fetch_max(number.0, Ordering::SeqCst);
            }
        })
    }

    fn open(&mut self, sim: &MemoryStorage) -> Result<DiskLog, LogError> {
        let mut seed = Random(7);
        let mut random = move |bytes: &mut [u8]| bytes.fill_with(|| seed.number().to_le_bytes()[0]);
        let (recovery, opened) = Recovery::open(sim.storage(), options(), &mut random)?;
        self.check_opened(&opened);
        let mut at = snapshot_covers(&opened.snapshot);
        recovery.replay(&mut |number, entry| {
            at += 1;
            assert_eq!(number.0, at, "replay is dense");
            self.check_replayed(number, &entry);
        })?;
        assert_eq!(at.max(opened.last.0), opened.last.0);
        self.entries.truncate(usize::try_from(opened.last.0).unwrap());
        self.recount();
        recovery.start_stepped(self.on_event())
    }

    fn recount(&mut self) {
        self.next.clear();
        for entry in &self.entries {
            if let Entry::Run(run) = entry {
                self.next.insert(run.group.0, run.first_index.0 + u64::from(run.run.header.count));
            }
        }
    }

    fn check_opened(&mut self, opened: &Opened) {
        assert!(
            opened.last.0 >= self.durable.load(Ordering::SeqCst),
            "what was durable is there: {opened:?}"
        );
        assert!(opened.last.0 <= self.entries.len() as u64, "nothing is made up");
        assert!(opened.damaged.is_empty() && opened.lost.is_empty(), "a power cut is no damage: {opened:?}");
        if self.snapshots.is_empty() {
            assert_eq!(opened.snapshot, Snapshot::default());
        } else {
            assert!(self.snapshots.contains(&opened.snapshot), "{:?}", opened.snapshot);
        }
        self.snapshots = vec![opened.snapshot.clone()];
        self.durable.store(opened.last.0, Ordering::SeqCst);
    }

    fn check_replayed(&self, number: EntryNumber, found: &Replayed) {
        let wanted = &self.entries[usize::try_from(number.0 - 1).unwrap()];
        match (wanted, found) {
            (Entry::State(wanted), Replayed::State(found)) => assert_eq!(wanted, found),
            (Entry::Run(wanted), Replayed::Run { group, first_index, header, .. }) => {
                assert_eq!(
                    (wanted.group, wanted.first_index, wanted.run.header),
                    (*group, *first_index, *header)
                );
            }
            (wanted, found) => panic!("entry {number}: {found:?} for {wanted:?}"),
        }
    }

    /// Everything that is durable and not released can be read, and nothing else is.
    fn check_read(&self, log: &DiskLog) {
        for group in 0..4 {
            let released = self.released.get(&group).copied().unwrap_or(0);
            let durable = usize::try_from(self.durable.load(Ordering::SeqCst)).unwrap();
            let wanted: Vec<_> = self.entries[..durable]
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Run(run) if run.group.0 == group => Some(run.stored()),
                    Entry::Run(_) | Entry::State(_) => None,
                })
                .collect();
            let held: Vec<_> =
                wanted.iter().filter(|run| run.end_index().0 > released.max(1)).cloned().collect();
            let found = read_all(log, group, released);
            let runs: Vec<_> = found
                .into_iter()
                .filter_map(|piece| match piece {
                    Piece::Run(run) => Some(run),
                    Piece::Missing { cause, .. } => {
                        assert_eq!(cause, MissingCause::Released);
                        None
                    }
                })
                .collect();
            assert!(runs == held, "group {group}: {} runs for {}", runs.len(), held.len());
        }
    }

    /// One step of the script; an error once the power is cut.
    fn act(
        &mut self,
        log: &mut Option<DiskLog>,
        sim: &MemoryStorage,
        random: &mut Random,
    ) -> Result<(), LogError> {
        let running = log.as_ref().expect("the script keeps it open");
        match random.below(20) {
            0 => {
                let stopped = random.below(2) == 0;
                let result = if stopped { running.stop() } else { Ok(()) };
                *log = None;
                result?;
                *log = Some(self.open(sim)?);
            }
            1 | 2 => {
                let number = EntryNumber(self.durable.load(Ordering::SeqCst));
                let shards = vec![(number, Bytes::from(format!("as of {number}"))), (number, Bytes::new())];
                let snapshot = Snapshot { shards };
                self.snapshots.push(snapshot.clone());
                running.snapshot(snapshot.clone())?;
                self.snapshots = vec![snapshot];
            }
            3 | 4 => {
                let group = u32::try_from(random.below(4)).unwrap();
                let next = self.next.get(&group).copied().unwrap_or(1);
                let below = next.saturating_sub(random.below(4));
                let released = self.released.entry(group).or_default();
                *released = below.max(*released);
                running.release(GroupNumber(group), Index(below));
            }
            _ => self.append(running, random)?,
        }
        if let Some(log) = log {
            log.step();
        }
        if sim.is_cut() { Err(LogError::Poisoned) } else { Ok(()) }
    }

    fn append(&mut self, log: &DiskLog, random: &mut Random) -> Result<(), LogError> {
        let mut entries = Vec::new();
        for _ in 0..=random.below(3) {
            if random.below(4) == 0 {
                entries.push(Entry::State(Bytes::from(vec![7; usize::try_from(random.below(600)).unwrap()])));
                continue;
            }
            let group = u32::try_from(random.below(4)).unwrap();
            let count = u32::try_from(1 + random.below(5)).unwrap();
            let next = self.next.entry(group).or_insert(1);
            let bytes = usize::try_from(random.below(2500)).unwrap();
            entries.push(Entry::Run(test_run(group, *next, count, bytes)));
            *next += u64::from(count);
        }
        self.entries.extend(entries.iter().cloned());
        log.append(entries, Urgency::Sync)?;
        Ok(())
    }
}

fn snapshot_covers(snapshot: &Snapshot) -> u64 {
    snapshot.shards.iter().map(|(number, _)| number.0).min().unwrap_or(0)
}

pub(crate) fn read_all(log: &dyn Log, group: u32, from: u64) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut at = Index(from);
    loop {
        let pieces = log.read(GroupNumber(group), at, 5000).unwrap();
        let Some(last) = pieces.last() else { return all };
        at = match last {
            Piece::Run(run) => run.end_index(),
            Piece::Missing { to, .. } => *to,
        };
        all.extend(pieces);
    }
}

/// Runs the script until the power is cut, or for `actions`.
fn run(sim: &MemoryStorage, actions: u64, seed: u64) -> Model {
    let mut model = Model::default();
    let mut random = Random(seed);
    let mut log = match model.open(sim) {
        Ok(log) => Some(log),
        Err(_) => return model,
    };
    for _ in 0..actions {
        if model.act(&mut log, sim, &mut random).is_err() {
            break;
        }
    }
    model
}

/// Opens what is left, checks it, goes on writing, and opens it once more.
fn check_image(model: &Model, image: &MemoryStorage) {
    let mut model = model.clone();
    model.durable = Arc::new(AtomicU64::new(model.durable.load(Ordering::SeqCst)));
    // What may be released is told again after a restart.
    let log = model.open(image).unwrap_or_else(|error| panic!("{error}"));
    for (group, below) in &model.released {
        log.release(GroupNumber(*group), Index(*below));
    }
    model.check_read(&log);
    let mut random = Random(1);
    for _ in 0..3 {
        model.append(&log, &mut random).unwrap();
        log.step();
    }
    model.check_read(&log);
    drop(log);
    let log = model.open(image).unwrap();
    model.check_read(&log);
}

/// Cuts the power at every operation of a script, and again during recovery.
pub(crate) fn powercut(actions: u64, seed: u64) {
    let whole = MemoryStorage::default();
    run(&whole, actions, seed);
    let mut random = Random(seed ^ 0xDEAD);
    for cut_at in 1..=whole.ops() {
        let sim = MemoryStorage::default();
        sim.cut_after(cut_at);
        let model = run(&sim, actions, seed);
        for _ in 0..IMAGES {
            let image = sim.crash(&mut random);
            check_image(&model, &image.copy());
            let during = image.copy();
            during.cut_after(1 + random.below(12));
            let mut second = model.clone();
            second.durable = Arc::new(AtomicU64::new(model.durable.load(Ordering::SeqCst)));
            let opened = second.open(&during);
            drop(opened);
            check_image(&model, &during.crash(&mut random));
        }
    }
}

#[test]
fn no_power_cut_loses_what_was_durable() {
    for seed in 0..2 {
        powercut(30, seed);
    }
}

#[test]
#[ignore = "takes minutes"]
fn no_power_cut_loses_what_was_durable_at_length() {
    for seed in 2..8 {
        powercut(120, seed);
    }
}
