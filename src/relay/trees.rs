//! Which links the messages of a group take: the map and the groups' parts, made into trees.
//!
//! [`crate::routing`] computes; this decides when, and turns places into links. What a group is
//! planned for may change with every input and is planned at the end of it. A change of the map
//! waits a little for others that come with it, and longer each time that they do not end: a link
//! that flaps costs one plan per pause.

use std::collections::{BTreeMap, BTreeSet};

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::timer::Timer;
use crate::id::{GroupNumber, LinkId, RelayId, Time};
use crate::limits;
use crate::routing::{GroupWant, Map, MapError, Place, Spread as Ties, Table};
use crate::topology::settings::TreeKind;

/// The trees of all groups, and what of them is to be planned anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Trees {
    /// `None` until the first link has come up: a relay alone needs no trees.
    table: Option<Table>,
    /// Relays that take part in groups: on the map though nobody may have a link to them.
    named: BTreeSet<RelayId>,
    /// Groups whose parts have changed.
    changed: BTreeSet<GroupNumber>,
    /// Whether the map is to be made anew at the end of this input.
    is_map_due: bool,
    /// Whether links of this relay have gone or come: then the trees are the same and their links
    /// are not.
    is_all_due: bool,
    pace: Pace,
    /// Why the map could not be made of what is known now.
    map_fault: Option<MapError>,
}

/// When the next change of the map may be planned.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    last: Option<Time>,
    /// When changes began to come that have not rested since.
    begun: Time,
    pause_ms: u64,
    /// How often that was, since the start.
    count: u64,
}

impl Pace {
    /// The map has changed: when is it to be planned?
    fn next(&mut self, now: Time) -> Time {
        let soon = now.after_ms(limits::PLAN_PAUSE_MS_MIN);
        let Some(last) = self.last else {
            self.begun = now;
            return soon;
        };
        // One event makes changes at several relays: in the first second a short rest is one. What comes
        // again and again after that has not calmed down, though it rests in between (as in RFC 8405).
        if now >= last.after_ms(2 * limits::PLAN_PAUSE_MS_MAX) {
            self.begun = now;
        }
        let is_new = now < self.begun.after_ms(limits::PLAN_LEARN_MS);
        if is_new && now >= last.after_ms(2 * self.pause_ms) {
            self.pause_ms = limits::PLAN_PAUSE_MS_MIN;
        }
        soon.max(last.after_ms(self.pause_ms))
    }

    fn planned(&mut self, now: Time) {
        self.last = Some(now);
        self.count += 1;
        let next = (self.pause_ms * 2).clamp(limits::PLAN_PAUSE_MS_MIN, limits::PLAN_PAUSE_MS_MAX);
        self.pause_ms = next;
    }
}

impl Trees {
    /// How many links a message to one relay may take: no way without a loop has more.
    pub(super) fn hops(&self) -> u16 {
        let relays = self.table.as_ref().map_or(0, |table| table.map().relay_count());
        u16::try_from(relays).unwrap_or(u16::MAX)
    }

    /// The relays on the tree that messages of `origin` take.
    pub(super) fn carriers(&self, group: GroupNumber, origin: &RelayId) -> impl Iterator<Item = &RelayId> {
        let on = |table| Some((table, Table::tree(table, group, table.map().place(origin)?)?));
        let on = self.table.as_ref().and_then(on);
        on.into_iter().flat_map(|(table, tree)| tree.relays().map(|place| table.map().relay(place)))
    }

    /// All relays that are known.
    pub(super) fn relays(&self) -> impl Iterator<Item = &RelayId> {
        self.table.iter().flat_map(|table| table.map().relays())
    }

    /// The map and the trees as they were planned last; `None` until a link has come up.
    pub(super) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Why the map is older than what is known, if it is.
    pub(super) fn map_fault(&self) -> Option<&MapError> {
        self.map_fault.as_ref()
    }

    /// Relays that take part in groups.
    pub(super) fn named(&self) -> &BTreeSet<RelayId> {
        &self.named
    }

    /// A relay was forgotten: it takes part in nothing.
    pub(super) fn forget_relay(&mut self, relay: &RelayId) {
        self.named.remove(relay);
    }

    /// A group is gone.
    pub(super) fn forget(&mut self, group: GroupNumber) {
        self.changed.insert(group);
    }
}

