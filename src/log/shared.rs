//! What the threads of a log share. Every field has its own lock, held for
//! memory only; the committer's alone is held while the disk works, and nobody
//! else takes it while the log runs.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use super::collect::Collector;
use super::committer::{Committer, entry_bytes, entry_bytes_max};
use super::engine::{LogOptions, OnEvent};
use super::header::segment_epoch;
use super::ident::OpenCut;
use super::keeper::Keeper;
use super::mark::Mark;
use super::queue::Queue;
use super::released::Released;
use super::segment::SegmentEnd;
use super::segments::Segments;
use super::storage::Storage;
use super::tail::Tail;
use super::{Entry, EntryNumber, LogError, LogEvent, reader};
use crate::id::Epoch;

/// What was counted since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) committed_bytes: AtomicU64,
    commit_bytes_mean: AtomicU64,
    /// Whether the committing thread asked to run before others in vain.
    pub(crate) lacks_priority: AtomicBool,
    /// Bytes that the segment being filled can still take.
    pub(crate) active_free: AtomicU64,
    /// Bytes of cold segments that were written.
    pub(crate) rewritten_bytes: AtomicU64,
    /// Segments that were replaced by cold ones.
    pub(crate) rewritten_segments: AtomicU64,
}

impl Counters {
    /// Bytes of all commits.
    pub(crate) fn committed_bytes(&self) -> u64 {
        self.committed_bytes.load(Ordering::Relaxed)
    }

    /// About how long the last commits were.
    pub(crate) fn commit_bytes_mean(&self) -> u64 {
        self.commit_bytes_mean.load(Ordering::Relaxed)
    }

    pub(crate) fn committed(&self, bytes: u64, active_free: u64) {
        // Only the committer writes it. A mean over the last 16, about.
        let mean = self.commit_bytes_mean.load(Ordering::Relaxed);
        self.commit_bytes_mean.store(mean - mean / 16 + bytes / 16, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.committed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.active_free.store(active_free, Ordering::Relaxed);
    }
}

/// What the threads of a log share.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: LogOptions,
    pub(crate) epoch: Epoch,
    pub(crate) secret: u64,
    /// What was cut at the end of the log when it was opened.
    pub(crate) cut: Option<OpenCut>,
    /// Which files the start has passed over, see [`super::headless`].
    pub(crate) passed_over: u64,
    pub(crate) queue: Queue,
    pub(crate) committer: Mutex<Committer>,
    pub(crate) keeper: Keeper,
    pub(crate) collector: Collector,
    pub(crate) segments: Segments,
    pub(crate) tail: Tail,
    pub(crate) released: Released,
    pub(crate) hints: reader::Hints,
    /// The last entry that is durable.
    pub(crate) durable: Mark,
    /// The last entry that every kept snapshot includes.
    pub(crate) covered: Mark,
    pub(crate) counters: Counters,
    /// The snapshots that are known to be whole, by number, the newest last.
    snapshots: Mutex<Vec<EntryNumber>>,
    /// What failed first. The log does nothing more once it is set.
    poison: OnceLock<Arc<LogError>>,
    serial: AtomicU32,
    on_event: OnEvent,
}

/// What recovery hands over.
pub(crate) struct Start {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: LogOptions,
    pub(crate) epoch: Epoch,
    pub(crate) secret: u64,
    pub(crate) cut: Option<OpenCut>,
    pub(crate) passed_over: u64,
    pub(crate) end: SegmentEnd,
    pub(crate) segments: Segments,
    pub(crate) keeper: Keeper,
    pub(crate) covered: EntryNumber,
    /// The number of the snapshot that was read.
    pub(crate) snapshot: Option<EntryNumber>,
}

