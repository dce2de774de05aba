//! The order of producers that move between relays, in a group with `fifo = "producer"`.
//!
//! What a producer puts at two relays comes here in two streams, and which of
//! them is faster is nobody's choice. For each producer this knows which of its
//! sequences were inserted here. A run that is inserted while a lower sequence
//! is missing is *early*:
//!
//! ```text
//!             what is missing is inserted
//!   waiting ──────────────────────────────▶ whole: to be handed out behind `after`
//!      │
//!      └── the deadline, or too many wait ─▶ given up: the same, and the receiver is told
//! ```
//!
//! It moves nothing: streams are inserted as they come (I3, I10). Subscriptions
//! look here what they come to ([`super::aside`]). All of it follows from the
//! heads of runs and the times at which they arrived, so a replay makes it again.

mod sequel;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::sequel::Sequel;
use super::input::Now;
use super::producer::Producers;
use crate::id::{Index, ProducerId, ProducerSequence, Time, WallTime};
use crate::limits;
use crate::wire::body::{Missing, UnorderedCause};

/// Records of a producer that were inserted one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) index: Index,
    pub(super) count: u32,
    pub(super) producer: ProducerId,
    /// The first one's number in the producer's sequence.
    pub(super) first: u64,
}

/// When something was inserted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) wall: WallTime,
    /// How long it waits for what is missing before it, at the most.
    pub(super) until: Time,
}

/// What became of an early run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Something before it is missing.
    #[serde(rename = "w")]
    Waiting,
    /// Everything before it is here, or belongs to another one that tells what is not.
    #[serde(rename = "k")]
    Whole,
    /// What is missing before it, from and to, was given up.
    #[serde(rename = "u")]
    GivenUp(u64, u64, UnorderedCause),
}

/// A run, or several in a row, inserted before its turn. Its key is its first index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Early {
    #[serde(rename = "e")]
    pub(super) to: Index,
    #[serde(rename = "p")]
    producer: ProducerId,
    #[serde(rename = "f")]
    first: u64,
    #[serde(rename = "t")]
    arrived: WallTime,
    #[serde(skip)]
    until: Time,
    /// Behind this index everything of its producer was passed that goes before it.
    #[serde(rename = "a")]
    after: Index,
    #[serde(rename = "s")]
    state: State,
}

impl Early {
    /// Behind which index it is to be handed out; `None`: it waits.
    pub(super) fn turn(&self) -> Option<Index> {
        (self.state != State::Waiting).then_some(self.after)
    }

    /// What the receiver is told when it is handed out.
    pub(super) fn missing(&self) -> Option<(Missing, UnorderedCause)> {
        match self.state {
            State::Waiting | State::Whole => None,
            State::GivenUp(from, to, cause) => {
                let (from, to) = (ProducerSequence(from), ProducerSequence(to));
                Some((Missing { producer: self.producer, from, to }, cause))
            }
        }
    }
}

/// The order of all producers of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    #[serde(rename = "p")]
    producers: BTreeMap<ProducerId, Sequel>,
    #[serde(rename = "e", skip_serializing_if = "BTreeMap::is_empty", default)]
    early: BTreeMap<Index, Early>,
    /// Below this early runs may have been forgotten.
    #[serde(rename = "f", default)]
    forgotten: Index,
    /// Messages that were not waited for any longer, since the group was made.
    #[serde(rename = "g", default)]
    given_up: u64,
    /// Those that wait, by producer and sequence.
    #[serde(skip)]
    waiting: BTreeMap<(ProducerId, u64), Index>,
    /// The same, the oldest first.
    #[serde(skip)]
    oldest: BTreeSet<Index>,
    /// Raised whenever one has its turn, or is forgotten.
    #[serde(skip)]
    changes: u64,
}

impl Order {
    /// The order begins now: what was there before is not waited for.
    pub(super) fn begin(known: &Producers) -> Self {
        let sequel = |(id, end, last)| (id, Sequel { floor: end, ranges: Vec::new(), last });
        Self { producers: known.ends().map(sequel).collect(), changes: 1, ..Self::default() }
    }

    /// Makes what is not saved.
    pub(super) fn rebuild(&mut self) {
        self.changes = 1;
        let waiting = self.early.iter().filter(|(_, early)| early.state == State::Waiting);
        for (index, early) in waiting {
            self.waiting.insert((early.producer, early.first), *index);
            self.oldest.insert(*index);
        }
    }

