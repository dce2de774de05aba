//! Subscriptions that wait until other relays know of them (P5).
//!
//! Whoever makes the first subscription of a group at this relay raises its membership, which is
//! flooded. The relays that are to know are asked besides, by one message that splits where their
//! ways part; each answers when the membership, with the MARK in its own stream, is on its disk:
//! what it accepts from then on is owed here. Questions follow the flood on the same links, so the
//! first one usually finds it there; they are repeated until all have answered, after twice the time
//! each time, since who does not answer may have too much to do; and a deadline names those who have not.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Effect;
use super::input::Now;
use super::journal::Waiting;
use super::timer::Timer;
use super::{Relay, requests::When};
use crate::id::{GroupNumber, LinkId, RelayId, SessionId, Time};
use crate::limits;
use crate::log::EntryNumber;
use crate::wire::body::{Answer, Refusal, RefusalCode, Reply, SubscribeLevel, SubscriptionSpec};
use crate::wire::link::{Ask, Confirmed, LinkMessage, Version};

/// Who is to know of a subscription, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) group: GroupNumber,
    level: SubscribeLevel,
    within_ms: u64,
}

/// A request whose answer waits for other relays.
#[derive(Clone, Debug)]
pub(super) struct Confirming {
    session: SessionId,
    request: u64,
    answer: Box<Answer>,
    version: Version,
    /// Who has not confirmed yet.
    missing: BTreeSet<RelayId>,
    level: SubscribeLevel,
    /// What is to be durable here.
    entry: EntryNumber,
    /// When it was asked first.
    begun: Time,
    deadline: Time,
}

/// Requests that wait, by group, and who has confirmed which version before.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirmations {
    waiting: BTreeMap<GroupNumber, Vec<Confirming>>,
    known: BTreeMap<GroupNumber, (Version, BTreeSet<RelayId>)>,
}

impl Confirmations {
    /// A group is gone: who waited for it is told nothing more of others.
    pub(super) fn forget(&mut self, group: GroupNumber) {
        self.known.remove(&group);
    }

    /// Nobody is left to be told.
    pub(super) fn leave(&mut self, session: SessionId) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|confirming| confirming.session != session);
            !waiting.is_empty()
        });
    }
}

impl Relay {
    /// When a request may be answered that has made, or found, a subscription.
    pub(super) fn when_known(&self, group: GroupNumber, spec: &SubscriptionSpec) -> When {
        if self.is_alone() || spec.level == SubscribeLevel::Local {
            return When::Durable;
        }
        let within_ms = spec.within_ms.unwrap_or(limits::CONFIRM_MS_DEFAULT);
        When::Known(Wish { group, level: spec.level, within_ms })
    }

    /// A request's answer waits until other relays know of the group's membership.
    pub(super) fn confirm(
        &mut self,
        now: Now,
        (session, request): (SessionId, u64),
        answer: Box<Answer>,
        wish: Wish,
    ) {
        let Wish { group: number, level, within_ms } = wish;
        if self.groups.get(number).is_some_and(|group| group.leaving.is_some()) {
            // By then others are told of the membership which they are to know.
            return self.journal.wait(Waiting::Wish { session, request, answer, wish });
        }
        self.plan_now(now);
        let me = &self.options.relay;
        let members =
            self.groups.get(number).and_then(|group| group.spread.as_deref()).map(|s| &s.parts.members);
        let version = members.and_then(|members| members.get(me)).map_or(Version::default(), |known| known.0);
        let known = self.confirmations.known.get(&number).filter(|(of, _)| *of == version).map(|(_, by)| by);
        let is_missing = |relay: &&RelayId| *relay != me && !known.is_some_and(|by| by.contains(*relay));
        let missing: BTreeSet<RelayId> = match level {
            SubscribeLevel::Local => BTreeSet::new(),
            SubscribeLevel::Reachable => self.links.toward.keys().filter(is_missing).cloned().collect(),
            // Whoever has met nobody since its start knows of them, too.
            SubscribeLevel::Strict => self.known_relays().iter().filter(is_missing).cloned().collect(),
        };
        let confirming = Confirming {
            session,
            request,
            answer,
            version,
            missing,
            level,
            entry: self.journal.last(),
            begun: now.time,
            deadline: now.time.after_ms(within_ms),
        };
        self.ask_for(number, version, &confirming.missing);
        self.timers.set_by(Timer::Confirm(number), next_question(now, &confirming));
        self.confirmations.waiting.entry(number).or_default().push(confirming);
        self.journal.wait(Waiting::Known { group: number });
        self.settle_durable(now);
    }

