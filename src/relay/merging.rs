//! Two homes of one name are made one (R12): the home that closes.
//!
//! Relays that could not reach one another may have made the same subscription twice. When they hear of
//! one another, every relay knows by itself which home counts: that with the least version and name, of a
//! queue that with the least name. The other one closes, by a move of what it has to the first
//! ([`super::moving`]), which differs from others in that the new home has a backlog of that name already
//! and goes on serving it:
//!
//! ```text
//!   both are served ──the other one takes it──▶ asking ──as in every move──▶ cut: nobody is served here
//!        ▲                                        │                            │ all is copied, with
//!        └── the other one is gone, or counts ────┴── it has lost its disk ────┤ what was acked here
//!            no more                                                           ▼
//!                                             removed here ◀── it is there ── handing over
//! ```
//!
//! Many messages are owed to both. Which of them, each home knows by stream and sequence ([`parts`]): what
//! the new home was owed itself it passes over in what it is brought, and what was acked here it passes
//! over in its own ([`take`]). So nothing is delivered there that was acked at either. With a third home it
//! is the same between what the one and the other bring, also of streams that the new home is not owed
//! ([`take::third`]).
//!
//! An operator need not do anything, and cannot end it but by removing one of the two.

mod parts;
mod take;

use serde::{Deserialize, Serialize};

pub(super) use parts::{Scan, in_order};

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::moving::{Moving, has_left, what_moves};
use super::names::Named;
use super::stream::Stream;
use super::subscription::{Subscription, SubscriptionKey};
use super::timer::Timer;
use crate::id::{GroupNumber, RelayId, SubscriptionName, Time, WallTime};
use crate::limits;
use crate::wire::link::Version;
use crate::wire::moving::{Left, MoveFrame, MoveSays, StreamAt, StreamPart};
use crate::wire::run::StoredRun;

/// Homes of one subscription that are named.
const HOMES_MAX: usize = 8;

/// Another home of a subscription, which closes and brings here what it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Merging {
    pub(super) from: RelayId,
    pub(super) token: u64,
    /// Whether both choose the same messages: then what was acked there is done with here.
    pub(super) is_alike: bool,
    /// When that home was last told that it may.
    #[serde(skip)]
    pub(super) said_at: Option<Time>,
}

/// What a subscription has taken over from another home of its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) from: RelayId,
    pub(super) token: u64,
    /// What is not delivered of its own backlog: it was acked there, or is brought along.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) parts: Vec<StreamPart>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) brought: Vec<Brought>,
    /// What was acked there of all that it was owed: what others have brought before is to be without it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) acked: Vec<StreamPart>,
    pub(super) at: WallTime,
}

/// What of a part that was copied is for the subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Brought {
    pub(super) remnant: GroupNumber,
    pub(super) left: Left,
    /// What it is not for: the subscription is owed it itself and has it in its own backlog, or a third home
    /// has brought or acked it before.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) own: Vec<StreamPart>,
}

impl Subscription {
    /// Whether another home of the name has taken its place: nobody is served here any more.
    pub(super) fn is_closed(&self) -> bool {
        self.moving.as_deref().is_some_and(|moving| moving.merge && moving.cut.is_some())
    }

    /// Whether it is still to hear that another home has it no more.
    fn is_unsettled(&self) -> bool {
        self.arrived.as_deref().is_some_and(|arrived| !arrived.is_settled)
    }
}

impl Group {
    /// Homes of a name that says so, as all relays know them.
    fn homes<'g>(&'g self, name: &'g SubscriptionName) -> impl Iterator<Item = (&'g RelayId, &'g Named)> {
        let homes = self.spread.iter().flat_map(move |spread| spread.names.homes_of(name));
        homes.filter(|(_, named)| named.spec.is_some())
    }

    /// The home of a name that counts, of all that say so.
    fn first_home<'g>(&'g self, name: &'g SubscriptionName) -> Option<&'g RelayId> {
        let rank = |named: &Named| if self.queue { Version::default() } else { named.version };
        self.homes(name).min_by_key(|(home, named)| (rank(named), *home)).map(|(home, _)| home)
    }
}

impl Relay {
    /// The home into which a subscription here closes, if another one counts more.
    fn better_home(&self, key: SubscriptionKey) -> Option<RelayId> {
        let (group, Subscription { name, .. }) = self.part_at(key)?;
        let me = &self.options.relay;
        let is_said = group.homes(name).any(|(home, _)| home == me);
        group.first_home(name).filter(|first| is_said && *first != me).cloned()
    }

    /// Where who asks here for a subscription is led that has closed.
    pub(super) fn closed_into(
        &self,
        number: GroupNumber,
        name: Option<&SubscriptionName>,
    ) -> Option<RelayId> {
        let group = self.groups.get(number)?;
        let found = match name.filter(|_| !group.queue) {
            Some(name) => {
                let number = *self.names.get(&(number, name.clone()))?;
                group.subscriptions.get(group.find(number)?).map(|subscription| &**subscription)
            }
            None => group.backlog_here(),
        };
        let moving = found.filter(|subscription| subscription.is_closed())?.moving.as_deref()?;
        Some(moving.to.clone())
    }

