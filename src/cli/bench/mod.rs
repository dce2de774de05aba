//! `treecast bench`: a load generator that verifies what it gets.
//!
//! It shares its machine with the relay, so it must be cheap: one connection
//! for each publisher, many subscriptions on few connections, bulk calls of
//! the client library, one thread. Sketch for 1,000 messages to N
//! subscriptions: the publisher encodes runs of up to 128 KiB and wakes once
//! per answer; a receiving connection wakes once per read of its socket and
//! acks a batch with one range.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::client::Client;
use crate::id::GroupName;
use crate::limits;
use crate::wire::body::{Request, Status};

use super::exit::Failure;
use super::out::Context;
use super::{ask, human, values};

pub mod report;
pub mod tally;

use report::Report;

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
    /// Durable subscriptions [default: 1; idle: 10000; put: none]
    #[arg(long, value_name = "N")]
    pub subscriptions: Option<u64>,
    /// Groups over which idle subscriptions are spread; with --subscriptions 0 only groups are made
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::positive)]
    pub groups: u64,
    /// Connections over which subscriptions are spread
    #[arg(long, value_name = "N", default_value = "2", value_parser = values::positive)]
    pub connections: u64,
    /// Messages a second, for latency
    #[arg(long, value_name = "N", default_value = "1000", value_parser = values::positive)]
    pub rate: u64,
    /// The groups that are made begin with this name [default: bench/ and the time]
    #[arg(long, value_name = "NAME")]
    pub group: Option<GroupName>,
    /// Leave the groups and subscriptions behind
    #[arg(long)]
    pub keep: bool,
}

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
        return Err(format!("it is over {}, the most a relay takes", human::bytes(limits::MESSAGE_BYTES_MAX)));
    }
    Ok(size)
}
/// STUB
pub async fn run(_args: BenchArgs, _context: &mut Context) -> Result<(), Failure> { Ok(()) }
