//! Sessions without a socket: what every front door holds, the native one too.
//!
//! A session is a sender of inputs and a receiver of what comes back. Sending
//! waits when the relay has enough to do: that is the back-pressure, and it
//! ends at the socket of whoever sends. Puts take permits for their bytes
//! first, so that they never stand in the driver's queue before others that
//! only ack; the permits come back when the puts are durable or refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::driver::{Batch, Message};
use super::signals::Signals;
use crate::id::{Epoch, LinkId, RelayId, SessionId};
use crate::limits;
use crate::net::outgoing::{OutBatch, OutQueue, OutReceiver, Progress};
use crate::relay::Input;
use crate::wire::body::Request;
use crate::wire::frame::{Ack, Credit, LINK_RUN_HEAD_BYTES, PUT_HEAD_BYTES, PutHead};
use crate::wire::link::LinkMessage;
use crate::wire::run::{BodySummary, RunError};

/// The relay takes no sessions and no inputs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay is stopping")]
pub struct Stopped;

/// Who the relay is, for those who greet its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The relay's name.
    pub relay: RelayId,
    /// Its storage and boot.
    pub epoch: Epoch,
}

/// Permits for bytes of puts, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct PutPermit {
    _session: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

struct Shared {
    identity: Identity,
    driver: mpsc::Sender<Message>,
    signals: Arc<Signals>,
    unsynced: Arc<Semaphore>,
    next: AtomicU64,
}

/// Opens sessions. Cheap to clone; every front door has one.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

impl Sessions {
    pub(crate) fn new(identity: Identity, driver: mpsc::Sender<Message>, signals: Arc<Signals>) -> Self {
        let unsynced = Arc::new(Semaphore::new(limits::UNSYNCED_BYTES_MAX));
        let shared = Shared { identity, driver, signals, unsynced, next: AtomicU64::new(1) };
        Self { shared: Arc::new(shared) }
    }

    /// Who the relay is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Opens a session. Waits while the driver has enough to do.
    ///
    /// # Errors
    /// When the relay is stopping.
    ///
    /// # Cancel safety
    /// No session is open when it is dropped before it is ready.
    pub async fn open(&self) -> Result<SessionHandle, Stopped> {
        self.open_as(OutQueue::new, Message::Opened).await
    }

    /// Opens a session that is a link to a neighbour in this boot; with whether it takes losses in place of
    /// records. `None`: another relay of its name is
    /// connected.
    ///
    /// # Errors
    /// When the relay is stopping.
    ///
    /// # Cancel safety
    /// No link is open when it is dropped before it is ready.
    pub(crate) async fn open_link(
        &self,
        link: (LinkId, bool),
        boot: Epoch,
    ) -> Result<Option<SessionHandle>, Stopped> {
        let (answer, answered) = oneshot::channel();
        let opened = |queue| Message::LinkOpened(queue, link, boot, answer);
        let handle = self.open_as(OutQueue::for_link, opened).await?;
        let is_taken = answered.await.map_err(|_| Stopped)?;
        Ok(is_taken.then_some(handle))
    }

    async fn open_as(
        &self,
        queue: fn(SessionId, Arc<Progress>) -> (Arc<OutQueue>, OutReceiver),
        opened: impl FnOnce(Arc<OutQueue>) -> Message,
    ) -> Result<SessionHandle, Stopped> {
        if self.shared.signals.is_stopping() {
            return Err(Stopped);
        }
        let place = self.shared.driver.reserve().await.map_err(|_| Stopped)?;
        let session = SessionId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let (queue, receiver) = queue(session, Arc::clone(&self.shared.signals.progress));
        place.send(opened(Arc::clone(&queue)));
        let sender = SessionSender {
            session,
            shared: Arc::clone(&self.shared),
            put_bytes: Arc::new(Semaphore::new(limits::SESSION_PUT_BYTES_MAX)),
            queue,
            is_closed: false,
        };
        Ok(SessionHandle { sender, receiver })
    }
}

/// An open session. It ends when its sender is closed or dropped.
#[derive(Debug)]
pub struct SessionHandle {
    /// Takes inputs.
    pub sender: SessionSender,
    /// Gives what comes back.
    pub receiver: OutReceiver,
}

impl SessionHandle {
    /// Waits for the next batch of what comes back. See [`OutReceiver::receive`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn receive(&mut self, batch: &mut OutBatch) {
        self.receiver.receive(batch).await;
    }
}

/// The way in of a session.
pub struct SessionSender {
    session: SessionId,
    shared: Arc<Shared>,
    put_bytes: Arc<Semaphore>,
    queue: Arc<OutQueue>,
    is_closed: bool,
}

impl std::fmt::Debug for SessionSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionSender").field("session", &self.session).finish_non_exhaustive()
    }
}

impl SessionSender {
    /// The session's id, for the inputs that are sent.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// What waits to be sent back.
    #[must_use]
    pub fn queue(&self) -> &Arc<OutQueue> {
        &self.queue
    }

    /// A request as an input. `request` comes back with its answer.
    #[must_use]
    pub fn request(&self, request: u64, body: Request) -> Input {
        self.queue.expect_answers(1);
        Input::Request { session: self.session, request, body: Box::new(body) }
    }

