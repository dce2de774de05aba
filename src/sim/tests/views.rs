//! What operators are told of the network, against what happens in it.

use super::super::storms::Weather;
use super::super::world::World;
use super::LINE;
use crate::id::{GroupName, RelayId};
use crate::wire::body::{
    Books, EdgeState, GroupTree, LinkInfo, NetworkStatus, Reach, RefusalCode, RelayInfo, Reply, Request,
    Status, TreeNode,
};

/// Four relays in a ring: r00 to r01 to r02 to r03 for 1 each, and back to r00 for 9.
const RING: [(usize, usize, u32); 4] = [(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 9)];

fn tree_of(world: &mut World, node: usize, origin: Option<&str>) -> GroupTree {
    let origin = origin.map(|name| RelayId::new(name).unwrap());
    let request = Request::GroupTree { group: GroupName::new("g").unwrap(), origin, from: 0, limit: 1000 };
    let Ok(Reply::GroupTree(tree)) = world.ask(node, request) else { panic!("no tree") };
    *tree
}

fn relays(world: &mut World, node: usize) -> Vec<RelayInfo> {
    let Ok(Reply::Relays(relays)) = world.ask(node, Request::RelayList { after: None, limit: 1000 }) else {
        panic!("no relays")
    };
    relays
}

fn links(world: &mut World, node: usize) -> Vec<LinkInfo> {
    let Ok(Reply::Links(links)) = world.ask(node, Request::LinkList { after: None, limit: 1000 }) else {
        panic!("no links")
    };
    links
}

fn status(world: &mut World, node: usize) -> Status {
    let Ok(Reply::Status(status)) = world.ask(node, Request::Status) else { panic!("no status") };
    *status
}

fn books(world: &mut World, node: usize, group: Option<&str>) -> Books {
    let group = group.map(|name| GroupName::new(name).unwrap());
    let Ok(Reply::Books(books)) = world.ask(node, Request::Books { group }) else { panic!("no books") };
    *books
}

fn node_of<'t>(tree: &'t GroupTree, name: &str) -> &'t TreeNode {
    tree.nodes.iter().find(|node| node.relay.as_str() == name).unwrap_or_else(|| panic!("{name}: {tree:?}"))
}

/// The relay above another one.
fn above<'t>(tree: &'t GroupTree, name: &str) -> &'t str {
    let up = node_of(tree, name).up.unwrap_or_else(|| panic!("{name} has nothing above it"));
    tree.nodes[up as usize].relay.as_str()
}

#[test]
fn a_tree_says_who_wants_what_and_how_far_the_own_links_are() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.rest();
    // Not durable here, so not sent yet.
    world.put(0, "g", 3);
    let tree = tree_of(&mut world, 0, None);
    assert_eq!((tree.relays, tree.cost, tree.trees), (3, 2, 1), "{tree:?}");
    let roles = ["r00", "r01", "r02"].map(|name| (node_of(&tree, name).member, node_of(&tree, name).origin));
    assert_eq!(roles, [(false, true), (false, false), (true, false)]);
    let lags: Vec<_> = tree.nodes.iter().filter_map(|node| node.lag).collect();
    assert_eq!(lags.iter().map(|lag| lag.messages).collect::<Vec<_>>(), [3], "one own link: {tree:?}");
    assert!(lags[0].bytes > 3 * 8, "{lags:?}");
    assert_eq!(node_of(&tree, "r02").unconfirmed, Some(3));
    world.settle();
    let tree = tree_of(&mut world, 0, None);
    assert!(tree.nodes.iter().all(|node| node.lag.is_none_or(|lag| lag.messages == 0)), "{tree:?}");
    let middle = tree_of(&mut world, 1, None);
    assert_eq!(middle.nodes.iter().filter(|node| node.lag.is_some()).count(), 2, "both links are its own");
    assert_eq!(middle.fingerprint, tree.fingerprint, "all plan the same tree");
}

