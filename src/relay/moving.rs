//! A subscription moves to another home (R12): the home that it leaves.
//!
//! ```text
//!   served as ever ──asked──▶ preparing ──the new home has it──▶ asking ──all have said so, and what
//!        ▲                        │  ▲                             │      they put before is here──▶ cut
//!        └────────── given up ────┘  └── the new home has lost it ─┴──────────────┐                │
//!                                                                                 │    all before the cut
//!   removed here ◀── the new home has it, durably ── handing over ◀───────────────┴──── is done with
//! ```
//!
//! The new home keeps what comes from its membership on, of which every relay of the network has said
//! that it is on its disk (strict). When all that any origin put before that is here, this relay cuts:
//! what stands in its log before the *cut* is its own to deliver, everything else is the new home's.
//! At the end of the log the last sequence of each stream is known without reading anything, and since
//! nothing behind the cut is ever delivered here, there is no set of acks to hand over: when all before
//! the cut is done with, durably, one sequence for each stream says it all ([`Done`]).
//!
//! Receivers are served all the while. Who is slow delays the move and nothing else; who is up to date
//! misses what comes between the cut and the new home's word, and gets it there. What nobody takes is
//! copied, and handed over with the rest ([`copy`]).
//!
//! What is on the disk: that it moves, to where and under which token; and the cut with what it means.
//! Whether all before it is done with is the cursor's to say, so a crash at any time goes on where the
//! disk is. Everything that is said to others is said again until it is answered.

mod copy;
mod here;
mod leave;
mod left;
mod talk;
mod told;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(super) use copy::Rest;

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::requests::{Outcome, When};
use super::state::Operation;
use super::subscription::{Subscription, SubscriptionKey};
use super::timer::Timer;
use crate::id::{Epoch, GroupName, Index, RelayId, Sequence, StorageId, SubscriptionName, Time};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::body::{Refusal, RefusalCode, Reply};
use crate::wire::link::Version;
use crate::wire::moving::{Done, Keeper, MoveFrame, MoveSays, StreamAt};

/// Relays that are named as waited for, at the most.
const NAMED_MAX: usize = 100;

/// Where the part of a subscription ends that its old home delivers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// Everything behind is the new home's.
    pub(super) at: Index,
    /// Where that keeps it.
    pub(super) keeper: Keeper,
    /// The same in terms of streams.
    pub(super) done: Done,
}

/// A subscription that is to leave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Moving {
    pub(super) to: RelayId,
    pub(super) token: u64,
    pub(super) cut: Option<Cut>,
    /// The new home has lost its disk, and may have taken over before that: what it has said of it in
    /// lower versions is void. Until it knows that, it is served nowhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) lost: Option<Version>,
    /// What is left here is the new home's, which has a copy of it: nobody is served here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) rest: Option<Rest>,
    /// There is one of its name there already, with which it is made one ([`super::merging`]).
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) merge: bool,
    /// What others have said since the relay was started; they say it again.
    #[serde(skip)]
    pub(super) heard: Heard,
}

/// What others have said of a move.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Where the new home keeps it, and its membership.
    pub(super) prepared: Option<(Keeper, Version)>,
    /// Who has said that it has that membership on its disk: on which one, and its links then.
    held: BTreeMap<RelayId, (StorageId, Version)>,
    /// How far streams have to be here. True: their origin says that they will.
    owed: BTreeMap<(RelayId, Epoch), (Sequence, bool)>,
    pub(super) refusal: Option<Refusal>,
    /// What the other home is owed itself, of one that is made one with it: behind these.
    pub(super) own: Vec<StreamAt>,
    /// Since when there is no way to the other home, of one that is made one with it.
    pub(super) away_since: Option<Time>,
    /// When something was last said of one that is made one with another.
    pub(super) said_at: Option<Time>,
    /// Whether all before the cut is known to be done with, durably.
    pub(super) is_handed: bool,
    /// How far the copy is of what nobody takes.
    copying: copy::Copying,
}

impl Moving {
    pub(super) fn new(to: RelayId, token: u64, cut: Option<Cut>) -> Self {
        Self { to, token, cut, lost: None, rest: None, merge: false, heard: Heard::default() }
    }
}

impl Subscription {
    /// What stands behind is not delivered here.
    pub(super) fn delivered_up_to(&self, end: Index) -> Index {
        let cut = self.moving.as_ref().and_then(|moving| moving.cut.as_ref());
        cut.map_or(end, |cut| cut.at.min(end))
    }

    /// Whether all before the cut is done with, and told, or the rest is there: the new home's turn.
    pub(super) fn is_spent(&self) -> bool {
        let Some(moving) = self.moving.as_deref() else { return false };
        let is_done = |cut: &Cut| self.cursor.floor() >= cut.at && self.gaps.is_empty() && !self.has_remnants;
        moving.rest.is_some() || !moving.merge && moving.cut.as_ref().is_some_and(is_done)
    }
}

