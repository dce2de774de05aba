//! Puts that wait to be consumed, and what subscriptions bring along to another home (R12, R15).
//!
//! A new home that was no member before is owed nothing of what its subscription brings, and who is owed
//! nothing counts as done with it. So an origin that hears of a home of a name that had another one before
//! counts nothing as consumed until that home has said that it is done with all that was brought:
//!
//! ```text
//!  new home                                              origin
//!   it lives here, in this version of its name ────────▶ waits for the word of that home
//!   what was brought is taken, on disk
//!   receipt, `brought`: that version ──────────────────▶ counts it like any other
//! ```
//!
//! The old home is a member until it has heard of the new one, and it leaves behind that on every link: so an
//! origin waits for the one before it stops waiting for the other. Only of homes of one name that are
//! made one nobody tells when that was: what waits to be consumed then is answered as accepted.

use std::collections::BTreeMap;

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::journal::Waiting;
use super::names::Names;
use super::stream::Stream;
use crate::id::{GroupNumber, RelayId, Sequence, SubscriptionName, Time};
use crate::limits;
use crate::wire::link::Receipt;

/// What is known in a group of what was brought along. None of it is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Brought {
    /// Homes of names that had another one before, and the version that their word has to reach.
    awaited: BTreeMap<(SubscriptionName, RelayId), u64>,
    /// The highest version in which something was said of any name at a home: one that comes there is said
    /// to live there above all that, so that no word about another name is taken for the one that is awaited.
    said: BTreeMap<RelayId, u64>,
    /// The word of homes.
    heard: BTreeMap<RelayId, u64>,
    /// Names that have two homes, and since when; `None`: since before this relay was started.
    twins: BTreeMap<SubscriptionName, Option<Time>>,
    /// What has ended here and is not on this disk yet.
    ending: u32,
}

impl Brought {
    pub(super) fn note_said(&mut self, home: &RelayId, version: u64) {
        let said = self.said.entry(home.clone()).or_default();
        *said = version.max(*said);
    }

    pub(super) fn highest_of(&self, home: &RelayId) -> u64 {
        self.said.get(home).copied().unwrap_or(0)
    }

    /// A subscription lives at a relay, or does so no more. `came`: it had another home before, and is said
    /// to live there in this version.
    pub(super) fn note_home(
        &mut self,
        (name, home): (&SubscriptionName, &RelayId),
        lives: bool,
        came: Option<u64>,
    ) {
        let key = (name.clone(), home.clone());
        if !lives {
            self.awaited.remove(&key);
        }
        if let Some(version) = came.filter(|version| self.heard.get(home).is_none_or(|heard| heard < version))
        {
            self.awaited.insert(key, version);
        }
    }
}

impl Names {
    /// How many homes a name has.
    fn homes_alive(&self, name: &SubscriptionName) -> usize {
        self.homes_of(name).filter(|(_, named)| named.spec.is_some()).count()
    }

    /// After a start: nobody's word is remembered, nor since when a name has two homes. It may be long ago.
    fn recall_brought(&mut self) {
        let (mut came, mut twins) = (Vec::new(), BTreeMap::new());
        for ((name, home), named) in &self.subscriptions {
            if named.spec.is_some() && self.homes_of(name).any(|(other, _)| other != home) {
                came.push(((name.clone(), home.clone()), named.version.counter));
                if self.homes_alive(name) > 1 {
                    twins.insert(name.clone(), None);
                }
            }
        }
        self.brought.twins.extend(twins);
        self.brought.awaited.extend(came);
    }
}

impl Group {
    /// Whether subscriptions here have brought something along that they are not done with, durably.
    pub(super) fn has_brought(&self) -> bool {
        let is_ending = self.spread.as_deref().is_some_and(|spread| spread.names.brought.ending > 0);
        is_ending || self.subscriptions.iter().any(|subscription| subscription.has_remnants)
    }

    /// The version up to which subscriptions were said to live here that are done with what they have
    /// brought along, if all are.
    pub(super) fn done_with_brought(&self, me: &RelayId) -> Option<u64> {
        let names = &self.spread.as_deref().filter(|_| !self.has_brought())?.names.subscriptions;
        let here = self.subscriptions.iter().filter(|subscription| !subscription.is_arriving());
        let said = here.filter_map(|subscription| names.get(&(subscription.name.clone(), me.clone())));
        said.map(|named| named.version.counter).max()
    }

