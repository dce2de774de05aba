//! Producers beside more of them than a relay remembers.

use super::super::world::World;
use crate::id::{ProducerId, ProducerSequence};
use crate::wire::frame::AckLevel;

/// As many as a table has room for, each with an id that ends with its process; no link says which these are.
#[test]
fn r1_processes_that_have_ended_elsewhere_push_out_no_producer() {
    let mut world = World::new(1, 3, &[(0, 1, 1), (1, 2, 1)]);
    world.subscribe(1, "g", "s");
    world.set_link(1, false);
    world.settle();
    world.put_as(2, "g", 1, &["x"]);
    world.settle();
    // Its answer is lost, and it goes on elsewhere.
    world.put_as(0, "g", 1, &["x"]);
    world.settle();
    world.pass_ms(1_000);
    let group = "g".parse().expect("a name");
    let handle = world.nodes[0].open(world.now, &group);
    for id in 0..crate::limits::PRODUCERS_MAX as u64 {
        let producer = Some((ProducerId::passing(id.into()), ProducerSequence(1)));
        let put = (handle, 2_000_000 + id);
        world.nodes[0].put_as(world.now, put, &["t".to_owned()], (AckLevel::Accepted, 0), producer);
        world.collect(0);
    }
    world.settle();
    world.heal_links();
    world.settle();
    let got = world.drain(1, "g", "s");
    assert_eq!(got.iter().filter(|payload| *payload == "x").count(), 1, "P3");
}
