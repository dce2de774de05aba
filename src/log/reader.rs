//! Cold reads: pieces of a group from disk.
//!
//! A read finds the first segment that holds the index, by its postings or its
//! footer, and goes on from there over the postings of the group: runs that
//! lie near one another are taken with one pread and cut out of one buffer.
//! Every run is checked by the hash of its head (which knows segment epoch and
//! position) and of its body. What does not pass is looked up and read once
//! more, then quarantined and given as missing.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use foldhash::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::block::{RUN_HEAD_BYTES, RunHead};
use super::postings::{Found, Posting};
use super::recover;
use super::segment::Segment;
use super::shared::Shared;
use super::{EntryNumber, LogEvent, MissingCause, Piece};
use crate::id::{GroupNumber, Index, Lsn};
use crate::limits;
use crate::wire::run::{Run, StoredRun};

/// Bytes between two runs of a group over which one read goes on: reading
/// them costs less than another system call.
const GAP_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of one pread, unless a single run is longer.
const SPAN_BYTES_MAX: u64 = 4 * limits::READ_BYTES as u64;
/// Groups whose last reading place is remembered.
const HINTS_MAX: usize = 4096;

/// Where reads of a group went on lately, so that a drain does not walk over
/// all segments from the oldest one each time.
#[derive(Default)]
pub(crate) struct Hints(Mutex<HashMap<GroupNumber, (u64, Lsn)>>);

impl Hints {
    fn find(&self, group: GroupNumber, from: u64) -> Option<Lsn> {
        let hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hints.get(&group).filter(|(index, _)| *index <= from).map(|(_, base)| *base)
    }

    fn set(&self, group: GroupNumber, index: u64, base: Lsn) {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() >= HINTS_MAX {
            hints.clear();
        }
        hints.insert(group, (index, base));
    }
}

/// Reads pieces of `group` from `from` on; see [`super::Log::read`].
pub(crate) fn read(shared: &Shared, group: GroupNumber, from: Index, bytes_max: usize) -> Vec<Piece> {
    let released = shared.released.below(group);
    let mut read = Read {
        shared,
        group,
        at: from.0.max(1),
        bytes_left: bytes_max.max(1),
        pieces: Vec::new(),
        knows_before: false,
        saw_gap: false,
    };
    if read.at < released.0 {
        read.missing(released.0, MissingCause::Released);
        read.knows_before = true;
    }
    if released.0 < u64::MAX {
        read.walk();
    }
    read.pieces
}

/// One read on its way through the segments.
struct Read<'a> {
    shared: &'a Shared,
    group: GroupNumber,
    at: u64,
    bytes_left: usize,
    pieces: Vec<Piece>,
    /// Something of the group lies before, so that a jump was left on purpose.
    knows_before: bool,
    /// Damage was passed in which runs of the group may have been.
    saw_gap: bool,
}

