//! What the home of subscriptions says to origins of quotas that are used up there (R7).
//!
//! It rides on a [`super::link::Receipt`] of the newest stream of each origin until that has answered:
//! it is state, so the newest word of a home counts, and what is not said means nothing new.

use serde::{Deserialize, Serialize};

use crate::id::SubscriptionName;
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};

/// Orders what one disk of a home says of a group: by boot, then by change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FullVersion {
    /// The boot of the home.
    pub boot: u64,
    /// Raised by one with every change within the boot: 1, 2, 3, …
    pub change: u64,
}

/// The quotas of a group that refuse puts. What was said by other ones than those that are in force
/// means nothing: they were changed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// Messages that the group may hold at one relay.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
    /// Bytes that the group may hold at one relay.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bytes: Option<u64>,
    /// Messages in the backlog of one subscription.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subscription_count: Option<u64>,
    /// Bytes in the backlog of one subscription.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subscription_bytes: Option<u64>,
}

impl Quotas {
    /// Those that refuse puts by these settings: what drops or evicts refuses nothing.
    #[must_use]
    pub fn of(settings: &GroupSettings) -> Self {
        let refuses = settings.subscription_policy == SubscriptionPolicy::Refuse;
        Self {
            count: settings.quota_count,
            bytes: settings.quota_bytes,
            subscription_count: settings.subscription_quota_count.filter(|_| refuses),
            subscription_bytes: settings.subscription_quota_bytes.filter(|_| refuses),
        }
    }

    /// The most messages and bytes that may ever be put at once.
    #[must_use]
    pub fn most_at_once(&self) -> (Option<u64>, Option<u64>) {
        let least = |of: [Option<u64>; 2]| of.into_iter().flatten().min();
        (least([self.count, self.subscription_count]), least([self.bytes, self.subscription_bytes]))
    }

    /// Whether nothing is ever refused.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the backlog of one subscription may refuse puts.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.subscription_count.is_some() || self.subscription_bytes.is_some()
    }
}

/// What a home says of the quotas of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    /// The newest counts.
    pub version: FullVersion,
    /// The quotas that it has gone by.
    pub quotas: Quotas,
    /// Subscriptions there whose own quota is used up, at most [`crate::limits::FULL_NAMES_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub subscriptions: Vec<SubscriptionName>,
    /// How many more there are.
    #[serde(skip_serializing_if = "crate::wire::is_zero", default)]
    pub left_off: u64,
    /// The quota of the group is used up by what subscriptions there are owed, and this one holds back
    /// most of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<SubscriptionName>,
}

impl Full {
    /// Bytes of the names in it.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.subscriptions.iter().chain(&self.group).map(|name| name.as_str().len()).sum()
    }
}
