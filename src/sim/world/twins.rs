//! Subscriptions and queues that have more than one home (R12), made by relays that were apart.

use super::{World, names};
use crate::dice::Dice;
use crate::sim::storms::Weather;
use crate::topology::settings::GroupSettings;
use crate::wire::body::Request;

/// Seconds in which two homes are to be one, when everything works again.
/// Links may have a rate, and copies leave most of it to others.
const SECONDS: usize = 300;

impl World {
    /// The relays that serve a subscription and run.
    #[must_use]
    pub fn serving(&self, place: usize) -> Vec<usize> {
        let (_, group, name) = &self.subscriptions[place];
        (0..self.nodes.len()).filter(|node| self.nodes[*node].serves(group, name)).collect()
    }

    /// Makes a second home of a subscription, at a relay that does not know of the first.
    pub fn subscribe_twin(&mut self, node: usize, place: usize) {
        let (_, group, name) = self.subscriptions[place].clone();
        self.nodes[node].subscribe(self.now, &group, &name);
        self.collect(node);
        self.settle();
    }

    /// Makes a second home of a queue, at a relay that does not know of the first.
    ///
    /// # Panics
    /// When the relay refuses it.
    pub fn create_twin_queue(&mut self, node: usize, name: &str) {
        let (group, _) = names(node, name, "queue");
        let settings = GroupSettings::default();
        self.ask(node, Request::GroupCreate { group, settings, queue: true }).expect("a queue can be made");
        self.settle();
    }

    /// A receiver at one of the homes of a subscription takes what is there, and its acks are on disk.
    pub fn take_at(&mut self, node: usize, place: usize) -> Vec<String> {
        let (_, group, name) = self.subscriptions[place].clone();
        let got = self.nodes[node].drain(self.now, &group, &name);
        self.known[place].receive_late(&got);
        self.known[place].settle(got.iter().cloned());
        self.collect(node);
        got
    }

    /// Where the next receiver comes to, as the dice will.
    pub(super) fn one_of_homes(&mut self, place: usize) -> Option<usize> {
        let serving = self.serving(place);
        let at = self.roaming.below(serving.len().max(1) as u64) as usize;
        serving.get(at).copied()
    }

    /// Whether a name has one home, and it knows what was acked at the others.
    fn is_one(&self, place: usize) -> bool {
        self.serving(place).len() == 1 && self.nodes.iter().all(super::Node::is_up) && !self.has_moves()
    }

    /// Somebody has received messages of a subscription. While it has two homes each delivers all of its own.
    pub(super) fn received(&mut self, place: usize, got: &[String]) -> Result<(), String> {
        if self.has_twins && !self.is_one(place) {
            self.known[place].receive_late(got);
            return Ok(());
        }
        self.known[place].receive(got)
    }

    /// How many homes there are that are one too many.
    fn homes_too_many(&self) -> usize {
        (0..self.subscriptions.len()).map(|place| self.serving(place).len().saturating_sub(1)).sum()
    }

    /// Receivers take what there is until every name has one home.
    pub(super) fn finish_twins(&mut self, takes: bool) -> Result<(), String> {
        for _ in 0..SECONDS {
            if takes {
                self.take_all();
            }
            self.take_wrong()?;
            self.pass_ms(1_000);
            self.settle();
            if self.homes_too_many() == 0 && !self.has_moves() {
                return Ok(());
            }
        }
        let waits: Vec<String> = (0..self.nodes.len()).map(|node| self.tell_moves(node)).collect();
        Err(format!("a name has two homes for good\n{}", waits.join("\n")))
    }
}

/// A storm that begins with names that have two or three homes each; with even seeds queues as well. With
/// some nobody takes anything until all is over. How many homes were made one with another.
///
/// # Errors
/// The first promise that is broken.
pub fn twins(seed: u64, steps: usize) -> Result<usize, String> {
    let mut dice = Dice::new(seed ^ 0x7135);
    let relays = 3 + dice.below(3) as usize;
    let mut world = World::random(seed, relays);
    world.let_homes_move();
    world.has_twins = true;
    for wire in 0..world.wires.len() {
        world.set_link(wire, false);
    }
    world.settle();
    for number in 0..1 + dice.below(2) {
        let group = format!("g{number}");
        world.oracle.leave_order_of(&group);
        let first = dice.below(relays as u64) as usize;
        let others = (0..1 + dice.below(2) as usize).map(|other| (first + 1 + other) % relays);
        let is_queue = seed.is_multiple_of(2) && number == 1;
        if is_queue {
            world.create_queue(first, &group);
        } else {
            world.subscribe(first, &group, "s");
        }
        let place = world.places() - 1;
        for other in others {
            if is_queue {
                world.create_twin_queue(other, &group);
            } else {
                world.subscribe_twin(other, place);
            }
        }
    }
    let before = world.homes_too_many();
    let takes = if seed % 5 > 2 { 0 } else { Weather::STORM.takes };
    let calm = Weather { crashes: 1, flaps: 1, parts: 0, fulls: 0, takes, ..Weather::STORM };
    let storm = Weather { takes, ..Weather::STORM };
    let weather = if seed.is_multiple_of(3) { storm } else { calm };
    // What is put while all are apart is owed where it is put.
    for _ in 0..dice.below(20) {
        let place = dice.below(world.places() as u64) as usize;
        let (group, homes) = (world.subscriptions[place].1.to_string(), world.serving(place));
        world.put(homes[dice.below(homes.len() as u64) as usize], &group, 1);
        world.settle();
        if dice.chance(20) {
            world.take(place);
        }
    }
    world.heal_links();
    world.settle();
    for _ in 0..steps {
        world.step(&weather);
        if dice.below(1000) < 12 {
            world.pass_ms(1_000);
        }
        world.take_wrong()?;
    }
    world.heal();
    world.finish_twins(takes > 0)?;
    world.finish()?;
    Ok(before)
}
