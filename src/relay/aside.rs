//! What a subscription sets aside until the messages before it have been handed
//! out: runs that came before their producer's turn ([`super::order`]).
//!
//! They are open in the cursor and were given to nobody, so they are no part of
//! what acks, deadlines and windows count.

use std::collections::{BTreeMap, VecDeque};

use super::order::Order;
use super::subscription::{Due, Source, Subscription, Unordered};
use crate::id::{Index, ProducerId};
use crate::limits;
use crate::wire::body::UnorderedCause;

/// What has its turn: half-open, with what the receiver is told before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) from: Index,
    pub(super) to: Index,
    pub(super) told: Option<Unordered>,
}

/// What is set aside.
#[derive(Clone, Debug, Default)]
pub(super) struct Aside {
    /// By their first indexes; half-open, apart from one another.
    waiting: BTreeMap<Index, Index>,
    /// What has its turn, in the order in which it is handed out.
    ready: VecDeque<Ready>,
    /// How many indexes there are in both.
    count: u64,
    /// What was known of the order when it was looked at last.
    seen: u64,
    /// The place from which on it is worth looking again.
    wake: Index,
}

impl Aside {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether it is set aside.
    pub(super) fn holds(&self, index: Index) -> bool {
        let waits = self.waiting.range(..=index).next_back().is_some_and(|(_, to)| *to > index);
        waits || self.ready.iter().any(|ready| (ready.from..ready.to).contains(&index))
    }

    /// Sets `from..to` aside, which has its turn behind an index, if that is known.
    pub(super) fn set(&mut self, from: Index, to: Index, turn: Option<Index>) {
        self.count += to.0 - from.0;
        self.wake = self.wake.min(turn.unwrap_or(Index(u64::MAX)));
        match self.waiting.range_mut(..from).next_back() {
            Some((_, end)) if *end == from => *end = to,
            _ => {
                self.waiting.insert(from, to);
            }
        }
    }

    /// Moves what has its turn for a subscription that is past everything before `next`.
    pub(super) fn look(&mut self, order: Option<&Order>, next: Index) {
        let changes = order.map_or(u64::MAX, Order::changes);
        if self.waiting.is_empty() || (self.seen == changes && next < self.wake) {
            return;
        }
        (self.seen, self.wake) = (changes, Index(u64::MAX));
        let mut ready: Vec<(Option<(ProducerId, u64)>, Ready)> = Vec::new();
        let mut waiting = BTreeMap::new();
        for (from, to) in std::mem::take(&mut self.waiting) {
            let mut at = from;
            while at < to {
                let Some((early, rank)) = order.and_then(|order| order.early_at(at)) else {
                    let next = order.and_then(|order| order.next_early(at)).map_or(to, |(from, _)| from);
                    let end = to.min(next);
                    let told = order.map(|_| Unordered::forgotten(at, end));
                    ready.push((None, Ready { from: at, to: end, told }));
                    at = end;
                    continue;
                };
                let end = to.min(early.to);
                match early.turn() {
                    Some(after) if after <= next => {
                        let told = early.missing().map(|missing| Unordered::of(at, end, missing));
                        ready.push((Some(rank), Ready { from: at, to: end, told }));
                    }
                    turn => {
                        self.wake = self.wake.min(turn.unwrap_or(Index(u64::MAX)));
                        waiting.insert(at, end);
                    }
                }
                at = end;
            }
        }
        self.waiting = waiting;
        ready.sort_by_key(|(rank, _)| *rank);
        self.ready.extend(ready.into_iter().map(|(_, ready)| ready));
    }

    /// The subscription can go no further, and everything below `floor` is done: what waits there is
    /// handed out. Whether there is any.
    pub(super) fn force(&mut self, floor: Index) -> bool {
        let Some(first) = self.waiting.first_entry().filter(|first| *first.key() <= floor) else {
            return false;
        };
        let (from, to) = first.remove_entry();
        let cause = UnorderedCause::Bound;
        self.ready.push_back(Ready { from, to, told: Some(Unordered { from, to, missing: None, cause }) });
        true
    }

    /// The next one that has its turn.
    pub(super) fn first(&mut self) -> Option<&mut Ready> {
        self.ready.front_mut()
    }

    /// It was used up to `to`.
    pub(super) fn used(&mut self, to: Index) {
        let Some(first) = self.ready.front_mut() else { return };
        let to = to.min(first.to);
        self.count -= to.0.saturating_sub(first.from.0);
        first.from = first.from.max(to);
        first.told = None;
        if first.from >= first.to {
            self.ready.pop_front();
        }
    }

    /// The parts of `from..to` that are not set aside.
    pub(super) fn without(&self, from: Index, to: Index) -> Vec<(Index, Index)> {
        let waiting = self.waiting.iter().map(|(from, to)| (*from, *to));
        let mut kept: Vec<(Index, Index)> =
            waiting.chain(self.ready.iter().map(|ready| (ready.from, ready.to))).collect();
        kept.retain(|(f, t)| *f < to && from < *t);
        kept.sort_unstable();
        let mut parts = Vec::with_capacity(kept.len() + 1);
        let mut at = from;
        for (f, t) in kept {
            if at < f {
                parts.push((at, f));
            }
            at = at.max(t);
        }
        if at < to {
            parts.push((at, to));
        }
        parts
    }
}

