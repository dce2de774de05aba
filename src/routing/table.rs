//! The trees of all groups, seen from one relay.
//!
//! Groups that reach the same relays share one tree. After a change of the map
//! only the trees that it can matter to are computed again, and the groups whose
//! trees did change are named. The outcome is the same as that of a new table, in
//! whatever order groups and changes came.
//!
//! ```
//! use treecast::id::{GroupNumber, RelayId};
//! use treecast::routing::{GroupWant, Map, Spread, Table};
//! use treecast::topology::{Topology, settings::TreeKind};
//!
//! let text = include_str!("../../topologies/ring.toml");
//! let topology = Topology::parse("ring.toml", text).unwrap().topology;
//! let map = Map::of_topology(&topology, 1).unwrap();
//! let [a, c] = ["a", "c"].map(|name| map.place(&RelayId::new(name).unwrap()).unwrap());
//! let mut table = Table::new(map, a);
//! let group = GroupNumber(7);
//! let want = GroupWant { kind: TreeKind::Shared, spread: Spread::default(), members: &[a, c], origins: &[] };
//! table.set_group(group, want);
//! assert_eq!(table.recompute(), [group]);
//! assert_eq!(table.tree(group, a).unwrap().cost(), 20);
//! ```

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt as _};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::GroupNumber;
use crate::routing::affected::{Brief, Effect, Grown, Scratch};
use crate::routing::grow::{Grower, Want, World, weight};
use crate::routing::island::Island;
use crate::routing::map::{LinkChange, Map, Place};
use crate::routing::marks::{BLOCK, Marks};
use crate::routing::order::{Orders, Spread};
use crate::routing::shortest::Distances;
use crate::routing::slot::{Slot, Users, WHOLE};
use crate::routing::tree::{Algorithm, Shape, Tree};
use crate::routing::wanted::AllWanted;
use crate::topology::settings::TreeKind;

/// With more links changed at once than this, distances are computed anew.
const CHANGES_MAX: usize = 32;

/// What a group's trees are made for.
#[derive(Clone, Copy, Debug)]
pub struct GroupWant<'w> {
    /// One tree for all origins, or one each.
    pub kind: TreeKind,
    /// The order that breaks ties: [`Spread::of`] the group's name.
    pub spread: Spread,
    /// The relays with a durable subscription, in any order.
    pub members: &'w [Place],
    /// The relays that put messages, in any order.
    pub origins: &'w [Place],
}

/// The slots of one group, by origin; for a shared tree one without origin.
type Trees = Vec<(Option<Place>, u32)>;

/// The trees of all groups.
#[derive(Clone, Debug)]
pub struct Table {
    map: Map,
    viewpoint: Place,
    distances: Distances,
    island: Island,
    orders: Orders,
    slots: Vec<Slot>,
    /// One for each slot.
    briefs: Vec<Brief>,
    wanted: AllWanted,
    marks: Marks,
    free: Vec<u32>,
    /// Slots by the hash of what they are for; never walked through.
    index: HashMap<u64, u32>,
    groups: BTreeMap<GroupNumber, Trees>,
    dirty: Vec<u32>,
    /// Groups that are to be named although no tree of theirs changes.
    touched: BTreeSet<GroupNumber>,
    grower: Grower,
    relays: Vec<Place>,
    key: Vec<u8>,
    scratch: Scratch,
}

impl Table {
    /// No groups yet, as the relay at `viewpoint` sees the map. Computes all
    /// distances; see [`Distances::new`].
    #[must_use]
    pub fn new(map: Map, viewpoint: Place) -> Self {
        Self {
            viewpoint,
            distances: Distances::new(&map),
            island: Island::of(&map, viewpoint),
            orders: Orders::new(&map),
            slots: Vec::new(),
            briefs: Vec::new(),
            wanted: AllWanted::default(),
            marks: Marks::new(map.relay_count()),
            free: Vec::new(),
            index: HashMap::new(),
            groups: BTreeMap::new(),
            dirty: Vec::new(),
            touched: BTreeSet::new(),
            grower: Grower::default(),
            relays: Vec::new(),
            key: Vec::new(),
            scratch: Scratch::default(),
            map,
        }
    }

