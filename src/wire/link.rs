//! What neighbours say to one another over a link.
//!
//! A link joins two relays and is symmetrical. Entries (link states, memberships, origins) are
//! flooded: whoever learns a newer version tells all its other neighbours. Streams are compared
//! by vectors ([`LinkMessage::Seen`]) when two relays become neighbours in a group's tree, and
//! from then on each sends what the other lacks, run by run.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use super::full::{Full, FullVersion, Quotas};
pub use super::pull::{Holds, Pull, Pulled};
pub use crate::routing::{Advertised, LinkState, Version};

use super::applied::{TopologyEntry, TopologyHead};
use super::body::{BodyError, MessageName, RelayTrace, SubscriptionSpec};
use super::circuit::{CircuitFrame, CircuitHead, CircuitSays};
use super::frame::{DELIVER_HEAD_BYTES, DeliverHead, FRAME_HEADER_BYTES};
use super::moving::{CopyHead, MoveFrame};
use super::run::Run;
use crate::id::{Epoch, GroupName, RelayId, Sequence, StorageId, StreamNumber, SubscriptionName, WallTime};
use crate::limits;
use crate::topology::settings::GroupSettings;

/// The version of what relays say to one another that this code speaks.
pub const LINK_VERSION: u32 = 1;

/// Text that begins every link, so that an application is told apart at once.
pub const LINK_MAGIC: &str = "treecast-link";

/// What a relay says in its hello when it takes a LOSS that stands in place of several records.
pub const LOSSES: &str = "losses";

/// The first frame of a link, in both directions. The relay with the smaller name connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// [`LINK_MAGIC`].
    pub magic: String,
    /// From the one who connects the highest version that it speaks; in the answer the one that
    /// both will speak.
    pub version: u32,
    /// Who says it.
    pub relay: RelayId,
    /// Its storage and boot.
    pub epoch: Epoch,
    /// Whom it takes the other end to be.
    pub to: RelayId,
    /// Milliseconds between two of its pings: silent for longer than a few of them, it counts as dead.
    pub hello_ms: u32,
    /// What it takes beyond what all take that speak this version, such as
    /// [`super::packed::LZ4`]. What the other side does not know means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<String>,
}

impl LinkHello {
    /// Whether it takes a LOSS that stands in place of several records.
    #[must_use]
    pub fn takes_losses(&self) -> bool {
        self.takes.iter().any(|what| what == LOSSES)
    }
}

/// A group in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupId {
    /// Its name.
    pub name: GroupName,
    /// How often it was removed and made again before.
    pub incarnation: u32,
}

/// Whether a relay has a durable subscription on a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The group.
    pub group: GroupId,
    /// The relay.
    pub relay: RelayId,
    /// The newest wins.
    pub version: Version,
    /// Whether it is a member now.
    pub member: bool,
}

/// Whether a relay puts messages into a group: it is then part of the group's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The group.
    pub group: GroupId,
    /// The relay.
    pub relay: RelayId,
    /// The newest wins.
    pub version: Version,
    /// Whether it is active now.
    pub active: bool,
}

/// How a group is to work, and the home of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEntry {
    /// The group.
    pub group: GroupId,
    /// The newest wins, whoever says it.
    pub version: Version,
    /// Its settings.
    pub settings: GroupSettings,
    /// If it is a queue: the relay that hands out its messages.
    pub home: Option<RelayId>,
}

/// Where a durable subscription lives, and how it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameEntry {
    /// The group.
    pub group: GroupId,
    /// The subscription.
    pub name: SubscriptionName,
    /// Its home.
    pub home: RelayId,
    /// The newest wins.
    pub version: Version,
    /// How it works; `None`: it was removed.
    pub spec: Option<SubscriptionSpec>,
}

/// A relay never comes back: an operator has said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// The relay.
    pub relay: RelayId,
    /// What it has said of itself in a version with a lower counter counts no more; the newest wins.
    pub version: Version,
    /// The relay that the operator has told.
    pub by: RelayId,
    /// When that was there, by its wall clock.
    pub at: WallTime,
}

