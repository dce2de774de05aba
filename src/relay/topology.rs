//! The topology in force: which file the whole network goes by, and what of it is this relay's.
//!
//! A file that is applied gets a version, is flooded like any fact, and is on every disk with some
//! of those before it. The greatest version is in force ([`TopologyHead`]): relays that hear of
//! two at once agree on one. A relay goes by a topology from the moment that it is on its disk:
//! links that are new in it are told to the shell, others end, costs and roles change. Nothing
//! that is stored depends on it, so a relay that is left out keeps what it has, and stays a member
//! of its groups.
//!
//! Before the first one is applied every relay goes by the file that it was started with; that is
//! version 0, and is told to nobody.
//!
//! Who has not heard of the one in force is told when its link comes up, as of any fact
//! ([`super::digest`]). A relay whose neighbours have become
//! others while it was away finds none of them; it asks one of before, which is no neighbour any
//! more ([`Request::TopologyJoin`](crate::wire::body::Request::TopologyJoin)).

mod neighbour;
mod shown;
mod used;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

pub use neighbour::Neighbour;
pub use used::Used;

use super::Relay;
use super::bucket::Rate;
use super::effect::Effect;
use super::group::Group;
use super::input::Now;
use super::journal::Waiting;
use super::link::Link;
use super::planned::Occasion;
use super::requests::{Outcome, When};
use super::state::Operation;
use crate::id::{GroupName, LinkId, RelayId, WallTime};
use crate::limits;
use crate::log::{Entry, Urgency};
use crate::topology::settings::GroupSettings;
use crate::topology::{Faults, Severity, Topology, TopologyVersion};
use crate::wire::applied::{TopologyEntry, TopologyHead, check_length};
use crate::wire::body::{FileStanding, Refusal, RefusalCode, Reply};
use crate::wire::link::Fact;

/// All that a relay knows of the topology of its network.
#[derive(Clone, Debug, Default)]
pub(super) struct Topologies {
    /// In order: the last one is in force.
    kept: Vec<Arc<TopologyEntry>>,
    /// Those of them that are not on the disk yet, in the order in which they were appended.
    unsynced: VecDeque<TopologyVersion>,
    /// The text of the file that the relay was started with.
    file: Option<String>,
    /// The one that this relay goes by.
    taken: Option<TopologyVersion>,
    /// Why the one in force cannot be used here.
    fault: Option<String>,
    /// All relays of the one that this relay goes by.
    names: BTreeSet<RelayId>,
    neighbours: Vec<Neighbour>,
    /// Where this relay listens, as the one that it goes by has it, and the one that it was started with.
    address: Option<String>,
    address_at_start: Option<String>,
    file_standing: FileStanding,
    /// When this relay was started.
    started: WallTime,
    /// What it was started with of what a topology says, and what the one that it goes by says of it.
    used: Used,
    wanted: Used,
}

impl Topologies {
    /// The one in force; `None`: none was applied yet.
    pub(super) fn in_force(&self) -> Option<&Arc<TopologyEntry>> {
        self.kept.last().filter(|entry| entry.head.version.counter > 0)
    }

    /// When what is kept may be shown: it is on this relay's disk then.
    fn shown_when(&self) -> When {
        if self.unsynced.is_empty() { When::Now } else { When::Durable }
    }

    /// One is on the disk, with all that were appended before.
    fn on_durable(&mut self, version: TopologyVersion) {
        let behind = self.unsynced.iter().position(|unsynced| *unsynced == version);
        self.unsynced.drain(..behind.map_or(0, |place| place + 1));
    }

    /// The version of the one that this relay goes by.
    pub(super) fn taken(&self) -> Option<TopologyVersion> {
        self.taken
    }

    /// All relays of the one that this relay goes by, which is `file` before one was applied.
    pub(super) fn names(&self, file: Option<&Topology>) -> Vec<RelayId> {
        let of_file = file.into_iter().flat_map(Topology::relays);
        let of_file = of_file.filter_map(|relay| RelayId::new(&relay.name).ok());
        self.names.iter().cloned().chain(of_file).collect()
    }

    /// Whether one was applied that has no such relay.
    pub(super) fn leaves_out(&self, relay: &RelayId) -> bool {
        self.taken.is_some() && !self.names.contains(relay)
    }

    fn version(&self) -> Option<TopologyVersion> {
        self.in_force().map(|entry| entry.head.version)
    }

