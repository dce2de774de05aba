//! Very many small messages, by hand: as many in a frame as a frame takes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use treecast::id::{GroupName, Index, ProducerSequence, SubscriptionName};
use treecast::limits;
use treecast::wire::body::{self, Answer, Request, Start, SubscriptionSpec};
use treecast::wire::frame::{
    Ack, AckKind, AckLevel, Credit, DeliverHead, Frame, FrameKind, PutDone, PutHead, append_frame, take_frame,
};
use treecast::wire::run::{Record, Records};

use super::raw::hello;

/// Messages of one put.
pub(crate) const EACH: u32 = 62_500;
/// Puts on their way at a time: what a session may have that is not durable is 16 MiB.
const AT_ONCE: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(60);
/// The handle of the first group, and of the first subscription.
const FIRST: u32 = 0;

/// A session that puts or takes.
pub(crate) struct Bulk {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Bulk {
    /// A session in which a group is open, and a subscription of it attached.
    pub(crate) async fn open(address: &str, group: &str, name: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the relay accepts");
        let mut bulk = Self { stream, buffer: BytesMut::new() };
        let group = GroupName::new(group).expect("a name");
        let window = Some(limits::WINDOW_MAX);
        let spec = SubscriptionSpec { start: Start::Beginning, window, ..SubscriptionSpec::default() };
        let name = Some(SubscriptionName::new(name).expect("a name"));
        bulk.stream.write_all(&hello()).await.expect("it takes a hello");
        bulk.next(FrameKind::Hello).await;
        bulk.ask(&Request::GroupOpen { group: group.clone() }).await;
        bulk.ask(&Request::Attach { group, name, create: Some(spec) }).await;
        bulk
    }

    async fn send(&mut self, kind: FrameKind, tag: u32, body: &[u8]) {
        let mut bytes = BytesMut::new();
        append_frame(&mut bytes, kind, u64::from(tag), body);
        self.stream.write_all(&bytes).await.expect("the relay takes it");
    }

    async fn ask(&mut self, request: &Request) {
        self.send(FrameKind::Request, 1, &body::encode(request)).await;
        let answer = self.next(FrameKind::Answer).await;
        let answer: Answer = body::decode(&answer.body).expect("an answer");
        answer.expect("it is done");
    }

    /// The next frame of a kind; others are passed over, but no close.
    async fn next(&mut self, kind: FrameKind) -> Frame {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer).expect("what the relay sends are frames") {
                assert!(frame.kind != FrameKind::Close, "the session ends: {frame:?}");
                if frame.kind == kind {
                    return frame;
                }
                continue;
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            assert!(matches!(read, Ok(Ok(1..))), "the relay says nothing more: {read:?}");
        }
    }

    /// Puts so many times [`EACH`] messages, and waits until all are durable.
    pub(crate) async fn put(&mut self, puts: u32) {
        let records = messages();
        let (mut sent, mut done) = (0, 0);
        while done < puts {
            while sent < puts && sent < done + AT_ONCE {
                sent += 1;
                let head = PutHead {
                    put: u64::from(sent),
                    producer: None,
                    lowest_unanswered: ProducerSequence(0),
                    body_hash: xxhash_rust::xxh3::xxh3_64(&records),
                    level: AckLevel::Accepted,
                    copies: 0,
                    transient: false,
                    age_seconds: 0,
                };
                let mut body = BytesMut::new();
                head.encode(&mut body);
                body.extend_from_slice(&records);
                self.send(FrameKind::Put, FIRST, &body).await;
            }
            let answers = self.next(FrameKind::PutAnswer).await;
            done += PutDone::decode_list(answers.body).expect("answers").len() as u32;
        }
    }

    /// Takes and acks so many messages, all of them there, in order, as they were put.
    pub(crate) async fn take(&mut self, messages: u64) {
        let mut taken = 0;
        while taken < messages {
            let mut credit = BytesMut::new();
            Credit { handle: FIRST, total: taken + u64::from(limits::WINDOW_MAX) }.encode(&mut credit);
            self.send(FrameKind::Credit, 0, &credit).await;
            let frame = self.next(FrameKind::Deliver).await;
            let (head, records) = DeliverHead::decode(frame.body).expect("a delivery");
            check(taken, &records);
            taken += u64::from(head.count);
            let mut ack = BytesMut::new();
            let to = Index(head.first_index.0 + u64::from(head.count));
            Ack { handle: FIRST, kind: AckKind::Ack, from: Index(0), to, delay_ms: 0 }.encode(&mut ack);
            self.send(FrameKind::Ack, 0, &ack).await;
        }
        assert_eq!(taken, messages);
    }
}

fn payload(number: u64) -> [u8; 16] {
    let mut payload = [b'.'; 16];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

/// The records of a put: each has its number in it.
fn messages() -> Bytes {
    let mut records = BytesMut::new();
    for number in 0..u64::from(EACH) {
        Record { payload: &payload(number), ..Record::default() }.encode(&mut records);
    }
    records.freeze()
}

#[track_caller]
fn check(before: u64, records: &[u8]) {
    for (number, record) in (before..).zip(Records::new(records)) {
        let found = record.expect("a record").payload;
        assert_eq!(found, payload(number % u64::from(EACH)), "message {number}");
    }
}
