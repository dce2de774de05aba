//! The connection: one task that reads and writes, and makes it again when it breaks.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::ClientOptions;
use super::error::ClientError;
use super::publisher::PublisherShared;
use super::subscriber::SubscriberShared;
use crate::id::{Epoch, RelayId, StreamNumber};
use crate::wire::body::{
    self, Answer, ClientHello, Close, Notice, PROTOCOL_MAGIC, PROTOCOL_VERSION, RelayHello, Reply, Request,
};
use crate::wire::frame::{
    CREDIT_BYTES, Credit, DeliverHead, FRAME_HEADER_BYTES, Frame, FrameHeader, FrameKind, PutDone, take_frame,
};

/// Acks wait so long for others before they are sent.
const ACK_DELAY: Duration = Duration::from_millis(3);

/// A ping is sent when nothing was heard for so long.
const PING_AFTER: Duration = Duration::from_secs(10);

/// The connection is taken for dead when nothing was heard for so long.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Bytes read at a time.
const READ_BYTES: usize = 256 * 1024;

/// Slices and bytes written at a time, about.
const WRITE_SLICES: usize = 64;
const WRITE_BYTES: usize = 1024 * 1024;

type RequestWaiter = oneshot::Sender<Result<Reply, ClientError>>;

/// Who waits for an answer.
#[derive(Debug)]
enum Asked {
    Caller(RequestWaiter),
    Publisher(Weak<PublisherShared>, Option<RequestWaiter>),
    Subscriber(Weak<SubscriberShared>, Option<RequestWaiter>),
}

#[derive(Debug, Default)]
struct State {
    control: BytesMut,
    asked: BTreeMap<u64, Asked>,
    next_request: u64,
    publishers: Vec<Weak<PublisherShared>>,
    subscribers: Vec<Weak<SubscriberShared>>,
    by_handle: BTreeMap<u32, Weak<SubscriberShared>>,
    streams: BTreeMap<StreamNumber, (RelayId, Epoch)>,
    hello: Option<RelayHello>,
    connected: bool,
    failed: Option<ClientError>,
}

/// What the task and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    options: ClientOptions,
    state: Mutex<State>,
    wake: Notify,
    wake_soon: Notify,
    said: AtomicBool,
    pub(super) cancel: CancellationToken,
}

