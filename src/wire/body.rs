//! Control bodies: requests, answers and notices, in CBOR (RFC 8949).
//!
//! Fields are named, so that a later version can add some; unknown fields are
//! ignored, unknown variants refused. Nothing here is on the hot path.

mod draining;
mod network;
mod reply;
mod topology;
mod trace;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::applied::TopologyEntry;
use crate::id::{
    Epoch, GroupName, Index, ProducerId, ProducerSequence, RelayId, StorageId, StreamNumber,
    SubscriptionName, WallTime,
};
use crate::limits;
use crate::topology::TopologyVersion;
use crate::topology::settings::GroupSettings;

pub use self::draining::{Draining, DrainingKept, DrainingWait, Home};
pub use self::network::{
    Carried, EdgeState, Forgetting, GroupTree, Lag, LinkBooks, LinkCounts, LinkEnd, LinkInfo,
    LostSubscription, NetworkStatus, Reach, RelayInfo, TreeNode,
};
pub use self::reply::{
    Begun, Books, FullQuota, GroupInfo, Location, MoveInfo, MoveStage, OrderInfo, Outcomes, QueueMoves,
    Reply, Status, StreamInfo, SubscriptionInfo,
};
pub use self::topology::{FileStanding, TopologyInfo};
pub use self::trace::{
    Arrival, DeadReason, Fate, MessageName, Over, OwnKind, ReceiptTrace, RelayTrace, Sighting, SilentRelay,
    SubscriptionTrace, Whereabouts,
};

/// The protocol version that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Text that begins every session, so that another protocol is told apart at once.
pub const PROTOCOL_MAGIC: &str = "treecast";

/// Why bytes are not a control body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// CBOR, and not of the expected shape: an unknown variant, a missing key,
    /// a value of another type or one that is not allowed.
    #[error("the control body cannot be understood: {0}")]
    Decode(String),
    /// Not CBOR.
    #[error("the control body is no CBOR: {0}")]
    Syntax(String),
    /// Longer than a body of its kind may be.
    #[error("the control body has {found} bytes; at most {max} are allowed")]
    TooLong {
        /// Bytes it has.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
}

/// Encodes a control body.
///
/// # Panics
/// Never: the types of this module can all be encoded, and a vector takes all bytes.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("control bodies can be encoded into memory");
    bytes.into()
}

/// Decodes a control body.
///
/// # Errors
/// When it is too long, not CBOR, or not of the expected shape.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    decode_up_to(body, limits::CONTROL_BYTES_MAX)
}

/// As [`decode`], with another bound.
pub(super) fn decode_up_to<T: DeserializeOwned>(body: &[u8], max: usize) -> Result<T, BodyError> {
    if body.len() > max {
        return Err(BodyError::TooLong { found: body.len(), max });
    }
    use ciborium::de::Error;
    ciborium::de::from_reader_with_recursion_limit(body, 32).map_err(|error| match error {
        Error::Semantic(_, what) => BodyError::Decode(what),
        Error::Syntax(at) => BodyError::Syntax(format!("byte {at} does not fit")),
        Error::Io(_) => BodyError::Syntax("it ends too early".to_owned()),
        Error::RecursionLimitExceeded => BodyError::Syntax("it is nested too deeply".to_owned()),
    })
}

/// The first frame of an application's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// [`PROTOCOL_MAGIC`].
    pub magic: String,
    /// Highest protocol version that the client speaks.
    pub version: u32,
    /// What the client calls itself, for the operator's lists.
    pub name: String,
}

/// The relay's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayHello {
    /// [`PROTOCOL_MAGIC`].
    pub magic: String,
    /// The version that both will speak.
    pub version: u32,
    /// The relay's name.
    pub relay: RelayId,
    /// The relay's storage and boot.
    pub epoch: Epoch,
    /// Bytes of puts that this session may have without an answer.
    pub put_bytes_max: u64,
    /// The relay's wall clock.
    pub now: WallTime,
}

