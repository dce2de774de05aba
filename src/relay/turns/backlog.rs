//! Turns of those with a backlog: who is read next, and what is sent of what was read.

use super::{Lane, Step, TURN_BYTES, Turn, Turns};
use crate::id::{GroupNumber, LinkId};
use crate::limits;
use crate::relay::Relay;
use crate::relay::input::Now;

/// Groups of a backlog that are read at a time: one is sent while another one is read.
const READS_MAX: usize = 2;
/// Bytes of one turn.
const READ: i64 = limits::READ_BYTES as i64;

impl Turns {
    /// Who is to be read next, and where it waited: those that are hasty, then the others, by what they have
    /// had so far, and what those who are eager have `coming` more than the others.
    fn next_to_read(&mut self, coming: i64) -> Option<(GroupNumber, Turn)> {
        let order = if self.eager_lead + coming <= 0 {
            [Turn::Hasty, Turn::Eager, Turn::Backlog]
        } else {
            [Turn::Hasty, Turn::Backlog, Turn::Eager]
        };
        order.into_iter().find_map(|turn| Some((self.queue(turn)?.pop_front()?, turn)))
    }

    /// A group waits elsewhere from now on.
    pub(in crate::relay) fn hurry(&mut self, number: GroupNumber, turn: Turn) {
        self.queue(turn).into_iter().for_each(|queue| queue.push_back(number));
    }

    /// Notes bytes of a backlog that were sent.
    pub(super) fn sent_eager(&mut self, is_eager: bool, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let change = if is_eager { bytes } else { -bytes };
        self.eager_lead = self.eager_lead.saturating_add(change).clamp(-READ, READ);
    }
}

impl Relay {
    /// The group that was read first sends, until what was read is used up or the link has no room.
    pub(super) fn give_backlog_turn(&mut self, now: Now, link: LinkId) {
        loop {
            let Some(state) = self.links.table.get_mut(&link) else { return };
            let Some(number) = state.turns.read.front().copied() else { return };
            if !matches!(state.next_turn(now.time), Ok(Lane::Backlog)) {
                return;
            }
            match self.link_step(now, number, link) {
                Step::Sent(_) | Step::Passed => {}
                Step::Unread | Step::End => return self.end_backlog_turn(number, link),
            }
        }
    }

    /// What was read is used up: others have their turns.
    fn end_backlog_turn(&mut self, number: GroupNumber, link: LinkId) {
        if let Some(state) = self.links.table.get_mut(&link) {
            state.turns.read.retain(|other| *other != number);
        }
        let Some(group) = self.groups.get_mut(number) else { return };
        let Some(spread) = group.spread.as_deref_mut() else { return };
        let fresh = spread.fresh;
        if let Some(reader) = spread.reader(link) {
            (reader.turn, reader.ahead) = (Turn::Idle, None);
            // What is put meanwhile would keep it here as long as others have a backlog.
            let lacks = group.meter.bytes_from(reader.next);
            if lacks <= TURN_BYTES || (reader.has_its_backlog() && !fresh.is_caught_up_from(reader.next)) {
                reader.become_live(lacks);
            }
        }
        self.enqueue_reader(number, link);
    }

    /// Asks for parts of backlogs, as many as may be held in memory.
    pub(super) fn begin_reads(&mut self, link: LinkId) {
        let Some(state) = self.links.table.get_mut(&link) else { return };
        if !state.turns.has_backlog() {
            return;
        }
        let mut turns = std::mem::take(&mut state.turns);
        // Of those that have left the tree, or compare anew, nothing is waited for.
        let is_at = |relay: &mut Self, number: &GroupNumber, turn: Turn| {
            relay.reader(*number, link).is_some_and(|reader| reader.turn == turn)
        };
        turns.reading.retain(|number| is_at(self, number, Turn::Reading));
        turns.read.retain(|number| is_at(self, number, Turn::Read));
        while turns.reading.len() + turns.read.len() < READS_MAX {
            let in_hand = turns.reading.iter().chain(&turns.read);
            let coming = in_hand.map(|number| self.eager_coming(*number, link)).sum();
            let Some((number, turn)) = turns.next_to_read(coming) else { break };
            let has_others = !(turns.backlog.is_empty() && turns.eager.is_empty());
            let Some(reader) = self.reader(number, link).filter(|reader| reader.turn == turn) else {
                continue;
            };
            if turn != Turn::Hasty {
                reader.debt = reader.debt.saturating_sub(limits::READ_BYTES as u64);
                if reader.debt > 0 && has_others {
                    // It has had more than its turn, since runs go whole.
                    turns.queue(turn).into_iter().for_each(|queue| queue.push_back(number));
                    continue;
                }
                reader.debt = 0;
            }
            (reader.turn, reader.is_eager) = (Turn::Reading, turn == Turn::Eager);
            turns.reading.push_back(number);
            self.fetch_for_link(number, link);
        }
        if let Some(state) = self.links.table.get_mut(&link) {
            state.turns = turns;
        }
    }

    /// What those who are eager have coming by a group that has its turn.
    fn eager_coming(&mut self, number: GroupNumber, link: LinkId) -> i64 {
        self.reader(number, link).map_or(0, |reader| if reader.is_eager { READ } else { -READ })
    }

    /// What a neighbour's place waited for was read.
    pub(in crate::relay) fn on_read(&mut self, number: GroupNumber, link: LinkId) {
        let Some(reader) = self.reader(number, link) else { return };
        if reader.turn != Turn::Reading {
            return self.enqueue_reader(number, link);
        }
        reader.turn = if reader.ahead.is_some() { Turn::Read } else { Turn::Idle };
        let is_read = reader.turn == Turn::Read;
        let Some(state) = self.links.table.get_mut(&link) else { return };
        state.turns.reading.retain(|other| *other != number);
        if is_read {
            state.turns.read.push_back(number);
        } else {
            // It may have become durable while it was read for.
            self.enqueue_reader(number, link);
        }
        self.ready_links.insert(link);
    }
}