impl Subscription {
    /// The same in a group in which a producer's messages are handed out in its order.
    pub(super) fn next_in_order(&mut self, end: Index, order: Option<&Order>) -> Option<Due> {
        loop {
            let active = self.active.as_mut()?;
            active.aside.look(order, self.next);
            let reach = self.cursor.floor().after(u64::from(limits::WINDOW_MAX));
            let room = if active.aside.is_empty() {
                self.cursor.floor().after(u64::from(self.window)).0.saturating_sub(self.next.0)
            } else {
                let given = self.cursor.count_open(Index(0), self.next).saturating_sub(active.aside.count());
                u64::from(self.window).saturating_sub(given)
            };
            if room > 0
                && let Some(due) = self.next_ready(room)
            {
                return Some(due);
            }
            let limit = self.next.after(room).min(reach).min(end);
            let Some((from, to)) = self.cursor.next_open(self.next, limit) else {
                // All up to there is done, perhaps before a restart: others may have waited for it.
                if self.pass_done(limit) {
                    continue;
                }
                let is_far = self.next >= reach && room > 0;
                if is_far
                    && self.active.as_mut().is_some_and(|active| active.aside.force(self.cursor.floor()))
                {
                    continue;
                }
                return None;
            };
            if self.pass_done(from) {
                continue;
            }
            let Some((early, run)) = order.and_then(|order| order.next_early(from)) else {
                return Some(self.tell_forgotten(order, self.new_due(from, to)));
            };
            if early > from {
                return Some(self.tell_forgotten(order, self.new_due(from, to.min(early))));
            }
            let to = to.min(run.to);
            if run.turn().is_some_and(|after| after <= from) {
                let due = self.new_due(from, to);
                let told = run.missing().filter(|_| early == from).map(|m| Unordered::of(from, due.to, m));
                return Some(Due { told, ..due });
            }
            self.set_aside((from, to), run.turn());
        }
    }

    /// Goes on to `to`, where everything before is done; whether that is worth another look at what
    /// is set aside.
    fn pass_done(&mut self, to: Index) -> bool {
        let has_aside = self.active.as_ref().is_some_and(|active| !active.aside.is_empty());
        if !has_aside || to <= self.next {
            return false;
        }
        self.next = to;
        true
    }

    fn set_aside(&mut self, (from, to): (Index, Index), turn: Option<Index>) {
        self.next = to;
        let Some(active) = &mut self.active else { return };
        active.aside.set(from, to, turn);
        if active.ahead.as_ref().is_some_and(|ahead| ahead.end() <= to) {
            active.ahead = None;
        }
    }

    /// What was set aside and has its turn, at most `room` of it.
    fn next_ready(&mut self, room: u64) -> Option<Due> {
        let active = self.active.as_mut()?;
        while let Some(ready) = active.aside.first() {
            let (from, to, told) = (ready.from, ready.to, ready.told);
            let Some((open, end)) = self.cursor.next_open(from, to) else {
                active.aside.used(to);
                continue;
            };
            if open > from {
                // What was before it was dropped; it still has to be told of.
                active.aside.used(open);
                if let Some(ready) = active.aside.first() {
                    ready.told = told;
                }
            }
            let to = end.min(open.after(room));
            return Some(Due { from: open, to, attempt: 1, dead: None, source: Source::Aside, told });
        }
        None
    }

    /// Whoever comes to where early runs were forgotten is told so, once.
    fn tell_forgotten(&self, order: Option<&Order>, due: Due) -> Due {
        let forgotten = order.map_or(Index(0), Order::forgotten);
        let told = self.active.as_ref().map_or(Index(0), |active| active.order_told);
        if due.from >= forgotten || told >= forgotten {
            return due;
        }
        Due { told: Some(Unordered::forgotten(due.from, forgotten)), ..due }
    }

    /// What the receiver is told before what is delivered from `due` on; it is taken as told.
    pub(super) fn take_told(&mut self, due: &Due) -> Option<Unordered> {
        let active = self.active.as_mut()?;
        let told = due.told.or(active.untold).filter(|told| told.from <= due.from)?;
        active.untold = None;
        if told.to <= due.from {
            // Nothing of it was delivered.
            return None;
        }
        if told.missing.is_none() && due.source == Source::New {
            active.order_told = active.order_told.max(told.to);
        }
        Some(told)
    }

    /// What comes first of `due` is not delivered: what was to be told is told before the rest.
    pub(super) fn keep_told(&mut self, due: &Due) {
        if let Some(active) = &mut self.active
            && due.told.is_some()
        {
            active.untold = due.told;
        }
    }
}
