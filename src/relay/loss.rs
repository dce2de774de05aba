//! What the end of the log may have held (R17).
//!
//! A last block that was damaged and cut was perhaps durable, and then what it
//! held was perhaps answered. One relay cannot know; it can say so for ever. So
//! the first entry after such a start is an operation that notes the cut, for
//! the status; and each group whose messages may have been in it gets a record
//! LOSS in this relay's next stream. That is kept and passed on like a message
//! and told to every subscription as a gap, where its messages may be missing:
//! behind everything older and before everything newer.
//!
//! The operation is one entry, and the block that holds it takes the place of
//! the one that was cut: either both are found again by a start that follows,
//! or the cut is. Which groups still lack their record is part of the state.

use serde::{Deserialize, Serialize};

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::journal::Waiting;
use super::lost::InPlace;
use super::state::Operation;
use super::stream::Draft;
use crate::id::{Epoch, GroupNumber, LinkId, RelayId, Sequence, WallTime};
use crate::limits;
use crate::log::{Cut, Entry, Urgency};
use crate::wire::link::Version;
use crate::wire::run::{Run, RunKind, StoredRun};

/// A cut of the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TailCut {
    /// The boot that found it.
    pub(super) boot: u64,
    /// When.
    pub(super) at: WallTime,
    /// How many entries the block had, if that was to be seen.
    pub(super) entries: Option<u64>,
    /// How many messages, if that was to be seen.
    pub(super) messages: Option<u64>,
}

/// Messages that a group may have lost, and not yet said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uncertain {
    /// How many; nothing if that is not known.
    pub(super) messages: Option<u64>,
}

/// What a LOSS says: nobody knows whether there was anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Loss {
    /// Why.
    pub(super) cause: LossCause,
    /// The stream of this relay before, if it had one, and its last sequence that is there: what
    /// is lost stood behind it.
    pub(super) after: Option<(Epoch, Sequence)>,
    /// How many messages at the most; nothing if that is not known.
    pub(super) messages: Option<u64>,
}

/// Why records are lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LossCause {
    /// They may have stood in a last block that was damaged and cut.
    Uncertain,
    /// Their origin was forgotten, and may have had some that nobody else has.
    Forgotten {
        /// The origin.
        origin: RelayId,
        /// The relay at which an operator has said so.
        by: RelayId,
    },
    /// They were put while others had forgotten this relay, and so are not owed to it. Nobody else
    /// misses them.
    Missed {
        /// The relay at which an operator has said so.
        by: RelayId,
    },
    /// They are damaged where their origin had them, and nobody has them any more: it stands in their place.
    Damaged(InPlace),
}

fn cause_of(run: &Run) -> Option<LossCause> {
    let is_loss = run.header.kind == RunKind::Loss;
    is_loss.then(|| crate::wire::body::decode::<Loss>(&run.body).ok()).flatten().map(|loss| loss.cause)
}

/// Whether it says that a damaged last block may have held something.
pub(super) fn is_uncertain(run: &Run) -> bool {
    cause_of(run) == Some(LossCause::Uncertain)
}

/// Whether the subscriptions of this relay are told of a record LOSS: all but what only its origin
/// has missed.
pub(super) fn is_told_here(run: &StoredRun) -> bool {
    run.link == LinkId(0) || !matches!(cause_of(&run.run), Some(LossCause::Missed { .. }))
}

impl TailCut {
    fn text(&self) -> String {
        let counted = |count: Option<u64>, what: &str| count.map(|count| format!("{count} {what}"));
        let held = [counted(self.entries, "entries"), counted(self.messages, "messages")];
        let held: Vec<String> = held.into_iter().flatten().collect();
        let held = if held.is_empty() { "an unknown number of entries".to_owned() } else { held.join(", ") };
        format!(
            "boot {} found the last block of the log damaged and cut it: whether it had been synced, and {held} \
             are lost, is uncertain; subscriptions get a GAP",
            self.boot
        )
    }
}

impl Group {
    /// It was made again for a disk that is gone: until the record behind that says so, it is still
    /// to be said that messages may be lost.
    pub(super) fn replay_remade(&mut self) {
        self.spread().names.is_remade = true;
        self.traffic().uncertain = Some(Uncertain { messages: None });
    }
}

