//! Quotas that are used up, as homes tell origins: these refuse puts, wherever the subscription lives (R7).
//!
//! ```text
//!  home                                              origin
//!   something comes, or is acked
//!   weighed (5 ms) ── it is another one than before
//!   receipt, with its version ─────────────────────▶ keeps the newest per home
//!        ◀───────────────────────── answered, with that version
//!   said again with receipts until then              refuses puts by it
//! ```
//!
//! The home says it of its own accord to the origins of all streams that it knows, each time that
//! something is used up or has room again, and once after each start. Nothing is said while nothing
//! changes. An origin that starts has forgotten it and is told again, as soon as the home hears of the start.
//! One that has begun no stream since, because it refuses puts by it, is told with its last epoch, though that
//! is finished and forgotten here; and of a home that has started, which has forgotten whom it has told, what
//! it said before counts no more.
//!
//! What an origin was told counts as long as the home is a member on that disk, the subscription is known
//! to live there, and the quotas are those that the home has gone by: so nothing needs to be said, and
//! nobody needs to be there, when a home is forgotten or has lost its disk, or when a subscription is
//! removed or moved, or a quota is changed. A home that is away holds to what it said last.

use std::collections::BTreeMap;

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::quota::{Weighed, Weighing};
use super::receipt::GATHER_WANTED_MS;
use super::stream::Stream;
use super::timer::Timer;
use crate::id::{Epoch, GroupNumber, RelayId, Sequence, StorageId, SubscriptionName};
use crate::limits;
use crate::wire::link::{Full, FullVersion, Quotas, Receipt, Released};

/// Milliseconds for which what comes and is acked is gathered before quotas are weighed.
const WEIGH_MS: u64 = 5;

/// What is used up in a group, here and elsewhere. None of it is on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Fulls {
    /// What is used up here, when it was weighed last.
    here: Option<Here>,
    /// How often that was another one than before, in this boot.
    changes: u64,
    /// What origins were told of it.
    told: BTreeMap<RelayId, Told>,
    /// What homes elsewhere have said.
    there: BTreeMap<RelayId, There>,
}

#[derive(Clone, Debug)]
struct Here {
    weighed: Weighed,
    /// The disk in whose name it is said.
    storage: StorageId,
    full: Full,
}

/// Up to which change an origin was told, and has answered.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    said: u64,
    heard: u64,
    /// With a receipt of which epoch that was: it may be finished, and forgotten here, by now.
    epoch: Epoch,
}

/// What a home has said.
#[derive(Clone, Debug)]
struct There {
    storage: StorageId,
    full: Full,
}

/// A quota that is used up at a home elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blame<'a> {
    /// The home.
    pub(super) home: &'a RelayId,
    /// Who holds back what is there.
    pub(super) subscription: &'a SubscriptionName,
    /// Whether it is the quota of the group, and not the subscription's own.
    pub(super) is_of_group: bool,
}

impl Fulls {
    /// Whether an origin is to be told what is used up here: as news once, and again until it answers.
    fn lacks(&self, origin: &RelayId, repeats: bool) -> bool {
        let told = self.told.get(origin).copied().unwrap_or_default();
        self.here.is_some() && if repeats { told.heard < self.changes } else { told.said < self.changes }
    }
}

impl Group {
    fn fulls(&self) -> Option<&Fulls> {
        self.spread.as_deref()?.full.as_deref()
    }

    fn fulls_mut(&mut self) -> Option<&mut Fulls> {
        self.spread.as_deref_mut()?.full.as_deref_mut()
    }

    /// Whether others may have to be told of its quotas.
    fn is_weighed(&self) -> bool {
        let has_some = || !self.subscriptions.is_empty() && !Quotas::of(&self.settings).is_none();
        self.spread.is_some()
            && self.remnant.is_none()
            && (has_some() || self.fulls().is_some_and(|fulls| fulls.here.is_some()))
    }

    /// What was said and has no answer may have got lost, and is news again. Gives the group's number,
    /// if there is any.
    pub(super) fn doubt_full_said(&mut self) -> Option<GroupNumber> {
        let number = self.number;
        let fulls = self.fulls_mut()?;
        let changes = fulls.changes;
        let unheard = fulls.told.values_mut().filter(|told| told.heard < changes);
        let lost = unheard.map(|told| told.said = told.heard).count();
        (lost > 0).then_some(number)
    }

    /// What is used up here, in words for others.
    fn full(&self, weighed: &Weighed, version: FullVersion) -> Full {
        let most = limits::FULL_NAMES_MAX;
        Full {
            version,
            quotas: weighed.quotas,
            subscriptions: self.names_of(weighed.subscriptions.iter().take(most)),
            left_off: weighed.subscriptions.len().saturating_sub(most) as u64,
            group: self.names_of(&weighed.group).pop(),
        }
    }

