//! A subscription moves to another home (R12): the home to which it comes.
//!
//! It is made when the old home asks for it, and keeps its place in the log from then on, as every
//! subscription does; but it has no name yet: nobody finds it or receives from it, and no other relay
//! hears of it. When the old home has handed over what is done with, it is one like any other. What it
//! has in its log of what is done with is passed over when it would be delivered.
//!
//! It asks the old home again and again whether the move goes on. So one that was given up, or whose
//! old home has lost its disk, goes away by itself.

mod passed;

use serde::{Deserialize, Serialize};

use super::Relay;
use super::input::Now;
use super::requests::check_spec;
use super::state::{Operation, RestoreError};
use super::stream::Stream;
use super::subscription::{Removal, SubscriptionKey, SubscriptionNumber, subscription_from};
use crate::id::{GroupNumber, Index, RelayId, Sequence, StorageId, SubscriptionName, WallTime};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::body::{Refusal, RefusalCode, SubscriptionSpec};
use crate::wire::link::{NameEntry, Version};
use crate::wire::moving::{Done, Keeper, Left, MoveFrame, MoveSays, ProducerDone, StreamAt};
use crate::wire::run::StoredRun;

/// Where a subscription has come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arrived {
    pub(super) from: RelayId,
    pub(super) token: u64,
    /// What is done with; `None`: it is still served there.
    pub(super) done: Option<Done>,
    /// Whether it is the backlog of a queue, which comes with it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) queue: bool,
    /// When it came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) at: Option<WallTime>,
    /// It has gone back since: what is here before this place is for it again, whatever was done with there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) again: Option<Index>,
    /// Whether the old home has said that it has it no more, since this relay was started.
    #[serde(skip)]
    pub(super) is_settled: bool,
    /// Whether it was said once more that it does not live at the old home.
    #[serde(skip)]
    pub(super) is_said_again: bool,
}

impl Arrived {
    pub(super) fn new(from: RelayId, token: u64, queue: bool) -> Self {
        Self {
            from,
            token,
            done: None,
            queue,
            at: None,
            again: None,
            is_settled: false,
            is_said_again: false,
        }
    }

    /// What is done with of all that stands here from this place on; none, while some of that is for it again.
    pub(super) fn done_from(&self, at: Index) -> Option<&Done> {
        self.done.as_ref().filter(|_| self.again.is_none_or(|again| again <= at))
    }
}

/// How far what stands in a run from `at` on is done with elsewhere, if it is; else where it may be again.
pub(super) fn done_to(
    arrived: Option<&Arrived>,
    streams: &[Stream],
    run: &StoredRun,
    at: Index,
) -> (bool, Index) {
    let done = arrived.and_then(|arrived| arrived.done.as_ref());
    let Some(done) = done else { return (false, Index(u64::MAX)) };
    let header = &run.run.header;
    let sequence = Sequence(header.first.0 + (at.0 - run.first_index.0));
    let place = streams.binary_search_by_key(&run.stream, |s: &Stream| s.number).ok();
    let Some(stream) = place.and_then(|place| streams.get(place)) else { return (false, run.end_index()) };
    let last = last_done(done, stream);
    if sequence <= last {
        let behind = at.after(last.0.saturating_sub(sequence.0).saturating_add(1).min(1 << 40));
        return (true, behind.min(run.end_index()));
    }
    // A producer may have put it at another relay before, and then it was delivered there.
    let known = header.producer.and_then(|(producer, first)| {
        let place = done.producers.binary_search_by_key(&producer, |known| known.producer).ok()?;
        let sequence = first.0.saturating_add(at.0 - run.first_index.0);
        Some(repeat_to(&done.producers[place], sequence))
    });
    match known {
        Some((is_repeat, count)) => (is_repeat, at.after(count.min(1 << 40)).min(run.end_index())),
        None => (false, run.end_index()),
    }
}

