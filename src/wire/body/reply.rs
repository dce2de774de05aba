//! What a relay answers: handles, descriptions, health, accounts.

use serde::{Deserialize, Serialize};

use super::{
    Draining, Forgetting, GroupTree, LinkBooks, LinkInfo, NetworkStatus, Refusal, RefusalCode, RelayInfo,
    TopologyInfo, Whereabouts,
};
use crate::id::{Epoch, GroupName, Index, RelayId, Sequence, StorageId, StreamNumber, SubscriptionName};
use crate::topology::settings::GroupSettings;
use crate::wire::applied::TopologyHead;

/// Where a group ended when the home of a subscription started last.
///
/// A message may be delivered before it is on the home's disk. If the home crashes then, another message may
/// come at its place: what was said of a delivery of the boot before counts below the index only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The boot of the home, which counts its starts.
    pub boot: u64,
    /// What stands at or behind it has its place since this boot.
    pub index: Index,
}

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
        /// The nonce by which messages are named that are put from now on, where it is not the one of
        /// the relay's hello: its data directory was an older image of itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<u64>,
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
        /// Another number than before when the subscription was moved to another place since:
        /// acks from before that are not to be said again. Left out when it is 0.
        #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
        moves: u64,
        /// With which start of its home the places of its messages may mean other messages.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        begun: Option<Begun>,
    },
    /// Groups.
    Groups(Vec<GroupInfo>),
    /// One group.
    Group(Box<GroupInfo>),
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
    /// Links of the relay.
    Links(Vec<LinkInfo>),
    /// Relays that it knows.
    Relays(Vec<RelayInfo>),
    /// The tree of a group.
    GroupTree(Box<GroupTree>),
    /// What is lost with a relay that is forgotten.
    Forgetting(Box<Forgetting>),
    /// How far a relay is emptied.
    Draining(Box<Draining>),
    /// What became of a message.
    Where(Box<Whereabouts>),
    /// A topology.
    Topology(Box<TopologyInfo>),
    /// A topology was applied: it is in force from now on.
    TopologyApplied(TopologyHead),
}

/// Where a queue or a durable subscription lives. They are told in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// The group or queue.
    pub group: GroupName,
    /// The subscription, if it is one.
    pub subscription: Option<SubscriptionName>,
    /// Its home relay.
    pub home: RelayId,
    /// Whether that was forgotten, and has not come back: a queue lives on in name only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
    /// Whether several receivers compete for it; left out where that was not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// Its filter, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
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
    /// The messages that are still there. The relay's own records between them count as none.
    pub messages: u64,
    /// Bytes of the messages that are still there, as encoded.
    pub bytes: u64,
    /// How many subscriptions there are.
    pub subscriptions: u64,
    /// The streams that messages came from.
    pub streams: Vec<StreamInfo>,
    /// What waits for earlier messages of its producer; left out where nothing ever does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub order: Option<OrderInfo>,
    /// How many subscriptions there are at other relays, as far as this one knows; of a queue that
    /// lives elsewhere its one.
    #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
    pub elsewhere: u64,
    /// A queue that is on its way from here or to here; left out of all others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub moves: Option<Box<QueueMoves>>,
    /// Quotas that are used up at other relays, so that the one that is asked refuses puts, a few of
    /// them; left out in lists.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub full: Vec<FullQuota>,
}

/// A quota that is used up at the home of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullQuota {
    /// The home.
    pub home: RelayId,
    /// Who holds back most there.
    pub subscription: SubscriptionName,
    /// Whether it is the quota of the group, and not that of each subscription.
    pub is_of_group: bool,
}

/// Where a queue moves, as far as the relay knows that is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueMoves {
    /// The relay to which it is on its way from here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<RelayId>,
    /// The relay where it still lives, while it is kept here to come from there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<RelayId>,
}

/// The order of producers in a group with `fifo = "producer"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderInfo {
    /// Messages that wait for earlier ones of their producers now.
    pub held: u64,
    /// Messages of producers' sequences that were not waited for any longer, so far.
    pub given_up: u64,
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
    /// Of the backlog, messages set aside until earlier ones of their producers are handed out;
    /// left out when it is 0.
    #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
    pub aside: u64,
    /// How it moves to another home, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Box<MoveInfo>>,
    /// It is kept here to come from this relay, where it still lives; only lists tell of one like that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comes_from: Option<RelayId>,
    /// Other homes of the name, made while relays could not reach one another: they are to be made one. At
    /// most 8 are named.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub also_at: Box<[RelayId]>,
}

/// How far a subscription is on its way to another home. It is served where it was until the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveInfo {
    /// The new home.
    pub to: RelayId,
    /// What is being done.
    pub stage: MoveStage,
    /// Relays without whose word it does not go on; at most 100 of them are named.
    pub waits_for: Vec<RelayId>,
    /// Messages that are to be acked before it leaves.
    pub messages: u64,
    /// Why the new home does not take it, if it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// There is one of its name there, made while the two were apart: they are made one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge: bool,
}

/// The steps of a move, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveStage {
    /// The new home is to make it.
    Preparing,
    /// Every relay of the network is to have the new home's membership on its disk.
    Asking,
    /// What was put before that is still on its way here.
    Gathering,
    /// What is to be delivered here is being acked.
    Consuming,
    /// The new home takes it over. It cannot be taken back.
    HandingOver,
    /// Nobody takes what is to be delivered here: it is copied to the new home.
    Copying,
}

/// What became of messages of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// Acked by the application.
    pub acked: u64,
    /// Not matched by the filter. Of an older relay: and what is in `passed`.
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
    /// Nobody was to get them here: the relays' own records, repeats, what was put before the
    /// subscription began, and what it was given at the home from which it has come.
    #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
    pub passed: u64,
    /// They went with a subscription to its new home. Of an older relay: in `skipped`.
    #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
    pub moved: u64,
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
            + self.passed
            + self.moved
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
    /// How it stands in its network; left out when it has no links.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub network: Option<NetworkStatus>,
}

/// The accounts of a group, or of all. All counts are of messages.
///
/// For the group: `put = accepted + repeats + refused`. For its subscriptions
/// together: `inserted = held + out.total()`. For each link:
/// `received.records = taken + repeats + early + strays`.
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
    /// Of those held, the relays' own, which no receiver gets: the rest are messages.
    #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
    pub held_own: u64,
    /// Of these, what became of the others.
    pub out: Outcomes,
    /// Whether the sums above, and those of the links, are right.
    pub balanced: bool,
    /// Links over which something went; left out when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub links: Vec<LinkBooks>,
}
