//! `treecast topology`: what an operator wrote about the network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::check_file;
use crate::id::GroupName;
use crate::routing::MapError;
use crate::topology::{COST_MAX, Checked, Faults, Topology, likely_or_known};

use super::exit::Failure;
use super::human;
use super::input;
use super::out::Context;
use super::table::{Side, Table};

mod apply;
mod draw;
mod history;
mod import;
mod plan;
mod report;
mod standing;

pub use apply::{ApplyArgs, Manner, RollbackArgs};
pub use draw::{DrawArgs, Form};
pub use history::Named;
pub(super) use history::head_json;
pub use import::ImportArgs;
pub use plan::PlanArgs;
pub use report::ReportArgs;

/// What to do with a topology file.
#[derive(Debug, Subcommand)]
pub enum TopologyCommand {
    /// Check a topology file: all faults at once, each with its line and what was likely meant
    #[command(after_help = "Examples:\n  treecast topology check topologies/one.toml\n  \
        treecast topology check network.toml --output json\n\n\
        The exit code is 65 when the file cannot be used.")]
    Check {
        /// The topology file, or - for standard input
        file: PathBuf,
    },
    /// Draw a network, and the tree of a group on it
    #[command(after_help = draw::AFTER_HELP)]
    Draw(DrawArgs),
    /// Tell what a change of the file moves, and what the death of a relay does
    #[command(after_help = plan::AFTER_HELP)]
    Plan(PlanArgs),
    /// Tell how good the trees of a network are
    #[command(after_help = report::AFTER_HELP)]
    Report(ReportArgs),
    /// Make a topology file from a GraphML file
    #[command(after_help = import::AFTER_HELP)]
    Import(ImportArgs),
    /// Make a file the topology of a network that runs
    #[command(after_help = apply::APPLY_HELP)]
    Apply(ApplyArgs),
    /// Go back to an earlier topology
    #[command(after_help = apply::ROLLBACK_HELP)]
    Rollback(RollbackArgs),
    /// List the topologies that a relay has, the one in force first
    #[command(
        after_help = "Examples:\n  treecast topology history\n  treecast topology history --output json"
    )]
    History,
    /// Write the topology in force to standard output
    #[command(after_help = "Examples:\n  treecast topology show > network.toml\n  \
        treecast topology show --version 3\n\n\
        Before one was applied it is the file that the relay was started with, version 0.")]
    Show {
        /// An earlier one, as `history` lists it
        #[arg(long, value_name = "VERSION", value_parser = history::named)]
        version: Option<Named>,
    },
}

/// Who is taken to be in a group, since a file cannot know it.
#[derive(Clone, Debug, Args)]
pub struct Guess {
    /// The relays of the group, those that have subscriptions and those that put; all unless said
    #[arg(long, value_name = "RELAY,...", value_delimiter = ',')]
    pub members: Option<Vec<String>>,
    /// What a link costs whose cost is measured
    #[arg(long, value_name = "COST", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(COST_MAX)))]
    pub rtt: u32,
}

impl Guess {
    /// Checks that every member is in one of `topologies`.
    fn check(&self, topologies: &[&Topology]) -> Result<(), Failure> {
        self.members.iter().flatten().try_for_each(|member| known("relay", member, topologies))
    }
}

/// Checks that a relay is in one of `topologies`.
fn known(what: &str, relay: &str, topologies: &[&Topology]) -> Result<(), Failure> {
    if topologies.iter().any(|topology| topology.relay(relay).is_some()) {
        return Ok(());
    }
    let names: BTreeSet<&str> =
        topologies.iter().flat_map(|topology| topology.relays()).map(|relay| relay.name.as_str()).collect();
    let advice = likely_or_known(relay, names.iter().copied()).map(|advice| format!("; {advice}"));
    let file = if topologies.len() == 1 { "the file" } else { "the files" };
    Err(Failure::Usage(format!("no {what} {relay:?} in {file}{}", advice.unwrap_or_default())))
}

/// Checks that there can be a group of a name.
fn check_group(name: Option<&str>) -> Result<(), Failure> {
    let Some(Err(error)) = name.map(GroupName::new) else { return Ok(()) };
    Err(Failure::Usage(format!("name of the group {error}")))
}

/// The groups and queues of `topologies` by name, or `only` that one. Without any
/// there is one that stands for all, since groups need no entry in the file.
fn groups(topologies: &[&Topology], only: Option<&str>) -> Vec<String> {
    if let Some(only) = only {
        return vec![only.to_owned()];
    }
    let groups = topologies.iter().flat_map(|topology| topology.groups()).map(|group| group.name.clone());
    let queues = topologies.iter().flat_map(|topology| topology.queues()).map(|queue| queue.name.clone());
    let mut names: Vec<String> = groups.chain(queues).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { vec![ANY_GROUP.to_owned()] } else { names }
}

