//! What a relay says of a handle before it gives it: receivers that were detached meanwhile.

use std::time::Duration;

use super::relay::{Remote, ScriptedRelay, soon};
use crate::client::{ClientError, Delivery, SubscriberOptions};
use crate::id::Index;
use crate::wire::body::{GapCause, Notice, Refusal, RefusalCode, Reply, Request};

fn handle(handle: u32) -> Reply {
    let name = "sub".parse().unwrap();
    Reply::SubscriptionHandle { handle, name, created: false, window: 1024, moves: 0, begun: None }
}

async fn detach(remote: &mut Remote, handle: u32, code: RefusalCode) {
    remote.notice(Notice::Detached { handle, refusal: Refusal::new(code, "gone") }).await;
}

#[tokio::test]
async fn a_subscriber_that_was_taken_over_before_its_attach_was_answered_has_ended() {
    for code in [RefusalCode::Exists, RefusalCode::Removed] {
        let relay = ScriptedRelay::start().await;
        let (client, mut remote) = relay.client().await;
        let play = async {
            let (tag, _) = remote.request().await;
            detach(&mut remote, 2, code).await;
            remote.answer(tag, Ok(handle(2))).await;
        };
        let attach = client.subscriber(
            "g".parse().unwrap(),
            Some("sub".parse().unwrap()),
            SubscriberOptions::default(),
        );
        let (subscriber, ()) = tokio::join!(soon(attach), play);
        let error = match subscriber {
            Ok(mut subscriber) => soon(subscriber.next()).await.unwrap().unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(&error, ClientError::Refused(refusal) if refusal.code == code), "{error}");
        assert!(remote.is_quiet(Duration::from_millis(30)).await, "it says nothing of a handle that is gone");
    }
}

#[tokio::test]
async fn one_whose_home_went_away_before_its_attach_was_answered_is_attached_again() {
    let relay = ScriptedRelay::start().await;
    let (client, mut remote) = relay.client().await;
    let play = async {
        let (tag, _) = remote.request().await;
        // Of one that is gone for good nothing is kept.
        detach(&mut remote, 9, RefusalCode::Exists).await;
        detach(&mut remote, 2, RefusalCode::NotReady).await;
        remote.answer(tag, Ok(handle(2))).await;
        let (_, tag, request) = remote.request_behind_acks().await;
        assert!(matches!(request, Request::Attach { .. }), "{request:?}");
        remote.answer(tag, Ok(handle(9))).await;
        remote
    };
    let receive = async {
        let (group, name) = ("g".parse().unwrap(), Some("sub".parse().unwrap()));
        client.subscriber(group, name, SubscriberOptions::default()).await.unwrap()
    };
    let (subscriber, mut remote) = soon(async { tokio::join!(receive, play) }).await;
    let mut subscriber = subscriber;
    remote.credit().await;
    let (from, to, cause) = (Index(1), Index(2), GapCause::Retention);
    remote.notice(Notice::Gap { handle: 9, from, to, cause }).await;
    assert!(matches!(soon(subscriber.next()).await, Some(Ok(Delivery::Gap(_)))));
}
