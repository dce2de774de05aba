//! What may happen next in a small network, one thing at a time: for a search of all orders.
//!
//! The dice decide nothing here. Time stands still until somebody chooses that it passes, so two
//! orders that lead to the same disks, wires and relays lead to the same [`Small`], and a search
//! goes on from one of them only.

use std::fmt::Write;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::Xxh3;

use super::super::node::Node;
use super::World;

/// Milliseconds of a rest: everybody's housekeeping is due after it.
const REST_MS: u64 = 2_000;

/// One thing that may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A message is put at a relay.
    Put(usize),
    /// The next message of a wire arrives at this end of it.
    Arrive(usize, usize),
    /// A disk syncs what waits.
    Sync(usize),
    /// A relay saves a snapshot.
    Save(usize),
    /// A relay crashes; so many of the entries that were not synced are on its disk all the same.
    Crash(usize, usize),
    /// A disk has no room for messages any more.
    Fill(usize),
    /// It has room again.
    Free(usize),
    /// A relay that is down starts.
    Start(usize),
    /// A link breaks, and loses what is on its way.
    Break(usize),
    /// A link comes up.
    Mend(usize),
    /// Time passes until the next deadline of anybody.
    Tick,
    /// Time passes until all deadlines are due.
    Rest,
}

/// How often things may happen that are not bound to end by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Messages that are put, by relay.
    pub puts: Vec<u8>,
    /// Crashes, by relay.
    pub crashes: Vec<u8>,
    /// Breaks, by link.
    pub breaks: Vec<u8>,
    /// How often the disk becomes full, by relay.
    pub fills: Vec<u8>,
    /// Snapshots, of any relay.
    pub saves: u8,
    /// Moves of the clock while nobody has a new map to plan; then it moves for nothing.
    pub ticks: u8,
    /// Long rests.
    pub rests: u8,
    /// Whether the clock also moves while something is on its way: messages may take longer than
    /// any deadline.
    pub slow: bool,
}

/// Whether there is something left for this place.
fn is_left(left: &[u8], place: usize) -> bool {
    left.get(place).is_some_and(|left| *left > 0)
}

/// Takes one thing from what is left of it.
fn spend(left: &mut u8) {
    *left = left.checked_sub(1).expect("only what is left is offered");
}

/// A network in a search, and what may still happen to it.
#[derive(Clone, Debug)]
pub struct Small {
    world: World,
    left: Budget,
    wrong: Option<String>,
    digest: u64,
}

impl Hash for Small {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.digest);
    }
}

impl PartialEq for Small {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Small {
    /// Begins with a network that has come to rest, in which every put goes into group `g`.
    #[must_use]
    pub fn new(world: World, left: Budget) -> Self {
        let mut small = Self { world, left, wrong: None, digest: 0 };
        small.digest = small.digest();
        small
    }

    /// Everything that may happen now. Nothing follows on what is wrong.
    #[must_use]
    pub fn choices(&self) -> Vec<Choice> {
        let mut all = Vec::new();
        if self.wrong.is_none() {
            (0..self.world.nodes.len()).for_each(|node| self.choices_of(node, &mut all));
            (0..self.world.wires.len()).for_each(|wire| self.choices_between(wire, &mut all));
            let is_planning = self.world.nodes.iter().any(Node::is_planning);
            let may_wait = self.left.slow || self.is_still();
            if may_wait && (is_planning || self.left.ticks > 0) {
                all.push(Choice::Tick);
            }
            if may_wait && self.left.rests > 0 {
                all.push(Choice::Rest);
            }
        }
        all
    }

    fn choices_of(&self, place: usize, all: &mut Vec<Choice>) {
        let (node, left) = (&self.world.nodes[place], &self.left);
        if !node.is_up() {
            all.push(Choice::Start(place));
            return;
        }
        if is_left(&left.puts, place) && node.has_room() {
            all.push(Choice::Put(place));
        }
        if !node.is_synced() {
            all.push(Choice::Sync(place));
        } else if left.saves > 0 {
            all.push(Choice::Save(place));
        }
        if is_left(&left.crashes, place) {
            all.extend((0..=node.unsynced()).map(|kept| Choice::Crash(place, kept)));
        }
        if !node.has_room() {
            all.push(Choice::Free(place));
        } else if is_left(&left.fills, place) {
            all.push(Choice::Fill(place));
        }
    }

