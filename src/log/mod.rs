//! The log: one append-only order for everything that a relay must not forget.
//!
//! The log knows groups, streams and indexes only as numbers, runs only by
//! their headers, and the relay's own state only as bytes. It knows nothing of
//! subscriptions, links or time. It is blocking code without a runtime: the
//! server calls [`Log::append`] and [`Log::tail`] from the driver, since they
//! never wait for a disk, and [`Log::read`] from a pool of threads.
//!
//! Promises:
//! - Entries become durable in the order in which they were appended, and
//!   numbers are dense: when `n` is durable, so is everything before it.
//! - After a restart exactly a prefix of what was appended is there, and it
//!   contains at least what was reported durable.
//! - What is read is what was appended: damage is found by hashes and given as
//!   [`Piece::Missing`], never as other bytes and never as silence.
//! - A sync that fails is never tried again: the log is poisoned, refuses
//!   everything, and reports [`LogEvent::Failed`].

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{Epoch, GroupNumber, Index, LinkId, StreamNumber, WallTime};
use crate::wire::run::{Run, StoredRun};

mod block;
mod builder;
mod choose;
mod codec;
mod collect;
mod committer;
#[cfg(any(test, feature = "sim"))]
pub mod conformance;
mod direct;
pub mod disk;
mod engine;
mod footer;
mod found;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod header;
mod headless;
mod held;
mod ident;
pub mod inspect;
mod keeper;
mod live;
mod lookup;
mod mark;
pub mod memory;
#[cfg(any(test, feature = "sim"))]
mod memory_log;
mod postings;
pub mod powercut;
mod priority;
mod queue;
mod reader;
mod recover;
mod released;
mod rewrite;
pub mod sample;
mod scan;
mod seal;
mod segment;
mod segments;
mod shared;
mod snapshot;
pub mod storage;
mod sync;
mod tail;
mod waiting;

pub use engine::{DiskLog, LogOptions, OnEvent};
#[cfg(any(test, feature = "sim"))]
pub use memory_log::MemoryLog;
pub use recover::{Recovery, system_random};
pub use released::SnapshotBegun;

/// The number of an entry: 1, 2, 3, … over the whole life of a log. 0 stands
/// for "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryNumber(pub u64);

impl EntryNumber {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for EntryNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Records of a stream, inserted into a group.
    Run(RunEntry),
    /// A change of the relay's own state: its meaning is the relay's business.
    State(Bytes),
}

impl Entry {
    /// Bytes of what it brings, without its heads.
    #[must_use]
    pub(crate) fn content_bytes(&self) -> usize {
        match self {
            Self::Run(run) => run.run.body.len(),
            Self::State(state) => state.len(),
        }
    }
}

/// A run and its place in this relay's copy of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// The group.
    pub group: GroupNumber,
    /// The stream.
    pub stream: StreamNumber,
    /// The insertion index of the first record. Within a group, entries follow
    /// one another without gaps, except that a gap may be left on purpose.
    pub first_index: Index,
    /// When it arrived here, by this relay's wall clock.
    pub arrived: WallTime,
    /// How old it was when it arrived, in milliseconds.
    pub age_ms: u32,
    /// The link over which it arrived; 0 for this relay's own sessions.
    pub link: LinkId,
    /// Header and records.
    pub run: Run,
}

impl RunEntry {
    /// The run as a reader will get it.
    #[must_use]
    pub fn stored(&self) -> StoredRun {
        StoredRun {
            stream: self.stream,
            first_index: self.first_index,
            arrived: self.arrived,
            age_ms: self.age_ms,
            link: self.link,
            run: self.run.clone(),
        }
    }

    /// The run as a reader will get it.
    #[must_use]
    pub fn into_stored(self) -> StoredRun {
        StoredRun {
            stream: self.stream,
            first_index: self.first_index,
            arrived: self.arrived,
            age_ms: self.age_ms,
            link: self.link,
            run: self.run,
        }
    }
}

