//! The engine behind [`DiskLog`]: what its threads share, and how they start and stop.
//!
//! Threads: the committer writes blocks, the keeper does the rest; readers are
//! whoever calls. No lock is held while the disk works, except the committer's
//! own. Costs per 1,000 records that arrive as runs of 64 and commits of 16
//! runs: 1 commit, so 1 vectored write and 1 fdatasync; 2 KiB of heads and
//! less than a page of padding beside the bodies; 16 pushes to the tail and
//! 320 bytes of footer later; nothing is done per record.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use foldhash::HashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::committer::{self, Committer, Queue, entry_bytes, entry_bytes_max};
use super::ident::{Ident, Known};
use super::keeper::{self, Keeper};
use super::segment::{SegmentEnd, Segments};
use super::storage::Storage;
use super::tail::Tail;
use super::{Entry, EntryNumber, Log, LogError, LogEvent, Piece, Snapshot, Space, Urgency, reader};
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
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            reserve_bytes: 2 * limits::SEGMENT_BYTES_DEFAULT,
            tail_bytes: limits::TAIL_BYTES_MAX,
        }
    }
}

/// Who is told what the log says by itself. Must not block.
pub type OnEvent = Box<dyn Fn(LogEvent) + Send + Sync>;

/// A number that one thread raises and others read or wait for.
pub(crate) struct Mark {
    number: Mutex<EntryNumber>,
    raised: Condvar,
}

impl Mark {
    pub(crate) fn new(number: EntryNumber) -> Self {
        Self { number: Mutex::new(number), raised: Condvar::new() }
    }

    pub(crate) fn get(&self) -> EntryNumber {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, EntryNumber> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, number: EntryNumber) {
        *self.lock() = number;
        self.raised.notify_all();
    }

    /// Waits until the mark has reached `number`, or `stop` says to give up.
    pub(crate) fn wait(&self, number: EntryNumber, stop: impl Fn() -> bool) -> bool {
        let mut now = self.lock();
        while *now < number {
            if stop() {
                return false;
            }
            let pause = std::time::Duration::from_millis(50);
            now = self.raised.wait_timeout(now, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// What was counted since the start.
#[derive(Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    committed_bytes: AtomicU64,
    has_priority: AtomicBool,
    /// Bytes that the segment being filled can still take.
    pub(crate) active_free: AtomicU64,
}

impl Counters {
    pub(crate) fn committed(&self, bytes: u64, active_free: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.committed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.active_free.store(active_free, Ordering::Relaxed);
    }
}

/// Up to where each group was released.
#[derive(Default)]
pub(crate) struct Released(Mutex<HashMap<GroupNumber, Index>>);

impl Released {
    pub(crate) fn lock(&self) -> MutexGuard<'_, HashMap<GroupNumber, Index>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn below(&self, group: GroupNumber) -> Index {
        self.lock().get(&group).copied().unwrap_or(Index(0))
    }

    /// True if that is news.
    fn raise(&self, group: GroupNumber, below: Index) -> bool {
        let mut released = self.lock();
        let now = released.entry(group).or_default();
        let raised = below > *now;
        *now = below.max(*now);
        raised
    }
}

/// What the threads of a log share.
pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: LogOptions,
    pub(crate) epoch: Epoch,
    secret: u64,
    pub(crate) queue: Queue,
    pub(crate) committer: Mutex<Committer>,
    pub(crate) keeper: Keeper,
    pub(crate) segments: Segments,
    pub(crate) tail: Tail,
    pub(crate) released: Released,
    pub(crate) hints: reader::Hints,
    /// The last entry that is durable.
    pub(crate) durable: Mark,
    /// The last entry that every kept snapshot includes.
    pub(crate) covered: Mark,
    pub(crate) counters: Counters,
    snapshotting: Mutex<()>,
    poisoned: AtomicBool,
    serial: AtomicU32,
    on_event: OnEvent,
}

/// What recovery hands over.
pub(crate) struct Start {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: LogOptions,
    pub(crate) epoch: Epoch,
    pub(crate) secret: u64,
    pub(crate) end: SegmentEnd,
    pub(crate) segments: Segments,
    pub(crate) keeper: Keeper,
    pub(crate) covered: EntryNumber,
}

impl Shared {
    pub(crate) fn new(start: Start, on_event: OnEvent) -> Self {
        Self {
            tail: Tail::new(start.options.tail_bytes),
            storage: start.storage,
            options: start.options,
            epoch: start.epoch,
            secret: start.secret,
            queue: Queue::new(start.end.entry),
            committer: Mutex::new(Committer::new(start.end)),
            keeper: start.keeper,
            segments: start.segments,
            released: Released::default(),
            hints: reader::Hints::default(),
            durable: Mark::new(start.end.entry),
            covered: Mark::new(start.covered),
            counters: Counters::default(),
            snapshotting: Mutex::new(()),
            poisoned: AtomicBool::new(false),
            serial: AtomicU32::new(0),
            on_event,
        }
    }

