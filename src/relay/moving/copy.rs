//! What nobody takes at the old home is copied to the new one, so that a move ends without receivers.
//!
//! When nobody has asked for a message for a while, what is to be delivered here is read from the log, part
//! by part: what this subscription has itself brought along from elsewhere, then what stands before the cut.
//! Every run that something is left of is sent, in order and at its place here, and the new home says how
//! far that is on its disk. A copy alone means nothing: it is still delivered here, and what is acked
//! meanwhile stays so. Only when all is there and still nobody takes, it is noted on disk that the *rest*
//! is the new home's; from then on nobody is served here, and the handover says what is left of each part.
//! What receivers are at work on is waited for: until they have acked it, or it is overdue.
//!
//! So a crash, a lost disk or a move that is given up before costs a copy at the most. What was noticed of
//! a copy is forgotten with a restart; the new home says again how far it is, and what it has is not sent.

mod hand;
mod scan;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::Relay;
use super::super::ahead::Ahead;
use super::super::delivery::GroupSide;
use super::super::effect::Effect;
use super::super::group::Waiter;
use super::super::input::Now;
use super::super::loss;
use super::super::merging::Scan;
use super::super::subscription::SubscriptionKey;
use super::super::timer::Timer;
use super::left::{is_left, not_owed};
use super::{Heard, Moving};
use crate::id::{Index, RelayId, Time};
use crate::limits;
use crate::log::{Piece, Urgency};
use crate::wire::body::GapCause;
use crate::wire::link::LinkMessage;
use crate::wire::moving::{CopyHead, Done, MoveFrame, MoveSays};
use crate::wire::run::{RunKind, StoredRun};

/// Pieces of one run that are not for a subscription, at the most: it takes a producer that has put
/// hundreds of messages again, and not those between.
const NOT_OWED_MAX: usize = 100;

/// What is lost of a part: half-open.
pub(super) type Lost = (Index, Index, GapCause);

/// What is left at the old home is the new one's: on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::relay) struct Rest {
    /// What could not be copied, by parts.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(in crate::relay) lost: Vec<(u32, Vec<Lost>)>,
    /// What the other home of its name is told instead of what was done with before the cut.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(in crate::relay) done: Option<Box<Done>>,
}

/// How far the copy is.
#[derive(Clone, Debug, Default)]
pub(super) struct Copying {
    /// Since when nobody has asked for a message.
    idle_since: Option<Time>,
    pub(super) part: Option<Part>,
    /// Parts that are there, with what is lost of them and what was read.
    whole: BTreeMap<u32, (Vec<Lost>, Scan)>,
    /// Whether these are all: only what receivers are at work on is waited for.
    is_all: bool,
}

/// The part that is copied.
#[derive(Clone, Debug)]
pub(super) struct Part {
    id: u32,
    key: SubscriptionKey,
    to: Index,
    next: Index,
    /// How far the new home has it, when it has said so.
    held: Option<Index>,
    /// Where the last run ends that was sent or is there.
    behind: Index,
    /// Runs on their way: where they end, and their bytes.
    sent: VecDeque<(Index, u64)>,
    lost: Vec<Lost>,
    scan: Scan,
    /// When something came of it last, or it was asked.
    moved_at: Time,
    ahead: Option<Ahead>,
    fetching: Option<Index>,
}

/// What comes of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    On,
    Waits,
    Done,
}

impl Relay {
    /// Whether somebody waits for messages of a subscription.
    fn is_wanted(&self, key: SubscriptionKey) -> bool {
        self.parts_here(key).iter().filter_map(|(_, part, _)| self.part_at(*part)).any(|(_, subscription)| {
            let active = subscription.active.as_deref();
            active.is_some_and(|active| active.receivers.iter().any(|r| r.used < r.credit))
        })
    }

