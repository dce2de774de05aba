//! Puts: from a session into this relay's own stream of the group.

use bytes::Bytes;

use super::effect::Effect;
use super::fresh::Freshness;
use super::input::Now;
use super::journal::{Waiting, WaitingPut, WaitingRun};
use super::levels::Reach;
use super::producer::{Novelty, Producers, Retry};
use super::queues::home_forgotten;
use super::quota::Amount;
use super::stream::{Draft, Seal};
use super::timer::Timer;
use super::{Relay, body_bytes};
use crate::id::{GroupNumber, Index, LinkId, ProducerSequence, Sequence, SessionId, StreamNumber};
use crate::limits;
use crate::log::{Entry, RunEntry, Urgency};
use crate::wire::body::{Notice, Refusal, RefusalCode};
use crate::wire::frame::{AckLevel, PutDone, PutHead};
use crate::wire::link::Version;
use crate::wire::run::{BodySummary, Records, Run, RunKind};

/// What is put here came over no link, and is new.
const HERE: (LinkId, u32) = (LinkId(0), 0);

impl Relay {
    pub(super) fn handle_put(
        &mut self,
        now: Now,
        (session, handle): (SessionId, u32),
        head: PutHead,
        summary: BodySummary,
        records: Bytes,
    ) {
        let group = self.sessions.get(&session).and_then(|s| s.group(handle));
        let group = group.filter(|number| self.groups.get(*number).is_some());
        let Some(number) = group else {
            let refusal = Refusal::new(
                RefusalCode::NotFound,
                format!("the session has no group with handle {handle}, or it was removed"),
            );
            self.refuse_put(session, None, (head.put, summary.count), refusal);
            return;
        };
        let bytes = records.len() as u64;
        let fits = self.check_length(records.len());
        let at = (session, number);
        if let Err(refusal) = fits.and_then(|()| self.check_put(now, at, &head, (&summary, bytes))) {
            self.note_refused(at, &head, &refusal);
            self.refuse_put(session, Some(number), (head.put, summary.count), refusal);
            return;
        }
        self.note_taken(at, &head, summary.count);
        self.take_put(now, at, head, summary, records);
    }

    fn refuse_put(
        &mut self,
        session: SessionId,
        group: Option<GroupNumber>,
        (put, count): (u64, u32),
        refusal: Refusal,
    ) {
        let group = group.and_then(|number| self.groups.get_mut(number));
        let books = group.map_or(&mut self.books, |group| &mut group.traffic().books);
        books.put += u64::from(count);
        books.refuse(refusal.code, u64::from(count));
        self.effects.push_back(Effect::Notice { session, notice: Notice::PutRefused { put, refusal } });
    }

    /// Whether a put may be taken; repeats of messages taken before always may.
    fn check_put(
        &mut self,
        now: Now,
        (session, number): (SessionId, GroupNumber),
        head: &PutHead,
        (summary, bytes): (&BodySummary, u64),
    ) -> Result<(), Refusal> {
        let (room, stopping) = (self.room, self.stopping);
        let lost_home = self.lost_home(number);
        let draining = self.draining.then(|| self.sends_away());
        let not_now = self.refused_for_now((session, number), head);
        let group = self.groups.get_mut(number).expect("the caller has found the group");
        let max = group.settings.message_bytes_max();
        if summary.payload_bytes_max as u64 > max {
            return Err(Refusal::new(
                RefusalCode::TooLarge,
                format!(
                    "a message has {} bytes; group `{}` takes at most {max}",
                    summary.payload_bytes_max, group.name
                ),
            ));
        }
        let idle_max_ms = group.settings.producer_idle_max_ms();
        if let Some((producer, first)) = head.producer {
            let producers = &group.traffic().producers;
            if producers.novelty(producer, first, summary.count) == Novelty::Repeat {
                return Ok(());
            }
            check_producer(producers, now, head, summary.count, idle_max_ms)?;
        }
        if head.level != AckLevel::Accepted && group.traffic().awaited.len() >= limits::AWAITED_PUTS_MAX {
            let message = format!(
                "group `{}` has {} puts that wait for more than this relay's disk, which is the bound",
                group.name,
                limits::AWAITED_PUTS_MAX
            );
            return Err(Refusal::new(RefusalCode::Limit, message));
        }
        if let Some(refusal) = draining {
            return Err(refusal);
        }
        if let Some(home) = lost_home {
            // Not for the moment: whoever waited for it would put nothing anywhere.
            return Err(home_forgotten(&group.name, &home));
        }
        if let Some(refusal) = not_now {
            return Err(refusal);
        }
        if stopping {
            return Err(Refusal::new(
                RefusalCode::Stopping,
                "the relay is stopping; put at another one or later",
            ));
        }
        if !room {
            return Err(Refusal::new(
                RefusalCode::NoRoom,
                "the relay's disk is full, or it may open no more files; messages are taken again when acks or an operator have made room",
            ));
        }
        let more = Amount { messages: u64::from(summary.count), bytes };
        group.check_quota(now, &self.options.relay, more)
    }

