//! Subscriptions and groups that nobody uses: how fast they are made, and what they weigh.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::Client;
use crate::wire::body::{Request, SubscriptionSpec};

use super::super::ask;
use super::super::exit::Failure;
use super::report::Report;
use super::tally::Latencies;
use super::{Meter, Plan, receive};

/// Requests on their way at a time: enough to fill every sync of the relay's disk.
const PIPELINE: usize = 1024;

/// Makes groups, or subscriptions in them.
pub(super) async fn run(plan: &Plan, client: &Arc<Client>) -> Result<Report, Failure> {
    let groups = plan.all_groups()?;
    let make_groups = groups.iter().map(|group| Request::GroupCreate {
        group: group.clone(),
        settings: Default::default(),
        queue: false,
    });
    let measured = if plan.subscriptions == 0 {
        let meter = Meter::start(client).await?;
        (plan.groups, pipelined(client, make_groups).await?, meter)
    } else {
        pipelined(client, make_groups).await?;
        let meter = Meter::start(client).await?;
        let requests = (0..plan.subscriptions).zip(groups.iter().cycle());
        let requests = requests.map(|(number, group)| Request::SubscriptionCreate {
            group: group.clone(),
            name: receive::subscription(number),
            spec: SubscriptionSpec::default(),
        });
        (plan.subscriptions, pipelined(client, requests).await?, meter)
    };
    let (made, (took, latencies), meter) = measured;
    let mut report =
        Report { puts_per_second: made as f64 / took.as_secs_f64().max(1e-9), ..Report::default() };
    report.set_latencies(&latencies);
    let before = meter.before.resident_bytes;
    meter.finish(&mut report).await?;
    report.relay_resident_bytes = report.relay_resident_bytes.saturating_sub(before);
    Ok(report)
}

/// Removes what the run has made. What fails stays behind and harms nobody.
pub(super) async fn remove(plan: &Plan, client: &Arc<Client>) {
    let groups = plan.all_groups().unwrap_or_default();
    let requests = groups.into_iter().map(|group| Request::GroupRemove { group });
    let _ = pipelined(client, requests).await;
}

async fn pipelined(
    client: &Arc<Client>,
    requests: impl Iterator<Item = Request>,
) -> Result<(Duration, Latencies), Failure> {
    let start = Instant::now();
    let mut latencies = Latencies::new(start);
    let mut tasks: JoinSet<Result<Duration, Failure>> = JoinSet::new();
    for request in requests {
        if tasks.len() >= PIPELINE
            && let Some(done) = tasks.join_next().await
        {
            latencies.record_duration(joined(done)?);
        }
        let client = Arc::clone(client);
        tasks.spawn(async move {
            let asked = Instant::now();
            ask::done(&client, request).await.map(|()| asked.elapsed())
        });
    }
    while let Some(done) = tasks.join_next().await {
        latencies.record_duration(joined(done)?);
    }
    Ok((start.elapsed(), latencies))
}

fn joined(done: Result<Result<Duration, Failure>, tokio::task::JoinError>) -> Result<Duration, Failure> {
    done.map_err(|error| Failure::Check(format!("a request was not made: {error}")))?
}