/// What an application or an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// One that could not be understood, perhaps of a later version: it is
    /// refused like any other. Never sent.
    #[serde(skip)]
    Unknown {
        /// What is wrong with it.
        why: String,
    },
    /// A handle for puts to a group or queue. A group that does not exist is made.
    GroupOpen {
        /// The group.
        group: GroupName,
    },
    /// Makes a group.
    GroupCreate {
        /// The group.
        group: GroupName,
        /// Its settings.
        settings: GroupSettings,
        /// Whether it is a queue: one shared subscription, home here.
        queue: bool,
    },
    /// Changes a group's settings to these.
    GroupSet {
        /// The group.
        group: GroupName,
        /// All settings.
        settings: GroupSettings,
    },
    /// Lists groups by name: those that begin with a prefix, behind a name.
    GroupList {
        /// Only groups whose name begins so.
        prefix: String,
        /// Only groups behind this one, in order of their names.
        after: Option<GroupName>,
        /// At most so many.
        limit: u32,
    },
    /// Tells all of one group.
    GroupShow {
        /// The group.
        group: GroupName,
    },
    /// Removes a group with its backlogs and subscriptions.
    GroupRemove {
        /// The group.
        group: GroupName,
    },
    /// Makes a subscription.
    SubscriptionCreate {
        /// The group; it is made when it does not exist.
        group: GroupName,
        /// The subscription.
        name: SubscriptionName,
        /// Where it begins and how it works.
        spec: SubscriptionSpec,
    },
    /// Lists the subscriptions of a group.
    SubscriptionList {
        /// The group.
        group: GroupName,
        /// Only subscriptions behind this one, in order of their names.
        after: Option<SubscriptionName>,
        /// At most so many.
        limit: u32,
    },
    /// Tells all of one subscription.
    SubscriptionShow {
        /// The group.
        group: GroupName,
        /// The subscription.
        name: SubscriptionName,
    },
    /// Moves a subscription to another place in what is retained.
    SubscriptionSeek {
        /// The group.
        group: GroupName,
        /// The subscription.
        name: SubscriptionName,
        /// Where to.
        start: Start,
    },
    /// Makes another relay the home of a subscription, or tells how far that is. It is answered when
    /// it has begun; [`SubscriptionInfo::moving`] says how it goes on.
    SubscriptionMove {
        /// The group.
        group: GroupName,
        /// The subscription.
        name: SubscriptionName,
        /// The new home; `None`: it is to stay where it is.
        to: Option<RelayId>,
    },
    /// Removes a subscription with its backlog.
    SubscriptionRemove {
        /// The group.
        group: GroupName,
        /// The subscription.
        name: SubscriptionName,
    },
    /// Begins to receive from a subscription: gives a handle.
    Attach {
        /// The group.
        group: GroupName,
        /// The subscription; a queue's one and only may be left out.
        name: Option<SubscriptionName>,
        /// How to make it when it does not exist; `None`: it must exist.
        create: Option<SubscriptionSpec>,
    },
    /// Ends receiving; what is not acked goes back.
    Detach {
        /// The handle.
        handle: u32,
    },
    /// Answers when up to `messages` of what is there now have been sent, without waiting for more.
    Poll {
        /// The handle.
        handle: u32,
        /// At most so many.
        messages: u64,
    },
    /// Answers when all that this session said of deliveries before is durable, so that
    /// nothing of it comes again.
    Sync,
    /// Where a subscription or queue lives.
    Locate {
        /// A group's or queue's name, or how names begin.
        group: String,
        /// Whether all groups are meant whose name begins so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        prefix: bool,
        /// Only what comes behind this one, in the order in which they are told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Box<Location>>,
    },
    /// The relay's health.
    Status,
    /// Lists the links of the relay.
    LinkList {
        /// Only links to neighbours behind this one, in order of their names.
        after: Option<RelayId>,
        /// At most so many.
        limit: u32,
    },
    /// Lists all relays that the relay knows of.
    RelayList {
        /// Only relays behind this one, in order of their names.
        after: Option<RelayId>,
        /// At most so many.
        limit: u32,
    },
    /// Tells which links the messages of a group take.
    GroupTree {
        /// The group.
        group: GroupName,
        /// Whose tree, where each origin has one; `None`: the relay chooses.
        origin: Option<RelayId>,
        /// Where in the list to begin.
        from: u32,
        /// At most so many relays.
        limit: u32,
    },
    /// The accounts: in = out + held + expired + evicted + refused.
    Books {
        /// Only this group; `None`: all of them added up.
        group: Option<GroupName>,
    },
    /// A relay never comes back.
    RelayForget {
        /// The relay.
        relay: RelayId,
        /// Whether it is to be forgotten; if not, it is only told what would be lost.
        confirmed: bool,
    },
    /// The relay is to be emptied, so that it may go; asked again, it tells how far it is.
    RelayDrain {
        /// Whether subscriptions and queues that live there are removed with their backlogs.
        abandon: bool,
    },
    /// What became of a message.
    Where {
        /// The message.
        message: MessageName,
        /// Whether only the asked relay is to say what it knows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        local: bool,
        /// Milliseconds that other relays may take; `None`: [`limits::WHERE_MS_DEFAULT`], and at
        /// most [`limits::WHERE_MS_MAX`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
    },
    /// Tells a topology that the relay has.
    TopologyShow {
        /// Which one; `None`: the one in force.
        version: Option<u64>,
        /// Its hash; `None`: of those of that version the greatest, which others were overtaken by.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<u64>,
    },
    /// Makes a text the topology of the whole network.
    TopologyApply {
        /// The text of the file.
        text: String,
        /// The one in force as far as is known to who asks: with another one it is refused.
        base: Option<TopologyVersion>,
        /// It is the text of this earlier one again.
        restores: Option<u64>,
    },
    /// A relay that is no neighbour wants to know the topology in force, to find its neighbours in it.
    TopologyJoin {
        /// Its name.
        relay: RelayId,
        /// Its data directory.
        storage: StorageId,
    },
    /// A relay that is no neighbour knows a newer topology.
    TopologyTell {
        /// It.
        entry: Box<TopologyEntry>,
    },
    /// As [`Request::RelayDrain`], of the relay of this name, wherever in the network it is.
    RelayDrainNamed {
        /// The relay.
        relay: RelayId,
        /// Whether subscriptions and queues that live there are removed with their backlogs.
        abandon: bool,
    },
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Start {
    /// With the next message that is accepted.
    #[default]
    Now,
    /// With the oldest message that is still there.
    Beginning,
    /// With the first message that arrived at or after this time.
    Time(WallTime),
    /// With this insertion index of the home relay.
    Index(Index),
}

