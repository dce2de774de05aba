//! The commit queue: what was appended and is not written yet.
//!
//! Natural batching, no timer for what somebody waits for: while one sync runs,
//! entries gather here; the next commit takes all of them. What nobody waits for does not bring a commit
//! about: it goes with the next one, or gets one of its own
//!
//! - after [`RIDE_MS`] of quiet ([`Urgency::Ride`]),
//! - after [`limits::SOON_MS`], in which a commit that is under way counts, or when
//!   [`limits::SOON_BYTES_MAX`] have gathered ([`Urgency::Soon`]).
//!
//! Nor does it wake the committer, if that wakes early enough by itself. Where
//! runs of neighbours come all the time it does: after a commit of such ones it
//! looks for more by itself for a while ([`LOOKS`]). So whoever passes runs on
//! makes no call to the system for their sake, and gives its processor to
//! nobody in the moment in which those who are to get them need it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::committer::entry_bytes;
use super::priority::Priority;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::{Entry, EntryNumber, Urgency};
use crate::limits;

/// Milliseconds that an entry which nobody waits for stays in memory at the most.
const RIDE_MS: u64 = 200;

/// How often the committer looks for entries that are to be synced soon, every [`limits::SOON_MS`], after
/// the last commit of such ones: as long as some come every 20 ms nobody needs to wake it for them.
const LOOKS: u32 = 4;

/// Entries that were appended together.
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    pub(crate) bytes: u64,
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

/// For how long the committer sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It does not.
    Awake,
    /// For [`limits::SOON_MS`] at the most.
    Short,
    /// For [`RIDE_MS`] at the most.
    Long,
    /// Until it is woken.
    Endless,
}

struct Waiting {
    batches: VecDeque<Batch>,
    bytes: u64,
    last: EntryNumber,
    /// How urgent the most urgent of them is.
    urgency: Urgency,
    /// When the committer looks for what is to be synced soon.
    soon_at: Option<Instant>,
    /// How often it still does so though there is nothing.
    looks: u32,
    oldest_ride: Option<Instant>,
    ending: Ending,
    sleep: Sleep,
}

impl Waiting {
    /// Whether there is something for a commit now, whatever the time is.
    fn is_ripe(&self) -> bool {
        match self.urgency {
            Urgency::Sync => !self.batches.is_empty(),
            Urgency::Soon => self.bytes >= limits::SOON_BYTES_MAX,
            Urgency::Ride => false,
        }
    }

    /// When the committer is to look again, and how long it sleeps until then at the most; no time: it is
    /// to look at once.
    fn next_look(&mut self, now: Instant) -> (Option<Duration>, Sleep) {
        let ride = self.oldest_ride.map(|oldest| {
            let by = oldest + Duration::from_millis(RIDE_MS);
            by.saturating_duration_since(now)
        });
        if self.urgency != Urgency::Soon && self.looks == 0 {
            self.soon_at = None;
            return (ride, if ride.is_some() { Sleep::Long } else { Sleep::Endless });
        }
        let at = *self.soon_at.get_or_insert_with(|| now + Duration::from_millis(limits::SOON_MS));
        let soon = at.saturating_duration_since(now);
        (Some(ride.map_or(soon, |ride| ride.min(soon))), Sleep::Short)
    }

    /// The time has come to look: whether there is something to commit.
    fn look(&mut self) -> bool {
        self.soon_at = None;
        self.looks = self.looks.saturating_sub(1);
        let is_ride_due = |oldest: Instant| oldest.elapsed() >= Duration::from_millis(RIDE_MS);
        self.urgency >= Urgency::Soon || self.oldest_ride.is_some_and(is_ride_due)
    }
}

/// Entries that are appended and not yet written.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    priority: Priority,
}

