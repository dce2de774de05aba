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

/// Whether all relays of a map of so many have rows of their own.
pub(crate) fn is_small(relay_count: usize) -> bool {
    relay_count <= CLASSES
}

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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
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
    /// Block by block: the odd trees, then for each class of relays the trees they are on, then
    /// those that are for them.
    rows: Vec<Row>,
    has_shared_rows: bool,
    /// By class: what is left of the old tree; 0 when none is changed.
    seen: Vec<u8>,
}

impl Marks {
    /// No trees yet, of a map of so many relays.
    pub(crate) fn new(relay_count: usize) -> Self {
        let classes = relay_count.clamp(1, CLASSES);
        let has_shared_rows = !is_small(relay_count);
        Self { classes, rows: Vec::new(), has_shared_rows, seen: vec![0; classes] }
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

    /// Tree `number` was one thing and is another one now. Where all relays have rows of their own
    /// only those rows are looked at in which something differs.
    pub(crate) fn change(&mut self, number: usize, old: &Tree, new: &[Node], is_odd: bool) {
        let rows = self.rows_per_block();
        let (first, bit) = (number / BLOCK * rows, number % BLOCK);
        let Some(block) = self.rows.get_mut(first..first + rows) else { return };
        let (odd, block) = block.split_at_mut(1);
        let (on, wanted) = block.split_at_mut(self.classes);
        let class = |node: &Node| node.place().index() % self.classes;
        let same = old.nodes.iter().zip(new).take_while(|(old, new)| old == new).count();
        let same = if self.has_shared_rows { 0 } else { same };
        let (old_nodes, new) = (&old.nodes[same..], &new[same..]);
        for node in old_nodes {
            self.seen[class(node)] |= ON | if node.is_terminal() { WANTED } else { 0 };
        }
        for node in new {
            let seen = &mut self.seen[class(node)];
            if *seen & ON == 0 || self.has_shared_rows {
                on[class(node)].add(bit);
            }
            *seen &= !ON;
            if node.is_terminal() {
                if *seen & WANTED == 0 || self.has_shared_rows {
                    wanted[class(node)].add(bit);
                }
                *seen &= !WANTED;
            }
        }
        for node in old_nodes {
            let seen = std::mem::take(&mut self.seen[class(node)]);
            if seen & ON != 0 {
                on[class(node)].remove(bit);
            }
            if seen & WANTED != 0 {
                wanted[class(node)].remove(bit);
            }
        }
        if old.is_odd != is_odd {
            if is_odd { odd[0].add(bit) } else { odd[0].remove(bit) }
        }
    }
}

/// What a tree had of a relay, when it becomes another one.
const ON: u8 = 1;
const WANTED: u8 = 2;

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
