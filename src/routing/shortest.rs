//! Distances between all relays over live links, kept up to date link by link.
//!
//! A path goes through transit relays only; any relay may be at its ends. Costs
//! are the same both ways, so distances are too. Only distances are kept: the
//! relays on a path follow from them, since the one before `v` on the way from
//! `s` is any transit neighbour `u` with `distance(s, u) + cost(u, v) =
//! distance(s, v)`. That halves the memory and keeps every tie open, so that
//! trees of different groups can take different ways of one length.
//!
//! From scratch: one search with buckets per relay (Dijkstra
//! 1959). After a change of one link: for each source that the link matters to,
//! only the relays whose distance changes are looked at (Ramalingam and Reps
//! 1996), on average about seven per source in a sparse network.
//!
//! Memory: 4 bytes per pair of relays.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::routing::bucket::Buckets;
use crate::routing::map::{End, LinkChange, Map, Place, UNREACHABLE};

/// The distances between all relays of one map, in the unit of the links' costs.
/// A way dearer than 2³²−2 is no way.
#[derive(Clone, Debug)]
pub struct Distances {
    relay_count: usize,
    /// Row by row: from each relay to all.
    cells: Vec<u32>,
    repair: Repair,
}

impl PartialEq for Distances {
    fn eq(&self, other: &Self) -> bool {
        self.cells == other.cells
    }
}

impl Eq for Distances {}

impl Distances {
    /// All distances of `map`. O(n·(n + m)) for n relays and m links.
    #[must_use]
    pub fn new(map: &Map) -> Self {
        let relay_count = map.relay_count();
        let mut cells = vec![UNREACHABLE; relay_count * relay_count];
        let (least, greatest) = map.cost_range().unwrap_or((1, 1));
        let mut queue = Buckets::new(least, greatest);
        for (source, row) in map.places().zip(cells.chunks_exact_mut(relay_count.max(1))) {
            search(map, source, row, &mut queue);
        }
        Self { relay_count, cells, repair: Repair::new(relay_count) }
    }

    /// The distance between two relays; none when there is no way.
    #[must_use]
    pub fn between(&self, one: Place, other: Place) -> Option<u32> {
        Some(self.row(one)[other.index()]).filter(|&distance| distance != UNREACHABLE)
    }

    /// The distances from one relay to all, [`UNREACHABLE`] where there is no way.
    pub(crate) fn row(&self, source: Place) -> &[u32] {
        let at = source.index() * self.relay_count;
        &self.cells[at..at + self.relay_count]
    }

    /// The relay before `place` on the shortest path from `source`: of several
    /// the one with the lowest place. `map` is the map of these distances.
    #[must_use]
    pub fn predecessor(&self, map: &Map, source: Place, place: Place) -> Option<Place> {
        let row = self.row(source);
        steps(map, row, source, place).next()
    }

    /// The shortest path, both ends included, by lowest predecessors from its
    /// end; none when there is no way.
    #[must_use]
    pub fn path(&self, map: &Map, source: Place, to: Place) -> Option<Vec<Place>> {
        self.between(source, to)?;
        let mut path = vec![to];
        while let Some(before) = self.predecessor(map, source, path[path.len() - 1]) {
            path.push(before);
        }
        path.reverse();
        Some(path)
    }

    /// Brings the distances up to date after a change of one link. `map` is the
    /// map after the change. Costs about as many steps as distances change,
    /// times the links of a relay.
    ///
    /// The result is that of [`Distances::new`], whatever came before.
    pub fn update(&mut self, map: &Map, change: LinkChange) {
        let before = change.before.unwrap_or(UNREACHABLE);
        let after = change.after.unwrap_or(UNREACHABLE);
        if before == after || self.relay_count == 0 {
            return;
        }
        let [one, other] = change.between;
        for (source, row) in map.places().zip(self.cells.chunks_exact_mut(self.relay_count)) {
            for (from, to) in [(one, other), (other, one)] {
                if !passes(map, source, from) {
                    continue;
                }
                let start = row[from.index()];
                let reached = row[to.index()];
                if after < before {
                    let through = start.saturating_add(after);
                    if through < reached {
                        self.repair.shorten(map, source, row, to, through);
                    }
                } else if reached != UNREACHABLE && start.saturating_add(before) == reached {
                    self.repair.lengthen(map, source, row, to);
                }
            }
        }
    }
}

/// Whether a path from `source` may go on at `place`.
fn passes(map: &Map, source: Place, place: Place) -> bool {
    place == source || map.is_transit(place)
}

