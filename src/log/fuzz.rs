//! What a fuzzer throws at the decoders of the disk (F53), and what must hold
//! whatever it is: nothing panics, hangs, or takes more memory than a few times
//! what is there. Called by the targets in `fuzz/` and by property tests.
//!
//! Nearly everything on disk carries a hash, which no fuzzer guesses. So beside
//! raw bytes ([`raw`]) there is a directory whose fields the bytes choose and
//! whose hashes are right ([`directory`]): it may lie in all that it says.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{BlockHeader, RunHead, Walk};
use super::codec::salt;
use super::footer::Footer;
use super::header::{Cold, SegmentHeader};
use super::ident::{Ident, Known, OpenCut};
use super::memory::MemoryStorage;
use super::sample::sample_run;
use super::segment::{SegmentEnd, segment_name};
use super::snapshot;
use super::storage::Storage;
use super::{DiskLog, EntryNumber, Log, LogError, LogOptions, Snapshot};
use crate::id::{Epoch, GroupNumber, Index, Lsn, Sequence, StorageId};
use crate::wire::run::RunKind;

pub(crate) const EPOCH: u64 = 7;
pub(crate) const PLACE: u64 = 4096;
pub(crate) const ID: StorageId = StorageId([3; 16]);
const SEGMENT_BYTES: u64 = 64 * 1024;

/// Takes bytes for each thing that a log has on disk.
pub fn raw(bytes: &[u8]) {
    judge_block(bytes);
    judge_segment(bytes);
    judge_footer(bytes.to_vec());
    let _ = read_ident(bytes.to_vec());
    let _ = read_snapshot(bytes.to_vec());
}

/// Bytes as a footer whose pages have the right hashes.
pub fn footer(bytes: &[u8]) {
    const PAGE: usize = 4096;
    let mut content = bytes.to_vec();
    content.resize(bytes.len().clamp(1, 16 * PAGE).next_multiple_of(PAGE), 0);
    let pages = content.len() / PAGE;
    for (number, page) in content.chunks_mut(PAGE).enumerate() {
        let is_last = number + 1 == pages;
        let (start, place) =
            if is_last { (PAGE - 512, number * PAGE + PAGE - 512) } else { (0, number * PAGE) };
        let record = page.get_mut(start..).unwrap_or_default();
        if is_last {
            record.get_mut(..8).unwrap_or_default().copy_from_slice(b"TCFT\x01\0\0\0");
            record.get_mut(8..16).unwrap_or_default().copy_from_slice(&EPOCH.to_le_bytes());
        }
        let (covered, hash) = record.split_at_mut(record.len() - 8);
        let seed = salt(EPOCH, place as u64);
        hash.copy_from_slice(&xxhash_rust::xxh3::xxh3_64_with_seed(covered, seed).to_le_bytes());
    }
    judge_footer(content);
}

/// Bytes that choose.
struct Draw<'a>(&'a [u8]);

impl Draw<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// What is right, or is not by little, or is anything.
    fn near(&mut self, right: u64) -> u64 {
        match self.byte() {
            0..=199 => right,
            200..=219 => right.wrapping_add(u64::from(self.byte())),
            220..=239 => right.wrapping_sub(u64::from(self.byte())),
            240..=247 => u64::from(self.byte()),
            _ => self.word(),
        }
    }

    fn narrow(&mut self, right: usize) -> u32 {
        u32::try_from(self.near(right as u64)).unwrap_or(u32::MAX)
    }
}

/// A log of up to three segments whose fields the bytes choose: opened, read,
/// written to and opened again, as far as it goes.
pub fn directory(bytes: &[u8]) {
    let draw = &mut Draw(bytes);
    let sim = MemoryStorage::default();
    let mut end = SegmentEnd::default();
    for number in 0..1 + u32::from(draw.byte() % 3) {
        let (content, after) = segment(draw, number, end);
        end = after;
        sim.put(&segment_name(number), content);
    }
    let known = if draw.byte() < 128 {
        Known::default()
    } else {
        Known { lsn: end.lsn, entry: end.entry, hash: end.hash }
    };
    let known =
        Known { lsn: Lsn(draw.near(known.lsn.0)), entry: EntryNumber(draw.near(known.entry.0)), ..known };
    let epoch = Epoch { storage: ID, counter: draw.near(3), nonce: 1 };
    let cut =
        (draw.byte() > 200).then(|| OpenCut { from: EntryNumber(draw.near(end.entry.0 + 1)), entries: None });
    let ident = Ident { epoch, secret: 5, clean: draw.byte() < 128, known, cut, passed_over: 0 };
    // Written over what the storage has not: then it is as if it was never there.
    if ident.write(&sim).is_ok() {
        let _ = use_all(&sim);
    }
    let is_long = |name: &String| sim.content(name).len() as u64 > 8 * SEGMENT_BYTES;
    assert_eq!(sim.names().into_iter().find(is_long), None, "a file that nothing asked for");
}

