//! Quotas and retention at the relay to which a subscription is on its way (R7).

use super::super::world::World;
use super::refused::{QUOTA, is_taken, line, of_each, pass};
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};

/// A subscription is to move from relay 3 to relay 2. The move waits for relay 0, and who receives is served at
/// relay 3 as ever.
fn on_its_way(settings: GroupSettings) -> World {
    let mut world = line(settings);
    world.let_homes_move();
    world.cut_off(0);
    world.settle();
    world.ask_to_move(1, 0, Some(2));
    for _ in 0..10 {
        world.wait_ms(120);
        world.settle();
    }
    world
}

#[test]
fn r7_a_subscription_that_is_on_its_way_to_a_relay_holds_nothing_back_there() {
    let mut world = on_its_way(of_each());
    for n in 0..3 * QUOTA {
        assert!(is_taken(&mut world, 1), "message {n}: {:?}", world.nodes[1].refusal);
        assert_eq!(world.drain(3, "g", "s").len(), 1);
        pass(&mut world);
    }
}

#[test]
fn r7_what_the_old_home_has_delivered_is_no_gap_at_the_new_one() {
    for settings in [
        GroupSettings { max_count: Some(QUOTA), ..GroupSettings::default() },
        GroupSettings { subscription_policy: SubscriptionPolicy::DropOldest, ..of_each() },
    ] {
        let mut world = on_its_way(settings.clone());
        for _ in 0..4 * QUOTA {
            assert!(is_taken(&mut world, 1));
            assert_eq!(world.drain(3, "g", "s").len(), 1);
        }
        for _ in 0..3 {
            world.wait_ms(1_000);
            world.settle();
        }
        world.bring_back(0);
        world.heal_links();
        for _ in 0..20 {
            world.wait_ms(1_000);
            world.settle();
        }
        assert!(world.home_now(0) == Some(2) && !world.has_moves(), "{}", world.tell_moves(3));
        assert!(world.take_at(2, 0).is_empty(), "all of it was had at the old home");
        assert_eq!(world.nodes[2].gaps, 0, "{settings:?}");
    }
}
