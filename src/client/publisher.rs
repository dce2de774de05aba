//! Putting many messages: batched, windowed, retried until the relay has them.

use std::sync::Arc;

use super::error::ClientError;
use super::failures::PutFailure;
use super::message::{Message, check};
use super::outbox::Outbox;
use super::publishing::PublisherShared;
use super::shared::Lifeline;
use super::ticket::PutTicket;
use crate::id::{GroupName, ProducerId, ProducerSequence};
use crate::limits;
use crate::wire::run::Record;

/// Puts messages into one group, in order, each of them once.
///
/// Messages are gathered into runs while earlier ones are on their way, and
/// retried over new connections until the relay has answered. When the
/// publisher is dropped, what it has taken is still sent while the [`Client`]
/// or another publisher or subscriber of it lives; [`Publisher::close`] waits for it.
///
/// [`Client`]: super::Client
///
/// ```no_run
/// # async fn example() -> Result<(), treecast::client::ClientError> {
/// use treecast::client::{Client, PublisherOptions};
///
/// let client = Client::connect("127.0.0.1:7411").await?;
/// let group = "metrics/cpu".parse().expect("a constant that is a name");
/// let publisher = client.publisher(group, PublisherOptions::default()).await?;
/// for value in 0..1000 {
///     publisher.put_unacked(value.to_string()).await?;
/// }
/// publisher.close().await?; // all 1000 are on the relay's disk
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<PublisherShared>,
    lifeline: Arc<Lifeline>,
}

impl Publisher {
    pub(super) fn new(shared: Arc<PublisherShared>, lifeline: Arc<Lifeline>) -> Self {
        Self { shared, lifeline }
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        &self.shared.group
    }

    /// Who publishes: the id from the options, or the one that was drawn.
    #[must_use]
    pub fn producer(&self) -> ProducerId {
        self.shared.producer
    }

    /// Puts a message; waits only while the window is full. The ticket is a
    /// future of the receipt: awaiting one before the next put makes every put
    /// wait for the disk, so keep some.
    ///
    /// # Errors
    /// When the message is over a bound, or the publisher has failed for good.
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the message was not put.
    pub async fn put(&self, message: impl Into<Message>) -> Result<PutTicket, ClientError> {
        let message = message.into();
        let mut ticket = None;
        let mut push = |outbox: &mut Outbox| push_message(outbox, &message, Some(&mut ticket));
        if self.shared.is_turn_over(message.payload.len()) || self.push_now(&mut push)?.is_none() {
            self.push_waiting(push).await?;
        }
        Ok(ticket.expect("a message that was taken has the ticket that was asked for"))
    }

    /// Puts a message without waiting; `None` when the window is full: then
    /// the message stays with the caller.
    ///
    /// # Errors
    /// As [`Publisher::put`].
    pub fn try_put(&self, message: &Message) -> Result<Option<PutTicket>, ClientError> {
        let mut ticket = None;
        self.push_now(|outbox| push_message(outbox, message, Some(&mut ticket)))?;
        Ok(ticket)
    }

    /// Puts a message without a ticket: the cheapest way. Gives its producer
    /// sequence, for [`Publisher::wait_answered`]; a refusal is found in
    /// [`Publisher::failures`].
    ///
    /// # Errors
    /// As [`Publisher::put`].
    ///
    /// # Cancel safety
    /// As [`Publisher::put`].
    pub async fn put_unacked(&self, message: impl Into<Message>) -> Result<ProducerSequence, ClientError> {
        let message = message.into();
        if !self.shared.is_turn_over(message.payload.len())
            && let Some(sequence) = self.push_now(|outbox| push_message(outbox, &message, None))?
        {
            return Ok(sequence);
        }
        self.push_waiting(|outbox| push_message(outbox, &message, None)).await
    }

    /// As [`Publisher::put_unacked`], without waiting; `None` when the window
    /// is full: then the message stays with the caller.
    ///
    /// # Errors
    /// As [`Publisher::put`].
    pub fn try_put_unacked(&self, message: &Message) -> Result<Option<ProducerSequence>, ClientError> {
        self.push_now(|outbox| push_message(outbox, message, None))
    }

