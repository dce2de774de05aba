//! What waits to be sent to one session or neighbour: filled by the driver, emptied by the
//! session's writer or by a front door.
//!
//! The driver never waits here: the queue takes everything, and is bounded by
//! what others keep to. The core stops delivering when
//! [`limits::SESSION_OUT_BYTES_MAX`] bytes are not written; a session is not
//! read from while [`limits::SESSION_CONTROL_BYTES_MAX`] bytes of answers wait,
//! those to puts among them; past [`limits::SESSION_CONTROL_BYTES_LAST`] it is closed. A neighbour is
//! always read from, since two that both waited would stop one another: of what
//! [`limits::LINK_WAITING_BYTES_LAST`] says more is dropped, and the link ends.
//!
//! Pings, pongs and put-answers overtake; answers, notices and deliveries keep their
//! order among themselves. How much was written runs against the flow: a
//! number that only grows, and the name of the session on the [`Progress`] board.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::id::SessionId;
use crate::limits;
use crate::relay::Effect;
use crate::wire::body::{Answer, Notice, RelayTrace, Reply};
use crate::wire::frame::{DeliverHead, PUT_HEAD_BYTES, PutDone};
use crate::wire::link::LinkMessage;

/// One thing on its way to a session, in order with the others.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// The answer to a request.
    Answer {
        /// The request's number.
        request: u64,
        /// The answer.
        answer: Box<Answer>,
    },
    /// Something said unasked.
    Notice(Box<Notice>),
    /// Messages for a subscription.
    Deliver {
        /// The subscription, by the session's handle.
        handle: u32,
        /// The fixed part.
        head: DeliverHead,
        /// The records.
        records: Bytes,
    },
    /// Something for a neighbour. Counts as much as the core counts it, like a delivery.
    Link(Box<LinkMessage>),
}

impl Outgoing {
    /// About how many bytes of memory it holds; what the core counts by itself is not counted.
    fn control_bytes(&self) -> usize {
        const ITEM: usize = 512;
        match self {
            Self::Deliver { .. } | Self::Link(_) => 0,
            Self::Notice(_) => ITEM,
            Self::Answer { answer, .. } => match &**answer {
                Ok(Reply::Groups(groups)) => ITEM * (1 + groups.len()),
                Ok(Reply::Subscriptions(subscriptions)) => ITEM * (1 + subscriptions.len()),
                Ok(Reply::Located(locations)) => ITEM * (1 + locations.len()),
                Ok(Reply::Links(links)) => 2 * ITEM * (1 + links.len()),
                Ok(Reply::Relays(relays)) => {
                    ITEM * (1 + relays.len())
                        + 64 * relays.iter().map(|relay| relay.ends.len()).sum::<usize>()
                }
                Ok(Reply::Forgetting(told)) => {
                    let names = told.queues.len() + told.origins.len();
                    ITEM * (1 + told.subscriptions.len() + names)
                }
                Ok(Reply::Draining(state)) => {
                    let items =
                        state.homes.len() + state.waits.len() + state.kept.len() + state.closing.len();
                    2 * ITEM * (1 + items)
                }
                Ok(Reply::GroupTree(tree)) => ITEM + 128 * tree.nodes.len(),
                Ok(Reply::Where(found)) => {
                    let said = |trace: &RelayTrace| trace.subscriptions.len() + trace.receipts.len();
                    ITEM * (1 + found.relays.len() + found.silent.len())
                        + 64 * found.relays.iter().map(said).sum::<usize>()
                }
                Ok(Reply::Topology(info)) => {
                    ITEM * (1 + info.kept.len()) + info.entry.as_ref().map_or(0, |entry| entry.text.len())
                }
                Ok(Reply::Group(group)) => ITEM + 64 * group.streams.len(),
                Ok(
                    Reply::Done
                    | Reply::GroupHandle { .. }
                    | Reply::SubscriptionHandle { .. }
                    | Reply::Subscription(_)
                    | Reply::Polled { .. }
                    | Reply::Status(_)
                    | Reply::Books(_)
                    | Reply::TopologyApplied(_),
                )
                | Err(_) => ITEM,
            },
        }
    }

    /// The records that go with it, if it has some.
    fn records(&self) -> Option<&Bytes> {
        match self {
            Self::Deliver { records, .. } => Some(records),
            Self::Link(message) => match &**message {
                LinkMessage::Run { run, .. } | LinkMessage::Copy { run, .. } => Some(&run.body),
                LinkMessage::Deliver { records, .. } => Some(records),
                LinkMessage::Pull(_)
                | LinkMessage::Pulled(_)
                | LinkMessage::Holds(_)
                | LinkMessage::Digest(_)
                | LinkMessage::Buckets(_) => None,
                LinkMessage::Facts(_)
                | LinkMessage::FactsEnd
                | LinkMessage::Seen { .. }
                | LinkMessage::Stream(_)
                | LinkMessage::Receipts(_)
                | LinkMessage::Released(_)
                | LinkMessage::Ask(_)
                | LinkMessage::Confirmed(_)
                | LinkMessage::Finished(_)
                | LinkMessage::AskWhere(_)
                | LinkMessage::ToldWhere(_)
                | LinkMessage::Circuit(_)
                | LinkMessage::Move(_) => None,
            },
            Self::Answer { .. } | Self::Notice(_) => None,
        }
    }

