//! Deliveries: from a group's backlog to whoever receives from a subscription.
//!
//! A subscription that may have something to do stands in a queue, once. Its
//! turn ends when it has nothing, may send nothing (credit, window, a session
//! whose writer is behind), or must first be given pieces of the backlog. What
//! is read for one is given to all that stand at the same place, so a group
//! with many live subscriptions costs one look-up per batch.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::active::{Death, Failure, Flight, Receiver};
use super::ahead::{Ahead, range};
use super::cursor::reach;
use super::effect::Effect;
use super::group::{Fetch, Group, Waiter};
use super::input::Now;
use super::select::{Fate, Rule, stretch};
use super::subscription::{Due, Gap, Subscription, SubscriptionKey, Unordered};
use super::timer::Timer;
use super::traces::{How, Passed, pass, pass_open};
use super::{Relay, Sessions};
use crate::id::{GroupNumber, Index, LinkId, RelayId, SessionId, Time};
use crate::limits;
use crate::log::{MissingCause, Piece};
use crate::wire::body::{GapCause, Notice};
use crate::wire::frame::DeliverHead;
use crate::wire::run::{RunKind, StoredRun};

/// Slices that one subscription may send in one turn: then it is the next one's turn.
const TURN_SLICES: usize = 64;

/// Messages that one of several competing receivers gets at a time.
const SHARED_SLICE: u64 = 64;

/// Why a turn ended.
enum End {
    /// There is nothing that could be delivered now.
    Nothing,
    /// Nobody may be given anything: no receiver, no credit.
    NoCredit,
    /// A receiver's writer is behind.
    Blocked(SessionId),
    /// The backlog must be read from here.
    Read(Index),
    /// It goes on, after the others had their turn.
    Again,
}

/// A message that goes to the dead-letter group.
#[derive(Clone, Debug)]
pub(super) struct DeadLetter {
    pub(super) key: SubscriptionKey,
    pub(super) index: Index,
    pub(super) attempts: u32,
    pub(super) death: Death,
    pub(super) run: StoredRun,
    pub(super) record: Bytes,
}

/// What a turn works on besides its subscription.
struct Turn<'a> {
    now: Now,
    group: &'a mut GroupSide<'a>,
    sessions: &'a mut Sessions,
    effects: &'a mut std::collections::VecDeque<Effect>,
    dead: &'a mut std::collections::VecDeque<DeadLetter>,
    passed: &'a mut Vec<Passed>,
    /// Whether the log takes new messages, and how long they may be.
    room: bool,
    run_bytes_max: u64,
    key: SubscriptionKey,
}

/// What a turn needs of its group.
pub(super) struct GroupSide<'a> {
    pub(super) deliverable: Index,
    pub(super) settings: &'a crate::topology::settings::GroupSettings,
    pub(super) streams: &'a [super::stream::Stream],
    pub(super) member_since: u64,
    pub(super) me: &'a RelayId,
    pub(super) repeats: &'a [(Index, Index)],
    pub(super) order: Option<&'a super::order::Order>,
    pub(super) remnant: Option<&'a super::remnant::Remnant>,
}

impl<'a> GroupSide<'a> {
    /// One of a group in which nothing is changed meanwhile.
    pub(super) fn of(group: &'a Group, me: &'a RelayId) -> Self {
        Self {
            deliverable: group.deliverable(),
            settings: &group.settings,
            streams: &group.streams,
            member_since: group.member_since,
            me,
            repeats: &group.repeats,
            order: group.order.as_deref(),
            remnant: group.remnant.as_deref(),
        }
    }
}

impl GroupSide<'_> {
    /// How far a message at `at` and those behind it are repeats, if it is one; else where the
    /// next one begins.
    pub(super) fn repeat(&self, at: Index) -> (bool, Index) {
        let place = self.repeats.partition_point(|(_, to)| *to <= at);
        match self.repeats.get(place) {
            Some((from, to)) if *from <= at => (true, *to),
            Some((from, _)) => (false, *from),
            None => (false, Index(u64::MAX)),
        }
    }

    /// Whether a run was put after its origin knew that this relay is a member (I5).
    pub(super) fn owes(&self, run: &StoredRun) -> bool {
        if run.link == LinkId(0) {
            return true;
        }
        let stream = self.streams.binary_search_by_key(&run.stream, |s| s.number).ok();
        let from = stream.and_then(|place| self.streams.get(place)?.owed_from(self.me, self.member_since));
        from.is_some_and(|from| from <= run.run.header.first)
    }
}

