//! Publishers that move from relay to relay (P4, R1), and the order in which their messages are
//! handed out in a group with `fifo = "producer"`.
//!
//! Each numbers its messages, has a few without an answer at a time, and sends those again at the
//! relay to which it moves. Every subscription is to be handed a message of one behind all lower
//! ones, but for those that a notice named before.

use std::collections::{BTreeMap, BTreeSet};

use super::{World, name_of};
use crate::dice::Dice;
use crate::id::{GroupName, ProducerId, ProducerSequence};
use crate::topology::settings::{Fifo, GroupSettings};
use crate::wire::body::{Missing, Notice};
use crate::wire::frame::AckLevel;

/// The group into which they put.
const GROUP: &str = "m";

/// Puts of one of them without an answer, at the most.
const OPEN_MAX: usize = 4;

/// A put without an answer.
#[derive(Clone, Debug)]
struct OpenPut {
    /// Its number at the oracle.
    put: u64,
    first: u64,
    payloads: Vec<String>,
}

/// One publisher.
#[derive(Clone, Debug)]
struct Mover {
    producer: ProducerId,
    next: u64,
    /// The relay where it is, and that relay's boot.
    at: Option<(usize, u64)>,
    open: Vec<OpenPut>,
}

/// What a subscription was told, and what it was handed.
#[derive(Clone, Debug, Default)]
struct Told {
    excused: BTreeSet<(ProducerId, u64)>,
    handed: BTreeSet<(ProducerId, u64)>,
}

/// All publishers that move.
#[derive(Clone, Debug)]
pub(super) struct Movers {
    dice: Dice,
    all: Vec<Mover>,
    /// Whether one now and then gives up a put that was refused.
    abandons: bool,
    /// What each put of theirs is that was sent: the publisher, and the number at the oracle.
    sent: BTreeMap<u64, (usize, u64)>,
    /// The place of each message in its producer's sequence.
    places: BTreeMap<String, (ProducerId, u64)>,
    told: BTreeMap<usize, Told>,
    /// Notices that subscriptions were given.
    pub(super) notices: u64,
    /// Messages that were inserted somewhere before an earlier one of their producer.
    pub(super) moved: u64,
}

impl Movers {
    pub(super) fn none(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed ^ 0x30e5),
            all: Vec::new(),
            abandons: false,
            sent: BTreeMap::new(),
            places: BTreeMap::new(),
            told: BTreeMap::new(),
            notices: 0,
            moved: 0,
        }
    }
}

impl World {
    /// Makes the group, in which a message waits for earlier ones of its producer for `hold_ms`,
    /// and so many publishers, who give up a put that was refused now and then, or never.
    ///
    /// # Panics
    /// When the relays refuse it.
    pub fn begin_moving(&mut self, movers: usize, hold_ms: u64, abandons: bool) {
        let group = GroupName::new(GROUP).expect("a name");
        let settings = GroupSettings {
            fifo: Fifo::Producer,
            producer_hold_ms: Some(hold_ms),
            ..GroupSettings::default()
        };
        self.nodes[0].create_group(self.now, &group, settings);
        self.collect(0);
        self.settle();
        self.movers.abandons = abandons;
        let mover =
            |id: usize| Mover { producer: ProducerId(id as u128 + 1), next: 1, at: None, open: Vec::new() };
        self.movers.all = (0..movers).map(mover).collect();
        self.oracle.leave_order_of(GROUP);
    }

    /// Some publisher puts, or moves.
    pub fn move_about(&mut self) {
        let place = self.movers.dice.below(self.movers.all.len() as u64) as usize;
        let moves = self.movers.dice.chance(15);
        let is_there = |world: &Self, (node, boot): (usize, u64)| {
            world.nodes[node].is_up() && world.nodes[node].boot() == boot
        };
        let at = self.movers.all[place].at.filter(|at| !moves && is_there(self, *at));
        if at.is_none() {
            return self.arrive_at_another(place);
        }
        if self.movers.all[place].open.len() < OPEN_MAX {
            self.put_more(place);
        }
    }

    fn put_more(&mut self, place: usize) {
        let messages = 1 + self.movers.dice.below(3);
        let mover = &mut self.movers.all[place];
        let (put, payloads) = self.oracle.put(&format!("p{place}"), GROUP, messages);
        let first = mover.next;
        mover.next += messages;
        for (sequence, payload) in (first..).zip(&payloads) {
            self.movers.places.insert(payload.clone(), (mover.producer, sequence));
        }
        let open = OpenPut { put, first, payloads };
        mover.open.push(open.clone());
        self.send(place, &open, put);
    }

