//! The steps of a move at the home that is left, and what others say to them.

use std::collections::BTreeSet;

use super::super::Relay;
use super::super::input::Now;
use super::super::journal::Waiting;
use super::super::state::Operation;
use super::super::subscription::{Removal, SubscriptionKey};
use super::super::timer::Timer;
use super::{Cut, Heard, Moving, has_left, what_moves};
use crate::id::{GroupNumber, RelayId, StorageId, SubscriptionName};
use crate::limits;
use crate::log::Urgency;
use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::link::Version;
use crate::wire::moving::{Keeper, MoveFrame, MoveSays, StreamAt};

/// How often a relay says at the most that a name lives there, or does not, before others hear of it.
const NAME_LEAP: u64 = 1 << 10;

impl Relay {
    /// It leaves, or not any more, as the log tells it.
    pub(in crate::relay) fn replay_moving(&mut self, operation: Operation, replay: bool) {
        let Operation::SubscriptionMoving { group, subscription, to, token, cut, lost, rest, merge } =
            operation
        else {
            return self.replay_merge(operation, replay);
        };
        let (key, rest) = (SubscriptionKey { group, number: subscription }, rest.map(|rest| *rest));
        let moving = |to| Moving { lost, rest, merge, ..Moving::new(to, token, cut.map(|cut| *cut)) };
        let moving = to.map(moving);
        if let Some(subscription) = self.groups.subscription(key) {
            subscription.moving = moving.map(Box::new);
        }
    }

    /// The new home has made it, and keeps what comes.
    pub(super) fn on_prepared(
        &mut self,
        now: Now,
        frame: &MoveFrame,
        prepared: (Keeper, Version),
        streams: Vec<StreamAt>,
    ) {
        let Some(key) = self.moving_of(frame) else {
            return self.answer_move_durably(now, frame, MoveSays::Void);
        };
        self.serve_again(key, &frame.from);
        let Some(moving) = self.moving_at(key) else { return };
        if moving.to != frame.from || moving.cut.is_some() || moving.heard.prepared == Some(prepared) {
            return;
        }
        // The first time, or on another disk: then nothing counts that was said before.
        let owed = streams.into_iter().map(|at| ((at.origin, at.epoch), (at.last, false))).collect();
        let own = std::mem::take(&mut moving.heard.own);
        moving.heard = Heard { prepared: Some(prepared), owed, own, ..Heard::default() };
    }

    /// Relays of the network whose word is missing. After a start not all of them are known at first:
    /// each names its neighbours in its links, so what they are like when it gives its word has to be
    /// known here too.
    pub(in crate::relay) fn not_held(&self, heard: &Heard) -> BTreeSet<RelayId> {
        let states = &self.links.states;
        let in_links = states.values().flat_map(|state| {
            std::iter::once(&state.relay).chain(state.links.iter().map(|link| &link.neighbour))
        });
        let all = in_links.chain(self.trees.named()).chain(self.trees.relays());
        let (me, orphans) = (&self.options.relay, self.orphans());
        let is_missing = |relay: &&RelayId| match (heard.held.get(*relay), states.get(*relay)) {
            (Some((storage, links)), Some(state)) => {
                state.version.storage != *storage || state.version.counter < links.counter
            }
            _ => true,
        };
        all.filter(|relay| *relay != me && !orphans.is_gone(relay)).filter(is_missing).cloned().collect()
    }

    /// The old home asks whether a membership is on this disk, and what of this relay it may lack.
    pub(super) fn on_move_ask(&mut self, now: Now, frame: &MoveFrame, member: &RelayId, version: Version) {
        let Some(number) = self.group_of(now, &frame.group) else { return };
        let (me, storage) = (self.options.relay.clone(), self.options.epoch.storage);
        let Some(group) = self.groups.get_mut(number) else { return };
        let known = group.spread().parts.members.get(member).copied();
        if *member == me && !self.keeps(number, frame) {
            let why = format!("relay {me} does not keep it: it has lost what it had made");
            return self.answer_move(frame, MoveSays::Refused(Refusal::new(RefusalCode::NotReady, why)));
        }
        // One that has not come yet is asked for again.
        if !known.is_some_and(|(known, is_member)| known >= version && is_member) {
            return;
        }
        let Some(group) = self.groups.get(number) else { return };
        let old_home = &frame.from;
        // Of a disk that is gone nobody knows any more who is owed it: the old home does.
        let streams = group.unreleased(|s| {
            s.origin == me && (!s.is_written_by(&me, storage) || s.marks.contains_key(old_home))
        });
        let links = self.links.states.get(&me).map_or(Version::default(), |state| state.version);
        self.answer_move_durably(now, frame, MoveSays::Held { storage, version, links, streams });
    }