    /// Something was said of a name that may live here, and elsewhere besides.
    pub(super) fn note_twin(&mut self, number: GroupNumber, name: &SubscriptionName) {
        let Some(found) = self.names.get(&(number, name.clone())).copied() else { return };
        let key = SubscriptionKey { group: number, number: found };
        let (is_twin, now) = (self.is_twin(key), self.links.now);
        let Some(subscription) = self.groups.subscription(key) else { return };
        match (is_twin, subscription.twin_since) {
            (false, Some(_)) => self.forget_twin(key),
            (true, None) => subscription.twin_since = Some(now),
            (false, None) | (true, Some(_)) => {}
        }
        if is_twin {
            self.touched.insert(number);
            self.moves.insert(key);
            self.timers.set_by(Timer::Moves, now.after_ms(limits::MOVE_FIRST_MS));
        }
    }

    /// A subscription has no other home any more: nobody asks about streams that are finished.
    fn forget_twin(&mut self, key: SubscriptionKey) {
        if let Some(subscription) = self.groups.subscription(key) {
            subscription.twin_since = None;
        }
        if let Some(group) = self.groups.get_mut(key.group) {
            group.forget_finished();
        }
    }

    /// Whether a subscription here has another home besides.
    fn is_twin(&self, key: SubscriptionKey) -> bool {
        let Some((group, subscription)) = self.part_at(key) else { return false };
        self.other_homes(group, subscription).next().is_some()
    }

