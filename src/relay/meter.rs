//! How many bytes and how much time lie between two indexes of a group.
//!
//! Exact for the ends, interpolated between a bounded number of samples in the
//! middle: when there are too many, every second one is dropped, so that a
//! group of any length costs at most [`SAMPLES_MAX`] of them.

use serde::{Deserialize, Serialize};

use crate::id::{Index, WallTime};

/// Samples kept: the error of a size in the middle is about one part in half as many.
const SAMPLES_MAX: usize = 64;

/// A moment in a group's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sample {
    index: Index,
    bytes: u64,
    arrived: WallTime,
}

/// Samples of a group, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meter {
    samples: Vec<Sample>,
    /// Bytes inserted in all.
    total: u64,
    /// The index after the last insertion.
    end: Index,
    /// A sample is taken when so many bytes have come since the last one. 0: for every run.
    step: u64,
    /// When the last run arrived.
    last_arrived: WallTime,
}

impl Meter {
    /// Counts a run: its first index, its length in bytes and its time of arrival.
    pub(super) fn insert(&mut self, first: Index, end: Index, bytes: u64, arrived: WallTime) {
        let due = self.samples.last().is_none_or(|last| self.total - last.bytes >= self.step);
        if due {
            if self.samples.len() >= SAMPLES_MAX {
                self.thin();
            }
            self.samples.push(Sample { index: first, bytes: self.total, arrived });
        }
        self.total += bytes;
        self.end = end;
        self.last_arrived = self.last_arrived.max(arrived);
    }

    /// When the last run arrived.
    pub(super) fn last_arrived(&self) -> WallTime {
        self.last_arrived
    }

    fn thin(&mut self) {
        let mut keep = false;
        self.samples.retain(|_| {
            keep = !keep;
            keep
        });
        let span = self.total - self.samples.first().map_or(0, |s| s.bytes);
        self.step = (span / (SAMPLES_MAX as u64 / 2)).max(1);
    }

    /// Forgets what lies before `below`.
    pub(super) fn release(&mut self, below: Index) {
        if below >= self.end {
            self.samples = Vec::new();
            self.step = 0;
            return;
        }
        let first = self.samples.partition_point(|s| s.index <= below).saturating_sub(1);
        self.samples.drain(..first);
    }

    /// About how many bytes lie at or behind `index`.
    pub(super) fn bytes_from(&self, index: Index) -> u64 {
        if index >= self.end {
            return 0;
        }
        self.total - self.bytes_before(index)
    }

    fn bytes_before(&self, index: Index) -> u64 {
        let place = self.samples.partition_point(|s| s.index <= index);
        let next = self.samples.get(place).map_or((self.end, self.total), |s| (s.index, s.bytes));
        let Some(last) = place.checked_sub(1).and_then(|p| self.samples.get(p)) else {
            return self.samples.first().map_or(self.total, |s| s.bytes);
        };
        let width = next.0.0.saturating_sub(last.index.0).max(1);
        let part = index.0.saturating_sub(last.index.0).min(width);
        last.bytes + ((u128::from(next.1 - last.bytes) * u128::from(part)) / u128::from(width)) as u64
    }

    /// The smallest index at or behind which about `bytes` or fewer lie.
    pub(super) fn index_of_last_bytes(&self, bytes: u64) -> Index {
        let target = self.total.saturating_sub(bytes);
        let (mut low, mut high) = (self.samples.first().map_or(self.end, |s| s.index).0, self.end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.bytes_before(Index(middle)) >= target { high = middle } else { low = middle + 1 }
        }
        Index(low)
    }

    /// The index behind what arrived before `time`: exact as long as every run has its
    /// sample, interpolated by time between two samples otherwise.
    pub(super) fn index_behind(&self, time: WallTime) -> Index {
        if self.last_arrived < time {
            return self.end;
        }
        let place = self.samples.partition_point(|s| s.arrived < time);
        let Some(last) = place.checked_sub(1).and_then(|p| self.samples.get(p)) else {
            return self.samples.first().map_or(self.end, |s| s.index);
        };
        let (index, arrived) =
            self.samples.get(place).map_or((self.end, self.last_arrived), |s| (s.index, s.arrived));
        if self.step == 0 && place < self.samples.len() {
            return index;
        }
        let width = arrived.0.saturating_sub(last.arrived.0).max(1);
        let part = time.0.saturating_sub(last.arrived.0).min(width);
        let span = u128::from(index.0.saturating_sub(last.index.0));
        Index(last.index.0 + ((span * u128::from(part)) / u128::from(width)) as u64)
    }

