//! Relays that never come back: an operator says so, and everybody knows (`relay forget`).
//!
//! What is said of such a relay is a fact like others, with a version above everything that the
//! relay can have said of itself. So whatever is still on its way of its memberships, names and
//! streams is void, wherever it turns up, and what it says itself if it lives is above it.
//!
//! **What it was owed** is owed to nobody any more (I8): the origins let go of it.
//!
//! **Its streams** will never be sealed. Who holds records of them that not all members have is an
//! origin in its place, so that they get through; the member of the lesser name, the *trustee*,
//! collects the receipts and says what is released (R9). What the relay had taken and passed on to
//! nobody is lost, as far as anybody knows: the trustee says LOSS in its own stream, if the relay
//! was an origin. That holds nothing up, and if the relay comes back its records are inserted all
//! the same: they are next in its stream.
//!
//! **If it comes back** it learns that it was forgotten. It says everything again that it is, above
//! that, and is owed again from the new marks. What was put meanwhile it may have missed: its
//! subscriptions get a LOSS for it, which nobody else is told. Both ends warn of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::group::Group;
use super::input::Now;
use super::loss::{Loss, LossCause};
use super::requests::{Outcome, When};
use super::state::Operation;
use super::stream::{Draft, Mark, Stream};
use super::{Relay, facts};
use crate::id::{GroupNumber, RelayId, StorageId, SubscriptionName, WallTime};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::routing::LinkState;
use crate::topology::likely_or_known;
use crate::wire::body::{Forgetting, LostSubscription, Refusal, RefusalCode, Reply};
use crate::wire::link::{Fact, Forgotten, NameEntry, Version};
use crate::wire::run::RunKind;

/// How far above what is known of a relay the version is that forgets it: as many boots as it may
/// have had without anybody knowing.
const LEAP: u64 = BOOT << 8;

/// Changes of links within one boot, at the most.
const BOOT: u64 = 1 << facts::BOOT_SHIFT;

/// Items of each kind in the answer to an operator.
const LIST_MAX: usize = 500;

const _: () = assert!(LIST_MAX * 4 * (limits::NAME_BYTES_MAX + 32) < limits::CONTROL_BYTES_MAX);

/// A relay that was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Forgot {
    /// What it says in a version with a lower counter is void.
    pub(super) version: Version,
    /// Which relay was asked to.
    pub(super) by: RelayId,
    /// When that was there.
    pub(super) at: WallTime,
    /// Whether it has said something above that since, so it lives: when nothing is heard of it after
    /// a start it is away, and not gone.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) is_back: bool,
}

/// All of them.
pub(super) type ForgottenRelays = BTreeMap<RelayId, Forgot>;

/// Tells streams that nobody writes or looks after.
#[derive(Clone, Copy)]
pub(super) struct Orphans<'r> {
    pub(super) forgotten: &'r ForgottenRelays,
    pub(super) states: &'r BTreeMap<RelayId, LinkState>,
}

impl Orphans<'_> {
    /// Whether a relay was forgotten, and has not come back.
    pub(super) fn is_gone(&self, relay: &RelayId) -> bool {
        self.forgotten.get(relay).is_some_and(|forgot| !forgot.is_back) && !self.states.contains_key(relay)
    }

    /// Whether `me` looks after a stream: its origin, or the trustee of one that is gone.
    pub(super) fn falls_to(&self, stream: &Stream, (me, is_trustee): (&RelayId, bool)) -> bool {
        stream.origin == *me || (is_trustee && self.is_gone(&stream.origin))
    }

    /// Whether a stream has lost its writer for good, or with the disk that it stood on.
    pub(super) fn is_one(&self, stream: &Stream) -> bool {
        let lives_on = |state: &LinkState| state.version.storage == stream.epoch.storage;
        self.is_gone(&stream.origin) || self.states.get(&stream.origin).is_some_and(|s| !lives_on(s))
    }
}

impl Group {
    /// A relay is no member any more. The stream of this boot says so itself; those of boots before
    /// take no record, and are not owed to it again when it becomes a member anew.
    pub(super) fn drop_marks(&mut self, me: &RelayId, relay: &RelayId) {
        let own = self.own;
        let is_old = |s: &&mut Stream| s.origin == *me && Some(s.number) != own;
        for stream in self.streams.iter_mut().filter(is_old) {
            stream.marks.remove(relay);
        }
    }

    /// Who looks after the streams of a relay that is gone: the member of the lesser name.
    pub(super) fn trustee(&self) -> Option<&RelayId> {
        self.spread.as_deref()?.parts.active_members().first().copied()
    }

