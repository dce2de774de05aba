//! Two homes of one name, made by relays that were apart, are made one (R12).

use std::collections::BTreeMap;

use super::super::world::{World, names, twins};
use super::LINE;
use super::moves::{Fault, go_on_a_little, network, strike};
use crate::id::{GroupName, SubscriptionName};
use crate::wire::body::{MoveStage, RefusalCode, Reply, Request, SubscribeLevel, SubscriptionSpec};
use crate::wire::link::LinkMessage;
use crate::wire::moving::MoveSays;

/// The home that counts: both have the same version, and it has the lesser storage id.
const FIRST: usize = 0;
/// The one that closes.
const OTHER: usize = 2;
/// The link that is down while both are made.
const BRIDGE: usize = 1;

const GROUP: &str = "g";

/// What is different from one network to another.
#[derive(Clone, Copy, Debug, Default)]
struct Scene {
    /// Whether the home with the greater name counts: the other one was made twice.
    is_turned: bool,
    /// Whether both relays were members before, and have messages from before.
    is_member: bool,
    is_queue: bool,
}

impl Scene {
    fn homes(self) -> (usize, usize) {
        if self.is_turned { (OTHER, FIRST) } else { (FIRST, OTHER) }
    }

    /// Its name, as it is told where it lives.
    fn name(self) -> (GroupName, SubscriptionName) {
        names(FIRST, GROUP, if self.is_queue { "queue" } else { "s" })
    }
}

/// Two homes of one subscription on both sides of a link that is down, and what was put before.
fn apart(scene: Scene) -> (World, u64) {
    let mut world = network(3, &LINE);
    world.oracle.leave_order_of(GROUP);
    if scene.is_member {
        for node in [FIRST, OTHER] {
            world.subscribe(node, GROUP, "t");
        }
        for node in [0, 1, 2] {
            world.put(node, GROUP, 3);
        }
        world.settle();
    }
    world.set_link(BRIDGE, false);
    world.settle();
    if scene.is_queue {
        world.create_queue(FIRST, GROUP);
        world.create_twin_queue(OTHER, GROUP);
        let puts = world.oracle.puts();
        return (world, puts);
    }
    world.subscribe(FIRST, GROUP, "s");
    if scene.is_turned {
        let (group, name) = names(FIRST, GROUP, "s");
        world.ask(FIRST, Request::SubscriptionRemove { group, name }).unwrap();
        world.settle();
        world.subscribe_twin(FIRST, world.places() - 1);
    }
    let place = world.places() - 1;
    world.subscribe_twin(OTHER, place);
    let puts = world.oracle.puts();
    (world, puts)
}

/// The subscription that has two homes.
fn place(world: &World) -> usize {
    world.places() - 1
}

fn put_all(world: &mut World, messages: u64) {
    for node in [0, 1, 2] {
        world.put(node, GROUP, messages);
        world.settle();
    }
}

fn take(world: &mut World, node: usize) -> Vec<String> {
    let place = place(world);
    world.take_at(node, place)
}

fn serving(world: &World) -> Vec<usize> {
    world.serving(place(world))
}

fn join(world: &mut World) {
    world.set_link(BRIDGE, true);
    world.settle();
}

fn move_on(world: &mut World) {
    for _ in 0..16 {
        world.wait_ms(1_000);
        world.settle();
    }
}

/// Which homes each relay says that the name has.
fn told(world: &mut World, scene: Scene) -> Vec<Vec<String>> {
    let (group, name) = scene.name();
    let mut all = Vec::new();
    for node in 0..world.nodes.len() {
        let located =
            world.ask(node, Request::Locate { group: group.to_string(), prefix: false, after: None });
        let Ok(Reply::Located(located)) = located else { panic!("{located:?}") };
        let of_it = located.iter().filter(|l| scene.is_queue || l.subscription.as_ref() == Some(&name));
        all.push(of_it.map(|l| l.home.to_string()).collect());
    }
    all
}

/// What came, against what was put: everything once.
fn check(world: &World, since: u64, mut got: Vec<String>, what: &str) {
    let mut all = world.oracle.payloads_since(since);
    all.sort();
    got.sort();
    assert_eq!(got, all, "{what}");
}

/// Each relay's messages in the order in which they were put there.
fn check_order(got: &[String], what: &str) {
    let mut last: BTreeMap<&str, &String> = BTreeMap::new();
    for payload in got {
        let before = last.insert(payload.split('/').next().unwrap_or_default(), payload);
        assert!(before.is_none_or(|before| before < payload), "{what}: {payload} in {got:?}");
    }
}

