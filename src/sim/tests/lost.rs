//! Damage at the origin, of what others lack (R9, P2).

use super::super::storms::Weather;
use super::super::world::World;
use super::LINE;
use crate::limits;
use crate::wire::body::{Reply, Request};
use crate::wire::frame::AckLevel;
use crate::wire::run::RunKind;

/// Where the message is that is damaged.
const HIT: usize = 2;

/// Relays in a line, with a member at `to`. It has the first message that is put at `from`, and is
/// away when more are put; the third of all is damaged then.
fn damaged(links: &[(usize, usize, u32)], (from, to): (usize, usize), cut: usize) -> World {
    damaged_for(links, (from, &[to]), cut)
}

/// The same with several members; those behind the link `cut` are away.
fn damaged_for(links: &[(usize, usize, u32)], (from, members): (usize, &[usize]), cut: usize) -> World {
    let mut world = World::new(1, links.len() + 1, links);
    members.iter().for_each(|node| world.subscribe(*node, "g", "s"));
    world.put(from, "g", 1);
    world.settle();
    world.set_link(cut, false);
    world.settle();
    put_three(&mut world, from);
    hit(&mut world, from);
    world
}

fn put_three(world: &mut World, from: usize) {
    for _ in 0..3 {
        world.put(from, "g", 1);
        world.settle();
    }
}

fn hit(world: &mut World, node: usize) {
    let all = world.oracle.payloads_since(0);
    assert_eq!(world.nodes[node].damage(&[&all[HIT]]), 1);
}

fn wait(world: &mut World) {
    world.settle();
    (0..3).for_each(|_| world.rest());
}

/// One more is put, and the member has got all but these.
fn got_all_but(world: &mut World, (from, to): (usize, usize), lost: &[usize]) {
    world.put(from, "g", 1);
    wait(world);
    let all = world.oracle.payloads_since(0);
    let is_whole = |(place, _): &(usize, &String)| !lost.contains(place);
    let rest: Vec<String> = all.iter().enumerate().filter(is_whole).map(|(_, text)| text.clone()).collect();
    assert_eq!(world.drain(to, "g", "s"), rest);
    assert_eq!(world.nodes[to].gaps, lost.len() as u64);
}

/// Everybody has what there is, and nobody keeps anything.
fn let_go(world: &mut World) {
    wait(world);
    assert_eq!(world.nodes.iter().map(|node| node.held_runs()).sum::<usize>(), 0, "all of it is let go");
    assert_eq!(world.watched(), Ok(()));
}