    /// Whether this relay takes part for what a relay has put, or was to get.
    fn knows_of(&self, relay: &RelayId) -> bool {
        let Some(spread) = self.spread.as_deref() else { return false };
        let is_home =
            |((_, home), named): (&(_, RelayId), &super::names::Named)| home == relay && named.spec.is_some();
        spread.parts.members.contains_key(relay)
            || spread.parts.origins.contains_key(relay)
            || spread.names.subscriptions.iter().any(is_home)
            || self.streams.iter().any(|s| s.origin == *relay || s.marks.contains_key(relay))
    }

    /// Records here that a relay has not confirmed, as far as is known.
    fn kept_for(&self, me: &RelayId, relay: &RelayId) -> u64 {
        let others = self.streams.iter().filter(|s| s.origin != *me && s.origin != *relay);
        self.unconfirmed(me, relay) + others.map(|s| s.last.0.saturating_sub(s.released.0)).sum::<u64>()
    }

    /// Records that were put here and that a relay has not confirmed.
    fn unconfirmed(&self, me: &RelayId, relay: &RelayId) -> u64 {
        let is_member = |of: &RelayId| of == relay;
        let own = self.streams.iter().filter(|s| s.origin == *me && s.marks.contains_key(relay));
        own.map(|s| s.last.0.saturating_sub(s.covered(me, is_member).max(s.released).0)).sum()
    }

    /// The member that lacks most of what was put here, and how much that is.
    pub(super) fn least_confirmed(&self, me: &RelayId) -> Option<(&RelayId, u64)> {
        let members = self.spread.as_deref()?.parts.active_members();
        let others = members.into_iter().filter(|relay| *relay != me);
        let lacks = others.map(|relay| (relay, self.unconfirmed(me, relay)));
        lacks.filter(|(_, lacked)| *lacked > 0).max_by_key(|(_, lacked)| *lacked)
    }

    /// A subscription that lives at another relay.
    pub(super) fn subscription_at(&self, relay: &RelayId) -> Option<&SubscriptionName> {
        let mut names = self.spread.as_deref()?.names.subscriptions.iter();
        let found = names.find(|((_, home), named)| home == relay && named.spec.is_some());
        found.map(|((name, _), _)| name)
    }
}

/// The version in which each relay notes by itself what one that was forgotten is no more.
fn void(forgotten: Version) -> Version {
    Version { counter: forgotten.counter, storage: StorageId::default() }
}