fn scenes() -> impl Iterator<Item = Scene> {
    let of_subscriptions = [(false, false), (false, true), (true, false), (true, true)];
    let scenes =
        of_subscriptions.map(|(is_turned, is_member)| Scene { is_turned, is_member, is_queue: false });
    scenes.into_iter().chain([Scene { is_queue: true, ..Scene::default() }])
}

/// What a relay tells its operator of names that have two homes.
fn warned(world: &mut World, node: usize) -> Vec<String> {
    let Ok(Reply::Status(status)) = world.ask(node, Request::Status) else { panic!("no status") };
    status.warnings.into_iter().filter(|told| told.contains("has two homes")).collect()
}

#[test]
fn r12_what_nobody_took_at_either_home_comes_once_at_the_one_that_counts() {
    for scene in scenes() {
        let (mut world, since) = apart(scene);
        let (home, _) = scene.homes();
        (0..2).for_each(|_| put_all(&mut world, 2));
        join(&mut world);
        if !scene.is_queue {
            assert_eq!(told(&mut world, scene), [["r00", "r02"], ["r00", "r02"], ["r00", "r02"]]);
        }
        for node in [FIRST, OTHER] {
            assert_eq!(warned(&mut world, node).len(), 1, "{scene:?}: {node}");
        }
        put_all(&mut world, 2);
        assert_eq!(serving(&world), [FIRST, OTHER]);
        move_on(&mut world);
        let told_of = world.tell_moves(FIRST) + &world.tell_moves(OTHER);
        assert_eq!(serving(&world), [home], "{scene:?}: {told_of}");
        let name = format!("r{home:02}");
        assert_eq!(told(&mut world, scene), vec![vec![name]; 3], "{scene:?}");
        for node in [FIRST, OTHER] {
            assert_eq!(warned(&mut world, node), Vec::<String>::new(), "{scene:?}: {node}");
        }
        world.put(2, GROUP, 1);
        world.settle();
        let got = take(&mut world, home);
        check_order(&got, &format!("{scene:?}"));
        check(&world, since, got, &format!("{scene:?}"));
        world.settle();
        let books = world.ask(home, Request::Books { group: None });
        let Ok(Reply::Books(books)) = books else { panic!("{books:?}") };
        assert!(books.balanced, "{books:?}");
        if !scene.is_member {
            world.finish().unwrap();
        }
    }
}

/// Both homes are taken from, apart and joined, and none takes all.
fn taken_apart(scene: Scene) -> (World, u64, Vec<String>) {
    let (mut world, since) = apart(scene);
    let (home, other) = scene.homes();
    put_all(&mut world, 2);
    let mut got = take(&mut world, home);
    got.extend(take(&mut world, other));
    put_all(&mut world, 2);
    join(&mut world);
    // Both are owed these, and one has them.
    put_all(&mut world, 2);
    got.extend(take(&mut world, other));
    put_all(&mut world, 2);
    // What both were owed before they were one, both may have delivered.
    got.sort();
    got.dedup();
    (world, since, got)
}

#[test]
fn r12_what_was_acked_at_either_home_does_not_come_again() {
    for scene in scenes() {
        let (mut world, since, mut got) = taken_apart(scene);
        move_on(&mut world);
        let (home, _) = scene.homes();
        assert_eq!(serving(&world), [home], "{scene:?}");
        let rest = take(&mut world, home);
        check_order(&rest, &format!("{scene:?}"));
        got.extend(rest);
        check(&world, since, got, &format!("{scene:?}"));
    }
}

/// The same with a fault at one of the steps of joining them; whether it was over before.
fn run(scene: Scene, (at, fault): (usize, Fault)) -> bool {
    let what = format!("{scene:?}, {fault:?} at step {at}");
    let (mut world, since, mut got) = taken_apart(scene);
    world.wait_ms(crate::limits::MERGE_FIRST_MS);
    (0..at).for_each(|step| go_on_a_little(&mut world, step));
    let (home, _) = scene.homes();
    let is_over = !world.has_moves() && serving(&world) == [home];
    strike(&mut world, fault);
    (0..60).for_each(|step| go_on_a_little(&mut world, step));
    put_all(&mut world, 1);
    move_on(&mut world);
    assert_eq!(serving(&world), [home], "{what}: {}", world.tell_moves(FIRST) + &world.tell_moves(OTHER));
    assert!(!world.has_moves(), "{what}: {}", world.tell_moves(FIRST) + &world.tell_moves(OTHER));
    got.extend(take(&mut world, home));
    check(&world, since, got, &what);
    world.rest();
    is_over
}

