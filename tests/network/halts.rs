//! A relay in the middle that stands still for a while, or whose disk does.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{say, skip};
use super::site::Network;
use super::tracer::{self, Tracer};
use super::traffic::{Shape, Traffic};

const LINE: Shape<'static> =
    Shape { puts: &[0, 2], reads: &[0, 1, 2], pause: Duration::from_millis(2), bytes: 200 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_middle_relay_that_is_halted_loses_nothing() {
    let network = Network::line(3).await;
    let traffic = Traffic::start(&network, LINE).await;
    for seconds in [1, 5] {
        traffic.progress(100).await;
        network.sites[1].process().signal(Signal::STOP);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let put = traffic.answered();
        network.sites[1].process().signal(Signal::CONT);
        let (woken, owed) = (Instant::now(), traffic.owed());
        traffic.paid(&owed).await;
        say(&format!(
            "halted for {seconds} s: caught up {:?} after it went on, {put} put so far, {} ends of links",
            woken.elapsed(),
            network.downs(),
        ));
    }
    traffic.finish(&network).await;
}

/// A relay that waits for its own disk still speaks: nobody takes it for dead, and it takes nobody
/// for dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_a_middle_relay_with_a_slow_disk_is_not_taken_for_dead() {
    if let Err(why) = tracer::available() {
        return skip("f37", &why);
    }
    let links = [(0, 1), (1, 2)];
    let network = Network::start_at_pace(3, &links, Duration::from_millis(250)).await;
    let traffic = Traffic::start(&network, LINE).await;
    let slow = Tracer::attach(network.sites[1].process(), "fdatasync:delay_enter=1500000");
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (passing, delayed) = (traffic.latency(2, (begun, begun + Duration::from_secs(3))), slow.injected());
    let downs = network.downs();
    slow.detach();
    say(&format!(
        "f37: {delayed} slow syncs in the middle, p50, p99 {passing:.1?} ms through it, {downs} ends"
    ));
    assert!(delayed > 0, "its disk was not slow");
    assert_eq!(downs, 0, "a slow disk is no dead relay: {}", network.sites[1].log());
    traffic.finish(&network).await;
}
