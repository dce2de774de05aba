//! How two topology files differ, line by line: what needs no tree to be seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::topology::{Cost, Link, Queue, Relay, Topology, written};
use crate::units::{format_duration, format_rate, format_size};

/// The names of two relays, the lesser first.
pub type Between = [String; 2];

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
    /// What else is another one of the file itself and of relays, links, groups and queues that are in both.
    pub settings: Vec<SettingChange>,
    /// Queues of the old one whose home goes, or is another relay in the new one.
    pub homes: Vec<HomeChange>,
}

/// A queue that does not stay where it lives, if the file alone decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HomeChange {
    /// The queue.
    pub queue: String,
    /// Where it lives.
    pub home: String,
    /// Where the new file has it; none: the new file has no such queue, and its home goes.
    pub wanted: Option<String>,
}

/// A key with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingChange {
    /// Whose it is, like `group news` or `the file`.
    pub of: String,
    /// The key.
    pub key: String,
    /// The value before; none: it was not set.
    pub before: Option<String>,
    /// The value in the new file; none: it is not set.
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

/// All differences.
pub(super) fn network_change(old: &Topology, new: &Topology) -> NetworkChange {
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
        homes: homes_change(old, new, &new_relays),
        costs: costs.collect(),
        ..settings_change(old, new)
    }
}

/// Queues that a file cannot move, and those whose home it leaves out.
fn homes_change(old: &Topology, new: &Topology, relays: &BTreeSet<String>) -> Vec<HomeChange> {
    let change = |queue: &Queue| {
        let wanted =
            new.queues().iter().find(|other| other.name == queue.name).map(|other| other.home.clone());
        let stays = wanted.as_ref().map_or_else(|| relays.contains(&queue.home), |to| *to == queue.home);
        (!stays).then(|| HomeChange { queue: queue.name.clone(), home: queue.home.clone(), wanted })
    };
    old.queues().iter().filter_map(change).collect()
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
    let mut settings = differing(&written_file(old), &written_file(new));
    settings.extend(differing(&written_relays(old), &written_relays(new)));
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

/// What the file says of all its relays: those that may be reached without keys start only with it.
fn written_file(topology: &Topology) -> Written {
    let insecure = BTreeMap::from([("insecure", topology.is_insecure().to_string())]);
    Written::from([("the file".to_owned(), insecure)])
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