    /// About when what stands at `index` arrived.
    pub(super) fn arrived_at(&self, index: Index) -> WallTime {
        let place = self.samples.partition_point(|s| s.index <= index);
        let (end, latest) =
            self.samples.get(place).map_or((self.end, self.last_arrived), |s| (s.index, s.arrived));
        let Some(last) = place.checked_sub(1).and_then(|p| self.samples.get(p)) else { return latest };
        let width = end.0.saturating_sub(last.index.0).max(1);
        let part = index.0.saturating_sub(last.index.0).min(width);
        let span = u128::from(latest.0.saturating_sub(last.arrived.0));
        WallTime(last.arrived.0 + ((span * u128::from(part)) / u128::from(width)) as u64)
    }

    /// An index before which everything arrived before `time`, as near to it as the samples tell.
    pub(super) fn index_at(&self, time: WallTime) -> Index {
        if self.last_arrived < time {
            return self.end;
        }
        let place = self.samples.partition_point(|s| s.arrived < time);
        match place.checked_sub(1).and_then(|p| self.samples.get(p)) {
            Some(sample) => sample.index,
            None => self.samples.first().map_or(self.end, |s| s.index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Meter {
        let mut meter = Meter::default();
        for i in 0..10_000 {
            meter.insert(Index(1 + i * 10), Index(11 + i * 10), 1000, WallTime(i));
        }
        meter
    }

    #[test]
    fn ends_are_exact_and_the_middle_is_near() {
        let meter = filled();
        assert_eq!(meter.bytes_from(Index(1)), 10_000_000);
        assert_eq!(meter.bytes_from(Index(100_001)), 0);
        let half = meter.bytes_from(Index(50_001));
        assert!((4_900_000..5_100_000).contains(&half), "{half}");
        assert!(meter.samples.len() <= SAMPLES_MAX);
    }

    #[test]
    fn a_size_gives_an_index() {
        let meter = filled();
        let index = meter.index_of_last_bytes(1_000_000).0;
        assert!((89_000..91_000).contains(&index), "{index}");
        assert_eq!(meter.index_of_last_bytes(u64::MAX), Index(1));
    }

    #[test]
    fn a_time_gives_an_index_that_is_not_too_late() {
        let meter = filled();
        let index = meter.index_at(WallTime(5_000)).0;
        assert!((40_000..=50_001).contains(&index), "{index}");
        assert_eq!(meter.index_at(WallTime(0)), Index(1));
        assert!(meter.index_at(WallTime(9_999)) < Index(100_001));
        assert_eq!(meter.index_at(WallTime(10_000)), Index(100_001), "nothing arrived then or later");
        let behind = meter.index_behind(WallTime(5_000)).0;
        assert!((49_000..=51_000).contains(&behind), "{behind}");
        assert_eq!(meter.index_behind(WallTime(10_000)), Index(100_001));
    }

    #[test]
    fn an_index_tells_about_when_it_arrived() {
        let meter = filled();
        assert_eq!(meter.arrived_at(Index(1)), WallTime(0));
        let half = meter.arrived_at(Index(50_001)).0;
        assert!((4_800..=5_200).contains(&half), "{half}");
        assert!(meter.arrived_at(Index(99_991)) <= meter.last_arrived());
        assert_eq!(meter.arrived_at(Index(200_000)), meter.last_arrived());
        assert_eq!(Meter::default().arrived_at(Index(1)), WallTime(0));
    }

    #[test]
    fn an_empty_group_keeps_no_samples() {
        let mut meter = filled();
        meter.release(Index(100_001));
        assert!(meter.samples.is_empty());
        assert_eq!(meter.bytes_from(Index(100_001)), 0);
        meter.insert(Index(100_001), Index(100_002), 5, WallTime(20_000));
        assert_eq!(meter.bytes_from(Index(100_001)), 5);
    }
}