impl Relay {
    /// Puts a subscription into the queue, once.
    pub(super) fn enqueue(&mut self, key: SubscriptionKey) {
        let subscription = self.groups.subscription(key);
        if let Some(active) = subscription.and_then(|s| s.active.as_mut())
            && !active.queued
        {
            active.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Puts all subscriptions that somebody receives from into the queue.
    pub(super) fn enqueue_group(&mut self, number: GroupNumber) {
        let Some(group) = self.groups.get_mut(number) else { return };
        for i in 0..group.attached.len() {
            let number = group.attached[i];
            let Some(place) = group.find(number) else { continue };
            if let Some(active) = &mut group.subscriptions[place].active
                && !active.queued
                && active.fetching.is_none()
            {
                active.queued = true;
                self.ready.push_back(SubscriptionKey { group: group.number, number });
            }
        }
    }

    /// Gives a run that has just come from a neighbour to all subscriptions that have everything
    /// before it: it is on its origin's disk, and they need not wait for this one's. Those that are
    /// behind read it later. Where a stream was moved on everybody waits until that is on this disk
    /// too: else a crash could bring what stands before it, behind what was given.
    pub(super) fn give_arrived(&mut self, number: GroupNumber, run: &StoredRun) {
        let Some(group) = self.groups.get_mut(number) else { return };
        let is_move_on_disk = group.moved_at < group.durable;
        if group.deliverable() != run.first_index || !is_move_on_disk {
            if group.somebody_takes() {
                self.journal.hurry_on();
            }
            return;
        }
        group.arrived = run.end_index();
        let mut pieces: Option<Arc<[Piece]>> = None;
        for i in 0..group.attached.len() {
            let attached = group.attached[i];
            let Some(place) = group.find(attached) else { continue };
            let subscription = &mut group.subscriptions[place];
            let is_next = subscription.next == run.first_index;
            let Some(active) = subscription.active.as_mut().filter(|active| active.fetching.is_none()) else {
                continue;
            };
            if is_next && active.ahead.as_ref().is_none_or(Ahead::is_used_up) {
                let pieces = pieces.get_or_insert_with(|| Arc::new([Piece::Run(run.clone())]));
                active.ahead = Some(Ahead::new(Arc::clone(pieces)));
                if !active.queued {
                    active.queued = true;
                    self.ready.push_back(SubscriptionKey { group: number, number: attached });
                }
            }
        }
    }

    /// Takes a subscription out of the queue that has no turn.
    fn unqueue(&mut self, key: SubscriptionKey) {
        if let Some(active) = self.groups.subscription(key).and_then(|found| found.active.as_mut()) {
            active.queued = false;
        }
    }

    /// Gives every subscription in the queue its turn.
    pub(super) fn pump(&mut self, now: Now) {
        while let Some(key) = self.ready.pop_front() {
            if self.goes_on_elsewhere(now, key) {
                self.unqueue(key);
                continue;
            }
            self.pump_one(now, key);
            while let Some(dead) = self.dead.pop_front() {
                self.bury(now, dead);
            }
            self.settle_rejected(now, key);
        }
    }

    fn pump_one(&mut self, now: Now, key: SubscriptionKey) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let deliverable = group.deliverable();
        let Group { settings, streams, subscriptions, meter, member_since, repeats, order, remnant, .. } =
            group;
        let subscription = &mut subscriptions[place];
        let Some(active) = &mut subscription.active else { return };
        active.queued = false;
        if active.fetching.is_some() {
            return;
        }
        let was_dirty = subscription.dirty;
        let mut side = GroupSide {
            deliverable,
            settings,
            streams,
            member_since: *member_since,
            me: &self.options.relay,
            repeats,
            order: order.as_deref(),
            remnant: remnant.as_deref(),
        };
        let mut turn = Turn {
            now,
            group: &mut side,
            sessions: &mut self.sessions,
            effects: &mut self.effects,
            dead: &mut self.dead,
            passed: &mut self.traces.passed,
            room: self.room,
            run_bytes_max: self.options.run_bytes_max,
            key,
        };
        let end = turn.run(subscription);
        let waits = match end {
            End::NoCredit => true,
            End::Blocked(session) => {
                self.sessions.get(&session).is_some_and(|s| s.blocked() >= limits::AHEAD_BLOCKED_MAX)
            }
            End::Nothing | End::Read(_) | End::Again => false,
        };
        if waits
            && meter.bytes_from(subscription.next) > limits::AHEAD_LAG_BYTES_MAX
            && let Some(active) = &mut subscription.active
        {
            // Who takes nothing and is far behind holds no memory meanwhile (P9).
            active.ahead = None;
        }
        let next_time = subscription.next_time();
        if !was_dirty && subscription.dirty {
            self.dirty.push(key);
            self.timers.set_by(Timer::Cursors, now.time.after_ms(super::keeping::CURSOR_TICK_MS));
        }
        if let Some(at) = next_time {
            self.timers.set_by(Timer::Subscription(key), at);
        }
        if !self.end_if_taken(key) {
            self.end_turn(key, end);
        }
    }

    fn end_turn(&mut self, key: SubscriptionKey, end: End) {
        match end {
            End::Nothing => {
                self.hurry_for(key);
                self.answer_polls(key, Index(u64::MAX));
            }
            End::NoCredit => self.answer_polls(key, Index(u64::MAX)),
            End::Blocked(_) => self.note_blocked(key),
            End::Read(from) => self.fetch(key, from),
            End::Again => self.enqueue(key),
        }
    }

    /// Whichever of the receivers that have credit reads again first is given what there is.
    fn note_blocked(&mut self, key: SubscriptionKey) {
        let Some(active) = self.groups.subscription(key).and_then(|found| found.active.as_deref()) else {
            return;
        };
        for receiver in active.receivers.iter().filter(|receiver| receiver.used < receiver.credit) {
            if let Some(session) = self.sessions.get_mut(&receiver.session) {
                session.block(key);
            }
        }
    }

    /// Answers polls that have got what was there when they began, where that ended at `through` or before.
    fn answer_polls(&mut self, key: SubscriptionKey, through: Index) {
        let Some(subscription) = self.groups.subscription(key) else { return };
        let Some(active) = &mut subscription.active else { return };
        let done = |receiver: &&mut Receiver| receiver.poll.is_some_and(|poll| poll.end <= through);
        self.effects.extend(active.receivers.iter_mut().filter(done).filter_map(Receiver::end_poll));
    }

    fn fetch(&mut self, key: SubscriptionKey, from: Index) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        if let Some(place) = group.find(key.number)
            && let Some(active) = &mut group.subscriptions[place].active
        {
            active.fetching = Some(from);
            active.ahead = None;
        }
        let end = group.durable;
        if group.traffic().ask_for(from, end, Waiter::Subscription(key.number)) {
            let fetch = Effect::Fetch { group: key.group, from, bytes_max: limits::READ_BYTES };
            self.effects.push_back(fetch);
        }
    }

