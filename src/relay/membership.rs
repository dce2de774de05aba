//! When this relay becomes a member of a group, and when it ceases to be one (I5, R4).
//!
//! It is a member while it has subscriptions. What others are told of that they go by at once: a membership that
//! ends lets go what it was owed, and one that begins anew is owed only what comes behind it. So both are said
//! when it is on the disk that the last subscription of the membership before is gone, and a crash cannot bring
//! that back.

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::stream::Mark;
use crate::id::{GroupNumber, RelayId};
use crate::wire::link::Version;

impl Group {
    /// The membership of this relay that others are told of and that goes on, if it is a member.
    pub(super) fn membership_told(&self, me: &RelayId) -> Option<Version> {
        let (version, is_member) = *self.spread.as_deref()?.parts.members.get(me)?;
        (is_member && self.leaving.is_none()).then_some(version)
    }
}

impl Relay {
    /// A group has its first subscription. While it is not on the disk that it had none others are told nothing:
    /// a crash might take both back, and what the last membership is owed would be let go by then.
    pub(super) fn begin_membership(&mut self, now: Now, number: GroupNumber) {
        self.renew_membership(number, true);
        if self.groups.get(number).is_some_and(|group| group.leaving.is_none()) {
            self.mark_membership(now, number, true);
        }
    }

    /// This relay is, or is no longer, a member: by a version above all that was said of it.
    pub(super) fn renew_membership(&mut self, number: GroupNumber, member: bool) {
        let (relay, least) = (&self.options.relay, self.least_version());
        let Some(group) = self.groups.get_mut(number) else { return };
        let said = group.spread.as_ref().and_then(|spread| spread.parts.members.get(relay));
        let said = said.map_or(least.counter, |(version, _)| version.counter.max(least.counter));
        group.raise_above(said);
        if member {
            group.member_since = group.membership;
        }
    }

    /// Notes in the own stream, if there is one, that this relay is (no longer) a member, and says so.
    pub(super) fn mark_membership(&mut self, now: Now, number: GroupNumber, member: bool) {
        let Some(version) = self.groups.get(number).map(|group| group.membership) else { return };
        self.mark(now, number, Mark { relay: self.options.relay.clone(), member, version });
        self.announce_membership(number, member);
    }

    /// It is on the disk that the last subscription of a group is gone. Who hears it lets go what this relay was
    /// owed, so a crash must not take it back. The same goes for a membership that has begun meanwhile.
    pub(super) fn leave(&mut self, now: Now, number: GroupNumber, membership: u64) {
        let group = self.groups.get_mut(number).filter(|group| group.leaving == Some(membership));
        let Some(group) = group else { return };
        group.leaving = None;
        if group.subscriptions.is_empty() {
            self.renew_membership(number, false);
        }
        let is_member = self.groups.get(number).is_some_and(|group| !group.subscriptions.is_empty());
        self.mark_membership(now, number, is_member);
    }
}
