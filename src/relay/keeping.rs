//! What is kept and what is let go: cursors written to the log, quotas, retention, release.

use super::group::Group;
use super::input::Now;
use super::journal::Waiting;
use super::quota::Weighing;
use super::state::{CURSOR_BYTES, CursorList, Operation};
use super::subscription::{Removal, Subscription, SubscriptionKey};
use super::timer::Timer;
use super::traces::{How, pass_open};
use super::{Effect, Relay};
use crate::id::{GroupNumber, Index, RelayId, StorageId, Time};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::topology::settings::SubscriptionPolicy;
use crate::wire::body::{GapCause, Notice, Refusal, RefusalCode};

/// How often it is weighed whether moved cursors are worth writing.
pub(super) const CURSOR_TICK_MS: u64 = 50;

/// A moved cursor is written at the latest after so long.
const CURSOR_AGE_MS_MAX: u64 = 1000;

/// Cursors are written early when they are at most this part of what was appended since.
const CURSOR_SHARE: u64 = 16;

/// How often retention and idle producers are looked at.
const HOUSEKEEPING_MS: u64 = 1000;

impl Relay {
    /// Remembers that a group changed, so that housekeeping looks at it.
    pub(super) fn mark_dirty_group(&mut self, number: GroupNumber) {
        self.touched.insert(number);
    }

    /// Remembers that a cursor moved.
    pub(super) fn mark_dirty(&mut self, now: Now, key: SubscriptionKey) {
        self.dirty.push(key);
        self.timers.set_by(Timer::Cursors, now.time.after_ms(CURSOR_TICK_MS));
    }

    pub(super) fn on_cursors_time(&mut self, now: Now) {
        if self.dirty.is_empty() {
            return;
        }
        let since = *self.dirty_since.get_or_insert(now.time);
        let old = now.time >= since.after_ms(CURSOR_AGE_MS_MAX);
        let cheap = self.journal.bytes() >= CURSOR_SHARE * CURSOR_BYTES * self.dirty.len() as u64;
        if old || cheap || self.is_consumption_awaited() {
            self.write_cursors(now, Urgency::Ride);
        } else {
            self.timers.set_by(Timer::Cursors, now.time.after_ms(CURSOR_TICK_MS));
        }
    }

    fn is_consumption_awaited(&mut self) -> bool {
        let groups = &self.groups;
        let awaited = |key: &SubscriptionKey| groups.get(key.group).is_some_and(Group::awaits_acks);
        self.dirty.iter().any(awaited)
    }

    /// Writes all cursors that have moved, and lets go behind them when they are durable.
    /// Whether they are synced at once is `urgency`, unless a put waits for them.
    pub(super) fn write_cursors(&mut self, now: Now, urgency: Urgency) {
        self.timers.clear(Timer::Cursors);
        self.dirty_since = None;
        let urgency = if self.is_consumption_awaited() { Urgency::Sync } else { urgency };
        self.write_passed(now, urgency);
        let mut list = CursorList::new();
        let mut groups: Vec<GroupNumber> = Vec::new();
        for key in std::mem::take(&mut self.dirty) {
            let Some(subscription) = self.groups.subscription(key) else { continue };
            if std::mem::take(&mut subscription.dirty) {
                list.push(key.group, subscription);
                groups.push(key.group);
            }
            if list.bytes() >= limits::CURSORS_BYTES_TARGET {
                let full = std::mem::replace(&mut list, CursorList::new());
                self.journal.append(&mut self.effects, Entry::State(full.finish()), urgency);
            }
        }
        if groups.is_empty() {
            return;
        }
        if !list.is_empty() {
            self.journal.append(&mut self.effects, Entry::State(list.finish()), urgency);
        }
        self.journal.clear_bytes();
        groups.sort_unstable();
        groups.dedup();
        for number in groups {
            self.wait_for_floor(now, number);
        }
    }

