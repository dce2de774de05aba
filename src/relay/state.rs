//! The relay's state on disk: operations in the log, and snapshots of what they add up to.
//!
//! An operation begins with a byte: 1 for CBOR ([`Operation`]), 2 for a list of
//! cursors in varints (LEB128), 3 for a list of what subscriptions have passed over
//! ([`super::traces`]), since those are many. Every operation belongs
//! to one group, and every group to one part of a snapshot ([`shard_of`]); an
//! operation that a part includes already is not applied to it again.
//!
//! Cursor, all varints but the words: group, subscription, floor, start,
//! replayed, not_before, seven outcomes, count of words, words (8 bytes each,
//! little-endian), count of gaps, gaps (from, to, cause).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::SHARDS;
use super::cursor::{Cursor, WORDS_MAX};
use super::merging::{Merging, Taken};
use super::moving::{Cut, Rest};
use super::repair::Annex;
use super::subscription::{Gap, Subscription, SubscriptionNumber};
use super::traces::{Passed, TAG_PASSED, decode_passed};
use crate::id::{
    Epoch, GroupName, GroupNumber, Index, LinkId, RelayId, Sequence, StorageId, StreamNumber,
    SubscriptionName, WallTime,
};
use crate::topology::settings::GroupSettings;
use crate::wire::applied::TopologyEntry;
use crate::wire::body::SubscriptionSpec;
use crate::wire::body::{GapCause, Outcomes};
use crate::wire::link::Version;
use crate::wire::moving::{Done, Left};

/// Why a relay's state cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Bytes that are not a state that this code wrote.
    #[error("the relay's state cannot be understood: {0}")]
    Format(String),
    /// Entries that contradict one another.
    #[error("the relay's log contradicts itself: {0}")]
    Contradiction(String),
    /// The disk is another relay's.
    #[error(
        "the data directory is that of relay {was}: what is there is owed to {was} and by {was}, so it cannot be \
         started from as {now}; start it as {was}, or give {now} a directory of its own"
    )]
    Name {
        /// Whose it is.
        was: RelayId,
        /// Who is to be started from it.
        now: RelayId,
    },
}

const TAG_OPERATION: u8 = 1;
const TAG_CURSORS: u8 = 2;

/// The part of a snapshot that a group belongs to.
pub(super) fn shard_of(group: GroupNumber) -> u32 {
    group.0 % SHARDS
}

