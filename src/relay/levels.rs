//! Puts that wait for more than this relay's disk: copies elsewhere, every backlog, every ack.
//!
//! What is waited for is told by receipts ([`super::receipt`]). The origin says along the tree how
//! far it wants to hear; whoever has the stream then says at once how far it has come, and what
//! its subscriptions are done with. The publisher is told first that its messages are durable
//! here, and again when the level that it asked for is reached, however late.
//!
//! If another relay took a put before and its answer was lost, nobody says here who has it, but how far that
//! relay's stream is released: at all members. A put that waits to be consumed is answered as accepted then.

use super::copies::Earlier;
use super::group::Group;
use super::input::Now;
use super::journal::WaitingPut;
use super::stream::Stream;
use super::{Effect, Relay};
use crate::id::{GroupNumber, Index, RelayId, Sequence, SessionId, StorageId, StreamNumber};
use crate::wire::frame::{AckLevel, PutDone};
use crate::wire::link::Version;

/// Where the messages of a put end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// In the group.
    pub(super) end: Index,
    /// In the own stream.
    pub(super) last: Sequence,
    /// Whether some may stand in an own stream of an epoch before: it was a repeat.
    pub(super) is_repeat: bool,
}

/// A put that waits.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    pub(super) session: SessionId,
    pub(super) done: PutDone,
    pub(super) level: AckLevel,
    pub(super) copies: u16,
    pub(super) reach: Reach,
    /// Of one that is tried again.
    pub(super) earlier: Option<Earlier>,
    /// Whether another relay took some of it before.
    pub(super) is_elsewhere: bool,
    /// How far streams of others are to be released then: that alone is known here of who has it.
    elsewhere: Vec<(StreamNumber, Sequence)>,
}

impl Awaited {
    /// Whether some of its messages are among these, half-open, of the stream of this boot.
    pub(super) fn overlaps(&self, (from, to): (Sequence, Sequence)) -> bool {
        self.done.first < to && from <= self.reach.last
    }

    /// Nothing more comes of it.
    pub(super) fn given_up(&self) -> Effect {
        Effect::PutDone { session: self.session, done: PutDone { has_more: false, ..self.done } }
    }
}

/// How far a group has come, for puts that wait.
#[derive(Clone, Debug)]
struct Progress {
    /// The own stream is in the backlogs of all members up to here.
    inserted: Sequence,
    /// All subscriptions elsewhere are done with it up to here.
    consumed: Sequence,
    /// Whether all own streams of epochs before are in all backlogs, and consumed elsewhere.
    are_old_inserted: bool,
    are_old_consumed: bool,
}

impl Group {
    /// Whether acks should be on disk soon, because somebody here or elsewhere waits for them.
    pub(super) fn awaits_acks(&self) -> bool {
        let here =
            self.traffic.as_ref().is_some_and(|t| t.awaited.iter().any(|a| a.level == AckLevel::Consumed));
        here || self.streams.iter().any(|s| s.wanted > s.told.1)
    }

    fn progress(&self, (me, storage): (&RelayId, StorageId)) -> Progress {
        let parts = self.spread.as_deref().map(|spread| &spread.parts);
        let is_member = |relay: &RelayId| parts.is_none_or(|parts| parts.may_be_member(relay));
        let own = self.own.and_then(|own| self.streams.iter().find(|s| s.number == own));
        let old =
            || self.streams.iter().filter(|s| s.is_written_by(me, storage) && Some(s.number) != self.own);
        // What somebody has brought along may be any of it, also what its new home was never owed.
        let is_told = !self.may_be_brought_along(me);
        let consumed = own.filter(|_| is_told).map(|own| own.consumed_elsewhere(me, is_member));
        Progress {
            inserted: own.map_or(Sequence(0), |own| own.covered(me, is_member)),
            consumed: consumed.unwrap_or(Sequence(0)),
            are_old_inserted: old().all(|s| s.covered(me, is_member) >= s.last),
            are_old_consumed: is_told && old().all(|s| s.consumed_elsewhere(me, is_member) >= s.last),
        }
    }

    /// Streams of others of which somebody may lack something, and how far they have come.
    fn unreleased_of_others(&self, (me, storage): (&RelayId, StorageId)) -> Vec<(StreamNumber, Sequence)> {
        let others = self.streams.iter().filter(|s| !s.is_written_by(me, storage) && s.released < s.last);
        others.map(|s| (s.number, s.last)).collect()
    }

    /// Whether they are released so far; those that are not known any more were released to their ends.
    fn are_released(&self, streams: &[(StreamNumber, Sequence)]) -> bool {
        let lacks =
            |s: &Stream| streams.iter().any(|(number, last)| *number == s.number && s.released < *last);
        streams.is_empty() || !self.streams.iter().any(lacks)
    }

    fn is_reached(&self, me: (&RelayId, StorageId), awaited: &Awaited, progress: &Progress) -> bool {
        let Reach { end, last, is_repeat } = awaited.reach;
        if !self.are_released(&awaited.elsewhere) {
            return false;
        }
        match awaited.level {
            AckLevel::Accepted => true,
            AckLevel::Stored => self.copies(me, awaited) >= usize::from(awaited.copies),
            AckLevel::Inserted => progress.inserted >= last && (!is_repeat || progress.are_old_inserted),
            AckLevel::Consumed => {
                let elsewhere = progress.consumed >= last && (!is_repeat || progress.are_old_consumed);
                elsewhere && self.is_consumed(end) && !self.has_brought()
            }
        }
    }
}

