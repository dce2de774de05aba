//! A relay that speaks frames by hand, wrong ones too.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use xxhash_rust::xxh3::xxh3_64;

use crate::client::{Backoff, Client, ClientOptions};
use crate::id::{Epoch, Index, RelayId, Sequence, StorageId, StreamNumber, WallTime};
use crate::wire::body::{
    self, Answer, Begun, ClientHello, Notice, PROTOCOL_MAGIC, RelayHello, Reply, Request,
};
use crate::wire::frame::{
    Ack, AckLevel, Credit, DELIVER_HEAD_BYTES, DeliverHead, Frame, FrameKind, PUT_DONE_BYTES, PutDone,
    PutHead, append_frame, take_frame,
};
use crate::wire::run::{Record, Records};

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn epoch() -> Epoch {
    Epoch { counter: 3, storage: StorageId([7; 16]), nonce: 9 }
}

pub(super) fn hello() -> RelayHello {
    RelayHello {
        magic: PROTOCOL_MAGIC.to_owned(),
        version: 1,
        relay: RelayId::new("north").unwrap(),
        epoch: epoch(),
        put_bytes_max: 1 << 24,
        now: WallTime(1),
    }
}

pub(super) struct ScriptedRelay {
    listener: TcpListener,
    pub(super) address: String,
}

/// One connection of a client, seen from the relay.
pub(super) struct Remote {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A put, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TakenPut {
    pub(super) handle: u64,
    pub(super) head: PutHead,
    pub(super) records: Bytes,
}

impl TakenPut {
    pub(super) fn payloads(&self) -> Vec<Vec<u8>> {
        Records::new(&self.records).map(|record| record.unwrap().payload.to_vec()).collect()
    }

    pub(super) fn first(&self) -> u64 {
        self.head.producer.unwrap().1.0
    }

    pub(super) fn count(&self) -> u64 {
        Records::new(&self.records).count() as u64
    }
}

impl ScriptedRelay {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { listener, address }
    }

    pub(super) fn options(&self) -> ClientOptions {
        let quick = Backoff { first: Duration::from_millis(1), ..Backoff::default() };
        ClientOptions { reconnect: quick, ..ClientOptions::new(&self.address) }
    }

    /// Takes a connection without a word.
    pub(super) async fn take(&self) -> Remote {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("the client connects in time").unwrap();
        stream.set_nodelay(true).unwrap();
        Remote { stream, buffer: BytesMut::new() }
    }

    /// Takes a connection and exchanges hellos.
    pub(super) async fn accept(&self) -> Remote {
        let mut remote = self.take().await;
        let frame = remote.next().await;
        assert_eq!(frame.kind, FrameKind::Hello);
        let said: ClientHello = body::decode(&frame.body).unwrap();
        assert_eq!(said.magic, PROTOCOL_MAGIC);
        remote.send(FrameKind::Hello, 0, &body::encode(&hello())).await;
        remote
    }

    /// A client and its connection.
    pub(super) async fn client_with(&self, options: ClientOptions) -> (Client, Remote) {
        let (client, remote) = tokio::join!(Client::connect_with(options), self.accept());
        (client.unwrap(), remote)
    }

    pub(super) async fn client(&self) -> (Client, Remote) {
        self.client_with(self.options()).await
    }
}

impl Remote {
    /// The next frame that is not a ping; pings are answered.
    pub(super) async fn next(&mut self) -> Frame {
        let next = tokio::time::timeout(PATIENCE, self.next_if_any()).await;
        next.expect("a frame comes in time").expect("the client has not closed the connection")
    }