    /// Whether nothing was ever applied. The file of the start may be kept all the same: it is written
    /// before the first one that is applied, and the power may have failed behind it.
    pub(super) fn is_empty(&self) -> bool {
        self.in_force().is_none()
    }

    /// What is to be on the disk.
    pub(super) fn kept(&self) -> Vec<TopologyEntry> {
        self.kept.iter().map(|entry| (**entry).clone()).collect()
    }

    /// Takes in one that was decided, learned or read again.
    pub(super) fn keep(&mut self, entry: TopologyEntry) {
        let place = self.kept.partition_point(|known| known.head < entry.head);
        if self.kept.get(place).is_none_or(|known| known.head != entry.head) {
            self.kept.insert(place, Arc::new(entry));
        }
        if self.kept.len() > limits::TOPOLOGIES_KEPT {
            self.kept.remove(0);
        }
    }
}

/// A topology as it can be carried out, or what is wrong with its text.
fn parse(text: &str) -> Result<Topology, String> {
    let checked = Topology::parse("topology", text).map_err(|faults| first_fault(&faults))?;
    let found = checked.topology.relays().len();
    if found > limits::MAP_RELAYS_MAX {
        return Err(format!("it has {found} relays; a map may have {}", limits::MAP_RELAYS_MAX));
    }
    Ok(checked.topology)
}

fn first_fault(faults: &Faults) -> String {
    let more = faults.error_count().saturating_sub(1);
    let first = faults.rows().into_iter().find(|row| row.severity == Severity::Error);
    let first = first.map_or_else(|| "it cannot be read".to_owned(), |row| row.message);
    if more > 0 { format!("{first}, and {more} more faults") } else { first }
}

fn invalid(message: String) -> Refusal {
    Refusal::new(RefusalCode::Invalid, message)
}

/// Links that are gone whose counts are kept; those of the least number make way.
const GONE_MAX: usize = 1024;

impl Relay {
    /// The links of the topology in force; `None`: none was applied, those of the options count.
    #[must_use]
    pub fn neighbours(&self) -> Option<&[Neighbour]> {
        self.topologies.taken.map(|_| self.topologies.neighbours.as_slice())
    }

    /// Where this relay is to listen, as the topology in force has it.
    #[must_use]
    pub fn own_address(&self) -> Option<String> {
        let topology = parse(&self.topologies.in_force()?.text).ok()?;
        Some(topology.relay(self.options.relay.as_str())?.address.to_string())
    }

    /// The address of a relay, as the topology says that this relay goes by.
    pub(super) fn address_of(&self, relay: &RelayId) -> Option<String> {
        let topology = self.topology_in_force().or_else(|| self.file_in_force())?;
        Some(topology.relay(relay.as_str())?.address.to_string())
    }

    /// Whether the topology in force says that relays may listen where others can reach them.
    #[must_use]
    pub fn may_be_exposed(&self) -> bool {
        let text = self.topologies.in_force().map(|entry| parse(&entry.text));
        text.is_some_and(|topology| topology.is_ok_and(|topology| topology.is_insecure()))
    }

    /// The topology in force; `None`: none was applied.
    #[must_use]
    pub fn topology(&self) -> Option<&Arc<TopologyEntry>> {
        self.topologies.in_force()
    }

    /// The one in force, as others are told of it.
    pub(super) fn topology_fact(&self) -> Option<Fact> {
        self.topologies.in_force().map(|entry| Fact::Topology(Box::new((**entry).clone())))
    }

    /// Whether it has never been part of a network.
    pub(super) fn is_alone(&self) -> bool {
        self.links.table.is_empty() && self.topologies.is_empty()
    }

    /// The file that the relay was started with, if it goes by that.
    pub(super) fn file_in_force(&self) -> Option<Topology> {
        let file = self.topologies.file.as_deref().filter(|_| self.topologies.is_empty())?;
        parse(file).ok()
    }

    /// The topology that was applied.
    pub(super) fn topology_in_force(&self) -> Option<Topology> {
        parse(&self.topologies.in_force()?.text).ok()
    }

    /// Notes the text of the file that the relay is started with.
    pub(super) fn set_topology_file(&mut self, text: String) {
        let file = parse(&text).ok();
        let own = file.as_ref().and_then(|file| file.relay(self.options.relay.as_str()));
        self.topologies.address_at_start = own.map(|own| own.address.to_string());
        self.topologies.file = Some(text);
        self.topologies.file_standing = FileStanding::Used;
    }

