//! One durable subscription: a cursor over its group, and while somebody
//! receives, who has what.
//!
//! A message of a subscription is in exactly one of these places:
//!
//! ```text
//!   beyond `next` ──deliver──▶ in flight ──ack──────────────▶ done (cursor)
//!                                 │  ▲
//!        nack, overdue, detached  ▼  │ deliver
//!                              again / tries ──too often──▶ dead letter ▶ done
//! ```
//!
//! In a group with `fifo = "producer"` one that comes before its turn is set
//! aside on its way to its first delivery ([`super::aside`]).

use serde::{Deserialize, Serialize};

use super::active::{Active, Death, Failure, Flight, Try};
use super::arriving::Arrived;
use super::cursor::Cursor;
use super::filter::Filter;
use super::group::own_open;
use super::merging::Merging;
use super::moving::Moving;
use super::order::Order;
use super::state::RestoreError;
use crate::id::{
    GroupNumber, Index, RelayId, Sequence, SessionId, StreamNumber, SubscriptionName, Time, WallTime,
};
use crate::limits;
use crate::wire::body::{GapCause, Missing, Outcomes, UnorderedCause};
use crate::wire::link::Version;

/// A subscription inside one relay: given once, never used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SubscriptionNumber(pub(super) u32);

/// Where a subscription is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SubscriptionKey {
    pub(super) group: GroupNumber,
    pub(super) number: SubscriptionNumber,
}

/// Messages that the subscription does not get: half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) from: Index,
    pub(super) to: Index,
    pub(super) cause: GapCause,
}

/// A durable subscription.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) number: SubscriptionNumber,
    pub(super) name: SubscriptionName,
    pub(super) shared: bool,
    pub(super) window: u32,
    pub(super) filter: Option<Filter>,
    /// The first index that it was ever owed.
    pub(super) start: Index,
    /// Indexes that a seek made it owed once more.
    pub(super) replayed: u64,
    /// Whether it began with what was there before. If not, it begins with its relay's membership:
    /// what another origin put before its mark of that is not for it, though it comes later.
    pub(super) replays: bool,
    /// Runs that arrived before are not wanted.
    pub(super) not_before: WallTime,
    pub(super) cursor: Cursor,
    /// The first index never delivered since the relay was started.
    pub(super) next: Index,
    /// Everything below may have been delivered before, so it may be acked.
    pub(super) ackable: Index,
    /// Everything below was delivered before by this process, or is done.
    pub(super) delivered: Index,
    pub(super) out: Outcomes,
    /// What became of what it had brought along from other homes, where nothing is left of that.
    pub(super) brought: Option<Box<Outcomes>>,
    /// Gaps that it has not acked yet, in order.
    pub(super) gaps: Vec<Gap>,
    /// Whether the cursor moved since it was last written.
    pub(super) dirty: bool,
    /// What only matters while somebody receives, or a message waits for its next try.
    pub(super) active: Option<Box<Active>>,
    /// Where it goes.
    pub(super) moving: Option<Box<Moving>>,
    /// Where it has come from.
    pub(super) arrived: Option<Box<Arrived>>,
    /// It was made again for a disk that is lost, from what others knew of it in this version.
    pub(super) remade: Option<Version>,
    /// Whether it has brought something along from elsewhere that comes before what is here.
    pub(super) has_remnants: bool,
    /// One of the same name elsewhere that is to be made one with it.
    pub(super) merging: Option<Box<Merging>>,
    /// Of streams that were here before it: what it is not owed. `None`: not known of one that an
    /// older program has made.
    pub(super) before: Option<Vec<(StreamNumber, Sequence)>>,
    /// Since when another relay is known to be a home of its name.
    pub(super) twin_since: Option<Time>,
}

/// The next thing to deliver: half-open, with one number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) from: Index,
    pub(super) to: Index,
    pub(super) attempt: u32,
    pub(super) dead: Option<Death>,
    pub(super) source: Source,
    /// What the receiver is told before it.
    pub(super) told: Option<Unordered>,
}

/// Where what is due comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// It was never delivered since the relay was started.
    New,
    /// It was set aside.
    Aside,
    /// It was delivered before.
    Again,
}

/// Messages that are handed out though earlier ones of their producer have not come: half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unordered {
    pub(super) from: Index,
    pub(super) to: Index,
    pub(super) missing: Option<Missing>,
    pub(super) cause: UnorderedCause,
}

impl Unordered {
    pub(super) fn of(from: Index, to: Index, (missing, cause): (Missing, UnorderedCause)) -> Self {
        Self { from, to, missing: Some(missing), cause }
    }

