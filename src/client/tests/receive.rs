use std::time::{Duration, Instant};

use super::relay::{Remote, ScriptedRelay, soon};
use crate::client::{
    AckMode, Client, ClientError, ClientOptions, Delivery, Received, Subscriber, SubscriberOptions,
};
use crate::id::{Index, ProducerId, ProducerSequence};
use crate::wire::body::{
    Begun, GapCause, Missing, Notice, Refusal, RefusalCode, Reply, Request, SubscriptionSpec, UnorderedCause,
};
use crate::wire::frame::{Ack, AckKind, FrameKind};

async fn subscriber_with(client: &Client, remote: &mut Remote, options: SubscriberOptions) -> Subscriber {
    let (group, name) = ("g".parse().unwrap(), Some("sub".parse().unwrap()));
    let (subscriber, _) = tokio::join!(client.subscriber(group, name, options), remote.attach(2));
    subscriber.unwrap()
}

async fn subscriber(client: &Client, remote: &mut Remote) -> Subscriber {
    let mut subscriber = subscriber_with(client, remote, SubscriberOptions::default()).await;
    assert!(subscriber.try_next().is_none());
    subscriber
}

async fn message(subscriber: &mut Subscriber) -> Received {
    let next = soon(subscriber.next()).await.expect("the subscriber has not ended").unwrap();
    next.message().expect("a message comes next")
}

fn ranges(acks: &[Ack]) -> Vec<(AckKind, u64, u64)> {
    acks.iter().map(|ack| (ack.kind, ack.from.0, ack.to.0)).collect()
}

#[tokio::test]
async fn messages_come_with_all_that_is_known_of_them() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver_with(2, 7, &["a", "s:b"], |head| head.attempt = 3).await;
    let one = message(&mut subscriber).await;
    let two = message(&mut subscriber).await;
    assert_eq!((&one.payload[..], one.index, one.attempt, one.subject()), (&b"a"[..], Index(7), 3, None));
    assert_eq!((&two.payload[..], two.index, two.subject()), (&b"s:b"[..], Index(8), Some("a/b")));
    assert_eq!((two.id.origin().as_str(), two.id.group().as_str()), ("south", "g"));
    assert_eq!((one.id.sequence().0, two.id.sequence().0), (107, 108));
}

#[tokio::test]
async fn acks_are_merged_and_sent_soon_without_being_asked_for() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a", "b", "c", "d", "e"]).await;
    let mut received = Vec::new();
    for _ in 0..5 {
        received.push(message(&mut subscriber).await);
    }
    for place in [2, 1, 4] {
        received[place].ack();
    }
    received[0].nack(Duration::from_millis(30));
    let acks = remote.acks().await;
    assert_eq!(ranges(&acks), [(AckKind::Nack, 1, 2), (AckKind::Ack, 2, 4), (AckKind::Ack, 5, 6)]);
    assert_eq!((acks[0].delay_ms, acks[0].handle), (30, 2));
    received[3].reject();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Reject, 4, 5)]);
}

#[tokio::test]
async fn credit_follows_what_the_application_is_done_with() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = SubscriberOptions { window: 1, ..SubscriberOptions::default() };
    let mut subscriber = subscriber_with(&client, &mut remote, options).await;
    assert_eq!(remote.credit().await[0].total, 1);
    remote.deliver(2, 1, &["a"]).await;
    message(&mut subscriber).await;
    assert!(remote.is_quiet(Duration::from_millis(30)).await, "the application works on the first");
    assert!(subscriber.try_next().is_none());
    assert_eq!(remote.credit().await[0].total, 2);
}

#[tokio::test]
async fn credit_grows_to_the_window_once_messages_are_known_to_be_small() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let subscriber = subscriber(&client, &mut remote).await;
    assert_eq!(remote.credit().await[0].total, 16);
    remote.deliver(2, 1, &["a"]).await;
    assert_eq!(remote.credit().await[0].total, 1024);
    drop(subscriber);
}

#[tokio::test]
async fn a_gap_comes_in_its_place_and_is_acked_like_a_message() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a"]).await;
    let (from, to, cause) = (Index(2), Index(5), GapCause::Retention);
    remote.notice(Notice::Gap { handle: 2, from, to, cause }).await;
    remote.deliver(2, 5, &["b"]).await;
    assert_eq!(message(&mut subscriber).await.index, Index(1));
    let gap = soon(subscriber.next()).await.unwrap().unwrap();
    let Delivery::Gap(gap) = gap else { panic!("a gap comes next") };
    assert_eq!((gap.from, gap.to, gap.cause), (from, to, cause));
    let behind = message(&mut subscriber).await;
    assert_eq!(behind.index, Index(5));
    gap.ack();
    behind.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 2, 6)]);
}

