//! What changes from one topology file to another, group by group and link by
//! link, and what is lost while a relay is dead.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::id::RelayId;
use crate::routing::{LinkState, Map, MapError, OverCap, Place};
use crate::survey::differences::network_change;
pub use crate::survey::differences::{Between, CostChange, HomeChange, NetworkChange, SettingChange};
use crate::survey::forest::{Forest, Wanted, grow, islands};
use crate::topology::settings::TreeKind;
use crate::topology::{Cost, Topology};

/// What is asked about two files.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The network as it is.
    pub old: &'q Topology,
    /// The network as it will be.
    pub new: &'q Topology,
    /// The groups, by name.
    pub groups: &'q [String],
    /// Their relays; none: all.
    pub members: Option<&'q [String]>,
    /// What a link costs whose cost is measured, if that is not known.
    pub unmeasured: u32,
    /// What was measured.
    pub measured: &'q [(Between, u32)],
    /// The relay of the new network whose death is looked at.
    pub without: Option<&'q str>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// What differs in the files themselves.
    pub network: NetworkChange,
    /// From the old network to the new one.
    pub change: Change,
    /// From the new network to the new one without a relay.
    pub death: Option<Death>,
}

impl Plan {
    /// How many relays get another parent in their trees: links that are in a tree only afterwards.
    #[must_use]
    pub fn reparented(&self) -> usize {
        let more = |change: &GroupChange| {
            let before = change.before.iter().flat_map(|trees| &trees.links).collect::<BTreeSet<_>>();
            let after = change.after.iter().flat_map(|trees| &trees.links);
            after.filter(|link| !before.contains(link)).count()
        };
        self.change.groups.iter().map(more).sum()
    }
}

/// The trees before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Group by group.
    pub groups: Vec<GroupChange>,
    /// The links that more or fewer trees use than before.
    pub links: Vec<Load>,
}

/// The trees of one group before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupChange {
    /// The group.
    pub group: String,
    /// What its trees are like.
    pub kind: TreeKind,
    /// Before; none: none of its relays existed, or it is a queue that only the new file has.
    pub before: Option<Trees>,
    /// After; none: none of its relays exists any more, and none of them was left out.
    pub after: Option<Trees>,
}

impl GroupChange {
    /// Whether messages take the same links as before and reach the same relays.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.before == self.after
    }
}

/// The trees of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trees {
    /// How many there are: one, or one for each origin, on each island.
    pub trees: usize,
    /// The sum of their costs.
    pub cost: u64,
    /// The links that any of them uses.
    pub links: Vec<Between>,
    /// Relays of the group that most of the others cannot reach.
    pub cut_off: Vec<CutOffRelay>,
    /// Relays with more children in a tree than their `max_children`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub over_cap: Vec<OverCapRelay>,
    /// How many of the trees use each of `links`.
    #[serde(skip)]
    uses: Vec<u32>,
}

/// A relay that cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CutOffRelay {
    /// The relay.
    pub relay: String,
    /// The relay that keeps messages for it; none: no configured path leads there.
    pub custodian: Option<String>,
}

/// A relay with more children than its `max_children`, since no other way was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OverCapRelay {
    /// The relay.
    pub relay: String,
    /// How many it has in the tree in which it has most.
    pub children: u32,
    /// Its `max_children`.
    pub max_children: u32,
}

/// How many trees use a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// The relays at its ends.
    pub between: Between,
    /// Before.
    pub before: u32,
    /// After.
    pub after: u32,
}

/// What the death of one relay does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Death {
    /// The relay.
    pub relay: String,
    /// The parts into which the others fall, the largest first.
    pub parts: Vec<Vec<String>>,
    /// Queues that hand out nothing meanwhile, because they live there.
    pub queues: Vec<String>,
    /// Its effect on the trees.
    pub change: Change,
}

/// Computes it.
///
/// # Errors
/// When a network has more relays than a map may have, those of the old one that are left out among
/// them: others know them until they are forgotten.
pub fn plan(question: Question<'_>) -> Result<Plan, MapError> {
    let network = network_change(question.old, question.new);
    let after = question.new.with_groups_of(question.old);
    let question = Question { new: &after, ..question };
    let old = Side::new(question.old, Map::new(&states_of(question.old, question), [])?, question);
    let states = states_after(question);
    let new = Side::new(question.new, Map::new(&states, [])?, question);
    let death = match question.without {
        None => None,
        Some(relay) => Some(death(question, &new, (states, relay))?),
    };
    let is_there = |queue: &str| question.old.queues().iter().any(|known| known.name == queue);
    let new_queues = question.new.queues().iter().map(|queue| queue.name.as_str());
    let new_queues = new_queues.filter(|queue| !is_there(queue)).collect();
    Ok(Plan { network, change: compare(&old, &new, &new_queues), death })
}

/// One network with the trees of all groups.
struct Side {
    map: Map,
    groups: Vec<(Wanted, Forest)>,
}

