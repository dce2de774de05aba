//! How long a task works before others have their turn.
//!
//! All tasks of a relay share one thread: whoever works for long keeps the signs of life of all links
//! waiting, and the neighbours take this relay for dead. So what comes in large portions is done in
//! slices, by the clock and not by number: a frame may take a hundred times as long as another.

use std::time::{Duration, Instant};

use crate::limits;

/// Steps between two looks at the clock: most steps take less time than one.
const STEPS: u32 = 16;

/// A slice of time that has begun.
#[derive(Debug)]
pub(crate) struct Slice {
    begun: Instant,
    time: Duration,
    steps: u32,
}

impl Slice {
    /// Begins one now, of the usual length.
    pub(crate) fn begin() -> Self {
        Self::of(Duration::from_micros(limits::SLICE_US_MAX))
    }

    /// Begins one of another length.
    pub(crate) fn of(time: Duration) -> Self {
        Self { begun: Instant::now(), time, steps: 0 }
    }

    /// Whether it is over, after one more step; the clock is looked at after some steps only.
    pub(crate) fn is_over(&mut self) -> bool {
        self.steps += 1;
        self.steps.is_multiple_of(STEPS) && self.is_over_now()
    }

    /// Whether it is over, by the clock: after a step that takes longer than looking at it.
    pub(crate) fn is_over_now(&self) -> bool {
        self.begun.elapsed() >= self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_over_by_the_clock_and_seen_after_some_steps() {
        let mut slice = Slice::of(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(1));
        assert!((1..STEPS).all(|_| !slice.is_over()));
        assert!(slice.is_over());
        let mut slice = Slice::of(Duration::from_secs(3600));
        assert!((0..1000).all(|_| !slice.is_over()));
    }
}
