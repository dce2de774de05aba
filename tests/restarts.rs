//! The client library against a relay in a process of its own that is killed
//! (`kill -9`) and started again on the same port, in the middle of work.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use treecast::client::{
    Backoff, Client, ClientOptions, Delivery, Publisher, PublisherOptions, Received, Subscriber,
    SubscriberOptions,
};
use treecast::id::{GroupName, ProducerSequence, SubscriptionName};
use treecast::wire::body::{Reply, Request, Start, SubscriptionSpec};

/// A relay's directory and port, and the process that holds them now.
struct Relay {
    child: Child,
    address: String,
    data: PathBuf,
    _directory: tempfile::TempDir,
}

fn spawn(data: &std::path::Path, listen: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_treecast"))
        // The smallest segments: what a start after a kill has to look through is soon read.
        .args(["relay", "--listen", listen, "--segment-bytes", "32MiB", "--until-input-ends"])
        .args(["--output", "json", "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, said["address"].as_str().unwrap().to_owned())
}

impl Relay {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let (child, address) = spawn(&data, "127.0.0.1:0");
        Self { child, address, data, _directory: directory }
    }

    /// No goodbye, no last sync: what the process had in its memory is gone.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        let (child, address) = spawn(&self.data, &self.address);
        assert_eq!(address, self.address);
        self.child = child;
    }

    async fn client(&self) -> Client {
        let reconnect = Backoff {
            first: Duration::from_millis(10),
            max: Duration::from_millis(100),
            ..Backoff::default()
        };
        let options = ClientOptions::new(&self.address);
        Client::connect_with(with_reconnect(options, reconnect)).await.unwrap()
    }
}

fn with_reconnect(mut options: ClientOptions, reconnect: Backoff) -> ClientOptions {
    options.reconnect = reconnect;
    options
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn group() -> GroupName {
    "work".parse().unwrap()
}

fn name() -> Option<SubscriptionName> {
    Some("me".parse().unwrap())
}

async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("it happens in time")
}

async fn next(subscriber: &mut Subscriber) -> Received {
    match in_time(subscriber.next()).await.unwrap().unwrap() {
        Delivery::Message(message) => message,
        Delivery::Gap(gap) => panic!("{gap:?}"),
        Delivery::Unordered(unordered) => panic!("{unordered:?}"),
    }
}

fn number(message: &Received) -> u64 {
    String::from_utf8_lossy(&message.payload).parse().unwrap()
}

async fn from_the_beginning(client: &Client, window: u32) -> Subscriber {
    let create = Some(SubscriptionSpec { start: Start::Beginning, ..SubscriptionSpec::default() });
    let options = SubscriberOptions { create, window, ..SubscriberOptions::default() };
    client.subscriber(group(), name(), options).await.unwrap()
}

/// A group with the numbers from 0, all durable.
async fn backlog(client: &Client, count: u64) {
    let publisher = client.publisher(group(), PublisherOptions::default()).await.unwrap();
    publisher.put_bulk((0..count).map(|number| number.to_string())).await.unwrap();
    in_time(publisher.close()).await.unwrap();
}

async fn put_numbers(publisher: &Publisher, count: u64) {
    for number in 0..count {
        publisher.put_unacked(number.to_string()).await.unwrap();
    }
    publisher.flush().await.unwrap();
}

/// F1, S17: a publisher that does not know whether its puts were taken puts
/// them again, with the same producer sequences, and each is inserted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_a_relay_that_is_killed_gets_every_put_once() {
    const COUNT: u64 = 20_000;
    let mut relay = Relay::start();
    let client = relay.client().await;
    let mut subscriber = from_the_beginning(&client, 1024).await;
    let options = PublisherOptions { window_messages: 1000, run_bytes: 512, ..PublisherOptions::default() };
    let publisher = client.publisher(group(), options).await.unwrap();
    let kill_often = async {
        for past in [1_000, 7_000, 13_000] {
            while publisher.answered() < ProducerSequence(past) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            relay.kill();
            assert!(
                publisher.answered() <= ProducerSequence(COUNT),
                "it is killed while puts are on their way"
            );
            relay.start_again();
        }
    };
    tokio::join!(in_time(put_numbers(&publisher, COUNT)), in_time(kill_often));
    assert_eq!(publisher.answered(), ProducerSequence(COUNT + 1));
    for expected in 0..COUNT {
        let message = next(&mut subscriber).await;
        assert_eq!(number(&message), expected, "each once and in order");
        message.ack();
    }
    in_time(subscriber.flush_acks()).await.unwrap();
    let books = client.request(Request::Books { group: Some(group()) }).await.unwrap();
    let Reply::Books(books) = books else { panic!("{books:?}") };
    assert!(books.balanced && books.held == 0, "{books:?}");
}