/// How a subscription is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct SubscriptionSpec {
    /// Where it begins.
    pub start: Start,
    /// Whether several receivers compete for one backlog.
    pub shared: bool,
    /// Which subjects it gets; `None`: every message. `+` stands for one level, a last `#` for the rest.
    pub filter: Option<String>,
    /// Messages delivered and not yet acked, at most; `None`: [`limits::WINDOW_DEFAULT`].
    pub window: Option<u32>,
    /// Who must know of it before it is answered that it was made.
    #[serde(default, skip_serializing_if = "SubscribeLevel::is_default")]
    pub level: SubscribeLevel,
    /// Milliseconds that they may take; `None`: [`limits::CONFIRM_MS_DEFAULT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
}

/// Who must know of a new subscription before it is answered that it was made: every message
/// that such a relay accepts afterwards reaches the subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscribeLevel {
    /// The relay that was asked.
    Local,
    /// All relays that can be reached from it. One that can be reached no more while the answer
    /// is waited for is not waited for.
    #[default]
    Reachable,
    /// All relays of the network that are known, reachable or not.
    Strict,
}

impl SubscribeLevel {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of reason.
    pub code: RefusalCode,
    /// What was wrong, with the value, and what would have been right.
    pub message: String,
    /// The relay is being drained: whoever waits for it waits in vain, and is to go to another one.
    /// Older relays do not say it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// Kinds of reasons. Each has an exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RefusalCode {
    /// No such group, queue, subscription or handle.
    NotFound,
    /// It exists already, and differently.
    Exists,
    /// The request has no meaning.
    Invalid,
    /// A message is larger than the group takes.
    TooLarge,
    /// A quota is used up; it passes when messages are acked.
    Quota,
    /// The disk is full; it passes when there is room.
    NoRoom,
    /// The relay is not ready for it yet, or cannot reach the one at which it lives.
    NotReady,
    /// What was to be waited for did not come in time; it may still come.
    Deadline,
    /// A bound of the relay is reached.
    Limit,
    /// The producer was forgotten, its retry is too old.
    ProducerForgotten,
    /// The group was removed.
    Removed,
    /// The session may not do this.
    NotPermitted,
    /// The relay is stopping.
    Stopping,
}