#[test]
fn r12_two_homes_are_made_one_whatever_crashes_when() {
    for scene in scenes() {
        if scene.is_member && scene.is_turned {
            continue;
        }
        let faults = [Fault::OldHomeCrashes, Fault::NewHomeCrashes, Fault::BothCrash, Fault::BetweenCrashes];
        for fault in faults {
            let mut at = 0;
            let stride = if scene.is_member { 5 } else { 2 };
            while !run(scene, (at, fault)) {
                at += stride;
            }
            assert!((20..2000).contains(&at), "{at} steps");
        }
    }
}

#[test]
fn r12_two_homes_whose_link_breaks_again_are_made_one_when_it_is_back() {
    let mut at = 0;
    loop {
        let (mut world, since, mut got) = taken_apart(Scene::default());
        world.wait_ms(crate::limits::MERGE_FIRST_MS);
        (0..at).for_each(|step| go_on_a_little(&mut world, step));
        let is_over = !world.has_moves() && serving(&world) == [FIRST];
        world.set_link(BRIDGE, false);
        put_all(&mut world, 2);
        // Whoever is served meanwhile takes what there is.
        for home in serving(&world) {
            got.extend(take(&mut world, home));
        }
        move_on(&mut world);
        join(&mut world);
        move_on(&mut world);
        assert_eq!(serving(&world), [FIRST], "{at}");
        got.extend(take(&mut world, FIRST));
        // What both were owed was taken at both, apart.
        got.sort();
        got.dedup();
        check(&world, since, got, &format!("{at} steps"));
        if is_over {
            break;
        }
        at += 2;
    }
    assert!(at > 20, "{at} steps");
}

/// How far the home that closes has come.
fn stage(world: &mut World) -> Option<MoveStage> {
    let (group, _) = Scene::default().name();
    let Ok(Reply::Subscriptions(all)) =
        world.ask(OTHER, Request::SubscriptionList { group, after: None, limit: 9 })
    else {
        panic!("no list")
    };
    all.into_iter().find_map(|info| info.moving).map(|moving| moving.stage)
}

/// What it has handed over may be served at the first home. Before that it is the only one to serve what it
/// has, and opens again when there is no way for long.
#[test]
fn r12_a_home_without_a_way_to_the_first_opens_again_unless_it_has_handed_over_what_it_has() {
    let mut seen = BTreeMap::new();
    for at in (0..).step_by(2) {
        let (mut world, ..) = taken_apart(Scene::default());
        world.wait_ms(crate::limits::MERGE_FIRST_MS);
        (0..at).for_each(|step| go_on_a_little(&mut world, step));
        let Some(before) = stage(&mut world).filter(|_| world.has_moves()) else {
            if serving(&world) == [FIRST] {
                break;
            }
            continue;
        };
        world.set_link(BRIDGE, false);
        world.wait_ms(crate::limits::MERGE_AWAY_MS);
        move_on(&mut world);
        let is_open = serving(&world).contains(&OTHER);
        // What was on its way to its disk may have been the last of it.
        let after = stage(&mut world);
        assert_eq!(is_open, after != Some(MoveStage::HandingOver), "{after:?} at step {at}");
        assert!(!is_open || before != MoveStage::HandingOver, "it has handed it over at step {at}");
        *seen.entry((before as u8, is_open)).or_insert(0) += 1;
        join(&mut world);
        move_on(&mut world);
        assert_eq!(serving(&world), [FIRST], "{before:?} at step {at}");
    }
    let often = [(MoveStage::Copying, true), (MoveStage::HandingOver, false)];
    assert!(often.iter().all(|(stage, is_open)| seen.contains_key(&(*stage as u8, *is_open))), "{seen:?}");
}

#[test]
fn r12_three_homes_of_one_name_are_made_one() {
    let links = [(0, 1, 1), (1, 2, 1), (1, 3, 1)];
    let mut world = network(4, &links);
    world.oracle.leave_order_of(GROUP);
    (0..3).for_each(|wire| world.set_link(wire, false));
    world.settle();
    world.subscribe(0, GROUP, "s");
    world.subscribe_twin(2, 0);
    world.subscribe_twin(3, 0);
    let mut got = Vec::new();
    for node in [0, 2, 3] {
        world.put(node, GROUP, 2);
        world.settle();
        got.extend(take(&mut world, node));
        world.put(node, GROUP, 3);
        world.settle();
    }
    // Two of them are one before they hear of the third.
    world.set_link(1, true);
    world.set_link(2, true);
    world.settle();
    move_on(&mut world);
    assert_eq!(serving(&world), [0, 2, 3], "a relay that is known is away");
    world.set_link(0, true);
    world.settle();
    (0..3).for_each(|_| put_all(&mut world, 1));
    move_on(&mut world);
    move_on(&mut world);
    assert_eq!(serving(&world), [0]);
    got.extend(take(&mut world, 0));
    check(&world, 0, got, "three homes");
    world.finish().unwrap();
}

