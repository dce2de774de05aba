//! Circuits that end here: sessions of applications at other relays (R12).
//!
//! Each is a session like any other, with a number from a range of its own. What the core wants
//! to tell such a session is not given to the shell but said over the circuit. Its deliveries pause
//! when [`limits::CIRCUIT_WINDOW_BYTES_MAX`], or fewer when its opener has many circuits here, are
//! not with the application's socket at the other end: no relay between holds more of it.

use std::collections::BTreeMap;

use super::Relay;
use super::effect::Effect;
use super::input::Now;
use super::session::Session;
use crate::id::{RelayId, SessionId, Time};
use crate::limits;
use crate::wire::body::{Answer, Refusal, RefusalCode, Reply, Request};
use crate::wire::circuit::{CircuitHead, CircuitId, CircuitSays};
use crate::wire::link::LinkMessage;

/// Sessions from here on are circuits; those of the shell are below.
const FIRST: u64 = 1 << 63;

/// One circuit that ends here.
#[derive(Clone, Debug)]
struct Serving {
    circuit: CircuitId,
    /// The next sequence each way.
    said: u64,
    heard: u64,
    heard_at: Time,
    /// Questions without an answer.
    unanswered: usize,
}

/// All circuits that end here.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    by_id: BTreeMap<CircuitId, SessionId>,
    sessions: BTreeMap<SessionId, Serving>,
    /// How many each opener has.
    openers: BTreeMap<RelayId, usize>,
    last: u64,
}

impl Served {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}

/// Whether a session is a circuit.
pub(super) fn is_circuit(session: SessionId) -> bool {
    session.0 >= FIRST
}

/// Whether it is something that may be asked over a circuit: all that is about a subscription, and
/// that this relay is to be emptied.
fn is_for_a_circuit(body: &Request) -> bool {
    matches!(
        body,
        Request::Attach { .. }
            | Request::Detach { .. }
            | Request::Poll { .. }
            | Request::Sync
            | Request::SubscriptionCreate { .. }
            | Request::SubscriptionList { .. }
            | Request::SubscriptionShow { .. }
            | Request::SubscriptionSeek { .. }
            | Request::SubscriptionMove { .. }
            | Request::SubscriptionRemove { .. }
            | Request::RelayDrain { .. }
    )
}

impl Relay {
    /// Something has come from an opener.
    pub(super) fn on_circuit(&mut self, now: Now, head: &CircuitHead, says: CircuitSays) {
        let session = match self.circuits.served.by_id.get(&head.circuit) {
            Some(session) => *session,
            None => match self.take_circuit(now, head, &says) {
                Ok(session) => session,
                Err(refusal) => return self.refuse_circuit(head, &says, refusal),
            },
        };
        if matches!(says, CircuitSays::End(_)) {
            return self.close_served(now, session);
        }
        let Some(serving) = self.circuits.served.sessions.get_mut(&session) else { return };
        if serving.heard != head.sequence {
            let why = "something was lost on the way: try again";
            return self.end_served(now, session, Refusal::new(RefusalCode::NotReady, why));
        }
        serving.heard += 1;
        serving.heard_at = now.time;
        match says {
            CircuitSays::Request { request, body } => self.on_served_request(now, (session, request), *body),
            CircuitSays::Acks(acks) => {
                // What cannot be said in a session's frame is not said here either.
                for ack in acks.into_iter().filter(|ack| ack.from < ack.to) {
                    self.handle_ack(now, session, ack);
                }
            }
            CircuitSays::Credit(credit) => self.handle_credit(session, credit),
            CircuitSays::Written(total) => self.handle_written(session, total),
            CircuitSays::Ping => self.say_to_opener(session, CircuitSays::Pong),
            CircuitSays::Answer { .. } | CircuitSays::Notice(_) | CircuitSays::Pong | CircuitSays::End(_) => {
            }
        }
    }

