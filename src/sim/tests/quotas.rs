//! Quotas in networks: who is refused, who is blamed, and who is not to notice (S33, S34, R7).

use std::collections::BTreeMap;

use super::super::storms::Weather;
use super::super::world::World;
use super::puts;
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};
use crate::wire::body::{RefusalCode, Reply, Request};

const LINE: [(usize, usize, u32); 3] = [(0, 1, 1), (1, 2, 1), (2, 3, 1)];

/// The group in which puts are refused.
const QUOTA: u64 = 5;

/// Four relays in a line, and a group with these settings that all of them know.
fn line(group: &str, settings: GroupSettings) -> World {
    let mut world = World::new(1, 4, &LINE);
    world.nodes[0].create_group(world.now, &group.parse().unwrap(), settings);
    world.collect(0);
    world.settle();
    world
}

fn refusing() -> GroupSettings {
    GroupSettings { quota_count: Some(QUOTA), ..GroupSettings::default() }
}

/// Whether a put is taken there.
fn is_taken(world: &mut World, node: usize, group: &str) -> bool {
    let before = world.oracle.count_answered();
    world.put(node, group, 1);
    world.settle();
    world.oracle.count_answered() > before
}

/// Puts one by one until one is refused: how many were taken.
fn fill(world: &mut World, node: usize, group: &str) -> u64 {
    (0..1_000).take_while(|_| is_taken(world, node, group)).count() as u64
}

#[test]
fn s33_a_member_that_never_comes_back_fills_the_quota_is_named_and_makes_room_when_it_is_forgotten() {
    for (lives, saves) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = line("g", refusing());
        [(0, "g"), (3, "g"), (0, "h")]
            .into_iter()
            .for_each(|(node, group)| world.subscribe(node, group, "s"));
        assert!(is_taken(&mut world, 1, "g") && is_taken(&mut world, 1, "h"));
        let mut got = [world.drain(0, "g", "s"), world.drain(3, "g", "s")];
        world.rest();
        if lives {
            world.cut_off(3);
        } else {
            world.lose(3);
        }
        world.settle();
        assert_eq!(fill(&mut world, 1, "g"), QUOTA, "what is released does not count");
        got[0].extend(world.drain(0, "g", "s"));
        world.rest();
        // However long it takes: that is for an operator to decide.
        world.rest_for_long();
        assert!(!is_taken(&mut world, 1, "g"));
        let refusal = world.nodes[1].refusal.clone().unwrap();
        assert_eq!(refusal.code, RefusalCode::Quota);
        assert!(refusal.message.contains("relay r03, home of subscription `s-r03`,"), "{refusal:?}");
        assert!(is_taken(&mut world, 1, "h"), "another group");
        let asked = world.ask(0, Request::RelayForget { relay: "r03".parse().unwrap(), confirmed: false });
        let Ok(Reply::Forgetting(told)) = asked else { panic!("{asked:?}") };
        assert_eq!((told.done, told.subscription_count), (false, 1));
        assert!((QUOTA..QUOTA + 3).contains(&told.subscriptions[0].kept), "{told:?}");
        world.forget(0, 3).unwrap();
        world.oracle.forget("r03", lives);
        world.rest();
        if saves {
            world.save(1);
        }
        world.restart(1);
        // It has forgotten what others have confirmed: they say it again.
        world.rest();
        let before = world.oracle.puts();
        for _ in 0..3 * QUOTA {
            let is_taken = is_taken(&mut world, 1, "g");
            assert!(is_taken, "lives {lives}, saves {saves}: {:?}", world.nodes[1].refusal);
            got[0].extend(world.drain(0, "g", "s"));
            world.rest();
        }
        if lives {
            let gaps = world.nodes[3].gaps;
            world.bring_back(3);
            world.heal();
            let missed = world.oracle.payloads_since(0);
            assert!(is_taken(&mut world, 1, "g"));
            got[1].extend(world.drain(3, "g", "s"));
            assert_eq!(world.nodes[3].gaps, gaps + 1, "it is told of a loss");
            let new: Vec<&String> = got[1].iter().skip(1).collect();
            assert_eq!(new, world.oracle.payloads_since(missed.len() as u64).iter().collect::<Vec<_>>());
            got[0].extend(world.drain(0, "g", "s"));
            world.rest();
        }
        assert!(world.oracle.puts() > before);
        world.oracle.check_at("r00", "g", &got[0]).unwrap();
        assert_eq!(world.nodes[0].gaps, 0, "nobody else has missed anything");
        world.drain(0, "h", "s");
        world.rest();
        assert!(world.nodes.iter().all(|node| !node.is_up() || node.held_runs() == 0));
        world.watched().unwrap();
    }
}

