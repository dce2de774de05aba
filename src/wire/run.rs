//! Runs: records as they travel and as they rest.
//!
//! A *run* is a number of consecutive records of one stream, encoded once, by
//! the publisher. Its body goes verbatim from the publisher's socket to the
//! disk, to every neighbour and to every subscriber; only the origin relay
//! puts a header before it. Runs are never split or joined on a link, so the
//! hash chain over the headers is a hash chain over the stream.
//!
//! Run header, 80 bytes, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | version, 1 |
//! | 1 | 1 | kind: 0 data, 1 mark, 2 genesis, 3 seal, 4 loss |
//! | 2 | 2 | flags: 1 producer given, 2 some record has a ttl, 4 some record has a subject |
//! | 4 | 4 | count of records, 1 to 65,536 |
//! | 8 | 4 | length of the body in bytes |
//! | 12 | 4 | reserved, 0 |
//! | 16 | 8 | sequence of the first record |
//! | 24 | 8 | XXH3-64 of the body |
//! | 32 | 8 | chain: the header hash of the run before, or the start hash of the stream |
//! | 40 | 8 | accepted at the origin, wall clock, microseconds since 1970 |
//! | 48 | 16 | producer id |
//! | 64 | 8 | producer sequence of the first record |
//! | 72 | 8 | header hash: XXH3-64 of bytes 0 to 72 |
//!
//! Record:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | length of what follows |
//! | 4 | 1 | flags: 1 ttl, 2 subject, 4 headers |
//! | 5 | 8 | ttl in milliseconds, if flagged |
//! | … | 2 + n | length of the subject and the subject (UTF-8), if flagged |
//! | … | 4 + n | length of the headers and the headers, if flagged; each: 2 + key, 4 + value |
//! | … | rest | payload |

mod record;

use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::{Index, LinkId, ProducerId, ProducerSequence, Sequence, StreamNumber, WallTime};
use crate::limits;

pub use self::record::{Record, Records};

/// Bytes of an encoded [`RunHeader`].
pub const RUN_HEADER_BYTES: usize = 80;

/// The format that this code writes and the only one it reads.
const RUN_VERSION: u8 = 1;

const FLAG_PRODUCER: u16 = 1;
const FLAG_TTL: u16 = 2;
const FLAG_SUBJECT: u16 = 4;
const FLAGS_KNOWN: u16 = FLAG_PRODUCER | FLAG_TTL | FLAG_SUBJECT;

const RECORD_TTL: u8 = 1;
const RECORD_SUBJECT: u8 = 2;
const RECORD_HEADERS: u8 = 4;
const RECORD_FLAGS_KNOWN: u8 = RECORD_TTL | RECORD_SUBJECT | RECORD_HEADERS;

/// What the records of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunKind {
    /// Messages.
    Data,
    /// A change of membership takes effect here (one record).
    Mark,
    /// The first record of a stream: who was a member when it began.
    Genesis,
    /// The last record of a stream whose epoch has ended.
    Seal,
    /// Stands in the place of records that are lost, and says why.
    Loss,
}

impl RunKind {
    fn to_byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Mark => 1,
            Self::Genesis => 2,
            Self::Seal => 3,
            Self::Loss => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Data,
            1 => Self::Mark,
            2 => Self::Genesis,
            3 => Self::Seal,
            4 => Self::Loss,
            _ => return None,
        })
    }
}

