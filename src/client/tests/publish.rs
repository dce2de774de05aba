use std::time::Duration;

use super::relay::{Peer, ScriptedRelay, epoch, soon};
use crate::client::{Client, ClientError, Message, MessageId, Publisher, PublisherOptions};
use crate::id::{ProducerId, ProducerSequence, RelayId, Sequence};
use crate::wire::body::{Notice, Refusal, RefusalCode};
use crate::wire::frame::AckLevel;

async fn publisher_with(client: &Client, peer: &mut Peer, options: PublisherOptions) -> Publisher {
    let group = "g".parse().unwrap();
    let (publisher, ()) = tokio::join!(client.publisher(group, options), peer.open_group(4));
    publisher.unwrap()
}

async fn publisher(client: &Client, peer: &mut Peer) -> Publisher {
    publisher_with(client, peer, PublisherOptions::default()).await
}

async fn refuse(peer: &mut Peer, put: u64, code: RefusalCode) {
    let refusal = Refusal::new(code, "no");
    peer.notice(Notice::PutRefused { put, refusal }).await;
}

#[tokio::test]
async fn a_put_gets_the_id_that_the_relay_gave_it() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    let ticket = publisher.put(Message::new("a").subject("x/y")).await.unwrap();
    let put = peer.put().await;
    assert_eq!((put.handle, put.head.put, put.first()), (4, 1, 1));
    assert!(put.head.transient);
    peer.done(&put, 42).await;
    let receipt = soon(ticket).await.unwrap();
    let id = MessageId::new(RelayId::new("north").unwrap(), epoch(), "g".parse().unwrap(), Sequence(42));
    assert_eq!((receipt.id, receipt.repeat), (Some(id), false));
}

#[tokio::test]
async fn a_put_without_an_answer_is_sent_again_byte_for_byte() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    let mut sent = Vec::new();
    let mut tickets = Vec::new();
    for payload in ["one", "two", "three"] {
        tickets.push(publisher.put(payload).await.unwrap());
        sent.push(peer.put().await);
    }
    peer.done(&sent[0], 10).await;
    soon(tickets.remove(0)).await.unwrap();
    drop(peer);
    let mut peer = relay.accept().await;
    peer.open_group(9).await;
    for (number, before) in sent[1..].iter().enumerate() {
        let again = peer.put().await;
        assert_eq!(again.records, before.records);
        assert_eq!(again.head.producer, before.head.producer);
        assert_eq!(again.head.body_hash, before.head.body_hash);
        assert_eq!(again.head.lowest_unanswered, ProducerSequence(2), "the first was answered");
        assert_eq!((again.handle, again.head.put), (9, number as u64 + 1));
        peer.done_with(again.head.put, 0, 1).await;
    }
    for ticket in tickets {
        let receipt = soon(ticket).await.unwrap();
        assert!(receipt.repeat && receipt.id.is_none());
    }
    assert_eq!(publisher.acked(), 3);
}

#[tokio::test]
async fn what_is_put_while_there_is_no_connection_goes_with_the_next_one() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    drop(peer);
    let last = publisher.put_bulk(["a", "b", "c"]).await.unwrap();
    let mut peer = relay.accept().await;
    peer.open_group(4).await;
    let puts = peer.take_messages(3).await;
    assert_eq!(puts[0].first(), 1);
    soon(publisher.wait_acked(last)).await.unwrap();
    soon(publisher.close()).await.unwrap();
}

#[tokio::test]
async fn messages_behind_one_that_is_on_its_way_go_together_and_in_order() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    let expected: Vec<Vec<u8>> = (0..5000u32).map(|i| i.to_string().into_bytes()).collect();
    for payload in &expected {
        publisher.put_unacked(payload.clone()).await.unwrap();
    }
    let puts = peer.take_messages(5000).await;
    let found: Vec<Vec<u8>> = puts.iter().flat_map(super::relay::TakenPut::payloads).collect();
    assert_eq!(found, expected);
    assert!(puts.len() < 500, "{} runs", puts.len());
    let mut next = 1;
    for put in &puts {
        assert_eq!(put.first(), next);
        next += put.count();
    }
    soon(publisher.flush()).await.unwrap();
    assert_eq!(publisher.acked(), 5000);
}

#[tokio::test]
async fn a_run_is_not_larger_than_its_target_and_a_large_message_goes_alone() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let options = PublisherOptions { max_run_bytes: 1000, ..PublisherOptions::default() };
    let publisher = publisher_with(&client, &mut peer, options).await;
    let sizes = [600, 600, 5000, 10, 10];
    for size in sizes {
        publisher.put_unacked(vec![0; size]).await.unwrap();
    }
    let puts = peer.take_messages(5).await;
    for put in &puts {
        assert!(put.records.len() <= 1000 || put.count() == 1);
    }
    let found: Vec<usize> = puts.iter().flat_map(|put| put.payloads()).map(|payload| payload.len()).collect();
    assert_eq!(found, sizes);
}

