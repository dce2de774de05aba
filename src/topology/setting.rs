//! Reads the settings of groups and queues from their tables.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::de::DeValue;

use super::check::show_setting;
use super::file::check_name_of;
use super::read::{Field, Reader, Value};
use super::settings::{Fifo, GroupSettings, SubscriptionPolicy, TreeKind};
use crate::units::shorten;

/// The keys of a group and the fields of [`GroupSettings`] they set.
pub(super) const SETTING_KEYS: &[(&str, &str)] = &[
    ("max_age", "max_age_ms"),
    ("max_bytes", "max_bytes"),
    ("max_count", "max_count"),
    ("history_age", "history_age_ms"),
    ("history_bytes", "history_bytes"),
    ("history_count", "history_count"),
    ("quota_bytes", "quota_bytes"),
    ("quota_count", "quota_count"),
    ("quota_policy", ""),
    ("subscription_quota_count", "subscription_quota_count"),
    ("subscription_quota_bytes", "subscription_quota_bytes"),
    ("subscription_quota_policy", "subscription_policy"),
    ("ttl", "ttl_ms"),
    ("max_deliver", "max_deliver"),
    ("backoff", "backoff_ms"),
    ("dead_letter", "dead_letter"),
    ("max_message_size", "max_message_bytes"),
    ("ack_wait", "ack_wait_ms"),
    ("producer_idle_max", "producer_idle_max_ms"),
    ("tree", "tree"),
    ("fifo", "fifo"),
    ("producer_hold", "producer_hold_ms"),
];

/// Reads one setting of a group; whether there is such a setting.
pub(super) fn read_setting(
    reader: &mut Reader,
    field: Field<'_>,
    value: &Value<'_>,
    settings: &mut GroupSettings,
) -> bool {
    let any = 0..=u64::MAX;
    match field.key {
        "max_age" => settings.max_age_ms = reader.duration_ms(field, value),
        "max_bytes" => settings.max_bytes = reader.size(field, value),
        "max_count" => settings.max_count = reader.count(field, value, any),
        "history_age" => settings.history_age_ms = reader.duration_ms(field, value),
        "history_bytes" => settings.history_bytes = reader.size(field, value),
        "history_count" => settings.history_count = reader.count(field, value, any),
        "quota_bytes" => settings.quota_bytes = reader.size(field, value),
        "quota_count" => settings.quota_count = reader.count(field, value, any),
        "quota_policy" => read_quota_policy(reader, field, value),
        "subscription_quota_count" => settings.subscription_quota_count = reader.count(field, value, any),
        "subscription_quota_bytes" => settings.subscription_quota_bytes = reader.size(field, value),
        "subscription_quota_policy" => {
            settings.subscription_policy = reader.word(field, value, POLICIES).unwrap_or_default();
        }
        "ttl" => settings.ttl_ms = reader.duration_ms(field, value),
        "max_deliver" => {
            let times = reader.count(field, value, 1..=u64::from(u32::MAX));
            settings.max_deliver = times.and_then(|times| u32::try_from(times).ok());
        }
        "backoff" => settings.backoff_ms = read_backoff(reader, field, value),
        "dead_letter" => settings.dead_letter = read_dead_letter(reader, field, value),
        "max_message_size" => settings.max_message_bytes = reader.size(field, value),
        "ack_wait" => settings.ack_wait_ms = reader.duration_ms(field, value),
        "producer_idle_max" => settings.producer_idle_max_ms = reader.duration_ms(field, value),
        "fifo" => settings.fifo = reader.word(field, value, FIFOS).unwrap_or_default(),
        "producer_hold" => settings.producer_hold_ms = reader.duration_ms(field, value),
        "tree" => settings.tree = reader.word(field, value, TREES).unwrap_or_default(),
        _ => return false,
    }
    true
}

const POLICIES: &[(&str, SubscriptionPolicy)] = &[
    ("refuse", SubscriptionPolicy::Refuse),
    ("drop-oldest", SubscriptionPolicy::DropOldest),
    ("evict", SubscriptionPolicy::Evict),
];
const FIFOS: &[(&str, Fifo)] = &[("origin", Fifo::Origin), ("producer", Fifo::Producer)];
const TREES: &[(&str, TreeKind)] = &[("shared", TreeKind::Shared), ("source", TreeKind::Source)];

/// The quota of a whole group can only refuse: nobody in particular is to
/// blame, so nobody's records may be dropped.
fn read_quota_policy(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) {
    let other = |text: &&str| *text != "refuse" && POLICIES.iter().any(|(word, _)| word == text);
    let Some(text) = value.get_ref().as_str().filter(other) else {
        let _ = reader.word(field, value, &[("refuse", ())]);
        return;
    };
    let advice = format!("write subscription_quota_policy = {text:?} to act on single subscriptions");
    let why = format!("is {text:?}, must be \"refuse\"");
    reader.bad_value(field, value.span().into(), &why, Some(advice));
}

fn read_backoff(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) -> Vec<u64> {
    let DeValue::Array(steps) = value.get_ref() else {
        let advice = value.get_ref().as_str().map(|text| format!("write [{:?}]", shorten(text)));
        reader.wrong_type(field, value, "a list of durations such as [\"1s\", \"10s\"]", advice);
        return Vec::new();
    };
    steps.iter().filter_map(|step| reader.duration_ms(field, step)).collect()
}

fn read_dead_letter(reader: &mut Reader, field: Field<'_>, value: &Value<'_>) -> Option<String> {
    let name = reader.text(field, value, "the name of a group")?;
    let of = format!("dead_letter {:?} of {}", shorten(name), field.of);
    check_name_of(reader, &of, name, value.span().into());
    Some(name.to_owned())
}

/// What is set of a group: keys, and values as the file writes them. What is not there has its default.
pub(crate) fn written(settings: &GroupSettings) -> BTreeMap<&'static str, String> {
    let set = serde_json::to_value(settings).unwrap_or_default();
    let unset = serde_json::to_value(GroupSettings::default()).unwrap_or_default();
    let text = |field: &str, value: &Json| match value {
        Json::Number(number) => show_setting(field, number.as_u64().unwrap_or_default()),
        Json::Array(steps) => {
            let steps = steps.iter().filter_map(Json::as_u64);
            format!("[{}]", steps.map(|step| show_setting(field, step)).collect::<Vec<_>>().join(", "))
        }
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Object(_) => value.to_string(),
    };
    let keys = SETTING_KEYS.iter().filter(|(_, field)| set.get(field) != unset.get(field));
    keys.filter_map(|(key, field)| Some((*key, text(field, set.get(field)?)))).collect()
}
