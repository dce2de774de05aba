//! How many bytes and how much time lie between two indexes of a group.
//!
//! Exact for the ends, and told from a bounded number of samples in the middle: one is taken when so
//! many bytes have come since the last one, or so much time has passed. When there are too many, only
//! those are kept that lie further apart, so that a group of any length costs at most [`SAMPLES_MAX`]
//! of them. Bytes are interpolated between two samples. Times are not: what comes after a rest would
//! count as older than it is, and be deleted. Each sample knows instead when the last of what it stands
//! for came.

use serde::{Deserialize, Serialize};

use crate::id::{Index, WallTime};

/// Samples at the most. Some are left to be taken before there are too many again.
const SAMPLES_MAX: usize = 64;

/// Into so many parts bytes are cut by samples, and time.
const BYTE_PARTS: u64 = 24;
const TIME_PARTS: u64 = 16;

const _: () = assert!(BYTE_PARTS + TIME_PARTS + 1 < SAMPLES_MAX as u64 * 3 / 4);

/// A moment in a group's life, and what came from then on until the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sample {
    index: Index,
    bytes: u64,
    arrived: WallTime,
    /// How much later the last of it came.
    #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
    lasts: u64,
}

impl Sample {
    fn through(&self) -> WallTime {
        WallTime(self.arrived.0.saturating_add(self.lasts))
    }

    /// Stands for what came then, too.
    fn extend(&mut self, to: WallTime) {
        self.lasts = self.lasts.max(to.0.saturating_sub(self.arrived.0));
    }
}

/// Samples of a group, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meter {
    samples: Vec<Sample>,
    /// Bytes inserted in all.
    total: u64,
    /// The index after the last insertion.
    end: Index,
    /// A sample is taken when so many bytes have come since the last one. 0: every run has one.
    step: u64,
    /// And when more time than this has passed since it. `None`, though not every run has a sample: a
    /// version took them that did not note how long they last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pause: Option<u64>,
    /// When the last run arrived.
    last_arrived: WallTime,
}

impl Meter {
    /// Whether what came behind so many bytes, and then, is to have a sample of its own.
    fn is_apart(&self, last: &Sample, bytes: u64, arrived: WallTime) -> bool {
        bytes.saturating_sub(last.bytes) >= self.step
            || arrived.0.saturating_sub(last.arrived.0) > self.pause.unwrap_or(0)
    }

    /// Counts a run: its first index, its length in bytes and its time of arrival.
    pub(super) fn insert(&mut self, first: Index, end: Index, bytes: u64, arrived: WallTime) {
        let due = self.samples.last().is_none_or(|last| self.is_apart(last, self.total, arrived));
        if due {
            if self.samples.len() >= SAMPLES_MAX {
                self.thin();
            }
            self.samples.push(Sample { index: first, bytes: self.total, arrived, lasts: 0 });
        } else if let Some(last) = self.samples.last_mut() {
            last.extend(arrived);
        }
        self.total += bytes;
        self.end = end;
        self.last_arrived = self.last_arrived.max(arrived);
    }

    /// When the last run arrived.
    pub(super) fn last_arrived(&self) -> WallTime {
        self.last_arrived
    }

    /// Bytes and time in one part of what there is.
    fn parts(&self) -> (u64, u64) {
        let Some(first) = self.samples.first() else { return (0, 0) };
        let bytes = self.total.saturating_sub(first.bytes).div_ceil(BYTE_PARTS).max(1);
        (bytes, self.last_arrived.0.saturating_sub(first.arrived.0) / TIME_PARTS)
    }

    fn thin(&mut self) {
        let (step, pause) = self.parts();
        let all: Vec<Sample> = (0..self.samples.len()).filter_map(|place| self.sample(place)).collect();
        (self.step, self.pause) = (step, Some(pause));
        let mut kept: Vec<Sample> = Vec::with_capacity(SAMPLES_MAX);
        for sample in all {
            match kept.last_mut() {
                Some(last) if !self.is_apart(last, sample.bytes, sample.arrived) => {
                    last.extend(sample.through());
                }
                _ => kept.push(sample),
            }
        }
        self.samples = kept;
    }