    /// The homes of a subscription but this one.
    fn other_homes<'g>(
        &'g self,
        group: &'g Group,
        subscription: &'g Subscription,
    ) -> impl Iterator<Item = &'g RelayId> {
        group.homes(&subscription.name).map(|(home, _)| home).filter(|home| **home != self.options.relay)
    }

    /// The same of one that is known to have two, as far as they are named.
    pub(super) fn also_at(&self, group: &Group, subscription: &Subscription) -> Box<[RelayId]> {
        if subscription.twin_since.is_none() {
            return Box::default();
        }
        self.other_homes(group, subscription).take(HOMES_MAX).cloned().collect()
    }

    /// After a start: every name that has another home.
    pub(super) fn watch_twins(&mut self) {
        let me = &self.options.relay;
        let mut found = Vec::new();
        for group in self.groups.named().filter(|group| !group.subscriptions.is_empty()) {
            let names = group.spread.iter().flat_map(|spread| &spread.names.subscriptions);
            let elsewhere = names.filter(|((_, home), named)| home != me && named.spec.is_some());
            found.extend(elsewhere.map(|((name, _), _)| (group.number, name.clone())));
        }
        for (number, name) in found {
            self.note_twin(number, &name);
        }
    }

    /// Begins to close a subscription that has a home that counts more; whether that is still to come.
    pub(super) fn step_twin(&mut self, now: Now, key: SubscriptionKey) -> bool {
        let is_twin = self.is_twin(key);
        let better = self.better_home(key);
        let Some(subscription) = self.groups.subscription(key) else { return false };
        if !is_twin {
            if subscription.twin_since.is_some() {
                self.forget_twin(key);
            }
            return false;
        }
        // One that has moved, or was made again for a lost disk, may be said to be here for a moment.
        let (Some(to), Some(since)) = (better, subscription.twin_since) else { return false };
        if subscription.moving.is_some() {
            return false;
        }
        let is_busy = subscription.merging.is_some() || subscription.is_unsettled();
        let is_near = self.links.toward.contains_key(&to) && !self.orphans().is_gone(&to);
        if is_busy || !is_near || now.time < since.after_ms(limits::MERGE_FIRST_MS) {
            return true;
        }
        let token = self.draw_token();
        self.set_moving(key, Some(Moving { merge: true, ..Moving::new(to, token, None) }));
        true
    }

    /// Goes on closing it. True: it is not over.
    pub(super) fn step_merge(&mut self, now: Now, key: SubscriptionKey) -> bool {
        let better = self.better_home(key);
        let Some(subscription) = self.groups.subscription(key) else { return false };
        let (name, is_spent) = (subscription.name.clone(), subscription.is_spent());
        let Some(moving) = subscription.moving.as_deref() else { return false };
        let (to, is_cut, heard) = (moving.to.clone(), moving.cut.is_some(), moving.heard.clone());
        let is_home = self.groups.get(key.group).is_some_and(|g| g.homes(&name).any(|(home, _)| *home == to));
        let is_agreed = is_cut || heard.prepared.is_some() || better.as_ref() == Some(&to);
        let is_away = is_cut && !is_spent && self.is_away(now, (key, &to));
        if self.orphans().is_gone(&to) || !is_agreed || is_away || !is_home && !is_spent {
            self.stay_open(key);
            return true;
        }
        if is_cut {
            self.close(key);
            match (is_spent, heard.is_handed) {
                (true, true) => self.say_handover_now(now, key),
                (true, false) => self.hand_over(now, key),
                (false, _) => self.copy_unread(now, key),
            }
        } else if let Some((_, version)) = heard.prepared {
            let waits = self.may_say(now, key, limits::MERGE_AGAIN_MS);
            for relay in self.not_held(&heard).into_iter().filter(|_| waits) {
                let member = to.clone();
                self.say_of_move(key, &relay, MoveSays::Ask { member, version });
            }
            self.try_cut(now, key);
        } else {
            let is_refused = heard.refusal.is_some();
            let pause_ms = if is_refused { limits::MERGE_REFUSED_MS } else { limits::MERGE_AGAIN_MS };
            if self.may_say(now, key, pause_ms)
                && let Some(spec) = self.spec_at(key)
            {
                let queue = self.groups.get(key.group).is_some_and(|group| group.queue);
                self.say_of_move(key, &to, MoveSays::Prepare { spec, queue, void: None, merge: true });
            }
        }
        true
    }

    /// Whether there has been no way to the other home for so long that it is better served here.
    fn is_away(&mut self, now: Now, (key, to): (SubscriptionKey, &RelayId)) -> bool {
        let is_near = self.links.toward.contains_key(to);
        let Some(moving) = self.moving_at(key) else { return false };
        let since = if is_near { None } else { moving.heard.away_since.or(Some(now.time)) };
        moving.heard.away_since = since;
        since.is_some_and(|since| now.time >= since.after_ms(limits::MERGE_AWAY_MS))
    }

    /// The other home says what it is owed itself.
    pub(super) fn note_own(&mut self, frame: &MoveFrame, own: Vec<StreamAt>) {
        let moving = self.moving_of(frame).and_then(|key| self.moving_at(key));
        if let Some(moving) = moving.filter(|moving| moving.merge && moving.to == frame.from) {
            moving.heard.own = own;
        }
    }

    /// Whether the other home is owed a run itself: it would pass it over in what is copied.
    pub(super) fn is_own_there(&self, key: SubscriptionKey, stream: &Stream, run: &StoredRun) -> bool {
        let moving = self.part_at(key).and_then(|(_, subscription)| subscription.moving.as_deref());
        let own = moving.into_iter().flat_map(|moving| &moving.heard.own);
        let mut own = own.filter(|at| at.origin == stream.origin && at.epoch == stream.epoch);
        own.next().is_some_and(|at| run.run.header.first > at.last)
    }

    fn say_handover_now(&mut self, now: Now, key: SubscriptionKey) {
        if self.may_say(now, key, limits::MERGE_AGAIN_MS) {
            self.say_handover(key);
        }
    }

    /// Whether so much time has passed since something was said; then it begins anew.
    fn may_say(&mut self, now: Now, key: SubscriptionKey, pause_ms: u64) -> bool {
        let Some(moving) = self.moving_at(key) else { return false };
        let is_time = moving.heard.said_at.is_none_or(|at| now.time >= at.after_ms(pause_ms));
        if is_time {
            moving.heard.said_at = Some(now.time);
        }
        is_time
    }

    /// Nobody is served here any more: whoever receives is led to the other home.
    fn close(&mut self, key: SubscriptionKey) {
        let Some((group, subscription)) = self.part_at(key) else { return };
        let Some(to) = subscription.moving.as_deref().map(|moving| moving.to.clone()) else { return };
        let refusal = has_left(&what_moves(group, &subscription.name), &to);
        for (_, part, _) in self.parts_here(key) {
            if self.groups.subscription(part).is_some_and(|s| s.active.is_some()) {
                self.dismiss_receivers(part, &refusal);
            }
        }
    }

    /// It does not close: the other home is gone, or counts no more, or all begins anew.
    pub(super) fn stay_open(&mut self, key: SubscriptionKey) {
        self.set_moving(key, None);
        let now = self.links.now;
        if let Some(subscription) = self.groups.subscription(key) {
            subscription.twin_since = subscription.twin_since.map(|_| now);
        }
        self.say_home_again(key);
        self.enqueue(key);
    }

    /// What an operator is told of names that have two homes.
    pub(super) fn twin_warnings(&self) -> Vec<String> {
        const WARNINGS_MAX: usize = 10;
        let me = &self.options.relay;
        let told = self.groups.named().flat_map(|group| {
            let twins = group.subscriptions.iter().filter(|s| !s.is_arriving());
            twins.filter(|s| s.twin_since.is_some()).filter_map(move |s| {
                let first = group.first_home(&s.name)?;
                let others: Vec<&str> = self.other_homes(group, s).map(RelayId::as_str).collect();
                if others.is_empty() {
                    return None;
                }
                let what = what_moves(group, &s.name);
                let refusal = s.moving.as_deref().filter(|m| m.merge).and_then(|m| m.heard.refusal.as_ref());
                let why = refusal.map_or_else(String::new, |refusal| format!("; not yet: {}", refusal.message));
                Some(format!(
                    "{what} has two homes, {me} and {}, made while they were apart: what there is comes to {first}{why}",
                    others.join(", ")
                ))
            })
        });
        told.take(WARNINGS_MAX).collect()
    }
}
