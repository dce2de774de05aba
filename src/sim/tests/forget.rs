//! Relays that an operator has forgotten: what is let go, what goes on, and what is told (S33, R9, R6).

use super::super::storms::Weather;
use super::super::world::World;
use crate::wire::body::{Reach, RefusalCode, Reply, Request};
use crate::wire::frame::AckLevel;

const LINE: [(usize, usize, u32); 3] = [(0, 1, 1), (1, 2, 1), (2, 3, 1)];

/// Whether a relay's status says this.
fn warns(world: &mut World, node: usize, text: &str) -> bool {
    let Ok(Reply::Status(status)) = world.ask(node, Request::Status) else { panic!("no status") };
    status.warnings.iter().any(|warning| warning.contains(text))
}

/// How the relay at the end of the line is reached from the one before it.
fn reached(world: &mut World) -> Vec<Reach> {
    let request = Request::RelayList { after: None, limit: u32::MAX };
    let Ok(Reply::Relays(found)) = world.ask(2, request) else { panic!("refused") };
    found.into_iter().filter(|relay| relay.relay.as_str() == "r03").map(|relay| relay.reach).collect()
}

fn held(world: &World) -> usize {
    world.nodes.iter().filter(|node| node.is_up()).map(super::super::node::Node::held_runs).sum()
}

/// Cuts the relay at the end off while this is put, takes what came, and forgets that relay.
fn forget_who_lives(world: &mut World, messages: u64) {
    world.cut_off(3);
    world.settle();
    world.put(1, "g", messages);
    world.settle();
    world.drain(0, "g", "s");
    world.forget(0, 3).unwrap();
    world.rest();
}

/// A line of four with a member at each end, who has what was put so far.
fn line() -> World {
    with_members(1, &LINE)
}

fn with_members(seed: u64, links: &[(usize, usize, u32)]) -> World {
    let mut world = World::new(seed, 4, links);
    for node in [0, 3] {
        world.subscribe(node, "g", "s");
    }
    world.put(1, "g", 1);
    world.settle();
    world
}

#[test]
fn s33_what_a_member_that_never_comes_back_was_owed_is_let_go_when_it_is_forgotten() {
    let mut world = line();
    world.lose(3);
    for _ in 0..5 {
        world.put(1, "g", 1);
        world.settle();
    }
    assert_eq!(world.drain(0, "g", "s").len(), 6);
    world.rest();
    assert!(held(&world) >= 10, "kept at the origin, and at the relay nearest to it");
    // Somebody is away who hears of it later.
    world.set_link(0, false);
    world.settle();
    assert_eq!(reached(&mut world), [Reach::KeptBy("r02".parse().unwrap())]);
    world.forget(2, 3).unwrap();
    assert!([vec![], vec![Reach::Lost]].contains(&reached(&mut world)), "nothing is kept for it any more");
    world.rest();
    world.set_link(0, true);
    world.rest();
    // What the streams say of it is for nobody.
    assert_eq!(world.drain(0, "g", "s").len(), 0);
    world.rest();
    assert_eq!(held(&world), 0);
    // And it stays forgotten whatever happens.
    for node in [0, 1, 2] {
        if node > 0 {
            world.save(node);
        }
        world.restart(node);
    }
    world.put(1, "g", 1);
    world.settle();
    assert_eq!(world.drain(0, "g", "s").len(), 1);
    world.rest();
    assert_eq!(held(&world), 0);
    assert!(!warns(&mut world, 0, "is back"));
}

#[test]
fn what_is_released_of_a_relay_that_is_gone_comes_by_way_of_one_that_hears_it_when_a_link_is_up_again() {
    let mut world = World::new(1, 4, &LINE);
    for node in [0, 1, 2] {
        world.subscribe(node, "g", "s");
    }
    world.put(3, "g", 5);
    world.rest();
    (1..3).for_each(|node| assert_eq!(world.drain(node, "g", "s").len(), 5));
    world.lose(3);
    world.settle();
    world.forget(2, 3).unwrap();
    world.rest();
    assert_ne!(held(&world), 0, "owed to a subscription that has not taken it");
    // Both start anew, know nothing of what is released, and compare; the third, who has nothing more
    // to say of it by itself, tells only one of them.
    world.set_link(1, false);
    world.settle();
    (0..2).for_each(|node| world.crash(node));
    (0..2).for_each(|node| world.start(node));
    world.set_link(0, true);
    world.settle();
    world.set_link(1, true);
    world.rest();
    assert_eq!(world.drain(0, "g", "s").len(), 5);
    (1..3).for_each(|node| drop(world.drain(node, "g", "s")));
    world.rest();
    assert_eq!(held(&world), 0);
}