    /// Goes by what the disk says was applied.
    pub(super) fn restore_topology(&mut self, now: Now) {
        self.topologies.started = now.wall;
        let Some(entry) = self.topologies.in_force().cloned() else { return };
        self.links.has_table = self.links.table_on_disk;
        self.adopt(now, &entry);
        if self.topologies.taken.is_none() {
            // Of what came before, the newest that this program understands.
            let former: Vec<_> = self.topologies.kept.iter().rev().skip(1).cloned().collect();
            let fault = self.topologies.fault.take();
            for entry in former.iter().filter(|entry| entry.head.version.counter > 0) {
                self.adopt(now, entry);
                if self.topologies.taken.is_some() {
                    break;
                }
            }
            self.topologies.fault = fault;
        }
        self.topologies.address_at_start.clone_from(&self.topologies.address);
    }

    /// Somebody asks for a text to be the topology of the whole network.
    pub(super) fn apply_topology(
        &mut self,
        now: Now,
        text: String,
        base: Option<TopologyVersion>,
        restores: Option<u64>,
    ) -> Outcome {
        let topology = self.check_topology(&text, base)?;
        if let Some(head) =
            self.topologies.in_force().filter(|entry| entry.text == text).map(|e| e.head.clone())
        {
            // What was set otherwise since is as the file has it again.
            self.take_groups(now, &topology);
            self.plan_queues_again(now, &topology);
            self.set_queues_elsewhere(now, &topology);
            return Ok((Reply::TopologyApplied(head), When::Durable));
        }
        let counter = base.map_or(0, |base| base.counter).saturating_add(1);
        if counter >= limits::SEQUENCE_MAX {
            return Err(Refusal::new(RefusalCode::Limit, "nobody counts further than this version"));
        }
        let version = TopologyVersion::new(counter, &text);
        let head = TopologyHead { version, by: self.options.relay.clone(), at: now.wall, restores };
        // Before the topology itself: with it they are on the disk.
        self.take_groups(now, &topology);
        let entry = TopologyEntry { head: head.clone(), text };
        self.keep_topology(entry.clone(), false);
        self.flood(None, &[Fact::Topology(Box::new(entry))]);
        Ok((Reply::TopologyApplied(head), When::Durable))
    }

