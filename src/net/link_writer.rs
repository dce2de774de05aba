//! Turns what waits for a session into bytes, with one vectored write per batch.
//!
//! Headers and small records are copied into one buffer, large records are
//! slices of their own, shared with the log and with every other session that
//! gets them. Put-answers of a batch become one frame. A frame that was begun
//! is finished before anything else is sent; a batch is at most about
//! [`limits::WRITE_BYTES_MAX`] bytes, so that is how long a pong can wait.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::id::StreamNumber;
use crate::limits;
use crate::net::outgoing::{OutBatch, OutReceiver, Outgoing};
use crate::net::packer::Packer;
use crate::net::slice::Slice;
use crate::wire::body::{self, Answer, Close, Refusal, RefusalCode};
use crate::wire::frame::{
    FrameKind, LinkCopyHead, LinkDeliverHead, LinkRunHead, PUT_DONE_BYTES, append_frame, append_frame_with,
};
use crate::wire::link::LinkMessage;
use crate::wire::packed::Packing;
use crate::wire::run::Run;

/// Put-answers in one frame.
const DONES_MAX: usize = limits::CONTROL_BYTES_MAX / PUT_DONE_BYTES;

#[derive(Debug)]
enum Part {
    Copied(Range<usize>),
    Shared(Bytes),
}

/// Frames as bytes, ready to be written.
#[derive(Debug, Default)]
pub struct Encoder {
    copied: BytesMut,
    parts: Vec<Part>,
    /// Where in `copied` the part begins that is not in `parts` yet.
    begun: usize,
    /// Of a link whose other end takes packed runs.
    packer: Option<Packer>,
    packed: BytesMut,
}

impl Encoder {
    /// One that packs runs where it pays; none: they go as they are.
    #[must_use]
    pub fn packing(packer: Option<Packer>) -> Self {
        Self { packer, ..Self::default() }
    }

    /// Encodes a batch behind what is there.
    pub fn batch(&mut self, batch: &OutBatch) {
        for &tag in &batch.pings {
            self.frame(FrameKind::Ping, tag, &[]);
        }
        for &tag in &batch.pongs {
            self.frame(FrameKind::Pong, tag, &[]);
        }
        for dones in batch.dones.chunks(DONES_MAX) {
            append_frame_with(&mut self.copied, FrameKind::PutAnswer, 0, 0, |out| {
                dones.iter().for_each(|done| done.encode(out));
            });
        }
        for item in &batch.items {
            self.item(item);
        }
        if let Some(reason) = &batch.close {
            self.frame(FrameKind::Close, 0, &body::encode(&Close { reason: reason.clone() }));
        }
    }

    fn item(&mut self, item: &Outgoing) {
        match item {
            Outgoing::Answer { request, answer } => {
                let body = body::encode(&**answer);
                let body = if body.len() > limits::CONTROL_BYTES_MAX { too_long(body.len()) } else { body };
                self.frame(FrameKind::Answer, *request, &body);
            }
            Outgoing::Notice(notice) => self.frame(FrameKind::Notice, 0, &body::encode(&**notice)),
            Outgoing::Deliver { handle, head, records } => {
                let (kind, tag) = (FrameKind::Deliver, u64::from(*handle));
                append_frame_with(&mut self.copied, kind, tag, records.len(), |out| head.encode(out));
                self.records(records);
            }
            Outgoing::Link(message) => self.link(message),
        }
    }

    fn link(&mut self, message: &LinkMessage) {
        if let LinkMessage::Run { stream, age_ms, run } = message {
            self.run(*stream, *age_ms, run);
        } else if let LinkMessage::Deliver { head, deliver, records } = message {
            let (kind, tag) = (FrameKind::LinkDeliver, head.circuit.number);
            let head = LinkDeliverHead { head: (**head).clone(), deliver: *deliver };
            append_frame_with(&mut self.copied, kind, tag, records.len(), |out| head.encode(out));
            self.records(records);
        } else if let LinkMessage::Copy { head, run } = message {
            let head = LinkCopyHead { head: (**head).clone(), header: run.header };
            append_frame_with(&mut self.copied, FrameKind::LinkCopy, 0, run.body.len(), |out| {
                head.encode(out)
            });
            self.records(&run.body);
        } else {
            self.frame(FrameKind::Link, 0, &message.encode());
        }
    }

    fn run(&mut self, stream: StreamNumber, age_ms: u32, run: &Run) {
        let (kind, tag) = (FrameKind::LinkRun, u64::from(stream.0));
        self.packed.clear();
        let packs = |packer: &mut Packer| packer.pack(stream, &run.body, &mut self.packed);
        if self.packer.as_mut().is_some_and(packs) {
            let head = LinkRunHead { age_ms, packing: Packing::Lz4, header: run.header };
            append_frame_with(&mut self.copied, kind, tag, self.packed.len(), |out| head.encode(out));
            self.copied.extend_from_slice(&self.packed);
            return;
        }
        let head = LinkRunHead { age_ms, packing: Packing::Plain, header: run.header };
        append_frame_with(&mut self.copied, kind, tag, run.body.len(), |out| head.encode(out));
        self.records(&run.body);
    }

    fn records(&mut self, records: &Bytes) {
        if records.len() < limits::WRITE_COPY_BYTES_MAX {
            self.copied.extend_from_slice(records);
        } else {
            self.cut();
            self.parts.push(Part::Shared(records.clone()));
        }
    }

