//! What a subscription brings along from its old home (R12): what nobody has taken there.
//!
//! While a move waits for receivers at the old home and none takes, what is to be delivered there is
//! copied to the new one ([`super::moving::copy`]). Here it is kept in a group of the log that has no
//! name: a **remnant**. In it each run has the place that it has at the old home, so how far the copy
//! has come is known from the runs that are in it, whatever crashes when, and none is in it twice.
//!
//! ```text
//!  filled ──the old home hands over: what is left of it──▶ open ──all is done with──▶ gone
//!    └── the move is given up, or everything was taken there after all ──▶ gone
//! ```
//!
//! Whoever receives from the subscription receives from its remnants first, one after the other, then
//! from what has come here since: so the order of each origin stays. To everything but the table of
//! groups a remnant is a group as any other, with one subscription; it is in no tree and has no members.
//! It is removed when its subscription or group is.

mod fill;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Relay;
use super::group::{Group, marks_in};
use super::state::{Accounts, CursorList, Operation, RestoreError};
use super::subscription::{Gap, SubscriptionKey, SubscriptionNumber, subscription_from};
use crate::id::{GroupNumber, Index, SubscriptionName, WallTime};
use crate::limits;
use crate::log::{Entry, MissingCause, Piece, Urgency};
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};
use crate::wire::body::{Outcomes, Refusal, RefusalCode};
use crate::wire::moving::{Left, StreamPart};

/// Places without a record that are told apart from messages; of more it is not worth it.
const HOLE_MAX: u64 = 1 << 10;

/// What a group of the log is that is a remnant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remnant {
    /// Whose it is.
    #[serde(rename = "g")]
    pub(super) group: GroupNumber,
    #[serde(rename = "s")]
    pub(super) subscription: SubscriptionNumber,
    /// Which part it is of what the old home had.
    #[serde(rename = "p")]
    pub(super) part: u32,
    /// Where it begins.
    #[serde(rename = "f")]
    pub(super) from: Index,
    /// Where its first record stands, if it is known; what is before it has none.
    #[serde(rename = "n", skip_serializing_if = "is_unknown", default)]
    pub(super) first: Index,
    /// Whether it was handed over.
    #[serde(rename = "o", default)]
    pub(super) is_open: bool,
    /// What was lost at the old home, or may be.
    #[serde(rename = "l", skip_serializing_if = "Vec::is_empty", default)]
    pub(super) lost: Vec<Gap>,
    /// What its subscription does not get from it: it is owed that here itself, or a third home of its name
    /// has brought it before, or it was acked there.
    #[serde(rename = "w", skip_serializing_if = "Vec::is_empty", default)]
    pub(super) own: Vec<StreamPart>,
}

fn is_unknown(index: &Index) -> bool {
    index.0 == 0
}

impl Remnant {
    pub(super) fn key(&self) -> SubscriptionKey {
        SubscriptionKey { group: self.group, number: self.subscription }
    }

    /// What stands at a place without a record, and up to where that is so: lost there, or nothing.
    pub(super) fn hole(&self, at: Index) -> (Option<Gap>, Index) {
        let next = self.lost.iter().find(|gap| gap.to > at);
        match next {
            Some(gap) if gap.from <= at => (Some(*gap), gap.to),
            Some(gap) => (None, gap.from),
            None => (None, Index(u64::MAX)),
        }
    }
}

impl Group {
    /// The place of the next record in a remnant: what is before it has none.
    pub(super) fn go_to(&mut self, index: Index) {
        let hole = index.0.saturating_sub(self.next.0);
        if let Some(remnant) = self.remnant.as_deref_mut().filter(|remnant| remnant.from == self.next) {
            remnant.first = index;
        }
        if hole <= HOLE_MAX {
            self.mark(self.next, u32::try_from(hole).unwrap_or(0));
        }
        self.next = index;
    }

    /// Records of the run that comes next in a remnant are not for its subscription.
    fn pass_by(&mut self, from: Index, to: Index) {
        // The old home says it again when its run was not durable.
        if self.repeats.last().is_none_or(|(_, known)| *known <= from) && from < to {
            self.repeats.push((from, to));
            let count = u32::try_from(to.0 - from.0).unwrap_or(0).min(limits::RUN_RECORDS_MAX);
            self.mark(from, count);
        }
    }

