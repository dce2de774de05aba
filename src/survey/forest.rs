//! The trees of groups over a whole map. Where relays cannot all reach each other
//! every island has trees of its own, as the relays there will have.

use std::collections::BTreeMap;

use crate::id::{GroupName, GroupNumber, RelayId};
use crate::routing::{CutOff, GroupWant, Island, Map, OverCap, Place, Spread, Standing, Table, Tree};
use crate::topology::Topology;
use crate::topology::settings::TreeKind;

/// A group, and the relays that its trees are for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// One tree for all, or one for each relay that puts.
    pub kind: TreeKind,
    /// Its relays, sorted.
    pub relays: Vec<Place>,
    /// For trees of kind [`TreeKind::Source`]: the relays that put, sorted.
    pub origins: Vec<Place>,
    /// Relays of the map that are not in the file, sorted: they put nothing that anybody gets, and
    /// it is they who are cut off from the others.
    pub left_out: Vec<Place>,
}

impl Wanted {
    /// The group or queue called `name`, which the file need not have. Its
    /// relays are those of `members` that are on the map, or all; the home of a
    /// queue is always among them. Each of them may put.
    #[must_use]
    pub fn new(topology: &Topology, map: &Map, name: &str, members: Option<&[String]>) -> Self {
        let place = |relay: &str| map.place(&RelayId::new(relay).ok()?);
        let mut relays: Vec<Place> = match members {
            Some(members) => members.iter().filter_map(|relay| place(relay)).collect(),
            None => map.places().collect(),
        };
        relays.extend(topology.queue(name).and_then(|queue| place(&queue.home)));
        relays.sort_unstable();
        relays.dedup();
        let kind = topology.settings(name).map_or_else(TreeKind::default, |settings| settings.tree);
        let is_left_out = |place: &Place| topology.relay(map.relay(*place).as_str()).is_none();
        let left_out: Vec<Place> = map.places().filter(is_left_out).collect();
        let mut origins = if kind == TreeKind::Source { relays.clone() } else { Vec::new() };
        origins.retain(|place| left_out.binary_search(place).is_err());
        Self { name: name.to_owned(), kind, relays, origins, left_out }
    }

    fn spread(&self) -> Spread {
        GroupName::new(&self.name).map_or_else(|_| Spread::default(), |name| Spread::of(&name))
    }
}

/// One tree of a group.
#[derive(Clone, Debug)]
pub struct Grown {
    /// Whose messages take it; none: those of all.
    pub origin: Option<Place>,
    /// The tree.
    pub tree: Tree,
}

/// All trees of a group.
#[derive(Clone, Debug, Default)]
pub struct Forest {
    /// The trees, those of the island with most of its relays first.
    pub trees: Vec<Grown>,
    /// Its relays that are not on that island.
    pub cut_off: Vec<CutOff>,
}

impl Forest {
    /// The sum of the costs of all its trees.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.trees.iter().map(|grown| grown.tree.cost()).sum()
    }

    /// Relays with more children than they want, each as in the tree in which it has most.
    #[must_use]
    pub fn over_cap(&self, map: &Map) -> Vec<OverCap> {
        let mut found: BTreeMap<Place, OverCap> = BTreeMap::new();
        for over in self.trees.iter().flat_map(|grown| grown.tree.over_cap(map)) {
            let known = found.entry(over.relay).or_insert(over);
            known.children = known.children.max(over.children);
        }
        found.into_values().collect()
    }

    /// The links in use, the lesser relay first, and how many of the trees use each.
    #[must_use]
    pub fn links(&self) -> BTreeMap<[Place; 2], u32> {
        let mut links = BTreeMap::new();
        for edge in self.trees.iter().flat_map(|grown| grown.tree.edges()) {
            let (one, other) = (edge.parent.min(edge.child), edge.parent.max(edge.child));
            *links.entry([one, other]).or_insert(0) += 1;
        }
        links
    }
}