/// Something that every relay of the network should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "facts are few at a time, and the settings of a group are large"
)]
pub enum Fact {
    /// Links of a relay.
    LinkState(LinkState),
    /// A membership.
    Membership(Membership),
    /// An active origin.
    Origin(Origin),
    /// How a group works.
    Group(GroupEntry),
    /// A group was removed: this life of it and all before.
    Removed(GroupId),
    /// Where a subscription lives.
    Name(NameEntry),
    /// A relay never comes back.
    Forgotten(Forgotten),
    /// What the network goes by.
    Topology(Box<TopologyEntry>),
}

impl Fact {
    /// Which topology it is, if it is one.
    #[must_use]
    pub fn topology(&self) -> Option<&TopologyHead> {
        if let Self::Topology(entry) = self { Some(&entry.head) } else { None }
    }

    /// The relay that says it of itself, in which version, and whether it is so; `None`: it is about
    /// no relay alone.
    #[must_use]
    pub fn of_itself(&self) -> Option<(&RelayId, Version, bool)> {
        match self {
            Self::LinkState(state) => Some((&state.relay, state.version, true)),
            Self::Membership(membership) => Some((&membership.relay, membership.version, membership.member)),
            Self::Origin(origin) => Some((&origin.relay, origin.version, origin.active)),
            Self::Name(entry) => Some((&entry.home, entry.version, entry.spec.is_some())),
            Self::Group(_) | Self::Removed(_) | Self::Forgotten(_) | Self::Topology(_) => None,
        }
    }

    /// Bytes of the text in it that makes it much longer than others.
    fn text_bytes(&self) -> usize {
        match self {
            Self::Topology(entry) => entry.text.len(),
            Self::LinkState(_)
            | Self::Membership(_)
            | Self::Origin(_)
            | Self::Group(_)
            | Self::Removed(_)
            | Self::Name(_)
            | Self::Forgotten(_) => 0,
        }
    }
}

/// Why a relay says how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeenWhy {
    /// The link has become part of the group's tree: the other side is to say the same of itself.
    Asks,
    /// The other side has asked. Of two that ask at once each has said it with its question
    /// already, and what was sent since is not in it.
    Answers,
    /// Something that came does not follow on what is here.
    Lacks,
}

/// How far a relay has a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSeen {
    /// The origin relay.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// The last sequence; everything from the base on is there.
    pub seen: Sequence,
    /// Nobody needs anything up to here any more, as far as is known: the origin says so.
    pub released: Sequence,
    /// The origin wants to hear of everything up to here, as far as is known.
    pub wanted: Sequence,
}

/// How far a member has a stream on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The group.
    pub group: GroupId,
    /// The origin relay of the stream: the receipt is on its way there.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// Who has it: a member, or a relay that would let it go.
    pub member: RelayId,
    /// The disk it is on.
    pub storage: StorageId,
    /// The last sequence that is durable there.
    pub durable: Sequence,
    /// The last sequence that all its subscriptions are done with, durably, or one before it.
    pub consumed: Sequence,
    /// Links that it may still take: while relays see different maps it could go round for ever.
    pub hops: u16,
    /// Which quotas are used up at the member; `None`: nothing is said of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub full: Option<Box<Full>>,
    /// How far the origin has said that the stream is released, for an origin that has started again since
    /// and may have forgotten it; `None`: nothing is said of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub released: Option<Sequence>,
    /// Everything is done with, durably, that subscriptions have brought along to the member of which it has
    /// said up to this version that they live there; `None`: nothing is said of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub brought: Option<u64>,
    /// What stands before this is not on that disk and never was; `None`: everything is, or was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub began: Option<Sequence>,
}

/// What an origin says of its stream from time to time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The group.
    pub group: GroupId,
    /// The origin relay.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// Every member has everything up to here on its disk.
    pub released: Sequence,
    /// Puts up to here wait: whoever has the stream says at once how far it has come.
    pub wanted: Sequence,
    /// Who is told, if it is an answer to one that did not know; `None`: everybody along the tree.
    pub to: Option<RelayId>,
    /// Links that an answer may still take.
    pub hops: u16,
    /// In an answer: up to which version the origin has heard from the member which quotas are used up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub heard: Option<FullVersion>,
}