    /// What is used up at homes elsewhere by these quotas, in order of their names.
    pub(super) fn blamed_elsewhere(&self, quotas: Quotas) -> impl Iterator<Item = Blame<'_>> {
        let spread = self.spread.as_deref();
        let fulls = self.fulls().into_iter().flat_map(|fulls| &fulls.there);
        let is_home = move |home: &RelayId, storage: StorageId| {
            let member = spread.and_then(|spread| spread.parts.members.get(home));
            member.is_some_and(|(version, is_member)| *is_member && version.storage == storage)
        };
        let lives = move |name: &SubscriptionName, home: &RelayId| {
            let named =
                spread.and_then(|spread| spread.names.subscriptions.get(&(name.clone(), home.clone())));
            named.is_none_or(|named| named.spec.is_some())
        };
        let counts = move |(home, there): &(&RelayId, &There)| {
            there.full.quotas == quotas && is_home(home, there.storage)
        };
        fulls.filter(counts).flat_map(move |(home, there)| {
            let own = there.full.subscriptions.iter().map(|name| (name, false));
            let all = own.chain(there.full.group.iter().map(|name| (name, true)));
            let living = all.filter(move |(name, _)| lives(name, home));
            living.map(move |(subscription, is_of_group)| Blame { home, subscription, is_of_group })
        })
    }

    /// Says whose quota is used up at a home elsewhere, if any is.
    pub(super) fn full_elsewhere(&self, quotas: &Quotas) -> Option<String> {
        let Blame { home, subscription, is_of_group } = self.blamed_elsewhere(*quotas).next()?;
        let said = |count: Option<u64>, bytes: Option<u64>| {
            let count = count.map(|count| format!("{count} messages"));
            let all: Vec<_> = count.into_iter().chain(bytes.map(|bytes| format!("{bytes} bytes"))).collect();
            all.join(" or ")
        };
        let name = &self.name;
        Some(if is_of_group {
            let quota = said(quotas.count, quotas.bytes);
            format!(
                "group `{name}` has used up its quota of {quota} at relay {home}, where subscription \
                 `{subscription}` holds back most"
            )
        } else {
            let quota = said(quotas.subscription_count, quotas.subscription_bytes);
            format!(
                "subscription `{subscription}` of group `{name}`, which lives at relay {home}, has used up its \
                 quota of {quota}"
            )
        })
    }
}

impl Relay {
    /// Something of a group has come or was acked: its quotas are weighed in a moment.
    pub(super) fn note_quota(&mut self, now: Now, number: GroupNumber) {
        if self.groups.get(number).is_some_and(Group::is_weighed) {
            self.quotas_due.insert(number);
            self.timers.set_by(Timer::Quotas, now.time.after_ms(WEIGH_MS));
        }
    }

    pub(super) fn on_quotas_time(&mut self, now: Now) {
        for number in std::mem::take(&mut self.quotas_due) {
            self.weigh_quotas(now, number, Weighing::OnTheWay);
        }
    }

    /// Weighs what is used up in a group, and tells its origins if that is news.
    pub(super) fn weigh_quotas(&mut self, now: Now, number: GroupNumber, weighing: Weighing) {
        let (boot, storage) = (self.options.epoch.counter, self.options.epoch.storage);
        let Some(group) = self.groups.get_mut(number).filter(|group| group.is_weighed()) else { return };
        let before = group.fulls().and_then(|fulls| fulls.here.as_ref());
        let weighed = group.weigh(now.wall, before.map(|here| &here.weighed), weighing);
        let is_known = |here: &Here| Some(&here.weighed) == weighed.as_ref() && here.storage == storage;
        if before.map_or(weighed.is_none(), is_known) {
            return;
        }
        let is_more = weighed.as_ref().is_some_and(|new| new.has_more_than(before.map(|here| &here.weighed)));
        let change = group.fulls().map_or(0, |fulls| fulls.changes) + 1;
        let here = weighed.map(|weighed| {
            let full = group.full(&weighed, FullVersion { boot, change });
            Here { weighed, storage, full }
        });
        let fulls = group.spread().full.get_or_insert_default();
        (fulls.here, fulls.changes) = (here, change);
        self.touched.insert(number);
        self.owe_receipt(now, number, false);
        if is_more {
            // What is put until the origins know of it is stored all the same.
            self.timers.set_by(Timer::Receipts, now.time.after_ms(GATHER_WANTED_MS));
        }
    }

