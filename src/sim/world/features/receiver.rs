//! A receiver of one subscription, at its home: it takes what comes and says something of it, or nothing.

use super::claim::{Said, Stage, Wish};
use super::{DEAD, Storm};
use crate::id::{Index, SubscriptionName};
use crate::relay::Input;
use crate::sim::node::{Got, SESSION};
use crate::sim::world::World;
use crate::wire::body::{RefusalCode, Reply, Request};
use crate::wire::frame::{AckKind, Credit};

/// Of 100 messages so many are acked; the rest is nacked, rejected, or nothing is said of it.
const ACKS: u64 = 50;
const NACKS: u64 = 30;
const REJECTS: u64 = 8;

/// How far it is.
#[derive(Clone, Debug)]
enum Step {
    /// It has asked to be attached.
    Attaching(u64),
    /// Its handle, and the request that brought it.
    Attached(u32, u64),
}

/// One receiver.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    /// The boot of its relay: it ends with it.
    boot: u64,
    step: Step,
    /// Acked or rejected, and not confirmed.
    said: Vec<String>,
    /// The sync that is asked for, and what it is to confirm.
    sync: Option<(u64, Vec<String>)>,
    /// Messages that it has asked for.
    credit: u64,
}

impl Receiver {
    /// What it has said is about another place now.
    pub(super) fn forget_said(&mut self) {
        self.said.clear();
        self.sync = None;
    }

    fn handle(&self) -> Option<u32> {
        match self.step {
            Step::Attaching(_) => None,
            Step::Attached(handle, _) => Some(handle),
        }
    }
}

impl Storm {
    /// A receiver of a subscription does something, or one begins to receive.
    pub(super) fn receive(&mut self, world: &mut World, place: usize) -> Result<(), String> {
        let node = self.claims[place].home;
        let claim = &mut self.claims[place];
        let is_going = claim.asked.as_ref().is_some_and(|asked| matches!(asked.wish, Wish::Remove));
        if !world.nodes[node].is_up() || claim.stage != Stage::Lives || is_going {
            return Ok(());
        }
        let boot = world.nodes[node].boot();
        let Some(mut receiver) = claim.receiver.take().filter(|receiver| receiver.boot == boot) else {
            let (group, name) = (claim.group_name(), Some(claim.name.clone()));
            let request = world.nodes[node].begin(world.now, Request::Attach { group, name, create: None });
            let step = Step::Attaching(request);
            claim.receiver = Some(Receiver { boot, step, said: Vec::new(), sync: None, credit: 0 });
            world.collect(node);
            return Ok(());
        };
        let stays = match receiver.step {
            Step::Attaching(request) => self.attached(world, place, &mut receiver, request)?,
            Step::Attached(handle, request) => {
                world.nodes[node].holds(handle, request) && self.take(world, place, &mut receiver)?
            }
        };
        if stays {
            self.claims[place].receiver = Some(receiver);
        }
        world.collect(node);
        Ok(())
    }

    fn attached(
        &mut self,
        world: &mut World,
        place: usize,
        receiver: &mut Receiver,
        request: u64,
    ) -> Result<bool, String> {
        let node = self.claims[place].home;
        match world.nodes[node].take_answer(request) {
            None => Ok(true),
            Some(Ok(Reply::SubscriptionHandle { handle, created: false, .. })) => {
                receiver.step = Step::Attached(handle, request);
                self.ask_for_more(world, place, receiver);
                Ok(true)
            }
            Some(Err(refusal)) if refusal.code == RefusalCode::NotReady => Ok(false),
            other => Err(format!("{}: {other:?}", self.told(place))),
        }
    }

    /// It is ready for a few more messages, or for all.
    fn ask_for_more(&mut self, world: &mut World, place: usize, receiver: &mut Receiver) {
        let Some(handle) = receiver.handle() else { return };
        let more = if self.is_over || self.dice.chance(30) { u64::MAX } else { 1 + self.dice.below(4) };
        receiver.credit = receiver.credit.saturating_add(more);
        let credits = vec![Credit { handle, total: receiver.credit }];
        let node = self.claims[place].home;
        world.nodes[node].input(world.now, Input::Credit { session: SESSION, credits });
    }

    /// Takes what has come and says something of it; false: it receives no more.
    fn take(&mut self, world: &mut World, place: usize, receiver: &mut Receiver) -> Result<bool, String> {
        let Some(handle) = receiver.handle() else { return Ok(true) };
        let node = self.claims[place].home;
        let got = self.hear(world, place, handle)?;
        for one in got {
            self.say(world, place, receiver, &one);
        }
        if let Some((request, said)) = receiver.sync.take() {
            match world.nodes[node].take_answer(request) {
                None => receiver.sync = Some((request, said)),
                Some(Ok(_)) => self.claims[place].settle(&said),
                Some(Err(refusal)) => return Err(format!("{}: a sync, {refusal}", self.told(place))),
            }
        } else if self.is_over || self.dice.chance(self.syncs) {
            let request = world.nodes[node].begin(world.now, Request::Sync);
            receiver.sync = Some((request, std::mem::take(&mut receiver.said)));
        }
        if self.is_over || self.dice.chance(30) {
            self.ask_for_more(world, place, receiver);
        }
        let leaves = !self.is_over && self.dice.chance(8);
        if leaves {
            world.nodes[node].begin(world.now, Request::Detach { handle });
        }
        Ok(!leaves)
    }

