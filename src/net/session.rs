//! Bytes to frames, frames to inputs: the reading side of a session.
//!
//! A partial frame stays in the [`FrameReader`], so that every future here can
//! be dropped. Memory: a quiet session holds none; a busy one reads up to
//! [`limits::SESSION_READ_BYTES`] at a time, into memory that the records then
//! keep; records that would keep much more memory than they have bytes are
//! copied. Only a frame longer than one read gets memory in advance, and all of
//! these together at most [`limits::PARTIAL_BYTES_MAX`].

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::SessionId;
use crate::limits;
use crate::net::fault::{SessionEnd, SessionFault};
use crate::net::pace::Pace;
use crate::net::slice::Slice;
use crate::relay::Input;
use crate::wire::body::{self, ClientHello, Close, PROTOCOL_MAGIC, PROTOCOL_VERSION};
use crate::wire::frame::{
    Ack, Credit, FRAME_HEADER_BYTES, Frame, FrameError, FrameHeader, FrameKind, PutHead, take_frame,
};
use crate::wire::link::{LINK_MAGIC, LINK_VERSION, LinkHello};
use crate::wire::run::BodySummary;

/// What one read has brought.
#[derive(Debug, Default)]
pub struct Incoming {
    /// What happened to the relay, in order.
    pub inputs: Vec<Input>,
    /// Tags of pings.
    pub pings: Vec<u64>,
    /// Requests among the inputs.
    pub requests: usize,
    /// Bytes of the puts' records among the inputs.
    pub put_bytes: usize,
    /// Why nothing comes after this, if so.
    pub end: Option<SessionEnd>,
}

/// Who has connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// An application, and the version that both speak.
    Client(ClientHello, u32),
    /// A neighbour. The version in it is the one that both speak.
    Relay(LinkHello),
}

