//! What changes from one topology file to another, group by group and link by
//! link, and what is lost while a relay is dead.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::id::RelayId;
use crate::routing::{LinkState, Map, MapError, OverCap, Place};
use crate::survey::forest::{Forest, Wanted, grow, islands};
use crate::topology::settings::TreeKind;
use crate::topology::{Cost, Link, Relay, Topology, written};
use crate::units::{format_duration, format_rate, format_size};

/// The names of two relays, the lesser first.
pub type Between = [String; 2];

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
    /// What a link costs whose cost is measured.
    pub unmeasured: u32,
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

/// How two networks differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NetworkChange {
    /// Relays only in the new one.
    pub relays_added: Vec<String>,
    /// Relays only in the old one.
    pub relays_removed: Vec<String>,
    /// Links only in the new one.
    pub links_added: Vec<Between>,
    /// Links only in the old one.
    pub links_removed: Vec<Between>,
    /// Links whose cost is another one.
    pub costs: Vec<CostChange>,
    /// Groups and queues only in the new one.
    pub groups_added: Vec<String>,
    /// Groups and queues only in the old one: they stay as they are.
    pub groups_removed: Vec<String>,
    /// What else is another one of relays, links, groups and queues that are in both.
    pub settings: Vec<SettingChange>,
}

/// A key with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingChange {
    /// Whose it is, like `group news`.
    pub of: String,
    /// The key.
    pub key: String,
    /// The value in the old file; none: it was not set.
    pub before: Option<String>,
    /// The value in the new file.
    pub after: Option<String>,
}

