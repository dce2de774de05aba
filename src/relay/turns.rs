//! Turns on a link: live before backlog (P10), and groups in turn within each.
//!
//! A neighbour's place in a group is *live* from when it has reached the group's end, or had a turn
//! and is no more than another one behind, or has all that stood there when it came, until it falls
//! [`limits::LINK_LIVE_LAG_BYTES_MAX`] further behind; before and after, it works off a backlog. Both have
//! a queue of their own per link:
//!
//! ```text
//!  live      one run after the other, 64 KiB a turn       goes whenever the link has room
//!  backlog   wait ──▶ reading ──▶ read ──▶ wait           goes with what live leaves over,
//!            (256 KiB a turn; two groups are read          and at least its share of 20 %
//!             at a time)
//! ```
//!
//! What this relay itself is catching up with stays a backlog on its other links, wherever the
//! neighbour's place stands ([`super::fresh`]): it would keep what is live waiting there as well.
//!
//! Behind a backlog may stand something new. Where the neighbour lacks one turn or less, the group goes before
//! the others with a backlog (*hasty*): it is live after that turn, and would have waited for all of them.
//! Where it lacks more (*eager*), it has half of what the backlog is given, with others of its kind.
//!
//! What is sent cannot be overtaken any more, so the backlog may put less on its way:
//! [`limits::LINK_CATCH_UP_BYTES_MAX`], and on a link with a rate only half of its burst. So a live
//! run waits behind that, one run, and what the system has not sent, whatever the backlog: on a
//! link of 10 MB/s at most about 40 ms. Only what the share allows comes on top, while live alone
//! would fill the link.
//!
//! Control is never held up, but for the whole table of facts when it is asked for again; on a link with
//! a rate its bytes are counted.

mod backlog;

use std::collections::VecDeque;

use super::Relay;
use super::forward::LinkReader;
use super::input::Now;
use super::link::Link;
use super::timer::Timer;
use crate::id::{GroupNumber, LinkId, Time};
use crate::limits;

/// Runs that a live group is given in one turn, at most; and bytes, at least when it has them.
const TURN_RUNS: usize = 64;
pub(super) const TURN_BYTES: u64 = 64 * 1024;

/// Where a neighbour's place in a group waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nowhere: there is nothing to send, or a live one waits for a read.
    #[default]
    Idle,
    /// Among those that are live.
    Live,
    /// Among those whose backlog is to be read.
    Backlog,
    /// Before these: there is something new behind it, and it is short.
    Hasty,
    /// Beside these: there is something new behind it, and it is not short.
    Eager,
    /// A part of its backlog is being read.
    Reading,
    /// A part of its backlog was read, and is sent.
    Read,
}

impl Turn {
    /// Whether it is in a queue that is not looked at before its turn comes.
    pub(super) fn is_queued(self) -> bool {
        matches!(self, Self::Live | Self::Backlog | Self::Hasty | Self::Eager)
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A run of so many bytes was sent.
    Sent(u64),
    /// A run was passed over.
    Passed,
    /// The next one is to be read.
    Unread,
    /// All that is durable was sent.
    End,
}

/// Which queue is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Live,
    Backlog,
}

/// The queues of one link.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    live: VecDeque<GroupNumber>,
    backlog: VecDeque<GroupNumber>,
    hasty: VecDeque<GroupNumber>,
    eager: VecDeque<GroupNumber>,
    reading: VecDeque<GroupNumber>,
    read: VecDeque<GroupNumber>,
    /// Bytes that the backlog is owed of what live has sent; below zero: that it has had more.
    credit: i64,
    /// Bytes that those who are eager have had more of it than the others with a backlog.
    eager_lead: i64,
}

impl Turns {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn has_backlog(&self) -> bool {
        let waits = !(self.backlog.is_empty() && self.hasty.is_empty() && self.eager.is_empty());
        waits || !(self.reading.is_empty() && self.read.is_empty())
    }

