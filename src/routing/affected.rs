//! Which trees a change of one link can change, and from where on.
//!
//! A tree is the outcome of choices, each the least of its candidates. So a link
//! that gets dearer matters only to trees whose choices used it: to a tree that has
//! the link, and to a shared tree whose root is not the 1-median any more, since the
//! root itself was a choice. A link that gets cheaper matters only
//! where a path over it is now as good as a choice that was made. All candidates
//! over the link `a`–`b` are made of a way from the tree to `a`, the link, and a way
//! from `b` to a relay that waits, so two rows of distances decide, and no tree has
//! to be grown to find out.
//!
//! First whole [blocks](crate::routing::marks) of trees are held against the change, with bits for
//! relays: most trees are settled without a look at them. Of the others the first choice is
//! found that may be another one now; the choices before it stand.
//!
//! The test may name a tree that stays as it is; it never misses one that changes.

use crate::routing::grow::{World, steps, weight};
use crate::routing::map::{LinkChange, Place, UNREACHABLE};
use crate::routing::marks::{BLOCK, Block, CLASSES, Row, nearest};
use crate::routing::median::{NO_OTHER, median};
use crate::routing::order::Spread;
use crate::routing::tree::{Node, Shape, Tree};

/// How near each relay is to the two ends of a link, [`UNREACHABLE`] where its
/// shortest way to the one does not go on over the link to the other: such a relay
/// is on no shortest path over the link in that direction.
pub(crate) type Gates = Vec<[u32; 2]>;

/// What is kept of a tree beside its marks, to hold a change against it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Brief {
    /// The greatest key of a choice that was made for the tree, or more.
    pub(crate) greatest: u64,
    /// How far the sums of the root and of other relays may still move towards each other before
    /// another one may be the root, or less.
    pub(crate) margin: u64,
    pub(crate) root: Place,
    /// The weight of the distance to a new relay.
    pub(crate) weight: u8,
}

/// What a tree was made for, and what it is.
#[derive(Clone, Copy)]
pub(crate) struct Grown<'t> {
    /// Its number in its block.
    pub(crate) number: usize,
    pub(crate) shape: Shape,
    pub(crate) spread: Spread,
    pub(crate) tree: &'t Tree,
}

/// One change of a link, with the distances from both of its ends before it and
/// everything as it is after it.
pub(crate) struct Effect<'e> {
    change: LinkChange,
    world: World<'e>,
    /// When the link was or is at its cheapest: before a change to the worse, after
    /// one to the better.
    gates: Gates,
    /// For each end the relays whose gates are open, nearest first, by class.
    near: [Vec<(u32, u16)>; 2],
    /// By how much each relay is moved from or to the other end of the link: from or to no relay beyond
    /// that by more. [`UNREACHABLE`] where it is not moved.
    moves: Vec<[u32; 2]>,
    /// For each end the relays that are moved and by how much, by class.
    moved: [Vec<(u32, u16)>; 2],
    /// What the link costs or cost then.
    cost: u32,
    is_worse: bool,
}

/// The gates of a link that costs `cost`, from the rows of its ends.
fn gates_of(rows: [&[u32]; 2], cost: u32) -> Gates {
    let gates = rows[0].iter().zip(rows[1]).map(|(&to_one, &to_other)| {
        let gate = |near: u32, far: u32| {
            let is_open = far != UNREACHABLE && near.saturating_add(cost) == far;
            if is_open { near } else { UNREACHABLE }
        };
        [gate(to_one, to_other), gate(to_other, to_one)]
    });
    gates.collect()
}

/// For each end of a link the relays of which something is known there, by class.
fn by_end(known: &[[u32; 2]]) -> [Vec<(u32, u16)>; 2] {
    let classes = known.len().clamp(1, CLASSES);
    [0, 1].map(|end| {
        let relays = known.iter().enumerate().filter(|(_, known)| known[end] != UNREACHABLE);
        relays.map(|(at, known)| (known[end], Place::at(at % classes).0)).collect()
    })
}

