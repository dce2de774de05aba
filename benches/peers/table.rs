//! The table of `compare.sh`: medians over runs, and Treecast's share of the
//! ceiling and of the best other system.
//!
//! The file holds one JSON object a line: `case`, `system`, `durable` (whether
//! the system syncs before it acks), `count` and `subscriptions` (what was asked for) and `result`,
//! what the measurement printed, or null where it failed. Cases and systems keep the order in which
//! they first appear. Lines with `ratios` are those that `peers ratios FILE` prints, one for each
//! line of the table.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const OURS: &str = "treecast";
const CEILING: &str = "ceiling";
/// How cases begin that are about three servers in a line.
const LINE: &str = "line";

#[derive(Deserialize)]
struct Line {
    case: String,
    system: String,
    durable: bool,
    /// Messages put.
    count: Option<f64>,
    subscriptions: Option<f64>,
    result: Option<BTreeMap<String, Value>>,
}

/// What Treecast is beside others in a figure: theirs divide its own.
#[derive(Serialize)]
struct Ratios<'a> {
    treecast: Option<f64>,
    ceiling: Option<f64>,
    best_that_syncs: Option<Best<'a>>,
    best: Option<Best<'a>>,
}

#[derive(Serialize)]
struct Best<'a> {
    system: &'a str,
    ratio: Option<f64>,
}

/// A number of a result that a case is about.
struct Figure {
    key: &'static str,
    label: &'static str,
    is_better_when_less: bool,
}

const PUTS: Figure = Figure { key: "puts_per_second", label: "puts/s", is_better_when_less: false };
const DELIVERIES: Figure =
    Figure { key: "deliveries_per_second", label: "deliveries/s", is_better_when_less: false };
const P50: Figure = Figure { key: "p50_us", label: "p50 µs", is_better_when_less: true };
const P99: Figure = Figure { key: "p99_us", label: "p99 µs", is_better_when_less: true };

fn figures(case: &str) -> &'static [Figure] {
    match case.split_whitespace().next() {
        Some("put") => &[PUTS],
        Some("one") => &[P50],
        Some("latency") => &[P50, P99],
        Some(LINE) if case.ends_with("of the maximum") => &[P99],
        Some(LINE) if case.ends_with("/s") => &[P50, P99],
        Some(_) | None => &[DELIVERIES],
    }
}

/// Prints the table of a file of measurements.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub(crate) fn print(file: &Path) -> io::Result<()> {
    let lines = read(file)?;
    let (cases, systems) =
        (in_order(lines.iter().map(|line| &line.case)), in_order(lines.iter().map(|line| &line.system)));
    let mut out = String::from("| case | figure |");
    systems.iter().for_each(|system| out += &format!(" {system} |"));
    out += " treecast ÷ ceiling | ÷ best that syncs | ÷ best |\n|---|---|";
    out += &"---:|".repeat(systems.len() + 3);
    out.push('\n');
    for case in cases {
        for figure in figures(case) {
            row(&mut out, &lines, case, figure, &systems);
        }
    }
    out += "\nServers' processor time per put or delivery (µs) / resident memory (MiB):\n\n| case |";
    systems.iter().for_each(|system| out += &format!(" {system} |"));
    out += &format!("\n|---|{}\n", "---:|".repeat(systems.len()));
    // Of three servers in a line, what is told is not the same for all systems.
    let of_one = lines.iter().map(|line| &line.case).filter(|case| !case.starts_with(LINE));
    for case in in_order(of_one) {
        usage_row(&mut out, &lines, case, &systems);
    }
    faults(&mut out, &lines);
    io::stdout().lock().write_all(out.as_bytes())
}

fn read(file: &Path) -> io::Result<Vec<Line>> {
    let text = fs::read_to_string(file)?;
    let values: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let measured = values.into_iter().filter(|value| value.get("ratios").is_none());
    Ok(measured.map(serde_json::from_value).collect::<Result<_, _>>()?)
}

/// Prints what the table says of Treecast and the others, one JSON object for each of its lines.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_ratios(file: &Path) -> io::Result<()> {
    let lines = read(file)?;
    let systems = in_order(lines.iter().map(|line| &line.system));
    let mut out = String::new();
    for case in in_order(lines.iter().map(|line| &line.case)) {
        for figure in figures(case) {
            let ratios = ratios(&lines, case, figure, &systems);
            out += &json!({ "case": case, "figure": figure.key, "ratios": ratios }).to_string();
            out.push('\n');
        }
    }
    io::stdout().lock().write_all(out.as_bytes())
}

