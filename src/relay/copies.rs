//! How many disks have the messages of a put: `stored=N`.
//!
//! A relay has a message if it has the stream on disk up to it, and from no later on: who comes to the group
//! behind a message begins behind it, and its receipts say where. So nothing is kept for a put that waits: when
//! too few are left that may come to have it, it is answered.
//!
//! Where the messages of a put that is tried again stand is not known, only an index of the group before which
//! its producer had put none of them. They may stand in an epoch that is finished or, if another relay took
//! them, in a stream of which nobody says here who has it: then the members of the moment in which it is tried
//! again have it once that stream is released.

use std::collections::BTreeSet;

use super::Relay;
use super::group::Group;
use super::levels::Awaited;
use super::stream::{Held, Stream};
use crate::id::{GroupNumber, Index, RelayId, Sequence, StorageId};
use crate::wire::frame::AckLevel;

/// Where messages may stand that were taken before.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    /// Not before this index of the group.
    from: Index,
    /// The members when the put was tried again, if it waits for copies.
    members: BTreeSet<RelayId>,
}

impl Awaited {
    fn is_held(&self, held: &Held) -> bool {
        held.durable >= self.reach.last && held.began <= self.done.first
    }

    /// Whether it waits for copies.
    fn copies(&self) -> Option<usize> {
        (self.level == AckLevel::Stored).then_some(usize::from(self.copies))
    }
}

impl Group {
    /// Of a put that is tried again, which stands in the own streams at no index before this one.
    pub(super) fn earlier(&self, from: Index, level: AckLevel) -> Earlier {
        let parts = self.spread.as_deref().map(|spread| &spread.parts).filter(|_| level == AckLevel::Stored);
        let members = parts.map(|parts| parts.active_members().into_iter().cloned().collect());
        Earlier { from, members: members.unwrap_or_default() }
    }

    /// How many relays have all of a put on disk, this one with them.
    pub(super) fn copies(&self, me: (&RelayId, StorageId), awaited: &Awaited) -> usize {
        if let Some(earlier) = &awaited.earlier {
            return 1 + self.copies_of_repeat(me, awaited, earlier);
        }
        let own = self.own.and_then(|own| self.streams.iter().find(|s| s.number == own));
        let receipts = own.into_iter().flat_map(|own| &own.receipts);
        1 + receipts.filter(|(relay, held)| *relay != me.0 && awaited.is_held(held)).count()
    }

    fn copies_of_repeat(
        &self,
        (me, storage): (&RelayId, StorageId),
        awaited: &Awaited,
        earlier: &Earlier,
    ) -> usize {
        let own = || self.streams.iter().filter(|s| s.is_written_by(me, storage));
        let may_hold: Vec<(&Stream, Sequence)> = own()
            .filter(|s| earlier.from < s.end)
            .map(|s| (s, if Some(s.number) == self.own { awaited.reach.last } else { s.last }))
            .collect();
        let has = |relay: &RelayId| {
            may_hold.iter().all(|(s, last)| {
                let first = s.last_below(earlier.from).next();
                let is_said = |held: &Held| held.durable >= *last && held.began <= first;
                let is_owed = s.marks.get(relay).is_some_and(|(mark, _)| *mark <= first);
                s.receipts.get(relay).is_some_and(is_said) || (is_owed && s.released >= *last)
            })
        };
        let known: BTreeSet<&RelayId> = if self.is_of_members((me, storage), awaited, earlier) {
            earlier.members.iter().collect()
        } else {
            may_hold.iter().flat_map(|(s, _)| s.receipts.keys().chain(s.marks.keys())).collect()
        };
        known.into_iter().filter(|relay| *relay != me && has(relay)).count()
    }

    /// Whether of a put that is tried again nobody says here who has it: members alone are its copies.
    fn is_of_members(
        &self,
        (me, storage): (&RelayId, StorageId),
        awaited: &Awaited,
        earlier: &Earlier,
    ) -> bool {
        let is_first_known = || {
            let own = self.streams.iter().filter(|s| s.is_written_by(me, storage));
            own.filter_map(|s| s.place_from(Index(0))).any(|(_, first)| first <= earlier.from)
        };
        awaited.is_elsewhere || (self.has_finished(me, storage) && !is_first_known())
    }
}

impl Relay {
    /// Whether so many relays may come to have a put. Those that cannot be reached now may: nobody knows
    /// whether the tree will have them when they can.
    pub(super) fn is_possible(&self, number: GroupNumber, awaited: &Awaited) -> bool {
        let Some(copies) = awaited.copies() else { return true };
        if let Some(most) = self.most_of_repeat(number, awaited) {
            return copies <= most;
        }
        let may_have = self.may_have(number, awaited).max(1);
        copies <= may_have || copies <= may_have + self.cut_off_count()
    }

    /// How many relays may be known to have a put that is tried again, if these are members alone.
    fn most_of_repeat(&self, number: GroupNumber, awaited: &Awaited) -> Option<usize> {
        let me = (&self.options.relay, self.options.epoch.storage);
        let (group, earlier) = (self.groups.get(number)?, awaited.earlier.as_ref()?);
        let others = earlier.members.iter().filter(|relay| *relay != me.0);
        group.is_of_members(me, awaited, earlier).then(|| 1 + others.count())
    }

    /// How many of the relays that can be reached have a put or may come to have it: those of the tree, but
    /// for those that began behind it, and those that were of the tree.
    fn may_have(&self, number: GroupNumber, awaited: &Awaited) -> usize {
        let carriers: BTreeSet<&RelayId> = self.trees.carriers(number, &self.options.relay).collect();
        let Some(group) = self.groups.get(number).filter(|_| awaited.earlier.is_none()) else {
            return carriers.len();
        };
        let own = group.own.and_then(|own| group.streams.iter().find(|s| s.number == own));
        let Some(own) = own else { return carriers.len() };
        let receipts = || own.receipts.iter().filter(|(relay, _)| **relay != self.options.relay);
        let are_late =
            receipts().filter(|(relay, held)| carriers.contains(relay) && held.began > awaited.done.first);
        let were_there =
            receipts().filter(|(relay, held)| !carriers.contains(relay) && awaited.is_held(held));
        carriers.len() - are_late.count() + were_there.count()
    }

    /// How many relays of the network cannot be reached now.
    fn cut_off_count(&self) -> usize {
        self.view().map_or(0, |view| {
            view.unreachable().filter(|place| !self.orphans().is_gone(view.name(*place))).count()
        })
    }

    /// Answers the puts of a group that wait for more copies than there can be: those that were cut off are
    /// back and do not carry the group, or have come to it behind them. Returns whether others still wait
    /// for copies.
    pub(super) fn settle_impossible(&mut self, number: GroupNumber) -> bool {
        let Some(traffic) = self.groups.get(number).and_then(|group| group.traffic.as_ref()) else {
            return false;
        };
        let waiting = traffic.awaited.iter().filter(|awaited| awaited.copies().is_some());
        let possible: Vec<bool> = waiting.map(|awaited| self.is_possible(number, awaited)).collect();
        if possible.iter().all(|is_possible| *is_possible) {
            return !possible.is_empty();
        }
        let Some(group) = self.groups.get_mut(number) else { return false };
        let mut each = possible.iter();
        group.traffic().awaited.retain(|awaited| {
            let stays = awaited.copies().is_none() || each.next().is_none_or(|is_possible| *is_possible);
            if !stays {
                self.effects.push_back(awaited.given_up());
            }
            stays
        });
        possible.contains(&true)
    }
}
