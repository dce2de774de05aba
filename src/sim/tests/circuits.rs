//! Get, poll and notify at any relay: receivers whose subscription or queue lives elsewhere (R12).

use super::super::storms::{Weather, storm_with};
use super::super::world::{World, names};
use super::LINE;
use crate::limits;
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Notice, RefusalCode, Reply, Request, SubscriptionSpec};
use crate::wire::circuit::{CircuitFrame, CircuitHead, CircuitId, CircuitSays};
use crate::wire::link::LinkMessage;

fn queue(world: &mut World, home: usize, name: &str) {
    let create = Request::GroupCreate {
        group: name.parse().unwrap(),
        settings: GroupSettings::default(),
        queue: true,
    };
    assert_eq!(world.ask(home, create), Ok(Reply::Done));
    world.settle();
}

/// Begins to receive at a relay from a queue that lives elsewhere.
fn attach_queue(world: &mut World, node: usize, name: &str) -> u32 {
    let attach = Request::Attach { group: name.parse().unwrap(), name: None, create: None };
    match world.ask_network(node, attach) {
        Some(Ok(Reply::SubscriptionHandle { handle, .. })) => handle,
        other => panic!("{other:?}"),
    }
}

/// Polls at a relay; what came, and the index behind it.
fn poll_to(world: &mut World, node: usize, handle: u32, messages: u64) -> (Vec<String>, u64) {
    let answer = world.ask_network(node, Request::Poll { handle, messages });
    let got = std::mem::take(&mut world.nodes[node].got);
    assert_eq!(answer, Some(Ok(Reply::Polled { messages: got.len() as u64 })));
    let end = got.last().map_or(0, |last| last.index + 1);
    (got.into_iter().map(|got| got.payload).collect(), end)
}

fn poll(world: &mut World, node: usize, handle: u32, messages: u64) -> Vec<String> {
    poll_to(world, node, handle, messages).0
}

/// The receivers of a subscription, as its home says.
fn receivers(world: &mut World, home: usize, group: &str, name: &str) -> u32 {
    let (group, name) = names(home, group, name);
    match world.ask(home, Request::SubscriptionShow { group, name }) {
        Ok(Reply::Subscription(info)) => info.receivers,
        other => panic!("{other:?}"),
    }
}

/// Begins to receive at a relay from a subscription that lives at `home`.
fn attach_at(world: &mut World, node: usize, (home, group, name): (usize, &str, &str)) -> u32 {
    let (group, name) = names(home, group, name);
    match world.ask_network(node, Request::Attach { group, name: Some(name), create: None }) {
        Some(Ok(Reply::SubscriptionHandle { handle, created: false, .. })) => handle,
        other => panic!("{other:?}"),
    }
}

/// What has come at a relay.
fn got(world: &mut World, node: usize) -> Vec<String> {
    world.nodes[node].got.drain(..).map(|got| got.payload).collect()
}

/// Something that the home or the opener of the first circuit of relay 0 says, with a number of its own.
fn said(home: &str, is_back: bool, sequence: u64, says: CircuitSays) -> LinkMessage {
    let circuit = CircuitId { opener: "r00".parse().unwrap(), boot: 1, number: 1 };
    let head = CircuitHead { circuit, home: home.parse().unwrap(), is_back, sequence, hops: 9 };
    LinkMessage::Circuit(Box::new(CircuitFrame { head, says }))
}

#[test]
fn p4_who_receives_elsewhere_is_handed_the_order_of_the_home_and_told_what_was_not_waited_for() {
    const HOLD_MS: u64 = 300;
    let mut world = World::new(1, 3, &LINE);
    world.begin_moving(0, HOLD_MS, false);
    world.subscribe(2, "m", "s");
    let handle = attach_at(&mut world, 0, (2, "m", "s"));
    world.credit(0, handle);
    world.settle();
    for (node, sequence) in [(0, 1), (1, 3), (2, 2), (0, 5)] {
        world.put_as(node, "m", sequence, &[&sequence.to_string()]);
        world.settle();
    }
    assert_eq!(
        (got(&mut world, 0), world.nodes[0].unordered.len()),
        (["1", "2", "3"].map(str::to_owned).to_vec(), 0)
    );
    world.wait_ms(HOLD_MS);
    world.settle();
    assert_eq!(got(&mut world, 0), ["5"]);
    let [Notice::Unordered { handle: told, missing: Some(missing), .. }] = world.nodes[0].unordered[..]
    else {
        panic!("{:?}", world.nodes[0].unordered)
    };
    assert_eq!((told, missing.from.0, missing.to.0), (handle, 4, 5));
}

