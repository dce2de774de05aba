//! Where a message is, and what became of it: at this relay, and at all that can be asked.
//!
//! Whoever is asked by a person asks all relays that can be reached, by one message that splits
//! where their ways part. Each finds the message in its log, judges its subscriptions
//! ([`super::fates`]), and answers the relay that asks. Nothing is remembered on the way: who has
//! not answered is asked again, a second answer changes nothing, and when the time is over those
//! who are missing are named.
//!
//! ```text
//!  request ─▶ question ─┬─ look for it here ───────────────▶ own trace ──┐
//!                       └─ AskWhere ─▶ others look for it ─ ToldWhere ──▶┴─▶ answer
//!                              ▲ again while some are missing               (or time is over)
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Relay;
use super::effect::Effect;
use super::fates::{Spot, Within, fates};
use super::group::{Group, Waiter};
use super::input::Now;
use super::lookup::{Lookup, Step};
use super::requests::{Outcome, When};
use super::stream::Stream;
use super::subscription::SubscriptionNumber;
use super::timer::Timer;
use super::traces::{How, Passed, Place};
use crate::id::{Index, LinkId, RelayId, SessionId, Time};
use crate::limits;
use crate::log::Piece;
use crate::wire::body::{
    Arrival, MessageName, Over, OwnKind, ReceiptTrace, Refusal, RefusalCode, RelayTrace, Reply, Sighting,
    SubscriptionTrace, Whereabouts,
};
use crate::wire::link::{AskWhere, LinkMessage, ToldWhere};
use crate::wire::run::{RunKind, StoredRun};

/// Bytes of what relays have said that one answer has room for, about.
const ANSWER_BYTES_MAX: usize = limits::CONTROL_BYTES_MAX / 2;

/// Bytes that a trace takes beside names, about, and a subscription or receipt in it.
const TRACE_BYTES: usize = 400;
const ITEM_BYTES: usize = 100;

/// Who is to be told where a message is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    /// A question of this relay.
    Mine(u64),
    /// One of another relay.
    Theirs(RelayId, u64),
}

/// Somebody waits for an answer.
#[derive(Clone, Debug)]
struct Question {
    session: SessionId,
    request: u64,
    message: MessageName,
    /// Whether nobody else is asked.
    is_local: bool,
    missing: BTreeSet<RelayId>,
    traces: BTreeMap<RelayId, RelayTrace>,
    unaware: u32,
    bytes: usize,
    left_off: u32,
    deadline: Time,
}

/// A message that is being looked for here.
#[derive(Clone, Debug)]
struct Search {
    whose: Whose,
    message: MessageName,
    lookup: Lookup,
    /// What is remembered of it.
    place: Option<Place>,
    deadline: Time,
}

/// Questions, and what is being looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<u64, Question>,
    searches: BTreeMap<u64, Search>,
    /// Numbers of questions and searches: never given twice.
    last: u64,
}

impl Questions {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Nobody is left to be told.
    pub(super) fn leave(&mut self, session: SessionId) {
        self.open.retain(|_, question| question.session != session);
    }
}

/// What this relay has found out of a message.
struct Finding {
    sighting: Sighting,
    index: Option<Index>,
    run: Option<StoredRun>,
    arrived: Option<Arrival>,
    /// Whether what became of it is remembered.
    is_remembered: bool,
}

impl Finding {
    fn nothing(sighting: Sighting) -> Self {
        Self { sighting, index: None, run: None, arrived: None, is_remembered: false }
    }
}

/// What is known of a message at once.
enum Known {
    /// Everything there is to know.
    All(Box<Finding>),
    /// It is to be looked for in the log.
    InLog(Lookup, Option<Place>),
}

