//! What relays say of a message, against what their disks and the subscriptions show.

use super::super::node::Truth;
use super::{World, name_of};
use crate::id::{GroupName, RelayId, Sequence};
use crate::wire::body::{
    Arrival, Fate, MessageName, Over, RelayTrace, Reply, Request, Sighting, Whereabouts,
};

/// Rounds in which an answer has to come: the time that others may take is over by then.
const ROUNDS: usize = 5_000;

impl World {
    /// The name of one message of a put that was answered.
    #[must_use]
    pub fn name_of_message(&self, put: u64, message: u64) -> Option<MessageName> {
        let (node, boot, first) = *self.placed.get(&put)?;
        Some(MessageName {
            group: GroupName::new(self.oracle.group_of(put)?).ok()?,
            origin: RelayId::new(&name_of(node)).ok()?,
            boot,
            nonce: boot,
            sequence: Sequence(first.0 + message),
        })
    }

    /// Asks a relay where a message is. What is on its way meanwhile arrives; no disk syncs.
    ///
    /// # Panics
    /// When there is no answer, or another one.
    pub fn whereabouts(&mut self, node: usize, message: MessageName, local: bool) -> Whereabouts {
        let request = Request::Where { message, local, within_ms: None };
        let request = self.nodes[node].begin(self.now, request);
        self.collect(node);
        for _ in 0..ROUNDS {
            if let Some(answer) = self.nodes[node].take_answer(request) {
                let Ok(Reply::Where(found)) = answer else { panic!("not where it is: {answer:?}") };
                return *found;
            }
            for wire in 0..self.wires.len() {
                self.arrive(wire, 0);
                self.arrive(wire, 1);
            }
            self.pass_ms(1);
        }
        panic!("{} never says where a message is", self.nodes[node].name);
    }

    /// Asks a relay for a message of some answered put, and checks every word of the answer.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check_where(&mut self, node: usize) -> Result<(), String> {
        let puts: Vec<u64> = self.placed.keys().copied().collect();
        if puts.is_empty() || !self.nodes[node].is_up() {
            return Ok(());
        }
        let put = puts[self.dice.below(puts.len() as u64) as usize];
        let payloads = self.oracle.payloads_of(put);
        let at = self.dice.below(payloads.len() as u64);
        let (Some(name), Some(payload)) = (self.name_of_message(put, at), payloads.get(at as usize)) else {
            return Ok(());
        };
        // Something may arrive while it is asked: what is said was so before or is so behind.
        let before = self.truths(payload);
        let found = self.whereabouts(node, name.clone(), false);
        let after = self.truths(payload);
        let wrong = |what: String| Err(format!("{name:?} ({payload}), asked at {}: {what}", name_of(node)));
        if found.relays.first().is_none_or(|first| first.relay != found.here) {
            return wrong("the asked relay does not say what it knows itself".to_owned());
        }
        for trace in &found.relays {
            let place = (0..self.nodes.len()).find(|place| name_of(*place) == trace.relay.as_str());
            let Some(place) = place else { return wrong(format!("there is no relay {}", trace.relay)) };
            let first = self.judge(place, payload, trace, before[place].as_ref());
            let second = self.judge(place, payload, trace, after[place].as_ref());
            if let (Err(what), Err(_)) = (first, second) {
                return wrong(format!("{what}, but it says {trace:?}"));
            }
        }
        let mut names: Vec<&RelayId> = found.relays.iter().map(|trace| &trace.relay).collect();
        names.extend(found.silent.iter().map(|silent| &silent.relay));
        let all = names.len();
        names.sort();
        names.dedup();
        if names.len() < all { wrong(format!("a relay is named twice: {names:?}")) } else { Ok(()) }
    }

    fn truths(&self, payload: &str) -> Vec<Option<Truth>> {
        self.nodes.iter().map(|node| node.truth(payload)).collect()
    }

    fn judge(
        &self,
        place: usize,
        payload: &str,
        trace: &RelayTrace,
        truth: Option<&Truth>,
    ) -> Result<(), String> {
        let Some(truth) = truth else {
            let is_right = matches!(
                trace.sighting,
                Sighting::NoGroup | Sighting::NoStream | Sighting::NotYet { .. } | Sighting::Past
            );
            return if is_right { Ok(()) } else { Err("it has never had it".to_owned()) };
        };
        let is_right = match trace.sighting {
            Sighting::Held { index } => truth.is_held && truth.is_durable && index == truth.index,
            Sighting::Unsynced => !truth.is_durable,
            Sighting::Released => !truth.is_held,
            Sighting::NoGroup
            | Sighting::Removed
            | Sighting::NoStream
            | Sighting::NotYet { .. }
            | Sighting::Past
            | Sighting::Damaged
            | Sighting::Unfound
            | Sighting::OwnRecord => false,
        };
        if !is_right {
            return Err(format!("{truth:?}"));
        }
        let over = truth.from.clone().map_or(Over::Here, Over::Link);
        let is_so = |said: &Arrival| {
            let is_exact = said.from == said.to || !matches!(trace.sighting, Sighting::Held { .. });
            said.over == over && is_exact && said.from <= truth.arrived && truth.arrived <= said.to
        };
        if !trace.arrived.as_ref().is_some_and(is_so) {
            return Err(format!("it came at {} {over:?}", truth.arrived));
        }
        self.judge_fates(place, payload, trace, truth)
    }

    /// What a subscription has taken is acked, and nothing else is: all of them were there before
    /// every put, and let everything through.
    fn judge_fates(
        &self,
        place: usize,
        payload: &str,
        trace: &RelayTrace,
        truth: &Truth,
    ) -> Result<(), String> {
        for (number, (node, group, name)) in self.subscriptions.iter().enumerate() {
            let of = Some(group.as_str()) == self.oracle.group_of_payload(payload);
            if *node != place || !of {
                continue;
            }
            let Some(said) = trace.subscriptions.iter().find(|said| said.name == *name) else {
                return Err(format!("subscription {name} is there"));
            };
            let known = &self.known[number];
            // What a receiver has acked at another relay may not have come to this one.
            let open = |is_done: &dyn Fn(&str) -> bool| {
                truth.before.iter().filter(|before| !is_done(before)).count() as u64
            };
            let most = open(&|before| known.is_settled(before));
            let ahead = open(&|before| known.is_acked(before))..=most;
            let (is_acked, is_open) = (known.is_acked(payload), !known.is_settled(payload));
            // Who was forgotten and came back begins anew: what it lacked then it is not given.
            let begins_anew = self.oracle.was_forgotten(&name_of(place));
            let is_right = match said.fate {
                Fate::Acked => is_acked,
                Fate::Pending { ahead: said } => {
                    is_open && (ahead.contains(&said) || begins_anew && said < most)
                }
                // Somebody receives it, or has.
                Fate::InFlight | Fate::Again { .. } => is_open && known.had_receivers,
                Fate::BeforeStart | Fate::Dropped(_) => is_open && begins_anew,
                Fate::Done
                | Fate::Filtered
                | Fate::Repeat
                | Fate::Expired
                | Fate::DeadLettered { .. }
                | Fate::Skipped
                | Fate::Unknown => false,
            };
            if !is_right {
                return Err(format!(
                    "{name} has taken {} messages, {ahead:?} open before it",
                    known.taken.len()
                ));
            }
        }
        Ok(())
    }
}

impl World {
    /// What is said over a link from now on, in either direction, never arrives, and its ends do
    /// not notice.
    pub fn deafen(&mut self, wire: usize) {
        self.wires[wire].is_deaf = true;
    }
}