    /// The shell has read what [`Effect::Fetch`] asked for.
    pub(super) fn handle_fetched(&mut self, now: Now, number: GroupNumber, from: Index, pieces: Vec<Piece>) {
        if let Some(of) = self.repairs.annexes.get(&number).copied() {
            return self.on_annex_read(now, (of, number), from, pieces);
        }
        if pieces.is_empty() {
            self.hurry_from(number, from);
        }
        let Some(group) = self.groups.get_mut(number) else { return };
        let fetches = &mut group.traffic().fetches;
        let Some(place) = fetches.iter().position(|fetch| fetch.from == from) else { return };
        let fetch = fetches.swap_remove(place);
        if group.remnant.is_some() {
            // What has no place in it was never for it, and what is damaged is nowhere else.
            let pieces = super::remnant::with_nothing(pieces, from..fetch.end, group);
            return self.give_fetched(now, number, fetch, pieces);
        }
        let pieces = with_holes(pieces, from..fetch.end, group.low);
        if let Some((fetch, pieces)) = self.mend(now, number, fetch, pieces) {
            self.give_fetched(now, number, fetch, pieces);
        }
    }

    /// Gives what was read to all who have waited for it.
    pub(super) fn give_fetched(&mut self, now: Now, number: GroupNumber, fetch: Fetch, pieces: Vec<Piece>) {
        let Fetch { from, waiting, .. } = fetch;
        let Some(group) = self.groups.get_mut(number) else { return };
        let pieces: Arc<[Piece]> = pieces.into();
        let mut nothing = Vec::new();
        let mut links = Vec::new();
        let mut lookups = Vec::new();
        let mut pulls = Vec::new();
        let mut copies = Vec::new();
        for waiter in waiting {
            let waiter = match waiter {
                Waiter::Subscription(number) => number,
                Waiter::Link(link) => {
                    links.push(link);
                    continue;
                }
                Waiter::Lookup(lookup) => {
                    lookups.push(lookup);
                    continue;
                }
                Waiter::Pull(id) => {
                    pulls.push(id);
                    continue;
                }
                Waiter::Copy(key) => {
                    copies.push(key);
                    continue;
                }
            };
            let Some(place) = group.find(waiter) else { continue };
            let Some(active) = &mut group.subscriptions[place].active else { continue };
            if active.fetching != Some(from) {
                continue;
            }
            active.fetching = None;
            let key = SubscriptionKey { group: number, number: waiter };
            if pieces.is_empty() {
                nothing.push(key);
                continue;
            }
            active.ahead = Some(Ahead::new(Arc::clone(&pieces)));
            if !active.queued {
                active.queued = true;
                self.ready.push_back(key);
            }
        }
        for key in nothing {
            let Some(group) = self.groups.get(number) else { return };
            if from < group.durable {
                // It has become durable while it was read for: nobody else will say so.
                self.enqueue(key);
            } else {
                // What may be delivered, and is not on the disk yet, is waited for by those that asked
                // when it was there.
                self.answer_polls(key, from);
            }
        }
        for link in links {
            self.on_fetched_for_link(number, link, from, &pieces);
        }
        for lookup in lookups {
            self.on_fetched_for_lookup(now, lookup, from, &pieces);
        }
        for id in pulls {
            self.on_fetched_for_pull(id, from, &pieces);
        }
        for key in copies {
            self.on_fetched_for_copy(key, from, &pieces);
        }
    }

