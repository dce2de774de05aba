//! Segments of which neither the header nor the first block is whole: both stand in the first page
//! of the file, and one bad page takes them together.
//!
//! What stands behind that page is not lost with it. The segment's epoch is in every block, and of
//! the epochs that this storage has given lately all are known: they follow from the boot counter and
//! the secret in `IDENT`. So the first whole block of such an epoch tells what a header would. In a
//! file that was used before, blocks of its earlier life stand behind those of the last one, so the
//! first one found is of the last life, if any of that is left.
//!
//! This is done for the end of the log alone. A segment in the middle is missed by its neighbours,
//! which name what was in it; behind the last one nothing stands that could. Where nothing of it is
//! found, nobody knows whether it held anything: after a crash that is said once for the same files.

use std::collections::BTreeSet;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::block::{BLOCK_HEADER_BYTES, BlockHeader};
use super::header::{SegmentHeader, segment_epoch};
use super::ident::Ident;
use super::scan::Window;
use super::storage::{SECTOR_BYTES, StorageFile};

/// Boots whose segments are known again: the last one may have written nothing.
const BOOTS: u64 = 8;
/// Segments of a boot that are known again: half a terabyte at the default length.
const SERIALS: u32 = 4096;

/// The epochs that this storage has given lately.
pub(crate) fn epochs(ident: &Ident) -> BTreeSet<u64> {
    let last = ident.epoch.counter;
    let boots = last.saturating_sub(BOOTS - 1)..=last;
    boots.flat_map(|boot| (0..SERIALS).map(move |serial| segment_epoch(boot, serial, ident.secret))).collect()
}

/// The header of a segment as far as its first whole block tells, and where that stands.
pub(crate) fn from_later_block(
    file: &Arc<dyn StorageFile>,
    ident: &Ident,
    number: u32,
    epochs: &BTreeSet<u64>,
) -> Option<(SegmentHeader, u64)> {
    let length = file.len().ok()?;
    let mut window = Window::new(Arc::clone(file)).ok()?;
    let mut places = (1..length / SECTOR_BYTES as u64).map(|sector| sector * SECTOR_BYTES as u64);
    let block = places.find_map(|position| {
        let bytes = window.get(position, BLOCK_HEADER_BYTES);
        let epoch = BlockHeader::claimed_epoch(bytes, position).filter(|epoch| epochs.contains(epoch))?;
        BlockHeader::decode(bytes, epoch, position)
    })?;
    let header = SegmentHeader {
        in_use: true,
        storage: ident.epoch.storage,
        number,
        capacity: length,
        epoch: block.epoch,
        base: block.lsn,
        base_entry: block.first,
        previous: block.previous,
        cold: None,
    };
    Some((header, block.position))
}

/// One number for the names of files that were passed over, by which the same ones are known again;
/// 0 for none.
pub(crate) fn fingerprint(names: &[String]) -> u64 {
    if names.is_empty() { 0 } else { xxh3_64(names.join("\n").as_bytes()).max(1) }
}
