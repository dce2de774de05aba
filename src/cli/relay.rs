//! `treecast relay`: one relay in this process; below it, what one asks about relays.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Environment, RelayConfig, TopologyText};
use crate::http::metrics::MetricsDoor;
use crate::id::RelayId;
use crate::limits;
use crate::server::{Neighbour, Server, ServerOptions, Used};

use super::exit::Failure;
use super::out::Context;
use super::stop::Stop;
use super::{ask, drain, forget, network, topology};

/// What is logged unless TREECAST_LOG says otherwise.
const LOG_DEFAULT: &str = "info";

/// How much can be logged.
const LOG_LEVELS: [&str; 12] =
    ["off", "error", "warn", "info", "debug", "trace", "0", "1", "2", "3", "4", "5"];

/// What to do with relays, beside starting one.
#[derive(Clone, Debug, Subcommand)]
pub enum RelayCommand {
    /// List every relay of the network, as the asked relay sees it
    #[command(after_help = "Examples:\n  treecast relay list\n  \
        treecast relay list --relay 127.0.0.1:7412 --output json\n\n\
        The distance is the sum of the costs of the links, and 1,000,000 more for each of them to or\n\
        from a relay that catches up or whose disk is full: trees go around it. A relay that cannot\n\
        be reached gets its messages later, from the relay that keeps them.")]
    List,
    /// Say that a relay never comes back: nothing is kept for it any more
    #[command(
        after_help = "Examples:\n  treecast relay forget oslo\n  treecast relay forget oslo --yes --output json\n\n\
        Asks a relay that runs, and says first what is lost: subscriptions and queues that live at the\n\
        relay, and messages that were put there and that nobody else may have. It must not run: one that\n\
        can be reached is not forgotten. If it comes back all the same it is owed again what is put\n\
        from then on, its subscriptions get a gap, and both sides warn."
    )]
    Forget(forget::ForgetArgs),
    /// Empty a relay, so that it may go and nobody misses it
    #[command(after_help = "Examples:\n  treecast relay drain oslo\n  \
        treecast relay drain oslo --abandon --deadline 10m\n\n\
        Any relay can be asked that reaches the one that is to go. That one takes no messages and no\n\
        subscriptions from then on, sends applications away, and hands over what was put there. What\n\
        holds it up is said, until it may go: then it can be stopped, and nothing is lost. It is asked\n\
        again when the way to it is lost meanwhile. To stop waiting stops nothing; the same command\n\
        says again how far it is. A relay that is started again takes messages again.")]
    Drain(drain::DrainArgs),
}

/// Arguments of `relay`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  treecast relay\n  treecast relay --data /var/lib/treecast --listen 127.0.0.1:7411\n  \
    treecast relay --topology network.toml --name north\n  \
    treecast relay --name paris --join 10.0.0.1:7411\n\n\
    Says where it listens, and runs until Ctrl-C. What it logs goes to standard error;\n\
    TREECAST_LOG sets how much, like `debug` or `treecast::server=debug` [default: info]."
)]
pub struct RelayArgs {
    /// What to ask a relay that runs; without it one is started.
    #[command(subcommand)]
    pub command: Option<RelayCommand>,
    /// Where messages are kept; made when missing [default: ~/.local/state/treecast/NAME]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen; port 0: the system chooses one [default: as in the file, else 127.0.0.1:7411]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// The topology file that the relay is part of; without one it is alone
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,
    /// Learn the topology from a relay of the network, at HOST:PORT, if the data directory has none
    #[arg(long, value_name = "ADDR", conflicts_with = "topology", requires = "name")]
    pub join: Option<String>,
    /// Which relay of the file it is [default: the only one; without a file: local]
    #[arg(long)]
    pub name: Option<String>,
    /// Listen at an address that others can reach, though there are no keys yet
    #[arg(long)]
    pub insecure: bool,
    /// The size of the files of the log [default: 128MiB]
    #[arg(long, value_name = "SIZE")]
    pub segment_bytes: Option<String>,
    /// The disk space kept free, so that acks always fit [default: two such files]
    #[arg(long, value_name = "SIZE")]
    pub reserve_bytes: Option<String>,
    /// How much of the log is read per second to find damage early; 0B/s: nothing
    #[arg(long, value_name = "RATE", default_value = "4MiB/s", value_parser = super::values::rate)]
    pub scrub_rate: u64,
    /// Tell metrics in the text format of Prometheus at http://ADDR/metrics [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Stop when standard input ends: whoever started this relay is gone then
    #[arg(long, hide = true)]
    pub until_input_ends: bool,
}

