//! Reading a segment block by block: after a restart, for a footer that is
//! missing or damaged, and for those who check or show a log.
//!
//! Where the chain of blocks ends, it ends either because the last commit was
//! torn, or because something that was durable is damaged. A block is written
//! only after the one before it has become durable; so damage is proven by a
//! whole block behind it, by a later segment, or by what `IDENT` says was
//! durable at the last start or clean stop, or by a snapshot, which waits for
//! what it includes. What is not proven is torn, and cut; where all of it seems
//! to have been written, that is told, since it may as well have been damaged.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::block::{BLOCK_HEADER_BYTES, BlockHeader, Walk, Walked};
use super::header::{Cold, SegmentHeader};
use super::postings::{Posting, Postings};
use super::segment::SegmentEnd;
use super::storage::{SECTOR_BYTES, StorageFile};
use super::{Cut, EntryNumber};
use crate::id::{GroupNumber, Index, Lsn};
use crate::wire::run::RunKind;

/// Bytes read at a time.
const WINDOW_BYTES: usize = 1024 * 1024;
const SECTOR: u64 = SECTOR_BYTES as u64;

/// A file, read through a window. What cannot be read is taken as zeros, so
/// that it is treated like any other damage.
pub(crate) struct Window {
    file: Arc<dyn StorageFile>,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
    pub(crate) failed: Option<io::Error>,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn StorageFile>) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { file, length, start: 0, bytes: Vec::new(), failed: None })
    }

    /// The bytes from `position` on: `length` of them, or fewer at the end of the file.
    pub(crate) fn get(&mut self, position: u64, length: usize) -> &[u8] {
        let there = self.length.saturating_sub(position);
        let length = length.min(usize::try_from(there).unwrap_or(usize::MAX));
        let end = position + length as u64;
        if position < self.start || end > self.start + self.bytes.len() as u64 {
            let load = length.max(WINDOW_BYTES).min(usize::try_from(there).unwrap_or(usize::MAX));
            self.load(position, load);
        }
        let at = usize::try_from(position - self.start).unwrap_or(usize::MAX);
        self.bytes.get(at..at + length).unwrap_or_default()
    }

    fn load(&mut self, position: u64, length: usize) {
        self.start = position;
        self.bytes.clear();
        self.bytes.resize(length, 0);
        if self.file.read_at(&mut self.bytes, position).is_ok() {
            return;
        }
        for (number, sector) in self.bytes.chunks_mut(SECTOR_BYTES).enumerate() {
            if let Err(error) = self.file.read_at(sector, position + number as u64 * SECTOR) {
                sector.fill(0);
                self.failed = Some(error);
            }
        }
    }
}

/// What is known of a segment's end without reading its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    /// Blocks up to this one were durable once.
    pub(crate) lsn: Lsn,
    /// Entries up to this one were durable once.
    pub(crate) entry: EntryNumber,
    /// Nothing comes behind them in this segment: once they are found, the rest
    /// of the file, which may be long and empty, need not be read.
    pub(crate) is_end: bool,
}

impl Proof {
    /// Of a segment that ends there and nowhere else.
    pub(crate) fn end(end: SegmentEnd) -> Self {
        Self { lsn: end.lsn, entry: end.entry, is_end: true }
    }
}

/// What a segment was found to hold.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) postings: Postings,
    pub(crate) end: SegmentEnd,
    pub(crate) gap: Option<u32>,
    /// Ranges of groups whose bodies are damaged.
    pub(crate) damaged: Vec<(GroupNumber, Index, Index)>,
    /// Entries that are lost with their numbers known, half-open.
    pub(crate) lost: Vec<Range<u64>>,
    /// Bytes behind the end that are no block and not zeros.
    pub(crate) torn_bytes: u64,
    /// A block behind the end that is not whole though all of it seems to have
    /// been written.
    pub(crate) cut: Option<Cut>,
    /// Where the last whole block starts.
    pub(crate) last_block: Option<u64>,
}

/// Called for each entry that was found, with the block's bytes.
pub(crate) type OnEntry<'a> = dyn FnMut(&Walked, &[u8]) + 'a;

struct Scanner<'a, 'b> {
    header: SegmentHeader,
    window: Window,
    proof: Proof,
    scan: Scan,
    /// The hash that the next block must carry; nothing behind damage.
    previous: Option<u64>,
    on_entry: &'a mut OnEntry<'b>,
}

/// Reads all blocks of a segment. `proof` says up to where they must be there.
///
/// # Errors
/// When the file's length cannot be known, or its end cannot be read and
/// nothing tells whether something was there.
pub(crate) fn scan(
    header: SegmentHeader,
    file: Arc<dyn StorageFile>,
    proof: Proof,
    on_entry: &mut OnEntry<'_>,
) -> io::Result<Scan> {
    let scan = Scan { end: SegmentEnd::before_blocks(&header), ..Scan::default() };
    let window = Window::new(file)?;
    // A cold segment was whole before it got its name, and knows its own end.
    let of_cold = |cold: Cold| Proof { lsn: cold.own_last, entry: cold.own_last_entry, is_end: true };
    let proof = header.cold.map_or(proof, of_cold);
    let mut scanner = Scanner { header, window, proof, scan, previous: Some(header.previous), on_entry };
    while scanner.step()? {}
    let mut scan = scanner.scan;
    if let Some(cold) = header.cold {
        (scan.end.lsn, scan.end.entry) = (cold.last, cold.last_entry);
    }
    Ok(scan)
}

