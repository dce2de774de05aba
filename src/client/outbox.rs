//! A publisher's messages between the application and the relay's answer.
//!
//! ```text
//! put ──► open run ──seal──► runs, unsent ──take──► runs, sent ──answer──► gone
//!                                 ▲                    │
//!                                 └── connection lost ─┘
//! ```
//!
//! A message is encoded once, straight into the open run. A sealed run never
//! changes: a retry carries the same bytes under the same producer sequences,
//! so the relay can drop what it has already. Plain data: the lock around it is
//! held for one message or one run, never across a wait.
//!
//! When runs go is decided by [`Pace`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use super::age::Tried;
use super::error::{ClientError, is_passing};
use super::failures::{Failures, PutFailure};
use super::message::MessageStream;
use super::pace::{Load, Pace};
use super::ticket::{PutTicket, RunAnswer, RunCell};
use crate::id::{ProducerId, ProducerSequence};
use crate::limits;
use crate::wire::body::{Refusal, RefusalCode};
use crate::wire::frame::{AckLevel, PUT_HEAD_BYTES, PutDone, PutHead};
use crate::wire::run::Record;

/// What a publisher sends, and how much at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutboxOptions {
    pub(super) producer: ProducerId,
    pub(super) transient: bool,
    pub(super) first: u64,
    pub(super) counts_on: bool,
    pub(super) level: AckLevel,
    pub(super) copies: u16,
    pub(super) window_messages: usize,
    pub(super) window_bytes: usize,
    pub(super) run_bytes: usize,
}

/// What the writer gets.
#[derive(Debug)]
pub(super) enum Taken {
    /// A run to send now.
    Run { handle: u32, first: u64, head: PutHead, records: Bytes },
    /// Nothing, until something is put or the group is opened.
    Nothing,
    /// Messages that wait for others to go with them, until then at the most.
    Held(Instant),
    /// A run that is more than the session may have without an answer.
    NoRoom,
}

/// When a put has to wake the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    /// For any message: the writer knows of nothing to send.
    Any,
    /// When so many have gathered that they go: the writer holds those that are there.
    Worth,
    /// Never: the writer is about to look.
    No,
}

/// Messages that are being gathered.
#[derive(Debug, Default)]
struct Open {
    body: BytesMut,
    count: u32,
    cell: Option<Arc<RunCell>>,
    tickets: u32,
}

/// Messages that go together, for good.
#[derive(Debug)]
struct OutRun {
    first: u64,
    count: u32,
    records: Bytes,
    hash: u64,
    first_tried: Option<Tried>,
    cell: Option<Arc<RunCell>>,
    /// Whether each message has a ticket that is told of a refusal.
    is_ticketed: bool,
    is_sent: bool,
    /// A session that had sent it ended without a word of it: a relay may have it.
    may_be_there: bool,
    /// Whether the relay has said that it has them on its disk.
    is_taken: bool,
    is_answered: bool,
}

/// All of one publisher's messages that have no answer yet.
#[derive(Debug)]
pub(super) struct Outbox {
    options: OutboxOptions,
    /// The session's handle for the group, while there is a session.
    handle: Option<u32>,
    /// The stream that the session's puts go to.
    stream: Option<Arc<MessageStream>>,
    message_bytes_max: u64,
    next: u64,
    open: Open,
    /// Ascending; the first has no answer yet.
    runs: VecDeque<OutRun>,
    /// Where the runs begin that this session has not sent.
    unsent: usize,
    pace: Pace,
    /// Messages without an answer.
    all: Load,
    /// Bytes of the last full run: what the next one makes room for.
    usual_bytes: usize,
    wake: Wake,
    pub(super) failures: Failures,
    /// Messages that the relay had already.
    repeats: u64,
    /// Messages that the relay has on its disk.
    taken: u64,
    error: Option<ClientError>,
    /// It has failed, and [`Self::is_unsure`] was true then.
    is_unsure: bool,
    /// The publisher was dropped: the last answer ends this.
    is_closing: bool,
}

impl Outbox {
    pub(super) fn new(options: OutboxOptions) -> Self {
        let window = Load { messages: options.window_messages, bytes: options.window_bytes };
        Self {
            options,
            handle: None,
            stream: None,
            message_bytes_max: 0,
            next: options.first,
            open: Open::default(),
            runs: VecDeque::new(),
            unsent: 0,
            pace: Pace::new(window, options.level == AckLevel::Accepted),
            all: Load::default(),
            usual_bytes: 0,
            wake: Wake::Any,
            failures: Failures::default(),
            repeats: 0,
            taken: 0,
            error: None,
            is_unsure: false,
            is_closing: false,
        }
    }

    pub(super) fn message_bytes_max(&self) -> u64 {
        self.message_bytes_max
    }

    pub(super) fn is_open(&self) -> bool {
        self.message_bytes_max > 0
    }

    pub(super) fn error(&self) -> Option<&ClientError> {
        self.error.as_ref()
    }

