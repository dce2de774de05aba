//! Two homes of one name are made one (R12): the home that stays.
//!
//! It is served all the while. What the other home brings comes into remnants ([`super::super::remnant`])
//! that nobody reads before that home hands over; then, in one entry of the log, they are opened, without
//! what this home is owed itself, and what was acked at the other one is done with here. A stream that is
//! not known here by then, or not known to be owed here, is that home's up to where it had it: what comes
//! of it later is passed over up to there.

mod third;

use super::super::Relay;
use super::super::arriving::Arrived;
use super::super::group::Group;
use super::super::input::Now;
use super::super::moving::Moving;
use super::super::requests::check_spec;
use super::super::state::Operation;
use super::super::subscription::{Subscription, SubscriptionKey};
use super::parts::in_order;
use super::{Brought, Merging, Taken};
use crate::id::{Epoch, GroupNumber, RelayId, Sequence};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::body::{Refusal, RefusalCode, SubscriptionSpec};
use crate::wire::link::Version;
use crate::wire::moving::{Done, Keeper, Left, MoveFrame, MoveSays, StreamAt, StreamPart};

/// Where a stream that is owed to a subscription goes on for ever.
const NO_END: Sequence = Sequence(u64::MAX);

impl Relay {
    /// The subscription into which the other home of this move closes, if it does.
    pub(in crate::relay) fn merging_of(&self, frame: &MoveFrame) -> Option<SubscriptionKey> {
        let number = self.group_in(frame)?;
        let found = self.names.get(&(number, frame.name.clone()))?;
        let group = self.groups.get(number)?;
        let merging = group.subscriptions.get(group.find(*found)?)?.merging.as_deref()?;
        let is_it = merging.token == frame.token && merging.from == frame.from;
        is_it.then_some(SubscriptionKey { group: number, number: *found })
    }

    /// Another home of a name that lives here is to close.
    pub(in crate::relay) fn on_merge_asked(
        &mut self,
        now: Now,
        frame: &MoveFrame,
        how: &(SubscriptionSpec, bool),
    ) {
        let Some(number) = self.group_in(frame) else { return self.answer_move(frame, MoveSays::Void) };
        match self.prepare_merge(now, number, frame, how) {
            Ok(key) => self.say_merge(now, key, frame),
            Err(refusal) => self.answer_move_durably(now, frame, MoveSays::Refused(refusal)),
        }
    }

    fn prepare_merge(
        &mut self,
        now: Now,
        number: GroupNumber,
        frame: &MoveFrame,
        (spec, queue): &(SubscriptionSpec, bool),
    ) -> Result<SubscriptionKey, Refusal> {
        check_spec(spec)?;
        let not_ready = |why: String| Err(Refusal::new(RefusalCode::NotReady, why));
        let me = self.options.relay.clone();
        let known = self.names.get(&(number, frame.name.clone())).copied();
        let Some(key) = known.map(|known| SubscriptionKey { group: number, number: known }) else {
            return not_ready(format!("relay {me} has no subscription `{}`", frame.name));
        };
        let is_queue = self.groups.get(number).is_some_and(|group| group.queue);
        let Some(subscription) = self.groups.subscription(key) else {
            return not_ready(format!("relay {me} has no subscription `{}`", frame.name));
        };
        if is_queue != *queue {
            let message =
                format!("of relay {me} and {} one has a queue of that name, and one a group", frame.from);
            return Err(Refusal::new(RefusalCode::Exists, message));
        }
        let arrived = subscription.arrived.as_deref();
        if arrived.is_some_and(|a| a.token == frame.token && a.from == frame.from) {
            return Ok(key);
        }
        if let Some(arrived) = arrived.filter(|arrived| !arrived.is_settled) {
            return not_ready(format!("it has just come to relay {me} from {}", arrived.from));
        }
        let is_alike = subscription.filter.as_ref().map(|filter| filter.as_str()) == spec.filter.as_deref();
        let yields = |moving: &Moving| {
            moving.merge && moving.cut.is_none() && moving.to == frame.from && me < frame.from
        };
        let is_going = subscription.moving.as_deref().map(yields);
        let merging = subscription.merging.as_deref().map(|m| (m.from.clone(), m.token));
        match is_going {
            Some(false) => return not_ready(format!("it is on its way from relay {me} itself")),
            // Each takes the other for the home that counts: the lesser name does.
            Some(true) => self.stay_open(key),
            None => {}
        }
        match merging {
            Some((from, token)) if from == frame.from && token == frame.token => return Ok(key),
            Some((from, _)) if from == frame.from => self.drop_merging(key),
            Some((from, _)) => return not_ready(format!("what relay {from} has comes to relay {me} first")),
            None => {}
        }
        if self.draining {
            return Err(self.draining_refusal());
        }
        let merging = Merging { from: frame.from.clone(), token: frame.token, is_alike, said_at: None };
        self.set_merging(key, Some(merging));
        self.watch_moves(now, key);
        Ok(key)
    }

