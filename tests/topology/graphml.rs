//! Topology files from graphs.

use std::fs;

use proptest::prelude::*;
use treecast::topology::graphml::{GRAPHML_BYTES_MAX, Imported, import};
use treecast::topology::{Code, Colour, Cost, Faults, Topology};

use crate::{compare, parsed, root};

const FILES: [&str; 2] = ["zoo", "networkx"];

fn file(name: &str) -> Vec<u8> {
    fs::read(root().join(format!("tests/graphml/{name}.graphml"))).unwrap()
}

fn imported(name: &str) -> Imported {
    import(&format!("{name}.graphml"), &file(name)).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A graph with `inside` between its tags.
fn graph(inside: &str) -> String {
    format!(
        "<graphml>\n<key id=\"c\" for=\"edge\" attr.name=\"cost\"/>\n<graph edgedefault=\"undirected\">\n{inside}</graph>\n</graphml>\n"
    )
}

/// Codes with their lines.
fn told(faults: &Faults) -> Vec<(&'static str, usize)> {
    faults.rows().iter().map(|row| (row.code, row.line.expect("every fault has a line"))).collect()
}

#[test]
fn files_become_what_is_on_file() {
    for name in FILES {
        let imported = imported(name);
        let folder = root().join("tests/graphml");
        compare(&imported.text, &folder.join(format!("{name}.toml")));
        compare(&imported.warnings.render(Colour::Off), &folder.join(format!("{name}.txt")));
        let checked = Topology::parse("new.toml", &imported.text).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(checked.warnings.is_empty(), "{}", checked.warnings);
        let counts = (checked.topology.relays().len(), checked.topology.links().len());
        assert_eq!(counts, (imported.relays, imported.links));
    }
}

#[test]
fn what_the_zoo_leaves_open_is_told() {
    let zoo = imported("zoo");
    let expected =
        [("G007", 22), ("G007", 27), ("G011", 30), ("G010", 31), ("G009", 38), ("G008", 40), ("G010", 41)];
    assert_eq!(told(&zoo.warnings), expected, "{}", zoo.warnings);
    assert_eq!((zoo.relays, zoo.links, zoo.islands, zoo.dropped), (5, 3, 2, 2));
    let renamed: Vec<&str> = zoo.renamed.iter().map(|renamed| renamed.name.as_str()).collect();
    assert_eq!(renamed, ["zürich-2", "node-3"]);
    let topology = parsed(&zoo.text);
    assert!(topology.relay("wien-umgebung").is_some_and(|relay| relay.at.is_some()));
    // Vienna and Zürich are 593 km apart: 3 ms.
    let cost = |name: &str, other: &str| {
        topology.links_of(name).find(|(_, end)| *end == other).map(|(link, _)| link.cost)
    };
    assert_eq!(cost("wien-umgebung", "zürich"), Some(Cost::Fixed(3)));
    assert!(zoo.text.contains("is to be cited as") || zoo.text.contains("to be cited as: S. Knight"));
}

#[test]
fn costs_of_a_directed_graph_keep_their_fractions_and_the_cheaper_way_counts() {
    let networkx = imported("networkx");
    // Links have no directions, which is told.
    assert_eq!(told(&networkx.warnings), [("G014", 7)], "{}", networkx.warnings);
    let shown = networkx.warnings.to_string();
    assert!(shown.contains("without a way back: 1, with another cost on it: 1"), "{shown}");
    assert_eq!(networkx.dropped, 0, "a way back is no second link");
    let costs: Vec<Cost> = parsed(&networkx.text).links().iter().map(|link| link.cost).collect();
    assert_eq!(costs, [Cost::Fixed(175), Cost::Fixed(50)]);
    assert!(networkx.text.contains("times 100"), "{}", networkx.text);
    let both_ways = "<node id=\"a\"/><node id=\"b\"/>\n<edge source=\"a\" target=\"b\"/><edge source=\"b\" target=\"a\"/>";
    let both_ways = graph(both_ways).replace("undirected", "directed");
    assert!(import("g.graphml", both_ways.as_bytes()).unwrap().warnings.is_empty(), "nothing gets lost");
}

#[test]
fn every_fault_has_its_code_and_its_line() {
    let cases: [(&str, &[(&str, usize)]); 8] = [
        ("<node/>\n", &[("G002", 4)]),
        ("<node id=\"a\"/>\n<node id=\"a\"/>\n", &[("G004", 5)]),
        ("<node id=\"a\"/>\n<edge source=\"a\" target=\"b\"/>\n", &[("G003", 5)]),
        ("<node id=\"a\"/>\n<edge source=\"a\"/>\n", &[("G002", 5)]),
        (
            "<node id=\"a\"/>\n<node id=\"b\"/>\n<edge source=\"a\" target=\"b\">\n<data key=\"c\">dear</data></edge>\n",
            &[("G005", 7)],
        ),
        ("", &[("G001", 3)]),
        ("<node id=\"a\">\n", &[("G001", 5)]),
        ("<node id=\"a\"/>\n<hyperedge/>\n<node id=\"b\"/><node/>\n", &[("G012", 5), ("G002", 6)]),
    ];
    for (inside, expected) in cases {
        let faults = import("g.graphml", graph(inside).as_bytes()).expect_err(inside);
        assert_eq!(told(&faults), expected, "{inside}: {faults}");
    }
}

#[test]
fn what_is_no_graphml_is_refused_with_a_place() {
    let many: String = (0..4097).map(|id| format!("<node id=\"{id}\"/>")).collect();
    let deep = graph(&"<node id=\"a\">".repeat(50_000));
    let bomb = format!("<!DOCTYPE g [<!ENTITY a \"{}\">]>{}", "&a;".repeat(9), graph("<node id=\"a\"/>"));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "G001"),
        (b"version = 1".to_vec(), "G001"),
        (b"<svg/>".to_vec(), "G001"),
        (b"<graphml>\n\xff\xfe</graphml>".to_vec(), "G001"),
        (deep.into_bytes(), "G001"),
        (bomb.into_bytes(), "G001"),
        (graph(&many).into_bytes(), "G006"),
        (vec![b' '; GRAPHML_BYTES_MAX + 1], Code::TooLarge.as_str()),
    ];
    for (bytes, code) in cases {
        let faults = import("g.graphml", &bytes).expect_err(code);
        assert_eq!(told(&faults).first().map(|told| told.0), Some(code), "{faults}");
    }
    let faults = import("g.graphml", b"<graphml>\n\xff\xfe</graphml>").unwrap_err();
    assert_eq!(told(&faults), [("G001", 2)]);
}

