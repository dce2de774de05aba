//! What a subscription that has come from elsewhere was given there: it is no backlog here.

use super::super::group::Group;
use super::super::subscription::{Subscription, SubscriptionNumber};
use super::last_done;
use crate::id::{Index, Sequence};

impl Group {
    /// Passes over what subscriptions that have come here are done with at their old homes, as far as it
    /// stands before everything else: it would count for quotas, and be told as lost when it is too old.
    /// Gives those whose cursors are to be written since.
    pub(in crate::relay) fn pass_done_elsewhere(&mut self) -> Vec<SubscriptionNumber> {
        let mut moved = Vec::new();
        for place in 0..self.subscriptions.len() {
            let to = self.done_elsewhere(place);
            let subscription = &mut self.subscriptions[place];
            let (was_dirty, floor) = (subscription.dirty, subscription.cursor.floor());
            let to = subscription.delivered_up_to(to);
            if floor < to {
                subscription.out.passed += subscription.finish(floor, to);
            }
            if subscription.dirty && !was_dirty {
                moved.push(subscription.number);
            }
        }
        moved
    }

    /// From which index on something counts for the quota of a subscription: from its floor on; of one that has
    /// come from elsewhere, behind all that its old home is done with, or a little behind that. The order is
    /// not the same at both, so that may stand behind what nobody has had.
    pub(in crate::relay) fn counted_from(&self, subscription: &Subscription) -> Index {
        let floor = subscription.cursor.floor();
        let arrived = subscription.arrived.as_deref();
        let Some(done) = arrived.and_then(|arrived| arrived.done_from(floor)) else { return floor };
        let open = self.streams.iter().filter(|stream| stream.end > floor);
        let ends = open.filter_map(|stream| match last_done(done, stream) {
            Sequence(0) => None,
            last if last >= stream.last => Some(stream.end),
            last => Some(stream.place_behind(last).unwrap_or(stream.end)),
        });
        ends.max().unwrap_or(floor).max(floor)
    }

    /// Before which index a subscription is done elsewhere with all that it has not passed here, or an index
    /// a little before that.
    fn done_elsewhere(&self, place: usize) -> Index {
        let subscription = &self.subscriptions[place];
        let floor = subscription.cursor.floor();
        let arrived = subscription.arrived.as_deref().filter(|_| subscription.merging.is_none());
        let Some(done) = arrived.and_then(|arrived| arrived.done_from(floor)) else { return floor };
        let open = self.streams.iter().filter(|stream| stream.end > floor);
        let ends = open.filter_map(|stream| {
            let last = last_done(done, stream);
            (last < stream.last).then(|| stream.place_before(last.next()).unwrap_or(floor))
        });
        ends.min().unwrap_or(self.durable).min(self.durable).max(floor)
    }
}
