//! What the core knows of a connection: its handles and how much is on its way to it.

use std::collections::{BTreeSet, VecDeque};

use super::subscription::SubscriptionKey;
use crate::id::{GroupNumber, StreamNumber};
use crate::limits;

/// One connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    groups: Vec<GroupNumber>,
    subscriptions: Vec<Option<SubscriptionKey>>,
    /// Streams whose names the session has been told.
    streams: BTreeSet<StreamNumber>,
    /// Bytes of deliveries given to the writer.
    sent: u64,
    /// Bytes of deliveries the writer has handed to the socket.
    written: u64,
    blocked: Blocked,
}

/// Subscriptions that wait until more was written: each once, and those that
/// wait longest have the first turn, so that many on one connection share it.
#[derive(Clone, Debug, Default)]
struct Blocked {
    order: VecDeque<SubscriptionKey>,
    members: BTreeSet<SubscriptionKey>,
}

impl Session {
    /// A handle for a group: the same one for the same group. `None`: too many.
    pub(super) fn open_group(&mut self, group: GroupNumber) -> Option<u32> {
        let place = self.groups.iter().position(|g| *g == group).unwrap_or(self.groups.len());
        if place >= limits::SESSION_HANDLES_MAX {
            return None;
        }
        if place == self.groups.len() {
            self.groups.push(group);
        }
        u32::try_from(place).ok()
    }

    /// A session with as many handles of both kinds as there can be.
    #[cfg(test)]
    pub(super) fn full() -> Self {
        let (groups, key) = (0..limits::SESSION_HANDLES_MAX as u32, SubscriptionKey::default());
        let subscriptions = vec![Some(key); limits::SESSION_HANDLES_MAX];
        Self { groups: groups.map(GroupNumber).collect(), subscriptions, ..Self::default() }
    }

    /// All groups that it has a handle for.
    pub(super) fn groups(&self) -> &[GroupNumber] {
        &self.groups
    }

    /// Whether it may have one more handle for a group that it has none for.
    pub(super) fn has_group_room(&self, group: Option<GroupNumber>) -> bool {
        self.groups.len() < limits::SESSION_HANDLES_MAX || group.is_some_and(|g| self.groups.contains(&g))
    }

    /// Whether it may have one more subscription.
    pub(super) fn has_subscription_room(&self) -> bool {
        self.subscriptions.len() < limits::SESSION_HANDLES_MAX
            || self.subscriptions.iter().any(Option::is_none)
    }

    pub(super) fn group(&self, handle: u32) -> Option<GroupNumber> {
        self.groups.get(handle as usize).copied()
    }

    /// A handle for a subscription. `None`: too many.
    pub(super) fn open_subscription(&mut self, key: SubscriptionKey) -> Option<u32> {
        let free = self.subscriptions.iter().position(Option::is_none);
        let place = free.unwrap_or(self.subscriptions.len());
        if place >= limits::SESSION_HANDLES_MAX {
            return None;
        }
        if place == self.subscriptions.len() {
            self.subscriptions.push(None);
        }
        self.subscriptions[place] = Some(key);
        u32::try_from(place).ok()
    }

    pub(super) fn subscription(&self, handle: u32) -> Option<SubscriptionKey> {
        self.subscriptions.get(handle as usize).copied().flatten()
    }

    pub(super) fn close_subscription(&mut self, handle: u32) -> Option<SubscriptionKey> {
        self.subscriptions.get_mut(handle as usize)?.take()
    }

    /// All subscriptions that are open, with their handles.
    pub(super) fn subscriptions(&self) -> Vec<(u32, SubscriptionKey)> {
        let open = |(i, key): (usize, &Option<SubscriptionKey>)| key.map(|key| (i as u32, key));
        self.subscriptions.iter().enumerate().filter_map(open).collect()
    }

    /// Whether the session is told of this stream for the first time.
    pub(super) fn meets_stream(&mut self, stream: StreamNumber) -> bool {
        !self.streams.contains(&stream) && self.streams.insert(stream)
    }

    /// The subscription waits until more was written.
    pub(super) fn block(&mut self, key: SubscriptionKey) {
        if self.blocked.members.insert(key) {
            self.blocked.order.push_back(key);
        }
    }

    /// How many wait.
    pub(super) fn blocked(&self) -> usize {
        self.blocked.order.len()
    }

    /// Those that waited, in the order in which they began to.
    pub(super) fn take_blocked(&mut self) -> VecDeque<SubscriptionKey> {
        self.blocked.members.clear();
        std::mem::take(&mut self.blocked.order)
    }

    /// Counts bytes on their way.
    pub(super) fn send(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The writer has written so much in all.
    pub(super) fn on_written(&mut self, total: u64) {
        self.written = self.written.max(total).min(self.sent);
    }

    /// Whether more may be put on its way.
    pub(super) fn is_writable(&self) -> bool {
        self.sent - self.written < limits::SESSION_OUT_BYTES_MAX as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_bound_no_handle_is_given_but_one_that_is_known_or_free() {
        let mut session = Session::full();
        let max = limits::SESSION_HANDLES_MAX as u32;
        assert_eq!(session.open_group(GroupNumber(max)), None);
        assert!(!session.has_group_room(None) && !session.has_group_room(Some(GroupNumber(max))));
        assert_eq!(session.open_group(GroupNumber(7)), Some(7));
        assert!(session.has_group_room(Some(GroupNumber(7))));
        assert_eq!(session.open_subscription(SubscriptionKey::default()), None);
        assert!(!session.has_subscription_room());
        session.close_subscription(9);
        assert!(session.has_subscription_room());
        assert_eq!(session.open_subscription(SubscriptionKey::default()), Some(9));
        assert_eq!(session.subscriptions.len(), limits::SESSION_HANDLES_MAX);
    }
}
