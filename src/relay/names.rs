//! The name database: what every relay knows of groups, queues and durable subscriptions.
//!
//! Each entry is versioned and flooded like a membership ([`super::facts`]), and on every disk. A
//! group has one entry with its settings and, for a queue, its home; whoever changes it says a
//! higher version. A removed group leaves a tombstone: the highest life that is over. A durable
//! subscription has one entry at its home (R12), with how it works, so that a home that has lost
//! its disk makes it again (R3).

use std::collections::BTreeMap;

use super::Relay;
use super::brought::Brought;
use super::group::Group;
use super::input::Now;
use super::journal::Waiting;
use super::state::Operation;
use crate::id::{GroupName, GroupNumber, RelayId, StorageId, SubscriptionName};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Start, SubscribeLevel, SubscriptionSpec};
use crate::wire::link::{Fact, GroupEntry, GroupId, NameEntry, Version};

/// What is known of a subscription, wherever it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) version: Version,
    /// How it works; `None`: it was removed.
    pub(super) spec: Option<SubscriptionSpec>,
}

/// All that is known of a group's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The version of the settings; default: nobody has set any; with counter 0: as a file has them.
    pub(super) version: Version,
    /// Whether this relay has set them since its start.
    is_set_here: bool,
    /// The home of a queue.
    pub(super) home: Option<RelayId>,
    /// Whether this relay was a member before it lost its disk: streams whose marks are lost with
    /// it are owed to it from where they can be had.
    pub(super) is_remade: bool,
    /// Subscriptions by name and home.
    pub(super) subscriptions: BTreeMap<(SubscriptionName, RelayId), Named>,
    /// What they have brought along there.
    pub(super) brought: Brought,
}

impl Names {
    /// What is said of a subscription, by its homes.
    pub(super) fn homes_of<'n>(
        &'n self,
        name: &'n SubscriptionName,
    ) -> impl Iterator<Item = (&'n RelayId, &'n Named)> {
        // There may be many of other names: what each of them costs is not to grow with their number.
        let all = self.subscriptions.range((name.clone(), RelayId::least())..);
        all.take_while(move |((known, _), _)| known == name).map(|((_, home), named)| (home, named))
    }

    fn set(&mut self, name: &SubscriptionName, home: &RelayId, named: Named) -> bool {
        let key = (name.clone(), home.clone());
        if self.subscriptions.get(&key).is_some_and(|known| known.version >= named.version) {
            return false;
        }
        let (lives, version) = (named.spec.is_some(), named.version.counter);
        let before = self.subscriptions.insert(key, named);
        let is_new = before.is_none_or(|before| before.spec.is_none());
        let has_other = lives && is_new && self.homes_of(name).any(|(other, _)| other != home);
        self.brought.note_said(home, version);
        self.brought.note_home((name, home), lives, has_other.then_some(version));
        true
    }
}

impl Group {
    fn entry(&self) -> Option<GroupEntry> {
        let names = &self.spread.as_deref()?.names;
        (names.version != Version::default()).then(|| GroupEntry {
            group: self.id(),
            version: names.version,
            settings: (*self.settings).clone(),
            home: names.home.clone(),
        })
    }

    /// Facts of its names, for a neighbour that has come.
    pub(super) fn name_facts(&self) -> impl Iterator<Item = Fact> + '_ {
        let names = self.spread.iter().flat_map(|spread| &spread.names.subscriptions);
        let names = names.map(|((name, home), named)| {
            Fact::Name(NameEntry {
                group: self.id(),
                name: name.clone(),
                home: home.clone(),
                version: named.version,
                spec: named.spec.clone(),
            })
        });
        self.entry().map(Fact::Group).into_iter().chain(names)
    }

    /// Takes over an entry, decided here or learned.
    pub(super) fn set_entry(&mut self, entry: GroupEntry) {
        *self.settings = entry.settings;
        self.heed_fifo();
        let names = &mut self.spread().names;
        (names.version, names.home, names.is_set_here) = (entry.version, entry.home, false);
    }

    /// Takes over the entry of a subscription.
    pub(super) fn set_name(&mut self, entry: &NameEntry) -> bool {
        let named = Named { version: entry.version, spec: entry.spec.clone() };
        self.spread().names.set(&entry.name, &entry.home, named)
    }
}

impl Relay {
    /// Says how a group is to work, in a version above the one that is known, when that is durable: a
    /// crash could take it back, and the next that is said would have the same version.
    pub(super) fn announce_group(&mut self, number: GroupNumber) {
        if self.is_alone() {
            return;
        }
        let Some(entry) = self.next_entry(number) else { return };
        self.keep_entry(number, entry.clone());
        if let Some(group) = self.groups.get_mut(number) {
            group.spread().names.is_set_here = true;
        }
        self.journal.wait(Waiting::Said(Box::new(Fact::Group(entry))));
    }

