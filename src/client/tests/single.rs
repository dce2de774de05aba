use std::time::Duration;

use super::relay::{Remote, ScriptedRelay, soon};
use crate::client::{Client, Delivery, Subscriber, SubscriberOptions};
use crate::id::{GroupName, Index, SubscriptionName};
use crate::wire::body::{Reply, Request};

fn names() -> (GroupName, SubscriptionName) {
    ("g".parse().unwrap(), "sub".parse().unwrap())
}

/// A subscriber that gets what it asks for alone.
async fn attached(client: &Client, remote: &mut Remote) -> Subscriber {
    let (group, name) = names();
    let options = SubscriberOptions { window: 0, ..SubscriberOptions::default() };
    let (subscriber, _) = tokio::join!(client.subscriber(group, Some(name), options), remote.attach(2));
    subscriber.unwrap()
}

async fn answer_poll(remote: &mut Remote, max: u64, found: &[&str]) {
    let (_, tag, request) = remote.request_behind_acks().await;
    assert_eq!(request, Request::Poll { handle: 2, messages: max });
    if !found.is_empty() {
        remote.deliver(2, 1, found).await;
    }
    remote.answer(tag, Ok(Reply::Polled { messages: found.len() as u64 })).await;
}

fn index(delivery: Option<Delivery>) -> Option<Index> {
    delivery.and_then(Delivery::message).map(|received| received.index)
}

#[tokio::test]
async fn single_puts_share_a_publisher() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let (group, _) = names();
    let play = async {
        remote.open_group(1).await;
        remote.take_messages(1).await;
        remote.take_messages(1).await
    };
    let puts = async {
        client.put(&group, "a").await.unwrap();
        client.put(&group, "b").await.unwrap()
    };
    let (receipt, last) = tokio::join!(puts, play);
    assert_eq!(last[0].first(), 2);
    assert_eq!(receipt.id.unwrap().sequence().0, 2);
}

#[tokio::test]
async fn a_poll_gives_what_is_there_and_does_not_wait() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let (group, name) = names();
    let play = async {
        remote.attach(2).await;
        answer_poll(&mut remote, 1, &[]).await;
        answer_poll(&mut remote, 1, &["a"]).await;
    };
    let polls = async {
        let first = client.poll(&group, Some(&name)).await.unwrap();
        (first.is_none(), index(client.poll(&group, Some(&name)).await.unwrap()))
    };
    let (found, ()) = tokio::join!(soon(polls), play);
    assert_eq!(found, (true, Some(Index(1))));
}

/// Acks wait a little for others; behind a poll they would find that the window is full.
#[tokio::test]
async fn what_was_acked_is_said_before_a_poll_asks_for_more() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = attached(&client, &mut remote).await;
    let (found, ()) = tokio::join!(soon(subscriber.poll(1)), answer_poll(&mut remote, 1, &["a"]));
    assert_eq!(found.unwrap(), 1);
    subscriber.try_next().unwrap().unwrap().message().unwrap().ack();
    let play = async {
        let (acks, tag, _) = remote.request_behind_acks().await;
        remote.answer(tag, Ok(Reply::Polled { messages: 0 })).await;
        acks
    };
    let (found, acks) = tokio::join!(soon(subscriber.poll(1)), play);
    assert_eq!(found.unwrap(), 0);
    assert_eq!(acks.iter().map(|ack| (ack.from, ack.to)).collect::<Vec<_>>(), [(Index(1), Index(2))]);
}

#[tokio::test]
async fn a_get_asks_for_one_message_and_waits_for_it() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let (group, name) = names();
    let play = async {
        remote.attach(2).await;
        assert_eq!(remote.credit().await[0].total, 1);
        remote.deliver(2, 1, &["a"]).await;
        assert_eq!(remote.credit().await[0].total, 2, "the second get asks for the second");
        remote.deliver(2, 2, &["b"]).await;
    };
    let gets = async {
        let one = index(client.get(&group, Some(&name), None).await.unwrap());
        (one, index(client.get(&group, Some(&name), None).await.unwrap()))
    };
    let (found, ()) = tokio::join!(soon(gets), play);
    assert_eq!(found, (Some(Index(1)), Some(Index(2))));
}

