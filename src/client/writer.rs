//! The writing half of a session: takes all that is ready and writes it at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use super::batch::Outgoing;
use super::error::ClientError;
use super::lock;
use super::outbox::Taken;
use super::publishing::PublisherShared;
use super::session::{SentPut, Session};
use super::shared::{Pending, Work};
use super::subscribing::SubscriberShared;
use crate::limits;
use crate::wire::body::{self, Close, Request};
use crate::wire::frame::{
    ACK_BYTES, CREDIT_BYTES, FrameKind, PUT_HEAD_BYTES, append_frame, append_frame_with,
};

/// What waits for its time.
#[derive(Debug, Default)]
struct Waiting {
    /// Subscribers whose acks wait for others, and until when.
    acks: Vec<Arc<SubscriberShared>>,
    acks_at: Option<Instant>,
    /// Publishers whose runs wait to be filled, and until when.
    held: Vec<Arc<PublisherShared>>,
    held_at: Option<Instant>,
}

/// Writes until the session ends; gives why.
pub(super) async fn write(session: &Session<'_>, mut socket: OwnedWriteHalf) -> ClientError {
    let mut out = Outgoing::default();
    let mut waiting = Waiting::default();
    let (mut acks, mut credits) = (BytesMut::new(), BytesMut::new());
    let mut next_request = 1;
    loop {
        let now = Instant::now();
        let is_stopping = {
            let mut work = lock(&session.work);
            session.shared.take_work(&mut work);
            if let Some(fault) = work.fault.take() {
                return fault;
            }
            waiting.release(now, &mut work);
            add_pings(session, &mut out);
            add_statements(&mut work, (&mut acks, &mut credits), &mut out);
            add_requests(session, &mut work, &mut next_request, &mut out);
            add_puts(session, &mut work, &mut waiting, now, &mut out);
            work.is_stopping
        };
        out.finish();
        if out.has_remaining() {
            if let Err(error) = socket.write_all_buf(&mut out).await {
                return ClientError::closed(format!("the connection broke: {error}"));
            }
            continue;
        }
        if is_stopping {
            return say_goodbye(socket).await;
        }
        wait(session.shared.wake.notified(), waiting.next()).await;
        // Those whom an answer or a delivery has woken speak first: what they put and ack goes
        // together, and not a rest now and they behind it.
        tokio::task::yield_now().await;
    }
}

async fn wait(wake: impl Future<Output = ()>, until: Option<Instant>) {
    match until {
        // Whether it was woken or it is time: it looks for both.
        Some(until) => drop(tokio::time::timeout_at(until.into(), wake).await),
        None => wake.await,
    }
}

async fn say_goodbye(mut socket: OwnedWriteHalf) -> ClientError {
    let reason = "the client is done".to_owned();
    let mut out = BytesMut::new();
    append_frame(&mut out, FrameKind::Close, 0, &body::encode(&Close { reason: reason.clone() }));
    let goodbye = async {
        socket.write_all(&out).await?;
        socket.shutdown().await
    };
    let goodbye = tokio::time::timeout(Duration::from_millis(limits::CLIENT_GOODBYE_MS), goodbye).await;
    tracing::debug!(?goodbye, "said goodbye");
    ClientError::closed(reason)
}

impl Waiting {
    /// What has waited long enough is done now; what is new begins to wait.
    fn release(&mut self, now: Instant, work: &mut Work) {
        if !work.soon.is_empty() {
            self.acks_at.get_or_insert(now + Duration::from_millis(limits::CLIENT_ACK_MS));
            self.acks.append(&mut work.soon);
        }
        if self.acks_at.is_some_and(|at| at <= now) {
            self.acks_at = None;
            work.subscribers.append(&mut self.acks);
        }
        if self.held_at.is_some_and(|at| at <= now) {
            self.held_at = None;
            work.publishers.extend(self.held.drain(..).filter(|publisher| publisher.wants_look()));
        }
    }

    fn hold(&mut self, publisher: Arc<PublisherShared>, until: Instant) {
        self.held_at = Some(self.held_at.map_or(until, |at| at.min(until)));
        if !self.held.iter().any(|held| Arc::ptr_eq(held, &publisher)) {
            self.held.push(publisher);
        }
    }

    fn next(&self) -> Option<Instant> {
        [self.acks_at, self.held_at].into_iter().flatten().min()
    }
}

