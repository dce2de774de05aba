//! The frame that carries a delivery over a circuit.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{DELIVER_HEAD_BYTES, DeliverHead, FrameError, FrameKind};
use crate::id::RelayId;
use crate::wire::circuit::{CircuitHead, CircuitId};

/// The first part of a link-delivery's body; the records follow it. The circuit's number is the
/// frame's tag.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 8 | boot of the opener |
/// | 8 | 8 | sequence: what the home has said over this circuit before |
/// | 16 | 2 | links that it may still take |
/// | 18 | 1 | bytes of the opener's name, `o` |
/// | 19 | 1 | bytes of the home's name, `h` |
/// | 20 | 4 | reserved, 0 |
/// | 24 | 48 | the delivery's fixed part, with the home's numbers ([`DeliverHead`]) |
/// | 72 | `o` | the opener's name |
/// | 72 + `o` | `h` | the home's name |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDeliverHead {
    /// Which circuit, and where it is on its way: always back.
    pub head: CircuitHead,
    /// What the home says of the records.
    pub deliver: DeliverHead,
}

/// Bytes of an encoded [`LinkDeliverHead`] before the names.
const FIXED_BYTES: usize = 24 + DELIVER_HEAD_BYTES;

impl LinkDeliverHead {
    /// Appends the first part to `out`.
    ///
    /// # Panics
    /// Never: names are shorter than 256 bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let Self { head, deliver } = self;
        let (opener, home) = (head.circuit.opener.as_str(), head.home.as_str());
        out.put_u64_le(head.circuit.boot);
        out.put_u64_le(head.sequence);
        out.put_u16_le(head.hops);
        out.put_u8(u8::try_from(opener.len()).expect("names are shorter than 256 bytes"));
        out.put_u8(u8::try_from(home.len()).expect("names are shorter than 256 bytes"));
        out.put_u32_le(0);
        deliver.encode(out);
        out.put_slice(opener.as_bytes());
        out.put_slice(home.as_bytes());
    }

    /// How many bytes of a body stand before the records, as far as the body says so.
    pub(super) fn bytes(body: &[u8]) -> usize {
        let names = body.get(18..20).map_or(0, |bytes| bytes.iter().map(|byte| usize::from(*byte)).sum());
        FIXED_BYTES + names
    }

    /// Takes a link-delivery apart: the first part and the records, which are not looked at.
    ///
    /// # Errors
    /// When the body is too short, or a field has no meaning.
    pub fn decode(number: u64, mut body: Bytes) -> Result<(Self, Bytes), FrameError> {
        let kind = FrameKind::LinkDeliver;
        if body.len() < Self::bytes(&body) {
            return Err(FrameError::Short { kind, found: body.len() });
        }
        let boot = body.get_u64_le();
        let sequence = body.get_u64_le();
        let hops = body.get_u16_le();
        let (opener, home) = (usize::from(body.get_u8()), usize::from(body.get_u8()));
        let reserved = body.get_u32_le();
        if reserved != 0 {
            return Err(FrameError::Value { kind, field: "reserved", found: u64::from(reserved) });
        }
        let (deliver, mut rest) = DeliverHead::decode(body)?;
        let opener = name(rest.split_to(opener), "opener")?;
        let home = name(rest.split_to(home), "home")?;
        let circuit = CircuitId { opener, boot, number };
        let head = CircuitHead { circuit, home, is_back: true, sequence, hops };
        Ok((Self { head, deliver }, rest))
    }
}

fn name(bytes: Bytes, field: &'static str) -> Result<RelayId, FrameError> {
    let name = std::str::from_utf8(&bytes).ok().and_then(|text| RelayId::new(text).ok());
    name.ok_or(FrameError::Value { kind: FrameKind::LinkDeliver, field, found: bytes.len() as u64 })
}