#[test]
fn s33_a_member_that_returns_to_more_than_its_quota_gets_what_the_policy_leaves_and_is_told() {
    for policy in [SubscriptionPolicy::Refuse, SubscriptionPolicy::DropOldest, SubscriptionPolicy::Evict] {
        let settings = GroupSettings {
            subscription_quota_count: Some(3),
            subscription_policy: policy,
            ..GroupSettings::default()
        };
        let mut world = line("g", settings);
        [0, 3].into_iter().for_each(|node| world.subscribe(node, "g", "s"));
        assert!(is_taken(&mut world, 1, "g"));
        let mut got = world.drain(0, "g", "s");
        world.drain(3, "g", "s");
        world.cut_off(3);
        world.settle();
        for _ in 0..10 {
            assert!(is_taken(&mut world, 1, "g"), "it was not full when it was heard last");
            got.extend(world.drain(0, "g", "s"));
            world.rest();
        }
        let gaps = world.nodes[3].gaps;
        world.bring_back(3);
        world.heal();
        world.rest();
        let (group, name) = super::super::world::names(3, "g", "s");
        let is_there = world.nodes[3].serves(&group, &name);
        assert_eq!(is_there, policy != SubscriptionPolicy::Evict);
        if !is_there {
            world.subscribe_again(3, "g", "s");
        }
        assert!(policy == SubscriptionPolicy::Refuse || is_taken(&mut world, 3, "g"));
        let late = puts(&world.drain(3, "g", "s"));
        let (wanted, told) = match policy {
            SubscriptionPolicy::Refuse => ((2..=11).collect::<Vec<_>>(), 0),
            SubscriptionPolicy::DropOldest => (vec![9, 10, 11, 12], 1),
            SubscriptionPolicy::Evict => (vec![12], 1),
        };
        assert_eq!((late, world.nodes[3].gaps - gaps), (wanted, told), "{policy:?}");
        got.extend(world.drain(0, "g", "s"));
        world.oracle.check("g", &got).unwrap();
        assert_eq!(world.nodes[0].gaps, 0);
        world.rest();
        world.rest();
        assert_eq!(world.nodes.iter().map(super::super::node::Node::held_runs).sum::<usize>(), 0);
        world.watched().unwrap();
    }
}

/// Puts into a group at one end of the line for a while, and says how many milliseconds each message
/// took to a relay. Each millisecond somebody puts into a group that refuses as well, at relay `at`;
/// if not `beside`, he only asks for it.
fn delays(
    world: &mut World,
    seen: &mut Seen,
    (from, to): (usize, usize),
    (at, beside): (usize, bool),
) -> Vec<u64> {
    seen.entry((to, "free")).or_default().extend(world.drain(to, "free", "s"));
    let handle = world.attach(to, "free", "s");
    let mut waits = Vec::new();
    for _ in 0..100 {
        world.put(from, "free", 1);
        let mut ms = 0;
        while world.nodes[to].got.is_empty() {
            for _ in 0..5 {
                if beside {
                    world.put(at, "full", 3);
                } else {
                    world.nodes[at].open(world.now, &"full".parse().unwrap());
                    world.collect(at);
                }
            }
            world.pass_with_traffic();
            ms += 1;
            assert!(ms < 1_000, "it never comes");
        }
        waits.push(ms);
        let last = world.nodes[to].got.iter().map(|got| got.index).max().unwrap();
        seen.entry((to, "free")).or_default().extend(world.nodes[to].got.drain(..).map(|got| got.payload));
        world.ack(to, handle, (0, last + 1));
    }
    world.ask(to, Request::Detach { handle }).unwrap();
    world.settle();
    waits
}

