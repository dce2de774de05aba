//! One group: its records' places, its streams, its subscriptions.

use super::cursor::Cursor;
use super::forward::Spread;
use super::input::Now;
use super::levels::Awaited;
use super::loss::Uncertain;
use super::memory::Memory;
use super::meter::Meter;
use super::order::{Arrival, Order, Span};
use super::producer::{Novelty, Producers};
use super::stream::Stream;
use super::subscription::{Gap, Subscription, SubscriptionNumber};
use crate::id::{
    GroupName, GroupNumber, Index, LinkId, ProducerId, ProducerSequence, StreamNumber, SubscriptionName,
    Time, WallTime,
};
use crate::limits;
use crate::topology::settings::{Fifo, GroupSettings};
use crate::wire::body::{GapCause, RefusalCode};
use crate::wire::run::RunHeader;

/// One group or queue.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: GroupName,
    pub(super) number: GroupNumber,
    pub(super) incarnation: u32,
    pub(super) queue: bool,
    pub(super) made: WallTime,
    pub(super) settings: Box<GroupSettings>,
    /// The hash of what a topology last said of it that was heeded.
    pub(super) planned: Option<u64>,
    /// The index of the next record.
    pub(super) next: Index,
    /// Everything below is durable and may be delivered.
    pub(super) durable: Index,
    /// Where the last run ends that came from a neighbour and before which nothing stands that is
    /// on no disk yet.
    pub(super) arrived: Index,
    /// Where the records ended when one of the streams was moved on.
    pub(super) moved_at: Index,
    /// Where it ended when this relay started.
    pub(super) begun: Index,
    /// Everything below was let go.
    pub(super) low: Index,
    /// The floors of all subscriptions that are on disk have passed everything below.
    pub(super) settled: Index,
    /// In order of their numbers; finished ones are forgotten.
    pub(super) streams: Vec<Stream>,
    /// This relay's own stream of this epoch, once there is one.
    pub(super) own: Option<StreamNumber>,
    /// In order of their numbers.
    #[expect(
        clippy::vec_box,
        reason = "one group usually has one; a vector of the things themselves begins with room for four"
    )]
    pub(super) subscriptions: Vec<Box<Subscription>>,
    /// Those that somebody receives from.
    pub(super) attached: Vec<SubscriptionNumber>,
    /// The membership that ends when it is on the disk that its last subscription is gone.
    pub(super) leaving: Option<u64>,
    /// How often this relay became a member or ceased to be one.
    pub(super) membership: u64,
    /// The membership in which it has been a member without a break.
    pub(super) member_since: u64,
    /// Its first subscription was made as the log is read, and that it is a member comes next.
    pub(super) begins_anew: bool,
    pub(super) meter: Meter,
    /// Where the relays' own records stand (GENESIS, MARK, SEAL, LOSS), in order: they are no messages.
    pub(super) marks: Vec<Index>,
    /// Messages of producers that came here before by another origin, in order, half-open: they
    /// are passed on like others, and delivered to nobody (R1).
    pub(super) repeats: Vec<(Index, Index)>,
    /// The order of producers, if messages are handed out in it.
    pub(super) order: Option<Box<Order>>,
    /// What is remembered of messages, also of those that were let go.
    pub(super) memory: Option<Box<Memory>>,
    /// Where what was damaged and fetched again is.
    pub(super) annexes: Vec<super::repair::Annex>,
    /// It has no name, but is what a subscription of another group has brought along.
    pub(super) remnant: Option<Box<super::remnant::Remnant>>,
    /// What only groups with traffic have.
    pub(super) traffic: Option<Box<Traffic>>,
    /// What only groups have in which other relays take part.
    pub(super) spread: Option<Box<Spread>>,
}

/// A read of a group's backlog that is on its way.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub(super) from: Index,
    /// What was durable when it was asked for: the log has everything below.
    pub(super) end: Index,
    pub(super) waiting: Vec<Waiter>,
}

/// Who waits for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    Subscription(SubscriptionNumber),
    Link(LinkId),
    /// A message that is looked for.
    Lookup(u64),
    /// A pull that is answered, by its number.
    Pull(u64),
    /// What is copied of a subscription that leaves.
    Copy(super::subscription::SubscriptionKey),
}

