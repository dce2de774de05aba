//! What no neighbour in the tree has is asked for, from relay to relay (R10).
//!
//! A neighbour that shows more than is here sends it, when it is in the group's tree; for that
//! nothing is asked. Only when nothing has come for a while, because the neighbour has lost it or
//! let it go or is not in the tree, it is pulled: towards the origin first, then from whoever is
//! left. Who is asked and has it answers ([`super::serve`]); who has not asks onward, one
//! neighbour after the other, once for all that ask him, and remembers who waits. Who finds
//! himself on the way that a pull has come does not go on with it, so it goes round in no circle.
//! The records come back the same way as ordinary runs. A relay on the way that they follow on
//! takes them like all others; one that they do not passes them on and keeps nothing.
//!
//! ```text
//!  lacking ──patience──▶ pulling ──records──▶ there, or comparing again
//!     ▲                     │
//!     └──── pause, longer ──┘ nobody has it
//! ```
//!
//! Nothing of it is kept: a relay that starts learns from vectors again what it lacks.

mod progress;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::progress::Come;
use super::Relay;
use super::carried::Fate;
use super::input::Now;
use super::lost::Behind;
use super::serve::Serving;
use super::stream::Stream;
use super::timer::Timer;
use crate::id::{Epoch, GroupNumber, LinkId, RelayId, Sequence, StreamNumber, Time};
use crate::limits;
use crate::wire::link::{LinkMessage, Pull, Pulled};
use crate::wire::run::{Run, StoredRun};

/// A stream, whether it is known here or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamKey {
    pub(super) group: GroupNumber,
    pub(super) origin: RelayId,
    pub(super) epoch: Epoch,
}

impl StreamKey {
    pub(super) fn of(group: GroupNumber, stream: &Stream) -> Self {
        Self { group, origin: stream.origin.clone(), epoch: stream.epoch }
    }

    /// Whether it is a later epoch of the same origin and disk.
    fn is_behind(&self, other: &Self) -> bool {
        let is_same = self.group == other.group && self.origin == other.origin;
        is_same && self.epoch.storage == other.epoch.storage && self.epoch.counter > other.epoch.counter
    }
}

/// Who waits for the answer to a pull: a neighbour, and what it calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PullWaiter {
    pub(super) link: LinkId,
    pub(super) id: u64,
    /// The first sequence that it was not sent yet: each run is passed on to it once.
    pub(super) next: Sequence,
}

/// A stream of which somebody has shown more than is here.
#[derive(Clone, Debug)]
struct Lack {
    shown: Sequence,
    /// How far it was here when that was looked at last.
    had: Sequence,
    /// A relay that is known to have it.
    holder: Option<RelayId>,
    next: Time,
    pause_ms: u64,
}

impl Lack {
    /// Whether it was asked for more than once, and nothing has come.
    fn is_in_vain(&self) -> bool {
        self.pause_ms > 2 * limits::PULL_PATIENCE_MS
    }
}

/// What is to be found, and how its search has come here.
#[derive(Clone, Debug)]
pub(super) struct Quest {
    pub(super) key: StreamKey,
    pub(super) from: Sequence,
    pub(super) to: Sequence,
    pub(super) toward: RelayId,
    pub(super) path: Vec<RelayId>,
    pub(super) hops: u16,
    /// Whether it is wanted though it was released.
    pub(super) anyway: bool,
    /// What stands behind it, if it is damaged here.
    pub(super) behind: Option<Behind>,
}

/// A pull of this relay that is not answered.
#[derive(Clone, Debug)]
struct Open {
    quest: Quest,
    asked: Option<LinkId>,
    tried: BTreeSet<LinkId>,
    /// Whether this relay lacks it itself.
    is_own: bool,
    /// Whether somebody who may have it was asked and has not answered.
    is_unsure: bool,
    waiters: Vec<PullWaiter>,
    /// What of the answer comes next, as far as it has come from whoever is asked now.
    next: Sequence,
    deadline: Time,
}

impl Open {
    fn covers(&self, key: &StreamKey, (first, last): (Sequence, Sequence)) -> bool {
        self.quest.key == *key && first <= self.quest.to && last >= self.quest.from
    }
}

/// All that is lacking and asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulls {
    last_id: u64,
    open: BTreeMap<u64, Open>,
    pub(super) served: BTreeMap<u64, Serving>,
    lacks: BTreeMap<StreamKey, Lack>,
    /// What was in vain a short time ago, and when.
    barren: VecDeque<(StreamKey, Sequence, Time)>,
    /// When the members of a group are told next what is held here.
    pub(super) offers: BTreeMap<GroupNumber, (Time, u64)>,
}

