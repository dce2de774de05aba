//! Circuits of applications here whose subscriptions live at other relays (R12).
//!
//! A subscription or queue has one home, and whoever names it at another relay is led there: this
//! relay opens a circuit, and the home ([`super::served`]) takes it for a session of its own. Credit,
//! leases and acks are kept there; here is kept which handle of which session a circuit is, and
//! which questions wait. Relays between the two pass on what is not for them ([`super::carry`]).
//! One question about a relay itself goes the same way: that it is to be emptied ([`super::drain`]).
//!
//! ```text
//! Request ──► asked ──answer──► attached ──detach──► leaving ──answers──► gone
//!                │                  │                    │
//!                └── refused, no way, a hole, silence: the questions are refused, the receiver
//!                    is told that it is detached (not ready: attach again) ──► gone
//! ```
//!
//! A circuit is never mended. What came over it and was not acked comes again at the home, as when
//! a session closes; acks that may be lost with it are told by the next sync of the session.
//!
//! Per 1,000 deliveries of 64 KiB: 2,000 reports of what was written, and the application's acks.

mod acks;
mod back;

use std::collections::BTreeMap;

use self::acks::Syncing;
use super::Relay;
use super::effect::Effect;
use super::input::Now;
use super::requests::{Outcome, When, too_many_handles};
use super::served::Served;
use super::timer::Timer;
use crate::id::{GroupName, RelayId, SessionId, StreamNumber, Time};
use crate::limits;
use crate::wire::body::{Answer, Notice, Refusal, RefusalCode, Reply, Request};
use crate::wire::circuit::{CircuitHead, CircuitId, CircuitSays};
use crate::wire::frame::Credit;

/// What a question is about, and who has asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The application, to receive.
    Attach(u64),
    /// The application, something that a receiver asks.
    Receiver(u64),
    /// The application, whether its acks are durable.
    Sync(u64),
    /// This relay, whether the acks of a receiver that has left are durable.
    Leaving,
    /// The application, one thing and nothing more.
    Once(u64),
}

/// What is looked for at the other end of a circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A subscription or queue, and it as people call it.
    Name { group: GroupName, what: String },
    /// The relay itself.
    Relay,
}

impl About {
    /// It is at a relay that cannot be reached now.
    fn no_way(&self, home: &RelayId) -> Refusal {
        let message = match self {
            Self::Name { what, .. } => {
                format!("{what} lives at relay {home}, which cannot be reached from here now: try again")
            }
            Self::Relay => format!("relay {home} cannot be reached from here now"),
        };
        Refusal::new(RefusalCode::NotReady, message)
    }

    /// The circuit to it is over.
    fn ended(&self, home: &RelayId) -> Refusal {
        let message = match self {
            Self::Name { what, .. } => format!("the way to {what} at relay {home} was lost: try again"),
            Self::Relay => format!("the way to relay {home} was lost before it answered"),
        };
        Refusal::new(RefusalCode::NotReady, message)
    }
}

/// One circuit that was opened here.
#[derive(Clone, Debug)]
struct Opened {
    session: SessionId,
    home: RelayId,
    about: About,
    /// The session's handle, and the home's, once it is attached.
    handles: Option<(u32, u32)>,
    /// Questions without an answer, by their numbers here.
    asked: BTreeMap<u64, Asked>,
    next_question: u64,
    /// What was said and heard: the next sequence each way.
    said: u64,
    heard: u64,
    heard_at: Time,
    /// The home's numbers of streams, and those that the session was told.
    streams: BTreeMap<StreamNumber, StreamNumber>,
    /// Bytes of deliveries that the session's writer has handed on, and what the home knows of it.
    written: u64,
    told: u64,
    /// Whether there are acks that no sync has confirmed.
    is_unsettled: bool,
}

/// All circuits that begin or end here.
#[derive(Clone, Debug, Default)]
pub(super) struct Circuits {
    opened: BTreeMap<u64, Opened>,
    last: u64,
    syncs: BTreeMap<(SessionId, u64), Syncing>,
    /// Those that end here.
    pub(super) served: Served,
}

impl Circuits {
    /// Whether there is nothing to look after.
    fn is_idle(&self) -> bool {
        self.opened.is_empty() && self.served.is_empty()
    }
}