/// What the subscriptions at some relays have got of some groups.
type Seen = BTreeMap<(usize, &'static str), Vec<String>>;

/// All of them take what is there.
fn take(world: &mut World, seen: &mut Seen) {
    for ((node, group), got) in seen {
        got.extend(world.drain(*node, group, "s"));
    }
}

/// The members of two groups, of which each takes what was put at two relays before.
fn members(world: &mut World, of: &[(usize, &'static str)], puts: [usize; 2]) -> Seen {
    of.iter().for_each(|(node, group)| world.subscribe(*node, group, "s"));
    for node in puts {
        assert!(is_taken(world, node, "full") && is_taken(world, node, "free"));
    }
    let mut seen: Seen = of.iter().map(|of| (*of, Vec::new())).collect();
    take(world, &mut seen);
    world.rest();
    seen
}

/// Everybody takes the rest, has everything, and nothing is kept.
fn finish(world: &mut World, seen: &mut Seen) {
    world.rest();
    take(world, seen);
    for ((node, group), got) in &*seen {
        world.oracle.check(group, got).unwrap_or_else(|wrong| panic!("{group} at {node}: {wrong}"));
    }
    world.rest();
    assert_eq!(world.nodes.iter().map(super::super::node::Node::held_runs).sum::<usize>(), 0);
    world.watched().unwrap();
}

#[test]
fn s34_a_group_whose_publishers_are_refused_delays_no_other_that_shares_links_and_relays_with_it() {
    let mut world = line("full", refusing());
    let mut seen = members(&mut world, &[(2, "full"), (3, "full"), (0, "free"), (2, "free")], [0, 2]);
    let ways = [((0, 2), 0), ((0, 2), 2), ((2, 0), 0), ((2, 0), 2)];
    let alone = ways.map(|(ends, at)| delays(&mut world, &mut seen, ends, (at, false)));
    world.cut_off(3);
    world.settle();
    assert_eq!(
        fill(&mut world, 0, "full") + fill(&mut world, 2, "full"),
        QUOTA,
        "a relay counts all it holds"
    );
    let held = world.nodes[2].held_runs();
    for ((ends, at), alone) in ways.into_iter().zip(&alone) {
        let refused = world.nodes[at].refused.len();
        let beside = delays(&mut world, &mut seen, ends, (at, true));
        assert_eq!(&beside, alone, "{ends:?} beside puts that are refused at {at}");
        assert!(world.nodes[at].refused.len() >= refused + 500, "they were not refused");
    }
    world.rest();
    assert_eq!(world.nodes[2].held_runs(), held, "of the other group nothing is kept");
    // What the group has taken comes when it can, and then it takes more.
    world.bring_back(3);
    world.heal();
    take(&mut world, &mut seen);
    world.rest();
    assert!(is_taken(&mut world, 0, "full") && is_taken(&mut world, 2, "full"));
    finish(&mut world, &mut seen);
}

#[test]
fn s34_a_subscription_over_its_quota_refuses_puts_and_other_groups_pass_through_its_home() {
    let settings = GroupSettings {
        subscription_quota_count: Some(3),
        subscription_policy: SubscriptionPolicy::Refuse,
        ..GroupSettings::default()
    };
    let mut world = line("full", settings);
    let mut seen = members(&mut world, &[(1, "full"), (0, "free"), (3, "free")], [0, 3]);
    let alone = [(0, 3), (3, 0)].map(|ends| delays(&mut world, &mut seen, ends, (1, false)));
    assert_eq!(fill(&mut world, 1, "full"), 3);
    for (ends, alone) in [(0, 3), (3, 0)].into_iter().zip(&alone) {
        let refused = world.nodes[1].refused.len();
        assert_eq!(&delays(&mut world, &mut seen, ends, (1, true)), alone, "{ends:?}");
        assert!(world.nodes[1].refused.len() >= refused + 500, "they were not refused");
    }
    // Others refuse too (R7).
    assert!([0, 1, 3].iter().all(|node| !is_taken(&mut world, *node, "full")));
    let calm = Weather { puts: 0, ..Weather::CALM };
    (0..200).for_each(|_| world.step(&calm));
    assert_eq!(world.on_disk(1, "full"), 2 + 3);
    finish(&mut world, &mut seen);
    assert!([1, 0].iter().all(|node| is_taken(&mut world, *node, "full")), "what is acked makes room");
}
