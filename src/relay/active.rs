//! What only matters while somebody receives from a subscription, or a message
//! waits for its next try: receivers, flights, tries.

use std::collections::{BTreeMap, VecDeque};

use super::ahead::Ahead;
use super::aside::Aside;
use super::effect::Effect;
use super::subscription::Unordered;
use crate::id::{Index, SessionId, Time};
use crate::limits;
use crate::topology::settings::GroupSettings;
use crate::wire::body::Reply;

/// Who receives, and who has what.
#[derive(Clone, Debug, Default)]
pub(super) struct Active {
    pub(super) receivers: Vec<Receiver>,
    /// The receiver whose turn it is.
    pub(super) turn: usize,
    /// Delivered and perhaps not acked, in order of their deadlines.
    pub(super) flights: VecDeque<Flight>,
    /// To deliver again: half-open, sorted, apart from one another.
    pub(super) again: Vec<(Index, Index)>,
    /// Messages that failed, with the number of deliveries so far.
    pub(super) tries: BTreeMap<Index, Try>,
    /// Messages that failed when there were [`limits::PARKED_MAX`] tries already: when they are
    /// due again, and their range. Their failures are not counted.
    pub(super) later: BTreeMap<(Time, Index), Index>,
    pub(super) ahead: Option<Ahead>,
    /// What the shell was asked to read.
    pub(super) fetching: Option<Index>,
    /// Whether it stands in the queue of those that may have something to do.
    pub(super) queued: bool,
    /// How many of the gaps a receiver has been told of, and which one.
    pub(super) gaps_told: usize,
    pub(super) told_to: Option<(SessionId, u32)>,
    /// What waits for earlier messages of its producer.
    pub(super) aside: Aside,
    /// What the receiver is to be told before the next of these that it gets.
    pub(super) untold: Option<Unordered>,
    /// Up to where the receiver was told that the order of producers is not known any more.
    pub(super) order_told: Index,
}

/// One session that receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receiver {
    pub(super) session: SessionId,
    pub(super) handle: u32,
    /// Messages it may have been given in all.
    pub(super) credit: u64,
    /// Messages it was given.
    pub(super) used: u64,
    /// A poll that waits for its answer.
    pub(super) poll: Option<Poll>,
}

/// Somebody asks for what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Poll {
    pub(super) request: u64,
    /// Messages that the receiver had been given when it began.
    pub(super) before: u64,
    /// Where that ended which could be delivered then.
    pub(super) end: Index,
}

impl Receiver {
    /// Whether it still takes something, or asks what there is.
    pub(super) fn is_open(&self) -> bool {
        self.used < self.credit || self.poll.is_some()
    }

    /// The answer to its poll, if it waits for one: nothing more is sent for it.
    pub(super) fn end_poll(&mut self) -> Option<Effect> {
        let Poll { request, before, .. } = self.poll.take()?;
        self.credit = self.used;
        let answer = Box::new(Ok(Reply::Polled { messages: self.used - before }));
        Some(Effect::Answer { session: self.session, request, answer })
    }
}

/// Messages on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) from: Index,
    pub(super) to: Index,
    pub(super) receiver: (SessionId, u32),
    pub(super) due: Time,
}

/// A message that failed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Try {
    /// Deliveries so far.
    pub(super) attempts: u32,
    /// When it is to be delivered again; `None` while it is delivered or due.
    pub(super) due: Option<Time>,
    /// Why it is not delivered any more.
    pub(super) dead: Option<Death>,
}

/// Why a message goes to the dead-letter group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// Delivered `max_deliver` times without an ack.
    MaxDeliver,
    /// The receiver said that it will never be done.
    Rejected,
}

impl Death {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::MaxDeliver => "max-deliver",
            Self::Rejected => "rejected",
        }
    }
}

/// How failed messages are treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure<'a> {
    pub(super) settings: &'a GroupSettings,
    pub(super) now: Time,
    /// The receiver's wish, or `None` for the group's back-off list.
    pub(super) delay_ms: Option<u64>,
    pub(super) rejected: bool,
    /// Whether the number of deliveries is to be remembered even if nothing depends on it.
    pub(super) counted: bool,
}

impl Failure<'_> {
    /// Milliseconds to wait after so many deliveries.
    fn delay_ms_after(&self, attempts: u32) -> u64 {
        let backoff = &self.settings.backoff_ms;
        let step = (attempts as usize - 1).min(backoff.len().saturating_sub(1));
        self.delay_ms.or_else(|| backoff.get(step).copied()).unwrap_or(0)
    }
}

