//! The modes that move messages.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::client::Client;
use crate::wire::body::Request;

use super::super::ask;
use super::super::exit::Failure;
use super::publish::Load;
use super::report::Report;
use super::tally::{Faults, Latencies};
use super::{BenchMode, Meter, Plan, receive};

/// Puts alone.
pub(super) async fn puts(plan: &Plan, client: &Arc<Client>) -> Result<Report, Failure> {
    make_group(plan, client).await?;
    let loads = connect(plan).await?;
    let meter = Meter::start(client).await?;
    let start = Instant::now();
    let latencies = publish(loads, start).await?;
    let seconds = start.elapsed().as_secs_f64();
    let mut report = Report {
        puts_per_second: plan.count as f64 / seconds,
        bytes_per_second: plan.count as f64 * plan.size as f64 / seconds,
        ..Report::default()
    };
    report.set_latencies(&latencies);
    meter.finish(&mut report).await?;
    report.faults = Faults { lost: unaccounted(plan, client).await?, ..Faults::default() };
    Ok(report)
}

/// Puts to subscriptions that are online; in `latency` mode at a fixed rate.
pub(super) async fn fanout(plan: &Plan, client: &Arc<Client>) -> Result<Report, Failure> {
    make_group(plan, client).await?;
    receive::create(plan).await?;
    let loads = connect(plan).await?;
    let subscribers = receive::attach(plan).await?;
    let meter = Meter::start(client).await?;
    let start = Instant::now();
    let receiving = tokio::spawn(receive::receive_all(plan.clone(), subscribers, start));
    publish(loads, start).await?;
    let put_seconds = start.elapsed().as_secs_f64();
    let ended = |error| Failure::Check(format!("receiving ended early: {error}"));
    let received = receiving.await.map_err(ended)??;
    let mut report = delivered(plan, &received, start);
    report.puts_per_second = plan.count as f64 / put_seconds;
    meter.finish(&mut report).await?;
    Ok(report)
}

/// A backlog for all subscriptions, taken by all of them at once.
pub(super) async fn drain(plan: &Plan, client: &Arc<Client>) -> Result<Report, Failure> {
    make_group(plan, client).await?;
    receive::create(plan).await?;
    let filling = Instant::now();
    publish(connect(plan).await?, filling).await?;
    let fill_seconds = filling.elapsed().as_secs_f64();
    let meter = Meter::start(client).await?;
    let start = Instant::now();
    let subscribers = receive::attach(plan).await?;
    let received = receive::receive_all(plan.clone(), subscribers, start).await?;
    let mut report = delivered(plan, &received, start);
    report.puts_per_second = plan.count as f64 / fill_seconds;
    // How long a message lay in the backlog says nothing about the relay.
    report.set_latencies(&Latencies::new(start));
    meter.finish(&mut report).await?;
    Ok(report)
}

fn delivered(plan: &Plan, received: &receive::Received, start: Instant) -> Report {
    let seconds = received.end.duration_since(start).as_secs_f64();
    let rate = if received.messages == 0 { 0.0 } else { received.messages as f64 / seconds };
    let mut report = Report {
        deliveries_per_second: rate,
        bytes_per_second: rate * plan.size as f64,
        faults: received.faults,
        ..Report::default()
    };
    report.set_latencies(&received.latencies);
    report
}

async fn make_group(plan: &Plan, client: &Arc<Client>) -> Result<(), Failure> {
    let request =
        Request::GroupCreate { group: plan.group.clone(), settings: Default::default(), queue: false };
    ask::done(client, request).await
}

async fn connect(plan: &Plan) -> Result<Vec<Load>, Failure> {
    let rate = (plan.mode == BenchMode::Latency).then(|| plan.rate as f64 / plan.publishers as f64);
    let mut loads = Vec::new();
    for number in 0..plan.publishers {
        loads.push(Load::connect(plan, number, rate).await?);
    }
    Ok(loads)
}

async fn publish(loads: Vec<Load>, start: Instant) -> Result<Latencies, Failure> {
    let mut tasks: JoinSet<_> = loads.into_iter().map(|load| load.run(start)).collect();
    let mut all = Latencies::new(start);
    while let Some(one) = tasks.join_next().await {
        let one = one.map_err(|error| Failure::Check(format!("a publishing task ended early: {error}")))?;
        all.add(&one?);
    }
    Ok(all)
}

/// Puts that the relay's books do not show as taken: without a subscription
/// nobody else can tell.
async fn unaccounted(plan: &Plan, client: &Arc<Client>) -> Result<u64, Failure> {
    let books = ask::books(client, Some(plan.group.clone())).await?;
    Ok(plan.count.saturating_sub(books.accepted))
}
