//! What a drawing of a network shows, whatever form it is given: relays, links, and
//! the tree of one group among them.

use serde::Serialize;

use crate::id::RelayId;
use crate::routing::{Map, MapError, Place, Tree};
use crate::survey::differences::shown;
use crate::survey::forest::{Forest, Wanted, grow};
use crate::survey::layout::Outline;
use crate::topology::settings::TreeKind;
use crate::topology::{Site, Topology};

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'q> {
    /// What people call the network.
    pub title: &'q str,
    /// The group whose tree is shown; none: no tree.
    pub group: Option<&'q str>,
    /// Its relays; none: all.
    pub members: Option<&'q [String]>,
    /// Whose tree is shown, where each origin has one; none: the first.
    pub origin: Option<&'q str>,
    /// What a link costs whose cost is measured.
    pub unmeasured: u32,
}

/// A relay on the drawing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// Where it is on earth.
    #[serde(skip)]
    pub site: Option<Site>,
    /// Whether it passes on what is not its own.
    pub transit: bool,
    /// Whether the tree is for it.
    pub is_member: bool,
    /// Whether the tree is for it and cannot reach it from where most members are.
    pub is_cut_off: bool,
    /// Whether the tree goes through it.
    pub is_on_tree: bool,
    /// Whether the tree was grown from it.
    pub is_root: bool,
    /// The number of the next relay towards the root.
    pub parent: Option<usize>,
}

/// A link on the drawing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The numbers of the relays at its ends, the lesser first.
    pub between: [usize; 2],
    /// Its cost as the file writes it.
    pub cost: String,
    /// The cost that counted.
    pub weight: u32,
    /// Whether the tree uses it.
    pub is_in_tree: bool,
}

/// The tree on the drawing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// The group.
    pub group: String,
    /// How its trees are computed.
    pub kind: TreeKind,
    /// Whose messages take this tree; none: those of all.
    pub origin: Option<String>,
    /// How many trees the group has like this one, one for each origin.
    pub trees: usize,
    /// The sum of the costs of its links.
    pub cost: u64,
    /// How many relays it is for.
    pub members: usize,
    /// How many links it has.
    pub links: usize,
}

/// What a drawing shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Picture {
    /// What people call the network.
    pub title: String,
    /// All relays, by name.
    pub relays: Vec<Mark>,
    /// All links, by the relays that they join.
    pub links: Vec<Line>,
    /// The tree, if one is shown.
    pub tree: Option<Shown>,
}

impl Picture {
    /// What is to be drawn of a network.
    ///
    /// # Errors
    /// When there are more relays than a map may have.
    pub fn new(topology: &Topology, question: Question<'_>) -> Result<Self, MapError> {
        let map = Map::of_topology(topology, question.unmeasured)?;
        let place = |name: &str| map.place(&RelayId::new(name).ok()?);
        let relays = topology.relays().iter().map(|relay| Mark {
            name: relay.name.clone(),
            site: relay.at,
            transit: relay.transit,
            is_member: false,
            is_cut_off: false,
            is_on_tree: false,
            is_root: false,
            parent: None,
        });
        let links = topology.links().iter().filter_map(|link| {
            let [one, other] = [place(&link.between[0])?, place(&link.between[1])?];
            let weight = map.live_cost(one, other)?;
            let between = [one.index(), other.index()];
            Some(Line { between, cost: shown(link.cost), weight, is_in_tree: false })
        });
        let title = question.title.to_owned();
        let mut picture = Self { title, relays: relays.collect(), links: links.collect(), tree: None };
        if let Some(group) = question.group {
            let mut wanted = Wanted::new(topology, &map, group, question.members);
            if wanted.kind == TreeKind::Source
                && let Some(origin) = question.origin.and_then(place)
            {
                wanted.relays.push(origin);
                wanted.relays.sort_unstable();
                wanted.relays.dedup();
                wanted.origins = vec![origin];
            }
            let forest = grow(&map, std::slice::from_ref(&wanted)).pop().unwrap_or_default();
            picture.show(&map, &wanted, &forest);
        }
        Ok(picture)
    }

    /// The network as something to be laid out.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline {
            sites: self.relays.iter().map(|relay| relay.site).collect(),
            links: self.links.iter().map(|line| (line.between, line.weight)).collect(),
        }
    }

    /// Marks the tree of a group: the shared one of every island, or that of the
    /// first origin.
    fn show(&mut self, map: &Map, wanted: &Wanted, forest: &Forest) {
        for place in &wanted.relays {
            self.relays[place.index()].is_member = true;
        }
        for cut in &forest.cut_off {
            self.relays[cut.relay.index()].is_cut_off = true;
        }
        let count = if wanted.kind == TreeKind::Source { 1 } else { forest.trees.len() };
        let (mut cost, mut links) = (0, 0);
        for grown in forest.trees.iter().take(count) {
            cost += grown.tree.cost();
            links += grown.tree.edges().count();
            self.mark(&grown.tree);
        }
        let origin = forest.trees.first().and_then(|grown| grown.origin);
        let name = |place: Place| map.relay(place).as_str().to_owned();
        self.tree = Some(Shown {
            group: wanted.name.clone(),
            kind: wanted.kind,
            origin: origin.map(name),
            trees: wanted.origins.len().max(1),
            cost,
            members: wanted.relays.len(),
            links,
        });
    }

    fn mark(&mut self, tree: &Tree) {
        for place in tree.relays() {
            let relay = &mut self.relays[place.index()];
            relay.is_on_tree = true;
            relay.is_root = tree.root() == Some(place);
            relay.parent = tree.parent(place).map(Place::index);
        }
        for edge in tree.edges() {
            let (one, other) = (edge.parent.min(edge.child), edge.parent.max(edge.child));
            let between = [one.index(), other.index()];
            if let Ok(at) = self.links.binary_search_by(|line| line.between.cmp(&between)) {
                self.links[at].is_in_tree = true;
            }
        }
    }

    /// The lines under the title: what is drawn, in words.
    #[must_use]
    pub fn caption(&self) -> Vec<String> {
        let plural =
            |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let network = format!("{}, {}", plural(self.relays.len(), "relay"), plural(self.links.len(), "link"));
        let Some(tree) = &self.tree else { return vec![network] };
        let kind = match (&tree.origin, tree.kind) {
            (Some(origin), _) if tree.trees > 1 => {
                format!("tree of what is put at {origin} (one of {} trees)", tree.trees)
            }
            (Some(origin), _) => format!("tree of what is put at {origin}"),
            (None, _) => "shared tree".to_owned(),
        };
        let cut_off = self.relays.iter().filter(|relay| relay.is_cut_off).count();
        let cut_off = if cut_off > 0 { format!(", {cut_off} of them cut off") } else { String::new() };
        let group = format!(
            "group {}: {kind}, cost {}, {} for {}{cut_off}",
            tree.group,
            tree.cost,
            plural(tree.links, "link"),
            plural(tree.members, "member"),
        );
        vec![network, group]
    }
}
