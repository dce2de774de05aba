//! The native protocol's front door: a socket joined to a session handle.
//!
//! Two tasks per connection: one reads and owns the session, one writes. They
//! end each other: when the writer is done the reader stops, and when the
//! reader stops it gives the writer a reason to write as the last frame.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::clock;
use super::handle::{SessionHandle, SessionSender, Sessions};
use super::links::{self, Links, Wired};
use super::places::Place;
use super::tasks::Tasks;
use crate::limits;
use crate::metrics;
use crate::net::fault::{SessionEnd, SessionFault};
use crate::net::link_writer;
use crate::net::packer::Packer;
use crate::net::session::{FrameReader, Greeting, Incoming};
use crate::wire::body::{self, PROTOCOL_MAGIC, RelayHello};
use crate::wire::frame::FrameKind;

pub(super) type Reader = FrameReader<OwnedReadHalf>;

/// Who has connected.
enum Greeted {
    /// An application.
    Client(SessionHandle),
    /// A neighbour.
    Neighbour(Box<Wired>, SessionHandle),
}

const CLOSE: Duration = Duration::from_millis(limits::CLOSE_MS_MAX);

/// How long the last words to a neighbour may take from which nothing was heard: it may hear.
const LAST_TRY: Duration = Duration::from_millis(50);

/// How long the driver may take to answer what is on its way when the relay stops.
const STOP: Duration = Duration::from_millis(limits::STOP_APPENDS_MS_MAX + limits::CLOSE_MS_MAX);

/// What connections of the native protocol have in common.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    pub(crate) sessions: Sessions,
    pub(crate) tasks: Tasks,
    /// Cancelled when nothing more is to be read.
    pub(crate) stop: CancellationToken,
    /// Bytes of large frames that may be on their way in.
    pub(crate) partial_bytes: Arc<Semaphore>,
    /// The same of neighbours.
    pub(crate) link_partial_bytes: Arc<Semaphore>,
    /// The neighbours, who connect here too.
    pub(crate) links: Links,
}

impl Native {
    /// Serves one connection until it ends.
    pub(super) async fn serve(self, stream: TcpStream, place: Place) {
        let (reader, mut writer) = stream.into_split();
        let mut reader = FrameReader::new(reader, Arc::clone(&self.partial_bytes));
        let refused = match self.greet(&place, &mut reader, &mut writer).await {
            Ok(Greeted::Client(handle)) => {
                metrics::session_opened();
                let end = self.run(handle, &mut reader, writer, None).await;
                count_fault(&end);
                metrics::session_closed(end.label());
                tracing::debug!(?end, "a session has ended");
                return;
            }
            Ok(Greeted::Neighbour(wired, handle)) => {
                reader.is_neighbour(Arc::clone(&self.link_partial_bytes));
                self.run_link(&wired, handle, &mut reader, writer).await;
                return;
            }
            Err(end) => end,
        };
        metrics::session_refused(refused.label());
        self.links.tell_stranger(&refused);
        self.refuse(&refused, &mut reader, writer).await;
    }

    /// Ends a connection that becomes no session.
    pub(super) async fn refuse(&self, end: &SessionEnd, reader: &mut Reader, mut writer: OwnedWriteHalf) {
        count_fault(end);
        if let Some(reason) = last_words(end) {
            // When the remote does not take its reason in time, it does without.
            let _ = timeout(CLOSE, link_writer::write_close(&mut writer, reason)).await;
            drop(writer);
            let _ = timeout(CLOSE, reader.drain()).await;
        }
    }