fn in_order<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name.as_str()) {
            seen.push(name);
        }
    }
    seen
}

/// Numbers of a system's runs of a case.
fn numbers(lines: &[Line], case: &str, system: &str, key: &str) -> Vec<f64> {
    let runs = lines.iter().filter(|line| line.case == case && line.system == system);
    let results = runs.filter_map(|line| line.result.as_ref());
    results.filter_map(|result| result.get(key).and_then(Value::as_f64)).collect()
}

fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        return numbers.get(middle).copied();
    }
    numbers.get(middle.checked_sub(1)?).zip(numbers.get(middle)).map(|(low, high)| low.midpoint(*high))
}

fn ratios<'a>(lines: &[Line], case: &str, figure: &Figure, systems: &[&'a str]) -> Ratios<'a> {
    let of = |system: &str| median(numbers(lines, case, system, figure.key));
    let ours = of(OURS);
    let ratio = |other: f64| ours.map(|ours| ours / other);
    let is_durable = |system: &str| lines.iter().any(|line| line.system == system && line.durable);
    let best = |only_durable: bool| {
        let peers = systems.iter().filter(|system| ![OURS, CEILING].contains(*system));
        let peers = peers.filter(|system| !only_durable || is_durable(system));
        let figures = peers.filter_map(|system| Some((of(system)?, *system)));
        let best =
            figures.reduce(
                |best, other| {
                    if (other.0 < best.0) == figure.is_better_when_less { other } else { best }
                },
            );
        best.map(|(figure, system)| Best { system, ratio: ratio(figure) })
    };
    let (best_that_syncs, best) = (best(true), best(false));
    Ratios { treecast: ours, ceiling: of(CEILING).and_then(ratio), best_that_syncs, best }
}

fn row(out: &mut String, lines: &[Line], case: &str, figure: &Figure, systems: &[&str]) {
    *out += &format!("| {case} | {} |", figure.label);
    for system in systems {
        let of = median(numbers(lines, case, system, figure.key));
        *out += &format!(" {} |", of.map_or("—".to_owned(), short));
    }
    let ratios = ratios(lines, case, figure, systems);
    let shown = |ratio: Option<f64>| ratio.map_or("—".to_owned(), |ratio| format!("{ratio:.2}"));
    *out += &format!(" {} |", shown(ratios.ceiling));
    for best in [ratios.best_that_syncs, ratios.best] {
        let cell = best.map_or("—".to_owned(), |best| format!("{} ({})", shown(best.ratio), best.system));
        *out += &format!(" {cell} |");
    }
    out.push('\n');
}

fn usage_row(out: &mut String, lines: &[Line], case: &str, systems: &[&str]) {
    *out += &format!("| {case} |");
    for system in systems {
        let of = |key| median(numbers(lines, case, system, key));
        let asked = lines.iter().find(|line| line.case == case && line.system == *system);
        let count = asked.and_then(|line| line.count);
        let delivered = figures(case)[0].key == DELIVERIES.key;
        let subscriptions = asked.and_then(|line| line.subscriptions).filter(|_| delivered).unwrap_or(1.0);
        let cpu = of("relay_cpu_seconds").zip(count);
        let cpu = cpu.map(|(seconds, count)| format!("{:.2}", seconds * 1e6 / (count * subscriptions)));
        let memory = of("relay_resident_bytes").map(|bytes| format!("{:.0}", bytes / f64::from(1 << 20)));
        let (cpu, memory) = (cpu.as_deref().unwrap_or("—"), memory.as_deref().unwrap_or("—"));
        *out += &format!(" {cpu} / {memory} |");
    }
    out.push('\n');
}

/// Names every measurement that failed or did not get every message once and
/// in order.
fn faults(out: &mut String, lines: &[Line]) {
    for line in lines {
        let Some(result) = &line.result else {
            *out += &format!("\n- {} / {}: failed", line.case, line.system);
            continue;
        };
        for key in ["lost", "duplicated", "misordered", "foreign"] {
            let count = result.get(key).and_then(Value::as_u64).unwrap_or(0);
            if count > 0 {
                *out += &format!("\n- {} / {}: {count} {key}", line.case, line.system);
            }
        }
    }
    out.push('\n');
}

/// A number with three digits that count.
fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        number if number >= 1e6 => (number / 1e6, " M"),
        number if number >= 1e4 => (number / 1e3, " k"),
        number => (number, ""),
    };
    let digits = if scaled >= 100.0 { 0 } else { 3 - (scaled.max(1.0).log10() as usize + 1) };
    format!("{scaled:.digits$}{unit}")
}
