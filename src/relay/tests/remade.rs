//! Subscriptions and groups that are made again under their names: nothing that was said of the ones
//! before is about them.

use super::harness::{Harness, group, sub};
use crate::wire::body::{Reply, Request, Start, SubscriptionSpec};

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
