//! The relay core: plain data and plain functions that decide; the shell does.
//!
//! One door in, [`Relay::handle`]; one door out, [`Relay::next_effect`]. The
//! core is told the time and reads no clock; payloads pass through it as
//! opaque bytes. Nothing can happen to a relay that is not an [`Input`], and it
//! can cause nothing that is not an [`Effect`], so every run can be replayed.
//!
//! Behaviour lives with its table: `put` takes messages into streams,
//! `delivery` gives them to receivers, `keeping` writes cursors and lets go,
//! `requests` answers people, `state` is what is on disk. This file holds the
//! tables and dispatches.
//!
//! Cost per 1,000 records of one put with N live subscriptions: one entry, one
//! fetch, N deliveries and N acks; nothing per record.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod active;
mod ahead;
mod arriving;
mod aside;
mod behind;
mod behind_facts;
mod books;
mod brought;
mod bucket;
mod carried;
mod carry;
mod circuit;
mod confirm;
mod copies;
mod cursor;
mod dead_letter;
mod delivery;
mod digest;
mod drain;
mod drawing;
mod effect;
mod facts;
mod fates;
mod filter;
mod finished;
mod fitting;
mod forget;
mod forward;
mod fresh;
mod full;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod gaps;
mod group;
mod hearing;
mod home;
mod input;
mod journal;
mod keeping;
mod levels;
mod link;
mod lookup;
mod loss;
mod lost;
mod membership;
mod memory;
mod merging;
mod meter;
mod moving;
mod names;
mod newcomer;
mod order;
mod origin;
mod pages;
mod planned;
#[cfg(any(test, feature = "sim"))]
mod probe;
mod producer;
mod pull;
mod put;
mod queues;
mod quota;
mod ranges;
mod receipt;
mod receivers;
mod rejected;
mod released;
mod remnant;
mod repair;
mod requests;
mod restore;
mod returned;
mod rollback;
mod salvage;
mod saved;
mod select;
mod serve;
mod served;
mod session;
mod silent;
mod soon;
mod state;
mod stream;
mod subscription;
mod table;
#[cfg(test)]
mod tests;
mod timer;
mod topology;
mod traces;
mod trees;
mod turned_away;
mod turns;
mod views;
mod warnings;
mod whereabouts;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

pub use books::NO_ROOM;
pub use bucket::Rate;
pub use effect::Effect;
pub use input::{Input, Now};
pub use link::LinkOptions;
#[cfg(any(test, feature = "sim"))]
pub use probe::stands_in_place;
pub use restore::Restore;
pub use state::RestoreError;
pub use topology::{Neighbour, Used};

use self::active::Failure;
use self::behind::Behind;
use self::books::Retired;
use self::circuit::Circuits;
use self::confirm::Confirmations;
use self::delivery::DeadLetter;
use self::forget::ForgottenRelays;
use self::group::GroupBooks;
use self::journal::{Journal, Waiting, WaitingPut, WaitingRun};
use self::levels::Reach;
use self::link::Links;
use self::loss::TailCut;
use self::pull::Pulls;
use self::rejected::Rejected;
use self::repair::Repairs;
use self::saved::Counters;
use self::session::Session;
use self::subscription::{SubscriptionKey, SubscriptionNumber};
use self::table::Groups;
use self::timer::{Timer, Timers};
use self::topology::Topologies;
use self::traces::Traces;
use self::trees::Trees;
use self::whereabouts::Questions;
use crate::id::{Epoch, GroupName, GroupNumber, LinkId, RelayId, SessionId, SubscriptionName, Time};
use crate::limits;
use crate::log::Urgency;
use crate::wire::body::{Notice, Refusal, RefusalCode};
use crate::wire::frame::{Ack, AckKind, Credit, PutDone};
use crate::wire::run::{RUN_HEADER_BYTES, Run};

/// How many parts a relay's state is cut into for snapshots.
pub const SHARDS: u32 = 64;

