//! Circuits: a session that is carried from the relay at which the application is to the relay at
//! which its subscription lives, over the links between.
//!
//! The opener is where the application is connected, the home where the subscription or queue
//! lives. Relays between the two pass on what is not for them, and keep nothing of it. Each end
//! counts what it says, from 0: whoever hears a number that is not the next one ends the circuit.

use serde::{Deserialize, Serialize};

use super::body::{Answer, Notice, Refusal, Request};
use super::frame::{Ack, Credit};
use crate::id::RelayId;

/// Names a circuit in the whole network, for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CircuitId {
    /// The relay that has opened it: the application is there.
    pub opener: RelayId,
    /// Drawn by that relay at its start: what is said to a run of it that is over is told apart.
    pub boot: u64,
    /// Its number there.
    pub number: u64,
}

/// What stands before everything that is said over a circuit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitHead {
    /// The circuit.
    pub circuit: CircuitId,
    /// The relay at its other end: the subscription lives there.
    pub home: RelayId,
    /// Whether it is on its way from the home to the opener.
    pub is_back: bool,
    /// 0, 1, 2, … in each direction. A hole ends the circuit.
    pub sequence: u64,
    /// Links that it may still take: while relays see different maps it could go round for ever.
    pub hops: u16,
}

impl CircuitHead {
    /// The relay that it is for.
    #[must_use]
    pub fn to(&self) -> &RelayId {
        if self.is_back { &self.circuit.opener } else { &self.home }
    }
}

/// One thing that is said over a circuit, deliveries excepted: they have a frame of their own
/// ([`crate::wire::frame::LinkDeliverHead`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitFrame {
    /// Which circuit, and where it is on its way.
    pub head: CircuitHead,
    /// What is said.
    pub says: CircuitSays,
}

/// What is said over a circuit. All but the last three go to the home or come from it only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CircuitSays {
    /// To the home: a question. The first one, with sequence 0, opens the circuit.
    Request {
        /// Its number on this circuit; comes back with the answer.
        request: u64,
        /// What is asked: of a subscription, or that the relay is to be emptied, nothing else.
        body: Box<Request>,
    },
    /// To the home: statements about deliveries, by the home's handle.
    Acks(Vec<Ack>),
    /// To the home: how many messages may be delivered in all, by the home's handle.
    Credit(Credit),
    /// To the home: bytes of deliveries that the opener has handed to the application's socket,
    /// in all.
    Written(u64),
    /// To the opener.
    Answer {
        /// The question's number.
        request: u64,
        /// The answer.
        answer: Box<Answer>,
    },
    /// To the opener: something said unasked, with the home's handle and numbers.
    Notice(Box<Notice>),
    /// Are you there, and has everything come? Said by the opener.
    Ping,
    /// I am, and it has. Said by the home.
    Pong,
    /// The circuit is over; nothing comes after it.
    End(Option<Refusal>),
}
