//! Footers: the postings of a sealed segment, at its end on disk.
//!
//! Pages of 4096 bytes, each with a hash of its own, so that a look-up reads
//! and checks three of them and not all: first the postings, grouped and
//! sorted by group and index (204 a page), then the table of groups (127 a
//! page), then the fence, the first group of every page of the table (1022 a
//! page; read once and kept, 4 bytes per 127 groups), then the trailer. A
//! footer ends where its file ends. It costs 20 bytes per run and 32 per group
//! in the segment: at 10 records per run, 2 to 5 bytes per record.
//!
//! It is written by the keeper after the segment is sealed, and nobody waits
//! for it: one that is missing or damaged is made again out of the blocks.
//! Encoder and decoder share this file, since they share its layout; look-ups
//! are in `lookup`.
//!
//! | record | bytes | fields |
//! |---|---|---|
//! | posting | 20 | first index 8, position 4, count 4, bytes of head and body 4 |
//! | group | 32 | group 4, first posting 4, count of postings 4, bytes of its runs 4, first index 8, end index 8 |
//! | fence | 4 | group |
//! | page | 4096 | records, zeros, XXH3-64 of the 4088 bytes before, salted |
//!
//! Trailer, the last 512 bytes of the file, integers little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `TCFT` |
//! | 4 | 4 | version, 1 |
//! | 8 | 8 | segment epoch |
//! | 16 | 8 | where the last block ends |
//! | 24 | 8 | lsn of the last block |
//! | 32 | 8 | number of the last entry |
//! | 40 | 8 | hash of the last block |
//! | 48 | 4 | count of groups |
//! | 52 | 4 | count of postings |
//! | 56 | 8 | position of the first unindexed damage; 2⁶⁴ − 1 for none |
//! | 64 | 440 | reserved, 0 |
//! | 504 | 8 | XXH3-64 of bytes 0 to 504, salted |

use std::io;
use std::sync::OnceLock;

use super::EntryNumber;
use super::block::PAGE_BYTES;
use super::codec::{Input, checked, salt, seal};
use super::postings::{Posting, Postings};
use super::segment::SegmentEnd;
use super::storage::{SECTOR_BYTES, StorageFile};
use crate::id::{GroupNumber, Lsn};

const MAGIC: [u8; 4] = *b"TCFT";
const VERSION: u32 = 1;
pub(crate) const PAYLOAD_BYTES: usize = PAGE_BYTES as usize - 8;
pub(crate) const POSTING_BYTES: usize = 20;
const GROUP_BYTES: usize = 32;
const FENCE_BYTES: usize = 4;

/// Bytes of a footer with so many groups and postings.
pub(crate) fn bytes(groups: usize, postings: usize) -> u64 {
    let counts = PageCounts::new(groups, postings);
    (counts.postings + counts.groups + counts.fence + 1) * PAGE_BYTES
}

struct PageCounts {
    postings: u64,
    groups: u64,
    fence: u64,
}

impl PageCounts {
    fn new(groups: usize, postings: usize) -> Self {
        let pages = |count: usize, bytes: usize| (count as u64).div_ceil((PAYLOAD_BYTES / bytes) as u64);
        let group_pages = pages(groups, GROUP_BYTES);
        Self {
            postings: pages(postings, POSTING_BYTES),
            groups: group_pages,
            fence: group_pages.div_ceil((PAYLOAD_BYTES / FENCE_BYTES) as u64),
        }
    }
}

/// Fills pages with records of one size.
struct Pages {
    out: Vec<u8>,
    start: u64,
    epoch: u64,
}

impl Pages {
    fn add<const N: usize>(&mut self, records: impl Iterator<Item = [u8; N]>) {
        let per_page = PAYLOAD_BYTES / N;
        let mut on_page = 0;
        for record in records {
            self.out.extend_from_slice(&record);
            on_page += 1;
            if on_page == per_page {
                self.close();
                on_page = 0;
            }
        }
        if on_page > 0 {
            self.close();
        }
    }

    fn close(&mut self) {
        let page = self.out.len() - self.out.len() % PAGE_BYTES as usize;
        self.out.resize(page + PAYLOAD_BYTES, 0);
        let place = self.start + page as u64;
        seal(&mut self.out, page, salt(self.epoch, place));
    }
}

fn posting_record(posting: &Posting) -> [u8; POSTING_BYTES] {
    let mut record = [0; POSTING_BYTES];
    record[..8].copy_from_slice(&posting.first_index.to_le_bytes());
    record[8..12].copy_from_slice(&posting.position.to_le_bytes());
    record[12..16].copy_from_slice(&posting.count.to_le_bytes());
    record[16..].copy_from_slice(&posting.bytes.to_le_bytes());
    record
}

