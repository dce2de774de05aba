//! What a relay tells of topologies: to who asks for one, and to its operator.

use std::sync::Arc;

use super::Topologies;
use crate::id::{RelayId, StorageId, WallTime};
use crate::limits;
use crate::relay::Relay;
use crate::relay::requests::Outcome;
use crate::topology::TopologyVersion;
use crate::wire::applied::{TopologyEntry, TopologyHead};
use crate::wire::body::{FileStanding, Refusal, RefusalCode, Reply, TopologyInfo};

/// Names in one warning at the most, and warnings of one kind.
const NAMES_MAX: usize = 8;

/// Why the file of a relay is not told.
const FILE_TOO_LONG: &str = "the file that this relay was started with is too long to be shown";

impl Relay {
    /// A relay that is no neighbour asks for the topology in force.
    pub(in crate::relay) fn join(&self, relay: &RelayId, storage: StorageId) -> Outcome {
        let Some(entry) = self.topologies.in_force() else {
            let message = "no topology was applied to this network yet: apply its file once, \
                           with `treecast topology apply`";
            return Err(Refusal::new(RefusalCode::NotFound, message));
        };
        let version = entry.head.version;
        if !self.topologies.names.contains(relay) {
            let message = format!("relay {relay} is not in topology {version}, which is in force");
            return Err(Refusal::new(RefusalCode::NotFound, message));
        }
        let is_other = self.links.states.get(relay).is_some_and(|known| known.version.storage != storage);
        if *relay == self.options.relay || (is_other && self.is_reachable(relay)) {
            let message = format!("a relay called {relay} is up already, with another data directory");
            return Err(Refusal::new(RefusalCode::Exists, message));
        }
        Ok((Reply::Topology(Box::new(self.topology_info(Some(entry)))), self.topologies.shown_when()))
    }

    /// A topology that this relay has: told once it is on its disk, with all that it knows of.
    pub(in crate::relay) fn show_topology(&self, version: Option<u64>, hash: Option<u64>) -> Outcome {
        let file = || self.shown_file().map(|text| self.unapplied(text));
        let entry = match version {
            None => self.topologies.in_force().cloned().or_else(file),
            Some(wanted) => {
                let kept = self.topologies.kept.iter().rev();
                let is_it = |version: TopologyVersion| {
                    version.counter == wanted && hash.is_none_or(|hash| version.hash == hash)
                };
                let found = kept.clone().find(|entry| is_it(entry.head.version)).cloned();
                let found = found.or_else(|| file().filter(|file| is_it(file.head.version)));
                if found.is_none() && wanted == 0 && self.topologies.file.is_some() {
                    return Err(Refusal::new(RefusalCode::TooLarge, FILE_TOO_LONG));
                }
                let known: Vec<String> = kept.map(|entry| entry.head.version.counter.to_string()).collect();
                Some(found.ok_or_else(|| {
                    let hash = hash.map_or_else(String::new, |hash| format!("-{hash:016x}"));
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    let message = format!("this relay has no topology {wanted}{hash}; it has {known}");
                    Refusal::new(RefusalCode::NotFound, message)
                })?)
            }
        };
        Ok((Reply::Topology(Box::new(self.topology_info(entry.as_ref()))), self.topologies.shown_when()))
    }

    /// The file that the relay was started with, if an answer holds it: what may be in a file is
    /// more than what may be applied.
    fn shown_file(&self) -> Option<&String> {
        self.topologies.file.as_ref().filter(|text| text.len() <= limits::TOPOLOGY_BYTES_MAX)
    }

    /// The file that the relay was started with, as version 0.
    fn unapplied(&self, text: &str) -> Arc<TopologyEntry> {
        let (version, by) = (TopologyVersion::new(0, text), self.options.relay.clone());
        let head = TopologyHead { version, by, at: WallTime(0), restores: None };
        Arc::new(TopologyEntry { head, text: text.to_owned() })
    }

