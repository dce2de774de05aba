//! What one subscription is owed from its first request to its end, and what it was given.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::lets_through;
use super::receiver::Receiver;
use crate::id::{GroupName, SubscriptionName, Time};
use crate::sim::node::Got;
use crate::wire::body::{Start, SubscriptionSpec};

/// A message that was put.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) put: u64,
    /// The relay that took it.
    pub(super) node: usize,
    pub(super) group: &'static str,
    pub(super) subject: Option<&'static str>,
    /// For how long it is of use: its own time, or the group's.
    pub(super) ttl_ms: Option<u64>,
    pub(super) at: Time,
}

impl Message {
    /// Whether it may have expired by any reckoning.
    pub(super) fn may_have_expired(&self, now: Time) -> bool {
        self.ttl_ms.is_some_and(|ttl| self.at.after_ms(ttl) <= now)
    }
}

/// What is asked of a relay about a subscription.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Make,
    Remove,
    Seek(Start),
}

/// A request without an answer; it is made again when the relay has crashed.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    pub(super) request: u64,
    /// The boot of the relay.
    pub(super) boot: u64,
}

/// How far a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Making,
    Lives,
    Gone,
}

/// What a receiver has said of a message last, and in which boot of its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Acked(u64),
    Rejected(u64),
    /// Not to be given again before this time.
    Nacked(u64, Time),
}

/// A message that was given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) times: u32,
    pub(super) said: Said,
    /// It was acked or rejected, and that is durable: it never comes again.
    pub(super) is_settled: bool,
    /// It was done with before a seek, and has not come again since.
    was_done: bool,
    /// It was rejected: whoever gets it again does so once more.
    pub(super) is_bad: bool,
    /// Where it stood when it was given last, and in which boot.
    place: (u64, u64),
}

/// One life of a subscription.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) home: usize,
    pub(super) group: &'static str,
    pub(super) name: SubscriptionName,
    pub(super) spec: SubscriptionSpec,
    pub(super) stage: Stage,
    pub(super) asked: Option<Asked>,
    pub(super) receiver: Option<Receiver>,
    /// Relays that could be reached all the while since it was asked for.
    pub(super) heard: BTreeSet<usize>,
    /// What is put at each relay behind so many puts is for it.
    pub(super) since: BTreeMap<usize, u64>,
    /// What was there before it, and is not for it.
    pub(super) before: BTreeSet<String>,
    /// What is to be given, once more or for the first time, since it was kept when that was asked for.
    pub(super) again: BTreeSet<String>,
    /// What a seek by time passes over that has no answer yet.
    pub(super) sought: BTreeSet<String>,
    /// What a seek has passed over.
    pub(super) skipped: BTreeSet<String>,
    pub(super) given: BTreeMap<String, Given>,
    /// The last message of each relay that was given for the first time.
    last: BTreeMap<usize, u64>,
    pub(super) seeks: u64,
    /// What was done with before a seek that has no answer: a crash may have taken that back.
    pub(super) unsure: BTreeSet<String>,
    /// Deliveries that a message has at the most, and the least wait between them.
    pub(super) tries: Option<(u32, u64)>,
}

impl Claim {
    pub(super) fn new(
        home: usize,
        group: &'static str,
        name: SubscriptionName,
        spec: SubscriptionSpec,
    ) -> Self {
        Self {
            home,
            group,
            name,
            spec,
            stage: Stage::Making,
            asked: None,
            receiver: None,
            heard: BTreeSet::new(),
            since: BTreeMap::new(),
            before: BTreeSet::new(),
            again: BTreeSet::new(),
            sought: BTreeSet::new(),
            skipped: BTreeSet::new(),
            given: BTreeMap::new(),
            last: BTreeMap::new(),
            seeks: 0,
            unsure: BTreeSet::new(),
            tries: None,
        }
    }

    /// Its group, for requests.
    pub(super) fn group_name(&self) -> GroupName {
        self.group.parse().expect("names of simulated groups are names")
    }

    pub(super) fn lets_through(&self, message: &Message) -> bool {
        lets_through(self.spec.filter.as_deref(), message.subject)
    }

    /// Whether a message that was answered must be given to it, as long as it has not expired.
    pub(super) fn is_owed(&self, payload: &str, message: &Message) -> bool {
        let is_for_it = message.group == self.group && self.lets_through(message);
        is_for_it && self.is_behind(message) && !self.skipped.contains(payload)
    }