    fn take_put(
        &mut self,
        now: Now,
        (session, number): (SessionId, GroupNumber),
        head: PutHead,
        summary: BodySummary,
        records: Bytes,
    ) {
        let is_alone = self.is_alone();
        let group = self.groups.get_mut(number).expect("the caller has found the group");
        let books = &mut group.traffic().books;
        books.put += u64::from(summary.count);
        let draft = Draft {
            kind: RunKind::Data,
            count: summary.count,
            has_ttl: summary.has_ttl,
            has_subject: summary.has_subject,
            body_hash: head.body_hash,
            producer: head.producer,
            body: records,
        };
        let (mut is_elsewhere, mut earlier_from) = (false, None);
        let novelty = head.producer.map_or(Novelty::New, |(producer, first)| {
            let producers = &mut group.traffic().producers;
            is_elsewhere = producers.were_taken_elsewhere((producer, first), summary.count);
            let novelty = producers.novelty(producer, first, summary.count);
            earlier_from = (novelty != Novelty::New).then(|| producers.put_from(producer, first));
            producers.raise(producer, head.lowest_unanswered);
            novelty
        });
        // Where there is nobody else who can have taken it, what has an answer and is not here was
        // refused: it is not waited for.
        if let (Some((producer, _)), Some(order), true) = (head.producer, &mut group.order, is_alone) {
            order.raise(producer, head.lowest_unanswered.0);
        }
        let drafts = cut_repeats(draft, novelty);
        let new: u32 = drafts.iter().map(|d| d.count).sum();
        let repeats = summary.count - new;
        group.traffic().books.repeats += u64::from(repeats);
        let done = PutDone {
            put: head.put,
            first: Sequence(0),
            repeats,
            level: AckLevel::Accepted,
            has_more: false,
        };
        let PutHead { level, copies, .. } = head;
        let mut put = WaitingPut { session, done, level, copies, is_elsewhere, earlier_from };
        if new == 0 {
            let own = group.own.and_then(|own| group.stream(own));
            let last = own.map_or(Sequence(0), |own| own.last);
            let reach = Reach { end: group.next, last, is_repeat: true };
            self.journal.wait(Waiting::Repeat { group: number, reach, put });
        }
        let last = drafts.len();
        for (i, draft) in drafts.into_iter().enumerate() {
            let first = self.append_data(now, number, draft, (i + 1 == last).then_some(put), head.transient);
            if i == 0 {
                put.done.first = first;
            }
        }
        self.settle_durable(now);
    }

    /// Appends messages to this relay's own stream of a group; says where they begin there.
    pub(super) fn append_data(
        &mut self,
        now: Now,
        number: GroupNumber,
        draft: Draft,
        put: Option<WaitingPut>,
        transient: bool,
    ) -> Sequence {
        let own = self.own_stream(now, number);
        let group = self.groups.get_mut(number).expect("the caller has found the group");
        let stream = group.stream(own).expect("the own stream is among the streams");
        let first = stream.last.next();
        let (count, producer) = (draft.count, draft.producer);
        let run = stream.append(draft, now.wall);
        if let Some(producer) = producer {
            let (index, arrival) = (group.next, group.arrival(now));
            group.traffic().producers.put(producer, index, count, (now.wall, transient));
            group.note_order(index, producer, count, arrival);
        }
        group.traffic().books.unsynced += u64::from(count);
        group.traffic().last_put = now.time;
        let put = put.map(|mut put| {
            if put.done.first == Sequence(0) {
                put.done.first = first;
            }
            put
        });
        let last = Sequence(run.header.end().0 - 1);
        let end = self.append_run(now, (number, own), HERE, (run, Urgency::Sync));
        let run = WaitingRun { group: number, end, stream: own, last };
        self.journal.wait(Waiting::Run { run, count, put });
        self.note_fresh(number, Freshness::New);
        first
    }

    /// Gives a run its place in the group and appends it to the log, as urgent as this; says where the group
    /// ends then.
    pub(super) fn append_run(
        &mut self,
        now: Now,
        (number, stream): (GroupNumber, StreamNumber),
        (link, age_ms): (LinkId, u32),
        (run, urgency): (Run, Urgency),
    ) -> Index {
        let group = self.groups.get_mut(number).expect("the caller has found the group");
        let first_index = group.next;
        let end = first_index.after(u64::from(run.header.count));
        group.next = end;
        if run.header.kind != RunKind::Data && super::lost::in_place(&run).is_none() {
            group.mark(first_index, run.header.count);
        }
        if let Some(stream) = group.stream(stream) {
            stream.end = end;
            stream.note_place(run.header.first, first_index);
        }
        group.meter.insert(first_index, end, body_bytes(&run), now.wall);
        if let Some(at) = group.order.as_ref().and_then(|order| order.deadline()) {
            self.timers.set_by(Timer::Order(number), at);
        }
        self.traces.note_run(group, (stream, link), (first_index, now.wall), &run.header);
        let entry = RunEntry { group: number, stream, first_index, arrived: now.wall, age_ms, link, run };
        self.journal.append(&mut self.effects, Entry::Run(entry), urgency);
        self.mark_dirty_group(number);
        self.note_quota(now, number);
        end
    }