#[test]
fn who_is_cut_off_hangs_at_the_relay_that_keeps_for_it() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.rest();
    world.crash(2);
    world.put(0, "g", 2);
    world.settle();
    let tree = tree_of(&mut world, 0, None);
    let away = node_of(&tree, "r02");
    assert_eq!((away.state, away.lag, away.unconfirmed), (EdgeState::Down, None, Some(2)), "{tree:?}");
    assert_eq!(above(&tree, "r02"), "r01");
    assert_eq!(tree.held.messages, 2);
    assert_eq!(tree_of(&mut world, 1, None).held.messages, 2, "the custodian keeps it too");
    let found = relays(&mut world, 0);
    let r01 = RelayId::new("r01").unwrap();
    assert_eq!(found[1].reach, Reach::Over { next: r01.clone(), distance: 1 });
    assert_eq!(found[2].reach, Reach::KeptBy(r01));
    let said = status(&mut world, 0);
    let expected = NetworkStatus {
        links_up: 1,
        links: 1,
        relays_reachable: 2,
        relays: 3,
        protected: false,
        topology: None,
    };
    assert_eq!(said.network, Some(expected));
    assert_eq!(said.warnings, ["1 of 3 relays cannot be reached: r02"]);
    world.heal();
    world.rest();
    let tree = tree_of(&mut world, 0, None);
    assert_eq!((tree.held.messages, node_of(&tree, "r02").unconfirmed), (0, Some(0)), "{tree:?}");
    assert!(status(&mut world, 0).warnings.is_empty());
}

#[test]
fn a_relay_that_was_never_connected_tells_what_it_remembers() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(0, "g", "s");
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    for node in 0..3 {
        world.crash(node);
    }
    world.start(0);
    let found: Vec<_> = relays(&mut world, 0).into_iter().map(|relay| relay.reach).collect();
    let here = RelayId::new("r00").unwrap();
    assert_eq!(found, [Reach::Here, Reach::KeptBy(here), Reach::Lost]);
    let tree = tree_of(&mut world, 0, None);
    assert_eq!((tree.relays, node_of(&tree, "r02").state), (2, EdgeState::Down), "{tree:?}");
    let said = status(&mut world, 0);
    assert_eq!(said.warnings, ["this relay is cut off: its only link is down"]);
    assert_eq!(said.network.map(|network| (network.relays_reachable, network.relays)), Some((1, 3)));
}

