//! What became of one message in the subscriptions of this relay.
//!
//! While a message is held this is known from three things: the cursor says whether it is open,
//! what is kept of receivers who has it, and the message itself whether the filter lets it through
//! and whether its time is over. When it is done the cursor does not tell any more in which way;
//! then what is remembered does ([`super::traces`]): what was passed over is noted, so what is done
//! and not noted was acked.

use std::collections::BTreeMap;

use super::active::Active;
use super::delivery::GroupSide;
use super::group::Group;
use super::input::Now;
use super::select::{self, Rule, stretch};
use super::subscription::{Subscription, SubscriptionNumber};
use super::traces::How;
use crate::id::{GroupName, Index, RelayId};
use crate::wire::body::{DeadReason, Fate, SubscriptionTrace};
use crate::wire::run::{Records, StoredRun};

/// A message and its place in a group.
pub(super) struct Spot {
    pub(super) index: Index,
    /// The message itself, if it can be read.
    pub(super) run: Option<Within>,
    /// Whether what became of it is remembered.
    pub(super) is_remembered: bool,
    /// How subscriptions have passed it over, as far as that is remembered.
    pub(super) passed: BTreeMap<SubscriptionNumber, How>,
}

/// A message in its run: looked for once, and judged by each subscription.
pub(super) struct Within {
    /// The run, which ends with the message.
    run: StoredRun,
    /// Which of its records it is, and the byte at which that begins; `None`: they cannot be read.
    at: Option<(u32, usize)>,
}

impl Within {
    /// What stands at an index of a run.
    pub(super) fn of(run: &StoredRun, index: Index) -> Self {
        let (mut run, at) = (run.clone(), place(run, index));
        if let Some((record, _)) = at {
            run.run.header.count = run.run.header.count.min(record.saturating_add(1));
        }
        Self { run, at }
    }
}

fn place(run: &StoredRun, index: Index) -> Option<(u32, usize)> {
    let record = u32::try_from(index.0.checked_sub(run.first_index.0)?).ok()?;
    let mut records = Records::new(&run.run.body);
    for _ in 0..record {
        records.pass().ok()?;
    }
    Some((record, run.run.body.len() - records.rest()))
}

/// What became of a message in each subscription of a group that there is now.
pub(super) fn fates(group: &Group, me: &RelayId, now: Now, spot: Option<&Spot>) -> Vec<SubscriptionTrace> {
    let side = GroupSide::of(group, me);
    let fate = |subscription: &Subscription| {
        let fate = spot.map_or(Fate::Unknown, |spot| fate(group, &side, now, subscription, spot));
        // Where it was served before it may have begun before this.
        let may_be_so = fate != Fate::BeforeStart || !has_come(group, me, subscription);
        if may_be_so { fate } else { Fate::Unknown }
    };
    // One that is on its way here is served where it comes from, and told of there.
    let traces = group.subscriptions.iter().filter(|subscription| !subscription.is_arriving());
    let traces = traces.map(|s| SubscriptionTrace { name: s.name.clone(), fate: fate(s), gone: false });
    traces.chain(fates_of_gone(group, spot)).collect()
}

/// What became of it in those that were removed since, as far as that is remembered.
fn fates_of_gone(group: &Group, spot: Option<&Spot>) -> Vec<SubscriptionTrace> {
    let Some((spot, memory)) = spot.filter(|spot| spot.is_remembered).zip(group.memory.as_deref()) else {
        return Vec::new();
    };
    let fate = |number| noted(group, spot.passed.get(&number).copied()).unwrap_or(Fate::Acked);
    let gone = memory.gone_at(spot.index);
    gone.map(|gone| SubscriptionTrace { name: gone.name.clone(), fate: fate(gone.number), gone: true })
        .collect()
}

/// Whether a subscription has lived at another relay.
fn has_come(group: &Group, me: &RelayId, s: &Subscription) -> bool {
    let names = group.spread.as_deref().map(|spread| &spread.names);
    names.is_some_and(|names| names.homes_of(&s.name).any(|(home, _)| home != me))
}

