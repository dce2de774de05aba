//! The tree of one set of relays: which links a group's messages take.
//!
//! A tree is a pure function of the [map](super::map), the relays it must reach,
//! its [`Shape`], the order that breaks ties and the [`Algorithm`]. It says
//! nothing about the tree before it. How it is found is in `grow`.

use serde::{Deserialize, Serialize};

use crate::routing::map::{Map, Place};

/// How trees are computed. Relays of different versions use the least one that
/// all of them speak, so that no two ways are mixed in one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Algorithm {
    /// Prim–Dijkstra with α = 1/4 from the 1-median, or shortest paths.
    #[default]
    One,
    /// The same with other ties: one that no program speaks, for simulations of upgrades.
    #[cfg(any(test, feature = "sim"))]
    Simulated,
}

impl Algorithm {
    /// The number by which relays tell each other which ones they speak.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::One => 1,
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated => 2,
        }
    }

    /// The newest way that this program and all of those speak who say these numbers. Numbers that
    /// this program does not know are of newer programs: they speak all that came before.
    #[must_use]
    pub fn least(numbers: impl IntoIterator<Item = u16>) -> Self {
        match numbers.into_iter().min() {
            #[cfg(any(test, feature = "sim"))]
            Some(2..) => Self::Simulated,
            _ => Self::One,
        }
    }
}

/// What a tree is best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Low total cost: for messages from any of its relays.
    Shared,
    /// Shortest paths from this relay: for its messages.
    From(Place),
}

/// A relay that a tree should reach and cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CutOff {
    /// The relay.
    pub relay: Place,
    /// The relay of the tree that keeps messages for it, if a configured path
    /// leads to one.
    pub custodian: Option<Place>,
}

/// A relay of a tree that has more children than it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverCap {
    /// The relay.
    pub relay: Place,
    /// How many it has.
    pub children: u32,
    /// The most that it wants.
    pub most: u32,
}

/// One relay of a tree. Parents stand before their children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: u16,
    /// The index of the parent among the nodes; the root is its own.
    pub(crate) parent: u16,
    /// The distance from the root along the tree.
    pub(crate) distance: u32,
}

/// The bit of [`Node::place`] that tells relays the tree is for from those that
/// only pass on.
const TERMINAL: u16 = 1 << 15;

const _: () = assert!(crate::limits::MAP_RELAYS_MAX <= TERMINAL as usize);

impl Node {
    pub(crate) fn new(place: Place, parent: u16, distance: u32) -> Self {
        Self { place: place.0, parent, distance }
    }

    pub(crate) fn place(self) -> Place {
        Place(self.place & !TERMINAL)
    }

    pub(crate) fn is_terminal(self) -> bool {
        self.place & TERMINAL != 0
    }

    pub(crate) fn make_terminal(&mut self) {
        self.place |= TERMINAL;
    }
}

/// One link of a tree, seen from its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The relay nearer to the root.
    pub parent: Place,
    /// The relay farther from the root.
    pub child: Place,
    /// The live cost of the link.
    pub cost: u32,
}

/// The tree of one set of relays in one island. 8 bytes a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub(crate) nodes: Vec<Node>,
    pub(crate) cut_off: Box<[CutOff]>,
    /// Whether it took more than the usual steps, so that no short test can say
    /// which changes of the map leave it as it is.
    pub(crate) is_odd: bool,
    pub(crate) is_over_cap: bool,
}

impl Tree {
    /// How many relays are on it, those among them that only pass on.
    #[must_use]
    pub fn relay_count(&self) -> usize {
        self.nodes.len()
    }

    /// The relay it was grown from: the 1-median of a shared tree, the origin of
    /// another one. None when the tree reaches nobody.
    #[must_use]
    pub fn root(&self) -> Option<Place> {
        self.nodes.first().map(|node| node.place())
    }