#[test]
fn r12_a_queue_is_polled_two_links_away_and_its_acks_are_durable_at_its_home() {
    let mut world = World::new(1, 3, &LINE);
    queue(&mut world, 2, "jobs");
    world.put(0, "jobs", 3);
    world.settle();
    let handle = attach_queue(&mut world, 0, "jobs");
    let (first, end) = poll_to(&mut world, 0, handle, 2);
    assert_eq!(first.len(), 2);
    world.ack(0, handle, (0, end));
    assert_eq!(world.ask_network(0, Request::Sync), Some(Ok(Reply::Done)));
    // What was acked is done with, also when the home comes back from its disk.
    world.crash(2);
    world.heal();
    assert_eq!(world.nodes[0].detached.len(), 1, "the receiver is told");
    let handle = attach_queue(&mut world, 0, "jobs");
    assert_eq!(poll(&mut world, 0, handle, 10).len(), 1, "the one that was not taken");
    assert_eq!(poll(&mut world, 0, handle, 10).len(), 0);
}

#[test]
fn r12_a_home_that_cannot_be_reached_is_named_and_nothing_is_made_in_its_place() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    let (group, name) = names(2, "g", "s");
    world.set_link(1, false);
    world.settle();
    let create = Some(SubscriptionSpec::default());
    let attach = Request::Attach { group: group.clone(), name: Some(name.clone()), create };
    let Some(Err(refusal)) = world.ask_network(0, attach.clone()) else {
        panic!("it is attached to nothing")
    };
    assert!(refusal.code == RefusalCode::NotReady && refusal.message.contains("relay r02"), "{refusal:?}");
    world.set_link(1, true);
    world.settle();
    let Some(Ok(Reply::SubscriptionHandle { created, .. })) = world.ask_network(0, attach) else {
        panic!("it is not attached")
    };
    assert!(!created);
    let located = world.ask(0, Request::Locate { group: group.to_string(), prefix: false, after: None });
    let Ok(Reply::Located(located)) = located else { panic!("{located:?}") };
    assert_eq!(located.len(), 1, "one name, one home: {located:?}");
}

#[test]
fn r12_receivers_at_several_relays_share_one_backlog_or_take_it_over() {
    let mut world = World::new(1, 3, &LINE);
    queue(&mut world, 1, "jobs");
    let handles = [0, 1, 2].map(|node| attach_queue(&mut world, node, "jobs"));
    world.put(0, "jobs", 3);
    world.put(2, "jobs", 3);
    world.settle();
    let mut all: Vec<String> = Vec::new();
    for (node, handle) in handles.into_iter().enumerate() {
        let part = poll(&mut world, node, handle, 2);
        assert_eq!(part.len(), 2, "at relay {node}");
        all.extend(part);
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6, "each message to one of them");
    // A subscription that is not shared has one receiver, wherever it is.
    world.subscribe(1, "g", "s");
    let first = attach_at(&mut world, 0, (1, "g", "s"));
    let second = attach_at(&mut world, 2, (1, "g", "s"));
    assert!(
        world.nodes[0]
            .detached
            .iter()
            .any(|(handle, why)| *handle == first && why.code == RefusalCode::Exists)
    );
    world.credit(2, second);
    world.put(0, "g", 2);
    world.settle();
    assert_eq!((got(&mut world, 0).len(), got(&mut world, 2).len()), (0, 2));
    assert_eq!(receivers(&mut world, 1, "g", "s"), 1);
}

#[test]
fn r12_an_application_that_does_not_read_holds_no_more_than_a_window() {
    let mut world = World::new(1, 3, &LINE);
    queue(&mut world, 2, "jobs");
    let big = "x".repeat(100_000);
    for number in 0..60 {
        world.put_as(2, "jobs", number, &[&big]);
    }
    world.settle();
    let handle = attach_queue(&mut world, 0, "jobs");
    world.nodes[0].reads = false;
    world.credit(0, handle);
    world.settle();
    world.rest();
    let held = world.nodes[0].got_bytes;
    let most = limits::CIRCUIT_WINDOW_BYTES_MAX + 2 * big.len() as u64;
    assert!((100_000..most).contains(&held), "{held} bytes are held for it");
    world.nodes[0].reads = true;
    world.read(0);
    world.settle();
    assert_eq!(got(&mut world, 0).len(), 60);
}