    /// Where a place waits that has this turn, if it is in a queue.
    fn queue(&mut self, turn: Turn) -> Option<&mut VecDeque<GroupNumber>> {
        match turn {
            Turn::Live => Some(&mut self.live),
            Turn::Backlog => Some(&mut self.backlog),
            Turn::Hasty => Some(&mut self.hasty),
            Turn::Eager => Some(&mut self.eager),
            Turn::Idle | Turn::Reading | Turn::Read => None,
        }
    }

    /// Whether somebody waits who could be given a turn, but for the link.
    fn is_waiting(&self) -> bool {
        !(self.live.is_empty() && self.read.is_empty())
    }

    /// Notes bytes that were sent, and what of it the backlog is owed.
    fn sent(&mut self, is_live: bool, bytes: u64) {
        const MOST: i64 = limits::LINK_CATCH_UP_BYTES_MAX as i64;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let share = i64::from(limits::LINK_CATCH_UP_PERCENT);
        let change = if is_live { bytes / (100 - share) * share } else { -bytes };
        if self.has_backlog() || !is_live {
            self.credit = self.credit.saturating_add(change).clamp(-MOST, MOST);
        } else {
            self.credit = 0;
        }
    }
}

impl Link {
    /// Who is to go on, or from when on somebody may if nothing else happens.
    fn next_turn(&mut self, now: Time) -> Result<Lane, Option<Time>> {
        if !self.turns.is_waiting() {
            return Err(None);
        }
        let (has_live, has_read) = (!self.turns.live.is_empty(), !self.turns.read.is_empty());
        let is_owed = has_read && self.turns.credit > 0;
        let lane = if has_live && !is_owed { Lane::Live } else { Lane::Backlog };
        let has_share_only = lane == Lane::Backlog && !is_owed;
        self.room(now, has_share_only).map(|()| lane)
    }

    /// Whether it may be given more. What is `spare`, a backlog that is not owed a turn or what was
    /// pulled, leaves room for what is live.
    ///
    /// # Errors
    /// From when on it may be, if nothing else happens.
    pub(super) fn room(&mut self, now: Time, spare: bool) -> Result<(), Option<Time>> {
        if !self.is_writable() || (spare && self.waiting_bytes() >= limits::LINK_CATCH_UP_BYTES_MAX) {
            return Err(None);
        }
        let Some(bucket) = &mut self.bucket else { return Ok(()) };
        bucket.fill(now);
        let least = if spare { bucket.reserve() } else { 0 };
        if bucket.level() > least { Ok(()) } else { Err(Some(bucket.above(least))) }
    }

    /// Whether a run that has just come may be passed on before anything else. One that is being caught up
    /// with goes before nobody.
    pub(super) fn may_pass_on(&mut self, now: Time, is_caught_up: bool) -> bool {
        let waits = !self.turns.live.is_empty() || (is_caught_up && self.turns.has_backlog());
        !waits && self.room(now, is_caught_up).is_ok()
    }

    /// Notes a run of a backlog that was sent before its turn, or since it was pulled.
    pub(super) fn sent_aside(&mut self, bytes: u64) {
        self.turns.sent(false, bytes);
    }

    /// Whether the link waits for time to pass before it is given more.
    #[cfg(any(test, feature = "sim"))]
    pub(super) fn is_held_back(&self) -> bool {
        self.is_writable() && self.turns.is_waiting()
    }
}

impl Relay {
    /// Puts a neighbour's place in a group into a queue, once, if there is something for it.
    pub(super) fn enqueue_reader(&mut self, number: GroupNumber, link: LinkId) {
        if self.hearing.as_ref().is_some_and(|hearing| hearing.holds(number, link)) {
            return;
        }
        let Some(group) = self.groups.get_mut(number) else { return };
        let (durable, group_end) = (group.durable, group.next);
        let Some(spread) = group.spread.as_deref_mut() else { return };
        let fresh = spread.fresh;
        let Some(reader) = spread.reader(link) else { return };
        if !reader.has_compared || reader.turn != Turn::Idle || reader.fetching.is_some() {
            return;
        }
        let next = reader.next;
        if next >= durable {
            reader.become_live(0);
            return self.hurry_for_link(number, link);
        }
        let lacks = group.meter.bytes_from(reader.next);
        if reader.is_live && (fresh.is_caught_up_from(reader.next) || reader.falls_behind(lacks)) {
            reader.fall_behind(group_end);
        }
        reader.turn = if reader.is_live {
            Turn::Live
        } else {
            fresh.backlog_turn(reader.told_from(), self.links.now, lacks)
        };
        let turn = reader.turn;
        let Some(state) = self.links.table.get_mut(&link) else { return };
        if let Some(queue) = state.turns.queue(turn) {
            queue.push_back(number);
            self.ready_links.insert(link);
        }
    }

