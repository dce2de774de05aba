//! Subscriptions and groups that are made again under their names: nothing that was said of the ones
//! before is about them.

use super::harness::{Harness, group, sub};
use crate::id::{RelayId, StorageId};
use crate::limits;
use crate::wire::body::{Reply, Request, Start, SubscriptionSpec, encode};
use crate::wire::link::{Fact, GroupId, NameEntry, Version};

/// Attaches, and makes the subscription if it is not there; its handle, and where it stands.
fn attach(h: &mut Harness) -> (u32, u64) {
    let create = Some(SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() });
    match h.request(Request::Attach { group: group("g"), name: Some(sub("s")), create }) {
        Ok(Reply::SubscriptionHandle { handle, moves, .. }) => (handle, moves),
        other => panic!("{other:?}"),
    }
}

fn remove_subscription(h: &mut Harness) {
    assert_eq!(h.request(Request::SubscriptionRemove { group: group("g"), name: sub("s") }), Ok(Reply::Done));
}

fn remove_group(h: &mut Harness) {
    assert_eq!(h.request(Request::GroupRemove { group: group("g") }), Ok(Reply::Done));
}

/// A receiver says acks again that may be lost, unless `moves` is another one.
fn come_back(h: &mut Harness, before: u64, acked: u64) -> u32 {
    let (handle, moves) = attach(h);
    if moves == before {
        h.ack(handle, 1, acked);
    }
    handle
}

#[test]
fn whoever_comes_back_can_tell_that_its_subscription_or_group_was_made_again() {
    let mut h = Harness::new();
    let first = attach(&mut h).1;
    assert_eq!(attach(&mut h).1, first, "it is the same one");
    remove_subscription(&mut h);
    let second = attach(&mut h).1;
    assert_ne!(second, first, "the subscription is another one");
    remove_group(&mut h);
    let third = attach(&mut h).1;
    assert!(third != second && third != first, "the group is another one");
    let snapshot = h.snapshot();
    h.crash(&snapshot);
    assert_eq!(attach(&mut h).1, third, "also after a restart");
}

#[test]
fn acks_of_a_group_that_was_removed_are_not_said_to_the_one_in_its_place() {
    let mut h = Harness::new();
    let (handle, before) = attach(&mut h);
    h.credit(handle, 10);
    let g = h.open("g");
    h.put(g, &["a", "b", "c"]);
    let acked = h.got.last().unwrap().index + 1;
    h.got.clear();
    // Its acks do not come, and it is away meanwhile.
    remove_group(&mut h);
    let (other, _) = attach(&mut h);
    h.credit(other, 10);
    let g = h.open("g");
    h.put(g, &["x", "y", "z"]);
    assert_eq!(h.payloads(), ["x", "y", "z"], "to somebody who does not ack them");
    let handle = come_back(&mut h, before, acked);
    h.credit(handle, 10);
    assert_eq!(h.payloads(), ["x", "y", "z"]);
}

#[test]
fn p12_a_relay_that_has_lost_many_subscriptions_with_its_disk_still_tells_its_status() {
    let mut h = Harness::apart();
    let version = Version { counter: 1, storage: StorageId([9; 16]) };
    let known = |number: u32| {
        let group = GroupId { name: group(&format!("g{}", number % 500)), incarnation: 0 };
        let (name, home) = (sub(&format!("s{number:0>100}")), RelayId::new("r").unwrap());
        Fact::Name(NameEntry { group, name, home, version, spec: Some(SubscriptionSpec::default()) })
    };
    h.meet((0..6_000).map(known).collect());
    let status = h.request(Request::Status);
    let bytes = encode(&status).len();
    assert!(bytes <= limits::CONTROL_BYTES_MAX, "{bytes} bytes: nobody is told them");
    let Ok(Reply::Status(status)) = status else { panic!("{status:?}") };
    assert_eq!(status.subscriptions, 6_000);
    let told = |text: &str| status.warnings.iter().any(|warning| warning.contains(text));
    assert!(told("12 subscriptions of group g0 were made again"), "{:#?}", status.warnings);
    assert!(told("more warnings"), "{:#?}", status.warnings);
}
