//! Partitions: a relay and its clients in network namespaces of their own, and the link between
//! them down, open one way only, or flapping.
//!
//! No connection is reset by any of it: bytes are lost, and nobody is told.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::client::Inbox;
use super::load::{Load, Shape, check_kept, create_kept, finish, receive, wait_for};
use super::namespace::{self, ip};
use super::oracle::{Event, History};
use super::process::skip;
use super::process::{RelayProcess, Start};

/// Every pair of namespaces is a world of its own: the addresses are the same in each.
const RELAY: &str = "10.213.0.1";
const CLIENTS: &str = "10.213.0.2";

/// Two network namespaces with a cable between them; gone with the test.
struct Network {
    relay: String,
    clients: String,
}

impl Network {
    fn make() -> Result<Self, String> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("treecast-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let made = Self { relay: format!("{name}-relay"), clients: format!("{name}-clients") };
        let (relay, clients) = (made.relay.as_str(), made.clients.as_str());
        ip(&["netns", "add", relay])?;
        ip(&["netns", "add", clients])?;
        let cable =
            ["link", "add", "cable", "netns", relay, "type", "veth", "peer", "cable", "netns", clients];
        ip(&cable)?;
        for (side, address) in [(relay, RELAY), (clients, CLIENTS)] {
            ip(&["-n", side, "address", "add", &format!("{address}/24"), "dev", "cable"])?;
            ip(&["-n", side, "link", "set", "lo", "up"])?;
            ip(&["-n", side, "link", "set", "cable", "up"])?;
        }
        Ok(made)
    }

    #[track_caller]
    fn set(&self, state: &str) {
        ip(&["-n", &self.relay, "link", "set", "cable", state]).expect("it worked before");
    }

    /// What one side sends to the other goes nowhere, or gets there again.
    #[track_caller]
    fn route(&self, side: &str, verb: &str) {
        let to = if side == self.relay { CLIENTS } else { RELAY };
        ip(&["-n", side, "route", verb, "blackhole", &format!("{to}/32")]).expect("it worked before");
    }

    fn start(&self, data: &std::path::Path) -> RelayProcess {
        let start = Start::new(data).listen(&format!("{RELAY}:0"));
        start.under(&["ip", "netns", "exec", &self.relay]).start()
    }

    /// Runs something on threads that are in the clients' namespace.
    fn among_clients<F: Future<Output = ()>>(&self, body: impl FnOnce() -> F + Send) {
        namespace::within(&self.clients, body);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.relay, &self.clients] {
            ip(&["netns", "delete", name]).ok();
        }
    }
}

async fn loaded(network: &Network, data: &std::path::Path) -> (RelayProcess, Load) {
    let relay = network.start(data);
    create_kept(&relay.address).await;
    let load = Load::start(&relay.address, Shape::default()).await;
    load.progress(100).await;
    (relay, load)
}

/// Nothing is answered for so long; what had arrived before has been noted.
async fn check_cut(load: &Load, time: Duration) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = load.history.answered();
    tokio::time::sleep(time).await;
    assert_eq!(load.history.answered(), before, "something was answered across a cut");
}

/// The test's body, with a relay under load; afterwards everything must be there.
fn partitioned(test: &str, body: impl AsyncFnOnce(&Network, &Load) + Send) {
    let network = match Network::make() {
        Ok(network) => network,
        Err(why) => return skip(test, &why),
    };
    let data = tempfile::tempdir().expect("a directory");
    network.among_clients(|| async {
        let (relay, load) = loaded(&network, data.path()).await;
        body(&network, &load).await;
        load.progress(50).await;
        finish(relay, load).await;
    });
}

#[test]
fn f40_a_link_that_is_down_for_a_while_loses_nothing() {
    partitioned("f40", async |network, load| {
        for millis in [500, 2000] {
            network.set("down");
            check_cut(load, Duration::from_millis(millis)).await;
            network.set("up");
            load.progress(50).await;
        }
    });
}

#[test]
fn f40_a_link_that_is_open_one_way_only_loses_nothing() {
    partitioned("f40", async |network, load| {
        // Puts arrive, and their answers do not; then nothing arrives, and answers would.
        for side in [&network.relay, &network.clients] {
            network.route(side, "add");
            check_cut(load, Duration::from_secs(1)).await;
            network.route(side, "delete");
            load.progress(50).await;
        }
    });
}

#[test]
fn f40_a_link_that_flaps_loses_nothing() {
    partitioned("f40", async |network, _load| {
        for round in 0..20 {
            network.set("down");
            tokio::time::sleep(Duration::from_millis(20 + 5 * round)).await;
            network.set("up");
            tokio::time::sleep(Duration::from_millis(115 - 5 * round)).await;
        }
    });
}

/// Both sides give the connection up, and the clients make another one.
#[test]
#[ignore = "a minute"]
fn f40_a_link_that_is_down_for_longer_than_sessions_last_loses_nothing() {
    partitioned("f40", async |network, load| {
        network.set("down");
        check_cut(load, Duration::from_secs(50)).await;
        network.set("up");
    });
}

#[test]
fn f40_a_link_that_goes_down_while_messages_go_to_twenty_subscribers_loses_nothing() {
    let network = match Network::make() {
        Ok(network) => network,
        Err(why) => return skip("f40", &why),
    };
    let data = tempfile::tempdir().expect("a directory");
    network.among_clients(|| async {
        let relay = network.start(data.path());
        create_kept(&relay.address).await;
        let mut readers = Vec::new();
        for number in 0..20 {
            let name = format!("reader-{number}");
            let inbox = Inbox::open(&relay.address, &name).await.expect("it attaches");
            let seen = Arc::new(Mutex::new(Vec::new()));
            let noted = Arc::clone(&seen);
            let note = move |event| noted.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            readers.push((seen, tokio::spawn(receive(inbox, relay.address.clone(), name, note))));
        }
        let shape = Shape { pause: Duration::from_millis(2), ..Shape::default() };
        let load = Load::start(&relay.address, shape).await;
        for _ in 0..3 {
            load.progress(100).await;
            network.set("down");
            check_cut(&load, Duration::from_millis(200)).await;
            network.set("up");
        }
        load.progress(100).await;
        let history = load.finish().await;
        for (seen, reader) in readers {
            check_reader(&history, &seen).await;
            reader.abort();
        }
        check_kept(&relay.address, &history).await;
        relay.stop().expect_code(0);
    });
}

/// A subscriber has seen everything that was answered, once and in order.
async fn check_reader(history: &History, seen: &Mutex<Vec<Event>>) {
    wait_for("it has seen everything", async || {
        let theirs = History::of_publishers(history);
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().for_each(|event| theirs.note(*event));
        let is_whole = theirs.is_delivered();
        if is_whole {
            theirs.check();
        }
        is_whole
    })
    .await;
}