impl Pulls {
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A group is gone.
    pub(super) fn forget(&mut self, group: GroupNumber) {
        self.open.retain(|_, open| open.quest.key.group != group);
        self.served.retain(|_, serving| serving.group != group);
        self.lacks.retain(|key, _| key.group != group);
        self.barren.retain(|(key, _, _)| key.group != group);
        self.offers.remove(&group);
    }

    /// Whether a neighbour may wait for what comes.
    pub(super) fn has_waiters(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a run may be an answer that is waited for: it says nothing of what whoever sends it
    /// has besides.
    pub(super) fn awaits(
        &self,
        group: GroupNumber,
        stream: &Stream,
        (first, last): (Sequence, Sequence),
    ) -> bool {
        // Mostly nothing is pulled: then no key is made for every run that comes.
        !self.open.is_empty() && {
            let key = StreamKey::of(group, stream);
            self.open.values().any(|open| open.covers(&key, (first, last)))
        }
    }

    /// Whether a stream lacks something that was asked for more than once, and nothing has come.
    pub(super) fn is_in_vain(&self, key: &StreamKey) -> bool {
        self.lacks.get(key).is_some_and(Lack::is_in_vain)
    }

    fn next_time(&self) -> Option<Time> {
        let open = self.open.values().map(|open| open.deadline);
        let rests = self.served.values().filter_map(|serving| serving.rests_until);
        open.chain(self.lacks.values().map(|lack| lack.next)).chain(rests).min()
    }

    fn was_barren(&mut self, now: Time, key: &StreamKey, from: Sequence) -> bool {
        self.barren.retain(|(_, _, at)| now < at.after_ms(limits::PULL_PATIENCE_MS));
        self.barren.iter().any(|(of, at, _)| of == key && *at == from)
    }

    fn note_barren(&mut self, now: Time, quest: &Quest) {
        if self.barren.len() == limits::PULLS_BARREN_MAX {
            self.barren.pop_front();
        }
        self.barren.push_back((quest.key.clone(), quest.from, now));
    }
}

impl Relay {
    /// Somebody has shown that a stream has come as far as `shown`: `by`, if it is known. Whether
    /// what is missing here can still be on its way is looked at after `patience_ms`.
    pub(super) fn note_lack(
        &mut self,
        now: Now,
        key: StreamKey,
        (shown, by): (Sequence, Option<&RelayId>),
        patience_ms: u64,
    ) {
        if shown <= self.reached(&key) || !self.takes_part(key.group) {
            return;
        }
        let next = now.time.after_ms(patience_ms);
        let had = self.reached(&key);
        let is_full = self.pulls.lacks.len() >= limits::LACKS_MAX;
        match self.pulls.lacks.get_mut(&key) {
            Some(lack) => {
                lack.shown = lack.shown.max(shown);
                lack.holder = by.cloned().or(lack.holder.take());
            }
            None if is_full => {}
            None => {
                let lack = Lack { shown, had, holder: by.cloned(), next, pause_ms: limits::PULL_PATIENCE_MS };
                self.pulls.lacks.insert(key, lack);
                self.timers.set_by(Timer::Pulls, next);
            }
        }
    }

    pub(super) fn find_stream(&self, key: &StreamKey) -> Option<&Stream> {
        self.groups.get(key.group)?.stream_of(&key.origin, key.epoch)
    }

    /// How far a stream is here, or was released: nothing below is lacking.
    fn reached(&self, key: &StreamKey) -> Sequence {
        if self.is_key_finished(key) {
            return Sequence(limits::SEQUENCE_MAX);
        }
        self.find_stream(key).map_or(Sequence(0), |stream| stream.last.max(stream.released))
    }

    /// Whether this relay is to have what is put into a group.
    fn takes_part(&self, number: GroupNumber) -> bool {
        self.groups.get(number).is_some_and(|group| {
            let is_in_tree = group.spread.as_deref().is_some_and(|spread| !spread.tree().is_empty());
            is_in_tree || !group.subscriptions.is_empty()
        })
    }

