//! Storms in which subscriptions and queues move while the network changes otherwise, too: a relay is
//! forgotten, a disk is lost, weeks pass, a name gets a second home, publishers move.

use super::moves::MOVES;
use super::{World, name_of};
use crate::dice::Dice;
use crate::limits;
use crate::sim::storms::Weather;

/// Of 100 steps in so many a publisher that moves does something.
const MOVER_STEPS: u64 = 30;

/// Times ten seconds after which a relay that is drained may go, with all links up and everything taken.
const DRAIN_RESTS: usize = 6;

/// Incidents of one storm.
const INCIDENTS: u64 = 2;

/// A storm and what it is about.
#[derive(Debug)]
struct Storm {
    dice: Dice,
    weather: Weather,
    /// The first subscriptions may move.
    movable: usize,
    /// Whether there are publishers that move.
    has_movers: bool,
    /// Names that got two homes.
    twins: usize,
    /// The relay that has lost its disk last.
    wiped: Option<usize>,
}

/// A storm of moves with two incidents, that the seed chooses; with odd seeds publishers move, too. How many
/// names got a second home on the way.
///
/// # Errors
/// The first promise that is broken.
pub fn mixed(seed: u64, steps: usize) -> Result<usize, String> {
    let mut dice = Dice::new(seed ^ 0x3a17);
    let relays = 3 + dice.below(4) as usize;
    let mut world = World::random(seed, relays);
    world.let_homes_move();
    world.begin_storm(seed, &mut dice, 2);
    world.create_queue(dice.below(relays as u64) as usize, "q");
    let has_movers = seed % 2 == 1;
    if has_movers {
        world.begin_moving(1 + dice.below(3) as usize, 1 + dice.below(200), true);
        for name in 0..1 + dice.below(2) {
            world.subscribe(dice.below(relays as u64) as usize, "m", &format!("s{name}"));
        }
    }
    let calmer = Weather { crashes: 1, flaps: 1, parts: 0, fulls: 0, ..Weather::STORM };
    let weather = if seed.is_multiple_of(3) { Weather::STORM } else { calmer };
    let movable = world.places();
    let mut storm = Storm { dice, weather, movable, has_movers, twins: 0, wiped: None };
    let part = steps / (INCIDENTS as usize + 1);
    storm.blow(&mut world, part)?;
    for incident in 0..INCIDENTS {
        match (seed / 2 + incident * (1 + seed / 8 % 3)) % 4 {
            0 => storm.forget(&mut world, part)?,
            1 => storm.lose_a_disk(&mut world)?,
            2 => storm.let_weeks_pass(&mut world)?,
            _ => storm.make_twins(&mut world)?,
        }
        storm.blow(&mut world, part)?;
    }
    storm.calm(&mut world)?;
    world.finish()?;
    storm.drain(&mut world)?;
    Ok(storm.twins)
}

