//! What a relay tells of the network: its links, and everybody on its map.
//!
//! All of it is as the trees were planned last, so that what an operator reads is what messages
//! do. Lists come in pages that fit into a frame.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Relay;
use super::group::Group;
use super::input::Now;
use super::link::Link;
use crate::id::{LinkId, RelayId};
use crate::limits;
use crate::routing::{Advertised, Distances, Island, LinkState, Map, Place, Standing, Version, bare_cost};
use crate::wire::body::{
    LinkBooks, LinkCounts, LinkEnd, LinkInfo, NetworkStatus, Reach, Refusal, RefusalCode, RelayInfo,
};

/// Links or relays in one answer at the most.
const LIST_MAX: u32 = 500;

/// Links of one relay in an answer at the most.
const ENDS_MAX: usize = 256;

/// Bytes at which a page of relays ends.
const PAGE_BYTES: usize = limits::CONTROL_BYTES_MAX / 2;

/// Bytes that a link or a relay takes in an answer at the most, beside its name.
const ITEM_BYTES: usize = 1200;

/// Names in one warning at the most.
const NAMES_MAX: usize = 8;

const _: () = assert!(LIST_MAX as usize * (limits::NAME_BYTES_MAX + ITEM_BYTES) < limits::CONTROL_BYTES_MAX);
const _: () =
    assert!(PAGE_BYTES + (ENDS_MAX + 4) * (limits::NAME_BYTES_MAX + 64) < limits::CONTROL_BYTES_MAX);

/// The network as one relay sees it.
pub(super) struct View<'r> {
    pub(super) map: Cow<'r, Map>,
    pub(super) island: Cow<'r, Island>,
    pub(super) here: Place,
    /// None before a link has come up: then nobody can be reached.
    distances: Option<&'r Distances>,
}

impl View<'_> {
    pub(super) fn name(&self, place: Place) -> &RelayId {
        self.map.relay(place)
    }

    /// The relays that cannot be reached.
    pub(super) fn unreachable(&self) -> impl Iterator<Item = Place> {
        let all = self.map.places().filter(|place| !self.is_reachable(*place));
        all.take(if self.island.is_everything() { 0 } else { usize::MAX })
    }

    fn is_reachable(&self, place: Place) -> bool {
        place == self.here || self.island.standing(place) == Standing::Inside
    }
}

