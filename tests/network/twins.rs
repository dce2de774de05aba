//! A name that two relays have made while they could not reach one another: a – b – c (R12).

use super::commands::{good, run};
use super::site::Network;
use super::traffic::wait_for;

/// How many homes a relay says that the subscription has.
fn homes(at: &str) -> usize {
    run(at, &["locate", "news"]).output.lines().filter(|line| line.contains("me")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_a_subscription_that_two_relays_have_made_apart_is_one_when_they_meet() {
    let mut network = Network::line(3).await;
    for place in 0..3 {
        network.wait_links(place, if place == 1 { 2 } else { 1 }).await;
    }
    let (a, c) = (network.address(0).to_owned(), network.address(2).to_owned());
    for at in [&a, &c] {
        wait_for("it knows who is a member", async || run(at, &["put", "other", "x"]).code == Some(0)).await;
    }
    network.kill(1);
    for at in [&a, &c] {
        good(at, &["subscription", "create", "news", "me", "--level", "local"]);
    }
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