/// Whether an append waits for a sync of its own; what is more urgent is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nobody waits for it (cursors): it rides along with the next sync, or has
    /// one of its own when the log has been idle for a while.
    #[default]
    Ride,
    /// Nobody waits for it yet, and somebody will (what neighbours send): it is synced
    /// with the next that somebody waits for, or when [`SOON_MS`](crate::limits::SOON_MS)
    /// have passed, or when [`SOON_BYTES_MAX`](crate::limits::SOON_BYTES_MAX) have gathered.
    Soon,
    /// Somebody waits for it: it is synced as soon as the disk is free.
    Sync,
}

/// A part of a group's backlog, in order of insertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Records.
    Run(StoredRun),
    /// Indexes that the log cannot give any more: half-open, `from..to`.
    Missing {
        /// The first index that is missing.
        from: Index,
        /// The first index that is not missing any more.
        to: Index,
        /// Why.
        cause: MissingCause,
    },
}

/// Why indexes cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingCause {
    /// Everything below the group's released index: it was let go on purpose.
    Released,
    /// The disk gave other bytes than were written; the range is quarantined.
    Damaged,
    /// The disk gave an error.
    Unreadable,
}

/// What a log says by itself, from one of its threads. The receiver must not block.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogEvent {
    /// Everything up to and including this entry is durable.
    Durable(EntryNumber),
    /// Whether there is room for new messages. When there is not, entries of
    /// state and runs that are already owed still have their reserve.
    Room(bool),
    /// No segment could be made ahead, for another reason than that the disk is seen to be full: what
    /// follows when those that are there are used up is [`Self::Room`].
    NoSegment(LogError),
    /// A range of a group is damaged on disk and quarantined.
    Damaged {
        /// The group.
        group: GroupNumber,
        /// First damaged index.
        from: Index,
        /// First index after the damage.
        to: Index,
    },
    /// Entries that a restart would need are lost on disk: half-open. The state
    /// in memory has them, so a new snapshot makes up for it.
    Lost {
        /// The first entry that is lost.
        from: EntryNumber,
        /// The first entry behind.
        to: EntryNumber,
    },
    /// A snapshot cannot be read any more: a new one is wanted.
    SnapshotDamaged(LogError),
    /// A snapshot that is begun from now on would free a segment's worth, or less while room is short.
    SnapshotWanted,
    /// The footer of a segment was damaged and is made again out of its blocks.
    FooterDamaged {
        /// The segment's file.
        file: String,
    },
    /// A write or a sync failed: nothing more will become durable. Stop.
    Failed(LogError),
}

