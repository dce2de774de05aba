//! Deadlines as data: the core names its next one, the shell wakes it.

use std::collections::{BTreeMap, BTreeSet};

use super::subscription::SubscriptionKey;
use crate::id::{GroupNumber, LinkId, Time};

/// What is to be done at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Make the map and the trees anew.
    Plan,
    /// Ask whether circuits are whole.
    Circuits,
    /// Ask again who knows of a new subscription.
    Confirm(GroupNumber),
    /// Write cursors that have moved.
    Cursors,
    /// Something that is lacking is looked at, or a pull was not answered.
    Pulls,
    /// Weigh what quotas have room for.
    Quotas,
    /// Say what has become durable to the origins that wait for it.
    Receipts,
    /// Look what may be let go, and who has been idle for too long.
    Housekeeping,
    /// An ack is overdue, or a nacked message is due again.
    Subscription(SubscriptionKey),
    /// Nothing may have been put into a group for a while.
    Quiet(GroupNumber),
    /// Ask again who knows of a message, and answer whoever has waited long enough.
    Where,
    /// A link with a rate may be given more.
    Link(LinkId),
    /// Look how far behind this relay is.
    Behind,
    /// Ask the neighbours whether they know the same facts.
    Compare,
    /// Relays that may have a table of memberships were waited for.
    Newcomer,
    /// A message of a group has waited long enough for earlier ones of its producer.
    Order(GroupNumber),
    /// Say again what is to be said of subscriptions that move.
    Moves,
    /// After a start: look whether others have said what is released.
    Hearing,
}

/// At most one deadline per timer.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Time, Timer)>,
    set: BTreeMap<Timer, Time>,
}

impl Timers {
    /// Sets a deadline, in place of the one before.
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        if let Some(before) = self.set.insert(timer, at) {
            if before == at {
                return;
            }
            self.order.remove(&(before, timer));
        }
        self.order.insert((at, timer));
    }

    /// Sets a deadline unless an earlier one is set.
    pub(super) fn set_by(&mut self, timer: Timer, at: Time) {
        if self.set.get(&timer).is_none_or(|before| at < *before) {
            self.set(timer, at);
        }
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.set.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.set.contains_key(&timer)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes a timer whose deadline has come.
    pub(super) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.remove(&(at, timer));
        self.set.remove(&timer);
        Some(timer)
    }
}
