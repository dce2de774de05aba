//! What the relay tells of itself: groups, subscriptions, health, and the accounts.

use super::Relay;
use super::group::{Group, GroupBooks};
use super::input::Now;
use super::names::Named;
use super::pages::{page, subscription_bytes};
use super::subscription::{Removal, Subscription, SubscriptionKey};
use crate::id::{GroupName, GroupNumber, RelayId, SubscriptionName};
use crate::limits;
use crate::log::Space;
use crate::wire::body::{
    Books, FullQuota, GroupInfo, OrderInfo, Outcomes, Refusal, Status, StreamInfo, SubscriptionInfo,
};
use crate::wire::link::Quotas;

/// Subscriptions in one answer at the most.
const LIST_MAX: u32 = 1000;

/// Accounts of subscriptions that are gone, so that the books still balance.
#[derive(Clone, Debug, Default)]
pub(super) struct Retired {
    inserted: u64,
    out: Outcomes,
}

/// What a status says when there is no room. Which it is, and how much there is to be, the shell knows.
pub const NO_ROOM: &str =
    "the disk is full, or the relay may open no more files: puts are refused, gets and acks go on";

impl Retired {
    /// A subscription is removed, with what it still held.
    pub(super) fn add(&mut self, group: &Group, subscription: &Subscription, removal: Removal) {
        let end = group.deliverable();
        self.inserted += subscription.inserted(end);
        add(&mut self.out, &subscription.accounts());
        let held = subscription.held(end);
        match removal {
            Removal::Wanted | Removal::Elsewhere => self.out.skipped += held,
            Removal::Evicted => self.out.evicted += held,
            Removal::Moved => {
                // The relays' own records do not go along.
                let messages = group.backlog(subscription, end);
                self.out.moved += messages;
                self.out.passed += held.saturating_sub(messages);
            }
        }
    }
}

pub(super) fn add(sum: &mut Outcomes, more: &Outcomes) {
    sum.acked += more.acked;
    sum.filtered += more.filtered;
    sum.expired += more.expired;
    sum.evicted += more.evicted;
    sum.dead_lettered += more.dead_lettered;
    sum.skipped += more.skipped;
    sum.lost += more.lost;
    sum.passed += more.passed;
    sum.moved += more.moved;
}

impl Relay {
    /// # Panics
    /// When there is no such group: the caller has found it.
    pub(super) fn group_info(&self, number: GroupNumber) -> GroupInfo {
        let group = self.groups.get(number).expect("the caller has found the group");
        GroupInfo {
            name: group.name.clone(),
            queue: group.queue || group.home_elsewhere().is_some(),
            settings: (*group.settings).clone(),
            low: group.low,
            next: group.next,
            messages: group.messages_from(group.low),
            bytes: group.meter.bytes_from(group.low),
            subscriptions: group.subscriptions.len() as u64,
            streams: group
                .streams
                .iter()
                .map(|s| StreamInfo {
                    number: s.number,
                    origin: s.origin.clone(),
                    epoch: s.epoch,
                    last: s.last,
                    sealed: s.sealed,
                })
                .collect(),
            order: group
                .order
                .as_ref()
                .map(|order| OrderInfo { held: order.held(), given_up: order.given_up() }),
            elsewhere: self.lives_elsewhere(group),
            moves: group.queue_moves(),
            full: Vec::new(),
        }
    }

    /// The same of one that is asked for by its name, with the quotas that are used up elsewhere.
    ///
    /// # Panics
    /// When there is no such group: the caller has found it.
    pub(super) fn whole_group_info(&self, number: GroupNumber) -> GroupInfo {
        let group = self.groups.get(number).expect("the caller has found the group");
        let blamed = group.blamed_elsewhere(Quotas::of(&group.settings)).take(limits::FULL_NAMES_MAX);
        let full = blamed.map(|blame| FullQuota {
            home: blame.home.clone(),
            subscription: blame.subscription.clone(),
            is_of_group: blame.is_of_group,
        });
        GroupInfo { full: full.collect(), ..self.group_info(number) }
    }

    /// How many subscriptions of a group live at other relays, as far as is known here.
    fn lives_elsewhere(&self, group: &Group) -> u64 {
        let Some(names) = group.spread.as_deref().map(|spread| &spread.names) else { return 0 };
        if group.home_elsewhere().is_some() {
            return 1;
        }
        let me = &self.options.relay;
        let is_there = |((_, home), named): &(&(_, RelayId), &Named)| home != me && named.spec.is_some();
        names.subscriptions.iter().filter(is_there).count() as u64
    }

    pub(super) fn subscription_infos(
        &self,
        number: GroupNumber,
        after: Option<&SubscriptionName>,
        limit: u32,
    ) -> Vec<SubscriptionInfo> {
        let Some(group) = self.groups.get(number) else { return Vec::new() };
        let mut found: Vec<&Subscription> =
            group.subscriptions.iter().map(|s| &**s).filter(|s| after.is_none_or(|a| s.name > *a)).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.truncate(limit.min(LIST_MAX) as usize);
        page(found.into_iter().map(|s| self.info(group, s)), subscription_bytes)
    }

