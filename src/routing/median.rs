//! Where a shared tree begins: the relay from which the others are nearest in sum.

use crate::routing::grow::World;
use crate::routing::map::{Place, UNREACHABLE};

/// Where a tree begins, and by how much that was the best choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Median {
    pub(crate) place: Place,
    /// The least sum of another relay that may be chosen instead when distances change.
    pub(crate) rivals: u64,
}

/// No other relay may be chosen, whatever changes.
pub(crate) const NO_OTHER: u64 = u64::MAX;

/// The 1-median of some relays: the one of them that reaches most of the others first, transit
/// relays next, then the one from which the others are nearest in sum.
pub(crate) fn median(
    world: World<'_>,
    terminals: &[Place],
    ranks: &[u16],
    sums: &mut Sums,
) -> Option<Median> {
    sums.find(world, terminals);
    let worst = (u32::MAX, true, u64::MAX, u16::MAX, Place::default());
    let (mut best, mut second) = (worst, worst);
    for (&place, &(missed, sum)) in terminals.iter().zip(&sums.0) {
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
    let rivals = if is_rival { second.2 } else { NO_OTHER };
    (!terminals.is_empty()).then_some(Median { place: best.4, rivals })
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

/// From each of some relays: how many of the others cannot be reached, and how far the rest are in
/// sum. A buffer that is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums(Vec<(u32, u64)>);

impl Sums {
    fn find(&mut self, world: World<'_>, terminals: &[Place]) {
        let Self(sums) = self;
        sums.clear();
        // Distances are the same both ways: each is looked up once.
        for (at, &from) in terminals.iter().enumerate() {
            let row = world.distances.row(from);
            let (mut missed, mut sum) = (0, 0);
            for (terminal, (their_missed, their_sum)) in terminals[..at].iter().zip(sums.iter_mut()) {
                let distance = row[terminal.index()];
                if distance == UNREACHABLE {
                    missed += 1;
                    *their_missed += 1;
                } else {
                    sum += u64::from(distance);
                    *their_sum += u64::from(distance);
                }
            }
            sums.push((missed, sum));
        }
    }
}
