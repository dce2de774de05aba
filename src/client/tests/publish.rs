use std::time::Duration;

use super::relay::{Remote, ScriptedRelay, TakenPut, hello, soon};
use crate::client::{
    Backoff, Client, ClientError, ClientOptions, Message, MessageId, Publisher, PublisherOptions,
};
use crate::id::{ProducerId, ProducerSequence, RelayId, Sequence};
use crate::wire::body::{self, Notice, Refusal, RefusalCode, RelayHello};
use crate::wire::frame::{AckLevel, FrameKind};

async fn publisher_with(client: &Client, remote: &mut Remote, options: PublisherOptions) -> Publisher {
    let group = "g".parse().unwrap();
    let (publisher, ()) = tokio::join!(client.publisher(group, options), remote.open_group(4));
    publisher.unwrap()
}

async fn publisher(client: &Client, remote: &mut Remote) -> Publisher {
    publisher_with(client, remote, PublisherOptions::default()).await
}

async fn refuse(remote: &mut Remote, put: u64, code: RefusalCode) {
    let refusal = Refusal::new(code, "no");
    remote.notice(Notice::PutRefused { put, refusal }).await;
}

#[tokio::test]
async fn a_put_gets_the_id_that_the_relay_gave_it() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    let ticket = publisher.put(Message::new("a").subject("x/y")).await.unwrap();
    let put = remote.put().await;
    assert_eq!((put.handle, put.head.put, put.first()), (4, 1, 1));
    assert!(put.head.transient);
    remote.done(&put, 42).await;
    let receipt = soon(ticket).await.unwrap();
    let id = MessageId::new(RelayId::new("north").unwrap(), (3, 9), "g".parse().unwrap(), Sequence(42));
    assert_eq!((receipt.id, receipt.repeat), (Some(id), false));
}

#[tokio::test]
async fn a_put_without_an_answer_is_sent_again_byte_for_byte() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    let mut sent = Vec::new();
    let mut tickets = Vec::new();
    for payload in ["one", "two", "three"] {
        tickets.push(publisher.put(payload).await.unwrap());
        sent.push(remote.put().await);
    }
    remote.done(&sent[0], 10).await;
    soon(tickets.remove(0)).await.unwrap();
    drop(remote);
    let mut remote = relay.accept().await;
    remote.open_group(9).await;
    for (number, before) in sent[1..].iter().enumerate() {
        let again = remote.put().await;
        assert_eq!(again.records, before.records);
        assert_eq!(again.head.producer, before.head.producer);
        assert_eq!(again.head.body_hash, before.head.body_hash);
        assert_eq!(again.head.lowest_unanswered, ProducerSequence(2), "the first was answered");
        assert_eq!((again.handle, again.head.put), (9, number as u64 + 1));
        remote.done_with(again.head.put, 0, 1).await;
    }
    for ticket in tickets {
        let receipt = soon(ticket).await.unwrap();
        assert!(receipt.repeat && receipt.id.is_none());
    }
    assert_eq!(publisher.answered(), ProducerSequence(4));
}

#[tokio::test]
async fn what_is_put_while_there_is_no_connection_goes_with_the_next_one() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    drop(remote);
    let last = publisher.put_bulk(["a", "b", "c"]).await.unwrap();
    let mut remote = relay.accept().await;
    remote.open_group(4).await;
    let puts = remote.take_messages(3).await;
    assert_eq!(puts[0].first(), 1);
    soon(publisher.wait_answered(last.unwrap())).await.unwrap();
    soon(publisher.close()).await.unwrap();
}

#[tokio::test]
async fn messages_behind_one_that_is_on_its_way_go_together_and_in_order() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    let expected: Vec<Vec<u8>> = (0..5000u32).map(|i| i.to_string().into_bytes()).collect();
    for payload in &expected {
        publisher.put_unacked(payload.clone()).await.unwrap();
    }
    let puts = remote.take_messages(5000).await;
    let found: Vec<Vec<u8>> = puts.iter().flat_map(TakenPut::payloads).collect();
    assert_eq!(found, expected);
    assert!(puts.len() < 500, "{} runs", puts.len());
    let mut next = 1;
    for put in &puts {
        assert_eq!(put.first(), next);
        next += put.count();
    }
    soon(publisher.flush()).await.unwrap();
    assert_eq!(publisher.answered(), ProducerSequence(5001));
}

#[tokio::test]
async fn a_run_is_not_larger_than_its_target_and_a_large_message_goes_alone() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = PublisherOptions { run_bytes: 1000, ..PublisherOptions::default() };
    let publisher = publisher_with(&client, &mut remote, options).await;
    let sizes = [600, 600, 5000, 10, 10];
    for size in sizes {
        publisher.put_unacked(vec![0; size]).await.unwrap();
    }
    let puts = remote.take_messages(5).await;
    for put in &puts {
        assert!(put.records.len() <= 1000 || put.count() == 1);
    }
    let found: Vec<usize> = puts.iter().flat_map(|put| put.payloads()).map(|payload| payload.len()).collect();
    assert_eq!(found, sizes);
}

