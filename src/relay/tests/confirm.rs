//! Questions for who knows of a new subscription.

use super::harness::Harness;
use crate::id::StorageId;
use crate::wire::body::{RefusalCode, Request, SubscribeLevel, SubscriptionSpec};
use crate::wire::link::{Advertised, Fact, LinkMessage, LinkState, Version};

/// The neighbour says that it has a link to this relay.
fn neighbour() -> LinkMessage {
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let mut state = LinkState::new("o".parse().unwrap(), version);
    state.links = vec![Advertised { neighbour: "r".parse().unwrap(), cost: 1, is_up: true }];
    LinkMessage::Facts(vec![Fact::LinkState(state)])
}

/// Whoever does not answer may have too much to do already.
#[test]
fn s43_who_has_not_confirmed_is_asked_again_less_and_less_often() {
    let mut h = Harness::linked();
    h.hear(neighbour());
    h.pass_ms(2_000);
    h.said.clear();
    let request = h.ask(Request::SubscriptionCreate {
        group: "g".parse().unwrap(),
        name: "s".parse().unwrap(),
        spec: SubscriptionSpec { within_ms: Some(20_000), ..SubscriptionSpec::default() },
    });
    let asked = |h: &mut Harness, ms| {
        h.pass_ms(ms);
        std::mem::take(&mut h.said).iter().filter(|said| matches!(said, LinkMessage::Ask(_))).count()
    };
    assert_eq!(asked(&mut h, 0), 1, "at once");
    assert_eq!(asked(&mut h, 250), 1, "once more, soon: it may have been lost with a link");
    let more = asked(&mut h, 19_000);
    assert!((4..=8).contains(&more), "{more} questions in 19 s");
    assert!(!h.answers.contains_key(&request), "it waits");
    let last = asked(&mut h, 1_000);
    assert!(last <= 1, "{last} questions at its end");
    assert!(h.answers.remove(&request).expect("its time is over").is_err());
    assert_eq!(asked(&mut h, 60_000), 0);
}

#[test]
fn p5_strict_is_not_said_by_a_relay_that_has_met_nobody_since_its_start() {
    let mut h = Harness::apart();
    let request = h.ask(Request::SubscriptionCreate {
        group: "g".parse().unwrap(),
        name: "s".parse().unwrap(),
        spec: SubscriptionSpec {
            level: SubscribeLevel::Strict,
            within_ms: Some(100),
            ..SubscriptionSpec::default()
        },
    });
    h.pass_ms(200);
    let refusal = h.answers.remove(&request).expect("its time is over").expect_err("nobody has confirmed it");
    assert_eq!(refusal.code, RefusalCode::Deadline, "{refusal}");
    assert!(refusal.message.contains("in time: o;"), "{refusal}");
}
