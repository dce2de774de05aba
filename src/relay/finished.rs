//! Epochs that are finished are forgotten (R2).
//!
//! Every boot of an origin begins a stream in each group into which it puts. When such a stream is
//! sealed and everybody who is owed it has all of it, nobody will ever need anything of it. The
//! origin says so: *every epoch of mine, on this disk, up to this one is finished*. That is true
//! for good, and one number per group, origin and disk, however many boots there were; so the
//! streams themselves can go, at every relay, as soon as its own readers are done with them. What
//! comes of a finished epoch later is dropped.
//!
//! Only the origin can say it: another relay need not know of every epoch. It says it when it is
//! on its own disk, along the tree like what is released; neighbours tell one another when they
//! compare; and who still has a sealed stream of which it has not heard this says its receipt, and
//! is answered.

use std::collections::{BTreeMap, BTreeSet};

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::journal::Waiting;
use super::state::Operation;
use super::stream::Stream;
use crate::id::{Epoch, GroupNumber, LinkId, RelayId, StorageId, StreamNumber};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::wire::link::{Finished, LinkMessage, Receipt};

/// Streams of a group of which those that are finished are kept while a name in it has two homes.
const KEPT_MAX: usize = 1 << 10;

/// The last finished epoch of each origin and disk.
#[derive(Clone, Debug, Default)]
pub(super) struct FinishedEpochs {
    through: BTreeMap<(RelayId, StorageId), u64>,
    /// Streams that were forgotten, and of which links still know the names.
    forgotten: Vec<StreamNumber>,
}

impl Group {
    /// Every epoch up to this one is finished. True if that is news.
    pub(super) fn finish(&mut self, origin: &RelayId, storage: StorageId, through: u64) -> bool {
        let table = &mut self.spread().finished.through;
        let key = (origin.clone(), storage);
        if table.get(&key).is_some_and(|known| *known >= through) {
            return false;
        }
        table.insert(key, through);
        let is_over =
            |s: &&mut Stream| s.origin == *origin && s.epoch.storage == storage && s.epoch.counter <= through;
        for stream in self.streams.iter_mut().filter(is_over) {
            stream.release(stream.last);
            (stream.doubted, stream.wanted) = (false, stream.released.min(stream.wanted));
        }
        true
    }

    /// What is finished: origin, disk, and the last epoch.
    pub(super) fn finished(&self) -> impl Iterator<Item = (&RelayId, StorageId, u64)> + '_ {
        let finished = self.spread.iter().flat_map(|spread| &spread.finished.through);
        finished.map(|((origin, storage), through)| (origin, *storage, *through))
    }

    pub(super) fn is_finished(&self, origin: &RelayId, epoch: Epoch) -> bool {
        let through = |group: &Self| {
            // Most groups have no origin that was ever started again.
            let table = group.spread.as_deref().map(|spread| &spread.finished.through)?;
            if table.is_empty() {
                return None;
            }
            table.get(&(origin.clone(), epoch.storage)).copied()
        };
        through(self).is_some_and(|through| epoch.counter <= through)
    }

    /// Whether nobody needs what a stream brings.
    pub(super) fn is_over(&self, stream: StreamNumber) -> bool {
        let known = self.streams.iter().find(|s| s.number == stream);
        known.is_none_or(|s| self.is_finished(&s.origin, s.epoch))
    }

    /// Whether anything of an origin's disk was finished, and so perhaps forgotten.
    pub(super) fn has_finished(&self, origin: &RelayId, storage: StorageId) -> bool {
        self.finished().any(|(of, on, _)| of == origin && on == storage)
    }

    /// Forgets finished streams of which nothing is kept here.
    pub(super) fn forget_finished(&mut self) {
        let is_empty = |spread: &super::forward::Spread| spread.finished.through.is_empty();
        if self.spread.as_deref().is_none_or(is_empty) {
            return;
        }
        let low = self.low;
        let goes = |s: &Stream| s.end <= low && self.is_finished(&s.origin, s.epoch);
        let gone: Vec<StreamNumber> = self.streams.iter().filter(|s| goes(s)).map(|s| s.number).collect();
        // The other home of a name here may ask what it was owed of one.
        let is_asked =
            self.streams.len() < KEPT_MAX && self.subscriptions.iter().any(|s| s.twin_since.is_some());
        if gone.is_empty() || is_asked {
            return;
        }
        self.streams.retain(|s| gone.binary_search(&s.number).is_err());
        let spread = self.spread();
        spread.forget_streams(&gone);
        spread.finished.forgotten.extend(gone);
    }
}