    fn topology_info(&self, entry: Option<&Arc<TopologyEntry>>) -> TopologyInfo {
        TopologyInfo {
            entry: entry.map(|entry| (**entry).clone()),
            kept: self.topologies.kept.iter().rev().map(|entry| entry.head.clone()).collect(),
            taken: self.topologies.taken,
            file: self.topologies.file_standing,
        }
    }

    /// What an operator should know of the topology.
    #[must_use]
    pub fn topology_warnings(&self) -> Vec<String> {
        let Topologies { fault, taken, names, address, address_at_start, file_standing, started, .. } =
            &self.topologies;
        let mut warnings = self.misfits();
        let Some(TopologyEntry { head, .. }) = self.topologies.in_force().map(|entry| &**entry) else {
            return warnings;
        };
        let (version, by, me) = (head.version, &head.by, &self.options.relay);
        if let Some(fault) = fault {
            let stays = taken.map_or_else(|| "its file".to_owned(), |taken| format!("topology {taken}"));
            warnings.push(format!(
                "topology {version}, applied at {by}, cannot be used here, and this relay stays with {stays}: {fault}"
            ));
        }
        if taken.is_some() && !names.contains(me) {
            warnings.push(format!(
                "this relay is not in topology {version}, applied at {by}: it has no links, and what \
                 it is owed or owes waits until it is in it again"
            ));
        }
        // One that was applied since replaces the file, as every operator means it to.
        if *file_standing == FileStanding::Differs && head.at < *started {
            warnings.push(format!(
                "the topology file that this relay was started with says something else than topology {version}, \
                 applied at {by}: the file is not used; `treecast topology show > FILE` brings it up to date"
            ));
        }
        warnings.extend(self.used_warnings(version));
        if let Some((now, then)) = address.as_ref().zip(address_at_start.as_ref())
            && now != then
        {
            warnings.push(format!(
                "topology {version} has this relay at {now}: it listens there from its next start on"
            ));
        }
        warnings.extend(self.left_out());
        warnings
    }

    /// Names that are those of groups here and of queues in the topology, or the other way round.
    fn misfits(&self) -> Vec<String> {
        let Some(topology) = self.topology_in_force().or_else(|| self.file_in_force()) else {
            return Vec::new();
        };
        let groups = topology.groups().iter().filter_map(|wanted| {
            let home = self.queue_home(self.group_in_file(&wanted.name)?)?;
            Some((&wanted.name, format!("it is a queue at {home}, and a group in the topology")))
        });
        let queues = topology.queues().iter().filter_map(|wanted| {
            let group = self.group_in_file(&wanted.name)?;
            let is_group = self.queue_home(group).is_none() && group.is_made();
            let told = || format!("it is a group, and a queue at {} in the topology", wanted.home);
            is_group.then(|| (&wanted.name, told()))
        });
        let mut all: Vec<String> = groups
            .chain(queues)
            .map(|(name, what)| format!("{name} is not as the topology has it: {what}"))
            .collect();
        let more = all.len().saturating_sub(NAMES_MAX);
        if more > 0 {
            all.truncate(NAMES_MAX);
            all.push(format!("{more} more groups and queues are not as the topology has them"));
        }
        all
    }

    /// Relays that are known and in the topology no more.
    fn left_out(&self) -> Option<String> {
        let Topologies { taken, names, .. } = &self.topologies;
        taken.as_ref()?;
        let view = self.view().ok()?;
        let out: Vec<&str> = view
            .map
            .relays()
            .iter()
            .filter(|relay| !names.contains(*relay) && **relay != self.options.relay)
            .map(RelayId::as_str)
            .collect();
        let shown = out.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = if out.len() > NAMES_MAX { ", …" } else { "" };
        let are = if out.len() == 1 { "relay is" } else { "relays are" };
        let message = format!(
            "{} {are} in the topology no more, and members still of what they have subscribed to: {shown}{more}",
            out.len()
        );
        (!out.is_empty()).then_some(message)
    }
}