    /// Copies what nobody takes, or hands it over when it is there.
    pub(in crate::relay) fn copy_unread(&mut self, now: Now, key: SubscriptionKey) {
        self.leave_taken(key);
        let is_wanted = self.is_wanted(key);
        let has_turn = self.copies.contains(&key) || self.copies.len() < limits::COPIES_MAX;
        let Some(moving) = self.moving_at(key) else { return };
        let (to, merge) = (moving.to.clone(), moving.merge);
        let copying = &mut moving.heard.copying;
        if is_wanted {
            (copying.idle_since, copying.is_all) = (None, false);
            self.copies.remove(&key);
            return;
        }
        let since = *copying.idle_since.get_or_insert(now.time);
        let is_unread = merge || now.time >= since.after_ms(limits::MOVE_UNREAD_MS);
        if !is_unread || !has_turn {
            return;
        }
        if let Some(part) = &mut copying.part {
            let is_late = now.time >= part.moved_at.after_ms(limits::COPY_AGAIN_MS);
            let asks = (is_late || part.held.is_none()).then_some((part.id, part.key));
            if asks.is_some() {
                part.moved_at = now.time;
            }
            // Of whom nothing is heard he makes way for others.
            if is_late {
                self.copies.remove(&key);
            } else {
                self.copies.insert(key);
            }
            return asks.into_iter().for_each(|part| self.ask_copied(key, &to, part));
        }
        let whole: BTreeSet<u32> = copying.whole.keys().copied().collect();
        match self.parts_here(key).into_iter().find(|(id, ..)| !whole.contains(id)) {
            Some((id, part, end)) => self.begin_copy(now, key, (id, part, end)),
            None => {
                if let Some(moving) = self.moving_at(key) {
                    moving.heard.copying.is_all = true;
                }
                if merge || !self.is_in_hand(key) {
                    self.leave_rest(now, key);
                }
            }
        }
    }

    /// The part that is copied was taken here after all: others may be left.
    fn leave_taken(&mut self, key: SubscriptionKey) {
        let part = self.moving_at(key).and_then(|moving| moving.heard.copying.part.as_ref());
        let part = part.map(|part| part.key);
        if part.is_some_and(|part| self.part_at(part).is_none())
            && let Some(moving) = self.moving_at(key)
        {
            moving.heard.copying.part = None;
        }
    }

    fn begin_copy(&mut self, now: Now, key: SubscriptionKey, (id, part, to): (u32, SubscriptionKey, Index)) {
        let Some(moving) = self.moving_at(key) else { return };
        moving.heard.copying.part = Some(Part {
            id,
            key: part,
            to,
            next: Index(0),
            held: None,
            behind: Index(0),
            sent: VecDeque::new(),
            lost: Vec::new(),
            scan: Scan::default(),
            moved_at: now.time,
            ahead: None,
            fetching: None,
        });
        let home = moving.to.clone();
        self.copies.insert(key);
        self.ask_copied(key, &home, (id, part));
    }

    fn ask_copied(&mut self, key: SubscriptionKey, to: &RelayId, (part, at): (u32, SubscriptionKey)) {
        let Some(from) = self.part_at(at).map(|(_, subscription)| subscription.cursor.floor()) else {
            return;
        };
        self.say_of_move(key, to, MoveSays::Copy { part, from });
    }

    /// The new home says how far it has a part.
    pub(super) fn on_copied(&mut self, now: Now, frame: &MoveFrame, (id, through): (u32, Index)) {
        let Some(key) = self.moving_of(frame) else {
            return self.answer_move_durably(now, frame, MoveSays::Void);
        };
        let moving = self.moving_at(key).filter(|moving| moving.to == frame.from && moving.rest.is_none());
        let part = moving.and_then(|moving| moving.heard.copying.part.as_mut());
        let Some(part) = part.filter(|part| part.id == id) else { return };
        part.moved_at = now.time;
        match part.held {
            Some(held) if through > held => {
                part.held = Some(through);
                part.behind = part.behind.max(through);
                part.sent.retain(|(end, _)| *end > through);
            }
            // What was sent behind is lost on its way.
            Some(held) if through == held => {
                part.sent.clear();
                (part.next, part.behind) = (part.next.min(held), held);
                part.lost.retain(|(from, ..)| *from < held);
                part.ahead = None;
            }
            // The first word, or it has begun anew: what is lost is found by reading all of it.
            Some(_) | None => {
                part.held = Some(through);
                (part.next, part.behind) = (Index(0), through);
                part.sent.clear();
                part.lost.clear();
                part.ahead = None;
            }
        }
        if self.copies.len() < limits::COPIES_MAX {
            self.copies.insert(key);
        }
    }

