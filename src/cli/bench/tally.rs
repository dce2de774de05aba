//! What the load generator sees: latencies, and whether anything was lost,
//! doubled or out of order.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use hdrhistogram::Histogram;

/// Payloads of at least so many bytes carry who sent them and their number.
pub const STAMP_BYTES: usize = 16;

/// Payloads of at least so many bytes also carry when they were sent.
pub const TIMED_BYTES: usize = 24;

/// What stands at the beginning of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which publisher: 0, 1, 2, …
    pub publisher: u64,
    /// Its messages: 0, 1, 2, …
    pub counter: u64,
    /// When it was sent, or should have been, in nanoseconds since the start of the run.
    pub sent_ns: Option<u64>,
}

impl Stamp {
    /// A payload of `size` bytes that begins with as much of the stamp as fits.
    pub fn payload(&self, size: usize, filler: &Bytes, buffer: &mut BytesMut) -> Bytes {
        if size < STAMP_BYTES {
            return filler.slice(..size.min(filler.len()));
        }
        buffer.reserve(size);
        buffer.put_u64_le(self.publisher);
        buffer.put_u64_le(self.counter);
        if size >= TIMED_BYTES {
            buffer.put_u64_le(self.sent_ns.unwrap_or(u64::MAX));
        }
        let rest = filler.get(buffer.len()..size).unwrap_or_default();
        buffer.put_slice(rest);
        buffer.split().freeze()
    }

    /// The stamp of a payload, if it is long enough for one.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        let number = |at: usize| payload.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let sent_ns = number(16).filter(|sent| *sent != u64::MAX);
        Some(Self { publisher: number(0)?, counter: number(8)?, sent_ns })
    }
}

/// Checks what one subscription got from one publisher.
///
/// Numbers below `next` have been seen, but for the ranges in `missing`. What
/// comes later than its successors is out of order, not lost.
#[derive(Clone, Debug, Default)]
struct Sequence {
    next: u64,
    missing: Vec<(u64, u64)>,
}

/// Counts of what was wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub duplicated: u64,
    /// Came behind a later one.
    pub misordered: u64,
}

impl Faults {
    /// Adds others to these.
    pub fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.misordered += other.misordered;
    }
}

impl Sequence {
    fn see(&mut self, counter: u64, faults: &mut Faults) {
        if counter == self.next {
            self.next += 1;
        } else if counter > self.next {
            self.missing.push((self.next, counter));
            self.next = counter + 1;
        } else if let Some(at) = self.missing.iter().position(|(from, to)| (*from..*to).contains(&counter)) {
            let (from, to) = self.missing.swap_remove(at);
            self.missing.extend([(from, counter), (counter + 1, to)].into_iter().filter(|(a, b)| a < b));
            faults.misordered += 1;
        } else {
            faults.duplicated += 1;
        }
    }

    fn lost(&self, sent: u64) -> u64 {
        let missing: u64 = self.missing.iter().map(|(from, to)| to - from).sum();
        missing + sent.saturating_sub(self.next)
    }
}

/// What one subscription got.
#[derive(Clone, Debug)]
pub struct Check {
    publishers: Vec<Sequence>,
    faults: Faults,
    received: u64,
}

impl Check {
    /// Nothing yet, from so many publishers.
    #[must_use]
    pub fn new(publishers: usize) -> Self {
        Self { publishers: vec![Sequence::default(); publishers], faults: Faults::default(), received: 0 }
    }

    /// A message came.
    pub fn see(&mut self, stamp: Option<Stamp>) {
        self.received += 1;
        let Some(stamp) = stamp else { return };
        let publisher = usize::try_from(stamp.publisher).ok().and_then(|p| self.publishers.get_mut(p));
        match publisher {
            Some(sequence) => sequence.see(stamp.counter, &mut self.faults),
            None => self.faults.duplicated += 1,
        }
    }

    /// How many came, doubled ones included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// What was wrong, when each publisher has sent what `sent` says. Payloads too small
    /// for a stamp are only counted.
    #[must_use]
    pub fn faults(&self, sent: &[u64], stamped: bool) -> Faults {
        if !stamped {
            let sent: u64 = sent.iter().sum();
            return Faults {
                lost: sent.saturating_sub(self.received),
                duplicated: self.received.saturating_sub(sent),
                misordered: 0,
            };
        }
        let lost = self.publishers.iter().zip(sent).map(|(sequence, sent)| sequence.lost(*sent)).sum();
        Faults { lost, ..self.faults }
    }
}

/// The run's clock and its latencies: from a microsecond to ten minutes, three digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    start: Instant,
    histogram: Histogram<u64>,
}

/// Longest latency that is told apart from longer ones, in nanoseconds.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

