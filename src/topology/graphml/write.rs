//! Finds what links cost, and writes the topology file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::super::faults::{Code, Fault, Faults, Span};
use super::super::{Address, COST_MAX, FIBRE_KM_PER_MS, PORT_DEFAULT, VERSION};
use super::names::name_all;
use super::{Edge, Graph, Imported, Node};
use crate::units::shorten;

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// The graph has it.
    Graph,
    /// The graph has the length.
    Length,
    /// The graph says where both ends are.
    Places,
    /// Nothing is known: the middle of the others.
    Others,
}

/// A link of the new file. The lesser name stands first.
struct Link {
    between: [usize; 2],
    cost: u32,
    from: From,
    /// The graph has another one, which no link can have.
    is_changed: bool,
    at: Span,
}

/// The topology file of a graph without errors.
pub(super) fn write(name: &str, graph: Graph, mut faults: Faults) -> Imported {
    let (names, renamed) = name_all(&graph.nodes, &mut faults);
    let factor = factor(&graph);
    let (links, dropped) = links(&graph, factor, &names, &mut faults);
    if graph.is_directed {
        warn_of_directions(&graph.edges, &mut faults);
    }
    let islands = islands(&graph.nodes, &links, &mut faults);
    let mut text = String::new();
    write_head(&mut text, name, &graph, (&links, factor));
    let _ = writeln!(text, "\nversion = {VERSION}");
    if islands > 1 {
        text.push_str(
            "# Not all of them can reach each other, and that is how the graph is.\nallow_islands = true\n",
        );
    }
    write_relays(&mut text, &graph.nodes, &names);
    write_links(&mut text, &links, &names);
    Imported { text, relays: names.len(), dropped, links: links.len(), islands, renamed, warnings: faults }
}

/// Costs with fractions are multiplied, where all links have one, so that rounding
/// does not make them equal.
fn factor(graph: &Graph) -> u32 {
    let costs = || graph.edges.iter().map(|edge| edge.cost);
    let has_fractions = costs().flatten().any(|cost| cost.fract() != 0.0);
    let fits = costs().all(|cost| cost.is_some_and(|cost| cost * 100.0 <= f64::from(COST_MAX)));
    if has_fractions && fits { 100 } else { 1 }
}

/// A cost as a topology file takes it.
fn rounded(cost: f64) -> u32 {
    cost.round().clamp(1.0, f64::from(COST_MAX)) as u32
}

/// Tells when no link can have what the graph says of an edge, which is then another one. Of lengths
/// only what is too far: that a link costs at least 1 is said of all.
fn check_cost(edge: &Edge, factor: u32, (cost, from): (u32, From), faults: &mut Faults) -> bool {
    let times = if factor > 1 { format!(", times {factor}") } else { String::new() };
    let (found, least, shown) = match from {
        From::Graph => {
            let found = edge.cost.unwrap_or_default();
            (found * f64::from(factor), 1.0, format!("cost is {}{times}", shorten(&found.to_string())))
        }
        From::Length => {
            let km = edge.km.unwrap_or_default();
            (km / FIBRE_KM_PER_MS, 0.0, format!("length is {}", shorten(&km.to_string())))
        }
        From::Places | From::Others => return false,
    };
    let is_changed = !(least..=f64::from(COST_MAX)).contains(&found.round());
    if is_changed {
        let message = format!("{shown}: a link costs 1 to {COST_MAX}, so it becomes {cost}");
        faults.push(Fault::new(Code::CostChanged, message).at(edge.at));
    }
    is_changed
}

