//! Plans say what moves, who is cut off and what dies.

use treecast::survey::plan::{Load, Plan, Question, plan};
use treecast::topology::Topology;

use crate::{names, network, shipped};

fn planned(old: &Topology, new: &Topology, groups: &[&str], members: Option<&[String]>) -> Plan {
    let question =
        Question { old, new, groups: &names(groups), members, unmeasured: 10, measured: &[], without: None };
    plan(question).unwrap()
}

fn dead(network: &Topology, groups: &[&str], relay: &str) -> treecast::survey::plan::Death {
    let groups = names(groups);
    let question = Question {
        old: network,
        new: network,
        groups: &groups,
        members: None,
        unmeasured: 10,
        measured: &[],
        without: Some(relay),
    };
    plan(question).unwrap().death.unwrap()
}

/// The first group's relays that are cut off afterwards, and who keeps for them.
fn cut_off(plan: &Plan) -> Vec<(&str, Option<&str>)> {
    let cut = &plan.change.groups[0].after.as_ref().unwrap().cut_off;
    cut.iter().map(|cut| (cut.relay.as_str(), cut.custodian.as_deref())).collect()
}

fn load(one: &str, other: &str, before: u32, after: u32) -> Load {
    Load { between: [one.to_owned(), other.to_owned()], before, after }
}

#[test]
fn a_dearer_link_moves_the_trees_that_used_it() {
    let (old, new) = (network("ab:1 bc:1 ac:3", ""), network("ab:1 bc:9 ac:3", ""));
    let plan = planned(&old, &new, &["one", "two"], None);
    let [cost] = plan.network.costs.as_slice() else { panic!("{plan:?}") };
    assert_eq!((cost.before.as_str(), cost.after.as_str()), ("1", "9"));
    for group in &plan.change.groups {
        assert!(!group.is_same());
        let costs = [&group.before, &group.after].map(|trees| trees.as_ref().unwrap().cost);
        assert_eq!(costs, [2, 4]);
    }
    assert_eq!(plan.change.links, [load("a", "c", 0, 2), load("b", "c", 2, 0)]);
}

#[test]
fn a_link_whose_cost_is_measured_costs_what_was_measured() {
    let text = "[[link]]\nbetween = [\"b\", \"c\"]\ncost = \"rtt\"\n";
    let (old, new) = (
        network("ab:1", &format!("[relay.c]\naddress = \"127.0.0.1:9\"\n{text}")),
        network("ab:1 ac:4", text),
    );
    let between = ["b".to_owned(), "c".to_owned()];
    let used = |measured: &[(treecast::survey::plan::Between, u32)]| {
        let groups = names(&["g"]);
        let question = Question {
            old: &old,
            new: &new,
            groups: &groups,
            members: None,
            unmeasured: 10,
            measured,
            without: None,
        };
        plan(question).unwrap().change.links
    };
    assert_eq!(used(&[(between.clone(), 2)]), [], "it is the cheaper one still");
    assert_eq!(used(&[]), [load("a", "c", 0, 1), load("b", "c", 1, 0)], "one that costs 10 is not");
    // What has a cost in the file costs that.
    let fixed = [(["a".to_owned(), "b".to_owned()], 50), (between, 2)];
    assert_eq!(used(&fixed), []);
}

#[test]
fn nothing_moves_when_nothing_changes() {
    for name in ["abilene.toml", "ring.toml", "three-sites.toml"] {
        let network = shipped(name);
        let plan = planned(&network, &network, &["news", "alarms", "orders"], None);
        assert!(
            plan.change.links.is_empty() && plan.change.groups.iter().all(|group| group.is_same()),
            "{name}"
        );
        assert_eq!(plan.network, Default::default(), "{name}");
    }
}

