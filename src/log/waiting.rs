//! What nobody needs, and what waits all the same for a snapshot that says so: when one is worth it.

use std::sync::atomic::Ordering;

use super::shared::Shared;

/// A snapshot is worth as many bytes that it frees as a segment has; this part of it, when room is short.
const SHORT_SHARE: u64 = 8;
/// Milliseconds without a commit after which any segment is worth one.
const QUIET_MS: u64 = 10_000;

/// How much waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Bytes of whole segments, and of what would not be moved of others.
    pub(crate) bytes: u64,
    /// Segments that would go as a whole.
    pub(crate) segments: u32,
}

/// When a snapshot was asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// How many had been begun then: once is enough, it is made as soon as it may be.
    behind: Option<u64>,
    /// Commits that were seen, and since when there was no other.
    quiet_since: (u64, u64),
}

impl Asked {
    /// Whether a snapshot is to be asked for at `now_ms`. When nothing is appended none would come by
    /// itself: then each segment is worth one, for there are no more and more of them.
    pub(crate) fn is_time(
        &mut self,
        shared: &Shared,
        waiting: &Waiting,
        (now_ms, is_short): (u64, bool),
    ) -> bool {
        let share = if is_short { SHORT_SHARE } else { 1 };
        let is_much = waiting.bytes >= shared.options.segment_bytes / share;
        let is_worth_it = is_much || (waiting.segments > 0 && self.is_quiet(shared, now_ms));
        let resting = shared.released.resting();
        if resting.is_none() || !is_worth_it {
            return false;
        }
        std::mem::replace(&mut self.behind, resting) != resting
    }

    fn is_quiet(&mut self, shared: &Shared, now_ms: u64) -> bool {
        let commits = shared.counters.commits.load(Ordering::Relaxed);
        if self.quiet_since.0 != commits {
            self.quiet_since = (commits, now_ms);
        }
        now_ms - self.quiet_since.1 >= QUIET_MS
    }
}