impl Relay {
    /// Asks the home what the application has asked here.
    pub(super) fn open_circuit(
        &mut self,
        now: Now,
        (session, request): (SessionId, u64),
        (home, about): (RelayId, About),
        body: Request,
    ) -> Outcome {
        if !self.links.toward.contains_key(&home) {
            return Err(about.no_way(&home));
        }
        if self.circuits.opened.len() >= limits::CIRCUITS_MAX {
            let message = format!(
                "{} receivers and requests of this relay are led to other relays already, which is its bound",
                limits::CIRCUITS_MAX
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        let is_attach = matches!(body, Request::Attach { .. });
        if is_attach && !self.sessions.get(&session).is_some_and(|s| s.has_subscription_room()) {
            return Err(too_many_handles());
        }
        self.circuits.last += 1;
        let number = self.circuits.last;
        let opened = Opened {
            session,
            home,
            about,
            handles: None,
            asked: BTreeMap::new(),
            next_question: 0,
            said: 0,
            heard: 0,
            heard_at: now.time,
            streams: BTreeMap::new(),
            written: 0,
            told: 0,
            is_unsettled: false,
        };
        self.circuits.opened.insert(number, opened);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.circuits.insert(number);
        }
        self.ask_home(number, if is_attach { Asked::Attach(request) } else { Asked::Once(request) }, body);
        self.watch_circuits(now);
        Ok((Reply::Done, When::Later))
    }

    /// Asks a circuit's home something.
    fn ask_home(&mut self, number: u64, asked: Asked, body: Request) {
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return };
        let request = opened.next_question;
        opened.next_question += 1;
        opened.asked.insert(request, asked);
        self.say_to_home(number, CircuitSays::Request { request, body: Box::new(body) });
    }

