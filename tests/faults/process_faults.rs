//! Faults of the process: killed, stopped, halted, started twice.

use std::time::Duration;

use rustix::process::Signal;

use super::client::{Connection, Inbox, Put};
use super::load::{READ, Shape, check_kept, finish, loaded};
use super::oracle::History;
use super::process::{RelayProcess, Start};
use super::random::Random;

async fn kill_rounds(seed: u64, rounds: u32) {
    let data = tempfile::tempdir().expect("a directory");
    let (mut relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    let mut random = Random::new(seed);
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.within(0..250))).await;
        let killed = relay.kill();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed.status), Some(9));
        relay = Start::new(data.path()).start();
        proxy.lead_to(&relay.address);
        // Sometimes it is killed before anything has got through.
        if random.within(0..3) > 0 {
            load.progress(50).await;
        }
    }
    let history = load.finish().await;
    check_kept(&relay.address, &history).await;
    relay.kill();
    let relay = Start::new(data.path()).start();
    check_kept_again(&relay, &history).await;
    relay.stop().expect_code(0);
}

/// The acks of the reader were durable: after one more kill nothing comes to it again.
async fn check_kept_again(relay: &RelayProcess, history: &History) {
    let mut inbox = Inbox::open(&relay.address, READ).await.expect("the subscriber attaches");
    inbox.read_all(history).await;
    history.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_kill_at_random_instants_loses_nothing_acked() {
    kill_rounds(1, 5).await;
}

/// Every boot leaves a segment that is nearly empty. Only the last one is read to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f01_a_start_does_not_read_the_empty_rest_of_segments() {
    let data = tempfile::tempdir().expect("a directory");
    for producer in 1..=6 {
        let relay = Start::new(data.path()).start();
        let connection = Connection::open(&relay.address).await;
        connection.create(&format!("s{producer}")).await;
        let (_, put) =
            connection.publisher(producer, 100).await.put().await.expect("a ticket").answer().await;
        assert_eq!(put, Put::Answered);
        relay.kill();
    }
    let relay = Start::new(data.path()).start();
    let io = std::fs::read_to_string(format!("/proc/{}/io", relay.pid().as_raw_nonzero())).expect("it runs");
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("bytes read");
    let read: u64 = read.parse().expect("a number");
    assert!(read < 2 * (32 << 20), "{read} bytes were read for a few messages");
    relay.stop().expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn f01_kill_at_random_instants_many_rounds() {
    for seed in 100..105 {
        kill_rounds(seed, 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f55_clean_shutdown_under_load_leaves_nothing_to_scan() {
    let data = tempfile::tempdir().expect("a directory");
    let (mut relay, proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    for _ in 0..3 {
        relay.stop().expect_code(0);
        relay = Start::new(data.path()).start();
        relay.wait_said("clean=true");
        assert!(!relay.log().contains("was cut"), "{}", relay.log());
        proxy.lead_to(&relay.address);
        load.progress(50).await;
    }
    finish(relay, load).await;
}

#[test]
fn f31_a_second_process_is_told_who_holds_the_data() {
    let data = tempfile::tempdir().expect("a directory");
    let first = Start::new(data.path()).start();
    let Err(second) = Start::new(data.path()).try_start() else { panic!("two relays run on one directory") };
    second.expect_code(75).expect_said(&format!("in use by process {}", first.pid().as_raw_nonzero()));
    first.stop().expect_code(0);
    Start::new(data.path()).start().stop().expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f35_a_halted_relay_goes_on_where_it_was() {
    let data = tempfile::tempdir().expect("a directory");
    let (relay, _proxy, load) = loaded(Start::new(data.path()), Shape::default()).await;
    for _ in 0..2 {
        relay.signal(Signal::STOP);
        // Answers that were in the sockets are noted.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let before = load.history.answered();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(load.history.answered(), before, "a halted relay answers");
        relay.signal(Signal::CONT);
        load.progress(100).await;
    }
    let history = load.finish().await;
    check_kept(&relay.address, &history).await;
}
