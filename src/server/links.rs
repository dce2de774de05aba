//! Links to neighbours: who connects, and what keeps a link alive.
//!
//! The relay with the smaller name connects, and tries again with a growing pause while it
//! cannot. A relay that starts knocks at the others: it connects, is told so, and they connect at
//! once, so that nobody waits out a pause for it.
//!
//! Each end pings the other. Whatever comes counts as a sign of life, and silence only while this
//! end was reading: a relay that waits for its own disk does not take its neighbours for dead.

mod price;
mod rtt;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use self::price::Price;
pub(crate) use self::price::UNMEASURED;
use self::rtt::RoundTrips;
pub(crate) use self::watch::Watch;
use super::handle::{SessionHandle, SessionSender};
use super::native::{Native, Reader, count_fault, write_hello};
use super::told::Told;
use crate::id::{LinkId, RelayId, StorageId};
use crate::limits;
use crate::metrics;
use crate::net::fault::{SessionEnd, SessionFault};
use crate::net::link::LinkIncoming;
use crate::net::session::FrameReader;
use crate::net::socket::{self, SocketOptions};
use crate::relay::Input;
use crate::wire::body;
use crate::wire::frame::FrameKind;
use crate::wire::link::{LINK_MAGIC, LINK_VERSION, LinkHello};
use crate::wire::packed;

const CONNECT: Duration = Duration::from_millis(limits::LINK_CONNECT_MS);

/// What a relay that knocks is told.
pub(super) const KNOCKED: &str = "this relay connects to the other one now";

/// A link to a neighbour as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's number: unique among the links of this relay, never 0.
    pub link: LinkId,
    /// The relay at the other end.
    pub relay: RelayId,
    /// Where it listens: an address or a host name, and a port.
    pub address: String,
    /// What it costs to use the link: at least 1. `None`: its round-trip time decides, one unit
    /// for each 100 µs, in steps and slow to change.
    pub cost: Option<u32>,
    /// The most bytes per second that this relay sends over it; `None`: as many as it takes.
    pub rate: Option<u64>,
    /// The pause between two pings; 100 ms unless told otherwise. Each end uses the longer one of both.
    pub hello: Duration,
    /// Whether runs may be packed for it when the link is slow; true unless told otherwise, and only
    /// if it takes them.
    pub packs: bool,
}

impl Neighbour {
    /// The same link, with the pause that both ends use, and what both understand.
    fn at_pace_of(&self, hello: &LinkHello) -> Self {
        let theirs = Duration::from_millis(u64::from(hello.hello_ms));
        let takes = hello.takes.iter().any(|way| way == packed::LZ4);
        Self { hello: self.hello.max(theirs), packs: self.packs && takes, ..self.clone() }
    }
}

/// All links of a relay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    me: RelayId,
    neighbours: Arc<BTreeMap<RelayId, (Neighbour, Arc<Notify>)>>,
    /// The data directory that each neighbour had when it was here last.
    storages: Arc<Mutex<BTreeMap<RelayId, StorageId>>>,
    told: Arc<Told>,
    /// Links whose cost is measured.
    prices: Arc<BTreeMap<RelayId, Mutex<Price>>>,
    socket: SocketOptions,
    watch: Watch,
}

impl Links {
    pub(crate) fn new(me: RelayId, neighbours: &[Neighbour], socket: SocketOptions) -> Self {
        let one = |n: &Neighbour| (n.relay.clone(), (n.clone(), Arc::new(Notify::new())));
        let watch = Watch::new(neighbours);
        let neighbours: Arc<BTreeMap<RelayId, (Neighbour, Arc<Notify>)>> =
            Arc::new(neighbours.iter().map(one).collect());
        let measured = neighbours.values().filter(|(neighbour, _)| neighbour.cost.is_none());
        let prices = Arc::new(measured.map(|(n, _)| (n.relay.clone(), Mutex::default())).collect());
        Self { me, neighbours, storages: Arc::default(), told: Arc::default(), prices, socket, watch }
    }