/// A segment that goes on behind `before`, and where it ends.
fn segment(draw: &mut Draw<'_>, number: u32, before: SegmentEnd) -> (Vec<u8>, SegmentEnd) {
    let (base, base_entry) = (before.lsn.0 + 1, before.entry.0 + 1);
    let cold = (draw.byte() > 220).then(|| Cold {
        last: Lsn(draw.near(base)),
        last_entry: EntryNumber(draw.near(base_entry)),
        own_last: Lsn(draw.near(base)),
        own_last_entry: EntryNumber(draw.near(base_entry)),
    });
    let header = SegmentHeader {
        in_use: draw.byte() < 240,
        storage: ID,
        number: draw.narrow(number as usize),
        capacity: draw.near(SEGMENT_BYTES),
        epoch: EPOCH + u64::from(number),
        base: Lsn(draw.near(base)),
        base_entry: EntryNumber(draw.near(base_entry)),
        previous: draw.near(before.hash),
        cold,
    };
    let mut content = header.encode();
    if cold.is_some() {
        content.extend(header.encode());
    }
    let mut end = SegmentEnd { position: content.len() as u64, ..before };
    for _ in 0..draw.byte() % 5 {
        end = block(draw, &mut content, header.epoch, end);
        if content.len() as u64 > SEGMENT_BYTES - 8192 {
            break;
        }
    }
    if let Some(flip) = content.len().checked_sub(1 + usize::from(draw.byte())).filter(|_| draw.byte() > 200)
    {
        content.get_mut(flip).into_iter().for_each(|byte| *byte ^= 1);
    }
    content.resize(content.len().max(usize::try_from(SEGMENT_BYTES).unwrap_or(0)), 0);
    (content, end)
}

/// Appends a block whose hashes are right.
fn block(draw: &mut Draw<'_>, content: &mut Vec<u8>, epoch: u64, before: SegmentEnd) -> SegmentEnd {
    content.resize(content.len().next_multiple_of(512), 0);
    let position = content.len() as u64;
    let mut entries = Vec::new();
    let mut hashes = Vec::new();
    let mut count = 0;
    while count < usize::from(draw.byte() % 8) && !draw.is_empty() {
        let place = position + super::block::BLOCK_HEADER_BYTES as u64 + entries.len() as u64;
        let body = entry(draw, &mut entries, epoch, place);
        hashes.extend_from_slice(entries.get(entries.len() - 8..).unwrap_or_default());
        entries.extend_from_slice(&body);
        count += 1;
    }
    let header = BlockHeader {
        epoch,
        position: draw.near(position),
        lsn: Lsn(draw.near(before.lsn.0 + 1)),
        previous: draw.near(before.hash),
        first: EntryNumber(draw.near(before.entry.0 + 1)),
        count: draw.narrow(count),
        bytes: draw.narrow(super::block::BLOCK_HEADER_BYTES + entries.len()),
        heads_hash: draw.near(xxhash_rust::xxh3::xxh3_64(&hashes)),
    };
    content.extend(header.encode());
    content.extend(entries);
    content.resize(content.len().next_multiple_of(512), 0);
    let (lsn, entry) = (Lsn(before.lsn.0 + 1), EntryNumber(before.entry.0 + count as u64));
    SegmentEnd { position: content.len() as u64, lsn, entry, hash: header.hash() }
}

/// Appends the head of an entry, and gives its body.
fn entry(draw: &mut Draw<'_>, out: &mut Vec<u8>, epoch: u64, place: u64) -> Bytes {
    if draw.byte() < 60 {
        let body = Bytes::from(vec![draw.byte(); usize::from(draw.byte())]);
        out.extend_from_slice(&[2, 0, 0, 0]);
        out.extend_from_slice(&draw.narrow(body.len()).to_le_bytes());
        out.extend_from_slice(&super::block::state_hash(&body, epoch, place).to_le_bytes());
        return body;
    }
    let group = u32::from(draw.byte() % 4);
    let mut run = sample_run(
        group,
        1 + u64::from(draw.byte()),
        1 + u32::from(draw.byte() % 8),
        usize::from(draw.byte()),
    );
    run.first_index = Index(draw.near(run.first_index.0));
    let header = &mut run.run.header;
    header.first = Sequence(draw.near(header.first.0));
    header.count = draw.narrow(header.count as usize);
    header.body_bytes = draw.narrow(run.run.body.len());
    header.body_hash = draw.near(header.body_hash);
    let kinds = [RunKind::Data, RunKind::Mark, RunKind::Genesis, RunKind::Seal, RunKind::Loss];
    header.kind = kinds.get(usize::from(draw.byte())).copied().unwrap_or(RunKind::Data);
    RunHead::encode(&run, out, salt(epoch, place));
    run.run.body
}