#[tokio::test]
async fn what_is_to_be_known_of_the_order_comes_before_the_messages_and_is_not_acked() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    let (from, to, cause) = (Index(7), Index(8), UnorderedCause::Waited);
    let producer = ProducerId(9);
    let missing = Some(Missing { producer, from: ProducerSequence(3), to: ProducerSequence(5) });
    for batched in [false, true] {
        // An index that is below the one before: it was set aside.
        remote.deliver(2, 9, &["a"]).await;
        remote.notice(Notice::Unordered { handle: 2, from, to, missing, cause }).await;
        remote.deliver(2, 7, &["b"]).await;
        assert_eq!(message(&mut subscriber).await.index, Index(9));
        let told = if batched {
            let batch = soon(subscriber.next_batch(10)).await.unwrap();
            let told = *batch.unordered().unwrap();
            if batch.is_empty() {
                assert_eq!(message(&mut subscriber).await.index, from);
            } else {
                assert_eq!(batch.iter().next().unwrap().index(), from);
            }
            told
        } else {
            let Some(Ok(Delivery::Unordered(told))) = soon(subscriber.next()).await else {
                panic!("it comes next")
            };
            let behind = message(&mut subscriber).await;
            behind.ack();
            assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 7, 8)]);
            told
        };
        assert_eq!((told.from, told.to, told.missing, told.cause), (from, to, missing, cause));
    }
}

#[tokio::test]
async fn a_delivery_with_a_wrong_hash_ends_the_session_and_comes_again() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver_with(2, 1, &["a"], |head| head.records_hash ^= 1).await;
    let mut remote = relay.accept().await;
    remote.attach(0).await;
    remote.credit().await;
    remote.deliver_with(0, 1, &["a"], |head| head.attempt = 2).await;
    assert_eq!(message(&mut subscriber).await.attempt, 2);
}

#[tokio::test]
async fn records_that_are_none_end_the_session() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver_with(2, 1, &["a"], |head| head.count = 2).await;
    message(&mut subscriber).await;
    let play = async {
        let mut remote = relay.accept().await;
        remote.attach(0).await;
        remote.credit().await;
        remote.deliver(0, 2, &["b"]).await;
        remote
    };
    let (next, _remote) = tokio::join!(message(&mut subscriber), play);
    assert_eq!(next.index, Index(2));
}

#[tokio::test]
async fn after_a_loss_it_attaches_by_name_and_sends_old_acks_before_new_credit() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options =
        SubscriberOptions { create: Some(SubscriptionSpec::default()), ..SubscriberOptions::default() };
    let mut subscriber = subscriber_with(&client, &mut remote, options).await;
    remote.deliver(2, 1, &["a", "b", "c"]).await;
    let received = [message(&mut subscriber).await, message(&mut subscriber).await];
    drop(remote);
    while client.trouble().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    received[0].ack();
    received[1].nack(Duration::ZERO);
    let mut remote = relay.accept().await;
    let Request::Attach { name, create, .. } = remote.attach(6).await else { panic!("it attaches") };
    assert_eq!((name.unwrap().as_str(), create), ("sub", None));
    let frame = remote.next().await;
    assert_eq!(frame.kind, FrameKind::Ack, "before the credit");
    let acks = Ack::decode_list(frame.body).unwrap();
    assert_eq!(ranges(&acks), [(AckKind::Ack, 1, 2)], "the nack was of a delivery that is gone");
    assert_eq!(acks[0].handle, 6);
    assert_eq!(
        remote.credit().await[0].total,
        1024,
        "totals restart, and it is known how large messages are"
    );
    remote.deliver_with(6, 2, &["b"], |head| head.attempt = 2).await;
    let again = message(&mut subscriber).await;
    assert_eq!((again.index, again.attempt), (Index(2), 2), "what was here of the lost connection is gone");
}