#[test]
fn relays_and_links_that_come_and_go_are_told() {
    let (old, new) = (network("ab:1 bc:1", ""), network("ab:1 bd:1", ""));
    let plan = planned(&old, &new, &["g"], Some(&names(&["c"])));
    let network = &plan.network;
    assert_eq!((&network.relays_added, &network.relays_removed), (&names(&["d"]), &names(&["c"])));
    assert_eq!(plan.network.links_added, [["b".to_owned(), "d".to_owned()]]);
    assert_eq!(plan.network.links_removed, [["b".to_owned(), "c".to_owned()]]);
    assert_eq!(cut_off(&plan), [("c", Some("b"))], "its only relay is gone, and a member still");
    assert_eq!(plan.change.groups[0].after.as_ref().unwrap().cost, 0);
}

#[test]
fn queues_that_a_file_leaves_without_a_home_or_wants_elsewhere_are_told() {
    let queues = |of: &[(&str, &str)]| -> String {
        of.iter().map(|(name, home)| format!("[queue.{name}]\nhome = \"{home}\"\n")).collect()
    };
    let old = network("ab:1 bc:1", &queues(&[("gone", "a"), ("jobs", "c"), ("moved", "a"), ("stays", "b")]));
    let new = network("ab:1", &queues(&[("moved", "b"), ("stays", "b")]));
    let homes = planned(&old, &new, &[], None).network.homes;
    let told: Vec<(&str, &str, Option<&str>)> =
        homes.iter().map(|h| (h.queue.as_str(), h.home.as_str(), h.wanted.as_deref())).collect();
    assert_eq!(told, [("jobs", "c", None), ("moved", "a", Some("b"))]);
}

#[test]
fn a_queue_that_only_the_new_file_has_had_no_tree_before() {
    let (old, new) = (network("ab:1 bc:1", ""), network("ab:1 bc:1", "[queue.work]\nhome = \"c\"\n"));
    let plan = planned(&old, &new, &["work", "group"], None);
    let before: Vec<bool> = plan.change.groups.iter().map(|group| group.before.is_some()).collect();
    assert_eq!(before, [false, true], "a group need not be in a file");
    assert_eq!(plan.change.links, [load("a", "b", 1, 2), load("b", "c", 1, 2)]);
}

#[test]
fn settings_that_change_are_told_with_what_they_were() {
    let more = |text: &str| network("ab:1", text);
    let old = more(
        "[group.a]\nttl = \"30m\"\nbackoff = [\"1s\", \"2m\"]\n[group.gone]\n[queue.jobs]\nhome = \"a\"\n",
    );
    let new = more(
        "[group.a]\nttl = \"2h\"\nfifo = \"producer\"\n[group.new]\n\
         [queue.jobs]\nhome = \"a\"\nquota_bytes = \"1GiB\"\n[relay.c]\naddress = \"127.0.0.1:9\"\n",
    );
    let found = planned(&old, &new, &["a"], None).network;
    assert_eq!((found.groups_added, found.groups_removed), (names(&["group new"]), names(&["group gone"])));
    let told: Vec<String> = found
        .settings
        .iter()
        .map(|s| format!("{} {} {:?} {:?}", s.of, s.key, s.before.as_deref(), s.after.as_deref()))
        .collect();
    let expected = [
        "group a backoff Some(\"[1s, 2m]\") None",
        "group a fifo None Some(\"producer\")",
        "group a ttl Some(\"30m\") Some(\"2h\")",
        "queue jobs quota_bytes None Some(\"1GiB\")",
    ];
    assert_eq!(told, expected);
    // So are those of relays and links, but for where a relay stands on earth.
    let with = |relay: &str, link: &str| {
        let text = format!(
            "version = 1\n[relay.a]\naddress = \"127.0.0.1:1\"\n{relay}\n[relay.b]\naddress = \"127.0.0.1:2\"\n\
             [[link]]\nbetween = [\"a\", \"b\"]\n{link}\n"
        );
        Topology::parse("f", &text).unwrap().topology
    };
    let (old, new) = (with("at = [1, 2]", ""), with("transit = false", "rate = \"1MB/s\"\nhello = \"1s\""));
    let found = planned(&old, &new, &[], None).network.settings;
    let keys: Vec<(&str, &str)> = found.iter().map(|s| (s.of.as_str(), s.key.as_str())).collect();
    assert_eq!(keys, [("relay a", "transit"), ("link a ── b", "hello"), ("link a ── b", "rate")]);
}

