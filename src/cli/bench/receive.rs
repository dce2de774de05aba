//! The receiving side of a run: each subscription a task, many on one connection.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, Delivery, Subscriber, SubscriberOptions};
use crate::id::SubscriptionName;
use crate::wire::body::{Request, SubscriptionSpec};

use super::super::exit::Failure;
use super::super::ask;
use super::Plan;
use super::tally::{Check, Faults, Latencies, Stamp};

/// Messages taken at a time.
const BATCH: usize = 1024;

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
pub(super) async fn create(plan: &Plan, client: &Client) -> Result<(), Failure> {
    for number in 0..plan.subscriptions {
        let request = Request::SubscriptionCreate {
            group: plan.group.clone(),
            name: subscription(number),
            spec: SubscriptionSpec::default(),
        };
        ask::done(client, request).await?;
    }
    Ok(())
}

/// Attaches to all of them: what is there begins to flow at once.
pub(super) async fn attach(plan: &Plan) -> Result<Vec<Subscriber>, Failure> {
    let mut clients = Vec::new();
    for _ in 0..plan.connections {
        clients.push(Client::connect(&plan.relay).await?);
    }
    let mut subscribers = Vec::new();
    for (number, client) in (0..plan.subscriptions).zip(clients.iter().cycle()) {
        let options = SubscriberOptions::default();
        subscribers.push(client.subscriber(&plan.group, Some(subscription(number)), options).await?);
    }
    Ok(subscribers)
}

/// Starts one task for each subscription; each ends when it has got all, or nothing comes any more.
pub(super) fn spawn(
    plan: &Plan,
    subscribers: Vec<Subscriber>,
    start: Instant,
) -> JoinSet<Result<Received, Failure>> {
    let mut tasks = JoinSet::new();
    for subscriber in subscribers {
        tasks.spawn(receive(plan.clone(), subscriber, start));
    }
    tasks
}

/// Waits for all of them, and adds up.
pub(super) async fn gather(
    mut tasks: JoinSet<Result<Received, Failure>>,
    start: Instant,
) -> Result<Received, Failure> {
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
        let Ok(batch) = timeout(SILENCE, subscriber.next_batch(BATCH)).await else { break };
        let now_ns = latencies.now_ns();
        for delivery in batch? {
            // A gap needs no count: what does not come is lost.
            let Delivery::Message(received) = delivery else { continue };
            let stamp = Stamp::of(received.payload());
            if let Some(sent_ns) = stamp.and_then(|stamp| stamp.sent_ns).filter(|_| plan.is_timed()) {
                latencies.record(sent_ns, now_ns);
            }
            check.see(stamp.filter(|_| plan.is_stamped()));
            received.ack();
        }
        end = Instant::now();
    }
    subscriber.close().await?;
    let faults = check.faults(&plan.shares(), plan.is_stamped());
    Ok(Received { messages: check.received(), faults, latencies, end })
}