/// What a group is called that no file names.
const ANY_GROUP: &str = "(any)";

/// The network is larger than any map.
fn too_large(error: MapError) -> Failure {
    Failure::Input(error.to_string())
}

/// Writes a file, or to standard output when there is none.
fn write(text: &str, file: Option<&Path>, context: &mut Context) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(context.out.bytes(text.as_bytes())?) };
    let failure = |source| Failure::File { what: "write", path: file.to_owned(), source };
    std::fs::write(file, text).map_err(failure)
}

/// Does it.
///
/// # Errors
/// When the file cannot be read or used.
pub fn run(command: TopologyCommand, context: &mut Context) -> Result<(), Failure> {
    match command {
        TopologyCommand::Check { file } => check(&file, context),
        TopologyCommand::Draw(args) => draw::run(&args, context),
        TopologyCommand::Plan(args) => plan::run(&args, context),
        TopologyCommand::Report(args) => report::run(&args, context),
        TopologyCommand::Import(args) => import::run(&args, context),
        TopologyCommand::Apply(args) => super::block_on(apply::apply(args, context)),
        TopologyCommand::Rollback(args) => super::block_on(apply::rollback(args, context)),
        TopologyCommand::History => super::block_on(history::history(context)),
        TopologyCommand::Show { version } => super::block_on(history::show(version, context)),
    }
}

fn check(file: &Path, context: &mut Context) -> Result<(), Failure> {
    let checked = decode(&input::all_of(file)?, file).and_then(|text| check_file(file, &text));
    if context.is_text() {
        return show(&accepted(checked, context)?, context);
    }
    let (is_usable, faults) = match checked {
        Ok(checked) => (true, checked.warnings),
        Err(faults) => (false, faults),
    };
    context.out.json(&json!({
        "file": file,
        "usable": is_usable,
        "errors": faults.error_count(),
        "warnings": faults.warning_count(),
        "faults": faults.rows(),
    }))?;
    if is_usable { Ok(()) } else { Err(Failure::Input(format!("{} cannot be used", file.display()))) }
}

/// Reads a topology file and checks it; what is worth a second look is told.
///
/// # Errors
/// When it cannot be read, or has faults.
pub(super) fn load(file: &Path, context: &Context) -> Result<Topology, Failure> {
    let text = read_or_take(file)?;
    accepted(Topology::parse(&file.to_string_lossy(), &text), context)
}

/// Reads a topology file with which relays are to start, and checks it likewise.
///
/// # Errors
/// When it cannot be read, has faults, or would keep one of them from starting.
pub(super) fn load_to_start(file: &Path, context: &Context) -> Result<Topology, Failure> {
    let text = read(file)?;
    accepted(check_file(file, &text), context)
}

/// Reads a topology file, or standard input where it is `-`.
fn read_or_take(file: &Path) -> Result<String, Failure> {
    decode(&input::all_of(file)?, file).map_err(|faults| Failure::Config { faults, in_file: true })
}

/// Reads a topology file.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    decode(&bytes_of(file)?, file).map_err(|faults| Failure::Config { faults, in_file: true })
}

fn bytes_of(file: &Path) -> Result<Vec<u8>, Failure> {
    let failure = |source| Failure::File { what: "read", path: file.to_owned(), source };
    std::fs::read(file).map_err(failure)
}

fn decode(bytes: &[u8], file: &Path) -> Result<String, Faults> {
    crate::topology::decode(&file.to_string_lossy(), bytes)
}

fn accepted(checked: Result<Checked, Faults>, context: &Context) -> Result<Topology, Failure> {
    let checked = checked.map_err(|faults| Failure::Config { faults, in_file: true })?;
    context.notes.faults(&checked.warnings);
    Ok(checked.topology)
}

fn show(topology: &Topology, context: &mut Context) -> Result<(), Failure> {
    let mut relays = Table::new(&[("RELAY", Side::Left), ("ADDRESS", Side::Left), ("LINKS TO", Side::Left)]);
    for relay in topology.relays() {
        let links: Vec<&str> = topology.links_of(&relay.name).map(|(_, other)| other).collect();
        let links = if links.is_empty() { "-".to_owned() } else { links.join(", ") };
        relays.row(vec![relay.name.clone(), relay.address.to_string(), links]);
    }
    relays.write(&mut context.out)?;
    let counts = [
        (topology.relays().len(), "relay"),
        (topology.links().len(), "link"),
        (topology.groups().len(), "group"),
        (topology.queues().len(), "queue"),
    ];
    let counts = counts.map(|(count, what)| human::of(count as u64, what));
    Ok(context.out.line(format_args!("usable: {}", counts.join(", ")))?)
}
