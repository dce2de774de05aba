//! The streams of a group, as one relay knows them.

mod places;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{
    Epoch, GroupName, Index, LinkId, ProducerId, ProducerSequence, RelayId, Sequence, StorageId, StreamId,
    StreamNumber, WallTime,
};
use crate::wire::link::{GroupId, Released};
use crate::wire::run::{Run, RunHeader, RunKind};

/// What one origin appended to the group in one epoch, as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    #[serde(rename = "n")]
    pub(super) number: StreamNumber,
    #[serde(rename = "o")]
    pub(super) origin: RelayId,
    #[serde(rename = "e")]
    pub(super) epoch: Epoch,
    /// The last sequence: appended; it is durable when the log says so.
    #[serde(rename = "l")]
    pub(super) last: Sequence,
    /// The hash over everything up to `last`.
    #[serde(rename = "c")]
    pub(super) chain: u64,
    /// The insertion index after its last record.
    #[serde(rename = "i")]
    pub(super) end: Index,
    #[serde(rename = "s")]
    pub(super) sealed: bool,
    /// Where the newest mark stands that made a relay a member, with its version: what stands
    /// before it is not owed to it (I5). Of the own streams for all members, of others for this
    /// relay only.
    #[serde(rename = "m", skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(super) marks: BTreeMap<RelayId, (Sequence, u64)>,
    /// Everybody who is owed it has everything up to here on disk.
    #[serde(rename = "r", skip_serializing_if = "is_zero", default)]
    pub(super) released: Sequence,
    /// What this relay has had up to here and lost with a disk that was put back was told as lost.
    #[serde(rename = "f", skip_serializing_if = "is_zero", default)]
    pub(super) forgiven: Sequence,
    /// Where some of its records stand in the group, in order: a sequence and its index.
    #[serde(rename = "x", skip_serializing_if = "Vec::is_empty", default)]
    places: Vec<(Sequence, Index)>,
    /// What stands before was never here, if it is not the first; the largest number: it is not known.
    #[serde(rename = "b", skip_serializing_if = "is_zero", default)]
    pub(super) began: Sequence,
    /// The last sequence that is on this relay's disk.
    #[serde(skip)]
    pub(super) durable: Sequence,
    /// How far each relay has it. Not kept: they say it again.
    #[serde(skip)]
    pub(super) receipts: BTreeMap<RelayId, Held>,
    /// The origin wants to hear of everything up to here: puts wait.
    #[serde(skip)]
    pub(super) wanted: Sequence,
    /// What was said last: of another origin's stream what is durable here and what is consumed,
    /// of an own one how far it is wanted.
    #[serde(skip)]
    pub(super) told: (Sequence, Sequence),
    /// Whether its origin has started again since, and may have forgotten what it had released.
    #[serde(skip)]
    pub(super) doubted: bool,
    /// The neighbour that has sent something before which something is missing.
    #[serde(skip)]
    pub(super) lacks: Option<LinkId>,
}

/// How far a relay has a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The disk it is on.
    pub(super) storage: StorageId,
    pub(super) durable: Sequence,
    /// What stands before was never there.
    pub(super) began: Sequence,
    /// What its subscriptions are done with.
    pub(super) consumed: Sequence,
}

fn is_zero(sequence: &Sequence) -> bool {
    sequence.0 == 0
}

/// What is put into a run before the stream gives it its place.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: RunKind,
    pub(super) count: u32,
    pub(super) has_ttl: bool,
    pub(super) has_subject: bool,
    pub(super) body_hash: u64,
    pub(super) producer: Option<(ProducerId, ProducerSequence)>,
    pub(super) body: Bytes,
}

impl Draft {
    /// A record of the relay's own.
    pub(super) fn control(kind: RunKind, body: Bytes) -> Self {
        let body_hash = xxhash_rust::xxh3::xxh3_64(&body);
        Self { kind, count: 1, has_ttl: false, has_subject: false, body_hash, producer: None, body }
    }
}