impl Relay {
    pub(super) fn orphans(&self) -> Orphans<'_> {
        Orphans { forgotten: &self.forgotten, states: &self.links.states }
    }

    /// Whether a fact is what a relay has said of itself before it was forgotten.
    pub(super) fn is_about_forgotten(&self, fact: &Fact) -> bool {
        fact.of_itself().is_some_and(|(relay, version, _)| self.is_void(relay, version))
    }

    /// Whether what a relay has said in this version counts no more.
    fn is_void(&self, relay: &RelayId, version: Version) -> bool {
        let forgot = self.forgotten.get(relay).filter(|_| *relay != self.options.relay);
        forgot.is_some_and(|forgot| version.counter < forgot.version.counter)
    }

    /// The boot in which a relay has said this of its links.
    pub(super) fn boot_of(&self, state: &LinkState) -> u64 {
        let forgot = self.forgotten.get(&state.relay).map_or(0, |forgot| forgot.version.counter);
        state.boot.unwrap_or_else(|| state.version.counter.saturating_sub(forgot) >> facts::BOOT_SHIFT)
    }

    /// The counter below which what a relay has said of itself is void, if it was forgotten.
    pub(super) fn forgotten_in(&self, relay: &RelayId) -> u64 {
        self.forgotten.get(relay).map_or(0, |forgot| forgot.version.counter)
    }

    /// What this relay says of itself is above this: it may have been forgotten.
    pub(super) fn least_version(&self) -> Version {
        self.forgotten.get(&self.options.relay).map(|forgot| forgot.version).unwrap_or_default()
    }

    /// The home of a queue, if it was forgotten and is not back.
    pub(super) fn lost_home(&self, number: GroupNumber) -> Option<RelayId> {
        let home = self.groups.get(number)?.spread.as_deref()?.names.queue_home()?;
        self.orphans().is_gone(home).then(|| home.clone())
    }

    /// To whom receipts for a stream go.
    pub(super) fn receiver_of(&self, number: GroupNumber, origin: &RelayId) -> Option<RelayId> {
        if !self.orphans().is_gone(origin) {
            return Some(origin.clone());
        }
        self.groups.get(number).and_then(|group| group.trustee().cloned())
    }

    /// An operator has said that a relay never comes back, or asks what that would mean.
    pub(super) fn forget_request(&mut self, now: Now, relay: RelayId, confirmed: bool) -> Outcome {
        self.check_forget(&relay)?;
        let told = Box::new(self.forgetting(&relay, confirmed));
        if !confirmed {
            return Ok((Reply::Forgetting(told), When::Now));
        }
        let said = self.links.states.get(&relay).map_or(0, |state| state.version.counter);
        let parts = self.groups.iter().filter_map(|group| Some(&group.spread.as_deref()?.parts));
        let parts = parts.flat_map(|parts| [parts.members.get(&relay), parts.origins.get(&relay)]);
        let said = parts.flatten().map(|(version, _)| version.counter).fold(said, u64::max);
        let before = self.forgotten.get(&relay).map_or(0, |forgot| forgot.version.counter);
        // A whole number of boots: what comes back adds its own.
        let counter = said.max(before).saturating_add(LEAP).min(limits::SEQUENCE_MAX) & !(BOOT - 1);
        let version = Version { counter, storage: self.options.epoch.storage };
        let fact = Forgotten { relay, version, by: self.options.relay.clone(), at: now.wall };
        self.learn_forgotten(now, &fact);
        self.flood(None, &[Fact::Forgotten(fact)]);
        Ok((Reply::Forgetting(told), When::Durable))
    }

    fn check_forget(&self, relay: &RelayId) -> Result<(), Refusal> {
        let refuse = |code, why: String| Err(Refusal::new(code, why));
        if *relay == self.options.relay {
            let why =
                format!("this relay is {relay}: it is not forgotten by itself; `relay drain` empties it");
            return refuse(RefusalCode::Invalid, why);
        }
        if self.links.toward.contains_key(relay) {
            let why =
                format!("{relay} can be reached, so it lives: drain it and stop it before it is forgotten");
            return refuse(RefusalCode::NotPermitted, why);
        }
        self.check_known_relay(relay)?;
        if !self.links.has_table {
            return Err(self.no_table());
        }
        Ok(())
    }

    /// Whether anything is known of a relay; if not, which ones there are is told.
    pub(super) fn check_known_relay(&self, relay: &RelayId) -> Result<(), Refusal> {
        let known: BTreeSet<&RelayId> = self.links.states.keys().chain(self.trees.relays()).collect();
        if known.contains(relay) || self.groups.iter().any(|group| group.knows_of(relay)) {
            return Ok(());
        }
        let orphans = self.orphans();
        let there = known.iter().copied().filter(|known| !orphans.is_gone(known)).map(RelayId::as_str);
        let advice = likely_or_known(relay.as_str(), there);
        let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
        let why = format!("no relay `{relay}` is known at {}{advice}", self.options.relay);
        Err(Refusal::new(RefusalCode::NotFound, why))
    }

    /// What is lost with a relay, as far as is known here.
    fn forgetting(&self, relay: &RelayId, done: bool) -> Forgetting {
        let mut told = Forgetting::new(relay.clone(), done);
        for group in self.groups.iter() {
            let Some(spread) = group.spread.as_deref() else { continue };
            if spread.names.queue_home() == Some(relay) {
                told.queue_count += 1;
                told.queues.push(group.name.clone());
            }
            if spread.parts.active_origins().contains(&relay) {
                told.origin_count += 1;
                told.origins.push(group.name.clone());
            }
            let kept = group.kept_for(&self.options.relay, relay);
            let names = spread.names.subscriptions.iter();
            for ((name, _), _) in names.filter(|((_, home), named)| home == relay && named.spec.is_some()) {
                told.subscription_count += 1;
                let (group, name) = (group.name.clone(), name.clone());
                told.subscriptions.push(LostSubscription { group, name, kept });
            }
            told.queues.truncate(LIST_MAX);
            told.origins.truncate(LIST_MAX);
            told.subscriptions.truncate(LIST_MAX);
        }
        told
    }

    /// A relay was forgotten. True if that is news.
    pub(super) fn learn_forgotten(&mut self, now: Now, fact: &Forgotten) -> bool {
        let Forgotten { relay, version, by, at } = fact.clone();
        let known = self.forgotten.get(&relay).map(|forgot| forgot.version);
        if known.is_some_and(|known| known >= version) {
            return false;
        }
        if known.is_none() && self.forgotten.len() >= limits::FORGOTTEN_MAX {
            self.warn(format!("only {} relays that were forgotten are known", limits::FORGOTTEN_MAX));
            return false;
        }
        // What follows from it stands before it in the log: a crash between them, and it is learned
        // and done again.
        let is_me = relay == self.options.relay;
        let is_back = is_me || self.is_said_above(&relay, version.counter);
        let forgot = Forgot { version, by: by.clone(), at, is_back };
        if is_me {
            self.forgotten.insert(relay.clone(), forgot);
            self.tell_missed(now, &by);
        } else {
            self.links.states.retain(|of, state| *of != relay || state.version.counter >= version.counter);
            self.forgotten.insert(relay.clone(), forgot);
            self.void(now, &relay, (version, &by));
            self.trees.forget_relay(&relay);
            self.own_links_changed(now);
        }
        let operation = Operation::RelayForgotten { relay, version, by, at, is_back };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        if is_me {
            self.say_all_again(now, version);
        }
        true
    }

    /// What a relay has said of itself counts no more.
    fn void(&mut self, now: Now, relay: &RelayId, (version, by): (Version, &RelayId)) {
        let void = void(version);
        let known = self.groups.iter().filter(|group| group.knows_of(relay));
        for number in known.map(|group| group.number).collect::<Vec<_>>() {
            self.void_member(now, number, relay, void);
            self.void_origin(now, number, relay, (void, by));
            self.void_names(number, relay, void);
            self.plan(number);
            self.announce_origin(now, number, Version::default());
            self.settle_released(number);
            self.mark_dirty_group(number);
        }
    }

    fn void_member(&mut self, now: Now, number: GroupNumber, relay: &RelayId, version: Version) {
        let Some(group) = self.groups.get_mut(number) else { return };
        for stream in &mut group.streams {
            stream.receipts.remove(relay);
        }
        let is_marked = group.streams.iter().any(|stream| stream.marks.contains_key(relay));
        let said = group.spread().parts.members.get(relay).copied();
        if said.map_or(!is_marked, |(said, _)| said.counter >= version.counter) {
            return;
        }
        group.spread().parts.set_member(relay, version, false);
        group.drop_marks(&self.options.relay, relay);
        let operation = Operation::MemberSet { group: number, relay: relay.clone(), version, member: false };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.mark(now, number, Mark { relay: relay.clone(), member: false, version: version.counter });
    }

    fn void_origin(
        &mut self,
        now: Now,
        number: GroupNumber,
        relay: &RelayId,
        (version, by): (Version, &RelayId),
    ) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let Some((said, active)) = group.spread().parts.origins.get(relay).copied() else { return };
        if said.counter >= version.counter {
            return;
        }
        if active && group.trustee() == Some(&self.options.relay) {
            let cause = LossCause::Forgotten { origin: relay.clone(), by: by.clone() };
            self.append_loss(now, number, cause);
        }
        let Some(group) = self.groups.get_mut(number) else { return };
        group.spread().parts.set_origin(relay, version, false);
        let operation = Operation::OriginSet { group: number, relay: relay.clone(), version, active: false };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
    }

    fn append_loss(&mut self, now: Now, number: GroupNumber, cause: LossCause) {
        if self.draining {
            // Its streams are sealed, and it has no subscriptions.
            return;
        }
        let loss = Loss { cause, after: None, messages: None };
        let own = self.own_stream(now, number);
        self.append_control(
            now,
            number,
            own,
            Draft::control(RunKind::Loss, crate::wire::body::encode(&loss)),
        );
    }

    fn void_names(&mut self, number: GroupNumber, relay: &RelayId, version: Version) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let names = group.spread().names.subscriptions.iter();
        let void = names.filter(|((_, home), named)| home == relay && named.spec.is_some());
        let void: Vec<NameEntry> = void
            .filter(|(_, named)| named.version.counter < version.counter)
            .map(|((name, home), _)| (name.clone(), home.clone()))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(name, home)| NameEntry { group: group.id(), name, home, version, spec: None })
            .collect();
        for entry in void {
            self.keep_name(number, &entry);
        }
    }

    /// This relay was forgotten while it was away: what it is owed from here on is new.
    fn tell_missed(&mut self, now: Now, by: &RelayId) {
        if !self.links.has_table {
            // A new disk has nothing that could have gone on.
            return;
        }
        let homes =
            self.groups.iter().filter(|group| !group.subscriptions.is_empty() && group.spread.is_some());
        for number in homes.map(|group| group.number).collect::<Vec<_>>() {
            self.append_loss(now, number, LossCause::Missed { by: by.clone() });
        }
    }

    /// Says everything of itself again, above what has forgotten it.
    fn say_all_again(&mut self, now: Now, version: Version) {
        let me = self.options.relay.clone();
        for number in self.groups.iter().map(|group| group.number).collect::<Vec<_>>() {
            let Some(group) = self.groups.get_mut(number) else { continue };
            if group.spread.is_none() {
                continue;
            }
            let names: Vec<_> = group.subscriptions.iter().map(|s| s.name.clone()).collect();
            for name in &names {
                let spec = self.spec_of(number, name);
                self.announce_name(number, name, spec);
            }
            let Some(group) = self.groups.get_mut(number) else { continue };
            let was_member = group.spread().parts.members.contains_key(&me);
            group.raise_above(version.counter);
            // Another may have answered in its place what it has not heard: everybody says it again.
            for stream in group.streams.iter_mut().filter(|s| s.origin == me && s.last > s.released) {
                stream.wanted = stream.last;
                self.wants_due.insert(number);
            }
            let was_origin = group.said_origin(&me).0 > Version::default();
            if was_member || !names.is_empty() {
                self.announce_membership(number, !names.is_empty());
            }
            if was_origin {
                self.announce_origin(now, number, version);
            }
        }
        self.announce_links(now);
    }

    /// A neighbour that has come is told first who was forgotten.
    pub(super) fn forgotten_facts(&self) -> impl Iterator<Item = Fact> + '_ {
        self.forgotten.iter().map(|(relay, forgot)| {
            let Forgot { version, by, at, .. } = forgot.clone();
            Fact::Forgotten(Forgotten { relay: relay.clone(), version, by, at })
        })
    }

    /// Nobody is a member of a group any more, so what a relay that is gone has put is owed to nobody.
    pub(super) fn release_unowed(&mut self, number: GroupNumber) {
        let orphans = Orphans { forgotten: &self.forgotten, states: &self.links.states };
        let Some(group) = self.groups.get_mut(number).filter(|group| group.trustee().is_none()) else {
            return;
        };
        for stream in group.streams.iter_mut().filter(|s| orphans.is_gone(&s.origin)) {
            stream.release(stream.last);
        }
    }

    /// What the status says of relays that were forgotten.
    pub(super) fn forgotten_warnings(&self, now: Now) -> Vec<String> {
        let shown = |forgot: &Forgot| {
            now.wall.0.saturating_sub(forgot.at.0) <= limits::TAIL_CUT_SHOWN_MS.saturating_mul(1000)
        };
        let text = |(relay, forgot): (&RelayId, &Forgot)| {
            let by = &forgot.by;
            if *relay == self.options.relay {
                let lost = self.queues_lost_here();
                Some(format!(
                    "this relay was forgotten by an operator at {by} while it was away: what was put meanwhile may be \
                     missing here, and subscriptions get a GAP{lost}"
                ))
            } else if self.links.states.contains_key(relay) {
                Some(format!(
                    "{relay}, which was forgotten at {by}, is back: it is owed again what is put from now on"
                ))
            } else {
                None
            }
        };
        self.forgotten.iter().filter(|(_, forgot)| shown(forgot)).filter_map(text).collect()
    }

    /// Queues that are said to live here, and do not.
    fn queues_lost_here(&self) -> String {
        let me = &self.options.relay;
        let is_lost = |group: &&Group| self.queue_home(group) == Some(me) && group.backlog_here().is_none();
        let lost: Vec<&str> = self.groups.named().filter(is_lost).map(|group| group.name.as_str()).collect();
        match lost[..] {
            [] => String::new(),
            [one] => format!("; queue {one}, which lived here, must be made again"),
            [one, ..] => {
                let more = lost.len() - 1;
                format!("; queue {one} and {more} more that lived here must be made again")
            }
        }
    }

    /// As it is saved.
    pub(super) fn forgotten_list(&self) -> Vec<(RelayId, Forgot)> {
        self.forgotten.iter().map(|(relay, forgot)| (relay.clone(), forgot.clone())).collect()
    }

    /// This relay was forgotten, as is read again: of the groups for which `is_new`, memberships were
    /// said again above that.
    pub(super) fn replay_forgotten(
        &mut self,
        relay: &RelayId,
        version: Version,
        is_new: &dyn Fn(GroupNumber) -> bool,
    ) {
        if *relay == self.options.relay {
            let groups = self.groups.iter_mut().filter(|group| is_new(group.number));
            groups.for_each(|group| group.raise_above(version.counter));
        }
    }
}
