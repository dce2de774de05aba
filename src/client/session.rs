//! The life of one connection: frames in, frames out, pings.
//!
//! One task does all of it, so that reading and writing share their tables
//! without a thought; a slow socket stops the writing half only.
//!
//! Per 1,000 messages of 16 bytes: 21 kB, one frame, one write, no allocation
//! but the run's. Acks of 1,000 messages in order: 32 bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::ClientError;
use super::incoming::Incoming;
use super::lock;
use super::options::ClientOptions;
use super::shared::{Pending, Shared, Work};
use super::subscribing::SubscriberShared;
use super::writer;
use crate::limits;
use crate::wire::body::{self, ClientHello, Close, PROTOCOL_MAGIC, PROTOCOL_VERSION, Refusal, RelayHello};
use crate::wire::frame::{
    FRAME_HEADER_BYTES, Frame, FrameError, FrameHeader, FrameKind, append_frame, take_frame,
};

/// A connection whose relay has said hello.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) hello: RelayHello,
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// Connects and exchanges hellos.
///
/// # Cancel safety
/// The connection is closed when it is dropped before it is ready.
pub(super) async fn connect(options: &ClientOptions) -> Result<Greeted, ClientError> {
    let greeted = tokio::time::timeout(options.connect_deadline, greet(options)).await;
    greeted.unwrap_or_else(|_| {
        let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "no hello in time");
        Err(ClientError::unreachable(&options.address, late))
    })
}

async fn greet(options: &ClientOptions) -> Result<Greeted, ClientError> {
    let unreachable = |error| ClientError::unreachable(&options.address, error);
    let stream = TcpStream::connect(&options.address).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let (reader, mut writer) = stream.into_split();
    let magic = PROTOCOL_MAGIC.to_owned();
    let hello = ClientHello { magic, version: PROTOCOL_VERSION, name: options.name.clone() };
    let mut out = BytesMut::new();
    append_frame(&mut out, FrameKind::Hello, 0, &body::encode(&hello));
    writer.write_all(&out).await.map_err(unreachable)?;
    let mut reader = FrameReader::new(reader);
    let frame = reader.next().await?;
    if frame.kind == FrameKind::Close {
        return Err(closed(&frame.body));
    }
    if frame.kind != FrameKind::Hello {
        return Err(ClientError::protocol(format!("the first frame is {:?}, not a hello", frame.kind)));
    }
    let hello: RelayHello = body::decode(&frame.body).map_err(ClientError::protocol)?;
    if hello.magic != PROTOCOL_MAGIC {
        return Err(ClientError::protocol(format!(
            "the hello says {:?}, not {PROTOCOL_MAGIC:?}",
            hello.magic
        )));
    }
    if !(1..=PROTOCOL_VERSION).contains(&hello.version) {
        return Err(ClientError::Version { found: hello.version, known: PROTOCOL_VERSION });
    }
    Ok(Greeted { hello, reader, writer })
}

pub(super) fn closed(body: &[u8]) -> ClientError {
    match body::decode::<Close>(body) {
        Ok(close) => ClientError::closed(close.reason),
        Err(error) => ClientError::protocol(error),
    }
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        Self::protocol(error)
    }
}

/// Takes frames off a stream, as slices of what was read.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    /// Bytes that the buffer had when it was made.
    made: usize,
    /// Bytes that the next read makes room for.
    want: usize,
    /// Memory of the last buffers, the oldest first: when the application is done with all that
    /// came in one, it is read into again. New memory would be cleared by the system, page by page.
    used: VecDeque<BytesMut>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    fn new(stream: R) -> Self {
        let want = limits::CLIENT_READ_BYTES_MIN;
        Self { stream, buffer: BytesMut::new(), made: 0, want, used: VecDeque::new() }
    }

    /// The next frame.
    ///
    /// # Cancel safety
    /// Nothing is lost: a partial frame stays in the buffer.
    async fn next(&mut self) -> Result<Frame, ClientError> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer)? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        let frame = FrameHeader::decode(&self.buffer)?.map_or(0, |h| FRAME_HEADER_BYTES + h.body_bytes);
        let missing = frame.saturating_sub(self.buffer.len());
        if self.buffer.capacity() - self.buffer.len() < missing.max(self.want / 4) {
            self.make_room(frame);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let count = self.stream.read_buf(&mut self.buffer).await;
        let count = count.map_err(|error| ClientError::closed(format!("the connection broke: {error}")))?;
        if count == 0 {
            return Err(ClientError::closed("the relay closed the connection"));
        }
        if count == room {
            self.want = (self.want * 4).min(limits::CLIENT_READ_BYTES);
        } else if count < self.want / 8 {
            self.want = (self.want / 2).max(limits::CLIENT_READ_BYTES_MIN);
            self.used.clear();
        }
        Ok(())
    }

    /// Makes room for the frame that the buffer begins with, and for more.
    fn make_room(&mut self, frame: usize) {
        let whole = frame.max(self.want);
        if self.buffer.try_reclaim(whole - self.buffer.len()) {
            return;
        }
        let free = self.used.iter_mut().position(|used| used.try_reclaim(whole));
        let mut next = free.and_then(|place| self.used.remove(place)).unwrap_or_default();
        next.reserve(whole);
        next.extend_from_slice(&self.buffer);
        let mut before = std::mem::replace(&mut self.buffer, next);
        // Those for large frames are not kept: they are few, and many of them too much.
        if self.made == limits::CLIENT_READ_BYTES {
            if self.used.len() == limits::CLIENT_READS_KEPT {
                self.used.pop_front();
            }
            before.clear();
            self.used.push_back(before);
        }
        self.made = whole;
    }
}

