//! Frames: what a session reads and writes.
//!
//! Every frame is a header of 24 bytes and a body, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of the body in bytes |
//! | 4 | 1 | kind |
//! | 5 | 3 | reserved, 0 |
//! | 8 | 8 | tag: a request's number or a handle, by kind |
//! | 16 | 4 | CRC-32 of the body; of a put, a delivery, a link-run, a link-delivery and a link-copy only of what stands before the records |
//! | 20 | 4 | CRC-32 of bytes 0 to 20 |
//!
//! Control bodies are CBOR ([`crate::wire::body`]); the frames of the hot path
//! (put, put-answer, deliver, ack, credit, link-run, link-deliver) have fixed layouts, given
//! at their types, as has link-copy. A body's length is checked against the bound of its kind before
//! anything is allocated for it.
//!
//! Every byte is covered once: the header by its own checksum, so that a length
//! is believed and waited for only when it is right; a body by the checksum in the
//! header; records by the hash in the fixed part before them, which they have
//! anyway, so that large bodies are not gone over twice.

mod circuit;
mod copy;
mod deliver;
mod encode;
mod link;
mod put;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits;

pub use self::circuit::LinkDeliverHead;
pub use self::copy::LinkCopyHead;
pub use self::deliver::{ACK_BYTES, Ack, AckKind, CREDIT_BYTES, Credit, DELIVER_HEAD_BYTES, DeliverHead};
pub use self::encode::{append_frame, append_frame_with};
pub use self::link::{LINK_RUN_HEAD_BYTES, LinkRunError, LinkRunHead};
pub use self::put::{AckLevel, PUT_DONE_BYTES, PUT_HEAD_BYTES, PutDone, PutHead};

/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: usize = 24;

/// Bytes of a frame header that its own checksum covers: all before it.
const COVERED_BYTES: usize = 20;

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
    /// First frame in both directions between two relays: versions, names, identity (CBOR).
    LinkHello = 13,
    /// What neighbours say to one another, runs excepted (CBOR).
    Link = 14,
    /// Records of a stream for a neighbour; the tag is the sender's number of the stream.
    LinkRun = 15,
    /// Messages for a subscription whose application is at another relay; the tag is the circuit's
    /// number.
    LinkDeliver = 16,
    /// Records for the new home of a subscription that is moved.
    LinkCopy = 17,
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
            13 => Self::LinkHello,
            14 => Self::Link,
            15 => Self::LinkRun,
            16 => Self::LinkDeliver,
            17 => Self::LinkCopy,
            _ => return None,
        })
    }

    /// Bytes that a body of this kind may have.
    #[must_use]
    pub fn body_bytes_max(self) -> usize {
        match self {
            Self::Put | Self::Deliver | Self::LinkRun | Self::LinkDeliver | Self::LinkCopy => {
                limits::FRAME_BYTES_MAX
            }
            Self::Link => limits::LINK_CONTROL_BYTES_MAX,
            Self::LinkHello => limits::HELLO_BYTES_MAX,
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

    /// How much of a body the checksum in the header covers: all of it, or what
    /// stands before records, with the hash of these.
    fn checked(self, body: &[u8]) -> &[u8] {
        let bytes = match self {
            Self::Put => PUT_HEAD_BYTES,
            Self::Deliver => DELIVER_HEAD_BYTES,
            Self::LinkRun => LINK_RUN_HEAD_BYTES,
            Self::LinkDeliver => LinkDeliverHead::bytes(body),
            Self::LinkCopy => LinkCopyHead::bytes(body),
            Self::Hello
            | Self::Request
            | Self::Answer
            | Self::PutAnswer
            | Self::Ack
            | Self::Credit
            | Self::Notice
            | Self::Ping
            | Self::Pong
            | Self::LinkHello
            | Self::Link
            | Self::Close => body.len(),
        };
        body.get(..bytes).unwrap_or(body)
    }
}

/// Why bytes are not a frame. The session that sent them is closed with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A header or a body that is not what its checksum says.
    #[error(
        "the checksum of a frame's {part} is {found:#010x}, not {expected:#010x}: it was changed on its way, \
         or is no frame"
    )]
    Checksum {
        /// `header` or `body`.
        part: &'static str,
        /// The checksum that came with it.
        expected: u32,
        /// The checksum of what has come.
        found: u32,
    },
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
    /// CRC-32 of the body; of a put, a delivery and a link-run only of its fixed part.
    pub body_checksum: u32,
}

impl FrameHeader {
    /// Decodes a header and checks it, length included. `None`: more bytes are needed.
    ///
    /// # Errors
    /// When the bytes cannot be a frame's beginning; the session cannot go on.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(mut header) = bytes.get(..FRAME_HEADER_BYTES) else { return Ok(None) };
        let found = header.get(..COVERED_BYTES).map_or(0, crc32fast::hash);
        let body_bytes = header.get_u32_le() as usize;
        let kind = header.get_u8();
        let reserved = header.get_uint_le(3);
        let tag = header.get_u64_le();
        let body_checksum = header.get_u32_le();
        check("header", header.get_u32_le(), found)?;
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        if reserved != 0 {
            return Err(FrameError::Reserved);
        }
        let max = kind.body_bytes_max();
        if body_bytes > max {
            return Err(FrameError::TooLong { kind, found: body_bytes, max });
        }
        Ok(Some(Self { kind, tag, body_bytes, body_checksum }))
    }
}

fn check(part: &'static str, expected: u32, found: u32) -> Result<(), FrameError> {
    if expected == found { Ok(()) } else { Err(FrameError::Checksum { part, expected, found }) }
}

/// Takes the first whole frame off `buffer`, without copying its body. The records of a
/// put, a delivery, a link-run or a link-delivery are not looked at: their hash is in front of them.
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
    check("body", header.body_checksum, crc32fast::hash(header.kind.checked(&body)))?;
    Ok(Some(Frame { kind: header.kind, tag: header.tag, body }))
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
mod tests;