    /// Puts payloads without anything else, many for the cost of one call.
    /// Gives the producer sequence of the last one; `None` when there was none.
    ///
    /// # Errors
    /// As [`Publisher::put`]: those before the faulty one have been put.
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, some have been put and the rest has not.
    pub async fn put_bulk<T: AsRef<[u8]>>(
        &self,
        payloads: impl IntoIterator<Item = T>,
    ) -> Result<Option<ProducerSequence>, ClientError> {
        let mut payloads = payloads.into_iter();
        let mut last = None;
        loop {
            let mut waiting = None;
            let pushed = self.push_some(&mut payloads, &mut waiting)?;
            last = pushed.or(last);
            if let Some(payload) = waiting {
                last = Some(self.when_free(|outbox| push_payload(outbox, payload.as_ref())).await?);
            } else if pushed.is_none() {
                return Ok(last);
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Puts some payloads under one lock, and gives the sequence of the last
    /// one; the one for which the window has no room waits.
    fn push_some<T: AsRef<[u8]>>(
        &self,
        payloads: &mut impl Iterator<Item = T>,
        waiting: &mut Option<T>,
    ) -> Result<Option<ProducerSequence>, ClientError> {
        let mut outbox = self.shared.lock();
        let mut last = Ok(None);
        for payload in payloads.take(limits::CLIENT_TURN_PUTS) {
            match push_payload(&mut outbox, payload.as_ref()) {
                Ok(Some(pushed)) => last = Ok(Some(pushed)),
                Ok(None) => {
                    *waiting = Some(payload);
                    break;
                }
                Err(error) => {
                    last = Err(error);
                    break;
                }
            }
        }
        let wants_wake = outbox.wants_look();
        drop(outbox);
        self.wake_if(wants_wake);
        last
    }

    /// Lets the connection's task have the thread first: a task that only puts would keep it.
    async fn push_waiting(
        &self,
        push: impl FnMut(&mut Outbox) -> TryPush,
    ) -> Result<ProducerSequence, ClientError> {
        self.shared.begin_turn();
        tokio::task::yield_now().await;
        self.when_free(push).await
    }

    #[inline]
    fn push_now(&self, push: impl FnOnce(&mut Outbox) -> TryPush) -> TryPush {
        let mut outbox = self.shared.lock();
        let pushed = push(&mut outbox);
        let was_held = outbox.is_held();
        let wants_wake = matches!(pushed, Ok(Some(_))) && outbox.wants_wake();
        drop(outbox);
        if wants_wake && was_held {
            // A batch is complete: it goes before the next one is begun.
            self.shared.end_turn();
        }
        self.wake_if(wants_wake);
        pushed
    }

    async fn when_free(
        &self,
        mut push: impl FnMut(&mut Outbox) -> TryPush,
    ) -> Result<ProducerSequence, ClientError> {
        if let Some(pushed) = self.push_now(&mut push)? {
            return Ok(pushed);
        }
        let (pushed, wants_wake) = self
            .shared
            .wait(|outbox| {
                let pushed = push(outbox).transpose()?;
                let wants_wake = pushed.is_ok() && outbox.wants_wake();
                Some((pushed, wants_wake))
            })
            .await;
        self.wake_if(wants_wake);
        pushed
    }

    fn wake_if(&self, wants_wake: bool) {
        if wants_wake {
            self.lifeline.shared().ready_publisher(Arc::clone(&self.shared));
        }
    }

    /// Every message with a lower producer sequence has its answer. Refusals
    /// are answers: see [`Publisher::failures`].
    #[must_use]
    pub fn answered(&self) -> ProducerSequence {
        ProducerSequence(self.shared.unanswered())
    }

    /// Waits until every message up to and including `sequence` has its
    /// answer; of those that are not put yet, for none. Refusals are answers.
    ///
    /// # Errors
    /// When the publisher has failed for good.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wait_answered(&self, sequence: ProducerSequence) -> Result<(), ClientError> {
        if self.answered() > sequence {
            return Ok(());
        }
        self.shared
            .wait(|outbox| {
                let is_answered = outbox.lowest_unanswered() > sequence.0.min(outbox.next() - 1);
                match outbox.error() {
                    Some(error) => Some(Err(error.clone())),
                    None => is_answered.then_some(Ok(())),
                }
            })
            .await
    }

    /// Waits until everything that was put before has its answer.
    ///
    /// # Errors
    /// When one of them was put without a ticket and refused, until
    /// [`Publisher::failures`] has taken the reason; or when the publisher has
    /// failed for good.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let last = ProducerSequence(self.shared.lock().next() - 1);
        let answered = self.wait_answered(last).await;
        let refused = self.shared.lock().failures.oldest_through(last).cloned();
        refused.map_or(answered, Err)
    }

    /// Takes the refusals of messages that were put without a ticket, oldest
    /// first; the first [`crate::limits::CLIENT_FAILURES_MAX`] since the last call.
    #[must_use]
    pub fn failures(&self) -> Vec<PutFailure> {
        self.shared.lock().failures.take()
    }

    /// How many messages that were put without a ticket have been refused
    /// since [`Publisher::failures`] was called last.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.shared.lock().failures.messages()
    }

    /// How many messages the relay had taken before and did not insert again:
    /// those of an earlier process, and those whose answer was lost with a connection.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.shared.lock().repeats()
    }

    /// How many messages the relay has on its disk: also those that have not come as far as
    /// [`super::PublisherOptions::level`] asks for, and those that it had taken before.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.shared.lock().taken()
    }

    /// Whether a relay may have messages of which it has not said so: they were sent, and no answer has come yet,
    /// or no more after [`ClientError::Closed`] or [`ClientError::Unreachable`]. Put again by another producer
    /// they are other messages.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.shared.lock().is_unsure()
    }

    /// Flushes and ends the publisher.
    ///
    /// # Errors
    /// As [`Publisher::flush`].
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the publisher is dropped: what it
    /// has taken is still sent while the client lives.
    pub async fn close(self) -> Result<(), ClientError> {
        self.flush().await
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if self.shared.lock().close() {
            self.lifeline.shared().remove_publisher(self.shared.member);
        }
    }
}

/// `None`: the window is full.
type TryPush = Result<Option<ProducerSequence>, ClientError>;

#[inline]
fn push_message(outbox: &mut Outbox, message: &Message, ticket: Option<&mut Option<PutTicket>>) -> TryPush {
    if let Some(error) = outbox.error() {
        return Err(error.clone());
    }
    let max = outbox.message_bytes_max();
    message.with_record(max, |record| outbox.push(&record, ticket))
}

fn push_payload(outbox: &mut Outbox, payload: &[u8]) -> TryPush {
    if let Some(error) = outbox.error() {
        return Err(error.clone());
    }
    check("payload", payload.len(), outbox.message_bytes_max())?;
    Ok(outbox.push(&Record { payload, ..Record::default() }, None))
}