    /// When everything appended so far is durable, what lies below the floors of now may go.
    pub(super) fn wait_for_floor(&mut self, now: Now, number: GroupNumber) {
        self.note_quota(now, number);
        let Some(group) = self.groups.get_mut(number) else { return };
        let consumed = group.owed_here();
        let release = group.owed().min(group.history(now.wall)).min(group.next);
        if release > group.low || consumed > group.settled || group.awaits_acks() {
            if group.awaits_acks() {
                self.journal.hurry();
            }
            self.journal.wait(Waiting::Floor { group: number, consumed, release });
        }
    }

    /// Written floors are durable: answers puts that waited for them, and lets go.
    pub(super) fn on_floor(&mut self, now: Now, number: GroupNumber, consumed: Index, release: Index) {
        let Some(group) = self.groups.get_mut(number) else { return };
        group.settled = group.settled.max(consumed);
        if group.streams.iter().any(|stream| stream.wanted > stream.told.1) {
            self.owe_receipt(now, number, false);
        }
        self.settle_levels(number);
        let Some(group) = self.groups.get_mut(number) else { return };
        release_unowed(group, (&self.options.relay, self.options.epoch.storage));
        // What a seek or a new subscription was promised meanwhile stays.
        let release = release.min(group.durable).min(group.owed());
        if release > group.low {
            let_go(group, release);
            self.note_forgotten(number);
            self.effects.push_back(Effect::Release { group: number, below: release });
            self.release_annexes(number);
        }
    }

    pub(super) fn on_housekeeping_time(&mut self, now: Now) {
        self.timers.set(Timer::Housekeeping, now.time.after_ms(HOUSEKEEPING_MS));
        self.forget_traces(now);
        let mut again = Vec::new();
        for number in std::mem::take(&mut self.touched) {
            self.repeat_receipts(now, number);
            self.offer_held(now, number);
            self.enforce(now, number);
            let Some(group) = self.groups.get_mut(number) else { continue };
            if let Some(traffic) = &mut group.traffic {
                traffic.producers.expire(now.wall, group.settings.producer_idle_max_ms());
            }
            if let Some(order) = &mut group.order {
                order.forget_idle(now.wall, group.settings.producer_idle_max_ms());
            }
            let is_awaited = self.settle_impossible(number);
            let is_to_forget = self.forget_done(now, number) || is_awaited;
            let Some(group) = self.groups.get_mut(number) else { continue };
            // What was kept for the other home of a name is forgotten when there is none any more.
            group.forget_finished();
            let is_to_forget = is_to_forget || group.subscriptions.iter().any(|s| s.twin_since.is_some());
            let producers = group.traffic.as_ref().is_some_and(|t| !t.producers.is_empty());
            if group.low < group.next || producers || is_to_forget {
                again.push(number);
            }
            self.note_forgotten(number);
        }
        self.touched.extend(again);
        self.go_on_draining(now, None);
        self.forget_names_of_finished();
    }

