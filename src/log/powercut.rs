//! The power-cut self-test: a scripted run over a simulated disk is cut at
//! every operation that changes the disk, and states that such a cut may leave
//! are opened again. Nothing that the log called durable may be missing,
//! nothing may be there that was not written, and what is there is read back
//! as it was, also after more cuts during recovery. At last everything is
//! released, and nothing may stay on the disk.
//!
//! One group is a laggard: it gets short runs and is released seldom, so that
//! segments come to hold little but its runs, and are rewritten.
//!
//! The simulated disk keeps what was synced, and of what was not, any part:
//! whole writes, sectors of 512 bytes of one, names without their directory's
//! sync (see [`super::memory`]). The idea of enumerating crash states is that
//! of ALICE (Pillai et al., "All File Systems Are Not Created Equal", 2014).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::memory::{MemoryStorage, Random};
use super::sample::sample_run;
use super::{
    DiskLog, Entry, EntryNumber, Log, LogError, LogEvent, LogOptions, MissingCause, OnEvent, Opened, Piece,
    Recovery, Replayed, Snapshot, Urgency,
};
use crate::id::{GroupNumber, Index};

/// Crash states looked at for each cut.
const IMAGES: u64 = 3;
/// Cuts during recovery, each during the one from what the last has left.
const NESTED: u64 = 2;
/// Groups that the script writes to.
const GROUPS: u32 = 4;
/// The group of which little is written and which is seldom released.
const LAGGARD: u32 = GROUPS - 1;

/// What a self-test does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// How many steps.
    pub steps: u64,
    /// Which steps: the same number, the same ones.
    pub seed: u64,
    /// Commits are long, on a disk that can give space without writing it: segments are then
    /// allocated and not filled.
    pub is_bulk: bool,
}

/// What a self-test did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Powercuts {
    /// Steps of the script.
    pub steps: u64,
    /// Places at which the power was cut: every operation that changed the disk.
    pub cuts: u64,
    /// States of the disk that were opened and checked.
    pub states: u64,
    /// Entries that the whole script made durable.
    pub entries: u64,
    /// Segments that the whole script rewrote into cold ones.
    pub rewritten: u64,
}

/// Runs a script, and cuts it everywhere. `told` is called after every cut with how many are done and how many there are.
/// Takes time with the square of `steps`: 100 take about ten seconds.
///
/// # Errors
/// What was lost, made up or changed, and by which cut.
pub fn powercut(script: Script, told: &mut dyn FnMut(u64, u64)) -> Result<Powercuts, String> {
    let Script { steps, seed, .. } = script;
    let whole = MemoryStorage::default();
    let model = run(&whole, script)?;
    let cuts = whole.ops();
    let (entries, rewritten) = (model.entries.len() as u64, model.rewritten);
    let mut done = Powercuts { steps, cuts, states: 0, entries, rewritten };
    let mut random = Random(seed ^ 0xDEAD);
    for cut_at in 1..=cuts {
        let at = |fault: String| format!("seed {seed}, power cut at operation {cut_at} of {cuts}: {fault}");
        let sim = MemoryStorage::default();
        sim.cut_after(cut_at);
        let model = run(&sim, script).map_err(at)?;
        for _ in 0..IMAGES {
            let image = sim.crash(&mut random);
            model.check_image(&image.copy()).map_err(at)?;
            // What a recovery found that got through is durable from then on.
            let (mut left, mut model) = (image, model.again());
            for _ in 0..NESTED {
                left.cut_after(1 + random.below(12));
                // It may or may not get through.
                drop(model.open(&left).map_err(at)?);
                left = left.crash(&mut random);
            }
            model.check_image(&left).map_err(at)?;
            done.states += 2;
        }
        told(cut_at, cuts);
    }
    Ok(done)
}

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 * 1024,
        reserve_bytes: 0,
        tail_bytes: 4096,
        waiting_bytes: 0,
        collect_age_ms: 0,
    }
}

fn ensure(is_right: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if is_right { Ok(()) } else { Err(fault()) }
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
    /// Segments that were rewritten.
    rewritten: u64,
    /// Runs are long.
    is_bulk: bool,
}

/// One step of the script: `None` once the power is cut.
type Step = Result<Option<()>, String>;

