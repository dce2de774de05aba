//! Receiving: a stream of messages with acks, which survives reconnects.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::error::ClientError;
use super::message::{Delivery, Gap, MessageId, Received};
use super::session::Shared;
use crate::id::{Epoch, GroupName, Index, RelayId, Sequence, SubscriptionName};
use crate::limits;
use crate::wire::body::{GapCause, Reply, Request, SubscriptionSpec};
use crate::wire::frame::{ACK_BYTES, Ack, AckKind, Credit, DeliverHead, FrameHeader, FrameKind};
use crate::wire::run::{Record, Records};

/// How a subscriber works.
#[derive(Clone, Debug)]
pub struct SubscriberOptions {
    /// How to make the subscription when it does not exist; `None`: it must exist.
    /// By default it is made, and begins with the next message.
    pub create: Option<SubscriptionSpec>,
    /// Messages that may be on their way or waiting here before the application takes them;
    /// 1,024 by default. With 0 nothing comes by itself: see [`Subscriber::poll`].
    pub window: u32,
    /// Messages that it is given in all, at most; `None`: no bound, the default. What it would
    /// be given beyond and leave unacked would count as an attempt.
    pub total: Option<u64>,
}

impl Default for SubscriberOptions {
    fn default() -> Self {
        Self { create: Some(SubscriptionSpec::default()), window: limits::WINDOW_DEFAULT, total: None }
    }
}

#[derive(Debug)]
enum Incoming {
    Messages { head: DeliverHead, records: Bytes, origin: (RelayId, Epoch) },
    Gap { from: Index, to: Index, cause: GapCause },
}

/// A statement that was not sent yet.
#[derive(Clone, Copy, Debug)]
struct Said {
    kind: AckKind,
    from: Index,
    to: Index,
    delay_ms: u64,
}

#[derive(Debug)]
struct State {
    handle: Option<u32>,
    queue: VecDeque<Incoming>,
    /// Messages granted and taken since the subscription was last attached.
    granted: u64,
    taken: u64,
    /// Messages that may still be taken since then.
    left: u64,
    said: Vec<Said>,
    ended: Option<ClientError>,
}

/// What a subscriber and the session share.
#[derive(Debug)]
pub(super) struct SubscriberShared {
    pub(super) group: GroupName,
    name: Mutex<Option<SubscriptionName>>,
    create: Option<SubscriptionSpec>,
    window: u32,
    state: Mutex<State>,
    arrived: Arc<Notify>,
    session: Weak<Shared>,
}

/// Statements that are gathered before they are sent without waiting for more.
const SAID_MAX: usize = 256;

