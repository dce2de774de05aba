//! What a measurement prints: one JSON object on one line, with the keys that
//! `treecast bench` prints where they apply.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::books::{Deliveries, Histogram};
use super::publisher::Puts;
use super::{Mode, Workload};

/// Processor time and memory of a server process.
#[derive(Default)]
pub(crate) struct Usage {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<u64>,
}

impl Usage {
    /// Reads what processes have used so far, all together; nothing without a process.
    ///
    /// # Errors
    /// When there is no such process.
    pub(crate) fn of(pids: &[u32]) -> io::Result<Self> {
        let mut all = Self::default();
        for pid in pids {
            let one = Self::of_one(*pid)?;
            all.cpu_seconds = one.cpu_seconds.map(|more| all.cpu_seconds.unwrap_or(0.0) + more);
            all.resident_bytes = one.resident_bytes.map(|more| all.resident_bytes.unwrap_or(0) + more);
        }
        Ok(all)
    }

    fn of_one(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
        // The command name may hold spaces, so fields are counted behind it:
        // user and system time are the 12th and 13th from there.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        let pages = statm.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Self {
            cpu_seconds: (ticks.len() == 2).then(|| ticks.iter().sum::<u64>() as f64 / per_second),
            resident_bytes: pages.map(|pages| pages * rustix::param::page_size() as u64),
        })
    }
}

/// One measurement's result. Rates are per second, latencies in microseconds.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) struct Report {
    system: String,
    mode: String,
    size: u32,
    count: u64,
    window: u32,
    publishers: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    puts_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries_per_second: Option<f64>,
    bytes_per_second: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    p999_us: Option<f64>,
    max_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicated: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    misordered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign: Option<u64>,
    relay_cpu_seconds: Option<f64>,
    relay_resident_bytes: Option<u64>,
}

fn per_second(count: u64, from: u64, to: u64) -> f64 {
    count as f64 * 1e9 / to.saturating_sub(from).max(1) as f64
}

impl Report {
    /// A report that says what was asked and nothing yet of what came.
    pub(crate) fn new(system: &str, workload: &Workload) -> Self {
        let mode = workload.mode.to_possible_value().expect("no mode is hidden");
        Self {
            system: system.to_owned(),
            mode: mode.get_name().to_owned(),
            size: workload.size,
            count: workload.count,
            window: workload.window,
            publishers: workload.publishers,
            subscriptions: workload.has_subscriptions().then_some(workload.subscriptions),
            rate: (workload.mode == Mode::Latency).then_some(workload.rate),
            puts_per_second: 0.0,
            deliveries_per_second: None,
            bytes_per_second: 0.0,
            p50_us: None,
            p99_us: None,
            p999_us: None,
            max_us: None,
            lost: None,
            duplicated: None,
            misordered: None,
            foreign: None,
            relay_cpu_seconds: None,
            relay_resident_bytes: None,
        }
    }

    fn latency(&mut self, histogram: &Histogram) {
        self.p50_us = histogram.quantile_us(0.5);
        self.p99_us = histogram.quantile_us(0.99);
        self.p999_us = histogram.quantile_us(0.999);
        self.max_us = histogram.max_us();
    }

    /// Enters the rate of the puts only.
    pub(crate) fn put_rate(&mut self, puts: &Puts) {
        self.puts_per_second = per_second(puts.acked, puts.first_at, puts.last_at);
    }

    /// Enters the puts as the thing measured.
    pub(crate) fn puts(&mut self, puts: &Puts) {
        self.put_rate(puts);
        self.bytes_per_second = self.puts_per_second * f64::from(self.size);
        self.latency(&puts.latency);
    }

    /// Enters the deliveries as the thing measured, from `started` on.
    pub(crate) fn deliveries(&mut self, books: &Deliveries, started: u64) {
        let rate = per_second(books.distinct, started, books.last_at);
        self.deliveries_per_second = Some(rate);
        self.bytes_per_second = rate * f64::from(self.size);
        self.latency(&books.latency);
        self.lost = Some(books.lost());
        self.duplicated = Some(books.duplicated);
        self.misordered = Some(books.misordered);
        self.foreign = (books.foreign > 0).then_some(books.foreign);
    }

    /// Drops the latencies: how long a backlog lay says nothing of the system.
    pub(crate) fn forget_latency(&mut self) {
        self.latency(&Histogram::default());
    }

    /// Enters what the server used between two readings.
    pub(crate) fn usage(&mut self, before: &Usage, after: &Usage) {
        let cpu = after.cpu_seconds.zip(before.cpu_seconds);
        self.relay_cpu_seconds = cpu.map(|(after, before)| after - before);
        self.relay_resident_bytes = after.resident_bytes;
    }

    /// Prints the report as one line of JSON.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        io::stdout().lock().write_all(line.as_bytes())
    }
}

/// Writes one line to standard error.
pub(crate) fn complain(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// Ends a benchmark's process with its outcome.
pub(crate) fn exit_code(name: &str, outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{name}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says how a benchmark is called; one without a workload, as a plain
/// `cargo bench` starts it, measures nothing.
///
/// # Errors
/// Never; it ends a `main` that can fail.
pub(crate) fn hint(example: &str) -> io::Result<()> {
    complain(&format!("nothing to measure; try: cargo bench --bench {example}"));
    Ok(())
}
