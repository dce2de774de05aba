//! Links between the relays, and what is on its way over them.

use std::collections::VecDeque;

use super::World;
use crate::dice::Dice;
use crate::id::LinkId;
use crate::relay::Input;
use crate::wire::link::LinkMessage;

/// A link between two relays: in order and without loss while it is up, like a connection.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) ends: [usize; 2],
    pub(super) is_up: bool,
    /// Whether what is said over it gets lost.
    pub(super) is_deaf: bool,
    /// What is on its way to each end.
    pub(super) to: [VecDeque<LinkMessage>; 2],
    /// Runs that were said over it.
    pub(super) runs: u64,
    /// Bytes that were said over it.
    pub(super) bytes: u64,
    /// What was said towards each end.
    pub(super) said: [Said; 2],
}

/// What was said over a link in one direction, while it was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Messages, runs excepted.
    pub messages: u64,
    /// Their frames.
    pub bytes: u64,
    /// Facts in them.
    pub facts: u64,
}

impl Said {
    pub(super) fn count(&mut self, message: &LinkMessage) {
        if matches!(message, LinkMessage::Run { .. }) {
            return;
        }
        self.messages += 1;
        self.bytes += (crate::wire::frame::FRAME_HEADER_BYTES + message.encode().len()) as u64;
        self.facts += if let LinkMessage::Facts(facts) = message { facts.len() as u64 } else { 0 };
    }
}

impl Wire {
    pub(super) fn new(ends: [usize; 2]) -> Self {
        Self {
            ends,
            is_up: false,
            is_deaf: false,
            to: Default::default(),
            runs: 0,
            bytes: 0,
            said: Default::default(),
        }
    }
}

impl World {
    /// Lets everything arrive that is on its way to or from a relay, without any sync.
    pub fn arrive_unsynced(&mut self) {
        for _ in 0..1000 {
            let mut is_quiet = true;
            for wire in 0..self.wires.len() {
                is_quiet &= !self.arrive(wire, 0) & !self.arrive(wire, 1);
            }
            if is_quiet {
                return;
            }
        }
    }

    /// Lets one thing arrive somewhere, if there is one.
    pub fn arrive_some(&mut self, dice: &mut Dice) {
        let wire = dice.below(self.wires.len() as u64) as usize;
        let to = dice.below(2) as usize;
        self.arrive(wire, to);
    }

    /// The wire that one of a relay's links is.
    pub(super) fn wire_of(&self, node: usize, link: LinkId) -> Option<usize> {
        let other = self.nodes[node].neighbour_at(link)?;
        let is_it = |wire: &Wire| {
            let [one, two] = wire.ends;
            (one == node && self.nodes[two].name == *other) || (two == node && self.nodes[one].name == *other)
        };
        // Until the topology is changed links are numbered as wires are.
        let same = (link.0 as usize).checked_sub(1).filter(|place| self.wires.get(*place).is_some_and(is_it));
        same.or_else(|| self.wires.iter().position(is_it))
    }

    /// The links that both ends of a wire have for it; `None` where one has none.
    pub(super) fn links_of(&self, wire: usize) -> [Option<LinkId>; 2] {
        let [one, two] = self.wires[wire].ends;
        [self.nodes[one].link_to(&self.nodes[two].name), self.nodes[two].link_to(&self.nodes[one].name)]
    }

    /// A relay has other links than before: wires without a link break, and new ones are there.
    pub(super) fn rewire(&mut self, node: usize) {
        for wire in 0..self.wires.len() {
            if self.wires[wire].ends.contains(&node) && self.links_of(wire).contains(&None) {
                self.break_wire(wire);
            }
        }
        for other in 0..self.nodes.len() {
            let is_wired = |wire: &Wire| wire.ends.contains(&node) && wire.ends.contains(&other);
            let has_link = self.nodes[node].link_to(&self.nodes[other].name).is_some();
            if other != node && has_link && !self.wires.iter().any(is_wired) {
                self.wires.push(Wire::new([node, other]));
            }
        }
    }

    /// A wire is down at both ends; what was on its way is lost.
    pub(super) fn break_wire(&mut self, wire: usize) {
        if !std::mem::replace(&mut self.wires[wire].is_up, false) {
            return;
        }
        self.wires[wire].to = Default::default();
        for (end, link) in self.wires[wire].ends.into_iter().zip(self.links_of(wire)) {
            if let Some(link) = link {
                self.nodes[end].on_link(self.now, link, false);
                self.collect(end);
            }
        }
    }

