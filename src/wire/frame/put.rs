//! Frames of a put and its answer.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{FrameError, FrameKind, decode_list};
use crate::id::{ProducerId, ProducerSequence, Sequence};
use crate::limits;

/// When a put counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AckLevel {
    /// The record is on the source relay's disk.
    #[default]
    Accepted,
    /// It is on the disks of so many relays as the put says, the source relay among them.
    Stored,
    /// It is in the backlog of every member relay.
    Inserted,
    /// Every durable subscription has acked it, durably.
    Consumed,
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Stored => "stored",
            Self::Inserted => "inserted",
            Self::Consumed => "consumed",
        })
    }
}

impl AckLevel {
    fn to_byte(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Inserted => 1,
            Self::Consumed => 2,
            Self::Stored => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Accepted, Self::Stored, Self::Inserted, Self::Consumed];
        all.into_iter().find(|level| level.to_byte() == byte)
    }
}

/// The fixed part of a put's body; the records follow it.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | number of the put in its session: 1, 2, 3, … |
/// | 8 | 16 | producer id; 0: none, the put is not protected against repeats |
/// | 24 | 8 | producer sequence of the first record |
/// | 32 | 8 | lowest producer sequence that is not answered yet |
/// | 40 | 8 | XXH3-64 of the records |
/// | 48 | 1 | level: 0 accepted, 1 inserted, 2 consumed, 3 stored |
/// | 49 | 1 | flags: 1 the producer ends with its session, and can be forgotten soon after |
/// | 50 | 2 | relays that are to have the records on disk; only with level stored |
/// | 52 | 4 | seconds since the producer first tried to send these records |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutHead {
    /// Number of the put in its session.
    pub put: u64,
    /// Who sends it, and the number of the first record there.
    pub producer: Option<(ProducerId, ProducerSequence)>,
    /// Everything below has been answered to the producer.
    pub lowest_unanswered: ProducerSequence,
    /// XXH3-64 of the records.
    pub body_hash: u64,
    /// When the put counts as done.
    pub level: AckLevel,
    /// How many relays are to have the records on disk, this one among them; only with
    /// [`AckLevel::Stored`].
    pub copies: u16,
    /// Whether the producer ends with its session, and can be forgotten soon after.
    pub transient: bool,
    /// Seconds since the producer first tried to send these records. A retry that is older
    /// than a producer is remembered cannot be told from a new message and is refused.
    pub age_seconds: u32,
}

const PUT_TRANSIENT: u8 = 1;

/// Bytes of an encoded [`PutHead`].
pub const PUT_HEAD_BYTES: usize = 56;

impl PutHead {
    /// Appends the fixed part to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        let (producer, first) = self.producer.unwrap_or_default();
        out.put_u64_le(self.put);
        out.put_u128_le(producer.0);
        out.put_u64_le(first.0);
        out.put_u64_le(self.lowest_unanswered.0);
        out.put_u64_le(self.body_hash);
        out.put_u8(self.level.to_byte());
        out.put_u8(if self.transient { PUT_TRANSIENT } else { 0 });
        out.put_u16_le(self.copies);
        out.put_u32_le(self.age_seconds);
    }

    /// Takes a put's body apart: the fixed part and the records, which are not looked at.
    ///
    /// # Errors
    /// When the body is too short, or a field has no meaning.
    pub fn decode(mut body: Bytes) -> Result<(Self, Bytes), FrameError> {
        let kind = FrameKind::Put;
        if body.len() < PUT_HEAD_BYTES {
            return Err(FrameError::Short { kind, found: body.len() });
        }
        let put = body.get_u64_le();
        let producer = ProducerId(body.get_u128_le());
        let first = ProducerSequence(body.get_u64_le());
        let lowest_unanswered = ProducerSequence(body.get_u64_le());
        let body_hash = body.get_u64_le();
        let level = body.get_u8();
        let flags = body.get_u8();
        let copies = body.get_u16_le();
        let age_seconds = body.get_u32_le();
        if flags & !PUT_TRANSIENT != 0 {
            return Err(FrameError::Value { kind, field: "flags", found: u64::from(flags) });
        }
        let level = AckLevel::from_byte(level).ok_or(FrameError::Value {
            kind,
            field: "level",
            found: u64::from(level),
        })?;
        if producer.0 != 0 && (first.0 == 0 || first.0 > u64::MAX - u64::from(limits::RUN_RECORDS_MAX)) {
            return Err(FrameError::Value { kind, field: "producer sequence", found: first.0 });
        }
        let producer = (producer.0 != 0).then_some((producer, first));
        let transient = flags & PUT_TRANSIENT != 0;
        Ok((
            Self { put, producer, lowest_unanswered, body_hash, level, copies, transient, age_seconds },
            body,
        ))
    }
}

/// What became of one put. A put-answer's body is a list of these.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | number of the put |
/// | 8 | 8 | sequence of its first new record in this relay's stream of the group; 0 when all were repeats |
/// | 16 | 4 | how many of its records were repeats, already taken before |
/// | 20 | 1 | level reached |
/// | 21 | 1 | flags: 1 another answer follows when the level that was asked for is reached |
/// | 22 | 2 | reserved, 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutDone {
    /// Number of the put.
    pub put: u64,
    /// Sequence of the first record that was new.
    pub first: Sequence,
    /// How many records were repeats.
    pub repeats: u32,
    /// The level reached.
    pub level: AckLevel,
    /// Whether another answer follows, when the level that was asked for is reached.
    pub has_more: bool,
}

const DONE_MORE: u8 = 1;

/// Bytes of an encoded [`PutDone`].
pub const PUT_DONE_BYTES: usize = 24;

impl PutDone {
    /// Appends the answer to a list.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.put);
        out.put_u64_le(self.first.0);
        out.put_u32_le(self.repeats);
        out.put_u8(self.level.to_byte());
        out.put_u8(if self.has_more { DONE_MORE } else { 0 });
        out.put_bytes(0, 2);
    }

    /// Decodes a whole list.
    ///
    /// # Errors
    /// When the body is not a whole number of answers, or a field has no meaning.
    pub fn decode_list(body: Bytes) -> Result<Vec<Self>, FrameError> {
        let kind = FrameKind::PutAnswer;
        decode_list(kind, PUT_DONE_BYTES, body, |item| {
            let put = item.get_u64_le();
            let first = Sequence(item.get_u64_le());
            let repeats = item.get_u32_le();
            let level = item.get_u8();
            let flags = item.get_u8();
            item.advance(2);
            if flags & !DONE_MORE != 0 {
                return Err(FrameError::Value { kind, field: "flags", found: u64::from(flags) });
            }
            let level = AckLevel::from_byte(level).ok_or(FrameError::Value {
                kind,
                field: "level",
                found: u64::from(level),
            })?;
            Ok(Self { put, first, repeats, level, has_more: flags & DONE_MORE != 0 })
        })
    }
}