    /// Goes on with all copies.
    pub(in crate::relay) fn pump_copies(&mut self, now: Now) {
        if self.copies.is_empty() {
            return;
        }
        for key in self.copies.iter().copied().collect::<Vec<_>>() {
            if self.moving_at(key).is_none_or(|moving| moving.heard.copying.part.is_none()) {
                self.copies.remove(&key);
            }
            while self.copy_on(now, key) {}
        }
    }

    fn copy_on(&mut self, now: Now, key: SubscriptionKey) -> bool {
        let Some(moving) = self.moving_at(key) else { return false };
        let to = moving.to.clone();
        let Some(mut part) = moving.heard.copying.part.take() else { return false };
        let step = self.copy_step(now, (key, &to), &mut part);
        let Some(moving) = self.moving_at(key) else { return false };
        let copying = &mut moving.heard.copying;
        if step == Step::Done {
            copying.whole.insert(part.id, (part.lost, part.scan));
            self.copies.remove(&key);
            self.timers.set_by(Timer::Moves, now.time.after_ms(limits::MOVE_FIRST_MS));
        } else {
            copying.part = Some(part);
        }
        step == Step::On
    }

    fn copy_step(&mut self, now: Now, (key, to): (SubscriptionKey, &RelayId), part: &mut Part) -> Step {
        let Some(held) = part.held else { return Step::Waits };
        if part.fetching.is_some() {
            return Step::Waits;
        }
        let Some((_, subscription)) = self.part_at(part.key) else { return Step::Waits };
        part.next = part.next.max(subscription.cursor.floor());
        if part.next >= part.to {
            return if part.sent.is_empty() { Step::Done } else { Step::Waits };
        }
        let waiting: u64 = part.sent.iter().map(|(_, bytes)| bytes).sum();
        if waiting >= limits::COPY_WINDOW_BYTES {
            return Step::Waits;
        }
        let Some(link) = self.links.toward.get(to).copied() else { return Step::Waits };
        let room = self.links.table.get_mut(&link).map_or(Err(None), |state| state.room(now.time, true));
        if let Err(at) = room {
            at.into_iter().for_each(|at| self.timers.set_by(Timer::Link(link), at));
            return Step::Waits;
        }
        let next = part.next;
        let Some((piece, _)) = part.ahead.as_mut().and_then(|ahead| ahead.seek(next)) else {
            return self.read_copy(key, part);
        };
        match piece {
            Piece::Run(run) => {
                let run = run.clone();
                self.scan_copied(key, part, &run);
                if !self.copy_run(now, (key, to), part, (&run, held)) {
                    return Step::Waits;
                }
                part.next = run.end_index();
            }
            Piece::Missing { to, cause, .. } => {
                let (to, cause) = ((*to).min(part.to), *cause);
                self.pass_missing(part, to, cause);
            }
        }
        Step::On
    }

    fn read_copy(&mut self, key: SubscriptionKey, part: &mut Part) -> Step {
        let Some(group) = self.groups.get_mut(part.key.group) else { return Step::Waits };
        (part.fetching, part.ahead) = (Some(part.next), None);
        let end = group.durable;
        if group.traffic().ask_for(part.next, end, Waiter::Copy(key)) {
            let (group, from) = (part.key.group, part.next);
            self.effects.push_back(Effect::Fetch { group, from, bytes_max: limits::READ_BYTES });
        }
        Step::Waits
    }