impl Stream {
    pub(super) fn new(
        number: StreamNumber,
        group: (&GroupName, u32),
        origin: RelayId,
        epoch: Epoch,
        end: Index,
    ) -> Self {
        let id = StreamId { group: group.0.clone(), incarnation: group.1, origin: origin.clone(), epoch };
        let chain = id.chain_start();
        Self {
            number,
            origin,
            epoch,
            last: Sequence(0),
            chain,
            end,
            sealed: false,
            marks: BTreeMap::new(),
            released: Sequence(0),
            forgiven: Sequence(0),
            places: Vec::new(),
            began: Sequence(0),
            durable: Sequence(0),
            receipts: BTreeMap::new(),
            wanted: Sequence(0),
            told: (Sequence(0), Sequence(0)),
            doubted: false,
            lacks: None,
        }
    }

    /// Notes that the record with this sequence stands at this index.
    pub(super) fn note_place(&mut self, sequence: Sequence, index: Index) {
        places::note(&mut self.places, (sequence, index));
    }

    /// The first index at which a record stands that may still be needed elsewhere, or one a
    /// little before it. `None`: there is no such record.
    pub(super) fn needed_from(&self) -> Option<Index> {
        if self.released >= self.last {
            return None;
        }
        let behind = self.places.partition_point(|(sequence, _)| *sequence <= self.released.next());
        let place = behind.checked_sub(1).and_then(|at| self.places.get(at)).or(self.places.first());
        place.map(|(_, index)| *index)
    }

    /// Between which indexes a record stands that was not let go, half-open, as far as the samples
    /// of places tell; the group begins at `low`.
    pub(super) fn bracket(&self, sequence: Sequence, low: Index) -> (Index, Index) {
        let behind = self.places.partition_point(|(known, _)| *known <= sequence);
        let from = behind.checked_sub(1).and_then(|at| self.places.get(at)).map_or(low, |(_, index)| *index);
        let to = self.places.get(behind).map_or(self.end, |(_, index)| *index);
        (from.max(low), to)
    }

    /// The first index at which a record may stand that somebody lacks who has everything up to
    /// `known`, or one a little before it; `low` when that is not remembered any more. `None`:
    /// there is no such record.
    pub(super) fn lacked_from(&self, known: Sequence, low: Index) -> Option<Index> {
        if known >= self.last {
            return None;
        }
        let behind = self.places.partition_point(|(sequence, _)| *sequence <= known.next());
        let place = behind.checked_sub(1).and_then(|at| self.places.get(at));
        Some(place.map_or(low, |(_, index)| *index))
    }

    /// An index at which a record stands that is not behind the one with this sequence; `None`: no
    /// such place is remembered.
    pub(super) fn place_before(&self, sequence: Sequence) -> Option<Index> {
        let behind = self.places.partition_point(|(at, _)| *at <= sequence);
        behind.checked_sub(1).and_then(|place| self.places.get(place)).map(|(_, index)| *index)
    }

    /// An index behind the record with this sequence; `None`: no such place is remembered.
    pub(super) fn place_behind(&self, sequence: Sequence) -> Option<Index> {
        self.places.get(self.places.partition_point(|(at, _)| *at <= sequence)).map(|(_, index)| *index)
    }

    /// Whether it is an earlier epoch of the same disk as that one of this origin.
    pub(super) fn is_before(&self, origin: &RelayId, epoch: Epoch) -> bool {
        let is_same_disk = self.origin == *origin && self.epoch.storage == epoch.storage;
        is_same_disk && self.epoch.counter < epoch.counter
    }

    /// The last place at or before an index.
    pub(super) fn place_at(&self, index: Index) -> Option<(Sequence, Index)> {
        let behind = self.places.partition_point(|(_, at)| *at <= index);
        behind.checked_sub(1).and_then(|place| self.places.get(place)).copied()
    }

