//! The frame that carries a run to the new home of a subscription that is moved.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::link::LinkRunError;
use super::{FrameError, FrameKind};
use crate::wire::moving::CopyHead;
use crate::wire::run::{RUN_HEADER_BYTES, RunError, RunHeader};

/// The longest head: with all of its names as long as they may be it is far from that.
const HEAD_BYTES_MAX: usize = 3_500;

/// The first part of a link-copy's body; the records follow it.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | bytes of the head, `h` |
/// | 4 | `h` | the head (CBOR, [`CopyHead`]) |
/// | 4 + `h` | 80 | the run's header, as its origin wrote it ([`RunHeader`]) |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCopyHead {
    /// Which move, and what of the old home's log it is.
    pub head: CopyHead,
    /// What the origin says of the records.
    pub header: RunHeader,
}

impl LinkCopyHead {
    /// Appends the first part to `out`.
    ///
    /// # Panics
    /// Never: a head has some names and numbers.
    pub fn encode(&self, out: &mut BytesMut) {
        let head = crate::wire::body::encode(&self.head);
        out.put_u32_le(u32::try_from(head.len()).expect("a head has some names and numbers"));
        out.put_slice(&head);
        out.put_slice(&self.header.encode());
    }

    /// How many bytes of a body stand before the records, as far as the body says so.
    pub(super) fn bytes(body: &[u8]) -> usize {
        let head = body.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        4 + head.min(HEAD_BYTES_MAX) + RUN_HEADER_BYTES
    }

    /// Takes a link-copy apart: the first part and the records, which are not looked at.
    ///
    /// # Errors
    /// When the body is too short or too long for its run, or its head or the run's header is not right.
    pub fn decode(mut body: Bytes) -> Result<(Self, Bytes), LinkRunError> {
        let kind = FrameKind::LinkCopy;
        if body.len() < Self::bytes(&body) {
            return Err(FrameError::Short { kind, found: body.len() }.into());
        }
        let bytes = body.get_u32_le();
        if bytes as usize > HEAD_BYTES_MAX {
            return Err(FrameError::Value { kind, field: "head", found: u64::from(bytes) }.into());
        }
        let head = crate::wire::body::decode(&body.split_to(bytes as usize));
        let head = head.map_err(|_| FrameError::Value { kind, field: "head", found: u64::from(bytes) })?;
        let header = RunHeader::decode(&body)?;
        body.advance(RUN_HEADER_BYTES);
        if body.len() != header.body_bytes as usize {
            let (expected, found) = (header.body_bytes as usize, body.len());
            return Err(RunError::Short { expected, found }.into());
        }
        Ok((Self { head, header }, body))
    }
}
