//! Receiving from a durable subscription or a queue.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::delivery::{Batch, Delivery, Gap, RunPart};
use super::error::ClientError;
use super::inbox::Item;
use super::options::{AckMode, SubscriberOptions};
use super::shared::Lifeline;
use super::subscribing::SubscriberShared;
use crate::id::{GroupName, Index, SubscriptionName};
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
/// let group = "metrics/cpu".parse().expect("a constant that is a name");
/// let name = "dashboard".parse().expect("a constant that is a name");
/// let mut subscriber = client.subscriber(group, Some(name), SubscriberOptions::default()).await?;
/// while let Some(delivery) = subscriber.next().await {
///     match delivery? {
///         Delivery::Message(message) => {
///             println!("{}: {:?}", message.id, message.payload);
///             message.ack();
///         }
///         Delivery::Gap(gap) => {
///             println!("missing {}..{}: {:?}", gap.from, gap.to, gap.cause);
///             gap.ack();
///         }
///         Delivery::Unordered(unordered) => {
///             println!("next is {}, without {:?}", unordered.from, unordered.missing);
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscriber {
    pub(super) shared: Arc<SubscriberShared>,
    _lifeline: Arc<Lifeline>,
    ack_mode: AckMode,
    /// Whether there is a bound to what it is given.
    is_bounded: bool,
    /// What is being given out, message by message.
    current: Option<RunPart>,
    handed: Handed,
    pub(super) is_manual: bool,
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
            is_bounded: options.total.is_some(),
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

    /// The subscription's name, as the relay has said it; a queue has one too.
    ///
    /// # Panics
    /// Never: a subscriber is only given out when it is attached.
    #[must_use]
    pub fn name(&self) -> SubscriptionName {
        self.shared.lock().name().cloned().expect("a subscriber that was attached knows its name")
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

    /// All messages that are here, at most `max`; waits for the first message
    /// or gap. The fastest way: there is no cost per message but that of reading it.
    ///
    /// # Errors
    /// When the subscriber has ended for good, now or before.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_batch(&mut self, max: usize) -> Result<Batch, ClientError> {
        let next = std::future::poll_fn(|context| self.poll_next_batch(max.max(1), context)).await;
        next.unwrap_or_else(|| Err(self.ended()))
    }

    /// All messages that are here already, at most `max`, or a gap.
    pub fn try_next_batch(&mut self, max: usize) -> Option<Result<Batch, ClientError>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll_next_batch(max.max(1), &mut context) {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
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
                    self.give_gap(&gap);
                    return Poll::Ready(Some(Ok(Delivery::Gap(gap))));
                }
                Some(Ok(Item::Unordered(unordered))) => {
                    return Poll::Ready(Some(Ok(Delivery::Unordered(unordered))));
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
        while self.current.is_none() && batch.gap.is_none() && batch.unordered.is_none() {
            match std::task::ready!(self.poll_item(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(Item::Run(run))) => self.current = Some(RunPart::new(run)),
                Some(Ok(Item::Gap(gap))) => {
                    self.give_gap(&gap);
                    batch.gap = Some(gap);
                }
                Some(Ok(Item::Unordered(unordered))) => batch.unordered = Some(unordered),
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
    pub(super) fn come_back(&mut self) {
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
        if self.is_bounded {
            self.shared.count_taken(messages);
        }
        if self.ack_mode == AckMode::Auto {
            self.on_return.push((from, to, generation));
        }
    }

    fn give_gap(&mut self, gap: &Gap) {
        if self.ack_mode == AckMode::Auto {
            self.on_return.push((gap.from, gap.to, gap.generation));
        }
    }

    pub(super) fn report_handed(&mut self) {
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