    /// The first place at or behind an index.
    pub(super) fn place_from(&self, index: Index) -> Option<(Sequence, Index)> {
        self.places.get(self.places.partition_point(|(_, at)| *at < index)).copied()
    }

    /// Forgets places of what was let go: where the rest stands is needed when it is damaged.
    pub(super) fn forget_below(&mut self, low: Index) {
        let behind = self.places.partition_point(|(_, index)| *index <= low);
        let keeps_one = usize::from(self.end > low);
        self.places.drain(..behind.saturating_sub(keeps_one));
    }

    /// Nobody needs anything up to `to` any more, be it here yet or not. True if that is news.
    pub(super) fn release(&mut self, to: Sequence) -> bool {
        if to <= self.released {
            return false;
        }
        self.released = to;
        true
    }

    /// What is said along a group's tree of how far it is released, and wanted.
    pub(super) fn released_in(&self, group: &GroupId) -> Released {
        Released {
            group: group.clone(),
            origin: self.origin.clone(),
            epoch: self.epoch,
            released: self.released,
            wanted: self.wanted,
            to: None,
            hops: 0,
            heard: None,
        }
    }

    /// The own stream, by the receipts of `members`: what all that are owed it have on disk. What
    /// this relay itself has is durable, or it would not have been sent.
    pub(super) fn covered(&self, me: &RelayId, is_member: impl Fn(&RelayId) -> bool) -> Sequence {
        self.owed_least(me, is_member, |held| held.durable)
    }

    /// The own stream: what the subscriptions of all members elsewhere are done with.
    pub(super) fn consumed_elsewhere(&self, me: &RelayId, is_member: impl Fn(&RelayId) -> bool) -> Sequence {
        self.owed_least(me, is_member, |held| held.consumed)
    }

    fn owed_least(
        &self,
        me: &RelayId,
        is_member: impl Fn(&RelayId) -> bool,
        has: impl Fn(&Held) -> Sequence,
    ) -> Sequence {
        let owed = self.marks.iter().filter(|(relay, _)| *relay != me && is_member(relay));
        let has = owed.map(|(relay, (mark, _))| {
            let receipt = self.receipts.get(relay).map_or(Sequence(0), &has);
            receipt.max(Sequence(mark.0 - 1))
        });
        has.min().unwrap_or(self.durable).min(self.durable)
    }

    /// Whether it is one that a relay with this disk writes, and nobody else. A relay that has lost
    /// its disk never writes on in the streams that were on it: others may know more of them.
    pub(super) fn is_written_by(&self, me: &RelayId, storage: StorageId) -> bool {
        self.origin == *me && self.epoch.storage == storage
    }

