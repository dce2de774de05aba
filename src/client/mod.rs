//! The client library: what applications use.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use treecast::client::{Client, Delivery, PublisherOptions, SubscriberOptions};
//!
//! let client = Client::connect("127.0.0.1:7411").await?;
//! let mut inbox = client
//!     .subscriber("orders".parse()?, Some("billing".parse()?), SubscriberOptions::default())
//!     .await?;
//! let publisher = client.publisher("orders".parse()?, PublisherOptions::default()).await?;
//! let receipt = publisher.put("a message").await?.await?;
//! println!("durable as {:?}", receipt.id);
//! if let Some(Delivery::Message(message)) = inbox.next().await.transpose()? {
//!     println!("{}", String::from_utf8_lossy(&message.payload));
//!     message.ack();
//! }
//! publisher.close().await?;
//! inbox.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! One [`Client`] is one connection, made again by itself when it breaks.
//! [`Publisher`]s and [`Subscriber`]s live through that; a plain
//! [`Client::request`] that was under way fails with [`ClientError::Closed`].

mod error;
mod message;
mod publisher;
mod session;
mod subscriber;

use std::sync::Arc;
use std::time::Duration;

pub use error::ClientError;
pub use message::{Delivery, Gap, Message, MessageId, MessageIdError, PutReceipt, Received};
pub use publisher::{Failure, Publisher, PublisherOptions, PutTicket};
pub use subscriber::{Batch, BatchDelivery, Subscriber, SubscriberOptions};

use self::publisher::PublisherShared;
use self::session::Shared;
use self::subscriber::SubscriberShared;
use crate::id::{GroupName, SubscriptionName};
use crate::wire::body::{RelayHello, Reply, Request};

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The relay, as `host:port`.
    pub address: String,
    /// What the client calls itself, for the operator's lists.
    pub name: String,
    /// How long one attempt to connect may take; 5 s by default.
    pub connect_deadline: Duration,
    /// How long a lost connection is tried to be made again; 60 s by default. 0: not at all.
    pub reconnect_for: Duration,
    /// The pause before the first attempt, 50 ms by default; it doubles with each.
    pub reconnect_pause_min: Duration,
    /// The longest pause between attempts, 2 s by default.
    pub reconnect_pause_max: Duration,
}

impl ClientOptions {
    /// The usual options for this address.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            name: "treecast".to_owned(),
            connect_deadline: Duration::from_secs(5),
            reconnect_for: Duration::from_secs(60),
            reconnect_pause_min: Duration::from_millis(50),
            reconnect_pause_max: Duration::from_secs(2),
        }
    }
}

/// A connection to a relay. Dropping it ends the connection and everything made from it.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Connects to `address` (`host:port`) with the usual options.
    ///
    /// # Errors
    /// When nothing listens there, or something that is not a relay.
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up.
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        Self::connect_with(ClientOptions::new(address)).await
    }

    /// Connects.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future gives the attempt up.
    pub async fn connect_with(options: ClientOptions) -> Result<Self, ClientError> {
        let connection = session::connect(&options).await?;
        let shared = Arc::new(Shared::new(options));
        shared.on_connected(connection.hello());
        tokio::spawn(session::run(Arc::clone(&shared), connection));
        Ok(Self { shared })
    }

    /// What the relay said of itself when the connection was last made.
    ///
    /// # Panics
    /// Never: a client is only given out when it is connected.
    #[must_use]
    pub fn hello(&self) -> RelayHello {
        self.shared.hello().expect("a connected client has heard the relay's hello")
    }

    /// Asks the relay anything.
    ///
    /// # Errors
    /// What the relay refuses, or that the connection is lost meanwhile: then it is not known
    /// whether it was done.
    ///
    /// # Cancel safety
    /// Dropping the future loses the answer; it may be done all the same.
    pub async fn request(&self, request: Request) -> Result<Reply, ClientError> {
        self.shared.request(request).await
    }

    /// A publisher for a group; the group is made when it does not exist.
    ///
    /// # Errors
    /// What the relay refuses, or that the connection is lost meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future makes no publisher.
    pub async fn publisher(
        &self,
        group: GroupName,
        options: PublisherOptions,
    ) -> Result<Publisher, ClientError> {
        let shared = Arc::new(PublisherShared::new(group, options));
        self.shared.add_publisher(&shared).await?;
        Ok(Publisher::new(shared, Arc::clone(&self.shared)))
    }

    /// Puts one message and waits until it is durable. For more than a few, use a [`Publisher`].
    ///
    /// # Errors
    /// What the relay refuses, or that it could not be reached for too long.
    ///
    /// # Cancel safety
    /// Dropping the future loses the answer; the message may be put all the same.
    pub async fn put(
        &self,
        group: &GroupName,
        message: impl Into<Message>,
    ) -> Result<PutReceipt, ClientError> {
        let publisher = self.publisher(group.clone(), PublisherOptions::default()).await?;
        publisher.put(message).await?.await
    }

    /// Receives from a subscription; of a queue, its name may be left out.
    ///
    /// # Errors
    /// What the relay refuses, or that the connection is lost meanwhile.
    ///
    /// # Cancel safety
    /// Dropping the future may leave the subscription made.
    pub async fn subscriber(
        &self,
        group: GroupName,
        name: Option<SubscriptionName>,
        options: SubscriberOptions,
    ) -> Result<Subscriber, ClientError> {
        let shared = Arc::new(SubscriberShared::new(group, name, options, &self.shared));
        self.shared.add_subscriber(&shared).await?;
        Ok(Subscriber::new(shared, Arc::clone(&self.shared)))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
    }
}
