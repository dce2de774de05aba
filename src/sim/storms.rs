//! Networks in storms: what fails how often, and what must hold when it is over.

use super::world::{World, name_of};
use crate::dice::Dice;
use crate::wire::body::RefusalCode;

/// How often what happens, in 100 steps; the rest is messages on their way.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// A put at some relay that runs.
    pub puts: u64,
    /// A disk syncs a part of what waits.
    pub syncs: u64,
    /// A relay crashes.
    pub crashes: u64,
    /// A relay that is down starts.
    pub starts: u64,
    /// A link breaks or heals.
    pub flaps: u64,
    /// A relay saves its state.
    pub snapshots: u64,
    /// A subscription takes and acks what is there, durably.
    pub takes: u64,
    /// A disk becomes full, or has room again.
    pub fulls: u64,
    /// A wall clock jumps.
    pub jumps: u64,
    /// The network falls into two parts, or is whole again.
    pub parts: u64,
    /// A run crosses a link twice.
    pub repeats: u64,
    /// Both ends of a link measure that it costs something else.
    pub costs: u64,
    /// A topology is applied at some relay, or an earlier one again.
    pub applies: u64,
    /// A receiver somewhere does something: besides all that, and not counted with it.
    pub roams: u64,
}

impl Weather {
    const NOTHING: Self = Self {
        puts: 0,
        syncs: 0,
        crashes: 0,
        starts: 0,
        flaps: 0,
        snapshots: 0,
        takes: 0,
        fulls: 0,
        jumps: 0,
        parts: 0,
        repeats: 0,
        costs: 0,
        applies: 0,
        roams: 0,
    };
    /// Nothing fails.
    pub const CALM: Self = Self { puts: 20, syncs: 25, ..Self::NOTHING };
    /// Links and relays fail all the time.
    pub const STORM: Self = Self {
        puts: 15,
        syncs: 25,
        crashes: 2,
        starts: 4,
        flaps: 4,
        snapshots: 2,
        takes: 2,
        fulls: 1,
        jumps: 1,
        parts: 1,
        repeats: 2,
        costs: 1,
        applies: 0,
        roams: 0,
    };
    /// The same, while operators change the network.
    pub const CHANGES: Self = Self { applies: 1, ..Self::STORM };
}

/// How often a receiver does something in an ordinary storm that has some, in 100 steps.
pub(super) const ROAMS: u64 = 40;

/// One run of a network of 3 to 30 relays in a storm. With every other ten of seeds receivers move
/// about in it.
///
/// # Errors
/// The first promise that is broken.
pub fn storm(seed: u64, steps: usize) -> Result<(), String> {
    let roams = if seed / 10 % 2 == 1 { ROAMS } else { 0 };
    if seed % 5 == 2 {
        return changes_with(seed, steps, roams);
    }
    storm_with(seed, steps, roams)
}

/// A network in a storm in which publishers move from relay to relay. With even seeds they never
/// give up and messages wait for earlier ones as long as it takes: then nothing is handed out of a
/// producer's order, and no notice is needed. Says how many messages stood somewhere behind a later
/// one, and how many notices there were.
///
/// # Errors
/// The first promise that is broken.
pub fn movers(seed: u64, steps: usize) -> Result<(u64, u64), String> {
    let mut dice = Dice::new(seed ^ 0x30fe);
    let relays = 3 + dice.below(4) as usize;
    let mut world = World::random(seed, relays);
    let is_patient = seed.is_multiple_of(2);
    let hold_ms = if is_patient { crate::limits::PRODUCER_HOLD_MS_MAX } else { 1 + dice.below(200) };
    world.begin_moving(1 + dice.below(4) as usize, hold_ms, !is_patient);
    for i in 0..1 + dice.below(4) {
        world.subscribe(dice.below(relays as u64) as usize, "m", &format!("s{i}"));
    }
    let fair = Weather { puts: 3, takes: 4, ..Weather::CALM };
    let foul = Weather { puts: 3, takes: 4, jumps: u64::from(!is_patient), ..Weather::STORM };
    let weather = if dice.chance(25) { fair } else { foul };
    for _ in 0..steps {
        world.step(&weather);
        if dice.chance(30) {
            world.move_about();
        }
    }
    world.stop_moving();
    world.finish()?;
    world.check_gaps()?;
    let (moved, notices) = world.moving_counts();
    match notices {
        0 => Ok((moved, notices)),
        _ if is_patient => Err(format!("{notices} notices, though nobody gave up")),
        _ => Ok((moved, notices)),
    }
}