    /// Takes a new circuit.
    fn take_circuit(
        &mut self,
        now: Now,
        head: &CircuitHead,
        says: &CircuitSays,
    ) -> Result<SessionId, Refusal> {
        if head.sequence != 0 || !matches!(says, CircuitSays::Request { .. }) {
            let me = &self.options.relay;
            let message =
                format!("something was lost on the way to relay {me}, or it was started again: try again");
            return Err(Refusal::new(RefusalCode::NotReady, message));
        }
        let opener = &head.circuit.opener;
        let theirs = self.circuits.served.openers.get(opener).copied().unwrap_or(0);
        let all = self.circuits.served.sessions.len();
        if theirs >= limits::CIRCUITS_PER_RELAY_MAX || all >= limits::CIRCUITS_MAX {
            let message = format!(
                "relay {} serves {theirs} receivers and requests of relay {opener}, {all} in all, which is its \
                 bound: {} of one relay, {} in all",
                self.options.relay,
                limits::CIRCUITS_PER_RELAY_MAX,
                limits::CIRCUITS_MAX
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let served = &mut self.circuits.served;
        served.last += 1;
        let session = SessionId(FIRST + served.last);
        let circuit = head.circuit.clone();
        served.by_id.insert(circuit.clone(), session);
        *served.openers.entry(circuit.opener.clone()).or_default() += 1;
        let serving = Serving { circuit, said: 0, heard: 0, heard_at: now.time, unanswered: 0 };
        served.sessions.insert(session, serving);
        let window = limits::CIRCUITS_WINDOW_BYTES / (theirs as u64 + 1);
        let window = window.clamp(limits::CIRCUIT_WINDOW_BYTES_MIN, limits::CIRCUIT_WINDOW_BYTES_MAX);
        self.sessions.insert(session, Session::with_window(window));
        self.watch_circuits(now);
        Ok(session)
    }

    /// Lets the opener know that there is no circuit here. Nothing is said to an end.
    fn refuse_circuit(&mut self, head: &CircuitHead, says: &CircuitSays, refusal: Refusal) {
        if !matches!(says, CircuitSays::End(_)) {
            let head = CircuitHead { is_back: true, sequence: 0, hops: self.trees.hops(), ..head.clone() };
            self.carry(head, CircuitSays::End(Some(refusal)));
        }
    }

    fn on_served_request(&mut self, now: Now, (session, request): (SessionId, u64), body: Request) {
        let Some(serving) = self.circuits.served.sessions.get_mut(&session) else { return };
        serving.unanswered += 1;
        if serving.unanswered > limits::SESSION_REQUESTS_MAX {
            let message = format!("more than {} requests without an answer", limits::SESSION_REQUESTS_MAX);
            return self.end_served(now, session, Refusal::new(RefusalCode::Limit, message));
        }
        let mut body = body;
        if let Request::Attach { create, .. } = &mut body {
            *create = None;
        }
        if is_for_a_circuit(&body) {
            return self.handle_request(now, (session, request), body);
        }
        let message = "only what is about a subscription can be asked of another relay, and to empty it";
        let answer = Box::new(Err(Refusal::new(RefusalCode::Invalid, message)));
        self.effects.push_back(Effect::Answer { session, request, answer });
    }

    /// Takes an effect that is for a circuit out of the shell's way.
    pub(super) fn over_circuit(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Answer { session, request, answer } if is_circuit(session) => {
                if let Some(serving) = self.circuits.served.sessions.get_mut(&session) {
                    serving.unanswered = serving.unanswered.saturating_sub(1);
                }
                let answer = Box::new(self.as_elsewhere(*answer));
                self.say_to_opener(session, CircuitSays::Answer { request, answer });
                None
            }
            Effect::Notice { session, notice } if is_circuit(session) => {
                self.say_to_opener(session, CircuitSays::Notice(Box::new(notice)));
                None
            }
            Effect::Deliver { session, head: deliver, records, .. } if is_circuit(session) => {
                let head = self.next_head(session)?;
                let link = self.links.toward.get(&head.circuit.opener).copied()?;
                let head = Box::new(head);
                self.say(link, LinkMessage::Deliver { head, deliver, records });
                None
            }
            // No circuit puts, and none is closed by the core.
            Effect::PutDone { session, .. } | Effect::Close { session, .. } if is_circuit(session) => None,
            Effect::Append { .. }
            | Effect::Hurry
            | Effect::Answer { .. }
            | Effect::PutDone { .. }
            | Effect::Notice { .. }
            | Effect::Deliver { .. }
            | Effect::Link { .. }
            | Effect::Fetch { .. }
            | Effect::Release { .. }
            | Effect::Shard { .. }
            | Effect::Neighbours { .. }
            | Effect::Close { .. } => Some(effect),
        }
    }

    /// Acks are about this storage's places: a receiver that comes back to another storage, or to
    /// the same name at another relay, is not to say them again.
    fn as_elsewhere(&self, mut answer: Answer) -> Answer {
        // It is another relay that the application is at; what it asks for may live elsewhere soon.
        if let Err(refusal) = &mut answer {
            refusal.leaving = false;
        }
        if let Ok(Reply::SubscriptionHandle { moves, .. }) = &mut answer {
            let mut hash = xxhash_rust::xxh3::Xxh3::new();
            hash.update(&moves.to_le_bytes());
            hash.update(&self.options.epoch.storage.0);
            hash.update(self.options.relay.as_str().as_bytes());
            *moves = hash.digest();
        }
        answer
    }

    fn next_head(&mut self, session: SessionId) -> Option<CircuitHead> {
        let serving = self.circuits.served.sessions.get_mut(&session)?;
        let sequence = serving.said;
        serving.said += 1;
        let (circuit, home) = (serving.circuit.clone(), self.options.relay.clone());
        Some(CircuitHead { circuit, home, is_back: true, sequence, hops: self.trees.hops() })
    }

    fn say_to_opener(&mut self, session: SessionId, says: CircuitSays) {
        if let Some(head) = self.next_head(session) {
            self.carry(head, says);
        }
    }

    fn end_served(&mut self, now: Now, session: SessionId, refusal: Refusal) {
        self.say_to_opener(session, CircuitSays::End(Some(refusal)));
        self.close_served(now, session);
    }

    /// A circuit is over: what was delivered over it and not acked is delivered again.
    fn close_served(&mut self, now: Now, session: SessionId) {
        let served = &mut self.circuits.served;
        let Some(serving) = served.sessions.remove(&session) else { return };
        served.by_id.remove(&serving.circuit);
        if let Some(count) = served.openers.get_mut(&serving.circuit.opener) {
            *count -= 1;
            if *count == 0 {
                served.openers.remove(&serving.circuit.opener);
            }
        }
        self.close_session(now, session);
    }

    /// Openers that are heard no more have gone.
    pub(super) fn close_silent(&mut self, now: Now) {
        let is_silent = |serving: &Serving| {
            now.time >= serving.heard_at.after_ms(limits::CIRCUIT_SILENT_MS)
                || !self.links.toward.contains_key(&serving.circuit.opener)
        };
        let sessions = self.circuits.served.sessions.iter();
        let silent: Vec<SessionId> =
            sessions.filter(|(_, serving)| is_silent(serving)).map(|(session, _)| *session).collect();
        for session in silent {
            let why = "nothing was heard from there";
            self.end_served(now, session, Refusal::new(RefusalCode::NotReady, why));
        }
    }
}