    /// What is known of their order was forgotten.
    pub(super) fn forgotten(from: Index, to: Index) -> Self {
        Self { from, to, missing: None, cause: UnorderedCause::Bound }
    }
}

/// Why a subscription is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// Somebody has asked for it.
    Wanted,
    /// It was over its quota, and the group's policy says so.
    Evicted,
    /// It was made again for a lost disk, and is void: it lives at another relay.
    Elsewhere,
    /// It has gone to another relay.
    Moved,
}

impl Subscription {
    /// Whether it is still served at the home that it comes from: nobody finds it here.
    pub(super) fn is_arriving(&self) -> bool {
        self.comes_from().is_some()
    }

    /// Where it is still served, if it is on its way here from there.
    pub(super) fn comes_from(&self) -> Option<&RelayId> {
        self.arrived.as_deref().filter(|arrived| arrived.done.is_none()).map(|arrived| &arrived.from)
    }

    /// Everything below is done, and told where it was lost.
    pub(super) fn owed_from(&self) -> Index {
        let floor = self.cursor.floor();
        self.gaps.first().map_or(floor, |gap| gap.from.min(floor))
    }

    /// Records that were ever inserted into its backlog, up to the durable end of the group.
    pub(super) fn inserted(&self, end: Index) -> u64 {
        let brought = self.brought.as_deref().map_or(0, Outcomes::total);
        end.0.saturating_sub(self.start.0) + self.replayed + brought
    }

    /// What became of all that is in no backlog any more, with what it had brought along.
    pub(super) fn accounts(&self) -> Outcomes {
        let mut out = self.out;
        self.brought.as_deref().into_iter().for_each(|brought| super::books::add(&mut out, brought));
        out
    }

    /// Records in its backlog below `end`.
    pub(super) fn held(&self, end: Index) -> u64 {
        self.cursor.count_open(Index(0), end)
    }

    /// Marks a range as done in any way; says how many were open.
    pub(super) fn finish(&mut self, from: Index, to: Index) -> u64 {
        let count = self.cursor.ack(from, to);
        if count > 0 {
            self.dirty = true;
            self.next = self.next.max(self.cursor.floor());
        }
        self.forget_tries(from, to);
        count
    }

    /// The application acks `from..to`: what was never delivered is not counted, nor, after a
    /// restart, what could not have been: acks from before it may lie anywhere in the backlog,
    /// and the window of acks is bounded.
    pub(super) fn ack(&mut self, from: Index, to: Index) {
        self.ack_gaps(from, to);
        let parts = match &self.active {
            Some(active) if !active.aside.is_empty() => active.aside.without(from, to),
            Some(_) | None => {
                self.ack_part(from, to);
                Vec::new()
            }
        };
        parts.into_iter().for_each(|(from, to)| self.ack_part(from, to));
        if let Some(active) = &mut self.active {
            while active.flights.front().is_some_and(|f| self.cursor.next_open(f.from, f.to).is_none()) {
                active.flights.pop_front();
            }
        }
    }

    fn ack_part(&mut self, from: Index, to: Index) {
        let floor = self.cursor.floor();
        let reach = if from > floor { floor.after(u64::from(limits::WINDOW_MAX)) } else { to };
        self.out.acked += self.finish(from, to.min(self.ackable).min(reach));
    }

    fn forget_tries(&mut self, from: Index, to: Index) {
        if let Some(active) = &mut self.active
            && !active.tries.is_empty()
            && from < to
        {
            let done: Vec<Index> = active.tries.range(from..to).map(|(index, _)| *index).collect();
            for index in done {
                active.tries.remove(&index);
            }
        }
    }

    /// What is to be delivered next, without regard to receivers.
    pub(super) fn next_due(&mut self, end: Index, order: Option<&Order>) -> Option<Due> {
        if let Some(due) = self.next_again() {
            return Some(due);
        }
        let is_ordered = order.is_some() || self.active.as_ref().is_some_and(|a| !a.aside.is_empty());
        if is_ordered {
            return self.next_in_order(end, order);
        }
        let limit = self.cursor.floor().after(u64::from(self.window)).min(end);
        let (from, to) = self.cursor.next_open(self.next, limit)?;
        Some(self.new_due(from, to))
    }

    pub(super) fn new_due(&self, from: Index, to: Index) -> Due {
        let (source, told) = (Source::New, None);
        if from < self.delivered {
            return Due { from, to: to.min(self.delivered), attempt: 2, dead: None, source, told };
        }
        Due { from, to, attempt: 1, dead: None, source, told }
    }

