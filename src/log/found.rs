//! Which segment files there are, and what each of them is.
//!
//! A file is known by its header, and by its first block if the header is
//! damaged; the last one also by a [later block](super::headless). Its name says nothing but the number. One that is neither in use
//! nor a spare of this storage is left alone, and the reason is told. Where one
//! is of another version, nothing is opened at all.

use std::cmp::Reverse;
use std::sync::Arc;

use super::block::BlockHeader;
use super::header::{self, SegmentHeader};
use super::headless;
use super::ident::{Ident, Known};
use super::scan::Proof;
use super::segment::{Spare, segment_name, segment_number};
use super::storage::{SECTOR_BYTES, Storage, StorageFile};
use super::{EntryNumber, LogError, file_error};
use crate::id::{Lsn, StorageId};

/// The segment files of a directory.
#[derive(Default)]
pub(crate) struct FoundSegments {
    /// In use, by lsn; true for one whose header has another number than its name.
    pub(crate) used: Vec<(bool, SegmentHeader, Arc<dyn StorageFile>)>,
    pub(crate) spares: Vec<Spare>,
    /// In use, and also part of a cold segment: left over by a crash.
    pub(crate) replaced: Vec<(SegmentHeader, Arc<dyn StorageFile>)>,
    pub(crate) next_number: u32,
    /// Files left alone, with the reason.
    pub(crate) ignored: Vec<String>,
    /// Of these, the ones that may be segments of this log: their heads are damaged.
    pub(crate) headless: Vec<String>,
    /// Files in use that are known by a later block.
    pub(crate) notes: Vec<String>,
}