#[test]
fn distances_and_next_hops_follow_the_links() {
    let mut world = World::new(1, 4, &RING);
    let over = |next: &str, distance| Reach::Over { next: RelayId::new(next).unwrap(), distance };
    let reach = |world: &mut World| relays(world, 0).into_iter().map(|relay| relay.reach).collect::<Vec<_>>();
    assert_eq!(reach(&mut world), [Reach::Here, over("r01", 1), over("r01", 2), over("r01", 3)]);
    world.set_link(1, false);
    world.settle();
    assert_eq!(reach(&mut world), [Reach::Here, over("r01", 1), over("r03", 10), over("r03", 9)]);
    let found = relays(&mut world, 0);
    assert_eq!((found[1].links_up, found[1].links, found[1].boot), (1, 2, Some(1)), "{found:?}");
    assert_eq!(found[1].ends.iter().map(|end| end.is_up).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_link_tells_how_long_it_is_up_and_how_many_trees_use_it() {
    let mut world = World::new(1, 4, &RING);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 2);
    world.settle();
    let found = links(&mut world, 0);
    let names: Vec<_> = found.iter().map(|link| (link.neighbour.as_str(), link.is_up, link.groups)).collect();
    assert_eq!(names, [("r01", true, 1), ("r03", true, 0)]);
    let before = found[0].counts.sent;
    world.put(0, "g", 3);
    world.settle();
    let after = links(&mut world, 0)[0].counts.sent;
    assert_eq!((after.runs - before.runs, after.records - before.records), (1, 3));
    assert!(after.bytes > before.bytes + 3 * 8, "{before:?} {after:?}");
    world.set_link(0, false);
    world.settle();
    let found = links(&mut world, 0);
    assert_eq!((found[0].is_up, found[0].downs, found[0].groups), (false, 1, 0), "{found:?}");
    assert_eq!(found[1].groups, 1, "the other way round");
}

#[test]
fn every_page_of_a_list_goes_on_where_the_one_before_ended() {
    let mut world = World::new(1, 4, &RING);
    for node in 0..4 {
        world.subscribe(node, "g", "s");
    }
    let whole = tree_of(&mut world, 0, None);
    for from in 0..5_u32 {
        let request =
            Request::GroupTree { group: GroupName::new("g").unwrap(), origin: None, from, limit: 1 };
        let Ok(Reply::GroupTree(page)) = world.ask(0, request) else { panic!("no page") };
        assert_eq!(
            page.nodes[..],
            whole.nodes.iter().skip(from as usize).take(1).cloned().collect::<Vec<_>>()
        );
        assert_eq!((page.fingerprint, page.relays), (whole.fingerprint, 4));
    }
    let after = Some(RelayId::new("r01").unwrap());
    let Ok(Reply::Relays(page)) = world.ask(0, Request::RelayList { after: after.clone(), limit: 1 }) else {
        panic!("no page")
    };
    assert_eq!(page.iter().map(|relay| relay.relay.as_str()).collect::<Vec<_>>(), ["r02"]);
    let Ok(Reply::Links(page)) = world.ask(0, Request::LinkList { after, limit: 1 }) else {
        panic!("no page")
    };
    assert_eq!(page.iter().map(|link| link.neighbour.as_str()).collect::<Vec<_>>(), ["r03"]);
}

#[test]
fn where_each_origin_has_a_tree_the_own_one_is_told_unless_another_is_asked_for() {
    let mut world = World::new(1, 4, &RING);
    world.create_source_group("g");
    world.subscribe(2, "g", "s");
    for node in [0, 3] {
        world.put(node, "g", 1);
    }
    world.settle();
    let origin = |tree: &GroupTree| tree.origin.as_ref().map(ToString::to_string);
    assert_eq!(origin(&tree_of(&mut world, 3, None)).as_deref(), Some("r03"));
    let tree = tree_of(&mut world, 3, Some("r00"));
    assert_eq!((origin(&tree).as_deref(), tree.trees), (Some("r00"), 2));
    assert_eq!(above(&tree, "r02"), "r01");
    for wrong in ["r01", "nobody"] {
        let origin = Some(RelayId::new(wrong).unwrap());
        let request = Request::GroupTree { group: GroupName::new("g").unwrap(), origin, from: 0, limit: 9 };
        assert_eq!(world.ask(3, request).unwrap_err().code, RefusalCode::NotFound, "{wrong}");
    }
}

/// Before anything is put no origin has a tree: that is nothing to worry about.
#[test]
fn who_can_be_reached_is_not_cut_off_where_nothing_was_put_into_a_group_with_a_tree_for_each_origin() {
    let mut world = World::new(1, 4, &RING);
    world.create_source_group("g");
    (0..3).for_each(|node| world.subscribe(node, "g", "s"));
    let down = |world: &mut World| -> Vec<String> {
        let nodes = tree_of(world, 3, None).nodes;
        assert_eq!(nodes.len(), 4, "{nodes:?}");
        let nodes = nodes.into_iter().filter(|node| node.state == EdgeState::Down);
        nodes.map(|node| node.relay.to_string()).collect()
    };
    assert_eq!(down(&mut world), [""; 0]);
    world.crash(2);
    world.settle();
    assert_eq!(down(&mut world), ["r02"]);
    // With both its neighbours away the one between them cannot be reached, and nobody here keeps for it.
    world.crash(0);
    world.settle();
    assert_eq!(down(&mut world), ["r00", "r01", "r02"]);
}

#[test]
fn p11_what_one_end_of_a_link_has_sent_the_other_has_received() {
    let mut world = World::new(1, 4, &RING);
    for node in 0..4 {
        world.subscribe(node, "g", "s");
    }
    for round in 0..20 {
        world.put(round % 4, "g", 2);
        world.settle();
    }
    let mut sent = 0;
    for (one, other, _) in RING {
        let [here, there] = [(one, other), (other, one)].map(|(node, neighbour)| {
            let name = format!("r{neighbour:02}");
            let of_group = books(&mut world, node, Some("g"));
            assert!(of_group.balanced);
            let found = of_group.links.into_iter().find(|link| link.neighbour.as_str() == name);
            found.map(|link| link.counts).unwrap_or_default()
        });
        assert_eq!((here.sent, there.sent), (there.received, here.received), "{one} and {other}");
        assert_eq!((here.repeats, there.repeats, here.early, there.early), (0, 0, 0, 0));
        sent += here.sent.records + there.sent.records;
    }
    // 40 messages and the first record of each of four streams, over three links each (P6).
    assert_eq!(sent, 44 * 3);
}

#[test]
fn p11_the_books_of_links_balance_in_any_weather() {
    let mut taken = 0;
    for seed in 0..10 {
        let mut world = World::random(seed, 5);
        for node in 0..5 {
            world.subscribe(node, "g", "s");
        }
        for step in 0..600 {
            world.step(&Weather::STORM);
            if step % 50 != 0 {
                continue;
            }
            for node in (0..5).filter(|node| world.nodes[*node].is_up()).collect::<Vec<_>>() {
                let all = books(&mut world, node, None);
                let counts = all.links.iter().map(|link| link.counts);
                taken += counts.clone().map(|counts| counts.taken).sum::<u64>();
                assert!(
                    counts.clone().all(|counts| counts.is_balanced()),
                    "seed {seed} step {step}: {all:?}"
                );
            }
        }
    }
    assert!(taken > 100, "hardly anything went over a link: {taken}");
}

#[test]
fn a_relay_with_more_children_than_it_wants_is_told_by_the_tree_and_by_the_status() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (0, 2, 1), (0, 3, 1)]);
    (0..4).for_each(|node| world.subscribe(node, "g", "s"));
    world.put(0, "g", 1);
    world.settle();
    assert_eq!(node_of(&tree_of(&mut world, 0, None), "r00").max_children, None);
    let text = crate::sim::changing::text_of(&[0, 1, 2, 3], &[(0, 1, 1), (0, 2, 1), (0, 3, 1)]);
    world.apply(0, &text.replacen("[relay.r00]\n", "[relay.r00]\nmax_children = 2\n", 1)).unwrap();
    world.settle();
    for node in [0, 3] {
        let tree = tree_of(&mut world, node, None);
        assert_eq!(node_of(&tree, "r00").max_children, Some(2), "{tree:?}");
        assert_eq!(node_of(&tree, "r01").max_children, None);
        let warnings = status(&mut world, node).warnings;
        let told = "relay r00 has 3 children in the tree of g and max_children = 2";
        assert!(warnings.iter().any(|warning| warning.starts_with(told)), "{warnings:?}");
    }
}

