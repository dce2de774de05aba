//! What homes say over circuits that were opened here: answers, notices and messages.

use bytes::Bytes;

use super::super::Relay;
use super::super::effect::Effect;
use super::super::input::Now;
use super::super::requests::too_many_handles;
use super::{About, Asked, Opened};
use crate::limits;
use crate::wire::body::{Answer, Notice, Refusal, RefusalCode, Reply};
use crate::wire::circuit::{CircuitHead, CircuitSays};
use crate::wire::frame::DeliverHead;

impl Relay {
    /// Something has come from a home.
    pub(in crate::relay) fn on_circuit_back(&mut self, now: Now, head: &CircuitHead, says: CircuitSays) {
        let number = head.circuit.number;
        let is_own = head.circuit.boot == self.options.epoch.nonce;
        if !is_own || self.circuits.opened.get(&number).is_none_or(|opened| opened.home != head.home) {
            return self.disown(head, &says);
        }
        if let CircuitSays::End(refusal) = says {
            let why = refusal.unwrap_or_else(|| self.ended(number));
            return self.end_circuit(now, number, why);
        }
        if !self.hears(now, number, head.sequence) {
            return;
        }
        match says {
            CircuitSays::Answer { request, answer } => self.on_answer(now, number, (request, *answer)),
            CircuitSays::Notice(notice) => self.on_notice(now, number, *notice),
            CircuitSays::Pong => {}
            // Nothing that a home says.
            CircuitSays::Request { .. }
            | CircuitSays::Acks(_)
            | CircuitSays::Credit(_)
            | CircuitSays::Written(_)
            | CircuitSays::Ping
            | CircuitSays::End(_) => {}
        }
    }

    /// Whether it is the next thing; a hole ends the circuit.
    fn hears(&mut self, now: Now, number: u64, sequence: u64) -> bool {
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return false };
        if opened.heard != sequence {
            self.end_circuit_with(now, number, "something was lost on the way from there");
            return false;
        }
        opened.heard += 1;
        opened.heard_at = now.time;
        true
    }

    fn on_answer(&mut self, now: Now, number: u64, (request, answer): (u64, Answer)) {
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return };
        let Some(asked) = opened.asked.remove(&request) else { return };
        let session = opened.session;
        match asked {
            Asked::Attach(request) => self.on_attached(number, request, answer),
            Asked::Receiver(request) | Asked::Once(request) => self.answer(session, request, answer),
            Asked::Sync(request) => self.on_synced(now, number, request, answer.err()),
            Asked::Leaving => {
                if answer.is_err() {
                    self.lose_acks(number);
                }
            }
        }
        let is_over = |opened: &Opened| opened.handles.is_none() && opened.asked.is_empty();
        if self.circuits.opened.get(&number).is_some_and(is_over) {
            self.say_to_home(number, CircuitSays::End(None));
            self.forget_circuit(number);
        }
    }

    fn on_attached(&mut self, number: u64, request: u64, answer: Answer) {
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return };
        let session = opened.session;
        let answer = match answer {
            Ok(Reply::SubscriptionHandle { handle: there, name, created, window, moves, begun }) => {
                let here = self.sessions.get_mut(&session).and_then(|s| s.open_circuit(number));
                match here {
                    Some(handle) => {
                        opened.handles = Some((handle, there));
                        Ok(Reply::SubscriptionHandle { handle, name, created, window, moves, begun })
                    }
                    None => Err(too_many_handles()),
                }
            }
            // It was there a moment ago, as far as was known here: nothing is made in its place.
            Err(refusal) if refusal.code == RefusalCode::NotFound => {
                let message =
                    format!("{}, or this relay has not heard yet where it is: try again", refusal.message);
                Err(Refusal::new(RefusalCode::NotReady, message))
            }
            Ok(_) => Err(self.ended(number)),
            Err(refusal) => Err(refusal),
        };
        self.answer(session, request, answer);
    }

    fn on_notice(&mut self, now: Now, number: u64, notice: Notice) {
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return };
        let session = opened.session;
        let notice = match notice {
            Notice::Stream { number: theirs, origin, epoch } => {
                if opened.streams.len() >= limits::STREAMS_PER_GROUP_MAX {
                    return self.end_circuit_with(now, number, "it names more streams than a group may have");
                }
                let Some(state) = self.sessions.get_mut(&session) else { return };
                let About::Name { group, .. } = &opened.about else { return };
                let (ours, is_new) = state.name_stream(group, &origin, epoch);
                opened.streams.insert(theirs, ours);
                if !is_new {
                    return;
                }
                Notice::Stream { number: ours, origin, epoch }
            }
            Notice::Gap { from, to, cause, .. } => {
                let Some((handle, _)) = opened.handles else { return };
                Notice::Gap { handle, from, to, cause }
            }
            Notice::Unordered { from, to, missing, cause, .. } => {
                let Some((handle, _)) = opened.handles else { return };
                Notice::Unordered { handle, from, to, missing, cause }
            }
            Notice::Detached { refusal, .. } => {
                self.say_to_home(number, CircuitSays::End(None));
                return self.end_circuit(now, number, refusal);
            }
            Notice::PutRefused { .. } => return,
        };
        self.effects.push_back(Effect::Notice { session, notice });
    }

    /// Messages have come over a circuit.
    pub(in crate::relay) fn on_circuit_deliver(
        &mut self,
        now: Now,
        head: &CircuitHead,
        (mut deliver, records): (DeliverHead, Bytes),
    ) {
        let number = head.circuit.number;
        let is_own = head.circuit.boot == self.options.epoch.nonce;
        if !is_own || self.circuits.opened.get(&number).is_none_or(|opened| opened.home != head.home) {
            return self.disown(head, &CircuitSays::Pong);
        }
        if !self.hears(now, number, head.sequence) {
            return;
        }
        let Some(opened) = self.circuits.opened.get(&number) else { return };
        // Those for a receiver that has left were on their way: they come again at the home.
        let Some((handle, _)) = opened.handles else { return };
        let Some(stream) = opened.streams.get(&deliver.stream).copied() else {
            return self.end_circuit_with(now, number, "it delivers from a stream that it has not named");
        };
        deliver.stream = stream;
        let session = opened.session;
        if let Some(state) = self.sessions.get_mut(&session) {
            state.send_over(number, Effect::deliver_bytes(&records));
        }
        self.effects.push_back(Effect::Deliver { session, handle, head: deliver, records });
    }
}