impl FoundSegments {
    /// Whether the entries behind `covered` are there, as far as headers tell.
    pub(crate) fn has_after(&self, covered: EntryNumber) -> Result<(), String> {
        let headers = || self.used.iter().map(|(_, header, _)| header);
        let kept = headers().filter_map(|header| header.cold).map(|cold| cold.last_entry).max();
        if let Some(last) = kept.filter(|last| *last > covered) {
            return Err(format!(
                "it ends with entry {covered}, and of those up to {last} only runs were kept"
            ));
        }
        match headers().find(|header| header.cold.is_none()) {
            Some(first) if first.base_entry > covered.next() && !self.may_lack(covered) => Err(format!(
                "it ends with entry {covered}, and the log begins with entry {}",
                first.base_entry
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether entries behind a snapshot may be in a file that is not usable:
    /// then they are lost and named, however often the log is started.
    fn may_lack(&self, covered: EntryNumber) -> bool {
        covered > EntryNumber(0) && !self.ignored.is_empty()
    }

    /// Takes the last segment into use whose head is damaged, if what stands behind that is whole.
    fn take_headless(&mut self, ident: &Ident, files: Vec<(String, u32, Arc<dyn StorageFile>)>) {
        if files.is_empty() {
            return;
        }
        let ends = self.used.iter().map(|(_, header, _)| header.cold.map_or(header.base, |cold| cold.last));
        let newest = ends.max().unwrap_or_default();
        let epochs = headless::epochs(ident);
        for (name, number, file) in files {
            let known = headless::from_later_block(&file, ident, number, &epochs);
            if let Some((header, at)) = known.filter(|(header, _)| header.base > newest) {
                self.notes.push(format!("{name}: its head is damaged; its first whole block is at {at}"));
                self.used.push((false, header, file));
                continue;
            }
            self.ignored.push(format!("{name}: neither its header nor its first block is whole"));
            let mut head = [0; SECTOR_BYTES];
            let is_read = file.read_at(&mut head, 0).is_ok();
            if !is_read || !SegmentHeader::resembles_spare(&head, ident.epoch.storage) {
                self.headless.push(name);
            }
        }
    }

    /// Sets aside what cold segments replace, left over by a crash. What a cold
    /// segment replaces lies wholly inside its range, other cold ones too; of
    /// two with the same range the younger one stays.
    fn set_replaced_aside(&mut self) {
        let cold = |header: &SegmentHeader| header.cold.map(|cold| (header.base, cold.last, header.number));
        let mut ranges: Vec<_> = self.used.iter().filter_map(|(_, header, _)| cold(header)).collect();
        ranges.sort_unstable_by_key(|(base, last, number)| (*base, Reverse((*last, *number))));
        ranges.dedup_by(|inner, outer| inner.0 <= outer.1);
        let stays = |header: &SegmentHeader| {
            let after = ranges.partition_point(|(base, ..)| *base <= header.base);
            let around = after.checked_sub(1).and_then(|at| ranges.get(at));
            around.is_none_or(|(_, last, number)| *number == header.number || header.base > *last)
        };
        let (used, replaced) = std::mem::take(&mut self.used).into_iter().partition(|(_, one, _)| stays(one));
        self.used = used;
        let replaced: Vec<(bool, SegmentHeader, Arc<dyn StorageFile>)> = replaced;
        self.replaced = replaced.into_iter().map(|(_, header, file)| (header, file)).collect();
    }
}

pub(crate) fn find_segments(
    storage: &dyn Storage,
    ident: &Ident,
    names: &[String],
) -> Result<FoundSegments, LogError> {
    let id = ident.epoch.storage;
    let mut found = FoundSegments::default();
    let mut headless = Vec::new();
    for name in names {
        let Some(number) = segment_number(name) else { continue };
        found.next_number = found.next_number.max(number.saturating_add(1));
        let file = storage.open(name).map_err(|error| file_error("open", name, error))?;
        if let Some(found) = other_version(&*file) {
            let (found, known) = (u32::from(found), u32::from(header::VERSION));
            return Err(LogError::Version { file: name.clone(), found, known });
        }
        match classify(&*file, id, number) {
            Ok(None) => headless.push((name.clone(), number, file)),
            Ok(Some(header)) if header.in_use => {
                let is_copy = header.number != number;
                found.used.push((is_copy, SegmentHeader { number, ..header }, file));
            }
            Ok(Some(header)) => found.spares.push(Spare { number, capacity: header.capacity, file }),
            Err(reason) => found.ignored.push(format!("{name}: {reason}")),
        }
    }
    found.take_headless(ident, headless);
    found.set_replaced_aside();
    found.used.sort_by_key(|(is_copy, header, _)| (header.base, *is_copy, header.number));
    let mut before: Option<SegmentHeader> = None;
    let FoundSegments { used, ignored, .. } = &mut found;
    used.retain(|(_, header, _)| {
        let is_copy = before.is_some_and(|before| before.base == header.base);
        if is_copy {
            ignored.push(format!("{}: it begins where another one begins", segment_name(header.number)));
        }
        before = Some(*header);
        !is_copy
    });
    Ok(found)
}

/// Whether a file still holds the segment with this header, or a running log has recycled it since.
pub(crate) fn is_still_there(file: &dyn StorageFile, header: &SegmentHeader) -> bool {
    let now = classify(file, header.storage, header.number);
    // A header that is damaged is told; that it is another segment now it must say itself.
    now.is_ok_and(|now| now.is_none_or(|now| now.in_use && now.epoch == header.epoch))
}

/// The version of a segment file whose header is whole and of another version.
fn other_version(file: &dyn StorageFile) -> Option<u16> {
    let mut sector = [0; SECTOR_BYTES];
    file.read_at(&mut sector, 0).ok()?;
    SegmentHeader::version(&sector).filter(|version| *version != header::VERSION)
}

/// The header of a segment file; of one whose header is damaged, as far as its
/// first block tells; nothing where that is damaged too.
fn classify(file: &dyn StorageFile, id: StorageId, number: u32) -> Result<Option<SegmentHeader>, String> {
    let length = file.len().map_err(|error| error.to_string())?;
    let mut sectors = [0; 2 * SECTOR_BYTES];
    if length < sectors.len() as u64 {
        return Err(format!("it has only {length} bytes"));
    }
    // A sector that cannot be read is as good as a damaged one: the other tells.
    for (sector, position) in sectors.chunks_mut(SECTOR_BYTES).zip([0, SECTOR_BYTES as u64]) {
        if file.read_at(sector, position).is_err() {
            sector.fill(0);
        }
    }
    let copy = || SegmentHeader::decode(sectors.get(SECTOR_BYTES..)?).filter(|header| header.cold.is_some());
    let header = SegmentHeader::decode(&sectors)
        .or_else(copy)
        .or_else(|| from_first_block(&sectors, id, number, length));
    let Some(header) = header else { return Ok(None) };
    if header.storage != id {
        return Err(format!("it belongs to storage {}", header.storage));
    }
    if !header.in_use && header.capacity != length {
        return Err(format!("it is a spare of {} bytes and has {length}", header.capacity));
    }
    Ok(Some(header))
}

fn from_first_block(sectors: &[u8], id: StorageId, number: u32, length: u64) -> Option<SegmentHeader> {
    let position = SECTOR_BYTES as u64;
    let block = sectors.get(SECTOR_BYTES..)?;
    let epoch = BlockHeader::claimed_epoch(block, position)?;
    let first = BlockHeader::decode(block, epoch, position)?;
    Some(SegmentHeader {
        in_use: true,
        storage: id,
        number,
        capacity: length,
        epoch,
        base: first.lsn,
        base_entry: first.first,
        previous: first.previous,
        cold: None,
    })
}

/// Up to where the blocks of a segment without a footer must be there.
pub(crate) fn proof(known: &Known, header: &SegmentHeader, next: Option<SegmentHeader>) -> Proof {
    let before = |number: u64| number.saturating_sub(1);
    let (lsn, entry, is_end) = match next {
        Some(next) => (Lsn(before(next.base.0)), EntryNumber(before(next.base_entry.0)), true),
        None if known.lsn >= header.base => (known.lsn, known.entry, false),
        None => (Lsn(0), EntryNumber(0), false),
    };
    Proof { lsn, entry, is_end }
}