/// A change that is rare enough for CBOR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Operation {
    GroupCreated {
        group: GroupNumber,
        name: GroupName,
        incarnation: u32,
        queue: bool,
        settings: Box<GroupSettings>,
        at: WallTime,
    },
    GroupSet {
        group: GroupNumber,
        settings: Box<GroupSettings>,
        /// What a topology says of it was heeded: the hash of that.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        planned: Option<u64>,
    },
    GroupRemoved {
        group: GroupNumber,
        /// Of a remnant that was served: whose it was, and what became of its messages.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        brought: Option<Box<Accounts>>,
    },
    StreamOpened {
        group: GroupNumber,
        stream: StreamNumber,
        origin: RelayId,
        epoch: Epoch,
    },
    SubscriptionCreated {
        group: GroupNumber,
        subscription: SubscriptionNumber,
        name: SubscriptionName,
        shared: bool,
        filter: Option<String>,
        window: u32,
        start: Index,
        not_before: WallTime,
        /// It was made again from what others knew of it, in this version.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        remade: Option<Version>,
        /// It begins with what there is, at other relays too.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        replays: bool,
    },
    SubscriptionRemoved {
        group: GroupNumber,
        subscription: SubscriptionNumber,
        /// It was evicted: what it is owed from here on is told as a gap if it is made again.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        evicted: Option<Index>,
        /// It was made again for a lost disk, and is void: it lives at another relay.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        elsewhere: bool,
    },
    /// A relay is a member of a group, or is one no longer.
    MemberSet {
        group: GroupNumber,
        relay: RelayId,
        version: Version,
        member: bool,
    },
    /// A relay puts messages into a group, or does so no longer.
    OriginSet {
        group: GroupNumber,
        relay: RelayId,
        version: Version,
        active: bool,
    },
    /// How a group works, as every relay is to know.
    GroupEntrySet {
        group: GroupNumber,
        version: Version,
        settings: Box<GroupSettings>,
        home: Option<RelayId>,
    },
    /// Where a subscription lives, and how it works.
    NameSet {
        group: GroupNumber,
        name: SubscriptionName,
        home: RelayId,
        version: Version,
        spec: Option<SubscriptionSpec>,
    },
    /// A group was removed elsewhere: this life of it and all before.
    NameRemoved {
        name: GroupName,
        incarnation: u32,
    },
    /// What stands up to here in a stream of another origin was released before it came.
    StreamMoved {
        group: GroupNumber,
        stream: StreamNumber,
        last: Sequence,
        chain: u64,
        /// What follows is owed to this relay, though its mark was lost with a disk.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        owed: bool,
    },
    /// This relay was a member before it lost its disk.
    GroupRemade {
        group: GroupNumber,
    },
    /// A neighbour has told the whole table of memberships.
    TableLearned,
    /// The log's last block was damaged and cut at the start of this boot.
    TailCut {
        boot: u64,
        at: WallTime,
        /// How many entries it had, if that was to be seen.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        entries: Option<u64>,
        /// How many messages of which groups, by number, if that was to be seen; else any of all
        /// groups that there are.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        groups: Option<Vec<(GroupNumber, u64)>>,
    },
    /// Every epoch of an origin up to this counter is finished: nobody needs anything of it.
    EpochsFinished {
        group: GroupNumber,
        origin: RelayId,
        storage: StorageId,
        through: u64,
    },
    /// A relay never comes back: what it has said in lower versions is void.
    RelayForgotten {
        relay: RelayId,
        version: Version,
        by: RelayId,
        at: WallTime,
        /// It has said something above that since.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        is_back: bool,
    },
    /// A link leads to this neighbour from now on: so what comes over it came from there.
    LinkNamed {
        link: LinkId,
        neighbour: RelayId,
        at: WallTime,
    },
    /// What is damaged of a group is fetched again, and kept under this number.
    AnnexBegun {
        group: GroupNumber,
        annex: Annex,
    },
    /// Others know more of this relay than its disk: it goes on as another one.
    StorageRenewed {
        storage: StorageId,
    },
    /// What this relay has had of a stream up to here, and lost with a disk that was put back, was
    /// told as lost.
    StreamForgiven {
        group: GroupNumber,
        stream: StreamNumber,
        to: Sequence,
    },
    /// A topology was applied.
    TopologySet {
        entry: Box<TopologyEntry>,
    },
    /// A subscription is to leave for another home, or is not any more; with `cut` it delivers no
    /// more than stands before that.
    SubscriptionMoving {
        group: GroupNumber,
        subscription: SubscriptionNumber,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        to: Option<RelayId>,
        token: u64,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        cut: Option<Box<Cut>>,
        /// The new home has lost its disk, and may have taken over before: what it has said of it in
        /// lower versions is void. It is served nowhere until it knows.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        lost: Option<Version>,
        /// What is left here is the new home's, which has a copy of it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        rest: Option<Box<Rest>>,
        /// It is made one with another of the same name there.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        merge: bool,
    },
    /// A subscription is to come from another home: it is kept, and has no name yet.
    SubscriptionArriving {
        group: GroupNumber,
        subscription: SubscriptionNumber,
        name: SubscriptionName,
        shared: bool,
        filter: Option<String>,
        window: u32,
        start: Index,
        from: RelayId,
        token: u64,
        /// It is the backlog of a queue, which comes with it.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        queue: bool,
    },
    /// It has come: it lives here.
    SubscriptionArrived {
        group: GroupNumber,
        subscription: SubscriptionNumber,
        done: Box<Done>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        at: Option<WallTime>,
        /// It has gone back since: what is here before this place is for it again, whatever was done with there.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        again: Option<Index>,
    },
    /// A queue lives here, or not any more.
    QueueHome {
        group: GroupNumber,
        here: bool,
    },
    /// A subscription that is to come brings along what nobody takes at its old home.
    RemnantBegun {
        group: GroupNumber,
        /// Whose it is.
        of: (GroupNumber, SubscriptionNumber),
        part: u32,
        name: GroupName,
        incarnation: u32,
        settings: Box<GroupSettings>,
        /// Who reads it.
        subscription: SubscriptionNumber,
        subscription_name: SubscriptionName,
        shared: bool,
        filter: Option<String>,
        window: u32,
        from: Index,
        at: WallTime,
    },
    /// Records of the run that comes next in a remnant are not for its subscription.
    RemnantPasses {
        group: GroupNumber,
        from: Index,
        to: Index,
    },
    /// What is left of a remnant was handed over.
    RemnantOpened {
        group: GroupNumber,
        left: Box<Left>,
    },
    /// One of the same name at another relay is to be made one with a subscription, or is not any more.
    SubscriptionMerging {
        group: GroupNumber,
        subscription: SubscriptionNumber,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        merging: Option<Box<Merging>>,
    },
    /// It is one with it, and has taken over what was left there.
    SubscriptionMerged {
        group: GroupNumber,
        subscription: SubscriptionNumber,
        taken: Box<Taken>,
    },
}