    fn choices_between(&self, place: usize, all: &mut Vec<Choice>) {
        let wire = &self.world.wires[place];
        let is_on_its_way = |end: &usize| !wire.to[*end].is_empty();
        all.extend([0, 1].into_iter().filter(is_on_its_way).map(|end| Choice::Arrive(place, end)));
        if wire.is_up && is_left(&self.left.breaks, place) {
            all.push(Choice::Break(place));
        }
        if !wire.is_up && wire.ends.iter().all(|end| self.world.nodes[*end].is_up()) {
            all.push(Choice::Mend(place));
        }
    }

    /// What the network is after something has happened.
    #[must_use]
    pub fn after(&self, choice: Choice) -> Self {
        let mut next = self.clone();
        let run = std::panic::AssertUnwindSafe(|| next.choose(choice));
        if std::panic::catch_unwind(run).is_err() {
            next.wrong = Some(format!("a relay panicked at {choice:?}"));
        }
        next.digest = next.digest();
        next
    }

    fn choose(&mut self, choice: Choice) {
        let (world, left) = (&mut self.world, &mut self.left);
        match choice {
            Choice::Put(node) => {
                spend(&mut left.puts[node]);
                world.put(node, "g", 1);
            }
            Choice::Arrive(wire, end) => assert!(world.arrive(wire, end), "only what is there arrives"),
            Choice::Sync(node) => world.sync(node),
            Choice::Save(node) => {
                spend(&mut left.saves);
                world.save(node);
            }
            Choice::Crash(node, kept) => {
                spend(&mut left.crashes[node]);
                world.crash_keeping(node, kept);
            }
            Choice::Fill(node) => {
                spend(&mut left.fills[node]);
                world.set_room(node, false);
            }
            Choice::Free(node) => world.set_room(node, true),
            Choice::Start(node) => world.start(node),
            Choice::Break(wire) => {
                spend(&mut left.breaks[wire]);
                world.set_link(wire, false);
            }
            Choice::Mend(wire) => world.set_link(wire, true),
            Choice::Tick => {
                if !world.nodes.iter().any(Node::is_planning) {
                    spend(&mut left.ticks);
                }
                world.pass_to_deadline();
            }
            Choice::Rest => {
                spend(&mut left.rests);
                world.pass_ms(REST_MS);
            }
        }
        self.world.nodes.iter_mut().for_each(Node::forget_counts);
        self.wrong = self.world.watch.broken().err();
        if self.wrong.is_none() && self.is_quiet() {
            self.wrong = self.end();
        }
    }

    /// Whether nothing happens any more by itself, but for what is down or broken.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let is_done = |node: &Node| !node.is_up() || (node.is_synced() && !node.is_planning());
        self.world.nodes.iter().all(is_done) && self.is_still()
    }

    /// Whether nothing is on its way.
    fn is_still(&self) -> bool {
        let is_empty = |wire: &super::Wire| wire.to.iter().all(std::collections::VecDeque::is_empty);
        self.world.wires.iter().all(is_empty)
    }

    /// What is wrong when everything starts and heals now, and every subscription takes what it has.
    fn end(&self) -> Option<String> {
        self.world.clone().finish().err()
    }

    /// What is wrong, if anything is.
    #[must_use]
    pub fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    /// The network.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What may still happen.
    #[must_use]
    pub fn left(&self) -> &Budget {
        &self.left
    }

    /// Everything that decides what can happen from now on: relays, disks, wires, the clock. What
    /// relays are is what they say of themselves for debugging: no field is forgotten there.
    fn digest(&self) -> u64 {
        struct Words(Xxh3);
        impl Write for Words {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.update(text.as_bytes());
                Ok(())
            }
        }
        let mut words = Words(Xxh3::new());
        let World { nodes, wires, now, oracle, .. } = &self.world;
        write!(words, "{nodes:?}{wires:?}{now:?}{oracle:?}{:?}{:?}", self.left, self.wrong)
            .expect("a hash takes everything");
        words.0.digest()
    }
}
