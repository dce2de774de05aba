//! Facts that every relay of the network should know: links, memberships, active origins.
//!
//! They are flooded: whoever learns a newer version keeps it and tells all other neighbours, so
//! each fact crosses each link at most once in each direction. The newest version wins, so their
//! order and repeats do not matter. Memberships and origins outlive the relay that they are about:
//! they are kept on every disk, and leave only by a newer version.

use std::collections::{BTreeMap, BTreeSet};

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::link::Link;
use super::state::Operation;
use crate::id::{GroupNumber, LinkId, RelayId};
use crate::log::{Entry, Urgency};
use crate::topology::settings::GroupSettings;
use crate::wire::link::{Advertised, Fact, GroupId, LinkMessage, LinkState, Membership, Origin, Version};

pub(super) use crate::routing::linkstate::BOOT_SHIFT;

/// Facts in one message.
pub(super) const CHUNK: usize = 1000;

/// Who is part of a group, by the newest versions that are known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) members: BTreeMap<RelayId, (Version, bool)>,
    pub(super) origins: BTreeMap<RelayId, (Version, bool)>,
}

impl Parts {
    fn on(table: &BTreeMap<RelayId, (Version, bool)>) -> Vec<&RelayId> {
        table.iter().filter(|(_, (_, on))| *on).map(|(relay, _)| relay).collect()
    }

    /// Relays with a durable subscription, in order of their names.
    pub(super) fn active_members(&self) -> Vec<&RelayId> {
        Self::on(&self.members)
    }

    /// Whether a relay with a mark in a stream is owed it: unless it has said that it is a member no more.
    pub(super) fn may_be_member(&self, relay: &RelayId) -> bool {
        self.members.get(relay).is_none_or(|(_, member)| *member)
    }

    /// Relays that put messages, in order of their names.
    pub(super) fn active_origins(&self) -> Vec<&RelayId> {
        Self::on(&self.origins)
    }

    /// Everybody who is to be joined by the group's tree, in order of their names.
    pub(super) fn wanted(&self) -> Vec<RelayId> {
        let mut all = self.active_members();
        all.extend(self.active_origins());
        all.sort();
        all.dedup();
        all.into_iter().cloned().collect()
    }

    /// Keeps what is newer; says whether it was.
    fn take(table: &mut BTreeMap<RelayId, (Version, bool)>, relay: &RelayId, news: (Version, bool)) -> bool {
        match table.get_mut(relay) {
            Some(known) if known.0 >= news.0 => false,
            Some(known) => {
                *known = news;
                true
            }
            None => {
                table.insert(relay.clone(), news);
                true
            }
        }
    }

    pub(super) fn set_member(&mut self, relay: &RelayId, version: Version, member: bool) -> bool {
        Self::take(&mut self.members, relay, (version, member))
    }

    pub(super) fn set_origin(&mut self, relay: &RelayId, version: Version, active: bool) -> bool {
        Self::take(&mut self.origins, relay, (version, active))
    }
}

impl Relay {
    /// Everything that is known, in the order in which a neighbour is to learn it.
    pub(super) fn all_facts(&self) -> Vec<Fact> {
        let states = self.links.states.values().cloned().map(Fact::LinkState);
        let groups = self.groups.iter().filter_map(|group| Some((group, group.spread.as_deref()?)));
        let parts = groups.flat_map(|(group, spread)| {
            let id = group.id();
            let members = spread.parts.members.iter().map({
                let id = id.clone();
                move |(relay, (version, member))| {
                    let (group, relay) = (id.clone(), relay.clone());
                    Fact::Membership(Membership { group, relay, version: *version, member: *member })
                }
            });
            let origins = spread.parts.origins.iter().map(move |(relay, (version, active))| {
                let (group, relay) = (id.clone(), relay.clone());
                Fact::Origin(Origin { group, relay, version: *version, active: *active })
            });
            members.chain(origins)
        });
        // First who was forgotten, so that nothing older of them is believed. Then links: they tell a relay
        // that its disk is an older one. Then names: a relay that has lost its disk has its subscriptions
        // again before it is told of what it is a member. Then the topology: queues of it are made where
        // nobody has said that they are there.
        let names = self.groups.iter().flat_map(Group::name_facts);
        let known =
            self.forgotten_facts().chain(states).chain(self.removed_facts()).chain(names).chain(parts);
        known.chain(self.topology_fact()).collect()
    }

    /// Tells news to all neighbours but the one that told them.
    pub(super) fn flood(&mut self, except: Option<LinkId>, news: &[Fact]) {
        self.note_news();
        let links: Vec<LinkId> = self.links.up().filter(|link| Some(*link) != except).collect();
        for link in links {
            self.tell(link, news);
        }
    }

    /// Tells facts to one neighbour, in frames of a bounded size.
    pub(super) fn tell(&mut self, link: LinkId, facts: &[Fact]) {
        for facts in facts.chunks(CHUNK) {
            self.say(link, LinkMessage::Facts(facts.to_vec()));
        }
    }

