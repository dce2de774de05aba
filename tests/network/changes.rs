//! Relays that come for the first time, and relays that come back without their disk.

use std::time::Duration;

use super::commands::{good, run};
use super::site::Network;
use super::traffic::{Shape, Traffic, read_at, wait_for};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_fresh_relay_without_its_neighbour_refuses_puts_until_that_comes() {
    let mut network = Network::plan(2, &[(0, 1)], Duration::from_millis(100)).await;
    network.begin(0);
    let address = network.address(0).to_owned();
    let early = run(&address, &["put", "other", "early", "--deadline", "300ms"]);
    assert!(early.code == Some(75) && early.said.contains("who is a member"), "{early:?}");
    let lines = network.directory.path().join("lines");
    std::fs::write(&lines, "one\ntwo\n").expect("it is written");
    let words = ["put", "other", "--lines", "--deadline", "300ms", "--file", lines.to_str().expect("text")];
    let early = run(&address, &words);
    assert!(early.code == Some(75) && early.said.contains("who is a member"), "{early:?}");
    network.begin(1);
    let shape = Shape { puts: &[0, 1], reads: &[0, 1], ..Shape::default() };
    let traffic = Traffic::start(&network, shape).await;
    // Who subscribes at the neighbour is owed what is taken from now on, and nothing that was refused.
    good(network.address(1), &["subscription", "create", "other", "owed", "--from", "beginning"]);
    good(&address, &["put", "other", "late"]);
    traffic.progress(100).await;
    // From now on the table is on its disk: it needs nobody to be ready.
    network.kill(1);
    network.kill(0);
    network.begin(0);
    good(&address, &["put", "other", "alone"]);
    network.begin(1);
    let take = ["get", "other", "--as", "owed", "--existing", "-n", "2", "--wait", "30s"];
    assert_eq!(good(network.address(1), &take), "late\nalone\n");
    traffic.finish(&network).await;
}

/// What was acked elsewhere is nobody's to lose, and that a disk is gone is said (also F33).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s23_a_relay_that_comes_back_without_its_disk_is_told_of_and_loses_nothing_of_others() {
    let mut network = Network::line(3).await;
    // The relay that loses its disk is the middle one, and has no subscription of its own.
    let shape = Shape { puts: &[0, 2], reads: &[0, 2], pause: Duration::from_millis(2), bytes: 200 };
    let traffic = Traffic::start(&network, shape).await;
    traffic.progress(300).await;
    network.kill(1);
    std::fs::remove_dir_all(&network.sites[1].data).expect("its data is there");
    traffic.progress(300).await;
    network.begin(1);
    let owed = traffic.owed();
    traffic.paid(&owed).await;
    traffic.progress(100).await;
    let told = |place: usize| network.sites[place].said("another data directory");
    wait_for("its neighbours say so", async || told(0) > 0 && told(2) > 0).await;
    traffic.finish(&network).await;
}

/// The home of a subscription loses its disk: what it had acked counts for nothing any more, and
/// its subscription is there again, with what was put meanwhile and from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s23_r3_a_home_that_comes_back_without_its_disk_has_its_subscription_again() {
    let mut network = Network::line(3).await;
    let shape = Shape { puts: &[0], reads: &[2], pause: Duration::from_millis(2), bytes: 200 };
    let before = Traffic::start(&network, shape).await;
    before.progress(300).await;
    before.end().await;
    network.kill(2);
    std::fs::remove_dir_all(&network.sites[2].data).expect("its data is there");
    good(network.address(0), &["put", "load", "meanwhile"]);
    network.begin(2);
    wait_for("the relay knows its subscription again", async || {
        run(network.address(2), &["subscription", "show", "load", &read_at(2)]).code == Some(0)
    })
    .await;
    // Before it may come what had been acked there, since that is forgotten with the disk.
    let mut said = String::new();
    while !said.contains(r#""payload":"meanwhile""#) {
        let take = ["get", "load", "--as", &read_at(2), "--existing", "--wait", "30s", "--output", "json"];
        said += &good(network.address(2), &take);
    }
    assert!(said.contains("uncertain"), "that something may be lost is told: {said}");
    let status = good(network.address(2), &["status", "--output", "json"]);
    assert!(status.contains("lost a disk"), "{status}");
    let again = Traffic::start(&network, Shape { puts: &[0, 1], ..shape }).await;
    again.progress(300).await;
    again.finish(&network).await;
}
