//! What a subscriber asks of the relay: polls, single messages, that its acks
//! are durable, and to be let go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::delivery::Delivery;
use super::error::ClientError;
use super::shared::{AnswerSender, Pending};
use super::subscriber::Subscriber;
use crate::wire::body::{Refusal, RefusalCode, Reply, Request};

/// How long a poll waits for another attachment when the one that it was asked of ends under it.
const AGAIN_WAIT: Duration = Duration::from_secs(2);

impl Subscriber {
    /// Asks for what is there now, at most `max` messages, and never waits for
    /// more to come. Gives how many came; take them, and gaps before them, with
    /// [`Subscriber::try_next`] or, when there are some, [`Subscriber::next_batch`].
    /// Meant for a subscriber with a window of 0.
    ///
    /// # Errors
    /// When the relay does not answer, or the subscriber has ended.
    ///
    /// # Cancel safety
    /// Messages that have come are not lost: [`Subscriber::next`] gives them.
    pub async fn poll(&mut self, max: u64) -> Result<u64, ClientError> {
        self.report_handed();
        let mut refused: Option<Instant> = None;
        loop {
            let deadline = self.shared.shared().options.request_deadline;
            let handle = match tokio::time::timeout(deadline, self.shared.ready_to_poll()).await {
                Ok(handle) => handle?,
                Err(_) => return Err(self.shared.late()),
            };
            let generation = self.shared.generation();
            // What was acked so far makes room for what is asked for.
            self.shared.shared().ready_subscriber(Arc::clone(&self.shared));
            let pending = |sender| Pending::Poll(Arc::clone(&self.shared), sender);
            let reply = self.shared.shared().ask_as(Request::Poll { handle, messages: max }, pending).await;
            match reply {
                Ok(Reply::Polled { messages }) => return Ok(messages),
                Ok(reply) => {
                    return Err(ClientError::protocol(format!("a poll was answered with {reply:?}")));
                }
                // The attachment has ended, and another one follows: behind what a subscription has brought
                // along comes what it has here.
                Err(ClientError::Refused(refusal))
                    if self.is_between(generation, &refusal)
                        && refused.get_or_insert_with(Instant::now).elapsed() < AGAIN_WAIT =>
                {
                    if !self.shared.is_attached_after(generation, AGAIN_WAIT).await {
                        return Err(refusal.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a poll was refused since it was asked of an attachment that is over.
    fn is_between(&self, generation: u64, refusal: &Refusal) -> bool {
        // The word of it may come behind the answer.
        refusal.code == RefusalCode::NotReady || self.shared.generation() != generation
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

    pub(super) fn ended(&self) -> ClientError {
        let error = self.shared.lock().error().cloned();
        error.unwrap_or_else(|| ClientError::closed("the subscriber was closed"))
    }

    /// Waits until everything that was said of messages so far is on the
    /// relay's disk: what was acked does not come again, whatever happens to the
    /// relay. When the connection is lost meanwhile, the acks are sent again on
    /// the next one.
    ///
    /// # Errors
    /// When the relay does not answer in time, or the subscriber has ended.
    /// [`ClientError::AcksLost`], once, when some of what was acked cannot be
    /// confirmed: it comes again, and the subscriber goes on.
    ///
    /// # Cancel safety
    /// Nothing is lost: it is sent all the same.
    pub async fn flush_acks(&mut self) -> Result<(), ClientError> {
        let deadline = self.shared.shared().options.request_deadline;
        match tokio::time::timeout(deadline, self.shared.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(self.shared.late()),
        }
    }

    /// Flushes the acks as [`Subscriber::flush_acks`] does and ends receiving:
    /// what was not acked goes back to the relay at once. When it is dropped instead, the same happens without waiting.
    ///
    /// # Errors
    /// As [`Subscriber::flush_acks`].
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the subscriber is dropped.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.come_back();
        let flushed = self.flush_acks().await;
        // Of acks that are lost there is nothing to wait for.
        if flushed.as_ref().is_err_and(|error| !matches!(error, ClientError::AcksLost)) {
            return flushed;
        }
        let (sender, receiver) = oneshot::channel();
        let Some(handle) = self.detach(Some(sender)) else { return flushed };
        let deadline = self.shared.shared().options.request_deadline;
        match tokio::time::timeout(deadline, receiver).await {
            // Or the session is over, and with it the handle.
            Ok(_) => flushed,
            Err(_) => {
                tracing::debug!(handle, "a subscriber was not detached in time");
                Err(ClientError::Deadline)
            }
        }
    }

    /// Ends receiving; gives the handle that is detached, if there is one.
    pub(super) fn detach(&mut self, answer: Option<AnswerSender>) -> Option<u32> {
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
