//! The commit queue: what was appended and is not written yet.
//!
//! Natural batching, no timer: while one sync runs, entries gather here; the
//! next commit takes all of them. An entry that nobody waits for
//! ([`Urgency::Ride`]) does not wake the committer: it goes with the next
//! commit, or gets one of its own after [`RIDE_MS`] of quiet.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::committer::entry_bytes;
use super::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use super::{Entry, EntryNumber, Urgency};

/// Milliseconds that an entry which nobody waits for stays in memory at the most.
const RIDE_MS: u64 = 200;

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
        let mut waiting = self.lock();
        waiting.urgent = true;
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
    pub(crate) fn take(&self, bytes_max: u64) -> VecDeque<Batch> {
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

    /// Puts back what was taken and could not be written for want of room.
    pub(crate) fn put_back(&self, mut batches: VecDeque<Batch>) {
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
