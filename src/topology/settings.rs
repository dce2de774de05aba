//! What may be set for a group, in the one form that the topology file, the
//! wire and the relay core share.
//!
//! Units are last in every name: durations are milliseconds (`*_ms`), sizes
//! are bytes (`*_bytes`), counts are records (`*_count`). A field that is
//! `None` was not set; the accessors name the default that then acts. Settings
//! travel as a map of the fields that were set, so a field added later is
//! ignored by an older relay and absent from an older relay's message.
//!
//! This module must not know where settings come from: [`GroupSettings::check`]
//! names fields, and the caller turns a field into a line of a file or a key of
//! a request.

use serde::{Deserialize, Serialize};

use crate::limits;

/// How the multicast tree of a group is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TreeKind {
    /// One tree for all origins: least total link cost, which is what a group
    /// with many origins wants. The default.
    #[default]
    Shared,
    /// One shortest-path tree per origin: least delay, more links in use.
    Source,
}

/// What happens to a subscription whose backlog passed its quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SubscriptionPolicy {
    /// Origins refuse new puts into the group, naming the subscription. The
    /// default: it is the only choice that loses nothing.
    #[default]
    Refuse,
    /// The oldest records of that backlog are dropped and a GAP stands in
    /// their place; nobody else is touched.
    DropOldest,
    /// The subscription is removed, and whoever receives from it is told so.
    Evict,
}

/// In which order the messages of one producer are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fifo {
    /// In the order of each relay at which it puts. The default: nothing waits.
    #[default]
    Origin,
    /// In the order of its own sequence, also when it has moved to another
    /// relay: a message waits for those before it, at most `producer_hold_ms`.
    Producer,
}

impl Fifo {
    fn is_origin(&self) -> bool {
        *self == Self::Origin
    }
}

/// The settings of one group. All are optional; the default of each is in the
/// accessor of the same meaning, or "no limit".
///
/// One flat struct although it is wide: it is a map of independent settings on
/// the wire and in the file, and nesting would make the two differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupSettings {
    /// Records older than this are deleted even when they are still owed; a GAP
    /// stands in their place. Milliseconds, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// Beyond this many bytes the oldest records are deleted even when owed; a
    /// GAP stands in their place. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Beyond this many records the oldest are deleted even when owed; a GAP
    /// stands in their place. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
    /// Records that nobody is owed any more are kept this long for replay.
    /// Milliseconds; not set: not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_age_ms: Option<u64>,
    /// At most this many bytes of records are kept for replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_bytes: Option<u64>,
    /// At most this many records are kept for replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_count: Option<u64>,
    /// Puts are refused while the group holds this many bytes. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Puts are refused while the group holds this many records. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_count: Option<u64>,
    /// Records that one subscription's backlog may hold before
    /// `subscription_policy` acts. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_quota_count: Option<u64>,
    /// Bytes that one subscription's backlog may hold before
    /// `subscription_policy` acts. At least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_quota_bytes: Option<u64>,
    /// What happens to a subscription past its quota.
    pub subscription_policy: SubscriptionPolicy,
    /// A record older than this is not delivered, unless it names a time to
    /// live of its own. Milliseconds, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// How many times a record is delivered before it goes to `dead_letter`
    /// (or is dropped and counted when there is none). At least 1; not set: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deliver: Option<u32>,
    /// Wait before the second, third, … delivery, in milliseconds; the last one
    /// repeats. Empty: redelivered at once. At most [`BACKOFF_STEPS_MAX`] steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backoff_ms: Vec<u64>,
    /// The group that takes records delivered `max_deliver` times in vain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// The largest message a put may carry, 1..=[`limits::MESSAGE_BYTES_MAX`]. See
    /// [`GroupSettings::message_bytes_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<u64>,
    /// How long a delivered record may stay unacknowledged before it is
    /// delivered again. Milliseconds, at least 1. See
    /// [`GroupSettings::ack_wait_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_wait_ms: Option<u64>,
    /// How long the ranges of a silent producer are remembered; an older retry
    /// is refused. Milliseconds, at least 1. See
    /// [`GroupSettings::producer_idle_max_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer_idle_max_ms: Option<u64>,
    /// How the tree of the group is computed.
    pub tree: TreeKind,
    /// In which order the messages of one producer are handed out.
    #[serde(skip_serializing_if = "Fifo::is_origin")]
    pub fifo: Fifo,
    /// With `fifo` by producer: how long a message waits for those before it.
    /// Milliseconds, 1..=[`limits::PRODUCER_HOLD_MS_MAX`]. See
    /// [`GroupSettings::producer_hold_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer_hold_ms: Option<u64>,
}

