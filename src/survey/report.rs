//! How good the trees of a network are: their costs against the least possible,
//! the ways along them against direct ones, and what links carry against what
//! they would if every relay were sent a copy of its own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::routing::{Distances, Map, Place, Tree};
use crate::survey::bound;
use crate::survey::forest::{Forest, Wanted, grow, islands};
use crate::topology::Topology;
use crate::topology::settings::TreeKind;

/// Up to so many relays of a group the cheapest tree is found exactly…
const EXACT_RELAYS: usize = 8;
/// …on maps of up to so many: the work grows with their square.
const EXACT_MAP: usize = 200;

/// Figures of many trees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The mean.
    pub mean: f64,
    /// 95 of 100 are not above it.
    pub p95: f64,
    /// The greatest.
    pub max: f64,
}

impl Figures {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let p95 = values[((values.len() - 1) as f64 * 0.95).ceil() as usize];
        Some(Self { mean, p95, max })
    }
}

/// The trees for sets of relays of one size, or of one group.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Line {
    /// The group; none: random sets.
    pub group: Option<String>,
    /// How the trees of the group are computed; random sets have shared ones.
    pub kind: TreeKind,
    /// How many relays each set has.
    pub relays: usize,
    /// How many sets.
    pub sets: usize,
    /// Whether the least cost is known exactly, or only a lower bound.
    pub is_exact: bool,
    /// The cost of a tree.
    pub cost: Figures,
    /// The same, divided by the least cost.
    pub cost_ratio: Figures,
    /// From each relay to each other: the way along the tree divided by the direct one.
    pub stretch: Figures,
    /// The same along the shortest-path tree of the sender.
    pub stretch_source: Figures,
    /// How often a message crosses a link by the tree: once for each of its links.
    pub crossings: Figures,
    /// The same when every relay is sent a copy of its own along the direct path.
    pub crossings_direct: Figures,
    /// In how many sets a relay has more children than its `max_children`.
    pub over_cap: usize,
    /// Copies of a message on the busiest link by the tree: 1.
    pub copies: u32,
    /// The same when every relay is sent a copy of its own.
    pub copies_direct: Figures,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// How many relays the network has.
    pub relays: usize,
    /// How many links.
    pub links: usize,
    /// How many islands; random sets are taken from the largest.
    pub islands: usize,
    /// The file's groups, then random sets by size. What has fewer than two relays
    /// that reach each other is left out.
    pub lines: Vec<Line>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The groups, by name.
    pub groups: &'q [String],
    /// Their relays; none: all.
    pub members: Option<&'q [String]>,
    /// Random sets of each size.
    pub sets: usize,
    /// The same number gives the same sets.
    pub seed: u64,
}

/// Numbers that look random and are the same in every run (`SplitMix64`, Steele et al. 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        crate::dice::next_number(&mut self.0)
    }

    /// `count` different ones of `places`, sorted.
    fn choose(&mut self, places: &[Place], count: usize) -> Vec<Place> {
        let mut places = places.to_vec();
        for at in (1..places.len()).rev() {
            let other = self.next() % (at as u64 + 1);
            places.swap(at, other as usize);
        }
        places.truncate(count);
        places.sort_unstable();
        places
    }
}

/// Computes it.
#[must_use]
pub fn report(topology: &Topology, map: &Map, question: Question<'_>) -> Report {
    let distances = Distances::new(map);
    let islands = islands(map);
    let mut lines = Vec::new();
    for name in question.groups {
        let wanted = Wanted::new(topology, map, name, question.members);
        lines.extend(line(map, &distances, &[wanted]).map(|line| Line { group: Some(name.clone()), ..line }));
    }
    let largest: &[Place] = islands.first().map_or(&[], Vec::as_slice);
    let mut numbers = Numbers(question.seed);
    for size in sizes(largest.len()) {
        let set = |number: usize, numbers: &mut Numbers| Wanted {
            // The name decides between equal choices, so each set has one of its own.
            name: format!("set {number}"),
            kind: TreeKind::Shared,
            relays: numbers.choose(largest, size),
            origins: Vec::new(),
            left_out: Vec::new(),
        };
        let sets: Vec<Wanted> = (0..question.sets).map(|number| set(number, &mut numbers)).collect();
        lines.extend(line(map, &distances, &sets));
    }
    let links = map.links().count();
    Report { relays: map.relay_count(), links, islands: islands.len(), lines }
}