    /// The settings of a group have changed: what was set aside may have its turn now.
    pub(super) fn on_fifo_set(&mut self, number: GroupNumber) {
        let time = self.links.now;
        let Some(group) = self.groups.get_mut(number) else { return };
        group.heed_fifo();
        if let Some(order) = &mut group.order {
            order.shorten(time.after_ms(group.settings.producer_hold_ms()));
            if let Some(at) = order.deadline() {
                self.timers.set_by(Timer::Order(number), at);
            }
        }
        self.enqueue_group(number);
        self.settle_remnants(number);
    }

    /// Messages have waited long enough for earlier ones of their producers.
    pub(super) fn on_order_time(&mut self, now: Now, number: GroupNumber) {
        let Some(order) = self.groups.get_mut(number).and_then(|group| group.order.as_mut()) else { return };
        let has_changed = order.expire(now.time);
        if let Some(at) = order.deadline() {
            self.timers.set(Timer::Order(number), at);
        }
        if has_changed {
            self.enqueue_group(number);
        }
    }

    /// An ack is overdue, or a nacked message is due again.
    pub(super) fn on_subscription_time(&mut self, now: Now, key: SubscriptionKey) {
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let failure = Failure {
            settings: &group.settings,
            now: now.time,
            delay_ms: None,
            rejected: false,
            counted: false,
        };
        let next = group.subscriptions[place].on_time(now.time, failure);
        if let Some(at) = next {
            self.timers.set(Timer::Subscription(key), at);
        }
        self.enqueue(key);
    }
}

/// What was read at `asked`, with what is not there told as damage. Within a group the log has
/// every index from `low` on, so one that it passes over is lost, and so is one before which it
/// knows of nothing. Without this a reader would ask for a hole for ever.
pub(super) fn with_holes(pieces: Vec<Piece>, asked: Range<Index>, low: Index) -> Vec<Piece> {
    let lost = |from, to| Piece::Missing { from, to, cause: MissingCause::Damaged };
    let mut whole = Vec::with_capacity(pieces.len());
    let mut reached = asked.start;
    for piece in pieces {
        let (from, to) = range(&piece);
        if from > reached {
            whole.push(lost(reached, from));
        }
        reached = reached.max(to);
        let is_lost = matches!(piece, Piece::Missing { cause: MissingCause::Released, .. }) && from >= low;
        whole.push(if is_lost { lost(from, to) } else { piece });
    }
    if reached < asked.end && reached == asked.start {
        whole.push(lost(asked.start, asked.end));
    }
    whole
}