    /// A replay is over: what waits has waited since it arrived.
    pub(super) fn start(&mut self, now: Now, hold_ms: u64) {
        for index in &self.oldest {
            let Some(early) = self.early.get_mut(index) else { continue };
            let age_ms = now.wall.0.saturating_sub(early.arrived.0) / 1000;
            early.until = now.time.after_ms(hold_ms.saturating_sub(age_ms));
        }
    }

    /// From now on nothing waits for longer than this.
    pub(super) fn shorten(&mut self, until: Time) {
        for index in &self.oldest {
            if let Some(early) = self.early.get_mut(index) {
                early.until = early.until.min(until);
            }
        }
    }

    /// Records of a producer were inserted that had not come before.
    pub(super) fn insert(&mut self, span: Span, arrival: Arrival) {
        let Span { index, count, producer, first } = span;
        let (end, to) = (index.after(u64::from(count)), first.saturating_add(u64::from(count)));
        for (_, place) in self.waiting.range((producer, first)..=(producer, u64::MAX)) {
            if let Some(early) = self.early.get_mut(place) {
                early.after = end;
            }
        }
        let known = self.known(producer);
        known.last = known.last.max(arrival.wall);
        // One that is known waits already, or did: it may have come twice, from who has forgotten it since.
        let is_early = first > known.floor && !known.has(first);
        known.insert(first, to);
        let (floor, lowest) = (known.floor, known.ranges.first().copied());
        let has_many = known.ranges.len() > limits::PRODUCER_RANGES_MAX;
        if is_early {
            self.hold(span, arrival);
        }
        self.settle(producer, floor);
        if let Some((lowest, _)) = lowest.filter(|_| has_many) {
            self.give_up(producer, lowest, UnorderedCause::Bound);
        }
    }

    /// What is known of a producer, also of one that is met for the first time.
    fn known(&mut self, producer: ProducerId) -> &mut Sequel {
        if !self.producers.contains_key(&producer) && self.producers.len() >= limits::PRODUCERS_MAX {
            self.forget_oldest();
        }
        // Sequences begin with 1.
        let met = || Sequel { floor: 1, ranges: Vec::new(), last: WallTime(0) };
        self.producers.entry(producer).or_insert_with(met)
    }

    /// Notes that a run came before its turn.
    fn hold(&mut self, span: Span, arrival: Arrival) {
        let Span { index, count, producer, first } = span;
        let end = index.after(u64::from(count));
        if let Some((from, last)) = self.early.range_mut(..index).next_back()
            && (last.to, last.producer, last.state) == (index, producer, State::Waiting)
            && last.first + (last.to.0 - from.0) == first
        {
            last.to = end;
            return;
        }
        if self.oldest.len() >= limits::EARLY_RUNS_MAX
            && let Some(oldest) = self.oldest.first().and_then(|index| self.early.get(index)).copied()
        {
            self.give_up(oldest.producer, oldest.first, UnorderedCause::Bound);
        }
        let Arrival { wall: arrived, until } = arrival;
        let early = Early { to: end, producer, first, arrived, until, after: index, state: State::Waiting };
        self.early.insert(index, early);
        self.waiting.insert((producer, first), index);
        self.oldest.insert(index);
        if self.early.len() > 2 * limits::EARLY_RUNS_MAX {
            let done = self.early.keys().find(|index| !self.oldest.contains(index)).copied();
            if let Some(forgotten) = done.and_then(|index| self.early.remove(&index)) {
                self.forgotten = self.forgotten.max(forgotten.to);
                self.changes += 1;
            }
        }
    }

    /// Nothing below `floor` is missing of a producer: what has waited for it has its turn.
    fn settle(&mut self, producer: ProducerId, floor: u64) {
        let done: Vec<u64> =
            self.waiting.range((producer, 0)..(producer, floor)).map(|((_, first), _)| *first).collect();
        for first in done {
            let Some(index) = self.waiting.remove(&(producer, first)) else { continue };
            self.oldest.remove(&index);
            self.changes += 1;
            if let Some(early) = self.early.get_mut(&index)
                && early.state == State::Waiting
            {
                early.state = State::Whole;
            }
        }
    }

    /// What is missing below `sequence` is not waited for any longer.
    fn give_up(&mut self, producer: ProducerId, sequence: u64, cause: UnorderedCause) {
        let Some(known) = self.producers.get_mut(&producer) else { return };
        for (from, to) in known.missing(sequence) {
            self.given_up += to - from;
            let next = self.waiting.get(&(producer, to)).and_then(|index| self.early.get_mut(index));
            if let Some(early) = next {
                early.state = State::GivenUp(from, to, cause);
            }
        }
        known.raise(sequence);
        let floor = known.floor;
        self.settle(producer, floor);
    }

