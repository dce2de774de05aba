//! After changes of links a table has the trees of a new one, whatever of the old trees it kept.
//!
//! `TREECAST_CHANGES` is the number of changes on each kind of network: 200 unless set.

use treecast::id::GroupNumber;
use treecast::routing::{
    Advertised, Distances, GroupWant, LinkState, Map, Place, Spread, Table, Tree, Version,
};
use treecast::topology::COST_MAX;
use treecast::topology::settings::TreeKind;

use crate::common::{Kind, Numbers, random, relay};

const PLAIN: Kind = Kind { relays: 40, more_links: 50, cost_max: 60, leaf_in: 0, capped_in: 0, down_in: 0 };

/// Networks with few and with many ways of one length, of which some relays are leaves or take few
/// children, some links are down, or relays share their rows in the table.
const KINDS: [(Kind, usize); 7] = [
    (PLAIN, 1),
    (Kind { cost_max: 3, ..PLAIN }, 1),
    (Kind { more_links: 8, cost_max: 400, ..PLAIN }, 1),
    (Kind { leaf_in: 5, cost_max: 9, ..PLAIN }, 1),
    (Kind { capped_in: 3, cost_max: 9, ..PLAIN }, 1),
    (Kind { down_in: 4, leaf_in: 8, ..PLAIN }, 1),
    (Kind { relays: 700, more_links: 900, ..PLAIN }, 40),
];

type Groups = Vec<(TreeKind, Spread, Vec<Place>, Vec<Place>)>;

fn groups(map: &Map, numbers: &mut Numbers) -> Groups {
    let mut groups = Groups::new();
    for number in 0..40 {
        // Some are for the same relays as an earlier one, and share its trees.
        if number > 0 && numbers.below(5) == 0 {
            groups.push(groups[numbers.below(number)].clone());
            continue;
        }
        let kind = if numbers.below(4) == 0 { TreeKind::Source } else { TreeKind::Shared };
        let count = 2 + numbers.below(24);
        let members = numbers.choose(map, count);
        let count = numbers.below(3);
        groups.push((kind, Spread::of_hash(number as u64), members, numbers.choose(map, count)));
    }
    groups
}

fn table_of(map: &Map, groups: &Groups) -> Table {
    let mut table = Table::new(map.clone(), Place(0));
    for (number, (kind, spread, members, origins)) in groups.iter().enumerate() {
        let want = GroupWant { kind: *kind, spread: *spread, members, origins };
        table.set_group(GroupNumber(number as u32), want);
    }
    table.recompute();
    table
}

fn trees_of(table: &Table, group: usize) -> Vec<(Option<Place>, Tree)> {
    let trees = table.trees(GroupNumber(group as u32));
    trees.map(|(origin, tree)| (origin, tree.clone())).collect()
}

/// Another cost or state for one link, at both of its ends: down, up, dearer, cheaper, or just what
/// the shortest way costs that does without it.
fn change_one(states: &mut [LinkState], map: &Map, numbers: &mut Numbers) {
    let from = loop {
        let from = numbers.below(states.len());
        if !states[from].links.is_empty() {
            break from;
        }
    };
    let chosen = numbers.below(states[from].links.len());
    let link = states[from].links[chosen].clone();
    let to = states.iter().position(|state| state.relay == link.neighbour).unwrap();
    let (one, other) = (map.place(&states[from].relay).unwrap(), map.place(&states[to].relay).unwrap());
    let (is_up, cost) = match numbers.below(6) {
        0 => (false, link.cost),
        1 => (true, link.cost),
        2 => (true, link.cost + 1 + numbers.below(link.cost as usize + 1) as u32),
        3 => (true, link.cost - numbers.below(link.cost as usize) as u32),
        4 => (true, 1),
        _ => {
            let mut without = states.to_vec();
            set_link(&mut without, from, to, false, link.cost);
            let map = Map::new(&without, []).unwrap();
            (true, Distances::new(&map).between(one, other).unwrap_or(link.cost))
        }
    };
    set_link(states, from, to, is_up, cost.max(1));
}

fn set_link(states: &mut [LinkState], one: usize, other: usize, is_up: bool, cost: u32) {
    for (from, to) in [(one, other), (other, one)] {
        let name = states[to].relay.clone();
        for link in states[from].links.iter_mut().filter(|link| link.neighbour == name) {
            (link.is_up, link.cost) = (is_up, cost);
        }
    }
}