#[tokio::test]
async fn a_subscriber_that_was_taken_over_has_ended_for_good() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.credit().await;
    let refusal = Refusal::new(RefusalCode::Exists, "another receiver");
    remote.notice(Notice::Detached { handle: 2, refusal }).await;
    let error = soon(subscriber.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Refused(refusal) if refusal.code == RefusalCode::Exists));
    assert!(soon(subscriber.next()).await.is_none());
    assert!(remote.is_quiet(Duration::from_millis(30)).await, "it does not attach again");
    drop(remote);
    let mut remote = relay.accept().await;
    assert!(remote.is_quiet(Duration::from_millis(30)).await, "not on a new connection either");
}

#[tokio::test]
async fn a_subscription_that_is_gone_after_a_loss_is_an_error() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    drop(remote);
    let mut remote = relay.accept().await;
    let (tag, _) = remote.request().await;
    remote.answer(tag, Err(Refusal::new(RefusalCode::NotFound, "removed"))).await;
    assert!(soon(subscriber.next()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_subscriber_whose_relay_is_not_ready_ends_with_the_relays_reason() {
    let relay = ScriptedRelay::start().await;
    let options = ClientOptions { request_deadline: Duration::from_millis(200), ..relay.options() };
    let (client, mut remote) = relay.client_with(options).await;
    let refused = async {
        loop {
            let (tag, _) = remote.request().await;
            remote.answer(tag, Err(away())).await;
        }
    };
    let attached = client.subscriber("g".parse().unwrap(), None, SubscriberOptions::default());
    let error = tokio::select! {
        attached = soon(attached) => attached.unwrap_err(),
        () = refused => panic!("it is tried for ever"),
    };
    assert!(matches!(&error, ClientError::Refused(r) if r.message == "the home is away"), "{error}");
}

/// Longer than any answer is waited for, if it is asked to; a relay that does not answer is not waited for.
#[tokio::test]
async fn a_subscriber_waits_for_a_relay_that_is_not_ready_as_long_as_it_is_told_to() {
    let relay = ScriptedRelay::start().await;
    let options = ClientOptions { request_deadline: Duration::from_millis(200), ..relay.options() };
    let (client, mut remote) = relay.client_with(options).await;
    let waits = |attach_deadline: Duration| {
        let options =
            SubscriberOptions { attach_deadline: Some(attach_deadline), ..SubscriberOptions::default() };
        client.subscriber("g".parse().unwrap(), None, options)
    };
    let begun = Instant::now();
    let refused = async {
        loop {
            let (tag, _) = remote.request().await;
            remote.answer(tag, Err(away())).await;
        }
    };
    tokio::select! {
        attached = soon(waits(Duration::from_millis(700))) => assert!(attached.is_err()),
        () = refused => panic!("it is tried for ever"),
    };
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(soon(waits(Duration::MAX)).await.is_err(), "it does not answer");
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(soon(waits(Duration::from_millis(10))).await.is_err());
    assert!(begun.elapsed() >= Duration::from_millis(200), "whether it answers is waited for all the same");
}

fn away() -> Refusal {
    Refusal::new(RefusalCode::NotReady, "the home is away")
}

/// What is led to another relay is attached again on the same connection: others go on with it.
#[tokio::test]
async fn a_subscriber_whose_home_is_away_is_attached_again_and_it_is_known_why_it_waits() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    assert_eq!(client.held_up(), None);
    remote.notice(Notice::Detached { handle: 2, refusal: away() }).await;
    for handle in [None, Some(5)] {
        let (_, tag, request) = remote.request_behind_acks().await;
        assert!(matches!(request, Request::Attach { create: None, .. }), "{request:?}");
        assert_eq!(client.held_up(), Some(away()));
        let name = "sub".parse().unwrap();
        let reply = |handle| Reply::SubscriptionHandle {
            handle,
            name,
            created: false,
            window: 9,
            moves: 0,
            begun: None,
        };
        remote.answer(tag, handle.map(reply).ok_or_else(away)).await;
    }
    remote.credit().await;
    assert_eq!(client.held_up(), None, "it is there again");
    remote.deliver(5, 1, &["a"]).await;
    assert_eq!(message(&mut subscriber).await.index, Index(1));
    // What came later and is another trouble takes its place.
    remote.notice(Notice::Detached { handle: 5, refusal: away() }).await;
    remote.request_behind_acks().await;
    assert_eq!(client.held_up(), Some(away()));
    drop(remote);
    relay.accept().await;
    assert_eq!(client.held_up(), None, "the relay went away since");
}

#[tokio::test]
async fn a_batch_takes_what_is_here_up_to_a_gap() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a", "b", "c"]).await;
    remote.deliver(2, 4, &["d", "s:e"]).await;
    let (from, to, cause) = (Index(6), Index(8), GapCause::Damaged);
    remote.notice(Notice::Gap { handle: 2, from, to, cause }).await;
    remote.deliver(2, 8, &["f"]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let two = soon(subscriber.next_batch(2)).await.unwrap();
    let rest = soon(subscriber.next_batch(100)).await.unwrap();
    let behind = soon(subscriber.next_batch(100)).await.unwrap();
    let payloads = |batch: &crate::client::Batch| {
        batch.iter().map(|m| String::from_utf8(m.payload().to_vec()).unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((payloads(&two), two.len()), ("a b".to_owned(), 2));
    assert_eq!((payloads(&rest), rest.gap().is_none()), ("c d s:e".to_owned(), true));
    assert_eq!((payloads(&behind), behind.gap().unwrap().from), ("f".to_owned(), Index(6)));
    let last = rest.iter().last().unwrap();
    assert_eq!((last.index(), last.subject(), last.id().sequence().0), (Index(5), Some("a/b"), 105));
    for batch in [&behind, &rest, &two] {
        batch.ack_all();
    }
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 9)], "the gap too");
    assert_eq!(behind.into_messages()[0].index, Index(8));
}

