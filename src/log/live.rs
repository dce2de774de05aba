//! How much of a segment somebody may still need, as far as its footer tells.

use std::ops::AddAssign;

use super::block::{BLOCK_HEADER_BYTES, PAGE_BYTES};
use super::footer::{self, Footer, FooterError};
use super::header::SEGMENT_HEADER_BYTES;
use super::lookup::GroupWalk;
use super::storage::{SECTOR_BYTES, StorageFile};
use crate::id::{GroupNumber, Index};

/// Bytes of a block beside its entries: the header, and what is left of the last sector.
const BLOCK_BYTES: u64 = (BLOCK_HEADER_BYTES + SECTOR_BYTES) as u64;

/// What is needed of one segment or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Bytes of the runs that are needed, heads included.
    pub(crate) bytes: u64,
    /// How many runs.
    pub(crate) runs: u64,
    /// How many groups, each counted in every segment.
    pub(crate) groups: u64,
}

impl Live {
    /// Bytes of a cold segment that holds nothing else, written in blocks of
    /// `slice_bytes`.
    pub(crate) fn file_bytes(&self, slice_bytes: u64) -> u64 {
        let narrow = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let blocks = self.bytes / slice_bytes.max(1) + 1;
        let around = blocks * BLOCK_BYTES + 2 * SEGMENT_HEADER_BYTES + PAGE_BYTES;
        self.bytes + around + footer::bytes(narrow(self.groups), narrow(self.runs))
    }
}

impl AddAssign for Live {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.runs += other.runs;
        self.groups += other.groups;
    }
}

/// What is known of a segment's live part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) live: Live,
    /// Bytes of it that nobody needs, which the snapshot with this number, the newest on disk then,
    /// does not say.
    pub(crate) waiting: (u64, u64),
    /// How often something had been released when this was measured.
    pub(crate) releases: u64,
    /// What was needed when it was last seen to fall, and when that was.
    pub(crate) since: (u64, u64),
    /// Some of it cannot be read: it is left as it is.
    pub(crate) is_spoiled: bool,
}

impl Measured {
    /// What is known after `live`, and what of it waits for a snapshot, was measured at `now_ms`. The clock starts
    /// again whenever an eighth was released: what falls that fast will soon
    /// be gone without any help.
    pub(crate) fn next(
        before: Option<Self>,
        (live, waiting): (Live, (u64, u64)),
        releases: u64,
        now_ms: u64,
    ) -> Self {
        let (since, is_spoiled) = match before {
            Some(before) if live.bytes > before.since.0 - before.since.0 / 8 => {
                (before.since, before.is_spoiled)
            }
            Some(before) => ((live.bytes, now_ms), before.is_spoiled),
            None => ((live.bytes, now_ms), false),
        };
        Self { live, waiting, releases, since, is_spoiled }
    }
}

/// Measures what `released` leaves of the segment with this footer: as a restart would know it, and how
/// many bytes of that nobody needs now.
pub(crate) fn measure(
    footer: &Footer,
    file: &dyn StorageFile,
    released: &dyn Fn(GroupNumber) -> [Index; 2],
) -> Result<(Live, u64), FooterError> {
    let mut live = Live::default();
    let mut waiting_bytes = 0;
    let mut walk = GroupWalk::default();
    while let Some(record) = walk.peek(footer, file)? {
        walk.take();
        let [on_disk, now] = released(record.group);
        let (runs, bytes) = footer.count_of(file, &record, on_disk)?;
        live += Live { bytes, runs, groups: u64::from(runs > 0) };
        if now > on_disk {
            waiting_bytes += bytes - footer.count_of(file, &record, now)?.1.min(bytes);
        }
    }
    Ok((live, waiting_bytes))
}