impl Relay {
    /// Somebody asks where a message is.
    pub(super) fn begin_where(
        &mut self,
        now: Now,
        (session, request): (SessionId, u64),
        message: MessageName,
        (local, within_ms): (bool, Option<u64>),
    ) -> Outcome {
        if message.sequence.0 == 0 {
            return Err(Refusal::new(
                RefusalCode::Invalid,
                "no message has the sequence 0: they begin with 1",
            ));
        }
        if self.questions.open.len() >= limits::QUESTIONS_MAX {
            let text =
                format!("{} messages are asked for at a time, which is the bound", limits::QUESTIONS_MAX);
            return Err(Refusal::new(RefusalCode::Limit, text));
        }
        let me = self.options.relay.clone();
        let mut missing: BTreeSet<RelayId> = BTreeSet::from([me]);
        if !local {
            self.plan_now(now);
            missing.extend(self.links.toward.keys().cloned());
        }
        let within_ms = within_ms.unwrap_or(limits::WHERE_MS_DEFAULT).min(limits::WHERE_MS_MAX);
        let id = self.questions.next();
        let question = Question {
            session,
            request,
            message: message.clone(),
            is_local: local,
            missing,
            traces: BTreeMap::new(),
            unaware: 0,
            bytes: 0,
            left_off: 0,
            deadline: now.time.after_ms(within_ms),
        };
        self.questions.open.insert(id, question);
        self.ask_others(id);
        self.timers.set_by(Timer::Where, now.time.after_ms(limits::CONFIRM_AGAIN_MS.min(within_ms)));
        self.look_for(now, Whose::Mine(id), message);
        Ok((Reply::Done, When::Later))
    }

    /// Asks all who have not answered.
    fn ask_others(&mut self, id: u64) {
        let Some(question) = self.questions.open.get(&id) else { return };
        let (asker, hops) = (self.options.relay.clone(), self.trees.hops());
        let to = question.missing.iter().filter(|relay| **relay != asker).cloned().collect();
        let ask = AskWhere { question: id, asker, message: question.message.clone(), to, hops };
        self.pass_ask_where(None, ask);
    }

    /// Sends a question on, one for each link that leads to some of those who are asked.
    fn pass_ask_where(&mut self, from: Option<LinkId>, ask: AskWhere) {
        let AskWhere { question, asker, message, to, hops } = ask;
        let (by_link, hops) = self.ways_on(to, from, hops);
        for (link, to) in by_link {
            let (asker, message) = (asker.clone(), message.clone());
            self.say(link, LinkMessage::AskWhere(AskWhere { question, asker, message, to, hops }));
        }
    }

    /// Another relay asks this one, or others behind it.
    pub(super) fn on_ask_where(&mut self, now: Now, from: LinkId, mut ask: AskWhere) {
        let asked = ask.to.len();
        ask.to.retain(|relay| *relay != self.options.relay);
        if ask.to.len() < asked && ask.message.sequence.0 > 0 {
            let whose = Whose::Theirs(ask.asker.clone(), ask.question);
            self.look_for(now, whose, ask.message.clone());
        }
        if !ask.to.is_empty() {
            self.pass_ask_where(Some(from), ask);
        }
    }

    /// A relay says what it knows; the question may be another relay's.
    pub(super) fn on_told_where(&mut self, from: LinkId, told: ToldWhere) {
        // More than a relay says by itself is not taken.
        if bytes_of(&told.trace) > 2 * limits::TRACE_BYTES_MAX {
            return;
        }
        if told.asker != self.options.relay {
            if let Some((link, hops)) = self.way_on(&told.asker, from, told.hops) {
                self.say(link, LinkMessage::ToldWhere(ToldWhere { hops, ..told }));
            }
            return;
        }
        self.take_trace(told.question, *told.trace);
    }

