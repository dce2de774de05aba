//! Acks of what came over circuits, and syncs: whether all that a session has said is durable.
//!
//! Acks are passed on as they come, and a sync of a session asks every home of which the session
//! has said something since it was confirmed. Acks that may not have come to one are told once, by
//! the next sync: more is not known here. For what was rejected here it waits until that is buried
//! ([`super::super::rejected`]).

use std::collections::{BTreeMap, BTreeSet};

use super::super::Relay;
use super::super::input::Now;
use super::super::journal::Waiting;
use super::super::requests::{Outcome, When};
use super::super::subscription::SubscriptionKey;
use super::{Asked, Opened};
use crate::id::{Index, SessionId};
use crate::log::Urgency;
use crate::wire::body::{Answer, Refusal, RefusalCode, Reply, Request};
use crate::wire::circuit::CircuitSays;
use crate::wire::frame::Ack;

/// A sync of a session that waits for homes, or until what the session has rejected here is buried.
#[derive(Clone, Debug, Default)]
pub(super) struct Syncing {
    missing: BTreeSet<u64>,
    /// Of each subscription the last that was rejected.
    rejected: BTreeMap<SubscriptionKey, Index>,
    refusal: Option<Refusal>,
}

impl Opened {
    /// What a sync is told whose acks may be lost.
    pub(super) fn acks_lost(&self) -> Refusal {
        let message = format!(
            "acks may not have come to relay {}: what they were for may be delivered again",
            self.home
        );
        Refusal::new(RefusalCode::NotReady, message)
    }
}

impl Relay {
    /// Statements of a session about deliveries from elsewhere, in order; the others are left.
    pub(in crate::relay) fn pass_acks(&mut self, session: SessionId, acks: &mut Vec<Ack>) {
        if self.sessions.get(&session).is_none_or(|s| s.circuits.is_empty()) {
            return;
        }
        let mut theirs: BTreeMap<u64, Vec<Ack>> = BTreeMap::new();
        acks.retain(|ack| match self.circuit_of(session, ack.handle) {
            Some((number, handle)) => {
                theirs.entry(number).or_default().push(Ack { handle, ..*ack });
                false
            }
            None => true,
        });
        for (number, acks) in theirs {
            if let Some(opened) = self.circuits.opened.get_mut(&number) {
                opened.is_unsettled = true;
            }
            self.say_to_home(number, CircuitSays::Acks(acks));
        }
    }

    /// Whether all that a session has said of deliveries is durable: asked of every home first.
    pub(in crate::relay) fn sync(&mut self, now: Now, (session, request): (SessionId, u64)) -> Outcome {
        let Some(state) = self.sessions.get_mut(&session) else { return Ok((Reply::Done, When::Now)) };
        let lost = state.take_lost_acks();
        let mut missing = BTreeSet::new();
        for number in state.circuits.clone() {
            let Some(opened) = self.circuits.opened.get_mut(&number) else { continue };
            // What is asked for already is not known to be durable either.
            let is_sync = |asked: &Asked| matches!(asked, Asked::Leaving | Asked::Sync(_));
            let is_asked = opened.asked.values().any(is_sync);
            if std::mem::take(&mut opened.is_unsettled) || is_asked {
                missing.insert(number);
            }
        }
        let rejected = self.rejected_by(session);
        if missing.is_empty() && rejected.is_empty() && lost.is_none() {
            self.write_cursors(now, Urgency::Sync);
            return Ok((Reply::Done, When::Durable));
        }
        for number in &missing {
            self.ask_home(*number, Asked::Sync(request), Request::Sync);
        }
        self.circuits.syncs.insert((session, request), Syncing { missing, rejected, refusal: lost });
        self.settle_sync(now, (session, request));
        Ok((Reply::Done, When::Later))
    }

    fn settle_sync(&mut self, now: Now, (session, request): (SessionId, u64)) {
        let Some(syncing) = self.circuits.syncs.get(&(session, request)) else { return };
        if !syncing.missing.is_empty() || !syncing.rejected.is_empty() {
            return;
        }
        let Some(Syncing { refusal, .. }) = self.circuits.syncs.remove(&(session, request)) else { return };
        let answer: Box<Answer> = Box::new(refusal.map_or(Ok(Reply::Done), Err));
        self.write_cursors(now, Urgency::Sync);
        self.journal.wait(Waiting::Answer { session, request, answer });
        self.settle_durable(now);
    }

    pub(super) fn on_synced(&mut self, now: Now, number: u64, request: u64, refusal: Option<Refusal>) {
        let Some(session) = self.circuits.opened.get(&number).map(|opened| opened.session) else { return };
        if let Some(syncing) = self.circuits.syncs.get_mut(&(session, request)) {
            syncing.missing.remove(&number);
            syncing.refusal = syncing.refusal.take().or(refusal);
        }
        self.settle_sync(now, (session, request));
    }

    /// What was rejected of a subscription is buried: all of it, or what stands before the first that is not.
    pub(in crate::relay) fn on_buried(&mut self, now: Now, key: SubscriptionKey, first: Option<Index>) {
        let mut settled = Vec::new();
        for (of, syncing) in &mut self.circuits.syncs {
            let last = syncing.rejected.get(&key);
            if last.is_some_and(|last| first.is_none_or(|first| first > *last)) {
                syncing.rejected.remove(&key);
                settled.push(*of);
            }
        }
        settled.into_iter().for_each(|of| self.settle_sync(now, of));
    }

    /// The syncs of a session that wait for what it has rejected of a subscription are refused when they
    /// have all that they wait for. Whether there are any.
    pub(in crate::relay) fn refuse_syncs(
        &mut self,
        session: SessionId,
        key: SubscriptionKey,
        refusal: &Refusal,
    ) -> bool {
        let mut is_any = false;
        for (_, syncing) in self.circuits.syncs.range_mut((session, 0)..=(session, u64::MAX)) {
            if syncing.rejected.contains_key(&key) {
                is_any = true;
                syncing.refusal.get_or_insert_with(|| refusal.clone());
            }
        }
        is_any
    }

    /// Acks may not have come to a home that is reached no more: the session's next sync says so.
    pub(super) fn lose_acks(&mut self, number: u64) {
        let Some(opened) = self.circuits.opened.get(&number) else { return };
        if let Some(session) = self.sessions.get_mut(&opened.session) {
            session.lose_acks(opened.acks_lost());
        }
    }
}