    fn next_again(&mut self) -> Option<Due> {
        let active = self.active.as_mut()?;
        while let Some((from, to)) = active.again.first().copied() {
            let Some((open, open_end)) = self.cursor.next_open(from, to) else {
                active.again.remove(0);
                continue;
            };
            active.again[0].0 = open;
            let first = active.tries.get(&open).copied();
            let next_try = active.tries.range(open.after(1)..).next().map_or(open_end, |(i, _)| *i);
            let to = if first.is_some() { open.after(1) } else { open_end.min(next_try) };
            let attempt = first.map_or(2, |t| t.attempts + 1);
            let dead = first.and_then(|t| t.dead);
            return Some(Due { from: open, to, attempt, dead, source: Source::Again, told: None });
        }
        None
    }

    /// The first dead message that is due: it needs no receiver, whatever stands before it.
    pub(super) fn next_dead(&self) -> Option<Due> {
        let active = self.active.as_ref().filter(|active| !active.tries.is_empty())?;
        let (from, Try { attempts, dead, .. }) = active.first_dead()?;
        let is_open = self.cursor.next_open(from, from.after(1)).is_some();
        let (to, attempt, source) = (from.after(1), attempts + 1, Source::Again);
        is_open.then_some(Due { from, to, attempt, dead, source, told: None })
    }

    /// The first and the last message that is dead and not buried, but for those that wait for room.
    pub(super) fn unburied(&self) -> Option<(Index, Index)> {
        let mut dead = self.active.as_ref()?.dead().map(|(index, _)| *index);
        let first = dead.next()?;
        Some((first, dead.next_back().unwrap_or(first)))
    }

    /// Notes that `due` was delivered or otherwise used up to `to`.
    pub(super) fn used(&mut self, due: &Due, to: Index) {
        match due.source {
            Source::New => {
                self.next = self.next.max(to);
                self.delivered = self.delivered.max(to);
                self.ackable = self.ackable.max(to);
                return;
            }
            Source::Aside => {
                self.ackable = self.ackable.max(to);
                if let Some(active) = &mut self.active {
                    active.aside.used(to);
                }
                return;
            }
            Source::Again => {}
        }
        if let Some(active) = &mut self.active {
            active.take_again(due.from, to);
        }
    }

    /// The one dead message that is due cannot be buried now: it is due again at `until`.
    pub(super) fn put_off(&mut self, due: &Due, until: Time) {
        if let Some(tried) = self.active.as_mut().and_then(|active| active.tries.get_mut(&due.from)) {
            tried.due = Some(until);
        }
        self.used(due, due.from.after(1));
    }

    /// The open part of `from..to` failed: it is delivered again after `delay_ms`, or is dead.
    pub(super) fn fail(&mut self, from: Index, to: Index, failure: Failure<'_>) {
        let Some(active) = &mut self.active else { return };
        let mut rest = from;
        while let Some((open, end)) = self.cursor.next_open(rest, to) {
            active.fail_open(open, end, &failure);
            rest = end;
        }
    }

    /// `receiver` gives back what it has of `from..to`. What it has not, or no longer, is not
    /// looked at: so what a remote says costs no more than what it was given.
    pub(super) fn nack(
        &mut self,
        receiver: (SessionId, u32),
        (from, to): (Index, Index),
        failure: Failure<'_>,
    ) {
        let Some(active) = &mut self.active else { return };
        for flight in active.cut_flights(from, to, Some(receiver)) {
            self.fail(flight.from, flight.to, failure);
        }
    }

    /// Takes away everything that `receiver` has, to deliver it again.
    pub(super) fn detach(&mut self, receiver: (SessionId, u32), failure: Failure<'_>) {
        let Some(active) = &mut self.active else { return };
        // Another one is told the gaps again that were told to it.
        if active.told_to == Some(receiver) {
            (active.gaps_told, active.told_to) = (0, None);
        }
        active.receivers.retain(|r| (r.session, r.handle) != receiver);
        let mut lost = Vec::new();
        active.flights.retain(|flight| {
            let mine = flight.receiver == receiver;
            if mine {
                lost.push((flight.from, flight.to));
            }
            !mine
        });
        for (from, to) in lost {
            self.fail(from, to, failure);
        }
        self.rest_if_idle();
    }

