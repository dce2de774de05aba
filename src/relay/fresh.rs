//! What of a group is new here, and what is being caught up with (P10).
//!
//! On every link what is live goes before a backlog ([`super::turns`]). Where a neighbour's place stands does
//! not tell the two apart: a relay that catches up over one link is at the end of its own log with all that
//! comes, and would pass it on as live over the others. So it is seen from the run how it has come:
//!
//! ```text
//!  put here                                                    new
//!  passed on to this relay as it was put                       live, and new while it is young
//!  the neighbour had it when the two compared, or was asked    being caught up with
//!  has lain at relays for longer than OLD_MS                   being caught up with
//! ```
//!
//! The third line needs no word and no clock: how far the neighbour was is known from its vector. A relay
//! further on has compared with nobody; it sees from the age, of which every relay adds the time that the run
//! has spent there. So for [`OLD_MS`] what a short partition has left may pass for live two relays on.
//!
//! A group is sent in order, so it is a backlog until the last of what is caught up with is through. Nothing
//! of this is on disk: after a start all neighbours compare.

use super::Relay;
use super::turns::{TURN_BYTES, Turn};
use crate::id::{GroupNumber, Index, Time};

/// What has come within this time, and has spent no more on its way, is new.
const NEW_MS: u64 = 1_000;

/// What has spent longer at relays is being caught up with, whoever passes it on. A live message that waits
/// in a queue for some seconds stays one.
const OLD_MS: u32 = 5_000;

/// How a run has come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It was put just now.
    New,
    /// It was put a while ago, and is not late for more than that.
    Live,
    /// It was there before, and is being caught up with.
    CaughtUp,
}

impl Freshness {
    /// Of a run that has come over a link: whether the neighbour had it when they compared, or was asked for
    /// it, and the time that it has spent at relays.
    pub(super) fn of(was_there: bool, age_ms: u32) -> Self {
        match age_ms {
            _ if was_there => Self::CaughtUp,
            OLD_MS.. => Self::CaughtUp,
            age if u64::from(age) < NEW_MS => Self::New,
            _ => Self::Live,
        }
    }
}

/// Where what is new stands in a group, and what is caught up with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fresh {
    /// All that is being caught up with stands before it.
    caught_up: Index,
    /// Something new stands right before it.
    new: Index,
    /// When that came.
    new_at: Time,
}

impl Fresh {
    pub(super) fn note(&mut self, kind: Freshness, end: Index, now: Time) {
        match kind {
            Freshness::New => (self.new, self.new_at) = (end, now),
            Freshness::Live => {}
            Freshness::CaughtUp => self.caught_up = end,
        }
    }

    /// Whether something at or behind an index is being caught up with.
    pub(super) fn is_caught_up_from(&self, next: Index) -> bool {
        next < self.caught_up
    }

    /// Where a neighbour waits that is not live, lacks so many bytes, and is told of what has come since they
    /// compared from this place on: what was put just before that is new to all groups alike.
    pub(super) fn backlog_turn(&self, told_from: Index, now: Time, lacks: u64) -> Turn {
        let has_news = told_from < self.new && now < self.new_at.after_ms(NEW_MS);
        match has_news {
            false => Turn::Backlog,
            true if lacks <= TURN_BYTES => Turn::Hasty,
            true => Turn::Eager,
        }
    }
}

impl Relay {
    /// A run has its place at the end of a group. If it is new, neighbours that have a backlog of the group
    /// get it soon: it would wait for those of all other groups otherwise, however many there are.
    pub(super) fn note_fresh(&mut self, number: GroupNumber, kind: Freshness) {
        let now = self.links.now;
        let Some(group) = self.groups.get_mut(number) else { return };
        let Some(spread) = group.spread.as_deref_mut() else { return };
        spread.fresh.note(kind, group.next, now);
        if kind != Freshness::New {
            return;
        }
        let fresh = spread.fresh;
        for place in 0.. {
            let Some(link) = spread.tree().get(place).copied() else { return };
            let Some(reader) = spread.reader(link).filter(|reader| reader.turn == Turn::Backlog) else {
                continue;
            };
            // Where it has waited so far it is passed over.
            reader.turn = fresh.backlog_turn(reader.told_from(), now, group.meter.bytes_from(reader.next));
            if let Some(state) = self.links.table.get_mut(&link) {
                state.turns.hurry(number, reader.turn);
                self.ready_links.insert(link);
            }
        }
    }
}
