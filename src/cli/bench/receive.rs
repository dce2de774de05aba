//! The receiving side of a run: each subscription a task, many on one connection.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, ClientError, Subscriber, SubscriberOptions};
use crate::id::SubscriptionName;
use crate::wire::body::{Request, SubscriptionSpec};

use super::super::ask;
use super::super::exit::Failure;
use super::Plan;
use super::tally::{Check, Faults, Latencies, Stamp};

/// A subscription that gets nothing for so long gets nothing any more: the rest is lost.
const SILENCE: Duration = Duration::from_secs(10);

/// What all subscriptions got.
#[derive(Debug)]
pub(super) struct Received {
    /// Messages, doubled ones included.
    pub(super) messages: u64,
    /// What was wrong.
    pub(super) faults: Faults,
    /// From put to delivery.
    pub(super) latencies: Latencies,
    /// When the last one came.
    pub(super) end: Instant,
}

/// The name of a run's subscription.
pub(super) fn subscription(number: u64) -> SubscriptionName {
    SubscriptionName::new(&format!("s{number}")).expect("a letter and a number are a name")
}

/// Makes the durable subscriptions, which begin now.
pub(super) async fn create(plan: &Plan) -> Result<(), Failure> {
    let client = ask::connect(&plan.receive_at).await?;
    for number in 0..plan.subscriptions {
        let request = Request::SubscriptionCreate {
            group: plan.group.clone(),
            name: subscription(number),
            spec: SubscriptionSpec::default(),
        };
        ask::done(&client, request).await?;
    }
    Ok(())
}

/// Subscribers, and the connections that they live on.
#[derive(Debug)]
pub(super) struct Attached {
    subscribers: Vec<Subscriber>,
    _clients: Vec<Client>,
}

/// Attaches to all of them: what is there begins to flow at once.
pub(super) async fn attach(plan: &Plan) -> Result<Attached, Failure> {
    let mut clients = Vec::new();
    for _ in 0..plan.connections {
        clients.push(ask::connect(&plan.receive_at).await?);
    }
    let mut subscribers = Vec::new();
    for (number, client) in (0..plan.subscriptions).zip(clients.iter().cycle()) {
        let options = SubscriberOptions::default();
        subscribers.push(client.subscriber(plan.group.clone(), Some(subscription(number)), options).await?);
    }
    Ok(Attached { subscribers, _clients: clients })
}

/// Receives on all of them: a task for each, which ends when it has got all, or nothing
/// comes any more. Adds up what they got.
pub(super) async fn receive_all(plan: Plan, attached: Attached, start: Instant) -> Result<Received, Failure> {
    let Attached { subscribers, _clients } = attached;
    let mut tasks = JoinSet::new();
    for subscriber in subscribers {
        tasks.spawn(receive(plan.clone(), subscriber, start));
    }
    let mut all =
        Received { messages: 0, faults: Faults::default(), latencies: Latencies::new(start), end: start };
    while let Some(one) = tasks.join_next().await {
        let one = one.map_err(|error| Failure::Check(format!("a receiving task ended early: {error}")))??;
        all.messages += one.messages;
        all.faults.add(one.faults);
        all.latencies.add(&one.latencies);
        all.end = all.end.max(one.end);
    }
    Ok(all)
}

async fn receive(plan: Plan, mut subscriber: Subscriber, start: Instant) -> Result<Received, Failure> {
    let mut check = Check::new(usize::try_from(plan.publishers).unwrap_or_default());
    let mut latencies = Latencies::new(start);
    let mut end = start;
    while check.received() < plan.count {
        // A gap needs no count: what does not come is lost.
        let Ok(batch) = timeout(SILENCE, subscriber.next_batch(usize::MAX)).await else { break };
        let batch = batch?;
        let now_ns = latencies.now_ns();
        for message in batch.iter() {
            let stamp = Stamp::of(message.payload()).filter(|_| plan.is_stamped());
            let sent_ns = stamp.and_then(|stamp| stamp.sent_ns).filter(|_| plan.is_timed());
            if let Some(sent_ns) = sent_ns {
                latencies.record(sent_ns, now_ns);
            }
            check.see(stamp);
        }
        batch.ack_all();
        end = Instant::now();
    }
    match subscriber.close().await {
        // What came again is counted.
        Ok(()) | Err(ClientError::AcksLost) => {}
        Err(error) => return Err(error.into()),
    }
    let faults = check.faults(&plan.shares(), plan.is_stamped());
    Ok(Received { messages: check.received(), faults, latencies, end })
}
