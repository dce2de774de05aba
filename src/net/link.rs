//! The reading side of a link: frames of a neighbour to inputs.

use bytes::Bytes;
use tokio::io::AsyncRead;
use xxhash_rust::xxh3::xxh3_64;

use crate::id::{LinkId, StreamNumber};
use crate::net::fault::{SessionEnd, SessionFault};
use crate::net::session::FrameReader;
use crate::net::slice::Slice;
use crate::relay::Input;
use crate::wire::body::{self, Close};
use crate::wire::frame::{Frame, FrameKind, LinkCopyHead, LinkDeliverHead, LinkRunError, LinkRunHead};
use crate::wire::link::LinkMessage;
use crate::wire::run::{BodySummary, Run, RunError, RunHeader, RunKind};

/// What one read of a link has brought.
#[derive(Debug, Default)]
pub struct LinkIncoming {
    /// What the neighbour says, in order.
    pub inputs: Vec<Input>,
    /// Tags of pings.
    pub pings: Vec<u64>,
    /// Tags of pongs.
    pub pongs: Vec<u64>,
    /// Bytes of the runs' and deliveries' records among the inputs.
    pub run_bytes: usize,
    /// Why nothing comes after this, if so.
    pub end: Option<SessionEnd>,
}

impl LinkIncoming {
    /// Takes the whole frames that have come, as many as a slice of time allows. What was right before
    /// something wrong is given too.
    pub fn take<R: AsyncRead + Unpin>(&mut self, link: LinkId, reader: &mut FrameReader<R>) {
        if self.end.is_none() {
            self.end = reader.each(Slice::begin(), |frame| self.frame(link, frame));
        }
        if reader.is_wasteful(self.run_bytes) {
            self.copy_records();
        }
    }

    fn frame(&mut self, link: LinkId, frame: Frame) -> Result<(), SessionEnd> {
        match frame.kind {
            FrameKind::LinkRun => {
                let (message, bytes) = decode_run(frame)?;
                self.run_bytes += bytes;
                self.inputs.push(Input::Link { link, message });
            }
            FrameKind::LinkDeliver => {
                let (message, bytes) = decode_deliver(frame)?;
                self.run_bytes += bytes;
                self.inputs.push(Input::Link { link, message });
            }
            FrameKind::LinkCopy => {
                let (message, bytes) = decode_copy(frame)?;
                self.run_bytes += bytes;
                self.inputs.push(Input::Link { link, message });
            }
            FrameKind::Link => {
                self.inputs.push(Input::Link { link, message: LinkMessage::decode(&frame.body)? });
            }
            FrameKind::Ping => self.pings.push(frame.tag),
            FrameKind::Pong => self.pongs.push(frame.tag),
            FrameKind::Close => {
                let close: Close = body::decode(&frame.body)?;
                return Err(SessionEnd::Left(Some(close.reason)));
            }
            kind @ (FrameKind::Hello
            | FrameKind::LinkHello
            | FrameKind::Request
            | FrameKind::Answer
            | FrameKind::Put
            | FrameKind::PutAnswer
            | FrameKind::Deliver
            | FrameKind::Ack
            | FrameKind::Credit
            | FrameKind::Notice) => return Err(SessionFault::Unexpected(kind).into()),
        }
        Ok(())
    }

    fn copy_records(&mut self) {
        for input in &mut self.inputs {
            let Input::Link { message, .. } = input else { continue };
            if let LinkMessage::Run { run: Run { body: records, .. }, .. }
            | LinkMessage::Copy { run: Run { body: records, .. }, .. }
            | LinkMessage::Deliver { records, .. } = message
            {
                *records = Bytes::copy_from_slice(records);
            }
        }
    }
}

/// A run is believed only when its records are what its origin has hashed, and whole.
fn decode_run(frame: Frame) -> Result<(LinkMessage, usize), SessionFault> {
    let stream = StreamNumber(u32::try_from(frame.tag).map_err(|_| SessionFault::Handle(frame.tag))?);
    let (head, records) = LinkRunHead::decode(frame.body)?;
    let LinkRunHead { age_ms, header, .. } = head;
    let (run, bytes) = whole_run(header, records)?;
    Ok((LinkMessage::Run { stream, age_ms, run }, bytes))
}

/// The same of one that is copied to another home.
fn decode_copy(frame: Frame) -> Result<(LinkMessage, usize), SessionFault> {
    let (LinkCopyHead { head, header }, records) = LinkCopyHead::decode(frame.body)?;
    let (run, bytes) = whole_run(header, records)?;
    Ok((LinkMessage::Copy { head: Box::new(head), run }, bytes))
}

fn whole_run(header: RunHeader, records: Bytes) -> Result<(Run, usize), SessionFault> {
    let found = xxh3_64(&records);
    if found != header.body_hash {
        return Err(
            LinkRunError::Run(RunError::Hash { part: "body", expected: header.body_hash, found }).into()
        );
    }
    // What relays say to one another in a stream is one record, and no message; or it stands in place of some.
    let found = match header.kind {
        RunKind::Data => BodySummary::of(&records).map_err(LinkRunError::Run)?.count,
        RunKind::Mark | RunKind::Genesis | RunKind::Seal => 1,
        RunKind::Loss => header.count,
    };
    if found != header.count {
        let announced = header.count;
        return Err(LinkRunError::Run(RunError::Count { announced, found }).into());
    }
    let bytes = records.len();
    Ok((Run { header, body: records }, bytes))
}

/// A delivery is passed on only when its records are what the home has hashed.
fn decode_deliver(frame: Frame) -> Result<(LinkMessage, usize), SessionFault> {
    let (LinkDeliverHead { head, deliver }, records) = LinkDeliverHead::decode(frame.tag, frame.body)?;
    let (expected, found) = (deliver.records_hash, xxh3_64(&records));
    if found != expected {
        return Err(LinkRunError::Run(RunError::Hash { part: "body", expected, found }).into());
    }
    let bytes = records.len();
    Ok((LinkMessage::Deliver { head: Box::new(head), deliver, records }, bytes))
}

#[cfg(test)]
mod tests;