    /// Bytes as [`Effect::deliver_bytes`] and [`LinkMessage::bytes`] count them.
    fn deliver_bytes(&self) -> u64 {
        match self {
            Self::Deliver { records, .. } => Effect::deliver_bytes(records),
            Self::Link(message) => message.bytes(),
            Self::Answer { .. } | Self::Notice(_) => 0,
        }
    }
}

/// What the driver has for one session at the end of a turn.
#[derive(Debug, Default)]
pub struct Staged {
    /// Puts that are done.
    pub dones: Vec<PutDone>,
    /// Everything else, in order.
    pub items: Vec<Outgoing>,
    /// Why the session is to end, if it is.
    pub close: Option<String>,
}

impl Staged {
    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dones.is_empty() && self.items.is_empty() && self.close.is_none()
    }
}

/// What a session's writer takes at a time.
#[derive(Debug, Default)]
pub struct OutBatch {
    /// Tags of pings to be sent.
    pub pings: Vec<u64>,
    /// Tags of pings to be answered.
    pub pongs: Vec<u64>,
    /// Puts that are done.
    pub dones: Vec<PutDone>,
    /// Everything else, in order.
    pub items: Vec<Outgoing>,
    /// Bytes of the deliveries among them; to be given to [`OutReceiver::wrote`].
    pub deliver_bytes: u64,
    /// Whether more waits behind it.
    pub has_more: bool,
    /// Why the session ends, if this is the last batch.
    pub close: Option<String>,
}

impl OutBatch {
    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.pings.clear();
        self.pongs.clear();
        self.dones.clear();
        self.items.clear();
        self.deliver_bytes = 0;
        self.has_more = false;
        self.close = None;
    }
}

/// Where sessions say that they have written something, for the driver to look at its next turn.
#[derive(Debug)]
pub struct Progress {
    changed: Mutex<Vec<SessionId>>,
    driver: Arc<Notify>,
}

impl Progress {
    /// An empty board; `driver` is notified when the driver should look at once.
    #[must_use]
    pub fn new(driver: Arc<Notify>) -> Self {
        Self { changed: Mutex::default(), driver }
    }

    /// Moves the sessions that have written since the last time into `sessions`.
    pub fn take(&self, sessions: &mut Vec<SessionId>) {
        sessions.append(&mut lock(&self.changed));
    }
}

#[derive(Debug, Default)]
struct State {
    pings: Vec<u64>,
    pongs: Vec<u64>,
    dones: Vec<PutDone>,
    items: VecDeque<Outgoing>,
    control_bytes: usize,
    /// Bytes of deliveries that were pushed, in all.
    pushed: u64,
    /// Bytes of the most deliveries that were pushed at once.
    pushed_most: u64,
    /// The core may have paused: it is to be told when less waits.
    tell_when_less: bool,
    close: Option<String>,
    /// Nothing will be taken any more.
    is_over: bool,
    /// Bytes that waited when more was said to a neighbour than it takes.
    untaken: Option<u64>,
}

/// The answers to all puts that may be on their way when a session is held back
/// do not close it.
const PUTS_MAX: usize = (limits::SESSION_PUT_BYTES_MAX + limits::SESSION_READ_BYTES) / PUT_HEAD_BYTES;
const _: () = assert!(
    limits::SESSION_CONTROL_BYTES_MAX + PUTS_MAX * size_of::<PutDone>() <= limits::SESSION_CONTROL_BYTES_LAST
);

/// The queue of one session.
#[derive(Debug)]
pub struct OutQueue {
    session: SessionId,
    state: Mutex<State>,
    /// Notified when there is something to take.
    filled: Notify,
    /// Notified when answers were taken.
    drained: Notify,
    /// Bytes of deliveries written, in all.
    written: AtomicU64,
    /// Bytes among them that did not go because runs were packed, in all.
    saved: AtomicU64,
    /// Whether the session stands on the board.
    is_posted: AtomicBool,
    /// Requests without an answer.
    unanswered: AtomicUsize,
    /// Whether nobody holds the session any more.
    is_abandoned: AtomicBool,
    progress: Arc<Progress>,
    /// When so much waited and less does now, the core is told that it can go on.
    tell_below: u64,
}

/// Half of what may wait for a session.
const HALF: u64 = limits::SESSION_OUT_BYTES_MAX as u64 / 2;

