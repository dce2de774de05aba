//! Link states: what one relay says about itself and its links, under a version.

use serde::{Deserialize, Serialize};

use crate::id::{RelayId, StorageId};
use crate::limits;
use crate::routing::tree::Algorithm;
use crate::topology::{COST_MAX, Cost, Topology, TopologyVersion};

/// Bits of a link state's version that count the changes within one boot.
pub(crate) const BOOT_SHIFT: u32 = 32;

/// Orders what one relay says of itself (its links, its memberships): by counter, then by
/// storage, so that two live relays of one name still agree with everybody on which counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Raised by one with every change: 1, 2, 3, …; 0 for what comes from a file.
    pub counter: u64,
    /// The data directory of the relay that says so.
    pub storage: StorageId,
}

impl Version {
    /// The next version, said by `storage`.
    #[must_use]
    pub fn next(self, storage: StorageId) -> Self {
        Self { counter: self.counter.saturating_add(1), storage }
    }
}

/// One end of a link, as the relay at that end advertises it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Advertised {
    /// The relay at the other end.
    pub neighbour: RelayId,
    /// What it costs to use the link, 1..=[`COST_MAX`]. A value outside counts
    /// as the nearest one inside.
    pub cost: u32,
    /// Whether the link works as seen from this end. A link that is down is
    /// advertised too: it is configured, and tells who keeps messages for
    /// relays that are away.
    pub is_up: bool,
}

/// What one relay advertises.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinkState {
    /// The relay that says this of itself.
    pub relay: RelayId,
    /// Which of two states of that relay is newer.
    pub version: Version,
    /// Whether it passes on what is not its own; if not, it is a leaf of all trees.
    pub transit: bool,
    /// The most children it takes in one tree, at least 1; not set: no limit.
    pub max_children: Option<u32>,
    /// Whether it is far behind: then others go through it only where there is
    /// no other way (ruling R8).
    pub catching_up: bool,
    /// Whether it has a new disk and does not know yet who is a member of what.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_new: bool,
    /// Whether it is being drained and takes nothing new. No tree depends on it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_draining: bool,
    /// The newest way to compute trees that it speaks: see [`Algorithm::number`]. It speaks all
    /// before that too. Absent from relays that speak the first only.
    #[serde(default = "first_algorithm", skip_serializing_if = "is_first_algorithm")]
    pub algorithm: u16,
    /// Its ends of links, in any order. Of several to one neighbour the cheapest
    /// that is up counts.
    pub links: Vec<Advertised>,
    /// The applied topology that it has on its disk and goes by; left out before it has one. No
    /// tree depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyVersion>,
    /// The boot in which it was said, where the version does not tell it: what the relay says with a new
    /// disk is above what others know of the one before, which may have been started more often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<u64>,
}

fn first_algorithm() -> u16 {
    Algorithm::One.number()
}

fn is_first_algorithm(number: &u16) -> bool {
    *number == first_algorithm()
}

/// Why a link state that came from another relay is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkStateError {
    /// More links than [`limits::LINKS_PER_RELAY_MAX`].
    #[error("{relay} advertises {found} links; at most {max} are allowed")]
    TooManyLinks {
        /// The relay that says so.
        relay: RelayId,
        /// How many there are.
        found: usize,
        /// How many may be.
        max: usize,
    },
}

impl LinkState {
    /// A relay with all defaults and no links.
    #[must_use]
    pub fn new(relay: RelayId, version: Version) -> Self {
        Self {
            relay,
            version,
            transit: true,
            max_children: None,
            catching_up: false,
            is_new: false,
            is_draining: false,
            algorithm: first_algorithm(),
            links: Vec::new(),
            topology: None,
            boot: None,
        }
    }

    /// Checks what a remote could have made too large. Everything else that is
    /// odd (a cost of 0, a link to itself, a cap of 0) has a meaning in the map.
    ///
    /// # Errors
    /// When it has more links than a relay may have.
    pub fn check(&self) -> Result<(), LinkStateError> {
        let (found, max) = (self.links.len(), limits::LINKS_PER_RELAY_MAX);
        if found > max {
            return Err(LinkStateError::TooManyLinks { relay: self.relay.clone(), found, max });
        }
        Ok(())
    }

    /// The boot of its relay in which it was said.
    #[must_use]
    pub fn said_in(&self) -> u64 {
        self.boot.unwrap_or(self.version.counter >> BOOT_SHIFT)
    }

    /// Whether this is newer than `other`, a state of the same relay. A boot may use versions that one
    /// before it has used, if that was the boot of a new disk and spoke above what others knew of the
    /// old one.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.version, self.said_in()) > (other.version, other.said_in())
    }

    /// What every relay of `topology` would advertise if all links were up, by
    /// relay. A link whose cost is measured costs `unmeasured` until it is.
    /// Relays whose names are no names are left out: a checked topology has none.
    #[must_use]
    pub fn of_topology(topology: &Topology, unmeasured: u32) -> Vec<Self> {
        let state_of = |relay: &crate::topology::Relay| {
            let mut state = Self::new(RelayId::new(&relay.name).ok()?, Version::default());
            state.transit = relay.transit;
            state.max_children = relay.max_children;
            Some(state)
        };
        let mut states: Vec<Self> = topology.relays().iter().filter_map(state_of).collect();
        for link in topology.links() {
            let cost = match link.cost {
                Cost::Fixed(cost) => cost,
                Cost::Rtt => unmeasured.clamp(1, COST_MAX),
            };
            let [one, other] = &link.between;
            for (from, to) in [(one, other), (other, one)] {
                let at = states.binary_search_by(|state| state.relay.as_str().cmp(from));
                if let (Ok(at), Ok(neighbour)) = (at, RelayId::new(to)) {
                    states[at].links.push(Advertised { neighbour, cost, is_up: true });
                }
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(counter: u64, storage: u8) -> Version {
        Version { counter, storage: StorageId([storage; 16]) }
    }

    #[test]
    fn a_version_is_newer_by_counter_then_by_storage() {
        let state = |version| LinkState::new(RelayId::new("a").unwrap(), version);
        assert!(state(version(2, 1)).is_newer_than(&state(version(1, 9))));
        assert!(state(version(2, 2)).is_newer_than(&state(version(2, 1))));
        assert!(!state(version(2, 2)).is_newer_than(&state(version(2, 2))));
        let of_boot = |boot| LinkState { boot: Some(boot), ..state(version(3 << BOOT_SHIFT, 1)) };
        assert!(state(version(3 << BOOT_SHIFT, 1)).is_newer_than(&of_boot(2)));
        assert!(!state(version(3 << BOOT_SHIFT, 1)).is_newer_than(&of_boot(3)));
        assert!(of_boot(2).is_newer_than(&of_boot(1)) && !of_boot(1).is_newer_than(&of_boot(2)));
    }

    #[test]
    fn a_state_with_more_links_than_allowed_is_refused() {
        let mut state = LinkState::new(RelayId::new("a").unwrap(), version(1, 1));
        let link = Advertised { neighbour: RelayId::new("b").unwrap(), cost: 1, is_up: true };
        state.links = vec![link.clone(); limits::LINKS_PER_RELAY_MAX];
        assert_eq!(state.check(), Ok(()));
        state.links.push(link);
        assert!(state.check().is_err());
    }
}
