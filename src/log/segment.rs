//! Segments: the files that blocks are written into.
//!
//! A segment file has its full length and is filled with zeros before it is
//! used, so that a commit changes no metadata of the file system. Its name is
//! `segment-00000001.log` whether it is in use or spare: the header says which,
//! so that taking a spare into use is one write together with the first block.
//! A file that is still being filled ends in `.tmp`.
//!
//! Every boot of a relay begins with a fresh segment, so each position of a
//! segment epoch is written once.
//!
//! A cold segment stands in the place of older ones that next to nobody needed
//! any more: it holds those of their runs that somebody still needs, sorted by
//! group. It is written once, under a name that ends in `.tmp`, and is as long
//! as it needs to be. Its blocks are a chain of their own: numbered on from the
//! first block and entry that it replaces, which says nothing about when they
//! were appended. Its header stands twice, at 0 and at 512.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::block::BlockHeader;
use super::footer::{Footer, FooterError};
use super::header::SegmentHeader;
use super::held::Holders;
use super::live::Measured;
use super::postings::{Found, Posting, Postings};
use super::storage::{Storage, StorageFile};
use super::{EntryNumber, LogError, file_error};
use crate::id::{GroupNumber, Index, Lsn, StorageId};

/// Bytes of zeros written at a time while a spare is filled.
const FILL_BYTES: usize = 1024 * 1024;
/// Zeros written in one piece beside other work: 0.4 ms of a fast disk.
const FILL_BYTES_SLOW: usize = 256 * 1024;

/// The name of the segment file with this number.
pub(crate) fn segment_name(number: u32) -> String {
    format!("segment-{number:08x}.log")
}

/// The number in a segment file's name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let hex = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    (hex.len() == 8).then(|| u32::from_str_radix(hex, 16).ok()).flatten()
}

/// How far the filling of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    /// Bytes that are zeros on their way to the disk.
    pub(crate) written: u64,
    /// Bytes that the file takes from the file system already.
    pub(crate) taken: u64,
}

/// How a file is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Somebody waits for it.
    Fast,
    /// Beside other work, in small pieces.
    Slow,
    /// Not at all any more: that it is allocated is enough.
    Enough,
}

/// A file that is ready to be taken into use.
pub(crate) struct Spare {
    pub(crate) number: u32,
    pub(crate) capacity: u64,
    pub(crate) file: Arc<dyn StorageFile>,
}

impl Spare {
    /// Makes and fills a new file; it has its final name when this returns.
    ///
    /// Zeros are written, so that later commits find the file laid out and
    /// need one write each, not two: with commits of 4 KiB twice as many a
    /// second. To `is_bulk`, for large commits, this does not matter and every
    /// byte is written once: the file is only allocated. `pace` is told how
    /// many bytes are filled; it may wait, and says whether to go on slowly.
    ///
    /// # Errors
    /// When the storage refuses; nothing is left behind then.
    pub(crate) fn fill(
        storage: &dyn Storage,
        id: StorageId,
        number: u32,
        capacity: u64,
        is_bulk: bool,
        pace: &mut dyn FnMut(Filled) -> Pace,
    ) -> Result<Self, LogError> {
        let name = segment_name(number);
        let temporary = format!("{name}.tmp");
        super::ident::remove_if_there(storage, &temporary)?;
        let file = storage.create(&temporary).map_err(|e| file_error("create", &temporary, e))?;
        let spare = Self { number, capacity, file };
        let made = spare
            .lay_out(id, is_bulk, pace)
            .and_then(|()| storage.rename(&temporary, &name))
            .and_then(|()| storage.sync_dir());
        made.map(|()| spare).map_err(|error| {
            let _ = storage.remove(&temporary);
            file_error("fill", &name, error)
        })
    }

    /// The header of a file that waits to be used.
    fn header(&self, id: StorageId) -> SegmentHeader {
        SegmentHeader {
            in_use: false,
            storage: id,
            number: self.number,
            capacity: self.capacity,
            epoch: 0,
            base: Lsn(0),
            base_entry: EntryNumber(0),
            previous: 0,
            cold: None,
        }
    }

    fn lay_out(
        &self,
        id: StorageId,
        is_bulk: bool,
        pace: &mut dyn FnMut(Filled) -> Pace,
    ) -> std::io::Result<()> {
        // Allocated first: then a full disk is noticed before anything is written.
        let is_allocated = self.file.allocate(self.capacity)?;
        if !is_allocated || !is_bulk {
            self.write_zeros(is_allocated, pace)?;
        }
        self.file.write_at(&[IoSlice::new(&self.header(id).encode())], 0)?;
        self.file.sync()
    }

    fn write_zeros(&self, is_allocated: bool, pace: &mut dyn FnMut(Filled) -> Pace) -> std::io::Result<()> {
        let zeros = vec![0; FILL_BYTES];
        let mut position = 0;
        while position < self.capacity {
            let taken = if is_allocated { self.capacity } else { position };
            let wanted = match pace(Filled { written: position, taken }) {
                Pace::Enough if is_allocated => return Ok(()),
                Pace::Fast | Pace::Enough => FILL_BYTES,
                // Synced piece by piece: a commit beside it then waits for one
                // piece at the most, not for all that the system has gathered.
                Pace::Slow => {
                    self.file.sync()?;
                    FILL_BYTES_SLOW
                }
            };
            let length = usize::try_from(self.capacity - position).unwrap_or(wanted).min(wanted);
            self.file.write_at(&[IoSlice::new(zeros.get(..length).unwrap_or(&zeros))], position)?;
            position += length as u64;
        }
        Ok(())
    }