/// What became of messages of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Accounts {
    pub(super) group: GroupNumber,
    pub(super) subscription: SubscriptionNumber,
    pub(super) out: Outcomes,
}

impl Operation {
    pub(super) fn group(&self) -> GroupNumber {
        match self {
            Self::GroupCreated { group, .. }
            | Self::GroupSet { group, .. }
            | Self::GroupRemoved { group, .. }
            | Self::StreamOpened { group, .. }
            | Self::SubscriptionCreated { group, .. }
            | Self::SubscriptionRemoved { group, .. }
            | Self::MemberSet { group, .. }
            | Self::OriginSet { group, .. }
            | Self::GroupEntrySet { group, .. }
            | Self::NameSet { group, .. }
            | Self::GroupRemade { group }
            | Self::EpochsFinished { group, .. }
            | Self::StreamForgiven { group, .. }
            | Self::AnnexBegun { group, .. }
            | Self::SubscriptionMoving { group, .. }
            | Self::SubscriptionArriving { group, .. }
            | Self::SubscriptionArrived { group, .. }
            | Self::QueueHome { group, .. }
            | Self::RemnantBegun { group, .. }
            | Self::RemnantPasses { group, .. }
            | Self::RemnantOpened { group, .. }
            | Self::SubscriptionMerging { group, .. }
            | Self::SubscriptionMerged { group, .. }
            | Self::StreamMoved { group, .. } => *group,
            // No group has this number.
            Self::TableLearned
            | Self::NameRemoved { .. }
            | Self::StorageRenewed { .. }
            | Self::RelayForgotten { .. }
            | Self::LinkNamed { .. }
            | Self::TailCut { .. }
            | Self::TopologySet { .. } => GroupNumber(0),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = vec![TAG_OPERATION];
        ciborium::into_writer(self, &mut bytes).expect("operations can be encoded into memory");
        bytes.into()
    }
}

/// What a state entry says.
pub(super) enum State {
    Operation(Box<Operation>),
    Cursors(Vec<CursorRecord>),
    /// What subscriptions have passed over, and when that was written.
    Passed(WallTime, Vec<Passed>),
}

impl State {
    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, RestoreError> {
        if bytes.is_empty() {
            return Err(RestoreError::Format("an empty operation".to_owned()));
        }
        match bytes.get_u8() {
            TAG_OPERATION => Ok(Self::Operation(Box::new(from_cbor(&bytes)?))),
            TAG_CURSORS => decode_cursors(bytes).map(Self::Cursors),
            TAG_PASSED => {
                let (at, list) = decode_passed(bytes)
                    .ok_or_else(|| RestoreError::Format("a list that is not whole".to_owned()))?;
                Ok(Self::Passed(at, list))
            }
            tag => Err(RestoreError::Format(format!("operation tag {tag}"))),
        }
    }
}

pub(super) fn from_cbor<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, RestoreError> {
    ciborium::from_reader(bytes).map_err(|e| RestoreError::Format(e.to_string()))
}

/// A cursor as it is written: everything that may have moved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CursorRecord {
    pub(super) group: GroupNumber,
    pub(super) subscription: SubscriptionNumber,
    pub(super) cursor: Cursor,
    pub(super) start: Index,
    pub(super) replayed: u64,
    pub(super) not_before: WallTime,
    pub(super) out: Outcomes,
    pub(super) gaps: Vec<Gap>,
}

impl CursorRecord {
    pub(super) fn apply(self, subscription: &mut Subscription) {
        subscription.next = self.cursor.floor();
        subscription.delivered = self.cursor.floor();
        subscription.cursor = self.cursor;
        // It has sought what was there before it.
        subscription.replays |= subscription.cursor.floor() < self.start;
        subscription.start = self.start;
        subscription.replayed = self.replayed;
        subscription.not_before = self.not_before;
        let filtered = self.out.filtered;
        // Without a filter all of it was passed over; with one, what was since the last snapshot is not known.
        let passed =
            if subscription.filter.is_none() { filtered } else { subscription.out.passed.min(filtered) };
        subscription.out = Outcomes { filtered: filtered - passed, passed, ..self.out };
        subscription.gaps = self.gaps;
    }
}

