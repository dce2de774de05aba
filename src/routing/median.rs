//! Where a shared tree begins: the relay from which the others are nearest in sum.

use crate::routing::grow::World;
use crate::routing::map::{Place, UNREACHABLE};

/// Where a tree begins, and by how much that was the best choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Median {
    pub(crate) place: Place,
    /// By how much the sums of this relay and another one must at least move towards each other
    /// before the other one may be chosen.
    pub(crate) margin: u64,
}

/// What no change of distances uses up.
pub(crate) const NO_OTHER: u64 = u64::MAX;

/// The 1-median of some relays: the one of them that reaches most of the others first, transit
/// relays next, then the one from which the others are nearest in sum.
pub(crate) fn median(world: World<'_>, terminals: &[Place], ranks: &[u16]) -> Option<Median> {
    let worst = (u32::MAX, true, u64::MAX, u16::MAX, Place::default());
    let (mut best, mut second) = (worst, worst);
    for &place in terminals {
        let (missed, sum) = sum_to(world, place, terminals);
        let worth = (missed, !world.map.is_transit(place), sum, ranks[place.index()], place);
        if worth < best {
            (best, second) = (worth, best);
        } else if worth < second {
            second = worth;
        }
    }
    // One that reaches fewer, or is no transit, comes later whatever its sum. A tree of which nobody
    // reaches all is odd.
    let is_rival = (second.0, second.1) == (best.0, best.1);
    let margin = if is_rival { second.2 - best.2 } else { NO_OTHER };
    (!terminals.is_empty()).then_some(Median { place: best.4, margin })
}

/// How many relays cannot be reached from one, and how far the others are in sum.
pub(crate) fn sum_to(world: World<'_>, from: Place, terminals: &[Place]) -> (u32, u64) {
    let row = world.distances.row(from);
    terminals.iter().fold((0, 0), |(missed, sum), terminal| {
        let distance = row[terminal.index()];
        let is_missed = distance == UNREACHABLE;
        (missed + u32::from(is_missed), sum + if is_missed { 0 } else { u64::from(distance) })
    })
}