#[tokio::test]
async fn with_automatic_acks_a_message_is_acked_when_the_application_comes_back() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = SubscriberOptions { ack_mode: AckMode::Auto, ..SubscriberOptions::default() };
    let mut subscriber = subscriber_with(&client, &mut remote, options).await;
    assert!(subscriber.try_next().is_none());
    remote.deliver(2, 1, &["a", "b"]).await;
    message(&mut subscriber).await;
    message(&mut subscriber).await;
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 2)]);
    assert!(subscriber.try_next().is_none());
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 2, 3)]);
}

#[tokio::test]
async fn close_sends_the_acks_waits_for_the_relay_and_detaches() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a"]).await;
    message(&mut subscriber).await.ack();
    let play = async {
        let (acks, tag, request) = remote.request_behind_acks().await;
        assert_eq!(ranges(&acks), [(AckKind::Ack, 1, 2)]);
        assert_eq!(request, Request::Sync);
        remote.answer(tag, Ok(Reply::Done)).await;
        let (_, tag, request) = remote.request_behind_acks().await;
        assert_eq!(request, Request::Detach { handle: 2 });
        remote.deliver(2, 2, &["on its way"]).await;
        remote.answer(tag, Ok(Reply::Done)).await;
    };
    let (closed, ()) = tokio::join!(soon(subscriber.close()), play);
    closed.unwrap();
}

#[tokio::test]
async fn a_dropped_subscriber_sends_its_acks_and_detaches() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a"]).await;
    let received = message(&mut subscriber).await;
    received.ack();
    drop(subscriber);
    received.nack(Duration::ZERO);
    let (acks, tag, request) = remote.request_behind_acks().await;
    assert_eq!((ranges(&acks), request), (vec![(AckKind::Ack, 1, 2)], Request::Detach { handle: 2 }));
    remote.answer(tag, Ok(Reply::Done)).await;
    assert!(remote.is_quiet(Duration::from_millis(30)).await);
}

#[tokio::test]
async fn a_relay_that_delivers_more_than_it_was_asked_for_is_left() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = SubscriberOptions { window: 2, ..SubscriberOptions::default() };
    let mut subscriber = subscriber_with(&client, &mut remote, options).await;
    assert_eq!(remote.credit().await[0].total, 2);
    remote.deliver(2, 1, &["a", "b", "c"]).await;
    let mut remote = relay.accept().await;
    remote.attach(0).await;
    remote.credit().await;
    remote.deliver(0, 1, &["a", "b"]).await;
    assert_eq!(message(&mut subscriber).await.index, Index(1));
}

