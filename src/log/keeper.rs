//! The keeper: the thread that does for the log what nobody waits for. It
//! keeps spare segments ready, writes footers of sealed segments, recycles
//! segments that nobody needs, watches the room that is left, and in between
//! collects segments of which little is needed. What nobody needs and a restart
//! would take for needed waits for a snapshot; it asks for one when that is a
//! segment's worth.
//!
//! Room. Two spares are kept: the committer takes one, and while another
//! cannot be made, the last one is left to what is already owed and to the
//! relay's own state (cursors, marks, seals, losses); messages are refused
//! before that, softly by [`LogEvent::Room`] and finally by [`LogError::Full`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::held::{Need, need};
use super::seal::write_footers;
use super::segment::{Filled, Pace, Segment, Spare, segment_name};
use super::segments::let_go;
use super::shared::Shared;
use super::storage::Storage;
use super::waiting::{Asked, Waiting};
use super::{LogError, LogEvent, file_error};

/// Spares that are kept ready: one to go on with, one as the reserve.
const SPARES: usize = 2;
/// Spares above which a segment that is not needed any more is removed.
const SPARES_MAX: usize = 8;
/// Commits of so many bytes make it cheaper to write a segment once into space
/// that was only allocated than to fill it with zeros before: on ext4 over a
/// fast disk at 1 MiB a commit 0.10 s for 128 MiB instead of 0.16 s.
const BULK_COMMIT_BYTES: u64 = 512 * 1024;
/// Small segments hold so many commits of that size, which are bulk for them.
const BULK_COMMITS: u64 = 16;
/// Bytes per second at which a spare is filled when nobody waits for it.
const FILL_BYTES_PER_SECOND: f64 = 32.0 * 1024.0 * 1024.0;
/// Milliseconds between looks at the room that is left.
const ROUND_MS: u64 = 500;
/// Milliseconds between rounds at the least, unless a spare is needed.
const ROUND_MS_MIN: u64 = 20;
/// Milliseconds that a round stands for in a log without threads.
const STEP_MS: u64 = 5_000;

struct State {
    spares: Vec<Spare>,
    next_number: u32,
    /// The last attempt to make a spare failed.
    is_short: bool,
    has_room: bool,
    /// Fewer bytes are left than must be.
    is_low: bool,
    woken: bool,
    /// Somebody waits for a spare, or soon will.
    urgent: bool,
    /// There was none when it was asked for last.
    is_missed: bool,
    ending: bool,
    /// Taken out of use, and perhaps still being read.
    leaving: Vec<Arc<Segment>>,
    asked: Asked,
}

/// What the keeper and those who wait for it share.
pub(crate) struct Keeper {
    state: Mutex<State>,
    wake: Condvar,
    spare_ready: Condvar,
    /// There is no thread: whoever needs a spare does the keeper's work.
    stepped: bool,
    started: Instant,
    rounds: AtomicU64,
}

impl Keeper {
    pub(crate) fn new(spares: Vec<Spare>, next_number: u32, stepped: bool) -> Self {
        let state = State {
            spares,
            next_number,
            is_short: false,
            has_room: true,
            is_low: false,
            woken: true,
            urgent: true,
            is_missed: false,
            ending: false,
            leaving: Vec::new(),
            asked: Asked::default(),
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            spare_ready: Condvar::new(),
            stepped,
            started: Instant::now(),
            rounds: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to do.
    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.wake.notify_one();
    }

    /// Ends the thread, and all waiting for it.
    pub(crate) fn end(&self) {
        self.lock().ending = true;
        self.wake.notify_all();
        self.spare_ready.notify_all();
    }

    /// How many spares there are, and whether no more could be made.
    pub(crate) fn spares(&self) -> (usize, bool) {
        let state = self.lock();
        (state.spares.len(), state.is_short)
    }

    /// Whether there is room for messages.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().has_room
    }

    /// Whether the end has come.
    pub(crate) fn is_ending(&self) -> bool {
        self.lock().ending
    }

    /// Whether there are no threads.
    pub(crate) fn is_stepped(&self) -> bool {
        self.stepped
    }

