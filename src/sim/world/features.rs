//! Storms in which applications use what groups and subscriptions can be set to: filters and subjects, times
//! to live, failures that are tried again and dead letters, seeks, subscriptions that come and go.
//!
//! What each subscription is owed ([`claim`]) and how old a message is ([`super::ages`]) is reckoned here; no
//! relay is asked for it, but for who can be reached when a subscription is made, and what its disk keeps when
//! one goes back.

mod claim;
mod ending;
mod levels;
mod matching;
mod receiver;

use std::collections::{BTreeMap, BTreeSet};

use self::claim::{Asked, Claim, Message, Stage, Wish};
use self::levels::Waiting;
use super::ages::Ages;
use super::{World, name_of, names};
use crate::dice::Dice;
use crate::id::{SubscriptionName, WallTime};
use crate::sim::storms::Weather;
use crate::topology::settings::{GroupSettings, TreeKind};
use crate::wire::body::{Refusal, RefusalCode, Reply, Request, Start, SubscribeLevel, SubscriptionSpec};
use crate::wire::run::Record;

/// The group that dead letters go to.
const DEAD: &str = "dead";

/// The groups into which is put: one with tries and dead letters, one with a time to live, one without anything.
const GROUPS: [&str; 3] = ["f", "t", "p"];

/// Deliveries of a message in the first of them.
const TRIES: u32 = 3;

/// Waits between them, in milliseconds.
const BACKOFF_MS: [u64; 2] = [5, 20];

/// The time to live of the second one: twenty minutes.
const TTL_MS: u64 = 20 * 60_000;

/// Times to live that messages have of their own, in milliseconds.
const TTLS_MS: [u64; 4] = [30, 300, 10 * 60_000, 40 * 60_000];

/// Subjects, and filters for them.
const SUBJECTS: [&str; 7] = ["a", "b", "a/b", "a/c", "a/b/c", "c/b", "c/x/d"];
const FILTERS: [&str; 9] = ["#", "a/#", "a/+", "+/b", "a/b", "+", "c/+/d", "a/b/#", "+/+/#"];

/// In 100 steps so many of each kind.
const PUTS: u64 = 18;
const MAKES: u64 = 3;
const REMOVES: u64 = 1;
const SEEKS: u64 = 2;

/// Storms of seeds before this are as they were when some of them failed: nobody seeks by a time.
const TIMES_FROM: u64 = 100_000_000;

/// In 100 steps a receiver does something in so many, besides all that.
const RECEIVES: u64 = 70;

/// What storms have seen, so that a test can tell that they have seen something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Subscriptions that were made.
    pub made: u64,
    /// Subscriptions that were removed.
    pub removed: u64,
    /// Messages that somebody had to be given.
    pub owed: u64,
    /// Messages that were not for a subscription, by its filter.
    pub filtered: u64,
    /// Messages that had expired before they were given.
    pub expired: u64,
    /// Messages that became dead letters.
    pub dead: u64,
    /// Seeks that were answered.
    pub seeks: u64,
    /// Puts that were answered when they had come further than to one disk.
    pub leveled: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.made += other.made;
        self.removed += other.removed;
        self.owed += other.owed;
        self.filtered += other.filtered;
        self.expired += other.expired;
        self.dead += other.dead;
        self.seeks += other.seeks;
        self.leveled += other.leveled;
    }
}

/// One storm and what is known of it.
#[derive(Debug)]
struct Storm {
    dice: Dice,
    messages: BTreeMap<String, Message>,
    claims: Vec<Claim>,
    /// Dead letters by subscription and message: who was given them, and under which names.
    dead: BTreeMap<(SubscriptionName, String), BTreeSet<(usize, String)>>,
    /// Puts that are to come further than to one disk, and have not been answered so.
    waiting: Vec<Waiting>,
    /// Of 100 times so many a receiver has it confirmed that what it has said is durable.
    syncs: u64,
    /// Whether some seek what came since a time.
    seeks_by_time: bool,
    /// Everything is taken and acked now.
    is_over: bool,
    seen: Seen,
}

