//! What neighbours are given: a run that has just come, the next one of their place in the log, one that
//! they have pulled.

use std::sync::Arc;

use crate::id::{GroupNumber, Index, LinkId, Sequence};
use crate::limits;
use crate::log::Piece;
use crate::relay::ahead::Ahead;
use crate::relay::effect::Effect;
use crate::relay::fresh::Freshness;
use crate::relay::group::Waiter;
use crate::relay::input::Now;
use crate::relay::turns::Step;
use crate::relay::{Relay, body_bytes, carried};
use crate::wire::link::LinkMessage;
use crate::wire::run::StoredRun;

impl Relay {
    /// Gives a run that has just come to the neighbours that have everything before it. What is being caught
    /// up with goes on at once where nothing waits, and has its turn as a backlog otherwise.
    pub(super) fn pass_on(&mut self, now: Now, number: GroupNumber, run: &StoredRun, kind: Freshness) {
        let is_caught_up = kind == Freshness::CaughtUp;
        for place in 0.. {
            let Some(group) = self.groups.get_mut(number) else { return };
            let Some(link) = group.spread.as_deref().and_then(|spread| spread.tree.get(place)).copied()
            else {
                return;
            };
            let (is_carried, durable) = (group.carries(run.stream, link), group.durable);
            let Some(reader) = group.spread().reader(link).filter(|reader| reader.has_compared) else {
                continue;
            };
            if reader.next != run.first_index {
                if is_carried && !reader.has(run) {
                    reader.lacks_to = reader.lacks_to.max(run.end_index());
                    if reader.next >= durable {
                        self.journal.hurry_on();
                    }
                }
                continue;
            }
            if !is_caught_up {
                reader.become_live(0);
            }
            if reader.has(run) || !is_carried {
                reader.next = run.end_index();
                continue;
            }
            let Some(state) = self.links.table.get_mut(&link) else { continue };
            if state.may_pass_on(now.time, is_caught_up) {
                reader.next = run.end_index();
                if is_caught_up {
                    self.send_aside(now, (number, link), run, false);
                } else {
                    self.send_run(now, number, link, run);
                }
            } else {
                // It is given it when it is durable and the link has room.
                reader.lacks_to = reader.lacks_to.max(run.end_index());
                self.hurry_from(number, run.first_index);
            }
        }
    }

    pub(super) fn send_run(&mut self, now: Now, number: GroupNumber, link: LinkId, run: &StoredRun) {
        let bytes = self.give_run(now, (number, link), run, false);
        self.note_turn(number, link, bytes);
    }

    /// Sends what was pulled: as a backlog, whatever place in the log the neighbour has.
    pub(in crate::relay) fn send_pulled_run(
        &mut self,
        now: Now,
        number: GroupNumber,
        link: LinkId,
        run: &StoredRun,
    ) {
        self.send_aside(now, (number, link), run, true);
    }

    /// Sends a run as a backlog, before its turn.
    fn send_aside(
        &mut self,
        now: Now,
        (number, link): (GroupNumber, LinkId),
        run: &StoredRun,
        is_pulled: bool,
    ) {
        let bytes = self.give_run(now, (number, link), run, is_pulled);
        if let Some(state) = self.links.table.get_mut(&link) {
            state.sent_aside(bytes);
        }
    }

    /// Gives a run to a neighbour. Says how many bytes that were.
    pub(super) fn give_run(
        &mut self,
        now: Now,
        (number, link): (GroupNumber, LinkId),
        run: &StoredRun,
        is_pulled: bool,
    ) -> u64 {
        let takes = |state: &crate::relay::link::Link| state.losses;
        let is_loss = crate::relay::lost::in_place(&run.run).is_some();
        if is_loss && !self.links.table.get(&link).is_some_and(takes) {
            // It would close the link.
            return 0;
        }
        self.count_sent((link, number), carried::load(&run.run));
        let reader = self.groups.get_mut(number).and_then(|group| group.spread().reader(link));
        let jumps = reader.is_some_and(|reader| {
            let before = Sequence(run.run.header.first.0.saturating_sub(1));
            let jumps = !reader.reaches(run.stream, &run.run) && reader.pulled != Some((run.stream, before));
            reader.note_run(run.stream, &run.run, is_pulled);
            if is_pulled {
                reader.pulled = Some((run.stream, Sequence(run.run.header.end().0 - 1)));
            }
            jumps
        });
        let is_new = self.links.table.get_mut(&link).is_some_and(|state| state.meets_stream(run.stream));
        if is_new || jumps {
            self.name_stream(number, link, run);
        }
        let waited_ms = now.wall.0.saturating_sub(run.arrived.0) / 1000;
        let age_ms = u32::try_from(u64::from(run.age_ms) + waited_ms).unwrap_or(u32::MAX);
        let message = LinkMessage::Run { stream: run.stream, age_ms, run: run.run.clone() };
        let bytes = message.bytes();
        self.say(link, message);
        bytes
    }