impl RelayArgs {
    /// Whether an option says how a relay is to be started. Options of all verbs may stand
    /// before the word `list`, so that clap cannot tell.
    fn is_about_a_start(&self) -> bool {
        let texts = [&self.listen, &self.name, &self.join, &self.segment_bytes, &self.reserve_bytes];
        let paths = [&self.data, &self.topology];
        texts.iter().any(|text| text.is_some())
            || paths.iter().any(|path| path.is_some())
            || self.insecure
            || self.metrics.is_some()
            || self.scrub_rate != limits::SCRUB_BYTES_PER_SECOND_DEFAULT
    }
}

/// Runs a relay, or asks one that runs.
///
/// # Errors
/// When it cannot start, or ends by itself; when there is none to be asked.
pub async fn run(args: RelayArgs, context: &mut Context) -> Result<(), Failure> {
    match args.command {
        Some(RelayCommand::List) if args.is_about_a_start() => Err(Failure::Usage(
            "`relay list` asks a relay that runs: it takes no option of a start".to_owned(),
        )),
        Some(RelayCommand::Forget(_) | RelayCommand::Drain(_)) if args.is_about_a_start() => {
            let why =
                "`relay forget` and `relay drain` ask a relay that runs: they take no option of a start";
            Err(Failure::Usage(why.to_owned()))
        }
        Some(RelayCommand::List) => network::list(context).await,
        Some(RelayCommand::Drain(args)) => drain::run(args, context).await,
        Some(RelayCommand::Forget(args)) => forget::run(args, context).await,
        None => start(args, context).await,
    }
}

async fn start(args: RelayArgs, context: &mut Context) -> Result<(), Failure> {
    let (config, topology_text) = configure(&args, context)?;
    let mut options = options(&config).await?;
    options.topology = topology_text;
    options.used = used(&args, &config);
    options.join = args.join.clone();
    options.listen_as_applied = args.listen.is_none();
    options.may_be_exposed |= args.insecure;
    options.scrub_bytes_per_second = args.scrub_rate;
    start_logging(context);
    let _file_limit = heed_file_limit()?;
    raise_open_files();
    let mut stop = Stop::new()?;
    let input_ended = args.until_input_ends.then(watch_input);
    let (name, data) = (options.relay.clone(), options.data.clone());
    let metrics = args.metrics.map(|address| open_metrics(address, args.insecure)).transpose()?;
    let metrics_address = metrics.as_ref().and_then(|door| door.address().ok());
    let server = tokio::select! {
        server = Server::start(options) => server?,
        // It may wait for a relay that is to tell it the topology; there is nothing yet to be stopped.
        () = stop.asked() => return Ok(()),
    };
    let address = server.address();
    if context.is_text() {
        context.out.line(format_args!("relay {name} listens at {address}, data in {}", data.display()))?;
        if let Some(address) = metrics_address {
            context.out.line(format_args!("metrics at http://{address}/metrics"))?;
        }
    } else {
        let metrics = metrics_address.map(|address| address.to_string());
        let said = json!({
            "relay": name, "address": address.to_string(), "data": data, "metrics_address": metrics,
        });
        context.out.json(&said)?;
    }
    context.out.flush()?;
    if !address.ip().is_loopback() {
        context.notes.warning(format_args!("anybody who reaches {address} can read and put"));
    }
    let ended = tokio::select! {
        ended = server.wait() => ended,
        () = stop.asked() => stop_well(&server, stop).await?,
        () = ended(input_ended) => server.stop().await,
        never = serve_metrics(metrics) => match never {},
    };
    Ok(ended?)
}

/// Metrics are recorded from the start of the relay on, so this comes before it.
fn open_metrics(address: SocketAddr, insecure: bool) -> Result<MetricsDoor, Failure> {
    if !address.ip().is_loopback() && !insecure {
        let why = format!("others can reach {address}, and anybody could read the metrics: say --insecure");
        return Err(Failure::Usage(why));
    }
    MetricsDoor::open(address).map_err(|error| Failure::Check(error.to_string()))
}

async fn serve_metrics(door: Option<MetricsDoor>) -> Infallible {
    match door {
        Some(door) => door.serve().await,
        None => std::future::pending().await,
    }
}

/// A write beyond the limit of file sizes is then an error like others; unheeded, the signal
/// that comes with it ends the process without a word.
fn heed_file_limit() -> Result<Signal, Failure> {
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    signal(kind).map_err(|source| Failure::Machine { what: "heed the limit of file sizes", source })
}

/// Each segment is an open file, and so is each connection: many systems begin a process with 1,024,
/// which is 125 GiB of backlog at the most, and let it have far more. Where it may not, what is
/// there has to do.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Everything is checked before anything is opened or bound.
fn configure(args: &RelayArgs, context: &Context) -> Result<(Config, Option<String>), Failure> {
    args.join.as_deref().map_or(Ok(()), |address| ask::check_address(address, "--join"))?;
    let given = RelayConfig {
        name: args.name.clone(),
        topology: args.topology.as_deref().map(read).transpose()?,
        listen: args.listen.clone(),
        data: args.data.clone(),
        insecure: args.insecure,
        segment_bytes: args.segment_bytes.clone(),
        reserve_bytes: args.reserve_bytes.clone(),
    };
    let in_file = args.topology.is_some();
    let text = given.topology.as_ref().map(|topology| topology.text.clone());
    let config =
        given.check(&Environment::from_process()).map_err(|faults| Failure::Config { faults, in_file })?;
    context.notes.faults(&config.warnings);
    Ok((config, text))
}