/// One storm, as its seed will: what it has seen.
///
/// # Errors
/// The first promise that is broken.
pub fn features(seed: u64, steps: usize) -> Result<Seen, String> {
    let mut dice = Dice::new(seed ^ 0xfea7);
    let relays = 3 + dice.below(6) as usize;
    let mut world = World::random(seed, relays);
    world.ages = Some(Ages::default());
    let mut storm = Storm {
        dice,
        messages: BTreeMap::new(),
        claims: Vec::new(),
        dead: BTreeMap::new(),
        waiting: Vec::new(),
        syncs: if seed % 4 == 1 { 3 } else { 40 },
        seeks_by_time: seed >= TIMES_FROM,
        is_over: false,
        seen: Seen::default(),
    };
    storm.begin(&mut world, seed);
    // Who has a wrong clock expires what it has at a wrong time.
    let foul = Weather { puts: 0, takes: 0, jumps: 0, ..Weather::STORM };
    let calmer = Weather { crashes: 1, flaps: 1, parts: 0, fulls: 0, ..foul };
    let weather = if seed.is_multiple_of(3) { foul } else { calmer };
    for _ in 0..steps {
        world.step(&weather);
        storm.act(&mut world)?;
        storm.look(&mut world)?;
        storm.check_levels(&world)?;
        world.check_ages()?;
    }
    storm.end(&mut world)?;
    Ok(storm.seen)
}

impl World {
    /// Where a message is, for people.
    fn explain(&self, payload: &str) -> String {
        let places: Vec<String> = self.nodes.iter().map(|node| node.explain(payload)).collect();
        places.join("\n")
    }

    /// Whether a relay believes that it can reach another one.
    fn may_reach(&self, node: usize, other: usize) -> bool {
        self.nodes[node].reaches(&self.nodes[other].name)
    }
}

impl Storm {
    /// Makes the groups, and who takes the dead letters.
    fn begin(&mut self, world: &mut World, seed: u64) {
        if seed.is_multiple_of(2) {
            world.nodes.iter_mut().for_each(|node| node.set_quiet_ms(1 + seed / 2 % 40));
        }
        let tries = GroupSettings {
            max_deliver: Some(TRIES),
            backoff_ms: BACKOFF_MS.to_vec(),
            dead_letter: Some(DEAD.to_owned()),
            ..GroupSettings::default()
        };
        let lives =
            GroupSettings { ttl_ms: Some(TTL_MS), tree: TreeKind::Source, ..GroupSettings::default() };
        for (group, settings) in [("f", tries), ("t", lives)] {
            let group = group.parse().expect("a name");
            world.nodes[0].create_group(world.now, &group, settings);
            world.collect(0);
        }
        world.settle();
        for _ in 0..2 {
            let node = self.dice.below(world.nodes.len() as u64) as usize;
            self.make_at(world, node, DEAD, &format!("d{}", self.claims.len()));
            world.settle();
            self.look(world).expect("nothing was given yet");
        }
        let all: BTreeMap<usize, u64> = (0..world.nodes.len()).map(|node| (node, 0)).collect();
        self.claims.iter_mut().for_each(|claim| claim.since = all.clone());
    }

    /// Applications do something, or nothing.
    fn act(&mut self, world: &mut World) -> Result<(), String> {
        let dice = self.dice.below(100);
        if dice < PUTS {
            self.put(world);
        } else if dice < PUTS + MAKES {
            let node = self.dice.below(world.nodes.len() as u64) as usize;
            let group = GROUPS[self.dice.below(GROUPS.len() as u64) as usize];
            let name = format!("s{}", self.dice.below(2));
            self.make_at(world, node, group, &name);
        } else if dice < PUTS + MAKES + REMOVES {
            self.ask_some(world, Wish::Remove)?;
        } else if dice < PUTS + MAKES + REMOVES + SEEKS {
            let start = if self.dice.chance(70) { Start::Beginning } else { Start::Now };
            // Which time it is depends on what its relay has.
            let by_time = self.seeks_by_time && self.dice.chance(40);
            let start = if by_time { Start::Time(WallTime(0)) } else { start };
            self.ask_some(world, Wish::Seek(start))?;
        }
        if self.dice.chance(RECEIVES) {
            let place = self.some_living();
            self.receive(world, place)?;
        }
        Ok(())
    }

