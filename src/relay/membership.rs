//! When this relay becomes a member of a group, and when it ceases to be one (I5, R4).
//!
//! It is a member while it has subscriptions. What others are told of that they go by at once: a membership that
//! ends lets go what it was owed, and one that begins anew is owed only what comes behind it. So both are said
//! when it is on the disk that the last subscription of the membership before is gone, and a crash cannot bring
//! that back.

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::stream::{Mark, Stream};
use crate::id::{GroupNumber, RelayId, Sequence};
use crate::wire::link::Version;

impl Group {
    /// The membership of this relay that others are told of and that goes on, if it is a member.
    pub(super) fn membership_told(&self, me: &RelayId) -> Option<Version> {
        let (version, is_member) = *self.spread.as_deref()?.parts.members.get(me)?;
        (is_member && self.leaving.is_none()).then_some(version)
    }
}

impl Stream {
    /// From where on it is owed to `me`, which is a member since that membership (I5); `None`: nothing of it is.
    pub(super) fn owed_from(&self, me: &RelayId, since: u64) -> Option<Sequence> {
        let (from, version) = self.marks.get(me)?;
        (*version >= since).then_some(*from)
    }
}

impl Relay {
    /// The highest version in which anything is known to have been said of the own membership.
    fn version_said(&self, number: GroupNumber) -> u64 {
        let least = self.least_version().counter;
        let parts = self.groups.get(number).and_then(|group| group.spread.as_deref()).map(|s| &s.parts);
        let said = parts.and_then(|parts| parts.members.get(&self.options.relay));
        said.map_or(least, |(version, _)| version.counter.max(least))
    }

    /// A group has its first subscription. While it is not on the disk that it had none others are told nothing:
    /// a crash might take both back, and what the last membership is owed would be let go by then.
    pub(super) fn begin_membership(&mut self, now: Now, number: GroupNumber) {
        let said = self.version_said(number);
        let Some(group) = self.groups.get_mut(number) else { return };
        group.raise_above(said);
        group.member_since = group.membership;
        if group.leaving.is_none() {
            self.mark_membership(now, number, true);
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
        let said = self.version_said(number);
        let group = self.groups.get_mut(number).filter(|group| group.leaving == Some(membership));
        let Some(group) = group else { return };
        group.leaving = None;
        let is_member = !group.subscriptions.is_empty();
        // A boot that knows nothing of what is said here says the same in this version: the log that it reads
        // counts as this one has counted.
        let known = group.spread().parts.members.get(&self.options.relay).copied();
        let is_said = known.is_some_and(|(version, was)| version.counter == said && was == is_member);
        if group.membership < said || (group.membership == said && !is_said) {
            group.raise_above(said);
        }
        self.mark_membership(now, number, is_member);
    }
}