/// The messages of all groups together.
pub(super) fn total(groups: Option<&[(GroupNumber, u64)]>) -> Option<u64> {
    groups.map(|groups| groups.iter().map(|(_, count)| count).sum())
}

impl Relay {
    /// The end of the log was cut: notes it before anything else.
    pub(super) fn note_cut(&mut self, now: Now, cut: &Cut) {
        let Cut { entries, messages, .. } = cut;
        let (boot, at) = (self.options.epoch.counter, now.wall);
        let operation = Operation::TailCut { boot, at, entries: *entries, groups: messages.clone() };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        self.add_cut(TailCut { boot, at, entries: *entries, messages: total(messages.as_deref()) });
        self.suspect(messages.as_deref(), &|_| true);
    }

    /// Takes a cut into the status; of many the oldest is forgotten.
    pub(super) fn add_cut(&mut self, cut: TailCut) {
        if self.cuts.len() == limits::TAIL_CUTS_MAX {
            self.cuts.remove(0);
        }
        self.cuts.push(cut);
    }

    /// Of all `groups` that are there, or of every group, messages may be lost; of those only
    /// for which `is_new`.
    pub(super) fn suspect(
        &mut self,
        groups: Option<&[(GroupNumber, u64)]>,
        is_new: &dyn Fn(GroupNumber) -> bool,
    ) {
        for group in self.groups.iter_mut().filter(|group| group.remnant.is_none() && is_new(group.number)) {
            let messages = match groups {
                None => None,
                Some(groups) => match groups.binary_search_by_key(&group.number, |(number, _)| *number) {
                    Ok(place) => groups.get(place).map(|(_, count)| *count),
                    Err(_) => continue,
                },
            };
            let before = group.traffic().uncertain.map_or(Some(0), |before| before.messages);
            let messages = before.zip(messages).map(|(before, more)| before.saturating_add(more));
            group.traffic().uncertain = Some(Uncertain { messages });
        }
    }

    /// Says in the own stream of each group what may be lost of it. A relay that does not know yet
    /// who is a member can begin no stream, and takes no message either: it says so later.
    pub(super) fn tell_uncertain(&mut self, now: Now) {
        if !self.links.has_table || self.draining {
            return;
        }
        let suspects = self.groups.iter().filter_map(|group| {
            let uncertain = group.traffic.as_ref()?.uncertain?;
            let own = group.streams.iter().rev().find(|stream| stream.origin == self.options.relay);
            let after = own.map(|stream| (stream.epoch, stream.last));
            let loss = Loss { cause: LossCause::Uncertain, after, messages: uncertain.messages };
            Some((group.number, loss))
        });
        for (number, loss) in suspects.collect::<Vec<_>>() {
            let body = crate::wire::body::encode(&loss);
            let own = self.own_stream(now, number);
            self.append_control(now, number, own, Draft::control(RunKind::Loss, body));
            if let Some(group) = self.groups.get_mut(number) {
                group.traffic().uncertain = None;
            }
        }
    }

    /// A disk that is gone may have had messages of a group of which nobody else has heard (P2). That
    /// is said, and only when it is durable is the neighbours' knowledge of that disk spoken over: a
    /// relay that is interrupted before is told again. When only the end is missing it is said twice.
    pub(super) fn mourn(&mut self, now: Now, number: GroupNumber, above: Version) {
        let is_known = self.links.mourned.contains_key(&number);
        let known = self.links.mourned.entry(number).or_default();
        *known = above.max(*known);
        if !is_known {
            self.suspect(None, &|group| group == number);
            self.tell_uncertain(now);
            if self.links.has_table {
                self.journal.wait(Waiting::Mourned { group: number });
            }
        }
    }

    /// What a lost disk may have had is told, and durable.
    pub(super) fn end_mourning(&mut self, now: Now, number: GroupNumber) {
        if let Some(above) = self.links.mourned.remove(&number) {
            self.announce_origin(now, number, above);
        }
    }

    /// What the status says of cuts: for thirty days, since nobody can say when it was seen.
    pub(super) fn cut_warnings(&self, now: Now) -> Vec<String> {
        let shown = |cut: &&TailCut| {
            now.wall.0.saturating_sub(cut.at.0) <= limits::TAIL_CUT_SHOWN_MS.saturating_mul(1000)
        };
        self.cuts.iter().filter(shown).map(TailCut::text).collect()
    }
}
