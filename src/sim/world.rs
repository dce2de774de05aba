//! Relays, links and time, under one seed.

mod ages;
pub mod choices;
mod features;
mod finish;
mod frames;
mod laden;
mod levers;
mod lives;
mod mixed;
mod moves;
mod moving;
mod roaming;
mod trace;
mod trouble;
mod twins;
mod wires;

use std::collections::{BTreeMap, BTreeSet};

use self::ages::Ages;
pub use self::features::{Seen, features};
pub use self::laden::laden;
pub use self::lives::lives;
pub use self::mixed::mixed;
pub use self::moves::moves;
use self::moving::Movers;
use self::roaming::{Known, Roamer};
pub use self::twins::twins;
pub use self::wires::Said;
use self::wires::Wire;
use super::node::{Image, Node};
use super::oracle::Oracle;
use super::storms::Weather;
use super::watch::Watch;
use crate::dice::Dice;
use crate::id::{
    GroupName, Index, LinkId, ProducerId, ProducerSequence, Sequence, SubscriptionName, Time, WallTime,
};
use crate::relay::{Input, LinkOptions, Now, Rate};
use crate::wire::body::{Answer, Draining, Refusal, Reply, Request, SubscribeLevel};
use crate::wire::frame::AckLevel;
use crate::wire::link::LinkMessage;

/// A network under one seed.
#[derive(Clone, Debug)]
pub struct World {
    /// The relays.
    pub nodes: Vec<Node>,
    wires: Vec<Wire>,
    pub(super) dice: Dice,
    pub(super) now: Now,
    /// What is known of all puts.
    pub oracle: Oracle,
    groups: Vec<GroupName>,
    subscriptions: Vec<(usize, GroupName, SubscriptionName)>,
    /// Relays that do not start, whatever the weather.
    gone: BTreeSet<usize>,
    /// Relays whose links are down, whatever the weather.
    cut_off: BTreeSet<usize>,
    /// Which level each put has reached that was answered.
    levels: BTreeMap<u64, AckLevel>,
    /// Where each put that was answered stands: the relay, its boot, and the first sequence.
    placed: BTreeMap<u64, (usize, u64, Sequence)>,
    /// What was ever on disks and wires.
    watch: Watch,
    /// What is kept back, if anything is to be: the wire, the end, the message.
    held: Option<Vec<(usize, usize, LinkMessage)>>,
    /// How old messages are at each relay, if that is judged.
    ages: Option<Ages>,
    /// Bytes of frames, if they are counted.
    frames: Option<frames::Frames>,
    /// Whether what is said over links is counted: it has to be encoded for that.
    is_counting: bool,
    /// What is known of the messages of each of them.
    known: Vec<Known>,
    /// The receiver that each of them has somewhere.
    roamers: Vec<Option<Roamer>>,
    /// What receivers do that move from relay to relay; a seed's run is the same without them.
    roaming: Dice,
    /// The storage ids of disks that take the place of lost ones.
    disks: Dice,
    /// Publishers that move from relay to relay.
    movers: Movers,
    /// A promise that was seen to be broken.
    wrong: Option<String>,
    /// Whether receivers that move ask for a few messages at a time.
    thrifty: bool,
    /// Whether subscriptions move from home to home.
    homes_move: bool,
    /// Whether subscriptions have more than one home.
    has_twins: bool,
    /// Whether disks sync what nobody waits for no earlier than they have to.
    is_lazy: bool,
}

/// A subscription has one home in the network, so each relay has names of its own; a queue's one
/// is the same everywhere.
#[must_use]
pub fn names(node: usize, group: &str, name: &str) -> (GroupName, SubscriptionName) {
    let group = GroupName::new(group).expect("names of simulated groups are names");
    let name = if name == "queue" { name.to_owned() } else { format!("{name}-{}", name_of(node)) };
    (group, SubscriptionName::new(&name).expect("names of simulated subscriptions are names"))
}

/// The name of relay number `place`.
pub(super) fn name_of(place: usize) -> String {
    format!("r{place:02}")
}