impl SubscriberShared {
    pub(super) fn new(
        group: GroupName,
        name: Option<SubscriptionName>,
        options: SubscriberOptions,
        session: &Arc<Shared>,
    ) -> Self {
        let state = State {
            handle: None,
            queue: VecDeque::new(),
            granted: 0,
            taken: 0,
            left: options.total.unwrap_or(u64::MAX),
            said: Vec::new(),
            ended: None,
        };
        Self {
            group,
            name: Mutex::new(name),
            create: options.create,
            window: options.window,
            state: Mutex::new(state),
            arrived: Arc::new(Notify::new()),
            session: Arc::downgrade(session),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_name(&self) -> MutexGuard<'_, Option<SubscriptionName>> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is asked of the relay on every new connection.
    pub(super) fn attach_request(&self) -> Request {
        Request::Attach {
            group: self.group.clone(),
            name: self.lock_name().clone(),
            create: self.create.clone(),
        }
    }

    /// The relay gave a handle. Gives the first credit, if any.
    pub(super) fn on_attached(&self, handle: u32, name: SubscriptionName) -> Option<Credit> {
        *self.lock_name() = Some(name);
        let mut state = self.lock();
        state.handle = Some(handle);
        state.left = state.left.saturating_sub(state.taken);
        state.granted = u64::from(self.window).min(state.left);
        state.taken = 0;
        (state.granted > 0).then_some(Credit { handle, total: state.granted })
    }

    /// The connection is gone: what the application has not taken comes again.
    pub(super) fn on_lost(&self) {
        let mut state = self.lock();
        state.handle = None;
        state.queue.clear();
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, error: &ClientError) {
        let mut state = self.lock();
        state.handle = None;
        state.ended.get_or_insert_with(|| error.clone());
        drop(state);
        self.arrived.notify_waiters();
    }

    pub(super) fn on_deliver(&self, head: DeliverHead, records: Bytes, origin: (RelayId, Epoch)) {
        self.lock().queue.push_back(Incoming::Messages { head, records, origin });
        self.arrived.notify_waiters();
    }

    pub(super) fn on_gap(&self, from: Index, to: Index, cause: GapCause) {
        self.lock().queue.push_back(Incoming::Gap { from, to, cause });
        self.arrived.notify_waiters();
    }

    /// Records a statement; it is sent with the next ones.
    pub(super) fn say(&self, kind: AckKind, from: Index, to: Index, delay_ms: u64) {
        let mut state = self.lock();
        let many = match state.said.last_mut() {
            Some(last) if last.kind == kind && last.to == from && last.delay_ms == delay_ms => {
                last.to = to;
                return;
            }
            _ => {
                state.said.push(Said { kind, from, to, delay_ms });
                state.said.len()
            }
        };
        drop(state);
        if let Some(session) = self.session.upgrade() {
            if many >= SAID_MAX { session.wake_writer() } else { session.wake_writer_soon() }
        }
    }

    /// Moves what was said, and credit that is worth telling, into frames.
    pub(super) fn take_said(&self, out: &mut BytesMut) {
        let mut state = self.lock();
        let Some(handle) = state.handle else { return };
        for part in state.said.chunks(limits::CONTROL_BYTES_MAX / ACK_BYTES) {
            FrameHeader { kind: FrameKind::Ack, tag: 0, body_bytes: part.len() * ACK_BYTES }.encode(out);
            for said in part {
                let Said { kind, from, to, delay_ms } = *said;
                Ack { handle, kind, from, to, delay_ms }.encode(out);
            }
        }
        state.said.clear();
        let wanted = state.taken.saturating_add(u64::from(self.window)).min(state.left);
        let more = wanted.saturating_sub(state.granted);
        if more > u64::from(self.window) / 2 || (more > 0 && wanted == state.left) {
            state.granted = wanted;
            FrameHeader { kind: FrameKind::Credit, tag: 0, body_bytes: crate::wire::frame::CREDIT_BYTES }
                .encode(out);
            Credit { handle, total: wanted }.encode(out);
        }
    }
}

/// Receives from one subscription. Made by [`super::Client::subscriber`].
///
/// Also a [`Stream`]. It survives the loss of the connection: it attaches again, and what
/// was not acked comes again. Dropping it lets others have what is not acked.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<SubscriberShared>,
    session: Arc<Shared>,
    /// What is left of the delivery that is being handed out.
    current: Option<Batch>,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

/// The messages of one delivery, without a cost per message.
#[derive(Debug, Clone)]
pub struct Batch {
    head: DeliverHead,
    records: Bytes,
    origin: (RelayId, Epoch),
    subscriber: Weak<SubscriberShared>,
}

/// What [`Subscriber::next_batch`] gives.
#[derive(Debug, Clone)]
pub enum BatchDelivery {
    /// Messages.
    Batch(Batch),
    /// Messages that will not be given.
    Gap(Gap),
}

impl Batch {
    /// How many messages there are: at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.head.count as usize
    }

    /// The messages with their insertion indexes.
    pub fn iter(&self) -> impl Iterator<Item = (Index, Record<'_>)> {
        let first = self.head.first_index;
        (0..).zip(Records::new(&self.records).map_while(Result::ok)).map(move |(i, r)| (first.after(i), r))
    }

    /// When the origin accepted them.
    #[must_use]
    pub fn accepted(&self) -> crate::id::WallTime {
        self.head.accepted
    }

    /// 1 for the first delivery, more for another one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.head.attempt
    }

    /// Done with all of them.
    pub fn ack_all(&self) {
        if let Some(subscriber) = self.subscriber.upgrade() {
            let end = self.head.first_index.after(u64::from(self.head.count));
            subscriber.say(AckKind::Ack, self.head.first_index, end, 0);
        }
    }

    /// Takes the first message off.
    fn pop(&mut self, group: &GroupName) -> Option<Received> {
        let mut records = Records::new(&self.records);
        let payload_bytes = records.next()?.ok()?.payload.len();
        let record = self.records.split_to(self.records.len() - records.rest());
        let payload = record.slice(record.len() - payload_bytes..);
        let received = Received {
            payload,
            id: MessageId {
                origin: self.origin.0.clone(),
                boot: self.origin.1.counter,
                nonce: self.origin.1.nonce,
                group: group.clone(),
                sequence: self.head.first,
            },
            index: self.head.first_index,
            attempt: self.head.attempt,
            accepted: self.head.accepted,
            record,
            subscriber: self.subscriber.clone(),
        };
        self.head.first = Sequence(self.head.first.0 + 1);
        self.head.first_index = self.head.first_index.after(1);
        self.head.count = self.head.count.saturating_sub(1);
        Some(received)
    }
}

impl Subscriber {
    pub(super) fn new(shared: Arc<SubscriberShared>, session: Arc<Shared>) -> Self {
        Self { shared, session, current: None, waiting: None }
    }

    /// The name of the subscription, as the relay said it.
    ///
    /// # Panics
    /// Never: a subscriber is only given out when it is attached.
    #[must_use]
    pub fn name(&self) -> SubscriptionName {
        self.shared.lock_name().clone().expect("an attached subscription has a name")
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.shared.group
    }