    /// What a link costs from now on, if that is measured and has changed.
    fn price(&self, neighbour: &Neighbour, time: Duration) -> Option<Input> {
        let price = self.prices.get(&neighbour.relay)?;
        let mut price = price.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = price.take(time, Instant::now())?;
        Some(Input::LinkCost { link: neighbour.link, cost })
    }

    /// What is known of the links, for those who are asked.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Says why somebody was not let in, if that is news.
    pub(super) fn tell_stranger(&self, end: &SessionEnd) {
        if let SessionEnd::Fault(SessionFault::Stranger(why)) = end
            && self.told.is_news(why)
        {
            tracing::warn!(%why, "a relay is not let in");
        }
    }

    /// Says why a neighbour does not take this relay for one, if it has said so and it is news.
    fn tell_refused(&self, neighbour: &RelayId, end: &SessionEnd) {
        let is_worth_telling = matches!(end, SessionEnd::Left(Some(_)) | SessionEnd::Fault(_));
        let why = why(end);
        if is_worth_telling && self.told.is_news(&format!("{neighbour}: {why}")) {
            tracing::warn!(%neighbour, %why, "no link");
        } else {
            tracing::debug!(%neighbour, %why, "no link");
        }
    }

    /// Says that a neighbour is not what it was, if that is news.
    fn check_storage(&self, hello: &LinkHello, is_in: bool) {
        let (neighbour, found) = (&hello.relay, hello.epoch.storage);
        let mut storages = self.storages.lock().unwrap_or_else(PoisonError::into_inner);
        let known = storages.get(neighbour).copied();
        if is_in {
            storages.insert(neighbour.clone(), found);
        }
        if let Some(known) = known.filter(|known| *known != found)
            && self.told.is_news(&format!("{neighbour} {found}"))
        {
            tracing::error!(
                %neighbour, %known, %found,
                "a neighbour has another data directory: its disk was lost, or two relays have one name"
            );
        }
    }

    /// Whether this relay is the one of both that connects.
    fn connects_to(&self, relay: &RelayId) -> bool {
        self.me < *relay
    }
}

impl Native {
    /// Begins to connect to the neighbours.
    pub(crate) fn connect_to_neighbours(&self) {
        for (neighbour, knocked) in self.links.neighbours.values().cloned() {
            let native = self.clone();
            self.tasks.spawn("link", async move {
                if native.links.connects_to(&neighbour.relay) {
                    native.keep_connected(&neighbour, &knocked).await;
                } else {
                    native.knock(&neighbour).await;
                }
            });
        }
    }

    /// Connects, and again whenever the link has ended, until the relay stops.
    async fn keep_connected(&self, neighbour: &Neighbour, knocked: &Notify) {
        let first = Duration::from_millis(limits::LINK_BACKOFF_MS_MIN);
        let last = Duration::from_millis(limits::LINK_BACKOFF_MS_MAX);
        let mut pause = first;
        loop {
            let begun = Instant::now();
            let connected = self.connect(neighbour).await;
            if matches!(connected, Err(SessionEnd::Stopping)) || self.stop.is_cancelled() {
                return;
            }
            if let Err(end) = connected {
                self.links.watch.failed(&neighbour.relay, &why(&end));
                self.links.tell_refused(&neighbour.relay, &end);
            }
            if begun.elapsed() > last {
                pause = first;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = knocked.notified() => pause = first,
                () = sleep(pause) => pause = (pause * 2).min(last),
            }
        }
    }

