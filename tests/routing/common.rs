//! Maps and numbers for the tests of routing.

use std::fs;
use std::path::PathBuf;

use treecast::id::RelayId;
use treecast::routing::{Advertised, LinkState, Map, Place, Version};
use treecast::topology::Topology;

/// Numbers that look random and are the same in every run (SplitMix64, Steele et al. 2014).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        treecast::dice::next_number(&mut self.0)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// `count` different relays, in random order.
    pub(crate) fn choose(&mut self, map: &Map, count: usize) -> Vec<Place> {
        let mut places: Vec<Place> = map.places().collect();
        self.shuffle(&mut places);
        places.truncate(count);
        places
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

/// The map of a file in `topologies/`.
pub(crate) fn shipped(name: &str) -> Map {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("topologies").join(name);
    let text = fs::read_to_string(path).expect("the file can be read");
    let topology = Topology::parse(name, &text).expect("the file has no faults").topology;
    Map::of_topology(&topology, 10).expect("the network is not too large")
}

/// The maps of real networks that come with the source.
pub(crate) fn real() -> Vec<(&'static str, Map)> {
    ["abilene.toml", "geant.toml", "cloud.toml"].map(|name| (name, shipped(name))).into()
}

pub(crate) fn relay(number: usize) -> RelayId {
    RelayId::new(&format!("r{number:03}")).expect("it is a name")
}

/// What kinds of relays and links a random network has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) relays: usize,
    /// Links beside those that join everything.
    pub(crate) more_links: usize,
    pub(crate) cost_max: usize,
    /// One in this many is no transit; 0: all are.
    pub(crate) leaf_in: usize,
    /// One in this many takes few children; 0: none.
    pub(crate) capped_in: usize,
    /// One in this many links is down; 0: none.
    pub(crate) down_in: usize,
}

/// What the relays of a random network advertise.
pub(crate) fn random(kind: Kind, numbers: &mut Numbers) -> Vec<LinkState> {
    let mut states: Vec<LinkState> =
        (0..kind.relays).map(|number| LinkState::new(relay(number), Version::default())).collect();
    let one_in = |share: usize, numbers: &mut Numbers| share > 0 && numbers.below(share) == 0;
    for state in &mut states {
        state.transit = !one_in(kind.leaf_in, numbers);
        state.max_children = one_in(kind.capped_in, numbers).then(|| 1 + numbers.below(3) as u32);
    }
    for number in 1..kind.relays + kind.more_links {
        let (one, other) = if number < kind.relays {
            (number, numbers.below(number))
        } else {
            (numbers.below(kind.relays), numbers.below(kind.relays))
        };
        let cost = 1 + numbers.below(kind.cost_max) as u32;
        let is_up = !one_in(kind.down_in, numbers);
        for (from, to) in [(one, other), (other, one)] {
            states[from].links.push(Advertised { neighbour: relay(to), cost, is_up });
        }
    }
    states
}
