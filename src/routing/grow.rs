//! How a tree is found.
//!
//! One rule with one weight: again and again that relay `v` and that relay `u` of
//! the tree are joined which make `distance along the tree(root, u) + weight ·
//! distance(u, v)` least, and the relays on a shortest path between them join
//! with them. Weight 4 is the Prim–Dijkstra blend with α = 1/4 (Alpert, Hu,
//! Huang, Kahng, Karger 1995), grown from the 1-median of the relays to reach: near
//! the least total cost, without its long detours. Weight 1 is Dijkstra's rule and
//! gives shortest paths from the root.
//!
//! Of equal choices the one with the shorter new path is taken, then by the order
//! of the group; of equal paths the one that stays in the tree longest, then by
//! the same order.
//!
//! A relay that is no transit gets no child. Were one the root, the tree could
//! not branch there, so it begins at the best transit neighbour instead. A relay
//! that has as many children as it wants gets no more while there is another way;
//! detours are for that (`detour`).
//!
//! Cost: with t relays to reach and n on the tree, t² + t·n distances are looked
//! up, and each new relay looks at its links once.
//!
//! The relays of a tree stand in the order in which they joined, and of each that the tree is for it
//! is known which choice joined it ([`Wanted`]): a tree can be grown again from any of them on.

use crate::routing::island::{Island, Standing};
use crate::routing::map::{Map, Place, UNREACHABLE};
use crate::routing::median::{Median, NO_OTHER, Sums, median, sum_to};
use crate::routing::only::OnlySteps;
use crate::routing::order::{Orders, Spread};
use crate::routing::shortest::Distances;
use crate::routing::tree::{CutOff, Node, Shape, Tree};
use crate::routing::waiting::{NO_KEY, Offered, Waiting};
use crate::routing::walk::OnWay;
use crate::routing::wanted::Wanted;

/// What the total cost weighs against the distance from the root, times 4.
const SHARED_WEIGHT: u64 = 4;

/// Not on the tree.
pub(crate) const OFF: u16 = u16::MAX;

/// What is known of the network.
#[derive(Clone, Copy)]
pub(crate) struct World<'w> {
    pub(crate) map: &'w Map,
    pub(crate) distances: &'w Distances,
    pub(crate) island: &'w Island,
    pub(crate) orders: &'w Orders,
}

/// The tree that is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Want<'w> {
    pub(crate) shape: Shape,
    pub(crate) spread: Spread,
    /// The relays to reach, sorted, without repetition.
    pub(crate) relays: &'w [Place],
}

/// The weight of the distance to a new relay in trees of a shape.
pub(crate) fn weight(shape: Shape) -> u64 {
    match shape {
        Shape::Shared => SHARED_WEIGHT,
        Shape::From(_) => 1,
    }
}

/// Grows trees one after the other; the buffers are used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grower {
    /// The index of each relay among `nodes`, or [`OFF`].
    pub(crate) at: Vec<u16>,
    pub(crate) nodes: Vec<Node>,
    /// How many children each of `nodes` may still get.
    pub(crate) room: Vec<u32>,
    /// How many of `nodes` those who wait have considered.
    considered: usize,
    waiting: Vec<Waiting>,
    pub(crate) path: Vec<OnWay>,
    terminals: Vec<Place>,
    cut_off: Vec<CutOff>,
    pub(crate) weight: u64,
    is_odd: bool,
    is_over_cap: bool,
    /// Whether a relay of the tree takes no more children.
    is_full: bool,
    rivals: u64,
    sums: Sums,
    /// The relays of the tree that it is for.
    pub(crate) wanted: Vec<Wanted>,
    /// Holds for one state of the map, whichever tree is grown.
    pub(crate) only: OnlySteps,
}

impl Grower {
    /// Grows the tree that is wanted, equal for equal arguments; [`put_into`](Self::put_into) takes
    /// it.
    pub(crate) fn grow(&mut self, world: World<'_>, want: Want<'_>) {
        self.forget();
        self.at.resize(world.map.relay_count(), OFF);
        self.weight = weight(want.shape);
        self.find_terminals(world, want);
        let ranks = world.orders.of(want.spread);
        let Some(root) = self.choose_root(world, want.shape, ranks) else { return };
        self.rivals = root.rivals;
        self.plant(world, root.place, ranks);
        self.join_all(world, ranks);
    }

