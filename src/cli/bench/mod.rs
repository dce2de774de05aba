//! `treecast bench`: a load generator that verifies what it gets.
//!
//! It shares its machine with the relay, so it must be cheap: one connection
//! for each publisher, many subscriptions on few connections, bulk calls of
//! the client library, one thread. Sketch for 1,000 messages to N
//! subscriptions: the publisher encodes runs of up to 128 KiB and wakes once
//! per answer; a receiving connection wakes once per read of its socket and
//! acks a batch with one range.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::client::Client;
use crate::id::GroupName;
use crate::limits;
use crate::wire::body::Status;

use super::exit::Failure;
use super::out::Context;
use super::{ask, human, values};

mod idle;
mod pace;
mod publish;
mod receive;
pub mod report;
mod run;
pub mod tally;

use report::{Checked, Report};

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Modes:\n  \
    put      durable puts without a subscription; with --window 1: one put in flight\n  \
    fanout   puts to --subscriptions that are online and ack everything\n  \
    drain    a backlog is built first, then taken by all subscriptions at once\n  \
    latency  puts at a fixed --rate whether or not the relay keeps up, so that stalls are seen\n  \
    idle     makes durable subscriptions that nobody uses: how fast, and how much memory\n\n\
    Examples:\n  treecast bench put --size 16B --count 5000000\n  \
    treecast bench fanout --subscriptions 100 --count 50000\n  \
    treecast bench latency --rate 1000 --count 10000 --output json\n  \
    treecast bench latency --relay 127.0.0.1:7412 --receive-at 127.0.0.1:7413\n  \
    treecast bench idle --subscriptions 100000\n\n\
    JSON: one object with the keys puts_per_second, deliveries_per_second, bytes_per_second,\n\
    p50_us, p99_us, p999_us, max_us, lost, duplicated, misordered, relay_cpu_seconds and\n\
    relay_resident_bytes; what a mode does not measure is 0. In idle mode puts_per_second counts\n\
    the subscriptions (or groups) made, and relay_resident_bytes is by how much memory grew.\n\
    Payloads of 16 B and more carry their number, so that duplicates and order are verified;\n\
    of 24 B and more also the time, so that the way from put to delivery is measured.\n\
    The exit code is 1 when something was lost, doubled or out of order.")]
pub struct BenchArgs {
    /// What to measure
    #[arg(value_enum)]
    pub mode: BenchMode,
    /// Bytes of each payload
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = size)]
    pub size: u64,
    /// Messages to put, over all publishers [default: 100000; latency: 10 s at the rate]
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub count: Option<u64>,
    /// Puts that each publisher may have without an answer
    #[arg(long, value_name = "N", default_value = "1000", value_parser = values::positive)]
    pub window: u64,
    /// Publishers, each with a connection of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::positive)]
    pub publishers: u64,
    /// Durable subscriptions, not for put [default: 1; idle: 10000]
    #[arg(long, value_name = "N")]
    pub subscriptions: Option<u64>,
    /// Groups over which idle subscriptions are spread; with --subscriptions 0 only groups are made
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::positive)]
    pub groups: u64,
    /// Connections over which subscriptions are spread
    #[arg(long, value_name = "N", default_value = "2", value_parser = values::positive)]
    pub connections: u64,
    /// The relay at which the subscriptions are and receive [default: the one that is put to]
    #[arg(long, value_name = "ADDR")]
    pub receive_at: Option<String>,
    /// Messages a second, for latency alone [default: 1000]
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub rate: Option<u64>,
    /// The groups that are made begin with this name [default: bench/ and the time]
    #[arg(long, value_name = "NAME")]
    pub group: Option<GroupName>,
    /// Leave the groups and subscriptions behind
    #[arg(long)]
    pub keep: bool,
}

/// Messages a second of `latency` mode.
const RATE_DEFAULT: u64 = 1000;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchMode {
    /// Durable puts
    Put,
    /// Puts to subscriptions that are online
    Fanout,
    /// A backlog, taken by all at once
    Drain,
    /// The way from put to delivery, at a fixed rate
    Latency,
    /// Memory and speed of making subscriptions
    Idle,
}