fn last_done(done: &Done, stream: &Stream) -> Sequence {
    let is_finished = done.finished.iter().any(|(origin, storage, through)| {
        *origin == stream.origin && *storage == stream.epoch.storage && stream.epoch.counter <= *through
    });
    if is_finished {
        return Sequence(u64::MAX);
    }
    let key = (&stream.origin, stream.epoch);
    let place = done.streams.binary_search_by(|at| (&at.origin, at.epoch).cmp(&key)).ok();
    place.map_or(Sequence(0), |place| done.streams[place].last)
}

/// Whether a producer has put this before, and for how many from it on that is so.
fn repeat_to(known: &ProducerDone, sequence: u64) -> (bool, u64) {
    if sequence < known.floor {
        return (true, known.floor - sequence);
    }
    match known.ranges.iter().find(|(_, to)| *to > sequence) {
        Some((from, to)) if *from <= sequence => (true, to - sequence),
        Some((from, _)) => (false, from - sequence),
        None => (false, u64::MAX),
    }
}

/// Adds what was done with before to what is done with here, where nothing is known of it.
pub(super) fn join(producers: &mut Vec<ProducerDone>, before: &[ProducerDone]) {
    for old in before {
        match producers.binary_search_by_key(&old.producer, |known| known.producer) {
            Ok(place) => {
                let known = &mut producers[place];
                let mut all: Vec<(u64, u64)> =
                    known.ranges.iter().chain(&old.ranges).copied().filter(|(from, to)| from < to).collect();
                all.sort_unstable();
                known.floor = known.floor.max(old.floor);
                known.ranges = Vec::new();
                for (from, to) in all {
                    match known.ranges.last_mut() {
                        Some(last) if from <= last.1 => last.1 = last.1.max(to),
                        _ => known.ranges.push((from, to)),
                    }
                }
            }
            Err(place) => producers.insert(place, old.clone()),
        }
    }
}

impl Relay {
    /// Another relay wants a subscription of it to live here.
    pub(super) fn on_prepare(
        &mut self,
        now: Now,
        frame: &MoveFrame,
        how: (SubscriptionSpec, bool),
        void: Option<Version>,
    ) {
        let number = self.group_of(now, &frame.group);
        if let (Some(number), Some(version)) = (number, void) {
            self.void_name(now, number, frame, version);
        }
        let refusal = match number {
            None => return self.answer_move(frame, MoveSays::Void),
            Some(number) => match self.prepare(now, number, frame, &how) {
                Ok(key) => return self.say_prepared(now, key, frame),
                Err(refusal) => refusal,
            },
        };
        self.answer_move_durably(now, frame, MoveSays::Refused(refusal));
    }

    /// What this relay has said of a name on a disk that it has lost is void: the old home has it.
    fn void_name(&mut self, now: Now, number: GroupNumber, frame: &MoveFrame, version: Version) {
        self.drop_remade(now, (number, &frame.name), version);
        let me = self.options.relay.clone();
        let Some(group) = self.groups.get_mut(number) else { return };
        let known = group.spread().names.subscriptions.get(&(frame.name.clone(), me.clone()));
        if known.is_none_or(|known| known.version < version)
            && !self.names.contains_key(&(number, frame.name.clone()))
        {
            let (group, name) = (frame.group.clone(), frame.name.clone());
            self.say_name(number, NameEntry { group, name, home: me, version, spec: None });
        }
    }

    /// Removes one that was made again from what others knew, if that is void: it had gone to another
    /// home, or had never come here. Whether there was one.
    pub(super) fn drop_remade(
        &mut self,
        now: Now,
        (number, name): (GroupNumber, &SubscriptionName),
        void: Version,
    ) -> bool {
        let Some(found) = self.names.get(&(number, name.clone())).copied() else { return false };
        let key = SubscriptionKey { group: number, number: found };
        let remade = self.groups.subscription(key).and_then(|subscription| subscription.remade);
        if remade.is_none_or(|remade| remade >= void) {
            return false;
        }
        if self.groups.get(number).is_some_and(|group| group.queue) {
            self.set_queue_home(number, false);
        }
        // What is said from now on is said above it.
        let Some(group) = self.groups.get(number).map(|group| group.id()) else { return false };
        let (name, home) = (name.clone(), self.options.relay.clone());
        self.keep_name(number, &NameEntry { group, name: name.clone(), home, version: void, spec: None });
        let message = format!("subscription `{name}` lives at another relay: try again");
        self.remove_subscription(now, key, Refusal::new(RefusalCode::NotReady, message), Removal::Elsewhere);
        self.moves.remove(&key);
        true
    }

