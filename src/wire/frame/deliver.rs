//! Frames of a delivery: messages, acks of them, and credit for more.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{FrameError, FrameKind, decode_list};
use crate::id::{Index, Sequence, StreamNumber, WallTime};
use crate::limits;

/// The fixed part of a delivery's body; the records follow it.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | insertion index of the first record; the others follow it |
/// | 8 | 8 | sequence of the first record in its stream |
/// | 16 | 4 | count of records |
/// | 20 | 4 | number of the stream; a notice has named it before |
/// | 24 | 8 | accepted at the origin, microseconds since 1970 |
/// | 32 | 8 | XXH3-64 of the records |
/// | 40 | 4 | attempt: 1 for the first delivery |
/// | 44 | 4 | reserved, 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverHead {
    /// Insertion index of the first record at the home relay.
    pub first_index: Index,
    /// Sequence of the first record in its stream.
    pub first: Sequence,
    /// Count of records.
    pub count: u32,
    /// The stream, by the relay's number.
    pub stream: StreamNumber,
    /// When the origin accepted them.
    pub accepted: WallTime,
    /// XXH3-64 of the records.
    pub records_hash: u64,
    /// 1 for the first delivery, more for another one.
    pub attempt: u32,
}

/// Bytes of an encoded [`DeliverHead`].
pub const DELIVER_HEAD_BYTES: usize = 48;

impl DeliverHead {
    /// Appends the fixed part to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.first_index.0);
        out.put_u64_le(self.first.0);
        out.put_u32_le(self.count);
        out.put_u32_le(self.stream.0);
        out.put_u64_le(self.accepted.0);
        out.put_u64_le(self.records_hash);
        out.put_u32_le(self.attempt);
        out.put_u32_le(0);
    }

    /// Takes a delivery's body apart: the fixed part and the records, which are not looked at.
    ///
    /// # Errors
    /// When the body is too short, or a field has no meaning.
    pub fn decode(mut body: Bytes) -> Result<(Self, Bytes), FrameError> {
        let kind = FrameKind::Deliver;
        if body.len() < DELIVER_HEAD_BYTES {
            return Err(FrameError::Short { kind, found: body.len() });
        }
        let head = Self {
            first_index: Index(body.get_u64_le()),
            first: Sequence(body.get_u64_le()),
            count: body.get_u32_le(),
            stream: StreamNumber(body.get_u32_le()),
            accepted: WallTime(body.get_u64_le()),
            records_hash: body.get_u64_le(),
            attempt: body.get_u32_le(),
        };
        body.advance(4);
        if head.count == 0 || head.count > limits::RUN_RECORDS_MAX {
            return Err(FrameError::Value { kind, field: "count", found: u64::from(head.count) });
        }
        Ok((head, body))
    }
}

/// What a subscriber says of messages it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AckKind {
    /// Done: never deliver them again.
    Ack,
    /// Not done: deliver them again, after the delay.
    Nack,
    /// Still at work: the wait for the ack begins anew.
    Progress,
    /// Never to be done: to the dead-letter group, at once.
    Reject,
}

impl AckKind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Ack => 0,
            Self::Nack => 1,
            Self::Progress => 2,
            Self::Reject => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Ack, Self::Nack, Self::Progress, Self::Reject].into_iter().find(|kind| kind.to_byte() == byte)
    }
}

/// One statement of a subscriber. An ack frame's body is a list of these.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | handle of the subscription |
/// | 4 | 1 | kind: 0 ack, 1 nack, 2 progress, 3 reject |
/// | 5 | 3 | reserved, 0 |
/// | 8 | 8 | first insertion index |
/// | 16 | 8 | insertion index after the last |
/// | 24 | 8 | delay in milliseconds, for a nack |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Handle of the subscription.
    pub handle: u32,
    /// What is said.
    pub kind: AckKind,
    /// First insertion index it is said of.
    pub from: Index,
    /// The insertion index after the last.
    pub to: Index,
    /// Milliseconds to wait before the next delivery; only for a nack.
    pub delay_ms: u64,
}

/// Bytes of an encoded [`Ack`].
pub const ACK_BYTES: usize = 32;

impl Ack {
    /// Appends the statement to a list.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.handle);
        out.put_u8(self.kind.to_byte());
        out.put_bytes(0, 3);
        out.put_u64_le(self.from.0);
        out.put_u64_le(self.to.0);
        out.put_u64_le(self.delay_ms);
    }

    /// Decodes a whole list.
    ///
    /// # Errors
    /// When the body is not a whole number of statements, or a field has no meaning.
    pub fn decode_list(body: Bytes) -> Result<Vec<Self>, FrameError> {
        let frame = FrameKind::Ack;
        decode_list(frame, ACK_BYTES, body, |item| {
            let handle = item.get_u32_le();
            let kind = item.get_u8();
            item.advance(3);
            let (from, to) = (Index(item.get_u64_le()), Index(item.get_u64_le()));
            let delay_ms = item.get_u64_le();
            let kind = AckKind::from_byte(kind).ok_or(FrameError::Value {
                kind: frame,
                field: "kind",
                found: u64::from(kind),
            })?;
            if from >= to {
                return Err(FrameError::Value { kind: frame, field: "to", found: to.0 });
            }
            Ok(Self { handle, kind, from, to, delay_ms })
        })
    }
}

/// How many messages may be delivered to a subscription in all, since it was
/// attached. A credit frame's body is a list of these; a later one replaces an
/// earlier one, so that none can be lost or counted twice.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | handle of the subscription |
/// | 4 | 4 | reserved, 0 |
/// | 8 | 8 | messages in all |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Handle of the subscription.
    pub handle: u32,
    /// Messages in all, since it was attached.
    pub total: u64,
}

/// Bytes of an encoded [`Credit`].
pub const CREDIT_BYTES: usize = 16;

impl Credit {
    /// Appends the credit to a list.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.handle);
        out.put_u32_le(0);
        out.put_u64_le(self.total);
    }

    /// Decodes a whole list.
    ///
    /// # Errors
    /// When the body is not a whole number of credits.
    pub fn decode_list(body: Bytes) -> Result<Vec<Self>, FrameError> {
        decode_list(FrameKind::Credit, CREDIT_BYTES, body, |item| {
            let handle = item.get_u32_le();
            item.advance(4);
            Ok(Self { handle, total: item.get_u64_le() })
        })
    }
}
