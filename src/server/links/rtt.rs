//! The round-trip time of a link, measured with its pings.
//!
//! The tag of a ping is the time at which it was made, in microseconds since the link came up,
//! and the pong brings it back: nothing has to be remembered per ping.

use std::time::Duration;

use tokio::time::Instant;

/// A round-trip time, smoothed as RFC 6298 (section 2) does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Smoothed {
    /// About how long it takes.
    pub(crate) time: Duration,
    /// About how much single ones differ from that.
    pub(crate) variation: Duration,
}

impl Smoothed {
    fn first(sample: Duration) -> Self {
        Self { time: sample, variation: sample / 2 }
    }

    fn next(self, sample: Duration) -> Self {
        let difference = self.time.abs_diff(sample);
        Self { time: (self.time * 7 + sample) / 8, variation: (self.variation * 3 + difference) / 4 }
    }
}

/// Measures one link while it is up.
#[derive(Debug)]
pub(super) struct RoundTrips {
    started: Instant,
    /// The newest ping that was answered: a pong that comes twice, or late, says nothing new.
    answered: u64,
    smoothed: Option<Smoothed>,
}

impl RoundTrips {
    pub(super) fn new(started: Instant) -> Self {
        Self { started, answered: 0, smoothed: None }
    }

    /// The tag of a ping that is made now; never 0.
    pub(super) fn tag(started: Instant) -> u64 {
        u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// A pong has come. One with a tag that no ping can have had is ignored.
    pub(super) fn take(&mut self, tag: u64) -> Option<Smoothed> {
        let now = Self::tag(self.started);
        if tag <= self.answered || tag > now {
            return None;
        }
        self.answered = tag;
        let sample = Duration::from_micros(now - tag);
        let smoothed = self.smoothed.map_or_else(|| Smoothed::first(sample), |known| known.next(sample));
        self.smoothed = Some(smoothed);
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_smoothed_as_rfc_6298_says() {
        let ms = Duration::from_millis;
        let first = Smoothed::first(ms(80));
        assert_eq!((first.time, first.variation), (ms(80), ms(40)));
        // 3/4 · 40 + 1/4 · |80 − 160|, 7/8 · 80 + 1/8 · 160.
        let second = first.next(ms(160));
        assert_eq!((second.time, second.variation), (ms(90), ms(50)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pong_counts_once_and_only_for_a_ping_that_was_sent() {
        let started = Instant::now();
        let mut trips = RoundTrips::new(started);
        tokio::time::advance(Duration::from_millis(5)).await;
        let tag = RoundTrips::tag(started);
        tokio::time::advance(Duration::from_millis(20)).await;
        assert_eq!(trips.take(tag + 1_000_000), None, "it is from the future");
        assert_eq!(trips.take(0), None);
        let found = trips.take(tag).expect("the first answer");
        assert_eq!(found.time, Duration::from_millis(20));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(trips.take(tag), None, "it was answered already");
        assert_eq!(trips.take(tag - 1), None, "a newer one was answered already");
    }
}
