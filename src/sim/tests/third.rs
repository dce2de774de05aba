//! Three homes of one name: what two of them bring of a stream that the one that stays is not owed (R12).

use super::super::world::{World, names};
use super::moves::network;
use crate::dice::Dice;
use crate::wire::body::{Request, SubscribeLevel, SubscriptionSpec};

/// The home that counts. It was cut off while the other two were not.
const FIRST: usize = 0;
/// Joined with all homes, and none itself.
const CENTRE: usize = 1;
const OTHERS: [usize; 2] = [2, 3];

const GROUP: &str = "g";

/// What happens while the first home is cut off.
#[derive(Clone, Copy, Debug, Default)]
struct Scene {
    /// Whether what was put at the centre is in a stream of which nobody needs anything when the first hears of
    /// it; else it goes on.
    is_finished: bool,
    /// Where some of it is taken.
    takes: [bool; 2],
    /// The one of the others whose filter lets nothing through.
    other_filter: Option<usize>,
    /// Whether one of the others closes into the other before that closes into the first.
    is_chain: bool,
}

/// Three homes, of which two are joined and have what was put at the centre and at one of them: what was put,
/// and what was taken of it.
fn apart(scene: Scene) -> (World, Vec<String>) {
    let mut world = network(4, &[(0, 1, 1), (1, 2, 1), (1, 3, 1)]);
    world.oracle.leave_order_of(GROUP);
    (0..3).for_each(|wire| world.set_link(wire, false));
    world.settle();
    world.subscribe(FIRST, GROUP, "s");
    for other in OTHERS {
        if scene.other_filter != Some(other) {
            world.subscribe_twin(other, 0);
            continue;
        }
        let (group, name) = names(FIRST, GROUP, "s");
        let level = SubscribeLevel::Local;
        let spec = SubscriptionSpec { filter: Some("x/#".to_owned()), level, ..SubscriptionSpec::default() };
        world.ask(other, Request::SubscriptionCreate { group, name, spec }).unwrap();
        world.settle();
    }
    (1..3).for_each(|wire| world.set_link(wire, true));
    world.settle();
    let mut got = Vec::new();
    for round in 0..2 {
        for node in [CENTRE, OTHERS[0]] {
            world.put(node, GROUP, 2);
            world.settle();
        }
        for (other, _) in OTHERS.iter().zip(scene.takes).filter(|(_, takes)| *takes && round == 0) {
            got.extend(world.take_at(*other, 0));
        }
    }
    if scene.is_finished {
        // The stream ends, and both members have all of it.
        world.restart(CENTRE);
        world.put(CENTRE, GROUP, 1);
        world.settle();
        // That it is finished is known before either of them begins to close.
        world.wait_ms(1_500);
        world.settle();
    }
    if scene.is_chain {
        world.rest();
    }
    // What both were owed before they were one, both may have delivered.
    got.sort();
    got.dedup();
    (world, got)
}

/// All three are joined; what comes at the one that is left.
fn made_one(world: &mut World, scene: Scene) -> Vec<String> {
    world.set_link(0, true);
    world.settle();
    // One waits until the other is there.
    for _ in 0..100 {
        world.wait_ms(1_000);
        world.settle();
    }
    let told = OTHERS.map(|other| world.tell_moves(other)).join("\n");
    assert_eq!(world.serving(0), [FIRST], "{scene:?}: {told}");
    world.put(CENTRE, GROUP, 1);
    world.settle();
    world.take_at(FIRST, 0)
}

fn all_of(world: &World) -> Vec<String> {
    let mut all = world.oracle.payloads_since(0);
    all.sort();
    all
}

fn check(scene: Scene) {
    let (mut world, mut got) = apart(scene);
    got.extend(made_one(&mut world, scene));
    got.sort();
    assert_eq!(got, all_of(&world), "{scene:?}");
    (0..2).for_each(|_| world.rest());
    assert!(!world.has_moves(), "{scene:?}: {}", world.tell_moves(FIRST));
    world.finish().unwrap();
}

#[test]
fn r12_what_two_homes_bring_of_a_stream_that_the_third_is_not_owed_comes_once() {
    for is_finished in [false, true] {
        for takes in [[false; 2], [true, false], [false, true], [true; 2]] {
            for is_chain in [false, true] {
                check(Scene { is_finished, takes, is_chain, ..Scene::default() });
            }
        }
    }
}

/// What the filter of one of them has left out, the other brings.
#[test]
fn r12_what_two_homes_bring_with_filters_that_differ_is_not_lost() {
    for is_finished in [false, true] {
        for other in OTHERS {
            let scene = Scene { is_finished, other_filter: Some(other), ..Scene::default() };
            let (mut world, _) = apart(scene);
            assert!(world.take_at(other, 0).is_empty(), "{scene:?}: it wants none of them");
            let mut got = made_one(&mut world, scene);
            got.sort();
            assert_eq!(got, all_of(&world), "{scene:?}");
        }
    }
}

/// What is told as lost at one of them, the other has.
#[test]
fn r12_what_one_of_two_homes_has_lost_the_other_brings() {
    for is_finished in [false, true] {
        for damaged in OTHERS {
            let scene = Scene { is_finished, ..Scene::default() };
            let (mut world, _) = apart(scene);
            let lost = world.oracle.payloads_since(0).swap_remove(1);
            assert_eq!(world.nodes[damaged].damage(&[&lost]), 1);
            let got = made_one(&mut world, scene);
            for payload in world.oracle.payloads_since(0) {
                assert!(got.contains(&payload), "{scene:?}, {damaged}: {payload} of {got:?}");
            }
        }
    }
}

/// One of the others is about to close into the other when the first is heard of: the other one takes it in, and
/// closes itself then. Things happen in many orders.
#[test]
fn r12_a_home_that_is_taking_another_one_in_closes_when_that_is_done() {
    let mut busy = 0;
    for seed in 0..60 {
        let scene = Scene { takes: [seed % 2 == 0, seed % 3 == 0], is_chain: true, ..Scene::default() };
        let (mut world, mut got) = apart(scene);
        let mut dice = Dice::new(seed);
        world.set_link(0, true);
        for _ in 0..3000 {
            match dice.below(9) {
                wire @ 0..=2 => drop(world.arrive_at(wire as usize, dice.below(2) as usize)),
                node @ 3..=6 => world.sync(node as usize - 3),
                _ => world.wait_ms(5),
            }
            busy += usize::from(world.serving(0) == [FIRST, OTHERS[0]]);
        }
        got.extend(made_one(&mut world, scene));
        got.sort();
        assert_eq!(got, all_of(&world), "{scene:?}, seed {seed}");
        world.finish().unwrap();
    }
    assert!(busy > 1_000, "one had closed into the other at {busy} steps, and that not into the first");
}
