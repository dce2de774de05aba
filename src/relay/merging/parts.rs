//! What of streams a subscription is owed at its home, and what was acked there.
//!
//! A subscription that begins with its relay's membership is owed a stream from the mark of that on; one
//! that began with what was there, from what stood there first. What stood there before it began is noted
//! when it is made ([`Group::before`]). Where something is not known for sure, less is claimed: then a
//! message may come twice, and none is lost.
//!
//! What was acked is found by reading what is left ([`Scan`]): of each stream everything before the first
//! record that stands behind the cursor's floor, and what the cursor says of those.

use std::collections::BTreeMap;

use super::super::arriving::{Arrived, done_to};
use super::super::delivery::GroupSide;
use super::super::group::Group;
use super::super::stream::Stream;
use super::super::subscription::Subscription;
use crate::id::{Epoch, Index, RelayId, Sequence, StorageId, StreamNumber, WallTime};
use crate::wire::moving::{Done, StreamPart};
use crate::wire::run::StoredRun;

type StreamName = (RelayId, Epoch);

/// What was read of a part of a subscription's backlog.
#[derive(Clone, Debug, Default)]
pub(in crate::relay) struct Scan {
    /// The first sequence that was met of each stream.
    first: BTreeMap<StreamName, Sequence>,
    /// What is done with of what was read: half-open, in order.
    acked: BTreeMap<StreamName, Vec<(Sequence, Sequence)>>,
    /// Something could not be read: what comes behind it need not be the first of its stream.
    is_blind: bool,
}

/// Adds a half-open range to others that are in order.
fn add(ranges: &mut Vec<(Sequence, Sequence)>, from: Sequence, to: Sequence) {
    match ranges.last_mut() {
        Some(last) if last.0 <= from && from <= last.1 => last.1 = last.1.max(to),
        Some(last) if from < last.0 => {
            ranges.push((from, to));
            ranges.sort_unstable();
            let all = std::mem::take(ranges);
            all.into_iter().for_each(|(from, to)| add(ranges, from, to));
        }
        Some(_) | None => ranges.push((from, to)),
    }
}

/// The parts of `ranges` that are not in any of the gaps.
fn without_gaps(subscription: &Subscription, (from, to): (Index, Index)) -> Vec<(Index, Index)> {
    let (mut at, mut found) = (from, Vec::new());
    for gap in &subscription.gaps {
        if gap.to > at && gap.from < to {
            found.push((at, gap.from));
            at = at.max(gap.to);
        }
    }
    found.push((at, to));
    found.retain(|(from, to)| from < to);
    found
}

impl Scan {
    /// Takes in a run of a stream, as far as it stands before `end`.
    pub(in crate::relay) fn read(
        &mut self,
        subscription: &Subscription,
        stream: &Stream,
        (run, end): (&StoredRun, Index),
    ) {
        let sequence = |at: Index| Sequence(run.run.header.first.0 + (at.0 - run.first_index.0));
        let (mut at, end) = (run.first_index.max(subscription.cursor.floor()), run.end_index().min(end));
        if at >= end {
            return;
        }
        let name = (stream.origin.clone(), stream.epoch);
        if !self.is_blind {
            let first = self.first.entry(name.clone()).or_insert(sequence(at));
            *first = (*first).min(sequence(at));
        }
        while at < end {
            let (open, behind) = subscription.cursor.next_open(at, end).unwrap_or((end, end));
            for (from, to) in without_gaps(subscription, (at, open)) {
                add(self.acked.entry(name.clone()).or_default(), sequence(from), sequence(to));
            }
            at = behind;
        }
    }

    /// Something is missing there.
    pub(in crate::relay) fn miss(&mut self) {
        self.is_blind = true;
    }

