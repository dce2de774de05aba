//! Publishing: messages gathered into runs, retried until they are answered.
//!
//! A message is encoded straight into the run that is being filled. The writer
//! takes whatever is there whenever the socket can take it: a lone message goes
//! at once, many go together, and no timer is involved. A run without an answer
//! is kept; on a new connection it is sent again with the same bytes and the
//! same producer sequences, so the relay knows it and inserts it once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, oneshot};
use xxhash_rust::xxh3::xxh3_64;

use super::error::ClientError;
use super::message::{Message, MessageId, PutReceipt};
use super::session::Shared;
use crate::id::{Epoch, GroupName, ProducerId, ProducerSequence, RelayId, Sequence};
use crate::limits;
use crate::wire::body::Refusal;
use crate::wire::frame::{AckLevel, FrameHeader, FrameKind, PUT_HEAD_BYTES, PutDone, PutHead};

/// How a publisher works.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    /// Who publishes. A chosen id that is used again with the sequences going on is protected
    /// against repeats for days; `None` draws a random one that ends with the publisher.
    pub producer: Option<ProducerId>,
    /// The sequence of the first message, 1 by default.
    pub first_sequence: ProducerSequence,
    /// When a put counts as done.
    pub level: AckLevel,
    /// Messages without an answer, at most; 10,000 by default. More wait.
    pub window_messages: usize,
    /// Bytes without an answer, at most; 8 MiB by default. One message always goes.
    pub window_bytes: usize,
    /// Bytes gathered into one run, about; 128 KiB by default.
    pub run_bytes: usize,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            producer: None,
            first_sequence: ProducerSequence(1),
            level: AckLevel::Accepted,
            window_messages: 10_000,
            window_bytes: 8 * 1024 * 1024,
            run_bytes: limits::RUN_BYTES_TARGET,
        }
    }
}

/// A put that was refused, when nobody waits for its ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The producer sequence of the first message.
    pub first: ProducerSequence,
    /// How many messages.
    pub count: u32,
    /// Why.
    pub refusal: Refusal,
}

type Waiter = (u32, oneshot::Sender<Result<PutReceipt, ClientError>>);

/// Records that go together.
#[derive(Debug)]
struct OutRun {
    /// Its number in the session it was sent in.
    put: u64,
    first: u64,
    count: u32,
    body: Bytes,
    hash: u64,
    begun: Instant,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
struct State {
    /// The handle on this connection, once the relay gave it.
    handle: Option<u32>,
    message_bytes_max: u64,
    next: u64,
    filling: BytesMut,
    filling_count: u32,
    filling_begun: Instant,
    filling_waiters: Vec<Waiter>,
    /// To be sent.
    waiting: VecDeque<OutRun>,
    /// Sent, without an answer, in order.
    sent: VecDeque<OutRun>,
    bytes: usize,
    messages: usize,
    failures: Vec<Failure>,
    failed: Option<ClientError>,
}

/// What the publisher and the session share.
#[derive(Debug)]
pub(super) struct PublisherShared {
    pub(super) group: GroupName,
    producer: ProducerId,
    options: PublisherOptions,
    state: Mutex<State>,
    changed: Notify,
}

/// Puts messages into one group. Made by [`super::Client::publisher`].
///
/// It retries by itself across reconnects: a message whose answer was lost is
/// inserted once. Dropping it gives up what is not answered; [`Publisher::close`] waits.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<PublisherShared>,
    session: Arc<Shared>,
}

/// A put without an answer yet: a future of its receipt. Dropping it loses only the answer.
#[derive(Debug)]
pub struct PutTicket(oneshot::Receiver<Result<PutReceipt, ClientError>>);

impl std::future::Future for PutTicket {
    type Output = Result<PutReceipt, ClientError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(ClientError::closed("the publisher is gone"))))
    }
}

