//! What the simulation's watch asks a relay: names of numbers, nothing that a relay decides.

use super::Relay;
use super::group::GroupBooks;
use super::input::Now;
use crate::id::{GroupName, GroupNumber, RelayId, Sequence, StorageId, StreamNumber, Time};
use crate::routing::Algorithm;
use crate::wire::body::LinkCounts;
use crate::wire::link::Receipt;

/// Whether a run stands in place of records that are lost.
#[must_use]
pub fn stands_in_place(run: &crate::wire::run::Run) -> bool {
    super::lost::in_place(run).is_some()
}

impl Relay {
    /// The name of a group.
    #[must_use]
    pub fn name_of_group(&self, number: GroupNumber) -> Option<GroupName> {
        self.groups.get(number).map(|group| group.name.clone())
    }

    /// The number of the stream that a receipt is about, and how far it is known to be released.
    #[must_use]
    pub fn stream_of(&self, receipt: &Receipt) -> Option<(StreamNumber, Sequence)> {
        let group = self.groups.get(self.groups.number(&receipt.group.name)?)?;
        let found = group.streams.iter().find(|s| s.epoch == receipt.epoch && s.origin == receipt.origin)?;
        Some((found.number, found.released))
    }

    /// How far a stream is known to be released.
    #[must_use]
    pub fn released_of(&self, group: GroupNumber, stream: StreamNumber) -> Option<Sequence> {
        let group = self.groups.get(group)?;
        group.streams.iter().find(|s| s.number == stream).map(|s| s.released)
    }

    /// Whether a member is owed a record of a stream, by the stream's last mark of it.
    #[must_use]
    pub fn owes(&self, group: GroupNumber, stream: StreamNumber, (to, at): (&RelayId, Sequence)) -> bool {
        let group = self.groups.get(group);
        let stream = group.and_then(|group| group.streams.iter().find(|s| s.number == stream));
        stream.and_then(|s| s.marks.get(to)).is_some_and(|(from, _)| *from <= at)
    }

    /// The data directory that it writes under: another one than it was made with, where others knew more of it (R4).
    #[must_use]
    pub fn storage(&self) -> StorageId {
        self.options.epoch.storage
    }

    /// The relays that can be reached from here, as far as it knows.
    pub fn reaches(&self) -> impl Iterator<Item = &RelayId> {
        self.links.toward.keys()
    }

    /// Of which groups another relay is a member with this disk, as far as is known here.
    #[must_use]
    pub fn memberships_on(&self, relay: &RelayId, storage: StorageId) -> Vec<GroupNumber> {
        let is_member = |parts: &super::facts::Parts| {
            let said = parts.members.get(relay);
            said.is_some_and(|(version, is_on)| *is_on && version.storage == storage)
        };
        let member = self.groups.iter().filter(|g| g.spread.as_deref().is_some_and(|s| is_member(&s.parts)));
        member.map(|group| group.number).collect()
    }

    /// From now on it speaks every way to compute trees that there is in simulations.
    pub fn upgrade(&mut self, now: Now) {
        self.links.speaks = Algorithm::Simulated;
        self.announce_links(now);
    }

    /// The way in which it computes trees, and the trees.
    #[must_use]
    pub fn trees_told(&self) -> String {
        let Some(table) = self.trees.table() else { return String::new() };
        let mut told = format!("{:?}", table.algorithm());
        for group in self.groups.iter() {
            let trees: Vec<_> = table.trees(group.number).collect();
            told += &format!(" {}: {trees:?}", group.name);
        }
        told
    }

    /// Forgets what is only counted for people. Two relays that differ in nothing else do the same.
    pub fn forget_counts(&mut self) {
        for link in self.links.table.values_mut() {
            (link.counts, link.since, link.downs) = (LinkCounts::default(), Time(0), 0);
        }
        self.links.gone.clear();
        self.books = GroupBooks { unsynced: self.books.unsynced, ..GroupBooks::default() };
        for group in self.groups.iter_mut() {
            if let Some(spread) = group.spread.as_deref_mut() {
                spread.carried.clear();
            }
            if let Some(traffic) = group.traffic.as_deref_mut() {
                let unsynced = traffic.books.unsynced;
                traffic.books = GroupBooks { unsynced, ..GroupBooks::default() };
            }
        }
    }
}
