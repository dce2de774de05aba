//! Lists that end before they are longer than a frame: whoever asked goes on behind the last one.

use crate::limits;
use crate::wire::body::{GroupInfo, Location, SubscriptionInfo};

/// Bytes at which a page ends, about. What is longer alone has a page of its own.
const PAGE_BYTES: usize = limits::CONTROL_BYTES_MAX / 2;

/// Bytes that these take at the most, beside names and lists.
const GROUP_BYTES: usize = 1200;
const STREAM_BYTES: usize = 130;
const SUBSCRIPTION_BYTES: usize = 600;
const LOCATION_BYTES: usize = 80;

/// As many from the first on as fit.
pub(super) fn page<T>(items: impl Iterator<Item = T>, bytes: impl Fn(&T) -> usize) -> Vec<T> {
    let (mut page, mut sum) = (Vec::new(), 0);
    for item in items {
        sum += bytes(&item);
        if sum > PAGE_BYTES && !page.is_empty() {
            break;
        }
        page.push(item);
    }
    page
}

/// Bytes that a group takes in a list, at the most.
pub(super) fn group_bytes(info: &GroupInfo) -> usize {
    let settings = &info.settings;
    let named = settings.dead_letter.as_ref().map_or(0, String::len) + 9 * settings.backoff_ms.len();
    let moves = info.moves.as_ref().map_or(0, |_| 2 * limits::NAME_BYTES_MAX);
    let streams: usize = info.streams.iter().map(|s| STREAM_BYTES + s.origin.as_str().len()).sum();
    GROUP_BYTES + info.name.as_str().len() + named + moves + streams
}

/// Bytes that a subscription takes in a list, at the most.
pub(super) fn subscription_bytes(info: &SubscriptionInfo) -> usize {
    let names = info.group.as_str().len() + info.name.as_str().len() + info.home.as_str().len();
    let filter = info.filter.as_ref().map_or(0, String::len);
    let from = info.comes_from.as_ref().map_or(0, |relay| relay.as_str().len());
    let moving = info.moving.as_ref().map_or(0, |moving| {
        let waits: usize = moving.waits_for.iter().map(|relay| 3 + relay.as_str().len()).sum();
        moving.to.as_str().len() + waits + moving.refusal.as_ref().map_or(0, |refusal| refusal.message.len())
    });
    let also: usize = info.also_at.iter().map(|relay| 3 + relay.as_str().len()).sum();
    SUBSCRIPTION_BYTES + names + filter + from + moving + also
}

/// Bytes that a location takes in a list, at the most.
pub(super) fn location_bytes(at: &Location) -> usize {
    let name = at.subscription.as_ref().map_or(0, |name| name.as_str().len());
    let filter = at.filter.as_ref().map_or(0, String::len);
    LOCATION_BYTES + at.group.as_str().len() + name + at.home.as_str().len() + filter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, Index, RelayId, Sequence, StorageId, StreamNumber};
    use crate::topology::settings::GroupSettings;
    use crate::wire::body::{MoveInfo, MoveStage, Outcomes, Refusal, RefusalCode, StreamInfo, encode};

    fn longest() -> RelayId {
        RelayId::new(&"n".repeat(limits::NAME_BYTES_MAX)).unwrap()
    }

    fn group() -> GroupInfo {
        let stream = StreamInfo {
            number: StreamNumber(u32::MAX),
            origin: longest(),
            epoch: Epoch { storage: StorageId([255; 16]), counter: u64::MAX, nonce: u64::MAX },
            last: Sequence(u64::MAX),
            sealed: true,
        };
        let n = Some(u64::MAX);
        let settings = GroupSettings {
            max_age_ms: n,
            max_bytes: n,
            max_count: n,
            history_age_ms: n,
            history_bytes: n,
            history_count: n,
            quota_bytes: n,
            quota_count: n,
            subscription_quota_count: n,
            subscription_quota_bytes: n,
            ttl_ms: n,
            max_deliver: Some(u32::MAX),
            backoff_ms: vec![u64::MAX; 100],
            dead_letter: Some("n".repeat(limits::NAME_BYTES_MAX)),
            max_message_bytes: n,
            ack_wait_ms: n,
            producer_idle_max_ms: n,
            producer_hold_ms: n,
            ..GroupSettings::default()
        };
        GroupInfo {
            name: "n".repeat(limits::NAME_BYTES_MAX).parse().unwrap(),
            queue: true,
            settings,
            low: Index(u64::MAX),
            next: Index(u64::MAX),
            messages: u64::MAX,
            bytes: u64::MAX,
            subscriptions: u64::MAX,
            streams: vec![stream; 20],
            order: None,
            elsewhere: u64::MAX,
            moves: None,
            full: Vec::new(),
        }
    }

    fn subscription() -> SubscriptionInfo {
        let n = u64::MAX;
        SubscriptionInfo {
            group: "n".repeat(limits::NAME_BYTES_MAX).parse().unwrap(),
            name: "n".repeat(limits::NAME_BYTES_MAX).parse().unwrap(),
            home: longest(),
            shared: true,
            filter: Some("f".repeat(1024)),
            floor: Index(n),
            next: Index(n),
            backlog: n,
            in_flight: n,
            parked: n,
            receivers: u32::MAX,
            window: u32::MAX,
            inserted: n,
            out: Outcomes {
                acked: n,
                filtered: n,
                expired: n,
                evicted: n,
                dead_lettered: n,
                skipped: n,
                lost: n,
                passed: n,
                moved: n,
            },
            aside: n,
            moving: Some(Box::new(MoveInfo {
                to: longest(),
                stage: MoveStage::HandingOver,
                waits_for: vec![longest(); 100],
                messages: n,
                refusal: Some(Refusal::new(RefusalCode::Invalid, "because".repeat(100))),
                merge: true,
            })),
            comes_from: Some(longest()),
            also_at: vec![longest(); 8].into(),
        }
    }

    #[test]
    fn p12_pages_of_the_longest_groups_and_subscriptions_fit_into_a_frame() {
        let groups = page(std::iter::repeat_n(group(), 1000), group_bytes);
        assert!(groups.len() > 10 && encode(&groups).len() <= PAGE_BYTES, "{}", encode(&groups).len());
        let moving = page(std::iter::repeat_n(subscription(), 1000), subscription_bytes);
        assert!(moving.len() > 10 && encode(&moving).len() <= PAGE_BYTES, "{}", encode(&moving).len());
        let at = |of: SubscriptionInfo, filter| Location {
            group: of.group,
            subscription: Some(of.name),
            home: of.home,
            forgotten: true,
            shared: Some(true),
            filter,
        };
        for filter in [Some("f".repeat(1024)), Some("f".to_owned())] {
            let located = page(std::iter::repeat_n(at(subscription(), filter), 9000), location_bytes);
            assert!(located.len() > 10 && encode(&located).len() <= PAGE_BYTES, "{}", encode(&located).len());
        }
    }
}
