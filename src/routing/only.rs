//! Steps that are the only ones: most relays of a map with costs have one neighbour alone that is
//! on a shortest path to another relay, and which one that is does not depend on the tree.
//!
//! What was found is kept until a distance changes, on small maps: there many trees take the same
//! steps. On large ones hardly any step is taken twice, and the pairs would not fit into the
//! processor's cache.
//!
//! Memory: 2 bytes per pair of relays.

use crate::routing::grow::World;
use crate::routing::map::Place;
use crate::routing::shortest::is_nearer;

/// On maps of more relays nothing is kept.
const RELAYS_MAX: usize = 512;

const UNASKED: u16 = u16::MAX;
const SEVERAL: u16 = u16::MAX - 1;

const _: () = assert!(crate::limits::MAP_RELAYS_MAX <= SEVERAL as usize);

/// For pairs of relays the only step from one to the other, as far as it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct OnlySteps {
    relay_count: usize,
    /// Row by row: to each relay from all.
    steps: Vec<u16>,
    is_known: bool,
}

impl OnlySteps {
    /// A distance or the cost of a link has changed.
    pub(crate) fn forget(&mut self) {
        self.is_known = false;
    }

    /// To be called before the first step on a map of so many relays, and after [`forget`](Self::forget).
    pub(crate) fn begin(&mut self, relay_count: usize) {
        if self.is_known {
            return;
        }
        self.is_known = true;
        self.relay_count = relay_count;
        let kept = if relay_count <= RELAYS_MAX { relay_count * relay_count } else { 0 };
        self.steps.clear();
        self.steps.resize(kept, UNASKED);
    }

    /// The neighbour of `place` that is on every shortest path from there to `to`; none when there
    /// are several ways. There is one at least, and `place` is not `to`.
    #[inline]
    pub(crate) fn of(&mut self, world: World<'_>, to: Place, place: Place) -> Option<Place> {
        let Some(known) = self.steps.get_mut(to.index() * self.relay_count + place.index()) else {
            return find(world, to, place);
        };
        if *known == UNASKED {
            *known = find(world, to, place).map_or(SEVERAL, |only| only.0);
        }
        (*known != SEVERAL).then_some(Place(*known))
    }
}

fn find(world: World<'_>, to: Place, place: Place) -> Option<Place> {
    let row = world.distances.row(to);
    let left = row[place.index()];
    // Without a branch for each: which one it is cannot be foretold.
    let (mut count, mut only) = (0, 0);
    for end in world.map.ends(place) {
        let is_it = is_nearer(row, left, end);
        count += u32::from(is_it);
        only = if is_it { end.to } else { only };
    }
    (count == 1).then_some(Place(only))
}
