//! All trees of a large network: from nothing, and after one link changed.
//!
//! One core, no threads. A network is random points in a square, each linked to
//! its nearest ones, and a few long links: mean degree between 5 and 6, as in
//! networks that people build. Groups have 2 to 32 members, 9 on average, no two
//! the same. Changes go round: a link fails, comes back, gets dearer, gets cheaper
//! again. Every figure is set beside its goal; the exit code says nothing, since a
//! busy machine is not a fault of the code.
//!
//! `cargo bench --bench routing`; a number as argument is the number of changes.

#![expect(clippy::print_stdout, reason = "a bench shows its figures")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use treecast::id::{GroupNumber, RelayId};
use treecast::routing::{Advertised, GroupWant, LinkState, Map, Place, Spread, Table, Version};
use treecast::topology::settings::TreeKind;

/// A network, and what is wanted of it on one core.
struct Case {
    relays: usize,
    groups: usize,
    all_ms: f64,
    median_ms: f64,
    p99_ms: f64,
}

const CASES: [Case; 3] = [
    Case { relays: 1_000, groups: 10_000, all_ms: 200.0, median_ms: 10.0, p99_ms: 50.0 },
    Case { relays: 2_000, groups: 10_000, all_ms: 600.0, median_ms: 100.0, p99_ms: 100.0 },
    Case { relays: 300, groups: 100_000, all_ms: 300.0, median_ms: 30.0, p99_ms: 30.0 },
];

const RUNS: usize = 5;
const CHANGES: usize = 400;

/// Numbers that look random and are the same in every run (SplitMix64, Steele et al. 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        treecast::dice::next_number(&mut self.0)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn name(relay: usize) -> RelayId {
    RelayId::new(&format!("relay-{relay:04}")).expect("it is a name")
}

/// Pairs of relays with the costs of their links.
fn links(relays: usize, numbers: &mut Numbers) -> Vec<(usize, usize, u32)> {
    let points: Vec<(i64, i64)> =
        (0..relays).map(|_| (numbers.below(4_000) as i64, numbers.below(4_000) as i64)).collect();
    let far = |one: usize, other: usize| {
        let (x, y) = (points[one].0 - points[other].0, points[one].1 - points[other].1);
        ((x * x + y * y) as f64).sqrt() as u32 / 10 + 1
    };
    let mut pairs = BTreeSet::new();
    let mut add = |one: usize, other: usize| {
        pairs.insert((one.min(other), one.max(other)));
    };
    for relay in 0..relays {
        let mut others: Vec<usize> = (0..relays).filter(|&other| other != relay).collect();
        others.sort_by_key(|&other| (far(relay, other), other));
        others.iter().take(3).for_each(|&other| add(relay, other));
        // So that no part is left alone.
        if let Some(&before) = others.iter().find(|&&other| other < relay) {
            add(relay, before);
        }
    }
    (0..relays / 2).for_each(|_| {
        let (one, other) = (numbers.below(relays), numbers.below(relays));
        if one != other {
            add(one, other);
        }
    });
    pairs.into_iter().map(|(one, other)| (one, other, far(one, other))).collect()
}

fn states(relays: usize, links: &[(usize, usize, u32)]) -> Vec<LinkState> {
    let mut states: Vec<LinkState> =
        (0..relays).map(|relay| LinkState::new(name(relay), Version::default())).collect();
    for &(one, other, cost) in links {
        states[one].links.push(Advertised { neighbour: name(other), cost, is_up: true });
        states[other].links.push(Advertised { neighbour: name(one), cost, is_up: true });
    }
    states
}

/// Sorted sets of members, all different.
fn member_sets(case: &Case, numbers: &mut Numbers) -> Vec<Vec<Place>> {
    let mut sets = BTreeSet::new();
    while sets.len() < case.groups {
        let share = (numbers.below(1 << 20) + 1) as f64 / f64::from(1 << 20);
        let size = (2.0 - share.ln() * 7.4).min(32.0) as usize;
        let mut set = BTreeSet::new();
        while set.len() < size {
            set.insert(Place(numbers.below(case.relays) as u16));
        }
        sets.insert(set.into_iter().collect::<Vec<_>>());
    }
    let mut sets: Vec<_> = sets.into_iter().collect();
    for at in (1..sets.len()).rev() {
        sets.swap(at, numbers.below(at + 1));
    }
    sets
}