    /// Whether a message was put behind the start of the subscription, where it was put.
    pub(super) fn is_behind(&self, message: &Message) -> bool {
        self.since.get(&message.node).is_some_and(|since| message.put > *since)
    }

    /// A message was given.
    ///
    /// # Errors
    /// When it should not have been.
    pub(super) fn receive(&mut self, boot: u64, got: &Got, message: &Message) -> Result<(), String> {
        let payload = &got.payload;
        if message.group != self.group && self.group != super::DEAD {
            return Err(format!("{payload} was put into {}", message.group));
        }
        if self.group != super::DEAD && !self.lets_through(message) {
            return Err(format!("{payload} with {:?} came through {:?}", message.subject, self.spec.filter));
        }
        if self.before.contains(payload) {
            return Err(format!("{payload} was put before this subscription was asked for"));
        }
        if self.tries.is_some_and(|(most, _)| got.attempt > most) {
            return Err(format!("{payload} came for the {}th time", got.attempt));
        }
        self.again.remove(payload);
        match self.given.get_mut(payload) {
            Some(given) => given.come_again(boot, got),
            None => self.receive_first(boot, got, message),
        }
    }

    fn receive_first(&mut self, boot: u64, got: &Got, message: &Message) -> Result<(), String> {
        let place = (boot, got.index);
        let given =
            Given { times: 1, said: Said::Nothing, is_settled: false, was_done: false, is_bad: false, place };
        self.given.insert(got.payload.clone(), given);
        // Dead letters come in the order in which they died.
        if self.group != super::DEAD
            && let Some(before) = self.last.insert(message.node, message.put)
            && before > message.put
        {
            return Err(format!("{} came after put {before} of the same relay", got.payload));
        }
        Ok(())
    }

    /// A receiver says something of a message.
    pub(super) fn say(&mut self, payload: &str, said: Said) {
        if let Some(given) = self.given.get_mut(payload) {
            given.said = said;
            given.is_bad |= matches!(said, Said::Rejected(_));
        }
    }

    /// Whether a message was rejected before.
    pub(super) fn is_bad(&self, payload: &str) -> bool {
        self.given.get(payload).is_some_and(|given| given.is_bad)
    }

    /// What was said of these is durable.
    pub(super) fn settle(&mut self, payloads: &[String]) {
        for payload in payloads {
            if let Some(given) = self.given.get_mut(payload) {
                given.is_settled = true;
            }
        }
    }

    /// It goes back to the oldest that is kept: that comes once more.
    pub(super) fn goes_back(&mut self, kept: impl IntoIterator<Item = String>) {
        self.seeks += 1;
        self.before.clear();
        self.last.clear();
        for (payload, given) in &mut self.given {
            given.was_done |= matches!(given.said, Said::Acked(_) | Said::Rejected(_));
            given.was_done |= self.unsure.contains(payload);
            (given.is_settled, given.said) = (false, Said::Nothing);
            if given.was_done {
                self.unsure.insert(payload.clone());
            }
        }
        self.again = kept.into_iter().collect();
    }

    /// It goes to the end: what is here already is not for it any more.
    pub(super) fn goes_on(&mut self, here: impl IntoIterator<Item = String>) {
        self.seeks += 1;
        self.again.clear();
        self.skipped.extend(here);
    }

    /// Whether something was said of a message with which it is done.
    pub(super) fn is_done(&self, payload: &str, rejects: bool) -> bool {
        self.given.get(payload).is_some_and(|given| match given.said {
            Said::Acked(_) => true,
            Said::Rejected(_) => rejects,
            Said::Nothing | Said::Nacked(..) => given.was_done,
        })
    }
}

impl Given {
    fn come_again(&mut self, boot: u64, got: &Got) -> Result<(), String> {
        let payload = &got.payload;
        self.times += 1;
        self.was_done = false;
        if self.is_settled {
            return Err(format!("{payload} came again after {:?}, which was durable", self.said));
        }
        let place = std::mem::replace(&mut self.place, (boot, got.index));
        if place.0 == boot && place.1 != got.index {
            return Err(format!("{payload} stands at {} and at {}", place.1, got.index));
        }
        match self.said {
            Said::Acked(of) | Said::Rejected(of) if of == boot => {
                Err(format!("{payload} came again after {:?}", self.said))
            }
            Said::Nacked(of, until) if of == boot && got.at.0 < until.0 => {
                Err(format!("{payload} came again before {until:?}"))
            }
            Said::Nothing | Said::Acked(_) | Said::Rejected(_) | Said::Nacked(..) => {
                self.said = Said::Nothing;
                Ok(())
            }
        }
    }
}
