//! Notes of one group: when messages came and over which link, and which subscriptions have passed
//! them over and why. [`super::traces`] says when they are made and forgotten.
//!
//! Per run one note of about 15 bytes, in the order in which things happened; runs of one stream
//! that follow on one another within a millisecond share one. Notes lie in chunks of a kilobyte,
//! so that forgetting is cheap.
//!
//! A note, all but the tags varints (LEB128). A run: 0, stream, first sequence, how many, first
//! index, microseconds from the chunk's beginning to the first arrival, from there to the last,
//! link. What was passed over: 1 + the way (see [`How`]), subscription, first index, how many.

mod names;

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};

use self::names::{Gone, StreamName};
use super::state::{put_varint, take_varint};
use super::subscription::SubscriptionNumber;
use crate::id::{GroupNumber, Index, LinkId, Sequence, StreamNumber, WallTime};
use crate::wire::body::GapCause;

/// Bytes at which a chunk is full.
const CHUNK_BYTES: usize = 1024;

/// Microseconds after which a chunk is full whatever is in it: old ones are to be forgotten in time.
const CHUNK_US: u64 = 3600 * 1_000_000;

/// Arrivals within so many microseconds share a note.
const SHARED_US: u64 = 1000;

/// Bytes that a chunk takes beside its notes, about, and a group that has some.
const CHUNK_COST: usize = 96;

/// Consecutive records of one stream that came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) stream: StreamNumber,
    pub(super) first: Sequence,
    pub(super) count: u64,
    pub(super) index: Index,
    pub(super) from: WallTime,
    pub(super) to: WallTime,
    pub(super) link: LinkId,
}

/// Where a message stood, and how it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) index: Index,
    pub(super) from: WallTime,
    pub(super) to: WallTime,
    pub(super) link: LinkId,
}

/// In which way a message was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Filtered,
    BeforeStart,
    Repeat,
    Expired,
    Dropped(GapCause),
    /// As the next one: the group had a dead-letter group then, or an older program has noted it.
    MaxDeliver,
    Rejected,
    Skipped,
    /// It was owed again: what was noted before does not hold any more.
    Again,
    /// The group had no dead-letter group then, and it was dropped; so with the next one.
    MaxDeliverDropped,
    RejectedDropped,
}

/// What a subscription did not get: half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) group: GroupNumber,
    pub(super) subscription: SubscriptionNumber,
    pub(super) from: Index,
    pub(super) to: Index,
    pub(super) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Run(Span),
    Passed { subscription: SubscriptionNumber, from: Index, count: u64, how: How },
}

const ALL_HOWS: [How; 16] = [
    How::Filtered,
    How::BeforeStart,
    How::Repeat,
    How::Expired,
    How::MaxDeliver,
    How::Rejected,
    How::Skipped,
    How::Again,
    How::Dropped(GapCause::SubscriptionQuota),
    How::Dropped(GapCause::Retention),
    How::Dropped(GapCause::Damaged),
    How::Dropped(GapCause::Expired),
    How::Dropped(GapCause::Evicted),
    How::Dropped(GapCause::Uncertain),
    How::MaxDeliverDropped,
    How::RejectedDropped,
];

impl How {
    pub(super) fn to_byte(self) -> u8 {
        match self {
            Self::Filtered => 0,
            Self::BeforeStart => 1,
            Self::Repeat => 2,
            Self::Expired => 3,
            Self::MaxDeliver => 4,
            Self::Rejected => 5,
            Self::Skipped => 6,
            Self::Again => 7,
            Self::Dropped(GapCause::SubscriptionQuota) => 8,
            Self::Dropped(GapCause::Retention) => 9,
            Self::Dropped(GapCause::Damaged) => 10,
            Self::Dropped(GapCause::Expired) => 11,
            Self::Dropped(GapCause::Evicted) => 12,
            Self::Dropped(GapCause::Uncertain) => 13,
            Self::MaxDeliverDropped => 14,
            Self::RejectedDropped => 15,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        ALL_HOWS.get(usize::from(byte)).copied()
    }
}

/// Notes of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    #[serde(rename = "f")]
    pub(super) since: WallTime,
    #[serde(rename = "t")]
    pub(super) until: WallTime,
    #[serde(rename = "b", with = "super::saved::byte_string")]
    notes: Vec<u8>,
}

