//! Random faults for as long as one likes, under load, with the oracle behind each round.
//!
//! ```sh
//! TREECAST_SOAK_SECONDS=600 cargo test --release --test faults -- --ignored --nocapture f56
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use super::client::Connection;
use super::load::{Load, READ, Shape, check_kept, create_kept, read_rest};
use super::oracle::History;
use super::power_faults::{self, cut_power};
use super::process::{RelayProcess, Start, say};
use super::proxy::{Proxy, Way, Weather};
use super::random::Random;
use super::volume::Volume;

/// More than a relay has resident with all its buffers full.
const RESIDENT_BYTES_MAX: u64 = 512 << 20;

/// What is done to the relay and to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    Terminate,
    Halt,
    Cut,
    Flip,
    PowerCut,
}

const FAULTS: [Fault; 6] =
    [Fault::Kill, Fault::Terminate, Fault::Halt, Fault::Cut, Fault::Flip, Fault::PowerCut];

/// Where the relay keeps its data.
enum Disk {
    /// One whose power can be cut.
    Own(Volume),
    Common(tempfile::TempDir),
}

impl Disk {
    fn find() -> Self {
        power_faults::volume().map_or_else(
            |why| {
                say(&format!("f56: no power cuts, since {why}"));
                Self::Common(tempfile::tempdir().expect("a directory"))
            },
            Self::Own,
        )
    }

    fn start(&self) -> RelayProcess {
        match self {
            Self::Own(volume) => volume.relay().start(),
            Self::Common(directory) => Start::new(directory.path()).start(),
        }
    }
}

struct Soak {
    disk: Disk,
    relay: Option<RelayProcess>,
    proxy: Proxy,
    random: Random,
    done: BTreeMap<Fault, u32>,
    messages: usize,
    resident: u64,
}

impl Soak {
    async fn begin(seed: u64) -> Self {
        let disk = Disk::find();
        let relay = disk.start();
        create_kept(&relay.address).await;
        let proxy = Proxy::start(&relay.address).await;
        let (done, random) = (BTreeMap::new(), Random::new(seed));
        Self { disk, relay: Some(relay), proxy, random, done, messages: 0, resident: 0 }
    }

    fn relay(&self) -> &RelayProcess {
        self.relay.as_ref().expect("it runs between faults")
    }

    fn take_relay(&mut self) -> RelayProcess {
        self.relay.take().expect("it runs between faults")
    }

    async fn pause(&mut self, millis: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.within(0..millis))).await;
    }

    fn start_again(&mut self) {
        let relay = self.disk.start();
        self.proxy.lead_to(&relay.address);
        self.relay = Some(relay);
    }

    async fn strike(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => {
                self.take_relay().kill();
                self.start_again();
            }
            Fault::Terminate => {
                self.take_relay().stop().expect_code(0);
                self.start_again();
            }
            Fault::Halt => {
                self.relay().signal(Signal::STOP);
                self.pause(3000).await;
                self.relay().signal(Signal::CONT);
            }
            Fault::Cut => self.proxy.cut(),
            Fault::Flip => {
                let way = Way { flipped_every: self.random.within(200..20_000), ..Way::default() };
                self.proxy.set(Weather { up: way.clone(), down: way, ..Weather::default() });
                self.pause(1000).await;
                self.proxy.set(Weather::default());
            }
            Fault::PowerCut => {
                let Disk::Own(volume) = &self.disk else { return };
                cut_power(volume);
                self.relay.take().expect("it runs between faults").kill();
                volume.mount_again();
                self.start_again();
            }
        }
        *self.done.entry(fault).or_default() += 1;
    }

    /// A load with a history of its own, one to three faults, and nothing left behind: the next
    /// round begins with both subscriptions read to their end, so memory does not grow.
    async fn round(&mut self, number: u32) {
        let history = History::default();
        let shape = Shape { bytes: self.random.within(20..4000) as usize, ..Shape::default() };
        let load = Load::resume(&self.proxy.address, shape, history, number * shape.publishers).await;
        load.progress(50).await;
        for _ in 0..self.random.within(1..4) {
            self.pause(300).await;
            let fault = FAULTS[self.random.within(0..FAULTS.len() as u64) as usize];
            self.strike(fault).await;
            // Sometimes the next one comes before anything has got through.
            if self.random.within(0..3) > 0 {
                load.progress(20).await;
            }
        }
        let history = load.finish().await;
        self.messages += history.answered();
        let address = self.relay().address.clone();
        read_rest(&address, READ, &history).await;
        check_kept(&address, &history).await;
        let status = Connection::open(&address).await.status().await.expect("it answers");
        self.resident = self.resident.max(status.resident_bytes);
        assert!(status.resident_bytes < RESIDENT_BYTES_MAX, "{} bytes are resident", status.resident_bytes);
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a day, or as long as TREECAST_SOAK_SECONDS says"]
async fn f56_random_faults_for_a_long_time_lose_nothing() {
    let seconds = variable("TREECAST_SOAK_SECONDS").unwrap_or(24 * 3600);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let seed = variable("TREECAST_SOAK_SEED").unwrap_or(now.as_secs());
    say(&format!("f56: TREECAST_SOAK_SEED={seed}, for {seconds} s"));
    let begun = Instant::now();
    let mut soak = Soak::begin(seed).await;
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        soak.round(rounds).await;
        rounds += 1;
    }
    soak.take_relay().stop().expect_code(0);
    let Soak { done, messages, resident, .. } = soak;
    say(&format!(
        "f56: seed {seed}, {} s, {rounds} rounds, {messages} messages, {done:?}, at most {} MiB resident",
        begun.elapsed().as_secs(),
        resident >> 20,
    ));
}