/// There is no record of a remnant: it is nothing, or was lost at the old home.
fn pass_hole(subscription: &mut Subscription, due: &Due, to: Index, (lost, behind): (Option<Gap>, Index)) {
    let to = to.min(due.to).min(behind);
    match lost {
        Some(gap) => subscription.out.lost += subscription.skip(due.from, to, gap.cause),
        None => subscription.out.passed += subscription.finish(due.from, to),
    }
    subscription.used(due, to);
}

impl Turn<'_> {
    fn run(&mut self, subscription: &mut Subscription) -> End {
        if let Some(end) = self.tell_gaps(subscription) {
            return end;
        }
        for _ in 0..TURN_SLICES {
            let end = subscription.delivered_up_to(self.group.deliverable);
            let Some(due) = subscription.next_due(end, self.group.order) else { return End::Nothing };
            let (due, receiver) = match self.choose(subscription) {
                Ok(receiver) => (due, Some(receiver)),
                // Who has said that he will never be done may hear next that this is durable.
                Err(end) => match subscription.next_dead() {
                    Some(dead) => (dead, None),
                    None => return end,
                },
            };
            if let Some(end) = self.one(subscription, &due, receiver) {
                return end;
            }
            if let Some(end) = self.tell_gaps(subscription) {
                return end;
            }
        }
        End::Again
    }

    /// The receiver whose turn it is, among those that have credit.
    fn choose(&self, subscription: &mut Subscription) -> Result<usize, End> {
        let Some(active) = &mut subscription.active else { return Err(End::NoCredit) };
        let count = active.receivers.len();
        let mut blocked = None;
        for step in 0..count {
            let place = (active.turn + step) % count;
            let receiver = &active.receivers[place];
            if receiver.used >= receiver.credit {
                continue;
            }
            match self.sessions.get(&receiver.session) {
                Some(session) if session.is_writable() => {
                    active.turn = place;
                    return Ok(place);
                }
                Some(_) => blocked = Some(receiver.session),
                None => {}
            }
        }
        Err(blocked.map_or(End::NoCredit, End::Blocked))
    }

    /// All gaps are told to one receiver while it stays. It has asked for something before: a
    /// gap in front of the answer to its attach would be of a handle that it does not know yet.
    fn tell_gaps(&mut self, subscription: &mut Subscription) -> Option<End> {
        let Subscription { gaps, active, .. } = subscription;
        let active = active.as_mut()?;
        if active.gaps_told >= gaps.len() {
            return None;
        }
        let told_to = active.told_to;
        let mut receivers = active.receivers.iter();
        let receiver = match told_to {
            Some(one) => receivers.find(|r| (r.session, r.handle) == one)?,
            None => receivers.find(|r| r.credit > 0 || r.poll.is_some())?,
        };
        active.told_to = Some((receiver.session, receiver.handle));
        while let Some(gap) = gaps.get(active.gaps_told) {
            active.gaps_told += 1;
            let notice =
                Notice::Gap { handle: receiver.handle, from: gap.from, to: gap.to, cause: gap.cause };
            self.effects.push_back(Effect::Notice { session: receiver.session, notice });
        }
        None
    }

    /// Uses up the next stretch of what is due. Gives an end, or nothing when the turn goes on.
    fn one(&mut self, subscription: &mut Subscription, due: &Due, receiver: Option<usize>) -> Option<End> {
        let Some(active) = &mut subscription.active else { return Some(End::NoCredit) };
        let credit = receiver.map_or(1, |r| active.receivers[r].credit - active.receivers[r].used);
        let fair = if active.receivers.len() > 1 { SHARED_SLICE } else { u64::MAX };
        let wanted = (due.to.0 - due.from.0).min(credit).min(fair).min(u64::from(limits::RUN_RECORDS_MAX));
        let Some(ahead) = &mut active.ahead else { return Some(End::Read(due.from)) };
        let Some((piece, (record, offset))) = ahead.seek(due.from) else { return Some(End::Read(due.from)) };
        let run = match piece {
            Piece::Run(run) => run.clone(),
            Piece::Missing { to, cause, .. } => {
                let (to, cause) = (*to, *cause);
                self.miss_or_pass(subscription, due, to, cause);
                return None;
            }
        };
        let (is_repeat, until) = self.group.repeat(due.from);
        let (is_done, open) = self.group.done_to(subscription.arrived.as_deref(), &run, due.from);
        if is_repeat || is_done || (!subscription.replays && !self.group.owes(&run)) {
            let until = match (is_repeat, is_done) {
                (true, _) => until,
                (false, true) => open,
                (false, false) => due.to,
            };
            let to = run.end_index().min(due.to).min(until);
            let how = if is_repeat { How::Repeat } else { How::BeforeStart };
            self.pass_over(subscription, due, to, (how, &run));
            return None;
        }
        let rule = Rule {
            filter: subscription.filter.as_ref(),
            not_before: subscription.not_before,
            ttl_ms: self.group.settings.ttl_ms,
            now: self.now.wall,
        };
        let wanted = wanted.min(until.min(open).0.saturating_sub(due.from.0).max(1));
        let found = stretch(&run, (record, offset), wanted as u32, &rule);
        ahead.advance(found.count, found.bytes);
        if ahead.is_used_up() {
            active.ahead = None;
        }
        // What stands in place of records has none that could be counted.
        let to = due.from.after(u64::from(found.count)).min(run.end_index());
        let records = run.run.body.slice(offset..(offset + found.bytes).min(run.run.body.len()));
        if due.told.is_some() && found.fate != Fate::Deliver {
            subscription.keep_told(due);
        }
        match found.fate {
            Fate::Deliver if due.dead.is_some() => self.die(subscription, due, run, records),
            Fate::Deliver => {
                self.deliver(subscription, due, receiver?, (run, found.count, records));
                subscription.used(due, to);
            }
            Fate::Filtered => {
                let is_early = run.arrived < subscription.not_before;
                let how = if is_early { How::BeforeStart } else { How::Filtered };
                self.pass_over(subscription, due, to, (how, &run));
            }
            Fate::Expired => {
                self.pass(due, to, How::Expired, &run);
                subscription.out.expired += subscription.finish(due.from, to);
                subscription.used(due, to);
            }
            Fate::Damaged => self.miss_or_pass(subscription, due, to.min(due.to), MissingCause::Damaged),
            Fate::Uncertain => {
                subscription.out.lost += subscription.skip(due.from, to, GapCause::Uncertain);
                subscription.used(due, to);
            }
        }
        None
    }

    /// Nobody is to have these.
    fn pass_over(&mut self, subscription: &mut Subscription, due: &Due, to: Index, what: (How, &StoredRun)) {
        let (how, run) = what;
        self.pass(due, to, how, run);
        let count = subscription.finish(due.from, to);
        let is_filtered = how == How::Filtered && run.run.header.kind == RunKind::Data;
        let out = &mut subscription.out;
        *(if is_filtered { &mut out.filtered } else { &mut out.passed }) += count;
        subscription.used(due, to);
    }

    /// Notes in which way messages are passed over. Records of the relays' own are none.
    fn pass(&mut self, due: &Due, to: Index, how: How, run: &StoredRun) {
        if run.run.header.kind == RunKind::Data {
            self.pass_any(due, to, how);
        }
    }

    /// What stands behind the end of what is due may have been acked before.
    fn pass_any(&mut self, due: &Due, to: Index, how: How) {
        let SubscriptionKey { group, number: subscription } = self.key;
        let (from, to) = (due.from, to.min(due.to));
        pass(self.passed, Passed { group, subscription, from, to, how });
    }

    fn miss_or_pass(&mut self, subscription: &mut Subscription, due: &Due, to: Index, cause: MissingCause) {
        // What is done above the floor is a bit each, and a hole may be as long as a log.
        let floor = subscription.cursor.floor();
        let to = if due.from > floor { to.min(reach(floor)) } else { to };
        match (self.group.remnant, cause) {
            (Some(remnant), MissingCause::Released) => {
                pass_hole(subscription, due, to, remnant.hole(due.from));
            }
            _ => self.miss(subscription, due, to, cause),
        }
    }

    fn miss(&mut self, subscription: &mut Subscription, due: &Due, to: Index, cause: MissingCause) {
        let dropped = match cause {
            MissingCause::Damaged | MissingCause::Unreadable => GapCause::Damaged,
            MissingCause::Released => GapCause::Retention,
        };
        // A hole may be longer than what is due, and what of it stands behind that may have been acked.
        pass_open(self.passed, &subscription.cursor, self.key, (due.from, to), How::Dropped(dropped));
        match cause {
            MissingCause::Damaged | MissingCause::Unreadable => {
                subscription.out.lost += subscription.skip(due.from, to, GapCause::Damaged);
            }
            MissingCause::Released => {
                subscription.out.evicted += subscription.skip(due.from, to, GapCause::Retention);
            }
        }
        subscription.used(due, to);
    }

    fn deliver(
        &mut self,
        subscription: &mut Subscription,
        due: &Due,
        receiver: usize,
        (run, count, records): (StoredRun, u32, Bytes),
    ) {
        let told = subscription.take_told(due);
        let Some(active) = &mut subscription.active else { return };
        let Some(receiver) = active.receivers.get_mut(receiver) else { return };
        receiver.used += u64::from(count);
        let (session, handle) = (receiver.session, receiver.handle);
        if let Some(Unordered { from, to, missing, cause }) = told {
            let notice = Notice::Unordered { handle, from, to, missing, cause };
            self.effects.push_back(Effect::Notice { session, notice });
        }
        if active.receivers.len() > 1 {
            active.turn += 1;
        }
        let ack_by: Time = self.now.time.after_ms(self.group.settings.ack_wait_ms());
        let to = due.from.after(u64::from(count));
        active.flights.push_back(Flight { from: due.from, to, receiver: (session, handle), due: ack_by });
        let header = &run.run.header;
        let whole = records.len() == run.run.body.len();
        let head = DeliverHead {
            first_index: due.from,
            first: crate::id::Sequence(header.first.0 + (due.from.0 - run.first_index.0)),
            count,
            stream: run.stream,
            accepted: header.accepted,
            records_hash: if whole { header.body_hash } else { xxhash_rust::xxh3::xxh3_64(&records) },
            attempt: due.attempt,
        };
        if let Some(session_state) = self.sessions.get_mut(&session) {
            session_state.send(Effect::deliver_bytes(&records));
            if session_state.meets_stream(run.stream)
                && let Some(stream) = self.group.streams.iter().find(|s| s.number == run.stream)
            {
                let notice = Notice::Stream {
                    number: stream.number,
                    origin: stream.origin.clone(),
                    epoch: stream.epoch,
                };
                self.effects.push_back(Effect::Notice { session, notice });
            }
        }
        self.effects.push_back(Effect::Deliver { session, handle, head, records });
    }

    fn die(&mut self, subscription: &mut Subscription, due: &Due, run: StoredRun, records: Bytes) {
        let Some(death) = due.dead else { return };
        // One that is too long was taken when the log's segments were larger.
        let has_place = self.room && records.len() as u64 <= self.run_bytes_max;
        if !has_place && self.group.settings.dead_letter.is_some() {
            subscription.put_off(due, self.now.time.after_ms(limits::DEAD_LETTER_RETRY_MS));
            return;
        }
        // A message with tries is due alone, so `records` is this one.
        let to = due.from.after(1);
        let attempts = due.attempt - 1;
        let has_group = self.group.settings.dead_letter.is_some();
        let how = match death {
            Death::MaxDeliver if has_group => How::MaxDeliver,
            Death::MaxDeliver => How::MaxDeliverDropped,
            Death::Rejected if has_group => How::Rejected,
            Death::Rejected => How::RejectedDropped,
        };
        self.pass(due, to, how, &run);
        self.dead.push_back(DeadLetter {
            key: self.key,
            index: due.from,
            attempts,
            death,
            run,
            record: records,
        });
        subscription.out.dead_lettered += subscription.finish(due.from, to);
        subscription.used(due, to);
    }
}
