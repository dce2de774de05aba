//! Relays that were forgotten, and are back all the same.
//!
//! A relay is gone when an operator has said so ([`super::forget`]) and it has said nothing since. What
//! it says of itself when it is back is above what has forgotten it; whoever hears that, from itself
//! or from others, notes it for good. Links are on no disk: without the note every relay that starts
//! would take such a relay for gone until it hears of its links, and might decide something by that
//! which stays decided.
//!
//! Nobody has to be told of it: the facts that show it are told.

use super::Relay;
use super::facts::Parts;
use super::group::Group;
use super::state::Operation;
use crate::id::RelayId;
use crate::log::{Entry, Urgency};
use crate::wire::link::Fact;

impl Group {
    /// Whether a relay has said something of itself in a version above this.
    fn is_said_above(&self, relay: &RelayId, counter: u64) -> bool {
        let Some(spread) = self.spread.as_deref() else { return false };
        let Parts { members, origins } = &spread.parts;
        let parts = [members.get(relay), origins.get(relay)].into_iter().flatten();
        let names = spread.names.subscriptions.iter().filter(|((_, home), _)| home == relay);
        let mut versions = parts.map(|(version, _)| *version).chain(names.map(|(_, named)| named.version));
        versions.any(|version| version.counter > counter)
    }
}

impl Relay {
    /// Whether a relay has said something of itself in a version above this, as far as is known.
    pub(super) fn is_said_above(&self, relay: &RelayId, counter: u64) -> bool {
        let is_linked = self.links.states.get(relay).is_some_and(|state| state.version.counter > counter);
        is_linked || self.groups.iter().any(|group| group.is_said_above(relay, counter))
    }

    /// Something was said that counts: if a relay that was forgotten has said it of itself, it is back.
    pub(super) fn note_returned(&mut self, fact: &Fact) {
        let Some((relay, version, _)) = fact.of_itself() else { return };
        let Some(forgot) = self.forgotten.get_mut(relay) else { return };
        if forgot.is_back || version.counter <= forgot.version.counter {
            return;
        }
        forgot.is_back = true;
        let (version, by, at) = (forgot.version, forgot.by.clone(), forgot.at);
        let operation = Operation::RelayForgotten { relay: relay.clone(), version, by, at, is_back: true };
        // What is decided by it stands behind it in the log.
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Ride);
    }

    /// At a start: an earlier program has not noted it, and what shows it may be on the disk.
    pub(super) fn find_returned(&mut self) {
        let mut forgotten = std::mem::take(&mut self.forgotten);
        for (relay, forgot) in forgotten.iter_mut().filter(|(_, forgot)| !forgot.is_back) {
            let is_me = *relay == self.options.relay;
            forgot.is_back = is_me || self.is_said_above(relay, forgot.version.counter);
        }
        self.forgotten = forgotten;
    }
}
