//! A network in three parts that put each for itself, and are joined again (S7).

use std::collections::{BTreeMap, BTreeSet};

use super::super::world::World;
use crate::log::Entry;
use crate::relay::Rate;
use crate::wire::run::RunKind;

/// Groups with something new in every part.
const GROUPS: usize = 10_000;

/// Three parts, of which the first has two relays: the link inside it, and those between the parts.
const LINKS: [(usize, usize, u32); 4] = [(0, 3, 1), (0, 1, 1), (1, 2, 1), (2, 0, 1)];

/// Who puts into all groups, one in every part; all have subscriptions of them.
const ORIGINS: [usize; 3] = [0, 1, 2];

const RELAYS: usize = 4;

/// What a link carries: a catch-up takes some seconds.
const RATE: Rate = Rate { bytes_per_second: 1_000_000, burst_bytes: 64 * 1024 };

/// Milliseconds between two live messages at each origin.
const LIVE_MS: u64 = 20;

/// How long a live message takes at the most, but one in a hundred: it waits for a turn of what is missing
/// in its own group, and for no other group. At first also for what relays say to compare all groups.
const FIRST_P99_MS_MAX: u64 = 2_500;
const P99_MS_MAX: u64 = 1_000;

fn name(group: usize) -> String {
    format!("g{group:05}")
}

/// Messages on disks, without the live ones.
#[derive(Default)]
struct Count {
    looked: [usize; RELAYS],
    found: [usize; RELAYS],
}

impl Count {
    /// Whether all relays have so many.
    fn have(&mut self, world: &World, messages: usize) -> bool {
        for node in 0..RELAYS {
            let (log, durable) = world.nodes[node].log();
            let is_message = |entry: &&Entry| match entry {
                Entry::Run(run) if run.run.header.kind == RunKind::Data => {
                    world.nodes[node].group_name(run.group).is_some_and(|name| name.as_str() != "live")
                }
                Entry::Run(_) | Entry::State(_) => false,
            };
            self.found[node] += log[self.looked[node]..durable].iter().filter(is_message).count();
            self.looked[node] = durable;
        }
        self.found.iter().all(|found| *found >= messages)
    }
}

/// What every group has on the disk of a relay, in order.
fn by_group(world: &World, node: usize) -> BTreeMap<String, Vec<String>> {
    let (log, durable) = world.nodes[node].log();
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in &log[..durable] {
        let Entry::Run(run) = entry else { continue };
        if run.run.header.kind == RunKind::Data {
            let name = world.nodes[node].group_name(run.group).expect("it has a name").to_string();
            let records = crate::wire::run::Records::new(&run.run.body).map_while(Result::ok);
            let texts = records.map(|record| String::from_utf8_lossy(record.payload).into_owned());
            groups.entry(name).or_default().extend(texts);
        }
    }
    groups
}

/// Live messages: when each was put, and where, and how long it took to each member.
#[derive(Default)]
struct Live {
    put: BTreeMap<String, (u64, usize)>,
    taken: BTreeMap<(usize, String), u64>,
    handles: Vec<(usize, u32)>,
}

impl Live {
    fn begin(world: &mut World) -> Self {
        let handles = (0..RELAYS).map(|node| (node, world.attach(node, "live", "s"))).collect();
        Self { handles, ..Self::default() }
    }

    /// A millisecond passes; every origin puts now and then.
    fn pass_ms(&mut self, world: &mut World, ms: u64) {
        for node in 0..RELAYS {
            if ms % LIVE_MS == 5 * node as u64 {
                let before = world.oracle.puts();
                world.put(node, "live", 1);
                let payload = world.oracle.payloads_since(before).remove(0);
                self.put.insert(payload, (ms, node));
            }
        }
        world.pass_with_traffic();
        for (node, handle) in &self.handles {
            let got = std::mem::take(&mut world.nodes[*node].got);
            let Some(last) = got.iter().map(|got| got.index).max() else { continue };
            for got in got {
                let (put, _) = self.put[&got.payload];
                assert!(self.taken.insert((*node, got.payload), ms - put).is_none(), "it came twice");
            }
            world.ack(*node, *handle, (0, last + 1));
        }
    }