impl World {
    /// Relays with empty disks, joined by `links` (two places and a cost); all links are up.
    #[must_use]
    pub fn new(seed: u64, relays: usize, links: &[(usize, usize, u32)]) -> Self {
        Self::with_rates(seed, relays, links, &|_| None)
    }

    /// As [`World::new`], with links that have a rate in both directions, by their place in the list.
    #[must_use]
    pub fn with_rates(
        seed: u64,
        relays: usize,
        links: &[(usize, usize, u32)],
        rate: &dyn Fn(usize) -> Option<Rate>,
    ) -> Self {
        let now = Now { time: Time(0), wall: WallTime(1_000_000_000_000_000) };
        let options = |place: usize| -> Vec<LinkOptions> {
            let mine = links.iter().enumerate().filter(|(_, (a, b, _))| *a == place || *b == place);
            mine.map(|(wire, (a, b, cost))| LinkOptions {
                link: LinkId(wire as u32 + 1),
                neighbour: name_of(if *a == place { *b } else { *a }).parse().expect("a name"),
                cost: *cost,
                rate: rate(wire),
            })
            .collect()
        };
        let nodes = (0..relays)
            .map(|place| Node::new(&name_of(place), place as u16 + 1, options(place), now))
            .collect();
        let wire = |(a, b, _): &(usize, usize, u32)| Wire::new([*a, *b]);
        let mut world = Self {
            nodes,
            wires: links.iter().map(wire).collect(),
            dice: Dice::new(seed),
            now,
            oracle: Oracle::default(),
            groups: Vec::new(),
            subscriptions: Vec::new(),
            gone: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            levels: BTreeMap::new(),
            placed: BTreeMap::new(),
            watch: Watch::new(relays),
            held: None,
            ages: None,
            frames: None,
            is_counting: false,
            known: Vec::new(),
            roamers: Vec::new(),
            roaming: Dice::new(seed ^ 0x0a4e),
            disks: Dice::new(seed ^ 0xd15c),
            movers: Movers::none(seed),
            wrong: None,
            thrifty: false,
            homes_move: false,
            has_twins: false,
            is_lazy: false,
        };
        for wire in 0..world.wires.len() {
            world.set_link(wire, true);
        }
        world.settle();
        world
    }