/// The same, with receivers that move from relay to relay as often as is said, in 100 steps.
///
/// # Errors
/// The first promise that is broken.
pub fn storm_with(seed: u64, steps: usize, roams: u64) -> Result<(), String> {
    let weather = Weather { roams, ..Weather::STORM };
    let (mut world, mut dice) = after_storm(seed, steps, &weather)?;
    let relays = world.nodes.len();
    match seed % 5 {
        3 => forget_in_a_storm(&mut world, &mut dice, steps / 2, weather)?,
        4 => drain_in_a_storm(&mut world, &mut dice, steps / 2, weather)?,
        _ => {}
    }
    world.finish()?;
    // Whoever was forgotten has lost what it was owed, and is told so.
    if seed % 5 != 3 {
        world.check_gaps()?;
    }
    let stays: Vec<usize> = (0..relays).filter(|node| !world.is_gone(*node)).collect();
    stays.into_iter().try_for_each(|node| world.check_where(node))
}

/// The same in a network that is changed all the while.
///
/// # Errors
/// The first promise that is broken.
pub fn changes(seed: u64, steps: usize) -> Result<(), String> {
    changes_with(seed, steps, 0)
}

fn changes_with(seed: u64, steps: usize, roams: u64) -> Result<(), String> {
    let (mut world, _) = after_storm(seed, steps, &Weather { roams, ..Weather::CHANGES })?;
    world.heal();
    world.include_all();
    world.finish()?;
    world.check_gaps()?;
    (0..world.nodes.len()).try_for_each(|node| world.check_where(node))
}

/// The same, and one relay never comes back: what others have must come to everybody all the same.
///
/// # Errors
/// The first message that a relay has and another one that can be reached never gets.
pub fn storm_with_a_death(seed: u64, steps: usize) -> Result<(), String> {
    let (mut world, mut dice) = after_storm(seed, steps, &Weather::STORM)?;
    let dead = dice.below(world.nodes.len() as u64) as usize;
    world.finish_without(dead)
}

/// A network behind a storm.
///
/// # Errors
/// The first thing that is said of a message and is not so.
pub fn stormy(seed: u64, steps: usize) -> Result<World, String> {
    Ok(after_storm(seed, steps, &Weather::STORM)?.0)
}

impl World {
    /// An operator says at a relay, with all links up, that another one is lost. False: it was never missed,
    /// since it has never taken part in anything and nobody has a link to it; then it is brought back.
    pub(super) fn forget_lost(&mut self, asked: usize, lost: usize, returns: bool) -> Result<bool, String> {
        self.start(asked);
        self.heal_links();
        self.settle();
        match self.forget(asked, lost) {
            Ok(_) => self.oracle.forget(&name_of(lost), returns),
            Err(refusal) if refusal.code == RefusalCode::NotFound => {
                self.bring_back(lost);
                return Ok(false);
            }
            Err(refusal) => return Err(format!("{} does not forget: {refusal}", name_of(asked))),
        }
        Ok(true)
    }

    /// What storms begin with: two groups with subscriptions, at most so many of each, and with even
    /// seeds origins that come and go all the time.
    pub(super) fn begin_storm(&mut self, seed: u64, dice: &mut Dice, most: u64) {
        if seed.is_multiple_of(2) {
            self.nodes.iter_mut().for_each(|node| node.set_quiet_ms(1 + seed / 2 % 40));
        }
        self.create_source_group("h");
        let relays = self.nodes.len() as u64;
        for group in ["g", "h"] {
            for i in 0..1 + dice.below(most) {
                self.subscribe(dice.below(relays) as usize, group, &format!("s{i}"));
            }
        }
    }
}