impl Refusal {
    /// A refusal with a reason for people.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), leaving: false }
    }
}

/// What the relay answers to a request.
pub type Answer = Result<Reply, Refusal>;

/// Something the relay says unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Names a stream before the first delivery from it in this session.
    Stream {
        /// The number that deliveries use.
        number: StreamNumber,
        /// The relay at which the messages were put.
        origin: RelayId,
        /// The boot of that relay.
        epoch: Epoch,
    },
    /// A put was not taken.
    PutRefused {
        /// The number of the put.
        put: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Messages that a subscription will not get. In order with its deliveries;
    /// to be acked like them, with the same range.
    Gap {
        /// The handle of the subscription.
        handle: u32,
        /// The first insertion index.
        from: Index,
        /// The insertion index after the last.
        to: Index,
        /// Why.
        cause: GapCause,
    },
    /// The subscription is gone; the handle means nothing any more.
    Detached {
        /// The handle.
        handle: u32,
        /// Why.
        refusal: Refusal,
    },
    /// In a group with `fifo = "producer"`: messages are delivered next that had to wait for
    /// earlier ones of their producer, and those have not come. In order with its deliveries; not
    /// to be acked.
    Unordered {
        /// The handle of the subscription.
        handle: u32,
        /// The first insertion index of what is delivered.
        from: Index,
        /// The insertion index after the last.
        to: Index,
        /// What has not come. It may come later, and is delivered then. `None`: it is not known
        /// any more whose messages these are and what they have waited for.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        missing: Option<Missing>,
        /// Why they do not wait any longer.
        cause: UnorderedCause,
    },
}

/// A part of a producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The producer.
    pub producer: ProducerId,
    /// The first one.
    pub from: ProducerSequence,
    /// The one after the last.
    pub to: ProducerSequence,
}

/// Why messages are not held back any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UnorderedCause {
    /// They have waited for the group's `producer_hold`.
    Waited,
    /// More would be held back, or for longer, than a relay remembers.
    Bound,
}

/// Why a subscription does not get some messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GapCause {
    /// The subscription's quota: the oldest were dropped.
    SubscriptionQuota,
    /// The group's `max_age`, `max_bytes` or `max_count`.
    Retention,
    /// They were damaged on disk.
    Damaged,
    /// They were past their time to live.
    Expired,
    /// The subscription was over its quota and was removed, as the group's
    /// policy says; then it was made again.
    Evicted,
    /// Nobody knows whether there were any: the end of an origin's log was
    /// damaged and cut. What may be missing stood before this.
    Uncertain,
}

/// The last frame of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Why the session ends.
    pub reason: String,
}

#[cfg(test)]
mod tests;
