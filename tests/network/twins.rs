//! A name that two relays have made while they could not reach one another: a – b – c (R12).

use super::commands::{good, json, run};
use super::site::Network;
use super::traffic::wait_for;

/// How many homes a relay says that the subscription has.
fn homes(at: &str) -> usize {
    run(at, &["locate", "news"]).output.lines().filter(|line| line.contains("me")).count()
}

/// A line of so many relays, a – b – c and others, of which b is gone, with a subscription of one name at a and c.
async fn apart(count: usize) -> Network {
    let mut network = Network::line(count).await;
    for place in 0..count {
        network.wait_links(place, if [0, count - 1].contains(&place) { 1 } else { 2 }).await;
    }
    let ends = [network.address(0).to_owned(), network.address(2).to_owned()];
    for at in &ends {
        wait_for("it knows who is a member", async || run(at, &["put", "other", "x"]).code == Some(0)).await;
    }
    network.kill(1);
    for at in &ends {
        good(at, &["subscription", "create", "news", "me", "--level", "local"]);
    }
    network
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_subscription_that_two_relays_have_made_apart_is_one_when_they_meet() {
    let mut network = apart(3).await;
    let (a, c) = (network.address(0).to_owned(), network.address(2).to_owned());
    for number in 1..=3 {
        good(&a, &["put", "news", &format!("a{number}")]);
        good(&c, &["put", "news", &format!("c{number}")]);
    }
    assert_eq!(good(&a, &["get", "news", "--as", "me", "--wait", "30s"]), "a1\n");
    assert_eq!(good(&c, &["get", "news", "--as", "me", "--wait", "30s"]), "c1\n");
    network.begin(1);
    let b = network.address(1).to_owned();
    wait_for("both are known", async || homes(&b) == 2).await;
    let told = "has two homes, a and c";
    wait_for("its operator is told", async || run(&a, &["status"]).said.contains(told)).await;
    for at in [&a, &b, &c] {
        wait_for("it has one home", async || homes(at) == 1).await;
    }
    let got = good(&b, &["get", "news", "--as", "me", "-n", "4", "--wait", "30s"]);
    let mut got: Vec<&str> = got.lines().collect();
    got.sort_unstable();
    assert_eq!(got, ["a2", "a3", "c2", "c3"], "what was acked at neither");
    assert_eq!(run(&b, &["poll", "news", "--as", "me"]).code, Some(3), "each was acked once");
    assert!(!run(&a, &["status"]).said.contains("two homes"));
}

/// It is removed at the home that is asked. That the other one stays is said before and after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_who_removes_one_of_two_homes_is_told_of_the_other() {
    let mut network = apart(4).await;
    // They are not made one before it is there again.
    network.kill(3);
    let (a, c) = (network.address(0).to_owned(), network.address(2).to_owned());
    good(&c, &["put", "news", "kept"]);
    good(&a, &["put", "news", "gone"]);
    network.begin(1);
    wait_for("both are known", async || homes(&a) == 2).await;
    let shown = json(&a, &["subscription", "show", "news", "me"]);
    assert_eq!((&shown["home"], &shown["also_at"]), (&"a".into(), &serde_json::json!(["c"])), "{shown}");
    assert!(good(&a, &["subscription", "show", "news", "me"]).contains("lives also at"));
    let asked = run(&a, &["subscription", "remove", "news", "me"]);
    assert_eq!(asked.code, Some(2), "{asked:?}");
    assert!(asked.said.contains("`me` of `news` at a holds"), "{asked:?}");
    let removed = json(&a, &["subscription", "remove", "news", "me", "--yes"]);
    assert_eq!(
        (&removed["removed"]["home"], &removed["left_at"][0]),
        (&"a".into(), &"c".into()),
        "{removed}"
    );
    wait_for("one is left", async || homes(&a) == 1).await;
    assert_eq!(good(&a, &["get", "news", "--as", "me", "--wait", "30s"]), "kept\n");
    assert_eq!(json(&a, &["subscription", "show", "news", "me"])["also_at"], serde_json::json!([]));
    let removed = run(&a, &["subscription", "remove", "news", "me", "--yes"]);
    assert!(!removed.said.contains("another home"), "{removed:?}");
}