    fn pass(&mut self, world: &mut World, ms: &mut u64, more: u64) {
        for _ in 0..more {
            self.pass_ms(world, *ms);
            *ms += 1;
        }
    }

    /// How long messages that were put between two moments took to the relays that joined the parts: the
    /// slowest but one in a hundred. What has not come is slower than all. For the relay behind one of them
    /// what that one catches up with is live, all of it, so there is no bound for it but the link.
    fn p99(&self, from: u64, until: u64) -> u64 {
        let put = self.put.iter().filter(|(_, (ms, _))| (from..until).contains(ms));
        let took = |(payload, node): (&String, usize)| {
            self.taken.get(&(node, payload.clone())).copied().unwrap_or(u64::MAX)
        };
        let mut all: Vec<u64> =
            put.flat_map(|(payload, _)| ORIGINS.map(|node| (payload, node))).map(took).collect();
        all.sort_unstable();
        all[all.len() * 99 / 100]
    }
}

#[test]
#[ignore = "half a minute"]
fn s07_three_parts_with_ten_thousand_groups_agree_after_a_heal_in_either_order_and_live_goes_on() {
    let mut world = World::with_rates(1, RELAYS, &LINKS, &|_| Some(RATE));
    for group in (0..GROUPS).map(name).chain(["live".to_owned()]) {
        (0..RELAYS).for_each(|node| world.subscribe_unheard(node, &group, "s"));
    }
    world.settle();
    let (mut live, mut count) = (Live::begin(&mut world), Count::default());
    let (mut ms, mut put) = (0, 0);
    for (round, order) in [[1, 2, 3], [3, 2, 1]].into_iter().enumerate() {
        order.into_iter().for_each(|wire| world.set_link(wire, false));
        live.pass(&mut world, &mut ms, 500);
        for group in 0..GROUPS {
            for node in ORIGINS {
                world.put(node, &name(group), 1);
                put += 1;
            }
            if group % 20 == 0 {
                live.pass(&mut world, &mut ms, 1);
            }
        }
        live.pass(&mut world, &mut ms, 2_000);
        assert!(!count.have(&world, put - 2 * GROUPS + 1), "they are not apart");
        let healed = ms;
        for (wire, pause) in order.into_iter().zip([1_000, 3_000, 0]) {
            // The second comes up while the first is busy, the third when all hangs together.
            world.set_link(wire, true);
            live.pass(&mut world, &mut ms, pause);
        }
        while !count.have(&world, put) {
            live.pass(&mut world, &mut ms, 50);
            assert!(ms < healed + 120_000, "it never ends");
        }
        let caught_up = ms - healed;
        assert!(caught_up > 3_000, "it was no catch-up: {caught_up} ms");
        // The last ones are on their way; at first not all parts hang together.
        let until = ms - FIRST_P99_MS_MAX.min(caught_up / 3);
        let [all, later] = [0, 1_500].map(|after| live.p99(healed + after, until));
        // The other way round one part is behind another that catches up: what passes is live there.
        assert!(
            round == 1 || (all <= FIRST_P99_MS_MAX && later <= P99_MS_MAX),
            "live messages waited: p99 {all} ms, later {later} ms, in {caught_up} ms"
        );
    }
    world.settle();
    let all: Vec<_> = (0..RELAYS).map(|node| by_group(&world, node)).collect();
    assert_eq!(all[0].len(), GROUPS + 1);
    for (group, has) in all.iter().flatten() {
        let number: usize = group.trim_start_matches('g').parse().unwrap_or(0);
        let sorted: BTreeSet<&String> = has.iter().collect();
        assert_eq!(sorted, all[0][group].iter().collect(), "{group}");
        if number.is_multiple_of(100) {
            world.oracle.check(group, has).unwrap();
        }
    }
    // What every relay has is what every subscription gets.
    for group in (0..GROUPS).step_by(100).map(name) {
        for (node, all) in all.iter().enumerate() {
            assert_eq!(world.drain(node, &group, "s"), all[&group]);
        }
    }
    world.watched().unwrap();
}