    /// What was given since, which is judged.
    fn hear(&mut self, world: &mut World, place: usize, handle: u32) -> Result<Vec<Got>, String> {
        let node = self.claims[place].home;
        let all = std::mem::take(&mut world.nodes[node].got);
        let (mut got, rest): (Vec<Got>, Vec<Got>) = all.into_iter().partition(|got| got.handle == handle);
        world.nodes[node].got = rest;
        for one in &mut got {
            let payload = one.payload.clone();
            let what = self.judge(world, place, one);
            what.map_err(|what| format!("{}: {what}\n{}", self.told(place), world.explain(&payload)))?;
        }
        Ok(got)
    }

    fn judge(&mut self, world: &World, place: usize, one: &mut Got) -> Result<(), String> {
        let Some(message) = self.messages.get(&one.payload) else {
            return Err(format!("{} was never put", one.payload));
        };
        let node = self.claims[place].home;
        let is_dead = self.claims[place].group == DEAD;
        if is_dead {
            let (name, payload) = dead_name(one)?;
            // A message may die once more after a seek, and for several subscriptions.
            one.payload = format!("{payload} of {name} at {}", one.index);
            self.dead.entry((name, payload)).or_default().insert((place, one.payload.clone()));
        } else {
            let least = world.ages.as_ref().and_then(|ages| ages.least(node, &one.payload, one.at));
            if message.ttl_ms.is_some_and(|ttl| least.is_some_and(|least| least >= ttl)) {
                return Err(format!("it is {least:?} ms old, and its time was {:?}", message.ttl_ms));
            }
        }
        self.claims[place].receive(world.nodes[node].boot(), one, message)
    }

    fn say(&mut self, world: &mut World, place: usize, receiver: &mut Receiver, one: &Got) {
        let Some(handle) = receiver.handle() else { return };
        let (node, boot) = (self.claims[place].home, receiver.boot);
        let range = (Index(one.index), Index(one.index + 1));
        let dice = match self.claims[place].is_bad(&one.payload) {
            true => ACKS,
            false if self.is_over => 0,
            false => self.dice.below(100),
        };
        let (kind, said) = match dice {
            0..ACKS => (AckKind::Ack, Said::Acked(boot)),
            dice if dice < ACKS + REJECTS => (AckKind::Reject, Said::Rejected(boot)),
            dice if dice < ACKS + REJECTS + NACKS => {
                let delay_ms = if self.dice.chance(50) { 0 } else { 1 + self.dice.below(60) };
                let least = self.claims[place].tries.map_or(0, |(_, wait)| wait);
                let wait = if delay_ms > 0 { delay_ms } else { least };
                let kind = AckKind::Nack;
                world.nodes[node].settle_after(world.now, handle, range, (kind, delay_ms));
                self.claims[place].say(&one.payload, Said::Nacked(boot, world.now.time.after_ms(wait)));
                return;
            }
            _ => return,
        };
        world.nodes[node].settle_as(world.now, handle, range, kind);
        self.claims[place].say(&one.payload, said);
        // A dead letter waits for room, and a crash may come first.
        if kind == AckKind::Ack || world.nodes[node].has_room() {
            receiver.said.push(one.payload.clone());
        }
    }

    /// Takes what was given before something else is asked of its relay; nothing is said of it.
    pub(super) fn take_before(&mut self, world: &mut World, place: usize) -> Result<(), String> {
        let boot = world.nodes[self.claims[place].home].boot();
        let receiver = self.claims[place].receiver.as_ref().filter(|receiver| receiver.boot == boot);
        let Some(Step::Attached(handle, request)) = receiver.map(|receiver| receiver.step.clone()) else {
            return Ok(());
        };
        if world.nodes[self.claims[place].home].holds(handle, request) {
            self.hear(world, place, handle)?;
        }
        Ok(())
    }

    /// All receivers leave: what they have said nothing of is for others.
    pub(super) fn leave(&mut self, world: &mut World) -> Result<(), String> {
        for place in 0..self.claims.len() {
            self.take_before(world, place)?;
            let node = self.claims[place].home;
            let boot = world.nodes[node].boot();
            let receiver = self.claims[place].receiver.take().filter(|receiver| receiver.boot == boot);
            if let Some(Step::Attached(handle, request)) = receiver.map(|receiver| receiver.step)
                && world.nodes[node].holds(handle, request)
            {
                world.nodes[node].begin(world.now, Request::Detach { handle });
                world.collect(node);
            }
        }
        Ok(())
    }

    /// Nothing may have come for a receiver whose subscription is removed.
    pub(super) fn check_silence(&self, world: &World, place: usize) -> Result<(), String> {
        let claim = &self.claims[place];
        let node = &world.nodes[claim.home];
        let receiver = claim.receiver.as_ref().filter(|receiver| receiver.boot == node.boot());
        let handle = receiver.and_then(Receiver::handle);
        if let Some(got) = node.got.iter().find(|got| Some(got.handle) == handle) {
            return Err(format!("{}: {} came after it was removed", self.told(place), got.payload));
        }
        let is_told = handle.is_none_or(|handle| node.detached.iter().any(|(of, _)| *of == handle));
        is_told.then_some(()).ok_or_else(|| format!("{}: its receiver was not told", self.told(place)))
    }
}

/// Of which subscription a dead letter is, and of which message.
fn dead_name(one: &Got) -> Result<(SubscriptionName, String), String> {
    let of = one.headers.iter().find(|(key, _)| key == "treecast-dead-subscription");
    let name = of.and_then(|(_, name)| name.parse().ok());
    let name = name.ok_or_else(|| format!("{} is no dead letter, and stands in {DEAD}", one.payload))?;
    Ok((name, one.payload.clone()))
}
