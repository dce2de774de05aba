//! Rings and diamonds: every relay can be reached two ways.

use std::time::{Duration, Instant};

use super::process::say;
use super::proxy::{Way, Weather};
use super::site::{Cable, DOWN, Network};
use super::traffic::{Shape, Traffic, wait_for};

const ALL: Shape<'static> =
    Shape { puts: &[0, 2], reads: &[0, 1, 2, 3, 4], pause: Duration::from_millis(2), bytes: 200 };

/// Counts what crosses each link between two moments at which nothing is on its way: each link
/// carries each message at most once, and all of them together no more than a tree has.
async fn check_copies(what: &str, network: &Network, traffic: &Traffic) {
    let places: Vec<usize> = (0..network.sites.len()).collect();
    let count = || -> Vec<u64> { network.cables.iter().map(|cable| cable.proxy.messages()).collect() };
    traffic.pause(&places).await;
    let (before, put) = (count(), traffic.answered());
    traffic.resume();
    traffic.progress(1000).await;
    traffic.pause(&places).await;
    let messages = (traffic.answered() - put) as f64;
    let copies = |(now, before): (&u64, &u64)| (now - before) as f64 / messages;
    let each: Vec<f64> = count().iter().zip(&before).map(copies).collect();
    let ends = |cable: &Cable| format!("{:?}", cable.ends);
    let shown = network.cables.iter().zip(&each).map(|(cable, n)| format!("{} {n:.3}", ends(cable)));
    say(&format!("{what}: copies of {messages} messages by link: {}", shown.collect::<Vec<_>>().join(", ")));
    let all: f64 = each.iter().sum();
    let tree = (places.len() - 1) as f64;
    assert!(each.iter().all(|copies| *copies < 1.01), "a link carries messages more than once: {each:?}");
    assert!(all > tree - 0.01 && all < tree * 1.01, "{all} copies, and a tree has {tree} links");
    traffic.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p06_in_a_ring_each_link_carries_each_message_once() {
    let network = Network::ring(5).await;
    let traffic = Traffic::start(&network, ALL).await;
    check_copies("p06 ring", &network, &traffic).await;
    traffic.finish(&network).await;
}

/// a – b – d and a – c – d, and a line from b to c in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p07_a_diamond_doubles_nothing_and_its_relays_may_be_killed() {
    let links = [(0, 1), (0, 2), (1, 3), (2, 3), (1, 2)];
    let mut network = Network::start(4, &links).await;
    let shape = Shape { puts: &[0, 3], reads: &[0, 1, 2, 3], ..ALL };
    let traffic = Traffic::start(&network, shape).await;
    check_copies("p07 diamond", &network, &traffic).await;
    for place in [1, 2] {
        network.kill(place);
        let killed = Instant::now();
        let repaired = traffic.first_after(killed, 0, 3).await;
        say(&format!("p07: {repaired:?} from the end of {place} until a message from 0 was at 3"));
        traffic.progress(100).await;
        network.begin(place);
        traffic.paid(&traffic.owed()).await;
    }
    traffic.finish(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p08_in_a_ring_traffic_goes_the_other_way_round_when_a_relay_is_killed() {
    let mut network = Network::ring(5).await;
    let traffic = Traffic::start(&network, ALL).await;
    traffic.progress(200).await;
    for place in [1, 4] {
        let killed = Instant::now();
        network.kill(place);
        let repaired = traffic.first_after(killed, 0, 2).await;
        say(&format!("p08: {repaired:?} from the reset of {place} until a message from 0 was at 2"));
        traffic.progress(300).await;
        network.begin(place);
        traffic.paid(&traffic.owed()).await;
    }
    traffic.finish(&network).await;
}

/// Half-open: the relay is there, and nothing that it says or is told passes. Nobody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s49_in_a_ring_traffic_goes_the_other_way_round_when_links_fall_silent() {
    let network = Network::ring(5).await;
    let traffic = Traffic::start(&network, ALL).await;
    traffic.progress(200).await;
    for ends in [(0, 1), (1, 2)] {
        let proxy = network.cable(ends.0, ends.1);
        proxy.set(Weather { refused: true, ..Weather::default() });
        proxy.hang();
    }
    let silent = Instant::now();
    let repaired = traffic.first_after(silent, 0, 2).await;
    say(&format!("s49: {repaired:?} from the silence of 1 until a message from 0 was at 2"));
    wait_for("silence is told", async || network.sites[0].said("nothing was heard from") > 0).await;
    traffic.progress(200).await;
    for ends in [(0, 1), (1, 2)] {
        let proxy = network.cable(ends.0, ends.1);
        proxy.set(Weather { refused: true, ..Weather::default() });
        proxy.hang();
    }
    let silent = Instant::now();
    let repaired = traffic.first_after(silent, 0, 2).await;
    say(&format!("s49: {repaired:?} from the silence of 1 until a message from 0 was at 2"));
    let log: String = network.sites.iter().map(super::site::Site::log).collect();
    assert!(log.contains("nothing was heard from the neighbour"), "the link did not end by silence: {log}");
    traffic.progress(200).await;
    for ends in [(0, 1), (1, 2)] {
        network.cable(ends.0, ends.1).set(Weather::default());
    }
    let healed = Instant::now();
    traffic.paid(&traffic.owed()).await;
    say(&format!("s49: {:?} from the heal until the silent one had caught up", healed.elapsed()));
    traffic.finish(&network).await;
}

/// With more on its way than sockets hold, both ways: nothing more can be written to it, and nobody waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s49_a_relay_that_falls_silent_under_load_is_given_up_as_soon_as_an_idle_one() {
    let network = Network::ring(5).await;
    let shape = Shape { puts: &[0, 2], reads: &[0, 2], pause: Duration::from_millis(1), bytes: 64_000 };
    let traffic = Traffic::start(&network, shape).await;
    traffic.progress(300).await;
    for ends in [(0, 1), (1, 2)] {
        let proxy = network.cable(ends.0, ends.1);
        proxy.set(Weather { refused: true, ..Weather::default() });
        proxy.hang();
    }
    let silent = Instant::now();
    let repaired = traffic.first_after(silent, 0, 2).await.max(traffic.first_after(silent, 2, 0).await);
    say(&format!("s49: {repaired:?} from silence under load until messages passed both ways"));
    assert!(repaired < Duration::from_millis(1_000), "{repaired:?}");
    for ends in [(0, 1), (1, 2)] {
        network.cable(ends.0, ends.1).set(Weather::default());
    }
    traffic.paid(&traffic.owed()).await;
    traffic.finish(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s49_a_link_that_is_open_one_way_only_is_dropped_at_both_ends_in_time() {
    for is_up in [true, false] {
        let network = Network::ring(5).await;
        let shape = Shape { puts: &[0, 2], reads: &[0, 2], ..ALL };
        let traffic = Traffic::start(&network, shape).await;
        traffic.progress(200).await;
        let way = Way { stalled: true, ..Way::default() };
        let (up, down) = if is_up { (way, Way::default()) } else { (Way::default(), way) };
        network.cable(0, 1).set(Weather { up, down, refused: true });
        let silent = Instant::now();
        let repaired = traffic.first_after(silent, 0, 2).await.max(traffic.first_after(silent, 2, 0).await);
        assert!(repaired < Duration::from_secs(1), "{repaired:?}, {is_up}");
        wait_for("both ends drop it", async || [0, 1].iter().all(|at| network.sites[*at].said(DOWN) > 0))
            .await;
        network.cable(0, 1).set(Weather::default());
        traffic.progress(100).await;
        traffic.finish(&network).await;
    }
}
