//! Receiving from a durable subscription or a queue.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::delivery::{Batch, Delivery, RunPart};
use super::error::ClientError;
use super::inbox::Item;
use super::options::{AckMode, SubscriberOptions};
use super::shared::{AnswerSender, Lifeline, Pending};
use super::subscribing::SubscriberShared;
use crate::id::{GroupName, Index, SubscriptionName};
use crate::wire::body::{Reply, Request};
use crate::wire::frame::AckKind;

/// Messages that were given out, until they are reported as done with.
#[derive(Clone, Copy, Debug, Default)]
struct Handed {
    generation: u64,
    messages: u64,
    /// More than so many are reported.
    report_at: u64,
}

/// Receives the messages of one subscription, in order; a stream of them.
///
/// It survives the loss of the connection: it attaches again by name, and what
/// was not acked comes again. It ends for good, with an error, when another
/// receiver takes an exclusive subscription over, when the subscription is
/// removed, or when the client is closed.
///
/// ```no_run
/// # async fn example() -> Result<(), treecast::client::ClientError> {
/// use treecast::client::{Client, Delivery, SubscriberOptions};
///
/// let client = Client::connect("127.0.0.1:7411").await?;
/// let options = SubscriberOptions { create: Some(Default::default()), ..Default::default() };
/// let group = "metrics/cpu".parse().expect("a constant that is a name");
/// let name = "dashboard".parse().expect("a constant that is a name");
/// let mut subscriber = client.subscriber(group, Some(name), options).await?;
/// while let Some(delivery) = subscriber.next().await {
///     match delivery? {
///         Delivery::Message(message) => {
///             println!("{}: {:?}", message.id, message.payload);
///             message.ack();
///         }
///         Delivery::Gap { from, to, cause } => println!("missing {from}..{to}: {cause:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<SubscriberShared>,
    _lifeline: Arc<Lifeline>,
    ack_mode: AckMode,
    /// What is being given out, message by message.
    current: Option<RunPart>,
    handed: Handed,
    is_manual: bool,
    /// What is acked when the application comes back.
    on_return: Vec<(Index, Index, u64)>,
    is_over: bool,
}

impl Subscriber {
    pub(super) fn new(
        shared: Arc<SubscriberShared>,
        lifeline: Arc<Lifeline>,
        options: &SubscriberOptions,
    ) -> Self {
        Self {
            shared,
            _lifeline: lifeline,
            ack_mode: options.ack_mode,
            is_manual: options.window == 0,
            current: None,
            handed: Handed::default(),
            on_return: Vec::new(),
            is_over: false,
        }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.shared.group
    }

    /// The subscription's name; a queue has one too.
    #[must_use]
    pub fn name(&self) -> Option<SubscriptionName> {
        self.shared.lock().name().cloned()
    }

