//! Queues that a topology names before their home has made them (R12).
//!
//! A file says where a queue lives. Until that relay has been up nobody says so in the network, and what is
//! put into the queue elsewhere would be owed to nobody. So every relay says what its file says of the
//! queues of others: their entry, and that their home is a member. Both in versions with counter 0, below
//! whatever is ever said by a relay of itself; who has the same file says the same.
//!
//! The home is owed what is put from then on *in any version* of its membership: its own is not known yet.
//! When it comes and says it, it is taken for one that has lost its disk and is owed what it was owed.

use xxhash_rust::xxh3::xxh3_128;

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::names::Names;
use super::stream::Mark;
use crate::id::{GroupName, GroupNumber, RelayId, StorageId};
use crate::topology::settings::GroupSettings;
use crate::topology::{Queue, Topology};
use crate::wire::link::{Fact, GroupEntry, Membership, Version};

/// When what a topology says of groups and queues is heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// At a start, or soon after it: what it says for the first time. What was heeded once, and was set or
    /// removed by hand since, stays as it is.
    Start,
    /// It is applied now: all it says.
    Applied,
}

/// The version in which a file says that a relay is a member.
const PLANNED: Version = Version { counter: 0, storage: StorageId([0; 16]) };

/// How marks and geneses speak of a membership. That of a file counts in every version.
pub(super) fn in_marks(version: Version) -> u64 {
    if version == PLANNED { u64::MAX } else { version.counter }
}

/// The version of an entry of a file: of two files that differ one counts everywhere.
fn version_of(settings: &GroupSettings, home: &RelayId) -> Version {
    let said = crate::wire::body::encode(&(settings, home));
    Version { counter: 0, storage: StorageId(xxh3_128(&said).max(1).to_be_bytes()) }
}

impl Group {
    /// Whether others say that it is a queue which lives at `me`, and that was never made here.
    fn awaits(&self, me: &RelayId) -> bool {
        let is_said = self.spread.as_deref().is_some_and(|spread| {
            spread.names.home.as_ref() == Some(me) && spread.names.backlog_at(me).is_none()
        });
        is_said && !self.queue && self.subscriptions.is_empty()
    }

    /// Whether somebody has made a group of it, if it is no queue. That a relay is a member says neither: that may
    /// be heard before the rest.
    pub(super) fn is_made(&self) -> bool {
        let names = self.spread.as_deref().map(|spread| &spread.names);
        let is_said = |names: &Names| names.version != Version::default() || !names.subscriptions.is_empty();
        !self.subscriptions.is_empty() || names.is_some_and(is_said)
    }

    /// Whether nobody has made anything of it: it was put into, and no more.
    pub(super) fn is_bare(&self) -> bool {
        let spread = self.spread.as_deref();
        let is_silent = spread.is_none_or(|spread| {
            let names = &spread.names;
            let has_member = spread.parts.members.values().any(|(_, member)| *member);
            names.version == Version::default() && names.subscriptions.is_empty() && !has_member
        });
        is_silent && !self.queue && self.subscriptions.is_empty()
    }
}

impl Relay {
    /// Goes by the file that it was started with, as long as no topology was applied.
    pub(super) fn take_file(&mut self, now: Now) {
        let Some(topology) = self.file_in_force() else { return };
        self.set_groups(now, &topology, Occasion::Start);
        self.take_queues(now, &topology, Occasion::Start);
    }

    /// It is known now who is a member of what: what the file says besides is news.
    pub(super) fn take_queues_in_force(&mut self, now: Now) {
        if let Some(topology) = self.file_in_force().or_else(|| self.topology_in_force()) {
            self.take_queues(now, &topology, Occasion::Start);
        }
    }

    /// A relay that may have lost its disk hears first of the queues that it had: those are made again,
    /// and it is told what is lost with them.
    pub(super) fn take_queues(&mut self, now: Now, topology: &Topology, occasion: Occasion) {
        if self.links.has_table {
            self.take_own_queues(now, topology, occasion);
            self.plan_queues(now, topology);
        }
    }