/// Why bytes are not a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Fewer bytes than the header or a record says.
    #[error("the run ends after {found} bytes where {expected} were announced")]
    Short {
        /// Bytes announced.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// A version that this code does not know.
    #[error("run version {0} is not known; this relay reads version 1")]
    Version(u8),
    /// A kind or a flag that this code does not know.
    #[error("the run has an unknown kind or flag ({0:#x})")]
    Unknown(u16),
    /// The header or the body is not what its hash says.
    #[error("the hash of the run's {part} is {found:#x}, not {expected:#x}")]
    Hash {
        /// `header` or `body`.
        part: &'static str,
        /// The hash that was announced.
        expected: u64,
        /// The hash of what is there.
        found: u64,
    },
    /// No record, more than [`limits::RUN_RECORDS_MAX`], or not the announced number.
    #[error("the run announces {announced} records and has {found}")]
    Count {
        /// Records announced.
        announced: u32,
        /// Records there, as far as counted.
        found: u32,
    },
    /// A subject, the headers or the whole body is longer than allowed.
    #[error("the {part} has {found} bytes; at most {max} are allowed")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// Bytes it has.
        found: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A subject or a header's key is not UTF-8.
    #[error("a subject or header key is not UTF-8")]
    Text,
}

/// What stands before the records of a run. Written by the origin, immutable afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHeader {
    /// What the records are.
    pub kind: RunKind,
    /// Whether some record may expire.
    pub has_ttl: bool,
    /// Whether some record has a subject.
    pub has_subject: bool,
    /// How many records follow: 1 to [`limits::RUN_RECORDS_MAX`].
    pub count: u32,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Sequence of the first record.
    pub first: Sequence,
    /// XXH3-64 of the body.
    pub body_hash: u64,
    /// The hash before this run: [`RunHeader::hash`] of the run before, or the stream's start.
    pub chain: u64,
    /// When the origin accepted it.
    pub accepted: WallTime,
    /// Who sent it, and its number there; `None` for the relay's own records.
    pub producer: Option<(ProducerId, ProducerSequence)>,
}

impl RunHeader {
    /// The sequence after the last record.
    #[must_use]
    pub fn end(&self) -> Sequence {
        Sequence(self.first.0 + u64::from(self.count))
    }

    /// Encodes the header.
    #[must_use]
    pub fn encode(&self) -> [u8; RUN_HEADER_BYTES] {
        let mut bytes = [0; RUN_HEADER_BYTES];
        let mut out = &mut bytes[..];
        let flags = if self.producer.is_some() { FLAG_PRODUCER } else { 0 }
            | if self.has_ttl { FLAG_TTL } else { 0 }
            | if self.has_subject { FLAG_SUBJECT } else { 0 };
        let (producer, producer_first) = self.producer.unwrap_or_default();
        out.put_u8(RUN_VERSION);
        out.put_u8(self.kind.to_byte());
        out.put_u16_le(flags);
        out.put_u32_le(self.count);
        out.put_u32_le(self.body_bytes);
        out.put_u32_le(0);
        out.put_u64_le(self.first.0);
        out.put_u64_le(self.body_hash);
        out.put_u64_le(self.chain);
        out.put_u64_le(self.accepted.0);
        out.put_u128_le(producer.0);
        out.put_u64_le(producer_first.0);
        let hash = xxh3_64(&bytes[..72]);
        bytes[72..].copy_from_slice(&hash.to_le_bytes());
        bytes
    }

    /// The hash over the header, and with it over the body and all before it:
    /// the `chain` of the next run.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let bytes = self.encode();
        xxh3_64(&bytes[..72])
    }

    /// Decodes a header and checks its own hash, version, kind, flags and bounds.
    ///
    /// # Errors
    /// Names the first thing that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, RunError> {
        let short = RunError::Short { expected: RUN_HEADER_BYTES, found: bytes.len() };
        let mut input = Input(bytes.get(..RUN_HEADER_BYTES).ok_or_else(|| short.clone())?);
        let covered = input.0.get(..72).ok_or(short)?;
        let found = xxh3_64(covered);
        let version = input.u8()?;
        let kind = input.u8()?;
        let flags = input.u16()?;
        let count = input.u32()?;
        let body_bytes = input.u32()?;
        let _reserved = input.u32()?;
        let first = Sequence(input.u64()?);
        let body_hash = input.u64()?;
        let chain = input.u64()?;
        let accepted = WallTime(input.u64()?);
        let producer = ProducerId(input.u128()?);
        let producer_first = ProducerSequence(input.u64()?);
        let expected = input.u64()?;
        if expected != found {
            return Err(RunError::Hash { part: "header", expected, found });
        }
        if version != RUN_VERSION {
            return Err(RunError::Version(version));
        }
        if flags & !FLAGS_KNOWN != 0 {
            return Err(RunError::Unknown(flags));
        }
        let kind = RunKind::from_byte(kind).ok_or(RunError::Unknown(u16::from(kind)))?;
        check_count(count)?;
        check_length("run", body_bytes as usize, limits::RUN_BYTES_MAX)?;
        if first.0 == 0 || first.0.checked_add(u64::from(count)).is_none() {
            return Err(RunError::Count { announced: count, found: 0 });
        }
        Ok(Self {
            kind,
            has_ttl: flags & FLAG_TTL != 0,
            has_subject: flags & FLAG_SUBJECT != 0,
            count,
            body_bytes,
            first,
            body_hash,
            chain,
            accepted,
            producer: (flags & FLAG_PRODUCER != 0).then_some((producer, producer_first)),
        })
    }
}

