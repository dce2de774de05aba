//! A restart from a log that has lost entries which were durable.
//!
//! Blocks whose heads are gone leave holes in the numbering of entries, and
//! nobody knows what stood there. What stands behind a hole still tells much:
//! the index at which a run begins, the stream that it continues, the floors
//! that cursors had reached. From this the state is made whole, so that nothing
//! is served twice under one index and every subscription is told of the hole:
//! the log gives the indexes as missing, and the subscription gets a GAP.

use std::collections::BTreeSet;

use super::Relay;
use super::group::Group;
use super::state::Operation;
use super::stream::Stream;
use super::subscription::{Gap, Subscription};
use crate::id::{Epoch, GroupName, GroupNumber, Index, Sequence, StreamNumber, WallTime};
use crate::topology::settings::SETTING_MS_MAX;
use crate::wire::body::GapCause;
use crate::wire::run::RunHeader;

/// Restores around holes.
#[derive(Debug)]
pub(super) struct Salvage {
    /// Entries that are lost.
    entries: u64,
    /// Records that runs behind a hole prove to be lost.
    records: u64,
    /// Groups whose beginning is lost; each was given a name.
    groups: u64,
    /// The snapshot knows what became of all groups up to this one.
    known: u32,
    /// Groups behind that were removed.
    removed: BTreeSet<GroupNumber>,
}

impl Salvage {
    pub(super) fn new(entries: u64, relay: &Relay) -> Self {
        Self { entries, records: 0, groups: 0, known: relay.counters.groups, removed: BTreeSet::new() }
    }

    /// Brings the state to where the operation that is replayed next fits.
    pub(super) fn before(&mut self, relay: &mut Relay, operation: &Operation) {
        let number = operation.group();
        match operation {
            Operation::GroupCreated { .. }
            | Operation::RemnantBegun { .. }
            | Operation::TableLearned
            | Operation::NameRemoved { .. }
            | Operation::StorageRenewed { .. }
            | Operation::RelayForgotten { .. }
            | Operation::TailCut { .. }
            | Operation::LinkNamed { .. }
            | Operation::TopologySet { .. } => {}
            Operation::GroupRemoved { .. } => {
                self.removed.insert(number);
            }
            Operation::GroupSet { .. }
            | Operation::StreamOpened { .. }
            | Operation::SubscriptionCreated { .. }
            | Operation::MemberSet { .. }
            | Operation::OriginSet { .. }
            | Operation::GroupEntrySet { .. }
            | Operation::NameSet { .. }
            | Operation::GroupRemade { .. }
            | Operation::StreamMoved { .. }
            | Operation::EpochsFinished { .. }
            | Operation::StreamForgiven { .. }
            | Operation::AnnexBegun { .. }
            | Operation::SubscriptionMoving { .. }
            | Operation::SubscriptionArriving { .. }
            | Operation::SubscriptionArrived { .. }
            | Operation::QueueHome { .. }
            | Operation::RemnantPasses { .. }
            | Operation::RemnantOpened { .. }
            | Operation::SubscriptionMerging { .. }
            | Operation::SubscriptionMerged { .. }
            | Operation::SubscriptionRemoved { .. } => self.adopt_unknown(relay, number),
        }
    }

    /// Brings the state to where the run that is replayed next fits.
    pub(super) fn make_room(
        &mut self,
        relay: &mut Relay,
        (number, stream): (GroupNumber, StreamNumber),
        first_index: Index,
        header: &RunHeader,
    ) {
        self.adopt_unknown(relay, number);
        relay.counters.streams = relay.counters.streams.max(stream.0);
        let origin = relay.options.relay.clone();
        let Some(group) = relay.groups.get_mut(number) else { return };
        if first_index > group.next {
            self.records += first_index.0 - group.next.0;
            group.next = first_index;
        }
        let is_member = group.member_for().is_some();
        let place = group.streams.partition_point(|s| s.number < stream);
        if group.streams.get(place).is_none_or(|s| s.number != stream) {
            // Its origin and epoch stood in the entry that is lost. It is over: every boot begins another.
            let id = (&group.name, group.incarnation);
            let mut found = Stream::new(stream, id, origin.clone(), Epoch::default(), first_index);
            found.sealed = true;
            group.streams.insert(place, found);
            // A neighbour that has the rest of it names it anew, behind what is released.
            if is_member {
                group.spread().names.is_remade = true;
            }
        }
        let known = &mut group.streams[place];
        if header.first > known.last.next() {
            known.last = Sequence(header.first.0 - 1);
            known.chain = header.chain;
            // That this relay is owed it may have stood in what is lost: rather a message from before it
            // became a member than none.
            if is_member && known.origin != origin {
                known.owe(&origin);
            }
        } else if header.first == known.last.next() {
            known.chain = header.chain;
        }
    }

    /// A group of which only messages are left. They are kept until somebody
    /// has looked at them and removes the group.
    fn adopt_unknown(&mut self, relay: &mut Relay, number: GroupNumber) {
        let is_annex = relay.repairs.annexes.contains_key(&number);
        let known = number.0 <= self.known || self.removed.contains(&number) || is_annex;
        if known || relay.groups.get(number).is_some() {
            return;
        }
        let mut name = format!("recovered/group-{number}");
        let taken = |name: &str| relay.groups.iter().any(|group| group.name.as_str() == name);
        while taken(&name) {
            name.push('x');
        }
        let name = GroupName::new(&name).expect("letters, digits and a dash are a name");
        let mut group = Group::new(number, name, 1, WallTime(0));
        group.settings.history_age_ms = Some(SETTING_MS_MAX);
        relay.counters.groups = relay.counters.groups.max(number.0);
        relay.groups.insert(group);
        self.groups += 1;
    }

    /// Indexes that some cursor has passed are never given again, though the
    /// messages themselves are lost.
    pub(super) fn finish(mut self, relay: &mut Relay) {
        for group in relay.groups.iter_mut() {
            let passed = group.subscriptions.iter().map(|s| s.cursor.end().max(s.start)).max();
            let end = group.next;
            // Under the name that it was given here nobody else has it.
            for stream in group.streams.iter_mut().filter(|stream| stream.epoch == Epoch::default()) {
                stream.release(stream.last);
            }
            if group.remnant.is_some() {
                // What is not there looks as if it had never been.
                let lost =
                    |s: &Subscription| Gap { from: s.cursor.floor(), to: end, cause: GapCause::Uncertain };
                let open = group.subscriptions.iter_mut().filter(|s| s.cursor.floor() < end);
                open.for_each(|s| s.gaps.push(lost(s)));
            }
            if let Some(passed) = passed.filter(|passed| *passed > group.next) {
                self.records += passed.0 - group.next.0;
                group.next = passed;
            }
        }
        let Self { entries, records, groups, .. } = self;
        let mut message = format!("the log has lost {entries} entries to damage");
        if records > 0 {
            message.push_str(&format!(", with {records} messages or more"));
        }
        if groups > 0 {
            message.push_str(&format!("; what is left of {groups} groups is under recovered/"));
        }
        relay.options.warnings.push(message);
    }
}