impl Shared {
    pub(crate) fn new(start: Start, on_event: OnEvent) -> Self {
        Self {
            tail: Tail::new(start.options.tail_bytes),
            storage: start.storage,
            options: start.options,
            epoch: start.epoch,
            secret: start.secret,
            cut: start.cut,
            passed_over: start.passed_over,
            queue: Queue::new(start.end.entry),
            committer: Mutex::new(Committer::new(start.end)),
            keeper: start.keeper,
            collector: Collector::new(),
            segments: start.segments,
            released: Released::default(),
            hints: reader::Hints::default(),
            durable: Mark::new(start.end.entry),
            covered: Mark::new(start.covered),
            counters: Counters::default(),
            snapshots: Mutex::new(start.snapshot.into_iter().collect()),
            poison: OnceLock::new(),
            serial: AtomicU32::new(0),
            on_event,
        }
    }

    /// The epoch of the next segment.
    pub(crate) fn next_segment_epoch(&self) -> u64 {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        segment_epoch(self.epoch.counter, serial, self.secret)
    }

    pub(crate) fn tell(&self, event: LogEvent) {
        (self.on_event)(event);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.get().is_some()
    }

    /// The refusal of a log that has stopped, with the first reason if there is one.
    pub(crate) fn stopped(&self) -> LogError {
        LogError::Poisoned { cause: self.poison.get().cloned() }
    }

    /// Stops the log for good: nothing is tried again after a failed write.
    pub(crate) fn fail(&self, error: LogError) {
        if self.poison.set(Arc::new(error.clone())).is_ok() {
            self.keeper.end();
            self.queue.abandon();
            self.tell(LogEvent::Failed(error));
        }
    }

    /// The snapshots that are known to be whole, by number, the newest last. Held while one
    /// is written.
    pub(crate) fn snapshotting(&self) -> MutexGuard<'_, Vec<EntryNumber>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a snapshot is being written at this moment.
    pub(crate) fn is_snapshotting(&self) -> bool {
        matches!(self.snapshots.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Waits until `entry` is durable; does the work itself when there is no thread.
    pub(crate) fn wait_durable(&self, entry: EntryNumber) -> bool {
        let waits = || self.durable.get() < entry && self.queue.bytes() > 0 && !self.keeper.is_stuck();
        while self.keeper.is_stepped() && waits() {
            if !self.commit_once() {
                return false;
            }
        }
        let stop = || self.is_poisoned() || self.queue.is_ending() || self.keeper.is_stepped();
        self.durable.wait(entry, stop)
    }

    pub(crate) fn committer(&self) -> MutexGuard<'_, Committer> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One commit; false when the log has failed.
    pub(crate) fn commit_once(&self) -> bool {
        let committed = self.committer().commit(self);
        if let Err(error) = committed {
            self.fail(error);
        }
        !self.is_poisoned()
    }

    /// Refuses what would not fit even into the reserve, and into what may wait for room: a
    /// shortage can come between two appends, when a file cannot be made all of a sudden.
    pub(crate) fn check_room(&self, entries: &[Entry], bytes: u64) -> Result<(), LogError> {
        let longest = entries.iter().map(entry_bytes).max().unwrap_or(0);
        let longest_max = entry_bytes_max(self.options.segment_bytes);
        if longest > longest_max {
            return Err(LogError::Full { needed: longest, free: longest_max });
        }
        let (spares, is_short) = self.keeper.spares();
        if !is_short {
            return Ok(());
        }
        let is_data = |entry: &Entry| match entry {
            Entry::Run(run) => run.run.header.kind == crate::wire::run::RunKind::Data,
            Entry::State(_) => false,
        };
        let reserved = usize::from(entries.iter().any(is_data));
        // Half of a segment is what surely fits into it, whatever is cut where.
        let spare_bytes = spares.saturating_sub(reserved) as u64 * (self.options.segment_bytes / 2);
        let active = self.counters.active_free.load(Ordering::Relaxed);
        let free = (active / 2 + spare_bytes + self.options.waiting_bytes).saturating_sub(self.queue.bytes());
        if bytes > free { Err(LogError::Full { needed: bytes, free }) } else { Ok(()) }
    }
}
