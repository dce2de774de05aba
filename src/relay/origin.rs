//! Who puts messages into a group, as every relay is to know it (R5).
//!
//! An origin is part of its group's tree. It says that it is one before it sends the first record,
//! and no longer when everybody who is owed them has all its records and it has had none to send
//! for a long time: then the tree does without it. It goes on being asked for nothing, and says
//! that it is one again with its next message, which does not wait for that: what it says of
//! itself is on the same way to others before the message, and in the log before it too.
//!
//! ```text
//!            first record                     all released, and quiet for so long
//!  nothing ───────────────▶ active ◀──────────────────────────────▶ quiet
//!                                     next record, or one not released after a restart
//! ```
//!
//! While it is quiet nobody waits for its stream, so it notes no memberships there. What has
//! changed of them stands before its next message: that is the same place.

use super::Relay;
use super::forget::Orphans;
use super::group::Group;
use super::input::Now;
use super::state::Operation;
use super::stream::{Mark, Stream};
use super::timer::Timer;
use crate::id::{GroupNumber, RelayId};
use crate::log::{Entry, Urgency};
use crate::wire::link::{Fact, Origin, Version};

impl Group {
    /// Whether a relay is to be part of the group's tree for what it has put, as it sees it itself.
    fn is_origin(&self, me: &RelayId, orphans: Orphans<'_>, leaves: bool) -> bool {
        let is_waited_for = self.traffic.as_ref().is_some_and(|traffic| !traffic.awaited.is_empty());
        let is_writing = self.own.is_some() && !self.is_quiet();
        is_writing || is_waited_for || !self.is_settled(me, orphans, leaves)
    }

    /// Whether everybody has all that a relay has put who is owed it, also what is known only by
    /// receipts: of a disk that it has lost.
    /// What is here of streams that nobody writes any more counts like its own, unless it is part
    /// of the tree as a member. Who `leaves` waits for nothing of a lost disk of which nothing is here: nobody
    /// needs this relay for that, and those who have it see to it that it gets through.
    fn is_settled(&self, me: &RelayId, orphans: Orphans<'_>, leaves: bool) -> bool {
        let is_elsewhere = |s: &Stream| leaves && orphans.is_one(s);
        let is_open = |s: &Stream| s.last > s.released || (s.furthest() > s.released && !is_elsewhere(s));
        let is_kept = |s: &Stream| s.last > s.released && self.subscriptions.is_empty() && orphans.is_one(s);
        !self.streams.iter().any(|s| if s.origin == *me { is_open(s) } else { is_kept(s) })
    }

    /// Whether this relay has a stream that it may write on, and has said that it is no origin now.
    pub(super) fn is_quiet(&self) -> bool {
        self.spread.as_deref().is_some_and(|spread| spread.is_quiet)
    }

    pub(super) fn said_origin(&self, me: &RelayId) -> (Version, bool) {
        let said = self.spread.as_deref().and_then(|spread| spread.parts.origins.get(me));
        said.copied().unwrap_or_default()
    }
}