#[tokio::test]
async fn a_refusal_is_told_to_the_ticket_or_kept() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    let ticket = publisher.put("a").await.unwrap();
    let put = peer.put().await;
    refuse(&mut peer, put.head.put, RefusalCode::Quota).await;
    let error = soon(ticket).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(refusal) if refusal.code == RefusalCode::Quota));
    soon(publisher.flush()).await.unwrap();

    let sequence = publisher.put_unacked("b").await.unwrap();
    let put = peer.put().await;
    refuse(&mut peer, put.head.put, RefusalCode::NoRoom).await;
    soon(publisher.wait_acked(sequence)).await.unwrap_err();
    assert_eq!((publisher.acked(), publisher.failed()), (2, 1));
    let failures = publisher.failures();
    assert_eq!((failures.len(), failures[0].first, failures[0].count), (1, 2, 1));
    soon(publisher.flush()).await.unwrap();

    publisher.put_unacked("c").await.unwrap();
    assert_eq!(peer.put().await.head.lowest_unanswered, ProducerSequence(3));
}

#[tokio::test]
async fn a_refusal_for_the_moment_is_tried_again_in_order() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    publisher.put_unacked("a").await.unwrap();
    let first = peer.put().await;
    publisher.put_unacked("b").await.unwrap();
    peer.put().await;
    refuse(&mut peer, first.head.put, RefusalCode::Stopping).await;
    let mut peer = relay.accept().await;
    peer.open_group(4).await;
    let puts = peer.take_messages(2).await;
    assert_eq!(puts[0].records, first.records);
    soon(publisher.flush()).await.unwrap();
}

#[tokio::test]
async fn a_full_window_waits_for_an_answer() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let options = PublisherOptions { window_messages: 2, ..PublisherOptions::default() };
    let publisher = publisher_with(&client, &mut peer, options).await;
    let message = Message::new("x");
    assert_eq!(publisher.try_put(&message).unwrap(), Some(1));
    assert_eq!(publisher.try_put(&message).unwrap(), Some(2));
    assert_eq!(publisher.try_put(&message).unwrap(), None);
    assert!(publisher.put_nowait("x").unwrap().is_none());
    let waiting = publisher.put_unacked("x");
    let (sequence, _) = tokio::join!(soon(waiting), peer.take_messages(3));
    assert_eq!(sequence.unwrap(), 3);
}

#[tokio::test]
async fn the_session_has_no_more_bytes_without_an_answer_than_the_relay_allows() {
    let relay = ScriptedRelay::start().await;
    let (mut peer, client) = {
        let (client, mut peer) = tokio::join!(Client::connect_with(relay.options()), relay.take());
        drop(client);
        peer.next().await;
        drop(peer);
        let connect = Client::connect_with(relay.options());
        let accept = async {
            let mut peer = relay.take().await;
            peer.next().await;
            let hello = crate::wire::body::RelayHello { put_bytes_max: 3000, ..super::relay::hello() };
            peer.send(crate::wire::frame::FrameKind::Hello, 0, &crate::wire::body::encode(&hello)).await;
            peer
        };
        let (client, peer) = tokio::join!(connect, accept);
        (peer, client.unwrap())
    };
    let options = PublisherOptions { max_run_bytes: 1, ..PublisherOptions::default() };
    let publisher = publisher_with(&client, &mut peer, options).await;
    for _ in 0..3 {
        publisher.put_unacked(vec![0; 1300]).await.unwrap();
    }
    let first = peer.put().await;
    peer.put().await;
    assert!(peer.is_quiet(Duration::from_millis(50)).await, "two are all that the relay allows");
    peer.done(&first, 1).await;
    peer.put().await;
}

#[tokio::test]
async fn options_go_into_the_head() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let options = PublisherOptions {
        producer: Some(ProducerId(5)),
        first: ProducerSequence(1042),
        level: AckLevel::Inserted,
        ..PublisherOptions::default()
    };
    let publisher = publisher_with(&client, &mut peer, options).await;
    assert_eq!(publisher.acked(), 1041);
    assert_eq!(publisher.put_unacked("a").await.unwrap(), 1042);
    let head = peer.put().await.head;
    assert_eq!(head.producer, Some((ProducerId(5), ProducerSequence(1042))));
    assert_eq!(head.lowest_unanswered, ProducerSequence(1042));
    assert_eq!((head.level, head.transient), (AckLevel::Inserted, false));
}

#[tokio::test]
async fn a_message_over_the_groups_bound_is_refused_before_it_is_sent() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    let error = publisher.put(vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(refusal) if refusal.code == RefusalCode::TooLarge));
    assert!(publisher.put_bulk([vec![0; 1], vec![0; (1 << 20) + 1]]).await.is_err());
    assert_eq!(peer.put().await.count(), 1);
}

#[tokio::test]
async fn a_dropped_publisher_still_sends_what_it_has_taken() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let publisher = publisher(&client, &mut peer).await;
    let ticket = publisher.put("a").await.unwrap();
    drop(publisher);
    drop(peer);
    let mut peer = relay.accept().await;
    peer.open_group(4).await;
    peer.take_messages(1).await;
    soon(ticket).await.unwrap();
    drop(peer);
    let mut peer = relay.accept().await;
    assert!(peer.is_quiet(Duration::from_millis(50)).await, "nobody publishes any more");
    drop(client);
}

#[tokio::test]
async fn a_group_that_may_not_be_opened_is_an_error() {
    let relay = ScriptedRelay::start().await;
    let (client, mut peer) = relay.client().await;
    let refuse = async {
        let (tag, _) = peer.request().await;
        peer.answer(tag, Err(Refusal::new(RefusalCode::NotPermitted, "no"))).await;
    };
    let group = "g".parse().unwrap();
    let (publisher, ()) = tokio::join!(client.publisher(group, PublisherOptions::default()), refuse);
    assert!(matches!(publisher, Err(ClientError::Refused(r)) if r.code == RefusalCode::NotPermitted));
}
