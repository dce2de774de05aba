//! Everything that a relay can cause.

use std::sync::Arc;

use bytes::Bytes;

use super::topology::Neighbour;
use crate::id::{GroupNumber, Index, LinkId, SessionId};
use crate::log::{Entry, EntryNumber, Urgency};
use crate::wire::applied::TopologyEntry;
use crate::wire::body::{Answer, Notice};
use crate::wire::frame::{DELIVER_HEAD_BYTES, DeliverHead, FRAME_HEADER_BYTES, PutDone};
use crate::wire::link::LinkMessage;

/// One thing that the shell is to do, in the order in which they come.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append to the log. The core counts the entries itself: the first of a
    /// new relay is 1, after a restart they go on behind the last.
    Append {
        /// What to remember.
        entry: Entry,
        /// Whether somebody waits for it.
        urgency: Urgency,
    },
    /// Somebody waits for what was appended to be synced soon: have the log sync it at once.
    Hurry,
    /// Answer a request.
    Answer {
        /// The session.
        session: SessionId,
        /// The request's number.
        request: u64,
        /// The answer.
        answer: Box<Answer>,
    },
    /// A put has reached its level.
    PutDone {
        /// The session.
        session: SessionId,
        /// What became of it.
        done: PutDone,
    },
    /// Say something unasked.
    Notice {
        /// The session.
        session: SessionId,
        /// What.
        notice: Notice,
    },
    /// Deliver messages to a subscription. Counts [`Effect::deliver_bytes`] towards
    /// [`super::Input::Written`].
    Deliver {
        /// The session.
        session: SessionId,
        /// The subscription, by the session's handle.
        handle: u32,
        /// The fixed part.
        head: DeliverHead,
        /// The records.
        records: Bytes,
    },
    /// Say something to a neighbour.
    Link {
        /// The link.
        link: LinkId,
        /// What.
        message: LinkMessage,
    },
    /// Read a group's backlog; answered by [`super::Input::Fetched`] with the same `group` and `from`.
    Fetch {
        /// The group.
        group: GroupNumber,
        /// The first index wanted.
        from: Index,
        /// About how many bytes.
        bytes_max: usize,
    },
    /// Nobody needs the group below this index any more.
    Release {
        /// The group.
        group: GroupNumber,
        /// The first index still needed.
        below: Index,
    },
    /// A part of the state, as [`super::Input::Snapshot`] asked.
    Shard {
        /// Which part.
        shard: u32,
        /// The last entry that it includes.
        through: EntryNumber,
        /// The state.
        bytes: Bytes,
    },
    /// The links are these from now on: others end, and new ones are to be connected.
    Neighbours {
        /// All of them, in order of the neighbours' names.
        neighbours: Vec<Neighbour>,
        /// The topology that they are from.
        entry: Arc<TopologyEntry>,
    },
    /// End a session.
    Close {
        /// The session.
        session: SessionId,
        /// Why.
        reason: String,
    },
}

impl Effect {
    /// Bytes that a delivery of `records` counts: the whole frame.
    #[must_use]
    pub fn deliver_bytes(records: &Bytes) -> u64 {
        (FRAME_HEADER_BYTES + DELIVER_HEAD_BYTES + records.len()) as u64
    }
}
