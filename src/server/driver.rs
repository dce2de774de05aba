//! The driver: the one task that owns the relay's core and hands its effects on.
//!
//! A turn takes what waits, hands it to the core, and carries out what the core
//! wants. Per turn there is at most one append, one wake-up of the committer
//! and one wake-up per session, however many inputs it had. It never waits for
//! a disk, a socket or a session: only for something to do.
//!
//! What goes on to neighbours goes first, then what sessions are told, then, unless it is much, the
//! disk: where the committer and this thread share a processor, one that is woken earlier keeps everybody
//! behind this relay waiting while it begins to sync. When there is much, the disk must not wait.
//!
//! Sketch for 1,000 windows of 16 bytes in runs of 64 KiB: 6 inputs, one or two
//! turns, one append, one sync, two wake-ups (the runs, the sync), and a
//! delivery per subscription and run.

mod effects;
mod sessions;
mod snapshots;
mod stop;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use self::sessions::{Table, Written};
use self::snapshots::Snapshots;
use self::turn::{Turn, after_those_ready};
use super::clock::Clock;
use super::fault::ServerError;
use super::handle::PutPermit;
use super::links::Links;
use super::readers::{JobDone, Readers};
use super::scrub::Scrubber;
use super::signals::Signals;
use crate::id::{Epoch, GroupNumber, Index, LinkId, SessionId};
use crate::limits;
use crate::log::{EntryNumber, Log, Urgency};
use crate::metrics::{LinkTraffic, TurnCounts, Turns};
use crate::net::outgoing::OutQueue;
use crate::net::slice::Slice;
use crate::relay::{Input, Now, Relay};
use crate::wire::body::{Answer, Reply};

/// What waits for the driver.
#[derive(Debug)]
pub(crate) enum Message {
    /// A session was opened; its queue takes what comes back.
    Opened(Arc<OutQueue>),
    /// A neighbour was greeted, by this data directory of it, and takes losses in place of records or not.
    LinkOpened(Arc<OutQueue>, (LinkId, bool), Epoch, oneshot::Sender<bool>),
    /// A session has something.
    Batch(Batch),
    /// A session is over.
    Closed(SessionId),
    /// A thread has done what it was given.
    Done(JobDone),
}

/// What one read of a session has brought.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The session.
    pub(crate) session: SessionId,
    /// What happened, in order.
    pub(crate) inputs: VecDeque<Input>,
    /// Bytes of the puts among them.
    pub(crate) put_bytes: usize,
    /// Permits for these bytes.
    pub(crate) permit: Option<PutPermit>,
}

/// A part of a backlog that the core wants.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    group: GroupNumber,
    from: Index,
    bytes_max: usize,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) relay: Relay,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) readers: Readers,
    pub(crate) scrubber: Scrubber,
    pub(crate) clock: Clock,
    /// The links outside of the core.
    pub(crate) links: Links,
    pub(crate) link_traffic: LinkTraffic,
    /// The last entry in the log.
    pub(crate) last: EntryNumber,
    /// Bytes appended between two snapshots.
    pub(crate) snapshot_bytes: u64,
    /// Bytes that were appended since the last one, before this start.
    pub(crate) replayed_bytes: u64,
}