/// A run that was sent, by its publisher and its first sequence.
#[derive(Debug)]
pub(super) struct SentPut {
    pub(super) publisher: std::sync::Arc<super::publishing::PublisherShared>,
    pub(super) first: u64,
    /// Those that are not durable; 0 once they are, though it waits for more.
    pub(super) bytes: usize,
}

/// Puts of the session without an answer, by their numbers: dense, in order.
#[derive(Debug, Default)]
pub(super) struct Puts {
    /// The number of the first in the table.
    base: u64,
    table: VecDeque<Option<SentPut>>,
    /// Bytes that are not known to be durable.
    pub(super) bytes: usize,
}

impl Puts {
    /// The number of the next put.
    pub(super) fn next(&self) -> u64 {
        self.base + self.table.len() as u64
    }

    pub(super) fn add(&mut self, put: SentPut) {
        self.bytes += put.bytes;
        self.table.push_back(Some(put));
    }

    /// The put with this number is durable and has more answers to come, if it has no last one yet.
    pub(super) fn settle(&mut self, number: u64) -> Option<&SentPut> {
        let place = usize::try_from(number.checked_sub(self.base)?).ok()?;
        let put = self.table.get_mut(place)?.as_mut()?;
        self.bytes -= std::mem::take(&mut put.bytes);
        Some(put)
    }

    /// The put with this number, if it has no last answer yet.
    pub(super) fn take(&mut self, number: u64) -> Option<SentPut> {
        let place = usize::try_from(number.checked_sub(self.base)?).ok()?;
        let put = self.table.get_mut(place)?.take()?;
        self.bytes -= put.bytes;
        while let Some(None) = self.table.front() {
            self.table.pop_front();
            self.base += 1;
        }
        Some(put)
    }
}

/// What reading and writing share.
#[derive(Debug)]
pub(super) struct Session<'a> {
    pub(super) shared: &'a Shared,
    pub(super) hello: RelayHello,
    /// Requests without an answer.
    pub(super) asked: Mutex<BTreeMap<u64, Pending>>,
    pub(super) puts: Mutex<Puts>,
    /// Work that the writer has taken and not done.
    pub(super) work: Mutex<Work>,
    /// Frames read.
    heard: AtomicU64,
    /// Pings that are due.
    pub(super) pings: AtomicU64,
    /// Subscribers that are to be attached again, and when.
    later: Mutex<Vec<(Instant, Arc<SubscriberShared>)>>,
    later_changed: Notify,
}

/// Runs a session to its end; gives why it ended.
///
/// # Cancel safety
/// The connection is closed at once when it is dropped.
pub(super) async fn run(shared: &Shared, greeted: Greeted) -> ClientError {
    let Greeted { hello, reader, writer } = greeted;
    let session = Session {
        shared,
        hello,
        asked: Mutex::default(),
        puts: Mutex::new(Puts { base: 1, ..Puts::default() }),
        work: Mutex::default(),
        heard: AtomicU64::new(0),
        pings: AtomicU64::new(0),
        later: Mutex::default(),
        later_changed: Notify::new(),
    };
    let error = tokio::select! {
        error = session.read(reader) => error,
        error = writer::write(&session, writer) => error,
        error = session.ping() => error,
        error = session.attach_all_later() => error,
        error = stuck_goodbye(shared) => error,
    };
    session.end(error)
}

/// A socket that takes nothing any more must not keep a client from ending.
async fn stuck_goodbye(shared: &Shared) -> ClientError {
    shared.stopping().await;
    tokio::time::sleep(Duration::from_millis(limits::CLIENT_GOODBYE_MS)).await;
    ClientError::closed("the client is done")
}

