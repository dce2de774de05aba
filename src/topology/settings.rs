//! The settings of a group: one type for the topology file, the wire and the core.

use serde::{Deserialize, Serialize};

use crate::limits;

/// What a subscription's quota does when it is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubscriptionPolicy {
    /// New puts to the group are refused, naming the subscription.
    #[default]
    Refuse,
    /// The oldest messages of the subscription are dropped; a GAP tells it so.
    DropOldest,
    /// The subscription is removed.
    Evict,
}

/// Which tree a group gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeKind {
    /// One tree for all origins.
    #[default]
    Shared,
    /// A shortest-path tree per origin.
    Source,
}

/// The settings of a group. `None` means no limit, unless the field says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSettings {
    /// Messages older than this are deleted, owed or not; milliseconds.
    pub max_age_ms: Option<u64>,
    /// The oldest messages over so many bytes are deleted, owed or not.
    pub max_bytes: Option<u64>,
    /// The oldest messages over so many are deleted, owed or not.
    pub max_count: Option<u64>,
    /// Messages are kept so long for replay, consumed or not; milliseconds.
    pub history_age_ms: Option<u64>,
    /// So many bytes of messages are kept for replay, consumed or not.
    pub history_bytes: Option<u64>,
    /// So many messages are kept for replay, consumed or not.
    pub history_count: Option<u64>,
    /// Puts are refused while backlogs hold so many bytes.
    pub quota_bytes: Option<u64>,
    /// Puts are refused while backlogs hold so many messages.
    pub quota_count: Option<u64>,
    /// Messages that one subscription may hold back.
    pub subscription_quota_count: Option<u64>,
    /// Bytes that one subscription may hold back.
    pub subscription_quota_bytes: Option<u64>,
    /// What happens to a subscription that holds back more.
    pub subscription_policy: SubscriptionPolicy,
    /// Milliseconds after which a message that names no other is of no use any more.
    pub ttl_ms: Option<u64>,
    /// Deliveries of one message before it is dead-lettered: 1 or more.
    pub max_deliver: Option<u32>,
    /// Milliseconds before the second, third, … delivery; the last one repeats. Empty: at once.
    pub backoff_ms: Vec<u64>,
    /// The group that takes messages that could not be delivered; `None`: they are dropped and counted.
    pub dead_letter: Option<String>,
    /// Largest payload; `None`: [`limits::MESSAGE_BYTES_DEFAULT`].
    pub max_message_bytes: Option<u64>,
    /// Milliseconds a receiver may take to ack; `None`: [`limits::ACK_WAIT_MS_DEFAULT`].
    pub ack_wait_ms: Option<u64>,
    /// Milliseconds a producer is remembered; `None`: [`limits::PRODUCER_IDLE_MS_DEFAULT`].
    pub producer_idle_max_ms: Option<u64>,
    /// Which tree.
    pub tree: TreeKind,
}

impl GroupSettings {
    /// Largest payload in bytes.
    #[must_use]
    pub fn message_bytes_max(&self) -> u64 {
        self.max_message_bytes.unwrap_or(limits::MESSAGE_BYTES_DEFAULT).min(limits::MESSAGE_BYTES_MAX)
    }

    /// Milliseconds a receiver may take to ack.
    #[must_use]
    pub fn ack_wait_ms(&self) -> u64 {
        self.ack_wait_ms.unwrap_or(limits::ACK_WAIT_MS_DEFAULT)
    }

    /// Milliseconds a producer is remembered.
    #[must_use]
    pub fn producer_idle_max_ms(&self) -> u64 {
        self.producer_idle_max_ms.unwrap_or(limits::PRODUCER_IDLE_MS_DEFAULT)
    }
}
