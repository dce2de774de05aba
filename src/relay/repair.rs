//! Damage in the middle of the log is fetched again from others (R16, R17).
//!
//! The log gives indexes that it has lost as missing. Before a subscription is told so, what stood
//! there is pulled, as far as it is known which records these were: this relay remembers where
//! runs of each stream begin, of many of them only some. They come as
//! runs whose sequences are known here already, and would be dropped; so they are kept in an
//! **annex**: a group of the log that belongs to nobody, in which they have the indexes that they
//! had. Where the log gives indexes of a group as missing and an annex has them, that is read
//! instead. So a repaired range keeps its old index, and what was acked stays acked.
//!
//! ```text
//!  missing ──records are known──▶ pulled ──▶ whole ──▶ read from the annex
//!     │                             │
//!     └── not known ──▶ GAP ◀───────┘ nobody has it, or it does not come
//! ```
//!
//! The annex is in the state before its first run is in the log, so its number is never given to
//! anything else. What is missing in it stays missing. It goes when the group is let go that far.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Relay;
use super::carried::Fate;
use super::delivery::with_holes;
use super::effect::Effect;
use super::group::{Fetch, Group, Waiter};
use super::input::Now;
use super::journal::Waiting;
use super::pull::StreamKey;
use super::state::Operation;
use super::stream::Stream;
use super::timer::Timer;
use crate::id::{GroupNumber, Index, LinkId, Sequence, StreamNumber, Time};
use crate::limits;
use crate::log::{Entry, MissingCause, Piece, RunEntry, Urgency};
use crate::wire::run::Run;

/// Where what was fetched again of a group is kept: indexes, half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Annex {
    #[serde(rename = "n")]
    pub(super) number: GroupNumber,
    #[serde(rename = "f")]
    pub(super) from: Index,
    #[serde(rename = "t")]
    pub(super) to: Index,
}

/// Indexes that are being fetched again.
#[derive(Clone, Debug)]
struct Repair {
    annex: Annex,
    key: StreamKey,
    stream: StreamNumber,
    /// The first index that is not there again, and the sequence of what stood there.
    at: Index,
    next: Sequence,
    /// How far it was when it was pulled last.
    pulled_at: Index,
    deadline: Time,
    /// Reads that wait for it.
    parked: Vec<Fetch>,
}

impl Repair {
    fn covers(&self, group: GroupNumber, index: Index) -> bool {
        self.key.group == group && (self.annex.from..self.annex.to).contains(&index)
    }
}

/// All repairs of a relay.
#[derive(Clone, Debug, Default)]
pub(super) struct Repairs {
    active: Vec<Repair>,
    /// Whose annexes they are.
    pub(super) annexes: BTreeMap<GroupNumber, GroupNumber>,
}

impl Repairs {
    pub(super) fn next_time(&self) -> Option<Time> {
        self.active.iter().map(|repair| repair.deadline).min()
    }
}

impl Stream {
    /// The sequence of the record at an index, if it is known that it is one of this stream: a run
    /// is remembered to begin there, or between two that are remembered stand as many records as
    /// indexes.
    fn sequence_at(&self, index: Index) -> Option<Sequence> {
        let (sequence, at) = self.place_at(index)?;
        let (end_sequence, end) = self.place_from(index.after(1)).unwrap_or((self.last.next(), self.end));
        let records = end_sequence.0.checked_sub(sequence.0)?;
        let is_dense = end > index && records == end.0 - at.0;
        (at == index || is_dense).then(|| Sequence(sequence.0 + (index.0 - at.0)))
    }
}

impl Group {
    /// The annex that has what stood at an index.
    fn annex_of(&self, index: Index) -> Option<Annex> {
        self.annexes.iter().rev().find(|annex| (annex.from..annex.to).contains(&index)).copied()
    }

    /// The record that stood at an index, if that is known.
    fn record_at(&self, index: Index) -> Option<(&Stream, Sequence)> {
        self.streams.iter().find_map(|stream| Some((stream, stream.sequence_at(index)?)))
    }
}

