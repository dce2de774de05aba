//! What stays of messages when they are let go (R18): notes per group ([`super::memory`]), within
//! one bound for all of them.
//!
//! What a subscription acks is not noted, since it is most: what is done and not noted was acked.
//! So one note that is missing would make an ack of something else. Notes are forgotten from the
//! oldest on only, the note of a message before all notes of what became of it. They are part of
//! snapshots; the log itself tells those of runs again that came since, and what subscriptions
//! have passed over is written before the cursors that have moved past it.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Relay;
use super::cursor::Cursor;
use super::group::Group;
use super::input::Now;
pub(super) use super::memory::{How, Memory, Passed, Place, Span};
use super::state::{Operation, put_varint, take_varint};
use super::subscription::{Removal, Subscription, SubscriptionKey, SubscriptionNumber};
use crate::id::{GroupNumber, Index, LinkId, RelayId, StreamNumber, WallTime};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::body::{GapCause, Over};
use crate::wire::run::{RunHeader, RunKind};

/// Names of links that are kept; the oldest makes way.
const LINKS_MAX: usize = 1024;

/// Messages passed over that are not written yet: then they are, whatever cursors do.
const PASSED_MAX: usize = 4096;

/// What is remembered of all groups, but for the notes themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces {
    /// The chunks of all groups, the oldest first.
    order: VecDeque<(WallTime, GroupNumber)>,
    /// Bytes that they take.
    bytes: usize,
    /// What was let go before this time may be forgotten.
    pub(super) forgotten_before: Option<WallTime>,
    /// Whom links led to, and since when.
    pub(super) links: Vec<(WallTime, LinkId, RelayId)>,
    /// What was passed over and is not written yet.
    pub(super) passed: Vec<Passed>,
}

/// Notes that a subscription has passed something over, in one note with what it passed before.
pub(super) fn pass(list: &mut Vec<Passed>, passed: Passed) {
    if passed.from >= passed.to {
        return;
    }
    match list.last_mut() {
        Some(last)
            if (last.group, last.subscription) == (passed.group, passed.subscription)
                && last.how == passed.how
                && last.to == passed.from =>
        {
            last.to = passed.to;
        }
        _ => list.push(passed),
    }
}

/// The same for the part of a range that is not done: what is acked there stays so.
pub(super) fn pass_open(
    list: &mut Vec<Passed>,
    cursor: &Cursor,
    key: SubscriptionKey,
    (from, to): (Index, Index),
    how: How,
) {
    let mut rest = from;
    while let Some(open) = cursor.next_open(rest, to) {
        pass(list, Passed::of(key, open, how));
        rest = open.1;
    }
}

impl Passed {
    pub(super) fn of(key: SubscriptionKey, (from, to): (Index, Index), how: How) -> Self {
        Self { group: key.group, subscription: key.number, from, to, how }
    }
}

impl Traces {
    /// Whom a link led to at a time.
    pub(super) fn over(&self, link: LinkId, at: WallTime) -> Over {
        if link == LinkId(0) {
            return Over::Here;
        }
        let mut known = self.links.iter().filter(|(_, number, _)| *number == link);
        let named = known.clone().rev().find(|(since, _, _)| *since <= at).or(known.next());
        named.map_or(Over::Unknown, |(_, _, neighbour)| Over::Link(neighbour.clone()))
    }

    /// The link that led to a neighbour and to no other one since.
    pub(super) fn link_to(&self, neighbour: &RelayId) -> Option<LinkId> {
        let newest = self.links.iter().rev().find(|(_, _, name)| name == neighbour)?;
        self.is_named(newest.1, neighbour).then_some(newest.1)
    }

    /// The greatest number that a link has had.
    pub(super) fn last_link(&self) -> LinkId {
        self.links.iter().map(|(_, link, _)| *link).max().unwrap_or_default()
    }

    /// A link leads to another neighbour than before.
    pub(super) fn name_link(&mut self, at: WallTime, link: LinkId, neighbour: RelayId) {
        if self.links.len() >= LINKS_MAX {
            self.links.remove(0);
        }
        self.links.push((at, link, neighbour));
    }

    fn is_named(&self, link: LinkId, neighbour: &RelayId) -> bool {
        let newest = self.links.iter().rev().find(|(_, number, _)| *number == link);
        newest.is_some_and(|(_, _, name)| name == neighbour)
    }

