//! The one place that knows the client library: messages with numbers go in,
//! events of the history come out.

use std::time::Duration;

use treecast::client::{
    Client, ClientError, ClientOptions, Delivery, PublisherOptions, PutTicket, Received, SubscriberOptions,
};
use treecast::id::{GroupName, SubscriptionName};
use treecast::topology::settings::GroupSettings;
use treecast::wire::body::{
    Books, GapCause, GroupInfo, RefusalCode, Reply, Request, Start, Status, SubscriptionSpec,
};

use super::oracle::{Event, History, Id};
use super::random::Random;

/// The group that all tests use; each has a relay of its own.
pub(crate) const GROUP: &str = "load";

/// What became of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is durable.
    Answered,
    /// The relay has refused it, for this reason.
    Refused(RefusalCode, String),
    /// The client has given up.
    Failed(String),
}

/// A connection that is made again by itself.
pub(crate) struct Connection(Client);

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        Self(
            Client::connect_with(options(address, Duration::from_secs(60))).await.expect("the relay answers"),
        )
    }

    /// One that is not made again: what is asked for fails when it breaks.
    pub(crate) async fn open_once(address: &str) -> Result<Self, String> {
        Client::connect_with(options(address, Duration::ZERO)).await.map(Self).map_err(|e| e.to_string())
    }

    pub(crate) async fn publisher(&self, producer: u32, bytes: usize) -> Publisher {
        self.publisher_in(GROUP, producer, bytes).await.expect("a publisher")
    }

    /// A publisher to another group.
    pub(crate) async fn publisher_in(
        &self,
        group: &str,
        producer: u32,
        bytes: usize,
    ) -> Result<Publisher, String> {
        let options = PublisherOptions { window_messages: 1000, ..PublisherOptions::default() };
        let inner = self.0.publisher(group_name(group), options).await.map_err(|e| e.to_string())?;
        Ok(Publisher { inner, producer, bytes, next: 0 })
    }

    pub(crate) async fn create(&self, name: &str) {
        self.create_in(GROUP, name).await.expect("a subscription");
    }

    /// Makes a subscription of another group.
    pub(crate) async fn create_in(&self, group: &str, name: &str) -> Result<(), String> {
        let spec = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
        let request =
            Request::SubscriptionCreate { group: group_name(group), name: subscription(name), spec };
        self.0.request(request).await.map(drop).map_err(|e| e.to_string())
    }

    /// A subscriber on this connection.
    pub(crate) async fn inbox(&self, group: &str, name: &str) -> Result<Inbox, String> {
        let spec = SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() };
        let options = SubscriberOptions { create: Some(spec), ..SubscriberOptions::default() };
        let inner = self.0.subscriber(group_name(group), Some(subscription(name)), options).await;
        Ok(Inbox { inner: inner.map_err(|e| e.to_string())?, _client: self.0.clone() })
    }

    /// Lets the group take messages of so many bytes.
    pub(crate) async fn set_message_bytes(&self, bytes: u64) {
        let settings = GroupSettings { max_message_bytes: Some(bytes), ..GroupSettings::default() };
        let request = Request::GroupSet { group: group(), settings };
        self.0.request(request).await.expect("the group is changed");
    }

    /// Removes the subscription with its backlog, so that its room is free.
    pub(crate) async fn remove(&self, name: &str) {
        let request = Request::SubscriptionRemove { group: group(), name: subscription(name) };
        self.0.request(request).await.expect("it is removed");
    }

    pub(crate) async fn status(&self) -> Result<Status, String> {
        match self.0.request(Request::Status).await {
            Ok(Reply::Status(status)) => Ok(*status),
            other => Err(format!("{other:?}")),
        }
    }

    /// What the relay tells of the group.
    pub(crate) async fn group(&self) -> GroupInfo {
        match self.0.request(Request::GroupShow { group: group() }).await {
            Ok(Reply::Group(info)) => *info,
            other => panic!("no group: {other:?}"),
        }
    }

    /// All that can be asked of the group, for people who want to know why a test has failed.
    pub(crate) async fn describe(&self) -> String {
        let list = Request::SubscriptionList { group: group(), after: None, limit: 100 };
        format!("{:#?}\n{:#?}", self.group().await, self.0.request(list).await)
    }

    pub(crate) async fn books(&self) -> Books {
        match self.0.request(Request::Books { group: None }).await {
            Ok(Reply::Books(books)) => *books,
            other => panic!("no books: {other:?}"),
        }
    }
}

