//! How good the trees are on real maps.

use treecast::id::GroupNumber;
use treecast::routing::{GroupWant, Map, Place, Spread, Table, Tree};
use treecast::survey::bound;
use treecast::topology::settings::TreeKind;

use crate::common::{Numbers, real};

/// Up to this many relays the cheapest tree is found exactly.
const EXACT_MAX: usize = 8;

/// Figures over many trees.
#[derive(Default)]
struct Figures(Vec<f64>);

impl Figures {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn at(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

fn grown(table: &mut Table, kind: TreeKind, members: &[Place], origin: Place, number: u32) -> Tree {
    let spread = Spread::of_hash(u64::from(number));
    let want = GroupWant { kind, spread, members, origins: &[origin] };
    table.set_group(GroupNumber(0), want);
    table.recompute();
    table.tree(GroupNumber(0), origin).expect("the group has a tree").clone()
}

/// How much longer ways along the tree are than the shortest ones, from each of `origins`.
fn stretch(table: &Table, tree: &Tree, origins: &[Place], members: &[Place], figures: &mut Figures) {
    for &from in origins {
        for &to in members.iter().filter(|&&to| to != from) {
            let direct = table.distances().between(from, to).expect("all are joined");
            let along = tree.distance(from, to).expect("all are on the tree");
            figures.0.push(along as f64 / f64::from(direct));
        }
    }
}

fn sizes(map: &Map) -> Vec<usize> {
    let half = map.relay_count() / 2;
    let mut sizes: Vec<usize> = [4, 8, 16].into_iter().filter(|&size| size <= map.relay_count()).collect();
    sizes.push(half);
    sizes
}

fn cost_at_least(table: &Table, members: &[Place]) -> u64 {
    if members.len() <= EXACT_MAX {
        bound::exact(table.map(), table.distances(), members)
    } else {
        bound::lower_bound(table.map(), members)
    }
}

#[test]
fn trees_are_near_the_cheapest_and_near_the_shortest() {
    for (name, map) in real() {
        let mut numbers = Numbers(1);
        let (mut cost, mut shared, mut source) = (Figures::default(), Figures::default(), Figures::default());
        let mut table = Table::new(map.clone(), Place(0));
        for size in sizes(&map) {
            for number in 0..60 {
                let members = numbers.choose(&map, size);
                let tree = grown(&mut table, TreeKind::Shared, &members, members[0], number);
                cost.0.push(tree.cost() as f64 / cost_at_least(&table, &members) as f64);
                stretch(&table, &tree, &members, &members, &mut shared);
                let tree = grown(&mut table, TreeKind::Source, &members, members[0], number);
                stretch(&table, &tree, &members[..1], &members, &mut source);
            }
        }
        let figures = format!(
            "{name}: cost mean {:.4}, p95 {:.4}; stretch shared {:.4}, source {:.4}",
            cost.mean(),
            cost.at(0.95),
            shared.mean(),
            source.mean()
        );
        println!("{figures}");
        assert!(cost.mean() <= 1.03 && cost.at(0.95) <= 1.10, "{figures}");
        assert!(shared.mean() <= 1.20, "{figures}");
        assert!((source.mean() - 1.0).abs() < 1e-9, "{figures}");
    }
}
