//! What relays say to one another when the home of a subscription is moved from one to another.
//!
//! Everything is said again until it is answered, so relays between the two keep nothing of it.
//! A move is known by its token: what is late of another one means nothing.

use serde::{Deserialize, Serialize};

use super::body::{GapCause, Refusal, SubscriptionSpec};
use super::link::{GroupId, Version};
use crate::id::{Epoch, Index, ProducerId, RelayId, Sequence, StorageId, SubscriptionName};

/// One thing that is said of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveFrame {
    /// Who says it.
    pub from: RelayId,
    /// Whom it is for.
    pub to: RelayId,
    /// Links that it may still take: while relays see different maps it could go round for ever.
    pub hops: u16,
    /// The group.
    pub group: GroupId,
    /// The subscription.
    pub name: SubscriptionName,
    /// Drawn by the old home when the move began.
    pub token: u64,
    /// What is said.
    pub says: MoveSays,
}

/// How far a relay has a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamAt {
    /// The origin relay.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// Everything up to here.
    pub last: Sequence,
}

/// A part of a stream: half-open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamPart {
    /// The origin relay.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// The first sequence.
    pub from: Sequence,
    /// Behind the last one.
    pub to: Sequence,
}

/// Where the new home keeps what comes: from this index on, on this disk. Another disk, or one that has
/// begun anew, is no continuation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// The disk.
    pub storage: StorageId,
    /// The place in its log of the group.
    pub from: Index,
}

/// What a producer has put already: everything below the floor, and these half-open ranges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerDone {
    /// The producer.
    pub producer: ProducerId,
    /// Everything below was put.
    pub floor: u64,
    /// What was put above it.
    pub ranges: Vec<(u64, u64)>,
}

/// What a subscription is done with at the home that it leaves. Everything else is for the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Of each stream everything up to there; in order.
    pub streams: Vec<StreamAt>,
    /// Every epoch of an origin's disk up to this counter; in order.
    pub finished: Vec<(RelayId, StorageId, u64)>,
    /// What was put by producers that may put it again elsewhere; in order.
    pub producers: Vec<ProducerDone>,
    /// Of streams that are not done with from their beginning: what is; in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parts: Vec<StreamPart>,
    /// Of a home that is made one with another of the same name: what it was owed of each stream up to
    /// its end there; in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub owed: Vec<StreamPart>,
}

/// Where a copied run is on its way, and what of the old home's log it is. The run follows it, in a frame
/// of its own ([`crate::wire::frame::LinkCopyHead`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyHead {
    /// The old home.
    pub from: RelayId,
    /// The new home.
    pub to: RelayId,
    /// Links that it may still take.
    pub hops: u16,
    /// The group.
    pub group: GroupId,
    /// The subscription.
    pub name: SubscriptionName,
    /// Drawn by the old home when the move began.
    pub token: u64,
    /// Which part of what it has.
    pub part: u32,
    /// The origin relay of the stream.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// From here up to the run there is nothing to be copied.
    pub behind: Index,
    /// Where its first record stands at the old home.
    pub first_index: Index,
    /// How old it was when it was sent, in milliseconds.
    pub age_ms: u32,
    /// What of it is not for the subscription: places at the old home, half-open, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub not_owed: Vec<(Index, Index)>,
}

/// What is left of a part of a subscription's backlog that was copied to the new home: by the places that
/// it has at the old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Which part.
    pub part: u32,
    /// Everything before is done with.
    pub floor: Index,
    /// Where it ends.
    pub to: Index,
    /// What is done with behind the floor, half-open, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub done: Vec<(Index, Index)>,
    /// What the subscription does not get and has not heard of, half-open, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gaps: Vec<(Index, Index, GapCause)>,
    /// What was lost at the old home, or may be, half-open, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lost: Vec<(Index, Index, GapCause)>,
}

