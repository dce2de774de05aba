//! Queues: groups with one home and one backlog, and where that is.
//!
//! The entry of a queue's group names its home, and whoever sets its settings says that entry again.
//! So it may name a home that the queue has left ([`super::moving`]): then the names of backlogs tell.

use super::Relay;
use super::group::Group;
use super::names::{Named, Names};
use super::requests::QUEUE_SUBSCRIPTION;
use super::state::Operation;
use super::subscription::Subscription;
use crate::id::{GroupName, GroupNumber, RelayId, SubscriptionName};
use crate::log::{Entry, Urgency};
use crate::wire::body::{QueueMoves, Refusal, RefusalCode};

/// Whether it is what the backlog of a queue is called.
fn is_of_queue(name: &SubscriptionName) -> bool {
    name.as_str() == QUEUE_SUBSCRIPTION
}

impl Names {
    /// What was said of the backlog of a queue at this relay.
    pub(super) fn backlog_at(&self, home: &RelayId) -> Option<&Named> {
        let said = self.subscriptions.iter().find(|((name, at), _)| is_of_queue(name) && at == home);
        said.map(|(_, named)| named)
    }

    /// Whether a queue has been at this relay and is not any more.
    pub(super) fn has_left(&self, home: &RelayId) -> bool {
        self.backlog_at(home).is_some_and(|named| named.spec.is_none())
    }

    /// The home of a queue. Whoever has set the group's settings may not have heard that it has moved:
    /// then the name of its backlog tells.
    pub(super) fn queue_home(&self) -> Option<&RelayId> {
        let said = self.home.as_ref()?;
        if !self.has_left(said) {
            return Some(said);
        }
        let all =
            self.subscriptions.iter().filter(|((name, _), named)| is_of_queue(name) && named.spec.is_some());
        let least = all.min_by_key(|((_, home), named)| (named.version, home));
        Some(least.map_or(said, |((_, home), _)| home))
    }
}

impl Group {
    /// The home of a queue that lives at another relay.
    pub(super) fn home_elsewhere(&self) -> Option<&RelayId> {
        if self.queue { None } else { self.spread.as_deref()?.names.queue_home() }
    }

    /// The backlog of a queue that lives here, if it is here.
    pub(super) fn backlog_here(&self) -> Option<&Subscription> {
        let found = self.subscriptions.iter().find(|s| is_of_queue(&s.name) && !s.is_arriving());
        found.map(|subscription| &**subscription)
    }

    /// Whether its queue is served elsewhere, by all that its entry says.
    pub(super) fn goes_to(&self, home: Option<&RelayId>) -> bool {
        let backlog = self.backlog_here().filter(|backlog| backlog.is_spent());
        backlog.and_then(|backlog| backlog.moving.as_ref()).is_some_and(|moving| home == Some(&moving.to))
    }

    /// Where the queue goes that lives here, or where it still lives that is to come here.
    pub(super) fn queue_moves(&self) -> Option<Box<QueueMoves>> {
        let all = || self.subscriptions.iter();
        let to =
            all().find_map(|s| s.moving.as_deref()).filter(|_| self.queue).map(|moving| moving.to.clone());
        let of_queue = all().filter(|s| s.arrived.as_deref().is_some_and(|arrived| arrived.queue));
        let from = of_queue.filter_map(|s| s.comes_from()).next().cloned();
        (to.is_some() || from.is_some()).then(|| Box::new(QueueMoves { to, from }))
    }
}

/// A queue whose home never comes back.
pub(super) fn home_forgotten(queue: &GroupName, home: &RelayId) -> Refusal {
    let message = format!(
        "`{queue}` is a queue whose home {home} was forgotten: remove it, and make it again where it is to live"
    );
    Refusal::new(RefusalCode::Removed, message)
}

impl Relay {
    /// Says that a queue has come here, when that is durable.
    pub(super) fn announce_queue(&mut self, number: GroupNumber) {
        if self.groups.get(number).is_some_and(|group| group.queue) {
            self.announce_group(number);
        }
    }

    /// Notes on disk whether a queue lives here.
    pub(super) fn set_queue_home(&mut self, number: GroupNumber, here: bool) {
        let operation = Operation::QueueHome { group: number, here };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.apply(operation, false).expect("an operation that was decided applies");
    }

    /// The backlog of a queue was made again for a disk that is lost: with it the queue is here.
    pub(super) fn take_remade_queue(&mut self, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let is_said = group.spread().names.home.as_ref() == Some(&self.options.relay);
        if is_said && !group.queue && group.backlog_here().is_some_and(|backlog| !backlog.is_spent()) {
            self.set_queue_home(number, true);
        }
    }

    /// A queue whose home is another relay: who asks here is told where.
    pub(super) fn check_home(&self, number: GroupNumber) -> Result<(), Refusal> {
        let Some(group) = self.groups.get(number) else { return Ok(()) };
        match group.home_elsewhere().filter(|home| **home != self.options.relay) {
            Some(home) => {
                let message = format!("`{}` is a queue that lives at relay {home}: ask there", group.name);
                Err(Refusal::new(RefusalCode::NotReady, message))
            }
            None => Ok(()),
        }
    }
}