fn options(address: &str, reconnect_for: Duration) -> ClientOptions {
    let mut options = ClientOptions::new(address);
    options.reconnect.give_up = Some(reconnect_for);
    options.reconnect.max = Duration::from_millis(200);
    options
}

fn group() -> GroupName {
    group_name(GROUP)
}

fn group_name(name: &str) -> GroupName {
    GroupName::new(name).expect("a name")
}

fn subscription(name: &str) -> SubscriptionName {
    SubscriptionName::new(name).expect("a name")
}

/// Stands in every message, so that the proxy finds messages in a stream.
pub(crate) const MARK: [u8; 8] = *b"|record:";

/// The bytes that the message with this id has, always the same.
fn payload(id: Id, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(u64::from(id.producer) << 32 | u64::from(id.number));
    let mut payload = Vec::with_capacity(bytes + 16);
    payload.extend_from_slice(&id.producer.to_le_bytes());
    payload.extend_from_slice(&id.number.to_le_bytes());
    payload.extend_from_slice(&MARK);
    while payload.len() < bytes {
        payload.extend_from_slice(&random.next().to_le_bytes());
    }
    payload
}

/// Puts numbered messages.
pub(crate) struct Publisher {
    inner: treecast::client::Publisher,
    producer: u32,
    bytes: usize,
    next: u32,
}

impl Publisher {
    /// The id that the next message will have.
    pub(crate) fn next(&self) -> Id {
        Id { producer: self.producer, number: self.next + 1 }
    }

    /// Puts the next message; waits only while the window is full.
    pub(crate) async fn put(&mut self) -> Result<Ticket, String> {
        let id = self.next();
        self.next += 1;
        match self.inner.put(payload(id, self.bytes)).await {
            Ok(ticket) => Ok(Ticket(id, ticket)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A put on its way.
pub(crate) struct Ticket(Id, PutTicket);

impl Ticket {
    pub(crate) async fn answer(self) -> (Id, Put) {
        let put = match self.1.await {
            Ok(_) => Put::Answered,
            Err(ClientError::Refused(refusal)) => Put::Refused(refusal.code, refusal.message),
            Err(error) => Put::Failed(error.to_string()),
        };
        (self.0, put)
    }
}

/// Receives from a subscription, on one connection: when that breaks, it ends.
pub(crate) struct Inbox {
    inner: treecast::client::Subscriber,
    _client: Client,
}

impl Inbox {
    pub(crate) async fn open(address: &str, name: &str) -> Result<Self, String> {
        Connection::open_once(address).await?.inbox(GROUP, name).await
    }

    /// The next message, whose bytes are what was put.
    pub(crate) async fn next(&mut self) -> Result<(Id, Arrived), String> {
        loop {
            match self.inner.next().await.expect("there is always an end with a reason") {
                Ok(Delivery::Message(message)) => {
                    let number =
                        |at| u32::from_le_bytes(message.payload[at..at + 4].try_into().expect("4 bytes"));
                    let id = Id { producer: number(0), number: number(4) };
                    assert_eq!(message.payload, payload(id, message.payload.len()), "{id:?} has other bytes");
                    return Ok((id, Arrived(message)));
                }
                // Whether anything is lost the oracle knows.
                Ok(Delivery::Gap(gap)) if gap.cause == GapCause::Uncertain => gap.ack(),
                Ok(Delivery::Gap(gap)) => panic!("a gap: {gap:?}"),
                Ok(Delivery::Unordered(unordered)) => panic!("out of order: {unordered:?}"),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Takes all that comes, until nothing comes for a while; answers how many that were.
    pub(crate) async fn read_all(&mut self, history: &History) -> usize {
        let mut found = 0;
        while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), self.next()).await {
            let (id, message) = next.expect("the connection holds");
            history.note(Event::Delivered(id));
            message.ack();
            found += 1;
        }
        found
    }

    /// Waits until the acks of this connection are durable.
    pub(crate) async fn sync(&mut self) -> Result<(), String> {
        self.inner.flush_acks().await.map_err(|error| error.to_string())
    }
}

/// A message that was delivered.
pub(crate) struct Arrived(Received);

impl Arrived {
    pub(crate) fn ack(self) {
        self.0.ack();
    }
}
