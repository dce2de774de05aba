//! Puts that are safe at the relay and wait for more than that.

use std::time::Duration;

use bytes::BytesMut;

use super::relay::{Remote, ScriptedRelay, TakenPut, hello, soon};
use crate::client::{Client, ClientError, Publisher, PublisherOptions};
use crate::id::Sequence;
use crate::wire::body::{self, Notice, Refusal, RefusalCode, RelayHello};
use crate::wire::frame::{AckLevel, FrameKind, PUT_DONE_BYTES, PutDone};

async fn publisher(client: &Client, remote: &mut Remote, options: PublisherOptions) -> Publisher {
    let group = "g".parse().unwrap();
    let (publisher, ()) = tokio::join!(client.publisher(group, options), remote.open_group(4));
    publisher.unwrap()
}

fn inserted() -> PublisherOptions {
    PublisherOptions { level: AckLevel::Inserted, ..PublisherOptions::default() }
}

/// The put is on the relay's disk; more is said later.
async fn accept(remote: &mut Remote, put: &TakenPut) {
    let (put, first, repeats, level) = (put.head.put, Sequence(put.first()), 0, AckLevel::Accepted);
    let mut body = BytesMut::with_capacity(PUT_DONE_BYTES);
    PutDone { put, first, repeats, level, has_more: true }.encode(&mut body);
    remote.send(FrameKind::PutAnswer, 0, &body.freeze()).await;
}

async fn forget_producer(remote: &mut Remote, put: &TakenPut) {
    let refusal = Refusal::new(RefusalCode::ProducerForgotten, "not remembered");
    remote.notice(Notice::PutRefused { put: put.head.put, refusal }).await;
}

#[tokio::test]
async fn a_put_that_is_safe_is_not_told_as_refused_when_its_producer_was_forgotten_meanwhile() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote, inserted()).await;
    let (safe, sent) = (publisher.put("a").await.unwrap(), remote.put().await);
    accept(&mut remote, &sent).await;
    while safe.taken().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (lost, _) = (publisher.put("b").await.unwrap(), remote.put().await);
    drop(remote);
    let mut remote = relay.accept().await;
    remote.open_group(4).await;
    for _ in 0..2 {
        let again = remote.put().await;
        forget_producer(&mut remote, &again).await;
    }
    let error = soon(safe).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreached { reached: AckLevel::Accepted }), "{error}");
    let error = soon(lost).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused(refusal) if refusal.code == RefusalCode::ProducerForgotten),
        "nothing is known of this one: {error}"
    );
}

#[tokio::test]
async fn puts_that_are_durable_and_wait_for_more_hold_up_no_other_publisher() {
    let relay = ScriptedRelay::start().await;
    let play = async {
        let mut remote = relay.take().await;
        remote.next().await;
        let hello = RelayHello { put_bytes_max: 3000, ..hello() };
        remote.send(FrameKind::Hello, 0, &body::encode(&hello)).await;
        remote
    };
    let (client, mut remote) = tokio::join!(Client::connect_with(relay.options()), play);
    let client = client.unwrap();
    let waits = publisher(&client, &mut remote, PublisherOptions { run_bytes: 1, ..inserted() }).await;
    let other = publisher(&client, &mut remote, PublisherOptions::default()).await;
    for _ in 0..2 {
        waits.put_unacked(vec![0; 1300]).await.unwrap();
    }
    let sent = [remote.put().await, remote.put().await];
    let ticket = other.put(vec![0; 1300]).await.unwrap();
    assert!(remote.is_quiet(Duration::from_millis(50)).await, "two are all that the relay allows");
    for put in &sent {
        accept(&mut remote, put).await;
    }
    let put = remote.put().await;
    remote.done(&put, 1).await;
    soon(ticket).await.unwrap();
    for put in &sent {
        remote.done(put, put.first()).await;
    }
    soon(waits.flush()).await.unwrap_err();
}
