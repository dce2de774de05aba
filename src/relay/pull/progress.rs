//! An answer that comes is waited for: what goes on with it moves the deadline.
//!
//! Over a link with a rate an answer takes longer than [`limits::PULL_WAIT_MS`]. Whoever asked the next
//! neighbour meanwhile would be sent everything twice. So the wait begins anew with each run that goes on
//! with the answer: one that is appended here, or that is next in it and here already or wanted by whoever
//! waits. What does not fit moves nothing, nor does the same again.
//!
//! Epochs of one origin and disk come one after the other ([`super::super::serve`]), so what goes on with
//! one goes on with what was asked of later ones over the same link.

use super::{Open, Pulls, StreamKey};
use crate::id::{LinkId, Sequence, Time};
use crate::limits;
use crate::relay::carried::Fate;

/// A run of a stream, and what has become of it here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Come {
    pub(super) first: Sequence,
    pub(super) last: Sequence,
    pub(super) fate: Fate,
    /// How far its stream is released: an answer begins behind that at the latest.
    pub(super) released: Sequence,
}

impl Open {
    /// Whether a run in the range that was asked for goes on with the answer.
    fn goes_on(&self, come: Come) -> bool {
        let is_next = come.first <= self.next.max(come.released.next()) && self.next <= come.last;
        match come.fate {
            // What is live may be in the range too, and is no answer for others.
            Fate::Taken => is_next || self.is_own && !self.quest.anyway,
            Fate::Repeat => is_next,
            Fate::Early | Fate::Stray => {
                is_next && self.waiters.iter().any(|waiter| waiter.next <= come.last)
            }
        }
    }

    /// Whether its answer comes when earlier epochs have come.
    fn is_in_line_behind(&self, key: &StreamKey) -> bool {
        self.quest.key.is_behind(key) && !self.quest.anyway
    }
}

impl Pulls {
    /// A run has come over a link: the answers that it goes on with are waited for anew.
    pub(super) fn note_progress(&mut self, now: Time, link: LinkId, key: &StreamKey, come: Come) {
        let deadline = now.after_ms(limits::PULL_WAIT_MS);
        let mut holds_up = come.fate == Fate::Taken;
        let is_asked = |open: &&mut Open| open.asked == Some(link);
        let range = (come.first, come.last);
        for open in self.open.values_mut().filter(is_asked) {
            if !open.covers(key, range) || !open.goes_on(come) {
                continue;
            }
            open.next = open.next.max(come.last.next());
            open.deadline = deadline;
            holds_up |= !open.quest.anyway;
        }
        let asked = self.open.values_mut().filter(is_asked);
        for open in asked.filter(|open| holds_up && open.is_in_line_behind(key)) {
            open.deadline = deadline;
        }
    }
}
