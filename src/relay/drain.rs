//! A relay is emptied, so that it can go and nobody misses it (`relay drain`).
//!
//! It takes nothing new: no puts, no subscriptions, no receivers, also none that it would lead to another
//! relay; applications are sent away. Its
//! streams are sealed, and it waits until everybody who is owed them has them; then it is no origin
//! any more. What it keeps of others is at their origins too, as long as these can be reached; of
//! others it waits until somebody has said that it is released. When all that is so it may go:
//! nothing that anybody is owed is here alone.
//!
//! Subscriptions and queues that live here do not leave by themselves: it does not begin before
//! they are removed, here or with its beginning.
//!
//! It ends with the process. One that starts again takes messages again, in a new epoch.
//!
//! It is asked for at the relay itself, or by its name at any other one: that one leads the question
//! there ([`super::circuit`]), each time that it is asked, and remembers nothing of it.

use super::circuit::About;
use super::group::Group;
use super::input::Now;
use super::moving::what_moves;
use super::requests::{Outcome, When};
use super::stream::{Draft, Seal, Stream};
use super::subscription::{Removal, SubscriptionKey};
use super::{Effect, Relay};
use crate::id::{GroupNumber, RelayId, SessionId, StreamNumber};
use crate::limits;
use crate::wire::body::{Draining, DrainingKept, DrainingWait, Home, Refusal, RefusalCode, Reply, Request};
use crate::wire::link::Fact;
use crate::wire::run::RunKind;

/// Items of each kind in an answer.
const LIST_MAX: usize = 200;

/// Members that are named for one group.
const MEMBERS_MAX: usize = 8;

/// Names in an item of each kind, at the most.
const ITEM_NAMES: usize = 4 + (1 + MEMBERS_MAX) + 2 + 1;

const _: () = assert!(LIST_MAX * ITEM_NAMES * (limits::NAME_BYTES_MAX + 32) < limits::CONTROL_BYTES_MAX);

impl Group {
    /// What holds up the streams of a relay, if something does.
    fn drain_wait(&self, me: &RelayId) -> Option<DrainingWait> {
        let parts = self.spread.as_deref().map(|spread| &spread.parts)?;
        let open: Vec<&Stream> =
            self.streams.iter().filter(|s| s.origin == *me && s.last > s.released).collect();
        let records = open.iter().map(|s| s.last.0 - s.released.0).sum();
        let lacks = |relay: &&RelayId| {
            let has = |s: &&Stream| s.receipts.get(*relay).is_some_and(|held| held.durable >= s.last);
            let is_owed = |s: &&&Stream| s.marks.contains_key(*relay) || s.marks.is_empty();
            **relay != *me && open.iter().filter(is_owed).any(|s| !has(s))
        };
        let members = parts.active_members().into_iter().filter(lacks).take(MEMBERS_MAX).cloned().collect();
        (!open.is_empty()).then(|| DrainingWait { group: self.name.clone(), records, members })
    }
}

impl Relay {
    /// An operator wants this relay to be emptied, or asks how far that is.
    pub(super) fn drain_request(&mut self, now: Now, session: SessionId, abandon: bool) -> Outcome {
        self.check_drain()?;
        let is_new = !self.draining;
        if is_new {
            let has_homes = self.groups.iter().any(|group| !group.subscriptions.is_empty());
            if has_homes && !abandon {
                return Ok((Reply::Draining(Box::new(self.drain_state(session))), When::Now));
            }
            self.check_half_way()?;
            self.abandon_homes(now);
            self.seal_all(now);
            self.draining = true;
            self.announce_links(now);
        }
        self.go_on_draining(now, Some(session));
        let when = if is_new { When::Durable } else { When::Now };
        Ok((Reply::Draining(Box::new(self.drain_state(session))), when))
    }

