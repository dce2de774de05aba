//! What every tree must be, on any map, and that only its inputs decide it.

use std::collections::BTreeSet;

use treecast::id::GroupNumber;
use treecast::routing::{
    Advertised, GroupWant, Island, LinkState, Map, Place, Spread, Standing, Table, Tree,
};
use treecast::topology::settings::TreeKind;

use crate::common::{Kind, Numbers, random, relay};

const PLAIN: Kind = Kind { relays: 30, more_links: 30, cost_max: 9, leaf_in: 0, capped_in: 0, down_in: 0 };

fn kinds() -> [Kind; 6] {
    [
        PLAIN,
        Kind { cost_max: 1, ..PLAIN },
        Kind { leaf_in: 3, ..PLAIN },
        Kind { capped_in: 2, ..PLAIN },
        Kind { down_in: 3, ..PLAIN },
        Kind { leaf_in: 4, capped_in: 3, down_in: 4, ..PLAIN },
    ]
}

/// What a group wants, owned.
#[derive(Clone)]
struct Wanted {
    kind: TreeKind,
    members: Vec<Place>,
    origins: Vec<Place>,
    spread: Spread,
}

impl Wanted {
    fn random(map: &Map, numbers: &mut Numbers) -> Self {
        let kind = if numbers.below(3) == 0 { TreeKind::Source } else { TreeKind::Shared };
        let count = 1 + numbers.below(20);
        let members = numbers.choose(map, count);
        let count = 1 + numbers.below(2);
        let origins = numbers.choose(map, count);
        Self { kind, members, origins, spread: Spread::of_hash(numbers.next()) }
    }

    fn as_want(&self) -> GroupWant<'_> {
        GroupWant { kind: self.kind, spread: self.spread, members: &self.members, origins: &self.origins }
    }
}

fn groups(map: &Map, count: usize, numbers: &mut Numbers) -> Vec<Wanted> {
    (0..count).map(|_| Wanted::random(map, numbers)).collect()
}

fn table_of(map: &Map, wanted: &[Wanted]) -> Table {
    let mut table = Table::new(map.clone(), Place(0));
    for (number, wanted) in wanted.iter().enumerate() {
        table.set_group(GroupNumber(number as u32), wanted.as_want());
    }
    table.recompute();
    table
}

fn all_trees(table: &Table, count: usize) -> Vec<(Option<Place>, Tree)> {
    let numbers = (0..count).map(|number| GroupNumber(number as u32));
    numbers.flat_map(|number| table.trees(number)).map(|(origin, tree)| (origin, tree.clone())).collect()
}

fn check_shape(map: &Map, tree: &Tree) {
    let relays: Vec<Place> = tree.relays().collect();
    assert_eq!(relays.iter().collect::<BTreeSet<_>>().len(), relays.len(), "a relay is on the tree twice");
    assert_eq!(tree.edges().count(), relays.len().saturating_sub(1));
    for edge in tree.edges() {
        assert_eq!(map.live_cost(edge.parent, edge.child), Some(edge.cost), "{edge:?} is no live link");
        assert_eq!(tree.parent(edge.child), Some(edge.parent));
        assert!(tree.children(edge.parent).any(|child| child == edge.child));
    }
    let first = tree.root();
    assert!(relays.iter().all(|&relay| tree.distance(first.unwrap(), relay).is_some()));
    for &relay in &relays {
        let neighbours = tree.neighbours(relay).count();
        assert!(map.is_transit(relay) || neighbours <= 1, "{relay:?} is no transit and passes on");
        assert!(neighbours > 1 || tree.is_for(relay), "{relay:?} is a leaf that nobody wants");
        let cap = map.traits(relay).max_children.unwrap_or(u32::MAX) as usize;
        assert!(tree.children(relay).count() <= cap || tree.is_over_cap(), "{relay:?} has too many children");
    }
}