impl Relay {
    /// What the trees were planned on, or, before there are any, what is configured.
    pub(super) fn view(&self) -> Result<View<'_>, Refusal> {
        let me = &self.options.relay;
        let unusable = |why: String| Refusal::new(RefusalCode::Limit, why);
        if let Some(table) = self.trees.table() {
            let missing = || unusable(format!("{me} is not on its own map"));
            let here = table.map().place(me).ok_or_else(missing)?;
            let (map, island) = (Cow::Borrowed(table.map()), Cow::Borrowed(table.island()));
            return Ok(View { map, island, here, distances: Some(table.distances()) });
        }
        let map = Map::new([&self.own_links()], self.trees.named()).map_err(|e| unusable(e.to_string()))?;
        let here = map.place(me).expect("a relay whose links make the map is on it");
        let island = Island::of(&map, here);
        Ok(View { map: Cow::Owned(map), island: Cow::Owned(island), here, distances: None })
    }

    fn own_links(&self) -> LinkState {
        let link = |link: &Link| Advertised {
            neighbour: link.neighbour.clone(),
            cost: link.cost,
            is_up: link.is_up,
        };
        let mut state = LinkState::new(self.options.relay.clone(), Version::default());
        state.transit = self.options.transit;
        state.max_children = self.options.max_children;
        state.catching_up = self.behind.is_said;
        state.links = self.links.table.values().map(link).collect();
        state
    }

    /// Links to neighbours behind `after`. What the core does not know is left open: where the
    /// neighbour listens, why a link is down, how long a ping takes.
    pub(super) fn link_infos(&self, now: Now, after: Option<&RelayId>, limit: u32) -> Vec<LinkInfo> {
        let mut groups: BTreeMap<LinkId, u64> = BTreeMap::new();
        let mut owed: BTreeMap<LinkId, u64> = BTreeMap::new();
        for group in self.groups.iter() {
            let Some(spread) = group.spread.as_deref() else { continue };
            spread.tree().iter().for_each(|link| *groups.entry(*link).or_default() += 1);
            for (link, next) in spread.places().filter(|(_, next)| group.messages_from(*next) > 0) {
                *owed.entry(link).or_default() += group.meter.bytes_from(next);
            }
        }
        let links = self.links.table.iter();
        let mut found: Vec<_> =
            links.filter(|(_, l)| after.is_none_or(|after| l.neighbour > *after)).collect();
        found.sort_by(|(_, one), (_, other)| one.neighbour.cmp(&other.neighbour));
        found.truncate(limit.min(LIST_MAX) as usize);
        let info = |(id, link): (&LinkId, &Link)| LinkInfo {
            link: *id,
            neighbour: link.neighbour.clone(),
            address: None,
            cost: link.cost,
            is_up: link.is_up,
            for_ms: now.time.0.saturating_sub(link.since.0) / 1_000_000,
            downs: link.downs,
            last_down: None,
            last_attempt: None,
            rtt_us: None,
            rtt_variation_us: None,
            waiting_bytes: link.waiting_bytes(),
            owed_bytes: owed.get(id).copied().unwrap_or_default(),
            packed_bytes: link.packed,
            counts: link.counts,
            groups: groups.get(id).copied().unwrap_or_default(),
        };
        found.into_iter().map(info).collect()
    }

    /// Relays behind `after`, in order of their names.
    pub(super) fn relay_infos(&self, after: Option<&RelayId>, limit: u32) -> Result<Vec<RelayInfo>, Refusal> {
        let view = self.view()?;
        let first = after.map_or(0, |after| view.map.relays().partition_point(|relay| relay <= after));
        let mut bytes = 0;
        let mut found = Vec::new();
        for place in view.map.places().skip(first).take(limit.min(LIST_MAX) as usize) {
            if bytes >= PAGE_BYTES {
                break;
            }
            let info = self.relay_info(&view, place);
            bytes += ITEM_BYTES + info.ends.len() * 64;
            bytes += info.ends.iter().map(|end| end.neighbour.as_str().len()).sum::<usize>();
            found.push(info);
        }
        Ok(found)
    }

    fn relay_info(&self, view: &View<'_>, place: Place) -> RelayInfo {
        let relay = view.name(place).clone();
        let traits = view.map.traits(place);
        let said = self.links.states.get(&relay);
        let boot = |state: &LinkState| self.boot_of(state);
        let is_here = place == view.here;
        let own = &self.options.epoch;
        let ends = view.map.links_at(place);
        let (mut links, mut links_up) = (0, 0);
        let mut shown = Vec::new();
        for (other, live, configured) in ends {
            if live.is_none() && self.is_unlinked(&relay, view.name(other)) {
                continue;
            }
            links += 1;
            links_up += u32::from(live.is_some());
            if shown.len() < ENDS_MAX {
                let neighbour = view.name(other).clone();
                let cost = live.map_or(configured, bare_cost);
                shown.push(LinkEnd { neighbour, cost, is_up: live.is_some() });
            }
        }
        RelayInfo {
            reach: self.reach(view, place, &relay),
            relay,
            transit: traits.transit,
            max_children: traits.max_children,
            catching_up: said.is_some_and(|state| state.catching_up),
            storage: if is_here { Some(own.storage) } else { said.map(|state| state.version.storage) },
            boot: if is_here { Some(own.counter) } else { said.map(boot) },
            links_up,
            links,
            ends: shown,
            topology: if is_here { self.topologies.taken() } else { said.and_then(|state| state.topology) },
            draining: if is_here { self.draining } else { said.is_some_and(|state| state.is_draining) },
        }
    }

    /// Whether there is no link between two relays any more, though one of them, which is away, had
    /// said that there is: the other one has said since that there is none, or the topology in force
    /// has not both. The map keeps it: over it lies the way on which messages are kept for the relay.
    fn is_unlinked(&self, one: &RelayId, other: &RelayId) -> bool {
        let denies = |from: &RelayId, to: &RelayId| {
            let said = self.links.states.get(from);
            said.is_some_and(|state| state.links.iter().all(|link| link.neighbour != *to))
        };
        let is_left_out = |relay: &RelayId| self.topologies.leaves_out(relay);
        denies(one, other) || denies(other, one) || is_left_out(one) || is_left_out(other)
    }

    /// Whether a relay is in the part of the network that can be reached from here.
    pub(super) fn is_reachable(&self, relay: &RelayId) -> bool {
        let Ok(view) = self.view() else { return false };
        view.map.place(relay).is_some_and(|place| view.is_reachable(place))
    }

    fn reach(&self, view: &View<'_>, place: Place, relay: &RelayId) -> Reach {
        if place == view.here {
            return Reach::Here;
        }
        let link = self.links.toward.get(relay).and_then(|link| self.links.table.get(link));
        let distance = view.distances.and_then(|distances| distances.between(view.here, place));
        match (view.island.standing(place), link.zip(distance)) {
            // A link of this relay may have gone since the map was made: then there is no next hop.
            (Standing::Inside, Some((link, distance))) if link.is_up => {
                Reach::Over { next: link.neighbour.clone(), distance }
            }
            // Nothing is kept for one that was forgotten; it goes from the map in a moment.
            (Standing::KeptBy(_), _) if self.orphans().is_gone(relay) => Reach::Lost,
            (Standing::KeptBy(custodian), _) => Reach::KeptBy(view.name(custodian).clone()),
            (Standing::Inside | Standing::Lost, _) => Reach::Lost,
        }
    }

    /// How this relay stands in the network; `None`: it has never been part of one.
    pub(super) fn network_status(&self) -> Option<NetworkStatus> {
        if self.is_alone() {
            return None;
        }
        let view = self.view().ok();
        let count = |is_counted: &dyn Fn(&View<'_>, Place) -> bool| {
            let counted =
                |view: &View<'_>| view.map.places().filter(|place| is_counted(view, *place)).count();
            view.as_ref().map_or(1, counted) as u64
        };
        Some(NetworkStatus {
            links_up: self.links.up().count() as u64,
            links: self.links.table.len() as u64,
            relays_reachable: count(&|view, place| view.is_reachable(place)),
            relays: count(&|_, _| true),
            protected: false,
            topology: self.topologies.in_force().map(|entry| entry.head.clone()),
        })
    }

    /// What an operator should know of the network.
    pub(super) fn network_warnings(&self) -> Vec<String> {
        let mut warnings = self.topology_warnings();
        let (links, up) = (self.links.table.len(), self.links.up().count());
        if links > 0 && up == 0 {
            let which =
                if links == 1 { "its only link is".to_owned() } else { format!("all {links} links are") };
            warnings.push(format!("this relay is cut off: {which} down"));
        }
        if let Some(fault) = self.trees.map_fault() {
            warnings.push(format!("the map of the network stays as it was: {fault}"));
        }
        warnings.extend(self.over_cap_warning());
        let Ok(view) = self.view() else { return warnings };
        let away: Vec<&RelayId> = view
            .map
            .places()
            .filter(|place| !view.is_reachable(*place))
            .map(|place| view.name(place))
            .collect();
        if links > 0 && up > 0 && !away.is_empty() {
            let shown: Vec<&str> = away.iter().take(NAMES_MAX).map(|relay| relay.as_str()).collect();
            let more = if away.len() > NAMES_MAX { ", …" } else { "" };
            let (found, all) = (away.len(), view.map.relay_count());
            warnings.push(format!("{found} of {all} relays cannot be reached: {}{more}", shown.join(", ")));
        }
        warnings
    }

    /// Trees in which a relay has more children than the topology gives it.
    fn over_cap_warning(&self) -> Option<String> {
        let table = self.trees.table()?;
        let over = |group: &&Group| table.trees(group.number).any(|(_, tree)| tree.is_over_cap());
        let mut groups = self.groups.iter().filter(over);
        let first = groups.next()?;
        let found = table.trees(first.number).flat_map(|(_, tree)| tree.over_cap(table.map())).next()?;
        let (relay, more) = (table.map().relay(found.relay), groups.count());
        let others = match more {
            0 => String::new(),
            _ => format!("; and so it is in {more} more of the groups"),
        };
        Some(format!(
            "relay {relay} has {} children in the tree of {} and max_children = {}: no other way was found{others}",
            found.children, first.name, found.most
        ))
    }

    /// The accounts of links: of one group, or of all.
    pub(super) fn link_books(&self, carried: &[(LinkId, LinkCounts)]) -> Vec<LinkBooks> {
        let books = |(link, counts): &(LinkId, LinkCounts)| {
            let neighbour = self.links.table.get(link)?.neighbour.clone();
            Some(LinkBooks { neighbour, counts: *counts })
        };
        let mut books: Vec<LinkBooks> = carried.iter().filter_map(books).collect();
        books.sort_by(|one, other| one.neighbour.cmp(&other.neighbour));
        books.truncate(LIST_MAX as usize);
        books
    }

    /// Whether the link to a neighbour is up, for the shell.
    #[must_use]
    pub fn is_linked_to(&self, neighbour: &RelayId) -> bool {
        self.links.to(neighbour).is_some()
    }

    /// What a link has carried and what waits for it, for the shell's metrics.
    #[must_use]
    pub fn link_counts(&self, link: LinkId) -> Option<(LinkCounts, u64)> {
        self.links.table.get(&link).map(|state| (state.counts, state.waiting_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StorageId;
    use crate::topology::TopologyVersion;
    use crate::wire::body::{Answer, Carried, Reply, encode};

    fn longest() -> RelayId {
        RelayId::new(&"n".repeat(limits::NAME_BYTES_MAX)).unwrap()
    }

    #[test]
    fn the_longest_links_fit_into_a_frame() {
        let most = Carried { bytes: u64::MAX, runs: u64::MAX, records: u64::MAX };
        let n = u64::MAX;
        let counts = LinkCounts { sent: most, received: most, taken: n, repeats: n, early: n, strays: n };
        let link = LinkInfo {
            link: LinkId(u32::MAX),
            neighbour: longest(),
            address: Some("h".repeat(limits::NAME_BYTES_MAX + 6)),
            cost: u32::MAX,
            is_up: false,
            for_ms: n,
            downs: n,
            last_down: Some("r".repeat(240)),
            last_attempt: Some("r".repeat(240)),
            rtt_us: Some(n),
            rtt_variation_us: Some(n),
            waiting_bytes: n,
            owed_bytes: n,
            packed_bytes: n,
            counts,
            groups: n,
        };
        let answer: Answer = Ok(Reply::Links(vec![link; LIST_MAX as usize]));
        assert!(encode(&answer).len() <= limits::CONTROL_BYTES_MAX, "{}", encode(&answer).len());
    }

    #[test]
    fn the_longest_page_of_relays_fits_into_a_frame() {
        let end = LinkEnd { neighbour: longest(), cost: u32::MAX, is_up: false };
        let relay = RelayInfo {
            relay: longest(),
            reach: Reach::Over { next: longest(), distance: u32::MAX },
            transit: false,
            max_children: Some(u32::MAX),
            catching_up: false,
            storage: Some(StorageId([255; 16])),
            boot: Some(u64::MAX),
            links_up: u32::MAX,
            links: u32::MAX,
            ends: Vec::new(),
            topology: Some(TopologyVersion { counter: u64::MAX, hash: u64::MAX }),
            draining: true,
        };
        let few: Answer = Ok(Reply::Relays(vec![relay.clone(); LIST_MAX as usize]));
        assert!(encode(&few).len() <= limits::CONTROL_BYTES_MAX, "{}", encode(&few).len());
        // A page may be one byte short of its end when one with all its links is added.
        let before = PAGE_BYTES / ITEM_BYTES;
        let mut all = vec![relay.clone(); before];
        all.push(RelayInfo { ends: vec![end; ENDS_MAX], ..relay });
        let all: Answer = Ok(Reply::Relays(all));
        assert!(encode(&all).len() <= limits::CONTROL_BYTES_MAX, "{}", encode(&all).len());
    }
}
