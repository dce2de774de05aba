//! A subscriber's messages between the relay and the application, and what
//! goes the other way: statements and credit. Plain data.
//!
//! Credit is a total: messages handed to the application and done with, and
//! those that may be on their way to it. The second part is the window, or
//! fewer when messages are large, so that about [`limits::CLIENT_BUFFER_BYTES`]
//! are in memory. A message counts as done with when the application comes back
//! for another one: with a window of 1 nothing is fetched in advance.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use super::acks::AckBuffer;
use super::attached::{Attached, Counts, Cuts};
use super::delivery::{Gap, RunContext, Unordered};
use super::error::ClientError;
use crate::id::{Index, SubscriptionName};
use crate::limits;
use crate::wire::body::Request;
use crate::wire::frame::{AckKind, Credit, DeliverHead};

/// Messages as they were delivered together.
#[derive(Debug)]
pub(super) struct DeliveredRun {
    pub(super) context: Arc<RunContext>,
    pub(super) head: DeliverHead,
    pub(super) records: Bytes,
}

/// One thing for the application, in order with the others.
#[derive(Debug)]
pub(super) enum Item {
    Run(DeliveredRun),
    Gap(Gap),
    Unordered(Unordered),
}

/// When the writer is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// It has nothing to do, or knows of it.
    None,
    /// Within a few milliseconds.
    Soon,
    /// Now.
    Now,
}

#[derive(Debug)]
pub(super) struct Inbox {
    /// What was asked for; 0: only what [`Inbox::want`] asks for.
    window: u64,
    wanted: u64,
    /// Messages that it may be given in this session, and how many it was
    /// given, when there is a bound.
    left: u64,
    taken: u64,
    attached: Option<Attached>,
    /// The subscription and the storage it was attached to last.
    last: Option<Attached>,
    /// Raised with every attachment.
    generation: u64,
    /// What still counts of what is said about earlier generations.
    cuts: Cuts,
    queue: VecDeque<Item>,
    /// Bytes of a message, on average; 0: not known yet.
    average_bytes: u64,
    /// Messages in this session: received, done with, and the total of the last credit.
    received: u64,
    handed: u64,
    /// Those done with when something was sent last.
    handed_before: u64,
    credited: u64,
    /// Messages that the relay may deliver in all, as far as it was ever told.
    granted: u64,
    /// Whether a poll waits for its answer, though perhaps nobody waits for the poll.
    is_polling: bool,
    acks: AckBuffer,
    /// Statements so far, and how many of them an answer of the relay stands behind.
    said: u64,
    confirmed: u64,
    /// What the writer knows of.
    urgency: Urgency,
    waker: Option<Waker>,
    error: Option<ClientError>,
    is_closed: bool,
}

impl Inbox {
    pub(super) fn new(window: u64, total: Option<u64>) -> Self {
        Self {
            window,
            wanted: 0,
            left: total.unwrap_or(u64::MAX),
            taken: 0,
            attached: None,
            last: None,
            generation: 0,
            cuts: Cuts::default(),
            queue: VecDeque::new(),
            average_bytes: 0,
            received: 0,
            handed: 0,
            handed_before: 0,
            credited: 0,
            granted: 0,
            is_polling: false,
            acks: AckBuffer::default(),
            said: 0,
            confirmed: 0,
            urgency: Urgency::None,
            waker: None,
            error: None,
            is_closed: false,
        }
    }

    pub(super) fn handle(&self) -> Option<u32> {
        self.attached.as_ref().map(|attached| attached.handle)
    }

