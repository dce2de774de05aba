//! The time, as the core is told it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::id::{Time, WallTime};
use crate::limits;
use crate::relay::Now;

/// Reads the clocks.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    started: Instant,
    even: EvenClock,
}

impl Clock {
    /// A clock that begins now, of a relay that saw `last` before it stopped.
    pub(crate) fn start(last: WallTime) -> Self {
        Self { started: Instant::now(), even: EvenClock::new(since_boot(), system(), last) }
    }

    /// Now.
    pub(crate) fn now(&mut self) -> Now {
        let time = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { time: Time(time), wall: self.even.at(since_boot(), system()) }
    }

    /// When `time` is, for a timer.
    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        (self.started + Duration::from_nanos(time.0)).into()
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What the operator should know of the wall clock, if there is anything.
    pub(crate) fn warning(&self) -> Option<String> {
        const WORTH_TELLING_US: u64 = 10_000_000;
        let (own, system) = (self.even.wall, self.even.system);
        let distance = Duration::from_secs(own.0.abs_diff(system.0) / 1_000_000);
        let side = if system > own { "ahead of" } else { "behind" };
        (own.0.abs_diff(system.0) >= WORTH_TELLING_US).then(|| {
            format!(
                "the system's clock was set and stands {distance:?} {side} the relay's, which follows slowly, \
                 so that nothing expires early"
            )
        })
    }
}

/// Microseconds that the machine has run, asleep or not.
fn since_boot() -> u64 {
    let since = clock_gettime(ClockId::Boottime);
    let micros = u64::try_from(since.tv_nsec / 1000).unwrap_or_default();
    u64::try_from(since.tv_sec).unwrap_or_default() * 1_000_000 + micros
}

/// The system's wall clock; 0 when it stands before 1970.
pub(crate) fn system() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// A wall clock that goes on evenly when the system's is set, since what is stored is as
/// old as this clock says: a jump by a day must not expire a day's messages.
///
/// It follows the system's by running slower or faster, as `adjtime` does, by one part in
/// [`EvenClock::FOLLOWS`]: within less than that an age is right, whatever happens to the
/// system's clock while the relay runs. Sleep of the machine counts as time passed. A clock that
/// was never set (it stands before 2020, as without a battery) is followed at once. At the start
/// the time that the relay was down is what the system says, but at least 0 and at most
/// [`limits::DOWNTIME_MS_MAX`]: a clock that stands decades ahead expires nothing.
#[derive(Clone, Copy, Debug)]
struct EvenClock {
    wall: WallTime,
    /// The machine's running time when it stood there, in microseconds.
    since_boot: u64,
    /// Where the system's clock stood then.
    system: WallTime,
    /// The system's was not set when the relay started, and has not been since.
    is_unset: bool,
}

impl EvenClock {
    /// The tenth part: a clock that was wrong by an hour is right after ten.
    const FOLLOWS: u64 = 10;

    /// 2020-01-01. No relay ran before.
    const NEVER_SET: WallTime = WallTime(1_577_836_800_000_000);

    /// Microseconds between two looks at how to follow: many parts of them are a whole number.
    const STEP: u64 = 1000;

    fn new(since_boot: u64, system: WallTime, last: WallTime) -> Self {
        let is_unset = system < Self::NEVER_SET;
        Self { wall: after_downtime(last, system), since_boot, system, is_unset }
    }

    fn at(&mut self, since_boot: u64, system: WallTime) -> WallTime {
        let passed = since_boot.saturating_sub(self.since_boot);
        let even = self.wall.0.saturating_add(passed);
        if passed < Self::STEP {
            return WallTime(even);
        }
        let most = passed / Self::FOLLOWS;
        let is_set_now = self.is_unset && system >= Self::NEVER_SET;
        self.wall = if is_set_now {
            after_downtime(self.wall, system)
        } else {
            WallTime(system.0.clamp(even - most, even.saturating_add(most)))
        };
        self.is_unset &= !is_set_now;
        (self.since_boot, self.system) = (since_boot, system);
        self.wall
    }
}

