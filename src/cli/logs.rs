//! `treecast log`: looks into a data directory, without changing it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};

use crate::id::GroupNumber;
use crate::log::disk::DiskStorage;
use crate::log::inspect::{self, Report, SegmentReport};
use crate::log::storage::Storage;
use crate::log::{EntryNumber, LogError, Replayed, powercut};
use crate::wire::run::RunKind;

use super::exit::Failure;
use super::human;
use super::out::Context;
use super::table::{Side, Table};
use super::values;

/// What to do with a data directory.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Read all of a log, and check every hash
    #[command(after_help = "Examples:\n  treecast log check ~/.local/state/treecast/local\n\n\
        Only reads, also while a relay uses the directory.\n\
        A relay that has found its disk to be an older image of itself goes on under another\n\
        storage id than that of its files: `status` has it.\n\
        The exit code is 1 when something is damaged, 65 when there is no log.")]
    Check(DirArgs),
    /// Read all of a log slowly, beside other work, and check every hash
    #[command(after_help = "Examples:\n  treecast log scrub /var/lib/treecast --rate 4MiB/s\n\n\
        Only reads, also while a relay uses the directory; a running relay does the same\n\
        once an hour by itself. The exit code is 1 when something is damaged, 65 when there is no log.")]
    Scrub(ScrubArgs),
    /// Write the entries of a log, in order: what they are, not what messages say
    #[command(after_help = "Examples:\n  treecast log dump /var/lib/treecast --from 1000\n  \
        treecast log dump /var/lib/treecast --group 3 --output json\n\n\
        Only reads, also while a relay uses the directory.")]
    Dump(DumpArgs),
    /// Prove on a simulated disk that no power cut loses what was acknowledged
    #[command(
        after_help = "Examples:\n  treecast log powercut\n  treecast log powercut --ops 200 --seed 7\n\n\
        Runs a script of appends, snapshots, releases and restarts, cuts the power at every\n\
        operation that changes the disk, lets any part of what was not synced survive, and\n\
        opens what is left: nothing that was durable may be missing or other than it was.\n\
        Touches no file. The time grows with the square of --ops. The exit code is 1 when\n\
        something was lost."
    )]
    Powercut(PowercutArgs),
}

/// Arguments of `log powercut`.
#[derive(Debug, Args)]
pub struct PowercutArgs {
    /// Steps of the script: appends, snapshots, releases, restarts
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub ops: u64,
    /// Which script; the same number is the same script
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// A data directory.
#[derive(Debug, Args)]
pub struct DirArgs {
    /// The data directory of a relay
    pub dir: PathBuf,
}

/// Arguments of `log scrub`.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// Which one.
    #[command(flatten)]
    pub dir: DirArgs,
    /// How much is read in a second at the most
    #[arg(long, value_name = "RATE", default_value = "16MiB/s", value_parser = rate)]
    pub rate: u64,
}

/// Arguments of `log dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Which one.
    #[command(flatten)]
    pub dir: DirArgs,
    /// Only entries from this number on
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub from: u64,
    /// Only runs of the group with this number
    #[arg(long, value_name = "N")]
    pub group: Option<u32>,
}

/// Does it.
///
/// # Errors
/// When the directory cannot be read, or something in it is damaged.
pub fn run(command: LogCommand, context: &mut Context) -> Result<(), Failure> {
    match command {
        LogCommand::Check(args) => check(&args.dir, &mut |_| {}, context),
        LogCommand::Scrub(args) => scrub(&args, context),
        LogCommand::Dump(args) => dump(&args, context),
        LogCommand::Powercut(args) => powercut(&args, context),
    }
}

/// The file that every log has from its first moment on.
const IDENT: &str = "IDENT";