/// S16: acks that the relay had not written when it was killed go again with
/// the next connection, before anything is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f45_a_subscriber_goes_on_at_its_place_in_a_relay_that_was_killed() {
    const COUNT: u64 = 6_000;
    let mut relay = Relay::start();
    let client = relay.client().await;
    backlog(&client, COUNT).await;
    let mut subscriber = from_the_beginning(&client, 200).await;
    for expected in 0..COUNT {
        let message = next(&mut subscriber).await;
        assert_eq!(number(&message), expected, "nothing is left out, and nothing acked comes again");
        message.ack();
        if expected == 1_500 || expected == 4_321 {
            relay.kill();
            relay.start_again();
        }
    }
    in_time(subscriber.flush_acks()).await.unwrap();
    relay.kill();
    relay.start_again();
    let here = loop {
        match in_time(subscriber.poll(10)).await {
            Ok(here) => break here,
            // The connection was lost before the poll, and that was only noticed by it.
            Err(error) if error.is_passing() => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(here, 0, "flushed acks outlive a kill");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_that_were_made_without_a_relay_are_sent_to_the_next_one() {
    let mut relay = Relay::start();
    let client = relay.client().await;
    backlog(&client, 30).await;
    let mut subscriber = from_the_beginning(&client, 10).await;
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.push(next(&mut subscriber).await);
    }
    relay.kill();
    while client.trouble().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    taken.iter().for_each(Received::ack);
    relay.start_again();
    for expected in 10..30 {
        assert_eq!(number(&next(&mut subscriber).await), expected);
    }
}

/// Takes `count` jobs and dies with them: its connection breaks without a word.
fn die_with_jobs(address: &str, count: u64) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let jobs = runtime.block_on(async {
        let client = Client::connect(address).await.unwrap();
        let options = SubscriberOptions { window: 20, ..SubscriberOptions::default() };
        let mut worker = client.queue(group(), options).await.unwrap();
        let mut jobs = Vec::new();
        while (jobs.len() as u64) < count {
            jobs.push(number(&next(&mut worker).await));
        }
        std::mem::forget((worker, client));
        jobs
    });
    runtime.shutdown_background();
    jobs
}