/// What the wall clock is taken to be by a relay that saw `last` before, when the system's first
/// says something.
fn after_downtime(last: WallTime, system: WallTime) -> WallTime {
    if last < EvenClock::NEVER_SET {
        return system;
    }
    let most = limits::DOWNTIME_MS_MAX * 1000;
    WallTime(system.0.clamp(last.0, last.0.saturating_add(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_the_time_that_a_relay_was_down_is_bounded_on_both_sides() {
        const DAY: u64 = 24 * HOUR;
        let after = |system| EvenClock::new(SECOND, WallTime(system), WallTime(NOW)).wall.0;
        assert_eq!(after(NOW + 30 * DAY), NOW + 30 * DAY);
        assert_eq!(after(NOW - DAY), NOW, "it never goes back");
        assert_eq!(after(NOW + 80 * 365 * DAY), NOW + limits::DOWNTIME_MS_MAX * 1000);
        // Without a battery it stands where it stood, and is right once the system's is set.
        let mut clock = EvenClock::new(SECOND, WallTime(0), WallTime(NOW));
        assert_eq!(clock.wall.0, NOW);
        assert_eq!(clock.at(2 * SECOND, WallTime(NOW + 9 * DAY)), WallTime(NOW + 9 * DAY));
    }

    const SECOND: u64 = 1_000_000;
    const HOUR: u64 = 3600 * SECOND;
    const NOW: u64 = 1_800_000_000 * SECOND;

    /// A clock that began at [`NOW`], with the machine running for a second.
    fn begun() -> EvenClock {
        EvenClock::new(SECOND, WallTime(NOW), WallTime(0))
    }

    #[test]
    fn it_is_the_systems_as_long_as_that_goes_evenly() {
        let mut clock = begun();
        for passed in (0..HOUR).step_by(7_777_777) {
            // 500 parts in a million is the most that a network time service bends a clock.
            let system = WallTime(NOW + passed + passed / 2000);
            let off = clock.at(SECOND + passed, system).0.abs_diff(system.0);
            assert!(off < EvenClock::STEP, "{off} us off after {passed}");
        }
    }

    #[test]
    fn f34_it_follows_a_system_that_was_set_by_a_tenth() {
        for day in [24 * HOUR, 0_u64.wrapping_sub(24 * HOUR)] {
            let mut clock = begun();
            let mut last = 0;
            for passed in (0..HOUR).step_by(1_500_000) {
                let wall = clock.at(SECOND + passed, WallTime((NOW + passed).wrapping_add(day)));
                assert!(wall.0 > last, "it never goes back");
                assert!(wall.0.abs_diff(NOW + passed) <= passed / EvenClock::FOLLOWS);
                last = wall.0;
            }
            assert!(last.abs_diff(NOW + HOUR) > HOUR / 11, "it does follow");
        }
    }

    #[test]
    fn f34_it_is_right_again_in_the_end() {
        let mut clock = begun();
        let after = |passed| (SECOND + passed, WallTime(NOW + passed + HOUR));
        for passed in (0..11 * HOUR).step_by(60 * SECOND as usize) {
            let (since_boot, system) = after(passed);
            clock.at(since_boot, system);
        }
        let (since_boot, system) = after(11 * HOUR);
        assert_eq!(clock.at(since_boot, system), system);
    }

    #[test]
    fn many_looks_within_a_moment_do_not_hold_it() {
        let mut clock = begun();
        for passed in 0..20_000 {
            clock.at(SECOND + passed, WallTime(NOW + passed + HOUR));
        }
        assert_eq!(clock.wall.0 - (clock.since_boot - SECOND) - NOW, 1_900, "a tenth of 19 whole steps");
    }

    #[test]
    fn f34_one_that_was_never_set_is_followed_at_once() {
        let mut clock = EvenClock::new(SECOND, WallTime(5 * SECOND), WallTime(0));
        assert_eq!(clock.at(2 * SECOND, WallTime(NOW)), WallTime(NOW));
        assert_eq!(clock.at(3 * SECOND, WallTime(0)), WallTime(NOW + SECOND - SECOND / 10));
    }

    #[test]
    fn f34_one_that_stands_still_is_left_behind() {
        let mut clock = begun();
        for passed in (0..HOUR).step_by(SECOND as usize) {
            clock.at(SECOND + passed, WallTime(NOW));
        }
        assert!(clock.wall.0 > NOW + HOUR / 10 * 8);
    }
}