impl Scanner<'_, '_> {
    /// Takes one block; false at the end of the chain.
    fn step(&mut self) -> io::Result<bool> {
        if self.proof.is_end && self.scan.end.lsn >= self.proof.lsn {
            return Ok(false);
        }
        let position = self.scan.end.position;
        let header = self.header_at(position).filter(|header| self.continues(header));
        if let Some(header) = header
            && self.take_whole(&header)
        {
            return Ok(true);
        }
        let later = self.next_block(header.map_or(position + SECTOR, |header| header.end()));
        // A snapshot knows entries, not blocks; a block is durable as a whole.
        let is_known = |header: BlockHeader| header.first <= self.proof.entry;
        let is_proven = self.proof.lsn > self.scan.end.lsn || header.is_some_and(is_known);
        match later {
            Some(later) => {
                self.take_damaged(header, &later);
                Ok(true)
            }
            None if is_proven => {
                self.take_last(header);
                Ok(header.is_some_and(|header| header.lsn < self.proof.lsn))
            }
            None => match self.window.failed.take() {
                Some(error) => Err(error),
                None => {
                    self.scan.cut = self.cut(header);
                    Ok(false)
                }
            },
        }
    }

    fn header_at(&mut self, position: u64) -> Option<BlockHeader> {
        let epoch = self.header.epoch;
        let header = BlockHeader::decode(self.window.get(position, BLOCK_HEADER_BYTES), epoch, position)?;
        // No block goes beyond what its segment can hold, also where the file was cut off.
        let end_max = self.header.capacity.max(self.window.length);
        (self.header.cold.is_some() || header.end() <= end_max).then_some(header)
    }

    fn continues(&self, header: &BlockHeader) -> bool {
        header.lsn.0 == self.scan.end.lsn.0 + 1
            && header.first == self.scan.end.entry.next()
            && self.previous.is_none_or(|previous| previous == header.previous)
    }

    /// Takes a block whose every byte is right.
    fn take_whole(&mut self, header: &BlockHeader) -> bool {
        let block = self.window.get(header.position, header.bytes as usize);
        let mut walk = Walk::new(block, *header);
        if !(walk.by_ref().all(|entry| entry.intact) && walk.is_whole()) {
            return false;
        }
        self.scan.last_block = Some(header.position);
        self.entries(header);
        self.advance(header);
        true
    }

    /// Hands out the entries of a block, as far as their heads are whole;
    /// answers how many there were.
    fn entries(&mut self, header: &BlockHeader) -> u64 {
        let block = self.window.get(header.position, header.bytes as usize);
        let mut count = 0;
        for entry in Walk::new(block, *header) {
            count += 1;
            let needs_body = entry.run.is_none_or(|run| run.header.kind != RunKind::Data);
            if let Some(run) = &entry.run {
                let place = header.position + entry.start as u64;
                let posting = Posting {
                    first_index: run.first_index.0,
                    position: u32::try_from(place).unwrap_or(u32::MAX),
                    count: run.header.count,
                    bytes: u32::try_from(entry.body.end - entry.start).unwrap_or(u32::MAX),
                };
                self.scan.postings.push(run.group, posting);
                if !entry.intact {
                    self.scan.damaged.push((run.group, run.first_index, run.end_index()));
                }
            }
            if needs_body && !entry.intact {
                self.scan.lost.push(entry.number.0..entry.number.0 + 1);
                continue;
            }
            (self.on_entry)(&entry, block);
        }
        count
    }

    /// What is to be said of the block behind the end, which is not whole.
    fn cut(&mut self, header: Option<BlockHeader>) -> Option<Cut> {
        let end = self.scan.end;
        let Some(header) = header else {
            // A sector is written as a whole: one that is the header in all but a part was damaged.
            let next = BlockHeader {
                epoch: self.header.epoch,
                position: end.position,
                lsn: Lsn(end.lsn.0 + 1),
                previous: self.previous.unwrap_or_default(),
                first: end.entry.next(),
                count: 0,
                bytes: 0,
                heads_hash: 0,
            };
            let is_damaged = next.resembles(self.window.get(end.position, BLOCK_HEADER_BYTES));
            return is_damaged.then_some(Cut { from: next.first, entries: None, messages: None });
        };
        if !self.has_all_sectors(&header) {
            return None;
        }
        let mut walk = Walk::new(self.window.get(header.position, header.bytes as usize), header);
        let mut messages = BTreeMap::<GroupNumber, u64>::new();
        for run in walk.by_ref().filter_map(|entry| entry.run) {
            if run.header.kind == RunKind::Data {
                *messages.entry(run.group).or_default() += u64::from(run.header.count);
            }
        }
        let messages = walk.is_whole().then(|| messages.into_iter().collect());
        Some(Cut { from: header.first, entries: Some(u64::from(header.count)), messages })
    }

