//! Relays whose logs take less at once than those of others: what the log refuses ends the relay, so
//! the simulation lets nobody give it such a thing.

use super::super::world::{World, names};
use super::LINE;
use super::moves::{NEW, OLD, go_on, prepared_as};
use crate::limits;

/// From now on the log of a relay takes so many bytes at once.
fn restart_with(world: &mut World, node: usize, run_bytes_max: u64) {
    world.crash(node);
    world.nodes[node].run_bytes_max = run_bytes_max;
    world.start(node);
    world.heal_links();
    world.settle();
}

fn long() -> String {
    "x".repeat(4000)
}

#[test]
fn what_a_transit_cannot_store_comes_to_those_behind_it_when_it_can() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.settle();
    restart_with(&mut world, 1, 1000);
    world.put_as(0, "g", 1, &["before"]);
    world.put_as(0, "g", 2, &[&long()]);
    world.put_as(0, "g", 3, &["behind"]);
    world.settle();
    for _ in 0..10 {
        world.wait_ms(1_000);
        world.settle();
    }
    let mut got = world.drain(2, "g", "s");
    assert_eq!(got[0], "before");
    assert!(world.nodes[0].held_runs() > 0, "it is kept where it was put");
    restart_with(&mut world, 1, 1 << 20);
    for _ in 0..10 {
        world.wait_ms(10_000);
        world.settle();
    }
    got.extend(world.drain(2, "g", "s"));
    assert_eq!(got, ["before".to_owned(), long(), "behind".to_owned()]);
}

#[test]
fn what_was_damaged_and_does_not_fit_any_more_is_a_gap() {
    let mut world = World::new(1, 3, &LINE);
    for node in 1..3 {
        world.subscribe(node, "g", "s");
    }
    world.put_as(0, "g", 1, &["before"]);
    world.put_as(0, "g", 2, &[&long()]);
    world.put_as(0, "g", 3, &["behind"]);
    world.settle();
    world.rest();
    assert_eq!(world.nodes[2].damage(&[&long()]), 1);
    restart_with(&mut world, 2, 1000);
    world.nodes[2].got.clear();
    world.attach(2, "g", "s");
    world.settle();
    (0..2).for_each(|_| world.rest());
    let got: Vec<_> = world.nodes[2].got.iter().map(|got| got.payload.as_str()).collect();
    assert_eq!((got, world.nodes[2].gaps), (vec!["before", "behind"], 1));
}

#[test]
fn what_a_new_home_cannot_store_stays_at_the_old_one_until_it_can() {
    let mut world = prepared_as(1, false, false);
    world.put_as(OLD, "g", 1, &[&long(), "behind"]);
    world.settle();
    restart_with(&mut world, NEW, 1000);
    world.ask_to_move(1, 0, Some(NEW));
    go_on(&mut world);
    world.wait_ms(limits::MOVE_UNREAD_MS + 100);
    for _ in 0..20 {
        world.wait_ms(1_000);
        world.settle();
    }
    assert_eq!(world.home_now(0), Some(OLD));
    restart_with(&mut world, NEW, 1 << 20);
    for _ in 0..20 {
        world.wait_ms(1_000);
        world.settle();
    }
    assert_eq!(world.home_now(0), Some(NEW), "{}", world.tell_moves(OLD));
    let (group, name) = names(OLD, "g", "s");
    let now = world.now;
    let got = world.nodes[NEW].drain(now, &group, &name);
    assert_eq!(got[got.len() - 2..], [long(), "behind".to_owned()]);
}