    /// One connection, from its beginning to its end. An error when it became no link.
    async fn connect(&self, neighbour: &Neighbour) -> Result<(), SessionEnd> {
        let stream = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(SessionEnd::Stopping),
            stream = timeout(CONNECT, TcpStream::connect(&neighbour.address)) => stream,
        };
        let stream = stream.map_err(|_| SessionFault::Silent)?.map_err(SessionEnd::Broken)?;
        socket::tune(&stream, &self.links.socket).map_err(SessionEnd::Broken)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = FrameReader::new(reader, Arc::clone(&self.partial_bytes));
        match self.introduce(neighbour, &mut reader, &mut writer).await {
            Ok((neighbour, handle)) => {
                self.run_link(&neighbour, handle, &mut reader, writer).await;
                Ok(())
            }
            Err(end) => {
                self.refuse(&end, &mut reader, writer).await;
                Err(end)
            }
        }
    }

    /// Greets a neighbour that this relay has connected to, and checks who it is.
    async fn introduce(
        &self,
        neighbour: &Neighbour,
        reader: &mut Reader,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(Neighbour, SessionHandle), SessionEnd> {
        write_hello(writer, FrameKind::LinkHello, &self.link_hello(neighbour, LINK_VERSION)).await?;
        let hello = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(SessionEnd::Stopping),
            hello = timeout(CONNECT, reader.link_hello()) => hello,
        };
        let hello = hello.map_err(|_| SessionFault::Silent)??;
        if hello.relay != neighbour.relay {
            let (found, wanted, at) = (&hello.relay, &neighbour.relay, &neighbour.address);
            return Err(SessionFault::Stranger(format!("the relay at {at} is {found}, not {wanted}")).into());
        }
        self.open_link(neighbour, &hello).await
    }

    /// Opens the session of a link to a neighbour that has said who it is.
    async fn open_link(
        &self,
        neighbour: &Neighbour,
        hello: &LinkHello,
    ) -> Result<(Neighbour, SessionHandle), SessionEnd> {
        let opened = self.sessions.open_link(neighbour.link, hello.epoch.storage).await;
        let opened = opened.map_err(|_| SessionEnd::Stopping)?;
        self.links.check_storage(hello, opened.is_some());
        let taken = || {
            let why = "is connected already, with another data directory: two relays have one name";
            SessionFault::Stranger(format!("relay {} {why}", hello.relay))
        };
        Ok((neighbour.at_pace_of(hello), opened.ok_or_else(taken)?))
    }

    /// Checks and greets a relay that has connected to this one.
    pub(super) async fn greet_neighbour(
        &self,
        hello: &LinkHello,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(Neighbour, SessionHandle), SessionEnd> {
        let stranger = |why: String| SessionEnd::from(SessionFault::Stranger(why));
        let (me, found) = (&self.links.me, &hello.relay);
        if hello.to != *me {
            return Err(stranger(format!("this is relay {me}, not {}", hello.to)));
        }
        let Some((neighbour, knocked)) = self.links.neighbours.get(found) else {
            return Err(stranger(format!("relay {me} has no link to {found}")));
        };
        if self.links.connects_to(found) {
            self.links.check_storage(hello, false);
            knocked.notify_one();
            return Err(SessionEnd::Knocked);
        }
        let (neighbour, handle) = self.open_link(neighbour, hello).await?;
        write_hello(writer, FrameKind::LinkHello, &self.link_hello(&neighbour, hello.version)).await?;
        Ok((neighbour, handle))
    }

    /// Lets a neighbour that connects to this relay know that it is there. It connects when it can,
    /// or tells why it never will.
    async fn knock(&self, neighbour: &Neighbour) {
        let knock = async {
            let stream = TcpStream::connect(&neighbour.address).await?;
            let (reader, mut writer) = stream.into_split();
            let mut reader = FrameReader::new(reader, Arc::clone(&self.partial_bytes));
            if write_hello(&mut writer, FrameKind::LinkHello, &self.link_hello(neighbour, LINK_VERSION))
                .await
                .is_ok()
                && let Err(end) = reader.link_hello().await
                && why(&end) != KNOCKED
            {
                self.links.tell_refused(&neighbour.relay, &end);
            }
            std::io::Result::Ok(())
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            knocked = timeout(CONNECT, knock) => if let Ok(Err(error)) = knocked {
                self.links.watch.failed(&neighbour.relay, &error.to_string());
            },
        }
    }

    fn link_hello(&self, neighbour: &Neighbour, version: u32) -> bytes::Bytes {
        let identity = self.sessions.identity();
        body::encode(&LinkHello {
            magic: LINK_MAGIC.to_owned(),
            version,
            relay: identity.relay.clone(),
            epoch: identity.epoch,
            to: neighbour.relay.clone(),
            hello_ms: u32::try_from(neighbour.hello.as_millis()).unwrap_or(u32::MAX),
            takes: vec![packed::LZ4.to_owned()],
        })
    }

    /// Runs a link until it ends.
    pub(super) async fn run_link(
        &self,
        neighbour: &Neighbour,
        handle: SessionHandle,
        reader: &mut Reader,
        writer: OwnedWriteHalf,
    ) {
        metrics::link_up(neighbour.relay.as_str());
        self.links.watch.up(&neighbour.relay);
        tracing::info!(neighbour = %neighbour.relay, "the link is up");
        // One that is gone already is noticed by who reads from it.
        let _ = socket::tune_link(writer.as_ref(), &self.links.socket);
        let end = self.run(handle, reader, writer, Some(neighbour)).await;
        count_fault(&end);
        metrics::link_down(neighbour.relay.as_str(), end.label());
        let why = why(&end);
        self.links.watch.down(&neighbour.relay, &why);
        tracing::warn!(neighbour = %neighbour.relay, %why, "the link is down");
    }
}

