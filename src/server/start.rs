//! From options to the parts of a server. Nothing is bound before the log is open and the relay restored.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::clock::Clock;
use super::driver::{Driver, Parts};
use super::fault::Faults;
use super::handle::{Identity, Sessions};
use super::links::{self, Links};
use super::readers::Readers;
use super::scrub::Scrubber;
use super::signals::Signals;
use crate::client::ClientError;
use crate::id::RelayId;
use crate::limits;
use crate::log::disk::DiskStorage;
use crate::log::storage::Storage;
use crate::log::{
    DiskLog, EntryNumber, Log, LogError, LogOptions, OnEvent, Opened, Recovery, Replayed, system_random,
};
use crate::metrics;
use crate::net::listener::Listener;
use crate::net::socket::SocketOptions;
use crate::relay::{Input, Neighbour, Relay, RelayOptions, Restore, RestoreError, Used};
use crate::wire::applied::TopologyEntry;
use crate::wire::body::RefusalCode;

/// How a server is to run.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The relay's name.
    pub relay: RelayId,
    /// The data directory; made when it is missing.
    pub data: PathBuf,
    /// The address to listen at; port 0: the system chooses one.
    pub listen: SocketAddr,
    /// Whether an address that the topology in force has for this relay is listened at instead;
    /// false by default.
    pub listen_as_applied: bool,
    /// Whether that address may be one that others can reach, though nothing protects the relay.
    pub may_be_exposed: bool,
    /// How the log is to behave.
    pub log: LogOptions,
    /// How sockets are set up.
    pub socket: SocketOptions,
    /// Bytes appended between two snapshots of the relay's state; one segment
    /// of the log by default. More make a start slower and running cheaper.
    pub snapshot_bytes: u64,
    /// Bytes per second at which the log is read and checked in the background;
    /// 0: never. See [`limits::SCRUB_BYTES_PER_SECOND_DEFAULT`].
    pub scrub_bytes_per_second: u64,
    /// What the operator should know about how it was set up; its status says it.
    pub warnings: Vec<String>,
    /// Its links to neighbours; none by default: the relay is alone.
    pub neighbours: Vec<Neighbour>,
    /// Whether it passes on what it is no member of; true by default.
    pub transit: bool,
    /// The most neighbours that it sends to in one tree; no limit by default.
    pub max_children: Option<u32>,
    /// For how long it is remembered what became of messages that were let go, in milliseconds.
    pub trace_retention_ms: u64,
    /// The text of the topology file that the links are from; none by default.
    pub topology: Option<String>,
    /// Where to learn the topology in force, when the data directory has none; nowhere by default.
    pub join: Option<String>,
    /// What of these nobody has set but a topology file, or the defaults: where the topology in force says
    /// something else, the relay warns. Nothing by default.
    pub used: Used,
}