#[tokio::test]
async fn a_refusal_is_told_to_the_ticket_or_kept() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    let ticket = publisher.put("a").await.unwrap();
    let put = remote.put().await;
    refuse(&mut remote, put.head.put, RefusalCode::Quota).await;
    let error = soon(ticket).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(refusal) if refusal.code == RefusalCode::Quota));
    soon(publisher.flush()).await.unwrap();

    let sequence = publisher.put_unacked("b").await.unwrap();
    let put = remote.put().await;
    refuse(&mut remote, put.head.put, RefusalCode::NoRoom).await;
    soon(publisher.wait_answered(sequence)).await.unwrap();
    soon(publisher.flush()).await.unwrap_err();
    assert_eq!((publisher.answered(), publisher.failed()), (ProducerSequence(3), 1));
    let failures = publisher.failures();
    assert_eq!((failures.len(), failures[0].first.0, failures[0].count), (1, 2, 1));
    soon(publisher.flush()).await.unwrap();

    publisher.put_unacked("c").await.unwrap();
    assert_eq!(remote.put().await.head.lowest_unanswered, ProducerSequence(3));
}

#[tokio::test]
async fn a_refusal_for_the_moment_is_tried_again_in_order() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    publisher.put_unacked("a").await.unwrap();
    let first = remote.put().await;
    publisher.put_unacked("b").await.unwrap();
    remote.put().await;
    refuse(&mut remote, first.head.put, RefusalCode::Stopping).await;
    let mut remote = relay.accept().await;
    remote.open_group(4).await;
    let puts = remote.take_messages(2).await;
    assert_eq!(puts[0].records, first.records);
    soon(publisher.flush()).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_takes_nothing_for_the_moment_is_given_up_like_one_that_is_away() {
    let relay = ScriptedRelay::start().await;
    let reconnect =
        Backoff { first: Duration::from_millis(1), give_up: Some(Duration::ZERO), ..Backoff::default() };
    let options = ClientOptions { reconnect, ..relay.options() };
    let (client, mut remote) = relay.client_with(options).await;
    let publisher = publisher(&client, &mut remote).await;
    let ticket = publisher.put("a").await.unwrap();
    let playing = async {
        for _ in 0..2 {
            let put = remote.put().await;
            refuse(&mut remote, put.head.put, RefusalCode::NotReady).await;
            remote = relay.accept().await;
            remote.open_group(4).await;
        }
    };
    let error = tokio::select! {
        answered = soon(ticket) => answered.unwrap_err(),
        () = playing => panic!("it is tried for ever"),
    };
    assert!(error.to_string().contains("no"), "the relay's reason is told: {error}");
}

#[tokio::test]
async fn why_a_relay_takes_nothing_is_known_until_it_takes_something() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    assert_eq!(client.held_up(), None);
    let ticket = publisher.put("a").await.unwrap();
    for _ in 0..2 {
        let put = remote.put().await;
        refuse(&mut remote, put.head.put, RefusalCode::NotReady).await;
        remote = relay.accept().await;
        remote.open_group(4).await;
        // The group is open again, and nothing is taken for all that.
        assert_eq!(client.held_up().map(|refusal| refusal.code), Some(RefusalCode::NotReady));
    }
    let put = remote.put().await;
    assert!(client.held_up().is_some());
    remote.done(&put, 1).await;
    soon(ticket).await.unwrap();
    assert_eq!(client.held_up(), None);
    // What came later and is another trouble takes its place.
    let ticket = publisher.put("b").await.unwrap();
    let put = remote.put().await;
    refuse(&mut remote, put.head.put, RefusalCode::Stopping).await;
    drop(relay.accept().await);
    let mut remote = relay.accept().await;
    assert_eq!(client.held_up(), None, "the relay went away since");
    remote.open_group(4).await;
    remote.take_messages(1).await;
    soon(ticket).await.unwrap();
}

#[tokio::test]
async fn a_full_window_waits_for_an_answer() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = PublisherOptions { window_messages: 2, ..PublisherOptions::default() };
    let publisher = publisher_with(&client, &mut remote, options).await;
    let message = Message::new("x");
    assert_eq!(publisher.try_put_unacked(&message).unwrap(), Some(ProducerSequence(1)));
    assert!(publisher.try_put(&message).unwrap().is_some());
    assert_eq!(publisher.try_put_unacked(&message).unwrap(), None);
    assert!(publisher.try_put(&message).unwrap().is_none());
    let waiting = publisher.put_unacked("x");
    let (sequence, _) = tokio::join!(soon(waiting), remote.take_messages(3));
    assert_eq!(sequence.unwrap(), ProducerSequence(3));
}