impl Storm {
    /// It goes on for so many steps.
    fn blow(&mut self, world: &mut World, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            world.step(&self.weather);
            if self.dice.chance(MOVES) {
                world.move_some(&mut self.dice, self.movable);
            }
            if self.has_movers && self.dice.chance(MOVER_STEPS) {
                world.move_about();
            }
            world.take_wrong()?;
        }
        Ok(())
    }

    /// Everything works, publishers have all their answers, and every name has one home and stays there.
    fn calm(&mut self, world: &mut World) -> Result<(), String> {
        world.heal();
        if self.has_movers {
            world.stop_moving();
        }
        world.finish_twins(true)?;
        world.heal();
        world.take_wrong()
    }

    /// A relay from which everything has moved away dies, or is only cut off, and is forgotten while others
    /// go on to move, perhaps to it; perhaps it comes back.
    fn forget(&mut self, world: &mut World, steps: usize) -> Result<(), String> {
        self.calm(world)?;
        let relays = world.nodes.len();
        let lost = world.dispensable(&mut self.dice);
        for place in 0..world.places() {
            if world.serving(place).contains(&lost) {
                world.ask_to_move(lost, place, Some((lost + 1) % relays));
            }
        }
        world.finish_twins(true)?;
        let is_home = (0..world.places()).any(|place| world.serving(place).contains(&lost));
        if is_home || world.is_gone(lost) {
            return Err(format!("{} is left by nobody", name_of(lost)));
        }
        // What a publisher that moves puts there may be nowhere else.
        let lives = !self.has_movers && self.dice.chance(50);
        let returns = lives || self.dice.chance(50);
        world.oracle.loses_touch(&name_of(lost));
        if lives {
            world.cut_off(lost);
        } else {
            world.lose(lost);
        }
        self.blow(world, steps / 3)?;
        let asked = (lost + 1 + self.dice.below(relays as u64 - 1) as usize) % relays;
        if !world.forget_lost(asked, lost, returns)? {
            world.heal();
            world.oracle.hears(&name_of(lost));
            return Ok(());
        }
        self.blow(world, steps / 3)?;
        if returns {
            world.bring_back(lost);
            world.heal();
            world.oracle.hears(&name_of(lost));
        }
        Ok(())
    }

    /// A relay loses its disk when nothing of what it has put is on that alone, and whoever receives there
    /// has had everything.
    fn lose_a_disk(&mut self, world: &mut World) -> Result<(), String> {
        self.calm(world)?;
        let lost = self.dice.below(world.nodes.len() as u64) as usize;
        for place in 0..world.places() {
            if world.serving(place).contains(&lost) {
                world.take(place);
                world.excuse_acks(place);
            }
        }
        if self.dice.chance(50) {
            world.rest();
        }
        if !world.is_gone(lost) {
            world.wipe(lost);
            self.wiped = Some(lost);
        }
        Ok(())
    }

    /// A relay that has lost its disk can be emptied like any other one.
    fn drain(&self, world: &mut World) -> Result<(), String> {
        let Some(goes) = self.wiped.filter(|node| !world.is_gone(*node)) else { return Ok(()) };
        world.drain_within(goes, DRAIN_RESTS)
    }

    /// So much time passes that what was long ago is forgotten: producers expire, origins are none any more.
    /// Some relay may be away all the time; all others save what they know in the middle of it.
    fn let_weeks_pass(&mut self, world: &mut World) -> Result<(), String> {
        self.calm(world)?;
        let away = self.dice.below(2 * world.nodes.len() as u64) as usize;
        if away < world.nodes.len() {
            world.crash(away);
            // Else what its neighbours say of that is on its way for days.
            world.settle();
        }
        for part in 0..4 {
            world.pass_ms(limits::PRODUCER_IDLE_MS_DEFAULT / 3);
            world.settle();
            if part == 2 {
                (0..world.nodes.len()).filter(|node| *node != away).for_each(|node| world.save(node));
                world.settle();
            }
        }
        Ok(())
    }

    /// All links break, and two relays make a subscription or a queue of one name.
    fn make_twins(&mut self, world: &mut World) -> Result<(), String> {
        self.calm(world)?;
        let relays: Vec<usize> = (0..world.nodes.len()).filter(|node| !world.is_gone(*node)).collect();
        let first = self.dice.below(relays.len() as u64) as usize;
        let other = (first + 1 + self.dice.below(relays.len() as u64 - 1) as usize) % relays.len();
        let group = format!("t{}", self.twins);
        world.make_twins([relays[first], relays[other]], &group, self.dice.chance(50));
        self.twins += 1;
        let place = world.places() - 1;
        for _ in 0..self.dice.below(10) {
            let homes = world.serving(place);
            world.put(homes[self.dice.below(homes.len() as u64) as usize], &group, 1);
            world.settle();
            if self.dice.chance(20) {
                world.take(place);
            }
        }
        world.heal_links();
        world.settle();
        Ok(())
    }
}

impl World {
    /// What was acked at the home of a subscription may come again: its disk is lost.
    fn excuse_acks(&mut self, place: usize) {
        self.known[place].lost_acks = true;
    }

    /// All links break, and two relays make a subscription or a queue of one name.
    fn make_twins(&mut self, [first, other]: [usize; 2], group: &str, is_queue: bool) {
        self.has_twins = true;
        (0..self.wires.len()).for_each(|wire| self.set_link(wire, false));
        self.settle();
        self.oracle.leave_order_of(group);
        if is_queue {
            self.create_queue(first, group);
            self.create_twin_queue(other, group);
        } else {
            self.subscribe(first, group, "s");
            self.subscribe_twin(other, self.places() - 1);
        }
    }
}
