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
//! found that may be another one now; the choices before it stand. What is asked of many trees stands
//! close together (`wanted`); the trees themselves are read only where a choice is in question.
//!
//! The test may name a tree that stays as it is; it never misses one that changes.

use crate::routing::grow::{World, weight};
use crate::routing::map::{LinkChange, Place, UNREACHABLE};
use crate::routing::marks::{BLOCK, Block, CLASSES, Row, nearest};
use crate::routing::median::{NO_OTHER, Sums, median};
use crate::routing::order::Spread;
use crate::routing::tree::{Node, Shape, Tree};
use crate::routing::wanted::{AllWanted, Span, Wanted, is_no_less};

/// How near each relay is to the two ends of a link, [`UNREACHABLE`] where its
/// shortest way to the one does not go on over the link to the other: such a relay
/// is on no shortest path over the link in that direction.
pub(crate) type Gates = Vec<[u32; 2]>;

/// What is kept of a tree beside its marks, to hold a change against it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Brief {
    /// The greatest key of a choice that was made for the tree, as [`Wanted::key`].
    pub(crate) greatest: u32,
    /// The sum of the relay that would be the root instead, or less.
    pub(crate) rivals: u64,
    pub(crate) root: Place,
    pub(crate) spread: Spread,
    /// The weight of the distance to a new relay.
    pub(crate) weight: u8,
    /// Where the relays that it is for stand.
    pub(crate) wanted: Span,
}

/// What a tree was made for, and what it is.
#[derive(Clone, Copy)]
pub(crate) struct Grown<'t> {
    /// Its number in its block.
    pub(crate) number: usize,
    pub(crate) shape: Shape,
    pub(crate) tree: &'t Tree,
    pub(crate) wanted: &'t [Wanted],
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
    /// that by more.
    moves: Vec<[u32; 2]>,
    /// For each end the relays that are moved, by class.
    moved: [Vec<u16>; 2],
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

