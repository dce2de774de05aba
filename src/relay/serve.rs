//! Answers to pulls, out of the log; and offers of what nobody has asked for.
//!
//! The log is read from a place a little before what is wanted, as for a neighbour in the tree,
//! and only runs of the one stream are sent. Where the first one is that is wanted is seen when it
//! is read: what was damaged or let go meanwhile is asked of others then.

use std::sync::Arc;

use super::Relay;
use super::ahead::Ahead;
use super::effect::Effect;
use super::group::Waiter;
use super::input::Now;
use super::lost::Behind;
use super::pull::{PullWaiter, Pulls, Quest, StreamKey};
use super::stream::Stream;
use super::timer::Timer;
use crate::id::{GroupNumber, Index, LinkId, RelayId, Sequence, StreamNumber, Time};
use crate::limits;
use crate::log::{MissingCause, Piece};
use crate::wire::link::{Holds, LinkMessage};
use crate::wire::run::StoredRun;

/// The first pause between two offers, in milliseconds; it doubles up to
/// [`limits::PULL_PAUSE_MS_MAX`].
const OFFER_MS: u64 = 1_000;

/// Milliseconds in which a neighbour asks for the rest of what was more than is sent for one pull. It does so
/// after its patience; what it waits for meanwhile it must not give up.
const REST_MS: u64 = 1_500;
const _: () = assert!(limits::PULL_PATIENCE_MS < REST_MS && REST_MS < limits::PULL_WAIT_MS);

/// A pull that is answered out of the log.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    pub(super) waiter: PullWaiter,
    pub(super) group: GroupNumber,
    quest: Quest,
    stream: StreamNumber,
    /// The first sequence that is still wanted.
    from: Sequence,
    next: Index,
    ahead: Option<Ahead>,
    fetching: Option<Index>,
    sent_bytes: u64,
    /// Whether something that was read is damaged.
    is_damaged: bool,
    /// It is answered, and keeps its place in the line until the neighbour asks for the rest, or until then.
    pub(super) rests_until: Option<Time>,
}

impl Serving {
    /// Whether the same neighbour is sent both, and takes them in the order of their epochs.
    fn is_in_line_with(&self, other: &Self) -> bool {
        let (one, two) = (&self.quest, &other.quest);
        self.waiter.link == other.waiter.link
            && self.group == other.group
            && one.key.epoch.storage == two.key.epoch.storage
            && one.key.origin == two.key.origin
            // What repairs a disk fits wherever it is missing.
            && !one.anyway
            && !two.anyway
    }
}

impl Pulls {
    /// Which answer is to go on before this one can: the earliest that is in line with it, or itself.
    /// `None`: it is over.
    fn turn(&self, id: u64) -> Option<u64> {
        let serving = self.served.get(&id)?;
        let in_line = self.served.iter().filter(|(_, other)| other.is_in_line_with(serving));
        let first = in_line.min_by_key(|(id, other)| (other.quest.key.epoch.counter, **id));
        first.map(|(id, _)| *id).or(Some(id))
    }

    /// A neighbour that asks for what it is being sent has given up what it had asked before: it would
    /// wait for that, and be sent everything twice.
    pub(super) fn end_given_up(&mut self, link: LinkId, quest: &Quest) {
        let is_given_up = |serving: &Serving| {
            let of = &serving.quest;
            let is_same = serving.waiter.link == link && of.key == quest.key && of.anyway == quest.anyway;
            is_same && of.from <= quest.from && quest.from <= of.to
        };
        self.served.retain(|_, serving| !is_given_up(serving));
    }

    /// Neighbours that have not asked for the rest by now do not hold up what is in line behind it.
    pub(super) fn end_rests(&mut self, now: Time) {
        self.served.retain(|_, serving| serving.rests_until.is_none_or(|until| now < until));
    }
}

/// What a step of an answer has come to.
enum Step {
    /// It goes on.
    On,
    /// It waits for the disk or for the link.
    Waits,
    /// The log gives a run that is wanted.
    Send(StoredRun),
    /// There is nothing more here.
    Ends,
    /// What is missing ends before this record.
    EndsBefore(Behind),
}

impl Relay {
    /// Answers a pull out of the log, if its stream reaches so far here. False: it does not.
    pub(super) fn serve(&mut self, quest: &Quest, waiter: PullWaiter) -> bool {
        let key = &quest.key;
        let Some(group) = self.groups.get(key.group) else { return false };
        let found = group.stream_of(&key.origin, key.epoch);
        let Some(stream) = found.filter(|stream| stream.durable >= quest.from) else { return false };
        let next = stream.place_before(quest.from).unwrap_or(group.low).max(group.low);
        let serving = Serving {
            waiter,
            group: key.group,
            quest: quest.clone(),
            stream: stream.number,
            from: quest.from,
            next,
            ahead: None,
            fetching: None,
            sent_bytes: 0,
            is_damaged: false,
            rests_until: None,
        };
        let id = self.pulls.next_id();
        self.pulls.served.insert(id, serving);
        true
    }

