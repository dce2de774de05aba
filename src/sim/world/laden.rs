//! Storms of subscriptions that move with what nobody has read (R12), where somebody counts with that:
//! puts wait to be consumed, quotas are used up, and receivers ask for a few messages at a time, work on
//! them for long, and go on at what was brought along.

use super::World;
use super::moves::MOVES;
use crate::dice::Dice;
use crate::sim::storms::Weather;
use crate::topology::settings::GroupSettings;
use crate::wire::body::Request;
use crate::wire::frame::AckLevel;

/// Of 100 steps so many put a message that waits to be consumed.
const CONSUMED: u64 = 6;

/// Of 100 steps in so many a receiver does something.
const ROAMS: u64 = 12;

/// Of 1000 steps so many last for long: three seconds.
const LULLS: u64 = 15;

/// Of 100 steps in so many somebody takes all that a subscription has.
const TAKES: u64 = 2;

/// Messages that a quota has room for, where there is one.
const QUOTA: u64 = 40;

/// A put that waits.
#[derive(Debug)]
struct Waiting {
    put: u64,
    /// Where it was put, and in which life of that relay: the next one knows nothing of it.
    at: (usize, u64),
    group: &'static str,
    payload: String,
}

/// One storm, as its seed will. How many puts were answered as consumed.
///
/// # Errors
/// The first promise that is broken.
pub fn laden(seed: u64, steps: usize) -> Result<usize, String> {
    let mut dice = Dice::new(seed ^ 0x1ade);
    let relays = 3 + dice.below(3) as usize;
    let mut world = World::random(seed, relays);
    world.let_homes_move();
    world.thrifty = true;
    world.begin_storm(seed, &mut dice, 3);
    if seed % 2 == 1 {
        world.create_queue(dice.below(relays as u64) as usize, "q");
    }
    world.set_quotas(seed);
    let calmer = Weather { crashes: 1, flaps: 1, parts: 0, fulls: 0, ..Weather::STORM };
    let weather = if seed.is_multiple_of(3) { Weather::STORM } else { calmer };
    let weather = Weather { takes: 0, roams: ROAMS, ..weather };
    let (mut waiting, mut consumed) = (Vec::new(), 0);
    for _ in 0..steps {
        world.step(&weather);
        if dice.chance(MOVES) {
            world.move_some(&mut dice, world.places());
        }
        if dice.chance(CONSUMED) {
            waiting.extend(world.put_to_be_consumed(&mut dice));
        }
        if dice.chance(TAKES) {
            world.take(dice.below(world.places() as u64) as usize);
        }
        if dice.below(1000) < LULLS {
            // What is on its way arrives meanwhile: else relays compare what they know before they have heard.
            for _ in 0..30 {
                world.pass_with_traffic();
                world.pass_ms(99);
            }
        }
        consumed += world.check_consumed(&mut waiting)?;
        world.take_wrong()?;
    }
    world.heal();
    consumed += world.check_consumed(&mut waiting)?;
    world.finish_moves()?;
    consumed += world.check_consumed(&mut waiting)?;
    world.finish()?;
    world.check_gaps()?;
    world.check_room()?;
    // Receipts that nobody is in a hurry for may rest for a minute.
    (0..8).for_each(|_| world.rest());
    consumed += world.check_consumed(&mut waiting)?;
    world.check_answered(&waiting)?;
    Ok(consumed)
}

impl World {
    /// With two of three seeds a group has a quota that refuses puts: of each subscription, or of all.
    fn set_quotas(&mut self, seed: u64) {
        let settings = match seed / 2 % 3 {
            0 => return,
            1 => GroupSettings { subscription_quota_count: Some(QUOTA), ..GroupSettings::default() },
            _ => GroupSettings { quota_count: Some(QUOTA), ..GroupSettings::default() },
        };
        let group = "g".parse().expect("a name");
        self.ask(0, Request::GroupSet { group, settings }).expect("quotas can be set");
        self.settle();
    }

    /// Puts a message at some relay that runs, and waits until all have acked it.
    fn put_to_be_consumed(&mut self, dice: &mut Dice) -> Option<Waiting> {
        let node = dice.below(self.nodes.len() as u64) as usize;
        let group = ["g", "h"][dice.below(2) as usize];
        if !self.nodes[node].is_up() {
            return None;
        }
        let (put, payload) = self.put_at_level(node, group, (AckLevel::Consumed, 0));
        Some(Waiting { put, at: (node, self.nodes[node].boot()), group, payload })
    }

    /// Whoever hears that a message is consumed may count with it: somebody has acked it at every subscription.
    /// Gives how many puts were answered since.
    fn check_consumed(&self, waiting: &mut Vec<Waiting>) -> Result<usize, String> {
        let is_consumed = |waiting: &Waiting| self.levels.get(&waiting.put) == Some(&AckLevel::Consumed);
        let before = waiting.len();
        for Waiting { group, payload, .. } in waiting.iter().filter(|waiting| is_consumed(waiting)) {
            let mut all =
                self.subscriptions.iter().zip(&self.known).filter(|((_, of, _), _)| of.as_str() == *group);
            if let Some(((.., name), _)) = all.find(|(_, known)| !known.is_acked(payload)) {
                let places: Vec<String> = self.nodes.iter().map(|node| node.explain(payload)).collect();
                let places = places.join("\n");
                return Err(format!(
                    "{payload} is said to be consumed, and {group}/{name} has not had it\n{places}"
                ));
            }
        }
        waiting.retain(|waiting| !is_consumed(waiting));
        Ok(before - waiting.len())
    }

    /// Everything is acked, on every disk: whoever waits for that has heard it, or that it cannot be known.
    fn check_answered(&self, waiting: &[Waiting]) -> Result<(), String> {
        let is_waiting = |waiting: &&Waiting| {
            let (node, boot) = waiting.at;
            let node = &self.nodes[node];
            node.boot() == boot
                && !self.levels.contains_key(&waiting.put)
                && !node.refused.contains(&waiting.put)
        };
        waiting.iter().find(is_waiting).map_or(Ok(()), |Waiting { put, at, payload, .. }| {
            let places: Vec<String> = self.nodes.iter().map(|node| node.explain(payload)).collect();
            let name = &self.nodes[at.0].name;
            Err(format!(
                "put {put}, {payload}, at {name} waits for ever to be consumed\n{}",
                places.join("\n")
            ))
        })
    }

    /// All is taken: no quota is used up anywhere.
    fn check_room(&mut self) -> Result<(), String> {
        self.rest();
        for node in 0..self.nodes.len() {
            let before = self.oracle.count_answered();
            self.put(node, "g", 1);
            self.settle();
            if self.oracle.count_answered() == before {
                let refusal = &self.nodes[node].refusal;
                return Err(format!("{} refuses a put: {refusal:?}", self.nodes[node].name));
            }
            self.take_all();
            self.settle();
        }
        self.take_wrong()
    }
}
