//! The links that there are now: what the topology in force says, and what goes with each. A
//! latest value: the driver sets it, the tasks of links look at it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::price::Price;
use crate::id::RelayId;
use crate::relay::Neighbour;
use crate::wire::applied::TopologyEntry;

/// What the tasks of one link share, from when it is configured until it is so no more.
#[derive(Debug, Default)]
pub(crate) struct Cord {
    /// The neighbour has let this relay know that it is there.
    pub(super) knocked: Notify,
    /// Cancelled when there are to be no more attempts to connect: the link is gone, or is
    /// connected in another way.
    pub(super) over: CancellationToken,
    /// Cancelled when a connection that there is has to end.
    pub(in crate::server) cut: CancellationToken,
}

/// One link.
#[derive(Clone, Debug)]
pub(in crate::server) struct Wired {
    pub(in crate::server) neighbour: Neighbour,
    pub(in crate::server) cord: Arc<Cord>,
    /// Used when its cost is measured.
    pub(super) price: Arc<Mutex<Price>>,
    /// Whether it has a rate now: what goes over it is packed then.
    pub(in crate::server) is_capped: Arc<AtomicBool>,
}

impl Wired {
    fn new(neighbour: Neighbour) -> Self {
        let is_capped = Arc::new(AtomicBool::new(neighbour.rate.is_some()));
        Self { neighbour, cord: Arc::default(), price: Arc::default(), is_capped }
    }

    /// The link as it is configured from now on. A connection goes on while another address is
    /// tried, whose connection then takes its place; with another pause between pings both ends
    /// have to agree anew.
    fn become_new(&self, neighbour: &Neighbour) -> Self {
        let mut new = Self { neighbour: neighbour.clone(), ..self.clone() };
        if self.neighbour.cost != neighbour.cost {
            new.price = Arc::default();
        }
        new.is_capped.store(neighbour.rate.is_some(), Ordering::Relaxed);
        let is_paced_anew = self.neighbour.hello != neighbour.hello;
        if is_paced_anew || self.neighbour.address != neighbour.address {
            new.cord = Arc::default();
            self.cord.over.cancel();
        }
        if is_paced_anew {
            self.cord.cut.cancel();
        }
        new
    }
}

/// All links, and the topology that they are from.
#[derive(Clone, Debug, Default)]
pub(super) struct Cords {
    pub(super) links: BTreeMap<RelayId, Wired>,
    pub(super) entry: Option<Arc<TopologyEntry>>,
}

/// Where [`Cords`] are found. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<watch::Sender<Arc<Cords>>>);

impl Board {
    pub(super) fn new(neighbours: &[Neighbour], entry: Option<Arc<TopologyEntry>>) -> Self {
        let links = neighbours.iter().map(|n| (n.relay.clone(), Wired::new(n.clone()))).collect();
        Self(Arc::new(watch::Sender::new(Arc::new(Cords { links, entry }))))
    }

    /// What there is now.
    pub(super) fn now(&self) -> Arc<Cords> {
        Arc::clone(&self.0.borrow())
    }

    /// Tells of every change.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Cords>> {
        let mut receiver = self.0.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// The links are these from now on. Those that are gone end.
    pub(super) fn set(&self, neighbours: &[Neighbour], entry: Arc<TopologyEntry>) {
        let before = self.now();
        let one = |neighbour: &Neighbour| {
            let known = before.links.get(&neighbour.relay);
            let wired = known.map_or_else(|| Wired::new(neighbour.clone()), |k| k.become_new(neighbour));
            (neighbour.relay.clone(), wired)
        };
        let links: BTreeMap<RelayId, Wired> = neighbours.iter().map(one).collect();
        for (_, gone) in before.links.iter().filter(|(relay, _)| !links.contains_key(*relay)) {
            gone.cord.over.cancel();
            gone.cord.cut.cancel();
        }
        self.0.send_replace(Arc::new(Cords { links, entry: Some(entry) }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::{LinkId, WallTime};
    use crate::topology::TopologyVersion;
    use crate::wire::applied::TopologyHead;

    fn neighbour(name: &str) -> Neighbour {
        Neighbour {
            link: LinkId(1),
            relay: RelayId::new(name).unwrap(),
            address: "127.0.0.1:1".to_owned(),
            cost: Some(1),
            rate: None,
            hello: Duration::from_millis(100),
            packs: true,
        }
    }

    fn entry() -> Arc<TopologyEntry> {
        let head = TopologyHead {
            version: TopologyVersion::new(1, ""),
            by: RelayId::new("a").unwrap(),
            at: WallTime(0),
            restores: None,
        };
        Arc::new(TopologyEntry { head, text: String::new() })
    }

    /// Whether the attempts of the first link are over, its connection is cut, and its cord is kept.
    fn fate(now: &[Neighbour]) -> (bool, bool, bool) {
        let board = Board::new(&[neighbour("b")], None);
        let before = board.now().links.values().next().unwrap().clone();
        board.set(now, entry());
        let is_kept = board.now().links.values().any(|wired| Arc::ptr_eq(&wired.cord, &before.cord));
        (before.cord.over.is_cancelled(), before.cord.cut.is_cancelled(), is_kept)
    }

    #[test]
    fn a_link_that_stays_is_left_alone_and_one_that_is_gone_ends() {
        assert_eq!(fate(&[neighbour("b"), neighbour("c")]), (false, false, true));
        assert_eq!(fate(&[Neighbour { cost: None, ..neighbour("b") }]), (false, false, true));
        assert_eq!(fate(&[neighbour("c")]), (true, true, false));
    }

    #[test]
    fn a_rate_is_taken_over_by_the_connection_that_there_is() {
        let board = Board::new(&[neighbour("b")], None);
        let before = board.now().links.values().next().unwrap().clone();
        assert!(!before.is_capped.load(Ordering::Relaxed));
        board.set(&[Neighbour { rate: Some(1000), ..neighbour("b") }], entry());
        assert!(before.is_capped.load(Ordering::Relaxed), "the writer that runs packs from now on");
        assert!(!before.cord.cut.is_cancelled() && !before.cord.over.is_cancelled());
        board.set(&[neighbour("b")], entry());
        assert!(!before.is_capped.load(Ordering::Relaxed));
    }

    #[test]
    fn another_address_is_tried_beside_the_connection_and_another_pace_ends_it() {
        let moved = Neighbour { address: "127.0.0.1:2".to_owned(), ..neighbour("b") };
        assert_eq!(fate(&[moved]), (true, false, false));
        let slower = Neighbour { hello: Duration::from_secs(1), ..neighbour("b") };
        assert_eq!(fate(&[slower]), (true, true, false));
    }
}