    /// Names the stream of a run, and where it goes on for a neighbour that has less.
    pub(super) fn name_stream(&mut self, number: GroupNumber, link: LinkId, run: &StoredRun) {
        // What is released of an own stream is counted anew after a start.
        self.settle_released(number);
        let Some(group) = self.groups.get(number) else { return };
        let Some(stream) = group.streams.iter().find(|s| s.number == run.stream) else { return };
        let before = group.unreleased_before(stream);
        let named = group.named(stream, (run.run.header.first, run.run.header.chain));
        let wanted = (stream.wanted > Sequence(0)).then(|| stream.released_in(&named.group));
        for before in before {
            self.say(link, LinkMessage::Stream(before));
        }
        self.say(link, LinkMessage::Stream(named));
        // Who did not know the stream has not kept what it was told of it.
        if let Some(wanted) = wanted {
            self.say(link, LinkMessage::Released(vec![wanted]));
        }
    }

    /// Sends or passes over the next run of a neighbour's place in a group.
    pub(in crate::relay) fn link_step(&mut self, now: Now, number: GroupNumber, link: LinkId) -> Step {
        let Some(group) = self.groups.get_mut(number) else { return Step::End };
        let (durable, low) = (group.durable, group.low);
        let Some(reader) = group.spread().reader(link).filter(|reader| reader.has_compared) else {
            return Step::End;
        };
        reader.next = reader.next.max(low);
        let next = reader.next;
        if next >= durable {
            reader.become_live(0);
            // What was sent is not kept in memory by one who waits for more.
            reader.ahead.take_if(|ahead| ahead.end() <= next);
            self.hurry_for_link(number, link);
            return Step::End;
        }
        let Some((piece, _)) = reader.ahead.as_mut().and_then(|ahead| ahead.seek(next)) else {
            return Step::Unread;
        };
        let run = match piece {
            Piece::Missing { to, .. } => {
                // Damaged here: another relay has it, and the neighbour compares with that one.
                reader.next = *to;
                return Step::Passed;
            }
            Piece::Run(run) => run.clone(),
        };
        if run.end_index() > durable {
            reader.become_live(0);
            return Step::End;
        }
        reader.next = run.end_index();
        let is_known = reader.knows(run.stream);
        if reader.has(&run) || !group.carries(run.stream, link) || group.is_over(run.stream) {
            return Step::Passed;
        }
        if let Some(hearing) = self.hearing.as_mut().filter(|_| !is_known && run.first_index < group.begun) {
            hearing.hold(number, link);
            if let Some(reader) = group.spread().reader(link) {
                reader.next = next;
            }
            return Step::End;
        }
        self.send_run(now, number, link, &run);
        Step::Sent(body_bytes(&run.run))
    }

    /// Asks for what comes next at a neighbour's place.
    pub(in crate::relay) fn fetch_for_link(&mut self, number: GroupNumber, link: LinkId) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let low = group.low;
        let Some(reader) = group.spread().reader(link) else { return };
        let from = reader.next.max(low);
        (reader.next, reader.fetching, reader.ahead) = (from, Some(from), None);
        let fetch = Effect::Fetch { group: number, from, bytes_max: limits::READ_BYTES };
        let end = group.durable;
        if group.traffic().ask_for(from, end, Waiter::Link(link)) {
            self.effects.push_back(fetch);
        }
    }

    /// What a neighbour's place waited for was read.
    pub(in crate::relay) fn on_fetched_for_link(
        &mut self,
        number: GroupNumber,
        link: LinkId,
        from: Index,
        pieces: &Arc<[Piece]>,
    ) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let Some(reader) = group.spread().reader(link) else { return };
        if reader.fetching != Some(from) {
            return;
        }
        reader.fetching = None;
        reader.ahead = (!pieces.is_empty()).then(|| Ahead::new(Arc::clone(pieces)));
        self.on_read(number, link);
    }
}