#[tokio::test]
async fn two_subscribers_of_one_client_get_their_own_messages() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut one = subscriber_with(&client, &mut remote, SubscriberOptions::default()).await;
    let queue = client.queue("q".parse().unwrap(), SubscriberOptions::default());
    let play = async {
        let (_, tag, request) = remote.request_behind_acks().await;
        assert!(matches!(request, Request::Attach { name: None, create: None, .. }));
        let name = "queue".parse().unwrap();
        remote
            .answer(
                tag,
                Ok(Reply::SubscriptionHandle {
                    handle: 3,
                    name,
                    created: false,
                    window: 1024,
                    moves: 0,
                    begun: None,
                }),
            )
            .await;
        assert_eq!(remote.credit().await[0].total, 16);
        remote.deliver(2, 1, &["one"]).await;
        remote.deliver(3, 1, &["two"]).await;
    };
    let (two, ()) = tokio::join!(queue, play);
    let mut two = two.unwrap();
    assert_eq!(two.name().as_str(), "queue");
    assert_eq!(&message(&mut two).await.payload[..], b"two");
    assert_eq!(&message(&mut one).await.payload[..], b"one");
}

#[tokio::test]
async fn acks_that_were_sent_go_again_with_the_next_connection_until_they_are_durable() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a", "b", "c"]).await;
    message(&mut subscriber).await.ack();
    message(&mut subscriber).await.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 3)]);
    message(&mut subscriber).await.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 3, 4)]);
    drop(remote);
    let mut remote = relay.accept().await;
    remote.attach(5).await;
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 4)]);
    let play = async {
        let (_, tag, request) = remote.request_behind_acks().await;
        assert_eq!(request, Request::Sync);
        remote.answer(tag, Ok(Reply::Done)).await;
    };
    let (flushed, ()) = tokio::join!(soon(subscriber.flush_acks()), play);
    flushed.unwrap();
    drop(remote);
    let mut remote = relay.accept().await;
    remote.attach(5).await;
    assert_eq!(remote.credit().await[0].total, 1024, "no acks come before it");
}

#[tokio::test]
async fn acks_from_before_a_seek_are_not_said_again() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a", "b"]).await;
    message(&mut subscriber).await.ack();
    message(&mut subscriber).await.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 3)]);
    drop(remote);
    // While it is away an operator moves the subscription back, to have both once more.
    let mut remote = relay.accept().await;
    remote.attach_moved(5, 2).await;
    assert_eq!(remote.credit().await[0].total, 1024, "no acks come before it");
    remote.deliver(5, 1, &["a"]).await;
    message(&mut subscriber).await.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 2)]);
}

#[tokio::test]
async fn a_flush_whose_answer_was_lost_begins_again_with_the_acks() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    remote.deliver(2, 1, &["a"]).await;
    message(&mut subscriber).await.ack();
    let play = async {
        let (acks, _, request) = remote.request_behind_acks().await;
        assert_eq!((ranges(&acks), request), (vec![(AckKind::Ack, 1, 2)], Request::Sync));
        drop(remote);
        let mut remote = relay.accept().await;
        remote.attach(2).await;
        let (acks, tag, request) = remote.request_behind_acks().await;
        assert_eq!((ranges(&acks), request), (vec![(AckKind::Ack, 1, 2)], Request::Sync));
        remote.answer(tag, Ok(Reply::Done)).await;
        remote
    };
    let (flushed, _remote) = tokio::join!(soon(subscriber.flush_acks()), play);
    flushed.unwrap();
}

#[tokio::test]
async fn no_more_comes_than_the_application_wants_in_all() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = SubscriberOptions { total: Some(3), ..SubscriberOptions::default() };
    let mut subscriber = subscriber_with(&client, &mut remote, options).await;
    assert_eq!(remote.credit().await[0].total, 3);
    remote.deliver(2, 1, &["a", "b"]).await;
    message(&mut subscriber).await.ack();
    drop(remote);
    let mut remote = relay.accept().await;
    remote.attach(2).await;
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 2)]);
    assert_eq!(remote.credit().await[0].total, 2, "one of three was given");
    remote.deliver(2, 2, &["b", "c"]).await;
    message(&mut subscriber).await;
    message(&mut subscriber).await;
    assert!(subscriber.try_next().is_none());
    assert!(remote.is_quiet(Duration::from_millis(30)).await, "nothing more is asked for");
}

/// Where the subscription has another place an index means another message.
#[tokio::test]
async fn p2_what_is_acked_late_is_not_said_of_what_has_its_index_in_another_place() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = subscriber(&client, &mut remote).await;
    let (from, to, cause) = (Index(1), Index(9), GapCause::Retention);
    remote.notice(Notice::Gap { handle: 2, from, to, cause }).await;
    remote.deliver(2, 9, &["a", "b"]).await;
    let Some(Ok(Delivery::Gap(gap))) = soon(subscriber.next()).await else { panic!("a gap comes first") };
    let _first = message(&mut subscriber).await;
    let second = message(&mut subscriber).await;
    drop(remote);
    let mut remote = relay.accept().await;
    remote.attach_moved(5, 2).await;
    remote.credit().await;
    remote.deliver(5, 9, &["x", "y"]).await;
    let new = message(&mut subscriber).await;
    assert_eq!(&new.payload[..], b"x");
    gap.ack();
    second.ack();
    new.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 9, 10)], "only what is of this place");
}

