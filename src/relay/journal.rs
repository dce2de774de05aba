//! What was appended to the log, and what waits for it to be durable.

use std::collections::VecDeque;

use super::confirm::Wish;
use super::effect::Effect;
use super::levels::Reach;
use super::subscription::SubscriptionKey;
use crate::id::{GroupNumber, Index, Sequence, SessionId, StreamNumber};
use crate::log::{Entry, EntryNumber, Urgency};
use crate::topology::TopologyVersion;
use crate::wire::body::Answer;
use crate::wire::frame::{AckLevel, PutDone};
use crate::wire::link::{Confirmed, Fact};
use crate::wire::moving::MoveFrame;

/// What is to be done when an entry is durable.
#[derive(Clone, Debug)]
pub(super) enum Waiting {
    /// The last subscription of a group is gone: this relay may cease to be a member, if it is one since the same
    /// version still.
    Left { group: GroupNumber, membership: u64 },
    /// Records of a group may be delivered, and a put is done.
    Run { run: WaitingRun, count: u32, put: Option<WaitingPut> },
    /// A put whose records were all repeats; what they repeat stands before this.
    Repeat { group: GroupNumber, reach: Reach, put: WaitingPut },
    /// A request can be answered.
    Answer { session: SessionId, request: u64, answer: Box<Answer> },
    /// A new subscription is durable; who else is to know of it is waited for elsewhere.
    Known { group: GroupNumber },
    /// A subscription that others are to know of, in a membership that begins only when it is durable that the
    /// one before has ended.
    Wish { session: SessionId, request: u64, answer: Box<Answer>, wish: Wish },
    /// A membership of another relay is durable, and the relay wants to know.
    Confirmed(Box<Confirmed>),
    /// That epochs are finished is durable: others may be told.
    Finished { group: GroupNumber },
    /// What was told as lost with a disk is durable, if it was told by now.
    Mourned { group: GroupNumber },
    /// What this relay says of itself is durable, and may be said.
    Said(Box<Fact>),
    /// What was damaged is whole again.
    Repaired { annex: GroupNumber },
    /// A topology is durable: the relay goes by it.
    Topology(TopologyVersion),
    /// What this relay says of a move to another home may be said.
    MoveSaid(Box<MoveFrame>),
    /// A subscription that leaves is done with all that is to be delivered here.
    Spent { key: SubscriptionKey, token: u64 },
    /// What a subscription has brought along is known, or done with: others may count with it.
    Brought { group: GroupNumber },
    /// Written cursors let something go: nobody needs less than this.
    Floor { group: GroupNumber, consumed: Index, release: Index },
}

impl Waiting {
    /// Whether somebody waits for it whose entry may have been appended before. Records have the urgency of
    /// their own entry, and what is let go has time.
    fn is_urgent(&self) -> bool {
        !matches!(self, Self::Run { put: None, .. } | Self::Floor { .. })
    }
}

/// Records that are not durable yet: where they end in the group and in their stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingRun {
    pub(super) group: GroupNumber,
    pub(super) end: Index,
    pub(super) stream: StreamNumber,
    pub(super) last: Sequence,
}

/// A put without an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingPut {
    pub(super) session: SessionId,
    pub(super) done: PutDone,
    pub(super) level: AckLevel,
    pub(super) copies: u16,
    /// Whether another relay has taken some of it before.
    pub(super) is_elsewhere: bool,
    /// If this one may have taken some of it before: not before this index of the group.
    pub(super) earlier_from: Option<Index>,
}

/// Counts entries and remembers who waits for which.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    last: EntryNumber,
    durable: EntryNumber,
    waiting: VecDeque<(EntryNumber, Waiting)>,
    /// Bytes of runs appended since [`Journal::take_bytes`].
    bytes: u64,
    /// The last entry that is synced soon, as long as nobody waits for it ([`super::soon`]).
    held: Option<EntryNumber>,
    /// Somebody does.
    hurries: bool,
    /// Up to here somebody who reads what is durable waits, to go on with what comes behind it.
    awaited: EntryNumber,
}

impl Journal {
    /// A journal that goes on behind `last`, which is durable.
    pub(super) fn after(last: EntryNumber) -> Self {
        Self { last, durable: last, ..Self::default() }
    }

    /// The last entry appended.
    pub(super) fn last(&self) -> EntryNumber {
        self.last
    }

    /// Appends an entry. One that is to be synced soon is more urgent behind what somebody waits for who
    /// is behind: it will have to be read too, and the disk does not rest meanwhile.
    pub(super) fn append(&mut self, effects: &mut VecDeque<Effect>, entry: Entry, urgency: Urgency) {
        let is_behind = urgency == Urgency::Soon && self.awaited > self.durable;
        let urgency = if is_behind { Urgency::Sync } else { urgency };
        self.last = self.last.next();
        if let Entry::Run(run) = &entry {
            self.bytes += run.run.body.len() as u64;
        }
        match urgency {
            Urgency::Sync => (self.held, self.hurries) = (None, false),
            Urgency::Soon => self.held = Some(self.last),
            Urgency::Ride => {}
        }
        effects.push_back(Effect::Append { entry, urgency });
    }

    /// Somebody waits for all that was appended, but for what is only to ride along.
    pub(super) fn hurry(&mut self) {
        self.hurries |= self.held.is_some();
    }

    /// The same of somebody who is behind, and has to read what comes until then.
    pub(super) fn hurry_on(&mut self) {
        self.hurry();
        self.awaited = self.last;
    }

    /// Whether the log has to be told that somebody waits; it is told once.
    pub(super) fn take_hurry(&mut self) -> bool {
        let hurries = std::mem::take(&mut self.hurries);
        if hurries {
            self.held = None;
        }
        hurries
    }

    /// Remembers what waits for everything appended so far.
    pub(super) fn wait(&mut self, waiting: Waiting) {
        if waiting.is_urgent() {
            self.hurry();
        }
        self.waiting.push_back((self.last, waiting));
    }

    /// Everything up to `through` is durable.
    ///
    /// # Panics
    /// When the log says so of an entry that was never appended.
    pub(super) fn on_durable(&mut self, through: EntryNumber) {
        assert!(through <= self.last, "the log made {through} durable, the last entry is {}", self.last);
        self.durable = self.durable.max(through);
        if self.held.is_some_and(|held| held <= self.durable) {
            (self.held, self.hurries) = (None, false);
        }
    }

    /// Whether everything appended so far is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.durable == self.last
    }

    /// Whether this entry is durable.
    pub(super) fn has_durable(&self, entry: EntryNumber) -> bool {
        self.durable >= entry
    }

    /// Takes the next thing that waited for something durable by now.
    pub(super) fn next_done(&mut self) -> Option<Waiting> {
        if self.waiting.front()?.0 > self.durable {
            return None;
        }
        self.waiting.pop_front().map(|(_, waiting)| waiting)
    }

    /// What this relay says of itself when it is durable, and has said to nobody yet.
    pub(super) fn unsaid(&self) -> impl Iterator<Item = &Fact> {
        self.waiting.iter().filter_map(
            |(_, waiting)| {
                if let Waiting::Said(fact) = waiting { Some(&**fact) } else { None }
            },
        )
    }

    /// Bytes of runs appended since this was last called.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn clear_bytes(&mut self) {
        self.bytes = 0;
    }
}
