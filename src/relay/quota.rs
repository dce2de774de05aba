//! Quotas of a group that refuse puts: what they have room for, and who holds back most.
//!
//! A put is taken whole or not at all, by what this relay knows of its own backlogs, exactly; and by what
//! homes elsewhere have said of theirs ([`super::full`]).

use std::collections::BTreeSet;

use super::group::Group;
use super::input::Now;
use super::subscription::{Subscription, SubscriptionNumber};
use crate::id::{Index, RelayId, SubscriptionName, WallTime};
use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::link::Quotas;

/// Messages and bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Amount {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// When quotas are weighed. What was used up and has some room again counts as used up until a quarter
/// of it is free, or until a second has passed: a subscription that stands at its quota while messages
/// come and go would be news with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weighing {
    /// Something has come or was acked.
    OnTheWay,
    /// Once a second.
    AtRest,
}

/// Whose quotas are used up at one relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Weighed {
    /// The quotas that were gone by.
    pub(super) quotas: Quotas,
    /// Subscriptions whose own is used up.
    pub(super) subscriptions: BTreeSet<SubscriptionNumber>,
    /// That of the group is, and this one holds back most.
    pub(super) group: Option<SubscriptionNumber>,
}

impl Weighed {
    /// Whether anything is used up that was not `before`.
    pub(super) fn has_more_than(&self, before: Option<&Self>) -> bool {
        let Some(before) = before else { return self.group.is_some() || !self.subscriptions.is_empty() };
        (self.group.is_some() && before.group.is_none())
            || !self.subscriptions.is_subset(&before.subscriptions)
    }
}

