//! A token bucket: how many bytes a link may be given by now.
//!
//! The level grows with the time that the core is told, up to the burst, and falls with every
//! byte of a run that is sent. It may fall below zero, since a run is sent whole; that is paid for
//! before the next one. So in any span of t seconds a link is given at most `rate · t + burst` bytes
//! of runs, and one run more.
//!
//! Control is never held up. It is paid for with half of what is earned at the most, and what is
//! owed for it is never more than a second's worth: over a link that is too slow for its control,
//! messages go on, at half of the rate.

use crate::id::Time;
use crate::limits;

/// The most that a link is given in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes per second, at least 1.
    pub bytes_per_second: u64,
    /// Bytes that may be sent at once after a rest, at least 1.
    pub burst_bytes: u64,
}

impl Rate {
    /// So many bytes per second, and at once what takes [`limits::LINK_BURST_MS`] of it, within
    /// [`limits::LINK_BURST_BYTES_MIN`] and [`limits::LINK_OUT_BYTES_MAX`].
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        let burst = bytes_per_second.saturating_mul(limits::LINK_BURST_MS) / 1000;
        let burst_bytes = burst.clamp(limits::LINK_BURST_BYTES_MIN, limits::LINK_OUT_BYTES_MAX);
        Self { bytes_per_second: bytes_per_second.max(1), burst_bytes }
    }
}

const NANOS: u128 = 1_000_000_000;