impl Chunk {
    fn cost(&self) -> usize {
        CHUNK_COST + self.notes.capacity()
    }

    fn is_full(&self, now: WallTime) -> bool {
        // A chunk tells times from its first on: one that lies before it, as a clock was set back, has no
        // place in it.
        let is_early = now < self.since;
        is_early || self.notes.len() >= CHUNK_BYTES || now.0.saturating_sub(self.since.0) > CHUNK_US
    }

    fn push(&mut self, note: &Note) {
        let out = &mut self.notes;
        match note {
            Note::Run(span) => {
                out.put_u8(0);
                put_varint(out, u64::from(span.stream.0));
                put_varint(out, span.first.0);
                put_varint(out, span.count);
                put_varint(out, span.index.0);
                put_varint(out, span.from.0.saturating_sub(self.since.0));
                put_varint(out, span.to.0.saturating_sub(span.from.0));
                put_varint(out, u64::from(span.link.0));
                self.until = self.until.max(span.to);
            }
            Note::Passed { subscription, from, count, how } => {
                out.put_u8(1 + how.to_byte());
                put_varint(out, u64::from(subscription.0));
                put_varint(out, from.0);
                put_varint(out, *count);
            }
        }
    }

    /// The notes, in order; it ends early at bytes that are none.
    fn iter(&self) -> impl Iterator<Item = Note> + '_ {
        let mut rest = &self.notes[..];
        std::iter::from_fn(move || take_note(&mut rest, self.since))
    }
}

fn take_note(rest: &mut &[u8], since: WallTime) -> Option<Note> {
    #[cfg(test)]
    tests::DECODED.set(tests::DECODED.get() + 1);
    let tag = rest.try_get_u8().ok()?;
    if let Some(how) = tag.checked_sub(1) {
        let how = How::from_byte(how)?;
        let subscription = SubscriptionNumber(u32::try_from(take_varint(rest)?).ok()?);
        let (from, count) = (Index(take_varint(rest)?), take_varint(rest)?);
        from.0.checked_add(count)?;
        return Some(Note::Passed { subscription, from, count, how });
    }
    let stream = StreamNumber(u32::try_from(take_varint(rest)?).ok()?);
    let (first, count) = (Sequence(take_varint(rest)?), take_varint(rest)?);
    let index = Index(take_varint(rest)?);
    let from = WallTime(since.0.checked_add(take_varint(rest)?)?);
    let to = WallTime(from.0.checked_add(take_varint(rest)?)?);
    let link = LinkId(u32::try_from(take_varint(rest)?).ok()?);
    first.0.checked_add(count)?;
    index.0.checked_add(count)?;
    Some(Note::Run(Span { stream, first, count, index, from, to, link }))
}

/// What is remembered of one group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    #[serde(rename = "c")]
    pub(super) chunks: VecDeque<Chunk>,
    /// How many chunks were forgotten before these.
    #[serde(rename = "g")]
    gone: u64,
    #[serde(rename = "s")]
    streams: Vec<StreamName>,
    /// Subscriptions that were removed since, the one that was removed first before the others.
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    gone_subscriptions: Vec<Gone>,
    /// The last run: the next one may share its note.
    #[serde(skip)]
    open: Option<Span>,
    /// Bytes that all of it takes, about.
    #[serde(skip)]
    pub(super) bytes: usize,
}

impl Memory {
    pub(super) fn fresh() -> Self {
        Self { bytes: CHUNK_COST, ..Self::default() }
    }

    pub(super) fn count_bytes(&self) -> usize {
        let streams = self.streams.iter().map(StreamName::cost);
        let names = streams.chain(self.gone_subscriptions.iter().map(Gone::cost));
        CHUNK_COST + self.chunks.iter().map(Chunk::cost).sum::<usize>() + names.sum::<usize>()
    }

