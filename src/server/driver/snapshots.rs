//! Snapshots: the core's state, asked for part by part so that no turn is long.
//!
//! One is made after so many bytes. What is let go is freed by a snapshot only
//! (it stands in no entry): the log asks for one when that is a segment's
//! worth. While the disk is full nothing is appended but acks and the like:
//! then one is made soon after every change, with pauses in between.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Driver;
use crate::limits;
use crate::log::{EntryNumber, Snapshot, SnapshotBegun};
use crate::relay::{Input, Now, SHARDS};
use crate::server::readers::Job;

/// Where a snapshot is.
#[derive(Debug)]
enum Stage {
    /// Not enough was appended since the last one.
    Resting,
    /// Parts are asked for.
    Asking { next: u32, shards: Vec<(EntryNumber, Bytes)> },
    /// All parts are there; they must not be on disk before the entries that they include.
    Waiting { shards: Vec<(EntryNumber, Bytes)>, through: EntryNumber },
    /// A thread writes it.
    Writing,
}

/// The pause between snapshots while the disk is full, at the least: so long, and four times
/// what the last one took.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_TIMES: u32 = 4;

/// The pause after one that could not be written, and before one that frees what is let go, at the least.
const PAUSE_LONG: Duration = Duration::from_secs(5);

/// The state of snapshots. Resting → Asking → Waiting → Writing → Resting.
#[derive(Debug)]
pub(super) struct Snapshots {
    stage: Stage,
    every_bytes: u64,
    bytes: u64,
    /// There is no room for messages.
    is_short: bool,
    /// Something was appended or let go that the last snapshot does not know of.
    is_behind: bool,
    /// What is let go waits for one.
    is_awaited: bool,
    /// Another one is to follow the one that is being made.
    is_wanted: bool,
    /// The last one could not be written.
    has_failed: bool,
    begun: Instant,
    /// Which one it is to the log, once its first part is asked for.
    number: SnapshotBegun,
    /// When the next one may begin while room is short, or after a failure.
    next: Instant,
    /// When the next one may begin that is only awaited.
    next_awaited: Instant,
}

impl Snapshots {
    /// One that has so many bytes behind it since the last one: of what was read at the start.
    pub(super) fn new(every_bytes: u64, behind_bytes: u64) -> Self {
        let now = Instant::now();
        let mut snapshots = Self {
            stage: Stage::Resting,
            every_bytes,
            bytes: behind_bytes,
            is_short: false,
            is_behind: true,
            is_awaited: false,
            is_wanted: false,
            has_failed: false,
            begun: now,
            number: SnapshotBegun::default(),
            next: now,
            next_awaited: now,
        };
        if behind_bytes >= every_bytes {
            snapshots.begin();
        }
        snapshots
    }

    /// Counts what is appended, and begins when it is enough.
    pub(super) fn appended(&mut self, bytes: usize) {
        self.is_behind = true;
        self.bytes += bytes as u64;
        if self.bytes >= self.every_bytes {
            self.begin();
        }
    }

    /// Begins now, unless one is being made.
    pub(super) fn begin(&mut self) {
        if matches!(self.stage, Stage::Resting) {
            self.bytes = 0;
            (self.is_behind, self.is_awaited) = (false, false);
            self.begun = Instant::now();
            self.stage = Stage::Asking { next: 0, shards: Vec::new() };
        }
    }

    /// Something on disk is damaged that only a snapshot begun from now on makes up for.
    pub(super) fn want(&mut self) {
        self.is_wanted = !self.is_resting();
        self.begin();
    }

    /// Something was let go, which only a snapshot says.
    pub(super) fn released(&mut self) {
        self.is_behind = true;
    }

    /// What was let go before now waits for one.
    pub(super) fn wait_for(&mut self) {
        self.is_awaited = true;
    }

    /// Whether there is room for messages has changed.
    pub(super) fn set_room(&mut self, free: bool) {
        self.is_short = !free;
    }

    /// When one is to begin because room is short, because the last one could not be written, or
    /// because what is let go waits for it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let soon = ((self.is_short || self.has_failed) && self.is_behind).then_some(self.next);
        let awaited = self.is_awaited.then_some(self.next_awaited);
        soon.into_iter().chain(awaited).min().filter(|_| self.is_resting())
    }

    /// Whether parts are to be asked for.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Asking { .. })
    }

    /// Whether none is being made.
    pub(super) fn is_resting(&self) -> bool {
        matches!(self.stage, Stage::Resting)
    }

    /// Takes a part from the core.
    ///
    /// # Panics
    /// When the core gives another part than it was asked for.
    pub(super) fn shard(&mut self, shard: u32, through: EntryNumber, bytes: Bytes) {
        let Stage::Asking { next, shards } = &mut self.stage else { return };
        assert_eq!(shard, shards.len() as u32, "the core gives the parts of its state in order");
        shards.push((through, bytes));
        *next = shard + 1;
        if *next == SHARDS {
            let shards = std::mem::take(shards);
            let through = shards.iter().map(|(through, _)| *through).max().unwrap_or_default();
            self.stage = Stage::Waiting { shards, through };
        }
    }

    /// The whole snapshot, once all its entries are durable.
    pub(super) fn take_ready(&mut self, durable: EntryNumber) -> Option<Snapshot> {
        let Stage::Waiting { shards, through } = &mut self.stage else { return None };
        if *through > durable {
            return None;
        }
        let shards = std::mem::take(shards);
        self.stage = Stage::Writing;
        Some(Snapshot { shards })
    }

    /// It is on disk, or given up: then it is tried again, though nothing may be appended any more.
    pub(super) fn written(&mut self, is_on_disk: bool) {
        let now = Instant::now();
        let pause = if is_on_disk { PAUSE_MIN } else { PAUSE_LONG };
        let busy = now.saturating_duration_since(self.begun) * PAUSE_TIMES;
        (self.next, self.next_awaited) = (now + pause.max(busy), now + PAUSE_LONG.max(busy));
        self.stage = Stage::Resting;
        self.has_failed = !is_on_disk;
        self.is_behind |= !is_on_disk;
        if std::mem::take(&mut self.is_wanted) {
            self.begin();
        }
    }

    fn next_shard(&self) -> Option<u32> {
        match &self.stage {
            Stage::Asking { next, .. } => Some(*next),
            Stage::Resting | Stage::Waiting { .. } | Stage::Writing => None,
        }
    }
}

