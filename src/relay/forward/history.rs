//! History that comes too late (P4).
//!
//! A boot of an origin is taken when the one before it is complete (I10), and nobody need send what all who are
//! owed it have: a relay that has just become a member may know of the later boot first. A neighbour that
//! still keeps the earlier one sends it all the same. Behind the later one it would be out of its origin's
//! order for subscriptions from the beginning, so it is passed over, as what was let go everywhere is.

use crate::id::{GroupNumber, LinkId, RelayId, Sequence, StreamNumber};
use crate::log::{Entry, Urgency};
use crate::relay::Relay;
use crate::relay::group::Group;
use crate::relay::state::Operation;
use crate::relay::stream::Stream;
use crate::wire::run::{Run, RunKind};

impl Group {
    /// Whether a run that is next in its stream is to be passed over: everybody who is owed it has it, this
    /// relay, `me`, is not owed it, and what its origin has put since is here.
    pub(super) fn comes_too_late(&self, me: &RelayId, stream: &Stream, run: &Run) -> bool {
        let header = &run.header;
        // Mostly nobody has it yet.
        if header.end() > stream.released.next() || header.kind != RunKind::Data {
            return false;
        }
        let owed_from = self.member_for().and_then(|since| stream.owed_from(me, since));
        let is_owed = owed_from.is_some_and(|from| from <= header.first);
        let has_all = !self.spread.as_deref().is_some_and(|spread| spread.names.is_remade);
        let is_later = |s: &Stream| s.last > Sequence(0) && stream.is_before(&s.origin, s.epoch);
        !is_owed && has_all && self.streams.iter().any(is_later)
    }
}

impl Relay {
    /// A stream goes on behind `last`: what stands before was released, and does not come any more.
    pub(super) fn pass_over(
        &mut self,
        (number, stream): (GroupNumber, StreamNumber),
        (last, chain): (Sequence, u64),
    ) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let owed = group.spread().names.is_remade;
        group.moved_at = group.next;
        self.shift_stream((number, stream), (last, chain), owed);
        let moved = Operation::StreamMoved { group: number, stream, last, chain, owed };
        self.journal.append(&mut self.effects, Entry::State(moved.encode()), Urgency::Ride);
    }

    /// A run comes too late. The neighbour has it, and need not send it again.
    pub(super) fn pass_over_run(&mut self, link: LinkId, at: (GroupNumber, StreamNumber), run: &Run) {
        let last = Sequence(run.header.end().0 - 1);
        if let Some(reader) = self.groups.get_mut(at.0).and_then(|group| group.spread().reader(link)) {
            reader.note_run(at.1, run, false);
        }
        self.pass_over(at, (last, run.header.hash()));
    }
}