/// What the status of a relay says of what is damaged.
fn said(world: &mut World, node: usize) -> Vec<String> {
    match world.ask(node, Request::Status) {
        Ok(Reply::Status(status)) => {
            status.warnings.into_iter().filter(|text| text.contains("damaged here")).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Nobody else has it, and the member was away when it was put.
#[test]
fn s51_what_is_damaged_at_its_origin_alone_holds_up_nothing_behind_it_at_a_member_that_was_away() {
    let mut world = damaged(&[(0, 1, 1)], (0, 1), 0);
    assert_eq!(said(&mut world, 0), Vec::<String>::new());
    world.set_link(0, true);
    wait(&mut world);
    got_all_but(&mut world, (0, 1), &[HIT]);
    let_go(&mut world);
    let said = said(&mut world, 0);
    assert!(said.len() == 1 && said[0].contains("nobody has them"), "{said:?}");
}

/// Whoever comes back at the same time may have it.
#[test]
fn s51_what_nobody_has_at_once_is_not_said_to_be_lost_before_it_was_looked_for_again() {
    let mut world = damaged(&[(0, 1, 1)], (0, 1), 0);
    world.set_link(0, true);
    for _ in 0..limits::LOST_MS / 500 {
        world.settle();
        world.pass_ms(500);
        assert_eq!(said(&mut world, 0), Vec::<String>::new());
    }
    wait(&mut world);
    assert_eq!(said(&mut world, 0).len(), 1);
}

/// It is found damaged when the origin starts, and is looked for again after each start.
#[test]
fn s51_an_origin_that_has_started_since_says_so_too_and_a_member_that_starts_goes_on_behind_it() {
    for has_snapshot in [true, false] {
        let mut world = damaged(&[(0, 1, 1)], (0, 1), 0);
        world.restart(0);
        world.put(0, "g", 1);
        world.set_link(0, true);
        // It has begun to look for it.
        world.pass_ms(3_500);
        world.settle();
        world.restart(0);
        world.put(0, "g", 1);
        wait(&mut world);
        if has_snapshot {
            world.save(1);
        }
        world.restart(1);
        got_all_but(&mut world, (0, 1), &[HIT]);
        let_go(&mut world);
    }
}

/// Nothing stands behind it.
#[test]
fn s51_the_last_that_was_put_is_told_as_lost_too() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(0, false);
    world.put(0, "g", 1);
    world.put(0, "g", 1);
    world.settle();
    hit(&mut world, 0);
    world.set_link(0, true);
    wait(&mut world);
    assert_eq!((world.drain(1, "g", "s").len(), world.nodes[1].gaps), (2, 1));
    let_go(&mut world);
    world.put(0, "g", 1);
    wait(&mut world);
    assert_eq!(world.drain(1, "g", "s").len(), 1);
}

/// What tells that the member is owed a stream, and what tells that it has ended.
#[test]
fn s51_records_of_the_relays_own_that_are_lost_hold_up_nothing() {
    for kind in [RunKind::Genesis, RunKind::Seal] {
        let mut world = World::new(1, 2, &[(0, 1, 1)]);
        world.subscribe(1, "g", "s");
        world.put(0, "g", 1);
        world.settle();
        assert_eq!(world.drain(1, "g", "s").len(), 1);
        world.set_link(0, false);
        for _ in 0..2 {
            world.restart(0);
            put_three(&mut world, 0);
        }
        assert!(world.nodes[0].damage_last(kind));
        world.set_link(0, true);
        wait(&mut world);
        let mut all = world.oracle.payloads_since(0);
        assert_eq!(world.drain(1, "g", "s"), all.split_off(1), "{kind:?}");
        let_go(&mut world);
    }
}

/// It is answered that it is durable here, as it was, and that nothing more comes of it.
#[test]
fn s51_a_put_that_waits_is_not_told_that_everybody_has_what_is_lost() {
    let mut world = World::new(1, 2, &[(0, 1, 1)]);
    world.subscribe(1, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    world.set_link(0, false);
    world.settle();
    let puts = [AckLevel::Inserted, AckLevel::Consumed].map(|level| {
        let (lost, _) = world.put_at_level(0, "g", (level, 0));
        world.settle();
        let payload = world.oracle.payloads_since(0).pop().expect("it was put");
        assert_eq!(world.nodes[0].damage(&[&payload]), 1);
        let (whole, _) = world.put_at_level(0, "g", (level, 0));
        world.settle();
        (level, lost, whole)
    });
    world.set_link(0, true);
    wait(&mut world);
    assert_eq!((world.drain(1, "g", "s").len(), world.nodes[1].gaps), (3, 2));
    wait(&mut world);
    let calm = Weather { puts: 0, ..Weather::CALM };
    for (level, lost, whole) in puts {
        assert_eq!(world.until_answered(lost, &calm, 1_000), Some(AckLevel::Accepted), "{level:?}");
        assert_eq!(world.until_answered(whole, &calm, 1_000), Some(level));
    }
}

/// Another relay has it: it comes to the member, and is whole at its origin again.
#[test]
fn s51_what_is_damaged_at_an_origin_between_comes_from_behind_it() {
    let mut world = damaged_for(&LINE, (1, &[0, 2]), 1);
    world.set_link(1, true);
    wait(&mut world);
    got_all_but(&mut world, (1, 2), &[]);
    assert_eq!(world.drain(0, "g", "s").len(), 5);
    let_go(&mut world);
    assert_eq!(said(&mut world, 1), Vec::<String>::new());
}

/// The relay between them has it, and is a member: it keeps it, and passes it on.
#[test]
fn s51_what_is_damaged_at_its_origin_comes_from_a_relay_on_the_way() {
    let mut world = damaged_for(&LINE, (0, &[1, 2]), 1);
    world.set_link(1, true);
    wait(&mut world);
    got_all_but(&mut world, (0, 2), &[]);
    assert_eq!(world.drain(1, "g", "s").len(), 5);
    let_go(&mut world);
}

/// Two relays lack it, one behind the other: the first one passes on what stands in its place.
#[test]
fn s51_what_is_lost_is_told_to_all_that_lack_it_over_relays_that_are_no_members() {
    for members in [&[2][..], &[1, 2]] {
        let mut world = damaged_for(&LINE, (0, members), 0);
        world.set_link(0, true);
        wait(&mut world);
        got_all_but(&mut world, (0, 2), &[HIT]);
        if members.contains(&1) {
            assert_eq!((world.drain(1, "g", "s").len(), world.nodes[1].gaps), (4, 1));
        }
        let_go(&mut world);
    }
}

/// A member that is away may have it: whoever lacks it waits, the operator is told for whom.
fn with_a_holder_away(restarts: bool) -> World {
    let mut world = World::new(1, 3, &LINE);
    for node in [0, 2] {
        world.subscribe(node, "g", "s");
    }
    world.put(1, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.settle();
    put_three(&mut world, 1);
    world.settle();
    world.lose(0);
    hit(&mut world, 1);
    if restarts {
        world.restart(1);
    }
    world.set_link(1, true);
    wait(&mut world);
    assert_eq!((world.drain(2, "g", "s").len(), world.nodes[2].gaps), (HIT, 0));
    let said = said(&mut world, 1);
    assert!(said.len() == 1 && said[0].contains("may be at r00, which cannot be reached"), "{said:?}");
    world
}

#[test]
fn s51_what_a_relay_that_is_away_may_have_is_waited_for() {
    for restarts in [false, true] {
        let mut world = with_a_holder_away(restarts);
        world.bring_back(0);
        world.heal();
        wait(&mut world);
        world.put(1, "g", 1);
        wait(&mut world);
        let all = world.oracle.payloads_since(0);
        assert_eq!(world.drain(0, "g", "s"), all);
        assert_eq!((world.drain(2, "g", "s"), world.nodes[2].gaps), (all[HIT..].to_vec(), 0));
        assert_eq!(said(&mut world, 1), Vec::<String>::new());
        assert_eq!(world.watched(), Ok(()));
    }
}

#[test]
fn s51_what_only_a_relay_has_that_was_forgotten_is_lost() {
    for restarts in [false, true] {
        let mut world = with_a_holder_away(restarts);
        world.forget(1, 0).unwrap();
        (0..10).for_each(|_| world.rest());
        world.put(1, "g", 1);
        wait(&mut world);
        let all = world.oracle.payloads_since(0);
        assert_eq!((world.drain(2, "g", "s"), world.nodes[2].gaps), (all[HIT + 1..].to_vec(), 1));
    }
}

/// The origin is gone, and who looks after its stream has it damaged.
#[test]
fn s51_what_is_damaged_at_the_trustee_of_an_origin_that_is_gone_holds_up_nothing_behind_it() {
    let mut world = World::new(1, 3, &LINE);
    for node in [1, 2] {
        world.subscribe(node, "g", "s");
    }
    world.put(0, "g", 1);
    world.settle();
    world.set_link(1, false);
    world.settle();
    put_three(&mut world, 0);
    world.lose(0);
    hit(&mut world, 1);
    wait(&mut world);
    world.forget(1, 0).unwrap();
    world.set_link(1, true);
    (0..10).for_each(|_| world.rest());
    let mut all = world.oracle.payloads_since(0);
    all.remove(HIT);
    assert_eq!(world.drain(2, "g", "s"), all);
}