fn check_reach(island: &Island, wanted: &Wanted, tree: &Tree) {
    let relays: BTreeSet<Place> = wanted.members.iter().chain(&wanted.origins).copied().collect();
    for relay in relays {
        let cut_off = tree.cut_off().iter().find(|cut_off| cut_off.relay == relay);
        match island.standing(relay) {
            Standing::Inside => assert!(tree.is_for(relay) && cut_off.is_none(), "{relay:?} is left out"),
            Standing::KeptBy(custodian) => {
                assert_eq!(cut_off.expect("it is cut off").custodian, Some(custodian));
                assert!(tree.is_for(custodian));
            }
            Standing::Lost => assert_eq!(cut_off.expect("it is cut off").custodian, None),
        }
    }
}

#[test]
fn every_tree_is_a_tree_that_reaches_all_who_can_be() {
    let mut numbers = Numbers(5);
    let mut over_cap = 0;
    for kind in kinds() {
        for _ in 0..40 {
            let map = Map::new(&random(kind, &mut numbers), []).unwrap();
            let wanted = groups(&map, 20, &mut numbers);
            let table = table_of(&map, &wanted);
            for (number, wanted) in wanted.iter().enumerate() {
                for (origin, tree) in table.trees(GroupNumber(number as u32)) {
                    check_shape(&map, tree);
                    check_reach(table.island(), wanted, tree);
                    over_cap += usize::from(tree.is_over_cap());
                    let is_inside = |place| table.island().standing(place) == Standing::Inside;
                    if let Some(origin) = origin.filter(|&origin| is_inside(origin)) {
                        assert_eq!(tree.root(), Some(origin));
                    }
                }
            }
        }
    }
    println!("{over_cap} trees are over a cap");
}

/// Whether links that are up join all of these without going through `spared`.
fn are_joined_without(map: &Map, spared: Place, wanted: &BTreeSet<Place>) -> bool {
    let mut reached: BTreeSet<Place> = wanted.first().copied().into_iter().collect();
    let mut next: Vec<Place> = reached.iter().copied().collect();
    while let Some(from) = next.pop() {
        for to in map.places().filter(|&to| to != spared && map.live_cost(from, to).is_some()) {
            if reached.insert(to) {
                next.push(to);
            }
        }
    }
    wanted.is_subset(&reached)
}

#[test]
fn r8_who_is_catching_up_is_a_leaf_where_the_others_are_joined_without_it() {
    let mut numbers = Numbers(8);
    let (mut leaves, mut bridges) = (0, 0);
    for _ in 0..60 {
        let mut states = random(PLAIN, &mut numbers);
        let behind = numbers.below(states.len());
        states[behind].catching_up = true;
        let map = Map::new(&states, []).unwrap();
        let spared = map.place(&states[behind].relay).unwrap();
        let wanted = groups(&map, 20, &mut numbers);
        let table = table_of(&map, &wanted);
        for (number, wanted) in wanted.iter().enumerate() {
            let mut others: BTreeSet<Place> = wanted.members.iter().chain(&wanted.origins).copied().collect();
            let is_wanted = others.remove(&spared);
            for (origin, tree) in table.trees(GroupNumber(number as u32)) {
                let neighbours = tree.neighbours(spared).count();
                if origin == Some(spared) {
                    // Its own messages go out over whichever links are shortest.
                } else if are_joined_without(&map, spared, &others) {
                    let most = usize::from(is_wanted);
                    assert!(neighbours <= most, "{neighbours} neighbours of who is catching up");
                    leaves += 1;
                } else {
                    assert!(neighbours >= 2, "it is the only way, and is not gone");
                    bridges += 1;
                }
            }
        }
    }
    assert!(leaves > 300 && bridges > 10, "{leaves} and {bridges}: this tests too little");
}

/// Changes some links of `states`; now and then one that takes part in every path.
fn change(states: &mut [LinkState], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let from = numbers.below(states.len());
        let count = states[from].links.len().max(1);
        if let Some(link) = states[from].links.get_mut(numbers.below(count)) {
            link.is_up = numbers.below(3) > 0;
            link.cost = 1 + numbers.below(12) as u32;
        }
    }
    if numbers.below(20) == 0 {
        let at = numbers.below(states.len());
        states[at].catching_up = !states[at].catching_up;
    }
}

