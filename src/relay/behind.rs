//! Whether this relay is far behind its neighbours, and says so (R8).
//!
//! Vectors of neighbours tell how far they have each stream. What this relay lacks of them is its
//! lag, in records. When that is [`limits::CATCHING_UP_RECORDS`] it says in its link state that
//! it is catching up, and others go round it where there is another way; when it is down to
//! [`limits::CAUGHT_UP_RECORDS`] it takes that back. Between two such changes lies a pause, so
//! that trees do not flap. What nobody sends for a while is not being caught up, and counts no
//! more: a neighbour that tells of what it does not have keeps nobody out of the trees.
//!
//! A relay whose disk is full takes nothing, so it passes nothing on either: it says the same, for as
//! long as there is no room, and what others put goes round it.
//!
//! A relay that is catching up and is the only way for others still passes everything on: what
//! comes over a link is live before backlog there, and goes on as what it is ([`super::fresh`]),
//! logged like anything else. Within one stream the order comes first; those behind this relay lack
//! then what it lacks.

use std::collections::BTreeMap;

use super::Relay;
use super::input::Now;
use super::timer::Timer;
use crate::id::{Epoch, GroupNumber, RelayId, Sequence, Time};
use crate::limits;
use crate::wire::link::StreamSeen;

/// What a neighbour has of a stream, and this relay does not.
#[derive(Clone, Copy, Debug)]
struct Lag {
    /// How far the neighbour has it.
    heard: Sequence,
    /// How far it was here when that was looked at last.
    last: Sequence,
    /// When it has got further last.
    moved: Time,
}

impl Lag {
    fn get_to(&mut self, last: Sequence, now: Time) {
        if last > self.last {
            (self.last, self.moved) = (last, now);
        }
    }
}

/// What this relay lacks.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    lags: BTreeMap<(GroupNumber, RelayId, Epoch), Lag>,
    /// Whether it is said that this relay is catching up.
    pub(super) is_said: bool,
    /// When that has changed.
    changed: Option<Time>,
}

impl Behind {
    /// Whether what is said should change, at this lag.
    fn is_due(&self, lag: u64, now: Time) -> bool {
        let is_wrong =
            if self.is_said { lag <= limits::CAUGHT_UP_RECORDS } else { lag >= limits::CATCHING_UP_RECORDS };
        let may_change = |at: Time| now >= at.after_ms(limits::CATCHING_UP_PAUSE_MS);
        is_wrong && self.changed.is_none_or(may_change)
    }
}

impl Relay {
    /// A neighbour has told how far it is in a group.
    pub(super) fn note_lag(&mut self, now: Now, number: GroupNumber, told: &[StreamSeen]) {
        for told in told {
            let last = self.known_to(number, &told.origin, told.epoch, told.released);
            let key = (number, told.origin.clone(), told.epoch);
            if let Some(known) = self.behind.lags.get_mut(&key) {
                known.heard = known.heard.max(told.seen);
                known.get_to(last, now.time);
            } else if told.seen > last
                && told.origin != self.options.relay
                && self.behind.lags.len() < limits::STREAMS_PER_GROUP_MAX
            {
                self.behind.lags.insert(key, Lag { heard: told.seen, last, moved: now.time });
            }
        }
        if !self.behind.lags.is_empty() {
            self.timers.set_by(Timer::Behind, now.time.after_ms(limits::CATCHING_UP_LOOK_MS));
        }
    }

    /// Up to where a stream is here, or is owed to nobody any more.
    fn known_to(&self, number: GroupNumber, origin: &RelayId, epoch: Epoch, released: Sequence) -> Sequence {
        let streams = self.groups.get(number).map(|group| &group.streams);
        let stream = streams.and_then(|all| all.iter().find(|s| s.epoch == epoch && s.origin == *origin));
        stream.map_or(released, |stream| stream.last.max(stream.released).max(released))
    }

    pub(super) fn on_behind_time(&mut self, now: Now) {
        let mut lags = std::mem::take(&mut self.behind.lags);
        lags.retain(|(number, origin, epoch), lag| {
            let last = self.known_to(*number, origin, *epoch, lag.last);
            lag.get_to(last, now.time);
            lag.heard > lag.last && now.time < lag.moved.after_ms(limits::CATCHING_UP_STALE_MS)
        });
        self.behind.lags = lags;
        let records = self.behind.lags.values().map(|lag| lag.heard.0.saturating_sub(lag.last.0));
        let lag = if self.room { records.fold(0, u64::saturating_add) } else { u64::MAX };
        if self.behind.is_due(lag, now.time) {
            self.behind.is_said = !self.behind.is_said;
            self.behind.changed = Some(now.time);
            self.announce_links(now);
        }
        if self.behind.is_said || !self.behind.lags.is_empty() || !self.room {
            self.timers.set(Timer::Behind, now.time.after_ms(limits::CATCHING_UP_LOOK_MS));
        }
    }
}