/// The posting in a record of a page.
pub(crate) fn decode_posting(record: &[u8]) -> Option<Posting> {
    let mut input = Input(record);
    Some(Posting {
        first_index: input.u64()?,
        position: input.u32()?,
        count: input.u32()?,
        bytes: input.u32()?,
    })
}

/// What a footer says of one group.
#[derive(Clone, Copy)]
pub(crate) struct GroupRecord {
    pub(crate) group: GroupNumber,
    /// Its first posting.
    pub(crate) first: u32,
    /// How many postings it has.
    pub(crate) count: u32,
    /// Bytes of all its runs, heads included.
    pub(crate) bytes: u32,
    pub(crate) first_index: u64,
    pub(crate) end_index: u64,
}

impl GroupRecord {
    fn encode(&self) -> [u8; GROUP_BYTES] {
        let mut record = [0; GROUP_BYTES];
        record[..4].copy_from_slice(&self.group.0.to_le_bytes());
        record[4..8].copy_from_slice(&self.first.to_le_bytes());
        record[8..12].copy_from_slice(&self.count.to_le_bytes());
        record[12..16].copy_from_slice(&self.bytes.to_le_bytes());
        record[16..24].copy_from_slice(&self.first_index.to_le_bytes());
        record[24..].copy_from_slice(&self.end_index.to_le_bytes());
        record
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let mut input = Input(record);
        let (group, first, count) = (GroupNumber(input.u32()?), input.u32()?, input.u32()?);
        let bytes = input.u32()?;
        Some(Self { group, first, count, bytes, first_index: input.u64()?, end_index: input.u64()? })
    }
}

fn group_records(sorted: &[(GroupNumber, &[Posting])]) -> Vec<GroupRecord> {
    let mut first = 0;
    let records = sorted.iter().map(|(group, runs)| {
        let count = u32::try_from(runs.len()).expect("a segment has fewer runs than bytes");
        let record = GroupRecord {
            group: *group,
            first,
            count,
            bytes: runs.iter().fold(0, |bytes: u32, run| bytes.saturating_add(run.bytes)),
            first_index: runs.first().map_or(0, |run| run.first_index),
            end_index: runs.last().map_or(0, Posting::end_index),
        };
        first += count;
        record
    });
    records.collect()
}

/// Encodes the footer of a segment, to be written at `start`.
pub(crate) fn encode(
    postings: &Postings,
    epoch: u64,
    start: u64,
    end: SegmentEnd,
    gap: Option<u32>,
) -> Vec<u8> {
    let sorted = postings.sorted();
    let groups = group_records(&sorted);
    let mut pages = Pages { out: Vec::new(), start, epoch };
    pages.add(sorted.iter().flat_map(|(_, runs)| runs.iter()).map(posting_record));
    pages.add(groups.iter().map(GroupRecord::encode));
    pages.add(groups.iter().step_by(PAYLOAD_BYTES / GROUP_BYTES).map(|record| record.group.0.to_le_bytes()));
    let mut out = pages.out;
    let trailer = out.len() + PAGE_BYTES as usize - SECTOR_BYTES;
    out.resize(trailer, 0);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    for field in [epoch, end.position, end.lsn.0, end.entry.0, end.hash] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for count in [groups.len(), postings.len()] {
        out.extend_from_slice(&u32::try_from(count).expect("fewer than bytes").to_le_bytes());
    }
    out.extend_from_slice(&gap.map_or(u64::MAX, u64::from).to_le_bytes());
    out.resize(trailer + SECTOR_BYTES - 8, 0);
    seal(&mut out, trailer, salt(epoch, start + trailer as u64));
    out
}

/// Why a look-up in a footer gives nothing.
#[derive(Debug)]
pub(crate) enum FooterError {
    /// The disk gave an error.
    Io(#[expect(dead_code, reason = "shown by Debug")] io::Error),
    /// The disk gave other bytes than were written.
    Damaged,
}

/// A footer on disk: what stays of it in memory.
#[derive(Debug)]
pub(crate) struct Footer {
    epoch: u64,
    start: u64,
    groups: u32,
    postings: u32,
    fence: OnceLock<Vec<u32>>,
}

/// What a trailer says about its segment.
pub(crate) struct Trailer {
    pub(crate) footer: Footer,
    pub(crate) end: SegmentEnd,
    pub(crate) gap: Option<u32>,
}

pub(crate) type Page = Box<[u8; PAYLOAD_BYTES]>;

impl Footer {
    /// A footer that was just written at `start`.
    pub(crate) fn new(epoch: u64, start: u64, postings: &Postings) -> Self {
        let narrow = |count| u32::try_from(count).expect("fewer than bytes");
        Self {
            epoch,
            start,
            groups: narrow(postings.groups()),
            postings: narrow(postings.len()),
            fence: OnceLock::new(),
        }
    }