    /// A neighbour has told facts.
    pub(super) fn learn(&mut self, now: Now, link: LinkId, facts: Vec<Fact>) {
        self.note_news();
        let mut news = Vec::new();
        let mut map_changed = false;
        for fact in facts {
            if self.is_about_forgotten(&fact) {
                continue;
            }
            self.note_returned(&fact);
            let is_news = match &fact {
                Fact::LinkState(state) => {
                    let is_news = self.learn_links(now, state);
                    map_changed |= is_news;
                    is_news
                }
                Fact::Membership(membership) => self.learn_membership(now, membership),
                Fact::Origin(origin) => self.learn_origin(now, origin),
                Fact::Group(entry) => self.learn_group(now, entry),
                Fact::Removed(removed) => self.learn_removed(removed),
                Fact::Name(entry) => self.learn_name(now, entry),
                Fact::Forgotten(forgotten) => self.learn_forgotten(now, forgotten),
                Fact::Topology(entry) => self.learn_topology(now, entry),
            };
            if is_news {
                news.push(fact);
            }
        }
        if !news.is_empty() {
            self.flood(Some(link), &news);
        }
        if map_changed {
            self.map_changed(now);
        }
    }

    pub(super) fn on_facts_end(&mut self, now: Now) {
        for number in std::mem::take(&mut self.links.disowned) {
            let is_member = self.groups.get(number).is_some_and(|group| !group.subscriptions.is_empty());
            self.announce_membership(number, is_member);
        }
        self.links.has_heard = true;
        self.take_table(now);
        self.take_planned_queues(now);
    }

    /// The own links have changed.
    pub(super) fn announce_links(&mut self, now: Now) {
        let relay = self.options.relay.clone();
        let (boot, storage) = (self.options.epoch.counter, self.options.epoch.storage);
        // A boot begins above everything that the one before can have said.
        // What forgot it, too: a boot is still to be told from the one before.
        let counter = boot.saturating_mul(1 << BOOT_SHIFT).saturating_add(self.least_version().counter);
        let first = Version { counter, storage };
        let before = self.links.states.get(&relay).map_or(first, |known| known.version.max(first));
        let link = |link: &Link| Advertised {
            neighbour: link.neighbour.clone(),
            cost: link.cost,
            is_up: link.is_up,
        };
        let version = before.next(storage);
        let state = LinkState {
            relay: relay.clone(),
            version,
            transit: self.options.transit,
            max_children: self.options.max_children,
            catching_up: self.behind.is_said,
            is_new: !self.links.has_table,
            is_draining: self.draining,
            algorithm: self.links.speaks.number(),
            links: self.links.table.values().map(link).collect(),
            topology: self.topologies.taken(),
            boot: (version.counter >> BOOT_SHIFT != boot).then_some(boot),
        };
        self.links.states.insert(relay, state.clone());
        self.flood(None, &[Fact::LinkState(state)]);
        self.own_links_changed(now);
    }

    fn learn_links(&mut self, now: Now, state: &LinkState) -> bool {
        if state.relay == self.options.relay && self.is_from_the_future(state) {
            let why = format!("others know its links in version {}", state.version.counter);
            // It may have said more, above what a third disk has said.
            let known = self.links.states.get(&state.relay);
            if known.is_none_or(|known| state.is_newer_than(known)) {
                self.links.states.insert(state.relay.clone(), state.clone());
            }
            self.renew_storage(now, &why);
            return false;
        }
        let known = self.links.states.get(&state.relay);
        if known.is_some_and(|known| !state.is_newer_than(known)) || state.check().is_err() {
            return false;
        }
        let boot = |state: &LinkState| (state.said_in(), state.version.storage);
        let has_started = known.is_none_or(|known| boot(known) != boot(state));
        let is_another = known.is_some_and(|known| known.version.storage != state.version.storage);
        if is_another && state.relay != self.options.relay {
            self.warn(format!(
                "{} has another data directory than before: its disk was lost or put back, or two relays have its name",
                state.relay
            ));
            // It may be no member, and count for copies.
            let storage = state.version.storage;
            self.groups.iter_mut().for_each(|group| group.drop_receipts_of_others(&state.relay, storage));
        }
        self.links.states.insert(state.relay.clone(), state.clone());
        if has_started {
            self.doubt_released(now, &state.relay);
        }
        if state.relay == self.options.relay {
            // Of a boot before, or of a storage that is gone: what holds now is said above it (R6).
            self.announce_links(now);
            return false;
        }
        true
    }

    /// The number of the group that a fact is about; it is made when it is not known, and made
    /// again when the fact is about a later life. `None`: it is about an earlier one.
    pub(super) fn group_of(&mut self, now: Now, id: &GroupId) -> Option<GroupNumber> {
        if let Some(number) = self.groups.number(&id.name) {
            let known = self.groups.get(number).map_or(0, |group| group.incarnation);
            if known >= id.incarnation {
                return (known == id.incarnation).then_some(number);
            }
        }
        if id.incarnation > 0 {
            let before = GroupId { name: id.name.clone(), incarnation: id.incarnation - 1 };
            self.learn_removed(&before);
        }
        if self.removed.get(&id.name).is_some_and(|(_, over)| *over >= id.incarnation) {
            return None;
        }
        if let Err(refusal) = self.check_group_room() {
            self.warn(format!("what neighbours say of more groups is not kept: {refusal}"));
            return None;
        }
        Some(self.make_life(now, id.name.clone(), id.incarnation, GroupSettings::default(), false))
    }