#[test]
fn a_member_behind_a_removed_link_is_cut_off() {
    let (old, new) =
        (network("ab:1 bc:1 cd:1", ""), network("ab:1 bc:1", "[relay.d]\naddress = \"127.0.0.1:9\"\n"));
    let plan = planned(&old, &new, &["g"], None);
    assert_eq!(cut_off(&plan), [("d", None)]);
}

/// It stays a member: what it is owed is kept for it.
#[test]
fn a_member_that_the_file_leaves_out_is_cut_off() {
    let (old, new) = (network("ab:1 bc:1", ""), network("ab:1", ""));
    for members in [None, Some(names(&["a", "c"])), Some(names(&["b", "c"])), Some(names(&["c"]))] {
        let plan = planned(&old, &new, &["g"], members.as_deref());
        assert_eq!(cut_off(&plan), [("c", Some("b"))], "{members:?}");
        assert!(!plan.change.groups[0].is_same());
    }
    let plan = planned(&old, &new, &["g"], Some(&names(&["a", "b"])));
    assert_eq!(cut_off(&plan), [], "it is no member");
}

/// Its settings and its home stay, and so do its trees.
#[test]
fn a_group_that_the_file_leaves_out_keeps_its_trees() {
    for text in ["[group.g]\ntree = \"source\"\n", "[queue.g]\nhome = \"c\"\n"] {
        let (old, new) = (network("ab:1 bc:1", text), network("ab:1 bc:1", ""));
        for members in [None, Some(names(&["a"]))] {
            let plan = planned(&old, &new, &["g"], members.as_deref());
            assert_eq!(plan.network.groups_removed.len(), 1);
            assert!(plan.change.groups[0].is_same() && plan.change.links.is_empty(), "{text} {plan:?}");
        }
        let question = Question {
            old: &old,
            new: &new,
            groups: &names(&["g"]),
            members: None,
            unmeasured: 10,
            measured: &[],
            without: Some("c"),
        };
        let death = plan(question).unwrap().death.unwrap();
        assert_eq!(death.queues.len(), usize::from(text.contains("queue")), "it lives there still: {text}");
        assert_eq!(death.change.groups[0].kind, planned(&old, &old, &["g"], None).change.groups[0].kind);
    }
}

/// Whatever the names, and however many go: those of the file are not cut off from those that went.
#[test]
fn who_stays_is_not_cut_off_from_who_goes() {
    for tree in ["shared", "source"] {
        let text = format!("[group.g]\ntree = \"{tree}\"\n");
        let alone = format!("[relay.z]\naddress = \"127.0.0.1:9\"\n{text}");
        let (old, new) = (network("ab:1 bc:1 cz:1", &text), network("", &alone));
        let plan = planned(&old, &new, &["g"], None);
        assert_eq!(cut_off(&plan), [("a", Some("z")), ("b", Some("z")), ("c", Some("z"))], "{tree}");
        let plan = planned(&old, &new, &["g"], Some(&names(&["b"])));
        assert_eq!(cut_off(&plan), [("b", Some("z"))], "{tree}");
    }
}

/// Who was left out is in no part, and still cut off when another one dies.
#[test]
fn a_death_is_that_of_the_new_network() {
    let (old, new) = (network("ab:1 bc:1 cd:1", ""), network("ab:1 bc:1", ""));
    let groups = names(&["g"]);
    let question = Question {
        old: &old,
        new: &new,
        groups: &groups,
        members: None,
        unmeasured: 10,
        measured: &[],
        without: Some("b"),
    };
    let death = plan(question).unwrap().death.unwrap();
    assert_eq!(death.parts, [names(&["a"]), names(&["c"])]);
    let cut = &death.change.groups[0].after.as_ref().unwrap().cut_off;
    assert!(cut.iter().any(|cut| cut.relay == "d"), "{cut:?}");
}

