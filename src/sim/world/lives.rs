//! Storms in which a group is removed, and made again by whoever puts to it or subscribes next (R11).
//!
//! Relays that were away during that come back with the group as it was, and others have made the next one
//! of its name by then. Whatever happens: nobody is given a message that was put in another life of the group
//! than that in which it receives, and when all is well again everybody has the same life, keeps nothing of
//! those before, and a message reaches everybody once.

use std::collections::BTreeMap;

use super::{World, name_of, names};
use crate::dice::Dice;
use crate::id::{GroupName, SubscriptionName};
use crate::sim::storms::Weather;
use crate::wire::body::{Request, Start, SubscribeLevel, SubscriptionSpec};

const GROUP: &str = "l";

/// In 100 steps so many of each kind.
const PUTS: u64 = 15;
const REMOVES: u64 = 2;
const MAKES: u64 = 6;
const TAKES: u64 = 30;

/// Names of subscriptions at each relay.
const NAMES: u64 = 2;

/// One storm and what is known of it.
#[derive(Debug)]
struct Storm {
    dice: Dice,
    group: GroupName,
    /// In which life of the group each message was put.
    lives: BTreeMap<String, u32>,
    removed: u64,
    taken: u64,
}

/// One storm, as its seed will: how often a group was removed, and how many messages were taken meanwhile.
///
/// # Errors
/// The first promise that is broken.
pub fn lives(seed: u64, steps: usize) -> Result<(u64, u64), String> {
    let mut dice = Dice::new(seed ^ 0x11fe);
    let relays = 3 + dice.below(5) as usize;
    let mut world = World::random(seed, relays);
    let (group, lives) = (GroupName::new(GROUP).expect("a name"), BTreeMap::new());
    let mut storm = Storm { dice, group, lives, removed: 0, taken: 0 };
    let foul = Weather { puts: 0, takes: 0, ..Weather::STORM };
    let calmer = Weather { crashes: 1, flaps: 1, parts: 0, fulls: 0, jumps: 0, ..foul };
    let weather = if seed.is_multiple_of(2) { foul } else { calmer };
    for _ in 0..steps {
        world.step(&weather);
        storm.act(&mut world)?;
        world.watched()?;
    }
    storm.end(&mut world)?;
    Ok((storm.removed, storm.taken))
}

impl Storm {
    /// An application does something, or nothing.
    fn act(&mut self, world: &mut World) -> Result<(), String> {
        let node = self.dice.below(world.nodes.len() as u64) as usize;
        let (at, place) = (self.dice.below(100), self.dice.below(NAMES));
        if !world.nodes[node].is_up() {
            return Ok(());
        }
        if at < PUTS {
            self.put(world, node);
        } else if at < PUTS + REMOVES {
            self.remove(world, node);
        } else if at < PUTS + REMOVES + MAKES {
            self.make(world, node, place);
        } else if at < PUTS + REMOVES + MAKES + TAKES {
            self.take(world, node, place)?;
        }
        Ok(())
    }

    fn put(&mut self, world: &mut World, node: usize) {
        let handle = world.nodes[node].open(world.now, &self.group);
        // Of no subscription that is there in the end.
        let (put, payloads) = world.oracle.put(&name_of(node), "before", 1 + self.dice.below(3));
        let life = world.nodes[node].life_of(&self.group).unwrap_or(0);
        self.lives.extend(payloads.iter().map(|payload| (payload.clone(), life)));
        world.nodes[node].put(world.now, handle, put, &payloads);
        world.collect(node);
    }

    fn remove(&mut self, world: &mut World, node: usize) {
        if world.nodes[node].life_of(&self.group).is_some() {
            world.nodes[node].begin(world.now, Request::GroupRemove { group: self.group.clone() });
            world.collect(node);
            self.removed += 1;
        }
    }

    fn make(&mut self, world: &mut World, node: usize, place: u64) {
        let (group, name) = self.name(node, place);
        let start = if self.dice.chance(50) { Start::Beginning } else { Start::Now };
        let level = if self.dice.chance(50) { SubscribeLevel::Local } else { SubscribeLevel::Reachable };
        let spec = SubscriptionSpec { start, level, within_ms: Some(300), ..SubscriptionSpec::default() };
        world.nodes[node].begin(world.now, Request::SubscriptionCreate { group, name, spec });
        world.collect(node);
    }

    /// A receiver takes what is there: all of it was put in the life that the group has there.
    fn take(&mut self, world: &mut World, node: usize, place: u64) -> Result<(), String> {
        let (group, name) = self.name(node, place);
        if !world.nodes[node].serves(&group, &name) {
            return Ok(());
        }
        let life = world.nodes[node].life_of(&group);
        let got = world.nodes[node].drain(world.now, &group, &name);
        world.collect(node);
        self.taken += got.len() as u64;
        let ghost = got.iter().find(|payload| self.lives.get(*payload).copied() != life);
        match ghost {
            None => Ok(()),
            Some(ghost) => {
                let (put, here) = (self.lives.get(ghost), name_of(node));
                Err(format!("{here}, {name}: {ghost} is of life {put:?}, and it received in {life:?}"))
            }
        }
    }

    fn name(&self, node: usize, place: u64) -> (GroupName, SubscriptionName) {
        (self.group.clone(), names(node, GROUP, &format!("s{place}")).1)
    }

    /// All is well again. Then the group is removed once more, and made once more.
    fn end(&mut self, world: &mut World) -> Result<(), String> {
        world.heal();
        world.rest();
        self.agree(world)?;
        for node in 0..world.nodes.len() {
            for place in 0..NAMES {
                self.take(world, node, place)?;
            }
        }
        let known = (0..world.nodes.len()).find(|node| world.nodes[*node].life_of(&self.group).is_some());
        if let Some(node) = known {
            self.remove(world, node);
            world.settle();
        }
        if let Some(node) = world.nodes.iter().find(|node| node.life_of(&self.group).is_some()) {
            return Err(format!("{} has a group that was removed", node.name));
        }
        world.check_released()?;
        let (first, second) = (0, world.nodes.len() - 1);
        world.subscribe(first, GROUP, "end");
        world.subscribe(second, GROUP, "end");
        for node in 0..world.nodes.len() {
            world.put(node, GROUP, 2);
        }
        self.agree(world)?;
        world.finish()
    }

    /// Whoever has the group has it in the same life.
    fn agree(&self, world: &World) -> Result<(), String> {
        let lives: Vec<Option<u32>> = world.nodes.iter().map(|node| node.life_of(&self.group)).collect();
        let mut known = lives.iter().flatten();
        let first = known.next();
        match known.all(|life| Some(life) == first) {
            true => Ok(()),
            false => Err(format!("the group has more than one life: {lives:?}")),
        }
    }
}
