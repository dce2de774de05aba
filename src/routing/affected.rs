//! Which trees a change of one link can change.
//!
//! A tree is the outcome of choices, each the least of its candidates. So a link
//! that gets dearer matters only to trees whose choices used it: to a tree that has
//! the link, and to a shared tree whose root is now farther from a relay of the
//! tree, since the root itself was a choice. A link that gets cheaper matters only
//! where a path over it is now as good as a choice that was made. All candidates
//! over the link `a`–`b` are made of a way from the tree to `a`, the link, and a way
//! from `b` to a relay that waits, so two rows of distances decide, and no tree has
//! to be grown to find out.
//!
//! The test may name a tree that stays as it is; it never misses one that changes.

use crate::routing::grow::weight;
use crate::routing::map::{LinkChange, Map, Place, UNREACHABLE};
use crate::routing::shortest::Distances;
use crate::routing::tree::{Node, Shape, Tree};

/// How near each relay is to the two ends of a link, [`UNREACHABLE`] where its
/// shortest way to the one does not go on over the link to the other: such a relay
/// is on no shortest path over the link in that direction.
pub(crate) type Gates = Vec<[u32; 2]>;

/// Which relays are on a tree, folded into 64 bytes: most
/// trees are settled without a look at them. Exact up to 512 relays; above that, two
/// relays may share a bit, and the test lets a few more trees through.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sketch {
    bits: [u64; 8],
    root: Place,
    /// Its detours can go over links that are on no shortest path.
    is_odd: bool,
}

impl Sketch {
    pub(crate) fn of(tree: &Tree) -> Self {
        let root = tree.root().unwrap_or_default();
        let mut sketch = Self { bits: [0; 8], root, is_odd: tree.is_odd };
        tree.relays().for_each(|place| sketch.add(place));
        sketch
    }

    fn add(&mut self, place: Place) {
        self.bits[place.index() / 64 % 8] |= 1 << (place.index() % 64);
    }

    fn meets(&self, other: &Self) -> bool {
        self.bits.iter().zip(&other.bits).fold(0, |both, (one, other)| both | (one & other)) != 0
    }
}

/// What a change is to sketches: the relays at each end of the link, and those with
/// shortest paths over it from that end on.
pub(crate) struct Sieve<'e> {
    ends: [Sketch; 2],
    open: [Sketch; 2],
    gates: &'e [[u32; 2]],
    is_worse: bool,
}

impl<'e> Sieve<'e> {
    /// `gates` are those of the link when it was or is at its cheapest.
    pub(crate) fn new(change: LinkChange, gates: &'e [[u32; 2]]) -> Self {
        let (mut ends, mut open) = ([Sketch::default(); 2], [Sketch::default(); 2]);
        for end in [0, 1] {
            ends[end].add(change.between[end]);
            let through = gates.iter().enumerate().filter(|(_, gates)| gates[end] != UNREACHABLE);
            through.for_each(|(place, _)| open[end].add(Place::at(place)));
        }
        let cost = |cost: Option<u32>| cost.unwrap_or(UNREACHABLE);
        Self { ends, open, gates, is_worse: cost(change.after) > cost(change.before) }
    }

    /// Whether the change may matter to the tree of a sketch.
    pub(crate) fn lets_through(&self, sketch: &Sketch) -> bool {
        if sketch.is_odd {
            return true;
        }
        let [one, other] = [0, 1].map(|end| sketch.meets(&self.open[end]));
        if !self.is_worse {
            return one && other;
        }
        let gates = self.gates[sketch.root.index()].map(|gate| gate != UNREACHABLE);
        let has_link = || sketch.meets(&self.ends[0]) && sketch.meets(&self.ends[1]);
        (gates[0] && other) || (gates[1] && one) || has_link()
    }
}