impl Driver {
    /// Asks for a few parts, and gives a whole snapshot to a thread.
    pub(super) fn ask_for_shards(&mut self, now: Now) {
        if self.snapshots.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.snapshots.begin();
        }
        for _ in 0..limits::TURN_SHARDS_MAX {
            let Some(shard) = self.snapshots.next_shard() else { break };
            if shard == 0 {
                self.snapshots.number = self.log.begin_snapshot();
            }
            self.handle(now, Input::Snapshot { shard });
            self.carry_out(now);
        }
        if let Some(snapshot) = self.snapshots.take_ready(self.durable) {
            self.readers.give(Job::Snapshot(self.snapshots.number, snapshot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_wanted_while_another_is_made_follows_it() {
        let mut snapshots = Snapshots::new(1 << 20, 0);
        snapshots.want();
        for shard in 0..SHARDS {
            snapshots.shard(shard, EntryNumber(1), Bytes::new());
        }
        snapshots.want();
        assert!(!snapshots.is_asking());
        assert!(snapshots.take_ready(EntryNumber(1)).is_some());
        snapshots.written(true);
        assert!(snapshots.is_asking(), "the parts of the one before were older");
        assert_eq!(snapshots.next_shard(), Some(0));
    }

    #[test]
    fn one_that_could_not_be_written_is_tried_again_though_nothing_is_appended() {
        for is_short in [true, false] {
            let mut snapshots = Snapshots::new(1 << 20, 0);
            snapshots.set_room(!is_short);
            snapshots.begin();
            for shard in 0..SHARDS {
                snapshots.shard(shard, EntryNumber(1), Bytes::new());
            }
            assert!(snapshots.take_ready(EntryNumber(1)).is_some());
            snapshots.written(false);
            assert!(snapshots.deadline().is_some(), "it would free what is not needed");
            snapshots.begin();
            for shard in 0..SHARDS {
                snapshots.shard(shard, EntryNumber(1), Bytes::new());
            }
            assert!(snapshots.take_ready(EntryNumber(1)).is_some());
            snapshots.written(true);
            assert!(snapshots.deadline().is_none(), "nothing was appended since");
        }
    }

    /// Though nothing is appended; and one after another only with a pause.
    #[test]
    fn one_that_is_awaited_begins_at_once_and_the_next_one_after_a_pause() {
        let mut snapshots = Snapshots::new(1 << 20, 0);
        snapshots.released();
        assert!(snapshots.deadline().is_none(), "it is not worth it");
        for pause in [Duration::ZERO, PAUSE_LONG] {
            let before = Instant::now();
            snapshots.wait_for();
            let deadline = snapshots.deadline().expect("it is awaited");
            assert!(deadline + Duration::from_secs(1) > before + pause && deadline <= Instant::now() + pause);
            snapshots.begin();
            assert!(snapshots.deadline().is_none());
            for shard in 0..SHARDS {
                snapshots.shard(shard, EntryNumber(1), Bytes::new());
            }
            assert!(snapshots.take_ready(EntryNumber(1)).is_some());
            snapshots.written(true);
            assert!(snapshots.deadline().is_none(), "it has freed what there was");
        }
    }

    #[test]
    fn what_is_let_go_while_room_is_short_calls_for_one_though_nothing_is_appended() {
        let mut snapshots = Snapshots::new(1 << 20, 0);
        snapshots.begin();
        for shard in 0..SHARDS {
            snapshots.shard(shard, EntryNumber(1), Bytes::new());
        }
        assert!(snapshots.take_ready(EntryNumber(1)).is_some());
        snapshots.written(true);
        snapshots.set_room(false);
        assert!(snapshots.deadline().is_none());
        snapshots.released();
        assert!(snapshots.deadline().is_some());
    }

    #[test]
    fn what_was_read_at_the_start_counts() {
        assert!(!Snapshots::new(1 << 20, (1 << 20) - 1).is_asking());
        assert!(Snapshots::new(1 << 20, 1 << 20).is_asking());
    }
}
