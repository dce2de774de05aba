//! Collecting: which segments are rewritten, when, and how fast.
//!
//! A segment that nobody needs is recycled whole by the keeper. One of which a
//! few laggards still need a little is kept whole for them, so its live part
//! is moved to a cold segment when that gains at least half of its bytes. What
//! is left is then at least half live: all sealed segments that both
//! snapshots include take at most twice what the runs in them that somebody
//! needs would take in cold segments. On top of that come at most
//! [`super::choose::SMALL_MAX`] small files per larger one, the segments that are not
//! collected yet (those behind the older snapshot, and those of which an
//! eighth or more was released within the last [`limits::COLLECT_AGE_MS`]),
//! the spares, and the one cold segment that is being written. A segment in
//! which something is damaged stays as it is. What nobody needs and a restart
//! would take for needed counts as live until a snapshot is on disk that says
//! so (see [`super::released`]).
//!
//! Only segments that lie side by side are joined, so that the order of
//! segments stays the order of indexes. All of it is done by the keeper's
//! thread between its other duties, in slices of at most
//! [`limits::COLLECT_SLICE_BYTES`], each with its own sync, at a measured pace:
//! commits then wait for one slice at the most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::choose::{Candidate, Terms};
use super::footer::Footer;
use super::live::{Measured, measure};
use super::rewrite::{Rewrite, Stopped};
use super::segment::{Segment, SegmentIndex};
use super::shared::Shared;
use crate::limits;

/// Milliseconds between two looks at what is worth collecting.
const LOOK_MS: u64 = 1_000;
/// Milliseconds until it is tried again after the storage refused something.
const REFUSED_MS: u64 = 5_000;
/// Bytes of footers that are read in one look.
const LOOK_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes below which a slice is not worth its sync.
const SLICE_BYTES_MIN: u64 = 64 * 1024;

/// How many bytes may be moved now: an account that fills with time and with
/// what is committed.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    credit: i64,
    now_ms: u64,
    committed: u64,
}

impl Pace {
    /// Bytes that may be moved at `now_ms`, when `committed` bytes were committed in all.
    pub(crate) fn allow(&mut self, now_ms: u64, committed: u64, is_pressed: bool) -> u64 {
        let elapsed_ms = now_ms.saturating_sub(self.now_ms);
        let written = committed.saturating_sub(self.committed);
        (self.now_ms, self.committed) = (now_ms, committed);
        let rate = if written == 0 || is_pressed {
            limits::COLLECT_IDLE_BYTES_PER_SECOND
        } else {
            limits::COLLECT_BUSY_BYTES_PER_SECOND
        };
        let earned = (rate.saturating_mul(elapsed_ms) / 1000).max(written);
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        let most = i64::try_from(limits::COLLECT_SLICE_BYTES).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_add(earned).min(most);
        u64::try_from(self.credit).unwrap_or(0)
    }

