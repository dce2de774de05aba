//! How clients, publishers and subscribers work, as far as the application decides.

use std::time::Duration;

use crate::id::{ProducerId, ProducerSequence};
use crate::limits;
use crate::wire::body::SubscriptionSpec;
use crate::wire::frame::AckLevel;

/// How long to wait between two attempts to connect. Each wait is drawn between
/// half of the delay and all of it, so that many clients do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay; [`limits::CLIENT_BACKOFF_MS_MIN`] by default. Doubled each time.
    pub first: Duration,
    /// The longest; [`limits::CLIENT_BACKOFF_MS_MAX`] by default.
    pub max: Duration,
    /// After so long without a session everything fails for good; `None`, the default: never.
    pub give_up: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(limits::CLIENT_BACKOFF_MS_MIN),
            max: Duration::from_millis(limits::CLIENT_BACKOFF_MS_MAX),
            give_up: None,
        }
    }
}

/// How a [`super::Client`] connects.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Where the relay listens: `host:port`.
    pub address: String,
    /// What the client calls itself, for the operator's lists; `client` by default.
    pub name: String,
    /// Time for one attempt to connect, the relay's hello included;
    /// [`limits::CLIENT_CONNECT_MS`] by default.
    pub connect_deadline: Duration,
    /// Time for a request to be answered, over a new connection if it must be;
    /// [`limits::CLIENT_REQUEST_MS`] by default.
    pub request_deadline: Duration,
    /// How to connect again when the connection is lost.
    pub reconnect: Backoff,
    /// Time between two pings: [`limits::CLIENT_PING_MS`] by default. After
    /// [`limits::CLIENT_PINGS_UNHEARD_MAX`] of them without a sign the
    /// connection counts as lost.
    pub ping_interval: Duration,
}

impl ClientOptions {
    /// The defaults, for a relay's address.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            name: "client".to_owned(),
            connect_deadline: Duration::from_millis(limits::CLIENT_CONNECT_MS),
            request_deadline: Duration::from_millis(limits::CLIENT_REQUEST_MS),
            reconnect: Backoff::default(),
            ping_interval: Duration::from_millis(limits::CLIENT_PING_MS),
        }
    }
}

/// How a [`super::Publisher`] works.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    /// Who puts. `None`: a random id that is forgotten soon after the last
    /// session; retries within the life of the publisher insert once. An id of
    /// one's own makes retries by a later process insert once too, if that
    /// process counts on with [`PublisherOptions::first_sequence`].
    pub producer: Option<ProducerId>,
    /// Number of the first message at this producer; 1 by default.
    pub first_sequence: ProducerSequence,
    /// Whether everything below [`PublisherOptions::first_sequence`] has been
    /// put and answered: true by default, as for the only process of a producer,
    /// which counts on by itself. The relay then takes whatever comes late from
    /// below for a repeat. False for one of several processes that are each told
    /// their numbers: this one knows nothing of lower ones, which may still come.
    /// What is missing between the numbers of a producer is remembered by the
    /// relay: at most [`limits::PRODUCER_RANGES_MAX`] gaps.
    pub counts_on: bool,
    /// When a put counts as done; on the relay's disk by default.
    pub level: AckLevel,
    /// With [`AckLevel::Stored`]: on how many relays' disks, the source relay among them; 2 by
    /// default. More than there are relays for the group fails at once.
    pub copies: u16,
    /// Messages without an answer, at most: then puts wait.
    /// [`limits::CLIENT_WINDOW_MESSAGES`] by default.
    pub window_messages: usize,
    /// Bytes without an answer, at most; a larger message goes alone.
    /// [`limits::CLIENT_WINDOW_BYTES`] by default.
    pub window_bytes: usize,
    /// Bytes gathered into one run; a larger message is a run of its own.
    /// [`limits::RUN_BYTES_TARGET`] by default.
    pub run_bytes: usize,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            producer: None,
            first_sequence: ProducerSequence(1),
            counts_on: true,
            level: AckLevel::Accepted,
            copies: 2,
            window_messages: limits::CLIENT_WINDOW_MESSAGES,
            window_bytes: limits::CLIENT_WINDOW_BYTES,
            run_bytes: limits::RUN_BYTES_TARGET,
        }
    }
}

/// Who acks messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// The application, each one: [`super::Received::ack`] or [`super::Batch::ack_all`].
    #[default]
    Manual,
    /// The subscriber: what it gave out is acked when the application asks for
    /// what comes next. After a crash, what was being worked on comes again.
    Auto,
}

/// How a [`super::Subscriber`] works.
#[derive(Clone, Debug)]
pub struct SubscriberOptions {
    /// How to make the subscription when it does not exist; `None`: it must
    /// exist. By default it is made, and begins with the next message. A queue
    /// is never made. Once attached, a subscription that an operator removes is
    /// not made again, since its backlog is gone.
    pub create: Option<SubscriptionSpec>,
    /// Messages fetched in advance, at most: those that the application has
    /// and has not come back from included. 1: no further one before the
    /// application asks for it, which spreads work evenly over competing
    /// receivers. 0: only what [`super::Subscriber::poll`] and [`super::Subscriber::get`]
    /// ask for. [`limits::WINDOW_DEFAULT`] by default.
    pub window: u32,
    /// Messages that it is given in all, at most; `None`, the default: no
    /// bound. What it would be given beyond and leave unacked would count as an
    /// attempt. Those that [`super::Subscriber::poll`] asks for are not bound by it.
    pub total: Option<u64>,
    /// Who acks.
    pub ack_mode: AckMode,
    /// How long it is tried to attach the first time while the relay says that it is not ready: the home
    /// of the subscription cannot be reached, for example. It may be longer than any answer is waited for
    /// ([`ClientOptions::request_deadline`]); `None`, the default: as long as that.
    pub attach_deadline: Option<Duration>,
}

impl Default for SubscriberOptions {
    fn default() -> Self {
        Self {
            create: Some(SubscriptionSpec::default()),
            window: limits::WINDOW_DEFAULT,
            total: None,
            ack_mode: AckMode::Manual,
            attach_deadline: None,
        }
    }
}
