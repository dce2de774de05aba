//! Whether two neighbours know the same facts: hashes first, and then only what differs.
//!
//! When a link comes up each end says one hash over all that it knows. If both are equal, that was
//! all: what has changed since was told as news over the same link. If not, each says a hash for
//! each of 256 parts of the table, and is told the facts of those parts that differ. So a link that
//! was away for a moment costs a frame, and one over which little was missed costs little.
//!
//! A fact counts by what it is about and by its version: of two that are equal in these one wins
//! nowhere. A part's hash is the sum of those of its facts without a carry (XOR), so their order
//! does not matter.

use xxhash_rust::xxh3::xxh3_64;

use super::Relay;
use super::input::Now;
use crate::id::LinkId;
use crate::wire::applied::TopologyHead;
use crate::wire::link::{Fact, GroupId, LinkMessage, Version};

/// Parts of the table of facts.
const BUCKETS: usize = 256;

/// A hash for each part of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest(Vec<u64>);

impl Digest {
    /// One hash over all.
    pub(super) fn root(&self) -> u64 {
        let bytes: Vec<u8> = self.0.iter().flat_map(|bucket| bucket.to_le_bytes()).collect();
        xxh3_64(&bytes)
    }
}

/// Adds a name so that no two lists of names look the same.
fn put_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(&(name.len() as u64).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

/// Of two topologies in force everything but the text, which has its hash in the version.
fn put_topology(out: &mut Vec<u8>, head: &TopologyHead) {
    let TopologyHead { version, by, at, restores } = head;
    for number in [version.counter, version.hash, at.0, restores.unwrap_or(0)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_name(out, by.as_str());
}

fn put_group(out: &mut Vec<u8>, kind: u8, group: &GroupId) {
    out.push(kind);
    put_name(out, group.name.as_str());
    out.extend_from_slice(&group.incarnation.to_le_bytes());
}

/// The part that a fact belongs to, and its own hash. `bytes` is for use here only.
fn print(fact: &Fact, bytes: &mut Vec<u8>) -> (usize, u64) {
    bytes.clear();
    let bucket = |key: &[u8]| (xxh3_64(key) % BUCKETS as u64) as usize;
    let (version, is_on) = match fact {
        Fact::LinkState(state) => {
            bytes.push(0);
            put_name(bytes, state.relay.as_str());
            (state.version, true)
        }
        Fact::Membership(membership) => {
            put_group(bytes, 1, &membership.group);
            put_name(bytes, membership.relay.as_str());
            (membership.version, membership.member)
        }
        Fact::Origin(origin) => {
            put_group(bytes, 2, &origin.group);
            put_name(bytes, origin.relay.as_str());
            (origin.version, origin.active)
        }
        Fact::Group(entry) => {
            put_group(bytes, 3, &entry.group);
            (entry.version, true)
        }
        Fact::Removed(removed) => {
            put_group(bytes, 4, removed);
            (Version::default(), true)
        }
        Fact::Forgotten(forgotten) => {
            bytes.push(6);
            put_name(bytes, forgotten.relay.as_str());
            (forgotten.version, true)
        }
        Fact::Topology(entry) => {
            bytes.push(7);
            let bucket = bucket(bytes);
            put_topology(bytes, &entry.head);
            return (bucket, xxh3_64(bytes));
        }
        Fact::Name(entry) => {
            put_group(bytes, 5, &entry.group);
            put_name(bytes, entry.name.as_str());
            put_name(bytes, entry.home.as_str());
            (entry.version, entry.spec.is_some())
        }
    };
    let bucket = bucket(bytes);
    bytes.extend_from_slice(&version.counter.to_le_bytes());
    bytes.extend_from_slice(&version.storage.0);
    bytes.push(u8::from(is_on));
    (bucket, xxh3_64(bytes))
}

impl Relay {
    fn digest(&self) -> Digest {
        let mut buckets = vec![0; BUCKETS];
        let mut bytes = Vec::new();
        for fact in self.all_facts() {
            let (bucket, print) = print(&fact, &mut bytes);
            buckets[bucket] ^= print;
        }
        Digest(buckets)
    }

    /// Says to a neighbour that has come a hash over all that is known; before it, who was
    /// forgotten: it may be the neighbour, and must not hear first what was let go since.
    pub(super) fn say_digest(&mut self, link: LinkId) {
        let forgotten: Vec<Fact> = self.forgotten_facts().collect();
        self.tell(link, &forgotten);
        let root = self.digest().root();
        if let Some(state) = self.links.table.get_mut(&link) {
            state.digest = root;
        }
        self.say(link, LinkMessage::Digest(root));
    }

    /// A neighbour has said its hash: if it is another one than it was told when the link came up,
    /// it is asked for what differs. What has changed here since then was told to it as news.
    pub(super) fn on_digest(&mut self, now: Now, link: LinkId, theirs: u64) {
        let said = self.links.table.get(&link).map(|state| state.digest);
        // Both may be empty: who has no table of its own hears whether the other one has.
        if said == Some(theirs) && self.links.has_table {
            return self.on_facts_end(now);
        }
        let buckets = self.digest().0;
        self.say(link, LinkMessage::Buckets(buckets));
    }

    /// A neighbour knows something else: it is told all in the parts that differ.
    pub(super) fn on_buckets(&mut self, link: LinkId, theirs: &[u64]) {
        let ours = self.digest();
        let mut bytes = Vec::new();
        let differs = |fact: &Fact| {
            let (bucket, _) = print(fact, &mut bytes);
            theirs.get(bucket) != ours.0.get(bucket)
        };
        let mut known: Vec<Fact> = self.all_facts().into_iter().filter(differs).collect();
        known.retain(|fact| fact.topology().is_none_or(|head| self.may_lack_topology(link, head)));
        self.tell(link, &known);
        if self.links.has_table {
            self.say(link, LinkMessage::FactsEnd);
        }
    }
}

#[cfg(any(test, feature = "sim"))]
impl Relay {
    /// How many facts it knows, for simulations.
    #[must_use]
    pub fn fact_count(&self) -> usize {
        self.all_facts().len()
    }
}
