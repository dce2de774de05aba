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

use crate::routing::island::{Island, Standing};
use crate::routing::map::{Map, Place, UNREACHABLE};
use crate::routing::order::{Orders, Spread};
use crate::routing::shortest::Distances;
use crate::routing::tree::{CutOff, Node, Shape, Tree};

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
    /// The relays to reach, in any order, without repetition.
    pub(crate) relays: &'w [Place],
}

/// The weight of the distance to a new relay in trees of a shape.
pub(crate) fn weight(shape: Shape) -> u64 {
    match shape {
        Shape::Shared => SHARED_WEIGHT,
        Shape::From(_) => 1,
    }
}

/// A relay that is not on the tree yet, and the best place to join it to.
#[derive(Clone, Copy)]
struct Waiting {
    place: Place,
    key: u64,
    distance: u32,
    from: u16,
}

const NO_KEY: u64 = u64::MAX;

/// Grows trees one after the other; the buffers are used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grower {
    /// The index of each relay among `nodes`, or [`OFF`].
    pub(crate) at: Vec<u16>,
    pub(crate) nodes: Vec<Node>,
    /// How many children each of `nodes` may still get.
    pub(crate) room: Vec<u32>,
    waiting: Vec<Waiting>,
    pub(crate) path: Vec<Place>,
    terminals: Vec<Place>,
    cut_off: Vec<CutOff>,
    pub(crate) weight: u64,
    is_odd: bool,
    is_over_cap: bool,
    greatest: u64,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} from {} for {}", self.place, self.from, self.key)
    }
}

impl Grower {
    /// The tree that is wanted: equal for equal arguments.
    pub(crate) fn grow(&mut self, world: World<'_>, want: Want<'_>) -> Tree {
        self.at.resize(world.map.relay_count(), OFF);
        self.weight = weight(want.shape);
        self.greatest = 0;
        self.find_terminals(world, want);
        let ranks = world.orders.of(want.spread);
        if let Some(root) = self.choose_root(world, want.shape, ranks) {
            self.plant(world, root, ranks);
            while let Some(next) = self.next_waiting(ranks) {
                self.join(world, next, ranks);
            }
        }
        self.finish()
    }

    /// The greatest key of a choice in the last tree.
    pub(crate) fn greatest(&self) -> u64 {
        self.greatest
    }

    /// The relays to reach inside the island, custodians for those outside.
    fn find_terminals(&mut self, world: World<'_>, want: Want<'_>) {
        self.terminals.clear();
        if world.island.is_everything() {
            self.terminals.extend_from_slice(want.relays);
        } else {
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
        }
        self.terminals.sort_unstable();
        self.terminals.dedup();
    }

    /// The origin of its own tree, or the relay from which the others are nearest
    /// in sum: one that reaches more of them first, transit relays next.
    fn choose_root(&self, world: World<'_>, shape: Shape, ranks: &[u16]) -> Option<Place> {
        if let Shape::From(origin) = shape {
            match world.island.standing(origin) {
                Standing::Inside => return Some(origin),
                Standing::KeptBy(custodian) => return Some(custodian),
                Standing::Lost => {}
            }
        }
        let worth = |&place: &Place| {
            let (missed, sum) = self.sum_to_terminals(world, place);
            (missed, !world.map.is_transit(place), sum, ranks[place.index()])
        };
        self.terminals.iter().copied().min_by_key(worth)
    }

    /// How many of the relays to reach cannot be, and how far the others are in sum.
    fn sum_to_terminals(&self, world: World<'_>, place: Place) -> (u32, u64) {
        let row = world.distances.row(place);
        self.terminals.iter().fold((0, 0), |(missed, sum), terminal| match row[terminal.index()] {
            UNREACHABLE => (missed + 1, sum),
            distance => (missed, sum + u64::from(distance)),
        })
    }