    async fn greet(
        &self,
        place: &Place,
        reader: &mut Reader,
        writer: &mut OwnedWriteHalf,
    ) -> Result<Greeted, SessionEnd> {
        let deadline = Duration::from_millis(limits::HELLO_MS_MAX);
        let greeting = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(SessionEnd::Stopping),
            greeting = timeout(deadline, reader.greeting()) => greeting,
        };
        let (client, version) = match greeting.map_err(|_| SessionFault::Silent)?? {
            Greeting::Client(client, version) => (client, version),
            Greeting::Relay(hello) => {
                let (wired, handle) = self.greet_neighbour(&hello, writer).await?;
                return Ok(Greeted::Neighbour(Box::new(wired), handle));
            }
        };
        if let Some(why) = &place.neighbours_only {
            return Err(SessionEnd::Full(why.clone()));
        }
        let handle = self.sessions.open().await.map_err(|_| SessionEnd::Stopping)?;
        tracing::debug!(session = %handle.sender.session(), name = client.name, "a session was opened");
        write_hello(writer, FrameKind::Hello, &self.hello(version)).await?;
        Ok(Greeted::Client(handle))
    }

    fn hello(&self, version: u32) -> Bytes {
        let identity = self.sessions.identity();
        body::encode(&RelayHello {
            magic: PROTOCOL_MAGIC.to_owned(),
            version,
            relay: identity.relay.clone(),
            epoch: identity.epoch,
            put_bytes_max: limits::SESSION_PUT_BYTES_MAX as u64,
            now: clock::system(),
        })
    }

    /// Runs a session, or a link when it is one with a neighbour, until it ends.
    pub(super) async fn run(
        &self,
        handle: SessionHandle,
        reader: &mut Reader,
        mut writer: OwnedWriteHalf,
        wired: Option<&Wired>,
    ) -> SessionEnd {
        let SessionHandle { sender, mut receiver } = handle;
        let queue = Arc::clone(sender.queue());
        let written = CancellationToken::new();
        let guard = written.clone().drop_guard();
        let packing = wired.filter(|wired| wired.neighbour.packs);
        let packer = packing.map(|wired| Packer::new(Arc::clone(&wired.is_capped)));
        let mut writing = self.tasks.spawn("session writer", async move {
            let _guard = guard;
            // A connection that breaks is seen by the reader too.
            let _ = link_writer::run(&mut writer, &mut receiver, packer).await;
        });
        let cut = wired.map(|wired| wired.cord.cut.clone()).unwrap_or_default();
        let end = {
            let reading = async {
                match wired {
                    Some(wired) => links::converse(&wired.neighbour, &self.links, reader, &sender).await,
                    None => read(reader, &sender).await,
                }
            };
            tokio::pin!(reading);
            tokio::select! {
                biased;
                () = written.cancelled() => match wired {
                    // What a neighbour has sent and has come is taken: it would be sent again.
                    Some(_) => timeout(CLOSE, &mut reading).await.unwrap_or(SessionEnd::Closed),
                    None => SessionEnd::Closed,
                },
                () = self.stop.cancelled() => SessionEnd::Stopping,
                () = cut.cancelled() => SessionEnd::Unlinked,
                end = &mut reading => end,
            }
        };
        match (&end, last_words(&end)) {
            // The driver answers what is on its way, and closes the queue.
            (SessionEnd::Stopping, _) => {
                let _ = timeout(STOP, written.cancelled()).await;
            }
            (_, Some(reason)) => {
                queue.close(reason);
                // The core must not go on with a link for as long as its last words take: to a neighbour
                // that has died nothing can be written any more.
                if wired.is_none() {
                    let _ = timeout(CLOSE, written.cancelled()).await;
                }
            }
            (_, None) => {}
        }
        sender.close().await;
        queue.close(String::new());
        let is_dead = matches!(end, SessionEnd::Fault(SessionFault::Unheard { .. }));
        if timeout(if is_dead { LAST_TRY } else { CLOSE }, &mut writing).await.is_err() {
            writing.abort();
        } else if !is_dead && !matches!(end, SessionEnd::Left(_) | SessionEnd::Broken(_)) {
            let _ = timeout(CLOSE, reader.drain()).await;
        }
        end
    }
}

/// Reads until the session ends from the remote's side.
///
/// # Cancel safety
/// Inputs that wait to be handed over are lost.
async fn read(reader: &mut Reader, sender: &SessionSender) -> SessionEnd {
    loop {
        let mut incoming = Incoming::default();
        reader.take(sender.session(), &mut incoming);
        if !incoming.pings.is_empty() {
            sender.queue().pong(&incoming.pings);
        }
        let mut end = incoming.end;
        if incoming.requests > 0 {
            let (found, max) =
                (sender.queue().expect_answers(incoming.requests), limits::SESSION_REQUESTS_MAX);
            if found > max {
                end.get_or_insert(SessionFault::Requests { found, max }.into());
            }
        }
        if sender.send(incoming.inputs).await.is_err() {
            return SessionEnd::Stopping;
        }
        if let Some(end) = end {
            return end;
        }
        sender.queue().has_room().await;
        if let Err(end) = reader.fill().await {
            return end;
        }
    }
}

/// Writes a first frame, unless the other side takes too long to take it.
pub(super) async fn write_hello(
    writer: &mut OwnedWriteHalf,
    kind: FrameKind,
    hello: &[u8],
) -> Result<(), SessionEnd> {
    let deadline = Duration::from_millis(limits::HELLO_MS_MAX);
    match timeout(deadline, link_writer::write_control(writer, kind, hello)).await {
        Ok(result) => result.map_err(SessionEnd::Broken),
        Err(_) => Err(SessionFault::Silent.into()),
    }
}

pub(super) fn count_fault(end: &SessionEnd) {
    if let SessionEnd::Fault(fault) = end {
        metrics::frame_refused(fault.label());
    }
}

/// What the last frame says, when there is one to be sent.
fn last_words(end: &SessionEnd) -> Option<String> {
    match end {
        SessionEnd::Fault(fault) => Some(fault.to_string()),
        SessionEnd::Stopping => Some("the relay is stopping".to_owned()),
        SessionEnd::Knocked => Some(links::KNOCKED.to_owned()),
        SessionEnd::Full(why) => Some(why.clone()),
        SessionEnd::Unlinked => Some(links::UNLINKED.to_owned()),
        SessionEnd::Left(_) | SessionEnd::Broken(_) | SessionEnd::Closed => None,
    }
}
