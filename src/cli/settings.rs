//! Settings of groups and queues, as options of the command line.

use clap::{Args, ValueEnum};

use crate::id::GroupName;
use crate::limits;
use crate::topology::settings::{Fifo, GroupSettings, SubscriptionPolicy, TreeKind};

use super::human;
use super::table::Facts;
use super::values::{self, Millis, MillisList};

/// The settings. Every option that is left out keeps what is set, or the default.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// Delete messages older than this, even those somebody still waits for
    #[arg(long, value_name = "DURATION", value_parser = values::positive_millis)]
    pub max_age: Option<Millis>,
    /// Delete the oldest messages over so many bytes, even those somebody still waits for
    #[arg(long, value_name = "SIZE", value_parser = values::positive_bytes)]
    pub max_bytes: Option<u64>,
    /// Delete the oldest messages over so many, even those somebody still waits for
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub max_count: Option<u64>,
    /// Keep messages so long for replay, also when all have acked them
    #[arg(long, value_name = "DURATION", value_parser = values::millis)]
    pub history_age: Option<Millis>,
    /// Keep so many bytes of messages for replay, also when all have acked them
    #[arg(long, value_name = "SIZE", value_parser = values::bytes)]
    pub history_bytes: Option<u64>,
    /// Keep so many messages for replay, also when all have acked them
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub history_count: Option<u64>,
    /// Refuse puts, at all relays, while backlogs at one hold so many bytes
    #[arg(long, value_name = "SIZE", value_parser = values::positive_bytes)]
    pub quota_bytes: Option<u64>,
    /// Refuse puts, at all relays, while backlogs at one hold so many messages
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub quota_count: Option<u64>,
    /// Bytes that one subscription may hold back
    #[arg(long, value_name = "SIZE", value_parser = values::positive_bytes)]
    pub subscription_quota_bytes: Option<u64>,
    /// Messages that one subscription may hold back
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub subscription_quota_count: Option<u64>,
    /// What happens when a subscription holds back more; `refuse`: puts at all relays [default: refuse]
    #[arg(long, visible_alias = "subscription-quota-policy", value_enum, value_name = "POLICY")]
    pub subscription_policy: Option<Policy>,
    /// After this time a message that names no other is of no use any more
    #[arg(long, value_name = "DURATION", value_parser = values::positive_millis)]
    pub ttl: Option<Millis>,
    /// Deliver a message so often at most; then it goes to the dead-letter group, and is dropped,
    /// counted as dead-lettered, when --dead-letter names none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_deliver: Option<u32>,
    /// Wait before the second, third, … delivery, like `1s,5s,30s`; the last one repeats
    #[arg(long, value_name = "DURATIONS", value_parser = values::millis_list)]
    pub backoff: Option<MillisList>,
    /// The group that takes messages that could not be delivered, with the reason
    #[arg(long, value_name = "GROUP")]
    pub dead_letter: Option<GroupName>,
    /// Refuse larger messages [default: 16MiB, at most 64MiB]
    #[arg(long, value_name = "SIZE", value_parser = message_bytes)]
    pub max_message_bytes: Option<u64>,
    /// A receiver may take so long to ack before the message is delivered again [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_millis)]
    pub ack_wait: Option<Millis>,
    /// Remember a producer so long after its last message [default: 7d]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_millis)]
    pub producer_idle_max: Option<Millis>,
    /// One tree for all origins, or one of shortest paths for each [default: shared]
    #[arg(long, value_enum, value_name = "KIND")]
    pub tree: Option<Tree>,
    /// The order in which the messages of a producer are handed out when it moves from relay to
    /// relay [default: origin]
    #[arg(long, value_enum, value_name = "ORDER")]
    pub fifo: Option<FifoOrder>,
    /// With --fifo producer a message waits so long for those before it [default: 5s, at most 1h]
    #[arg(long, value_name = "DURATION", value_parser = producer_hold)]
    pub producer_hold: Option<Millis>,
}

