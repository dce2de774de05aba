//! Which trees each relay is on, in bits: so a change of a link is held against many trees at
//! once, and only the few that it can matter to are looked at one by one.
//!
//! Trees are numbered; 512 of them make a block. In a block each relay has a row with a bit for
//! each tree that it is on, and another one for each tree that is for it. What is asked of one
//! change lies close together, whole blocks are taken one after the other, and a new block moves
//! no other.
//!
//! Relays that are the same [`CLASSES`] apart share their rows: on larger maps a few more trees
//! are looked at. Memory: two bits a relay and tree, at most 128 bytes a tree.

use crate::routing::tree::{Node, Tree};

/// How many trees are in a block: the bits of a line of the processor's cache.
pub(crate) const BLOCK: usize = 512;

/// How many relays have rows of their own.
pub(crate) const CLASSES: usize = 512;

/// One bit for each tree of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(crate) struct Row([u64; BLOCK / 64]);

impl Row {
    pub(crate) fn add(&mut self, tree: usize) {
        self.0[tree / 64] |= 1 << (tree % 64);
    }

    fn remove(&mut self, tree: usize) {
        self.0[tree / 64] &= !(1 << (tree % 64));
    }

    pub(crate) fn has(&self, tree: usize) -> bool {
        self.0[tree / 64] & (1 << (tree % 64)) != 0
    }

    #[inline]
    pub(crate) fn or(self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    pub(crate) fn and(self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    pub(crate) fn without(self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & !other.0[at]))
    }

    /// Goes through the trees whose bits are set, in order.
    pub(crate) fn for_each(self, mut what: impl FnMut(usize)) {
        for (at, &word) in self.0.iter().enumerate() {
            let mut word = word;
            while word != 0 {
                what(at * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
    }
}

/// The rows of all blocks.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    classes: usize,
    /// Whether some relays are of one class.
    is_shared: bool,
    /// Block by block: the odd trees, then for each class of relays the trees they are on, then
    /// those that are for them.
    rows: Vec<Row>,
}

impl Marks {
    /// No trees yet, of a map of so many relays.
    pub(crate) fn new(relay_count: usize) -> Self {
        Self { classes: relay_count.clamp(1, CLASSES), is_shared: relay_count > CLASSES, rows: Vec::new() }
    }

    /// Makes room for the trees below `count`.
    pub(crate) fn reserve(&mut self, count: usize) {
        let rows = count.div_ceil(BLOCK) * self.rows_per_block();
        if rows > self.rows.len() {
            self.rows.resize(rows, Row::default());
        }
    }

    fn rows_per_block(&self) -> usize {
        1 + 2 * self.classes
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block<'_>> {
        self.rows.chunks_exact(self.rows_per_block()).map(|rows| Block {
            odd: &rows[0],
            on: &rows[1..=self.classes],
            wanted: &rows[1 + self.classes..],
        })
    }

    /// Tree `number` was one thing and is another one now.
    pub(crate) fn change(&mut self, number: usize, old: &Tree, new: &[Node], is_odd: bool) {
        let rows = self.rows_per_block();
        let (first, bit) = (number / BLOCK * rows, number % BLOCK);
        let Some(block) = self.rows.get_mut(first..first + rows) else { return };
        let (odd, block) = block.split_at_mut(1);
        let (on, wanted) = block.split_at_mut(self.classes);
        let class = |node: &Node| node.place().index() % self.classes;
        // Relays of one class share a bit: where there are such, those who stay say it again.
        let stay = old.nodes.iter().zip(new).take_while(|(old, new)| old == new).count();
        for node in &old.nodes[stay..] {
            on[class(node)].remove(bit);
            wanted[class(node)].remove(bit);
        }
        let stay = if self.is_shared { 0 } else { stay };
        for node in &new[stay..] {
            on[class(node)].add(bit);
            if node.is_terminal() {
                wanted[class(node)].add(bit);
            }
        }
        odd[0].remove(bit);
        if is_odd {
            odd[0].add(bit);
        }
    }
}

/// The rows of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'m> {
    /// Trees that are [odd](Tree::is_odd).
    pub(crate) odd: &'m Row,
    /// By class: the trees that a relay is on.
    pub(crate) on: &'m [Row],
    /// By class: the trees that are for a relay.
    pub(crate) wanted: &'m [Row],
}

/// In how many steps the relays of an order are looked at.
const LEVELS: usize = 16;

/// For each tree what `order` says of the first relay whose row has it, or a little less. Returns
/// the trees of which there is one.
pub(crate) fn nearest(rows: &[Row], order: &[(u32, u16)], found: &mut [u32; BLOCK]) -> Row {
    let mut seen = Row::default();
    for level in order.chunks(order.len().div_ceil(LEVELS).max(1)) {
        let all = level.iter().map(|&(_, class)| &rows[usize::from(class)]).fold(seen, Row::or);
        all.without(&seen).for_each(|tree| found[tree] = level[0].0);
        seen = all;
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use crate::routing::map::Place;

    fn tree(dice: &mut Dice, relays: usize, old: &Tree) -> Tree {
        let mut tree = Tree { is_odd: dice.below(4) == 0, ..Tree::default() };
        // Some begin as they did before.
        let stay = dice.below(2 * old.nodes.len() as u64 + 1) as usize;
        tree.nodes.extend(old.nodes.iter().take(stay));
        for _ in 0..dice.below(40) {
            let place = Place::at(dice.below(relays as u64) as usize);
            if !tree.contains(place) {
                tree.nodes.push(Node::new(place, 0, 0));
                let is_wanted = dice.below(2) == 0;
                tree.nodes.iter_mut().rev().take(usize::from(is_wanted)).for_each(Node::make_terminal);
            }
        }
        tree.nodes.truncate(60);
        tree
    }

    fn rows_tell_what_trees_are(relays: usize) {
        let mut dice = Dice::new(1);
        let mut marks = Marks::new(relays);
        let mut trees: Vec<Tree> = Vec::new();
        for count in [BLOCK - 1, 2 * BLOCK] {
            trees.resize(count, Tree::default());
            marks.reserve(count);
            for number in (0..count).chain(0..count) {
                let new = tree(&mut dice, relays, &trees[number]);
                marks.change(number, &trees[number], &new.nodes, new.is_odd);
                trees[number] = new;
            }
            let blocks: Vec<_> = marks.blocks().collect();
            for (number, tree) in trees.iter().enumerate() {
                let (block, bit) = (&blocks[number / BLOCK], number % BLOCK);
                assert_eq!(block.odd.has(bit), tree.is_odd);
                for class in 0..block.on.len() {
                    let of_class = |node: &&Node| node.place().index() % CLASSES == class;
                    let mut nodes = tree.nodes.iter().filter(of_class);
                    assert_eq!(block.on[class].has(bit), nodes.clone().count() > 0);
                    assert_eq!(block.wanted[class].has(bit), nodes.any(|node| node.is_terminal()));
                }
            }
        }
    }

    #[test]
    fn rows_tell_what_trees_are_whatever_they_were() {
        // With rows of their own, and more relays than have such.
        rows_tell_what_trees_are(60);
        rows_tell_what_trees_are(CLASSES + 200);
    }
}
