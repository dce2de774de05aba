//! One group: its records' places, its streams, its subscriptions.

use super::meter::Meter;
use super::producer::Producers;
use super::stream::Stream;
use super::subscription::{Gap, Subscription, SubscriptionNumber};
use crate::id::{GroupName, GroupNumber, Index, SessionId, StreamNumber, SubscriptionName, WallTime};
use crate::limits;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{GapCause, RefusalCode};
use crate::wire::frame::PutDone;

/// One group or queue.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: GroupName,
    pub(super) number: GroupNumber,
    pub(super) incarnation: u32,
    pub(super) queue: bool,
    pub(super) made: WallTime,
    pub(super) settings: Box<GroupSettings>,
    /// The index of the next record.
    pub(super) next: Index,
    /// Everything below is durable and may be delivered.
    pub(super) durable: Index,
    /// Everything below was let go.
    pub(super) low: Index,
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
    /// How often this relay became a member or ceased to be one.
    pub(super) membership: u64,
    pub(super) meter: Meter,
    /// Where the relays' own records stand (GENESIS, MARK, SEAL), in order: they are no messages.
    pub(super) marks: Vec<Index>,
    /// What only groups with traffic have.
    pub(super) traffic: Option<Box<Traffic>>,
}

/// A read that is on its way.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) from: Index,
    /// What lies before was durable when it was asked for.
    pub(super) end: Index,
    /// Subscriptions that wait for it.
    pub(super) waiting: Vec<SubscriptionNumber>,
}

/// What only groups with traffic have.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) producers: Producers,
    pub(super) books: GroupBooks,
    /// Puts at level `consumed`: the index after their last record, in order.
    pub(super) consumed: Vec<(Index, SessionId, PutDone)>,
    /// Reads that are on their way.
    pub(super) fetches: Vec<Fetch>,
    /// Subscriptions that were evicted and not made again, with what they are owed from, the
    /// oldest first.
    pub(super) evicted: Vec<(SubscriptionName, Index)>,
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
    pub(super) fn refuse(&mut self, code: RefusalCode, count: u64) {
        match self.refused.iter_mut().find(|(c, _)| *c == code) {
            Some((_, n)) => *n += count,
            None => self.refused.push((code, count)),
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
            next: Index(1),
            durable: Index(1),
            low: Index(1),
            streams: Vec::new(),
            own: None,
            subscriptions: Vec::new(),
            attached: Vec::new(),
            membership: 0,
            meter: Meter::default(),
            marks: Vec::new(),
            traffic: None,
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

    /// Notes that `count` records from `first` on are the relays' own.
    pub(super) fn mark(&mut self, first: Index, count: u32) {
        self.marks.extend((0..u64::from(count)).map(|i| first.after(i)));
    }

    /// Messages in the backlog of a subscription, up to `end`.
    pub(super) fn backlog(&self, subscription: &Subscription, end: Index) -> u64 {
        let cursor = &subscription.cursor;
        let open = |mark: &&Index| cursor.next_open(**mark, mark.after(1)).is_some();
        let marks = self.marks.iter().filter(|mark| **mark < end).filter(open).count() as u64;
        subscription.held(end).saturating_sub(marks)
    }

    /// Messages from `from` on, synced or not.
    pub(super) fn messages_from(&self, from: Index) -> u64 {
        let marks = self.marks.iter().filter(|mark| **mark >= from).count() as u64;
        self.next.0.saturating_sub(from.0).saturating_sub(marks)
    }

    /// The lowest floor of all subscriptions; the end when there is none.
    pub(super) fn owed(&self) -> Index {
        self.subscriptions.iter().map(|s| s.cursor.floor()).min().unwrap_or(self.next).min(self.next)
    }

    /// The first index to keep by the group's history settings.
    pub(super) fn history(&self, now: WallTime) -> Index {
        let settings = &self.settings;
        let by_count = settings.history_count.map(|n| Index(self.next.0.saturating_sub(n).max(1)));
        let by_bytes = settings.history_bytes.map(|n| self.meter.index_of_last_bytes(n));
        let by_age = settings.history_age_ms.map(|ms| self.meter.index_at(before(now, ms)));
        [by_count, by_bytes, by_age].into_iter().flatten().min().unwrap_or(self.next)
    }

    /// The first index that the group's limits let anybody keep.
    pub(super) fn limit(&self, now: WallTime) -> Index {
        let settings = &self.settings;
        let by_count = settings.max_count.map(|n| Index(self.next.0.saturating_sub(n).max(1)));
        let by_bytes = settings.max_bytes.map(|n| self.meter.index_of_last_bytes(n));
        let by_age = settings.max_age_ms.map(|ms| self.meter.index_behind(before(now, ms)));
        [by_count, by_bytes, by_age].into_iter().flatten().max().unwrap_or(self.low).min(self.durable)
    }
}

fn before(now: WallTime, ms: u64) -> WallTime {
    WallTime(now.0.saturating_sub(ms.saturating_mul(1000)))
}
