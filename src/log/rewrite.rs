//! Rewriting: what is still needed of a few old segments goes into one cold
//! segment, sorted by group.
//!
//! The segments lie side by side in the order of the log, so the cold one
//! takes their common place and every look-up goes on as before. The order of
//! writing makes it safe to be cut anywhere: blocks, footer and header go to a
//! file whose name ends in `.tmp`; it is synced; it is renamed, and the
//! directory is synced; only then are the old segments taken out of use. A
//! recovery that finds the temporary file removes it; one that finds the cold
//! segment beside some that it replaces drops those.
//!
//! Every run is checked on the way like one that is read for a subscriber. One
//! that is damaged ends the rewriting: its segment stays as it is, so that
//! damage is told to those whom it concerns and never passed over.
//!
//! Needed is what a restart would take for needed: see [`super::released`].

use std::io::IoSlice;
use std::sync::Arc;

use super::block::PAGE_BYTES;
use super::builder::Builder;
use super::codec::round_up;
use super::footer::{self, Footer, FooterError};
use super::header::{Cold, SegmentHeader};
use super::ident::remove_if_there;
use super::lookup::GroupWalk;
use super::postings::{Posting, Postings};
use super::reader::{check, read_span, spans};
use super::segment::{Inner, Segment, SegmentEnd, SegmentIndex, segment_name};
use super::shared::Shared;
use super::storage::StorageFile;
use super::{EntryNumber, LogError, RunEntry, file_error};
use crate::id::{GroupNumber, Index, Lsn};
use crate::wire::run::StoredRun;

/// Why a rewriting has ended early. What it wrote is of no use then.
pub(crate) enum Stopped {
    /// Something in this segment cannot be read.
    Unreadable(Arc<Segment>),
    /// The storage refused a write.
    Refused,
    /// A sync failed.
    Failed(LogError),
}

/// What one slice has done.
pub(crate) struct Slice {
    /// Bytes of the runs that were copied.
    pub(crate) bytes: u64,
    /// There is nothing more to copy.
    pub(crate) is_last: bool,
}

/// A segment that is being copied.
struct Source {
    segment: Arc<Segment>,
    footer: Arc<Footer>,
    walk: GroupWalk,
}

impl Source {
    fn new(segment: &Arc<Segment>) -> Option<Self> {
        let SegmentIndex::Footer(footer) = &segment.read().index else { return None };
        Some(Self { segment: Arc::clone(segment), footer: Arc::clone(footer), walk: GroupWalk::default() })
    }

    fn unreadable(&self, _: FooterError) -> Stopped {
        Stopped::Unreadable(Arc::clone(&self.segment))
    }

    /// The next group of this segment that is not copied yet.
    fn group(&mut self) -> Result<Option<GroupNumber>, Stopped> {
        let record =
            self.walk.peek(&self.footer, &*self.segment.file).map_err(|error| self.unreadable(error))?;
        Ok(record.map(|record| record.group))
    }

    /// The next runs of `group`, from `from` on; none when there are no more.
    fn runs(&mut self, group: GroupNumber, from: Index, bytes_max: usize) -> Result<Vec<Posting>, Stopped> {
        let file = &*self.segment.file;
        let record = self.walk.peek(&self.footer, file).map_err(|error| self.unreadable(error))?;
        let Some(record) = record.filter(|record| record.group == group) else { return Ok(Vec::new()) };
        let found = self.footer.find_of(file, &record, from, bytes_max);
        let postings = found.map_err(|error| self.unreadable(error))?.postings;
        if postings.is_empty() {
            self.walk.take();
        }
        Ok(postings)
    }
}

/// Copies what is needed of some segments, slice by slice.
pub(crate) struct Rewrite {
    sources: Vec<Source>,
    /// The group that is being copied, the source it is at, and the place there.
    group: Option<GroupNumber>,
    source: usize,
    at: Index,
    out: Output,
}