    fn set_merging(&mut self, key: SubscriptionKey, merging: Option<Merging>) {
        let SubscriptionKey { group, number: subscription } = key;
        let merging = merging.map(Box::new);
        let operation = Operation::SubscriptionMerging { group, subscription, merging };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.replay_merge(operation, false);
    }

    /// Says that the other home may close, when that is durable; or that it is one with this.
    fn say_merge(&mut self, now: Now, key: SubscriptionKey, frame: &MoveFrame) {
        let me = &self.options.relay;
        let (Some(keeper), Some(group)) = (self.keeper_of(key), self.groups.get(key.group)) else { return };
        let Some(version) = group.membership_told(me) else { return };
        let disk = (me, self.options.epoch.storage);
        let own = |subscription: &Subscription| -> Vec<StreamAt> {
            let streams = group.streams.iter().filter_map(|stream| {
                let last = Sequence(group.owed_from(subscription, stream, disk)?.0.saturating_sub(1));
                Some(StreamAt { origin: stream.origin.clone(), epoch: stream.epoch, last })
            });
            streams.collect()
        };
        let merging = group.find(key.number).map(|place| &group.subscriptions[place]);
        let says = match merging.filter(|subscription| subscription.merging.is_some()) {
            Some(subscription) => MoveSays::Prepared {
                keeper,
                version,
                streams: group.unreleased(|_| true),
                own: own(subscription),
            },
            None => MoveSays::Taken,
        };
        self.answer_move_durably(now, frame, says);
    }

    /// Says again that the other home may close; whether it has to.
    pub(in crate::relay) fn step_merging(&mut self, now: Now, key: SubscriptionKey) -> bool {
        let Some(merging) = self.groups.subscription(key).and_then(|s| s.merging.as_deref_mut()) else {
            return false;
        };
        let from = merging.from.clone();
        let is_time = merging.said_at.is_none_or(|at| now.time >= at.after_ms(limits::MERGE_AGAIN_MS));
        if is_time {
            merging.said_at = Some(now.time);
        }
        if self.orphans().is_gone(&from) {
            self.drop_merging(key);
            return false;
        }
        if is_time
            && let Some(frame) =
                self.move_frame(key, &from, MoveSays::Copied { part: 0, through: Default::default() })
        {
            let asked = MoveFrame { from: frame.to.clone(), to: frame.from.clone(), ..frame };
            self.say_merge(now, key, &asked);
        }
        true
    }

    /// The other home does not close: what it has brought is not needed.
    pub(in crate::relay) fn drop_merging(&mut self, key: SubscriptionKey) {
        self.set_merging(key, None);
        self.end_closed_remnants(key);
    }

    /// Removes what a subscription was brought and was not handed over.
    pub(in crate::relay) fn end_closed_remnants(&mut self, key: SubscriptionKey) {
        for number in self.remnants_of(key).to_vec() {
            let remnant = self.groups.get(number).and_then(|group| group.remnant.as_deref());
            if remnant.is_some_and(|remnant| !remnant.is_open) {
                self.end_remnant(number);
            }
        }
    }

    /// The remnants of a subscription that may be read: all, but what another home of its name has not handed over.
    pub(in crate::relay) fn readable(&self, key: SubscriptionKey) -> Vec<GroupNumber> {
        let is_joined = self.is_joined(key);
        let is_open = |group: &Group| group.remnant.as_deref().is_some_and(|remnant| remnant.is_open);
        let all = self.remnants_of(key).iter().copied();
        all.filter(|number| !is_joined || self.groups.get(*number).is_some_and(is_open)).collect()
    }

    /// Whether another home of its name brings it what it has.
    pub(in crate::relay) fn is_joined(&self, key: SubscriptionKey) -> bool {
        self.part_at(key).is_some_and(|(_, subscription)| subscription.merging.is_some())
    }