    /// Messages that the relay had taken before, and did not insert again.
    pub(super) fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Messages that the relay has on its disk, also those that have not come further than that.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether a relay may have messages of which it has not said so: they were sent, and that was all.
    pub(super) fn is_unsure(&self) -> bool {
        let is_unsure = |run: &OutRun| (run.is_sent || run.may_be_there) && !run.is_taken && !run.is_answered;
        self.is_unsure || self.runs.iter().any(is_unsure)
    }

    /// The sequence of the next message.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The lowest sequence without an answer.
    pub(super) fn lowest_unanswered(&self) -> u64 {
        self.runs.front().map_or(self.next - u64::from(self.open.count), |run| run.first)
    }

    /// Takes a message, and gives its sequence, and a ticket for its answer where one is
    /// wanted. `None`: the window is full.
    #[inline]
    pub(super) fn push(
        &mut self,
        record: &Record<'_>,
        ticket: Option<&mut Option<PutTicket>>,
    ) -> Option<ProducerSequence> {
        let extras = record.subject.map_or(0, |s| 2 + s.len()) + record.headers.len();
        let bytes = record.payload.len() + extras + 17;
        let is_full = self.all.messages >= self.options.window_messages
            || self.all.bytes.saturating_add(bytes) > self.options.window_bytes;
        if is_full && self.all.messages > 0 {
            return None;
        }
        if self.open.count > 0 && self.open.body.len() + bytes > self.options.run_bytes {
            self.seal();
        }
        if self.pace.is_first() {
            self.pace.begin(Instant::now());
        }
        if self.open.count == 0 {
            self.open.body.reserve(self.usual_bytes.max(bytes));
        }
        let before = self.open.body.len();
        record.encode(&mut self.open.body);
        if let Some(ticket) = ticket {
            self.open.tickets += 1;
            let cell = Arc::clone(self.open.cell.get_or_insert_default());
            *ticket = Some(PutTicket::new(cell, self.open.count));
        }
        self.open.count += 1;
        self.all.add(1, self.open.body.len() - before);
        let sequence = ProducerSequence(self.next);
        self.next += 1;
        if self.open.count >= limits::RUN_RECORDS_MAX || self.open.body.len() >= self.options.run_bytes {
            self.seal();
        }
        Some(sequence)
    }

    /// Whether the writer waits until a batch is complete.
    pub(super) fn is_held(&self) -> bool {
        self.wake == Wake::Worth
    }

    /// Whether the writer must be told of what was put; says so once.
    pub(super) fn wants_wake(&mut self) -> bool {
        let wants = match self.wake {
            Wake::Any => self.handle.is_some(),
            Wake::Worth => self.handle.is_some() && self.pace.is_worth(self.all),
            Wake::No => false,
        };
        if wants {
            self.wake = Wake::No;
        }
        wants
    }

    /// Whether the writer has something to do that it does not know of; says so once.
    pub(super) fn wants_look(&mut self) -> bool {
        let has_some = self.unsent < self.runs.len() || self.open.count > 0;
        let wants = self.handle.is_some() && has_some && self.wake != Wake::No;
        if wants {
            self.wake = Wake::No;
        }
        wants
    }

    fn seal(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.usual_bytes = open.body.len().min(self.options.run_bytes);
        let records = open.body.freeze();
        self.runs.push_back(OutRun {
            first: self.next - u64::from(open.count),
            count: open.count,
            hash: xxh3_64(&records),
            records,
            first_tried: None,
            cell: open.cell,
            is_ticketed: open.tickets == open.count,
            is_sent: false,
            may_be_there: false,
            is_taken: false,
            is_answered: false,
        });
    }

    /// A session has opened the group: everything without an answer is sent, again or for the first time.
    pub(super) fn on_open(&mut self, handle: u32, message_bytes_max: u64, stream: Arc<MessageStream>) {
        self.on_lost();
        self.handle = Some(handle);
        self.message_bytes_max = message_bytes_max;
        self.stream = Some(stream);
    }

    /// The session is over.
    pub(super) fn on_lost(&mut self) {
        self.handle = None;
        self.unsent = 0;
        self.pace.on_lost();
        self.wake = Wake::Any;
        for run in &mut self.runs {
            run.may_be_there |= std::mem::take(&mut run.is_sent);
        }
    }

    /// The next run to send, if it has no more than `room` bytes. `put` is its number in the session.
    pub(super) fn take(&mut self, now: Instant, put: u64, room: usize) -> Taken {
        let Some(handle) = self.handle else { return self.nothing() };
        while self.runs.get(self.unsent).is_some_and(|run| run.is_answered) {
            self.unsent += 1;
        }
        if self.unsent >= self.runs.len() && self.open.count == 0 {
            return self.nothing();
        }
        if let Some(until) = self.pace.held_until(now, self.all) {
            self.wake = Wake::Worth;
            return Taken::Held(until);
        }
        if self.unsent >= self.runs.len() {
            self.seal();
        }
        // Zero claims nothing: another process may still put what lies below.
        let lowest_unanswered =
            ProducerSequence(if self.options.counts_on { self.lowest_unanswered() } else { 0 });
        let run = self.runs.get_mut(self.unsent).expect("the open run was sealed if there was no other");
        if PUT_HEAD_BYTES + run.records.len() > room {
            return Taken::NoRoom;
        }
        let tried = Tried::now();
        let first_tried = *run.first_tried.get_or_insert(tried);
        run.is_sent = true;
        self.unsent += 1;
        self.pace.on_sent(run.count as usize, run.records.len());
        let head = PutHead {
            put,
            producer: Some((self.options.producer, ProducerSequence(run.first))),
            lowest_unanswered,
            body_hash: run.hash,
            level: self.options.level,
            copies: if self.options.level == AckLevel::Stored { self.options.copies } else { 0 },
            transient: self.options.transient,
            age_seconds: first_tried.age_seconds(tried),
        };
        Taken::Run { handle, first: run.first, head, records: run.records.clone() }
    }