    /// The chunk that takes what happens now; says whether it is a new one.
    fn chunk(&mut self, now: WallTime) -> bool {
        let is_new = self.chunks.back().is_none_or(|last| last.is_full(now));
        if is_new {
            self.close();
            if let Some(full) = self.chunks.back_mut() {
                self.bytes -= full.cost();
                full.notes.shrink_to_fit();
                self.bytes += full.cost();
            }
            self.chunks.push_back(Chunk { since: now, until: now, notes: Vec::new() });
            self.bytes += CHUNK_COST;
        }
        is_new
    }

    /// Puts the run that is open into its chunk.
    fn close(&mut self) {
        if let Some(span) = self.open.take() {
            self.push(&Note::Run(span));
        }
    }

    fn push(&mut self, note: &Note) {
        if let Some(chunk) = self.chunks.back_mut() {
            let before = chunk.cost();
            chunk.push(note);
            self.bytes += chunk.cost() - before;
        }
    }

    pub(super) fn note_run(&mut self, span: Span) -> bool {
        if let Some(open) = &mut self.open
            && open.stream == span.stream
            && open.link == span.link
            && open.first.0 + open.count == span.first.0
            && open.index.after(open.count) == span.index
            && span.from >= open.from
            && span.to.0.saturating_sub(open.from.0) <= SHARED_US
        {
            open.count += span.count;
            open.to = open.to.max(span.to);
            return false;
        }
        // What is open belongs to the chunk before, if this one begins another.
        let is_new = self.chunk(span.from);
        self.close();
        self.open = Some(span);
        is_new
    }

    pub(super) fn note_passed(&mut self, now: WallTime, passed: &Passed) -> bool {
        let is_new = self.chunk(now);
        self.close();
        let Passed { subscription, from, to, how, .. } = *passed;
        self.push(&Note::Passed { subscription, from, count: to.0 - from.0, how });
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.until = chunk.until.max(now);
        }
        is_new
    }

    /// Forgets the oldest chunk.
    pub(super) fn forget(&mut self) -> Option<Chunk> {
        if self.chunks.len() == 1 {
            self.open = None;
        }
        let chunk = self.chunks.pop_front()?;
        self.gone += 1;
        self.streams.retain(|stream| stream.last >= self.gone);
        self.gone_subscriptions.retain(|subscription| subscription.last >= self.gone);
        self.bytes = self.count_bytes();
        Some(chunk)
    }

    /// As it is saved: the run that is open has a note of its own.
    pub(super) fn saved(&self) -> Self {
        let mut saved = self.clone();
        saved.close();
        saved
    }

    /// Where a record stands or stood, and how it had come.
    pub(super) fn place(&self, stream: StreamNumber, sequence: Sequence) -> Option<Place> {
        let is_it = |s: &Span| s.stream == stream && s.first <= sequence && sequence.0 < s.first.0 + s.count;
        let notes = self.chunks.iter().rev().flat_map(Chunk::iter);
        let spans = notes.filter_map(|note| match note {
            Note::Run(span) => Some(span),
            Note::Passed { .. } => None,
        });
        let span = self.open.into_iter().chain(spans).find(is_it)?;
        let index = span.index.after(sequence.0 - span.first.0);
        Some(Place { index, from: span.from, to: span.to, link: span.link })
    }

    /// In which ways subscriptions have passed over what stands at an index: of each the newest note counts.
    pub(super) fn passed_at(&self, index: Index) -> BTreeMap<SubscriptionNumber, How> {
        let mut found = BTreeMap::new();
        for note in self.chunks.iter().flat_map(Chunk::iter) {
            match note {
                Note::Passed { subscription, from, count, how }
                    if from <= index && index < from.after(count) =>
                {
                    found.insert(subscription, how);
                }
                Note::Passed { .. } | Note::Run(_) => {}
            }
        }
        found
    }
}

#[cfg(test)]
pub(super) mod tests;