fn producer_hold(text: &str) -> Result<Millis, String> {
    match values::positive_millis(text)? {
        Millis(ms) if ms > limits::PRODUCER_HOLD_MS_MAX => {
            Err(format!("it is over {}, the most", human::millis(limits::PRODUCER_HOLD_MS_MAX)))
        }
        millis => Ok(millis),
    }
}

fn message_bytes(text: &str) -> Result<u64, String> {
    match values::bytes(text)? {
        0 => Err("no message fits into 0 bytes".to_owned()),
        bytes if bytes > limits::MESSAGE_BYTES_MAX => {
            Err(format!("it is over {}, the most a relay takes", human::bytes(limits::MESSAGE_BYTES_MAX)))
        }
        bytes => Ok(bytes),
    }
}

/// What a subscription's quota does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Puts to the group are refused, naming the subscription
    Refuse,
    /// Its oldest messages are dropped; a GAP tells it so
    DropOldest,
    /// It is removed
    Evict,
}

/// Which tree a group gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tree {
    /// One tree for all origins
    Shared,
    /// A shortest-path tree for each origin
    Source,
}

/// In which order a producer's messages are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FifoOrder {
    /// That of each relay at which it puts
    Origin,
    /// That of its own sequence: a message waits for those before it, at most --producer-hold
    Producer,
}

/// A setting that can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "each is the option of the same name")]
pub enum Field {
    MaxAge,
    MaxBytes,
    MaxCount,
    HistoryAge,
    HistoryBytes,
    HistoryCount,
    QuotaBytes,
    QuotaCount,
    SubscriptionQuotaBytes,
    SubscriptionQuotaCount,
    SubscriptionPolicy,
    Ttl,
    MaxDeliver,
    Backoff,
    DeadLetter,
    MaxMessageBytes,
    AckWait,
    ProducerIdleMax,
    Tree,
    Fifo,
    ProducerHold,
}

impl SettingsArgs {
    /// Whether this setting is given, with another value than its default.
    #[must_use]
    pub fn sets(&self, field: Field) -> bool {
        let mut given = GroupSettings::default();
        self.apply(&mut given);
        let mut without = given.clone();
        field.unset(&mut without);
        given != without
    }

    /// Puts what was given in the place of what is set.
    pub fn apply(&self, settings: &mut GroupSettings) {
        let ms = |given: Option<Millis>| given.map(|given| given.0);
        replace(&mut settings.max_age_ms, ms(self.max_age));
        replace(&mut settings.max_bytes, self.max_bytes);
        replace(&mut settings.max_count, self.max_count);
        replace(&mut settings.history_age_ms, ms(self.history_age));
        replace(&mut settings.history_bytes, self.history_bytes);
        replace(&mut settings.history_count, self.history_count);
        replace(&mut settings.quota_bytes, self.quota_bytes);
        replace(&mut settings.quota_count, self.quota_count);
        replace(&mut settings.subscription_quota_bytes, self.subscription_quota_bytes);
        replace(&mut settings.subscription_quota_count, self.subscription_quota_count);
        replace(&mut settings.ttl_ms, ms(self.ttl));
        replace(&mut settings.max_deliver, self.max_deliver);
        replace(&mut settings.dead_letter, self.dead_letter.clone().map(String::from));
        replace(&mut settings.max_message_bytes, self.max_message_bytes);
        replace(&mut settings.ack_wait_ms, ms(self.ack_wait));
        replace(&mut settings.producer_idle_max_ms, ms(self.producer_idle_max));
        if let Some(policy) = self.subscription_policy {
            settings.subscription_policy = match policy {
                Policy::Refuse => SubscriptionPolicy::Refuse,
                Policy::DropOldest => SubscriptionPolicy::DropOldest,
                Policy::Evict => SubscriptionPolicy::Evict,
            };
        }
        if let Some(MillisList(backoff)) = &self.backoff {
            settings.backoff_ms.clone_from(backoff);
        }
        if let Some(tree) = self.tree {
            settings.tree = match tree {
                Tree::Shared => TreeKind::Shared,
                Tree::Source => TreeKind::Source,
            };
        }
        replace(&mut settings.producer_hold_ms, ms(self.producer_hold));
        if let Some(fifo) = self.fifo {
            settings.fifo = match fifo {
                FifoOrder::Origin => Fifo::Origin,
                FifoOrder::Producer => Fifo::Producer,
            };
        }
    }
}

