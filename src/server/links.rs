//! Links to neighbours: who connects, and what keeps a link alive.
//!
//! The relay with the smaller name connects, and tries again with a growing pause while it
//! cannot. A relay that starts knocks at the others: it connects, is told so, and they connect at
//! once, so that nobody waits out a pause for it.
//!
//! Each end pings the other. Whatever comes counts as a sign of life, and silence only while this
//! end was reading: a relay that waits for its own disk does not take its neighbours for dead.

mod cords;
mod exchange;
mod price;
mod rtt;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

pub(super) use self::cords::Wired;
use self::cords::{Board, Cord};
pub(crate) use self::exchange::join;
use self::rtt::RoundTrips;
pub(crate) use self::watch::Watch;
use super::handle::{SessionHandle, SessionSender};
use super::native::{Native, Reader, count_fault, write_hello};
use super::told::Told;
use crate::id::{RelayId, StorageId};
use crate::limits;
use crate::metrics;
use crate::net::fault::{SessionEnd, SessionFault};
use crate::net::link::LinkIncoming;
use crate::net::session::FrameReader;
use crate::net::socket::{self, SocketOptions};
use crate::relay::{Input, Neighbour};
use crate::wire::applied::TopologyEntry;
use crate::wire::body;
use crate::wire::frame::FrameKind;
use crate::wire::link::{LINK_MAGIC, LINK_VERSION, LOSSES, LinkHello};
use crate::wire::packed;

const CONNECT: Duration = Duration::from_millis(limits::LINK_CONNECT_MS);

/// What a relay that knocks is told.
pub(super) const KNOCKED: &str = "this relay connects to the other one now";

/// Why a link ends that is configured no more, or in another way.
pub(super) const UNLINKED: &str = "the topology of the network has changed";

/// The same link, with the pause that both ends use, and what both understand.
fn at_pace_of(wired: &Wired, hello: &LinkHello) -> Wired {
    let theirs = Duration::from_millis(u64::from(hello.hello_ms));
    let takes = hello.takes.iter().any(|way| way == packed::LZ4);
    let mut wired = wired.clone();
    let neighbour = &mut wired.neighbour;
    (neighbour.hello, neighbour.packs) = (neighbour.hello.max(theirs), neighbour.packs && takes);
    wired
}

/// All links of a relay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    me: RelayId,
    board: Board,
    /// The data directory that each neighbour had when it was here last.
    storages: Arc<Mutex<BTreeMap<RelayId, StorageId>>>,
    told: Arc<Told>,
    socket: SocketOptions,
    watch: Watch,
}

impl Links {
    pub(crate) fn new(
        me: RelayId,
        neighbours: &[Neighbour],
        entry: Option<Arc<TopologyEntry>>,
        socket: SocketOptions,
    ) -> Self {
        let watch = Watch::new(neighbours);
        let board = Board::new(neighbours, entry);
        Self { me, board, storages: Arc::default(), told: Arc::default(), socket, watch }
    }

    /// The links are these from now on.
    pub(crate) fn set(&self, neighbours: &[Neighbour], entry: Arc<TopologyEntry>) {
        self.watch.set(neighbours);
        self.board.set(neighbours, entry);
    }