impl Queue {
    pub(crate) fn new(last: EntryNumber) -> Self {
        let waiting = Waiting {
            batches: VecDeque::new(),
            bytes: 0,
            last,
            urgency: Urgency::Ride,
            soon_at: None,
            looks: 0,
            oldest_ride: None,
            ending: Ending::Running,
            sleep: Sleep::Awake,
        };
        Self { waiting: Mutex::new(waiting), wake: Condvar::new(), priority: Priority::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the committing thread stands to others.
    pub(crate) fn priority(&self) -> &Priority {
        &self.priority
    }

    /// Numbers and queues `entries`.
    pub(crate) fn push(&self, entries: Vec<Entry>, bytes: u64, urgency: Urgency) -> EntryNumber {
        let mut waiting = self.lock();
        if entries.is_empty() {
            return waiting.last;
        }
        waiting.last.0 += entries.len() as u64;
        waiting.bytes += bytes;
        waiting.urgency = waiting.urgency.max(urgency);
        waiting.batches.push_back(Batch { entries, bytes, urgency });
        let is_late = match urgency {
            Urgency::Sync => {
                // Also while it commits what nobody waits for: this waits for the end of that.
                self.priority.raise();
                true
            }
            Urgency::Soon => matches!(waiting.sleep, Sleep::Long | Sleep::Endless),
            Urgency::Ride => {
                waiting.oldest_ride.get_or_insert_with(Instant::now);
                waiting.sleep == Sleep::Endless
            }
        };
        let last = waiting.last;
        let wakes = waiting.sleep != Sleep::Awake && (is_late || waiting.is_ripe());
        if wakes {
            // Once is enough until it sleeps again.
            waiting.sleep = Sleep::Awake;
        }
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
        last
    }

    /// Has everything synced that is queued now, rides too.
    pub(crate) fn hurry(&self) {
        let mut waiting = self.lock();
        // Also while it commits the last of what was appended, which nobody waited for.
        self.priority.raise();
        if waiting.batches.is_empty() {
            return;
        }
        waiting.urgency = Urgency::Sync;
        // Also what a commit leaves that takes a part of it only.
        waiting.batches.iter_mut().for_each(|batch| batch.urgency = Urgency::Sync);
        drop(waiting);
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
    pub(crate) fn wait(&self) -> bool {
        let mut waiting = self.lock();
        loop {
            match waiting.ending {
                Ending::Abandon => return false,
                Ending::Drain => return !waiting.batches.is_empty(),
                Ending::Running => {}
            }
            if waiting.is_ripe() {
                return true;
            }
            let (rest, sleep) = waiting.next_look(Instant::now());
            if rest == Some(Duration::ZERO) {
                if waiting.look() {
                    return true;
                }
                continue;
            }
            waiting.sleep = sleep;
            waiting = match rest {
                Some(rest) => {
                    let woken = self.wake.wait_timeout(waiting, rest);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
            waiting.sleep = Sleep::Awake;
        }
    }

    /// Takes what is there, up to `bytes_max`, but one entry at the least.
    pub(crate) fn take(&self, bytes_max: u64) -> VecDeque<Batch> {
        let mut waiting = self.lock();
        let taken = if waiting.bytes <= bytes_max {
            std::mem::take(&mut waiting.batches)
        } else {
            take_some(&mut waiting.batches, bytes_max)
        };
        waiting.bytes -= taken.iter().map(|batch| batch.bytes).sum::<u64>();
        let most = |batches: &VecDeque<Batch>| batches.iter().map(|batch| batch.urgency).max();
        waiting.urgency = most(&waiting.batches).unwrap_or_default();
        if waiting.batches.is_empty() {
            waiting.oldest_ride = None;
        }
        if taken.iter().any(|batch| batch.urgency == Urgency::Soon) {
            // What is left has gathered; what comes while this is committed gathers meanwhile.
            let is_left = waiting.urgency >= Urgency::Soon;
            let gathers = Duration::from_millis(if is_left { 0 } else { limits::SOON_MS });
            (waiting.soon_at, waiting.looks) = (Some(Instant::now() + gathers), LOOKS);
        }
        if most(&taken).unwrap_or_default().max(waiting.urgency) < Urgency::Sync {
            self.priority.lower();
        }
        taken
    }

    /// Puts back what was taken and could not be written for want of room.
    pub(crate) fn put_back(&self, mut batches: VecDeque<Batch>) {
        let mut waiting = self.lock();
        waiting.bytes += batches.iter().map(|batch| batch.bytes).sum::<u64>();
        waiting.urgency = Urgency::Sync;
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