    /// Finds out what this relay knows of a message, and says it.
    fn look_for(&mut self, now: Now, whose: Whose, message: MessageName) {
        if self.questions.searches.values().any(|search| search.whose == whose) {
            // It was asked again meanwhile.
            return;
        }
        match self.known_of(&message) {
            Known::All(finding) => self.say_where(now, whose, &message, *finding),
            // One that finds no room is asked for again.
            Known::InLog(..) if self.questions.searches.len() >= limits::QUESTIONS_MAX => {}
            Known::InLog(mut lookup, place) => {
                let step = lookup.begin();
                let id = self.questions.next();
                let deadline = now.time.after_ms(limits::WHERE_MS_MAX);
                self.questions.searches.insert(id, Search { whose, message, lookup, place, deadline });
                self.timers.set_by(Timer::Where, now.time.after_ms(limits::CONFIRM_AGAIN_MS));
                self.take_step(now, id, step);
            }
        }
    }

    /// What the tables tell.
    fn known_of(&self, message: &MessageName) -> Known {
        let known = |sighting| Known::All(Box::new(Finding::nothing(sighting)));
        let Some(group) = self.groups.number(&message.group).and_then(|number| self.groups.get(number))
        else {
            let was_here = self.removed.contains_key(&message.group);
            return known(if was_here { Sighting::Removed } else { Sighting::NoGroup });
        };
        let memory = group.memory.as_deref();
        let stream = stream_of(group, message);
        let number = stream.map(|stream| stream.number).or_else(|| memory?.stream_of(message));
        let Some(number) = number else { return known(Sighting::NoStream) };
        let place = memory.and_then(|memory| memory.place(number, message.sequence));
        if let Some(place) = place.filter(|place| place.index < group.low) {
            return Known::All(Box::new(self.remembered(Sighting::Released, &place)));
        }
        // A stream that goes on behind what was released elsewhere says no more that this waits for the disk.
        if let Some(place) = place.filter(|place| place.index >= group.durable) {
            return Known::All(Box::new(self.remembered(Sighting::Unsynced, &place)));
        }
        let Some(stream) = stream else { return known(Sighting::Past) };
        if message.sequence > stream.last {
            return known(Sighting::NotYet { last: stream.last });
        }
        if message.sequence > stream.durable {
            // What was let go before its stream came here never was here.
            let is_past = message.sequence <= stream.released;
            return known(if is_past { Sighting::Past } else { Sighting::Unsynced });
        }
        let (low, high) = match place {
            Some(place) => (place.index, place.index.after(1)),
            None => stream.bracket(message.sequence, group.low),
        };
        let record = (stream.number, message.sequence);
        Known::InLog(Lookup::new(group.number, record, (low, high.min(group.durable))), place)
    }

    /// A read that a lookup waits for has come.
    pub(super) fn on_fetched_for_lookup(&mut self, now: Now, id: u64, from: Index, pieces: &Arc<[Piece]>) {
        let Some(search) = self.questions.searches.get_mut(&id) else { return };
        if search.lookup.at() == from {
            let step = search.lookup.on_pieces(pieces);
            self.take_step(now, id, step);
        }
    }

    fn take_step(&mut self, now: Now, id: u64, step: Step) {
        let finding = match step {
            Step::Read(at) => {
                let Some(search) = self.questions.searches.get(&id) else { return };
                let number = search.lookup.group;
                let Some(group) = self.groups.get_mut(number) else { return };
                let end = group.durable;
                if group.traffic().ask_for(at, end, Waiter::Lookup(id)) {
                    let bytes_max = limits::LOOKUP_READ_BYTES;
                    self.effects.push_back(Effect::Fetch { group: number, from: at, bytes_max });
                }
                return;
            }
            Step::Found(run) => self.finding(id, *run),
            Step::Nowhere => self.unread(id, Sighting::Past),
            Step::Damaged => self.unread(id, Sighting::Damaged),
            Step::GivenUp => self.unread(id, Sighting::Unfound),
        };
        let search = self.questions.searches.remove(&id);
        if let (Some(Search { whose, message, .. }), Some(finding)) = (search, finding) {
            self.say_where(now, whose, &message, finding);
        }
    }