    /// The disk is an older one: what has been said of groups since the start may be said in versions that
    /// the one before has used.
    pub(super) fn say_groups_again(&mut self, before: StorageId) {
        let is_doubtful = |group: &&Group| {
            let names = group.spread.as_deref().map(|spread| &spread.names);
            names.is_some_and(|names| names.is_set_here && names.version.storage == before)
        };
        let doubtful: Vec<GroupNumber> =
            self.groups.named().filter(is_doubtful).map(|group| group.number).collect();
        doubtful.into_iter().for_each(|number| self.announce_group(number));
    }

    /// The entry of a group as it is here, in a version above the one that is known.
    fn next_entry(&mut self, number: GroupNumber) -> Option<GroupEntry> {
        let (me, storage) = (self.options.relay.clone(), self.options.epoch.storage);
        let group = self.groups.get_mut(number)?;
        let settings = (*group.settings).clone();
        let home = if group.queue { Some(me) } else { group.spread().names.queue_home().cloned() };
        let version = group.spread().names.version.next(storage);
        Some(GroupEntry { group: group.id(), version, settings, home })
    }

    pub(super) fn keep_entry(&mut self, number: GroupNumber, entry: GroupEntry) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let (version, settings, home) = (entry.version, Box::new(entry.settings.clone()), entry.home.clone());
        let operation = Operation::GroupEntrySet { group: number, version, settings, home };
        let is_replanned = group.settings.tree != entry.settings.tree;
        group.set_entry(entry);
        self.note_news();
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        if is_replanned {
            self.plan(number);
        }
        self.on_fifo_set(number);
    }

    /// Somebody has said how a group is to work.
    pub(super) fn learn_group(&mut self, now: Now, entry: &GroupEntry) -> bool {
        let Some(number) = self.group_of(now, &entry.group) else { return false };
        let me = self.options.relay.clone();
        let Some(group) = self.groups.get_mut(number) else { return false };
        if group.spread().names.version >= entry.version {
            return false;
        }
        let is_elsewhere = entry.home.as_ref() != Some(&me);
        if group.queue && is_elsewhere && !group.goes_to(entry.home.as_ref()) {
            if entry.home.as_ref().is_some_and(|home| group.spread().names.has_left(home)) {
                // Whoever says so has not heard that it has come here: its settings are news.
                self.keep_entry(number, entry.clone());
                self.announce_group(number);
                return false;
            }
            // The lesser name is the home that counts, and the other one closes ([`super::merging`]); said
            // above what that says.
            let name = group.name.clone();
            if entry.home.as_ref().is_none_or(|home| *home > me) {
                group.spread().names.version = entry.version;
                self.announce_group(number);
                if entry.home.is_none() {
                    self.warn(format!("queue {name} of relay {me} was made as a group elsewhere"));
                }
                return false;
            }
        }
        self.keep_entry(number, entry.clone());
        self.enforce(now, number);
        self.mark_dirty_group(number);
        self.take_remade_queue(number);
        self.take_planned_queue(now, number, entry);
        true
    }

    /// A group's lives up to this one are over.
    pub(super) fn learn_removed(&mut self, removed: &GroupId) -> bool {
        if self.removed.get(&removed.name).is_some_and(|(_, known)| *known >= removed.incarnation) {
            return false;
        }
        if let Some(number) = self.groups.number(&removed.name)
            && self.groups.get(number).is_some_and(|group| group.incarnation <= removed.incarnation)
        {
            self.end_group(number);
        }
        let GroupId { name, incarnation } = removed.clone();
        let operation = Operation::NameRemoved { name: name.clone(), incarnation };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.note_removed(name, incarnation);
        true
    }

    /// Others say which life of a name is over.
    pub(super) fn note_removed(&mut self, name: GroupName, incarnation: u32) {
        self.note_news();
        self.note_over(name, GroupNumber(0), incarnation);
    }

    /// Tombstones, for a neighbour that has come.
    pub(super) fn removed_facts(&self) -> impl Iterator<Item = Fact> + '_ {
        let id = |(name, (_, incarnation)): (&GroupName, &(GroupNumber, u32))| {
            Fact::Removed(GroupId { name: name.clone(), incarnation: *incarnation })
        };
        self.removed.iter().map(id)
    }

    /// Says that a subscription lives here, or does so no longer.
    pub(super) fn announce_name(
        &mut self,
        number: GroupNumber,
        name: &SubscriptionName,
        spec: Option<SubscriptionSpec>,
    ) {
        if self.is_alone() {
            return;
        }
        let (home, storage) = (self.options.relay.clone(), self.options.epoch.storage);
        let least = self.least_version();
        let Some(group) = self.groups.get_mut(number) else { return };
        let known = group.spread().names.subscriptions.get(&(name.clone(), home.clone()));
        let known = known.map_or(Version::default(), |known| known.version).max(least);
        let names = &group.spread().names;
        let comes = spec.is_some() && names.homes_of(name).any(|(other, _)| *other != home);
        // Whoever counts with what it brings along is not to take a word about another name for this one's.
        let said = if comes { names.brought.highest_of(&home) } else { 0 };
        let version = Version { counter: known.counter.max(said), ..known }.next(storage);
        // Where it began matters to nobody else.
        let spec = spec.map(|spec| SubscriptionSpec { start: Start::Now, ..spec });
        let entry = NameEntry { group: group.id(), name: name.clone(), home, version, spec };
        self.say_name(number, entry);
        self.note_twin(number, name);
        if comes {
            // Who knows of another home waits for the word of this one.
            self.hold_brought(number);
        }
    }

    /// Keeps an entry that this relay has made, and says it when it is durable.
    pub(super) fn say_name(&mut self, number: GroupNumber, entry: NameEntry) {
        self.keep_name(number, &entry);
        // Whoever heard it takes it for what this disk has: one that a crash took back would be said
        // to be no more, also when it was made again for a disk that is gone (R3).
        self.journal.wait(Waiting::Said(Box::new(Fact::Name(entry))));
    }

    pub(super) fn keep_name(&mut self, number: GroupNumber, entry: &NameEntry) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let before = group.spread().names.subscriptions.len();
        group.set_name(entry);
        self.names_known += group.spread().names.subscriptions.len() - before;
        self.note_news();
        let NameEntry { name, home, version, spec, .. } = entry.clone();
        let operation = Operation::NameSet { group: number, name, home, version, spec };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.note_homes(number, &entry.name);
    }

    /// Somebody has said where a subscription lives.
    pub(super) fn learn_name(&mut self, now: Now, entry: &NameEntry) -> bool {
        let Some(number) = self.group_of(now, &entry.group) else { return false };
        let is_spent = self.is_spent(number, &entry.name);
        let Some(group) = self.groups.get_mut(number) else { return false };
        let key = (entry.name.clone(), entry.home.clone());
        let known = group.spread().names.subscriptions.get(&key).map(|named| named.version);
        if known.is_some_and(|known| known >= entry.version) {
            return false;
        }
        if entry.home != self.options.relay {
            if known.is_none() && self.names_known >= limits::NAMES_MAX {
                self.warn(format!("only {} subscriptions of others are known", limits::NAMES_MAX));
                return false;
            }
            let is_taken_back = known.is_some() && self.says_again(number, entry);
            self.keep_name(number, entry);
            self.note_twin(number, &entry.name);
            if is_taken_back {
                self.disown_again(number, entry);
            }
            return true;
        }
        if entry.spec.is_none() && self.drop_remade(now, (number, &entry.name), entry.version) {
            return false;
        }
        if entry.spec.is_none() && is_spent {
            // Its new home says so; it will say that to this one, too.
            self.keep_name(number, entry);
            return true;
        }
        // Said before a crash took it back, or by a disk that is gone (R6): what holds is said above.
        let Some(group) = self.groups.get_mut(number) else { return false };
        group.set_name(entry);
        let is_here = self.names.contains_key(&(number, entry.name.clone()));
        let comes = self.comes(number, &entry.name);
        match &entry.spec {
            Some(_) if comes => self.announce_name(number, &entry.name, None),
            Some(spec) if !is_here && self.may_have_lost(entry.version.storage) => {
                self.make_again(now, number, &entry.name, (spec, entry.version));
            }
            _ => {
                let spec = self.spec_of(number, &entry.name);
                self.announce_name(number, &entry.name, spec);
            }
        }
        false
    }

    /// A subscription of a disk that this relay has lost (R3).
    fn make_again(
        &mut self,
        now: Now,
        number: GroupNumber,
        name: &SubscriptionName,
        (spec, version): (&SubscriptionSpec, Version),
    ) {
        let spec = SubscriptionSpec { start: Start::Beginning, level: SubscribeLevel::Local, ..spec.clone() };
        self.note_remade(number);
        let made = self.make_or_remake(now, number, name.clone(), (&spec, Some(version)));
        self.warn_of_lost(number, name, made.err().as_ref());
        self.take_remade_queue(number);
        self.tell_uncertain(now);
    }

    /// Before any of its subscriptions is there again: whoever is interrupted still has to say it.
    fn note_remade(&mut self, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number) else { return };
        if !std::mem::replace(&mut group.spread().names.is_remade, true) {
            let operation = Operation::GroupRemade { group: number };
            self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
            // What only the lost disk had is said aloud, here and to everybody who gets this relay's
            // messages: it may have taken some that it had not passed on.
            self.suspect(None, &|group| group == number);
        }
    }

    /// Whether a subscription that leaves is not served here any more.
    fn is_spent(&self, number: GroupNumber, name: &SubscriptionName) -> bool {
        let known = self.names.get(&(number, name.clone()));
        let group = self.groups.get(number);
        let found =
            known.and_then(|known| group.and_then(|group| group.subscriptions.get(group.find(*known)?)));
        found.is_some_and(|subscription| subscription.is_spent())
    }

    pub(super) fn spec_of(&self, number: GroupNumber, name: &SubscriptionName) -> Option<SubscriptionSpec> {
        let place = self.names.get(&(number, name.clone()))?;
        let group = self.groups.get(number)?;
        let subscription = group.subscriptions.get(group.find(*place)?)?;
        Some(SubscriptionSpec {
            start: Start::Now,
            shared: subscription.shared,
            filter: subscription.filter.as_ref().map(|filter| filter.as_str().to_owned()),
            window: Some(subscription.window),
            ..SubscriptionSpec::default()
        })
    }

    /// Says how groups work and which queues live here, where that was never said: this relay was alone.
    pub(super) fn rebuild_groups(&mut self) {
        let me = &self.options.relay;
        let is_silent = |group: &&Group| {
            let names = group.spread.as_deref().map(|spread| &spread.names);
            let is_said = names.is_some_and(|names| names.version != Version::default());
            // One that has come here may not have come to say so.
            let has_come = group.queue && names.is_some_and(|names| names.home.as_ref() != Some(me));
            let is_served = || group.backlog_here().is_some_and(|backlog| !backlog.is_spent());
            let is_set = group.queue || *group.settings != GroupSettings::default();
            if is_said { has_come && is_served() } else { is_set }
        };
        let silent: Vec<GroupNumber> =
            self.groups.named().filter(is_silent).map(|group| group.number).collect();
        silent.into_iter().for_each(|number| self.announce_group(number));
    }

    /// Says where all own subscriptions live of which a crash may have taken that back, or which were
    /// said before this relay was forgotten.
    pub(super) fn rebuild_names(&mut self, now: Now) {
        let (me, least) = (self.options.relay.clone(), self.least_version().counter);
        let mut silent = Vec::new();
        for group in self.groups.named() {
            let known = group.spread.as_deref().map(|spread| &spread.names.subscriptions);
            for subscription in group.subscriptions.iter().filter(|s| !s.is_arriving() && !s.is_spent()) {
                let key = (subscription.name.clone(), me.clone());
                let named = known.and_then(|known| known.get(&key));
                let is_said = named.is_some_and(|n| n.spec.is_some() && n.version.counter >= least);
                if !is_said {
                    silent.push((group.number, subscription.name.clone()));
                }
            }
        }
        let gone = self.gone_names();
        if self.has_holes {
            gone.into_iter().for_each(|gone| self.make_from_name(now, gone));
        } else {
            silent.extend(gone);
        }
        for (number, name) in silent {
            let spec = self.spec_of(number, &name);
            self.announce_name(number, &name, spec);
        }
    }

    /// Own entries of subscriptions that are here no more. Of a disk that is gone they are made again (R3).
    fn gone_names(&self) -> Vec<(GroupNumber, SubscriptionName)> {
        let (me, storage) = (&self.options.relay, self.options.epoch.storage);
        let mut found = Vec::new();
        for group in self.groups.named() {
            let known = group.spread.iter().flat_map(|spread| &spread.names.subscriptions);
            let said = known.filter(|((_, home), named)| {
                home == me && named.spec.is_some() && named.version.storage == storage
            });
            let gone = said.map(|((name, _), _)| (group.number, name.clone()));
            found.extend(gone.filter(|place| !self.names.contains_key(place)));
        }
        found
    }

    /// The log has lost how a subscription was made, and not where it lives.
    fn make_from_name(&mut self, now: Now, (number, name): (GroupNumber, SubscriptionName)) {
        let key = (name, self.options.relay.clone());
        let names = self.groups.get(number).and_then(|group| group.spread.as_deref()).map(|s| &s.names);
        let named = names.and_then(|names| names.subscriptions.get(&key));
        let Some((Some(spec), version)) = named.map(|named| (named.spec.clone(), named.version)) else {
            return;
        };
        self.make_again(now, number, &key.0, (&spec, version));
    }

    /// Takes over settings that are read again from the log.
    pub(super) fn replay_entry(
        &mut self,
        number: GroupNumber,
        version: Version,
        settings: GroupSettings,
        home: Option<RelayId>,
    ) {
        if let Some(group) = self.groups.get_mut(number) {
            group.set_entry(GroupEntry { group: group.id(), version, settings, home });
        }
    }
}