    pub(super) fn on_pulls_time(&mut self, now: Now) {
        let late = self.pulls.open.iter().filter(|(_, open)| open.deadline <= now.time);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(open) = self.pulls.open.get_mut(&id) {
                open.is_unsure |= open.asked.is_some();
                open.tried.extend(open.asked.take());
            }
            self.ask_next(now, id);
        }
        self.pulls.end_rests(now.time);
        self.end_late_repairs(now);
        let due = self.pulls.lacks.iter().filter(|(_, lack)| lack.next <= now.time);
        for key in due.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.look_at_lack(now, &key);
        }
        self.set_pulls_time();
    }

    fn set_pulls_time(&mut self) {
        let next = [self.pulls.next_time(), self.repairs.next_time()].into_iter().flatten().min();
        match next {
            Some(at) => self.timers.set(Timer::Pulls, at),
            None => self.timers.clear(Timer::Pulls),
        }
    }

    /// Pulls what is lacking, unless it is there by now or on its way.
    fn look_at_lack(&mut self, now: Now, key: &StreamKey) {
        let (reached, room) = (self.reached(key), self.room);
        let part = self.takes_part(key.group);
        let waits_for = self.unsealed_before(key);
        let is_lost = self.find_stream(key).is_some_and(|stream| self.orphans().is_one(stream));
        let Some(lack) = self.pulls.lacks.get_mut(key) else { return };
        if reached >= lack.shown || !part {
            self.pulls.lacks.remove(key);
            return;
        }
        if reached > lack.had || !room {
            (lack.had, lack.pause_ms) = (reached, limits::PULL_PATIENCE_MS);
            lack.next = now.time.after_ms(limits::PULL_PATIENCE_MS);
            return;
        }
        lack.next = now.time.after_ms(lack.pause_ms.max(limits::PULL_WAIT_MS));
        lack.pause_ms = (lack.pause_ms * 2).min(limits::PULL_PAUSE_MS_MAX);
        let (shown, holder) = (lack.shown, lack.holder.clone());
        if waits_for.is_empty() || is_lost && lack.is_in_vain() {
            self.pull(now, key.clone(), shown, holder.clone());
        }
        // What ends the epochs before is lacking first (I10): wherever they end.
        for before in waits_for {
            self.pull(now, before, Sequence(limits::SEQUENCE_MAX), holder.clone());
        }
    }

    /// Earlier epochs of the same disk whose ends are not here.
    fn unsealed_before(&self, key: &StreamKey) -> Vec<StreamKey> {
        let Some(group) = self.groups.get(key.group) else { return Vec::new() };
        let unsealed = group.streams.iter().filter(|s| !s.sealed && s.is_before(&key.origin, key.epoch));
        unsealed.map(|s| StreamKey::of(key.group, s)).collect()
    }

    fn pull(&mut self, now: Now, key: StreamKey, to: Sequence, holder: Option<RelayId>) {
        let can_be_reached = |relay: &RelayId| self.links.toward.contains_key(relay);
        let origin = key.origin.clone();
        let toward = if can_be_reached(&origin) { origin } else { holder.unwrap_or(origin) };
        let quest = Quest {
            from: self.reached(&key).next(),
            key,
            to,
            toward,
            path: Vec::new(),
            hops: self.trees.hops(),
            anyway: false,
            behind: None,
        };
        self.ask_onward(now, quest, None);
    }

    /// Sees to it that somebody is asked, once for all that want the same. False: it is of no use.
    pub(super) fn ask_onward(&mut self, now: Now, quest: Quest, waiter: Option<PullWaiter>) -> bool {
        let is_same = |open: &&mut Open| {
            let of = &open.quest;
            of.key == quest.key && of.anyway == quest.anyway && of.from <= quest.from && quest.from <= of.to
        };
        if let Some(open) = self.pulls.open.values_mut().find(is_same) {
            let Some(waiter) = waiter else {
                open.is_own = true;
                return true;
            };
            // Who is asked himself would wait for himself.
            let may_wait = open.asked != Some(waiter.link) && open.waiters.len() < limits::PULL_WAITERS_MAX;
            if may_wait {
                open.waiters.push(waiter);
            }
            return may_wait;
        }
        if self.pulls.open.len() >= limits::PULLS_OPEN_MAX {
            return false;
        }
        let id = self.pulls.next_id();
        let open = Open {
            next: quest.from,
            quest,
            asked: None,
            tried: BTreeSet::new(),
            is_own: waiter.is_none(),
            is_unsure: false,
            waiters: waiter.into_iter().collect(),
            deadline: now.time,
        };
        self.pulls.open.insert(id, open);
        self.ask_next(now, id);
        true
    }

    /// Asks the next neighbour that may have it; if there is none, whoever waits is told so.
    fn ask_next(&mut self, now: Now, id: u64) {
        let Some(open) = self.pulls.open.get(&id) else { return };
        let next = self.next_to_ask(open);
        let group = self.groups.get(open.quest.key.group).map(super::group::Group::id);
        let Some((link, group)) = next.zip(group) else { return self.give_up(now, id) };
        let Some(open) = self.pulls.open.get_mut(&id) else { return };
        (open.asked, open.next) = (Some(link), open.quest.from);
        open.deadline = now.time.after_ms(limits::PULL_WAIT_MS);
        let Quest { key, from, to, toward, path, hops, anyway, .. } = open.quest.clone();
        let mut path = path;
        path.push(self.options.relay.clone());
        let (origin, epoch) = (key.origin, key.epoch);
        let hops = hops.saturating_sub(1);
        let pull = Pull { id, group, origin, epoch, from, to, toward, path, hops, anyway };
        self.timers.set_by(Timer::Pulls, now.time.after_ms(limits::PULL_WAIT_MS));
        self.say(link, LinkMessage::Pull(pull));
    }

    /// Towards whom it leads first, then neighbours in the group's tree, then all others.
    fn next_to_ask(&self, open: &Open) -> Option<LinkId> {
        let Quest { key, toward, path, hops, .. } = &open.quest;
        if *hops == 0 || path.len() >= limits::PULL_PATH_MAX {
            return None;
        }
        let tree = self.groups.get(key.group).and_then(|group| group.spread.as_deref());
        let tree = tree.map(super::forward::Spread::tree).unwrap_or_default();
        let first = self.links.toward.get(toward).copied();
        let links = first.into_iter().chain(tree.iter().copied()).chain(self.links.up());
        let is_left = |link: &LinkId| {
            let state = self.links.table.get(link).filter(|state| state.is_up);
            !open.tried.contains(link) && state.is_some_and(|state| !path.contains(&state.neighbour))
        };
        links.into_iter().find(is_left)
    }

    /// Whether nobody will ever need anything of it.
    fn is_key_finished(&self, key: &StreamKey) -> bool {
        self.groups.get(key.group).is_some_and(|group| group.is_finished(&key.origin, key.epoch))
    }

    /// Nobody has it whom this relay can ask.
    fn give_up(&mut self, now: Now, id: u64) {
        let Some(open) = self.pulls.open.remove(&id) else { return };
        self.pulls.note_barren(now.time, &open.quest);
        let released = self.released(&open.quest.key);
        // Who goes no further has asked nobody.
        let has_asked =
            !open.is_unsure && open.quest.hops > 0 && open.quest.path.len() < limits::PULL_PATH_MAX;
        if !has_asked || !self.answer_lost(now, &open.quest, &open.waiters) {
            for waiter in open.waiters {
                self.answer_pull(waiter, (None, released));
            }
        }
        self.after_repair_pull(now, &open.quest.key);
    }

    /// Pulls these records, the last one included, whether they are known here or not.
    pub(super) fn pull_range(&mut self, now: Now, key: StreamKey, (from, to): (Sequence, Sequence)) {
        let (toward, hops) = (key.origin.clone(), self.trees.hops());
        let path = Vec::new();
        let quest = Quest { key, from, to, toward, path, hops, anyway: true, behind: None };
        self.ask_onward(now, quest, None);
    }

    /// How far a stream is released, as far as it is known here.
    pub(super) fn released(&self, key: &StreamKey) -> Sequence {
        if self.is_key_finished(key) {
            return Sequence(limits::SEQUENCE_MAX);
        }
        self.find_stream(key).map_or(Sequence(0), |stream| stream.released)
    }

    /// Tells who has asked how far it was sent, or that it is not here.
    pub(super) fn answer_pull(&mut self, waiter: PullWaiter, (sent, released): (Option<Sequence>, Sequence)) {
        let (is_here, to) = (sent.is_some(), sent.unwrap_or_default());
        let pulled = Pulled { id: waiter.id, is_here, to, released };
        self.say(waiter.link, LinkMessage::Pulled(pulled));
    }

    /// A neighbour asks.
    pub(super) fn on_pull(&mut self, now: Now, link: LinkId, pull: Pull) {
        let waiter = PullWaiter { link, id: pull.id, next: pull.from };
        let number = self.group_of(now, &pull.group);
        let has_been_here = pull.path.contains(&self.options.relay);
        let Some(number) = number.filter(|_| !has_been_here && pull.from <= pull.to) else {
            return self.answer_pull(waiter, (None, Sequence(0)));
        };
        let Pull { origin, epoch, from, to, toward, path, hops, anyway, .. } = pull;
        let key = StreamKey { group: number, origin, epoch };
        let released = self.released(&key);
        let quest = Quest { key, from, to, toward, path, hops, anyway, behind: None };
        self.pulls.end_given_up(link, &quest);
        let is_busy = self.pulls.served.len() >= limits::PULLS_SERVED_MAX;
        if is_busy {
            return self.answer_pull(waiter, (None, released));
        }
        if !anyway && quest.path.len() == 1 && self.will_come(&quest.key, from, link) {
            return self.answer_pull(waiter, (Some(Sequence(from.0.saturating_sub(1))), released));
        }
        if !self.serve(&quest, waiter) {
            self.search(now, quest, waiter);
        }
    }

    /// It is not here: others are asked, unless nobody had it a moment ago.
    pub(super) fn search(&mut self, now: Now, quest: Quest, waiter: PullWaiter) {
        let is_vain = self.pulls.was_barren(now.time, &quest.key, quest.from);
        let released = self.released(&quest.key);
        let is_let_go = quest.to <= released && !quest.anyway;
        if is_let_go || is_vain || !self.ask_onward(now, quest, Some(waiter)) {
            self.answer_pull(waiter, (None, released));
        }
    }

    /// A neighbour has answered.
    pub(super) fn on_pulled(&mut self, now: Now, link: LinkId, pulled: &Pulled) {
        let Some(open) = self.pulls.open.get_mut(&pulled.id).filter(|open| open.asked == Some(link)) else {
            return;
        };
        let key = open.quest.key.clone();
        if !pulled.is_here && pulled.released >= open.quest.to && !open.quest.anyway {
            // Nobody needs it, so nobody has to have it.
            let Some(open) = self.pulls.open.remove(&pulled.id) else { return };
            self.learn_released(&key, pulled.released);
            for waiter in open.waiters {
                self.answer_pull(waiter, (None, pulled.released));
            }
            self.after_repair_pull(now, &key);
            return;
        }
        if !pulled.is_here {
            open.tried.extend(open.asked.take());
            return self.ask_next(now, pulled.id);
        }
        let Some(open) = self.pulls.open.remove(&pulled.id) else { return };
        for waiter in open.waiters {
            self.answer_pull(waiter, (Some(pulled.to), pulled.released));
        }
        if open.is_own && !self.is_repairing(&open.quest.key) {
            self.after_pull(now, &open.quest.key, open.quest.from);
        }
        if open.is_own {
            self.after_repair_pull(now, &open.quest.key);
        }
    }

    /// More is released than was known here: then it is not lacking.
    fn learn_released(&mut self, key: &StreamKey, released: Sequence) {
        let (me, storage) = (self.options.relay.clone(), self.options.epoch.storage);
        let mut news = None;
        if let Some(group) = self.groups.get_mut(key.group) {
            let found = group.streams.iter_mut().find(|s| s.epoch == key.epoch && s.origin == key.origin);
            if let Some(stream) = found.filter(|stream| !stream.is_written_by(&me, storage)) {
                // Of a finished epoch it is only known that nobody needs anything of it. What is not here is
                // not counted as released: it would look as if it had been here.
                let is_finished = released >= Sequence(limits::SEQUENCE_MAX);
                let is_news = stream.release(if is_finished { stream.last } else { released });
                news = is_news.then_some(stream.number);
            }
        }
        self.pass_released(key.group, None, news.as_slice());
        if self.pulls.lacks.get(key).is_some_and(|lack| lack.shown <= released) {
            self.pulls.lacks.remove(key);
        }
        self.touched.insert(key.group);
    }

    /// Something of what is lacking has come: what neighbours have behind it they send when they
    /// know that it is here.
    fn after_pull(&mut self, now: Now, key: &StreamKey, from: Sequence) {
        let reached = self.reached(key);
        if reached < from {
            return;
        }
        let Some(group) = self.groups.get(key.group) else { return };
        let links = group.spread.as_deref().map(|spread| spread.tree().to_vec()).unwrap_or_default();
        for link in links {
            self.say_lacks(key.group, link);
        }
        // At once, if it is not the whole: more than that is not sent for one pull.
        if let Some(lack) = self.pulls.lacks.get_mut(key) {
            (lack.had, lack.pause_ms) = (reached, limits::PULL_PATIENCE_MS);
            lack.next = now.time.after_ms(limits::PULL_PATIENCE_MS);
        }
        self.set_pulls_time();
    }

    /// An epoch is whole. What came of later ones before it was, was dropped (I10): what was asked for is
    /// asked for again soon, however long its pause has become meanwhile.
    pub(super) fn pull_later(&mut self, now: Now, key: &StreamKey) {
        let soon = now.time.after_ms(limits::PULL_PATIENCE_MS);
        let is_same = |of: &StreamKey| of.group == key.group && of.origin == key.origin;
        let was_asked = |lack: &Lack| lack.pause_ms > limits::PULL_PATIENCE_MS;
        let later = self.pulls.lacks.range_mut(key.clone()..).take_while(|(of, _)| is_same(of));
        for (_, lack) in later.filter(|(of, lack)| of.is_behind(key) && was_asked(lack)) {
            lack.next = lack.next.min(soon);
            // What was in vain is so still: nothing is held up by others for longer than it was.
            lack.pause_ms = lack.pause_ms.min(4 * limits::PULL_PATIENCE_MS);
            self.timers.set_by(Timer::Pulls, soon);
        }
    }

    /// A run has come that somebody may wait for. Who is a reader of the log here and gets what is
    /// appended gets it so; to all others it is passed on, whether it could be taken here or not.
    pub(super) fn pass_pulled(
        &mut self,
        now: Now,
        from: LinkId,
        (number, stream): (GroupNumber, StreamNumber),
        (age_ms, run): (u32, &Run),
        fate: Fate,
    ) {
        let Some(group) = self.groups.get(number) else { return };
        let Some(known) = group.streams.iter().find(|s| s.number == stream) else { return };
        let key = StreamKey::of(number, known);
        let (first, last) = (run.header.first, Sequence(run.header.end().0 - 1));
        let spread = group.spread.as_deref();
        let gets_it = |link: LinkId| {
            fate == Fate::Taken && spread.and_then(|s| s.place_of(link)).is_some_and(|(_, compared)| compared)
        };
        let come = Come { first, last, fate, released: known.released };
        self.pulls.note_progress(now.time, from, &key, come);
        let links = &self.links.table;
        let mut waiting = BTreeSet::new();
        for open in self.pulls.open.values_mut().filter(|open| open.covers(&key, (first, last))) {
            for waiter in open.waiters.iter_mut().filter(|waiter| waiter.next <= last) {
                // Nothing is kept for a link that is full: it is asked for again.
                let is_writable = links.get(&waiter.link).is_some_and(super::link::Link::is_writable);
                if waiter.link != from && is_writable {
                    waiter.next = last.next();
                    waiting.insert(waiter.link);
                }
            }
        }
        waiting.retain(|link| !gets_it(*link));
        for link in waiting {
            let (first_index, run) = (crate::id::Index(0), run.clone());
            let passed = StoredRun { stream, first_index, arrived: now.wall, age_ms, link: from, run };
            self.send_pulled_run(now, number, link, &passed);
        }
    }

    /// A link has come up: what was in vain may be there.
    pub(super) fn pull_again(&mut self, now: Now) {
        let soon = now.time.after_ms(limits::PULL_PATIENCE_MS);
        for lack in self.pulls.lacks.values_mut() {
            lack.next = lack.next.min(soon);
            lack.pause_ms = limits::PULL_PATIENCE_MS;
        }
        self.pulls.barren.clear();
        self.set_pulls_time();
    }

    /// A link is down: what was asked over it is asked of others, and who has asked over it is
    /// told nothing.
    pub(super) fn leave_pulls(&mut self, now: Now, link: LinkId) {
        self.pulls.served.retain(|_, serving| serving.waiter.link != link);
        for open in self.pulls.open.values_mut() {
            open.waiters.retain(|waiter| waiter.link != link);
        }
        self.pulls.open.retain(|_, open| open.is_own || !open.waiters.is_empty());
        let asked = self.pulls.open.iter().filter(|(_, open)| open.asked == Some(link));
        for id in asked.map(|(id, _)| *id).collect::<Vec<_>>() {
            if let Some(open) = self.pulls.open.get_mut(&id) {
                (open.asked, open.is_unsure) = (None, true);
            }
            self.ask_next(now, id);
        }
    }
}