#[test]
fn after_any_changes_the_trees_are_those_of_a_new_table() {
    let mut numbers = Numbers(6);
    for kind in kinds() {
        for _ in 0..8 {
            let mut states = random(kind, &mut numbers);
            let map = Map::new(&states, []).unwrap();
            let mut wanted = groups(&map, 30, &mut numbers);
            let mut table = table_of(&map, &wanted);
            for _ in 0..60 {
                let before = all_trees(&table, wanted.len());
                change(&mut states, &mut numbers);
                let map = Map::new(&states, []).unwrap();
                assert!(table.set_map(map.clone()));
                let changed = table.recompute();
                let now = all_trees(&table, wanted.len());
                assert!(now == all_trees(&table_of(&map, &wanted), wanted.len()));
                assert_eq!(changed.is_empty(), before == now);
                let number = numbers.below(wanted.len());
                wanted[number] = Wanted::random(&map, &mut numbers);
                table.set_group(GroupNumber(number as u32), wanted[number].as_want());
                assert_eq!(table.recompute(), [GroupNumber(number as u32)]);
            }
        }
    }
}

#[test]
fn the_tree_of_an_origin_that_is_lost_follows_the_median_of_the_others() {
    let mut states: Vec<LinkState> =
        (0..4).map(|number| LinkState::new(relay(number), Default::default())).collect();
    for (one, other, cost) in [(0, 1, 4), (1, 2, 4), (0, 2, 8)] {
        states[one].links.push(Advertised { neighbour: relay(other), cost, is_up: true });
        states[other].links.push(Advertised { neighbour: relay(one), cost, is_up: true });
    }
    let map = Map::new(&states, []).unwrap();
    let (members, origins) = ([0, 1, 2].map(Place).to_vec(), vec![Place(3)]);
    let wanted = [Wanted { kind: TreeKind::Source, members, origins, spread: Spread::default() }];
    let mut table = table_of(&map, &wanted);
    assert_eq!(table.tree(GroupNumber(0), Place(3)).unwrap().root(), Some(Place(1)));
    // No way from the root gets shorter, yet the root is another one.
    states[0].links[1].cost = 3;
    states[2].links[1].cost = 3;
    let map = Map::new(&states, []).unwrap();
    assert!(table.set_map(map.clone()));
    assert_eq!(table.recompute(), [GroupNumber(0)]);
    assert!(all_trees(&table, 1) == all_trees(&table_of(&map, &wanted), 1));
}

#[test]
fn a_map_with_other_relays_keeps_the_groups() {
    let mut numbers = Numbers(7);
    let states = random(PLAIN, &mut numbers);
    let map = Map::new(&states, []).unwrap();
    let wanted = groups(&map, 10, &mut numbers);
    let mut table = table_of(&map, &wanted);
    // A name that sorts first: every place moves by one.
    let mut newer = states.clone();
    let mut first = LinkState::new(treecast::id::RelayId::new("a").unwrap(), newer[0].version);
    first.links.push(Advertised { neighbour: relay(0), cost: 3, is_up: true });
    newer[0].links.push(Advertised { neighbour: first.relay.clone(), cost: 3, is_up: true });
    newer.push(first);
    assert!(table.set_map(Map::new(&newer, []).unwrap()));
    assert_eq!(table.recompute().len(), wanted.len());
    for (old, new) in all_trees(&table_of(&map, &wanted), 10).iter().zip(all_trees(&table, 10)) {
        let moved = |place: Place| Place(place.0 + 1);
        assert!(old.1.relays().map(moved).eq(new.1.relays()) || old.1.cost() == new.1.cost());
    }
    assert!(!table.set_map(Map::new([], []).unwrap()), "this relay is not on that map");
}