    pub(super) fn subscription_info(&self, key: SubscriptionKey) -> Option<SubscriptionInfo> {
        let group = self.groups.get(key.group)?;
        let place = group.find(key.number)?;
        Some(self.info(group, &group.subscriptions[place]))
    }

    fn info(&self, group: &Group, subscription: &Subscription) -> SubscriptionInfo {
        let key = SubscriptionKey { group: group.number, number: subscription.number };
        // Who receives gets what was brought along first.
        let part = self.readable(key).first().and_then(|part| self.groups.get(*part)?.subscriptions.first());
        let served = part.map_or(subscription, |part| part);
        let active = served.active.as_ref();
        let (mut inserted, mut out) = (subscription.inserted(group.deliverable()), subscription.accounts());
        for part in self.remnants_of(key).iter().filter_map(|part| self.groups.get(*part)) {
            for brought in &part.subscriptions {
                inserted += brought.inserted(part.deliverable());
                add(&mut out, &brought.accounts());
            }
        }
        SubscriptionInfo {
            group: group.name.clone(),
            name: subscription.name.clone(),
            home: self.options.relay.clone(),
            shared: subscription.shared,
            filter: subscription.filter.as_ref().map(|f| f.as_str().to_owned()),
            floor: subscription.cursor.floor(),
            next: subscription.next,
            backlog: group.backlog(subscription, group.deliverable()) + self.backlog_in_remnants(key),
            in_flight: served.in_flight(),
            parked: active.map_or(0, |a| a.parked()),
            receivers: active.map_or(0, |a| a.receivers.len() as u32),
            window: subscription.window,
            inserted,
            out,
            aside: active.map_or(0, |a| a.aside.count()),
            moving: self.move_info(group, subscription),
            comes_from: subscription.comes_from().cloned(),
            also_at: self.also_at(group, subscription),
        }
    }

    /// The health, as far as the core knows it; the shell fills in memory, time and space.
    pub(super) fn status(&self, now: Now) -> Status {
        let mut warnings = self.kept_warnings();
        warnings.extend(self.cut_warnings(now));
        warnings.extend(self.forgotten_warnings(now));
        warnings.extend(self.move_warnings());
        warnings.extend(self.twin_warnings());
        warnings.extend(self.lost_warnings(now));
        let accepting = if self.stopping {
            Err("the relay is stopping".to_owned())
        } else if self.draining {
            Err(self.draining_refusal().message)
        } else if !self.links.has_table {
            Err(self.no_table().message)
        } else if self.room {
            Ok(())
        } else {
            Err(NO_ROOM.to_owned())
        };
        warnings.extend(self.network_warnings());
        Status {
            relay: self.options.relay.clone(),
            version: self.options.version.clone(),
            storage: self.options.epoch.storage,
            boot: self.options.epoch.counter,
            uptime_ms: now.time.0 / 1_000_000,
            accepting,
            warnings,
            groups: self.groups.len() as u64,
            subscriptions: self.names.len() as u64,
            sessions: self.sessions.len() as u64,
            space: Space::default(),
            resident_bytes: 0,
            cpu_us: 0,
            network: self.network_status(),
        }
    }

    pub(super) fn books_of(&self, group: Option<GroupName>) -> Result<Books, Refusal> {
        let mut books = Books::default();
        match group {
            Some(name) => {
                let number = self.known_group(&name)?;
                if let Some(group) = self.groups.get(number) {
                    add_group(&mut books, group);
                    let is_part = |part: &&Group| part.remnant.as_ref().is_some_and(|r| r.group == number);
                    self.groups.iter().filter(is_part).for_each(|part| add_group(&mut books, part));
                    let carried = group.spread.as_deref().map(|spread| &spread.carried[..]);
                    books.links = self.link_books(carried.unwrap_or_default());
                }
            }
            None => {
                add_puts(&mut books, &self.books);
                books.inserted += self.retired.inserted;
                add(&mut books.out, &self.retired.out);
                self.groups.iter().for_each(|group| add_group(&mut books, group));
                let carried: Vec<_> = self.links.table.iter().map(|(id, link)| (*id, link.counts)).collect();
                books.links = self.link_books(&carried);
            }
        }
        let refused: u64 = books.refused.iter().map(|(_, n)| n).sum();
        books.balanced = books.put == books.accepted + books.repeats + books.unsynced + refused
            && books.inserted == books.held + books.out.total()
            && books.links.iter().all(|link| link.counts.is_balanced());
        Ok(books)
    }
}

fn add_puts(books: &mut Books, more: &GroupBooks) {
    books.put += more.put;
    books.accepted += more.accepted;
    books.repeats += more.repeats;
    books.unsynced += more.unsynced;
    for (code, count) in &more.refused {
        match books.refused.iter_mut().find(|(c, _)| c == code) {
            Some((_, n)) => *n += count,
            None => books.refused.push((*code, *count)),
        }
    }
}

fn add_group(books: &mut Books, group: &Group) {
    if let Some(traffic) = &group.traffic {
        add_puts(books, &traffic.books);
    }
    for subscription in &group.subscriptions {
        let end = group.deliverable();
        books.inserted += subscription.inserted(end);
        books.held += subscription.held(end);
        books.held_own += subscription.held(end) - group.backlog(subscription, end);
        add(&mut books.out, &subscription.accounts());
    }
}
