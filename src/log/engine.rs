//! The engine behind [`DiskLog`]: how it starts, what it does, how it stops.
//!
//! Threads: the committer writes blocks, the keeper does the rest; readers are
//! whoever calls. No lock is held while the disk works, except the committer's
//! own. Costs per 1,000 records that arrive as runs of 64 and commits of 16
//! runs: 1 commit, so 1 vectored write and 1 fdatasync; 2 KiB of heads and
//! less than a page of padding beside the bodies; 16 pushes to the tail and
//! 320 bytes of footer later; nothing is done per record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::committer::{self, entry_bytes, entry_bytes_max};
use super::ident::{Ident, Known};
use super::segment::SegmentEnd;
use super::shared::{Shared, Start};
use super::{
    Entry, EntryNumber, Log, LogError, LogEvent, Piece, Snapshot, SnapshotBegun, Space, Urgency, keeper,
    reader, seal,
};
use crate::id::{Epoch, GroupNumber, Index};
use crate::limits;

/// How a log is to behave. The default is right for a relay.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Bytes of one segment file, [`limits::SEGMENT_BYTES_DEFAULT`] by default;
    /// rounded up to a page, and at least [`limits::SEGMENT_BYTES_MIN`]. No
    /// entry may be longer than a segment.
    pub segment_bytes: u64,
    /// Bytes of room under which the log asks for no more messages; 256 MiB by default.
    pub reserve_bytes: u64,
    /// Bytes of recent runs kept in memory, [`limits::TAIL_BYTES_MAX`] by default.
    pub tail_bytes: usize,
    /// Milliseconds for which next to nothing of a segment must have been
    /// released before what is left is moved to a cold segment,
    /// [`limits::COLLECT_AGE_MS`] by default; without effect while room is short.
    pub collect_age_ms: u64,
    /// Bytes of entries that may wait for room when there is none, by default what a server
    /// may have on its way when it hears of it; at more, [`LogError::Full`].
    pub waiting_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            reserve_bytes: 2 * limits::SEGMENT_BYTES_DEFAULT,
            tail_bytes: limits::TAIL_BYTES_MAX,
            collect_age_ms: limits::COLLECT_AGE_MS,
            waiting_bytes: (limits::UNSYNCED_BYTES_MAX + limits::TURN_PUT_BYTES_MAX) as u64,
        }
    }
}

impl LogOptions {
    /// Bytes of records that surely fit into a segment as one run, with room for what a
    /// dead letter adds to them.
    #[must_use]
    pub fn run_bytes_max(&self) -> u64 {
        let max = entry_bytes_max(self.segment_bytes);
        let added = (limits::HEADERS_BYTES_MAX as u64 + 4096).min(max / 2);
        (max - added).min(limits::RUN_BYTES_MAX as u64)
    }
}

/// Who is told what the log says by itself. Must not block.
pub type OnEvent = Box<dyn Fn(LogEvent) + Send + Sync>;

/// Poisons the log when its thread panics: what it would have written is lost.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(LogError::Poisoned { cause: None });
        }
    }
}

/// A log in a directory of files.
///
/// Dropping it without [`Log::stop`] is like a crash: what was not durable is lost.
pub struct DiskLog {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: Box<dyn Send + Sync>,
}

impl DiskLog {
    /// Starts the threads, or none when `stepped`.
    pub(crate) fn start(
        start: Start,
        on_event: OnEvent,
        lock: Box<dyn Send + Sync>,
        stepped: bool,
    ) -> Result<Self, LogError> {
        let shared = Arc::new(Shared::new(start, on_event));
        let log = Self { shared, threads: Mutex::default(), _lock: lock };
        if !stepped {
            log.spawn("log-commit", |shared| {
                let has_priority = shared.queue.priority().begin();
                shared.counters.lacks_priority.store(!has_priority, Ordering::Relaxed);
                committer::run(shared);
            })?;
            log.spawn("log-keep", keeper::run)?;
        }
        Ok(log)
    }

    fn spawn(&self, name: &str, body: fn(&Shared)) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _guard = Guard(&shared);
            body(&shared);
        });
        let thread = thread.map_err(|error| super::file_error("start the thread", name, error))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn join(&self) {
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            // A thread that panicked has poisoned the log already.
            let _ = thread.join();
        }
    }

    /// This boot.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// The last entry that is durable.
    #[must_use]
    pub fn durable(&self) -> EntryNumber {
        self.shared.durable.get()
    }

    /// Waits until `entry` is durable; false when the log failed before.
    /// May block: for tests and tools, the relay listens to [`LogEvent::Durable`].
    pub fn wait_durable(&self, entry: EntryNumber) -> bool {
        self.shared.wait_durable(entry)
    }

    /// One commit and one round of the keeper, for a log without threads.
    pub fn step(&self) {
        if self.shared.commit_once() {
            self.shared.keeper.step(&self.shared);
            self.shared.collector.work(&self.shared);
        }
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        self.shared.keeper.end();
        self.join();
    }
}

