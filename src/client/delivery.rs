//! Messages as an application receives them: one by one, or as a batch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::message::{MessageId, MessageStream};
use super::subscribing::SubscriberShared;
use crate::id::{GroupName, Index, Sequence, WallTime};
use crate::wire::body::{GapCause, Missing, UnorderedCause};
use crate::wire::frame::{AckKind, DeliverHead};
use crate::wire::run::{Record, Records};

use super::inbox::DeliveredRun;

/// What the messages of one delivery have in common.
#[derive(Debug)]
pub(super) struct RunContext {
    pub(super) stream: Arc<MessageStream>,
    pub(super) subscriber: Arc<SubscriberShared>,
    pub(super) generation: u64,
}

impl RunContext {
    fn say(&self, kind: AckKind, range: (Index, Index), delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.subscriber.say(kind, range, delay_ms, self.generation);
    }
}

/// What a subscriber is given.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A message.
    Message(Received),
    /// Messages that the subscription does not get, where they would have been.
    Gap(Gap),
    /// The next messages do not follow those of their producer that went before.
    Unordered(Unordered),
}

impl Delivery {
    /// The message, if it is one.
    #[must_use]
    pub fn message(self) -> Option<Received> {
        match self {
            Self::Message(received) => Some(received),
            Self::Gap(_) | Self::Unordered(_) => None,
        }
    }
}

/// Messages that a subscription does not get, and why. To be acked like a
/// message: until then, it is told again with every new connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Gap {
    /// The first insertion index.
    pub from: Index,
    /// The insertion index after the last.
    pub to: Index,
    /// Why.
    pub cause: GapCause,
    pub(super) subscriber: Arc<SubscriberShared>,
    pub(super) generation: u64,
}

impl Gap {
    /// The application knows of it: never tell it again.
    pub fn ack(&self) {
        self.subscriber.say(AckKind::Ack, (self.from, self.to), 0, self.generation);
    }
}

/// In a group with [`Fifo::Producer`](crate::topology::settings::Fifo): what comes next had to wait
/// for earlier messages of its producer, and those have not come. If they come later they are
/// delivered then. Nothing is to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unordered {
    /// The insertion index of the first message that comes next.
    pub from: Index,
    /// The insertion index after the last one that had to wait with it.
    pub to: Index,
    /// What has not come; `None`: the relay does not know that any more.
    pub missing: Option<Missing>,
    /// Why it is not waited for any longer.
    pub cause: UnorderedCause,
}

/// A message that was delivered. Until it is acked it is delivered again: when
/// the group's time for acks is over, or the subscriber has come back.
///
/// What is said of it is noted at once, without waiting, and sent within a few
/// milliseconds together with other statements. It may be said from any task,
/// also after the connection was lost and made again; when the subscriber is
/// closed, it means nothing any more. Nor does it when the subscription has
/// another place by then, at another home or on another disk: the message comes
/// again if it is there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received {
    /// What was put. It is a slice of what came over the network together; copy
    /// it when few of many messages are kept for long.
    pub payload: Bytes,
    /// The message's id.
    pub id: MessageId,
    /// Its place in the group at the subscription's home relay.
    pub index: Index,
    /// 1 for the first delivery, more for another one.
    pub attempt: u32,
    /// When the relay at which it was put accepted it.
    pub accepted: WallTime,
    /// The whole record, if there is more in it than the payload.
    record: Bytes,
    context: Arc<RunContext>,
}

impl Received {
    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupName {
        self.id.group()
    }

    /// The key inside the group, if the publisher gave one.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.extras().subject
    }

    /// Keys and values, in the publisher's order.
    #[must_use]
    pub fn headers(&self) -> Vec<(&str, &[u8])> {
        self.extras().headers().collect()
    }

    /// After which time it is of no use any more, if the publisher said so.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.extras().ttl_ms.map(Duration::from_millis)
    }

    fn extras(&self) -> Record<'_> {
        Records::new(&self.record).next().and_then(Result::ok).unwrap_or_default()
    }

    fn range(&self) -> (Index, Index) {
        (self.index, self.index.after(1))
    }

    /// Done: never deliver it again.
    pub fn ack(&self) {
        self.context.say(AckKind::Ack, self.range(), Duration::ZERO);
    }

    /// Not done: deliver it again after `delay`; zero: after the group's back-off.
    pub fn nack(&self, delay: Duration) {
        self.context.say(AckKind::Nack, self.range(), delay);
    }

    /// Still at work: the time for the ack begins anew.
    pub fn progress(&self) {
        self.context.say(AckKind::Progress, self.range(), Duration::ZERO);
    }

    /// Never to be done: to the dead-letter group, at once.
    pub fn reject(&self) {
        self.context.say(AckKind::Reject, self.range(), Duration::ZERO);
    }
}

/// Consecutive messages of one delivery, of which some may have been given out.
#[derive(Clone, Debug)]
pub(super) struct RunPart {
    context: Arc<RunContext>,
    head: DeliverHead,
    records: Bytes,
    /// Where the next record begins, and which one it is.
    offset: usize,
    place: u32,
    /// The record after the last.
    end: u32,
}

impl RunPart {
    pub(super) fn new(run: DeliveredRun) -> Self {
        let DeliveredRun { context, head, records } = run;
        Self { context, head, records, offset: 0, place: 0, end: head.count }
    }