/// With one worker dead and the relay killed, the jobs of the dead one go to
/// the other, and what the other had acked does not come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_dead_worker_go_to_the_others_also_when_the_relay_dies() {
    const COUNT: u64 = 100;
    let mut relay = Relay::start();
    let client = relay.client().await;
    let create = Request::GroupCreate { group: group(), settings: Default::default(), queue: true };
    client.request(create).await.unwrap();
    backlog(&client, COUNT).await;
    let address = relay.address.clone();
    let lost = tokio::task::spawn_blocking(move || die_with_jobs(&address, 15)).await.unwrap();
    assert_eq!(lost.len(), 15);

    let options = SubscriberOptions { window: 4, ..SubscriberOptions::default() };
    let mut worker = client.queue(group(), options).await.unwrap();
    let mut done = vec![0; COUNT as usize];
    // A relay that starts again counts attempts anew, so it is killed the first
    // time only once it has noticed the death.
    let mut kills = 0;
    for turn in 0..COUNT {
        let job = next(&mut worker).await;
        done[number(&job) as usize] += 1;
        let is_second_attempt = lost.contains(&number(&job)) && job.attempt > 1;
        job.ack();
        if (kills == 0 && is_second_attempt) || (kills == 1 && turn == COUNT - 5) {
            relay.kill();
            relay.start_again();
            kills += 1;
        }
    }
    assert_eq!(kills, 2, "no job of the dead worker came a second time");
    assert!(done.iter().all(|times| *times == 1), "{done:?}");
    in_time(worker.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_notify_has_done_is_not_done_again_though_the_relay_and_notify_are_killed_at_once() {
    let mut relay = Relay::start();
    let treecast = |relay: &Relay, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treecast"));
        command.args(["--relay", &relay.address]).args(words).stderr(Stdio::null());
        command
    };
    for words in [&["queue", "create", "q"][..], &["put", "q", "once"][..]] {
        assert!(treecast(&relay, words).stdout(Stdio::null()).status().unwrap().success());
    }
    let mut notify =
        treecast(&relay, &["notify", "q", "--exec", "cat"]).stdout(Stdio::piped()).spawn().unwrap();
    let done = notify.stdout.take().unwrap();
    let mut first = [0; 4];
    tokio::task::spawn_blocking(move || std::io::Read::read_exact(&mut { done }, &mut first))
        .await
        .unwrap()
        .unwrap();
    // Far less than the second within which acks get to the disk by themselves.
    tokio::time::sleep(Duration::from_millis(250)).await;
    relay.kill();
    notify.kill().unwrap();
    notify.wait().unwrap();
    relay.start_again();
    let poll = treecast(&relay, &["poll", "q"]).stdout(Stdio::piped()).output().unwrap();
    assert_eq!(poll.status.code(), Some(3), "{poll:?}");
}

/// What a start has to read is bounded, however often a relay is killed and however little it appends in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_killed_again_and_again_takes_a_snapshot_all_the_same() {
    let mut relay = Relay::start();
    for _ in 0..4 {
        let client = relay.client().await;
        let publisher = client.publisher(group(), PublisherOptions::default()).await.unwrap();
        for _ in 0..20 {
            publisher.put_unacked("x".repeat(1 << 20)).await.unwrap();
        }
        in_time(publisher.flush()).await.unwrap();
        drop((publisher, client));
        relay.kill();
        relay.start_again();
    }
    // 80 MiB were appended: more than two snapshots' worth.
    relay.kill();
    let checked = Command::new(env!("CARGO_BIN_EXE_treecast"))
        .args(["log", "check", "--output", "json"])
        .arg(&relay.data)
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert!(report["snapshot_covers"].as_u64().unwrap() > 0, "{report}");
}

/// What everybody has goes when a snapshot knows of it, and one is made for that alone. A crash before takes
/// nothing that the relay believes to have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_let_go_is_freed_though_nothing_is_put_any_more() {
    const COUNT: usize = 120;
    let mut relay = Relay::start();
    let client = relay.client().await;
    let mut subscriber = from_the_beginning(&client, 64).await;
    let publisher = client.publisher(group(), PublisherOptions::default()).await.unwrap();
    for _ in 0..COUNT {
        publisher.put_unacked("x".repeat(1 << 20)).await.unwrap();
    }
    in_time(publisher.flush()).await.unwrap();
    let segments = async |client: &Client| {
        let reply = client.request(Request::Status).await.unwrap();
        let Reply::Status(status) = reply else { panic!("{reply:?}") };
        status.space.segments
    };
    assert!(segments(&client).await >= 4);
    for _ in 0..COUNT {
        next(&mut subscriber).await.ack();
    }
    in_time(subscriber.flush_acks()).await.unwrap();
    let is_freed = async {
        while segments(&client).await > 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(is_freed).await;
    drop((subscriber, publisher, client));
    relay.kill();
    relay.start_again();
    let client = relay.client().await;
    let reply = client.request(Request::Status).await.unwrap();
    let Reply::Status(status) = reply else { panic!("{reply:?}") };
    assert!(!status.warnings.iter().any(|text| text.contains("damaged")), "{:?}", status.warnings);
    backlog(&client, 1).await;
    let mut subscriber = from_the_beginning(&client, 64).await;
    assert_eq!(number(&next(&mut subscriber).await), 0, "nothing else is owed");
}