#[tokio::test]
async fn a_get_that_has_waited_long_enough_takes_its_wish_back() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let (group, name) = names();
    let play = async {
        remote.attach(2).await;
        assert_eq!(remote.credit().await[0].total, 1);
        answer_poll(&mut remote, 0, &[]).await;
        assert_eq!(remote.credit().await[0].total, 1, "asked for again");
        answer_poll(&mut remote, 0, &["just now"]).await;
    };
    let wait = Some(Duration::from_millis(20));
    let gets = async {
        let none = client.get(&group, Some(&name), wait).await.unwrap();
        (none.is_none(), index(client.get(&group, Some(&name), wait).await.unwrap()))
    };
    let (found, ()) = tokio::join!(soon(gets), play);
    assert_eq!(found, (true, Some(Index(1))), "what came meanwhile is not lost");
}

/// Waits for the answer that takes a wish back, and goes away while it is under way.
async fn leave_in_the_middle(subscriber: &mut Subscriber, remote: &mut Remote) -> u64 {
    let wait = Some(Duration::from_millis(20));
    let asked = async {
        let (_, tag, request) = remote.request_behind_acks().await;
        assert_eq!(request, Request::Poll { handle: 2, messages: 0 });
        tag
    };
    tokio::select! {
        got = subscriber.get(wait) => panic!("{got:?}"),
        tag = asked => tag,
    }
}

#[tokio::test]
async fn a_get_that_is_dropped_while_it_takes_its_wish_back_does_not_stop_the_next_one() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let mut subscriber = attached(&client, &mut remote).await;
    let tag = leave_in_the_middle(&mut subscriber, &mut remote).await;
    remote.answer(tag, Ok(Reply::Polled { messages: 0 })).await;
    let play = async {
        assert_eq!(remote.credit().await[0].total, 1, "the relay has none left");
        remote.deliver(2, 1, &["a"]).await;
        remote
    };
    let (found, mut remote) = tokio::join!(soon(subscriber.get(None)), play);
    assert_eq!(index(found.unwrap()), Some(Index(1)));
    // Nor does a poll go before the answer of the one that nobody waits for.
    let tag = leave_in_the_middle(&mut subscriber, &mut remote).await;
    let play = async {
        assert!(remote.is_quiet(Duration::from_millis(30)).await, "one poll at a time");
        remote.answer(tag, Ok(Reply::Polled { messages: 0 })).await;
        answer_poll(&mut remote, 5, &[]).await;
    };
    let (found, ()) = tokio::join!(soon(subscriber.poll(5)), play);
    assert_eq!(found.unwrap(), 0);
}

#[tokio::test]
async fn a_get_waits_no_longer_than_it_is_told_though_another_one_waits_for_ever() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let (group, name) = names();
    let play = async {
        remote.attach(2).await;
        remote.credit().await;
        std::future::pending::<()>().await;
    };
    let others = async {
        // The first one is attached by now, and waits.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let most = Duration::from_secs(2);
        let get = client.get(&group, Some(&name), Some(Duration::from_millis(20)));
        let got = tokio::time::timeout(most, get).await.expect("no longer than it is told").unwrap();
        assert!(got.is_none());
        let poll = client.poll(&group, Some(&name));
        let got = tokio::time::timeout(most, poll).await.expect("a poll does not wait").unwrap();
        assert!(got.is_none(), "what comes is the first one's");
    };
    tokio::select! {
        got = client.get(&group, Some(&name), None) => panic!("{got:?}"),
        () = play => {}
        () = others => {}
    }
}

#[tokio::test]
async fn gets_that_come_first_at_once_attach_one_subscriber() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let (group, name) = names();
    let play = async {
        remote.attach(2).await;
        assert_eq!(remote.credit().await[0].total, 1);
        remote.deliver(2, 1, &["a"]).await;
        assert_eq!(remote.credit().await[0].total, 2, "the other one has not attached another one");
        remote.deliver(2, 2, &["b"]).await;
    };
    let get = || client.get(&group, Some(&name), None);
    let (one, other, ()) = tokio::join!(soon(get()), soon(get()), play);
    assert_eq!((index(one.unwrap()), index(other.unwrap())), (Some(Index(1)), Some(Index(2))));
}

#[tokio::test]
async fn polls_at_once_have_their_turns() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let (group, name) = names();
    let play = async {
        remote.attach(2).await;
        for found in [1, 2] {
            let (_, tag, request) = remote.request_behind_acks().await;
            assert_eq!(request, Request::Poll { handle: 2, messages: 1 });
            remote.deliver(2, found, &["a"]).await;
            remote.answer(tag, Ok(Reply::Polled { messages: 1 })).await;
        }
    };
    let poll = || client.poll(&group, Some(&name));
    let (one, other, ()) = tokio::join!(soon(poll()), soon(poll()), play);
    assert_eq!((index(one.unwrap()), index(other.unwrap())), (Some(Index(1)), Some(Index(2))));
}
