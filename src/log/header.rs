//! What a segment file says about itself, at its beginning.
//!
//! One sector of 512 bytes, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TCSG` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | 0 spare, 1 in use, 2 cold |
//! | 8 | 16 | storage id |
//! | 24 | 4 | number of the file, as in its name |
//! | 28 | 4 | reserved, 0 |
//! | 32 | 8 | bytes of the file when it was made; 0 for a cold one |
//! | 40 | 8 | segment epoch: XXH3-64, seeded with the secret of `IDENT`, of the boot counter and the serial number in that boot (8 bytes each) |
//! | 48 | 8 | lsn of the first block |
//! | 56 | 8 | number of the first entry |
//! | 64 | 8 | hash of the block before |
//! | 72 | 8 | cold: lsn of the last block that it replaces |
//! | 80 | 8 | cold: number of the last entry that it replaces |
//! | 88 | 8 | cold: lsn of its own last block |
//! | 96 | 8 | cold: number of the last entry in it |
//! | 104 | 400 | reserved, 0 |
//! | 504 | 8 | XXH3-64 of bytes 0 to 504 |

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::EntryNumber;
use super::codec::{Input, checked, seal};
use super::storage::SECTOR_BYTES;
use crate::id::{Lsn, StorageId};

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = SECTOR_BYTES as u64;
const MAGIC: [u8; 4] = *b"TCSG";
/// The format of segments, of their blocks and of what is in the blocks.
pub(crate) const VERSION: u16 = 1;
const STATE_SPARE: u16 = 0;
const STATE_IN_USE: u16 = 1;
const STATE_COLD: u16 = 2;

/// The epoch of the segment with this serial number in a boot. No segment of the storage ever had it,
/// and no publisher can foretell it: a payload cannot be made to look like a block.
pub(crate) fn segment_epoch(boot: u64, serial: u32, secret: u64) -> u64 {
    let place = [boot.to_le_bytes(), u64::from(serial).to_le_bytes()];
    xxh3_64_with_seed(place.as_flattened(), secret)
}

/// What a segment file says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) in_use: bool,
    pub(crate) storage: StorageId,
    pub(crate) number: u32,
    pub(crate) capacity: u64,
    pub(crate) epoch: u64,
    pub(crate) base: Lsn,
    pub(crate) base_entry: EntryNumber,
    pub(crate) previous: u64,
    pub(crate) cold: Option<Cold>,
}

/// What a cold segment says of itself beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cold {
    /// The last block that it replaces.
    pub(crate) last: Lsn,
    /// The last entry that it replaces.
    pub(crate) last_entry: EntryNumber,
    /// Its own last block, by its own count.
    pub(crate) own_last: Lsn,
    /// Its own last entry, by its own count.
    pub(crate) own_last_entry: EntryNumber,
}

impl SegmentHeader {
    /// Where the first block starts.
    pub(crate) fn start(&self) -> u64 {
        if self.cold.is_some() { 2 * SEGMENT_HEADER_BYTES } else { SEGMENT_HEADER_BYTES }
    }

    /// Whether `other` was taken into this segment, which is cold.
    pub(crate) fn replaces(&self, other: &Self) -> bool {
        self.cold.is_some_and(|cold| (self.base..=cold.last).contains(&other.base))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SECTOR_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.state().to_le_bytes());
        out.extend_from_slice(&self.storage.0);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for field in [self.capacity, self.epoch, self.base.0, self.base_entry.0, self.previous] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        if let Some(cold) = self.cold {
            for field in [cold.last.0, cold.last_entry.0, cold.own_last.0, cold.own_last_entry.0] {
                out.extend_from_slice(&field.to_le_bytes());
            }
        }
        out.resize(SECTOR_BYTES - 8, 0);
        seal(&mut out, 0, 0);
        out
    }

    /// Whether a damaged header was that of a spare of the storage `id`.
    pub(crate) fn resembles_spare(bytes: &[u8], id: StorageId) -> bool {
        let [low, high] = VERSION.to_le_bytes();
        let [spare, _] = STATE_SPARE.to_le_bytes();
        let begin = [MAGIC.as_slice(), &[low, high, spare, spare], &id.0].concat();
        bytes.starts_with(&begin)
    }

    fn state(&self) -> u16 {
        match (self.in_use, self.cold) {
            (false, _) => STATE_SPARE,
            (true, None) => STATE_IN_USE,
            (true, Some(_)) => STATE_COLD,
        }
    }

    /// The version of a header that is whole, whichever it is: magic, version
    /// and hash stay where they are in every version.
    pub(crate) fn version(bytes: &[u8]) -> Option<u16> {
        let mut input = Input(checked(bytes.get(..SECTOR_BYTES)?, 0)?);
        (input.array::<4>()? == MAGIC).then(|| input.u16()).flatten()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(checked(bytes.get(..SECTOR_BYTES)?, 0)?);
        if input.array::<4>()? != MAGIC || input.u16()? != VERSION {
            return None;
        }
        let state = input.u16()?;
        let storage = StorageId(input.array()?);
        let number = input.u32()?;
        let _reserved = input.u32()?;
        let header = Self {
            in_use: state != STATE_SPARE,
            storage,
            number,
            capacity: input.u64().filter(|bytes| *bytes <= u64::from(u32::MAX))?,
            epoch: input.u64()?,
            base: Lsn(input.number()?),
            base_entry: EntryNumber(input.number()?),
            previous: input.u64()?,
            cold: None,
        };
        match state {
            STATE_SPARE | STATE_IN_USE => Some(header),
            STATE_COLD => {
                let cold = Cold {
                    last: Lsn(input.number()?),
                    last_entry: EntryNumber(input.number()?),
                    own_last: Lsn(input.number()?),
                    own_last_entry: EntryNumber(input.number()?),
                };
                (cold.last >= header.base).then_some(Self { cold: Some(cold), ..header })
            }
            _ => None,
        }
    }
}