    /// Applies the limits of a group: retention, quotas of its subscriptions, history; and weighs what
    /// others are to be told of its quotas.
    pub(super) fn enforce(&mut self, now: Now, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let limit = group.limit(now.wall);
        let mut moved = group.pass_done_elsewhere();
        let mut evicted = Vec::new();
        // Without its backlog a queue would take messages that nobody is owed.
        let is_queue = group.queue;
        for place in 0..group.subscriptions.len() {
            if group.subscriptions[place].is_arriving() {
                // What is done with at its old home nobody here knows yet: that would be told as lost.
                continue;
            }
            let (quota, policy) = quota_floor(group, place);
            let subscription = &mut group.subscriptions[place];
            // What stands behind is another relay's to deliver, or to tell of.
            let (limit, quota) = (subscription.delivered_up_to(limit), subscription.delivered_up_to(quota));
            let was_dirty = subscription.dirty;
            let key = SubscriptionKey { group: number, number: subscription.number };
            let floor = subscription.cursor.floor();
            if floor < limit {
                let dropped = How::Dropped(GapCause::Retention);
                pass_open(&mut self.traces.passed, &subscription.cursor, key, (floor, limit), dropped);
                subscription.drop_below(limit, GapCause::Retention, &group.marks);
            }
            if subscription.cursor.floor() < quota {
                if policy == SubscriptionPolicy::Evict && !is_queue {
                    evicted.push(key);
                } else {
                    let floor = subscription.cursor.floor();
                    let cause = GapCause::SubscriptionQuota;
                    let dropped = How::Dropped(cause);
                    pass_open(&mut self.traces.passed, &subscription.cursor, key, (floor, quota), dropped);
                    subscription.drop_below(quota, cause, &group.marks);
                }
            }
            if subscription.dirty && !was_dirty {
                moved.push(subscription.number);
            }
        }
        for subscription in moved {
            let key = SubscriptionKey { group: number, number: subscription };
            self.mark_dirty(now, key);
            self.enqueue(key);
        }
        for key in evicted {
            self.evict(now, key);
        }
        self.weigh_quotas(now, number, Weighing::AtRest);
        self.release_if_unowed(now, number);
    }

    /// Lets go what no subscription is owed and no history keeps: nothing needs to be written for it.
    fn release_if_unowed(&mut self, now: Now, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number) else { return };
        if group.subscriptions.iter().any(|s| s.dirty) {
            return;
        }
        if self.journal.is_durable() {
            let (consumed, owed) = (group.owed_here(), group.owed());
            let release = owed.min(group.history(now.wall));
            self.on_floor(now, number, consumed, release);
        } else {
            // Under a steady load there is never a moment with everything durable.
            self.wait_for_floor(now, number);
        }
    }

    /// Puts wait for acks that are known and perhaps not on disk: sees to it that they get there.
    pub(super) fn settle_acks(&mut self, now: Now, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number) else { return };
        if group.subscriptions.iter().any(|s| s.dirty) {
            self.write_cursors(now, Urgency::Sync);
        } else {
            self.wait_for_floor(now, number);
        }
    }

    fn evict(&mut self, now: Now, key: SubscriptionKey) {
        if self.check_settled(key).is_err() {
            // Half way between two homes: it is looked at again.
            return;
        }
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let name = group.find(key.number).map(|place| group.subscriptions[place].name.clone());
        let Some(name) = name else { return };
        let message = format!(
            "subscription `{name}` of group `{}` was over its quota and was removed, as the group's policy says",
            group.name
        );
        self.remove_subscription(now, key, Refusal::new(RefusalCode::Removed, message), Removal::Evicted);
    }

    /// Tells all receivers of a subscription that it is gone.
    pub(super) fn dismiss_receivers(&mut self, key: SubscriptionKey, refusal: &Refusal) {
        self.lose_rejected(key, refusal);
        let Some(subscription) = self.groups.subscription(key) else { return };
        let receivers = subscription.active.take().map(|a| a.receivers).unwrap_or_default();
        for mut receiver in receivers {
            self.effects.extend(receiver.end_poll());
            if let Some(session) = self.sessions.get_mut(&receiver.session) {
                session.lose_handle(receiver.handle);
            }
            let notice = Notice::Detached { handle: receiver.handle, refusal: refusal.clone() };
            self.effects.push_back(Effect::Notice { session: receiver.session, notice });
        }
        if let Some(group) = self.groups.get_mut(key.group) {
            group.attached.retain(|n| *n != key.number);
        }
    }

    /// Removes a subscription, durably in time.
    pub(super) fn remove_subscription(
        &mut self,
        now: Now,
        key: SubscriptionKey,
        refusal: Refusal,
        removal: Removal,
    ) {
        self.dismiss_receivers(key, &refusal);
        self.note_leaving(now, key, removal);
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let removed = group.subscriptions.remove(place);
        let is_last = group.end_membership();
        group.leaving = is_last.or(group.leaving);
        let evicted = (removal == Removal::Evicted).then(|| removed.owed_from());
        if let Some(from) = evicted {
            group.note_evicted(removed.name.clone(), from);
        }
        self.retired.add(group, &removed, removal);
        if !removed.is_arriving() {
            self.names.remove(&(key.group, removed.name.clone()));
        }
        let (group, subscription, elsewhere) = (key.group, key.number, removal == Removal::Elsewhere);
        let operation = Operation::SubscriptionRemoved { group, subscription, evicted, elsewhere };
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
        if let Some(membership) = is_last {
            self.journal.wait(Waiting::Left { group, membership });
        }
        if !removed.is_arriving() {
            self.announce_name(key.group, &removed.name, None);
        }
        self.end_remnants(key);
        self.wait_for_floor(now, key.group);
        self.mark_dirty_group(key.group);
    }
}