#[test]
fn r12_a_hole_ends_the_circuit_at_both_ends_and_what_came_is_delivered_again() {
    for (is_back, sequence) in [(true, 77), (true, 0), (false, 77), (false, 0)] {
        let mut world = World::new(1, 3, &LINE);
        queue(&mut world, 2, "jobs");
        world.put(0, "jobs", 2);
        world.settle();
        let handle = attach_queue(&mut world, 0, "jobs");
        let before = poll(&mut world, 0, handle, 1);
        // From the relay between, as if something before it was lost, or as it came before.
        let says = if is_back { CircuitSays::Pong } else { CircuitSays::Ping };
        world.inject(usize::from(!is_back), usize::from(!is_back), said("r02", is_back, sequence, says));
        world.settle();
        let told = world.nodes[0].detached.first().map(|(of, why)| (*of, why.code));
        assert_eq!(told, Some((handle, RefusalCode::NotReady)), "{is_back} {sequence}");
        assert_eq!(receivers(&mut world, 2, "jobs", "queue"), 0, "{is_back} {sequence}");
        let handle = attach_queue(&mut world, 0, "jobs");
        assert_eq!(poll(&mut world, 0, handle, 9)[..1], before[..], "it was not acked");
    }
}

/// A queue two links away, and an ack to it that has gone nowhere.
fn with_a_lost_ack() -> World {
    let mut world = World::new(1, 3, &LINE);
    queue(&mut world, 2, "jobs");
    world.put(0, "jobs", 1);
    world.settle();
    let handle = attach_queue(&mut world, 0, "jobs");
    let (_, end) = poll_to(&mut world, 0, handle, 1);
    world.set_link(1, false);
    world.ack(0, handle, (0, end));
    world
}

#[test]
fn r12_acks_that_may_be_lost_are_told_by_the_sync_behind_them() {
    let mut world = with_a_lost_ack();
    let Some(Err(refusal)) = world.ask_network(0, Request::Sync) else { panic!("the ack went nowhere") };
    assert_eq!(refusal.code, RefusalCode::NotReady);
    // The same when the circuit is found to be lost before the sync is asked for.
    for asks_before in [false, true] {
        world.set_link(1, true);
        world.settle();
        let handle = attach_queue(&mut world, 0, "jobs");
        let (_, end) = poll_to(&mut world, 0, handle, 1);
        assert!(end > 0, "it comes again");
        world.set_link(1, false);
        world.ack(0, handle, (0, end));
        if asks_before {
            world.ask_network(0, Request::Detach { handle });
        }
        world.rest();
        assert!(matches!(world.ask_network(0, Request::Sync), Some(Err(_))), "detached: {asks_before}");
        assert_eq!(world.ask_network(0, Request::Sync), Some(Ok(Reply::Done)), "told once");
    }
}

#[test]
fn r12_a_sync_behind_another_one_is_not_answered_before_it() {
    let mut world = with_a_lost_ack();
    // Two receivers of one session ask, and the ack has gone nowhere.
    let now = world.now;
    let syncs = [(); 2].map(|()| world.nodes[0].begin(now, Request::Sync));
    world.settle();
    world.rest();
    let answers = syncs.map(|sync| world.nodes[0].take_answer(sync));
    assert!(answers.iter().all(|answer| matches!(answer, Some(Err(_)))), "{answers:?}");
}

#[test]
fn r12_a_sync_is_told_that_acks_are_lost_when_another_receiver_takes_over_at_the_home() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 1);
    world.settle();
    let handle = attach_at(&mut world, 0, (2, "g", "s"));
    world.credit(0, handle);
    world.settle();
    let end = world.nodes[0].got[0].index + 1;
    // Its ack comes to the home when that has given the message to somebody there.
    world.attach(2, "g", "s");
    world.ack(0, handle, (0, end));
    let Some(Err(refusal)) = world.ask_network(0, Request::Sync) else { panic!("the ack was not taken") };
    assert_eq!(refusal.code, RefusalCode::NotReady, "{refusal:?}");
    let told = world.nodes[0].detached.first().map(|(of, why)| (*of, why.code));
    assert_eq!(told, Some((handle, RefusalCode::Exists)));
    assert_eq!(got(&mut world, 2).len(), 1);
}

#[test]
fn r12_a_receiver_whose_relay_is_gone_is_let_go_at_the_home() {
    let mut world = World::new(1, 3, &LINE);
    queue(&mut world, 2, "jobs");
    attach_queue(&mut world, 0, "jobs");
    assert_eq!(receivers(&mut world, 2, "jobs", "queue"), 1);
    world.crash(0);
    world.settle();
    world.rest();
    assert_eq!(receivers(&mut world, 2, "jobs", "queue"), 0, "nothing is heard of it");
    // One that is back has forgotten it, and says so as soon as it is asked.
    world.heal();
    attach_queue(&mut world, 0, "jobs");
    assert_eq!(receivers(&mut world, 2, "jobs", "queue"), 1);
    world.crash(0);
    world.start(0);
    world.heal_links();
    world.settle();
    world.put(1, "jobs", 1);
    world.settle();
    world.rest();
    assert_eq!(receivers(&mut world, 2, "jobs", "queue"), 0);
}