    /// What a link costs from now on, if that is measured and has changed.
    fn price(&self, relay: &RelayId, time: Duration) -> Option<Input> {
        let now = self.board.now();
        let wired = now.links.get(relay).filter(|wired| wired.neighbour.cost.is_none())?;
        let mut price = wired.price.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = price.take(time, Instant::now())?;
        Some(Input::LinkCost { link: wired.neighbour.link, cost })
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
    /// Begins to connect to the neighbours, and to every further one that a change brings.
    pub(crate) fn connect_to_neighbours(&self) {
        let native = self.clone();
        self.tasks.spawn("links", async move {
            let mut changes = native.links.board.watch();
            let mut begun: BTreeMap<RelayId, Arc<Cord>> = BTreeMap::new();
            loop {
                tokio::select! {
                    () = native.stop.cancelled() => return,
                    changed = changes.changed() => if changed.is_err() { return },
                }
                let now = Arc::clone(&changes.borrow_and_update());
                begun.retain(|relay, _| now.links.contains_key(relay));
                for (relay, wired) in &now.links {
                    if begun.get(relay).is_none_or(|cord| !Arc::ptr_eq(cord, &wired.cord)) {
                        begun.insert(relay.clone(), Arc::clone(&wired.cord));
                        native.begin_link(wired.clone());
                    }
                }
            }
        });
    }

    fn begin_link(&self, wired: Wired) {
        let native = self.clone();
        self.tasks.spawn("link", async move {
            if native.links.connects_to(&wired.neighbour.relay) {
                native.keep_connected(&wired).await;
            } else {
                native.knock(&wired.neighbour).await;
            }
        });
    }

    /// Connects, and again whenever the link has ended, until it is over or the relay stops.
    async fn keep_connected(&self, wired: &Wired) {
        let (neighbour, cord) = (&wired.neighbour, &wired.cord);
        let first = Duration::from_millis(limits::LINK_BACKOFF_MS_MIN);
        let last = Duration::from_millis(limits::LINK_BACKOFF_MS_MAX);
        let mut pause = first;
        loop {
            let begun = Instant::now();
            let connected = self.connect(wired).await;
            let is_over = self.stop.is_cancelled() || cord.over.is_cancelled();
            if is_over || matches!(connected, Err(SessionEnd::Stopping)) {
                return;
            }
            if let Err(end) = connected {
                self.links.watch.failed(&neighbour.relay, &why(&end));
                self.links.tell_refused(&neighbour.relay, &end);
                if matches!(end, SessionEnd::Left(Some(_))) {
                    self.exchange(&neighbour.address).await;
                }
            }
            if begun.elapsed() > last {
                pause = first;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = cord.over.cancelled() => return,
                () = cord.knocked.notified() => pause = first,
                () = sleep(pause) => pause = (pause * 2).min(last),
            }
        }
    }

    /// One connection, from its beginning to its end. An error when it became no link.
    async fn connect(&self, wired: &Wired) -> Result<(), SessionEnd> {
        let stream = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(SessionEnd::Stopping),
            () = wired.cord.over.cancelled() => return Err(SessionEnd::Unlinked),
            stream = timeout(CONNECT, TcpStream::connect(&wired.neighbour.address)) => stream,
        };
        let stream = stream.map_err(|_| SessionFault::Silent)?.map_err(SessionEnd::Broken)?;
        socket::tune(&stream, &self.links.socket).map_err(SessionEnd::Broken)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = FrameReader::of_neighbour(reader, Arc::clone(&self.link_partial_bytes));
        match self.introduce(wired, &mut reader, &mut writer).await {
            Ok((wired, handle)) => {
                self.run_link(&wired, handle, &mut reader, writer).await;
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
        wired: &Wired,
        reader: &mut Reader,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(Wired, SessionHandle), SessionEnd> {
        let neighbour = &wired.neighbour;
        write_hello(writer, FrameKind::LinkHello, &self.link_hello(neighbour, LINK_VERSION)).await?;
        let hello = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(SessionEnd::Stopping),
            () = wired.cord.over.cancelled() => return Err(SessionEnd::Unlinked),
            hello = timeout(CONNECT, reader.link_hello()) => hello,
        };
        let hello = hello.map_err(|_| SessionFault::Silent)??;
        if hello.relay != neighbour.relay {
            let (found, wanted, at) = (&hello.relay, &neighbour.relay, &neighbour.address);
            return Err(SessionFault::Stranger(format!("the relay at {at} is {found}, not {wanted}")).into());
        }
        self.open_link(wired, &hello).await
    }

    /// Opens the session of a link to a neighbour that has said who it is.
    async fn open_link(
        &self,
        wired: &Wired,
        hello: &LinkHello,
    ) -> Result<(Wired, SessionHandle), SessionEnd> {
        let link = (wired.neighbour.link, hello.takes_losses());
        let opened = self.sessions.open_link(link, hello.epoch).await;
        let opened = opened.map_err(|_| SessionEnd::Stopping)?;
        self.links.check_storage(hello, opened.is_some());
        let taken = || {
            let why = "is connected already, with another data directory or a copy of this one: two relays have one name";
            SessionFault::Stranger(format!("relay {} {why}", hello.relay))
        };
        Ok((at_pace_of(wired, hello), opened.ok_or_else(taken)?))
    }

    /// Checks and greets a relay that has connected to this one.
    pub(super) async fn greet_neighbour(
        &self,
        hello: &LinkHello,
        writer: &mut OwnedWriteHalf,
    ) -> Result<(Wired, SessionHandle), SessionEnd> {
        let stranger = |why: String| SessionEnd::from(SessionFault::Stranger(why));
        let (me, found) = (&self.links.me, &hello.relay);
        if hello.to != *me {
            return Err(stranger(format!("this is relay {me}, not {}", hello.to)));
        }
        let now = self.links.board.now();
        let Some(wired) = now.links.get(found) else {
            return Err(stranger(format!("relay {me} has no link to {found}")));
        };
        if self.links.connects_to(found) {
            self.links.check_storage(hello, false);
            wired.cord.knocked.notify_one();
            return Err(SessionEnd::Knocked);
        }
        let (wired, handle) = self.open_link(wired, hello).await?;
        let answer = self.link_hello(&wired.neighbour, hello.version);
        write_hello(writer, FrameKind::LinkHello, &answer).await?;
        Ok((wired, handle))
    }

    /// Lets a neighbour that connects to this relay know that it is there. It connects when it can,
    /// or tells why it never will.
    async fn knock(&self, neighbour: &Neighbour) {
        let knock = async {
            let stream = TcpStream::connect(&neighbour.address).await?;
            let (reader, mut writer) = stream.into_split();
            let mut reader = FrameReader::of_neighbour(reader, Arc::clone(&self.link_partial_bytes));
            if write_hello(&mut writer, FrameKind::LinkHello, &self.link_hello(neighbour, LINK_VERSION))
                .await
                .is_ok()
                && let Err(end) = reader.link_hello().await
                && why(&end) != KNOCKED
            {
                self.links.tell_refused(&neighbour.relay, &end);
                return Ok(matches!(end, SessionEnd::Left(Some(_))));
            }
            std::io::Result::Ok(false)
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            knocked = timeout(CONNECT, knock) => match knocked {
                Ok(Ok(true)) => self.exchange(&neighbour.address).await,
                Ok(Err(error)) => self.links.watch.failed(&neighbour.relay, &error.to_string()),
                Ok(Ok(false)) | Err(_) => {}
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
            takes: vec![packed::LZ4.to_owned(), LOSSES.to_owned()],
        })
    }

    /// Runs a link until it ends.
    pub(super) async fn run_link(
        &self,
        wired: &Wired,
        handle: SessionHandle,
        reader: &mut Reader,
        writer: OwnedWriteHalf,
    ) {
        let (neighbour, session) = (&wired.neighbour, handle.sender.session());
        metrics::link_up(neighbour.relay.as_str());
        self.links.watch.up(&neighbour.relay, session);
        tracing::info!(neighbour = %neighbour.relay, "the link is up");
        // One that is gone already is noticed by who reads from it.
        let _ = socket::tune_link(writer.as_ref(), &self.links.socket);
        let end = self.run(handle, reader, writer, Some(wired)).await;
        count_fault(&end);
        metrics::link_ended(neighbour.relay.as_str(), end.label());
        let why = why(&end);
        if self.links.watch.down(&neighbour.relay, session, &why) {
            metrics::link_down(neighbour.relay.as_str());
            if matches!(end, SessionEnd::Stopping) {
                tracing::info!(neighbour = %neighbour.relay, %why, "the link is down");
            } else {
                tracing::warn!(neighbour = %neighbour.relay, %why, "the link is down");
            }
        } else {
            tracing::info!(neighbour = %neighbour.relay, %why, "a connection was replaced by another one");
        }
    }
}

fn why(end: &SessionEnd) -> String {
    match end {
        SessionEnd::Left(Some(reason)) => reason.clone(),
        SessionEnd::Left(None) => "the neighbour has closed the connection".to_owned(),
        SessionEnd::Broken(error) => error.to_string(),
        SessionEnd::Fault(fault) => fault.to_string(),
        SessionEnd::Closed => "this relay has closed it".to_owned(),
        SessionEnd::Unlinked => UNLINKED.to_owned(),
        SessionEnd::Full(why) => why.clone(),
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
    let unheard = neighbour.hello * limits::LINK_HELLOS_UNHEARD_MAX;
    // What the neighbour says first comes a whole round trip after this end has answered it.
    let mut after = unheard.max(Duration::from_millis(limits::LINK_FIRST_MS));
    loop {
        let mut incoming = LinkIncoming::default();
        incoming.take(neighbour.link, reader);
        if !incoming.pings.is_empty() {
            sender.queue().pong(&incoming.pings);
        }
        if let Some(smoothed) = incoming.pongs.iter().filter_map(|tag| trips.take(*tag)).last() {
            links.watch.measured(&neighbour.relay, smoothed);
            metrics::link_rtt(neighbour.relay.as_str(), smoothed.time);
            incoming.inputs.extend(links.price(&neighbour.relay, smoothed.time));
        }
        if sender.send(incoming.inputs).await.is_err() {
            return SessionEnd::Stopping;
        }
        if let Some(end) = incoming.end {
            return end;
        }
        if let Some(waiting) = sender.queue().has_overflowed() {
            return SessionFault::Untaken { waiting }.into();
        }
        sender.queue().has_room().await;
        // That too is no silence of the neighbour.
        if let Err(end) = reader.begin_large().await {
            return end;
        }
        match timeout(after, reader.fill()).await {
            Ok(Ok(())) => after = unheard,
            Ok(Err(end)) => return end,
            Err(_) => return SessionFault::Unheard { after }.into(),
        }
    }
}
