//! How long ago a run was first tried.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// When a run was first tried, by two clocks, since each misses something that the relay's does not:
/// that of [`std::time::Instant`] stands still while the machine sleeps, the machine's running time
/// while a virtual one is paused, and the wall clock may be set back.
///
/// A relay forgets a producer some time after its last put and takes a young retry for a new message.
/// So the larger age counts: one that is too large costs a refusal at the worst, one that is too
/// small a second copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tried {
    /// The machine's running time, asleep or not.
    boot: Duration,
    /// Since 1970.
    wall: Duration,
}

impl Tried {
    pub(super) fn now() -> Self {
        let since = clock_gettime(ClockId::Boottime);
        let whole = u64::try_from(since.tv_sec).unwrap_or_default();
        let boot = Duration::new(whole, u32::try_from(since.tv_nsec).unwrap_or_default());
        Self { boot, wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// Whole seconds from then to `now`.
    pub(super) fn age_seconds(self, now: Self) -> u32 {
        let age = now.boot.saturating_sub(self.boot).max(now.wall.saturating_sub(self.wall));
        u32::try_from(age.as_secs()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u64, wall: u64) -> Tried {
        Tried { boot: Duration::from_secs(boot), wall: Duration::from_secs(wall) }
    }

    #[test]
    fn p03_a_run_ages_while_the_machine_sleeps_or_is_paused_or_its_clock_is_set_back() {
        let tried = at(100, 5000);
        let ages = [
            (at(101, 5001), 1),
            (at(1000, 5900), 900),
            (at(101, 5900), 900),
            (at(400, 4000), 300),
            (at(100, 5000), 0),
            (at(99, 4999), 0),
        ];
        for (now, age) in ages {
            assert_eq!(tried.age_seconds(now), age, "at {now:?}");
        }
        assert_eq!(at(0, 0).age_seconds(at(0, u64::MAX)), u32::MAX);
    }

    #[test]
    fn both_clocks_go_on() {
        let before = Tried::now();
        std::thread::sleep(Duration::from_millis(5));
        let now = Tried::now();
        assert!(now.boot > before.boot && now.wall > before.wall);
    }
}
