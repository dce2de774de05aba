//! Times and counts: the clock, the stamp in every payload, the latency
//! histogram and the books of what each subscription got.

use std::time::Instant;

use super::Workload;
use super::codec::Events;

/// Nanoseconds since the measurement began; publishers and receivers live in
/// one process and share it.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a measurement is shorter than 500 years")
    }
}

/// Writes sequence and time into the first 16 bytes of a payload.
pub(crate) fn stamp(payload: &mut [u8], sequence: u64, nanos: u64) {
    payload[..8].copy_from_slice(&sequence.to_le_bytes());
    payload[8..16].copy_from_slice(&nanos.to_le_bytes());
}

/// Reads what [`stamp`] wrote, if the payload is long enough.
fn stamped(payload: &[u8]) -> Option<(u64, u64)> {
    let (sequence, rest) = payload.split_first_chunk()?;
    let (nanos, _) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*sequence), u64::from_le_bytes(*nanos)))
}

/// Bits of a value that its bucket keeps: an error of at most 1.6 %.
const PRECISION_BITS: u32 = 6;

/// Counts of nanoseconds in buckets that grow with the value.
#[derive(Clone, Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// Counts `times` values of `nanos`.
    pub(crate) fn record(&mut self, nanos: u64, times: u64) {
        let bucket = Self::bucket(nanos);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += times;
        self.total += times;
        self.max = self.max.max(nanos);
    }

    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The value that a share of all counts (0 to 1) does not exceed, in
    /// microseconds; none without counts.
    pub(crate) fn quantile_us(&self, share: f64) -> Option<f64> {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Self::upper(bucket).min(self.max) as f64 / 1000.0)
    }

    /// The largest value in microseconds; none without counts.
    pub(crate) fn max_us(&self) -> Option<f64> {
        (self.total > 0).then_some(self.max as f64 / 1000.0)
    }

    fn bucket(nanos: u64) -> usize {
        let shift = (64 - nanos.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
        ((u64::from(shift) << PRECISION_BITS) + (nanos >> shift)) as usize
    }

    fn upper(bucket: usize) -> u64 {
        let bucket = bucket as u64;
        let shift = (bucket >> PRECISION_BITS).saturating_sub(1);
        let kept = bucket - (shift << PRECISION_BITS);
        ((kept + 1) << shift) - 1
    }
}

/// What one subscription got: a bit per message, and how far each publisher's
/// messages have come.
struct Seen {
    bits: Vec<u64>,
    next: Vec<u64>,
}

/// The books of all subscriptions.
pub(crate) struct Deliveries {
    clock: Clock,
    now: u64,
    per_publisher: u64,
    expected: u64,
    subscriptions: Vec<Seen>,
    /// Put (or due) to delivered.
    pub(crate) latency: Histogram,
    /// Messages delivered, each counted once per subscription.
    pub(crate) distinct: u64,
    /// When the last of those came.
    pub(crate) last_at: u64,
    /// Deliveries of a message that the subscription already had.
    pub(crate) duplicated: u64,
    /// First deliveries behind a later message of the same publisher.
    pub(crate) misordered: u64,
    /// Payloads without a stamp that fits this run.
    pub(crate) foreign: u64,
}

impl Deliveries {
    /// Empty books for a workload.
    pub(crate) fn new(clock: Clock, workload: &Workload) -> Self {
        let words = usize::try_from(workload.count.div_ceil(64)).expect("a bitmap fits in memory");
        let publishers = workload.publishers as usize;
        let seen = || Seen { bits: vec![0; words], next: vec![0; publishers] };
        Self {
            clock,
            now: 0,
            per_publisher: workload.count / u64::from(workload.publishers),
            expected: workload.count * u64::from(workload.subscriptions),
            subscriptions: (0..workload.subscriptions).map(|_| seen()).collect(),
            latency: Histogram::default(),
            distinct: 0,
            last_at: 0,
            duplicated: 0,
            misordered: 0,
            foreign: 0,
        }
    }

    /// Takes the time once for all deliveries of one read.
    pub(crate) fn tick(&mut self) {
        self.now = self.clock.now();
    }

    /// Whether every subscription got every message.
    pub(crate) fn is_complete(&self) -> bool {
        self.distinct == self.expected
    }

    /// Messages that did not come, over all subscriptions.
    pub(crate) fn lost(&self) -> u64 {
        self.expected - self.distinct
    }
}

impl Events for Deliveries {
    fn acked(&mut self, _puts: u64) {}

    fn delivered(&mut self, subscription: usize, payload: &[u8]) {
        let known = stamped(payload).filter(|(sequence, _)| {
            (sequence / self.per_publisher) < self.subscriptions[subscription].next.len() as u64
        });
        let Some((sequence, nanos)) = known else {
            self.foreign += 1;
            return;
        };
        let seen = &mut self.subscriptions[subscription];
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if seen.bits[word] & bit != 0 {
            self.duplicated += 1;
            return;
        }
        seen.bits[word] |= bit;
        let next = &mut seen.next[(sequence / self.per_publisher) as usize];
        if sequence < *next {
            self.misordered += 1;
        } else {
            *next = sequence + 1;
        }
        self.distinct += 1;
        self.last_at = self.now;
        self.latency.record(self.now.saturating_sub(nanos), 1);
    }
}
