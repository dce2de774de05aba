//! Snapshots: the state of groups and subscriptions as it is saved, in parts.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::arriving::Arrived;
use super::cursor::Cursor;
use super::facts::Parts;
use super::filter::Filter;
use super::forget::Forgot;
use super::group::Group;
use super::loss::{TailCut, Uncertain};
use super::memory::Memory;
use super::merging::Merging;
use super::meter::Meter;
use super::moving::Moving;
use super::order::Order;
use super::producer::Producers;
use super::remnant::Remnant;
use super::repair::Annex;
use super::state::{CursorList, RestoreError, State, from_cbor};
use super::stream::Stream;
use super::subscription::Subscription;
use crate::id::{
    GroupName, GroupNumber, Index, LinkId, RelayId, Sequence, StorageId, StreamNumber, SubscriptionName,
    WallTime,
};
use crate::topology::settings::GroupSettings;
use crate::wire::applied::TopologyEntry;
use crate::wire::body::{Outcomes, SubscriptionSpec};
use crate::wire::link::{NameEntry, Version};

/// Numbers that are never given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    pub(super) groups: u32,
    pub(super) streams: u32,
    pub(super) subscriptions: u32,
}

impl Counters {
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            groups: self.groups.max(other.groups),
            streams: self.streams.max(other.streams),
            subscriptions: self.subscriptions.max(other.subscriptions),
        }
    }
}

/// One part of a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Shard {
    pub(super) counters: Counters,
    /// Whether a neighbour has told the whole table of memberships.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) has_table: bool,
    pub(super) groups: Vec<SavedGroup>,
    /// Names of removed groups, with their number and incarnation.
    pub(super) removed: Vec<(GroupName, GroupNumber, u32)>,
    /// Cuts of the log's end, in the first part only.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) cuts: Vec<TailCut>,
    /// Relays that were forgotten, in the first part only.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) forgotten: Vec<(RelayId, Forgot)>,
    /// Whom links led to, and since when; and what may be forgotten of messages: in the first part only.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) links: Vec<(WallTime, LinkId, RelayId)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) forgotten_before: Option<WallTime>,
    /// The storage id that was taken in place of the data directory's, in the first part only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) renewed: Option<StorageId>,
    /// Topologies that were applied, in the first part only.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) topologies: Vec<TopologyEntry>,
    /// Whether it tells where subscriptions and streams begin: an older program's did not.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(super) tells_starts: bool,
}

impl Shard {
    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("snapshots can be encoded into memory");
        bytes.into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RestoreError> {
        from_cbor(bytes)
    }
}

/// A group as it is saved. Field names are short: there may be a million of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedGroup {
    #[serde(rename = "g")]
    number: GroupNumber,
    #[serde(rename = "n")]
    name: GroupName,
    #[serde(rename = "v")]
    incarnation: u32,
    #[serde(rename = "q", default)]
    queue: bool,
    #[serde(rename = "t")]
    made: WallTime,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none", default)]
    settings: Option<Box<GroupSettings>>,
    #[serde(rename = "cp", skip_serializing_if = "Option::is_none", default)]
    planned: Option<u64>,
    #[serde(rename = "i")]
    next: Index,
    #[serde(rename = "l")]
    low: Index,
    #[serde(rename = "s", skip_serializing_if = "Vec::is_empty", default)]
    streams: Vec<Stream>,
    #[serde(rename = "m")]
    membership: u64,
    #[serde(rename = "y", skip_serializing_if = "crate::wire::is_zero", default)]
    member_since: u64,
    #[serde(rename = "d")]
    meter: Meter,
    #[serde(rename = "k", skip_serializing_if = "Vec::is_empty", default)]
    marks: Vec<Index>,
    #[serde(rename = "a", skip_serializing_if = "Vec::is_empty", default)]
    repeats: Vec<(Index, Index)>,
    #[serde(rename = "p", skip_serializing_if = "Producers::is_empty", default)]
    producers: Producers,
    #[serde(rename = "u", skip_serializing_if = "Vec::is_empty", default)]
    subscriptions: Vec<SavedSubscription>,
    #[serde(rename = "e", skip_serializing_if = "Vec::is_empty", default)]
    evicted: Vec<(SubscriptionName, Index)>,
    /// Members and origins: name, version, whether it is one.
    #[serde(rename = "b", skip_serializing_if = "Vec::is_empty", default)]
    members: Vec<(RelayId, Version, bool)>,
    #[serde(rename = "o", skip_serializing_if = "Vec::is_empty", default)]
    origins: Vec<(RelayId, Version, bool)>,
    /// The version of the settings and the home of a queue, if somebody has set them.
    #[serde(rename = "w", skip_serializing_if = "Option::is_none", default)]
    entry: Option<(Version, Option<RelayId>)>,
    #[serde(rename = "j", skip_serializing_if = "std::ops::Not::not", default)]
    is_remade: bool,
    /// Subscriptions everywhere: name, home, version, and how they work.
    #[serde(rename = "h", skip_serializing_if = "Vec::is_empty", default)]
    names: Vec<(SubscriptionName, RelayId, Version, Option<SubscriptionSpec>)>,
    #[serde(rename = "x", skip_serializing_if = "Vec::is_empty", default)]
    annexes: Vec<Annex>,
    #[serde(rename = "z", skip_serializing_if = "Option::is_none", default)]
    uncertain: Option<Uncertain>,
    /// Which epochs are finished: origin, disk, the last one.
    #[serde(rename = "f", skip_serializing_if = "Vec::is_empty", default)]
    finished: Vec<(RelayId, StorageId, u64)>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    memory: Option<Box<Memory>>,
    #[serde(rename = "fifo", skip_serializing_if = "Option::is_none", default)]
    order: Option<Box<Order>>,
    #[serde(rename = "brought", skip_serializing_if = "Option::is_none", default)]
    remnant: Option<Box<Remnant>>,
}