/// A stream is named before its first run on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNamed {
    /// The number that runs will use, of the sender.
    pub number: StreamNumber,
    /// The group.
    pub group: GroupId,
    /// The origin relay.
    pub origin: RelayId,
    /// The boot of the origin.
    pub epoch: Epoch,
    /// The first sequence that will be sent to a neighbour that has less: what is before it was
    /// released.
    pub base: Sequence,
    /// The hash over everything before the base.
    pub chain: u64,
    /// Everybody who is owed it has everything up to here, as far as the sender knows.
    pub released: Sequence,
}

/// A relay wants to know when others have a membership of it on their disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The group.
    pub group: GroupId,
    /// Who is a member, and asks.
    pub home: RelayId,
    /// The version of its membership; a later one will do.
    pub version: Version,
    /// Who is asked.
    pub to: Vec<RelayId>,
    /// Links that it may still take.
    pub hops: u16,
}

/// A relay has a membership on its disk: what it accepts from now on is owed to the member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The group.
    pub group: GroupId,
    /// Who is a member, and has asked.
    pub home: RelayId,
    /// The version of the membership that it asked for.
    pub version: Version,
    /// Who has it.
    pub by: RelayId,
    /// Links that it may still take.
    pub hops: u16,
}

/// Epochs of an origin of which nobody needs anything any more, and never will: each is sealed, and
/// everybody who is owed it has all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The group.
    pub group: GroupId,
    /// The origin relay.
    pub origin: RelayId,
    /// The disk on which it had them.
    pub storage: StorageId,
    /// Every epoch of it up to the one with this counter.
    pub through: u64,
    /// Who is told, if it is an answer to one that did not know; `None`: everybody along the tree.
    pub to: Option<RelayId>,
    /// Links that an answer may still take.
    pub hops: u16,
}

/// Somebody wants to know what became of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskWhere {
    /// The question, by the relay that asks: the answers carry it.
    pub question: u64,
    /// The relay that asks.
    pub asker: RelayId,
    /// The message.
    pub message: MessageName,
    /// Who is asked.
    pub to: Vec<RelayId>,
    /// Links that it may still take.
    pub hops: u16,
}

/// What a relay knows of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldWhere {
    /// The question, of the relay that asks.
    pub question: u64,
    /// The relay that asks.
    pub asker: RelayId,
    /// What is known, and who says it.
    pub trace: Box<RelayTrace>,
    /// Links that it may still take.
    pub hops: u16,
}

/// One thing that a neighbour says. All but runs, copied ones too, and deliveries travel as CBOR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkMessage {
    /// News; or what the other side may not know, when the link came up.
    Facts(Vec<Fact>),
    /// All that was known has been said: the table of memberships is whole.
    FactsEnd,
    /// How far every stream of a group is there. The other side sends what is missing.
    Seen {
        /// The group.
        group: GroupId,
        /// Its streams; one that is not in the list is not known.
        streams: Vec<StreamSeen>,
        /// Why it is said.
        why: SeenWhy,
    },
    /// Names a stream.
    Stream(StreamNamed),
    /// On the way to the origins that they are for.
    Receipts(Vec<Receipt>),
    /// Asks for records that no neighbour in the tree has.
    Pull(Pull),
    /// Answers it.
    Pulled(Pulled),
    /// On the way to a member that may lack it.
    Holds(Vec<Holds>),
    /// The link has come up: a hash over all facts that are known.
    Digest(u64),
    /// The other side's hash is another one: a hash for each part of the table. It sends the facts
    /// of the parts that differ, and [`LinkMessage::FactsEnd`].
    Buckets(Vec<u64>),
    /// Along the trees, from the origins.
    Released(Vec<Released>),
    /// On the way to those who are asked.
    Ask(Ask),
    /// On the way to the one who has asked.
    Confirmed(Confirmed),
    /// Along the trees, from the origins: streams that are to be forgotten.
    Finished(Vec<Finished>),
    /// Records of a stream. They have a frame of their own ([`crate::wire::frame::LinkRunHead`]).
    #[serde(skip)]
    Run {
        /// The stream, as the sender has named it.
        stream: StreamNumber,
        /// How old it was when it was sent, in milliseconds, over all relays before.
        age_ms: u32,
        /// Header and records.
        run: Run,
    },
    /// On the way to those who are asked.
    AskWhere(AskWhere),
    /// On the way to the one who has asked.
    ToldWhere(ToldWhere),
    /// On the way to one end of a circuit, of which both may be elsewhere.
    Circuit(Box<CircuitFrame>),
    /// A delivery over a circuit, on its way to the opener. They have a frame of their own
    /// ([`crate::wire::frame::LinkDeliverHead`]).
    #[serde(skip)]
    Deliver {
        /// Which circuit, and where it is on its way.
        head: Box<CircuitHead>,
        /// What the home says of the records.
        deliver: DeliverHead,
        /// The records.
        records: Bytes,
    },
    /// On the way to one of the two homes of a subscription that is moved, or to a relay that is asked.
    Move(Box<MoveFrame>),
    /// A run on its way to the new home of a subscription that is moved. They have a frame of their own
    /// ([`crate::wire::frame::LinkCopyHead`]).
    #[serde(skip)]
    Copy {
        /// Which move, and what of the old home's log it is.
        head: Box<CopyHead>,
        /// Header and records.
        run: Run,
    },
}

