//! What reaches the driver against the flow: latest values and one notification, never a wait.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::id::SessionId;
use crate::log::{EntryNumber, LogError, LogEvent};
use crate::metrics::{self, Commits};
use crate::net::outgoing::Progress;

const ROOM_UNCHANGED: u8 = 0;
const ROOM_FREE: u8 = 1;
const ROOM_NONE: u8 = 2;

/// The board that everybody writes on and the driver reads.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Notified when the driver should make a turn.
    pub(crate) wake: Arc<Notify>,
    /// What sessions have written.
    pub(crate) progress: Arc<Progress>,
    durable: AtomicU64,
    room: AtomicU8,
    failed: OnceLock<LogError>,
    /// Ranges that reading found damaged since the start.
    damaged: AtomicU64,
    wants_snapshot: AtomicBool,
    awaits_snapshot: AtomicBool,
    stop: AtomicBool,
    abandoned: Mutex<Vec<SessionId>>,
    commits: Commits,
}

impl Signals {
    pub(crate) fn new() -> Arc<Self> {
        let wake = Arc::new(Notify::new());
        Arc::new(Self {
            progress: Arc::new(Progress::new(Arc::clone(&wake))),
            wake,
            durable: AtomicU64::new(0),
            room: AtomicU8::new(ROOM_UNCHANGED),
            failed: OnceLock::new(),
            damaged: AtomicU64::new(0),
            wants_snapshot: AtomicBool::new(false),
            awaits_snapshot: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            abandoned: Mutex::default(),
            commits: Commits::new(),
        })
    }

    /// The log says something, from one of its threads. Does not block.
    pub(crate) fn log_event(&self, event: LogEvent) {
        match event {
            LogEvent::Durable(number) => {
                self.commits.committed();
                self.durable.fetch_max(number.0, Ordering::Release);
            }
            LogEvent::Room(true) => self.room.store(ROOM_FREE, Ordering::Release),
            LogEvent::Room(false) => self.room.store(ROOM_NONE, Ordering::Release),
            LogEvent::NoSegment(error) => {
                tracing::warn!(%error, "no segment can be made ahead for the log");
                return;
            }
            LogEvent::Damaged { group, from, to } => {
                metrics::log_damaged();
                self.damaged.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%group, %from, %to, "a range is damaged on disk");
                return;
            }
            LogEvent::Lost { from, to } => {
                metrics::log_damaged();
                tracing::error!(%from, %to, "entries of the log are lost on disk; a new snapshot makes up for them");
                self.wants_snapshot.store(true, Ordering::Release);
            }
            LogEvent::SnapshotDamaged(error) => {
                metrics::log_damaged();
                tracing::error!(%error, "a snapshot is damaged on disk; a new one takes its place");
                self.wants_snapshot.store(true, Ordering::Release);
            }
            LogEvent::SnapshotWanted => self.awaits_snapshot.store(true, Ordering::Release),
            LogEvent::FooterDamaged { file } => {
                metrics::log_damaged();
                tracing::warn!(file, "the footer of a segment was damaged on disk and is made again");
                return;
            }
            LogEvent::Failed(error) => {
                // A second failure adds nothing to the first.
                let _ = self.failed.set(error);
            }
        }
        self.wake.notify_one();
    }

    /// Ranges that reading found damaged since the start.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// The last entry that is durable.
    pub(crate) fn durable(&self) -> EntryNumber {
        EntryNumber(self.durable.load(Ordering::Acquire))
    }

    /// Whether there is room, when that has changed since the last call.
    pub(crate) fn take_room(&self) -> Option<bool> {
        match self.room.swap(ROOM_UNCHANGED, Ordering::AcqRel) {
            ROOM_FREE => Some(true),
            ROOM_NONE => Some(false),
            _ => None,
        }
    }

    /// Whether what is released waits for a snapshot, when that was said since the last call.
    pub(crate) fn take_awaits_snapshot(&self) -> bool {
        self.awaits_snapshot.swap(false, Ordering::AcqRel)
    }

    /// Whether the log has asked for a snapshot because of damage since the last call.
    pub(crate) fn take_wants_snapshot(&self) -> bool {
        self.wants_snapshot.swap(false, Ordering::AcqRel)
    }

    /// Why the log has failed, if it has.
    pub(crate) fn failed(&self) -> Option<&LogError> {
        self.failed.get()
    }

    /// Asks the driver to stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether the driver was asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// A session ended without saying so.
    pub(crate) fn abandon(&self, session: SessionId) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        self.wake.notify_one();
    }

    /// Sessions that ended without saying so.
    pub(crate) fn take_abandoned(&self) -> Vec<SessionId> {
        std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