    /// What a copy waited for was read.
    pub(in crate::relay) fn on_fetched_for_copy(
        &mut self,
        key: SubscriptionKey,
        from: Index,
        pieces: &Arc<[Piece]>,
    ) {
        let part = self.moving_at(key).and_then(|moving| moving.heard.copying.part.as_mut());
        let Some(part) = part.filter(|part| part.fetching == Some(from)) else { return };
        part.fetching = None;
        if !pieces.is_empty() {
            part.ahead = Some(Ahead::new(Arc::clone(pieces)));
        }
    }

    /// Sends a run, if something of it is left, and the new home has not said that it has it. False: it is in
    /// more pieces than can be said, and waits for receivers.
    fn copy_run(
        &mut self,
        now: Now,
        (key, to): (SubscriptionKey, &RelayId),
        part: &mut Part,
        (run, held): (&StoredRun, Index),
    ) -> bool {
        let me = &self.options.relay;
        let Some((group, subscription)) = self.part_at(part.key) else { return false };
        let (side, end) = (GroupSide::of(group, me), run.end_index());
        if run.run.header.kind == RunKind::Loss
            && loss::is_told_here(run)
            && (subscription.replays || side.owes(run))
        {
            let is_damaged = crate::relay::lost::in_place(&run.run).is_some();
            let cause = if is_damaged { GapCause::Damaged } else { GapCause::Uncertain };
            part.lost.push((run.first_index, end, cause));
        }
        if run.run.header.kind != RunKind::Data || end <= held {
            return true;
        }
        let mut not_owed = not_owed(&side, subscription, run);
        if !is_left(subscription, run, &not_owed) {
            return true;
        }
        if self.is_merging(key) {
            // Nobody is there to wait for: rather some of it comes twice.
            not_owed.truncate(NOT_OWED_MAX);
        }
        let stream = group.streams.iter().find(|stream| stream.number == run.stream);
        let Some(stream) = stream.filter(|_| not_owed.len() <= NOT_OWED_MAX) else { return false };
        let (origin, epoch) = (stream.origin.clone(), stream.epoch);
        if self.is_own_there(key, stream, run) {
            return true;
        }
        let Some(frame) = self.move_frame(key, to, MoveSays::Copy { part: part.id, from: part.behind })
        else {
            return false;
        };
        let waited_ms = now.wall.0.saturating_sub(run.arrived.0) / 1000;
        let head = CopyHead {
            from: frame.from,
            to: frame.to,
            hops: frame.hops,
            group: frame.group,
            name: frame.name,
            token: frame.token,
            part: part.id,
            origin,
            epoch,
            behind: part.behind,
            first_index: run.first_index,
            age_ms: u32::try_from(u64::from(run.age_ms) + waited_ms).unwrap_or(u32::MAX),
            not_owed,
        };
        let message = LinkMessage::Copy { head: Box::new(head), run: run.run.clone() };
        part.sent.push_back((end, message.bytes()));
        part.behind = end;
        if let Some(link) = self.links.toward.get(to).copied() {
            self.say(link, message);
        }
        true
    }

    /// All is at the new home, and nobody takes: from now on the rest is its own.
    fn leave_rest(&mut self, now: Now, key: SubscriptionKey) {
        self.write_cursors(now, Urgency::Sync);
        let Some(moving) = self.moving_at(key).map(|moving| moving.clone()) else { return };
        let whole = &moving.heard.copying.whole;
        let done = moving.merge.then(|| Box::new(self.joined(key, whole)));
        let lost = whole.iter().filter(|(_, (lost, _))| !lost.is_empty());
        let lost = lost.map(|(part, (lost, _))| (*part, lost.clone())).collect();
        let rest = Some(Rest { lost, done });
        self.set_moving(key, Some(Moving { rest, heard: Heard::default(), ..moving }));
        self.timers.set_by(Timer::Moves, now.time.after_ms(limits::MOVE_FIRST_MS));
    }
}