fn replace<T>(set: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *set = given;
    }
}

impl Field {
    /// Takes the setting back to its default.
    pub fn unset(self, settings: &mut GroupSettings) {
        match self {
            Self::MaxAge => settings.max_age_ms = None,
            Self::MaxBytes => settings.max_bytes = None,
            Self::MaxCount => settings.max_count = None,
            Self::HistoryAge => settings.history_age_ms = None,
            Self::HistoryBytes => settings.history_bytes = None,
            Self::HistoryCount => settings.history_count = None,
            Self::QuotaBytes => settings.quota_bytes = None,
            Self::QuotaCount => settings.quota_count = None,
            Self::SubscriptionQuotaBytes => settings.subscription_quota_bytes = None,
            Self::SubscriptionQuotaCount => settings.subscription_quota_count = None,
            Self::SubscriptionPolicy => settings.subscription_policy = SubscriptionPolicy::default(),
            Self::Ttl => settings.ttl_ms = None,
            Self::MaxDeliver => settings.max_deliver = None,
            Self::Backoff => settings.backoff_ms.clear(),
            Self::DeadLetter => settings.dead_letter = None,
            Self::MaxMessageBytes => settings.max_message_bytes = None,
            Self::AckWait => settings.ack_wait_ms = None,
            Self::ProducerIdleMax => settings.producer_idle_max_ms = None,
            Self::Tree => settings.tree = TreeKind::default(),
            Self::Fifo => settings.fifo = Fifo::default(),
            Self::ProducerHold => settings.producer_hold_ms = None,
        }
    }
}