    /// Says of what stood before the cut what it was owed, and what was acked. `last` says how far a stream
    /// was there then.
    pub(in crate::relay) fn tell(
        &self,
        (group, subscription): (&Group, &Subscription),
        (me, storage): (&RelayId, StorageId),
        last: &dyn Fn(&Stream) -> Sequence,
        done: &mut Done,
    ) {
        for stream in &group.streams {
            let Some(from) = group.owed_from(subscription, stream, (me, storage)) else { continue };
            let name = (stream.origin.clone(), stream.epoch);
            let end = last(stream).next();
            let untold = subscription.owed_from() < subscription.cursor.floor();
            let behind = match self.first.get(&name) {
                _ if untold => stream.last_below(subscription.owed_from()).next(),
                Some(first) => *first,
                None if self.is_blind => stream.last_below(subscription.cursor.floor()).next(),
                None => end,
            };
            let part =
                |from: Sequence, to: Sequence| StreamPart { origin: name.0.clone(), epoch: name.1, from, to };
            if from < end {
                done.owed.push(part(from, end));
            }
            let mut acked = self.acked.get(&name).cloned().unwrap_or_default();
            add(&mut acked, from, behind.max(from));
            let parts = acked.into_iter().map(|(a, b)| part(a.max(from), b.min(end)));
            done.parts.extend(parts.filter(|part| part.from < part.to));
        }
    }

    /// The same of something that was brought along: what was read of it.
    pub(in crate::relay) fn tell_brought(&self, group: &Group, done: &mut Done) {
        for stream in &group.streams {
            let name = (stream.origin.clone(), stream.epoch);
            let Some(first) = self.first.get(&name) else { continue };
            let part =
                |from: Sequence, to: Sequence| StreamPart { origin: name.0.clone(), epoch: name.1, from, to };
            done.owed.push(part(*first, stream.last.next()));
            let acked = self.acked.get(&name).into_iter().flatten();
            done.parts.extend(acked.map(|(from, to)| part(*from, *to)));
        }
    }
}

/// Whether a sequence is in one of these parts, and up to where that is so.
fn part_to(parts: &[StreamPart], stream: &Stream, at: Sequence) -> (bool, Sequence) {
    let name = (&stream.origin, stream.epoch);
    let behind = parts.partition_point(|part| ((&part.origin, part.epoch), part.to) <= (name, at));
    match parts.get(behind).filter(|part| (&part.origin, part.epoch) == name) {
        Some(part) if part.from <= at => (true, part.to),
        Some(part) => (false, part.from),
        None => (false, Sequence(u64::MAX)),
    }
}

/// How far what stands in a run from `at` on is in one of these parts, if it is; else where it may be again.
fn passed_to(parts: &[StreamPart], stream: &Stream, run: &StoredRun, at: Index) -> (bool, Index) {
    let sequence = run.run.header.first.0 + (at.0 - run.first_index.0);
    let (is_in, to) = part_to(parts, stream, Sequence(sequence));
    (is_in, at.after(to.0.saturating_sub(sequence).min(1 << 40)).min(run.end_index()))
}

impl GroupSide<'_> {
    /// How far what stands in a run from `at` on is done with elsewhere, or is delivered in another place,
    /// if it is; else where it may be again.
    pub(in crate::relay) fn done_to(
        &self,
        arrived: Option<&Arrived>,
        run: &StoredRun,
        at: Index,
    ) -> (bool, Index) {
        let (is_done, mut to) = match arrived.and_then(|arrived| arrived.again) {
            Some(again) if at < again => (false, again.min(run.end_index())),
            Some(_) | None => done_to(arrived, self.streams, run, at),
        };
        if is_done {
            return (true, to);
        }
        let done = arrived.and_then(|arrived| arrived.done.as_ref()).map(|done| &done.parts);
        let own = self.remnant.map(|remnant| &remnant.own);
        for parts in done.into_iter().chain(own).filter(|parts| !parts.is_empty()) {
            let place = self.streams.binary_search_by_key(&run.stream, |s| s.number).ok();
            let Some(stream) = place.and_then(|place| self.streams.get(place)) else { continue };
            let (is_in, end) = passed_to(parts, stream, run, at);
            if is_in {
                return (true, end);
            }
            to = to.min(end);
        }
        (false, to)
    }
}

/// Puts parts in order, and makes one of those that meet.
pub(in crate::relay) fn in_order(mut parts: Vec<StreamPart>) -> Vec<StreamPart> {
    parts.sort_unstable();
    let mut joined: Vec<StreamPart> = Vec::with_capacity(parts.len());
    for part in parts {
        match joined.last_mut() {
            Some(last)
                if (&last.origin, last.epoch) == (&part.origin, part.epoch) && part.from <= last.to =>
            {
                last.to = last.to.max(part.to);
            }
            Some(_) | None => joined.push(part),
        }
    }
    joined
}