impl Side {
    fn new(topology: &Topology, map: Map, question: Question<'_>) -> Self {
        let wanted: Vec<Wanted> =
            question.groups.iter().map(|name| Wanted::new(topology, &map, name, question.members)).collect();
        let forests = grow(&map, &wanted);
        Self { map, groups: wanted.into_iter().zip(forests).collect() }
    }

    fn name(&self, place: Place) -> String {
        self.map.relay(place).as_str().to_owned()
    }

    fn over_cap(&self, over: OverCap) -> OverCapRelay {
        OverCapRelay { relay: self.name(over.relay), children: over.children, max_children: over.most }
    }

    fn trees(&self, at: usize) -> Option<Trees> {
        let (wanted, forest) = &self.groups[at];
        if wanted.relays.is_empty() {
            return None;
        }
        let cut_off = forest.cut_off.iter().map(|cut| CutOffRelay {
            relay: self.name(cut.relay),
            custodian: cut.custodian.map(|custodian| self.name(custodian)),
        });
        let links = forest.links();
        Some(Trees {
            trees: forest.trees.iter().filter(|grown| grown.tree.relay_count() > 0).count(),
            cost: forest.cost(),
            links: links.keys().map(|between| between.map(|end| self.name(end))).collect(),
            cut_off: cut_off.collect(),
            over_cap: forest.over_cap(&self.map).into_iter().map(|over| self.over_cap(over)).collect(),
            uses: links.into_values().collect(),
        })
    }
}

/// What becomes of trees. Queues that only the new file has have none before.
fn compare(old: &Side, new: &Side, new_queues: &BTreeSet<&str>) -> Change {
    let mut loads: BTreeMap<Between, [u32; 2]> = BTreeMap::new();
    let mut groups = Vec::new();
    for at in 0..new.groups.len() {
        let is_new = new_queues.contains(new.groups[at].0.name.as_str());
        let sides = [old.trees(at).filter(|_| !is_new), new.trees(at)];
        for (side, trees) in sides.iter().enumerate() {
            for (between, uses) in trees.iter().flat_map(|trees| trees.links.iter().zip(&trees.uses)) {
                loads.entry(between.clone()).or_default()[side] += uses;
            }
        }
        let (group, kind) = (new.groups[at].0.name.clone(), new.groups[at].0.kind);
        let [before, after] = sides;
        groups.push(GroupChange { group, kind, before, after });
    }
    let changed = loads.into_iter().filter(|(_, [before, after])| before != after);
    let links = changed.map(|(between, [before, after])| Load { between, before, after }).collect();
    Change { groups, links }
}

/// What relays know of each other once the new file counts. One that it leaves out stays a member of
/// its groups: its links are gone, and what is owed to it is kept where they led.
fn states_after(question: Question<'_>) -> Vec<LinkState> {
    let mut states = states_of(question.old, question);
    states.retain(|state| question.new.relay(state.relay.as_str()).is_none());
    states.iter_mut().flat_map(|state| &mut state.links).for_each(|link| link.is_up = false);
    states.extend(states_of(question.new, question));
    states
}

/// What relays say of themselves that go by a file.
fn states_of(topology: &Topology, question: Question<'_>) -> Vec<LinkState> {
    let is_rtt = |between: &Between| {
        topology.links().iter().any(|link| link.between == *between && link.cost == Cost::Rtt)
    };
    let measured = question.measured.iter().filter(|(between, _)| is_rtt(between));
    let measured: BTreeMap<&Between, u32> = measured.map(|(between, cost)| (between, *cost)).collect();
    let mut states = LinkState::of_topology(topology, question.unmeasured);
    for state in &mut states {
        for link in &mut state.links {
            let mut between = [state.relay.to_string(), link.neighbour.to_string()];
            between.sort_unstable();
            link.cost = measured.get(&between).copied().unwrap_or(link.cost);
        }
    }
    states
}

fn death(
    question: Question<'_>,
    new: &Side,
    (mut states, relay): (Vec<LinkState>, &str),
) -> Result<Death, MapError> {
    for state in &mut states {
        let is_it = state.relay.as_str() == relay;
        let links = state.links.iter_mut().filter(|link| is_it || link.neighbour.as_str() == relay);
        links.for_each(|link| link.is_up = false);
    }
    let side = Side::new(question.new, Map::new(&states, [])?, question);
    let dead = RelayId::new(relay).ok().and_then(|relay| side.map.place(&relay));
    let counts =
        |place: &Place| Some(*place) != dead && question.new.relay(side.map.relay(*place).as_str()).is_some();
    let mut parts: Vec<Vec<String>> = islands(&side.map)
        .into_iter()
        .map(|part| part.into_iter().filter(counts).collect::<Vec<_>>())
        .filter(|part| !part.is_empty())
        .map(|part| part.into_iter().map(|place| side.name(place)).collect())
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let queues = question.new.queues().iter().filter(|queue| queue.home == relay);
    let queues = queues.map(|queue| queue.name.clone()).collect();
    Ok(Death { relay: relay.to_owned(), parts, queues, change: compare(new, &side, &BTreeSet::new()) })
}
