//! Where a message is, asked of real relays: while it is held, when it was let go, after all were
//! killed, and while one of them is away.

use std::time::Duration;

use serde_json::Value;

use super::commands::{good, json, run};
use super::site::Network;
use super::traffic::wait_for;

/// How long the one message lives that is to expire.
const TTL: Duration = Duration::from_secs(4);

fn of<'v>(found: &'v Value, relay: &str) -> &'v Value {
    let relays = found["relays"].as_array().expect("a list");
    relays.iter().find(|one| one["relay"] == relay).unwrap_or_else(|| panic!("no {relay}: {found}"))
}

fn fate(found: &Value, relay: &str, name: &str) -> String {
    let subscriptions = of(found, relay)["subscriptions"].as_array().expect("a list");
    let said = subscriptions.iter().find(|one| one["name"] == name);
    said.unwrap_or_else(|| panic!("no {name}: {found}"))["fate"].as_str().expect("a word").to_owned()
}

/// Every hop: where from, and when.
fn hops(found: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let relays = found["relays"].as_array().expect("a list");
    relays.iter().map(|one| (text(&one["relay"]), text(&one["from"]), text(&one["arrived"]))).collect()
}

/// The message that some expect and that nobody but `pending` is owed any more.
fn check(network: &Network, id: &str, way: &[(String, String, String)], states: [&str; 3]) {
    for place in 0..3 {
        let found = json(network.address(place), &["where", id]);
        assert_eq!(hops(&found), way, "asked at {place}: {found}");
        let said = ["a", "b", "c"].map(|relay| of(&found, relay)["state"].as_str().expect("a word"));
        assert_eq!(said, states, "asked at {place}: {found}");
        assert_eq!(fate(&found, "c", "reads"), "acked");
        assert_eq!(fate(&found, "c", "eu"), "filtered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r18_where_tells_every_hop_and_every_fate_also_after_release_and_after_all_were_killed() {
    let mut network = Network::line(3).await;
    network.wait_links(1, 2).await;
    let (a, b, c) =
        (network.address(0).to_owned(), network.address(1).to_owned(), network.address(2).to_owned());
    good(&c, &["subscription", "create", "load", "reads"]);
    good(&c, &["subscription", "create", "load", "eu", "--filter", "eu/#"]);
    good(&b, &["subscription", "create", "load", "slow"]);
    let ttl = format!("{}ms", TTL.as_millis());
    let old = good(&a, &["put", "load", "one", "--subject", "us/ny", "--ttl", &ttl]).trim().to_owned();
    let new = good(&a, &["put", "load", "two", "--subject", "us/ny"]).trim().to_owned();
    assert_eq!(good(&c, &["get", "load", "--as", "reads", "-n", "2"]), "one\ntwo\n");
    let at_c = |id: &str| fate(&json(&c, &["where", id]), "c", "reads");
    wait_for("it is acked", async || at_c(&new) == "acked").await;
    let found = json(&a, &["where", &old]);
    assert_eq!((fate(&found, "c", "eu"), fate(&found, "b", "slow")), ("filtered".into(), "pending".into()));
    let way = hops(&found);
    let from: Vec<_> = way.iter().map(|hop| (&*hop.0, &*hop.1)).collect();
    assert_eq!(from, [("a", "-"), ("b", "a"), ("c", "b")]);
    // `eu` passes it over now: of one that is both expired and filtered, it is told that it is expired.
    assert_eq!(run(&c, &["poll", "load", "--as", "eu"]).code, Some(3));
    // Nobody is owed anything when its time is over and `slow` has passed it over.
    tokio::time::sleep(TTL).await;
    assert_eq!(good(&b, &["poll", "load", "--as", "slow"]), "two\n");
    let state = |relay: &str, at: &str| of(&json(at, &["where", &old]), relay)["state"].clone();
    for (relay, at) in [("a", &a), ("b", &b), ("c", &c)] {
        wait_for("it is let go", async || state(relay, at) == "released").await;
    }
    let check_old = |network: &Network| {
        check(network, &old, &way, ["released"; 3]);
        assert_eq!(fate(&json(&c, &["where", &old]), "b", "slow"), "expired");
    };
    check_old(&network);
    for place in 0..3 {
        network.kill(place);
    }
    for place in 0..3 {
        network.begin(place);
    }
    wait_for("all answer", async || {
        let found = json(&a, &["where", &old]);
        found["relays"].as_array().is_some_and(|relays| relays.len() == 3)
    })
    .await;
    // What was let go and is not yet overwritten is there again after a crash, and let go once more.
    for (relay, at) in [("a", &a), ("b", &b), ("c", &c)] {
        wait_for("it is let go again", async || state(relay, at) == "released").await;
    }
    check_old(&network);
    // One that waits, and the relay behind it that is away.
    let last = good(&a, &["put", "load", "three", "--subject", "us/ny"]).trim().to_owned();
    wait_for("it is at c", async || run(&c, &["where", &last, "--local"]).code == Some(0)).await;
    wait_for("a has c's receipt", async || {
        let found = json(&a, &["where", &last]);
        of(&found, "a")["released"] == true
    })
    .await;
    network.kill(2);
    wait_for("c is known to be away", async || {
        json(&a, &["where", &last])["silent"][0]["reachable"] == false
    })
    .await;
    let found = json(&a, &["where", &last]);
    assert_eq!(fate(&found, "b", "slow"), "pending");
    let away = &found["silent"][0];
    assert_eq!((&away["relay"], &away["receipt"]["durable"]), (&"c".into(), &true.into()), "{found}");
    assert_eq!(away["subscriptions"].as_array().map(Vec::len), Some(2));
    let text = good(&b, &["where", &last]);
    assert!(text.contains("cannot be reached") && text.contains("pending"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r18_a_message_that_nobody_has_had_is_told_with_a_code() {
    let network = Network::line(2).await;
    network.wait_links(0, 1).await;
    let id = good(network.address(0), &["put", "load", "one"]).trim().to_owned();
    let (rest, _) = id.rsplit_once(':').expect("a sequence");
    let later = format!("{rest}:99");
    for place in 0..2 {
        let done = run(network.address(place), &["where", &later]);
        assert_eq!(done.code, Some(3), "{done:?}");
        assert!(done.said.contains("no relay that has answered has had message 99 of `load`"), "{done:?}");
    }
    assert_eq!(run(network.address(0), &["where", "nonsense"]).code, Some(2));
}