fn read(path: &Path) -> Result<TopologyText, Failure> {
    Ok(TopologyText { path: path.to_owned(), text: topology::read(path)? })
}

async fn options(config: &Config) -> Result<ServerOptions, Failure> {
    let relay = config.name.parse::<RelayId>().map_err(|error| Failure::Usage(error.to_string()))?;
    let listen = config.listen.to_string();
    let failure = |source| Failure::Machine { what: "look up the address to listen at", source };
    let mut found = tokio::net::lookup_host(&listen).await.map_err(failure)?;
    let none = || failure(std::io::Error::new(std::io::ErrorKind::AddrNotAvailable, listen.clone()));
    let mut options = ServerOptions::new(relay, config.data_dir.clone(), found.next().ok_or_else(none)?);
    options.may_be_exposed = config.topology.is_insecure();
    options.neighbours = Neighbour::of(&config.topology, &config.name);
    options.warnings.extend(not_carried_out(config));
    let relay = config.topology.relay(&config.name);
    options.transit = relay.is_none_or(|relay| relay.transit);
    options.max_children = relay.and_then(|relay| relay.max_children);
    options.trace_retention_ms =
        relay.map_or(limits::TRACE_RETENTION_MS, crate::topology::Relay::trace_retention_ms);
    options.log.segment_bytes = config.log.segment_bytes;
    options.snapshot_bytes = config.log.segment_bytes;
    options.log.reserve_bytes = config.log.reserve_bytes;
    Ok(options)
}

/// What no option says: where the topology in force says something else, that is told.
fn used(args: &RelayArgs, config: &Config) -> Used {
    let data = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    Used {
        data: args.data.is_none().then_some(data),
        segment_bytes: args.segment_bytes.is_none().then_some(config.log.segment_bytes),
        reserve_bytes: args.reserve_bytes.is_none().then_some(config.log.reserve_bytes),
    }
}

/// What the file says of this relay and its links that this version does not carry out.
fn not_carried_out(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.topology.relay(&config.name).is_some_and(|relay| relay.key.is_some()) {
        warnings.push("keys are not checked in this version: whoever knows a name is believed".to_owned());
    }
    warnings
}

/// The relay ends well, unless the user asks a second time.
async fn stop_well(
    server: &Server,
    mut stop: Stop,
) -> Result<Result<(), crate::server::ServerError>, Failure> {
    tokio::select! {
        ended = server.stop() => Ok(ended),
        () = stop.asked() => Err(Failure::Check("stopped at once, as asked; the next start recovers".to_owned())),
    }
}

/// A thread that waits for the end of standard input.
fn watch_input() -> oneshot::Receiver<()> {
    let (end, ended) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = end.send(());
    });
    ended
}

async fn ended(input: Option<oneshot::Receiver<()>>) {
    match input {
        Some(input) => {
            let _ = input.await;
        }
        None => std::future::pending().await,
    }
}

fn start_logging(context: &Context) {
    let logging = tracing_subscriber::fmt()
        .with_env_filter(log_filter(std::env::var_os("TREECAST_LOG"), context))
        .with_writer(std::io::stderr)
        .with_ansi(context.notes.has_colour())
        .finish();
    // Fails only when somebody has set one before: then theirs is right.
    let _ = tracing::subscriber::set_global_default(logging);
}

/// What is logged. A filter that means nothing is told: it would leave out what it was set for.
fn log_filter(given: Option<OsString>, context: &Context) -> EnvFilter {
    let given = given.filter(|text| !text.is_empty());
    let given = given.as_ref().map_or(LOG_DEFAULT.into(), |text| text.to_string_lossy());
    let is_known = |part: &str| {
        let part = part.trim().to_ascii_lowercase();
        part.contains(['=', '[']) || part.starts_with("treecast") || LOG_LEVELS.contains(&part.as_str())
    };
    let parsed = EnvFilter::builder().parse(&given).map_err(|error| error.to_string());
    let unknown = given.split(',').find(|part| !is_known(part));
    let fault = match (&parsed, unknown) {
        (Err(error), _) => error.clone(),
        (Ok(_), Some(part)) => {
            format!("`{part}` is no level, like `debug`, nor a part, like `treecast::server=debug`")
        }
        (Ok(_), None) => return parsed.unwrap_or_default(),
    };
    context.notes.warning(format_args!("TREECAST_LOG cannot be used, `{LOG_DEFAULT}` is: {fault}"));
    EnvFilter::builder().parse_lossy(LOG_DEFAULT)
}
