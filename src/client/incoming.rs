//! What the relay says, frame by frame.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::attached::Attached;
use super::delivery::{Gap, RunContext, Unordered};
use super::error::{ClientError, is_passing};
use super::inbox::DeliveredRun;
use super::lock;
use super::message::MessageStream;
use super::publishing::PublisherShared;
use super::session::{Session, closed};
use super::shared::Pending;
use super::subscribing::SubscriberShared;
use crate::id::{Epoch, RelayId, StreamNumber};
use crate::limits;
use crate::wire::body::{self, Answer, Notice, Refusal, RefusalCode, Reply, Request};
use crate::wire::frame::{DeliverHead, Frame, FrameKind, PutDone};

/// A stream that the relay has named.
#[derive(Debug)]
struct NamedStream {
    origin: RelayId,
    epoch: Epoch,
    /// With the group, once something was delivered from it.
    stream: Option<Arc<MessageStream>>,
}

/// The reading half of a session.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    session: &'a Session<'a>,
    subscribers: HashMap<u32, Arc<SubscriberShared>>,
    streams: HashMap<StreamNumber, NamedStream>,
    /// Handles that were taken away before the answer that gives them, while one is waited for:
    /// the relay gives none anew within its last thousand.
    early: HashMap<u32, Refusal>,
    /// Whether the relay has taken anything in this session.
    has_taken: bool,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(session: &'a Session<'a>) -> Self {
        let (subscribers, streams, early) = Default::default();
        Self { session, subscribers, streams, early, has_taken: false }
    }

    /// Does what a frame says. An error ends the session.
    pub(super) fn take(&mut self, frame: Frame) -> Result<(), ClientError> {
        let Frame { kind, tag, body } = frame;
        match kind {
            FrameKind::PutAnswer => self.on_done(PutDone::decode_list(body)?),
            FrameKind::Deliver => self.on_deliver(tag, body),
            FrameKind::Answer => self.on_answer(tag, body::decode(&body).map_err(ClientError::protocol)?),
            FrameKind::Notice => self.on_notice(body::decode(&body).map_err(ClientError::protocol)?),
            FrameKind::Pong => Ok(()),
            FrameKind::Close => Err(closed(&body)),
            FrameKind::Hello
            | FrameKind::Request
            | FrameKind::Put
            | FrameKind::Ack
            | FrameKind::Credit
            | FrameKind::Ping
            | FrameKind::LinkHello
            | FrameKind::Link
            | FrameKind::LinkRun
            | FrameKind::LinkDeliver
            | FrameKind::LinkCopy => {
                Err(ClientError::protocol(format!("a {kind:?} frame is not for a client")))
            }
        }
    }

    /// Opening a group is no sign of it: a relay that is not ready does that, too.
    fn note_taken(&mut self) {
        if !std::mem::replace(&mut self.has_taken, true) {
            self.session.shared.on_taken();
        }
    }

    fn on_done(&mut self, dones: Vec<PutDone>) -> Result<(), ClientError> {
        let shared = self.session.shared;
        self.note_taken();
        for done in dones {
            if done.has_more {
                let publisher =
                    lock(&self.session.puts).settle(done.put).map(|p| (Arc::clone(&p.publisher), p.first));
                let (publisher, first) = publisher.ok_or_else(|| no_such("put", done.put))?;
                publisher.on_done(first, done);
                continue;
            }
            let put = lock(&self.session.puts).take(done.put);
            let put = put.ok_or_else(|| no_such("put", done.put))?;
            if put.publisher.on_done(put.first, done) {
                shared.ready_publisher(Arc::clone(&put.publisher));
            }
            self.end_publisher(&put.publisher);
        }
        shared.wake.notify_one();
        Ok(())
    }

    fn on_refused(&self, number: u64, refusal: Refusal) -> Result<(), ClientError> {
        let put = lock(&self.session.puts).take(number).ok_or_else(|| no_such("put", number))?;
        if put.publisher.on_refused(put.first, &refusal) {
            // It is kept, and sent again with everything behind it, in order.
            return Err(refusal.into());
        }
        if put.publisher.wants_look() {
            self.session.shared.ready_publisher(Arc::clone(&put.publisher));
        }
        self.end_publisher(&put.publisher);
        self.session.shared.wake.notify_one();
        Ok(())
    }

    /// A publisher that was dropped stays until it has its last answer.
    fn end_publisher(&self, publisher: &PublisherShared) {
        if publisher.is_done() {
            self.session.shared.remove_publisher(publisher.member);
        }
    }

    fn on_deliver(&mut self, tag: u64, body: bytes::Bytes) -> Result<(), ClientError> {
        let (head, records) = DeliverHead::decode(body)?;
        let found = xxh3_64(&records);
        if found != head.records_hash {
            let expected = head.records_hash;
            let what =
                format!("the hash of a delivery's records is {found:#x}, not {expected:#x} as it says");
            return Err(ClientError::protocol(what));
        }
        let subscriber = self.subscriber(tag)?;
        let named = self.streams.get_mut(&head.stream);
        let named = named.ok_or_else(|| no_such("stream", u64::from(head.stream.0)))?;
        let NamedStream { origin, epoch, stream } = named;
        let stream = stream.get_or_insert_with(|| {
            let (origin, group) = (origin.clone(), subscriber.group.clone());
            Arc::new(MessageStream { origin, boot: epoch.counter, nonce: epoch.nonce, group })
        });
        let (stream, generation) = (Arc::clone(stream), subscriber.generation());
        let context = Arc::new(RunContext { stream, subscriber: Arc::clone(&subscriber), generation });
        if subscriber.on_deliver(DeliveredRun { context, head, records }) {
            return Ok(());
        }
        Err(ClientError::protocol("the relay delivers more messages than it was asked for"))
    }

    fn subscriber(&self, handle: u64) -> Result<Arc<SubscriberShared>, ClientError> {
        let known = u32::try_from(handle).ok().and_then(|handle| self.subscribers.get(&handle));
        known.cloned().ok_or_else(|| no_such("subscription handle", handle))
    }

    fn on_notice(&mut self, notice: Notice) -> Result<(), ClientError> {
        match notice {
            Notice::Stream { number, origin, epoch } => {
                if self.streams.len() >= limits::CLIENT_STREAMS_MAX {
                    return Err(ClientError::protocol("more streams were named than a session may have"));
                }
                self.streams.insert(number, NamedStream { origin, epoch, stream: None });
            }
            Notice::PutRefused { put, refusal } => return self.on_refused(put, refusal),
            Notice::Gap { handle, from, to, cause } => {
                let subscriber = self.subscriber(u64::from(handle))?;
                let (told, generation) = (Arc::clone(&subscriber), subscriber.generation());
                subscriber.on_gap(Gap { from, to, cause, subscriber: told, generation });
            }
            Notice::Unordered { handle, from, to, missing, cause } => {
                let subscriber = self.subscriber(u64::from(handle))?;
                subscriber.on_unordered(Unordered { from, to, missing, cause });
            }
            Notice::Detached { handle, refusal } => match self.subscribers.remove(&handle) {
                Some(subscriber) => return self.on_detached(subscriber, refusal),
                None => self.note_early(handle, refusal)?,
            },
        }
        Ok(())
    }

    /// A handle is gone that is not known: perhaps the answer that gives it is on its way.
    fn note_early(&mut self, handle: u32, refusal: Refusal) -> Result<(), ClientError> {
        if !self.is_attaching() {
            return Ok(());
        }
        if self.early.len() >= limits::SESSION_REQUESTS_MAX {
            return Err(ClientError::protocol("more handles were taken away than were asked for"));
        }
        self.early.insert(handle, refusal);
        Ok(())
    }

    /// Whether a handle of a subscriber is waited for.
    fn is_attaching(&self) -> bool {
        lock(&self.session.asked).values().any(|pending| matches!(pending, Pending::Attach(_)))
    }

    fn on_detached(&self, subscriber: Arc<SubscriberShared>, refusal: Refusal) -> Result<(), ClientError> {
        if refusal.code == RefusalCode::NotReady {
            self.session.attach_later(subscriber, refusal);
        } else if is_passing(refusal.code) {
            return Err(refusal.into());
        } else {
            self.end_subscriber(&subscriber, &refusal.into());
        }
        Ok(())
    }

    fn end_subscriber(&self, subscriber: &SubscriberShared, error: &ClientError) {
        self.session.shared.remove_subscriber(subscriber.member);
        subscriber.fail(error);
    }

    fn on_answer(&mut self, number: u64, answer: Answer) -> Result<(), ClientError> {
        let pending = lock(&self.session.asked).remove(&number);
        let pending = pending.ok_or_else(|| no_such("request", number))?;
        self.session.shared.wake.notify_one();
        match pending {
            Pending::Reply(sender) => {
                sender.send(answer.map_err(ClientError::from)).ok();
                Ok(())
            }
            Pending::Poll(subscriber, sender) => {
                // Whether or not somebody still waits for it.
                subscriber.on_polled(answer.is_ok());
                sender.send(answer.map_err(ClientError::from)).ok();
                Ok(())
            }
            Pending::Open(publisher) => self.on_opened(&publisher, answer),
            Pending::Attach(subscriber) => {
                let attached = self.on_attached(&subscriber, answer);
                if !self.early.is_empty() && !self.is_attaching() {
                    self.early.clear();
                }
                attached
            }
            Pending::Detach(handle, sender) => {
                self.subscribers.remove(&handle);
                if let Some(sender) = sender {
                    sender.send(answer.map_err(ClientError::from)).ok();
                }
                Ok(())
            }
        }
    }

    fn on_opened(&self, publisher: &Arc<PublisherShared>, answer: Answer) -> Result<(), ClientError> {
        match answer {
            Ok(Reply::GroupHandle { handle, message_bytes_max, nonce }) => {
                let (origin, epoch) = (self.session.hello.relay.clone(), self.session.hello.epoch);
                let (boot, nonce) = (epoch.counter, nonce.unwrap_or(epoch.nonce));
                let stream = MessageStream { origin, boot, nonce, group: publisher.group.clone() };
                let stream = Arc::new(stream);
                if publisher.on_open(handle, message_bytes_max, stream) {
                    self.session.shared.ready_publisher(Arc::clone(publisher));
                }
                Ok(())
            }
            Ok(other) => Err(ClientError::protocol(format!("a group was opened with {other:?}"))),
            Err(refusal) if is_passing(refusal.code) => Err(refusal.into()),
            Err(refusal) => {
                self.session.shared.remove_publisher(publisher.member);
                publisher.fail(&refusal.into());
                Ok(())
            }
        }
    }

    fn on_attached(&mut self, subscriber: &Arc<SubscriberShared>, answer: Answer) -> Result<(), ClientError> {
        match answer {
            Ok(Reply::SubscriptionHandle { handle, name, window, moves, begun, .. }) => {
                self.note_taken();
                if let Some(refusal) = self.early.remove(&handle) {
                    return self.on_detached(Arc::clone(subscriber), refusal);
                }
                self.subscribers.insert(handle, Arc::clone(subscriber));
                let storage = self.session.hello.epoch.storage;
                if subscriber.on_attached(Attached { handle, name, storage, window, moves, begun }) {
                    return Ok(());
                }
                self.session.shared.queue(Request::Detach { handle }, Pending::Detach(handle, None))
            }
            Ok(other) => Err(ClientError::protocol(format!("a subscriber was attached with {other:?}"))),
            Err(refusal) if refusal.code == RefusalCode::NotReady => {
                self.session.attach_later(Arc::clone(subscriber), refusal);
                Ok(())
            }
            Err(refusal) if is_passing(refusal.code) => Err(refusal.into()),
            Err(refusal) => {
                self.end_subscriber(subscriber, &refusal.into());
                Ok(())
            }
        }
    }
}

fn no_such(what: &str, number: u64) -> ClientError {
    ClientError::protocol(format!("the relay speaks of {what} {number}, which is not known here"))
}