#[test]
fn r9_who_looks_after_the_streams_of_a_relay_that_is_gone_asks_for_what_it_has_forgotten_to_be_released() {
    let mut world = World::new(1, 4, &LINE);
    for node in [0, 2] {
        world.subscribe(node, "g", "s");
    }
    world.put(3, "g", 5);
    world.rest();
    assert_eq!(world.drain(2, "g", "s").len(), 5);
    world.lose(3);
    world.settle();
    world.forget(2, 3).unwrap();
    world.rest();
    assert_ne!(held(&world), 0, "owed to a subscription that has not taken it");
    // The one between has lost its disk: it compares with the member that knows what is released, and
    // has nothing then. It gets the stream from the other one, which has started anew.
    world.set_link(0, false);
    world.settle();
    world.wipe(1);
    world.set_link(1, true);
    world.settle();
    world.crash(0);
    world.start(0);
    world.set_link(0, true);
    world.rest();
    assert_eq!(world.drain(0, "g", "s").len(), 5);
    // The loss of the relay.
    drop(world.drain(2, "g", "s"));
    world.rest();
    assert_eq!(held(&world), 0);
}

#[test]
fn s33_a_relay_that_was_forgotten_while_it_lived_is_told_of_the_loss_and_is_owed_again_from_then_on() {
    let mut world = line();
    forget_who_lives(&mut world, 3);
    assert_eq!(world.drain(0, "g", "s").len(), 0);
    world.rest();
    assert!(world.nodes[..3].iter().all(|node| node.held_runs() == 0), "it is gone for everybody");
    // It goes on alone, and has something in its backlog that it is not done with.
    world.put(3, "g", 2);
    world.settle();
    let gaps = world.nodes[3].gaps;
    world.bring_back(3);
    world.heal();
    assert!(warns(&mut world, 3, "this relay was forgotten by an operator at r00"));
    assert!(warns(&mut world, 0, "r03, which was forgotten at r00, is back"));
    world.put(1, "g", 1);
    world.put(3, "g", 1);
    world.settle();
    let mut got = super::puts(&world.drain(3, "g", "s"));
    got.sort_unstable();
    assert_eq!(got, [1, 3, 3, 4, 5], "of others what it had and what is new, and all of its own");
    assert_eq!(world.nodes[3].gaps, gaps + 1, "not in silence");
    let mut got = super::puts(&world.drain(0, "g", "s"));
    got.sort_unstable();
    assert_eq!(got, [3, 3, 4, 5], "what it has put meanwhile is not lost");
    assert_eq!(world.nodes[0].gaps, 0, "and what it has missed is nobody else's");
    world.rest();
    assert_eq!(held(&world), 0);
    for node in [3, 1] {
        world.restart(node);
    }
    world.put(1, "g", 1);
    world.settle();
    for node in [0, 3] {
        assert_eq!(world.drain(node, "g", "s").len(), 1);
    }
    // It has forgotten what it had released, and is told again: its boots can be told apart.
    world.rest();
    assert_eq!(held(&world), 0);
}

#[test]
fn s33_a_backlog_of_before_is_delivered_though_others_had_forgotten_its_home() {
    let mut world = line();
    world.put(1, "g", 4);
    world.settle();
    world.cut_off(3);
    world.settle();
    world.forget(1, 3).unwrap();
    world.rest();
    world.bring_back(3);
    world.heal();
    for snapshot in [false, true] {
        if snapshot {
            world.save(3);
        }
        world.restart(3);
    }
    assert_eq!(super::puts(&world.drain(3, "g", "s")), [1, 2, 2, 2, 2]);
}