    /// What origins are to be told of quotas here, with the receipt of which stream.
    pub(super) fn full_for_origins<'g>(
        &self,
        group: &'g Group,
        repeats: bool,
    ) -> Vec<(&'g Stream, Box<Full>)> {
        let Some(fulls) = group.fulls() else { return Vec::new() };
        let Some(here) = &fulls.here else { return Vec::new() };
        let mut newest: BTreeMap<&RelayId, &Stream> = BTreeMap::new();
        let is_open = |s: &&Stream| {
            s.origin != self.options.relay
                && fulls.lacks(&s.origin, repeats)
                && self.is_of_known_disk(&s.origin, s.epoch)
                && !group.is_finished(&s.origin, s.epoch)
        };
        for stream in group.streams.iter().filter(is_open) {
            let known = newest.entry(&stream.origin).or_insert(stream);
            if known.epoch.counter < stream.epoch.counter {
                *known = stream;
            }
        }
        newest.into_values().map(|stream| (stream, Box::new(here.full.clone()))).collect()
    }

    /// The same for origins of which no stream is open any more, though they were told what was used up:
    /// they refuse puts by it, and so begin none.
    pub(super) fn full_for_silent(&self, group: &Group, repeats: bool) -> Vec<Receipt> {
        let Some(fulls) = group.fulls() else { return Vec::new() };
        let Some(here) = &fulls.here else { return Vec::new() };
        let me = &self.options.relay;
        let has_none = |origin: &RelayId| {
            let mut streams = group.streams.iter().filter(|s| s.origin == *origin);
            !streams.any(|s| self.is_of_known_disk(&s.origin, s.epoch) && !group.is_finished(origin, s.epoch))
        };
        let is_silent = |(origin, told): &(&RelayId, &Told)| {
            fulls.lacks(origin, repeats) && self.is_of_known_disk(origin, told.epoch) && has_none(origin)
        };
        let receipt = |(origin, told): (&RelayId, &Told)| Receipt {
            group: group.id(),
            origin: origin.clone(),
            epoch: told.epoch,
            member: me.clone(),
            storage: self.options.epoch.storage,
            durable: Sequence(0),
            consumed: Sequence(0),
            hops: self.trees.hops(),
            full: Some(Box::new(here.full.clone())),
            released: None,
            brought: None,
            began: None,
        };
        fulls.told.iter().filter(is_silent).map(receipt).collect()
    }

    /// These are said now.
    pub(super) fn note_full_said(&mut self, number: GroupNumber, receipts: &[Receipt]) {
        let Some(fulls) = self.groups.get_mut(number).and_then(Group::fulls_mut) else { return };
        for receipt in receipts {
            if let Some(full) = &receipt.full {
                let told = fulls.told.entry(receipt.origin.clone()).or_default();
                (told.said, told.epoch) = (full.version.change, receipt.epoch);
            }
        }
    }

    /// An origin has answered.
    pub(super) fn note_full_heard(&mut self, number: GroupNumber, told: &Released) {
        let is_for_me = told.to.as_ref() == Some(&self.options.relay);
        let heard = told.heard.filter(|heard| is_for_me && heard.boot == self.options.epoch.counter);
        let Some(heard) = heard else { return };
        let Some(fulls) = self.groups.get_mut(number).and_then(Group::fulls_mut) else { return };
        let changes = fulls.changes;
        if let Some(told) = fulls.told.get_mut(&told.origin) {
            told.heard = told.heard.max(heard.change.min(changes));
        }
    }

    /// A relay has started again: as an origin it has forgotten what it was told, and as a home whom it has
    /// told. It says anew what is used up there.
    pub(super) fn doubt_full(&mut self, relay: &RelayId) {
        let boot = self.links.states.get(relay).map_or(0, |state| self.boot_of(state));
        for fulls in self.groups.iter_mut().filter_map(Group::fulls_mut) {
            if let Some(told) = fulls.told.get_mut(relay) {
                *told = Told { epoch: told.epoch, ..Told::default() };
            }
            fulls.there.retain(|home, there| home != relay || there.full.version.boot >= boot);
        }
    }

    /// A home tells this relay, as an origin, what is used up there. Gives what is to be answered.
    pub(super) fn take_full(&mut self, number: GroupNumber, receipt: &Receipt) -> Option<FullVersion> {
        let full = receipt.full.as_deref()?;
        let (me, storage) = (&self.options.relay, self.options.epoch.storage);
        let group = self.groups.get_mut(number)?;
        // Who looks after another's stream is no origin of it. What it wrote itself may be finished by now.
        if receipt.origin != *me || receipt.epoch.storage != storage {
            return None;
        }
        let spread = group.spread();
        let is_home = spread.parts.members.get(&receipt.member).is_some_and(|(version, is_member)| {
            // Of whom else nothing is kept: so there are no more of these than members.
            *is_member && version.storage == receipt.storage
        });
        if !is_home {
            return None;
        }
        let there = &mut spread.full.get_or_insert_default().there;
        let known = there.get(&receipt.member).filter(|there| there.storage == receipt.storage);
        if known.is_none_or(|known| known.full.version < full.version) {
            let mut full = full.clone();
            full.subscriptions.truncate(limits::FULL_NAMES_MAX);
            there.insert(receipt.member.clone(), There { storage: receipt.storage, full });
        }
        Some(full.version)
    }
}