    /// Whether one of this name is to come here, and has not come.
    pub(super) fn comes(&self, number: GroupNumber, name: &SubscriptionName) -> bool {
        self.arrival(number, name).is_some_and(|(_, arrived)| arrived.done.is_none())
    }

    /// Whether a relay says that a subscription lives there that has come here from it: it has lost its
    /// disk, and others have not heard. Not so where it was handed back to it.
    pub(super) fn says_again(&self, number: GroupNumber, entry: &NameEntry) -> bool {
        let arrival = self.arrival(number, &entry.name).filter(|_| entry.spec.is_some());
        arrival.is_some_and(|(key, arrived)| {
            arrived.from == entry.home
                && arrived.done.is_some()
                && !arrived.is_said_again
                && !self.is_handed_to(key, &entry.home)
        })
    }

    /// Whether a subscription may have been taken over by the relay to which it goes.
    fn is_handed_to(&self, key: SubscriptionKey, home: &RelayId) -> bool {
        self.part_at(key).is_some_and(|(_, subscription)| {
            subscription.moving.as_deref().is_some_and(|moving| moving.to == *home) && subscription.is_spent()
        })
    }

    /// Says above that that it lives here: once, for it may be another one, made while they were apart.
    pub(super) fn disown_again(&mut self, number: GroupNumber, entry: &NameEntry) {
        let Some((key, _)) = self.arrival(number, &entry.name) else { return };
        if let Some(arrived) = self.groups.subscription(key).and_then(|s| s.arrived.as_deref_mut()) {
            arrived.is_said_again = true;
        }
        let version = entry.version.next(self.options.epoch.storage);
        self.say_name(number, NameEntry { version, spec: None, ..entry.clone() });
    }

    /// The subscription that comes by this move, and whether it has come.
    pub(super) fn arrives(&self, frame: &MoveFrame) -> Option<(SubscriptionKey, bool)> {
        if let Some(key) = self.merging_of(frame) {
            return Some((key, false));
        }
        let (key, arrived) = self.arrival(self.group_in(frame)?, &frame.name)?;
        let is_it = arrived.token == frame.token && arrived.from == frame.from;
        is_it.then(|| (key, arrived.done.is_some()))
    }

    /// The subscription of this name that has come, or comes, from elsewhere.
    fn arrival(&self, number: GroupNumber, name: &SubscriptionName) -> Option<(SubscriptionKey, &Arrived)> {
        let group = self.groups.get(number)?;
        let mut all = group.subscriptions.iter();
        let found = all.find(|s| s.name == *name && s.arrived.is_some())?;
        let key = SubscriptionKey { group: number, number: found.number };
        Some((key, found.arrived.as_deref()?))
    }