fn want(members: &[Place], number: usize) -> GroupWant<'_> {
    let spread = Spread::of_hash(number as u64);
    GroupWant { kind: TreeKind::Shared, spread, members, origins: &[] }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A table with all trees, and how long map, distances and trees took.
fn from_nothing(states: &[LinkState], sets: &[Vec<Place>]) -> (Table, [f64; 3]) {
    let start = Instant::now();
    let map = Map::new(states, []).expect("the network is not too large");
    let map_ms = ms(start.elapsed());
    let mut table = Table::new(map, Place(0));
    let distances_ms = ms(start.elapsed()) - map_ms;
    for (number, set) in sets.iter().enumerate() {
        table.set_group(GroupNumber(number as u32), want(set, number));
    }
    black_box(table.recompute());
    let trees_ms = ms(start.elapsed()) - map_ms - distances_ms;
    (table, [map_ms, distances_ms, trees_ms])
}

/// Says of both ends of a link what it costs, or that it is down.
fn advertise(states: &mut [LinkState], link: (usize, usize, u32), is_up: bool, cost: u32) {
    for (from, to) in [(link.0, link.1), (link.1, link.0)] {
        let neighbour = name(to);
        let end = states[from].links.iter_mut().find(|end| end.neighbour == neighbour);
        let end = end.expect("the link is there");
        (end.is_up, end.cost) = (is_up, cost);
    }
}

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn changes(
    table: &mut Table,
    states: &mut [LinkState],
    links: &[(usize, usize, u32)],
    count: usize,
) -> [Vec<f64>; 3] {
    let mut numbers = Numbers(99);
    let (mut maps, mut times, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    while times.len() < count {
        let link = links[numbers.below(links.len())];
        for (is_up, cost) in [(false, link.2), (true, link.2), (true, link.2 * 2), (true, link.2)] {
            advertise(states, link, is_up, cost);
            let start = Instant::now();
            let map = Map::new(&*states, []).expect("the network is not too large");
            maps.push(ms(start.elapsed()));
            let start = Instant::now();
            table.set_map(map);
            let groups = table.recompute();
            times.push(ms(start.elapsed()));
            moved.push(groups.len() as f64);
        }
    }
    [maps, times, moved].map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures
    })
}

fn run(case: &Case, change_count: usize) {
    let mut numbers = Numbers(case.relays as u64);
    let links = links(case.relays, &mut numbers);
    let mut states = states(case.relays, &links);
    let sets = member_sets(case, &mut numbers);
    let mean = sets.iter().map(Vec::len).sum::<usize>() as f64 / sets.len() as f64;
    let degree = 2.0 * links.len() as f64 / case.relays as f64;
    println!("{} relays, degree {degree:.2}; {} groups of {mean:.2}", case.relays, case.groups);

    let mut runs: Vec<(Table, [f64; 3])> = (0..RUNS).map(|_| from_nothing(&states, &sets)).collect();
    runs.sort_by(|one, other| one.1.iter().sum::<f64>().total_cmp(&other.1.iter().sum::<f64>()));
    let (mut table, [map, distances, trees]) = runs.swap_remove(RUNS / 2);
    drop(runs);
    let all = map + distances + trees;
    println!(
        "  from nothing {all:7.1} ms (goal {:.0}): map {map:.1}, distances {distances:.1}, trees {trees:.1}",
        case.all_ms
    );
    let [maps, times, moved] = changes(&mut table, &mut states, &links, change_count);
    println!(
        "  one link     {:7.2} ms p50 (goal {:.0}), {:.2} p99 (goal {:.0}), {:.2} most; \
         the map before it {:.2} p50; trees changed {} p50, {} p99",
        at(&times, 0.5),
        case.median_ms,
        at(&times, 0.99),
        case.p99_ms,
        at(&times, 1.0),
        at(&maps, 0.5),
        at(&moved, 0.5),
        at(&moved, 0.99),
    );
}

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(CHANGES);
    CASES.iter().for_each(|case| run(case, count));
}
