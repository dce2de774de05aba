//! Postings: where the runs of each group lie in one segment, in memory.
//!
//! A segment that is being filled, or whose footer is not written yet, has its
//! postings here; they cost 24 bytes per run. A sealed segment has them in its
//! footer, on disk.

use foldhash::HashMap;

use super::RunEntry;
use super::block::RUN_HEAD_BYTES;
use super::held::Witness;
use crate::id::{GroupNumber, Index};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Posting {
    /// The index of its first record.
    pub(crate) first_index: u64,
    /// Where its head stands in the file.
    pub(crate) position: u32,
    /// How many records it has.
    pub(crate) count: u32,
    /// Bytes of head and body.
    pub(crate) bytes: u32,
}

impl Posting {
    /// Of a run whose head stands at `position`.
    ///
    /// # Panics
    /// When it ends behind 4 GiB, which no segment does.
    pub(crate) fn of(run: &RunEntry, position: u64) -> Self {
        let narrow = |value| u32::try_from(value).expect("a segment is below 4 GiB");
        Self {
            first_index: run.first_index.0,
            position: narrow(position),
            count: run.run.header.count,
            bytes: narrow((RUN_HEAD_BYTES + run.run.body.len()) as u64),
        }
    }

    /// The index after the last record.
    pub(crate) fn end_index(&self) -> u64 {
        self.first_index.saturating_add(u64::from(self.count))
    }

    /// Where it ends in the file.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.position) + u64::from(self.bytes)
    }
}

/// Postings that a reader asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// From the one that contains the index, or the first one behind it.
    pub(crate) postings: Vec<Posting>,
    /// The end of the run before the first one, if this segment has one.
    pub(crate) before: Option<u64>,
}

/// The postings of a segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Postings {
    groups: HashMap<GroupNumber, Vec<Posting>>,
    count: usize,
}

impl Postings {
    /// Adds a run behind all others of its group. One that does not lie behind
    /// them is not taken: no reader could find it.
    pub(crate) fn push(&mut self, group: GroupNumber, posting: Posting) -> bool {
        let of_group = self.groups.entry(group).or_insert_with(|| Vec::with_capacity(1));
        if of_group.last().is_some_and(|last| last.end_index() > posting.first_index) {
            return false;
        }
        of_group.push(posting);
        self.count += 1;
        true
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The runs of `group` from the one that contains `from` on, about `bytes_max` bytes of them.
    pub(crate) fn find(&self, group: GroupNumber, from: Index, bytes_max: usize) -> Found {
        let Some(of_group) = self.groups.get(&group) else { return Found::default() };
        let at = of_group.partition_point(|posting| posting.end_index() <= from.0);
        let (before, rest) = of_group.split_at_checked(at).unwrap_or((of_group, &[]));
        let mut bytes = 0;
        let wanted = rest.iter().take_while(|posting| {
            let take = bytes < bytes_max.max(1);
            bytes = bytes.saturating_add(posting.bytes as usize);
            take
        });
        Found { postings: wanted.copied().collect(), before: before.last().map(Posting::end_index) }
    }

    /// All groups with their runs, sorted by group.
    pub(crate) fn sorted(&self) -> Vec<(GroupNumber, &[Posting])> {
        let mut all: Vec<_> = self.groups.iter().map(|(group, runs)| (*group, runs.as_slice())).collect();
        all.sort_unstable_by_key(|(group, _)| *group);
        all
    }

    /// A group of which something at or above `released(group)` is held.
    pub(crate) fn witness(&self, released: &dyn Fn(GroupNumber) -> u64) -> Option<Witness> {
        let ends =
            self.groups.iter().map(|(group, runs)| (*group, runs.last().map_or(0, Posting::end_index)));
        let mut held = ends.filter(|(group, end_index)| *end_index > released(*group));
        held.next().map(|(group, end_index)| Witness { group, end_index, page: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting(first_index: u64, count: u32) -> Posting {
        Posting { first_index, position: u32::try_from(first_index * 512).unwrap(), count, bytes: 300 }
    }

    #[test]
    fn a_run_is_found_by_any_index_inside_it() {
        let mut postings = Postings::default();
        let group = GroupNumber(3);
        assert!(postings.push(group, posting(1, 4)));
        assert!(postings.push(group, posting(5, 2)));
        assert!(!postings.push(group, posting(6, 2)), "it overlaps");
        for (from, first) in [(0, 1), (1, 1), (4, 1), (5, 5), (6, 5)] {
            assert_eq!(
                postings.find(group, Index(from), 1).postings,
                [posting(first, if first == 1 { 4 } else { 2 })]
            );
        }
        assert_eq!(postings.find(group, Index(5), 1).before, Some(5));
        assert!(postings.find(group, Index(7), 1).postings.is_empty());
        assert_eq!(postings.find(group, Index(0), 301).postings.len(), 2);
    }
}
