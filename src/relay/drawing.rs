//! The tree of a group, as an operator asks for it.
//!
//! One list: the relays of the tree, parents before their children, and behind them those that
//! are cut off, below the relay that keeps for them. What happens on a link between two other
//! relays is known to these alone; of it the list has what the map says.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

use super::Relay;
use super::facts::Parts;
use super::group::Group;
use super::input::Now;
use super::views::View;
use crate::id::{GroupName, Index, LinkId, RelayId, Sequence};
use crate::limits;
use crate::routing::{Place, Standing, Tree, bare_cost};
use crate::topology::settings::TreeKind;
use crate::wire::body::{EdgeState, GroupTree, Lag, Refusal, RefusalCode, TreeNode};

/// Relays in one answer at the most: it then fits into a frame.
const LIST_MAX: u32 = 1000;

const _: () = assert!((LIST_MAX as usize + 4) * (limits::NAME_BYTES_MAX + 250) < limits::CONTROL_BYTES_MAX);

/// A relay in the list before anything is said of it.
#[derive(Clone, Copy)]
struct Spot {
    place: Place,
    up: Option<u32>,
    state: EdgeState,
    cost: Option<u32>,
}

impl Relay {
    /// The tree of a group, from the relay in place `from` on.
    pub(super) fn group_tree(
        &self,
        now: Now,
        name: &GroupName,
        origin: Option<RelayId>,
        (from, limit): (u32, u32),
    ) -> Result<GroupTree, Refusal> {
        let number = self.known_group(name)?;
        let group = self.groups.get(number).expect("a known group");
        let view = self.view()?;
        let parts = group.spread.as_deref().map(|spread| &spread.parts);
        let trees: Vec<(Option<Place>, &Tree)> =
            self.trees.table().map(|table| table.trees(number).collect()).unwrap_or_default();
        let (of, tree) = choose(&view, group, &trees, origin.as_ref())?;
        let over: BTreeMap<Place, u32> = tree.map_or_else(BTreeMap::new, |tree| {
            tree.over_cap(&view.map).into_iter().map(|over| (over.relay, over.most)).collect()
        });
        let spots = match tree {
            Some(tree) => spots(&view, tree),
            None => self.spots_without_tree(&view, group, parts),
        };
        let page = spots.iter().skip(from as usize).take(limit.min(LIST_MAX) as usize);
        let node = |spot: &Spot| TreeNode {
            max_children: over.get(&spot.place).copied(),
            ..self.node(now, &view, group, &spots, *spot)
        };
        let nodes = page.map(node).collect();
        Ok(GroupTree {
            group: name.clone(),
            here: self.options.relay.clone(),
            kind: group.settings.tree,
            origin: of.map(|of| view.name(of).clone()),
            trees: trees.len() as u64,
            cost: spots.iter().filter_map(|spot| spot.cost).map(u64::from).sum(),
            held: lag(now, group, group.owed_elsewhere()),
            fingerprint: fingerprint(&view, &spots),
            relays: spots.len() as u32,
            nodes,
        })
    }

    /// No link has come up yet, or nothing was put into a group in which each origin has a tree: this relay alone,
    /// and those that it knows of.
    fn spots_without_tree(&self, view: &View<'_>, group: &Group, parts: Option<&Parts>) -> Vec<Spot> {
        let here = Spot { place: view.here, up: None, state: EdgeState::Up, cost: None };
        let known = parts.map(Parts::wanted).unwrap_or_default();
        let others = known.iter().filter_map(|name| view.map.place(name)).filter(|at| *at != view.here);
        let mut others: Vec<Place> = others.collect();
        let has_own = group.own.is_some() || !group.subscriptions.is_empty();
        if !has_own && others.is_empty() {
            return Vec::new();
        }
        others.sort_unstable();
        let away = |place| {
            let (up, state) = match view.island.standing(place) {
                Standing::Inside => (None, EdgeState::Up),
                Standing::KeptBy(_) => (Some(0), EdgeState::Down),
                Standing::Lost => (None, EdgeState::Down),
            };
            Spot { place, up, state, cost: None }
        };
        [here].into_iter().chain(others.into_iter().map(away)).collect()
    }

    fn node(&self, now: Now, view: &View<'_>, group: &Group, spots: &[Spot], spot: Spot) -> TreeNode {
        let relay = view.name(spot.place).clone();
        let parts = group.spread.as_deref().map(|spread| &spread.parts);
        let is_here = spot.place == view.here;
        let is_on = |on: Option<&(crate::wire::link::Version, bool)>| on.is_some_and(|(_, on)| *on);
        let above = spot.up.and_then(|up| spots.get(up as usize)).map(|up| up.place);
        let neighbour = match above {
            Some(above) if is_here => Some(above),
            Some(above) if above == view.here => Some(spot.place),
            Some(_) | None => None,
        };
        let own = neighbour.filter(|_| spot.state != EdgeState::Down);
        let (state, lag) = match own {
            Some(neighbour) => self.own_edge(now, group, view.name(neighbour)),
            None => (spot.state, None),
        };
        TreeNode {
            up: spot.up,
            state,
            cost: spot.cost,
            member: is_on(parts.and_then(|parts| parts.members.get(&relay)))
                || (is_here && !group.subscriptions.is_empty()),
            origin: is_on(parts.and_then(|parts| parts.origins.get(&relay)))
                || (is_here && group.own.is_some() && !group.is_quiet()),
            lag,
            unconfirmed: self.unconfirmed(group, &relay),
            max_children: None,
            relay,
        }
    }

