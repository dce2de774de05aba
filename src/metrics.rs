//! Every metric: its name, unit and meaning, and one function per event.
//!
//! Call sites hold no strings of metrics. What happens often is counted by the
//! driver once per turn, through handles that are looked up once ([`Turns`]);
//! what happens seldom is looked up when it happens. Without a recorder all of
//! it costs next to nothing.

use std::collections::BTreeMap;

use ::metrics::{Counter, Gauge, Histogram, Unit};

use crate::id::LinkId;
use crate::wire::body::LinkCounts;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric.
struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    meaning: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal in $unit:ident: $meaning:literal;)*) => {
        $(const $constant: &str = $name;)*
        const METRICS: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, meaning: $meaning },)*
        ];
    };
}

metrics! {
    PUTS = Counter "treecast_puts_total" in Count: "puts that sessions have handed to the relay";
    PUT_BYTES = Counter "treecast_put_bytes_total" in Bytes: "bytes of these puts";
    PUTS_DONE = Counter "treecast_puts_done_total" in Count: "puts that were answered as done";
    PUTS_REFUSED = Counter "treecast_puts_refused_total" in Count: "puts that were refused";
    UNORDERED = Counter "treecast_unordered_notices_total" in Count: "notices to receivers that earlier messages of a producer were not waited for any longer";
    DELIVERIES = Counter "treecast_deliveries_total" in Count: "deliver frames handed to sessions";
    DELIVERED_RECORDS = Counter "treecast_delivered_records_total" in Count: "messages in these frames";
    DELIVERED_BYTES = Counter "treecast_delivered_bytes_total" in Bytes: "bytes of these frames";
    SESSIONS = Gauge "treecast_sessions" in Count: "sessions that are open";
    SESSIONS_OPENED = Counter "treecast_sessions_opened_total" in Count: "sessions that were opened";
    SESSIONS_CLOSED = Counter "treecast_sessions_closed_total" in Count: "sessions that have ended, by reason";
    SESSIONS_REFUSED = Counter "treecast_sessions_refused_total" in Count: "connections that did not become sessions, by reason";
    LINK_UP = Gauge "treecast_link_up" in Count: "whether the link is up, by neighbour";
    LINK_DOWNS = Counter "treecast_link_downs_total" in Count: "times that a link went down, by neighbour and reason";
    LINK_RTT = Gauge "treecast_link_rtt_seconds" in Seconds: "smoothed round-trip time of the link, by neighbour";
    LINK_WAITING = Gauge "treecast_link_waiting_bytes" in Bytes: "bytes that wait to be written to the link, by neighbour";
    LINK_BYTES = Counter "treecast_link_bytes_total" in Bytes: "bytes over the link, about, by neighbour and direction";
    LINK_RUNS = Counter "treecast_link_runs_total" in Count: "runs of records over the link, by neighbour and direction";
    LINK_RECORDS = Counter "treecast_link_records_total" in Count: "records over the link, by neighbour and direction";
    LINK_REPEATS = Counter "treecast_link_repeated_records_total" in Count: "records over the link that were here already, by neighbour";
    LINK_EARLY = Counter "treecast_link_early_records_total" in Count: "records over the link before which something was missing, by neighbour";
    FRAMES_REFUSED = Counter "treecast_frames_refused_total" in Count: "frames that closed their session, by reason";
    ACCEPT_FAILURES = Counter "treecast_accept_failures_total" in Count: "connections that could not be accepted, by reason";
    APPENDED = Counter "treecast_appended_entries_total" in Count: "entries handed to the log";
    COMMITS = Counter "treecast_commits_total" in Count: "times that the log reported more to be durable";
    LOG_DAMAGED = Counter "treecast_log_damaged_ranges_total" in Count: "ranges, snapshots and footers that were found damaged on disk";
    LOG_CUTS = Counter "treecast_log_cut_blocks_total" in Count: "last blocks that were damaged and cut at a start, so that what they held is uncertain";
    LOG_SCRUBS = Counter "treecast_log_scrubs_total" in Count: "rounds in which all sealed segments were read and checked";
    TAIL_READS = Counter "treecast_tail_reads_total" in Count: "reads that the log answered from memory";
    COLD_READS = Counter "treecast_cold_reads_total" in Count: "reads that went to the log's files";
    SNAPSHOTS = Counter "treecast_snapshots_total" in Count: "snapshots of the relay's state, by outcome";
    ORPHANS = Counter "treecast_orphaned_inputs_total" in Count: "inputs dropped because their session had ended";
    TURN_SECONDS = Histogram "treecast_turn_seconds" in Seconds: "time that one turn of the driver takes";
    TURN_INPUTS = Counter "treecast_turn_inputs_total" in Count: "inputs that the driver has handed to the core";
}

