//! What a tree costs at the least: exactly for few relays, a lower bound for many.

use treecast::routing::{Map, Place};

const FAR: u64 = u64::MAX / 4;

/// The cost of the cheapest tree for `terminals` (Dreyfus and Wagner 1971).
/// Time and memory grow threefold and twofold with each of them.
pub(crate) fn exact(map: &Map, distance: &impl Fn(Place, Place) -> u64, terminals: &[Place]) -> u64 {
    let (&last, first) = terminals.split_last().expect("there is a relay to reach");
    let places: Vec<Place> = map.places().collect();
    let full = 1_usize << first.len();
    // For each set of `first` and each relay: the cheapest tree for both.
    let mut best = vec![vec![FAR; places.len()]; full];
    for (bit, &terminal) in first.iter().enumerate() {
        for &place in &places {
            best[1 << bit][place.index()] = distance(terminal, place);
        }
    }
    for set in 1..full {
        if set.is_power_of_two() {
            continue;
        }
        let mut joined = vec![FAR; places.len()];
        let mut part = (set - 1) & set;
        while part > 0 {
            for &place in &places {
                let sum = best[part][place.index()] + best[set ^ part][place.index()];
                joined[place.index()] = joined[place.index()].min(sum);
            }
            part = (part - 1) & set;
        }
        for &place in &places {
            let ways = places.iter().map(|&from| joined[from.index()] + distance(from, place));
            best[set][place.index()] = ways.min().expect("there are relays");
        }
    }
    if full == 1 { 0 } else { best[full - 1][last.index()] }
}

/// A lower bound on the cost of any tree for `terminals`: dual ascent (Wong 1984).
pub(crate) fn lower_bound(map: &Map, terminals: &[Place]) -> u64 {
    let mut arcs: Vec<(usize, usize, u64)> = Vec::new();
    for link in map.links() {
        if let Some(cost) = link.live {
            let [one, other] = link.between.map(Place::index);
            arcs.extend([(one, other, u64::from(cost)), (other, one, u64::from(cost))]);
        }
    }
    let root = terminals[0].index();
    let mut bound = 0;
    let mut open: Vec<usize> = terminals[1..].iter().map(|place| place.index()).collect();
    while !open.is_empty() {
        // The terminal with the fewest relays behind it, as Wong advises.
        let sets = open.iter().map(|&terminal| (terminal, behind(map, &arcs, terminal)));
        let (terminal, set) = sets
            .min_by_key(|(terminal, set)| (set.iter().filter(|&&is_in| is_in).count(), *terminal))
            .expect("a terminal is open");
        if set[root] {
            open.retain(|&other| other != terminal);
            continue;
        }
        let enters = |&(from, to, _): &(usize, usize, u64)| set[to] && !set[from];
        let least = arcs.iter().filter(|arc| enters(arc)).map(|arc| arc.2).min();
        let least = least.expect("all terminals are joined");
        bound += least;
        arcs.iter_mut().filter(|arc| enters(arc)).for_each(|arc| arc.2 -= least);
    }
    bound
}

/// All relays from which `terminal` is reached by arcs that are used up.
fn behind(map: &Map, arcs: &[(usize, usize, u64)], terminal: usize) -> Vec<bool> {
    let mut is_in = vec![false; map.relay_count()];
    is_in[terminal] = true;
    let mut open = vec![terminal];
    while let Some(at) = open.pop() {
        for &(from, to, left) in arcs {
            if to == at && left == 0 && !is_in[from] {
                is_in[from] = true;
                open.push(from);
            }
        }
    }
    is_in
}
