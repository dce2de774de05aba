//! Whether two neighbours know the same facts: hashes first, and then only what differs.
//!
//! When a link comes up each end says one hash over all that it knows. If both are equal, that was
//! all: what has changed since was told as news over the same link. If not, each says a hash for
//! each of 256 parts of the table, and is told the facts of those parts that differ. So a link that
//! was away for a moment costs a frame, and one over which little was missed costs little.
//!
//! Over a link that stays up news is never lost, so both ends know the same once all of it has
//! arrived. Nothing relies on that: every [`limits::COMPARE_MS`], when there was no news for
//! [`limits::COMPARE_QUIET_MS`], each end says its hash again, and what differs is told as when the
//! link came up, and the operator is warned.
//!
//! What a relay has made of itself and not said yet, since it waits for its disk, stands in its table
//! already. It is told to nobody before, whatever differs, and while there is any nobody is doubted.
//!
//! A fact counts by what it is about and by its version: of two that are equal in these one wins
//! nowhere. Of two link states in one version that of the later boot wins, so the boot counts where the
//! version does not tell it. A part's hash is the sum of those of its facts without a carry (XOR), so
//! their order does not matter.

#[cfg(any(test, feature = "sim"))]
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use xxhash_rust::xxh3::xxh3_64;

use super::Relay;
use super::facts::BOOT_SHIFT;
use super::input::Now;
use super::link::Link;
use super::timer::Timer;
use crate::id::LinkId;
use crate::limits;
use crate::wire::applied::TopologyHead;
use crate::wire::link::{Fact, GroupId, LinkMessage, Version};

/// Parts of the table of facts.
const BUCKETS: usize = 256;

