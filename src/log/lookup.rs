//! Looking things up in the footer of a segment, without reading all of it.

use super::footer::{Footer, FooterError, GroupRecord, PAYLOAD_BYTES, POSTING_BYTES, Page, decode_posting};
use super::held::Witness;
use super::postings::{Found, Posting};
use super::storage::StorageFile;
use crate::id::{GroupNumber, Index};

impl Footer {
    fn group(&self, file: &dyn StorageFile, group: GroupNumber) -> Result<Option<GroupRecord>, FooterError> {
        let after = self.fence(file)?.partition_point(|first| *first <= group.0);
        let Some(page) = after.checked_sub(1) else { return Ok(None) };
        let records = self.group_page(file, page as u64)?;
        Ok(records.into_iter().find(|record| record.group == group))
    }

    /// See [`Postings::find`].
    pub(crate) fn find(
        &self,
        file: &dyn StorageFile,
        group: GroupNumber,
        from: Index,
        bytes_max: usize,
    ) -> Result<Found, FooterError> {
        match self.group(file, group)? {
            Some(record) => self.find_of(file, &record, from, bytes_max),
            None => Ok(Found::default()),
        }
    }

    /// The runs of the group of `record`; see [`Postings::find`]. What it gives ends behind
    /// `from`, rises, and lies among the blocks, whatever the footer says: so every reader gets on.
    pub(crate) fn find_of(
        &self,
        file: &dyn StorageFile,
        record: &GroupRecord,
        from: Index,
        bytes_max: usize,
    ) -> Result<Found, FooterError> {
        if record.end_index <= from.0 {
            return Ok(Found { postings: Vec::new(), before: Some(record.end_index) });
        }
        let mut cursor = PostingCursor { footer: self, file, page: None };
        let end = record.first.saturating_add(record.count);
        let mut at = cursor.first_behind(record, from)?;
        let mut found = Found::default();
        if at > record.first {
            found.before = Some(cursor.read(at - 1)?.end_index());
        }
        let mut bytes = 0;
        let mut behind = from.0;
        while at < end && bytes < bytes_max.max(1) {
            let posting = cursor.read(at)?;
            let is_behind = posting.end_index() > behind.max(posting.first_index);
            let overlaps = !found.postings.is_empty() && posting.first_index < behind;
            if !is_behind || overlaps || posting.end() > self.blocks_end() {
                // Whoever followed it would go back, and come here again for ever.
                return Err(FooterError::Damaged);
            }
            behind = posting.end_index();
            bytes = bytes.saturating_add(posting.bytes as usize);
            found.postings.push(posting);
            at += 1;
        }
        Ok(found)
    }

    /// How many runs of a group end behind `from`, and how many bytes they have.
    pub(crate) fn count_of(
        &self,
        file: &dyn StorageFile,
        record: &GroupRecord,
        from: Index,
    ) -> Result<(u64, u64), FooterError> {
        if record.end_index <= from.0 {
            return Ok((0, 0));
        }
        let mut cursor = PostingCursor { footer: self, file, page: None };
        let first = cursor.first_behind(record, from)?;
        let gone = first - record.first;
        if gone == 0 {
            return Ok((u64::from(record.count), u64::from(record.bytes)));
        }
        let mut bytes = 0;
        for at in first..record.first.saturating_add(record.count) {
            bytes += u64::from(cursor.read(at)?.bytes);
        }
        Ok((u64::from(record.count.saturating_sub(gone)), bytes))
    }

    /// A group of which something at or above `released(group)` is held; pages
    /// of the table before `page` are not looked at.
    pub(crate) fn witness(
        &self,
        file: &dyn StorageFile,
        page: u64,
        released: &dyn Fn(GroupNumber) -> u64,
    ) -> Result<Option<Witness>, FooterError> {
        for number in page..self.group_pages() {
            let records = self.group_page(file, number)?;
            let held = records.iter().find(|record| record.end_index > released(record.group));
            if let Some(record) = held {
                let (group, end_index) = (record.group, record.end_index);
                return Ok(Some(Witness { group, end_index, page: number }));
            }
        }
        Ok(None)
    }
}

/// Walks over the groups of a footer, in order; holds one page of them.
#[derive(Default)]
pub(crate) struct GroupWalk {
    page: u64,
    records: std::vec::IntoIter<GroupRecord>,
    next: Option<GroupRecord>,
}

impl GroupWalk {
    /// The next group, which stays the next one until it is taken.
    pub(crate) fn peek(
        &mut self,
        footer: &Footer,
        file: &dyn StorageFile,
    ) -> Result<Option<GroupRecord>, FooterError> {
        while self.next.is_none() {
            self.next = self.records.next();
            if self.next.is_none() {
                if self.page >= footer.group_pages() {
                    return Ok(None);
                }
                self.records = footer.group_page(file, self.page)?.into_iter();
                self.page += 1;
            }
        }
        Ok(self.next)
    }

    /// Goes on to the group behind.
    pub(crate) fn take(&mut self) {
        self.next = None;
    }
}

/// Reads single postings, keeping the page of the last one.
struct PostingCursor<'a> {
    footer: &'a Footer,
    file: &'a dyn StorageFile,
    page: Option<(u64, Page)>,
}

impl PostingCursor<'_> {
    /// The number of the first posting of a group that ends behind `from`.
    fn first_behind(&mut self, record: &GroupRecord, from: Index) -> Result<u32, FooterError> {
        let mut low = record.first;
        let mut high = record.first.saturating_add(record.count);
        if record.first_index >= from.0 {
            high = low;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.read(middle)?.end_index() <= from.0 { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn read(&mut self, number: u32) -> Result<Posting, FooterError> {
        let per_page = (PAYLOAD_BYTES / POSTING_BYTES) as u64;
        let (wanted, slot) = (u64::from(number) / per_page, u64::from(number) % per_page);
        let page = match self.page.take() {
            Some((number, page)) if number == wanted => page,
            _ => self.footer.page(self.file, wanted)?,
        };
        let (records, _) = page.as_chunks::<POSTING_BYTES>();
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        let posting = records.get(slot).and_then(|record| decode_posting(record));
        self.page = Some((wanted, page));
        posting.ok_or(FooterError::Damaged)
    }
}