    fn prepare(
        &mut self,
        now: Now,
        number: GroupNumber,
        frame: &MoveFrame,
        (spec, queue): &(SubscriptionSpec, bool),
    ) -> Result<SubscriptionKey, Refusal> {
        if self.draining {
            return Err(self.draining_refusal());
        }
        let known = self.arrival(number, &frame.name);
        let known = known.map(|(key, a)| (key, a.token, a.from.clone(), a.done.is_some()));
        match known {
            Some((key, token, ..)) if token == frame.token => return Ok(key),
            // A move of the same relay that has begun again.
            Some((key, _, from, false)) if from == frame.from => self.drop_arriving(now, key),
            Some(_) | None => {}
        }
        self.check_arriving(number, frame, *queue)?;
        check_spec(spec)?;
        let is_full = self.names.len() + self.moves.len() >= limits::SUBSCRIPTIONS_MAX;
        let Some(group) = self.groups.get(number).filter(|_| !is_full) else {
            let message = format!("relay {} has no room for one more subscription", self.options.relay);
            return Err(Refusal::new(RefusalCode::Limit, message));
        };
        let (is_first, start) = (group.subscriptions.is_empty(), group.next);
        self.counters.subscriptions += 1;
        let key = SubscriptionKey { group: number, number: SubscriptionNumber(self.counters.subscriptions) };
        let operation = Operation::SubscriptionArriving {
            group: number,
            subscription: key.number,
            name: frame.name.clone(),
            shared: spec.shared,
            filter: spec.filter.clone(),
            window: spec.window.unwrap_or(limits::WINDOW_DEFAULT),
            start,
            from: frame.from.clone(),
            token: frame.token,
            queue: *queue,
        };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.apply(operation, false).expect("an operation that was checked applies");
        if is_first {
            self.begin_membership(now, number);
        }
        self.watch_moves(now, key);
        Ok(key)
    }

    /// Whether there is something here that is in the way of one that is to come.
    fn check_arriving(&self, number: GroupNumber, frame: &MoveFrame, queue: bool) -> Result<(), Refusal> {
        let (me, MoveFrame { group, name, .. }) = (&self.options.relay, frame);
        let is_known = self.arrival(number, name).is_some();
        let here = self.groups.get(number);
        let message = if here.is_some_and(|here| here.queue) {
            format!("relay {me} has a queue `{}` of its own", group.name)
        } else if is_known || self.names.contains_key(&(number, name.clone())) {
            format!("relay {me} has a subscription `{name}` of its own")
        } else if queue && here.is_some_and(|here| !here.subscriptions.is_empty()) {
            format!("relay {me} has subscriptions of its own in `{}`, which is a queue", group.name)
        } else {
            return Ok(());
        };
        Err(Refusal::new(RefusalCode::Exists, message))
    }

    /// Makes one that comes from elsewhere: now, or as the log tells it.
    pub(super) fn replay_arriving(&mut self, operation: Operation, replay: bool) -> Result<(), RestoreError> {
        let Operation::SubscriptionArriving {
            group,
            subscription,
            name,
            shared,
            filter,
            window,
            start,
            from,
            token,
            queue,
        } = operation
        else {
            return Ok(());
        };
        let how = (shared, filter.as_deref(), window);
        let mut made = subscription_from((subscription, name), how, (start, WallTime(0)))?;
        made.arrived = Some(Box::new(Arrived::new(from, token, queue)));
        self.add_subscription(group, made, replay);
        Ok(())
    }

