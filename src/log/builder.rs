//! Building the block of one commit, for one vectored write.

use std::io::IoSlice;
use std::ops::Range;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::block::{
    BLOCK_HEADER_BYTES, BlockHeader, KIND_STATE, PAGE_BYTES, RUN_HEAD_BYTES, RunHead, STATE_HEAD_BYTES,
    state_hash,
};
use super::codec::{round_up, salt};
use super::{EntryNumber, RunEntry};
use crate::id::Lsn;

/// A body shorter than this is copied beside its head: one more piece of a
/// vectored write costs about as much as copying four kilobytes.
const COPY_BYTES_MAX: usize = 4096;

/// A piece of the write: bytes of the builder, or a body where it lies.
enum Part {
    Copied(Range<usize>),
    Body(Bytes),
}

/// Gathers the entries of one block for one vectored write. Reused from commit
/// to commit, so it allocates only to grow.
#[derive(Default)]
pub(crate) struct Builder {
    scratch: Vec<u8>,
    parts: Vec<Part>,
    hashes: Vec<u8>,
    lead: usize,
    header_at: usize,
    copied_from: usize,
    bytes: u64,
    count: u32,
    epoch: u64,
    position: u64,
}

impl Builder {
    /// Starts a block at `position` of the segment with `epoch`; `lead` is
    /// written right before it.
    pub(crate) fn begin(&mut self, epoch: u64, position: u64, lead: &[u8]) {
        self.scratch.clear();
        self.parts.clear();
        self.hashes.clear();
        self.scratch.extend_from_slice(lead);
        self.lead = lead.len();
        self.header_at = lead.len();
        self.scratch.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
        self.copied_from = 0;
        self.bytes = BLOCK_HEADER_BYTES as u64;
        self.count = 0;
        (self.epoch, self.position) = (epoch, position);
    }

    /// Adds a run; answers where its head stands in the file.
    pub(crate) fn run(&mut self, entry: &RunEntry) -> u64 {
        let place = self.position + self.bytes;
        RunHead::encode(entry, &mut self.scratch, salt(self.epoch, place));
        self.note_hash();
        self.bytes += RUN_HEAD_BYTES as u64;
        self.body(&entry.run.body);
        place
    }

    /// Adds a change of state.
    pub(crate) fn state(&mut self, body: &Bytes) {
        let place = self.position + self.bytes;
        self.scratch.extend_from_slice(&[KIND_STATE, 0, 0, 0]);
        let length = u32::try_from(body.len()).expect("append refuses entries longer than a segment");
        self.scratch.extend_from_slice(&length.to_le_bytes());
        self.scratch.extend_from_slice(&state_hash(body, self.epoch, place).to_le_bytes());
        self.note_hash();
        self.bytes += STATE_HEAD_BYTES as u64;
        self.body(body);
    }

    fn note_hash(&mut self) {
        let hash = self.scratch.last_chunk::<8>().expect("a head ends with its hash");
        self.hashes.extend_from_slice(hash);
        self.count += 1;
    }

    fn body(&mut self, body: &Bytes) {
        self.bytes += body.len() as u64;
        if body.len() < COPY_BYTES_MAX {
            self.scratch.extend_from_slice(body);
        } else {
            self.close_copied();
            self.parts.push(Part::Body(body.clone()));
        }
    }

    fn close_copied(&mut self) {
        self.parts.push(Part::Copied(self.copied_from..self.scratch.len()));
        self.copied_from = self.scratch.len();
    }

    /// Writes the header and the padding, up to the border of a page.
    pub(crate) fn finish(&mut self, lsn: Lsn, previous: u64, first: EntryNumber) -> BlockHeader {
        let header = BlockHeader {
            epoch: self.epoch,
            position: self.position,
            lsn,
            previous,
            first,
            count: self.count,
            bytes: u32::try_from(self.bytes).expect("a block fits into a segment, and that into 4 GiB"),
            heads_hash: xxh3_64(&self.hashes),
        };
        self.scratch[self.header_at..self.header_at + BLOCK_HEADER_BYTES].copy_from_slice(&header.encode());
        let end = self.position + self.bytes;
        let padding = usize::try_from(round_up(end, PAGE_BYTES) - end).expect("less than a page");
        self.scratch.resize(self.scratch.len() + padding, 0);
        self.close_copied();
        header
    }

    /// The pieces to write, at the position of the block less the lead.
    pub(crate) fn pieces(&self) -> Vec<IoSlice<'_>> {
        let pieces = self.parts.iter().map(|part| match part {
            Part::Copied(range) => IoSlice::new(&self.scratch[range.clone()]),
            Part::Body(body) => IoSlice::new(body),
        });
        pieces.collect()
    }

    /// Bytes that [`Builder::pieces`] hold together.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.pieces().iter().map(|piece| piece.len() as u64).sum()
    }

    /// Lets go of the bodies, and of a scratch buffer that a rare large block left behind.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        if self.scratch.capacity() > crate::limits::COMMIT_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }
}