    fn nothing(&mut self) -> Taken {
        self.pace.end();
        self.wake = Wake::Any;
        Taken::Nothing
    }

    /// The relay has the run that begins with `first`: as far as it was asked for, or not yet.
    pub(super) fn on_done(&mut self, first: u64, done: PutDone) {
        self.note_taken(first);
        let stream = self.stream.clone();
        let answer = |count| {
            let stream = stream.expect("a put was sent in a session that had opened the group");
            RunAnswer { stream, first: done.first, count, repeats: done.repeats }
        };
        if !done.has_more && done.level == self.options.level {
            return self.answer(first, |run| Ok(answer(run.count)));
        }
        let place = self.runs.binary_search_by_key(&first, |run| run.first);
        if let Some(run) = place.ok().and_then(|place| self.runs.get(place))
            && let Some(cell) = &run.cell
        {
            cell.note(done.level, answer(run.count));
        }
        if !done.has_more {
            self.answer(first, |_| Err(ClientError::Unreached { reached: done.level }));
        }
    }

    fn note_taken(&mut self, first: u64) {
        let place = self.runs.binary_search_by_key(&first, |run| run.first);
        if let Some(run) = place.ok().and_then(|place| self.runs.get_mut(place)) {
            self.taken += if std::mem::replace(&mut run.is_taken, true) { 0 } else { u64::from(run.count) };
        }
    }

    /// The relay has refused the run. Gives true when it says so for the moment
    /// only: then the run stays, and is sent again in the next session.
    pub(super) fn on_refused(&mut self, first: u64, refusal: &Refusal) -> bool {
        if is_passing(refusal.code) {
            let place = self.runs.binary_search_by_key(&first, |run| run.first);
            if let Some(run) = place.ok().and_then(|place| self.runs.get_mut(place)) {
                // This time it was not taken, which is no secret.
                run.is_sent = false;
            }
            return true;
        }
        // What the relay has had on its disk is not undone by that: only that it goes further is not known.
        let is_forgotten = refusal.code == RefusalCode::ProducerForgotten;
        self.answer(first, |run| {
            let reached = AckLevel::Accepted;
            Err(if run.is_taken && is_forgotten {
                ClientError::Unreached { reached }
            } else {
                refusal.clone().into()
            })
        });
        false
    }

    fn answer(&mut self, first: u64, result: impl FnOnce(&OutRun) -> Result<RunAnswer, ClientError>) {
        let Ok(place) = self.runs.binary_search_by_key(&first, |run| run.first) else { return };
        let Some(run) = self.runs.get_mut(place).filter(|run| !run.is_answered) else { return };
        let result = result(run);
        self.repeats += result.as_ref().map_or(0, |answer| u64::from(answer.repeats));
        run.is_answered = true;
        let (messages, bytes) = (run.count as usize, run.records.len());
        if std::mem::take(&mut run.is_sent) {
            self.pace.on_answer(messages, bytes);
        }
        self.all.remove(messages, bytes);
        run.records = Bytes::new();
        if let (Err(error), false) = (&result, run.is_ticketed) {
            self.failures.add(PutFailure {
                first: ProducerSequence(first),
                count: run.count,
                error: error.clone(),
            });
        }
        if let Some(cell) = run.cell.take() {
            cell.fill(result);
        }
        while self.runs.front().is_some_and(|run| run.is_answered) {
            self.runs.pop_front();
            self.unsent = self.unsent.saturating_sub(1);
        }
    }

    /// Nothing will be sent any more.
    pub(super) fn fail(&mut self, error: &ClientError) {
        self.on_lost();
        if self.error.is_some() {
            return;
        }
        self.error = Some(error.clone());
        self.is_unsure = self.is_unsure();
        if self.open.count > 0 {
            self.seal();
        }
        let firsts: Vec<u64> = self.runs.iter().map(|run| run.first).collect();
        for first in firsts {
            self.answer(first, |_| Err(error.clone()));
        }
    }

    /// The publisher is gone; true when nothing waits for an answer.
    pub(super) fn close(&mut self) -> bool {
        self.is_closing = true;
        self.is_done()
    }

    /// Whether the publisher is gone and nothing waits for an answer.
    pub(super) fn is_done(&self) -> bool {
        self.is_closing && self.all.messages == 0
    }
}