    /// Grows what [`grow`](Self::grow) would, when it is known that the first `kept` relays of `old` stand, a tree for
    /// the same relays that is not odd: up to the end of one of its choices none is another one now.
    pub(crate) fn grow_on(&mut self, world: World<'_>, want: Want<'_>, old: (&Tree, &[Wanted]), kept: usize) {
        self.forget();
        self.weight = weight(want.shape);
        let (tree, wanted) = old;
        let nodes = &tree.nodes[..kept];
        for (at, node) in nodes.iter().enumerate() {
            let parent = (at > 0).then_some(node.parent);
            self.add(world, node.place(), parent, node.distance);
        }
        self.nodes.copy_from_slice(nodes);
        let (joined, waiting) =
            wanted.split_at(wanted.partition_point(|wanted| usize::from(wanted.start) < kept));
        self.wanted.extend_from_slice(joined);
        self.waiting.extend(waiting.iter().map(|wanted| Waiting::new(wanted.place)));
        self.cut_off.extend_from_slice(&tree.cut_off);
        self.join_all(world, world.orders.of(want.spread));
    }

    fn join_all(&mut self, world: World<'_>, ranks: &[u16]) {
        self.only.begin(world.map.relay_count());
        while let Some(next) = self.next_waiting(world, ranks) {
            self.join(world, next, ranks);
        }
    }

    /// The sum of the relay that would have been the root instead; not known of a tree of which
    /// relays were kept.
    pub(crate) fn rivals(&self) -> u64 {
        self.rivals
    }

    /// Whether the last tree that was grown is this one.
    pub(crate) fn is(&self, tree: &Tree) -> bool {
        tree.nodes == self.nodes
            && *tree.cut_off == *self.cut_off
            && (tree.is_odd, tree.is_over_cap) == (self.is_odd, self.is_over_cap)
    }

    pub(crate) fn is_odd(&self) -> bool {
        self.is_odd
    }

    /// Makes `tree` the last one that was grown.
    pub(crate) fn put_into(&self, tree: &mut Tree) {
        if tree.nodes.capacity() < self.nodes.len() {
            tree.nodes = Vec::with_capacity(self.nodes.len());
        }
        tree.nodes.clear();
        tree.nodes.extend_from_slice(&self.nodes);
        if *tree.cut_off != *self.cut_off {
            tree.cut_off = self.cut_off.as_slice().into();
        }
        (tree.is_odd, tree.is_over_cap) = (self.is_odd, self.is_over_cap);
    }

    /// Forgets the last tree.
    fn forget(&mut self) {
        for node in &self.nodes {
            if let Some(at) = self.at.get_mut(node.place().index()) {
                *at = OFF;
            }
        }
        self.nodes.clear();
        self.room.clear();
        self.waiting.clear();
        self.terminals.clear();
        self.cut_off.clear();
        self.wanted.clear();
        (self.is_odd, self.is_over_cap, self.is_full) = (false, false, false);
        self.considered = 0;
    }

    /// The relays to reach inside the island, custodians for those outside.
    fn find_terminals(&mut self, world: World<'_>, want: Want<'_>) {
        if world.island.is_everything() {
            self.terminals.extend_from_slice(want.relays);
            return;
        }
        for &relay in want.relays {
            let custodian = match world.island.standing(relay) {
                Standing::Inside => {
                    self.terminals.push(relay);
                    continue;
                }
                Standing::KeptBy(custodian) => Some(custodian),
                Standing::Lost => None,
            };
            self.cut_off.push(CutOff { relay, custodian });
            self.terminals.extend(custodian);
        }
        self.cut_off.sort_unstable();
        self.terminals.sort_unstable();
        self.terminals.dedup();
    }

    /// The origin of its own tree, or the 1-median.
    fn choose_root(&mut self, world: World<'_>, shape: Shape, ranks: &[u16]) -> Option<Median> {
        if let Shape::From(origin) = shape {
            let alone = |place| Some(Median { place, rivals: NO_OTHER });
            match world.island.standing(origin) {
                Standing::Inside => return alone(origin),
                Standing::KeptBy(custodian) => return alone(custodian),
                Standing::Lost => {}
            }
        }
        median(world, &self.terminals, ranks, &mut self.sums)
    }

    /// Begins the tree and lets all others wait.
    fn plant(&mut self, world: World<'_>, root: Place, ranks: &[u16]) {
        self.waiting
            .extend(self.terminals.iter().filter(|&&place| place != root).map(|&at| Waiting::new(at)));
        self.add(world, root, None, 0);
        self.nodes[0].make_terminal();
        self.wanted.push(Wanted::new(root, 0, 0));
        if !world.map.is_transit(root) && self.waiting.len() > 1 {
            self.is_odd = true;
            self.room[0] = 0;
            self.is_full = true;
            if let Some(neighbour) = self.best_transit_neighbour(world, root, ranks) {
                let cost = world.distances.row(root)[neighbour.index()];
                self.add(world, neighbour, Some(0), cost);
            } else {
                self.room[0] = 1;
            }
        }
    }

