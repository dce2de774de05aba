//! The committer: the one thread that writes blocks, one of all that waits in
//! the [queue](super::queue), then one sync.

use std::collections::VecDeque;
use std::sync::Arc;

use super::block::{BLOCK_HEADER_BYTES, PAGE_BYTES, RUN_HEAD_BYTES, STATE_HEAD_BYTES};
use super::builder::Builder;
use super::codec::round_up;
use super::footer;
use super::header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::postings::Posting;
use super::queue::Batch;
use super::segment::{Segment, SegmentEnd};
use super::shared::Shared;
use super::{Entry, LogError, LogEvent, file_error};
use crate::id::{GroupNumber, Lsn};
use crate::limits;

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