impl Read<'_> {
    fn walk(&mut self) {
        // A segment that appears while this walks is left to the next read: the
        // one before it may have grown behind the place that was looked at.
        let newest = self.shared.segments.newest();
        let mut base = Lsn(0);
        let mut before = None;
        if let Some(hint) = self.shared.hints.find(self.group, self.at) {
            base = hint;
            self.knows_before = true;
        }
        while self.bytes_left > 0 {
            let Some(segment) = self.shared.segments.from(base, newest) else { return };
            if before.is_some_and(|before: EntryNumber| segment.header.base_entry > before.next()) {
                self.pass_hole();
            }
            before = Some(segment.read().end.entry);
            let found = self.find(&segment);
            self.knows_before |= found.before.is_some();
            if !found.postings.is_empty() {
                self.take(&segment, &found.postings);
                self.shared.hints.set(self.group, self.at, segment.header.base);
            }
            self.saw_gap |= segment.read().gap.is_some();
            // Not behind where it begins: another one may begin there by now.
            base = Lsn(segment.read().end.lsn.0 + 1);
        }
    }

    /// A segment is not there. If it was recycled, the group was released that
    /// far, perhaps since this read began; else it is lost.
    fn pass_hole(&mut self) {
        let released = self.shared.released.below(self.group);
        if self.at < released.0 {
            self.missing(released.0, MissingCause::Released);
            self.knows_before = true;
        }
        self.saw_gap = true;
    }

    /// Looks the group up in a segment; a footer that cannot be read is
    /// replaced by what its blocks say.
    fn find(&mut self, segment: &Segment) -> Found {
        let find = |at| segment.find(self.group, Index(at), self.bytes_left);
        if let Ok(found) = find(self.at) {
            return found;
        }
        recover::rebuild(segment);
        self.shared.keeper.wake();
        find(self.at).unwrap_or_else(|_| {
            self.saw_gap = true;
            Found::default()
        })
    }

    fn take(&mut self, segment: &Arc<Segment>, postings: &[Posting]) {
        for span in spans(postings) {
            let of_span = postings.get(span).unwrap_or_default();
            let bytes = read_span(segment, of_span);
            for posting in of_span {
                if posting.first_index > self.at {
                    self.jump(segment, posting);
                }
                match self.cut(segment, bytes.as_ref(), of_span, posting) {
                    Ok(run) => self.pieces.push(Piece::Run(run)),
                    Err(cause) => self.quarantine(segment, posting, cause),
                }
                self.at = posting.end_index();
                self.knows_before = true;
                self.saw_gap = false;
                self.bytes_left = self.bytes_left.saturating_sub(posting.bytes as usize);
            }
        }
    }

    /// The indexes up to `posting` are not there: says why, unless they were
    /// left out on purpose.
    fn jump(&mut self, segment: &Segment, posting: &Posting) {
        if self.saw_gap || segment.read().gap.is_some_and(|gap| gap < posting.position) {
            self.missing(posting.first_index, MissingCause::Damaged);
        } else if !self.knows_before {
            self.missing(posting.first_index, MissingCause::Released);
        }
    }

    fn missing(&mut self, to: u64, cause: MissingCause) {
        let (from, to) = (Index(self.at), Index(to));
        self.at = to.0;
        if let Some(Piece::Missing { to: end, cause: before, .. }) = self.pieces.last_mut()
            && *end == from
            && *before == cause
        {
            *end = to;
            return;
        }
        self.pieces.push(Piece::Missing { from, to, cause });
    }

    /// Cuts one run out of what was read, or reads it alone once more.
    fn cut(
        &self,
        segment: &Segment,
        bytes: Option<&Bytes>,
        span: &[Posting],
        posting: &Posting,
    ) -> Result<StoredRun, MissingCause> {
        let start = span.first().map_or(0, |first| posting.position - first.position) as usize;
        let run = bytes.map(|bytes| bytes.slice(start..start + posting.bytes as usize));
        if let Some(run) = run.and_then(|run| check(&run, segment, self.group, posting)) {
            return Ok(run);
        }
        let again = read_span(segment, std::slice::from_ref(posting)).ok_or(MissingCause::Unreadable)?;
        check(&again, segment, self.group, posting).ok_or(MissingCause::Damaged)
    }

    fn quarantine(&mut self, segment: &Segment, posting: &Posting, cause: MissingCause) {
        let (from, to) = (Index(posting.first_index), Index(posting.end_index()));
        self.at = self.at.max(posting.first_index);
        self.missing(posting.end_index(), cause);
        if segment.write().quarantined.insert(posting.position) {
            self.shared.tell(LogEvent::Damaged { group: self.group, from, to });
        }
    }
}

/// Groups postings that one read takes together.
pub(crate) fn spans(postings: &[Posting]) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    let mut end = 0;
    for (at, posting) in postings.iter().enumerate() {
        let position = u64::from(posting.position);
        let joins =
            position >= end && position - end <= GAP_BYTES_MAX && posting.end() - start <= SPAN_BYTES_MAX;
        match spans.last_mut().filter(|_| joins) {
            Some(span) => span.end = at + 1,
            None => {
                start = position;
                spans.push(at..at + 1);
            }
        }
        end = posting.end();
    }
    spans
}

pub(crate) fn read_span(segment: &Segment, postings: &[Posting]) -> Option<Bytes> {
    let (first, last) = (postings.first()?, postings.last()?);
    let length = usize::try_from(last.end().checked_sub(u64::from(first.position))?).ok()?;
    let mut bytes = vec![0; length];
    segment.file.read_at(&mut bytes, u64::from(first.position)).ok()?;
    Some(Bytes::from(bytes))
}

/// The run in `bytes`, if it is the one of the posting and whole.
pub(crate) fn check(
    bytes: &Bytes,
    segment: &Segment,
    group: GroupNumber,
    posting: &Posting,
) -> Option<StoredRun> {
    let head = RunHead::decode(bytes, segment.header.epoch, u64::from(posting.position))?;
    let body = bytes.slice(RUN_HEAD_BYTES..);
    let is_the_one = head.group == group
        && head.first_index.0 == posting.first_index
        && head.header.count == posting.count
        && head.header.body_bytes as usize == body.len()
        && xxh3_64(&body) == head.header.body_hash;
    is_the_one.then(|| StoredRun {
        stream: head.stream,
        first_index: head.first_index,
        arrived: head.arrived,
        age_ms: head.age_ms,
        link: head.link,
        run: Run { header: head.header, body },
    })
}