type Table = std::collections::BTreeMap<RelayId, (Version, bool)>;

/// One of the tables of a group's parts, as it is saved.
fn saved_table(group: &Group, table: fn(&Parts) -> &Table) -> Vec<(RelayId, Version, bool)> {
    let spread = group.spread.iter().flat_map(|spread| table(&spread.parts));
    spread.map(|(relay, (version, on))| (relay.clone(), *version, *on)).collect()
}

/// A subscription as it is saved: what never changes, and its cursor as in the log.
#[derive(Debug, Serialize, Deserialize)]
struct SavedSubscription {
    #[serde(rename = "n")]
    name: SubscriptionName,
    #[serde(rename = "s", default)]
    shared: bool,
    #[serde(rename = "f", skip_serializing_if = "Option::is_none", default)]
    filter: Option<String>,
    #[serde(rename = "w")]
    window: u32,
    #[serde(rename = "x", skip_serializing_if = "std::ops::Not::not", default)]
    replays: bool,
    #[serde(rename = "c", with = "byte_string")]
    cursor: Vec<u8>,
    #[serde(rename = "m", skip_serializing_if = "Option::is_none", default)]
    moving: Option<Box<Moving>>,
    #[serde(rename = "a", skip_serializing_if = "Option::is_none", default)]
    arrived: Option<Box<Arrived>>,
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    remade: Option<Version>,
    #[serde(rename = "j", skip_serializing_if = "Option::is_none", default)]
    merging: Option<Box<Merging>>,
    /// Of streams that were there before it: what it is not owed.
    #[serde(rename = "b", skip_serializing_if = "Vec::is_empty", default)]
    before: Vec<(StreamNumber, Sequence)>,
    /// That is not known: an older program made it.
    #[serde(rename = "k", skip_serializing_if = "std::ops::Not::not", default)]
    is_start_unknown: bool,
    /// Of what the cursor counts as filtered: what was passed over. Without a filter it is all.
    #[serde(rename = "p", skip_serializing_if = "crate::wire::is_zero", default)]
    passed: u64,
    /// What became of what it had brought along.
    #[serde(rename = "o", skip_serializing_if = "Option::is_none", default)]
    brought: Option<Box<Outcomes>>,
}

/// Byte strings, since a list of small numbers takes twice the room.
pub(super) mod byte_string {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(in crate::relay) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    struct BytesVisitor;

    impl Visitor<'_> for BytesVisitor {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    pub(in crate::relay) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        // Not as borrowed bytes: the decoder lends no more than 4 KiB at a time.
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

impl SavedGroup {
    pub(super) fn of(group: &Group) -> Self {
        let settings = &group.settings;
        let names = group.spread.as_deref().map(|spread| &spread.names);
        Self {
            number: group.number,
            name: group.name.clone(),
            incarnation: group.incarnation,
            queue: group.queue,
            made: group.made,
            settings: (**settings != GroupSettings::default()).then(|| settings.clone()),
            planned: group.planned,
            next: group.next,
            low: group.low,
            streams: group.streams.clone(),
            membership: group.membership,
            member_since: group.member_since,
            meter: group.meter.clone(),
            marks: group.marks.clone(),
            repeats: group.repeats.clone(),
            producers: group.traffic.as_ref().map(|t| t.producers.clone()).unwrap_or_default(),
            subscriptions: group.subscriptions.iter().map(|s| SavedSubscription::of(group, s)).collect(),
            evicted: group.traffic.as_ref().map(|t| t.evicted.clone()).unwrap_or_default(),
            members: saved_table(group, |parts| &parts.members),
            origins: saved_table(group, |parts| &parts.origins),
            entry: names.filter(|n| n.version != Version::default()).map(|n| (n.version, n.home.clone())),
            is_remade: names.is_some_and(|names| names.is_remade),
            names: names
                .into_iter()
                .flat_map(|names| &names.subscriptions)
                .map(|((name, home), named)| (name.clone(), home.clone(), named.version, named.spec.clone()))
                .collect(),
            annexes: group.annexes.clone(),
            uncertain: group.traffic.as_ref().and_then(|t| t.uncertain),
            memory: group.memory.as_deref().map(|memory| Box::new(memory.saved())),
            finished: group
                .finished()
                .map(|(origin, storage, through)| (origin.clone(), storage, through))
                .collect(),
            order: group.order.clone(),
            remnant: group.remnant.clone(),
        }
    }