    /// All relays on it, parents before children.
    pub fn relays(&self) -> impl Iterator<Item = Place> {
        self.nodes.iter().map(|node| node.place())
    }

    /// Whether a relay is on it. O(size of the tree).
    #[must_use]
    pub fn contains(&self, place: Place) -> bool {
        self.find(place).is_some()
    }

    /// Whether the tree is for this relay (a member, an active origin or a
    /// custodian), and does not only pass through it.
    #[must_use]
    pub fn is_for(&self, place: Place) -> bool {
        self.find(place).is_some_and(|at| self.nodes[at].is_terminal())
    }

    /// The next relay towards the root; none for the root and for relays that
    /// are not on the tree.
    #[must_use]
    pub fn parent(&self, place: Place) -> Option<Place> {
        let at = self.find(place).filter(|&at| at != 0)?;
        Some(self.nodes[usize::from(self.nodes[at].parent)].place())
    }

    /// The relays for which this one is the next towards the root.
    pub fn children(&self, place: Place) -> impl Iterator<Item = Place> {
        let at = self.find(place);
        // The root is its own parent, and nobody's child.
        let below = self.nodes.iter().skip(1).filter(move |node| Some(usize::from(node.parent)) == at);
        below.map(|node| node.place())
    }

    /// The relays with which this one shares a link of the tree: a message that
    /// came from one of them goes to all others. O(size of the tree).
    pub fn neighbours(&self, place: Place) -> impl Iterator<Item = Place> {
        self.parent(place).into_iter().chain(self.children(place))
    }

    /// All links, from the root outwards.
    pub fn edges(&self) -> impl Iterator<Item = Edge> {
        self.nodes.iter().skip(1).map(|node| {
            let parent = self.nodes[usize::from(node.parent)];
            Edge {
                parent: parent.place(),
                child: node.place(),
                cost: node.distance.saturating_sub(parent.distance),
            }
        })
    }

    /// The sum of the costs of its links.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.edges().map(|edge| u64::from(edge.cost)).sum()
    }

    /// The distance between two of its relays along the tree; none when one is
    /// not on it. O(size of the tree).
    #[must_use]
    pub fn distance(&self, one: Place, other: Place) -> Option<u64> {
        let (from, to) = (self.find(one)?, self.find(other)?);
        let (mut low, mut high) = (from, to);
        // Parents stand before children, so the later of two is never above the
        // other one: both meet at their last common relay.
        while low != high {
            let later = if low > high { &mut low } else { &mut high };
            *later = usize::from(self.nodes[*later].parent);
        }
        let from_root = |at: usize| u64::from(self.nodes[at].distance);
        Some(from_root(from) + from_root(to) - 2 * from_root(low))
    }

    /// The relays it should reach and cannot, by place.
    #[must_use]
    pub fn cut_off(&self) -> &[CutOff] {
        &self.cut_off
    }

    /// Whether a relay has more children than it wants, because somebody could
    /// be reached in no other way. A cap never cuts a relay off.
    #[must_use]
    pub fn is_over_cap(&self) -> bool {
        self.is_over_cap
    }

    /// The relays with more children than they want: each with how many it has and the most it wants.
    /// O(size of the tree) when there are any.
    #[must_use]
    pub fn over_cap(&self, map: &Map) -> Vec<OverCap> {
        if !self.is_over_cap {
            return Vec::new();
        }
        let mut children = vec![0_u32; self.nodes.len()];
        self.nodes.iter().skip(1).for_each(|node| children[usize::from(node.parent)] += 1);
        let counted = self.nodes.iter().map(|node| node.place()).zip(children);
        let over = counted.filter_map(|(relay, children)| {
            let most = map.traits(relay).max_children.filter(|most| children > *most)?;
            Some(OverCap { relay, children, most })
        });
        over.collect()
    }

    fn find(&self, place: Place) -> Option<usize> {
        self.nodes.iter().position(|node| node.place() == place)
    }
}
