//! Measures large networks in the simulation: what goes over links when nothing happens, and how
//! long messages stay away when many relays die at once.
//!
//! ```text
//! cargo run --release --features sim --example treecast-numbers -- idle [RELAYS] [SECONDS]
//! cargo run --release --features sim --example treecast-numbers -- deaths [RELAYS] [PERCENT] [SEED]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

use treecast::dice::Dice;
use treecast::sim::world::World;
use treecast::wire::frame::FRAME_HEADER_BYTES;

/// Pings and their answers in a second, by one end of a link: one of each every 100 ms.
const PINGS_PER_SECOND: u64 = 20;

type Links = Vec<(usize, usize, u32)>;

/// A connected network in which relays have `degree` links on average.
fn links(dice: &mut Dice, relays: usize, degree: f64) -> Links {
    let mut links: Links = Vec::new();
    let mut there = BTreeSet::new();
    for place in 1..relays {
        let other = dice.below(place as u64) as usize;
        there.insert((other, place));
        links.push((other, place, 1 + dice.below(9) as u32));
    }
    while (links.len() as f64) < relays as f64 * degree / 2.0 {
        let (a, b) = (dice.below(relays as u64) as usize, dice.below(relays as u64) as usize);
        if a < b && there.insert((a, b)) {
            links.push((a, b, 1 + dice.below(9) as u32));
        }
    }
    links
}

/// Frame bytes per second, link and direction, in a network that has had traffic and is idle.
fn idle(relays: usize, seconds: u64) -> std::io::Result<()> {
    let mut dice = Dice::new(1);
    let links = links(&mut dice, relays, 5.5);
    let mut world = World::new(1, relays, &links);
    for group in 0..20 {
        let name = format!("g{group}");
        for _ in 0..2 + dice.below(30) {
            let member = dice.below(relays as u64) as usize;
            world.subscribe_unheard(member, &name, &format!("s{member}"));
        }
    }
    world.settle();
    for group in 0..20 {
        world.put(dice.below(relays as u64) as usize, &format!("g{group}"), 3);
    }
    world.settle();
    world.rest();
    world.count_frames();
    for _ in 0..seconds * 20 {
        world.wait_ms(50);
        world.settle();
    }
    let pings = PINGS_PER_SECOND * FRAME_HEADER_BYTES as u64;
    let mut rates: Vec<u64> = world.frame_bytes().iter().flatten().map(|bytes| bytes / seconds).collect();
    rates.sort_unstable();
    let (sum, most) = (rates.iter().sum::<u64>(), rates.last().copied().unwrap_or_default());
    let mean = sum as f64 / rates.len() as f64;
    writeln!(
        std::io::stdout(),
        "{relays} relays, {} links, {seconds} s idle: {mean:.1} bytes/s per link and direction on average, \
         {most} at most, and {pings} of pings and their answers",
        links.len()
    )
}

/// Which relays are joined, by the least place among them.
fn islands(relays: usize, links: &Links, dead: &BTreeSet<usize>) -> Vec<usize> {
    let mut least: Vec<usize> = (0..relays).collect();
    loop {
        let before = least.clone();
        for (a, b, _) in links.iter().filter(|(a, b, _)| !dead.contains(a) && !dead.contains(b)) {
            let both = least[*a].min(least[*b]);
            (least[*a], least[*b]) = (both, both);
        }
        if least == before {
            return least;
        }
    }
}

/// Some relays die in one moment, while others put: when has everybody everything who is joined?
fn deaths(relays: usize, percent: usize, seed: u64) -> std::io::Result<()> {
    let mut dice = Dice::new(seed);
    let links = links(&mut dice, relays, 5.5);
    let mut world = World::new(seed, relays, &links);
    let mut pick = |count: usize| -> BTreeSet<usize> {
        let mut picked = BTreeSet::new();
        while picked.len() < count {
            picked.insert(dice.below(relays as u64) as usize);
        }
        picked
    };
    let (members, origins, dead) = (pick(relays / 10), pick(5), pick(relays * percent / 100));
    members.iter().for_each(|member| world.subscribe_unheard(*member, "g", "s"));
    world.settle();
    origins.iter().for_each(|origin| world.put(*origin, "g", 1));
    world.settle();
    world.rest();
    let living: Vec<usize> = members.difference(&dead).copied().collect();
    for member in &living {
        world.attach(*member, "g", "s");
        world.nodes[*member].got.clear();
    }
    let island = islands(relays, &links, &dead);
    let mut put: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let (mut missing, mut worst, mut last) = (BTreeSet::<(String, usize)>::new(), 0, 0);
    for ms in 0..6_000_u64 {
        if ms == 1_000 {
            dead.iter().for_each(|relay| world.crash(*relay));
        }
        // From a second before to two seconds after, each origin that lives puts every 10 ms.
        if ms < 3_000 && ms % 10 == 0 {
            for origin in origins.difference(&dead) {
                let before = world.oracle.puts();
                world.put(*origin, "g", 1);
                for payload in world.oracle.payloads_since(before) {
                    let owed = living.iter().filter(|member| island[**member] == island[*origin]);
                    missing.extend(owed.map(|member| (payload.clone(), *member)));
                    put.insert(payload, (*origin, ms));
                }
            }
        }
        world.pass_with_traffic();
        for member in &living {
            for got in std::mem::take(&mut world.nodes[*member].got) {
                if missing.remove(&(got.payload.clone(), *member)) {
                    let late = ms - put[&got.payload].1;
                    if put[&got.payload].1 <= 1_000 || late > 100 {
                        last = last.max(ms.saturating_sub(1_000));
                    }
                    worst = worst.max(late);
                }
            }
        }
    }
    let joined = living.iter().filter(|member| island[**member] == island[living[0]]).count();
    writeln!(
        std::io::stdout(),
        "{} of {relays} relays die at once: {} messages for {} members that live ({joined} of them joined), \
         {} deliveries missing; the slowest took {worst} ms, and the last one that was late came {last} ms \
         after the deaths",
        dead.len(),
        put.len(),
        living.len(),
        missing.len()
    )
}

fn main() -> std::io::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |place: usize, default: u64| words.get(place).map_or(Some(default), |word| word.parse::<u64>().ok());
    match (words.first().map(String::as_str), number(1, 0), number(2, 0), number(3, 1)) {
        (Some("idle"), Some(relays), Some(seconds), _) => {
            let or = |value: u64, default: u64| if value == 0 { default } else { value };
            idle(or(relays, 1_000) as usize, or(seconds, 60))?;
        }
        (Some("deaths"), Some(relays), Some(percent), Some(seed)) => {
            let or = |value: u64, default: u64| if value == 0 { default } else { value };
            deaths(or(relays, 500) as usize, or(percent, 17) as usize, seed)?;
        }
        _ => {
            writeln!(std::io::stderr(), "usage: treecast-numbers idle|deaths [NUMBERS]")?;
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
