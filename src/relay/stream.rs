//! The streams of a group, as one relay knows them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{
    Epoch, GroupName, Index, ProducerId, ProducerSequence, RelayId, Sequence, StreamId, StreamNumber,
    WallTime,
};
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
    /// Where the newest mark stands that made this relay a member, with its version: what stands
    /// before it is not owed to it.
    #[serde(rename = "m", skip_serializing_if = "Option::is_none", default)]
    pub(super) mark: Option<(Sequence, u64)>,
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
        Self { number, origin, epoch, last: Sequence(0), chain, end, sealed: false, mark: None }
    }

    /// What it is called everywhere.
    pub(super) fn id(&self, group: &GroupName, incarnation: u32) -> StreamId {
        StreamId { group: group.clone(), incarnation, origin: self.origin.clone(), epoch: self.epoch }
    }

    /// Takes over what the run says of `relay`'s membership.
    pub(super) fn note_membership(&mut self, relay: &RelayId, run: &Run) {
        let version = match run.header.kind {
            RunKind::Genesis => crate::wire::body::decode::<Genesis>(&run.body)
                .ok()
                .and_then(|genesis| genesis.members.into_iter().find(|(name, _)| name == relay))
                .map(|(_, version)| version),
            RunKind::Mark => crate::wire::body::decode::<Mark>(&run.body)
                .ok()
                .filter(|mark| mark.member && mark.relay == *relay)
                .map(|mark| mark.version),
            RunKind::Data | RunKind::Seal | RunKind::Loss => None,
        };
        if let Some(version) = version {
            self.mark = Some((run.header.first, version));
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
        self.note(&header);
        Run { header, body: draft.body }
    }

    /// Takes over what a run's header says, new or replayed.
    pub(super) fn note(&mut self, header: &RunHeader) {
        self.last = Sequence(header.end().0 - 1);
        self.chain = header.hash();
        self.sealed |= header.kind == RunKind::Seal;
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