    /// A stream of a disk that its origin has lost, which looks after it all the same (R9): what
    /// all members have. Who was owed what is lost with the disk, so everybody counts; with no
    /// member nobody is owed anything.
    pub(super) fn covered_by_all<'r>(
        &self,
        members: impl Iterator<Item = &'r RelayId>,
        (me, is_member): (&RelayId, bool),
    ) -> Sequence {
        let has = |relay: &RelayId| self.receipts.get(relay).map_or(Sequence(0), |held| held.durable);
        let others = members.filter(|relay| *relay != me).map(has);
        let all = others.chain(is_member.then_some(self.durable)).min();
        all.unwrap_or_else(|| self.furthest())
    }

    /// The last sequence that anybody is known to have on disk.
    pub(super) fn furthest(&self) -> Sequence {
        self.receipts.values().map(|held| held.durable).fold(self.durable, Sequence::max)
    }

    /// Whether puts at the origin wait for more than was said.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted > self.told.0.min(self.told.1)
    }

    /// The last sequence that stands below an index for certain, when all there is does not.
    pub(super) fn last_below(&self, index: Index) -> Sequence {
        if index >= self.end {
            return self.durable;
        }
        let behind = self.places.partition_point(|(_, at)| *at <= index);
        let place = behind.checked_sub(1).and_then(|at| self.places.get(at));
        place.map_or(Sequence(0), |(sequence, _)| Sequence(sequence.0 - 1)).min(self.durable)
    }

    /// Takes over what the run says of memberships: of `me`, and of all in a stream of its own. Of
    /// another's stream `me` knows better since when it is a member, if it is one: `since`. It may
    /// be that others had forgotten it meanwhile.
    pub(super) fn note_membership(&mut self, (me, since): (&RelayId, Option<u64>), run: &Run) {
        let said = match run.header.kind {
            RunKind::Genesis => {
                let genesis = crate::wire::body::decode::<Genesis>(&run.body);
                let members = genesis.map(|genesis| genesis.members).unwrap_or_default();
                members.into_iter().map(|(relay, version)| (relay, version, true)).collect()
            }
            RunKind::Mark => {
                let mark = crate::wire::body::decode::<Mark>(&run.body);
                mark.map(|mark| vec![(mark.relay, mark.version, mark.member)]).unwrap_or_default()
            }
            RunKind::Loss => {
                let members = super::lost::in_place(run).map(|lost| lost.members).unwrap_or_default();
                members.into_iter().map(|(relay, version)| (relay, version, true)).collect()
            }
            RunKind::Data | RunKind::Seal => Vec::new(),
        };
        for (relay, version, member) in said {
            let goes_on = |(_, known): &&mut (Sequence, u64)| since.is_some_and(|since| *known >= since);
            let is_about_me = relay == *me && self.origin != *me;
            if let Some((_, known)) = self.marks.get_mut(&relay).filter(|mark| is_about_me && goes_on(mark)) {
                *known = version.max(*known);
            } else if member && (relay == *me || self.origin == *me) {
                self.marks.insert(relay, (run.header.first, version));
            } else if !member {
                self.marks.remove(&relay);
            }
        }
    }

    /// Appends a draft: the next sequence is given once, here (I1).
    pub(super) fn append(&mut self, draft: Draft, accepted: WallTime) -> Run {
        let header = RunHeader {
            kind: draft.kind,
            has_ttl: draft.has_ttl,
            has_subject: draft.has_subject,
            count: draft.count,
            body_bytes: u32::try_from(draft.body.len()).expect("limits keep runs below 4 GiB"),
            first: self.last.next(),
            body_hash: draft.body_hash,
            chain: self.chain,
            accepted,
            producer: draft.producer,
        };
        let run = Run { header, body: draft.body };
        self.note(&run);
        run
    }

    /// Everything up to `last` was released before it came here: it goes on behind that.
    pub(super) fn move_to(&mut self, last: Sequence, chain: u64) {
        if last > self.last {
            (self.last, self.chain, self.durable) = (last, chain, last);
            self.released = self.released.max(last);
            self.began = last.next();
        }
    }

    /// What comes next is owed to `me`, whatever was said in what is lost: in any version.
    pub(super) fn owe(&mut self, me: &RelayId) {
        let next = self.last.next();
        self.marks.entry(me.clone()).or_insert((next, u64::MAX));
    }

    /// Takes over how a run goes on, new or replayed. What stands in place of records has the hash and the
    /// end of what stood there.
    pub(super) fn note(&mut self, run: &Run) {
        let (header, lost) = (&run.header, super::lost::in_place(run));
        self.last = Sequence(header.end().0 - 1);
        self.chain = lost.as_ref().and_then(|lost| lost.chain).unwrap_or_else(|| header.hash());
        self.sealed |= header.kind == RunKind::Seal || lost.is_some_and(|lost| lost.seals);
    }
}

/// What a stream's first record says: who was a member when it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Genesis {
    /// Members with the version of their membership.
    pub(super) members: Vec<(RelayId, u64)>,
}

/// Says that a relay became a member of the group, or ceased to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) relay: RelayId,
    pub(super) member: bool,
    pub(super) version: u64,
}

/// The last record of a stream: the epoch that ended it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seal {
    pub(super) by: Epoch,
}
