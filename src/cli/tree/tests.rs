use super::super::tests::captured_context;
use super::*;

fn node(relay: &str, up: Option<u32>) -> TreeNode {
    TreeNode {
        relay: RelayId::new(relay).unwrap(),
        up,
        state: EdgeState::Up,
        cost: up.map(|_| 10),
        member: true,
        origin: false,
        lag: None,
        unconfirmed: None,
        max_children: None,
    }
}

/// hub with east and north, west behind east; south is cut off.
fn tree() -> GroupTree {
    let behind = Lag { messages: 12, bytes: 3482, ms: 2000 };
    let nodes = vec![
        TreeNode { member: false, ..node("hub", None) },
        TreeNode { origin: true, lag: Some(Lag::default()), ..node("east", Some(0)) },
        TreeNode { lag: Some(behind), ..node("north", Some(0)) },
        node("west", Some(1)),
        TreeNode { state: EdgeState::Down, cost: None, unconfirmed: Some(7), ..node("south", Some(0)) },
        TreeNode { state: EdgeState::Down, cost: None, ..node("moon", None) },
    ];
    GroupTree {
        group: GroupName::new("news").unwrap(),
        here: RelayId::new("hub").unwrap(),
        kind: TreeKind::Shared,
        origin: None,
        trees: 1,
        cost: 30,
        held: behind,
        fingerprint: 1,
        relays: nodes.len() as u32,
        nodes,
    }
}

#[test]
fn a_tree_is_drawn_with_what_is_known_of_its_links() {
    let bytes = captured_context(Output::Text, |context| {
        draw(&tree(), context).unwrap();
        Ok(())
    });
    let expected = "\
news: one tree for all origins, cost 30
hub         this relay, only passes on
├─ east     member and origin, cost 10, lag 0
│  └─ west  member, cost 10
├─ north    member, cost 10, lag 12 messages, 3.4 KiB, 2s
└╌ south    member, cut off, hub keeps for it, 7 records not confirmed
moon        member, cut off, only the origins keep for it
hub keeps 12 messages, 3.4 KiB, 2s old, that not all members have confirmed
";
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

#[test]
fn a_relay_with_more_children_than_it_wants_is_told() {
    let mut over = tree();
    over.nodes[0].max_children = Some(1);
    let bytes = captured_context(Output::Text, |context| {
        draw(&over, context).unwrap();
        Ok(())
    });
    let text = String::from_utf8(bytes).unwrap();
    // The one that is cut off is no child.
    assert!(text.contains("this relay, only passes on, 2 children, and max_children is 1\n"), "{text}");
    let json = to_json(&over);
    assert_eq!(
        (&json["relays"][0]["children"], &json["relays"][0]["over_max_children"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn dot_has_every_relay_and_every_edge() {
    let text = dot(&tree());
    assert!(text.starts_with("graph \"news\" {\n") && text.ends_with('}'), "{text}");
    assert!(
        text.contains("  \"hub\" -- \"north\" [label=\"10, lag 12 messages, 3.4 KiB, 2s\"];\n"),
        "{text}"
    );
    assert!(text.contains("  \"hub\" -- \"south\" [label=\"cut off\", style=dotted];\n"), "{text}");
    assert_eq!(text.matches(" -- ").count(), 4, "{text}");
}

#[test]
fn a_tree_that_is_one_long_line_is_drawn_too() {
    let mut long = tree();
    long.nodes = (0..4000_u32).map(|at| node(&format!("r{at}"), at.checked_sub(1))).collect();
    let bytes = captured_context(Output::Text, |context| {
        draw(&long, context).unwrap();
        Ok(())
    });
    assert!(String::from_utf8(bytes).unwrap().contains("r3999"));
}
