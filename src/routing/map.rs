//! The map: all relays, and the links between them that are up or configured.
//!
//! A link is *live* when both of its ends advertise it as up: one end alone may
//! not know yet that the other has gone. A link is *configured* when at least
//! one end advertises it, up or down. Where the two ends name different costs
//! the larger counts for both directions, so distances are the same both ways
//! and no relay is led to expect a better link than its neighbour sees. Of
//! parallel links the cheapest counts.
//!
//! A relay that is catching up makes each of its live links dearer by
//! [`CATCHING_UP_COST`]: it is then a leaf wherever another way exists, and still
//! a bridge where none does (ruling R8).
//!
//! The map is a pure function of a set of link states: their order does not matter.

use crate::id::RelayId;
use crate::limits;
use crate::routing::linkstate::LinkState;
use crate::routing::tree::Algorithm;
use crate::topology::{COST_MAX, Topology};

/// The distance, and the cost of a link, that stands for "no way".
pub(crate) const UNREACHABLE: u32 = u32::MAX;

/// What a link costs more per end that is catching up: more than any detour of
/// links whose costs are sensible.
pub const CATCHING_UP_COST: u32 = COST_MAX;

/// What a link costs of itself, without what its ends make it dearer by.
#[must_use]
pub(crate) fn bare_cost(live: u32) -> u32 {
    live.checked_sub(1).map_or(0, |above| above % COST_MAX + 1)
}

/// A relay in one [`Map`]: its position in the sorted list of names. It means
/// nothing in another map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u16);

impl Place {
    /// The position as an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The place at an index that is below the number of relays.
    pub(crate) fn at(index: usize) -> Self {
        Self(u16::try_from(index).expect("a map has at most MAP_RELAYS_MAX relays"))
    }
}

const _: () = assert!(limits::MAP_RELAYS_MAX <= u16::MAX as usize);

/// Why link states do not make a map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// More relays than [`limits::MAP_RELAYS_MAX`], those that are only mentioned among them.
    #[error("the network has {found} relays; at most {max} are allowed")]
    TooManyRelays {
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
}

/// What a relay is for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Whether it passes on what is not its own.
    pub transit: bool,
    /// The most children it takes in one tree, at least 1; not set: no limit.
    pub max_children: Option<u32>,
}

/// One end of a link as the search sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The relay at the other end.
    pub(crate) to: u16,
    /// The live cost; [`UNREACHABLE`] while the link is down.
    pub(crate) cost: u32,
}

/// A link with its live cost (none: it is down) and its configured cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapLink {
    /// The relays at its ends, the lesser first.
    pub between: [Place; 2],
    /// What it costs while it is up.
    pub live: Option<u32>,
    /// What it would cost.
    pub configured: u32,
}

/// A change of the live cost of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkChange {
    /// The relays at its ends, the lesser first.
    pub between: [Place; 2],
    /// The cost before; none: it was down.
    pub before: Option<u32>,
    /// The cost after; none: it is down.
    pub after: Option<u32>,
}

/// All relays and links. Two maps of the same states are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    relays: Vec<RelayId>,
    traits: Vec<Traits>,
    /// Where the ends at each relay begin in `ends`; one more for the end of the last.
    first: Vec<u32>,
    ends: Vec<End>,
    /// The configured cost of each of `ends`.
    configured: Vec<u32>,
    algorithm: Algorithm,
}

/// One advertised end before it is joined with the other one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Half {
    between: [u16; 2],
    from: u16,
    is_down: bool,
    cost: u32,
}

