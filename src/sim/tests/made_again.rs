//! A home that has lost its disk, was made again from what others know, and starts once more (R3, R12).

use super::super::world::{World, names};
use super::LINE;
use super::moves::{NEW, OLD, at_each_step, go_on, go_on_a_little, homes_of, serving};

/// What it was made again from stands in its snapshot: the word of the new home, which was away, counts against that.
#[test]
fn r12_an_old_home_that_was_made_again_and_starts_once_more_makes_no_two_homes() {
    let mut made_again = 0;
    at_each_step(|is_queue, at, mut world| {
        let what = format!("queue: {is_queue}, step {at}");
        let before = serving(&world, is_queue);
        world.set_link(1, false);
        world.wipe(OLD);
        world.set_link(0, true);
        go_on(&mut world);
        world.save(OLD);
        world.crash(OLD);
        world.start(OLD);
        world.set_link(0, true);
        go_on(&mut world);
        made_again += usize::from(before == [NEW] && serving(&world, is_queue).contains(&OLD));
        world.heal_links();
        (0..200).for_each(|step| go_on_a_little(&mut world, step));
        go_on(&mut world);
        let homes = serving(&world, is_queue);
        assert_eq!(homes.len(), 1, "{what}: {homes:?} after {before:?}");
        assert!(before != [NEW] || homes == [NEW], "{what}: {homes:?} after {before:?}");
        let home = format!("r{:02}", homes[0]);
        assert_eq!(homes_of(&mut world, "g"), [&home[..]; 3], "{what}");
    });
    assert!(made_again > 10, "it was made again beside its new home {made_again} times");
}

/// What only the lost disk had is told as lost, though the home starts again before it hears of it.
#[test]
fn r3_what_only_a_lost_disk_had_is_told_though_the_home_starts_again_from_a_snapshot() {
    let mut made_again = 0;
    for steps in 0..120 {
        let mut world = World::new(1, 3, &LINE);
        world.subscribe(2, "g", "s");
        world.put(0, "g", 3);
        world.settle();
        world.rest();
        world.wipe(2);
        world.set_link(1, true);
        (0..steps).for_each(|step| go_on_a_little(&mut world, step));
        let (group, name) = names(2, "g", "s");
        let is_there = world.nodes[2].serves(&group, &name);
        made_again += usize::from(is_there);
        world.save(2);
        world.crash(2);
        world.start(2);
        world.heal_links();
        world.settle();
        world.put(0, "g", 1);
        world.settle();
        assert_eq!(world.drain(2, "g", "s").len(), 1, "step {steps}");
        assert_eq!(world.nodes[2].gaps, 1, "step {steps}, made again: {is_there}");
    }
    assert!(made_again > 20, "it was there before the snapshot {made_again} times");
}
