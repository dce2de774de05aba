//! S37: odd networks, and two real ones that are hard: the largest of the Topology Zoo, and one that
//! is in 56 pieces.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use treecast::id::RelayId;
use treecast::routing::{Advertised, LinkState, Map, Version};
use treecast::survey::forest::{Wanted, grow, islands};
use treecast::topology::graphml::{Imported, import};
use treecast::topology::{Colour, Topology};

use crate::{parsed, root};

/// The graph of a table of nodes and edges in `tests/graphml`.
fn graph(name: &str) -> String {
    let table = fs::read_to_string(root().join(format!("tests/graphml/{name}.tsv"))).unwrap();
    let mut graph = String::from(
        "<graphml>\n<key id=\"label\" for=\"node\" attr.name=\"label\"/>\n\
         <key id=\"lat\" for=\"node\" attr.name=\"Latitude\"/>\n\
         <key id=\"lon\" for=\"node\" attr.name=\"Longitude\"/>\n<graph edgedefault=\"undirected\">\n",
    );
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["node", id, lat, lon, label] => {
                let mut data = format!("<data key=\"label\">{label}</data>");
                if lat != "-" {
                    let _ = write!(data, "<data key=\"lat\">{lat}</data><data key=\"lon\">{lon}</data>");
                }
                let _ = writeln!(graph, "<node id=\"{id}\">{data}</node>");
            }
            ["edge", from, to] => {
                let _ = writeln!(graph, "<edge source=\"{from}\" target=\"{to}\"/>");
            }
            _ => panic!("{line}"),
        }
    }
    graph + "</graph>\n</graphml>\n"
}

fn imported(name: &str) -> (Imported, Topology) {
    let imported = import(&format!("{name}.graphml"), graph(name).as_bytes())
        .unwrap_or_else(|faults| panic!("{faults}"));
    let checked = Topology::parse("new.toml", &imported.text).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    (imported, checked.topology)
}

/// How often a code was told.
fn count(imported: &Imported, code: &str) -> usize {
    imported.warnings.rows().iter().filter(|row| row.code == code).count()
}

/// A group of all relays has a tree on each island of two or more, over all that is there, and the
/// others are cut off.
fn check_trees(topology: &Topology, sizes: &[usize]) {
    let map = Map::of_topology(topology, 1).unwrap();
    let all = islands(&map);
    assert_eq!(all.iter().map(Vec::len).filter(|size| *size > 1).collect::<Vec<_>>(), sizes);
    let forest = grow(&map, &[Wanted::new(topology, &map, "g", None)]).remove(0);
    assert_eq!(forest.trees.len(), sizes.len());
    for (grown, island) in forest.trees.iter().zip(&all) {
        let on_tree: BTreeSet<_> = grown.tree.relays().collect();
        assert_eq!(on_tree, island.iter().copied().collect(), "the tree is not that of the island");
        assert_eq!(grown.tree.edges().count(), island.len() - 1);
        for edge in grown.tree.edges() {
            assert_eq!(map.live_cost(edge.parent, edge.child), Some(edge.cost), "{edge:?} is no link");
        }
    }
    assert_eq!(forest.cut_off.len(), map.relay_count() - sizes[0], "all others are not on the first island");
}

#[test]
fn s37_the_largest_network_of_the_zoo_is_one_tree_of_754_relays() {
    let (imported, topology) = imported("kdl");
    // Four of its 899 edges are parallel to others.
    assert_eq!((imported.relays, imported.links, imported.islands, imported.dropped), (754, 895, 1, 4));
    assert_eq!(count(&imported, "G009"), 4);
    let names: BTreeSet<&str> = topology.relays().iter().map(|relay| relay.name.as_str()).collect();
    assert_eq!(names.len(), 754, "117 of them have no label, and many have one of another");
    check_trees(&topology, &[754]);
}

