//! A whole server on loopback, and the client library against it.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

use std::net::SocketAddr;
use std::time::Duration;

use treecast::client::{Client, ClientError, Delivery, Message, PublisherOptions, SubscriberOptions};
use treecast::id::{GroupName, RelayId, SubscriptionName};
use treecast::server::{Server, ServerOptions};
use treecast::wire::body::{Reply, Request, SubscriptionSpec};

fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

fn sub(name: &str) -> Option<SubscriptionName> {
    Some(SubscriptionName::new(name).unwrap())
}

async fn start(data: &std::path::Path, port: u16) -> Server {
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    let mut options = ServerOptions::new(RelayId::new("r").unwrap(), data.to_owned(), listen);
    options.log.segment_bytes = 1024 * 1024;
    Server::start(options).await.unwrap()
}

async fn next(subscriber: &mut treecast::client::Subscriber) -> treecast::client::Received {
    let next = tokio::time::timeout(Duration::from_secs(10), subscriber.next()).await.expect("in time");
    match next.unwrap().unwrap() {
        Delivery::Message(message) => message,
        Delivery::Gap(gap) => panic!("{gap:?}"),
        Delivery::Unordered(unordered) => panic!("{unordered:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_from_a_publisher_to_a_subscriber() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 0).await;
    let client = Client::connect(&server.address().to_string()).await.unwrap();
    let mut inbox =
        client.subscriber(group("orders"), sub("billing"), SubscriberOptions::default()).await.unwrap();
    let message = Message::new("hello").subject("a/b").header("k", "v");
    let receipt = client.put(&group("orders"), message).await.unwrap();
    let received = next(&mut inbox).await;
    assert_eq!(&received.payload[..], b"hello");
    assert_eq!(received.subject(), Some("a/b"));
    assert_eq!(received.headers(), [("k", &b"v"[..])]);
    assert_eq!(Some(&received.id), receipt.id.as_ref());
    received.ack();
    inbox.close().await.unwrap();
    drop(client);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_survives_a_restart_and_clients_reconnect_by_themselves() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 0).await;
    let port = server.address().port();
    let client = Client::connect(&server.address().to_string()).await.unwrap();
    let spec = SubscriptionSpec::default();
    let create = Request::SubscriptionCreate { group: group("g"), name: sub("s").unwrap(), spec };
    assert_eq!(client.request(create).await.unwrap(), Reply::Done);
    let publisher = client.publisher(group("g"), PublisherOptions::default()).await.unwrap();
    for i in 0..5000 {
        publisher.put_unacked(format!("message {i}")).await.unwrap();
    }
    publisher.flush().await.unwrap();
    server.stop().await.unwrap();

    let server = start(data.path(), port).await;
    for i in 5000..6000 {
        publisher.put_unacked(format!("message {i}")).await.unwrap();
    }
    publisher.flush().await.unwrap();
    let mut inbox = loop {
        match client.subscriber(group("g"), sub("s"), SubscriberOptions::default()).await {
            Ok(inbox) => break inbox,
            Err(ClientError::Closed { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    };
    for i in 0..6000 {
        let received = next(&mut inbox).await;
        assert_eq!(received.payload, format!("message {i}"));
        received.ack();
    }
    inbox.flush_acks().await.unwrap();
    let books = client.request(Request::Books { group: None }).await.unwrap();
    let Reply::Books(books) = books else { panic!("{books:?}") };
    assert!(books.balanced, "{books:?}");
    assert_eq!(books.held, 0, "{books:?}");
    drop((publisher, inbox, client));
    server.stop().await.unwrap();
}

/// What is gone before the relay has looked at it leaves nothing behind.
#[tokio::test]
async fn p12_a_session_that_is_dropped_as_soon_as_it_is_open_is_forgotten() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 0).await;
    for _ in 0..100 {
        drop(server.sessions().open().await.unwrap());
    }
    let client = Client::connect(&server.address().to_string()).await.unwrap();
    let Reply::Status(status) = client.request(Request::Status).await.unwrap() else { panic!("no status") };
    assert_eq!(status.sessions, 1, "the client's own");
    server.stop().await.unwrap();
}
