//! The time, as the core is told it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::id::{Time, WallTime};
use crate::relay::Now;

/// Reads the two clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Now {
        let time = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { time: Time(time), wall: wall() }
    }

    /// When `time` is, for a timer.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        (self.started + Duration::from_nanos(time.0)).into()
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The wall clock; 0 when it stands before 1970.
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