#[test]
fn groups_of_equal_members_share_a_tree_until_the_last_has_gone() {
    let map = Map::new(&random(PLAIN, &mut Numbers(8)), []).unwrap();
    let mut table = Table::new(map, Place(0));
    let spread = Spread::default();
    let one =
        GroupWant { kind: TreeKind::Shared, spread, members: &[Place(1), Place(2)], origins: &[Place(3)] };
    let same = GroupWant { members: &[Place(3), Place(2), Place(1)], origins: &[], ..one };
    table.set_group(GroupNumber(1), one);
    table.set_group(GroupNumber(2), same);
    assert_eq!(table.recompute(), [GroupNumber(1), GroupNumber(2)]);
    assert_eq!(table.tree_count(), 1);
    table.remove_group(GroupNumber(1));
    assert!(table.tree(GroupNumber(1), Place(1)).is_none());
    assert_eq!(table.tree(GroupNumber(2), Place(1)).unwrap().cut_off(), []);
    table.remove_group(GroupNumber(2));
    assert_eq!((table.tree_count(), table.recompute()), (0, vec![]));
}

/// All that a relay knows after one random history: link states, some of them after
/// older ones, in any order with their links in any order; groups set in any order.
fn learned(history: u64, learner: Place, states: &[LinkState], wanted: &[Wanted]) -> Vec<u8> {
    let mut numbers = Numbers(history);
    let mut known: Vec<LinkState> = states.to_vec();
    known.iter_mut().for_each(|state| numbers.shuffle(&mut state.links));
    numbers.shuffle(&mut known);
    let mut held = known.clone();
    change(&mut held, &mut numbers);
    let mut table = Table::new(Map::new(&held, []).unwrap(), learner);
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    numbers.shuffle(&mut order);
    let half = numbers.below(order.len());
    for (step, &number) in order.iter().enumerate() {
        if step == half {
            table.recompute();
            assert!(table.set_map(Map::new(&known, []).unwrap()));
        }
        let mut wanted = wanted[number].clone();
        numbers.shuffle(&mut wanted.members);
        table.set_group(GroupNumber(number as u32), wanted.as_want());
    }
    table.recompute();
    format!("{:?}", all_trees(&table, wanted.len())).into_bytes()
}

#[test]
fn s41_the_same_map_learned_in_any_order_gives_the_same_trees() {
    let histories = std::env::var("TREECAST_HISTORIES").map_or(1_000, |count| count.parse().unwrap());
    let mut numbers = Numbers(9);
    let kind = Kind { relays: 50, more_links: 70, cost_max: 5, leaf_in: 6, capped_in: 6, down_in: 0 };
    let states = random(kind, &mut numbers);
    let map = Map::new(&states, []).unwrap();
    let wanted = groups(&map, 12, &mut numbers);
    // Each time another relay learns it, of those that can reach one another.
    let island = Island::of(&map, Place(0));
    let is_one = |&place: &Place| island.standing(place) == Standing::Inside && map.is_transit(place);
    let learners: Vec<Place> = map.places().filter(is_one).collect();
    assert!(learners.len() > 35, "{learners:?}");
    let expected = learned(0, learners[0], &states, &wanted);
    for history in 1..histories {
        let learner = learners[history as usize % learners.len()];
        assert!(learned(history, learner, &states, &wanted) == expected, "history {history} at {learner:?}");
    }
}

#[test]
fn equal_ways_are_spread_over_groups() {
    let map = crate::common::shipped("diamond.toml");
    let [sink, source] = ["sink", "source"].map(|name| map.place(&name.parse().unwrap()).unwrap());
    let mut ways = BTreeSet::new();
    for number in 0..4 {
        let mut table = Table::new(map.clone(), source);
        let spread = Spread::of_hash(number);
        let want = GroupWant { kind: TreeKind::Shared, spread, members: &[sink], origins: &[source] };
        table.set_group(GroupNumber(0), want);
        table.recompute();
        let tree = table.tree(GroupNumber(0), source).unwrap();
        ways.extend(tree.relays().filter(|&place| place != sink && place != source));
    }
    assert_eq!(ways.len(), 2);
}
