//! Which segments are in use, in the order of the log.

use std::collections::BTreeMap;

use super::segment::Segment;
use super::sync::{Arc, PoisonError, RwLock};
use crate::id::Lsn;

/// All segments in use, by the lsn of their first block.
#[derive(Default)]
pub(crate) struct Segments(RwLock<BTreeMap<Lsn, Arc<Segment>>>);

impl Segments {
    pub(crate) fn new(segments: impl IntoIterator<Item = Arc<Segment>>) -> Self {
        Self(RwLock::new(segments.into_iter().map(|segment| (segment.header.base, segment)).collect()))
    }

    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(segment.header.base, segment);
    }

    pub(crate) fn remove(&self, base: Lsn) -> Option<Arc<Segment>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&base)
    }

    /// Where the newest segment begins.
    pub(crate) fn newest(&self) -> Lsn {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        segments.last_key_value().map_or(Lsn(0), |(base, _)| *base)
    }

    /// The segment in which the block `place` is, or the first one behind it;
    /// none that begins behind `newest`. A cold segment holds the places of all
    /// that it replaces, so a reader may go on with a place that it remembers.
    pub(crate) fn from(&self, place: Lsn, newest: Lsn) -> Option<Arc<Segment>> {
        let segments = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if place > newest {
            return None;
        }
        let before = segments.range(..=place).next_back().map(|(_, segment)| segment);
        let around = before.filter(|segment| segment.read().end.lsn >= place);
        around.or_else(|| segments.range(place..=newest).next().map(|(_, segment)| segment)).map(Arc::clone)
    }

    /// Puts a cold segment in the place of those that it replaces, at once for
    /// all readers; gives back those that were still there.
    pub(crate) fn replace(&self, cold: Arc<Segment>) -> Vec<Arc<Segment>> {
        let mut segments = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = segments.extract_if(.., |_, segment| cold.header.replaces(&segment.header));
        let replaced = replaced.map(|(_, segment)| segment).collect();
        segments.insert(cold.header.base, cold);
        replaced
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Tells those of `leaving` that no reader holds any more, and whose files may be used for
/// something else, from those that are still being read.
pub(crate) fn let_go(leaving: Vec<Arc<Segment>>) -> (Vec<Segment>, Vec<Arc<Segment>>) {
    let (mut free, mut held) = (Vec::new(), Vec::new());
    for segment in leaving {
        match Arc::try_unwrap(segment) {
            Ok(segment) => free.push(segment),
            Err(segment) => held.push(segment),
        }
    }
    (free, held)
}