fn or_cut<T>(result: Result<T, LogError>) -> Option<T> {
    result.ok()
}

impl Model {
    /// The same model, for a run of its own.
    fn again(&self) -> Self {
        Self { durable: Arc::new(AtomicU64::new(self.durable.load(Ordering::SeqCst))), ..self.clone() }
    }

    fn on_event(&self) -> OnEvent {
        let durable = Arc::clone(&self.durable);
        Box::new(move |event| {
            if let LogEvent::Durable(number) = event {
                durable.fetch_max(number.0, Ordering::SeqCst);
            }
        })
    }

    /// Opens what is there and checks it; `None` when the power was cut meanwhile.
    fn open(&mut self, sim: &MemoryStorage) -> Result<Option<DiskLog>, String> {
        let mut seed = Random(7);
        let mut random = move |bytes: &mut [u8]| bytes.fill_with(|| seed.number().to_le_bytes()[0]);
        let (recovery, opened) = match Recovery::open(sim.storage(), options(), &mut random) {
            Ok(opened) => opened,
            Err(_) if sim.is_cut() => return Ok(None),
            Err(error) => return Err(format!("the log does not open: {error}")),
        };
        self.check_opened(&opened)?;
        let mut at = snapshot_covers(&opened.snapshot);
        let mut fault = Ok(());
        let replayed = recovery.replay(&mut |number, entry| {
            at += 1;
            if fault.is_ok() {
                fault = ensure(number.0 == at, || format!("entry {number} is replayed as number {at}"))
                    .and_then(|()| self.check_replayed(number, &entry));
            }
        });
        if replayed.is_err() && sim.is_cut() {
            return Ok(None);
        }
        fault?;
        replayed.map_err(|error| format!("the log is not replayed: {error}"))?;
        ensure(at.max(opened.last.0) == opened.last.0, || format!("{at} entries of {}", opened.last))?;
        self.entries.truncate(usize::try_from(opened.last.0).unwrap_or(usize::MAX));
        self.recount();
        let log = or_cut(recovery.start_stepped(self.on_event()));
        // What is released is known from the snapshot alone.
        self.released = known(&opened.snapshot);
        if let Some(log) = &log {
            self.released.iter().for_each(|(group, below)| log.release(GroupNumber(*group), Index(*below)));
            log.settle_released();
        }
        Ok(log)
    }

    fn recount(&mut self) {
        self.next.clear();
        for entry in &self.entries {
            if let Entry::Run(run) = entry {
                self.next.insert(run.group.0, run.first_index.0 + u64::from(run.run.header.count));
            }
        }
    }

    fn check_opened(&mut self, opened: &Opened) -> Result<(), String> {
        let durable = self.durable.load(Ordering::SeqCst);
        ensure(opened.last.0 >= durable, || {
            format!("entry {durable} was durable and the log ends at {}", opened.last)
        })?;
        ensure(opened.last.0 <= self.entries.len() as u64, || {
            format!("{} entries were appended and the log ends at {}", self.entries.len(), opened.last)
        })?;
        ensure(opened.damaged.is_empty() && opened.lost.is_empty(), || {
            format!("a power cut is taken for damage: {:?} {:?}", opened.damaged, opened.lost)
        })?;
        let is_known = match self.snapshots.is_empty() {
            true => opened.snapshot == Snapshot::default(),
            false => self.snapshots.contains(&opened.snapshot),
        };
        ensure(is_known, || format!("a snapshot that was not the last: {:?}", opened.snapshot))?;
        self.snapshots = vec![opened.snapshot.clone()];
        self.durable.store(opened.last.0, Ordering::SeqCst);
        Ok(())
    }

    fn check_replayed(&self, number: EntryNumber, found: &Replayed) -> Result<(), String> {
        let place = usize::try_from(number.0 - 1).unwrap_or(usize::MAX);
        let is_right = match (self.entries.get(place), found) {
            (Some(Entry::State(wanted)), Replayed::State(found)) => wanted == found,
            (Some(Entry::Run(wanted)), Replayed::Run { group, first_index, header, .. }) => {
                (wanted.group, wanted.first_index, wanted.run.header) == (*group, *first_index, *header)
            }
            _ => false,
        };
        ensure(is_right, || format!("entry {number} came back as another one"))
    }