    /// Says of the queues of a topology that live at other relays what these have not said yet.
    pub(super) fn plan_queues(&mut self, now: Now, topology: &Topology) {
        if !self.links.has_table || self.is_alone() {
            return;
        }
        let me = self.options.relay.clone();
        for queue in topology.queues().iter().filter(|queue| queue.home != me.as_str()) {
            self.plan_queue(now, queue, false);
        }
    }

    /// The text in force is applied again here: its queues are made again though they were removed. Their homes
    /// hear of no new topology that would tell them so.
    pub(super) fn plan_queues_again(&mut self, now: Now, topology: &Topology) {
        if !self.is_alone() {
            let me = self.options.relay.clone();
            let others = topology.queues().iter().filter(|queue| queue.home != me.as_str());
            others.for_each(|queue| self.plan_queue(now, queue, true));
        }
    }

    fn plan_queue(&mut self, now: Now, queue: &Queue, again: bool) {
        let (Ok(name), Ok(home)) = (GroupName::new(&queue.name), RelayId::new(&queue.home)) else { return };
        let known = self.groups.number(&name);
        let is_bare = known.and_then(|number| self.groups.get(number)).is_none_or(Group::is_bare);
        // One that was removed since is not made again by whoever reads the file.
        let is_over = self.removed.contains_key(&name) && !again;
        if !is_bare || is_over || self.orphans().is_gone(&home) {
            return;
        }
        if known.is_none() && self.check_group_room().is_err() {
            return;
        }
        let number = known.unwrap_or_else(|| self.group_or_make(now, &name));
        let Some(group) = self.groups.get(number).map(Group::id) else { return };
        let version = version_of(&queue.settings, &home);
        let settings = queue.settings.clone();
        let entry = GroupEntry { group: group.clone(), version, settings, home: Some(home.clone()) };
        let member = Membership { group, relay: home, version: PLANNED, member: true };
        self.learn_group(now, &entry);
        self.learn_membership(now, &member);
        self.flood(None, &[Fact::Group(entry), Fact::Membership(member)]);
    }

    /// Queues that others say live here, and that were never made here, are made.
    pub(super) fn take_planned_queues(&mut self, now: Now) {
        let me = self.options.relay.clone();
        let meant = self.groups.iter().filter(|group| group.awaits(&me)).map(|group| group.number);
        let meant: Vec<GroupNumber> = meant.filter(|_| !self.draining).collect();
        meant.into_iter().for_each(|number| self.make_queue_of(now, number));
    }

    /// The same of what has just been said of one, by whoever has read it in a file. What a relay has said
    /// may be of a disk that is lost here: then the names that follow tell.
    pub(super) fn take_planned_queue(&mut self, now: Now, number: GroupNumber, entry: &GroupEntry) {
        let is_awaited = self.groups.get(number).is_some_and(|group| group.awaits(&self.options.relay));
        if entry.version.counter == 0 && is_awaited && !self.draining {
            self.make_queue_of(now, number);
        }
    }

    /// Makes a queue of a group of which nobody has made anything. False: there is none, or it is
    /// something already.
    pub(super) fn take_bare_named(&mut self, now: Now, name: &GroupName, settings: &GroupSettings) -> bool {
        let Some(number) = self.groups.number(name) else { return false };
        let Some(group) = self.groups.get_mut(number) else { return false };
        if self.draining || !(group.awaits(&self.options.relay) || group.is_bare()) {
            return false;
        }
        *group.settings = settings.clone();
        group.heed_fifo();
        self.make_queue_of(now, number);
        true
    }

    fn make_queue_of(&mut self, now: Now, number: GroupNumber) {
        self.set_queue_home(number, true);
        if let Err(refusal) = self.make_backlog(now, number) {
            self.set_queue_home(number, false);
            return self.warn(format!("a queue of the topology is not made: {refusal}"));
        }
        self.announce_group(number);
    }

    /// A membership is noted in the own stream.
    pub(super) fn mark_member(&mut self, now: Now, number: GroupNumber, membership: &Membership) {
        let Membership { relay, version, member, .. } = membership;
        self.mark(now, number, Mark { relay: relay.clone(), member: *member, version: in_marks(*version) });
    }
}