    /// The link of the tree to a neighbour.
    fn own_edge(&self, now: Now, group: &Group, neighbour: &RelayId) -> (EdgeState, Option<Lag>) {
        let link: Option<LinkId> = self.links.to(neighbour);
        let Some(link) = link else { return (EdgeState::Down, None) };
        match group.spread.as_deref().and_then(|spread| spread.place_of(link)) {
            Some((next, true)) => (EdgeState::Up, Some(lag(now, group, next))),
            Some((_, false)) => (EdgeState::Comparing, None),
            // It has come up since the tree was planned.
            None => (EdgeState::Up, None),
        }
    }

    /// What of this relay's own streams a member has not confirmed.
    fn unconfirmed(&self, group: &Group, member: &RelayId) -> Option<u64> {
        let me = &self.options.relay;
        if member == me {
            return None;
        }
        let open = group.streams.iter().filter(|stream| stream.origin == *me).filter_map(|stream| {
            let (mark, _) = stream.marks.get(member)?;
            let receipt = stream.receipts.get(member).map_or(Sequence(0), |held| held.durable);
            let has = receipt.0.max(mark.0.saturating_sub(1)).max(stream.released.0);
            Some(stream.last.0.saturating_sub(has))
        });
        open.reduce(|sum, more| sum + more)
    }
}

/// The tree that was asked for: where each origin has one, that of `origin`, or this relay's own,
/// or the first.
fn choose<'t>(
    view: &View<'_>,
    group: &Group,
    trees: &[(Option<Place>, &'t Tree)],
    origin: Option<&RelayId>,
) -> Result<(Option<Place>, Option<&'t Tree>), Refusal> {
    let wanted = match origin {
        None => None,
        Some(name) => {
            let refused = |why: String| Refusal::new(RefusalCode::NotFound, why);
            let place = view.map.place(name);
            Some(place.ok_or_else(|| refused(format!("no relay `{name}` is known here")))?)
        }
    };
    if group.settings.tree == TreeKind::Shared {
        return Ok((None, trees.first().map(|(_, tree)| *tree)));
    }
    let find = |of: Place| trees.iter().find(|(origin, _)| *origin == Some(of));
    let found = match wanted {
        Some(wanted) => find(wanted),
        None => find(view.here).or(trees.first()),
    };
    match (found, wanted) {
        (Some((of, tree)), _) => Ok((*of, Some(*tree))),
        (None, None) => Ok((None, None)),
        (None, Some(wanted)) => {
            let why = format!(
                "{} puts nothing into `{}`, so it has no tree of its own",
                view.name(wanted),
                group.name
            );
            Err(Refusal::new(RefusalCode::NotFound, why))
        }
    }
}

/// The relays of a tree, and those that are cut off from it.
fn spots(view: &View<'_>, tree: &Tree) -> Vec<Spot> {
    let mut at = vec![u32::MAX; view.map.relay_count()];
    for (number, place) in (0..).zip(tree.relays()) {
        at[place.index()] = number;
    }
    let root = tree.root().map(|place| Spot { place, up: None, state: EdgeState::Up, cost: None });
    let edges = tree.edges().map(|edge| Spot {
        place: edge.child,
        up: Some(at[edge.parent.index()]),
        state: EdgeState::Up,
        cost: Some(bare_cost(edge.cost)),
    });
    let cut_off = tree.cut_off().iter().map(|cut| Spot {
        place: cut.relay,
        up: cut.custodian.map(|keeps| at[keeps.index()]).filter(|up| *up != u32::MAX),
        state: EdgeState::Down,
        cost: None,
    });
    root.into_iter().chain(edges).chain(cut_off).collect()
}

/// What stands from `next` on.
fn lag(now: Now, group: &Group, next: Index) -> Lag {
    let messages = group.messages_from(next);
    if messages == 0 {
        return Lag::default();
    }
    let arrived = group.meter.arrived_at(next);
    let ms = now.wall.0.saturating_sub(arrived.0) / 1000;
    Lag { messages, bytes: group.meter.bytes_from(next), ms }
}

/// One number for the list, so that its pages are not taken from two.
fn fingerprint(view: &View<'_>, spots: &[Spot]) -> u64 {
    let mut hash = Xxh3::new();
    for spot in spots {
        hash.update(view.name(spot.place).as_str().as_bytes());
        hash.update(&spot.up.unwrap_or(u32::MAX).to_le_bytes());
        hash.update(&[u8::from(spot.state == EdgeState::Down)]);
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::body::{Answer, Reply, encode};

    #[test]
    fn the_longest_page_of_a_tree_fits_into_a_frame() {
        let name = "n".repeat(limits::NAME_BYTES_MAX);
        let lag = Lag { messages: u64::MAX, bytes: u64::MAX, ms: u64::MAX };
        let node = TreeNode {
            relay: RelayId::new(&name).unwrap(),
            up: Some(u32::MAX),
            state: EdgeState::Comparing,
            cost: Some(u32::MAX),
            member: false,
            origin: false,
            lag: Some(lag),
            unconfirmed: Some(u64::MAX),
            max_children: Some(u32::MAX),
        };
        let tree = GroupTree {
            group: GroupName::new(&name).unwrap(),
            here: node.relay.clone(),
            kind: TreeKind::Source,
            origin: Some(node.relay.clone()),
            trees: u64::MAX,
            cost: u64::MAX,
            held: lag,
            fingerprint: u64::MAX,
            relays: u32::MAX,
            nodes: vec![node; LIST_MAX as usize],
        };
        let answer: Answer = Ok(Reply::GroupTree(Box::new(tree)));
        assert!(encode(&answer).len() <= limits::CONTROL_BYTES_MAX, "{}", encode(&answer).len());
    }
}
