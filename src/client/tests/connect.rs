use std::time::Duration;

use bytes::Bytes;

use super::relay::{ScriptedRelay, hello, soon};
use crate::client::{Backoff, Client, ClientError, ClientOptions, PublisherOptions};
use crate::wire::body::{self, Close, Refusal, RefusalCode, RelayHello, Reply, Request};
use crate::wire::frame::FrameKind;

#[tokio::test]
async fn where_nobody_listens_no_relay_can_be_reached() {
    let relay = ScriptedRelay::start().await;
    let address = relay.address.clone();
    drop(relay);
    let error = Client::connect(&address).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { address: at, .. } if *at == address), "{error}");
}

async fn connect_to(kind: FrameKind, body: Bytes) -> ClientError {
    let relay = ScriptedRelay::start().await;
    let play = async {
        let mut remote = relay.take().await;
        remote.next().await;
        remote.send(kind, 0, &body).await;
        remote
    };
    let (client, _remote) = tokio::join!(Client::connect(&relay.address), play);
    client.unwrap_err()
}

#[tokio::test]
async fn another_protocol_is_told_apart_from_a_relay_that_says_no() {
    let other = RelayHello { magic: "other".to_owned(), ..hello() };
    let error = connect_to(FrameKind::Hello, body::encode(&other)).await;
    assert!(matches!(error, ClientError::Protocol(_)));
    let newer = RelayHello { version: 2, ..hello() };
    let error = connect_to(FrameKind::Hello, body::encode(&newer)).await;
    assert!(matches!(error, ClientError::Version { found: 2, known: 1 }));
    let close = Close { reason: "too many sessions".to_owned() };
    let error = connect_to(FrameKind::Close, body::encode(&close)).await;
    assert!(matches!(error, ClientError::Closed { reason } if reason == "too many sessions"));
    let error = connect_to(FrameKind::Pong, Bytes::new()).await;
    assert!(matches!(error, ClientError::Protocol(_)));
}

#[tokio::test]
async fn a_relay_that_says_nothing_is_not_waited_for() {
    let relay = ScriptedRelay::start().await;
    let options = ClientOptions { connect_deadline: Duration::from_millis(20), ..relay.options() };
    let error = Client::connect_with(options).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }));
}

#[tokio::test]
async fn requests_get_their_own_answers() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    assert_eq!(client.hello(), hello());
    let ask = |name: &str| client.request(Request::GroupRemove { group: name.parse().unwrap() });
    let play = async {
        let (first, request) = remote.request().await;
        assert_eq!(request, Request::GroupRemove { group: "a".parse().unwrap() });
        let (second, _) = remote.request().await;
        remote.answer(second, Err(Refusal::new(RefusalCode::NotFound, "no `b`"))).await;
        remote.answer(first, Ok(Reply::Done)).await;
    };
    let (a, b, ()) = tokio::join!(ask("a"), ask("b"), play);
    assert_eq!(a.unwrap(), Reply::Done);
    assert!(matches!(b, Err(ClientError::Refused(refusal)) if refusal.code == RefusalCode::NotFound));
    for request in [Request::Detach { handle: 0 }, Request::Unknown { why: String::new() }] {
        let answer = client.request(request).await;
        assert!(matches!(answer, Err(ClientError::Refused(refusal)) if refusal.code == RefusalCode::Invalid));
    }
}

#[tokio::test]
async fn a_request_whose_answer_was_lost_is_not_made_again() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let play = async {
        remote.request().await;
        let close = Close { reason: "stopping".to_owned() };
        remote.send(FrameKind::Close, 0, &body::encode(&close)).await;
        let mut next = relay.accept().await;
        assert!(next.is_quiet(Duration::from_millis(30)).await);
        next
    };
    let (answer, mut remote) = tokio::join!(client.request(Request::Status), play);
    assert!(matches!(answer, Err(ClientError::Closed { reason }) if reason == "stopping"));
    let play = async {
        let (tag, _) = remote.request().await;
        remote.answer(tag, Ok(Reply::Done)).await;
    };
    let (answer, ()) = tokio::join!(client.request(Request::Status), play);
    answer.unwrap();
}

#[tokio::test]
async fn a_request_without_an_answer_ends_at_its_deadline() {
    let relay = ScriptedRelay::start().await;
    let options = ClientOptions { request_deadline: Duration::from_millis(20), ..relay.options() };
    let (client, remote) = relay.client_with(options).await;
    assert!(matches!(client.request(Request::Status).await, Err(ClientError::Deadline)));
    drop((remote, relay));
    while client.trouble().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = client.request(Request::Status).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. } | ClientError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_relay_that_has_gone_silent_is_left() {
    let relay = ScriptedRelay::start().await;
    let options = ClientOptions { ping_interval: Duration::from_millis(10), ..relay.options() };
    let (_client, silent) = relay.client_with(options).await;
    let mut next = relay.accept().await;
    drop(silent);
    assert!(soon(async { next.is_quiet(Duration::from_millis(200)).await }).await, "pongs keep it alive");
}

#[tokio::test]
async fn a_client_that_has_given_up_says_so_at_once() {
    let relay = ScriptedRelay::start().await;
    let reconnect =
        Backoff { first: Duration::from_millis(1), give_up: Some(Duration::ZERO), ..Backoff::default() };
    let options = ClientOptions { reconnect, ..relay.options() };
    let (client, remote) = relay.client_with(options).await;
    drop((relay, remote));
    soon(client.shared().over()).await;
    assert!(matches!(client.request(Request::Status).await, Err(ClientError::Unreachable { .. })));
}

#[tokio::test]
async fn the_last_handle_says_goodbye() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let clone = client.clone();
    drop(client);
    assert!(remote.is_quiet(Duration::from_millis(20)).await);
    drop(clone);
    assert_eq!(remote.next().await.kind, FrameKind::Close);
    assert!(soon(remote.next_if_any()).await.is_none());

    let (client, mut remote) = relay.client().await;
    let (_, frame) = tokio::join!(soon(client.close()), remote.next());
    assert_eq!(frame.kind, FrameKind::Close);
}

#[tokio::test]
async fn a_relay_that_takes_nothing_any_more_does_not_keep_a_client_from_closing() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let group = "g".parse().unwrap();
    let (publisher, ()) =
        tokio::join!(client.publisher(group, PublisherOptions::default()), remote.open_group(1));
    let publisher = publisher.unwrap();
    for _ in 0..7 {
        soon(publisher.put_unacked(vec![0; 1 << 20])).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    soon(client.close()).await;
    assert!(matches!(soon(publisher.flush()).await, Err(ClientError::Closed { .. })));
    assert!(matches!(soon(publisher.put("x")).await, Err(ClientError::Closed { .. })));
}