    /// How trees are computed here.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.map.algorithm()
    }

    /// The map that places of relays refer to.
    #[must_use]
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The distances on the map.
    #[must_use]
    pub fn distances(&self) -> &Distances {
        &self.distances
    }

    /// The relays that can be reached from here, and who keeps for the others.
    #[must_use]
    pub fn island(&self) -> &Island {
        &self.island
    }

    /// How many different trees there are.
    #[must_use]
    pub fn tree_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The tree that messages of `group` put at `origin` take. A group of kind
    /// [`TreeKind::Source`] has none for a relay that is not among its origins.
    /// Right after [`recompute`](Self::recompute), as it was then before.
    #[must_use]
    pub fn tree(&self, group: GroupNumber, origin: Place) -> Option<&Tree> {
        let trees = self.groups.get(&group)?;
        let is_it = |(of, _): &&(Option<Place>, u32)| of.is_none_or(|of| of == origin);
        trees.iter().find(is_it).map(|&(_, slot)| &self.slots[slot as usize].tree)
    }

    /// All trees of a group: one without an origin, or one for each.
    pub fn trees(&self, group: GroupNumber) -> impl Iterator<Item = (Option<Place>, &Tree)> {
        let trees = self.groups.get(&group).into_iter().flatten();
        trees.map(|&(origin, slot)| (origin, &self.slots[slot as usize].tree))
    }

    /// Says what a group's trees are for, from now on. Its trees are computed
    /// at the next [`recompute`](Self::recompute). Places must be of this map.
    pub fn set_group(&mut self, group: GroupNumber, want: GroupWant<'_>) {
        let mut relays = std::mem::take(&mut self.relays);
        relays.clear();
        relays.extend(want.members.iter().chain(want.origins));
        relays.sort_unstable();
        relays.dedup();
        let trees = match want.kind {
            TreeKind::Shared => vec![(None, self.take_slot(Shape::Shared, want.spread, &relays, group))],
            TreeKind::Source => {
                let mut origins = want.origins.to_vec();
                origins.sort_unstable();
                origins.dedup();
                let mut slot = |origin| self.take_slot(Shape::From(origin), want.spread, &relays, group);
                origins.into_iter().map(|origin| (Some(origin), slot(origin))).collect()
            }
        };
        self.relays = relays;
        let stay = |slot: u32| trees.iter().any(|&(_, other)| other == slot);
        let old = self.groups.remove(&group).unwrap_or_default();
        old.iter().filter(|&&(_, slot)| !stay(slot)).for_each(|&(_, slot)| self.leave_slot(slot, group));
        self.groups.insert(group, trees);
        self.touched.insert(group);
    }

    /// Forgets a group.
    pub fn remove_group(&mut self, group: GroupNumber) {
        let old = self.groups.remove(&group).unwrap_or_default();
        old.iter().for_each(|&(_, slot)| self.leave_slot(slot, group));
        self.touched.remove(&group);
    }

    /// Takes a newer map. Where only links changed, places stay and only what
    /// they matter to is computed again at the next [`recompute`](Self::recompute).
    /// Where relays came or went, places are other ones; members and origins that
    /// are not on the new map are dropped from all groups, so a caller gives their
    /// names to [`Map::new`].
    ///
    /// Returns false, and does nothing, when the relay whose view this is is not
    /// on the new map.
    pub fn set_map(&mut self, map: Map) -> bool {
        let Some(viewpoint) = map.place(self.map.relay(self.viewpoint)) else { return false };
        match self.map.changes_to(&map) {
            Some(changes) if changes.len() <= CHANGES_MAX => {
                changes.into_iter().for_each(|change| self.change_link(change));
                self.map = map;
                self.look_around();
            }
            _ => self.replace_map(map, viewpoint),
        }
        true
    }

    /// Computes what has to be. Returns, in order, the groups whose trees changed
    /// and those that were set since the last time.
    pub fn recompute(&mut self) -> Vec<GroupNumber> {
        let world =
            World { map: &self.map, distances: &self.distances, island: &self.island, orders: &self.orders };
        self.marks.reserve(self.slots.len());
        let mut named: Vec<GroupNumber> = std::mem::take(&mut self.touched).into_iter().collect();
        let dirty = std::mem::take(&mut self.dirty);
        for at in dirty.iter().map(|&at| at as usize) {
            let slot = &mut self.slots[at];
            let kept = std::mem::replace(&mut slot.kept, WHOLE);
            if slot.users.is_empty() || kept == WHOLE {
                continue;
            }
            let want = Want { shape: slot.shape, spread: slot.spread, relays: &slot.relays };
            match kept {
                0 => self.grower.grow(world, want),
                kept => {
                    let old = (&slot.tree, self.wanted.of(self.briefs[at].wanted));
                    self.grower.grow_on(world, want, old, usize::from(kept));
                }
            }
            if !self.grower.is(&slot.tree) {
                self.marks.change(at, &slot.tree, &self.grower.nodes, self.grower.is_odd());
                self.grower.put_into(&mut slot.tree);
                named.extend(slot.users.iter());
            }
            let brief = &mut self.briefs[at];
            if kept == 0 {
                brief.rivals = self.grower.rivals();
            }
            brief.greatest = self.grower.wanted.iter().map(|wanted| wanted.key).max().unwrap_or_default();
            brief.root = slot.tree.root().unwrap_or_default();
            (brief.spread, brief.weight) = (slot.spread, weight(slot.shape) as u8);
            self.wanted.put(&mut brief.wanted, &self.grower.wanted);
        }
        self.dirty = dirty;
        self.dirty.clear();
        self.wanted.tidy(self.briefs.iter_mut().map(|brief| &mut brief.wanted));
        named.sort_unstable();
        named.dedup();
        named
    }

    /// One link: distances at once, trees that it may matter to later.
    fn change_link(&mut self, change: LinkChange) {
        let before = change.between.map(|end| self.distances.row(end).to_vec());
        self.map.set_live(change.between, change.after);
        self.distances.update(&self.map, change);
        self.grower.only.forget();
        let world =
            World { map: &self.map, distances: &self.distances, island: &self.island, orders: &self.orders };
        let effect = Effect::new(change, world, [&before[0], &before[1]]);
        let briefs = self.briefs.chunks_mut(BLOCK);
        for (block_number, (block, briefs)) in self.marks.blocks().zip(briefs).enumerate() {
            let sifted = effect.sift(block, briefs, &self.wanted, &mut self.scratch);
            sifted.all.for_each(|number| {
                let at = block_number * BLOCK + number;
                let slot = &mut self.slots[at];
                let wanted = self.wanted.of(briefs[number].wanted);
                let grown = Grown { number, shape: slot.shape, tree: &slot.tree, wanted };
                if let Some(kept) = effect.kept(grown, &sifted, &mut self.scratch) {
                    if slot.kept == WHOLE {
                        self.dirty.push(at as u32);
                    }
                    slot.kept = slot.kept.min(Place::at(kept).0);
                }
            });
        }
    }

    /// Who can be reached, after links changed: trees for relays of which that is
    /// something else now are computed again.
    fn look_around(&mut self) {
        let island = Island::of(&self.map, self.viewpoint);
        if island == self.island {
            return;
        }
        let is_other: Vec<bool> =
            self.map.places().map(|place| island.standing(place) != self.island.standing(place)).collect();
        self.island = island;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.relays.iter().any(|place| is_other[place.index()]) {
                if slot.kept == WHOLE {
                    self.dirty.push(at as u32);
                }
                slot.kept = 0;
            }
        }
    }

    /// Another map altogether: all groups are set again with the places of the new one.
    fn replace_map(&mut self, map: Map, viewpoint: Place) {
        let mut table = Self::new(map, viewpoint);
        let place_of = |place: Place| table.map.place(self.map.relay(place));
        let places: Vec<Option<Place>> = self.map.places().map(place_of).collect();
        let mut relays = Vec::new();
        for (&group, trees) in &self.groups {
            let mut moved = Trees::new();
            for &(origin, slot) in trees {
                let slot = &self.slots[slot as usize];
                relays.clear();
                relays.extend(slot.relays.iter().filter_map(|place| places[place.index()]));
                let origin = origin.map(|origin| places[origin.index()]);
                let shape = match origin {
                    None => Shape::Shared,
                    Some(Some(origin)) => Shape::From(origin),
                    Some(None) => continue,
                };
                moved.push((origin.flatten(), table.take_slot(shape, slot.spread, &relays, group)));
            }
            table.groups.insert(group, moved);
            table.touched.insert(group);
        }
        *self = table;
    }

    /// The slot of a tree for sorted relays, a new one if there is none yet.
    fn take_slot(&mut self, shape: Shape, spread: Spread, relays: &[Place], group: GroupNumber) -> u32 {
        let mut hash = self.hash(shape, spread, relays);
        while let Some(&at) = self.index.get(&hash) {
            let slot = &mut self.slots[at as usize];
            if (slot.shape, slot.spread, &*slot.relays) == (shape, spread, relays) && !slot.users.is_empty() {
                slot.users.add(group);
                return at;
            }
            // Another set with the same hash: it goes under the next one.
            hash = hash.wrapping_add(1);
        }
        let slot = Slot {
            shape,
            spread,
            relays: relays.into(),
            users: Users::One(group),
            tree: Tree::default(),
            kept: 0,
        };
        let at = self.free.pop().unwrap_or(self.slots.len() as u32);
        if at as usize == self.slots.len() {
            self.slots.push(slot);
            self.briefs.push(Brief::default());
        } else {
            self.slots[at as usize] = slot;
        }
        self.index.insert(hash, at);
        self.dirty.push(at);
        at
    }

    /// One user less. A slot that nobody uses any more leaves the index when it is
    /// found there by its own hash; one under a later hash stays, unused, until
    /// its slot is taken again and no longer matches.
    fn leave_slot(&mut self, at: u32, group: GroupNumber) {
        let slot = &mut self.slots[at as usize];
        slot.users.remove(group);
        if !slot.users.is_empty() {
            return;
        }
        self.marks.change(at as usize, &slot.tree, &[], false);
        self.wanted.put(&mut self.briefs[at as usize].wanted, &[]);
        slot.tree = Tree::default();
        let (shape, spread) = (slot.shape, slot.spread);
        let relays = std::mem::take(&mut slot.relays);
        let hash = self.hash(shape, spread, &relays);
        if self.index.get(&hash) == Some(&at) {
            self.index.remove(&hash);
        }
        self.free.push(at);
    }

    fn hash(&mut self, shape: Shape, spread: Spread, relays: &[Place]) -> u64 {
        let origin = match shape {
            Shape::Shared => u16::MAX,
            Shape::From(origin) => origin.0,
        };
        self.key.clear();
        self.key.push(spread.number());
        self.key.extend(origin.to_le_bytes());
        relays.iter().for_each(|place| self.key.extend(place.0.to_le_bytes()));
        xxh3_64(&self.key)
    }
}
