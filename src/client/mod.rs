//! The client library: what an application in Rust speaks to a relay with.
//!
//! A [`Client`] is one connection, made again when it is lost. It gives out
//! [`Publisher`]s, which put messages into a group, and [`Subscriber`]s, which
//! receive from a durable subscription or a queue; both survive the loss of the
//! connection. A retry never inserts a message twice, and what was received
//! and not acked comes again.
//!
//! It speaks [`crate::wire`] and knows nothing else of a relay.
//!
//! ```text
//! Publisher ──► outbox ─┐                  ┌─► relay
//! Client::request ──────┼─► writer ─ socket┤
//! Subscriber ◄─ inbox ◄─┴── reader         └─◄
//! ```
//!
//! Handles work on plain data under short locks (`outbox`, `inbox`) and leave
//! a word for the writer; one task per client reads, writes and connects anew.
//! Memory is bounded by the windows of publishers and subscribers.
//!
//! Lost with the connection, and how it is told:
//! - a request without an answer: [`ClientError::Closed`]; it may have been done;
//! - a put without an answer: nothing is lost, it is sent again;
//! - a delivery that was not acked: comes again, with a higher attempt (that
//!   of a relay that was started again begins at 1);
//! - an ack that was not sent, or sent and perhaps not on the relay's disk:
//!   sent on the next connection before anything is delivered there. Nacks and
//!   notes of progress were about a delivery that is gone, and go with it.
//!
//! Every future here may be dropped before it is ready, as `select!` and
//! timeouts do; each function says what becomes of its work then.
//!
//! ```no_run
//! # async fn example() -> Result<(), treecast::client::ClientError> {
//! use treecast::client::Client;
//!
//! let client = Client::connect("127.0.0.1:7411").await?;
//! let group = "news".parse().expect("a constant that is a name");
//! let receipt = client.put(&group, "hello").await?;
//! println!("{}", receipt.id.expect("it is no repeat"));
//! # Ok(())
//! # }
//! ```

mod acks;
mod age;
mod asking;
mod attached;
mod batch;
mod connection;
mod delivery;
mod error;
mod failures;
mod inbox;
mod incoming;
mod kept;
mod leaving;
mod message;
mod options;
mod outbox;
mod pace;
mod publisher;
mod publishing;
mod random;
mod session;
mod shared;
mod subscriber;
mod subscribing;
mod ticket;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::id::{GroupName, SubscriptionName};
use crate::wire::body::{Refusal, RelayHello, Reply, Request};

pub use self::delivery::{Batch, BatchMessage, Delivery, Gap, Received, Unordered};
pub use self::error::ClientError;
pub use self::failures::PutFailure;
pub use self::message::{Message, MessageId, MessageIdError, PutReceipt};
pub use self::options::{AckMode, Backoff, ClientOptions, PublisherOptions, SubscriberOptions};
pub use self::publisher::Publisher;
pub use self::subscriber::Subscriber;
pub use self::ticket::PutTicket;

use self::kept::Kept;
use self::publishing::PublisherShared;
use self::shared::{Lifeline, Shared};
use self::subscribing::SubscriberShared;

/// One connection to a relay, made again when it is lost. Cheap to clone: all
/// clones are the same connection.
///
/// The connection ends, with a goodbye, when the last clone and the last
/// publisher and subscriber are dropped. It needs a tokio runtime with I/O and time.
#[derive(Clone, Debug)]
pub struct Client {
    lifeline: Arc<Lifeline>,
    kept: Arc<Kept>,
}