    /// Whether no sector is empty in what is wrong with a block: then it was not
    /// cut short by a crash, as far as anyone can tell.
    fn has_all_sectors(&mut self, header: &BlockHeader) -> bool {
        let block = self.window.get(header.position, header.bytes as usize);
        let mut wrong = Vec::new();
        let mut reached = BLOCK_HEADER_BYTES;
        for entry in Walk::new(block, *header) {
            reached = entry.body.end;
            if !entry.intact {
                wrong.push(entry.start..entry.body.end);
            }
        }
        wrong.push(reached..block.len());
        let sectors = block.chunks(SECTOR_BYTES).zip((0..).step_by(SECTOR_BYTES));
        let mut empty = sectors.filter(|(sector, _)| sector.iter().all(|byte| *byte == 0));
        // A sector may hold the end of one entry and the head of the next, which is never zeros.
        let is_wrong =
            |start: usize, end: usize| wrong.iter().any(|part| part.start < end && start < part.end);
        block.len() == header.bytes as usize
            && !empty.any(|(sector, start)| is_wrong(start, start + sector.len()))
    }

    fn advance(&mut self, header: &BlockHeader) {
        self.scan.end = SegmentEnd::behind(header);
        self.previous = Some(self.scan.end.hash);
    }

    /// The next place behind `position` where a later block stands. Notes how
    /// far there is anything but zeros.
    fn next_block(&mut self, position: u64) -> Option<BlockHeader> {
        let start = self.scan.end.position;
        let mut position = position;
        self.scan.torn_bytes = self.used(start, position);
        while position + SECTOR <= self.window.length {
            let sector = self.window.get(position, SECTOR_BYTES);
            if sector.iter().any(|byte| *byte != 0) {
                self.scan.torn_bytes = position + SECTOR - start;
                let later = self
                    .header_at(position)
                    .filter(|later| later.lsn.0 > self.scan.end.lsn.0 && later.first > self.scan.end.entry);
                if later.is_some() {
                    self.scan.torn_bytes = 0;
                    return later;
                }
            }
            position += SECTOR;
        }
        None
    }

    /// Bytes from `start` to the last byte before `end` that is not zero.
    fn used(&mut self, start: u64, end: u64) -> u64 {
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        let bytes = self.window.get(start, length);
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
    }

    /// Takes what can be taken of the damage before `later`.
    fn take_damaged(&mut self, header: Option<BlockHeader>, later: &BlockHeader) {
        if let Some(header) = header {
            self.take_partly(&header);
        }
        if header.is_none_or(|header| header.lsn.0 + 1 < later.lsn.0) {
            self.take_headless(later.position, later.first);
            self.previous = None;
            let end = &mut self.scan.end;
            (end.position, end.entry) = (later.position, EntryNumber(later.first.0.saturating_sub(1)));
            end.lsn = Lsn(later.lsn.0.saturating_sub(1));
        }
    }

    /// A block whose header is right and something behind it is not.
    fn take_partly(&mut self, header: &BlockHeader) {
        let found = self.entries(header);
        if found < u64::from(header.count) {
            self.note_gap(header.position);
            self.scan.lost.push(header.first.0 + found..header.first.0 + u64::from(header.count));
        }
        self.advance(header);
    }

    /// Blocks without a header, from the end of the chain to `end`: the first
    /// of them is walked over as far as its heads are whole.
    fn take_headless(&mut self, end: u64, first_behind: EntryNumber) {
        let position = self.scan.end.position;
        let first = self.scan.end.entry.next();
        let supposed = BlockHeader {
            epoch: self.header.epoch,
            position,
            lsn: Lsn(self.scan.end.lsn.0 + 1),
            previous: 0,
            first,
            count: u32::try_from(first_behind.0.saturating_sub(first.0)).unwrap_or(u32::MAX),
            bytes: u32::try_from(end.saturating_sub(position)).unwrap_or(u32::MAX),
            heads_hash: 0,
        };
        let found = self.entries(&supposed);
        self.note_gap(position);
        if first.0 + found < first_behind.0 {
            self.scan.lost.push(first.0 + found..first_behind.0);
        }
    }

    /// Damage at the end of the segment, proven from elsewhere.
    fn take_last(&mut self, header: Option<BlockHeader>) {
        self.scan.torn_bytes = 0;
        match header {
            Some(header) => self.take_partly(&header),
            None => {
                let end = self.window.length;
                self.take_headless(end, self.proof.entry.next());
                self.previous = None;
                self.scan.end.lsn = self.proof.lsn;
                self.scan.end.entry = self.proof.entry;
                self.scan.end.position = end;
            }
        }
    }

    fn note_gap(&mut self, position: u64) {
        let place = u32::try_from(position).unwrap_or(u32::MAX);
        self.scan.gap = Some(self.scan.gap.map_or(place, |gap| gap.min(place)));
    }
}
