//! What a publisher and the connection share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::Notify;

use super::error::ClientError;
use super::lock;
use super::message::MessageStream;
use super::options::PublisherOptions;
use super::outbox::{Outbox, OutboxOptions, Taken};
use crate::id::{GroupName, ProducerId};
use crate::limits;
use crate::wire::body::Refusal;
use crate::wire::frame::PutDone;

/// One publisher, for the connection.
#[derive(Debug)]
pub(super) struct PublisherShared {
    /// Its place in the client's table.
    pub(super) member: u64,
    pub(super) group: GroupName,
    pub(super) producer: ProducerId,
    outbox: Mutex<Outbox>,
    /// Bytes that were put in this turn, and something for each message.
    put: AtomicUsize,
    /// The lowest sequence without an answer.
    unanswered: AtomicU64,
    /// Notified when answers have come, the group was opened, or all is over.
    changed: Notify,
}

impl PublisherShared {
    pub(super) fn new(member: u64, group: GroupName, options: &PublisherOptions) -> Self {
        let first = options.first_sequence.0.max(1);
        let producer = options.producer.unwrap_or_else(super::random::producer);
        let outbox = Outbox::new(OutboxOptions {
            producer,
            transient: options.producer.is_none(),
            first,
            counts_on: options.counts_on,
            level: options.level,
            copies: options.copies,
            window_messages: options.window_messages.max(1),
            window_bytes: options.window_bytes,
            run_bytes: options.run_bytes.clamp(1, limits::RUN_BYTES_MAX),
        });
        let unanswered = AtomicU64::new(first);
        Self {
            member,
            group,
            producer,
            outbox: outbox.into(),
            put: AtomicUsize::new(0),
            unanswered,
            changed: Notify::new(),
        }
    }

    /// The task that puts lets others have the thread.
    pub(super) fn begin_turn(&self) {
        self.put.store(0, Ordering::Relaxed);
    }

    /// The connection's task gets the thread before the next put.
    pub(super) fn end_turn(&self) {
        self.put.store(limits::CLIENT_BATCH_BYTES, Ordering::Relaxed);
    }

    /// Counts a put; true when the connection's task should have the thread
    /// before it, since a batch is there to be sent.
    pub(super) fn is_turn_over(&self, bytes: usize) -> bool {
        const MESSAGE_WEIGHT: usize = 256;
        let weight = bytes.saturating_add(MESSAGE_WEIGHT).min(limits::CLIENT_BATCH_BYTES);
        // A count that two tasks lose to each other makes a turn longer, and nothing else.
        let put = self.put.load(Ordering::Relaxed) + weight;
        self.put.store(put, Ordering::Relaxed);
        put > limits::CLIENT_BATCH_BYTES
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Outbox> {
        lock(&self.outbox)
    }

    /// The lowest sequence without an answer.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Acquire)
    }

    /// The session has a handle for the group. True when there is something to send.
    pub(super) fn on_open(&self, handle: u32, message_bytes_max: u64, stream: Arc<MessageStream>) -> bool {
        let mut outbox = self.lock();
        outbox.on_open(handle, message_bytes_max, stream);
        let wants_wake = outbox.wants_look();
        drop(outbox);
        self.changed.notify_waiters();
        wants_wake
    }

    pub(super) fn on_lost(&self) {
        self.lock().on_lost();
    }

    pub(super) fn take(&self, now: Instant, put: u64, room: usize) -> Taken {
        self.lock().take(now, put, room)
    }

    /// Whether there is something to send that the writer is not about to look for.
    pub(super) fn wants_look(&self) -> bool {
        self.lock().wants_look()
    }

    /// True when the writer has something more to do for this publisher.
    pub(super) fn on_done(&self, first: u64, done: PutDone) -> bool {
        self.with_answers(|outbox| {
            outbox.on_done(first, done);
            outbox.wants_look()
        })
    }

    /// True when the relay refuses only for the moment.
    pub(super) fn on_refused(&self, first: u64, refusal: &Refusal) -> bool {
        self.with_answers(|outbox| outbox.on_refused(first, refusal))
    }

    pub(super) fn fail(&self, error: &ClientError) {
        self.with_answers(|outbox| outbox.fail(error));
    }

    /// Whether the publisher was dropped and everything has its answer.
    pub(super) fn is_done(&self) -> bool {
        self.lock().is_done()
    }

    fn with_answers<T>(&self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let mut outbox = self.lock();
        let result = change(&mut outbox);
        self.unanswered.store(outbox.lowest_unanswered(), Ordering::Release);
        drop(outbox);
        self.changed.notify_waiters();
        result
    }

    /// Waits until `look` gives something; it looks again after every change.
    pub(super) async fn wait<T>(&self, mut look: impl FnMut(&mut Outbox) -> Option<T>) -> T {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Waits until a session has opened the group for the first time.
    pub(super) async fn opened(&self) -> Result<(), ClientError> {
        self.wait(|outbox| match outbox.error() {
            Some(error) => Some(Err(error.clone())),
            None => outbox.is_open().then_some(Ok(())),
        })
        .await
    }
}