    /// Puts some messages at some relay that runs.
    fn put(&mut self, world: &mut World) {
        let node = self.dice.below(world.nodes.len() as u64) as usize;
        let group = GROUPS[self.dice.below(GROUPS.len() as u64) as usize];
        if world.nodes[node].is_up() {
            let count = 1 + self.dice.below(3);
            self.put_at(world, node, group, count);
        }
    }

    fn put_at(&mut self, world: &mut World, node: usize, group: &'static str, count: u64) {
        let handle = world.nodes[node].open(world.now, &group.parse().expect("a name"));
        let (put, payloads) = world.oracle.put(&name_of(node), group, count);
        let mut records = Vec::new();
        for payload in &payloads {
            let subject = SUBJECTS.get(self.dice.below(SUBJECTS.len() as u64 + 1) as usize).copied();
            let own = self.dice.chance(30).then(|| TTLS_MS[self.dice.below(TTLS_MS.len() as u64) as usize]);
            records.push(Record { payload: payload.as_bytes(), subject, ttl_ms: own, ..Record::default() });
            let ttl_ms = own.or((group == "t").then_some(TTL_MS));
            let message = Message { put, node, group, subject, ttl_ms, at: world.now.time };
            self.messages.insert(payload.clone(), message);
            let ages = world.ages.as_mut().expect("a storm of this kind knows ages");
            ages.born(node, payload, world.now.time);
        }
        let level = self.some_level(world, (put, node), &payloads);
        world.nodes[node].put_records(world.now, (handle, put), &records, level, None);
        world.collect(node);
    }

    /// A subscription is asked for at a relay, unless it has that.
    fn make_at(&mut self, world: &mut World, node: usize, group: &'static str, name: &str) {
        let (_, name) = names(node, group, name);
        let is_it = |claim: &Claim| claim.group == group && claim.name == name && claim.stage != Stage::Gone;
        if !world.nodes[node].is_up() || self.claims.iter().any(is_it) {
            return;
        }
        let spec = if group == DEAD { SubscriptionSpec::default() } else { self.some_spec() };
        let mut claim = Claim::new(node, group, name, spec);
        claim.tries = (group == "f").then_some((TRIES, BACKOFF_MS[0]));
        let is_member = self
            .claims
            .iter()
            .any(|other| other.home == node && other.group == group && other.stage != Stage::Gone);
        let puts = world.oracle.puts();
        if claim.spec.start == Start::Now {
            // What comes late from elsewhere is for who joins others here, or may be.
            let is_before = |message: &Message| {
                let is_known = message.node == node || !is_member && world.oracle.is_answered(message.put);
                message.group == group && message.put <= puts && is_known
            };
            let before = self.messages.iter().filter(|(_, message)| is_before(message));
            claim.before = before.map(|(payload, _)| payload.clone()).collect();
        }
        self.claims.push(claim);
        self.ask(world, self.claims.len() - 1, Wish::Make);
    }

    fn some_spec(&mut self) -> SubscriptionSpec {
        let filter = self.dice.chance(60).then(|| FILTERS[self.dice.below(FILTERS.len() as u64) as usize]);
        SubscriptionSpec {
            start: if self.dice.chance(25) { Start::Beginning } else { Start::Now },
            filter: filter.map(str::to_owned),
            window: self.dice.chance(40).then(|| 1 + self.dice.below(5) as u32),
            level: match self.dice.below(5) {
                0 => SubscribeLevel::Local,
                1 => SubscribeLevel::Strict,
                _ => SubscribeLevel::Reachable,
            },
            within_ms: Some(300),
            ..SubscriptionSpec::default()
        }
    }

