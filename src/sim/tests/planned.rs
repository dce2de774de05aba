//! Queues that a topology names and whose home has not been there yet (R12).

use super::super::changing::text_of;
use super::super::world::World;
use super::LINE;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Location, RefusalCode, Reply, Request};

fn with_queue(home: &str) -> String {
    format!("{}\n[queue.work]\nhome = \"{home}\"\n", text_of(&[0, 1, 2], &LINE))
}

/// Where a relay says that the queue lives.
fn home(world: &mut World, at: usize) -> Vec<String> {
    let request = Request::Locate { group: "work".to_owned(), prefix: false, after: None };
    match world.ask(at, request) {
        Ok(Reply::Located(found)) => {
            found.into_iter().map(|Location { home, .. }| home.to_string()).collect()
        }
        Err(refusal) if refusal.code == RefusalCode::NotFound => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// The home is away when the topology is applied that names it.
fn applied_while_away() -> World {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(0, "g", "s");
    world.put(2, "g", 1);
    world.rest();
    world.crash(2);
    world.settle();
    world.apply(0, &with_queue("r02")).unwrap();
    world.settle();
    world
}

fn bring_home(world: &mut World) {
    world.start(2);
    world.heal_links();
    world.rest();
}

#[test]
fn r12_what_is_put_into_a_queue_whose_home_has_never_had_it_is_kept_for_it() {
    let mut world = applied_while_away();
    assert_eq!([0, 1].map(|node| home(&mut world, node)), [["r02"], ["r02"]]);
    world.put(0, "work", 2);
    world.put(1, "work", 1);
    world.rest_for_long();
    // It is on the disk, not only in memory.
    (0..2).for_each(|node| world.restart(node));
    world.put(0, "work", 1);
    world.rest();
    bring_home(&mut world);
    let mut got = world.drain(2, "work", "queue");
    assert_eq!(got.len(), 4, "{got:?}");
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 4, "each once");
    // From now on it is a queue like others, and nothing is left.
    world.put(1, "work", 3);
    world.settle();
    assert_eq!(world.drain(2, "work", "queue").len(), 3);
    world.drain(0, "g", "s");
    world.rest_for_long();
    assert!(world.nodes.iter().all(|node| node.held_runs() == 0), "nobody is owed anything");
    assert!((0..3).all(|node| home(&mut world, node) == ["r02"]));
}

#[test]
fn r12_a_home_that_crashes_as_it_hears_of_its_queue_has_it_all_the_same() {
    for steps in 0..40 {
        let mut world = applied_while_away();
        world.put(0, "work", 2);
        world.settle();
        world.start(2);
        world.heal_links();
        for _ in 0..steps {
            world.step(&super::super::storms::Weather::CALM);
        }
        world.crash(2);
        bring_home(&mut world);
        world.put(1, "work", 1);
        world.settle();
        assert_eq!(world.drain(2, "work", "queue").len(), 3, "after {steps} steps");
    }
}

#[test]
fn r12_a_home_that_is_wiped_after_it_had_its_queue_is_not_taken_for_one_that_never_had_it() {
    let mut world = applied_while_away();
    world.put(0, "work", 2);
    world.settle();
    bring_home(&mut world);
    world.put(1, "work", 1);
    world.rest();
    world.wipe(2);
    world.heal_links();
    world.rest();
    world.put(0, "work", 1);
    world.settle();
    assert_eq!(world.drain(2, "work", "queue").len(), 1, "what only its disk had is lost");
    assert!(world.nodes[2].gaps > 0, "and that is told");
}

#[test]
fn a_queue_that_was_removed_is_not_made_again_by_others_who_read_the_file() {
    let mut world = applied_while_away();
    bring_home(&mut world);
    world.ask(2, Request::GroupRemove { group: "work".parse().unwrap() }).unwrap();
    world.settle();
    let text = format!("{}\n[group.more]\n", with_queue("r02"));
    world.crash(2);
    world.settle();
    world.apply(0, &text).unwrap();
    world.settle();
    let request = Request::Locate { group: "work".to_owned(), prefix: false, after: None };
    assert!(world.ask(0, request).is_err(), "nobody says that it is there");
}

#[test]
fn r12_a_home_that_has_lost_its_disk_asks_before_it_makes_the_queue_of_its_file_again() {
    let mut world = World::new(1, 3, &LINE);
    for node in 0..3 {
        world.set_file(node, &with_queue("r02"));
        world.restart(node);
    }
    world.rest();
    world.put(0, "work", 1);
    world.settle();
    assert_eq!(world.drain(2, "work", "queue").len(), 1);
    world.rest();
    world.crash(2);
    world.put(0, "work", 2);
    world.put(1, "work", 1);
    world.rest();
    world.wipe(2);
    world.heal_links();
    world.rest();
    assert_eq!(world.drain(2, "work", "queue").len(), 3, "others have kept it");
    assert!(world.nodes[2].gaps > 0, "there may have been more: that is told");
    world.put(0, "work", 1);
    world.settle();
    assert_eq!(world.drain(2, "work", "queue").len(), 1);
    world.rest_for_long();
    assert!(world.nodes.iter().all(|node| node.held_runs() == 0), "nobody is owed anything");
}

#[test]
fn r12_a_home_that_was_forgotten_once_and_is_back_has_what_was_put_into_its_queue() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(0, "g", "s");
    world.put(2, "g", 1);
    world.rest();
    world.cut_off(2);
    world.settle();
    world.forget(0, 2).unwrap();
    world.rest();
    world.bring_back(2);
    world.heal_links();
    world.rest();
    // What it says of itself is above its end from now on.
    world.crash(2);
    world.settle();
    world.apply(0, &with_queue("r02")).unwrap();
    world.put(0, "work", 2);
    world.rest();
    bring_home(&mut world);
    assert_eq!(world.drain(2, "work", "queue").len(), 2);
}