    pub(super) fn generation(&self) -> u64 {
        self.context.generation
    }

    /// The insertion indexes of what is left.
    pub(super) fn range(&self) -> (Index, Index) {
        (self.index(self.place), self.index(self.end))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.place >= self.end
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.place) as usize
    }

    fn index(&self, place: u32) -> Index {
        self.head.first_index.after(u64::from(place))
    }

    fn sequence(&self, place: u32) -> Sequence {
        Sequence(self.head.first.0.saturating_add(u64::from(place)))
    }

    fn rest(&self) -> &[u8] {
        self.records.get(self.offset..).unwrap_or_default()
    }

    /// The next message; `None` when there is no more, or what is there is not a record.
    pub(super) fn next(&mut self) -> Option<Received> {
        if self.is_empty() {
            return None;
        }
        let mut records = Records::new(self.rest());
        let record = records.next()?.ok()?;
        let end = self.records.len() - records.rest();
        let payload = self.records.slice(end - record.payload.len()..end);
        let is_plain = record.subject.is_none() && record.headers.is_empty() && record.ttl_ms.is_none();
        let record = if is_plain { Bytes::new() } else { self.records.slice(self.offset..end) };
        let received = Received {
            payload,
            id: MessageId::of(Arc::clone(&self.context.stream), self.sequence(self.place)),
            index: self.index(self.place),
            attempt: self.head.attempt,
            accepted: self.head.accepted,
            record,
            context: Arc::clone(&self.context),
        };
        self.offset = end;
        self.place += 1;
        Some(received)
    }

    /// Cuts the first `messages` off; `None` when there is no more, or what is there is not a record.
    pub(super) fn split(&mut self, messages: usize) -> Option<Self> {
        if self.is_empty() {
            return None;
        }
        let mut part = self.clone();
        let count = u32::try_from(messages).unwrap_or(u32::MAX).min(self.end - self.place);
        let mut records = Records::new(self.rest());
        for _ in 0..count {
            records.pass().ok()?;
        }
        self.offset = self.records.len() - records.rest();
        self.place += count;
        part.end = self.place;
        part.records.truncate(self.offset);
        Some(part)
    }

    fn ack(&self) {
        if !self.is_empty() {
            self.context.say(AckKind::Ack, self.range(), Duration::ZERO);
        }
    }
}

/// Some messages at once, in order.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) gap: Option<Gap>,
    pub(super) unordered: Option<Unordered>,
    pub(super) parts: Vec<RunPart>,
    pub(super) messages: usize,
}

impl Batch {
    /// How many messages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there is none: then there is a gap, or something to know of the order.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Messages that the subscription does not get, from before the first of these.
    #[must_use]
    pub fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// What is to be known of the order of the first of these, or of the next message.
    #[must_use]
    pub fn unordered(&self) -> Option<&Unordered> {
        self.unordered.as_ref()
    }

    /// The messages, borrowed.
    pub fn iter(&self) -> impl Iterator<Item = BatchMessage<'_>> {
        self.parts.iter().flat_map(|part| {
            let records = Records::new(part.rest()).map_while(Result::ok);
            (part.place..part.end).zip(records).map(move |(place, record)| BatchMessage {
                part,
                place,
                record,
            })
        })
    }

    /// The messages, each on its own.
    #[must_use]
    pub fn into_messages(self) -> Vec<Received> {
        let mut messages = Vec::with_capacity(self.messages);
        for mut part in self.parts {
            while !part.is_empty() {
                let Some(received) = part.next() else { break };
                messages.push(received);
            }
        }
        messages
    }

    /// All of them are done, the gap too: never deliver them again.
    pub fn ack_all(&self) {
        self.gap.iter().for_each(Gap::ack);
        self.parts.iter().for_each(RunPart::ack);
    }
}

/// A message of a [`Batch`], borrowed from it.
#[derive(Clone, Copy, Debug)]
pub struct BatchMessage<'a> {
    part: &'a RunPart,
    place: u32,
    record: Record<'a>,
}

impl<'a> BatchMessage<'a> {
    /// What was put.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.record.payload
    }

    /// The key inside the group, if the publisher gave one.
    #[must_use]
    pub fn subject(&self) -> Option<&'a str> {
        self.record.subject
    }

    /// Keys and values, in the publisher's order.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.record.headers()
    }

    /// The message's id.
    #[must_use]
    pub fn id(&self) -> MessageId {
        MessageId::of(Arc::clone(&self.part.context.stream), self.part.sequence(self.place))
    }

    /// Its place in the group at the subscription's home relay.
    #[must_use]
    pub fn index(&self) -> Index {
        self.part.index(self.place)
    }

    /// 1 for the first delivery, more for another one.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.part.head.attempt
    }

    /// When the relay at which it was put accepted it.
    #[must_use]
    pub fn accepted(&self) -> WallTime {
        self.part.head.accepted
    }

    /// Done: never deliver it again. [`Batch::ack_all`] is cheaper.
    pub fn ack(&self) {
        self.say(AckKind::Ack, Duration::ZERO);
    }

    /// Not done: deliver it again after `delay`; zero: after the group's back-off.
    pub fn nack(&self, delay: Duration) {
        self.say(AckKind::Nack, delay);
    }

    fn say(&self, kind: AckKind, delay: Duration) {
        let range = (self.index(), self.index().after(1));
        self.part.context.say(kind, range, delay);
    }
}