    /// Everything that is durable and not released, as the snapshot knows it after a start, can be read, and
    /// nothing else is.
    fn check_read(&self, log: &DiskLog) -> Result<(), String> {
        let durable = usize::try_from(self.durable.load(Ordering::SeqCst)).unwrap_or(usize::MAX);
        let durable = self.entries.get(..durable).unwrap_or(&self.entries);
        for group in 0..GROUPS {
            let released = self.released.get(&group).copied().unwrap_or(0);
            let held: Vec<_> = durable
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Run(run) if run.group.0 == group => Some(run.stored()),
                    Entry::Run(_) | Entry::State(_) => None,
                })
                .filter(|run| run.end_index().0 > released.max(1))
                .collect();
            let mut runs = Vec::new();
            for piece in read_all(log, group, released)? {
                match piece {
                    Piece::Run(run) => runs.push(run),
                    Piece::Missing { cause: MissingCause::Released, .. } => {}
                    Piece::Missing { from, to, cause } => {
                        return Err(format!("{from} to {to} of group {group} is missing: {cause:?}"));
                    }
                }
            }
            ensure(runs == held, || {
                format!("group {group} has {} runs, must have {}, or other ones", runs.len(), held.len())
            })?;
        }
        Ok(())
    }

    fn act(&mut self, log: &mut Option<DiskLog>, sim: &MemoryStorage, random: &mut Random) -> Step {
        let Some(running) = log.as_ref() else { return Ok(None) };
        let done = match random.below(20) {
            0 => {
                let result = if random.below(2) == 0 { running.stop() } else { Ok(()) };
                *log = None;
                if or_cut(result).is_some() {
                    *log = self.open(sim)?;
                }
                log.as_ref().map(|_| ())
            }
            1 | 2 => self.snapshot(running),
            3 | 4 => {
                self.release(running, random);
                Some(())
            }
            5 => {
                self.release_all(running);
                Some(())
            }
            _ => self.append(running, random),
        };
        if let Some(log) = log {
            let before = log.space().rewritten_segments;
            log.step();
            self.rewritten += log.space().rewritten_segments - before;
        }
        Ok(done.filter(|()| !sim.is_cut()))
    }

    fn snapshot(&mut self, log: &DiskLog) -> Option<()> {
        let number = EntryNumber(self.durable.load(Ordering::SeqCst));
        let begun = log.begin_snapshot();
        let released = self.released.iter().flat_map(|(group, below)| [u64::from(*group), *below]);
        let released: Vec<u8> = released.flat_map(u64::to_le_bytes).collect();
        let shards = vec![(number, Bytes::from(format!("as of {number}"))), (number, Bytes::from(released))];
        let snapshot = Snapshot { shards };
        self.snapshots.push(snapshot.clone());
        // It is written by a thread of its own: more may be released meanwhile.
        if number.0.is_multiple_of(2) {
            self.release_all(log);
        }
        or_cut(log.snapshot(begun, snapshot.clone()))?;
        self.snapshots = vec![snapshot];
        Some(())
    }

    fn release(&mut self, log: &DiskLog, random: &mut Random) {
        let group = if random.below(8) == 0 { LAGGARD } else { any_group(random) % LAGGARD };
        let next = self.next.get(&group).copied().unwrap_or(1);
        let behind = if group == LAGGARD { next / 2 } else { random.below(4) };
        let below = next.saturating_sub(behind);
        let released = self.released.entry(group).or_default();
        *released = below.max(*released);
        log.release(GroupNumber(group), Index(below));
    }

    /// Releases everything but the laggard.
    fn release_all(&mut self, log: &DiskLog) {
        for (group, next) in self.next.iter().filter(|(group, _)| **group != LAGGARD) {
            self.released.insert(*group, *next);
            log.release(GroupNumber(*group), Index(*next));
        }
    }

    fn append(&mut self, log: &DiskLog, random: &mut Random) -> Option<()> {
        let mut entries = Vec::new();
        for _ in 0..=random.below(3) {
            if random.below(4) == 0 {
                let bytes = usize::try_from(random.below(600)).unwrap_or_default();
                entries.push(Entry::State(Bytes::from(vec![7; bytes])));
                continue;
            }
            let group = any_group(random);
            let count = 1 + u32::try_from(random.below(5)).unwrap_or_default();
            let next = self.next.entry(group).or_insert(1);
            let bytes_max = match (group == LAGGARD, self.is_bulk) {
                (true, _) => 40,
                (false, false) => 2500,
                (false, true) => 5000,
            };
            let bytes = usize::try_from(random.below(bytes_max)).unwrap_or_default();
            entries.push(Entry::Run(sample_run(group, *next, count, bytes)));
            *next += u64::from(count);
        }
        self.entries.extend(entries.iter().cloned());
        or_cut(log.append(entries, Urgency::Sync)).map(|_| ())
    }

    /// Opens what is left, checks it, goes on writing, and opens it once more.
    fn check_image(&self, image: &MemoryStorage) -> Result<(), String> {
        let mut model = self.again();
        let unopened = || "the log does not start".to_owned();
        let log = model.open(image)?.ok_or_else(unopened)?;
        model.check_read(&log)?;
        let mut random = Random(1);
        for _ in 0..3 {
            model.append(&log, &mut random).ok_or("the log takes nothing more")?;
            log.step();
        }
        model.check_read(&log)?;
        drop(log);
        let log = model.open(image)?.ok_or_else(unopened)?;
        model.check_read(&log)?;
        model.check_collected(&log, image)
    }

    /// Collects what there is to collect, and then everything: what nobody
    /// needs does not stay on disk.
    fn check_collected(&mut self, log: &DiskLog, image: &MemoryStorage) -> Result<(), String> {
        let refused = |error: LogError| format!("the log takes nothing more: {error}");
        for _ in 0..2 {
            let state = Entry::State(Bytes::from_static(b"cursor"));
            self.entries.push(state.clone());
            log.append(vec![state], Urgency::Sync).map_err(refused)?;
            log.step();
            log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(log.durable(), Bytes::new())] })
                .map_err(refused)?;
        }
        for _ in 0..6 {
            log.step();
        }
        self.check_read(log)?;
        for group in 0..GROUPS {
            log.release(GroupNumber(group), Index(u64::MAX));
        }
        log.settle_released();
        log.step();
        let space = log.space();
        ensure(space.segments <= 1, || format!("segments stay that nobody needs: {space:?}"))?;
        let names = image.names();
        let files = names.iter().filter(|name| name.contains("segment")).count();
        let known = (space.segments + space.spare_segments) as usize;
        ensure(files == known, || format!("files stay that nobody needs: {names:?} {space:?}"))
    }
}