#[test]
fn r9_messages_of_an_origin_that_was_forgotten_reach_all_members_from_who_has_them() {
    // The relay next to the origin is no member, and alone has what the origin has put last. The
    // members have a way of their own, so that they do not need it.
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (1, 3, 5), (2, 3, 1)]);
    for node in [2, 3] {
        world.subscribe(node, "g", "s");
    }
    world.put(0, "g", 1);
    world.settle();
    for wire in [1, 2] {
        world.set_link(wire, false);
    }
    world.put(0, "g", 2);
    world.settle();
    world.lose(0);
    world.settle();
    // Nobody but the one in the middle knows of them, and it starts anew.
    world.restart(1);
    world.forget(1, 0).unwrap();
    world.rest_for_long();
    for wire in [1, 2] {
        world.set_link(wire, true);
    }
    // It is part of the tree in the place of the origin, and sends them at once.
    world.settle();
    assert_eq!([2, 3].map(|node| world.on_disk(node, "g")), [2, 2], "both puts");
    world.rest_for_long();
    for node in [2, 3] {
        assert_eq!(super::puts(&world.drain(node, "g", "s")), [1, 2, 2], "at relay {node}");
        assert_eq!(world.nodes[node].gaps, 1, "there may have been more: at relay {node}");
    }
    world.rest_for_long();
    assert_eq!(held(&world), 0, "they are released, though the origin cannot say so");
}

#[test]
fn r9_messages_of_an_origin_that_has_lost_its_disk_reach_all_members_from_who_has_them() {
    // Only the relay that passes on has what was put last; the origin comes back on another side.
    let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1), (0, 2, 5)]);
    for node in [2, 3] {
        world.subscribe(node, "g", "s");
    }
    world.put(0, "g", 1);
    world.settle();
    for wire in [1, 3] {
        world.set_link(wire, false);
    }
    world.put(0, "g", 2);
    world.settle();
    world.wipe(0);
    for wire in [1, 3] {
        world.set_link(wire, true);
    }
    world.rest_for_long();
    // It can be reached, and knows less than others: nobody offers it what he has.
    for node in [2, 3] {
        assert_eq!(super::puts(&world.drain(node, "g", "s")), [1, 2, 2], "at relay {node}");
        assert_eq!(world.nodes[node].gaps, 1, "there may have been more: at relay {node}");
    }
    world.rest_for_long();
    assert_eq!(held(&world), 0);
}

#[test]
fn s24_of_an_origin_whose_disk_is_lost_all_members_end_at_what_the_luckiest_of_them_has() {
    for comes_back in [true, false] {
        let links = [(0, 1, 1), (0, 2, 1), (0, 3, 1), (1, 2, 9), (2, 3, 9)];
        let mut world = World::new(1, 4, &links);
        (1..4).for_each(|node| world.subscribe(node, "g", "s"));
        // They lose one another first, and then the origin one by one.
        [3, 4].into_iter().for_each(|wire| world.set_link(wire, false));
        world.put(0, "g", 1);
        world.settle();
        world.set_link(2, false);
        world.put(0, "g", 1);
        world.settle();
        world.set_link(1, false);
        let calm = Weather { puts: 0, ..Weather::CALM };
        let (stored, _) = world.put_at_level(0, "g", (AckLevel::Stored, 2));
        assert_eq!(world.until_answered(stored, &calm, 20_000), Some(AckLevel::Stored));
        world.set_link(0, false);
        world.put(0, "g", 1);
        world.settle();
        assert_eq!(world.oracle.count_answered(), 4);
        assert_eq!([0, 1, 2, 3].map(|node| world.on_disk(node, "g")), [4, 3, 2, 1]);
        if comes_back {
            world.wipe(0);
        } else {
            world.lose(0);
        }
        world.heal_links();
        if !comes_back {
            world.settle();
            world.forget(2, 0).unwrap();
        }
        world.rest_for_long();
        for node in 1..4 {
            let got = super::puts(&world.drain(node, "g", "s"));
            assert_eq!(got, [1, 2, 3], "at relay {node}: what was stored twice is there");
            assert_eq!(
                world.nodes[node].gaps, 1,
                "at relay {node}: what only the origin had is said to be lost"
            );
        }
        world.rest_for_long();
        assert_eq!(held(&world), 0);
    }
}

#[test]
fn r9_an_origin_that_had_nothing_to_say_for_long_is_forgotten_without_a_loss() {
    let mut world = line();
    world.put(2, "g", 2);
    world.settle();
    world.rest_for_long();
    world.lose(2);
    world.lose(3);
    world.settle();
    world.forget(1, 2).unwrap();
    world.rest();
    assert_eq!(super::puts(&world.drain(0, "g", "s")), [1, 2, 2]);
    assert_eq!(world.nodes[0].gaps, 0);
}