    pub(super) async fn next_if_any(&mut self) -> Option<Frame> {
        loop {
            match take_frame(&mut self.buffer).unwrap() {
                Some(Frame { kind: FrameKind::Ping, tag, .. }) => {
                    self.send(FrameKind::Pong, tag, &Bytes::new()).await;
                }
                Some(frame) => return Some(frame),
                None => match self.stream.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                },
            }
        }
    }

    /// Nothing comes for a moment.
    pub(super) async fn is_quiet(&mut self, moment: Duration) -> bool {
        tokio::time::timeout(moment, self.next_if_any()).await.is_err()
    }

    pub(super) async fn send(&mut self, kind: FrameKind, tag: u64, body: &Bytes) {
        let mut bytes = BytesMut::new();
        append_frame(&mut bytes, kind, tag, body);
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(super) async fn request(&mut self) -> (u64, Request) {
        let frame = self.next().await;
        assert_eq!(frame.kind, FrameKind::Request);
        (frame.tag, body::decode(&frame.body).unwrap())
    }

    pub(super) async fn answer(&mut self, tag: u64, answer: Answer) {
        self.send(FrameKind::Answer, tag, &body::encode(&answer)).await;
    }

    pub(super) async fn notice(&mut self, notice: Notice) {
        self.send(FrameKind::Notice, 0, &body::encode(&notice)).await;
    }

    /// Answers the request to open a group.
    pub(super) async fn open_group(&mut self, handle: u32) {
        let (tag, request) = self.request().await;
        assert!(matches!(request, Request::GroupOpen { .. }), "{request:?}");
        self.answer(tag, Ok(Reply::GroupHandle { handle, message_bytes_max: 1 << 20, nonce: None })).await;
    }

    /// Answers the request to attach, names the stream 1, and gives the request.
    pub(super) async fn attach(&mut self, handle: u32) -> Request {
        self.attach_moved(handle, 0).await
    }

    /// The same, of a subscription that was moved so often.
    pub(super) async fn attach_moved(&mut self, handle: u32, moves: u64) -> Request {
        self.attach_begun(handle, moves, None).await
    }

    /// The same, of a home that has started so.
    pub(super) async fn attach_begun(&mut self, handle: u32, moves: u64, begun: Option<Begun>) -> Request {
        let (tag, request) = self.request().await;
        assert!(matches!(request, Request::Attach { .. }), "{request:?}");
        let name = "sub".parse().unwrap();
        let reply = Reply::SubscriptionHandle { handle, name, created: false, window: 1024, moves, begun };
        self.answer(tag, Ok(reply)).await;
        let origin = RelayId::new("south").unwrap();
        self.notice(Notice::Stream { number: StreamNumber(1), origin, epoch: epoch() }).await;
        request
    }

    pub(super) async fn put(&mut self) -> TakenPut {
        let frame = self.next().await;
        assert_eq!(frame.kind, FrameKind::Put);
        let (head, records) = PutHead::decode(frame.body).unwrap();
        assert_eq!(head.body_hash, xxh3_64(&records));
        TakenPut { handle: frame.tag, head, records }
    }

    /// Answers a put: its records are new, from this sequence on.
    pub(super) async fn done(&mut self, put: &TakenPut, first: u64) {
        self.done_with(put.head.put, first, 0).await;
    }

    pub(super) async fn done_with(&mut self, put: u64, first: u64, repeats: u32) {
        let mut body = BytesMut::with_capacity(PUT_DONE_BYTES);
        PutDone { put, first: Sequence(first), repeats, level: AckLevel::Accepted, has_more: false }
            .encode(&mut body);
        self.send(FrameKind::PutAnswer, 0, &body.freeze()).await;
    }

    /// Takes and answers puts until so many messages were put.
    pub(super) async fn take_messages(&mut self, count: u64) -> Vec<TakenPut> {
        let (mut puts, mut messages) = (Vec::new(), 0);
        while messages < count {
            let put = self.put().await;
            self.done(&put, put.first()).await;
            messages += put.count();
            puts.push(put);
        }
        assert_eq!(messages, count);
        puts
    }

    pub(super) async fn deliver(&mut self, handle: u64, first_index: u64, payloads: &[&str]) {
        self.deliver_with(handle, first_index, payloads, |_| {}).await;
    }

    pub(super) async fn deliver_with(
        &mut self,
        handle: u64,
        first_index: u64,
        payloads: &[&str],
        change: impl FnOnce(&mut DeliverHead),
    ) {
        let mut records = BytesMut::new();
        for payload in payloads {
            let subject = payload.starts_with("s:").then_some("a/b");
            Record { payload: payload.as_bytes(), subject, ..Record::default() }.encode(&mut records);
        }
        let mut head = DeliverHead {
            first_index: Index(first_index),
            first: Sequence(first_index + 100),
            count: payloads.len() as u32,
            stream: StreamNumber(1),
            accepted: WallTime(5),
            records_hash: xxh3_64(&records),
            attempt: 1,
        };
        change(&mut head);
        let mut body = BytesMut::with_capacity(DELIVER_HEAD_BYTES + records.len());
        head.encode(&mut body);
        body.extend_from_slice(&records);
        self.send(FrameKind::Deliver, handle, &body.freeze()).await;
    }

    pub(super) async fn credit(&mut self) -> Vec<Credit> {
        let frame = self.next().await;
        assert_eq!(frame.kind, FrameKind::Credit);
        Credit::decode_list(frame.body).unwrap()
    }

    /// The next acks; credits before them are passed over.
    pub(super) async fn acks(&mut self) -> Vec<Ack> {
        loop {
            let frame = self.next().await;
            if frame.kind != FrameKind::Credit {
                assert_eq!(frame.kind, FrameKind::Ack);
                return Ack::decode_list(frame.body).unwrap();
            }
        }
    }

    /// The next request; acks and credits before it are passed over.
    pub(super) async fn request_behind_acks(&mut self) -> (Vec<Ack>, u64, Request) {
        let mut acks = Vec::new();
        loop {
            let frame = self.next().await;
            if frame.kind == FrameKind::Ack {
                acks.extend(Ack::decode_list(frame.body).unwrap());
            } else if frame.kind != FrameKind::Credit {
                assert_eq!(frame.kind, FrameKind::Request);
                return (acks, frame.tag, body::decode(&frame.body).unwrap());
            }
        }
    }
}

/// Waits no longer than tests wait.
pub(super) async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("it happens in time")
}