impl Relay {
    /// The origin looks which of its epochs are finished.
    pub(super) fn settle_finished(&mut self, number: GroupNumber) {
        let (me, Epoch { counter, storage, .. }) = (self.options.relay.clone(), self.options.epoch);
        let Some(group) = self.groups.get_mut(number).filter(|group| group.spread.is_some()) else { return };
        let own = group.streams.iter().filter(|s| s.is_written_by(&me, storage));
        // Whatever a neighbour has named: the stream that is being written is not over.
        let end = counter + u64::from(group.own.is_none());
        let is_done =
            |s: &&Stream| s.epoch.counter < end && s.sealed && s.released >= s.last && s.durable >= s.last;
        let Some(through) = own.take_while(is_done).map(|s| s.epoch.counter).max() else { return };
        if !group.finish(&me, storage, through) {
            return;
        }
        self.keep_finished(number, (&me, storage), through, Urgency::Sync);
        self.journal.wait(Waiting::Finished { group: number });
    }

    fn keep_finished(
        &mut self,
        number: GroupNumber,
        (origin, storage): (&RelayId, StorageId),
        through: u64,
        urgency: Urgency,
    ) {
        let operation = Operation::EpochsFinished { group: number, origin: origin.clone(), storage, through };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), urgency);
        if let Some(group) = self.groups.get_mut(number) {
            group.forget_finished();
        }
        self.note_forgotten(number);
        self.mark_dirty_group(number);
    }

    /// It is on the disk which epochs of this relay are finished: everybody is told.
    pub(super) fn tell_finished(&mut self, number: GroupNumber) {
        let (me, storage) = (&self.options.relay, self.options.epoch.storage);
        let told = self.finished_of(number, |origin, on| origin == me && on == storage);
        self.say_along_tree(number, None, &told);
    }

    /// Tells a neighbour everything that is finished in a group.
    pub(super) fn say_finished(&mut self, number: GroupNumber, link: LinkId) {
        let told = self.finished_of(number, |_, _| true);
        if !told.is_empty() {
            self.say(link, LinkMessage::Finished(told));
        }
    }

    fn finished_of(
        &self,
        number: GroupNumber,
        is_meant: impl Fn(&RelayId, StorageId) -> bool,
    ) -> Vec<Finished> {
        let Some(group) = self.groups.get(number) else { return Vec::new() };
        let meant = group.finished().filter(|(origin, storage, _)| is_meant(origin, *storage));
        let told = meant.map(|(origin, storage, through)| Finished {
            group: group.id(),
            origin: origin.clone(),
            storage,
            through,
            to: None,
            hops: 0,
        });
        told.collect()
    }

    fn say_along_tree(&mut self, number: GroupNumber, except: Option<LinkId>, told: &[Finished]) {
        let Some(spread) = self.groups.get(number).and_then(|group| group.spread.as_deref()) else { return };
        let links: Vec<LinkId> = spread.tree().iter().copied().filter(|link| Some(*link) != except).collect();
        for link in links.into_iter().filter(|_| !told.is_empty()) {
            self.say(link, LinkMessage::Finished(told.to_vec()));
        }
    }

    /// A receipt of a finished epoch: its member has not heard of that.
    pub(super) fn answer_finished(&mut self, receipt: &Receipt) {
        let Some(link) = self.links.toward.get(&receipt.member).copied() else { return };
        let Some(number) = self.groups.number(&receipt.group.name) else { return };
        let of = (&receipt.origin, receipt.epoch.storage);
        let hops = self.trees.hops();
        let told = self.finished_of(number, |origin, storage| (origin, storage) == of);
        let to = |told: Finished| Finished { to: Some(receipt.member.clone()), hops, ..told };
        self.say(link, LinkMessage::Finished(told.into_iter().map(to).collect()));
    }

    /// Epochs are finished: passed on along the tree, or to the one who is told.
    pub(super) fn on_finished(&mut self, now: Now, link: LinkId, finished: Vec<Finished>) {
        for told in finished {
            self.take_finished(now, link, &told);
            let on_its_way = told.to.as_ref().filter(|to| **to != self.options.relay);
            if let Some((way, hops)) = on_its_way.and_then(|to| self.way_on(to, link, told.hops)) {
                self.say(way, LinkMessage::Finished(vec![Finished { hops, ..told }]));
            }
        }
    }

    fn take_finished(&mut self, now: Now, link: LinkId, told: &Finished) {
        let Some(number) = self.group_of(now, &told.group) else { return };
        let Some(group) = self.groups.get_mut(number) else { return };
        let Epoch { counter, storage, .. } = self.options.epoch;
        let is_own = told.origin == self.options.relay && told.storage == storage;
        let of = (&told.origin, told.storage);
        if group.finished().any(|(origin, on, through)| (origin, on) == of && through >= told.through) {
            return;
        }
        if is_own && told.through >= counter {
            // What it has said of itself before a crash took that back is true; of this boot nobody
            // else knows anything (R4).
            return self.warn(format!(
                "a neighbour knows boot {} of this data directory, which is at boot {counter}: it was restored or \
                 copied, and others may not take what is put here; start with an empty one",
                told.through
            ));
        }
        let known = group.finished().take(limits::STREAMS_PER_GROUP_MAX).count();
        if known < limits::STREAMS_PER_GROUP_MAX && group.finish(&told.origin, told.storage, told.through) {
            self.keep_finished(number, (&told.origin, told.storage), told.through, Urgency::Ride);
            self.say_along_tree(number, Some(link), &[Finished { to: None, hops: 0, ..told.clone() }]);
            self.settle_levels(number);
            self.ask_for_later(number, told);
        }
    }

    /// What has come of later epochs, while these were not whole here and not known to be finished, was
    /// dropped (I10): whoever has sent it takes it for taken.
    fn ask_for_later(&mut self, number: GroupNumber, finished: &Finished) {
        let Finished { origin, storage, through, .. } = finished;
        let is_later = |s: &&mut Stream| {
            s.origin == *origin && s.epoch.storage == *storage && s.epoch.counter > *through
        };
        let Some(group) = self.groups.get_mut(number) else { return };
        let lacking = group.streams.iter_mut().filter(is_later).filter_map(|s| s.lacks.take());
        for link in lacking.collect::<BTreeSet<LinkId>>() {
            self.ask_again(number, link);
        }
    }

    /// Streams of a group may have been forgotten: their names on links go in a moment, all at once.
    pub(super) fn note_forgotten(&mut self, number: GroupNumber) {
        let spread = self.groups.get_mut(number).and_then(|group| group.spread.as_deref_mut());
        if let Some(spread) = spread {
            self.links.forgotten.append(&mut spread.finished.forgotten);
        }
    }

    pub(super) fn forget_names_of_finished(&mut self) {
        if self.links.forgotten.is_empty() {
            return;
        }
        let forgotten: BTreeSet<StreamNumber> =
            std::mem::take(&mut self.links.forgotten).into_iter().collect();
        for link in self.links.table.values_mut() {
            link.forget_streams(&forgotten);
        }
    }

    /// How many streams are known, how many of them are sealed and have an origin, and names of
    /// streams on all links, for simulations.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn count_streams(&self) -> [usize; 3] {
        let streams = || self.groups.named().flat_map(|group| &group.streams);
        let names = self.links.table.values().map(super::link::Link::count_names).sum();
        let orphans = self.orphans();
        let is_over = |s: &&Stream| s.sealed && !orphans.is_one(s);
        [streams().count(), streams().filter(is_over).count(), names]
    }
}
