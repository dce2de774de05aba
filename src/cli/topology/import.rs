//! `treecast topology import`: a topology file from a graph.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::input;
use crate::cli::out::Context;
use crate::topology::graphml;

use super::write;

pub(super) const AFTER_HELP: &str = "\
Examples:
  treecast topology import Abilene.graphml -o abilene.toml
  treecast topology import network.graphml | treecast topology draw /dev/stdin --format svg

Reads GraphML as the Internet Topology Zoo and NetworkX write it. Of nodes: label or name;
Latitude and Longitude. Of edges: cost or weight; else length, distance or km, in
kilometres. A cost that is not there is the milliseconds one way in fibre, from the length
or from where both ends are. Labels become names in lower case with '-' between words.
The exit code is 65 when the file cannot be used.";

/// Arguments of `topology import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The GraphML file
    pub file: PathBuf,
    /// Where the topology file goes; standard output unless said
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Does it.
pub(super) fn run(args: &ImportArgs, context: &mut Context) -> Result<(), Failure> {
    let bytes = input::all_of(&args.file)?;
    let name = args.file.to_string_lossy();
    let imported =
        graphml::import(&name, &bytes).map_err(|faults| Failure::Config { faults, in_file: true })?;
    if let Some(out) = &args.out {
        write(&imported.text, Some(out), context)?;
    }
    if !context.is_text() {
        let text = args.out.is_none().then_some(&imported.text);
        return Ok(context.out.json(&json!({
            "file": args.file,
            "out": args.out,
            "relays": imported.relays,
            "links": imported.links,
            "islands": imported.islands,
            "renamed": imported.renamed,
            "dropped_links": imported.dropped,
            "faults": imported.warnings.rows(),
            "topology": text,
        }))?);
    }
    context.notes.faults(&imported.warnings);
    if args.out.is_none() {
        return write(&imported.text, None, context);
    }
    let counts = [(imported.relays, "relay"), (imported.links, "link"), (imported.islands, "island")];
    let counts = counts.map(|(count, what)| human::of(count as u64, what));
    context.notes.note(format_args!("written: {}", counts.join(", ")));
    Ok(())
}
