//! Other systems under the load that Treecast gets.
//!
//! NATS JetStream, Redis Streams and MQTT 3.1.1 brokers, spoken to in their own
//! protocols over plain TCP, so that no client library's cost or cleverness is
//! part of a number. The loops that put, receive and time are those of `load`
//! and the same for all; a module here is one system: how it is asked for a
//! durable stream and durable subscriptions, and what travels on a connection.
//!
//! ```text
//! cargo bench --bench peers -- nats put --size 1024 --address 127.0.0.1:4222
//! cargo bench --bench peers -- mqtt fanout --subscriptions 10 --address 127.0.0.1:1883
//! ```
//!
//! What is asked of each, always the strongest the protocol has:
//!
//! | system | put is acked when | a subscription is | a delivery is acked |
//! | --- | --- | --- | --- |
//! | `nats` | the stream's ack came back | a durable push consumer | each on its own |
//! | `redis` | `XADD` answered | a consumer group with one consumer | `XACK`, all of a read at once |
//! | `mqtt` | `PUBACK` came (QoS 1) | a persistent session, QoS 1 | `PUBACK` each |
//!
//! With `--line` the server is the first of a line: what is put there comes to the subscriptions at
//! its end. In NATS each server is a leaf node (the middle one: the hub), with a JetStream domain of
//! its own, named after its place in the line: l0, l1, l2; the stream is at the first one, and each
//! of the others has a mirror of the one before. MQTT brokers bridge all topics, which is in their
//! own configuration.
//!
//! What such an ack is worth on disk is the server's configuration, and
//! `compare.sh` names it. An MQTT broker forgets what nobody subscribed to, so
//! there a put is measured with one subscription that is away. Every run uses
//! names of its own; nothing is deleted at the end. `peers table FILE` is how
//! `compare.sh` makes its table, and `peers ratios FILE` the same for programs.

#[path = "../load/mod.rs"]
mod load;

mod dialogue;
mod mqtt;
mod nats;
mod redis;
mod table;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use load::Workload;
use load::codec::Target;
use load::report::{exit_code, hint};

/// Which protocol the server speaks.
#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    /// NATS with JetStream
    Nats,
    /// Redis Streams
    Redis,
    /// MQTT 3.1.1, QoS 1
    Mqtt,
}

/// Measures another system with the load that Treecast gets.
#[derive(Parser)]
struct Arguments {
    /// Which protocol the server speaks
    protocol: Protocol,
    #[command(flatten)]
    workload: Workload,
    /// The server's address; it should be on this machine
    #[arg(long)]
    address: SocketAddr,
    /// The next servers of a line that begins with it: puts go to the first, subscriptions are at
    /// the last
    #[arg(long, value_delimiter = ',')]
    line: Vec<SocketAddr>,
    /// The servers' processes, to tell what they used
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// What the report calls the system [default: the protocol]
    #[arg(long)]
    name: Option<String>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let outcome = match &*words {
        [] => hint("peers -- nats put --size 1024 --address 127.0.0.1:4222"),
        [verb, file] if verb == "table" => table::print(Path::new(file)),
        [verb, file] if verb == "ratios" => table::print_ratios(Path::new(file)),
        _ => measure(Arguments::parse()),
    };
    exit_code("peers", outcome)
}

fn measure(arguments: Arguments) -> io::Result<()> {
    let Arguments { protocol, workload, address, line, pid: pids, name, .. } = arguments;
    if !line.is_empty() && (matches!(protocol, Protocol::Redis) || !workload.has_subscriptions()) {
        return Err(io::Error::other("a line is for nats and mqtt, and for modes that deliver"));
    }
    let server = Server { address, line, pids, run: std::process::id() };
    let (default_name, mut target): (&str, Box<dyn Target>) = match protocol {
        Protocol::Nats => ("nats", Box::new(nats::Nats::new(server))),
        Protocol::Redis => ("redis", Box::new(redis::Redis::new(server))),
        Protocol::Mqtt => ("mqtt", Box::new(mqtt::Mqtt::new(server))),
    };
    load::run(name.as_deref().unwrap_or(default_name), &mut *target, &workload)?.print()
}

/// Where the server is, and what makes this run's names its own.
struct Server {
    address: SocketAddr,
    /// The servers behind it, if it begins a line.
    line: Vec<SocketAddr>,
    pids: Vec<u32>,
    run: u32,
}

impl Server {
    /// Where the subscriptions are.
    fn end(&self) -> SocketAddr {
        self.line.last().copied().unwrap_or(self.address)
    }
}
