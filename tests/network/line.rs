//! Three relays in a line: a – b – c.

use std::time::{Duration, Instant};

use super::process::say;
use super::site::{DOWN, Network};
use super::traffic::{Shape, Traffic, wait_for};

const ALL: Shape<'static> =
    Shape { puts: &[0, 1, 2], reads: &[0, 1, 2], pause: Duration::from_millis(1), bytes: 200 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_in_a_line_have_every_message_once_and_in_order_and_keep_nothing() {
    let network = Network::line(3).await;
    let traffic = Traffic::start(&network, ALL).await;
    traffic.progress(2000).await;
    let count = traffic.finish(&network).await;
    say(&format!("line: {count} messages at each of 3 relays"));
}

/// A transit relay comes back without any memory of what was on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s28_a_middle_relay_that_is_killed_under_load_catches_up_and_nothing_is_lost() {
    let mut network = Network::line(3).await;
    let traffic = Traffic::start(&network, ALL).await;
    traffic.progress(1000).await;
    let begun = Instant::now();
    network.kill(1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = traffic.answered();
    let started = Instant::now();
    network.begin(1);
    let listening = started.elapsed();
    let owed = traffic.owed();
    let most = owed.iter().map(std::collections::BTreeSet::len).max().unwrap_or_default();
    traffic.paid(&owed).await;
    say(&format!(
        "s28: killed for {:?} with {before} put; {listening:?} until it listened, {:?} until {most} were caught up",
        started.duration_since(begun),
        started.elapsed() - listening,
    ));
    traffic.progress(500).await;
    traffic.finish(&network).await;
}

/// Custody: what was put while the subscriber's home was away is at the relay in between, also
/// when the relay that it was put at is gone before the home returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_a_home_that_was_away_has_everything_also_when_the_origin_has_gone_meanwhile() {
    let mut network = Network::line(3).await;
    let shape = Shape { puts: &[0], ..ALL };
    let traffic = Traffic::start(&network, shape).await;
    traffic.progress(200).await;
    network.kill(2);
    traffic.progress(1000).await;
    traffic.pause(&[0, 1]).await;
    network.sites[0].stop();
    let missing = traffic.owed()[2].len();
    assert!(missing >= 900, "only {missing} were put while it was away");
    let begun = Instant::now();
    network.begin(2);
    traffic.arrived(2).await;
    say(&format!(
        "s08: {missing} messages of an origin that is gone, {:?} after the home's start",
        begun.elapsed()
    ));
    network.begin(0);
    traffic.resume();
    traffic.progress(200).await;
    traffic.finish(&network).await;
}

/// The same with puts at both other relays, and the middle one restarted meanwhile: what it keeps
/// for the home is on its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s08_a_home_that_was_away_has_everything_though_all_others_were_restarted_meanwhile() {
    let mut network = Network::line(3).await;
    let traffic = Traffic::start(&network, Shape { puts: &[0, 1], ..ALL }).await;
    traffic.progress(200).await;
    network.kill(2);
    traffic.progress(500).await;
    network.kill(1);
    network.begin(1);
    network.kill(0);
    network.begin(0);
    traffic.progress(500).await;
    traffic.pause(&[0, 1]).await;
    network.kill(1);
    network.kill(0);
    network.begin(1);
    network.begin(2);
    traffic.arrived(2).await;
    network.begin(0);
    traffic.resume();
    traffic.progress(200).await;
    traffic.finish(&network).await;
    assert!(network.sites[1].said(DOWN) > 0, "the end of a neighbour was told");
}

/// Who is stopped as it should be has nothing to warn of; its neighbour has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_stopped_does_not_warn_of_its_own_links() {
    let mut network = Network::line(2).await;
    for place in [0, 1] {
        network.wait_links(place, 1).await;
    }
    network.sites[0].stop();
    let told = |place: usize| -> Vec<String> {
        let log = network.sites[place].log();
        log.lines().filter(|line| line.contains(DOWN)).map(str::to_owned).collect()
    };
    wait_for("both tell of it", async || [0, 1].iter().all(|place| !told(*place).is_empty())).await;
    assert!(told(0).iter().all(|line| line.contains("INFO")), "{:?}", told(0));
    assert!(told(1).iter().any(|line| line.contains("WARN")), "{:?}", told(1));
}