impl<'e> Effect<'e> {
    /// `before` are the rows of the two ends before the change.
    pub(crate) fn new(change: LinkChange, world: World<'e>, before: [&'e [u32]; 2]) -> Self {
        let [was, is] = [change.before, change.after].map(|cost| cost.unwrap_or(UNREACHABLE));
        let now = change.between.map(|end| world.distances.row(end));
        let is_worse = is > was;
        let (cheap, dear) = if is_worse { (before, now) } else { (now, before) };
        let gates = gates_of(cheap, is.min(was));
        let mut near = by_end(&gates);
        near.iter_mut().for_each(|near| near.sort_unstable());
        let move_of = |at: usize, end: usize| {
            let by = dear[1 - end][at] - cheap[1 - end][at];
            if by > 0 && gates[at][end] != UNREACHABLE { by } else { UNREACHABLE }
        };
        let moves: Vec<_> = (0..gates.len()).map(|at| [0, 1].map(|end| move_of(at, end))).collect();
        let moved = by_end(&moves);
        Self { change, world, gates, near, moves, moved, cost: is.min(was), is_worse }
    }

    /// The trees of a block that the change may matter to.
    pub(crate) fn sift(&self, block: Block<'_>, briefs: &mut [Brief], scratch: &mut Scratch) -> Sifted {
        let roots = self.sift_roots(block, briefs, &mut scratch.sums);
        let choices = if self.is_worse {
            let [one, other] = self.change.between.map(|end| &block.on[end.index() % block.on.len()]);
            one.and(other)
        } else {
            self.sift_choices(block, briefs, scratch)
        };
        Sifted { all: roots.or(&choices).or(block.odd), roots, choices }
    }

    /// Trees that may begin at another relay now.
    fn sift_roots(&self, block: Block<'_>, briefs: &mut [Brief], sums: &mut [[u64; BLOCK]; 2]) -> Row {
        let wanted = |class: u16| &block.wanted[usize::from(class)];
        let joined = |end: usize| {
            self.moved[end].iter().fold(Row::default(), |all, &(_, class)| all.or(wanted(class)))
        };
        let both = joined(0).and(&joined(1));
        let mut found = Row::default();
        if both.is_empty() {
            return found;
        }
        for (sums, moved) in sums.iter_mut().zip(&self.moved) {
            sums.fill(0);
            for &(by, class) in moved {
                wanted(class).and(&both).for_each(|tree| sums[tree] += u64::from(by));
            }
        }
        both.for_each(|tree| {
            let brief = &mut briefs[tree];
            let by = self.shift(brief.root, [sums[0][tree], sums[1][tree]]);
            if brief.margin <= by {
                found.add(tree);
            } else if brief.margin != NO_OTHER {
                brief.margin -= by;
            }
        });
        found
    }

    /// By how much more the sum of another relay than that of the root falls, at most. `sums` say by how
    /// much the relays beyond each end of the link are moved, together.
    fn shift(&self, root: Place, sums: [u64; 2]) -> u64 {
        if !self.is_worse {
            return sums[0].max(sums[1]);
        }
        // The root gets farther from those on the other side; no other relay gets nearer to any.
        let moves = self.moves[root.index()];
        let beyond = |end: usize| if moves[end] == UNREACHABLE { 0 } else { sums[1 - end] };
        beyond(0).max(beyond(1))
    }

    /// Trees of which two relays may be joined over the link, at no more than the greatest key of a
    /// choice.
    fn sift_choices(&self, block: Block<'_>, briefs: &[Brief], scratch: &mut Scratch) -> Row {
        let Scratch { from, left, .. } = scratch;
        let on = [0, 1].map(|end| nearest(block.on, &self.near[end], &mut from[end]));
        let wanted = [0, 1].map(|end| nearest(block.wanted, &self.near[end], &mut left[end]));
        let ends = self.change.between.map(|end| self.world.distances.row(end));
        let mut found = Row::default();
        for [near, far] in [[0, 1], [1, 0]] {
            on[near].and(&wanted[far]).for_each(|tree| {
                let Brief { greatest, root, weight, .. } = briefs[tree];
                let way = u64::from(left[far][tree]) + u64::from(self.cost);
                // No way in the tree is shorter than the shortest one.
                let base =
                    u64::from(ends[near][root.index()]) + u64::from(weight - 1) * u64::from(from[near][tree]);
                if base + u64::from(weight) * way <= greatest {
                    found.add(tree);
                }
            });
        }
        found
    }

    /// How many relays of a tree stand whatever the change does to the rest; none when it
    /// leaves the tree as it is.
    pub(crate) fn kept(
        &self,
        grown: Grown<'_>,
        sifted: &Sifted,
        brief: &mut Brief,
        scratch: &mut Scratch,
    ) -> Option<usize> {
        let Grown { number, shape, tree, .. } = grown;
        let mut moves_root =
            || sifted.roots.has(number) && self.moves_root(grown, brief, &mut scratch.terminals);
        if tree.is_odd || moves_root() {
            return Some(0);
        }
        if !sifted.choices.has(number) {
            return None;
        }
        if self.is_worse {
            let used = self.find_link(tree)?;
            let last = tree.nodes[..used].iter().rposition(|node| node.is_terminal());
            return Some(last.map_or(0, |last| last + 1));
        }
        self.first_as_good(tree, weight(shape), &mut scratch.waiting)
    }

    /// The relay of the tree whose link to its parent is the one that changed.
    fn find_link(&self, tree: &Tree) -> Option<usize> {
        let [one, other] = self.change.between;
        let is_end = |node: &Node| node.place() == one || node.place() == other;
        let is_below = |at: &usize| {
            let node = &tree.nodes[*at];
            is_end(node) && is_end(&tree.nodes[usize::from(node.parent)])
        };
        (1..tree.nodes.len()).find(is_below)
    }

    /// Whether the tree begins at another relay now.
    fn moves_root(&self, grown: Grown<'_>, brief: &mut Brief, terminals: &mut Vec<Place>) -> bool {
        let wanted = grown.tree.nodes.iter().filter(|node| node.is_terminal()).map(|node| node.place());
        terminals.clear();
        terminals.extend(wanted);
        let ranks = self.world.orders.of(grown.spread);
        let Some(median) = median(self.world, terminals, ranks) else { return true };
        brief.margin = median.margin;
        median.place != brief.root
    }

    /// Where a path over the link is no worse than one that was chosen: how many relays were on the
    /// tree then. The steps are gone through in their order: at each, the best way over the link leads
    /// from the relays that were on the tree to the nearest one that still waited.
    fn first_as_good(&self, tree: &Tree, weight: u64, waiting: &mut Vec<[u32; 2]>) -> Option<usize> {
        let gates = |node: &Node| self.gates[node.place().index()];
        // For each relay that the tree is for, last first: how near to each end of
        // the link the nearest of it and those after it is.
        waiting.clear();
        let mut nearest = [UNREACHABLE; 2];
        for node in tree.nodes.iter().skip(1).rev().filter(|node| node.is_terminal()) {
            let own = gates(node);
            nearest = [nearest[0].min(own[0]), nearest[1].min(own[1])];
            waiting.push(nearest);
        }
        let over = |from: u64, left: u32| match left {
            UNREACHABLE => u64::MAX,
            left => from.saturating_add(weight * (u64::from(left) + u64::from(self.cost))),
        };
        let mut from = [u64::MAX; 2];
        let mut done = 0;
        for step in steps(&tree.nodes, weight) {
            for node in &tree.nodes[done..step.start] {
                let gates = gates(node);
                for end in [0, 1] {
                    if gates[end] != UNREACHABLE {
                        let key = u64::from(node.distance) + weight * u64::from(gates[end]);
                        from[end] = from[end].min(key);
                    }
                }
            }
            done = step.start;
            let left = waiting.pop().unwrap_or([UNREACHABLE; 2]);
            if over(from[0], left[1]).min(over(from[1], left[0])) <= step.key {
                return Some(step.start);
            }
        }
        None
    }
}

/// The trees of a block that a change may matter to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sifted {
    pub(crate) all: Row,
    /// Those that may begin at another relay.
    pub(crate) roots: Row,
    /// Those whose other choices may be other ones.
    choices: Row,
}

/// Buffers that are used again.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// By end: how near the nearest relay of each tree of a block is.
    from: Box<[[u32; BLOCK]; 2]>,
    /// The same of the relays that the trees are for.
    left: Box<[[u32; BLOCK]; 2]>,
    /// By end: by how much the relays that each tree is for are moved.
    sums: Box<[[u64; BLOCK]; 2]>,
    waiting: Vec<[u32; 2]>,
    terminals: Vec<Place>,
}

impl Default for Scratch {
    fn default() -> Self {
        let none = || Box::new([[UNREACHABLE; BLOCK]; 2]);
        Self {
            from: none(),
            left: none(),
            sums: Box::new([[0; BLOCK]; 2]),
            waiting: Vec::new(),
            terminals: Vec::new(),
        }
    }
}