impl Rewrite {
    /// Begins to copy what is needed of `segments`, which lie side by side, to
    /// a file with this number.
    pub(crate) fn begin(shared: &Shared, segments: &[Arc<Segment>], number: u32) -> Result<Self, Stopped> {
        let sources: Vec<_> = segments.iter().filter_map(Source::new).collect();
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Err(Stopped::Refused);
        };
        if sources.len() < segments.len() {
            return Err(Stopped::Refused);
        }
        let end = last.read().end;
        let cold =
            Cold { last: end.lsn, last_entry: end.entry, own_last: Lsn(0), own_last_entry: EntryNumber(0) };
        let header = SegmentHeader {
            number,
            capacity: 0,
            epoch: shared.next_segment_epoch(),
            cold: Some(cold),
            ..first.header
        };
        let out = Output::create(shared, header)?;
        Ok(Self { sources, group: None, source: 0, at: Index(0), out })
    }

    /// Copies about `bytes_max` bytes of runs, at least one, and syncs them.
    pub(crate) fn slice(&mut self, shared: &Shared, bytes_max: u64) -> Result<Slice, Stopped> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let mut bytes = 0;
        self.out.begin_block();
        while bytes < bytes_max {
            let Some((group, postings)) = self.next_runs(shared, bytes_max - bytes)? else {
                self.out.end_block()?;
                return Ok(Slice { bytes: bytes as u64, is_last: true });
            };
            let segment = Arc::clone(&self.sources[self.source].segment);
            copy(&segment, group, &postings, &mut self.out)?;
            bytes += postings.iter().map(|posting| posting.bytes as usize).sum::<usize>();
        }
        self.out.end_block()?;
        Ok(Slice { bytes: bytes as u64, is_last: false })
    }

    /// The next runs to copy, all in the source at hand.
    fn next_runs(
        &mut self,
        shared: &Shared,
        bytes_max: usize,
    ) -> Result<Option<(GroupNumber, Vec<Posting>)>, Stopped> {
        loop {
            let group = match self.group {
                Some(group) => group,
                None => match self.next_group()? {
                    Some(group) => group,
                    None => return Ok(None),
                },
            };
            self.group = Some(group);
            while let Some(source) = self.sources.get_mut(self.source) {
                let from = self.at.max(shared.released.on_disk(group));
                let postings = source.runs(group, from, bytes_max)?;
                if let Some(last) = postings.last() {
                    self.at = Index(last.end_index());
                    return Ok(Some((group, postings)));
                }
                self.source += 1;
            }
            (self.group, self.source, self.at) = (None, 0, Index(0));
        }
    }

    fn next_group(&mut self) -> Result<Option<GroupNumber>, Stopped> {
        let mut lowest: Option<GroupNumber> = None;
        for source in &mut self.sources {
            let group = source.group()?;
            lowest = lowest.into_iter().chain(group).min();
        }
        Ok(lowest)
    }

    /// Bytes written so far.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.out.end.position
    }

    /// Makes the copy durable under its name; nothing if nothing was needed.
    pub(crate) fn finish(self, shared: &Shared) -> Result<Option<Arc<Segment>>, Stopped> {
        for source in &self.sources {
            source.segment.file.forget(0, source.segment.read().end.position);
        }
        if self.out.postings.len() == 0 {
            self.out.remove(shared);
            return Ok(None);
        }
        self.out.finish(shared).map(Some)
    }

    /// Removes what was written.
    pub(crate) fn abandon(self, shared: &Shared) {
        self.out.remove(shared);
    }
}

/// Copies runs of one group to the block that is being built.
fn copy(
    segment: &Arc<Segment>,
    group: GroupNumber,
    postings: &[Posting],
    out: &mut Output,
) -> Result<(), Stopped> {
    for span in spans(postings) {
        let span = postings.get(span).unwrap_or_default();
        let unreadable = || Stopped::Unreadable(Arc::clone(segment));
        let bytes = read_span(segment, span).ok_or_else(unreadable)?;
        for posting in span {
            let start = span.first().map_or(0, |first| posting.position - first.position) as usize;
            let run = bytes.slice(start..start + posting.bytes as usize);
            out.add(group, check(&run, segment, group, posting).ok_or_else(unreadable)?);
        }
    }
    Ok(())
}