    /// What is remembered of a message, without a look into the log.
    fn remembered(&self, sighting: Sighting, place: &Place) -> Finding {
        let over = self.traces.over(place.link, place.from);
        let arrived = Some(Arrival { from: place.from, to: place.to, over });
        Finding { sighting, index: Some(place.index), run: None, arrived, is_remembered: true }
    }

    /// A message that cannot be read; it may have been let go meanwhile.
    fn unread(&self, id: u64, sighting: Sighting) -> Option<Finding> {
        let Some(place) = self.questions.searches.get(&id)?.place else {
            return Some(Finding::nothing(sighting));
        };
        let sighting = if sighting == Sighting::Past { Sighting::Released } else { sighting };
        Some(self.remembered(sighting, &place))
    }

    fn finding(&self, id: u64, run: StoredRun) -> Option<Finding> {
        let Search { message, lookup, place, .. } = self.questions.searches.get(&id)?;
        let index = run.first_index.after(message.sequence.0.checked_sub(run.run.header.first.0)?);
        let group = self.groups.get(lookup.group)?;
        let sighting = match run.run.header.kind {
            // What is below is only not recycled yet.
            RunKind::Data if index < group.low => Sighting::Released,
            RunKind::Data => Sighting::Held { index },
            RunKind::Loss if super::lost::in_place(&run.run).is_some() => Sighting::Damaged,
            RunKind::Mark | RunKind::Genesis | RunKind::Seal | RunKind::Loss => Sighting::OwnRecord,
        };
        let over = self.traces.over(run.link, run.arrived);
        let arrived = Some(Arrival { from: run.arrived, to: run.arrived, over });
        let is_remembered = place.is_some();
        Some(Finding { sighting, index: Some(index), run: Some(run), arrived, is_remembered })
    }

    /// Tells whoever wants to know.
    fn say_where(&mut self, now: Now, whose: Whose, message: &MessageName, finding: Finding) {
        let trace = self.trace_of(now, message, finding);
        match whose {
            Whose::Mine(question) => self.take_trace(question, trace),
            Whose::Theirs(asker, question) => {
                if let Some(link) = self.links.toward.get(&asker).copied() {
                    let (trace, hops) = (Box::new(trace), self.trees.hops());
                    self.say(link, LinkMessage::ToldWhere(ToldWhere { question, asker, trace, hops }));
                }
            }
        }
    }

    fn trace_of(&self, now: Now, message: &MessageName, finding: Finding) -> RelayTrace {
        let Finding { sighting, index, run, arrived, is_remembered } = finding;
        let me = &self.options.relay;
        let group = self.groups.number(&message.group).and_then(|number| self.groups.get(number));
        let stream = group.and_then(|group| stream_of(group, message));
        let kind = run.as_ref().map(|run| run.run.header.kind);
        let is_message = !matches!(sighting, Sighting::OwnRecord | Sighting::NotYet { .. });
        let spot = group.zip(index).map(|(group, index)| {
            let passed = self.passed_over(group, index);
            Spot { index, run: run.as_ref().map(|run| Within::of(run, index)), is_remembered, passed }
        });
        let is_known = stream.is_some() || is_remembered;
        let subscriptions = match group.filter(|_| is_known && is_message) {
            Some(group) => fates(group, me, now, spot.as_ref()),
            None => Vec::new(),
        };
        let receipts = match group.zip(stream).filter(|_| message.origin == *me && is_message) {
            Some((group, stream)) => receipts(group, stream, message, me),
            None => Vec::new(),
        };
        let mut trace = RelayTrace {
            relay: me.clone(),
            now: now.wall,
            sighting,
            arrived,
            accepted: run.map(|run| run.run.header.accepted),
            released: stream.is_some_and(|stream| is_message && message.sequence <= stream.released),
            forgotten_before: self.traces.forgotten_before,
            receipts: Vec::new(),
            subscriptions: Vec::new(),
            left_off: 0,
            own: if sighting == Sighting::OwnRecord { kind.and_then(own_kind) } else { None },
        };
        fill(&mut trace, subscriptions, receipts);
        trace
    }