    /// Whether members elsewhere have not said that they are done with what may have been brought there.
    pub(super) fn may_be_brought_along(&self, me: &RelayId) -> bool {
        let Some(spread) = self.spread.as_deref() else { return false };
        let mut homes = spread.names.brought.awaited.keys().map(|(_, home)| home);
        homes.any(|home| home != me && spread.parts.may_be_member(home))
    }
}

impl Relay {
    /// After a start: of names that have had two homes it is to be said again what was brought along.
    pub(super) fn recall_brought(&mut self) {
        for group in self.groups.iter_mut() {
            if let Some(spread) = group.spread.as_deref_mut() {
                spread.names.recall_brought();
            }
        }
    }

    /// Something has come along with a subscription, or is done with: others may count with that when it is
    /// on this disk.
    pub(super) fn hold_brought(&mut self, number: GroupNumber) {
        if let Some(spread) = self.groups.get_mut(number).and_then(|group| group.spread.as_deref_mut()) {
            spread.names.brought.ending += 1;
            self.journal.wait(Waiting::Brought { group: number });
        }
    }

    /// It is: it is said to whoever waits for it.
    pub(super) fn on_brought_durable(&mut self, now: Now, number: GroupNumber) {
        let me = &self.options.relay;
        let Some(group) = self.groups.get_mut(number) else { return };
        if let Some(spread) = group.spread.as_deref_mut() {
            spread.names.brought.ending = spread.names.brought.ending.saturating_sub(1);
        }
        if group.has_brought() {
            return;
        }
        let is_wanted = |stream: &&mut Stream| stream.origin != *me && stream.wanted > Sequence(0);
        for stream in group.streams.iter_mut().filter(is_wanted) {
            // What was said before was not said of this.
            stream.told = (Sequence(0), Sequence(0));
        }
        self.owe_receipt(now, number, false);
        self.settle_levels(number);
        // Nobody may have acked anything in the group itself yet, so nothing is known to be acked there.
        self.wait_for_floor(now, number);
    }

    /// A home says that it is done with what was brought along there.
    pub(super) fn take_brought(&mut self, number: GroupNumber, receipt: &Receipt) {
        let Some(version) = receipt.brought else { return };
        let Some(group) = self.groups.get_mut(number) else { return };
        let spread = group.spread();
        let known = spread.parts.members.get(&receipt.member);
        if known.is_none_or(|(known, member)| !member || known.storage != receipt.storage) {
            return;
        }
        let heard = spread.names.brought.heard.entry(receipt.member.clone()).or_default();
        *heard = version.max(*heard);
        let heard = *heard;
        let awaited = &mut spread.names.brought.awaited;
        let before = awaited.len();
        awaited.retain(|(_, home), version| *home != receipt.member || *version > heard);
        if awaited.len() < before {
            self.settle_levels(number);
        }
    }

    /// Something was said of where a subscription lives.
    pub(super) fn note_homes(&mut self, number: GroupNumber, name: &SubscriptionName) {
        let now = self.links.now;
        let Some(group) = self.groups.get_mut(number) else { return };
        let names = &mut group.spread().names;
        if names.homes_alive(name) > 1 {
            names.brought.twins.entry(name.clone()).or_insert(Some(now));
        } else if names.brought.twins.remove(name).is_some_and(|since| is_over(now, since)) {
            self.give_up_consumed(number);
        }
    }

    /// A relay is no member of a group any more: if a name has lived there and elsewhere, that has its backlog.
    pub(super) fn note_leaves(&mut self, now: Now, number: GroupNumber, relay: &RelayId) {
        let Some(names) = self.groups.get(number).and_then(|group| group.spread.as_deref()).map(|s| &s.names)
        else {
            return;
        };
        let mut twins = names.brought.twins.iter().filter(|(_, since)| is_over(now.time, **since));
        let lives = |name: &SubscriptionName| names.subscriptions.get(&(name.clone(), relay.clone()));
        if twins.any(|(name, _)| lives(name).is_some_and(|named| named.spec.is_some())) {
            self.give_up_consumed(number);
        }
    }
}

/// Whether a name has had two homes for so long that they were made one, and none has moved.
fn is_over(now: Time, since: Option<Time>) -> bool {
    since.is_none_or(|since| now >= since.after_ms(limits::MERGE_FIRST_MS))
}