/// The cold segment while it is written.
struct Output {
    file: Arc<dyn StorageFile>,
    header: SegmentHeader,
    /// Where its own chain ends.
    end: SegmentEnd,
    postings: Postings,
    builder: Builder,
    in_block: u32,
}

impl Output {
    fn create(shared: &Shared, header: SegmentHeader) -> Result<Self, Stopped> {
        let temporary = temporary_name(header.number);
        remove_if_there(&*shared.storage, &temporary).map_err(|_| Stopped::Refused)?;
        let file = shared.storage.create(&temporary).map_err(|_| Stopped::Refused)?;
        let end = SegmentEnd::before_blocks(&header);
        let (postings, builder) = (Postings::default(), Builder::default());
        Ok(Self { file, header, end, postings, builder, in_block: 0 })
    }

    fn begin_block(&mut self) {
        self.builder.begin(self.header.epoch, self.end.position, &[]);
        self.in_block = 0;
    }

    fn add(&mut self, group: GroupNumber, run: StoredRun) {
        let StoredRun { stream, first_index, arrived, age_ms, link, run } = run;
        let entry = RunEntry { group, stream, first_index, arrived, age_ms, link, run };
        let position = self.builder.run(&entry);
        self.postings.push(group, Posting::of(&entry, position));
        self.in_block += 1;
    }

    fn end_block(&mut self) -> Result<(), Stopped> {
        if self.in_block == 0 {
            return Ok(());
        }
        let (lsn, first) = (Lsn(self.end.lsn.0 + 1), self.end.entry.next());
        let header = self.builder.finish(lsn, self.end.hash, first);
        let written = self.file.write_at(&self.builder.pieces(), self.end.position);
        self.builder.clear();
        written.map_err(|_| Stopped::Refused)?;
        self.sync()?;
        self.end = SegmentEnd::behind(&header);
        Ok(())
    }

    fn sync(&self) -> Result<(), Stopped> {
        let name = temporary_name(self.header.number);
        self.file.sync().map_err(|error| Stopped::Failed(file_error("sync", &name, error)))
    }

    fn remove(&self, shared: &Shared) {
        // What is left behind is removed at the next start.
        let _ = shared.storage.remove(&temporary_name(self.header.number));
    }

    /// Footer, header, sync, name: from then on it stands for its sources.
    fn finish(mut self, shared: &Shared) -> Result<Arc<Segment>, Stopped> {
        if let Some(cold) = &mut self.header.cold {
            (cold.own_last, cold.own_last_entry) = (self.end.lsn, self.end.entry);
        }
        let (lsn, entry) = self.header.cold.map_or(Default::default(), |cold| (cold.last, cold.last_entry));
        let end = SegmentEnd { lsn, entry, ..self.end };
        let start = round_up(end.position, PAGE_BYTES);
        let epoch = self.header.epoch;
        let footer = footer::encode(&self.postings, epoch, start, end, None);
        let head = self.header.encode();
        let written = self
            .file
            .write_at(&[IoSlice::new(&footer)], start)
            .and_then(|()| self.file.write_at(&[IoSlice::new(&head), IoSlice::new(&head)], 0));
        if written.is_err() {
            self.remove(shared);
            return Err(Stopped::Refused);
        }
        self.sync()?;
        let (temporary, name) = (temporary_name(self.header.number), segment_name(self.header.number));
        if shared.storage.rename(&temporary, &name).is_err() {
            self.remove(shared);
            return Err(Stopped::Refused);
        }
        let synced = shared.storage.sync_dir();
        synced.map_err(|error| Stopped::Failed(file_error("sync the directory of", &name, error)))?;
        self.file.forget(0, start + footer.len() as u64);
        let index = SegmentIndex::Footer(Arc::new(Footer::new(epoch, start, &self.postings)));
        Ok(Arc::new(Segment::new(self.header, self.file, Inner::sealed(index, end, None))))
    }
}

fn temporary_name(number: u32) -> String {
    format!("{}.tmp", segment_name(number))
}
