//! Where a subscription or queue that somebody names here lives (R12).
//!
//! A name has one home in the whole network. What names one that lives elsewhere is asked there
//! ([`super::circuit`]); nothing is made here while a home is known, nor, without being asked for,
//! before a neighbour has told what it knows. Relays that could not reach one another may have
//! made the same name twice: here the own one counts, elsewhere the one with the least version and
//! name of its home, until they are one ([`super::merging`]).

use std::ops::Bound;

use super::Relay;
use super::circuit::About;
use super::group::Group;
use super::input::Now;
use super::pages::{location_bytes, page};
use super::queues::home_forgotten;
use super::requests::{Outcome, QUEUE_SUBSCRIPTION, no_subscription, one_for_all};
use super::served::is_circuit;
use super::subscription::Subscription;
use crate::id::{GroupName, GroupNumber, RelayId, SessionId, SubscriptionName};
use crate::wire::body::{Location, Refusal, RefusalCode, Request, SubscribeLevel, SubscriptionSpec};

/// Locations in one answer at the most, as far as they fit into a frame.
const LOCATIONS_MAX: usize = 1000;

/// Where a name lives.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Home {
    /// Here.
    Here,
    /// At another relay.
    At(RelayId),
    /// Nowhere, as far as is known.
    Nowhere,
}

/// What a request is about: a subscription, or a queue if none is named.
fn subject_of(body: &Request) -> Option<(&GroupName, Option<&SubscriptionName>)> {
    if let Request::Attach { group, name, .. } = body {
        return Some((group, name.as_ref()));
    }
    let (Request::SubscriptionCreate { group, name, .. }
    | Request::SubscriptionShow { group, name }
    | Request::SubscriptionSeek { group, name, .. }
    | Request::SubscriptionMove { group, name, .. }
    | Request::SubscriptionRemove { group, name }) = body
    else {
        return None;
    };
    Some((group, Some(name)))
}

impl Relay {
    /// Asks another relay what is to be asked there. `None`: this is the relay to ask.
    pub(super) fn ask_elsewhere(
        &mut self,
        now: Now,
        (session, request): (SessionId, u64),
        body: &Request,
    ) -> Option<Outcome> {
        if let Some(outcome) = self.ask_receivers_home((session, request), body) {
            return Some(outcome);
        }
        let (group, name) = subject_of(body)?;
        let home = match self.home_of(group, name) {
            Home::Here => return None,
            Home::Nowhere => return self.check_heard(body).err().map(Err),
            Home::At(home) => home,
        };
        let what = match name {
            Some(name) if !self.is_queue_elsewhere(group) => {
                format!("subscription `{name}` of group `{group}`")
            }
            Some(_) | None => format!("queue `{group}`"),
        };
        if is_circuit(session) {
            // Two relays that take each other for the home would send it round for ever.
            let message = format!("{what} lives at relay {home}, not at {}: try again", self.options.relay);
            return Some(Err(Refusal::new(RefusalCode::NotReady, message)));
        }
        if self.orphans().is_gone(&home) && self.is_queue_elsewhere(group) {
            // Nobody comes back there: whoever waited would wait for ever.
            return Some(Err(home_forgotten(group, &home)));
        }
        if let Err(refusal) = self.check_led(group, body) {
            return Some(Err(refusal));
        }
        let mut body = body.clone();
        if let Request::Attach { create, .. } = &mut body {
            // It is there. Should it be gone, nothing is made in its place.
            *create = None;
        }
        let about = (home, About::Name { group: group.clone(), what });
        let outcome = self.open_circuit(now, (session, request), about, body);
        Some(outcome)
    }

    /// What is refused here and not led to its home: a receiver, while this relay is emptied, and one that
    /// names a subscription of a queue. The home would say no more of that than that there is none, as of a
    /// subscription that has just left.
    fn check_led(&self, group: &GroupName, body: &Request) -> Result<(), Refusal> {
        let Request::Attach { name, create, .. } = body else { return Ok(()) };
        self.check_taking(body)?;
        let named = name.as_ref().filter(|name| name.as_str() != QUEUE_SUBSCRIPTION);
        let Some(named) = named.filter(|_| self.is_queue_elsewhere(group)) else { return Ok(()) };
        Err(if create.is_some() { one_for_all(group) } else { no_subscription(group, named) })
    }

    /// Whether a group is a queue whose home is another relay.
    pub(super) fn is_queue_elsewhere(&self, group: &GroupName) -> bool {
        let group = self.groups.number(group).and_then(|number| self.groups.get(number));
        group.is_some_and(|group| group.home_elsewhere().is_some())
    }