    fn best_transit_neighbour(&self, world: World<'_>, root: Place, ranks: &[u16]) -> Option<Place> {
        // Only a link that is itself the shortest way: another neighbour is nearer.
        let row = world.distances.row(root);
        let ends = world.map.ends(root).iter().filter(|end| end.cost != UNREACHABLE);
        let near = ends.filter(|end| row[usize::from(end.to)] == end.cost).map(|end| Place(end.to));
        let transit = near.filter(|&place| {
            let is_inside = world.island.standing(place) == Standing::Inside;
            world.map.is_transit(place) && is_inside
        });
        transit.min_by_key(|&place| {
            let (missed, sum) = sum_to(world, place, &self.terminals);
            let way = u64::from(row[place.index()]) * self.waiting.len() as u64;
            (missed, sum + way, ranks[place.index()])
        })
    }

    /// Puts a relay on the tree.
    fn add(&mut self, world: World<'_>, place: Place, parent: Option<u16>, distance: u32) -> u16 {
        let at = Place::at(self.nodes.len()).0;
        let traits = world.map.traits(place);
        let room = if traits.transit { traits.max_children.unwrap_or(u32::MAX) } else { 0 };
        self.nodes.push(Node::new(place, parent.unwrap_or(at), distance));
        self.at[place.index()] = at;
        match parent {
            Some(parent) => {
                self.room.push(room);
                let left = &mut self.room[usize::from(parent)];
                *left = left.saturating_sub(1);
                self.is_full |= *left == 0 || room == 0;
            }
            // A root that is no transit has one neighbour like every leaf.
            None => self.room.push(room.max(1)),
        }
        at
    }

    /// Takes out the relay that joins next: all that wait have considered the whole tree then.
    fn next_waiting(&mut self, world: World<'_>, ranks: &[u16]) -> Option<Waiting> {
        let Self { at: on_tree, nodes, room, waiting, wanted, is_odd, .. } = self;
        let fresh = self.considered..nodes.len();
        self.considered = nodes.len();
        let (mut least, mut best) = (u64::MAX, usize::MAX);
        let mut at = 0;
        while let Some(one) = waiting.get_mut(at) {
            let joined = on_tree[one.place.index()];
            if joined != OFF {
                // It lay on another one's path, so no choice joined it.
                nodes[usize::from(joined)].make_terminal();
                wanted.push(Wanted::new(one.place, usize::from(joined), 0));
                *is_odd = true;
                waiting.swap_remove(at);
                continue;
            }
            let tree = Offered { nodes, room, ranks };
            one.consider(world.distances.row(one.place), tree, fresh.clone(), self.weight, !self.is_full);
            // Keys are sums of a few numbers of 32 bits.
            let worth = one.key.min(1 << 40) << 16 | u64::from(ranks[one.place.index()]);
            if worth < least {
                (least, best) = (worth, at);
            }
            at += 1;
        }
        (best < waiting.len()).then(|| waiting.swap_remove(best))
    }

    /// Joins one relay: by the path found, by a detour, past a cap, or not at all.
    fn join(&mut self, world: World<'_>, waiting: Waiting, ranks: &[u16]) {
        let mut from = waiting.from;
        let mut is_found = waiting.key != NO_KEY;
        if is_found {
            let begin = from;
            from = self.walk(world, waiting.place, begin, ranks);
            is_found = self.room[usize::from(from)] > 0;
            // A way over relays of the tree has links that need not be on it.
            self.is_odd |= from != begin;
        }
        if !is_found {
            self.is_odd = true;
            let detour = self.detour(world, waiting.place, ranks).or_else(|| {
                let past_cap = self.past_cap(world, waiting.place, ranks);
                self.is_over_cap |= past_cap.is_some();
                past_cap
            });
            let Some(found) = detour else {
                self.cut_off.push(CutOff { relay: waiting.place, custodian: None });
                self.cut_off.sort_unstable();
                return;
            };
            from = found;
        }
        self.wanted.push(Wanted::new(waiting.place, self.nodes.len(), waiting.key));
        self.extend(world, from, ranks);
    }

    /// Puts the relays of `self.path` on the tree, below `from`.
    fn extend(&mut self, world: World<'_>, from: u16, ranks: &[u16]) {
        let path = std::mem::take(&mut self.path);
        let base = self.nodes[usize::from(from)].distance;
        let mut parent = from;
        for step in &path {
            parent = self.add(world, step.place, Some(parent), base.saturating_add(step.way));
        }
        self.nodes[usize::from(parent)].make_terminal();
        self.path = path;
        if self.room[usize::from(from)] == 0 {
            self.withdraw(world, from, ranks);
        }
    }

    /// A relay of the tree takes no more children: who wanted to join there looks again.
    fn withdraw(&mut self, world: World<'_>, full: u16, ranks: &[u16]) {
        let known = 0..self.considered;
        for lost in self.waiting.iter_mut().filter(|waiting| waiting.from == full) {
            *lost = Waiting::new(lost.place);
            let row = world.distances.row(lost.place);
            let tree = Offered { nodes: &self.nodes, room: &self.room, ranks };
            lost.consider(row, tree, known.clone(), self.weight, false);
        }
    }
}
