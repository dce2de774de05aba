//! Blocks: what one commit writes.
//!
//! A block starts at a multiple of 512 bytes and is padded with zeros to one.
//! It is written only after the block before it has become durable, so a block
//! that can be read proves that all before it were durable once: recovery may
//! cut behind the last block of a log, and nowhere else. A field that says up to
//! where the log was durable would always say `lsn` less one, so there is none;
//! of the last block itself no header can say it.
//!
//! Block header, 96 bytes, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TCBK` |
//! | 4 | 2 | version, 1 |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 8 | segment epoch |
//! | 16 | 8 | position of the block in its file |
//! | 24 | 8 | lsn |
//! | 32 | 8 | hash of the block before (its last 8 header bytes) |
//! | 40 | 8 | number of the first entry |
//! | 48 | 4 | count of entries |
//! | 52 | 4 | bytes of the block, header included, padding not |
//! | 56 | 8 | XXH3-64 of the entries' hashes, one behind the other |
//! | 64 | 24 | reserved, 0 |
//! | 88 | 8 | XXH3-64 of bytes 0 to 88, salted |
//!
//! Behind it the entries, each with its head. A run, 128 bytes and its body:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | kind, 1 |
//! | 1 | 3 | reserved, 0 |
//! | 4 | 4 | group |
//! | 8 | 4 | stream |
//! | 12 | 4 | link |
//! | 16 | 8 | insertion index of the first record |
//! | 24 | 8 | arrived, microseconds since 1970 |
//! | 32 | 4 | age when it arrived, milliseconds |
//! | 36 | 4 | reserved, 0 |
//! | 40 | 80 | run header, which carries the hash of the body |
//! | 120 | 8 | XXH3-64 of bytes 0 to 120, salted |
//!
//! A change of state, 16 bytes and its body:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | kind, 2 |
//! | 1 | 3 | reserved, 0 |
//! | 4 | 4 | length |
//! | 8 | 8 | XXH3-64 of the body, salted |
//!
//! The salt of a hash is the segment epoch and the position in the file. An
//! epoch is given to a file once and never again, and each of its positions is
//! written once: bytes from the file's earlier life, from another file, or
//! from another place never pass. Heads stand beside their bodies, so that a
//! cold read of a group takes both in one go and checks them without the
//! block's header; a commit hashes 128 bytes per run and no body.

use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::codec::{Input, checked, round_up, salt, seal};
use super::storage::SECTOR_BYTES;
use super::{EntryNumber, RunEntry};
use crate::id::{GroupNumber, Index, LinkId, Lsn, StreamNumber, WallTime};
use crate::wire::run::{RUN_HEADER_BYTES, RunHeader};

/// Bytes of an encoded [`BlockHeader`].
pub(crate) const BLOCK_HEADER_BYTES: usize = 96;
/// Bytes of the head of a run inside a block.
pub(crate) const RUN_HEAD_BYTES: usize = 128;
/// Bytes of the head of a change of state inside a block.
pub(crate) const STATE_HEAD_BYTES: usize = 16;
/// The page of the system: a write ends on its border, so that the system
/// never has to read a page in order to write a part of it.
pub(crate) const PAGE_BYTES: u64 = 4096;

const MAGIC: [u8; 4] = *b"TCBK";
const VERSION: u16 = 1;
const KIND_RUN: u8 = 1;
pub(crate) const KIND_STATE: u8 = 2;
/// What stands before the entries of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) epoch: u64,
    pub(crate) position: u64,
    pub(crate) lsn: Lsn,
    pub(crate) previous: u64,
    pub(crate) first: EntryNumber,
    pub(crate) count: u32,
    pub(crate) bytes: u32,
    pub(crate) heads_hash: u64,
}

impl BlockHeader {
    /// Encodes the header; its last 8 bytes are the hash of the block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        for field in [self.epoch, self.position, self.lsn.0, self.previous, self.first.0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.heads_hash.to_le_bytes());
        out.extend_from_slice(&[0; 24]);
        seal(&mut out, 0, salt(self.epoch, self.position));
        out
    }

    /// The hash that the next block carries as `previous`.
    pub(crate) fn hash(&self) -> u64 {
        self.encode().last_chunk().map_or(0, |hash| u64::from_le_bytes(*hash))
    }

    /// Decodes the header at the beginning of `bytes`, which were read at
    /// `position` of a segment; nothing if it is not one that belongs there.
    pub(crate) fn decode(bytes: &[u8], epoch: u64, position: u64) -> Option<Self> {
        let bytes = bytes.get(..BLOCK_HEADER_BYTES)?;
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let mut input = Input(checked(bytes, salt(epoch, position))?);
        let (_magic, version, _reserved) = (input.u32()?, input.u16()?, input.u16()?);
        let header = Self {
            epoch: input.u64()?,
            position: input.u64()?,
            lsn: Lsn(input.number()?),
            previous: input.u64()?,
            first: EntryNumber(input.number()?),
            count: input.u32()?,
            bytes: input.u32()?,
            heads_hash: input.u64()?,
        };
        let fits = header.bytes as usize >= BLOCK_HEADER_BYTES
            && header.epoch == epoch
            && header.position == position;
        (version == VERSION && fits).then_some(header)
    }

    /// The epoch that a block at `position` claims, hash-checked: for a file
    /// whose own header is damaged.
    pub(crate) fn claimed_epoch(bytes: &[u8], position: u64) -> Option<u64> {
        let mut input = Input(bytes.get(8..16)?);
        let epoch = input.u64()?;
        Self::decode(bytes, epoch, position).map(|_| epoch)
    }

    /// Whether `bytes` are a header that was written in the place of this one and
    /// damaged since: two of the five fields that it must have may be wrong.
    pub(crate) fn resembles(&self, bytes: &[u8]) -> bool {
        let wanted = [self.epoch, self.position, self.lsn.0, self.previous, self.first.0];
        let there = bytes.get(8..48).unwrap_or_default().chunks_exact(8);
        let right = there.zip(wanted).filter(|(found, wanted)| **found == wanted.to_le_bytes()).count();
        right >= wanted.len() - 2
    }

    /// Where the next block may start.
    pub(crate) fn end(&self) -> u64 {
        self.position.saturating_add(round_up(u64::from(self.bytes), SECTOR_BYTES as u64))
    }

    /// The number of the last entry.
    pub(crate) fn last(&self) -> EntryNumber {
        EntryNumber((self.first.0 + u64::from(self.count)).saturating_sub(1))
    }
}

