//! Bytes being decoded inside the log: every step is checked, nothing is indexed.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::LogError;

/// Why a file cannot be used: without its name, which whoever opened it adds.
#[derive(Clone, Debug)]
pub(crate) enum Unusable {
    /// Its hash is right and its version is another one: never taken for damage.
    Version { found: u32, known: u32 },
    /// Anything else, for people to read.
    Format(String),
}

impl Unusable {
    pub(crate) fn of(self, file: &str) -> LogError {
        let file = file.to_owned();
        match self {
            Self::Version { found, known } => LogError::Version { file, found, known },
            Self::Format(reason) => LogError::Format { file, reason },
        }
    }
}

/// The highest number of a block, an entry or a boot that is taken for one: no log
/// gets so far, and whoever counts on from it does not run over.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// What is left to decode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Something that is counted; nothing for one that is beyond [`NUMBER_MAX`].
    pub(crate) fn number(&mut self) -> Option<u64> {
        self.u64().filter(|number| *number <= NUMBER_MAX)
    }
}

/// The bytes of `input` before the 8 bytes of hash at its end, if the hash is theirs.
pub(crate) fn checked(input: &[u8], salt: u64) -> Option<&[u8]> {
    let (covered, hash) = input.split_last_chunk()?;
    (xxh3_64_with_seed(covered, salt) == u64::from_le_bytes(*hash)).then_some(covered)
}

/// Appends the hash of everything from `start` on, for [`checked`].
pub(crate) fn seal(out: &mut Vec<u8>, start: usize, salt: u64) {
    let hash = xxh3_64_with_seed(out.get(start..).unwrap_or_default(), salt);
    out.extend_from_slice(&hash.to_le_bytes());
}

/// Makes one seed out of two numbers, so that bytes which are right in one
/// place are wrong in every other one.
pub(crate) fn salt(epoch: u64, place: u64) -> u64 {
    epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23) ^ place.wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// `length` raised to the next multiple of `unit`.
pub(crate) fn round_up(length: u64, unit: u64) -> u64 {
    length.div_ceil(unit).saturating_mul(unit)
}
