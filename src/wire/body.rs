//! Control bodies: requests, answers and notices, in CBOR (RFC 8949).
//!
//! Fields are named, so that a later version can add some; unknown fields are
//! ignored, unknown variants refused. Nothing here is on the hot path.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::{
    Epoch, GroupName, Index, RelayId, Sequence, StorageId, StreamNumber, SubscriptionName, WallTime,
};
use crate::limits;
use crate::topology::settings::GroupSettings;

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
    /// Longer than [`limits::CONTROL_BYTES_MAX`].
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
    if body.len() > limits::CONTROL_BYTES_MAX {
        return Err(BodyError::TooLong { found: body.len(), max: limits::CONTROL_BYTES_MAX });
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
        /// A group's or queue's name.
        group: GroupName,
    },
    /// The relay's health.
    Status,
    /// The accounts: in = out + held + expired + evicted + refused.
    Books {
        /// Only this group; `None`: all of them added up.
        group: Option<GroupName>,
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
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind of reason.
    pub code: RefusalCode,
    /// What was wrong, with the value, and what would have been right.
    pub message: String,
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
    /// The relay is not ready for it yet.
    NotReady,
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
        Self { code, message: message.into() }
    }
}

/// What the relay answers to a request.
pub type Answer = Result<Reply, Refusal>;

/// What the relay answers when it did what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done, durably where it changed something.
    Done,
    /// A handle for a group.
    GroupHandle {
        /// The handle.
        handle: u32,
        /// Largest message, in bytes of payload.
        message_bytes_max: u64,
    },
    /// A handle for a subscription.
    SubscriptionHandle {
        /// The handle.
        handle: u32,
        /// The subscription that was meant.
        name: SubscriptionName,
        /// Whether it was made just now.
        created: bool,
        /// Messages delivered and not yet acked, at most.
        window: u32,
    },
    /// Groups.
    Groups(Vec<GroupInfo>),
    /// One group.
    Group(GroupInfo),
    /// Subscriptions.
    Subscriptions(Vec<SubscriptionInfo>),
    /// One subscription.
    Subscription(SubscriptionInfo),
    /// How many messages a poll has sent.
    Polled {
        /// So many.
        messages: u64,
    },
    /// Where a name lives.
    Located(Vec<Location>),
    /// The relay's health.
    Status(Box<Status>),
    /// The accounts.
    Books(Box<Books>),
}

/// Where a queue or a durable subscription lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The group or queue.
    pub group: GroupName,
    /// The subscription, if it is one.
    pub subscription: Option<SubscriptionName>,
    /// Its home relay.
    pub home: RelayId,
}

/// All of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its name.
    pub name: GroupName,
    /// Whether it is a queue.
    pub queue: bool,
    /// Its settings.
    pub settings: GroupSettings,
    /// The oldest insertion index that is still there.
    pub low: Index,
    /// The insertion index of the next message.
    pub next: Index,
    /// Bytes of the messages that are still there, as encoded.
    pub bytes: u64,
    /// How many subscriptions there are.
    pub subscriptions: u64,
    /// The streams that messages came from.
    pub streams: Vec<StreamInfo>,
}

/// One stream of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// The relay's number for it.
    pub number: StreamNumber,
    /// The relay at which the messages were put.
    pub origin: RelayId,
    /// The boot of that relay.
    pub epoch: Epoch,
    /// The last sequence, durable.
    pub last: Sequence,
    /// Whether it has ended.
    pub sealed: bool,
}

/// All of one subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionInfo {
    /// The group.
    pub group: GroupName,
    /// Its name.
    pub name: SubscriptionName,
    /// Its home relay.
    pub home: RelayId,
    /// Whether several receivers compete.
    pub shared: bool,
    /// Which subjects it gets.
    pub filter: Option<String>,
    /// Everything below is done.
    pub floor: Index,
    /// The next message to deliver for the first time.
    pub next: Index,
    /// Messages between the floor and the end of the group that are not acked.
    pub backlog: u64,
    /// Messages delivered and not yet acked.
    pub in_flight: u64,
    /// Messages nacked, waiting to be delivered again.
    pub parked: u64,
    /// Receivers attached now.
    pub receivers: u32,
    /// Messages delivered and not yet acked, at most.
    pub window: u32,
    /// Messages that were inserted into it.
    pub inserted: u64,
    /// What became of them.
    pub out: Outcomes,
}

/// What became of messages of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Acked by the application.
    pub acked: u64,
    /// Not matched by the filter, or the relay's own records.
    pub filtered: u64,
    /// Past their time to live.
    pub expired: u64,
    /// Dropped by a quota or a retention limit; a GAP told so.
    pub evicted: u64,
    /// Moved to the dead-letter group.
    pub dead_lettered: u64,
    /// Skipped by a seek of the operator.
    pub skipped: u64,
    /// Lost to damage on disk; a GAP told so.
    pub lost: u64,
}

impl Outcomes {
    /// All of them added up.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.acked
            + self.filtered
            + self.expired
            + self.evicted
            + self.dead_lettered
            + self.skipped
            + self.lost
    }
}

/// The relay's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The relay's name.
    pub relay: RelayId,
    /// The version of the program.
    pub version: String,
    /// The data directory's identity.
    pub storage: StorageId,
    /// How often it was booted.
    pub boot: u64,
    /// Milliseconds since it was started.
    pub uptime_ms: u64,
    /// Whether puts are taken; if not, why.
    pub accepting: Result<(), String>,
    /// Things the operator should know.
    pub warnings: Vec<String>,
    /// Groups and queues.
    pub groups: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Sessions of applications.
    pub sessions: u64,
    /// The log.
    pub space: crate::log::Space,
    /// Bytes of memory that the process has resident.
    pub resident_bytes: u64,
    /// Microseconds of processor time that the process has used.
    pub cpu_us: u64,
}

/// The accounts of a group, or of all. All counts are of messages.
///
/// For the group: `put = accepted + repeats + refused`. For its subscriptions
/// together: `inserted = held + out.total()`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Messages that arrived in puts.
    pub put: u64,
    /// Of these, taken and durable.
    pub accepted: u64,
    /// Of these, repeats of messages taken before.
    pub repeats: u64,
    /// Of these, refused, by reason.
    pub refused: Vec<(RefusalCode, u64)>,
    /// Of these, on their way to the disk now.
    pub unsynced: u64,
    /// Records that were inserted into subscriptions' backlogs.
    pub inserted: u64,
    /// Of these, in backlogs now.
    pub held: u64,
    /// Of these, what became of the others.
    pub out: Outcomes,
    /// Whether the two sums above are right.
    pub balanced: bool,
}

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
}

/// The last frame of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Why the session ends.
    pub reason: String,
}