    /// The producer says itself that nothing below `lowest` will come any more, and there is no
    /// other relay from which it could.
    pub(super) fn raise(&mut self, producer: ProducerId, lowest: u64) {
        let known = self.known(producer);
        known.raise(lowest);
        let floor = known.floor;
        self.settle(producer, floor);
    }

    /// Gives up what was waited for long enough; whether there was any.
    pub(super) fn expire(&mut self, now: Time) -> bool {
        self.expire_if(&|early| early.until <= now)
    }

    /// As [`Order::expire`], of what had arrived before, when it is read again.
    pub(super) fn expire_at(&mut self, now: WallTime, hold_ms: u64) {
        self.expire_if(&|early| early.arrived.0.saturating_add(hold_ms.saturating_mul(1000)) <= now.0);
    }

    fn expire_if(&mut self, is_over: &dyn Fn(&Early) -> bool) -> bool {
        let before = self.changes;
        while let Some(index) = self.oldest.first().copied() {
            let oldest = self.early.get(&index).copied();
            if oldest.is_some_and(|oldest| !is_over(&oldest)) {
                break;
            }
            if let Some(oldest) = oldest {
                self.give_up(oldest.producer, oldest.first, UnorderedCause::Waited);
            }
            self.end_wait(index);
        }
        self.changes != before
    }

    /// One that waits still though its turn has come, as older versions kept one that came twice.
    fn end_wait(&mut self, index: Index) {
        if !self.oldest.remove(&index) {
            return;
        }
        self.changes += 1;
        if let Some(early) = self.early.get_mut(&index) {
            early.state = State::Whole;
        }
    }

    /// When the next one has waited long enough.
    pub(super) fn deadline(&self) -> Option<Time> {
        Some(self.early.get(self.oldest.first()?)?.until)
    }

    /// Forgets what is not in the log any more.
    pub(super) fn let_go(&mut self, below: Index) {
        while let Some(first) = self.early.first_entry().filter(|first| first.get().to <= below) {
            let (index, gone) = first.remove_entry();
            self.waiting.remove(&(gone.producer, gone.first));
            self.oldest.remove(&index);
            self.changes += 1;
        }
    }

    /// Forgets who has been idle for longer than `idle_max_ms`.
    pub(super) fn forget_idle(&mut self, now: WallTime, idle_max_ms: u64) {
        let idle_max_us = idle_max_ms.saturating_mul(1000);
        let waiting = &self.waiting;
        self.producers.retain(|id, known| {
            now.0.saturating_sub(known.last.0) <= idle_max_us || has_waiting(waiting, *id)
        });
    }

    fn forget_oldest(&mut self) {
        let idle = self.producers.iter().filter(|(id, _)| !has_waiting(&self.waiting, **id));
        let oldest = idle.min_by_key(|(_, known)| known.last).map(|(id, _)| *id);
        let Some(id) = oldest.or_else(|| self.producers.keys().next().copied()) else { return };
        // What has waited has its turn before that is forgotten.
        let last = self.producers.get(&id).and_then(|known| known.ranges.last());
        if let Some((last, _)) = last.copied() {
            self.give_up(id, last, UnorderedCause::Bound);
        }
        self.producers.remove(&id);
    }

    /// The early run that `index` is part of, or the next one, with its first index.
    pub(super) fn next_early(&self, index: Index) -> Option<(Index, &Early)> {
        let before = self.early.range(..=index).next_back().filter(|(_, early)| early.to > index);
        before.or_else(|| self.early.range(index..).next()).map(|(from, early)| (*from, early))
    }

    /// The early run that `index` is part of, and its rank among those that have their turn.
    pub(super) fn early_at(&self, index: Index) -> Option<(&Early, (ProducerId, u64))> {
        let (from, early) = self.next_early(index).filter(|(from, _)| *from <= index)?;
        Some((early, (early.producer, early.first + (index.0 - from.0))))
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn forgotten(&self) -> Index {
        self.forgotten
    }

    pub(super) fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Messages that wait for others.
    pub(super) fn held(&self) -> u64 {
        let to = |index: &Index| self.early.get(index).map_or(0, |early| early.to.0 - index.0);
        self.oldest.iter().map(to).sum()
    }
}

fn has_waiting(waiting: &BTreeMap<(ProducerId, u64), Index>, id: ProducerId) -> bool {
    waiting.range((id, 0)..=(id, u64::MAX)).next().is_some()
}