    /// Puts all neighbours of a group into their queues: there is more that is durable.
    pub(super) fn enqueue_readers(&mut self, number: GroupNumber) {
        for place in 0.. {
            let spread = self.groups.get(number).and_then(|group| group.spread.as_deref());
            let Some(link) = spread.and_then(|spread| spread.tree().get(place)).copied() else { return };
            self.enqueue_reader(number, link);
        }
    }

    /// Gives everybody a turn whose link has room.
    pub(super) fn pump_links(&mut self, now: Now) {
        while let Some(link) = self.ready_links.pop_first() {
            self.answer_buckets(link);
            self.pump_link(now, link);
        }
    }

    fn pump_link(&mut self, now: Now, link: LinkId) {
        loop {
            self.begin_reads(link);
            let Some(state) = self.links.table.get_mut(&link) else { return };
            match state.next_turn(now.time) {
                Ok(Lane::Live) => self.give_live_turn(now, link),
                Ok(Lane::Backlog) => self.give_backlog_turn(now, link),
                Err(Some(at)) => return self.timers.set(Timer::Link(link), at),
                Err(None) => return,
            }
        }
    }

    /// A link with a rate may be given more.
    pub(super) fn on_link_time(&mut self, link: LinkId) {
        self.ready_links.insert(link);
    }

    /// The first live group sends, until its turn is over or the link has no room.
    fn give_live_turn(&mut self, now: Now, link: LinkId) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        let Some(number) = state.turns.live.pop_front() else { return };
        let Some(reader) = self.reader(number, link).filter(|reader| reader.turn == Turn::Live) else {
            return;
        };
        reader.turn = Turn::Idle;
        if !reader.is_live {
            // Its place was given anew while it waited.
            return self.enqueue_reader(number, link);
        }
        let mut bytes = 0;
        for _ in 0..TURN_RUNS {
            match self.link_step(now, number, link) {
                Step::Sent(run) => bytes += run,
                Step::Passed => {}
                Step::Unread => return self.fetch_for_link(number, link),
                Step::End => return,
            }
            let state = self.links.table.get_mut(&link);
            if bytes >= TURN_BYTES || state.is_none_or(|state| state.room(now.time, false).is_err()) {
                break;
            }
        }
        self.enqueue_reader(number, link);
    }

    /// Notes what a group was given of a link.
    pub(super) fn note_turn(&mut self, number: GroupNumber, link: LinkId, bytes: u64) {
        let Some(reader) = self.reader(number, link) else { return };
        let (is_live, is_eager) = (reader.is_live, reader.is_eager);
        if !is_live {
            reader.debt += bytes;
        }
        if let Some(state) = self.links.table.get_mut(&link) {
            state.turns.sent(is_live, bytes);
            if !is_live {
                state.turns.sent_eager(is_eager, bytes);
            }
        }
    }

    /// Entries in the queues of a link.
    #[cfg(test)]
    pub(super) fn waiting_turns(&self, link: LinkId) -> usize {
        let Some(turns) = self.links.table.get(&link).map(|state| &state.turns) else { return 0 };
        let waiting = [&turns.live, &turns.backlog, &turns.hasty, &turns.eager];
        let waiting = waiting.map(VecDeque::len).iter().sum::<usize>();
        waiting + turns.reading.len() + turns.read.len()
    }

    fn reader(&mut self, number: GroupNumber, link: LinkId) -> Option<&mut LinkReader> {
        self.groups.get_mut(number)?.spread.as_mut()?.reader(link)
    }
}
