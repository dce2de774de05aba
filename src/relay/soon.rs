//! What neighbours send is synced soon, not at once; and who hurries the disk.
//!
//! A run of a neighbour is on its origin's disk, and was passed on and delivered when it came: nobody waits
//! for this relay's disk. A sync for each would wake a thread in the very moment in which those who get
//! it need the processors, and share the device with the syncs that publishers wait for. So it gathers in
//! the log ([`Urgency::Soon`]), for [`crate::limits::SOON_MS`] at the most. Receipts, and with them what
//! is released, come so much later.
//!
//! Somebody waits all the same when
//!
//! | | seen in |
//! |---|---|
//! | puts at its origin wait for receipts of it, or begin to | here, `released`, `forward` |
//! | a neighbour in the tree that lacks it was not given it when it came, and has all that is on this disk | `forward::give`, `turns` |
//! | the same of a subscription of which somebody takes something | here, `delivery` |
//! | a request, a fact, a put that repeats another waits for all before it | `journal` |
//! | puts wait for acks, and all acks are known | `keeping` |
//! | the relay stops, or is emptied, or all parts of a snapshot are there | here, `mod` |
//!
//! Then the core says [`super::Effect::Hurry`], once for all that was appended so far. Who reads at a place
//! that is not durable says so each time that nothing was found, and what comes until he has had it is as urgent
//! from the beginning (`Journal::hurry_on`): so whoever is behind gets on as fast as the disk syncs, as if nothing
//! was ever held.

use super::Relay;
use super::active::Receiver;
use super::group::Group;
use super::subscription::SubscriptionKey;
use crate::id::{GroupNumber, Index, LinkId, StreamNumber};
use crate::log::Urgency;
use crate::wire::run::Run;

impl Group {
    /// Whether a receiver of any subscription may be given something, or asks for it.
    pub(super) fn somebody_takes(&self) -> bool {
        let receivers =
            |number| self.find(number).and_then(|place| self.subscriptions[place].active.as_deref());
        let mut attached = self.attached.iter().filter_map(|number| receivers(*number));
        attached.any(|active| active.receivers.iter().any(Receiver::is_open))
    }

    /// Whether something stands here at or behind `from`, and on the disk there is nothing of it.
    fn holds_from(&self, from: Index) -> bool {
        self.durable <= from && from < self.next
    }
}

impl Relay {
    /// How urgent a run of a neighbour is in the log.
    pub(super) fn urgency_of(&self, (number, stream): (GroupNumber, StreamNumber), run: &Run) -> Urgency {
        let streams = self.groups.get(number).map_or(&[][..], |group| &group.streams);
        let known = streams.iter().find(|known| known.number == stream);
        // One that is emptied goes when all is durable: it is to see such a moment.
        let is_awaited = self.draining || known.is_none_or(|known| known.wanted >= run.header.first);
        if is_awaited { Urgency::Sync } else { Urgency::Soon }
    }

    /// Somebody who is to have everything has come to this place of a group and can go no further before
    /// it is durable.
    pub(super) fn hurry_from(&mut self, number: GroupNumber, from: Index) {
        if self.groups.get(number).is_some_and(|group| group.holds_from(from)) {
            self.journal.hurry_on();
        }
    }

    /// The same of a neighbour that has got all that is durable, if it lacks any of the rest.
    pub(super) fn hurry_for_link(&mut self, number: GroupNumber, link: LinkId) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let end = group.next;
        let Some(reader) = group.spread.as_deref_mut().and_then(|spread| spread.reader(link)) else { return };
        if reader.next >= end {
            // From here on what it lacks is noted as it comes.
            reader.lacks_to = end;
        } else if reader.next < reader.lacks_to {
            let next = reader.next;
            self.hurry_from(number, next);
        }
    }

    /// The same of a subscription that has got all that may be delivered.
    pub(super) fn hurry_for(&mut self, key: SubscriptionKey) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let end = group.deliverable();
        let is_at_end = |place: usize| group.subscriptions[place].next >= end;
        if end < group.next && group.find(key.number).is_some_and(is_at_end) {
            self.journal.hurry_on();
        }
    }
}