/// What stands before the body of a run inside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunHead {
    pub(crate) group: GroupNumber,
    pub(crate) stream: StreamNumber,
    pub(crate) link: LinkId,
    pub(crate) first_index: Index,
    pub(crate) arrived: WallTime,
    pub(crate) age_ms: u32,
    pub(crate) header: RunHeader,
}

impl RunHead {
    pub(crate) fn encode(entry: &RunEntry, out: &mut Vec<u8>, salt: u64) {
        let start = out.len();
        out.extend_from_slice(&[KIND_RUN, 0, 0, 0]);
        for field in [entry.group.0, entry.stream.0, entry.link.0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&entry.first_index.0.to_le_bytes());
        out.extend_from_slice(&entry.arrived.0.to_le_bytes());
        out.extend_from_slice(&entry.age_ms.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&entry.run.header.encode());
        seal(out, start, salt);
    }

    /// Decodes the head of a run that was read at `position` of a segment.
    pub(crate) fn decode(bytes: &[u8], epoch: u64, position: u64) -> Option<Self> {
        let mut input = Input(checked(bytes.get(..RUN_HEAD_BYTES)?, salt(epoch, position))?);
        if input.array::<4>()? != [KIND_RUN, 0, 0, 0] {
            return None;
        }
        let (group, stream, link) = (input.u32()?, input.u32()?, input.u32()?);
        let (first_index, arrived, age_ms) = (input.u64()?, input.u64()?, input.u32()?);
        let _reserved = input.u32()?;
        let header = RunHeader::decode(input.take(RUN_HEADER_BYTES)?).ok()?;
        first_index.checked_add(u64::from(header.count))?;
        Some(Self {
            group: GroupNumber(group),
            stream: StreamNumber(stream),
            link: LinkId(link),
            first_index: Index(first_index),
            arrived: WallTime(arrived),
            age_ms,
            header,
        })
    }

    /// The index after the last record.
    pub(crate) fn end_index(&self) -> Index {
        self.first_index.after(u64::from(self.header.count))
    }
}

/// One entry inside the bytes of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) number: EntryNumber,
    /// Where the head starts, counted from the block's beginning.
    pub(crate) start: usize,
    /// Where the body is, counted from the block's beginning.
    pub(crate) body: Range<usize>,
    /// The head of a run; nothing for a change of state.
    pub(crate) run: Option<RunHead>,
    /// Whether the body is what its hash says.
    pub(crate) intact: bool,
}

/// Walks over the entries of a block, as far as their heads are whole.
pub(crate) struct Walk<'a> {
    block: &'a [u8],
    header: BlockHeader,
    at: usize,
    done: u32,
    hashes: Vec<u8>,
}

impl<'a> Walk<'a> {
    /// `block` holds the block's bytes from its header on.
    pub(crate) fn new(block: &'a [u8], header: BlockHeader) -> Self {
        let block = block.get(..header.bytes as usize).unwrap_or(block);
        Self { block, header, at: BLOCK_HEADER_BYTES, done: 0, hashes: Vec::new() }
    }

    fn entry(&mut self) -> Option<Walked> {
        let rest = self.block.get(self.at..)?;
        let place = self.header.position + self.at as u64;
        let number = EntryNumber(self.header.first.0 + u64::from(self.done));
        let (head_bytes, run, length, hash) = if rest.first() == Some(&KIND_RUN) {
            let head = RunHead::decode(rest, self.header.epoch, place)?;
            let hash = rest.get(RUN_HEAD_BYTES - 8..RUN_HEAD_BYTES)?;
            (RUN_HEAD_BYTES, Some(head), head.header.body_bytes as usize, hash)
        } else {
            let mut input = Input(rest);
            if input.array::<4>()? != [KIND_STATE, 0, 0, 0] {
                return None;
            }
            (STATE_HEAD_BYTES, None, input.u32()? as usize, input.take(8)?)
        };
        let start = self.at + head_bytes;
        let body = start..start.checked_add(length)?;
        let bytes = self.block.get(body.clone())?;
        let intact = match &run {
            Some(head) => xxh3_64(bytes) == head.header.body_hash,
            None => state_hash(bytes, self.header.epoch, place).to_le_bytes() == hash,
        };
        self.hashes.extend_from_slice(hash);
        let walked = Walked { number, start: self.at, body: body.clone(), run, intact };
        self.at = body.end;
        self.done += 1;
        Some(walked)
    }

    /// Whether all entries were walked over and are those of the header.
    pub(crate) fn is_whole(&self) -> bool {
        self.done == self.header.count
            && self.at == self.header.bytes as usize
            && xxh3_64(&self.hashes) == self.header.heads_hash
    }
}

impl Iterator for Walk<'_> {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        if self.done >= self.header.count { None } else { self.entry() }
    }
}

pub(crate) fn state_hash(body: &[u8], epoch: u64, place: u64) -> u64 {
    xxh3_64_with_seed(body, salt(epoch, place))
}