/// The islands of a map, each with its relays in order: the largest first, of
/// equal ones that with the first relay.
#[must_use]
pub fn islands(map: &Map) -> Vec<Vec<Place>> {
    let mut is_known = vec![false; map.relay_count()];
    let mut islands = Vec::new();
    for place in map.places() {
        if is_known[place.index()] {
            continue;
        }
        let island = Island::of(map, place);
        let relays: Vec<Place> =
            map.places().filter(|&place| island.standing(place) == Standing::Inside).collect();
        relays.iter().for_each(|place| is_known[place.index()] = true);
        islands.push(relays);
    }
    islands.sort_by_key(|relays| (std::cmp::Reverse(relays.len()), relays.first().copied()));
    islands
}

/// The trees of all groups, in the order of `wanted`. An island where a group has
/// fewer than two relays has no tree for it, unless there is no better one.
#[must_use]
pub fn grow(map: &Map, wanted: &[Wanted]) -> Vec<Forest> {
    let islands = islands(map);
    let mut island_of = vec![0; map.relay_count()];
    for (at, relays) in islands.iter().enumerate() {
        relays.iter().for_each(|place| island_of[place.index()] = at);
    }
    let counts: Vec<Vec<usize>> = wanted
        .iter()
        .map(|wanted| {
            let mut counts = vec![0; islands.len()];
            wanted.relays.iter().for_each(|place| counts[island_of[place.index()]] += 1);
            counts
        })
        .collect();
    let mains: Vec<Option<usize>> =
        wanted.iter().zip(&counts).map(|(wanted, counts)| main_island(wanted, counts, &island_of)).collect();
    let mut forests = vec![Forest::default(); wanted.len()];
    for (island, relays) in islands.iter().enumerate() {
        let concerns = |at: usize| counts[at][island] > 1 || mains[at] == Some(island);
        let concerned: Vec<usize> = (0..wanted.len()).filter(|&at| concerns(at)).collect();
        let Some(&viewpoint) = relays.first().filter(|_| !concerned.is_empty()) else { continue };
        let mut table = Table::new(map.clone(), viewpoint);
        for &at in &concerned {
            let origins = wanted[at].origins.iter().copied();
            let origins: Vec<Place> = origins.filter(|place| island_of[place.index()] == island).collect();
            let want = GroupWant {
                kind: wanted[at].kind,
                spread: wanted[at].spread(),
                members: &wanted[at].relays,
                origins: &origins,
            };
            table.set_group(number(at), want);
        }
        table.recompute();
        for &at in &concerned {
            let grown = table.trees(number(at)).map(|(origin, tree)| Grown { origin, tree: tree.clone() });
            let grown: Vec<Grown> = grown.collect();
            if mains[at] != Some(island) {
                forests[at].trees.extend(grown);
                continue;
            }
            forests[at].cut_off = match grown.first() {
                Some(first) => first.tree.cut_off().to_vec(),
                None => outside(map, viewpoint, &wanted[at].relays),
            };
            forests[at].trees.splice(0..0, grown);
        }
    }
    forests
}

/// The island from which the others are looked at: of those where somebody puts, when each origin has
/// a tree, that with most relays of the group. Of equal ones the larger, which stands first; one that
/// the file leaves out only if there is no other.
fn main_island(wanted: &Wanted, counts: &[usize], island_of: &[usize]) -> Option<usize> {
    let mut has_origin = vec![wanted.origins.is_empty(); counts.len()];
    wanted.origins.iter().for_each(|place| has_origin[island_of[place.index()]] = true);
    let mut is_left_out = vec![false; counts.len()];
    wanted.left_out.iter().for_each(|place| is_left_out[island_of[place.index()]] = true);
    let islands = (0..counts.len()).filter(|&island| has_origin[island]);
    islands.min_by_key(|&island| (is_left_out[island], std::cmp::Reverse(counts[island])))
}

/// Those of `relays` that are not on the island of `viewpoint`, as a tree would name them: where
/// nobody puts there is none that does.
fn outside(map: &Map, viewpoint: Place, relays: &[Place]) -> Vec<CutOff> {
    let island = Island::of(map, viewpoint);
    let cut_off = |&relay: &Place| match island.standing(relay) {
        Standing::Inside => None,
        Standing::KeptBy(custodian) => Some(CutOff { relay, custodian: Some(custodian) }),
        Standing::Lost => Some(CutOff { relay, custodian: None }),
    };
    relays.iter().filter_map(cut_off).collect()
}

fn number(at: usize) -> GroupNumber {
    GroupNumber(u32::try_from(at).expect("a file of bounded size has fewer groups"))
}