/// Bytes that a cursor takes in the log, about: what a flush is weighed by.
pub(super) const CURSOR_BYTES: u64 = 40;

/// Encodes cursors of subscriptions as one state entry.
#[derive(Debug)]
pub(super) struct CursorList(BytesMut);

impl CursorList {
    pub(super) fn new() -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_u8(TAG_CURSORS);
        Self(bytes)
    }

    pub(super) fn push(&mut self, group: GroupNumber, s: &Subscription) {
        let out = &mut self.0;
        put_varint(out, u64::from(group.0));
        put_varint(out, u64::from(s.number.0));
        put_varint(out, s.cursor.floor().0);
        put_varint(out, s.start.0);
        put_varint(out, s.replayed);
        put_varint(out, s.not_before.0);
        for count in outcome_fields(&s.out) {
            put_varint(out, count);
        }
        put_varint(out, s.cursor.words().count() as u64);
        for word in s.cursor.words() {
            out.put_u64_le(word);
        }
        put_varint(out, s.gaps.len() as u64);
        for gap in &s.gaps {
            put_varint(out, gap.from.0);
            put_varint(out, gap.to.0);
            out.put_u8(cause_to_byte(gap.cause));
        }
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() <= 1
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// What was passed over counts as filtered in a cursor; snapshots tell it apart.
fn outcome_fields(out: &Outcomes) -> [u64; 7] {
    let filtered = out.filtered + out.passed;
    [out.acked, filtered, out.expired, out.evicted, out.dead_lettered, out.skipped, out.lost]
}

fn cause_to_byte(cause: GapCause) -> u8 {
    match cause {
        GapCause::SubscriptionQuota => 0,
        GapCause::Retention => 1,
        GapCause::Damaged => 2,
        GapCause::Expired => 3,
        GapCause::Evicted => 4,
        GapCause::Uncertain => 5,
    }
}

fn cause_from_byte(byte: u8) -> Option<GapCause> {
    use GapCause::{Damaged, Evicted, Expired, Retention, SubscriptionQuota, Uncertain};
    let all = [SubscriptionQuota, Retention, Damaged, Expired, Evicted, Uncertain];
    all.into_iter().find(|cause| cause_to_byte(*cause) == byte)
}

fn decode_cursors(mut bytes: Bytes) -> Result<Vec<CursorRecord>, RestoreError> {
    let mut cursors = Vec::new();
    while !bytes.is_empty() {
        let cursor = decode_cursor(&mut bytes);
        cursors.push(cursor.ok_or_else(|| RestoreError::Format("a cursor that is not whole".to_owned()))?);
    }
    Ok(cursors)
}

fn decode_cursor(bytes: &mut Bytes) -> Option<CursorRecord> {
    let group = GroupNumber(u32::try_from(take_varint(bytes)?).ok()?);
    let subscription = SubscriptionNumber(u32::try_from(take_varint(bytes)?).ok()?);
    let floor = Index(take_varint(bytes)?);
    let start = Index(take_varint(bytes)?);
    let replayed = take_varint(bytes)?;
    let not_before = WallTime(take_varint(bytes)?);
    let mut fields = [0; 7];
    for field in &mut fields {
        *field = take_varint(bytes)?;
    }
    let [acked, filtered, expired, evicted, dead_lettered, skipped, lost] = fields;
    let words = usize::try_from(take_varint(bytes)?).ok()?;
    if words > bytes.remaining() / 8 || words > WORDS_MAX {
        return None;
    }
    // The last bit of the window is an index too.
    floor.0.checked_add((words as u64 + 1) * 64)?;
    let words: Vec<u64> = (0..words).map(|_| bytes.get_u64_le()).collect();
    let gaps = take_varint(bytes)?;
    let mut found = Vec::new();
    for _ in 0..gaps {
        let (from, to) = (Index(take_varint(bytes)?), Index(take_varint(bytes)?));
        let cause = cause_from_byte(bytes.try_get_u8().ok()?)?;
        found.push(Gap { from, to, cause });
    }
    Some(CursorRecord {
        group,
        subscription,
        cursor: Cursor::from_words(floor, words),
        start,
        replayed,
        not_before,
        out: Outcomes {
            acked,
            filtered,
            expired,
            evicted,
            dead_lettered,
            skipped,
            lost,
            ..Outcomes::default()
        },
        gaps: found,
    })
}

pub(super) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(super) fn take_varint(bytes: &mut impl Buf) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
