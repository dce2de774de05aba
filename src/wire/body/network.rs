//! What a relay answers of the network: its links, the relays it knows, the tree of a group.

use serde::{Deserialize, Serialize};

use crate::id::{GroupName, LinkId, RelayId, StorageId, SubscriptionName};
use crate::topology::TopologyVersion;
use crate::topology::settings::TreeKind;
use crate::wire::applied::TopologyHead;

/// What has gone one way over a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Bytes: of runs with their headers, and, where a whole link is counted, of what relays say
    /// to one another, about.
    pub bytes: u64,
    /// Runs.
    pub runs: u64,
    /// Records in them, the relays' own among them.
    pub records: u64,
}

/// The accounts of a link since the relay was started, for one group or for all.
///
/// `received.records = taken + repeats + early + strays`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounts {
    /// Handed to the link's writer.
    pub sent: Carried,
    /// What has come.
    pub received: Carried,
    /// Records of these that were appended.
    pub taken: u64,
    /// Records of these that were here already: dropped.
    pub repeats: u64,
    /// Records of these before which something was missing: dropped, and asked for again.
    pub early: u64,
    /// Records of these whose group or stream is not known: dropped.
    pub strays: u64,
}

impl LinkCounts {
    /// Whether every record that came is accounted for.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.received.records == self.taken + self.repeats + self.early + self.strays
    }
}

/// The accounts of one link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkBooks {
    /// The relay at the other end.
    pub neighbour: RelayId,
    /// Of the group that was asked for, or of all.
    pub counts: LinkCounts,
}

/// All of one link of the asked relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// Its number there.
    pub link: LinkId,
    /// The relay at the other end.
    pub neighbour: RelayId,
    /// Where that relay listens, as configured.
    pub address: Option<String>,
    /// What it costs.
    pub cost: u32,
    /// Whether it is up.
    pub is_up: bool,
    /// Milliseconds that it has been up, or down.
    pub for_ms: u64,
    /// How often it went down since the relay was started.
    pub downs: u64,
    /// Why it went down the last time.
    pub last_down: Option<String>,
    /// Why the last attempt to connect failed, while it is down.
    pub last_attempt: Option<String>,
    /// The round-trip time in microseconds, smoothed as RFC 6298 does; while it is up and measured.
    pub rtt_us: Option<u64>,
    /// How much the round-trip time varies, in microseconds.
    pub rtt_variation_us: Option<u64>,
    /// Bytes that wait for the link's writer, or are with it.
    pub waiting_bytes: u64,
    /// Bytes of messages, about, that wait for their turn or the link's rate before they are given to its writer.
    #[serde(default, skip_serializing_if = "crate::wire::is_zero")]
    pub owed_bytes: u64,
    /// Bytes among those sent that did not go over it, since runs were compressed for it.
    #[serde(default, skip_serializing_if = "crate::wire::is_zero")]
    pub packed_bytes: u64,
    /// What it has carried.
    pub counts: LinkCounts,
    /// Groups whose trees use it.
    pub groups: u64,
}

/// Whether a relay can be reached from the asked one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// It is the asked one.
    Here,
    /// Over this neighbour, for so much in all.
    Over {
        /// The neighbour.
        next: RelayId,
        /// The sum of the costs of the links.
        distance: u32,
    },
    /// It cannot be reached, and this relay keeps messages for it.
    KeptBy(RelayId),
    /// It cannot be reached, and no relay that can keeps for it: none has a link to it, or none of those passes on.
    Lost,
}

/// One end of a link, on the map of the asked relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEnd {
    /// The relay at the other end.
    pub neighbour: RelayId,
    /// What it costs, or would cost.
    pub cost: u32,
    /// Whether both ends say that it is up.
    pub is_up: bool,
}

/// One relay, as the asked relay knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayInfo {
    /// Its name.
    pub relay: RelayId,
    /// Whether it can be reached, and how.
    pub reach: Reach,
    /// Whether it passes on what it is no member of.
    pub transit: bool,
    /// The most neighbours that it sends to in one tree.
    pub max_children: Option<u32>,
    /// Whether it is far behind, and spared where another way exists.
    pub catching_up: bool,
    /// Its data directory; `None`: it has never said anything of itself.
    pub storage: Option<StorageId>,
    /// The boot in which it last said something of itself. A storage that was wiped counts on
    /// from the one before.
    pub boot: Option<u64>,
    /// How many of its links are up.
    pub links_up: u32,
    /// How many links it has.
    pub links: u32,
    /// The links, in order of the neighbours' names; some are left out of very many.
    pub ends: Vec<LinkEnd>,
    /// The applied topology that it has on its disk and goes by, as it has said itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub topology: Option<TopologyVersion>,
    /// Whether it is being drained, and takes nothing new.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub draining: bool,
}

