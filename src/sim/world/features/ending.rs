//! How such a storm ends: everything works, everything is taken, and every promise is held against it.

use std::collections::BTreeSet;

use super::claim::{Claim, Message, Said, Stage};
use super::{DEAD, GROUPS, Storm};
use crate::id::GroupName;
use crate::sim::node::Node;
use crate::sim::world::{World, name_of};
use crate::wire::body::{Reply, Request};

/// Between the storm and its last receivers so long may pass, with half of all seeds: longer than some times to
/// live, and shorter than others.
const HALF_AN_HOUR_MS: u64 = 30 * 60_000;

/// Rounds in which receivers take what there is, at the most.
const ROUNDS: usize = 400;

impl Storm {
    /// Everything works again: what is owed is taken, and nothing is left on any disk.
    pub(super) fn end(&mut self, world: &mut World) -> Result<(), String> {
        world.heal();
        self.get_answers(world)?;
        let puts = world.oracle.puts();
        let all = (0..world.nodes.len()).map(|node| (node, puts));
        for claim in &mut self.claims {
            all.clone().for_each(|(node, puts)| {
                claim.since.entry(node).or_insert(puts);
            });
        }
        for node in 0..world.nodes.len() {
            GROUPS.iter().for_each(|group| self.put_at(world, node, group, 2));
        }
        world.settle();
        if self.dice.chance(50) {
            world.pass_ms(HALF_AN_HOUR_MS);
            world.settle();
        }
        self.leave(world)?;
        self.take_all(world)?;
        world.check_ages()?;
        self.check_owed(world)?;
        self.check_dead(world)?;
        self.check_members(world)?;
        world.finish()?;
        self.check_none_waits(world)?;
        world.check_gaps()?;
        match world.nodes.iter().find(|node| node.losses() > 0) {
            Some(node) => Err(format!("{} has a record LOSS, and nothing is lost", node.name)),
            None => Ok(()),
        }
    }

    /// What was asked has its answer.
    fn get_answers(&mut self, world: &mut World) -> Result<(), String> {
        for _ in 0..20 {
            self.look(world)?;
            if self.claims.iter().all(|claim| claim.asked.is_none()) {
                return Ok(());
            }
            world.pass_ms(100);
            world.settle();
        }
        let waits = (0..self.claims.len()).find(|place| self.claims[*place].asked.is_some());
        Err(waits.map(|place| format!("{} has no answer", self.told(place))).unwrap_or_default())
    }