fn after_storm(seed: u64, steps: usize, weather: &Weather) -> Result<(World, Dice), String> {
    let mut dice = Dice::new(seed ^ 0xface);
    // Small networks go wrong in more ways per step; large ones have other trees.
    let most = if dice.chance(25) { 28 } else { 6 };
    let relays = 3 + dice.below(most) as usize;
    let mut world = World::random(seed, relays);
    world.begin_storm(seed, &mut dice, 4);
    let forgets = seed % 5 == 3;
    for step in 0..if forgets { steps / 2 } else { steps } {
        world.step(weather);
        if step % ASK_EVERY == 0 {
            world.check_where(dice.below(relays as u64) as usize)?;
        }
    }
    Ok((world, dice))
}

/// One relay is emptied, and goes for good: nobody misses anything, and no LOSS says so.
fn drain_in_a_storm(
    world: &mut World,
    dice: &mut Dice,
    steps: usize,
    weather: Weather,
) -> Result<(), String> {
    let relays = world.nodes.len();
    let goes = world.dispensable(dice);
    world.start(goes);
    world.heal_links();
    world.drain_relay(goes);
    world.leave_subscriptions(goes);
    // It is emptied while the others and their links fail.
    let weather = Weather { crashes: 0, ..weather };
    for _ in 0..steps {
        world.step(&if !world.has_subscriptions() { Weather { takes: 0, ..weather } } else { weather });
    }
    world.heal();
    world.rest();
    world.rest();
    let asked = (goes + 1) % relays;
    match world.ask_to_drain(asked, goes, true) {
        Ok(state) if state.may_go => {}
        answer => return Err(format!("{} may not go: {answer:?}", name_of(goes))),
    }
    world.lose(goes);
    world.settle();
    match world.forget(asked, goes) {
        Err(refusal) if refusal.code != RefusalCode::NotFound => {
            return Err(format!("{} does not forget: {refusal}", name_of(asked)));
        }
        Ok(_) | Err(_) => {}
    }
    for group in ["g", "h"] {
        world.put(asked, group, 1);
    }
    world.finish()?;
    match world.nodes.iter().find(|node| node.losses() > 0) {
        Some(node) => Err(format!("{} has a record LOSS", node.name)),
        None => Ok(()),
    }
}

/// One relay is away, dead or only cut off, and forgotten; perhaps it comes back.
fn forget_in_a_storm(
    world: &mut World,
    dice: &mut Dice,
    steps: usize,
    weather: Weather,
) -> Result<(), String> {
    let relays = world.nodes.len();
    let lost = world.dispensable(dice);
    let lives = dice.chance(50);
    let returns = lives || dice.chance(50);
    if lives {
        world.cut_off(lost);
    } else {
        world.lose(lost);
    }
    (0..steps / 3).for_each(|_| world.step(&weather));
    let asked = (lost + 1 + dice.below(relays as u64 - 1) as usize) % relays;
    if !world.forget_lost(asked, lost, returns)? {
        return Ok(());
    }
    (0..steps / 3).for_each(|_| world.step(&weather));
    if returns {
        world.bring_back(lost);
    }
    (0..steps / 3).for_each(|_| world.step(&weather));
    if !returns {
        return Ok(());
    }
    world.heal();
    let gaps: u64 = world.nodes[lost].gaps;
    world.take_all();
    let has_subscriptions = world.has_subscription_at(lost);
    match has_subscriptions && world.nodes[lost].gaps == 0 && gaps == 0 {
        true => Err(format!("{} is back, and its subscriptions were told of no loss", name_of(lost))),
        false => Ok(()),
    }
}

/// Steps of a storm between two questions for a message: each lets a little of what is on its way arrive.
const ASK_EVERY: usize = 50;