fn check_count(count: u32) -> Result<(), RunError> {
    if count == 0 || count > limits::RUN_RECORDS_MAX {
        return Err(RunError::Count { announced: count, found: 0 });
    }
    Ok(())
}

fn check_length(part: &'static str, found: usize, max: usize) -> Result<(), RunError> {
    if found > max { Err(RunError::TooLong { part, found, max }) } else { Ok(()) }
}

/// A header with the records that it announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The header.
    pub header: RunHeader,
    /// The records, as the publisher encoded them.
    pub body: Bytes,
}

/// A run in a relay's copy of a group: what the log gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRun {
    /// The stream that it is part of.
    pub stream: StreamNumber,
    /// The insertion index of its first record; the others follow it.
    pub first_index: Index,
    /// When this relay received it, by its own wall clock.
    pub arrived: WallTime,
    /// How old it was then, in milliseconds, counted over all relays before.
    pub age_ms: u32,
    /// The link it came over; 0 for this relay's own sessions.
    pub link: LinkId,
    /// Header and records.
    pub run: Run,
}

impl StoredRun {
    /// The insertion index after the last record.
    #[must_use]
    pub fn end_index(&self) -> Index {
        self.first_index.after(u64::from(self.run.header.count))
    }
}

/// What a body of records says about itself, found in one pass over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodySummary {
    /// How many records there are.
    pub count: u32,
    /// Whether some record may expire.
    pub has_ttl: bool,
    /// Whether some record has a subject.
    pub has_subject: bool,
    /// Bytes of the longest payload.
    pub payload_bytes_max: usize,
}

impl BodySummary {
    /// Walks over all records of `body` and checks each of them.
    ///
    /// # Errors
    /// When a record is cut off, a length is over its limit, a text is not
    /// UTF-8, or there is no record or too many.
    pub fn of(body: &[u8]) -> Result<Self, RunError> {
        check_length("run", body.len(), limits::RUN_BYTES_MAX)?;
        let mut summary = Self { count: 0, has_ttl: false, has_subject: false, payload_bytes_max: 0 };
        for record in Records::new(body) {
            let record = record?;
            summary.count += 1;
            if summary.count > limits::RUN_RECORDS_MAX {
                break;
            }
            summary.has_ttl |= record.ttl_ms.is_some();
            summary.has_subject |= record.subject.is_some();
            summary.payload_bytes_max = summary.payload_bytes_max.max(record.payload.len());
        }
        check_count(summary.count)?;
        Ok(summary)
    }
}

/// Bytes being decoded: every step is checked, nothing is indexed.
#[derive(Clone, Copy, Debug)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], RunError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(RunError::Short { expected: length, found: self.0.len() })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RunError> {
        let (taken, rest) =
            self.0.split_first_chunk().ok_or(RunError::Short { expected: N, found: self.0.len() })?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, RunError> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, RunError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, RunError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RunError> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, RunError> {
        self.array().map(u128::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
