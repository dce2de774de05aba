//! Groups in which puts are refused, beside others that share relays and links with them.

use std::time::{Duration, Instant};

use super::client::{Connection, Put};
use super::commands::{good, json, run};
use super::process::say;
use super::site::Network;
use super::traffic::{Shape, Traffic, wait_for};
use treecast::wire::body::RefusalCode;

/// Puts into a group as fast as the relay refuses, for so long: how many it refused.
async fn push(address: &str, group: &str, time: Duration) -> usize {
    let connection = Connection::open(address).await;
    let mut publisher = connection.publisher_in(group, 77, 200).await.expect("a publisher");
    let (begun, mut refused) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let mut tickets = Vec::new();
        for _ in 0..100 {
            tickets.push(publisher.put().await.expect("it is put"));
        }
        for ticket in tickets {
            let (_, answer) = ticket.answer().await;
            let Put::Refused(RefusalCode::Quota, why) = answer else { panic!("not refused: {answer:?}") };
            assert!(why.contains("relay d, home of subscription `gone`, has not confirmed"), "{why}");
            refused += 1;
        }
    }
    refused
}

/// A line a – b – c – d, of which d is dead: the group of its subscription takes no more, and
/// another one goes on over the same links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s34_puts_that_are_refused_in_one_group_do_not_delay_another_over_the_same_links() {
    let mut network = Network::line(4).await;
    let at: Vec<String> = (0..4).map(|place| network.address(place).to_owned()).collect();
    good(&at[0], &["group", "create", "full", "--quota-count", "20"]);
    wait_for("all know the group", async || run(&at[3], &["group", "show", "full"]).code == Some(0)).await;
    good(&at[3], &["subscription", "create", "full", "gone"]);
    good(&at[2], &["subscription", "create", "full", "here"]);
    let shape = Shape { puts: &[0, 2], reads: &[0, 2], pause: Duration::from_millis(3), bytes: 200 };
    let traffic = Traffic::start(&network, shape).await;
    network.kill(3);
    wait_for("its neighbour knows", async || network.downs() > 0).await;
    let mut taken = 0;
    wait_for("the quota is full", async || {
        let done = run(&at[0], &["put", "full", "more", "--deadline", "200ms"]);
        taken += usize::from(done.code == Some(0));
        done.code != Some(0)
    })
    .await;
    assert!((15..=20).contains(&taken), "{taken} messages were taken");
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (beside, before) = (Instant::now(), traffic.answered());
    let refused = push(&at[0], "full", Duration::from_secs(4)).await;
    let ended = Instant::now();
    let answered = traffic.answered() - before;
    let (there, there_beside) = (traffic.latency(2, (begun, beside)), traffic.latency(2, (beside, ended)));
    let (back, back_beside) = (traffic.latency(0, (begun, beside)), traffic.latency(0, (beside, ended)));
    say(&format!(
        "s34: {refused} puts were refused, {answered} of another group answered meanwhile; p50, p99 {there:.1?} \
         and {back:.1?} ms before, {there_beside:.1?} and {back_beside:.1?} ms beside"
    ));
    assert!(refused > 500 && answered > 200, "{refused} refused, {answered} answered");
    for (before, beside) in [(there, there_beside), (back, back_beside)] {
        assert!(beside.0 < before.0 * 3.0 + 20.0, "others wait: {before:?} then {beside:?}");
    }
    // What is here was delivered here, and goes on when the dead one is forgotten.
    let words = ["get", "full", "--as", "here", "--existing", "-n", &taken.to_string(), "--wait", "30s"];
    assert_eq!(good(&at[2], &words).matches("more").count(), taken);
    wait_for("it is forgotten", async || run(&at[0], &["relay", "forget", "d", "--yes"]).code == Some(0))
        .await;
    good(&at[0], &["put", "full", "again", "--deadline", "30s"]);
    let words = ["get", "full", "--as", "here", "--existing", "--wait", "30s"];
    assert_eq!(good(&at[2], &words), "again\n");
    traffic.end().await;
}

/// A line a – b – c: the subscription at c stands at its quota, and puts at a are refused for it; another
/// group goes on over the same links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_subscription_over_its_quota_refuses_puts_elsewhere_until_it_has_acked() {
    let network = Network::line(3).await;
    let at: Vec<String> = (0..3).map(|place| network.address(place).to_owned()).collect();
    good(&at[0], &["group", "create", "full", "--subscription-quota-count", "3"]);
    wait_for("all know the group", async || run(&at[2], &["group", "show", "full"]).code == Some(0)).await;
    good(&at[2], &["subscription", "create", "full", "slow"]);
    let shape = Shape { puts: &[0, 2], reads: &[0, 2], pause: Duration::from_millis(3), bytes: 200 };
    let traffic = Traffic::start(&network, shape).await;
    let put = |place: usize, wait: &str| run(&at[place], &["put", "full", "more", "--deadline", wait]);
    let (mut taken, mut why) = (0, String::new());
    wait_for("the subscription is full", async || {
        let done = put(0, "200ms");
        taken += usize::from(done.code == Some(0));
        why = done.said.clone();
        done.code != Some(0)
    })
    .await;
    say(&format!("r7: {taken} of 3 messages were taken elsewhere"));
    assert!((3..=10).contains(&taken), "{taken} messages were taken");
    assert!(why.contains("subscription `slow` of group `full`, which lives at relay c"), "{why}");
    // A relay that has put nothing yet is told with its first message, and may put more before it hears.
    wait_for("all refuse", async || {
        let codes: Vec<Option<i32>> = (0..3).map(|place| put(place, "200ms").code).collect();
        taken += codes.iter().filter(|&&code| code == Some(0)).count();
        codes.iter().all(|&code| code == Some(75))
    })
    .await;
    let shown = json(&at[0], &["group", "show", "full"]);
    assert_eq!(shown["full"][0]["subscription"], "slow", "{shown}");
    assert_eq!(shown["full"][0]["home"], "c", "{shown}");
    assert!(good(&at[0], &["group", "show", "full"]).contains("`slow` at c"));
    let before = traffic.answered();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(traffic.answered() > before + 50, "another group waits");
    let count = taken.to_string();
    let words = ["get", "full", "--as", "slow", "--existing", "-n", &count, "--wait", "30s"];
    assert_eq!(good(&at[2], &words).matches("more").count(), taken, "what was taken is there");
    // That there is room again is told hop by hop, as is that there is none.
    let told = Instant::now();
    for place in [0, 1] {
        wait_for("puts are taken again", async || put(place, "30s").code == Some(0)).await;
    }
    say(&format!("r7: puts were taken again after {:?}", told.elapsed()));
    assert_eq!(json(&at[0], &["group", "show", "full"])["full"], serde_json::json!([]));
    traffic.end().await;
}