impl GroupSettings {
    /// The largest message in bytes: what was set, else
    /// [`limits::MESSAGE_BYTES_DEFAULT`].
    #[must_use]
    pub fn message_bytes_max(&self) -> u64 {
        self.max_message_bytes.unwrap_or(limits::MESSAGE_BYTES_DEFAULT)
    }

    /// The wait for an ack in milliseconds: what was set, else
    /// [`limits::ACK_WAIT_MS_DEFAULT`].
    #[must_use]
    pub fn ack_wait_ms(&self) -> u64 {
        self.ack_wait_ms.unwrap_or(limits::ACK_WAIT_MS_DEFAULT)
    }

    /// How long a silent producer is remembered, in milliseconds: what was set,
    /// else [`limits::PRODUCER_IDLE_MS_DEFAULT`].
    #[must_use]
    pub fn producer_idle_max_ms(&self) -> u64 {
        self.producer_idle_max_ms.unwrap_or(limits::PRODUCER_IDLE_MS_DEFAULT)
    }

    /// How long a message waits for earlier ones of its producer, in milliseconds:
    /// what was set, else [`limits::PRODUCER_HOLD_MS_DEFAULT`].
    #[must_use]
    pub fn producer_hold_ms(&self) -> u64 {
        self.producer_hold_ms.unwrap_or(limits::PRODUCER_HOLD_MS_DEFAULT)
    }

    /// Every setting of `group` whose value is outside its range. Empty when
    /// all is well. The same comparison serves the topology file and a request
    /// that came over the wire.
    #[must_use]
    pub fn check(&self, group: &str) -> Vec<SettingsFault> {
        let mut faults = Vec::new();
        for (field, value, least, most) in self.ranges() {
            if value.is_some_and(|found| found < least || found > most) {
                let found = value.unwrap_or_default();
                faults.push(SettingsFault::OutOfRange { field, found, least, most });
            }
        }
        if self.backoff_ms.len() > BACKOFF_STEPS_MAX {
            faults.push(SettingsFault::TooManySteps { found: self.backoff_ms.len() });
        }
        if let Some(&found) = self.backoff_ms.iter().find(|&&step| step > SETTING_MS_MAX) {
            let (least, most) = (0, SETTING_MS_MAX);
            faults.push(SettingsFault::OutOfRange { field: "backoff_ms", found, least, most });
        }
        if self.dead_letter.as_deref() == Some(group) {
            faults.push(SettingsFault::DeadLetterToItself);
        }
        faults
    }

    /// Field, value, least and most of every setting that is a number.
    fn ranges(&self) -> [(&'static str, Option<u64>, u64, u64); 16] {
        let any = u64::MAX;
        [
            ("max_age_ms", self.max_age_ms, 1, SETTING_MS_MAX),
            ("max_bytes", self.max_bytes, 1, any),
            ("max_count", self.max_count, 1, any),
            ("history_age_ms", self.history_age_ms, 0, SETTING_MS_MAX),
            ("history_bytes", self.history_bytes, 0, any),
            ("history_count", self.history_count, 0, any),
            ("quota_bytes", self.quota_bytes, 1, any),
            ("quota_count", self.quota_count, 1, any),
            ("subscription_quota_count", self.subscription_quota_count, 1, any),
            ("subscription_quota_bytes", self.subscription_quota_bytes, 1, any),
            ("ttl_ms", self.ttl_ms, 1, SETTING_MS_MAX),
            ("max_deliver", self.max_deliver.map(u64::from), 1, u64::from(u32::MAX)),
            ("max_message_bytes", self.max_message_bytes, 1, limits::MESSAGE_BYTES_MAX),
            ("ack_wait_ms", self.ack_wait_ms, 1, SETTING_MS_MAX),
            ("producer_idle_max_ms", self.producer_idle_max_ms, 1, SETTING_MS_MAX),
            ("producer_hold_ms", self.producer_hold_ms, 1, limits::PRODUCER_HOLD_MS_MAX),
        ]
    }
}

/// A setting that cannot be taken. All are the operator's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsFault {
    /// A number is below or above what the setting allows.
    #[error("{field} is {found}, must be {least} to {most}")]
    OutOfRange {
        /// The field of [`GroupSettings`].
        field: &'static str,
        /// The value that was given.
        found: u64,
        /// The least value allowed.
        least: u64,
        /// The greatest value allowed.
        most: u64,
    },
    /// `backoff_ms` has more than [`BACKOFF_STEPS_MAX`] steps.
    #[error("backoff_ms has {found} steps, must be at most {BACKOFF_STEPS_MAX}")]
    TooManySteps {
        /// The number of steps that was given.
        found: usize,
    },
    /// `dead_letter` names the group itself, so a record would go round for
    /// ever.
    #[error("dead_letter names the group itself, must be another group")]
    DeadLetterToItself,
}

