//! Records packed for a slow link: one LZ4 block per run.
//!
//! A run is packed for the next hop alone. What is stored, hashed and passed on are its records
//! as their origin wrote them; the receiver compares their hash after it has unpacked them. A block
//! says nothing of the length that it unpacks to: that is in the run's header, which has a hash of
//! its own, and is checked before anything is allocated.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits;

/// How the records of a link-run travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Packing {
    /// As their origin wrote them.
    #[default]
    Plain = 0,
    /// As one LZ4 block, without a length in front.
    Lz4 = 1,
}

/// What a relay says in its hello when it takes runs that are packed so.
pub const LZ4: &str = "lz4";

/// No LZ4 block unpacks to more than so many times its length: a byte of a length counts 255.
const EXPANSION_MAX: usize = 255;

/// Why packed records are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackedError {
    /// The run's header announces more than can be in the block, or more than a run may have.
    #[error("{found} packed bytes cannot be {announced} bytes of records")]
    Length {
        /// Bytes of the block.
        found: usize,
        /// Bytes of records that are announced.
        announced: usize,
    },
    /// The block is none, or is one of another length.
    #[error("the records cannot be unpacked: {0}")]
    Block(String),
}

/// Packs `records` behind what is in `out`. False: they do not become shorter than seven eighths
/// of what they are, and `out` is as it was.
pub fn pack(records: &[u8], out: &mut BytesMut) -> bool {
    let before = out.len();
    out.put_bytes(0, lz4_flex::block::get_maximum_output_size(records.len()));
    let packed = lz4_flex::block::compress_into(records, &mut out[before..]);
    let packed = packed.ok().filter(|packed| *packed < records.len() / 8 * 7);
    out.truncate(before + packed.unwrap_or(0));
    packed.is_some()
}

/// Unpacks a block into as many bytes as the run's header announces.
///
/// # Errors
/// When that cannot be its length, or it is no block. Nothing is allocated for a length that it
/// cannot have.
pub fn unpack(packed: &[u8], announced: usize) -> Result<Bytes, PackedError> {
    if announced > limits::RUN_BYTES_MAX || announced > packed.len().saturating_mul(EXPANSION_MAX) {
        return Err(PackedError::Length { found: packed.len(), announced });
    }
    let mut records = BytesMut::zeroed(announced);
    match lz4_flex::block::decompress_into(packed, &mut records) {
        Ok(found) if found == announced => Ok(records.freeze()),
        Ok(found) => Err(PackedError::Block(format!("they are {found} bytes, not {announced}"))),
        Err(error) => Err(PackedError::Block(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn what_is_packed_is_unpacked_to_the_same() {
        let mut dice = Dice::new(1);
        for bytes in [600, 4096, 131_072, 1 << 20] {
            let records: Vec<u8> =
                (0..bytes).map(|i| if i % 16 < 12 { b'a' } else { dice.below(256) as u8 }).collect();
            let mut out = BytesMut::from(&b"before"[..]);
            assert!(pack(&records, &mut out));
            assert!(out.len() < records.len() * 3 / 4);
            assert_eq!(&out[..6], b"before");
            assert_eq!(unpack(&out[6..], records.len()).unwrap(), records);
        }
    }

    #[test]
    fn what_does_not_become_shorter_is_left() {
        let mut dice = Dice::new(1);
        let records: Vec<u8> = (0..100_000).map(|_| dice.below(256) as u8).collect();
        let mut out = BytesMut::from(&b"before"[..]);
        assert!(!pack(&records, &mut out));
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn a_length_that_a_block_cannot_have_is_refused_before_it_is_allocated() {
        let mut out = BytesMut::new();
        pack(&[7; 100_000], &mut out);
        let length = |announced| PackedError::Length { found: out.len(), announced };
        for announced in [out.len() * EXPANSION_MAX + 1, limits::RUN_BYTES_MAX + 1, usize::MAX] {
            assert_eq!(unpack(&out, announced), Err(length(announced)));
        }
        for announced in [0, 1, 99_999, 100_001] {
            assert!(matches!(unpack(&out, announced), Err(PackedError::Block(_))), "{announced}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut dice = Dice::new(2);
        let mut out = BytesMut::new();
        pack(&b"one two three one two three ".repeat(40), &mut out);
        for _ in 0..20_000 {
            let mut packed = out.to_vec();
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(packed.len() as u64) as usize;
                packed[at] = dice.below(256) as u8;
            }
            packed.truncate(1 + dice.below(packed.len() as u64) as usize);
            let _ = unpack(&packed, dice.below(4_000) as usize);
        }
    }
}