/// A link with another cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CostChange {
    /// The relays at its ends.
    pub between: Between,
    /// The cost in the old file.
    pub before: String,
    /// The cost in the new file.
    pub after: String,
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
    /// Before; none: none of its relays existed.
    pub before: Option<Trees>,
    /// After; none: none of its relays exists any more.
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
/// When a network has more relays than a map may have.
pub fn plan(question: Question<'_>) -> Result<Plan, MapError> {
    let old = Side::new(question.old, Map::of_topology(question.old, question.unmeasured)?, question);
    let new = Side::new(question.new, Map::of_topology(question.new, question.unmeasured)?, question);
    let death = match question.without {
        None => None,
        Some(relay) => Some(death(question, &new, relay)?),
    };
    let network = network_change(question.old, question.new);
    Ok(Plan { network, change: compare(&old, &new), death })
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

fn compare(old: &Side, new: &Side) -> Change {
    let mut loads: BTreeMap<Between, [u32; 2]> = BTreeMap::new();
    let mut groups = Vec::new();
    for at in 0..new.groups.len() {
        let sides = [old.trees(at), new.trees(at)];
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

fn death(question: Question<'_>, new: &Side, relay: &str) -> Result<Death, MapError> {
    let mut states = LinkState::of_topology(question.new, question.unmeasured);
    for state in &mut states {
        let is_it = state.relay.as_str() == relay;
        let links = state.links.iter_mut().filter(|link| is_it || link.neighbour.as_str() == relay);
        links.for_each(|link| link.is_up = false);
    }
    let side = Side::new(question.new, Map::new(&states, [])?, question);
    let dead = RelayId::new(relay).ok().and_then(|relay| side.map.place(&relay));
    let mut parts: Vec<Vec<String>> = islands(&side.map)
        .into_iter()
        .map(|part| part.into_iter().filter(|&place| Some(place) != dead).collect::<Vec<_>>())
        .filter(|part| !part.is_empty())
        .map(|part| part.into_iter().map(|place| side.name(place)).collect())
        .collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let queues = question.new.queues().iter().filter(|queue| queue.home == relay);
    let queues = queues.map(|queue| queue.name.clone()).collect();
    Ok(Death { relay: relay.to_owned(), parts, queues, change: compare(new, &side) })
}

fn network_change(old: &Topology, new: &Topology) -> NetworkChange {
    let relays = |topology: &Topology| -> BTreeSet<String> {
        topology.relays().iter().map(|relay| relay.name.clone()).collect()
    };
    let links = |topology: &Topology| -> BTreeMap<Between, Cost> {
        topology.links().iter().map(|link| (link.between.clone(), link.cost)).collect()
    };
    let (old_relays, new_relays) = (relays(old), relays(new));
    let (old_links, new_links) = (links(old), links(new));
    let only = |one: &BTreeMap<Between, Cost>, other: &BTreeMap<Between, Cost>| -> Vec<Between> {
        one.keys().filter(|between| !other.contains_key(*between)).cloned().collect()
    };
    let costs = old_links.iter().filter_map(|(between, before)| {
        let after = new_links.get(between).filter(|after| *after != before)?;
        Some(CostChange { between: between.clone(), before: shown(*before), after: shown(*after) })
    });
    NetworkChange {
        relays_added: new_relays.difference(&old_relays).cloned().collect(),
        relays_removed: old_relays.difference(&new_relays).cloned().collect(),
        links_added: only(&new_links, &old_links),
        links_removed: only(&old_links, &new_links),
        costs: costs.collect(),
        ..settings_change(old, new)
    }
}

/// Keys and values of something in a file, by what it is called.
type Written = BTreeMap<String, BTreeMap<&'static str, String>>;

/// What differs in the settings. Costs are told by themselves.
fn settings_change(old: &Topology, new: &Topology) -> NetworkChange {
    let [old_groups, new_groups] = [old, new].map(|topology| {
        let groups = topology.groups().iter();
        let groups = groups.map(|group| (format!("group {}", group.name), written(&group.settings)));
        let queues = topology.queues().iter().map(|queue| {
            let mut set = written(&queue.settings);
            set.insert("home", queue.home.clone());
            (format!("queue {}", queue.name), set)
        });
        groups.chain(queues).collect()
    });
    let only = |one: &Written, other: &Written| -> Vec<String> {
        one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let mut settings = differing(&written_relays(old), &written_relays(new));
    settings.extend(differing(&written_links(old), &written_links(new)));
    settings.extend(differing(&old_groups, &new_groups));
    NetworkChange {
        groups_added: only(&new_groups, &old_groups),
        groups_removed: only(&old_groups, &new_groups),
        settings,
        ..NetworkChange::default()
    }
}

/// The keys with another value, of what is in both.
fn differing(old: &Written, new: &Written) -> Vec<SettingChange> {
    let mut changes = Vec::new();
    for (of, before) in old {
        let Some(after) = new.get(of) else { continue };
        let keys: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
        for key in keys.into_iter().filter(|key| before.get(key) != after.get(key)) {
            let (before, after) = (before.get(key).cloned(), after.get(key).cloned());
            changes.push(SettingChange { of: of.clone(), key: key.to_owned(), before, after });
        }
    }
    changes
}

fn written_relays(topology: &Topology) -> Written {
    let written = |relay: &Relay| {
        let size = |bytes: Option<u64>| bytes.map(format_size);
        let keys = [
            ("address", Some(relay.address.to_string())),
            ("data", relay.data.as_ref().map(|data| data.display().to_string())),
            ("transit", Some(relay.transit.to_string())),
            ("key", relay.key.as_ref().map(ToString::to_string)),
            ("max_children", relay.max_children.map(|most| most.to_string())),
            ("segment_bytes", size(relay.segment_bytes)),
            ("reserve_bytes", size(relay.reserve_bytes)),
            ("trace_retention", relay.trace_retention.map(format_duration)),
        ];
        keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    };
    topology.relays().iter().map(|relay| (format!("relay {}", relay.name), written(relay))).collect()
}

fn written_links(topology: &Topology) -> Written {
    let written = |link: &Link| {
        let rate = link.rate.map(|rate| ("rate", format_rate(rate)));
        rate.into_iter().chain([("hello", format_duration(link.hello))]).collect()
    };
    topology
        .links()
        .iter()
        .map(|link| (format!("link {}", link.between.join(" ── ")), written(link)))
        .collect()
}

/// A cost as the file writes it.
pub(crate) fn shown(cost: Cost) -> String {
    match cost {
        Cost::Fixed(cost) => cost.to_string(),
        Cost::Rtt => "rtt".to_owned(),
    }
}