    /// Asks relays whether they have the membership.
    fn ask_for(&mut self, number: GroupNumber, version: Version, missing: &BTreeSet<RelayId>) {
        let Some(group) = self.groups.get(number) else { return };
        let (group, home, hops) = (group.id(), self.options.relay.clone(), self.trees.hops());
        let to = missing.iter().cloned().collect();
        self.pass_ask(None, Ask { group, home, version, to, hops });
    }

    /// Sends a question on, one for each link that leads to some of those who are asked.
    fn pass_ask(&mut self, from: Option<LinkId>, ask: Ask) {
        let Ask { group, home, version, to, hops } = ask;
        let (by_link, hops) = self.ways_on(to, from, hops);
        for (link, to) in by_link {
            let (group, home) = (group.clone(), home.clone());
            self.say(link, LinkMessage::Ask(Ask { group, home, version, to, hops }));
        }
    }

    /// Somebody asks whether a membership of it is on disk here, or at others behind this relay.
    pub(super) fn on_ask(&mut self, now: Now, from: LinkId, mut ask: Ask) {
        let asked = ask.to.len();
        ask.to.retain(|relay| *relay != self.options.relay);
        if ask.to.len() < asked {
            self.answer_ask(now, &ask);
        }
        if !ask.to.is_empty() {
            self.pass_ask(Some(from), ask);
        }
    }

    fn answer_ask(&mut self, now: Now, ask: &Ask) {
        let Some(number) = self.group_of(now, &ask.group) else { return };
        let Some(group) = self.groups.get_mut(number) else { return };
        let known = group.spread().parts.members.get(&ask.home);
        // One that has not come yet is asked for again.
        if known.is_some_and(|(version, _)| *version >= ask.version) {
            let (group, home, version) = (ask.group.clone(), ask.home.clone(), ask.version);
            let (by, hops) = (self.options.relay.clone(), self.trees.hops());
            self.journal.wait(Waiting::Confirmed(Box::new(Confirmed { group, home, version, by, hops })));
            self.settle_durable(now);
        }
    }

    /// What was asked for is durable here.
    pub(super) fn say_confirmed(&mut self, confirmed: Confirmed) {
        if let Some(link) = self.links.toward.get(&confirmed.home).copied() {
            self.say(link, LinkMessage::Confirmed(confirmed));
        }
    }

    /// A relay has a membership on its disk; it may be one of another relay, which is to know.
    pub(super) fn on_confirmed(&mut self, now: Now, from: LinkId, confirmed: Confirmed) {
        if confirmed.home != self.options.relay {
            if let Some((link, hops)) = self.way_on(&confirmed.home, from, confirmed.hops) {
                self.say(link, LinkMessage::Confirmed(Confirmed { hops, ..confirmed }));
            }
            return;
        }
        let Some(number) = self.groups.number(&confirmed.group.name) else { return };
        let incarnation = self.groups.get(number).map(|group| group.incarnation);
        if incarnation != Some(confirmed.group.incarnation) {
            return;
        }
        for confirming in self.confirmations.waiting.get_mut(&number).into_iter().flatten() {
            if confirming.version <= confirmed.version {
                confirming.missing.remove(&confirmed.by);
            }
        }
        let known = self.confirmations.known.entry(number).or_default();
        if known.0 < confirmed.version {
            *known = (confirmed.version, BTreeSet::new());
        }
        if known.0 == confirmed.version {
            known.1.insert(confirmed.by);
        }
        self.settle_confirmed(now, number);
    }