#[test]
fn r12_a_home_that_has_not_read_the_file_makes_its_queue_when_others_say_so() {
    let mut world = World::new(1, 3, &LINE);
    world.rest();
    for node in [0, 1] {
        world.set_file(node, &with_queue("r02"));
        world.restart(node);
    }
    world.rest();
    world.put(0, "work", 2);
    world.settle();
    assert_eq!(world.drain(2, "work", "queue").len(), 2);
}

#[test]
fn a_home_makes_the_queue_of_its_file_of_a_group_that_was_only_put_into() {
    let mut world = World::new(1, 3, &LINE);
    world.set_file(2, &with_queue("r02"));
    world.put(0, "work", 1);
    world.rest();
    world.restart(2);
    world.rest();
    world.put(0, "work", 2);
    world.settle();
    assert!(world.drain(2, "work", "queue").len() >= 2, "what was put since");
}

#[test]
fn r12_where_a_planned_queue_lives_is_in_snapshots_too() {
    let mut world = applied_while_away();
    world.put(0, "work", 1);
    world.settle();
    (0..2).for_each(|node| world.save(node));
    (0..2).for_each(|node| world.crash(node));
    (0..2).for_each(|node| world.start(node));
    world.heal_links();
    world.settle();
    assert_eq!([0, 1].map(|node| home(&mut world, node)), [["r02"], ["r02"]]);
    bring_home(&mut world);
    assert_eq!(world.drain(2, "work", "queue").len(), 1);
}

/// What a relay's status says of what is otherwise than its topology has it.
fn misfits(world: &mut World, node: usize) -> Vec<String> {
    let Ok(Reply::Status(status)) = world.ask(node, Request::Status) else { panic!("no status") };
    status.warnings.into_iter().filter(|told| told.contains("as the topology has it")).collect()
}

#[test]
fn every_relay_tells_that_the_name_of_a_queue_of_its_file_is_that_of_a_group() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "work", "s");
    world.rest();
    (0..3).for_each(|node| world.set_file(node, &with_queue("r02")));
    (0..3).for_each(|node| world.restart(node));
    world.rest();
    for node in 0..3 {
        let told = ["work is not as the topology has it: it is a group, and a queue at r02 in the topology"];
        assert_eq!(misfits(&mut world, node), told, "relay {node}");
    }
    world.ask(1, Request::GroupRemove { group: "work".parse().unwrap() }).unwrap();
    world.rest();
    (0..3).for_each(|node| assert_eq!(misfits(&mut world, node), [""; 0], "relay {node}"));
}