/// Opens what is there, asks for everything, and goes on; as far as it goes.
fn use_all(sim: &MemoryStorage) -> Result<(), LogError> {
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        reserve_bytes: 0,
        tail_bytes: 1024,
        waiting_bytes: 0,
        ..LogOptions::default()
    };
    let _ = super::inspect::check(sim);
    for _ in 0..2 {
        let storage: Arc<dyn Storage> = sim.storage();
        let mut random = |bytes: &mut [u8]| bytes.fill(9);
        let (recovery, _) = super::Recovery::open(storage, options.clone(), &mut random)?;
        recovery.replay(&mut |_, _| ())?;
        let log: DiskLog = recovery.start_stepped(Box::new(|_| ()))?;
        for (group, from) in (0..5).flat_map(|group| [0, 1, 70, u64::MAX].map(|from| (group, from))) {
            log.read(GroupNumber(group), Index(from), 100_000)?;
        }
        log.append(vec![super::Entry::Run(sample_run(4, 1, 1, 20))], super::Urgency::Sync)?;
        log.step();
        log.snapshot(log.begin_snapshot(), Snapshot { shards: vec![(log.durable(), Bytes::new())] })?;
        (0..3).for_each(|_| log.step());
        log.stop()?;
    }
    Ok(())
}

pub(crate) fn read_snapshot(content: Vec<u8>) -> Result<Snapshot, LogError> {
    let length = content.len();
    let sim = MemoryStorage::default();
    sim.put("snapshot-0000000000000001.tcs", content);
    let read = snapshot::read_newest(&sim, ID, &|_| Ok(())).map(|found| found.snapshot);
    if let Ok(snapshot) = &read {
        let bytes: usize = snapshot.shards.iter().map(|(_, bytes)| 24 + bytes.len()).sum();
        assert!(
            bytes <= length && snapshot.shards.capacity() * 24 <= 4 * length.max(24),
            "{bytes} of {length}"
        );
    }
    read
}

pub(crate) fn read_ident(content: Vec<u8>) -> Result<Option<Ident>, LogError> {
    let sim = MemoryStorage::default();
    sim.put("IDENT", content);
    Ident::read(&sim)
}

/// Asks a footer for all that there is to ask; whether there is one.
pub(crate) fn judge_footer(content: Vec<u8>) -> bool {
    let length = content.len();
    let sim = MemoryStorage::default();
    sim.put("file", content);
    let file = sim.open("file").expect("it was just put there");
    let Some(trailer) = Footer::open(&*file, EPOCH).expect("memory can be read") else { return false };
    let footer = trailer.footer;
    assert!(footer.table_bytes() <= length as u64);
    let _ = footer.check(&*file);
    if let Ok(fence) = footer.fence(&*file) {
        assert!(fence.len() * 4 <= length);
    }
    for page in 0..footer.group_pages() {
        let Ok(records) = footer.group_page(&*file, page) else { continue };
        assert!(records.len() * 32 <= length);
        for record in records {
            for from in [0, record.first_index, record.first_index.saturating_add(1), u64::MAX - 1] {
                let _ = footer.count_of(&*file, &record, Index(from));
                if let Ok(found) = footer.find(&*file, record.group, Index(from), usize::MAX) {
                    assert!(found.postings.len() * 20 <= length);
                }
            }
        }
    }
    let _ = footer.witness(&*file, 0, &|_| 0);
    true
}

pub(crate) fn judge_block(bytes: &[u8]) -> Option<BlockHeader> {
    let _ = BlockHeader::claimed_epoch(bytes, PLACE);
    let _ = RunHead::decode(bytes, EPOCH, PLACE).map(|head| head.end_index());
    let header = BlockHeader::decode(bytes, EPOCH, PLACE)?;
    assert!(header.end() > PLACE && header.first <= header.last().next());
    let mut walk = Walk::new(bytes, header);
    let walked: Vec<_> = walk.by_ref().collect();
    assert!(walked.len() * 16 <= bytes.len());
    for entry in &walked {
        assert!(entry.body.end <= bytes.len() && entry.number.0 >= header.first.0);
        assert!(entry.run.is_none_or(|run| run.end_index() >= run.first_index));
    }
    let _ = walk.is_whole();
    Some(header)
}

pub(crate) fn judge_segment(bytes: &[u8]) -> Option<SegmentHeader> {
    let _ = SegmentHeader::version(bytes);
    let header = SegmentHeader::decode(bytes)?;
    let _ = (header.replaces(&header), SegmentEnd::before_blocks(&header), header.start());
    assert_eq!(SegmentHeader::decode(&header.encode()), Some(header));
    Some(header)
}