/// One link for each pair of nodes that has an edge: of several the cheapest. And how many edges are
/// loops or second ones.
fn links(graph: &Graph, factor: u32, names: &[String], faults: &mut Faults) -> (Vec<Link>, usize) {
    let mut dropped = 0;
    let mut links: BTreeMap<[&str; 2], Link> = BTreeMap::new();
    let mut directions: BTreeMap<[usize; 2], ()> = BTreeMap::new();
    for edge in &graph.edges {
        let [one, other] = edge.ends;
        if one == other {
            dropped += 1;
            let message = format!("an edge joins {:?} with itself: it is left out", shorten(&names[one]));
            faults.push(Fault::new(Code::DroppedLoop, message).at(edge.at));
            continue;
        }
        let is_first_this_way = directions.insert(edge.ends, ()).is_none();
        let (cost, from) = cost_of(graph, edge.ends, edge.cost.map(|cost| cost * f64::from(factor)), edge.km);
        let is_changed = check_cost(edge, factor, (cost, from), faults);
        let between = if names[one] < names[other] { [one, other] } else { [other, one] };
        let pair = between.map(|end| names[end].as_str());
        let link = Link { between, cost, from, is_changed, at: edge.at };
        let Some(known) = links.get_mut(&pair) else {
            links.insert(pair, link);
            continue;
        };
        // The way back of a graph with directions is not a second link.
        if !(graph.is_directed && is_first_this_way) {
            dropped += 1;
            let line = faults.line_of(known.at.start);
            let message = format!(
                "{:?} and {:?} have an edge already (line {line}): of the two the cheaper stays",
                shorten(pair[0]),
                shorten(pair[1])
            );
            faults.push(Fault::new(Code::DroppedParallel, message).at(edge.at));
        }
        if link.from != From::Others && (known.from == From::Others || link.cost < known.cost) {
            *known = link;
        }
    }
    let mut links: Vec<Link> = links.into_values().collect();
    fill_in(graph, &mut links, faults);
    (links, dropped)
}