    /// The same of the relay of a name, here or elsewhere.
    pub(super) fn drain_named(
        &mut self,
        now: Now,
        (session, request): (SessionId, u64),
        relay: RelayId,
        abandon: bool,
    ) -> Outcome {
        if relay == self.options.relay {
            return self.drain_request(now, session, abandon);
        }
        if self.orphans().is_gone(&relay) {
            let why =
                format!("relay {relay} was forgotten: nothing is kept for it, and it is not to come back");
            return Err(Refusal::new(RefusalCode::Removed, why));
        }
        self.check_known_relay(&relay)?;
        self.open_circuit(now, (session, request), (relay, About::Relay), Request::RelayDrain { abandon })
    }

    /// What is half way between this relay and another is not this one's to abandon: the other one would wait for
    /// it for ever.
    fn check_half_way(&mut self) -> Result<(), Refusal> {
        let mut keys = Vec::new();
        for group in self.groups.named() {
            for subscription in &group.subscriptions {
                if let Some(from) = subscription.comes_from() {
                    let is_queue = subscription.arrived.as_deref().is_some_and(|arrived| arrived.queue);
                    let what = if is_queue {
                        format!("queue `{}`", group.name)
                    } else {
                        what_moves(group, &subscription.name)
                    };
                    let me = &self.options.relay;
                    let message = format!(
                        "{what} is on its way from relay {from} to {me}: wait until it is here, or end its move with \
                         --cancel"
                    );
                    return Err(Refusal::new(RefusalCode::NotReady, message));
                }
                keys.push(SubscriptionKey { group: group.number, number: subscription.number });
            }
        }
        keys.into_iter().try_for_each(|key| self.check_settled(key))
    }

    fn check_drain(&self) -> Result<(), Refusal> {
        let me = &self.options.relay;
        if self.links.table.is_empty() {
            let why = format!("{me} has no links, so there is nobody to whom it could hand anything");
            return Err(Refusal::new(RefusalCode::Invalid, why));
        }
        if !self.links.has_table {
            return Err(self.no_table());
        }
        Ok(())
    }

    /// Whether it takes this while it is drained.
    pub(super) fn check_taking(&self, body: &Request) -> Result<(), Refusal> {
        let is_new = matches!(
            body,
            Request::SubscriptionCreate { .. }
                | Request::Attach { .. }
                | Request::GroupCreate { queue: true, .. }
        );
        if self.draining && is_new { Err(self.sends_away()) } else { Ok(()) }
    }

    /// Names another relay, and where it listens: who is sent away may know this one alone.
    pub(super) fn draining_refusal(&self) -> Refusal {
        let nearest = self.links.table.values().filter(|link| link.is_up);
        let nearest = nearest.min_by_key(|link| (link.cost, &link.neighbour));
        let other = nearest.map_or_else(String::new, |link| {
            let name = &link.neighbour;
            let at = self.address_of(name).map_or_else(String::new, |address| format!(" at {address}"));
            format!(", like {name}{at}")
        });
        let message = format!("{} is being drained: go to another relay{other}", self.options.relay);
        Refusal::new(RefusalCode::NotReady, message)
    }

    /// The same, of an application that is here: it is to wait no longer.
    pub(super) fn sends_away(&self) -> Refusal {
        Refusal { leaving: true, ..self.draining_refusal() }
    }

    /// Removes all queues and subscriptions that live here.
    fn abandon_homes(&mut self, now: Now) {
        let homes = self.groups.named().filter(|group| !group.subscriptions.is_empty());
        for number in homes.map(|group| group.number).collect::<Vec<_>>() {
            let Some(group) = self.groups.get(number) else { continue };
            if group.queue {
                let life = group.id();
                self.end_group(number);
                self.flood(None, &[Fact::Removed(life)]);
                continue;
            }
            let keys: Vec<SubscriptionKey> = group
                .subscriptions
                .iter()
                .map(|s| SubscriptionKey { group: number, number: s.number })
                .collect();
            for key in keys {
                let refusal =
                    Refusal::new(RefusalCode::Removed, "the subscription was removed with its relay");
                self.remove_subscription(now, key, refusal, Removal::Wanted);
            }
        }
    }