/// What is said of a move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveSays {
    /// The old home to the new one: make it, and keep what comes from now on.
    Prepare {
        /// How it works.
        spec: SubscriptionSpec,
        /// Whether it is the backlog of a queue: with it goes the queue.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        queue: bool,
        /// The new home may have taken over on a disk that it has lost: what it has said of this name in
        /// lower versions is void.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        void: Option<Version>,
        /// The new home has one of this name, made while the two were apart: they are to be one.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        merge: bool,
    },
    /// The new home to the old one: it is made, on disk. Said again until it has arrived.
    Prepared {
        /// Where it is kept.
        keeper: Keeper,
        /// The membership of the new home, since when everything put is owed to it.
        version: Version,
        /// What is there already is not kept for it.
        streams: Vec<StreamAt>,
        /// To be made one with it: what of streams that one is owed itself, behind these.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        own: Vec<StreamAt>,
    },
    /// The new home to the old one: it cannot be.
    Refused(Refusal),
    /// The old home to every relay: is this membership of the new home on your disk?
    Ask {
        /// The new home.
        member: RelayId,
        /// Its membership; a later one will do.
        version: Version,
    },
    /// It is; and of my own streams the old home may lack what stands up to there.
    Held {
        /// The disk that it is on.
        storage: StorageId,
        /// The membership that was asked for.
        version: Version,
        /// The links that it has: they name relays that are to be asked too.
        links: Version,
        /// Streams of which somebody may still need something.
        streams: Vec<StreamAt>,
    },
    /// The old home to the new one: all this is done with, durably; the rest is yours.
    Handover {
        /// Where the new home keeps the rest, as it has said.
        keeper: Keeper,
        /// The version in which the old home has said that it lives there.
        version: Version,
        /// What is done with.
        done: Box<Done>,
        /// What nobody has taken there, and was copied: part by part, in order.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        left: Vec<Left>,
    },
    /// The new home to the old one: it lives here, durably. Said again until the old one has none.
    Taken,
    /// There is no such move here, or not any more.
    Void,
    /// The old home to the new one: nobody takes this part of what is to be delivered here. It is copied;
    /// how far is it there?
    Copy {
        /// Which part.
        part: u32,
        /// Everything before is done with.
        from: Index,
    },
    /// The new home to the old one: it has that part up to there, on disk.
    Copied {
        /// Which part.
        part: u32,
        /// Behind the last run that it has; where it begins, if it has none.
        through: Index,
    },
}

impl MoveSays {
    /// How many items it carries, about.
    pub(super) fn items(&self) -> usize {
        match self {
            Self::Prepared { streams, own, .. } => streams.len() + own.len() + 4,
            Self::Held { streams, .. } => streams.len() + 4,
            Self::Handover { done, left, .. } => {
                let ranges: usize = done.producers.iter().map(|p| 1 + p.ranges.len() / 4).sum();
                let left: usize =
                    left.iter().map(|l| 1 + (l.done.len() + l.gaps.len() + l.lost.len()) / 4).sum();
                let parts = done.parts.len() + done.owed.len();
                done.streams.len() + done.finished.len() + parts + ranges + left + 4
            }
            Self::Prepare { .. }
            | Self::Refused(_)
            | Self::Ask { .. }
            | Self::Taken
            | Self::Void
            | Self::Copy { .. }
            | Self::Copied { .. } => 4,
        }
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = Version> + '_ {
        let (version, finished) = match self {
            Self::Prepared { version, .. } | Self::Ask { version, .. } => ([Some(*version), None], None),
            Self::Prepare { void, .. } => ([*void, None], None),
            Self::Held { version, links, .. } => ([Some(*version), Some(*links)], None),
            Self::Handover { version, done, .. } => ([Some(*version), None], Some(&done.finished)),
            Self::Refused(_) | Self::Taken | Self::Void | Self::Copy { .. } | Self::Copied { .. } => {
                ([None, None], None)
            }
        };
        let finished = finished.into_iter().flatten();
        version
            .into_iter()
            .flatten()
            .chain(finished.map(|(_, storage, through)| Version { counter: *through, storage: *storage }))
    }

    pub(super) fn sequences(&self) -> impl Iterator<Item = Sequence> + '_ {
        let (mut parts, mut more) = (None, None);
        let streams = match self {
            Self::Prepared { streams, own, .. } => {
                more = Some(own);
                Some(streams)
            }
            Self::Held { streams, .. } => Some(streams),
            Self::Handover { done, .. } => {
                parts = Some(done.parts.iter().chain(&done.owed));
                Some(&done.streams)
            }
            Self::Prepare { .. }
            | Self::Refused(_)
            | Self::Ask { .. }
            | Self::Taken
            | Self::Void
            | Self::Copy { .. }
            | Self::Copied { .. } => None,
        };
        let parts = parts.into_iter().flatten().map(|part| part.to);
        let streams = streams.into_iter().chain(more).flatten();
        streams.map(|stream| stream.last).chain(parts)
    }
}