impl Log for DiskLog {
    fn append(&self, entries: Vec<Entry>, urgency: Urgency) -> Result<EntryNumber, LogError> {
        if self.shared.is_poisoned() || self.shared.queue.is_ending() {
            return Err(self.shared.stopped());
        }
        let bytes = entries.iter().map(entry_bytes).sum();
        self.shared.check_room(&entries, bytes)?;
        Ok(self.shared.queue.push(entries, bytes, urgency))
    }

    fn hurry(&self) {
        self.shared.queue.hurry();
    }

    fn tail(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Option<Vec<Piece>> {
        self.shared.tail.read(group, from, bytes_max)
    }

    fn read(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Result<Vec<Piece>, LogError> {
        if self.shared.is_poisoned() {
            return Err(self.shared.stopped());
        }
        Ok(reader::read(&self.shared, group, from, bytes_max))
    }

    fn release(&self, group: GroupNumber, below: Index) {
        if self.shared.released.raise(group, below) {
            self.shared.keeper.wake();
        }
    }

    fn settle_released(&self) {
        self.shared.released.settle();
        self.shared.keeper.wake();
    }

    fn begin_snapshot(&self) -> SnapshotBegun {
        self.shared.released.begin()
    }

    fn snapshot(&self, begun: SnapshotBegun, snapshot: Snapshot) -> Result<(), LogError> {
        let written = super::snapshot::write(&self.shared, begun, &snapshot);
        if written.is_err() {
            self.shared.released.end(begun, false);
        }
        written
    }

    fn space(&self) -> Space {
        let shared = &self.shared;
        let segments = shared.segments.all();
        let (spares, _) = shared.keeper.spares();
        let spare_bytes = spares as u64 * shared.options.segment_bytes;
        let in_use: u64 = segments.iter().map(|segment| segment.file.len().unwrap_or(0)).sum();
        let cold = segments.iter().filter(|segment| segment.header.cold.is_some()).count();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Space {
            file_bytes: in_use
                + spare_bytes
                + shared.keeper.leaving_bytes()
                + shared.collector.written_bytes(),
            live_bytes: segments.iter().map(|segment| segment.live_bytes()).sum(),
            free_bytes: shared.storage.free_bytes().unwrap_or(0) + spare_bytes,
            segments: u32::try_from(segments.len()).unwrap_or(u32::MAX),
            spare_segments: u32::try_from(spares).unwrap_or(u32::MAX),
            segment_bytes: shared.options.segment_bytes,
            reserve_bytes: shared.options.reserve_bytes,
            has_priority: !shared.counters.lacks_priority.load(Ordering::Relaxed),
            commits: count(&shared.counters.commits),
            committed_bytes: shared.counters.committed_bytes(),
            cold_segments: u32::try_from(cold).unwrap_or(u32::MAX),
            rewritten_segments: count(&shared.counters.rewritten_segments),
            rewritten_bytes: count(&shared.counters.rewritten_bytes),
        }
    }

    fn stop(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        shared.queue.drain();
        if shared.keeper.is_stepped() {
            while shared.durable.get() < shared.queue.last()
                && !shared.keeper.is_stuck()
                && shared.commit_once()
            {}
        } else {
            shared.durable.wait(shared.queue.last(), || shared.is_poisoned() || shared.keeper.is_stuck());
        }
        shared.keeper.end();
        self.join();
        if shared.is_poisoned() || shared.durable.get() < shared.queue.last() {
            return Err(shared.stopped());
        }
        shared.collector.abandon(shared);
        let mut committer = shared.committer();
        if let Some(last) = committer.seal() {
            last.write().partial = true;
        }
        seal::write_footers(shared)?;
        let SegmentEnd { lsn, entry, hash, .. } = committer.end();
        let known = Known { lsn, entry, hash };
        let cut = shared.cut.filter(|cut| cut.is_behind(entry));
        let (epoch, secret, passed_over) = (shared.epoch, shared.secret, shared.passed_over);
        let ident = Ident { epoch, secret, clean: true, known, cut, passed_over };
        ident.write(&*shared.storage)
    }
}