impl<'e> Effect<'e> {
    /// `before` are the rows of the two ends before the change.
    pub(crate) fn new(change: LinkChange, world: World<'e>, before: [&'e [u32]; 2]) -> Self {
        let [was, is] = [change.before, change.after].map(|cost| cost.unwrap_or(UNREACHABLE));
        let now = change.between.map(|end| world.distances.row(end));
        let is_worse = is > was;
        let (cheap, dear) = if is_worse { (before, now) } else { (now, before) };
        let gates = gates_of(cheap, is.min(was));
        let classes = gates.len().clamp(1, CLASSES);
        let near = [0, 1].map(|end| {
            let open = gates.iter().enumerate().filter(|(_, gates)| gates[end] != UNREACHABLE);
            let mut near: Vec<_> = open.map(|(at, gates)| (gates[end], Place::at(at % classes).0)).collect();
            near.sort_unstable();
            near
        });
        let move_of = |at: usize, end: usize| {
            let by = dear[1 - end][at] - cheap[1 - end][at];
            if gates[at][end] == UNREACHABLE { 0 } else { by }
        };
        let moves: Vec<_> = (0..gates.len()).map(|at| [0, 1].map(|end| move_of(at, end))).collect();
        let moved = [0, 1].map(|end| {
            let moved = moves.iter().enumerate().filter(|(_, moves)| moves[end] > 0);
            moved.map(|(at, _)| Place::at(at % classes).0).collect()
        });
        Self { change, world, gates, near, moves, moved, cost: is.min(was), is_worse }
    }

    /// The trees of a block that the change may matter to.
    pub(crate) fn sift(
        &self,
        block: Block<'_>,
        briefs: &mut [Brief],
        wanted: &AllWanted,
        scratch: &mut Scratch,
    ) -> Sifted {
        let (across, choices) = if self.is_worse {
            let [one, other] = self.change.between.map(|end| &block.on[end.index() % block.on.len()]);
            (self.across(block), one.and(other))
        } else {
            self.sift_choices(block, briefs, wanted, scratch)
        };
        let mut roots = Row::default();
        across.for_each(|tree| {
            let brief = &mut briefs[tree];
            if self.moves_root(brief, wanted.of(brief.wanted), scratch) {
                roots.add(tree);
            }
        });
        Sifted { all: roots.or(&choices).or(block.odd), roots }
    }

    /// Trees for relays beyond both ends that are moved.
    fn across(&self, block: Block<'_>) -> Row {
        let [one, other] = [0, 1].map(|end: usize| {
            let rows = self.moved[end].iter().map(|&class| &block.wanted[usize::from(class)]);
            rows.fold(Row::default(), Row::or)
        });
        one.and(&other)
    }

    /// Whether the tree begins at another relay now.
    fn moves_root(&self, brief: &mut Brief, wanted: &[Wanted], scratch: &mut Scratch) -> bool {
        // A link that is dearer brings no relay nearer to any.
        if brief.rivals == NO_OTHER || self.is_worse && self.moves[brief.root.index()] == [0, 0] {
            return false;
        }
        let row = self.world.distances.row(brief.root);
        let (mut sum, mut farthest, mut falls) = (0, 0, [0, 0]);
        for wanted in wanted {
            let (distance, moves) = (row[wanted.place.index()], self.moves[wanted.place.index()]);
            sum += u64::from(distance);
            farthest = farthest.max(distance);
            falls = [falls[0] + u64::from(moves[0]), falls[1] + u64::from(moves[1])];
        }
        if !self.is_worse {
            // No other relay gets nearer than this to those beyond the link.
            brief.rivals = brief.rivals.saturating_sub(falls[0].max(falls[1]));
        }
        if sum < brief.rivals && farthest != UNREACHABLE {
            return false;
        }
        let Scratch { terminals, sums, .. } = scratch;
        terminals.clear();
        terminals.extend(wanted.iter().map(|wanted| wanted.place));
        let ranks = self.world.orders.of(brief.spread);
        let Some(median) = median(self.world, terminals, ranks, sums) else { return true };
        brief.rivals = median.rivals;
        median.place != brief.root
    }

    /// Trees for relays beyond both ends, and those of which two relays may be joined over the link,
    /// at no more than the greatest key of a choice that was made before.
    fn sift_choices(
        &self,
        block: Block<'_>,
        briefs: &[Brief],
        all: &AllWanted,
        scratch: &mut Scratch,
    ) -> (Row, Row) {
        let Scratch { from, left, .. } = scratch;
        let on = [0, 1].map(|end| nearest(block.on, &self.near[end], &mut from[end]));
        let wanted = [0, 1].map(|end| nearest(block.wanted, &self.near[end], &mut left[end]));
        let ends = self.change.between.map(|end| self.world.distances.row(end));
        let mut found = Row::default();
        for [near, far] in [[0, 1], [1, 0]] {
            on[near].and(&wanted[far]).for_each(|tree| {
                let brief = &briefs[tree];
                let weight = u64::from(brief.weight);
                // No way in the tree is shorter than the shortest one.
                let base = u64::from(ends[near][brief.root.index()])
                    + (weight - 1) * u64::from(from[near][tree])
                    + weight * u64::from(self.cost);
                let is_as_good = |left: u32, key: u32| is_no_less(key, base + weight * u64::from(left));
                if !is_as_good(left[far][tree], brief.greatest) {
                    return;
                }
                let mut greatest = 0;
                let is_near = |wanted: &Wanted| {
                    greatest = greatest.max(wanted.key);
                    is_as_good(self.gates[wanted.place.index()][far], greatest)
                };
                // The root did not wait.
                if all.of(brief.wanted).iter().skip(1).any(is_near) {
                    found.add(tree);
                }
            });
        }
        (wanted[0].and(&wanted[1]), found)
    }

    /// How many relays of a tree stand whatever the change does to the rest; none when it
    /// leaves the tree as it is.
    pub(crate) fn kept(&self, grown: Grown<'_>, sifted: &Sifted, scratch: &mut Scratch) -> Option<usize> {
        let Grown { number, tree, .. } = grown;
        if tree.is_odd || sifted.roots.has(number) {
            return Some(0);
        }
        if self.is_worse {
            let used = self.find_link(tree)?;
            let last = tree.nodes[..used].iter().rposition(|node| node.is_terminal());
            return Some(last.map_or(0, |last| last + 1));
        }
        self.first_as_good(grown, &mut scratch.waiting)
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

    /// Where a path over the link is no worse than one that was chosen: how many relays were on the
    /// tree then. The choices are gone through in their order: at each, the best way over the link leads
    /// from the relays that were on the tree to the nearest one that still waited.
    fn first_as_good(&self, grown: Grown<'_>, waiting: &mut Vec<[u32; 2]>) -> Option<usize> {
        let weight = weight(grown.shape);
        let (_, choices) = grown.wanted.split_first()?;
        // For each choice, last first: how near to each end of the link the nearest
        // of the relays is that still waited.
        waiting.clear();
        let mut nearest = [UNREACHABLE; 2];
        for choice in choices.iter().rev() {
            let own = self.gates[choice.place.index()];
            nearest = [nearest[0].min(own[0]), nearest[1].min(own[1])];
            waiting.push(nearest);
        }
        // A gate that is not open makes a key that is as good as none.
        let mut from = [u64::MAX / 2; 2];
        let mut done = 0;
        for (choice, left) in choices.iter().zip(waiting.iter().rev()) {
            let start = usize::from(choice.start);
            for node in &grown.tree.nodes[done..start] {
                let gates = self.gates[node.place().index()];
                let key = |end: usize| u64::from(node.distance) + weight * u64::from(gates[end]);
                from = [from[0].min(key(0)), from[1].min(key(1))];
            }
            done = start;
            let over = |near: usize| from[near] + weight * (u64::from(left[1 - near]) + u64::from(self.cost));
            if is_no_less(choice.key, over(0).min(over(1))) {
                return Some(start);
            }
        }
        None
    }
}

/// The trees of a block that a change may matter to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sifted {
    pub(crate) all: Row,
    /// Those that begin at another relay.
    roots: Row,
}

/// Buffers that are used again.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// By end: how near the nearest relay of each tree of a block is.
    from: Box<[[u32; BLOCK]; 2]>,
    /// The same of the relays that the trees are for.
    left: Box<[[u32; BLOCK]; 2]>,
    waiting: Vec<[u32; 2]>,
    terminals: Vec<Place>,
    sums: Sums,
}

impl Default for Scratch {
    fn default() -> Self {
        let none = || Box::new([[UNREACHABLE; BLOCK]; 2]);
        Self { from: none(), left: none(), waiting: Vec::new(), terminals: Vec::new(), sums: Sums::default() }
    }
}