    /// The subscription's name, once the relay has told it.
    pub(super) fn name(&self) -> Option<&SubscriptionName> {
        self.last.as_ref().map(|attached| &attached.name)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn error(&self) -> Option<&ClientError> {
        self.error.as_ref()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Receiving begins (again). Acks that were not sent are for the same messages as
    /// before, unless the relay's storage is another one or the subscription was moved: they
    /// would undo that, or be taken for those of other messages, and so would those that the
    /// application has not said yet. If the home has started since, that goes for what was not on
    /// its disk then.
    pub(super) fn on_attached(&mut self, attached: Attached) {
        self.on_lost();
        match self.last.as_ref().map_or(Counts::All, |last| attached.counts_after(last)) {
            Counts::All => {}
            Counts::Below(end) => {
                self.acks.cut(end);
                self.cuts.cut(self.generation, end);
            }
            Counts::Nothing => {
                self.acks.clear();
                self.cuts.clear(self.generation);
            }
        }
        self.last = Some(attached.clone());
        self.attached = Some(attached);
    }

    /// The session is over: what was not handed to the application comes again.
    pub(super) fn on_lost(&mut self) {
        self.attached = None;
        self.generation += 1;
        self.queue.clear();
        self.left = self.left.saturating_sub(std::mem::take(&mut self.taken));
        (self.received, self.handed, self.handed_before) = (0, 0, 0);
        (self.credited, self.granted, self.is_polling) = (0, 0, false);
        self.acks.on_lost();
        self.urgency = Urgency::None;
    }

    pub(super) fn fail(&mut self, error: &ClientError) {
        self.attached = None;
        self.error.get_or_insert_with(|| error.clone());
    }

    /// The application does not want anything any more.
    pub(super) fn close(&mut self) -> Option<u32> {
        self.is_closed = true;
        self.queue.clear();
        self.handle()
    }

    /// False when the relay delivers more than it was asked for.
    pub(super) fn on_deliver(&mut self, run: DeliveredRun) -> bool {
        let count = u64::from(run.head.count);
        self.acks.on_deliver(run.head.first_index, run.head.first_index.after(count));
        if self.is_closed || self.received + count > self.granted {
            return self.is_closed;
        }
        let bytes = run.records.len() as u64 / count.max(1) + 1;
        self.average_bytes =
            if self.average_bytes == 0 { bytes } else { (self.average_bytes * 7 + bytes).div_ceil(8) };
        self.received += count;
        self.queue.push_back(Item::Run(run));
        true
    }

    pub(super) fn on_gap(&mut self, gap: Gap) {
        if !self.is_closed {
            self.queue.push_back(Item::Gap(gap));
        }
    }

    pub(super) fn on_unordered(&mut self, unordered: Unordered) {
        if !self.is_closed {
            self.queue.push_back(Item::Unordered(unordered));
        }
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        self.queue.pop_front()
    }

    /// The next messages, if nothing is to be told before them.
    pub(super) fn pop_run(&mut self) -> Option<DeliveredRun> {
        match self.queue.pop_front()? {
            Item::Run(run) => Some(run),
            told @ (Item::Gap(_) | Item::Unordered(_)) => {
                self.queue.push_front(told);
                None
            }
        }
    }

    /// The application waits; what it has said is to be sent now.
    pub(super) fn wait(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    /// The application is done with so many messages more.
    pub(super) fn hand(&mut self, messages: u64) {
        self.handed += messages;
    }

    /// The application was given so many messages, of which it wants no more
    /// than a number in all.
    pub(super) fn count_taken(&mut self, messages: u64) {
        self.taken += messages;
    }

    /// Without a window: how many messages may come in advance of being asked for.
    pub(super) fn want(&mut self, messages: u64) {
        self.wanted = messages;
    }

    /// A poll is sent: so many more are asked for at once, besides the credit. False: its handle
    /// means nothing any more.
    pub(super) fn begin_poll(&mut self, request: &Request) -> bool {
        let Request::Poll { handle, messages } = *request else { return false };
        if self.handle() != Some(handle) {
            return false;
        }
        self.is_polling = true;
        self.granted = self.granted.saturating_add(messages);
        true
    }

    pub(super) fn is_polling(&self) -> bool {
        self.is_polling
    }

    /// A poll has its answer. When it was done, the relay has set the credit to what it has delivered.
    pub(super) fn on_polled(&mut self, is_done: bool) {
        self.is_polling = false;
        if is_done {
            self.credited = self.received;
        }
    }

    /// Messages that may be on their way or waiting here.
    pub(super) fn allowed(&self) -> u64 {
        if self.window == 0 {
            return self.wanted;
        }
        let by_bytes = match self.average_bytes {
            0 => limits::CLIENT_CREDIT_FIRST,
            average => (limits::CLIENT_BUFFER_BYTES / average).max(1),
        };
        let by_relay = self.attached.as_ref().map_or(u64::MAX, |attached| u64::from(attached.window.max(1)));
        self.window.min(by_bytes).min(by_relay)
    }

    fn total(&self) -> u64 {
        (self.handed + self.allowed()).min(self.left)
    }

    /// Notes a statement about messages of a generation.
    pub(super) fn say(&mut self, kind: AckKind, (from, to): (Index, Index), delay_ms: u64, generation: u64) {
        let outlives = matches!(kind, AckKind::Ack | AckKind::Reject);
        if self.is_closed || self.error.is_some() || !(outlives || generation == self.generation) {
            return;
        }
        let left = self.cuts.left_of(generation, (from, to));
        if outlives && left != Some((from, to)) && !self.cuts.is_elsewhere(generation) {
            self.acks.lose();
        }
        let Some((from, to)) = left else { return };
        self.said += 1;
        self.acks.say(kind, from, to, delay_ms);
    }

    /// How urgently the writer must look, if it does not know; says so once.
    pub(super) fn call(&mut self, is_waiting: bool) -> Urgency {
        if self.attached.is_none() {
            return Urgency::None;
        }
        let total = self.total();
        let more = total.saturating_sub(self.credited);
        // Credit in small parts makes deliveries small: it waits for half of what may be here,
        // unless nothing can come any more without it.
        let is_dry = is_waiting && self.credited == self.handed;
        let needs_credit = more > 0 && (is_dry || more * 2 >= self.allowed() || total == self.left);
        let urgency = if needs_credit || self.acks.count() >= limits::CLIENT_ACKS_AT_ONCE {
            Urgency::Now
        } else if self.acks.is_empty() {
            Urgency::None
        } else if is_waiting && !self.is_busy() {
            Urgency::Now
        } else {
            Urgency::Soon
        };
        if urgency <= self.urgency {
            return Urgency::None;
        }
        self.urgency = urgency;
        urgency
    }

    /// Whether so much comes that acks are worth gathering, though the application is ready for more:
    /// every few of them would make the relay send as few again.
    fn is_busy(&self) -> bool {
        self.handed - self.handed_before >= limits::CLIENT_BUSY_MESSAGES
    }

    /// Appends everything that is to be sent to the bodies of an ack and a credit frame.
    pub(super) fn drain(&mut self, acks: &mut BytesMut, credits: &mut BytesMut) {
        self.urgency = Urgency::None;
        self.handed_before = self.handed;
        let Some(handle) = self.handle() else { return };
        self.acks.drain(handle, acks);
        let total = self.total();
        if total > self.credited && !self.is_closed {
            self.credited = total;
            self.granted = self.granted.max(total);
            Credit { handle, total }.encode(credits);
        }
    }

    /// Whether something was acked since this was asked last that the relay will never know of.
    pub(super) fn take_lost(&mut self) -> bool {
        self.acks.take_lost()
    }

    /// Statements so far, when the relay may not know of all of them.
    pub(super) fn unconfirmed(&self) -> Option<u64> {
        (self.said > self.confirmed).then_some(self.said)
    }

    /// The relay has answered what was sent behind so many statements.
    pub(super) fn confirm(&mut self, said: u64) {
        self.confirmed = self.confirmed.max(said);
        if self.confirmed == self.said {
            self.acks.confirm();
        }
    }
}
