//! What people are told of moves, and what they may not ask meanwhile.

use super::super::Relay;
use super::super::group::Group;
use super::super::subscription::{Subscription, SubscriptionKey};
use super::{NAMED_MAX, has_left, what_moves};
use crate::id::RelayId;
#[cfg(any(test, feature = "sim"))]
use crate::id::{GroupName, SubscriptionName};
use crate::wire::body::{MoveInfo, MoveStage, Refusal, RefusalCode};

impl Relay {
    /// Whether a subscription is at the point at which another relay may serve it.
    pub(in crate::relay) fn check_here(&mut self, key: SubscriptionKey) -> Result<(), Refusal> {
        let is_gone = |s: &&mut Subscription| s.is_spent() || s.is_closed();
        let Some(subscription) = self.groups.subscription(key).filter(is_gone) else {
            return Ok(());
        };
        let name = subscription.name.clone();
        let to = subscription.moving.as_ref().map(|moving| moving.to.clone());
        match (to, self.groups.get(key.group)) {
            (Some(to), Some(group)) => Err(has_left(&what_moves(group, &name), &to)),
            _ => Ok(()),
        }
    }

    /// One that is half way between two homes is not to be removed at one of them.
    pub(in crate::relay) fn check_settled(&mut self, key: SubscriptionKey) -> Result<(), Refusal> {
        self.check_here(key)?;
        let arrived = self.groups.subscription(key).and_then(|s| s.arrived.as_deref());
        match arrived.filter(|arrived| !arrived.is_settled) {
            Some(arrived) => {
                let message = format!(
                    "it has just come from relay {}, which has not said that it knows: try again",
                    arrived.from
                );
                Err(Refusal::new(RefusalCode::NotReady, message))
            }
            None => Ok(()),
        }
    }

    /// Where the old home ends is said: what comes before it is not asked for again.
    pub(in crate::relay) fn check_seek(&mut self, key: SubscriptionKey) -> Result<(), Refusal> {
        if let Some(name) = self.groups.subscription(key).map(|subscription| subscription.name.clone()) {
            self.check_whole(key, &name)?;
        }
        let moving = self.groups.subscription(key).and_then(|s| s.moving.as_deref());
        match moving.filter(|moving| moving.cut.is_some()) {
            Some(moving) => {
                let message =
                    format!("it is on its way to relay {}: seek there, or end the move first", moving.to);
                Err(Refusal::new(RefusalCode::NotReady, message))
            }
            None => Ok(()),
        }
    }

    /// Moves that wait for other relays.
    pub(in crate::relay) fn move_warnings(&self) -> Vec<String> {
        const WARNINGS_MAX: usize = 10;
        let moves = self.moves.iter().filter_map(|key| {
            let group = self.groups.get(key.group)?;
            let subscription = group.subscriptions.get(group.find(key.number)?)?;
            let info = self
                .move_info(group, subscription)
                .filter(|info| !info.waits_for.is_empty() && !info.merge)?;
            let relays: Vec<&str> = info.waits_for.iter().map(RelayId::as_str).collect();
            let (what, to, relays) = (what_moves(group, &subscription.name), &info.to, relays.join(", "));
            let advice = if info.stage == MoveStage::Asking {
                "; one that is gone for good is waited for until it is forgotten (`relay forget`)"
            } else {
                ""
            };
            Some(format!("{what} moves to relay {to}, and waits for {relays}{advice}"))
        });
        moves.take(WARNINGS_MAX).collect()
    }

    /// What people are told of a move.
    pub(in crate::relay) fn move_info(
        &self,
        group: &Group,
        subscription: &Subscription,
    ) -> Option<Box<MoveInfo>> {
        let moving = subscription.moving.as_deref()?;
        let heard = &moving.heard;
        let asks = moving.cut.is_none() && heard.prepared.is_some();
        let missing = if asks { self.not_held(heard) } else { Default::default() };
        let stage = match (&moving.cut, heard.prepared) {
            (Some(_), _) if moving.lost.is_some() => MoveStage::Preparing,
            (Some(_), _) if subscription.is_spent() => MoveStage::HandingOver,
            (Some(_), _) if heard.copying.part.is_some() || moving.merge => MoveStage::Copying,
            (Some(_), _) => MoveStage::Consuming,
            (None, None) => MoveStage::Preparing,
            (None, Some(_)) if !missing.is_empty() => MoveStage::Asking,
            (None, Some(_)) => MoveStage::Gathering,
        };
        let waits_for = match stage {
            MoveStage::Preparing | MoveStage::Copying | MoveStage::HandingOver => vec![moving.to.clone()],
            MoveStage::Asking => missing.into_iter().take(NAMED_MAX).collect(),
            MoveStage::Gathering | MoveStage::Consuming => Vec::new(),
        };
        let end = subscription.delivered_up_to(group.deliverable());
        let key = SubscriptionKey { group: group.number, number: subscription.number };
        Some(Box::new(MoveInfo {
            to: moving.to.clone(),
            stage,
            waits_for,
            messages: group.backlog(subscription, end) + self.backlog_in_remnants(key),
            refusal: heard.refusal.clone(),
            merge: moving.merge,
        }))
    }
}

#[cfg(any(test, feature = "sim"))]
impl Relay {
    /// Whether a subscription is served here.
    #[must_use]
    pub fn serves(&self, group: &GroupName, name: &SubscriptionName) -> bool {
        let Ok(key) = self.known_subscription(group, name) else { return false };
        let found =
            self.groups.get(key.group).and_then(|group| group.subscriptions.get(group.find(key.number)?));
        found.is_some_and(|subscription| !subscription.is_spent() && !subscription.is_closed())
    }

    /// Whether anything is remembered of a move to or from here.
    #[must_use]
    pub fn remembers_moves(&self) -> bool {
        let mut all = self.groups.iter().flat_map(|group| &group.subscriptions);
        all.any(|s| s.moving.is_some() || s.arrived.is_some() || s.merging.is_some())
    }

    /// Whether a subscription is on its way to or from here.
    #[must_use]
    pub fn has_moves(&self) -> bool {
        self.groups.iter().any(|group| {
            let is_settled = |arrived: &super::super::arriving::Arrived| arrived.is_settled;
            group.subscriptions.iter().any(|s| {
                s.moving.is_some()
                    || s.merging.is_some()
                    || s.arrived.as_deref().is_some_and(|arrived| !is_settled(arrived))
            })
        })
    }
}
