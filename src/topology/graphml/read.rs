//! Takes nodes and edges out of the XML.

use std::collections::BTreeMap;

use roxmltree::{Document, Node as Element, ParsingOptions};

use super::super::Site;
use super::super::faults::{Code, Fault, Faults, Span};
use super::{Edge, Graph, Node};
use crate::units::shorten;

/// XML elements and texts that are read; a file of the largest size has no more.
const XML_NODES_MAX: u32 = 16_000_000;

const LABEL: &[&str] = &["label", "name"];
const NORTH: &[&str] = &["latitude", "lat"];
const EAST: &[&str] = &["longitude", "lon", "lng", "long"];
const COST: &[&str] = &["cost", "weight"];
const KM: &[&str] = &["length", "distance", "km"];
/// What a graph says of itself that goes into the new file.
const FACTS: &[&str] = &["label", "Network", "DateYear", "Source", "Provenance", "Creator"];

/// The graph of a GraphML text; none when there is none to be read.
pub(super) fn read(text: &str, faults: &mut Faults) -> Option<Graph> {
    let options = ParsingOptions { nodes_limit: XML_NODES_MAX, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(error) => {
            let at = place_of(text, error.pos());
            let message = format!("the text is not XML that can be read: {}", reason(&error));
            faults.push(Fault::new(Code::NotGraphMl, message).at(at..at + 1));
            return None;
        }
    };
    let root = document.root_element();
    let graphs: Vec<Element<'_, '_>> = children(root, "graph").collect();
    let Some(&graph) = graphs.first().filter(|_| root.tag_name().name() == "graphml") else {
        let message = "the file has no <graphml> with a <graph> in it";
        faults.push(Fault::new(Code::NotGraphMl, message).at(head(root)));
        return None;
    };
    for more in graphs.iter().skip(1) {
        let message = "only the first <graph> of a file is read";
        faults.push(Fault::new(Code::NotRead, message).at(head(*more)));
    }
    let mut reader = Reader { keys: keys(root), faults, numbers: BTreeMap::new(), found: Graph::default() };
    reader.read(graph);
    let found = reader.found;
    if found.nodes.is_empty() && faults.error_count() == 0 {
        faults.push(Fault::new(Code::NotGraphMl, "the graph has no node").at(head(graph)));
    }
    Some(found)
}

/// Without its place, which is shown anyway.
fn reason(error: &roxmltree::Error) -> String {
    let text = error.to_string();
    let without = text.rsplit_once(" at ").map_or(text.as_str(), |(before, _)| before);
    shorten(without)
}

fn place_of(text: &str, place: roxmltree::TextPos) -> usize {
    let row = usize::try_from(place.row).unwrap_or(1).max(1);
    let before = text.split_inclusive('\n').take(row - 1).map(str::len).sum::<usize>();
    let line = text.get(before..).unwrap_or_default();
    let column = usize::try_from(place.col).unwrap_or(1).max(1);
    before + line.chars().take(column - 1).map(char::len_utf8).sum::<usize>()
}

fn children<'a, 'x: 'a>(of: Element<'a, 'x>, name: &'static str) -> impl Iterator<Item = Element<'a, 'x>> {
    of.children().filter(move |child| child.tag_name().name() == name)
}

/// The opening tag of an element.
fn head(element: Element<'_, '_>) -> Span {
    let range = element.range();
    let text = element.document().input_text();
    let whole = text.get(range.clone()).unwrap_or_default();
    let end = whole.find('>').map_or(range.end, |at| range.start + at + 1);
    (range.start..end).into()
}

/// A `<key>`: what `<data>` of it means.
struct Key {
    name: String,
    default: Option<String>,
}

/// Keys by the kind of element that they are for, and their ids.
type Keys = BTreeMap<(String, String), Key>;

fn keys(root: Element<'_, '_>) -> Keys {
    let mut keys = Keys::new();
    for key in children(root, "key") {
        let Some(id) = key.attribute("id") else { continue };
        let of = key.attribute("for").unwrap_or("all").to_owned();
        let name = key.attribute("attr.name").unwrap_or(id).to_owned();
        let default = children(key, "default").next().and_then(|default| default.text());
        keys.insert((of, id.to_owned()), Key { name, default: default.map(str::to_owned) });
    }
    keys
}

/// A value, and where it stands.
struct Datum {
    text: String,
    at: Span,
}

struct Reader<'f> {
    keys: Keys,
    faults: &'f mut Faults,
    /// Nodes by id.
    numbers: BTreeMap<String, usize>,
    found: Graph,
}