    /// How subscriptions have passed over what stands at an index: by what is written, and by what is not yet.
    fn passed_over(&self, group: &Group, index: Index) -> BTreeMap<SubscriptionNumber, How> {
        let mut found = group.memory.as_deref().map_or_else(BTreeMap::new, |memory| memory.passed_at(index));
        let here =
            |passed: &&Passed| passed.group == group.number && (passed.from..passed.to).contains(&index);
        let unwritten = self.traces.passed.iter().filter(here);
        found.extend(unwritten.map(|passed| (passed.subscription, passed.how)));
        found
    }

    /// Somebody who was asked has said what it knows; the first time counts.
    fn take_trace(&mut self, id: u64, trace: RelayTrace) {
        let Some(question) = self.questions.open.get_mut(&id) else { return };
        if !question.missing.remove(&trace.relay) {
            return;
        }
        let is_empty = trace.subscriptions.is_empty() && trace.left_off == 0;
        let knows_nothing = matches!(trace.sighting, Sighting::NoGroup | Sighting::NoStream) && is_empty;
        let bytes = bytes_of(&trace);
        if knows_nothing && trace.relay != self.options.relay {
            question.unaware += 1;
        } else if question.bytes + bytes > ANSWER_BYTES_MAX {
            question.left_off += 1;
        } else {
            question.bytes += bytes;
            question.traces.insert(trace.relay.clone(), trace);
        }
        if question.missing.is_empty() {
            self.answer_where(id);
        }
    }

    fn answer_where(&mut self, id: u64) {
        let Some(mut question) = self.questions.open.remove(&id) else { return };
        let here = self.options.relay.clone();
        let mut relays: Vec<RelayTrace> = question.traces.remove(&here).into_iter().collect();
        relays.extend(question.traces.into_values());
        // What nobody can reach was not asked.
        let is_away = |relay: &&RelayId| **relay != here && !self.links.toward.contains_key(*relay);
        // One that has answered and went away then has answered.
        let has_not_said = |relay: &&RelayId| !relays.iter().any(|trace| trace.relay == **relay);
        let all = self.known_relays();
        let unreachable = all.iter().filter(is_away).filter(has_not_said).cloned();
        let mut silent = question.missing;
        if !question.is_local {
            silent.extend(unreachable);
        }
        let (silent, left_off) = self.silent(&question.message, silent);
        let found = Whereabouts {
            here,
            relays,
            unaware: question.unaware,
            silent,
            left_off: question.left_off.saturating_add(left_off),
            message: question.message,
        };
        let (session, request) = (question.session, question.request);
        let answer = Box::new(Ok(Reply::Where(Box::new(found))));
        self.effects.push_back(Effect::Answer { session, request, answer });
    }

    /// All relays of the network, as far as is known: also when no link has come up yet since the
    /// start, so that there is no map.
    pub(super) fn known_relays(&self) -> BTreeSet<RelayId> {
        let mut all: BTreeSet<RelayId> = self.trees.relays().chain(self.trees.named()).cloned().collect();
        all.extend(self.links.table.values().map(|link| link.neighbour.clone()));
        all.extend(self.topologies.names(self.file_in_force().as_ref()));
        all.retain(|relay| !self.orphans().is_gone(relay));
        all
    }

    /// Asks again, and answers whoever has waited long enough.
    pub(super) fn on_where_time(&mut self, now: Now) {
        self.questions.searches.retain(|_, search| search.deadline > now.time);
        let open: Vec<(u64, Time)> =
            self.questions.open.iter().map(|(id, question)| (*id, question.deadline)).collect();
        for (id, deadline) in open {
            // Who can be reached no more is not waited for.
            let missing = self.questions.open.get(&id).map(|question| &question.missing);
            let waits = missing
                .into_iter()
                .flatten()
                .any(|relay| *relay == self.options.relay || self.links.toward.contains_key(relay));
            if deadline <= now.time || !waits {
                self.answer_where(id);
            } else {
                self.ask_others(id);
                let message =
                    self.questions.open.get(&id).filter(|q| q.missing.contains(&self.options.relay));
                if let Some(message) = message.map(|question| question.message.clone()) {
                    self.look_for(now, Whose::Mine(id), message);
                }
            }
        }
        let deadlines = self.questions.open.values().map(|question| question.deadline);
        let next = deadlines.chain(self.questions.searches.values().map(|search| search.deadline)).min();
        if let Some(next) = next {
            self.timers.set(Timer::Where, next.min(now.time.after_ms(limits::CONFIRM_AGAIN_MS)));
        }
    }
}