    /// A relay has the membership of the new home on its disk.
    pub(super) fn on_held(
        &mut self,
        frame: &MoveFrame,
        (storage, version): (StorageId, Version),
        links: Version,
        streams: Vec<StreamAt>,
    ) {
        let Some(key) = self.moving_of(frame) else { return };
        let Some(moving) = self.moving_at(key) else { return };
        if moving.heard.prepared.is_none_or(|(_, asked)| asked != version) {
            return;
        }
        let before = moving.heard.held.insert(frame.from.clone(), (storage, links));
        if before.is_some_and(|(disk, _)| disk != storage) {
            // What was on that disk alone does not come any more.
            let of_it = moving.heard.owed.iter_mut().filter(|((origin, _), _)| *origin == frame.from);
            of_it.for_each(|((_, epoch), owed)| owed.1 = epoch.storage == storage);
        }
        for at in streams.into_iter().filter(|at| at.origin == frame.from) {
            let will_come = at.epoch.storage == storage;
            let owed = moving.heard.owed.entry((at.origin, at.epoch)).or_default();
            *owed = (owed.0.max(at.last), owed.1 | will_come);
        }
    }

    /// Cuts, when all relays have said what they were asked and all is here that is for this one.
    pub(in crate::relay) fn try_cut(&mut self, now: Now, key: SubscriptionKey) {
        let me = self.options.relay.clone();
        let Some(moving) = self.moving_at(key).map(|moving| moving.clone()) else { return };
        let Some((keeper, version)) = moving.heard.prepared else { return };
        if !self.not_held(&moving.heard).is_empty() {
            return;
        }
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let member = group.spread().parts.members.get(&moving.to);
        let is_known = member.is_some_and(|(known, is_member)| *known >= version && *is_member);
        if !is_known || !group.has_owed(&me, &moving.heard.owed) {
            return;
        }
        let Some(place) = group.find(key.number) else { return };
        let done = group.done_here(&group.subscriptions[place]);
        let cut = Cut { at: group.next, keeper, done };
        let heard = Heard { own: moving.heard.own.clone(), ..Heard::default() };
        self.set_moving(key, Some(Moving { cut: Some(cut), heard, ..moving }));
        self.timers.set_by(Timer::Moves, now.time.after_ms(limits::MOVE_FIRST_MS));
    }

    /// All before the cut is done with: when that is durable, nobody is served here any more.
    pub(in crate::relay) fn hand_over(&mut self, now: Now, key: SubscriptionKey) {
        self.write_cursors(now, Urgency::Sync);
        let Some(token) = self.moving_at(key).map(|moving| moving.token) else { return };
        self.journal.wait(Waiting::Spent { key, token });
        self.settle_durable(now);
    }

    /// That all before the cut is done with is durable.
    pub(in crate::relay) fn on_spent(&mut self, key: SubscriptionKey, token: u64) {
        let Some(subscription) = self.groups.subscription(key) else { return };
        let (name, is_spent) = (subscription.name.clone(), subscription.is_spent());
        let Some(moving) = self.moving_at(key).filter(|moving| moving.token == token && is_spent) else {
            return;
        };
        let (to, is_new) = (moving.to.clone(), !std::mem::replace(&mut moving.heard.is_handed, true));
        if is_new && let Some(group) = self.groups.get(key.group) {
            let refusal = has_left(&what_moves(group, &name), &to);
            // Who receives from what was brought along here, too: what he acks from now on nobody hears of.
            for (_, part, _) in self.parts_here(key) {
                self.dismiss_receivers(part, &refusal);
            }
            self.say_handover(key);
        }
    }

    pub(in crate::relay) fn say_handover(&mut self, key: SubscriptionKey) {
        let me = self.options.relay.clone();
        let Some(subscription) = self.groups.subscription(key) else { return };
        let name = subscription.name.clone();
        let Some(moving) = self.moving_at(key) else { return };
        let (to, Some(cut)) = (moving.to.clone(), &moving.cut) else { return };
        let joined = moving.rest.as_ref().and_then(|rest| rest.done.clone());
        let (keeper, done) = (cut.keeper, joined.unwrap_or_else(|| Box::new(cut.done.clone())));
        let left = self.left_here(key);
        let spread = self.groups.get(key.group).and_then(|group| group.spread.as_deref());
        let said = spread.and_then(|spread| spread.names.subscriptions.get(&(name, me)));
        let version = said.map_or(Version::default(), |named| named.version);
        self.say_of_move(key, &to, MoveSays::Handover { keeper, version, done, left });
    }