impl Relay {
    /// Whether a change of the map waits to be planned, for simulations.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn is_planning(&self) -> bool {
        self.timers.is_set(Timer::Plan)
    }

    /// How often a change of the map was planned, for simulations.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn plans(&self) -> u64 {
        self.trees.pace.count
    }

    /// Whether something waits until a link with a rate may be given more, for simulations.
    #[cfg(any(test, feature = "sim"))]
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.links.table.values().any(super::link::Link::is_held_back)
    }

    /// The map has changed.
    pub(super) fn map_changed(&mut self, now: Now) {
        if !self.timers.is_set(Timer::Plan) {
            let at = self.trees.pace.next(now.time);
            self.timers.set(Timer::Plan, at);
        }
    }

    pub(super) fn on_plan_time(&mut self, now: Now) {
        self.trees.pace.planned(now.time);
        self.trees.is_map_due = true;
    }

    /// Plans what waits for its time: somebody wants to know who can be reached now.
    pub(super) fn plan_now(&mut self, now: Now) {
        if self.timers.is_set(Timer::Plan) {
            self.timers.clear(Timer::Plan);
            self.on_plan_time(now);
            self.plan_trees(now);
        }
    }

    /// Links of this relay have come or gone.
    pub(super) fn own_links_changed(&mut self, now: Now) {
        self.trees.is_all_due = true;
        self.map_changed(now);
    }

    /// Who takes part in a group has changed, or how its tree is to be made.
    pub(super) fn plan(&mut self, number: GroupNumber) {
        self.trees.changed.insert(number);
        let Some(group) = self.groups.get_mut(number) else { return };
        let wanted = group.spread().parts.wanted();
        group.spread().has_others = wanted.iter().any(|name| *name != self.options.relay);
        for name in wanted {
            if !self.trees.named.contains(&name) {
                let map = self.trees.table.as_ref().map(Table::map);
                self.trees.is_map_due |= map.is_some_and(|map| map.place(&name).is_none());
                self.trees.named.insert(name);
            }
        }
    }

    /// Does what is due at the end of an input.
    pub(super) fn plan_trees(&mut self, now: Now) {
        if self.trees.is_map_due {
            self.trees.is_map_due = false;
            self.trees.is_all_due = true;
            self.take_map();
            self.look_for_table(now);
            self.settle_all_confirmed(now);
            self.say_wanted_again(now);
            self.hasten_all_repeats(now);
            self.on_circuits_time(now);
        }
        let Some(mut table) = self.trees.table.take() else { return };
        if self.trees.changed.is_empty() && !self.trees.is_all_due {
            self.trees.table = Some(table);
            return;
        }
        for number in std::mem::take(&mut self.trees.changed) {
            match self.groups.get(number).filter(|group| group.spread.is_some()) {
                Some(group) => want(&mut table, group),
                None => table.remove_group(number),
            }
        }
        let mut planned = table.recompute();
        if std::mem::take(&mut self.trees.is_all_due) {
            planned = self.groups.iter().filter(|group| group.spread.is_some()).map(|g| g.number).collect();
        }
        let me = table.map().place(&self.options.relay);
        for number in planned {
            if let Some(me) = me {
                self.apply_tree(&table, me, number);
            }
        }
        self.trees.table = Some(table);
        // Those that had a turn and are not part of the tree any more make way for others.
        self.ready_links.extend(self.links.up());
    }

    /// Makes the map of what is known now.
    fn take_map(&mut self) {
        let known = self.links.states.values();
        let map = match Map::new(known, self.trees.named.iter().chain([&self.options.relay])) {
            Ok(map) => map,
            Err(error) => {
                // The map stays as it was: what is on it goes on.
                self.trees.map_fault = Some(error);
                return;
            }
        };
        self.trees.map_fault = None;
        if self.trees.table.as_ref().is_some_and(|table| table.algorithm() != map.algorithm()) {
            // What groups want is said in other words.
            let all = self.groups.iter().filter(|group| group.spread.is_some()).map(|group| group.number);
            self.trees.changed.extend(all);
        }
        let is_taken = self.trees.table.as_mut().is_some_and(|table| table.set_map(map.clone()));
        if !is_taken && let Some(me) = map.place(&self.options.relay) {
            self.trees.table = Some(Table::new(map, me));
            let all = self.groups.iter().filter(|group| group.spread.is_some()).map(|group| group.number);
            self.trees.changed.extend(all);
        }
        self.find_ways();
    }

    /// Which link leads towards each relay: the first step of a shortest way, to the lesser name
    /// of several.
    fn find_ways(&mut self) {
        let Some(table) = &self.trees.table else { return };
        let (map, distances) = (table.map(), table.distances());
        let Some(me) = map.place(&self.options.relay) else { return };
        let steps: Vec<(Place, u32, LinkId)> = self
            .links
            .up()
            .filter_map(|link| {
                let step = map.place(&self.links.table.get(&link)?.neighbour)?;
                Some((step, map.live_cost(me, step)?, link))
            })
            .collect();
        let toward = |to: Place| {
            let ways = steps.iter().filter(|(step, _, _)| *step == to || map.is_transit(*step));
            let ways = ways.filter_map(|(step, cost, link)| {
                Some((distances.between(*step, to)?.saturating_add(*cost), *step, *link))
            });
            ways.min().map(|(_, _, link)| link)
        };
        let others = map.places().filter(|to| *to != me);
        self.links.toward = others.filter_map(|to| Some((map.relay(to).clone(), toward(to)?))).collect();
    }

    /// The links of a group's trees at this relay.
    fn apply_tree(&mut self, table: &Table, me: Place, number: GroupNumber) {
        let links_of = |tree: &crate::routing::Tree| {
            let neighbours = tree.neighbours(me).map(|place| table.map().relay(place));
            let mut links: Vec<LinkId> = neighbours.filter_map(|name| self.links.to(name)).collect();
            links.sort_unstable();
            links
        };
        let mut all = BTreeSet::new();
        let mut by_origin = BTreeMap::new();
        for (origin, tree) in table.trees(number) {
            let links = links_of(tree);
            all.extend(links.iter().copied());
            if let Some(origin) = origin {
                by_origin.insert(table.map().relay(origin).clone(), links);
            }
        }
        self.set_tree(number, all.into_iter().collect(), by_origin);
    }
}

