//! The tools of an operator who has topology files and no relay running: pictures,
//! plans, reports and files made from graphs.
//!
//! What is compared letter by letter stands in `tests/graphml` and in
//! `docs/topology.md`. `TREECAST_WRITE_EXPECTED=1 cargo test --test topology` writes
//! both anew; read them before committing.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it expects")]

#[path = "topology/commands.rs"]
mod commands;
#[path = "topology/graphml.rs"]
mod graphml;
#[path = "topology/pictures.rs"]
mod pictures;
#[path = "topology/plans.rs"]
mod plans;
#[path = "topology/reports.rs"]
mod reports;
#[path = "topology/zoo.rs"]
mod zoo;

use std::fs;
use std::path::{Path, PathBuf};

use treecast::topology::Topology;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn parsed(text: &str) -> Topology {
    Topology::parse("test.toml", text).unwrap_or_else(|faults| panic!("{faults}")).topology
}

/// A file of `topologies/`.
fn shipped(name: &str) -> Topology {
    parsed(&fs::read_to_string(root().join("topologies").join(name)).unwrap())
}

/// Relays a, b, c, … with links `ab:5 bc:1`; `more` is added as it is.
fn network(links: &str, more: &str) -> Topology {
    let mut text = "version = 1\nallow_islands = true\n".to_owned();
    let mut names: Vec<char> = links.chars().filter(char::is_ascii_lowercase).collect();
    names.sort_unstable();
    names.dedup();
    for (at, name) in names.iter().enumerate() {
        text += &format!("[relay.{name}]\naddress = \"127.0.0.1:{}\"\n", 7411 + at);
    }
    for link in links.split_whitespace() {
        let (ends, cost) = link.split_once(':').unwrap();
        let (one, other) = ends.split_at(1);
        text += &format!("[[link]]\nbetween = [\"{one}\", \"{other}\"]\ncost = {cost}\n");
    }
    parsed(&(text + more))
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Compares with a file, or writes it when that is wanted.
fn compare(found: &str, file: &Path) {
    if std::env::var_os("TREECAST_WRITE_EXPECTED").is_some() {
        fs::write(file, found).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    assert_eq!(found, expected, "{} is another one", file.display());
}