    /// A group is gone, with what is remembered of it.
    pub(super) fn leave(&mut self, group: &Group) {
        self.bytes = self.bytes.saturating_sub(group.memory.as_deref().map_or(0, |memory| memory.bytes));
    }

    /// Bytes that notes take in memory, about.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes what is remembered of a group.
    fn change(&mut self, group: &mut Group, at: WallTime, change: impl FnOnce(&mut Memory) -> bool) {
        let number = group.number;
        let memory: &mut Memory = group.memory.get_or_insert_with(|| Box::new(Memory::fresh()));
        let before = if memory.chunks.is_empty() { 0 } else { memory.bytes };
        if change(memory) {
            self.order.push_back((at, number));
        }
        self.bytes = (self.bytes + memory.bytes).saturating_sub(before);
    }

    /// Notes that a run of messages has come. Records of the relays' own are none.
    pub(super) fn note_run(
        &mut self,
        group: &mut Group,
        (stream, link): (StreamNumber, LinkId),
        (index, arrived): (Index, WallTime),
        header: &RunHeader,
    ) {
        if header.kind != RunKind::Data {
            return;
        }
        let Some(known) = group.streams.iter().position(|s| s.number == stream) else { return };
        let (first, count) = (header.first, u64::from(header.count));
        let span = Span { stream, first, count, index, from: arrived, to: arrived, link };
        let streams = std::mem::take(&mut group.streams);
        self.change(group, arrived, |memory| {
            let is_new = memory.note_run(span);
            memory.note_stream(&streams[known]);
            is_new
        });
        group.streams = streams;
    }

    /// Notes what was passed over.
    pub(super) fn note_passed(&mut self, group: &mut Group, at: WallTime, passed: &Passed) {
        self.change(group, at, |memory| memory.note_passed(at, passed));
    }

    /// Notes that there was such a subscription, and what it has not acked, if messages are remembered that it may
    /// have been owed. One that goes on at another relay is asked for there.
    pub(super) fn note_gone(&mut self, group: &mut Group, removed: &Subscription, removal: Removal) {
        let is_over = !removed.is_arriving() && !removed.is_spent();
        let newest = group.memory.as_deref().and_then(|memory| memory.chunks.back()).map(|chunk| chunk.until);
        let Some(at) = newest.filter(|_| is_over) else { return };
        let how = match removal {
            Removal::Wanted => How::Skipped,
            Removal::Evicted => How::Dropped(GapCause::Evicted),
            Removal::Elsewhere | Removal::Moved => return,
        };
        let key = SubscriptionKey { group: group.number, number: removed.number };
        let (mut owed, end) = (Vec::new(), group.next);
        pass_open(&mut owed, &removed.cursor, key, (removed.cursor.floor(), end), how);
        owed.iter().for_each(|passed| self.note_passed(group, at, passed));
        self.change(group, at, |memory| {
            memory.note_gone(removed, end);
            false
        });
    }
}

impl Relay {
    /// Writes what was passed over, so that it is remembered as long as what the cursors say.
    pub(super) fn write_passed(&mut self, now: Now, urgency: Urgency) {
        if self.traces.passed.is_empty() {
            return;
        }
        let passed = std::mem::take(&mut self.traces.passed);
        for list in passed.chunks(PASSED_MAX) {
            let entry = Entry::State(encode_passed(now.wall, list));
            self.journal.append(&mut self.effects, entry, urgency);
        }
        self.take_passed(now.wall, &passed);
        self.forget_traces(now);
    }

    /// A subscription is about to be removed: what it has not acked is noted, and what is noted of it can be
    /// told afterwards. What it has acked is on its way to the disk first, since the removal is read again by what
    /// cursors say there.
    pub(super) fn note_leaving(&mut self, now: Now, key: SubscriptionKey, removal: Removal) {
        let is_dirty = self.groups.subscription(key).is_some_and(|subscription| subscription.dirty);
        if is_dirty {
            self.write_cursors(now, Urgency::Sync);
        }
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let removed = group.subscriptions[place].clone();
        self.traces.note_gone(group, &removed, removal);
    }

    /// Writes it although no cursor is written, when it is much.
    pub(super) fn write_passed_if_much(&mut self, now: Now) {
        if self.traces.passed.len() >= PASSED_MAX {
            self.write_passed(now, Urgency::Ride);
        }
    }

