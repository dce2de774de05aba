//! Puts that are safe at the relay and wait for more than that.

use std::time::Duration;

use bytes::BytesMut;

use super::relay::{Remote, ScriptedRelay, TakenPut, soon};
use crate::client::{Client, ClientError, Publisher, PublisherOptions};
use crate::id::Sequence;
use crate::wire::body::{Notice, Refusal, RefusalCode};
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
