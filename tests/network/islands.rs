//! A partition into three: relays in network namespaces of their own, and every cable between them
//! down. Applications reach each relay by a cable of their own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::namespace::{ip, within};
use super::process::{say, skip};
use super::site::{Site, write_file};
use super::traffic::{Shape, Traffic};

const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];

/// Three namespaces for relays and one for applications; gone with the test.
struct Islands {
    sites: Vec<String>,
    desk: String,
}

/// The address of one end of the cable between two relays.
fn end(pair: (usize, usize), side: usize) -> String {
    let (one, other) = (pair.0.min(pair.1), pair.0.max(pair.1));
    format!("10.214.{}.{}", 10 * one + other, 1 + side)
}

impl Islands {
    fn make() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let base = format!("treecast-{}-n{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let sites = (0..3).map(|place| format!("{base}-{place}")).collect();
        let made = Self { sites, desk: format!("{base}-desk") };
        for name in made.sites.iter().chain([&made.desk]) {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        for (one, other) in PAIRS {
            let ends = [(one, end((one, other), one)), (other, end((one, other), other))];
            let ends = ends.map(|(place, address)| (made.sites[place].as_str(), address));
            join(&format!("to{one}{other}"), &ends)?;
        }
        for (place, site) in made.sites.iter().enumerate() {
            let ends = [
                (site.as_str(), format!("10.215.{place}.1")),
                (made.desk.as_str(), format!("10.215.{place}.2")),
            ];
            join(&format!("desk{place}"), &ends)?;
        }
        Ok(made)
    }

    /// All cables between relays are up, or down.
    fn set(&self, state: &str) {
        for pair in PAIRS {
            self.set_pair(pair, state);
        }
    }

    fn set_pair(&self, (one, other): (usize, usize), state: &str) {
        let cable = format!("to{one}{other}");
        ip(&["-n", &self.sites[one], "link", "set", &cable, state]).expect("it worked before");
    }
}

/// A cable between two namespaces, with an address at each end.
fn join(name: &str, ends: &[(&str, String); 2]) -> Result<(), String> {
    let (one, other) = (ends[0].0, ends[1].0);
    ip(&["link", "add", name, "netns", one, "type", "veth", "peer", name, "netns", other])?;
    for (namespace, address) in ends {
        ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", name])?;
        ip(&["-n", namespace, "link", "set", name, "up"])?;
    }
    Ok(())
}

impl Drop for Islands {
    fn drop(&mut self) {
        for name in self.sites.iter().chain([&self.desk]) {
            ip(&["netns", "delete", name]).ok();
        }
    }
}

fn sites(islands: &Islands, directory: &std::path::Path) -> Vec<Site> {
    let mut sites: Vec<Site> = (0..3)
        .map(|place| {
            let name = char::from(b'a' + place as u8).to_string();
            let mut site = Site::new(directory, &name, &format!("10.215.{place}.1:7001"));
            "0.0.0.0:7001".clone_into(&mut site.listen);
            site.under = ["ip", "netns", "exec", &islands.sites[place]].map(str::to_owned).to_vec();
            site
        })
        .collect();
    for place in 0..3 {
        let own = sites[place].address.clone();
        let address = |other: usize| {
            if other == place { own.clone() } else { format!("{}:7001", end((place, other), other)) }
        };
        write_file(&sites, place, &PAIRS, (Duration::from_millis(100), &address));
    }
    sites.iter_mut().for_each(Site::start);
    sites
}

#[test]
fn s07_three_islands_that_put_each_for_itself_agree_when_they_are_joined_again() {
    let islands = match Islands::make() {
        Ok(islands) => islands,
        Err(why) => return skip("s07", &why),
    };
    let directory = tempfile::tempdir().expect("a directory");
    within(&islands.desk, || async {
        let sites = sites(&islands, directory.path());
        let all: Vec<(usize, String)> = (0..3).map(|place| (place, sites[place].address.clone())).collect();
        let shape = Shape { pause: Duration::from_millis(3), ..Shape::default() };
        let traffic = Traffic::start_at(&all, &all, shape).await;
        // Joined again in one order, and then in the other.
        for order in [PAIRS, [PAIRS[2], PAIRS[1], PAIRS[0]]] {
            traffic.progress(100).await;
            islands.set("down");
            tokio::time::sleep(Duration::from_secs(1)).await;
            traffic.progress(500).await;
            let owed = traffic.owed();
            let behind = owed.iter().map(std::collections::BTreeSet::len).min().unwrap_or_default();
            assert!(behind > 100, "they are not apart: only {behind} are missing");
            let begun = Instant::now();
            for pair in order {
                islands.set_pair(pair, "up");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            traffic.paid(&owed).await;
            say(&format!(
                "s07: {:?} from the heal until at least {behind} were caught up everywhere",
                begun.elapsed()
            ));
        }
        traffic.end().await;
        drop(sites);
    });
}
