//! Relays that have lost their disk, and are emptied afterwards.

use super::super::storms::Weather;
use super::super::world::World;
use super::LINE;
use crate::dice::Dice;
use crate::wire::body::{Draining, Reply, Request};

/// Times ten seconds after which a relay that nobody waits for may go.
const RESTS: usize = 6;

fn ask(world: &mut World, node: usize) -> Draining {
    let Ok(Reply::Draining(state)) = world.ask(node, Request::RelayDrain { abandon: true }) else {
        panic!("refused")
    };
    *state
}

/// A line whose last relay has put what everybody has who was owed it, and the first has become a member since.
fn line() -> World {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(1, "g", "s");
    world.put(2, "g", 2);
    world.settle();
    world.drain(1, "g", "s");
    world.rest_for_long();
    world.subscribe(0, "g", "later");
    world.settle();
    world
}

/// What is only known by receipts: nobody ever sends it to the one that has come later.
#[test]
fn s48_a_relay_that_has_lost_its_disk_does_not_wait_for_who_became_a_member_when_all_was_released() {
    for wipes in 1..=3 {
        for is_forgotten in [false, true] {
            let mut world = line();
            for _ in 0..wipes {
                // Some of it is passed on to nobody.
                world.put(2, "g", 1);
                world.wipe(2);
                world.heal();
            }
            if is_forgotten {
                world.lose(2);
                world.settle();
                world.forget(0, 2).unwrap();
                world.settle();
                world.bring_back(2);
                world.heal();
            }
            world.drain_within(2, RESTS).unwrap_or_else(|what| panic!("{wipes}, {is_forgotten}: {what}"));
            world.lose(2);
            world.settle();
            world.forget(0, 2).unwrap();
            (0..3).for_each(|_| world.rest());
            world.put(0, "g", 1);
            world.settle();
            assert_eq!(world.drain(0, "g", "later").len(), 1);
            world.drain(1, "g", "s");
            (0..3).for_each(|_| world.rest());
            assert!(world.nodes.iter().all(|node| !node.is_up() || node.held_runs() == 0));
        }
    }
}

/// It is released, too, where nobody is drained: nothing of it is remembered for ever.
#[test]
fn r9_an_origin_that_has_lost_its_disk_learns_from_who_has_it_what_was_released() {
    let mut world = line();
    for _ in 0..2 {
        world.put(2, "g", 1);
        world.wipe(2);
        world.heal();
    }
    (0..RESTS).for_each(|_| world.rest());
    let known = world.nodes[2].explain("?");
    assert!(known.contains("r02.1 to 0 released 3") && !known.contains("released 0"), "{known}");
}

/// What a member lacks that is away may be here alone.
#[test]
fn s48_what_is_here_of_the_lost_disk_of_another_holds_up_a_relay_that_is_drained_and_is_told() {
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
    world.subscribe(3, "g", "s");
    world.set_link(2, false);
    world.settle();
    world.put(0, "g", 2);
    world.settle();
    world.wipe(0);
    world.set_link(0, true);
    world.settle();
    (0..6).for_each(|_| world.rest());
    ask(&mut world, 1);
    world.rest();
    let state = ask(&mut world, 1);
    let kept: Vec<(&str, u64, bool)> =
        state.kept.iter().map(|kept| (kept.origin.as_str(), kept.records, kept.disk_lost)).collect();
    assert_eq!((state.may_go, kept), (false, vec![("r00", 3, true)]), "{state:?}");
    world.set_link(2, true);
    world.drain_within(1, RESTS).unwrap();
    assert_eq!(super::puts(&world.drain(3, "g", "s")), [1, 1]);
}

/// Relays in a storm, in which one loses its disk again and again, with what it has just put, and is forgotten
/// now and then.
fn wiped_again_and_again(seed: u64) -> Result<(), String> {
    let mut dice = Dice::new(seed ^ 0xd4a1);
    let relays = 3 + dice.below(4) as usize;
    let mut world = World::random(seed, relays);
    world.begin_storm(seed | 1, &mut dice, 2);
    let lost = world.dispensable(&mut dice);
    let foul = Weather { fulls: 0, jumps: 0, ..Weather::STORM };
    let weather = if seed.is_multiple_of(3) { Weather::CALM } else { foul };
    (0..dice.below(120)).for_each(|_| world.step(&weather));
    world.leave_subscriptions(lost);
    let weather = Weather { takes: if world.has_subscriptions() { weather.takes } else { 0 }, ..weather };
    for _ in 0..1 + dice.below(3) {
        (0..dice.below(120)).for_each(|_| world.step(&weather));
        if dice.chance(30) {
            world.heal();
        }
        ["g", "h"].into_iter().for_each(|group| world.put(lost, group, 1));
        (0..dice.below(20)).for_each(|_| world.step(&weather));
        world.wipe(lost);
        let (other, is_later) = (dice.below(relays as u64) as usize, dice.chance(50));
        if is_later && other != lost {
            world.heal();
            world.take_all();
            world.rest_for_long();
            world.subscribe(other, "g", &format!("later{}", dice.below(1_000_000)));
        }
        if dice.chance(25) {
            world.lose(lost);
            world.forget_lost((lost + 1) % relays, lost, true)?;
            world.bring_back(lost);
        }
    }
    (0..dice.below(120)).for_each(|_| world.step(&weather));
    world.heal();
    world.take_all();
    world.drain_within(lost, RESTS)
}

#[test]
fn s48_storms_in_which_a_relay_loses_its_disk_again_and_again_let_it_go_at_last() {
    for seed in 0..60 {
        wiped_again_and_again(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
}
