//! Carrying out what the core wants.

use super::{Driver, Wanted};
use crate::limits;
use crate::net::outgoing::Outgoing;
use crate::relay::{Effect, Input, Now};
use crate::server::readers::Job;
use crate::wire::body::{Answer, Notice, Reply};

impl Driver {
    /// Takes effects until there are none. Reads that are answered from memory are
    /// answered at once, and may cause more.
    pub(super) fn carry_out(&mut self, now: Now) {
        while let Some(effect) = self.relay.next_effect() {
            match effect {
                Effect::Append { entry, urgency } => {
                    self.turn.urgency = self.turn.urgency.max(urgency);
                    self.turn.bytes += entry.content_bytes();
                    self.turn.entries.push(entry);
                }
                Effect::Hurry => self.turn.hurries = true,
                Effect::PutDone { session, done } => {
                    self.turn.counts.puts_done += 1;
                    self.sessions.done(session, done);
                }
                Effect::Deliver { session, handle, head, records } => {
                    self.turn.counts.deliveries += 1;
                    self.turn.counts.delivered_records += u64::from(head.count);
                    self.turn.counts.delivered_bytes += Effect::deliver_bytes(&records);
                    self.sessions.stage(session, Outgoing::Deliver { handle, head, records });
                }
                Effect::Notice { session, notice } => {
                    let is_refusal = matches!(notice, Notice::PutRefused { .. });
                    self.turn.counts.puts_refused += u64::from(is_refusal);
                    let is_unordered = matches!(notice, Notice::Unordered { .. });
                    self.turn.counts.unordered += u64::from(is_unordered);
                    self.sessions.stage(session, Outgoing::Notice(Box::new(notice)));
                }
                Effect::Answer { session, request, answer } => {
                    self.answer(session, request, answer);
                }
                Effect::Fetch { group, from, bytes_max } => {
                    self.fetch(now, Wanted { group, from, bytes_max });
                }
                Effect::Release { group, below } => {
                    self.log.release(group, below);
                    self.snapshots.released();
                }
                Effect::Shard { shard, through, bytes } => self.snapshots.shard(shard, through, bytes),
                Effect::Link { link, message } => {
                    self.turn.links.insert(link);
                    self.sessions.say(link, message);
                }
                Effect::Neighbours { neighbours, entry } => self.turn.neighbours = Some((neighbours, entry)),
                Effect::Close { session, reason } => self.sessions.close(session, reason),
            }
        }
    }

    /// Reads that did not fit into the turn before.
    pub(super) fn read_wanted(&mut self, now: Now) {
        for _ in 0..self.wanted.len().min(limits::TURN_FETCHES_MAX) {
            let Some(wanted) = self.wanted.pop_front() else { break };
            self.fetch(now, wanted);
            self.carry_out(now);
        }
    }

    fn fetch(&mut self, now: Now, wanted: Wanted) {
        if self.turn.counts.tail_reads >= limits::TURN_FETCHES_MAX as u64 {
            self.wanted.push_back(wanted);
            return;
        }
        let Wanted { group, from, bytes_max } = wanted;
        match self.log.tail(group, from, bytes_max) {
            Some(pieces) => {
                self.turn.counts.tail_reads += 1;
                self.handle(now, Input::Fetched { group, from, pieces });
            }
            None => {
                self.turn.counts.cold_reads += 1;
                self.readers.give(Job::Read { group, from, bytes_max });
            }
        }
    }

    /// The core does not know the machine: what the shell knows is filled in by
    /// a thread, since some of it is read from files.
    fn answer(&mut self, session: crate::id::SessionId, request: u64, answer: Box<Answer>) {
        match *answer {
            Ok(Reply::Status(mut status)) => {
                status.uptime_ms = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
                let damage = super::super::start::damage_warning(self.signals.damaged());
                // What was found at the start may be found once more by reading it.
                status.warnings.extend(damage.filter(|warning| !status.warnings.contains(warning)));
                status.warnings.extend(self.clock.warning());
                status
                    .warnings
                    .extend(self.links.watch().warnings(|neighbour| !self.relay.is_linked_to(neighbour)));
                self.readers.give(Job::Status { session, request, status });
            }
            Ok(Reply::Links(mut links)) => {
                links.iter_mut().for_each(|link| self.links.watch().fill(link));
                self.sessions.answer(session, request, Box::new(Ok(Reply::Links(links))));
            }
            answer => self.sessions.answer(session, request, Box::new(answer)),
        }
    }
}