#[test]
fn that_relays_may_be_exposed_is_a_change() {
    let with =
        |key: &str| crate::parsed(&format!("version = 1\n{key}[relay.a]\naddress = \"127.0.0.1:1\"\n"));
    let found = planned(&with(""), &with("insecure = true\n"), &["g"], None).network.settings;
    let told: Vec<_> = found
        .iter()
        .map(|s| (s.of.as_str(), s.key.as_str(), s.before.as_deref(), s.after.as_deref()))
        .collect();
    assert_eq!(told, [("the file", "insecure", Some("false"), Some("true"))]);
}

#[test]
fn a_source_group_counts_a_tree_for_each_origin() {
    let text = "[group.g]\ntree = \"source\"\n";
    let (old, new) = (network("ab:1 bc:1", text), network("ab:1 bc:1 ac:1", text));
    let plan = planned(&old, &new, &["g"], None);
    assert_eq!(plan.change.groups[0].after.as_ref().unwrap().trees, 3);
    assert_eq!(plan.change.links, [load("a", "b", 3, 2), load("a", "c", 0, 2), load("b", "c", 3, 2)]);
}

#[test]
fn the_death_of_the_hub_parts_the_offices_and_stops_its_queue() {
    let death = dead(&shipped("three-sites.toml"), &["prices"], "hub");
    assert_eq!(death.parts, [names(&["east"]), names(&["west"])]);
    assert_eq!(death.queues, ["orders"]);
    let after = death.change.groups[0].after.as_ref().unwrap();
    assert_eq!((after.cost, after.cut_off.len()), (0, 2));
}

#[test]
fn the_death_of_a_relay_in_a_ring_cuts_off_that_relay_alone() {
    let death = dead(&shipped("ring.toml"), &["news"], "b");
    assert_eq!(death.parts.len(), 1);
    let after = death.change.groups[0].after.as_ref().unwrap();
    let cut: Vec<_> =
        after.cut_off.iter().map(|cut| (cut.relay.as_str(), cut.custodian.as_deref())).collect();
    assert_eq!(cut, [("b", Some("a"))]);
    assert_eq!(death.change.links, [load("a", "b", 1, 0), load("a", "e", 0, 1), load("b", "c", 1, 0)]);
}

#[test]
fn a_queue_that_is_to_live_elsewhere_is_told() {
    let with = |home: &str| network("ab:1", &format!("[queue.jobs]\nhome = \"{home}\"\n"));
    let found = planned(&with("a"), &with("b"), &["jobs"], None).network.settings;
    let told: Vec<_> = found
        .iter()
        .map(|s| (s.of.as_str(), s.key.as_str(), s.before.as_deref(), s.after.as_deref()))
        .collect();
    assert_eq!(told, [("queue jobs", "home", Some("a"), Some("b"))]);
}

/// A cap cuts nobody off: where it is passed, that is said.
#[test]
fn a_relay_with_more_children_than_it_wants_is_told() {
    let star = |most: u32| {
        let mut text = "version = 1\n".to_owned();
        for (port, name) in (7411..).zip(["hub", "a", "b", "c"]) {
            text += &format!("[relay.{name}]\naddress = \"127.0.0.1:{port}\"\n");
            text += &if name == "hub" { format!("max_children = {most}\n") } else { String::new() };
        }
        ["a", "b", "c"]
            .iter()
            .for_each(|name| text += &format!("[[link]]\nbetween = [\"hub\", \"{name}\"]\n"));
        Topology::parse("star.toml", &text).unwrap().topology
    };
    let plan = planned(&star(3), &star(2), &["g"], None);
    let [before, after] =
        [&plan.change.groups[0].before, &plan.change.groups[0].after].map(|trees| trees.as_ref().unwrap());
    assert_eq!(before.over_cap, []);
    let over: Vec<_> =
        after.over_cap.iter().map(|o| (o.relay.as_str(), o.children, o.max_children)).collect();
    assert_eq!(over, [("hub", 3, 2)]);
    let map = treecast::routing::Map::of_topology(&star(2), 1).unwrap();
    let groups = names(&["g"]);
    let question = treecast::survey::report::Question { groups: &groups, members: None, sets: 0, seed: 1 };
    let report = treecast::survey::report::report(&star(2), &map, question);
    assert_eq!(report.lines[0].over_cap, 1);
}
