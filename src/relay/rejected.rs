//! What receivers have rejected, or could not do as often as the group lets them try, and is not done with yet.
//!
//! A message that is dead is done with when it is buried ([`super::dead_letter`]), and for that it is read again.
//! That takes a while, and cannot be done at all as long as it is not on this relay's disk: what comes from
//! neighbours is delivered before that. Until then no cursor says that it is dead, so a sync of whoever
//! has said so last waits for it (P3).

use std::collections::{BTreeMap, BTreeSet};

use super::Relay;
use super::input::Now;
use super::subscription::{Subscription, SubscriptionKey, SubscriptionNumber};
use crate::id::{GroupNumber, Index, SessionId};
use crate::wire::body::{Refusal, RefusalCode};

/// Subscriptions of which something rejected is not buried, and who has rejected it. Nearly always empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejected {
    by: BTreeMap<SubscriptionKey, BTreeSet<SessionId>>,
}

impl Rejected {
    /// Nobody is left to be told. What was rejected is still to be buried.
    pub(super) fn leave(&mut self, session: SessionId) {
        self.by.values_mut().for_each(|sessions| {
            sessions.remove(&session);
        });
    }
}

impl Relay {
    /// A session has rejected something of a subscription, or failed at it for the last time.
    pub(super) fn note_rejected(&mut self, key: SubscriptionKey, session: SessionId) {
        if self.groups.subscription(key).is_some_and(|s| s.unburied().is_some()) {
            self.rejected.by.entry(key).or_default().insert(session);
        }
    }

    /// What a session has rejected and is not buried: of each subscription the last one. What is rejected
    /// behind that is not waited for, or there might be no end.
    pub(super) fn rejected_by(&mut self, session: SessionId) -> BTreeMap<SubscriptionKey, Index> {
        let Self { rejected, groups, .. } = self;
        let theirs = rejected.by.iter().filter(|(_, sessions)| sessions.contains(&session));
        theirs.filter_map(|(key, _)| Some((*key, groups.subscription(*key)?.unburied()?.1))).collect()
    }

    /// A subscription had its turn: some of what was rejected may be buried now.
    pub(super) fn settle_rejected(&mut self, now: Now, key: SubscriptionKey) {
        if !self.rejected.by.contains_key(&key) {
            return;
        }
        let first = self.groups.subscription(key).and_then(|s| Subscription::unburied(s)).map(|both| both.0);
        if first.is_none() {
            self.rejected.by.remove(&key);
        }
        self.on_buried(now, key, first);
    }

    /// More of a group is on the disk: what was rejected there may be read, though its receiver has left.
    pub(super) fn enqueue_rejected(&mut self, number: GroupNumber) {
        let first = SubscriptionKey { group: number, number: SubscriptionNumber(0) };
        let of_group = self.rejected.by.range(first..).take_while(|(key, _)| key.group == number);
        let keys: Vec<SubscriptionKey> = of_group.map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.enqueue(key));
    }

    /// Whoever receives from a subscription is sent away, and what was rejected is known no more. Unless the
    /// subscription is gone it comes again, and those who have rejected it are told with their next sync.
    pub(super) fn lose_rejected(&mut self, key: SubscriptionKey, refusal: &Refusal) {
        let Some(sessions) = self.rejected.by.get(&key).cloned() else { return };
        self.ready.push_back(key);
        if refusal.code == RefusalCode::Removed {
            return;
        }
        for session in sessions {
            let message = "what was rejected may be delivered again where the subscription goes on";
            let lost = Refusal::new(RefusalCode::NotReady, message);
            if !self.refuse_syncs(session, key, &lost)
                && let Some(state) = self.sessions.get_mut(&session)
            {
                state.lose_acks(lost);
            }
        }
    }
}
