//! Quotas and retention at the relay to which a subscription is on its way (R7).

use super::super::world::World;
use super::refused::{QUOTA, is_taken, line, of_each, pass};
use crate::topology::settings::{GroupSettings, SubscriptionPolicy};
use crate::wire::body::Request;

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

#[test]
fn r7_what_the_old_home_has_delivered_drops_nothing_that_stands_before_it() {
    let of_bytes =
        GroupSettings { subscription_quota_bytes: Some(1_000), subscription_quota_count: None, ..of_each() };
    for settings in [of_each(), of_bytes] {
        for policy in [SubscriptionPolicy::DropOldest, SubscriptionPolicy::Refuse] {
            let settings = GroupSettings { subscription_policy: policy, ..settings.clone() };
            let mut world = World::new(1, 4, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
            world.let_homes_move();
            world.subscribe(2, "g", "s");
            world.ask(2, Request::GroupSet { group: "g".parse().unwrap(), settings }).unwrap();
            world.settle();
            // The move waits for relay 3; the new home gets one message that the old one does not get, and
            // behind it all that the old one delivers.
            world.cut_off(3);
            world.settle();
            world.ask_to_move(1, 0, Some(0));
            for _ in 0..10 {
                world.wait_ms(120);
                world.settle();
            }
            world.set_link(0, false);
            world.put(0, "g", 1);
            for _ in 0..4 * QUOTA {
                assert!(is_taken(&mut world, 1));
                assert_eq!(world.drain(2, "g", "s").len(), 1);
            }
            world.bring_back(3);
            world.set_link(2, true);
            for _ in 0..20 {
                world.wait_ms(120);
                world.settle();
            }
            world.heal_links();
            for _ in 0..20 {
                world.wait_ms(1_000);
                world.settle();
            }
            assert_eq!(world.home_now(0), Some(0), "{}", world.tell_moves(2));
            if policy == SubscriptionPolicy::Refuse {
                assert!(is_taken(&mut world, 1), "{:?}", world.nodes[1].refusal);
            }
            assert_eq!(world.nodes[0].gaps, 0);
            let got = world.take_at(0, 0);
            assert_eq!(got.len(), if policy == SubscriptionPolicy::Refuse { 2 } else { 1 }, "{got:?}");
            assert_eq!(world.nodes[0].gaps, 0);
        }
    }
}