pub(crate) struct Driver {
    relay: Relay,
    log: Arc<dyn Log>,
    signals: Arc<Signals>,
    messages: mpsc::Receiver<Message>,
    readers: Readers,
    scrubber: Scrubber,
    clock: Clock,
    sessions: Table,
    snapshots: Snapshots,
    turn: Turn,
    /// What is left of the batch at which a turn's time was over.
    rest: Option<Batch>,
    /// Reads that wait for the next turn.
    wanted: VecDeque<Wanted>,
    /// Permits of puts that are not durable, with the entry that they wait for.
    unsynced: VecDeque<(EntryNumber, PutPermit)>,
    /// The last entry handed to the log.
    appended: EntryNumber,
    /// The last entry that the core knows to be durable.
    durable: EntryNumber,
    metrics: Turns,
    link_traffic: LinkTraffic,
    links: Links,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            relay: parts.relay,
            log: parts.log,
            signals: parts.signals,
            messages: parts.messages,
            readers: parts.readers,
            scrubber: parts.scrubber,
            clock: parts.clock,
            sessions: Table::default(),
            snapshots: Snapshots::new(parts.snapshot_bytes, parts.replayed_bytes),
            turn: Turn::default(),
            rest: None,
            wanted: VecDeque::new(),
            unsynced: VecDeque::new(),
            appended: parts.last,
            durable: parts.last,
            metrics: Turns::new(),
            link_traffic: parts.link_traffic,
            links: parts.links,
        }
    }

    /// Works until it is asked to stop, and stops in order.
    ///
    /// # Errors
    /// When the log has failed: nothing more will become durable.
    pub(crate) async fn run(mut self) -> Result<(), ServerError> {
        let timer = tokio::time::sleep(std::time::Duration::ZERO);
        tokio::pin!(timer);
        let mut first = None;
        loop {
            let is_busy = self.turn(first.take()).await?;
            if self.signals.is_stopping() {
                return self.stop().await;
            }
            if is_busy {
                tokio::task::yield_now().await;
                continue;
            }
            let deadline = self.deadline();
            if let Some(deadline) = deadline
                && timer.deadline() != deadline
            {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = self.signals.wake.notified() => {}
                message = self.messages.recv() => first = message,
                () = &mut timer, if deadline.is_some() => {}
            }
        }
    }

    /// When there is something to do though nothing happens.
    fn deadline(&self) -> Option<tokio::time::Instant> {
        let relay = self.relay.next_deadline().map(|time| self.clock.instant(time));
        let snapshot = self.snapshots.deadline().map(tokio::time::Instant::from_std);
        relay.into_iter().chain(snapshot).min()
    }

    /// One turn; true when there is more to do at once.
    async fn turn(&mut self, first: Option<Message>) -> Result<bool, ServerError> {
        let started = Instant::now();
        let now = self.clock.now();
        self.take_signals(now)?;
        if self.relay.next_deadline().is_some_and(|deadline| deadline <= now.time) {
            self.handle(now, Input::Tick);
        }
        self.read_wanted(now);
        let has_more = self.take_messages(now, first);
        self.ask_for_shards(now);
        self.carry_out(now);
        let has_said = self.sessions.flush();
        let mut spent = started.elapsed();
        if has_said && self.turn.is_small() {
            after_those_ready().await;
        }
        let appending = Instant::now();
        self.finish()?;
        spent += appending.elapsed();
        self.metrics.turn(&self.turn.counts, spent);
        self.turn.counts = TurnCounts::default();
        for link in std::mem::take(&mut self.turn.links) {
            if let Some((counts, waiting)) = self.relay.link_counts(link) {
                self.link_traffic.carried(link, &counts, waiting);
            }
        }
        Ok(has_more || !self.wanted.is_empty() || self.snapshots.is_asking())
    }

    fn handle(&mut self, now: Now, input: Input) {
        self.turn.counts.inputs += 1;
        self.relay.handle(now, input);
    }

    /// Everything that is a latest value.
    fn take_signals(&mut self, now: Now) -> Result<(), ServerError> {
        if let Some(error) = self.signals.failed() {
            return Err(error.clone().into());
        }
        let durable = self.signals.durable();
        if durable > self.durable {
            self.durable = durable;
            while self.unsynced.front().is_some_and(|(number, _)| *number <= durable) {
                self.unsynced.pop_front();
            }
            self.handle(now, Input::Durable { through: durable });
        }
        if let Some(free) = self.signals.take_room() {
            log_room(free);
            self.snapshots.set_room(free);
            self.handle(now, Input::Room { free });
        }
        if self.signals.take_wants_snapshot() {
            self.snapshots.want();
        }
        if self.signals.take_awaits_snapshot() {
            self.snapshots.wait_for();
        }
        self.sessions.take_written(&self.signals.progress);
        while let Some(written) = self.sessions.next_written() {
            let input = match written {
                Written::Session(session, total) => Input::Written { session, total },
                Written::Link(link, total, saved) => {
                    self.turn.links.insert(link);
                    if saved > 0 {
                        self.handle(now, Input::LinkSaved { link, total: saved });
                    }
                    Input::LinkWritten { link, total }
                }
            };
            self.handle(now, input);
        }
        for session in self.signals.take_abandoned() {
            self.close_session(now, session);
        }
        self.carry_out(now);
        Ok(())
    }

    /// Messages up to the work limit; true when there are more.
    fn take_messages(&mut self, now: Now, first: Option<Message>) -> bool {
        let (mut put_bytes, mut slice) = (0, Slice::begin());
        let mut next = self.rest.take().map(Message::Batch);
        if next.is_none() {
            next = first;
        } else {
            assert!(first.is_none(), "the driver waits for messages though it has work");
        }
        for _ in 0..limits::TURN_MESSAGES_MAX {
            let Some(message) = next.take().or_else(|| self.messages.try_recv().ok()) else { return false };
            if let Message::Batch(batch) = &message {
                put_bytes += batch.put_bytes;
            }
            self.take_message(now, message, &mut slice);
            // After each message, so that what the core has to say never piles up.
            self.carry_out(now);
            if put_bytes >= limits::TURN_PUT_BYTES_MAX || self.rest.is_some() || slice.is_over() {
                break;
            }
        }
        self.rest.is_some() || !self.messages.is_empty()
    }

    fn take_message(&mut self, now: Now, message: Message, slice: &mut Slice) {
        match message {
            // It was given up on its way here, which has been said already.
            Message::Opened(queue) | Message::LinkOpened(queue, ..) if queue.is_abandoned() => {}
            Message::Opened(queue) => {
                let session = queue.session();
                self.sessions.insert(queue);
                self.handle(now, Input::SessionOpened { session });
            }
            Message::LinkOpened(queue, link, boot, answer) => {
                let is_taken = self.open_link(now, queue, link, boot);
                // Whoever does not wait for it any more has dropped the link.
                let _ = answer.send(is_taken);
            }
            Message::Batch(batch) => self.take_batch(now, batch, slice),
            Message::Closed(session) => self.close_session(now, session),
            Message::Done(JobDone::Read { group, from, pieces }) => {
                self.handle(now, Input::Fetched { group, from, pieces });
            }
            Message::Done(JobDone::Status { session, request, status }) => {
                self.sessions.answer(session, request, Box::new(Answer::Ok(Reply::Status(status))));
            }
            Message::Done(JobDone::Snapshot { is_written }) => self.snapshots.written(is_written),
        }
    }

    /// What does not fit into the turn's time is left for the next one, with the permits.
    fn take_batch(&mut self, now: Now, mut batch: Batch, slice: &mut Slice) {
        if !self.sessions.has(batch.session) {
            // It was abandoned with inputs on their way; their permits go back here.
            self.turn.counts.orphans += batch.inputs.len() as u64;
            return;
        }
        self.turn.links.extend(self.sessions.link_of(batch.session));
        self.turn.counts.put_bytes += std::mem::take(&mut batch.put_bytes) as u64;
        while let Some(input) = batch.inputs.pop_front() {
            self.turn.counts.puts += u64::from(matches!(input, Input::Put { .. }));
            self.handle(now, input);
            if slice.is_over() && !batch.inputs.is_empty() {
                self.rest = Some(batch);
                return;
            }
        }
        self.turn.permits.extend(batch.permit);
    }

    /// False: another relay of this name is connected.
    fn open_link(
        &mut self,
        now: Now,
        queue: Arc<OutQueue>,
        (link, losses): (LinkId, bool),
        boot: Epoch,
    ) -> bool {
        let Some(before) = self.sessions.insert_link(link, boot, queue) else { return false };
        if let Some(session) = before {
            self.sessions.close(session, "the relay has connected anew".to_owned());
            self.sessions.remove(session);
            self.handle(now, Input::LinkDown { link });
        }
        self.handle(now, Input::LinkUp { link, losses });
        true
    }

    fn close_session(&mut self, now: Now, session: SessionId) {
        let link = self.sessions.link_of(session);
        if self.sessions.remove(session) {
            self.handle(
                now,
                match link {
                    Some(link) => Input::LinkDown { link },
                    None => Input::SessionClosed { session },
                },
            );
        }
    }

    /// Hands on to the disk what the turn has gathered.
    fn finish(&mut self) -> Result<(), ServerError> {
        let turn = &mut self.turn;
        let hurries = std::mem::take(&mut turn.hurries);
        let urgency = if hurries { Urgency::Sync } else { turn.urgency };
        turn.urgency = Urgency::default();
        if turn.entries.is_empty() {
            if hurries {
                self.log.hurry();
            }
            // Refused, repeated or held by the core: nothing will be synced for them.
            turn.permits.clear();
        } else {
            let entries = std::mem::take(&mut turn.entries);
            turn.counts.appended += entries.len() as u64;
            self.snapshots.appended(std::mem::take(&mut turn.bytes));
            let expected = EntryNumber(self.appended.0 + entries.len() as u64);
            self.appended = self.log.append(entries, urgency)?;
            assert_eq!(self.appended, expected, "the core and the log count entries differently");
            self.unsynced.extend(turn.permits.drain(..).map(|permit| (expected, permit)));
        }
        if let Some((neighbours, entry)) = self.turn.neighbours.take() {
            let head = &entry.head;
            tracing::info!(version = %head.version, by = %head.by, "this relay goes by another topology");
            self.link_traffic.set(neighbours.iter().map(|n| (n.link, n.relay.as_str())));
            self.links.set(&neighbours, entry);
        }
        Ok(())
    }
}

/// Once when it begins and once when it is over: the log tells of changes only.
fn log_room(free: bool) {
    if free {
        tracing::info!("there is room on the disk: puts are taken again");
    } else {
        tracing::warn!(
            "the disk is full, or the relay may open no more files: puts are refused, gets and acks go on from the reserve"
        );
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("appended", &self.appended)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}
