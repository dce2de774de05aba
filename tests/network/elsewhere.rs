//! Get, poll and notify at any relay of the network: a – b – c, and what lives at c (R12).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use treecast::client::{Client, ClientError, Delivery, Message, PublisherOptions, SubscriberOptions};
use treecast::id::GroupName;

use super::commands::{command, good, json, run};
use super::site::Network;
use super::traffic::{PATIENCE, wait_for};

/// Whether a relay knows of something that lives at c.
fn is_known(at: &str, name: &str) -> bool {
    run(at, &["locate", name, "--output", "json"]).output.contains("\"c\"")
}

/// A queue at c that all three relays know of.
async fn queue_at_the_end(network: &Network, name: &str) {
    good(network.address(2), &["queue", "create", name]);
    for place in 0..2 {
        let at = network.address(place);
        wait_for("it is known", async || is_known(at, name)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_queue_is_got_from_at_another_relay_and_a_home_that_is_away_is_named() {
    let mut network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    queue_at_the_end(&network, "jobs").await;
    let a = network.address(0).to_owned();
    for number in 1..=5 {
        good(&a, &["put", "jobs", &format!("job {number}")]);
    }
    assert_eq!(good(&a, &["get", "jobs", "-n", "3", "--wait", "30s"]), "job 1\njob 2\njob 3\n");
    let show = json(&a, &["queue", "show", "jobs"]);
    assert_eq!((&show["home"], &show["backlog"]["backlog"]), (&"c".into(), &2.into()), "{show}");
    assert_eq!(show["subscriptions"], 1, "its home's, not one of this relay: {show}");
    let listed = good(&a, &["queue", "list"]);
    assert!(listed.lines().any(|line| line.starts_with("jobs") && line.ends_with(" 1")), "{listed}");
    network.kill(2);
    wait_for("it is seen to be away", async || run(&a, &["poll", "jobs"]).code != Some(0)).await;
    let away = run(&a, &["poll", "jobs"]);
    assert!(away.code == Some(75) && away.said.contains("relay c"), "{away:?}");
    let away = run(&a, &["get", "jobs", "--wait", "500ms"]);
    assert!(away.code == Some(75) && away.said.contains("relay c"), "it is named: {away:?}");
    // Who waits for ever waits for the home, too.
    let waits = command(&a, &["get", "jobs"]).stdout(Stdio::piped()).spawn().expect("it starts");
    tokio::time::sleep(Duration::from_secs(3)).await;
    network.begin(2);
    let got = waits.wait_with_output().expect("it ends");
    assert_eq!((got.status.code(), &*got.stdout), (Some(0), &b"job 4\n"[..]));
    wait_for("it is reached", async || run(&a, &["queue", "show", "jobs"]).said.is_empty()).await;
    assert_eq!(good(&a, &["get", "jobs", "--wait", "30s"]), "job 5\n");
    assert_eq!(run(&a, &["poll", "jobs"]).code, Some(3), "each was acked once");
}

/// Subscriptions too: named anywhere, made once, listed everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_subscription_is_one_wherever_it_is_named() {
    let network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    let (a, c) = (network.address(0), network.address(2));
    good(c, &["subscription", "create", "news", "me"]);
    wait_for("it is known", async || is_known(a, "news")).await;
    good(a, &["put", "news", "one"]);
    assert_eq!(good(a, &["get", "news", "--as", "me", "--wait", "30s"]), "one\n");
    let located = good(a, &["locate", "news"]);
    assert_eq!(located.matches("me").count(), 1, "no twin was made: {located}");
    let listed = json(a, &["subscription", "list", "news"]);
    assert_eq!((&listed["subscription"], &listed["home"]), (&"me".into(), &"c".into()), "{listed}");
    let group = good(a, &["group", "show", "news"]);
    assert!(group.contains("subscriptions      0 here, 1 elsewhere\n"), "{group}");
    assert_eq!(json(a, &["group", "show", "news"])["subscriptions_elsewhere"], 1);
    assert_eq!(run(a, &["subscription", "create", "news", "me", "--shared"]).code, Some(1));
    good(a, &["subscription", "remove", "news", "me"]);
    assert_eq!(run(c, &["subscription", "show", "news", "me"]).code, Some(3));
    let nowhere = run(c, &["locate", "news"]);
    assert!(nowhere.said.contains("group news has no subscription anywhere"), "{nowhere:?}");
}

/// A subscription whose home is away is listed with what everybody knows of it, and without numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_subscription_whose_home_is_away_is_listed() {
    let mut network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    let (a, c) = (network.address(0).to_owned(), network.address(2).to_owned());
    good(&c, &["subscription", "create", "news", "me", "--shared", "--filter", "eu/#"]);
    wait_for("it is known", async || is_known(&a, "news")).await;
    let shown = json(&a, &["subscription", "list", "news"]);
    assert_eq!((&shown["state"], &shown["backlog"]), (&"home-reached".into(), &0.into()), "{shown}");
    network.kill(2);
    wait_for("it is seen to be away", async || {
        run(&a, &["subscription", "show", "news", "me"]).code == Some(75)
    })
    .await;
    let listed = run(&a, &["subscription", "list", "news"]);
    assert!(listed.said.contains("me of news lives at relay c, which cannot be reached now"), "{listed:?}");
    let row = listed.output.lines().nth(1).expect("a row");
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, ["me (shared)", "-", "-", "-", "-", "-", "eu/#", "c", "home away"], "{listed:?}");
    let shown = json(&a, &["subscription", "list", "news"]);
    let known = ["group", "subscription", "home", "filter", "state"].map(|key| shown[key].as_str());
    assert_eq!(known, ["news", "me", "c", "eu/#", "home-away"].map(Some), "{shown}");
    assert_eq!(shown["shared"], true, "{shown}");
    for key in ["backlog", "floor", "inserted", "out", "receivers"] {
        assert!(shown.get(key).is_some_and(serde_json::Value::is_null), "{key}: {shown}");
    }
}

