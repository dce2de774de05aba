//! Frames: what a session reads and writes.
//!
//! Every frame is a header of 16 bytes and a body, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the body in bytes |
//! | 4 | 1 | kind |
//! | 5 | 3 | reserved, 0 |
//! | 8 | 8 | tag: a request's number or a handle, by kind |
//!
//! Control bodies are CBOR ([`crate::wire::body`]); the frames of the hot path
//! (put, put-answer, deliver, ack, credit) have fixed layouts, given at their
//! types. A body's length is checked against the bound of its kind before
//! anything is allocated for it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::id::{Index, ProducerId, ProducerSequence, Sequence, StreamNumber, WallTime};
use crate::limits;

/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: usize = 16;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// First frame in both directions: versions and identity (CBOR).
    Hello = 1,
    /// A question to the relay (CBOR); the tag is its number.
    Request = 2,
    /// Its answer (CBOR); the tag is the request's number.
    Answer = 3,
    /// Messages for a group; the tag is the group's handle.
    Put = 4,
    /// What became of puts: a list.
    PutAnswer = 5,
    /// Messages for a subscription; the tag is its handle.
    Deliver = 6,
    /// Acks and their kin: a list.
    Ack = 7,
    /// How many messages may be delivered in all: a list.
    Credit = 8,
    /// Something the other side should know, unasked (CBOR).
    Notice = 9,
    /// Are you there? The tag comes back in the pong.
    Ping = 10,
    /// I am.
    Pong = 11,
    /// The last frame: why the session ends (CBOR).
    Close = 12,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Request,
            3 => Self::Answer,
            4 => Self::Put,
            5 => Self::PutAnswer,
            6 => Self::Deliver,
            7 => Self::Ack,
            8 => Self::Credit,
            9 => Self::Notice,
            10 => Self::Ping,
            11 => Self::Pong,
            12 => Self::Close,
            _ => return None,
        })
    }

    /// Bytes that a body of this kind may have.
    #[must_use]
    pub fn body_bytes_max(self) -> usize {
        match self {
            Self::Put | Self::Deliver => limits::FRAME_BYTES_MAX,
            Self::Hello
            | Self::Request
            | Self::Answer
            | Self::PutAnswer
            | Self::Ack
            | Self::Credit
            | Self::Notice
            | Self::Close => limits::CONTROL_BYTES_MAX,
            Self::Ping | Self::Pong => 0,
        }
    }
}

/// Why bytes are not a frame. The session that sent them is closed with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A kind that this code does not know.
    #[error("frame kind {0} is not known")]
    Kind(u8),
    /// Reserved bytes that are not zero.
    #[error("reserved bytes of the frame header are not zero")]
    Reserved,
    /// A body longer than its kind may have.
    #[error("a {kind:?} frame of {found} bytes; at most {max} are allowed")]
    TooLong {
        /// What the frame carries.
        kind: FrameKind,
        /// Bytes announced.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A body that is shorter than its fixed part, or not a whole list.
    #[error("a {kind:?} frame with a body of {found} bytes is not whole")]
    Short {
        /// What the frame carries.
        kind: FrameKind,
        /// Bytes there.
        found: usize,
    },
    /// A field with a value that has no meaning.
    #[error("a {kind:?} frame has {field} = {found}")]
    Value {
        /// What the frame carries.
        kind: FrameKind,
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
}

/// A frame, taken apart no further than its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// A request's number or a handle.
    pub tag: u64,
    /// The body.
    pub body: Bytes,
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame carries.
    pub kind: FrameKind,
    /// A request's number or a handle.
    pub tag: u64,
    /// Bytes of the body.
    pub body_bytes: usize,
}

impl FrameHeader {
    /// Appends the header to `out`.
    ///
    /// # Panics
    /// When the body has 4 GiB or more, which the bounds exclude.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(u32::try_from(self.body_bytes).expect("bodies are bounded far below 4 GiB"));
        out.put_u8(self.kind as u8);
        out.put_bytes(0, 3);
        out.put_u64_le(self.tag);
    }

    /// Decodes a header and checks it, length included. `None`: more bytes are needed.
    ///
    /// # Errors
    /// When the bytes cannot be a frame's beginning; the session cannot go on.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(mut header) = bytes.get(..FRAME_HEADER_BYTES) else { return Ok(None) };
        let body_bytes = header.get_u32_le() as usize;
        let kind = header.get_u8();
        let reserved = header.get_uint_le(3);
        let tag = header.get_u64_le();
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        if reserved != 0 {
            return Err(FrameError::Reserved);
        }
        let max = kind.body_bytes_max();
        if body_bytes > max {
            return Err(FrameError::TooLong { kind, found: body_bytes, max });
        }
        Ok(Some(Self { kind, tag, body_bytes }))
    }
}

/// Takes the first whole frame off `buffer`, without copying its body.
/// `None`: more bytes are needed.
///
/// # Errors
/// When the bytes cannot be a frame; the session cannot go on.
pub fn take_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(header) = FrameHeader::decode(buffer)? else { return Ok(None) };
    if buffer.len() < FRAME_HEADER_BYTES + header.body_bytes {
        return Ok(None);
    }
    buffer.advance(FRAME_HEADER_BYTES);
    let body = buffer.split_to(header.body_bytes).freeze();
    Ok(Some(Frame { kind: header.kind, tag: header.tag, body }))
}

/// When a put counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AckLevel {
    /// The record is on the source relay's disk.
    #[default]
    Accepted,
    /// It is in the backlog of every member relay.
    Inserted,
    /// Every durable subscription has acked it, durably.
    Consumed,
}

