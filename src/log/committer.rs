//! The committer: the one thread that writes blocks.
//!
//! Natural batching, no timer: while one sync runs, entries gather in the
//! queue; the next commit takes all of them. An entry that nobody waits for
//! ([`Urgency::Ride`]) does not wake the committer: it goes with the next
//! commit, or gets one of its own after [`RIDE_MS`] of quiet.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::block::{BLOCK_HEADER_BYTES, PAGE_BYTES, RUN_HEAD_BYTES, STATE_HEAD_BYTES};
use super::builder::Builder;
use super::codec::round_up;
use super::footer;
use super::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::postings::Posting;
use super::segment::{Segment, SegmentEnd};
use super::shared::Shared;
use super::{Entry, EntryNumber, LogError, LogEvent, Urgency, file_error};
use crate::id::{GroupNumber, Lsn};
use crate::limits;

/// Milliseconds that an entry which nobody waits for stays in memory at the most.
const RIDE_MS: u64 = 200;

/// Bytes that an entry takes in a block.
pub(crate) fn entry_bytes(entry: &Entry) -> u64 {
    match entry {
        Entry::Run(run) => (RUN_HEAD_BYTES + run.run.body.len()) as u64,
        Entry::State(state) => (STATE_HEAD_BYTES + state.len()) as u64,
    }
}

/// The largest entry that an empty segment of `capacity` bytes takes.
pub(crate) fn entry_bytes_max(capacity: u64) -> u64 {
    let around = SEGMENT_HEADER_BYTES + BLOCK_HEADER_BYTES as u64 + PAGE_BYTES + footer::bytes(1, 1);
    capacity.saturating_sub(around)
}

struct Batch {
    entries: Vec<Entry>,
    bytes: u64,
    urgency: Urgency,
}

/// How the committer is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Running,
    /// Commit what is there, then end.
    Drain,
    /// End at once.
    Abandon,
}

struct Waiting {
    batches: VecDeque<Batch>,
    bytes: u64,
    last: EntryNumber,
    urgent: bool,
    oldest_ride: Option<Instant>,
    ending: Ending,
    asleep: bool,
}