impl Active {
    pub(super) fn fail_open(&mut self, from: Index, to: Index, failure: &Failure<'_>) {
        self.cut_flights(from, to, None);
        let delayed = failure.delay_ms.map_or(!failure.settings.backoff_ms.is_empty(), |ms| ms > 0);
        let plain =
            failure.settings.max_deliver.is_none() && !delayed && !failure.counted && !failure.rejected;
        if plain && self.tries.is_empty() {
            self.add_again(from, to);
            return;
        }
        for index in (from.0..to.0).map(Index) {
            // What is rejected is remembered in any case: the window bounds it.
            let has_room = failure.rejected || self.tries.len() < limits::PARKED_MAX;
            if self.tries.contains_key(&index) || (!plain && has_room) {
                self.fail_one(index, failure);
                continue;
            }
            match failure.delay_ms_after(1) {
                delay_ms if delay_ms > 0 && !plain => {
                    self.add_later(index, failure.now.after_ms(delay_ms));
                }
                _ => self.add_again(index, index.after(1)),
            }
        }
    }

    fn add_later(&mut self, index: Index, due: Time) {
        let mut before = self.later.range_mut((due, Index(0))..(due, index));
        match before.next_back() {
            Some((_, to)) if *to == index => *to = index.after(1),
            _ => {
                self.later.insert((due, index), index.after(1));
            }
        }
    }

    /// Moves what is due by `now` to what is to be delivered again.
    pub(super) fn take_later(&mut self, now: Time) {
        while let Some(entry) = self.later.first_entry() {
            let ((due, from), to) = (*entry.key(), *entry.get());
            if due > now {
                return;
            }
            entry.remove();
            self.add_again(from, to);
        }
    }

    /// Messages that wait until they are due again.
    pub(super) fn parked(&self) -> u64 {
        let tried = self.tries.values().filter(|tried| tried.due.is_some()).count() as u64;
        tried + self.later.iter().map(|((_, from), to)| to.0 - from.0).sum::<u64>()
    }

    fn fail_one(&mut self, index: Index, failure: &Failure<'_>) {
        let tried = self.tries.entry(index).or_insert(Try { attempts: 0, due: None, dead: None });
        tried.attempts = tried.attempts.saturating_add(1);
        tried.dead = if failure.rejected {
            Some(Death::Rejected)
        } else {
            let over = failure.settings.max_deliver.is_some_and(|max| tried.attempts >= max);
            over.then_some(Death::MaxDeliver)
        };
        let delay_ms = failure.delay_ms_after(tried.attempts);
        if delay_ms == 0 || tried.dead.is_some() {
            tried.due = None;
            self.add_again(index, index.after(1));
        } else {
            tried.due = Some(failure.now.after_ms(delay_ms));
        }
    }

    pub(super) fn add_again(&mut self, from: Index, to: Index) {
        let place = self.again.partition_point(|(f, _)| *f <= from);
        if let Some(before) = place.checked_sub(1).and_then(|p| self.again.get_mut(p))
            && before.1 >= from
        {
            before.1 = before.1.max(to);
            return;
        }
        self.again.insert(place, (from, to));
    }

    /// Takes `from..to` out of what is to be delivered again, in the range in which it begins.
    pub(super) fn take_again(&mut self, from: Index, to: Index) {
        let Some(place) = self.again.iter().position(|(begin, end)| *begin <= from && from < *end) else {
            return;
        };
        let (begin, end) = self.again.remove(place);
        let rest = [(begin, from), (to, end)];
        self.again.splice(place..place, rest.into_iter().filter(|(from, to)| from < to));
    }

    /// The first message that is to be delivered again and is dead.
    pub(super) fn first_dead(&self) -> Option<(Index, Try)> {
        let is_due = |index: &Index| self.again.iter().any(|(from, to)| (*from..*to).contains(index));
        self.dead().find(|(index, _)| is_due(index)).map(|(index, tried)| (*index, *tried))
    }

    /// All messages that are dead, and do not wait for room.
    pub(super) fn dead(&self) -> impl DoubleEndedIterator<Item = (&Index, &Try)> {
        self.tries.iter().filter(|(_, tried)| tried.dead.is_some() && tried.due.is_none())
    }

    /// Takes `from..to` out of the flights, of one receiver or of all; gives what was taken out.
    pub(super) fn cut_flights(
        &mut self,
        from: Index,
        to: Index,
        of: Option<(SessionId, u32)>,
    ) -> Vec<Flight> {
        let mut taken = Vec::new();
        let is_meant =
            |f: &Flight| f.from < to && from < f.to && of.is_none_or(|receiver| f.receiver == receiver);
        if !self.flights.iter().any(is_meant) {
            return taken;
        }
        let mut rest = VecDeque::with_capacity(self.flights.len() + 1);
        for flight in self.flights.drain(..) {
            if !is_meant(&flight) {
                rest.push_back(flight);
                continue;
            }
            if flight.from < from {
                rest.push_back(Flight { to: from, ..flight });
            }
            if to < flight.to {
                rest.push_back(Flight { from: to, ..flight });
            }
            taken.push(Flight { from: flight.from.max(from), to: flight.to.min(to), ..flight });
        }
        self.flights = rest;
        taken
    }
}