    /// A sample, with how long it lasts at the most.
    fn sample(&self, place: usize) -> Option<Sample> {
        let mut sample = *self.samples.get(place)?;
        if self.step > 0 && self.pause.is_none() {
            sample.extend(self.samples.get(place + 1).map_or(self.last_arrived, |next| next.arrived));
        }
        Some(sample)
    }

    /// Forgets what lies before `below`.
    pub(super) fn release(&mut self, below: Index) {
        if below >= self.end {
            self.samples = Vec::new();
            (self.step, self.pause) = (0, None);
            return;
        }
        let first = self.samples.partition_point(|s| s.index <= below).saturating_sub(1);
        self.samples.drain(..first);
        // Less is there, so what comes is told apart better.
        let (step, pause) = self.parts();
        self.step = self.step.min(step);
        self.pause = self.pause.map(|known| known.min(pause));
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

    /// An index before which everything arrived before `time`, and behind which little did: exact as
    /// long as every run has its sample.
    pub(super) fn index_at(&self, time: WallTime) -> Index {
        if self.last_arrived < time {
            return self.end;
        }
        let mut all = (0..self.samples.len()).filter_map(|place| self.sample(place));
        all.find(|sample| sample.through() >= time).map_or(self.end, |sample| sample.index)
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
        assert!((43_000..=50_001).contains(&index), "{index}");
        assert_eq!(meter.index_at(WallTime(0)), Index(1));
        assert!(meter.index_at(WallTime(9_999)) < Index(100_001));
        assert_eq!(meter.index_at(WallTime(10_000)), Index(100_001), "nothing arrived then or later");
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

    #[test]
    fn what_came_after_a_rest_does_not_count_as_older() {
        let mut meter = Meter::default();
        for i in 0..10_000 {
            meter.insert(Index(1 + i), Index(2 + i), 1000, WallTime(i));
        }
        // Many messages, few bytes: less than a step.
        meter.insert(Index(10_001), Index(20_001), 10_000, WallTime(1_010_000));
        let behind = meter.index_at(WallTime(510_000)).0;
        assert_eq!(behind, 10_001);
    }

    /// Whatever the traffic: nothing is held for older than it is, and not much for younger.
    #[test]
    fn nothing_counts_as_older_than_it_is_and_little_as_younger() {
        for seed in 0..200 {
            let mut dice = crate::dice::Dice::new(seed);
            let mut meter = Meter::default();
            let (mut runs, mut now, mut widest) = (Vec::new(), 1_000_000, 0);
            for run in 0..1_500 {
                now += [0, 1, dice.below(100), dice.below(20_000)][dice.below(4) as usize];
                if dice.below(200) == 0 {
                    now += dice.below(3_000_000);
                }
                let bytes = [1, 100, dice.below(1_000), dice.below(1_000_000)][dice.below(4) as usize];
                meter.insert(Index(1 + run * 10), Index(11 + run * 10), bytes, WallTime(now));
                runs.push((1 + run * 10, now));
                assert!(meter.samples.len() <= SAMPLES_MAX);
                if dice.below(300) == 0 {
                    let place = dice.below(runs.len() as u64) as usize;
                    meter.release(Index(runs[place].0));
                    runs.drain(..place);
                }
                let span = now - runs[0].1;
                let time = runs[0].1 + dice.below(span + 2);
                let behind = meter.index_at(WallTime(time)).0;
                let younger = runs.iter().find(|(first, at)| *first < behind && *at >= time);
                assert_eq!(younger, None, "seed {seed}: {behind} is behind {time}");
                widest = span.max(widest);
                let late = time.saturating_sub(widest / 8 + 1);
                let older = runs.iter().find(|(first, at)| *first >= behind && *at < late);
                assert_eq!(older, None, "seed {seed}: {behind} is behind {time} of {span}");
            }
        }
    }
}