#[test]
fn every_code_about_graphs_is_known_here() {
    let about_graphs = Code::ALL.iter().filter(|code| code.as_str().starts_with('G')).count();
    assert_eq!(about_graphs, 14, "a new code wants a case in this file");
}

#[test]
fn a_cost_that_no_link_can_have_is_told() {
    let with = |more: &str, costs: &[&str]| {
        let mut inside = "<node id=\"a\"/>\n<node id=\"b\"/>\n<node id=\"c\"/>\n".to_owned();
        for (cost, ends) in costs.iter().zip(["source=\"a\" target=\"b\"", "source=\"b\" target=\"c\""]) {
            inside += &format!("<edge {ends}><data key=\"{more}\">{cost}</data></edge>\n");
        }
        import("f.graphml", graph(&inside).as_bytes()).unwrap()
    };
    for (key, costs, becomes) in [
        ("c", ["1e9", "7"], 1_000_000),
        ("c", ["0", "7"], 1),
        // With factor 100.
        ("c", ["0.001", "7"], 1),
        ("length", ["3e8", "500"], 1_000_000),
    ] {
        let imported = with(key, &costs);
        assert_eq!(told(&imported.warnings).first(), Some(&("G013", 7)), "{costs:?}: {}", imported.warnings);
        assert_eq!(imported.warnings.warning_count(), 1);
        assert!(
            imported.warnings.to_string().contains(&format!("becomes {becomes}")),
            "{}",
            imported.warnings
        );
        assert!(imported.text.contains("1 of them cannot be had by a link"), "{}", imported.text);
    }
    for (key, costs) in [("c", ["1e6", "1"]), ("c", ["0.5", "10000.4"]), ("length", ["1", "2e8"])] {
        let imported = with(key, &costs);
        assert!(imported.warnings.is_empty(), "{costs:?}: {}", imported.warnings);
        assert!(!imported.text.contains("cannot be had"), "{}", imported.text);
    }
}

#[test]
fn no_name_breaks_out_of_the_file() {
    let label = "x\"]\n[relay.evil]\naddress = 1 #";
    let escaped = label.replace('"', "&quot;");
    let inside = format!("<node id=\"{escaped}\"><data key=\"label\">{escaped}</data></node>\n");
    let imported = import("a\nb.graphml", graph(&inside).as_bytes()).unwrap();
    assert_eq!(parsed(&imported.text).relays().len(), 1, "{}", imported.text);
}

/// Whatever the bytes are: a topology that can be used, or faults with lines.
fn check_any(bytes: &[u8]) {
    match import("any.graphml", bytes) {
        Ok(imported) => {
            let checked = Topology::parse("any.toml", &imported.text);
            assert!(checked.is_ok(), "{}\n{}", checked.unwrap_err(), imported.text);
            told(&imported.warnings);
        }
        Err(faults) => assert!(!told(&faults).is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic(
        pick in 0..FILES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>(), 0..60_usize), 0..8),
    ) {
        let mut bytes = file(FILES[pick]);
        for (place, how, byte, length) in changes {
            let at = place.index(bytes.len().max(1)).min(bytes.len());
            let end = (at + length).min(bytes.len());
            match how {
                0 => bytes.insert(at, byte),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.splice(at..end, [byte]).for_each(drop),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    let to = place.index(bytes.len() + 1);
                    bytes.splice(to..to, copy).for_each(drop);
                }
            }
        }
        check_any(&bytes);
    }

    #[test]
    fn no_values_panic(label in "\\PC{0,80}", north in "[-0-9.eEinfa]{0,9}", cost in "[-0-9.eEinfa]{0,9}") {
        let text = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
        let inside = format!(
            "<node id=\"a\"><data key=\"label\">{}</data><data key=\"lat\">{north}</data><data key=\"lon\">1</data></node>\
             <node id=\"b\"><data key=\"lat\">2</data><data key=\"lon\">{north}</data></node>\
             <edge source=\"a\" target=\"b\"><data key=\"c\">{cost}</data></edge>",
            text(&label)
        );
        check_any(graph(&inside).as_bytes());
    }
}