impl Map {
    /// The map of `states`, at most one per relay, in any order. Relays that are
    /// only advertised as neighbours are on it, and so are those of `others`
    /// (members without a link state, say); they have no live links. Costs
    /// O(L log L) for L advertised ends.
    ///
    /// # Errors
    /// When there are more relays than a map may have.
    pub fn new<'s>(
        states: impl IntoIterator<Item = &'s LinkState>,
        others: impl IntoIterator<Item = &'s RelayId>,
    ) -> Result<Self, MapError> {
        let mut states: Vec<&LinkState> = states.into_iter().collect();
        states.sort_by(|one, other| one.relay.cmp(&other.relay).then(other.version.cmp(&one.version)));
        states.dedup_by(|later, kept| later.relay == kept.relay);
        let relays = roster(&states, others)?;
        let mut traits = vec![Traits { transit: true, max_children: None }; relays.len()];
        let mut is_behind = vec![false; relays.len()];
        for state in &states {
            let place = find(&relays, &state.relay).index();
            let max_children = state.max_children.map(|max| max.max(1));
            traits[place] = Traits { transit: state.transit, max_children };
            is_behind[place] = state.catching_up;
        }
        let mut links = join(&halves(&states, &relays));
        for link in &mut links {
            let behind = link.between.iter().filter(|place| is_behind[place.index()]).count();
            let more = CATCHING_UP_COST * u32::try_from(behind).expect("a link has two ends");
            link.live = link.live.map(|cost| cost + more);
        }
        let mut map = Self::with_links(relays, traits, &links);
        map.algorithm = Algorithm::least(states.iter().map(|state| state.algorithm));
        Ok(map)
    }

    /// How trees are computed on it: the newest way that all of its relays speak.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The map of a topology with all of its links up. A link whose cost is
    /// measured costs `unmeasured`.
    ///
    /// # Errors
    /// When there are more relays than a map may have.
    pub fn of_topology(topology: &Topology, unmeasured: u32) -> Result<Self, MapError> {
        Self::new(&LinkState::of_topology(topology, unmeasured), [])
    }

    fn with_links(relays: Vec<RelayId>, traits: Vec<Traits>, links: &[MapLink]) -> Self {
        let mut first = vec![0; relays.len() + 1];
        for place in links.iter().flat_map(|link| link.between) {
            first[place.index() + 1] += 1;
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        let mut next: Vec<u32> = first.clone();
        let mut ends = vec![End { to: 0, cost: UNREACHABLE }; links.len() * 2];
        let mut configured = vec![UNREACHABLE; links.len() * 2];
        // Links are sorted, so the ends at each relay are sorted by the other relay:
        // first those to lesser relays, each in the turn of the lesser one.
        for link in links {
            let [one, other] = link.between;
            for (from, to) in [(one, other), (other, one)] {
                let at = next[from.index()] as usize;
                next[from.index()] += 1;
                ends[at] = End { to: to.0, cost: link.live.unwrap_or(UNREACHABLE) };
                configured[at] = link.configured;
            }
        }
        Self { relays, traits, first, ends, configured, algorithm: Algorithm::default() }
    }

    /// How many relays there are; their places are below this.
    #[must_use]
    pub fn relay_count(&self) -> usize {
        self.relays.len()
    }

    /// All places in order.
    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.relays.len()).map(Place::at)
    }

    /// The relay at a place of this map.
    #[must_use]
    pub fn relay(&self, place: Place) -> &RelayId {
        &self.relays[place.index()]
    }

    /// All relays; the position of each is its place.
    #[must_use]
    pub fn relays(&self) -> &[RelayId] {
        &self.relays
    }

    /// The place of a relay, if it is on the map. O(log n).
    #[must_use]
    pub fn place(&self, relay: &RelayId) -> Option<Place> {
        self.relays.binary_search(relay).ok().map(Place::at)
    }

    /// What the relay at a place is for others.
    #[must_use]
    pub fn traits(&self, place: Place) -> Traits {
        self.traits[place.index()]
    }

    /// Whether the relay at a place passes on what is not its own.
    #[must_use]
    pub fn is_transit(&self, place: Place) -> bool {
        self.traits[place.index()].transit
    }

    /// All links, up or down, by the places they join.
    pub fn links(&self) -> impl Iterator<Item = MapLink> {
        self.places().flat_map(move |from| {
            let range = self.range(from);
            let pairs = self.ends[range.clone()].iter().zip(&self.configured[range]);
            pairs.filter(move |(end, _)| end.to > from.0).map(move |(end, &configured)| MapLink {
                between: [from, Place(end.to)],
                live: (end.cost != UNREACHABLE).then_some(end.cost),
                configured,
            })
        })
    }

    /// The links at a relay: the other end, the live cost, and the configured one; in order.
    pub fn links_at(&self, place: Place) -> impl Iterator<Item = (Place, Option<u32>, u32)> {
        let ends = self.ends(place).iter().zip(self.configured(place));
        ends.map(|(end, (to, configured))| (to, (end.cost != UNREACHABLE).then_some(end.cost), configured))
    }

    /// What the link between two relays costs, if there is one and it is up.
    #[must_use]
    pub fn live_cost(&self, one: Place, other: Place) -> Option<u32> {
        let at = self.end_at(one, other)?;
        Some(self.ends[at].cost).filter(|&cost| cost != UNREACHABLE)
    }

    /// The ends of links at a relay, those that are down among them, by the other relay.
    pub(crate) fn ends(&self, place: Place) -> &[End] {
        &self.ends[self.range(place)]
    }

    /// The relays to which the one at `place` has a configured link, with its cost.
    pub(crate) fn configured(&self, place: Place) -> impl Iterator<Item = (Place, u32)> {
        let range = self.range(place);
        let pairs = self.ends[range.clone()].iter().zip(&self.configured[range]);
        pairs.map(|(end, &cost)| (Place(end.to), cost))
    }

    /// The least and the greatest cost of a live link, if there is any.
    pub(crate) fn cost_range(&self) -> Option<(u32, u32)> {
        let costs = self.ends.iter().map(|end| end.cost).filter(|&cost| cost != UNREACHABLE);
        costs.fold(None, |range, cost| {
            let (least, greatest) = range.unwrap_or((cost, cost));
            Some((least.min(cost), greatest.max(cost)))
        })
    }

    /// Gives a link that is on the map, up or down, another live cost
    /// (1..[`u32::MAX`]; none: down). Nothing happens when there is no such link.
    pub(crate) fn set_live(&mut self, between: [Place; 2], cost: Option<u32>) {
        let [one, other] = between;
        for (from, to) in [(one, other), (other, one)] {
            if let Some(at) = self.end_at(from, to) {
                self.ends[at].cost = cost.map_or(UNREACHABLE, |cost| cost.max(1));
            }
        }
    }

    /// The links whose live cost differs in `newer`, in order. None when the two
    /// maps differ in relays, in what these are for others, or in which pairs of
    /// them have a link; configured costs may differ.
    #[must_use]
    pub fn changes_to(&self, newer: &Self) -> Option<Vec<LinkChange>> {
        let is_same = self.relays == newer.relays
            && self.traits == newer.traits
            && self.first == newer.first
            && self.ends.iter().map(|end| end.to).eq(newer.ends.iter().map(|end| end.to));
        if !is_same {
            return None;
        }
        let pairs = self.links().zip(newer.links()).filter(|(old, new)| old.live != new.live);
        let change = |(old, new): (MapLink, MapLink)| LinkChange {
            between: old.between,
            before: old.live,
            after: new.live,
        };
        Some(pairs.map(change).collect())
    }

    fn range(&self, place: Place) -> std::ops::Range<usize> {
        self.first[place.index()] as usize..self.first[place.index() + 1] as usize
    }

    fn end_at(&self, from: Place, to: Place) -> Option<usize> {
        let range = self.range(from);
        let at = self.ends[range.clone()].binary_search_by_key(&to.0, |end| end.to).ok()?;
        Some(range.start + at)
    }
}