fn fate(group: &Group, side: &GroupSide<'_>, now: Now, s: &Subscription, spot: &Spot) -> Fate {
    let is_open = s.cursor.next_open(spot.index, spot.index.after(1)).is_some();
    let passed = passed_over(side, now, s, spot);
    if !is_open {
        if s.has_remnants && !spot.passed.contains_key(&s.number) {
            // It may be among what was brought along, which nobody has had yet.
            return Fate::Unknown;
        }
        if let Some(fate) = remembered(group, s, spot) {
            return fate;
        }
        let gap = s.gaps.iter().find(|gap| (gap.from..gap.to).contains(&spot.index));
        let dropped = gap.map(|gap| Fate::Dropped(gap.cause));
        return dropped.or(passed.filter(is_for_ever)).unwrap_or(Fate::Done);
    }
    if let Some(active) = &s.active
        && let Some(fate) = in_hand(active, now, spot.index)
    {
        return fate;
    }
    passed.unwrap_or_else(|| Fate::Pending { ahead: group.backlog(s, spot.index) })
}

/// What became of a message that is done; `None`: it is not remembered.
fn remembered(group: &Group, s: &Subscription, spot: &Spot) -> Option<Fate> {
    let unnoted = || match spot.index < s.start {
        true => Some(Fate::BeforeStart),
        false => spot.is_remembered.then_some(Fate::Acked),
    };
    noted(group, spot.passed.get(&s.number).copied()).or_else(unnoted)
}

/// What a note says of a message that is done.
fn noted(group: &Group, how: Option<How>) -> Option<Fate> {
    let dead = |reason| {
        let to = group.settings.dead_letter.as_deref();
        Fate::DeadLettered { reason, to: to.and_then(|name| GroupName::new(name).ok()) }
    };
    Some(match how? {
        How::Filtered => Fate::Filtered,
        How::BeforeStart => Fate::BeforeStart,
        How::Repeat => Fate::Repeat,
        How::Expired => Fate::Expired,
        How::Dropped(cause) => Fate::Dropped(cause),
        How::MaxDeliver => dead(DeadReason::MaxDeliver),
        How::Rejected => dead(DeadReason::Rejected),
        How::MaxDeliverDropped => Fate::DeadLettered { reason: DeadReason::MaxDeliver, to: None },
        How::RejectedDropped => Fate::DeadLettered { reason: DeadReason::Rejected, to: None },
        How::Skipped => Fate::Skipped,
        How::Again => Fate::Acked,
    })
}

/// Whether it was so at any time before: a message that is old now was young once.
fn is_for_ever(fate: &Fate) -> bool {
    *fate != Fate::Expired
}

/// Who has it, or when somebody is to have it again.
fn in_hand(active: &Active, now: Now, index: Index) -> Option<Fate> {
    if active.aside.holds(index) {
        return Some(Fate::Aside);
    }
    let tried = active.tries.get(&index);
    let attempts = tried.map_or(1, |tried| tried.attempts);
    let until = |due: crate::id::Time| due.0.saturating_sub(now.time.0).div_ceil(1_000_000);
    if active.flights.iter().any(|flight| (flight.from..flight.to).contains(&index)) {
        return Some(Fate::InFlight);
    }
    if let Some(due) = tried.and_then(|tried| tried.due) {
        return Some(Fate::Again { attempts, due_ms: until(due) });
    }
    let later = active.later.iter().find(|((_, from), to)| (*from..**to).contains(&index));
    if let Some(((due, _), _)) = later {
        return Some(Fate::Again { attempts, due_ms: until(*due) });
    }
    let is_due = active.again.iter().any(|(from, to)| (*from..*to).contains(&index));
    is_due.then_some(Fate::Again { attempts, due_ms: 0 })
}

/// Why it was, or will be, passed over; `None`: it is to be delivered, or cannot be read.
fn passed_over(side: &GroupSide<'_>, now: Now, s: &Subscription, spot: &Spot) -> Option<Fate> {
    if side.repeat(spot.index).0 {
        return Some(Fate::Repeat);
    }
    let Within { run, at } = spot.run.as_ref()?;
    if !s.replays && !side.owes(run) || run.arrived < s.not_before {
        return Some(Fate::BeforeStart);
    }
    let ttl_ms = side.settings.ttl_ms;
    let rule = Rule { filter: s.filter.as_ref(), not_before: s.not_before, ttl_ms, now: now.wall };
    match stretch(run, (*at)?, 1, &rule).fate {
        select::Fate::Filtered => Some(Fate::Filtered),
        select::Fate::Expired => Some(Fate::Expired),
        select::Fate::Deliver | select::Fate::Damaged | select::Fate::Uncertain => None,
    }
}