/// What a link with a rate may still send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    level: i64,
    /// What control has taken and is not paid for.
    owed: i64,
    /// The level is that of this time.
    at: Time,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate) -> Self {
        let rate = Rate { bytes_per_second: rate.bytes_per_second.max(1), ..rate };
        let mut bucket = Self { rate, level: 0, owed: 0, at: Time(0) };
        bucket.level = bucket.burst();
        bucket
    }

    /// From now on it has another rate. What is owed, and what was sent beyond the old one, stays.
    pub(super) fn set_rate(&mut self, now: Time, rate: Rate) {
        self.fill(now);
        self.rate = Self::new(rate).rate;
        self.level = self.level.min(self.burst());
    }

    fn burst(&self) -> i64 {
        i64::try_from(self.rate.burst_bytes.max(1)).unwrap_or(i64::MAX)
    }

    /// What a backlog leaves for what is live.
    pub(super) fn reserve(&self) -> i64 {
        self.burst() / 2
    }

    pub(super) fn level(&self) -> i64 {
        self.level
    }

    /// Adds what has been earned by `now`.
    pub(super) fn fill(&mut self, now: Time) {
        let rate = u128::from(self.rate.bytes_per_second);
        let earned = u128::from(now.0.saturating_sub(self.at.0)) * rate / NANOS;
        let lacking = u128::from(self.burst().saturating_sub(self.level).unsigned_abs());
        let paid = (earned / 2).min(u128::from(self.owed.unsigned_abs()));
        self.owed -= i64::try_from(paid).unwrap_or(self.owed);
        let gained = earned - paid;
        if gained >= lacking {
            self.level = self.burst();
            self.at = self.at.max(now);
        } else {
            // Less than what lacks, which is an i64. Parts of a byte stay with the time.
            self.level += i64::try_from(gained).unwrap_or(i64::MAX);
            self.at.0 += u64::try_from(earned * NANOS / rate).unwrap_or(u64::MAX);
        }
    }

    pub(super) fn take(&mut self, bytes: u64) {
        self.level = self.level.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Control has gone.
    pub(super) fn take_control(&mut self, bytes: u64) {
        let most = self.burst().max(i64::try_from(self.rate.bytes_per_second).unwrap_or(i64::MAX));
        self.owed = self.owed.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX)).min(most);
    }

    /// Gives back what was taken and did not go.
    pub(super) fn give(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(bytes).min(self.burst());
    }

    /// When the level is above `level`, if nothing is taken before.
    pub(super) fn above(&self, level: i64) -> Time {
        let lacking = u128::from(level.saturating_sub(self.level).saturating_add(1).max(0).unsigned_abs());
        // As much again goes to what is owed, while anything is.
        let lacking = lacking + lacking.min(u128::from(self.owed.unsigned_abs()));
        let wait = (lacking * NANOS).div_ceil(u128::from(self.rate.bytes_per_second));
        Time(self.at.0.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_any_span_no_more_than_rate_and_burst_and_one_run_goes() {
        let rate = Rate { bytes_per_second: 1_000_000, burst_bytes: 10_000 };
        let mut bucket = Bucket::new(rate);
        let mut sent: Vec<(u64, u64)> = Vec::new();
        let mut now = Time(0);
        // Greedy, at steps of 333 µs, with a rest of two seconds in the middle.
        for step in 0..6_000 {
            now.0 += if step == 3_000 { 2_000_000_000 } else { 333_333 };
            bucket.fill(now);
            while bucket.level() > 0 {
                bucket.take(1_500);
                sent.push((now.0, 1_500));
            }
        }
        for from in (0..sent.len()).step_by(97) {
            let mut bytes = 0;
            for (at, run) in &sent[from..] {
                bytes += run;
                let span = at - sent[from].0;
                assert!(bytes <= span / 1000 + 10_000 + 1_500, "{bytes} bytes in {span} ns");
            }
        }
        let all: u64 = sent.iter().map(|(_, run)| run).sum();
        assert!(all >= 2_000_000, "and what is earned can be sent: {all}");
    }

    #[test]
    fn control_without_end_leaves_messages_half_of_the_rate() {
        let mut bucket = Bucket::new(Rate { bytes_per_second: 2_000, burst_bytes: 300 });
        let mut sent = 0;
        for ms in 0..60_000 {
            bucket.fill(Time(ms * 1_000_000));
            bucket.take_control(3);
            if bucket.level() > 0 {
                bucket.take(100);
                sent += 100;
            }
        }
        assert!((60_000..=61_000).contains(&sent), "{sent} bytes in a minute");
        // Then there is none, and what is owed is paid for within two seconds.
        let before = sent;
        for ms in 60_000..70_000 {
            bucket.fill(Time(ms * 1_000_000));
            if bucket.level() > 0 {
                bucket.take(100);
                sent += 100;
            }
        }
        assert!((17_500..=18_500).contains(&(sent - before)), "{} bytes in ten seconds", sent - before);
    }

    #[test]
    fn it_is_above_a_level_when_it_says_so_and_not_before() {
        for (rate, taken, level) in [(1, 10, 0), (3, 7, 2), (999_999_937, 1 << 40, 0), (1_000, 5, -3)] {
            let rate = Rate { bytes_per_second: rate, burst_bytes: 4 };
            let mut bucket = Bucket::new(rate);
            bucket.take(taken);
            let at = bucket.above(level);
            let mut before = bucket;
            before.fill(Time(at.0.saturating_sub(1)));
            bucket.fill(at);
            assert!(bucket.level() > level, "{rate:?}: {bucket:?}");
            assert!(before.level() <= level || at.0 == 0, "{rate:?}: {before:?}");
        }
    }

    #[test]
    fn another_rate_has_its_own_burst_at_once_and_what_was_sent_is_still_paid_for() {
        let mut bucket = Bucket::new(Rate { bytes_per_second: 1_000_000, burst_bytes: 100_000 });
        bucket.set_rate(Time(0), Rate { bytes_per_second: 1_000, burst_bytes: 300 });
        assert_eq!(bucket.level(), 300);
        bucket.take(10_300);
        bucket.set_rate(Time(1_000_000_000), Rate { bytes_per_second: 9_000, burst_bytes: 9_000 });
        assert_eq!(bucket.level(), -9_000, "a second of the rate before");
        bucket.fill(Time(2_000_000_000));
        assert_eq!(bucket.level(), 0, "a second of this one");
    }

    #[test]
    fn parts_of_a_byte_are_not_lost_however_often_it_is_looked_at() {
        let mut bucket = Bucket::new(Rate { bytes_per_second: 10, burst_bytes: 100 });
        bucket.take(100);
        for ns in (0..=1_000_000_000_u64).step_by(1_000_003).chain([1_000_000_000]) {
            bucket.fill(Time(ns));
        }
        assert_eq!(bucket.level(), 10);
    }
}