    pub(super) fn learn_membership(&mut self, now: Now, membership: &Membership) -> bool {
        let Some(number) = self.group_of(now, &membership.group) else { return false };
        let Membership { relay, version, member, .. } = membership;
        let may_have_lost = self.may_have_lost(version.storage);
        let Some(group) = self.groups.get_mut(number) else { return false };
        if *relay == self.options.relay {
            let known = group.spread().parts.members.get(relay).copied().unwrap_or_default();
            if *version > known.0 {
                group.membership = group.membership.max(version.counter) + 1;
                if *member && !known.1 && may_have_lost {
                    // Of a disk that is gone, or has holes: its subscriptions may still be told (R3).
                    self.links.disowned.insert(number);
                } else {
                    // Said before a crash took it back: what holds now is said above it (R6).
                    self.announce_membership(number, known.1);
                }
            }
            return false;
        }
        let before = group.spread().parts.members.get(relay).copied();
        if !*member && before.is_some_and(|(known, _)| known < *version) {
            self.note_leaves(now, number, relay);
        }
        let Some(group) = self.groups.get_mut(number) else { return false };
        // Who has lost its disk and is a member still is owed what it was owed.
        let is_owed_as_before =
            *member && before.is_some_and(|(known, was)| was && known.storage != version.storage);
        if !group.spread().parts.set_member(relay, *version, *member) {
            return false;
        }
        group.drop_receipts_of_others(relay, version.storage);
        if !*member {
            group.drop_marks(&self.options.relay, relay);
        }
        let operation =
            Operation::MemberSet { group: number, relay: relay.clone(), version: *version, member: *member };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        if !is_owed_as_before {
            self.mark_member(now, number, membership);
        }
        self.plan(number);
        true
    }

    /// Says that this relay is, or is no longer, a member of a group.
    pub(super) fn announce_membership(&mut self, number: GroupNumber, member: bool) {
        if self.is_alone() {
            return;
        }
        let (relay, storage) = (self.options.relay.clone(), self.options.epoch.storage);
        let Some(group) = self.groups.get_mut(number) else { return };
        let version = Version { counter: group.membership, storage };
        group.spread().parts.set_member(&relay, version, member);
        let id = group.id();
        let operation = Operation::MemberSet { group: number, relay: relay.clone(), version, member };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.flood(None, &[Fact::Membership(Membership { group: id, relay, version, member })]);
        self.plan(number);
    }

    /// Says of what this relay is a member, and of what it is one no more, where that was not said: it
    /// was alone, a crash has taken it back, or it was forgotten since.
    pub(super) fn rebuild_members(&mut self) {
        let (me, least) = (&self.options.relay, self.least_version().counter);
        let storage = self.options.epoch.storage;
        let is_silent = |group: &&Group| {
            // That is said when it is on the disk.
            if group.leaving.is_some() {
                return false;
            }
            let said = group.spread.as_ref().and_then(|spread| spread.parts.members.get(me));
            if group.subscriptions.is_empty() {
                // Of a disk that is gone, or has holes, the subscriptions may still be told (R3).
                let is_mine = |version: &Version| version.storage == storage && !self.has_holes;
                return said.is_some_and(|(version, member)| *member && is_mine(version));
            }
            // Others owe from the mark of a version on, and it has said a higher one in its own stream.
            let is_said = |version: &Version| version.counter >= least.max(group.membership);
            !said.is_some_and(|(version, member)| *member && is_said(version))
        };
        let silent: Vec<(GroupNumber, Version)> = self
            .groups
            .named()
            .filter(is_silent)
            .map(|group| {
                let said = group.spread.as_ref().and_then(|spread| spread.parts.members.get(me));
                (group.number, said.map_or(Version::default(), |(version, _)| *version))
            })
            .collect();
        for (number, said) in silent {
            let Some(group) = self.groups.get_mut(number) else { continue };
            let is_member = !group.subscriptions.is_empty();
            let least = least.max(said.counter);
            if group.membership <= least {
                group.raise_above(least);
            }
            self.announce_membership(number, is_member);
        }
        if self.has_holes {
            self.links.disowned.extend(self.empty_memberships());
        }
    }

    /// Groups of which this relay says to be a member, and has no subscription.
    fn empty_memberships(&self) -> BTreeSet<GroupNumber> {
        let me = &self.options.relay;
        let is_said = |group: &&Group| {
            let said = group.spread.as_ref().and_then(|spread| spread.parts.members.get(me));
            group.subscriptions.is_empty() && said.is_some_and(|(_, member)| *member)
        };
        self.groups.named().filter(is_said).map(|group| group.number).collect()
    }
}