/// Takes bytes off a stream and frames off the bytes.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    /// Bytes that the next read makes room for.
    want: usize,
    /// Bytes of the memory that `buffer` is part of.
    allocated: usize,
    /// How fast the partial frame in `buffer` has to come.
    pace: Pace,
    /// Held while a frame longer than one read comes in.
    large: Option<OwnedSemaphorePermit>,
    partial_bytes: Arc<Semaphore>,
    /// Whole frames may wait in `buffer`: others had to have their turn.
    has_more: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader of an application that has read nothing. `partial_bytes` bounds the large frames of all
    /// of them.
    pub fn new(stream: R, partial_bytes: Arc<Semaphore>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            want: limits::SESSION_READ_BYTES_MIN,
            allocated: 0,
            pace: Pace::new(limits::FRAME_BYTES_PER_SECOND_MIN),
            large: None,
            partial_bytes,
            has_more: false,
        }
    }

    /// As [`Self::new`], of a neighbour; `partial_bytes` bounds those of all neighbours.
    pub fn of_neighbour(stream: R, partial_bytes: Arc<Semaphore>) -> Self {
        let mut reader = Self::new(stream, Arc::clone(&partial_bytes));
        reader.is_neighbour(partial_bytes);
        reader
    }

    /// Whom it reads from has said that it is a neighbour.
    pub fn is_neighbour(&mut self, partial_bytes: Arc<Semaphore>) {
        self.partial_bytes = partial_bytes;
        self.pace = Pace::new(limits::LINK_FRAME_BYTES_PER_SECOND_MIN);
    }

    /// Waits until the frame that it is at may come in, if it is longer than one read and as much as one
    /// read brings is there: who has only said that it will send much holds up nobody.
    ///
    /// # Errors
    /// When it cannot be a frame.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn begin_large(&mut self) -> Result<(), SessionEnd> {
        let frame = self.frame_bytes()?;
        let has_begun = self.buffer.len() >= limits::SESSION_READ_BYTES;
        if frame > limits::SESSION_READ_BYTES && has_begun && self.large.is_none() {
            let permits = u32::try_from(frame).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.partial_bytes).acquire_many_owned(permits).await;
            self.large = Some(permit.expect("the semaphore of partial frames is never closed"));
            self.pace.stop();
        }
        Ok(())
    }

    /// Reads once; while there are whole frames left to be taken, lets others work instead.
    ///
    /// # Errors
    /// When the stream has ended or broken, the frame that it is at cannot be
    /// one, or comes too slowly.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn fill(&mut self) -> Result<(), SessionEnd> {
        if self.has_more {
            tokio::task::yield_now().await;
            // Only now: who drops this future has taken nothing.
            self.has_more = false;
            return Ok(());
        }
        self.begin_large().await?;
        let frame = self.frame_bytes()?;
        if self.buffer.is_empty() {
            return self.read(frame).await;
        }
        let (until, after) = self.pace.until(frame, self.buffer.len());
        match tokio::time::timeout_at(until, self.read(frame)).await {
            Ok(read) => read,
            Err(_) => Err(SessionFault::Stalled { expected: frame, after }.into()),
        }
    }

    /// Bytes of the frame that the buffer begins with; 0 while that is not known.
    fn frame_bytes(&self) -> Result<usize, FrameError> {
        let header = FrameHeader::decode(&self.buffer)?;
        Ok(header.map_or(0, |header| FRAME_HEADER_BYTES + header.body_bytes))
    }

    async fn read(&mut self, frame: usize) -> Result<(), SessionEnd> {
        let may_come = if self.large.is_some() { frame } else { frame.min(limits::SESSION_READ_BYTES) };
        let missing = may_come.saturating_sub(self.buffer.len());
        let Self { stream, buffer, want, allocated, .. } = self;
        let (count, room) = poll_fn(|context| {
            // Memory is taken only now, and given back when nothing has come: many sessions are quiet.
            let room = buffer.capacity() - buffer.len();
            if room < missing.max(*want / 4).max(1) {
                buffer.reserve(missing.max(*want));
                *allocated = buffer.capacity();
            }
            let room = buffer.capacity() - buffer.len();
            match pin!(stream.read_buf(buffer)).poll(context) {
                Poll::Ready(read) => Poll::Ready(read.map(|count| (count, room))),
                Poll::Pending => {
                    if buffer.is_empty() {
                        *buffer = BytesMut::new();
                    }
                    Poll::Pending
                }
            }
        })
        .await
        .map_err(SessionEnd::Broken)?;
        if count == 0 {
            return Err(SessionEnd::Left(None));
        }
        if count == room {
            self.want = (self.want * 4).min(limits::SESSION_READ_BYTES);
        } else if count < self.want / 8 {
            self.want = (self.want / 2).max(limits::SESSION_READ_BYTES_MIN);
        }
        Ok(())
    }

    /// Takes the next whole frame that has come.
    fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let frame = take_frame(&mut self.buffer)?;
        if frame.is_some() {
            self.pace.stop();
            self.large = None;
        }
        Ok(frame)
    }

    /// Waits for the first frame and checks it. The version in it is the one that both speak.
    ///
    /// # Errors
    /// When the stream ends before, or begins with something else.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn greeting(&mut self) -> Result<Greeting, SessionEnd> {
        let frame = self.first(&[FrameKind::Hello, FrameKind::LinkHello]).await?;
        if frame.kind == FrameKind::LinkHello {
            return Ok(Greeting::Relay(check_link_hello(&frame.body)?));
        }
        let (hello, version) = check_hello(&frame.body)?;
        Ok(Greeting::Client(hello, version))
    }

    /// Waits for the answer of a relay that was greeted as a neighbour.
    ///
    /// # Errors
    /// When it refuses, which [`SessionEnd::Left`] tells, or says something else.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn link_hello(&mut self) -> Result<LinkHello, SessionEnd> {
        let frame = self.first(&[FrameKind::LinkHello, FrameKind::Close]).await?;
        if frame.kind == FrameKind::Close {
            let close: Close = body::decode(&frame.body)?;
            return Err(SessionEnd::Left(Some(close.reason)));
        }
        Ok(check_link_hello(&frame.body)?)
    }

    /// The first frame, of one of these kinds. Strangers send no long ones.
    async fn first(&mut self, kinds: &[FrameKind]) -> Result<Frame, SessionEnd> {
        loop {
            if let Some(header) = FrameHeader::decode(&self.buffer)? {
                if !kinds.contains(&header.kind) {
                    return Err(SessionFault::Unexpected(header.kind).into());
                }
                if header.body_bytes > limits::HELLO_BYTES_MAX {
                    return Err(SessionFault::HelloTooLong { found: header.body_bytes }.into());
                }
            }
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Hands over the whole frames that have come, up to the first that ends the connection, for a
    /// slice of time: the next [`Self::fill`] comes back at once when there are more.
    pub(super) fn each(
        &mut self,
        mut slice: Slice,
        mut take: impl FnMut(Frame) -> Result<(), SessionEnd>,
    ) -> Option<SessionEnd> {
        loop {
            match self.next() {
                Ok(Some(frame)) => {
                    if let Err(end) = take(frame) {
                        return Some(end);
                    }
                    if slice.is_over() {
                        self.has_more = true;
                        return None;
                    }
                }
                Ok(None) => return None,
                Err(fault) => return Some(fault.into()),
            }
        }
    }

    /// Whether records of so many bytes keep much more memory than they fill.
    pub(super) fn is_wasteful(&self, bytes: usize) -> bool {
        bytes * 4 < self.allocated
    }

    /// Takes the whole frames that have come, as many as a slice of time allows. What was right before
    /// something wrong is given too.
    pub fn take(&mut self, session: SessionId, incoming: &mut Incoming) {
        if incoming.end.is_none() {
            incoming.end = self.each(Slice::begin(), |frame| incoming.frame(session, frame));
        }
        if self.is_wasteful(incoming.put_bytes) {
            incoming.copy_records();
        }
    }

    /// Throws away what still comes, so that the last frame sent is not lost
    /// with it: a socket that is closed with unread bytes takes back what it has sent.
    ///
    /// # Cancel safety
    /// Nothing is lost that is not to be.
    pub async fn drain(&mut self) {
        loop {
            self.buffer.clear();
            self.buffer.reserve(limits::SESSION_READ_BYTES_MIN);
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                return;
            }
        }
    }
}