fn open(dir: &Path, context: &Context) -> Result<DiskStorage, Failure> {
    let failure = |source| Failure::File { what: "open", path: dir.to_owned(), source };
    let storage = DiskStorage::open_read_only(dir).map_err(failure)?;
    if storage.open(IDENT).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Err(Failure::Input(format!("no log in {}", dir.display())));
    }
    if let Some(holder) = storage.holder() {
        context.notes.note(format_args!(
            "process {holder} uses the directory: its newest entries may be missing here"
        ));
    }
    Ok(storage)
}

fn unreadable(dir: &Path) -> impl FnOnce(LogError) -> Failure {
    let path = dir.to_owned();
    |source| Failure::Log { path, source }
}

fn rate(text: &str) -> Result<u64, String> {
    match values::rate(text)? {
        0 => Err("it is 0, must be 1B/s or more".to_owned()),
        rate => Ok(rate),
    }
}

fn scrub(args: &ScrubArgs, context: &mut Context) -> Result<(), Failure> {
    let (begun, mut bytes) = (Instant::now(), 0);
    let mut pace = |read: u64| {
        bytes += read;
        let due = Duration::from_secs_f64(bytes as f64 / args.rate as f64);
        let ahead = due.saturating_sub(begun.elapsed());
        if ahead >= Duration::from_millis(10) {
            std::thread::sleep(ahead);
        }
    };
    check(&args.dir.dir, &mut pace, context)
}

fn check(dir: &Path, pace: &mut dyn FnMut(u64), context: &mut Context) -> Result<(), Failure> {
    let storage = open(dir, context)?;
    let report = inspect::scrub(&storage, pace).map_err(unreadable(dir))?;
    if context.is_text() {
        check_text(&report, context)?;
    } else {
        context.out.json(&check_json(&report))?;
    }
    if report.is_damaged { Err(Failure::Check("the log is damaged".to_owned())) } else { Ok(()) }
}

fn check_text(report: &Report, context: &mut Context) -> Result<(), Failure> {
    let mut table = Table::new(&[
        ("SEGMENT", Side::Left),
        ("ENTRIES", Side::Left),
        ("SIZE", Side::Right),
        ("RUNS", Side::Right),
        ("GROUPS", Side::Right),
        ("STATE", Side::Left),
    ]);
    for segment in &report.segments {
        table.row(vec![
            segment.name.clone(),
            format!("{} to {}", segment.entries.0, segment.entries.1),
            human::bytes(segment.bytes),
            human::count(segment.runs as u64),
            human::count(segment.groups as u64),
            state(segment).to_owned(),
        ]);
    }
    table.write(&mut context.out)?;
    let stopped = if report.clean { "stopped cleanly" } else { "not stopped cleanly" };
    context.out.line(format_args!(
        "laid out as storage {}, boot {}, {stopped}; snapshot up to entry {}; {}",
        report.epoch.storage,
        report.epoch.counter,
        report.snapshot_covers,
        human::of(report.spare_segments as u64, "spare segment"),
    ))?;
    report.problems.iter().for_each(|problem| context.notes.warning(problem));
    Ok(())
}

fn state(segment: &SegmentReport) -> &'static str {
    match (segment.damaged.is_empty() && segment.lost.is_empty(), segment.has_footer) {
        (false, _) => "DAMAGED",
        (true, true) if segment.is_cold => "cold",
        (true, true) => "whole",
        (true, false) if segment.torn_bytes > 0 => "open, torn end",
        (true, false) => "open",
    }
}

fn check_json(report: &Report) -> Value {
    let segments = report.segments.iter().map(|segment| {
        let damaged = segment.damaged.iter();
        json!({
            "name": segment.name,
            "cold": segment.is_cold,
            "blocks": [segment.blocks.0, segment.blocks.1],
            "entries": [segment.entries.0, segment.entries.1],
            "bytes": segment.bytes,
            "runs": segment.runs,
            "groups": segment.groups,
            "footer": segment.has_footer,
            "damaged": damaged
                .map(|(group, from, to)| json!({ "group": group, "from": from, "to": to }))
                .collect::<Vec<_>>(),
            "lost": segment.lost,
            "torn_bytes": segment.torn_bytes,
        })
    });
    json!({
        "storage": report.epoch.storage.to_string(),
        "boot": report.epoch.counter,
        "clean": report.clean,
        "damaged": report.is_damaged,
        "snapshot_covers": report.snapshot_covers,
        "spare_segments": report.spare_segments,
        "segments": segments.collect::<Vec<_>>(),
        "problems": report.problems,
    })
}

