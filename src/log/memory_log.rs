//! A log in memory, as simple as can be: the model that the engine is compared
//! with, and the log of tests that are about something else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::committer::entry_bytes;
use super::engine::OnEvent;
use super::{
    Entry, EntryNumber, Log, LogError, LogEvent, MissingCause, Piece, Snapshot, SnapshotBegun, Space, Urgency,
};
use crate::id::{GroupNumber, Index};
use crate::wire::run::StoredRun;

/// A log that keeps everything in memory. What is appended is durable at once,
/// and [`LogEvent::Durable`] is told from inside [`Log::append`].
pub struct MemoryLog {
    content: Mutex<Content>,
    on_event: OnEvent,
}

#[derive(Default)]
struct Content {
    last: EntryNumber,
    groups: BTreeMap<GroupNumber, Vec<StoredRun>>,
    released: BTreeMap<GroupNumber, Index>,
    snapshot: Snapshot,
    bytes: u64,
    appends: u64,
    stopped: bool,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new(on_event: OnEvent) -> Self {
        Self { content: Mutex::default(), on_event }
    }

    /// The last snapshot that was given.
    #[must_use]
    pub fn last_snapshot(&self) -> Snapshot {
        self.lock().snapshot.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn pieces(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Vec<Piece> {
        let released = self.released.get(&group).copied().unwrap_or_default();
        let mut from = Index(from.0.max(1));
        let mut pieces = Vec::new();
        if from < released {
            pieces.push(Piece::Missing { from, to: released, cause: MissingCause::Released });
            from = released;
        }
        let runs = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
        let mut bytes = 0;
        for run in runs.iter().filter(|run| run.end_index() > from) {
            if bytes >= bytes_max.max(1) {
                break;
            }
            bytes += run.run.body.len();
            pieces.push(Piece::Run(run.clone()));
        }
        pieces
    }
}

impl Log for MemoryLog {
    fn append(&self, entries: Vec<Entry>, _urgency: Urgency) -> Result<EntryNumber, LogError> {
        let mut content = self.lock();
        if content.stopped {
            return Err(LogError::Poisoned { cause: None });
        }
        if entries.is_empty() {
            return Ok(content.last);
        }
        content.appends += 1;
        for entry in entries {
            content.last = content.last.next();
            content.bytes += entry_bytes(&entry);
            if let Entry::Run(run) = entry {
                content.groups.entry(run.group).or_default().push(run.into_stored());
            }
        }
        let last = content.last;
        drop(content);
        (self.on_event)(LogEvent::Durable(last));
        Ok(last)
    }

    fn hurry(&self) {}

    fn tail(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Option<Vec<Piece>> {
        let content = self.lock();
        let first = content.groups.get(&group)?.first()?.first_index;
        (from >= first.max(content.released.get(&group).copied().unwrap_or_default()))
            .then(|| content.pieces(group, from, bytes_max))
    }

    fn read(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Result<Vec<Piece>, LogError> {
        Ok(self.lock().pieces(group, from, bytes_max))
    }

    fn release(&self, group: GroupNumber, below: Index) {
        let mut content = self.lock();
        let released = content.released.entry(group).or_default();
        *released = below.max(*released);
        let below = *released;
        if let Some(runs) = content.groups.get_mut(&group) {
            runs.retain(|run| run.end_index() > below);
        }
    }

    fn settle_released(&self) {}

    fn begin_snapshot(&self) -> SnapshotBegun {
        SnapshotBegun::default()
    }

    fn snapshot(&self, _: SnapshotBegun, snapshot: Snapshot) -> Result<(), LogError> {
        self.lock().snapshot = snapshot;
        Ok(())
    }

    fn space(&self) -> Space {
        let content = self.lock();
        Space {
            live_bytes: content.bytes,
            free_bytes: u64::MAX,
            commits: content.appends,
            committed_bytes: content.bytes,
            ..Space::default()
        }
    }

    fn stop(&self) -> Result<(), LogError> {
        self.lock().stopped = true;
        Ok(())
    }
}