type Sessions = BTreeMap<SessionId, Session>;
type Names = HashMap<(GroupNumber, SubscriptionName), SubscriptionNumber, foldhash::fast::FixedState>;

/// Who a relay is.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Its name.
    pub relay: RelayId,
    /// Its storage and boot.
    pub epoch: Epoch,
    /// The version of the program, for its status.
    pub version: String,
    /// Things the operator should know, for its status.
    pub warnings: Vec<String>,
    /// Bytes of the records of one put, at most: what the log takes as one entry. Puts with
    /// more are refused.
    pub run_bytes_max: u64,
    /// Its links to neighbours.
    pub links: Vec<LinkOptions>,
    /// Whether it passes on what it is no member of.
    pub transit: bool,
    /// The most neighbours that it sends to in one tree; not set: no limit.
    pub max_children: Option<u32>,
    /// For how long it is remembered what became of messages that were let go, in milliseconds.
    pub trace_retention_ms: u64,
    /// Milliseconds without a message after which it says that it puts nothing into a group any
    /// more, if everybody has all there was: [`limits::ORIGIN_QUIET_MS`].
    pub origin_quiet_ms: u64,
}

/// One relay, without sockets, files, threads and clock.
#[derive(Clone, Debug)]
pub struct Relay {
    options: RelayOptions,
    groups: Groups,
    /// Subscriptions by group and name. Looked up, never walked.
    names: Names,
    /// Subscriptions anywhere whose names are kept.
    names_known: usize,
    /// Removed groups: the number and incarnation they had.
    removed: BTreeMap<GroupName, (GroupNumber, u32)>,
    counters: Counters,
    /// Relays that were forgotten.
    forgotten: ForgottenRelays,
    /// Cuts of the log's end, in order.
    cuts: Vec<TailCut>,
    /// The storage id that this relay has taken in place of that of its data directory.
    renewed: Option<crate::id::StorageId>,
    /// Whether that was in this boot.
    has_renewed: bool,
    /// Whether its log has lost entries that were durable: others may know more of it than it does itself.
    has_holes: bool,
    /// What is known of its warnings beside their texts.
    warned: warnings::Warned,
    sessions: Sessions,
    links: Links,
    topologies: Topologies,
    trees: Trees,
    /// Requests that wait until other relays know of a subscription.
    confirmations: Confirmations,
    /// Sessions that are led to other relays, and those of other relays that are led here.
    circuits: Circuits,
    /// Messages that somebody asks for.
    questions: Questions,
    /// What is remembered of messages that were let go.
    traces: Traces,
    /// What this relay lacks.
    behind: Behind,
    /// What neighbours wait for after the start.
    hearing: Option<hearing::Hearing>,
    /// Links over which there may be something to send.
    ready_links: BTreeSet<LinkId>,
    /// Groups of which receipts are to be said, and whether again.
    receipts_due: BTreeMap<GroupNumber, bool>,
    /// Groups whose quotas are to be weighed.
    quotas_due: BTreeSet<GroupNumber>,
    /// Groups of which it is to be said that puts wait.
    wants_due: BTreeSet<GroupNumber>,
    journal: Journal,
    effects: VecDeque<Effect>,
    timers: Timers,
    /// Subscriptions that may have something to do.
    ready: VecDeque<SubscriptionKey>,
    /// Messages on their way to a dead-letter group.
    dead: VecDeque<DeadLetter>,
    rejected: Rejected,
    /// Subscriptions whose cursor moved since it was written.
    dirty: Vec<SubscriptionKey>,
    dirty_since: Option<Time>,
    /// Groups that housekeeping should look at.
    touched: BTreeSet<GroupNumber>,
    /// Puts that belong to no group.
    books: GroupBooks,
    retired: Retired,
    room: bool,
    /// What is lacking here and asked for elsewhere.
    pulls: Pulls,
    /// What is damaged here and fetched again.
    repairs: Repairs,
    /// What is damaged here and found nowhere.
    losses: lost::Losses,
    /// Subscriptions that come or go, and wait for what others say.
    moves: BTreeSet<SubscriptionKey>,
    /// Those among them of which something is copied now.
    copies: BTreeSet<SubscriptionKey>,
    /// What subscriptions have brought along from other homes.
    remnants: BTreeMap<SubscriptionKey, Vec<GroupNumber>>,
    /// Neighbours that have sent of a group what there was no room for.
    starved: BTreeSet<(GroupNumber, LinkId)>,
    stopping: bool,
    /// Whether it is emptied, so that it may go.
    draining: bool,
}