#[test]
fn r12_nothing_is_made_by_the_way_before_a_neighbour_has_told_what_it_knows() {
    let mut world = World::new(1, 3, &LINE);
    world.crash(0);
    world.subscribe(2, "g", "s");
    world.start(0);
    let (group, name) = names(2, "g", "s");
    let attach = Request::Attach { group, name: Some(name), create: Some(SubscriptionSpec::default()) };
    let Some(Err(refusal)) = world.ask_network(0, attach.clone()) else { panic!("a twin was made") };
    assert_eq!(refusal.code, RefusalCode::NotReady, "{refusal:?}");
    world.heal_links();
    world.settle();
    let answer = world.ask_network(0, attach);
    assert!(matches!(answer, Some(Ok(Reply::SubscriptionHandle { created: false, .. }))), "{answer:?}");
}

#[test]
fn r12_a_subscription_is_shown_moved_and_removed_from_any_relay() {
    let mut world = World::new(1, 3, &LINE);
    world.subscribe(2, "g", "s");
    world.put(0, "g", 3);
    world.settle();
    let (group, name) = names(2, "g", "s");
    let show = Request::SubscriptionShow { group: group.clone(), name: name.clone() };
    let Some(Ok(Reply::Subscription(info))) = world.ask_network(0, show.clone()) else { panic!("not shown") };
    assert_eq!((info.home.as_str(), info.backlog), ("r02", 3));
    let start = crate::wire::body::Start::Now;
    let seek = Request::SubscriptionSeek { group: group.clone(), name: name.clone(), start };
    assert_eq!(world.ask_network(0, seek), Some(Ok(Reply::Done)));
    let Some(Ok(Reply::Subscription(info))) = world.ask_network(1, show.clone()) else { panic!("not shown") };
    assert_eq!(info.backlog, 0);
    // Made again as it is, it is the same one; made otherwise, it exists.
    let create = |shared| Request::SubscriptionCreate {
        group: group.clone(),
        name: name.clone(),
        spec: SubscriptionSpec { shared, ..SubscriptionSpec::default() },
    };
    assert_eq!(world.ask_network(0, create(false)), Some(Ok(Reply::Done)));
    assert!(matches!(world.ask_network(0, create(true)), Some(Err(why)) if why.code == RefusalCode::Exists));
    let remove = Request::SubscriptionRemove { group: group.clone(), name: name.clone() };
    assert_eq!(world.ask_network(0, remove), Some(Ok(Reply::Done)));
    world.settle();
    assert!(matches!(world.ask_network(0, show), Some(Err(why)) if why.code == RefusalCode::NotFound));
}

#[test]
fn r12_receivers_that_move_about_in_a_storm_get_everything_and_nothing_again_that_was_settled() {
    for seed in 0..60 {
        storm_with(seed, 400, 60).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

#[test]
fn r12_receivers_that_move_about_in_calm_weather_are_never_detached_without_cause() {
    let mut world = World::new(7, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 1)]);
    world.subscribe(0, "g", "s");
    world.subscribe(2, "g", "t");
    for _ in 0..2_000 {
        world.step(&Weather { roams: 50, ..Weather::CALM });
    }
    for node in &world.nodes {
        let lost: Vec<_> = node.detached.iter().filter(|(_, why)| why.code != RefusalCode::Exists).collect();
        assert!(lost.is_empty(), "{}: {lost:?}", node.name);
    }
    world.finish().unwrap();
}

#[test]
fn r12_a_name_at_a_queue_is_refused_in_the_same_way_at_every_relay() {
    let mut world = World::new(1, 3, &LINE);
    queue(&mut world, 2, "jobs");
    for (create, code) in
        [(None, RefusalCode::NotFound), (Some(SubscriptionSpec::default()), RefusalCode::Invalid)]
    {
        let attach =
            Request::Attach { group: "jobs".parse().unwrap(), name: Some("bob".parse().unwrap()), create };
        let refusals = [0, 1, 2].map(|node| world.ask_network(node, attach.clone()).unwrap().unwrap_err());
        assert!(refusals.iter().all(|refusal| refusal.code == code), "{refusals:?}");
        assert!(refusals.iter().all(|refusal| *refusal == refusals[2]), "{refusals:?}");
    }
    attach_queue(&mut world, 0, "jobs");
}
