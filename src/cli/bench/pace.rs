//! A beat at a fixed rate, exact to some microseconds and above 10,000 a second to 100: the runtime's
//! own timer counts in milliseconds, which is longer than what is measured here.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// The timer wakes no more often than this: where more is due, it is due together. A timer for
/// every message at 100,000 a second has a processor to itself, and what it delays is taken for
/// the relay's doing.
const TICK_MIN: Duration = Duration::from_micros(100);

/// Beats since it was started.
#[derive(Debug)]
pub(super) struct Pace {
    timer: AsyncFd<OwnedFd>,
    interval: Duration,
    start: Instant,
    /// Beats that callers were told of.
    told: u64,
}

impl Pace {
    /// Beats so many times a second; the first one is due after one interval.
    pub(super) fn start(per_second: f64) -> io::Result<Self> {
        let interval = Duration::from_secs_f64(1.0 / per_second.max(1e-3)).max(Duration::from_nanos(1));
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let tick = interval.max(TICK_MIN);
        let spec = Timespec {
            tv_sec: i64::try_from(tick.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(tick.subsec_nanos()),
        };
        let start = Instant::now();
        timerfd_settime(
            &timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: spec, it_value: spec },
        )?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an owned descriptor stays open as long as it is watched"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer, interval, start, told: 0 })
    }

    /// Nanoseconds between two beats.
    pub(super) fn interval_ns(&self) -> u64 {
        u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX)
    }

    /// How many beats were due since the last call: at least one. A caller
    /// that was away for a while is told of all that it missed.
    pub(super) async fn beats(&mut self) -> io::Result<u64> {
        loop {
            let mut guard = self.timer.readable().await?;
            // How often it fired says less than the clock does.
            let mut count = [0; 8];
            match guard.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?)) {
                Ok(read) => read?,
                Err(_not_yet) => continue,
            };
            let due = self.start.elapsed().as_nanos() / u128::from(self.interval_ns());
            let due = u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.told);
            if due > 0 {
                self.told += due;
                return Ok(due);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn missed_beats_are_made_up_for() {
        let mut pace = Pace::start(1000.0).unwrap();
        assert_eq!(pace.interval_ns(), 1_000_000);
        let mut beats = 0;
        while beats < 10 {
            beats += pace.beats().await.unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
        assert!(pace.beats().await.unwrap() >= 4);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_due_within_a_tick_is_due_together() {
        let start = Instant::now();
        let mut pace = Pace::start(200_000.0).unwrap();
        let (mut beats, mut wakes) = (0, 0);
        while beats < 2_000 {
            beats += pace.beats().await.unwrap();
            wakes += 1;
        }
        assert!(start.elapsed() >= Duration::from_millis(10), "faster than the rate");
        assert!(wakes <= 101, "{wakes} wakes for 10 ms");
    }
}
