//! Subscriptions that are away for longer than their quota lasts.

use std::time::Instant;

use super::commands::{good, json, run};
use super::process::{PATIENCE, RelayProcess, Start};

/// Waits until the relay has applied its quotas: it does so every second or so.
fn wait_until(what: &str, is_done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// A group with a quota of three messages and one subscription, to which six are put.
fn fill(relay: &RelayProcess, policy: &str) -> Vec<Option<i32>> {
    let words =
        ["group", "create", policy, "--subscription-quota-count", "3", "--subscription-policy", policy];
    good(&relay.address, &words);
    good(&relay.address, &["subscription", "create", policy, "away"]);
    let texts = ["one", "two", "three", "four", "five", "six"];
    texts.map(|text| run(&relay.address, &["put", policy, text]).code).to_vec()
}

#[test]
fn f46_each_policy_leaves_a_record() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    let address = &relay.address;

    // Whoever puts is told who is in the way, and that it may pass.
    let codes = fill(&relay, "refuse");
    assert_eq!(codes, [Some(0), Some(0), Some(0), Some(75), Some(75), Some(75)]);
    let refused = run(address, &["put", "refuse", "seven"]);
    assert!(
        refused.said.contains("subscription `away` of group `refuse` holds 3 messages of its quota of 3"),
        "{refused:?}"
    );
    let books = json(address, &["books", "refuse"]);
    assert_eq!((&books["balanced"], &books["refused"]["quota"]), (&true.into(), &4.into()), "{books}");

    assert_eq!(fill(&relay, "drop-oldest"), vec![Some(0); 6]);
    let backlog = |group: &str| json(address, &["subscription", "show", group, "away"])["backlog"].clone();
    wait_until("the oldest are dropped", || backlog("drop-oldest") == 3);
    assert_eq!(fill(&relay, "evict"), vec![Some(0); 6]);
    wait_until("it is evicted", || run(address, &["subscription", "show", "evict", "away"]).code == Some(3));
    let books = json(address, &["books"]);
    assert_eq!(books["balanced"], true, "{books}");

    // What was dropped is durable within a second; a crash before would deliver it after all.
    relay.stop();
    let relay = Start::new(data.path()).start();
    let address = &relay.address;
    let dropped = run(address, &["poll", "drop-oldest", "--as", "away", "-n", "10"]);
    assert_eq!((dropped.code, dropped.output.as_str()), (Some(0), "four\nfive\nsix\n"), "{dropped:?}");
    assert!(dropped.said.contains("is missing: the subscription's quota dropped them"), "{dropped:?}");
    assert_eq!(json(address, &["subscription", "show", "drop-oldest", "away"])["backlog"], 0);

    // The evicted one comes back and is told, once.
    let evicted = run(address, &["poll", "evict", "--as", "away", "--output", "json"]);
    let gap: serde_json::Value = serde_json::from_str(&evicted.output).expect("one object");
    assert_eq!(gap["gap"]["cause"], "evicted", "{evicted:?}");
    assert!(gap["gap"]["to"].as_u64() >= Some(8), "six messages behind the first record: {gap}");
    good(address, &["put", "evict", "seven"]);
    let after = run(address, &["poll", "evict", "--as", "away"]);
    assert_eq!((after.code, after.output.as_str()), (Some(0), "seven\n"), "{after:?}");
    assert!(!after.said.contains("missing"), "{after:?}");

    let refused = run(address, &["poll", "refuse", "--as", "away", "-n", "10"]);
    assert_eq!(refused.output, "one\ntwo\nthree\n");
    good(address, &["put", "refuse", "eight"]);
    relay.stop();
}