    /// So many bytes were moved or read.
    pub(crate) fn spend(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

struct State {
    rewrite: Option<Rewrite>,
    pace: Pace,
    /// Nothing is looked at before.
    next_look_ms: u64,
    /// How many segments the last look has passed.
    looked: usize,
}

impl State {
    /// It did not work; it is tried again later, unless a sync has failed.
    fn give_up(&mut self, shared: &Shared, now_ms: u64, stopped: Stopped) {
        self.next_look_ms = now_ms + REFUSED_MS;
        match stopped {
            Stopped::Unreadable(segment) => {
                segment.write().measured.get_or_insert_default().is_spoiled = true;
            }
            Stopped::Refused => {}
            Stopped::Failed(error) => shared.fail(error),
        }
    }
}

/// What collecting remembers. Only the keeper works with it.
pub(crate) struct Collector {
    state: Mutex<State>,
    /// Bytes of the file system that the running rewriting still needs.
    reserved: AtomicU64,
    /// Bytes that it has written.
    written: AtomicU64,
}

impl Collector {
    pub(crate) fn new() -> Self {
        let state = State { rewrite: None, pace: Pace::default(), next_look_ms: 0, looked: 0 };
        Self { state: Mutex::new(state), reserved: AtomicU64::new(0), written: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that must be left to the running rewriting.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Bytes of the cold segment that is being written.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Does one slice of what there is to do; true when there is more.
    pub(crate) fn work(&self, shared: &Shared) -> bool {
        let (now_ms, is_pressed) = (shared.keeper.now_ms(), shared.keeper.is_pressed());
        let mut state = self.lock();
        let committed = shared.counters.committed_bytes();
        let slice_bytes = slice_bytes(shared);
        let mut allowed = state.pace.allow(now_ms, committed, is_pressed);
        if shared.keeper.is_stepped() {
            allowed = slice_bytes;
        }
        if allowed < SLICE_BYTES_MIN.min(slice_bytes) {
            return state.rewrite.is_some();
        }
        if state.rewrite.is_none() && now_ms >= state.next_look_ms {
            state.next_look_ms = now_ms + LOOK_MS.min(shared.options.collect_age_ms);
            state.rewrite = self.begin(shared, &mut state, now_ms, is_pressed);
        }
        let Some(mut rewrite) = state.rewrite.take() else { return false };
        let done = match rewrite.slice(shared, allowed.min(slice_bytes)) {
            Ok(slice) => {
                state.pace.spend(slice.bytes);
                if !slice.is_last {
                    self.keep(shared, &mut state, rewrite);
                    return true;
                }
                rewrite.finish(shared)
            }
            Err(stopped) => {
                rewrite.abandon(shared);
                Err(stopped)
            }
        };
        self.reserved.store(0, Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        state.next_look_ms = now_ms;
        match done {
            Ok(Some(cold)) => install(shared, cold),
            Ok(None) => {}
            Err(stopped) => state.give_up(shared, now_ms, stopped),
        }
        !shared.is_poisoned()
    }

    /// Goes on with it in the next slice.
    fn keep(&self, shared: &Shared, state: &mut State, rewrite: Rewrite) {
        let written = rewrite.written_bytes();
        let reserved = shared.options.segment_bytes.saturating_sub(written);
        self.written.store(written, Ordering::Relaxed);
        self.reserved.store(reserved, Ordering::Relaxed);
        state.rewrite = Some(rewrite);
    }

    /// Removes what is half done: the log stops.
    pub(crate) fn abandon(&self, shared: &Shared) {
        if let Some(rewrite) = self.lock().rewrite.take() {
            rewrite.abandon(shared);
        }
    }

    /// Looks for something that is worth it, and begins.
    fn begin(&self, shared: &Shared, state: &mut State, now_ms: u64, is_pressed: bool) -> Option<Rewrite> {
        let segments = shared.segments.all();
        look(shared, state, &segments, now_ms);
        let mut all: Vec<_> = segments.iter().map(|segment| candidate(shared, segment, now_ms)).collect();
        // The newest one stays as it is: see the keeper.
        if let Some(newest) = all.last_mut() {
            *newest = None;
        }
        let terms = Terms {
            segment_bytes: shared.options.segment_bytes,
            slice_bytes: slice_bytes(shared),
            age_ms: shared.options.collect_age_ms,
            is_pressed,
            room: shared.storage.free_bytes().unwrap_or(0),
        };
        let mut chosen = terms.choose(&all);
        if chosen.is_none() && is_pressed && terms.room < terms.segment_bytes {
            // The room of a spare is enough for any of them, and comes back.
            let with_spare = Terms { room: terms.segment_bytes, ..terms };
            chosen = with_spare.choose(&all).filter(|_| shared.keeper.give_up_second_spare(shared));
        }
        let chosen = segments.get(chosen?)?;
        match Rewrite::begin(shared, chosen, shared.keeper.take_number()) {
            Ok(rewrite) => {
                self.reserved.store(shared.options.segment_bytes, Ordering::Relaxed);
                Some(rewrite)
            }
            Err(stopped) => {
                state.give_up(shared, now_ms, stopped);
                None
            }
        }
    }
}

fn slice_bytes(shared: &Shared) -> u64 {
    limits::COLLECT_SLICE_BYTES.min(shared.options.segment_bytes / 4)
}

/// Puts the cold segment in the place of what it was made of.
fn install(shared: &Shared, cold: Arc<Segment>) {
    let bytes = cold.file.len().unwrap_or(0);
    let freed = shared.segments.replace(cold);
    shared.counters.rewritten_bytes.fetch_add(bytes, Ordering::Relaxed);
    shared.counters.rewritten_segments.fetch_add(freed.len() as u64, Ordering::Relaxed);
    shared.keeper.leave(freed);
}

/// The footer of a segment that may be collected: sealed, whole, and included
/// in both snapshots, so that only its runs are of any use.
fn collectable(shared: &Shared, segment: &Segment) -> Option<Arc<Footer>> {
    let covered = shared.covered.get();
    let inner = segment.read();
    let is_whole = inner.gap.is_none() && inner.quarantined.is_empty();
    let is_spoiled = inner.measured.is_some_and(|measured| measured.is_spoiled);
    match &inner.index {
        SegmentIndex::Footer(footer)
            if inner.sealed && is_whole && !is_spoiled && inner.end.entry <= covered =>
        {
            Some(Arc::clone(footer))
        }
        SegmentIndex::Footer(_) | SegmentIndex::Memory(_) => None,
    }
}

/// Measures segments of which something may have been released since they
/// were measured, going on where the last look ended.
fn look(shared: &Shared, state: &mut State, segments: &[Arc<Segment>], now_ms: u64) {
    let releases = shared.released.count();
    let mut read = 0;
    for _ in 0..segments.len() {
        state.looked = (state.looked + 1) % segments.len().max(1);
        let Some(segment) = segments.get(state.looked) else { continue };
        let before = segment.read().measured;
        if before.is_some_and(|before| before.releases == releases) {
            continue;
        }
        let Some(footer) = collectable(shared, segment) else { continue };
        let newest = shared.released.newest();
        let measured = measure(&footer, &*segment.file, &|group| shared.released.both(group));
        let measured = measured.map(|(live, waiting_bytes)| (live, (waiting_bytes, newest)));
        let mut inner = segment.write();
        match measured {
            Ok(live) => inner.measured = Some(Measured::next(before, live, releases, now_ms)),
            Err(_) => inner.measured.get_or_insert_default().is_spoiled = true,
        }
        drop(inner);
        read += footer.table_bytes();
        if read > LOOK_BYTES_MAX {
            break;
        }
    }
    state.pace.spend(read);
}

fn candidate(shared: &Shared, segment: &Segment, now_ms: u64) -> Option<Candidate> {
    collectable(shared, segment)?;
    let size = segment.file.len().ok()?;
    let inner = segment.read();
    let measured = inner.measured?;
    let age_ms = now_ms.saturating_sub(measured.since.1);
    Some(Candidate { size, blocks: inner.end.position, live: measured.live, age_ms })
}