/// Which of the relays' own records it is, if it is one.
fn own_kind(kind: RunKind) -> Option<OwnKind> {
    match kind {
        RunKind::Data => None,
        RunKind::Genesis => Some(OwnKind::Genesis),
        RunKind::Mark => Some(OwnKind::Mark),
        RunKind::Seal => Some(OwnKind::Seal),
        RunKind::Loss => Some(OwnKind::Loss),
    }
}

/// The stream that a message is named by.
fn stream_of<'g>(group: &'g Group, message: &MessageName) -> Option<&'g Stream> {
    let is_it = |s: &&Stream| {
        s.epoch.nonce == message.nonce && s.epoch.counter == message.boot && s.origin == message.origin
    };
    group.streams.iter().find(is_it)
}

/// What the members of a group have told the origin.
fn receipts(group: &Group, stream: &Stream, message: &MessageName, me: &RelayId) -> Vec<ReceiptTrace> {
    let told = stream.receipts.iter().filter(|(member, _)| *member != me);
    let mut found: BTreeMap<&RelayId, (bool, bool)> = told
        .map(|(member, held)| (member, (held.durable >= message.sequence, held.consumed >= message.sequence)))
        .collect();
    // Who has said nothing since the origin was started.
    let members = group.spread.iter().flat_map(|spread| spread.parts.active_members());
    for member in members.filter(|member| *member != me) {
        found.entry(member).or_default();
    }
    // What was put before a member was one says nothing of it.
    found.retain(|member, _| stream.marks.get(*member).is_some_and(|(mark, _)| *mark <= message.sequence));
    let receipt = |(member, (durable, consumed)): (&RelayId, (bool, bool))| ReceiptTrace {
        member: member.clone(),
        durable: durable || message.sequence <= stream.released,
        consumed,
    };
    found.into_iter().map(receipt).collect()
}

/// Puts into a trace what fits, and counts the rest.
fn fill(trace: &mut RelayTrace, subscriptions: Vec<SubscriptionTrace>, receipts: Vec<ReceiptTrace>) {
    let mut bytes = bytes_of(trace);
    let mut fits = |name: &str| {
        bytes += ITEM_BYTES + name.len();
        bytes <= limits::TRACE_BYTES_MAX
    };
    let mut left_off = 0;
    for subscription in subscriptions {
        if fits(subscription.name.as_str()) {
            trace.subscriptions.push(subscription);
        } else {
            left_off += 1;
        }
    }
    for receipt in receipts {
        if fits(receipt.member.as_str()) {
            trace.receipts.push(receipt);
        } else {
            left_off += 1;
        }
    }
    trace.left_off = left_off;
}

/// Bytes that a trace takes on the wire, about.
fn bytes_of(trace: &RelayTrace) -> usize {
    let over = match trace.arrived.as_ref().map(|arrived| &arrived.over) {
        Some(Over::Link(neighbour)) => neighbour.as_str().len(),
        Some(Over::Here | Over::Unknown) | None => 0,
    };
    let subscriptions = trace.subscriptions.iter().map(|s| ITEM_BYTES + s.name.as_str().len());
    let receipts = trace.receipts.iter().map(|r| ITEM_BYTES + r.member.as_str().len());
    TRACE_BYTES + trace.relay.as_str().len() + over + subscriptions.chain(receipts).sum::<usize>()
}
