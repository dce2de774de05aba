//! Sealing: a segment to which nothing is added any more gets its footer.

use std::io;
use std::sync::Arc;

use super::block::PAGE_BYTES;
use super::codec::round_up;
use super::footer::{self, Footer};
use super::segment::{Segment, SegmentIndex};
use super::shared::Shared;
use super::{LogError, file_error};

/// Writes the footers of all sealed segments that have none yet.
pub(crate) fn write_footers(shared: &Shared) -> Result<(), LogError> {
    for segment in shared.segments.all() {
        let wanted = {
            let inner = segment.read();
            inner.sealed && matches!(inner.index, SegmentIndex::Memory(_))
        };
        if wanted {
            write_footer(&segment)?;
        }
    }
    Ok(())
}

/// Writes the footer of one segment. A write that is refused leaves the
/// postings in memory; only a failed sync is an error.
fn write_footer(segment: &Segment) -> Result<(), LogError> {
    let (start, bytes, footer) = {
        let inner = segment.read();
        let SegmentIndex::Memory(postings) = &inner.index else { return Ok(()) };
        let bytes = footer::bytes(postings.groups(), postings.len());
        let after = round_up(inner.end.position, PAGE_BYTES);
        let at_end = segment.header.capacity.checked_sub(bytes).filter(|start| *start >= after);
        // A file that was cut off behind its last block stays so: grown to its old length it would
        // have a hole, and could not be told from a spare that is laid out.
        let is_cut_off = segment.file.len().is_ok_and(|length| length < segment.header.capacity);
        let start = if inner.partial || is_cut_off { after } else { at_end.unwrap_or(after) };
        let encoded = footer::encode(postings, segment.header.epoch, start, inner.end, inner.gap);
        (start, encoded, Arc::new(Footer::new(segment.header.epoch, start, postings)))
    };
    let file = &segment.file;
    let written = || -> io::Result<()> {
        let length = start + bytes.len() as u64;
        if file.len()? != length {
            file.set_len(length)?;
        }
        file.write_at(&[io::IoSlice::new(&bytes)], start)
    };
    if written().is_err() {
        return Ok(());
    }
    file.sync().map_err(|error| file_error("sync", &segment.name(), error))?;
    segment.write().index = SegmentIndex::Footer(footer);
    Ok(())
}