    /// Whether a neighbour in the group's tree gets a record in its turn, from its place in the log.
    /// It may be slow, or have much to get before; a pull would only make that worse. Where the
    /// record stands is not known to the last: who is past it asks once more.
    pub(super) fn will_come(&self, key: &StreamKey, from: Sequence, link: LinkId) -> bool {
        let Some(group) = self.groups.get(key.group) else { return false };
        let Some(stream) = group.stream_of(&key.origin, key.epoch).filter(|s| s.durable >= from) else {
            return false;
        };
        let spread = group.spread.as_deref().filter(|spread| spread.carries(&key.origin, link));
        let place = spread.and_then(|spread| spread.place_of(link));
        let behind = stream.place_behind(from).unwrap_or(group.durable).min(group.durable);
        place.is_some_and(|(next, has_compared)| has_compared && next < behind)
    }

    /// Goes on with all answers.
    pub(super) fn pump_pulls(&mut self, now: Now) {
        for id in self.pulls.served.keys().copied().collect::<Vec<_>>() {
            while let Some(turn) = self.pulls.turn(id) {
                match self.serve_step(now, turn) {
                    Step::On => {}
                    Step::Waits => break,
                    Step::Send(run) => self.send_pulled(now, turn, &run),
                    Step::Ends => self.end_serving(now, turn, None),
                    Step::EndsBefore(behind) => self.end_serving(now, turn, Some(behind)),
                }
            }
        }
    }

    fn serve_step(&mut self, now: Now, id: u64) -> Step {
        let Some(serving) = self.pulls.served.get_mut(&id) else { return Step::Waits };
        let Some(group) = self.groups.get_mut(serving.group) else { return Step::Ends };
        if serving.fetching.is_some() || serving.rests_until.is_some() {
            return Step::Waits;
        }
        let link = serving.waiter.link;
        let room = self.links.table.get_mut(&link).map_or(Err(None), |state| state.room(now.time, true));
        if let Err(at) = room {
            at.into_iter().for_each(|at| self.timers.set_by(Timer::Link(link), at));
            return Step::Waits;
        }
        serving.next = serving.next.max(group.low);
        let is_enough = serving.sent_bytes >= limits::PULL_BYTES || serving.from > serving.quest.to;
        // Others wait behind it: the rest of the log is not read for what is not in it.
        let is_last = group.stream(serving.stream).is_none_or(|stream| stream.durable < serving.from);
        if is_enough || is_last || serving.next >= group.durable {
            return Step::Ends;
        }
        let next = serving.next;
        let Some((piece, _)) = serving.ahead.as_mut().and_then(|ahead| ahead.seek(next)) else {
            serving.fetching = Some(next);
            let end = group.durable;
            let fetch = Effect::Fetch { group: serving.group, from: next, bytes_max: limits::READ_BYTES };
            if group.traffic().ask_for(next, end, Waiter::Pull(id)) {
                self.effects.push_back(fetch);
            }
            return Step::Waits;
        };
        let run = match piece {
            Piece::Missing { to, cause, .. } => {
                serving.is_damaged |= *cause != MissingCause::Released;
                serving.next = *to;
                return Step::On;
            }
            Piece::Run(run) => run.clone(),
        };
        let (first, last) = (run.run.header.first, Sequence(run.run.header.end().0 - 1));
        if run.end_index() > group.durable {
            return Step::Ends;
        }
        serving.next = run.end_index();
        // Who repairs its disk wants the record, and not that it is lost.
        let is_lost = || serving.quest.anyway && super::lost::in_place(&run.run).is_some();
        if run.stream != serving.stream || last < serving.from || is_lost() {
            return Step::On;
        }
        // What is missing before it was let go when nobody needed it any more: then it goes on here.
        let released = group.stream(run.stream).map_or(Sequence(0), |stream| stream.released);
        let is_let_go = first.0 <= released.0 + 1 && !serving.quest.anyway;
        if first > serving.quest.to || (first > serving.from && !is_let_go) {
            return Step::EndsBefore(Behind { next: first, chain: run.run.header.chain });
        }
        Step::Send(run)
    }

    fn send_pulled(&mut self, now: Now, id: u64, run: &StoredRun) {
        let Some(serving) = self.pulls.served.get_mut(&id) else { return };
        serving.from = run.run.header.end();
        serving.sent_bytes += super::body_bytes(&run.run);
        let (group, link) = (serving.group, serving.waiter.link);
        self.send_pulled_run(now, group, link, run);
    }