/// One change of a link, with the distances from both of its ends before it and
/// all distances after it.
#[derive(Clone, Copy)]
pub(crate) struct Effect<'e> {
    pub(crate) change: LinkChange,
    pub(crate) map: &'e Map,
    /// The rows of the two ends before the change.
    pub(crate) before: [&'e [u32]; 2],
    /// After the change.
    pub(crate) distances: &'e Distances,
    /// When the link was or is at its cheapest: before a change to the worse, after
    /// one to the better.
    pub(crate) gates: &'e [[u32; 2]],
}

/// The gates of a link that costs `cost`, from the rows of its ends.
pub(crate) fn gates_of(rows: [&[u32]; 2], cost: u32, gates: &mut Gates) {
    gates.clear();
    gates.extend(rows[0].iter().zip(rows[1]).map(|(&to_one, &to_other)| {
        let gate = |near: u32, far: u32| {
            let is_open = far != UNREACHABLE && near.saturating_add(cost) == far;
            if is_open { near } else { UNREACHABLE }
        };
        [gate(to_one, to_other), gate(to_other, to_one)]
    }));
}

impl Effect<'_> {
    /// Whether the tree may be another one after the change.
    pub(crate) fn reaches(&self, shape: Shape, tree: &Tree, greatest: u64, scratch: &mut Scratch) -> bool {
        if tree.is_odd {
            return true;
        }
        let before = self.change.before.unwrap_or(UNREACHABLE);
        let after = self.change.after.unwrap_or(UNREACHABLE);
        // The tree of an origin that nobody can reach begins at the 1-median too.
        let has_chosen_root = match shape {
            Shape::Shared => true,
            Shape::From(origin) => tree.root() != Some(origin),
        };
        if after > before {
            self.uses_link(tree) || (has_chosen_root && self.root_is_farther(tree, before))
        } else {
            let (is_near, is_between) = self.can_be_crossed(shape, tree, after, greatest);
            (is_near && self.is_as_good(shape, tree, after, &mut scratch.waiting))
                || (is_between && has_chosen_root && self.brings_nearer(tree, after, &mut scratch.terminals))
        }
    }

    /// What one pass can tell, which settles most trees: whether the best way over
    /// the link, from any relay of the tree to any that it is for, is as good as
    /// the worst choice that was made, `greatest`; and whether two relays that it
    /// is for can be joined over the link.
    fn can_be_crossed(&self, shape: Shape, tree: &Tree, cost: u32, greatest: u64) -> (bool, bool) {
        let weight = weight(shape);
        let (mut from, mut left) = ([u64::MAX; 2], [UNREACHABLE; 2]);
        for node in &tree.nodes {
            let gates = self.gates[node.place().index()];
            for end in [0, 1] {
                // A closed gate makes a key that is greater than any that was chosen.
                let key = u64::from(node.distance) + weight * u64::from(gates[end]);
                from[end] = from[end].min(key);
                let near = if node.is_terminal() { gates[end] } else { UNREACHABLE };
                left[end] = left[end].min(near);
            }
        }
        let over = |from: u64, left: u32| from.saturating_add(weight * u64::from(left.saturating_add(cost)));
        let best = over(from[0], left[1]).min(over(from[1], left[0]));
        let is_closed = left.contains(&UNREACHABLE);
        (best <= greatest.min(weight * u64::from(UNREACHABLE) - 1), !is_closed)
    }

    fn uses_link(&self, tree: &Tree) -> bool {
        let [one, other] = self.change.between;
        let is_end = |node: &Node| node.place() == one || node.place() == other;
        let mut below = tree.nodes.iter().skip(1).filter(|node| is_end(node));
        below.any(|node| is_end(&tree.nodes[usize::from(node.parent)]))
    }

    /// Whether a way from the root to a relay of the tree went over the link and is
    /// longer now.
    fn root_is_farther(&self, tree: &Tree, cost: u32) -> bool {
        let [from_one, from_other] = self.before;
        let Some(root) = tree.root() else { return false };
        let (to_one, to_other) = (from_one[root.index()], from_other[root.index()]);
        let (over_one, over_other) = (to_one.saturating_add(cost), to_other.saturating_add(cost));
        if over_one != to_other && over_other != to_one {
            return false;
        }
        let row = self.distances.row(root);
        tree.nodes.iter().any(|node| {
            let at = node.place().index();
            let over_link =
                over_one.saturating_add(from_other[at]).min(over_other.saturating_add(from_one[at]));
            over_link < row[at]
        })
    }

    /// Whether a path over the link is no worse than one that was chosen. The steps
    /// are gone through in their order: at each, the best way over the link leads
    /// from the relays that were on the tree to the nearest one that still waited.
    fn is_as_good(&self, shape: Shape, tree: &Tree, cost: u32, waiting: &mut Vec<[u32; 2]>) -> bool {
        let ends_from = |node: &Node| self.gates[node.place().index()];
        let least = |one: [u32; 2], other: [u32; 2]| [one[0].min(other[0]), one[1].min(other[1])];
        // For each relay that the tree is for, last first: how near to each end of
        // the link the nearest of it and those after it is.
        waiting.clear();
        let mut nearest = [UNREACHABLE; 2];
        for node in tree.nodes.iter().skip(1).rev().filter(|node| node.is_terminal()) {
            nearest = least(nearest, ends_from(node));
            waiting.push(nearest);
        }
        let weight = weight(shape);
        let key = |base: u32, distance: u32| match distance {
            UNREACHABLE => u64::MAX,
            distance => u64::from(base) + weight * u64::from(distance),
        };
        let mut from_tree = [u64::MAX; 2];
        let mut nodes = tree.nodes.iter();
        let mut start = 0;
        while let Some(&[left_one, left_other]) = waiting.last() {
            let over = |from: u64, left: u32| from.saturating_add(key(0, left.saturating_add(cost)));
            // The relays that joined in the step before. Every path ends at a relay
            // that the tree is for, and passes through none that waits, since that
            // one's key would have been less.
            for node in nodes.by_ref() {
                let ends = ends_from(node);
                from_tree = [0, 1].map(|end| from_tree[end].min(key(node.distance, ends[end])));
                start += 1;
                if node.is_terminal() {
                    break;
                }
            }
            let end = tree.nodes[start..].iter().find(|node| node.is_terminal());
            let Some(end) = end else { return true };
            let base = tree.nodes[usize::from(tree.nodes[start].parent)].distance;
            let chosen = key(base, end.distance.saturating_sub(base));
            if over(from_tree[0], left_other).min(over(from_tree[1], left_one)) <= chosen {
                return true;
            }
            waiting.pop();
        }
        false
    }

    /// Whether another relay is now as good a root: one from which somebody is
    /// reached by the link.
    fn brings_nearer(&self, tree: &Tree, cost: u32, terminals: &mut Vec<Terminal>) -> bool {
        let Some(root) = tree.root() else { return false };
        let wanted = tree.nodes.iter().filter(|node| node.is_terminal()).map(|node| node.place());
        terminals.clear();
        terminals.extend(wanted.map(|place| Terminal { place, gates: self.gates[place.index()] }));
        let sum = |from: Place| {
            let row = self.distances.row(from);
            terminals.iter().map(|to| u64::from(row[to.place.index()])).sum::<u64>()
        };
        let is_crossed = |from: &Terminal| {
            let row = self.distances.row(from.place);
            terminals.iter().any(|far| {
                let over = |near: u32, left: u32| near.saturating_add(cost).saturating_add(left);
                let [one, other] = [over(from.gates[0], far.gates[1]), over(from.gates[1], far.gates[0])];
                one.min(other) == row[far.place.index()]
            })
        };
        let mut from_root = None;
        terminals.iter().any(|from| {
            from.gates != [UNREACHABLE; 2]
                && from.place != root
                && self.map.is_transit(from.place)
                && is_crossed(from)
                && sum(from.place) <= *from_root.get_or_insert_with(|| sum(root))
        })
    }
}

/// A relay that a tree is for, and its way to a link.
#[derive(Clone, Copy, Debug)]
struct Terminal {
    place: Place,
    gates: [u32; 2],
}

/// Buffers that are used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    waiting: Vec<[u32; 2]>,
    terminals: Vec<Terminal>,
}