/// What only groups with traffic have.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    pub(super) producers: Producers,
    pub(super) books: GroupBooks,
    /// Puts that wait for more than this relay's disk, in order.
    pub(super) awaited: Vec<Awaited>,
    /// Subscriptions that wait for the same read.
    pub(super) fetches: Vec<Fetch>,
    /// Subscriptions that were evicted and not made again, with what they are owed from, the
    /// oldest first.
    pub(super) evicted: Vec<(SubscriptionName, Index)>,
    /// Messages that may be lost, and of which the group's streams do not say so yet.
    pub(super) uncertain: Option<Uncertain>,
    /// When something was put here last.
    pub(super) last_put: Time,
}

/// Messages of puts since the relay was started.
#[derive(Debug, Default, Clone)]
pub(super) struct GroupBooks {
    pub(super) put: u64,
    pub(super) accepted: u64,
    pub(super) repeats: u64,
    pub(super) unsynced: u64,
    pub(super) refused: Vec<(RefusalCode, u64)>,
}

impl GroupBooks {
    /// The accounts of a group that is gone.
    pub(super) fn add(&mut self, more: &Self) {
        self.put += more.put;
        self.accepted += more.accepted;
        self.repeats += more.repeats;
        self.unsynced += more.unsynced;
        more.refused.iter().for_each(|(code, count)| self.refuse(*code, *count));
    }

    /// So many messages are durable.
    pub(super) fn settle(&mut self, count: u32) {
        self.unsynced -= u64::from(count);
        self.accepted += u64::from(count);
    }

    pub(super) fn refuse(&mut self, code: RefusalCode, count: u64) {
        match self.refused.iter_mut().find(|(c, _)| *c == code) {
            Some((_, n)) => *n += count,
            None => self.refused.push((code, count)),
        }
    }
}

impl Traffic {
    /// Somebody waits for a read. True: nobody has asked for it yet.
    pub(super) fn ask_for(&mut self, from: Index, end: Index, waiter: Waiter) -> bool {
        match self.fetches.iter_mut().find(|fetch| fetch.from == from) {
            Some(fetch) => {
                fetch.waiting.push(waiter);
                false
            }
            None => {
                self.fetches.push(Fetch { from, end, waiting: vec![waiter] });
                true
            }
        }
    }
}

impl Group {
    pub(super) fn new(number: GroupNumber, name: GroupName, incarnation: u32, made: WallTime) -> Self {
        Self {
            name,
            number,
            incarnation,
            queue: false,
            made,
            settings: Box::default(),
            planned: None,
            next: Index(1),
            durable: Index(1),
            arrived: Index(1),
            moved_at: Index(0),
            begun: Index(1),
            low: Index(1),
            settled: Index(1),
            streams: Vec::new(),
            own: None,
            subscriptions: Vec::new(),
            attached: Vec::new(),
            leaving: None,
            membership: 0,
            member_since: 0,
            begins_anew: false,
            meter: Meter::default(),
            marks: Vec::new(),
            repeats: Vec::new(),
            order: None,
            memory: None,
            annexes: Vec::new(),
            remnant: None,
            traffic: None,
            spread: None,
        }
    }

    pub(super) fn traffic(&mut self) -> &mut Traffic {
        self.traffic.get_or_insert_default()
    }

    pub(super) fn find(&self, number: SubscriptionNumber) -> Option<usize> {
        self.subscriptions.binary_search_by_key(&number, |s| s.number).ok()
    }

