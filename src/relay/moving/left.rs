//! What is left at the old home of a subscription that leaves.

use std::collections::BTreeMap;

use super::super::Relay;
use super::super::delivery::GroupSide;
use super::super::group::Group;
use super::super::merging::{Scan, in_order};
use super::super::stream::Stream;
use super::super::subscription::{Subscription, SubscriptionKey};
use super::copy::{Lost, Rest};
use crate::id::{Index, Sequence};
use crate::wire::moving::{Done, Left};
use crate::wire::run::StoredRun;

/// The part that stands before the cut; others have the numbers of remnants.
const BEFORE_CUT: u32 = u32::MAX;

/// What of a run is not for a subscription, behind its floor.
pub(super) fn not_owed(
    side: &GroupSide<'_>,
    subscription: &Subscription,
    run: &StoredRun,
) -> Vec<(Index, Index)> {
    let (mut at, end) = (run.first_index.max(subscription.cursor.floor()), run.end_index());
    if run.arrived < subscription.not_before || (!subscription.replays && !side.owes(run)) {
        return vec![(at, end)];
    }
    let mut found = Vec::new();
    while at < end {
        let (is_repeat, repeat_to) = side.repeat(at);
        let (is_done, done) = side.done_to(subscription.arrived.as_deref(), run, at);
        let to = match (is_repeat, is_done) {
            (true, _) => repeat_to,
            (false, true) => done,
            (false, false) => repeat_to.min(done),
        };
        let to = to.min(end).max(at.after(1));
        if is_repeat || is_done {
            found.push((at, to));
        }
        at = to;
    }
    found
}

/// Whether something of a run is left: not done with, and not among these.
pub(super) fn is_left(subscription: &Subscription, run: &StoredRun, not_owed: &[(Index, Index)]) -> bool {
    let (mut at, end) = (run.first_index, run.end_index());
    while let Some((from, to)) = subscription.cursor.next_open(at, end) {
        let hidden = not_owed.iter().find(|(a, b)| *a <= from && from < *b);
        match hidden {
            None => return true,
            Some((_, behind)) => at = (*behind).max(from.after(1)).min(to.max(*behind)),
        }
    }
    false
}

/// What is left of a part that was copied, by its cursor.
fn left_of(part: u32, subscription: &Subscription, to: Index, lost: Vec<Lost>) -> Option<Left> {
    let cursor = &subscription.cursor;
    let (floor, end) = (cursor.floor(), cursor.end().min(to));
    let gaps = subscription.gaps.iter().filter(|gap| gap.from < gap.to);
    let gaps: Vec<_> = gaps.map(|gap| (gap.from, gap.to, gap.cause)).collect();
    if floor >= to && gaps.is_empty() {
        return None;
    }
    let (mut at, mut done) = (floor, Vec::new());
    while at < end {
        let (from, behind) = cursor.next_open(at, end).unwrap_or((end, end));
        if at < from {
            done.push((at, from));
        }
        at = behind;
    }
    Some(Left { part, floor: floor.min(to), to, done, gaps, lost })
}

impl Relay {
    /// What a subscription that leaves has here, in order: the number of each part, and where it ends.
    pub(in crate::relay) fn parts_here(&self, key: SubscriptionKey) -> Vec<(u32, SubscriptionKey, Index)> {
        let remnants = self.remnants_of(key).iter().filter_map(|number| self.groups.get(*number));
        let part = |group: &Group| {
            let number = group.subscriptions.first()?.number;
            Some((group.number.0, SubscriptionKey { group: group.number, number }, group.next))
        };
        let cut = self.groups.get(key.group).and_then(|group| {
            let moving = group.subscriptions.get(group.find(key.number)?)?.moving.as_ref()?;
            Some((BEFORE_CUT, key, moving.cut.as_ref()?.at))
        });
        remnants.filter_map(part).chain(cut).collect()
    }

    pub(in crate::relay) fn part_at(&self, key: SubscriptionKey) -> Option<(&Group, &Subscription)> {
        let group = self.groups.get(key.group)?;
        Some((group, group.subscriptions.get(group.find(key.number)?)?))
    }

    /// What a home is done with that is made one with another: of what it was owed, what was acked.
    pub(super) fn joined(&self, key: SubscriptionKey, whole: &BTreeMap<u32, (Vec<Lost>, Scan)>) -> Done {
        let (mut done, nothing) = (Done::default(), Scan::default());
        let disk = (&self.options.relay, self.options.epoch.storage);
        for (id, at, _) in self.parts_here(key) {
            let Some((group, subscription)) = self.part_at(at) else { continue };
            let scan = whole.get(&id).map_or(&nothing, |(_, scan)| scan);
            if at != key {
                scan.tell_brought(group, &mut done);
                continue;
            }
            let cut = subscription.moving.as_deref().and_then(|moving| moving.cut.as_ref());
            let last = |stream: &Stream| {
                let known = cut.into_iter().flat_map(|cut| &cut.done.streams);
                let mut known = known.filter(|at| at.origin == stream.origin && at.epoch == stream.epoch);
                known.next().map_or(Sequence(0), |at| at.last)
            };
            scan.tell((group, subscription), disk, &last, &mut done);
        }
        Done { parts: in_order(done.parts), owed: in_order(done.owed), ..Done::default() }
    }

    /// What is left at the old home when it hands over.
    pub(super) fn left_here(&mut self, key: SubscriptionKey) -> Vec<Left> {
        let rest = self.moving_at(key).and_then(|moving| moving.rest.clone());
        let Some(Rest { lost, .. }) = rest else { return Vec::new() };
        let lost: BTreeMap<u32, Vec<Lost>> = lost.into_iter().collect();
        let parts = self.parts_here(key);
        let left = parts.into_iter().filter_map(|(id, part, to)| {
            let (_, subscription) = self.part_at(part)?;
            left_of(id, subscription, to, lost.get(&id).cloned().unwrap_or_default())
        });
        left.collect()
    }
}