    /// The other home hands over what it had.
    pub(in crate::relay) fn on_merge_handover(
        &mut self,
        now: Now,
        (key, frame): (SubscriptionKey, &MoveFrame),
        (keeper, said): (Keeper, Version),
        (done, left): (&Done, &[Left]),
    ) {
        let is_kept = self.keeper_of(key) == Some(keeper);
        let Some(taken) = self.taken(now, key, (done, left)).filter(|_| is_kept) else {
            // It has begun anew since it was told that it may close.
            self.drop_merging(key);
            return self.answer_move_durably(now, frame, MoveSays::Void);
        };
        let brings = !taken.brought.is_empty();
        let SubscriptionKey { group, number: subscription } = key;
        let operation = Operation::SubscriptionMerged { group, subscription, taken: Box::new(taken) };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.replay_merge(operation, false);
        self.end_closed_remnants(key);
        if brings {
            // What was brought comes first.
            let refusal =
                Refusal::new(RefusalCode::NotReady, "more was brought from another home: try again");
            self.dismiss_receivers(key, &refusal);
        }
        self.disown_name(group, frame, said);
        self.hold_brought(group);
        self.answer_move_durably(now, frame, MoveSays::Taken);
    }

    /// What is for the subscription of what the other home had; `None`: not all of it is here.
    fn taken(&self, now: Now, key: SubscriptionKey, (done, left): (&Done, &[Left])) -> Option<Taken> {
        let (_, subscription) = self.part_at(key)?;
        let Merging { from, token, is_alike, .. } = subscription.merging.as_deref()?.clone();
        let mut brought = Vec::new();
        for left in left {
            let remnant = self.remnant(key, left.part)?;
            if !self.is_here(key, left) {
                return None;
            }
            let own = self.not_for(key, subscription, remnant);
            brought.push(Brought { remnant: remnant.number, left: left.clone(), own });
        }
        let is_whole = left.iter().all(|left| left.lost.is_empty());
        let own_from = |part: &StreamPart| self.own_from(key, subscription, (&part.origin, part.epoch));
        let (mut parts, mut acked) = (Vec::new(), Vec::new());
        if is_alike {
            acked.clone_from(&done.parts);
            parts.extend(done.parts.iter().cloned());
            // What has been lost there may be here: rather some of it comes twice.
            let owed = done.owed.iter().filter(|_| is_whole);
            parts.extend(owed.filter_map(|part| {
                let to = own_from(part).map_or(part.to, |own| own.min(part.to));
                (part.from < to).then(|| StreamPart { to, ..part.clone() })
            }));
        }
        let parts = in_order(parts);
        Some(Taken { from, token, parts, brought, acked, at: now.wall })
    }

    /// From where on a stream is owed to a subscription here, if that is known.
    fn own_from(
        &self,
        key: SubscriptionKey,
        subscription: &Subscription,
        (origin, epoch): (&RelayId, Epoch),
    ) -> Option<Sequence> {
        let group = self.groups.get(key.group)?;
        let stream = group.stream_of(origin, epoch)?;
        group.owed_from(subscription, stream, (&self.options.relay, self.options.epoch.storage))
    }

    /// Two homes are to be made one, or are one: now, or as the log tells it.
    pub(in crate::relay) fn replay_merge(&mut self, operation: Operation, replay: bool) {
        if let Operation::SubscriptionMerging { group, subscription, merging } = operation {
            if let Some(found) = self.groups.subscription(SubscriptionKey { group, number: subscription }) {
                found.merging = merging;
            }
        } else if let Operation::SubscriptionMerged { group, subscription, taken } = operation {
            self.replay_taken(SubscriptionKey { group, number: subscription }, *taken, replay);
        }
    }

    fn replay_taken(&mut self, key: SubscriptionKey, taken: Taken, replay: bool) {
        let Taken { from, token, parts, brought, acked, at } = taken;
        self.thin_out(key, &acked);
        for Brought { remnant, left, own } in brought {
            self.replay_opened(remnant, &left, replay);
            if let Some(remnant) = self.groups.get_mut(remnant).and_then(|group| group.remnant.as_deref_mut())
            {
                remnant.own = own;
            }
        }
        let Some(subscription) = self.groups.subscription(key) else { return };
        subscription.merging = None;
        let before = subscription.arrived.take().map(|arrived| (arrived.done, arrived.again));
        let (done, again) = before.unwrap_or_default();
        let mut done = done.unwrap_or_default();
        done.parts = in_order(done.parts.into_iter().chain(parts).collect());
        let arrived = Arrived { done: Some(done), at: Some(at), again, ..Arrived::new(from, token, false) };
        subscription.arrived = Some(Box::new(arrived));
    }
}