    /// Says something to a circuit's home. What cannot leave is lost, and the hole is found.
    fn say_to_home(&mut self, number: u64, says: CircuitSays) {
        let boot = self.options.epoch.nonce;
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return };
        let circuit = CircuitId { opener: self.options.relay.clone(), boot, number };
        let sequence = opened.said;
        opened.said += 1;
        let head = CircuitHead {
            circuit,
            home: opened.home.clone(),
            is_back: false,
            sequence,
            hops: self.trees.hops(),
        };
        self.carry(head, says);
    }

    /// The home's handle, if a session's handle is one of a circuit.
    fn circuit_of(&self, session: SessionId, handle: u32) -> Option<(u64, u32)> {
        let number = self.sessions.get(&session)?.circuit(handle)?;
        let (_, there) = self.circuits.opened.get(&number)?.handles?;
        Some((number, there))
    }

    /// A receiver's request, if it receives from elsewhere.
    pub(super) fn ask_receivers_home(
        &mut self,
        (session, request): (SessionId, u64),
        body: &Request,
    ) -> Option<Outcome> {
        let (Request::Poll { handle, .. } | Request::Detach { handle }) = *body else { return None };
        let (number, there) = self.circuit_of(session, handle)?;
        let body = if let Request::Poll { messages, .. } = *body {
            Request::Poll { handle: there, messages }
        } else {
            Request::Detach { handle: there }
        };
        let is_leaving = matches!(body, Request::Detach { .. });
        self.ask_home(number, Asked::Receiver(request), body);
        if is_leaving {
            self.leave_circuit(session, handle, number);
        }
        Some(Ok((Reply::Done, When::Later)))
    }

    /// The receiver is gone; the circuit stays until its acks are known to be durable.
    fn leave_circuit(&mut self, session: SessionId, handle: u32, number: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.close_circuit(handle);
        }
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return };
        opened.handles = None;
        if std::mem::take(&mut opened.is_unsettled) {
            self.ask_home(number, Asked::Leaving, Request::Sync);
        }
    }

    /// More may be delivered: of each circuit the home is told the most; the others are left.
    pub(super) fn pass_credits(&mut self, session: SessionId, credits: &mut Vec<Credit>) {
        if self.sessions.get(&session).is_none_or(|s| s.circuits.is_empty()) {
            return;
        }
        let mut theirs: BTreeMap<u64, Credit> = BTreeMap::new();
        credits.retain(|credit| {
            let Some((number, handle)) = self.circuit_of(session, credit.handle) else { return true };
            let most = theirs.entry(number).or_insert(Credit { handle, total: 0 });
            most.total = most.total.max(credit.total);
            false
        });
        for (number, credit) in theirs {
            self.say_to_home(number, CircuitSays::Credit(credit));
        }
    }

    /// So much of what came over circuits has been handed to a session's socket.
    pub(super) fn pass_written(&mut self, written: Vec<(u64, u64)>) {
        for (number, bytes) in written {
            let Some(opened) = self.circuits.opened.get_mut(&number) else { continue };
            opened.written += bytes;
            if opened.written - opened.told >= limits::CIRCUIT_WRITTEN_BYTES {
                opened.told = opened.written;
                let total = opened.written;
                self.say_to_home(number, CircuitSays::Written(total));
            }
        }
    }

    fn answer(&mut self, session: SessionId, request: u64, answer: Answer) {
        self.effects.push_back(Effect::Answer { session, request, answer: Box::new(answer) });
    }

    fn ended(&self, number: u64) -> Refusal {
        let over = || Refusal::new(RefusalCode::NotReady, "the way to another relay was lost: try again");
        self.circuits.opened.get(&number).map_or_else(over, |opened| opened.about.ended(&opened.home))
    }

    fn end_circuit_with(&mut self, now: Now, number: u64, why: &str) {
        let mut refusal = self.ended(number);
        refusal.message = format!("{} ({why})", refusal.message);
        self.say_to_home(number, CircuitSays::End(Some(refusal.clone())));
        self.end_circuit(now, number, refusal);
    }

    /// A circuit is over: whoever waits for something of it is told so.
    fn end_circuit(&mut self, now: Now, number: u64, refusal: Refusal) {
        let Some(opened) = self.circuits.opened.get_mut(&number) else { return };
        let (session, handles) = (opened.session, opened.handles.take());
        let asked = std::mem::take(&mut opened.asked);
        let is_lost =
            std::mem::take(&mut opened.is_unsettled) || asked.values().any(|a| *a == Asked::Leaving);
        if is_lost {
            self.lose_acks(number);
        }
        for asked in asked.into_values() {
            match asked {
                Asked::Attach(request) | Asked::Receiver(request) | Asked::Once(request) => {
                    self.answer(session, request, Err(refusal.clone()));
                }
                // Whatever has become of the receiver, of its acks no more is known than this.
                Asked::Sync(request) => {
                    let refusal = self.circuits.opened.get(&number).map(Opened::acks_lost);
                    self.on_synced(now, number, request, refusal);
                }
                Asked::Leaving => {}
            }
        }
        if let Some((handle, _)) = handles {
            if let Some(state) = self.sessions.get_mut(&session) {
                state.lose_handle(handle);
            }
            self.effects.push_back(Effect::Notice { session, notice: Notice::Detached { handle, refusal } });
        }
        self.forget_circuit(number);
    }

    fn forget_circuit(&mut self, number: u64) {
        let Some(opened) = self.circuits.opened.remove(&number) else { return };
        if let Some(session) = self.sessions.get_mut(&opened.session) {
            session.circuits.remove(&number);
        }
    }

    /// An application has left: nobody is to be told.
    pub(super) fn close_circuits(&mut self, session: SessionId) {
        let Some(circuits) = self.sessions.get(&session).map(|s| s.circuits.clone()) else { return };
        for number in circuits {
            self.say_to_home(number, CircuitSays::End(None));
            self.forget_circuit(number);
        }
        self.circuits.syncs.retain(|(of, _), _| *of != session);
    }

    /// Sees to it that dead circuits are found.
    pub(super) fn watch_circuits(&mut self, now: Now) {
        if !self.circuits.is_idle() {
            self.timers.set_by(Timer::Circuits, now.time.after_ms(limits::CIRCUIT_PING_MS));
        }
    }

    /// Whether every circuit is still whole is asked; those that are not are ended.
    pub(super) fn on_circuits_time(&mut self, now: Now) {
        let all: Vec<(u64, bool, bool)> = self
            .circuits
            .opened
            .iter()
            .map(|(number, opened)| {
                let is_silent = now.time >= opened.heard_at.after_ms(limits::CIRCUIT_SILENT_MS);
                (*number, is_silent, self.links.toward.contains_key(&opened.home))
            })
            .collect();
        for (number, is_silent, is_reachable) in all {
            if !is_reachable {
                let Some(opened) = self.circuits.opened.get(&number) else { continue };
                let refusal = opened.about.no_way(&opened.home);
                self.end_circuit(now, number, refusal);
            } else if is_silent {
                self.end_circuit_with(now, number, "nothing was heard from there");
            } else {
                self.say_to_home(number, CircuitSays::Ping);
            }
        }
        self.close_silent(now);
        self.watch_circuits(now);
    }
}