impl Session<'_> {
    async fn read(&self, mut reader: FrameReader<OwnedReadHalf>) -> ClientError {
        let mut incoming = Incoming::new(self);
        loop {
            let frame = match reader.next().await {
                Ok(frame) => frame,
                Err(error) => return error,
            };
            self.heard.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = incoming.take(frame) {
                return error;
            }
        }
    }

    /// A subscriber whose home cannot be reached for the moment is attached again after a pause.
    pub(super) fn attach_later(&self, subscriber: Arc<SubscriberShared>, refusal: Refusal) {
        let pause = subscriber.on_refused(refusal);
        self.shared.on_held_up();
        lock(&self.later).push((Instant::now() + pause, subscriber));
        self.later_changed.notify_one();
    }

    async fn attach_all_later(&self) -> ClientError {
        loop {
            let next = lock(&self.later).iter().map(|(at, _)| *at).min();
            match next {
                None => self.later_changed.notified().await,
                Some(at) => tokio::select! {
                    () = self.later_changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
            let now = Instant::now();
            let due: Vec<_> = lock(&self.later).extract_if(.., |(at, _)| *at <= now).collect();
            for (_, subscriber) in due.into_iter().filter(|(_, subscriber)| !subscriber.is_over()) {
                self.shared.attach_again(&subscriber);
            }
        }
    }

    async fn ping(&self) -> ClientError {
        let every = self.shared.options.ping_interval;
        let (mut heard, mut unheard) = (0, 0);
        loop {
            tokio::time::sleep(every).await;
            let now = self.heard.load(Ordering::Relaxed);
            unheard = if now == heard { unheard + 1 } else { 0 };
            heard = now;
            if unheard >= limits::CLIENT_PINGS_UNHEARD_MAX {
                let silence: Duration = every * unheard;
                return ClientError::closed(format!("nothing was heard of the relay for {silence:?}"));
            }
            self.pings.fetch_add(1, Ordering::Relaxed);
            self.shared.wake.notify_one();
        }
    }

    /// Tells everybody who waits for an answer of this session that none comes.
    fn end(self, error: ClientError) -> ClientError {
        let reason = error.to_closed();
        for pending in into_inner(self.asked).into_values() {
            match pending {
                Pending::Reply(sender) | Pending::Poll(_, sender) | Pending::Detach(_, Some(sender)) => {
                    sender.send(Err(reason.clone())).ok();
                }
                Pending::Open(_) | Pending::Attach(_) | Pending::Detach(_, None) => {}
            }
        }
        self.shared.on_down(&error, into_inner(self.work));
        error
    }

    pub(super) fn ask(&self, number: u64, pending: Pending) {
        lock(&self.asked).insert(number, pending);
    }
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY_BYTES: usize = 10_000;

    /// A stream of notices, each with its number everywhere.
    async fn reader(count: u8) -> FrameReader<tokio::io::DuplexStream> {
        let (mut relay, stream) = tokio::io::duplex(usize::from(count) * (BODY_BYTES + 100));
        let mut bytes = BytesMut::new();
        for number in 0..count {
            append_frame(&mut bytes, FrameKind::Notice, 0, &[number; BODY_BYTES]);
        }
        relay.write_all(&bytes).await.unwrap();
        let mut reader = FrameReader::new(stream);
        reader.want = limits::CLIENT_READ_BYTES;
        reader
    }

    #[tokio::test]
    async fn memory_is_read_into_again_when_nobody_holds_what_is_in_it() {
        let mut reader = reader(250).await;
        let mut last = None;
        for number in 0..250 {
            let frame = reader.next().await.unwrap();
            assert_eq!(frame.body, [number; BODY_BYTES][..]);
            // One is always held, so that the buffer at hand is never free.
            last.replace(frame);
        }
        assert!((1..=2).contains(&reader.used.len()), "{} of 10 buffers were needed", reader.used.len());
    }

    #[tokio::test]
    async fn what_somebody_holds_is_never_written_over() {
        let mut reader = reader(250).await;
        let mut held = Vec::new();
        for number in 0..250_u8 {
            let frame = reader.next().await.unwrap();
            // Some let go at once, some later, some never.
            if !number.is_multiple_of(3) {
                held.push((number, frame));
            }
            if number.is_multiple_of(40) {
                held.retain(|(held, _)| held.is_multiple_of(7) || number - *held < 20);
            }
        }
        for (number, frame) in held {
            assert_eq!(frame.body, [number; BODY_BYTES][..]);
        }
        assert!(reader.used.len() <= limits::CLIENT_READS_KEPT);
    }
}