    /// Makes a file that was in use a spare again.
    ///
    /// # Errors
    /// When the storage refuses.
    pub(crate) fn mark(&self, id: StorageId) -> std::io::Result<()> {
        self.file.write_at(&[IoSlice::new(&self.header(id).encode())], 0)?;
        self.file.sync()
    }
}

/// Where the runs of a segment are found.
#[derive(Debug)]
pub(crate) enum SegmentIndex {
    /// In memory: it is being filled, or its footer is not written yet.
    Memory(Postings),
    /// In the footer, on disk.
    Footer(Arc<Footer>),
}

/// The end of what a segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    /// Where the last block ends, padding included.
    pub(crate) position: u64,
    /// The last block.
    pub(crate) lsn: Lsn,
    /// The last entry.
    pub(crate) entry: EntryNumber,
    /// The hash of the last block.
    pub(crate) hash: u64,
}

impl SegmentEnd {
    /// The end of a segment that holds no block yet.
    pub(crate) fn before_blocks(header: &SegmentHeader) -> Self {
        Self {
            position: header.start(),
            lsn: Lsn(header.base.0.saturating_sub(1)),
            entry: EntryNumber(header.base_entry.0.saturating_sub(1)),
            hash: header.previous,
        }
    }

    /// The end of a segment whose last block this is.
    pub(crate) fn behind(block: &BlockHeader) -> Self {
        Self { position: block.end(), lsn: block.lsn, entry: block.last(), hash: block.hash() }
    }
}

/// A segment file in use. Whoever holds an `Arc` of it pins it: it is not
/// recycled before the last reader has let go.
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn StorageFile>,
    inner: RwLock<Inner>,
}

pub(crate) struct Inner {
    pub(crate) index: SegmentIndex,
    pub(crate) end: SegmentEnd,
    /// No block is added any more.
    pub(crate) sealed: bool,
    /// It was sealed before it was full: what it does not need is given back.
    pub(crate) partial: bool,
    /// The place of the first damage in whose range runs may have been whose
    /// groups are not known any more.
    pub(crate) gap: Option<u32>,
    /// Runs that were found damaged and reported, by position.
    pub(crate) quarantined: BTreeSet<u32>,
    /// Why it cannot be recycled yet.
    pub(crate) holders: Holders,
    /// How much of it somebody may still need, when that was last looked at.
    pub(crate) measured: Option<Measured>,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, file: Arc<dyn StorageFile>, inner: Inner) -> Self {
        Self { header, file, inner: RwLock::new(inner) }
    }

    /// A segment that begins now.
    pub(crate) fn begin(header: SegmentHeader, file: Arc<dyn StorageFile>) -> Self {
        Self::new(header, file, Inner::open(SegmentEnd::before_blocks(&header)))
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.header.number)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of runs that somebody may still need, as far as is known.
    pub(crate) fn live_bytes(&self) -> u64 {
        let inner = self.read();
        inner.measured.filter(|known| !known.is_spoiled).map_or(inner.end.position, |known| known.live.bytes)
    }

    /// Bytes of runs that nobody needs and that wait for a snapshot behind `newest`, as far as is known.
    pub(crate) fn waiting_bytes(&self, newest: u64) -> u64 {
        let measured = self.read().measured.filter(|known| !known.is_spoiled && known.waiting.1 == newest);
        measured.map_or(0, |known| known.waiting.0)
    }

    /// Adds a block that has become durable.
    pub(crate) fn publish(&self, postings: &[(GroupNumber, Posting)], end: SegmentEnd) {
        let mut inner = self.write();
        if let SegmentIndex::Memory(index) = &mut inner.index {
            for (group, posting) in postings {
                index.push(*group, *posting);
            }
        }
        inner.end = end;
    }

    /// See [`Postings::find`].
    ///
    /// # Errors
    /// When the footer cannot be read; its content can be made again out of the blocks.
    pub(crate) fn find(
        &self,
        group: GroupNumber,
        from: Index,
        bytes_max: usize,
    ) -> Result<Found, FooterError> {
        let footer = match &self.read().index {
            SegmentIndex::Memory(postings) => return Ok(postings.find(group, from, bytes_max)),
            SegmentIndex::Footer(footer) => Arc::clone(footer),
        };
        footer.find(&*self.file, group, from, bytes_max)
    }
}

impl Inner {
    fn open(end: SegmentEnd) -> Self {
        let index = SegmentIndex::Memory(Postings::default());
        Self { sealed: false, ..Self::sealed(index, end, None) }
    }

    /// Of a segment to which nothing is added any more.
    pub(crate) fn sealed(index: SegmentIndex, end: SegmentEnd, gap: Option<u32>) -> Self {
        Self {
            index,
            end,
            sealed: true,
            partial: false,
            gap,
            quarantined: BTreeSet::new(),
            holders: Holders::default(),
            measured: None,
        }
    }

    /// How many groups are indexed in memory.
    pub(crate) fn groups_in_memory(&self) -> usize {
        match &self.index {
            SegmentIndex::Memory(postings) => postings.groups(),
            SegmentIndex::Footer(_) => 0,
        }
    }
}