impl ServerOptions {
    /// Options with all defaults.
    #[must_use]
    pub fn new(relay: RelayId, data: PathBuf, listen: SocketAddr) -> Self {
        Self {
            relay,
            data,
            listen,
            listen_as_applied: false,
            may_be_exposed: false,
            log: LogOptions::default(),
            socket: SocketOptions::default(),
            snapshot_bytes: limits::SEGMENT_BYTES_DEFAULT,
            scrub_bytes_per_second: limits::SCRUB_BYTES_PER_SECOND_DEFAULT,
            warnings: Vec::new(),
            neighbours: Vec::new(),
            transit: true,
            max_children: None,
            trace_retention_ms: limits::TRACE_RETENTION_MS,
            topology: None,
            join: None,
            used: Used::default(),
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be made or opened.
    #[error("cannot open the data directory {}: {source}", path.display())]
    Data {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The log cannot be used.
    #[error("cannot use the log in {}: {source}", path.display())]
    Log {
        /// The data directory.
        path: PathBuf,
        /// What is wrong with it.
        source: LogError,
    },
    /// The relay's state cannot be restored from the log.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The relay that was to tell the topology does not tell it.
    #[error("the relay at {address} does not tell the topology of its network: {source}")]
    Join {
        /// Where it was asked.
        address: String,
        /// What it said, or that it is not there.
        source: ClientError,
    },
    /// The address that the topology in force has for this relay cannot be listened at.
    #[error("the topology in force has this relay at {address}, which {why}")]
    Applied {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The thread that opened the log panicked.
    #[error("opening the log panicked")]
    Panicked,
}

/// What a server is made of, ready to run.
pub(super) struct Started {
    pub(super) driver: Driver,
    pub(super) listener: Listener,
    pub(super) address: SocketAddr,
    pub(super) sessions: Sessions,
    pub(super) links: Links,
    pub(super) signals: Arc<Signals>,
    pub(super) faults: Arc<Faults>,
}

pub(super) async fn start(options: ServerOptions) -> Result<Started, StartError> {
    let signals = Signals::new();
    let restored = {
        let (options, signals) = (options.clone(), Arc::clone(&signals));
        tokio::task::spawn_blocking(move || restore(&options, &signals))
    };
    let Restored { mut relay, log, identity, mut clock, last, replayed_bytes } =
        restored.await.map_err(|_| StartError::Panicked)??;
    if let Some(address) = options.join.as_ref().filter(|_| relay.topology().is_none()) {
        let entry = ask_for_topology(address, &identity).await?;
        relay.handle(clock.now(), Input::Topology { entry: Box::new(entry) });
        relay.topology_warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    let listen = listen_at(&options, &relay).await?;
    let bind = |source| StartError::Bind { address: listen, source };
    let listener = Listener::bind(listen, options.socket).map_err(bind)?;
    let address = listener.address().map_err(bind)?;
    if !address.ip().is_loopback() {
        let warning = format!("anybody who reaches {address} can read and put: there are no keys");
        tracing::warn!("{warning}");
        relay.warn(warning);
    }
    let (sender, messages) = mpsc::channel(limits::DRIVER_MESSAGES_MAX);
    let faults = Arc::new(Faults::default());
    let scrubber =
        Scrubber::start(&log, options.scrub_bytes_per_second, &faults).map_err(StartError::Thread)?;
    let log: Arc<dyn Log> = log;
    let readers = Readers::start(&log, &sender, &faults).map_err(StartError::Thread)?;
    let sessions = Sessions::new(identity, sender, Arc::clone(&signals));
    let neighbours = relay.neighbours().map_or(options.neighbours, <[Neighbour]>::to_vec);
    let links = Links::new(options.relay, &neighbours, relay.topology().cloned(), options.socket);
    let names = neighbours.iter().map(|neighbour| (neighbour.link, neighbour.relay.as_str()));
    let driver = Driver::new(Parts {
        relay,
        links: links.clone(),
        link_traffic: metrics::LinkTraffic::new(names),
        log,
        signals: Arc::clone(&signals),
        messages,
        readers,
        scrubber,
        clock,
        last,
        snapshot_bytes: options.snapshot_bytes,
        replayed_bytes,
    });
    Ok(Started { driver, listener, address, sessions, links, signals, faults })
}

struct Restored {
    relay: Relay,
    log: Arc<DiskLog>,
    identity: Identity,
    clock: Clock,
    last: EntryNumber,
    replayed_bytes: u64,
}

/// A snapshot is made at the latest when so many starts have followed one another without one.
const STARTS_PER_SNAPSHOT: u64 = 32;

/// Opens the log and brings the relay back to where it was. Blocks.
fn restore(options: &ServerOptions, signals: &Arc<Signals>) -> Result<Restored, StartError> {
    let storage = DiskStorage::open(&options.data)
        .map_err(|source| StartError::Data { path: options.data.clone(), source })?;
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let unusable = |source| StartError::Log { path: options.data.clone(), source };
    let (recovery, opened) =
        Recovery::open(storage, options.log.clone(), &mut system_random).map_err(unusable)?;
    report(&opened);
    let identity = Identity { relay: options.relay.clone(), epoch: opened.epoch };
    let relay = RelayOptions {
        relay: options.relay.clone(),
        epoch: opened.epoch,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        warnings: warnings(options, &opened),
        run_bytes_max: options.log.run_bytes_max(),
        links: options.neighbours.iter().map(Neighbour::options).collect(),
        transit: options.transit,
        max_children: options.max_children,
        trace_retention_ms: options.trace_retention_ms,
        origin_quiet_ms: limits::ORIGIN_QUIET_MS,
    };
    let mut restore = Restore::new(relay, opened.last, &opened.snapshot)?;
    if let Some(text) = options.topology.clone() {
        restore.set_topology(text);
    }
    restore.tolerate_loss(opened.lost.iter().map(|(from, to)| to.0 - from.0).sum());
    if let Some(cut) = &opened.cut {
        restore.note_cut(cut);
    }
    let mut fault = None;
    // Each start begins a segment, however little it appends: that counts too.
    let mut behind = recovery.segments_behind() as u64 * (options.snapshot_bytes / STARTS_PER_SNAPSHOT);
    let replayed = recovery.replay(&mut |number: EntryNumber, replayed: Replayed| {
        behind += replayed.bytes();
        if fault.is_none() {
            fault = restore.replay(number, replayed).err();
        }
    });
    replayed.map_err(unusable)?;
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    restore.check_name()?;
    let on_event: OnEvent = {
        let signals = Arc::clone(signals);
        Box::new(move |event| signals.log_event(event))
    };
    let log = Arc::new(recovery.start(on_event).map_err(unusable)?);
    restore.released().into_iter().for_each(|(group, below)| log.release(group, below));
    log.settle_released();
    let mut clock = Clock::start(restore.last_arrival());
    let mut relay = restore.start(clock.now());
    relay.note_used(options.used.clone());
    for warning in relay.warnings().iter().chain(&relay.topology_warnings()) {
        tracing::warn!("{warning}");
    }
    Ok(Restored { relay, log, identity, clock, last: opened.last, replayed_bytes: behind })
}

/// How long a relay that joins tries to find the one that is to tell it the topology.
const JOIN: Duration = Duration::from_millis(limits::JOIN_MS_MAX);

/// Asks until there is an answer: who starts a network starts its relays in any order.
async fn ask_for_topology(address: &str, identity: &Identity) -> Result<TopologyEntry, StartError> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        let source = match links::join(address, identity).await {
            Ok(Some(entry)) => return Ok(entry),
            Ok(None) => ClientError::Protocol("what it tells is none".to_owned()),
            Err(error) => error,
        };
        // One that refuses has its reasons, which may pass for a name that was in use a moment ago.
        let patience = match &source {
            ClientError::Refused(refusal) if refusal.code == RefusalCode::Exists => JOIN / 10,
            ClientError::Refused(_) => Duration::ZERO,
            ClientError::Unreachable { .. }
            | ClientError::Closed { .. }
            | ClientError::Unreached { .. }
            | ClientError::AcksLost
            | ClientError::Deadline
            | ClientError::Version { .. }
            | ClientError::Protocol(_) => JOIN,
        };
        if begun.elapsed() > patience {
            return Err(StartError::Join { address: address.to_owned(), source });
        }
        if !std::mem::replace(&mut is_told, true) {
            let seconds = patience.as_secs();
            tracing::warn!(address, error = %source, "the topology is not told yet: it is asked for again, for {seconds} s");
        }
        tokio::time::sleep(Duration::from_millis(limits::LINK_BACKOFF_MS_MAX)).await;
    }
}

/// Where to listen: as the topology in force has it, unless the operator has said so.
async fn listen_at(options: &ServerOptions, relay: &Relay) -> Result<SocketAddr, StartError> {
    let Some(address) = relay.own_address().filter(|_| options.listen_as_applied) else {
        return Ok(options.listen);
    };
    let found = tokio::net::lookup_host(&address).await.map(|mut found| found.next());
    let refused = |why: String| StartError::Applied { address: address.clone(), why };
    let found = found.map_err(|error| refused(format!("cannot be looked up: {error}")))?;
    let found = found.ok_or_else(|| refused("is no address".to_owned()))?;
    if !found.ip().is_loopback() && !options.may_be_exposed && !relay.may_be_exposed() {
        return Err(refused("others can reach, and there are no keys yet: say --insecure".to_owned()));
    }
    Ok(found)
}

/// What the operator should know from the start on.
fn warnings(options: &ServerOptions, opened: &Opened) -> Vec<String> {
    let mut warnings = options.warnings.clone();
    warnings.extend(damage_warning(opened.damaged.len() as u64));
    warnings.extend(opened.notes.iter().map(|note| format!("in the data directory: {note}")));
    warnings
}

/// What to say of so many ranges that are damaged.
pub(super) fn damage_warning(ranges: u64) -> Option<String> {
    let what = if ranges == 1 { "range of messages is" } else { "ranges of messages are" };
    let message = format!("{ranges} {what} damaged on disk; subscriptions that are owed them get a GAP");
    (ranges > 0).then_some(message)
}

fn report(opened: &Opened) {
    if let Some(cut) = &opened.cut {
        metrics::log_cut();
        tracing::warn!("a damaged last block was cut, with {cut}; whether it was durable is uncertain");
    } else if opened.torn_bytes > 0 {
        tracing::info!(bytes = opened.torn_bytes, "the end of the log was not whole and was cut");
    }
    for (group, from, to) in &opened.damaged {
        tracing::error!(%group, %from, %to, "a range is damaged on disk");
    }
    for (from, to) in &opened.lost {
        tracing::error!(%from, %to, "entries of the log are lost");
    }
    // As much of the storage's id as tells directories apart.
    let mut storage = opened.epoch.storage.to_string();
    storage.truncate(8);
    tracing::info!(boot = opened.epoch.counter, %storage, clean = opened.clean, last = %opened.last, "the log is open");
}
