//! One number for all inputs of the trees: neighbours compare it to know whether
//! they see the same network and the same groups.
//!
//! The digest is a sum of hashes, one for each entry, so it does not depend on the
//! order in which entries were learned, and one entry is replaced in constant time.
//! Hashes have 128 bits (XXH3): two views that differ by accident have equal
//! digests once in 10³⁸. It is no proof against somebody who makes entries
//! up for that; relays believe only neighbours whose keys they know.
//!
//! Versions are not part of it: equal states give equal trees, whoever said them last.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::id::{GroupName, RelayId};
use crate::routing::linkstate::LinkState;
use crate::routing::tree::Algorithm;
use crate::topology::settings::TreeKind;

/// One input of the trees.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Input<'i> {
    /// What a relay advertises.
    LinkState(&'i LinkState),
    /// A relay has a durable subscription on a group.
    Member(&'i GroupName, &'i RelayId),
    /// A relay puts messages into a group.
    Origin(&'i GroupName, &'i RelayId),
    /// The trees of a group are of this kind. The default kind is not an entry,
    /// since groups that nobody gave settings to have it.
    Kind(&'i GroupName, TreeKind),
    /// How trees are computed.
    Algorithm(Algorithm),
}

/// The sum of the entries' hashes; of no entries it is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(u128);

impl Digest {
    /// Takes an entry in. Each entry is to be taken in once.
    pub fn add(&mut self, input: Input<'_>) {
        self.0 = self.0.wrapping_add(hash(input));
    }

    /// Lets an entry go that was taken in, with all that it said then.
    pub fn remove(&mut self, input: Input<'_>) {
        self.0 = self.0.wrapping_sub(hash(input));
    }

    /// The digest as bytes, the same on every machine.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }
}

fn hash(input: Input<'_>) -> u128 {
    let mut hash = Xxh3::new();
    match input {
        Input::LinkState(state) => hash_link_state(&mut hash, state),
        Input::Member(group, relay) => {
            hash.update(&[2]);
            hash_text(&mut hash, group.as_str());
            hash_text(&mut hash, relay.as_str());
        }
        Input::Origin(group, relay) => {
            hash.update(&[3]);
            hash_text(&mut hash, group.as_str());
            hash_text(&mut hash, relay.as_str());
        }
        Input::Kind(_, TreeKind::Shared) => return 0,
        Input::Kind(group, TreeKind::Source) => {
            hash.update(&[4]);
            hash_text(&mut hash, group.as_str());
        }
        Input::Algorithm(algorithm) => {
            hash.update(&[5]);
            hash.update(&algorithm.number().to_le_bytes());
        }
    }
    hash.digest128()
}

fn hash_link_state(hash: &mut Xxh3, state: &LinkState) {
    hash.update(&[1, u8::from(state.transit), u8::from(state.catching_up)]);
    // A cap of 0 means 1, so 0 is free to stand for none.
    hash.update(&state.max_children.map_or(0, |max| max.max(1)).to_le_bytes());
    hash_text(hash, state.relay.as_str());
    let mut links: Vec<_> = state.links.iter().collect();
    links.sort();
    for link in links {
        hash_text(hash, link.neighbour.as_str());
        hash.update(&link.cost.to_le_bytes());
        hash.update(&[u8::from(link.is_up)]);
    }
}

/// With its length before it, so that no two lists of texts look the same.
fn hash_text(hash: &mut Xxh3, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::linkstate::{Advertised, Version};

    fn state() -> LinkState {
        let mut state = LinkState::new(RelayId::new("a").unwrap(), Version::default());
        for (name, cost) in [("b", 1), ("c", 2)] {
            state.links.push(Advertised { neighbour: RelayId::new(name).unwrap(), cost, is_up: true });
        }
        state
    }

    fn of(inputs: &[Input<'_>]) -> Digest {
        let mut digest = Digest::default();
        inputs.iter().for_each(|&input| digest.add(input));
        digest
    }

    #[test]
    fn the_order_of_entries_and_links_does_not_matter() {
        let (group, relay) = (GroupName::new("g").unwrap(), RelayId::new("a").unwrap());
        let mut turned = state();
        turned.links.reverse();
        turned.version.counter = 9;
        let entries = [Input::Member(&group, &relay), Input::Kind(&group, TreeKind::Source)];
        let one = of(&[Input::LinkState(&state()), entries[0], entries[1]]);
        assert_eq!(one, of(&[entries[1], entries[0], Input::LinkState(&turned)]));
        let mut all = one;
        all.remove(entries[0]);
        all.remove(entries[1]);
        assert_eq!(all, of(&[Input::LinkState(&state())]));
    }

    #[test]
    fn every_input_counts() {
        let (group, relay) = (GroupName::new("g").unwrap(), RelayId::new("a").unwrap());
        let changed = |change: fn(&mut LinkState)| {
            let mut state = state();
            change(&mut state);
            of(&[Input::LinkState(&state)])
        };
        let mut seen = vec![
            Digest::default(),
            changed(|_| ()),
            changed(|state| state.transit = false),
            changed(|state| state.catching_up = true),
            changed(|state| state.max_children = Some(1)),
            changed(|state| state.links[0].cost = 7),
            changed(|state| state.links[0].is_up = false),
            changed(|state| state.links.truncate(1)),
            of(&[Input::Member(&group, &relay)]),
            of(&[Input::Origin(&group, &relay)]),
            of(&[Input::Kind(&group, TreeKind::Source)]),
            of(&[Input::Algorithm(Algorithm::One)]),
        ];
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert_eq!(of(&[Input::Kind(&group, TreeKind::Shared)]), Digest::default());
    }
}