    /// Answers what has waited for others long enough.
    pub(super) fn settle_confirmed(&mut self, now: Now, number: GroupNumber) {
        let Some(waiting) = self.confirmations.waiting.get_mut(&number) else { return };
        let (mut rest, mut late) = (Vec::new(), Vec::new());
        for mut confirming in std::mem::take(waiting) {
            if confirming.level == SubscribeLevel::Reachable {
                confirming.missing.retain(|relay| self.links.toward.contains_key(relay));
            }
            let orphans = self.orphans();
            confirming.missing.retain(|relay| !orphans.is_gone(relay));
            let is_durable = self.journal.has_durable(confirming.entry);
            let Confirming { session, request, .. } = confirming;
            if is_durable && confirming.missing.is_empty() {
                self.effects.push_back(Effect::Answer { session, request, answer: confirming.answer });
            } else if is_durable && now.time >= confirming.deadline {
                if let Ok(Reply::SubscriptionHandle { handle, .. }) = &*confirming.answer {
                    late.push((session, *handle));
                }
                let answer = Box::new(Err(too_late(&confirming.missing)));
                self.effects.push_back(Effect::Answer { session, request, answer });
            } else {
                rest.push(confirming);
            }
        }
        if rest.is_empty() {
            self.confirmations.waiting.remove(&number);
            self.timers.clear(Timer::Confirm(number));
        } else {
            self.confirmations.waiting.insert(number, rest);
        }
        for (session, handle) in late {
            // The receiver never hears of its handle.
            self.detach(now, (session, handle));
        }
    }

    /// Asks again, and gives up what has waited too long.
    pub(super) fn on_confirm_time(&mut self, now: Now, number: GroupNumber) {
        self.settle_confirmed(now, number);
        let waiting = self.confirmations.waiting.get(&number);
        let next = waiting.and_then(|waiting| waiting.iter().map(|c| next_question(now, c)).min());
        let Some(next) = next else { return };
        let questions: Vec<(Version, BTreeSet<RelayId>)> =
            waiting.into_iter().flatten().map(|c| (c.version, c.missing.clone())).collect();
        for (version, missing) in questions {
            self.ask_for(number, version, &missing);
        }
        self.timers.set(Timer::Confirm(number), next);
    }

    /// Relays that can be reached no more are not waited for.
    pub(super) fn settle_all_confirmed(&mut self, now: Now) {
        let groups: Vec<GroupNumber> = self.confirmations.waiting.keys().copied().collect();
        for number in groups {
            self.settle_confirmed(now, number);
        }
    }
}

/// When to look again: after as long as it has waited already, or when its time is over.
fn next_question(now: Now, confirming: &Confirming) -> Time {
    let waited_ms = now.time.0.saturating_sub(confirming.begun.0) / 1_000_000;
    let again = now.time.after_ms(waited_ms.max(limits::CONFIRM_AGAIN_MS));
    if confirming.deadline > now.time { again.min(confirming.deadline) } else { again }
}

fn too_late(missing: &BTreeSet<RelayId>) -> Refusal {
    const NAMED_MAX: usize = 10;
    let mut names: Vec<&str> = missing.iter().take(NAMED_MAX).map(RelayId::as_str).collect();
    let more = format!("and {} more", missing.len().saturating_sub(NAMED_MAX));
    if missing.len() > NAMED_MAX {
        names.push(&more);
    }
    let message = format!(
        "the subscription is made, but not all relays have confirmed it in time: {}; what they accepted \
         before they learn of it may be missing",
        names.join(", ")
    );
    Refusal::new(RefusalCode::Deadline, message)
}
