//! Everything that can happen to a relay.

use bytes::Bytes;

use crate::id::{GroupNumber, Index, LinkId, SessionId, Time, WallTime};
use crate::log::{EntryNumber, Piece};
use crate::wire::applied::TopologyEntry;
use crate::wire::body::Request;
use crate::wire::frame::{Ack, Credit, PutHead};
use crate::wire::link::LinkMessage;
use crate::wire::run::BodySummary;

/// The time at which something happens. Both are told to the core; it reads no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: what deadlines are made of.
    pub time: Time,
    /// The wall clock: what ages of stored messages are made of. May jump.
    pub wall: WallTime,
}

/// One thing that happens to a relay.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An application has connected; its hello was fine.
    SessionOpened {
        /// The session: never used before in this run of the process.
        session: SessionId,
    },
    /// A session is over, from whichever side.
    SessionClosed {
        /// The session.
        session: SessionId,
    },
    /// A control frame.
    Request {
        /// The session.
        session: SessionId,
        /// The request's number in its session; comes back with the answer.
        request: u64,
        /// What is asked.
        body: Box<Request>,
    },
    /// Messages for a group. The shell has checked the records and their hash.
    Put {
        /// The session.
        session: SessionId,
        /// The group, by the session's handle.
        handle: u32,
        /// The fixed part.
        head: PutHead,
        /// What the records say about themselves.
        summary: BodySummary,
        /// The records.
        records: Bytes,
    },
    /// Statements about deliveries.
    Ack {
        /// The session.
        session: SessionId,
        /// The statements.
        acks: Vec<Ack>,
    },
    /// More may be delivered.
    Credit {
        /// The session.
        session: SessionId,
        /// The new totals.
        credits: Vec<Credit>,
    },
    /// Bytes of deliveries that a session's writer has handed to the socket, in all.
    Written {
        /// The session.
        session: SessionId,
        /// Bytes since the session was opened, counted as [`super::Effect::Deliver`] counts them.
        total: u64,
    },
    /// What [`super::Effect::Fetch`] asked for.
    Fetched {
        /// The group.
        group: GroupNumber,
        /// The index that was asked for.
        from: Index,
        /// What is there; empty when `from` is beyond the end.
        pieces: Vec<Piece>,
    },
    /// Everything up to this entry is durable.
    Durable {
        /// The last durable entry.
        through: EntryNumber,
    },
    /// Whether the log has room for new messages.
    Room {
        /// It has.
        free: bool,
    },
    /// A link has come up: the neighbour's hello was fine.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Whether the neighbour takes a LOSS that stands in place of several records.
        losses: bool,
    },
    /// A link is down.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// A link costs so much from now on: it was measured.
    LinkCost {
        /// The link.
        link: LinkId,
        /// What it costs, at least 1.
        cost: u32,
    },
    /// What a neighbour says. The shell has checked the hashes of runs.
    Link {
        /// The link.
        link: LinkId,
        /// What.
        message: LinkMessage,
    },
    /// Bytes that a link's writer has handed to the socket, in all.
    LinkWritten {
        /// The link.
        link: LinkId,
        /// Bytes since the link came up, counted as [`LinkMessage::bytes`] counts them.
        total: u64,
    },
    /// Bytes of what was said over a link that did not go because the shell has packed them, in all.
    LinkSaved {
        /// The link.
        link: LinkId,
        /// Bytes since the link came up.
        total: u64,
    },
    /// A relay that is no neighbour has said which topology is in force.
    Topology {
        /// It.
        entry: Box<TopologyEntry>,
    },
    /// The shell wants a part of the state for a snapshot: answered by [`super::Effect::Shard`].
    Snapshot {
        /// Which part, below [`super::SHARDS`].
        shard: u32,
    },
    /// A deadline that [`super::Relay::next_deadline`] named has come, or may have.
    Tick,
    /// The relay is about to stop: cursors are to be written, puts refused.
    Stop,
}