    /// The next message or gap; waits for it. `None` never comes before an error has been given.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Delivery, ClientError>> {
        poll_fn(|context| self.poll_delivery(context)).await
    }

    /// The next delivery as a whole; waits for it. The fastest way to take many messages.
    ///
    /// # Errors
    /// When the subscription is gone, taken over, or the client has given up.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next_batch(&mut self) -> Result<BatchDelivery, ClientError> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    /// Up to `messages` of what is at the relay now, without waiting for more. For a
    /// subscriber with a window of 0.
    ///
    /// # Errors
    /// What the relay refuses, or that the connection is lost meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what has arrived for the next call.
    pub async fn poll(&mut self, messages: u64) -> Result<Vec<Delivery>, ClientError> {
        let handle =
            self.shared.lock().handle.ok_or_else(|| ClientError::closed("the connection is lost"))?;
        let reply = self.session.request(Request::Poll { handle, messages }).await?;
        if !matches!(reply, Reply::Polled { .. }) {
            return Err(ClientError::Protocol(format!("a poll was answered with {reply:?}")));
        }
        let mut found = Vec::new();
        while let Some(delivery) = self.take_delivery() {
            found.push(delivery);
        }
        Ok(found)
    }

    /// Sends what was acked so far and waits until it is durable: none of it comes again.
    ///
    /// # Errors
    /// When the connection is lost meanwhile: then it is sent on the next one.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn flush_acks(&self) -> Result<(), ClientError> {
        self.session.send_said(&self.shared);
        self.session.request(Request::Sync).await.map(|_| ())
    }

    /// Sends the acks, and ends receiving.
    ///
    /// # Errors
    /// When the connection is lost meanwhile.
    pub async fn close(self) -> Result<(), ClientError> {
        self.session.send_said(&self.shared);
        let handle = self.shared.lock().handle;
        if let Some(handle) = handle {
            self.session.request(Request::Detach { handle }).await?;
        }
        Ok(())
    }

    fn take_batch(&mut self) -> Option<BatchDelivery> {
        if let Some(batch) = self.current.take() {
            self.note_taken(u64::from(batch.head.count));
            return Some(BatchDelivery::Batch(batch));
        }
        let next = self.shared.lock().queue.pop_front()?;
        let subscriber = Arc::downgrade(&self.shared);
        Some(match next {
            Incoming::Messages { head, records, origin } => {
                self.note_taken(u64::from(head.count));
                BatchDelivery::Batch(Batch { head, records, origin, subscriber })
            }
            Incoming::Gap { from, to, cause } => BatchDelivery::Gap(Gap { from, to, cause, subscriber }),
        })
    }

    fn take_delivery(&mut self) -> Option<Delivery> {
        loop {
            if let Some(batch) = &mut self.current {
                let received = batch.pop(&self.shared.group);
                if batch.head.count == 0 {
                    self.current = None;
                }
                if let Some(received) = received {
                    self.note_taken(1);
                    return Some(Delivery::Message(received));
                }
                self.current = None;
            }
            let next = self.shared.lock().queue.pop_front()?;
            let subscriber = Arc::downgrade(&self.shared);
            match next {
                Incoming::Messages { head, records, origin } => {
                    self.current = Some(Batch { head, records, origin, subscriber });
                }
                Incoming::Gap { from, to, cause } => {
                    return Some(Delivery::Gap(Gap { from, to, cause, subscriber }));
                }
            }
        }
    }

    fn note_taken(&self, messages: u64) {
        let mut state = self.shared.lock();
        state.taken += messages;
        let left = state.granted.saturating_sub(state.taken);
        drop(state);
        if self.shared.window > 0 && left <= u64::from(self.shared.window) / 2 {
            self.session.wake_writer_soon();
        }
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Delivery, ClientError>>> {
        match self.poll_with(context, Self::take_delivery) {
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(delivery)) => Poll::Ready(Some(Ok(delivery))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Result<BatchDelivery, ClientError>> {
        self.poll_with(context, Self::take_batch)
    }

    fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&mut Self) -> Option<T>,
    ) -> Poll<Result<T, ClientError>> {
        loop {
            let mut waiting = self
                .waiting
                .take()
                .unwrap_or_else(|| Box::pin(Arc::clone(&self.shared.arrived).notified_owned()));
            waiting.as_mut().enable();
            if let Some(taken) = take(self) {
                return Poll::Ready(Ok(taken));
            }
            if let Some(error) = &self.shared.lock().ended {
                return Poll::Ready(Err(error.clone()));
            }
            self.session.wake_writer_if_said();
            if waiting.as_mut().poll(context).is_pending() {
                self.waiting = Some(waiting);
                return Poll::Pending;
            }
        }
    }
}

impl Stream for Subscriber {
    type Item = Result<Delivery, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_delivery(context)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let handle = self.shared.lock().handle.take();
        if let Some(handle) = handle {
            self.session.forget_subscriber(handle);
        }
    }
}