fn size(text: &str) -> Result<u64, String> {
    let size = values::bytes(text)?;
    if size > limits::MESSAGE_BYTES_MAX {
        return Err(format!(
            "it is over {}, the most a relay takes",
            human::bytes(limits::MESSAGE_BYTES_MAX)
        ));
    }
    Ok(size)
}

/// What a run is to do, with nothing left to choose.
#[derive(Clone, Debug)]
struct Plan {
    mode: BenchMode,
    relay: String,
    receive_at: String,
    group: GroupName,
    size: usize,
    count: u64,
    window: u64,
    publishers: u64,
    subscriptions: u64,
    groups: u64,
    connections: u64,
    rate: u64,
}

impl Plan {
    fn new(args: &BenchArgs, relay: &str) -> Result<Self, Failure> {
        let usage = |text: String| Err(Failure::Usage(text));
        if args.rate.is_some() && args.mode != BenchMode::Latency {
            return usage("--rate is for latency; the other modes go as fast as they can".to_owned());
        }
        if args.subscriptions.is_some() && args.mode == BenchMode::Put {
            return usage("put has no subscriptions; fanout puts to --subscriptions".to_owned());
        }
        let rate = args.rate.unwrap_or(RATE_DEFAULT);
        let least = if args.mode == BenchMode::Latency { tally::TIMED_BYTES as u64 } else { 0 };
        if args.size < least {
            return usage(format!(
                "latency needs a --size of at least {least} B, for the time in each payload"
            ));
        }
        let (subscriptions, count) = match args.mode {
            BenchMode::Put => (0, 100_000),
            BenchMode::Fanout | BenchMode::Drain => (1, 100_000),
            BenchMode::Latency => (1, rate.saturating_mul(10)),
            BenchMode::Idle => (10_000, 0),
        };
        let subscriptions = args.subscriptions.unwrap_or(subscriptions);
        let delivers = matches!(args.mode, BenchMode::Fanout | BenchMode::Drain | BenchMode::Latency);
        if delivers && subscriptions == 0 {
            return usage("this mode needs at least one subscription".to_owned());
        }
        if args.receive_at.is_some() && !delivers {
            return usage("--receive-at is for modes that deliver: fanout, drain and latency".to_owned());
        }
        let group = match &args.group {
            Some(group) => group.clone(),
            None => name(&format!("bench/{}", values::now()))?,
        };
        Ok(Self {
            mode: args.mode,
            relay: relay.to_owned(),
            receive_at: args.receive_at.clone().unwrap_or_else(|| relay.to_owned()),
            group,
            size: usize::try_from(args.size).unwrap_or(usize::MAX),
            count: args.count.unwrap_or(count).max(u64::from(delivers)),
            window: args.window,
            publishers: args.publishers,
            subscriptions,
            groups: args.groups,
            connections: args.connections.min(subscriptions.max(1)),
            rate,
        })
    }

    /// How many messages a publisher puts: the first ones take the remainder.
    fn share(&self, publisher: u64) -> u64 {
        self.count / self.publishers + u64::from(publisher < self.count % self.publishers)
    }

    /// What all publishers put, one by one.
    fn shares(&self) -> Vec<u64> {
        (0..self.publishers).map(|publisher| self.share(publisher)).collect()
    }

    /// What its numbers prove.
    fn checked(&self) -> Checked {
        match self.mode {
            BenchMode::Idle => Checked::Made,
            BenchMode::Put => Checked::Accounts,
            BenchMode::Fanout | BenchMode::Drain | BenchMode::Latency if self.is_stamped() => Checked::Each,
            BenchMode::Fanout | BenchMode::Drain | BenchMode::Latency => Checked::Count,
        }
    }

    fn is_stamped(&self) -> bool {
        self.size >= tally::STAMP_BYTES
    }

    fn is_timed(&self) -> bool {
        self.size >= tally::TIMED_BYTES
    }

    /// The groups of `idle` mode; the others use one.
    fn all_groups(&self) -> Result<Vec<GroupName>, Failure> {
        if self.mode != BenchMode::Idle {
            return Ok(vec![self.group.clone()]);
        }
        (0..self.groups).map(|number| name(&format!("{}/{number}", self.group))).collect()
    }
}