/// Links have no directions: what gets lost with those of a graph.
fn warn_of_directions(edges: &[Edge], faults: &mut Faults) {
    let mut found: BTreeMap<[usize; 2], Vec<&Edge>> = BTreeMap::new();
    for edge in edges.iter().filter(|edge| edge.ends[0] != edge.ends[1]) {
        let mut between = edge.ends;
        between.sort_unstable();
        found.entry(between).or_default().push(edge);
    }
    let is_one_way = |all: &&Vec<&Edge>| all.iter().all(|edge| edge.ends == all[0].ends);
    let differs = |all: &&Vec<&Edge>| {
        all.iter().any(|edge| edge.cost != all[0].cost || edge.cost.is_none() && edge.km != all[0].km)
    };
    let one_way = found.values().filter(is_one_way).count();
    let unlike = found.values().filter(|all| !is_one_way(all) && differs(all)).count();
    let first = found
        .values()
        .filter(|all| is_one_way(all) || differs(all))
        .map(|all| all[0])
        .min_by_key(|e| e.at.start);
    let Some(first) = first else { return };
    let parts = [(one_way, "without a way back"), (unlike, "with another cost on it")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{what}: {count}"));
    let message = format!(
        "the graph has directions, and links have none: pairs of nodes {}",
        parts.collect::<Vec<_>>().join(", ")
    );
    let advice = "each becomes one link both ways, with the lower cost".to_owned();
    faults.push(Fault::new(Code::Directions, message).at(first.at).suggest(Some(advice)));
}

fn cost_of(graph: &Graph, ends: [usize; 2], cost: Option<f64>, km: Option<f64>) -> (u32, From) {
    if let Some(cost) = cost {
        return (rounded(cost), From::Graph);
    }
    if let Some(km) = km {
        return (rounded(km / FIBRE_KM_PER_MS), From::Length);
    }
    let [one, other] = ends.map(|end| graph.nodes[end].site);
    match one.zip(other) {
        Some((one, other)) => (rounded(one.km_to(other) / FIBRE_KM_PER_MS), From::Places),
        None => (1, From::Others),
    }
}

/// Gives links of which nothing is known the middle of the other costs; where no
/// cost is known all keep 1: every hop counts the same.
fn fill_in(graph: &Graph, links: &mut [Link], faults: &mut Faults) {
    let mut known: Vec<u32> =
        links.iter().filter(|link| link.from != From::Others).map(|link| link.cost).collect();
    known.sort_unstable();
    let Some(&middle) = known.get(known.len() / 2) else { return };
    for link in links.iter_mut().filter(|link| link.from == From::Others) {
        link.cost = middle;
        let lost = link.between.into_iter().find(|&end| graph.nodes[end].site.is_none());
        let id = lost.map(|end| shorten(&graph.nodes[end].id)).unwrap_or_default();
        let message = format!(
            "nothing tells the cost of this edge (node {id:?} has no place): it is {middle}, like others"
        );
        faults.push(Fault::new(Code::UnknownPlace, message).at(link.at));
    }
}

/// How many parts there are; those beside the largest are reported.
fn islands(nodes: &[Node], links: &[Link], faults: &mut Faults) -> usize {
    let mut part: Vec<usize> = (0..nodes.len()).collect();
    fn root(part: &mut [usize], mut at: usize) -> usize {
        while part[at] != at {
            part[at] = part[part[at]];
            at = part[at];
        }
        at
    }
    for link in links {
        let [one, other] = link.between.map(|end| root(&mut part, end));
        part[one.max(other)] = one.min(other);
    }
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    for at in 0..nodes.len() {
        *sizes.entry(root(&mut part, at)).or_insert(0) += 1;
    }
    let largest = sizes.iter().max_by_key(|(first, size)| (**size, std::cmp::Reverse(**first)));
    let largest = largest.map(|(first, _)| *first);
    for (&first, &size) in sizes.iter().filter(|(first, _)| Some(**first) != largest) {
        let node = &nodes[first];
        let others = if size > 1 { format!(" and {} more", size - 1) } else { String::new() };
        let message =
            format!("node {:?}{others} cannot be reached by the rest of the graph", shorten(&node.id));
        faults.push(Fault::new(Code::GraphIslands, message).at(node.at));
    }
    sizes.len()
}

fn write_head(text: &mut String, name: &str, graph: &Graph, (links, factor): (&[Link], u32)) {
    let file = Path::new(name).file_name().map_or(name.into(), |file| file.to_string_lossy());
    let _ = writeln!(text, "# Made from {} by `treecast topology import`.", comment(&file));
    for (fact, value) in &graph.facts {
        let _ = writeln!(text, "#   {fact}: {}", comment(value));
    }
    if graph.facts.iter().any(|(fact, value)| fact == "Creator" && value.starts_with("Topology Zoo")) {
        text.push_str(ZOO);
    }
    text.push_str("#\n# Addresses are on this machine: write those of your relays.\n");
    let count = |from: From| links.iter().filter(|link| link.from == from).count();
    let scaled = if factor > 1 { format!(", times {factor}") } else { String::new() };
    let way = "the milliseconds one way in fibre (kilometres / 200, at least 1)";
    let origins = [
        (From::Graph, format!("as the graph has it{scaled}, rounded")),
        (From::Length, format!("{way} for the length that the graph has")),
        (From::Places, format!("{way} along the great circle between its ends")),
        (
            From::Others,
            if count(From::Others) == links.len() {
                "1: the graph has neither costs nor places, so every hop counts the same".to_owned()
            } else {
                "unknown to the graph: the middle of the other costs stands in for it".to_owned()
            },
        ),
    ];
    for (from, words) in origins.iter().filter(|(from, _)| count(*from) > 0) {
        let links_of = || links.iter().filter(|link| link.from == *from);
        let links = links_of().count();
        let plural = if links == 1 { "link" } else { "links" };
        let changed = links_of().filter(|link| link.is_changed).count();
        let changed = match changed {
            0 => String::new(),
            _ => format!("; {changed} of them cannot be had by a link and became 1 or {COST_MAX}"),
        };
        let _ = writeln!(text, "# Cost of {links} {plural}: {words}{changed}.");
    }
}

const ZOO: &str = "\
#   A graph of the Internet Topology Zoo (CC BY 4.0), to be cited as: S. Knight, H. X. Nguyen,
#   N. Falkner, R. Bowden, M. Roughan, \"The Internet Topology Zoo\", IEEE Journal on Selected
#   Areas in Communications 29(9), 2011. Changed as said below.
";

/// One line of text that ends no comment.
fn comment(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    text.trim().to_owned()
}

fn write_relays(text: &mut String, nodes: &[Node], names: &[String]) {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by(|one, other| names[*one].cmp(&names[*other]));
    for (port, at) in (PORT_DEFAULT..).zip(order) {
        let label = nodes[at].label.as_deref().unwrap_or(&nodes[at].id);
        let note =
            if comment(label) == names[at] { String::new() } else { format!("# {}\n", comment(label)) };
        let address = Address::loopback(port).to_string();
        let _ = write!(text, "\n{note}[relay.{}]\naddress = {address:?}\n", key(&names[at]));
        if let Some(site) = nodes[at].site {
            let _ = writeln!(text, "at = {site}");
        }
    }
}

fn write_links(text: &mut String, links: &[Link], names: &[String]) {
    text.push('\n');
    for link in links {
        let [one, other] = link.between.map(|end| &names[end]);
        let _ = writeln!(text, "[[link]]\nbetween = [\"{one}\", \"{other}\"]\ncost = {}", link.cost);
    }
}

/// A name as a part of a table's header; it has letters, digits and `-` only.
fn key(name: &str) -> String {
    if name.is_ascii() { name.to_owned() } else { format!("\"{name}\"") }
}