/// What a receiver at a has seen of a queue at c.
#[derive(Default)]
struct Seen {
    /// How often each message came.
    got: BTreeMap<String, u32>,
    /// Acked, and that was confirmed to be on the disk of c.
    settled: BTreeSet<String>,
    /// Acked, and it was said that some of these may come again.
    unsure: BTreeSet<String>,
}

impl Seen {
    /// Nothing is missing, and no more acks are in doubt than two homes that were killed can take along.
    fn check(&self, name: &str, count: usize) {
        let all: BTreeSet<&String> = self.settled.union(&self.unsure).collect();
        assert_eq!((self.got.len(), all.len()), (count, count));
        let (again, unsure) = (self.got.values().map(|times| times - 1).sum::<u32>(), self.unsure.len());
        super::process::say(&format!(
            "{name}: {count} messages, {again} of them came again, {unsure} acks unconfirmed"
        ));
        assert!(unsure <= 100, "each home had less than 50 acks to be confirmed: {unsure}");
    }
}

/// Takes messages until all are there; each is acked, and every few acks are confirmed.
async fn take_all(address: &str, count: usize) -> Seen {
    let client = Client::connect(address).await.expect("a is there");
    let queue = GroupName::new("jobs").expect("a name");
    let mut subscriber = client.queue(queue, SubscriberOptions::default()).await.expect("it is attached");
    let (mut seen, mut acked) = (Seen::default(), Vec::new());
    while seen.got.len() < count {
        let next = tokio::time::timeout(PATIENCE, subscriber.next()).await;
        let Some(Ok(Delivery::Message(message))) = next.expect("it comes in time") else {
            panic!("it ended")
        };
        let payload = String::from_utf8(message.payload.to_vec()).expect("text");
        assert!(!seen.settled.contains(&payload), "{payload} came again after its ack was confirmed");
        *seen.got.entry(payload.clone()).or_default() += 1;
        message.ack();
        acked.push(payload);
        if acked.len() >= 50 || seen.got.len() == count {
            match subscriber.flush_acks().await {
                Ok(()) => seen.settled.extend(acked.drain(..)),
                // What the home had delivered and not synced when it was killed has another place now.
                Err(ClientError::AcksLost) => seen.unsure.extend(acked.drain(..)),
                Err(error) => panic!("the acks are confirmed, however long it takes: {error}"),
            }
        }
    }
    subscriber.close().await.expect("it is closed");
    client.close().await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_home_that_is_killed_under_a_receiver_elsewhere_loses_nothing_and_repeats_nothing_settled() {
    const COUNT: usize = 3000;
    let mut network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    queue_at_the_end(&network, "jobs").await;
    let (a, b) = (network.address(0).to_owned(), network.address(1).to_owned());
    let publisher = tokio::spawn(async move {
        let client = Client::connect(&b).await.expect("b is there");
        let queue = GroupName::new("jobs").expect("a name");
        let publisher = client.publisher(queue, PublisherOptions::default()).await.expect("it is opened");
        for number in 0..COUNT {
            drop(publisher.put(Message::new(format!("{number:05}"))).await.expect("it is put"));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        publisher.close().await.expect("all are answered");
        client.close().await;
    });
    let receiver = tokio::spawn(async move { take_all(&a, COUNT).await });
    for killed in [2, 1, 2] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        network.kill(killed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        network.begin(killed);
    }
    publisher.await.expect("no panic");
    receiver.await.expect("no panic").check("r12", COUNT);
    let show = json(network.address(0), &["queue", "show", "jobs"]);
    assert_eq!(show["backlog"]["backlog"], 0, "{show}");
}

/// A subscription goes from c to a, though c is killed on the way, and who gets from it misses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s47_a_subscription_moves_to_another_relay_though_its_home_is_killed_on_the_way() {
    let mut network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    let [a, b, c] = [0, 1, 2].map(|place| network.address(place).to_owned());
    good(&c, &["subscription", "create", "news", "me"]);
    wait_for("it is known", async || is_known(&b, "news")).await;
    for number in 1..=4 {
        good(if number % 2 == 0 { &a } else { &c }, &["put", "news", &format!("news {number}")]);
    }
    good(&b, &["subscription", "move", "news", "me", "a"]);
    let stage = async |wanted: &str| {
        wait_for("it goes on", async || {
            json(&b, &["subscription", "show", "news", "me"])["moving"]["stage"] == wanted
        })
        .await;
    };
    stage("consuming").await;
    assert!(good(&b, &["subscription", "list", "news"]).contains("to a: consuming"));
    let here = good(&a, &["subscription", "list", "news"]);
    assert!(here.contains("to a: consuming") && here.contains("comes from c"), "{here}");
    network.kill(2);
    network.begin(2);
    wait_for("it is back", async || run(&b, &["subscription", "show", "news", "me"]).said.is_empty()).await;
    stage("consuming").await;
    good(&b, &["put", "news", "news 5"]);
    let mut got = good(&b, &["get", "news", "--as", "me", "-n", "4", "--wait", "30s"]);
    let shown = || run(&b, &["subscription", "show", "news", "me", "--output", "json"]).output;
    wait_for("it has moved", async || shown().contains("\"home\":\"a\"")).await;
    got += &good(&b, &["get", "news", "--as", "me", "-n", "1", "--wait", "30s"]);
    let mut got: Vec<&str> = got.lines().collect();
    assert_eq!(got.last(), Some(&"news 5"), "what was put first comes first");
    got.sort_unstable();
    assert_eq!(got, ["news 1", "news 2", "news 3", "news 4", "news 5"]);
    assert_eq!(run(&b, &["poll", "news", "--as", "me"]).code, Some(3), "each was acked once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s47_a_queue_moves_under_its_receivers_and_each_message_is_taken_once() {
    const COUNT: usize = 600;
    let mut network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    queue_at_the_end(&network, "jobs").await;
    let [a, b, c] = [0, 1, 2].map(|place| network.address(place).to_owned());
    assert_eq!(run(&b, &["queue", "move", "jobs", "nowhere"]).code, Some(3));
    assert_eq!(run(&b, &["queue", "move", "jobs", "c"]).code, Some(2), "it lives there");
    for number in 0..3 {
        good(&c, &["put", "jobs", &format!("{number:05}")]);
    }
    let shown = good(&b, &["queue", "move", "jobs", "a"]);
    assert!(shown.contains("moves to") && shown.contains("a: "), "{shown}");
    wait_for("it waits for its backlog", async || {
        json(&b, &["queue", "show", "jobs"])["backlog"]["moving"]["stage"] == "consuming"
    })
    .await;
    assert!(good(&c, &["queue", "list"]).contains("to a"));
    assert!(good(&a, &["group", "list", "jobs"]).contains("comes from c"));
    assert!(good(&a, &["queue", "show", "jobs"]).contains("comes from"));
    // It is put and taken at b all the while, and both homes are killed.
    let publisher = tokio::spawn(async move {
        let client = Client::connect(&b).await.expect("b is there");
        let queue = GroupName::new("jobs").expect("a name");
        let publisher = client.publisher(queue, PublisherOptions::default()).await.expect("it is opened");
        for number in 3..COUNT {
            drop(publisher.put(Message::new(format!("{number:05}"))).await.expect("it is put"));
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        publisher.close().await.expect("all are answered");
        client.close().await;
    });
    let b = network.address(1).to_owned();
    let at_b = b.clone();
    let receiver = tokio::spawn(async move { take_all(&at_b, COUNT).await });
    for killed in [2, 0] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        network.kill(killed);
        tokio::time::sleep(Duration::from_millis(300)).await;
        network.begin(killed);
    }
    publisher.await.expect("no panic");
    receiver.await.expect("no panic").check("s47", COUNT);
    let at_home = || run(&b, &["queue", "show", "jobs", "--output", "json"]).output;
    wait_for("it has moved", async || at_home().contains("\"home\":\"a\"")).await;
    for place in 0..3 {
        let at = network.address(place);
        wait_for("everybody knows", async || good(at, &["locate", "jobs"]).contains("  a")).await;
        assert_eq!(run(at, &["poll", "jobs"]).code, Some(3), "each was acked once");
    }
    let listed = good(&c, &["queue", "list"]);
    assert!(listed.contains("queue") && !listed.contains("MOVES"), "{listed}");
}