#[test]
fn r12_receivers_at_the_home_that_closes_are_led_to_the_other() {
    let (mut world, since) = apart(Scene::default());
    put_all(&mut world, 2);
    join(&mut world);
    let (group, name) = names(FIRST, GROUP, "s");
    let handle = {
        let attach = Request::Attach { group: group.clone(), name: Some(name.clone()), create: None };
        let Ok(Reply::SubscriptionHandle { handle, .. }) = world.ask(OTHER, attach) else {
            panic!("not there")
        };
        world.credit(OTHER, handle);
        handle
    };
    world.settle();
    assert_eq!(world.nodes[OTHER].got.len(), 2, "it is served there until all relays have been heard");
    move_on(&mut world);
    let code =
        world.nodes[OTHER].detached.iter().find(|(of, _)| *of == handle).map(|(_, refusal)| refusal.code);
    assert_eq!(code, Some(RefusalCode::NotReady));
    let attach = Request::Attach { group, name: Some(name), create: None };
    let Some(Ok(Reply::SubscriptionHandle { handle, created, .. })) = world.ask_network(OTHER, attach) else {
        panic!("it is not led on")
    };
    assert!(!created);
    world.nodes[OTHER].got.clear();
    world.credit(OTHER, handle);
    world.settle();
    // First what was brought along: then it is to come again.
    let got: Vec<String> = world.nodes[OTHER].got.iter().map(|got| got.payload.clone()).collect();
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got.iter().all(|payload| payload.starts_with("r02")), "{got:?}");
    let got = take(&mut world, FIRST);
    check(&world, since, got, "what was not acked");
}

#[test]
fn r12_one_of_two_homes_that_is_removed_meanwhile_leaves_the_other() {
    for removed in [FIRST, OTHER] {
        let mut at = 0;
        loop {
            let (mut world, since) = apart(Scene::default());
            put_all(&mut world, 2);
            join(&mut world);
            world.wait_ms(crate::limits::MERGE_FIRST_MS);
            (0..at).for_each(|step| go_on_a_little(&mut world, step));
            let was_served = serving(&world);
            let (group, name) = names(FIRST, GROUP, "s");
            let is_over = was_served == [FIRST] && !world.has_moves();
            let removal = world.ask_network(removed, Request::SubscriptionRemove { group, name });
            let refused = !matches!(removal, Some(Ok(_)));
            move_on(&mut world);
            move_on(&mut world);
            let what = format!("{removed} removed at step {at}: {removal:?}");
            if is_over {
                break;
            }
            assert!(!world.has_moves(), "{what}: {}", world.tell_moves(FIRST) + &world.tell_moves(OTHER));
            // Who is led on removes the other one; when they are one, that is all there is.
            let left = serving(&world);
            if left.is_empty() && removed == OTHER && was_served == [FIRST] {
                break;
            }
            assert!(left.len() == 1 && (!refused || left == [FIRST]), "{what}: {left:?}");
            let got = take(&mut world, left[0]);
            let unique: std::collections::BTreeSet<&String> = got.iter().collect();
            assert!(unique.len() == got.len() && got.len() >= 2, "{what}: {got:?}");
            if refused {
                check(&world, since, got, &what);
            }
            at += 2;
        }
        assert!(at > 20, "{at} steps");
    }
}

#[test]
fn r12_a_home_that_refuses_is_asked_again_seldom_and_both_are_told() {
    // As an older relay would refuse it, for another reason: one has a queue, and one a group of that name.
    let mut world = network(3, &LINE);
    world.set_link(BRIDGE, false);
    world.settle();
    world.create_queue(FIRST, GROUP);
    world.subscribe_twin(OTHER, 0);
    put_all(&mut world, 1);
    join(&mut world);
    let mut asked = 0;
    for _ in 0..3_000 {
        world.wait_ms(100);
        for (wire, end) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let asks = |said: &LinkMessage| matches!(said, LinkMessage::Move(frame) if matches!(frame.says, MoveSays::Prepare { .. }));
            asked +=
                usize::from(wire == 1) * world.moves_on(wire, end).iter().filter(|said| asks(said)).count();
            while world.arrive_at(wire, end) {}
        }
        (0..3).for_each(|node| world.sync(node));
    }
    let told = world.tell_moves(FIRST) + &world.tell_moves(OTHER);
    assert!(
        (3..=8).contains(&asked),
        "{asked} times in five minutes: {:?} {told} {:?}",
        serving(&world),
        warned(&mut world, OTHER)
    );
    assert_eq!(serving(&world), [FIRST, OTHER]);
    let warned = warned(&mut world, OTHER);
    assert!(warned.iter().any(|told| told.contains("not yet")), "{warned:?}");
}

