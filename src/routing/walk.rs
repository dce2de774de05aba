//! The way from a tree to a relay that joins it, step by step over shortest paths.

use crate::routing::grow::{Grower, OFF, World};
use crate::routing::map::{End, Place};
use crate::routing::shortest::is_nearer;

/// A relay on the way to one that joins, and its distance from where the way leaves the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnWay {
    pub(crate) place: Place,
    pub(crate) way: u32,
}

impl Grower {
    /// Finds the shortest path from a relay of the tree to one outside; the path is
    /// left in `self.path`, from the last relay of the tree on it, which is returned.
    pub(crate) fn walk(&mut self, world: World<'_>, to: Place, from: u16, ranks: &[u16]) -> u16 {
        let row = world.distances.row(to);
        let mut last = from;
        let mut place = self.nodes[usize::from(from)].place();
        let mut start = row[place.index()];
        self.path.clear();
        while place != to {
            let only = self.only.of(world, to, place);
            place = only.unwrap_or_else(|| self.next_step(world, row, to, place, ranks));
            let left = row[place.index()];
            match self.at[place.index()] {
                OFF => self.path.push(OnWay { place, way: start - left }),
                at => {
                    last = at;
                    start = left;
                    self.path.clear();
                }
            }
        }
        last
    }

    /// Of several steps that lead nearer the one to take.
    fn next_step(&self, world: World<'_>, row: &[u32], to: Place, place: Place, ranks: &[u16]) -> Place {
        let left = row[place.index()];
        let passes = |end: &&End| end.to == to.0 || world.map.is_transit(Place(end.to));
        let open = world.map.ends(place).iter().filter(|end| is_nearer(row, left, end)).filter(passes);
        let choice = |end: &End| (self.at[usize::from(end.to)] == OFF, ranks[usize::from(end.to)], end.to);
        Place(open.map(choice).min().expect("a finite distance has a next step").2)
    }
}