    fn frame(&mut self, kind: FrameKind, tag: u64, body: &[u8]) {
        append_frame(&mut self.copied, kind, tag, body);
    }

    fn cut(&mut self) {
        if self.begun < self.copied.len() {
            self.parts.push(Part::Copied(self.begun..self.copied.len()));
            self.begun = self.copied.len();
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// What the socket says; the session cannot go on.
    ///
    /// # Cancel safety
    /// None: a frame may be half written.
    pub async fn write<W: AsyncWrite + Unpin>(&mut self, stream: &mut W) -> io::Result<()> {
        self.cut();
        let mut first = 0;
        while first < self.parts.len() {
            let mut written = poll_fn(|context| {
                let mut slices = [IoSlice::new(&[]); limits::WRITE_SLICES_MAX];
                let count = self.slices(first, &mut slices);
                Pin::new(&mut *stream).poll_write_vectored(context, &slices[..count])
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            while written > 0 {
                let Some(part) = self.parts.get_mut(first) else { break };
                written -= part.advance(written);
                first += usize::from(part.len() == 0);
            }
        }
        self.clear();
        stream.flush().await
    }

    fn slices<'a>(&'a self, first: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(self.parts.iter().skip(first)) {
            *slice = IoSlice::new(match part {
                Part::Copied(range) => &self.copied[range.clone()],
                Part::Shared(bytes) => bytes,
            });
            count += 1;
        }
        count
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.copied.clear();
        self.begun = 0;
    }

    /// Gives memory back; called when there is nothing to write.
    fn rest(&mut self) {
        if self.copied.capacity() > limits::SESSION_READ_BYTES_MIN {
            *self = Self::packing(self.packer.take());
        }
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Copied(range) => range.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// Takes at most `bytes` off the beginning and says how many.
    fn advance(&mut self, bytes: usize) -> usize {
        let taken = bytes.min(self.len());
        match self {
            Self::Copied(range) => range.start += taken,
            Self::Shared(shared) => shared.advance(taken),
        }
        taken
    }
}

fn too_long(found: usize) -> Bytes {
    let max = limits::CONTROL_BYTES_MAX;
    let message = format!("the answer has {found} bytes, at most {max} fit; ask for fewer at a time");
    body::encode(&Answer::Err(Refusal::new(RefusalCode::Limit, message)))
}

/// Writes all that comes until the session's last batch, and ends the stream's
/// sending side after it. Runs are packed by `packer` where that pays; none: they go as they are.
///
/// # Errors
/// What the socket says.
///
/// # Cancel safety
/// None: a frame may be half written.
pub async fn run<W: AsyncWrite + Unpin>(
    stream: &mut W,
    receiver: &mut OutReceiver,
    packer: Option<Packer>,
) -> io::Result<()> {
    let begin = || Slice::of(Duration::from_micros(limits::WRITE_SLICE_US_MAX));
    run_in(stream, receiver, packer, begin).await
}

/// Whether a write had to wait for the socket, while others worked.
async fn has_waited(write: impl Future<Output = io::Result<()>>) -> io::Result<bool> {
    let (mut write, mut waited) = (pin!(write), false);
    poll_fn(|context| {
        let written = write.as_mut().poll(context);
        waited |= written.is_pending();
        written
    })
    .await?;
    Ok(waited)
}

/// As [`run`], in slices that begin so.
async fn run_in<W: AsyncWrite + Unpin>(
    stream: &mut W,
    receiver: &mut OutReceiver,
    packer: Option<Packer>,
    begin: impl Fn() -> Slice,
) -> io::Result<()> {
    let mut encoder = Encoder::packing(packer);
    let mut batch = OutBatch::default();
    let mut slice = begin();
    loop {
        if !receiver.try_receive(&mut batch) {
            encoder.rest();
            batch = OutBatch::default();
            receiver.receive(&mut batch).await;
            slice = begin();
        }
        encoder.batch(&batch);
        let begun = Instant::now();
        if has_waited(encoder.write(stream)).await? {
            slice = begin();
        }
        if let Some(packer) = &mut encoder.packer {
            packer.wrote(batch.deliver_bytes, begun.elapsed());
            receiver.saved(packer.saved());
        }
        receiver.wrote(&batch);
        // The socket may take it all without a pause: others work in between. Not after each batch, or
        // puts would come in before those that have come are delivered.
        if batch.has_more && slice.is_over_now() {
            tokio::task::yield_now().await;
            slice = begin();
        }
        if batch.close.is_some() {
            return stream.shutdown().await;
        }
    }
}

/// Writes a last frame with a reason and nothing else, and ends the stream's sending side.
///
/// # Errors
/// What the socket says.
pub async fn write_close<W: AsyncWrite + Unpin>(stream: &mut W, reason: String) -> io::Result<()> {
    let mut encoder = Encoder::default();
    encoder.batch(&OutBatch { close: Some(reason), ..OutBatch::default() });
    encoder.write(stream).await?;
    stream.shutdown().await
}

/// Writes one control frame.
///
/// # Errors
/// What the socket says.
pub async fn write_control<W: AsyncWrite + Unpin>(
    stream: &mut W,
    kind: FrameKind,
    body: &[u8],
) -> io::Result<()> {
    let mut encoder = Encoder::default();
    encoder.frame(kind, 0, body);
    encoder.write(stream).await
}

#[cfg(test)]
mod tests;
