//! `treecast topology`: what an operator wrote about the network.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::topology::{Checked, Topology};

use super::exit::Failure;
use super::human;
use super::out::Context;
use super::table::{Side, Table};

/// What to do with a topology file.
#[derive(Debug, Subcommand)]
pub enum TopologyCommand {
    /// Check a topology file: all faults at once, each with its line and what was likely meant
    #[command(after_help = "Examples:\n  treecast topology check topologies/one.toml\n  \
        treecast topology check network.toml --output json\n\n\
        The exit code is 65 when the file cannot be used.")]
    Check {
        /// The topology file
        file: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// When the file cannot be read or used.
pub fn run(command: TopologyCommand, context: &mut Context) -> Result<(), Failure> {
    let TopologyCommand::Check { file } = command;
    let text = read(&file)?;
    let checked = Topology::parse(&file.to_string_lossy(), &text);
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
    let text = read(file)?;
    accepted(Topology::parse(&file.to_string_lossy(), &text), context)
}

/// Reads a topology file.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let failure = |source| Failure::File { what: "read", path: file.to_owned(), source };
    std::fs::read_to_string(file).map_err(failure)
}

fn accepted(
    checked: Result<Checked, crate::topology::Faults>,
    context: &Context,
) -> Result<Topology, Failure> {
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
