//! What does not fit this relay's log: the harness takes a mebibyte at once.

use super::harness::{Harness, body};
use super::links::{Theirs, between};
use crate::log::Entry;
use crate::topology::settings::GroupSettings;
use crate::wire::body::SubscriptionSpec;
use crate::wire::frame::{AckKind, AckLevel};
use crate::wire::link::LinkMessage;

/// A relay with larger segments has taken what fits into none of this relay's: the log would refuse it,
/// and that ends the relay.
#[test]
fn a_run_that_this_relays_log_cannot_take_is_not_given_to_it() {
    let (mut first, second) = (Theirs::begin(1), Theirs::begin(2));
    first.put("a");
    first.put(&"x".repeat(2 << 20));
    let mut h = between(&first, &second);
    first.send(&mut h, 0..3);
    assert_eq!(h.payloads().len(), 1, "what fits is taken and delivered");
    let longest = h.log.iter().map(|entry| match entry {
        Entry::Run(run) => run.run.body.len(),
        Entry::State(state) => state.len(),
    });
    assert!(longest.max().unwrap_or(0) <= 1 << 20, "the log takes no more at once");
}

/// What goes before is there at once, and what follows when the relay has larger segments.
#[test]
fn what_is_too_long_is_told_and_asked_for_less_and_less_until_it_fits() {
    let (mut first, second) = (Theirs::begin(1), Theirs::begin(2));
    first.put(&"x".repeat(2 << 20));
    first.put("b");
    let mut h = between(&first, &second);
    first.send(&mut h, 0..3);
    let mut asked = 0;
    for _ in 0..300 {
        h.pass_ms(1_000);
        let said = std::mem::take(&mut h.said);
        if said.iter().any(|said| matches!(said, LinkMessage::Pull(_))) {
            asked += 1;
            first.send(&mut h, 1..3);
        }
    }
    assert!((1..=14).contains(&asked), "asked for in {asked} of 300 seconds");
    assert_eq!(h.payloads(), [""; 0], "what follows waits for it");
    let warnings = h.relay.warnings();
    assert!(
        matches!(warnings, [one] if one.contains("group g ") && one.contains("--segment-bytes")),
        "{warnings:?}"
    );
    h.relay.options.run_bytes_max = 4 << 20;
    first.send(&mut h, 1..3);
    assert_eq!(h.payloads().len(), 2);
}

/// It was taken before the relay was started with smaller segments.
#[test]
fn a_dead_letter_that_does_not_fit_waits_until_it_does() {
    let mut h = Harness::new();
    h.set("g", GroupSettings { dead_letter: Some("dead".into()), ..GroupSettings::default() });
    h.subscribe("g", "s", SubscriptionSpec::default());
    let g = h.open("g");
    let s = h.attach("g", "s");
    h.credit(s, 100);
    let d = h.attach("dead", "d");
    h.credit(d, 100);
    h.put_with(g, body(&[&"x".repeat(1000)]), None, AckLevel::Accepted);
    let index = h.got[0].index;
    h.relay.options.run_bytes_max = 500;
    h.say(s, AckKind::Reject, index, index + 1, 0);
    h.pass_ms(10_000);
    assert_eq!((h.info("g", "s").out.dead_lettered, h.info("dead", "d").backlog), (0, 0));
    h.relay.options.run_bytes_max = 1 << 20;
    h.pass_ms(10_000);
    assert_eq!((h.info("g", "s").out.dead_lettered, h.info("dead", "d").backlog), (1, 1));
    assert!(h.books().balanced);
}