/// What it is that moves.
pub(super) fn what_moves(group: &Group, name: &SubscriptionName) -> String {
    let of = &group.name;
    if group.queue { format!("queue `{of}`") } else { format!("subscription `{name}` of group `{of}`") }
}

/// Why nobody is served where it was.
pub(super) fn has_left(what: &str, to: &RelayId) -> Refusal {
    let message = format!("{what} goes to relay {to}: try again");
    Refusal::new(RefusalCode::NotReady, message)
}

impl Relay {
    /// An operator wants a subscription to live at another relay, or asks how far that is; `None`:
    /// it is to stay.
    pub(super) fn move_request(
        &mut self,
        now: Now,
        (group, name): (&GroupName, &SubscriptionName),
        to: Option<RelayId>,
    ) -> Outcome {
        let key = self.known_subscription(group, name)?;
        let Some(subscription) = self.groups.subscription(key) else { return Err(self.no_home(name)) };
        // What is made one with another of its name is nobody's wish, and makes way for one.
        let wanted = subscription.moving.as_deref().filter(|moving| !moving.merge || moving.cut.is_some());
        let known = wanted.map(|moving| moving.to.clone());
        let (is_spent, is_closed) = (subscription.is_spent(), subscription.is_closed());
        let has_come = subscription.arrived.is_some();
        let is_unsettled = subscription.arrived.as_ref().is_some_and(|arrived| !arrived.is_settled)
            || subscription.merging.is_some();
        let when = match (known, to) {
            (None, None) => When::Now,
            (Some(known), Some(to)) if known == to => When::Now,
            (Some(known), Some(_)) => {
                let message = format!("it moves to relay {known} already: end that first, with --cancel");
                return Err(Refusal::new(RefusalCode::Exists, message));
            }
            (Some(known), None) if is_spent || is_closed => {
                let message = format!("it is being handed over to relay {known}: that cannot be taken back");
                return Err(Refusal::new(RefusalCode::NotReady, message));
            }
            (Some(_), None) => {
                self.set_moving(key, None);
                self.enqueue(key);
                When::Durable
            }
            // It has come here, and who has moved it asks once more.
            (None, Some(to)) if to == self.options.relay && has_come => When::Now,
            (None, Some(to)) => {
                self.check_target(key, name, &to)?;
                if is_unsettled {
                    let message =
                        "it has just come here, and the relay that it came from has not said that it knows";
                    return Err(Refusal::new(RefusalCode::NotReady, message));
                }
                let token = self.draw_token();
                self.set_moving(key, Some(Moving::new(to, token, None)));
                self.watch_moves(now, key);
                When::Durable
            }
        };
        let info = self.subscription_info(key).ok_or_else(|| self.no_home(name))?;
        Ok((Reply::Subscription(info), when))
    }

    fn no_home(&self, name: &SubscriptionName) -> Refusal {
        let message = format!("subscription `{name}` does not live at relay {}", self.options.relay);
        Refusal::new(RefusalCode::NotFound, message)
    }

    fn check_target(
        &self,
        key: SubscriptionKey,
        name: &SubscriptionName,
        to: &RelayId,
    ) -> Result<(), Refusal> {
        if *to == self.options.relay {
            let message = format!("it lives at relay {to} already");
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        self.check_known_relay(to)?;
        if self.orphans().is_gone(to) {
            let message = format!("relay {to} was forgotten, and is not back");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        if self.links.states.get(to).is_some_and(|state| state.is_draining) {
            let message = format!("relay {to} is being drained: nothing new comes to live there");
            return Err(Refusal::new(RefusalCode::NotReady, message));
        }
        let group = self.groups.get(key.group);
        let spread = group.and_then(|group| group.spread.as_deref());
        let twin = spread.and_then(|spread| spread.names.subscriptions.get(&(name.clone(), to.clone())));
        if twin.is_some_and(|named| named.spec.is_some()) {
            let message = if group.is_some_and(|group| group.queue) {
                format!("relay {to} has a queue of that name of its own: remove that first")
            } else {
                format!("relay {to} has a subscription `{name}` of its own: remove that first")
            };
            return Err(Refusal::new(RefusalCode::Exists, message));
        }
        Ok(())
    }

    /// A number that no other move has: as random as the nonce of this boot.
    pub(super) fn draw_token(&self) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&self.options.epoch.nonce.to_le_bytes());
        hash.update(&self.journal.last().0.to_le_bytes());
        hash.update(self.options.relay.as_str().as_bytes());
        hash.digest()
    }

    /// Notes on disk whether and how a subscription leaves.
    pub(super) fn set_moving(&mut self, key: SubscriptionKey, moving: Option<Moving>) {
        let SubscriptionKey { group, number: subscription } = key;
        let (to, token) = moving.as_ref().map_or((None, 0), |moving| (Some(moving.to.clone()), moving.token));
        let cut = moving.as_ref().and_then(|moving| moving.cut.clone()).map(Box::new);
        let lost = moving.as_ref().and_then(|moving| moving.lost);
        let rest = moving.as_ref().and_then(|moving| moving.rest.clone()).map(Box::new);
        let merge = moving.as_ref().is_some_and(|moving| moving.merge);
        let operation =
            Operation::SubscriptionMoving { group, subscription, to, token, cut, lost, rest, merge };
        self.copies.remove(&key);
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        if let Some(subscription) = self.groups.subscription(key) {
            subscription.moving = moving.map(Box::new);
        }
    }

