//! Subscriptions that move from home to home (R12) while everything fails.

use super::{World, name_of, names};
use crate::dice::Dice;
use crate::sim::storms::{ROAMS, Weather};
use crate::topology::settings::GroupSettings;
use crate::wire::body::{Reply, Request};
use crate::wire::link::LinkMessage;

/// Of 100 steps so many ask for a move.
pub(super) const MOVES: u64 = 4;

/// Of 100 of these so many end one.
const STAYS: u64 = 15;

/// Rounds in which all moves are to come to their end, when everything works again.
const ROUNDS: usize = 100;

/// The same when nobody takes: links may have a rate, and copies leave most of it to others.
const UNREAD_ROUNDS: usize = 1000;

impl World {
    /// From now on subscriptions may move.
    pub fn let_homes_move(&mut self) {
        self.homes_move = true;
    }

    /// Makes a queue at a relay, and lets everybody learn of it.
    ///
    /// # Panics
    /// When the relay refuses it.
    pub fn create_queue(&mut self, node: usize, name: &str) {
        let (group, backlog) = names(node, name, "queue");
        let settings = GroupSettings::default();
        self.ask(node, Request::GroupCreate { group: group.clone(), settings, queue: true })
            .expect("a queue can be made");
        self.has_subscription(node, group, backlog);
        self.settle();
    }

    /// The relay that serves a subscription now, if one does that runs.
    pub fn home_now(&mut self, place: usize) -> Option<usize> {
        let (home, group, name) = self.subscriptions[place].clone();
        if self.has_twins {
            return self.one_of_homes(place);
        }
        if !self.homes_move {
            return self.nodes[home].is_up().then_some(home);
        }
        let serving = self.serving(place);
        if serving.len() > 1 {
            self.wrong.get_or_insert(format!("{group}/{name} is served at relays {serving:?}"));
        }
        serving.first().copied()
    }

    /// Asks a relay that a subscription live at another one, or stay.
    pub fn ask_to_move(&mut self, node: usize, place: usize, to: Option<usize>) {
        if self.nodes[node].is_up() {
            let (_, group, name) = self.subscriptions[place].clone();
            let to = to.map(|to| name_of(to).parse().expect("names of simulated relays are names"));
            self.nodes[node].begin(self.now, Request::SubscriptionMove { group, name, to });
            self.collect(node);
        }
    }