/// Where a stream begins of which an older program has noted nothing.
const NOT_KNOWN: Sequence = Sequence(u64::MAX);

impl Group {
    /// It was saved by a program that did not note where streams and subscriptions begin.
    pub(in crate::relay) fn forget_starts(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.began = NOT_KNOWN);
        self.subscriptions.iter_mut().for_each(|subscription| subscription.before = None);
    }

    /// What a subscription that begins at `start` is not owed of the streams that are here.
    pub(in crate::relay) fn before(&self, start: Index) -> Option<Vec<(StreamNumber, Sequence)>> {
        let place = |stream: &Stream| match stream.place_from(start) {
            _ if start >= self.next => stream.last,
            Some((first, _)) => Sequence(first.0.saturating_sub(1)),
            None => stream.last,
        };
        Some(self.streams.iter().map(|stream| (stream.number, place(stream))).collect())
    }

    /// The first sequence of a stream that a subscription is owed here, if that is known.
    pub(super) fn owed_from(
        &self,
        subscription: &Subscription,
        stream: &Stream,
        (me, storage): (&RelayId, StorageId),
    ) -> Option<Sequence> {
        let before = subscription.before.as_ref().filter(|_| subscription.not_before == WallTime(0))?;
        let known = before.iter().find(|(number, _)| *number == stream.number);
        let from = known.map_or(Sequence(1), |(_, last)| last.next());
        if stream.is_written_by(me, storage) {
            return Some(from);
        }
        if subscription.replays {
            return (stream.began < NOT_KNOWN).then(|| from.max(stream.began));
        }
        Some(from.max(stream.owed_from(me, self.member_since)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{GroupNumber, LinkId};
    use crate::relay::group::Group;
    use crate::relay::stream::Draft;
    use crate::wire::moving::StreamAt;
    use crate::wire::run::{Record, RunKind};

    /// What a subscription that has gone back gets again is not what another home of its name has brought along: that
    /// is delivered in its place.
    #[test]
    fn what_is_asked_for_again_is_not_what_was_brought_along() {
        let (me, origin) = ("r".parse::<RelayId>().unwrap(), "o".parse::<RelayId>().unwrap());
        let epoch = Epoch { counter: 1, storage: StorageId([9; 16]), nonce: 1 };
        let name = "g".parse().unwrap();
        let mut stream = Stream::new(StreamNumber(1), (&name, 0), origin.clone(), epoch, Index(1));
        let record = Record { payload: b"a", ..Record::default() };
        let mut body = bytes::BytesMut::new();
        (0..9).for_each(|_| record.encode(&mut body));
        let draft = Draft { count: 9, ..Draft::control(RunKind::Data, body.freeze()) };
        let run = stream.append(draft, WallTime(1));
        let mut group = Group::new(GroupNumber(1), name, 0, WallTime(1));
        group.streams.push(stream);
        let stored = StoredRun {
            stream: StreamNumber(1),
            first_index: Index(1),
            arrived: WallTime(1),
            age_ms: 0,
            link: LinkId(1),
            run,
        };
        let last = Sequence(5);
        let streams = vec![StreamAt { origin: origin.clone(), epoch, last }];
        let parts = vec![StreamPart { origin, epoch, from: Sequence(3), to: Sequence(5) }];
        let done = Some(Done { streams, parts, ..Done::default() });
        let arrived = |again| Arrived { done: done.clone(), again, ..Arrived::new(me.clone(), 7, false) };
        let side = GroupSide::of(&group, &me);
        let at = |again, index| side.done_to(Some(&arrived(again)), &stored, Index(index));
        assert_eq!(at(None, 1), (true, Index(6)), "all of it was done with at the old home");
        let again = Some(Index(8));
        assert_eq!(
            [at(again, 1), at(again, 3), at(again, 5)],
            [(false, Index(3)), (true, Index(5)), (false, Index(8))]
        );
        assert_eq!(at(Some(Index(3)), 4), (true, Index(6)), "and behind it all is as before");
    }
}