    /// What the disk of its relay keeps of what a subscription is to have.
    fn kept(&self, world: &World, claim: &Claim) -> BTreeSet<String> {
        let held = world.nodes[claim.home].held(&claim.group_name()).into_iter();
        held.filter(|payload| self.messages.get(payload).is_some_and(|message| claim.lets_through(message)))
            .collect()
    }

    /// Some subscription that was not removed.
    fn some_living(&mut self) -> usize {
        let lives = |place: &usize| self.claims[*place].stage != Stage::Gone;
        let all: Vec<usize> = (0..self.claims.len()).filter(lives).collect();
        all[self.dice.below(all.len() as u64) as usize]
    }

    /// Something is asked about some subscription that nothing is asked about.
    fn ask_some(&mut self, world: &mut World, wish: Wish) -> Result<(), String> {
        let place = self.some_living();
        let claim = &self.claims[place];
        let is_quiet = claim.stage == Stage::Lives && claim.asked.is_none() && claim.group != DEAD;
        if is_quiet && world.nodes[claim.home].is_up() {
            self.take_before(world, place)?;
            let wish = match wish {
                Wish::Seek(Start::Time(_)) => Wish::Seek(self.some_time(world, place)),
                Wish::Make | Wish::Remove | Wish::Seek(_) => wish,
            };
            self.ask(world, place, wish);
        }
        Ok(())
    }

    /// When something came that the relay of a subscription has on its disk.
    fn some_time(&mut self, world: &World, place: usize) -> Start {
        let claim = &self.claims[place];
        let held = world.nodes[claim.home].held_since(&claim.group_name());
        match held.len() as u64 {
            0 => Start::Beginning,
            count => Start::Time(held[self.dice.below(count) as usize].1),
        }
    }

    /// Asks the home of a subscription.
    fn ask(&mut self, world: &mut World, place: usize, wish: Wish) {
        let claim = &self.claims[place];
        let (node, group, name) = (claim.home, claim.group_name(), claim.name.clone());
        match &wish {
            Wish::Make if claim.spec.start == Start::Beginning => {
                let kept = self.kept(world, claim);
                let claim = &mut self.claims[place];
                // It may be there already, and what was let go then may be kept again since a start.
                match claim.asked {
                    Some(_) => claim.again.retain(|payload| kept.contains(payload)),
                    None => claim.again = kept,
                }
            }
            Wish::Seek(start) => self.expect_seek(world, place, start),
            Wish::Make | Wish::Remove => {}
        }
        let body = match wish.clone() {
            Wish::Make => Request::SubscriptionCreate { group, name, spec: self.claims[place].spec.clone() },
            Wish::Remove => Request::SubscriptionRemove { group, name },
            Wish::Seek(start) => Request::SubscriptionSeek { group, name, start },
        };
        let request = world.nodes[node].begin(world.now, body);
        let boot = world.nodes[node].boot();
        let claim = &mut self.claims[place];
        claim.asked = Some(Asked { wish, request, boot });
        let is_strict = claim.spec.level == SubscribeLevel::Strict;
        let is_asked = |other: &usize| match is_strict {
            // Of whom it has never heard it waits for no answer.
            true => world.nodes[node].knows(&world.nodes[*other].name),
            false => world.may_reach(node, *other),
        };
        claim.heard = (0..world.nodes.len()).filter(is_asked).collect();
        world.collect(node);
    }