/// Tells the recorder what the metrics mean. Called once, after it was installed.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, metric.unit, metric.meaning),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.unit, metric.meaning),
            Kind::Histogram => ::metrics::describe_histogram!(metric.name, metric.unit, metric.meaning),
        }
    }
}

/// What happened in one turn of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnCounts {
    /// Inputs handed to the core.
    pub inputs: u64,
    /// Puts among them.
    pub puts: u64,
    /// Bytes of these puts.
    pub put_bytes: u64,
    /// Puts answered as done.
    pub puts_done: u64,
    /// Puts refused.
    pub puts_refused: u64,
    /// Receivers that were told of messages out of a producer's order.
    pub unordered: u64,
    /// Deliver frames.
    pub deliveries: u64,
    /// Messages in them.
    pub delivered_records: u64,
    /// Bytes of them.
    pub delivered_bytes: u64,
    /// Entries appended.
    pub appended: u64,
    /// Reads answered from memory.
    pub tail_reads: u64,
    /// Reads that go to files.
    pub cold_reads: u64,
    /// Inputs dropped because their session had ended.
    pub orphans: u64,
}

/// Handles for what is counted once per turn.
pub struct Turns {
    inputs: Counter,
    puts: Counter,
    put_bytes: Counter,
    puts_done: Counter,
    puts_refused: Counter,
    unordered: Counter,
    deliveries: Counter,
    delivered_records: Counter,
    delivered_bytes: Counter,
    appended: Counter,
    reads: [Counter; 2],
    orphans: Counter,
    seconds: Histogram,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl Turns {
    /// Looks the handles up at the recorder that is installed now.
    #[must_use]
    pub fn new() -> Self {
        use ::metrics::{counter, histogram};
        Self {
            inputs: counter!(TURN_INPUTS),
            puts: counter!(PUTS),
            put_bytes: counter!(PUT_BYTES),
            puts_done: counter!(PUTS_DONE),
            puts_refused: counter!(PUTS_REFUSED),
            unordered: counter!(UNORDERED),
            deliveries: counter!(DELIVERIES),
            delivered_records: counter!(DELIVERED_RECORDS),
            delivered_bytes: counter!(DELIVERED_BYTES),
            appended: counter!(APPENDED),
            reads: [counter!(TAIL_READS), counter!(COLD_READS)],
            orphans: counter!(ORPHANS),
            seconds: histogram!(TURN_SECONDS),
        }
    }

    /// A turn of the driver is over.
    pub fn turn(&self, counts: &TurnCounts, took: std::time::Duration) {
        let add = |counter: &Counter, count: u64| {
            if count > 0 {
                counter.increment(count);
            }
        };
        add(&self.inputs, counts.inputs);
        add(&self.puts, counts.puts);
        add(&self.put_bytes, counts.put_bytes);
        add(&self.puts_done, counts.puts_done);
        add(&self.puts_refused, counts.puts_refused);
        add(&self.unordered, counts.unordered);
        add(&self.deliveries, counts.deliveries);
        add(&self.delivered_records, counts.delivered_records);
        add(&self.delivered_bytes, counts.delivered_bytes);
        add(&self.appended, counts.appended);
        add(&self.reads[0], counts.tail_reads);
        add(&self.reads[1], counts.cold_reads);
        add(&self.orphans, counts.orphans);
        self.seconds.record(took.as_secs_f64());
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

/// Handles of one link.
struct LinkHandles {
    waiting: Gauge,
    bytes: [Counter; 2],
    runs: [Counter; 2],
    records: [Counter; 2],
    repeats: Counter,
    early: Counter,
}

impl LinkHandles {
    fn new(neighbour: &str) -> Self {
        use ::metrics::{counter, gauge};
        let both = |name: &'static str| {
            ["sent", "received"]
                .map(|way| counter!(name, "neighbour" => neighbour.to_owned(), "direction" => way))
        };
        Self {
            waiting: gauge!(LINK_WAITING, "neighbour" => neighbour.to_owned()),
            bytes: both(LINK_BYTES),
            runs: both(LINK_RUNS),
            records: both(LINK_RECORDS),
            repeats: counter!(LINK_REPEATS, "neighbour" => neighbour.to_owned()),
            early: counter!(LINK_EARLY, "neighbour" => neighbour.to_owned()),
        }
    }
}

/// Handles for what links carry, told once per turn of the driver.
pub struct LinkTraffic {
    links: BTreeMap<LinkId, LinkHandles>,
}

impl std::fmt::Debug for LinkTraffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkTraffic").finish_non_exhaustive()
    }
}

