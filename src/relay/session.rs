//! What the core knows of a connection: its handles and how much is on its way to it.
//!
//! A connection may be one of an application at another relay ([`super::served`]), and some of
//! its handles may be of subscriptions that live elsewhere ([`super::circuit`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::subscription::SubscriptionKey;
use super::turned_away::TurnedAway;
use crate::id::{Epoch, GroupName, GroupNumber, RelayId, StreamNumber};
use crate::limits;
use crate::wire::body::Refusal;

/// Numbers that a session is told for streams of other relays begin here: those of this relay are
/// given one by one from 1 on, and never come so far.
const STREAMS_ELSEWHERE: u32 = 1 << 31;

/// Where a subscription lives that a session has a handle for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lives {
    Here(SubscriptionKey),
    /// Behind this circuit.
    Elsewhere(u64),
    /// Nowhere: it was taken from the application, which may not know it yet. What it says of the
    /// handle is not to be taken for another subscription's: it is given anew as late as can be.
    Lost,
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Session {
    groups: Vec<GroupNumber>,
    subscriptions: Vec<Option<Lives>>,
    /// The handles that were lost, the first one first.
    lost: VecDeque<u32>,
    /// Streams whose names the session has been told.
    streams: BTreeSet<StreamNumber>,
    /// Bytes of deliveries given to the writer.
    sent: u64,
    /// Bytes of deliveries the writer has handed to the socket.
    written: u64,
    /// Bytes that may be on their way.
    window: u64,
    blocked: Blocked,
    /// Its circuits to other relays.
    pub(super) circuits: BTreeSet<u64>,
    /// Deliveries that came over circuits and are not with the socket: what is sent up to each,
    /// the circuit, and its bytes.
    over: VecDeque<(u64, u64, u64)>,
    /// The numbers that it was told for streams of other relays.
    elsewhere: BTreeMap<(GroupName, RelayId, Epoch), StreamNumber>,
    /// Why acks may be lost of which it has not been told.
    lost_acks: Option<Refusal>,
    /// What it was refused for the moment.
    pub(super) turned_away: TurnedAway,
}

impl Default for Session {
    fn default() -> Self {
        Self::with_window(limits::SESSION_OUT_BYTES_MAX as u64)
    }
}

/// Subscriptions that wait until more was written: each once, and those that
/// wait longest have the first turn, so that many on one connection share it.
#[derive(Clone, Debug, Default)]
struct Blocked {
    order: VecDeque<SubscriptionKey>,
    members: BTreeSet<SubscriptionKey>,
}

