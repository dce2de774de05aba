//! What became of one message: at one relay, and at all that could be asked.

use serde::{Deserialize, Serialize};

use super::GapCause;
use crate::id::{GroupName, Index, RelayId, Sequence, SubscriptionName, WallTime};

/// A message by its name, which is the same at every relay for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageName {
    /// The group that it was put into.
    pub group: GroupName,
    /// The relay at which it was put.
    pub origin: RelayId,
    /// How often that relay's storage had been booted.
    pub boot: u64,
    /// The random number of that boot.
    pub nonce: u64,
    /// Its number in the stream that these name.
    pub sequence: Sequence,
}

/// What a relay knows of a message itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sighting {
    /// There is no such group here.
    NoGroup,
    /// The group was removed here, with all that is known of its messages.
    Removed,
    /// Nothing of that boot of the origin has come here, or it is forgotten.
    NoStream,
    /// It has not come: the stream is here up to another message before it.
    NotYet {
        /// The last sequence that is here.
        last: Sequence,
    },
    /// It is here, and not yet on this disk.
    Unsynced,
    /// It is on this disk.
    Held {
        /// Where it stands in this relay's copy of the group.
        index: Index,
    },
    /// It was on this disk, and was let go when nobody needed it any more.
    Released,
    /// The stream has gone on behind it. Either it was let go, or everybody had it before it
    /// could come here: what would tell is forgotten.
    Past,
    /// It stands where this disk is damaged.
    Damaged,
    /// It was not found in the time that there is for it: it is here, or was let go.
    Unfound,
    /// That sequence is a record of the relays' own (GENESIS, MARK, SEAL, LOSS) and no message.
    OwnRecord,
}

/// What a record of the relays' own says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OwnKind {
    /// Who was a member of the group when the stream began.
    Genesis,
    /// Who became a member of the group, or is one no more.
    Mark,
    /// That the stream before it is whole.
    Seal,
    /// What is lost.
    Loss,
}

/// How a message came to a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// It was put here.
    Here,
    /// Over the link to this neighbour.
    Link(RelayId),
    /// Over a link that is not known any more.
    Unknown,
}

/// When and how a message came to a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// When, by this relay's clock: at this time or later.
    pub from: WallTime,
    /// And at this time or before: the same one, if it is known exactly.
    pub to: WallTime,
    /// How.
    pub over: Over,
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadReason {
    /// It was delivered as often as the group allows, in vain.
    MaxDeliver,
    /// The receiver said that it will never be done.
    Rejected,
}

/// What became of a message in one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// Delivered and acked.
    Acked,
    /// Acked or passed over: what would tell is forgotten.
    Done,
    /// A receiver has it and has not acked it.
    InFlight,
    /// It waits for its turn.
    Pending {
        /// Messages that the subscription is owed before it.
        ahead: u64,
    },
    /// It was delivered in vain, and waits to be delivered again.
    Again {
        /// Deliveries so far, as far as they are counted.
        attempts: u32,
        /// Milliseconds until it is due; 0: now.
        due_ms: u64,
    },
    /// The subscription's filter does not let it through.
    Filtered,
    /// The subscription began behind it.
    BeforeStart,
    /// The same message of its producer came before by another origin, and this one is passed over.
    Repeat,
    /// It was past its time to live before it was delivered.
    Expired,
    /// It was dropped; a GAP tells, or told, the receiver so.
    Dropped(GapCause),
    /// It was given up.
    DeadLettered {
        /// Why.
        reason: DeadReason,
        /// The group that takes such messages; `None`: it was dropped.
        to: Option<GroupName>,
    },
    /// An operator has moved the subscription past it, or has removed it before that was acked.
    Skipped,
    /// Nothing can be said: where it stands here is not known.
    Unknown,
    /// It is set aside until earlier messages of its producer have come, in a group with
    /// `fifo = "producer"`.
    Aside,
}

/// One subscription of a relay, and a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionTrace {
    /// The subscription.
    pub name: SubscriptionName,
    /// What became of the message.
    pub fate: Fate,
    /// Whether the subscription was removed since. One that was evicted had not acked what is said to be
    /// dropped for that; one that somebody has removed, what is said to be skipped. It may have been delivered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// What the origin of a message has been told by a member of the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptTrace {
    /// The member.
    pub member: RelayId,
    /// Whether it has the message on its disk.
    pub durable: bool,
    /// Whether all its subscriptions are done with the message.
    pub consumed: bool,
}

/// What one relay knows of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayTrace {
    /// The relay.
    pub relay: RelayId,
    /// Its clock when it said so.
    pub now: WallTime,
    /// Whether it has the message.
    pub sighting: Sighting,
    /// When and how the message came.
    pub arrived: Option<Arrival>,
    /// When the origin took it, as the message itself says.
    pub accepted: Option<WallTime>,
    /// Whether everybody who was owed it has it on disk, as far as this relay has heard.
    pub released: bool,
    /// What was let go before this time may be forgotten; `None`: nothing was forgotten yet.
    pub forgotten_before: Option<WallTime>,
    /// At the origin: what other members of the group have said.
    pub receipts: Vec<ReceiptTrace>,
    /// The subscriptions that live there.
    pub subscriptions: Vec<SubscriptionTrace>,
    /// Receipts and subscriptions that did not fit into the answer.
    pub left_off: u32,
    /// Of a record of the relays' own: which kind it is; left out by an older relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnKind>,
}

/// A relay that has not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SilentRelay {
    /// The relay.
    pub relay: RelayId,
    /// Whether there is a way to it.
    pub is_reachable: bool,
    /// Subscriptions of the group that live there, as the asked relay knows.
    pub subscriptions: Vec<SubscriptionName>,
}

/// What all relays know of a message that could be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The message.
    pub message: MessageName,
    /// The relay that was asked first.
    pub here: RelayId,
    /// What relays know: the asked one first, the others by name.
    pub relays: Vec<RelayTrace>,
    /// How many more have answered that they know nothing, and have no subscription of the group.
    pub unaware: u32,
    /// Who has not answered, by name.
    pub silent: Vec<SilentRelay>,
    /// Relays, and subscriptions of those that have not answered, that did not fit into the answer.
    pub left_off: u32,
}