    pub(super) fn take_passed(&mut self, at: WallTime, passed: &[Passed]) {
        for passed in passed {
            if let Some(group) = self.groups.get_mut(passed.group) {
                self.traces.note_passed(group, at, passed);
            }
        }
    }

    /// Forgets what is too old, and what there is no room for.
    pub(super) fn forget_traces(&mut self, now: Now) {
        let too_old =
            WallTime(now.wall.0.saturating_sub(self.options.trace_retention_ms.saturating_mul(1000)));
        while let Some((_, number)) = self.traces.order.front().copied() {
            let Some(group) = self.groups.get_mut(number) else {
                self.traces.order.pop_front();
                continue;
            };
            let Some(memory) = &mut group.memory else {
                self.traces.order.pop_front();
                continue;
            };
            let is_old = memory.chunks.front().is_none_or(|chunk| chunk.until < too_old);
            if !is_old && self.traces.bytes <= limits::TRACES_BYTES_MAX {
                return;
            }
            self.traces.order.pop_front();
            let before = memory.bytes;
            let forgotten = memory.forget();
            let mut after = memory.bytes;
            if memory.chunks.is_empty() {
                group.memory = None;
                after = 0;
            }
            self.traces.bytes = (self.traces.bytes + after).saturating_sub(before);
            let until = forgotten.map(|chunk| chunk.until);
            self.traces.forgotten_before = self.traces.forgotten_before.max(until);
        }
    }

    /// Something was lost of the log: what would have been noted may be missing.
    pub(super) fn forget_all_traces(&mut self, now: Now) {
        for group in self.groups.iter_mut() {
            group.memory = None;
        }
        (self.traces.bytes, self.traces.forgotten_before) = (0, Some(now.wall));
        self.traces.order.clear();
    }

    /// Counts what was read from a snapshot.
    pub(super) fn count_traces(&mut self) {
        let mut order = Vec::new();
        self.traces.bytes = 0;
        for group in self.groups.iter_mut() {
            let Some(memory) = &mut group.memory else { continue };
            memory.bytes = memory.count_bytes();
            self.traces.bytes += memory.bytes;
            order.extend(memory.chunks.iter().map(|chunk| (chunk.since, group.number)));
        }
        order.sort();
        self.traces.order = order.into();
    }

    /// A link has come up: to whom it leads is remembered with what it brings.
    pub(super) fn note_link(&mut self, now: Now, link: LinkId) {
        let Some(neighbour) = self.links.table.get(&link).map(|link| link.neighbour.clone()) else { return };
        if !self.traces.is_named(link, &neighbour) {
            let operation = Operation::LinkNamed { link, neighbour: neighbour.clone(), at: now.wall };
            self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Ride);
            self.traces.name_link(now.wall, link, neighbour);
        }
    }
}

/// The byte before a list of what was passed over.
pub(super) const TAG_PASSED: u8 = 3;

fn encode_passed(at: WallTime, list: &[Passed]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(TAG_PASSED);
    put_varint(&mut out, at.0);
    for passed in list {
        put_varint(&mut out, u64::from(passed.group.0));
        put_varint(&mut out, u64::from(passed.subscription.0));
        put_varint(&mut out, passed.from.0);
        put_varint(&mut out, passed.to.0 - passed.from.0);
        out.put_u8(passed.how.to_byte());
    }
    out.freeze()
}

/// What stands behind the tag; `None`: it is not whole.
pub(super) fn decode_passed(mut bytes: Bytes) -> Option<(WallTime, Vec<Passed>)> {
    let at = WallTime(take_varint(&mut bytes)?);
    let mut list = Vec::new();
    while !bytes.is_empty() {
        let group = GroupNumber(u32::try_from(take_varint(&mut bytes)?).ok()?);
        let subscription = SubscriptionNumber(u32::try_from(take_varint(&mut bytes)?).ok()?);
        let from = Index(take_varint(&mut bytes)?);
        let to = Index(from.0.checked_add(take_varint(&mut bytes)?)?);
        let how = How::from_byte(bytes.try_get_u8().ok()?)?;
        list.push(Passed { group, subscription, from, to, how });
    }
    Some((at, list))
}