    /// The settings of a remnant: what limits a group or keeps it for longer was its own home's to heed.
    fn settings_of_remnant(&self) -> Box<GroupSettings> {
        Box::new(GroupSettings {
            max_bytes: None,
            max_count: None,
            max_age_ms: None,
            history_age_ms: None,
            history_bytes: None,
            history_count: None,
            quota_bytes: None,
            quota_count: None,
            subscription_quota_count: None,
            subscription_quota_bytes: None,
            subscription_policy: SubscriptionPolicy::default(),
            ..(*self.settings).clone()
        })
    }

    /// Whether nothing stands at or behind an index but the relays' own records, which nobody receives.
    fn has_only_marks_from(&self, floor: Index) -> bool {
        let marks = marks_in(&self.marks, (floor, Index(u64::MAX)));
        self.next.0.saturating_sub(floor.0) <= marks.len() as u64
    }

    /// What is left of a part is its subscription's from now on.
    fn open_remnant(&mut self, left: &Left) {
        self.go_to(self.next.max(left.to));
        let Some(remnant) = &mut self.remnant else { return };
        let gap = |(from, to, cause): &(Index, Index, _)| Gap { from: *from, to: *to, cause: *cause };
        (remnant.is_open, remnant.lost) = (true, left.lost.iter().map(gap).collect());
        for subscription in &mut self.subscriptions {
            let mut cursor = super::cursor::Cursor::new(left.floor);
            for (from, to) in &left.done {
                cursor.ack(*from, *to);
            }
            subscription.out.passed = cursor.above();
            (subscription.cursor, subscription.start, subscription.next) = (cursor, left.floor, left.floor);
            (subscription.delivered, subscription.ackable) = (left.floor, left.floor);
            subscription.gaps = left.gaps.iter().map(gap).collect();
        }
    }
}

/// What was read of a remnant, with the places that have no record: half-open. The log, which knows of no
/// remnants, may take such places for damage: behind a segment that was recycled meanwhile.
pub(super) fn with_nothing(pieces: Vec<Piece>, asked: Range<Index>, group: &Group) -> Vec<Piece> {
    let nothing = |from, to| Piece::Missing { from, to, cause: MissingCause::Released };
    let first = group.remnant.as_deref().map_or(Index(0), |remnant| remnant.first);
    let is_nothing = |from: Index, to: Index| {
        let from = from.max(first);
        from >= to || marks_in(&group.marks, (from, to)).len() as u64 == to.0 - from.0
    };
    let mut whole = Vec::with_capacity(pieces.len());
    let mut reached = asked.start;
    for piece in pieces {
        let (from, to) = super::ahead::range(&piece);
        if from > reached {
            whole.push(nothing(reached, from));
        }
        reached = reached.max(to);
        let is_missing = matches!(piece, Piece::Missing { .. });
        whole.push(if is_missing && is_nothing(from, to) { nothing(from, to) } else { piece });
    }
    if reached < asked.end && reached == asked.start {
        whole.push(nothing(asked.start, asked.end));
    }
    whole
}

