//! The cost of a link that is measured: its round-trip time in steps, slow to change.
//!
//! One unit of cost is 100 µs. Costs are quantised to two significant bits (1, 2, 3, 4, 6, 8, 12,
//! …), and another one is told only after the time has been off by more than half of a step for
//! ten seconds in a row: a link that gets slower for a moment moves no tree.

use std::time::Duration;

use tokio::time::Instant;

/// What one unit of cost stands for.
const UNIT: Duration = Duration::from_micros(100);

/// How long a time must be off before it is believed.
const HOLD: Duration = Duration::from_secs(10);

/// Answers before the first cost is told.
const SAMPLES_MIN: u32 = 5;

/// The cost of one link, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Price {
    told: Option<u32>,
    samples: u32,
    off_since: Option<Instant>,
}

/// The cost of a round-trip time.
fn cost(time: Duration) -> u32 {
    let units = u32::try_from(time.as_micros() / UNIT.as_micros()).unwrap_or(u32::MAX / 2).max(1);
    let power = 1 << units.ilog2();
    if power > 1 && units >= power + power / 2 { power + power / 2 } else { power }
}

/// The next greater cost.
fn above(cost: u32) -> u32 {
    match cost {
        1 => 2,
        power if power.is_power_of_two() => power.saturating_add(power / 2),
        between => (between / 3).saturating_mul(4),
    }
}

/// The next lesser one.
fn below(cost: u32) -> u32 {
    match cost {
        0..=2 => cost / 2,
        power if power.is_power_of_two() => power / 4 * 3,
        between => between / 3 * 2,
    }
}

impl Price {
    /// Takes a smoothed round-trip time; gives the cost if another one is to be told.
    pub(super) fn take(&mut self, time: Duration, now: Instant) -> Option<u32> {
        let found = cost(time);
        let Some(told) = self.told else {
            self.samples += 1;
            self.told = (self.samples >= SAMPLES_MIN).then_some(found);
            return self.told;
        };
        // Off by less than half of a step either way is the same cost, which is all times up to the next one.
        let next = above(told);
        let (least, most) = (UNIT * (below(told) + told) / 2, UNIT * (next + above(next)) / 2);
        if found == told || (time >= least && time <= most) {
            self.off_since = None;
            return None;
        }
        let since = *self.off_since.get_or_insert(now);
        if now.duration_since(since) < HOLD {
            return None;
        }
        self.off_since = None;
        self.told = Some(found);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn costs_have_two_significant_bits() {
        let costs = [0, 99, 199, 250, 399, 500, 700, 900, 1300, 100_000].map(|time| cost(us(time)));
        assert_eq!(costs, [1, 1, 1, 2, 3, 4, 6, 8, 12, 768]);
    }

    #[test]
    fn a_cost_is_told_once_it_is_known_and_again_only_when_it_stays_another() {
        let start = Instant::now();
        let mut price = Price::default();
        let mut told = Vec::new();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        for tenth in 0..6000 {
            // Flaps between 1 ms and 5 ms every second for five minutes, then stays at 5 ms.
            let is_slow = tenth >= 3000 || tenth / 10 % 2 == 1;
            let time = if is_slow { us(5000) } else { us(1000) };
            told.extend(price.take(time, at(tenth)).map(|cost| (tenth, cost)));
        }
        assert_eq!(told.first(), Some(&(4, 8)), "{told:?}");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].1 == 48 && (3000..3110).contains(&told[1].0), "{told:?}");
    }

    #[test]
    fn times_between_two_steps_do_not_go_back_and_forth() {
        let start = Instant::now();
        let mut price = Price::default();
        let told = (0..10_000).filter(|i| {
            let time = us(if i % 400 < 200 { 390 } else { 410 });
            price.take(time, start + Duration::from_millis(100 * i)).is_some()
        });
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn a_time_that_stays_a_step_away_is_told() {
        let start = Instant::now();
        for (before, after) in [(300, 600), (400, 740), (800, 650), (1200, 2100), (150, 90), (3200, 5900)] {
            let mut price = Price::default();
            let at = |tenth: u64| start + Duration::from_millis(100 * tenth);
            let told: Vec<u32> = (0..600_u64)
                .filter_map(|tenth| price.take(us(if tenth < 100 { before } else { after }), at(tenth)))
                .collect();
            assert_eq!(told.last(), Some(&cost(us(after))), "{before} us, then {after} us: {told:?}");
        }
    }
}
