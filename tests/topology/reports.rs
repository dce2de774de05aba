//! Reports, and the bounds that they hold trees against.

use treecast::routing::{Distances, Map, Place};
use treecast::survey::bound;
use treecast::survey::report::{Question, Report, report};
use treecast::topology::Topology;

use crate::{names, network, shipped};

fn reported(topology: &Topology, groups: &[&str], sets: usize, seed: u64) -> Report {
    let map = Map::of_topology(topology, 10).unwrap();
    report(topology, &map, Question { groups: &names(groups), members: None, sets, seed })
}

#[test]
fn trees_of_real_networks_are_near_the_least_and_carry_one_copy() {
    for name in ["abilene.toml", "geant.toml", "cloud.toml"] {
        let report = reported(&shipped(name), &["news"], 12, 1);
        assert!(report.lines.len() >= 4, "{name}");
        for line in &report.lines {
            let what = format!("{name}: {line:?}");
            assert_eq!(line.copies, 1, "{what}");
            assert!(line.cost_ratio.mean >= 1.0 && line.cost_ratio.mean < 1.06, "{what}");
            assert!(line.stretch.mean >= 1.0 && line.stretch.mean < 1.3, "{what}");
            assert!((line.stretch_source.max - 1.0).abs() < 1e-9, "{what}");
            assert!(
                line.crossings.mean <= line.crossings_direct.mean && line.copies_direct.mean > 1.0,
                "{what}"
            );
            assert_eq!(line.is_exact, line.relays <= 8, "{what}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let abilene = shipped("abilene.toml");
    assert_eq!(reported(&abilene, &["news"], 5, 7), reported(&abilene, &["news"], 5, 7));
    assert_ne!(reported(&abilene, &["news"], 5, 7), reported(&abilene, &["news"], 5, 8));
}

#[test]
fn figures_of_a_small_ring_are_those_of_paper() {
    // The tree is the ring without one link: 3 of 4. Ways along it are 1, or 3 instead
    // of 1 between the ends of that link: of 12 ways two.
    let report = reported(&network("ab:1 bc:1 cd:1 da:1", ""), &["g"], 0, 1);
    let [line] = report.lines.as_slice() else { panic!("{report:?}") };
    assert_eq!((line.cost.mean, line.cost_ratio.mean, line.is_exact), (3.0, 1.0, true));
    assert!((line.stretch.mean - (10.0 + 2.0 * 3.0) / 12.0).abs() < 1e-9, "{line:?}");
    assert_eq!((line.crossings.mean, line.crossings_direct.mean), (3.0, 4.0));
    assert_eq!((line.copies, line.copies_direct.max), (1, 2.0));
}

#[test]
fn a_network_without_links_has_no_lines() {
    assert!(reported(&shipped("one.toml"), &["jobs"], 9, 1).lines.is_empty());
}

#[test]
fn the_lower_bound_is_never_above_the_exact_cost() {
    for name in ["abilene.toml", "geant.toml", "cloud.toml"] {
        let map = Map::of_topology(&shipped(name), 10).unwrap();
        let distances = Distances::new(&map);
        let places: Vec<Place> = map.places().collect();
        let mut is_equal = 0;
        for start in 0..places.len() {
            let terminals: Vec<Place> =
                (0..6).map(|step| places[(start + step * 5) % places.len()]).collect();
            let mut terminals = terminals;
            terminals.sort_unstable();
            terminals.dedup();
            let (least, exact) =
                (bound::lower_bound(&map, &terminals), bound::exact(&map, &distances, &terminals));
            assert!(least <= exact && least * 4 >= exact * 3, "{name}: {least} for {exact}");
            is_equal += usize::from(least == exact);
        }
        assert!(is_equal * 2 > places.len(), "{name}: the bound is reached {is_equal} times");
    }
}

#[test]
fn sets_of_two_and_of_one_relay_have_the_cost_of_a_path_and_none() {
    let map = Map::of_topology(&network("ab:2 bc:3 ac:9", ""), 1).unwrap();
    let distances = Distances::new(&map);
    let pair = [Place(0), Place(2)];
    assert_eq!((bound::exact(&map, &distances, &pair), bound::lower_bound(&map, &pair)), (5, 5));
    assert_eq!((bound::exact(&map, &distances, &pair[..1]), bound::lower_bound(&map, &[])), (0, 0));
}