#[test]
fn every_relay_tells_that_the_name_of_a_group_of_its_file_is_that_of_a_queue() {
    let mut world = World::new(1, 3, &LINE);
    world.create_queue(2, "work");
    world.rest();
    let file = format!("{}\n[group.work]\nttl = \"1h\"\n", text_of(&[0, 1, 2], &LINE));
    (0..3).for_each(|node| world.set_file(node, &file));
    (0..3).for_each(|node| world.restart(node));
    world.rest();
    for node in 0..3 {
        let told = ["work is not as the topology has it: it is a queue at r02, and a group in the topology"];
        assert_eq!(misfits(&mut world, node), told, "relay {node}");
    }
    assert_eq!(
        ttl_everywhere(&mut world, "work"),
        [None; 3],
        "the settings of the group are not the queue's"
    );
}

#[test]
fn a_text_that_is_applied_again_makes_a_queue_again_that_was_removed() {
    let mut world = World::new(1, 3, &LINE);
    world.rest();
    world.apply(0, &with_queue("r02")).unwrap();
    world.rest();
    world.ask(2, Request::GroupRemove { group: "work".parse().unwrap() }).unwrap();
    world.rest();
    for node in 0..3 {
        world.restart(node);
        world.rest();
        assert_eq!(home(&mut world, 0), [""; 0], "who starts with what was applied makes nothing again");
    }
    world.apply(0, &with_queue("r02")).unwrap();
    world.rest();
    assert_eq!([0, 1, 2].map(|node| home(&mut world, node)), [["r02"]; 3]);
    world.put(1, "work", 2);
    world.settle();
    assert_eq!(world.drain(2, "work", "queue").len(), 2);
    // While the home is away it is kept for it, as of a queue that is new.
    world.ask(2, Request::GroupRemove { group: "work".parse().unwrap() }).unwrap();
    world.rest();
    world.crash(2);
    world.settle();
    world.apply(0, &with_queue("r02")).unwrap();
    world.settle();
    world.put(1, "work", 1);
    world.rest();
    bring_home(&mut world);
    assert_eq!(world.drain(2, "work", "queue").len(), 1);
    assert_eq!([0, 1, 2].map(|node| home(&mut world, node)), [["r02"]; 3]);
}

fn ttl_everywhere(world: &mut World, group: &str) -> Vec<Option<u64>> {
    let show = |node| match world.ask(node, Request::GroupShow { group: group.parse().unwrap() }) {
        Ok(Reply::Group(info)) => info.settings.ttl_ms,
        other => panic!("{other:?}"),
    };
    (0..3).map(show).collect()
}

/// What the file says is heeded once. Who restarts a relay does not undo what was set or removed by hand since.
#[test]
fn r11_a_start_undoes_nothing_that_was_set_or_removed_since_the_file_said_it() {
    let file = |ttl: &str| format!("{}\n[group.orders]\nttl = \"{ttl}\"\n", with_queue("r02"));
    let mut world = World::new(1, 3, &LINE);
    (0..3).for_each(|node| world.set_file(node, &file("1h")));
    (0..3).for_each(|node| world.restart(node));
    world.rest();
    assert_eq!(ttl_everywhere(&mut world, "orders"), [Some(3_600_000); 3]);
    let settings = GroupSettings { ttl_ms: Some(300_000), ..GroupSettings::default() };
    world.ask(0, Request::GroupSet { group: "orders".parse().unwrap(), settings }).unwrap();
    world.ask(2, Request::GroupRemove { group: "work".parse().unwrap() }).unwrap();
    world.rest();
    for has_snapshot in [false, true] {
        for node in [2, 0, 1] {
            if has_snapshot {
                world.save(node);
                world.settle();
            }
            world.restart(node);
            world.rest();
            assert_eq!(ttl_everywhere(&mut world, "orders"), [Some(300_000); 3], "relay {node}");
            assert_eq!(home(&mut world, 0), [""; 0], "relay {node}");
        }
    }
    // The file says something else: that is news.
    (0..3).for_each(|node| world.set_file(node, &file("2h")));
    world.restart(1);
    world.rest();
    assert_eq!(ttl_everywhere(&mut world, "orders"), [Some(7_200_000); 3]);
    // And what is applied is in force as it stands.
    world.apply(0, &file("2h")).unwrap();
    world.rest();
    assert_eq!(home(&mut world, 0), ["r02"], "what is applied makes it again");
}