fn add_pings(session: &Session<'_>, out: &mut Outgoing) {
    if session.pings.swap(0, Ordering::Relaxed) > 0 {
        out.write(|out| append_frame(out, FrameKind::Ping, 0, &[]));
    }
}

fn add_statements(work: &mut Work, (acks, credits): (&mut BytesMut, &mut BytesMut), out: &mut Outgoing) {
    for subscriber in work.subscribers.drain(..) {
        subscriber.drain(acks, credits);
    }
    add_list(FrameKind::Ack, ACK_BYTES, acks, out);
    add_list(FrameKind::Credit, CREDIT_BYTES, credits, out);
}

/// Appends a list, in as many frames as its bound asks for.
fn add_list(kind: FrameKind, item_bytes: usize, list: &mut BytesMut, out: &mut Outgoing) {
    let max = kind.body_bytes_max() / item_bytes * item_bytes;
    for part in list.chunks(max) {
        out.write(|out| append_frame(out, kind, 0, part));
    }
    list.clear();
}

fn add_requests(session: &Session<'_>, work: &mut Work, next: &mut u64, out: &mut Outgoing) {
    while lock(&session.asked).len() < limits::SESSION_REQUESTS_MAX {
        let Some((request, pending)) = work.requests.pop_front() else { return };
        let Some(pending) = still_wanted(&request, pending) else { continue };
        let body = body::encode(&request);
        if body.len() > limits::CONTROL_BYTES_MAX {
            refuse(pending, body.len());
            continue;
        }
        session.ask(*next, pending);
        out.write(|out| append_frame(out, FrameKind::Request, *next, &body));
        *next += 1;
    }
}

/// The rest is nothing to send: nobody waits for it, or it is about a handle of a session that is over.
fn still_wanted(request: &Request, pending: Pending) -> Option<Pending> {
    match pending {
        Pending::Reply(sender) => (!sender.is_closed()).then_some(Pending::Reply(sender)),
        Pending::Poll(_, sender) if sender.is_closed() => None,
        Pending::Poll(subscriber, sender) => {
            if subscriber.lock().begin_poll(request) {
                return Some(Pending::Poll(subscriber, sender));
            }
            sender.send(Err(ClientError::closed("the connection was lost before the poll was asked"))).ok();
            None
        }
        kept @ (Pending::Open(_) | Pending::Attach(_) | Pending::Detach(..)) => Some(kept),
    }
}

fn refuse(pending: Pending, found: usize) {
    let max = limits::CONTROL_BYTES_MAX;
    let error = ClientError::invalid(format!("a request of {found} bytes; at most {max} are allowed"));
    match pending {
        Pending::Reply(sender) | Pending::Poll(_, sender) | Pending::Detach(_, Some(sender)) => {
            sender.send(Err(error)).ok();
        }
        Pending::Open(publisher) => publisher.fail(&error),
        Pending::Attach(subscriber) => subscriber.fail(&error),
        Pending::Detach(_, None) => {}
    }
}

/// Appends puts, one run of each publisher in turn, while the session may have
/// more without an answer.
fn add_puts(session: &Session<'_>, work: &mut Work, waiting: &mut Waiting, now: Instant, out: &mut Outgoing) {
    let mut puts = lock(&session.puts);
    let bytes_max = usize::try_from(session.hello.put_bytes_max).unwrap_or(usize::MAX);
    while out.remaining() < limits::CLIENT_WRITE_BYTES {
        let Some(publisher) = work.publishers.pop_front() else { return };
        // One put goes in any case: it may be larger than all that the session may have.
        let room = if puts.bytes == 0 { usize::MAX } else { bytes_max.saturating_sub(puts.bytes) };
        match publisher.take(now, puts.next(), room) {
            Taken::Run { handle, head, records, first } => {
                let bytes = PUT_HEAD_BYTES + records.len();
                let tag = u64::from(handle);
                out.write(|out| {
                    append_frame_with(out, FrameKind::Put, tag, records.len(), |out| head.encode(out));
                });
                out.body(records);
                puts.add(SentPut { publisher: Arc::clone(&publisher), first, bytes });
                work.publishers.push_back(publisher);
            }
            Taken::Nothing => {}
            Taken::Held(until) => waiting.hold(publisher, until),
            Taken::NoRoom => {
                work.publishers.push_front(publisher);
                return;
            }
        }
    }
}