    fn check_topology(&self, text: &str, base: Option<TopologyVersion>) -> Result<Topology, Refusal> {
        let me = &self.options.relay;
        check_length(text).map_err(|fault| Refusal::new(RefusalCode::TooLarge, fault.to_string()))?;
        if text.len() as u64 > self.options.run_bytes_max {
            let (found, max) = (text.len(), self.options.run_bytes_max);
            let message = format!("the topology has {found} bytes; this relay's log takes {max} at once");
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        if !self.links.has_table {
            let message = "this relay does not know its network yet: it waits for a neighbour";
            return Err(Refusal::new(RefusalCode::NotReady, message));
        }
        if !self.room || self.stopping {
            return Err(Refusal::new(RefusalCode::NoRoom, "the disk is full, or the relay stops"));
        }
        if self.topologies.version() != base.filter(|base| base.counter > 0) {
            return Err(Refusal::new(RefusalCode::Exists, self.stale(base)));
        }
        let topology =
            parse(text).map_err(|fault| invalid(format!("the topology cannot be used: {fault}")))?;
        if topology.relay(me.as_str()).is_none() {
            let message = format!("relay {me} is not in it: apply it at a relay that stays");
            return Err(invalid(message));
        }
        let faults = self.group_faults(&topology);
        if faults.is_empty() { Ok(topology) } else { Err(invalid(faults.join("; "))) }
    }

    fn stale(&self, base: Option<TopologyVersion>) -> String {
        let base = base.map_or_else(|| "none".to_owned(), |base| base.to_string());
        match self.topologies.in_force().map(|entry| &entry.head) {
            Some(head) => {
                format!("topology {}, applied at {}, is in force, and not {base}", head.version, head.by)
            }
            None => format!("no topology was applied yet, and {base} is not known here"),
        }
    }

    /// What is here under a name of a topology.
    fn group_in_file(&self, name: &str) -> Option<&Group> {
        let name = GroupName::new(name).ok()?;
        self.groups.get(self.groups.number(&name)?)
    }

    /// What of the groups and queues of a topology contradicts those that there are.
    fn group_faults(&self, topology: &Topology) -> Vec<String> {
        let mut faults = Vec::new();
        let settings = |name: &str| topology.settings(name);
        let names = topology.groups().iter().map(|group| &group.name);
        for name in names.chain(topology.queues().iter().map(|queue| &queue.name)) {
            let (Ok(group), Some(wanted)) = (GroupName::new(name), settings(name)) else { continue };
            let is_in_file = |other: &GroupName| settings(other.as_str()).is_some();
            let checked = self.check_dead_letter_order(&group, wanted, &is_in_file);
            faults.extend(checked.err().map(|refusal| refusal.message));
        }
        for wanted in topology.groups() {
            if let Some(home) = self.group_in_file(&wanted.name).and_then(|group| self.queue_home(group)) {
                faults
                    .push(format!("{} exists as a queue at {home}, and is a group in the file", wanted.name));
            }
        }
        for wanted in topology.queues() {
            let Some(group) = self.group_in_file(&wanted.name) else { continue };
            match self.queue_home(group) {
                Some(home) if home.as_str() == wanted.home => {}
                Some(home) => {
                    let (name, wanted) = (&wanted.name, &wanted.home);
                    faults.push(format!(
                        "queue {name} lives at {home}; the file cannot move it to {wanted}, \
                         `queue move {name} {wanted}` does"
                    ));
                }
                None if !group.is_made() => {}
                None => faults.push(format!("{} exists as a group, and is a queue in the file", wanted.name)),
            }
        }
        faults
    }

    /// Groups of the file: made where they are missing, and set where they differ.
    pub(super) fn set_groups(&mut self, now: Now, topology: &Topology, occasion: Occasion) {
        let groups = topology.groups().iter().map(|group| (group.name.as_str(), &group.settings));
        self.set_all(now, groups.collect(), false, occasion);
    }

    /// Groups and queues are as the file has them from now on, which is applied here.
    fn take_groups(&mut self, now: Now, topology: &Topology) {
        self.set_groups(now, topology, Occasion::Applied);
        self.take_own_queues(now, topology, Occasion::Applied);
        self.plan_queues(now, topology);
    }

    /// Queues of the file that live here.
    pub(super) fn take_own_queues(&mut self, now: Now, topology: &Topology, occasion: Occasion) {
        let me = self.options.relay.clone();
        let queues = topology.queues().iter().filter(|queue| queue.home == me.as_str());
        let wanted = queues.map(|queue| (queue.name.as_str(), &queue.settings)).collect();
        self.set_all(now, wanted, true, occasion);
    }

    /// Queues of the file whose homes hear of nothing new: what was set otherwise since is said from here.
    fn set_queues_elsewhere(&mut self, now: Now, topology: &Topology) {
        for queue in topology.queues() {
            let Ok(name) = GroupName::new(&queue.name) else { continue };
            let known = self.groups.number(&name).and_then(|number| self.groups.get(number));
            let is_other =
                |group: &Group| group.home_elsewhere().is_some() && *group.settings != queue.settings;
            if known.is_some_and(is_other)
                && let Err(refusal) = self.set_group(now, &name, queue.settings.clone())
            {
                self.warn(format!("{name} is not as the topology has it: {refusal}"));
            }
        }
    }

    /// What is refused because another one is not yet as the file has it is tried again behind that.
    fn set_all(
        &mut self,
        now: Now,
        mut wanted: Vec<(&str, &GroupSettings)>,
        queue: bool,
        occasion: Occasion,
    ) {
        loop {
            let before = wanted.len();
            let mut refused = Vec::new();
            for (name, settings) in wanted {
                if let Err(refusal) = self.set_one(now, (name, settings), queue, occasion) {
                    refused.push((name, settings, refusal));
                }
            }
            if refused.len() == before {
                for (name, _, refusal) in refused {
                    self.warn(format!("{name} is not as the topology has it: {refusal}"));
                }
                return;
            }
            wanted = refused.into_iter().map(|(name, settings, _)| (name, settings)).collect();
        }
    }

    fn set_one(
        &mut self,
        now: Now,
        (name, settings): (&str, &GroupSettings),
        queue: bool,
        occasion: Occasion,
    ) -> Result<(), Refusal> {
        let Ok(group) = GroupName::new(name) else { return Ok(()) };
        let said = xxh3_64(&crate::wire::body::encode(settings));
        let known = self.groups.number(&group).and_then(|number| self.groups.get(number));
        let is_heeded = known.map_or_else(
            || self.removed.contains_key(&group),
            |known| known.queue == queue && known.planned == Some(said),
        );
        if occasion == Occasion::Start && is_heeded {
            // What was done by hand since counts.
            return Ok(());
        }
        if queue && self.take_bare_named(now, &group, settings) {
            self.heed(&group, said);
            return Ok(());
        }
        let known = self.groups.number(&group).and_then(|number| self.groups.get(number));
        let done = match known {
            None if queue && self.draining => Err(self.draining_refusal()),
            None => self.create_group(now, group.clone(), settings.clone(), queue),
            // The status tells of it, as long as it is so.
            Some(known) if queue != (known.queue || known.home_elsewhere().is_some()) => return Ok(()),
            Some(known) => match known.home_elsewhere() {
                Some(home) => Err(invalid(format!("it lives at relay {home}"))),
                None if *known.settings == *settings => Ok((Reply::Done, When::Durable)),
                None => self.set_group(now, &group, settings.clone()),
            },
        };
        done.map(|_| self.heed(&group, said))
    }

    /// A group is as a topology has it: that is said by this hash.
    fn heed(&mut self, name: &GroupName, said: u64) {
        let number = self.groups.number(name);
        let Some(group) = number.and_then(|number| self.groups.get_mut(number)) else { return };
        if group.planned.replace(said) == Some(said) {
            return;
        }
        let (group, settings) = (group.number, group.settings.clone());
        let heeded = Operation::GroupSet { group, settings, planned: Some(said) };
        self.journal.append(&mut self.effects, Entry::State(heeded.encode()), Urgency::Ride);
    }

    /// Somebody says what is in force. True: it is news.
    pub(super) fn learn_topology(&mut self, now: Now, entry: &TopologyEntry) -> bool {
        if let Err(fault) = entry.check() {
            self.warn(format!("what is told as the topology of the network is not taken: {fault}"));
            return false;
        }
        let known = self.topologies.in_force().map(|known| known.head.clone());
        if known.as_ref().is_some_and(|known| *known >= entry.head) {
            return false;
        }
        if entry.text.len() as u64 > self.options.run_bytes_max {
            self.warn(format!("topology {} is longer than this relay's log can take", entry.head.version));
            return false;
        }
        let topology = parse(&entry.text).ok();
        if let Some(known) = known.filter(|known| {
            known.by == self.options.relay && known.version.counter == entry.head.version.counter
        }) {
            // What it has set may count more than what the other one has.
            topology.iter().for_each(|topology| self.set_groups(now, topology, Occasion::Applied));
            let (mine, theirs, by) = (known.version, entry.head.version, &entry.head.by);
            self.warn(format!(
                "topology {mine}, which was applied here, was overtaken by {theirs}, applied at {by} at the same time"
            ));
        }
        self.keep_topology(entry.clone(), true);
        if let Some(topology) = topology {
            // A relay that is new to the network hears first who is a member of what.
            self.take_queues(now, &topology, Occasion::Applied);
        }
        true
    }

    /// A relay that is no neighbour says what is in force.
    pub(super) fn handle_topology(&mut self, now: Now, entry: TopologyEntry) {
        let topology = parse(&entry.text);
        let me = self.options.relay.as_str();
        if topology.is_ok_and(|topology| topology.relay(me).is_some()) && self.learn_topology(now, &entry) {
            self.flood(None, &[Fact::Topology(Box::new(entry))]);
        }
    }

    /// Puts one on the disk; from then on this relay goes by it.
    fn keep_topology(&mut self, entry: TopologyEntry, is_told: bool) {
        let was_alone = self.is_alone();
        if was_alone && self.links.has_table {
            if is_told && self.groups.len() == 0 {
                // It has no members of its own, and those of others it does not know yet.
                self.links.has_table = false;
            } else {
                self.append_state(&Operation::TableLearned);
            }
        }
        if self.topologies.kept.is_empty()
            && let Some(text) = self.topologies.file.clone()
        {
            let version = TopologyVersion::new(0, &text);
            let by = self.options.relay.clone();
            let head = TopologyHead { version, by, at: WallTime(0), restores: None };
            self.append_topology(TopologyEntry { head, text });
        }
        let version = entry.head.version;
        self.append_topology(entry);
        self.journal.wait(Waiting::Topology(version));
    }

    fn append_topology(&mut self, entry: TopologyEntry) {
        self.append_state(&Operation::TopologySet { entry: Box::new(entry.clone()) });
        self.topologies.unsynced.push_back(entry.head.version);
        self.topologies.keep(entry);
    }

    fn append_state(&mut self, operation: &Operation) {
        self.journal.append(&mut self.effects, Entry::State(operation.encode()), Urgency::Sync);
    }

    /// One is on the disk. If no newer one has come meanwhile, this relay goes by it.
    pub(super) fn on_topology_durable(&mut self, now: Now, version: TopologyVersion) {
        self.topologies.on_durable(version);
        let Some(entry) = self.topologies.in_force().filter(|entry| entry.head.version == version).cloned()
        else {
            return;
        };
        self.adopt(now, &entry);
        if self.topologies.taken != Some(version) {
            return;
        }
        self.announce_links(now);
        let neighbours = self.topologies.neighbours.clone();
        self.effects.push_back(Effect::Neighbours { neighbours, entry });
    }

    /// Makes the links and the role of this relay those of a topology; only the fault is noted
    /// when it cannot be used here.
    fn adopt(&mut self, now: Now, entry: &Arc<TopologyEntry>) {
        let topology = match parse(&entry.text) {
            Ok(topology) => topology,
            Err(fault) => {
                self.topologies.fault = Some(fault);
                return;
            }
        };
        let me = self.options.relay.clone();
        let own = topology.relay(me.as_str());
        self.options.transit = own.is_none_or(|relay| relay.transit);
        self.options.max_children = own.and_then(|relay| relay.max_children);
        self.options.trace_retention_ms =
            own.map_or(limits::TRACE_RETENTION_MS, crate::topology::Relay::trace_retention_ms);
        let neighbours = self.set_links(now, Neighbour::of(&topology, me.as_str()));
        let topologies = &mut self.topologies;
        topologies.neighbours = neighbours;
        topologies.address = own.map(|relay| relay.address.to_string());
        topologies.wanted = own.map(Used::wanted_by).unwrap_or_default();
        topologies.names =
            topology.relays().iter().filter_map(|relay| RelayId::new(&relay.name).ok()).collect();
        topologies.taken = Some(entry.head.version);
        topologies.fault = None;
        if let Some(text) = &topologies.file {
            let is_same = parse(text).is_ok_and(|file| file == topology);
            topologies.file_standing = if is_same { FileStanding::Same } else { FileStanding::Differs };
        }
    }

    /// Ends the links that are gone, begins new ones, and sets costs. Gives the links with their
    /// numbers: who was a neighbour before keeps its link.
    fn set_links(&mut self, now: Now, mut wanted: Vec<Neighbour>) -> Vec<Neighbour> {
        let known: BTreeMap<RelayId, LinkId> =
            self.links.table.iter().map(|(id, link)| (link.neighbour.clone(), *id)).collect();
        for (neighbour, link) in &known {
            if !wanted.iter().any(|wanted| wanted.relay == *neighbour) {
                self.leave_trees(*link);
                if let Some(state) = self.links.table.remove(link) {
                    self.links.gone.insert(*link, (state.counts, state.downs));
                    if self.links.gone.len() > GONE_MAX {
                        self.links.gone.pop_first();
                    }
                }
                self.leave_pulls(now, *link);
                self.starved.retain(|(_, starved)| starved != link);
            }
        }
        for neighbour in &mut wanted {
            if let Some(link) = known.get(&neighbour.relay) {
                neighbour.link = *link;
                if let Some(state) = self.links.table.get_mut(link) {
                    state.cost = neighbour.cost.unwrap_or(state.cost);
                    state.set_rate(now.time, neighbour.rate.map(Rate::new));
                    self.ready_links.insert(*link);
                }
            } else {
                neighbour.link = self.number_for(&neighbour.relay);
                let mut state = Link::new(&neighbour.options());
                (state.counts, state.downs) = self.links.gone.remove(&neighbour.link).unwrap_or_default();
                self.links.table.insert(neighbour.link, state);
            }
        }
        wanted
    }

    /// The number of a new link: what the neighbour's had when it had one, if it is free, or else one
    /// that no link has had, so that what came over a link is known to be from there.
    fn number_for(&self, neighbour: &RelayId) -> LinkId {
        let is_free = |link: &LinkId| !self.links.table.contains_key(link);
        let last = self.links.table.keys().last().copied().unwrap_or_default();
        let next = LinkId(last.max(self.traces.last_link()).0 + 1);
        self.traces.link_to(neighbour).filter(is_free).unwrap_or(next)
    }

    /// Whether a neighbour has not said that it goes by a newer topology.
    pub(super) fn may_lack_topology(&self, link: LinkId, head: &TopologyHead) -> bool {
        let neighbour = self.links.table.get(&link).map(|state| &state.neighbour);
        let said = neighbour.and_then(|neighbour| self.links.states.get(neighbour));
        said.and_then(|state| state.topology) <= Some(head.version)
    }
}
