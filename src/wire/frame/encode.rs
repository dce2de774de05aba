//! Appending frames: the header is written when its body is known.

use bytes::{BufMut, BytesMut};

use super::{COVERED_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind};

impl FrameHeader {
    /// Appends the header, with its own checksum, to `out`.
    ///
    /// # Panics
    /// When the body has 4 GiB or more, which the bounds exclude.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.to_bytes());
    }

    fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_u32_le(u32::try_from(self.body_bytes).expect("bodies are bounded far below 4 GiB"));
        out.put_u8(self.kind as u8);
        out.put_bytes(0, 3);
        out.put_u64_le(self.tag);
        out.put_u32_le(self.body_checksum);
        let checksum = crc32fast::hash(&bytes[..COVERED_BYTES]);
        bytes[COVERED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// Appends a frame to `out`.
///
/// # Panics
/// When the body has 4 GiB or more, which the bounds exclude.
pub fn append_frame(out: &mut BytesMut, kind: FrameKind, tag: u64, body: &[u8]) {
    append_frame_with(out, kind, tag, 0, |out| out.put_slice(body));
}

/// Appends a frame to `out`, its body by `write`. Of a put, a delivery or a link-run `write` may
/// append the fixed part only: `records_bytes` of records are to follow then, by the caller.
///
/// # Panics
/// When the body has 4 GiB or more, which the bounds exclude.
pub fn append_frame_with(
    out: &mut BytesMut,
    kind: FrameKind,
    tag: u64,
    records_bytes: usize,
    write: impl FnOnce(&mut BytesMut),
) {
    let place = out.len();
    out.put_bytes(0, FRAME_HEADER_BYTES);
    write(out);
    debug_assert!(
        records_bytes == 0
            || matches!(
                kind,
                FrameKind::Put
                    | FrameKind::Deliver
                    | FrameKind::LinkRun
                    | FrameKind::LinkDeliver
                    | FrameKind::LinkCopy
            ),
        "no records in it"
    );
    let (header, body) = out[place..].split_at_mut(FRAME_HEADER_BYTES);
    let body_bytes = body.len() + records_bytes;
    let body_checksum = crc32fast::hash(kind.checked(body));
    header.copy_from_slice(&FrameHeader { kind, tag, body_bytes, body_checksum }.to_bytes());
}