#[test]
fn s37_a_network_in_56_pieces_is_one_that_works_in_each_of_them() {
    let (imported, topology) = imported("dialtelecomcz");
    assert_eq!((imported.relays, imported.links, imported.islands, imported.dropped), (193, 151, 56, 0));
    assert_eq!(count(&imported, "G011"), 55, "each piece beside the largest is told");
    check_trees(&topology, &[138]);
    // That it is meant is said in the file: otherwise it would be told.
    let text = imported.text.replace("allow_islands = true", "");
    let warnings = Topology::parse("new.toml", &text).unwrap().warnings;
    let shown = warnings.render(Colour::Off);
    assert_eq!(warnings.rows().iter().map(|row| row.code).collect::<Vec<_>>(), ["T016"], "{shown}");
    assert!(shown.contains("50 more cannot be reached"), "{shown}");
}

#[test]
fn s37_links_that_make_no_network_are_told_where_they_stand_and_what_would_be_right() {
    let relays = "[relay.a]\naddress = \"127.0.0.1:1\"\n[relay.b]\naddress = \"127.0.0.1:2\"\n";
    let link = |one: &str, other: &str, cost: &str| {
        format!("[[link]]\nbetween = [\"{one}\", \"{other}\"]\ncost = {cost}\n")
    };
    let good = link("a", "b", "5");
    for (bad, code, says) in [
        (link("a", "a", "5"), "T013", "itself"),
        (link("a", "b", "5"), "T014", "already"),
        (link("b", "a", "9"), "T014", "already"),
        (link("a", "b", "0"), "T015", "1"),
        (link("a", "b", "-1"), "T015", "1"),
        (link("a", "b", "4294967296"), "T015", "1"),
    ] {
        let is_alone = code == "T015";
        let before = if is_alone { String::new() } else { good.clone() };
        let text = format!("version = 1\n{relays}{before}{bad}");
        let faults = Topology::parse("net.toml", &text).unwrap_err();
        let rows = faults.rows();
        let told: Vec<&str> = rows.iter().map(|row| row.code).collect();
        let shown = faults.render(Colour::Off);
        assert_eq!(told, [code], "{shown}");
        let first = text[..text.len() - bad.len()].lines().count();
        assert!(rows[0].line.is_some_and(|line| line > first), "not in the link that is wrong: {shown}");
        assert!(shown.contains(says), "{shown}");
    }
    let apart = Topology::parse("net.toml", &format!("version = 1\n{relays}")).unwrap();
    assert_eq!(apart.warnings.rows().iter().map(|row| row.code).collect::<Vec<_>>(), ["T016"]);
    assert_eq!(parsed(&format!("version = 1\nallow_islands = true\n{relays}")).relays().len(), 2);
}

#[test]
fn s37_a_link_that_costs_more_one_way_costs_that_both_ways() {
    let state = |relay: &str, other: &str, costs: &[u32]| {
        let link =
            |cost: &u32| Advertised { neighbour: RelayId::new(other).unwrap(), cost: *cost, is_up: true };
        let mut state = LinkState::new(RelayId::new(relay).unwrap(), Version::default());
        state.links = costs.iter().map(link).collect();
        state
    };
    for (one, other, expected) in
        [(&[3][..], &[7][..], 7), (&[7], &[3], 7), (&[0], &[0], 1), (&[0], &[4], 4), (&[9, 2], &[9, 2], 2)]
    {
        let map = Map::new(&[state("a", "b", one), state("b", "a", other)], []).unwrap();
        let [a, b] = ["a", "b"].map(|name| map.place(&RelayId::new(name).unwrap()).unwrap());
        assert_eq!((map.live_cost(a, b), map.live_cost(b, a)), (Some(expected), Some(expected)));
    }
    // What names itself as its neighbour has no link.
    let map = Map::new(&[state("a", "a", &[1]), state("b", "a", &[1])], []).unwrap();
    let [a, b] = ["a", "b"].map(|name| map.place(&RelayId::new(name).unwrap()).unwrap());
    assert_eq!((map.live_cost(a, a), map.live_cost(a, b)), (None, None));
}
