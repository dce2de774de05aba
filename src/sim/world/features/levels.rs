//! Puts that are answered when they have come further than to one disk (P1): `inserted` is held against the
//! disks of all members, and its answer comes.

use super::claim::{Claim, Stage, Wish};
use super::{DEAD, Storm, name_of};
use crate::sim::world::World;
use crate::wire::frame::AckLevel;

/// Of 100 puts so many are to be inserted everywhere, and so many to be on a number of disks.
const INSERTED: u64 = 20;
const STORED: u64 = 6;

/// A put that waits for its level.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    put: u64,
    /// The relay, and the boot of it that knows of this.
    at: (usize, u64),
    payloads: Vec<String>,
    level: (AckLevel, u16),
}

impl World {
    /// Whether a message is on the disk of a relay, or was there.
    fn is_on_disk(&self, node: usize, payload: &str) -> bool {
        self.nodes[node].truth(payload).is_some_and(|truth| truth.is_durable)
    }
}

impl Storm {
    /// How far a put is to come.
    pub(super) fn some_level(
        &mut self,
        world: &World,
        (put, node): (u64, usize),
        payloads: &[String],
    ) -> (AckLevel, u16) {
        let dice = self.dice.below(100);
        let level = match dice {
            0..INSERTED => (AckLevel::Inserted, 0),
            dice if dice < INSERTED + STORED => {
                (AckLevel::Stored, 2 + self.dice.below(world.nodes.len() as u64) as u16)
            }
            _ => return (AckLevel::Accepted, 0),
        };
        let at = (node, world.nodes[node].boot());
        self.waiting.push(Waiting { put, at, payloads: payloads.to_vec(), level });
        level
    }

    /// Whoever hears how far a put has come may count with it.
    pub(super) fn check_levels(&mut self, world: &World) -> Result<(), String> {
        for waiting in &self.waiting {
            if world.levels.get(&waiting.put) == Some(&waiting.level.0) {
                for payload in &waiting.payloads {
                    let what = self.lacks(world, waiting, payload);
                    what.map_err(|what| format!("{payload}: {what}\n{}", world.explain(payload)))?;
                }
                self.seen.leveled += 1;
            }
        }
        // One that was lost with a crash has no answer, and one that cannot come so far is accepted.
        self.waiting.retain(|waiting| {
            let (node, boot) = waiting.at;
            !world.levels.contains_key(&waiting.put) && world.nodes[node].boot() == boot
        });
        Ok(())
    }

    fn lacks(&self, world: &World, waiting: &Waiting, payload: &str) -> Result<(), String> {
        let (level, copies) = waiting.level;
        if level == AckLevel::Stored {
            let disks = (0..world.nodes.len()).filter(|node| world.is_on_disk(*node, payload)).count();
            if disks < usize::from(copies) {
                return Err(format!("it is said to be on {copies} disks, and is on {disks}"));
            }
            return Ok(());
        }
        let message = &self.messages[payload];
        let is_leaving =
            |claim: &Claim| claim.asked.as_ref().is_some_and(|asked| matches!(asked.wish, Wish::Remove));
        let is_owed = |claim: &&Claim| {
            let stays = claim.stage == Stage::Lives && !is_leaving(claim) && claim.group != DEAD;
            stays && claim.group == message.group && claim.is_behind(message)
        };
        let mut owed = self.claims.iter().filter(is_owed);
        match owed.find(|claim| !world.is_on_disk(claim.home, payload)) {
            Some(claim) => Err(format!("it is said to be inserted, and {} lacks it", name_of(claim.home))),
            None => Ok(()),
        }
    }

    /// Everything has come everywhere: no put waits any more, but for copies that nobody makes.
    pub(super) fn check_none_waits(&mut self, world: &World) -> Result<(), String> {
        self.check_levels(world)?;
        let is_waiting = |waiting: &&Waiting| {
            let is_refused = world.nodes[waiting.at.0].refused.contains(&waiting.put);
            waiting.level.0 == AckLevel::Inserted && !is_refused
        };
        match self.waiting.iter().find(is_waiting) {
            Some(waiting) => {
                Err(format!("{waiting:?} waits for ever\n{}", world.explain(&waiting.payloads[0])))
            }
            None => Ok(()),
        }
    }
}