impl Session {
    /// One to which so many bytes may be on their way.
    pub(super) fn with_window(window: u64) -> Self {
        Self {
            groups: Vec::new(),
            subscriptions: Vec::new(),
            lost: VecDeque::new(),
            streams: BTreeSet::new(),
            sent: 0,
            written: 0,
            window,
            blocked: Blocked::default(),
            circuits: BTreeSet::new(),
            over: VecDeque::new(),
            elsewhere: BTreeMap::new(),
            lost_acks: None,
            turned_away: TurnedAway::default(),
        }
    }

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
        let subscriptions = vec![Some(Lives::Here(key)); limits::SESSION_HANDLES_MAX];
        Self { groups: groups.map(GroupNumber).collect(), subscriptions, ..Self::default() }
    }

    /// All groups that it has a handle for.
    pub(super) fn groups(&self) -> &[GroupNumber] {
        &self.groups
    }

    /// Whether it has opened a group or a subscription.
    pub(super) fn has_something_open(&self) -> bool {
        !self.groups().is_empty() || !self.subscriptions().is_empty()
    }

    /// The same, or has begun to receive from what lives elsewhere.
    pub(super) fn has_anything_open(&self) -> bool {
        let is_elsewhere = |lives: &Lives| matches!(lives, Lives::Elsewhere(_));
        self.has_something_open() || self.subscriptions.iter().flatten().any(is_elsewhere)
    }

    /// Whether it may have one more handle for a group that it has none for.
    pub(super) fn has_group_room(&self, group: Option<GroupNumber>) -> bool {
        self.groups.len() < limits::SESSION_HANDLES_MAX || group.is_some_and(|g| self.groups.contains(&g))
    }

    /// Whether it may have one more subscription.
    pub(super) fn has_subscription_room(&self) -> bool {
        self.subscriptions.len() < limits::SESSION_HANDLES_MAX
            || !self.lost.is_empty()
            || self.subscriptions.iter().any(Option::is_none)
    }

    pub(super) fn group(&self, handle: u32) -> Option<GroupNumber> {
        self.groups.get(handle as usize).copied()
    }

    /// A handle for a subscription. `None`: too many.
    pub(super) fn open_subscription(&mut self, key: SubscriptionKey) -> Option<u32> {
        self.take_handle(Lives::Here(key))
    }

    /// A handle for a subscription that lives behind a circuit. `None`: too many.
    pub(super) fn open_circuit(&mut self, circuit: u64) -> Option<u32> {
        self.take_handle(Lives::Elsewhere(circuit))
    }

    fn take_handle(&mut self, lives: Lives) -> Option<u32> {
        let free = self.subscriptions.iter().position(Option::is_none);
        let is_long = self.subscriptions.len() >= limits::SESSION_HANDLES_LOST_MAX;
        let free = free.or_else(|| if is_long { Some(self.lost.pop_front()? as usize) } else { None });
        let place = free.unwrap_or(self.subscriptions.len());
        if place >= limits::SESSION_HANDLES_MAX {
            return None;
        }
        if place == self.subscriptions.len() {
            self.subscriptions.push(None);
        }
        self.subscriptions[place] = Some(lives);
        u32::try_from(place).ok()
    }

    pub(super) fn subscription(&self, handle: u32) -> Option<SubscriptionKey> {
        match self.subscriptions.get(handle as usize)? {
            Some(Lives::Here(key)) => Some(*key),
            Some(Lives::Elsewhere(_) | Lives::Lost) | None => None,
        }
    }

    /// The circuit that a handle is for, if it is for one.
    pub(super) fn circuit(&self, handle: u32) -> Option<u64> {
        match self.subscriptions.get(handle as usize)? {
            Some(Lives::Elsewhere(circuit)) => Some(*circuit),
            Some(Lives::Here(_) | Lives::Lost) | None => None,
        }
    }

    pub(super) fn close_subscription(&mut self, handle: u32) -> Option<SubscriptionKey> {
        let key = self.subscription(handle)?;
        self.subscriptions[handle as usize] = None;
        Some(key)
    }

    /// The handle of a circuit is free again: the application has asked for that.
    pub(super) fn close_circuit(&mut self, handle: u32) {
        if self.circuit(handle).is_some() {
            self.subscriptions[handle as usize] = None;
        }
    }

    /// A handle is taken from the application.
    pub(super) fn lose_handle(&mut self, handle: u32) {
        if let Some(lives) = self.subscriptions.get_mut(handle as usize)
            && *lives != Some(Lives::Lost)
        {
            *lives = Some(Lives::Lost);
            self.lost.push_back(handle);
        }
    }

    /// All subscriptions that are open, with their handles.
    pub(super) fn subscriptions(&self) -> Vec<(u32, SubscriptionKey)> {
        let handles = 0..self.subscriptions.len() as u32;
        handles.filter_map(|handle| Some((handle, self.subscription(handle)?))).collect()
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

    /// Counts bytes on their way that have come over a circuit.
    pub(super) fn send_over(&mut self, circuit: u64, bytes: u64) {
        self.send(bytes);
        self.over.push_back((self.sent, circuit, bytes));
    }

    /// The number that the session knows a stream of another relay by, and whether it is to be
    /// told of it.
    pub(super) fn name_stream(
        &mut self,
        group: &GroupName,
        origin: &RelayId,
        epoch: Epoch,
    ) -> (StreamNumber, bool) {
        let next = StreamNumber(STREAMS_ELSEWHERE + self.elsewhere.len() as u32);
        let number = *self.elsewhere.entry((group.clone(), origin.clone(), epoch)).or_insert(next);
        (number, number == next)
    }

    /// Acks may be lost: the next sync is to say so.
    pub(super) fn lose_acks(&mut self, refusal: Refusal) {
        self.lost_acks = Some(refusal);
    }

    pub(super) fn take_lost_acks(&mut self) -> Option<Refusal> {
        self.lost_acks.take()
    }

    /// The writer has written so much in all. Gives the bytes of it that came over each circuit.
    pub(super) fn on_written(&mut self, total: u64) -> Vec<(u64, u64)> {
        self.written = self.written.max(total).min(self.sent);
        let mut over: Vec<(u64, u64)> = Vec::new();
        while let Some((end, circuit, bytes)) =
            self.over.front().copied().filter(|(end, ..)| *end <= self.written)
        {
            debug_assert!(end >= bytes, "what was sent is counted");
            self.over.pop_front();
            match over.iter_mut().find(|(of, _)| *of == circuit) {
                Some((_, sum)) => *sum += bytes,
                None => over.push((circuit, bytes)),
            }
        }
        over
    }

    /// Whether more may be put on its way.
    pub(super) fn is_writable(&self) -> bool {
        self.sent - self.written < self.window
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

    #[test]
    fn a_handle_that_was_taken_away_is_given_anew_as_late_as_can_be() {
        let mut session = Session::default();
        let key = SubscriptionKey::default();
        let max = limits::SESSION_HANDLES_LOST_MAX as u32;
        for handle in 0..max {
            assert_eq!(session.open_subscription(key), Some(handle));
            session.lose_handle(handle);
            session.lose_handle(handle);
            assert!(session.subscription(handle).is_none());
        }
        for handle in (0..max).chain(0..3) {
            assert_eq!(session.open_subscription(key), Some(handle));
            session.lose_handle(handle);
        }
        // One that the application gave back is taken first.
        assert_eq!(session.open_subscription(key), Some(3));
        session.close_subscription(3);
        assert_eq!(session.open_circuit(7), Some(3));
    }
}