/// The first indexes in what was read that are damaged, and how many pieces stand before.
fn damage(pieces: &[Piece]) -> Option<(usize, Index, Index)> {
    pieces.iter().enumerate().find_map(|(place, piece)| match piece {
        Piece::Missing { from, to, cause: MissingCause::Damaged | MissingCause::Unreadable } => {
            Some((place, *from, *to))
        }
        Piece::Missing { .. } | Piece::Run(_) => None,
    })
}

impl Relay {
    /// What was read of a group: as far as it is whole. If it begins with damage, those who can
    /// wait do so until it is read elsewhere or fetched again; what is given back is for all others.
    pub(super) fn mend(
        &mut self,
        now: Now,
        number: GroupNumber,
        fetch: Fetch,
        mut pieces: Vec<Piece>,
    ) -> Option<(Fetch, Vec<Piece>)> {
        let Some((place, from, to)) = damage(&pieces) else { return Some((fetch, pieces)) };
        if place > 0 {
            // Whoever goes on reads again from there.
            pieces.truncate(place);
            return Some((fetch, pieces));
        }
        let is_mending = |repairs: &Repairs| repairs.active.iter().position(|r| r.covers(number, from));
        let annex = self.groups.get(number).and_then(|group| group.annex_of(from));
        if let (None, Some(annex)) = (is_mending(&self.repairs), annex) {
            self.read_annex(number, annex, fetch);
            return None;
        }
        // Neighbours ask others, and who asks for others does not wait for who may ask for the same.
        let waits = |waiter: &Waiter| matches!(waiter, Waiter::Subscription(_) | Waiter::Copy(_));
        // But others may lack what is to be had from here alone, as far as they know.
        let is_lacked = || self.is_lacked_elsewhere(number, from);
        let asks = |waiter: &Waiter| matches!(waiter, Waiter::Link(_) | Waiter::Pull(_)) && is_lacked();
        if is_mending(&self.repairs).is_none() && fetch.waiting.iter().any(|w| waits(w) || asks(w)) {
            self.begin_repair(now, number, (from, to));
        }
        let active = is_mending(&self.repairs).and_then(|place| self.repairs.active.get_mut(place));
        let Some(repair) = active else { return Some((fetch, pieces)) };
        let Fetch { from, end, waiting } = fetch;
        let (parked, others) = waiting.into_iter().partition(waits);
        repair.parked.push(Fetch { from, end, waiting: parked });
        Some((Fetch { from, end, waiting: others }, pieces))
    }

    /// Whether what stood at an index is of a stream that this relay looks after, and not released.
    fn is_lacked_elsewhere(&self, number: GroupNumber, index: Index) -> bool {
        let record = self.groups.get(number).and_then(|group| group.record_at(index));
        record.is_some_and(|(stream, sequence)| {
            sequence > stream.released && self.looks_after(&StreamKey::of(number, stream))
        })
    }

    fn read_annex(&mut self, number: GroupNumber, annex: Annex, fetch: Fetch) {
        let from = fetch.from;
        let Some(group) = self.groups.get_mut(number) else { return };
        group.traffic().fetches.push(fetch);
        self.effects.push_back(Effect::Fetch { group: annex.number, from, bytes_max: limits::READ_BYTES });
    }