fn powercut(args: &PowercutArgs, context: &mut Context) -> Result<(), Failure> {
    let target =
        if context.notes.is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let begun = Instant::now();
    let script = powercut::Script { steps: args.ops, seed: args.seed, is_bulk: false };
    let done = powercut::powercut(script, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let done = done.map_err(|fault| Failure::Check(format!("the log lost something: {fault}")))?;
    if !context.is_text() {
        return Ok(context.out.json(&json!({
            "steps": done.steps,
            "seed": args.seed,
            "entries": done.entries,
            "cuts": done.cuts,
            "states": done.states,
            "rewritten": done.rewritten,
            "seconds": begun.elapsed().as_secs_f64(),
        }))?);
    }
    Ok(context.out.line(format_args!(
        "{}; the power was cut at {}, {} opened: nothing durable was lost",
        human::of(done.steps, "step"),
        human::of(done.cuts, "operation"),
        human::of(done.states, "disk state"),
    ))?)
}

fn dump(args: &DumpArgs, context: &mut Context) -> Result<(), Failure> {
    let storage = open(&args.dir.dir, context)?;
    let mut written = Ok(());
    let report = inspect::dump(&storage, &mut |number, entry| {
        if written.is_ok()
            && number.is_none_or(|number| number.0 >= args.from)
            && is_wanted(&entry, args.group)
        {
            written = write_entry(number, &entry, context);
        }
    });
    written?;
    let report = report.map_err(unreadable(&args.dir.dir))?;
    report.problems.iter().for_each(|problem| context.notes.warning(problem));
    Ok(())
}

fn is_wanted(entry: &Replayed, wanted: Option<u32>) -> bool {
    match (entry, wanted) {
        (_, None) => true,
        (Replayed::Run { group, .. }, Some(wanted)) => *group == GroupNumber(wanted),
        (Replayed::State(_), Some(_)) => false,
    }
}

fn write_entry(number: Option<EntryNumber>, entry: &Replayed, context: &mut Context) -> std::io::Result<()> {
    let place = number.map_or("cold".to_owned(), |number| number.to_string());
    match entry {
        Replayed::State(bytes) => {
            let value = json!({ "entry": number, "kind": "state", "bytes": bytes.len() });
            if context.is_text() {
                context.out.line(format_args!("{place}  state  {} B", bytes.len()))
            } else {
                context.out.json(&value)
            }
        }
        Replayed::Run { group, stream, first_index, arrived, header, .. } => {
            let kind = kind_word(header.kind);
            if context.is_text() {
                return context.out.line(format_args!(
                    "{place}  {kind}  group {group}, stream {stream}, {} from sequence {} at index {first_index}, \
                     {} B, {}",
                    human::of(u64::from(header.count), "record"),
                    header.first,
                    header.body_bytes,
                    human::timestamp(*arrived),
                ));
            }
            context.out.json(&json!({
                "entry": number,
                "kind": kind,
                "group": group,
                "stream": stream,
                "first_index": first_index,
                "first_sequence": header.first,
                "records": header.count,
                "bytes": header.body_bytes,
                "arrived": human::timestamp(*arrived),
                "accepted": human::timestamp(header.accepted),
            }))
        }
    }
}

fn kind_word(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Data => "data",
        RunKind::Mark => "mark",
        RunKind::Genesis => "genesis",
        RunKind::Seal => "seal",
        RunKind::Loss => "loss",
    }
}