#[test]
fn s33_an_operator_is_told_first_what_is_lost() {
    let mut world = line();
    world
        .ask(
            3,
            Request::GroupCreate {
                group: "jobs".parse().unwrap(),
                settings: Default::default(),
                queue: true,
            },
        )
        .unwrap();
    world.put(3, "h", 1);
    world.settle();
    let ask = |relay: &str| Request::RelayForget { relay: relay.parse().unwrap(), confirmed: false };
    let code = |answer: crate::wire::body::Answer| answer.unwrap_err().code;
    assert_eq!(code(world.ask(0, ask("r03"))), RefusalCode::NotPermitted, "it lives");
    assert_eq!(code(world.ask(0, ask("r00"))), RefusalCode::Invalid, "itself");
    assert_eq!(code(world.ask(0, ask("nobody"))), RefusalCode::NotFound);
    world.lose(3);
    world.put(0, "g", 3);
    world.settle();
    let Ok(Reply::Forgetting(told)) = world.ask(0, ask("r03")) else { panic!("nothing told") };
    assert_eq!((told.done, told.queue_count, told.queues[0].as_str()), (false, 1, "jobs"));
    let lost = &told.subscriptions[0];
    assert_eq!((lost.group.as_str(), lost.name.as_str()), ("g", "s-r03"));
    assert!((3..8).contains(&lost.kept), "three, and the relays' own records: {lost:?}");
    assert_eq!(told.origins.iter().map(|group| group.as_str()).collect::<Vec<_>>(), ["h"]);
    // Nothing has happened so far, and a put into the queue is taken.
    world.put(0, "jobs", 1);
    world.settle();
    let before = world.oracle.count_answered();
    world.forget(0, 3).unwrap();
    world.settle();
    world.put(0, "jobs", 1);
    world.settle();
    assert_eq!(world.oracle.count_answered(), before, "a queue without a home takes nothing");
    // Not for the moment: a client would end its session for that, and put nothing anywhere.
    assert_eq!(world.nodes[0].refusal.as_ref().map(|refusal| refusal.code), Some(RefusalCode::Removed));
    // It is made again elsewhere.
    world.ask(1, Request::GroupRemove { group: "jobs".parse().unwrap() }).unwrap();
    let create =
        Request::GroupCreate { group: "jobs".parse().unwrap(), settings: Default::default(), queue: true };
    world.ask(1, create).unwrap();
    world.settle();
    world.put(0, "jobs", 1);
    world.settle();
    assert_eq!(world.drain(1, "jobs", "queue").len(), 1);
}

#[test]
fn what_was_said_before_is_void_wherever_it_turns_up() {
    let mut world = line();
    // One knows of another subscription that only it has heard of, and is cut off then.
    world.set_link(1, false);
    world.subscribe_unheard(3, "h", "s");
    world.settle();
    world.set_link(2, false);
    world.lose(3);
    world.settle();
    world.forget(1, 3).unwrap();
    world.settle();
    world.set_link(1, true);
    world.settle();
    world.put(0, "h", 2);
    world.put(0, "g", 1);
    let calm = Weather { puts: 0, ..Weather::CALM };
    (0..200).for_each(|_| world.step(&calm));
    world.settle();
    world.drain(0, "g", "s");
    world.rest();
    assert_eq!(held(&world), 0, "nobody keeps for it");
}

#[test]
fn r4_a_relay_that_was_forgotten_once_is_not_taken_for_one_whose_disk_was_put_back() {
    // In a ring it hears what it has said itself, in versions above those of its boots.
    let mut world = with_members(1, &[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 1)]);
    forget_who_lives(&mut world, 1);
    world.bring_back(3);
    world.heal();
    let is_older = |world: &mut World| warns(world, 3, "older image of itself");
    assert!(!is_older(&mut world));
    for _ in 0..2 {
        world.restart(3);
        world.heal();
        world.put(1, "g", 1);
        world.settle();
        assert!(!is_older(&mut world));
    }
    // And it is found out all the same.
    let image = world.nodes[3].image();
    world.put(3, "g", 1);
    world.put(1, "g", 1);
    world.settle();
    world.rest();
    world.put_back(3, &image);
    world.heal();
    assert!(is_older(&mut world));
}

