//! Who receives from a subscription: attach, take over, detach, poll.

use super::active::{Failure, Poll, Receiver};
use super::input::Now;
use super::requests::{Outcome, QUEUE_SUBSCRIPTION, When, check_spec, no_handle, too_many_handles};
use super::session::Session;
use super::subscription::{Subscription, SubscriptionKey};
use super::{Effect, Relay};
use crate::id::{GroupName, Index, SessionId, SubscriptionName};
use crate::wire::body::{Begun, Refusal, RefusalCode, Reply, SubscriptionSpec};

impl Relay {
    pub(super) fn attach(
        &mut self,
        now: Now,
        session: SessionId,
        group: &GroupName,
        name: Option<SubscriptionName>,
        create: Option<SubscriptionSpec>,
    ) -> Outcome {
        let name = self.subscription_meant(group, name)?;
        // Before anything is made: a refusal leaves nothing behind.
        if !self.sessions.get(&session).is_some_and(Session::has_subscription_room) {
            return Err(too_many_handles());
        }
        let (key, known) = match (self.known_subscription(group, &name), create) {
            (Ok(key), _) => (key, None),
            (Err(refusal), None) => return Err(refusal),
            (Err(_), Some(spec)) => {
                check_spec(&spec)?;
                if self.groups.number(group).is_none() {
                    self.check_group_room()?;
                }
                let number = self.group_or_make(now, group);
                let key = self.make_subscription(now, number, name.clone(), &spec)?;
                (key, Some(self.when_known(number, &spec)))
            }
        };
        self.check_here(key)?;
        let key = self.served_part(key);
        let handle = self.sessions.get_mut(&session).and_then(|s| s.open_subscription(key));
        let handle = handle.ok_or_else(too_many_handles)?;
        let shared = self.groups.subscription(key).is_some_and(|s| s.shared);
        if !shared {
            let message = format!("another receiver has taken over subscription `{name}` of group `{group}`");
            self.take_over(now, key, &Refusal::new(RefusalCode::Exists, message));
        }
        let group = self.groups.get_mut(key.group).expect("a known subscription has a group");
        let at = group.find(key.number).expect("a known subscription is in its group");
        let subscription = &mut group.subscriptions[at];
        let (window, moves) = (subscription.window, place_of(key, subscription));
        let begun = Begun { boot: self.options.epoch.counter, index: group.begun };
        let active = subscription.active.get_or_insert_default();
        active.receivers.push(Receiver { session, handle, credit: 0, used: 0, poll: None });
        if !group.attached.contains(&key.number) {
            group.attached.push(key.number);
        }
        // Also one that another session has made just now.
        let created = known.is_some();
        let when = known.unwrap_or(if self.journal.is_durable() { When::Now } else { When::Durable });
        Ok((Reply::SubscriptionHandle { handle, name, created, window, moves, begun: Some(begun) }, when))
    }

    fn subscription_meant(
        &self,
        group: &GroupName,
        name: Option<SubscriptionName>,
    ) -> Result<SubscriptionName, Refusal> {
        if let Some(name) = name {
            return Ok(name);
        }
        let number = self.known_group(group)?;
        if self.groups.get(number).is_some_and(|g| g.queue) {
            return Ok(SubscriptionName::new(QUEUE_SUBSCRIPTION).expect("a constant that is a name"));
        }
        let message = format!("`{group}` is a group, not a queue: say which subscription (`--as`)");
        Err(Refusal::new(RefusalCode::Invalid, message))
    }

    /// The receivers of an exclusive subscription make way for a new one.
    fn take_over(&mut self, now: Now, key: SubscriptionKey, refusal: &Refusal) {
        let Some(subscription) = self.groups.subscription(key) else { return };
        let receivers = subscription.active.as_ref().map(|a| a.receivers.clone()).unwrap_or_default();
        for receiver in receivers {
            self.detach(now, (receiver.session, receiver.handle));
            if let Some(session) = self.sessions.get_mut(&receiver.session) {
                session.lose_handle(receiver.handle);
            }
            let notice =
                crate::wire::body::Notice::Detached { handle: receiver.handle, refusal: refusal.clone() };
            self.effects.push_back(Effect::Notice { session: receiver.session, notice });
        }
    }

    pub(super) fn detach_request(&mut self, now: Now, session: SessionId, handle: u32) -> Outcome {
        if self.detach(now, (session, handle)) {
            Ok((Reply::Done, When::Now))
        } else {
            Err(no_handle(handle))
        }
    }

    /// Ends receiving; what is not acked is delivered again. Whether there was something to end.
    pub(super) fn detach(&mut self, now: Now, (session, handle): (SessionId, u32)) -> bool {
        let key = self.sessions.get_mut(&session).and_then(|s| s.close_subscription(handle));
        let Some(key) = key else { return false };
        let Some(group) = self.groups.get_mut(key.group) else { return true };
        let Some(at) = group.find(key.number) else { return true };
        let failure = Failure {
            settings: &group.settings,
            now: now.time,
            delay_ms: Some(0),
            rejected: false,
            counted: false,
        };
        let subscription = &mut group.subscriptions[at];
        let receivers = subscription.active.iter_mut().flat_map(|active| &mut active.receivers);
        for receiver in receivers.filter(|r| (r.session, r.handle) == (session, handle)) {
            self.effects.extend(receiver.end_poll());
        }
        subscription.detach((session, handle), failure);
        let gone = subscription.active.as_ref().is_none_or(|a| a.receivers.is_empty());
        if gone {
            group.attached.retain(|n| *n != key.number);
        }
        self.enqueue(key);
        true
    }

    pub(super) fn poll(
        &mut self,
        (session, request): (SessionId, u64),
        handle: u32,
        messages: u64,
    ) -> Outcome {
        let key = self.sessions.get(&session).and_then(|s| s.subscription(handle));
        let key = key.ok_or_else(|| no_handle(handle))?;
        let end = self.groups.get(key.group).map_or(Index(1), |group| group.deliverable());
        let active = self.groups.subscription(key).and_then(|s| s.active.as_mut());
        let receiver = active
            .and_then(|a| a.receivers.iter_mut().find(|r| r.session == session && r.handle == handle))
            .ok_or_else(|| no_handle(handle))?;
        if receiver.poll.is_some() {
            let message = format!("a poll of handle {handle} is not answered yet");
            return Err(Refusal::new(RefusalCode::Invalid, message));
        }
        receiver.poll = Some(Poll { request, before: receiver.used, end });
        receiver.credit = receiver.used.saturating_add(messages);
        self.enqueue(key);
        Ok((Reply::Done, When::Later))
    }
}

/// Another number whenever indexes mean something else than before: the subscription was moved to
/// another place, or is another one under the name. Both numbers of the key are given once in the
/// life of a storage; what was brought along from elsewhere has a group of its own.
fn place_of(key: SubscriptionKey, subscription: &Subscription) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(&subscription.moves().to_le_bytes());
    hash.update(&key.group.0.to_le_bytes());
    hash.update(&key.number.0.to_le_bytes());
    hash.digest()
}
