//! What holds a segment back: a group that is not released far enough.
//!
//! There are two rules. By one it is needed *now*; by the other it would be needed after a restart, which
//! knows of releases what the newest snapshot on disk says (see [`super::released`]). Only what nobody
//! needs by the second may go; what nobody needs by the first alone waits for a snapshot.

use std::sync::Arc;

use super::recover;
use super::segment::{Segment, SegmentIndex};
use super::shared::Shared;
use crate::id::GroupNumber;

/// One group that holds a segment back. Pages of the footer before `page` have
/// been looked at: since a release never goes back, they need not be again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) group: GroupNumber,
    pub(crate) end_index: u64,
    pub(crate) page: u64,
}

/// What is known of who holds a segment back by one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// This group, when it was last looked at.
    Group(Witness),
    /// Nobody, and nobody ever will.
    Nobody,
}

/// What is known of that by both rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    now: Holder,
    on_disk: Holder,
}

/// Whether a segment is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Some group needs something in it.
    Held,
    /// Nobody does, but a restart would not know that: it waits for a snapshot.
    Waits,
    /// Nobody does.
    Free,
}

/// Whether a sealed segment is needed.
pub(crate) fn need(shared: &Shared, segment: &Arc<Segment>) -> Need {
    let before = segment.read().holders;
    let mut holders = before;
    // Locked for each group alone: the driver releases while this reads from disk.
    holders.now = look(segment, before.now, &|group| shared.released.below(group).0);
    if holders.now == Holder::Nobody {
        holders.on_disk = look(segment, before.on_disk, &|group| shared.released.on_disk(group).0);
    }
    if holders != before {
        segment.write().holders = holders;
    }
    match holders {
        Holders { now: Holder::Nobody, on_disk: Holder::Nobody } => Need::Free,
        Holders { now: Holder::Nobody, .. } => Need::Waits,
        Holders { .. } => Need::Held,
    }
}

fn look(segment: &Segment, before: Holder, below: &dyn Fn(GroupNumber) -> u64) -> Holder {
    let page = match before {
        Holder::Nobody => return before,
        Holder::Group(witness) if witness.end_index > below(witness.group) => return before,
        Holder::Group(witness) => witness.page,
        Holder::Unknown => 0,
    };
    let footer = match &segment.read().index {
        SegmentIndex::Memory(postings) => Err(postings.witness(below)),
        SegmentIndex::Footer(footer) => Ok(Arc::clone(footer)),
    };
    let witness = match footer {
        Err(witness) => witness,
        Ok(footer) => match footer.witness(&*segment.file, page, below) {
            Ok(witness) => witness,
            // What cannot be known is taken as needed; the next round looks again.
            Err(_) => {
                recover::rebuild(segment);
                return Holder::Unknown;
            }
        },
    };
    witness.map_or(Holder::Nobody, Holder::Group)
}