    /// Whether there is no spare and none can be made.
    pub(crate) fn is_stuck(&self) -> bool {
        let (spares, is_short) = self.spares();
        spares == 0 && is_short
    }

    /// Milliseconds since the start, for what the keeper itself measures. In a
    /// log without threads time goes by in rounds.
    pub(crate) fn now_ms(&self) -> u64 {
        if self.stepped {
            return self.rounds.load(Ordering::Relaxed) * STEP_MS;
        }
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether room is short.
    pub(crate) fn is_pressed(&self) -> bool {
        let state = self.lock();
        state.is_short || !state.has_room
    }

    /// The number of a new file.
    pub(crate) fn take_number(&self) -> u32 {
        let mut state = self.lock();
        state.next_number += 1;
        state.next_number - 1
    }

    /// Takes what is out of use already, and perhaps still being read.
    pub(crate) fn leave(&self, segments: Vec<Arc<Segment>>) {
        let mut state = self.lock();
        state.leaving.extend(segments);
        state.woken = true;
    }

    /// Bytes of files that are out of use and still being read.
    pub(crate) fn leaving_bytes(&self) -> u64 {
        self.lock().leaving.iter().map(|segment| segment.file.len().unwrap_or(0)).sum()
    }

    /// A spare segment; waits until there is one.
    pub(crate) fn next_spare(&self, shared: &Shared) -> Result<Spare, LogError> {
        let mut state = self.lock();
        loop {
            if let Some(spare) = state.spares.pop() {
                (state.urgent, state.is_missed) = (true, false);
                self.wake.notify_one();
                return Ok(spare);
            }
            state.is_missed = true;
            if state.ending || (self.stepped && state.is_short) {
                return Err(LogError::Full { needed: shared.options.segment_bytes, free: 0 });
            }
            if self.stepped {
                drop(state);
                self.make_spares(shared);
                state = self.lock();
            } else {
                state.urgent = true;
                self.wake.notify_one();
                state = self.spare_ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// One round of everything.
    pub(crate) fn step(&self, shared: &Shared) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.close_and_recycle(shared);
        self.make_spares(shared);
        self.watch_room(shared, 0);
    }

    fn close_and_recycle(&self, shared: &Shared) {
        // Before anything is recycled: the end of a segment without a footer
        // is known by where the next one begins.
        if let Err(error) = write_footers(shared) {
            shared.fail(error);
        }
        self.recycle(shared);
    }

    /// Collects until a round is over, something urgent comes, or nothing is
    /// left; one slice at least, or a busy committer would never let it happen.
    fn collect(&self, shared: &Shared) {
        for _ in 0..ROUND_MS / ROUND_MS_MIN {
            if !shared.collector.work(shared) || shared.is_poisoned() {
                return;
            }
            let pause = Duration::from_millis(ROUND_MS_MIN);
            let is_idle = |state: &mut State| !state.urgent && !state.ending;
            let state = self.wake.wait_timeout_while(self.lock(), pause, is_idle);
            let state = state.unwrap_or_else(PoisonError::into_inner).0;
            if state.urgent || state.ending {
                return;
            }
        }
        self.lock().woken = true;
    }

    fn make_spares(&self, shared: &Shared) {
        let is_bulk = is_bulk(shared);
        loop {
            let state = self.lock();
            if state.spares.len() >= SPARES || state.ending {
                return;
            }
            drop(state);
            let number = self.take_number();
            let capacity = shared.options.segment_bytes;
            let needed = capacity + shared.collector.reserved_bytes();
            if shared.storage.free_bytes().is_ok_and(|free| free < needed) {
                // Not tried in vain: filling up a disk twice a second would wear it out.
                self.lock().is_short = true;
                return;
            }
            let begun = (Instant::now(), shared.counters.committed_bytes());
            let mut pace = |filled| self.pace(shared, begun, filled);
            let id = shared.epoch.storage;
            let made = Spare::fill(&*shared.storage, id, number, capacity, is_bulk, &mut pace);
            let mut state = self.lock();
            let was_short = std::mem::replace(&mut state.is_short, made.is_err());
            match made {
                Ok(spare) => state.spares.push(spare),
                Err(error) => {
                    drop(state);
                    // It is tried again every round.
                    if !was_short {
                        shared.tell(LogEvent::NoSegment(error));
                    }
                    return;
                }
            }
            drop(state);
            self.spare_ready.notify_all();
        }
    }

    /// Keeps the filling of a spare from getting in the way of commits: it is
    /// no faster than twice what they need, unless none is ready. Does the
    /// keeper's other work in the meantime.
    fn pace(&self, shared: &Shared, begun: (Instant, u64), filled: Filled) -> Pace {
        loop {
            if self.stepped {
                return Pace::Fast;
            }
            let elapsed = begun.0.elapsed();
            let committed = shared.counters.committed_bytes() - begun.1;
            let rate = (committed as f64 * 2.0 / elapsed.as_secs_f64().max(0.1)).max(FILL_BYTES_PER_SECOND);
            let due = Duration::from_secs_f64(filled.written as f64 / rate);
            let state = self.lock();
            if state.ending || is_bulk(shared) {
                return Pace::Enough;
            }
            if state.spares.is_empty() {
                return Pace::Fast;
            }
            let Some(ahead) = due.checked_sub(elapsed).filter(|ahead| !ahead.is_zero()) else {
                return Pace::Slow;
            };
            let pause = ahead.min(Duration::from_millis(ROUND_MS_MIN));
            let waited =
                self.wake.wait_timeout_while(state, pause, |state| !state.spares.is_empty() && !state.ending);
            let woken = std::mem::take(&mut waited.unwrap_or_else(PoisonError::into_inner).0.woken);
            if woken {
                self.close_and_recycle(shared);
            }
            self.watch_room(shared, filled.taken);
        }
    }

    /// Takes segments out of use that nobody needs, and makes spares of those
    /// that nobody reads any more.
    fn recycle(&self, shared: &Shared) {
        let covered = shared.covered.get();
        // The last block stays, so that a restart can tell when the end is missing; unless
        // without its place nothing more could be written.
        let kept = (!self.is_stuck()).then(|| shared.segments.newest());
        let (mut waits, mut waiting, newest) = (Vec::new(), Waiting::default(), shared.released.newest());
        for segment in shared.segments.all() {
            let ended = {
                let inner = segment.read();
                inner.sealed && inner.end.entry <= covered && Some(segment.header.base) != kept
            };
            match if ended { need(shared, &segment) } else { Need::Held } {
                Need::Held => waiting.bytes += segment.waiting_bytes(newest),
                Need::Waits => waits.push(segment),
                Need::Free => self.take_out(shared, segment),
            }
        }
        for segment in waits {
            // The room of these is enough for a snapshot, which lets the others go.
            if self.lock().leaving.len() < SPARES && self.is_hopeless(shared) {
                self.take_out(shared, segment);
            } else {
                waiting.bytes += segment.file.len().unwrap_or(0);
                waiting.segments += 1;
            }
        }
        self.ask_for_snapshot(shared, &waiting);
        let leaving = std::mem::take(&mut self.lock().leaving);
        let (free, held) = let_go(leaving);
        self.lock().leaving.extend(held);
        for segment in free {
            self.retire(shared, segment);
        }
    }

    /// Takes a segment out of use.
    fn take_out(&self, shared: &Shared, segment: Arc<Segment>) {
        drop(shared.segments.remove(segment.header.base));
        self.lock().leaving.push(segment);
    }

    /// Whether no snapshot can come, because there is room for nothing: not for it, or not for what is to be
    /// durable before it.
    fn is_hopeless(&self, shared: &Shared) -> bool {
        let counters = &shared.counters;
        // Before the first commit nothing is to become durable, until one has asked for a spare in vain.
        let has_begun = counters.commits.load(Ordering::Relaxed) > 0;
        let is_full = has_begun && counters.active_free.load(Ordering::Relaxed) == 0;
        let is_missed = self.lock().is_missed || is_full;
        self.is_stuck() && (is_missed || shared.released.has_failed()) && !shared.is_snapshotting()
    }

    /// Asks for a snapshot if one is worth it.
    fn ask_for_snapshot(&self, shared: &Shared, waiting: &Waiting) {
        let (now_ms, is_pressed) = (self.now_ms(), self.is_pressed());
        if self.lock().asked.is_time(shared, waiting, (now_ms, is_pressed)) {
            shared.tell(LogEvent::SnapshotWanted);
        }
    }

    fn retire(&self, shared: &Shared, segment: Segment) {
        let (name, number, capacity) = (segment.name(), segment.header.number, segment.header.capacity);
        let spare = Spare { number, capacity, file: segment.file };
        let is_whole = spare.file.len().is_ok_and(|length| length == capacity);
        let fits = is_whole && capacity == shared.options.segment_bytes && self.spares().0 < SPARES_MAX;
        if fits && spare.mark(shared.epoch.storage).is_ok() {
            let mut state = self.lock();
            state.spares.push(spare);
            state.is_short = false;
            drop(state);
            self.spare_ready.notify_all();
        } else if let Err(error) = shared.storage.remove(&name).and_then(|()| shared.storage.sync_dir()) {
            shared.fail(file_error("remove", &name, error));
        }
    }

    /// Says when room gets short, and when there is enough again. What a spare has taken
    /// that is being filled is no less there than when it is ready.
    fn watch_room(&self, shared: &Shared, filling_bytes: u64) {
        let Ok(free) = shared.storage.free_bytes() else { return };
        let needed = shared.options.reserve_bytes + shared.queue.bytes();
        let mut state = self.lock();
        let spare_bytes = state.spares.len() as u64 * shared.options.segment_bytes;
        let held = free.saturating_add(spare_bytes + filling_bytes);
        let is_short = state.is_short && state.spares.len() < SPARES;
        // Only what is measured in bytes swings around its bound; a spare is there or not.
        let margin = if state.is_low { shared.options.reserve_bytes / 4 } else { 0 };
        state.is_low = held < needed + margin;
        let has_room = !state.is_low && !is_short;
        let changed = std::mem::replace(&mut state.has_room, has_room) != has_room;
        drop(state);
        if changed {
            shared.tell(LogEvent::Room(has_room));
        }
    }

    /// Waits for work; false when the end has come. Releases come thick and
    /// fast and are looked at together, after a pause; a spare is made at once.
    fn wait(&self) -> bool {
        let pause = |state, ms, until: fn(&State) -> bool| {
            let pause = Duration::from_millis(ms);
            let waited = self.wake.wait_timeout_while(state, pause, |state| !until(state) && !state.ending);
            waited.unwrap_or_else(PoisonError::into_inner).0
        };
        let state = pause(self.lock(), ROUND_MS_MIN, |state| state.urgent);
        let mut state = pause(state, ROUND_MS, |state| state.urgent || state.woken);
        (state.woken, state.urgent) = (false, false);
        !state.ending
    }

    /// Gives a spare back to the file system if that leaves one, so that a few
    /// segments can be made one; false if there are not two.
    pub(crate) fn give_up_second_spare(&self, shared: &Shared) -> bool {
        self.spares().0 >= SPARES && self.give_up_spare(&*shared.storage)
    }

    /// Gives a spare back to the file system, so that a snapshot can be
    /// written which then frees segments; false if there is none.
    pub(crate) fn give_up_spare(&self, storage: &dyn Storage) -> bool {
        let Some(spare) = self.lock().spares.pop() else { return false };
        storage.remove(&segment_name(spare.number)).and_then(|()| storage.sync_dir()).is_ok()
    }
}

/// The keeper's thread.
pub(crate) fn run(shared: &Shared) {
    while shared.keeper.wait() {
        if shared.is_poisoned() {
            return;
        }
        shared.keeper.step(shared);
        shared.keeper.collect(shared);
    }
}

/// Whether commits are so long that a segment need not be filled before.
fn is_bulk(shared: &Shared) -> bool {
    let bound = BULK_COMMIT_BYTES.min(shared.options.segment_bytes / BULK_COMMITS);
    shared.counters.commit_bytes_mean() >= bound
}