impl SettingsFault {
    /// The field of [`GroupSettings`] that is at fault.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::OutOfRange { field, .. } => field,
            Self::TooManySteps { .. } => "backoff_ms",
            Self::DeadLetterToItself => "dead_letter",
        }
    }
}

/// The longest duration of any setting: 100 years, so that a time plus a
/// setting never overflows.
pub const SETTING_MS_MAX: u64 = 100 * 365 * 24 * 3_600_000;
/// The most steps of a back-off: 64, more than any retry plan needs.
pub const BACKOFF_STEPS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_right_and_has_the_documented_defaults() {
        let settings = GroupSettings::default();
        assert_eq!(settings.check("a"), []);
        assert_eq!(settings.message_bytes_max(), 16_777_216);
        assert_eq!(settings.ack_wait_ms(), 30_000);
        assert_eq!(settings.producer_idle_max_ms(), 604_800_000);
        assert_eq!(settings.tree, TreeKind::Shared);
        assert_eq!(settings.fifo, Fifo::Origin);
        assert_eq!(settings.producer_hold_ms(), 5_000);
        assert_eq!(settings.subscription_policy, SubscriptionPolicy::Refuse);
    }

    #[test]
    fn check_names_every_field_at_fault() {
        let settings = GroupSettings {
            max_age_ms: Some(0),
            max_deliver: Some(0),
            max_message_bytes: Some(limits::MESSAGE_BYTES_MAX + 1),
            ack_wait_ms: Some(SETTING_MS_MAX + 1),
            producer_hold_ms: Some(limits::PRODUCER_HOLD_MS_MAX + 1),
            backoff_ms: vec![SETTING_MS_MAX + 1; BACKOFF_STEPS_MAX + 1],
            dead_letter: Some("a".to_owned()),
            ..GroupSettings::default()
        };
        let fields: Vec<_> = settings.check("a").iter().map(SettingsFault::field).collect();
        let expected = [
            "max_age_ms",
            "max_deliver",
            "max_message_bytes",
            "ack_wait_ms",
            "producer_hold_ms",
            "backoff_ms",
            "backoff_ms",
            "dead_letter",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        let settings = GroupSettings {
            max_message_bytes: Some(limits::MESSAGE_BYTES_MAX),
            ttl_ms: Some(SETTING_MS_MAX),
            backoff_ms: vec![SETTING_MS_MAX; BACKOFF_STEPS_MAX],
            max_bytes: Some(u64::MAX),
            max_deliver: Some(1),
            history_count: Some(0),
            ..GroupSettings::default()
        };
        assert_eq!(settings.check("a"), []);
    }

    #[test]
    fn settings_travel_as_a_map_of_what_was_set() {
        let settings = GroupSettings { ttl_ms: Some(5), tree: TreeKind::Source, ..GroupSettings::default() };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(text, r#"{"subscription_policy":"refuse","ttl_ms":5,"tree":"source"}"#);
        assert_eq!(serde_json::from_str::<GroupSettings>(&text).unwrap(), settings);
        let by_producer =
            GroupSettings { fifo: Fifo::Producer, producer_hold_ms: Some(700), ..settings.clone() };
        let text = serde_json::to_string(&by_producer).unwrap();
        assert!(text.ends_with(r#""fifo":"producer","producer_hold_ms":700}"#), "{text}");
        assert_eq!(serde_json::from_str::<GroupSettings>(&text).unwrap(), by_producer);
        let newer = r#"{"ttl_ms":5,"tree":"source","of_a_later_version":1}"#;
        assert_eq!(serde_json::from_str::<GroupSettings>(newer).unwrap(), settings);
        let mut bytes = Vec::new();
        ciborium::into_writer(&settings, &mut bytes).unwrap();
        assert_eq!(ciborium::from_reader::<GroupSettings, _>(&bytes[..]).unwrap(), settings);
    }
}