    /// Reads the trailer at the end of `file`; nothing if there is no whole one.
    pub(crate) fn open(file: &dyn StorageFile, epoch: u64) -> io::Result<Option<Trailer>> {
        let length = file.len()?;
        let Some(position) = length.checked_sub(SECTOR_BYTES as u64) else { return Ok(None) };
        let mut sector = [0; SECTOR_BYTES];
        file.read_at(&mut sector, position)?;
        Ok(Self::decode(&sector, epoch, position))
    }

    fn decode(sector: &[u8], epoch: u64, position: u64) -> Option<Trailer> {
        let mut input = Input(checked(sector, salt(epoch, position))?);
        if input.array::<4>()? != MAGIC || input.u32()? != VERSION || input.u64()? != epoch {
            return None;
        }
        let end = SegmentEnd {
            position: input.u64()?,
            lsn: Lsn(input.number()?),
            entry: EntryNumber(input.number()?),
            hash: input.u64()?,
        };
        let (groups, postings) = (input.u32()?, input.u32()?);
        let gap = u32::try_from(input.u64()?).ok();
        let bytes = bytes(groups as usize, postings as usize);
        let start = (position + SECTOR_BYTES as u64).checked_sub(bytes)?;
        let footer = Self { epoch, start, groups, postings, fence: OnceLock::new() };
        (start >= end.position).then_some(Trailer { footer, end, gap })
    }

    /// The blocks end before this place of the file.
    pub(crate) fn blocks_end(&self) -> u64 {
        self.start
    }

    /// How many pages the table of groups has.
    pub(crate) fn group_pages(&self) -> u64 {
        self.counts().groups
    }

    /// Bytes of the table of groups.
    pub(crate) fn table_bytes(&self) -> u64 {
        (self.counts().groups + 1) * PAGE_BYTES
    }

    fn counts(&self) -> PageCounts {
        PageCounts::new(self.groups as usize, self.postings as usize)
    }

    pub(crate) fn page(&self, file: &dyn StorageFile, number: u64) -> Result<Page, FooterError> {
        let position = self.start + number * PAGE_BYTES;
        let mut bytes = vec![0; PAGE_BYTES as usize];
        file.read_at(&mut bytes, position).map_err(FooterError::Io)?;
        checked(&bytes, salt(self.epoch, position)).ok_or(FooterError::Damaged)?;
        bytes.truncate(PAYLOAD_BYTES);
        bytes.into_boxed_slice().try_into().map_err(|_| FooterError::Damaged)
    }

    pub(crate) fn fence(&self, file: &dyn StorageFile) -> Result<&[u32], FooterError> {
        if let Some(fence) = self.fence.get() {
            return Ok(fence);
        }
        let counts = self.counts();
        let mut fence = Vec::new();
        for page in 0..counts.fence {
            let page = self.page(file, counts.postings + counts.groups + page)?;
            let (records, _) = page.as_chunks::<FENCE_BYTES>();
            fence.extend(records.iter().map(|record| u32::from_le_bytes(*record)));
        }
        fence.truncate(usize::try_from(counts.groups).unwrap_or(usize::MAX));
        Ok(self.fence.get_or_init(|| fence))
    }

    /// The records on page `number` of the table of groups.
    pub(crate) fn group_page(
        &self,
        file: &dyn StorageFile,
        number: u64,
    ) -> Result<Vec<GroupRecord>, FooterError> {
        let per_page = (PAYLOAD_BYTES / GROUP_BYTES) as u64;
        let page = self.page(file, self.counts().postings + number)?;
        let there = u64::from(self.groups).saturating_sub(number * per_page).min(per_page);
        let (records, _) = page.as_chunks::<GROUP_BYTES>();
        let there = usize::try_from(there).unwrap_or(0);
        Ok(records.iter().take(there).filter_map(|record| GroupRecord::decode(record)).collect())
    }

    /// Checks every page.
    pub(crate) fn check(&self, file: &dyn StorageFile) -> Result<(), FooterError> {
        let counts = self.counts();
        (0..counts.postings + counts.groups + counts.fence)
            .try_for_each(|page| self.page(file, page).map(|_| ()))
    }
}