impl Latencies {
    /// Nothing yet; the clock of the run began at `start`.
    ///
    /// # Panics
    /// Never: the bounds are sound.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        let histogram = Histogram::new_with_bounds(1000, LATENCY_NS_MAX, 3)
            .expect("1 µs to 10 min in three digits is sound");
        Self { start, histogram }
    }

    /// Nanoseconds since the start of the run.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Something that began at `from_ns` ended at `to_ns`.
    pub fn record(&mut self, from_ns: u64, to_ns: u64) {
        self.histogram.saturating_record(to_ns.saturating_sub(from_ns));
    }

    /// Something took so long.
    pub fn record_duration(&mut self, took: Duration) {
        self.record(0, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those of another task.
    pub fn add(&mut self, other: &Self) {
        self.histogram += &other.histogram;
    }

    /// The latency that a share of all was not above, in microseconds; 0 when there is none.
    #[must_use]
    pub fn quantile_us(&self, share: f64) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.value_at_quantile(share).div_ceil(1000) }
    }

    /// The longest, in microseconds.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.max().div_ceil(1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(publisher: u64, counter: u64) -> Option<Stamp> {
        Some(Stamp { publisher, counter, sent_ns: None })
    }

    fn check(counters: &[u64], sent: u64) -> Faults {
        let mut check = Check::new(1);
        counters.iter().for_each(|counter| check.see(stamp(0, *counter)));
        check.faults(&[sent], true)
    }

    #[test]
    fn a_whole_sequence_is_without_fault() {
        assert_eq!(check(&[0, 1, 2, 3], 4), Faults::default());
    }

    #[test]
    fn faults_are_told_apart() {
        assert_eq!(check(&[0, 1], 4), Faults { lost: 2, ..Faults::default() });
        assert_eq!(check(&[0, 3], 4), Faults { lost: 2, ..Faults::default() });
        assert_eq!(check(&[0, 1, 1, 2], 3), Faults { duplicated: 1, ..Faults::default() });
        assert_eq!(check(&[0, 2, 1], 3), Faults { misordered: 1, ..Faults::default() });
        assert_eq!(check(&[0, 4, 2, 1, 2], 5), Faults { lost: 1, duplicated: 1, misordered: 2 });
        assert_eq!(check(&[], 5), Faults { lost: 5, ..Faults::default() });
    }

    #[test]
    fn publishers_are_checked_one_by_one() {
        let mut check = Check::new(2);
        for (publisher, counter) in [(0, 0), (1, 0), (1, 1), (0, 1), (9, 0)] {
            check.see(stamp(publisher, counter));
        }
        let faults = check.faults(&[2, 3], true);
        assert_eq!(faults, Faults { lost: 1, duplicated: 1, misordered: 0 });
        assert_eq!(check.received(), 5);
    }

    #[test]
    fn payloads_without_a_stamp_are_counted() {
        let mut check = Check::new(1);
        (0..3).for_each(|_| check.see(None));
        assert_eq!(check.faults(&[5], false).lost, 2);
        assert_eq!(check.faults(&[2], false).duplicated, 1);
    }

    #[test]
    fn a_stamp_comes_back_from_a_payload_of_any_size() {
        let filler = Bytes::from(vec![b'x'; 100]);
        let mut buffer = BytesMut::new();
        let stamp = Stamp { publisher: 3, counter: 4, sent_ns: Some(5) };
        for size in [0, 1, 15] {
            let payload = stamp.payload(size, &filler, &mut buffer);
            assert_eq!(payload.len(), size);
            assert_eq!(Stamp::of(&payload), None);
        }
        for size in [16, 23] {
            let payload = stamp.payload(size, &filler, &mut buffer);
            assert_eq!(payload.len(), size);
            assert_eq!(Stamp::of(&payload), Some(Stamp { sent_ns: None, ..stamp }));
        }
        for size in [24, 25, 100] {
            let payload = stamp.payload(size, &filler, &mut buffer);
            assert_eq!(payload.len(), size);
            assert_eq!(Stamp::of(&payload), Some(stamp));
        }
    }

    #[test]
    fn latencies_have_quantiles() {
        let mut latencies = Latencies::new(Instant::now());
        assert_eq!((latencies.quantile_us(0.5), latencies.max_us()), (0, 0));
        for us in 1..=1000 {
            latencies.record(1_000_000, 1_000_000 + us * 1000);
        }
        let mut sum = Latencies::new(Instant::now());
        sum.add(&latencies);
        assert!((499..=502).contains(&sum.quantile_us(0.5)), "{}", sum.quantile_us(0.5));
        assert!((1000..=1001).contains(&sum.max_us()));
    }
}