/// The home has crashed before what it had delivered was on its disk: its ack cannot be said any more.
#[tokio::test]
async fn p3_a_flush_tells_of_acks_whose_messages_have_another_place_and_goes_on() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = SubscriberOptions::default();
    let (group, name) = ("g".parse().unwrap(), "sub".parse().unwrap());
    let begun = |boot, index| Some(Begun { boot, index: Index(index) });
    let (subscriber, _) =
        tokio::join!(client.subscriber(group, Some(name), options), remote.attach_begun(2, 0, begun(7, 1)));
    let mut subscriber = subscriber.unwrap();
    remote.deliver(2, 1, &["a", "b"]).await;
    message(&mut subscriber).await.ack();
    message(&mut subscriber).await.ack();
    let play = async {
        let (acks, _, request) = remote.request_behind_acks().await;
        assert_eq!((ranges(&acks), request), (vec![(AckKind::Ack, 1, 3)], Request::Sync));
        drop(remote);
        let mut remote = relay.accept().await;
        remote.attach_begun(5, 0, begun(8, 2)).await;
        let (acks, tag, request) = remote.request_behind_acks().await;
        assert_eq!((ranges(&acks), request), (vec![(AckKind::Ack, 1, 2)], Request::Sync), "it had a");
        remote.answer(tag, Ok(Reply::Done)).await;
        remote
    };
    let (flushed, mut remote) = tokio::join!(soon(subscriber.flush_acks()), play);
    assert!(matches!(flushed, Err(ClientError::AcksLost)), "{flushed:?}");
    remote.deliver(5, 2, &["b"]).await;
    message(&mut subscriber).await.ack();
    let play = async {
        let (acks, tag, request) = remote.request_behind_acks().await;
        assert_eq!((ranges(&acks), request), (vec![(AckKind::Ack, 2, 3)], Request::Sync));
        remote.answer(tag, Ok(Reply::Done)).await;
        remote
    };
    let (flushed, _remote) = tokio::join!(soon(subscriber.flush_acks()), play);
    flushed.unwrap();
}

/// What is delivered may not be on the home's disk yet: if it crashes then, another message may have its index.
#[tokio::test]
async fn p2_what_is_acked_late_counts_for_what_the_home_had_on_its_disk_when_it_started_again() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let options = SubscriberOptions::default();
    let (group, name) = ("g".parse().unwrap(), "sub".parse().unwrap());
    let begun = |boot, index| Some(Begun { boot, index: Index(index) });
    let (subscriber, _) =
        tokio::join!(client.subscriber(group, Some(name), options), remote.attach_begun(2, 0, begun(7, 1)));
    let mut subscriber = subscriber.unwrap();
    remote.deliver(2, 1, &["a", "b", "c"]).await;
    let a = message(&mut subscriber).await;
    let b = message(&mut subscriber).await;
    let c = message(&mut subscriber).await;
    // Sent and perhaps lost with the home.
    c.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 3, 4)]);
    drop(remote);
    let mut remote = relay.accept().await;
    remote.attach_begun(5, 0, begun(8, 2)).await;
    assert_eq!(remote.credit().await[0].total, 1024, "no ack comes before it");
    remote.deliver(5, 2, &["x"]).await;
    let x = message(&mut subscriber).await;
    a.ack();
    b.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 1, 2)], "x has the index of b");
    x.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 2, 3)]);
    remote.deliver(5, 3, &["y"]).await;
    let y = message(&mut subscriber).await;
    drop(remote);
    // It has started twice meanwhile: where the group ended in between is not known.
    let mut remote = relay.accept().await;
    remote.attach_begun(6, 0, begun(10, 9)).await;
    assert_eq!(remote.credit().await[0].total, 1024, "no ack comes before it");
    y.ack();
    remote.deliver(6, 9, &["z"]).await;
    message(&mut subscriber).await.ack();
    assert_eq!(ranges(&remote.acks().await), [(AckKind::Ack, 9, 10)]);
}