    /// After a start: every move goes on.
    pub(super) fn watch_all_moves(&mut self, now: Now) {
        let keys = self.groups.iter().flat_map(|group| {
            let moved = group
                .subscriptions
                .iter()
                .filter(|s| s.moving.is_some() || s.arrived.is_some() || s.merging.is_some());
            moved.map(|s| SubscriptionKey { group: group.number, number: s.number })
        });
        for key in keys.collect::<Vec<_>>() {
            self.watch_moves(now, key);
            self.mark_dirty_group(key.group);
        }
    }

    /// Sees to it that a move goes on.
    pub(super) fn watch_moves(&mut self, now: Now, key: SubscriptionKey) {
        self.moves.insert(key);
        self.timers.set_by(Timer::Moves, now.time.after_ms(limits::MOVE_FIRST_MS));
    }

    /// Everything that waits for others says so again.
    pub(super) fn on_moves_time(&mut self, now: Now) {
        for key in std::mem::take(&mut self.moves) {
            let Some(subscription) = self.groups.subscription(key) else { continue };
            let goes = subscription.moving.is_some();
            let goes_on = self.step_arriving(now, key)
                | self.step_merging(now, key)
                | (goes && self.step_moving(now, key))
                | self.step_twin(now, key);
            if goes_on {
                self.moves.insert(key);
            }
        }
        if !self.moves.is_empty() {
            self.timers.set(Timer::Moves, now.time.after_ms(limits::MOVE_AGAIN_MS));
        }
    }

    /// Says what is to be said now; whether the move is not over.
    fn step_moving(&mut self, now: Now, key: SubscriptionKey) -> bool {
        self.pass_records(now, key);
        let Some(subscription) = self.groups.subscription(key) else { return false };
        let is_spent = subscription.is_spent();
        let Some(moving) = &subscription.moving else { return false };
        if moving.merge {
            return self.step_merge(now, key);
        }
        let (to, is_cut, heard) = (moving.to.clone(), moving.cut.is_some(), moving.heard.clone());
        let void = moving.lost;
        let name = subscription.name.clone();
        if self.orphans().is_gone(&to) {
            let what = self.groups.get(key.group).map(|group| what_moves(group, &name)).unwrap_or_default();
            self.warn(format!("{what} stays here: relay {to}, to which it was to move, was forgotten"));
            self.set_moving(key, None);
            self.say_home_again(key);
            self.enqueue(key);
            return false;
        }
        if is_cut && void.is_none() {
            match (is_spent, heard.is_handed) {
                (true, true) => self.say_handover(key),
                (true, false) => self.hand_over(now, key),
                (false, _) => self.copy_unread(now, key),
            }
        } else if let Some((_, version)) = heard.prepared {
            for relay in self.not_held(&heard) {
                let member = to.clone();
                self.say_of_move(key, &relay, MoveSays::Ask { member, version });
            }
            self.try_cut(now, key);
        } else if let Some(spec) = self.spec_at(key) {
            let queue = self.groups.get(key.group).is_some_and(|group| group.queue);
            self.say_of_move(key, &to, MoveSays::Prepare { spec, queue, void, merge: false });
        }
        true
    }

    /// What is before the cut and no message is done with, also when nobody receives.
    fn pass_records(&mut self, now: Now, key: SubscriptionKey) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let subscription = &group.subscriptions[place];
        let cut = subscription.moving.as_ref().and_then(|moving| moving.cut.as_ref());
        let Some(at) = cut.map(|cut| cut.at).filter(|at| subscription.cursor.floor() < *at) else { return };
        if group.backlog(subscription, at) == 0 {
            let subscription = &mut group.subscriptions[place];
            subscription.out.passed += subscription.finish(subscription.cursor.floor(), at);
            self.mark_dirty(now, key);
        }
    }

    pub(super) fn spec_at(&mut self, key: SubscriptionKey) -> Option<crate::wire::body::SubscriptionSpec> {
        let name = self.groups.subscription(key)?.name.clone();
        self.spec_of(key.group, &name)
    }

    /// The subscription here that moves as is said.
    pub(super) fn moving_of(&mut self, frame: &MoveFrame) -> Option<SubscriptionKey> {
        let number = self.group_in(frame)?;
        let number =
            SubscriptionKey { group: number, number: *self.names.get(&(number, frame.name.clone()))? };
        let moving = self.groups.subscription(number)?.moving.as_ref()?;
        (moving.token == frame.token).then_some(number)
    }

    pub(super) fn moving_at(&mut self, key: SubscriptionKey) -> Option<&mut Moving> {
        self.groups.subscription(key)?.moving.as_deref_mut()
    }
}
