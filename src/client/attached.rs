//! Where a subscription is, and what statements about an earlier attachment are about now.
//!
//! An index names a message only at its place: the storage of the home, and the subscription there. And what
//! was delivered before it was on the home's disk may have got another index, if the home crashed then: what
//! stood below where the group ended at the start has its place.

use std::collections::VecDeque;

use crate::id::{Index, StorageId, SubscriptionName};
use crate::wire::body::Begun;

/// Starts of a home for which it is remembered what counts of earlier statements.
const STARTS_MAX: usize = 16;

/// What the relay said when the subscriber was attached.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    pub(super) handle: u32,
    pub(super) name: SubscriptionName,
    pub(super) storage: StorageId,
    /// Changes when the subscription is moved to another place.
    pub(super) moves: u64,
    /// Messages that the relay lets be without an ack, at most.
    pub(super) window: u32,
    /// With which start of the home the places may mean other messages; older relays do not say it.
    pub(super) begun: Option<Begun>,
}

/// What of the statements about an earlier attachment counts at a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    All,
    /// What is about messages below.
    Below(Index),
    Nothing,
}

impl Attached {
    /// What counts of what was said or is to be said about the attachment before.
    pub(super) fn counts_after(&self, last: &Self) -> Counts {
        if (self.storage, self.moves) != (last.storage, last.moves) {
            return Counts::Nothing;
        }
        match (last.begun, self.begun) {
            (None, None) => Counts::All,
            (Some(last), Some(now)) if now.boot == last.boot => Counts::All,
            (Some(last), Some(now)) if now.boot == last.boot + 1 => Counts::Below(now.index),
            // Where the group ended at the starts between is not known.
            _ => Counts::Nothing,
        }
    }
}

/// What counts of statements about earlier generations of deliveries.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// Of generations before this one nothing counts.
    since: u64,
    /// Generations with which the home had started again, each with where the group ended then: of earlier
    /// ones what is below that counts. Both ascending.
    starts: VecDeque<(u64, Index)>,
}

impl Cuts {
    /// With this generation the home has started again, and the group ended there.
    pub(super) fn cut(&mut self, generation: u64, end: Index) {
        self.starts.push_back((generation, end));
        if self.starts.len() > STARTS_MAX
            && let Some((oldest, _)) = self.starts.pop_front()
        {
            self.since = oldest;
        }
    }

    /// Before this generation nothing counts.
    pub(super) fn clear(&mut self, generation: u64) {
        (self.since, self.starts) = (generation, VecDeque::new());
    }

    /// Whether deliveries of this generation were of another place.
    pub(super) fn is_elsewhere(&self, generation: u64) -> bool {
        generation < self.since
    }

    /// What of a range that was delivered in this generation is what it was.
    pub(super) fn left_of(&self, generation: u64, (from, to): (Index, Index)) -> Option<(Index, Index)> {
        let cut = self.starts.iter().find(|(with, _)| generation < *with);
        let to = cut.map_or(to, |(_, end)| to.min(*end));
        (!self.is_elsewhere(generation) && from < to).then_some((from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_long_ago_counts_below_the_first_start_since_and_not_at_all_after_many() {
        let mut cuts = Cuts::default();
        let left =
            |cuts: &Cuts, generation| cuts.left_of(generation, (Index(5), Index(1_000))).map(|(_, to)| to.0);
        assert_eq!(left(&cuts, 1), Some(1_000));
        (0..STARTS_MAX as u64).for_each(|start| cuts.cut(10 + start, Index(10 * (start + 1))));
        assert_eq!([1, 9, 10, 24, 25].map(|g| left(&cuts, g)), [10, 10, 20, 160, 1_000].map(Some));
        cuts.cut(100, Index(500));
        assert_eq!([9, 10, 25, 100].map(|g| left(&cuts, g)), [None, Some(20), Some(500), Some(1_000)]);
        cuts.clear(200);
        assert_eq!([100, 199, 200].map(|g| left(&cuts, g)), [None, None, Some(1_000)]);
        assert_eq!(cuts.left_of(200, (Index(3), Index(3))), None);
    }
}