    /// A put as an input; the hash in `head` is not looked at.
    ///
    /// # Errors
    /// When the records are not whole or over a limit.
    pub fn put(&self, handle: u32, head: PutHead, records: Bytes) -> Result<Input, RunError> {
        let summary = BodySummary::of(&records)?;
        Ok(Input::Put { session: self.session, handle, head, summary, records })
    }

    /// Acks as an input.
    #[must_use]
    pub fn acks(&self, acks: Vec<Ack>) -> Input {
        Input::Ack { session: self.session, acks }
    }

    /// Credits as an input.
    #[must_use]
    pub fn credits(&self, credits: Vec<Credit>) -> Input {
        Input::Credit { session: self.session, credits }
    }

    /// Hands inputs to the driver, in order and as one message when there is
    /// room for their puts. Waits for the permits of puts, of this session and of all.
    ///
    /// # Errors
    /// When the relay is stopping.
    ///
    /// # Cancel safety
    /// Inputs that were not handed over are lost when it is dropped.
    pub async fn send(&self, inputs: Vec<Input>) -> Result<(), Stopped> {
        if inputs.is_empty() {
            return Ok(());
        }
        let bytes = put_bytes(&inputs);
        if bytes == 0 {
            return self.hand_over(inputs, 0, None).await;
        }
        if let Some(permit) = self.try_permit(bytes) {
            return self.hand_over(inputs, bytes, Some(permit)).await;
        }
        self.send_in_parts(inputs).await
    }

    /// What stands before the first put need not wait with it.
    async fn send_in_parts(&self, mut inputs: Vec<Input>) -> Result<(), Stopped> {
        let first = inputs.iter().position(|input| bytes_of(input) > 0).unwrap_or(0);
        let puts = inputs.split_off(first);
        if !inputs.is_empty() {
            self.hand_over(inputs, 0, None).await?;
        }
        let bytes = put_bytes(&puts);
        let permit = self.permit(bytes).await;
        self.hand_over(puts, bytes, Some(permit)).await
    }

    async fn hand_over(
        &self,
        inputs: Vec<Input>,
        put_bytes: usize,
        permit: Option<PutPermit>,
    ) -> Result<(), Stopped> {
        let batch = Batch { session: self.session, inputs: inputs.into(), put_bytes, permit };
        self.shared.driver.send(Message::Batch(batch)).await.map_err(|_| Stopped)
    }

    fn try_permit(&self, bytes: usize) -> Option<PutPermit> {
        let session = Arc::clone(&self.put_bytes).try_acquire_many_owned(of_session(bytes)).ok()?;
        let all = Arc::clone(&self.shared.unsynced).try_acquire_many_owned(of_all(bytes)).ok()?;
        Some(PutPermit { _session: session, _all: all })
    }

    async fn permit(&self, bytes: usize) -> PutPermit {
        const PROOF: &str = "the semaphores of puts are never closed";
        let session = Arc::clone(&self.put_bytes).acquire_many_owned(of_session(bytes)).await;
        let all = Arc::clone(&self.shared.unsynced).acquire_many_owned(of_all(bytes)).await;
        PutPermit { _session: session.expect(PROOF), _all: all.expect(PROOF) }
    }

    /// Ends the session after everything that was sent.
    ///
    /// # Cancel safety
    /// The session ends in any case.
    pub async fn close(mut self) {
        if self.shared.driver.send(Message::Closed(self.session)).await.is_ok() {
            self.is_closed = true;
        }
    }
}

impl Drop for SessionSender {
    fn drop(&mut self) {
        if !self.is_closed {
            self.queue.abandon();
            self.shared.signals.abandon(self.session);
        }
    }
}

/// A put larger than all permits takes all of them.
fn of_session(bytes: usize) -> u32 {
    u32::try_from(bytes.min(limits::SESSION_PUT_BYTES_MAX)).unwrap_or(u32::MAX)
}

fn of_all(bytes: usize) -> u32 {
    u32::try_from(bytes.min(limits::UNSYNCED_BYTES_MAX)).unwrap_or(u32::MAX)
}

/// Bytes that the puts among `inputs` count, and runs of neighbours.
fn put_bytes(inputs: &[Input]) -> usize {
    inputs.iter().map(bytes_of).sum()
}

fn bytes_of(input: &Input) -> usize {
    match input {
        Input::Put { records, .. } => PUT_HEAD_BYTES + records.len(),
        Input::Link { message: LinkMessage::Run { run, .. }, .. } => LINK_RUN_HEAD_BYTES + run.body.len(),
        Input::SessionOpened { .. }
        | Input::SessionClosed { .. }
        | Input::Request { .. }
        | Input::Ack { .. }
        | Input::Credit { .. }
        | Input::Written { .. }
        | Input::Fetched { .. }
        | Input::Durable { .. }
        | Input::Room { .. }
        | Input::LinkUp { .. }
        | Input::LinkDown { .. }
        | Input::LinkCost { .. }
        | Input::Link { .. }
        | Input::LinkWritten { .. }
        | Input::LinkSaved { .. }
        | Input::Topology { .. }
        | Input::Snapshot { .. }
        | Input::Tick
        | Input::Stop => 0,
    }
}