    fn expect_seek(&mut self, world: &World, place: usize, start: &Start) {
        let mut kept = self.kept(world, &self.claims[place]);
        let claim = &mut self.claims[place];
        if claim.spec.start == Start::Now {
            // What was put elsewhere before its relay was known there is perhaps not for it; nor what it was
            // given of that by a seek which a crash has taken back.
            let is_first = claim.asked.is_none();
            let known = |payload: &String| {
                claim.is_behind(&self.messages[payload]) || is_first && claim.given.contains_key(payload)
            };
            kept.retain(known);
        }
        claim.receiver.iter_mut().for_each(receiver::Receiver::forget_said);
        match start {
            Start::Now => {
                let here = world.nodes[claim.home].messages();
                claim.goes_on(here);
            }
            Start::Time(time) => {
                // What has come before is let go, perhaps before there is an answer.
                let earlier = came_before(world, claim, *time);
                kept.retain(|payload| !earlier.contains(payload));
                claim.sought.extend(earlier);
                claim.goes_back(kept);
            }
            Start::Beginning | Start::Index(_) => claim.goes_back(kept),
        }
    }

    /// What is asked is looked after: answers are taken, and what a crash has lost is asked again.
    fn look(&mut self, world: &mut World) -> Result<(), String> {
        for place in 0..self.claims.len() {
            let node = self.claims[place].home;
            let Some(Asked { wish, request, boot }) = self.claims[place].asked.clone() else { continue };
            if !world.nodes[node].is_up() {
                continue;
            }
            if world.nodes[node].boot() != boot {
                if matches!(wish, Wish::Seek(_)) {
                    // A crash may have taken it back: what came since was not sought.
                    self.take_before(world, place)?;
                }
                self.ask(world, place, wish);
                continue;
            }
            if matches!(wish, Wish::Remove) {
                self.check_silence(world, place)?;
            }
            // Who cannot be reached any more is not waited for: that may be why there is an answer.
            let is_strict = self.claims[place].spec.level == SubscribeLevel::Strict;
            self.claims[place].heard.retain(|other| is_strict || world.may_reach(node, *other));
            if let Some(answer) = world.nodes[node].take_answer(request) {
                self.claims[place].asked = None;
                self.answered(world, place, &wish, answer)?;
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        world: &World,
        place: usize,
        wish: &Wish,
        answer: Result<Reply, Refusal>,
    ) -> Result<(), String> {
        let puts = world.oracle.puts();
        let claim = &mut self.claims[place];
        let code = answer.as_ref().err().map(|refusal| refusal.code);
        match (wish, code) {
            (Wish::Make, None) => {
                let heard = std::mem::take(&mut claim.heard);
                let all = (0..world.nodes.len()).filter(|node| match claim.spec.level {
                    SubscribeLevel::Local => *node == claim.home,
                    SubscribeLevel::Reachable | SubscribeLevel::Strict => {
                        *node == claim.home || heard.contains(node)
                    }
                });
                claim.since = all.map(|node| (node, puts)).collect();
                claim.stage = Stage::Lives;
                self.seen.made += 1;
            }
            (Wish::Make, Some(RefusalCode::Deadline)) => {
                claim.since = BTreeMap::from([(claim.home, puts)]);
                claim.stage = Stage::Lives;
            }
            (Wish::Remove, None | Some(RefusalCode::NotFound)) => {
                claim.stage = Stage::Gone;
                self.seen.removed += 1;
            }
            (Wish::Seek(start), None) => {
                claim.unsure.clear();
                if let Start::Time(time) = start {
                    // What was on no disk yet is there by now.
                    let mut earlier = came_before(world, claim, *time);
                    earlier.append(&mut claim.sought);
                    claim.skipped.extend(earlier.iter().cloned());
                    claim.before.extend(earlier);
                }
                self.seen.seeks += 1;
            }
            _ => return Err(format!("{}: {wish:?}: {answer:?}", self.told(place))),
        }
        Ok(())
    }

    /// A subscription, for people.
    fn told(&self, place: usize) -> String {
        let claim = &self.claims[place];
        format!("{}, {}/{}", name_of(claim.home), claim.group, claim.name)
    }
}

/// What had come to the relay of a subscription before a time, and is on its disk.
fn came_before(world: &World, claim: &Claim, time: WallTime) -> BTreeSet<String> {
    // Also of a run of which a part was let go.
    let all = world.nodes[claim.home].inserted(&claim.group_name(), |run| run.arrived < time);
    all.into_iter().map(|(payload, _)| payload).collect()
}