    /// It lives at the new home: it is removed here.
    pub(super) fn on_taken(&mut self, now: Now, frame: &MoveFrame) {
        let Some(key) = self.moving_of(frame) else {
            return self.answer_move_durably(now, frame, MoveSays::Void);
        };
        let Some(subscription) = self.groups.subscription(key) else { return };
        let is_it =
            subscription.is_spent() && self.moving_at(key).is_some_and(|moving| moving.to == frame.from);
        // Who asks here from then on is led there.
        if is_it && self.knows_home(key.group, &frame.name, &frame.from) {
            let Some(group) = self.groups.get(key.group) else { return };
            let refusal = has_left(&what_moves(group, &frame.name), &frame.from);
            if group.queue {
                self.set_queue_home(key.group, false);
            }
            if self.moving_at(key).is_some_and(|moving| moving.merge) {
                // What is brought along is nowhere told apart from what the other home had.
                self.give_up_consumed(key.group);
            }
            self.remove_subscription(now, key, refusal, Removal::Moved);
            self.moves.remove(&key);
            self.answer_move_durably(now, frame, MoveSays::Void);
        }
    }

    fn knows_home(&self, number: GroupNumber, name: &SubscriptionName, home: &RelayId) -> bool {
        let spread = self.groups.get(number).and_then(|group| group.spread.as_deref());
        let known = spread.and_then(|spread| spread.names.subscriptions.get(&(name.clone(), home.clone())));
        known.is_some_and(|named| named.spec.is_some()) || self.names_known >= limits::NAMES_MAX
    }

    /// The other side knows of no such move.
    pub(super) fn on_void(&mut self, now: Now, frame: &MoveFrame) {
        let Some(key) = self.moving_of(frame) else { return self.on_arriving_void(now, frame) };
        let (token, above) = (self.draw_token(), self.above_names(key.group, &frame.name, &frame.from));
        let is_spent = self.groups.subscription(key).is_some_and(|subscription| subscription.is_spent());
        let is_it = |moving: &&mut Moving| {
            moving.to == frame.from && (moving.cut.is_some() || moving.merge) && moving.lost.is_none()
        };
        let Some(moving) = self.moving_at(key).filter(is_it) else { return };
        if moving.merge {
            // It has lost its disk, or is no home of that name any more: all begins anew, if it does.
            return self.stay_open(key);
        }
        // It has lost its disk, and what it was to keep: from the beginning. If it was told to take
        // over it may have done so, and others may have heard of it and have it made again there: it
        // is not served here before the new home knows that this is void.
        let (to, cut) = (moving.to.clone(), moving.cut.clone().filter(|_| is_spent));
        let lost = is_spent.then_some(above);
        let rest = moving.rest.clone();
        self.set_moving(key, Some(Moving { lost, rest, ..Moving::new(to, token, cut) }));
        self.watch_moves(now, key);
        if !is_spent {
            self.enqueue(key);
        }
    }

    /// A version above all in which a relay can have said by now that a subscription lives there.
    fn above_names(&self, number: GroupNumber, name: &SubscriptionName, home: &RelayId) -> Version {
        let spread = self.groups.get(number).and_then(|group| group.spread.as_deref());
        let said = spread.and_then(|spread| spread.names.subscriptions.get(&(name.clone(), home.clone())));
        // One that came there was said above all that was said of others.
        let of_all = spread.map_or(0, |spread| spread.names.brought.highest_of(home));
        let known = said.map_or(0, |named| named.version.counter).max(of_all).max(self.forgotten_in(home));
        let counter = known.saturating_add(NAME_LEAP).min(limits::SEQUENCE_MAX);
        Version { counter, storage: self.options.epoch.storage }
    }

    /// The new home knows that it has never taken over: it is served here again.
    pub(super) fn serve_again(&mut self, key: SubscriptionKey, from: &RelayId) {
        let lost = |moving: &&mut Moving| moving.to == *from && moving.lost.is_some();
        let Some(moving) = self.moving_at(key).filter(lost) else { return };
        let (to, token) = (moving.to.clone(), moving.token);
        self.set_moving(key, Some(Moving::new(to, token, None)));
        self.say_home_again(key);
        self.enqueue(key);
    }

    /// It is served here again: the new home may have said that it is not.
    pub(in crate::relay) fn say_home_again(&mut self, key: SubscriptionKey) {
        let Some(name) = self.groups.subscription(key).map(|subscription| subscription.name.clone()) else {
            return;
        };
        let me = self.options.relay.clone();
        let spread = self.groups.get(key.group).and_then(|group| group.spread.as_deref());
        let said = spread.and_then(|spread| spread.names.subscriptions.get(&(name.clone(), me.clone())));
        if said.is_some_and(|named| named.spec.is_none()) {
            let spec = self.spec_of(key.group, &name);
            self.announce_name(key.group, &name, spec);
        }
        let group = self.groups.get(key.group).filter(|group| group.queue);
        let spread = group.and_then(|group| group.spread.as_deref());
        if spread.is_some_and(|spread| spread.names.home.as_ref() != Some(&me)) {
            self.announce_queue(key.group);
        }
    }
}