impl LinkMessage {
    /// Decodes the body of a link frame. Never gives a [`LinkMessage::Run`], [`LinkMessage::Deliver`] or
    /// [`LinkMessage::Copy`].
    ///
    /// # Errors
    /// When it is too long, not CBOR, not of the expected shape, or counts beyond
    /// [`limits::SEQUENCE_MAX`].
    pub fn decode(body: &[u8]) -> Result<Self, BodyError> {
        let message: Self = super::body::decode_up_to(body, limits::LINK_CONTROL_BYTES_MAX)?;
        let sequences = message.sequences().map(|sequence| sequence.0);
        match sequences.chain(message.versions().map(|version| version.counter)).max() {
            Some(found) if found > limits::SEQUENCE_MAX => {
                Err(BodyError::Decode(format!("{found} is no sequence and no version: nobody counts so far")))
            }
            Some(_) | None => Ok(message),
        }
    }

    /// Encodes the body of a link frame.
    ///
    /// # Panics
    /// When it is a [`LinkMessage::Run`], [`LinkMessage::Deliver`] or [`LinkMessage::Copy`], which have
    /// frames of their own.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        super::body::encode(self)
    }

    /// Every version in it.
    fn versions(&self) -> Box<dyn Iterator<Item = Version> + '_> {
        match self {
            Self::Facts(facts) => Box::new(facts.iter().map(|fact| match fact {
                Fact::LinkState(state) => state.version,
                Fact::Membership(membership) => membership.version,
                Fact::Origin(origin) => origin.version,
                Fact::Group(entry) => entry.version,
                Fact::Name(entry) => entry.version,
                Fact::Forgotten(forgotten) => forgotten.version,
                Fact::Topology(entry) => {
                    Version { counter: entry.head.version.counter, ..Version::default() }
                }
                Fact::Removed(_) => Version::default(),
            })),
            Self::Ask(ask) => Box::new(std::iter::once(ask.version)),
            Self::Confirmed(confirmed) => Box::new(std::iter::once(confirmed.version)),
            Self::Finished(finished) => {
                Box::new(finished.iter().map(|told| Version { counter: told.through, storage: told.storage }))
            }
            Self::Move(frame) => Box::new(frame.says.versions()),
            Self::FactsEnd
            | Self::Seen { .. }
            | Self::Stream(_)
            | Self::Pull(_)
            | Self::Pulled(_)
            | Self::Holds(_)
            | Self::Digest(_)
            | Self::Buckets(_)
            | Self::Receipts(_)
            | Self::Released(_)
            | Self::AskWhere(_)
            | Self::ToldWhere(_)
            | Self::Circuit(_)
            | Self::Deliver { .. }
            | Self::Copy { .. }
            | Self::Run { .. } => Box::new(std::iter::empty()),
        }
    }

    /// Every sequence in it.
    fn sequences(&self) -> Box<dyn Iterator<Item = Sequence> + '_> {
        match self {
            Self::Digest(_) | Self::Buckets(_) => Box::new(std::iter::empty()),
            Self::Facts(_)
            | Self::FactsEnd
            | Self::Run { .. }
            | Self::Ask(_)
            | Self::Confirmed(_)
            | Self::Finished(_)
            | Self::Circuit(_)
            | Self::Copy { .. }
            | Self::Deliver { .. } => Box::new(std::iter::empty()),
            Self::AskWhere(ask) => Box::new(std::iter::once(ask.message.sequence)),
            Self::Move(frame) => Box::new(frame.says.sequences()),
            // What another relay says is shown, and never counted with.
            Self::ToldWhere(_) => Box::new(std::iter::empty()),
            Self::Seen { streams, .. } => {
                Box::new(streams.iter().flat_map(|s| [s.seen, s.released, s.wanted]))
            }
            Self::Stream(named) => Box::new([named.base, named.released].into_iter()),
            Self::Pull(pull) => Box::new([pull.from, pull.to].into_iter()),
            Self::Pulled(pulled) => Box::new([pulled.to, pulled.released].into_iter()),
            Self::Holds(holds) => Box::new(holds.iter().map(|held| held.last)),
            Self::Receipts(receipts) => Box::new(receipts.iter().flat_map(|receipt| {
                let full = receipt.full.as_deref().map(|full| full.version).unwrap_or_default();
                [receipt.durable, receipt.consumed, Sequence(full.boot), Sequence(full.change)]
            })),
            Self::Released(released) => Box::new(released.iter().flat_map(|told| {
                let heard = told.heard.unwrap_or_default();
                [told.released, told.wanted, Sequence(heard.boot), Sequence(heard.change)]
            })),
        }
    }

    /// Bytes that it counts towards what is on its way to a neighbour, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        const ITEM: usize = 64;
        let bytes = match self {
            Self::Pulled(_) | Self::Digest(_) => ITEM,
            Self::Buckets(buckets) => (buckets.len() + 1) * size_of::<u64>(),
            Self::Pull(pull) => (pull.path.len() + 1) * ITEM,
            Self::Holds(holds) => holds.len() * ITEM,
            Self::Facts(facts) => facts.iter().map(|fact| ITEM + fact.text_bytes()).sum(),
            Self::Receipts(receipts) => {
                let text = receipts.iter().flat_map(|receipt| &receipt.full).map(|full| full.text_bytes());
                receipts.len() * ITEM + text.sum::<usize>()
            }
            Self::Released(released) => released.len() * ITEM,
            Self::Finished(finished) => finished.len() * ITEM,
            Self::FactsEnd | Self::Stream(_) | Self::Confirmed(_) => ITEM,
            Self::Ask(ask) => (ask.to.len() + 1) * ITEM,
            Self::AskWhere(ask) => (ask.to.len() + 2) * ITEM,
            Self::ToldWhere(told) => (told.trace.subscriptions.len() + told.trace.receipts.len() + 2) * ITEM,
            Self::Seen { streams, .. } => (streams.len() + 1) * ITEM,
            Self::Run { run, .. } => super::run::RUN_HEADER_BYTES + run.body.len(),
            Self::Circuit(frame) => match &frame.says {
                CircuitSays::Acks(acks) => (acks.len() + 2) * ITEM,
                CircuitSays::Answer { .. } | CircuitSays::Request { .. } | CircuitSays::Notice(_) => 8 * ITEM,
                CircuitSays::Credit(_)
                | CircuitSays::Written(_)
                | CircuitSays::Ping
                | CircuitSays::Pong
                | CircuitSays::End(_) => 2 * ITEM,
            },
            Self::Move(frame) => frame.says.items() * ITEM,
            Self::Copy { run, .. } => 4 * ITEM + super::run::RUN_HEADER_BYTES + run.body.len(),
            Self::Deliver { records, .. } => {
                FRAME_HEADER_BYTES + DELIVER_HEAD_BYTES + 2 * ITEM + records.len()
            }
        };
        bytes as u64
    }
}