    /// An annex was read: for those who read its group there.
    pub(super) fn on_annex_read(
        &mut self,
        now: Now,
        (number, annex): (GroupNumber, GroupNumber),
        from: Index,
        pieces: Vec<Piece>,
    ) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let end = group.annexes.iter().find(|a| a.number == annex).map_or(from, |annex| annex.to);
        let fetches = &mut group.traffic().fetches;
        let Some(place) = fetches.iter().position(|fetch| fetch.from == from) else { return };
        let fetch = fetches.swap_remove(place);
        // In an annex nothing is let go alone: what is not there is missing.
        let pieces = with_holes(pieces, from..end, Index(0));
        self.give_fetched(now, number, fetch, pieces);
    }

    /// Pulls what stood at these indexes, if that is known.
    fn begin_repair(&mut self, now: Now, number: GroupNumber, (from, to): (Index, Index)) {
        let is_possible = self.room
            && self.links.up().next().is_some()
            && self.repairs.active.len() < limits::REPAIRS_MAX
            && self.counters.groups < u32::MAX;
        let Some(group) = self.groups.get(number).filter(|_| is_possible) else { return };
        if group.annexes.len() >= limits::ANNEXES_MAX {
            return;
        }
        let Some((stream, next)) = group.record_at(from) else { return };
        let key = StreamKey::of(number, stream);
        let stream = stream.number;
        let annex = Annex { number: GroupNumber(self.counters.groups + 1), from, to };
        let begun = Operation::AnnexBegun { group: number, annex };
        self.journal.append(&mut self.effects, Entry::State(begun.encode()), Urgency::Ride);
        self.add_annex(number, annex);
        let deadline = now.time.after_ms(limits::REPAIR_MS);
        let parked = Vec::new();
        let repair = Repair { annex, key, stream, at: from, next, pulled_at: from, deadline, parked };
        self.repairs.active.push(repair);
        self.timers.set_by(Timer::Pulls, deadline);
        self.pull_missing(now, annex.number);
    }

    /// Asks for what is missing from where a repair has come to.
    fn pull_missing(&mut self, now: Now, annex: GroupNumber) {
        let Some(repair) = self.repairs.active.iter_mut().find(|r| r.annex.number == annex) else { return };
        repair.pulled_at = repair.at;
        // At the most: what stood there may be of other streams too.
        let last = Sequence(repair.next.0 + (repair.annex.to.0 - repair.at.0) - 1);
        let (key, next) = (repair.key.clone(), repair.next);
        self.pull_range(now, key, (next, last));
    }

    /// A group has an annex: decided now or before.
    pub(super) fn add_annex(&mut self, number: GroupNumber, annex: Annex) {
        self.counters.groups = self.counters.groups.max(annex.number.0);
        if let Some(group) = self.groups.get_mut(number) {
            group.annexes.push(annex);
            self.repairs.annexes.insert(annex.number, number);
        }
    }

    /// A run has come that is known here: perhaps it is missing all the same.
    pub(super) fn take_repaired(
        &mut self,
        now: Now,
        link: LinkId,
        (number, stream): (GroupNumber, StreamNumber),
        (age_ms, run): (u32, &Run),
        fate: Fate,
    ) {
        let me = &self.options.relay;
        let (first, end) = (run.header.first, run.header.end());
        let is_it = |repair: &&mut Repair| {
            let is_next = first <= repair.next && repair.next < end && repair.at < repair.annex.to;
            is_next && repair.key.group == number && repair.stream == stream
        };
        let fits = self.fits(run);
        let Some(repair) = self.repairs.active.iter_mut().find(is_it).filter(|_| fate == Fate::Repeat) else {
            return;
        };
        if super::lost::in_place(run).is_some() {
            // The record itself may be somewhere.
            return;
        }
        if !fits {
            // It was here when segments were larger. What waits for it is told of a gap when its time is over.
            return self.warn_of_length(number);
        }
        let Some(index) = repair.at.0.checked_sub(repair.next.0 - first.0) else { return };
        // What was put here is owed to everybody who was here.
        let link = if repair.key.origin == *me { LinkId(0) } else { link };
        let (group, first_index) = (repair.annex.number, Index(index));
        let entry =
            RunEntry { group, stream, first_index, arrived: now.wall, age_ms, link, run: run.clone() };
        self.journal.append(&mut self.effects, Entry::Run(entry), Urgency::Sync);
        repair.at = repair.at.after(end.0 - repair.next.0);
        repair.next = end;
        repair.deadline = now.time.after_ms(limits::REPAIR_MS);
        if repair.at >= repair.annex.to {
            self.journal.wait(Waiting::Repaired { annex: group });
        } else {
            self.go_on(now, number, group);
        }
    }

    /// A repair has come to another record: of the same stream, which is on its way, or of another.
    fn go_on(&mut self, now: Now, number: GroupNumber, annex: GroupNumber) {
        let Some(repair) = self.repairs.active.iter_mut().find(|r| r.annex.number == annex) else { return };
        let record = self.groups.get(number).and_then(|group| group.record_at(repair.at));
        match record {
            Some((stream, next)) if (stream.number, next) != (repair.stream, repair.next) => {
                (repair.stream, repair.next) = (stream.number, next);
                (repair.key.origin, repair.key.epoch) = (stream.origin.clone(), stream.epoch);
                self.pull_missing(now, annex);
            }
            Some(_) => {}
            // Nobody knows what stood there: what has come is there when it is on the disk.
            None => self.journal.wait(Waiting::Repaired { annex }),
        }
    }

    /// A pull has ended: what is still missing is pulled again if something has come.
    pub(super) fn after_repair_pull(&mut self, now: Now, key: &StreamKey) {
        let missing = self.repairs.active.iter().filter(|r| r.key == *key && r.at < r.annex.to);
        let missing: Vec<(GroupNumber, bool)> =
            missing.map(|repair| (repair.annex.number, repair.at > repair.pulled_at)).collect();
        for (annex, has_come) in missing {
            if has_come {
                self.pull_missing(now, annex);
            } else {
                self.end_repair(annex);
            }
        }
    }

    /// Whether what is pulled of a stream is known here, and damaged.
    pub(super) fn is_repairing(&self, key: &StreamKey) -> bool {
        self.repairs.active.iter().any(|repair| repair.key == *key)
    }

    /// Repairs whose time is over: what has come is there, the rest is missing.
    pub(super) fn end_late_repairs(&mut self, now: Now) {
        let late = self.repairs.active.iter().filter(|repair| repair.deadline <= now.time);
        for annex in late.map(|repair| repair.annex.number).collect::<Vec<_>>() {
            self.end_repair(annex);
        }
    }

    /// A repair is over: whoever has waited reads again.
    pub(super) fn end_repair(&mut self, annex: GroupNumber) {
        let Some(place) = self.repairs.active.iter().position(|r| r.annex.number == annex) else { return };
        let repair = self.repairs.active.swap_remove(place);
        let number = repair.key.group;
        let Some(group) = self.groups.get_mut(number) else { return };
        for Fetch { from, end, waiting } in repair.parked {
            for waiter in waiting {
                if group.traffic().ask_for(from, end, waiter) {
                    let fetch = Effect::Fetch { group: number, from, bytes_max: limits::READ_BYTES };
                    self.effects.push_back(fetch);
                }
            }
        }
    }

    /// Lets go annexes of which the group needs nothing any more.
    pub(super) fn release_annexes(&mut self, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number).filter(|group| !group.annexes.is_empty()) else {
            return;
        };
        let low = group.low;
        // What is read from one now is waited for: it goes the next time, or with the next start.
        let is_read = |annex: &Annex| {
            let reads = group.traffic.iter().flat_map(|traffic| &traffic.fetches);
            reads.into_iter().any(|fetch| (annex.from..annex.to).contains(&fetch.from))
        };
        let is_over = |annex: &&Annex| annex.to <= low && !is_read(annex);
        let gone: Vec<Annex> = group.annexes.iter().filter(is_over).copied().collect();
        group.annexes.retain(|annex| !gone.contains(annex));
        for annex in gone {
            self.drop_annex(annex.number);
        }
    }

    /// An annex is of no use any more.
    pub(super) fn drop_annex(&mut self, annex: GroupNumber) {
        self.end_repair(annex);
        self.repairs.annexes.remove(&annex);
        self.effects.push_back(Effect::Release { group: annex, below: Index(u64::MAX) });
    }
}