    /// There is nothing more to send; if nothing was sent, others are asked for what is missing.
    fn end_serving(&mut self, now: Now, id: u64, behind: Option<Behind>) {
        let Some(serving) = self.pulls.served.remove(&id) else { return };
        if serving.from > serving.quest.from {
            let (waiter, last) = (serving.waiter, Sequence(serving.from.0 - 1));
            let released = self.released(&serving.quest.key);
            self.answer_pull(waiter, (Some(last), released));
            return self.rest(now, id, serving);
        }
        let Serving { waiter, quest, is_damaged, .. } = serving;
        let behind = behind.or_else(|| {
            let stream = self.find_stream(&quest.key).filter(|stream| stream.durable == stream.last)?;
            Some(Behind { next: stream.last.next(), chain: stream.chain })
        });
        let before = behind.map_or(limits::SEQUENCE_MAX, |behind| behind.next.0 - 1);
        let (to, behind) = (quest.to.min(Sequence(before)), behind.filter(|_| is_damaged));
        self.search(now, Quest { to, behind, ..quest }, waiter);
    }

    /// An answer has ended. If there is more than is sent for one pull, what is in line behind it would come
    /// before the rest, and be dropped: it waits until the neighbour has asked for that.
    fn rest(&mut self, now: Now, id: u64, mut serving: Serving) {
        let Serving { quest, from, sent_bytes, .. } = &serving;
        let stream = self.find_stream(&quest.key).filter(|stream| stream.durable >= *from);
        let has_more = *sent_bytes >= limits::PULL_BYTES && *from <= quest.to && stream.is_some();
        if has_more && self.pulls.served.values().any(|other| other.is_in_line_with(&serving)) {
            let until = now.time.after_ms(REST_MS);
            serving.rests_until = Some(until);
            self.pulls.served.insert(id, serving);
            self.timers.set_by(Timer::Pulls, until);
        }
    }

    /// What an answer waited for was read.
    pub(super) fn on_fetched_for_pull(&mut self, id: u64, from: Index, pieces: &Arc<[Piece]>) {
        let Some(serving) = self.pulls.served.get_mut(&id).filter(|s| s.fetching == Some(from)) else {
            return;
        };
        serving.fetching = None;
        if pieces.is_empty() {
            // Let go meanwhile, or there never was anything: the end is reached.
            serving.next = Index(u64::MAX);
        } else {
            serving.ahead = Some(Ahead::new(Arc::clone(pieces)));
        }
    }

    /// Tells a member of what is held here out of the tree, while its origin cannot be reached:
    /// nobody else would. Once a second, then less and less often.
    pub(super) fn offer_held(&mut self, now: Now, number: GroupNumber) {
        let me = &self.options.relay;
        let Some(group) = self.groups.get(number) else { return };
        let Some(spread) = group.spread.as_deref().filter(|spread| spread.tree().is_empty()) else { return };
        let is_cut_off = |s: &&Stream| {
            s.origin != *me && s.durable > s.released && !self.links.toward.contains_key(&s.origin)
        };
        let held: Vec<&Stream> = group.streams.iter().filter(is_cut_off).collect();
        let members = spread.parts.active_members().into_iter().filter(|member| *member != me);
        let members: Vec<&RelayId> = members.filter(|m| self.links.toward.contains_key(*m)).collect();
        if held.is_empty() || members.is_empty() {
            return;
        }
        let (next, pause_ms) = self.pulls.offers.get(&number).copied().unwrap_or((now.time, OFFER_MS));
        if now.time < next {
            return;
        }
        // Another one each time: one that has it passes it on to all.
        let to = members[pause_ms.ilog2() as usize % members.len()].clone();
        let holds = |s: &&Stream| Holds {
            group: group.id(),
            origin: s.origin.clone(),
            epoch: s.epoch,
            last: s.durable,
            by: me.clone(),
            to: to.clone(),
            hops: self.trees.hops(),
        };
        let holds: Vec<Holds> = held.iter().map(holds).collect();
        let again = (now.time.after_ms(pause_ms), (pause_ms * 2).min(limits::PULL_PAUSE_MS_MAX));
        self.pulls.offers.insert(number, again);
        if let Some(link) = self.links.toward.get(&to).copied() {
            self.say(link, LinkMessage::Holds(holds));
        }
    }

    /// A relay out of the tree has something that a member may lack.
    pub(super) fn on_holds(&mut self, now: Now, from: LinkId, holds: Vec<Holds>) {
        for held in holds {
            if held.to != self.options.relay {
                if let Some((link, hops)) = self.way_on(&held.to, from, held.hops) {
                    self.say(link, LinkMessage::Holds(vec![Holds { hops, ..held }]));
                }
                continue;
            }
            let Some(number) = self.group_of(now, &held.group) else { continue };
            let key = StreamKey { group: number, origin: held.origin, epoch: held.epoch };
            self.note_lack(now, key, (held.last, Some(&held.by)), limits::PULL_PATIENCE_MS);
        }
    }
}
