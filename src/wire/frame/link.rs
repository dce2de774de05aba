//! The frame that carries a run from one relay to the next.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{FrameError, FrameKind};
use crate::wire::packed::{PackedError, Packing, unpack};
use crate::wire::run::{RUN_HEADER_BYTES, RunError, RunHeader};

/// The fixed part of a link-run's body; the records follow it.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | age in milliseconds when it was sent: the time it spent at all relays before |
/// | 4 | 4 | how the records travel ([`Packing`]): 0 as they are, 1 as one LZ4 block |
/// | 8 | 80 | the run's header, as its origin wrote it ([`RunHeader`]) |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRunHead {
    /// Milliseconds that the run spent at all relays before.
    pub age_ms: u32,
    /// How its records travel to the next relay.
    pub packing: Packing,
    /// What the origin says of the records.
    pub header: RunHeader,
}

/// Bytes of an encoded [`LinkRunHead`].
pub const LINK_RUN_HEAD_BYTES: usize = 8 + RUN_HEADER_BYTES;

/// Why a link-run's body is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkRunError {
    /// The body is shorter than its fixed part, or a field has a value that is none.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The run's header or its records are not right.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its records are packed, and cannot be unpacked.
    #[error(transparent)]
    Packed(#[from] PackedError),
}

impl LinkRunHead {
    /// Appends the fixed part to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.age_ms);
        out.put_u32_le(self.packing as u32);
        out.put_slice(&self.header.encode());
    }

    /// Takes a link-run's body apart: the fixed part and the records, unpacked and not looked at.
    ///
    /// # Errors
    /// When the body is too short or too long for its run, cannot be unpacked, or the run's header
    /// is not right.
    pub fn decode(mut body: Bytes) -> Result<(Self, Bytes), LinkRunError> {
        let kind = FrameKind::LinkRun;
        if body.len() < LINK_RUN_HEAD_BYTES {
            return Err(FrameError::Short { kind, found: body.len() }.into());
        }
        let age_ms = body.get_u32_le();
        let packing = match body.get_u32_le() {
            0 => Packing::Plain,
            1 => Packing::Lz4,
            found => {
                return Err(FrameError::Value { kind, field: "packing", found: u64::from(found) }.into());
            }
        };
        let header = RunHeader::decode(&body)?;
        body.advance(RUN_HEADER_BYTES);
        if packing == Packing::Lz4 {
            let records = unpack(&body, header.body_bytes as usize)?;
            return Ok((Self { age_ms, packing, header }, records));
        }
        if body.len() != header.body_bytes as usize {
            let (expected, found) = (header.body_bytes as usize, body.len());
            return Err(RunError::Short { expected, found }.into());
        }
        Ok((Self { age_ms, packing, header }, body))
    }
}