/// Bytes that a run takes in a backlog.
fn body_bytes(run: &Run) -> u64 {
    (RUN_HEADER_BYTES + run.body.len()) as u64
}

impl Relay {
    /// Something happens. What is to be done about it comes out of [`Relay::next_effect`].
    ///
    /// # Panics
    /// When an invariant is broken: that is a fault of this program, never of an input.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.links.now = now.time;
        match input {
            Input::SessionOpened { session } => {
                self.sessions.insert(session, Session::default());
            }
            Input::SessionClosed { session } => self.close_session(now, session),
            Input::Request { session, request, body } => {
                if self.sessions.contains_key(&session) {
                    self.handle_request(now, (session, request), *body);
                }
            }
            Input::Put { session, handle, head, summary, records } => {
                self.handle_put(now, (session, handle), head, summary, records);
            }
            Input::Ack { session, mut acks } => {
                self.pass_acks(session, &mut acks);
                for ack in acks {
                    self.handle_ack(now, session, ack);
                }
            }
            Input::Credit { session, mut credits } => {
                self.pass_credits(session, &mut credits);
                for credit in credits {
                    self.handle_credit(session, credit);
                }
            }
            Input::Written { session, total } => self.handle_written(session, total),
            Input::Fetched { group, from, pieces } => self.handle_fetched(now, group, from, pieces),
            Input::Durable { through } => {
                self.journal.on_durable(through);
                self.settle_durable(now);
            }
            Input::Room { free } => self.handle_room(free),
            Input::LinkUp { link, losses } => self.handle_link_up(now, (link, losses)),
            Input::LinkDown { link } => self.handle_link_down(now, link),
            Input::LinkCost { link, cost } => self.handle_link_cost(now, link, cost),
            Input::Link { link, message } => self.handle_link(now, link, message),
            Input::LinkWritten { link, total } => self.handle_link_written(link, total),
            Input::LinkSaved { link, total } => self.handle_link_saved(link, total),
            Input::Topology { entry } => self.handle_topology(now, *entry),
            Input::Snapshot { shard } => {
                // What the cursors in it have passed over is in it too.
                self.write_passed(now, Urgency::Ride);
                self.save_shard(shard);
                if shard + 1 == SHARDS {
                    self.journal.hurry();
                }
            }
            Input::Tick => {}
            Input::Stop => {
                self.stopping = true;
                self.write_cursors(now, Urgency::Sync);
                self.journal.hurry();
            }
        }
        self.run_timers(now);
        self.plan_trees(now);
        self.tell_wants();
        self.pump_pulls(now);
        self.pump_copies(now);
        self.pump_links(now);
        self.pump(now);
        self.write_passed_if_much(now);
        if self.journal.take_hurry() {
            self.effects.push_back(Effect::Hurry);
        }
    }

    /// What the operator should know, as its status says it.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.options.warnings
    }

    /// The next thing the shell is to do.
    pub fn next_effect(&mut self) -> Option<Effect> {
        loop {
            let effect = self.effects.pop_front()?;
            if let Some(effect) = self.over_circuit(effect) {
                return Some(effect);
            }
        }
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next_deadline()
    }

    fn run_timers(&mut self, now: Now) {
        while let Some(timer) = self.timers.take_due(now.time) {
            match timer {
                Timer::Confirm(group) => self.on_confirm_time(now, group),
                Timer::Quiet(group) => self.on_quiet_time(now, group),
                Timer::Plan => self.on_plan_time(now),
                Timer::Where => self.on_where_time(now),
                Timer::Circuits => self.on_circuits_time(now),
                Timer::Receipts => self.on_receipts_time(now),
                Timer::Quotas => self.on_quotas_time(now),
                Timer::Cursors => self.on_cursors_time(now),
                Timer::Housekeeping => self.on_housekeeping_time(now),
                Timer::Subscription(key) => self.on_subscription_time(now, key),
                Timer::Link(link) => self.on_link_time(link),
                Timer::Behind => self.on_behind_time(now),
                Timer::Compare => self.on_compare_time(now),
                Timer::Pulls => self.on_pulls_time(now),
                Timer::Order(group) => self.on_order_time(now, group),
                Timer::Newcomer => self.on_newcomer_time(now),
                Timer::Moves => self.on_moves_time(now),
                Timer::Hearing => self.on_hearing_time(now),
            }
        }
    }

    fn close_session(&mut self, now: Now, session: SessionId) {
        let open = self.sessions.get(&session).map(Session::subscriptions).unwrap_or_default();
        for (handle, _) in open {
            self.detach(now, (session, handle));
        }
        self.close_circuits(session);
        self.confirmations.leave(session);
        self.rejected.leave(session);
        self.questions.leave(session);
        let Some(closed) = self.sessions.remove(&session) else { return };
        for number in closed.groups() {
            // Nobody is left to be told.
            if let Some(traffic) = self.groups.get_mut(*number).and_then(|group| group.traffic.as_mut()) {
                traffic.awaited.retain(|awaited| awaited.session != session);
            }
        }
    }

    fn handle_written(&mut self, session: SessionId, total: u64) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let over = state.on_written(total);
        if state.is_writable() {
            for key in state.take_blocked() {
                self.enqueue(key);
            }
        }
        self.pass_written(over);
    }

    fn handle_credit(&mut self, session: SessionId, credit: Credit) {
        let Some(key) = self.sessions.get(&session).and_then(|s| s.subscription(credit.handle)) else {
            return;
        };
        let Some(active) = self.groups.subscription(key).and_then(|s| s.active.as_mut()) else { return };
        let mine = active.receivers.iter_mut().find(|r| r.session == session && r.handle == credit.handle);
        if let Some(receiver) = mine {
            receiver.credit = receiver.credit.max(credit.total);
        }
        self.enqueue(key);
    }

    /// Acks of what a session was never given, or of an old handle, mean nothing and do nothing.
    fn handle_ack(&mut self, now: Now, session: SessionId, ack: Ack) {
        let Some(key) = self.sessions.get(&session).and_then(|s| s.subscription(ack.handle)) else { return };
        let Some(group) = self.groups.get_mut(key.group) else { return };
        let Some(place) = group.find(key.number) else { return };
        let subscription = &mut group.subscriptions[place];
        let was_dirty = subscription.dirty;
        let receiver = (session, ack.handle);
        let delay_ms = (ack.delay_ms > 0).then_some(ack.delay_ms.min(limits::NACK_DELAY_MS_MAX));
        let failure =
            Failure { settings: &group.settings, now: now.time, delay_ms, rejected: false, counted: true };
        // Of what has failed as often as it may nothing comes again either.
        let is_final = match ack.kind {
            AckKind::Reject => true,
            AckKind::Nack => group.settings.max_deliver.is_some(),
            AckKind::Ack | AckKind::Progress => false,
        };
        match ack.kind {
            AckKind::Ack => subscription.ack(ack.from, ack.to),
            AckKind::Nack => subscription.nack(receiver, (ack.from, ack.to), failure),
            AckKind::Reject => {
                let failure = Failure { rejected: true, ..failure };
                subscription.nack(receiver, (ack.from, ack.to), failure);
            }
            AckKind::Progress => {
                let due = now.time.after_ms(group.settings.ack_wait_ms());
                subscription.progress(receiver, (ack.from, ack.to), due);
            }
        }
        let next_time = subscription.next_time();
        let moved = subscription.dirty && !was_dirty;
        self.note_quota(now, key.group);
        if moved {
            self.mark_dirty(now, key);
        }
        if let Some(at) = next_time {
            self.timers.set_by(Timer::Subscription(key), at);
        }
        if moved {
            self.end_if_taken(key);
        }
        if is_final {
            self.note_rejected(key, session);
        }
        self.enqueue(key);
    }

    /// Does what waited for entries that are durable by now.
    fn settle_durable(&mut self, now: Now) {
        while let Some(waiting) = self.journal.next_done() {
            match waiting {
                Waiting::Run { run, count, put } => self.on_run_durable(now, run, count, put),
                Waiting::Repeat { group, reach, put } => self.finish_put(now, group, reach, put),
                Waiting::Answer { session, request, answer } => {
                    self.effects.push_back(Effect::Answer { session, request, answer });
                }
                Waiting::Left { group, membership } => self.leave(now, group, membership),
                Waiting::Wish { session, request, answer, wish } => {
                    self.confirm(now, (session, request), answer, wish);
                }
                Waiting::Known { group } => self.settle_confirmed(now, group),
                Waiting::Finished { group } => self.tell_finished(group),
                Waiting::Repaired { annex } => self.end_repair(annex),
                Waiting::Confirmed(confirmed) => self.say_confirmed(*confirmed),
                Waiting::Mourned { group } => self.end_mourning(now, group),
                Waiting::Said(fact) => self.flood(None, &[*fact]),
                Waiting::Topology(version) => self.on_topology_durable(now, version),
                Waiting::MoveSaid(frame) => self.send_move(*frame),
                Waiting::Brought { group } => self.on_brought_durable(now, group),
                Waiting::Spent { key, token } => self.on_spent(key, token),
                Waiting::Floor { group, consumed, release } => {
                    if self.groups.get(group).is_some() {
                        self.on_floor(now, group, consumed, release);
                    } else {
                        self.effects.push_back(Effect::Release { group, below: release });
                    }
                }
            }
        }
        if !self.timers.is_set(Timer::Housekeeping) {
            self.timers.set(Timer::Housekeeping, keeping::first_housekeeping(now.time));
        }
    }

    fn on_run_durable(&mut self, now: Now, run: WaitingRun, count: u32, put: Option<WaitingPut>) {
        let WaitingRun { group: number, end, stream, last } = run;
        if let Some(group) = self.groups.get_mut(number) {
            group.durable = end;
            if let Some(stream) = group.stream(stream) {
                stream.durable = last;
                if stream.origin != self.options.relay {
                    self.owe_receipt(now, number, false);
                }
            }
            let Some(group) = self.groups.get_mut(number) else { return };
            group.traffic().books.settle(count);
            self.enqueue_group(number);
            self.enqueue_rejected(number);
            self.enqueue_readers(number);
        } else {
            self.books.settle(count);
        }
        if let Some(put) = put {
            let is_repeat = put.earlier_from.is_some();
            self.finish_put(now, number, Reach { end, last, is_repeat }, put);
        }
    }

    /// A put whose group went before its messages were consumed: nobody will ever say more of them.
    fn refuse_removed(&mut self, session: SessionId, done: PutDone) {
        let message = "the group was removed before every subscription had acked the messages";
        let refusal = Refusal::new(RefusalCode::Removed, message);
        let notice = Notice::PutRefused { put: done.put, refusal };
        self.effects.push_back(Effect::Notice { session, notice });
    }
}