    /// A receiver of a subscription has had these, and its acks may be lost.
    pub fn has_taken(&mut self, place: usize, payloads: &[String]) {
        if let Err(wrong) = self.known[place].receive(payloads) {
            self.wrong.get_or_insert(wrong);
        }
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn places(&self) -> usize {
        self.subscriptions.len()
    }

    /// What is said of moves and on its way to this end of a wire.
    #[must_use]
    pub fn moves_on(&self, wire: usize, end: usize) -> Vec<LinkMessage> {
        let is_move = |message: &&LinkMessage| matches!(message, LinkMessage::Move(_));
        self.wires[wire].to[end].iter().filter(is_move).cloned().collect()
    }

    /// One of the first `places` subscriptions is asked to move, or to stay.
    pub(super) fn move_some(&mut self, dice: &mut Dice, places: usize) {
        let relays = self.nodes.len() as u64;
        let place = dice.below(places as u64) as usize;
        let to = (!dice.chance(STAYS)).then(|| dice.below(relays) as usize);
        self.ask_to_move(dice.below(relays) as usize, place, to);
    }

    /// Whether a subscription is on its way anywhere.
    #[must_use]
    pub fn has_moves(&self) -> bool {
        self.nodes.iter().any(super::Node::has_moves)
    }

    /// Receivers take what there is until every move is over.
    ///
    /// # Errors
    /// When one does not end, or a promise is broken.
    pub fn finish_moves(&mut self) -> Result<(), String> {
        self.end_moves(ROUNDS, Self::take_all, "a move does not end")
    }

    /// Every move comes to its end though nobody takes anything.
    ///
    /// # Errors
    /// When one does not end, or a promise is broken.
    pub fn finish_unread_moves(&mut self) -> Result<(), String> {
        self.end_moves(UNREAD_ROUNDS, |_| {}, "a move does not end without receivers")
    }

    fn end_moves(&mut self, rounds: usize, each: impl Fn(&mut Self), late: &str) -> Result<(), String> {
        for _ in 0..rounds {
            each(self);
            self.wrong.take().map_or(Ok(()), Err)?;
            self.settle();
            if !self.has_moves() {
                return Ok(());
            }
            self.pass_ms(200);
            self.settle();
        }
        let waits: Vec<String> = (0..self.nodes.len()).map(|node| self.tell_moves(node)).collect();
        Err(format!("{late}\n{}", waits.join("\n")))
    }

    /// What a relay has to say of moves.
    #[must_use]
    pub fn tell_moves(&mut self, node: usize) -> String {
        let mut told = self.nodes[node].explain("?");
        for group in self.groups.clone() {
            let list = Request::SubscriptionList { group, after: None, limit: 10 };
            let Ok(Reply::Subscriptions(all)) = self.ask(node, list) else { continue };
            for info in all {
                let (group, name, from) = (&info.group, &info.name, &info.comes_from);
                told += &format!("\n  {group}/{name} comes from {from:?}, goes {:?}", info.moving);
            }
        }
        told
    }

    /// A promise that was seen to be broken so far.
    pub fn take_wrong(&mut self) -> Result<(), String> {
        self.wrong.take().map_or(Ok(()), Err)
    }
}

/// Of 1000 steps of a storm in which nobody takes so many last for long.
const LULLS: u64 = 12;

/// A storm in which subscriptions move from relay to relay, with even seeds queues as well; with some
/// their receivers do so, too, and with others nobody takes anything. How often one has come to a new home.
///
/// # Errors
/// The first promise that is broken.
pub fn moves(seed: u64, steps: usize) -> Result<usize, String> {
    let mut dice = Dice::new(seed ^ 0xca11);
    let relays = 3 + dice.below(4) as usize;
    let mut world = World::random(seed, relays);
    world.let_homes_move();
    world.begin_storm(seed, &mut dice, 3);
    if seed.is_multiple_of(2) {
        for i in 0..1 + seed / 4 % 2 {
            world.create_queue((seed / 8 + i) as usize % relays, &format!("q{i}"));
        }
    }
    let is_unread = seed % 5 > 2;
    let roams = if seed / 2 % 2 == 1 && !is_unread { ROAMS } else { 0 };
    // In a calmer storm they get farther.
    let storm = Weather { roams, ..Weather::STORM };
    let weather = if seed.is_multiple_of(3) {
        storm
    } else {
        Weather { crashes: 1, flaps: 1, parts: 0, fulls: 0, ..storm }
    };
    let weather = if is_unread { Weather { takes: 0, ..weather } } else { weather };
    let mut homes: Vec<Option<usize>> =
        (0..world.subscriptions.len()).map(|place| world.home_now(place)).collect();
    let mut moved = 0;
    for _ in 0..steps {
        world.step(&weather);
        if dice.chance(MOVES) {
            world.move_some(&mut dice, world.places());
        }
        if is_unread && dice.below(1000) < LULLS {
            world.pass_ms(2_000);
        }
        for (place, known) in homes.iter_mut().enumerate() {
            let now = world.home_now(place);
            moved += usize::from(now.is_some() && now != *known);
            *known = now.or(*known);
        }
        world.take_wrong()?;
    }
    world.heal();
    if is_unread {
        world.finish_unread_moves()?;
    } else {
        world.finish_moves()?;
    }
    for (place, known) in homes.iter().enumerate() {
        moved += usize::from(world.home_now(place) != *known);
    }
    world.finish()?;
    world.check_gaps()?;
    Ok(moved)
}
