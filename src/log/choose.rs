//! Choosing what to rewrite.
//!
//! Which one first is weighed as in Rosenblum and Ousterhout, *The design and
//! implementation of a log-structured file system* (1992): the gain times the
//! age, over the cost, (1 − u) × age / (1 + u), where u is what is live and
//! age the time since that last fell. Segments with little live data go first,
//! and among equal ones those whose rest is likely to stay for long. Neighbours
//! that are worth it too go along, so that a group which lies scattered over
//! many segments lies in one piece afterwards.

use std::ops::Range;

use super::live::Live;

/// So many small segments side by side are joined.
pub(crate) const SMALL_MAX: usize = 8;
/// Segments that one cold segment replaces at the most.
const SOURCES_MAX: usize = 64;

/// A segment that may be collected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidate {
    /// Bytes of its file.
    pub(crate) size: u64,
    /// Bytes of its blocks.
    pub(crate) blocks: u64,
    pub(crate) live: Live,
    pub(crate) age_ms: u64,
}

/// What choosing depends on beside the segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Bytes that a cold segment may have.
    pub(crate) segment_bytes: u64,
    pub(crate) slice_bytes: u64,
    pub(crate) age_ms: u64,
    pub(crate) is_pressed: bool,
    /// Bytes that the file system still has.
    pub(crate) room: u64,
}

impl Terms {
    fn is_ripe(&self, candidate: &Candidate) -> bool {
        self.is_pressed || candidate.age_ms >= self.age_ms
    }

    /// Whether moving what is live gains enough: half, or an eighth when room is short.
    fn is_worth_it(&self, candidate: &Candidate) -> bool {
        let needed = candidate.live.file_bytes(self.slice_bytes);
        let most = if self.is_pressed { candidate.size - candidate.size / 8 } else { candidate.size / 2 };
        needed <= most
    }

    fn is_small(&self, candidate: &Candidate) -> bool {
        candidate.live.file_bytes(self.slice_bytes) <= self.segment_bytes / SMALL_MAX as u64
    }

    fn fits(&self, live: &Live, blocks: u64) -> bool {
        let needed = live.file_bytes(self.slice_bytes);
        needed <= self.segment_bytes && needed <= self.room && blocks <= u64::from(u32::MAX / 2)
    }

    #[expect(clippy::cast_precision_loss, reason = "a weight, not a count")]
    fn weight(&self, candidate: &Candidate) -> f64 {
        let used = candidate.live.file_bytes(self.slice_bytes) as f64 / candidate.size.max(1) as f64;
        (1.0 - used) * (candidate.age_ms + 1) as f64 / (1.0 + used)
    }

    /// Which segments to rewrite into one, out of all in their order; `None`
    /// stands for one that must stay.
    pub(crate) fn choose(&self, all: &[Option<Candidate>]) -> Option<Range<usize>> {
        let ripe: Vec<_> = all.iter().map(|one| one.filter(|candidate| self.is_ripe(candidate))).collect();
        let is_seed = |candidate: &Candidate| {
            candidate.live.runs > 0
                && self.is_worth_it(candidate)
                && self.fits(&candidate.live, candidate.blocks)
        };
        let seeds = ripe.iter().enumerate().filter_map(|(at, one)| Some((at, one.filter(is_seed)?)));
        let best = seeds.max_by(|(_, one), (_, other)| self.weight(one).total_cmp(&self.weight(other)));
        match best {
            Some((at, _)) => Some(self.grow(&ripe, at, &|one| self.is_worth_it(one) || self.is_small(one))),
            None => self.many_small(&ripe),
        }
    }

    /// The segments around `seed` that go along.
    fn grow(
        &self,
        ripe: &[Option<Candidate>],
        seed: usize,
        goes: &dyn Fn(&Candidate) -> bool,
    ) -> Range<usize> {
        let mut live = Live::default();
        let mut blocks = 0;
        let mut joins = |at: usize| {
            let Some(one) = ripe.get(at).and_then(Option::as_ref).filter(|one| at == seed || goes(one))
            else {
                return false;
            };
            let mut joined = live;
            joined += one.live;
            let fits = self.fits(&joined, blocks + one.blocks);
            if fits {
                (live, blocks) = (joined, blocks + one.blocks);
            }
            fits
        };
        let mut range = seed..seed;
        while range.len() < SOURCES_MAX && joins(range.end) {
            range.end += 1;
        }
        while range.len() < SOURCES_MAX && range.start > 0 && joins(range.start - 1) {
            range.start -= 1;
        }
        range
    }

    /// The first row of small segments that is long enough to be joined.
    fn many_small(&self, ripe: &[Option<Candidate>]) -> Option<Range<usize>> {
        let mut at = 0;
        while at < ripe.len() {
            let is_small = |one: &Candidate| self.is_small(one);
            let row = ripe.get(at..).unwrap_or_default();
            let length = row.iter().take_while(|one| one.as_ref().is_some_and(is_small)).count();
            if length >= SMALL_MAX {
                let range = self.grow(ripe, at, &is_small);
                if range.len() >= SMALL_MAX {
                    return Some(range);
                }
            }
            at += length + 1;
        }
        None
    }
}

#[cfg(test)]
mod tests;
