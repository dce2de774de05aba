//! What subscriptions that lag behind cost others: time while their messages are moved, and room.

use std::time::Duration;

use tokio::task::JoinSet;

use super::client::{Connection, Inbox};
use super::load::{Load, Shape, wait_for};
use super::oracle::{Event, History};
use super::process::{Start, say};
use super::starved::{bearable, p99, put_one_by_one};

/// A group whose only subscription is not read.
const SLOW: &str = "slow";

/// Of six segments a third stays, for somebody who does not read it. It is moved, which takes
/// seconds, while others put.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_while_old_messages_are_moved_commits_go_on() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    let connection = Connection::open(&relay.address).await;
    connection.create_in(SLOW, "laggard").await.expect("a subscription");
    let shape = Shape { publishers: 1, pause: Duration::from_millis(5), ..Shape::default() };
    let load = Load::start(&relay.address, shape).await;
    fill(&connection, &load.history).await;
    let rewritten = async || connection.status().await.expect("it answers").space.rewritten_segments;
    let mut publisher = connection.publisher(1000, 100).await;
    let before = p99(put_one_by_one(&mut publisher, 300, &load.history).await);
    assert_eq!(rewritten().await, 0, "they are moved when they have been there for 10 s, not before");
    // What comes last before the new segment is in place, comes while it is written.
    let mut recent = Vec::new();
    wait_for("segments are rewritten", async || {
        recent.extend(put_one_by_one(&mut publisher, 50, &load.history).await);
        recent.drain(..recent.len().saturating_sub(300));
        rewritten().await > 0
    })
    .await;
    let beside = p99(recent);
    say(&format!("f38: p99 of a put with its commit: {before:?} before, {beside:?} beside rewriting"));
    assert!(beside < bearable(before), "{beside:?} beside rewriting, {before:?} before");
    load.finish().await;
    let mut inbox = connection.inbox(SLOW, "laggard").await.expect("it attaches");
    assert_eq!(inbox.read_all(&History::default()).await, 4000, "what was moved is there");
    relay.stop().expect_code(0);
}

/// 128 MiB that are read, and 64 MiB among them that are not.
async fn fill(connection: &Connection, history: &History) {
    let mut read = connection.publisher(1001, 32 * 1024).await;
    let mut slow = connection.publisher_in(SLOW, 1, 16 * 1024).await.expect("a publisher");
    for _ in 0..80 {
        let mut tickets = Vec::new();
        for _ in 0..50 {
            history.note(Event::Put(read.next()));
            tickets.push((true, read.put().await.expect("a ticket")));
            tickets.push((false, slow.put().await.expect("a ticket")));
        }
        for (is_read, ticket) in tickets {
            let (id, _) = ticket.answer().await;
            if is_read {
                history.note(Event::Answered(id));
            }
        }
    }
}

const GROUPS: u32 = 5000;
const ROUNDS: u32 = 8;
/// Bytes of a message: with 250 MiB in all, two snapshots of the relay's state are written, and
/// what is not covered by both is kept.
const BYTES: usize = 6400;

/// Two subscriptions each of five thousand groups, whose messages lie scattered over eight
/// segments; one of the ten thousand reads nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute, and a GiB of disk"]
async fn f47_the_slowest_of_ten_thousand_keeps_its_own_messages_only() {
    let data = tempfile::tempdir().expect("a directory");
    let relay = Start::new(data.path()).start();
    let connection = Connection::open(&relay.address).await;
    let group = |number: u32| format!("group-{number}");
    connection.create_in(&group(0), "laggard").await.expect("a subscription");
    let mut readers = JoinSet::new();
    for number in 1..2 * GROUPS {
        let (group, name) = (group(number / 2), format!("reader-{}", number % 2));
        let inbox = connection.inbox(&group, &name).await.expect("it attaches");
        readers.spawn(read(inbox));
    }
    put_rounds(&connection, group).await;
    while let Some(read) = readers.join_next().await {
        read.expect("no panic").expect("the connection holds");
    }
    // The last segments are in use, or not in both snapshots of the relay's state yet.
    wait_for("only what is owed is kept", async || {
        let space = connection.status().await.expect("it answers").space;
        space.rewritten_segments >= 3 && space.cold_segments >= 1 && space.segments <= 5
    })
    .await;
    let status = connection.status().await.expect("it answers");
    assert_eq!(status.subscriptions, u64::from(2 * GROUPS), "{status:?}");
    let segments = status.space.segments;
    let mebibytes = status.space.file_bytes >> 20;
    say(&format!(
        "f47: one of {} subscriptions keeps {segments} segments; {mebibytes} MiB of files",
        2 * GROUPS
    ));
    // What was moved is found again by a start after a crash, and goes when it is read.
    drop(connection);
    relay.kill();
    let relay = Start::new(data.path()).start();
    let connection = Connection::open(&relay.address).await;
    let space = connection.status().await.expect("it answers").space;
    assert!(space.cold_segments >= 1, "{space:?}");
    let history = History::default();
    let mut inbox = connection.inbox(&group(0), "laggard").await.expect("it attaches");
    assert_eq!(inbox.read_all(&history).await, ROUNDS as usize);
    inbox.sync().await.expect("its acks are there");
    wait_for("nothing that was moved is kept", async || {
        connection.status().await.expect("it answers").space.cold_segments == 0
    })
    .await;
    relay.stop().expect_code(0);
}

/// A message to each group, then the next to each.
async fn put_rounds(connection: &Connection, group: impl Fn(u32) -> String) {
    let mut publishers = Vec::new();
    for number in 0..GROUPS {
        publishers.push(connection.publisher_in(&group(number), number, BYTES).await.expect("a publisher"));
    }
    for _ in 0..ROUNDS {
        let mut tickets = Vec::new();
        for publisher in &mut publishers {
            tickets.push(publisher.put().await.expect("a ticket"));
        }
        for ticket in tickets {
            assert_eq!(ticket.answer().await.1, super::client::Put::Answered);
        }
    }
}

/// Takes and acks all messages of a group, which come in order.
async fn read(mut inbox: Inbox) -> Result<(), String> {
    for round in 1..=ROUNDS {
        let (id, message) = inbox.next().await?;
        assert_eq!(id.number, round, "{id:?}");
        message.ack();
    }
    inbox.sync().await
}
