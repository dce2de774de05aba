//! A third home of a name closes into one that has taken over from another before.
//!
//! Both may bring what they were owed of one stream, and one may have acked what the other brings. Of what
//! the home that stays is owed itself neither matters: that stands in its own backlog. Of other streams the
//! second passes over what the first was owed (it has brought it, or it was acked there), and what the first
//! has brought and is still to be delivered is delivered without what was acked at the second. Filters that
//! differ have no part in it: what a remnant brings is chosen by the filter of the home that stays, and only
//! what is owed where the filter is the same is remembered.

use super::super::super::Relay;
use super::super::super::arriving::Arrived;
use super::super::super::group::Group;
use super::super::super::stream::Stream;
use super::super::super::subscription::{Subscription, SubscriptionKey};
use super::super::parts::in_order;
use super::NO_END;
use crate::wire::moving::StreamPart;

fn is_of(part: &StreamPart, stream: &Stream) -> bool {
    part.origin == stream.origin && part.epoch == stream.epoch
}

impl Subscription {
    /// Whether another home of its name may bring something: then it is to be known what others have
    /// brought, though nothing of that can come here by itself any more.
    pub(in crate::relay) fn may_be_brought(&self) -> bool {
        self.twin_since.is_some() || self.merging.is_some() || self.has_remnants
    }
}

impl Relay {
    /// What of a remnant that is to be opened is not for its subscription.
    pub(super) fn not_for(
        &self,
        key: SubscriptionKey,
        subscription: &Subscription,
        remnant: &Group,
    ) -> Vec<StreamPart> {
        let own = remnant.streams.iter().filter_map(|stream| {
            let (origin, epoch) = (stream.origin.clone(), stream.epoch);
            let from = self.own_from(key, subscription, (&origin, epoch))?;
            Some(StreamPart { origin, epoch, from, to: NO_END })
        });
        let before = subscription.arrived.as_deref().and_then(|Arrived { done, .. }| done.as_ref());
        let before = before.into_iter().flat_map(|done| &done.parts);
        let is_here = |part: &&StreamPart| remnant.streams.iter().any(|stream| is_of(part, stream));
        in_order(own.chain(before.filter(is_here).cloned()).collect())
    }

    /// What has been brought and not been taken is delivered without what was acked at a third home.
    pub(super) fn thin_out(&mut self, key: SubscriptionKey, acked: &[StreamPart]) {
        if acked.is_empty() {
            return;
        }
        for number in self.remnants_of(key).to_vec() {
            let Some(group) = self.groups.get_mut(number) else { continue };
            let Group { streams, remnant: Some(remnant), .. } = group else { continue };
            if !remnant.is_open {
                continue;
            }
            let is_here = |part: &&StreamPart| streams.iter().any(|stream| is_of(part, stream));
            let more = acked.iter().filter(is_here).cloned();
            remnant.own = in_order(remnant.own.drain(..).chain(more).collect());
            self.mark_dirty_group(number);
        }
    }
}