    /// Begins the tree and lets all others wait.
    fn plant(&mut self, world: World<'_>, root: Place, ranks: &[u16]) {
        let waiting = |&place: &Place| Waiting { place, key: NO_KEY, distance: UNREACHABLE, from: OFF };
        self.waiting.clear();
        self.waiting.extend(self.terminals.iter().filter(|&&place| place != root).map(waiting));
        self.add(world, root, None, 0);
        self.nodes[0].make_terminal();
        if !world.map.is_transit(root) && self.waiting.len() > 1 {
            self.is_odd = true;
            self.room[0] = 0;
            if let Some(neighbour) = self.best_transit_neighbour(world, root, ranks) {
                let cost = world.distances.row(root)[neighbour.index()];
                self.add(world, neighbour, Some(0), cost);
                self.offer(world, 1, ranks);
            } else {
                self.room[0] = 1;
            }
        }
        self.offer(world, 0, ranks);
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
            let (missed, sum) = self.sum_to_terminals(world, place);
            let way = u64::from(row[place.index()]) * self.waiting.len() as u64;
            (missed, sum + way, ranks[place.index()])
        })
    }

    /// Puts a relay on the tree.
    pub(crate) fn add(&mut self, world: World<'_>, place: Place, parent: Option<u16>, distance: u32) -> u16 {
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
            }
            // A root that is no transit has one neighbour like every leaf.
            None => self.room.push(room.max(1)),
        }
        at
    }

    /// Lets all that wait consider one relay of the tree.
    fn offer(&mut self, world: World<'_>, at: u16, ranks: &[u16]) {
        if self.room[usize::from(at)] == 0 {
            return;
        }
        let node = self.nodes[usize::from(at)];
        let (here, base) = (node.place().index(), u64::from(node.distance));
        for waiting in &mut self.waiting {
            let distance = world.distances.row(waiting.place)[here];
            let key = base + self.weight * u64::from(distance);
            if key > waiting.key || distance == UNREACHABLE {
                continue;
            }
            let rank = |from: u16| ranks[self.nodes[usize::from(from)].place().index()];
            let is_better = key < waiting.key
                || distance < waiting.distance
                || (distance == waiting.distance && rank(at) < rank(waiting.from));
            if is_better {
                (waiting.key, waiting.distance, waiting.from) = (key, distance, at);
            }
        }
    }

    /// Takes out the relay that joins next.
    fn next_waiting(&mut self, ranks: &[u16]) -> Option<Waiting> {
        let mut best: Option<(u64, u16, usize)> = None;
        let mut at = 0;
        while at < self.waiting.len() {
            let Waiting { place, key, .. } = self.waiting[at];
            let joined = self.at[place.index()];
            if joined != OFF {
                // It lay on another one's path.
                self.nodes[usize::from(joined)].make_terminal();
                self.waiting.swap_remove(at);
                continue;
            }
            if best.is_none_or(|(least, rank, _)| (key, ranks[place.index()]) < (least, rank)) {
                best = Some((key, ranks[place.index()], at));
            }
            at += 1;
        }
        best.map(|(_, _, at)| self.waiting.swap_remove(at))
    }

    /// Joins one relay: by the path found, by a detour, past a cap, or not at all.
    fn join(&mut self, world: World<'_>, waiting: Waiting, ranks: &[u16]) {
        let mut from = waiting.from;
        let mut is_found = waiting.key != NO_KEY;
        if is_found {
            self.greatest = self.greatest.max(waiting.key);
            from = self.walk(world, waiting.place, from, ranks);
            is_found = self.room[usize::from(from)] > 0;
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
        self.extend(world, from, ranks);
    }

    /// Finds the shortest path from a relay of the tree to one outside; the path is
    /// left in `self.path`, from the last relay of the tree on it, which is returned.
    pub(crate) fn walk(&mut self, world: World<'_>, to: Place, from: u16, ranks: &[u16]) -> u16 {
        let row = world.distances.row(to);
        let mut last = from;
        let mut place = self.nodes[usize::from(from)].place();
        self.path.clear();
        while place != to {
            place = self.next_step(world, row, to, place, ranks);
            match self.at[place.index()] {
                OFF => self.path.push(place),
                at => {
                    last = at;
                    self.path.clear();
                }
            }
        }
        last
    }

    fn next_step(&self, world: World<'_>, row: &[u32], to: Place, place: Place, ranks: &[u16]) -> Place {
        let left = row[place.index()];
        let mut best: Option<(bool, u16, u16)> = None;
        for end in world.map.ends(place) {
            let next = usize::from(end.to);
            if row[next].saturating_add(end.cost) != left {
                continue;
            }
            if end.to == to.0 || world.map.is_transit(Place(end.to)) {
                let choice = (self.at[next] == OFF, ranks[next], end.to);
                best = Some(best.map_or(choice, |best| best.min(choice)));
            }
        }
        Place(best.expect("a finite distance has a next step").2)
    }

    /// Puts the relays of `self.path` on the tree, below `from`.
    fn extend(&mut self, world: World<'_>, from: u16, ranks: &[u16]) {
        let path = std::mem::take(&mut self.path);
        let first_new = Place::at(self.nodes.len()).0;
        let mut parent = from;
        for &place in &path {
            let above = self.nodes[usize::from(parent)];
            let cost = world.map.live_cost(above.place(), place).unwrap_or(UNREACHABLE);
            parent = self.add(world, place, Some(parent), above.distance.saturating_add(cost));
        }
        self.nodes[usize::from(parent)].make_terminal();
        self.path = path;
        for at in first_new..=parent {
            self.offer(world, at, ranks);
        }
        if self.room[usize::from(from)] == 0 {
            self.withdraw(world, from, ranks);
        }
    }

    /// A relay of the tree takes no more children: who wanted to join there looks again.
    fn withdraw(&mut self, world: World<'_>, full: u16, ranks: &[u16]) {
        let mut kept = std::mem::take(&mut self.waiting);
        for lost in kept.iter_mut().filter(|waiting| waiting.from == full) {
            self.waiting.push(Waiting { place: lost.place, key: NO_KEY, distance: UNREACHABLE, from: OFF });
            for node in 0..self.nodes.len() {
                self.offer(world, Place::at(node).0, ranks);
            }
            *lost = self.waiting.pop().expect("it was just pushed");
        }
        self.waiting = kept;
    }

    /// Hands out the tree and forgets it.
    fn finish(&mut self) -> Tree {
        for node in &self.nodes {
            self.at[node.place().index()] = OFF;
        }
        let tree = Tree {
            nodes: self.nodes.as_slice().into(),
            cut_off: self.cut_off.as_slice().into(),
            is_odd: self.is_odd,
            is_over_cap: self.is_over_cap,
        };
        self.nodes.clear();
        self.room.clear();
        self.cut_off.clear();
        (self.is_odd, self.is_over_cap) = (false, false);
        tree
    }
}