#[test]
fn r4_a_relay_hears_that_it_was_forgotten_before_it_hears_what_was_released_since() {
    for seed in 0..60 {
        let mut world = with_members(seed, &LINE);
        forget_who_lives(&mut world, 3);
        world.bring_back(3);
        world.set_link(2, true);
        // Everything on its way takes its time.
        for _ in 0..600 {
            world.step(&Weather { puts: 0, ..Weather::CALM });
        }
        world.heal();
        assert!(warns(&mut world, 3, "was forgotten by an operator at r00"), "seed {seed}");
        assert!(!warns(&mut world, 3, "older image of itself"), "seed {seed}");
    }
}

#[test]
fn a_relay_that_was_forgotten_once_and_is_back_is_only_away_for_those_who_start_anew() {
    // The last one starts with an empty disk, and hears of it from others who have not met it since.
    for is_told in [false, true] {
        let mut world = line();
        forget_who_lives(&mut world, 1);
        world.bring_back(3);
        world.heal();
        world.create_queue(3, "jobs");
        (0..4).for_each(|node| world.crash(node));
        if is_told {
            world.wipe(0);
        }
        (0..3).for_each(|node| world.start(node));
        (0..2).for_each(|wire| world.set_link(wire, true));
        world.settle();
        let before = world.oracle.count_answered();
        world.put(0, "jobs", 1);
        world.settle();
        assert_eq!(world.oracle.count_answered(), before + 1, "its home is away, and not gone");
        world.heal();
        assert_eq!(world.drain(3, "jobs", "queue").len(), 1);
    }
}

#[test]
fn a_relay_that_was_forgotten_twice_is_gone_again() {
    let mut world = line();
    forget_who_lives(&mut world, 1);
    world.bring_back(3);
    world.heal();
    world.create_queue(3, "jobs");
    world.lose(3);
    world.settle();
    world.forget(1, 3).unwrap();
    world.rest();
    (0..3).for_each(|node| world.restart(node));
    let before = world.oracle.count_answered();
    world.put(0, "jobs", 1);
    world.settle();
    assert_eq!(world.oracle.count_answered(), before, "a queue without a home takes nothing");
}

#[test]
fn a_relay_that_was_forgotten_and_is_back_tells_of_no_queue_that_it_has() {
    for (removed, wiped) in [(false, false), (true, false), (false, true)] {
        let mut world = line();
        world.create_queue(3, "jobs");
        forget_who_lives(&mut world, 1);
        if removed {
            world.ask(0, Request::GroupRemove { group: "jobs".parse().unwrap() }).unwrap();
        }
        if wiped {
            world.wipe(3);
        }
        world.bring_back(3);
        world.heal();
        world.rest();
        assert!(warns(&mut world, 3, "this relay was forgotten"));
        let request = Request::GroupShow { group: "jobs".parse().unwrap() };
        let has_it = matches!(world.ask(3, request), Ok(Reply::Group(info)) if info.subscriptions == 1);
        assert_eq!(has_it, !removed, "what is known of it makes it again for a lost disk: {wiped}");
        assert!(!warns(&mut world, 3, "made again"), "removed {removed}, wiped {wiped}");
    }
}

/// Nobody tells others again and again what they cannot know.
fn all_know_the_same(world: &mut World) {
    for _ in 0..10 {
        world.wait_ms(10_000);
        world.settle();
    }
    assert_eq!(world.differing(), Vec::<[usize; 2]>::new());
    for node in 0..world.nodes.len() {
        assert_eq!(world.nodes[node].differed(), 0, "at relay {node}");
        assert!(!warns(world, node, "knew something else"), "at relay {node}");
    }
}

#[test]
fn what_a_relay_took_back_while_it_was_forgotten_makes_no_two_ends_differ() {
    let mut world = line();
    world.subscribe(3, "g", "t");
    world.cut_off(3);
    world.settle();
    let (group, name) = super::super::world::names(3, "g", "t");
    world.ask(3, Request::SubscriptionRemove { group, name }).unwrap();
    world.settle();
    world.forget(0, 3).unwrap();
    world.rest();
    world.bring_back(3);
    world.heal();
    all_know_the_same(&mut world);
}