impl Incoming {
    fn frame(&mut self, session: SessionId, frame: Frame) -> Result<(), SessionEnd> {
        match frame.kind {
            FrameKind::Put => {
                let put = decode_put(session, frame)?;
                if let Input::Put { records, .. } = &put {
                    self.put_bytes += records.len();
                }
                self.inputs.push(put);
            }
            FrameKind::Ack => {
                self.inputs.push(Input::Ack { session, acks: Ack::decode_list(frame.body)? });
            }
            FrameKind::Credit => {
                self.inputs.push(Input::Credit { session, credits: Credit::decode_list(frame.body)? });
            }
            FrameKind::Request => {
                self.requests += 1;
                let body = match body::decode(&frame.body) {
                    Ok(body) => body,
                    Err(body::BodyError::Decode(why)) => body::Request::Unknown { why },
                    Err(fault) => return Err(fault.into()),
                };
                let body = Box::new(body);
                self.inputs.push(Input::Request { session, request: frame.tag, body });
            }
            FrameKind::Ping => self.pings.push(frame.tag),
            // The relay asks with TCP's own keepalive; an answer nobody asked for does no harm.
            FrameKind::Pong => {}
            FrameKind::Close => {
                let close: Close = body::decode(&frame.body)?;
                return Err(SessionEnd::Left(Some(close.reason)));
            }
            kind @ (FrameKind::Hello
            | FrameKind::Answer
            | FrameKind::PutAnswer
            | FrameKind::Deliver
            | FrameKind::Notice
            | FrameKind::LinkHello
            | FrameKind::Link
            | FrameKind::LinkRun
            | FrameKind::LinkDeliver
            | FrameKind::LinkCopy) => return Err(SessionFault::Unexpected(kind).into()),
        }
        Ok(())
    }

    fn copy_records(&mut self) {
        for input in &mut self.inputs {
            if let Input::Put { records, .. } = input {
                *records = Bytes::copy_from_slice(records);
            }
        }
    }
}

fn decode_put(session: SessionId, frame: Frame) -> Result<Input, SessionFault> {
    let handle = u32::try_from(frame.tag).map_err(|_| SessionFault::Handle(frame.tag))?;
    let (head, records) = PutHead::decode(frame.body)?;
    let found = xxh3_64(&records);
    if found != head.body_hash {
        return Err(SessionFault::Hash { expected: head.body_hash, found });
    }
    let summary = BodySummary::of(&records)?;
    Ok(Input::Put { session, handle, head, summary, records })
}

fn check_link_hello(body: &[u8]) -> Result<LinkHello, SessionFault> {
    let mut hello: LinkHello = body::decode(body)?;
    if hello.magic != LINK_MAGIC {
        return Err(SessionFault::Magic { found: hello.magic.chars().take(32).collect() });
    }
    if hello.version == 0 {
        return Err(SessionFault::Version { found: hello.version });
    }
    hello.version = hello.version.min(LINK_VERSION);
    Ok(hello)
}

fn check_hello(body: &[u8]) -> Result<(ClientHello, u32), SessionFault> {
    let hello: ClientHello = body::decode(body)?;
    if hello.magic != PROTOCOL_MAGIC {
        return Err(SessionFault::Magic { found: hello.magic.chars().take(32).collect() });
    }
    if hello.version == 0 {
        return Err(SessionFault::Version { found: hello.version });
    }
    let version = hello.version.min(PROTOCOL_VERSION);
    Ok((hello, version))
}

#[cfg(test)]
mod tests;