/// All relays that anyone names, sorted.
fn roster<'s>(
    states: &[&'s LinkState],
    others: impl IntoIterator<Item = &'s RelayId>,
) -> Result<Vec<RelayId>, MapError> {
    let mut relays: Vec<&RelayId> = states.iter().map(|state| &state.relay).collect();
    relays.extend(others);
    relays.extend(states.iter().flat_map(|state| &state.links).map(|link| &link.neighbour));
    relays.sort();
    relays.dedup();
    let (found, max) = (relays.len(), limits::MAP_RELAYS_MAX);
    if found > max {
        return Err(MapError::TooManyRelays { found, max });
    }
    Ok(relays.into_iter().cloned().collect())
}

fn find(relays: &[RelayId], relay: &RelayId) -> Place {
    Place::at(relays.binary_search(relay).expect("the roster has every relay that is named"))
}

fn halves(states: &[&LinkState], relays: &[RelayId]) -> Vec<Half> {
    let mut halves = Vec::new();
    for state in states {
        let from = find(relays, &state.relay).0;
        for link in &state.links {
            let to = find(relays, &link.neighbour).0;
            if to != from {
                let between = [from.min(to), from.max(to)];
                let cost = link.cost.clamp(1, COST_MAX);
                halves.push(Half { between, from, is_down: !link.is_up, cost });
            }
        }
    }
    halves.sort_unstable();
    halves
}

/// Joins sorted ends to links, sorted.
fn join(halves: &[Half]) -> Vec<MapLink> {
    let join_one = |ends: &[Half]| {
        let [one, other] = ends[0].between;
        // Sorted with those that are up first, then by cost: the first of an end is
        // the cheapest that is up.
        let live_at = |from| ends.iter().find(|end| end.from == from && !end.is_down).map(|end| end.cost);
        let known_at = |from| ends.iter().filter(|end| end.from == from).map(|end| end.cost).min();
        let configured = known_at(one).max(known_at(other));
        MapLink {
            between: [Place(one), Place(other)],
            live: live_at(one).zip(live_at(other)).map(|(one, other)| one.max(other)),
            configured: configured.expect("a link has an end"),
        }
    };
    halves.chunk_by(|one, other| one.between == other.between).map(join_one).collect()
}

#[cfg(test)]
mod tests;