/// Adds those settings that differ from the defaults, and the three bounds that always hold.
pub(super) fn add_facts(settings: &GroupSettings, facts: &mut Facts) {
    let count = |value: Option<u64>| value.map(human::count);
    let bytes = |value: Option<u64>| value.map(human::bytes);
    let millis = |value: Option<u64>| value.map(human::millis);
    facts.add_some("max-age", millis(settings.max_age_ms));
    facts.add_some("max-bytes", bytes(settings.max_bytes));
    facts.add_some("max-count", count(settings.max_count));
    facts.add_some("history-age", millis(settings.history_age_ms));
    facts.add_some("history-bytes", bytes(settings.history_bytes));
    facts.add_some("history-count", count(settings.history_count));
    facts.add_some("quota-bytes", bytes(settings.quota_bytes));
    facts.add_some("quota-count", count(settings.quota_count));
    facts.add_some("subscription-quota-bytes", bytes(settings.subscription_quota_bytes));
    facts.add_some("subscription-quota-count", count(settings.subscription_quota_count));
    match settings.subscription_policy {
        SubscriptionPolicy::Refuse => {}
        SubscriptionPolicy::DropOldest => facts.add("subscription-policy", "drop-oldest"),
        SubscriptionPolicy::Evict => facts.add("subscription-policy", "evict"),
    }
    facts.add_some("ttl", millis(settings.ttl_ms));
    facts.add_some("max-deliver", settings.max_deliver.map(|n| n.to_string()));
    if !settings.backoff_ms.is_empty() {
        let backoff = settings.backoff_ms.iter().map(|ms| human::millis(*ms)).collect::<Vec<_>>();
        facts.add("backoff", backoff.join(", "));
    }
    facts.add_some("dead-letter", settings.dead_letter.clone());
    facts.add("max-message-bytes", human::bytes(settings.message_bytes_max()));
    facts.add("ack-wait", human::millis(settings.ack_wait_ms()));
    facts.add("producer-idle-max", human::millis(settings.producer_idle_max_ms()));
    match settings.tree {
        TreeKind::Shared => {}
        TreeKind::Source => facts.add("tree", "source"),
    }
    if settings.fifo == Fifo::Producer {
        facts.add("fifo", "producer");
        facts.add("producer-hold", human::millis(settings.producer_hold_ms()));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: SettingsArgs,
    }

    /// Every option, each with another value.
    const ALL: &[&str] = &[
        "x",
        "--max-age=1s",
        "--max-bytes=2",
        "--max-count=3",
        "--history-age=4s",
        "--history-bytes=5",
        "--history-count=6",
        "--quota-bytes=7",
        "--quota-count=8",
        "--subscription-quota-bytes=9",
        "--subscription-quota-count=10",
        "--subscription-policy=drop-oldest",
        "--ttl=11s",
        "--max-deliver=12",
        "--backoff=13s,14s",
        "--dead-letter=dead",
        "--max-message-bytes=15",
        "--ack-wait=16s",
        "--producer-idle-max=17s",
        "--tree=source",
        "--fifo=producer",
        "--producer-hold=18s",
    ];

    fn all() -> GroupSettings {
        GroupSettings {
            max_age_ms: Some(1000),
            max_bytes: Some(2),
            max_count: Some(3),
            history_age_ms: Some(4000),
            history_bytes: Some(5),
            history_count: Some(6),
            quota_bytes: Some(7),
            quota_count: Some(8),
            subscription_quota_bytes: Some(9),
            subscription_quota_count: Some(10),
            subscription_policy: SubscriptionPolicy::DropOldest,
            ttl_ms: Some(11_000),
            max_deliver: Some(12),
            backoff_ms: vec![13_000, 14_000],
            dead_letter: Some("dead".to_owned()),
            max_message_bytes: Some(15),
            ack_wait_ms: Some(16_000),
            producer_idle_max_ms: Some(17_000),
            tree: TreeKind::Source,
            fifo: Fifo::Producer,
            producer_hold_ms: Some(18_000),
        }
    }

    #[test]
    fn every_setting_has_an_option() {
        let mut settings = GroupSettings::default();
        Line::parse_from(ALL).settings.apply(&mut settings);
        assert_eq!(settings, all());
    }

    #[test]
    fn what_is_not_given_stays() {
        let mut settings = all();
        Line::parse_from(["x"]).settings.apply(&mut settings);
        assert_eq!(settings, all());
    }

    #[test]
    fn a_setting_of_nothing_is_refused_with_its_option() {
        for option in ["--ack-wait", "--ttl", "--max-age", "--producer-idle-max", "--max-bytes"] {
            let value = if option == "--max-bytes" { "0" } else { "0s" };
            let error = Line::try_parse_from(["x", option, value]).err().unwrap().to_string();
            assert!(error.contains(option) && error.contains("or more"), "{error}");
        }
    }

    #[test]
    fn a_setting_is_not_given_and_taken_back_at_once() {
        let given = Line::parse_from(["x", "--ttl", "1h", "--backoff", "1s"]).settings;
        assert!(given.sets(Field::Ttl) && given.sets(Field::Backoff));
        assert!(!given.sets(Field::MaxAge));
    }

    #[test]
    fn every_setting_can_be_taken_back() {
        let mut settings = all();
        for field in Field::value_variants() {
            let before = settings.clone();
            field.unset(&mut settings);
            assert_ne!(settings, before, "{field:?} changed nothing");
        }
        assert_eq!(settings, GroupSettings::default());
    }

    #[test]
    fn a_producer_is_held_for_an_hour_at_the_most() {
        assert!(producer_hold("0s").is_err());
        assert_eq!(producer_hold("1h"), Ok(Millis(limits::PRODUCER_HOLD_MS_MAX)));
        assert!(producer_hold("61m").unwrap_err().contains("1h"));
    }

    #[test]
    fn a_message_limit_is_within_what_a_relay_takes() {
        assert!(message_bytes("0").is_err());
        assert_eq!(message_bytes("64MiB"), Ok(limits::MESSAGE_BYTES_MAX));
        assert!(message_bytes("65MiB").is_err());
    }
}
