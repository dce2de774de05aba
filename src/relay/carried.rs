//! What links have carried, and what became of it: counted per run, never per record.

use super::Relay;
use super::group::Group;
use crate::id::{GroupNumber, LinkId};
use crate::wire::body::{Carried, LinkCounts};
use crate::wire::run::Run;

/// What became of a run that a neighbour has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was appended.
    Taken,
    /// It is here already.
    Repeat,
    /// Something before it is missing.
    Early,
    /// It is of a group or a stream that is not known here.
    Stray,
}

/// What a run counts.
pub(super) fn load(run: &Run) -> Carried {
    Carried { bytes: super::body_bytes(run), runs: 1, records: u64::from(run.header.count) }
}

/// Adds a run; its bytes only where they were not counted with the message that it came in.
fn add(sum: &mut Carried, load: Carried, with_bytes: bool) {
    sum.bytes += if with_bytes { load.bytes } else { 0 };
    sum.runs += load.runs;
    sum.records += load.records;
}

fn add_received(counts: &mut LinkCounts, load: Carried, with_bytes: bool, fate: Fate) {
    add(&mut counts.received, load, with_bytes);
    let sum = match fate {
        Fate::Taken => &mut counts.taken,
        Fate::Repeat => &mut counts.repeats,
        Fate::Early => &mut counts.early,
        Fate::Stray => &mut counts.strays,
    };
    *sum += load.records;
}

/// The accounts of a link in one group.
fn counts_of(group: &mut Group, link: LinkId) -> &mut LinkCounts {
    let carried = &mut group.spread().carried;
    let place = match carried.iter().position(|(of, _)| *of == link) {
        Some(place) => place,
        None => {
            carried.push((link, LinkCounts::default()));
            carried.len() - 1
        }
    };
    &mut carried[place].1
}

impl Relay {
    pub(super) fn count_sent(&mut self, (link, number): (LinkId, GroupNumber), load: Carried) {
        if let Some(state) = self.links.table.get_mut(&link) {
            add(&mut state.counts.sent, load, false);
        }
        if let Some(group) = self.groups.get_mut(number) {
            add(&mut counts_of(group, link).sent, load, true);
        }
    }

    pub(super) fn count_received(
        &mut self,
        (link, number): (LinkId, Option<GroupNumber>),
        load: Carried,
        fate: Fate,
    ) {
        if let Some(state) = self.links.table.get_mut(&link) {
            add_received(&mut state.counts, load, false, fate);
        }
        if let Some(group) = number.and_then(|number| self.groups.get_mut(number)) {
            add_received(counts_of(group, link), load, true, fate);
        }
    }
}