/// Forgets what lies below `release`: streams that have ended there, and samples.
pub(super) fn let_go(group: &mut Group, release: Index) {
    group.low = release;
    group.meter.release(release);
    group.marks.retain(|mark| *mark >= release);
    group.repeats.retain(|(_, to)| *to > release);
    if let Some(order) = &mut group.order {
        order.let_go(release);
    }
    group.streams.iter_mut().for_each(|stream| stream.forget_below(release));
    // With neighbours it must be known that a stream is finished, or they would bring it again.
    if group.spread.is_none() {
        group.streams.retain(|s| !(s.sealed && s.end <= release));
    } else {
        group.forget_finished();
    }
}

/// Of a group of which nobody else is a member: what this relay wrote is released before it is let go. An epoch
/// before this one knows by its marks only who was a member, and the seal that a start appends to it is owed to
/// none of those who have left since. Whoever joins later waits for it, unless it is released.
fn release_unowed(group: &mut Group, (me, storage): (&RelayId, StorageId)) {
    let Some(spread) = group.spread.as_deref().filter(|spread| !spread.has_others) else { return };
    for stream in group.streams.iter_mut().filter(|stream| stream.is_written_by(me, storage)) {
        stream.release(stream.covered(me, |relay| spread.parts.may_be_member(relay)));
    }
}

/// The lowest floor that the quota lets a subscription have, and what happens below it.
fn quota_floor(group: &Group, place: usize) -> (Index, SubscriptionPolicy) {
    let settings = &group.settings;
    let policy = settings.subscription_policy;
    if policy == SubscriptionPolicy::Refuse {
        return (Index(0), policy);
    }
    let subscription = &group.subscriptions[place];
    let (from, end) = (group.counted_from(subscription), group.durable);
    let by_count = settings
        .subscription_quota_count
        .filter(|max| group.backlog_from(subscription, from, end) > *max)
        .map(|max| last_open(group, subscription, (max, end)));
    let by_bytes = settings.subscription_quota_bytes.map(|max| group.meter.index_of_last_bytes(max).min(end));
    let by_bytes = by_bytes.filter(|index| *index > from);
    (by_count.into_iter().chain(by_bytes).max().unwrap_or(Index(0)), policy)
}

/// Behind which index a subscription has at most so many messages left: what it is done with between them, in
/// any order, holds nothing back.
fn last_open(group: &Group, subscription: &Subscription, (max, end): (u64, Index)) -> Index {
    let (mut low, mut high) = (subscription.cursor.floor().0, end.0);
    while low < high {
        let middle = low + (high - low) / 2;
        if group.backlog_from(subscription, Index(middle), end) > max {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    // A relay's own record just before goes with them: that alone would be no loss to tell of.
    let mut from = low;
    while from > 1 && group.marks.binary_search(&Index(from - 1)).is_ok() {
        from -= 1;
    }
    Index(from)
}

/// The first moment at which the housekeeping of a started relay is due.
pub(super) fn first_housekeeping(now: Time) -> Time {
    now.after_ms(HOUSEKEEPING_MS)
}