impl Relay {
    /// Messages of a put are durable here: answers it, or lets it wait for its level.
    pub(super) fn finish_put(&mut self, now: Now, number: GroupNumber, reach: Reach, put: WaitingPut) {
        let WaitingPut { session, done, level, copies, is_elsewhere, earlier_from } = put;
        if level == AckLevel::Accepted {
            return self.effects.push_back(Effect::PutDone { session, done });
        }
        // What others are done with is told to the relay that took it first, and to nobody else.
        let is_told = !(is_elsewhere && level == AckLevel::Consumed);
        let is_again = is_told && level == AckLevel::Consumed && reach.is_repeat && !self.is_alone();
        let (reach, is_told) = if is_again { self.reach_again(now, number, reach) } else { (reach, is_told) };
        let me = self.options.relay.clone();
        let me = (&me, self.options.epoch.storage);
        let Some(group) = self.groups.get_mut(number) else { return self.refuse_removed(session, done) };
        let elsewhere = if is_elsewhere { group.unreleased_of_others(me) } else { Vec::new() };
        let earlier = earlier_from.map(|from| group.earlier(from, level));
        let awaited = Awaited { session, done, level, copies, reach, earlier, is_elsewhere, elsewhere };
        if is_told && group.is_reached(me, &awaited, &group.progress(me)) {
            return self.effects.push_back(Effect::PutDone { session, done: PutDone { level, ..done } });
        }
        let is_possible = is_told && self.is_possible(number, &awaited);
        self.effects.push_back(Effect::PutDone { session, done: PutDone { has_more: is_possible, ..done } });
        let Some(group) = self.groups.get_mut(number).filter(|_| is_possible) else { return };
        let me = (&self.options.relay, self.options.epoch.storage);
        let own = group.own;
        for stream in group.streams.iter_mut().filter(|s| s.is_written_by(me.0, me.1)) {
            let is_current = Some(stream.number) == own;
            let wanted = if is_current { reach.last } else { stream.last };
            if is_current || (reach.is_repeat && (is_again || stream.released < stream.last)) {
                stream.wanted = stream.wanted.max(wanted);
            }
        }
        let is_acked = group.owed_here() >= reach.end;
        group.traffic().awaited.push(awaited);
        self.wants_due.insert(number);
        self.announce_origin(now, number, Version::default());
        if level == AckLevel::Consumed && is_acked {
            self.settle_acks(now, number);
        }
    }

    /// How far all has to be consumed for a put that is tried again, and whether it may wait for that. It may
    /// stand in an epoch before, which may be finished, so that nobody says any more who has acked it. At every
    /// member the stream of this boot stands behind it (I10): so there is to be one. Whoever comes to be a
    /// member meanwhile says what it is done with only to those of whom it has something, too.
    fn reach_again(&mut self, now: Now, number: GroupNumber, reach: Reach) -> (Reach, bool) {
        if self.draining || self.groups.get(number).is_none() {
            // The stream of this boot was sealed, and there is no other one.
            return (reach, false);
        }
        let own = self.own_stream(now, number);
        let last = self.groups.get_mut(number).and_then(|group| group.stream(own)).map(|own| own.last);
        (Reach { last: last.unwrap_or(reach.last), ..reach }, true)
    }

    /// Answers the puts of a group of which nobody will know whether they are consumed.
    pub(super) fn give_up_consumed(&mut self, number: GroupNumber) {
        self.settle_levels(number);
        let Some(traffic) = self.groups.get_mut(number).and_then(|group| group.traffic.as_mut()) else {
            return;
        };
        let given_up = traffic.awaited.extract_if(.., |awaited| awaited.level == AckLevel::Consumed);
        self.effects.extend(given_up.map(|awaited| awaited.given_up()));
    }

    /// Answers the puts of a group that have come far enough.
    pub(super) fn settle_levels(&mut self, number: GroupNumber) {
        let me = (&self.options.relay, self.options.epoch.storage);
        let Some(group) = self.groups.get_mut(number) else { return };
        if group.traffic.as_ref().is_none_or(|traffic| traffic.awaited.is_empty()) {
            return;
        }
        let progress = group.progress(me);
        let mut awaited = std::mem::take(&mut group.traffic().awaited);
        awaited.retain(|awaited| {
            let is_reached = group.is_reached(me, awaited, &progress);
            if is_reached {
                let done = PutDone { level: awaited.level, has_more: false, ..awaited.done };
                self.effects.push_back(Effect::PutDone { session: awaited.session, done });
            }
            !is_reached
        });
        group.traffic().awaited = awaited;
    }

    /// Says along the trees how far this relay wants to hear.
    pub(super) fn tell_wants(&mut self) {
        for number in std::mem::take(&mut self.wants_due) {
            let (me, storage) = (&self.options.relay, self.options.epoch.storage);
            let Some(group) = self.groups.get_mut(number) else { continue };
            let id = group.id();
            let mut told = Vec::new();
            for s in group.streams.iter_mut().filter(|s| s.is_written_by(me, storage) && s.wanted > s.told.0)
            {
                s.told.0 = s.wanted;
                told.push(s.released_in(&id));
            }
            if !told.is_empty() {
                self.tell_released(number, None, &told);
            }
        }
    }
}