impl Client {
    /// Connects to the relay at `host:port`.
    ///
    /// # Errors
    /// When there is no relay, or it does not speak this protocol.
    ///
    /// # Cancel safety
    /// There is no connection when it is dropped before it is ready.
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        Self::connect_with(ClientOptions::new(address)).await
    }

    /// Connects with options of one's own. One attempt: the back-off is for
    /// connections that were there once.
    ///
    /// # Errors
    /// As [`Client::connect`].
    ///
    /// # Cancel safety
    /// As [`Client::connect`].
    pub async fn connect_with(options: ClientOptions) -> Result<Self, ClientError> {
        let greeted = session::connect(&options).await?;
        let shared = Arc::new(Shared::new(options, greeted.hello.clone()));
        tokio::spawn(connection::run(Arc::clone(&shared), greeted));
        Ok(Self { lifeline: Arc::new(Lifeline::new(shared)), kept: Arc::default() })
    }

    fn shared(&self) -> &Arc<Shared> {
        self.lifeline.shared()
    }

    /// What the relay said of itself when the connection was made (last).
    #[must_use]
    pub fn hello(&self) -> RelayHello {
        self.shared().hello()
    }

    /// Why there is no connection at the moment; `None`: there is one.
    #[must_use]
    pub fn trouble(&self) -> Option<ClientError> {
        self.shared().trouble()
    }

    /// Waits until there is no connection; at once, when there is none. Says why, as [`Client::trouble`] does.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn lost(&self) -> ClientError {
        self.shared().lost().await
    }

    /// Waits until there is a connection again; at once, when there is one.
    ///
    /// # Errors
    /// When there will be none any more: the client was closed, or has given up.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn connected(&self) -> Result<(), ClientError> {
        self.shared().connected().await
    }

    /// Why the relay takes nothing for the moment: what it refused last, while a publisher or a
    /// subscriber tries again. `None` when it has taken something since, or is not there.
    #[must_use]
    pub fn held_up(&self) -> Option<Refusal> {
        self.shared().held_up()
    }

    /// Waits until the relay refuses since it is being drained ([`Refusal::leaving`]). A publisher or a subscriber
    /// tries again all the same, until it is closed: the relay may be started again.
    ///
    /// # Cancel safety
    /// Nothing is lost when it is dropped.
    pub async fn sent_away(&self) -> Refusal {
        self.shared().sent_away().await
    }

    /// Asks the relay something, or tells it to do something.
    ///
    /// # Errors
    /// When the relay refuses or does not answer in time. After
    /// [`ClientError::Closed`] and [`ClientError::Deadline`] it may have been
    /// done. Requests that only mean something to a [`Subscriber`] are refused.
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the request may be done all the same.
    pub async fn request(&self, request: Request) -> Result<Reply, ClientError> {
        if let Request::Attach { .. } | Request::Detach { .. } | Request::Poll { .. } = request {
            return Err(ClientError::invalid("this request is made by a subscriber: see Client::subscriber"));
        }
        if let Request::Unknown { .. } = request {
            return Err(ClientError::invalid("what was not understood is never sent"));
        }
        self.shared().ask(request).await
    }

    /// A publisher for a group or queue. A group that does not exist is made.
    ///
    /// # Errors
    /// When the relay refuses or does not answer in time.
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the group may have been made.
    pub async fn publisher(
        &self,
        group: GroupName,
        options: PublisherOptions,
    ) -> Result<Publisher, ClientError> {
        let shared = Arc::new(PublisherShared::new(self.shared().next_member(), group, &options));
        self.shared().add_publisher(&shared)?;
        let publisher = Publisher::new(Arc::clone(&shared), Arc::clone(&self.lifeline));
        self.in_time(shared.opened()).await?;
        Ok(publisher)
    }

    /// A subscriber to a subscription; `None`: to a queue.
    ///
    /// # Errors
    /// When the relay refuses or does not answer in time.
    ///
    /// # Cancel safety
    /// When it is dropped before it is ready, the subscription may have been made.
    pub async fn subscriber(
        &self,
        group: GroupName,
        name: Option<SubscriptionName>,
        options: SubscriberOptions,
    ) -> Result<Subscriber, ClientError> {
        let shared = SubscriberShared::new(Arc::clone(self.shared()), (group, name), &options);
        let shared = Arc::new(shared);
        self.shared().add_subscriber(&shared)?;
        let subscriber = Subscriber::new(Arc::clone(&shared), Arc::clone(&self.lifeline), &options);
        // Whether it answers at all is one matter, how long it may say that it is not ready another.
        let answer = self.shared().options.request_deadline;
        let ready = options.attach_deadline.unwrap_or(answer);
        let mut attached = std::pin::pin!(shared.attached());
        if let Ok(attached) = tokio::time::timeout(answer.min(ready), attached.as_mut()).await {
            return attached.map(|_| subscriber);
        }
        let end = if shared.refused().is_some() { ready } else { answer };
        match tokio::time::timeout(end.saturating_sub(answer.min(ready)), attached).await {
            Ok(attached) => attached.map(|_| subscriber),
            Err(_) => Err(shared.late()),
        }
    }

    /// A subscriber to a queue, competing with the queue's other receivers.
    ///
    /// # Errors
    /// As [`Client::subscriber`].
    ///
    /// # Cancel safety
    /// As [`Client::subscriber`].
    pub async fn queue(
        &self,
        queue: GroupName,
        options: SubscriberOptions,
    ) -> Result<Subscriber, ClientError> {
        self.subscriber(queue, None, options).await
    }

    async fn in_time<T>(&self, wait: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
        let deadline = self.shared().options.request_deadline;
        match tokio::time::timeout(deadline, wait).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.shared().late()),
        }
    }

    /// Says goodbye to the relay and waits until the connection is closed.
    /// Publishers and subscribers that are left fail: close them before.
    ///
    /// # Cancel safety
    /// The connection is closed in any case.
    pub async fn close(self) {
        self.kept.clear();
        self.shared().stop();
        self.shared().over().await;
    }
}

/// What is inside is whole between any two statements: a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