#[test]
fn trees_after_changes_of_links_are_those_of_a_new_table() {
    let changes = std::env::var("TREECAST_CHANGES").map_or(200, |count| count.parse().unwrap());
    let mut numbers = Numbers(41);
    let (mut moved, mut stayed) = (0, 0);
    for (kind, share) in KINDS {
        let mut table = None;
        let (mut states, mut wanted) = (Vec::new(), Vec::new());
        for step in 0..changes / share {
            if step % 50 == 0 {
                states = random(kind, &mut numbers);
                let map = Map::new(&states, []).unwrap();
                wanted = groups(&map, &mut numbers);
                table = Some(table_of(&map, &wanted));
            }
            let table = table.as_mut().unwrap();
            let before: Vec<_> = (0..wanted.len()).map(|group| trees_of(table, group)).collect();
            // Now and then several changes in one map, or several maps before trees are computed.
            let maps = 1 + usize::from(numbers.below(6) == 0);
            for _ in 0..maps {
                for _ in 0..1 + numbers.below(8) / 7 * 3 {
                    change_one(&mut states, table.map(), &mut numbers);
                }
                assert!(table.set_map(Map::new(&states, []).unwrap()));
            }
            let named = table.recompute();
            let new = table_of(table.map(), &wanted);
            for (group, before) in before.iter().enumerate() {
                let now = trees_of(table, group);
                assert!(now == trees_of(&new, group), "step {step} on {kind:?}: group {group}");
                let is_named = named.contains(&GroupNumber(group as u32));
                assert_eq!(is_named, now != *before, "step {step} on {kind:?}: group {group}");
                *(if is_named { &mut moved } else { &mut stayed }) += 1;
            }
        }
    }
    assert!(moved > changes * 10 && stayed > changes * 10, "{moved} and {stayed}: this tests too little");
}

/// Links that are up, by the numbers of their ends, and what they cost.
fn joined(links: &[(usize, usize, u32)]) -> Vec<LinkState> {
    let count = links.iter().map(|link| link.0.max(link.1)).max().unwrap() + 1;
    let mut states: Vec<LinkState> =
        (0..count).map(|number| LinkState::new(relay(number), Version::default())).collect();
    for &(one, other, cost) in links {
        for (from, to) in [(one, other), (other, one)] {
            states[from].links.push(Advertised { neighbour: relay(to), cost, is_up: true });
        }
    }
    states
}

#[test]
fn a_link_that_a_choice_used_and_the_tree_has_not_moves_the_tree_when_it_fails() {
    // From the root (0) a chain of short steps leads to 10, one long step leads to 11. So 12 is joined
    // to 11, over 11-10-12, but hangs below 10, which is on the tree: the link 11-10 is not. Without
    // that link the best way to 12 is the one from 13.
    let chain = (0..10).map(|at| (at, at + 1, 3));
    let rest = [(0, 11, 10), (11, 10, 4), (10, 12, 3), (0, 13, 1), (13, 12, 10)];
    // So many that the tree begins at 0.
    let near = (14..34).map(|at| (0, at, 1));
    let mut states = joined(&chain.chain(rest).chain(near).collect::<Vec<_>>());
    let map = Map::new(&states, []).unwrap();
    let members: Vec<Place> = map.places().collect();
    let groups = vec![(TreeKind::Shared, Spread::default(), members, Vec::new())];
    let mut table = table_of(&map, &groups);
    let tree = table.tree(GroupNumber(0), Place(0)).unwrap();
    let above = |tree: &Tree| [10, 11, 12].map(|at| tree.parent(Place(at)).unwrap());
    assert_eq!((tree.root(), above(tree)), (Some(Place(0)), [Place(9), Place(0), Place(10)]));

    set_link(&mut states, 11, 10, false, 4);
    assert!(table.set_map(Map::new(&states, []).unwrap()));
    assert_eq!(table.recompute(), [GroupNumber(0)]);
    let tree = table.tree(GroupNumber(0), Place(0)).unwrap();
    assert_eq!(above(tree), [Place(9), Place(0), Place(13)]);
    assert!(trees_of(&table, 0) == trees_of(&table_of(table.map(), &groups), 0));
}

#[test]
fn trees_whose_keys_are_beyond_32_bits_move_with_their_links() {
    // A chain as dear as one can be, with a way round one of its links.
    let last = 1_200;
    let dear = COST_MAX;
    let chain = (0..last).map(|at| (at, at + 1, dear));
    let mut states = joined(&chain.chain([(600, last + 1, dear), (last + 1, 601, dear)]).collect::<Vec<_>>());
    let map = Map::new(&states, []).unwrap();
    let place = |number: usize| map.place(&relay(number)).unwrap();
    let groups: Groups = [vec![0, last], vec![0, 3, last], vec![0, 590, 610, last], vec![last + 1, 0, last]]
        .into_iter()
        .map(|members| {
            let members = members.into_iter().map(place).collect();
            (TreeKind::Shared, Spread::default(), members, Vec::new())
        })
        .collect();
    let mut table = table_of(&map, &groups);
    for (is_up, cost) in
        [(false, dear), (true, dear), (true, 1), (true, dear), (true, dear / 2), (true, dear)]
    {
        set_link(&mut states, 600, 601, is_up, cost);
        let before: Vec<_> = (0..groups.len()).map(|group| trees_of(&table, group)).collect();
        assert!(table.set_map(Map::new(&states, []).unwrap()));
        let named = table.recompute();
        let new = table_of(table.map(), &groups);
        for (group, before) in before.iter().enumerate() {
            let now = trees_of(&table, group);
            assert!(now == trees_of(&new, group), "{is_up}, {cost}: group {group}");
            assert_eq!(named.contains(&GroupNumber(group as u32)), now != *before);
        }
    }
}
