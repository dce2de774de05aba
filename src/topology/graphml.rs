//! A topology file made from a graph: GraphML as the Internet Topology Zoo and
//! `NetworkX` write it.
//!
//! `read` takes what is needed out of the XML, `names` makes valid names of labels,
//! `write` finds costs and writes the file. What is wrong is collected with its line,
//! as for topology files; what is left out or changed is a warning, never silent.

mod names;
mod read;
mod write;

use serde::Serialize;

use super::faults::{Code, Fault, Faults, Span};
use crate::limits;

/// The longest file that is read: 64 MiB, ten times the largest of the Topology Zoo
/// for as many relays as a network may have.
pub const GRAPHML_BYTES_MAX: usize = 64 << 20;

/// A topology file, and what became of the graph.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Imported {
    /// The text of the topology file.
    pub text: String,
    /// What was left out or changed: warnings only.
    pub warnings: Faults,
    /// How many relays it has.
    pub relays: usize,
    /// How many links it has.
    pub links: usize,
    /// How many parts it has that cannot reach each other.
    pub islands: usize,
    /// How many edges were dropped, loops and parallel ones.
    pub dropped: usize,
    /// Relays whose names do not follow from their labels alone.
    pub renamed: Vec<Renamed>,
}

/// A node that is called something else as a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Its id in the graph.
    pub id: String,
    /// Its label, if it had one.
    pub label: Option<String>,
    /// The name of the relay.
    pub name: String,
}

/// Makes a topology file of the bytes of a GraphML file. `name` is what the operator
/// knows the file by. Pure.
///
/// # Errors
/// All faults of the file, each with its line.
pub fn import(name: &str, bytes: &[u8]) -> Result<Imported, Faults> {
    let mut faults = Faults::new(name, "");
    if bytes.len() > GRAPHML_BYTES_MAX {
        let message = format!("the file has {} bytes, must be at most {GRAPHML_BYTES_MAX}", bytes.len());
        faults.push(Fault::new(Code::TooLarge, message).at(0..0));
        return Err(faults);
    }
    let text = super::decode_as((name, bytes), Code::NotGraphMl)?;
    let mut faults = Faults::new(name, &text);
    let Some(graph) = read::read(&text, &mut faults) else { return Err(faults) };
    if graph.nodes.len() > limits::MAP_RELAYS_MAX {
        let (found, max) = (graph.nodes.len(), limits::MAP_RELAYS_MAX);
        let message = format!("the graph has {found} nodes, must be at most {max}");
        faults.push(Fault::new(Code::TooManyNodes, message).at(0..0));
    }
    if faults.error_count() > 0 {
        return Err(faults);
    }
    Ok(write::write(name, graph, faults))
}

/// What the graph says, before it becomes a topology.
#[derive(Debug, Default)]
struct Graph {
    /// What it says of itself: name and value, in the order of the file.
    facts: Vec<(String, String)>,
    is_directed: bool,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Debug)]
struct Node {
    id: String,
    label: Option<String>,
    site: Option<super::Site>,
    at: Span,
}

#[derive(Debug)]
struct Edge {
    /// The numbers of the nodes that it joins.
    ends: [usize; 2],
    cost: Option<f64>,
    km: Option<f64>,
    at: Span,
}