/// A hash for each part of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest(pub(super) Vec<u64>);

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
    let mut boot = None;
    let (version, is_on) = match fact {
        Fact::LinkState(state) => {
            bytes.push(0);
            put_name(bytes, state.relay.as_str());
            boot = Some(state.said_in()).filter(|boot| *boot != state.version.counter >> BOOT_SHIFT);
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
    boot.into_iter().for_each(|boot| bytes.extend_from_slice(&boot.to_le_bytes()));
    (bucket, xxh3_64(bytes))
}

impl Relay {
    /// Something was told or heard: what is known may be something else now.
    pub(super) fn note_news(&mut self) {
        self.links.known = None;
        self.links.news_at = self.links.now;
    }

    /// Everything that is known and said by somebody. What a relay that was forgotten is no more counts
    /// for nothing: each relay has noted it by itself, if it knew that it was, and what the relay had
    /// taken back before is not believed by anybody who has not heard it yet.
    fn said_facts(&self) -> impl Iterator<Item = Fact> {
        let is_noted = |fact: &Fact| {
            let Some((relay, version, is_on)) = fact.of_itself() else { return false };
            !is_on
                && self.forgotten.get(relay).is_some_and(|forgot| version.counter <= forgot.version.counter)
        };
        self.all_facts().into_iter().filter(move |fact| !is_noted(fact))
    }

    fn hash_all(&self) -> Digest {
        let mut buckets = vec![0; BUCKETS];
        let mut bytes = Vec::new();
        for fact in self.said_facts() {
            let (bucket, print) = print(&fact, &mut bytes);
            buckets[bucket] ^= print;
        }
        Digest(buckets)
    }

    /// What is known, as hashes: those of before when nothing was told or heard since.
    fn digest(&mut self) -> Digest {
        let known = self.links.known.take().unwrap_or_else(|| self.hash_all());
        debug_assert_eq!(known, self.hash_all(), "a fact has changed without a word");
        self.links.known = Some(known.clone());
        known
    }

    /// Says to a neighbour that has come a hash over all that is known; before it, who was
    /// forgotten: it may be the neighbour, and must not hear first what was let go since.
    pub(super) fn say_digest(&mut self, now: Now, link: LinkId) {
        let forgotten: Vec<Fact> = self.forgotten_facts().collect();
        self.tell(link, &forgotten);
        self.links.known = None;
        self.say_root(link);
        self.timers.set_by(Timer::Compare, now.time.after_ms(limits::COMPARE_MS));
    }

    fn say_root(&mut self, link: LinkId) {
        let root = self.digest().root();
        if let Some(state) = self.links.table.get_mut(&link) {
            state.digest = root;
        }
        self.say(link, LinkMessage::Digest(root));
    }

    /// Says to all neighbours once more what is known, if nothing is on its way.
    pub(super) fn on_compare_time(&mut self, now: Now) {
        let up: Vec<LinkId> = self.links.up().collect();
        if up.is_empty() {
            return;
        }
        self.timers.set(Timer::Compare, now.time.after_ms(limits::COMPARE_MS));
        if self.is_without_news(now) {
            up.into_iter().for_each(|link| self.say_root(link));
        }
    }

    fn is_without_news(&self, now: Now) -> bool {
        let is_quiet = now.time >= self.links.news_at.after_ms(limits::COMPARE_QUIET_MS);
        is_quiet && self.journal.unsaid().next().is_none()
    }

    /// A neighbour has said its hash: if it is another one than it was told when the link came up,
    /// it is asked for what differs. What has changed here since then was told to it as news.
    pub(super) fn on_digest(&mut self, now: Now, link: LinkId, theirs: u64) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        let has_compared = std::mem::replace(&mut state.has_compared, true);
        // Both may be empty: who has no table of its own hears whether the other one has.
        if state.digest == theirs && self.links.has_table {
            self.say_behind_facts(link);
            if !has_compared {
                self.on_facts_end(now);
            }
            return;
        }
        if has_compared {
            let takes = self.links.table.get(&link).is_some_and(Link::is_writable);
            if !takes || !self.is_without_news(now) || self.digest().root() == theirs {
                return;
            }
            self.note_difference(link);
        }
        let buckets = self.digest().0;
        self.say(link, LinkMessage::Buckets(buckets));
    }

    fn note_difference(&mut self, link: LinkId) {
        self.links.differed += 1;
        let Some(state) = self.links.table.get(&link) else { return };
        let neighbour = &state.neighbour;
        self.warn(format!(
            "`{neighbour}` knew something else of the network than this relay, without news on its way; it \
             is asked for what differs"
        ));
    }

    /// A neighbour knows something else: it is told all in the parts that differ. Whoever asks again
    /// before it has taken what it was told is told the rest when it has, once: a question costs the
    /// neighbour nothing, and the answer may be the whole table.
    pub(super) fn on_buckets(&mut self, link: LinkId, mut theirs: Vec<u64>) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        if state.is_writable() {
            return self.tell_differing(link, &theirs);
        }
        theirs.truncate(BUCKETS);
        theirs.shrink_to_fit();
        state.asked = Some(theirs);
    }

    /// There may be room for what a neighbour has asked for.
    pub(super) fn answer_buckets(&mut self, link: LinkId) {
        let Some(state) = self.links.table.get_mut(&link).filter(|state| state.is_writable()) else { return };
        if let Some(theirs) = state.asked.take() {
            self.tell_differing(link, &theirs);
        }
    }

    fn tell_differing(&mut self, link: LinkId, theirs: &[u64]) {
        let ours = self.digest();
        let mut bytes = Vec::new();
        // It would be taken for what this disk has (R3), and is news when it is durable.
        let unsaid: BTreeSet<(usize, u64)> =
            self.journal.unsaid().map(|fact| print(fact, &mut bytes)).collect();
        let differs = |fact: &Fact| {
            let (bucket, hash) = print(fact, &mut bytes);
            theirs.get(bucket) != ours.0.get(bucket) && !unsaid.contains(&(bucket, hash))
        };
        let mut known: Vec<Fact> = self.said_facts().filter(differs).collect();
        known.retain(|fact| fact.topology().is_none_or(|head| self.may_lack_topology(link, head)));
        self.tell(link, &known);
        if self.links.has_table {
            self.say(link, LinkMessage::FactsEnd);
        }
        self.say_behind_facts(link);
    }
}

#[cfg(any(test, feature = "sim"))]
impl Relay {
    /// All facts that it knows, as they count, for simulations.
    #[must_use]
    pub fn known_facts(&self) -> BTreeMap<(usize, u64), String> {
        let mut bytes = Vec::new();
        self.said_facts().map(|fact| (print(&fact, &mut bytes), format!("{fact:?}"))).collect()
    }

    /// How often a neighbour knew something else although there was no news, for simulations.
    #[must_use]
    pub fn differed(&self) -> u64 {
        self.links.differed
    }

    /// How many facts it knows, for simulations.
    #[must_use]
    pub fn fact_count(&self) -> usize {
        self.all_facts().len()
    }
}