impl AckLevel {
    fn to_byte(self) -> u8 {
        match self {
            Self::Accepted => 0,
            Self::Inserted => 1,
            Self::Consumed => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Accepted, Self::Inserted, Self::Consumed].into_iter().find(|level| level.to_byte() == byte)
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
/// | 48 | 1 | level: 0 accepted, 1 inserted, 2 consumed |
/// | 49 | 1 | flags: 1 the producer ends with its session, and can be forgotten soon after |
/// | 50 | 2 | reserved, 0 |
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
        out.put_u16_le(0);
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
        body.advance(2);
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
        Ok((Self { put, producer, lowest_unanswered, body_hash, level, transient, age_seconds }, body))
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
/// | 21 | 3 | reserved, 0 |
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
}

/// Bytes of an encoded [`PutDone`].
pub const PUT_DONE_BYTES: usize = 24;

impl PutDone {
    /// Appends the answer to a list.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.put);
        out.put_u64_le(self.first.0);
        out.put_u32_le(self.repeats);
        out.put_u8(self.level.to_byte());
        out.put_bytes(0, 3);
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
            item.advance(3);
            let level = AckLevel::from_byte(level).ok_or(FrameError::Value {
                kind,
                field: "level",
                found: u64::from(level),
            })?;
            Ok(Self { put, first, repeats, level })
        })
    }
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

fn decode_list<T>(
    kind: FrameKind,
    item_bytes: usize,
    mut body: Bytes,
    mut decode: impl FnMut(&mut Bytes) -> Result<T, FrameError>,
) -> Result<Vec<T>, FrameError> {
    if !body.len().is_multiple_of(item_bytes) {
        return Err(FrameError::Short { kind, found: body.len() });
    }
    let mut items = Vec::with_capacity(body.len() / item_bytes);
    while !body.is_empty() {
        items.push(decode(&mut body)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_comes_out_only_when_it_is_whole() {
        let mut bytes = BytesMut::new();
        FrameHeader { kind: FrameKind::Put, tag: 7, body_bytes: 3 }.encode(&mut bytes);
        bytes.put_slice(b"abc");
        let whole = bytes.clone();
        for length in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..length]);
            assert_eq!(take_frame(&mut part), Ok(None), "{length} bytes");
            assert_eq!(part.len(), length);
        }
        let frame = take_frame(&mut bytes).unwrap().unwrap();
        assert_eq!(frame, Frame { kind: FrameKind::Put, tag: 7, body: Bytes::from_static(b"abc") });
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_the_body_is_there() {
        let mut bytes = BytesMut::new();
        bytes.put_u32_le(u32::MAX);
        bytes.put_u8(FrameKind::Put as u8);
        bytes.put_bytes(0, 11);
        assert!(matches!(take_frame(&mut bytes), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn a_body_at_the_bound_is_taken_and_one_byte_more_is_not() {
        for kind in [FrameKind::Put, FrameKind::Ack, FrameKind::Ping] {
            let max = kind.body_bytes_max();
            let mut bytes = BytesMut::new();
            FrameHeader { kind, tag: 0, body_bytes: max }.encode(&mut bytes);
            assert!(FrameHeader::decode(&bytes).is_ok());
            bytes.clear();
            FrameHeader { kind, tag: 0, body_bytes: max + 1 }.encode(&mut bytes);
            assert!(matches!(FrameHeader::decode(&bytes), Err(FrameError::TooLong { .. })));
        }
    }

    #[test]
    fn fixed_parts_come_back_as_they_were() {
        let put = PutHead {
            put: 1,
            producer: Some((ProducerId(2), ProducerSequence(3))),
            lowest_unanswered: ProducerSequence(2),
            body_hash: 5,
            level: AckLevel::Consumed,
            transient: true,
            age_seconds: 9,
        };
        let mut bytes = BytesMut::new();
        put.encode(&mut bytes);
        bytes.put_slice(b"rest");
        assert_eq!(PutHead::decode(bytes.freeze()), Ok((put, Bytes::from_static(b"rest"))));

        let deliver = DeliverHead {
            first_index: Index(1),
            first: Sequence(2),
            count: 3,
            stream: StreamNumber(4),
            accepted: WallTime(5),
            records_hash: 6,
            attempt: 7,
        };
        let mut bytes = BytesMut::new();
        deliver.encode(&mut bytes);
        assert_eq!(DeliverHead::decode(bytes.freeze()), Ok((deliver, Bytes::new())));

        let done = PutDone { put: 1, first: Sequence(2), repeats: 3, level: AckLevel::Inserted };
        let mut bytes = BytesMut::new();
        done.encode(&mut bytes);
        done.encode(&mut bytes);
        assert_eq!(PutDone::decode_list(bytes.freeze()), Ok(vec![done, done]));

        let ack = Ack { handle: 1, kind: AckKind::Nack, from: Index(2), to: Index(3), delay_ms: 4 };
        let mut bytes = BytesMut::new();
        ack.encode(&mut bytes);
        assert_eq!(Ack::decode_list(bytes.freeze()), Ok(vec![ack]));

        let credit = Credit { handle: 1, total: 2 };
        let mut bytes = BytesMut::new();
        credit.encode(&mut bytes);
        assert_eq!(Credit::decode_list(bytes.freeze()), Ok(vec![credit]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = take_frame(&mut BytesMut::from(&bytes[..]));
            let body = Bytes::from(bytes);
            let _ = PutHead::decode(body.clone());
            let _ = PutDone::decode_list(body.clone());
            let _ = DeliverHead::decode(body.clone());
            let _ = Ack::decode_list(body.clone());
            let _ = Credit::decode_list(body);
        }
    }
}