/// 4, 8, 16 and half of all relays, without those that are too large.
fn sizes(relays: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        [4, 8, 16, relays / 2].into_iter().filter(|size| (2..=relays).contains(size)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Figures that grow set by set.
#[derive(Default)]
struct Sums {
    cost: Vec<f64>,
    ratio: Vec<f64>,
    stretch: Vec<f64>,
    stretch_source: Vec<f64>,
    crossings: Vec<f64>,
    crossings_direct: Vec<f64>,
    copies_direct: Vec<f64>,
    copies: u32,
    over_cap: usize,
    is_exact: bool,
}

fn line(map: &Map, distances: &Distances, sets: &[Wanted]) -> Option<Line> {
    let first = sets.first()?;
    let mut sums = Sums { is_exact: true, ..Sums::default() };
    for (wanted, forest) in sets.iter().zip(grow(map, sets)) {
        add_set(map, distances, wanted, &forest, &mut sums);
    }
    Some(Line {
        group: None,
        kind: first.kind,
        relays: first.relays.len(),
        sets: sets.len(),
        is_exact: sums.is_exact,
        cost: Figures::of(sums.cost)?,
        cost_ratio: Figures::of(sums.ratio)?,
        stretch: Figures::of(sums.stretch)?,
        stretch_source: Figures::of(sums.stretch_source)?,
        crossings: Figures::of(sums.crossings)?,
        crossings_direct: Figures::of(sums.crossings_direct)?,
        over_cap: sums.over_cap,
        copies: sums.copies,
        copies_direct: Figures::of(sums.copies_direct)?,
    })
}

fn add_set(map: &Map, distances: &Distances, wanted: &Wanted, forest: &Forest, sums: &mut Sums) {
    let sources = Wanted { kind: TreeKind::Source, origins: wanted.relays.clone(), ..wanted.clone() };
    sums.over_cap += usize::from(forest.trees.iter().any(|grown| grown.tree.is_over_cap()));
    let by_source = grow(map, std::slice::from_ref(&sources));
    for grown in &forest.trees {
        let on_tree = |place: &Place| grown.tree.relays().any(|other| other == *place);
        let relays: Vec<Place> = wanted.relays.iter().copied().filter(on_tree).collect();
        if relays.len() < 2 {
            continue;
        }
        let is_exact = relays.len() <= EXACT_RELAYS && map.relay_count() <= EXACT_MAP;
        let least =
            if is_exact { bound::exact(map, distances, &relays) } else { bound::lower_bound(map, &relays) };
        sums.is_exact &= is_exact;
        sums.cost.push(grown.tree.cost() as f64);
        sums.ratio.push(grown.tree.cost() as f64 / least.max(1) as f64);
        sums.crossings.push(grown.tree.edges().count() as f64);
        sums.copies = sums.copies.max(copies(&grown.tree));
        for &from in relays.iter().filter(|&&from| grown.origin.is_none_or(|origin| origin == from)) {
            add_ways(distances, &grown.tree, from, &relays, &mut sums.stretch);
            let own = by_source.iter().flat_map(|forest| &forest.trees).find(|own| own.origin == Some(from));
            if let Some(own) = own {
                add_ways(distances, &own.tree, from, &relays, &mut sums.stretch_source);
            }
            let (all, busiest) = direct(map, distances, from, &relays);
            sums.crossings_direct.push(all);
            sums.copies_direct.push(busiest);
        }
    }
}

/// Copies of a message on the busiest link of a tree.
fn copies(tree: &Tree) -> u32 {
    let mut crossings: BTreeMap<[Place; 2], u32> = BTreeMap::new();
    for edge in tree.edges() {
        *crossings.entry([edge.parent.min(edge.child), edge.parent.max(edge.child)]).or_insert(0) += 1;
    }
    crossings.into_values().max().unwrap_or(0)
}

/// How much longer the ways from one relay along a tree are than direct ones.
fn add_ways(distances: &Distances, tree: &Tree, from: Place, relays: &[Place], sums: &mut Vec<f64>) {
    for &to in relays.iter().filter(|&&to| to != from) {
        if let (Some(direct), Some(along)) = (distances.between(from, to), tree.distance(from, to)) {
            sums.push(along as f64 / f64::from(direct));
        }
    }
}

/// Link crossings, and copies on the busiest link, when one relay sends each of the others a copy.
fn direct(map: &Map, distances: &Distances, from: Place, relays: &[Place]) -> (f64, f64) {
    let mut crossings: BTreeMap<[Place; 2], u32> = BTreeMap::new();
    for path in relays.iter().filter_map(|&to| distances.path(map, from, to)) {
        for pair in path.windows(2) {
            *crossings.entry([pair[0].min(pair[1]), pair[0].max(pair[1])]).or_insert(0) += 1;
        }
    }
    let all: u32 = crossings.values().sum();
    (f64::from(all), f64::from(crossings.into_values().max().unwrap_or(0)))
}