#[tokio::test]
async fn the_session_has_no_more_bytes_without_an_answer_than_the_relay_allows() {
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
    let options = PublisherOptions { run_bytes: 1, ..PublisherOptions::default() };
    let publisher = publisher_with(&client, &mut remote, options).await;
    for _ in 0..3 {
        publisher.put_unacked(vec![0; 1300]).await.unwrap();
    }
    let first = remote.put().await;
    remote.put().await;
    assert!(remote.is_quiet(Duration::from_millis(50)).await, "two are all that the relay allows");
    remote.done(&first, 1).await;
    remote.put().await;
}

#[tokio::test]
async fn options_go_into_the_head() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = PublisherOptions {
        producer: Some(ProducerId(5)),
        first_sequence: ProducerSequence(1042),
        level: AckLevel::Inserted,
        ..PublisherOptions::default()
    };
    let publisher = publisher_with(&client, &mut remote, options).await;
    assert_eq!((publisher.answered(), publisher.producer()), (ProducerSequence(1042), ProducerId(5)));
    assert_eq!(publisher.put_unacked("a").await.unwrap(), ProducerSequence(1042));
    let head = remote.put().await.head;
    assert_eq!(head.producer, Some((ProducerId(5), ProducerSequence(1042))));
    assert_eq!(head.lowest_unanswered, ProducerSequence(1042));
    assert_eq!((head.level, head.transient), (AckLevel::Inserted, false));
}

#[tokio::test]
async fn a_publisher_that_knows_nothing_of_lower_numbers_claims_none() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = PublisherOptions {
        producer: Some(ProducerId(5)),
        first_sequence: ProducerSequence(3),
        counts_on: false,
        ..PublisherOptions::default()
    };
    let publisher = publisher_with(&client, &mut remote, options).await;
    publisher.put_unacked("a").await.unwrap();
    let first = remote.put().await;
    remote.done(&first, 1).await;
    publisher.flush().await.unwrap();
    publisher.put_unacked("b").await.unwrap();
    for head in [first.head, remote.put().await.head] {
        assert_eq!(head.lowest_unanswered, ProducerSequence(0));
    }
}

#[tokio::test]
async fn what_the_relay_had_before_is_counted() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    for repeats in [1, 0, 1] {
        publisher.put_unacked("a").await.unwrap();
        let put = remote.put().await;
        remote.done_with(put.head.put, 1, repeats).await;
        publisher.flush().await.unwrap();
    }
    assert_eq!((publisher.repeats(), publisher.failed()), (2, 0));
}

#[tokio::test]
async fn a_message_over_the_groups_bound_is_refused_before_it_is_sent() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    let error = publisher.put(vec![0; (1 << 20) + 1]).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused(refusal) if refusal.code == RefusalCode::TooLarge));
    assert!(publisher.put_bulk([vec![0; 1], vec![0; (1 << 20) + 1]]).await.is_err());
    assert_eq!(remote.put().await.count(), 1);
}

#[tokio::test]
async fn a_dropped_publisher_still_sends_what_it_has_taken() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    let ticket = publisher.put("a").await.unwrap();
    drop(publisher);
    drop(remote);
    let mut remote = relay.accept().await;
    remote.open_group(4).await;
    remote.take_messages(1).await;
    soon(ticket).await.unwrap();
    drop(remote);
    let mut remote = relay.accept().await;
    assert!(remote.is_quiet(Duration::from_millis(50)).await, "nobody publishes any more");
    drop(client);
}

#[tokio::test]
async fn a_group_that_may_not_be_opened_is_an_error() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let refuse = async {
        let (tag, _) = remote.request().await;
        remote.answer(tag, Err(Refusal::new(RefusalCode::NotPermitted, "no"))).await;
    };
    let group = "g".parse().unwrap();
    let (publisher, ()) = tokio::join!(client.publisher(group, PublisherOptions::default()), refuse);
    assert!(matches!(publisher, Err(ClientError::Refused(r)) if r.code == RefusalCode::NotPermitted));
}

#[tokio::test]
async fn it_is_known_whether_a_relay_may_have_what_it_was_sent() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let publisher = publisher(&client, &mut remote).await;
    let ticket = publisher.put("a").await.unwrap();
    let put = remote.put().await;
    assert!(publisher.is_unsure(), "it is there, and has said nothing");
    refuse(&mut remote, put.head.put, RefusalCode::NotReady).await;
    let mut remote = relay.accept().await;
    assert!(!publisher.is_unsure(), "it has said that it has not taken it");
    remote.open_group(4).await;
    remote.put().await;
    drop(remote);
    let mut remote = relay.accept().await;
    assert!(publisher.is_unsure(), "no session tells what became of that one");
    remote.open_group(4).await;
    let put = remote.put().await;
    refuse(&mut remote, put.head.put, RefusalCode::NotReady).await;
    let mut remote = relay.accept().await;
    assert!(publisher.is_unsure(), "and this refusal was of the second attempt");
    remote.open_group(4).await;
    remote.take_messages(1).await;
    soon(ticket).await.unwrap();
    assert!(!publisher.is_unsure());
    // What the client gives up stays so.
    publisher.put_unacked("b").await.unwrap();
    remote.put().await;
    soon(client.close()).await;
    assert!(publisher.is_unsure());
}
