//! Relays that have not said where a message is, and what others know to live there.

use std::collections::BTreeSet;

use super::Relay;
use crate::id::RelayId;
use crate::limits;
use crate::wire::body::{MessageName, SilentRelay};

/// Relays that are named, at the most.
const SILENT_MAX: usize = 500;

/// Bytes that they and their subscriptions take in an answer, about.
const SILENT_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX / 4;

/// Bytes that a relay takes in it beside its name, about, and a subscription.
const RELAY_BYTES: usize = 60;
const NAME_BYTES: usize = 3;

const _: () = assert!(SILENT_MAX * (limits::NAME_BYTES_MAX + RELAY_BYTES) < SILENT_BYTES_MAX);

impl Relay {
    /// The relays that have not answered, all of them before any of their subscriptions, and how many
    /// relays and subscriptions there was no room for.
    pub(super) fn silent(&self, message: &MessageName, relays: BTreeSet<RelayId>) -> (Vec<SilentRelay>, u32) {
        let mut left_off = relays.len().saturating_sub(SILENT_MAX);
        let name = |relay: RelayId| {
            let is_reachable = self.links.toward.contains_key(&relay);
            SilentRelay { relay, is_reachable, subscriptions: Vec::new() }
        };
        let mut silent: Vec<SilentRelay> = relays.into_iter().take(SILENT_MAX).map(name).collect();
        let taken: usize = silent.iter().map(|silent| silent.relay.as_str().len() + RELAY_BYTES).sum();
        let mut room = SILENT_BYTES_MAX.saturating_sub(taken);
        let group = self.groups.number(&message.group).and_then(|number| self.groups.get(number));
        let names = group.and_then(|group| group.spread.as_deref()).map(|spread| &spread.names.subscriptions);
        for ((name, home), named) in names.into_iter().flatten() {
            // They are in the order of their names, as the set was.
            let Ok(place) = silent.binary_search_by(|silent| silent.relay.cmp(home)) else { continue };
            if named.spec.is_none() {
                continue;
            }
            let bytes = name.as_str().len() + NAME_BYTES;
            if bytes > room {
                left_off += 1;
                continue;
            }
            room -= bytes;
            silent[place].subscriptions.push(name.clone());
        }
        (silent, u32::try_from(left_off).unwrap_or(u32::MAX))
    }
}