    /// Receivers take and ack what there is until nothing comes any more.
    fn take_all(&mut self, world: &mut World) -> Result<(), String> {
        self.is_over = true;
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = self.given();
            for place in 0..self.claims.len() {
                self.receive(world, place)?;
            }
            world.settle();
            // What waits for its next try is due.
            world.pass_ms(20);
            world.settle();
            quiet = if self.given() == before { quiet + 1 } else { 0 };
            if quiet > 8 {
                return Ok(());
            }
        }
        Err("receivers never have all".to_owned())
    }

    /// How often anything was given.
    fn given(&self) -> u64 {
        let all = self.claims.iter().flat_map(|claim| claim.given.values());
        all.map(|given| u64::from(given.times)).sum()
    }

    /// Every subscription was given what it is owed, and is done with it.
    fn check_owed(&mut self, world: &World) -> Result<(), String> {
        let lives = |claim: &&Claim| claim.stage == Stage::Lives && claim.group != DEAD;
        for (place, claim) in self.claims.iter().enumerate().filter(|(_, claim)| lives(claim)) {
            for (payload, message) in &self.messages {
                let has_expired = message.may_have_expired(world.now.time);
                let is_mine = message.group == claim.group;
                self.seen.filtered += u64::from(is_mine && !claim.lets_through(message));
                let is_owed = claim.is_owed(payload, message) && world.oracle.is_answered(message.put);
                self.seen.expired += u64::from(is_owed && has_expired && !claim.given.contains_key(payload));
                let is_behind = claim.again.contains(payload);
                if has_expired || !(is_owed || is_behind) {
                    continue;
                }
                self.seen.owed += 1;
                let is_dead = self.dead.contains_key(&(claim.name.clone(), payload.clone()));
                // Where there is no group for dead letters, what is rejected is dropped.
                let is_done = claim.is_done(payload, claim.group != "f") || is_dead;
                if is_behind || !is_done {
                    let how = if is_behind { "did not come again" } else { "is lost" };
                    let given = claim.given.get(payload);
                    let what = format!("{payload} {how}: {message:?}, {given:?}, {:?}", claim.since);
                    let told = self.told(place);
                    return Err(format!("{told}, {:?}: {what}\n{}", claim.spec, world.explain(payload)));
                }
            }
        }
        Ok(())
    }

    /// Every relay has the subscriptions that live there, and all know who is a member of a group: a relay
    /// whose last subscription was removed is none, so that nobody keeps anything for it.
    fn check_members(&self, world: &mut World) -> Result<(), String> {
        for group in GROUPS.into_iter().chain([DEAD]) {
            let name: GroupName = group.parse().expect("a name");
            for home in 0..world.nodes.len() {
                let lives = |claim: &&Claim| {
                    claim.stage == Stage::Lives && claim.home == home && claim.group == group
                };
                let wanted: BTreeSet<_> =
                    self.claims.iter().filter(lives).map(|claim| claim.name.clone()).collect();
                let list = Request::SubscriptionList { group: name.clone(), after: None, limit: 100 };
                let found = match world.ask(home, list) {
                    Ok(Reply::Subscriptions(all)) => all.into_iter().map(|info| info.name).collect(),
                    _ => BTreeSet::new(),
                };
                if found != wanted {
                    return Err(format!("{} has {found:?} of {group}, not {wanted:?}", name_of(home)));
                }
                let relay = world.nodes[home].name.clone();
                let storage = world.nodes[home].storage_told().expect("all relays run");
                let is_member = |node: &Node| {
                    let all = node.memberships_on(&relay, storage);
                    all.into_iter().any(|number| node.group_name(number).as_ref() == Some(&name))
                };
                let wrong = world.nodes.iter().find(|node| is_member(node) == wanted.is_empty());
                if let Some(node) = wrong {
                    return Err(format!("{} thinks otherwise: {relay} has {wanted:?} of {group}", node.name));
                }
            }
        }
        Ok(())
    }

    /// What was rejected, and that is durable, is a dead letter; nothing is one more often than it may.
    fn check_dead(&mut self, world: &World) -> Result<(), String> {
        let takers: Vec<usize> =
            (0..self.claims.len()).filter(|place| self.claims[*place].group == DEAD).collect();
        for (place, claim) in self.claims.iter().enumerate().filter(|(_, claim)| claim.group == "f") {
            for (payload, given) in &claim.given {
                let message: &Message = &self.messages[payload];
                let is_rejected = matches!(given.said, Said::Rejected(_)) && given.is_settled;
                if !is_rejected || message.may_have_expired(world.now.time) {
                    continue;
                }
                let dead = self.dead.get(&(claim.name.clone(), payload.clone()));
                let lacks = takers
                    .iter()
                    .find(|taker| !dead.is_some_and(|all| all.iter().any(|(of, _)| of == *taker)));
                if let Some(taker) = lacks {
                    let (told, taker) = (self.told(place), self.told(*taker));
                    return Err(format!(
                        "{told}: {payload} was rejected and did not come to {taker}\n{}",
                        world.explain(payload)
                    ));
                }
            }
        }
        for ((name, payload), all) in &self.dead {
            let lives = self.claims.iter().filter(|claim| claim.name == *name && claim.group == "f");
            let most: u64 = lives.map(|claim| 1 + claim.seeks).sum();
            for taker in &takers {
                let claim = &self.claims[*taker];
                let is_settled = |key: &String| claim.given.get(key).is_some_and(|given| given.is_settled);
                let count = all.iter().filter(|(of, key)| of == taker && is_settled(key)).count() as u64;
                if count > most {
                    return Err(format!("{payload} died {count} times for {name}"));
                }
            }
            self.seen.dead += 1;
        }
        Ok(())
    }
}