/// Entries that are appended and not yet written.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Queue {
    pub(crate) fn new(last: EntryNumber) -> Self {
        let waiting = Waiting {
            batches: VecDeque::new(),
            bytes: 0,
            last,
            urgent: false,
            oldest_ride: None,
            ending: Ending::Running,
            asleep: false,
        };
        Self { waiting: Mutex::new(waiting), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers and queues `entries`.
    pub(crate) fn push(&self, entries: Vec<Entry>, bytes: u64, urgency: Urgency) -> EntryNumber {
        let mut waiting = self.lock();
        if entries.is_empty() {
            return waiting.last;
        }
        waiting.last.0 += entries.len() as u64;
        waiting.bytes += bytes;
        match urgency {
            Urgency::Sync => waiting.urgent = true,
            Urgency::Ride => {
                waiting.oldest_ride.get_or_insert_with(Instant::now);
            }
        }
        waiting.batches.push_back(Batch { entries, bytes, urgency });
        let last = waiting.last;
        let wake = waiting.asleep;
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
        last
    }

    /// Has everything synced that is queued now, rides too.
    pub(crate) fn hurry(&self) {
        self.lock().urgent = true;
        self.wake.notify_one();
    }

    /// The last entry that was appended.
    pub(crate) fn last(&self) -> EntryNumber {
        self.lock().last
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    pub(crate) fn drain(&self) {
        self.end(Ending::Drain);
    }

    pub(crate) fn abandon(&self) {
        self.end(Ending::Abandon);
    }

    fn end(&self, ending: Ending) {
        self.lock().ending = ending;
        self.wake.notify_one();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.lock().ending != Ending::Running
    }

    /// Waits until there is something to commit; false when the end has come.
    fn wait(&self) -> bool {
        let mut waiting = self.lock();
        loop {
            match waiting.ending {
                Ending::Abandon => return false,
                Ending::Drain => return !waiting.batches.is_empty(),
                Ending::Running => {}
            }
            if waiting.urgent && !waiting.batches.is_empty() {
                return true;
            }
            let rest = waiting
                .oldest_ride
                .map(|oldest| Duration::from_millis(RIDE_MS).saturating_sub(oldest.elapsed()));
            waiting.asleep = true;
            waiting = match rest {
                Some(Duration::ZERO) => {
                    waiting.asleep = false;
                    return true;
                }
                Some(rest) => {
                    let woken = self.wake.wait_timeout(waiting, rest);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
            waiting.asleep = false;
        }
    }

    /// Takes what is there, up to `bytes_max`, but one entry at the least.
    fn take(&self, bytes_max: u64) -> VecDeque<Batch> {
        let mut waiting = self.lock();
        let taken = if waiting.bytes <= bytes_max {
            std::mem::take(&mut waiting.batches)
        } else {
            take_some(&mut waiting.batches, bytes_max)
        };
        waiting.bytes -= taken.iter().map(|batch| batch.bytes).sum::<u64>();
        waiting.urgent = waiting.batches.iter().any(|batch| batch.urgency == Urgency::Sync);
        if waiting.batches.is_empty() {
            waiting.oldest_ride = None;
        }
        taken
    }
}

impl Queue {
    /// Puts back what was taken and could not be written for want of room.
    fn put_back(&self, mut batches: VecDeque<Batch>) {
        let mut waiting = self.lock();
        waiting.bytes += batches.iter().map(|batch| batch.bytes).sum::<u64>();
        waiting.urgent = true;
        batches.append(&mut waiting.batches);
        waiting.batches = batches;
    }
}

fn take_some(batches: &mut VecDeque<Batch>, bytes_max: u64) -> VecDeque<Batch> {
    let mut taken = VecDeque::new();
    let mut bytes = 0;
    while let Some(mut batch) = batches.pop_front() {
        if bytes + batch.bytes <= bytes_max {
            bytes += batch.bytes;
            taken.push_back(batch);
            continue;
        }
        let mut fit = 0;
        let mut fit_bytes = 0;
        for entry in &batch.entries {
            let next = entry_bytes(entry);
            let first_of_all = fit == 0 && taken.is_empty();
            if bytes + fit_bytes + next > bytes_max && !first_of_all {
                break;
            }
            fit += 1;
            fit_bytes += next;
        }
        let rest = batch.entries.split_off(fit);
        if !rest.is_empty() {
            let bytes = batch.bytes - fit_bytes;
            batches.push_front(Batch { entries: rest, bytes, urgency: batch.urgency });
        }
        if fit > 0 {
            taken.push_back(Batch { bytes: fit_bytes, ..batch });
        }
        break;
    }
    taken
}

/// What the committing thread alone knows.
pub(crate) struct Committer {
    active: Option<Arc<Segment>>,
    end: SegmentEnd,
    runs: usize,
    builder: Builder,
    postings: Vec<(GroupNumber, Posting)>,
}

impl Committer {
    /// Goes on behind `end`, in a fresh segment.
    pub(crate) fn new(end: SegmentEnd) -> Self {
        Self { active: None, end, runs: 0, builder: Builder::default(), postings: Vec::new() }
    }

    /// Where the chain ends.
    pub(crate) fn end(&self) -> SegmentEnd {
        self.end
    }

    /// The segment that is being filled stops being it.
    pub(crate) fn seal(&mut self) -> Option<Arc<Segment>> {
        let sealed = self.active.take()?;
        sealed.write().sealed = true;
        Some(sealed)
    }

    /// Commits once; false if nothing was waiting.
    pub(crate) fn commit(&mut self, shared: &Shared) -> Result<bool, LogError> {
        let capacity = shared.options.segment_bytes;
        let batches = shared.queue.take((limits::COMMIT_BYTES_MAX as u64).min(capacity / 2));
        if batches.is_empty() {
            return Ok(false);
        }
        let bytes: u64 = batches.iter().map(|batch| batch.bytes).sum();
        let entries = batches.iter().flat_map(|batch| &batch.entries);
        let runs = entries.clone().filter(|entry| matches!(entry, Entry::Run(_))).count();
        let fresh = match self.make_room(shared, bytes, runs) {
            Ok(fresh) => fresh,
            Err(LogError::Full { .. }) => {
                shared.queue.put_back(batches);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let active = Arc::clone(self.active.as_ref().expect("make_room leaves an active segment"));
        let lead = if fresh { active.header.encode() } else { Vec::new() };
        self.builder.begin(active.header.epoch, self.end.position, &lead);
        self.postings.clear();
        for entry in entries {
            self.add(entry);
        }
        let first = self.end.entry.next();
        let header = self.builder.finish(Lsn(self.end.lsn.0 + 1), self.end.hash, first);
        self.write(&active, lead.len() as u64)?;
        self.end = SegmentEnd::behind(&header);
        self.runs += runs;
        self.publish(shared, &active, fresh, batches);
        Ok(true)
    }

    fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Run(run) => {
                let position = self.builder.run(run);
                self.postings.push((run.group, Posting::of(run, position)));
            }
            Entry::State(state) => self.builder.state(state),
        }
    }

    /// One vectored write, one sync.
    fn write(&self, active: &Segment, lead: u64) -> Result<(), LogError> {
        let position = self.end.position - lead;
        let written = active.file.write_at(&self.builder.pieces(), position);
        written.map_err(|error| file_error("write", &active.name(), error))?;
        active.file.sync().map_err(|error| file_error("sync", &active.name(), error))
    }

    /// Shows what has become durable to readers, then says so.
    fn publish(&mut self, shared: &Shared, active: &Arc<Segment>, fresh: bool, batches: VecDeque<Batch>) {
        active.publish(&self.postings, self.end);
        if fresh {
            shared.segments.insert(Arc::clone(active));
        }
        let runs = batches.into_iter().flat_map(|batch| batch.entries).filter_map(|entry| match entry {
            Entry::Run(run) => Some((run.group, run.into_stored())),
            Entry::State(_) => None,
        });
        shared.tail.push(runs);
        let footer = footer::bytes(active.read().groups_in_memory(), self.runs) + 2 * PAGE_BYTES;
        let active_free = active.header.capacity.saturating_sub(self.end.position + footer);
        shared.counters.committed(self.builder.written_bytes(), active_free);
        self.builder.clear();
        shared.durable.set(self.end.entry);
        shared.tell(LogEvent::Durable(self.end.entry));
    }

    /// Sees to it that a block with `bytes` of entries, `runs` of them runs,
    /// fits behind the end; true if that is a fresh segment.
    fn make_room(&mut self, shared: &Shared, bytes: u64, runs: usize) -> Result<bool, LogError> {
        if let Some(active) = &self.active {
            let groups = active.read().groups_in_memory();
            let block = round_up(self.end.position + BLOCK_HEADER_BYTES as u64 + bytes, PAGE_BYTES);
            let needed = block + footer::bytes(groups + runs, self.runs + runs);
            if needed <= active.header.capacity {
                return Ok(false);
            }
        }
        let spare = shared.keeper.next_spare(shared)?;
        if self.seal().is_some() {
            shared.keeper.wake();
        }
        let header = SegmentHeader {
            in_use: true,
            storage: shared.epoch.storage,
            number: spare.number,
            capacity: spare.capacity,
            epoch: shared.next_segment_epoch(),
            base: Lsn(self.end.lsn.0 + 1),
            base_entry: self.end.entry.next(),
            previous: self.end.hash,
            cold: None,
        };
        self.active = Some(Arc::new(Segment::begin(header, spare.file)));
        self.end.position = SEGMENT_HEADER_BYTES;
        self.runs = 0;
        Ok(true)
    }
}

/// The committing thread.
pub(crate) fn run(shared: &Shared) {
    while shared.queue.wait() {
        if !shared.commit_once() || shared.keeper.is_ending() {
            return;
        }
    }
}
