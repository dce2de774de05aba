//! What relays say to one another of records that no neighbour in a group's tree has (R10).
//!
//! A [`Pull`] goes from relay to relay until one has the records. They come back the way it went,
//! as ordinary runs, and behind them a [`Pulled`] at each hop.

use serde::{Deserialize, Serialize};

use super::link::GroupId;
use crate::id::{Epoch, RelayId, Sequence};

/// Asks for records of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Told apart by this from others of the relay that says it; the answer has it again.
    pub id: u64,
    /// The group.
    pub group: GroupId,
    /// The origin relay.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// The first sequence that is missing.
    pub from: Sequence,
    /// The last one; [`crate::limits::SEQUENCE_MAX`]: up to the stream's end.
    pub to: Sequence,
    /// Where it leads to first: the origin, or a relay that is known to have it.
    pub toward: RelayId,
    /// Who has asked so far, the first one first. Who finds itself here does not ask again.
    pub path: Vec<RelayId>,
    /// Links that it may still take.
    pub hops: u16,
    /// It is wanted though it was released: the disk that had it is damaged.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub anyway: bool,
}

/// Answers a [`Pull`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// That of the pull.
    pub id: u64,
    /// Whether records were sent; if not, somebody else is to be asked.
    pub is_here: bool,
    /// The last sequence that was sent.
    pub to: Sequence,
    /// Nobody needs anything up to here any more, as far as who answers knows.
    pub released: Sequence,
}

/// A relay that is out of the group's tree has records, and their origin cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// The group.
    pub group: GroupId,
    /// The origin relay.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// The last sequence that it has.
    pub last: Sequence,
    /// Who has it.
    pub by: RelayId,
    /// The member that is told.
    pub to: RelayId,
    /// Links that it may still take.
    pub hops: u16,
}
