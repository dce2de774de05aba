//! Networks whose topology is changed while they run.

use std::fmt::Write;

use super::world::{World, name_of};
use crate::dice::Dice;
use crate::id::LinkId;
use crate::topology::{Topology, TopologyVersion};
use crate::wire::applied::TopologyHead;
use crate::wire::body::{Answer, Reply, Request, TopologyInfo};

/// A link that costs more than this has a rate.
const RATED_ABOVE: u32 = 7;

/// Links that join these relays, and one more where there is room for it.
fn tree(dice: &mut Dice, relays: &[usize]) -> Vec<(usize, usize, u32)> {
    let mut links: Vec<(usize, usize, u32)> = Vec::new();
    for (number, place) in relays.iter().enumerate().skip(1) {
        links.push((relays[dice.below(number as u64) as usize], *place, 1 + dice.below(9) as u32));
    }
    let one = relays[dice.below(relays.len() as u64) as usize];
    let two = relays.last().copied().unwrap_or(one);
    if one != two && !links.iter().any(|(x, y, _)| (*x, *y) == (one, two)) {
        links.push((one, two, 1));
    }
    links
}

/// The text of a topology of `relays` relays with these links between them.
#[must_use]
pub(super) fn text_of(relays: &[usize], links: &[(usize, usize, u32)]) -> String {
    let mut text = "version = 1\n".to_owned();
    for place in relays {
        let port = 7000 + place;
        let _ = write!(text, "[relay.{}]\naddress = \"127.0.0.1:{port}\"\n", name_of(*place));
    }
    for (one, two, cost) in links {
        let (one, two) = (name_of(*one), name_of(*two));
        let _ = write!(text, "[[link]]\nbetween = [\"{one}\", \"{two}\"]\ncost = {cost}\n");
        // A rate at which it is slower than the others.
        if *cost > RATED_ABOVE {
            text.push_str("rate = \"4kB/s\"\n");
        }
    }
    text
}

impl World {
    /// What a relay tells of the topology.
    ///
    /// # Panics
    /// When it tells nothing.
    pub fn topology_at(&mut self, node: usize) -> TopologyInfo {
        match self.ask(node, Request::TopologyShow { version: None, hash: None }) {
            Ok(Reply::Topology(info)) => *info,
            other => panic!("no topology: {other:?}"),
        }
    }

    /// Applies a text at a relay, on top of what is in force there.
    pub fn apply(&mut self, node: usize, text: &str) -> Answer {
        let base = self.topology_at(node).kept.first().map(|head| head.version);
        self.apply_on(node, text, base)
    }

    /// Applies a text at a relay, on top of a version that somebody has seen.
    pub fn apply_on(&mut self, node: usize, text: &str, base: Option<TopologyVersion>) -> Answer {
        self.ask(node, Request::TopologyApply { text: text.to_owned(), base, restores: None })
    }

    /// Applies another topology of all relays at one that runs, or an earlier one again.
    pub(super) fn apply_some(&mut self, node: usize) {
        if !self.nodes[node].is_up() {
            return;
        }
        let info = self.topology_at(node);
        let base = info.kept.first().map(|head| head.version);
        let earlier: Vec<TopologyHead> =
            info.kept.iter().skip(1).filter(|head| head.version.counter > 0).cloned().collect();
        if !earlier.is_empty() && self.dice.chance(25) {
            let wanted = earlier[self.dice.below(earlier.len() as u64) as usize].version;
            let (wanted, hash) = (wanted.counter, Some(wanted.hash));
            let shown = self.ask(node, Request::TopologyShow { version: Some(wanted), hash });
            let Ok(Reply::Topology(found)) = shown else { return };
            let text = found.entry.map(|entry| entry.text).unwrap_or_default();
            let _ = self.ask(node, Request::TopologyApply { text, base, restores: Some(wanted) });
            return;
        }
        // Now and then one is left out, and stays so until the next change.
        let left_out = self.dice.below(4 * self.nodes.len() as u64) as usize;
        let mut all: Vec<usize> = (0..self.nodes.len()).collect();
        all.retain(|place| *place == node || *place != left_out || self.nodes.len() == 2);
        let links = tree(&mut self.dice, &all);
        // One that has been wiped, or whose disk is full, refuses.
        let _ = self.apply_on(node, &text_of(&all, &links), base);
    }

    /// All relays are part of the network again.
    pub(super) fn include_all(&mut self) {
        let heads: Vec<_> = self.nodes.iter().map(|node| node.topology().map(|entry| entry.head)).collect();
        let newest = heads.iter().max().cloned().flatten();
        // Who was left out does not hear of it from others: it is told again where it is in force.
        let at =
            (0..heads.len()).find(|node| heads[*node] == newest && !self.nodes[*node].links().is_empty());
        let Some(at) = at.filter(|_| newest.is_some()) else { return };
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let links = tree(&mut self.dice, &all);
        let _ = self.apply(at, &text_of(&all, &links));
    }

    /// All relays that run go by one topology, and have its links.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn check_topology(&mut self) -> Result<(), String> {
        let up: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_up()).collect();
        let Some(first) = up.first().map(|node| self.topology_at(*node)) else { return Ok(()) };
        let Some(entry) = first.entry.filter(|entry| entry.head.version.counter > 0) else { return Ok(()) };
        let topology =
            Topology::parse("in force", &entry.text).map_err(|faults| faults.to_string())?.topology;
        for node in up {
            let info = self.topology_at(node);
            let name = self.nodes[node].name.clone();
            if info.kept.first() != Some(&entry.head) || info.taken != Some(entry.head.version) {
                return Err(format!("{name} goes by {:?}, and not by {:?}", info.kept.first(), entry.head));
            }
            let mut wanted: Vec<String> =
                topology.links_of(name.as_str()).map(|(_, other)| other.to_owned()).collect();
            wanted.sort();
            let mut links: Vec<String> =
                self.nodes[node].links().iter().map(|(other, _)| other.to_string()).collect();
            links.sort();
            if links != wanted {
                return Err(format!("{name} has links to {links:?}, and not to {wanted:?}"));
            }
            if self.nodes[node].link_numbers().contains(&LinkId(0)) {
                return Err(format!("{name} has a link without a number"));
            }
        }
        Ok(())
    }
}