    /// The next message or gap; waits for it. `None` after the error that ends
    /// the subscriber for good.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Delivery, ClientError>> {
        std::future::poll_fn(|context| self.poll_next_delivery(context)).await
    }

    /// The next message or gap if it is here already.
    pub fn try_next(&mut self) -> Option<Result<Delivery, ClientError>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll_next_delivery(&mut context) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }

    /// All messages that are here, at most `max`; waits for the first. There is
    /// no cost per message but that of reading them. `None` after the error
    /// that ends the subscriber for good.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_batch(&mut self, max: usize) -> Option<Result<Batch, ClientError>> {
        std::future::poll_fn(|context| self.poll_next_batch(max.max(1), context)).await
    }

    fn poll_next_delivery(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery, ClientError>>> {
        self.come_back();
        loop {
            if let Some(current) = &mut self.current {
                match current.next() {
                    Some(received) => {
                        let range = (received.index, received.index.after(1));
                        let generation = current.generation();
                        self.give(1, range, generation);
                        return Poll::Ready(Some(Ok(Delivery::Message(received))));
                    }
                    None => self.end_current(),
                }
            }
            match std::task::ready!(self.poll_item(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Item::Run(run))) => self.current = Some(RunPart::new(run)),
                Some(Ok(Item::Gap(gap))) => {
                    self.on_return.push((gap.from, gap.to, 0));
                    return Poll::Ready(Some(Ok(gap.into())));
                }
            }
        }
    }

    fn poll_next_batch(
        &mut self,
        max: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Batch, ClientError>>> {
        self.come_back();
        let mut batch = Batch::default();
        while self.current.is_none() && batch.gap.is_none() {
            match std::task::ready!(self.poll_item(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Item::Run(run))) => self.current = Some(RunPart::new(run)),
                Some(Ok(Item::Gap(gap))) => {
                    self.on_return.push((gap.from, gap.to, 0));
                    batch.gap = Some(gap);
                }
            }
            self.fill(&mut batch, max);
            if batch.messages > 0 {
                break;
            }
        }
        self.fill(&mut batch, max);
        Poll::Ready(Some(Ok(batch)))
    }

    /// Moves what is here into the batch, as far as messages come next.
    fn fill(&mut self, batch: &mut Batch, max: usize) {
        while batch.messages < max {
            let Some(current) = &mut self.current else {
                let Some(run) = self.shared.lock().pop_run() else { return };
                self.current = Some(RunPart::new(run));
                continue;
            };
            match current.split(max - batch.messages) {
                Some(part) => {
                    self.give(part.len() as u64, part.range(), part.generation());
                    batch.messages += part.len();
                    batch.parts.push(part);
                }
                None => self.end_current(),
            }
        }
    }

    /// There is nothing more in it, or nothing that is a record.
    fn end_current(&mut self) {
        if self.current.take().is_some_and(|part| !part.is_empty()) {
            let fault = "the records of a delivery are not what its head announces";
            self.shared.shared().break_session(ClientError::protocol(fault));
        }
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item, ClientError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.report_handed();
        let item = self.shared.change(|inbox| {
            let item = inbox.pop();
            let error = inbox.error().cloned();
            let is_waiting = item.is_none() && error.is_none();
            if is_waiting {
                inbox.wait(context.waker());
            }
            (item.map(Ok).or(error.map(Err)), is_waiting)
        });
        self.is_over = matches!(item, Some(Err(_)));
        item.map_or(Poll::Pending, |item| Poll::Ready(Some(item)))
    }

    /// The application has come back: it is done with what it was given last.
    /// What was here of a connection that is lost comes again.
    fn come_back(&mut self) {
        for (from, to, generation) in self.on_return.drain(..) {
            self.shared.say(AckKind::Ack, (from, to), 0, generation);
        }
        let generation = self.shared.generation();
        if self.current.as_ref().is_some_and(|part| part.is_empty() || part.generation() != generation) {
            self.current = None;
        }
        if self.handed.messages > self.handed.report_at {
            self.report_handed();
        }
    }

    fn give(&mut self, messages: u64, (from, to): (Index, Index), generation: u64) {
        if self.handed.generation != generation {
            self.handed = Handed { generation, ..Handed::default() };
        }
        self.handed.messages += messages;
        if self.ack_mode == AckMode::Auto {
            self.on_return.push((from, to, generation));
        }
    }

    fn report_handed(&mut self) {
        let Handed { generation, messages, .. } = self.handed;
        if messages == 0 {
            return;
        }
        self.handed.messages = 0;
        self.handed.report_at = self.shared.change(|inbox| {
            if inbox.generation() == generation {
                inbox.hand(messages);
            }
            (inbox.allowed() / 4, false)
        });
    }

    /// Asks for what is there now, at most `max` messages, without waiting for
    /// more. Gives how many came; take them with [`Subscriber::try_next`] or
    /// [`Subscriber::next_batch`].
    ///
    /// # Errors
    /// When the relay does not answer, or the subscriber has ended.
    ///
    /// # Cancel safety
    /// Messages that have come are not lost: [`Subscriber::next`] gives them.
    pub async fn poll(&mut self, max: u64) -> Result<u64, ClientError> {
        self.report_handed();
        let deadline = self.shared.shared().options.request_deadline;
        let handle = match tokio::time::timeout(deadline, self.shared.attached()).await {
            Ok(handle) => handle?,
            Err(_) => return Err(self.shared.shared().trouble().unwrap_or(ClientError::Deadline)),
        };
        self.shared.lock().poll(max);
        let reply = self.shared.shared().ask(Request::Poll { handle, messages: max }).await?;
        self.shared.change(|inbox| (inbox.on_polled(), false));
        let Reply::Polled { messages } = reply else {
            return Err(ClientError::protocol(format!("a poll was answered with {reply:?}")));
        };
        Ok(messages)
    }

    /// The next message or gap; waits for it, at most so long if a time is
    /// given. With a window of 0 exactly this one is asked for. `None` when
    /// nothing came in time.
    ///
    /// # Errors
    /// When the subscriber has ended, now or before.
    ///
    /// # Cancel safety
    /// Nothing is lost: what comes later is given by the next call.
    pub async fn get(&mut self, wait: Option<Duration>) -> Result<Option<Delivery>, ClientError> {
        if let Some(next) = self.try_next() {
            return next.map(Some);
        }
        self.report_handed();
        self.shared.change(|inbox| (inbox.want(1), true));
        let next = match wait {
            Some(wait) => tokio::time::timeout(wait, self.next()).await,
            None => Ok(self.next().await),
        };
        self.shared.change(|inbox| (inbox.want(0), false));
        match next {
            Ok(Some(next)) => next.map(Some),
            Ok(None) => Err(self.ended()),
            Err(_) if self.is_manual && self.shared.is_attached() => {
                // What was asked for is taken back, or it would come when nobody waits for it.
                self.poll(0).await?;
                self.try_next().transpose()
            }
            Err(_) => Ok(None),
        }
    }

    fn ended(&self) -> ClientError {
        let error = self.shared.lock().error().cloned();
        error.unwrap_or_else(|| ClientError::closed("the subscriber was closed"))
    }

    /// Waits until the relay has taken everything that was said of messages so far.
    ///
    /// # Errors
    /// When the relay does not answer in time, or the subscriber has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost: it is sent all the same.
    pub async fn flush_acks(&mut self) -> Result<(), ClientError> {
        let deadline = self.shared.shared().options.request_deadline;
        match tokio::time::timeout(deadline, self.shared.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(self.shared.shared().trouble().unwrap_or(ClientError::Deadline)),
        }
    }

    /// Flushes the acks and ends receiving: what was not acked goes back to the
    /// relay at once. When it is dropped instead, the same happens without waiting.
    ///
    /// # Errors
    /// As [`Subscriber::flush_acks`].
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the subscriber is dropped.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.come_back();
        self.flush_acks().await?;
        let (sender, receiver) = oneshot::channel();
        let Some(handle) = self.detach(Some(sender)) else { return Ok(()) };
        let deadline = self.shared.shared().options.request_deadline;
        match tokio::time::timeout(deadline, receiver).await {
            Ok(Ok(Ok(_))) => Ok(()),
            // The session is over, and with it the handle.
            Ok(_) => Ok(()),
            Err(_) => {
                tracing::debug!(handle, "a subscriber was not detached in time");
                Err(ClientError::Deadline)
            }
        }
    }

    /// Ends receiving; gives the handle that is detached, if there is one.
    fn detach(&mut self, answer: Option<AnswerSender>) -> Option<u32> {
        let shared = self.shared.shared();
        let mut inbox = self.shared.lock();
        if inbox.is_closed() {
            return None;
        }
        let handle = inbox.close();
        drop(inbox);
        shared.remove_subscriber(self.shared.member);
        let handle = handle?;
        shared.ready_subscriber(Arc::clone(&self.shared));
        shared.queue(Request::Detach { handle }, Pending::Detach(handle, answer)).ok()?;
        Some(handle)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // What the application has not come back from was not acked by it, and comes again.
        self.detach(None);
    }
}

impl futures_core::Stream for Subscriber {
    type Item = Result<Delivery, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_next_delivery(context)
    }
}