#[test]
fn r12_a_home_that_loses_its_disk_meanwhile_leaves_one_home_to_which_everything_new_comes_once() {
    for wiped in [FIRST, OTHER] {
        for at in (0..400).step_by(7) {
            let what = format!("{wiped} is wiped at step {at}");
            let (mut world, ..) = taken_apart(Scene::default());
            world.wait_ms(crate::limits::MERGE_FIRST_MS);
            (0..at).for_each(|step| go_on_a_little(&mut world, step));
            world.wipe(wiped);
            world.heal_links();
            (0..60).for_each(|step| go_on_a_little(&mut world, step));
            (0..2).for_each(|_| move_on(&mut world));
            let told = world.tell_moves(FIRST) + &world.tell_moves(OTHER);
            let homes = serving(&world);
            assert!(homes.len() == 1 && !world.has_moves(), "{what}: {homes:?} {told}");
            let puts = world.oracle.puts();
            put_all(&mut world, 1);
            let got = take(&mut world, homes[0]);
            let unique: std::collections::BTreeSet<&String> = got.iter().collect();
            assert_eq!(unique.len(), got.len(), "{what}: {got:?}");
            for payload in world.oracle.payloads_since(puts) {
                assert!(unique.contains(&payload), "{what}: {payload} did not come: {got:?}");
            }
        }
    }
}

#[test]
fn r12_storms_in_which_names_have_two_homes_lose_nothing_and_bring_nothing_again() {
    let mut joined = 0;
    for seed in 0..40 {
        joined += twins(seed, 800).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    // Otherwise the storms show nothing.
    assert!(joined > 40, "{joined} homes were made one with another");
}

/// What a filter leaves out is nobody's ack.
#[test]
fn r12_what_the_filter_of_the_home_that_closes_passed_over_comes_at_the_other() {
    let mut world = network(3, &LINE);
    world.oracle.leave_order_of(GROUP);
    world.set_link(BRIDGE, false);
    world.settle();
    world.subscribe(FIRST, GROUP, "s");
    let (group, name) = names(FIRST, GROUP, "s");
    let level = SubscribeLevel::Local;
    let spec = SubscriptionSpec { filter: Some("x/#".to_owned()), level, ..SubscriptionSpec::default() };
    world.ask(OTHER, Request::SubscriptionCreate { group, name, spec }).unwrap();
    world.settle();
    join(&mut world);
    put_all(&mut world, 2);
    assert!(take(&mut world, OTHER).is_empty(), "it wants none of them");
    move_on(&mut world);
    assert_eq!(serving(&world), [FIRST]);
    let got = take(&mut world, FIRST);
    check(&world, 0, got, "filters that differ");
}

/// What waited for the disk was compared, and others were doubted that had not been told it.
#[test]
fn r12_a_storm_of_names_with_two_homes_that_failed_once_passes() {
    twins(43_000_013, 800).unwrap();
}

/// A home that starts again still knows what it was owed of an epoch that has finished since the two met.
#[test]
fn r12_what_was_acked_of_an_epoch_that_is_finished_does_not_come_again_after_a_start_of_a_home() {
    for taker in [FIRST, OTHER] {
        for is_restarted in [false, true] {
            let what = format!("acked at {taker}, restarted: {is_restarted}");
            let (mut world, since) = apart(Scene::default());
            join(&mut world);
            world.put(1, GROUP, 2);
            world.settle();
            // That epoch of its origin is over, and both homes have all of it.
            world.restart(1);
            world.put(1, GROUP, 1);
            // Receipts are said again, and that it is finished is told.
            for _ in 0..3 {
                world.settle();
                world.wait_ms(100);
            }
            world.settle();
            let mut got = take(&mut world, taker);
            assert_eq!(got.len(), 3, "{what}");
            world.settle();
            world.set_link(BRIDGE, false);
            world.settle();
            for _ in 0..3 {
                world.wait_ms(1_000);
                world.settle();
            }
            if is_restarted {
                world.restart(taker);
            }
            join(&mut world);
            move_on(&mut world);
            assert_eq!(serving(&world), [FIRST], "{what}");
            got.extend(take(&mut world, FIRST));
            check(&world, since, got, &what);
        }
    }
}