impl Reader<'_> {
    fn read(&mut self, graph: Element<'_, '_>) {
        self.found.is_directed = graph.attribute("edgedefault") == Some("directed");
        let facts = self.data(graph, "graph");
        for &fact in FACTS {
            if let Some(value) = facts.get(&fact.to_lowercase()).filter(|value| !value.text.is_empty()) {
                self.found.facts.push((fact.to_owned(), value.text.clone()));
            }
        }
        for node in children(graph, "node") {
            self.read_node(node);
        }
        for edge in children(graph, "edge") {
            self.read_edge(edge);
        }
        let unread = ["hyperedge", "graph"].into_iter().flat_map(|name| children(graph, name));
        let nested = children(graph, "node").flat_map(|node| children(node, "graph"));
        for element in unread.chain(nested) {
            let message = format!("a <{}> inside a graph is not read", element.tag_name().name());
            self.fault(Code::NotRead, message, head(element));
        }
    }

    fn fault(&mut self, code: Code, message: String, at: Span) {
        self.faults.push(Fault::new(code, message).at(at));
    }

    fn read_node(&mut self, node: Element<'_, '_>) {
        let at = head(node);
        let Some(id) = node.attribute("id") else {
            return self.fault(Code::MissingAttribute, "a <node> has no id".to_owned(), at);
        };
        let mut data = self.data(node, "node");
        let label = take(&mut data, LABEL).map(|label| label.text);
        let site = self.read_site(id, &mut data);
        let number = self.found.nodes.len();
        if self.numbers.insert(id.to_owned(), number).is_some() {
            let message = format!("two nodes have the id {:?}", shorten(id));
            self.fault(Code::DuplicateNode, message, at);
        }
        self.found.nodes.push(Node { id: id.to_owned(), label, site, at });
    }

    fn read_site(&mut self, id: &str, data: &mut BTreeMap<String, Datum>) -> Option<Site> {
        let [north, east] = [take(data, NORTH), take(data, EAST)];
        let at = north.as_ref().or(east.as_ref())?.at;
        let degrees = |datum: &Option<Datum>| datum.as_ref()?.text.parse::<f64>().ok();
        let site = degrees(&north).zip(degrees(&east)).and_then(|(north, east)| Site::new(north, east));
        if site.is_none() {
            let shown =
                |datum: Option<Datum>| datum.map_or("nothing".to_owned(), |datum| shorten(&datum.text));
            let (north, east) = (shown(north), shown(east));
            let message = format!(
                "node {:?} is at {north} north, {east} east, which is no place on earth: it counts as unknown",
                shorten(id)
            );
            self.fault(Code::UnknownPlace, message, at);
        }
        site
    }

    fn read_edge(&mut self, edge: Element<'_, '_>) {
        let at = head(edge);
        let mut data = self.data(edge, "edge");
        let cost = self.read_number(take(&mut data, COST), "cost");
        let km = self.read_number(take(&mut data, KM), "length");
        let mut ends = Vec::new();
        for name in ["source", "target"] {
            match edge.attribute(name) {
                None => self.fault(Code::MissingAttribute, format!("an <edge> has no {name}"), at),
                Some(id) => match self.numbers.get(id) {
                    Some(&number) => ends.push(number),
                    None => {
                        let message =
                            format!("{name} of an edge is node {:?}, which does not exist", shorten(id));
                        self.fault(Code::UnknownNode, message, at);
                    }
                },
            }
        }
        if let Ok(ends) = <[usize; 2]>::try_from(ends) {
            self.found.edges.push(Edge { ends, cost, km, at });
        }
    }

    /// A number that is not below zero, if there is one.
    fn read_number(&mut self, datum: Option<Datum>, what: &str) -> Option<f64> {
        let datum = datum.filter(|datum| !datum.text.is_empty())?;
        let number = datum.text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        if number.is_none() {
            let message = format!("{what} is {:?}, must be a number from 0", shorten(&datum.text));
            self.fault(Code::BadNumber, message, datum.at);
        }
        number
    }

    /// What an element says, and where it says nothing the defaults, by the name of
    /// the key in lower case.
    fn data(&self, element: Element<'_, '_>, kind: &str) -> BTreeMap<String, Datum> {
        let mut found = BTreeMap::new();
        let place = head(element);
        let own = |(of, _): &&(String, String)| of == kind || of == "all";
        for key in self.keys.keys().filter(own).filter_map(|id| self.keys.get(id)) {
            if let Some(default) = &key.default {
                found.insert(key.name.to_lowercase(), Datum { text: default.trim().to_owned(), at: place });
            }
        }
        for data in children(element, "data") {
            let Some(id) = data.attribute("key") else { continue };
            let of = |kind: &str| self.keys.get(&(kind.to_owned(), id.to_owned()));
            let name = of(kind).or_else(|| of("all")).map_or(id, |key| &key.name);
            let text = data.text().unwrap_or_default().trim().to_owned();
            found.insert(name.to_lowercase(), Datum { text, at: data.range().into() });
        }
        found
    }
}

/// The value of the first of these names that is there.
fn take(data: &mut BTreeMap<String, Datum>, names: &[&str]) -> Option<Datum> {
    names.iter().find_map(|name| data.remove(*name))
}
