//! Whether what comes of a frame comes fast enough to be waited for.
//!
//! What counts is whether it goes on, not how long the whole takes: a long frame over a slow line takes
//! its time, and one of which nothing more comes is given up soon, however long it was to be. From any
//! point on there are [`limits::FRAME_MS_MAX`], and the time that the slowest sender needs for the rest
//! of the frame, or for what it sends in that time if that is less. So somebody who pauses is waited
//! for as long as somebody who is slow, and what is waited for comes at half of that rate at the least.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// How fast a frame has to come.
#[derive(Debug)]
pub(super) struct Pace {
    /// What the slowest sender sends that is waited for.
    bytes_per_second: u64,
    /// When it was looked at, and how many bytes of the frame there were.
    begun: Option<(Instant, usize)>,
}

impl Pace {
    pub(super) const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, begun: None }
    }

    /// Nothing is waited for any more, or it is not the sender that is.
    pub(super) fn stop(&mut self) {
        self.begun = None;
    }

    /// Of a frame of so many bytes, as far as known, so many have come: until when more must have, and
    /// how long that is since it was looked at.
    pub(super) fn until(&mut self, frame: usize, come: usize) -> (Instant, Duration) {
        let most = limits::FRAME_MS_MAX / 1000 * self.bytes_per_second;
        let (at, had) = match self.begun {
            Some((at, had)) if (come.saturating_sub(had) as u64) < most => (at, had),
            _ => (Instant::now(), come),
        };
        self.begun = Some((at, had));
        let missing = (frame.saturating_sub(had) as u64).min(most);
        let after = Duration::from_millis(limits::FRAME_MS_MAX + missing * 1000 / self.bytes_per_second);
        (at + after, after)
    }
}