impl LinkTraffic {
    /// Looks the handles up at the recorder that is installed now, for links with their neighbours.
    pub fn new<'n>(links: impl Iterator<Item = (LinkId, &'n str)>) -> Self {
        Self { links: links.map(|(link, neighbour)| (link, LinkHandles::new(neighbour))).collect() }
    }

    /// The links are these from now on.
    pub fn set<'n>(&mut self, links: impl Iterator<Item = (LinkId, &'n str)>) {
        let mut before = std::mem::take(&mut self.links);
        self.links = links
            .map(|(link, neighbour)| {
                (link, before.remove(&link).unwrap_or_else(|| LinkHandles::new(neighbour)))
            })
            .collect();
        // Nothing waits for those that are gone.
        before.values().for_each(|gone| gone.waiting.set(0.0));
    }

    /// A link has carried so much since the start, and so many bytes wait for it.
    pub fn carried(&self, link: LinkId, counts: &LinkCounts, waiting_bytes: u64) {
        let Some(handles) = self.links.get(&link) else { return };
        handles.waiting.set(waiting_bytes as f64);
        for (way, carried) in [&counts.sent, &counts.received].into_iter().enumerate() {
            handles.bytes[way].absolute(carried.bytes);
            handles.runs[way].absolute(carried.runs);
            handles.records[way].absolute(carried.records);
        }
        handles.repeats.absolute(counts.repeats);
        handles.early.absolute(counts.early);
    }
}

/// Handles for what the log's own threads report.
pub struct Commits {
    commits: Counter,
}

impl std::fmt::Debug for Commits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commits").finish_non_exhaustive()
    }
}

impl Commits {
    /// Looks the handle up at the recorder that is installed now.
    #[must_use]
    pub fn new() -> Self {
        Self { commits: ::metrics::counter!(COMMITS) }
    }

    /// The log has committed.
    pub fn committed(&self) {
        self.commits.increment(1);
    }
}

impl Default for Commits {
    fn default() -> Self {
        Self::new()
    }
}

fn sessions() -> Gauge {
    ::metrics::gauge!(SESSIONS)
}

/// A session was opened.
pub fn session_opened() {
    ::metrics::counter!(SESSIONS_OPENED).increment(1);
    sessions().increment(1.0);
}

/// A session has ended.
pub fn session_closed(reason: &'static str) {
    ::metrics::counter!(SESSIONS_CLOSED, "reason" => reason).increment(1);
    sessions().decrement(1.0);
}

/// A connection did not become a session.
pub fn session_refused(reason: &'static str) {
    ::metrics::counter!(SESSIONS_REFUSED, "reason" => reason).increment(1);
}

/// The link to a neighbour is up.
pub fn link_up(neighbour: &str) {
    ::metrics::gauge!(LINK_UP, "neighbour" => neighbour.to_owned()).set(1.0);
}

/// The link to a neighbour is down.
pub fn link_down(neighbour: &str) {
    ::metrics::gauge!(LINK_UP, "neighbour" => neighbour.to_owned()).set(0.0);
}

/// A connection to a neighbour has ended; another one may have taken its place before.
pub fn link_ended(neighbour: &str, reason: &'static str) {
    ::metrics::counter!(LINK_DOWNS, "neighbour" => neighbour.to_owned(), "reason" => reason).increment(1);
}

/// The round-trip time of the link to a neighbour was measured.
pub fn link_rtt(neighbour: &str, time: std::time::Duration) {
    ::metrics::gauge!(LINK_RTT, "neighbour" => neighbour.to_owned()).set(time.as_secs_f64());
}

/// A frame closes its session.
pub fn frame_refused(reason: &'static str) {
    ::metrics::counter!(FRAMES_REFUSED, "reason" => reason).increment(1);
}

/// A connection could not be accepted.
pub fn accept_failed(reason: &'static str) {
    ::metrics::counter!(ACCEPT_FAILURES, "reason" => reason).increment(1);
}

/// A range was found damaged on disk.
pub fn log_damaged() {
    ::metrics::counter!(LOG_DAMAGED).increment(1);
}

/// A damaged last block was cut.
pub fn log_cut() {
    ::metrics::counter!(LOG_CUTS).increment(1);
}

/// All sealed segments were read and checked.
pub fn log_scrubbed() {
    ::metrics::counter!(LOG_SCRUBS).increment(1);
}

/// A snapshot was written, or not.
pub fn snapshot_ended(is_written: bool) {
    let outcome = if is_written { "written" } else { "failed" };
    ::metrics::counter!(SNAPSHOTS, "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_one_rule() {
        for metric in METRICS {
            assert!(metric.name.starts_with("treecast_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
