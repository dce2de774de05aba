//! What receivers are at work on while it is copied.

use super::super::super::Relay;
use super::super::super::input::Now;
use super::super::super::remnant::Remnant;
use super::super::super::subscription::SubscriptionKey;

impl Relay {
    /// Whether a receiver is at work on something of a subscription. It would come again elsewhere.
    pub(super) fn is_in_hand(&self, key: SubscriptionKey) -> bool {
        let parts = self.parts_here(key).into_iter();
        parts.filter_map(|(_, part, _)| self.part_at(part)).any(|(_, s)| s.in_flight() > 0)
    }

    /// Whether what is due next is the new home's, which has all of it: so it is from the moment on at which
    /// nobody is at work on anything here any more, and what is dead is buried.
    pub(in crate::relay) fn goes_on_elsewhere(&mut self, now: Now, key: SubscriptionKey) -> bool {
        let Some((group, subscription)) = self.part_at(key) else { return false };
        let owner = group.remnant.as_deref().map_or(key, Remnant::key);
        if owner == key && subscription.moving.is_none() {
            return false;
        }
        let has_dead = subscription.next_dead().is_some();
        let Some(moving) = self.moving_at(owner) else { return false };
        if moving.rest.is_some() {
            return true;
        }
        let is_left = moving.heard.copying.is_all && !has_dead && !self.is_in_hand(owner);
        if is_left {
            self.leave_rest(now, owner);
        }
        is_left
    }
}