/// How far somebody is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// Messages that were not sent yet.
    pub messages: u64,
    /// Bytes of them, about.
    pub bytes: u64,
    /// Milliseconds since the first of them arrived, about.
    pub ms: u64,
}

/// What is known of the link between a relay of a tree and the next one towards the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EdgeState {
    /// Up.
    Up,
    /// Up, and both ends are about to find out what the other one lacks. Known at its ends only.
    Comparing,
    /// There is none: the relay is cut off, and `up` keeps for it.
    Down,
}

/// One relay of a group's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeNode {
    /// Its name.
    pub relay: RelayId,
    /// Where in the list the next relay towards the root stands, or the one that keeps for it.
    /// `None`: the root, or nobody keeps for it.
    pub up: Option<u32>,
    /// The link to that relay.
    pub state: EdgeState,
    /// What that link costs, if there is one.
    pub cost: Option<u32>,
    /// Whether it has a durable subscription.
    pub member: bool,
    /// Whether it puts messages.
    pub origin: bool,
    /// How far the asked relay is with sending to its neighbour over that link, if it is at one
    /// of its ends.
    pub lag: Option<Lag>,
    /// Records that were put at the asked relay and that this member has not confirmed to have
    /// on its disk; if it is owed some of them.
    pub unconfirmed: Option<u64>,
    /// The most children that it is to have, where it has more: they could be reached in no other
    /// way that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_children: Option<u32>,
}

/// The tree of a group, as the asked relay has planned it: the whole of it, or a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTree {
    /// The group.
    pub group: GroupName,
    /// The asked relay.
    pub here: RelayId,
    /// One tree for all origins, or one each.
    pub kind: TreeKind,
    /// Whose tree it is, where each origin has one.
    pub origin: Option<RelayId>,
    /// How many trees the group has.
    pub trees: u64,
    /// The sum of the costs of all links.
    pub cost: u64,
    /// What is kept at the asked relay until all members have it.
    pub held: Lag,
    /// Another number: it is another tree than that of the page before.
    pub fingerprint: u64,
    /// How many relays the whole list has.
    pub relays: u32,
    /// The page: parents before their children, then who is cut off.
    pub nodes: Vec<TreeNode>,
}

/// How a relay stands in its network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Links that are up.
    pub links_up: u64,
    /// Links that are configured.
    pub links: u64,
    /// Relays that can be reached, the asked one among them.
    pub relays_reachable: u64,
    /// Relays that are known.
    pub relays: u64,
    /// Whether links are encrypted and both ends prove who they are.
    pub protected: bool,
    /// The topology that was applied last; left out before one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub topology: Option<TopologyHead>,
}

/// What is lost with a relay that never comes back, as far as the asked one knows. Each list has
/// the first 500.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgetting {
    /// The relay.
    pub relay: RelayId,
    /// Whether it is forgotten now.
    pub done: bool,
    /// Subscriptions that live there: each is lost, with its backlog.
    pub subscriptions: Vec<LostSubscription>,
    /// How many.
    pub subscription_count: u64,
    /// Queues that live there: each is lost, with its backlog.
    pub queues: Vec<GroupName>,
    /// How many.
    pub queue_count: u64,
    /// Groups into which messages were put there that nobody else may have.
    pub origins: Vec<GroupName>,
    /// How many.
    pub origin_count: u64,
}

impl Forgetting {
    /// Nothing so far.
    #[must_use]
    pub fn new(relay: RelayId, done: bool) -> Self {
        Self {
            relay,
            done,
            subscriptions: Vec::new(),
            subscription_count: 0,
            queues: Vec::new(),
            queue_count: 0,
            origins: Vec::new(),
            origin_count: 0,
        }
    }
}

/// A subscription that is lost with its home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostSubscription {
    /// The group.
    pub group: GroupName,
    /// Its name.
    pub name: SubscriptionName,
    /// Records of the group that the asked relay keeps and of which it does not know whether they
    /// have come there.
    pub kept: u64,
}
