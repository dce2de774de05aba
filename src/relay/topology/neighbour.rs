//! The links that a topology gives to one relay.

use std::time::Duration;

use crate::id::{LinkId, RelayId};
use crate::limits;
use crate::relay::{LinkOptions, Rate};
use crate::topology::{Cost, Topology};

/// A link to a neighbour as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's number: unique among the links of this relay, never 0.
    pub link: LinkId,
    /// The relay at the other end.
    pub relay: RelayId,
    /// Where it listens: an address or a host name, and a port.
    pub address: String,
    /// What it costs to use the link: at least 1. `None`: its round-trip time decides, one unit
    /// for each 100 µs, in steps and slow to change.
    pub cost: Option<u32>,
    /// The most bytes per second that this relay sends over it; `None`: as many as it takes.
    pub rate: Option<u64>,
    /// The pause between two pings; 100 ms unless told otherwise. Each end uses the longer one of both.
    pub hello: Duration,
    /// Whether runs may be packed for it when the link is slow; true unless told otherwise, and only
    /// if it takes them.
    pub packs: bool,
}

impl Neighbour {
    /// The links that a topology gives to a relay, numbered in the order of the neighbours' names.
    #[must_use]
    pub fn of(topology: &Topology, me: &str) -> Vec<Self> {
        let one = |(link, other): (&crate::topology::Link, &str)| {
            let relay = RelayId::new(other).ok()?;
            let address = topology.relay(other)?.address.to_string();
            let cost = match link.cost {
                Cost::Fixed(cost) => Some(cost),
                Cost::Rtt => None,
            };
            let (link, rate, hello) = (LinkId(0), link.rate, link.hello);
            Some(Self { link, relay, address, cost, rate, hello, packs: true })
        };
        let mut found: Vec<Self> = topology.links_of(me).filter_map(one).collect();
        found.sort_by(|one, other| one.relay.cmp(&other.relay));
        for (number, neighbour) in (1..).zip(&mut found) {
            neighbour.link = LinkId(number);
        }
        found
    }

    /// The link as the core wants it when it begins.
    #[must_use]
    pub fn options(&self) -> LinkOptions {
        let cost = self.cost.unwrap_or(limits::LINK_COST_UNMEASURED);
        LinkOptions { link: self.link, neighbour: self.relay.clone(), cost, rate: self.rate.map(Rate::new) }
    }
}