/// Tells the table what a group is to be planned for.
fn want(table: &mut Table, group: &Group) {
    let Some(spread) = group.spread.as_deref() else { return };
    let places = |names: Vec<&RelayId>| -> Vec<Place> {
        names.into_iter().filter_map(|name| table.map().place(name)).collect()
    };
    let members = places(spread.parts.active_members());
    let origins = places(spread.parts.active_origins());
    if members.is_empty() && origins.is_empty() {
        return table.remove_group(group.number);
    }
    let kind: TreeKind = group.settings.tree;
    let want = GroupWant { kind, spread: ties(table, group), members: &members, origins: &origins };
    table.set_group(group.number, want);
}

/// How a group breaks ties, in the way that all relays speak.
fn ties(table: &Table, group: &Group) -> Ties {
    match table.algorithm() {
        #[cfg(any(test, feature = "sim"))]
        crate::routing::Algorithm::Simulated => Ties::of_hash(u64::from(group.incarnation) + 7),
        crate::routing::Algorithm::One => Ties::of(&group.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_that_does_not_rest_is_planned_less_and_less_often() {
        let mut pace = Pace::default();
        let mut now = Time(0);
        let mut plans = Vec::new();
        // A change every millisecond for 10 s.
        let mut next = None;
        for _ in 0..10_000 {
            now = now.after_ms(1);
            let at = *next.get_or_insert_with(|| pace.next(now));
            if now >= at {
                pace.planned(now);
                plans.push(now);
                next = None;
            }
        }
        assert!(plans.first().is_some_and(|first| *first <= Time(0).after_ms(12)), "{plans:?}");
        assert!((12..=20).contains(&plans.len()), "{} plans in 10 s", plans.len());
    }

    #[test]
    fn after_a_rest_a_change_is_planned_at_once_again() {
        let mut pace = Pace::default();
        for ms in [10, 30, 70, 150] {
            pace.planned(Time(0).after_ms(ms));
        }
        let later = Time(0).after_ms(60_000);
        assert_eq!(pace.next(later), later.after_ms(limits::PLAN_PAUSE_MS_MIN));
    }
}