    /// Breaks or heals a link, by its place in the list that the world was made from. What was on
    /// its way is lost. A link comes up only between relays that run.
    pub fn set_link(&mut self, wire: usize, is_up: bool) {
        let ends = self.wires[wire].ends;
        let may_join = |end: &usize| self.nodes[*end].is_up() && !self.cut_off.contains(end);
        if self.wires[wire].is_up == is_up || (is_up && !ends.iter().all(may_join)) {
            return;
        }
        if !is_up {
            return self.break_wire(wire);
        }
        let [Some(_), Some(_)] = self.links_of(wire) else { return self.exchange(wire) };
        self.wires[wire].is_up = true;
        self.wires[wire].to = Default::default();
        for (end, link) in ends.into_iter().zip(self.links_of(wire)) {
            if let Some(link) = link {
                self.nodes[end].on_link(self.now, link, true);
                self.collect(end);
            }
        }
    }

    /// One end of a wire has a link that the other does not have: as the shell does, the two tell
    /// one another which topology is in force.
    pub(super) fn exchange(&mut self, wire: usize) {
        let [one, two] = self.wires[wire].ends;
        let (asks, answers) = match self.links_of(wire) {
            [Some(_), None] => (one, two),
            [None, Some(_)] => (two, one),
            [None, None] | [Some(_), Some(_)] => return,
        };
        let (name, storage) = (self.nodes[asks].name.clone(), self.nodes[asks].storage());
        let theirs = self.nodes[answers].join(self.now, &name, storage);
        let mine = self.nodes[asks].topology();
        let is_newer = theirs.as_ref().map(|entry| &entry.head) > mine.as_ref().map(|entry| &entry.head);
        let (told, entry) = if is_newer { (asks, theirs) } else { (answers, mine) };
        if let Some(entry) = entry {
            self.nodes[told].input(self.now, Input::Topology { entry: Box::new(entry) });
        }
        for node in [asks, answers] {
            self.collect(node);
        }
    }

    /// Lets the next message of a wire arrive. False: there is none.
    pub(in crate::sim) fn arrive(&mut self, wire: usize, to: usize) -> bool {
        let Some(message) = self.wires[wire].to[to].pop_front() else { return false };
        let (ends, links, bytes) = (self.wires[wire].ends, self.links_of(wire), message.bytes());
        if let Some(link) = links[1 - to] {
            self.nodes[ends[1 - to]].on_written(self.now, link, bytes);
        }
        if let Some(link) = links[to] {
            self.note_age(ends[to], &message);
            self.nodes[ends[to]].input(self.now, Input::Link { link, message });
        }
        self.collect(ends[to]);
        self.collect(ends[1 - to]);
        true
    }

    /// Says something to one end of a wire as if its other end had.
    pub fn inject(&mut self, wire: usize, end: usize, message: LinkMessage) {
        if self.wires[wire].is_up {
            self.wires[wire].to[end].push_back(message);
        }
    }

    /// Lets what is on its way arrive, and be synced, in so many rounds; what goes round longer
    /// than that is left.
    pub fn arrive_all(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for wire in 0..self.wires.len() {
                self.arrive(wire, 0);
                self.arrive(wire, 1);
            }
            for node in 0..self.nodes.len() {
                self.nodes[node].sync(self.now, usize::MAX);
                self.collect(node);
            }
            self.pass_ms(1);
        }
    }

    /// Both ends of a link have measured that it costs this much now.
    pub fn set_cost(&mut self, wire: usize, cost: u32) {
        for (end, link) in self.wires[wire].ends.into_iter().zip(self.links_of(wire)) {
            if let Some(link) = link {
                self.nodes[end].input(self.now, Input::LinkCost { link, cost });
                self.collect(end);
            }
        }
    }

    /// Brings up every link between relays that run.
    pub fn heal_links(&mut self) {
        for wire in 0..self.wires.len() {
            self.set_link(wire, true);
        }
    }

    /// Runs that were sent over one link, by its place in the list that the world was made from.
    #[must_use]
    pub fn runs_over(&self, wire: usize) -> u64 {
        self.wires[wire].runs
    }

    /// Bytes that were sent over all links, as [`LinkMessage::bytes`] counts them.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.wires.iter().map(|wire| wire.bytes).sum()
    }

    /// Counts from now on what is said over each link in each direction.
    pub fn count_said(&mut self) {
        self.is_counting = true;
        self.wires.iter_mut().for_each(|wire| wire.said = Default::default());
    }

    /// What was said over each link in each direction since [`World::count_said`].
    pub fn said(&self) -> impl Iterator<Item = Said> + '_ {
        self.wires.iter().flat_map(|wire| wire.said)
    }

    /// Runs that were sent over all links.
    #[must_use]
    pub fn runs_sent(&self) -> u64 {
        self.nodes.iter().map(|node| node.runs_sent).sum()
    }
}