    /// An epoch that no segment of this storage ever had, and that no
    /// publisher can foretell: a payload cannot be made to look like a block.
    pub(crate) fn next_segment_epoch(&self) -> u64 {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let place = [self.epoch.counter.to_le_bytes(), u64::from(serial).to_le_bytes()];
        xxh3_64_with_seed(place.as_flattened(), self.secret)
    }

    pub(crate) fn tell(&self, event: LogEvent) {
        (self.on_event)(event);
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Stops the log for good: nothing is tried again after a failed write.
    pub(crate) fn fail(&self, error: LogError) {
        if !self.poisoned.swap(true, Ordering::AcqRel) {
            self.keeper.end();
            self.queue.abandon();
            self.tell(LogEvent::Failed(error));
        }
    }

    /// Held while a snapshot is written.
    pub(crate) fn snapshotting(&self) -> MutexGuard<'_, ()> {
        self.snapshotting.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Refuses what would not fit even into the reserve.
    fn check_room(&self, entries: &[Entry], bytes: u64) -> Result<(), LogError> {
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
        let free = (active / 2 + spare_bytes).saturating_sub(self.queue.bytes());
        if bytes > free { Err(LogError::Full { needed: bytes, free }) } else { Ok(()) }
    }
}

/// Poisons the log when its thread panics: what it would have written is lost.
struct Guard<'a>(&'a Shared);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(LogError::Poisoned);
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
                shared.counters.has_priority.store(raise_priority(), Ordering::Relaxed);
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
    #[cfg(any(test, feature = "sim"))]
    pub fn step(&self) {
        if self.shared.commit_once() {
            self.shared.keeper.step(&self.shared);
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
            return Err(LogError::Poisoned);
        }
        let bytes = entries.iter().map(entry_bytes).sum();
        self.shared.check_room(&entries, bytes)?;
        Ok(self.shared.queue.push(entries, bytes, urgency))
    }

    fn tail(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Option<Vec<Piece>> {
        self.shared.tail.read(group, from, bytes_max)
    }

    fn read(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Result<Vec<Piece>, LogError> {
        if self.shared.is_poisoned() {
            return Err(LogError::Poisoned);
        }
        Ok(reader::read(&self.shared, group, from, bytes_max))
    }

    fn release(&self, group: GroupNumber, below: Index) {
        if self.shared.released.raise(group, below) {
            self.shared.keeper.wake();
        }
    }

    fn snapshot(&self, snapshot: Snapshot) -> Result<(), LogError> {
        super::snapshot::write(&self.shared, &snapshot)
    }

    fn space(&self) -> Space {
        let segments = self.shared.segments.all();
        let (spares, _) = self.shared.keeper.spares();
        let spare_bytes = spares as u64 * self.shared.options.segment_bytes;
        let in_use: u64 = segments.iter().map(|segment| segment.file.len().unwrap_or(0)).sum();
        Space {
            file_bytes: in_use + spare_bytes,
            live_bytes: segments.iter().map(|segment| segment.read().end.position).sum(),
            free_bytes: self.shared.storage.free_bytes().unwrap_or(0) + spare_bytes,
            segments: u32::try_from(segments.len()).unwrap_or(u32::MAX),
            spare_segments: u32::try_from(spares).unwrap_or(u32::MAX),
            has_priority: self.shared.counters.has_priority.load(Ordering::Relaxed),
            commits: self.shared.counters.commits.load(Ordering::Relaxed),
            committed_bytes: self.shared.counters.committed_bytes.load(Ordering::Relaxed),
        }
    }

    fn stop(&self) -> Result<(), LogError> {
        let shared = &self.shared;
        shared.queue.drain();
        if shared.keeper.is_stepped() {
            while shared.durable.get() < shared.queue.last() && !shared.keeper.is_stuck() && shared.commit_once() {}
        } else {
            shared.durable.wait(shared.queue.last(), || shared.is_poisoned() || shared.keeper.is_stuck());
        }
        shared.keeper.end();
        self.join();
        if shared.is_poisoned() || shared.durable.get() < shared.queue.last() {
            return Err(LogError::Poisoned);
        }
        let mut committer = shared.committer();
        if let Some(last) = committer.seal() {
            last.write().partial = true;
        }
        keeper::write_footers(shared)?;
        let SegmentEnd { lsn, entry, hash, .. } = committer.end();
        let known = Known { lsn, entry, hash };
        let ident = Ident { epoch: shared.epoch, secret: shared.secret, clean: true, known };
        ident.write(&*shared.storage)
    }
}

/// Lets the committer go first when the processors are busy: with both of two
/// cores taken, the slowest commits are then 0.1 ms late instead of 8 ms.
/// Real-time scheduling is not within reach of safe code; a nice value of −10
/// is, where the process may have it.
fn raise_priority() -> bool {
    const NICE: i32 = -10;
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE).is_ok()
}