/// Half of what may wait for a neighbour of its backlog.
const LINK_HALF: u64 = limits::LINK_CATCH_UP_BYTES_MAX / 2;

/// Slices are two per large delivery.
const LARGE_ITEMS_MAX: usize = limits::WRITE_SLICES_MAX / 2 - 1;

impl OutQueue {
    /// An empty queue, and the one who empties it.
    #[must_use]
    pub fn new(session: SessionId, progress: Arc<Progress>) -> (Arc<Self>, OutReceiver) {
        Self::telling(session, progress, HALF)
    }

    /// As [`Self::new`], for a link: the core pauses a backlog earlier than what is live.
    #[must_use]
    pub fn for_link(session: SessionId, progress: Arc<Progress>) -> (Arc<Self>, OutReceiver) {
        Self::telling(session, progress, LINK_HALF)
    }

    fn telling(session: SessionId, progress: Arc<Progress>, tell_below: u64) -> (Arc<Self>, OutReceiver) {
        let queue = Arc::new(Self {
            session,
            state: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            written: AtomicU64::new(0),
            saved: AtomicU64::new(0),
            is_posted: AtomicBool::new(false),
            unanswered: AtomicUsize::new(0),
            is_abandoned: AtomicBool::new(false),
            progress,
            tell_below,
        });
        (Arc::clone(&queue), OutReceiver { queue })
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Takes over all of `staged`, and wakes the writer once. Never waits.
    /// `known_written` is the total that the core was told last.
    pub fn push(&self, staged: &mut Staged, known_written: u64) {
        let mut state = lock(&self.state);
        let answers = staged.items.iter().filter(|item| matches!(item, Outgoing::Answer { .. })).count();
        if answers > 0 {
            self.unanswered
                .fetch_sub(answers.min(self.unanswered.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
        if state.is_over || state.close.is_some() {
            staged.dones.clear();
            staged.items.clear();
            staged.close = None;
            return;
        }
        if let Some(waiting) = self.untaken(&state) {
            *state = State { is_over: true, untaken: Some(waiting), ..State::default() };
            staged.dones.clear();
            staged.items.clear();
            return;
        }
        state.control_bytes += size_of_val(&staged.dones[..]);
        state.control_bytes += staged.items.iter().map(Outgoing::control_bytes).sum::<usize>();
        let pushed = staged.items.iter().map(Outgoing::deliver_bytes).sum::<u64>();
        state.pushed += pushed;
        state.pushed_most = state.pushed_most.max(pushed);
        state.tell_when_less = state.pushed.saturating_sub(known_written) >= self.tell_below;
        state.dones.append(&mut staged.dones);
        state.items.extend(staged.items.drain(..));
        state.close = staged.close.take();
        if state.control_bytes > limits::SESSION_CONTROL_BYTES_LAST && state.close.is_none() {
            state.dones.clear();
            state.items.clear();
            state.control_bytes = 0;
            state.close = Some(format!(
                "more than {} bytes of answers were not read",
                limits::SESSION_CONTROL_BYTES_LAST
            ));
        }
        drop(state);
        self.filled.notify_one();
    }

    fn is_link(&self) -> bool {
        self.tell_below == LINK_HALF
    }

    /// Bytes that wait for a neighbour, if these are too many. What was said at once, as a whole table of
    /// facts, is never too much by itself: the link would end whenever it came up.
    fn untaken(&self, state: &State) -> Option<u64> {
        let waiting = state.pushed.saturating_sub(self.written.load(Ordering::SeqCst));
        let most = limits::LINK_WAITING_BYTES_LAST.saturating_add(state.pushed_most);
        (self.is_link() && waiting > most).then_some(waiting)
    }

    /// Bytes that waited when what is said to a neighbour became too much for it: nothing of it is
    /// there any more, and the link is to end.
    #[must_use]
    pub fn has_overflowed(&self) -> Option<u64> {
        lock(&self.state).untaken
    }

    /// Answers pings, ahead of everything that waits.
    pub fn pong(&self, tags: &[u64]) {
        let mut state = lock(&self.state);
        if !state.is_over {
            state.pongs.extend_from_slice(tags);
            state.control_bytes += size_of_val(tags);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Asks whether the other side is there, ahead of everything that waits; once for all
    /// questions that wait already.
    pub fn ping(&self, tag: u64) {
        let mut state = lock(&self.state);
        if !state.is_over {
            state.pings.clear();
            state.pings.push(tag);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Ends the session after what waits; the first reason stays.
    pub fn close(&self, reason: String) {
        lock(&self.state).close.get_or_insert(reason);
        self.filled.notify_one();
    }

    /// Nobody holds the session any more. Said before the driver is told so: it may hear that before
    /// it takes the session, and would keep it for ever.
    pub fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::SeqCst);
    }

    /// Whether nobody holds the session any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::SeqCst)
    }

    /// Counts requests that will be answered, and says how many there are now.
    pub fn expect_answers(&self, requests: usize) -> usize {
        self.unanswered.fetch_add(requests, Ordering::Relaxed) + requests
    }

    /// Waits until few enough answers wait that more may be asked for.
    ///
    /// # Cancel safety
    /// Nothing is lost. Only one task may wait at a time.
    pub async fn has_room(&self) {
        while self.is_crowded() {
            self.drained.notified().await;
        }
    }

    fn is_crowded(&self) -> bool {
        let state = lock(&self.state);
        state.control_bytes > limits::SESSION_CONTROL_BYTES_MAX && !state.is_over
    }

    /// Bytes of deliveries written, in all; takes the session off the board.
    #[must_use]
    pub fn take_written(&self) -> u64 {
        self.is_posted.store(false, Ordering::SeqCst);
        self.written.load(Ordering::SeqCst)
    }

    /// Bytes that did not go because runs were packed, in all.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.saved.load(Ordering::SeqCst)
    }

    fn wrote(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let written = self.written.fetch_add(bytes, Ordering::SeqCst) + bytes;
        if !self.is_posted.swap(true, Ordering::SeqCst) {
            lock(&self.progress.changed).push(self.session);
        }
        let mut state = lock(&self.state);
        if state.tell_when_less && state.pushed.saturating_sub(written) < self.tell_below {
            state.tell_when_less = false;
            drop(state);
            self.progress.driver.notify_one();
        }
    }

    /// Moves the next batch over; false when there is nothing to take.
    fn take(&self, batch: &mut OutBatch) -> bool {
        batch.clear();
        let mut state = lock(&self.state);
        std::mem::swap(&mut batch.pings, &mut state.pings);
        std::mem::swap(&mut batch.pongs, &mut state.pongs);
        std::mem::swap(&mut batch.dones, &mut state.dones);
        let taken = size_of_val(&batch.pongs[..]) + size_of_val(&batch.dones[..]);
        state.control_bytes -= taken.min(state.control_bytes);
        let (mut bytes, mut controls, mut large) = (0, 0, 0);
        while bytes < limits::WRITE_BYTES_MAX
            && controls < limits::WRITE_CONTROL_BYTES_MAX
            && large < LARGE_ITEMS_MAX
        {
            let Some(item) = state.items.pop_front() else { break };
            let (counted, control) = (item.deliver_bytes(), item.control_bytes());
            let is_large = item.records().is_some_and(|r| r.len() >= limits::WRITE_COPY_BYTES_MAX);
            large += usize::from(is_large);
            batch.deliver_bytes += counted;
            state.control_bytes -= control.min(state.control_bytes);
            controls += control;
            bytes += control + usize::try_from(counted).unwrap_or(usize::MAX);
            batch.items.push(item);
        }
        batch.has_more = !state.items.is_empty();
        if !batch.has_more {
            if state.items.capacity() > 64 {
                state.items = VecDeque::new();
            }
            batch.close = state.close.take();
            state.is_over |= batch.close.is_some();
        }
        let has_control = !(batch.pings.is_empty() && batch.pongs.is_empty() && batch.dones.is_empty());
        let is_filled = has_control || !batch.items.is_empty();
        drop(state);
        self.drained.notify_one();
        is_filled || batch.close.is_some()
    }

    fn end(&self) {
        let mut state = lock(&self.state);
        *state = State { is_over: true, untaken: state.untaken, ..State::default() };
        drop(state);
        self.drained.notify_one();
    }
}

/// The one who empties a session's queue. Dropping it makes the queue swallow what comes.
#[derive(Debug)]
pub struct OutReceiver {
    queue: Arc<OutQueue>,
}

impl OutReceiver {
    /// Waits until there is something and moves it into `batch`, at most about
    /// [`limits::WRITE_BYTES_MAX`] bytes. After a batch with a close there are no more.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn receive(&mut self, batch: &mut OutBatch) {
        while !self.queue.take(batch) {
            self.queue.filled.notified().await;
        }
    }

    /// As [`Self::receive`], but never waits; false when there is nothing.
    pub fn try_receive(&mut self, batch: &mut OutBatch) -> bool {
        self.queue.take(batch)
    }

    /// Says how many bytes did not go because runs were packed, in all; before [`Self::wrote`].
    pub fn saved(&mut self, total: u64) {
        self.queue.saved.store(total, Ordering::SeqCst);
    }

    /// Says that a batch has been passed on, so that more may be delivered.
    pub fn wrote(&mut self, batch: &OutBatch) {
        self.queue.wrote(batch.deliver_bytes);
    }
}

impl Drop for OutReceiver {
    fn drop(&mut self) {
        self.queue.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole between any two statements: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
