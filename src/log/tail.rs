//! The tail: recent durable runs in memory, for readers that are nearly up to
//! date. Asked by the driver all the time, so the lock is held shortly and
//! a question costs one look-up and one binary search.
//!
//! What is held are the very buffers that were handed in, so a run may keep a
//! larger buffer alive that it is a slice of; neighbours in that buffer are
//! usually neighbours here and leave together. A group without a run in the
//! tail costs nothing.

use std::collections::VecDeque;
use std::sync::Mutex;

use foldhash::HashMap;

use super::Piece;
use crate::id::{GroupNumber, Index};
use crate::wire::run::StoredRun;

/// Bytes that a run costs beside its body.
const RUN_OVERHEAD_BYTES: usize = 320;
/// Runs added under one hold of the lock, so that the driver never waits long.
const PUSH_MAX: usize = 128;

/// Recent durable runs, the oldest leave first.
pub(crate) struct Tail {
    held: Mutex<Held>,
    bytes_max: usize,
}

#[derive(Default)]
struct Held {
    groups: HashMap<GroupNumber, VecDeque<StoredRun>>,
    order: VecDeque<GroupNumber>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { held: Mutex::default(), bytes_max }
    }

    /// Adds runs that have become durable, in their order.
    pub(crate) fn push(&self, runs: impl IntoIterator<Item = (GroupNumber, StoredRun)>) {
        let mut runs = runs.into_iter().peekable();
        while runs.peek().is_some() {
            let mut held = self.lock();
            for (group, run) in runs.by_ref().take(PUSH_MAX) {
                held.push(group, run);
            }
            while held.bytes > self.bytes_max && held.evict() {}
        }
    }

    /// The runs of `group` from `from` on; see [`super::Log::tail`].
    pub(crate) fn read(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Option<Vec<Piece>> {
        let held = self.lock();
        let runs = held.groups.get(&group)?;
        if runs.front()?.first_index > from {
            return None;
        }
        let at = runs.partition_point(|run| run.end_index() <= from);
        let mut bytes = 0;
        let wanted = runs.range(at..).take_while(|run| {
            let take = bytes < bytes_max.max(1);
            bytes = bytes.saturating_add(run.run.body.len());
            take
        });
        Some(wanted.cloned().map(Piece::Run).collect())
    }

    /// Bytes held, overhead included.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().expect("no code panics while it holds the tail")
    }
}

impl Held {
    fn push(&mut self, group: GroupNumber, run: StoredRun) {
        self.bytes += run.run.body.len() + RUN_OVERHEAD_BYTES;
        self.order.push_back(group);
        self.groups.entry(group).or_default().push_back(run);
    }

    fn evict(&mut self) -> bool {
        let Some(group) = self.order.pop_front() else { return false };
        let Some(runs) = self.groups.get_mut(&group) else { return true };
        if let Some(run) = runs.pop_front() {
            self.bytes -= run.run.body.len() + RUN_OVERHEAD_BYTES;
        }
        if runs.is_empty() {
            self.groups.remove(&group);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::conformance::test_run;

    fn push(tail: &Tail, group: u32, first: u64) {
        let run = test_run(group, first, 2, 500);
        tail.push([(run.group, run.into_stored())]);
    }

    #[test]
    fn the_oldest_run_leaves_first_and_an_idle_group_costs_nothing() {
        let tail = Tail::new(10_000);
        push(&tail, 1, 1);
        for at in 0..20 {
            push(&tail, 2, 1 + 2 * at);
        }
        assert!(tail.bytes() <= 10_000, "{}", tail.bytes());
        assert!(tail.read(GroupNumber(1), Index(1), 1).is_none());
        assert_eq!(tail.lock().groups.len(), 1);
        assert!(tail.read(GroupNumber(2), Index(1), 1).is_none(), "its first runs left");
        assert_eq!(tail.read(GroupNumber(2), Index(40), 1).unwrap().len(), 1);
        assert_eq!(tail.read(GroupNumber(2), Index(41), 1), Some(Vec::new()), "beyond the end");
    }
}