    /// Goes to a relay that runs, and sends there again what has no answer.
    fn arrive_at_another(&mut self, place: usize) {
        let node = self.movers.dice.below(self.nodes.len() as u64) as usize;
        if !self.nodes[node].is_up() {
            return;
        }
        self.movers.all[place].at = Some((node, self.nodes[node].boot()));
        for open in self.movers.all[place].open.clone() {
            let number = self.oracle.another_number();
            self.send(place, &open, number);
        }
    }

    fn send(&mut self, place: usize, open: &OpenPut, number: u64) {
        let mover = &self.movers.all[place];
        let Some((node, _)) = mover.at else { return };
        let lowest = mover.open.first().map_or(mover.next, |open| open.first);
        let producer = Some((mover.producer, ProducerSequence(open.first)));
        self.movers.sent.insert(number, (place, open.put));
        let handle = self.nodes[node].open(self.now, &GroupName::new(GROUP).expect("a name"));
        self.nodes[node].lowest_unanswered = ProducerSequence(lowest);
        let level = (AckLevel::Accepted, 0);
        self.nodes[node].put_as(self.now, (handle, number), &open.payloads, level, producer);
        self.nodes[node].lowest_unanswered = ProducerSequence(0);
        self.collect(node);
    }

    /// A put was answered, if it is one of theirs: the number at the oracle.
    pub(super) fn moved_put(&mut self, number: u64) -> Option<u64> {
        let (place, put) = self.movers.sent.get(&number).copied()?;
        self.movers.all[place].open.retain(|open| open.put != put);
        Some(put)
    }

    /// Puts were refused: some are given up, others are sent again elsewhere.
    pub(super) fn on_refused(&mut self, node: usize) {
        if self.movers.all.is_empty() {
            return;
        }
        for number in std::mem::take(&mut self.nodes[node].refused) {
            let Some((place, put)) = self.movers.sent.get(&number).copied() else { continue };
            if self.movers.abandons && self.movers.dice.chance(50) {
                self.movers.all[place].open.retain(|open| open.put != put);
            }
            self.movers.all[place].at = None;
        }
    }

    /// Every publisher sends until all has an answer.
    ///
    /// # Panics
    /// When the relays never come to rest.
    pub fn stop_moving(&mut self) {
        for _ in 0..20 {
            self.heal();
            for place in 0..self.movers.all.len() {
                while !self.movers.all[place].open.is_empty() && self.movers.all[place].at.is_none() {
                    self.arrive_at_another(place);
                }
                if !self.movers.all[place].open.is_empty() {
                    self.arrive_at_another(place);
                }
            }
            self.settle();
        }
    }

    /// A subscription was handed messages, and told of some that it was not.
    pub(super) fn check_handed(&mut self, (subscription, node): (usize, usize), got: &[String]) {
        let notices = std::mem::take(&mut self.nodes[node].unordered);
        if self.subscriptions[subscription].1.as_str() != GROUP {
            return;
        }
        let told = self.movers.told.entry(subscription).or_default();
        for notice in notices {
            self.movers.notices += 1;
            if let Notice::Unordered { missing: Some(Missing { producer, from, to }), .. } = notice {
                told.excused.extend((from.0..to.0).map(|sequence| (producer, sequence)));
            } else {
                self.wrong.get_or_insert(format!("{}: {notice:?}", name_of(node)));
            }
        }
        for payload in got {
            let Some((producer, sequence)) = self.movers.places.get(payload).copied() else { continue };
            let is_known =
                |at: &u64| told.handed.contains(&(producer, *at)) || told.excused.contains(&(producer, *at));
            if let Some(before) = (1..sequence).find(|at| !is_known(at)) {
                let name = name_of(node);
                self.wrong.get_or_insert(format!(
                    "P4: {name} hands out {payload}, number {sequence} of producer {producer}, before {before}"
                ));
            }
            told.handed.insert((producer, sequence));
        }
    }

    /// Messages that stand at a relay behind a later one of their producer.
    pub(super) fn count_moved(&mut self) {
        let places = &self.movers.places;
        let mut moved = 0;
        for node in &self.nodes {
            let mut highest: BTreeMap<ProducerId, u64> = BTreeMap::new();
            for payload in node.messages() {
                let Some((producer, sequence)) = places.get(&payload) else { continue };
                let highest = highest.entry(*producer).or_default();
                moved += u64::from(sequence < highest);
                *highest = (*highest).max(*sequence);
            }
        }
        self.movers.moved = moved;
    }

    /// How many messages had to wait for earlier ones somewhere, and how many notices said that
    /// some were not waited for.
    #[must_use]
    pub fn moving_counts(&self) -> (u64, u64) {
        (self.movers.moved, self.movers.notices)
    }
}