impl Relay {
    /// The remnants of a subscription, in the order in which they are delivered.
    pub(super) fn remnants_of(&self, key: SubscriptionKey) -> &[GroupNumber] {
        self.remnants.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Where those who receive from a subscription receive from now: a remnant while there is one.
    pub(super) fn served_part(&mut self, key: SubscriptionKey) -> SubscriptionKey {
        for group in self.readable(key) {
            let number = self.groups.get(group).and_then(|group| group.subscriptions.first());
            let Some(number) = number.map(|subscription| subscription.number) else { continue };
            let part = SubscriptionKey { group, number };
            if !self.end_if_taken(part) {
                return part;
            }
        }
        key
    }

    /// What of a subscription's backlog is in remnants.
    pub(super) fn backlog_in_remnants(&self, key: SubscriptionKey) -> u64 {
        let parts = self.readable(key).into_iter().filter_map(|number| self.groups.get(number));
        let backlog = |group: &Group| -> u64 {
            group.subscriptions.iter().map(|s| group.backlog(s, group.deliverable())).sum()
        };
        parts.map(backlog).sum()
    }

    pub(super) fn remnant(&self, key: SubscriptionKey, part: u32) -> Option<&Group> {
        let mut all = self.remnants_of(key).iter().filter_map(|number| self.groups.get(*number));
        // What it has brought along before has numbers of its own.
        let is_new = |remnant: &Remnant| !remnant.is_open || !self.is_joined(key);
        all.find(|group| {
            group.remnant.as_ref().is_some_and(|remnant| remnant.part == part && is_new(remnant))
        })
    }

    /// Something is said of a remnant: now, or as the log tells it.
    pub(super) fn replay_of_remnant(
        &mut self,
        operation: Operation,
        replay: bool,
    ) -> Result<(), RestoreError> {
        if let Operation::RemnantPasses { group, from, to } = operation {
            self.replay_passes(group, from, to);
            return Ok(());
        }
        if let Operation::RemnantOpened { group, left } = operation {
            self.replay_opened(group, &left, replay);
            return Ok(());
        }
        self.replay_remnant(operation)
    }

    fn replay_remnant(&mut self, operation: Operation) -> Result<(), RestoreError> {
        let Operation::RemnantBegun {
            group,
            of: (of, number),
            part,
            name,
            incarnation,
            settings,
            subscription,
            subscription_name,
            shared,
            filter,
            window,
            from,
            at,
        } = operation
        else {
            return Ok(());
        };
        self.counters.groups = self.counters.groups.max(group.0);
        self.counters.subscriptions = self.counters.subscriptions.max(subscription.0);
        let mut made = Group::new(group, name, incarnation, at);
        made.settings = settings;
        let (lost, is_open) = (Vec::new(), false);
        made.remnant = Some(Box::new(Remnant {
            group: of,
            subscription: number,
            part,
            from,
            first: Index(0),
            is_open,
            lost,
            own: Vec::new(),
        }));
        (made.next, made.low, made.durable, made.arrived, made.settled) = (from, from, from, from, from);
        made.heed_fifo();
        let how = (shared, filter.as_deref(), window);
        let mut only = subscription_from((subscription, subscription_name), how, (from, WallTime(0)))?;
        only.replays = true;
        made.subscriptions.push(Box::new(only));
        self.add_remnant(made);
        Ok(())
    }

    /// A remnant is there: begun, or read again.
    pub(super) fn add_remnant(&mut self, made: Group) {
        let Some(key) = made.remnant.as_ref().map(|remnant| remnant.key()) else { return };
        let all = self.remnants.entry(key).or_default();
        all.push(made.number);
        all.sort_unstable();
        self.groups.insert(made);
        self.note_remnants(key);
    }

    /// What became of what a subscription has brought along, in a part that was served and goes.
    pub(super) fn accounts_of(&self, part: &Group) -> Option<Accounts> {
        let remnant = part.remnant.as_deref().filter(|remnant| remnant.is_open)?;
        self.groups.get(remnant.group)?.find(remnant.subscription)?;
        let mut out = Outcomes::default();
        part.subscriptions.iter().for_each(|served| super::books::add(&mut out, &served.accounts()));
        Some(Accounts { group: remnant.group, subscription: remnant.subscription, out })
    }

    /// It is told with what became of the rest from now on.
    pub(super) fn take_accounts(&mut self, brought: &Accounts) {
        let key = SubscriptionKey { group: brought.group, number: brought.subscription };
        if let Some(subscription) = self.groups.subscription(key) {
            super::books::add(subscription.brought.get_or_insert_default(), &brought.out);
        }
    }

    /// A remnant is gone.
    pub(super) fn forget_remnant(&mut self, number: GroupNumber, key: SubscriptionKey) {
        if let Some(all) = self.remnants.get_mut(&key) {
            all.retain(|known| *known != number);
            if all.is_empty() {
                self.remnants.remove(&key);
            }
        }
        self.note_remnants(key);
    }

    /// Remembers beside a subscription whether it has remnants.
    pub(super) fn note_remnants(&mut self, key: SubscriptionKey) {
        let has_remnants = !self.remnants_of(key).is_empty();
        if let Some(subscription) = self.groups.subscription(key) {
            subscription.has_remnants = has_remnants;
        }
    }

    /// Records of a run that is next in a remnant are not for it.
    fn replay_passes(&mut self, number: GroupNumber, from: Index, to: Index) {
        if let Some(group) = self.groups.get_mut(number) {
            group.pass_by(from, to);
        }
    }

    /// What is left of a part is known: now, or as the log tells it.
    pub(super) fn replay_opened(&mut self, number: GroupNumber, left: &Left, replay: bool) {
        let Some(group) = self.groups.get_mut(number) else { return };
        group.open_remnant(left);
        if !replay {
            // The old home has heard that all of it is on this disk.
            group.durable = group.next;
        }
        self.mark_dirty_group(number);
    }

    /// Removes a remnant whose subscription is done with it: whoever receives goes on with the next.
    /// Whether it is gone.
    pub(super) fn end_if_taken(&mut self, part: SubscriptionKey) -> bool {
        let Some(group) = self.groups.get(part.group) else { return true };
        let is_open = group.remnant.as_ref().is_some_and(|remnant| remnant.is_open);
        let is_taken = group.subscriptions.iter().all(|s| group.has_only_marks_from(s.cursor.floor()));
        if !is_open || !is_taken {
            return false;
        }
        let gaps: Vec<Gap> = group.subscriptions.iter().flat_map(|s| s.gaps.clone()).collect();
        let of = group.remnant.as_ref().map(|remnant| remnant.key());
        let behind = self.readable(of.unwrap_or_default()).into_iter().find(|number| *number > part.group);
        let next = behind.and_then(|number| {
            let number = (number, self.groups.get(number)?.subscriptions.first()?.number);
            Some(SubscriptionKey { group: number.0, number: number.1 })
        });
        next.or(of).into_iter().for_each(|next| self.keep_gaps(next, &gaps));
        self.end_remnant(part.group);
        true
    }

    /// What a subscription was told that it does not get, and has not acked, is told again: as if it stood
    /// before everything that comes now.
    fn keep_gaps(&mut self, key: SubscriptionKey, gaps: &[Gap]) {
        let Some(subscription) = self.groups.subscription(key).filter(|_| !gaps.is_empty()) else { return };
        let floor = subscription.cursor.floor();
        let before = |gap: &Gap| {
            let from = Index(floor.0.saturating_sub(gap.to.0 - gap.from.0));
            Gap { from, to: floor.max(from.after(1)), cause: gap.cause }
        };
        subscription.gaps.splice(0..0, gaps.iter().map(before));
        let mut list = CursorList::new();
        list.push(key.group, subscription);
        self.journal.append(&mut self.effects, Entry::State(list.finish()), Urgency::Ride);
    }

    pub(super) fn end_remnant(&mut self, number: GroupNumber) {
        let of = self.groups.get(number).and_then(|group| group.remnant.as_deref()).map(Remnant::key);
        let message = "what the subscription has brought along is taken, and more follows: try again";
        self.end_group_with(number, &Refusal::new(RefusalCode::NotReady, message));
        of.into_iter().for_each(|key| self.hold_brought(key.group));
    }

    /// A subscription is gone, or does not come.
    pub(super) fn end_remnants(&mut self, key: SubscriptionKey) {
        for number in self.remnants_of(key).to_vec() {
            self.end_remnant(number);
        }
    }

    /// After a start: notes whose remnants there are, and removes those whose subscription is gone.
    pub(super) fn find_remnants(&mut self) {
        for key in self.remnants.keys().copied().collect::<Vec<_>>() {
            self.note_remnants(key);
            match self.groups.subscription(key) {
                None => self.end_remnants(key),
                Some(s) if s.merging.is_none() && !s.is_arriving() => self.end_closed_remnants(key),
                Some(_) => {}
            }
        }
    }

    /// The settings of a group have changed: so have those of its remnants.
    pub(super) fn settle_remnants(&mut self, number: GroupNumber) {
        let from = SubscriptionKey { group: number, ..SubscriptionKey::default() };
        let all = self.remnants.range(from..).take_while(|(key, _)| key.group == number);
        let all: Vec<GroupNumber> = all.flat_map(|(_, remnants)| remnants).copied().collect();
        let Some(settings) = self.groups.get(number).map(Group::settings_of_remnant) else { return };
        for remnant in all {
            let operation = Operation::GroupSet { group: remnant, settings: settings.clone(), planned: None };
            self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
            self.apply(operation, false).expect("an operation that was checked applies");
            self.on_fifo_set(remnant);
        }
    }

    /// Whom a subscription that has remnants is told of where it may not be put to another place.
    pub(super) fn check_whole(
        &mut self,
        key: SubscriptionKey,
        name: &SubscriptionName,
    ) -> Result<(), Refusal> {
        self.served_part(key);
        if self.readable(key).is_empty() {
            return Ok(());
        }
        let message = format!(
            "subscription `{name}` has brought along {} messages from its old home: they are to be taken first",
            self.backlog_in_remnants(key)
        );
        Err(Refusal::new(RefusalCode::NotReady, message))
    }
}