fn why(end: &SessionEnd) -> String {
    match end {
        SessionEnd::Left(Some(reason)) => reason.clone(),
        SessionEnd::Left(None) => "the neighbour has closed the connection".to_owned(),
        SessionEnd::Broken(error) => error.to_string(),
        SessionEnd::Fault(fault) => fault.to_string(),
        SessionEnd::Closed => "this relay has closed it".to_owned(),
        SessionEnd::Knocked | SessionEnd::Stopping => "this relay stops".to_owned(),
    }
}

/// Reads from a neighbour and pings it, until the link ends from its side.
///
/// # Cancel safety
/// Inputs that wait to be handed over are lost.
pub(super) async fn converse(
    neighbour: &Neighbour,
    links: &Links,
    reader: &mut Reader,
    sender: &SessionSender,
) -> SessionEnd {
    let started = Instant::now();
    tokio::select! {
        end = read((neighbour, links), RoundTrips::new(started), reader, sender) => end,
        () = ping(neighbour, started, sender) => SessionEnd::Closed,
    }
}

async fn ping(neighbour: &Neighbour, started: Instant, sender: &SessionSender) {
    let mut ticks = interval(neighbour.hello.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        sender.queue().ping(RoundTrips::tag(started));
    }
}

async fn read(
    (neighbour, links): (&Neighbour, &Links),
    mut trips: RoundTrips,
    reader: &mut Reader,
    sender: &SessionSender,
) -> SessionEnd {
    let after = neighbour.hello * limits::LINK_HELLOS_UNHEARD_MAX;
    loop {
        let mut incoming = LinkIncoming::default();
        incoming.take(neighbour.link, reader);
        if !incoming.pings.is_empty() {
            sender.queue().pong(&incoming.pings);
        }
        if let Some(smoothed) = incoming.pongs.iter().filter_map(|tag| trips.take(*tag)).last() {
            links.watch.measured(&neighbour.relay, smoothed);
            metrics::link_rtt(neighbour.relay.as_str(), smoothed.time);
            incoming.inputs.extend(links.price(neighbour, smoothed.time));
        }
        if sender.send(incoming.inputs).await.is_err() {
            return SessionEnd::Stopping;
        }
        if let Some(end) = incoming.end {
            return end;
        }
        sender.queue().has_room().await;
        match timeout(after, reader.fill()).await {
            Ok(Ok(())) => {}
            Ok(Err(end)) => return end,
            Err(_) => return SessionFault::Unheard { after }.into(),
        }
    }
}
