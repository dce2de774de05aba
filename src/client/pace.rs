//! When a publisher's runs go: alone at once, under load many together.
//!
//! Every run that goes by itself costs the relay a commit and both sides a
//! wake-up. While much is on its way there is time to gather: what waits goes
//! when it is worth a commit of its own ([`limits::CLIENT_BATCH_BYTES`], or half
//! of the window), when nothing is on its way any more, or, as the last resort,
//! after [`limits::CLIENT_HOLD_MS`]. Much is half of the window: so of a window
//! that is kept full one half is on its way while the other is gathered.

use std::time::{Duration, Instant};

use crate::limits;

const HOLD: Duration = Duration::from_millis(limits::CLIENT_HOLD_MS);

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Load {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Load {
    pub(super) fn add(&mut self, messages: usize, bytes: usize) {
        self.messages += messages;
        self.bytes += bytes;
    }

    pub(super) fn remove(&mut self, messages: usize, bytes: usize) {
        self.messages -= messages;
        self.bytes -= bytes;
    }

    fn is_half_of(self, window: Self) -> bool {
        self.messages >= window.messages.div_ceil(2) || self.bytes >= window.bytes.div_ceil(2)
    }
}

/// Decides when what was put is sent.
#[derive(Debug)]
pub(super) struct Pace {
    window: Load,
    /// Whether anything is ever held: answers that take long are not waited for.
    holds: bool,
    /// Sent in this session and not answered.
    on_way: Load,
    /// Everything that there is goes now.
    is_open: bool,
    /// Since when something waits to be sent.
    since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(window: Load, holds: bool) -> Self {
        Self { window, holds, on_way: Load::default(), is_open: false, since: None }
    }

    /// Whether something was put when nothing waited.
    pub(super) fn is_first(&self) -> bool {
        self.since.is_none()
    }

    /// Something waits from now on.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// Whether what waits is to go now, of `all` that have no answer.
    pub(super) fn is_worth(&self, all: Load) -> bool {
        let unsent =
            Load { messages: all.messages - self.on_way.messages, bytes: all.bytes - self.on_way.bytes };
        self.is_open
            || !self.holds
            || self.on_way.messages == 0
            || !all.is_half_of(self.window)
            || unsent.is_half_of(self.window)
            || unsent.bytes >= limits::CLIENT_BATCH_BYTES
    }

    /// Until when what waits is held; `None`: all of it goes now.
    pub(super) fn held_until(&mut self, now: Instant, all: Load) -> Option<Instant> {
        let until = self.since.map_or(now, |since| since + HOLD);
        if now < until && !self.is_worth(all) {
            return Some(until);
        }
        self.is_open = true;
        None
    }

    pub(super) fn on_sent(&mut self, messages: usize, bytes: usize) {
        self.on_way.add(messages, bytes);
    }

    pub(super) fn on_answer(&mut self, messages: usize, bytes: usize) {
        self.on_way.remove(messages, bytes);
    }

    /// Nothing waits any more.
    pub(super) fn end(&mut self) {
        self.is_open = false;
        self.since = None;
    }

    /// The session is over: everything is to be sent again, at once.
    pub(super) fn on_lost(&mut self) {
        self.on_way = Load::default();
        self.is_open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(messages: usize) -> Load {
        Load { messages, bytes: messages * 10 }
    }

    #[test]
    fn the_first_goes_at_once_and_then_half_of_the_windows_bytes_together() {
        let mut pace = Pace::new(load(100), true);
        let now = Instant::now();
        pace.begin(now);
        assert_eq!(pace.held_until(now, load(1)), None);
        pace.on_sent(1, 10);
        pace.end();
        assert!(pace.is_worth(load(40)), "there is room enough in the window");
        pace.begin(now);
        assert_eq!(pace.held_until(now, load(50)), Some(now + HOLD));
        assert!(pace.is_worth(load(51)));
        assert_eq!(pace.held_until(now + HOLD, load(50)), None, "it has waited long enough");
        pace.end();
        pace.on_answer(1, 10);
        assert!(pace.is_worth(load(50)), "nothing is on its way");
    }

    /// Or else nothing goes before the answers are there, and nobody works while they come.
    #[test]
    fn half_a_window_goes_while_the_other_half_is_on_its_way() {
        let of = |messages: usize| Load { messages, bytes: messages * 1000 };
        let window = Load { messages: 1000, bytes: limits::CLIENT_WINDOW_BYTES };
        let mut pace = Pace::new(window, true);
        pace.begin(Instant::now());
        pace.on_sent(500, of(500).bytes);
        assert!(!pace.is_worth(of(999)));
        assert!(of(500).bytes < limits::CLIENT_BATCH_BYTES && pace.is_worth(of(1000)));
    }

    #[test]
    fn what_has_begun_to_go_goes_to_its_end() {
        let mut pace = Pace::new(load(100), true);
        let now = Instant::now();
        pace.begin(now);
        pace.on_sent(50, 500);
        assert_eq!(pace.held_until(now, load(100)), None);
        pace.on_sent(40, 400);
        assert_eq!(pace.held_until(now, load(100)), None);
        pace.end();
        pace.begin(now);
        assert!(pace.held_until(now, load(100)).is_some());
    }
}