impl Relay {
    /// Says whether this relay puts messages into a group, in a version above `above`, if that is
    /// news.
    pub(super) fn announce_origin(&mut self, now: Now, number: GroupNumber, above: Version) {
        if self.is_alone() {
            return;
        }
        let (relay, storage) = (self.options.relay.clone(), self.options.epoch.storage);
        let least = self.least_version();
        let orphans = Orphans { forgotten: &self.forgotten, states: &self.links.states };
        let Some(group) = self.groups.get_mut(number) else { return };
        let active = group.is_origin(&relay, orphans, self.draining);
        let known = group.said_origin(&relay);
        // What was said before this relay was forgotten is void to all others. It is said again when that
        // is learned; but a crash may have been faster than the disk.
        let is_void = active && known.0.counter < least.counter;
        if known.1 == active && known.0 >= above && !is_void {
            return;
        }
        let version = known.0.max(above).max(least).next(storage);
        group.spread().parts.set_origin(&relay, version, active);
        let id = group.id();
        let operation = Operation::OriginSet { group: number, relay: relay.clone(), version, active };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Ride);
        self.flood(None, &[Fact::Origin(Origin { group: id, relay, version, active })]);
        self.plan(number);
        if active {
            self.timers.set_by(Timer::Quiet(number), now.time.after_ms(self.options.origin_quiet_ms));
        }
    }

    /// Something is put into the own stream: this relay is an origin again, and notes in it which
    /// memberships have changed while it was none.
    pub(super) fn end_quiet(&mut self, now: Now, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number).filter(|group| group.is_quiet()) else { return };
        group.spread().is_quiet = false;
        let Some(own) = group.own else { return };
        let noted = group.stream(own).map(|stream| stream.marks.clone()).unwrap_or_default();
        self.announce_origin(now, number, Version::default());
        let members = self.genesis(number).members;
        let gone = noted.iter().filter(|(relay, _)| !members.iter().any(|(member, _)| member == *relay));
        let gone = gone.map(|(relay, (_, version))| (relay.clone(), *version, false));
        let come =
            members.iter().filter(|(relay, version)| noted.get(relay).is_none_or(|(_, v)| v != version));
        let come = come.map(|(relay, version)| (relay.clone(), *version, true));
        for (relay, version, member) in gone.chain(come).collect::<Vec<_>>() {
            self.mark(now, number, Mark { relay, member, version });
        }
    }

    /// It may be that nothing was put for a while.
    pub(super) fn on_quiet_time(&mut self, now: Now, number: GroupNumber) {
        let (me, quiet_ms) = (self.options.relay.clone(), self.options.origin_quiet_ms.max(1));
        let orphans = Orphans { forgotten: &self.forgotten, states: &self.links.states };
        let Some(group) = self.groups.get_mut(number).filter(|group| group.said_origin(&me).1) else {
            return;
        };
        let last = group.traffic.as_ref().map_or(crate::id::Time(0), |traffic| traffic.last_put);
        let due = last.after_ms(quiet_ms);
        let is_waited_for = group.traffic.as_ref().is_some_and(|traffic| !traffic.awaited.is_empty());
        if due > now.time && !self.draining {
            return self.timers.set(Timer::Quiet(number), due);
        }
        // Who leaves for good says first what is finished.
        let is_unsaid = self.draining && !self.journal.is_durable();
        if is_waited_for || is_unsaid || !group.is_settled(&me, orphans, self.draining) {
            return self.timers.set(Timer::Quiet(number), now.time.after_ms(quiet_ms));
        }
        group.spread().is_quiet = group.own.is_some();
        self.announce_origin(now, number, Version::default());
    }

    /// What was said before this start is looked after.
    pub(super) fn watch_origins(&mut self, now: Now) {
        let me = &self.options.relay;
        let active = self.groups.iter().filter(|group| group.said_origin(me).1);
        let numbers: Vec<GroupNumber> = active.map(|group| group.number).collect();
        for number in numbers {
            self.timers.set(Timer::Quiet(number), now.time.after_ms(self.options.origin_quiet_ms));
        }
    }

    /// What the log holds of the own streams makes this relay an origin, though a crash may have
    /// taken back that it said so.
    pub(super) fn rebuild_origins(&mut self, now: Now) {
        let (me, least) = (&self.options.relay, self.least_version().counter);
        let orphans = self.orphans();
        let is_silent = |group: &&Group| {
            let (version, active) = group.said_origin(me);
            !(active && version.counter >= least) && group.is_origin(me, orphans, false)
        };
        let silent: Vec<GroupNumber> =
            self.groups.named().filter(is_silent).map(|group| group.number).collect();
        for number in silent {
            self.announce_origin(now, number, Version::default());
        }
    }

    /// Somebody has said whether a relay puts messages into a group.
    pub(super) fn learn_origin(&mut self, now: Now, origin: &Origin) -> bool {
        let Some(number) = self.group_of(now, &origin.group) else { return false };
        let Some(group) = self.groups.get_mut(number) else { return false };
        let Origin { relay, version, active, .. } = origin;
        if *relay == self.options.relay {
            if *version > group.said_origin(relay).0 {
                if *active && version.storage != self.options.epoch.storage {
                    self.mourn(now, number, *version);
                } else {
                    self.announce_origin(now, number, *version);
                }
            }
            return false;
        }
        if !group.spread().parts.set_origin(relay, *version, *active) {
            return false;
        }
        let operation =
            Operation::OriginSet { group: number, relay: relay.clone(), version: *version, active: *active };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Ride);
        self.plan(number);
        true
    }

    /// Reads again who puts into a group. What stands before it in this relay's own streams was
    /// released when it said that it puts no more.
    pub(super) fn replay_origin(&mut self, number: GroupNumber, relay: &RelayId, said: (Version, bool)) {
        let is_own = *relay == self.options.relay;
        let Some(group) = self.groups.get_mut(number) else { return };
        group.spread().parts.set_origin(relay, said.0, said.1);
        if is_own && !said.1 {
            for stream in group.streams.iter_mut().filter(|s| s.origin == *relay) {
                stream.release(stream.last);
            }
        }
    }

    /// After how long without a message an origin is quiet, for simulations.
    #[cfg(any(test, feature = "sim"))]
    pub fn set_origin_quiet_ms(&mut self, ms: u64) {
        self.options.origin_quiet_ms = ms;
    }
}
