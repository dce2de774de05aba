//! Receivers that move from relay to relay (R12), and what they are owed.
//!
//! A receiver attaches at some relay to a subscription that may live at another one, takes what
//! comes, acks it, has a sync confirm that now and then, and leaves or is taken over. Whatever
//! breaks in between: what a sync has confirmed never comes again, to nobody; everything else may.

use std::collections::BTreeSet;

use super::{World, name_of};
use crate::id::Index;
use crate::relay::Input;
use crate::sim::node::{Got, SESSION};
use crate::wire::body::{Refusal, RefusalCode, Reply, Request};
use crate::wire::frame::Credit;

/// What is known of the messages of one subscription, whoever received them.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Received by somebody, in the order in which each was received first.
    pub(super) taken: Vec<String>,
    seen: BTreeSet<String>,
    /// Acked by somebody.
    acked: BTreeSet<String>,
    /// Acked, and that is durable.
    settled: BTreeSet<String>,
    /// Whether somebody has asked to receive it, but for those who take all there is.
    pub(super) had_receivers: bool,
    /// Its home has lost its disk: what was acked there may come again.
    pub(super) lost_acks: bool,
}

impl Known {
    /// Somebody has received messages that were on their way when the home had given it up already.
    pub(super) fn receive_late(&mut self, got: &[String]) {
        for payload in got {
            if self.seen.insert(payload.clone()) {
                self.taken.push(payload.clone());
            }
        }
    }

    /// Somebody has received messages.
    ///
    /// # Errors
    /// When one of them was done with for ever.
    pub(super) fn receive(&mut self, got: &[String]) -> Result<(), String> {
        for payload in got {
            if self.settled.contains(payload) && !self.lost_acks {
                return Err(format!("{payload} came again after its ack was confirmed to be durable"));
            }
        }
        self.receive_late(got);
        Ok(())
    }

    /// Somebody has acked one.
    fn ack(&mut self, payload: &str) {
        self.acked.insert(payload.to_owned());
    }

    /// The acks of these are durable.
    pub(super) fn settle(&mut self, acked: impl IntoIterator<Item = String>) {
        for payload in acked {
            self.ack(&payload);
            self.settled.insert(payload);
        }
    }

    pub(super) fn is_acked(&self, payload: &str) -> bool {
        self.acked.contains(payload)
    }

    pub(super) fn is_settled(&self, payload: &str) -> bool {
        self.settled.contains(payload)
    }
}

/// What a receiver is about.
#[derive(Clone, Debug)]
enum Step {
    /// It has asked to be attached.
    Attaching(u64),
    /// It receives: its handle, and the request that brought it.
    Attached(u32, u64),
}

/// One receiver somewhere.
#[derive(Clone, Debug)]
pub(super) struct Roamer {
    node: usize,
    /// The boot of its relay: it ends with it.
    boot: u64,
    step: Step,
    /// Acked, and not confirmed.
    acked: Vec<String>,
    /// The sync that is asked for, and what it is to confirm.
    sync: Option<(u64, Vec<String>)>,
    /// How many messages it has asked for, if it does not take as many as come.
    credit: u64,
    /// Another receiver has taken over, and it may not have heard of it.
    pub(super) is_taken_over: bool,
}

impl World {
    /// A receiver of a subscription does something, or one begins to receive.
    pub(super) fn roam(&mut self, place: usize) {
        if self.subscriptions[place].2.as_str() == "queue" {
            // Receivers of a queue compete: who takes all there is would not have it to himself.
            return;
        }
        let Some(mut roamer) = self.roamers[place].take() else { return self.arrive_somewhere(place) };
        let node = roamer.node;
        if !self.nodes[node].is_up() || self.nodes[node].boot() != roamer.boot {
            return;
        }
        let stays = match roamer.step {
            Step::Attaching(request) => self.attached(place, &mut roamer, request),
            // A handle that was given to somebody else was taken from this one before.
            Step::Attached(handle, request) => {
                self.nodes[node].holds(handle, request) && self.receive(place, &mut roamer, handle)
            }
        };
        if stays {
            self.roamers[place] = Some(roamer);
        }
    }