impl Group {
    /// Whether the quotas have room for all of a put.
    pub(super) fn check_quota(&self, now: Now, me: &RelayId, more: Amount) -> Result<(), Refusal> {
        let quotas = Quotas::of(&self.settings);
        if quotas.is_none() {
            return Ok(());
        }
        let at_once = quotas.most_at_once();
        if let Some(most) = at_once.1.filter(|most| more.messages == 1 && more.bytes > *most) {
            // However much is acked, it would never fit.
            let (bytes, name) = (more.bytes, &self.name);
            let message =
                format!("the put brings {bytes} bytes; the whole quota of group `{name}` is {most}");
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        let owed = self.held_here().min(self.owed_elsewhere()).max(self.limit(now.wall));
        let held = Amount { messages: self.messages_from(owed), bytes: self.meter.bytes_from(owed) };
        let nothing = Amount { messages: 0, bytes: 0 };
        let is_for_ever = over(at_once, nothing, more).is_some();
        let least = Amount { messages: 1, bytes: 0 };
        if is_for_ever && over((quotas.count, quotas.bytes), held, least).is_none() {
            // There is room, and never so much.
            let message = format!(
                "the put brings {} messages of {} bytes at once, which is more than the whole quota of group `{}`: \
                 put fewer at a time",
                more.messages, more.bytes, self.name
            );
            return Err(Refusal::new(RefusalCode::Quota, message));
        }
        let refusal = over((quotas.count, quotas.bytes), held, more)
            .map(|what| format!("group `{}` {what}; {}", self.name, self.slowest(me)))
            .or_else(|| self.over_own_quota(&quotas, more))
            .or_else(|| self.full_elsewhere(&quotas));
        refusal.map_or(Ok(()), |message| Err(Refusal::new(RefusalCode::Quota, message)))
    }

    /// Names who holds back most: a subscription here, or the relay elsewhere that has confirmed least.
    fn slowest(&self, me: &RelayId) -> String {
        let slowest = self.holds_back_most();
        if slowest.is_none_or(|s| s.cursor.floor() > self.owed_elsewhere())
            && let Some((relay, lacked)) = self.least_confirmed(me)
        {
            let home = self.subscription_at(relay).map(|name| format!(", home of subscription `{name}`,"));
            let home = home.unwrap_or_default();
            return format!(
                "relay {relay}{home} has not confirmed {lacked} records, the relays' own among them"
            );
        }
        slowest.map_or_else(
            || "no subscription here holds it back: what others have put is not released yet".to_owned(),
            |s| format!("subscription `{}` holds back {} of them", s.name, self.backlog(s, self.next)),
        )
    }

    /// The subscriptions that live here: one that is on its way here is served elsewhere, and nobody could
    /// do anything about what it holds back.
    fn holders(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter().map(|s| &**s).filter(|s| !s.is_arriving())
    }

    /// What they hold back: from the lowest floor on.
    fn held_here(&self) -> Index {
        self.holders().map(|s| s.cursor.floor()).min().unwrap_or(self.next).min(self.next)
    }

    /// The subscription here that has come least far.
    fn holds_back_most(&self) -> Option<&Subscription> {
        self.holders().min_by_key(|s| s.cursor.floor())
    }

    fn over_own_quota(&self, quotas: &Quotas, more: Amount) -> Option<String> {
        if !quotas.has_own() {
            return None;
        }
        let quota = (quotas.subscription_count, quotas.subscription_bytes);
        self.holders().find_map(|s| {
            let what = over(quota, self.held_by(s), more)?;
            Some(format!("subscription `{}` of group `{}` {what}", s.name, self.name))
        })
    }

    /// What a subscription holds back.
    fn held_by(&self, subscription: &Subscription) -> Amount {
        let from = self.counted_from(subscription);
        let bytes = self.meter.bytes_from(from);
        Amount { messages: self.backlog_from(subscription, from, self.next), bytes }
    }

    /// Whose quotas are used up here: they have no room for one more message. `None`: the group has
    /// none that refuse, or nobody here could hold anything back.
    pub(super) fn weigh(
        &self,
        wall: WallTime,
        before: Option<&Weighed>,
        weighing: Weighing,
    ) -> Option<Weighed> {
        let quotas = Quotas::of(&self.settings);
        if quotas.is_none() || self.holders().next().is_none() {
            return None;
        }
        let is_on_the_way = weighing == Weighing::OnTheWay;
        let owed = self.held_here().max(self.limit(wall));
        let held = Amount { messages: self.messages_from(owed), bytes: self.meter.bytes_from(owed) };
        let was = before.and_then(|before| before.group);
        let is_full = is_used_up((quotas.count, quotas.bytes), held, is_on_the_way && was.is_some());
        // Who is blamed stays so for a while, too.
        let blamed = was.filter(|number| is_on_the_way && self.find(*number).is_some());
        let group = blamed.or_else(|| self.holds_back_most().map(|s| s.number)).filter(|_| is_full);
        let quota = (quotas.subscription_count, quotas.subscription_bytes);
        let is_full = |s: &&Subscription| {
            let was = before.is_some_and(|before| before.subscriptions.contains(&s.number));
            is_used_up(quota, self.held_by(s), is_on_the_way && was)
        };
        let all = self.holders().filter(|_| quotas.has_own());
        let subscriptions = all.filter(is_full);
        Some(Weighed { quotas, subscriptions: subscriptions.map(|s| s.number).collect(), group })
    }

    /// The names of subscriptions here.
    pub(super) fn names_of<'a>(
        &'a self,
        numbers: impl IntoIterator<Item = &'a SubscriptionNumber>,
    ) -> Vec<SubscriptionName> {
        let places = numbers.into_iter().filter_map(|number| self.find(*number));
        places.map(|place| self.subscriptions[place].name.clone()).collect()
    }
}

/// Says in what way `held` and `more` are over a quota of messages and bytes.
fn over((count, bytes): (Option<u64>, Option<u64>), held: Amount, more: Amount) -> Option<String> {
    let said = |unit: &str, held, max, more| {
        format!("holds {held} {unit} of its quota of {max}, and the put brings {more}")
    };
    let by_count = count.filter(|max| held.messages.saturating_add(more.messages) > *max);
    let by_bytes = bytes.filter(|max| held.bytes.saturating_add(more.bytes) > *max);
    by_count
        .map(|max| said("messages", held.messages, max, more.messages))
        .or_else(|| by_bytes.map(|max| said("bytes", held.bytes, max, more.bytes)))
}

/// Whether a quota of messages and bytes has no room for the least that there is, or, for one that was
/// used up and is to rest, for a quarter of itself.
fn is_used_up((count, bytes): (Option<u64>, Option<u64>), held: Amount, rests: bool) -> bool {
    let is_over = |held: u64, max: u64| {
        let room = if rests { (max / 4).max(1) } else { 1 };
        held.saturating_add(room) > max
    };
    count.is_some_and(|max| is_over(held.messages, max)) || bytes.is_some_and(|max| is_over(held.bytes, max))
}
