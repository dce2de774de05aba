//! Pictures show what there is, and their texts can be read.

use treecast::survey::picture::{Picture, Question};
use treecast::survey::{dot, svg, text};
use treecast::topology::Topology;

use crate::{names, network, shipped};

const ALL: [&str; 7] =
    ["abilene.toml", "geant.toml", "cloud.toml", "three-sites.toml", "ring.toml", "diamond.toml", "one.toml"];

fn picture(topology: &Topology, group: &str, members: Option<&[String]>) -> Picture {
    let question = Question { title: "net", group: Some(group), members, origin: None, unmeasured: 10 };
    Picture::new(topology, question).unwrap()
}

#[test]
fn no_text_covers_another_one_or_a_relay() {
    for name in ALL {
        let drawing = svg::draw(&picture(&shipped(name), "news", None));
        assert_eq!(drawing.covered, 0, "{name}");
        for (at, (of, area)) in drawing.texts.iter().enumerate() {
            for (other, text) in &drawing.texts[at + 1..] {
                assert_eq!(area.overlap(text), 0.0, "{name}: {of:?} and {other:?}");
            }
        }
    }
}

#[test]
fn drawings_are_no_larger_than_names_need() {
    for name in ALL {
        let points = svg::draw(&picture(&shipped(name), "news", None)).points;
        let wide = points.iter().map(|point| point.x).fold(f64::NEG_INFINITY, f64::max)
            - points.iter().map(|point| point.x).fold(f64::INFINITY, f64::min);
        assert!(wide < 1_250.0, "{name} is {wide:.0} wide");
    }
}

#[test]
fn relays_stand_apart_and_where_they_are_on_earth() {
    let topology = shipped("abilene.toml");
    let drawing = svg::draw(&picture(&topology, "news", None));
    for (at, one) in drawing.points.iter().enumerate() {
        for other in &drawing.points[at + 1..] {
            assert!((one.x - other.x).hypot(one.y - other.y) > 40.0);
        }
    }
    let at =
        |name: &str| drawing.points[topology.relays().iter().position(|relay| relay.name == name).unwrap()];
    assert!(at("seattle").x < at("denver").x && at("denver").x < at("new-york").x);
    assert!(at("seattle").y < at("los-angeles").y && at("chicago").y < at("houston").y);
}

#[test]
fn one_network_has_one_picture() {
    for name in ["cloud.toml", "ring.toml"] {
        let [one, other] = [(); 2].map(|()| svg::write(&picture(&shipped(name), "news", None)));
        assert!(one == other, "{name}");
    }
}

#[test]
fn a_drawing_is_xml_with_every_relay_link_and_cost() {
    let topology = shipped("three-sites.toml");
    let drawn = svg::write(&picture(&topology, "prices", None));
    let document = roxmltree::Document::parse(&drawn).unwrap();
    let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
    for text in ["east", "hub", "west", "10", "rtt", "member", "square: never passes on"] {
        assert!(texts.contains(&text), "{text}: {drawn}");
    }
    let caption = "group prices: shared tree, cost 20, 2 links for 3 members";
    assert!(texts.contains(&caption), "{texts:?}");
    // Two links and two lines of the legend, one of each dashed.
    assert_eq!(drawn.matches("<line ").count(), 4, "{drawn}");
    assert_eq!(drawn.matches("stroke-dasharray").count(), 2, "{drawn}");
}

#[test]
fn names_that_mean_something_to_xml_or_graphviz_are_only_names() {
    let name = "a\\\"<&>'";
    let text = format!(
        "version = 1\n[relay.{:?}]\naddress = \"127.0.0.1:1\"\n[relay.b]\naddress = \"127.0.0.1:2\"\n\
         [[link]]\nbetween = [{:?}, \"b\"]\n",
        name, name
    );
    let picture = picture(&crate::parsed(&text), "<g>&", None);
    let drawn = svg::write(&picture);
    let document = roxmltree::Document::parse(&drawn).unwrap();
    assert!(document.descendants().any(|node| node.text() == Some(name)), "{drawn}");
    assert!(dot::write(&picture).contains(r#""a\\\"<&>'" -- "b""#), "{}", dot::write(&picture));
}

#[test]
fn the_outline_shows_the_tree_and_what_it_leaves_out() {
    let members = names(&["a", "d"]);
    let shown = text::write(&picture(&shipped("ring.toml"), "news", Some(&members)));
    let expected = "\
net
5 relays, 5 links
group news: shared tree, cost 30, 3 links for 2 members

● d
└── 10 ── ○ c
    └── 10 ── ○ b
        └── 10 ── ● a

links that it does not use:
  a ── 100 ── e
  d ── 10 ── e

● member   ○ passes on
";
    assert_eq!(shown, expected);
}

#[test]
fn a_chain_of_a_thousand_relays_has_an_outline() {
    let mut file = "version = 1\n".to_owned();
    for at in 0..1000 {
        file += &format!("[relay.r{at:03}]\naddress = \"127.0.0.1:{}\"\n", 1000 + at);
        if at > 0 {
            file += &format!("[[link]]\nbetween = [\"r{:03}\", \"r{at:03}\"]\n", at - 1);
        }
    }
    let shown = text::write(&picture(&crate::parsed(&file), "g", None));
    assert_eq!(shown.matches("└──").count() + shown.matches("├──").count(), 999);
}

#[test]
fn islands_have_trees_of_their_own_and_members_elsewhere_are_cut_off() {
    let network = network("ab:1 bc:1 de:1", "");
    let picture = picture(&network, "g", None);
    let marked = |is: fn(&treecast::survey::picture::Mark) -> bool| -> String {
        picture.relays.iter().filter(|relay| is(relay)).map(|relay| relay.name.as_str()).collect()
    };
    assert_eq!(marked(|relay| relay.is_on_tree), "abcde");
    assert_eq!(marked(|relay| relay.is_cut_off), "de");
    assert_eq!(picture.links.iter().filter(|line| line.is_in_tree).count(), 3);
    assert!(
        picture.caption()[1].ends_with("3 links for 5 members, 2 of them cut off"),
        "{:?}",
        picture.caption()
    );
}

#[test]
fn a_source_tree_is_that_of_the_origin_that_was_named() {
    let ring = shipped("ring.toml");
    let question =
        Question { title: "net", group: Some("alarms"), members: None, origin: Some("c"), unmeasured: 1 };
    let picture = Picture::new(&ring, question).unwrap();
    let tree = picture.tree.as_ref().unwrap();
    assert_eq!((tree.origin.as_deref(), tree.trees, tree.cost), (Some("c"), 1, 40));
    assert!(picture.relays[2].is_root, "{picture:?}");
}

#[test]
fn the_tree_of_an_origin_away_from_most_members_is_its_own() {
    let network = network("ab:1 bc:1 xy:1", "[group.g]\ntree = \"source\"\n");
    for members in [Some(names(&["a", "b", "c", "x"])), None] {
        let question = Question {
            title: "net",
            group: Some("g"),
            members: members.as_deref(),
            origin: Some("x"),
            unmeasured: 10,
        };
        let picture = Picture::new(&network, question).unwrap();
        let caption = picture.caption().join("\n");
        assert!(
            caption.contains("tree of what is put at x") && caption.contains("3 of them cut off"),
            "{caption}"
        );
        let cut = picture.relays.iter().filter(|relay| relay.is_cut_off).map(|relay| relay.name.as_str());
        assert_eq!(cut.collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