    fn arrive_somewhere(&mut self, place: usize) {
        let node = self.roaming.below(self.nodes.len() as u64) as usize;
        if !self.nodes[node].is_up() {
            return;
        }
        let (_, group, name) = self.subscriptions[place].clone();
        let attach = Request::Attach { group, name: Some(name), create: None };
        let request = self.nodes[node].begin(self.now, attach);
        let boot = self.nodes[node].boot();
        self.collect(node);
        self.known[place].had_receivers = true;
        let step = Step::Attaching(request);
        self.roamers[place] =
            Some(Roamer { node, boot, step, acked: Vec::new(), sync: None, credit: 0, is_taken_over: false });
    }

    fn attached(&mut self, place: usize, roamer: &mut Roamer, request: u64) -> bool {
        match self.nodes[roamer.node].take_answer(request) {
            None => true,
            Some(Ok(Reply::SubscriptionHandle { handle, created, .. })) => {
                assert!(!created, "a twin was made");
                roamer.step = Step::Attached(handle, request);
                self.ask_for_more(roamer, handle);
                self.collect(roamer.node);
                true
            }
            // Its home is away, or another receiver came before it had an answer.
            Some(Err(Refusal { code: RefusalCode::NotReady | RefusalCode::Exists, .. })) => false,
            Some(Err(refusal)) if refusal.code == RefusalCode::NotFound => {
                let home = name_of(self.subscriptions[place].0);
                assert!(self.oracle.was_forgotten(&home), "{refusal:?}");
                false
            }
            Some(other) => panic!("{other:?}"),
        }
    }

    /// A receiver is ready for messages: for all, or for a few more.
    fn ask_for_more(&mut self, roamer: &mut Roamer, handle: u32) {
        let more = if self.thrifty { 1 + self.roaming.below(4) } else { u64::MAX };
        roamer.credit = roamer.credit.saturating_add(more);
        let credits = vec![Credit { handle, total: roamer.credit }];
        self.nodes[roamer.node].input(self.now, Input::Credit { session: SESSION, credits });
    }

    /// Takes what has come and says something of it; false: it receives no more.
    fn receive(&mut self, place: usize, roamer: &mut Roamer, handle: u32) -> bool {
        let node = roamer.node;
        let (got, rest): (Vec<Got>, Vec<Got>) =
            self.nodes[node].got.drain(..).partition(|got| got.handle == handle);
        self.nodes[node].got = rest;
        let payloads: Vec<String> = got.iter().map(|got| got.payload.clone()).collect();
        if roamer.is_taken_over {
            self.known[place].receive_late(&payloads);
        } else if let Err(wrong) = self.known[place].receive(&payloads) {
            self.wrong.get_or_insert(format!("{}, {wrong}", self.nodes[node].name));
        }
        if self.nodes[node].detached.iter().any(|(of, _)| *of == handle) {
            return false;
        }
        for one in got {
            if self.roaming.chance(90) {
                self.nodes[node].ack(self.now, handle, (Index(one.index), Index(one.index + 1)));
                self.known[place].ack(&one.payload);
                roamer.acked.push(one.payload);
            }
        }
        self.collect(node);
        // Its answer comes behind whatever was told before it.
        if let Some((request, acked)) = roamer.sync.take() {
            match self.nodes[node].take_answer(request) {
                None => roamer.sync = Some((request, acked)),
                Some(Ok(_)) => self.known[place].settle(acked),
                Some(Err(refusal)) => assert_eq!(refusal.code, RefusalCode::NotReady, "{refusal:?}"),
            }
        } else if self.roaming.chance(40) {
            let request = self.nodes[node].begin(self.now, Request::Sync);
            roamer.sync = Some((request, std::mem::take(&mut roamer.acked)));
        }
        if self.thrifty && self.roaming.chance(30) {
            self.ask_for_more(roamer, handle);
        }
        let leaves = self.roaming.chance(10);
        if leaves {
            self.nodes[node].begin(self.now, Request::Detach { handle });
        }
        self.collect(node);
        !leaves
    }
}
