//! `treecast topology draw`: a picture of the network.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::exit::Failure;
use crate::cli::out::Context;
use crate::survey::picture::{Picture, Question};
use crate::survey::{dot, svg, text};
use crate::topology::Topology;
use crate::topology::settings::TreeKind;

use super::{ANY_GROUP, Guess, check_group, known, load, too_large, write};

pub(super) const AFTER_HELP: &str = "\
Examples:
  treecast topology draw topologies/ring.toml --group news
  treecast topology draw topologies/geant.toml --group news --members ie,pt,gr,fi -o geant.svg
  treecast topology draw network.toml --format dot | dot -Tpdf > network.pdf

Relays stand where they are on earth when the file says so (at = [NORTH, EAST]) and they
are on one half of it, else so that links are long like their costs. The same file always
gives the same picture. In text ● is a relay of the group, ○ one that only passes on.
With --output json and no --format: what there is to draw, for other programs.";

/// The form of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// The tree as an outline, for a terminal
    Text,
    /// A drawing, for a wall
    Svg,
    /// The language of Graphviz
    Dot,
}

/// Arguments of `topology draw`.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// The topology file, or - for standard input
    pub file: PathBuf,
    /// The form; unless said what the name of the output ends with, else text
    #[arg(long, value_enum)]
    pub format: Option<Form>,
    /// The group whose tree is shown; it need not be in the file
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// For a group with tree = "source": whose tree; that of its first relay unless said
    #[arg(long, value_name = "RELAY", requires = "group")]
    pub origin: Option<String>,
    /// Who is in the group.
    #[command(flatten)]
    pub guess: Guess,
    /// Where the picture goes; standard output unless said
    #[arg(short, long = "out", value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Does it.
pub(super) fn run(args: &DrawArgs, context: &mut Context) -> Result<(), Failure> {
    let topology = load(&args.file, context)?;
    args.guess.check(&[&topology])?;
    check_group(args.group.as_deref())?;
    let group = args.group.as_deref().or(args.guess.members.as_ref().map(|_| ANY_GROUP));
    check_origin(args, group, &topology)?;
    let name = args.file.file_stem().unwrap_or(args.file.as_os_str()).to_string_lossy().into_owned();
    let question = Question {
        title: &name,
        group,
        members: args.guess.members.as_deref(),
        origin: args.origin.as_deref(),
        unmeasured: args.guess.rtt,
    };
    let picture = Picture::new(&topology, question).map_err(too_large)?;
    let drawn = match form(args)? {
        None if !context.is_text() => return Ok(context.out.json(&json!(picture))?),
        None | Some(Form::Text) => text::write(&picture),
        Some(Form::Svg) => svg::write(&picture),
        Some(Form::Dot) => dot::write(&picture),
    };
    write(&drawn, args.out.as_deref(), context)
}

fn form(args: &DrawArgs) -> Result<Option<Form>, Failure> {
    let Some(out) = args.out.as_deref().filter(|_| args.format.is_none()) else { return Ok(args.format) };
    match out.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => Ok(Some(Form::Svg)),
        Some("dot" | "gv") => Ok(Some(Form::Dot)),
        Some("txt") => Ok(Some(Form::Text)),
        None => Ok(None),
        Some(_) => {
            let why = format!(
                "{}: no picture is of that form: end the name with .svg, .dot, .gv or .txt, or say --format",
                out.display()
            );
            Err(Failure::Usage(why))
        }
    }
}

fn check_origin(args: &DrawArgs, group: Option<&str>, topology: &Topology) -> Result<(), Failure> {
    let Some(origin) = &args.origin else { return Ok(()) };
    known("relay", origin, &[topology])?;
    let kind = group.and_then(|group| topology.settings(group)).map(|settings| settings.tree);
    if kind == Some(TreeKind::Source) {
        return Ok(());
    }
    let group = group.unwrap_or_default();
    Err(Failure::Usage(format!("group {group:?} has one tree for all origins, so --origin says nothing")))
}