/// A relay that was away when a topology left it out has said that it has its links; so its neighbours
/// had links that were never up again.
#[test]
fn links_that_are_gone_from_the_topology_are_not_counted() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.crash(2);
    world.settle();
    let count = |world: &mut World, node: usize| -> Vec<(u32, u32)> {
        relays(world, node).iter().map(|relay| (relay.links_up, relay.links)).collect()
    };
    assert_eq!(count(&mut world, 0), [(1, 1), (1, 2), (0, 1)]);
    let text = crate::sim::changing::text_of(&[0, 1], &[(0, 1, 1)]);
    world.apply(0, &text).unwrap();
    world.settle();
    assert_eq!(count(&mut world, 0), [(1, 1), (1, 1), (0, 0)]);
    assert_eq!(count(&mut world, 1), [(1, 1), (1, 1), (0, 0)]);
}

#[test]
fn what_a_link_costs_is_told_without_what_a_full_disk_makes_it_dearer_by() {
    let mut world = World::new(1, 3, &[(0, 1, 3), (1, 2, 4)]);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_room(1, false);
    world.pass_ms(2_000);
    world.settle();
    let tree = tree_of(&mut world, 0, None);
    assert!(relays(&mut world, 0)[1].catching_up, "others go round it where they can");
    assert_eq!(tree.cost, 7, "{tree:?}");
    let costs: Vec<Option<u32>> = tree.nodes.iter().map(|node| node.cost).collect();
    assert_eq!(costs, [None, Some(3), Some(4)], "{tree:?}");
    let ends = relays(&mut world, 0).remove(1).ends;
    assert_eq!(ends.iter().map(|end| end.cost).collect::<Vec<_>>(), [3, 4], "{ends:?}");
}