/// Whether a shortest path of a relay that is so far from the one of `row` may go on over this link.
#[inline]
pub(crate) fn is_nearer(row: &[u32], distance: u32, end: &End) -> bool {
    row[usize::from(end.to)].saturating_add(end.cost) == distance
}

/// The neighbours one step nearer to `source` on shortest paths, by place.
pub(crate) fn steps<'m>(
    map: &'m Map,
    row: &'m [u32],
    source: Place,
    place: Place,
) -> impl Iterator<Item = Place> + use<'m> {
    let distance = row[place.index()];
    let is_step = move |end: &&End| {
        distance != UNREACHABLE
            && distance != 0
            && is_nearer(row, distance, end)
            && passes(map, source, Place(end.to))
    };
    map.ends(place).iter().filter(is_step).map(|end| Place(end.to))
}

/// All distances from one relay.
fn search(map: &Map, source: Place, row: &mut [u32], queue: &mut Buckets) {
    row[source.index()] = 0;
    queue.start();
    queue.push(source.0, 0);
    while let Some((relay, distance)) = queue.pop() {
        let place = Place(relay);
        // A shorter way was found since, or the path may not go on here.
        if row[place.index()] != distance || !passes(map, source, place) {
            continue;
        }
        for end in map.ends(place) {
            let through = distance.saturating_add(end.cost);
            let known = &mut row[usize::from(end.to)];
            if through < *known {
                *known = through;
                queue.push(end.to, through);
            }
        }
    }
}

/// What repairs one row at a time; the buffers are used again.
#[derive(Clone, Debug)]
struct Repair {
    heap: BinaryHeap<Reverse<(u32, u16)>>,
    is_longer: Vec<bool>,
    longer: Vec<u16>,
}

impl Repair {
    fn new(relay_count: usize) -> Self {
        Self { heap: BinaryHeap::new(), is_longer: vec![false; relay_count], longer: Vec::new() }
    }

    /// `to` is now at `distance`, which is less than before.
    fn shorten(&mut self, map: &Map, source: Place, row: &mut [u32], to: Place, distance: u32) {
        row[to.index()] = distance;
        self.heap.push(Reverse((distance, to.0)));
        self.spread(map, source, row);
    }

    /// A link by which a shortest path came to `to` is dearer or gone.
    fn lengthen(&mut self, map: &Map, source: Place, row: &mut [u32], to: Place) {
        self.find_longer(map, source, row, to);
        for &relay in &self.longer {
            row[usize::from(relay)] = UNREACHABLE;
        }
        for &relay in &self.longer {
            let ends = map.ends(Place(relay)).iter();
            // The others of `longer` stand at UNREACHABLE or at a length that is
            // an upper bound already: both are sound starting points.
            let open = ends.filter(|end| passes(map, source, Place(end.to)));
            let best = open.map(|end| row[usize::from(end.to)].saturating_add(end.cost)).min();
            if let Some(distance) = best.filter(|&distance| distance != UNREACHABLE) {
                row[usize::from(relay)] = distance;
                self.heap.push(Reverse((distance, relay)));
            }
            self.is_longer[usize::from(relay)] = false;
        }
        self.longer.clear();
        self.spread(map, source, row);
    }

    /// Finds all relays that no shortest path of the old length leads to any
    /// more, nearest first: when one is looked at, it is known of all that could
    /// come before it whether their distances stand.
    fn find_longer(&mut self, map: &Map, source: Place, row: &[u32], to: Place) {
        self.heap.push(Reverse((row[to.index()], to.0)));
        while let Some(Reverse((_, relay))) = self.heap.pop() {
            let place = Place(relay);
            if self.is_longer[place.index()] {
                continue;
            }
            if steps(map, row, source, place).any(|before| !self.is_longer[before.index()]) {
                continue;
            }
            self.is_longer[place.index()] = true;
            self.longer.push(relay);
            if !passes(map, source, place) {
                continue;
            }
            for end in map.ends(place) {
                let known = row[usize::from(end.to)];
                if known != UNREACHABLE && row[place.index()].saturating_add(end.cost) == known {
                    self.heap.push(Reverse((known, end.to)));
                }
            }
        }
    }

    /// Dijkstra from what is in the heap.
    fn spread(&mut self, map: &Map, source: Place, row: &mut [u32]) {
        while let Some(Reverse((distance, relay))) = self.heap.pop() {
            let place = Place(relay);
            if row[place.index()] != distance || !passes(map, source, place) {
                continue;
            }
            for end in map.ends(place) {
                let through = distance.saturating_add(end.cost);
                let known = &mut row[usize::from(end.to)];
                if through < *known {
                    *known = through;
                    self.heap.push(Reverse((through, end.to)));
                }
            }
        }
    }
}