    /// This relay's stream of this epoch: opened when the first record needs it, after
    /// the streams of its epochs before are sealed.
    pub(super) fn own_stream(&mut self, now: Now, number: GroupNumber) -> StreamNumber {
        let relay = self.options.relay.clone();
        let group = self.groups.get(number).expect("the caller has found the group");
        let epoch = self.stream_epoch(group.incarnation);
        if let Some(own) = group.own {
            self.end_quiet(now, number);
            return own;
        }
        let unsealed: Vec<StreamNumber> = group
            .streams
            .iter()
            .filter(|s| s.is_written_by(&relay, epoch.storage) && !s.sealed)
            .map(|s| s.number)
            .collect();
        let seal = crate::wire::body::encode(&Seal { by: epoch });
        for old in unsealed {
            self.append_control(now, number, old, Draft::control(RunKind::Seal, seal.clone()));
        }
        let own = self.open_stream(number, (&relay, epoch), Urgency::Sync);
        let group = self.groups.get_mut(number).expect("the caller has found the group");
        group.own = Some(own);
        let genesis = crate::wire::body::encode(&self.genesis(number));
        self.append_control(now, number, own, Draft::control(RunKind::Genesis, genesis));
        self.announce_origin(now, number, Version::default());
        own
    }

    pub(super) fn append_control(
        &mut self,
        now: Now,
        number: GroupNumber,
        stream: StreamNumber,
        draft: Draft,
    ) {
        let me = self.options.relay.clone();
        let group = self.groups.get_mut(number).expect("the caller has found the group");
        let since = group.member_for();
        let stream_state = group.stream(stream).expect("the caller has found the stream");
        let run = stream_state.append(draft, now.wall);
        stream_state.note_membership((&me, since), &run);
        let last = Sequence(run.header.end().0 - 1);
        let end = self.append_run(now, (number, stream), HERE, (run, Urgency::Sync));
        let run = WaitingRun { group: number, end, stream, last };
        self.journal.wait(Waiting::Run { run, count: 0, put: None });
    }
}

/// What of a draft is new: usually all of it, else each stretch as a run of its own.
fn cut_repeats(draft: Draft, novelty: Novelty) -> Vec<Draft> {
    let stretches = match novelty {
        Novelty::New => return vec![draft],
        Novelty::Repeat => return Vec::new(),
        Novelty::Part(stretches) => stretches,
    };
    let mut records = Records::new(&draft.body);
    let mut at = 0;
    let mut position = |record: u32| {
        while at < record && records.pass().is_ok() {
            at += 1;
        }
        draft.body.len() - records.rest()
    };
    let ranges: Vec<_> = stretches.iter().map(|(from, to)| position(*from)..position(*to)).collect();
    let part = |(&(from, to), range): (&(u32, u32), std::ops::Range<usize>)| {
        let body = draft.body.slice(range);
        Draft {
            count: to - from,
            body_hash: xxhash_rust::xxh3::xxh3_64(&body),
            producer: draft.producer.map(|(id, first)| (id, ProducerSequence(first.0 + u64::from(from)))),
            body,
            ..draft
        }
    };
    stretches.iter().zip(ranges).map(part).collect()
}

/// Whether it can be told of a producer's new messages that they are new, now and later.
fn check_producer(
    producers: &Producers,
    now: Now,
    head: &PutHead,
    count: u32,
    idle_max_ms: u64,
) -> Result<(), Refusal> {
    let Some(records) = head.producer else { return Ok(()) };
    let retry = Retry { producer: records.0, transient: head.transient, age_seconds: head.age_seconds };
    if producers.may_be_forgotten(retry, now.wall, idle_max_ms) {
        let message = format!(
            "the put was first tried {} s ago by a producer that is not remembered (any more), so it cannot be \
             told whether it was taken then",
            head.age_seconds
        );
        return Err(Refusal::new(RefusalCode::ProducerForgotten, message));
    }
    if producers.is_full_for(records, count, head.lowest_unanswered.0) {
        let message = format!(
            "the producer has left {} gaps in its sequences, which is the bound: send what is missing, or say \
             that it will never come by a higher lowest unanswered sequence",
            limits::PRODUCER_RANGES_MAX
        );
        return Err(Refusal::new(RefusalCode::Limit, message));
    }
    Ok(())
}
