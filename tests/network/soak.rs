//! Random relays of a ring are killed under load, again and again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::process::say;
use super::random::Random;
use super::site::Network;
use super::traffic::{Shape, Traffic};

async fn soak(seconds: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let seed =
        std::env::var("TREECAST_SOAK_SEED").map_or(now.as_secs(), |seed| seed.parse().expect("a number"));
    say(&format!("soak: TREECAST_SOAK_SEED={seed}, for {seconds} s"));
    let mut random = Random::new(seed);
    let mut network = Network::ring(5).await;
    let all = [0, 1, 2, 3, 4];
    let shape = Shape { puts: &all, reads: &all, pause: Duration::from_millis(5), bytes: 200 };
    let traffic = Traffic::start(&network, shape).await;
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let place = random.within(0..5) as usize;
        network.kill(place);
        kills += 1;
        // Sometimes a second one is gone at the same time, sometimes before anything was repaired.
        let other = (place + random.within(1..5) as usize) % 5;
        let both = random.within(0..3) == 0;
        tokio::time::sleep(Duration::from_millis(random.within(0..600))).await;
        if both {
            network.kill(other);
            kills += 1;
            tokio::time::sleep(Duration::from_millis(random.within(0..600))).await;
            network.begin(other);
        }
        network.begin(place);
        tokio::time::sleep(Duration::from_millis(random.within(0..800))).await;
    }
    let count = traffic.finish(&network).await;
    say(&format!("soak: {count} messages, {kills} relays killed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s52_random_relays_of_a_ring_are_killed_for_a_while_and_nothing_is_lost() {
    soak(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, or as long as TREECAST_SOAK_SECONDS says"]
async fn s52_random_relays_of_a_ring_are_killed_for_a_long_time_and_nothing_is_lost() {
    let seconds = std::env::var("TREECAST_SOAK_SECONDS").map_or(60, |value| value.parse().expect("a number"));
    soak(seconds).await;
}