    /// Without receivers, what is to be delivered again is simply not delivered yet; only tries stay.
    fn rest_if_idle(&mut self) {
        let Some(active) = &mut self.active else { return };
        let waits = !active.tries.is_empty() || !active.later.is_empty() || !active.aside.is_empty();
        if !active.receivers.is_empty() || waits {
            return;
        }
        if let Some((first, _)) = active.again.first() {
            self.next = self.next.min(*first);
        }
        self.next = self.next.max(self.cursor.floor());
        self.active = None;
    }

    /// Moves what is overdue or due again; gives the next moment at which something will be.
    pub(super) fn on_time(&mut self, now: Time, failure: Failure<'_>) -> Option<Time> {
        while let Some(flight) = self.active.as_ref().and_then(|a| a.flights.front()).copied() {
            let open = self.cursor.next_open(flight.from, flight.to).is_some();
            if open && flight.due > now {
                break;
            }
            if let Some(active) = &mut self.active {
                active.flights.pop_front();
            }
            if open {
                self.fail(flight.from, flight.to, failure);
            }
        }
        let active = self.active.as_mut()?;
        let due: Vec<Index> =
            active.tries.iter().filter(|(_, t)| t.due.is_some_and(|d| d <= now)).map(|(i, _)| *i).collect();
        for index in due {
            if let Some(tried) = active.tries.get_mut(&index) {
                tried.due = None;
            }
            active.add_again(index, index.after(1));
        }
        active.take_later(now);
        self.next_time()
    }

    /// The next moment at which an ack is overdue or a message is due again.
    pub(super) fn next_time(&self) -> Option<Time> {
        let active = self.active.as_ref()?;
        let flight = active.flights.front().map(|f| f.due);
        let tried = active.tries.values().filter_map(|t| t.due).min();
        let later = active.later.first_key_value().map(|((due, _), _)| *due);
        flight.into_iter().chain(tried).chain(later).min()
    }

    /// The receiver is still at work on `from..to`: the wait for its ack begins anew.
    pub(super) fn progress(&mut self, receiver: (SessionId, u32), (from, to): (Index, Index), due: Time) {
        let Some(active) = &mut self.active else { return };
        for cut in active.cut_flights(from, to, Some(receiver)) {
            active.flights.push_back(Flight { due, ..cut });
        }
    }

    /// Goes to another place: everything at or behind `to` is owed (again), nothing before.
    pub(super) fn seek(&mut self, to: Index, not_before: WallTime, marks: &[Index]) {
        let floor = self.cursor.floor();
        self.replays |= to < self.start;
        if to < floor {
            self.replayed += floor.0 - to.0 + self.cursor.above();
        } else {
            let open = self.cursor.count_open(floor, to);
            let own = own_open(marks, &self.cursor, (floor, to)).min(open);
            (self.out.skipped, self.out.passed) = (self.out.skipped + open - own, self.out.passed + own);
            self.replayed += self.cursor.above() - (to.0 - floor.0 - open);
        }
        self.cursor = Cursor::new(to);
        self.next = to;
        (self.delivered, self.ackable) = (to, to);
        self.not_before = not_before;
        self.dirty = true;
        if let Some(active) = &mut self.active {
            active.flights.clear();
            active.again.clear();
            active.tries.clear();
            active.later.clear();
            active.aside.clear();
            active.order_told = Index(0);
            active.ahead = None;
        }
    }

    /// Another number after every seek that changed what is owed, across restarts too.
    pub(super) fn moves(&self) -> u64 {
        self.replayed.wrapping_add(self.out.skipped)
    }

    /// Messages delivered and not acked.
    pub(super) fn in_flight(&self) -> u64 {
        self.active
            .as_ref()
            .map_or(0, |a| a.flights.iter().map(|f| self.cursor.count_open(f.from, f.to)).sum())
    }
}

/// A subscription as an operation says it.
///
/// # Errors
/// When its filter is none.
pub(super) fn subscription_from(
    (number, name): (SubscriptionNumber, SubscriptionName),
    (shared, filter, window): (bool, Option<&str>, u32),
    (start, not_before): (Index, WallTime),
) -> Result<Subscription, RestoreError> {
    let filter = filter.map(Filter::new).transpose().map_err(RestoreError::Format)?;
    Ok(Subscription {
        number,
        name,
        shared,
        window,
        filter,
        start,
        replayed: 0,
        replays: false,
        not_before,
        cursor: Cursor::new(start),
        next: start,
        ackable: start,
        delivered: start,
        out: Outcomes::default(),
        brought: None,
        gaps: Vec::new(),
        dirty: false,
        active: None,
        moving: None,
        arrived: None,
        remade: None,
        has_remnants: false,
        merging: None,
        before: None,
        twin_since: None,
    })
}