    pub(super) fn restore(self) -> Result<Group, RestoreError> {
        let mut group = Group::new(self.number, self.name, self.incarnation, self.made);
        (group.settings, group.planned) = (self.settings.unwrap_or_default(), self.planned);
        (group.queue, group.next, group.low) = (self.queue, self.next, self.low);
        group.streams = self.streams;
        (group.membership, group.member_since) = (self.membership, self.member_since);
        group.meter = self.meter;
        group.restore_marks(self.marks);
        group.repeats = self.repeats;
        group.memory = self.memory;
        group.annexes = self.annexes;
        group.remnant = self.remnant;
        if !self.producers.is_empty() {
            group.traffic().producers = self.producers;
        }
        group.order = self.order;
        group.heed_fifo();
        group.order.iter_mut().for_each(|order| order.rebuild());
        if !self.evicted.is_empty() {
            group.traffic().evicted = self.evicted;
        }
        if self.uncertain.is_some() {
            group.traffic().uncertain = self.uncertain;
        }
        for (relay, version, member) in self.members {
            group.spread().parts.set_member(&relay, version, member);
        }
        for (relay, version, active) in self.origins {
            group.spread().parts.set_origin(&relay, version, active);
        }
        for (origin, storage, through) in self.finished {
            group.finish(&origin, storage, through);
        }
        if self.is_remade {
            group.spread().names.is_remade = true;
        }
        if let Some((version, home)) = self.entry {
            (group.spread().names.version, group.spread().names.home) = (version, home);
        }
        for (name, home, version, spec) in self.names {
            group.set_name(&NameEntry { group: group.id(), name, home, version, spec });
        }
        for saved in self.subscriptions {
            let mut subscription = saved.restore()?;
            subscription.replays |= group.queue;
            group.subscriptions.push(Box::new(subscription));
        }
        group.subscriptions.sort_by_key(|s| s.number);
        Ok(group)
    }
}

impl SavedSubscription {
    fn of(group: &Group, subscription: &Subscription) -> Self {
        let mut list = CursorList::new();
        list.push(group.number, subscription);
        Self {
            name: subscription.name.clone(),
            shared: subscription.shared,
            filter: subscription.filter.as_ref().map(|f| f.as_str().to_owned()),
            window: subscription.window,
            replays: subscription.replays && !group.queue,
            cursor: list.finish().to_vec(),
            moving: subscription.moving.clone(),
            arrived: subscription.arrived.clone(),
            remade: subscription.remade,
            merging: subscription.merging.clone(),
            before: subscription.before.clone().unwrap_or_default(),
            is_start_unknown: subscription.before.is_none(),
            passed: if subscription.filter.is_some() { subscription.out.passed } else { 0 },
            brought: subscription.brought.clone(),
        }
    }

    fn restore(self) -> Result<Subscription, RestoreError> {
        let State::Cursors(mut cursors) = State::decode(self.cursor.into())? else {
            return Err(RestoreError::Format("a subscription without a cursor".to_owned()));
        };
        let record = cursors
            .pop()
            .ok_or_else(|| RestoreError::Format("a subscription without a cursor".to_owned()))?;
        let filter = self.filter.as_deref().map(Filter::new).transpose().map_err(RestoreError::Format)?;
        let mut subscription = Subscription {
            number: record.subscription,
            name: self.name,
            shared: self.shared,
            window: self.window,
            filter,
            start: record.start,
            replayed: 0,
            replays: self.replays,
            not_before: WallTime(0),
            cursor: Cursor::default(),
            next: Index(1),
            ackable: Index(1),
            delivered: Index(1),
            out: Outcomes { passed: self.passed, ..Outcomes::default() },
            brought: self.brought,
            gaps: Vec::new(),
            dirty: false,
            active: None,
            moving: self.moving,
            arrived: self.arrived,
            remade: self.remade,
            has_remnants: false,
            merging: self.merging,
            before: (!self.is_start_unknown).then_some(self.before),
            twin_since: None,
        };
        record.apply(&mut subscription);
        Ok(subscription)
    }
}