    /// A ring of `relays` with some chords, as the seed wants it.
    #[must_use]
    pub fn random(seed: u64, relays: usize) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let mut links: Vec<(usize, usize, u32)> = Vec::new();
        for place in 1..relays {
            links.push((dice.below(place as u64) as usize, place, 1 + dice.below(9) as u32));
        }
        for _ in 0..dice.below(relays as u64) {
            let (a, b) = (dice.below(relays as u64) as usize, dice.below(relays as u64) as usize);
            let is_new = !links.iter().any(|(x, y, _)| (*x, *y) == (a, b) || (*x, *y) == (b, a));
            if a != b && is_new {
                links.push((a, b, 1 + dice.below(9) as u32));
            }
        }
        // Every fourth link has a rate, at which some messages are a burst.
        let mut dice = Dice::new(seed ^ 0x4a7e);
        let rates: Vec<Option<Rate>> = links
            .iter()
            .map(|_| {
                dice.chance(25).then(|| Rate { bytes_per_second: 2_000 << dice.below(6), burst_bytes: 300 })
            })
            .collect();
        let mut world = Self::with_rates(seed, relays, &links, &|wire| rates[wire]);
        world.nodes.iter_mut().for_each(|node| node.is_hasty = true);
        world.is_lazy = Dice::new(seed ^ 0x1a2e).chance(50);
        world
    }

    /// Makes a group at every relay in which each origin has a tree of its own.
    ///
    /// # Panics
    /// When a relay refuses it.
    pub fn create_source_group(&mut self, group: &str) {
        let group = GroupName::new(group).expect("names of simulated groups are names");
        for node in 0..self.nodes.len() {
            self.nodes[node].create_source_group(self.now, &group);
            self.collect(node);
        }
        self.settle();
    }

    /// Makes a subscription at a relay, and lets everybody learn of it.
    ///
    /// # Panics
    /// When the relay refuses it.
    pub fn subscribe(&mut self, node: usize, group: &str, name: &str) {
        let (group, name) = names(node, group, name);
        self.nodes[node].subscribe(self.now, &group, &name);
        self.has_subscription(node, group.clone(), name);
        self.settle();
        if self.is_whole() && !self.homes_move {
            self.watch.member(node, &group, self.oracle.puts());
        }
    }

    /// There is one more.
    fn has_subscription(&mut self, node: usize, group: GroupName, name: SubscriptionName) {
        if !self.groups.contains(&group) {
            self.groups.push(group.clone());
        }
        self.subscriptions.push((node, group, name));
        self.known.push(Known::default());
        self.roamers.push(None);
    }

    fn is_whole(&self) -> bool {
        self.nodes.iter().all(Node::is_up) && self.wires.iter().all(|wire| wire.is_up)
    }

    /// Makes a subscription at a relay, and goes on with the weather until it is answered, for at
    /// most so many steps: `None` if it is not then.
    ///
    /// # Panics
    /// When the relay refuses it for another reason than time.
    pub fn subscribe_at_level(
        &mut self,
        (node, group, name): (usize, &str, &str),
        level: SubscribeLevel,
        weather: &Weather,
        steps: usize,
    ) -> Option<Answer> {
        let (group, name) = names(node, group, name);
        let request = self.nodes[node].begin_subscribe(self.now, &group, &name, level);
        self.collect(node);
        self.has_subscription(node, group, name);
        for _ in 0..steps {
            if let Some(answer) = self.nodes[node].take_answer(request) {
                return Some(answer);
            }
            self.step(weather);
        }
        None
    }

    /// Makes a subscription again that was there before.
    ///
    /// # Panics
    /// When the relay refuses it.
    pub fn subscribe_again(&mut self, node: usize, group: &str, name: &str) {
        let (group, name) = names(node, group, name);
        self.nodes[node].subscribe(self.now, &group, &name);
        self.settle();
    }

    /// Asks a relay.
    ///
    /// # Panics
    /// When it does not answer once all is on its disk.
    pub fn ask(&mut self, node: usize, request: Request) -> Answer {
        let answer = self.nodes[node].ask(self.now, request);
        self.collect(node);
        answer
    }

    /// Asks a relay, and lets everything arrive until it answers; `None`: it does not.
    ///
    /// # Panics
    /// When the relays never come to rest.
    pub fn ask_network(&mut self, node: usize, request: Request) -> Option<Answer> {
        let request = self.nodes[node].begin(self.now, request);
        self.collect(node);
        self.settle();
        self.nodes[node].take_answer(request)
    }

    /// Begins to receive at a relay.
    pub fn attach(&mut self, node: usize, group: &str, name: &str) -> u32 {
        let handle = self.attach_quietly(node, group, name);
        self.credit(node, handle);
        handle
    }

    /// An application reads all that was delivered to it.
    pub fn read(&mut self, node: usize) {
        self.nodes[node].read_all(self.now);
        self.collect(node);
    }

    /// Acks at a relay what stands between two places.
    pub fn ack(&mut self, node: usize, handle: u32, range: (u64, u64)) {
        self.nodes[node].ack(self.now, handle, (Index(range.0), Index(range.1)));
        self.collect(node);
    }

    /// Begins to receive, and takes nothing yet.
    pub fn attach_quietly(&mut self, node: usize, group: &str, name: &str) -> u32 {
        let (group, name) = names(node, group, name);
        let handle = self.nodes[node].attach(self.now, &group, &name);
        self.collect(node);
        handle
    }

    /// Takes as much as comes.
    pub fn credit(&mut self, node: usize, handle: u32) {
        self.nodes[node].credit(self.now, handle);
        self.collect(node);
    }

    /// A disk syncs all that waits.
    pub fn sync(&mut self, node: usize) {
        self.nodes[node].sync(self.now, usize::MAX);
        self.collect(node);
    }

    /// A disk syncs all that waits, if it would by itself.
    pub fn sync_if_due(&mut self, node: usize) {
        if self.nodes[node].is_due(self.now) {
            self.sync(node);
        }
    }

    /// Makes a subscription at a relay without a pause: nobody else has heard of it yet.
    ///
    /// # Panics
    /// When the relay refuses it.
    pub fn subscribe_unheard(&mut self, node: usize, group: &str, name: &str) {
        let (group, name) = names(node, group, name);
        self.nodes[node].subscribe(self.now, &group, &name);
        self.collect(node);
    }

    /// Everything that a subscription is owed now.
    ///
    /// # Panics
    /// When there is no such subscription.
    pub fn drain(&mut self, node: usize, group: &str, name: &str) -> Vec<String> {
        let (group, name) = names(node, group, name);
        let got = self.nodes[node].drain(self.now, &group, &name);
        self.collect(node);
        got
    }

    /// Puts messages at a relay.
    pub fn put(&mut self, node: usize, group: &str, messages: u64) {
        if !self.nodes[node].is_up() {
            return;
        }
        let name = GroupName::new(group).expect("names of simulated groups are names");
        let handle = self.nodes[node].open(self.now, &name);
        let (number, payloads) = self.oracle.put(&name_of(node), group, messages);
        self.nodes[node].put(self.now, handle, number, &payloads);
        self.collect(node);
    }

    /// Puts messages of a producer, numbered from `first` on, whatever the oracle knows.
    pub fn put_as(&mut self, node: usize, group: &str, first: u64, payloads: &[&str]) {
        let name = GroupName::new(group).expect("names of simulated groups are names");
        let handle = self.nodes[node].open(self.now, &name);
        let payloads: Vec<String> = payloads.iter().map(|payload| (*payload).to_owned()).collect();
        let producer = Some((ProducerId(7), ProducerSequence(first)));
        let put = (handle, 1_000_000 + first);
        self.nodes[node].put_as(self.now, put, &payloads, (AckLevel::Accepted, 0), producer);
        self.collect(node);
    }

    /// Puts one message at a relay, to be answered when it has come as far as this; gives its
    /// number and what it is.
    pub fn put_at_level(&mut self, node: usize, group: &str, level: (AckLevel, u16)) -> (u64, String) {
        let name = GroupName::new(group).expect("names of simulated groups are names");
        let handle = self.nodes[node].open(self.now, &name);
        let (number, payloads) = self.oracle.put(&name_of(node), group, 1);
        self.nodes[node].put_at_level(self.now, (handle, number), &payloads, level);
        self.collect(node);
        (number, payloads.into_iter().next().unwrap_or_default())
    }

    /// Goes on with the weather until a put is answered, for at most so many steps.
    pub fn until_answered(&mut self, put: u64, weather: &Weather, steps: usize) -> Option<AckLevel> {
        for _ in 0..steps {
            if let Some(level) = self.levels.get(&put) {
                return Some(*level);
            }
            self.step(weather);
        }
        self.levels.get(&put).copied()
    }

    /// Takes what has come out of a relay: answers to the oracle, messages to the wires.
    pub(super) fn collect(&mut self, node: usize) {
        self.look(node);
        self.on_refused(node);
        for done in std::mem::take(&mut self.nodes[node].done) {
            if let Some(put) = self.moved_put(done.put) {
                self.oracle.answered(put);
                continue;
            }
            if let Some(payload) = self.oracle.first_payload(done.put) {
                self.watch.answered(&self.nodes[node], node, payload);
            }
            self.oracle.answered(done.put);
            self.levels.insert(done.put, done.level);
            self.placed.insert(done.put, (node, self.nodes[node].boot(), done.first));
        }
        while let Some((link, message)) = self.nodes[node].outbox.pop_front() {
            self.watch.says(&self.nodes[node], node, &message);
            self.hear_age(node, &message);
            let Some(place) = self.wire_of(node, link) else { continue };
            let to = usize::from(self.wires[place].ends[0] == node);
            let Some(message) = self.keep_back(place, to, message) else { continue };
            self.count_frame(place, to, &message);
            let wire = &mut self.wires[place];
            if wire.is_up && self.is_counting {
                wire.said[to].count(&message);
            }
            if wire.is_up && !wire.is_deaf {
                wire.bytes += message.bytes();
                wire.runs += u64::from(matches!(message, LinkMessage::Run { .. }));
                wire.to[to].push_back(message);
            }
        }
        if std::mem::take(&mut self.nodes[node].is_rewired) {
            self.rewire(node);
        }
    }

    /// What the watch sees of a relay now.
    fn look(&mut self, node: usize) {
        let (log, durable) = self.nodes[node].log();
        self.watch.look(node, self.nodes[node].name.as_str(), log, durable);
        for gone in std::mem::take(&mut self.nodes[node].let_go) {
            self.watch.lets_go(node, &self.nodes[node], gone);
        }
        self.watch.hears_of_disks(node, &self.nodes[node]);
    }

    /// Lets time pass in which nothing arrives.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now.time = self.now.time.after_ms(ms);
        self.now.wall.0 += ms * 1000;
        for node in 0..self.nodes.len() {
            while self.nodes[node].deadline().is_some_and(|at| at <= self.now.time) {
                self.nodes[node].input(self.now, Input::Tick);
            }
            self.collect(node);
        }
    }

    /// Time passes until the next deadline of anybody.
    fn pass_to_deadline(&mut self) {
        let next = self.nodes.iter().filter_map(Node::deadline).min();
        let wait = next.map_or(0, |at| at.0.saturating_sub(self.now.time.0));
        self.pass_ms(wait.div_ceil(crate::id::Time(0).after_ms(1).0));
    }

    /// A relay crashes, and its links with it.
    pub fn crash(&mut self, node: usize) {
        if !self.nodes[node].is_up() {
            return;
        }
        let kept = self.dice.below(4) as usize;
        self.crash_keeping(node, kept);
    }

    /// A relay crashes, and of what was not synced the first `kept` entries are on its disk all the same.
    pub fn crash_keeping(&mut self, node: usize, kept: usize) {
        self.watch.crashes(&self.nodes[node]);
        self.nodes[node].crash(kept);
        self.watch.crashed(node, self.nodes[node].log().0);
        for wire in 0..self.wires.len() {
            if self.wires[wire].ends.contains(&node) {
                self.set_link(wire, false);
            }
        }
    }

    /// The disk of a relay is full, or has room again.
    pub fn set_room(&mut self, node: usize, free: bool) {
        self.nodes[node].set_room(self.now, free);
        self.collect(node);
    }

    /// A relay crashes and does not start until it [comes back](World::bring_back).
    pub fn lose(&mut self, node: usize) {
        self.crash(node);
        self.gone.insert(node);
    }

    /// A relay runs, and no link of it comes up until it [comes back](World::bring_back).
    pub fn cut_off(&mut self, node: usize) {
        self.cut_off.insert(node);
        for wire in
            (0..self.wires.len()).filter(|wire| self.wires[*wire].ends.contains(&node)).collect::<Vec<_>>()
        {
            self.set_link(wire, false);
        }
    }

    /// A relay that was lost or cut off may start, and its links come up.
    pub fn bring_back(&mut self, node: usize) {
        self.gone.remove(&node);
        self.cut_off.remove(&node);
    }

    /// A relay without which all others still hang together.
    pub(super) fn dispensable(&self, dice: &mut Dice) -> usize {
        let relays = self.nodes.len();
        let first = dice.below(relays as u64) as usize;
        let is_one = |without: usize| {
            let mut reached = BTreeSet::from([usize::from(without == 0)]);
            for _ in 0..relays {
                let ends = self.wires.iter().map(|wire| wire.ends).filter(|ends| !ends.contains(&without));
                let near = ends.filter(|[a, b]| reached.contains(a) != reached.contains(b));
                let near: Vec<usize> = near.flatten().collect();
                reached.extend(near);
            }
            reached.len() == relays - 1
        };
        let mut all = (0..relays).map(|place| (first + place) % relays);
        all.find(|place| is_one(*place)).expect("a graph that hangs together has a relay that may go")
    }

    /// An operator says at relay `at` that another one never comes back.
    pub fn forget(&mut self, at: usize, node: usize) -> Answer {
        let relay = name_of(node).parse().expect("a name");
        // Others let go what it lacks while the answer is on its way.
        self.watch.forget(node);
        self.ask(at, Request::RelayForget { relay, confirmed: true })
    }

    /// An operator empties a relay, and all that lives there; says whether it may go.
    ///
    /// # Panics
    /// When it refuses.
    pub fn drain_relay(&mut self, node: usize) -> bool {
        self.watch.forget(node);
        match self.ask(node, Request::RelayDrain { abandon: true }) {
            Ok(Reply::Draining(state)) => state.may_go,
            other => panic!("{} is not drained: {other:?}", name_of(node)),
        }
    }

    /// A relay is emptied, with all that lives there, and may go before so many times ten seconds have passed.
    ///
    /// # Errors
    /// What holds it up.
    ///
    /// # Panics
    /// When it refuses.
    pub fn drain_within(&mut self, node: usize, rests: usize) -> Result<(), String> {
        if self.drain_relay(node) {
            return Ok(());
        }
        (0..rests).for_each(|_| self.rest());
        match self.ask(node, Request::RelayDrain { abandon: true }) {
            Ok(Reply::Draining(state)) if state.may_go => Ok(()),
            answer => {
                let known: Vec<String> = self.nodes.iter().map(|node| node.explain("?")).collect();
                Err(format!("{} may not go: {answer:?}\n{}", name_of(node), known.join("\n")))
            }
        }
    }

    /// An operator asks at relay `at` that another one is emptied, or how far that is.
    ///
    /// # Errors
    /// What was refused.
    ///
    /// # Panics
    /// When no answer comes, or one to another question.
    pub fn ask_to_drain(&mut self, at: usize, node: usize, abandon: bool) -> Result<Draining, Refusal> {
        let relay = name_of(node).parse().expect("a name");
        match self.ask_network(at, Request::RelayDrainNamed { relay, abandon }) {
            Some(Ok(Reply::Draining(state))) => Ok(*state),
            Some(Err(refusal)) => Err(refusal),
            other => panic!("{} is asked at {}: {other:?}", name_of(node), name_of(at)),
        }
    }

    /// A relay starts again; its links come up when they will.
    pub fn start(&mut self, node: usize) {
        if !self.nodes[node].is_up() && !self.gone.contains(&node) {
            self.nodes[node].start(self.now);
            self.nodes[node].is_rewired = true;
            self.collect(node);
        }
    }

    /// One thing happens.
    pub fn step(&mut self, weather: &Weather) {
        let node = self.dice.below(self.nodes.len() as u64) as usize;
        let mut at = self.dice.below(100);
        let mut is = |share: u64| {
            let hit = at < share;
            at = at.wrapping_sub(share);
            hit
        };
        if is(weather.puts) {
            let group = self.groups[self.dice.below(self.groups.len() as u64) as usize].to_string();
            let messages = 1 + self.dice.below(3);
            self.put(node, &group, messages);
        } else if is(weather.syncs) {
            let entries = 1 + self.dice.below(8) as usize;
            if !self.is_lazy || self.nodes[node].is_due(self.now) {
                self.nodes[node].sync(self.now, entries);
            }
            if self.nodes[node].is_saving() {
                let parts = self.dice.below(24) as usize;
                self.nodes[node].go_on_with_snapshot(self.now, parts);
            }
            self.collect(node);
        } else if is(weather.crashes) {
            self.crash(node);
        } else if is(weather.starts) {
            self.start(node);
        } else if is(weather.flaps) {
            let wire = self.dice.below(self.wires.len() as u64) as usize;
            let is_up = self.wires[wire].is_up;
            self.set_link(wire, !is_up);
        } else if is(weather.fulls) {
            let free = !self.nodes[node].has_room();
            self.set_room(node, free);
        } else if is(weather.jumps) {
            self.jump(node);
        } else if is(weather.parts) {
            self.part();
        } else if is(weather.repeats) {
            self.repeat();
        } else if is(weather.applies) {
            self.apply_some(node);
        } else if is(weather.takes) {
            let place = self.dice.below(self.subscriptions.len() as u64) as usize;
            self.take(place);
        } else if is(weather.snapshots) {
            let parts = 1 + self.dice.below(100) as usize;
            self.nodes[node].go_on_with_snapshot(self.now, parts);
            self.collect(node);
        } else if is(weather.costs) {
            let wire = self.dice.below(self.wires.len() as u64) as usize;
            let cost = 1 + self.dice.below(9) as u32;
            self.set_cost(wire, cost);
        } else {
            let wire = self.dice.below(self.wires.len() as u64) as usize;
            let to = self.dice.below(2) as usize;
            self.arrive(wire, to);
            let ms = self.dice.below(5);
            self.pass_ms(ms);
        }
        if weather.roams > 0 && !self.subscriptions.is_empty() && self.roaming.chance(weather.roams) {
            let place = self.roaming.below(self.subscriptions.len() as u64) as usize;
            self.roam(place);
        }
    }

    /// Lets everything arrive and be synced, without anything new.
    ///
    /// # Panics
    /// When the relays never come to rest.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut is_quiet = true;
            for node in 0..self.nodes.len() {
                is_quiet &= !self.nodes[node].is_up() || self.nodes[node].is_synced();
                self.nodes[node].sync(self.now, usize::MAX);
                self.collect(node);
            }
            for wire in 0..self.wires.len() {
                for to in [0, 1] {
                    while self.arrive(wire, to) {
                        is_quiet = false;
                    }
                }
            }
            if is_quiet && !self.nodes.iter().any(|node| node.is_planning() || node.is_held_back()) {
                return;
            }
            if is_quiet {
                self.pass_ms(10);
            }
        }
        panic!("the relays do not come to rest");
    }

    /// A relay stops and starts again, and its links come up; nothing on its disk is lost.
    pub fn restart(&mut self, node: usize) {
        let broken: Vec<usize> = (0..self.wires.len()).filter(|wire| !self.wires[*wire].is_up).collect();
        self.nodes[node].sync(self.now, usize::MAX);
        self.crash(node);
        self.start(node);
        (0..self.wires.len())
            .filter(|wire| !broken.contains(wire))
            .for_each(|wire| self.set_link(wire, true));
        self.settle();
    }

    /// A relay saves a snapshot of its state as of now.
    pub fn save(&mut self, node: usize) {
        self.nodes[node].take_snapshot(self.now);
    }

    /// A relay crashes, and comes back with an empty disk and its old name.
    pub fn wipe(&mut self, node: usize) {
        self.crash(node);
        let storage = self.another_storage(node);
        self.nodes[node].wipe(storage);
        self.watch.wiped(&self.nodes[node], node, self.oracle.puts());
        self.start(node);
    }

    /// A relay crashes, and comes back with the disk that it had when an image of it was taken.
    pub fn put_back(&mut self, node: usize, image: &Image) {
        self.crash(node);
        self.nodes[node].put_back(image);
        self.watch.crashed(node, self.nodes[node].log().0);
        self.start(node);
    }

    /// A millisecond passes in which every disk syncs, and everything arrives that was on its way
    /// when it began, in order: each link takes a millisecond.
    pub fn pass_with_traffic(&mut self) {
        let waiting: Vec<[usize; 2]> =
            self.wires.iter().map(|wire| [wire.to[0].len(), wire.to[1].len()]).collect();
        for (wire, counts) in waiting.iter().enumerate() {
            for to in [0, 1] {
                for _ in 0..counts[to] {
                    self.arrive(wire, to);
                }
            }
        }
        (0..self.nodes.len()).for_each(|node| self.sync(node));
        self.pass_ms(1);
    }
}