impl Shared {
    pub(super) fn new(options: ClientOptions) -> Self {
        Self {
            options,
            state: Mutex::default(),
            wake: Notify::new(),
            wake_soon: Notify::new(),
            said: AtomicBool::new(false),
            cancel: CancellationToken::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer is to look at once.
    pub(super) fn wake_writer(&self) {
        self.wake.notify_one();
    }

    /// The writer is to look within [`ACK_DELAY`].
    pub(super) fn wake_writer_soon(&self) {
        if !self.said.swap(true, Ordering::AcqRel) {
            self.wake_soon.notify_one();
        }
    }

    /// The application waits for messages: what it said should go now.
    pub(super) fn wake_writer_if_said(&self) {
        if self.said.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
    }

    /// Puts what a subscriber said before whatever is asked next.
    pub(super) fn send_said(&self, subscriber: &SubscriberShared) {
        let mut said = BytesMut::new();
        subscriber.take_said(&mut said);
        self.lock().control.extend_from_slice(&said);
        self.wake_writer();
    }

    pub(super) fn hello(&self) -> Option<RelayHello> {
        self.lock().hello.clone()
    }

    fn ask(state: &mut State, request: &Request, asked: Asked) {
        state.next_request += 1;
        let number = state.next_request;
        put_control(&mut state.control, FrameKind::Request, number, &body::encode(request));
        state.asked.insert(number, asked);
    }

    /// Asks and waits for the answer.
    pub(super) async fn request(&self, request: Request) -> Result<Reply, ClientError> {
        let (waiter, answer) = oneshot::channel();
        self.submit(&request, Asked::Caller(waiter))?;
        answer.await.unwrap_or_else(|_| Err(ClientError::closed("the client is gone")))
    }

    fn submit(&self, request: &Request, asked: Asked) -> Result<(), ClientError> {
        let mut state = self.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if !state.connected {
            return Err(ClientError::closed("the connection is lost and not made again yet"));
        }
        Self::ask(&mut state, request, asked);
        drop(state);
        self.wake_writer();
        Ok(())
    }

    /// Opens the publisher's group, now and on every new connection.
    pub(super) async fn add_publisher(&self, publisher: &Arc<PublisherShared>) -> Result<(), ClientError> {
        let (waiter, answer) = oneshot::channel();
        let request = Request::GroupOpen { group: publisher.group.clone() };
        // Before it is asked for: the connection may break as soon as it is answered.
        self.lock().publishers.push(Arc::downgrade(publisher));
        self.submit(&request, Asked::Publisher(Arc::downgrade(publisher), Some(waiter)))?;
        let answer = answer.await.unwrap_or_else(|_| Err(ClientError::closed("the client is gone")));
        answer.map(|_| ())
    }

    /// Attaches the subscriber, now and on every new connection.
    pub(super) async fn add_subscriber(&self, subscriber: &Arc<SubscriberShared>) -> Result<(), ClientError> {
        let (waiter, answer) = oneshot::channel();
        let request = subscriber.attach_request();
        // Before it is asked for: the connection may break as soon as it is answered.
        self.lock().subscribers.push(Arc::downgrade(subscriber));
        self.submit(&request, Asked::Subscriber(Arc::downgrade(subscriber), Some(waiter)))?;
        let answer = answer.await.unwrap_or_else(|_| Err(ClientError::closed("the client is gone")));
        answer.map(|_| ())
    }

    /// A subscriber was dropped: the relay may give its messages to others.
    pub(super) fn forget_subscriber(&self, handle: u32) {
        let mut state = self.lock();
        state.by_handle.remove(&handle);
        if state.connected {
            let (waiter, _) = oneshot::channel();
            Self::ask(&mut state, &Request::Detach { handle }, Asked::Caller(waiter));
        }
        drop(state);
        self.wake_writer();
    }

    /// The client is over: everybody who waits is told why.
    fn fail(&self, error: &ClientError) {
        let mut state = self.lock();
        state.connected = false;
        state.failed.get_or_insert_with(|| error.clone());
        let publishers = std::mem::take(&mut state.publishers);
        let subscribers = std::mem::take(&mut state.subscribers);
        let asked = std::mem::take(&mut state.asked);
        drop(state);
        publishers.iter().filter_map(Weak::upgrade).for_each(|p| p.fail(error));
        subscribers.iter().filter_map(Weak::upgrade).for_each(|s| s.end(error));
        asked.into_values().for_each(|asked| asked.fail(error));
    }

    fn on_lost(&self, error: &ClientError) {
        let mut state = self.lock();
        state.connected = false;
        state.control.clear();
        state.by_handle.clear();
        state.streams.clear();
        let asked = std::mem::take(&mut state.asked);
        let publishers: Vec<_> = state.publishers.iter().filter_map(Weak::upgrade).collect();
        let subscribers: Vec<_> = state.subscribers.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        publishers.iter().for_each(|p| p.on_lost());
        subscribers.iter().for_each(|s| s.on_lost());
        asked.into_values().for_each(|asked| asked.fail(error));
    }

    /// A connection was made: everything that lives through it is opened again.
    pub(super) fn on_connected(&self, hello: RelayHello) {
        let mut state = self.lock();
        state.hello = Some(hello);
        state.connected = true;
        state.publishers.retain(|p| p.strong_count() > 0);
        state.subscribers.retain(|s| s.strong_count() > 0);
        for publisher in state.publishers.clone() {
            let Some(strong) = publisher.upgrade() else { continue };
            let request = Request::GroupOpen { group: strong.group.clone() };
            Self::ask(&mut state, &request, Asked::Publisher(publisher, None));
        }
        for subscriber in state.subscribers.clone() {
            let Some(strong) = subscriber.upgrade() else { continue };
            Self::ask(&mut state, &strong.attach_request(), Asked::Subscriber(subscriber, None));
        }
        drop(state);
        self.wake_writer();
    }

    fn on_frame(&self, frame: Frame) -> Result<(), ClientError> {
        let protocol = |e: &dyn std::fmt::Display| ClientError::Protocol(e.to_string());
        match frame.kind {
            FrameKind::Deliver => self.on_deliver(frame),
            FrameKind::PutAnswer => {
                let done = PutDone::decode_list(frame.body).map_err(|e| protocol(&e))?;
                self.on_put_answers(&done);
                Ok(())
            }
            FrameKind::Answer => {
                let answer = body::decode(&frame.body).map_err(|e| protocol(&e))?;
                self.on_answer(frame.tag, answer);
                Ok(())
            }
            FrameKind::Notice => {
                let notice = body::decode(&frame.body).map_err(|e| protocol(&e))?;
                self.on_notice(notice);
                Ok(())
            }
            FrameKind::Ping => {
                let mut state = self.lock();
                FrameHeader { kind: FrameKind::Pong, tag: frame.tag, body_bytes: 0 }
                    .encode(&mut state.control);
                drop(state);
                self.wake_writer();
                Ok(())
            }
            FrameKind::Pong => Ok(()),
            FrameKind::Close => {
                let close: Close = body::decode(&frame.body).map_err(|e| protocol(&e))?;
                Err(ClientError::closed(&close.reason))
            }
            FrameKind::Hello | FrameKind::Request | FrameKind::Put | FrameKind::Ack | FrameKind::Credit => {
                Err(ClientError::Protocol(format!("the relay sent a {:?} frame", frame.kind)))
            }
        }
    }

    fn on_deliver(&self, frame: Frame) -> Result<(), ClientError> {
        let (head, records) =
            DeliverHead::decode(frame.body).map_err(|e| ClientError::Protocol(e.to_string()))?;
        let found = xxhash_rust::xxh3::xxh3_64(&records);
        if found != head.records_hash {
            return Err(ClientError::Protocol("a delivery was damaged on its way".to_owned()));
        }
        let state = self.lock();
        let subscriber = u32::try_from(frame.tag).ok().and_then(|h| state.by_handle.get(&h));
        let subscriber = subscriber.and_then(Weak::upgrade);
        let origin = state.streams.get(&head.stream).cloned();
        drop(state);
        let origin =
            origin.ok_or_else(|| ClientError::Protocol(format!("stream {} was never named", head.stream)))?;
        if let Some(subscriber) = subscriber {
            subscriber.on_deliver(head, records, origin);
        }
        Ok(())
    }

    fn on_put_answers(&self, done: &[PutDone]) {
        let state = self.lock();
        let publishers: Vec<_> = state.publishers.iter().filter_map(Weak::upgrade).collect();
        let Some(hello) = &state.hello else { return };
        let place = (hello.relay.clone(), hello.epoch);
        drop(state);
        for done in done {
            publishers.iter().any(|p| p.on_done(*done, (&place.0, place.1)));
        }
    }

    fn on_answer(&self, request: u64, answer: Answer) {
        let asked = self.lock().asked.remove(&request);
        let answer = answer.map_err(ClientError::Refused);
        match asked {
            None => {}
            Some(Asked::Caller(waiter)) => {
                waiter.send(answer).ok();
            }
            Some(Asked::Publisher(publisher, waiter)) => {
                let publisher = publisher.upgrade();
                if let Some(publisher) = publisher {
                    if let Ok(Reply::GroupHandle { handle, message_bytes_max }) = &answer {
                        publisher.on_open(*handle, *message_bytes_max);
                        self.wake_writer();
                    } else if let Err(error) = &answer {
                        publisher.fail(error);
                    }
                }
                answer_to(waiter, answer);
            }
            Some(Asked::Subscriber(subscriber, waiter)) => self.on_attach(&subscriber, waiter, answer),
        }
    }

    fn on_attach(
        &self,
        subscriber: &Weak<SubscriberShared>,
        waiter: Option<RequestWaiter>,
        answer: Result<Reply, ClientError>,
    ) {
        if let Some(strong) = subscriber.upgrade() {
            match &answer {
                Ok(Reply::SubscriptionHandle { handle, name, .. }) => {
                    let mut state = self.lock();
                    state.by_handle.insert(*handle, Weak::clone(subscriber));
                    if let Some(credit) = strong.on_attached(*handle, name.clone()) {
                        put_credit(&mut state.control, credit);
                    }
                    drop(state);
                    self.wake_writer();
                }
                Ok(_) => {
                    strong.end(&ClientError::Protocol("an attach was answered with something else".into()))
                }
                Err(error) => strong.end(error),
            }
        }
        answer_to(waiter, answer);
    }

    fn on_notice(&self, notice: Notice) {
        let mut state = self.lock();
        match notice {
            Notice::Stream { number, origin, epoch } => {
                state.streams.insert(number, (origin, epoch));
            }
            Notice::PutRefused { put, refusal } => {
                let publishers: Vec<_> = state.publishers.iter().filter_map(Weak::upgrade).collect();
                drop(state);
                publishers.iter().any(|p| p.on_refused(put, &refusal));
            }
            Notice::Gap { handle, from, to, cause } => {
                let subscriber = state.by_handle.get(&handle).and_then(Weak::upgrade);
                drop(state);
                if let Some(subscriber) = subscriber {
                    subscriber.on_gap(from, to, cause);
                }
            }
            Notice::Detached { handle, refusal } => {
                let subscriber = state.by_handle.remove(&handle).and_then(|s| s.upgrade());
                drop(state);
                if let Some(subscriber) = subscriber {
                    subscriber.end(&ClientError::Refused(refusal));
                }
            }
        }
    }

    /// Gathers what is to be written, about as much as one write takes.
    fn collect(&self, next_put: &mut u64, out: &mut Vec<Bytes>) {
        self.said.store(false, Ordering::Release);
        let mut state = self.lock();
        let control = std::mem::take(&mut state.control);
        let subscribers: Vec<_> = state.by_handle.values().filter_map(Weak::upgrade).collect();
        let publishers: Vec<_> = state.publishers.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        // Acks go first: behind the request that detaches their subscription they would mean nothing.
        let mut head = BytesMut::new();
        subscribers.iter().for_each(|s| s.take_said(&mut head));
        head.extend_from_slice(&control);
        let mut bytes = head.len();
        for publisher in &publishers {
            while out.len() < WRITE_SLICES && bytes < WRITE_BYTES {
                let Some(body) = publisher.next_frame(next_put, &mut head) else { break };
                bytes += body.len();
                out.push(head.split().freeze());
                out.push(body);
            }
        }
        if !head.is_empty() {
            out.push(head.freeze());
        }
        if publishers.iter().any(|p| p.is_ready()) {
            self.wake_writer();
        }
    }
}

impl Asked {
    fn fail(self, error: &ClientError) {
        let waiter = match self {
            Self::Caller(waiter) => Some(waiter),
            Self::Publisher(_, waiter) | Self::Subscriber(_, waiter) => waiter,
        };
        answer_to(waiter, Err(error.clone()));
    }
}

/// Tells who waits, if anybody still does.
fn answer_to(waiter: Option<RequestWaiter>, answer: Result<Reply, ClientError>) {
    if let Some(waiter) = waiter {
        waiter.send(answer).ok();
    }
}

fn put_control(out: &mut BytesMut, kind: FrameKind, tag: u64, body: &Bytes) {
    FrameHeader { kind, tag, body_bytes: body.len() }.encode(out);
    out.extend_from_slice(body);
}

fn put_credit(out: &mut BytesMut, credit: Credit) {
    FrameHeader { kind: FrameKind::Credit, tag: 0, body_bytes: CREDIT_BYTES }.encode(out);
    credit.encode(out);
}

/// A connection whose hellos are exchanged.
pub(super) struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    buffer: BytesMut,
    hello: RelayHello,
}

impl Connection {
    /// What the relay said of itself.
    pub(super) fn hello(&self) -> RelayHello {
        self.hello.clone()
    }
}

/// Connects and says hello, within the deadline.
pub(super) async fn connect(options: &ClientOptions) -> Result<Connection, ClientError> {
    let address = options.address.as_str();
    let attempt = async {
        let stream = TcpStream::connect(address).await.map_err(|e| ClientError::unreachable(address, e))?;
        stream.set_nodelay(true).map_err(|e| ClientError::unreachable(address, e))?;
        greet(options, stream).await
    };
    timeout(options.connect_deadline, attempt).await.unwrap_or_else(|_| {
        Err(ClientError::unreachable(address, io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
    })
}

async fn greet(options: &ClientOptions, stream: TcpStream) -> Result<Connection, ClientError> {
    let lost = |e| ClientError::unreachable(&options.address, e);
    let (mut reader, mut writer) = stream.into_split();
    let hello = ClientHello {
        magic: PROTOCOL_MAGIC.to_owned(),
        version: PROTOCOL_VERSION,
        name: options.name.clone(),
    };
    let mut out = BytesMut::new();
    put_control(&mut out, FrameKind::Hello, 0, &body::encode(&hello));
    writer.write_all(&out).await.map_err(lost)?;
    let mut buffer = BytesMut::with_capacity(4096);
    let frame = loop {
        let taken = take_frame(&mut buffer).map_err(|e| ClientError::Protocol(e.to_string()))?;
        if let Some(frame) = taken {
            break frame;
        }
        if reader.read_buf(&mut buffer).await.map_err(lost)? == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
    };
    if frame.kind == FrameKind::Close {
        let close: Close = body::decode(&frame.body).map_err(|e| ClientError::Protocol(e.to_string()))?;
        return Err(ClientError::closed(&close.reason));
    }
    let hello: RelayHello = body::decode(&frame.body).map_err(|e| ClientError::Protocol(e.to_string()))?;
    if frame.kind != FrameKind::Hello || hello.magic != PROTOCOL_MAGIC {
        return Err(ClientError::Protocol("what listens there is not a treecast relay".to_owned()));
    }
    if !(1..=PROTOCOL_VERSION).contains(&hello.version) {
        return Err(ClientError::Version { found: hello.version, known: PROTOCOL_VERSION });
    }
    Ok(Connection { reader, writer, buffer, hello })
}

/// The task: lives as long as the client.
pub(super) async fn run(shared: Arc<Shared>, first: Connection) {
    let mut connection = first;
    loop {
        let error = tokio::select! {
            () = shared.cancel.cancelled() => {
                shared.fail(&ClientError::closed("the client is gone"));
                return;
            }
            error = converse(&shared, connection) => error,
        };
        shared.on_lost(&error);
        let again = tokio::select! {
            () = shared.cancel.cancelled() => Err(ClientError::closed("the client is gone")),
            again = reconnect(&shared.options, error) => again,
        };
        match again {
            Ok(made) => {
                shared.on_connected(made.hello());
                connection = made;
            }
            Err(error) => {
                shared.fail(&error);
                return;
            }
        }
    }
}

/// Tries again with growing pauses, for as long as the options say.
async fn reconnect(options: &ClientOptions, mut error: ClientError) -> Result<Connection, ClientError> {
    let begun = Instant::now();
    let mut pause = options.reconnect_pause_min;
    while begun.elapsed() < options.reconnect_for {
        // Half of the pause is a matter of chance, so that many clients do not come at once.
        let part = u64::from(std::process::id()) ^ begun.elapsed().as_nanos() as u64;
        let jitter = pause / 2 * ((part % 1000) as u32) / 1000;
        sleep(pause / 2 + jitter).await;
        pause = (pause * 2).min(options.reconnect_pause_max);
        match connect(options).await {
            Ok(connection) => return Ok(connection),
            Err(again) => error = again,
        }
    }
    Err(error)
}

/// Reads and writes until something breaks; says what.
async fn converse(shared: &Shared, connection: Connection) -> ClientError {
    let Connection { reader, writer, buffer, .. } = connection;
    let heard = Mutex::new(Instant::now());
    tokio::select! {
        error = read(shared, reader, buffer, &heard) => error,
        error = write(shared, writer) => error,
        error = watch(shared, &heard) => error,
    }
}

async fn read(
    shared: &Shared,
    mut reader: OwnedReadHalf,
    mut buffer: BytesMut,
    heard: &Mutex<Instant>,
) -> ClientError {
    loop {
        loop {
            match take_frame(&mut buffer) {
                Ok(Some(frame)) => {
                    if let Err(error) = shared.on_frame(frame) {
                        return error;
                    }
                }
                Ok(None) => break,
                Err(error) => return ClientError::Protocol(error.to_string()),
            }
        }
        let missing = match FrameHeader::decode(&buffer) {
            Ok(Some(header)) => (FRAME_HEADER_BYTES + header.body_bytes).saturating_sub(buffer.len()),
            Ok(None) | Err(_) => 0,
        };
        if buffer.capacity() - buffer.len() < missing.max(READ_BYTES / 4) {
            buffer.reserve(missing.max(READ_BYTES));
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return ClientError::closed("the relay closed the connection"),
            Ok(_) => *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now(),
            Err(error) => return ClientError::unreachable(&shared.options.address, error),
        }
    }
}

async fn write(shared: &Shared, mut writer: OwnedWriteHalf) -> ClientError {
    let mut next_put = 1;
    let mut out = Vec::new();
    loop {
        shared.collect(&mut next_put, &mut out);
        if out.is_empty() {
            tokio::select! {
                () = shared.wake.notified() => {}
                () = shared.wake_soon.notified() => {
                    tokio::select! {
                        () = shared.wake.notified() => {}
                        () = sleep(ACK_DELAY) => {}
                    }
                }
            }
            continue;
        }
        if let Err(error) = write_all(&mut writer, &mut out).await {
            return ClientError::unreachable(&shared.options.address, error);
        }
    }
}

async fn write_all(writer: &mut OwnedWriteHalf, out: &mut Vec<Bytes>) -> io::Result<()> {
    let mut at = 0;
    while at < out.len() {
        let slices: Vec<io::IoSlice<'_>> = out[at..].iter().map(|b| io::IoSlice::new(b)).collect();
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = out.get_mut(at).filter(|_| written > 0) {
            let part = written.min(first.len());
            first.advance(part);
            written -= part;
            if first.is_empty() {
                at += 1;
            }
        }
    }
    out.clear();
    Ok(())
}

/// Pings when it is quiet, and gives up when nothing is heard for long.
async fn watch(shared: &Shared, heard: &Mutex<Instant>) -> ClientError {
    loop {
        sleep(PING_AFTER / 2).await;
        let quiet = heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if quiet >= DEAD_AFTER {
            return ClientError::closed("nothing was heard from the relay for 30 s");
        }
        if quiet >= PING_AFTER {
            FrameHeader { kind: FrameKind::Ping, tag: 0, body_bytes: 0 }.encode(&mut shared.lock().control);
            shared.wake_writer();
        }
    }
}
