//! The neutral load generator: one set of loops that drives every system the
//! comparison knows, so that a difference between two rows is a difference
//! between two systems and not between two clients.
//!
//! A system is a [`Target`]: it prepares its durable subscriptions and opens
//! connections. What travels on a connection is a [`Codec`], bytes in and
//! bytes out, which touches no socket. Everything else is shared:
//!
//! - **put**: every publisher keeps `window` puts in flight on one connection
//!   and refills it as acks arrive. Rate = puts ÷ (first put → last ack);
//!   latency = put → ack.
//! - **fanout**: one publisher as in *put*, and `subscriptions` durable
//!   subscriptions that are present and ack what they get. Rate = deliveries ÷
//!   (first put → last delivery); latency = put → delivery.
//! - **drain**: the subscriptions exist but are away while `count` messages
//!   are put; then the clock starts, they connect and take all of it.
//! - **latency**: puts at a fixed `rate`, open loop, each stamped with the time
//!   at which it was *due*, so a stall is charged to every put behind it;
//!   latency = due → delivery.
//! - **one**: *put* with a single put in flight.
//!
//! Every payload starts with its sequence and its time, so each subscription
//! knows what it lost, got twice or got out of order. Publishers are threads
//! with blocking sockets, all receivers share one thread: a generator that
//! used more would take the two cores of a small machine from the server.

pub(crate) mod books;
pub(crate) mod codec;
pub(crate) mod publisher;
pub(crate) mod receivers;
pub(crate) mod report;

use std::io;
use std::thread;

use clap::{Args, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use books::{Clock, Deliveries};
use codec::Target;
use publisher::{Puts, Share};
use report::{Report, Usage};

/// What is measured; the module docs say how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Durable puts, a window of them in flight.
    Put,
    /// Every put is delivered to every subscription.
    Fanout,
    /// A backlog is taken by subscriptions that were away.
    Drain,
    /// Puts at a fixed rate, timed from due to delivered.
    Latency,
    /// One put in flight.
    One,
}

/// One measurement.
#[derive(Args, Clone, Debug)]
pub(crate) struct Workload {
    /// What is measured
    pub(crate) mode: Mode,
    /// Bytes of a payload; the first 16 carry its sequence and its time
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1 << 20))]
    pub(crate) size: u32,
    /// Messages put, by all publishers together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Puts in flight of one publisher, and deliveries in flight of one
    /// subscription where the protocol asks
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) window: u32,
    /// Publishers, each with its own connection
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) publishers: u32,
    /// Durable subscriptions
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) subscriptions: u32,
    /// Puts per second in the mode latency
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Seconds without a delivery after which what is missing counts as lost
    #[arg(long, default_value_t = 20)]
    pub(crate) patience: u64,
}

impl Workload {
    /// The workload with what its mode fixes filled in.
    fn settled(&self) -> Self {
        let mut settled = self.clone();
        match self.mode {
            Mode::One => {
                settled.window = 1;
                settled.publishers = 1;
            }
            Mode::Latency => settled.publishers = 1,
            Mode::Put | Mode::Fanout | Mode::Drain => {}
        }
        settled.count -= settled.count % u64::from(settled.publishers);
        settled
    }

    /// Whether messages are delivered at all in this mode.
    pub(crate) fn has_subscriptions(&self) -> bool {
        matches!(self.mode, Mode::Fanout | Mode::Drain | Mode::Latency)
    }

    fn shares(&self) -> Vec<Share> {
        let each = self.count / u64::from(self.publishers);
        let share = |index| Share {
            first: index * each,
            count: each,
            size: self.size as usize,
            window: u64::from(self.window),
            rate: (self.mode == Mode::Latency).then_some(self.rate),
        };
        (0..u64::from(self.publishers)).map(share).collect()
    }
}

/// Runs one measurement against one system.
///
/// # Errors
/// When the system cannot be reached, answers with an error or stops answering.
pub(crate) fn run(system: &str, target: &mut dyn Target, workload: &Workload) -> io::Result<Report> {
    raise_file_limit()?;
    let workload = workload.settled();
    let clock = Clock::start();
    target.prepare(&workload)?;
    let mut report = Report::new(system, &workload);
    match workload.mode {
        Mode::Put | Mode::One => {
            let before = Usage::of(&target.pids())?;
            let puts = put_all(target, &workload, clock)?;
            report.usage(&before, &Usage::of(&target.pids())?);
            report.puts(&puts);
        }
        Mode::Fanout | Mode::Latency => {
            let links = target.subscribers()?;
            let before = Usage::of(&target.pids())?;
            let putting = start_publishers(target, &workload, clock)?;
            let books = receivers::receive(links, Deliveries::new(clock, &workload), workload.patience)?;
            report.usage(&before, &Usage::of(&target.pids())?);
            let puts = finish_publishers(putting)?;
            report.deliveries(&books, puts.first_at);
            report.put_rate(&puts);
        }
        Mode::Drain => {
            let puts = put_all(target, &workload, clock)?;
            let before = Usage::of(&target.pids())?;
            let started = clock.now();
            let links = target.subscribers()?;
            let books = receivers::receive(links, Deliveries::new(clock, &workload), workload.patience)?;
            report.usage(&before, &Usage::of(&target.pids())?);
            report.deliveries(&books, started);
            report.put_rate(&puts);
            report.forget_latency();
        }
    }
    Ok(report)
}

type Putting = thread::JoinHandle<io::Result<Puts>>;

fn start_publishers(target: &dyn Target, workload: &Workload, clock: Clock) -> io::Result<Vec<Putting>> {
    let shares = workload.shares().into_iter();
    let links: Vec<_> = shares.map(|share| Ok((target.publisher()?, share))).collect::<io::Result<_>>()?;
    Ok(links
        .into_iter()
        .map(|(link, share)| thread::spawn(move || publisher::put(link, &share, clock)))
        .collect())
}

fn finish_publishers(putting: Vec<Putting>) -> io::Result<Puts> {
    let mut all = Puts::default();
    for thread in putting {
        let puts = thread.join().map_err(|_| io::Error::other("a publisher panicked"))??;
        all.merge(&puts);
    }
    Ok(all)
}

fn put_all(target: &dyn Target, workload: &Workload, clock: Clock) -> io::Result<Puts> {
    finish_publishers(start_publishers(target, workload, clock)?)
}

/// A thousand subscriptions are a thousand sockets here and as many in a
/// server started from here.
fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}