    /// It has come.
    pub(super) fn replay_arrived(
        &mut self,
        key: SubscriptionKey,
        (done, at): (Done, Option<WallTime>),
        again: Option<Index>,
    ) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let subscription = &mut group.subscriptions[place];
        if let Some(arrived) = &mut subscription.arrived {
            (arrived.done, arrived.at, arrived.again) = (Some(done), at, again);
            if arrived.queue {
                // Its home is owed everything that comes.
                (group.queue, subscription.replays) = (true, true);
            }
            let name = subscription.name.clone();
            self.names.insert((key.group, name), key.number);
        }
    }

    /// Says that it is made, when that and the membership are durable.
    fn say_prepared(&mut self, now: Now, key: SubscriptionKey, frame: &MoveFrame) {
        let me = &self.options.relay;
        let Some(keeper) = self.keeper_of(key) else { return };
        let Some(group) = self.groups.get(key.group) else { return };
        // Else it is asked again, and answered when others are told of the membership in which it comes.
        let Some(version) = group.membership_told(me) else { return };
        let arrived = group.find(key.number).and_then(|place| group.subscriptions[place].arrived.as_deref());
        let says = match arrived {
            Some(Arrived { done: None, .. }) => {
                MoveSays::Prepared { keeper, version, streams: group.unreleased(|_| true), own: Vec::new() }
            }
            Some(_) => MoveSays::Taken,
            None => return,
        };
        self.answer_move_durably(now, frame, says);
    }

    /// Where one is kept that comes.
    pub(super) fn keeper_of(&self, key: SubscriptionKey) -> Option<Keeper> {
        let from = self.part_at(key)?.1.start;
        Some(Keeper { storage: self.options.epoch.storage, from })
    }

    /// Whether there is one that comes by this move.
    pub(super) fn keeps(&self, number: GroupNumber, frame: &MoveFrame) -> bool {
        let comes =
            self.arrival(number, &frame.name).is_some_and(|(_, arrived)| arrived.token == frame.token);
        comes || self.merging_of(frame).is_some()
    }

    /// One that comes, or has come, says so until the old home has let it go; whether it has to.
    pub(super) fn step_arriving(&mut self, now: Now, key: SubscriptionKey) -> bool {
        let Some(arrived) = self.groups.subscription(key).and_then(|s| s.arrived.as_deref()) else {
            return false;
        };
        if arrived.is_settled {
            return false;
        }
        let (from, is_taken) = (arrived.from.clone(), arrived.done.is_some());
        if self.orphans().is_gone(&from) {
            if is_taken {
                self.settle_arrived(key);
            } else {
                self.drop_arriving(now, key);
            }
            return false;
        }
        let answer = self.move_frame(key, &from, MoveSays::Taken);
        if let Some(frame) = answer {
            let asked = MoveFrame { from: frame.to.clone(), to: frame.from.clone(), ..frame };
            self.say_prepared(now, key, &asked);
        }
        true
    }

    fn settle_arrived(&mut self, key: SubscriptionKey) {
        if let Some(arrived) = self.groups.subscription(key).and_then(|s| s.arrived.as_deref_mut()) {
            arrived.is_settled = true;
        }
        self.mark_dirty_group(key.group);
    }

    /// The move was given up: what was kept for it is not needed.
    fn drop_arriving(&mut self, now: Now, key: SubscriptionKey) {
        let refusal = Refusal::new(RefusalCode::Removed, "the move was given up");
        self.remove_subscription(now, key, refusal, Removal::Wanted);
        self.moves.remove(&key);
    }

    /// The old home knows of no such move any more.
    pub(super) fn on_arriving_void(&mut self, now: Now, frame: &MoveFrame) {
        if let Some(key) = self.merging_of(frame) {
            return self.drop_merging(key);
        }
        let Some(number) = self.group_in(frame) else { return };
        let Some((key, arrived)) = self.arrival(number, &frame.name) else { return };
        if arrived.token != frame.token || arrived.from != frame.from {
            return;
        }
        if arrived.done.is_some() {
            self.settle_arrived(key);
        } else {
            self.drop_arriving(now, key);
        }
    }

    /// The old home hands over: from now on it lives here.
    pub(super) fn on_handover(
        &mut self,
        now: Now,
        frame: &MoveFrame,
        (keeper, said): (Keeper, Version),
        (done, left): (Done, &[Left]),
    ) {
        let number = self.group_in(frame);
        let known = number.and_then(|number| self.arrival(number, &frame.name));
        let known = known.filter(|(_, arrived)| arrived.token == frame.token && arrived.from == frame.from);
        let Some((key, is_taken)) = known.map(|(key, arrived)| (key, arrived.done.is_some())) else {
            return self.answer_move(frame, MoveSays::Void);
        };
        if !is_taken && self.keeper_of(key) != Some(keeper) {
            // Since it said where, it has lost its disk: what it keeps now begins too late.
            return self.answer_move(frame, MoveSays::Void);
        }
        if !is_taken && !self.open_remnants(key, left) {
            return self.answer_move(frame, MoveSays::Void);
        }
        if !is_taken {
            let SubscriptionKey { group, number: subscription } = key;
            let (done, at) = (Box::new(done), Some(now.wall));
            let operation = Operation::SubscriptionArrived { group, subscription, done, at, again: None };
            self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
            self.apply(operation, false).expect("an operation that was checked applies");
            let spec = self.spec_of(group, &frame.name);
            self.announce_name(group, &frame.name, spec);
            self.disown_name(key.group, frame, said);
            self.announce_queue(key.group);
            self.hold_brought(key.group);
        }
        self.answer_move_durably(now, frame, MoveSays::Taken);
    }

    /// A subscription that has come here goes back: what is here by now is for it again, also what was done with
    /// at its old home. What comes later and was done with there is not.
    pub(super) fn replay_done(&mut self, key: SubscriptionKey) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let (next, Some(place)) = (group.next, group.find(key.number)) else { return };
        let Some(arrived) = group.subscriptions[place].arrived.as_deref_mut() else { return };
        let Some(done) = arrived.done.clone().map(Box::new) else { return };
        arrived.again = Some(next);
        let SubscriptionKey { group, number: subscription } = key;
        let (at, again) = (arrived.at, arrived.again);
        let operation = Operation::SubscriptionArrived { group, subscription, done, at, again };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
    }

    /// Forgets what is done with of subscriptions that have come here, as far as nothing of it can come
    /// any more: it stands before what everybody has taken, or is finished here too. Whether there is more.
    pub(super) fn forget_done(&mut self, now: Now, number: GroupNumber) -> bool {
        let Some(group) = self.groups.get_mut(number) else { return false };
        let mut subscriptions = std::mem::take(&mut group.subscriptions);
        let idle_max_ms = group.settings.producer_idle_max_ms();
        let mut is_more = false;
        for subscription in &mut subscriptions {
            let may_be_brought = subscription.may_be_brought();
            let Some(arrived) = subscription.arrived.as_deref_mut() else { continue };
            let Some(done) = &mut arrived.done else { continue };
            let floor = subscription.cursor.floor().min(group.settled);
            // What is here of a stream may wait to be passed over, though everybody has it.
            let is_here = |origin: &RelayId, storage: StorageId, through: u64| {
                let of_it = |s: &&Stream| s.is_written_by(origin, storage) && s.epoch.counter <= through;
                group.streams.iter().filter(of_it).any(|stream| stream.end > floor)
            };
            let is_past = |at: &StreamAt| match group.stream_of(&at.origin, at.epoch) {
                Some(stream) if stream.end > floor => stream.last_below(floor) >= at.last,
                Some(stream) if stream.last >= at.last => true,
                Some(_) | None => group.is_finished(&at.origin, at.epoch),
            };
            done.streams.retain(|at| !is_past(at));
            done.parts.retain(|part| {
                let last = Sequence(part.to.0.saturating_sub(1));
                may_be_brought || !is_past(&StreamAt { origin: part.origin.clone(), epoch: part.epoch, last })
            });
            done.finished.retain(|(origin, storage, through)| {
                let mut known = group.finished().filter(|(o, s, _)| (*o, *s) == (origin, *storage));
                !known.any(|(.., known)| known >= *through) || is_here(origin, *storage, *through)
            });
            let is_old = |at: WallTime| now.wall.0.saturating_sub(at.0) / 1000 > idle_max_ms;
            if arrived.at.is_some_and(is_old) {
                done.producers.clear();
            }
            if arrived.is_settled && *done == Done::default() {
                subscription.arrived = None;
            } else {
                is_more = true;
            }
        }
        group.subscriptions = subscriptions;
        is_more
    }

    /// Says in the old home's place that it does not live there: it may not come to that.
    pub(super) fn disown_name(&mut self, number: GroupNumber, frame: &MoveFrame, said: Version) {
        let storage = self.options.epoch.storage;
        let Some(group) = self.groups.get(number) else { return };
        let names = group.spread.as_deref().map(|spread| &spread.names.subscriptions);
        let known = names.and_then(|names| names.get(&(frame.name.clone(), frame.from.clone())));
        let known = known.map_or(Version::default(), |named| named.version);
        let version = known.max(said).next(storage);
        let (group, name, home) = (group.id(), frame.name.clone(), frame.from.clone());
        self.say_name(number, NameEntry { group, name, home, version, spec: None });
    }
}
