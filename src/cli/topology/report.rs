//! `treecast topology report`: how good the trees are.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::out::Context;
use crate::cli::table::{Side, Table};
use crate::routing::Map;
use crate::survey::report::{Figures, Line, Question, report};
use crate::topology::settings::TreeKind;

use super::{Guess, groups, load, too_large};

pub(super) const AFTER_HELP: &str = "\
Examples:
  treecast topology report topologies/geant.toml
  treecast topology report topologies/cloud.toml --groups 200 --seed 7 --output json

Looks at the trees of the file's groups, and of random sets of 4, 8, 16 and half of all relays.

Columns:
  COST        the sum of the costs of a tree's links
  OF LEAST    the same divided by the least possible: exact for up to 8 relays, else (~)
              by a lower bound that no tree can reach below
  STRETCH     the way from one relay to another along the tree, divided by the direct one
  SOURCE      the same along the tree that tree = \"source\" gives the sender
  CROSSINGS   how often a message crosses a link, by the tree and with direct copies
  BUSIEST     copies of a message on the busiest link, by the tree and with direct copies

Three figures are: the mean / 95 of 100 are not above it / the greatest.";

/// Arguments of `topology report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The topology file
    pub file: PathBuf,
    /// How many random sets of relays of each size
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub groups: u32,
    /// Which sets; the same number gives the same ones
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Who is in the groups of the file.
    #[command(flatten)]
    pub guess: Guess,
}

/// Does it.
pub(super) fn run(args: &ReportArgs, context: &mut Context) -> Result<(), Failure> {
    let topology = load(&args.file, context)?;
    args.guess.check(&[&topology])?;
    let map = Map::of_topology(&topology, args.guess.rtt).map_err(too_large)?;
    let names = groups(&[&topology], None);
    let question = Question {
        groups: &names,
        members: args.guess.members.as_deref(),
        sets: args.groups as usize,
        seed: args.seed,
    };
    let found = report(&topology, &map, question);
    if !context.is_text() {
        return Ok(context.out.json(&json!(found))?);
    }
    let network = format!(
        "{}, {}, {}",
        human::of(found.relays as u64, "relay"),
        human::of(found.links as u64, "link"),
        human::of(found.islands as u64, "island")
    );
    context.out.line(network)?;
    let mut table = Table::new(&[
        ("TREES FOR", Side::Left),
        ("RELAYS", Side::Right),
        ("COST", Side::Right),
        ("OF LEAST", Side::Left),
        ("STRETCH", Side::Left),
        ("SOURCE", Side::Left),
        ("CROSSINGS", Side::Left),
        ("BUSIEST", Side::Left),
    ]);
    found.lines.iter().for_each(|line| table.row(row(line)));
    table.write(&mut context.out)?;
    let over: usize = found.lines.iter().map(|line| line.over_cap).sum();
    if over > 0 {
        let sets: usize = found.lines.iter().map(|line| line.sets).sum();
        context.notes.warning(format_args!(
            "in {over} of {sets} sets a relay has more children than its max_children: no other way was found"
        ));
    }
    Ok(())
}

fn row(line: &Line) -> Vec<String> {
    let source = if line.kind == TreeKind::Source { " (source)" } else { "" };
    let name = match &line.group {
        Some(group) => format!("{group}{source}"),
        None => human::of(line.sets as u64, "random set"),
    };
    let exact = if line.is_exact { "" } else { " ~" };
    vec![
        name,
        line.relays.to_string(),
        format!("{:.1}", line.cost.mean),
        format!("{}{exact}", shown(line.cost_ratio)),
        shown(line.stretch),
        shown(line.stretch_source),
        format!("{:.1}, direct {:.1}", line.crossings.mean, line.crossings_direct.mean),
        format!("{}, direct {:.1}", line.copies, line.copies_direct.mean),
    ]
}

fn shown(figures: Figures) -> String {
    format!("{:.3} / {:.3} / {:.3}", figures.mean, figures.p95, figures.max)
}