    fn home_of(&self, group: &GroupName, name: Option<&SubscriptionName>) -> Home {
        let Some(number) = self.groups.number(group) else { return Home::Nowhere };
        let Some(group) = self.groups.get(number) else { return Home::Nowhere };
        if group.queue || name.is_some_and(|name| self.names.contains_key(&(number, name.clone()))) {
            return self.closed_into(number, name).map_or(Home::Here, Home::At);
        }
        if let Some(home) = group.home_elsewhere().filter(|home| **home != self.options.relay) {
            return Home::At(home.clone());
        }
        let known = group.spread.as_deref().map(|spread| &spread.names.subscriptions);
        let homes = known.into_iter().flatten().filter(|((known, home), named)| {
            Some(known) == name && *home != self.options.relay && named.spec.is_some()
        });
        let least = homes.min_by_key(|((_, home), named)| (named.version, home));
        least.map_or(Home::Nowhere, |((_, home), _)| Home::At(home.clone()))
    }

    /// Before a neighbour has told what it knows, nothing is made by the way and nothing is said
    /// not to exist.
    fn check_heard(&self, body: &Request) -> Result<(), Refusal> {
        if self.links.has_heard() {
            return Ok(());
        }
        let Request::Attach { group, create, .. } = body else { return Ok(()) };
        let is_local = |spec: &SubscriptionSpec| spec.level == SubscribeLevel::Local;
        if create.as_ref().is_some_and(is_local) {
            return Ok(());
        }
        let message = format!(
            "this relay has not heard from its neighbours since it was started, and does not know whether what \
             you ask for of `{group}` lives elsewhere: try again, or make it here with \
             `subscription create --level local`"
        );
        Err(Refusal::new(RefusalCode::NotReady, message))
    }

    /// Where the queue or subscriptions live of a group, or of all whose name begins so: a page of it, behind
    /// one of them, in order of groups, subscriptions and homes.
    pub(super) fn locate(
        &self,
        name: &str,
        is_prefix: bool,
        after: Option<&Location>,
    ) -> Result<Vec<Location>, Refusal> {
        let mut locations = Vec::new();
        if !is_prefix {
            let name = GroupName::new(name)
                .map_err(|fault| Refusal::new(RefusalCode::Invalid, format!("name of the group {fault}")))?;
            let number = self.known_group(&name)?;
            self.locate_in(number, after, &mut locations);
        } else {
            // The group of the last one that was told may have more of them.
            let from = after.map_or(Bound::Unbounded, |last| Bound::Included(&last.group));
            for number in self.groups.beginning_with(name, from) {
                self.locate_in(number, after, &mut locations);
                if locations.len() >= LOCATIONS_MAX {
                    break;
                }
            }
        }
        locations.truncate(LOCATIONS_MAX);
        Ok(page(locations.into_iter(), location_bytes))
    }

    fn locate_in(&self, number: GroupNumber, after: Option<&Location>, locations: &mut Vec<Location>) {
        let Some(group) = self.groups.get(number) else { return };
        let mut found = Vec::new();
        self.locations_of(group, &mut found);
        let key = |at: &Location| (at.group.clone(), at.subscription.clone(), at.home.clone());
        locations.extend(found.into_iter().filter(|at| after.is_none_or(|last| key(at) > key(last))));
    }

    /// The home of a queue; none of a group.
    pub(super) fn queue_home<'r>(&'r self, group: &'r Group) -> Option<&'r RelayId> {
        if group.queue {
            return Some(&self.options.relay);
        }
        group.spread.as_deref()?.names.queue_home()
    }

    fn locations_of(&self, group: &Group, locations: &mut Vec<Location>) {
        let me = &self.options.relay;
        let elsewhere = group.spread.as_deref().map(|spread| &spread.names);
        let at = |subscription: Option<&SubscriptionName>, home: &RelayId, (shared, filter)| Location {
            group: group.name.clone(),
            subscription: subscription.cloned(),
            home: home.clone(),
            forgotten: self.orphans().is_gone(home),
            shared: Some(shared),
            filter,
        };
        if let Some(home) = self.queue_home(group) {
            return locations.push(at(None, home, (true, None)));
        }
        let here = group.subscriptions.iter().filter(|s| !s.is_arriving());
        let filter = |s: &Subscription| s.filter.as_ref().map(|filter| filter.as_str().to_owned());
        let mut found: Vec<Location> = here.map(|s| at(Some(&s.name), me, (s.shared, filter(s)))).collect();
        for ((name, home), named) in elsewhere.iter().flat_map(|names| &names.subscriptions) {
            if let Some(spec) = named.spec.as_ref().filter(|_| home != me) {
                found.push(at(Some(name), home, (spec.shared, spec.filter.clone())));
            }
        }
        found.sort();
        locations.append(&mut found);
    }
}