/// Why a log does not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The operating system refused a file operation.
    #[error("cannot {action} {file}: {source}")]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file's name inside the data directory.
        file: String,
        /// What the operating system said.
        source: std::sync::Arc<std::io::Error>,
    },
    /// A write or sync failed before; the log accepts nothing until the relay is restarted.
    #[error("the log has stopped{}; restart the relay to recover", because(cause.as_deref()))]
    Poisoned {
        /// What failed first, if it is known.
        cause: Option<std::sync::Arc<LogError>>,
    },
    /// There is no room, not even in the reserve.
    #[error("the log has no room left: {needed} bytes needed, {free} free")]
    Full {
        /// Bytes needed.
        needed: u64,
        /// Bytes free for this kind of entry.
        free: u64,
    },
    /// Another process uses the data directory.
    #[error("the data directory is in use by process {holder}")]
    Locked {
        /// Who holds the lock, as written in the lock file; `unknown` if it is not readable.
        holder: String,
    },
    /// A file was written by a program with another format. It is left as it is.
    #[error("{file} has format version {found}; this program reads version {known}")]
    Version {
        /// The file's name inside the data directory.
        file: String,
        /// The version that it says.
        found: u32,
        /// The version that this program reads and writes.
        known: u32,
    },
    /// The directory belongs to another store, or is not a store.
    #[error("{file} is not usable: {reason}")]
    Format {
        /// The file's name inside the data directory.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The end of what a stopped log says: everybody who meets it tells the first
/// reason, also who is quicker than the event that carries it.
fn because(cause: Option<&LogError>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}

impl LogError {
    /// Whether the operating system had no room.
    pub(crate) fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::File { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// Wraps what the operating system said about a file.
pub(crate) fn file_error(action: &'static str, file: &str, source: std::io::Error) -> LogError {
    LogError::File { action, file: file.to_owned(), source: std::sync::Arc::new(source) }
}

/// A relay's state as of a moment, in parts that were taken one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Each part with the number of the last entry that it includes. The order
    /// and number of parts is the relay's business and must be the same on restore.
    pub shards: Vec<(EntryNumber, Bytes)>,
}

/// An entry that is read again after a restart: runs without their bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The place and header of a run; the body stays on disk.
    Run {
        /// The group.
        group: GroupNumber,
        /// The stream.
        stream: StreamNumber,
        /// The insertion index of the first record.
        first_index: Index,
        /// When it arrived here.
        arrived: WallTime,
        /// Over which link; 0 for this relay's own sessions.
        link: LinkId,
        /// The header.
        header: crate::wire::run::RunHeader,
        /// The body, for kinds other than data; empty for data.
        body: Bytes,
    },
    /// A change of the relay's own state.
    State(Bytes),
}

impl Replayed {
    /// Bytes that the entry takes in the log, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Run { header, .. } => {
                crate::wire::run::RUN_HEADER_BYTES as u64 + u64::from(header.body_bytes)
            }
            Self::State(bytes) => bytes.len() as u64,
        }
    }
}

#[cfg(any(test, feature = "sim"))]
impl Replayed {
    /// What a replay gives for an entry.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        use crate::wire::run::RunKind;
        match entry {
            Entry::Run(run) => Self::Run {
                group: run.group,
                stream: run.stream,
                first_index: run.first_index,
                arrived: run.arrived,
                link: run.link,
                header: run.run.header,
                body: match run.run.header.kind {
                    RunKind::Data => Bytes::new(),
                    RunKind::Mark | RunKind::Genesis | RunKind::Seal | RunKind::Loss => run.run.body.clone(),
                },
            },
            Entry::State(bytes) => Self::State(bytes.clone()),
        }
    }
}

/// What a log was found to be when it was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// This boot: the storage, the raised counter, the new nonce. It is durable.
    pub epoch: Epoch,
    /// Whether the log before was stopped cleanly, so that nothing can be missing at its end.
    pub clean: bool,
    /// The newest complete snapshot; empty for a new directory.
    pub snapshot: Snapshot,
    /// The last entry in the log. New entries are numbered from the next one.
    pub last: EntryNumber,
    /// Bytes that were cut from the tail because they were not a whole block.
    pub torn_bytes: u64,
    /// A last block that was cut though all of it seems to have been written.
    pub cut: Option<Cut>,
    /// Ranges found damaged while opening.
    pub damaged: Vec<(GroupNumber, Index, Index)>,
    /// Entries that were durable and are lost, those behind the snapshot and
    /// those at the end of the log: half-open ranges. Their groups are not
    /// known; their numbers are not used again.
    pub lost: Vec<(EntryNumber, EntryNumber)>,
    /// Files that were left alone, each with the reason, for people to read.
    pub notes: Vec<String>,
}

/// What is known of a last block that was cut though all of it seems to have
/// been written: it was damaged later, or never became durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its first entry.
    pub from: EntryNumber,
    /// How many entries it had; nothing where that is damaged too.
    pub entries: Option<u64>,
    /// How many messages of which groups, by number; nothing where the heads do not tell
    /// all of them.
    pub messages: Option<Vec<(GroupNumber, u64)>>,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            Some(entries) => write!(f, "{entries} entries from {} on", self.from),
            None => write!(f, "entries from {} on", self.from),
        }
    }
}