fn any_group(random: &mut Random) -> u32 {
    u32::try_from(random.below(u64::from(GROUPS))).unwrap_or_default()
}

/// What a snapshot knows to be released.
fn known(snapshot: &Snapshot) -> BTreeMap<u32, u64> {
    let bytes = snapshot.shards.get(1).map(|(_, bytes)| bytes.as_ref()).unwrap_or_default();
    let (words, _) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let (pairs, _) = numbers.as_chunks::<2>();
    pairs.iter().map(|[group, below]| (u32::try_from(*group).unwrap_or_default(), *below)).collect()
}

fn snapshot_covers(snapshot: &Snapshot) -> u64 {
    snapshot.shards.iter().map(|(number, _)| number.0).min().unwrap_or(0)
}

/// Reads a whole group, in several pieces.
fn read_all(log: &dyn Log, group: u32, from: u64) -> Result<Vec<Piece>, String> {
    let mut all = Vec::new();
    let mut at = Index(from);
    loop {
        let pieces =
            log.read(GroupNumber(group), at, 5000).map_err(|error| format!("cannot read: {error}"))?;
        let Some(last) = pieces.last() else { return Ok(all) };
        at = match last {
            Piece::Run(run) => run.end_index(),
            Piece::Missing { to, .. } => *to,
        };
        all.extend(pieces);
    }
}

/// Runs the script until the power is cut, or to its end.
fn run(sim: &MemoryStorage, script: Script) -> Result<Model, String> {
    sim.set_allocates(script.is_bulk);
    let mut model = Model { is_bulk: script.is_bulk, ..Model::default() };
    let mut random = Random(script.seed);
    let mut log = model.open(sim)?;
    for _ in 0..script.steps {
        if model.act(&mut log, sim, &mut random)?.is_none() {
            break;
        }
    }
    Ok(model)
}

#[cfg(test)]
mod tests;