impl PublisherShared {
    pub(super) fn new(group: GroupName, options: PublisherOptions) -> Self {
        let producer = options.producer.unwrap_or_else(random_producer);
        let state = State {
            handle: None,
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            next: options.first_sequence.0.max(1),
            filling: BytesMut::new(),
            filling_count: 0,
            filling_begun: Instant::now(),
            filling_waiters: Vec::new(),
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            bytes: 0,
            messages: 0,
            failures: Vec::new(),
            failed: None,
        };
        Self { group, producer, options, state: Mutex::new(state), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The relay gave a handle: everything without an answer is sent (again), in order.
    pub(super) fn on_open(&self, handle: u32, message_bytes_max: u64) {
        let mut state = self.lock();
        state.handle = Some(handle);
        state.message_bytes_max = message_bytes_max;
    }

    /// The connection is gone.
    pub(super) fn on_lost(&self) {
        let mut state = self.lock();
        state.handle = None;
        while let Some(run) = state.sent.pop_back() {
            state.waiting.push_front(run);
        }
    }

    /// The client gave up: everything without an answer fails.
    pub(super) fn fail(&self, error: &ClientError) {
        let mut state = self.lock();
        state.failed.get_or_insert_with(|| error.clone());
        state.seal();
        let State { waiting, sent, .. } = &mut *state;
        for run in waiting.drain(..).chain(sent.drain(..)) {
            for (_, waiter) in run.waiters {
                waiter.send(Err(error.clone())).ok();
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether there is something to send on this connection.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.lock();
        state.handle.is_some() && (!state.waiting.is_empty() || state.filling_count > 0)
    }

    /// Takes the next run to send, as the frame's head and its records.
    pub(super) fn next_frame(&self, next_put: &mut u64, head: &mut BytesMut) -> Option<Bytes> {
        let mut state = self.lock();
        let handle = state.handle?;
        if state.waiting.is_empty() {
            state.seal();
        }
        let mut run = state.waiting.pop_front()?;
        run.put = *next_put;
        *next_put += 1;
        let lowest = state.sent.front().map_or(run.first, |r| r.first);
        FrameHeader {
            kind: FrameKind::Put,
            tag: u64::from(handle),
            body_bytes: PUT_HEAD_BYTES + run.body.len(),
        }
        .encode(head);
        PutHead {
            put: run.put,
            producer: Some((self.producer, ProducerSequence(run.first))),
            lowest_unanswered: ProducerSequence(lowest),
            body_hash: run.hash,
            level: self.options.level,
            transient: self.options.producer.is_none(),
            age_seconds: u32::try_from(run.begun.elapsed().as_secs()).unwrap_or(u32::MAX),
        }
        .encode(head);
        let body = run.body.clone();
        state.sent.push_back(run);
        Some(body)
    }

    /// A put was answered. Whether it was one of this publisher's.
    pub(super) fn on_done(&self, done: PutDone, (relay, epoch): (&RelayId, Epoch)) -> bool {
        let Some(run) = self.take_sent(done.put) else { return false };
        let is_repeat = done.repeats > 0;
        for (place, waiter) in run.waiters {
            let id = (!is_repeat).then(|| MessageId {
                origin: relay.clone(),
                boot: epoch.counter,
                nonce: epoch.nonce,
                group: self.group.clone(),
                sequence: Sequence(done.first.0 + u64::from(place)),
            });
            waiter.send(Ok(PutReceipt { id, repeat: is_repeat })).ok();
        }
        self.changed.notify_waiters();
        true
    }

    /// A put was refused. Whether it was one of this publisher's.
    pub(super) fn on_refused(&self, put: u64, refusal: &Refusal) -> bool {
        let Some(run) = self.take_sent(put) else { return false };
        let first = ProducerSequence(run.first);
        let failure = Failure { first, count: run.count, refusal: refusal.clone() };
        if run.waiters.len() < run.count as usize {
            self.lock().failures.push(failure);
        }
        for (_, waiter) in run.waiters {
            waiter.send(Err(ClientError::Refused(refusal.clone()))).ok();
        }
        self.changed.notify_waiters();
        true
    }

    fn take_sent(&self, put: u64) -> Option<OutRun> {
        let mut state = self.lock();
        let place = state.sent.iter().position(|run| run.put == put)?;
        let run = state.sent.remove(place)?;
        state.bytes -= run.body.len();
        state.messages -= run.count as usize;
        Some(run)
    }
}

impl State {
    fn seal(&mut self) {
        if self.filling_count == 0 {
            return;
        }
        let body = std::mem::take(&mut self.filling).freeze();
        let count = std::mem::take(&mut self.filling_count);
        self.waiting.push_back(OutRun {
            put: 0,
            first: self.next - u64::from(count),
            count,
            hash: xxh3_64(&body),
            body,
            begun: self.filling_begun,
            waiters: std::mem::take(&mut self.filling_waiters),
        });
    }

    fn add(
        &mut self,
        message: &Message,
        options: &PublisherOptions,
        waiter: Option<oneshot::Sender<Result<PutReceipt, ClientError>>>,
    ) -> u64 {
        if self.filling_count == 0 {
            self.filling_begun = Instant::now();
            self.filling.reserve((options.run_bytes + message.payload_bytes()).min(64 * 1024));
        }
        let before = self.filling.len();
        message.record().encode(&mut self.filling);
        if let Some(waiter) = waiter {
            self.filling_waiters.push((self.filling_count, waiter));
        }
        self.filling_count += 1;
        self.messages += 1;
        self.bytes += self.filling.len() - before;
        let sequence = self.next;
        self.next += 1;
        if self.filling.len() >= options.run_bytes || self.filling_count >= limits::RUN_RECORDS_MAX {
            self.seal();
        }
        sequence
    }

    /// Everything below has its answer.
    fn answered(&self) -> u64 {
        let sent = self.sent.iter().map(|r| r.first).min();
        let waiting = self.waiting.front().map(|r| r.first);
        let filling = (self.filling_count > 0).then(|| self.next - u64::from(self.filling_count));
        [sent, waiting, filling].into_iter().flatten().min().unwrap_or(self.next)
    }
}

impl Publisher {
    pub(super) fn new(shared: Arc<PublisherShared>, session: Arc<Shared>) -> Self {
        Self { shared, session }
    }

    /// Who publishes.
    #[must_use]
    pub fn producer(&self) -> ProducerId {
        self.shared.producer
    }

    /// Puts a message; waits only while the window is full. The ticket gives the receipt.
    ///
    /// # Errors
    /// When the message is larger than the group takes, or the client has given up.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready puts nothing.
    pub async fn put(&self, message: impl Into<Message>) -> Result<PutTicket, ClientError> {
        let message = message.into();
        let (waiter, ticket) = oneshot::channel();
        self.add(&message, Some(waiter)).await?;
        Ok(PutTicket(ticket))
    }

    /// Puts a message without a ticket, the cheapest way; gives its producer sequence, for
    /// [`Publisher::wait_answered`]. Refusals are found in [`Publisher::failures`].
    ///
    /// # Errors
    /// As for [`Publisher::put`].
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready puts nothing.
    pub async fn put_unacked(&self, message: impl Into<Message>) -> Result<ProducerSequence, ClientError> {
        let message = message.into();
        self.add(&message, None).await
    }

    /// Puts a message if the window has room, without waiting. `None`: it is full.
    ///
    /// # Errors
    /// As for [`Publisher::put`].
    pub fn try_put_unacked(&self, message: &Message) -> Result<Option<ProducerSequence>, ClientError> {
        self.try_add(message, &mut None)
    }

    fn try_add(
        &self,
        message: &Message,
        waiter: &mut Option<oneshot::Sender<Result<PutReceipt, ClientError>>>,
    ) -> Result<Option<ProducerSequence>, ClientError> {
        let options = &self.shared.options;
        let mut state = self.shared.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        message.check(state.message_bytes_max)?;
        let full = state.messages >= options.window_messages || state.bytes >= options.window_bytes;
        if full && state.messages > 0 {
            return Ok(None);
        }
        let idle = state.filling_count == 0 && state.waiting.is_empty();
        let sequence = state.add(message, options, waiter.take());
        drop(state);
        if idle {
            self.session.wake_writer();
        }
        Ok(Some(ProducerSequence(sequence)))
    }

    async fn add(
        &self,
        message: &Message,
        mut waiter: Option<oneshot::Sender<Result<PutReceipt, ClientError>>>,
    ) -> Result<ProducerSequence, ClientError> {
        loop {
            if let Some(sequence) = self.try_add(message, &mut waiter)? {
                return Ok(sequence);
            }
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(sequence) = self.try_add(message, &mut waiter)? {
                return Ok(sequence);
            }
            changed.await;
        }
    }

    /// Every message with a lower producer sequence has its answer.
    #[must_use]
    pub fn answered(&self) -> ProducerSequence {
        ProducerSequence(self.shared.lock().answered())
    }

    /// Waits until every message up to and including `sequence` has its answer.
    ///
    /// # Errors
    /// When the client has given up.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn wait_answered(&self, sequence: ProducerSequence) -> Result<(), ClientError> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.shared.lock();
                if state.answered() > sequence.0 {
                    return Ok(());
                }
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
            }
            changed.await;
        }
    }

    /// Takes the refusals of messages that were put without a ticket.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        std::mem::take(&mut self.shared.lock().failures)
    }

    /// Waits until everything that was put has its answer.
    ///
    /// # Errors
    /// The first refusal of a message without a ticket, or that the client has given up.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let last = ProducerSequence(self.shared.lock().next - 1);
        self.wait_answered(last).await?;
        match self.failures().into_iter().next() {
            Some(failure) => Err(ClientError::Refused(failure.refusal)),
            None => Ok(()),
        }
    }

    /// Waits as [`Publisher::flush`] does, and ends.
    ///
    /// # Errors
    /// As for [`Publisher::flush`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.flush().await
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.fail(&ClientError::closed("the publisher is gone"));
    }
}

fn random_producer() -> ProducerId {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 16];
    // Without a source of randomness, the time and an address still tell publishers apart.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        let here = std::ptr::from_ref(&bytes) as u128;
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        bytes = (now ^ (here << 64)).to_le_bytes();
    }
    ProducerId(u128::from_le_bytes(bytes).max(1))
}