    pub(super) fn stream(&mut self, number: StreamNumber) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|s| s.number == number)
    }

    /// Remembers for its owner that a subscription was evicted.
    pub(super) fn note_evicted(&mut self, name: SubscriptionName, from: Index) {
        let evicted = &mut self.traffic().evicted;
        evicted.retain(|(other, _)| *other != name);
        if evicted.len() == limits::EVICTED_MAX {
            evicted.remove(0);
        }
        evicted.push((name, from));
    }

    /// What a subscription of this name is owed from before it begins at `start`; forgets it.
    pub(super) fn take_evicted(&mut self, name: &SubscriptionName, start: Index) -> Option<Gap> {
        let evicted = &mut self.traffic.as_mut()?.evicted;
        let (_, from) = evicted.remove(evicted.iter().position(|(other, _)| other == name)?);
        (from < start).then_some(Gap { from, to: start, cause: GapCause::Evicted })
    }

    /// Takes them over as they were saved: those of a remnant were not in order in an older program.
    pub(super) fn restore_marks(&mut self, mut marks: Vec<Index>) {
        marks.sort_unstable();
        self.marks = marks;
    }

    /// Notes that `count` records from `first` on are the relays' own.
    pub(super) fn mark(&mut self, first: Index, count: u32) {
        // In order: a place that has no record in a remnant may be noted behind one that comes after it.
        let place = self.marks.partition_point(|mark| *mark < first);
        self.marks.splice(place..place, (0..u64::from(count)).map(|i| first.after(i)));
    }

    /// Takes what a run of another origin says of its producer, and notes which of its messages
    /// came before by another way.
    pub(super) fn note_producer(&mut self, first: Index, header: &RunHeader, arrival: Arrival) {
        let Some((producer, header_from)) = header.producer else { return };
        let count = header.count;
        let new = match self.traffic().producers.novelty_from_afar(producer, header_from, count) {
            Novelty::New => vec![(0, count)],
            Novelty::Part(new) => new,
            Novelty::Repeat => Vec::new(),
        };
        let mut at = 0;
        for (from, to) in new.iter().copied().chain([(count, count)]) {
            if at < from {
                self.repeats.push((first.after(u64::from(at)), first.after(u64::from(from))));
                self.mark(first.after(u64::from(at)), from - at);
            }
            if from < to {
                let sequence = ProducerSequence(header_from.0 + u64::from(from));
                self.note_order(first.after(u64::from(from)), (producer, sequence), to - from, arrival);
            }
            at = to;
        }
        // By this relay's clock: that of the origin may be far behind, and what it took may come late.
        let producers = &mut self.traffic().producers;
        producers.insert((producer, header_from), count, arrival.wall, false);
        for (from, to) in new {
            let sequence = ProducerSequence(header_from.0 + u64::from(from));
            producers.note_afar((producer, sequence), to - from);
        }
    }

    /// Notes new messages of a producer for the order in which they are handed out.
    pub(super) fn note_order(
        &mut self,
        index: Index,
        (producer, first): (ProducerId, ProducerSequence),
        count: u32,
        arrival: Arrival,
    ) {
        if let Some(order) = &mut self.order {
            order.insert(Span { index, count, producer, first: first.0 }, arrival);
        }
    }

    /// Settings that were made before a restart.
    pub(super) fn replay_settings(&mut self, settings: Box<GroupSettings>) {
        self.settings = settings;
        self.heed_fifo();
    }

    /// The settings have changed, or were read: keeps the order of producers from now on, or no longer.
    pub(super) fn heed_fifo(&mut self) {
        match self.settings.fifo {
            Fifo::Producer if self.order.is_none() => {
                let known = self.traffic.as_ref().map(|traffic| &traffic.producers);
                self.order = Some(Box::new(known.map(Order::begin).unwrap_or_default()));
            }
            Fifo::Producer => {}
            Fifo::Origin => self.order = None,
        }
    }

    /// When something arrives now that is before its turn, how long it waits at the most.
    pub(super) fn arrival(&self, now: Now) -> Arrival {
        Arrival { wall: now.wall, until: now.time.after_ms(self.settings.producer_hold_ms()) }
    }

    /// Messages in the backlog of a subscription, up to `end`.
    pub(super) fn backlog(&self, subscription: &Subscription, end: Index) -> u64 {
        self.backlog_from(subscription, Index(0), end)
    }

    /// The same of what stands at or behind `from`.
    pub(super) fn backlog_from(&self, subscription: &Subscription, from: Index, end: Index) -> u64 {
        let cursor = &subscription.cursor;
        cursor.count_open(from, end).saturating_sub(own_open(&self.marks, cursor, (from, end)))
    }

    /// Messages from `from` on, synced or not.
    pub(super) fn messages_from(&self, from: Index) -> u64 {
        let marks = marks_in(&self.marks, (from, Index(u64::MAX))).len() as u64;
        self.next.0.saturating_sub(from.0).saturating_sub(marks)
    }

    /// Where the last so many messages before `end` begin; the relays' own records are none.
    pub(super) fn last_messages(&self, count: u64, end: Index) -> Index {
        let mut from = end.0.saturating_sub(count);
        for mark in self.marks.iter().rev().filter(|mark| **mark < end) {
            // One just before them goes with them: that alone would be no loss to tell of.
            if mark.0 + 1 < from {
                break;
            }
            from = from.saturating_sub(1);
        }
        Index(from.max(1))
    }

    /// The lowest floor of all subscriptions; the end when there is none.
    pub(super) fn owed(&self) -> Index {
        self.owed_here().min(self.owed_elsewhere())
    }

    /// What other relays may still need: what was not released.
    pub(super) fn owed_elsewhere(&self) -> Index {
        if self.spread.as_ref().is_none_or(|spread| !spread.has_others) {
            return self.next;
        }
        self.streams.iter().filter_map(Stream::needed_from).min().unwrap_or(self.next).max(self.low)
    }

    /// The lowest floor of all subscriptions; the end when there is none.
    pub(super) fn owed_here(&self) -> Index {
        self.subscriptions.iter().map(|s| s.cursor.floor()).min().unwrap_or(self.next).min(self.next)
    }

    /// The last subscription is gone. What was said goes on until that is on the disk: gives which membership
    /// ends then, unless there is a subscription again.
    pub(super) fn end_membership(&mut self) -> Option<u64> {
        self.membership += u64::from(self.subscriptions.is_empty());
        self.subscriptions.is_empty().then_some(self.membership)
    }

    /// The own membership has been said to have this version: higher than before, if it was
    /// said while this relay did not know.
    pub(super) fn raise_membership(&mut self, version: u64) {
        if self.member_since == self.membership {
            self.member_since = self.member_since.max(version);
        }
        self.membership = self.membership.max(version);
    }

    /// The own membership is said again in a version above this, and goes on.
    pub(super) fn raise_above(&mut self, version: u64) {
        self.membership = self.membership.max(version) + 1;
    }

    /// The membership since which this relay is a member, if it is one.
    pub(super) fn member_for(&self) -> Option<u64> {
        (!self.subscriptions.is_empty()).then_some(self.member_since)
    }

    /// Where what may be delivered ends: it is durable here, or at its origin, which has it on disk
    /// before it sends it. So a message waits for one disk on its way, however many relays.
    pub(super) fn deliverable(&self) -> Index {
        self.durable.max(self.arrived)
    }

    /// What stands before it every subscription is done with, durably.
    pub(super) fn floor_on_disk(&self) -> Index {
        self.owed_here().min(self.settled)
    }

    /// Whether every subscription is done with what stands before `end`, durably.
    pub(super) fn is_consumed(&self, end: Index) -> bool {
        self.owed_here() >= end && (self.subscriptions.is_empty() || self.settled >= end)
    }

    /// The first index to keep by the group's history settings.
    pub(super) fn history(&self, now: WallTime) -> Index {
        let settings = &self.settings;
        let by_count = settings.history_count.map(|n| self.last_messages(n, self.next));
        let by_bytes = settings.history_bytes.map(|n| self.meter.index_of_last_bytes(n));
        let by_age = settings.history_age_ms.map(|ms| self.meter.index_at(before(now, ms)));
        [by_count, by_bytes, by_age].into_iter().flatten().min().unwrap_or(self.next)
    }

    /// The first index that the group's limits let anybody keep.
    pub(super) fn limit(&self, now: WallTime) -> Index {
        let settings = &self.settings;
        let by_count = settings.max_count.map(|n| self.last_messages(n, self.next));
        let by_bytes = settings.max_bytes.map(|n| self.meter.index_of_last_bytes(n));
        let by_age = settings.max_age_ms.map(|ms| self.meter.index_at(before(now, ms)));
        [by_count, by_bytes, by_age].into_iter().flatten().max().unwrap_or(self.low).min(self.durable)
    }
}

fn before(now: WallTime, ms: u64) -> WallTime {
    WallTime(now.0.saturating_sub(ms.saturating_mul(1000)))
}

/// Records of the relays' own in a range that a cursor is not done with; `marks`, where they stand, ascend.
pub(super) fn own_open(marks: &[Index], cursor: &Cursor, (from, to): (Index, Index)) -> u64 {
    let open = |mark: &&Index| cursor.next_open(**mark, mark.after(1)).is_some();
    marks_in(marks, (from, to)).iter().filter(open).count() as u64
}

/// Those of them in a range.
pub(super) fn marks_in(marks: &[Index], (from, to): (Index, Index)) -> &[Index] {
    let (begin, end) = (marks.partition_point(|mark| *mark < from), marks.partition_point(|mark| *mark < to));
    &marks[begin..end.max(begin)]
}