    /// Seals every stream that this relay has written, those of this boot too.
    fn seal_all(&mut self, now: Now) {
        let (me, epoch) = (self.options.relay.clone(), self.options.epoch);
        let is_open = |s: &Stream| s.is_written_by(&me, epoch.storage) && !s.sealed;
        let open = self.groups.named().filter(|group| group.streams.iter().any(is_open));
        let seal = crate::wire::body::encode(&Seal { by: epoch });
        for number in open.map(|group| group.number).collect::<Vec<_>>() {
            self.end_quiet(now, number);
            let Some(group) = self.groups.get_mut(number) else { continue };
            let streams: Vec<StreamNumber> =
                group.streams.iter().filter(|s| is_open(s)).map(|s| s.number).collect();
            for stream in streams {
                self.append_control(now, number, stream, Draft::control(RunKind::Seal, seal.clone()));
            }
            if let Some(group) = self.groups.get_mut(number) {
                group.own = None;
            }
            self.announce_origin(now, number, Default::default());
        }
    }

    /// Sends applications away, and leaves trees in which it is not needed any more.
    pub(super) fn go_on_draining(&mut self, now: Now, asked_by: Option<SessionId>) {
        if !self.draining {
            return;
        }
        let me = &self.options.relay;
        let origins = self.groups.named().filter(|group| group.said_origin(me).1);
        for number in origins.map(|group| group.number).collect::<Vec<GroupNumber>>() {
            self.settle_released(number);
            self.on_quiet_time(now, number);
        }
        if !self.journal.is_durable() {
            // Puts that were taken are answered first.
            return;
        }
        let reason = self.draining_refusal().message;
        let open =
            self.sessions.iter().filter(|(id, state)| Some(**id) != asked_by && state.has_anything_open());
        let close =
            |(session, _): (&SessionId, _)| Effect::Close { session: *session, reason: reason.clone() };
        self.effects.extend(open.map(close));
    }

    /// What is here of streams that nobody writes any more: who wrote it is away, or has lost it.
    fn drain_kept(&self, group: &Group) -> Vec<DrainingKept> {
        let (me, orphans) = (&self.options.relay, self.orphans());
        let kept = group.streams.iter().filter(|s| s.origin != *me && s.last > s.released);
        let kept = kept.filter_map(|s| {
            let is_here = self.links.toward.contains_key(&s.origin);
            let (group, origin, records) = (group.name.clone(), s.origin.clone(), s.last.0 - s.released.0);
            let kept = DrainingKept { group, origin, records, disk_lost: is_here };
            (!is_here || orphans.is_one(s)).then_some(kept)
        });
        kept.collect()
    }

    fn drain_state(&self, session: SessionId) -> Draining {
        let me = &self.options.relay;
        let mut state = Draining::new(me.clone(), self.draining);
        for group in self.groups.named() {
            for subscription in &group.subscriptions {
                let key = SubscriptionKey { group: group.number, number: subscription.number };
                let backlog = group.backlog(subscription, group.durable) + self.backlog_in_remnants(key);
                let (group, name) = (group.name.clone(), subscription.name.clone());
                let moves_to = subscription.moving.as_deref().map(|moving| moving.to.clone());
                let comes_from = subscription.comes_from().cloned();
                state.homes.push(Home { group, name, backlog, moves_to, comes_from });
            }
            let waits = group.drain_wait(me);
            let kept = self.drain_kept(group);
            if group.said_origin(me).1 {
                state.is_origin = true;
                let is_told = waits.is_some() || !kept.is_empty();
                state.closing.extend((!is_told).then(|| group.name.clone()));
            }
            state.waits.extend(waits);
            state.kept.extend(kept);
            state.count(LIST_MAX);
        }
        let open = self.sessions.iter().filter(|(id, state)| **id != session && state.has_anything_open());
        state.sessions = open.count() as u64;
        let is_empty = state.home_count + state.wait_count + state.kept_count == 0 && !state.is_origin;
        state.may_go = self.draining && is_empty && self.journal.is_durable();
        state
    }
}