fn name(text: &str) -> Result<GroupName, Failure> {
    GroupName::new(text).map_err(|error| Failure::Usage(error.to_string()))
}

/// The relay's processor time and memory, from one moment to another.
#[derive(Debug)]
struct Meter {
    client: Arc<Client>,
    before: Status,
}

impl Meter {
    async fn start(client: &Arc<Client>) -> Result<Self, Failure> {
        Ok(Self { client: Arc::clone(client), before: ask::status(client).await? })
    }

    async fn finish(self, report: &mut Report) -> Result<(), Failure> {
        let after = ask::status(&self.client).await?;
        report.relay_cpu_seconds = after.cpu_us.saturating_sub(self.before.cpu_us) as f64 / 1e6;
        report.relay_resident_bytes = after.resident_bytes;
        Ok(())
    }
}

/// Runs the load, and tells what it found.
///
/// # Errors
/// When the relay refuses or is gone, or something was lost, doubled or out of order.
pub async fn run(args: BenchArgs, context: &mut Context) -> Result<(), Failure> {
    let plan = Plan::new(&args, &context.global.relay)?;
    let client = Arc::new(ask::connect(&plan.relay).await?);
    let measured = match plan.mode {
        BenchMode::Put => run::puts(&plan, &client).await,
        BenchMode::Fanout | BenchMode::Latency => run::fanout(&plan, &client).await,
        BenchMode::Drain => run::drain(&plan, &client).await,
        BenchMode::Idle => idle::run(&plan, &client).await,
    };
    if args.keep {
        context.notes.note(format_args!("left behind: {}", plan.group));
    } else {
        idle::remove(&plan, &client).await;
        if plan.receive_at != plan.relay {
            idle::remove(&plan, &Arc::new(ask::connect(&plan.receive_at).await?)).await;
        }
    }
    let report = measured?;
    if context.is_text() {
        report.write(plan.checked(), &mut context.out)?;
    } else {
        context.out.json(&report.to_json())?;
    }
    if report.faults == tally::Faults::default() {
        return Ok(());
    }
    Err(Failure::Check("the relay did not deliver every message once and in order".to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn plan(words: &[&str]) -> Result<Plan, Failure> {
        let words = ["x"].iter().chain(words);
        Plan::new(&Line::parse_from(words).args, "127.0.0.1:1")
    }

    #[test]
    fn publishers_share_all_messages() {
        let plan = plan(&["put", "--count", "10", "--publishers", "3"]).unwrap();
        assert_eq!(plan.shares(), [4, 3, 3]);
    }

    #[test]
    fn latency_needs_room_for_the_time() {
        assert!(matches!(plan(&["latency", "--size", "23B"]), Err(Failure::Usage(_))));
        let plan = plan(&["latency", "--size", "24B", "--rate", "50"]).unwrap();
        assert_eq!((plan.count, plan.subscriptions), (500, 1));
    }

    #[test]
    fn an_option_that_a_mode_does_not_use_is_refused() {
        for words in [["put", "--rate", "5"], ["put", "--subscriptions", "3"], ["drain", "--rate", "5"]] {
            assert!(matches!(plan(&words), Err(Failure::Usage(_))), "{words:?}");
        }
    }

    #[test]
    fn only_payloads_with_a_number_prove_an_order() {
        let checked = |words: &[&str]| plan(words).unwrap().checked();
        assert_eq!(checked(&["fanout", "--size", "16B"]), Checked::Each);
        assert_eq!(checked(&["fanout", "--size", "15B"]), Checked::Count);
        assert_eq!(checked(&["put"]), Checked::Accounts);
    }

    #[test]
    fn there_are_no_more_connections_than_subscriptions() {
        let plan = plan(&["fanout", "--connections", "8", "--subscriptions", "3"]).unwrap();
        assert_eq!(plan.connections, 3);
        assert!(matches!(self::plan(&["drain", "--subscriptions", "0"]), Err(Failure::Usage(_))));
    }

    #[test]
    fn idle_groups_are_below_one_name() {
        let plan = plan(&["idle", "--groups", "2", "--group", "b"]).unwrap();
        let names: Vec<_> = plan.all_groups().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["b/0", "b/1"]);
    }
}