/// How much a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Bytes in files, recycled and empty segments included.
    pub file_bytes: u64,
    /// Bytes of runs that somebody may still need; all bytes of blocks, for
    /// segments that were not looked at yet.
    pub live_bytes: u64,
    /// Bytes that can still be taken from the file system or from empty segments.
    pub free_bytes: u64,
    /// Segment files in use.
    pub segments: u32,
    /// Segment files that wait to be used again.
    pub spare_segments: u32,
    /// Whether the committing thread runs before others. Where it does not,
    /// busy processors delay commits by milliseconds.
    pub has_priority: bool,
    /// Commits since the start, each one sync.
    pub commits: u64,
    /// Bytes written by commits since the start.
    pub committed_bytes: u64,
    /// The size of a segment; 0: not known.
    #[serde(default, skip_serializing_if = "crate::wire::is_zero")]
    pub segment_bytes: u64,
    /// What is to be free beside one, so that puts are taken; 0: not known.
    #[serde(default, skip_serializing_if = "crate::wire::is_zero")]
    pub reserve_bytes: u64,
    /// Cold segments among those in use: what was left of older ones.
    #[serde(default)]
    pub cold_segments: u32,
    /// Segments that were replaced by cold ones since the start.
    #[serde(default)]
    pub rewritten_segments: u64,
    /// Bytes of cold segments that were written since the start.
    #[serde(default)]
    pub rewritten_bytes: u64,
}

/// A log, as the server sees it. All methods can be called from any thread.
pub trait Log: Send + Sync {
    /// Queues `entries` behind all others and returns the number of the last.
    /// Never waits for the disk.
    ///
    /// # Errors
    /// [`LogError::Poisoned`] after a failed write. [`LogError::Full`] when even
    /// the reserve is used up: the log says [`LogEvent::Room`] early enough that
    /// what is on its way fits, so only a sender that goes on gets this; and for
    /// an entry that is longer than a segment.
    fn append(&self, entries: Vec<Entry>, urgency: Urgency) -> Result<EntryNumber, LogError>;

    /// Has everything synced that was appended, as soon as the disk is free. Never waits for it.
    fn hurry(&self);

    /// Reads from memory: the durable pieces of `group` from `from` on, at
    /// least one and about `bytes_max` bytes of them. An empty answer says that
    /// `from` is beyond the end; `None` that [`Log::read`] must be asked.
    /// Never waits for the disk.
    fn tail(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Option<Vec<Piece>>;

    /// Reads from disk: the durable pieces of `group` from `from` on, at least
    /// one and about `bytes_max` bytes. An empty answer says that `from` is
    /// beyond the end. May block.
    ///
    /// # Errors
    /// Only when the log is poisoned; damage and read errors are [`Piece::Missing`].
    fn read(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Result<Vec<Piece>, LogError>;

    /// Says that nobody needs `group` below `below` any more, which is durable
    /// knowledge. `Index(u64::MAX)` for a removed group. Never goes back.
    ///
    /// What was released goes when a snapshot that was begun afterwards is durable, or after
    /// [`Log::settle_released`]: before, a restart would believe that it is there.
    fn release(&self, group: GroupNumber, below: Index);

    /// Says that all that was released until now is known from what is on disk, whatever is appended
    /// to it: so it is when the state was restored, of what its snapshot says.
    fn settle_released(&self);

    /// Says that a snapshot is begun: each part of it will know of all that was released until now.
    /// Never waits for the disk.
    fn begin_snapshot(&self) -> SnapshotBegun;

    /// Makes `snapshot`, which was begun then, durable; entries that all of its parts include
    /// are not replayed again. May block: called from a thread of its own.
    ///
    /// # Errors
    /// When it cannot be written. The snapshot before stays in force.
    fn snapshot(&self, begun: SnapshotBegun, snapshot: Snapshot) -> Result<(), LogError>;

    /// How much is held.
    fn space(&self) -> Space;

    /// Syncs what was appended, notes that the end is clean, and stops. May block.
    ///
    /// # Errors
    /// When the last sync failed: the next start recovers as after a crash.
    fn stop(&self) -> Result<(), LogError>;
}

#[cfg(test)]
mod tests;
